use std::collections::{BTreeMap, VecDeque};

use super::*;
use crate::wire::Refusal;

const X: ModelFile = ModelFile { digest: ModelDigest([1; 32]), length: 10 };
const Y: ModelFile = ModelFile { digest: ModelDigest([2; 32]), length: 20 };
const Z: ModelFile = ModelFile { digest: ModelDigest([3; 32]), length: 30 };

use SlotAction::{Erase, Load, Verify};
use SlotEvent::*;
use Staging::{Complete, Receiving, Verifying};

/// The table after events that must all be taken.
fn after(table: SlotTable, events: &[SlotEvent]) -> SlotTable {
    events.iter().fold(table, |table, &event| table.step(event).unwrap().0)
}

fn trial(model: ModelFile) -> Vec<SlotEvent> {
    let digest = model.digest;
    vec![StageRequested(model), ChunksComplete(digest), ActivateRequested(digest), Verified(digest)]
}

fn confirmed(model: ModelFile) -> Vec<SlotEvent> {
    let mut events = trial(model);
    events.extend([FramePassed(model.digest); TRIAL_FRAMES as usize]);
    events
}

fn on_trial(model: ModelFile) -> SlotRecord {
    SlotRecord::Trial { model, boots: 0, frames_left: TRIAL_FRAMES }
}

fn failed(model: ModelFile, reason: ModelRefusal) -> Option<RejectedModel> {
    Some(RejectedModel { digest: model.digest, reason })
}

#[test]
fn transitions() {
    use SlotRecord::{Confirmed, Staged};
    let new = SlotTable::default();
    let x_staged = SlotTable { a: Staged(X, Receiving), ..new };
    let x_complete = SlotTable { a: Staged(X, Complete), ..new };
    let x_verifying = SlotTable { a: Staged(X, Verifying), ..new };
    let x_trial = SlotTable { active: Slot::A, a: on_trial(X), ..new };
    let x_runs = SlotTable { active: Slot::A, a: Confirmed(X), ..new };
    let y_trial = SlotTable { active: Slot::B, previous: Slot::A, b: on_trial(Y), ..x_runs };
    let y_runs = SlotTable { b: Confirmed(Y), ..y_trial };
    let last_boot = SlotRecord::Trial { model: Y, boots: TRIAL_BOOTS - 1, frames_left: TRIAL_FRAMES };
    let last_frame = SlotRecord::Trial { model: Y, boots: 1, frames_left: 1 };
    let y_gone = |reason| SlotTable { failure: failed(Y, reason), ..x_runs };

    let cases: &[(&str, SlotTable, SlotEvent, SlotTable, &[SlotAction])] = &[
        ("first announcement", new, StageRequested(X), x_staged, &[Erase(Slot::A)]),
        ("resumed", x_staged, StageRequested(X), x_staged, &[]),
        (
            "replaced",
            x_staged,
            StageRequested(Y),
            SlotTable { a: Staged(Y, Receiving), ..new },
            &[Erase(Slot::A)],
        ),
        (
            "replaced when complete",
            x_complete,
            StageRequested(Y),
            SlotTable { a: Staged(Y, Receiving), ..new },
            &[Erase(Slot::A)],
        ),
        ("announced while verified", x_verifying, StageRequested(X), x_verifying, &[]),
        ("announced while on trial", x_trial, StageRequested(X), x_trial, &[]),
        ("announced while it runs", x_runs, StageRequested(X), x_runs, &[]),
        (
            "announced again after failing",
            SlotTable { failure: failed(X, ModelRefusal::NotOnnx), ..new },
            StageRequested(X),
            x_staged,
            &[Erase(Slot::A)],
        ),
        (
            "active slot is left alone",
            x_runs,
            StageRequested(Y),
            SlotTable { b: Staged(Y, Receiving), ..x_runs },
            &[Erase(Slot::B)],
        ),
        (
            "previous gives way",
            y_runs,
            StageRequested(Z),
            SlotTable { a: Staged(Z, Receiving), previous: Slot::Factory, ..y_runs },
            &[Erase(Slot::A)],
        ),
        (
            "previous announced needs no bytes",
            y_runs,
            StageRequested(X),
            SlotTable { a: Staged(X, Complete), previous: Slot::Factory, ..y_runs },
            &[],
        ),
        (
            "empty slot before a confirmed one",
            SlotTable { a: Confirmed(X), ..new },
            StageRequested(Y),
            SlotTable { a: Confirmed(X), b: Staged(Y, Receiving), ..new },
            &[Erase(Slot::B)],
        ),
        (
            "staged elsewhere is dropped",
            SlotTable { a: Confirmed(X), b: Staged(Y, Complete), ..new },
            StageRequested(X),
            x_complete,
            &[Erase(Slot::B)],
        ),
        ("complete", x_staged, ChunksComplete(X.digest), x_complete, &[]),
        ("another's completion", x_staged, ChunksComplete(Y.digest), x_staged, &[]),
        ("activate too early", x_staged, ActivateRequested(X.digest), x_staged, &[]),
        ("activate", x_complete, ActivateRequested(X.digest), x_verifying, &[Verify(Slot::A)]),
        ("activate twice", x_verifying, ActivateRequested(X.digest), x_verifying, &[]),
        ("activate on trial", x_trial, ActivateRequested(X.digest), x_trial, &[]),
        (
            "activate what failed",
            y_gone(ModelRefusal::NotOnnx),
            ActivateRequested(Y.digest),
            y_gone(ModelRefusal::NotOnnx),
            &[],
        ),
        ("verified", x_verifying, Verified(X.digest), x_trial, &[]),
        ("verified unasked", x_complete, Verified(X.digest), x_complete, &[]),
        (
            "not verified",
            x_verifying,
            VerifyFailed(X.digest, ModelRefusal::DigestMismatch),
            SlotTable { failure: failed(X, ModelRefusal::DigestMismatch), ..new },
            &[Erase(Slot::A)],
        ),
        ("boot while verifying", x_verifying, Booted, x_complete, &[Load(Slot::Factory)]),
        ("boot while receiving", x_staged, Booted, x_staged, &[Load(Slot::Factory)]),
        ("boot", y_runs, Booted, y_runs, &[Load(Slot::B)]),
        (
            "boot on trial",
            y_trial,
            Booted,
            SlotTable { b: SlotRecord::Trial { model: Y, boots: 1, frames_left: TRIAL_FRAMES }, ..y_trial },
            &[Load(Slot::B)],
        ),
        (
            "boot too often",
            SlotTable { b: last_boot, ..y_trial },
            Booted,
            y_gone(ModelRefusal::TrialInterrupted),
            &[Load(Slot::A), Erase(Slot::B)],
        ),
        ("last frame", SlotTable { b: last_frame, ..y_trial }, FramePassed(Y.digest), y_runs, &[]),
        ("frame of the model before", y_trial, FramePassed(X.digest), y_trial, &[]),
        (
            "frame fails",
            y_trial,
            FrameFailed(Y.digest),
            y_gone(ModelRefusal::TrialFailed),
            &[Load(Slot::A), Erase(Slot::B)],
        ),
        ("frame of the model before fails", y_trial, FrameFailed(X.digest), y_trial, &[]),
        ("frame fails after confirmation", y_runs, FrameFailed(Y.digest), y_runs, &[]),
        (
            "load fails",
            y_trial,
            LoadFailed(ModelRefusal::Unsupported),
            y_gone(ModelRefusal::Unsupported),
            &[Load(Slot::A), Erase(Slot::B)],
        ),
        (
            "load fails when confirmed",
            x_runs,
            LoadFailed(ModelRefusal::Storage),
            SlotTable { failure: failed(X, ModelRefusal::Storage), ..new },
            &[Load(Slot::Factory), Erase(Slot::A)],
        ),
        ("factory fails to load", new, LoadFailed(ModelRefusal::Storage), new, &[]),
        (
            "revert a trial",
            y_trial,
            RevertRequested(Y.digest),
            SlotTable { b: Staged(Y, Complete), ..y_gone(ModelRefusal::Reverted) },
            &[Load(Slot::A)],
        ),
        (
            "revert",
            y_runs,
            RevertRequested(Y.digest),
            SlotTable { b: Confirmed(Y), ..y_gone(ModelRefusal::Reverted) },
            &[Load(Slot::A)],
        ),
        ("revert what does not run", y_runs, RevertRequested(X.digest), y_runs, &[]),
        ("revert the factory", new, RevertRequested(X.digest), new, &[]),
        (
            "activate after a revert",
            SlotTable { b: Staged(Y, Complete), ..y_gone(ModelRefusal::Reverted) },
            ActivateRequested(Y.digest),
            SlotTable { b: Staged(Y, Verifying), ..x_runs },
            &[Verify(Slot::B)],
        ),
    ];
    for (name, before, event, expected, actions) in cases {
        assert!(before.is_sound() && expected.is_sound(), "{name}");
        assert_eq!(before.step(*event), Ok((*expected, actions.to_vec())), "{name}");
    }
}

#[test]
fn refusals() {
    let new = SlotTable::default();
    let verifying = after(new, &trial(X)[..3]);
    let on_trial = after(new, &trial(X));
    let too_large = ModelRefusal::TooLarge { limit: MAX_MODEL_LENGTH };
    let cases = [
        ("nothing", new, StageRequested(ModelFile { length: 0, ..X }), Refusal::OutOfRange),
        (
            "too large",
            new,
            StageRequested(ModelFile { length: MAX_MODEL_LENGTH + 1, ..X }),
            Refusal::Model(too_large),
        ),
        ("another while verifying", verifying, StageRequested(Y), Refusal::Busy),
        ("another while on trial", on_trial, StageRequested(Y), Refusal::Busy),
        ("activate what is not there", new, ActivateRequested(X.digest), Refusal::NotFound),
        ("activate another", on_trial, ActivateRequested(Y.digest), Refusal::NotFound),
    ];
    for (name, table, event, refusal) in cases {
        assert_eq!(table.step(event), Err(refusal), "{name}");
    }
}

#[test]
fn progress_covers_the_whole_way() {
    let ModelFile { digest, length } = X;
    let receiving = |received| StageProgress::Receiving { digest, received, length };
    let mut table = SlotTable::default();
    assert_eq!(table.progress(0), StageProgress::Idle);
    let way = [
        (StageRequested(X), receiving(4)),
        (ChunksComplete(digest), receiving(length)),
        (ActivateRequested(digest), StageProgress::Verifying { digest }),
        (Verified(digest), StageProgress::Trial { digest, frames_left: TRIAL_FRAMES }),
        (FramePassed(digest), StageProgress::Trial { digest, frames_left: TRIAL_FRAMES - 1 }),
        (FrameFailed(digest), StageProgress::Failed { digest, reason: ModelRefusal::TrialFailed }),
        (Booted, StageProgress::Failed { digest, reason: ModelRefusal::TrialFailed }),
    ];
    for (event, expected) in way {
        table = after(table, &[event]);
        assert_eq!(table.progress(4), expected, "{event:?}");
    }
    let runs = after(table, &confirmed(X));
    assert_eq!(runs.progress(4), StageProgress::Confirmed { digest });
    let factory = ModelDigest([9; 32]);
    let report = runs.report(factory);
    assert_eq!((report.active, report.factory), (Slot::A, factory));
    assert_eq!(report.a, SlotContent { state: SlotState::Confirmed, digest: Some(digest), length });
    assert_eq!(report.b, SlotContent { state: SlotState::Empty, digest: None, length: 0 });
}

/// A table and, per writable slot, the model whose bytes were last verified there.
#[derive(Clone, Copy)]
struct SlotSimulator {
    table: SlotTable,
    verified: [Option<ModelFile>; 2],
}

impl SlotSimulator {
    fn key(&self) -> (Vec<u8>, [Option<[u8; 32]>; 2]) {
        (self.table.encode(), self.verified.map(|model| model.map(|model| model.digest.0)))
    }

    /// What the storage goes through when the station obeys.
    fn step(self, event: SlotEvent) -> Option<Self> {
        let before = self.table;
        let (table, actions) = before.step(event).ok()?;
        let mut verified = self.verified;
        for (slot, verified) in WRITABLE.into_iter().zip(&mut verified) {
            if matches!((event, before.record(slot)), (Verified(_), SlotRecord::Staged(_, Verifying)))
                && matches!(table.record(slot), SlotRecord::Trial { .. })
            {
                *verified = table.record(slot).model();
            }
            if actions.contains(&Erase(slot)) {
                *verified = None;
            }
            let writes = matches!(table.record(slot), SlotRecord::Staged(_, Receiving));
            assert!(
                !(writes || actions.contains(&Erase(slot))) || slot != table.active,
                "{before:?} {event:?}"
            );
            assert!(!actions.contains(&Verify(slot)) || slot != table.active, "{before:?} {event:?}");
        }
        if table.active != before.active && !matches!(event, Verified(_)) {
            assert!(actions.contains(&Load(table.active)), "{before:?} {event:?}");
        }
        Some(Self { table, verified })
    }

    fn check(&self) {
        let Self { table, verified } = self;
        assert!(table.is_sound(), "{table:?}");
        for (slot, verified) in WRITABLE.into_iter().zip(verified) {
            if [table.active, table.previous].contains(&slot) {
                let record = table.record(slot);
                assert!(matches!(record, SlotRecord::Trial { .. } | SlotRecord::Confirmed(_)), "{table:?}");
                assert_eq!(record.model(), *verified, "{table:?}");
            }
        }
        assert_eq!(SlotTable::decode(&table.encode()).as_ref(), Ok(table));
    }
}

fn events() -> Vec<SlotEvent> {
    let of_a_model = |model: ModelFile| {
        let digest = model.digest;
        [
            StageRequested(model),
            ChunksComplete(digest),
            ActivateRequested(digest),
            Verified(digest),
            VerifyFailed(digest, ModelRefusal::GoldenMismatch),
            FramePassed(digest),
            FrameFailed(digest),
            RevertRequested(digest),
        ]
    };
    let mut events: Vec<_> = [X, Y, Z].into_iter().flat_map(of_a_model).collect();
    events.extend([Booted, LoadFailed(ModelRefusal::Storage)]);
    events
}

/// Every table that events of three models can lead to.
fn reachable() -> Vec<SlotSimulator> {
    let start = SlotSimulator { table: SlotTable::default(), verified: [None; 2] };
    let mut seen = BTreeMap::from([(start.key(), start)]);
    let mut queue = VecDeque::from([start]);
    while let Some(simulator) = queue.pop_front() {
        simulator.check();
        for next in events().into_iter().filter_map(|event| simulator.step(event)) {
            seen.entry(next.key()).or_insert_with(|| {
                queue.push_back(next);
                next
            });
        }
    }
    seen.into_values().collect()
}

#[test]
fn every_reachable_table_runs_a_verified_model() {
    let simulators = reachable();
    assert!(simulators.len() > 1000, "{}", simulators.len());
    for SlotSimulator { table, .. } in simulators {
        // Restarts end every trial and every verification, and then any model is accepted.
        let rested = after(table, &[Booted; TRIAL_BOOTS as usize]);
        assert!(!matches!(rested.record(rested.active), SlotRecord::Trial { .. }), "{table:?}");
        let other = ModelFile { digest: ModelDigest([4; 32]), length: 1 };
        let staged = after(rested, &trial(other));
        assert_eq!(staged.record(staged.active).model(), Some(other), "{table:?}");

        // Failed loads end at the factory model.
        let lost = after(table, &[LoadFailed(ModelRefusal::Storage); 2]);
        assert_eq!(lost.active, Slot::Factory, "{table:?}");
    }
}

#[test]
fn events_may_be_repeated() {
    for SlotSimulator { table, .. } in reachable() {
        for event in events() {
            // Each frame, start and failed load is another one.
            if matches!(event, FramePassed(_) | Booted | LoadFailed(_)) {
                continue;
            }
            if let Ok((once, _)) = table.step(event) {
                assert_eq!(once.step(event), Ok((once, vec![])), "{table:?} {event:?}");
            }
        }
    }
}

#[test]
fn stored_table_must_be_whole() {
    let table = after(SlotTable::default(), &confirmed(X));
    let good = table.encode();
    assert_eq!(SlotTable::decode(&good), Ok(table));
    for at in 0..good.len() {
        for flip in [1, 0x80, 0xFF] {
            let mut bad = good.clone();
            bad[at] ^= flip;
            assert_eq!(SlotTable::decode(&bad), Err(StoredError::Damaged));
        }
        assert!(SlotTable::decode(&good[..at]).is_err());
    }
    let later = stored::encode(TABLE_VERSION + 1, &table);
    let version = StoredError::Version { found: TABLE_VERSION + 1, supported: TABLE_VERSION };
    assert_eq!(SlotTable::decode(&later), Err(version));
    let impossible = [
        SlotTable { active: Slot::B, ..table },
        SlotTable { previous: Slot::B, ..table },
        SlotTable { previous: Slot::A, ..table },
        SlotTable { active: Slot::Factory, a: on_trial(X), ..table },
        SlotTable { active: Slot::A, a: on_trial(X), b: SlotRecord::Staged(Y, Receiving), ..table },
    ];
    for table in impossible {
        assert_eq!(SlotTable::decode(&table.encode()), Err(StoredError::Contradiction), "{table:?}");
    }
}

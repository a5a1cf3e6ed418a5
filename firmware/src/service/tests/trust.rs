//! A station that trusts keys.

use shared::trust::{LOCK_MS, MAX_FAILURES};
use shared::wire::{Challenge, SignedChange, Trust, TrustRefusal, UnixSeconds};

use super::*;

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn ana() -> Keyring {
    Keyring::new(vec![TrustedKey { name: truncated_name("ana"), key: key(1).public() }]).unwrap()
}

fn refused(refusal: TrustRefusal) -> Response {
    Response::Refused(Refusal::Trust(refusal))
}

impl Bench {
    fn challenge(&mut self) -> Challenge {
        match self.ask(Request::Challenge) {
            Response::Challenge(challenge) => challenge,
            other => panic!("{other:?}"),
        }
    }

    fn sign(&mut self, key: &SecretKey, change: Change) -> SignedChange {
        key.sign_change(&self.challenge(), change)
    }

    fn ask_signed(&mut self, change: Change) -> Response {
        let signed = self.sign(&key(1), change);
        self.ask(Request::Change(signed))
    }

    /// Stages a model and asks for it to run.
    fn send(&mut self, onnx: &[u8], downgrade: Downgrade) -> Response {
        let digest = ModelDigest::of(onnx);
        self.ask_signed(Change::Stage { length: onnx.len() as u32, digest });
        for (index, chunk) in onnx.chunks(CHUNK as usize).enumerate() {
            let offset = index as u32 * CHUNK;
            self.ask_with(Request::StageChunk { digest, offset }, chunk.to_vec());
        }
        self.ask_signed(Change::Activate { digest, downgrade })
    }

    fn confirm(&mut self, onnx: &[u8], downgrade: Downgrade) {
        let digest = ModelDigest::of(onnx);
        assert_eq!(self.send(onnx, downgrade), Response::Stage(StageProgress::Verifying { digest }));
        self.service.handle(ServiceEvent::Verified(digest, Ok(pipeline())));
        for _ in 0..TRIAL_FRAMES {
            self.service.handle(ServiceEvent::FramePassed(digest, QcFlags::NONE));
        }
        let confirmed = Response::Stage(StageProgress::Confirmed { digest });
        assert_eq!(self.ask(Request::StageStatus), confirmed);
    }
}

#[test]
fn an_open_station_says_that_it_is() {
    let mut bench = Bench::new();
    assert_eq!(bench.challenge().trust, Trust::Open);
    let full = Change::Set(Setting::Illumination(DutyCycle::FULL));
    assert!(matches!(bench.ask_signed(full), Response::Settings(_)), "signed or not");
}

#[test]
fn nothing_changes_without_a_trusted_key_and_everything_can_be_read() {
    let mut bench = Bench::trusting(ana());
    assert_eq!(bench.challenge().trust, Trust::Keys(1));
    let digest = ModelDigest::of(FACTORY);
    let before = (bench.ask(Request::Settings), bench.ask(Request::Slots));
    let operations = bench.storage.operations();
    let changes = [
        Change::Stage { length: 10, digest },
        Change::Activate { digest, downgrade: Downgrade::Allowed },
        Change::Revert { digest },
        Change::Set(Setting::Masks(Stream::Off)),
    ];
    for change in changes {
        assert_eq!(bench.ask(change.plain()), refused(TrustRefusal::Unsigned), "{change:?}");
        let stranger = bench.sign(&key(2), change);
        let by = TrustRefusal::UnknownKey { key: key(2).public().id() };
        assert_eq!(bench.ask(Request::Change(stranger)), refused(by), "{change:?}");
    }
    assert_eq!((bench.ask(Request::Settings), bench.ask(Request::Slots)), before);
    assert_eq!(bench.storage.operations(), operations);
    assert_eq!(bench.work.try_recv().ok(), None);

    for request in [Request::Status, Request::StageStatus, Request::Capture { token: 1 }, Request::Echo] {
        assert!(!matches!(bench.ask(request), Response::Refused(_)));
    }
}

#[test]
fn a_trusted_key_changes_everything() {
    let mut bench = Bench::trusting(ana());
    let Response::Settings(settings) = bench.ask_signed(Change::Set(Setting::Masks(Stream::Off))) else {
        panic!()
    };
    assert_eq!(settings.masks, Stream::Off);
    let onnx = key(1).sign_model(&[3; 5000], UnixSeconds(1));
    bench.confirm(&onnx, Downgrade::Refused);
    let Response::Slots(slots) = bench.ask_signed(Change::Revert { digest: ModelDigest::of(&onnx) }) else {
        panic!()
    };
    assert_eq!(slots.active, Slot::Factory);
}

#[test]
fn a_replayed_change_is_answered_or_refused_and_not_done_again() {
    let mut bench = Bench::trusting(ana());
    let off = bench.sign(&key(1), Change::Set(Setting::Masks(Stream::Off)));
    let answer = bench.ask(Request::Change(off));
    assert_eq!(bench.ask(Request::Change(off)), answer, "a host without a response retries");
    bench.service.set(Setting::Masks(Stream::On));
    assert_eq!(bench.ask(Request::Change(off)), answer);
    let masks = |bench: &Bench| bench.service.parts.settings.masks;
    assert_eq!(masks(&bench), Stream::On, "not done twice");

    bench.ask_signed(Change::Set(Setting::Preview(Stream::Off)));
    assert_eq!(bench.ask(Request::Change(off)), refused(TrustRefusal::StaleChallenge));
    let last = bench.sign(&key(1), Change::Set(Setting::Masks(Stream::Off)));
    bench.service.handle(ServiceEvent::Link(LinkEvent::Lost));
    assert_eq!(
        bench.ask(Request::Change(last)),
        refused(TrustRefusal::StaleChallenge),
        "of another conversation"
    );
    assert_eq!(masks(&bench), Stream::On);
}

#[test]
fn an_older_model_is_refused_unless_it_is_wanted_and_is_not_sent_again() {
    let mut bench = Bench::trusting(ana());
    let model = |fill: u8, at| key(1).sign_model(&[fill; 5000], UnixSeconds(at));
    let (new, old) = (model(1, 2000), model(2, 1000));
    bench.confirm(&new, Downgrade::Refused);
    while bench.work.try_recv().is_ok() {}

    let older = ModelRefusal::Older { signed: UnixSeconds(1000), confirmed: UnixSeconds(2000) };
    let refusal = Response::Refused(Refusal::Model(older));
    assert_eq!(bench.send(&old, Downgrade::Refused), refusal);
    assert_eq!(bench.work.try_recv().ok(), None);
    let Response::Slots(slots) = bench.ask(Request::Slots) else { panic!() };
    assert_eq!(
        (slots.active, slots.a.state, slots.b.state),
        (Slot::A, SlotState::Confirmed, SlotState::Staged)
    );

    let digest = ModelDigest::of(&old);
    let allowed = Change::Activate { digest, downgrade: Downgrade::Allowed };
    assert_eq!(bench.ask_signed(allowed), Response::Stage(StageProgress::Verifying { digest }));
    assert!(matches!(bench.work.try_recv(), Ok(LoaderJob::Verify { .. })));
    bench.service.handle(ServiceEvent::Verified(digest, Ok(pipeline())));
    for _ in 0..TRIAL_FRAMES {
        bench.service.handle(ServiceEvent::FramePassed(digest, QcFlags::NONE));
    }
    bench.confirm(&model(3, 2000), Downgrade::Refused);
    assert_eq!(bench.send(&model(4, 1999), Downgrade::Refused), {
        let older = ModelRefusal::Older { signed: UnixSeconds(1999), confirmed: UnixSeconds(2000) };
        Response::Refused(Refusal::Model(older))
    });
}

#[test]
fn guessing_locks_the_station_for_a_while() {
    let mut bench = Bench::trusting(ana());
    let full = Change::Set(Setting::Illumination(DutyCycle::FULL));
    let good = bench.sign(&key(1), full);
    let forged = SignedChange { key: key(1).public().id(), ..bench.sign(&key(2), full) };
    for _ in 0..MAX_FAILURES {
        assert_eq!(bench.ask(Request::Change(forged)), refused(TrustRefusal::BadSignature));
    }
    let Response::Refused(Refusal::Trust(TrustRefusal::LockedOut { seconds })) =
        bench.ask(Request::Change(good))
    else {
        panic!("even the right one waits")
    };
    assert!((1..=LOCK_MS / 1000).contains(&u64::from(seconds)));
    assert!(matches!(bench.ask(Request::Status), Response::Status(_)));
    bench.service.started -= std::time::Duration::from_millis(LOCK_MS);
    assert!(matches!(bench.ask(Request::Change(good)), Response::Settings(_)));
}

use shared::slots::{SlotRecord, TRIAL_FRAMES};
use shared::wire::{CHUNK, SlotState};

use super::memory::Fault;
use super::*;

const FACTORY: &[u8] = b"the factory's model";

fn model(fill: u8, length: u32) -> (ModelFile, Vec<u8>) {
    let bytes: Vec<u8> = (0..length).map(|i| fill ^ (i / CHUNK) as u8 ^ i as u8).collect();
    (ModelFile { digest: ModelDigest::of(&bytes), length }, bytes)
}

fn open(storage: &MemoryStorage) -> SlotStore {
    SlotStore::open(Box::new(storage.clone()), FACTORY)
}

/// A station without a network: any model whose digest holds is good.
struct Station {
    slots: SlotStore,
    runs: Option<ModelDigest>,
}

impl Station {
    fn boot(storage: &MemoryStorage) -> Self {
        let mut station = Self { slots: open(storage), runs: None };
        let work = station.slots.apply(SlotEvent::Booted);
        station.work(work);
        station
    }

    fn work(&mut self, work: Vec<LoaderJob>) {
        for item in work {
            let more = match item {
                LoaderJob::Verify { digest, onnx } if ModelDigest::of(&onnx) == digest => {
                    let work = self.slots.apply(SlotEvent::Verified(digest));
                    if self.slots.active_digest() == digest {
                        self.runs = Some(digest);
                    }
                    work
                }
                LoaderJob::Verify { digest, .. } => {
                    self.slots.apply(SlotEvent::VerifyFailed(digest, ModelRefusal::DigestMismatch))
                }
                LoaderJob::Load { digest, onnx, .. } if ModelDigest::of(&onnx) == digest => {
                    self.runs = Some(digest);
                    Vec::new()
                }
                LoaderJob::Load { .. } => {
                    self.slots.apply(SlotEvent::LoadFailed(ModelRefusal::DigestMismatch))
                }
            };
            self.work(more);
        }
    }

    /// The whole way of an update, as a host goes it; ends early where something is refused.
    fn update(&mut self, (file, bytes): &(ModelFile, Vec<u8>)) -> Result<(), Refusal> {
        let work = self.slots.request(SlotEvent::StageRequested(*file))?;
        self.work(work);
        for (index, chunk) in bytes.chunks(CHUNK as usize).enumerate() {
            self.slots.store_chunk(file.digest, index as u32 * CHUNK, chunk)?;
        }
        let work = self.slots.request(SlotEvent::ActivateRequested(file.digest))?;
        self.work(work);
        for _ in 0..TRIAL_FRAMES {
            let work = self.slots.apply(SlotEvent::FramePassed(file.digest));
            self.work(work);
        }
        Ok(())
    }

    fn is_confirmed(&self, file: ModelFile) -> bool {
        self.runs == Some(file.digest)
            && self.slots.active_digest() == file.digest
            && self.slots.table().record(self.slots.table().active()) == SlotRecord::Confirmed(file)
    }
}

#[test]
fn an_update_goes_through_and_a_second_one_replaces_the_older() {
    let storage = MemoryStorage::default();
    let mut station = Station::boot(&storage);
    assert_eq!(station.runs, Some(ModelDigest::of(FACTORY)));
    let models = [model(1, 3 * CHUNK + 5), model(2, CHUNK), model(3, 70 * CHUNK)];
    for model in &models {
        station.update(model).unwrap();
        assert!(station.is_confirmed(model.0));
        assert!(Station::boot(&storage).is_confirmed(model.0));
    }
    let work = station.slots.request(SlotEvent::RevertRequested(models[2].0.digest)).unwrap();
    station.work(work);
    assert_eq!(station.runs, Some(models[1].0.digest));
}

/// The power is cut at every storage operation of an update, in every way; a model runs after every start,
/// and the update can be completed.
#[test]
fn power_may_go_at_any_operation_of_an_update() {
    let (before, update) = (model(1, CHUNK + 9), model(2, (SYNC_CHUNKS + 3) * CHUNK + 7));
    let prepared = || {
        let storage = MemoryStorage::default();
        Station::boot(&storage).update(&before).unwrap();
        let station = Station::boot(&storage);
        (storage, station)
    };
    let (storage, mut station) = prepared();
    let start = storage.operations();
    station.update(&update).unwrap();
    let operations = storage.operations() - start;
    assert!(operations > 100, "{operations}");

    let mut recovered = 0;
    let outcomes = [PowerLossOutcome::Lost, PowerLossOutcome::Kept, PowerLossOutcome::Torn];
    for outcome in outcomes {
        for cut in 0..operations {
            let (storage, mut station) = prepared();
            storage.fault_at(cut, Fault::CutPower(outcome));
            let _ = station.update(&update);
            assert!(storage.is_cut(), "cut {cut} {outcome:?}");
            storage.restore_power();

            let mut station = Station::boot(&storage);
            let runs = station.runs.expect("a model runs after every start");
            assert!(
                [before.0.digest, update.0.digest].contains(&runs),
                "cut {cut} {outcome:?}: neither the old nor the new model runs"
            );
            station.update(&update).unwrap();
            assert!(station.is_confirmed(update.0), "cut {cut} {outcome:?}");
            recovered += 1;
        }
    }
    println!("{recovered} of {} cut points recovered", operations * outcomes.len());
    assert_eq!(recovered, operations * outcomes.len());
}

#[test]
fn an_operation_that_fails_leaves_the_old_model_and_may_be_tried_again() {
    let (before, update) = (model(1, CHUNK + 9), model(2, 3 * CHUNK));
    let prepared = || {
        let storage = MemoryStorage::default();
        Station::boot(&storage).update(&before).unwrap();
        let station = Station::boot(&storage);
        (storage, station)
    };
    let (storage, mut station) = prepared();
    let start = storage.operations();
    station.update(&update).unwrap();
    for fail in 0..storage.operations() - start {
        let (storage, mut station) = prepared();
        storage.fault_at(fail, Fault::Fail);
        let _ = station.update(&update);
        let runs = station.runs.unwrap();
        assert!([before.0.digest, update.0.digest].contains(&runs), "fault {fail}");
        station.update(&update).unwrap();
        assert!(station.is_confirmed(update.0), "fault {fail}");
        assert!(Station::boot(&storage).is_confirmed(update.0), "fault {fail}");
    }
}

#[test]
fn an_upload_goes_on_after_a_restart_from_what_was_synced() {
    let storage = MemoryStorage::default();
    let (file, bytes) = model(5, (SYNC_CHUNKS + 10) * CHUNK);
    let mut slots = open(&storage);
    slots.request(SlotEvent::StageRequested(file)).unwrap();
    for index in 0..SYNC_CHUNKS + 5 {
        let at = index * CHUNK;
        slots.store_chunk(file.digest, at, &bytes[at as usize..(at + CHUNK) as usize]).unwrap();
    }
    let held = |slots: &SlotStore| match slots.progress() {
        StageProgress::Receiving { received, .. } => received,
        other => panic!("{other:?}"),
    };
    assert_eq!(held(&slots), (SYNC_CHUNKS + 5) * CHUNK);
    storage.restore_power();
    let slots = open(&storage);
    assert_eq!(held(&slots), SYNC_CHUNKS * CHUNK);
}

#[test]
fn chunks_are_checked() {
    let (file, bytes) = model(6, CHUNK + 100);
    let mut slots = open(&MemoryStorage::default());
    let chunk = &bytes[..CHUNK as usize];
    assert_eq!(slots.store_chunk(file.digest, 0, chunk), Err(Refusal::NotFound));
    slots.request(SlotEvent::StageRequested(file)).unwrap();
    assert_eq!(slots.store_chunk(ModelDigest([0; 32]), 0, chunk), Err(Refusal::NotFound));
    for (offset, length) in [(1, CHUNK), (0, 5), (CHUNK, CHUNK), (2 * CHUNK, 100)] {
        let refused = slots.store_chunk(file.digest, offset, &bytes[..length as usize]);
        assert_eq!(refused, Err(Refusal::OutOfRange), "{offset} {length}");
    }
    assert_eq!(slots.store_chunk(file.digest, CHUNK, &bytes[CHUNK as usize..]), Ok(()));
    assert_eq!(slots.store_chunk(file.digest, 0, chunk), Ok(()));
    assert_eq!(slots.store_chunk(file.digest, 0, chunk), Ok(()), "twice");
    assert_eq!(slots.report().a.state, SlotState::Staged);
}

#[test]
fn damaged_bytes_lead_back_to_a_model_that_runs() {
    let storage = MemoryStorage::default();
    let (before, update) = (model(1, 2 * CHUNK), model(2, 3 * CHUNK));
    let mut station = Station::boot(&storage);
    station.update(&before).unwrap();
    station.update(&update).unwrap();
    let active = data_name(station.slots.table().active());
    let mut disk = storage.clone();
    disk.write(active, b"something else").unwrap();
    assert_eq!(Station::boot(&storage).runs, Some(before.0.digest));
    disk.write(TABLE, b"no table").unwrap();
    assert_eq!(Station::boot(&storage).runs, Some(ModelDigest::of(FACTORY)));
}

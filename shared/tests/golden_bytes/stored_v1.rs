//! Format 1 of what a station keeps about its slots: a later program must still read it.

use shared::slots::{ChunkMap, ModelFile, SlotEvent, SlotTable};
use shared::wire::{CHUNK, ModelDigest, ModelRefusal};

use crate::{hex, squeezed};

const MODEL: ModelFile =
    ModelFile { digest: ModelDigest(*b"0123456789abcdefghijklmnopqrstuv"), length: 70_000 };

#[test]
fn slot_table() {
    let digest = MODEL.digest;
    let way = [
        (SlotEvent::StageRequested(MODEL), "01000001 digest f0a204000000ef02cfba"),
        (SlotEvent::ChunksComplete(digest), "01000001 digest f0a204010000d8680dbb"),
        (SlotEvent::ActivateRequested(digest), "01000001 digest f0a20402000081d64bb9"),
        (SlotEvent::Verified(digest), "01010002 digest f0a204000a0000d66e1f64"),
        (SlotEvent::Booted, "01010002 digest f0a204010a0000b309a3dc"),
        (SlotEvent::LoadFailed(ModelRefusal::Storage), "010000000001 digest 0bc7894f27"),
    ];
    let mut table = SlotTable::default();
    for (event, expected) in way {
        table = table.step(event).unwrap().0;
        let bytes = table.encode();
        assert_eq!(hex(&bytes), squeezed(expected), "{event:?}");
        assert_eq!(SlotTable::decode(&bytes), Ok(table));
    }
}

#[test]
fn chunk_map() {
    let mut map = ChunkMap::new(MODEL);
    for chunk in [0, 1, 9] {
        map.insert(chunk * CHUNK, CHUNK as usize).unwrap();
    }
    let bytes = map.encode();
    assert_eq!(hex(&bytes), squeezed("01 digest f0a2040303020028ccbe96"));
    assert_eq!(ChunkMap::decode(&bytes, MODEL), Ok(map));
}

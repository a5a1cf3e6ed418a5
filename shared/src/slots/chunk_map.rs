//! The stored chunks of a staged model.

use alloc::{vec, vec::Vec};

use serde::{Deserialize, Serialize};

use super::{MAX_MODEL_LENGTH, ModelFile, StoredError, stored};
use crate::wire::{CHUNK, Refusal};

/// Format of an encoded [`ChunkMap`].
const MAP_VERSION: u8 = 1;

/// Which chunks of [`CHUNK`] bytes of a model are stored; the last may be shorter.
///
/// Its encoding may be written only after the data of every chunk in it was synced: then all that it
/// says after a restart is true, and the model's digest is still checked over the whole file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkMap {
    model: ModelFile,
    /// One bit per chunk, lowest first.
    stored: Vec<u8>,
}

impl ChunkMap {
    /// A map without chunks.
    pub fn new(model: ModelFile) -> Self {
        Self { model, stored: vec![0; chunks(model.length).div_ceil(8) as usize] }
    }

    /// The model that the chunks are of.
    pub const fn model(&self) -> ModelFile {
        self.model
    }

    /// Checks that `length` bytes at `offset` are a chunk of the model.
    ///
    /// # Errors
    /// [`Refusal::OutOfRange`] when the offset is no multiple of [`CHUNK`] within the file, or the length
    /// is not that of its chunk.
    pub fn check(&self, offset: u32, length: usize) -> Result<(), Refusal> {
        let left = self.model.length.checked_sub(offset).filter(|&left| left > 0);
        match left {
            Some(left) if offset.is_multiple_of(CHUNK) && length == left.min(CHUNK) as usize => Ok(()),
            _ => Err(Refusal::OutOfRange),
        }
    }

    /// Whether the chunk at `offset` is stored.
    pub fn contains(&self, offset: u32) -> bool {
        let chunk = offset / CHUNK;
        self.stored.get((chunk / 8) as usize).is_some_and(|bits| bits >> (chunk % 8) & 1 == 1)
    }

    /// Marks the chunk at `offset` as stored. Idempotent.
    ///
    /// # Errors
    /// As [`check`](Self::check); the map then stays as it is.
    pub fn insert(&mut self, offset: u32, length: usize) -> Result<(), Refusal> {
        self.check(offset, length)?;
        let chunk = offset / CHUNK;
        self.stored[(chunk / 8) as usize] |= 1 << (chunk % 8);
        Ok(())
    }

    /// Bytes stored without gaps from the start.
    pub fn received_prefix(&self) -> u32 {
        let full = self.stored.iter().take_while(|&&bits| bits == 0xFF).count();
        let rest = self.stored.get(full).map_or(0, |bits| bits.trailing_ones());
        ((full as u32 * 8 + rest) * CHUNK).min(self.model.length)
    }

    /// Whether every chunk is stored.
    pub fn is_complete(&self) -> bool {
        self.received_prefix() == self.model.length
    }

    /// The map's bytes for storage.
    pub fn encode(&self) -> Vec<u8> {
        stored::encode(MAP_VERSION, self)
    }

    /// The map of `model` from storage.
    ///
    /// # Errors
    /// [`StoredError`] when the bytes are damaged, of another version, of another model, or fit no model
    /// of that length: begin with [`ChunkMap::new`].
    pub fn decode(bytes: &[u8], model: ModelFile) -> Result<Self, StoredError> {
        let map: Self = stored::decode(MAP_VERSION, bytes)?;
        let count = chunks(model.length);
        let fits = map.model == model
            && (1..=MAX_MODEL_LENGTH).contains(&model.length)
            && map.stored.len() == count.div_ceil(8) as usize
            && (count.is_multiple_of(8) || map.stored.last().is_some_and(|bits| bits >> (count % 8) == 0));
        if fits { Ok(map) } else { Err(StoredError::Contradiction) }
    }
}

const fn chunks(length: u32) -> u32 {
    length.div_ceil(CHUNK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ModelDigest;

    fn model(length: u32) -> ModelFile {
        ModelFile { digest: ModelDigest([7; 32]), length }
    }

    /// Length of the chunk at `offset`.
    fn piece(length: u32, offset: u32) -> usize {
        (length - offset).min(CHUNK) as usize
    }

    #[test]
    fn prefix_and_completeness_follow_the_chunks() {
        for length in [1, CHUNK - 1, CHUNK, CHUNK + 1, 8 * CHUNK, 8 * CHUNK + 1, 21 * CHUNK + 5] {
            let count = chunks(length);
            // Every second chunk from the end, then the rest from the start.
            let order =
                (0..count).rev().step_by(2).chain((0..count).filter(|chunk| (count - 1 - chunk) % 2 == 1));
            let mut map = ChunkMap::new(model(length));
            let mut stored = vec![false; count as usize];
            for chunk in order {
                assert!(!map.is_complete());
                let offset = chunk * CHUNK;
                for _ in 0..2 {
                    map.insert(offset, piece(length, offset)).unwrap();
                }
                assert!(map.contains(offset));
                stored[chunk as usize] = true;
                let gapless = stored.iter().take_while(|&&stored| stored).count() as u32;
                assert_eq!(map.received_prefix(), (gapless * CHUNK).min(length));
                assert_eq!(ChunkMap::decode(&map.encode(), model(length)), Ok(map.clone()));
            }
            assert!(map.is_complete(), "{length}");
        }
    }

    #[test]
    fn invalid_chunks_are_refused() {
        let length = 2 * CHUNK + 10;
        let mut map = ChunkMap::new(model(length));
        let full = CHUNK as usize;
        let cases = [
            (1, full),
            (0, 0),
            (0, full - 1),
            (0, full + 1),
            (2 * CHUNK, full),
            (3 * CHUNK, 10),
            (u32::MAX, 1),
        ];
        for (offset, bytes) in cases {
            assert_eq!(map.insert(offset, bytes), Err(Refusal::OutOfRange), "{offset} {bytes}");
        }
        assert_eq!(map, ChunkMap::new(model(length)));
        assert_eq!(map.insert(2 * CHUNK, 10), Ok(()));
    }

    #[test]
    fn stored_map_must_be_whole_and_of_the_model() {
        let map = ChunkMap::new(model(9 * CHUNK));
        let good = map.encode();
        assert_eq!(ChunkMap::decode(&good, model(9 * CHUNK + 1)), Err(StoredError::Contradiction));
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert_eq!(ChunkMap::decode(&bad, map.model()), Err(StoredError::Damaged));
            assert!(ChunkMap::decode(&good[..at], map.model()).is_err());
        }
        let stray = ChunkMap { stored: vec![0, 2], ..map.clone() };
        assert_eq!(ChunkMap::decode(&stray.encode(), map.model()), Err(StoredError::Contradiction));
        let other = stored::encode(MAP_VERSION + 1, &map);
        assert_eq!(
            ChunkMap::decode(&other, map.model()),
            Err(StoredError::Version { found: MAP_VERSION + 1, supported: MAP_VERSION })
        );
    }
}

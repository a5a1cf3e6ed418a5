//! The log of QEMU's `blklogwrites`: every write and flush of a disk, in order.
//!
//! Format: Linux's `Documentation/admin-guide/device-mapper/log-writes.rst`, little-endian. A sector with the
//! superblock (magic, version, number of entries as u64, sector size as u32); then each entry, a sector with its
//! header (first sector, sectors, flags, length of data as u64) and its data.

use rand::Rng;

/// Atomic write unit of a disk or card, bytes. With less, ext4's own superblock may be torn, which no program can
/// prevent.
const BLOCK: usize = 4096;
const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;

pub struct WriteLog {
    sector: usize,
    entries: Vec<Entry>,
}

struct Entry {
    offset: usize,
    flags: u64,
    data: Vec<u8>,
}

impl WriteLog {
    pub fn parse(bytes: &[u8]) -> Self {
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        assert_eq!((word(0), word(8)), (MAGIC, 1), "a log of writes");
        let count = word(16);
        let sector = u32::from_le_bytes(bytes[24..28].try_into().unwrap()) as usize;
        let mut at = sector;
        let mut entries = Vec::new();
        for _ in 0..count {
            let [first, sectors, flags, _] = [0, 8, 16, 24].map(|field| word(at + field));
            at += sector;
            // Discarded blocks may contain anything afterwards, including their old data.
            let length = if flags & DISCARD == 0 { sectors as usize * sector } else { 0 };
            entries.push(Entry {
                offset: first as usize * sector,
                flags,
                data: bytes[at..at + length].to_vec(),
            });
            at += length;
        }
        Self { sector, entries }
    }

    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Turns the initial disk into a possible state after a power cut before entry `cut`: flushed data, and for each
    /// block written since then, randomly the old or the new content.
    pub fn replay(&self, disk: &mut [u8], cut: usize, random: &mut impl Rng) {
        let before = &self.entries[..cut];
        let flushed = before.iter().rposition(|entry| entry.flags & FLUSH != 0).unwrap_or(0);
        for (number, entry) in before.iter().enumerate() {
            let lasting = number < flushed || entry.flags & FUA != 0;
            let (mut block, mut arrives) = (None, true);
            for (place, data) in entry.data.chunks(self.sector).enumerate() {
                let at = entry.offset + place * self.sector;
                if block != Some(at / BLOCK) {
                    (block, arrives) = (Some(at / BLOCK), lasting || random.random());
                }
                if arrives {
                    disk[at..at + data.len()].copy_from_slice(data);
                }
            }
        }
    }
}

#[test]
fn what_was_flushed_lasts_and_what_was_not_may_be_lost() {
    use rand::SeedableRng as _;
    let mut bytes = vec![0; 512];
    bytes[..8].copy_from_slice(&MAGIC.to_le_bytes());
    for (at, value) in [(8, 1u64), (16, 4), (24, 512)] {
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    for (first, sectors, flags, fill) in
        [(0u64, 1u64, 0, 7u8), (0, 0, FLUSH, 0), (1, 1, 0, 8), (2, 1, FUA, 9)]
    {
        let mut header = vec![0; 512];
        for (at, value) in [(0, first), (8, sectors), (16, flags)] {
            header[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        bytes.extend(header);
        bytes.extend(vec![fill; 512 * sectors as usize]);
    }
    let log = WriteLog::parse(&bytes);
    assert_eq!(log.len(), 4);
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..32 {
        let mut disk = vec![0; 3 * 512];
        log.replay(&mut disk, 4, &mut rand::rngs::StdRng::seed_from_u64(seed));
        seen.insert([disk[0], disk[512], disk[1024]]);
    }
    assert_eq!(Vec::from_iter(seen), [[7, 0, 9], [7, 8, 9]]);
}

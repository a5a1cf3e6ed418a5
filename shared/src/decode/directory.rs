//! Patches TIFF directories that the `tiff` crate rejects: palettes.
//!
//! The crate does not decode palette pages, and inverts pages whose zero is white. Both are read as plain grayscale
//! once PhotometricInterpretation (TIFF 6.0, section 8) says that zero is black; their meaning is returned separately.

use alloc::borrow::Cow;
use alloc::vec::Vec;

/// The meaning of a page's samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Photometric {
    /// Zero is white.
    WhiteIsZero,
    /// Samples are indices.
    Palette,
    /// Anything the decoder supports itself.
    Other,
}

const PHOTOMETRIC: u64 = 262;
const WHITE_IS_ZERO: u16 = 0;
const BLACK_IS_ZERO: u16 = 1;
const PALETTE: u16 = 3;
/// Maximum number of pages.
const MAX_PAGES: usize = 1 << 16;

/// The file with every white-is-zero or palette page declared plain grayscale, and the original meaning of each page.
pub(super) fn readable(bytes: &[u8]) -> (Cow<'_, [u8]>, Vec<Photometric>) {
    let mut bytes = Cow::Borrowed(bytes);
    let mut pages = Vec::new();
    let Some(layout) = NumberFormat::of(&bytes) else { return (bytes, pages) };
    let mut next = layout.first(&bytes);
    while let Some(directory) = next.filter(|&at| at != 0 && pages.len() < MAX_PAGES) {
        let mut of = Photometric::Other;
        let count = layout.number(&bytes, directory, layout.count_bytes).unwrap_or(0);
        let entries = directory + layout.count_bytes;
        for entry in (0..count.min(1 << 16)).map(|index| entries + index * layout.entry_bytes) {
            let value_at = entry + layout.entry_bytes - layout.word_bytes;
            let (Some(PHOTOMETRIC), Some(value)) =
                (layout.number(&bytes, entry, 2), layout.number(&bytes, value_at, 2))
            else {
                continue;
            };
            of = match value as u16 {
                WHITE_IS_ZERO => Photometric::WhiteIsZero,
                PALETTE => Photometric::Palette,
                _ => continue,
            };
            let grey =
                if layout.big_endian { BLACK_IS_ZERO.to_be_bytes() } else { BLACK_IS_ZERO.to_le_bytes() };
            if let Some(value) = bytes.to_mut().get_mut(value_at as usize..value_at as usize + 2) {
                value.copy_from_slice(&grey);
            }
        }
        pages.push(of);
        next = layout.number(
            &bytes,
            entries.saturating_add(count.saturating_mul(layout.entry_bytes)),
            layout.word_bytes,
        );
    }
    (bytes, pages)
}

/// The number format of a file: TIFF 6.0, section 2, or BigTIFF.
struct NumberFormat {
    big_endian: bool,
    /// Bytes of the entry count of a directory.
    count_bytes: u64,
    entry_bytes: u64,
    /// Bytes of an offset, and of an entry's value.
    word_bytes: u64,
}

impl NumberFormat {
    fn of(bytes: &[u8]) -> Option<Self> {
        let big_endian = match bytes.get(..2)? {
            b"II" => false,
            b"MM" => true,
            _ => return None,
        };
        let layout = Self { big_endian, count_bytes: 2, entry_bytes: 12, word_bytes: 4 };
        match layout.number(bytes, 2, 2)? {
            42 => Some(layout),
            43 => Some(Self { count_bytes: 8, entry_bytes: 20, word_bytes: 8, ..layout }),
            _ => None,
        }
    }

    fn first(&self, bytes: &[u8]) -> Option<u64> {
        self.number(bytes, self.word_bytes, self.word_bytes)
    }

    fn number(&self, bytes: &[u8], at: u64, length: u64) -> Option<u64> {
        let at = usize::try_from(at).ok()?;
        let digits = bytes.get(at..at.checked_add(length as usize)?)?;
        let add = |number: u64, &digit: &u8| number << 8 | u64::from(digit);
        Some(if self.big_endian { digits.iter().fold(0, add) } else { digits.iter().rev().fold(0, add) })
    }
}

//! Label images and previews reassembled from their fragments.

use shared::wire::Fragment;

/// Longest run of bytes that is assembled: more than any frame's label image or preview.
const MAX_TOTAL: u32 = 16 << 20;

/// The fragments of one run of bytes.
#[derive(Debug, Default)]
pub struct FragmentAssembler {
    frame: u32,
    total: u32,
    bytes: Vec<u8>,
}

impl FragmentAssembler {
    /// Adds a fragment; the frame's number and its bytes once they are complete. Fragments arrive in order: one that
    /// does not follow the previous one drops the run, since the line has dropped a part of it.
    pub fn push(&mut self, fragment: Fragment, bytes: &[u8]) -> Option<(u32, Vec<u8>)> {
        if fragment.offset == 0 {
            *self = Self { frame: fragment.frame, total: fragment.total, bytes: Vec::new() };
        }
        let follows = (fragment.frame, fragment.total) == (self.frame, self.total)
            && fragment.offset as usize == self.bytes.len()
            && self.bytes.len() + bytes.len() <= fragment.total as usize
            && fragment.total <= MAX_TOTAL;
        if !follows {
            *self = Self::default();
            return None;
        }
        self.bytes.extend_from_slice(bytes);
        let is_complete = self.bytes.len() == self.total as usize;
        is_complete.then(|| (self.frame, std::mem::take(&mut self.bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complete_runs_are_assembled_and_broken_ones_dropped() {
        let fragment = |frame, offset, total| Fragment { frame, offset, total };
        let mut assembler = FragmentAssembler::default();
        assert_eq!(assembler.push(fragment(1, 0, 3), b"ab"), None);
        assert_eq!(assembler.push(fragment(1, 2, 3), b"c"), Some((1, b"abc".to_vec())));
        // The middle is missing, another frame begins, and a run that is longer than it says.
        assert_eq!(assembler.push(fragment(2, 0, 6), b"ab"), None);
        assert_eq!(assembler.push(fragment(2, 4, 6), b"ef"), None);
        assert_eq!(assembler.push(fragment(2, 2, 6), b"cd"), None);
        assert_eq!(assembler.push(fragment(3, 0, 1), b"x"), Some((3, b"x".to_vec())));
        assert_eq!(assembler.push(fragment(4, 0, 1), b"xy"), None);
        assert_eq!(assembler.push(fragment(5, 0, u32::MAX), b"x"), None);
        assert_eq!(assembler.push(fragment(5, 1, u32::MAX), b"x"), None);
    }
}

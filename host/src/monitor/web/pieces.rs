//! Masks and previews put together from the pieces in which they come.

use shared::wire::Piece;

/// Longest run of bytes that is put together: more than any frame's masks or preview.
const MAX_TOTAL: u32 = 16 << 20;

/// What has come of one run of bytes.
#[derive(Debug, Default)]
pub struct Pieces {
    frame: u32,
    total: u32,
    bytes: Vec<u8>,
}

impl Pieces {
    /// Takes a piece in; the frame's number and its bytes when they are whole. Pieces come in order: one that
    /// does not follow the one before drops the run, as the line dropped a part of it.
    pub fn push(&mut self, piece: Piece, bytes: &[u8]) -> Option<(u32, Vec<u8>)> {
        if piece.offset == 0 {
            *self = Self { frame: piece.frame, total: piece.total, bytes: Vec::new() };
        }
        let follows = (piece.frame, piece.total) == (self.frame, self.total)
            && piece.offset as usize == self.bytes.len()
            && self.bytes.len() + bytes.len() <= piece.total as usize
            && piece.total <= MAX_TOTAL;
        if !follows {
            *self = Self::default();
            return None;
        }
        self.bytes.extend_from_slice(bytes);
        let is_whole = self.bytes.len() == self.total as usize;
        is_whole.then(|| (self.frame, std::mem::take(&mut self.bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_runs_come_out_and_broken_ones_do_not() {
        let piece = |frame, offset, total| Piece { frame, offset, total };
        let mut pieces = Pieces::default();
        assert_eq!(pieces.push(piece(1, 0, 3), b"ab"), None);
        assert_eq!(pieces.push(piece(1, 2, 3), b"c"), Some((1, b"abc".to_vec())));
        // The middle is missing, another frame begins, and a run that is longer than it says.
        assert_eq!(pieces.push(piece(2, 0, 6), b"ab"), None);
        assert_eq!(pieces.push(piece(2, 4, 6), b"ef"), None);
        assert_eq!(pieces.push(piece(2, 2, 6), b"cd"), None);
        assert_eq!(pieces.push(piece(3, 0, 1), b"x"), Some((3, b"x".to_vec())));
        assert_eq!(pieces.push(piece(4, 0, 1), b"xy"), None);
        assert_eq!(pieces.push(piece(5, 0, u32::MAX), b"x"), None);
        assert_eq!(pieces.push(piece(5, 1, u32::MAX), b"x"), None);
    }
}

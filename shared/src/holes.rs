//! Holes in instances: nuclei have none, and people draw none.

use alloc::{vec, vec::Vec};

use crate::components::{components, neighbours};

/// What is known of a piece of background.
#[derive(Clone, Copy, PartialEq)]
enum Piece {
    /// Nothing yet.
    Unknown,
    /// Every neighbour so far has this label.
    Within(u32),
    /// It reaches the picture's edge, or lies between instances.
    Open,
}

/// Gives every 4-connected piece of background that one instance alone surrounds to that instance, in
/// labels `[height, width]`. What reaches the picture's edge stays background.
pub(crate) fn fill_holes(labels_hw: &mut [u32], width: usize) {
    let ground: Vec<bool> = labels_hw.iter().map(|&label| label == 0).collect();
    let (pieces_hw, count) = components(&ground, width);
    let mut pieces = vec![Piece::Unknown; count as usize + 1];
    for (at, &piece) in pieces_hw.iter().enumerate().filter(|&(_, &piece)| piece != 0) {
        let (x, last) = (at % width, labels_hw.len() - width);
        let piece = &mut pieces[piece as usize];
        if x == 0 || x + 1 == width || at < width || at >= last {
            *piece = Piece::Open;
        }
        for near in neighbours(at, width, labels_hw.len()).map(|near| labels_hw[near]) {
            *piece = match *piece {
                Piece::Unknown if near != 0 => Piece::Within(near),
                Piece::Within(label) if near != 0 && near != label => Piece::Open,
                known => known,
            };
        }
    }
    for (label, &piece) in labels_hw.iter_mut().zip(&pieces_hw) {
        if let Piece::Within(instance) = pieces[piece as usize] {
            *label = instance;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_one_instance_surrounds_is_filled() {
        let filled = |rows: &[&str]| -> Vec<u32> {
            let width = rows[0].len();
            let mut labels: Vec<u32> = rows.concat().bytes().map(|digit| u32::from(digit - b'0')).collect();
            fill_holes(&mut labels, width);
            labels
        };
        let cases: [(&[&str], &[&str]); 4] = [
            (&["1111", "1001", "1111"], &["1111", "1111", "1111"]),
            (&["1111", "1002", "1111"], &["1111", "1002", "1111"]),
            (&["1111", "1001", "1101"], &["1111", "1001", "1101"]),
            (&["0000", "0110", "0000"], &["0000", "0110", "0000"]),
        ];
        for (rows, expected) in cases {
            let expected: Vec<u32> = expected.concat().bytes().map(|digit| u32::from(digit - b'0')).collect();
            assert_eq!(filled(rows), expected, "{rows:?}");
        }
    }
}

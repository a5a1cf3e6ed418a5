//! Holes in instances: nuclei have none, and people draw none.

use alloc::vec;
use core::ops::Range;

use crate::components::{ComponentRows, Components, Run};

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

impl Piece {
    /// What is known with these neighbours as well.
    fn beside(self, labels: &[u32]) -> Self {
        labels.iter().fold(self, |piece, &near| match piece {
            Self::Unknown if near != 0 => Self::Within(near),
            Self::Within(label) if near != 0 && near != label => Self::Open,
            known => known,
        })
    }
}

/// Gives every 4-connected piece of background that one instance alone surrounds to that instance, in
/// labels `[height, width]`. What reaches the picture's edge stays background.
pub(crate) fn fill_holes(labels_hw: &mut [u32], width: usize) {
    let mut rows = ComponentRows::new(width);
    let mut ground = vec![false; width];
    for row in labels_hw.chunks_exact(width) {
        for (is_ground, &label) in ground.iter_mut().zip(row) {
            *is_ground = label == 0;
        }
        rows.push(&ground);
    }
    let Components { runs, count } = rows.finish();
    let mut pieces = vec![Piece::Unknown; count as usize + 1];
    for Run { pixels: Range { start, end }, component } in &runs {
        let is_at_edge = start % width == 0 || end % width == 0;
        if is_at_edge || *start < width || end + width > labels_hw.len() {
            pieces[*component as usize] = Piece::Open;
        }
    }
    for Run { pixels: Range { start, end }, component } in runs.iter().cloned() {
        let piece = &mut pieces[component as usize];
        if *piece != Piece::Open {
            *piece = piece
                .beside(&[labels_hw[start - 1], labels_hw[end]])
                .beside(&labels_hw[start - width..end - width])
                .beside(&labels_hw[start + width..end + width]);
        }
    }
    for Run { pixels, component } in runs {
        if let Piece::Within(instance) = pieces[component as usize] {
            labels_hw[pixels].fill(instance);
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

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

//! Runs of equal values: labels and masks have far fewer of them than pixels.

use core::ops::{BitOr, BitXor, Range};

/// Values that are compared at once, without a branch for each.
const BLOCK: usize = 32;

/// The runs of equal values in a row, from left to right: where each lies, and its value.
pub(crate) fn runs<T>(row: &[T]) -> impl Iterator<Item = (Range<usize>, T)>
where
    T: Copy + Default + PartialEq + BitOr<Output = T> + BitXor<Output = T>,
{
    let mut start = 0;
    core::iter::from_fn(move || {
        let value = *row.get(start)?;
        let run = start..start + equal_to(value, &row[start..]);
        start = run.end;
        Some((run, value))
    })
}

/// How many values at the begin of a row are equal to this one.
pub(crate) fn equal_to<T>(value: T, row: &[T]) -> usize
where
    T: Copy + Default + PartialEq + BitOr<Output = T> + BitXor<Output = T>,
{
    let none = T::default();
    let (blocks, _) = row.as_chunks::<BLOCK>();
    let is_equal =
        |block: &[T; BLOCK]| block.iter().fold(none, |bits, &other| bits | (other ^ value)) == none;
    let whole = blocks.iter().take_while(|&block| is_equal(block)).count() * BLOCK;
    whole + row[whole..].iter().take_while(|&&other| other == value).count()
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_are_what_comparing_neighbours_gives(
            lengths in proptest::collection::vec((0u8..3, 1usize..40), 0..20)
        ) {
            let row: Vec<u8> =
                lengths.iter().flat_map(|&(value, length)| core::iter::repeat_n(value, length)).collect();
            let mut start = 0;
            let expected: Vec<(Range<usize>, u8)> = row
                .chunk_by(|a, b| a == b)
                .map(|equal| {
                    let run = start..start + equal.len();
                    start = run.end;
                    (run, equal[0])
                })
                .collect();
            prop_assert_eq!(runs(&row).collect::<Vec<_>>(), expected);
        }
    }
}

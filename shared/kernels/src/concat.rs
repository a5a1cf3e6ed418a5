//! Two values concatenated along their channels.

use crate::layout::Layout;
use crate::threads::{DisjointWrites, Threads};

/// Concatenates two padded values of one height and width: of floats, or of C4 blocks, where the first fills its
/// words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Concat {
    first: Layout,
    second: Layout,
    output: Layout,
}

impl Concat {
    /// For inputs that lie like this; the output is padded as well.
    ///
    /// # Panics
    /// When an input is not padded, or they differ in height or width.
    pub fn new(first: Layout, second: Layout) -> Self {
        assert!(first.is_padded() && second.is_padded(), "the inputs of a concat are padded");
        assert_eq!((first.height(), first.width()), (second.height(), second.width()));
        let output = Layout::padded(first.channels() + second.channels(), first.height(), first.width());
        Self { first, second, output }
    }

    /// The output's layout.
    pub const fn output(&self) -> &Layout {
        &self.output
    }

    /// Reads both inputs and writes the pixels of `output`.
    ///
    /// # Panics
    /// When a slice is not as long as its layout says.
    pub fn run<T: Copy + Send + Sync>(&self, first: &[T], second: &[T], output: &mut [T], threads: &Threads) {
        let Self { first: from, second: and, output: to } = self;
        assert_eq!((first.len(), second.len(), output.len()), (from.len(), and.len(), to.len()));
        let pixels = DisjointWrites::new(output.as_mut_ptr());
        threads.each(to.height(), |y| {
            for channel in 0..to.channels() {
                let row = match channel.checked_sub(from.channels()) {
                    None => &first[from.index(channel, y, 0)..][..from.width()],
                    Some(channel) => &second[and.index(channel, y, 0)..][..and.width()],
                };
                // SAFETY: the row is the output's, whose length was compared with its layout; each is written by one
                // task, and nobody else has `output`.
                unsafe {
                    let to = pixels.pointer().add(to.index(channel, y, 0));
                    std::ptr::copy_nonoverlapping(row.as_ptr(), to, row.len());
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{pack, unpack};

    #[test]
    fn channels_follow_each_other_and_nothing_else_changes() {
        for (first, second, height, width) in [(1, 1, 1, 1), (3, 2, 4, 17), (24, 24, 5, 33)] {
            let [from, and, both] =
                [first, second, first + second].map(|channels| Layout::plain(channels, height, width));
            let values: Vec<f32> = (0..both.len()).map(|index| index as f32 + 1.0).collect();
            let padded = |values: &[f32], plain: &Layout| {
                let layout = Layout::padded(plain.channels(), height, width);
                let mut padded = vec![0.0; layout.len()];
                pack(values, plain, 1, &mut padded, &layout);
                padded
            };
            let (lower, upper) = values.split_at(from.len());
            let concat =
                Concat::new(Layout::padded(first, height, width), Layout::padded(second, height, width));
            let mut output = vec![0.0; concat.output().len()];
            concat.run(&padded(lower, &from), &padded(upper, &and), &mut output, &Threads::default());
            let mut found = vec![0.0; both.len()];
            unpack(&output, concat.output(), &mut found, &both);
            assert_eq!(found, values);
            assert_eq!(output, padded(&values, &both), "something was written beside the pixels");
        }
    }
}

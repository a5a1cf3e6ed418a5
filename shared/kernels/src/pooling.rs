//! Maximum of 2x2 pixels, stride 2.

use crate::layout::Layout;
use crate::simd::{Isa, Simd, Task};
use crate::threads::{DisjointWrites, Threads};

/// Halves height and width, keeping the greatest of each four pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MaxPooling {
    input: Layout,
    output: Layout,
    isa: Isa,
}

impl MaxPooling {
    /// For a padded input; the output is padded as well. An odd last row or column is left out.
    ///
    /// # Panics
    /// When the input is not padded, or this CPU lacks the instruction set.
    pub fn new(input: Layout, isa: Isa) -> Self {
        assert!(isa.is_available(), "this CPU has no {isa}");
        assert!(input.is_padded(), "the input of a pooling is padded");
        let output = Layout::padded(input.channels(), input.height() / 2, input.width() / 2);
        Self { input, output, isa }
    }

    /// The input's layout.
    pub const fn input(&self) -> &Layout {
        &self.input
    }

    /// The output's layout.
    pub const fn output(&self) -> &Layout {
        &self.output
    }

    /// Reads `input` and writes the pixels of `output`.
    ///
    /// # Panics
    /// When a slice is not as long as its layout says.
    pub fn run(&self, input: &[f32], output: &mut [f32], threads: &Threads) {
        assert_eq!((input.len(), output.len()), (self.input.len(), self.output.len()));
        let to = DisjointWrites::new(output.as_mut_ptr());
        threads.each(self.output.height(), |y| {
            let row = PoolRow { pooling: self, input, output: to.pointer(), y };
            // SAFETY: `new` made sure that this CPU has the set; the lengths are those of the layouts; each
            // row is written by one task, and nobody else has `output`.
            unsafe { self.isa.run(row) }
        });
    }
}

struct PoolRow<'a> {
    pooling: &'a MaxPooling,
    input: &'a [f32],
    output: *mut f32,
    y: usize,
}

impl Task for PoolRow<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let MaxPooling { input, output, .. } = self.pooling;
        let line = input.line_stride();
        for channel in 0..output.channels() {
            for x in (0..output.width()).step_by(S::LANES) {
                // SAFETY: `x` begins within the columns, so that `2 * x` does in the input. Two vectors from
                // there end at most in the row that follows, and the zeros below the last row are stored, too.
                // Of a vector that is cut, only pixels of the row are written.
                unsafe {
                    let from = self.input.as_ptr().add(input.index(channel, 2 * self.y, 2 * x));
                    let low = S::max(S::load(from), S::load(from.add(line)));
                    let from = from.add(S::LANES);
                    let high = S::max(S::load(from), S::load(from.add(line)));
                    let [even, odd] = S::deinterleave(low, high);
                    let greatest = S::max(even, odd);
                    let to = self.output.add(output.index(channel, self.y, x));
                    let inside = output.width() - x;
                    if inside >= S::LANES {
                        S::store(to, greatest);
                    } else {
                        let mut cut = [0.0; 16];
                        S::store(cut.as_mut_ptr(), greatest);
                        std::ptr::copy_nonoverlapping(cut.as_ptr(), to, inside);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{pack, unpack};

    #[test]
    fn every_kernel_keeps_the_greatest_of_four() {
        let sizes = [(1, 2, 2), (3, 4, 6), (5, 7, 33), (2, 6, 64), (24, 4, 16), (1, 3, 31), (4, 2, 66)];
        for (channels, height, width) in sizes {
            let plain = Layout::plain(channels, height, width);
            let values: Vec<f32> =
                (0..plain.len()).map(|index| ((index * 7919) % 1009) as f32 - 900.0).collect();
            let greatest = |channel: usize, y: usize, x: usize| {
                let at = |dy, dx| values[(channel * height + 2 * y + dy) * width + 2 * x + dx];
                at(0, 0).max(at(0, 1)).max(at(1, 0)).max(at(1, 1))
            };
            let mut expected = Vec::new();
            for channel in 0..channels {
                for y in 0..height / 2 {
                    expected.extend((0..width / 2).map(|x| greatest(channel, y, x)));
                }
            }
            for isa in Isa::available() {
                let pooling = MaxPooling::new(Layout::padded(channels, height, width), isa);
                let mut input = vec![0.0; pooling.input().len()];
                pack(&values, &plain, 1, &mut input, pooling.input());
                let mut output = vec![0.0; pooling.output().len()];
                pooling.run(&input, &mut output, &Threads::default());
                let small = Layout::plain(channels, height / 2, width / 2);
                let mut found = vec![0.0; small.len()];
                unpack(&output, pooling.output(), &mut found, &small);
                assert_eq!(found, expected, "{isa}, {channels}x{height}x{width}");
                let mut repacked = vec![0.0; output.len()];
                pack(&found, &small, 1, &mut repacked, pooling.output());
                assert_eq!(repacked, output, "{isa}: something was written beside the pixels");
            }
        }
    }
}

//! Maximum of 2x2 pixels, stride 2.

use crate::layout::Layout;
use crate::simd::{Isa, Simd, Task};
use crate::threads::{Shared, Threads};

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
    /// When the input is not padded.
    pub fn new(input: Layout, isa: Isa) -> Self {
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
        let to = Shared::new(output);
        threads.each(self.output.height(), |y| {
            let row = Row { pooling: self, input, output: to.pointer(), y };
            // SAFETY: `isa` was detected on this CPU or is portable; the lengths are those of the layouts; each
            // row is written by one task, and nobody else has `output`.
            unsafe { self.isa.run(row) }
        });
    }
}

struct Row<'a> {
    pooling: &'a MaxPooling,
    input: &'a [f32],
    output: *mut f32,
    y: usize,
}

impl Task for Row<'_> {
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
                    let [low, high] =
                        [from, from.add(S::LANES)].map(|from| S::max(S::load(from), S::load(from.add(line))));
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

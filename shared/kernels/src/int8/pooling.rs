//! Maximum of 2x2 pixels of quantized values, stride 2.

use super::kernel::put;
use crate::layout::Layout;
use crate::simd::{Int8Task, Isa, SimdInt8};
use crate::threads::{DisjointWrites, Threads};

/// Halves height and width, keeping the greatest quantized value of each four pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct QuantizedMaxPool {
    input: Layout,
    output: Layout,
    isa: Isa,
}

impl QuantizedMaxPool {
    /// For an input that lies as [`c4_layout`](super::c4_layout) says; so does the output. An odd last row or
    /// column is left out.
    ///
    /// # Panics
    /// When the input is not padded, or this CPU lacks the instruction set.
    pub fn new(input: Layout, isa: Isa) -> Self {
        assert!(isa.is_available(), "this CPU has no {isa}");
        assert!(input.is_padded(), "the input of a pooling is padded");
        let output = Layout::padded(input.channels(), input.height() / 2, input.width() / 2);
        Self { input, output, isa }
    }

    /// The output's layout.
    pub const fn output(&self) -> &Layout {
        &self.output
    }

    /// Reads `input` and writes the pixels of `output`.
    ///
    /// # Panics
    /// When a slice is not as long as its layout says.
    pub fn run(&self, input: &[u32], output: &mut [u32], threads: &Threads) {
        assert_eq!((input.len(), output.len()), (self.input.len(), self.output.len()));
        let to = DisjointWrites::new(output.as_mut_ptr());
        threads.each(self.output.height(), |y| {
            let row = Int8PoolRow { pooling: self, input, output: to.pointer(), y };
            // SAFETY: `new` made sure that this CPU has the set; the lengths are those of the layouts; each row is
            // written by one task, and nobody else has `output`.
            unsafe { self.isa.run_int8(row) }
        });
    }
}

struct Int8PoolRow<'a> {
    pooling: &'a QuantizedMaxPool,
    input: &'a [u32],
    output: *mut u32,
    y: usize,
}

impl Int8Task for Int8PoolRow<'_> {
    #[inline(always)]
    unsafe fn run<S: SimdInt8>(self) {
        let QuantizedMaxPool { input, output, .. } = self.pooling;
        let line = input.line_stride();
        for group in 0..output.channels() {
            for x in (0..output.width()).step_by(S::LANES) {
                // SAFETY: `x` begins within the columns, so that `2 * x` does in the input. Two vectors from there
                // end at most in the row that follows, and the padding below the last row is stored, too.
                unsafe {
                    let from = self.input.as_ptr().add(input.index(group, 2 * self.y, 2 * x));
                    let low = S::max(S::load(from), S::load(from.add(line)));
                    let from = from.add(S::LANES);
                    let high = S::max(S::load(from), S::load(from.add(line)));
                    let [even, odd] = S::deinterleave(low, high);
                    let to = self.output.add(output.index(group, self.y, x));
                    put::<S>(to, output.width() - x, S::max(even, odd));
                }
            }
        }
    }
}

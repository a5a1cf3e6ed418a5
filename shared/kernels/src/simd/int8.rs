//! Vectors of four bytes per pixel, and of the sums of their products.

/// Numbers beyond it are taken for it when they are rounded, far above any quantized value: CPUs differ in what they make of floats
/// that no integer holds.
pub(super) const GREATEST: f32 = (1 << 30) as f32;

/// Work in int8 that is compiled once for each instruction set. Closures are not, unless the compiler happens to
/// inline them: kernels are written in loops.
pub(crate) trait Int8Task {
    /// Does it.
    ///
    /// # Safety
    /// This CPU has the set of `S`; the pointers that the task holds are good for what it reads and writes.
    unsafe fn run<S: SimdInt8>(self);
}

/// Vectors of one instruction set whose lanes are 32 bits wide: a lane holds four quantized values of a pixel, or one quantized value
/// or sum as `i32`, or an `f32`.
///
/// A quantized value is stored as `level ^ (SIGN & 0xff)`: dot products take the one operand as signed bytes on some CPUs, as
/// unsigned ones on others.
///
/// # Safety of its functions
/// This CPU has the set; pointers are good for [`SimdInt8::LANES`] values, unaligned.
pub(crate) trait SimdInt8: Copy {
    /// A vector.
    type V: Copy;
    /// Sums under way, of a vector of pixels.
    type Sums: Copy;
    /// Pixels of a vector, at most 16.
    const LANES: usize;
    /// Output channels whose sums stay in registers, 4 or 8.
    const TILE: usize;
    /// Vectors of pixels whose sums stay in registers for each of them, at most 3.
    const PIXELS: usize;
    /// What each byte of a lane differs in from the quantized value that it stands for.
    const SIGN: u32;
    /// Words that four weights take.
    const WORDS: usize;

    /// Four weights as [`SimdInt8::multiply_add`] reads them; those beyond [`SimdInt8::WORDS`] are zero.
    fn words(weights: [i8; 4]) -> [u32; 2];

    unsafe fn load(from: *const u32) -> Self::V;
    unsafe fn store(to: *mut u32, vector: Self::V);
    /// Nothing summed yet.
    unsafe fn zero() -> Self::Sums;
    /// Adds the products of `weights[i]` and `pixels[p]` to `sums[i][p]`, four each, for as many sums as there are.
    unsafe fn multiply_add<const P: usize>(
        sums: &mut [[Self::Sums; P]],
        weights: *const u32,
        pixels: &[Self::V; P],
    );
    /// [`SimdInt8::multiply_add`] for two sets of pixels, the weights for which follow each other.
    #[inline(always)]
    unsafe fn multiply_add_pair<const P: usize>(
        sums: &mut [[Self::Sums; P]],
        weights: *const u32,
        first: &[Self::V; P],
        second: &[Self::V; P],
    ) {
        // SAFETY: the caller's contract.
        unsafe {
            Self::multiply_add(sums, weights, first);
            Self::multiply_add(sums, weights.add(sums.len() * Self::WORDS), second);
        }
    }
    /// The sums, as `i32`.
    unsafe fn total(sums: Self::Sums) -> Self::V;
    /// `round(f32(sum + bias) * multiplier) + zero`, ties to even.
    unsafe fn requantize(sum: Self::V, bias: i32, multiplier: f32, zero_point: i32) -> Self::V;
    /// Quantized values saturated to `0..=255`.
    unsafe fn saturate(levels: Self::V) -> Self::V;
    /// `f32(level - zero) * scale`.
    unsafe fn dequantize(levels: Self::V, zero_point: i32, scale: f32) -> Self::V;
    /// The sums of floats.
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// `round(value * inverse) + zero`, ties to even; what is no number counts as a great one.
    unsafe fn quantize(values: Self::V, inverse: f32, zero_point: i32) -> Self::V;
    /// Saturates the quantized values of four channels and puts them into the bytes of each pixel.
    unsafe fn pack(levels: [Self::V; 4]) -> Self::V;
    /// The quantized values of the channels in the bytes of each pixel.
    unsafe fn unpack(bytes: Self::V) -> [Self::V; 4];
    /// The greater quantized value, byte by byte.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// `a0 b0 a1 b1 ...`, in two vectors.
    unsafe fn interleave(a: Self::V, b: Self::V) -> [Self::V; 2];
    /// The lanes at even places of `a` followed by `b`, and those at odd ones.
    unsafe fn deinterleave(a: Self::V, b: Self::V) -> [Self::V; 2];
}

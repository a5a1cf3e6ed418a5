//! What a segmentation network computes, at the hardware's limit, as operators of a tract graph.
//!
//! After tract has loaded and simplified a network, [`replace`] puts the operators of this crate in the place of
//! its convolutions, rectifiers, sums and poolings; what it does not know stays tract's. Between its own
//! operators values keep the form that kernels read, [`Layout::padded`], of floats or of words of levels
//! ([`byte_layout`]). Kernels exist for several instruction sets, [`Isa`], one of which is picked at run time. Weights
//! are packed once, and memory is kept between runs.

mod burst;
mod bytes;
mod convolution;
mod graph;
mod layout;
mod operators;
mod packing;
mod pooling;
mod simd;
mod stacking;
mod threads;

pub use burst::{byte_multiply_add_burst, multiply_add_burst};
pub use bytes::{
    Affine, ByteConvolution, ByteMaxPooling, ByteSpec, ByteWeights, End, Quantization, Rounding, byte_layout,
    pack_levels, unpack_levels,
};
pub use convolution::{Activation, Convolution, Form, Spec};
pub use graph::replace;
pub use layout::Layout;
pub use packing::{pack, unpack};
pub use pooling::MaxPooling;
pub use simd::Isa;
pub use stacking::Stacking;
pub use threads::Threads;

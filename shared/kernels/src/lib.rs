//! What a segmentation network computes, at the hardware's limit, as operators of a tract graph.
//!
//! After tract has loaded and simplified a network, [`fuse`] puts the operators of this crate in the place of
//! its convolutions, rectifiers, sums and poolings; what it does not know stays tract's. Between its own
//! operators values keep the form that kernels read, [`Layout::padded`], of floats or of C4 blocks
//! ([`c4_layout`]). Kernels exist for several instruction sets, [`Isa`], one of which is picked at run time. Weights are
//! packed once, and memory is kept between runs.

mod concat;
mod convolution;
mod graph;
mod int8;
mod layout;
mod operators;
mod packing;
mod peak_throughput;
mod pooling;
mod simd;
mod threads;

pub use concat::Concat;
pub use convolution::{Activation, ConvKind, ConvSpec, DirectConv};
pub use graph::fuse;
pub use int8::{
    Epilogue, QuantParams, QuantizeInput, QuantizedConv, QuantizedConvSpec, QuantizedMaxPool,
    QuantizedWeights, Quantizer, c4_layout, pack_c4, unpack_c4,
};
pub use layout::Layout;
pub use packing::{pack, unpack};
pub use peak_throughput::{peak_f32_macs, peak_int8_macs};
pub use pooling::MaxPooling;
pub use simd::Isa;
pub use threads::Threads;

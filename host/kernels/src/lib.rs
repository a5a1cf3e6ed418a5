//! CPU kernels for training, vectorized for the machine.
//!
//! A separate package because optimization is set per package: `host-training` is compiled with little of it, since
//! Burn's generics take minutes to optimize and gain nothing. All tensors are row-major `f32`, and every function runs
//! on the threads of rayon's pool. Vectors come from `pulp`, which picks the instruction set at run time and needs no
//! unsafe code here; the whole network's two inner loops are written by instruction set, in its module `machine`.
#![deny(unsafe_code)]

mod conv3x3;
mod loss;
mod network;
mod normalisation;
mod pool;
mod shuffle;

pub use conv3x3::{conv3x3, conv3x3_weight_gradient};
pub use loss::LossInput;
pub use network::{NetworkShape, Output, PictureBatch, Precision, Tape, forward};
pub use normalisation::{EPSILON, NormalisationGradients, Statistics, normalise, normalise_gradients};
pub use pool::{max_pool, max_pool_gradient};
pub use shuffle::{depth_to_space, space_to_depth};

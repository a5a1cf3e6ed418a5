//! Quantization noise per layer.

use host_console::Progress;
use serde::Serialize;

use super::trace::{Trace, TraceError};
use crate::graph::{Graph, ValueId};
use crate::onnx::Encoding;

/// The quantization noise at the output of one convolution, including its rectifier.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerNoise {
    /// The node's index in [`Graph::nodes`].
    #[serde(skip)]
    pub node: usize,
    /// Its name.
    pub name: String,
    /// Whether it computes in integers.
    pub integer: bool,
    /// Signal to quantization noise of its weight, dB.
    pub weight_sqnr_db: f64,
    /// Signal-to-noise ratio of its output, including the noise of all layers before it, dB.
    pub sqnr_db: f64,
}

/// Compares every convolution's output in `encoding` with that of the float network.
///
/// # Shapes
/// Each tile is `[c, h, w]` of [`Graph::input_shape`].
///
/// # Errors
/// [`TraceError`].
pub fn layer_noise(
    graph: &Graph,
    encoding: Encoding<'_>,
    tiles_chw: &[Vec<f32>],
) -> Result<Vec<LayerNoise>, TraceError> {
    let rectifiers = graph.sole_rectifiers();
    let weights = graph.quantize_weights();
    let watched: Vec<ValueId> =
        weights.iter().map(|layer| ValueId::of_node(rectifiers[layer.node].unwrap_or(layer.node))).collect();
    let (float, rounded) =
        (Trace::new(graph, Encoding::F32, &watched)?, Trace::new(graph, encoding, &watched)?);
    let progress = Progress::new("noise per layer", tiles_chw.len() as u64);
    let mut sums = vec![(0.0_f64, 0.0_f64); watched.len()];
    for tile in tiles_chw {
        let (wanted, found) = (float.run(tile)?, rounded.run(tile)?);
        for ((signal, noise), (wanted, found)) in sums.iter_mut().zip(wanted.iter().zip(&found)) {
            for (&wanted, &found) in wanted.iter().zip(found) {
                *signal += f64::from(wanted).powi(2);
                *noise += f64::from(wanted - found).powi(2);
            }
        }
        progress.advance(1);
    }
    let layers = weights.into_iter().zip(sums).map(|(layer, (signal, noise))| LayerNoise {
        node: layer.node,
        integer: match encoding {
            Encoding::Integer(plan) => !plan.stays_float(layer.node),
            Encoding::F32 | Encoding::Int8Weights => false,
        },
        name: layer.name,
        weight_sqnr_db: layer.sqnr_db,
        sqnr_db: 10.0 * (signal / noise).log10(),
    });
    Ok(layers.collect())
}

//! Weights as int8: symmetric, a scale per output channel.

use super::{Graph, Tensor4};

/// Largest magnitude; -128 is unused, so that the range is symmetric.
const LARGEST: f32 = 127.0;

/// A convolution's weight as `values * scale of the channel`.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedWeight {
    /// Shape of the weight it stands for.
    pub shape: [usize; 4],
    /// Axis of the output channels: 0 plain, 1 transposed.
    pub axis: usize,
    /// -127 ..= 127, row-major.
    pub values: Vec<i8>,
    /// One per output channel, positive.
    pub scales: Vec<f32>,
}

impl QuantizedWeight {
    /// Rounds `weight` to the nearest of 255 levels over each channel's largest
    /// magnitude, ties to even (Krishnamoorthi 2018, section 2.2).
    pub fn from_weight(weight: &Tensor4, axis: usize) -> Self {
        let shape = weight.shape();
        let mut largest = vec![0.0_f32; shape[axis]];
        let mut rest = weight.clone();
        rest.map_along(axis, |channel, w| {
            largest[channel] = largest[channel].max(w.abs());
            w
        });
        let scale = |largest: f32| Some(largest / LARGEST).filter(|&s| s > 0.0).unwrap_or(1.0);
        let scales: Vec<f32> = largest.into_iter().map(scale).collect();
        let mut values = Vec::with_capacity(weight.data().len());
        rest.map_along(axis, |channel, w| {
            let level = (w / scales[channel]).round_ties_even().clamp(-LARGEST, LARGEST);
            values.push(level as i8);
            w
        });
        Self { shape, axis, values, scales }
    }

    /// Writes `values * scale` over `weight`, which has the same shape.
    fn dequantize_into(&self, weight: &mut Tensor4) {
        let mut values = self.values.iter();
        weight.map_along(self.axis, |channel, w| {
            values.next().map_or(w, |&value| f32::from(value) * self.scales[channel])
        });
    }
}

/// One convolution's quantized weight, and its quantization noise.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedLayer {
    /// The node's index in [`Graph::nodes`].
    pub node: usize,
    /// The node's name.
    pub name: String,
    /// The rounded weight.
    pub weight: QuantizedWeight,
    /// Signal to quantization noise, `10 log10(sum w^2 / sum (w - q)^2)`, dB; infinite if rounding changed nothing.
    pub sqnr_db: f64,
}

impl Graph {
    /// Quantizes the weight of every convolution to int8, layer by layer.
    pub fn quantize_weights(&self) -> Vec<QuantizedLayer> {
        let layers = self.nodes.iter().enumerate();
        layers
            .filter_map(|(node, layer)| {
                let (convolution, axis) = layer.op.convolution()?;
                let weight = QuantizedWeight::from_weight(&convolution.weight, axis);
                let sqnr_db = sqnr_db(&convolution.weight, &weight);
                Some(QuantizedLayer { node, name: layer.name.clone(), weight, sqnr_db })
            })
            .collect()
    }

    /// The graph with every convolution's weight rounded as [`Graph::quantize_weights`]
    /// rounds it: what an int8 file computes.
    #[must_use]
    pub fn round_weights(mut self) -> Self {
        for layer in self.quantize_weights() {
            if let Some((convolution, _)) = self.nodes[layer.node].op.convolution_mut() {
                layer.weight.dequantize_into(&mut convolution.weight);
            }
        }
        self
    }
}

fn sqnr_db(weight: &Tensor4, quantized: &QuantizedWeight) -> f64 {
    let mut rounded = weight.clone();
    quantized.dequantize_into(&mut rounded);
    let square = |x: f64| x * x;
    let signal: f64 = weight.data().iter().map(|&w| square(w.into())).sum();
    let noise: f64 =
        weight.data().iter().zip(rounded.data()).map(|(&w, &q)| square(f64::from(w) - f64::from(q))).sum();
    if noise == 0.0 { f64::INFINITY } else { 10.0 * (signal / noise).log10() }
}

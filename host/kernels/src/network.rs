//! The lean U-Net as a whole: its forward pass and the gradients of all its numbers, in one layout from end to end.
//!
//! Stride-2 stem, added skips, 2x2 transposed convolutions. Between two convolutions nothing is repacked: the pass
//! that normalizes one's sums writes the factors of the next. See [`lines`] for the layout.

mod convolution;
mod elementwise;
mod lines;
mod machine;
#[cfg(test)]
mod tests;

use std::sync::Mutex;

use rayon::prelude::*;

use crate::normalisation::{Line, Statistics};
use convolution::{ConvolutionKind, NetworkConvolution};
use elementwise::Pictures;
use lines::{Floats, Map, PICTURES, Raw, Size};
use machine::Engine;

pub use lines::Precision;
pub(crate) use machine::wide;

/// The form of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkShape {
    /// Channels of the first level; each level below has twice as many.
    pub width: usize,
    /// Levels, 2 or more.
    pub depth: usize,
    /// 3x3 convolutions of a decoder's level, 1 or more; an encoder's level has two.
    pub decoder_convolutions: usize,
    /// Channels of the result.
    pub outputs: usize,
}

/// Channels of a picture.
const COLOURS: usize = 3;

/// Where a convolution's input comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LayerInput {
    /// The picture.
    Picture,
    /// A layer's normalized result.
    Layer(usize),
    /// The same, pooled.
    Pooled(usize),
    /// The sum of a layer's and an encoder layer's normalized results.
    Joined(usize, usize),
}

/// A convolution with its normalization; the last layer has a bias in its place.
#[derive(Debug, Clone, Copy)]
struct Layer {
    convolution: NetworkConvolution,
    source: LayerInput,
    /// The result's level.
    level: usize,
    /// The first of its numbers: weight, then scale and shift, or bias.
    first: usize,
}

impl NetworkShape {
    /// The layers, the head last: stem, encoder, then up and decoder from the deepest level on.
    fn layers(&self) -> Vec<Layer> {
        let mut layers: Vec<Layer> = Vec::new();
        let mut first = 0;
        let mut push = |kind, input, output, source, level| {
            let convolution = NetworkConvolution { kind, input, output };
            layers.push(Layer { convolution, source, level, first });
            first += convolution.weights() + 2 * output;
            layers.len() - 1
        };
        let channels = |level: usize| self.width << level;
        let mut last = push(ConvolutionKind::Point, 4 * COLOURS, self.width, LayerInput::Picture, 0);
        let mut skips = Vec::new();
        for level in 0..self.depth {
            let (source, input) = match level {
                0 => (LayerInput::Layer(last), self.width),
                _ => (LayerInput::Pooled(last), channels(level - 1)),
            };
            last = push(ConvolutionKind::Same, input, channels(level), source, level);
            last =
                push(ConvolutionKind::Same, channels(level), channels(level), LayerInput::Layer(last), level);
            skips.push(last);
        }
        for level in (0..self.depth - 1).rev() {
            let up = push(
                ConvolutionKind::Up,
                channels(level + 1),
                channels(level),
                LayerInput::Layer(last),
                level,
            );
            let mut source = LayerInput::Joined(up, skips[level]);
            for _ in 0..self.decoder_convolutions {
                last = push(ConvolutionKind::Same, channels(level), channels(level), source, level);
                source = LayerInput::Layer(last);
            }
        }
        push(ConvolutionKind::Up, self.width, self.outputs, LayerInput::Layer(last), 0);
        layers
    }

    /// Numbers of all layers, in this order: stem, encoder from the top level on, then for each level from the
    /// deepest but one its transposed convolution and its decoder, then the head. Of each the weight, row-major,
    /// then scale and shift; of the head weight and bias.
    pub fn parameters(&self) -> usize {
        self.layers().last().map_or(0, |head| head.first + head.convolution.weights() + self.outputs)
    }

    /// Channels of the normalized layers, in the order of [`NetworkShape::parameters`].
    pub fn normalised(&self) -> Vec<usize> {
        let layers = self.layers();
        layers[..layers.len() - 1].iter().map(|layer| layer.convolution.output).collect()
    }
}

/// A batch of pictures.
#[derive(Debug, Clone, Copy)]
pub struct PictureBatch<'a> {
    /// `[n, 3, height, width]`.
    pub values: &'a [f32],
    /// Pictures.
    pub count: usize,
    /// A multiple of `2^depth`.
    pub height: usize,
    /// A multiple of `2^depth`.
    pub width: usize,
}

/// What a forward pass leaves for the gradients.
#[derive(Debug)]
pub struct Tape {
    shape: NetworkShape,
    layers: Vec<Layer>,
    statistics: Vec<Vec<Statistics>>,
    lines: Vec<Vec<Line>>,
    /// Taken by [`Drop`].
    memory: Option<Memory>,
}

/// What a forward pass gives.
#[derive(Debug)]
pub struct Output {
    /// `[n, outputs, height, width]`.
    pub logits: Vec<f32>,
    /// Of every normalized layer its channels' statistics, as [`NetworkShape::normalised`].
    pub statistics: Vec<Vec<Statistics>>,
    /// For [`Tape::gradients`].
    pub tape: Tape,
}

/// What a step works in. It is kept from one step to the next: fresh memory costs a page fault every 4 KiB.
#[derive(Debug)]
struct Memory {
    key: (NetworkShape, Precision, Pictures, [usize; 2]),
    /// Every layer's input.
    inputs: Vec<Map>,
    /// Every layer's sums.
    sums: Vec<Raw>,
    /// For each level, and the head, the gradient of a layer's sums.
    sum_gradients: Vec<Map>,
    /// For each level the gradient of a layer's normalized result, and that of what its skip joins.
    gradients: Vec<[Raw; 2]>,
    /// For each level but the deepest the gradient of the pooled map below.
    pooled: Vec<Raw>,
}

static KEPT: Mutex<Option<Memory>> = Mutex::new(None);

impl Memory {
    fn take(key: (NetworkShape, Precision, Pictures, [usize; 2]), layers: &[Layer]) -> Self {
        let kept = KEPT.lock().ok().and_then(|mut kept| kept.take());
        match kept {
            Some(kept) if kept.key == key => kept,
            _ => Self::new(key, layers),
        }
    }

    fn new(
        key @ (shape, precision, pictures, [height, width]): (NetworkShape, Precision, Pictures, [usize; 2]),
        layers: &[Layer],
    ) -> Self {
        let groups = pictures.groups();
        let size = |level: usize, channels| Size {
            height: height >> (level + 1),
            width: width >> (level + 1),
            channels,
        };
        let of_level = |level: usize| size(level, shape.width << level);
        let (mut inputs, mut sums) = (Vec::new(), Vec::new());
        for layer in layers {
            let level =
                if layer.convolution.kind == ConvolutionKind::Up { layer.level + 1 } else { layer.level };
            let is_head = sums.len() + 1 == layers.len();
            let input = size(if is_head { 0 } else { level }, layer.convolution.input);
            inputs.push(Map::new(groups, input, precision));
            sums.push(Raw::new(groups, layer.convolution.result(input)));
        }
        let mut sum_gradients: Vec<Map> =
            (0..shape.depth).map(|level| Map::new(groups, of_level(level), precision)).collect();
        sum_gradients.push(Map::new(groups, Size { height, width, channels: shape.outputs }, precision));
        let raw = |size| Raw::new(groups, size);
        Self {
            key,
            inputs,
            sums,
            sum_gradients,
            gradients: (0..shape.depth).map(|level| [raw(of_level(level)), raw(of_level(level))]).collect(),
            pooled: (1..shape.depth).map(|level| raw(size(level, shape.width << (level - 1)))).collect(),
        }
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        if let Ok(mut kept) = KEPT.lock() {
            *kept = self.memory.take();
        }
    }
}

/// The logits of a batch, normalized by its own statistics, with `parameters` as [`NetworkShape::parameters`].
///
/// # Panics
/// When a slice has another length or a side does not fit.
pub fn forward(
    shape: &NetworkShape,
    batch: PictureBatch<'_>,
    parameters: &[f32],
    precision: Precision,
) -> Output {
    forward_on(Engine::detect(precision), shape, batch, parameters, precision)
}

fn forward_on(
    engine: Engine,
    shape: &NetworkShape,
    batch: PictureBatch<'_>,
    parameters: &[f32],
    precision: Precision,
) -> Output {
    let PictureBatch { values, count, height, width } = batch;
    assert_eq!(values.len(), count * COLOURS * height * width, "a whole batch");
    assert_eq!(parameters.len(), shape.parameters(), "numbers of every layer");
    assert!(
        height.is_multiple_of(1 << shape.depth) && width.is_multiple_of(1 << shape.depth),
        "sides that halve"
    );
    let (layers, pictures) = (shape.layers(), Pictures(count));
    let mut memory = Memory::take((*shape, precision, pictures, [height, width]), &layers);
    let (mut statistics, mut lines): (Vec<Vec<Statistics>>, Vec<Vec<Line>>) = (Vec::new(), Vec::new());
    for (index, layer) in layers.iter().enumerate() {
        let (done, rest) = memory.sums.split_at_mut(index);
        let input = &mut memory.inputs[index];
        match layer.source {
            LayerInput::Picture => fill_squares(input, pictures, values),
            LayerInput::Layer(from) => elementwise::apply(&done[from], &lines[from], pictures, input),
            LayerInput::Pooled(from) => elementwise::pool(&done[from], &lines[from], pictures, input),
            LayerInput::Joined(up, skip) => {
                elementwise::join([&done[up], &done[skip]], [&lines[up], &lines[skip]], pictures, input);
            }
        }
        let [weight, scale, shift] = layer.numbers(parameters);
        let (convolution, channels) = (layer.convolution, layer.convolution.output);
        if index + 1 == layers.len() {
            convolution.forward(engine, input, weight, &mut rest[0], |_| ());
        } else {
            let moments = |lines: &[Floats]| elementwise::moments(lines, channels);
            let moments = convolution.forward(engine, input, weight, &mut rest[0], moments);
            let of_layer = elementwise::statistics(&moments, rest[0].size, pictures);
            lines.push(
                of_layer
                    .iter()
                    .zip(scale)
                    .zip(shift)
                    .map(|((s, &scale), &shift)| s.line(scale, shift))
                    .collect(),
            );
            statistics.push(of_layer);
        }
    }
    let head = &layers[layers.len() - 1];
    let [_, bias, _] = head.numbers(parameters);
    let logits = spread(&memory.sums[layers.len() - 1], bias, pictures);
    let tape = Tape { shape: *shape, layers, statistics: statistics.clone(), lines, memory: Some(memory) };
    Output { logits, statistics, tape }
}

impl Layer {
    /// Weight, scale and shift, or the head's weight and bias.
    fn numbers<'a>(&self, parameters: &'a [f32]) -> [&'a [f32]; 3] {
        let (weight, rest) = parameters[self.first..].split_at(self.convolution.weights());
        let (scale, rest) = rest.split_at(self.convolution.output);
        [weight, scale, &rest[..rest.len().min(self.convolution.output)]]
    }
}

impl Tape {
    /// The gradient of all numbers, from that of the logits.
    ///
    /// # Panics
    /// When a slice has another length.
    pub fn gradients(&mut self, logits: &[f32], parameters: &[f32]) -> Vec<f32> {
        let Some(precision) = self.memory.as_ref().map(|memory| memory.key.1) else { return Vec::new() };
        self.gradients_on(Engine::detect(precision), logits, parameters)
    }

    fn gradients_on(&mut self, engine: Engine, logits: &[f32], parameters: &[f32]) -> Vec<f32> {
        let Self { shape, layers, statistics, lines, memory } = self;
        let Some(Memory { key, inputs, sums, sum_gradients, gradients, pooled }) = memory else {
            return Vec::new();
        };
        let (_, _, pictures, [height, width]) = *key;
        assert_eq!(logits.len(), pictures.0 * shape.outputs * height * width, "a gradient for every logit");
        assert_eq!(parameters.len(), shape.parameters(), "numbers of every layer");
        let mut result = vec![0.0; parameters.len()];
        let head = layers.len() - 1;
        // Which of a level's two gradients is the layer's at hand.
        let mut which = 0;
        for (index, layer) in layers.iter().enumerate().rev() {
            let convolution = layer.convolution;
            let (weights, channels) = (convolution.weights(), convolution.output);
            let (weight_gradient, rest) = result[layer.first..].split_at_mut(weights);
            let sum_gradient = if index == head {
                let map = &mut sum_gradients[shape.depth];
                fill_gradient(map, pictures, logits);
                let planes: Vec<f64> = logits.par_chunks_exact(height * width).map(sum_of).collect();
                for (plane, sum) in planes.into_iter().enumerate() {
                    rest[plane % channels] += sum as f32;
                }
                map
            } else {
                let map = &mut sum_gradients[layer.level];
                let of_layer = elementwise::normalise_gradient(
                    &gradients[layer.level][which],
                    &sums[index],
                    (&lines[index], &statistics[index]),
                    pictures,
                    map,
                );
                for (channel, [scale, shift]) in of_layer.into_iter().enumerate() {
                    (rest[channel], rest[channels + channel]) = (scale, shift);
                }
                map
            };
            convolution.weight_gradient(engine, &inputs[index], sum_gradient, weight_gradient);
            let [weight, ..] = layer.numbers(parameters);
            match layer.source {
                LayerInput::Picture => {}
                LayerInput::Layer(from) => {
                    which = 0;
                    let to = &mut gradients[layers[from].level][0];
                    convolution.input_gradient(engine, sum_gradient, weight, to);
                }
                LayerInput::Joined(up, _) => {
                    // Both summands have the sum's gradient; the encoder's waits there until it is its turn.
                    which = 1;
                    let to = &mut gradients[layers[up].level][1];
                    convolution.input_gradient(engine, sum_gradient, weight, to);
                }
                LayerInput::Pooled(from) => {
                    which = 1;
                    let level = layers[from].level;
                    convolution.input_gradient(engine, sum_gradient, weight, &mut pooled[level]);
                    elementwise::unpool(&pooled[level], &sums[from], &lines[from], &mut gradients[level][1]);
                }
            }
        }
        result
    }
}

/// The four pixels of each 2x2 square as channels of one: channel `4 c + 2 dy + dx`.
fn fill_squares(map: &mut Map, pictures: Pictures, values: &[f32]) {
    let Size { height, width, .. } = map.size;
    elementwise::fill(
        map,
        pictures,
        #[inline(always)]
        |row, pixel, channel| {
            let (group, row) = (row / height, row % height);
            let (colour, dy, dx) = (channel / 4, channel / 2 % 2, channel % 2);
            let at = (colour * 2 * height + 2 * row + dy) * 2 * width + 2 * pixel + dx;
            gathered(values, pictures, group, COLOURS * 4 * height * width, at)
        },
    );
}

/// The gradient of logits `[n, c, height, width]`.
fn fill_gradient(map: &mut Map, pictures: Pictures, values: &[f32]) {
    let Size { height, width, channels } = map.size;
    elementwise::fill(
        map,
        pictures,
        #[inline(always)]
        |row, pixel, channel| {
            let (group, row) = (row / height, row % height);
            let at = (channel * height + row) * width + pixel;
            gathered(values, pictures, group, channels * height * width, at)
        },
    );
}

/// The sum of a plane, in double precision in lanes.
fn sum_of(plane: &[f32]) -> f64 {
    let (chunks, rest) = plane.as_chunks::<PICTURES>();
    let mut sums = [0.0_f64; PICTURES];
    for chunk in chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, &value)| *sum += f64::from(value));
    }
    sums.into_iter().chain(rest.iter().copied().map(f64::from)).sum()
}

/// The number at a place of each picture of a group.
#[inline(always)]
fn gathered(values: &[f32], pictures: Pictures, group: usize, picture: usize, at: usize) -> Floats {
    let mut result = Floats::ZERO;
    let first = group * PICTURES;
    for (lane, to) in result.0.iter_mut().enumerate().take(pictures.0 - first) {
        *to = values[(first + lane) * picture + at];
    }
    result
}

/// Sums and their bias as `[n, c, height, width]`.
fn spread(sums: &Raw, bias: &[f32], pictures: Pictures) -> Vec<f32> {
    let Size { height, width, channels } = sums.size;
    let mut values = vec![0.0; pictures.0 * channels * height * width];
    values.par_chunks_exact_mut(channels * height * width).enumerate().for_each(|(picture, values)| {
        let (group, lane) = (picture / PICTURES, picture % PICTURES);
        for row in 0..height {
            let sums = sums.row(group * height + row);
            for (channel, bias) in bias.iter().enumerate() {
                let to = &mut values[(channel * height + row) * width..][..width];
                for (to, sums) in to.iter_mut().zip(sums.chunks_exact(channels)) {
                    *to = sums[channel].0[lane] + bias;
                }
            }
        }
    });
    values
}

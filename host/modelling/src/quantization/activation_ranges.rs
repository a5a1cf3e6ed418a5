//! The ranges of a network's activations, measured on images.

use host_console::Progress;

use super::histogram::{Histogram, RangeMethod};
use super::trace::{Trace, TraceError};
use crate::graph::{Graph, Range, ValueId};
use crate::onnx::Encoding;

/// Histograms of every activation of a network on some tiles.
#[derive(Debug)]
pub struct ActivationRanges {
    /// By [`ValueId`].
    histograms: Vec<Histogram>,
}

impl ActivationRanges {
    /// Runs `graph` twice on every tile: for the ends of each value, then for what lies between.
    ///
    /// # Shapes
    /// Each tile is `[c, h, w]` of [`Graph::input_shape`].
    ///
    /// # Errors
    /// [`TraceError`].
    pub fn observe(graph: &Graph, tiles_chw: &[Vec<f32>]) -> Result<Self, TraceError> {
        let made: Vec<ValueId> = (0..graph.nodes().len()).map(ValueId::of_node).collect();
        let trace = Trace::new(graph, Encoding::F32, &made)?;
        let progress = Progress::new("calibrating", 2 * tiles_chw.len() as u64);
        let mut ranges = vec![Range { low: f32::INFINITY, high: f32::NEG_INFINITY }; made.len() + 1];
        for tile in tiles_chw {
            let values = trace.run(tile)?;
            for (range, numbers) in ranges.iter_mut().zip(std::iter::once(tile).chain(&values)) {
                range.low = numbers.iter().copied().fold(range.low, f32::min);
                range.high = numbers.iter().copied().fold(range.high, f32::max);
            }
            progress.advance(1);
        }
        let mut histograms: Vec<Histogram> = ranges.into_iter().map(Histogram::new).collect();
        for tile in tiles_chw {
            let values = trace.run(tile)?;
            for (histogram, numbers) in histograms.iter_mut().zip(std::iter::once(tile).chain(&values)) {
                histogram.count(numbers);
            }
            progress.advance(1);
        }
        Ok(Self { histograms })
    }

    /// The range of every value, by [`ValueId`].
    pub fn ranges(&self, method: RangeMethod) -> Vec<Range> {
        self.histograms.iter().map(|histogram| histogram.range(method)).collect()
    }
}

/// How far the maps of `encoding` lie from those of the float network: root of the mean square, in units of
/// probability.
///
/// # Shapes
/// As [`ActivationRanges::observe`].
///
/// # Errors
/// [`TraceError`].
pub fn map_error(graph: &Graph, encoding: Encoding<'_>, tiles_chw: &[Vec<f32>]) -> Result<f64, TraceError> {
    let output = [graph.output()];
    let (float, rounded) =
        (Trace::new(graph, Encoding::F32, &output)?, Trace::new(graph, encoding, &output)?);
    let progress = Progress::new("comparing maps", tiles_chw.len() as u64);
    let (mut sum, mut count) = (0.0, 0_usize);
    for tile in tiles_chw {
        let (wanted, found) = (float.run(tile)?, rounded.run(tile)?);
        for (wanted, found) in wanted.iter().flatten().zip(found.iter().flatten()) {
            sum += f64::from(wanted - found).powi(2);
            count += 1;
        }
        progress.advance(1);
    }
    Ok((sum / count.max(1) as f64).sqrt())
}

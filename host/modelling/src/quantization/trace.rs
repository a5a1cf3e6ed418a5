//! Runs an encoded network as a station does, with its inner values as extra outputs.

use std::sync::Arc;

use thiserror::Error;
use tract_onnx::prelude::{
    Framework as _, InferenceModelExt as _, IntoRunnable as _, Tensor, TractResult, TypedRunnableModel,
};

use crate::graph::{AffineQuantization, Graph, ValueId};
use crate::onnx::{Encoding, OnnxError, OnnxOptions, bytes_name, value_name, write_onnx};

/// Why inner values were not seen.
#[derive(Debug, Error)]
pub enum TraceError {
    /// The file was not written.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// tract does not run it.
    #[error("tract cannot run the network: {0}")]
    Tract(String),
}

/// A file planned so that it gives some of its values.
#[derive(Debug)]
pub struct Trace {
    runnable: Arc<TypedRunnableModel>,
    input_shape: [usize; 4],
    /// For each value watched, its rounding where the file holds it in bytes.
    affine: Vec<Option<AffineQuantization>>,
}

impl Trace {
    /// Writes `graph` in `encoding` and plans it to give the values `watched`, none of them the input. Values that
    /// the file does not hold, since a convolution computes its rectifier as well, cannot be watched.
    ///
    /// # Errors
    /// [`TraceError`].
    pub fn new(graph: &Graph, encoding: Encoding<'_>, watched: &[ValueId]) -> Result<Self, TraceError> {
        let onnx = write_onnx(graph, &OnnxOptions { encoding, metadata: &[] })?;
        let shape = graph.input_shape();
        let input_shape = [1, shape.channels, shape.height, shape.width];
        let (runnable, affine) = plan(&onnx, graph, encoding, watched).map_err(tract)?;
        Ok(Self { runnable, input_shape, affine })
    }

    /// The watched values for one image, in order.
    ///
    /// # Shapes
    /// `image_chw` is `[c, h, w]` of [`Graph::input_shape`].
    ///
    /// # Errors
    /// [`TraceError::Tract`].
    pub fn run(&self, image_chw: &[f32]) -> Result<Vec<Vec<f32>>, TraceError> {
        self.values(image_chw).map_err(tract)
    }

    fn values(&self, image_chw: &[f32]) -> TractResult<Vec<Vec<f32>>> {
        let input = Tensor::from_shape(&self.input_shape, image_chw)?;
        let outputs = self.runnable.run(std::iter::once(input.into()).collect())?;
        outputs
            .iter()
            .zip(&self.affine)
            .map(|(output, affine)| match affine {
                None => Ok(output.try_as_plain_ram()?.as_slice::<f32>()?.to_vec()),
                Some(affine) => {
                    let bytes = output.cast_to::<u8>()?;
                    let levels = bytes.try_as_plain_ram()?.as_slice::<u8>()?;
                    Ok(levels.iter().map(|&level| affine.value(level)).collect())
                }
            })
            .collect()
    }
}

type Planned = (Arc<TypedRunnableModel>, Vec<Option<AffineQuantization>>);

fn plan(onnx: &[u8], graph: &Graph, encoding: Encoding<'_>, watched: &[ValueId]) -> TractResult<Planned> {
    let model = tract_onnx::onnx().model_for_read(&mut &*onnx)?;
    let (names, affine): (Vec<String>, Vec<Option<AffineQuantization>>) = watched
        .iter()
        .map(|&value| {
            let (float, bytes) = (value_name(graph, value), bytes_name(graph, value));
            match encoding {
                Encoding::Integer(plan) if model.find_outlet_label(&bytes).is_some() => {
                    (bytes, Some(plan.affine(value)))
                }
                _ => (float, None),
            }
        })
        .unzip();
    let runnable = model.with_outputs_by_name(&names)?.into_optimized()?.into_runnable()?;
    Ok((runnable, affine))
}

fn tract(error: impl std::fmt::Display) -> TraceError {
    TraceError::Tract(format!("{error:#}"))
}

//! A model's network: a graph planned by tract, with layers computed by this project's kernels.

mod limits;
mod operators;

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::NonZeroUsize;
use core::str::FromStr;

use inference_kernels::{Isa, Threads, fuse};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tract_onnx::pb;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{Cost, bail};
use tract_onnx::tract_core::plan::eval;

use crate::parallel::ParallelFor;
use crate::segmenter::Network;

/// The kernels that compute the layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kernels {
    /// This project's kernels, and tract's for unsupported layers.
    #[default]
    Own,
    /// tract's alone.
    Tract,
}

impl FromStr for Kernels {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "own" => Ok(Self::Own),
            "tract" => Ok(Self::Tract),
            _ => Err("expected own or tract"),
        }
    }
}

/// How a network is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Execution {
    /// Threads that tiles, and with [`Kernels::Own`] a tile's rows, are spread over.
    pub threads: NonZeroUsize,
    /// Whose kernels.
    pub kernels: Kernels,
}

impl Default for Execution {
    fn default() -> Self {
        Self { threads: NonZeroUsize::MIN, kernels: Kernels::default() }
    }
}

impl From<NonZeroUsize> for Execution {
    fn from(threads: NonZeroUsize) -> Self {
        Self { threads, ..Self::default() }
    }
}

/// A node of a planned network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedNode {
    /// Its name in the file, or one derived from its source nodes.
    pub name: String,
    /// What computes it.
    pub operator: String,
    /// Multiply-accumulates per tile.
    pub macs: u64,
    /// Whether they are of integers.
    pub in_integers: bool,
}

/// A network planned for one tile. Tiles run on several threads, a state each.
#[derive(Debug)]
pub struct TractNetwork {
    plan: Arc<TypedRunnableModel>,
    /// As many as tiles have run at once; they keep their memory.
    states: Vec<State>,
    tile: usize,
    /// Output values per tile.
    map_values: usize,
    threads: Threads,
    kernels: String,
}

impl TractNetwork {
    pub(crate) fn plan(proto: &pb::ModelProto, tile: usize, execution: Execution) -> TractResult<Self> {
        let threads = Threads::new(execution.threads)?;
        limits::check_graph(proto.graph.as_ref().unwrap_or(&pb::GraphProto::default()))?;
        let model = operators::reader()
            .model_for_proto_model(proto)?
            .with_input_fact(0, f32::fact([1, 3, tile, tile]).into())?
            .into_typed()?;
        limits::check_cost(&model, tile)?;
        let mut model = model.into_decluttered()?;
        let mut kernels = "tract".to_owned();
        if execution.kernels == Kernels::Own {
            let isa = Isa::best();
            model = fuse(&model, isa, &threads)?;
            kernels = isa.to_string();
        }
        let plan = model.into_optimized()?.into_runnable()?;
        let map_values = usize::try_from(plan.model().output_fact(0)?.shape.volume().to_i64()?)?;
        Ok(Self { plan, states: Vec::new(), tile, map_values, threads, kernels })
    }

    /// The instruction set that the kernels were compiled for, or `tract`.
    pub fn kernels(&self) -> &str {
        &self.kernels
    }

    /// Side of a tile, px.
    pub const fn tile(&self) -> usize {
        self.tile
    }

    /// The layers in execution order.
    ///
    /// # Errors
    /// [`NetworkError`] when tract cannot compute the cost of a layer.
    pub fn layers(&self) -> Result<Vec<PlannedNode>, NetworkError> {
        let model = self.plan.model();
        let layer = |&id: &usize| {
            let node = model.node(id);
            let costs = node.op.cost(&model.node_input_facts(id)?)?;
            let macs = costs.iter().filter(|(cost, _)| matches!(cost, Cost::FMA(_)));
            let macs: i64 = macs.map(|(_, count)| Ok(count.to_i64()?)).sum::<TractResult<i64>>()?;
            let in_integers = costs.iter().any(|(cost, _)| matches!(cost, Cost::FMA(of) if of.is_integer()));
            let operator = node.op.name().into_owned();
            Ok(PlannedNode { name: node.name.clone(), operator, macs: macs.unsigned_abs(), in_integers })
        };
        let layers: TractResult<Vec<PlannedNode>> =
            self.plan.order_without_consts().iter().map(layer).collect();
        layers.map_err(NetworkError::of)
    }

    /// Runs one tile, `[3, tile, tile]`, on the calling thread and the pool threads, calling `observe` with the index
    /// of each finished layer.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub fn run_observed(
        &mut self,
        tile_chw: &[f32],
        observe: &mut dyn FnMut(usize),
    ) -> Result<Vec<f32>, NetworkError> {
        self.ready(1).map_err(NetworkError::of)?;
        let mut index = 0;
        let State { state, input } = &mut self.states[0];
        let inputs = input_of(input, |values| values.copy_from_slice(tile_chw)).map_err(NetworkError::of)?;
        let outputs = state.run_plan_with_eval(inputs, |context, state, node, inputs| {
            let outputs = eval(context, state, node, inputs);
            observe(index);
            index += 1;
            outputs
        });
        let outputs = outputs.map_err(NetworkError::of)?;
        let maps = outputs[0].try_as_plain_ram().and_then(|maps| maps.as_slice::<f32>().map(<[f32]>::to_vec));
        maps.map_err(NetworkError::of)
    }

    /// Makes sure that there are `count` states.
    fn ready(&mut self, count: usize) -> TractResult<()> {
        while self.states.len() < count {
            let input = Arc::new(Tensor::zero::<f32>(&[1, 3, self.tile, self.tile])?);
            self.states.push(State { state: self.plan.spawn()?, input });
        }
        Ok(())
    }
}

/// What runs one tile at a time.
#[derive(Debug)]
struct State {
    state: TypedSimpleState,
    /// `[1, 3, tile, tile]`.
    input: Arc<Tensor>,
}

impl State {
    /// Runs a tile, `[3, tile, tile]`, that `cut` puts where it is read, and puts its maps, `[channels, tile, tile]`,
    /// where they are wanted.
    fn run(&mut self, cut: impl Fn(&mut [f32]), maps_chw: &mut [f32]) -> TractResult<()> {
        let outputs = self.state.run(input_of(&mut self.input, cut)?)?;
        maps_chw.copy_from_slice(outputs[0].try_as_plain_ram()?.as_slice::<f32>()?);
        // Weights may be finite and their products not; extraction would find nothing, and say so of any image.
        if maps_chw.iter().fold(false, |is_wrong, value| is_wrong | !value.is_finite()) {
            bail!("the network's output is infinite or not a number");
        }
        Ok(())
    }
}

/// Puts a tile into a tensor that is used again: a run that has ended holds it no more.
fn input_of(tensor: &mut Arc<Tensor>, cut: impl Fn(&mut [f32])) -> TractResult<TVec<TValue>> {
    let values = Arc::make_mut(tensor);
    cut(values.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?);
    Ok(core::iter::once(TValue::from_const(Arc::clone(tensor))).collect())
}

impl ParallelFor for TractNetwork {
    fn for_each<T: Send>(&self, parts: Vec<T>, work: impl Fn(T) + Send + Sync) {
        if parts.len() > 1 {
            self.threads.map(parts, work);
        } else {
            parts.into_iter().for_each(work);
        }
    }
}

impl Network for TractNetwork {
    type Error = NetworkError;

    fn run(
        &mut self,
        n: usize,
        cut: impl Fn(usize, &mut [f32]) + Sync,
        maps_nchw: &mut Vec<f32>,
    ) -> Result<(), NetworkError> {
        maps_nchw.resize(n * self.map_values, 0.0);
        let share = n.div_ceil(self.threads.count()).max(1);
        self.ready(n.div_ceil(share)).map_err(NetworkError::of)?;
        let map_values = self.map_values;
        let firsts = (0..n).step_by(share);
        let parts = firsts.zip(maps_nchw.chunks_mut(share * map_values)).zip(&mut self.states).collect();
        let results = self.threads.map(parts, |((first, maps), state)| {
            let mut each = (first..).zip(maps.chunks_exact_mut(map_values));
            each.try_for_each(|(index, maps_chw)| state.run(|tile_chw| cut(index, tile_chw), maps_chw))
        });
        results.into_iter().collect::<TractResult<()>>().map_err(NetworkError::of)
    }
}

/// Why tract did not run a planned network.
#[derive(Debug, Error)]
#[error("tract failed: {message}")]
pub struct NetworkError {
    message: String,
}

impl NetworkError {
    fn of(error: TractError) -> Self {
        Self { message: alloc::format!("{error:#}") }
    }
}

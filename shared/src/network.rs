//! A model's network as it runs: a graph planned by tract, its layers computed by this project's kernels.

mod limits;

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::NonZeroUsize;
use core::str::FromStr;

use serde::{Deserialize, Serialize};
use station_kernels::{Isa, Threads, replace};
use thiserror::Error;
use tract_onnx::pb;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::Cost;
use tract_onnx::tract_core::plan::eval;

use crate::segmenter::Network;

/// Whose kernels compute the layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kernels {
    /// Those of this project, and tract's for layers that they do not know.
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
            _ => Err("write own or tract"),
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
pub struct Layer {
    /// Its name in the file, or one that tells what it was made from.
    pub name: String,
    /// What computes it.
    pub operator: String,
    /// Multiply-accumulates for a tile.
    pub macs: u64,
}

/// A network planned for one tile. Tiles run on several threads, a state each.
#[derive(Debug)]
pub struct TractNetwork {
    plan: Arc<TypedRunnableModel>,
    /// As many as tiles have run at once; they keep their memory.
    states: Vec<TypedSimpleState>,
    tile: usize,
    threads: Threads,
    kernels: String,
}

impl TractNetwork {
    pub(crate) fn plan(proto: &pb::ModelProto, tile: usize, execution: Execution) -> TractResult<Self> {
        let threads = Threads::new(execution.threads)?;
        limits::check_graph(proto.graph.as_ref().unwrap_or(&pb::GraphProto::default()))?;
        let model = tract_onnx::onnx()
            .model_for_proto_model(proto)?
            .with_input_fact(0, f32::fact([1, 3, tile, tile]).into())?
            .into_typed()?;
        limits::check_cost(&model, tile)?;
        let mut model = model.into_decluttered()?;
        let mut kernels = "tract".to_owned();
        if execution.kernels == Kernels::Own {
            let isa = Isa::best();
            model = replace(&model, isa, &threads)?;
            kernels = isa.to_string();
        }
        let plan = model.into_optimized()?.into_runnable()?;
        Ok(Self { plan, states: Vec::new(), tile, threads, kernels })
    }

    /// The instruction set that the kernels were compiled for, or `tract`.
    pub fn kernels(&self) -> &str {
        &self.kernels
    }

    /// Side of a tile, px.
    pub const fn tile(&self) -> usize {
        self.tile
    }

    /// The layers in the order that they are computed.
    ///
    /// # Errors
    /// [`NetworkError`] when tract cannot tell what a layer costs.
    pub fn layers(&self) -> Result<Vec<Layer>, NetworkError> {
        let model = self.plan.model();
        let layer = |&id: &usize| {
            let node = model.node(id);
            let costs = node.op.cost(&model.node_input_facts(id)?)?;
            let macs = costs.iter().filter(|(cost, _)| matches!(cost, Cost::FMA(_)));
            let macs: i64 = macs.map(|(_, count)| Ok(count.to_i64()?)).sum::<TractResult<i64>>()?;
            let operator = node.op.name().into_owned();
            Ok(Layer { name: node.name.clone(), operator, macs: macs.unsigned_abs() })
        };
        let layers: TractResult<Vec<Layer>> = self.plan.order_without_consts().iter().map(layer).collect();
        layers.map_err(NetworkError::of)
    }

    /// Runs one tile, `[3, tile, tile]`, on the calling thread and those that a layer's rows are spread over,
    /// telling `observe` the index of each layer that is done.
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
        let input = tile_tensor(tile_chw, self.tile).map_err(NetworkError::of)?;
        let inputs = core::iter::once(input).collect();
        let outputs = self.states[0].run_plan_with_eval(inputs, |context, state, node, inputs| {
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
            self.states.push(self.plan.spawn()?);
        }
        Ok(())
    }
}

fn tile_tensor(tile_chw: &[f32], tile: usize) -> TractResult<TValue> {
    Ok(Tensor::from_shape(&[1, 3, tile, tile], tile_chw)?.into())
}

fn run_each(state: &mut TypedSimpleState, tiles_nchw: &[f32], tile: usize) -> TractResult<Vec<f32>> {
    let mut maps_nchw = Vec::new();
    for tile_chw in tiles_nchw.chunks_exact(3 * tile * tile) {
        let outputs = state.run(core::iter::once(tile_tensor(tile_chw, tile)?).collect())?;
        maps_nchw.extend_from_slice(outputs[0].try_as_plain_ram()?.as_slice::<f32>()?);
    }
    Ok(maps_nchw)
}

impl Network for TractNetwork {
    type Error = NetworkError;

    fn run(&mut self, tiles_nchw: &[f32], n: usize) -> Result<Vec<f32>, NetworkError> {
        let (tile, area) = (self.tile, 3 * self.tile * self.tile);
        let share = n.div_ceil(self.threads.count()).max(1) * area;
        self.ready(tiles_nchw.len().div_ceil(share)).map_err(NetworkError::of)?;
        let parts = self.states.iter_mut().zip(tiles_nchw.chunks(share)).collect();
        let results = self.threads.map(parts, |(state, part)| run_each(state, part, tile));
        let maps: Vec<Vec<f32>> =
            results.into_iter().collect::<TractResult<_>>().map_err(NetworkError::of)?;
        Ok(maps.concat())
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

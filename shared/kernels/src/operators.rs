//! The operators as tract evaluates them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tract_core::internal::*;

use crate::convolution::Convolution;
use crate::layout::Layout;
use crate::packing::{pack, unpack};
use crate::pooling::MaxPooling;
use crate::threads::Threads;

/// What the operators of a network share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Common {
    threads: Threads,
    buffers: Buffers,
}

impl Common {
    pub(crate) fn new(threads: Threads) -> Self {
        Self { threads, buffers: Buffers::default() }
    }

    /// Fills a tensor by `write` and returns it.
    fn output(
        &self,
        context: &EvalContext,
        layout: &Layout,
        write: impl FnOnce(&mut [f32]),
    ) -> TractResult<TVec<TValue>> {
        let mut tensor = if layout.is_padded() {
            self.buffers.take(context.session, &layout.shape())?
        } else {
            Arc::new(Tensor::zero::<f32>(&layout.shape())?)
        };
        let unshared = Arc::get_mut(&mut tensor).context("a buffer is in use")?;
        write(unshared.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?);
        if layout.is_padded() {
            self.buffers.keep(context.session, &tensor);
        }
        Ok(tvec!(TValue::from_const(tensor)))
    }
}

/// Tensors of the padded form, kept from run to run of a session: the zeros around the pixels are written once.
#[derive(Debug, Clone, Default)]
struct Buffers(Arc<Mutex<HashMap<SessionId, Vec<Arc<Tensor>>>>>);

impl Buffers {
    /// A tensor that nobody else holds: one that was kept, or a new one of zeros.
    fn take(&self, session: SessionId, shape: &[usize]) -> TractResult<Arc<Tensor>> {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = sessions.entry(session).or_default();
        let free = kept.iter().position(|it| it.shape() == shape && Arc::strong_count(it) == 1);
        match free {
            Some(index) => Ok(kept.swap_remove(index)),
            None => Ok(Arc::new(Tensor::zero_aligned::<f32>(shape, 64)?)),
        }
    }

    fn keep(&self, session: SessionId, tensor: &Arc<Tensor>) {
        if session != SessionId::NONE {
            let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            sessions.entry(session).or_default().push(tensor.clone());
        }
    }

    fn forget(&self, session: SessionId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&session);
    }
}

fn values(tensor: &TValue) -> TractResult<&[f32]> {
    tensor.try_as_plain_ram()?.as_slice::<f32>()
}

/// What an operator computes.
pub(crate) trait Kernel: fmt::Debug + Send + Sync + 'static {
    /// The operator's name, as graphs are printed.
    const NAME: &'static str;

    /// Where the values that it makes lie.
    fn output(&self) -> &Layout;

    /// Multiply-accumulates of a run.
    fn macs(&self) -> usize {
        0
    }

    /// Computes the output from one input, or from two.
    fn run(&self, input: &[f32], second: Option<&[f32]>, output: &mut [f32], threads: &Threads);
}

impl Kernel for Convolution {
    const NAME: &'static str = "NucleiConv";

    fn output(&self) -> &Layout {
        &self.spec().output
    }

    fn macs(&self) -> usize {
        self.macs()
    }

    fn run(&self, input: &[f32], second: Option<&[f32]>, output: &mut [f32], threads: &Threads) {
        self.run(input, second, output, threads);
    }
}

impl Kernel for MaxPooling {
    const NAME: &'static str = "NucleiMaxPool";

    fn output(&self) -> &Layout {
        self.output()
    }

    fn run(&self, input: &[f32], _second: Option<&[f32]>, output: &mut [f32], threads: &Threads) {
        self.run(input, output, threads);
    }
}

/// From a form to another.
#[derive(Debug)]
pub(crate) struct Conversion {
    pub(crate) from: Layout,
    pub(crate) to: Layout,
    /// Side of the squares of pixels that become channels.
    pub(crate) block: usize,
}

impl Kernel for Conversion {
    const NAME: &'static str = "NucleiLayout";

    fn output(&self) -> &Layout {
        &self.to
    }

    fn run(&self, input: &[f32], _second: Option<&[f32]>, output: &mut [f32], _threads: &Threads) {
        let Self { from, to, block } = self;
        if to.is_padded() {
            pack(input, from, *block, output, to);
        } else {
            unpack(input, from, output, to);
        }
    }
}

/// A kernel in a graph.
#[derive(Debug)]
pub(crate) struct Operator<K> {
    kernel: Arc<K>,
    common: Common,
}

impl<K> Operator<K> {
    pub(crate) fn new(kernel: K, common: &Common) -> Self {
        Self { kernel: Arc::new(kernel), common: common.clone() }
    }
}

// Derived, it would ask the kernel to be `Clone`.
impl<K> Clone for Operator<K> {
    fn clone(&self) -> Self {
        Self { kernel: Arc::clone(&self.kernel), common: self.common.clone() }
    }
}

impl<K> PartialEq for Operator<K> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.kernel, &other.kernel)
    }
}

impl<K> Eq for Operator<K> {}

impl<K: Kernel> Op for Operator<K> {
    fn name(&self) -> StaticName {
        K::NAME.into()
    }

    op_as_typed_op!();
}

impl<K: Kernel> EvalOp for Operator<K> {
    op_out_of_plan!();

    fn eval(&self, context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = values(&inputs[0])?;
        let second = inputs.get(1).map(values).transpose()?;
        self.common.output(context, self.kernel.output(), |output| {
            self.kernel.run(input, second, output, &self.common.threads);
        })
    }

    fn drop_session(&self, session: SessionId, _node_id: usize) {
        self.common.buffers.forget(session);
    }
}

impl<K: Kernel> TypedOp for Operator<K> {
    as_op!();

    fn output_facts(&self, _inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(f32::fact(self.kernel.output().shape())))
    }

    fn cost(&self, _inputs: &[&TypedFact]) -> TractResult<TVec<(Cost, TDim)>> {
        Ok(tvec!((Cost::FMA(f32::datum_type()), self.kernel.macs().to_dim())))
    }
}

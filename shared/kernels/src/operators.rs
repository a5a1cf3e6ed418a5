//! The operators as tract evaluates them.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use tract_core::internal::*;

use crate::concat::Concat;
use crate::convolution::DirectConv;
use crate::int8::{QuantizeInput, QuantizedConv, QuantizedMaxPool, c4_layout, pack_c4, unpack_c4};
use crate::layout::Layout;
use crate::packing::{pack, unpack};
use crate::pooling::MaxPooling;
use crate::simd::Isa;
use crate::threads::Threads;

/// What the operators of a network share.
#[derive(Debug, Clone, Default)]
pub(crate) struct OpContext {
    threads: Threads,
    pool: TensorPool,
}

impl OpContext {
    pub(crate) fn new(threads: Threads) -> Self {
        Self { threads, pool: TensorPool::default() }
    }

    /// Fills a tensor by `write` and returns it; around its pixels stands `padding`.
    fn output<T: Element>(
        &self,
        context: &EvalContext,
        layout: &Layout,
        padding: u32,
        write: impl FnOnce(&mut [T]),
    ) -> TractResult<TVec<TValue>> {
        let mut tensor = if layout.is_padded() {
            self.pool.take::<T>(context.session, &layout.shape(), padding)?
        } else {
            Arc::new(Tensor::zero::<T>(&layout.shape())?)
        };
        let unshared = Arc::get_mut(&mut tensor).context("a buffer is in use")?;
        write(unshared.try_as_plain_ram_mut()?.as_slice_mut::<T>()?);
        if layout.is_padded() {
            self.pool.keep(context.session, padding, &tensor);
        }
        Ok(tvec!(TValue::from_const(tensor)))
    }
}

/// What values are stored as.
pub(crate) trait Element: Datum + Copy + tract_core::num_traits::Zero {
    /// The value of these bits, or of the lowest of them.
    fn of_bits(bits: u32) -> Self;
}

impl Element for f32 {
    fn of_bits(bits: u32) -> Self {
        Self::from_bits(bits)
    }
}

impl Element for u32 {
    fn of_bits(bits: u32) -> Self {
        bits
    }
}

impl Element for u8 {
    fn of_bits(bits: u32) -> Self {
        bits.to_le_bytes()[0]
    }
}

/// A tensor of the padded form, and the bits around its pixels.
#[derive(Debug)]
struct CachedTensor {
    padding: u32,
    tensor: Arc<Tensor>,
}

/// Tensors of the padded form, kept from run to run of a session: what is around the pixels is written once.
#[derive(Debug, Clone, Default)]
struct TensorPool(Arc<Mutex<HashMap<SessionId, Vec<CachedTensor>>>>);

impl TensorPool {
    /// A tensor that nobody else holds: one that was kept, or a new one of padding.
    fn take<T: Element>(
        &self,
        session: SessionId,
        shape: &[usize],
        padding: u32,
    ) -> TractResult<Arc<Tensor>> {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = sessions.entry(session).or_default();
        let free = kept.iter().position(|it| {
            let alike = it.padding == padding && it.tensor.datum_type() == T::datum_type();
            alike && it.tensor.shape() == shape && Arc::strong_count(&it.tensor) == 1
        });
        if let Some(index) = free {
            return Ok(kept.swap_remove(index).tensor);
        }
        let mut tensor = Tensor::zero_aligned::<T>(shape, 64)?;
        if padding != 0 {
            tensor.try_as_plain_ram_mut()?.as_slice_mut::<T>()?.fill(T::of_bits(padding));
        }
        Ok(Arc::new(tensor))
    }

    fn keep(&self, session: SessionId, padding: u32, tensor: &Arc<Tensor>) {
        if session != SessionId::NONE {
            let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            sessions.entry(session).or_default().push(CachedTensor { padding, tensor: tensor.clone() });
        }
    }

    fn forget(&self, session: SessionId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&session);
    }
}

fn values<T: Datum>(tensor: &TValue) -> TractResult<&[T]> {
    tensor.try_as_plain_ram()?.as_slice::<T>()
}

/// What an operator computes.
pub(crate) trait Kernel: fmt::Debug + Send + Sync + 'static {
    /// The operator's name, as graphs are printed.
    const NAME: &'static str;
    /// What it reads.
    type In: Element;
    /// What it makes.
    type Out: Element;

    /// Where the values that it makes lie.
    fn output(&self) -> Layout;

    /// Multiply-accumulates of a run.
    fn macs(&self) -> usize {
        0
    }

    /// Computes the output from one input, or from two.
    fn run(
        &self,
        input: &[Self::In],
        second: Option<&[Self::In]>,
        output: &mut [Self::Out],
        threads: &Threads,
    );
}

impl Kernel for DirectConv {
    const NAME: &'static str = "NucleiConv";
    type In = f32;
    type Out = f32;

    fn output(&self) -> Layout {
        self.spec().output
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
    type In = f32;
    type Out = f32;

    fn output(&self) -> Layout {
        *self.output()
    }

    fn run(&self, input: &[f32], _second: Option<&[f32]>, output: &mut [f32], threads: &Threads) {
        self.run(input, output, threads);
    }
}

impl Kernel for QuantizedConv {
    const NAME: &'static str = "NucleiQuantizedConv";
    type In = u32;
    type Out = u32;

    fn output(&self) -> Layout {
        self.spec().output_layout()
    }

    fn macs(&self) -> usize {
        self.macs()
    }

    fn run(&self, input: &[u32], second: Option<&[u32]>, output: &mut [u32], threads: &Threads) {
        self.run(input, second, output, threads);
    }
}

/// A quantized convolution whose result is floats.
#[derive(Debug)]
pub(crate) struct ConvToFloats(pub(crate) QuantizedConv);

impl Kernel for ConvToFloats {
    const NAME: &'static str = QuantizedConv::NAME;
    type In = u32;
    type Out = f32;

    fn output(&self) -> Layout {
        self.0.spec().output_layout()
    }

    fn macs(&self) -> usize {
        self.0.macs()
    }

    fn run(&self, input: &[u32], _second: Option<&[u32]>, output: &mut [f32], threads: &Threads) {
        self.0.run_to_floats(input, output, threads);
    }
}

impl Kernel for QuantizedMaxPool {
    const NAME: &'static str = "NucleiQuantizedMaxPool";
    type In = u32;
    type Out = u32;

    fn output(&self) -> Layout {
        *self.output()
    }

    fn run(&self, input: &[u32], _second: Option<&[u32]>, output: &mut [u32], threads: &Threads) {
        self.run(input, output, threads);
    }
}

impl Kernel for QuantizeInput {
    const NAME: &'static str = "NucleiQuantize";
    type In = f32;
    type Out = u32;

    fn output(&self) -> Layout {
        *self.output()
    }

    fn run(&self, input: &[f32], _second: Option<&[f32]>, output: &mut [u32], threads: &Threads) {
        self.run(input, output, threads);
    }
}

/// Two concatenated values of one type.
#[derive(Debug)]
pub(crate) struct ConcatOf<T> {
    pub(crate) concat: Concat,
    pub(crate) of: PhantomData<T>,
}

impl<T: Element> Kernel for ConcatOf<T> {
    const NAME: &'static str = "NucleiConcat";
    type In = T;
    type Out = T;

    fn output(&self) -> Layout {
        *self.concat.output()
    }

    fn run(&self, input: &[T], second: Option<&[T]>, output: &mut [T], threads: &Threads) {
        self.concat.run(input, second.unwrap_or_default(), output, threads);
    }
}

/// From a form of floats to another.
#[derive(Debug)]
pub(crate) struct Conversion {
    pub(crate) from: Layout,
    pub(crate) to: Layout,
    /// Side of the space-to-depth blocks of pixels that become channels.
    pub(crate) block: usize,
}

impl Kernel for Conversion {
    const NAME: &'static str = "NucleiLayout";
    type In = f32;
    type Out = f32;

    fn output(&self) -> Layout {
        self.to
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

/// From tract's quantized values to C4 blocks.
#[derive(Debug)]
pub(crate) struct PackC4 {
    /// Channels, height and width.
    pub(crate) shape: [usize; 3],
    pub(crate) isa: Isa,
}

impl Kernel for PackC4 {
    const NAME: &'static str = "NucleiLayout";
    type In = u8;
    type Out = u32;

    fn output(&self) -> Layout {
        let [channels, height, width] = self.shape;
        c4_layout(channels, height, width)
    }

    fn run(&self, input: &[u8], _second: Option<&[u8]>, output: &mut [u32], _threads: &Threads) {
        pack_c4(input, self.shape, output, self.isa);
    }
}

/// From C4 blocks to tract's.
#[derive(Debug)]
pub(crate) struct UnpackC4 {
    /// Channels, height and width.
    pub(crate) shape: [usize; 3],
    pub(crate) isa: Isa,
}

impl Kernel for UnpackC4 {
    const NAME: &'static str = "NucleiLayout";
    type In = u32;
    type Out = u8;

    fn output(&self) -> Layout {
        let [channels, height, width] = self.shape;
        Layout::plain(channels, height, width)
    }

    fn run(&self, input: &[u32], _second: Option<&[u32]>, output: &mut [u8], _threads: &Threads) {
        unpack_c4(input, self.shape, output, self.isa);
    }
}

/// A kernel in a graph.
#[derive(Debug)]
pub(crate) struct Operator<K> {
    kernel: Arc<K>,
    /// The bits around the pixels of its output, where that is padded.
    padding: u32,
    common: OpContext,
}

impl<K> Operator<K> {
    pub(crate) fn new(kernel: K, common: &OpContext) -> Self {
        Self::padded(kernel, 0, common)
    }

    pub(crate) fn padded(kernel: K, padding: u32, common: &OpContext) -> Self {
        Self { kernel: Arc::new(kernel), padding, common: common.clone() }
    }
}

// Derived, it would ask the kernel to be `Clone`.
impl<K> Clone for Operator<K> {
    fn clone(&self) -> Self {
        Self { kernel: Arc::clone(&self.kernel), padding: self.padding, common: self.common.clone() }
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
        self.common.output(context, &self.kernel.output(), self.padding, |output| {
            self.kernel.run(input, second, output, &self.common.threads);
        })
    }

    fn drop_session(&self, session: SessionId, _node_id: usize) {
        self.common.pool.forget(session);
    }
}

impl<K: Kernel> TypedOp for Operator<K> {
    as_op!();

    fn output_facts(&self, _inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(K::Out::fact(self.kernel.output().shape())))
    }

    fn cost(&self, _inputs: &[&TypedFact]) -> TractResult<TVec<(Cost, TDim)>> {
        Ok(tvec!((Cost::FMA(K::In::datum_type()), self.kernel.macs().to_dim())))
    }
}

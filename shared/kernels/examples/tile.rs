//! Runs the layers of a network shaped as the station's for one tile, as often as asked: `tile RUNS`, or `tile RUNS
//! bytes` for the one that computes in bytes.
//!
//! Of two counts of instructions for different runs, the difference is what a tile executes.

use inference_kernels::{
    Activation, Affine, ByteConvolution, ByteMaxPooling, ByteSpec, ByteWeights, Convolution, End, Form, Isa,
    Layout, MaxPooling, Quantization, Rounding, Spec, Threads, byte_layout, pack,
};

/// Form, channels read and made, side of the input in pixels.
const CONVOLUTIONS: [(Form, usize, usize, usize); 15] = [
    (Form::Point, 12, 24, 128),
    (Form::Square, 24, 24, 128),
    (Form::Square, 24, 24, 128),
    (Form::Square, 24, 48, 64),
    (Form::Square, 48, 48, 64),
    (Form::Square, 48, 96, 32),
    (Form::Square, 96, 96, 32),
    (Form::Square, 96, 192, 16),
    (Form::Square, 192, 192, 16),
    (Form::Doubling, 192, 96, 16),
    (Form::Square, 96, 96, 32),
    (Form::Doubling, 96, 48, 32),
    (Form::Square, 48, 48, 64),
    (Form::Doubling, 48, 24, 64),
    (Form::Square, 24, 24, 128),
];
/// Channels, and side of the input.
const POOLINGS: [(usize, usize); 3] = [(24, 128), (48, 64), (96, 32)];
/// The last layer, whose output is tract's.
const HEAD: (Form, usize, usize, usize) = (Form::Doubling, 24, 3, 128);

/// A layer with its memory, which reports the multiply-accumulates of a run.
type Layer = Box<dyn FnMut() -> usize>;

fn main() {
    let runs = std::env::args().nth(1).and_then(|runs| runs.parse().ok()).unwrap_or(1);
    let isa = Isa::best();
    let bytes = std::env::args().nth(2).is_some_and(|form| form == "bytes");
    let mut layers = if bytes { byte_layers(isa) } else { float_layers(isa) };
    let macs: usize = (0..runs).map(|_| layers.iter_mut().map(|layer| layer()).sum::<usize>()).sum();
    println!("{macs} multiply-accumulates in {runs} tiles with {isa} kernels");
}

fn float_layers(isa: Isa) -> Vec<Layer> {
    let mut layers = vec![squares()];
    layers.extend(POOLINGS.map(|(channels, side)| pooling(channels, side, isa)));
    layers.extend(CONVOLUTIONS.map(|(form, read, made, side)| {
        let large = side * form.scale();
        convolution(form, Layout::padded(read, side, side), Layout::padded(made, large, large), isa)
    }));
    let (form, read, made, side) = HEAD;
    let plain = Layout::plain(made, 2 * side, 2 * side);
    layers.push(convolution(form, Layout::padded(read, side, side), plain, isa));
    layers
}

fn byte_layers(isa: Isa) -> Vec<Layer> {
    let mut layers = vec![quantization(isa)];
    layers.extend(POOLINGS.map(|(channels, side)| byte_pooling(channels, side, isa)));
    let skip = Affine { scale: 0.03, zero: 0 };
    let sum = End::Sum { skip, sum: Rounding { inverse: 30.0, zero: 0 } };
    layers.extend(CONVOLUTIONS.map(|(form, read, made, side)| {
        let end = if form == Form::Doubling { sum } else { End::Levels };
        byte_convolution(form, [read, side, side], made, end, isa)
    }));
    let (form, read, made, side) = HEAD;
    layers.push(byte_convolution(form, [read, side, side], made, End::Floats, isa));
    layers
}

fn squares() -> Layer {
    let (from, to) = (Layout::plain(3, 256, 256), Layout::padded(12, 128, 128));
    let (input, mut output) = (vec![0.5; from.len()], vec![0.0; to.len()]);
    Box::new(move || {
        pack(&input, &from, 2, &mut output, &to);
        0
    })
}

fn pooling(channels: usize, side: usize, isa: Isa) -> Layer {
    let pooling = MaxPooling::new(Layout::padded(channels, side, side), isa);
    let (input, mut output) = (vec![0.5; pooling.input().len()], vec![0.0; pooling.output().len()]);
    Box::new(move || {
        pooling.run(&input, &mut output, &Threads::default());
        0
    })
}

fn convolution(form: Form, input: Layout, output: Layout, isa: Isa) -> Layer {
    let weights_oihw = vec![0.01; output.channels() * input.channels() * form.side() * form.side()];
    let spec = Spec { form, activation: Activation::Relu, input, output };
    let convolution = Convolution::new(spec, &weights_oihw, &vec![0.0; output.channels()], isa);
    let skip = (form == Form::Doubling && output.is_padded()).then(|| vec![0.5; output.len()]);
    let (input, mut output) = (vec![0.5; input.len()], vec![0.0; output.len()]);
    Box::new(move || {
        convolution.run(&input, skip.as_deref(), &mut output, &Threads::default());
        convolution.macs()
    })
}

fn quantization(isa: Isa) -> Layer {
    let quantization = Quantization::new([3, 256, 256], 2, Rounding { inverse: 255.0, zero: 0 }, isa);
    let (input, mut output) = (vec![0.5; 3 * 256 * 256], vec![0; quantization.output().len()]);
    Box::new(move || {
        quantization.run(&input, &mut output, &Threads::default());
        0
    })
}

fn byte_pooling(channels: usize, side: usize, isa: Isa) -> Layer {
    let layout = byte_layout(channels, side, side);
    let pooling = ByteMaxPooling::new(layout, isa);
    let (input, mut output) = (vec![0x2030_4050; layout.len()], vec![0; pooling.output().len()]);
    Box::new(move || {
        pooling.run(&input, &mut output, &Threads::default());
        0
    })
}

fn byte_convolution(form: Form, input: [usize; 3], channels: usize, end: End, isa: Isa) -> Layer {
    let affine = Affine { scale: 0.03, zero: 0 };
    let spec = ByteSpec { form, input, read: affine, channels, made: affine, end };
    let values_oihw = vec![1; channels * input[0] * form.side() * form.side()];
    let (scales, bias) = (vec![0.01; channels], vec![0; channels]);
    let weights = ByteWeights { values_oihw: &values_oihw, scales: &scales, bias: &bias };
    let convolution = ByteConvolution::new(spec, &weights, isa);
    let input = vec![0x2030_4050; spec.input_layout().len()];
    let length = spec.output_layout().len();
    let skip = matches!(end, End::Sum { .. }).then(|| vec![0x1020_3040; length]);
    let (mut levels, mut floats) = (vec![0; length], vec![0.0; length]);
    Box::new(move || {
        match end {
            End::Floats => convolution.run_to_floats(&input, &mut floats, &Threads::default()),
            _ => convolution.run(&input, skip.as_deref(), &mut levels, &Threads::default()),
        }
        convolution.macs()
    })
}

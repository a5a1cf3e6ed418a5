//! Runs the layers of a network shaped as the station's for one tile, as often as asked: `tile RUNS`, or `tile RUNS
//! bytes` for the one that computes in int8.
//!
//! Of two counts of instructions for different runs, the difference is what a tile executes.

use inference_kernels::{
    Activation, ConvKind, ConvSpec, DirectConv, Epilogue, Isa, Layout, MaxPooling, QuantParams,
    QuantizeInput, QuantizedConv, QuantizedConvSpec, QuantizedMaxPool, QuantizedWeights, Quantizer, Threads,
    c4_layout, pack,
};

/// ConvKind, channels read and made, side of the input in pixels.
const CONVOLUTIONS: [(ConvKind, usize, usize, usize); 15] = [
    (ConvKind::Conv1x1, 12, 24, 128),
    (ConvKind::Conv3x3, 24, 24, 128),
    (ConvKind::Conv3x3, 24, 24, 128),
    (ConvKind::Conv3x3, 24, 48, 64),
    (ConvKind::Conv3x3, 48, 48, 64),
    (ConvKind::Conv3x3, 48, 96, 32),
    (ConvKind::Conv3x3, 96, 96, 32),
    (ConvKind::Conv3x3, 96, 192, 16),
    (ConvKind::Conv3x3, 192, 192, 16),
    (ConvKind::ConvTranspose2x2, 192, 96, 16),
    (ConvKind::Conv3x3, 96, 96, 32),
    (ConvKind::ConvTranspose2x2, 96, 48, 32),
    (ConvKind::Conv3x3, 48, 48, 64),
    (ConvKind::ConvTranspose2x2, 48, 24, 64),
    (ConvKind::Conv3x3, 24, 24, 128),
];
/// Channels, and side of the input.
const POOLINGS: [(usize, usize); 3] = [(24, 128), (48, 64), (96, 32)];
/// The last layer, whose output is tract's.
const HEAD: (ConvKind, usize, usize, usize) = (ConvKind::ConvTranspose2x2, 24, 3, 128);

/// A layer with its memory, which reports the multiply-accumulates of a run.
type Layer = Box<dyn FnMut() -> usize>;

fn main() {
    let runs = std::env::args().nth(1).and_then(|runs| runs.parse().ok()).unwrap_or(1);
    let isa = Isa::best();
    let bytes = std::env::args().nth(2).is_some_and(|form| form == "bytes");
    let mut layers = if bytes { int8_layers(isa) } else { float_layers(isa) };
    let macs: usize = (0..runs).map(|_| layers.iter_mut().map(|layer| layer()).sum::<usize>()).sum();
    println!("{macs} multiply-accumulates in {runs} tiles with {isa} kernels");
}

fn float_layers(isa: Isa) -> Vec<Layer> {
    let mut layers = vec![squares()];
    layers.extend(POOLINGS.map(|(channels, side)| pooling(channels, side, isa)));
    layers.extend(CONVOLUTIONS.map(|(kind, read, made, side)| {
        let large = side * kind.scale();
        convolution(kind, Layout::padded(read, side, side), Layout::padded(made, large, large), isa)
    }));
    let (kind, read, made, side) = HEAD;
    let plain = Layout::plain(made, 2 * side, 2 * side);
    layers.push(convolution(kind, Layout::padded(read, side, side), plain, isa));
    layers
}

fn int8_layers(isa: Isa) -> Vec<Layer> {
    let mut layers = vec![quantization(isa)];
    layers.extend(POOLINGS.map(|(channels, side)| quantized_max_pool(channels, side, isa)));
    let skip = QuantParams { scale: 0.03, zero_point: 0 };
    let sum = Epilogue::AddRequantize { skip, sum: Quantizer { inverse: 30.0, zero_point: 0 } };
    layers.extend(CONVOLUTIONS.map(|(kind, read, made, side)| {
        let epilogue = if kind == ConvKind::ConvTranspose2x2 { sum } else { Epilogue::Requantize };
        quantized_conv(kind, [read, side, side], made, epilogue, isa)
    }));
    let (kind, read, made, side) = HEAD;
    layers.push(quantized_conv(kind, [read, side, side], made, Epilogue::Dequantize, isa));
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

fn convolution(kind: ConvKind, input: Layout, output: Layout, isa: Isa) -> Layer {
    let weights_oihw = vec![0.01; output.channels() * input.channels() * kind.side() * kind.side()];
    let spec = ConvSpec { kind, activation: Activation::Relu, input, output };
    let convolution = DirectConv::new(spec, &weights_oihw, &vec![0.0; output.channels()], isa);
    let skip = (kind == ConvKind::ConvTranspose2x2 && output.is_padded()).then(|| vec![0.5; output.len()]);
    let (input, mut output) = (vec![0.5; input.len()], vec![0.0; output.len()]);
    Box::new(move || {
        convolution.run(&input, skip.as_deref(), &mut output, &Threads::default());
        convolution.macs()
    })
}

fn quantization(isa: Isa) -> Layer {
    let quantization = QuantizeInput::new([3, 256, 256], 2, Quantizer { inverse: 255.0, zero_point: 0 }, isa);
    let (input, mut output) = (vec![0.5; 3 * 256 * 256], vec![0; quantization.output().len()]);
    Box::new(move || {
        quantization.run(&input, &mut output, &Threads::default());
        0
    })
}

fn quantized_max_pool(channels: usize, side: usize, isa: Isa) -> Layer {
    let layout = c4_layout(channels, side, side);
    let pooling = QuantizedMaxPool::new(layout, isa);
    let (input, mut output) = (vec![0x2030_4050; layout.len()], vec![0; pooling.output().len()]);
    Box::new(move || {
        pooling.run(&input, &mut output, &Threads::default());
        0
    })
}

fn quantized_conv(kind: ConvKind, input: [usize; 3], channels: usize, epilogue: Epilogue, isa: Isa) -> Layer {
    let affine = QuantParams { scale: 0.03, zero_point: 0 };
    let spec = QuantizedConvSpec { kind, input, read: affine, channels, made: affine, epilogue };
    let values_oihw = vec![1; channels * input[0] * kind.side() * kind.side()];
    let (scales, bias) = (vec![0.01; channels], vec![0; channels]);
    let weights = QuantizedWeights { values_oihw: &values_oihw, scales: &scales, bias: &bias };
    let convolution = QuantizedConv::new(spec, &weights, isa);
    let input = vec![0x2030_4050; spec.input_layout().len()];
    let length = spec.output_layout().len();
    let skip = matches!(epilogue, Epilogue::AddRequantize { .. }).then(|| vec![0x1020_3040; length]);
    let (mut levels, mut floats) = (vec![0; length], vec![0.0; length]);
    Box::new(move || {
        match epilogue {
            Epilogue::Dequantize => convolution.run_to_floats(&input, &mut floats, &Threads::default()),
            _ => convolution.run(&input, skip.as_deref(), &mut levels, &Threads::default()),
        }
        convolution.macs()
    })
}

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use tract_onnx::prelude::{Framework, InferenceModelExt, IntoRunnable, Tensor, tvec};

use super::*;
use crate::graph::tests::{Sampler, largest_difference};
use crate::quantization::{ActivationRanges, RangeMethod, layer_noise, map_error};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/onnx_runtime.py");
/// The script's exit code where a module is missing.
const MODULE_MISSING: i32 = 77;
const MANIFEST: (&str, &str) = (shared::MANIFEST_KEY, "{\"format\": 1, \"note\": \"µm\"}");

fn write(graph: &Graph, encoding: Encoding) -> Vec<u8> {
    write_onnx(graph, &OnnxOptions { encoding, metadata: &[MANIFEST] }).unwrap()
}

fn run_tract(file: &[u8], graph: &Graph, image: &[f32]) -> Vec<f32> {
    let plan = tract_onnx::onnx()
        .model_for_read(&mut &*file)
        .unwrap()
        .into_optimized()
        .unwrap()
        .into_runnable()
        .unwrap();
    let shape = graph.input_shape();
    let shape = [1, shape.channels, shape.height, shape.width];
    let input = Tensor::from_shape(&shape, image).unwrap();
    let result = plan.run(tvec!(input.into())).unwrap();
    let expected = graph.shape(graph.output());
    assert_eq!(result[0].shape(), [1, expected.channels, expected.height, expected.width]);
    result[0].to_plain_array_view::<f32>().unwrap().iter().copied().collect()
}

/// What ONNX Runtime makes of the file, and its report; `None` where it is not installed.
fn run_onnx_runtime(file: &[u8], image: &[f32]) -> Option<(Vec<f32>, serde_json::Value)> {
    let python = std::env::var("NUCLEI_PYTHON").unwrap_or_else(|_| "python3".into());
    let folder = tempfile::tempdir().unwrap();
    let [model, input, output] =
        ["model.onnx", "input.f32", "output.f32"].map(|name| folder.path().join(name));
    std::fs::write(&model, file).unwrap();
    let raw: Vec<u8> = image.iter().flat_map(|x| x.to_le_bytes()).collect();
    std::fs::write(&input, raw).unwrap();
    let run = Command::new(&python).args([Path::new(SCRIPT), &model, &input, &output]).output();
    let skip = |why: &dyn std::fmt::Display| {
        // Not eprintln: the test harness would swallow it.
        writeln!(std::io::stderr(), "SKIPPED: ONNX Runtime check ({python}): {why}").unwrap();
    };
    let run = match run {
        Ok(run) => run,
        Err(error) => {
            skip(&error);
            return None;
        }
    };
    let complaint = String::from_utf8_lossy(&run.stderr);
    if run.status.code() == Some(MODULE_MISSING) {
        skip(&complaint.trim());
        return None;
    }
    assert!(run.status.success(), "{complaint}");
    let raw = std::fs::read(&output).unwrap();
    let values = raw.chunks_exact(4).map(|x| f32::from_le_bytes(x.try_into().unwrap())).collect();
    Some((values, serde_json::from_slice(&run.stdout).unwrap()))
}

#[test]
fn three_runtimes_agree_on_both_encodings() {
    let mut sampler = Sampler::new(4);
    let graph = sampler.unet(64, 96);
    let folded = graph.clone().fold_batch_norm();
    let rounded = folded.clone().round_weights();
    let image = sampler.values(graph.input_shape().elements(), 0.0, 1.0);
    // (what is written, how, what it must compute)
    let cases = [
        (&graph, Encoding::F32, &graph),
        (&folded, Encoding::F32, &graph),
        (&folded, Encoding::Int8Weights, &rounded),
    ];
    for (written, weights, meant) in cases {
        let expected = meant.evaluate(&image).unwrap();
        let file = write(written, weights);
        let difference = largest_difference(&run_tract(&file, written, &image), &expected);
        assert!(difference < 1e-5, "tract, {weights:?}: {difference}");
        let Some((values, report)) = run_onnx_runtime(&file, &image) else {
            continue;
        };
        let difference = largest_difference(&values, &expected);
        assert!(difference < 1e-5, "ONNX Runtime, {weights:?}: {difference}");
        assert_eq!(report["producer"], "nuclei-host");
        assert_eq!((&report["opset"], &report["ir_version"]), (&17.into(), &8.into()));
        let input = serde_json::json!({"name": INPUT_NAME, "shape": [1, 3, 64, 96]});
        let output = serde_json::json!({"name": OUTPUT_NAME, "shape": [1, 2, 64, 96]});
        assert_eq!((&report["input"], &report["output"]), (&input, &output));
        assert_eq!(report["metadata"][MANIFEST.0], MANIFEST.1);
    }
}

#[test]
fn int8_costs_little_and_saves_three_quarters() {
    let mut sampler = Sampler::new(5);
    let graph = sampler.unet(64, 64).fold_batch_norm();
    let [float, int8] = [Encoding::F32, Encoding::Int8Weights].map(|w| write(&graph, w));
    let share = int8.len() as f64 / float.len() as f64;
    assert!((0.25..0.28).contains(&share), "share {share}");
    let image = sampler.values(graph.input_shape().elements(), 0.0, 1.0);
    let [float, int8] = [&float, &int8].map(|file| run_tract(file, &graph, &image));
    let difference = largest_difference(&float, &int8);
    assert!(difference > 0.0 && difference < 0.1, "difference {difference}");
}

/// A plan for `graph` with the ranges that the reference gives its values on `image`.
fn integer_plan(graph: &Graph, image: &[f32], float: &[&str]) -> IntegerPlan {
    let tiles = [image.to_vec()];
    let ranges = ActivationRanges::observe(graph, &tiles).unwrap().ranges(RangeMethod::MinMax);
    let node = |name: &&str| graph.nodes().iter().position(|node| node.name == *name).unwrap();
    IntegerPlan::new(graph, &ranges, float.iter().map(node).collect())
}

#[test]
fn two_runtimes_compute_the_integer_form_alike_and_near_the_float_one() {
    let mut sampler = Sampler::new(8);
    let graph = sampler.unet(64, 96).fold_batch_norm();
    let image = sampler.values(graph.input_shape().elements(), 0.0, 1.0);
    for float in [&[][..], &["deep.conv", "head"], &["stem.conv", "dec1.conv"]] {
        let plan = integer_plan(&graph, &image, float);
        let file = write(&graph, Encoding::Integer(&plan));
        let found = run_tract(&file, &graph, &image);
        let encoding = Encoding::Integer(&plan);
        let layers = layer_noise(&graph, encoding, std::slice::from_ref(&image)).unwrap();
        // Two transposed convolutions have overlapping windows.
        assert_eq!(layers.iter().filter(|layer| !layer.integer).count(), float.len() + 2);
        assert!(layers.iter().all(|layer| layer.sqnr_db > 20.0), "{layers:?}");
        let error = map_error(&graph, encoding, std::slice::from_ref(&image)).unwrap();
        assert!(error > 0.0 && error < 0.05, "{float:?} float: {error}");
        let Some((values, report)) = run_onnx_runtime(&file, &image) else {
            continue;
        };
        assert_eq!(report["opset"], 17);
        // A tie that is rounded the other way moves a value by a level, and what follows by a little.
        let difference = largest_difference(&values, &found);
        assert!(difference < 0.1, "ONNX Runtime, {float:?} float: {difference}");
    }
}

#[test]
fn the_integer_form_holds_what_the_plan_says() {
    let mut sampler = Sampler::new(9);
    let graph = sampler.unet(32, 32).fold_batch_norm();
    let image = sampler.values(graph.input_shape().elements(), 0.0, 1.0);
    let plan = integer_plan(&graph, &image, &["deep.conv"]);
    let proto = pb::ModelProto::decode(&*write(&graph, Encoding::Integer(&plan))).unwrap().graph.unwrap();
    let count = |op_type: &str| proto.node.iter().filter(|node| node.op_type == op_type).count();
    // Two transposed convolutions have overlapping windows; one convolution was kept float.
    let convolutions = graph.nodes().iter().filter(|node| node.op.convolution().is_some()).count();
    assert_eq!(count("QLinearConv"), convolutions - 3);
    assert_eq!((count("ConvTranspose"), count("Conv")), (2, 1));
    // Rectifiers are part of the convolutions before them, but for the float one, and for two whose bytes are
    // stacked with signed ones: those have levels below zero.
    assert_eq!(count("Relu"), 3);
    let mut made: BTreeSet<_> = proto.initializer.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(made.len(), proto.initializer.len());
    assert!(made.insert(INPUT_NAME));
    for node in &proto.node {
        assert!(node.input.iter().all(|input| made.contains(input.as_str())), "{}", node.name);
        assert!(made.insert(&node.output[0]), "{}", node.output[0]);
    }
    assert!(made.contains(OUTPUT_NAME));
}

#[test]
fn files_are_the_same_every_time_and_named_throughout() {
    let graph = Sampler::new(6).unet(32, 32).fold_batch_norm();
    for weights in [Encoding::F32, Encoding::Int8Weights] {
        let file = write(&graph, weights);
        assert_eq!(file, write(&graph, weights));
        let proto = pb::ModelProto::decode(&*file).unwrap().graph.unwrap();
        let mut made: BTreeSet<_> = proto.initializer.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(made.len(), proto.initializer.len());
        assert!(made.insert(INPUT_NAME));
        let mut names = BTreeSet::new();
        for node in &proto.node {
            assert!(names.insert(&node.name), "{}", node.name);
            assert!(node.input.iter().all(|input| made.contains(input.as_str())));
            assert!(made.insert(&node.output[0]), "{}", node.output[0]);
        }
        assert!(made.contains(OUTPUT_NAME));
        assert_eq!(proto.value_info.len() + 1, graph.nodes().len());
    }
}

#[test]
fn written_onnx_reads_back() {
    let graph = Sampler::new(10).unet(32, 48).fold_batch_norm();
    assert_eq!(read_graph(&write(&graph, Encoding::F32)).unwrap(), graph);
    let rounded = graph.clone().round_weights();
    let file = write(&graph, Encoding::Int8Weights);
    assert_eq!(read_graph(&file).unwrap(), rounded);
    // Rounding once more changes nothing: a model can be taken from its file as well as from its run.
    assert_eq!(write(&read_graph(&file).unwrap(), Encoding::Int8Weights), file);
}

#[test]
fn unsupported_onnx_is_named() {
    let mut sampler = Sampler::new(11);
    let graph = sampler.unet(32, 32).fold_batch_norm();
    let image = sampler.values(graph.input_shape().elements(), 0.0, 1.0);
    let integer = write(&graph, Encoding::Integer(&integer_plan(&graph, &image, &[])));
    assert!(matches!(read_graph(&integer), Err(OnnxError::Unreadable { .. })));
    let with = |change: fn(&mut pb::GraphProto)| {
        let mut model = pb::ModelProto::decode(&*write(&graph, Encoding::Int8Weights)).unwrap();
        change(model.graph.as_mut().unwrap());
        read_graph(&model.encode_to_vec()).unwrap_err()
    };
    let first_conv =
        |graph: &mut pb::GraphProto| graph.node.iter().position(|it| it.op_type == "Conv").unwrap();
    let error = with(|graph| graph.node[0].op_type = "Gelu".into());
    assert!(matches!(error, OnnxError::Unreadable { what: "its operation", .. }), "{error}");
    let error = with(|graph| graph.initializer.clear());
    assert!(matches!(error, OnnxError::Unreadable { what: "a constant", .. }), "{error}");
    let error = with(|graph| graph.input.clear());
    assert!(matches!(error, OnnxError::Unreadable { .. }), "{error}");
    let mut model = pb::ModelProto::decode(&*write(&graph, Encoding::Int8Weights)).unwrap();
    let parts = model.graph.as_mut().unwrap();
    let conv = first_conv(parts);
    parts.node[conv].attribute.push(attribute_int("group", 3));
    let error = read_graph(&model.encode_to_vec()).unwrap_err();
    assert!(matches!(error, OnnxError::Unreadable { what: "its window", .. }), "{error}");
    for dims in [vec![1, 1 << 32, 1 << 32, 1], vec![0, 1, 1, 1], vec![-1, 1, 1, 1], vec![3]] {
        let mut model = pb::ModelProto::decode(&*write(&graph, Encoding::Int8Weights)).unwrap();
        let tensors = &mut model.graph.as_mut().unwrap().initializer;
        tensors.iter_mut().find(|it| it.name.ends_with("weight_int8")).unwrap().dims = dims;
        let error = read_graph(&model.encode_to_vec()).unwrap_err();
        assert!(matches!(error, OnnxError::Unreadable { what: "its int8 weight", .. }), "{error}");
    }
    assert!(matches!(read_graph(b"no model"), Err(OnnxError::Decode(_))));
}

#[test]
fn metadata_survives_and_junk_is_refused() {
    let graph = Sampler::new(7).unet(32, 32);
    let metadata = [MANIFEST, ("empty", "")];
    let options = OnnxOptions { metadata: &metadata, ..Default::default() };
    let file = write_onnx(&graph, &options).unwrap();
    let expected = metadata.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(read_metadata(&file).unwrap(), BTreeMap::from(expected));

    let twice = OnnxOptions { metadata: &[MANIFEST, MANIFEST], ..Default::default() };
    assert!(matches!(write_onnx(&graph, &twice), Err(OnnxError::DuplicateKey { .. })));
    assert!(matches!(read_metadata(&[]), Err(OnnxError::NoGraph)));
    for junk in [&file[..file.len() / 2], b"\x89PNG\r\n\x1a\n", &[0xff; 64]] {
        assert!(matches!(read_metadata(junk), Err(OnnxError::Decode(_))));
    }
}

use std::io::Write as _;

use burn::backend::Flex;
use burn::tensor::TensorData;
use burn_store::{BurnToPyTorchAdapter, ModuleStore as _};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::*;

/// A network whose every part depends on the seed.
fn network(seed: u64) -> Resnet50<Flex> {
    let mut network = Resnet50::<Flex>::init(&mut StdRng::seed_from_u64(seed), &Default::default());
    let downsample = network.layer2[0].downsample.as_mut().unwrap();
    let variance = downsample.norm.running_var.value() + seed as f32;
    downsample.norm.running_var = RunningState::new(variance);
    network
}

/// Writes a network as torchvision names its tensors.
fn save(network: &Resnet50<Flex>, path: &Path) {
    let mut store = SafetensorsStore::from_file(path).with_to_adapter(BurnToPyTorchAdapter);
    for (ours, theirs) in
        [(r"\.downsample\.conv\.", ".downsample.0."), (r"\.downsample\.norm\.", ".downsample.1.")]
    {
        store = store.with_key_remapping(ours, theirs);
    }
    network.save_into(&mut store).unwrap();
}

/// Writes the tensors of a safetensors file as `torch.save` does: a zip with a pickle and a file for each storage.
fn save_pth(safetensors: &Path, path: &Path) {
    let text = |text: &str| [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    let int = |number: usize| [b"J", &(number as u32).to_le_bytes()[..]].concat();
    let ints = |numbers: &[usize]| {
        let numbers: Vec<u8> = numbers.iter().flat_map(|&number| int(number)).collect();
        [b"(", &numbers[..], b"t"].concat()
    };
    let empty_dict = b"ccollections\nOrderedDict\n)R";
    let mut zip = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut file = |name: &str, bytes: &[u8]| {
        zip.start_file(format!("resnet50/{name}"), stored).unwrap();
        zip.write_all(bytes).unwrap();
    };
    let mut pickle = [b"\x80\x02", &empty_dict[..], b"("].concat();
    let mut store = SafetensorsStore::from_file(safetensors);
    for (index, name) in store.keys().unwrap().iter().enumerate() {
        let data = store.get_snapshot(name).unwrap().unwrap().to_data().unwrap();
        let shape = data.shape.to_vec();
        let numbers: Vec<u8> = data.iter::<f32>().flat_map(f32::to_le_bytes).collect();
        file(&format!("data/{index}"), &numbers);
        let strides: Vec<usize> = (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect();
        pickle.extend(
            [
                &text(name)[..],
                b"ctorch._utils\n_rebuild_tensor_v2\n((",
                &text("storage"),
                b"ctorch\nFloatStorage\n",
                &text(&index.to_string()),
                &text("cpu"),
                &int(numbers.len() / 4),
                b"tQ",
                &int(0),
                &ints(&shape),
                &ints(&strides),
                b"\x89",
                empty_dict,
                b"tR",
            ]
            .concat(),
        );
    }
    pickle.extend(b"u.");
    file("data.pkl", &pickle);
    file("version", b"3\n");
    zip.finish().unwrap();
}

fn tensor(values: Vec<f32>) -> Tensor<Flex, 4> {
    Tensor::from_data(TensorData::new(values, [1, 3, 64, 64]), &Default::default())
}

#[test]
fn weights_come_back_with_the_pictures_normalisation_in_the_first_convolution() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resnet50.safetensors");
    let (written, mut read) = (network(1), network(2));
    save(&written, &path);
    let mut store = SafetensorsStore::from_file(&path);
    let names = store.keys().unwrap();
    for name in [
        "conv1.weight",
        "bn1.bias",
        "bn1.running_mean",
        "layer1.0.downsample.0.weight",
        "layer2.0.downsample.1.running_var",
        "layer3.5.conv2.weight",
        "layer4.2.bn3.weight",
    ] {
        assert!(names.iter().any(|found| found == name), "{name} is not among {names:?}");
    }
    // A convolution has one tensor, a normalization four: 53 of each.
    assert_eq!(names.len(), 5 * 53);

    let pth = folder.path().join("resnet50.pth");
    save_pth(&path, &pth);
    let mut from_pth = network(3);
    from_pth.load(&pth).unwrap();
    read.load(&path).unwrap();
    let last = |network: &Resnet50<Flex>| network.layer4[2].conv3.weight.val().into_data();
    for read in [&read, &from_pth] {
        last(read).assert_eq(&last(&written), true);
        read.conv1.weight.val().into_data().assert_eq(&from_pth.conv1.weight.val().into_data(), true);
        let variance = |network: &Resnet50<Flex>| {
            network.layer2[0].downsample.as_ref().unwrap().norm.running_var.value().into_data()
        };
        variance(read).assert_eq(&variance(&written), true);
    }
    let values: Vec<f32> = (0..3 * 64 * 64).map(|i| ((i as f32 * 0.37).sin() + 1.0) / 2.0).collect();
    let normalised =
        values.iter().enumerate().map(|(i, v)| (v - MEAN[i / 4096]) / DEVIATION[i / 4096]).collect();
    // The edge is another one: three pixels of the input.
    let inner = |map: &Tensor<Flex, 4>| map.clone().narrow(2, 2, 28).narrow(3, 2, 28);
    let (theirs, ours) =
        (&written.forward(tensor(normalised)).skips[0], &read.forward(tensor(values)).skips[0]);
    let far: f32 = (inner(theirs) - inner(ours)).abs().max().into_scalar();
    let largest: f32 = theirs.clone().max().into_scalar();
    assert!(far < 1e-4 * largest, "{far} of {largest}");
    assert!(largest > 0.1);
}

#[test]
fn other_files_are_refused_with_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let message = |path: &Path| network(1).load(path).unwrap_err().to_string();
    assert!(message(&file("none.pth")).contains("No such file"), "{}", message(&file("none.pth")));
    for name in ["weights.h5", "weights"] {
        std::fs::write(file(name), b"x").unwrap();
        let message = message(&file(name));
        assert!(message.ends_with("is not a .safetensors, .pth or .pt file"), "{message}");
    }
    for name in ["junk.safetensors", "junk.pth"] {
        std::fs::write(file(name), [7; 300]).unwrap();
        assert!(message(&file(name)).contains("cannot be read"), "{}", message(&file(name)));
    }
    let mut cut = network(1);
    cut.layer3.truncate(5);
    save(&cut, &file("cut.safetensors"));
    let message = message(&file("cut.safetensors"));
    assert!(message.contains("layer3.5") && message.contains("missing"), "{message}");
}

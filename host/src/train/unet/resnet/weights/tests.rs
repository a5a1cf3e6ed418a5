use burn::backend::Flex;
use burn::tensor::TensorData;
use burn_store::{BurnToPyTorchAdapter, ModuleStore as _};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::*;

fn network(seed: u64) -> Resnet50<Flex> {
    Resnet50::init(&mut StdRng::seed_from_u64(seed), &Default::default())
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
    // A convolution has one tensor, a normalisation four: 53 of each.
    assert_eq!(names.len(), 5 * 53);

    read.load(&path).unwrap();
    let last = |network: &Resnet50<Flex>| network.layer4[2].conv3.weight.val().into_data();
    last(&read).assert_eq(&last(&written), true);
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
    let told = |path: &Path| network(1).load(path).unwrap_err().to_string();
    assert!(told(&file("none.pth")).contains("No such file"), "{}", told(&file("none.pth")));
    for name in ["weights.h5", "weights"] {
        std::fs::write(file(name), b"x").unwrap();
        assert!(told(&file(name)).contains("neither"), "{}", told(&file(name)));
    }
    for name in ["junk.safetensors", "junk.pth"] {
        std::fs::write(file(name), [7; 300]).unwrap();
        assert!(told(&file(name)).contains("cannot be read"), "{}", told(&file(name)));
    }
    let mut cut = network(1);
    cut.layer3.truncate(5);
    save(&cut, &file("cut.safetensors"));
    let told = told(&file("cut.safetensors"));
    assert!(told.contains("layer3.5") && told.contains("missing"), "{told}");
}

//! The direction of the house: firmware -> shared <- host. The host is a stack of packages (its console, data
//! sets and models, training, the program), Burn is in training alone, and the kernels of host and station are in
//! packages of their own that know nobody.
#![allow(clippy::unwrap_used, reason = "a target of tests: helpers fail as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// The workspace's own crates and what each may depend on among them.
const ALLOWED: [(&str, &[&str]); 9] = [
    ("shared", &["inference-kernels"]),
    ("inference-kernels", &[]),
    ("training-kernels", &[]),
    ("firmware", &["shared"]),
    ("host", &["host-console", "host-modelling", "host-training", "shared"]),
    ("host-console", &["shared"]),
    ("host-modelling", &["host-console", "shared"]),
    ("host-training", &["host-console", "host-modelling", "shared", "training-kernels"]),
    ("tests", &["firmware", "host", "host-modelling", "shared"]),
];

fn metadata() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--locked", "--offline"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    metadata()
        .iter()
        .map(|package| {
            let names = package["dependencies"].as_array().unwrap().iter();
            let names = names.map(|dependency| dependency["name"].as_str().unwrap().to_owned()).collect();
            (package["name"].as_str().unwrap().to_owned(), names)
        })
        .collect()
}

#[test]
fn no_arrow_but_the_allowed_ones() {
    let dependencies = dependencies();
    let members: BTreeSet<&str> = dependencies.keys().map(String::as_str).collect();
    assert_eq!(members, ALLOWED.iter().map(|(name, _)| *name).collect());
    for (name, allowed) in ALLOWED {
        let inside: BTreeSet<&str> =
            dependencies[name].iter().map(String::as_str).filter(|d| members.contains(d)).collect();
        assert_eq!(inside, allowed.iter().copied().collect(), "{name}");
    }
}

#[test]
fn burn_lives_in_training_alone() {
    for (name, dependencies) in dependencies() {
        let burns = dependencies.iter().any(|dependency| dependency.starts_with("burn"));
        assert_eq!(burns, name == "host-training", "{name}");
    }
}

#[test]
fn the_shared_crate_needs_std_for_its_two_features_only() {
    let shared = metadata().into_iter().find(|package| package["name"] == "shared").unwrap();
    let features: BTreeSet<&String> = shared["features"].as_object().unwrap().keys().collect();
    let optional: BTreeSet<&str> = shared["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|dependency| dependency["optional"] == true)
        .map(|dependency| dependency["name"].as_str().unwrap())
        .collect();
    assert_eq!(features, BTreeSet::from([&"decode".to_owned(), &"tract".to_owned()]));
    let expected = ["image", "inference-kernels", "prost", "roxmltree", "tiff", "tract-onnx"];
    assert_eq!(optional, BTreeSet::from(expected));
}

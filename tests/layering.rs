//! Checks the layering: firmware -> shared <- host. The host is a stack of packages (console, data sets and models,
//! training, programs). Only training uses Burn, and the kernel packages depend on no other.
#![allow(clippy::unwrap_used, reason = "a target of tests: helpers fail as tests do")]

#[path = "layering/module_graph.rs"]
mod module_graph;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use module_graph::ModuleGraph;
use serde_json::Value;

/// The workspace's own crates and what each may depend on among them.
const ALLOWED: [(&str, &[&str]); 11] = [
    ("shared", &["inference-kernels"]),
    ("inference-kernels", &[]),
    ("training-kernels", &[]),
    ("firmware", &["shared"]),
    ("host", &["host-console", "host-modelling", "shared"]),
    ("host-console", &["shared"]),
    ("host-modelling", &["host-console", "shared"]),
    ("host-crops", &["host-modelling", "shared"]),
    ("host-training", &["host-console", "host-crops", "host-modelling", "shared", "training-kernels"]),
    ("host-train", &["host-console", "host-modelling", "host-training", "shared"]),
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

/// The packages that are compiled for a build, each with its features.
fn compiled(arguments: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--prefix=none", "--format={p} {f}"])
        .args(arguments)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.trim_end_matches(" (*)").trim().to_owned()).collect()
}

#[test]
fn the_demo_compiles_dependencies_as_the_tests_do() {
    let demo = compiled(&["--edges=normal,build", "-p", "host", "-p", "firmware"]);
    let all = compiled(&["--edges=normal,build,dev", "--workspace"]);
    // Burn's reader of PyTorch's files asks for every form of compression, which would cost the demo more.
    let apart: Vec<&String> = demo.difference(&all).filter(|package| !package.starts_with("zip ")).collect();
    assert!(apart.is_empty(), "state their features in the root manifest: {apart:#?}");
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

/// The folders of `host/src` and which of the others each uses.
const HOST_FOLDERS: [(&str, &[&str]); 9] = [
    ("support", &[]),
    ("station", &["support"]),
    ("records", &["station", "support"]),
    ("analysis", &["records", "support"]),
    ("export", &[]),
    ("publish", &["records", "station", "support"]),
    ("monitor", &["publish", "records", "station", "support"]),
    ("commands", &["analysis", "export", "monitor", "publish", "records", "station", "support"]),
    ("cli", &["commands"]),
];

fn module_graph(package: &str) -> ModuleGraph {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(package).join("src");
    let roots = [sources.join("lib.rs"), sources.join("main.rs")];
    ModuleGraph::read(roots.iter().find(|root| root.exists()).unwrap())
}

/// Fails where the folders of a package, or what they use of each other, differ from a table.
#[track_caller]
fn assert_folders(package: &str, table: &[(&str, &[&str])]) {
    let expected: BTreeMap<String, BTreeSet<String>> = table
        .iter()
        .map(|(folder, uses)| ((*folder).to_owned(), uses.iter().map(|used| (*used).to_owned()).collect()))
        .collect();
    assert_eq!(module_graph(package).siblings(&[]), expected, "{package}");
}

#[test]
fn folders_of_the_host_are_layers() {
    assert_folders("host", &HOST_FOLDERS);
}

/// The folders of `firmware/src` and which of the others each uses.
const FIRMWARE_FOLDERS: [(&str, &[&str]); 11] = [
    ("runtime", &[]),
    ("camera", &["runtime"]),
    ("io", &["runtime"]),
    ("link", &["runtime"]),
    ("inference", &["camera"]),
    ("inbox", &["inference", "link"]),
    ("update", &["inbox", "inference", "runtime"]),
    ("frames", &["camera", "inbox", "inference", "link", "runtime"]),
    ("service", &["frames", "inbox", "inference", "io", "link", "runtime", "update"]),
    ("station", &["camera", "frames", "inbox", "inference", "io", "link", "runtime", "service", "update"]),
    ("tools", &["camera", "frames", "inbox", "inference", "io", "link", "runtime", "station", "update"]),
];

#[test]
fn folders_of_the_firmware_are_layers() {
    assert_folders("firmware", &FIRMWARE_FOLDERS);
}

/// The folders of the product's packages.
fn packages() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap();
    let folder = |package: &Value| {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap()).to_owned();
        manifest.parent().unwrap().strip_prefix(&root).unwrap().to_str().unwrap().to_owned()
    };
    metadata().iter().map(folder).filter(|folder| folder != "tests").collect()
}

const NO_CIRCLES: [Vec<String>; 0] = [];

#[test]
fn no_modules_form_a_circle() {
    let packages = packages();
    assert_eq!(packages.len(), ALLOWED.len() - 1, "{packages:?}");
    for package in packages {
        assert_eq!(module_graph(&package).circles(), NO_CIRCLES, "{package}");
    }
}

/// Names that each program or module has for itself.
const REPEATED_NAMES: [&str; 3] = ["Cli", "Command", "State"];

#[test]
fn a_name_means_one_type() {
    let mut modules: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages() {
        for (name, module) in module_graph(&package).types() {
            modules.entry(name).or_default().push(format!("{package}: {module}"));
        }
    }
    assert!(modules.len() > 500, "{} names", modules.len());
    modules.retain(|name, modules| modules.len() > 1 && !REPEATED_NAMES.contains(&name.as_str()));
    assert!(modules.is_empty(), "{modules:#?}");
}

#[test]
fn a_circle_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    std::fs::create_dir(folder.path().join("a")).unwrap();
    write("lib.rs", "mod a;\nmod b;\nmod c;\n#[cfg(test)]\nmod tests;");
    write("a.rs", "mod inner;\npub struct A;\n#[cfg(test)]\nmod tests { use crate::c; }");
    write("a/inner.rs", "use super::A;\nfn f() -> crate::b::B { todo!() }");
    write("b.rs", "use super::{c::C, c};\npub struct B;");
    write("c.rs", "pub struct C;\n#[cfg(test)]\nmod tests { struct A; }");
    let graph = ModuleGraph::read(&folder.path().join("lib.rs"));
    assert_eq!(graph.circles(), NO_CIRCLES);
    assert_eq!(graph.siblings(&[])["a"], BTreeSet::from(["b".to_owned()]));
    let types = graph.types().map(|(name, module)| format!("{module}::{name}")).collect::<Vec<_>>();
    assert_eq!(types, ["a::A", "b::B", "c::C"]);
    write("c.rs", "pub struct C(crate::a::A);");
    assert_eq!(ModuleGraph::read(&folder.path().join("lib.rs")).circles(), [["a", "b", "c", "a"]]);
}

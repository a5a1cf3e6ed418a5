//! The module graph of a crate, read from its sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, Meta, UseTree};

/// A module's path in its crate; empty for the crate's root.
pub type ModulePath = Vec<String>;

/// The modules of a crate, without its tests.
pub struct ModuleGraph {
    /// The modules that each of them names.
    named: BTreeMap<ModulePath, BTreeSet<ModulePath>>,
    /// The structs, enums and traits that each of them defines.
    types: BTreeMap<ModulePath, Vec<String>>,
}

impl ModuleGraph {
    /// Reads the crate with that root file, such as `src/lib.rs`.
    pub fn read(root: &Path) -> Self {
        let mut collected = BTreeMap::new();
        read_module(root, root.parent().unwrap(), Vec::new(), &mut collected);
        let modules: BTreeSet<&ModulePath> = collected.keys().collect();
        let resolved = |(module, Collector { paths, .. }): (&ModulePath, &Collector)| {
            let targets = paths.iter().map(|path| longest_module(path, &modules));
            (module.clone(), targets.filter(|target| target != module).collect())
        };
        let named = collected.iter().map(resolved).collect();
        Self { named, types: collected.into_iter().map(|(module, found)| (module, found.types)).collect() }
    }

    /// The structs, enums and traits, each with the path of its module.
    pub fn types(&self) -> impl Iterator<Item = (String, String)> {
        self.types
            .iter()
            .flat_map(|(module, types)| types.iter().map(|name| (name.clone(), module.join("::"))))
    }

    /// The modules directly below `parent`, each with those of its siblings that it or a module within it names.
    pub fn siblings(&self, parent: &[String]) -> BTreeMap<String, BTreeSet<String>> {
        let child = |path: &ModulePath| path.strip_prefix(parent).and_then(|rest| rest.first().cloned());
        let mut siblings: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (module, targets) in &self.named {
            let Some(from) = child(module) else { continue };
            let others = targets.iter().filter_map(child).filter(|to| *to != from);
            siblings.entry(from.clone()).or_default().extend(others);
        }
        siblings
    }

    /// Circles among the children of a module, one for each such module, as paths from a child back to itself. That a
    /// module and its children name each other is no circle: they are one unit.
    pub fn circles(&self) -> Vec<Vec<String>> {
        let circle = |parent: &ModulePath| {
            let siblings = self.siblings(parent);
            let mut starts = siblings.keys();
            let circle = starts.find_map(|start| path_back(start, &siblings, &mut vec![start.clone()]))?;
            let full = |name: &String| [parent.as_slice(), std::slice::from_ref(name)].concat().join("::");
            Some(circle.iter().map(full).collect())
        };
        self.named.keys().filter_map(circle).collect()
    }
}

fn path_back(
    start: &str,
    siblings: &BTreeMap<String, BTreeSet<String>>,
    path: &mut Vec<String>,
) -> Option<Vec<String>> {
    for next in siblings.get(path.last()?).into_iter().flatten() {
        if next == start {
            return Some([path.clone(), vec![start.to_owned()]].concat());
        }
        if !path.contains(next) {
            path.push(next.clone());
            if let Some(found) = path_back(start, siblings, path) {
                return Some(found);
            }
            path.pop();
        }
    }
    None
}

/// The module that a path leads to or into.
fn longest_module(path: &[String], modules: &BTreeSet<&ModulePath>) -> ModulePath {
    let mut path = path.to_vec();
    while !modules.contains(&path) {
        path.pop();
    }
    path
}

fn read_module(
    file: &Path,
    folder: &Path,
    module: ModulePath,
    collected: &mut BTreeMap<ModulePath, Collector>,
) {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let syntax = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut collector = Collector { module: module.clone(), ..Collector::default() };
    collector.visit_file(&syntax);
    for child in &collector.children {
        let path = folder.join(format!("{child}.rs"));
        read_module(&path, &folder.join(child), [module.clone(), vec![child.clone()]].concat(), collected);
    }
    collected.insert(module, collector);
}

/// Collects the paths within the crate that a file names, and the modules and types that it declares, all without tests.
#[derive(Default)]
struct Collector {
    module: ModulePath,
    paths: Vec<ModulePath>,
    children: Vec<String>,
    types: Vec<String>,
}

impl Collector {
    fn add(&mut self, segments: &[String]) {
        let mut base = self.module.clone();
        let mut rest = segments;
        match segments.first().map(String::as_str) {
            Some("crate") => base.clear(),
            Some("self" | "super") => {}
            _ => return,
        }
        while let [first, others @ ..] = rest {
            match first.as_str() {
                "crate" | "self" => {}
                "super" => drop(base.pop()),
                _ => break,
            }
            rest = others;
        }
        self.paths.push([base, rest.to_vec()].concat());
    }

    fn add_tree(&mut self, tree: &UseTree, mut prefix: Vec<String>) {
        match tree {
            UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.add_tree(&path.tree, prefix);
            }
            UseTree::Name(name) => self.add(&[prefix, vec![name.ident.to_string()]].concat()),
            UseTree::Rename(rename) => self.add(&[prefix, vec![rename.ident.to_string()]].concat()),
            UseTree::Glob(_) => self.add(&prefix),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_tree(tree, prefix.clone())),
        }
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        _ => false,
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

impl<'ast> Visit<'ast> for Collector {
    fn visit_item(&mut self, item: &'ast Item) {
        if is_test(attributes(item)) {
            return;
        }
        match item {
            Item::Struct(syn::ItemStruct { ident, .. })
            | Item::Enum(syn::ItemEnum { ident, .. })
            | Item::Trait(syn::ItemTrait { ident, .. }) => self.types.push(ident.to_string()),
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !is_test(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        match module.content {
            None => self.children.push(module.ident.to_string()),
            // Of the file that it is in.
            Some(_) => visit::visit_item_mod(self, module),
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.add_tree(&item.tree, Vec::new());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.add(&segments);
        visit::visit_path(self, path);
    }
}

//! One stem is found in every room: shader, row of the table, op, twin, test.
//!
//! A file of `src/ops/<room>/` serves the stems whose literal `"room/stem"` it contains, usually its own and its variants
//! (`_double`, `_register`, `_subgroup`, `_coop`, `_half`), which have no text of their own; twin and test are named as the
//! stem or as that file. An op that only composes others has a test of its name; a twin's helper is imported by a twin of
//! its room.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use secateur::gpu::{Kernel, shared_modules};

const ROOMS: [&str; 5] = ["dense", "factor", "prox", "nn", "bench"];

/// Files of a package: path from its root, with `/`, to text.
pub(crate) struct Tree(pub(crate) BTreeMap<String, String>);

impl Tree {
    /// The folders that hold kernels and what belongs to them.
    pub(crate) fn of_this_package() -> Tree {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut folders = vec!["shaders/shared".to_string(), "tests/kernels".to_string()];
        for home in ["shaders", "src/ops", "src/reference"] {
            folders.extend(ROOMS.map(|room| format!("{home}/{room}")));
        }
        let mut files = BTreeMap::new();
        for folder in folders {
            // A room may be empty, and git keeps no empty folder.
            for entry in std::fs::read_dir(root.join(&folder)).into_iter().flatten() {
                let path = entry.expect("a readable folder").path();
                let name = path.file_name().expect("a file name").to_string_lossy().into_owned();
                files.insert(
                    format!("{folder}/{name}"),
                    std::fs::read_to_string(&path).expect("a text file"),
                );
            }
        }
        Tree(files)
    }

    /// Stems and texts of the files with this extension in a folder, `mod.rs` left out.
    fn stems<'a>(&'a self, folder: &str, extension: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let inside = move |path: &'a str| path.strip_prefix(folder)?.strip_prefix('/')?.strip_suffix(extension);
        let files = self
            .0
            .iter()
            .filter_map(move |(path, text)| Some((inside(path)?, text.as_str())));
        files.filter(|(stem, _)| *stem != "mod")
    }

    fn has(&self, path: String) -> bool {
        self.0.contains_key(&path)
    }
}

/// Everything out of place.
pub(crate) fn check(tree: &Tree, kernels: &[&Kernel]) -> Vec<String> {
    let mut failures = shared(tree);
    let mut rows = BTreeSet::new();
    for kernel in kernels {
        if !rows.insert(kernel.stem) {
            failures.push(format!("{} has two rows", kernel.stem));
        }
        let path = format!("shaders/{}.wgsl", kernel.file());
        if tree.0.get(&path).map(String::as_str) != Some(kernel.source) {
            failures.push(format!("{path} is missing or is not the text of its row"));
        }
    }
    for room in ROOMS {
        failures.extend(check_room(tree, room, &rows));
    }
    failures
}

fn check_room(tree: &Tree, room: &str, rows: &BTreeSet<&str>) -> Vec<String> {
    let mut failures = Vec::new();
    for (stem, _) in tree.stems(&format!("shaders/{room}"), ".wgsl") {
        if !rows.contains(format!("{room}/{stem}").as_str()) {
            failures.push(format!("shaders/{room}/{stem}.wgsl has no row in the kernel table"));
        }
    }
    let mut names = BTreeSet::new();
    for stem in rows.iter().filter_map(|row| row.strip_prefix(room)?.strip_prefix('/')) {
        let base = stem.strip_suffix("_register").unwrap_or(stem);
        let literal = format!("\"{room}/{stem}\"");
        let Some((op, _)) = tree
            .stems(&format!("src/ops/{room}"), ".rs")
            .find(|(_, text)| text.contains(&literal))
        else {
            failures.push(format!("no file of src/ops/{room} contains {literal}"));
            continue;
        };
        names.extend([base, op]);
        for home in [format!("src/reference/{room}"), "tests/kernels".to_string()] {
            if ![base, op].iter().any(|name| tree.has(format!("{home}/{name}.rs"))) {
                failures.push(format!("{room}/{stem}: no {home}/{base}.rs"));
            }
        }
    }
    let (ops, twins) = (format!("src/ops/{room}"), format!("src/reference/{room}"));
    for (stem, text) in tree.stems(&ops, ".rs") {
        let serves = rows.iter().any(|row| text.contains(&format!("\"{row}\"")));
        let composed = !text.contains(": Kernel =") && tree.has(format!("tests/kernels/{stem}.rs"));
        if !serves && !composed {
            failures.push(format!("{ops}/{stem}.rs serves no kernel, and has no test"));
        }
    }
    for (stem, _) in tree.stems(&twins, ".rs") {
        let composed = tree.has(format!("{ops}/{stem}.rs"));
        let helps = tree
            .stems(&twins, ".rs")
            .any(|(_, text)| text.contains(&format!("use super::{stem}")));
        if !names.contains(stem) && !composed && !helps {
            failures.push(format!("{twins}/{stem}.rs is the twin of nothing, and helps none"));
        }
    }
    failures
}

/// The files of `shaders/shared` are the composer's modules, and none is a kernel.
fn shared(tree: &Tree) -> Vec<String> {
    let files: BTreeMap<_, _> = tree.stems("shaders/shared", ".wgsl").collect();
    let modules: BTreeMap<_, _> = shared_modules().iter().copied().collect();
    let names = files.keys().chain(modules.keys()).collect::<BTreeSet<_>>();
    let wrong = |name: &str| {
        if files.get(name) != modules.get(name) {
            return Some(format!("shaders/shared/{name}.wgsl and the composer's list disagree"));
        }
        let kernel = files[name].contains("@compute");
        kernel.then(|| format!("shaders/shared/{name}.wgsl has an entry point"))
    };
    names.into_iter().filter_map(|name| wrong(name)).collect()
}

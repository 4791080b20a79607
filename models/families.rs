//! Build script: lists the family files of this folder, so that a new family is a new file and nothing else.

use std::path::{Path, PathBuf};

#[expect(clippy::print_stdout, reason = "this is how a build script speaks to cargo")]
fn main() {
    let root = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let models = Path::new(&root).join("models");
    println!("cargo::rerun-if-changed={}", models.display());
    let entries = std::fs::read_dir(&models).expect("the folder of this script");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    let rows: String = files
        .iter()
        .map(|path| {
            format!(
                "    ({:?}, include_str!({path:?})),\n",
                path.file_name().expect("a file").to_string_lossy()
            )
        })
        .collect();
    let out = Path::new(&std::env::var("OUT_DIR").expect("cargo sets it")).join("families.rs");
    std::fs::write(out, format!("&[\n{rows}]\n")).expect("the build folder is writable");
}

//! T5: the product as its README shows it.

mod demo;
mod library;
mod readme;

use std::path::Path;
use std::process::Output;

use crate::common::program;

/// Runs the real binary and fails with its stderr.
pub(crate) fn secateur(arguments: &[&str]) -> Output {
    let output = program().args(arguments).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "secateur {arguments:?}: {}\n{stderr}",
        output.status
    );
    output
}

/// The demo model as a folder of its own.
pub(crate) fn demo_model(folder: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
    std::fs::create_dir_all(folder).unwrap();
    for name in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ] {
        std::fs::copy(source.join(name), folder.join(name)).unwrap();
    }
}

use secateur::model::ActivationOptions;
use tempfile::TempDir;

use super::super::variants;
use super::{Variant, backward, check};
use crate::common::devices;

/// Families on the adapter too: Llama, and the one with most of the switches.
const ON_THE_ADAPTER: [&str; 5] = ["tied_gqa_bf16", "gemma2", "gpt_neox", "qwen3", "mixtral"];

#[test]
fn every_family_matches_autograd() {
    for name in &variants() {
        let variant = Variant::open(name);
        for gpu in devices() {
            if gpu.is_host() || ON_THE_ADAPTER.contains(&name.as_str()) {
                let (loss, gradients) = backward(gpu, &variant, &ActivationOptions::default());
                let [share, error] = check(gpu, &variant, &loss, &gradients);
                eprintln!(
                    "{name:22} {:30} worst error {error:.1e}, {share:.2} of its bound",
                    gpu.name()
                );
            }
        }
    }
}

/// Streams in a file, in batches of one sequence: the same gradients.
#[test]
fn where_streams_are_kept_does_not_matter() {
    let folder = TempDir::new().unwrap();
    for name in ["tied_gqa_bf16", "opt"] {
        let variant = Variant::open(name);
        let options = ActivationOptions {
            ram_budget: Some(0),
            rows: 1,
            spill_dir: folder.path().into(),
            ..Default::default()
        };
        for gpu in devices() {
            let (loss, gradients) = backward(gpu, &variant, &options);
            assert_eq!(loss.stream.ram_bytes(), 0);
            check(gpu, &variant, &loss, &gradients);
        }
    }
}

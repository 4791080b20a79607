use std::fs;

use secateur::gpu::Gpu;
use secateur::model::{ActivationOptions, Decoder};
use tempfile::TempDir;

use super::{Variant, bound, folder, logits_bound, values, variants};
use crate::common::{assert_close, devices, f64s};

/// Embedding, every layer and the logits, in the order in which `run` and `eval` compute them.
fn check(gpu: &Gpu, variant: &Variant) {
    let spec = &variant.spec;
    let what = |tensor: &str| format!("{} on {}: {tensor}", variant.name, gpu.name());
    let decoder = Decoder::new(gpu, &variant.checkpoint, spec, variant.sequence()).unwrap();
    let mut activations = decoder.embed(&variant.ids).unwrap();
    assert_close(
        &what("embedding"),
        &values(&activations),
        variant.expected("embedding"),
        0.0,
    );
    for layer in 0..spec.layers {
        decoder
            .advance(&mut activations, &decoder.layer(layer).unwrap())
            .unwrap();
        let name = format!("layers.{layer}");
        let found = values(&activations);
        assert_close(&what(&name), &found, variant.expected(&name), bound(spec, layer + 1));
    }
    let logits = decoder.all_logits(&activations, 0).unwrap();
    assert_close(&what("logits"), &logits, variant.expected("logits"), logits_bound(spec));
}

#[test]
fn every_layer_matches_transformers() {
    for name in &variants() {
        let variant = Variant::open(name);
        for gpu in devices() {
            check(gpu, &variant);
        }
    }
}

/// One uploaded while the one before is computed, and written while the one after is.
#[test]
fn batch_after_batch_is_the_same() {
    let variant = Variant::open("tied_gqa_bf16");
    let spec = &variant.spec;
    let mut ids = variant.ids.clone();
    ids.extend(variant.ids.iter().rev().cloned());
    for gpu in devices() {
        let decoder = Decoder::new(gpu, &variant.checkpoint, spec, variant.sequence()).unwrap();
        let run = |rows: usize| {
            let options = ActivationOptions {
                rows,
                ..Default::default()
            };
            let mut activations = decoder.embed_with(&ids, &options).unwrap();
            for layer in 0..spec.layers {
                decoder
                    .advance(&mut activations, &decoder.layer(layer).unwrap())
                    .unwrap();
            }
            (activations.batches(), values(&activations))
        };
        let (whole, wanted) = run(ids.len() * variant.sequence());
        let (pieces, found) = run(variant.sequence());
        assert_eq!([whole, pieces], [1, ids.len()]);
        assert_close(gpu.name(), &found, &f64s(&wanted), bound(spec, spec.layers));
    }
}

/// The fixtures' `config.json` is what transformers 5 writes; `config_old.json` says the same as transformers 4 did.
#[test]
fn both_spellings_of_the_config_mean_the_same() {
    let with_old: Vec<_> = variants()
        .into_iter()
        .filter(|name| folder(name).join("config_old.json").exists())
        .collect();
    assert!(with_old.len() > 20, "only {with_old:?} have an old spelling");
    for name in with_old {
        let dir = TempDir::new().unwrap();
        for entry in fs::read_dir(folder(&name)).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
        }
        fs::rename(dir.path().join("config_old.json"), dir.path().join("config.json")).unwrap();
        let variant = Variant::with_checkpoint(&name, dir.path());
        check(&devices()[0], &variant);
    }
}

/// More sequences than one batch holds, of which the last is smaller.
#[test]
fn batches_do_not_mix() {
    let variant = Variant::open("rope_linear_sharded");
    let (ids, copies) = variant.two_batches();
    for gpu in devices() {
        let decoder = Decoder::new(gpu, &variant.checkpoint, &variant.spec, variant.sequence()).unwrap();
        let activations = decoder.run(&ids, |_| {}).unwrap();
        assert_eq!(activations.batches(), 2);
        assert_eq!(activations.tokens(), ids.len() * variant.sequence());
        let logits: Vec<f32> = (0..2)
            .flat_map(|batch| decoder.all_logits(&activations, batch).unwrap())
            .collect();
        let wanted = variant.expected("logits").repeat(copies);
        assert_close(
            &format!("batches on {}", gpu.name()),
            &logits,
            &wanted,
            logits_bound(&variant.spec),
        );
    }
}

/// In memory, in a file, in smaller batches: the same numbers.
#[test]
fn where_activations_are_kept_does_not_matter() {
    let variant = Variant::open("rope_linear_sharded");
    let (ids, _) = variant.two_batches();
    let folder = TempDir::new().unwrap();
    for gpu in devices() {
        let decoder = Decoder::new(gpu, &variant.checkpoint, &variant.spec, variant.sequence()).unwrap();
        let wanted = values(&decoder.run(&ids, |_| {}).unwrap());
        for (ram_budget, rows) in [(Some(0), 2048), (Some(10_000), 100), (None, 1)] {
            let options = ActivationOptions {
                ram_budget,
                rows,
                spill_dir: folder.path().into(),
                ..Default::default()
            };
            let mut activations = decoder.embed_with(&ids, &options).unwrap();
            for layer in 0..variant.spec.layers {
                decoder
                    .advance(&mut activations, &decoder.layer(layer).unwrap())
                    .unwrap();
            }
            assert_eq!(activations.ram_bytes() > 0, ram_budget != Some(0));
            assert!(values(&activations) == wanted, "{rows} rows on {}", gpu.name());
        }
    }
}

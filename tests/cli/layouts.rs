//! Checkpoints as they come: every element type, types mixed, shards, tensors we do not know, tied heads.

use std::fs;

use safetensors::tensor::Dtype;

use super::fixture::{Model, Stored, shard_name};
use super::{Case, listing, weights};

/// Prunes at 2:4 and checks types, sizes and zeros of all tensors.
fn pruned(case: &Case) -> serde_json::Value {
    let report = case.prune(&["--pattern", "2:4", "--json"]).json();
    let (before, after) = (weights(&case.model()), weights(&case.output()));
    assert_eq!(before.len(), after.len());
    for (old, new) in before.iter().zip(&after) {
        assert_eq!((&old.name, old.dtype, &old.shape), (&new.name, new.dtype, &new.shape));
        if old.is_linear() {
            let two = |group: &[f32]| group.iter().filter(|v| **v != 0.0).count() == 2;
            assert!(new.values().chunks(4).all(two), "{}", new.name);
        } else {
            assert_eq!(old.bytes, new.bytes, "{}", old.name);
        }
    }
    report
}

#[test]
fn of_every_type() {
    for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
        let mut model = Model::small();
        model.store_as(dtype);
        pruned(&Case::of(&model));
    }
}

#[test]
fn of_mixed_types() {
    let mut model = Model::small();
    for (i, tensor) in model.tensors.iter_mut().enumerate() {
        tensor.store_as([Dtype::F32, Dtype::F16, Dtype::BF16][i % 3]);
    }
    pruned(&Case::of(&model));
}

/// A type is a matter of storage: f32 weights that bf16 can hold give the same zeros as those in bf16.
#[test]
fn types_do_not_change_the_choice() {
    let zeros = |dtype: Dtype| {
        let mut model = Model::small();
        model.store_as(dtype);
        let case = Case::of(&model);
        case.prune(&[
            "--pattern",
            "2:4",
            "--method",
            "wanda",
            "--refit",
            "0",
            "--propagate",
            "dense",
        ])
        .succeeds();
        let first = weights(&case.output())
            .into_iter()
            .find(|t| t.name.contains("layers.0.self_attn.q_proj"));
        first.unwrap().values().iter().map(|v| *v == 0.0).collect::<Vec<_>>()
    };
    assert_eq!(zeros(Dtype::BF16), zeros(Dtype::F32));
}

#[test]
fn in_shards() {
    let model = Model {
        shards: 3,
        ..Model::small()
    };
    let case = Case::of(&model);
    pruned(&case);
    let mut files = listing(&case.model());
    files.push("pruning_report.json".to_string());
    files.sort();
    assert_eq!(listing(&case.output()), files);
    for name in ["model.safetensors.index.json", "config.json", "tokenizer.json"] {
        assert!(
            fs::read(case.model().join(name)).unwrap() == fs::read(case.output().join(name)).unwrap(),
            "{name}"
        );
    }
    for i in 0..3 {
        let length = |folder| {
            fs::metadata(std::path::Path::join(folder, shard_name(i, 3)))
                .unwrap()
                .len()
        };
        assert_eq!(length(&case.model()), length(&case.output()));
    }
    // One file or three: the same weights.
    let single = Case::of(&Model::small());
    pruned(&single);
    assert!(
        weights(&single.output()) == weights(&case.output()),
        "shards changed the result"
    );
}

#[test]
fn with_tensors_we_do_not_know() {
    let mut model = Model::small();
    for (name, dtype, shape, bytes) in [
        ("model.layers.0.self_attn.rotary_emb.inv_freq", Dtype::F32, vec![4], 16),
        ("model.position_ids", Dtype::I64, vec![1, 3], 24),
        ("scalar", Dtype::U8, vec![], 1),
        ("empty", Dtype::F16, vec![0, 8], 0),
    ] {
        let bytes = (0..bytes).map(|i| 200 + i as u8).collect();
        model.tensors.push(Stored {
            name: name.into(),
            dtype,
            shape,
            bytes,
        });
    }
    pruned(&Case::of(&model));
}

/// Without a head of its own the embedding serves as one, whatever the config says.
#[test]
fn with_a_tied_head() {
    let mut model = Model::small();
    model.tensors.retain(|tensor| tensor.name != "lm_head.weight");
    let case = Case::of(&model);
    pruned(&case);
    let implicit = case.eval(&["--context", "32", "--json"]).json();
    model.config["tie_word_embeddings"] = true.into();
    let explicit = Case::of(&model).eval(&["--context", "32", "--json"]).json();
    assert_eq!(implicit["nll"], explicit["nll"]);
}

/// What was written can be read: evaluated and pruned again, which changes no zero.
#[test]
fn pruned_before() {
    let case = Case::new();
    pruned(&case);
    let again = Case {
        temp: tempfile::TempDir::new().unwrap(),
    };
    fs::rename(case.output(), again.model()).unwrap();
    fs::copy(case.text(), again.text()).unwrap();
    let report = pruned(&again);
    assert_eq!(report["totals"]["input_zeros"], report["totals"]["zeros"]);
    again.eval(&["--context", "32"]).succeeds();
}

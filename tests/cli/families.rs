//! What a model is: `inspect`, family files of the user's own, and architectures that none describes.

use std::fs;

use serde_json::{Value, json};

use super::fixture::{FFN, HIDDEN, LAYERS, Model, VOCABULARY};
use super::structure::golden;
use super::{Case, Run, listing, run, secateur, weights};

const LLAMA: &str = include_str!("../../models/llama.toml");

fn inspect(case: &Case, more: &[&str]) -> Run {
    run(secateur().arg("inspect").arg(case.model()).args(more))
}

/// The fixture under a name that no built-in family has.
fn unknown() -> Case {
    let mut model = Model::small();
    model.config["architectures"] = json!(["SecateurTestForCausalLM"]);
    Case::of(&model)
}

#[test]
fn inspect_shows_sizes_and_linears() {
    let case = Case::new();
    let record = inspect(&case, &["--json"]).json();
    for (key, value) in [
        ("family", Value::from("llama")),
        ("layers", LAYERS.into()),
        ("hidden", HIDDEN.into()),
        ("ffn", FFN.into()),
        ("vocabulary", VOCABULARY.into()),
        ("tied", false.into()),
        ("shards", 1.into()),
    ] {
        assert_eq!(record[key], value, "{key} of {record}");
    }
    let stored = weights(&case.model());
    let elements: usize = stored.iter().map(|t| t.shape.iter().product::<usize>()).sum();
    assert_eq!(record["parameters"], elements);
    assert_eq!(record["linears"].as_array().unwrap().len(), 7);
    let q = &record["linears"][0];
    assert_eq!(
        (&q["role"], &q["count"], &q["zeros"]),
        (&"q".into(), &LAYERS.into(), &0.into())
    );
    let text = inspect(&case, &[]).succeeds();
    for word in [
        "llama family",
        "2 decoder layers",
        "gate",
        "head of its own",
        "prunable",
    ] {
        assert!(text.contains(word), "{word:?} is not in {text}");
    }
    assert_eq!(listing(&case.model()).len(), 3);
}

#[test]
fn inspect_names_what_it_does_not_know() {
    let mut model = Model::small();
    model.tensors[0].name = "model.tower.weight".into();
    let lost = Case::of(&model);
    inspect(&lost, &[]).fails(1, &["embed_tokens.weight"]);
    let mut model = Model::small();
    let mut extra = model.tensors[0].clone();
    extra.name = "model.tower.weight".into();
    model.tensors.push(extra);
    let record = inspect(&Case::of(&model), &["--json"]).json();
    assert_eq!(record["extra_tensors"], json!(["model.tower.weight"]));
    inspect(&unknown(), &[]).fails(3, &["SecateurTestForCausalLM", "--method magnitude", "--family"]);
}

#[test]
fn a_family_of_the_users_own() {
    let case = unknown();
    let file = case.path("mine.toml");
    fs::write(&file, LLAMA.replace("\"llama\"", "\"mine\"")).unwrap();
    let flags = ["--family", file.to_str().unwrap()];
    assert_eq!(
        inspect(&case, &[&flags[..], &["--json"]].concat()).json()["family"],
        "mine"
    );
    let report = case
        .prune(&[&["--pattern", "2:4", "--json"], &flags[..]].concat())
        .json();
    assert_eq!(report["settings"]["family"], "mine");
    case.eval(&[&["--context", "32"], &flags[..]].concat()).succeeds();
}

/// What was made by another description of the model is neither gone on with nor pruned from.
#[test]
fn results_of_another_family() {
    let case = unknown();
    let [one, other] = [("one.toml", ""), ("other.toml", "embedding_scale = 2.0\n")].map(|(name, switch)| {
        let file = case.path(name);
        fs::write(&file, LLAMA.replace("[switches]\n", &format!("[switches]\n{switch}"))).unwrap();
        file.to_str().unwrap().to_string()
    });
    let statistics = case.statistics();
    case.calibrate(&["--family", &one]).succeeds();
    let prune = |family: &str, name: &str| {
        case.with_statistics("prune", &case.path(name), &["--pattern", "2:4", "--family", family])
    };
    prune(&one, "same").succeeds();
    let manifest = statistics.join("statistics.json");
    prune(&other, "different").fails(1, &[manifest.to_str().unwrap(), "--family"]);
    assert!(!case.path("different").exists());
}

/// Without a family file nobody knows what a layer is.
#[test]
fn weights_only_refuses_what_needs_a_family() {
    let case = unknown();
    let refused = |flags: &[&str], culprit: &str| {
        let flags = [&["--method", "magnitude", "--pattern", "2:4"], flags].concat();
        case.prune(&flags).fails(2, &[culprit]);
        assert!(!case.output().exists());
    };
    refused(&["--layers", "1"], "--layers");
    refused(&["--limit-layers", "1"], "--limit-layers");
    refused(&["--refit", "3"], "--refit");
    refused(&["--shots", "2"], "--shots");
    refused(&["--structure", "rows"], "--structure");
    case.prune(&["--method", "magnitude", "--pattern", "2:4"]).succeeds();
}

#[test]
fn families_that_cannot_be_meant() {
    let case = unknown();
    let file = case.path("mine.toml");
    let path = file.to_str().unwrap();
    let without = |line: &str| {
        assert!(LLAMA.contains(line), "{line}");
        LLAMA.replace(line, "")
    };
    for (text, culprit) in [
        ("family = ".to_string(), "line 1"),
        (LLAMA.replace("[norms]", "[norm]"), "norm"),
        (without("o = \"self_attn.o_proj\"\n"), "`o`"),
        (without("q = \"self_attn.q_proj\"\n"), "`qkv`"),
        (without("down = \"mlp.down_proj\"\n"), "`down`"),
        (without("mlp = \"post_attention_layernorm\"\n"), "MLP"),
        (LLAMA.replace("layers.{layer}.", "layers."), "{layer}"),
        (
            LLAMA.replace("[switches]\n", "[switches]\nqk_norm = \"head\"\n"),
            "qk_norm",
        ),
        (LLAMA.replace("[switches]\n", "[switches]\nnorm = \"batch\"\n"), "batch"),
        (
            LLAMA.replace("[switches]\n", "[switches]\npositions = \"learned\"\n"),
            "positions",
        ),
    ] {
        fs::write(&file, text).unwrap();
        inspect(&case, &["--family", path]).fails(2, &[path, culprit]);
    }
    inspect(&case, &["--family", "/nowhere/at/all.toml"]).fails(2, &["/nowhere/at/all.toml"]);
    // The family is sound but not this model's.
    fs::write(&file, LLAMA.replace("self_attn.o_proj", "self_attn.out")).unwrap();
    inspect(&case, &["--family", path]).fails(1, &["self_attn.out.weight"]);
}

/// Magnitude needs no forward pass: half of every linear goes, everything else stays, and the report says so.
#[test]
fn an_unknown_architecture_by_magnitude() {
    let case = unknown();
    case.prune(&["--pattern", "2:4"])
        .fails(3, &["SecateurTestForCausalLM", "--method magnitude"]);
    assert!(!case.output().exists());
    let mut command = secateur();
    command.arg("prune").arg(case.model()).arg("-o").arg(case.output());
    let flags = [
        "--sparsity",
        "0.5",
        "--method",
        "magnitude",
        "--adapter",
        "cpu",
        "--json",
    ];
    let report = run(command.args(flags)).json();
    let warning = report["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("SecateurTestForCausalLM") && warning.contains("only the weights"),
        "{warning}"
    );
    assert_eq!(report["linears"].as_array().unwrap().len(), 7 * LAYERS);
    for (old, new) in weights(&case.model()).iter().zip(weights(&case.output())) {
        if !old.is_linear() {
            assert_eq!(*old, new);
            continue;
        }
        let (before, after) = (old.values(), new.values());
        let zeros = after.iter().filter(|v| **v == 0.0).count();
        assert_eq!(2 * zeros, after.len(), "{}", old.name);
        let largest_lost = before
            .iter()
            .zip(&after)
            .filter(|(_, a)| **a == 0.0)
            .map(|(b, _)| b.abs());
        let smallest_kept = after
            .iter()
            .filter(|v| **v != 0.0)
            .fold(f32::INFINITY, |m, v| m.min(v.abs()));
        assert!(largest_lost.fold(0.0, f32::max) <= smallest_kept, "{}", old.name);
        let energy = |values: &[f32]| values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
        let lost = 1.0 - energy(&after) / energy(&before);
        let linears = report["linears"].as_array().unwrap();
        let found = linears.iter().find(|linear| linear["tensor"] == old.name).unwrap();
        let error = found["error_after"].as_f64().unwrap();
        assert!((error - lost).abs() < 1e-6, "{}: {error}, not {lost}", old.name);
    }
}

/// What is shown then is the error of the weights, and called that.
#[test]
fn errors_of_weights_are_called_that() {
    let case = unknown();
    let mut command = secateur();
    command.arg("prune").arg(case.model()).arg("-o").arg(case.output());
    let done = run(command.args(["--sparsity", "0.5", "--method", "magnitude", "--adapter", "cpu"]));
    assert!(
        done.stdout.contains("|W* - W|^2") && !done.stdout.contains("|VX*"),
        "{}",
        done.stdout
    );
}

/// A window with a BOS before it holds one token of the text less.
#[test]
fn a_bos_before_every_window() {
    let mut model = Model::small();
    model.config["bos_token_id"] = json!(1);
    let case = Case::of(&model);
    let plain = case.eval(&["--context", "32", "--protocol", "p1-raw", "--json"]).json();
    let with = case
        .eval(&["--context", "32", "--protocol", "p1-raw", "--bos", "window", "--json"])
        .json();
    assert_eq!((&plain["bos"], &with["bos"]), (&"tokenizer".into(), &"window".into()));
    assert_eq!(
        (&plain["windows"], &with["windows"]),
        (&(2000 / 32).into(), &(2000 / 31).into())
    );
    case.eval(&["--context", "32", "--bos", "none"]).succeeds();
    Case::new()
        .eval(&["--context", "32", "--bos", "once"])
        .fails(2, &["bos_token_id"]);
}

/// A mixture is pruned expert by expert on the tokens routed to it, and says where these are few.
#[test]
fn a_mixture_of_experts() {
    let case = golden("mixtral");
    let report = case.prune(&["--pattern", "2:4", "--json"]).json();
    let linears = report["linears"].as_array().unwrap();
    assert_eq!(linears.len(), 2 * (4 + 4 * 3));
    for layer in 0..2 {
        let of = |role: &'static str| linears.iter().filter(move |l| l["layer"] == layer && l["role"] == role);
        let all = of("q").next().unwrap()["tokens"].as_u64().unwrap();
        for role in ["gate", "up", "down"] {
            let experts: Vec<u64> = of(role).map(|l| l["expert"].as_u64().unwrap()).collect();
            assert_eq!(experts, [0, 1, 2, 3]);
            let routed: u64 = of(role).map(|l| l["tokens"].as_u64().unwrap()).sum();
            assert_eq!(routed, 2 * all, "every token goes through two experts");
        }
    }
    let warning = report["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("experts saw fewer than 256 calibration tokens"),
        "{warning}"
    );
    assert!(report["totals"]["sparsity"].as_f64().unwrap() >= 0.5);
}

//! `calibrate` and `prune --statistics`: the same weights as a prune whose inputs happen to be dense ones, and what is
//! refused.

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde_json::{Value, json};

use super::fixture::{FFN, HIDDEN, LAYERS, LINEARS, Model, Stored, linear};
use super::{Case, FLAGS, Run, listing, run, secateur, weights};

const WANDA: [&str; 7] = [
    "--pattern",
    "2:4",
    "--method",
    "wanda",
    "--refit",
    "0",
    "--layer-errors",
];

impl Case {
    pub(super) fn statistics(&self) -> PathBuf {
        self.path("statistics")
    }

    /// `secateur calibrate` of the checkpoint with few short samples.
    pub(super) fn calibrate(&self, more: &[&str]) -> Run {
        let mut command = secateur();
        command.arg("calibrate").arg(self.model());
        command.arg("--output").arg(self.statistics());
        command.arg("--calibration").arg(self.text());
        run(command.args(FLAGS).args(more))
    }

    /// `secateur prune` (or `plan`) of the checkpoint from what was saved.
    pub(super) fn with_statistics(&self, command: &str, output: &Path, more: &[&str]) -> Run {
        let mut program = secateur();
        program.arg(command).arg(self.model()).arg("--output").arg(output);
        program.arg("--statistics").arg(self.statistics());
        run(program.args(["--adapter", "cpu"]).args(more))
    }

    fn manifest(&self) -> Value {
        serde_json::from_slice(&fs::read(self.statistics().join("statistics.json")).unwrap()).unwrap()
    }

    fn write_manifest(&self, manifest: &Value) {
        fs::write(self.statistics().join("statistics.json"), manifest.to_string()).unwrap();
    }
}

fn layer_file(layer: usize) -> String {
    format!("layer-{layer:05}.safetensors")
}

#[test]
fn what_is_saved() {
    let case = Case::new();
    let report = case.calibrate(&["--json"]).json();
    assert_eq!(report["layers"], LAYERS);
    assert_eq!(report["calibration"]["samples"], 8);
    let files = [layer_file(0), layer_file(1), "statistics.json".into()];
    assert_eq!(listing(&case.statistics()), files);
    let manifest = case.manifest();
    assert_eq!(manifest["calibration"], report["calibration"]);
    assert_eq!(manifest["model_fingerprint"], report["model_fingerprint"]);
    for (layer, entry) in manifest["layers"].as_array().unwrap().iter().enumerate() {
        let bytes = fs::read(case.statistics().join(layer_file(layer))).unwrap();
        assert_eq!(entry["bytes"], bytes.len());
        assert_eq!(entry["blake3"], blake3::hash(&bytes).to_hex().to_string());
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let wanted = [
            ("attention_input", HIDDEN),
            ("attention_output", HIDDEN),
            ("mlp_input", HIDDEN),
            ("mlp_hidden", FFN),
        ];
        assert_eq!(tensors.len(), wanted.len());
        for ((input, n), group) in wanted.iter().zip(entry["groups"].as_array().unwrap()) {
            assert_eq!(*group, json!({ "input": input, "width": n, "tokens": 8 * 32 }));
            let view = tensors.tensor(&format!("{input}.gram")).unwrap();
            let gram = Stored::from_view(input, &view).values();
            assert_eq!(view.shape(), [*n, *n]);
            for i in 0..*n {
                assert!(gram[i * n + i] > 0.0);
                assert!(
                    (0..i).all(|j| gram[i * n + j] == gram[j * n + i]),
                    "{input} is symmetric"
                );
            }
        }
    }
}

/// Where a linear sees dense inputs in an ordinary run, too, the same weights come out: q, k and v of every layer.
#[test]
fn what_reads_the_stream_is_pruned_as_ever() {
    let case = Case::new();
    case.calibrate(&[]).succeeds();
    let flags = ["--sparsity", "0.5", "--propagate", "dense", "--allocation", "uniform"];
    case.prune(&flags).succeeds();
    let other = case.path("other");
    case.with_statistics("prune", &other, &["--sparsity", "0.5"]).succeeds();
    let (wanted, found) = (weights(&case.output()), weights(&other));
    assert_eq!(wanted.len(), found.len());
    for (wanted, found) in wanted.iter().zip(&found) {
        let reads_stream = ["q_proj", "k_proj", "v_proj"].iter().any(|n| wanted.name.contains(n));
        if reads_stream || !wanted.is_linear() {
            assert!(wanted == found, "{} differs", wanted.name);
        }
    }
}

/// A model whose linears have the pattern already, all but one kind: pruning leaves them alone, so that kind sees dense
/// inputs in an ordinary run, and its errors need no correction.
fn pruned_but(kind: &str) -> Case {
    let case = Case::new();
    case.prune(&WANDA).succeeds();
    let pruned = weights(&case.output());
    let mut model = Model::small();
    for layer in 0..LAYERS {
        for (name, _) in LINEARS.iter().filter(|(name, _)| !name.contains(kind)) {
            let name = linear(layer, name);
            *model.tensor(&name) = pruned.iter().find(|t| t.name == name).unwrap().clone();
        }
    }
    Case::of(&model)
}

fn errors(report: &Value) -> Vec<f64> {
    let linears = report["linears"].as_array().unwrap().iter();
    linears.map(|l| l["error_after"].as_f64().unwrap()).collect()
}

#[test]
fn the_same_bytes_as_from_dense_inputs() {
    for kind in ["o_proj", "up_proj", "down_proj"] {
        let case = pruned_but(kind);
        case.calibrate(&[]).succeeds();
        let wanted = case
            .prune(&[&WANDA[..], &["--json", "--propagate", "dense"]].concat())
            .json();
        // No text is read.
        fs::remove_file(case.text()).unwrap();
        let other = case.path("other");
        let found = case
            .with_statistics("prune", &other, &[&WANDA[..], &["--json"]].concat())
            .json();
        assert!(weights(&case.output()) == weights(&other), "{kind}");
        // An ordinary run tells of the others what the pruned kind does to them.
        let of_kind = |report: &Value| -> Vec<f64> {
            let linears = report["linears"].as_array().unwrap().iter();
            let pruned = linears.filter(|l| l["tensor"].as_str().unwrap().contains(kind));
            pruned.map(|l| l["error_after"].as_f64().unwrap()).collect()
        };
        assert_eq!(of_kind(&wanted), of_kind(&found), "{kind}");
        assert!(of_kind(&found).iter().all(|error| *error > 1e-3));
        assert_eq!(errors(&found).iter().filter(|error| **error > 0.0).count(), LAYERS);
        assert_eq!(wanted["calibration"], found["calibration"]);
        let report: Value = serde_json::from_slice(&fs::read(other.join("pruning_report.json")).unwrap()).unwrap();
        let settings = &report["settings"];
        assert_eq!(settings["statistics"], case.statistics().display().to_string());
        assert_eq!(settings["activations"], "none");
        assert_eq!(settings["correction"], 0.0);
    }
}

#[test]
fn many_prunes_of_one_pass() {
    let case = Case::new();
    case.calibrate(&[]).succeeds();
    let mut totals = Vec::new();
    for sparsity in ["0.3", "0.5", "0.7"] {
        let output = case.path(sparsity);
        let report = case
            .with_statistics("prune", &output, &["--sparsity", sparsity, "--json"])
            .json();
        assert!((report["totals"]["sparsity"].as_f64().unwrap() - sparsity.parse::<f64>().unwrap()).abs() < 1e-3);
        totals.push(errors(&report).iter().sum::<f64>());
    }
    assert!(totals.is_sorted(), "{totals:?}");
    let said = case
        .with_statistics("prune", &case.path("text"), &["--pattern", "2:4"])
        .succeeds();
    assert!(
        said.contains("those of the dense model") && said.contains("not corrected"),
        "{said}"
    );
}

#[test]
fn a_mixture_of_experts() {
    let case = super::structure::golden("mixtral");
    case.calibrate(&[]).succeeds();
    let report = case
        .with_statistics("prune", &case.output(), &["--pattern", "2:4", "--json"])
        .json();
    let captured = case
        .prune_to(&case.path("captured"), &FLAGS, &["--pattern", "2:4", "--json"])
        .json();
    // Each token goes to two of the experts; to which may differ, since the other's attention is pruned already.
    for report in [&report, &captured] {
        let down = (report["linears"].as_array().unwrap().iter()).filter(|l| l["layer"] == 0 && l["role"] == "down");
        let routed: Vec<u64> = down.map(|l| l["tokens"].as_u64().unwrap()).collect();
        assert_eq!((routed.len(), routed.iter().sum()), (4, 2 * 8 * 32), "{routed:?}");
    }
    let groups = case.manifest()["layers"][0]["groups"].as_array().unwrap().clone();
    assert!(groups.iter().any(|g| g["input"] == "expert_hidden.3"), "{groups:?}");
}

#[test]
fn a_plan_without_a_pass() {
    let case = Case::new();
    case.calibrate(&[]).succeeds();
    let plan = |more: &[&str]| case.with_statistics("plan", &case.output(), &[&["--pattern", "2:4"], more].concat());
    let text = plan(&[]).succeeds();
    for words in [
        "inputs from",
        "those of the dense model",
        "no forward pass",
        "8 x 32 calibration tokens",
    ] {
        assert!(text.contains(words), "{text}");
    }
    let saved = plan(&["--json"]).json();
    assert_eq!(saved["activation_bytes"], 0);
    let mut command = secateur();
    command.arg("plan").arg(case.model()).arg("--output").arg(case.output());
    command.arg("--calibration").arg(case.text());
    let captured = run(command.args(FLAGS).args(["--pattern", "2:4", "--json"])).json();
    for key in ["device_bytes", "host_bytes", "flops"] {
        assert!(saved[key].as_f64().unwrap() < captured[key].as_f64().unwrap(), "{key}");
    }
    // What cannot be kept is said, what can be is.
    plan(&["--max-ram", "1MiB"]).fails(4, &["--max-ram"]);
    let needed = saved["host_bytes"].as_u64().unwrap();
    let report = case
        .with_statistics(
            "prune",
            &case.output(),
            &["--pattern", "2:4", "--json", "--max-ram", &needed.to_string()],
        )
        .json();
    assert_eq!(report["memory"]["predicted_host"], needed);
}

/// Stopped by a damaged file in the middle; gone on with once it is mended, to the same bytes.
#[test]
fn a_resumed_run() {
    let case = Case::new();
    case.calibrate(&[]).succeeds();
    let wanted = case.path("wanted");
    case.with_statistics("prune", &wanted, &["--pattern", "2:4"]).succeeds();
    let file = case.statistics().join(layer_file(1));
    let bytes = fs::read(&file).unwrap();
    let mut damaged = bytes.clone();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(&file, damaged).unwrap();
    let prune = |more: &[&str]| case.with_statistics("prune", &case.output(), &[&["--pattern", "2:4"], more].concat());
    let culprits = [
        &layer_file(1),
        "damaged",
        "checksum",
        "secateur calibrate",
        "1 of 2 decoder layers",
    ];
    prune(&[]).fails(1, &culprits);
    prune(&["--resume"]).fails(1, &culprits);
    fs::write(&file, bytes).unwrap();
    // Not with other inputs.
    case.prune(&["--pattern", "2:4", "--resume"])
        .fails(1, &["other settings", "statistics"]);
    prune(&["--resume"]).succeeds();
    assert!(weights(&case.output()) == weights(&wanted));
}

#[test]
fn statistics_that_cannot_be_used() {
    let case = Case::new();
    let refused = |culprits: &[&str]| {
        let run = case.with_statistics("prune", &case.output(), &["--pattern", "2:4"]);
        run.fails(1, culprits);
        assert!(!case.output().exists());
    };
    refused(&["statistics.json", "missing", "secateur calibrate"]);
    case.calibrate(&[]).succeeds();
    let sound = case.manifest();
    let (manifest, first) = (case.statistics().join("statistics.json"), layer_file(0));
    fs::remove_file(&manifest).unwrap();
    refused(&["statistics.json", "missing"]);
    fs::write(&manifest, "{").unwrap();
    refused(&["statistics.json", "damaged"]);
    fs::write(&manifest, "{}").unwrap();
    refused(&["statistics.json", "damaged", "no version"]);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut other = sound.clone();
        change(&mut other);
        case.write_manifest(&other);
    };
    with(&|m| m["version"] = 77.into());
    refused(&["statistics.json", "version 77"]);
    with(&|m| m["model_fingerprint"] = "another".into());
    refused(&["statistics.json", "another model", "secateur calibrate"]);
    with(&|m| m["layers"][1]["groups"][3]["width"] = 47.into());
    refused(&["statistics.json", "layer 1", "47 inputs at `mlp_hidden`", "48 inputs"]);
    with(&|m| drop(m["layers"][1]["groups"].as_array_mut().unwrap().pop()));
    refused(&["statistics.json", "layer 1", "none after 3 groups", "mlp_hidden"]);
    with(&|m| drop(m["layers"].as_array_mut().unwrap().pop()));
    refused(&["statistics.json", "no layer 1", "--limit-layers"]);
    case.write_manifest(&sound);
    let file = case.statistics().join(&first);
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[1..]).unwrap();
    refused(&[&first, "damaged", "instead of"]);
    let mut other = bytes.clone();
    other[bytes.len() / 2] ^= 1;
    fs::write(&file, other).unwrap();
    refused(&[&first, "damaged", "checksum"]);
    fs::remove_file(&file).unwrap();
    refused(&[&first, "damaged", "missing", "secateur calibrate"]);
}

#[test]
fn of_some_layers() {
    let case = Case::new();
    case.calibrate(&["--limit-layers", "1"]).succeeds();
    assert_eq!(listing(&case.statistics()), [layer_file(0), "statistics.json".into()]);
    let prune = |more: &[&str]| case.with_statistics("prune", &case.output(), &[&["--pattern", "2:4"], more].concat());
    prune(&[]).fails(1, &["no layer 1 of the 2", "--limit-layers"]);
    prune(&["--limit-layers", "1"]).succeeds();
}

#[test]
fn flags_that_need_a_pass() {
    let case = Case::new();
    for (flag, value) in [
        ("--calibration", "text.txt"),
        ("--samples", "8"),
        ("--length", "8"),
        ("--seed", "1"),
        ("--propagate", "pruned"),
        ("--correction", "1"),
        ("--activations", "bf16"),
    ] {
        case.with_statistics("prune", &case.output(), &["--pattern", "2:4", flag, value])
            .refused_by_the_parser(&["--statistics", flag]);
    }
}

#[test]
fn a_folder_that_cannot_be_filled() {
    let case = Case::new();
    fs::create_dir(case.statistics()).unwrap();
    fs::write(case.statistics().join("thesis.tex"), "all of it").unwrap();
    case.calibrate(&[]).fails(1, &["statistics", "not empty", "thesis.tex"]);
    assert_eq!(listing(&case.statistics()), ["thesis.tex"]);
    fs::remove_dir_all(case.statistics()).unwrap();
    fs::write(case.text(), "w1 w2").unwrap();
    case.calibrate(&[]).fails(1, &["text.txt"]);
    assert!(!case.statistics().exists());
    let mut command = secateur();
    command
        .arg("calibrate")
        .arg(case.model())
        .arg("--output")
        .arg(case.statistics());
    run(&mut command).fails(2, &["--calibration is missing"]);
    let mut command = secateur();
    command
        .arg("calibrate")
        .arg(case.model())
        .arg("--output")
        .arg(case.model());
    run(command.arg("--calibration").arg(case.text())).fails(1, &["checkpoint being read"]);
}

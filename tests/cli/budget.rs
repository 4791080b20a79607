//! Limits of memory: what a plan predicts is what a run takes, limits are kept, and one too small is refused before any
//! work with what would help.

use serde_json::Value;

use super::Case;
use super::fixture::{HIDDEN, Model, VOCABULARY, text};

const FLAGS: [&str; 6] = ["--samples", "16", "--length", "64", "--adapter", "cpu"];

/// Hidden size 256: large enough that what is small does not count.
fn case() -> Case {
    let case = Case::of(&Model::of_sizes(2, 8));
    std::fs::write(case.text(), text(4000)).unwrap();
    case
}

/// The report of a run; its output is removed.
fn report(case: &Case, more: &[&str]) -> Value {
    let report = case
        .prune_to(&case.output(), &FLAGS, &[more, &["--json"]].concat())
        .json();
    std::fs::remove_dir_all(case.output()).unwrap();
    report
}

fn number(value: &Value, name: &str) -> f64 {
    value[name].as_f64().unwrap_or_else(|| panic!("{name} in {value}"))
}

#[test]
fn a_run_takes_what_was_planned() {
    let case = case();
    let settings = [
        "--pattern 2:4 --method magnitude --refit 0",
        "--pattern 2:4 --method wanda --refit 0 --propagate pruned",
        "--sparsity 0.5 --method wanda --refit 2 --propagate local",
        "--pattern 2:4 --method sparsegpt --propagate both",
        "--pattern 2:4 --method fista --refit 0 --limit-layers 1",
        "--pattern 2:4 --method admm --limit-layers 1",
        "--sparsity 0.6 --method alps --limit-layers 1",
        "--sparsity 0.6 --method wanda --allocation curvature",
        "--sparsity 0.6 --method wanda --allocation lsa",
        "--pattern 2:4 --method fista --refit 2 --limit-layers 1 --propagate pruned --activations bf16",
    ];
    for flags in settings {
        let words: Vec<&str> = flags.split(' ').collect();
        let memory = &report(&case, &words)["memory"];
        let device = number(memory, "device_peak") / number(memory, "predicted_device");
        assert!((0.9..=1.0).contains(&device), "{flags}: {memory}");
        if cfg!(target_os = "linux") {
            // Most of so small a process is the program, which differs from system to system.
            let host = number(memory, "host_peak") / number(memory, "predicted_host");
            assert!((0.6..=1.4).contains(&host), "{flags}: {memory}");
        }
    }
}

#[test]
fn a_tight_budget_is_kept_and_the_sparsity_exact() {
    let case = case();
    for flags in [
        &["--pattern", "2:4", "--method", "wanda", "--refit", "2"][..],
        &["--sparsity", "0.5", "--method", "wanda", "--refit", "2"],
        &["--pattern", "2:4", "--method", "sparsegpt", "--propagate", "both"],
    ] {
        // Without a limit all sums of a layer are captured in one pass, which takes more.
        let free = case
            .plan(&FLAGS, &[flags, &["--within", "linear", "--json"]].concat())
            .json();
        let budget = (number(&free, "device_bytes") * 0.45) as u64;
        let text = budget.to_string();
        let report = report(&case, &[flags, &["--max-vram", &text]].concat());
        let linears = report["linears"].as_array().unwrap();
        assert!(number(&report["memory"], "device_peak") <= budget as f64);
        assert!(linears.iter().any(|l| number(l, "row_blocks") > 1.0), "{report}");
        assert!(number(&report["settings"], "batch_rows") <= number(&free, "batch_rows"));
        for linear in linears {
            let [rows, cols] = [0, 1].map(|i| linear["shape"][i].as_f64().unwrap());
            assert_eq!(number(linear, "zeros"), rows * cols / 2.0, "{linear}");
        }
    }
}

/// The pass before the prune that measures linears is held to the limit too.
#[test]
fn a_tight_budget_holds_while_an_allocation_is_measured() {
    let case = case();
    for rule in ["lsa", "owl", "curvature"] {
        let flags = ["--sparsity", "0.6", "--method", "wanda", "--allocation", rule];
        let free = case.plan(&FLAGS, &[&flags[..], &["--json"]].concat()).json();
        // The backward pass cannot be cut into blocks as a solve can.
        let share = if rule == "curvature" { 1.0 } else { 0.45 };
        let text = ((number(&free, "device_bytes") * share) as u64).to_string();
        let report = report(&case, &[&flags[..], &["--max-vram", &text]].concat());
        assert!(
            number(&report["memory"], "device_peak") <= text.parse().unwrap(),
            "{rule}: {}",
            report["memory"]
        );
    }
}

/// The head reads the final hidden states of many samples together, and their gradients are beside them: in a small model
/// that is more than a layer takes. A limit makes them fewer.
#[test]
fn the_gradient_of_a_loss_takes_what_was_planned() {
    let case = Case::of(&Model::of_sizes(1, 2));
    std::fs::write(case.text(), text(33000)).unwrap();
    for flags in ["--method wanda --allocation curvature", "--method surgeon --shots 1"] {
        let words: Vec<&str> = flags.split(' ').chain(["--sparsity", "0.6", "--json"]).collect();
        let memory = |samples: &str, more: &[&str]| {
            let sizes = ["--samples", samples, "--length", "64", "--adapter", "cpu"];
            let report = case.prune_to(&case.output(), &sizes, &[&words, more].concat()).json();
            std::fs::remove_dir_all(case.output()).unwrap();
            ["device_peak", "predicted_device"].map(|name| number(&report["memory"], name))
        };
        let [peak, predicted] = memory("512", &[]);
        assert!(
            (0.9..=1.0).contains(&(peak / predicted)),
            "{flags}: {peak} of {predicted}"
        );
        assert!(peak > 1.3 * memory("32", &[])[0], "{flags}: {peak}");
        let limit = (0.7 * predicted) as u64;
        let [peak, predicted] = memory("512", &["--max-vram", &limit.to_string()]);
        assert!(
            peak <= predicted && predicted <= limit as f64,
            "{flags}: {peak} of {limit}"
        );
    }
}

/// A limit below what the smallest batches and blocks take: refused at once, and what is said to be enough is.
#[test]
fn a_budget_too_small() {
    let case = case();
    let flags = [
        "--pattern",
        "2:4",
        "--method",
        "wanda",
        "--propagate",
        "dense",
        "--refit",
        "15",
    ];
    for (limit, culprits) in [
        ("--max-vram", &["weights", "Gram", "--propagate pruned"][..]),
        ("--max-ram", &["the program and its threads"]),
    ] {
        let with = |size: &str| case.plan(&FLAGS, &[&flags[..], &[limit, size]].concat());
        let culprits = [culprits, &[limit, "of 1 MiB is too little", "at least"]].concat();
        with("1MiB").fails(4, &culprits);
        case.prune(&[&flags[..], &[limit, "1MiB"]].concat()).fails(4, &culprits);
        assert!(!case.output().exists());
        let message = with("1MiB").stderr;
        let words = message.split("at least ").nth(1).unwrap();
        let enough = words.split(' ').next().unwrap();
        with(&format!("{enough}MiB")).succeeds();
    }
    let enough = report(
        &case,
        &[
            &flags[..],
            &["--limit-layers", "1", "--max-ram", "2GiB", "--max-vram", "1GiB"],
        ]
        .concat(),
    );
    assert_eq!(enough["linears"].as_array().unwrap().len(), 7);
}

/// A layer at a time: twelve times the layers take no more memory, but for their names.
#[cfg(target_os = "linux")]
#[test]
fn layers_take_no_memory() {
    let peak = |layers: usize| {
        let case = Case::of(&Model::of_layers(layers));
        let report = case.prune(&["--pattern", "2:4", "--method", "wanda", "--json"]).json();
        number(&report["memory"], "host_peak")
    };
    let (few, many) = (peak(2), peak(24));
    assert!(many < 1.25 * few, "{few} bytes with 2 layers, {many} with 24");
}

/// Nor does a vocabulary, of whose tables some rows or a tile are read at a time and pieces of 16 MiB are written.
#[cfg(target_os = "linux")]
#[test]
fn a_vocabulary_takes_no_memory() {
    let peak = |vocabulary: usize| {
        let mut model = Model::small();
        model.config["vocab_size"] = vocabulary.into();
        for name in ["model.embed_tokens.weight", "lm_head.weight"] {
            let table = model.tensor(name);
            table.bytes = table.bytes.repeat(vocabulary / VOCABULARY);
            table.shape[0] = vocabulary;
        }
        let flags = "--sparsity 0.6 --method wanda --allocation curvature --json";
        let flags: Vec<&str> = flags.split(' ').collect();
        number(&Case::of(&model).prune(&flags).json()["memory"], "host_peak")
    };
    let (few, many) = (peak(VOCABULARY), peak(1 << 20));
    let table = ((2 * HIDDEN) << 20) as f64;
    assert!(
        many - few < 0.5 * table,
        "{few} bytes without tables of {table}, {many} with"
    );
}

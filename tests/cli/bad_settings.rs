//! Flags whose values make no sense: exit code 2 and the flag or its value named, before anything is written.

use super::{Case, run, secateur};

/// `prune` refuses the flags, which follow paths and a small number of samples; no target is given but in `flags`.
fn refused(case: &Case, flags: &[&str], culprits: &[&str]) {
    case.prune(flags).fails(2, culprits);
    assert!(!case.output().exists());
}

#[test]
fn a_sparsity_out_of_range() {
    let case = Case::new();
    for value in ["0", "1", "1.5", "150%", "-0.1", "nan", "inf"] {
        let shown = value.replace("nan", "NaN").replace("150%", "1.5");
        refused(
            &case,
            &["--sparsity", value],
            &[&format!("sparsity {shown} "), "above 0 and below 1"],
        );
    }
    case.prune(&["--sparsity", "half"])
        .refused_by_the_parser(&["--sparsity", "'half'"]);
}

#[test]
fn a_pattern_out_of_range() {
    let case = Case::new();
    for value in [
        "5:4", "2:2", "0:4", "0:0", "2:32", "abc", "2", "2:", "-1:4", "2:4:8", "",
    ] {
        refused(
            &case,
            &[&format!("--pattern={value}")],
            &[&format!("pattern `{value}`"), "N:M"],
        );
    }
}

#[test]
fn a_pattern_that_does_not_divide_a_width() {
    let case = Case::new();
    refused(
        &case,
        &["--pattern", "3:5"],
        &["model.layers.0.self_attn.q_proj.weight", "3:5", "32"],
    );
    refused(
        &case,
        &["--pattern", "1:3"],
        &["model.layers.0.self_attn.q_proj.weight", "1:3", "32"],
    );
}

#[test]
fn neither_or_both_of_sparsity_and_pattern() {
    let case = Case::new();
    case.prune(&[]).refused_by_the_parser(&["--sparsity", "--pattern"]);
    case.prune(&["--sparsity", "0.5", "--pattern", "2:4"])
        .refused_by_the_parser(&["--sparsity", "--pattern"]);
    assert!(!case.output().exists());
}

#[test]
fn a_method_that_does_not_exist() {
    let case = Case::new();
    let culprits = ["'obliterate'", "fista", "sparsegpt", "ria", "wanda", "magnitude"];
    case.prune(&["--pattern", "2:4", "--method", "obliterate"])
        .refused_by_the_parser(&culprits);
}

#[test]
fn samples_and_lengths_out_of_range() {
    let case = Case::new();
    let flags = |samples, length| ["--samples", samples, "--length", length, "--adapter", "cpu"];
    for (samples, length, culprits) in [
        ("8", "129", ["--length 129", "128 positions"]),
        (
            "8",
            "18446744073709551615",
            ["--length 18446744073709551615", "128 positions"],
        ),
        ("0", "32", ["0 samples", "at least 1 sample"]),
        ("8", "1", ["samples of 1 tokens", "at least 2 tokens"]),
        ("8", "0", ["samples of 0 tokens", "at least 2 tokens"]),
    ] {
        // Methods with gradients, and sparsities that are spread by them, plan by the length too.
        for target in ["--pattern 2:4", "--sparsity 0.5", "--sparsity 0.5 --method surgeon"] {
            let target: Vec<&str> = target.split(' ').collect();
            case.prune_to(&case.output(), &flags(samples, length), &target)
                .fails(2, &culprits);
            assert!(!case.output().exists());
        }
    }
}

#[test]
fn windows_out_of_range() {
    let case = Case::new();
    case.eval(&["--context", "129"])
        .fails(2, &["--context 129", "128 positions"]);
    case.eval(&["--context", "1"])
        .fails(2, &["context 1", "at least 2 tokens"]);
    case.eval(&["--context", "0"])
        .fails(2, &["context 0", "at least 2 tokens"]);
}

#[test]
fn no_layers() {
    refused(
        &Case::new(),
        &["--pattern", "2:4", "--limit-layers", "0"],
        &["--limit-layers 0"],
    );
}

#[test]
fn damping_out_of_range() {
    let case = Case::new();
    for value in ["0", "-1", "1.5", "nan", "inf"] {
        refused(&case, &["--pattern", "2:4", "--damping", value], &["--damping"]);
    }
}

#[test]
fn flags_and_commands_that_do_not_exist() {
    let case = Case::new();
    case.prune(&["--pattern", "2:4", "--sparcity", "0.5"])
        .refused_by_the_parser(&["--sparcity"]);
    run(secateur().arg("shrink")).refused_by_the_parser(&["'shrink'"]);
    case.prune(&["--pattern", "2:4", "--propagate", "sideways"])
        .refused_by_the_parser(&["sideways", "dense", "pruned"]);
    case.prune(&["--pattern", "2:4", "--warm-start", "magnitude"])
        .refused_by_the_parser(&["magnitude", "wanda", "sparsegpt"]);
    refused(
        &case,
        &["--pattern", "2:4", "--method", "wanda", "--warm-start", "sparsegpt"],
        &["--warm-start", "fista", "wanda"],
    );
    assert!(!case.output().exists());
}

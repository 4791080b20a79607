//! What `secateur prune` says, where it says it, and that it needs no listener.

use std::process::Stdio;

use super::{Case, FLAGS, listing, secateur, weights};

#[test]
fn a_dry_run_says_what_would_happen_and_writes_nothing() {
    let case = Case::new();
    let plan = case.prune(&["--pattern", "2:4", "--dry-run", "--json"]).json();
    let linears: usize = 2 * (2 * 32 * 32 + 2 * 16 * 32 + 3 * 48 * 32);
    assert_eq!(plan["weights"], linears);
    assert_eq!((&plan["family"], &plan["layers"]), (&"llama".into(), &2.into()));
    let stored: usize = weights(&case.model()).iter().map(|t| t.bytes.len()).sum();
    assert_eq!(plan["output_bytes"], stored);
    for key in ["device_bytes", "host_bytes"] {
        assert!(plan[key].as_u64() > Some(0), "{plan}");
    }
    assert!(plan["seconds"].as_f64() > Some(0.0), "{plan}");
    let text = case.prune(&["--pattern", "2:4", "--dry-run"]).succeeds();
    for word in [
        "2:4",
        "admm",
        "llama",
        "8 x 32 calibration tokens",
        "text.txt",
        "output",
    ] {
        assert!(text.contains(word), "{word:?} is not in {text}");
    }
    assert!(!case.output().exists());
    assert_eq!(listing(case.temp.path()).len(), 4);
}

/// Notes go to stderr and results to stdout; `--quiet` silences the notes.
#[test]
fn tables_on_stdout_notes_on_stderr() {
    let case = Case::new();
    let loud = case.prune(&["--pattern", "2:4", "--profile"]);
    for word in ["running on host", "layer 1 done", "gemm"] {
        assert!(loud.stderr.contains(word), "{word:?} is not in {}", loud.stderr);
    }
    let table = loud.succeeds();
    for word in ["50.0000 %", "down", "peak memory"] {
        assert!(table.contains(word), "{word:?} is not in {table}");
    }
    let quiet = case.prune_to(&case.path("quiet"), &FLAGS, &["--pattern", "2:4", "--quiet"]);
    assert_eq!(quiet.stderr, "");
    assert!(quiet.succeeds().contains("50.0000 %"));
}

/// `secateur prune ... 2>&1 | head -1` must not cost the result.
#[test]
fn nobody_listens() {
    let case = Case::new();
    let mut command = secateur();
    command
        .arg("prune")
        .arg(case.model())
        .arg("-o")
        .arg(case.output())
        .arg("-c")
        .arg(case.text());
    command.args(FLAGS).args(["--pattern", "2:4"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(listing(&case.output()).contains(&"pruning_report.json".to_string()));
}

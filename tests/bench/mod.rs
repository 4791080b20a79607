//! `secateur bench` as a user runs it, at sizes of no meaning. No test says how fast anything is.

mod files;
mod forms;
mod schema;
#[cfg(unix)]
mod suite;

use std::process::Output;

use serde_json::Value;

use crate::common::program;

fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

/// Runs and fails with what stderr says; gives stdout.
fn succeeds(arguments: &[&str]) -> String {
    let output = run(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "secateur {arguments:?}: {}\n{stderr}",
        output.status
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Adapters to test on, as `tests/common` has them.
fn adapters() -> Vec<String> {
    let wanted = std::env::var("SECATEUR_TEST_ADAPTER").unwrap_or_else(|_| "0".to_string());
    let device = (wanted != "none").then_some(wanted);
    std::iter::once("cpu".to_string()).chain(device).collect()
}

/// Few and small.
const SMALL: [&str; 9] = [
    "bench",
    "--quiet",
    "--shapes",
    "24^3,36x64",
    "--tokens",
    "40",
    "--repetitions",
    "2",
    "--seed=7",
];

fn rows(text: &str) -> Vec<Value> {
    serde_json::from_str(text).unwrap()
}

#[test]
fn every_kernel_gives_a_row_that_the_schema_allows() {
    let schema = schema::schema();
    for adapter in adapters() {
        let text = succeeds(&[&SMALL[..], &["--adapter", &adapter, "--output", "json"]].concat());
        let rows = rows(&text);
        assert_eq!(
            schema::violations(&schema, &Value::Array(rows.clone()), "rows"),
            Vec::<String>::new()
        );
        let mut kernels: Vec<&str> = rows.iter().map(|row| row["kernel"].as_str().unwrap()).collect();
        kernels.dedup();
        // Where the adapter has cooperative matrices.
        kernels.retain(|kernel| *kernel != "gemm_coop");
        let wanted = [
            "fma",
            "copy",
            "gemm",
            "gemm_naive",
            "gram",
            "fista_step",
            "admm",
            "topk",
            "project_nm",
            "cholesky",
            "matvec",
            "matvec_two_four",
            "solve",
        ];
        assert_eq!(kernels, wanted, "{adapter}");
        let dtypes = rows
            .iter()
            .filter(|row| row["kernel"] == "gemm" && row["variant"] == "nt" && row["m"] == 40);
        assert_eq!(
            dtypes.map(|row| row["dtype"].as_str().unwrap()).collect::<Vec<_>>(),
            ["f32", "f16", "bf16"]
        );
        for row in &rows {
            check_row(row, &adapter);
        }
    }
}

/// What one field says of another.
fn check_row(row: &Value, adapter: &str) {
    let number = |name: &str| row[name].as_f64().unwrap_or_else(|| panic!("{name} in {row}"));
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-9 * b.abs();
    let mut samples: Vec<f64> = row["samples_ns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_f64().unwrap())
        .collect();
    samples.sort_by(f64::total_cmp);
    let roof = row["shape"] == "roof";
    assert!(if roof { samples.len() > 2 } else { samples.len() == 2 }, "{row}");
    let middle = samples.len() / 2;
    let median = (samples[middle] + samples[(samples.len() - 1) / 2]) / 2.0;
    assert!(close(number("median_ns"), median), "{row}");
    assert!(
        number("max_rel_err") <= number("err_bound") && number("checked") <= number("elements"),
        "{row}"
    );
    let (compute, memory) = (
        number("flops") / number("roof_gflops"),
        number("bytes") / number("roof_gbps"),
    );
    assert!(
        close(
            number("pct_of_measured_peak"),
            100.0 * compute.max(memory) / number("median_ns")
        ),
        "{row}"
    );
    assert_eq!(
        row["bound"],
        if compute >= memory { "compute" } else { "memory" },
        "{row}"
    );
    let rate = |amount: f64| (amount > 0.0).then(|| amount / number("median_ns"));
    for (name, amount) in [("gflops", "flops"), ("gbps", "bytes")] {
        let wanted = rate(number(amount));
        assert!(
            row[name]
                .as_f64()
                .zip(wanted)
                .map_or(row[name].is_null() && wanted.is_none(), |(a, b)| close(a, b)),
            "{row}"
        );
    }
    assert_eq!(row["layer_error"].is_null(), row["kernel"] != "solve", "{row}");
    assert!(
        row["command"]
            .as_str()
            .unwrap()
            .contains(&format!("--adapter {adapter}")),
        "{row}"
    );
    if adapter == "cpu" {
        assert_eq!([&row["backend"], &row["timing"]], ["host", "wall"], "{row}");
    }
}

/// The solve is a solve: better than the 50 % of the energy that removing at random costs, worse than nothing.
#[test]
fn a_solve_prunes() {
    let arguments = ["--adapter", "cpu", "--kernels", "solve", "--json"];
    let text = succeeds(&[&SMALL[..], &arguments].concat());
    let rows = rows(&text);
    let error = rows.last().unwrap()["layer_error"].as_f64().unwrap();
    assert!(error > 0.0 && error < 0.4, "{error}");
}

#[test]
fn a_model_has_attention_and_one_solve() {
    let arguments = [
        "bench",
        "--quiet",
        "--adapter",
        "cpu",
        "--shapes",
        "smollm2-135m",
        "--tokens",
        "33",
    ];
    let more = ["--kernels", "attention,solve,matvec", "--repetitions", "1", "--json"];
    let rows = rows(&succeeds(&[&arguments[..], &more].concat()));
    let named: Vec<String> = rows
        .iter()
        .skip(2)
        .map(|row| format!("{} {}", row["kernel"], row["shape"]).replace('"', ""))
        .collect();
    let wanted = [
        "attention smollm2-135m",
        // Its blocks in 16 bits.
        "attention smollm2-135m",
        "solve smollm2-135m k",
        "matvec smollm2-135m q",
        "matvec smollm2-135m k",
        "matvec smollm2-135m gate",
        "matvec smollm2-135m down",
    ];
    assert_eq!(named, wanted);
    assert_eq!([&rows[2]["m"], &rows[2]["n"], &rows[2]["k"]], [33, 576, 64]);
    assert_eq!([&rows[2]["dtype"], &rows[3]["dtype"]], ["f32", "f16"]);
}

#[test]
fn what_cannot_be_measured_is_said() {
    let arguments = [
        "bench",
        "--quiet",
        "--adapter",
        "cpu",
        "--shapes",
        "5x7",
        "--kernels",
        "project_nm,matvec",
    ];
    let output = run(&[&arguments[..], &["--repetitions", "1", "--json"]].concat());
    assert!(output.status.success());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("left out: project_nm 2:4 5x7") && stderr.contains("multiple of 4"),
        "{stderr}"
    );
    assert_eq!(rows(&String::from_utf8(output.stdout).unwrap()).len(), 3);
    for (flag, wrong, culprit) in [
        ("--kernels", "gem", "`gem` is no kernel"),
        ("--shapes", "12by3", "`12by3` is no shape"),
        ("--shapes", "0x3", "`0x3` is no shape"),
        ("--shapes", "32769x3", "up to 32768"),
        ("--tokens", "32769", "'32769'"),
        ("--repetitions", "0", "'0'"),
        ("--output", "xml", "'xml'"),
    ] {
        let output = run(&["bench", flag, wrong]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(culprit), "{stderr}");
    }
}

#[test]
fn the_check_passes_on_every_adapter() {
    for adapter in adapters() {
        let rows = rows(&succeeds(&[
            "bench",
            "--check",
            "--quiet",
            "--json",
            "--adapter",
            &adapter,
        ]));
        assert!(
            rows.len() > 40 && rows.iter().all(|row| row["passed"] == true),
            "{rows:?}"
        );
        let text = succeeds(&["bench", "--check", "--quiet", "--adapter", &adapter, "--seed", "3"]);
        assert!(text.contains(&format!("{0} of {0} agree", rows.len())), "{text}");
    }
}

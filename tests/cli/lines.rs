//! `prune --structure rows,columns`: whole rows and columns of single linears become zero, and nothing else.

use serde_json::Value;

use super::surgeon::{assert_still_zero, pruned, with_zeros, zeros};
use super::{Case, weights};

/// Rows and columns of zeros of every pruned linear; fails where there is a zero outside of them.
fn lines(case: &Case, report: &Value) -> Vec<[usize; 2]> {
    let stored = weights(&case.output());
    let mut found = Vec::new();
    for record in report["linears"].as_array().unwrap() {
        let name = record["tensor"].as_str().unwrap();
        let tensor = stored.iter().find(|t| t.name == name).unwrap();
        let (values, [rows, cols]) = (tensor.values(), [tensor.shape[0], tensor.shape[1]]);
        let zero = |i: usize, j: usize| values[i * cols + j] == 0.0;
        let gone_rows: Vec<bool> = (0..rows).map(|i| (0..cols).all(|j| zero(i, j))).collect();
        let gone_cols: Vec<bool> = (0..cols).map(|j| (0..rows).all(|i| zero(i, j))).collect();
        for (i, row) in gone_rows.iter().enumerate() {
            for (j, col) in gone_cols.iter().enumerate() {
                assert_eq!(zero(i, j), *row || *col, "{name} [{i}, {j}]");
            }
        }
        found.push([gone_rows, gone_cols].map(|gone| gone.iter().filter(|g| **g).count()));
    }
    found
}

#[test]
fn whole_lines_within_the_budget() {
    for (kinds, shots) in [("rows", 1), ("columns", 2), ("rows,columns", 3)] {
        let case = Case::new();
        let report = pruned(&case, &format!("--structure {kinds} --sparsity 0.3 --shots {shots}"));
        let found = lines(&case, &report);
        let sum = |kind: usize| found.iter().map(|lines| lines[kind]).sum::<usize>();
        assert_eq!(sum(0) > 0, kinds.contains("rows"), "{kinds}: {found:?}");
        assert_eq!(sum(1) > 0, kinds.contains("columns"), "{kinds}: {found:?}");
        let (all, gone) = (report["totals"]["weights"].as_f64().unwrap(), zeros(&case, &report));
        let wanted = 0.3 * all;
        // The next line in order does not fit: at most the longest, 192 weights, stays below.
        assert!(
            gone as f64 <= wanted && gone as f64 > wanted - 192.0,
            "{kinds}: {gone} of {wanted}"
        );
        assert_eq!(report["totals"]["zeros"].as_u64().unwrap() as usize, gone);
        assert_eq!(report["shots"][shots - 1]["removed"].as_u64().unwrap() as usize, gone);
        assert_eq!(report["settings"]["structure"], kinds);
        assert_eq!(report["settings"]["output_damping"], 0.01);
        case.eval(&["--context", "32"]).succeeds();
    }
}

#[test]
fn with_corrections_and_zeros_of_the_input() {
    let case = Case::new();
    let report = pruned(
        &case,
        "--structure rows,columns --sparsity 0.3 --shots 2 --lora-steps 10 --lora-rate 0.01",
    );
    assert!(lines(&case, &report).iter().any(|lines| lines[0] > 0));
    let (case, zeroed) = with_zeros();
    pruned(&case, "--structure rows --sparsity 0.2 --shots 1");
    assert_still_zero(&case, zeroed);
}

#[test]
fn what_makes_no_sense() {
    let case = Case::new();
    case.refuses("--structure rows,ffn --sparsity 0.3", &["rows and columns", "ffn"]);
    case.refuses("--structure rows --sparsity 0.3 --round 4", &["--round"]);
    case.refuses("--structure rows --sparsity 0.3 --score wanda-sp", &["--score"]);
    case.refuses("--structure columns --pattern 2:4", &["--pattern", "columns"]);
    case.refuses("--structure rows --sparsity 0.3 --refit 5", &["--refit", "rows"]);
    case.refuses(
        "--structure rows --sparsity 0.3 --max-correlate 5",
        &["--max-correlate", "rows"],
    );
    case.refuses(
        "--structure rows --sparsity 0.3 --method kfac-fista",
        &["--structure", "kfac-fista"],
    );
    case.refuses(
        "--structure rows --sparsity 0.3 --method admm",
        &["--structure", "admm"],
    );
}

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::{demo_model, secateur};

/// Perplexity by "method pattern".
fn demo(arguments: &[&str]) -> BTreeMap<String, f64> {
    let output = secateur(&[&["demo", "--json", "--quiet"], arguments].concat());
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let key = |r: &Value| format!("{} {}", r["method"].as_str().unwrap(), r["pattern"].as_str().unwrap());
    rows.iter()
        .map(|r| (key(r), r["eval"]["perplexity"].as_f64().unwrap()))
        .collect()
}

#[test]
fn demo_prints_the_methods_in_the_order_of_theory() {
    let rows = demo(&["--adapter", "cpu"]);
    assert_eq!(rows.len(), 9);
    let dense = rows["dense "];
    for pattern in ["50 %", "2:4"] {
        // Wanda's 50 % are of each row.
        let of = |method: &str| {
            let name = format!("{method} {pattern}");
            *rows.iter().find(|(key, _)| key.starts_with(&name)).unwrap().1
        };
        let (magnitude, wanda) = (of("magnitude"), of("wanda"));
        let fista = of("fista + refit");
        let admm = of("admm + refit");
        assert!(dense < admm && admm < fista, "{rows:?}");
        assert!(dense < fista && fista < wanda && fista < magnitude, "{rows:?}");
    }
}

/// Relative layer errors by tensor of a short prune of the demo model's first layer.
fn layer_errors(adapter: &str, pattern: &[&str]) -> BTreeMap<String, [f64; 2]> {
    let folder = tempfile::tempdir().unwrap();
    let [model, output] = ["model", "pruned"].map(|n| folder.path().join(n).display().to_string());
    demo_model(Path::new(&model));
    let text = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("models/demo/calibration.txt")
        .display()
        .to_string();
    let paths = [
        model.as_str(),
        "--output",
        output.as_str(),
        "--calibration",
        text.as_str(),
        "--adapter",
        adapter,
    ];
    let sizes = [
        "--samples",
        "4",
        "--length",
        "128",
        "--limit-layers",
        "1",
        "--json",
        "--quiet",
    ];
    let output = secateur(&[&["prune"], &paths[..], &sizes[..], pattern].concat());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let error = |l: &Value, key: &str| l[key].as_f64().unwrap();
    let linears = report["linears"].as_array().unwrap();
    linears
        .iter()
        .map(|l| {
            (
                l["tensor"].as_str().unwrap().to_string(),
                [error(l, "error_before"), error(l, "error_after")],
            )
        })
        .collect()
}

#[test]
fn a_prune_gives_the_same_layer_errors_on_an_adapter() {
    let adapter = std::env::var("SECATEUR_TEST_ADAPTER").unwrap_or_else(|_| "0".to_string());
    if adapter == "none" {
        return;
    }
    // Thirty-six projections in a row carry a flip further than the few of FISTA.
    let runs = [
        ("--method fista --propagate dense --refit 15", [1e-4, 5e-3]),
        ("--permute off", [1e-3, 2e-2]),
    ];
    for (flags, bounds) in runs {
        let flags: Vec<&str> = ["--pattern", "2:4"].into_iter().chain(flags.split(' ')).collect();
        compare(&layer_errors("cpu", &flags), &layer_errors(&adapter, &flags), bounds);
    }
}

/// Errors of the linears that see the same inputs within the first bound, of the others within the second.
fn compare(host: &BTreeMap<String, [f64; 2]>, device: &BTreeMap<String, [f64; 2]>, bounds: [f64; 2]) {
    assert_eq!(host.len(), 7);
    for (tensor, wanted) in host {
        // q, k and v see the same inputs on both. What comes after sees what earlier supports left of them, and a
        // weight at the very threshold may be kept by one sum and dropped by another.
        let first = ["q_proj", "k_proj", "v_proj"].iter().any(|name| tensor.contains(name));
        let bound = if first { bounds[0] } else { bounds[1] };
        for (found, wanted) in device[tensor].iter().zip(wanted) {
            let off = (found / wanted - 1.0).abs();
            assert!(off <= bound, "{tensor}: {found} on the adapter, {wanted} on the host");
        }
    }
}

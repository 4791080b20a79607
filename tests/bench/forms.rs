//! The forms of the output say the same.

use serde_json::Value;

use super::succeeds;

fn form(name: &str) -> String {
    let arguments = [
        "bench",
        "--quiet",
        "--adapter",
        "cpu",
        "--kernels",
        "matvec,topk",
        "--shapes",
        "12x20",
    ];
    succeeds(&[&arguments[..], &["--repetitions", "1", "--output", name]].concat())
}

#[test]
fn lines_of_objects() {
    let text = form("jsonl");
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kernels: Vec<&str> = rows.iter().map(|row| row["kernel"].as_str().unwrap()).collect();
    assert_eq!(kernels, ["fma", "copy", "matvec", "topk"], "{text}");
    assert!(
        rows.iter()
            .all(|row| row.as_object().unwrap().values().all(|v| !v.is_object())),
        "flat"
    );
}

#[test]
fn comma_separated_values() {
    let text = form("csv");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 5, "{text}");
    let names: Vec<&str> = lines[0].split(',').collect();
    let kernel = names.iter().position(|name| *name == "kernel").unwrap();
    // Every cell is quoted, so `","` separates them.
    for (line, wanted) in lines[1..].iter().zip(["fma", "copy", "matvec", "topk"]) {
        let cells: Vec<&str> = line[1..line.len() - 1].split("\",\"").collect();
        assert_eq!((cells.len(), cells[kernel]), (names.len(), wanted), "{line}");
    }
}

#[test]
fn statements() {
    let text = form("sql");
    assert!(
        text.starts_with("CREATE TABLE IF NOT EXISTS secateur_bench (\n  schema_version REAL,"),
        "{text}"
    );
    let inserts: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("INSERT INTO secateur_bench ("))
        .collect();
    assert_eq!(inserts.len(), 4, "{text}");
    assert!(
        inserts[3].contains("'topk', 'half', '12x20', 12, 20, 0, 'f32'") && inserts[3].ends_with(");"),
        "{text}"
    );
    // The database itself is asked where there is one.
    if let Ok(mut shell) = std::process::Command::new("sqlite3")
        .arg(":memory:")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
    {
        use std::io::Write;
        let query = format!(
            "{text}\nSELECT kernel, CAST(m * n AS INTEGER) FROM secateur_bench WHERE flops = 0 AND gflops IS NULL;\n"
        );
        shell.stdin.take().unwrap().write_all(query.as_bytes()).unwrap();
        let output = shell.wait_with_output().unwrap();
        let answer = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && answer.ends_with("topk|240\n"), "{answer}");
    }
}

#[test]
fn bencher_metric_format() {
    let benchmarks: Value = serde_json::from_str(&form("bmf")).unwrap();
    let topk = &benchmarks["topk/half/12x20/12x20/f32"];
    for measure in ["latency", "gbps"] {
        let value = |name: &str| {
            topk[measure][name]
                .as_f64()
                .unwrap_or_else(|| panic!("{measure} {name} in {benchmarks}"))
        };
        assert!(value("lower_value") <= value("value") && value("value") <= value("upper_value"));
    }
    assert!(topk.get("gflops").is_none());
    assert!(
        benchmarks["matvec/dense/12x20/12x1x20/f32"]["gflops"]["value"].is_number(),
        "{benchmarks}"
    );
}

#[test]
fn a_table_for_people() {
    let text = form("md");
    for words in [
        "measured roofs:",
        "| topk half",
        "| matvec dense",
        "12x1x20",
        "power: ",
        "secateur bench --quiet",
        "  wall |",
    ] {
        assert!(text.contains(words), "{words:?} in {text}");
    }
}

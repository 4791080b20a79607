//! `bench compare` and `bench board`.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{run, succeeds};

/// Three rows as JSON lines, with medians of our own.
fn results() -> Vec<Value> {
    let arguments = [
        "bench",
        "--quiet",
        "--adapter",
        "cpu",
        "--kernels",
        "matvec",
        "--shapes",
        "12x20",
    ];
    let text = succeeds(&[&arguments[..], &["--repetitions", "1", "--output", "jsonl"]].concat());
    let mut rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (row, median) in rows.iter_mut().zip([100.0, 200.0, 400.0]) {
        (row["median_ns"], row["mad_ns"]) = (json!(median), json!(1.0));
    }
    rows
}

fn write(folder: &TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

#[test]
fn two_files_are_held_against_each_other() {
    let (folder, rows) = (TempDir::new().unwrap(), results());
    let a = write(&folder, "a.jsonl", &lines(&rows));
    let mut other = rows.clone();
    other[0]["median_ns"] = json!(50.0);
    other[1]["median_ns"] = json!(201.0);
    other[2]["shape"] = json!("elsewhere");
    // The second as an array.
    let b = write(&folder, "b.json", &Value::Array(other).to_string());
    let found: Value = serde_json::from_str(&succeeds(&["bench", "compare", &a, &b, "--json"])).unwrap();
    let verdicts: Vec<_> = found["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (&row["ratio"], &row["verdict"]))
        .collect();
    assert_eq!(verdicts[0], (&json!(2.0), &json!("faster")));
    assert_eq!((verdicts.len(), verdicts[1].1), (2, &json!("same")));
    let key = |shape: &str| json!([format!("matvec/dense/{shape}/12x1x20/f32")]);
    assert_eq!([&found["only_a"], &found["only_b"]], [&key("12x20"), &key("elsewhere")]);
    let text = succeeds(&["bench", "compare", &a, &b]);
    for words in [
        "2.000 ± ",
        "faster",
        "only in A: matvec",
        "only in B: matvec",
        "a.jsonl: host",
    ] {
        assert!(text.contains(words), "{words:?} in {text}");
    }
}

#[test]
fn a_file_without_rows_is_named() {
    let (folder, rows) = (TempDir::new().unwrap(), results());
    let good = write(&folder, "good.jsonl", &lines(&rows));
    let mut newer = rows.clone();
    newer[0]["schema_version"] = json!(99);
    let mut empty = rows.clone();
    empty[1]["median_ns"] = json!(0.0);
    for (name, text, culprit) in [
        ("none.json", "[]".to_string(), "there is none in it"),
        ("half.jsonl", format!("{}{{\"kernel\":", lines(&rows)), "line 4"),
        ("newer.jsonl", lines(&newer), "schema version 99"),
        ("zero.jsonl", lines(&empty), "median of 0 ns"),
    ] {
        let bad = write(&folder, name, &text);
        let output = run(&["bench", "compare", &good, &bad]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(name) && stderr.contains(culprit), "{stderr}");
    }
    let output = run(&["bench", "compare", &good, "no such file"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("no such file"));
}

#[test]
fn a_board_of_a_folder() {
    let (folder, rows) = (TempDir::new().unwrap(), results());
    let mut other = rows.clone();
    for row in &mut other {
        row["gpu_info"] = json!("<img src=x> & Sons");
    }
    write(&folder, "results/one.jsonl", &lines(&rows));
    write(&folder, "results/deeper/two.json", &Value::Array(other).to_string());
    write(&folder, "results/doctor.json", "{\"version\": \"1\"}");
    let results = folder.path().join("results").display().to_string();
    let page = folder.path().join("board.html").display().to_string();
    let output = run(&["bench", "board", &results, "-o", &page]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    assert!(
        stderr.contains("left out") && stderr.contains("doctor.json") && stderr.contains("6 rows of 2 files"),
        "{stderr}"
    );
    let html = std::fs::read_to_string(&page).unwrap();
    assert_eq!(html.matches("<tr data-kernel=").count(), 6, "{html}");
    assert!(
        html.contains("&lt;img src=x&gt; &amp; Sons") && !html.contains("<img"),
        "{html}"
    );
    assert!(html.contains("two.json") && html.contains("secateur bench --quiet"));
    // Nothing is fetched from elsewhere.
    for word in ["http:", "https:", "src=\"", "href", "@import"] {
        assert!(!html.contains(word), "{word}");
    }
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let output = run(&["bench", "board", &empty.display().to_string(), "-o", &page]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("empty"));
}

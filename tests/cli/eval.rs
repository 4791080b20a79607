//! `secateur eval`: its numbers, and the comparison with another checkpoint.

use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use serde_json::Value;

use super::Case;
use super::fixture::{LAYERS, Model, Stored, VOCABULARY, linear};

fn number(record: &Value, key: &str) -> f64 {
    record[key]
        .as_f64()
        .unwrap_or_else(|| panic!("{key} is {} in {record}", record[key]))
}

#[test]
fn the_fields_of_its_json() {
    let case = Case::new();
    let record = case.eval(&["--context", "32", "--protocol", "p1-raw", "--json"]).json();
    // 2000 words are 62 windows of 32 tokens; the last 16 tokens are left out.
    for (key, value) in [
        ("model", case.model().display().to_string().into()),
        ("text", case.text().display().to_string().into()),
        ("protocol", Value::from("P1-raw")),
        ("context", 32.into()),
        ("windows", 62.into()),
        ("stream_tokens", 2000.into()),
        ("scored_tokens", (62 * 31).into()),
        ("dtype", "bfloat16".into()),
    ] {
        assert_eq!(record[key], value, "{key}");
    }
    let (nll, perplexity) = (number(&record, "nll"), number(&record, "perplexity"));
    assert!(
        (nll.exp() - perplexity).abs() <= 1e-12 * perplexity && nll > 0.0,
        "{record}"
    );
    assert!(number(&record, "standard_error") > 0.0 && (0.0..=1.0).contains(&number(&record, "accuracy")));
    assert_eq!(record["adapter"]["executor"], "host");
    for key in ["kl_divergence", "kl_standard_error", "top1_agreement"] {
        assert!(record.get(key).is_none(), "{key} without --against");
    }
}

/// The head of zeros puts every token at the same probability, whatever comes before.
#[test]
fn a_model_that_knows_nothing() {
    let mut model = Model::small();
    model
        .tensor("lm_head.weight")
        .set(&[0.0; VOCABULARY * super::fixture::HIDDEN]);
    let record = Case::of(&model).eval(&["--context", "32", "--json"]).json();
    let expected = (VOCABULARY as f64).ln();
    assert!(
        (number(&record, "nll") - expected).abs() <= 8.0 * f64::from(f32::EPSILON) * expected,
        "{record}"
    );
}

#[test]
fn windows_and_protocols() {
    let case = Case::new();
    let record = case.eval(&["--context", "32", "--windows", "3", "--json"]).json();
    assert_eq!((&record["windows"], &record["protocol"]), (&3.into(), &"P1".into()));
    assert_eq!(record["scored_tokens"], 3 * 31);
    // One window tells nothing of the spread, and must not print what JSON cannot hold.
    let record = case.eval(&["--context", "128", "--windows", "1", "--json"]).json();
    assert_eq!(number(&record, "standard_error"), 0.0);
    let table = case.eval(&["--context", "32", "--windows", "3"]).succeeds();
    assert!(table.contains("perplexity ") && table.contains("3 windows"), "{table}");
}

/// Rounded a little, and said so.
#[test]
fn attention_in_16_bits() {
    let case = Case::new();
    let full = case.eval(&["--context", "32", "--json"]).json();
    let half = case.eval(&["--context", "32", "--json", "--half-attention"]).json();
    assert_eq!(half["adapter"]["half_attention"], true);
    assert!(full["adapter"].get("half_attention").is_none());
    let [full, half] = [full, half].map(|record| number(&record, "nll"));
    assert!(full != half && (full - half).abs() < 1e-3 * full, "{full} and {half}");
}

/// The loss again, from the logits written out.
#[test]
fn logits_in_a_file() {
    let case = Case::new();
    let (file, window) = (
        case.path("logits.safetensors"),
        ["--context", "32", "--windows", "1", "--json"],
    );
    let dump = |file: &Path| case.eval(&[&window[..], &["--dump-logits", file.to_str().unwrap()]].concat());
    let record = dump(&file).json();
    let bytes = fs::read(&file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let view = |name| Stored::from_view(name, &tensors.tensor(name).unwrap());
    let (ids, logits) = (view("ids"), view("logits"));
    assert_eq!((&ids.shape, &logits.shape), (&vec![32], &vec![32, VOCABULARY]));
    let next = ids
        .bytes
        .chunks(4)
        .skip(1)
        .map(|b| u32::from_le_bytes(b.try_into().unwrap()) as usize);
    let loss =
        |(row, id): (&[f32], usize)| row.iter().map(|v| f64::from(*v).exp()).sum::<f64>().ln() - f64::from(row[id]);
    let nll = logits.values().chunks(VOCABULARY).zip(next).map(loss).sum::<f64>() / 31.0;
    let rounding = 16.0 * f64::from(f32::EPSILON) * nll;
    assert!((nll - number(&record, "nll")).abs() <= rounding, "{nll} {record}");

    // A file that is there, such as the weights being read, is never touched.
    let weights = case.model().join("model.safetensors");
    let before = fs::read(&weights).unwrap();
    dump(&weights).fails(2, &["--dump-logits", "model.safetensors", "exists already"]);
    assert!(fs::read(&weights).unwrap() == before);
    dump(&case.path("nowhere/logits")).fails(1, &["nowhere/logits", "cannot write"]);
}

#[test]
fn against_itself() {
    let case = Case::new();
    let model = case.model();
    let record = case
        .eval(&["--context", "32", "--json", "--against", model.to_str().unwrap()])
        .json();
    let rounding = 64.0 * f64::from(f32::EPSILON);
    assert!(number(&record, "kl_divergence").abs() <= rounding, "{record}");
    assert!(number(&record, "kl_standard_error") <= rounding, "{record}");
    assert_eq!(number(&record, "top1_agreement"), 1.0);
}

#[test]
fn against_the_dense_model() {
    let case = Case::new();
    case.prune(&["--sparsity", "50%"]).succeeds();
    let pruned = Case {
        temp: tempfile::TempDir::new().unwrap(),
    };
    fs::rename(case.output(), pruned.model()).unwrap();
    fs::copy(case.text(), pruned.text()).unwrap();
    let dense = case.model();
    let record = pruned
        .eval(&["--context", "32", "--json", "--against", dense.to_str().unwrap()])
        .json();
    let (kl, agreement) = (number(&record, "kl_divergence"), number(&record, "top1_agreement"));
    assert!(kl > 1e-3 && (0.05..0.999).contains(&agreement), "{record}");
    assert!(number(&record, "kl_standard_error") < kl, "{record}");
}

/// Rows of JSON lines are those that P1 makes of the lines of a file.
#[test]
fn rows_as_json_lines() {
    let case = Case::new();
    let words: Vec<String> = super::fixture::text(900).split(' ').map(String::from).collect();
    let lines: Vec<String> = words
        .chunks(60)
        .enumerate()
        .map(|(i, words)| if i % 3 == 1 { String::new() } else { words.join(" ") })
        .collect();
    let rows = lines.iter().map(|line| match line.is_empty() {
        true => String::new(),
        false => format!("{line}\n"),
    });
    let json: Vec<String> = rows.map(|row| serde_json::json!({ "text": row }).to_string()).collect();
    fs::write(case.path("rows.jsonl"), json.join("\n")).unwrap();
    fs::write(case.path("rows.txt"), lines.join("\n") + "\n").unwrap();
    let of = |name: &str, protocol: &str| {
        let mut command = super::secateur();
        command.arg("eval").arg(case.model()).arg("--text").arg(case.path(name));
        let flags = ["--context", "32", "--adapter", "cpu", "--json", "--protocol", protocol];
        super::run(command.args(flags)).json()
    };
    let [json, text] = ["rows.jsonl", "rows.txt"].map(|name| of(name, "p1"));
    assert_eq!(json["stream_tokens"], text["stream_tokens"]);
    assert_eq!(json["nll"], text["nll"]);
}

/// A head with values of its own is the head, whatever the config says; one that repeats the embedding is not.
#[test]
fn a_head_beside_a_config_that_ties_it() {
    let mut model = Model::small();
    let nll = |model: &Model| Case::of(model).eval(&["--context", "32", "--json"]).json()["nll"].clone();
    let own = nll(&model);
    model.config["tie_word_embeddings"] = true.into();
    assert_eq!(nll(&model), own);
    let embedding = model.tensor("model.embed_tokens.weight").clone();
    model.tensor("lm_head.weight").bytes = embedding.bytes;
    let tied = nll(&model);
    assert_ne!(tied, own);
    model.tensors.retain(|tensor| tensor.name != "lm_head.weight");
    assert_eq!(nll(&model), tied);
}

/// Gemma's published configs leave out ids that its own library knows.
#[test]
fn gemma_without_a_bos_in_its_config() {
    for family in ["gemma2", "gemma3"] {
        let case = super::structure::golden(family);
        let path = case.model().join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let nll = || case.eval(&["--context", "32", "--json"]).json();
        let with = nll();
        assert_eq!(with["bos"], "window");
        config.as_object_mut().unwrap().remove("bos_token_id");
        fs::write(&path, config.to_string()).unwrap();
        assert_eq!(nll()["nll"], with["nll"], "{family}");
    }
}

/// What a limit of device memory stops, wherever it is met.
#[test]
fn beyond_a_limit() {
    let case = Case::new();
    case.eval(&["--context", "32", "--max-vram", "1KiB"])
        .fails(4, &["--max-vram"]);
}

/// Numbers that took hours are not lost with the file they were to go to.
#[cfg(target_os = "linux")]
#[test]
fn a_result_that_has_no_room() {
    let case = Case::new();
    let mut command = super::secateur();
    command.arg("eval").arg(case.model()).arg("--text").arg(case.text());
    command.args(["--context", "32", "--adapter", "cpu", "--json"]);
    command.stdout(fs::File::options().write(true).open("/dev/full").unwrap());
    let done = command.output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(
        said.contains("\"nll\"") && said.contains("cannot write the result"),
        "{said}"
    );
}

#[test]
fn against_what_cannot_be_compared() {
    let case = Case::new();
    let against = |folder: &Path| case.eval(&["--context", "32", "--against", folder.to_str().unwrap()]);
    against(&case.path("nowhere")).fails(1, &["nowhere", "no such directory"]);

    let mut other = Model::small();
    other.config["vocab_size"] = (VOCABULARY + 1).into();
    for name in ["model.embed_tokens.weight", "lm_head.weight"] {
        let tensor = other.tensor(name);
        tensor.shape[0] += 1;
        tensor.bytes.extend([0; 64]);
    }
    other.write(&case.path("other"));
    against(&case.path("other")).fails(1, &["vocabulary of 65", "of 64"]);

    let mut damaged = Model::small();
    damaged
        .tensor(&linear(LAYERS - 1, "mlp.up_proj"))
        .set(&[f32::NAN; 48 * 32]);
    damaged.write(&case.path("damaged"));
    against(&case.path("damaged")).fails(1, &["damaged/model.safetensors", "mlp.up_proj", "NaN"]);
}

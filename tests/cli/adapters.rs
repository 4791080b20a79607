//! Choosing a device, and `secateur doctor`, which lists them. Drivers are loaded here, so these tests are few.

use super::{Case, run, secateur};

#[test]
fn one_that_does_not_exist() {
    let case = Case::new();
    for wanted in ["no such thing", "4096"] {
        let flags = ["--samples", "8", "--length", "32", "--adapter", wanted];
        let culprits = [&format!("`{wanted}`"), "available", "cpu"];
        case.prune_to(&case.output(), &flags, &["--pattern", "2:4"])
            .fails(2, &culprits);
        assert!(!case.output().exists());
    }
    let mut command = secateur();
    command.arg("eval").arg(case.model()).arg("--text").arg(case.text());
    run(command.args(["--context", "32"]).env("SECATEUR_ADAPTER", "none")).fails(2, &["`none`", "available", "cpu"]);
}

#[test]
fn doctor_as_json_and_as_text() {
    let diagnosis = run(secateur().args(["doctor", "--json"])).json();
    assert_eq!(diagnosis["version"], env!("CARGO_PKG_VERSION"));
    assert!(
        diagnosis["adapters"].is_array() && diagnosis["cores"].as_u64() > Some(0),
        "{diagnosis}"
    );
    assert!(diagnosis["shader_variants"].as_u64() > Some(0), "{diagnosis}");
    assert_eq!(
        diagnosis["shader_faults"].as_array().map(Vec::len),
        Some(0),
        "{diagnosis}"
    );

    let text = run(secateur().arg("doctor")).succeeds();
    for adapter in diagnosis["adapters"].as_array().unwrap() {
        assert!(text.contains(adapter["name"].as_str().unwrap()), "{text}");
    }
    assert!(text.contains("adapter cpu") && text.contains("default: "), "{text}");
}

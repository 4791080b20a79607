//! Every command of the README is run, with its placeholders filled in.

use std::path::Path;
use std::process::Command;

use super::{demo_model, secateur};

/// Lines of the README's shell blocks without their comments.
fn commands() -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let mut inside = false;
    let mut out = Vec::new();
    for line in text.lines() {
        if let Some(language) = line.strip_prefix("```") {
            inside = !inside && language == "sh";
        } else if inside {
            let command = line.split(" #").next().unwrap().trim();
            out.extend((!command.is_empty()).then(|| command.to_string()));
        }
    }
    out
}

#[test]
fn every_command_works() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    demo_model(&model);
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/calibration.txt");
    let mut seen = Vec::new();
    for (i, command) in commands().iter().enumerate() {
        // The model's context is short and so is the text: fewer, shorter samples.
        let mut shorter = String::new();
        if command.contains("--calibration") && !command.contains(" plan ") {
            shorter += " --samples 8 --length 256";
        }
        if command.contains(" compare ") {
            shorter += " --windows 4";
        }
        if command == "secateur bench" {
            shorter += " --shapes 24x32 --repetitions 1";
        }
        let place = |name: &str| folder.path().join(name).display().to_string();
        let pruned = place(if command.contains(" STATISTICS --sparsity") {
            "from-statistics"
        } else if command.contains("--structure layers") {
            "shallower"
        } else if command.contains("--method kfac-fista") {
            "searched"
        } else if command.contains("--structure") {
            "smaller"
        } else if command.contains("--method surgeon") {
            "surgeon"
        } else if command.contains("--sparsity") {
            "unstructured"
        } else {
            "pruned"
        });
        let filled = format!("{command}{shorter}")
            .replace("--shots 5", "--shots 2")
            .replace("PRUNED", &pruned)
            .replace("STATISTICS", &place("statistics"))
            .replace("RESULTS", &place("results"))
            .replace("MODEL", &model.display().to_string())
            .replace("TEXT", &text.display().to_string());
        let words: Vec<&str> = filled.split_whitespace().collect();
        match words[..] {
            // `product/demo` runs the demo itself, the cargo before it is how this test was built.
            ["cargo", "run", "--release", "--", "demo"] => seen.push("demo"),
            // The script that runs this test; a second run would never end.
            ["scripts/test"] => {
                let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/test");
                assert!(Command::new("bash").arg("-n").arg(script).status().unwrap().success());
                seen.push("scripts/test");
            }
            // `bench/suite` runs it.
            ["scripts/gpu-suite"] => {
                let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/gpu-suite");
                assert!(Command::new("sh").arg("-n").arg(script).status().unwrap().success());
                seen.push("scripts/gpu-suite");
            }
            ["secateur", ref arguments @ ..] => {
                secateur(arguments);
                seen.push(
                    [
                        "inspect",
                        "plan",
                        "prune",
                        "calibrate",
                        "compare",
                        "eval",
                        "bench",
                        "doctor",
                    ]
                    .into_iter()
                    .find(|c| arguments[0] == *c)
                    .unwrap(),
                );
            }
            _ => panic!("README command {i} is not covered by this test: {command}"),
        }
    }
    for wanted in [
        "demo",
        "scripts/test",
        "inspect",
        "plan",
        "prune",
        "calibrate",
        "compare",
        "eval",
        "bench",
        "scripts/gpu-suite",
        "doctor",
    ] {
        assert!(seen.contains(&wanted), "the README no longer shows {wanted}: {seen:?}");
    }
}

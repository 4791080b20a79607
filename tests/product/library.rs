//! A program that uses the library gets what the command line gives.

use std::fs;
use std::path::Path;

use secateur::gpu::AdapterChoice;
use secateur::run::RunError;
use secateur::{Pruner, Target};

use super::{demo_model, secateur};

#[test]
fn the_same_bytes_as_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    demo_model(&place("model"));
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/calibration.txt");
    let pruner = |method: &str| Pruner::open(place("model")).unwrap().method(method).unwrap();
    for (number, (method, target, flags)) in [
        ("auto", Target::NM { n: 2, m: 4 }, &["--pattern", "2:4"][..]),
        (
            "wanda",
            Target::Sparsity(0.6),
            &["--sparsity", "0.6", "--method", "wanda"],
        ),
        (
            "surgeon",
            Target::Sparsity(0.5),
            &["--sparsity", "0.5", "--method", "surgeon"],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let outputs = [place(&format!("library-{number}")), place(&format!("command-{number}"))];
        let report = pruner(method)
            .target(target)
            .calibration(&text)
            .samples(4, 128, 3)
            .adapter(AdapterChoice::Cpu)
            .run(&outputs[0])
            .unwrap();
        assert!(report.totals.zeros > 0);
        let (model, out) = (place("model").display().to_string(), outputs[1].display().to_string());
        let text = text.display().to_string();
        let common = [
            "prune",
            &model,
            "--output",
            &out,
            "--calibration",
            &text,
            "--adapter",
            "cpu",
        ];
        let samples = ["--samples", "4", "--length", "128", "--seed", "3"];
        secateur(&[&common[..], &samples, flags].concat());
        let weights = outputs.map(|output| fs::read(output.join("model.safetensors")).unwrap());
        assert!(weights[0] == weights[1], "{method}");
    }
    let unknown = Pruner::open(place("model")).unwrap().method("shears");
    assert!(matches!(unknown.err(), Some(RunError::UnknownMethod { .. })));
    let options = pruner("wanda")
        .calibration(&text)
        .method_option("warm-start", "wanda")
        .adapter(AdapterChoice::Cpu);
    let refused = options.run(place("refused")).unwrap_err().to_string();
    assert!(refused.contains("warm-start") && refused.contains("wanda"), "{refused}");
    assert!(!place("refused").exists());
    let nothing = pruner("wanda").run(place("refused")).unwrap_err().to_string();
    assert!(nothing.contains("calibration"), "{nothing}");
}

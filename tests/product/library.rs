//! A program that uses the library gets what the command line gives.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use secateur::checkpoint::Checkpoint;
use secateur::gpu::AdapterChoice;
use secateur::model::Spec;
use secateur::run::RunError;
use secateur::{Evaluator, Pruner, Target};

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

#[test]
fn an_evaluation_is_that_of_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    demo_model(&place("model"));
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/calibration.txt");
    let evaluator = |model: &str| Evaluator::open(place(model)).unwrap().adapter(AdapterChoice::Cpu);
    Pruner::open(place("model"))
        .unwrap()
        .method("magnitude")
        .unwrap()
        .calibration(&text)
        .samples(1, 64, 0)
        .adapter(AdapterChoice::Cpu)
        .run(place("pruned"))
        .unwrap();
    let heard = Arc::new(AtomicUsize::new(0));
    let count = heard.clone();
    let record = evaluator("pruned")
        .text(&text)
        .context(128)
        .windows(3)
        .against(place("model"))
        .progress(move |done, all| {
            assert!(done <= all);
            count.fetch_add(1, Ordering::Relaxed);
        })
        .run()
        .unwrap();
    let layers = Spec::of(&Checkpoint::open(&place("model")).unwrap()).unwrap().layers;
    assert_eq!(heard.load(Ordering::Relaxed), 2 * layers);
    let [pruned, model, text_path] = [&place("pruned"), &place("model"), &text].map(|path| path.display().to_string());
    let flags = [
        "--context",
        "128",
        "--windows",
        "3",
        "--against",
        &model,
        "--adapter",
        "cpu",
        "--json",
    ];
    let printed = secateur(&[&["eval", &pruned, "--text", &text_path][..], &flags].concat());
    let command: serde_json::Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(command["perplexity"], record.perplexity);
    assert_eq!(command["kl_divergence"], record.kl_divergence.unwrap());
    assert!(record.kl_divergence.unwrap() > 0.0);

    let nothing = evaluator("model").run().unwrap_err().to_string();
    assert!(nothing.contains("text"), "{nothing}");
    let long = evaluator("model")
        .text(&text)
        .context(1 << 20)
        .run()
        .unwrap_err()
        .to_string();
    assert!(long.contains("positions"), "{long}");
    let stopped = evaluator("model")
        .text(&text)
        .context(128)
        .stop(Arc::new(true.into()))
        .run();
    assert!(matches!(stopped.err(), Some(RunError::Interrupted)));
}

//! How much sparsity a model bears: prunes it to several targets and prints the perplexity of each.
//! `cargo run --release --example sweep MODEL CALIBRATION-TEXT EVALUATION-TEXT OUTPUTS`

use std::path::Path;

use secateur::run::RunError;
use secateur::{Evaluator, Pruner, Target};

fn main() -> Result<(), RunError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, calibration, text, outputs] = &arguments[..] else {
        eprintln!("give a model, a calibration text, an evaluation text and a folder for the pruned models");
        std::process::exit(2);
    };
    let perplexity =
        |checkpoint: &Path| Ok::<_, RunError>(Evaluator::open(checkpoint)?.text(text).context(256).run()?.perplexity);
    eprintln!("dense: perplexity {:.2}", perplexity(Path::new(model))?);
    for percent in [30, 50, 70] {
        let output = Path::new(outputs).join(format!("{percent}"));
        let report = Pruner::open(model)?
            .method("wanda")?
            .target(Target::Sparsity(f64::from(percent) / 100.0))
            .calibration(calibration)
            .samples(8, 256, 0)
            .run(&output)?;
        eprintln!(
            "{:.1} % zero: perplexity {:.2}",
            100.0 * report.totals.sparsity,
            perplexity(&output)?
        );
    }
    Ok(())
}

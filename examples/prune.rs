//! Prunes a checkpoint to 2:4 from a program: `cargo run --release --example prune MODEL TEXT OUTPUT`.

use secateur::report::LinearRecord;
use secateur::run::{Progress, RunError};
use secateur::{Pruner, Target};

/// Says which linear layer is done.
struct Lines;

impl Progress for Lines {
    fn linear(&mut self, done: usize, total: usize, record: &LinearRecord) {
        eprintln!(
            "{done} of {total}: {} is {:.1} % zero",
            record.tensor,
            100.0 * record.sparsity
        );
    }
    fn stage(&mut self, name: &str) {
        eprintln!("{name}");
    }
}

fn main() -> Result<(), RunError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, text, output] = &arguments[..] else {
        eprintln!("give a model, a text and an output folder");
        std::process::exit(2);
    };
    let report = Pruner::open(model)?
        .method("admm")?
        .target(Target::NM { n: 2, m: 4 })
        .calibration(text)
        .samples(8, 256, 0)
        .progress(Lines)
        .run(output)?;
    eprintln!("{} of {} weights are zero", report.totals.zeros, report.totals.weights);
    Ok(())
}

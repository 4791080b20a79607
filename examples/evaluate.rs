//! Perplexity of a checkpoint, and how far it is from another: `cargo run --release --example evaluate MODEL TEXT DENSE`.

use secateur::Evaluator;
use secateur::run::RunError;

fn main() -> Result<(), RunError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, text, dense] = &arguments[..] else {
        eprintln!("give a model, a text and the model it was pruned from");
        std::process::exit(2);
    };
    let record = Evaluator::open(model)?
        .text(text)
        .context(256)
        .against(dense)
        .progress(|done, layers| eprintln!("{done} of {layers} layers"))
        .run()?;
    eprintln!("perplexity {:.2} ± {:.2}", record.perplexity, record.standard_error);
    if let (Some(divergence), Some(agreement)) = (record.kl_divergence, record.top1_agreement) {
        eprintln!(
            "KL divergence {divergence:.4} nats per token, the same first token for {:.1} %",
            100.0 * agreement
        );
    }
    Ok(())
}

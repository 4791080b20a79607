//! What `secateur eval` takes.

use std::path::PathBuf;

use clap::ValueEnum;

#[derive(Debug, clap::Args)]
pub(super) struct EvalArgs {
    /// Folder of a Hugging Face checkpoint
    pub(super) model: PathBuf,
    /// Text file, or JSON lines with a `text` field, which are joined by blank lines
    #[arg(short, long)]
    pub(super) text: PathBuf,
    #[command(flatten)]
    pub(super) windows: WindowArgs,
    /// Write the first window's token ids and logits to this safetensors file, to compare with other programs
    #[arg(long, value_name = "FILE")]
    pub(super) dump_logits: Option<PathBuf>,
    /// Also report the KL divergence from this checkpoint, and how often both rank the same token first
    #[arg(long)]
    pub(super) against: Option<PathBuf>,
}

/// How texts are cut.
#[derive(Debug, clap::Args)]
pub(super) struct WindowArgs {
    /// Tokens per window [default: 2048, or the model's maximum context length if that is less]
    #[arg(long)]
    pub(super) context: Option<usize>,
    /// Evaluate only the first N windows; 0 means all
    #[arg(long, default_value_t = 0)]
    pub(super) windows: usize,
    /// How the text is prepared before it is tokenised
    #[arg(long, value_enum, default_value = "p1")]
    pub(super) protocol: ProtocolArg,
    /// Where the BOS token goes
    #[arg(long, value_enum, default_value = "auto")]
    pub(super) bos: BosArg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum BosArg {
    /// `window` for families that need a BOS token (Gemma), else `tokenizer`
    Auto,
    /// Where the tokenizer puts it
    Tokenizer,
    /// Nowhere
    None,
    /// Once, at the start of the text
    Once,
    /// At the start of every window
    Window,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ProtocolArg {
    /// Lines are joined by blank lines, as papers do with WikiText. Texts of JSON lines keep their lines as they are
    P1,
    /// The text file as it is
    #[value(name = "p1-raw")]
    P1Raw,
}

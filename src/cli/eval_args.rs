//! What `secateur eval` takes.

use std::path::PathBuf;

use clap::ValueEnum;

#[derive(Debug, clap::Args)]
pub(super) struct EvalArgs {
    /// Folder of a Hugging Face checkpoint
    pub(super) model: PathBuf,
    /// Text file (or JSON lines with a `text` field, joined by blank lines)
    #[arg(short, long)]
    pub(super) text: PathBuf,
    #[command(flatten)]
    pub(super) windows: WindowArgs,
    /// Write the first window's token ids and logits to this safetensors file, to compare with other programs
    #[arg(long, value_name = "FILE")]
    pub(super) dump_logits: Option<PathBuf>,
    /// Also report KL divergence from this checkpoint and how often both put the same token first
    #[arg(long)]
    pub(super) against: Option<PathBuf>,
}

/// How texts are cut.
#[derive(Debug, clap::Args)]
pub(super) struct WindowArgs {
    /// Tokens per window [default: 2048, or what the model was made for if less]
    #[arg(long)]
    pub(super) context: Option<usize>,
    /// Only the first N windows; 0 is all
    #[arg(long, default_value_t = 0)]
    pub(super) windows: usize,
    /// P1: lines joined by blank lines as the papers do with WikiText, of JSON lines the rows; P1-raw: the file as it is
    #[arg(long, value_enum, default_value = "p1")]
    pub(super) protocol: ProtocolArg,
    /// BOS token: as the tokenizer does, none, once at the start of the text, or before every window; `auto` is `window`
    /// for families that are lost without one (Gemma), else `tokenizer`
    #[arg(long, value_enum, default_value = "auto")]
    pub(super) bos: BosArg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum BosArg {
    /// Window where the family needs it, else as the tokenizer does
    Auto,
    /// Where the tokenizer puts it in a text
    Tokenizer,
    /// Nowhere
    None,
    /// Once, before the text
    Once,
    /// Before every window
    Window,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ProtocolArg {
    /// Lines joined by blank lines
    P1,
    /// The file as it is
    #[value(name = "p1-raw")]
    P1Raw,
}

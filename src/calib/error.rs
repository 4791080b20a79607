//! What can be wrong with a text, a tokenizer or a wish for samples.

use std::io;
use std::path::PathBuf;

/// Everything that can go wrong between a text file and token ids.
///
/// Each message is complete: it names the file, the line and the numbers concerned and ends with one thing to do.
/// Causes are part of the message and are therefore not repeated by `source()`.
#[derive(Debug, thiserror::Error)]
#[expect(
    missing_docs,
    reason = "the fields are what the message of each variant says they are"
)]
pub enum CalibError {
    /// The text file is not there.
    #[error(
        "{}: no such file; give a .txt or .jsonl file, which may be gzipped (nothing is downloaded)",
        file.display()
    )]
    MissingText { file: PathBuf },

    /// The operating system could not read the file.
    #[error("{}: cannot read ({error}); check the path and its permissions", file.display())]
    Io { file: PathBuf, error: io::Error },

    /// A `.gz` file is damaged.
    #[error("{}: not a sound gzip file ({error}); fetch the file again or give it unpacked", file.display())]
    Gzip { file: PathBuf, error: io::Error },

    /// A text is not UTF-8.
    #[error("{}: not UTF-8 at {place}; convert the file to UTF-8", file.display())]
    NotUtf8 { file: PathBuf, place: String },

    /// A line of a `.jsonl` file is not a JSON object.
    #[error(
        "{}: line {line} is not a JSON object ({reason}); put one object on each line, or rename a plain \
         text to .txt",
        file.display()
    )]
    BadLine { file: PathBuf, line: usize, reason: String },

    /// A line of a `.jsonl` file has no text.
    #[error("{}: line {line} has no string in its field \"text\"; put each document's text there", file.display())]
    NoTextField { file: PathBuf, line: usize },

    /// There is no text in the file.
    #[error("{}: holds no text; give a file with some", file.display())]
    EmptyText { file: PathBuf },

    /// The tokenizer file is not there.
    #[error(
        "{}: missing; copy it from the original model, or save the tokenizer there with transformers' \
         save_pretrained",
        file.display()
    )]
    MissingTokenizer { file: PathBuf },

    /// The tokenizer file cannot be used.
    #[error("{}: not a usable tokenizer ({reason}); fetch the file again", file.display())]
    BadTokenizer { file: PathBuf, reason: String },

    /// The tokenizer gave up on a text.
    #[error(
        "{}: cannot tokenize a text of {bytes} bytes ({reason}); check that the tokenizer is this model's",
        file.display()
    )]
    Encode {
        file: PathBuf,
        bytes: usize,
        reason: String,
    },

    /// No samples, or samples of no use, were asked for.
    #[error("{samples} samples of {length} tokens: ask for at least 1 sample of at least 2 tokens")]
    BadSpec { samples: usize, length: usize },

    /// A plain text has too few tokens.
    #[error(
        "{}: has {tokens} tokens, enough for {windows} samples of {length}, but {samples} were asked for ({} \
         tokens); give a longer text, or ask for fewer or shorter samples",
        file.display(), samples.saturating_mul(*length)
    )]
    TextTooShort {
        file: PathBuf,
        tokens: usize,
        windows: usize,
        samples: usize,
        length: usize,
    },

    /// No document has enough tokens.
    #[error(
        "{}: the longest of its {documents} documents has {longest} tokens, but samples of {length} are cut \
         from longer ones; give longer documents, or ask for samples of at most {}",
        file.display(), longest.saturating_sub(1)
    )]
    DocumentsTooShort {
        file: PathBuf,
        documents: usize,
        longest: usize,
        length: usize,
    },
}

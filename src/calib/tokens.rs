//! The model's own tokenizer.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::error::CalibError;

/// A tokenizer as `tokenizer.json` describes it, without the truncation and padding that file may ask for.
pub struct Tokenizer {
    file: PathBuf,
    inner: tokenizers::Tokenizer,
}

impl Tokenizer {
    /// Reads `tokenizer.json` in `dir`; fails if it is missing or not understood.
    pub fn open(dir: &Path) -> Result<Self, CalibError> {
        let file = dir.join("tokenizer.json");
        match std::fs::read(&file) {
            Ok(bytes) => Self::parse(file, &bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(CalibError::MissingTokenizer { file }),
            Err(error) => Err(CalibError::Io { file, error }),
        }
    }

    /// Takes `bytes` as the contents of a `tokenizer.json` that messages call `name`; fails if not understood.
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self, CalibError> {
        Self::parse(name.into(), bytes)
    }

    fn parse(file: PathBuf, bytes: &[u8]) -> Result<Self, CalibError> {
        let bad = |e: tokenizers::Error| CalibError::BadTokenizer {
            file: file.clone(),
            reason: e.to_string(),
        };
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(bad)?;
        // Left on, they would cut or lengthen every document without a word.
        inner.with_truncation(None).map_err(bad)?;
        inner.with_padding(None);
        Ok(Tokenizer { file, inner })
    }

    /// Token ids of `text`. With `special`, also those the tokenizer puts around a text (such as a BOS), as
    /// `tokenizer(text)` does in transformers.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, CalibError> {
        match self.inner.encode_fast(text, special) {
            Ok(encoding) => Ok(encoding.get_ids().to_vec()),
            Err(error) => {
                let (file, reason) = (self.file.clone(), error.to_string());
                Err(CalibError::Encode {
                    file,
                    bytes: text.len(),
                    reason,
                })
            }
        }
    }

    /// Number of distinct tokens, added ones included. The model's embedding may have more rows.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Where it was read from.
    pub fn file(&self) -> &Path {
        &self.file
    }
}

/// BLAKE3, as hex, of token ids: the number of rows, then each row's length (u64) and ids (u32), all little-endian.
pub fn hash_ids(rows: &[Vec<u32>]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(rows.len() as u64).to_le_bytes());
    for row in rows {
        hasher.update(&(row.len() as u64).to_le_bytes());
        let bytes: Vec<u8> = row.iter().flat_map(|id| id.to_le_bytes()).collect();
        hasher.update(&bytes);
    }
    hasher.finalize().to_hex().to_string()
}

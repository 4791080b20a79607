//! Calibration data: from a text file and a tokenizer to the token ids a pruning run looks at.
//!
//! This room touches text, ids and the choice of samples. It does not run a model (`run` captures activations) and does
//! not know what the ids are for; whether they fit a model's vocabulary is checked where the model is known.
//!
//! Start at [`draw`]: which samples are taken, under which named rule.

mod corpus;
mod cpython_random;
mod error;
mod sample;
mod tokens;

pub use corpus::{Corpus, CorpusKind};
pub use cpython_random::CpythonRandom;
pub use error::CalibError;
pub use sample::{CalibrationSet, SampleSpec, draw};
pub use tokens::{Tokenizer, hash_ids};

//! Perplexity by protocol P1: one token stream, disjoint windows, all targets of each window.

use crate::calib::{CalibError, Tokenizer};
use crate::model::{Activations, Decoder, ModelError, Spec, TokenLoss};

/// How a file becomes a token stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// The papers' convention: lines joined by a blank line, as `"\n\n".join(rows)` gives them. Of JSON lines each is a
    /// row already.
    #[default]
    P1,
    /// The file as it is.
    P1Raw,
}

impl Protocol {
    /// Id as printed.
    pub fn id(self) -> &'static str {
        match self {
            Protocol::P1 => "P1",
            Protocol::P1Raw => "P1-raw",
        }
    }

    /// The text that is tokenised. P1: each non-blank line keeps its newline, blank lines become empty, all are joined
    /// by `"\n\n"` (the rows of wikitext-*-raw-v1).
    pub fn text(self, file: &str) -> String {
        match self {
            Protocol::P1Raw => file.to_string(),
            Protocol::P1 => {
                let body = file.strip_suffix('\n').unwrap_or(file);
                let rows = body.split('\n').map(|l| {
                    if l.trim().is_empty() {
                        String::new()
                    } else {
                        format!("{l}\n")
                    }
                });
                rows.collect::<Vec<_>>().join("\n\n")
            }
        }
    }
}

/// Where a BOS token stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bos {
    /// Where the tokenizer puts it in a text: at the start, or nowhere.
    #[default]
    Tokenizer,
    /// Nowhere.
    None,
    /// This id, once, at the start of the stream.
    Once(u32),
    /// This id at the start of every window, which then holds one token of the stream less.
    Window(u32),
}

impl Bos {
    /// Before every window for families that are lost without one (Gemma), else where the tokenizer puts it.
    pub fn of(spec: &Spec) -> Result<Self, EvalError> {
        match (spec.needs_bos, spec.bos) {
            (false, _) => Ok(Bos::Tokenizer),
            (true, Some(id)) => Ok(Bos::Window(id)),
            (true, None) => Err(EvalError::NoBos),
        }
    }

    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Bos::Tokenizer => "tokenizer",
            Bos::None => "none",
            Bos::Once(_) => "once",
            Bos::Window(_) => "window",
        }
    }
}

/// Why nothing could be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// Fewer tokens than one window.
    #[error(
        "`{text}` has {tokens} tokens, less than one window of {context}; use a shorter `context` or a longer text"
    )]
    TooShort {
        /// Text file.
        text: String,
        /// Its tokens.
        tokens: usize,
        /// Window length.
        context: usize,
    },
    /// The family needs a BOS token that is not known.
    #[error("config.json has no bos_token_id, which this family needs before every window; add it there")]
    NoBos,
    /// A window needs at least one target.
    #[error("context {0} is too short: a window needs at least 2 tokens")]
    Context(usize),
    /// The loss is not a number.
    #[error("the loss of window {window} is not finite: the model overflows or its weights are damaged")]
    NonFinite {
        /// Window index.
        window: usize,
    },
    /// Two checkpoints that cannot be compared.
    #[error("`{a}` has a vocabulary of {a_size} and `{b}` of {b_size}: divergence needs the same tokens")]
    Vocabulary {
        /// First checkpoint.
        a: String,
        /// Its vocabulary.
        a_size: usize,
        /// Second checkpoint.
        b: String,
        /// Its vocabulary.
        b_size: usize,
    },
    /// A text problem.
    #[error(transparent)]
    Calib(#[from] CalibError),
    /// A model problem.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// Token windows of one text.
#[derive(Clone, Debug)]
pub struct Windows {
    /// Equal-length windows.
    pub ids: Vec<Vec<u32>>,
    /// Tokens of the whole stream.
    pub stream: usize,
    /// Tokens per window.
    pub context: usize,
}

impl Windows {
    /// Tokenises `text`, of the file `name`, once and cuts disjoint windows; the tail is dropped. `limit` keeps the first
    /// windows only; 0 keeps all.
    pub fn cut(
        tokenizer: &Tokenizer,
        [name, text]: [&str; 2],
        context: usize,
        limit: usize,
        bos: Bos,
    ) -> Result<Self, EvalError> {
        if context < 2 {
            return Err(EvalError::Context(context));
        }
        let mut stream = tokenizer.encode(text, bos == Bos::Tokenizer)?;
        if let Bos::Once(id) = bos {
            stream.insert(0, id);
        }
        let first = match bos {
            Bos::Window(id) => Some(id),
            _ => None,
        };
        let step = context - usize::from(first.is_some());
        let count = stream.len() / step;
        if count == 0 {
            return Err(EvalError::TooShort {
                text: name.to_string(),
                tokens: stream.len(),
                context,
            });
        }
        let count = if limit == 0 { count } else { count.min(limit) };
        let window = |tokens: &[u32]| first.iter().chain(tokens).copied().collect();
        let ids = stream.chunks(step).take(count).map(window).collect();
        Ok(Windows {
            ids,
            stream: stream.len(),
            context,
        })
    }
}

/// Result of one evaluation.
#[derive(Clone, Copy, Debug)]
pub struct Perplexity {
    /// Mean negative log-likelihood per scored token, nats.
    pub nll: f64,
    /// Standard error of the mean, from the spread of the windows.
    pub nll_error: f64,
    /// Share of right most-likely tokens.
    pub accuracy: f64,
    /// Scored positions.
    pub scored: usize,
}

impl Perplexity {
    /// exp(nll).
    pub fn value(&self) -> f64 {
        self.nll.exp()
    }

    /// Standard error of the perplexity (delta method).
    pub fn standard_error(&self) -> f64 {
        self.value() * self.nll_error
    }
}

/// Scores what leaves the model's last layer ([`Decoder::run`] over the windows).
pub fn perplexity(
    decoder: &Decoder<'_>,
    activations: &Activations,
    windows: &Windows,
) -> Result<Perplexity, EvalError> {
    of_losses(&decoder.losses(activations, &windows.ids)?, windows)
}

/// Of the losses of all positions.
pub(super) fn of_losses(losses: &[Vec<TokenLoss>], windows: &Windows) -> Result<Perplexity, EvalError> {
    let mut means = Vec::with_capacity(losses.len());
    let mut right = 0;
    for (window, (losses, ids)) in losses.iter().zip(&windows.ids).enumerate() {
        let total: f64 = losses.iter().map(|l| l.nll).sum();
        if !total.is_finite() {
            return Err(EvalError::NonFinite { window });
        }
        right += losses.iter().zip(&ids[1..]).filter(|(l, id)| l.top == **id).count();
        means.push(total / losses.len() as f64);
    }
    let scored = windows.ids.len() * (windows.context - 1);
    let (nll, nll_error) = mean_and_error(&means);
    Ok(Perplexity {
        nll,
        nll_error,
        accuracy: right as f64 / scored as f64,
        scored,
    })
}

/// Mean and its standard error; the error of a single value is unknown (NaN becomes 0 for printing).
pub(super) fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    (mean, (variance / n).sqrt())
}

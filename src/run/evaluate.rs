//! Perplexity of a checkpoint on a text, and its divergence from another, as a record.

use std::path::Path;
use std::time::Instant;

use super::samples::tokenising;
use super::{RunError, adapter_record};
use crate::calib::{Corpus, CorpusKind, Tokenizer};
use crate::eval::{Bos, Protocol, Windows, divergence, perplexity};
use crate::model::{Activations, Decoder};
use crate::report::EvalRecord;

/// A text to evaluate on, cut into windows of a model's tokens.
#[derive(Clone, Debug)]
pub struct EvalText {
    /// Where it was read from.
    pub file: String,
    /// How it became tokens.
    pub protocol: Protocol,
    /// Where BOS tokens stand.
    pub bos: Bos,
    /// The tokens.
    pub windows: Windows,
}

impl EvalText {
    /// Reads `file` for the tokenizer in `model`: windows of `context` tokens, the first `limit` of them (0 is all).
    pub fn cut(
        model: &Path,
        file: &Path,
        (protocol, bos): (Protocol, Bos),
        [context, limit]: [usize; 2],
    ) -> Result<Self, RunError> {
        tokenising(|| Self::read(model, file, (protocol, bos), [context, limit]))
    }

    fn read(
        model: &Path,
        file: &Path,
        (protocol, bos): (Protocol, Bos),
        [context, limit]: [usize; 2],
    ) -> Result<Self, RunError> {
        let corpus = Corpus::read(file)?;
        let tokenizer = Tokenizer::open(model)?;
        let name = file.display().to_string();
        let body = match corpus.kind {
            CorpusKind::Documents => corpus.documents.join("\n\n"),
            CorpusKind::Plain => protocol.text(&corpus.documents.concat()),
        };
        Ok(EvalText {
            windows: Windows::cut(&tokenizer, [&name, &body], context, limit, bos)?,
            file: name,
            protocol,
            bos,
        })
    }
}

/// A model's record on a text, with how far it is from a reference if there is one, given with what left its last layer
/// on that text; and what left the model's own. `go_on` is asked after each layer; at its no this ends as interrupted.
pub fn evaluate(
    decoder: &Decoder<'_>,
    text: &EvalText,
    reference: Option<(&Decoder<'_>, &Activations)>,
    go_on: impl FnMut(usize) -> bool,
) -> Result<(EvalRecord, Activations), RunError> {
    let (start, windows) = (Instant::now(), &text.windows);
    let states = decoder.run_while(&windows.ids, go_on)?.ok_or(RunError::Interrupted)?;
    let (divergence, result) = match reference {
        Some(reference) => {
            let (divergence, result) = divergence(reference, (decoder, &states), windows)?;
            (Some(divergence), result)
        }
        None => (None, perplexity(decoder, &states, windows)?),
    };
    let first = &decoder.spec.linears_of(0)?[0].tensor;
    let record = EvalRecord {
        model: decoder.checkpoint.dir().display().to_string(),
        text: text.file.clone(),
        protocol: text.protocol.id().to_string(),
        bos: text.bos.name().to_string(),
        context: windows.context,
        windows: windows.ids.len(),
        stream_tokens: windows.stream,
        scored_tokens: result.scored,
        dtype: decoder.checkpoint.tensor(first)?.dtype.name().to_string(),
        nll: result.nll,
        perplexity: result.value(),
        standard_error: result.standard_error(),
        accuracy: result.accuracy,
        kl_divergence: divergence.map(|d| d.kl),
        kl_standard_error: divergence.map(|d| d.kl_error),
        top1_agreement: divergence.map(|d| d.agreement),
        adapter: adapter_record(decoder.gpu),
        seconds: start.elapsed().as_secs_f64(),
    };
    Ok((record, states))
}

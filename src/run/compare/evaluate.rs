//! Perplexity of a checkpoint on a text, and its divergence from another, as a record.

use std::path::Path;
use std::time::Instant;

use crate::calib::{Corpus, CorpusKind, Tokenizer};
use crate::checkpoint::Checkpoint;
use crate::eval::{Bos, Protocol, Windows, divergence, perplexity, same_vocabulary};
use crate::gpu::Gpu;
use crate::model::{ActivationOptions, Activations, Decoder, Spec, evaluation_bytes};
use crate::report::EvalRecord;
use crate::run::RunError;
use crate::run::predict::demand::small;
use crate::run::predict::passes::{GatherPlan, Passes};
use crate::run::predict::resident::{Process, Way};
use crate::run::report::adapter_record;
use crate::run::samples::tokenising;

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
/// on that text; and what left the model's own, kept as `activations` say. `go_on` is asked after each layer; at its no
/// this ends as interrupted.
pub fn evaluate(
    decoder: &Decoder<'_>,
    text: &EvalText,
    reference: Option<(&Decoder<'_>, &Activations)>,
    activations: &ActivationOptions,
    go_on: impl FnMut(usize) -> bool,
) -> Result<(EvalRecord, Activations), RunError> {
    let (start, windows) = (Instant::now(), &text.windows);
    let states = decoder.run_with(&windows.ids, activations, go_on)?;
    let states = states.ok_or(RunError::Interrupted)?;
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

/// A model's record on a text with how far it is from `reference`, which goes first. `go_on` is asked after each layer, those
/// of both counted together; at its no this ends as interrupted.
pub fn evaluate_against(
    reference: &Decoder<'_>,
    decoder: &Decoder<'_>,
    text: &EvalText,
    mut go_on: impl FnMut(usize) -> bool,
) -> Result<EvalRecord, RunError> {
    let start = Instant::now();
    same_vocabulary(reference, decoder)?;
    let options = ActivationOptions::default();
    let states = reference.run_with(&text.windows.ids, &options, &mut go_on)?;
    let states = states.ok_or(RunError::Interrupted)?;
    let first = reference.spec.layers;
    let (mut record, _) = evaluate(decoder, text, Some((reference, &states)), &options, |done| {
        go_on(first + done)
    })?;
    record.seconds = start.elapsed().as_secs_f64();
    Ok(record)
}

/// Memory that evaluating takes.
#[derive(Clone, Copy, Debug)]
pub(in crate::run) struct EvalDemand {
    /// The process, but for the streams.
    pub(in crate::run) host: u64,
    /// What leaves the last layer of the model, and of the one it is held against.
    pub(in crate::run) streams: u64,
}

impl EvalDemand {
    /// Of a model against another of the same sizes.
    pub(in crate::run) fn of(
        gpu: &Gpu,
        checkpoint: &Checkpoint,
        spec: &Spec,
        windows: &Windows,
    ) -> Result<Self, RunError> {
        let context = windows.context;
        let tokens = windows.ids.len() * context;
        let rows = (ActivationOptions::default().sequences_per_batch(context) * context).min(tokens);
        let head = checkpoint.tensor_of_shape(&spec.head(), &[spec.vocabulary, spec.hidden])?;
        let passes = Passes::of(gpu, checkpoint, spec, [tokens, rows], GatherPlan::FORWARD)?;
        let scores = evaluation_bytes(gpu, spec, head.dtype, [tokens, rows], 2);
        let device = scores.max(passes.gather) + 2 * small(spec, gpu, context);
        let process = Process::of(gpu, checkpoint, spec, context, Way::Forward);
        // Ids, a loss and a divergence of every token, and these as they are read back.
        let each = (4 + 2 * 16 + 2 * 32) * tokens as u64;
        Ok(EvalDemand {
            host: each + passes.host(gpu, &process, spec, [rows as u64, device]),
            streams: (2 * 4 * tokens * spec.hidden) as u64,
        })
    }
}

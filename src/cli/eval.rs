//! `secateur eval`.

use std::path::Path;

use super::args::Common;
use super::eval_args::{BosArg, EvalArgs, ProtocolArg, WindowArgs};
use super::exit::CliError;
use super::settings::length;
use super::{open_gpu, print, print_profile, progress, spec};
use indicatif::ProgressBar;
use safetensors::tensor::{Dtype, SafeTensorError, TensorView, serialize_to_file};

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::eval::{Bos, Protocol, Windows};
use crate::model::{ActivationOptions, Decoder, Spec};
use crate::report::{EvalRecord, eval_table};
use crate::run::{EvalText, evaluate, evaluate_against};

pub(super) fn run(common: &Common, args: &EvalArgs) -> Result<(), CliError> {
    let checkpoint = Checkpoint::open(&args.model)?;
    let spec = spec(common, &checkpoint)?;
    if let Some(file) = args.dump_logits.as_deref().filter(|file| file.exists()) {
        let message = format!("--dump-logits {} exists already; give another file", file.display());
        return Err(CliError::setting(message));
    }
    let text = text(&checkpoint, &spec, &args.text, &args.windows)?;
    let gpu = open_gpu(common)?;
    let decoder = Decoder::new(&gpu, &checkpoint, &spec, text.windows.context)?;
    let record = match &args.against {
        Some(folder) => against(common, folder, &decoder, &text)?,
        None => evaluated(common, &decoder, &text)?,
    };
    if let Some(file) = &args.dump_logits {
        dump(&decoder, &text.windows, file)?;
    }
    print(common, &record, || eval_table(&record))?;
    print_profile(common, &gpu);
    Ok(())
}

/// A text for a checkpoint's tokenizer, in windows as asked for.
pub(super) fn text(
    checkpoint: &Checkpoint,
    spec: &Spec,
    file: &Path,
    windows: &WindowArgs,
) -> Result<EvalText, CliError> {
    let context = length(windows.context, spec.max_positions, "--context")?;
    let protocol = match windows.protocol {
        ProtocolArg::P1 => Protocol::P1,
        ProtocolArg::P1Raw => Protocol::P1Raw,
    };
    let how = (protocol, bos(windows.bos, spec)?);
    Ok(EvalText::cut(checkpoint.dir(), file, how, [context, windows.windows])?)
}

/// Nothing stops an evaluation but the end of the process.
fn advanced(bar: &ProgressBar, layer: usize) -> bool {
    bar.set_position(layer as u64);
    true
}

/// Where the BOS token goes: as asked, or where the family needs it.
fn bos(asked: BosArg, spec: &Spec) -> Result<Bos, CliError> {
    let missing =
        || CliError::setting("--bos: config.json has no bos_token_id; use --bos none or --bos tokenizer".into());
    let id = || spec.bos.ok_or_else(missing);
    Ok(match asked {
        BosArg::Auto => Bos::of(spec).map_err(|_| missing())?,
        BosArg::Tokenizer => Bos::Tokenizer,
        BosArg::None => Bos::None,
        BosArg::Once => Bos::Once(id()?),
        BosArg::Window => Bos::Window(id()?),
    })
}

/// The record against the checkpoint in `folder`, which goes first.
fn against(common: &Common, folder: &Path, decoder: &Decoder<'_>, text: &EvalText) -> Result<EvalRecord, CliError> {
    let other = Checkpoint::open(folder)?;
    let spec = super::spec(common, &other)?;
    let reference = Decoder::new(decoder.gpu, &other, &spec, text.windows.context)?;
    let bar = progress::layers(common, spec.layers + decoder.spec.layers);
    let record = evaluate_against(&reference, decoder, text, |layer| advanced(&bar, layer));
    bar.finish_and_clear();
    Ok(record?)
}

fn evaluated(common: &Common, decoder: &Decoder<'_>, text: &EvalText) -> Result<EvalRecord, CliError> {
    let bar = progress::layers(common, decoder.spec.layers);
    let options = ActivationOptions::default();
    let result = evaluate(decoder, text, None, &options, |layer| advanced(&bar, layer));
    bar.finish_and_clear();
    Ok(result?.0)
}

/// Writes `ids` `[context]` and `logits` `[context, vocabulary]` of the first window.
fn dump(decoder: &Decoder<'_>, windows: &Windows, file: &Path) -> Result<(), CliError> {
    let ids = &windows.ids[..1];
    let logits = decoder.all_logits(&decoder.run(ids, |_| ())?, 0)?;
    let view = |dtype, shape: Vec<usize>, bytes| TensorView::new(dtype, shape, bytes).expect("sizes are ours");
    let shape = vec![windows.context, decoder.spec.vocabulary];
    let tensors = [
        (
            "ids",
            view(Dtype::U32, vec![windows.context], bytemuck::cast_slice(&ids[0])),
        ),
        ("logits", view(Dtype::F32, shape, bytemuck::cast_slice(&logits))),
    ];
    // Written beside and renamed: a failure leaves nothing.
    serialize_to_file(tensors, None, file).map_err(|error| {
        let error = match error {
            SafeTensorError::IoError(error) => error,
            other => std::io::Error::other(other),
        };
        let (path, operation) = (file.to_path_buf(), "write");
        CliError::from(CheckpointError::Io { path, operation, error })
    })
}

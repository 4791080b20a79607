//! `secateur eval`.

use std::path::Path;
use std::time::Instant;

use super::args::{BosArg, Common, EvalArgs, ProtocolArg};
use super::exit::CliError;
use super::prune::length;
use super::{open_gpu, print, print_profile, progress, spec};
use safetensors::tensor::{Dtype, SafeTensorError, TensorView, serialize_to_file};

use crate::calib::{Corpus, Tokenizer};
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::eval::{Bos, Protocol, Windows, divergence, perplexity};
use crate::gpu::Gpu;
use crate::model::{Decoder, Spec};
use crate::report::{EvalRecord, eval_table};
use crate::run::adapter_record;

pub(super) fn run(common: &Common, args: &EvalArgs) -> Result<(), CliError> {
    let checkpoint = Checkpoint::open(&args.model)?;
    let spec = spec(common, &checkpoint)?;
    let context = length(args.context, spec.max_positions, "--context")?;
    if let Some(file) = args.dump_logits.as_deref().filter(|file| file.exists()) {
        let message = format!("--dump-logits {} exists already; give another file", file.display());
        return Err(CliError::setting(message));
    }
    let protocol = match args.protocol {
        ProtocolArg::P1 => Protocol::P1,
        ProtocolArg::P1Raw => Protocol::P1Raw,
    };
    let bos = bos(args.bos, &spec)?;
    let windows = windows(&checkpoint, &args.text, protocol, [context, args.windows], bos)?;
    let gpu = open_gpu(common)?;
    let start = Instant::now();
    let mut record = evaluate(common, &gpu, &checkpoint, &spec, &windows)?;
    record.text = args.text.display().to_string();
    record.protocol = protocol.id().to_string();
    record.bos = bos.name().to_string();
    if let Some(folder) = &args.against {
        compare(common, &gpu, (&checkpoint, &spec), folder, &windows, &mut record)?;
    }
    if let Some(file) = &args.dump_logits {
        dump(&gpu, &checkpoint, &spec, &windows, file)?;
    }
    record.seconds = start.elapsed().as_secs_f64();
    print(common, &record, || eval_table(&record));
    print_profile(common, &gpu);
    Ok(())
}

/// Token windows of a text file for a checkpoint's tokenizer.
pub(super) fn windows(
    checkpoint: &Checkpoint,
    text: &Path,
    protocol: Protocol,
    [context, limit]: [usize; 2],
    bos: Bos,
) -> Result<Windows, CliError> {
    let corpus = Corpus::read(text)?;
    let tokenizer = Tokenizer::open(checkpoint.dir())?;
    let body = protocol.text(&corpus.documents.join("\n\n"));
    Ok(Windows::cut(
        &tokenizer,
        [&text.display().to_string(), &body],
        context,
        limit,
        bos,
    )?)
}

/// Where the BOS token goes: as asked, or where the family needs it.
fn bos(asked: BosArg, spec: &Spec) -> Result<Bos, CliError> {
    let id = || {
        spec.bos.ok_or_else(|| {
            CliError::setting("--bos: config.json has no bos_token_id; use --bos none or --bos tokenizer".into())
        })
    };
    Ok(match asked {
        BosArg::Auto if spec.needs_bos => Bos::Window(id()?),
        BosArg::Auto | BosArg::Tokenizer => Bos::Tokenizer,
        BosArg::None => Bos::None,
        BosArg::Once => Bos::Once(id()?),
        BosArg::Window => Bos::Window(id()?),
    })
}

/// Perplexity of a checkpoint on windows; text and protocol are left for the caller to fill in.
pub(super) fn evaluate(
    common: &Common,
    gpu: &Gpu,
    checkpoint: &Checkpoint,
    spec: &Spec,
    windows: &Windows,
) -> Result<EvalRecord, CliError> {
    let start = Instant::now();
    let decoder = Decoder::new(gpu, checkpoint, spec, windows.context)?;
    let bar = progress::layers(common, spec.layers);
    let result = perplexity(&decoder, windows, |layer| bar.set_position(layer as u64));
    bar.finish_and_clear();
    let result = result?;
    Ok(EvalRecord {
        model: checkpoint.dir().display().to_string(),
        context: windows.context,
        windows: windows.ids.len(),
        stream_tokens: windows.stream,
        scored_tokens: result.scored,
        dtype: checkpoint
            .tensor(&spec.linears_of(0)?[0].tensor)?
            .dtype
            .name()
            .to_string(),
        nll: result.nll,
        perplexity: result.value(),
        standard_error: result.standard_error(),
        accuracy: result.accuracy,
        adapter: adapter_record(gpu),
        seconds: start.elapsed().as_secs_f64(),
        ..Default::default()
    })
}

fn compare(
    common: &Common,
    gpu: &Gpu,
    (checkpoint, spec): (&Checkpoint, &Spec),
    folder: &Path,
    windows: &Windows,
    record: &mut EvalRecord,
) -> Result<(), CliError> {
    let other = Checkpoint::open(folder)?;
    let other_spec = super::spec(common, &other)?;
    let reference = Decoder::new(gpu, &other, &other_spec, windows.context)?;
    let model = Decoder::new(gpu, checkpoint, spec, windows.context)?;
    let bar = progress::layers(common, spec.layers + other_spec.layers);
    let result = divergence(&reference, &model, windows, |layer| bar.set_position(layer as u64));
    bar.finish_and_clear();
    let result = result?;
    record.kl_divergence = Some(result.kl);
    record.kl_standard_error = Some(result.kl_error);
    record.top1_agreement = Some(result.agreement);
    Ok(())
}

/// Writes `ids` `[context]` and `logits` `[context, vocabulary]` of the first window.
fn dump(gpu: &Gpu, checkpoint: &Checkpoint, spec: &Spec, windows: &Windows, file: &Path) -> Result<(), CliError> {
    let decoder = Decoder::new(gpu, checkpoint, spec, windows.context)?;
    let ids = &windows.ids[..1];
    let logits = decoder.all_logits(&decoder.run(ids, |_| ())?, 0)?;
    let view = |dtype, shape: Vec<usize>, bytes| TensorView::new(dtype, shape, bytes).expect("sizes are ours");
    let shape = vec![windows.context, spec.vocabulary];
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

//! `secateur demo`: prunes the embedded model with several methods and compares perplexities.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::args::{Common, DemoArgs};
use super::compare::CompareBar;
use super::exit::CliError;
use super::{open_gpu, print, print_profile};
use crate::calib::SampleSpec;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::eval::{Bos, Protocol};
use crate::gpu::Gpu;
use crate::model::Spec;
use crate::prune::{ADMM, FISTA, MAGNITUDE, Pattern, Scope, WANDA};
use crate::report::{CompareReport, EvalRecord, demo_table};
use crate::run::{CompareOptions, EvalText, PruneOptions, RunError, Subject, compare};

/// The model and its texts, compiled in so that an installed binary needs nothing else.
const FILES: &[(&str, &[u8])] = &[
    ("config.json", include_bytes!("../../models/demo/config.json")),
    (
        "model.safetensors",
        include_bytes!("../../models/demo/model.safetensors"),
    ),
    ("tokenizer.json", include_bytes!("../../models/demo/tokenizer.json")),
    (
        "tokenizer_config.json",
        include_bytes!("../../models/demo/tokenizer_config.json"),
    ),
    ("calibration.txt", include_bytes!("../../models/demo/calibration.txt")),
    ("evaluation.txt", include_bytes!("../../models/demo/evaluation.txt")),
];
/// Tokens per window: the samples were drawn in windows of this length.
const CONTEXT: usize = 256;

pub(super) fn run(common: &Common, args: &DemoArgs, stop: &AtomicBool) -> Result<(), CliError> {
    let temporary;
    let folder = match &args.output {
        Some(folder) => folder.clone(),
        None => {
            temporary = tempfile::tempdir().map_err(|e| failed("create a folder in", &std::env::temp_dir(), e))?;
            temporary.path().to_path_buf()
        }
    };
    let existed = refuse_unless_empty(&folder)?;
    let gpu = open_gpu(common)?;
    let report = compare_on(common, args, &gpu, &folder, stop).inspect_err(|_| discard(&folder, existed))?;
    let rows = flat(report);
    let json: Vec<_> = rows
        .iter()
        .map(|(method, pattern, record)| serde_json::json!({ "method": method, "pattern": pattern, "eval": record }))
        .collect();
    print(common, &json, || demo_table(&rows))?;
    print_profile(common, &gpu);
    Ok(())
}

/// Unpacks the model and compares on it, all within `folder`.
fn compare_on(
    common: &Common,
    args: &DemoArgs,
    gpu: &Gpu,
    folder: &Path,
    stop: &AtomicBool,
) -> Result<CompareReport, CliError> {
    let model = folder.join("model");
    unpack(&model)?;
    let checkpoint = Checkpoint::open(&model)?;
    let spec = Spec::of(&checkpoint)?;
    let how = (Protocol::P1Raw, Bos::Tokenizer);
    let mut text = EvalText::cut(&model, &model.join("evaluation.txt"), how, [CONTEXT, args.windows])?;
    text.file = "evaluation.txt".to_string();
    let (seed, bos) = (0, None);
    let samples = SampleSpec {
        samples: args.samples,
        length: CONTEXT,
        seed,
        bos,
    };
    let calibration = model.join("calibration.txt");
    let base = PruneOptions {
        max_vram: common.max_vram,
        ..PruneOptions::new(model, folder.join("comparison"), calibration, samples)
    };
    let options = CompareOptions {
        surgeon: Default::default(),
        rows: rows(&base)?,
        output: folder.join("comparison"),
        keep: Some(folder.to_path_buf()),
    };
    let subject = Subject {
        checkpoint: &checkpoint,
        spec: &spec,
        gpu,
    };
    let mut bars = CompareBar::new(common);
    match compare(&options, subject, &[text], &mut bars, stop) {
        // Nothing of a demo is kept.
        Err(RunError::Paused { error, .. }) => Err((*error).into()),
        other => Ok(other?),
    }
}

fn rows(base: &PruneOptions) -> Result<Vec<PruneOptions>, RunError> {
    let mut rows = Vec::new();
    for two_four in [false, true] {
        for (method, refit, scope) in [
            (&MAGNITUDE, 0, Scope::Matrix),
            (&WANDA, 0, Scope::Row),
            (&FISTA, 15, Scope::Matrix),
            (&ADMM, 15, Scope::Matrix),
        ] {
            rows.push(PruneOptions {
                refit,
                pattern: match two_four {
                    true => Pattern::NM { n: 2, m: 4 },
                    false => Pattern::unstructured(0.5, scope)?,
                },
                ..base.clone().by(method)
            });
        }
    }
    Ok(rows)
}

/// Method, pattern and evaluation, dense first.
fn flat(report: CompareReport) -> Vec<(String, String, EvalRecord)> {
    let dense = report
        .dense
        .into_iter()
        .map(|e| ("dense".to_string(), String::new(), e));
    let cells = report.cells.into_iter().flat_map(|cell| {
        let name = match cell.refit {
            0 => cell.method,
            _ => format!("{} + refit", cell.method),
        };
        cell.evals
            .into_iter()
            .map(move |e| (name.clone(), cell.target.clone(), e))
    });
    dense.chain(cells).collect()
}

/// Fails if the folder holds anything, so that all that is in it later is ours. Returns whether it exists.
fn refuse_unless_empty(folder: &Path) -> Result<bool, CliError> {
    if !folder.exists() {
        return Ok(false);
    }
    let mut entries = std::fs::read_dir(folder).map_err(|e| failed("list", folder, e))?;
    match entries.next() {
        None => Ok(true),
        Some(_) => {
            let message = format!("{} is not empty; give --output another folder", folder.display());
            Err(CliError::setting(message))
        }
    }
}

/// After a failure: empties a folder that was empty, removes one that was not there.
fn discard(folder: &Path, existed: bool) {
    // Failures are passed over: the error that led here is the one to report.
    if !existed {
        let _ = std::fs::remove_dir_all(folder);
        return;
    }
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let _ = std::fs::remove_dir_all(entry.path());
    }
}

/// Writes the embedded files into a new folder.
fn unpack(folder: &Path) -> Result<(), CliError> {
    std::fs::create_dir_all(folder).map_err(|e| failed("create", folder, e))?;
    for (name, bytes) in FILES {
        let path = folder.join(name);
        std::fs::write(&path, bytes).map_err(|e| failed("write", &path, e))?;
    }
    Ok(())
}

fn failed(operation: &'static str, path: &Path, error: std::io::Error) -> CliError {
    let path = path.to_path_buf();
    CliError::from(CheckpointError::Io { path, operation, error })
}

//! `secateur demo`: prunes the embedded model with several methods and compares perplexities.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::args::{Common, DemoArgs};
use super::eval::{evaluate, windows};
use super::exit::CliError;
use super::progress::Bar;
use super::{open_gpu, print, print_profile, say};
use crate::calib::SampleSpec;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::eval::{Bos, Protocol, Windows};
use crate::gpu::Gpu;
use crate::model::Spec;
use crate::prune::{Damping, DampingRule, Pattern, Propagate, Scope, WarmStart};
use crate::report::{EvalRecord, demo_table};
use crate::run::{Plan, PruneOptions};

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
    let demo = Demo {
        common,
        args,
        gpu: &gpu,
        folder,
        stop,
    };
    let rows = demo.compare().inspect_err(|_| discard(&demo.folder, existed))?;
    let json: Vec<_> = rows
        .iter()
        .map(|(method, pattern, record)| serde_json::json!({ "method": method, "pattern": pattern, "eval": record }))
        .collect();
    print(common, &json, || demo_table(&rows));
    print_profile(common, &gpu);
    Ok(())
}

struct Demo<'a> {
    common: &'a Common,
    args: &'a DemoArgs,
    gpu: &'a Gpu,
    folder: PathBuf,
    stop: &'a AtomicBool,
}

impl Demo<'_> {
    fn compare(&self) -> Result<Vec<(String, String, EvalRecord)>, CliError> {
        let model = &self.folder.join("model");
        unpack(model)?;
        let checkpoint = Checkpoint::open(model)?;
        let text = model.join("evaluation.txt");
        let windows = windows(
            &checkpoint,
            &text,
            Protocol::P1Raw,
            [CONTEXT, self.args.windows],
            Bos::Tokenizer,
        )?;
        let mut rows = vec![("dense".to_string(), String::new(), self.evaluate(model, &windows)?)];
        for pattern in [Pattern::unstructured(0.5, Scope::Matrix)?, Pattern::NM { n: 2, m: 4 }] {
            for (method, refit) in [("magnitude", 0), ("wanda", 0), ("fista", 15)] {
                let name = if refit > 0 {
                    format!("{method} + refit")
                } else {
                    method.to_string()
                };
                say(self.common, &format!("{name} at {pattern}"));
                let output = self
                    .folder
                    .join(format!("{}-{pattern}", name.replace(' ', "")).replace([' ', ':', '%'], "-"));
                self.prune(&checkpoint, method, refit, pattern, &output)?;
                rows.push((name, pattern.to_string(), self.evaluate(&output, &windows)?));
            }
        }
        Ok(rows)
    }

    fn prune(
        &self,
        checkpoint: &Checkpoint,
        method: &str,
        refit: usize,
        pattern: Pattern,
        output: &Path,
    ) -> Result<(), CliError> {
        let options = PruneOptions {
            model: checkpoint.dir().to_path_buf(),
            output: output.to_path_buf(),
            calibration: checkpoint.dir().join("calibration.txt"),
            samples: SampleSpec {
                samples: self.args.samples,
                length: CONTEXT,
                seed: 0,
                bos: None,
            },
            pattern,
            method: method.to_string(),
            warm_start: WarmStart::default(),
            refit,
            damping: Damping {
                rule: DampingRule::Own,
                fraction: 0.01,
            },
            correction: 1.0,
            propagate: Propagate::Dense,
            limit_layers: None,
            activations: None,
            max_vram: self.common.max_vram,
            max_ram: None,
            resume: false,
        };
        let plan = Plan::resolve(options, checkpoint, Spec::of(checkpoint)?, self.gpu)?;
        let mut bar = Bar::new(self.common);
        let result = crate::run::prune(&plan, checkpoint, self.gpu, &mut bar, self.stop);
        bar.finish();
        result?;
        Ok(())
    }

    fn evaluate(&self, model: &Path, windows: &Windows) -> Result<EvalRecord, CliError> {
        let checkpoint = Checkpoint::open(model)?;
        let spec = Spec::of(&checkpoint)?;
        let mut record = evaluate(self.common, self.gpu, &checkpoint, &spec, windows)?;
        record.text = "evaluation.txt".to_string();
        record.protocol = Protocol::P1Raw.id().to_string();
        Ok(record)
    }
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

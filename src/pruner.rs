//! Pruning from a program, with the defaults of the command line.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::calib::SampleSpec;
use crate::checkpoint::Checkpoint;
use crate::gpu::{AdapterChoice, Gpu, GpuOptions};
use crate::model::Spec;
use crate::prune::{MethodRow, Pattern};
use crate::report::PruneReport;
use crate::run::{
    AUTO, Asked, DEFAULT_LENGTH, DEFAULT_SAMPLES, Plan, Progress, PruneOptions, RunError, SurgeonOptions, SurgeonPlan,
    choose, method_named, prune, surgeon,
};

/// What is removed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// This fraction of the weights, above 0 and below 1.
    Sparsity(f64),
    /// All but `n` of every `m` consecutive weights of a row, as [`Pattern::NM`].
    NM {
        /// Kept of each group.
        n: usize,
        /// Length of a group, at most 16.
        m: usize,
    },
}

/// Prunes a checkpoint.
///
/// ```no_run
/// use secateur::{Pruner, Target};
///
/// let report = Pruner::open("model")?
///     .target(Target::NM { n: 2, m: 4 })
///     .calibration("text.jsonl")
///     .run("pruned")?;
/// assert!(report.totals.sparsity >= 0.5);
/// # Ok::<(), secateur::run::RunError>(())
/// ```
pub struct Pruner {
    checkpoint: Checkpoint,
    spec: Spec,
    method: Option<&'static MethodRow>,
    method_options: Vec<(String, String)>,
    target: Target,
    calibration: PathBuf,
    samples: SampleSpec,
    device: GpuOptions,
    max_ram: Option<u64>,
    resume: bool,
    progress: Box<dyn Progress>,
    stop: Arc<AtomicBool>,
}

impl Pruner {
    /// Opens the folder of a Hugging Face checkpoint of a family that is built in: by default half of its weights go, by
    /// the method that `auto` stands for.
    pub fn open(model: impl AsRef<Path>) -> Result<Self, RunError> {
        let checkpoint = Checkpoint::open(model.as_ref())?;
        let spec = Spec::of(&checkpoint)?;
        if spec.needs_bos && spec.bos.is_none() {
            let message = "config.json has no bos_token_id, without which samples are nonsense to this family: add it";
            return Err(RunError::Setting(message.into()));
        }
        let samples = SampleSpec {
            samples: DEFAULT_SAMPLES,
            length: DEFAULT_LENGTH.min(spec.max_positions),
            seed: 0,
            bos: spec.bos.filter(|_| spec.needs_bos),
        };
        Ok(Pruner {
            checkpoint,
            spec,
            method: None,
            method_options: Vec::new(),
            target: Target::Sparsity(0.5),
            calibration: PathBuf::new(),
            samples,
            device: GpuOptions::default(),
            max_ram: None,
            resume: false,
            progress: Box::new(Silent),
            stop: Arc::default(),
        })
    }

    /// The method of this name, one of [`METHODS`](crate::prune::METHODS) or `auto`. Fails if there is none.
    pub fn method(mut self, name: &str) -> Result<Self, RunError> {
        self.method = match name {
            AUTO => None,
            name => Some(method_named(name)?),
        };
        Ok(self)
    }

    /// An option that only the method has, such as `warm-start` of `fista`; checked when it runs.
    pub fn method_option(mut self, name: &str, value: &str) -> Self {
        self.method_options.push((name.into(), value.into()));
        self
    }

    /// What is removed.
    pub fn target(mut self, target: Target) -> Self {
        self.target = target;
        self
    }

    /// The text that the model is run on: `.txt`, or JSON lines with a `text` field, each also `.gz`.
    pub fn calibration(mut self, text: impl Into<PathBuf>) -> Self {
        self.calibration = text.into();
        self
    }

    /// So many samples of `length` tokens of it, drawn by `seed`.
    pub fn samples(mut self, samples: usize, length: usize, seed: u64) -> Self {
        self.samples = SampleSpec {
            samples,
            length,
            seed,
            ..self.samples
        };
        self
    }

    /// The device; by default a hardware adapter if there is one, else the CPU.
    pub fn adapter(mut self, adapter: AdapterChoice) -> Self {
        self.device.adapter = adapter;
        self
    }

    /// Limits in bytes: of device buffers, and of the resident memory of the process.
    pub fn memory(mut self, vram: Option<u64>, ram: Option<u64>) -> Self {
        (self.device.budget, self.max_ram) = (vram, ram);
        self
    }

    /// Goes on with what an earlier run left in the output.
    pub fn resume(mut self, resume: bool) -> Self {
        self.resume = resume;
        self
    }

    /// Who is told how far it is.
    pub fn progress(mut self, progress: impl Progress + 'static) -> Self {
        self.progress = Box::new(progress);
        self
    }

    /// Asked between linear layers: once it is true, the run ends with [`RunError::Interrupted`] or what says what is kept.
    pub fn stop(mut self, stop: Arc<AtomicBool>) -> Self {
        self.stop = stop;
        self
    }

    /// Prunes into `output`, a folder that is new or empty, and verifies what it wrote.
    pub fn run(mut self, output: impl Into<PathBuf>) -> Result<PruneReport, RunError> {
        let gpu = Gpu::open(self.device.clone())?;
        let options = self.options(output.into())?;
        let (checkpoint, spec) = (&self.checkpoint, self.spec.clone());
        let progress = &mut *self.progress;
        if options.method.is_global() {
            let surgeon_options = SurgeonOptions {
                refit: options.refit,
                ..SurgeonOptions::default()
            };
            let plan = SurgeonPlan::resolve(options, surgeon_options, checkpoint, spec, &gpu)?;
            return surgeon(&plan, checkpoint, &gpu, progress, &self.stop);
        }
        let plan = Plan::resolve(options, checkpoint, spec, &gpu)?;
        prune(&plan, checkpoint, &gpu, progress, &self.stop)
    }

    fn options(&self, output: PathBuf) -> Result<PruneOptions, RunError> {
        let pattern = |scope| match self.target {
            Target::Sparsity(sparsity) => Pattern::unstructured(sparsity, scope),
            // Read as on the command line, which checks it.
            Target::NM { n, m } => format!("{n}:{m}").parse(),
        };
        let chosen = self.method.unwrap_or_else(|| {
            let asked = Asked {
                pattern: pattern(Default::default()).unwrap_or(Pattern::NM { n: 2, m: 4 }),
                structure: false,
                gradients: true,
            };
            choose(&asked).method
        });
        let (model, text) = (self.checkpoint.dir().to_path_buf(), self.calibration.clone());
        if text.as_os_str().is_empty() {
            return Err(RunError::Setting("a calibration text is missing".into()));
        }
        let mut options = PruneOptions::new(model, output, text, self.samples).by(chosen);
        for (name, value) in &self.method_options {
            options.method_options.set(chosen, name, value)?;
        }
        Ok(PruneOptions {
            pattern: pattern(chosen.defaults.scope)?,
            max_vram: self.device.budget,
            max_ram: self.max_ram,
            resume: self.resume,
            ..options
        })
    }
}

/// Tells nobody.
struct Silent;

impl Progress for Silent {}

//! Evaluating from a program, with the defaults of the command line.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::checkpoint::Checkpoint;
use crate::eval::{Bos, Protocol};
use crate::gpu::{AdapterChoice, Gpu, GpuOptions};
use crate::model::{ActivationOptions, Decoder, Spec};
use crate::report::EvalRecord;
use crate::run::{DEFAULT_LENGTH, EvalText, RunError, evaluate, evaluate_against};

/// Measures the perplexity of a checkpoint on a text, and its divergence from another checkpoint.
///
/// ```no_run
/// use secateur::Evaluator;
///
/// let record = Evaluator::open("pruned")?
///     .text("wiki.test.raw")
///     .against("model")
///     .run()?;
/// println!("perplexity {:.2}", record.perplexity);
/// println!("KL divergence {:.4} nats per token", record.kl_divergence.unwrap_or_default());
/// # Ok::<(), secateur::run::RunError>(())
/// ```
pub struct Evaluator {
    checkpoint: Checkpoint,
    spec: Spec,
    text: PathBuf,
    protocol: Protocol,
    bos: Bos,
    context: usize,
    windows: usize,
    against: Option<PathBuf>,
    device: GpuOptions,
    progress: Box<dyn FnMut(usize, usize)>,
    stop: Arc<AtomicBool>,
}

impl Evaluator {
    /// Opens the folder of a Hugging Face checkpoint of a family that is built in.
    pub fn open(model: impl AsRef<Path>) -> Result<Self, RunError> {
        let checkpoint = Checkpoint::open(model.as_ref())?;
        let spec = Spec::of(&checkpoint)?;
        Ok(Evaluator {
            bos: Bos::of(&spec)?,
            context: DEFAULT_LENGTH.min(spec.max_positions),
            checkpoint,
            spec,
            text: PathBuf::new(),
            protocol: Protocol::P1,
            windows: 0,
            against: None,
            device: GpuOptions::default(),
            progress: Box::new(|_, _| ()),
            stop: Arc::default(),
        })
    }

    /// The text: `.txt`, or JSON lines with a `text` field, each also `.gz`.
    pub fn text(mut self, text: impl Into<PathBuf>) -> Self {
        self.text = text.into();
        self
    }

    /// How the text becomes tokens; by default [`Protocol::P1`].
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// Where BOS tokens stand; by default [`Bos::of`] the family.
    pub fn bos(mut self, bos: Bos) -> Self {
        self.bos = bos;
        self
    }

    /// Tokens per window; by default 2048, or what the model was made for if less.
    pub fn context(mut self, tokens: usize) -> Self {
        self.context = tokens;
        self
    }

    /// Only the first `windows` windows; 0, the default, is all.
    pub fn windows(mut self, windows: usize) -> Self {
        self.windows = windows;
        self
    }

    /// A checkpoint with the same vocabulary, such as the dense model, to measure the divergence from.
    pub fn against(mut self, model: impl Into<PathBuf>) -> Self {
        self.against = Some(model.into());
        self
    }

    /// The device; by default a hardware adapter if there is one, else the CPU.
    pub fn adapter(mut self, adapter: AdapterChoice) -> Self {
        self.device.adapter = adapter;
        self
    }

    /// Most bytes of buffers on the device; by default what it has.
    pub fn memory(mut self, vram: Option<u64>) -> Self {
        self.device.budget = vram;
        self
    }

    /// Called after each decoder layer with the number of layers done and that of all, those of both models together.
    pub fn progress(mut self, progress: impl FnMut(usize, usize) + 'static) -> Self {
        self.progress = Box::new(progress);
        self
    }

    /// Asked after each decoder layer: once it is true, the evaluation ends with [`RunError::Interrupted`].
    pub fn stop(mut self, stop: Arc<AtomicBool>) -> Self {
        self.stop = stop;
        self
    }

    /// Evaluates.
    ///
    /// Fails if there is no text, if it is shorter than a window, if a window is longer than the model's positions, and if
    /// the models have different vocabularies.
    pub fn run(self) -> Result<EvalRecord, RunError> {
        if self.text.as_os_str().is_empty() {
            return Err(RunError::Setting("a text to evaluate on is missing".into()));
        }
        let longest = self.spec.max_positions;
        if self.context > longest {
            let message = format!(
                "a window of {} tokens is beyond the model's {longest} positions",
                self.context
            );
            return Err(RunError::Setting(message));
        }
        let how = (self.protocol, self.bos);
        let text = EvalText::cut(self.checkpoint.dir(), &self.text, how, [self.context, self.windows])?;
        let gpu = Gpu::open(self.device.clone())?;
        let decoder = Decoder::new(&gpu, &self.checkpoint, &self.spec, self.context)?;
        let (mut progress, stop) = (self.progress, self.stop);
        let mut watch = |done, all| {
            progress(done, all);
            !stop.load(Ordering::Relaxed)
        };
        let Some(folder) = &self.against else {
            let options = ActivationOptions::default();
            let layers = self.spec.layers;
            return Ok(evaluate(&decoder, &text, None, &options, |done| watch(done, layers))?.0);
        };
        let other = Checkpoint::open(folder)?;
        let spec = Spec::of(&other)?;
        let reference = Decoder::new(&gpu, &other, &spec, self.context)?;
        let all = spec.layers + self.spec.layers;
        evaluate_against(&reference, &decoder, &text, |done| watch(done, all))
    }
}

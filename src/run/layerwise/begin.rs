//! How a walk begins, whatever becomes of its sums: with an output folder of its own, new or an earlier run's.

use super::plan::Plan;
use super::report::{begin_report, calibration};
use super::source::HiddenStates;
use crate::checkpoint::Checkpoint;
use crate::gpu::Gpu;
use crate::model::Decoder;
use crate::report::PruneReport;
use crate::run::RunError;
use crate::run::folder::{RunFolder, RunIdentity, RunState};
use crate::run::progress::Progress;
use crate::run::report::continued;
use crate::run::samples::TokenIds;

/// A walk before its next layer.
pub(super) struct Begun<'a> {
    pub(super) folder: RunFolder,
    pub(super) decoder: Decoder<'a>,
    /// The report so far.
    pub(super) report: PruneReport,
    /// The samples; none where their sums were saved before.
    pub(super) ids: Option<TokenIds>,
    /// What an earlier run left, and the hidden states that enter the next layer.
    pub(super) earlier: Option<(RunState, Option<HiddenStates>)>,
}

impl<'a> Begun<'a> {
    /// Takes the output folder, draws the samples, and reads what an earlier run left if this one is to resume it. `result`
    /// is the file without which an output is not complete; none for a checkpoint.
    pub(super) fn at(
        plan: &'a Plan,
        checkpoint: &'a Checkpoint,
        gpu: &'a Gpu,
        progress: &mut dyn Progress,
        result: Option<&str>,
    ) -> Result<Self, RunError> {
        let output = &plan.options.output;
        gpu.limit_stock(plan.demand.stock);
        // A bad output is refused before hours of work.
        let mut folder = RunFolder::begin(checkpoint, (output, plan.output_bytes), plan.options.resume, result)?;
        let (calibration, ids) = calibration(plan, checkpoint, progress)?;
        let identity = RunIdentity::of(checkpoint, &calibration, &plan.settings);
        let decoder = Decoder::new(gpu, checkpoint, &plan.spec, plan.options.samples.length)?;
        let mut report = begin_report(plan, checkpoint, gpu, calibration);
        let mut earlier = None;
        if let Some(state) = folder.identify(identity)? {
            report = continued(&state, report)?;
            progress.stage(&format!("resumed after {}", layers_kept(folder.done(), plan.layers)));
            let streams = state.load_activations(output, &plan.activation_options())?;
            earlier = Some((state, HiddenStates::of(streams)));
        }
        Ok(Begun {
            folder,
            decoder,
            report,
            ids,
            earlier,
        })
    }
}

/// What is kept of a walk that stopped.
pub(super) fn layers_kept(done: usize, layers: usize) -> String {
    format!("{done} of {layers} decoder layers")
}

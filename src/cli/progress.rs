//! Progress with ETA on a terminal; plain lines, one per decoder layer, where stderr is a file.

use std::io::IsTerminal;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use super::args::Common;
use super::exit::CliError;
use super::{note, print, print_profile, say};
use crate::gpu::Gpu;
use crate::report::{LinearRecord, PruneReport, prune_table};
use crate::run::{Progress, RunError};

/// Says what a plan is, plays it under a progress bar and prints its report.
pub(super) fn carry_out(
    common: &Common,
    gpu: &Gpu,
    plan: &str,
    work: impl FnOnce(&mut Bar) -> Result<PruneReport, RunError>,
) -> Result<(), CliError> {
    say(common, plan);
    let mut bar = Bar::new(common);
    let result = work(&mut bar);
    bar.finish();
    let report = result?;
    print(common, &report, || prune_table(&report))?;
    print_profile(common, gpu);
    Ok(())
}

/// Progress of a prune run.
pub(super) struct Bar {
    bar: ProgressBar,
    plain: bool,
    start: Instant,
    /// Linears, or steps, done before this run began.
    before: Option<usize>,
}

impl Bar {
    /// Hidden with `--quiet`.
    pub(super) fn new(common: &Common) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = if common.quiet || !terminal {
            ProgressBar::hidden()
        } else {
            ProgressBar::new(1)
        };
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {prefix}, {elapsed} elapsed, {eta} left  {msg}")
            .expect("the template is fixed");
        bar.set_style(style);
        bar.set_prefix("linears");
        Bar {
            bar,
            plain: !common.quiet && !terminal,
            start: Instant::now(),
            before: None,
        }
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Progress for Bar {
    fn linear(&mut self, done: usize, total: usize, record: &LinearRecord) {
        self.before.get_or_insert(done - 1);
        self.bar.set_length(total as u64);
        self.bar.set_position(done as u64);
        let [before, after] = record.errors();
        self.bar.set_message(format!(
            "layer {} {} error {before:.5} -> {after:.5}",
            record.layer, record.role
        ));
    }

    fn layer(&mut self, layer: usize, done: usize, total: usize) {
        self.bar.set_length(total as u64);
        self.bar.set_position(done as u64);
        if !self.plain {
            return;
        }
        let elapsed = self.start.elapsed().as_secs_f64();
        // Linears that an earlier run had done took no time of this one.
        let here = done.saturating_sub(*self.before.get_or_insert(0)).max(1);
        let left = elapsed / here as f64 * (total - done) as f64;
        note(&format!(
            "layer {layer} done, {done}/{total} linears, {elapsed:.0} s elapsed, {left:.0} s left"
        ));
    }

    fn step(&mut self, done: usize, total: usize, loss: f64) {
        // Steps that an earlier run had done took no time of this one.
        let before = *self.before.get_or_insert(done - 1);
        self.bar.set_prefix("steps");
        self.bar.set_length(total as u64);
        self.bar.set_position(done as u64);
        self.bar.set_message(format!("loss {loss:.4} nats a token"));
        // Ten lines, and the last.
        if self.plain && (done == total || done.is_multiple_of(total.div_ceil(10))) {
            let elapsed = self.start.elapsed().as_secs_f64();
            let left = elapsed / (done - before) as f64 * (total - done) as f64;
            note(&format!(
                "step {done} of {total}, loss {loss:.4} nats a token, {elapsed:.0} s elapsed, {left:.0} s left"
            ));
        }
    }

    fn stage(&mut self, name: &str) {
        self.bar.set_prefix("linears");
        self.bar.set_message(name.to_string());
        // What is left is told from the pace of this stage.
        self.start = Instant::now();
        self.before = None;
        if self.plain {
            note(name);
        }
    }
}

/// A bar over decoder layers of forward passes.
pub(super) fn layers(common: &Common, total: usize) -> ProgressBar {
    if common.quiet {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} layers, {elapsed} elapsed, {eta} left")
        .expect("the template is fixed");
    // indicatif hides itself where stderr is not a terminal.
    ProgressBar::new(total as u64).with_style(style)
}

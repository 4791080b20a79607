//! `secateur compare`.

use std::sync::atomic::AtomicBool;

use indicatif::ProgressBar;

use super::args::Common;
use super::compare_args::{CompareArgs, TargetArg};
use super::exit::CliError;
use super::progress::{Bar, layers};
use super::{eval, open_gpu, print, print_profile, say, settings, spec, surgeon};
use crate::checkpoint::Checkpoint;
use crate::model::Spec;
use crate::prune::{MethodRow, Pattern};
use crate::report::compare_markdown;
use crate::run::{
    AUTO, Asked, CompareOptions, CompareProgress, Progress, PruneOptions, RunError, Subject, choose, compare,
    method_named,
};

pub(super) fn run(common: &Common, args: &CompareArgs, stop: &AtomicBool) -> Result<(), CliError> {
    let checkpoint = Checkpoint::open(&args.model)?;
    let spec = spec(common, &checkpoint)?;
    let rows = rows(common, args, &spec)?;
    let texts = args
        .eval
        .iter()
        .map(|file| eval::text(&checkpoint, &spec, file, &args.windows));
    let texts = texts.collect::<Result<Vec<_>, _>>()?;
    let gpu = open_gpu(common)?;
    let options = CompareOptions {
        rows,
        surgeon: surgeon::options(&args.surgeon),
        output: args.output.clone(),
        keep: args.keep.clone(),
    };
    let subject = Subject {
        checkpoint: &checkpoint,
        spec: &spec,
        gpu: &gpu,
    };
    let report = compare(&options, subject, &texts, &mut CompareBar::new(common), stop)?;
    print(common, &report, || compare_markdown(&report))?;
    print_profile(common, &gpu);
    Ok(())
}

/// Targets, then seeds, then methods: rows to be held against one another stand together.
fn rows(common: &Common, args: &CompareArgs, spec: &Spec) -> Result<Vec<PruneOptions>, CliError> {
    let flags = (&args.inputs, &args.solve, &args.memory);
    let mut rows: Vec<PruneOptions> = Vec::new();
    for target in &args.targets {
        let pattern = |method: &str| match target {
            TargetArg::Sparsity(sparsity) => Pattern::unstructured(*sparsity, settings::scope(&args.solve, method)),
            TargetArg::Pattern(pattern) => Ok(*pattern),
        };
        let alone = [args.inputs.samples.seed];
        let seeds = if args.seeds.is_empty() { &alone[..] } else { &args.seeds };
        for seed in seeds {
            for method in &args.methods {
                let row = named(args, &method.name, pattern(&method.name)?)?;
                let settled = settings::options(common, &args.model, spec, row, flags)?;
                let mut row = PruneOptions {
                    refit: method.refit.unwrap_or(settled.refit),
                    pattern: pattern(row.name)?,
                    // Layer errors are a column of the table.
                    layer_errors: true,
                    ..settled
                };
                row.samples.seed = *seed;
                if !rows.contains(&row) {
                    rows.push(row);
                }
            }
        }
    }
    let methods: Vec<&MethodRow> = rows.iter().map(|row| row.method).collect();
    args.solve.of_methods.refuse(&methods)?;
    Ok(rows)
}

/// The method of a name: for `auto` that of the regime.
fn named(args: &CompareArgs, name: &str, pattern: Pattern) -> Result<&'static MethodRow, RunError> {
    match name {
        AUTO => {
            let regime = choose(&Asked {
                pattern,
                structure: false,
                gradients: args.inputs.statistics.is_none(),
            });
            Ok(regime.method)
        }
        name => method_named(name),
    }
}

/// Progress of a comparison: that of a prune, or of an evaluation.
pub(super) struct CompareBar<'a> {
    common: &'a Common,
    prune: Bar,
    layers: Option<ProgressBar>,
}

impl<'a> CompareBar<'a> {
    pub(super) fn new(common: &'a Common) -> Self {
        CompareBar {
            common,
            prune: Bar::new(common),
            layers: None,
        }
    }
}

impl CompareProgress for CompareBar<'_> {
    fn row(&mut self, name: &str, number: usize, rows: usize) {
        self.prune.finish();
        say(self.common, &format!("{name} ({number} of {rows})"));
        self.prune = Bar::new(self.common);
    }

    fn prune(&mut self) -> &mut dyn Progress {
        &mut self.prune
    }

    fn evaluation(&mut self, text: &str, done: usize, total: usize) {
        if done == 0 {
            self.prune.finish();
            say(self.common, &format!("evaluate on {text}"));
            self.layers = Some(layers(self.common, total));
        }
        if let Some(bar) = &self.layers {
            bar.set_position(done as u64);
            if done == total {
                bar.finish_and_clear();
            }
        }
    }
}

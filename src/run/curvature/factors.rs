//! The curvature factors of one decoder layer: summed up during its backward pass, and kept on disk between the two
//! passes of a shot, so that one layer's are in memory at a time.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::checkpoint::CheckpointError;
use crate::gpu::{Gpu, GpuError, Recording};
use crate::linalg;
use crate::model::{ActivationSite, LinearGradient, LinearId, ModelError, Spec};
use crate::prune::Damping;
use crate::prune::surgeon::{KroneckerFactor, add_weighted, input_scales, output_scale};
use crate::run::RunError;
use crate::tensor::{PanelMatrix, Tensor};

/// Which sums are gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::run) struct Wanted {
    /// Of attention.
    pub(in crate::run) attention: bool,
    /// Of the MLP.
    pub(in crate::run) mlp: bool,
    /// Of gradients too.
    pub(in crate::run) gradients: bool,
    /// Of all their linears; else only of o and down.
    pub(in crate::run) all_linears: bool,
}

impl Wanted {
    /// Of nothing.
    pub(in crate::run) const NONE: Self = Wanted {
        attention: false,
        mlp: false,
        gradients: false,
        all_linears: false,
    };

    /// Of every linear.
    pub(in crate::run) const ALL: Self = Wanted {
        attention: true,
        mlp: true,
        gradients: true,
        all_linears: true,
    };

    /// Whether of the linears that read at `site`.
    pub(in crate::run) fn at(self, site: ActivationSite) -> bool {
        let half = if site.in_mlp() { self.mlp } else { self.attention };
        half && (self.all_linears
            || matches!(
                site,
                ActivationSite::AttentionOutput | ActivationSite::MlpHidden | ActivationSite::ExpertHidden(_)
            ))
    }
}

/// A sum of outer products.
pub(in crate::run) struct Sum {
    pub(in crate::run) matrix: PanelMatrix,
    /// Rows in it.
    pub(in crate::run) tokens: usize,
}

/// Which side of the curvature a half-step renews.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::run) enum Half {
    /// G.
    Outputs,
    /// A.
    Inputs,
}

impl Half {
    /// Of the half-step of this number: outputs first, for their inputs are what K-FAC assumes to be independent of them.
    pub(in crate::run) fn of(number: usize) -> Self {
        match number % 2 {
            0 => Half::Outputs,
            _ => Half::Inputs,
        }
    }
}

/// A half-step towards the nearest Kronecker product.
pub(in crate::run) struct HalfStep {
    side: Half,
    scales: BTreeMap<LinearId, f32>,
}

/// How many tokens went by, and what a sample of them is.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::run) struct TokenCounts {
    /// Tokens of the pass, routed to an expert or not, without those of skipped samples.
    tokens: usize,
    /// Tokens of a sample; all but the last have a target.
    sequence: usize,
}

impl TokenCounts {
    /// Takes half a mean square over `tokens` tokens of what a change of a linear's weights does to the *mean* loss of a sample
    /// to the expected loss in nats a token, as the Fisher information of all tokens has it: gradients of different
    /// tokens are independent (K-FAC), a sample has `T − 1` losses, so `((T − 1)² T / (T − 1))` of it, and a linear that
    /// saw a part of the tokens weighs by that part.
    fn nats(self, tokens: usize) -> f64 {
        let share = tokens.max(1) as f64 / self.tokens.max(1) as f64;
        let losses = self.sequence.saturating_sub(1).max(1);
        (losses * self.sequence) as f64 * share
    }
}

/// Sums of one layer: `Σ x xᵀ` of every group of linears, `Σ g gᵀ` of every linear of the forward pass.
pub(in crate::run) struct LayerFactors {
    seen: TokenCounts,
    /// The linear whose tokens are counted.
    counted: Option<LinearId>,
    inputs: BTreeMap<usize, Sum>,
    outputs: BTreeMap<LinearId, Sum>,
    /// The group a linear reads with, and whether it is the first to.
    readers: BTreeMap<LinearId, (usize, bool)>,
}

/// What the factors of a layer are for.
struct Shape {
    /// Numbers and widths of the groups.
    inputs: Vec<(usize, usize)>,
    outputs: Vec<(LinearId, usize)>,
    readers: BTreeMap<LinearId, (usize, bool)>,
}

impl Shape {
    fn of(spec: &Spec, layer: usize, wanted: Wanted) -> Result<Self, ModelError> {
        let (mut inputs, mut outputs, mut readers) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (number, group) in spec.groups(layer)?.iter().enumerate() {
            if !wanted.at(group.input) {
                continue;
            }
            inputs.push((number, group.linears[0].shape[1]));
            for linear in &group.linears {
                for (id, part) in linear.ids().zip(&linear.parts) {
                    let first = readers.values().all(|(other, _)| *other != number);
                    readers.insert(id, (number, first));
                    if wanted.gradients {
                        outputs.push((id, part.rows.iter().map(|r| r.len()).sum()));
                    }
                }
            }
        }
        outputs.sort_unstable();
        Ok(Shape {
            inputs,
            outputs,
            readers,
        })
    }

    /// Channels of every sum, in the order of the file.
    fn channels(&self) -> impl Iterator<Item = usize> {
        self.inputs
            .iter()
            .map(|(_, n)| *n)
            .chain(self.outputs.iter().map(|(_, n)| *n))
    }
}

/// Bytes of a layer's sums.
pub(in crate::run) fn bytes(spec: &Spec, layer: usize, wanted: Wanted) -> Result<u64, ModelError> {
    Ok(Shape::of(spec, layer, wanted)?
        .channels()
        .map(|n| 4 * (n * n) as u64)
        .sum())
}

impl LayerFactors {
    /// Zeros.
    pub(in crate::run) fn new(
        gpu: &Gpu,
        spec: &Spec,
        [layer, sequence]: [usize; 2],
        wanted: Wanted,
    ) -> Result<Self, RunError> {
        let shape = Shape::of(spec, layer, wanted)?;
        let mut recording = Recording::new();
        let mut sum = |n| -> Result<Sum, GpuError> {
            let matrix = PanelMatrix::zeros(gpu, &mut recording, "curvature factor", n)?;
            Ok(Sum { matrix, tokens: 0 })
        };
        let inputs = shape.inputs.iter().map(|(group, n)| Ok((*group, sum(*n)?)));
        let inputs = inputs.collect::<Result<_, GpuError>>()?;
        let outputs = shape.outputs.iter().map(|(id, n)| Ok((*id, sum(*n)?)));
        let outputs = outputs.collect::<Result<_, GpuError>>()?;
        gpu.submit(recording)?;
        Ok(LayerFactors {
            seen: TokenCounts { tokens: 0, sequence },
            counted: None,
            inputs,
            outputs,
            readers: shape.readers,
        })
    }

    /// Records one batch of a group's inputs.
    pub(in crate::run) fn add_inputs(&mut self, recording: &mut Recording, gpu: &Gpu, group: usize, rows: &Tensor) {
        let sum = self.inputs.get_mut(&group).expect("a group that is wanted");
        linalg::accumulate(recording, gpu, rows, rows, &sum.matrix, true);
        sum.tokens += rows.rows();
    }

    /// Records one batch of a linear, if it is wanted.
    pub(in crate::run) fn add(&mut self, recording: &mut Recording, gpu: &Gpu, found: &LinearGradient<'_>) {
        if found.id.expert.is_none() && *self.counted.get_or_insert(found.id) == found.id {
            self.seen.tokens += found.gradient.rows();
        }
        let Some((group, first)) = self.readers.get(&found.id).copied() else {
            return;
        };
        if first {
            self.add_inputs(recording, gpu, group, found.input);
        }
        let sum = self.outputs.get_mut(&found.id).expect("a linear of the layer");
        linalg::accumulate(recording, gpu, found.gradient, found.gradient, &sum.matrix, true);
        sum.tokens += found.gradient.rows();
    }

    /// Empties one side, for [`LayerFactors::add_nearer`] to fill; the other stays.
    pub(in crate::run) fn begin_half_step(&mut self, gpu: &Gpu, side: Half) -> Result<HalfStep, RunError> {
        let mut scales = BTreeMap::new();
        match side {
            Half::Outputs => {
                for (id, (group, _)) in &self.readers {
                    let Sum { matrix, tokens } = &self.inputs[group];
                    scales.insert(*id, output_scale(gpu, matrix, *tokens)?);
                }
            }
            Half::Inputs => {
                for group in self.inputs.keys() {
                    let readers = self.readers.iter().filter(|(_, (other, _))| other == group);
                    let ids: Vec<LinearId> = readers.map(|(id, _)| *id).collect();
                    let sums: Vec<_> = ids.iter().map(|id| &self.outputs[id]).collect();
                    let sums: Vec<_> = sums.iter().map(|sum| (&sum.matrix, sum.tokens)).collect();
                    scales.extend(ids.into_iter().zip(input_scales(gpu, &sums)?));
                }
            }
        }
        let mut recording = Recording::new();
        let emptied: Vec<&mut Sum> = match side {
            Half::Outputs => self.outputs.values_mut().collect(),
            Half::Inputs => self.inputs.values_mut().collect(),
        };
        for sum in emptied {
            let n = sum.matrix.n();
            sum.matrix = PanelMatrix::zeros(gpu, &mut recording, "curvature factor", n)?;
            sum.tokens = 0;
        }
        gpu.submit(recording)?;
        Ok(HalfStep { side, scales })
    }

    /// Records one batch of a linear in a half-step.
    pub(in crate::run) fn add_nearer(
        &mut self,
        recording: &mut Recording,
        gpu: &Gpu,
        step: &HalfStep,
        found: &LinearGradient<'_>,
    ) -> Result<(), GpuError> {
        let Some((group, first)) = self.readers.get(&found.id).copied() else {
            return Ok(());
        };
        let (rows, scale) = (found.gradient.rows(), step.scales[&found.id]);
        let inputs = self.inputs.get_mut(&group).expect("a group of the layer");
        let outputs = self.outputs.get_mut(&found.id).expect("a linear of the layer");
        match step.side {
            Half::Outputs => {
                outputs.tokens += rows;
                let pair = [found.input, found.gradient];
                add_weighted(recording, gpu, pair, (&inputs.matrix, scale), &outputs.matrix)
            }
            Half::Inputs => {
                inputs.tokens += if first { rows } else { 0 };
                let pair = [found.gradient, found.input];
                add_weighted(recording, gpu, pair, (&outputs.matrix, scale), &inputs.matrix)
            }
        }
    }

    /// Completes the sums.
    pub(in crate::run) fn finish(&self, gpu: &Gpu) -> Result<(), GpuError> {
        let mut recording = Recording::new();
        for sum in self.inputs.values().chain(self.outputs.values()) {
            linalg::finish(&mut recording, &sum.matrix);
        }
        gpu.submit(recording)?.wait()
    }

    /// Whether there are sums of a group, not yet taken.
    pub(in crate::run) fn has(&self, group: usize) -> bool {
        self.inputs.contains_key(&group)
    }

    /// The inputs' side of the curvature of a group's linears, once.
    pub(in crate::run) fn take_inputs(
        &mut self,
        gpu: &Gpu,
        group: usize,
        damping: Damping,
        place: &str,
    ) -> Result<Rc<KroneckerFactor>, RunError> {
        let Sum { matrix, tokens } = self.inputs.remove(&group).expect("a group that is wanted, taken once");
        Ok(Rc::new(KroneckerFactor::prepare(gpu, matrix, tokens, damping, place)?))
    }

    /// The outputs' side of a linear's curvature, once; with an inputs' side of means over tokens its costs are the expected
    /// loss in nats a token.
    pub(in crate::run) fn take_outputs(
        &mut self,
        gpu: &Gpu,
        id: LinearId,
        damping: Damping,
        place: &str,
    ) -> Result<Rc<KroneckerFactor>, RunError> {
        let Sum { matrix, tokens } = self.outputs.remove(&id).expect("a linear of the layer, taken once");
        let side = KroneckerFactor::prepare(gpu, matrix, tokens, damping, place)?;
        Ok(Rc::new(side.times(self.seen.nats(tokens))))
    }
}

/// Where the sums of a shot are between its passes.
pub(in crate::run) struct FactorStore {
    folder: PathBuf,
    wanted: Wanted,
}

impl FactorStore {
    /// In a folder that is made anew, and goes when it is dropped.
    pub(in crate::run) fn create(folder: PathBuf, wanted: Wanted) -> Result<Self, CheckpointError> {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|e| CheckpointError::write(&folder, 0, e))?;
        Ok(FactorStore { folder, wanted })
    }

    /// What is in it.
    pub(in crate::run) fn wanted(&self) -> Wanted {
        self.wanted
    }

    fn file(&self, layer: usize) -> PathBuf {
        self.folder.join(format!("layer-{layer}.bin"))
    }

    /// Saves a layer's sums.
    pub(in crate::run) fn put(&self, gpu: &Gpu, layer: usize, factors: &LayerFactors) -> Result<(), RunError> {
        let path = self.file(layer);
        let failed = |e| CheckpointError::write(&path, 0, e);
        let mut file = BufWriter::new(File::create(&path).map_err(failed)?);
        for count in [factors.seen.tokens, factors.seen.sequence] {
            file.write_all(&(count as u64).to_le_bytes()).map_err(failed)?;
        }
        for sum in factors.inputs.values().chain(factors.outputs.values()) {
            file.write_all(&(sum.tokens as u64).to_le_bytes()).map_err(failed)?;
            for (_, panel) in sum.matrix.panels() {
                let values = panel.fetch(gpu)?;
                file.write_all(bytemuck::cast_slice(&values)).map_err(failed)?;
            }
        }
        file.flush().map_err(failed)?;
        Ok(())
    }

    /// Reads a layer's sums back.
    pub(in crate::run) fn get(&self, gpu: &Gpu, spec: &Spec, layer: usize) -> Result<LayerFactors, RunError> {
        let path = self.file(layer);
        let mut file = BufReader::new(File::open(&path).map_err(|e| failed(&path, e))?);
        let shape = Shape::of(spec, layer, self.wanted)?;
        let count = |file: &mut BufReader<File>| -> Result<usize, CheckpointError> {
            let mut count = [0; 8];
            file.read_exact(&mut count).map_err(|e| failed(&path, e))?;
            Ok(u64::from_le_bytes(count) as usize)
        };
        let seen = TokenCounts {
            tokens: count(&mut file)?,
            sequence: count(&mut file)?,
        };
        let mut sums = Vec::new();
        for n in shape.channels() {
            let tokens = count(&mut file)?;
            let matrix = PanelMatrix::upload(gpu, "curvature factor", n, |rows| -> Result<Vec<f32>, RunError> {
                let mut values = vec![0.0_f32; rows.len() * n];
                let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut values);
                file.read_exact(bytes).map_err(|e| failed(&path, e))?;
                Ok(values)
            })?;
            sums.push(Sum { matrix, tokens });
        }
        let outputs = sums.split_off(shape.inputs.len());
        Ok(LayerFactors {
            seen,
            counted: None,
            inputs: shape.inputs.iter().map(|(group, _)| *group).zip(sums).collect(),
            outputs: shape.outputs.iter().map(|(id, _)| *id).zip(outputs).collect(),
            readers: shape.readers,
        })
    }
}

fn failed(path: &Path, error: std::io::Error) -> CheckpointError {
    CheckpointError::io(path, "read", error)
}

impl Drop for FactorStore {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
#[path = "factors_tests.rs"]
mod tests;

//! The curvature factors of one decoder layer: summed up during its backward pass, and kept on disk between the two
//! passes of a shot, so that one layer's are in memory at a time.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use crate::checkpoint::CheckpointError;
use crate::gpu::{Gpu, GpuError, Recording};
use crate::linalg;
use crate::model::{LinearGradient, LinearId, ModelError, Spec};
use crate::run::RunError;
use crate::tensor::PanelMatrix;

/// A sum of outer products.
pub(super) struct Sum {
    pub(super) matrix: PanelMatrix,
    /// Rows in it.
    pub(super) tokens: usize,
}

/// Sums of one layer: `Σ x xᵀ` of every group of linears, `Σ g gᵀ` of every linear of the forward pass.
pub(in crate::run) struct LayerFactors {
    inputs: Vec<Sum>,
    outputs: BTreeMap<LinearId, Sum>,
    /// The group a linear reads with, and whether it is the first to.
    readers: BTreeMap<LinearId, (usize, bool)>,
}

/// What the factors of a layer are for.
struct Shape {
    /// Widths of the groups.
    inputs: Vec<usize>,
    outputs: Vec<(LinearId, usize)>,
    readers: BTreeMap<LinearId, (usize, bool)>,
}

impl Shape {
    fn of(spec: &Spec, layer: usize) -> Result<Self, ModelError> {
        let (mut inputs, mut outputs, mut readers) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (number, group) in spec.groups(layer)?.iter().enumerate() {
            inputs.push(group.linears[0].shape[1]);
            for linear in &group.linears {
                for (id, part) in linear.ids().zip(&linear.parts) {
                    let first = readers.values().all(|(other, _)| *other != number);
                    readers.insert(id, (number, first));
                    outputs.push((id, part.rows.iter().map(|r| r.len()).sum()));
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
        self.inputs.iter().copied().chain(self.outputs.iter().map(|(_, n)| *n))
    }
}

/// Bytes of a layer's sums.
pub(super) fn bytes(spec: &Spec, layer: usize) -> Result<u64, ModelError> {
    Ok(Shape::of(spec, layer)?.channels().map(|n| 4 * (n * n) as u64).sum())
}

impl LayerFactors {
    /// Zeros.
    pub(super) fn new(gpu: &Gpu, spec: &Spec, layer: usize) -> Result<Self, RunError> {
        let shape = Shape::of(spec, layer)?;
        let mut recording = Recording::new();
        let mut sum = |n| -> Result<Sum, GpuError> {
            let matrix = PanelMatrix::zeros(gpu, &mut recording, "curvature factor", n)?;
            Ok(Sum { matrix, tokens: 0 })
        };
        let inputs = shape.inputs.iter().map(|n| sum(*n)).collect::<Result<_, _>>()?;
        let outputs = shape.outputs.iter().map(|(id, n)| Ok((*id, sum(*n)?)));
        let outputs = outputs.collect::<Result<_, GpuError>>()?;
        gpu.submit(recording)?;
        Ok(LayerFactors {
            inputs,
            outputs,
            readers: shape.readers,
        })
    }

    /// Records one batch of a linear.
    pub(super) fn add(&mut self, recording: &mut Recording, gpu: &Gpu, found: &LinearGradient<'_>) {
        let (group, first) = self.readers[&found.id];
        let mut add = |sum: &mut Sum, rows| {
            linalg::accumulate(recording, gpu, rows, rows, &sum.matrix, true);
            sum.tokens += rows.rows();
        };
        if first {
            add(&mut self.inputs[group], found.input);
        }
        add(
            self.outputs.get_mut(&found.id).expect("a linear of the layer"),
            found.gradient,
        );
    }

    /// Completes the sums.
    pub(super) fn finish(&self, gpu: &Gpu) -> Result<(), GpuError> {
        let mut recording = Recording::new();
        for sum in self.inputs.iter().chain(self.outputs.values()) {
            linalg::finish(&mut recording, &sum.matrix);
        }
        gpu.submit(recording)?.wait()
    }

    /// The sums of a group's inputs, once.
    pub(super) fn take_inputs(&mut self, group: usize, gpu: &Gpu) -> Result<Sum, GpuError> {
        let mut recording = Recording::new();
        let matrix = PanelMatrix::zeros(gpu, &mut recording, "taken", 1)?;
        gpu.submit(recording)?;
        Ok(std::mem::replace(&mut self.inputs[group], Sum { matrix, tokens: 0 }))
    }

    /// The sums of a linear's gradients, once.
    pub(super) fn take_outputs(&mut self, id: LinearId) -> Sum {
        self.outputs.remove(&id).expect("a linear of the layer, taken once")
    }
}

/// Where the sums of a shot are between its passes.
pub(super) struct FactorStore {
    folder: PathBuf,
}

impl FactorStore {
    /// In a folder that is made anew, and goes when it is dropped.
    pub(super) fn create(folder: PathBuf) -> Result<Self, CheckpointError> {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|e| CheckpointError::write(&folder, 0, e))?;
        Ok(FactorStore { folder })
    }

    fn file(&self, layer: usize) -> PathBuf {
        self.folder.join(format!("layer-{layer}.bin"))
    }

    /// Saves a layer's sums.
    pub(super) fn put(&self, gpu: &Gpu, layer: usize, factors: &LayerFactors) -> Result<(), RunError> {
        let path = self.file(layer);
        let failed = |e| CheckpointError::write(&path, 0, e);
        let mut file = BufWriter::new(File::create(&path).map_err(failed)?);
        for sum in factors.inputs.iter().chain(factors.outputs.values()) {
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
    pub(super) fn get(&self, gpu: &Gpu, spec: &Spec, layer: usize) -> Result<LayerFactors, RunError> {
        let path = self.file(layer);
        let mut file = BufReader::new(File::open(&path).map_err(|e| failed(&path, e))?);
        let shape = Shape::of(spec, layer)?;
        let mut sums = Vec::new();
        for n in shape.channels() {
            let mut tokens = [0; 8];
            file.read_exact(&mut tokens).map_err(|e| failed(&path, e))?;
            let matrix = PanelMatrix::upload(gpu, "curvature factor", n, |rows| -> Result<Vec<f32>, RunError> {
                let mut values = vec![0.0_f32; rows.len() * n];
                let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut values);
                file.read_exact(bytes).map_err(|e| failed(&path, e))?;
                Ok(values)
            })?;
            let tokens = u64::from_le_bytes(tokens) as usize;
            sums.push(Sum { matrix, tokens });
        }
        let outputs = sums.split_off(shape.inputs.len());
        Ok(LayerFactors {
            inputs: sums,
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

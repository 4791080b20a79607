//! T4: tiny random models of every family against what transformers computes on them (fixtures of `scripts/golden.py`,
//! gradients of `scripts/golden_gradients.py`), and the
//! model room against plain f64 loops where fixtures would be too large.

mod forward;
mod gradients;
pub(crate) mod plain;
mod scores;
mod sites;
mod windows;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use secateur::checkpoint::Checkpoint;
use secateur::model::{Activations, Spec};
use secateur::tensor::DType;
use tempfile::TempDir;

/// Folders of `tests/golden/data`: every family and every switch.
fn variants() -> Vec<String> {
    let folders = std::fs::read_dir(folder("")).unwrap();
    let mut names: Vec<String> = folders
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.len() >= 28, "fixtures are missing: {names:?}");
    names
}

/// Those whose maths is Llama's alone, which [`plain`] repeats.
const PLAIN: [&str; 5] = [
    "tied_gqa_bf16",
    "untied_mha_f32",
    "odd_sizes_f16",
    "rope_llama3",
    "rope_linear_sharded",
];

/// A fixture: the checkpoint, and what transformers makes of `ids`.
struct Variant {
    name: String,
    checkpoint: Checkpoint,
    spec: Spec,
    ids: Vec<Vec<u32>>,
    expected: BTreeMap<String, Vec<f64>>,
}

impl Variant {
    fn open(name: &str) -> Self {
        Self::with_checkpoint(name, &folder(name))
    }

    /// The fixture `name` with the checkpoint in `dir`.
    fn with_checkpoint(name: &str, dir: &Path) -> Self {
        let checkpoint = Checkpoint::open(dir).unwrap();
        let spec = Spec::of(&checkpoint).unwrap();
        let bytes = std::fs::read(folder(name).join("expected.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let ids = file.tensor("ids").unwrap();
        let words: Vec<u32> = ids
            .data()
            .chunks(4)
            .map(|b| u32::from_le_bytes(b.try_into().unwrap()))
            .collect();
        let floats = file.tensors().into_iter().filter(|(_, t)| t.dtype() == Dtype::F32);
        let expected = floats
            .map(|(name, t)| (name, f64s(&DType::F32.decode(t.data()))))
            .collect();
        let ids = words.chunks(ids.shape()[1]).map(<[u32]>::to_vec).collect();
        Variant {
            name: name.to_string(),
            checkpoint,
            spec,
            ids,
            expected,
        }
    }

    fn sequence(&self) -> usize {
        self.ids[0].len()
    }

    /// The sequences repeated until there are more than one batch holds, and how often.
    fn two_batches(&self) -> (Vec<Vec<u32>>, usize) {
        let copies = (Activations::sequences_per_batch(self.sequence()) + 3).div_ceil(self.ids.len());
        (vec![self.ids.clone(); copies].concat(), copies)
    }

    /// What transformers has for this name.
    fn expected(&self, tensor: &str) -> &[f64] {
        &self.expected[tensor]
    }

    /// The residual stream that enters `layer`.
    fn entering(&self, layer: usize) -> &[f64] {
        match layer {
            0 => self.expected("embedding"),
            _ => self.expected(&format!("layers.{}", layer - 1)),
        }
    }
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/data")
        .join(name)
}

/// Bound on the relative error of the residual stream after `layers` layers.
///
/// A sum of n products in f32 is off by about `sqrt(n) eps` of its size. A layer chains four (q and k, scores, gate and
/// up, down), each taken as adding its full error to the last one's, and so do successive layers.
fn bound(spec: &Spec, layers: usize) -> f64 {
    let widest = spec.hidden.max(spec.ffn).max(spec.heads * spec.head_dim) as f64;
    4.0 * f64::from(f32::EPSILON) * widest.sqrt() * layers as f64
}

/// Bound on the relative error of logits: the final norm and the head count as a layer.
fn logits_bound(spec: &Spec) -> f64 {
    bound(spec, spec.layers + 1)
}

fn f64s(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

/// All batches.
fn values(activations: &Activations) -> Vec<f32> {
    let batches = 0..activations.batches();
    batches.flat_map(|batch| activations.read(batch).unwrap()).collect()
}

/// Root of the mean square.
fn rms(values: &[f64]) -> f64 {
    (values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64).sqrt()
}

/// A tensor to be written: name, element type, shape, values.
type Stored = (String, DType, Vec<usize>, Vec<f32>);

/// A checkpoint of one file in a new directory.
fn write(config: &[u8], tensors: &[Stored]) -> TempDir {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("config.json"), config).unwrap();
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, dtype, _, values)| dtype.encode(values))
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, dtype, shape, _), bytes)| {
        let dtype = match dtype {
            DType::F32 => Dtype::F32,
            DType::F16 => Dtype::F16,
            DType::BF16 => Dtype::BF16,
        };
        (name, TensorView::new(dtype, shape.clone(), bytes).unwrap())
    });
    serialize_to_file(views, None, &dir.path().join("model.safetensors")).unwrap();
    dir
}

/// A copy of a checkpoint whose matrices differ by about `size` of each weight.
fn perturbed(checkpoint: &Checkpoint, size: f32) -> TempDir {
    let mut data = crate::common::Data::new(7);
    let mut copy = |name: &str| {
        let view = checkpoint.tensor(name).unwrap();
        let noise = data.normal(view.elements());
        let values = view
            .to_f32()
            .iter()
            .zip(noise)
            .map(|(v, n)| v * (1.0 + size * n))
            .collect();
        (name.to_string(), view.dtype, view.shape.clone(), values)
    };
    let tensors: Vec<Stored> = checkpoint.names().map(&mut copy).collect();
    write(checkpoint.config().text(), &tensors)
}

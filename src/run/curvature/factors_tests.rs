//! Factors of whole tiny models, and what they make weights cost, against plain f64.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use safetensors::SafeTensors;

use super::*;
use crate::checkpoint::Checkpoint;
use crate::gpu::{AdapterChoice, GpuOptions};
use crate::model::{ActivationOptions, Decoder};
use crate::prune::DampingRule;
use crate::prune::surgeon::{Costs, Curvature, Grain, Saliency};
use crate::run::curvature::pass::{BackwardPass, Targets};
use crate::run::curvature::piece::pieces;

const DAMPING: f64 = 0.1;

/// Plain sums of outer products, and the rows in them.
#[derive(Default)]
struct Plain {
    sum: Vec<f64>,
    tokens: usize,
}

impl Plain {
    fn add(&mut self, values: &[f32], n: usize) {
        self.sum.resize(n * n, 0.0);
        self.tokens += values.len() / n;
        for row in values.chunks(n) {
            for (i, sums) in self.sum.chunks_mut(n).enumerate() {
                let x = f64::from(row[i]);
                sums.iter_mut().zip(row).for_each(|(sum, v)| *sum += x * f64::from(*v));
            }
        }
    }

    /// Per token and damped by each channel's own energy; the diagonal of the inverse, by elimination.
    fn inverse_diagonal(&self) -> Vec<f64> {
        let n = self.sum.len().isqrt();
        let mut rows: Vec<Vec<f64>> = (0..n)
            .map(|i| {
                let damped = |j: usize| self.sum[i * n + j] * if i == j { 1.0 + DAMPING } else { 1.0 };
                let own = (0..n).map(|j| damped(j) / self.tokens as f64);
                own.chain((0..n).map(|j| f64::from(u8::from(i == j)))).collect()
            })
            .collect();
        for k in 0..n {
            let pivot = rows[k][k];
            rows[k].iter_mut().for_each(|v| *v /= pivot);
            let top = rows[k].clone();
            for (_, row) in rows.iter_mut().enumerate().filter(|(i, _)| *i != k) {
                let factor = row[k];
                row.iter_mut().zip(&top).for_each(|(v, t)| *v -= factor * t);
            }
        }
        (0..n).map(|i| rows[i][n + i]).collect()
    }
}

fn fetched(gpu: &Gpu, sum: &Sum) -> Vec<f64> {
    let panels = sum.matrix.panels();
    panels
        .flat_map(|(_, panel)| panel.fetch(gpu).unwrap())
        .map(f64::from)
        .collect()
}

fn same(what: &str, gpu: &Gpu, found: &Sum, wanted: &Plain) {
    assert_eq!(found.tokens, wanted.tokens, "{what}: tokens");
    let found = fetched(gpu, found);
    let norm = wanted.sum.iter().map(|v| v * v).sum::<f64>().sqrt();
    let off = found
        .iter()
        .zip(&wanted.sum)
        .map(|(f, w)| (f - w) * (f - w))
        .sum::<f64>()
        .sqrt();
    assert!(off <= 1e-5 * norm, "{what}: {off:e} of {norm:e}");
}

/// Sums of whole tiny models, through the file and back, and what they make a weight cost, against plain f64 from the
/// inputs and gradients that the backward pass tells of (which `tests/golden` holds against autograd).
#[test]
fn factors_and_costs_of_tiny_models() {
    for name in ["tied_gqa_bf16", "phi3", "mixtral", "gpt_neox"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/golden/data")
            .join(name);
        let checkpoint = Checkpoint::open(&folder).unwrap();
        let spec = Spec::of(&checkpoint).unwrap();
        let bytes = std::fs::read(folder.join("expected.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let ids = file.tensor("ids").unwrap();
        let words = ids.data().chunks(4).map(|b| u32::from_le_bytes(b.try_into().unwrap()));
        let (words, length): (Vec<u32>, usize) = (words.collect(), ids.shape()[1]);
        let ids: Vec<Vec<u32>> = words.chunks(length).map(<[u32]>::to_vec).collect();
        let adapter = AdapterChoice::Cpu;
        let gpu = Gpu::open(GpuOptions {
            adapter,
            ..GpuOptions::default()
        });
        let gpu = gpu.unwrap();
        let decoder = Decoder::new(&gpu, &checkpoint, &spec, length).unwrap();
        let pass = BackwardPass {
            decoder: &decoder,
            ids: &ids,
            activations: ActivationOptions::default(),
            fisher: Targets::Next,
            layers: false,
            stop: &AtomicBool::new(false),
        };
        let mut told: BTreeMap<(usize, LinearId), [Plain; 2]> = BTreeMap::new();
        pass.run(|layer, back| {
            let mut heard = Vec::new();
            back(&mut |_: &mut Recording, found: LinearGradient<'_>| {
                heard.push((found.id, found.input.clone(), found.gradient.clone()));
                Ok(())
            })?;
            for (id, x, g) in heard {
                let [inputs, outputs] = told.entry((layer, id)).or_default();
                inputs.add(&x.fetch(&gpu)?, x.cols());
                outputs.add(&g.fetch(&gpu)?, g.cols());
            }
            Ok(())
        })
        .unwrap();
        let temp = tempfile::tempdir().unwrap();
        let store = FactorStore::create(temp.path().join("factors"), Wanted::ALL).unwrap();
        pass.factors(Wanted::ALL, |layer, factors| store.put(&gpu, layer, factors))
            .unwrap();
        for layer in 0..spec.layers {
            let mut factors = store.get(&gpu, &spec, layer).unwrap();
            assert_eq!(factors.seen.tokens, ids.len() * length, "{name}");
            for (number, group) in spec.groups(layer).unwrap().iter().enumerate() {
                let damping = Damping {
                    rule: DampingRule::Own,
                    fraction: DAMPING,
                };
                let what = |id: LinearId| format!("{name}, layer {layer}, {id:?}");
                for piece in pieces(&group.linears) {
                    let [inputs, outputs] = &told[&(layer, piece.id)];
                    same(&what(piece.id), &gpu, &factors.inputs[&number], inputs);
                    same(&what(piece.id), &gpu, &factors.outputs[&piece.id], outputs);
                }
                let shared = factors.take_inputs(&gpu, number, damping, name).unwrap();
                for piece in pieces(&group.linears) {
                    let [inputs, outputs] = &told[&(layer, piece.id)];
                    let curvature = Curvature {
                        outputs: factors.take_outputs(&gpu, piece.id, damping, name).unwrap(),
                        inputs: shared.clone(),
                    };
                    let (weight, _) = piece.weight(&gpu, &checkpoint).unwrap();
                    let costs = Costs::new(&gpu, &curvature, &weight, Saliency::Obs, Grain::Weights).unwrap();
                    let found = costs.weights().fetch(&gpu).unwrap();
                    let [g, a] = [outputs, inputs].map(Plain::inverse_diagonal);
                    // ½ w² / ([G⁻¹] [A⁻¹]) per token; T (T − 1) of it, and of all tokens those that came here.
                    let share = inputs.tokens as f64 / (ids.len() * length) as f64;
                    let nats = share * (length * (length - 1)) as f64;
                    let values = weight.fetch(&gpu).unwrap();
                    for (at, (found, w)) in found.iter().zip(values).enumerate() {
                        let (i, j) = (at / weight.cols(), at % weight.cols());
                        let wanted = 0.5 * nats * f64::from(w) * f64::from(w) / (g[i] * a[j]);
                        let off = (f64::from(*found) - wanted).abs();
                        assert!(off <= 1e-3 * wanted + 1e-12, "{}: {found} for {wanted}", what(piece.id));
                    }
                }
            }
        }
    }
}

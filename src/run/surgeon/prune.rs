//! One layer of a shot: its costs counted, and its linears pruned.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Instant;

use super::factors::{LayerFactors, Sum};
use super::found::Found;
use super::options::LineKinds;
use super::plan::SurgeonPlan;
use super::search::Weighed;
use crate::checkpoint::{Checkpoint, CheckpointWriter};
use crate::gpu::{Gpu, Recording};
use crate::model::{Decoder, LinearId, LinearSpec, ModelError, Part, Spec, Tap};
use crate::prune::Pattern;
use crate::prune::surgeon::{
    CostHistogram, Costs, Curvature, Grain, LinearLines, Lines, MetricProblem, Saliency, Side, UpdateSettings,
    column_costs, correlated_update, remove_columns, remove_rows, row_costs,
};
use crate::report::LinearRecord;
use crate::run::RunError;
use crate::run::encode::{Encoded, encode};
use crate::run::solve::in_products;
use crate::tensor::{DType, Tensor};

/// What a pattern removes as one.
pub(super) fn grain(pattern: Pattern) -> Grain {
    match pattern {
        Pattern::Unstructured { .. } => Grain::Weights,
        Pattern::NM { n, m } => Grain::Groups { n, m },
    }
}

/// A linear of the forward pass, cut out of a stored one.
pub(in crate::run) struct Piece<'l> {
    pub(in crate::run) linear: &'l LinearSpec,
    pub(in crate::run) id: LinearId,
    pub(in crate::run) part: &'l Part,
}

impl Piece<'_> {
    /// Its rows of a stored weight, as f32 on the device.
    pub(in crate::run) fn weight(&self, gpu: &Gpu, checkpoint: &Checkpoint) -> Result<(Tensor, DType), RunError> {
        let (values, dtype) = self.values(checkpoint)?;
        let cols = self.linear.shape[1];
        let weight = Tensor::upload(gpu, "weight", values.len() / cols, cols, &values)?;
        Ok((weight, dtype))
    }

    /// Outputs and inputs.
    pub(super) fn shape(&self) -> [usize; 2] {
        [self.part.rows.iter().map(|r| r.len()).sum(), self.linear.shape[1]]
    }

    /// Its rows of a stored weight.
    pub(super) fn values(&self, checkpoint: &Checkpoint) -> Result<(Vec<f32>, DType), ModelError> {
        let linear = self.linear;
        let view = checkpoint.tensor_of_shape(&linear.tensor, &linear.stored_shape())?;
        let stored = linear.rows(view.bytes, view.dtype);
        let width = linear.shape[1] * view.dtype.size();
        let ranges = self.part.rows.iter();
        let values = ranges.flat_map(|range| view.dtype.decode(&stored[range.start * width..range.end * width]));
        Ok((values.collect(), view.dtype))
    }
}

/// The linears of the forward pass in stored ones.
pub(in crate::run) fn pieces(linears: &[LinearSpec]) -> impl Iterator<Item = Piece<'_>> {
    linears.iter().flat_map(|linear| {
        linear
            .ids()
            .zip(&linear.parts)
            .map(move |(id, part)| Piece { linear, id, part })
    })
}

/// A side from its sums, and the tokens in them.
pub(in crate::run) fn side(gpu: &Gpu, sum: Sum, damping: f64, place: &str) -> Result<(Rc<Side>, usize), RunError> {
    let Sum { matrix, tokens } = sum;
    Ok((Rc::new(Side::prepare(gpu, matrix, tokens, damping, place)?), tokens))
}

/// Gives the curvature of every linear of the forward pass of a layer that has factors to `each`, with where it reads, in the
/// order of the linears; the factors are used up. Damping is that of inputs and of outputs.
pub(in crate::run) fn each_curvature(
    (gpu, spec): (&Gpu, &Spec),
    layer: usize,
    factors: &mut LayerFactors,
    damping: [f64; 2],
    mut each: impl FnMut(Tap, &Piece<'_>, &Curvature) -> Result<(), RunError>,
) -> Result<(), RunError> {
    for (number, group) in spec.groups(layer)?.iter().enumerate() {
        if !factors.has(number) {
            continue;
        }
        let place = format!("layer {layer}, {:?}", group.input);
        let (inputs, _) = side(gpu, factors.take_inputs(number), damping[0], &place)?;
        for piece in pieces(&group.linears) {
            let (outputs, _) = side(gpu, factors.take_outputs(piece.id), damping[1], &place)?;
            let curvature = Curvature {
                outputs,
                inputs: inputs.clone(),
            };
            each(group.input, &piece, &curvature)?;
        }
    }
    Ok(())
}

/// How costs are counted.
pub(in crate::run) struct Weigh {
    pub(in crate::run) pattern: Pattern,
    /// Of the factors of inputs and of outputs.
    pub(in crate::run) damping: [f64; 2],
}

impl Weigh {
    /// Costs of every linear of the forward pass of a layer, counted, in the order of [`Surgery::layer`], with the tensor
    /// it is in; the factors are used up.
    pub(in crate::run) fn histograms(
        &self,
        decoder: &Decoder<'_>,
        layer: usize,
        factors: &mut LayerFactors,
    ) -> Result<Vec<(String, CostHistogram)>, RunError> {
        let (gpu, mut out) = (decoder.gpu, Vec::new());
        each_curvature(
            (gpu, decoder.spec),
            layer,
            factors,
            self.damping,
            |_, piece, curvature| {
                let (weight, _) = piece.weight(gpu, decoder.checkpoint)?;
                let costs = Costs::new(gpu, curvature, &weight, Saliency::Obs, grain(self.pattern))?;
                out.push((piece.linear.tensor.clone(), costs.histogram(gpu, &weight)?));
                Ok(())
            },
        )?;
        Ok(out)
    }
}

impl SurgeonPlan {
    /// The costs of a layer's linears, in the order of [`Surgery::layer`]; the factors are used up.
    pub(super) fn costs(
        &self,
        decoder: &Decoder<'_>,
        layer: usize,
        factors: &mut LayerFactors,
    ) -> Result<Weighed, RunError> {
        let (gpu, weigh, mut out) = (decoder.gpu, self.weigh(), Weighed::default());
        each_curvature(
            (gpu, decoder.spec),
            layer,
            factors,
            weigh.damping,
            |_, piece, curvature| {
                let (weight, _) = piece.weight(gpu, decoder.checkpoint)?;
                let kinds = self.surgeon.lines;
                if kinds.any() {
                    out.lines.push(lines(gpu, curvature, &weight, kinds)?);
                    return Ok(());
                }
                let count = |saliency, grain| -> Result<CostHistogram, RunError> {
                    Ok(Costs::new(gpu, curvature, &weight, saliency, grain)?.histogram(gpu, &weight)?)
                };
                out.removal.push(count(Saliency::Obs, grain(weigh.pattern))?);
                if self.searches() {
                    let problem = MetricProblem::new(gpu, curvature, &weight)?;
                    let costs = problem.costs(gpu, problem.weight(), Grain::Weights)?;
                    out.alone.push(costs.histogram(gpu, &weight)?);
                }
                Ok(())
            },
        )?;
        Ok(out)
    }
}

/// What the rows and columns of a weight cost.
fn lines(gpu: &Gpu, curvature: &Curvature, weight: &Tensor, kinds: LineKinds) -> Result<LinearLines, RunError> {
    let none = Vec::new;
    Ok(LinearLines {
        shape: weight.shape(),
        rows: match kinds.rows {
            true => row_costs(gpu, curvature, weight, Saliency::Obs)?,
            false => none(),
        },
        cols: match kinds.columns {
            true => column_costs(gpu, curvature, weight, Saliency::Obs)?,
            false => none(),
        },
    })
}

/// What is to become of a linear.
#[derive(Clone, Copy)]
pub(super) enum Order<'o> {
    /// So many weights or groups of it are zero, the cheapest.
    Remove(u64),
    /// These rows and columns of it are zero.
    Lines(&'o Lines),
    /// What a search has found for the linear of this number, and what that costs: zeroed, and as found.
    Take(&'o Found, usize, [f64; 2]),
}

/// What the pruning of a layer reads.
pub(super) struct Surgery<'s> {
    pub(super) plan: &'s SurgeonPlan,
    pub(super) gpu: &'s Gpu,
    /// The dense model: layer errors are against it.
    pub(super) original: &'s Checkpoint,
    pub(super) current: &'s Checkpoint,
}

impl Surgery<'_> {
    /// Prunes a layer's linears by the next of the orders and writes them; the factors are used up.
    pub(super) fn layer<'o>(
        &self,
        layer: usize,
        factors: &mut LayerFactors,
        orders: &mut impl Iterator<Item = Order<'o>>,
        writer: &mut CheckpointWriter<'_>,
    ) -> Result<Vec<LinearRecord>, RunError> {
        let (plan, gpu) = (self.plan, self.gpu);
        let mut records = Vec::new();
        for (number, group) in plan.spec.groups(layer)?.iter().enumerate() {
            let place = format!("layer {layer}, {:?}", group.input);
            let sum = factors.take_inputs(number);
            let (inputs, tokens) = side(gpu, sum, plan.options.damping.fraction, &place)?;
            for linear in &group.linears {
                let clock = Instant::now();
                let flops = gpu.flops();
                let mut record = self.begin(layer, linear, tokens, &inputs)?;
                let mut whole = Stored::of(linear, self.current)?;
                for piece in pieces(std::slice::from_ref(linear)) {
                    let sum = factors.take_outputs(piece.id);
                    let (outputs, _) = side(gpu, sum, plan.surgeon.output_damping, &place)?;
                    let curvature = Curvature {
                        outputs,
                        inputs: inputs.clone(),
                    };
                    let order = orders.next().expect("as many as there are linears");
                    self.piece(&piece, &curvature, order, &mut whole, &mut record)?;
                }
                whole.close(&mut record);
                record.products = in_products(gpu.flops() - flops, linear.shape);
                record.seconds = clock.elapsed().as_secs_f64();
                writer.put(&linear.tensor, &whole.stored(linear))?;
                records.push(record);
            }
        }
        Ok(records)
    }

    fn begin(&self, layer: usize, linear: &LinearSpec, tokens: usize, inputs: &Side) -> Result<LinearRecord, RunError> {
        let view = (self.original).tensor_of_shape(&linear.tensor, &linear.stored_shape())?;
        Ok(LinearRecord {
            layer,
            role: linear.id.role.name().to_string(),
            expert: linear.id.expert,
            tensor: linear.tensor.clone(),
            shape: linear.shape,
            tokens,
            input_zeros: view.dtype.count_zeros(view.bytes),
            dead_inputs: inputs.dead(),
            row_blocks: 1,
            ..Default::default()
        })
    }

    fn piece(
        &self,
        piece: &Piece<'_>,
        curvature: &Curvature,
        order: Order<'_>,
        whole: &mut Stored,
        record: &mut LinearRecord,
    ) -> Result<(), RunError> {
        let (plan, gpu) = (self.plan, self.gpu);
        let (weight, dtype) = piece.weight(gpu, self.current)?;
        let (support, cost) = match order {
            Order::Lines(lines) => {
                remove_rows(gpu, &curvature.outputs, &weight, &lines.rows)?;
                remove_columns(gpu, &curvature.inputs, &weight, &lines.cols)?;
                (weight.fetch(gpu)?, None)
            }
            Order::Remove(count) => {
                let costs = Costs::new(gpu, curvature, &weight, Saliency::Obs, grain(plan.options.pattern))?;
                let support = costs.keep(gpu, &weight, count)?;
                drop(costs);
                let cost = self.update(curvature, [&weight, &support], record)?;
                (support.fetch(gpu)?, Some(cost))
            }
            Order::Take(found, number, cost) => {
                let support = found.take(gpu, number, (curvature, &weight))?;
                (support.fetch(gpu)?, Some(cost))
            }
        };
        record.damping_raised += curvature.inputs.escalations() + curvature.outputs.escalations();
        if let Some(cost) = cost {
            let sum = record.curvature_cost.get_or_insert([0.0; 2]);
            *sum = [sum[0] + cost[0], sum[1] + cost[1]];
        }
        let encoded = encode(&weight.fetch(gpu)?, &support, dtype);
        // The error that counts is that of the weights as stored, against the dense model's.
        let (dense, _) = piece.weight(gpu, self.original)?;
        let stored = Tensor::upload(
            gpu,
            "stored weight",
            weight.rows(),
            weight.cols(),
            &dtype.decode(&encoded.bytes),
        )?;
        let [lost, energy] = curvature.inputs.layer_error(gpu, &dense, &stored)?;
        whole.put(piece.part, &encoded, [lost, energy]);
        Ok(())
    }
}

impl Surgery<'_> {
    /// Zeroes a weight off its support and lets the others make up for it; what that costs by the curvature, first had
    /// it only been zeroed.
    fn update(
        &self,
        curvature: &Curvature,
        [weight, support]: [&Tensor; 2],
        record: &mut LinearRecord,
    ) -> Result<[f64; 2], RunError> {
        let (options, gpu) = (&self.plan.surgeon, self.gpu);
        let settings = UpdateSettings {
            max_correlate: options.max_correlate,
            ..Default::default()
        };
        let problem = match options.refit {
            0 => None,
            _ => {
                let before = Tensor::empty(gpu, "weight before", weight.rows(), weight.cols())?;
                let mut recording = Recording::new();
                recording.copy(&weight.slice(), &before.slice());
                gpu.submit(recording)?;
                Some(MetricProblem::new(gpu, curvature, &before)?)
            }
        };
        let mut cost = None;
        if options.max_correlate > 0 {
            let updated = correlated_update(gpu, curvature, weight, support, &settings)?;
            record.damping_raised += updated.escalations;
            record.updates_rejected += usize::from(updated.rejected);
            cost = Some([updated.zeroed, updated.objective]);
        }
        if let Some(problem) = problem {
            problem.enter(gpu, weight)?;
            let found = problem.refit(gpu, [weight, support], options.refit)?;
            problem.leave(gpu, &found.weight)?;
            let mut recording = Recording::new();
            recording.copy(&found.weight.slice(), &weight.slice());
            gpu.submit(recording)?;
            cost = Some([cost.map_or(found.before, |c| c[0]), found.after]);
        }
        Ok(cost.expect("a plan has an update or a refit"))
    }
}

/// A linear as it will be stored, filled piece by piece.
pub(super) struct Stored {
    /// `[outputs, inputs]` elements.
    bytes: Vec<u8>,
    dtype: DType,
    width: usize,
    zeros: usize,
    raised: usize,
    saturated: usize,
    lost: f64,
    energy: f64,
}

impl Stored {
    pub(super) fn of(linear: &LinearSpec, checkpoint: &Checkpoint) -> Result<Self, RunError> {
        let view = checkpoint.tensor_of_shape(&linear.tensor, &linear.stored_shape())?;
        Ok(Stored {
            bytes: vec![0; view.bytes.len()],
            dtype: view.dtype,
            width: linear.shape[1] * view.dtype.size(),
            zeros: 0,
            raised: 0,
            saturated: 0,
            lost: 0.0,
            energy: 0.0,
        })
    }

    pub(super) fn put(&mut self, part: &Part, encoded: &Encoded, [lost, energy]: [f64; 2]) {
        let mut from = 0;
        for range in &part.rows {
            let bytes = range.len() * self.width;
            self.bytes[range.start * self.width..][..bytes].copy_from_slice(&encoded.bytes[from..from + bytes]);
            from += bytes;
        }
        self.zeros += encoded.zeros;
        self.raised += encoded.raised;
        self.saturated += encoded.saturated;
        self.lost += lost;
        self.energy += energy;
    }

    /// What the file holds.
    pub(super) fn stored<'b>(&'b self, linear: &LinearSpec) -> Cow<'b, [u8]> {
        linear.stored(&self.bytes, self.dtype)
    }

    fn close(&self, record: &mut LinearRecord) {
        let [rows, cols] = record.shape;
        record.zeros = self.zeros;
        record.raised = self.raised;
        record.saturated = self.saturated;
        record.sparsity = self.zeros as f64 / (rows * cols) as f64;
        // A weight of zeros has no energy to lose.
        record.error_after = if self.energy > 0.0 {
            self.lost / self.energy
        } else {
            0.0
        };
        record.error_before = record.error_after;
    }
}

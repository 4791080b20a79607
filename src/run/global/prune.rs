//! One layer of a shot: its linears pruned.

use std::time::Instant;

use super::found::SolutionStore;
use super::plan::SurgeonPlan;
use crate::checkpoint::{Checkpoint, CheckpointWriter, encode};
use crate::gpu::{Gpu, Recording};
use crate::model::LinearSpec;
use crate::ops::dense;
use crate::prune::surgeon::{
    Costs, Curvature, KroneckerFactor, MetricProblem, RemovedLines, Saliency, UpdateSettings, correlated_update,
    remove_columns, remove_rows,
};
use crate::report::LinearRecord;
use crate::run::RunError;
use crate::run::curvature::factors::LayerFactors;
use crate::run::curvature::piece::{LinearSlice, Stored, pieces};
use crate::run::curvature::weigh::grain;
use crate::run::report::in_products;
use crate::tensor::Tensor;

/// What is to become of a linear.
#[derive(Clone, Copy)]
pub(in crate::run) enum LinearDecision<'o> {
    /// So many weights or groups of it are zero, the cheapest.
    Remove(u64),
    /// These rows and columns of it are zero.
    Lines(&'o RemovedLines),
    /// What a search has found for the linear of this number, and what that costs: zeroed, and as found.
    Take(&'o SolutionStore, usize, [f64; 2]),
}

/// What the pruning of a layer reads.
pub(in crate::run) struct Surgery<'s> {
    pub(in crate::run) plan: &'s SurgeonPlan,
    pub(in crate::run) gpu: &'s Gpu,
    /// The dense model: layer errors are against it.
    pub(in crate::run) original: &'s Checkpoint,
    pub(in crate::run) current: &'s Checkpoint,
}

impl Surgery<'_> {
    /// Prunes a layer's linears by the next of the orders and writes them; the factors are used up.
    pub(in crate::run) fn layer<'o>(
        &self,
        layer: usize,
        factors: &mut LayerFactors,
        orders: &mut impl Iterator<Item = LinearDecision<'o>>,
        writer: &mut CheckpointWriter<'_>,
    ) -> Result<Vec<LinearRecord>, RunError> {
        let (plan, gpu) = (self.plan, self.gpu);
        let mut records = Vec::new();
        for (number, group) in plan.spec.groups(layer)?.iter().enumerate() {
            let place = format!("layer {layer}, {:?}", group.input);
            let inputs = factors.take_inputs(gpu, number, plan.damping()[0], &place)?;
            for linear in &group.linears {
                let clock = Instant::now();
                let flops = gpu.flops();
                let mut record = self.begin(layer, linear, &inputs)?;
                let mut whole = Stored::of(linear, self.current)?;
                for piece in pieces(std::slice::from_ref(linear)) {
                    let curvature = Curvature {
                        outputs: factors.take_outputs(gpu, piece.id, plan.damping()[1], &place)?,
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

    fn begin(&self, layer: usize, linear: &LinearSpec, inputs: &KroneckerFactor) -> Result<LinearRecord, RunError> {
        let view = (self.original).tensor_of_shape(&linear.tensor, &linear.stored_shape())?;
        let input_zeros = view.dtype.count_zeros(view.bytes);
        self.original.release(&linear.tensor);
        Ok(LinearRecord {
            layer,
            role: linear.id.role.name().to_string(),
            expert: linear.id.expert,
            tensor: linear.tensor.clone(),
            shape: linear.shape,
            tokens: inputs.tokens(),
            input_zeros,
            dead_inputs: inputs.dead(),
            row_blocks: 1,
            ..Default::default()
        })
    }

    fn piece(
        &self,
        piece: &LinearSlice<'_>,
        curvature: &Curvature,
        order: LinearDecision<'_>,
        whole: &mut Stored,
        record: &mut LinearRecord,
    ) -> Result<(), RunError> {
        let (plan, gpu) = (self.plan, self.gpu);
        let (weight, dtype) = piece.weight(gpu, self.current)?;
        let (support, cost) = match order {
            LinearDecision::Lines(lines) => {
                let zeros = weight.fetch(gpu)?;
                remove_rows(gpu, &curvature.outputs, &weight, &lines.rows)?;
                remove_columns(gpu, &curvature.inputs, &weight, &lines.cols)?;
                // Lines make up for each other; single weights that were zero stay so.
                let free: Vec<f32> = zeros.iter().map(|v| f32::from(u8::from(*v != 0.0))).collect();
                let free = Tensor::upload(gpu, "free weights", weight.rows(), weight.cols(), &free)?;
                let mut recording = Recording::new();
                dense::multiply(&mut recording, &free, &weight);
                gpu.submit(recording)?;
                (weight.fetch(gpu)?, None)
            }
            LinearDecision::Remove(count) => {
                let costs = Costs::new(gpu, curvature, &weight, Saliency::Obs, grain(plan.options.pattern))?;
                let support = costs.keep(gpu, &weight, count)?;
                drop(costs);
                let cost = self.update(curvature, [&weight, &support], record)?;
                (support.fetch(gpu)?, Some(cost))
            }
            LinearDecision::Take(found, number, cost) => {
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

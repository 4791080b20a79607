//! What is alive at each turn of the walk through one decoder layer. Follows `walk`, `source` and `solve` step by step:
//! whoever keeps something longer there, or frees it earlier, must say so here.

use super::RunError;
use super::permute::channels;
use super::plan::{PruneOptions, Sums};
use super::source::{done_after, drifts};
use crate::gpu::Gpu;
use crate::model::{Group, LinearId, LinearSpec, Norm, QkNorm, Spec, Tap};
use crate::ops::prox::OBS_COLS;
use crate::prune::{Admm, Allocation, Method, Needs, Propagate, Within};
use crate::tensor::DType;

/// Matrices of a linear's size alive in a refit: weight, scaled weight, target and correction of the problem,
/// weight and support of the solution, then the refitted weight, product, residual and direction.
const REFIT: usize = 10;
/// The same in a solve that knows norms alone: the weight, scaled too, the scores, the solution and its support.
const NORMS: u64 = 5;

/// One turn: bytes alive at its worst moment, most of them in proportion to something that can be chosen.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    /// What happens, for advice.
    pub(super) what: String,
    /// Weights of the layer on the device.
    pub(super) weights: u64,
    /// Gram matrices.
    pub(super) grams: u64,
    /// Bytes per row of a batch of activations.
    pub(super) row: u64,
    /// Number of matrices of a block of the linear being solved.
    pub(super) matrices: u64,
    /// Bytes of such a matrix, unless it is cut.
    pub(super) matrix: u64,
    /// Beside the device: host memory, and that per row of a batch.
    pub(super) heap: u64,
    pub(super) heap_row: u64,
    /// Streams of activations.
    pub(super) streams: u64,
}

impl Moment {
    /// Bytes on the device with batches of `rows` rows and solver matrices of at most `limit` bytes.
    pub(super) fn device(&self, rows: usize, limit: u64) -> u64 {
        self.weights + self.grams + self.row * rows as u64 + self.matrices * self.matrix.min(limit)
    }

    /// Bytes beside the device but for the streams.
    pub(super) fn host(&self, rows: usize) -> u64 {
        self.heap + self.heap_row * rows as u64
    }
}

/// A linear of the forward pass, in which copies of the layer it is.
struct Held {
    id: LinearId,
    bytes: u64,
    dense: bool,
    pruned: bool,
    /// Whether the pruned layer has one of its own.
    replaced: bool,
}

/// The walk through one layer.
pub(super) struct Layer<'a> {
    spec: &'a Spec,
    options: &'a PruneOptions,
    method: &'a dyn Method,
    /// Bytes of a stored weight.
    stored: u64,
    /// Whether the next batch is uploaded while the device is busy.
    early: bool,
    /// Whether the device keeps weights in f32, as the problems want them.
    as_f32: bool,
    /// What is summed up of the inputs.
    needs: Needs,
    held: Vec<Held>,
    groups: Vec<Group>,
    moments: Vec<Moment>,
}

impl<'a> Layer<'a> {
    /// Decoder layer `layer`, whose weights are stored in `stored` bytes each.
    pub(super) fn new(
        spec: &'a Spec,
        options: &'a PruneOptions,
        gpu: &Gpu,
        [layer, stored]: [usize; 2],
        method: &'a dyn Method,
    ) -> Result<Self, RunError> {
        let on_device = if gpu.in_host_memory() { 4 } else { stored };
        let mut held = Vec::new();
        for linear in spec.linears_of(layer)? {
            for part in &linear.parts {
                let rows: usize = part.rows.iter().map(|range| range.len()).sum();
                held.push(Held {
                    id: LinearId {
                        role: part.role,
                        expert: linear.id.expert,
                    },
                    bytes: (rows * linear.shape[1] * on_device) as u64,
                    dense: options.propagate != Propagate::Pruned || options.within == Within::Layer,
                    pruned: true,
                    replaced: false,
                });
            }
        }
        Ok(Layer {
            spec,
            options,
            method,
            stored: stored as u64,
            early: !gpu.is_host(),
            as_f32: gpu.is_host() || stored == 4,
            needs: options.needs(method),
            held,
            groups: spec.groups(layer)?,
            moments: Vec::new(),
        })
    }

    /// All turns in order.
    pub(super) fn moments(mut self) -> Vec<Moment> {
        let groups = std::mem::take(&mut self.groups);
        if matches!(self.options.sums, Sums::Loaded(_)) {
            self.held.clear();
            groups.iter().for_each(|group| self.loaded(group));
            return self.moments;
        }
        let largest = self.held.iter().map(|h| h.bytes).max().unwrap_or(0);
        // A linear is decoded to f32 on its way to the host executor.
        self.note("loading the layer", |m| m.heap = largest);
        if self.options.captures_at_once(&groups) {
            self.at_once(&groups);
            return self.moments;
        }
        let (mlp, attention): (Vec<_>, Vec<_>) = groups.iter().partition(|g| g.input.in_mlp());
        for group in attention {
            self.group(group, self.entering());
        }
        let side_by_side = self.options.within == Within::Layer;
        let two = !self.spec.parallel
            && match self.options.propagate {
                Propagate::Dense => !side_by_side,
                Propagate::Pruned => side_by_side,
                Propagate::Local | Propagate::Both => true,
            };
        let streams = if two { 2 } else { self.entering() };
        if !self.spec.parallel {
            let row = self.attention_row();
            self.pass("the attention half", row, streams);
            self.held.retain(|h| h.id.role.in_mlp());
        }
        for group in mlp {
            self.group(group, streams);
        }
        let row = match self.spec.parallel {
            true => self.attention_row() + self.mlp_row(),
            false => self.mlp_row(),
        };
        self.pass("the MLP half", row, streams);
        self.moments
    }

    /// All inputs captured in one pass, the linears solved side by side, then a pass through the whole layer.
    fn at_once(&mut self, groups: &[Group]) {
        let squares = match self.needs {
            Needs::Gram => 0,
            // Each input's squares, before they are added up.
            Needs::Norms => groups.iter().map(|g| self.spec.width(g.input) as u64).sum(),
        };
        let mlp = self.normed(Norm::Mlp, self.spec.hidden) + 2 * self.spec.ffn as u64;
        let row = self.attention_row() + 4 * (mlp + squares);
        let mut grams: u64 = groups.iter().map(|group| self.sums(group)).sum();
        let heap_row = if self.exact() { 0 } else { 4 * self.spec.hidden as u64 };
        self.note("capture of a decoder layer", |m| {
            (m.grams, m.row, m.heap_row) = (grams, row, heap_row);
        });
        let dense = self.options.propagate == Propagate::Dense;
        for held in &mut self.held {
            (held.dense, held.pruned) = (dense, !dense);
        }
        for group in groups {
            self.solve(group, grams, 1);
            grams -= self.sums(group);
            self.replace(group);
        }
        let row = self.attention_row() + self.mlp_row();
        self.pass("the decoder layer", row, 1);
    }

    /// Bytes of a group's sums, without those of a drift.
    fn sums(&self, group: &Group) -> u64 {
        let n = self.spec.width(group.input) as u64;
        match self.needs {
            Needs::Gram => 4 * n * n,
            Needs::Norms => 4 * n,
        }
    }

    /// The group's linears are on the device as pruned, if anything reads them.
    fn replace(&mut self, group: &Group) {
        let ids: Vec<LinearId> = group.linears.iter().flat_map(|l| l.ids()).collect();
        for held in self.held.iter_mut().filter(|h| ids.contains(&h.id)) {
            held.replaced = held.pruned;
        }
    }

    /// Streams that enter the layer.
    fn entering(&self) -> u64 {
        match self.options.propagate {
            Propagate::Both => 2,
            _ => 1,
        }
    }

    fn weights(&self) -> u64 {
        let copies = |h: &Held| u64::from(h.dense || h.pruned && !h.replaced) + u64::from(h.pruned && h.replaced);
        self.held.iter().map(|h| h.bytes * copies(h)).sum()
    }

    fn note(&mut self, what: &str, set: impl FnOnce(&mut Moment)) {
        let mut moment = Moment {
            what: what.to_string(),
            weights: self.weights(),
            grams: 0,
            row: 0,
            matrices: 0,
            matrix: 0,
            heap: 0,
            heap_row: 0,
            streams: self.entering(),
        };
        set(&mut moment);
        self.moments.push(moment);
    }

    /// A forward pass of batches that are read back: once by the executor, once for whom they are for. Where another batch
    /// is stored or fetched meanwhile, that is encoded or decoded beside them.
    fn pass(&mut self, what: &str, row: u64, streams: u64) {
        let copies = if self.early && !self.exact() { 3 } else { 2 };
        let heap_row = copies * 4 * self.spec.hidden as u64;
        self.note(what, |m| (m.row, m.heap_row, m.streams) = (row, heap_row, streams));
    }

    /// Whether streams are in memory as they are; half types and what is in a file are decoded first.
    fn exact(&self) -> bool {
        self.options.max_ram.is_none() && self.options.activations.is_none_or(|dtype| dtype == DType::F32)
    }

    /// Sums are read, not captured: there is no forward pass, so no weights, activations or streams.
    fn loaded(&mut self, group: &Group) {
        let n = self.spec.width(group.input) as u64;
        self.note(&format!("reading the sums at {:?}", group.input), |m| {
            (m.grams, m.heap, m.streams) = (4 * n * n, 4 * n * n, 0);
        });
        self.measure(group);
        self.solve(group, 4 * n * n, 0);
    }

    fn group(&mut self, group: &Group, streams: u64) {
        let propagate = self.options.propagate;
        let n = self.spec.width(group.input) as u64;
        let corrected = drifts(self.spec, self.options, group.input) && self.needs == Needs::Gram;
        let grams = if corrected { 3 } else { 1 } * self.sums(group);
        let captured = if corrected { 2 } else { 1 };
        // When the next batch is fetched, the stream that was read and what was made of it are still there.
        let fetched = if self.early {
            4 * (2 * self.spec.hidden as u64 + n)
        } else {
            0
        };
        let squares = if self.needs == Needs::Norms { 4 * n } else { 0 };
        let row = (self.tap_row(group.input) + squares).max(fetched) * captured;
        let what = format!("capture at {:?}", group.input);
        let heap_row = if self.exact() { 0 } else { 4 * self.spec.hidden as u64 };
        self.note(&what, |m| {
            (m.grams, m.row, m.heap_row, m.streams) = (grams, row, heap_row, streams);
        });
        if let Some(expert) = done_after(group.input) {
            for held in self
                .held
                .iter_mut()
                .filter(|h| h.id.role.in_mlp() && h.id.expert == expert)
            {
                match propagate {
                    Propagate::Dense => held.pruned = false,
                    Propagate::Local | Propagate::Pruned => held.dense = false,
                    Propagate::Both => {}
                }
            }
        }
        if self.options.sums == Sums::Saved {
            return;
        }
        self.measure(group);
        self.solve(group, grams, streams);
        self.replace(group);
    }

    /// How redundant the group's linears are, in the pass before: the problem's four matrices, what is removed and
    /// that times the Gram, and rows of the Gram.
    fn measure(&mut self, group: &Group) {
        if self.options.allocates() != Allocation::Lsa {
            return;
        }
        let n = self.spec.width(group.input) as u64;
        for linear in &group.linears {
            let bytes = 4 * (linear.shape[0] * linear.shape[1]) as u64;
            let what = format!("measuring `{}`", linear.tensor);
            self.note(&what, |m| {
                (m.grams, m.matrices, m.matrix) = (4 * n * (n + n.min(OBS_COLS as u64)), 6, bytes);
            });
        }
    }

    /// The group's linears one by one, beside Grams of `grams` bytes.
    fn solve(&mut self, group: &Group, grams: u64, streams: u64) {
        let corrected = drifts(self.spec, self.options, group.input);
        let bytes = |l: &LinearSpec| (l.shape[0] * l.shape[1]) as u64;
        let n = self.spec.width(group.input) as u64;
        let permuted = self.options.permutes() && channels(self.spec, group.input).is_some();
        let loaded = matches!(self.options.sums, Sums::Loaded(_));
        let (mut solved, mut uploaded) = (0, 0);
        for linear in &group.linears {
            solved += bytes(linear) * self.stored;
            let what = format!("solving `{}`", linear.tensor);
            let refit = if self.options.refit > 0 { REFIT } else { 0 };
            let (mut matrices, mut squares) = (self.method.workspace().max(refit), self.method.squares());
            if permuted {
                // Another problem is solved first, and the statistics are put in order one by one.
                let search = Admm::brief();
                (matrices, squares) = (matrices.max(search.workspace()), squares.max(search.squares()).max(1));
            }
            // Solved on the weight that the device has: where it is in one piece, in its own order, and in f32. A limit may cut it.
            let no_limit = self.options.max_ram.is_none() && self.options.max_vram.is_none();
            let shared = linear.whole().is_some() && !permuted && !loaded && self.as_f32 && no_limit;
            let matrices = match self.needs {
                Needs::Gram => matrices as u64 - u64::from(!corrected) - u64::from(shared),
                Needs::Norms => NORMS - u64::from(shared),
            };
            let squares = squares as u64 * n * n * 4;
            self.note(&what, |m| {
                (m.grams, m.matrices, m.matrix) = (grams + squares, matrices, 4 * bytes(linear));
                (m.heap, m.streams) = (solved, streams);
                m.weights += uploaded;
            });
            if linear.whole().is_some() && !permuted && self.needs == Needs::Gram {
                uploaded += bytes(linear) * if self.as_f32 { 4 } else { self.stored };
            }
            if permuted {
                let what = format!("permuting what `{}` reads", linear.tensor);
                // The linear in both orders, and copies of one whose outputs follow.
                let follower = self.follower(group.input) * self.stored;
                self.note(&what, |m| {
                    (m.grams, m.heap, m.streams) = (grams, 2 * solved + 3 * follower, streams);
                });
            }
        }
    }

    /// Weights of the largest linear of the layer that an order of the inputs at a tap may concern.
    fn follower(&self, tap: Tap) -> u64 {
        let width = self.spec.width(tap);
        let fused = match tap {
            Tap::AttentionOutput => width + 2 * self.spec.kv_heads * self.spec.head_dim,
            _ => 2 * width,
        };
        (fused * self.spec.hidden) as u64
    }

    fn normed(&self, norm: Norm, width: usize) -> u64 {
        if self.spec.has_norm(norm) { width as u64 } else { 0 }
    }

    /// Values per row alive in attention, from the stream that enters to the heads' output.
    fn heads_row(&self) -> u64 {
        let spec = self.spec;
        let (q, kv) = (spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
        let norms = if spec.qk_norm == QkNorm::None { 0 } else { q + kv };
        (spec.hidden + 2 * q + 2 * kv + norms) as u64 + self.normed(Norm::Attention, spec.hidden)
    }

    /// Bytes per row of the inputs of a group, from the stream its half reads.
    fn tap_row(&self, tap: Tap) -> u64 {
        let hidden = self.spec.hidden as u64;
        let width = self.spec.width(tap) as u64;
        let values = match tap {
            Tap::AttentionInput => hidden + self.normed(Norm::Attention, self.spec.hidden),
            Tap::AttentionOutput => self.heads_row(),
            Tap::MlpInput | Tap::Output => hidden + self.normed(Norm::Mlp, self.spec.hidden),
            Tap::MlpHidden => hidden + self.normed(Norm::Mlp, self.spec.hidden) + 2 * width,
            // As if every token went through the expert.
            Tap::ExpertInput(_) => 3 * hidden,
            Tap::ExpertHidden(_) => 3 * hidden + 2 * width,
        };
        4 * values
    }

    fn attention_row(&self) -> u64 {
        let hidden = self.spec.hidden;
        let scaled = if self.spec.residual_scale != 1.0 || self.spec.has_norm(Norm::AttentionOut) {
            1
        } else {
            0
        };
        4 * (self.heads_row() + (hidden * (1 + scaled)) as u64 + self.normed(Norm::AttentionOut, hidden))
    }

    fn mlp_row(&self) -> u64 {
        let (spec, hidden) = (self.spec, self.spec.hidden as u64);
        let sparse = self.held.iter().any(|h| h.id.expert.is_some());
        let inner = match spec.experts {
            // The sum, and every expert's rows.
            Some(experts) if sparse => hidden + experts.per_token as u64 * 2 * (hidden + experts.ffn as u64),
            _ => 2 * spec.ffn as u64,
        };
        let scaled = if spec.residual_scale != 1.0 || spec.has_norm(Norm::MlpOut) {
            hidden
        } else {
            0
        };
        4 * (hidden + self.normed(Norm::Mlp, spec.hidden) + inner + scaled + self.normed(Norm::MlpOut, spec.hidden))
    }
}

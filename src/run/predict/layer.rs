//! What is alive at each turn of the walk through one decoder layer. Follows `walk`, `source` and `solve` step by step:
//! whoever keeps something longer there, or frees it earlier, must say so here.

use super::resident::Process;
use crate::gpu::Gpu;
use crate::model::{ActivationSite, Group, LinearId, LinearSpec, Norm, QkNorm, Spec};
use crate::ops::prox::OBS_COLS;
use crate::prune::{Admm, Allocation, Method, Needs, Propagate, Within};
use crate::run::RunError;
use crate::run::options::{PruneOptions, StatisticsSource};
use crate::run::order::{channels, done_after, drifts};
use crate::tensor::DType;

/// Matrices of a linear's size alive in a refit: weight, scaled weight, target and correction of the problem,
/// weight and support of the solution, then the refitted weight, product, residual and direction.
const REFIT: usize = 10;
/// The same in a solve that knows norms alone: the weight, scaled too, the scores, the solution and its support.
const NORMS: u64 = 5;

/// Values read back at a time.
pub(in crate::run) const SAVED_PIECE: usize = 1 << 18;

/// One turn: bytes alive at its worst moment, most of them in proportion to something that can be chosen.
#[derive(Clone, Debug)]
pub(in crate::run) struct Moment {
    /// What happens, for advice.
    pub(in crate::run) what: String,
    /// Weights of the layer on the device.
    pub(in crate::run) weights: u64,
    /// Gram matrices.
    pub(in crate::run) grams: u64,
    /// Bytes per row of a batch of activations.
    pub(in crate::run) row: u64,
    /// Number of matrices of a block of the linear being solved.
    pub(in crate::run) matrices: u64,
    /// Bytes of such a matrix, unless it is cut.
    pub(in crate::run) matrix: u64,
    /// Beside the device: host memory, and that per row of a batch.
    pub(in crate::run) heap: u64,
    pub(in crate::run) heap_row: u64,
    /// Streams of activations.
    pub(in crate::run) streams: u64,
}

impl Moment {
    /// Bytes on the device with batches of `rows` rows and solver matrices of at most `limit` bytes.
    pub(in crate::run) fn device(&self, rows: usize, limit: u64) -> u64 {
        self.weights + self.grams + self.row * rows as u64 + self.matrices * self.matrix.min(limit)
    }

    /// Bytes beside the device but for the streams.
    pub(in crate::run) fn host(&self, rows: usize) -> u64 {
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
pub(in crate::run) struct Layer<'a> {
    spec: &'a Spec,
    process: &'a Process,
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
    pub(in crate::run) fn new(
        (spec, process): (&'a Spec, &'a Process),
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
            process,
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
    pub(in crate::run) fn moments(mut self) -> Vec<Moment> {
        let groups = std::mem::take(&mut self.groups);
        if matches!(self.options.sums, StatisticsSource::Loaded(_)) {
            self.held.clear();
            groups.iter().for_each(|group| self.loaded(group));
            return self.moments;
        }
        self.embedding();
        // The pages of a linear, and what it is decoded to on its way to the host executor.
        let linear = |g: &Group| g.linears.iter().map(|l| (l.shape[0] * l.shape[1]) as u64).max();
        let largest = groups.iter().filter_map(linear).max().unwrap_or(0);
        let decoded = if self.early { 0 } else { 4 };
        let heap = largest * (self.stored + decoded);
        self.note("loading the layer", |m| m.heap = heap);
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
            let row = attention_row(self.spec);
            self.pass("the attention half", row, streams);
            self.held.retain(|h| h.id.role.in_mlp());
        }
        for group in mlp {
            self.group(group, streams);
        }
        let row = match self.spec.parallel {
            true => attention_row(self.spec) + mlp_row(self.spec, self.sparse()),
            false => mlp_row(self.spec, self.sparse()),
        };
        self.pass("the MLP half", row, streams);
        self.moments
    }

    /// All inputs captured in one pass, the linears solved side by side, then a pass through the whole layer.
    fn at_once(&mut self, groups: &[Group]) {
        let inputs: u64 = groups.iter().map(|g| self.spec.width(g.input) as u64).sum();
        let squares = match self.needs {
            Needs::Gram => 0,
            // Each input's squares, before they are added up.
            Needs::Norms => inputs,
        };
        let mlp = normed(self.spec, Norm::Mlp) + 2 * self.spec.ffn as u64;
        let through = attention_row(self.spec) + 4 * mlp;
        let row = match self.early {
            true => through + 4 * squares,
            // There only the inputs are left when they are added up.
            false => through.max(4 * (inputs + squares)),
        };
        let mut grams: u64 = groups.iter().map(|group| self.sums(group)).sum();
        let heap_row = self.captured_row();
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
        let row = attention_row(self.spec) + mlp_row(self.spec, false);
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

    /// Rows of the embedding, as stored and as a stream that is read back.
    fn embedding(&mut self) {
        let hidden = self.spec.hidden as u64;
        let held = std::mem::take(&mut self.held);
        let heap_row = (8 + self.stored) * hidden;
        self.note("embedding", |m| {
            (m.row, m.heap_row, m.streams) = (8 * hidden, heap_row, 1)
        });
        self.held = held;
    }

    /// A forward pass of batches that are read back: once by the executor, once for whom they are for, and once as they are
    /// stored, where that is something else.
    fn pass(&mut self, what: &str, row: u64, streams: u64) {
        let copies = if self.exact() { 2 } else { 3 };
        let heap_row = (copies * 4 * self.spec.hidden as u64).max(self.process.packed_row(self.spec));
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
        let heap_row = self.captured_row();
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
        if self.options.sums == StatisticsSource::Saved {
            // Read back twice, in pieces, and once as bytes.
            let piece = 4 * (n * n).min(SAVED_PIECE.max(n as usize) as u64);
            self.note(&format!("saving the sums at {:?}", group.input), |m| {
                (m.grams, m.heap, m.streams) = (grams, 3 * piece, streams);
            });
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
        let loaded = matches!(self.options.sums, StatisticsSource::Loaded(_));
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
            let packed = self.process.packed(linear.shape[0] as u64, linear.shape[1]);
            self.note(&what, |m| {
                (m.grams, m.matrices, m.matrix) = (grams + squares, matrices, 4 * bytes(linear));
                (m.heap, m.streams) = (solved + packed, streams);
                m.weights += uploaded;
            });
            // The solution is read back twice in pieces of 1 MiB and its support with it, then encoded and decoded again.
            let encoded = bytes(linear) * (4 + self.stored);
            let measured = match self.needs {
                // Weight, scaled weight and target of the problem; the weight as stored, and what its error takes.
                Needs::Gram => 7 - u64::from(shared),
                Needs::Norms => NORMS - u64::from(shared),
            };
            self.note(&format!("storing `{}`", linear.tensor), |m| {
                (m.grams, m.matrices, m.matrix) = (grams, measured, 4 * bytes(linear));
                (m.heap, m.streams) = (solved + encoded, streams);
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

    /// Weights of the largest linear of the layer that an order of the inputs at an activation site may concern.
    fn follower(&self, site: ActivationSite) -> u64 {
        let width = self.spec.width(site);
        let fused = match site {
            ActivationSite::AttentionOutput => width + 2 * self.spec.kv_heads * self.spec.head_dim,
            _ => 2 * width,
        };
        (fused * self.spec.hidden) as u64
    }

    /// Beside the device, bytes per row of a batch that goes through a capture.
    fn captured_row(&self) -> u64 {
        let decoded = if self.exact() { 0 } else { 4 * self.spec.hidden as u64 };
        decoded.max(self.process.packed_row(self.spec))
    }

    /// Bytes per row of the inputs of a group, from the stream its half reads.
    fn tap_row(&self, site: ActivationSite) -> u64 {
        let spec = self.spec;
        let hidden = spec.hidden as u64;
        let width = spec.width(site) as u64;
        let values = match site {
            ActivationSite::AttentionInput => hidden + normed(spec, Norm::Attention),
            ActivationSite::AttentionOutput => heads_row(spec),
            ActivationSite::MlpInput | ActivationSite::Output => hidden + normed(spec, Norm::Mlp),
            ActivationSite::MlpHidden => hidden + normed(spec, Norm::Mlp) + 2 * width,
            // As if every token went through the expert.
            ActivationSite::ExpertInput(_) => 3 * hidden,
            ActivationSite::ExpertHidden(_) => 3 * hidden + 2 * width,
        };
        4 * values
    }

    fn sparse(&self) -> bool {
        self.held.iter().any(|h| h.id.expert.is_some())
    }
}

/// Values of a norm's result per row, if there is one.
fn normed(spec: &Spec, norm: Norm) -> u64 {
    if spec.has_norm(norm) { spec.hidden as u64 } else { 0 }
}

/// Values per row alive in attention, from the stream that enters to the heads' output.
fn heads_row(spec: &Spec) -> u64 {
    let (q, kv) = (spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
    let norms = if spec.qk_norm == QkNorm::None { 0 } else { q + kv };
    (spec.hidden + 2 * q + 2 * kv + norms) as u64 + normed(spec, Norm::Attention)
}

/// Bytes per row of the attention half.
fn attention_row(spec: &Spec) -> u64 {
    let scaled = spec.residual_scale != 1.0 || spec.has_norm(Norm::AttentionOut);
    let out = spec.hidden as u64 * if scaled { 2 } else { 1 };
    4 * (heads_row(spec) + out + normed(spec, Norm::AttentionOut))
}

/// Bytes per row of the MLP half.
fn mlp_row(spec: &Spec, sparse: bool) -> u64 {
    let hidden = spec.hidden as u64;
    let inner = match spec.experts {
        // The sum, and every expert's rows.
        Some(experts) if sparse => hidden + experts.per_token as u64 * 2 * (hidden + experts.ffn as u64),
        _ => 2 * spec.ffn as u64,
    };
    let scaled = spec.residual_scale != 1.0 || spec.has_norm(Norm::MlpOut);
    let out = if scaled { hidden } else { 0 };
    4 * (hidden + normed(spec, Norm::Mlp) + inner + out + normed(spec, Norm::MlpOut))
}

/// Bytes per row of both halves in one go; the second reads what the first leaves.
pub(in crate::run) fn forward_row(spec: &Spec) -> u64 {
    let sparse = spec.kinds.iter().any(|kind| kind.sparse);
    attention_row(spec) + mlp_row(spec, sparse) - if spec.parallel { 0 } else { 4 * spec.hidden as u64 }
}

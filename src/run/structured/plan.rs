//! A run that makes a model smaller, resolved.

use serde::Serialize;
use serde_json::json;

use super::options::{Layout, StructureOptions};
use crate::checkpoint::Checkpoint;
use crate::gpu::Gpu;
use crate::model::{FewerHeads, ModelError, QkNorm, Spec};
use crate::prune::Score;
use crate::prune::surgeon::{DepthCut, DepthTarget, LayerCosts, SizeTarget, Sizes, Widths, default_round};
use crate::run::RunError;
use crate::run::global::{SurgeonOptions, SurgeonPlan};
use crate::run::options::PruneOptions;

/// What a run may end with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Promise {
    /// Layers.
    pub layers: usize,
    /// Neurons of every layer's MLP.
    pub ffn: usize,
    /// Query heads of every layer.
    pub heads: usize,
    /// Key/value heads of every layer.
    pub kv_heads: usize,
    /// Elements of all tensors.
    pub parameters: u64,
    /// Share of the prunable linears' weights that is gone.
    pub removed: f64,
}

/// A resolved run; printable before it starts.
#[derive(Serialize)]
pub struct StructurePlan {
    /// What it has in common with pruning single weights.
    #[serde(flatten)]
    pub base: SurgeonPlan,
    /// What to remove.
    #[serde(skip)]
    pub structure: StructureOptions,
    /// How much.
    pub target: DepthTarget,
    /// Elements of each layer's tensors beside the prunable linears.
    #[serde(skip)]
    pub beside: Vec<u64>,
    /// Elements of all tensors of the source.
    pub parameters: u64,
    /// What it may end with: one if only neurons or only heads go, else the costs decide between these. Empty for padded
    /// widths, which depend on the costs.
    pub promises: Vec<Promise>,
    /// What the user should know beforehand.
    pub notes: Vec<String>,
}

impl StructurePlan {
    /// Checks the options against the checkpoint. Touches no output.
    pub fn resolve(
        options: PruneOptions,
        (surgeon, structure): (SurgeonOptions, StructureOptions),
        checkpoint: &Checkpoint,
        spec: Spec,
        gpu: &Gpu,
    ) -> Result<Self, RunError> {
        let mut notes = Vec::new();
        let kv_heads = check(&structure, checkpoint, &spec, &mut notes)?;
        let mut base = SurgeonPlan::resolve_for(structure.need(), (options, surgeon), checkpoint, spec, gpu)?;
        let units = size_target(&structure, &base, kv_heads)?;
        let layer = if structure.layers {
            base.spec.layer_weights(0)? as u64
        } else {
            0
        };
        let target = DepthTarget { units, layer };
        let beside = beside(&base.spec, checkpoint)?;
        if structure.layers && beside.iter().any(|elements| *elements != beside[0]) {
            let message = "`structure` layers: the layers' tensors differ in size; choose ffn or heads";
            return Err(RunError::Setting(message.into()));
        }
        base.settings["structure"] = json!({
            "units": structure.name(),
            "score": structure.score,
            "update": structure.update,
            "layout": structure.layout,
            "round": target.units.round,
        });
        let mut plan = StructurePlan {
            base,
            structure,
            target,
            beside,
            parameters: checkpoint.parameters() as u64,
            promises: Vec::new(),
            notes,
        };
        if structure.layout == Layout::Uniform {
            let promises = plan.target.promises();
            let promises = promises.into_iter().map(|sizes| plan.promise(sizes));
            plan.promises = promises.collect::<Result<_, _>>()?;
            if plan.promises.is_empty() {
                return Err(plan.nothing_fits());
            }
        }
        Ok(plan)
    }

    fn promise(&self, sizes: Sizes) -> Result<Promise, ModelError> {
        let Sizes { layers, widths } = sizes;
        let kept: Vec<usize> = (0..layers).collect();
        let to = self.base.spec.keeping(&kept).resized(widths.neurons, widths.groups);
        Ok(Promise {
            layers,
            ffn: to.ffn,
            heads: to.heads,
            kv_heads: to.kv_heads,
            parameters: self.parameters - self.gone(&to)?,
            removed: self.target.removed(sizes) as f64 / self.base.weights as f64,
        })
    }

    /// Elements that a model of the sizes of `to` has less.
    pub(in crate::run) fn gone(&self, to: &Spec) -> Result<u64, ModelError> {
        let spec = &self.base.spec;
        let layers = (spec.layers - to.layers) as u64;
        Ok(linear_parameters(spec)? - linear_parameters(to)? + layers * self.beside[0])
    }

    fn nothing_fits(&self) -> RunError {
        let (target, sparsity) = (&self.target.units, self.base.options.pattern.sparsity());
        if self.structure.layers {
            return RunError::Setting(format!(
                "`sparsity` {sparsity}: no model of fewer than {} layers has this size: one of them is {:.1} % of the weights; \
                 take another `sparsity`, or remove units too: `structure` ffn,layers",
                target.layers,
                100.0 * self.target.layer as f64 / self.base.weights as f64,
            ));
        }
        let advice = match target.neuron {
            0 => "remove neurons too: `structure` ffn,heads".to_string(),
            _ => format!("take another `sparsity`, or a `round` below {}", target.round),
        };
        RunError::Setting(format!(
            "`sparsity` {sparsity}: no model of {} (of {} now) neurons in multiples of {} and {:?} key/value heads has \
             this size; {advice}",
            if target.neuron == 0 { "the same" } else { "fewer" },
            target.whole.neurons,
            target.round,
            target.groups,
        ))
    }

    /// What a shot removes of a model of the sizes `now`, given the costs of units and of layers.
    pub(in crate::run) fn cut(&self, now: Sizes, share: f64, costs: (&[LayerCosts], &[f64])) -> DepthCut {
        match self.structure.layout {
            Layout::Uniform => {
                let cut = self.target.cut(now, share, costs.0, costs.1);
                cut.expect("a shot before the last goes no further than a promise")
            }
            Layout::Padded => DepthCut {
                gone: Vec::new(),
                cut: match self.structure.score {
                    Score::Flap => {
                        let standard = costs.0.iter().map(LayerCosts::standardized).collect::<Vec<_>>();
                        self.target.units.padded(now.widths, share, &standard)
                    }
                    _ => self.target.units.padded(now.widths, share, costs.0),
                },
            },
        }
    }
}

/// Weights and biases of all prunable linears.
pub(in crate::run) fn linear_parameters(spec: &Spec) -> Result<u64, ModelError> {
    let mut sum = 0;
    for layer in 0..spec.layers {
        for linear in spec.linears_of(layer)? {
            let [rows, cols] = linear.shape;
            sum += (rows * cols + if linear.bias.is_some() { rows } else { 0 }) as u64;
        }
    }
    Ok(sum)
}

/// Elements of each layer's tensors that are neither weights nor biases of its linears.
fn beside(spec: &Spec, checkpoint: &Checkpoint) -> Result<Vec<u64>, ModelError> {
    let mut out = Vec::new();
    for layer in 0..spec.layers {
        let (mut all, prefix) = (0, spec.layer_prefix(layer));
        for name in checkpoint.names().filter(|name| name.starts_with(&prefix)) {
            all += checkpoint.tensor(name)?.shape.iter().product::<usize>() as u64;
        }
        let linears = spec.linears_of(layer)?.into_iter();
        let own = linears.map(|l| l.shape[0] * (l.shape[1] + usize::from(l.bias.is_some())));
        out.push(all - own.sum::<usize>() as u64);
    }
    Ok(out)
}

/// What cannot be; returns the numbers of key/value heads that may be left.
fn check(
    structure: &StructureOptions,
    checkpoint: &Checkpoint,
    spec: &Spec,
    notes: &mut Vec<String>,
) -> Result<Vec<usize>, RunError> {
    let wrong = |message: String| Err(RunError::Setting(message));
    structure.check(spec)?;
    if spec.has_experts() {
        let family = &spec.family;
        return wrong(format!(
            "`structure`: family `{family}` has mixtures of experts, whose units are not removed; drop it to prune single weights"
        ));
    }
    if structure.layers && spec.kinds.iter().any(|kind| kind.window != spec.kinds[0].window) {
        notes.push(
            "if layers go: which of them have a window then stands in layer_types of config.json alone; loaders that go by the \
             layer's number instead compute something else"
                .into(),
        );
    }
    if !structure.heads {
        return Ok(vec![spec.kv_heads]);
    }
    let few = |kv_heads: usize| {
        format!(
            "{kv_heads} key/value heads cannot become fewer in family `{}`",
            spec.family
        )
    };
    // A norm over all heads would see the zeros.
    let (in_place, advice) = match (spec.qk_norm, structure.layout) {
        (QkNorm::All, _) => (false, "use `structure` ffn"),
        (_, Layout::Padded) => (true, ""),
        (_, Layout::Uniform) => (
            false,
            "use `structure` ffn, or `layout` padded, which leaves zeros in their place",
        ),
    };
    match spec.fewer_heads(checkpoint.config()) {
        FewerHeads::Cannot(reason) if in_place => {
            notes.push(format!("heads that go are zeros in their place: {reason}"));
            Ok(vec![spec.kv_heads])
        }
        FewerHeads::Can { kv_heads, .. } if kv_heads.len() == 1 && in_place => {
            notes.push(format!("heads that go are zeros in their place: {}", few(kv_heads[0])));
            Ok(kv_heads)
        }
        FewerHeads::Cannot(reason) => wrong(format!("`structure` heads: {reason}; {advice}")),
        FewerHeads::Can { kv_heads, .. } if kv_heads.len() == 1 => {
            wrong(format!("`structure` heads: {}; {advice}", few(kv_heads[0])))
        }
        FewerHeads::Can { kv_heads, not_in } => {
            notes.extend(not_in.map(|loaders| format!("if heads go: {loaders}, so those cannot open the result")));
            if kv_heads.len() < spec.kv_heads {
                notes.push(format!(
                    "heads must divide the hidden size, {}, or transformers refuses the model: {kv_heads:?} key/value heads may be left",
                    spec.hidden
                ));
            }
            Ok(kv_heads)
        }
    }
}

fn size_target(structure: &StructureOptions, base: &SurgeonPlan, groups: Vec<usize>) -> Result<SizeTarget, RunError> {
    let spec = &base.spec;
    let (mut mlp, mut attention) = (0, 0);
    for linear in spec.linears_of(0)? {
        let half = if linear.id.role.in_mlp() {
            &mut mlp
        } else {
            &mut attention
        };
        *half += (linear.shape[0] * linear.shape[1]) as u64;
    }
    let each = |on: bool, weights: u64, units: usize| if on { weights / units as u64 } else { 0 };
    Ok(SizeTarget {
        whole: Widths {
            neurons: spec.ffn,
            groups: spec.kv_heads,
        },
        layers: spec.layers,
        neuron: each(structure.ffn, mlp, spec.ffn),
        group: each(structure.heads, attention, spec.kv_heads),
        weights: (base.options.pattern.sparsity() * base.weights as f64).round() as u64,
        round: structure.round.unwrap_or_else(|| default_round(spec.ffn)),
        groups,
    })
}

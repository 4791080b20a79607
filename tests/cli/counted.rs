//! What a run asks of a device, counted: products of the router, and uploads of weights.

use std::collections::HashMap;
use std::fs;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use safetensors::tensor::serialize_to_file;
use secateur::calib::SampleSpec;
use secateur::checkpoint::Checkpoint;
use secateur::gpu::{Foreign, Gpu, GpuOptions, HostCall, Kernel, Limits};
use secateur::model::{Activations, Spec};
use secateur::prune::{Pattern, Within};
use secateur::run::{Plan, Progress, PruneOptions, method_named, prune};
use serde_json::Value;

use super::fixture::{Stored, text};
use super::structure::golden;
use super::{Case, weights};

const EXPERTS: usize = 64;
const SAMPLES: SampleSpec = SampleSpec {
    samples: 96,
    length: 48,
    seed: 0,
    bos: None,
};

#[derive(Default)]
struct Counts {
    /// Products with as many outputs as there are experts, which no other weight has.
    routed: usize,
    /// Uploads by label.
    uploads: HashMap<String, usize>,
}

/// A GPU by the twins, that counts.
struct Counter(Arc<Mutex<Counts>>);

impl Foreign for Counter {
    fn dispatch(&self, kernel: &'static Kernel, call: &mut HostCall<'_>, _: [u32; 3]) -> Result<(), String> {
        (kernel.host)(call);
        if kernel.stem.starts_with("dense/gemm") && !kernel.stem.contains("grouped") {
            let (_, at) = *kernel.params.iter().find(|(name, _)| *name == "cols").unwrap();
            let cols = u32::from_le_bytes(call.params[at..at + 4].try_into().unwrap());
            self.0.lock().unwrap().routed += usize::from(cols as usize == EXPERTS);
        }
        Ok(())
    }

    fn uploaded(&self, label: &str, _: usize) {
        *self.0.lock().unwrap().uploads.entry(label.to_string()).or_default() += 1;
    }

    fn is_software(&self) -> bool {
        false
    }
}

struct Silent;

impl Progress for Silent {}

/// The small mixture with 64 experts: the four it has, again and again, behind a router that tells them apart.
fn mixture() -> Case {
    let case = golden("mixtral");
    let path = case.model().join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["num_local_experts"] = EXPERTS.into();
    fs::write(&path, config.to_string()).unwrap();
    let mut stored = Vec::new();
    for tensor in weights(&case.model()) {
        if tensor.name.ends_with("moe.gate.weight") {
            let (width, rows) = (tensor.shape[1], tensor.values());
            let row = |expert: usize| rows[expert % 4 * width..][..width].iter();
            let turned = (0..EXPERTS).flat_map(|e| row(e).cycle().skip(e % width).take(width));
            let turned: Vec<f32> = turned.copied().collect();
            let mut router = Stored {
                shape: vec![EXPERTS, width],
                ..tensor
            };
            router.set(&turned);
            stored.push(router);
        } else if let Some((front, back)) = tensor.name.split_once(".experts.") {
            let (number, role) = back.split_once('.').unwrap();
            let first: usize = number.parse().unwrap();
            stored.extend((first..EXPERTS).step_by(4).map(|expert| Stored {
                name: format!("{front}.experts.{expert}.{role}"),
                dtype: tensor.dtype,
                shape: tensor.shape.clone(),
                bytes: tensor.bytes.clone(),
            }));
        } else {
            stored.push(tensor);
        }
    }
    let views = stored.iter().map(|t| (t.name.clone(), t.view()));
    serialize_to_file(views, None, &case.model().join("model.safetensors")).unwrap();
    case
}

/// Prunes to 2:4 and counts. Also returns decoder layers, batches and the names of the pruned weights.
fn counted(case: &Case, method: &str, within: Within) -> (Counts, [usize; 2], Vec<String>) {
    let counts = Arc::new(Mutex::new(Counts::default()));
    let limits = Limits {
        binding: 1 << 28,
        buffer: 1 << 30,
        alignment: 256,
    };
    let gpu = Gpu::foreign(
        "a counter",
        limits,
        GpuOptions::default(),
        Box::new(Counter(counts.clone())),
    );
    // For more than two batches.
    fs::write(case.text(), text(2 * SAMPLES.samples * SAMPLES.length)).unwrap();
    let checkpoint = Checkpoint::open(&case.model()).unwrap();
    let spec = Spec::of(&checkpoint).unwrap();
    let hidden = spec.hidden;
    let options =
        PruneOptions::new(case.model(), case.output(), case.text(), SAMPLES).by(method_named(method).unwrap());
    let options = PruneOptions {
        pattern: Pattern::NM { n: 2, m: 4 },
        within,
        ..options
    };
    let plan = Plan::resolve(options, &checkpoint, spec, &gpu).unwrap();
    let report = prune(&plan, &checkpoint, &gpu, &mut Silent, &AtomicBool::new(false)).unwrap();
    let streams = Activations::new(SAMPLES.samples, SAMPLES.length, hidden, &plan.activation_options()).unwrap();
    let found = std::mem::take(&mut *counts.lock().unwrap());
    let names = report.linears.into_iter().map(|linear| linear.tensor).collect();
    (found, [plan.layers, streams.batches()], names)
}

#[test]
fn a_batch_is_routed_once_whatever_the_number_of_experts() {
    let case = mixture();
    let (found, [layers, batches], names) = counted(&case, "sparsegpt", Within::Linear);
    assert!(
        batches > 2 && names.len() == layers * (4 + 3 * EXPERTS),
        "{batches} batches"
    );
    // Captures of 128 groups and the pass to the next layer, by one choice.
    assert_eq!(found.routed, layers * batches, "{layers} layers, {batches} batches");
}

#[test]
fn a_stream_that_pruned_attention_changed_is_routed_once_more() {
    let case = mixture();
    let (found, [layers, batches], _) = counted(&case, "wanda", Within::Layer);
    assert!(batches > 2);
    // What the last layer gives has no reader.
    assert_eq!(
        found.routed,
        (2 * layers - 1) * batches,
        "{layers} layers, {batches} batches"
    );
}

#[test]
fn a_weight_is_uploaded_once_dense_and_once_pruned() {
    for (method, within) in [
        ("sparsegpt", Within::Layer),
        ("sparsegpt", Within::Linear),
        ("wanda", Within::Layer),
        ("alps", Within::Layer),
    ] {
        let case = golden("mixtral");
        let (found, [layers, _], names) = counted(&case, method, within);
        assert_eq!(names.len(), layers * 16);
        for name in names {
            assert_eq!(found.uploads.get(&name), Some(&2), "{method}, {name}");
        }
        assert_eq!(found.uploads.get("weight"), None, "{method}: one more for its problem");
    }
}

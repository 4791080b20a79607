//! What `secateur inspect` prints.

use super::layout::{percent, table};
use crate::report::InspectRecord;

/// The record as text.
pub fn inspect_table(record: &InspectRecord) -> String {
    let mut out = table(&[
        "linear",
        "outputs",
        "inputs",
        "number",
        "type",
        "bias",
        "weights",
        "zeros",
        "fits M up to",
    ]);
    let (mut weights, mut zeros) = (0, 0);
    for kind in &record.linears {
        weights += kind.weights;
        zeros += kind.zeros;
        out.add_row([
            kind.role.clone(),
            kind.shape[0].to_string(),
            kind.shape[1].to_string(),
            kind.count.to_string(),
            kind.dtypes.join(", "),
            if kind.bias { "yes" } else { "no" }.to_string(),
            kind.weights.to_string(),
            percent(kind.zeros as f64 / kind.weights.max(1) as f64),
            kind.pattern_m.to_string(),
        ]);
    }
    let mut lines = vec![
        format!(
            "{}: {} family, {} decoder layers, hidden {}, MLP {}, {} heads ({} key/value) of {}, vocabulary {}, {} positions",
            record.model,
            record.family,
            record.layers,
            record.hidden,
            record.ffn,
            record.heads,
            record.kv_heads,
            record.head_dim,
            record.vocabulary,
            record.max_positions,
        ),
        format!(
            "{} parameters, {:.0} MiB in {} weight file(s), head {}",
            record.parameters,
            record.bytes as f64 / f64::from(1 << 20),
            record.shards,
            if record.tied {
                "tied to the embedding"
            } else {
                "of its own"
            },
        ),
    ];
    if let Some([count, per_token]) = record.experts {
        lines.push(format!("mixture of {count} experts, {per_token} per token"));
    }
    if let Some([layers, window]) = record.sliding {
        lines.push(format!("{layers} layers attend to a window of {window} tokens"));
    }
    if record.needs_bos {
        lines.push("texts need a BOS token: eval and prune put one before every window and sample".into());
    }
    lines.push(out.to_string());
    lines.push(format!(
        "prunable: {weights} weights, {} of the parameters; {} of them are zero already",
        percent(weights as f64 / record.parameters.max(1) as f64),
        percent(zeros as f64 / weights.max(1) as f64),
    ));
    for kind in record.linears.iter().filter(|kind| kind.zero_inputs > 0) {
        lines.push(format!(
            "{}: {} of {} inputs are read by no output, as where `--layout padded` fills layers up",
            kind.role,
            kind.zero_inputs,
            kind.count * kind.shape[1],
        ));
    }
    if !record.extra_tensors.is_empty() {
        let shown: Vec<&str> = record.extra_tensors.iter().take(4).map(String::as_str).collect();
        let more = record.extra_tensors.len() - shown.len();
        lines.push(format!(
            "{} tensors are not the family's and pass through: {}{}",
            record.extra_tensors.len(),
            shown.join(", "),
            if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            },
        ));
    }
    lines.join("\n")
}

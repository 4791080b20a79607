//! What a model that became smaller looks like.

use super::layout::{megabytes, percent, table};
use crate::report::{PruneReport, Shrunk};

/// Sizes before and after, then phases and memory.
pub(super) fn structure_table(report: &PruneReport, shrunk: &Shrunk) -> String {
    let (before, after) = (&shrunk.before, &shrunk.after);
    let settings = &report.settings;
    let given = |value: &Option<String>| value.clone().unwrap_or_default();
    let mut out = table(&["", "before", "after", "removed"]);
    for (name, before, after) in [
        ("layers", before.layers as u64, after.layers as u64),
        ("neurons a layer", before.ffn as u64, after.ffn as u64),
        ("query heads a layer", before.heads as u64, after.heads as u64),
        ("key/value heads a layer", before.kv_heads as u64, after.kv_heads as u64),
        (
            "weights of decoder linears",
            before.decoder_weights,
            after.decoder_weights,
        ),
        ("parameters of the model", before.parameters, after.parameters),
    ] {
        let share = percent(1.0 - after as f64 / before.max(1) as f64);
        out.add_row([name.to_string(), before.to_string(), after.to_string(), share]);
    }
    let round = settings
        .round
        .map_or(String::new(), |round| format!(", neurons in multiples of {round}"));
    let padding = match [after.padded_neurons, after.padded_kv_heads] {
        [0, 0] => String::new(),
        [neurons, heads] => format!(
            "\n{} of {} weights are zeros: padding of {neurons} neurons and {heads} key/value heads, all layers together",
            percent(report.totals.sparsity),
            report.totals.weights,
        ),
    };
    let layers: Vec<usize> = report.shots.iter().flat_map(|shot| &shot.layers).copied().collect();
    let gone = match layers[..] {
        [] => String::new(),
        _ => format!("\nlayers removed, by their numbers in the source, in order: {layers:?}"),
    };
    let (phases, memory) = (&report.phases, &report.memory);
    format!(
        "{out}\n{} by {}, {} layout{round}; parameters counted in the written files{padding}{gone}\n\
         {:.1} s: prepare {:.1}, capture {:.1}, cut {:.1}, write and verify {:.1}\n\
         peak memory: device {}, host {}{}",
        given(&settings.structure),
        given(&settings.score),
        given(&settings.layout),
        phases.total(),
        phases.prepare,
        phases.capture,
        phases.solve,
        phases.write,
        megabytes(memory.device_peak),
        memory.host_peak.map_or("unknown".to_string(), megabytes),
        report
            .warnings
            .iter()
            .map(|w| format!("\nwarning: {w}"))
            .collect::<String>(),
    )
}

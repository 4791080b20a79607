//! The tables of a comparison.

use super::layout::{percent, table};
use crate::report::{CompareCell, CompareReport, EvalRecord};

/// Both tables in Markdown: quality and cost, then layer errors.
pub fn compare_markdown(report: &CompareReport) -> String {
    let seeds = report.cells.iter().any(|cell| cell.seed != report.cells[0].seed);
    let (results, errors) = (results(report, seeds), errors(report, seeds));
    let text = report.dense.first();
    format!(
        "{results}\n\nKL: divergence from the dense model, nats per token. Seconds: allocate (its passes over the model), capture \
         (with propagation), solve. Products: arithmetic of the solves, in products of a weight with its Gram. Peak memory of \
         the prune.\n\
         Texts by protocol {}, BOS {}, context {}.\n\n{errors}\n\nMean |VX* - WX|^2 / |WX|^2 of the linears as written.",
        text.map_or("", |t| t.protocol.as_str()),
        text.map_or("", |t| t.bos.as_str()),
        text.map_or(0, |t| t.context),
    )
}

fn results(report: &CompareReport, seeds: bool) -> String {
    let mut header = vec!["method".to_string(), "target".into()];
    header.extend(seeds.then(|| "seed".to_string()));
    header.extend(["sparsity".to_string(), "layer error".into()]);
    for text in report.texts() {
        header.extend([format!("ppl {text}"), "±".into(), "KL".into(), "±".into()]);
    }
    header.extend(
        [
            "allocate s",
            "capture s",
            "solve s",
            "products",
            "device MiB",
            "host MiB",
        ]
        .map(String::from),
    );
    let mut out = table(&header.iter().map(String::as_str).collect::<Vec<_>>());
    let mut dense = vec!["dense".to_string()];
    dense.resize(
        header
            .iter()
            .position(|h| h.starts_with("ppl "))
            .unwrap_or(header.len()),
        String::new(),
    );
    dense.extend(report.dense.iter().flat_map(quality));
    dense.resize(header.len(), String::new());
    out.add_row(dense);
    for cell in &report.cells {
        let mut row = vec![label(cell), cell.target.clone()];
        row.extend(seeds.then(|| cell.seed.to_string()));
        row.extend([percent(cell.sparsity), format!("{:.5}", cell.error)]);
        for number in 0..report.dense.len() {
            row.extend(cell.evals.get(number).map_or(Default::default(), quality));
        }
        let mib = |bytes: u64| format!("{:.0}", bytes as f64 / f64::from(1 << 20));
        row.extend([
            format!("{:.1}", cell.phases.allocate),
            format!("{:.1}", cell.phases.capture + cell.phases.propagate),
            format!("{:.1}", cell.phases.solve),
            format!("{:.1}", cell.products),
            mib(cell.memory.device_peak),
            cell.memory.host_peak.map_or(String::new(), mib),
        ]);
        out.add_row(row);
    }
    out.to_string()
}

fn quality(record: &EvalRecord) -> [String; 4] {
    let kl = |value: Option<f64>| value.map_or(String::new(), |v| format!("{v:.4}"));
    [
        format!("{:.3}", record.perplexity),
        format!("{:.3}", record.standard_error),
        kl(record.kl_divergence),
        kl(record.kl_standard_error),
    ]
}

fn errors(report: &CompareReport, seeds: bool) -> String {
    let roles = report.roles();
    let mut header = vec!["method", "target"];
    header.extend(seeds.then_some("seed"));
    header.extend(&roles);
    let mut out = table(&header);
    for cell in &report.cells {
        let mut row = vec![label(cell), cell.target.clone()];
        row.extend(seeds.then(|| cell.seed.to_string()));
        row.extend(
            roles
                .iter()
                .map(|name| cell.role(name).map_or(String::new(), |r| format!("{:.5}", r.after))),
        );
        out.add_row(row);
    }
    out.to_string()
}

/// The method with its refit.
fn label(cell: &CompareCell) -> String {
    match cell.refit {
        0 => cell.method.clone(),
        steps => format!("{} + refit {steps}", cell.method),
    }
}

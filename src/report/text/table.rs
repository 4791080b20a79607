//! Terminal tables of prunes and evaluations.

use super::layout::{megabytes, percent, table};
use super::structure::structure_table;
use crate::report::{EvalRecord, LinearRecord, PruneReport};

/// A layer error, if it was measured.
fn known(error: f64) -> String {
    if error.is_nan() {
        "-".to_string()
    } else {
        format!("{error:.5}")
    }
}

/// Per projection type: layer error before and after, sparsity, time; then totals and phases.
///
/// For a model that became smaller its sizes instead.
pub fn prune_table(report: &PruneReport) -> String {
    if let Some(shrunk) = &report.shrunk {
        return structure_table(report, shrunk);
    }
    let mut roles: Vec<&str> = Vec::new();
    for linear in &report.linears {
        if !roles.contains(&linear.role.as_str()) {
            roles.push(&linear.role);
        }
    }
    let mut out = table(&[
        "projection",
        "layers",
        "warm start error",
        "final error",
        "ratio",
        "sparsity",
        "seconds",
    ]);
    for role in roles {
        let rows: Vec<&LinearRecord> = report.linears.iter().filter(|l| l.role == role).collect();
        let mean = |f: &dyn Fn(&LinearRecord) -> f64| rows.iter().map(|l| f(l)).sum::<f64>() / rows.len() as f64;
        let (before, after) = (mean(&|l| l.errors()[0]), mean(&|l| l.errors()[1]));
        let zeros: usize = rows.iter().map(|l| l.zeros).sum();
        let weights: usize = rows.iter().map(|l| l.shape[0] * l.shape[1]).sum();
        out.add_row([
            role.to_string(),
            rows.len().to_string(),
            known(before),
            known(after),
            if before > 0.0 {
                format!("{:.3}", after / before)
            } else {
                "-".to_string()
            },
            percent(zeros as f64 / weights as f64),
            format!("{:.1}", rows.iter().map(|l| l.seconds).sum::<f64>()),
        ]);
    }
    let (totals, phases, memory) = (&report.totals, &report.phases, &report.memory);
    let allocate = match phases.allocate {
        0.0 => String::new(),
        seconds => format!("allocate {seconds:.1}, "),
    };
    let before_correction = match report.shots.iter().any(|shot| shot.correction.is_some()) {
        true => ", before the correction of their shot",
        false => "",
    };
    let errors = match report.calibration.samples {
        0 => "mean of |W* - W|^2 / |W|^2 over matrices",
        _ if report.linears.iter().all(|l| l.error_after.is_none()) => "not measured (--layer-errors)",
        _ => "mean of |VX* - WX|^2 / |WX|^2 over layers",
    };
    let dead: usize = report.linears.iter().map(|l| l.dead_inputs).max().unwrap_or(0);
    format!(
        "{out}\nerrors: {errors}{before_correction}\n\
         sparsity {} of {} weights, counted in the written files ({} zeros were in the input); at most {dead} dead inputs in a linear\n\
         {:.1} s: prepare {:.1}, {allocate}capture {:.1}, solve {:.1}, propagate {:.1}, write and verify {:.1}\n\
         peak memory: device {}, host {}{}{}",
        percent(totals.sparsity),
        totals.weights,
        totals.input_zeros,
        phases.total(),
        phases.prepare,
        phases.capture,
        phases.solve,
        phases.propagate,
        phases.write,
        megabytes(memory.device_peak),
        memory.host_peak.map_or("unknown".to_string(), megabytes),
        report
            .settings
            .statistics
            .as_ref()
            .map_or(String::new(), |folder| format!(
                "\ninputs from {folder}: those of the dense model; errors made earlier in a layer were not corrected"
            )),
        report
            .warnings
            .iter()
            .map(|w| format!("\nwarning: {w}"))
            .collect::<String>(),
    )
}

/// One evaluation as lines.
pub fn eval_table(record: &EvalRecord) -> String {
    let mut text = format!(
        "perplexity {:.4} ± {:.4}   ({}, BOS {}, context {}, {} windows, {} of {} tokens scored, {} weights, f32 sums{})\n\
         nll {:.6} nats/token, top-1 accuracy {}",
        record.perplexity,
        record.standard_error,
        record.protocol,
        record.bos,
        record.context,
        record.windows,
        record.scored_tokens,
        record.stream_tokens,
        record.dtype,
        if record.adapter.half_attention {
            ", attention in 16 bits"
        } else {
            ""
        },
        record.nll,
        percent(record.accuracy),
    );
    if let (Some(kl), Some(error), Some(top)) = (record.kl_divergence, record.kl_standard_error, record.top1_agreement)
    {
        text += &format!(
            "\nKL divergence {kl:.6} ± {error:.6} nats/token, same top token at {}",
            percent(top)
        );
    }
    text
}

/// The demo's comparison: name, pattern, perplexity, standard error and excess over dense in nats per token.
pub fn demo_table(rows: &[(String, String, EvalRecord)]) -> String {
    let dense = rows.first().map_or(0.0, |r| r.2.nll);
    let mut out = table(&["method", "pattern", "perplexity", "±", "excess nats/token"]);
    for (method, pattern, record) in rows {
        out.add_row([
            method.clone(),
            pattern.clone(),
            format!("{:.3}", record.perplexity),
            format!("{:.3}", record.standard_error),
            format!("{:.4}", record.nll - dense),
        ]);
    }
    out.to_string()
}

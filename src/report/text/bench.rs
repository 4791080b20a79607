//! Benchmark rows as people and programs read them.

use serde_json::{Map, Value, json};

use super::layout::table;
use crate::report::BenchRow;

/// Form of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum BenchFormat {
    /// A Markdown table
    #[default]
    Md,
    /// A header line, then one line per row
    Csv,
    /// An array of flat objects
    Json,
    /// One flat object per line
    Jsonl,
    /// SQL statements that create a table and fill it
    Sql,
    /// Bencher Metric Format
    Bmf,
}

/// All rows in a form, without a final newline.
pub fn bench_print(rows: &[BenchRow], format: BenchFormat) -> String {
    match format {
        BenchFormat::Md => markdown(rows),
        BenchFormat::Csv => csv(rows),
        BenchFormat::Json => serde_json::to_string_pretty(rows).expect("rows are plain data"),
        BenchFormat::Jsonl => lines(rows.iter().map(|row| Value::Object(fields(row)).to_string())),
        BenchFormat::Sql => sql(rows),
        BenchFormat::Bmf => bmf(rows),
    }
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.collect::<Vec<_>>().join("\n")
}

/// Names and values in the order of the record.
fn fields(row: &BenchRow) -> Map<String, Value> {
    match serde_json::to_value(row).expect("rows are plain data") {
        Value::Object(fields) => fields,
        other => unreachable!("a row is an object, not {other}"),
    }
}

/// A value as one cell of text; a list is separated by spaces.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

fn csv(rows: &[BenchRow]) -> String {
    let quoted = |text: String| format!("\"{}\"", text.replace('"', "\"\""));
    let Some(first) = rows.first() else {
        return String::new();
    };
    let header = fields(first).keys().cloned().collect::<Vec<_>>().join(",");
    let body = rows.iter().map(|row| {
        let cells: Vec<String> = fields(row).values().map(|v| quoted(cell(v))).collect();
        cells.join(",")
    });
    lines(std::iter::once(header).chain(body))
}

/// As llama-bench writes it: `| sqlite3 FILE` appends.
fn sql(rows: &[BenchRow]) -> String {
    let Some(first) = rows.first() else {
        return String::new();
    };
    let columns: Vec<String> = fields(first)
        .iter()
        .map(|(name, value)| match value {
            // A number in some rows and absent in others.
            Value::Number(_) | Value::Null if !matches!(name.as_str(), "vendor" | "driver") => format!("{name} REAL"),
            _ => format!("{name} TEXT"),
        })
        .collect();
    let names = fields(first).keys().cloned().collect::<Vec<_>>().join(", ");
    let create = format!(
        "CREATE TABLE IF NOT EXISTS secateur_bench (\n  {}\n);",
        columns.join(",\n  ")
    );
    let inserts = rows.iter().map(|row| {
        let values: Vec<String> = fields(row)
            .values()
            .map(|value| match value {
                Value::Null => "NULL".to_string(),
                Value::Number(number) => number.to_string(),
                other => format!("'{}'", cell(other).replace('\'', "''")),
            })
            .collect();
        format!("INSERT INTO secateur_bench ({names}) VALUES ({});", values.join(", "))
    });
    lines(std::iter::once(create).chain(inserts))
}

/// Latency in nanoseconds with the deviation around it, and the rates.
fn bmf(rows: &[BenchRow]) -> String {
    let mut out = Map::new();
    for row in rows {
        let mut measures = Map::new();
        let around = |value: f64, spread: f64| json!({ "value": value, "lower_value": value - spread, "upper_value": value + spread });
        measures.insert("latency".into(), around(row.median_ns, row.mad_ns));
        let spread = row.mad_ns / row.median_ns;
        for (name, rate) in [("gflops", row.gflops), ("gbps", row.gbps)] {
            if let Some(rate) = rate {
                measures.insert(name.into(), around(rate, rate * spread));
            }
        }
        out.insert(row.key(), Value::Object(measures));
    }
    serde_json::to_string_pretty(&out).expect("plain data")
}

fn markdown(rows: &[BenchRow]) -> String {
    let Some(first) = rows.first() else {
        return "no rows".to_string();
    };
    let mut out = table(&[
        "kernel",
        "shape",
        "size",
        "type",
        "median ms",
        "± MAD",
        "GFLOP/s",
        "GB/s",
        "% of roof",
        "roof",
        "max rel. error",
        "timing",
    ]);
    for row in rows {
        let rate = |rate: Option<f64>| rate.map_or("-".to_string(), |rate| format!("{rate:.1}"));
        out.add_row([
            format!("{} {}", row.kernel, row.variant).trim().to_string(),
            row.shape.clone(),
            row.size(),
            row.dtype.clone(),
            format!("{:.4}", row.median_ns * 1e-6),
            format!("{:.4}", row.mad_ns * 1e-6),
            rate(row.gflops),
            rate(row.gbps),
            format!("{:.1}", row.pct_of_measured_peak),
            row.bound.clone(),
            format!(
                "{:.1e}{}",
                row.max_rel_err,
                if row.checked < row.elements { " *" } else { "" }
            ),
            row.timing.clone(),
        ]);
    }
    let m = &first.machine;
    let limit = |limit: Option<u64>| limit.map_or("-".to_string(), |bytes| format!("{} MiB", bytes >> 20));
    format!(
        "{} ({}, {}, driver {}), {} with {} threads, power: {}\n\
         binding {}, buffer {}; features: {}\n\
         secateur {} ({}), {}: {}\n\
         measured roofs: {:.1} GFLOP/s (FMA kernel), {:.1} GB/s (copy kernel)\n\n{out}\n\
         gpu timestamps: from the first kernel of a submission to the end of its last; wall: around submission and waiting\n\
         * compared with the f64 twin on sampled elements, else on all of them; errors are relative to the largest value\n\
         a share above 100 % of the memory roof means that the operands stay in a cache",
        m.gpu_info,
        m.backend,
        m.device_type,
        m.driver.as_deref().unwrap_or("none"),
        m.cpu_info,
        m.cpu_threads,
        m.power_state,
        limit(m.limit_binding),
        limit(m.limit_buffer),
        if m.features.is_empty() { "none" } else { &m.features },
        m.build_version,
        m.build_commit,
        m.test_time,
        m.command,
        m.roof_gflops,
        m.roof_gbps,
    )
}

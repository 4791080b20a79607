//! `secateur bench`, `bench compare` and `bench board`.

use super::args::Common;
use super::bench_args::{BenchArgs, BenchBoardArgs, BenchCommand, BenchCompareArgs, BenchWhat};
use super::exit::CliError;
use super::{note, open_gpu_with, print, print_profile, put_out, say};
use crate::bench::{
    self, BenchError, BenchKernel, BenchSettings, CheckRow, Comparison, Devices, Size, read_folder, read_rows,
};
use crate::gpu::{Gpu, GpuOptions};
use crate::report::{BenchFormat, bench_board, bench_print, text_table};
use crate::tensor::DType;

pub(super) fn run(common: &Common, args: &BenchArgs) -> Result<(), CliError> {
    match &args.command {
        Some(BenchCommand::Compare(files)) => compare(common, files),
        Some(BenchCommand::Board(board)) => write_board(common, board),
        None if args.what.check => check(common, args.what.seed),
        None => measure(common, &args.what),
    }
}

fn measure(common: &Common, what: &BenchWhat) -> Result<(), CliError> {
    if common.verify_kernels {
        let message =
            "--verify-kernels would be timed too; `secateur bench --check` holds the kernels against their twins";
        return Err(CliError::setting(message.to_string()));
    }
    let settings = settings(common, what);
    let devices = Devices {
        profiled: open_gpu_with(common, true)?,
        plain: Gpu::open(GpuOptions {
            adapter: common.adapter.clone(),
            max_binding: common.max_binding,
            budget: common.max_vram,
            ..Default::default()
        })?,
    };
    let found = bench::bench(&devices, &settings, &mut |line| say(common, line))?;
    let format = if common.json { BenchFormat::Json } else { what.output };
    put_out(&bench_print(&found.rows, format))?;
    for skipped in &found.skipped {
        note(&format!("left out: {skipped}"));
    }
    for row in found
        .rows
        .iter()
        .filter(|row| row.drift.abs() > 0.1 && row.repetitions > 2)
    {
        let way = if row.drift > 0.0 { "slower" } else { "faster" };
        say(
            common,
            &format!(
                "note: {} became {:.0} % {way} from the first sample to the last",
                row.key(),
                100.0 * row.drift.abs()
            ),
        );
    }
    print_profile(common, &devices.profiled);
    if found.wrong.is_empty() {
        return Ok(());
    }
    Err(BenchError::Wrong(format!(
        "{} of the kernels are wrong on {} and were not timed: {}",
        found.wrong.len(),
        devices.profiled.name(),
        found.wrong.join("; ")
    ))
    .into())
}

fn settings(common: &Common, what: &BenchWhat) -> BenchSettings {
    let or = |chosen: bool, all: Vec<DType>, given: Vec<DType>| if chosen { given } else { all };
    let kernels = if what.kernels.is_empty() {
        BenchKernel::all()
    } else {
        what.kernels.clone()
    };
    let shapes = if what.shapes.is_empty() {
        what.size.shapes()
    } else {
        what.shapes.clone()
    };
    BenchSettings {
        kernels,
        shapes,
        tokens: what.tokens.map_or(what.size.tokens(), |tokens| tokens as usize),
        // With the small size one of each model will do.
        solves: if what.size == Size::Small { 1 } else { usize::MAX },
        dtypes: or(
            !what.dtypes.is_empty(),
            vec![DType::F32, DType::F16, DType::BF16],
            what.dtypes.iter().map(|dtype| (*dtype).into()).collect(),
        ),
        repetitions: what.repetitions as usize,
        seed: what.seed,
        command: command(common),
    }
}

/// What was typed, with the adapter in it wherever it came from.
fn command(common: &Common) -> String {
    let mut words = vec!["secateur".to_string()];
    words.extend(std::env::args().skip(1));
    if !words.iter().any(|word| word.starts_with("--adapter")) {
        words.extend(["--adapter".to_string(), common.adapter.to_string()]);
    }
    let quoted = |word: &String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,:=^".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

fn check(common: &Common, seed: u64) -> Result<(), CliError> {
    let gpu = open_gpu_with(common, false)?;
    let rows = bench::check(&gpu, seed)?;
    print(common, &rows, || check_table(&rows))?;
    let wrong: Vec<String> = rows
        .iter()
        .filter(|row| !row.passed)
        .map(|row| format!("{} {} {:?} {}", row.kernel, row.variant, row.size, row.dtype))
        .collect();
    if wrong.is_empty() {
        return Ok(());
    }
    let message = format!(
        "{} of {} kernels and sizes are wrong on {}: {}",
        wrong.len(),
        rows.len(),
        gpu.name(),
        wrong.join("; ")
    );
    Err(BenchError::Wrong(message).into())
}

fn check_table(rows: &[CheckRow]) -> String {
    let cells = rows.iter().map(|row| {
        vec![
            format!("{} {}", row.kernel, row.variant).trim().to_string(),
            row.size.map(|n| n.to_string()).join(" x "),
            row.dtype.clone(),
            row.error.map_or("NaN".to_string(), |error| format!("{error:.1e}")),
            format!("{:.1e}", row.bound),
            if row.passed { "ok" } else { "WRONG" }.to_string(),
        ]
    });
    let table = text_table(&["kernel", "size", "type", "max rel. error", "bound", ""], cells);
    let passed = rows.iter().filter(|row| row.passed).count();
    format!("{table}\n{passed} of {} agree with their f64 twins", rows.len())
}

fn compare(common: &Common, files: &BenchCompareArgs) -> Result<(), CliError> {
    let (a, b) = (read_rows(&files.a)?, read_rows(&files.b)?);
    let comparison = bench::compare(&a, &b);
    let title = |file: &std::path::Path, rows: &[crate::report::BenchRow]| {
        format!("{}: {}", file.display(), rows[0].machine.gpu_info)
    };
    print(common, &comparison, || {
        format!(
            "A {}\nB {}\n\n{}",
            title(&files.a, &a),
            title(&files.b, &b),
            comparison_table(&comparison)
        )
    })?;
    Ok(())
}

fn comparison_table(comparison: &Comparison) -> String {
    let cells = comparison.rows.iter().map(|row| {
        vec![
            row.key.clone(),
            format!("{:.4}", row.a_ns * 1e-6),
            format!("{:.4}", row.b_ns * 1e-6),
            format!("{:.3} ± {:.3}", row.ratio, row.noise),
            row.verdict.to_string(),
        ]
    });
    let table = text_table(&["measurement", "A ms", "B ms", "A / B", "B is"], cells);
    let list = |name: &str, keys: &[String]| match keys {
        [] => String::new(),
        keys => format!("\nonly in {name}: {}", keys.join(", ")),
    };
    format!(
        "{table}\n± is three standard deviations by the MADs of both; within it B is the same{}{}",
        list("A", &comparison.only_a),
        list("B", &comparison.only_b)
    )
}

fn write_board(common: &Common, args: &BenchBoardArgs) -> Result<(), CliError> {
    let (rows, others) = read_folder(&args.folder)?;
    for other in &others {
        say(common, &format!("left out: {other}"));
    }
    if rows.is_empty() {
        let message = format!(
            "no file below `{}` holds results of `secateur bench --output json` or `jsonl`",
            args.folder.display()
        );
        return Err(CliError::setting(message));
    }
    std::fs::write(&args.output, bench_board(&rows)).map_err(|error| BenchError::Io {
        file: args.output.clone(),
        operation: "write",
        error,
    })?;
    let mut files: Vec<&str> = rows.iter().map(|(file, _)| file.as_str()).collect();
    files.dedup();
    say(
        common,
        &format!(
            "{} rows of {} files in `{}`",
            rows.len(),
            files.len(),
            args.output.display()
        ),
    );
    Ok(())
}

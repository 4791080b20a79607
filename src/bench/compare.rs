//! Two result files, measurement by measurement.

use serde::Serialize;

use crate::report::BenchRow;

/// A measurement that both files have.
#[derive(Clone, Debug, Serialize)]
pub struct Match {
    /// Kernel, variant, shape, size and type.
    pub key: String,
    /// Median nanoseconds in the first file.
    pub a_ns: f64,
    /// Median nanoseconds in the second.
    pub b_ns: f64,
    /// First over second: above 1 the second is faster.
    pub ratio: f64,
    /// What the ratio may differ from 1 by noise alone.
    pub noise: f64,
    /// `faster`, `slower` or `same` (within the noise): the second against the first.
    pub verdict: &'static str,
}

/// What two files have in common, and what not.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Comparison {
    /// In both.
    pub rows: Vec<Match>,
    /// Only in the first.
    pub only_a: Vec<String>,
    /// Only in the second.
    pub only_b: Vec<String>,
}

/// A deviation of 1.4826 MADs is a standard deviation of normal noise; three of the ratio's are its bound.
const NOISE: f64 = 3.0 * 1.4826;

/// Matches rows by [`BenchRow::key`]. Of several with one key in a file the last counts.
pub fn compare(a: &[BenchRow], b: &[BenchRow]) -> Comparison {
    let last = |rows: &[BenchRow]| -> Vec<(String, BenchRow)> {
        let mut out: Vec<(String, BenchRow)> = Vec::new();
        for row in rows {
            let key = row.key();
            match out.iter_mut().find(|(known, _)| *known == key) {
                Some(place) => place.1 = row.clone(),
                None => out.push((key, row.clone())),
            }
        }
        out
    };
    let (a, b) = (last(a), last(b));
    let missing = |from: &[(String, BenchRow)], other: &[(String, BenchRow)]| {
        let alone = |(key, _): &&(String, BenchRow)| !other.iter().any(|(known, _)| known == key);
        from.iter().filter(alone).map(|(key, _)| key.clone()).collect()
    };
    let matched = |(key, a): &(String, BenchRow)| {
        let (_, b) = b.iter().find(|(known, _)| known == key)?;
        Some(hold(key, a, b))
    };
    Comparison {
        rows: a.iter().filter_map(matched).collect(),
        only_a: missing(&a, &b),
        only_b: missing(&b, &a),
    }
}

fn hold(key: &str, a: &BenchRow, b: &BenchRow) -> Match {
    let ratio = a.median_ns / b.median_ns;
    let noise = NOISE * ratio * (a.mad_ns / a.median_ns).hypot(b.mad_ns / b.median_ns);
    Match {
        key: key.to_string(),
        a_ns: a.median_ns,
        b_ns: b.median_ns,
        ratio,
        noise,
        verdict: match ratio - 1.0 {
            difference if difference.abs() <= noise => "same",
            difference if difference > 0.0 => "faster",
            _ => "slower",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(kernel: &str, median_ns: f64, mad_ns: f64) -> BenchRow {
        BenchRow {
            kernel: kernel.into(),
            median_ns,
            mad_ns,
            ..Default::default()
        }
    }

    #[test]
    fn ratios_and_their_noise() {
        let a = [
            row("x", 200.0, 2.0),
            row("y", 100.0, 10.0),
            row("z", 100.0, 1.0),
            row("gone", 1.0, 0.0),
        ];
        let b = [
            row("new", 1.0, 0.0),
            row("z", 150.0, 1.0),
            row("y", 110.0, 0.0),
            row("x", 7.0, 0.0),
            row("x", 100.0, 0.0),
        ];
        let found = compare(&a, &b);
        let verdicts: Vec<_> = found.rows.iter().map(|r| (r.ratio, r.verdict)).collect();
        assert_eq!(verdicts[0], (2.0, "faster"));
        assert!((found.rows[0].noise - 3.0 * 1.4826 * 2.0 * 0.01).abs() < 1e-12);
        assert_eq!((verdicts[1].1, verdicts[2].1), ("same", "slower"));
        assert_eq!(found.only_a.len(), 1);
        assert!(found.only_a[0].starts_with("gone/") && found.only_b[0].starts_with("new/"));
    }
}

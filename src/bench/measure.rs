//! Time of a call: warm-up, samples, and what they say.

use std::time::Instant;

use super::BenchError;
use super::case::{Call, Case};
use crate::gpu::Gpu;

/// A sample lasts at least this long, so that the clock and the start of a submission do not count.
const SAMPLE_SECONDS: f64 = 0.005;
/// Calls in a sample at most.
const MOST_CALLS: f64 = 64.0;

/// A call that takes longer is not played for warming up alone.
const LONG_SECONDS: f64 = 0.5;

/// What the clock was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    /// The device's own, from the first kernel of a submission to the end of its last.
    Timestamps,
    /// The host's, around submission and waiting.
    Wall,
    /// The host's, although the device has stamps: they were none that could be believed.
    Distrusted,
}

impl Clock {
    pub(super) fn name(self) -> &'static str {
        match self {
            Clock::Timestamps => "gpu timestamps",
            Clock::Wall => "wall",
            Clock::Distrusted => "wall (implausible gpu timestamps)",
        }
    }
}

/// Seconds of a call in each sample.
pub(super) struct Samples {
    pub(super) seconds: Vec<f64>,
    pub(super) calls: usize,
    pub(super) warmups: usize,
    pub(super) clock: Clock,
}

/// Seconds of some calls by the device's clock, if it has one, and by the host's.
fn time(gpu: &Gpu, case: &Case, calls: usize) -> Result<[f64; 2], BenchError> {
    let (start, before) = (Instant::now(), gpu.device_seconds());
    case.play(gpu, calls)?;
    Ok([gpu.device_seconds() - before, start.elapsed().as_secs_f64()])
}

/// Measures a case that was checked, and so has been played once.
pub(super) fn measure(gpu: &Gpu, case: &Case, repetitions: usize) -> Result<Samples, BenchError> {
    let stamped = gpu.has_timestamps();
    let [device, wall] = time(gpu, case, 1)?;
    let once = if stamped && device > 0.0 { device } else { wall };
    let calls = match case.work {
        Call::Recorded(_) => (SAMPLE_SECONDS / once.max(1e-9)).ceil().clamp(1.0, MOST_CALLS) as usize,
        Call::Run(_) => 1,
    };
    // The check was a warm-up, too; after it a call that takes long is as good as any later one.
    let mut both = Vec::with_capacity(repetitions);
    let mut warmups = 1;
    if once > LONG_SECONDS {
        both.push([device, wall]);
    } else {
        case.play(gpu, calls)?;
        warmups += 1 + calls;
    }
    while both.len() < repetitions {
        both.push(time(gpu, case, calls)?);
    }
    // What the device took lies within what the host waited, but for the resolution of the clocks.
    let plausible = both
        .iter()
        .all(|[device, wall]| *device > 0.0 && *device <= 1.05 * wall + 1e-5);
    let clock = match (stamped, plausible) {
        (true, true) => Clock::Timestamps,
        (true, false) => Clock::Distrusted,
        (false, _) => Clock::Wall,
    };
    let which = usize::from(clock != Clock::Timestamps);
    let seconds = both.iter().map(|sample| sample[which] / calls as f64).collect();
    Ok(Samples {
        seconds,
        calls,
        warmups,
        clock,
    })
}

/// The middle value; of an even number the mean of the two.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    } else {
        sorted[middle]
    }
}

/// Median absolute deviation from the median.
pub(super) fn deviation(values: &[f64]) -> f64 {
    let middle = median(values);
    median(&values.iter().map(|v| (v - middle).abs()).collect::<Vec<_>>())
}

/// Mean and standard deviation of a sample.
pub(super) fn mean(values: &[f64]) -> [f64; 2] {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let square: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    [mean, (square / (count - 1.0).max(1.0)).sqrt()]
}

/// How much more the last sample is than the first by a straight line through all, relative to the median.
pub(super) fn drift(values: &[f64]) -> f64 {
    let (middle, count) = ((values.len() as f64 - 1.0) / 2.0, values.len() as f64);
    let [average, _] = mean(values);
    let pairs = values.iter().enumerate().map(|(i, v)| (i as f64 - middle, v - average));
    let (slope, square) = pairs.fold((0.0, 0.0), |(s, q), (x, y)| (s + x * y, q + x * x));
    if square == 0.0 {
        0.0
    } else {
        slope / square * (count - 1.0) / median(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_of_known_samples() {
        let values = [3.0, 1.0, 2.0, 10.0, 4.0];
        assert_eq!(median(&values), 3.0);
        assert_eq!(deviation(&values), 1.0);
        assert_eq!(mean(&values)[0], 4.0);
        assert!((mean(&values)[1] - 12.5f64.sqrt()).abs() < 1e-12);
        assert_eq!(median(&[1.0, 2.0]), 1.5);
        // From 1 to 1.4 around a median of 1.2.
        assert!((drift(&[1.0, 1.1, 1.2, 1.3, 1.4]) - 0.4 / 1.2).abs() < 1e-12);
        assert_eq!(drift(&[5.0]), 0.0);
    }
}

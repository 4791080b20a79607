//! Time per kernel: GPU timestamps where the device has them, wall time on the host executor.

use std::collections::BTreeMap;
use std::sync::Mutex;

/// Accumulated time of one kernel.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Timing {
    /// Kernel stem.
    pub kernel: String,
    /// Dispatches.
    pub calls: u64,
    /// Seconds in all.
    pub seconds: f64,
}

#[derive(Default)]
pub(super) struct Timings {
    kernels: Mutex<BTreeMap<&'static str, (u64, f64)>>,
    span: Mutex<f64>,
}

impl Timings {
    pub(super) fn add(&self, stem: &'static str, seconds: f64) {
        let mut map = self.kernels.lock().expect("timing lock");
        let entry = map.entry(stem).or_default();
        entry.0 += 1;
        entry.1 += seconds;
    }

    /// Adds the time from the first dispatch of a submission to the end of its last.
    pub(super) fn add_span(&self, seconds: f64) {
        *self.span.lock().expect("timing lock") += seconds;
    }

    /// Sum of the spans.
    pub(super) fn span(&self) -> f64 {
        *self.span.lock().expect("timing lock")
    }

    /// Slowest kernel first.
    pub(super) fn table(&self) -> Vec<Timing> {
        let map = self.kernels.lock().expect("timing lock");
        let mut rows: Vec<Timing> = map
            .iter()
            .map(|(kernel, (calls, seconds))| Timing {
                kernel: kernel.to_string(),
                calls: *calls,
                seconds: *seconds,
            })
            .collect();
        rows.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        rows
    }
}

//! Phrases of the plans.

/// Why a method, if `auto` chose it.
pub(super) fn because(chosen: &Option<String>) -> String {
    chosen.as_ref().map_or(String::new(), |why| format!(" (auto, {why})"))
}

/// Where activations are kept.
pub(super) fn in_memory(activation_ram: Option<u64>) -> String {
    match activation_ram {
        None => "in memory".to_string(),
        Some(ram) => format!("{:.0} MiB of them in memory, the rest in a file", mib(ram)),
    }
}

pub(super) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

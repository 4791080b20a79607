//! Where a benchmark runs: device, processor, power, time.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::gpu::Gpu;
use crate::report::{BENCH_SCHEMA_VERSION, Machine};
use crate::run::total_memory;

/// All of it but the roofs.
pub(super) fn machine(gpu: &Gpu, command: &str, seed: u64) -> Machine {
    let adapter = gpu.adapter();
    Machine {
        schema_version: BENCH_SCHEMA_VERSION,
        build_version: env!("CARGO_PKG_VERSION").to_string(),
        build_commit: option_env!("SECATEUR_COMMIT").unwrap_or("unknown").to_string(),
        command: command.to_string(),
        test_time: now(),
        cpu_info: processor(),
        cpu_threads: rayon::current_num_threads(),
        memory_bytes: total_memory().map(|[total, _]| total),
        gpu_info: gpu.name().to_string(),
        backend: adapter.map_or("host".to_string(), |a| a.backend.clone()),
        device_type: adapter.map_or("Host".to_string(), |a| a.device_type.clone()),
        vendor: adapter.map(|a| a.vendor.clone()),
        driver: adapter.map(|a| a.driver.clone()),
        limit_binding: adapter.map(|a| a.max_binding),
        limit_buffer: adapter.map(|a| a.max_buffer),
        limit_invocations: adapter.map(|a| a.max_invocations),
        limit_workgroup_memory: adapter.map(|a| a.workgroup_memory),
        limit_storage_buffers: adapter.map(|a| a.storage_buffers),
        features: adapter.map_or(String::new(), |a| a.features.join(",")),
        power_state: power(Path::new("/sys")),
        seed,
        roof_gflops: 0.0,
        roof_gbps: 0.0,
    }
}

fn processor() -> String {
    let brand = || {
        let mut system = sysinfo::System::new().ok()?;
        system.refresh_cpu_all();
        let brand = system.cpus().first()?.brand().trim().to_string();
        (!brand.is_empty()).then_some(brand)
    };
    brand().unwrap_or_else(|| "unknown".to_string())
}

/// Supplies, governors and profiles as Linux shows them under `sys`; `unknown` where there is nothing to read.
fn power(sys: &Path) -> String {
    let read = |path: &Path| std::fs::read_to_string(path).ok().map(|text| text.trim().to_string());
    let mut words = Vec::new();
    for supply in children(&sys.join("class/power_supply")) {
        match read(&supply.join("type")).as_deref() {
            Some("Mains" | "USB") => {
                if let Some(online) = read(&supply.join("online")) {
                    words.push(if online == "1" { "mains on" } else { "mains off" }.to_string());
                }
            }
            Some("Battery") => {
                words.extend(read(&supply.join("status")).map(|s| format!("battery {}", s.to_lowercase())))
            }
            _ => {}
        }
    }
    let governor = read(&sys.join("devices/system/cpu/cpu0/cpufreq/scaling_governor"));
    words.extend(governor.map(|g| format!("governor {g}")));
    words.extend(read(&sys.join("firmware/acpi/platform_profile")).map(|p| format!("profile {p}")));
    for card in children(&sys.join("class/drm")) {
        let level = read(&card.join("device/power_dpm_force_performance_level"));
        let name = card.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Connectors are listed beside the cards.
        if let Some(level) = level.filter(|_| !name.contains('-')) {
            words.push(format!("{name} {level}"));
        }
    }
    if words.is_empty() {
        "unknown".to_string()
    } else {
        words.join(", ")
    }
}

fn children(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    date(seconds)
}

/// RFC 3339 of seconds since 1970, UTC (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn date(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let [hour, minute, second] = [rest / 3600, rest / 60 % 60, rest % 60];
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date(0), "1970-01-01T00:00:00Z");
        assert_eq!(date(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(date(1_767_225_599), "2025-12-31T23:59:59Z");
    }

    #[test]
    fn power_as_linux_tells_it() {
        let sys = tempfile::tempdir().unwrap();
        assert_eq!(power(sys.path()), "unknown");
        for (path, text) in [
            ("class/power_supply/AC/type", "Mains\n"),
            ("class/power_supply/AC/online", "0\n"),
            ("class/power_supply/BAT0/type", "Battery\n"),
            ("class/power_supply/BAT0/status", "Discharging\n"),
            ("devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n"),
            ("class/drm/card0/device/power_dpm_force_performance_level", "auto\n"),
        ] {
            let path = sys.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        assert_eq!(
            power(sys.path()),
            "mains off, battery discharging, governor powersave, card0 auto"
        );
    }
}

//! `secateur doctor`: what this machine offers, and whether our shaders suit it.

use std::path::Path;

use serde::Serialize;

use super::args::Common;
use super::exit::CliError;
use super::print;
use crate::gpu::{AdapterSummary, Gpu, GpuOptions, TileModule, compose, list_adapters};
use crate::run::{free_disk, total_memory};

#[derive(Serialize)]
struct Diagnosis {
    version: &'static str,
    default_adapter: String,
    adapters: Vec<AdapterSummary>,
    cores: usize,
    memory_bytes: Option<u64>,
    memory_available_bytes: Option<u64>,
    disk_available_bytes: Option<u64>,
    shader_variants: usize,
    shader_faults: Vec<String>,
}

pub(super) fn run(common: &Common) -> Result<(), CliError> {
    let memory = total_memory();
    let (shader_variants, shader_faults) = check_shaders();
    let diagnosis = Diagnosis {
        version: env!("CARGO_PKG_VERSION"),
        default_adapter: Gpu::open(GpuOptions::default())?.name().to_string(),
        adapters: list_adapters(),
        cores: rayon::current_num_threads(),
        memory_bytes: memory.map(|m| m[0]),
        memory_available_bytes: memory.map(|m| m[1]),
        disk_available_bytes: free_disk(Path::new(".")),
        shader_variants,
        shader_faults,
    };
    print(common, &diagnosis, || describe(&diagnosis))?;
    Ok(())
}

/// Composes, parses and validates every kernel with its first knob values, as the driver's compiler would see it.
fn check_shaders() -> (usize, Vec<String>) {
    use naga::valid::{Capabilities, ValidationFlags, Validator};
    let mut faults = Vec::new();
    let kernels = crate::ops::kernels();
    for kernel in &kernels {
        let knobs: Vec<u32> = kernel.knobs.iter().map(|k| k.values[0]).collect();
        let fault = compose(kernel, &knobs).map_err(|e| e.to_string()).and_then(|source| {
            let module = naga::front::wgsl::parse_str(&source).map_err(|e| e.emit_to_string(&source))?;
            // `unpack2x16float`: any adapter wgpu lists has it.
            let mut capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
            capabilities |= match kernel.tile_module() {
                TileModule::Tiled | TileModule::Double | TileModule::Register => Capabilities::empty(),
                TileModule::Subgroup => Capabilities::SUBGROUP,
                TileModule::Cooperative => {
                    Capabilities::SHADER_FLOAT16 | Capabilities::SUBGROUP | Capabilities::COOPERATIVE_MATRIX
                }
            };
            let mut validator = Validator::new(ValidationFlags::all(), capabilities);
            validator
                .validate(&module)
                .map(|_| ())
                .map_err(|e| e.emit_to_string(&source))
        });
        if let Err(message) = fault {
            faults.push(format!("{}: {message}", kernel.stem));
        }
    }
    (kernels.len(), faults)
}

/// One line on the cooperative matrices of an adapter that lists the feature.
fn cooperative(adapter: &AdapterSummary) -> String {
    if !adapter.features.iter().any(|name| name == "cooperative-matrix") {
        return String::new();
    }
    let sizes: Vec<String> = adapter
        .cooperative_sizes
        .iter()
        .map(|n| format!("{n}x{n}x{n}"))
        .collect();
    match (&sizes[..], adapter.cooperative_usable) {
        ([], _) => "    cooperative matrices: none of 8x8x8 or 16x16x16 halves with sums in f32\n".to_string(),
        (_, false) => format!(
            "    cooperative matrices: {}; not used on this adapter\n",
            sizes.join(", ")
        ),
        (_, true) => format!(
            "    cooperative matrices: {}, halves with sums in f32; SECATEUR_COOP=off leaves them alone\n",
            sizes.join(", ")
        ),
    }
}

fn describe(diagnosis: &Diagnosis) -> String {
    let gib = |bytes: Option<u64>| match bytes {
        Some(bytes) => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
        None => "unknown".to_string(),
    };
    let mut text = format!(
        "secateur {}\n{} cores, memory {} ({} available), disk {} free\n",
        diagnosis.version,
        diagnosis.cores,
        gib(diagnosis.memory_bytes),
        gib(diagnosis.memory_available_bytes),
        gib(diagnosis.disk_available_bytes),
    );
    for a in &diagnosis.adapters {
        text += &format!(
            "adapter {}: {} ({}, {}, {})\n    binding {} MiB, buffer {} MiB, {} invocations, {} KiB workgroup memory, {} storage buffers; {}\n",
            a.index,
            a.name,
            a.backend,
            a.device_type,
            a.driver,
            a.max_binding >> 20,
            a.max_buffer >> 20,
            a.max_invocations,
            a.workgroup_memory >> 10,
            a.storage_buffers,
            a.features.join(", "),
        );
        text += &cooperative(a);
    }
    if diagnosis.adapters.is_empty() {
        text += "no graphics adapter: install your GPU's Vulkan driver, or keep to the host executor (--adapter cpu)\n";
    }
    text += &format!(
        "adapter cpu: the host executor\ndefault: {}\n",
        diagnosis.default_adapter
    );
    text += &format!(
        "{} kernels compose and validate",
        diagnosis.shader_variants - diagnosis.shader_faults.len()
    );
    for fault in &diagnosis.shader_faults {
        text += &format!("\nFAULT {fault}");
    }
    text
}

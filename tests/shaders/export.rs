//! Writes every variant for compilers outside this process: WGSL for Tint, SPIR-V for `spirv-val`. `scripts/standard`
//! runs them on the folder.

use std::path::{Path, PathBuf};

use naga::back::spv;
use secateur::gpu::{Kernel, TileModule, compose};

use super::translate;

/// Where the variants go: afresh in every run.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("variants")
}

/// The file stem of a variant: `room-stem-knob-knob`.
pub(crate) fn name(kernel: &Kernel, knobs: &[u32]) -> String {
    let knobs = knobs.iter().map(|knob| format!("-{knob}"));
    kernel.stem.replace('/', "-") + &knobs.collect::<String>()
}

/// The WGSL that the standard asks for. naga 30 refuses the directive that subgroup functions need, so it is not in the
/// text that goes to the driver; cooperative matrices are no part of the standard.
pub(crate) fn standard_text(kernel: &Kernel, knobs: &[u32]) -> Result<Option<String>, String> {
    let text = compose(kernel, knobs).map_err(|e| e.to_string())?;
    Ok(match kernel.tile_module() {
        TileModule::Cooperative => None,
        TileModule::Subgroup => Some(format!("enable subgroups;\n{text}")),
        TileModule::Tiled | TileModule::Double | TileModule::Register => Some(text),
    })
}

/// SPIR-V with the two ways in which wgpu guards accesses: by its own checks, and by the driver's.
fn spirv(kernel: &Kernel, knobs: &[u32], guarded: bool) -> Result<Vec<u8>, String> {
    use naga::proc::BoundsCheckPolicy::{Restrict, Unchecked};
    let source = compose(kernel, knobs).map_err(|e| e.to_string())?;
    let module = translate::parse(&source)?;
    let options = spv::Options {
        lang_version: (1, 3),
        bounds_check_policies: naga::proc::BoundsCheckPolicies {
            index: Restrict,
            buffer: if guarded { Restrict } else { Unchecked },
            ..Default::default()
        },
        force_loop_bounding: kernel.tile_module() != TileModule::Cooperative,
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        ..Default::default()
    };
    let words = translate::spirv_words(&source, &module, &options)?;
    Ok(words.iter().flat_map(|word| word.to_le_bytes()).collect())
}

/// Writes one variant; returns the number of files.
pub(crate) fn write(folder: &Path, kernel: &Kernel, knobs: &[u32]) -> Result<usize, String> {
    let name = name(kernel, knobs);
    let put = |extension: &str, bytes: &[u8]| {
        std::fs::write(folder.join(format!("{name}.{extension}")), bytes)
            .map_err(|e| format!("{name}.{extension}: {e}"))
    };
    put("guarded.spv", &spirv(kernel, knobs, true)?)?;
    put("spv", &spirv(kernel, knobs, false)?)?;
    match standard_text(kernel, knobs)? {
        None => Ok(2),
        Some(text) => put("wgsl", text.as_bytes()).map(|()| 3),
    }
}

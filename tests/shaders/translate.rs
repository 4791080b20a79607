//! Parse, validate and translate with naga, as wgpu's back ends do: proves that the text comes out, not that Apple's or
//! Microsoft's compiler takes it.

use naga::back::{hlsl, msl, pipeline_constants::process_overrides, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{Module, WithSpan};

pub(crate) fn parse(source: &str) -> Result<Module, String> {
    naga::front::wgsl::parse_str(source).map_err(|e| e.emit_to_string(source))
}

/// Validates with what every device offers, no optional feature, and resolves overrides.
///
/// `unpack2x16float` has a capability of its own, which WebGPU grants everywhere.
pub(crate) fn portable(source: &str, module: &Module) -> Result<(Module, ModuleInfo), String> {
    resolve(source, module, Capabilities::SHADER_FLOAT16_IN_FLOAT32).map_err(|e| format!("portable WGSL: {e}"))
}

/// The same for a subgroup variant, which is only compiled where the adapter has that feature.
pub(crate) fn with_subgroups(source: &str, module: &Module) -> Result<(Module, ModuleInfo), String> {
    let optional = Capabilities::SUBGROUP;
    resolve(source, module, Capabilities::SHADER_FLOAT16_IN_FLOAT32 | optional)
        .map_err(|e| format!("WGSL with subgroups: {e}"))
}

/// The same for a cooperative variant, which is only compiled where the adapter has these three features.
pub(crate) fn cooperative(source: &str, module: &Module) -> Result<(Module, ModuleInfo), String> {
    let optional = Capabilities::SHADER_FLOAT16 | Capabilities::SUBGROUP | Capabilities::COOPERATIVE_MATRIX;
    resolve(source, module, Capabilities::SHADER_FLOAT16_IN_FLOAT32 | optional)
        .map_err(|e| format!("WGSL with cooperative matrices: {e}"))
}

/// SPIR-V and MSL. The exception: HLSL has no cooperative matrices, and must refuse for that reason and no other.
pub(crate) fn all_but_direct_x(source: &str, module: &Module) -> Result<(), String> {
    spirv(source, module).map_err(|e| format!("SPIR-V: {e}"))?;
    metal(source, module).map_err(|e| format!("MSL: {e}"))?;
    match direct_x(source, module) {
        Err(message) if message.contains("COOPERATIVE_MATRIX") => Ok(()),
        Err(message) => Err(format!("HLSL refuses, but not for its cooperative matrices: {message}")),
        Ok(()) => Err("HLSL takes cooperative matrices: end its exception".to_string()),
    }
}

/// SPIR-V, MSL and HLSL. The writers do not check capabilities, so each gets a module validated with its own.
pub(crate) fn all_back_ends(source: &str, module: &Module) -> Result<(), String> {
    spirv(source, module).map_err(|e| format!("SPIR-V: {e}"))?;
    metal(source, module).map_err(|e| format!("MSL: {e}"))?;
    direct_x(source, module).map_err(|e| format!("HLSL: {e}"))
}

fn resolve(source: &str, module: &Module, capabilities: Capabilities) -> Result<(Module, ModuleInfo), String> {
    let text = |e: WithSpan<naga::valid::ValidationError>| e.emit_to_string(source);
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(module)
        .map_err(text)?;
    let (module, info) =
        process_overrides(module, &info, None, &Default::default()).map_err(|e| format!("overrides: {e}"))?;
    Ok((module.into_owned(), info.into_owned()))
}

fn spirv(source: &str, module: &Module) -> Result<(), String> {
    let options = spv::Options {
        lang_version: (1, 3),
        ..Default::default()
    };
    spirv_words(source, module, &options).map(drop)
}

/// The words of the SPIR-V module.
pub(crate) fn spirv_words(source: &str, module: &Module, options: &spv::Options<'_>) -> Result<Vec<u32>, String> {
    let (module, info) = resolve(source, module, spv::supported_capabilities())?;
    spv::write_vec(&module, &info, options, None).map_err(|e| e.to_string())
}

fn metal(source: &str, module: &Module) -> Result<(), String> {
    let (module, info) = resolve(source, module, msl::supported_capabilities())?;
    let options = msl::Options {
        lang_version: (2, 4),
        fake_missing_bindings: true,
        ..Default::default()
    };
    msl::write_string(&module, &info, &options, &Default::default())
        .map(drop)
        .map_err(|e| e.to_string())
}

fn direct_x(source: &str, module: &Module) -> Result<(), String> {
    let (module, info) = resolve(source, module, hlsl::supported_capabilities())?;
    let options = hlsl::Options {
        shader_model: hlsl::ShaderModel::V6_2,
        fake_missing_bindings: true,
        ..Default::default()
    };
    let (pipeline, mut text) = (hlsl::PipelineOptions::default(), String::new());
    hlsl::Writer::new(&mut text, &options, &pipeline)
        .write(&module, &info, None)
        .map(drop)
        .map_err(|e| e.to_string())
}

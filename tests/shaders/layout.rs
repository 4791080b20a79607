//! What the host believes of a shader against naga's reflection: entry point, bindings, parameter offsets, limits.

use naga::valid::ModuleInfo;
use naga::{AddressSpace, GlobalVariable, Module, ShaderStage, StorageAccess, Type, TypeInner, VectorSize};
use secateur::gpu::{Kernel, TileModule};

// The poorest device we support: SwiftShader's invocations, WebGPU's workgroup memory and storage buffers.
const INVOCATIONS: u32 = 256;
const WORKGROUP_DEPTH: u32 = 64;
const WORKGROUP_BYTES: u32 = 16 * 1024;
const STORAGE_BUFFERS: usize = 8;
/// What cooperative matrices of 16 x 16 may use instead at a depth beyond 16: `Variant::cooperative` asks the device first.
const COOP_WORKGROUP_BYTES: u32 = 32 * 1024;

/// One compute entry point, named `main`.
pub(crate) fn entry_point(module: &Module) -> Result<(), String> {
    match &module.entry_points[..] {
        [one] if one.name == "main" && one.stage == ShaderStage::Compute => Ok(()),
        found => {
            let names: Vec<&str> = found.iter().map(|e| e.name.as_str()).collect();
            Err(format!("needs one compute entry point `main`, has {names:?}"))
        }
    }
}

/// Group 0 only: the uniform `params`, then `reads` read-only and `writes` read-write storage bindings, each one used.
pub(crate) fn bindings(module: &Module, info: &ModuleInfo, kernel: &Kernel) -> Result<(), String> {
    let entry = info.get_entry_point(0);
    let mut found = Vec::new();
    for (handle, global) in module.global_variables.iter() {
        let name = global.name.as_deref().unwrap_or("?");
        let Some(at) = global.binding else { continue };
        if at.group != 0 {
            return Err(format!("binding `{name}` is in group {}", at.group));
        }
        // The automatic layout drops unused bindings, and the host would bind to a slot that is not there.
        if entry[handle].is_empty() {
            return Err(format!("binding {} `{name}` is not used by `main`", at.binding));
        }
        found.push((at.binding as usize, kind(module, global)?));
    }
    found.sort_unstable();
    let wanted = (0..=kernel.reads + kernel.writes).map(|i| match i {
        0 => (0, "uniform"),
        i if i <= kernel.reads => (i, "read"),
        i => (i, "read_write"),
    });
    let wanted: Vec<_> = wanted.collect();
    (found == wanted)
        .then_some(())
        .ok_or_else(|| format!("bindings are {found:?}, the row says {wanted:?}"))
}

fn kind(module: &Module, global: &GlobalVariable) -> Result<&'static str, String> {
    let name = global.name.as_deref().unwrap_or("?");
    let writes = match global.space {
        AddressSpace::Uniform if name == "params" => return Ok("uniform"),
        AddressSpace::Storage { access } => access.contains(StorageAccess::STORE),
        space => return Err(format!("binding `{name}` is {space:?}")),
    };
    let TypeInner::Array { base, .. } = module.types[global.ty].inner else {
        return Err(format!("storage `{name}` is not an array"));
    };
    match module.types[base].inner {
        TypeInner::Scalar(s) | TypeInner::Atomic(s) if s.width == 4 => {}
        TypeInner::Vector { size, scalar } if size != VectorSize::Tri && scalar.width == 4 => {}
        _ => return Err(format!("elements of `{name}` are not 32-bit words, pairs or quads")),
    }
    Ok(if writes { "read_write" } else { "read" })
}

/// `Params` agrees with its Rust mirror: names, offsets, scalars of 4 bytes, size a multiple of 16.
pub(crate) fn params(module: &Module, kernel: &Kernel) -> Result<(), String> {
    let uniform = module
        .global_variables
        .iter()
        .find(|(_, g)| g.space == AddressSpace::Uniform);
    let Type { inner, .. } = &module.types[uniform.ok_or("no uniform `params`")?.1.ty];
    let TypeInner::Struct { members, span } = inner else {
        return Err("`params` is not a struct".to_string());
    };
    for member in members {
        let scalar = matches!(module.types[member.ty].inner, TypeInner::Scalar(s) if s.width == 4);
        if !scalar {
            return Err(format!(
                "Params.{} is not a 32-bit scalar",
                member.name.as_deref().unwrap_or("?")
            ));
        }
    }
    let found: Vec<_> = members
        .iter()
        .map(|m| (m.name.as_deref().unwrap_or("?"), m.offset as usize))
        .collect();
    if found != kernel.params {
        return Err(format!("Params is {found:?} in WGSL, {:?} in Rust", kernel.params));
    }
    span.is_multiple_of(16)
        .then_some(())
        .ok_or_else(|| format!("Params has {span} bytes, not a multiple of 16"))
}

/// Invocations, workgroup memory and storage buffers of the poorest device.
pub(crate) fn limits(module: &Module, info: &ModuleInfo, kernel: &Kernel, knobs: &[u32]) -> Result<(), String> {
    let [x, y, z] = module.entry_points[0].workgroup_size;
    if x * y * z > INVOCATIONS || z > WORKGROUP_DEPTH {
        return Err(format!(
            "workgroup of {x} x {y} x {z}; at most {INVOCATIONS} invocations, {WORKGROUP_DEPTH} deep"
        ));
    }
    let entry = info.get_entry_point(0);
    let used = || {
        module
            .global_variables
            .iter()
            .filter(|(handle, _)| !entry[*handle].is_empty())
            .map(|(_, g)| g)
    };
    let memory = used().filter(|g| g.space == AddressSpace::WorkGroup);
    let bytes: u32 = memory.map(|g| module.types[g.ty].inner.size(module.to_ctx())).sum();
    let coop = knobs.last().filter(|_| kernel.tile_module() == TileModule::Cooperative);
    let most = if coop.is_some_and(|coop| coop >> 16 == 16 && coop & 0xff > 16) {
        COOP_WORKGROUP_BYTES
    } else {
        WORKGROUP_BYTES
    };
    if bytes > most {
        return Err(format!("{bytes} bytes of workgroup memory; at most {most}"));
    }
    let buffers = used()
        .filter(|g| matches!(g.space, AddressSpace::Storage { .. }))
        .count();
    (buffers <= STORAGE_BUFFERS)
        .then_some(())
        .ok_or_else(|| format!("{buffers} storage buffers; at most {STORAGE_BUFFERS}"))
}

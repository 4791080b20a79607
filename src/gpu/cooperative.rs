//! Cooperative matrices: whether a device multiplies small matrices of halves into sums in f32, and at which size.

use super::GpuError;

/// Invocations of a workgroup at most.
const INVOCATIONS: u32 = 256;
/// Subgroups that share a tile.
const SUBGROUPS: u32 = 4;

/// The configuration that kernels with cooperative matrices are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cooperative {
    /// Rows, columns and length of a matrix, which are one number: 8 or 16.
    pub size: u8,
    /// Lanes of the largest subgroup.
    pub width: u8,
    /// Workgroup memory in bytes.
    pub memory: u32,
}

/// What `SECATEUR_COOP` says: `off` leaves cooperative matrices alone; unset, empty or `auto` uses what the device has.
pub(super) fn from_env() -> Result<bool, GpuError> {
    match std::env::var("SECATEUR_COOP").as_deref() {
        Err(std::env::VarError::NotPresent) | Ok("" | "auto") => Ok(true),
        Ok("off") => Ok(false),
        other => Err(GpuError::CoopMode {
            value: other.map_or_else(|error| error.to_string(), str::to_string),
        }),
    }
}

/// Features without which the kernels do not compile.
pub(super) fn features() -> wgpu::Features {
    wgpu::Features::SHADER_F16 | wgpu::Features::SUBGROUP | wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
}

/// Sizes of the square configurations of halves with sums in f32, largest first.
pub(super) fn sizes(adapter: &wgpu::Adapter) -> Vec<u8> {
    use wgpu::CooperativeScalarType::{F16, F32};
    let listed = adapter.cooperative_matrix_properties();
    let usable = listed.iter().filter(|p| {
        let square = p.m_size == p.n_size && p.n_size == p.k_size && [8, 16].contains(&p.m_size);
        square && p.ab_type == F16 && p.cr_type == F32
    });
    let mut sizes: Vec<u8> = usable.map(|p| p.m_size as u8).collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    sizes.dedup();
    sizes
}

/// The configuration to use on an adapter, if it has all that is needed.
///
/// Vulkan only: Metal's language has no sums and multiples of its matrices, which the kernels add their steps with.
/// lavapipe only with 8 lanes: with 4 it lists the matrices but fails to open with them, with 16 it crashes in them.
pub(super) fn usable(adapter: &wgpu::Adapter) -> Option<Cooperative> {
    let (info, limits) = (adapter.get_info(), adapter.limits());
    let width = info.subgroup_max_size;
    let invocations = limits.max_compute_invocations_per_workgroup.min(INVOCATIONS);
    let fits = width.is_power_of_two() && SUBGROUPS * width <= invocations;
    let is_known = info.device_type != wgpu::DeviceType::Cpu || width == 8;
    let is_vulkan = info.backend == wgpu::Backend::Vulkan;
    if !(is_vulkan && fits && is_known && adapter.features().contains(features())) {
        return None;
    }
    Some(Cooperative {
        size: *sizes(adapter).first()?,
        width: width as u8,
        memory: limits.max_compute_workgroup_storage_size,
    })
}

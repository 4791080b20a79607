//! Which adapters exist, and which one to use.

use super::{GpuError, cooperative};

/// What `--adapter` (or `SECATEUR_ADAPTER`) asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AdapterChoice {
    /// A hardware adapter (discrete before integrated); without one the host executor.
    #[default]
    Auto,
    /// The host executor: the plain twins on all cores.
    Cpu,
    /// By position in [`list_adapters`].
    Index(usize),
    /// The first adapter whose name contains this text, ignoring case.
    Name(String),
}

impl std::fmt::Display for AdapterChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AdapterChoice::Auto => f.write_str("auto"),
            AdapterChoice::Cpu => f.write_str("cpu"),
            AdapterChoice::Index(index) => write!(f, "{index}"),
            AdapterChoice::Name(name) => f.write_str(name),
        }
    }
}

impl std::str::FromStr for AdapterChoice {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "" | "auto" => AdapterChoice::Auto,
            "cpu" => AdapterChoice::Cpu,
            other => match other.parse() {
                Ok(index) => AdapterChoice::Index(index),
                Err(_) => AdapterChoice::Name(other.to_string()),
            },
        })
    }
}

/// One adapter as `secateur doctor` shows it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct AdapterSummary {
    /// Position, usable as `--adapter INDEX`.
    pub index: usize,
    /// Driver's name of the device.
    pub name: String,
    /// `vulkan`, `metal`, `dx12` or `gl`.
    pub backend: String,
    /// `DiscreteGpu`, `IntegratedGpu`, `VirtualGpu`, `Cpu` or `Other`.
    pub device_type: String,
    /// PCI number of the vendor, or wgpu's own for those without one.
    pub vendor: String,
    /// Driver and its version.
    pub driver: String,
    /// Bytes one storage binding may span.
    pub max_binding: u64,
    /// Bytes one buffer may have.
    pub max_buffer: u64,
    /// Invocations per workgroup.
    pub max_invocations: u32,
    /// Workgroup memory in bytes.
    pub workgroup_memory: u32,
    /// Storage buffers per stage.
    pub storage_buffers: u32,
    /// Optional features we can use.
    pub features: Vec<String>,
    /// Sizes of cooperative matrices of halves with sums in f32, square and known to WGSL.
    pub cooperative_sizes: Vec<u8>,
    /// Whether products may run on them: `f16` and `subgroups` are there too, on Vulkan, with subgroups of at most 64.
    pub cooperative_usable: bool,
}

impl AdapterSummary {
    pub(super) fn new(index: usize, adapter: &wgpu::Adapter) -> Self {
        let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
        let known = [
            (wgpu::Features::SHADER_F16, "f16"),
            (wgpu::Features::SUBGROUP, "subgroups"),
            (wgpu::Features::TIMESTAMP_QUERY, "timestamps"),
            (wgpu::Features::PIPELINE_CACHE, "pipeline-cache"),
            (wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX, "cooperative-matrix"),
        ];
        AdapterSummary {
            index,
            name: info.name,
            backend: info.backend.to_string(),
            device_type: format!("{:?}", info.device_type),
            vendor: format!("{:#06x}", info.vendor),
            cooperative_sizes: cooperative::sizes(adapter),
            cooperative_usable: cooperative::usable(adapter).is_some(),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
            max_binding: limits.max_storage_buffer_binding_size,
            max_buffer: limits.max_buffer_size,
            max_invocations: limits.max_compute_invocations_per_workgroup,
            workgroup_memory: limits.max_compute_workgroup_storage_size,
            storage_buffers: limits.max_storage_buffers_per_shader_stage,
            features: known
                .iter()
                .filter(|(f, _)| features.contains(*f))
                .map(|(_, n)| n.to_string())
                .collect(),
        }
    }
}

/// All adapters wgpu finds, in a stable order. Takes a moment: every driver is loaded.
pub fn list_adapters() -> Vec<AdapterSummary> {
    enumerate()
        .1
        .iter()
        .enumerate()
        .map(|(i, a)| AdapterSummary::new(i, a))
        .collect()
}

/// Opens the driver libraries and lists adapters that can compute.
pub(super) fn enumerate() -> (wgpu::Instance, Vec<wgpu::Adapter>) {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    // Indirect-call validation caps buffers at 4 GiB, and nothing here dispatches indirectly.
    descriptor.flags.remove(wgpu::InstanceFlags::VALIDATION_INDIRECT_CALL);
    let instance = wgpu::Instance::new(descriptor);
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let usable = adapters
        .into_iter()
        .filter(|a| a.limits().max_compute_workgroups_per_dimension > 0)
        .collect();
    (instance, usable)
}

/// Index of the adapter for `choice`; `None` means the host executor.
pub(super) fn pick(choice: &AdapterChoice, adapters: &[wgpu::Adapter]) -> Result<Option<usize>, GpuError> {
    let missing = |wanted: &str| GpuError::NoSuchAdapter {
        wanted: wanted.to_string(),
        available: names(adapters),
    };
    match choice {
        AdapterChoice::Cpu => Ok(None),
        AdapterChoice::Auto => Ok((0..adapters.len())
            .filter(|&i| rank(&adapters[i].get_info()) < 3)
            .min_by_key(|&i| rank(&adapters[i].get_info()))),
        AdapterChoice::Index(i) if *i < adapters.len() => Ok(Some(*i)),
        AdapterChoice::Index(i) => Err(missing(&i.to_string())),
        AdapterChoice::Name(name) => {
            let wanted = name.to_lowercase();
            let found = adapters
                .iter()
                .position(|a| a.get_info().name.to_lowercase().contains(&wanted));
            found.map(Some).ok_or_else(|| missing(name))
        }
    }
}

/// Smaller is better; 3 and more is not hardware. GL comes after the native back ends of the same device.
fn rank(info: &wgpu::AdapterInfo) -> u32 {
    let gl = info.backend == wgpu::Backend::Gl;
    match info.device_type {
        wgpu::DeviceType::DiscreteGpu if !gl => 0,
        wgpu::DeviceType::IntegratedGpu if !gl => 1,
        wgpu::DeviceType::VirtualGpu if !gl => 2,
        wgpu::DeviceType::DiscreteGpu | wgpu::DeviceType::IntegratedGpu => 2,
        _ => 3,
    }
}

fn names(adapters: &[wgpu::Adapter]) -> String {
    let list: Vec<String> = adapters
        .iter()
        .enumerate()
        .map(|(i, a)| format!("{i} = {}", a.get_info().name))
        .collect();
    if list.is_empty() {
        "only `cpu`, no graphics adapter was found".to_string()
    } else {
        list.join(", ") + ", cpu"
    }
}

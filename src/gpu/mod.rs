//! The device room: adapters, buffers, shader composition, and the two executors that play one [`Recording`].
//!
//! The only room that says `wgpu::`. It knows nothing of matrices: an op (`crate::ops`) fills parameters, bindings and
//! a workgroup count; this room plays the list, on a GPU through wgpu or on the host through the plain twins.
//! Start reading at [`Gpu`], then [`Recording`].

mod adapter;
mod batch;
mod buffer;
mod cache;
mod cooperative;
mod device;
mod error;
mod foreign;
mod host;
mod kernel;
mod pipeline;
mod pool;
mod record;
mod shader;
mod submit;
mod timing;
mod tune;
mod verify;
mod wgpu_device;

pub use adapter::{AdapterChoice, AdapterSummary, list_adapters};
pub use buffer::{Buffer, Slice};
pub use cooperative::Cooperative;
pub(crate) use device::DISPATCH_FLOPS;
pub use device::{Gpu, GpuOptions, Limits};
pub use error::GpuError;
pub use foreign::Foreign;
pub(crate) use kernel::params;
pub use kernel::{HostCall, Kernel, Knob, ParamField, TileModule, f32s, f32s_mut};
pub(crate) use record::SCRATCH;
pub use record::{ReadId, Recording, Workload};
pub use shader::{compose, shared_modules, split_groups};
pub use submit::Submission;
pub use timing::Timing;
pub(crate) use tune::rounded_log;
pub use tune::{Contest, Question, Trial, TuneMode, TuneRecord};

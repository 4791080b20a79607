//! A wgpu device with its queue, pipeline cache and error handling.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::pool::Pool;
use super::{Buffer, Cooperative, GpuError, cache, cooperative};

/// A compiled kernel.
pub(super) struct Pipeline {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
}

/// Kernel stem and knob values.
type PipelineKey = (&'static str, Vec<u32>);

pub(super) struct WgpuDevice {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) name: String,
    pub(super) timestamps: bool,
    pub(super) subgroups: bool,
    pub(super) pipelines: Mutex<HashMap<PipelineKey, Arc<Pipeline>>>,
    pub(super) cache: Option<(wgpu::PipelineCache, PathBuf)>,
    lost: Arc<Mutex<Option<String>>>,
}

impl WgpuDevice {
    /// Opens `adapter` with its own limits and the optional features we use.
    pub(super) fn open(adapter: &wgpu::Adapter, profile: bool, coop: Option<Cooperative>) -> Result<Self, GpuError> {
        let info = adapter.get_info();
        let mut wanted = wgpu::Features::PIPELINE_CACHE;
        // SwiftShader has them too, and compiles a kernel with many shuffles for minutes.
        if !info.name.contains("SwiftShader") {
            wanted |= wgpu::Features::SUBGROUP;
        }
        if profile {
            wanted |= wgpu::Features::TIMESTAMP_QUERY;
        }
        let mut experimental_features = wgpu::ExperimentalFeatures::disabled();
        if coop.is_some() {
            wanted |= cooperative::features();
            // SAFETY: asks for cooperative matrices alone, whose use wgpu does not yet check in full: our kernels keep loads
            // and stores inside their arrays, in subgroups that are whole.
            experimental_features = unsafe { wgpu::ExperimentalFeatures::enabled() };
        }
        let features = adapter.features() & wanted;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("secateur"),
            required_features: features,
            required_limits: adapter.limits(),
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            experimental_features,
            ..Default::default()
        };
        let (device, queue) =
            pollster::block_on(adapter.request_device(&descriptor)).map_err(|e| GpuError::OpenDevice {
                adapter: info.name.clone(),
                message: e.to_string(),
            })?;
        let lost = Arc::new(Mutex::new(None));
        let flag = lost.clone();
        device.set_device_lost_callback(move |reason, message| {
            *flag.lock().expect("lost flag") = Some(format!("{reason:?}: {message}"));
        });
        let cache = features
            .contains(wgpu::Features::PIPELINE_CACHE)
            .then(|| open_cache(&device, &info))
            .flatten();
        Ok(WgpuDevice {
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
            subgroups: features.contains(wgpu::Features::SUBGROUP),
            device,
            queue,
            name: info.name,
            pipelines: Mutex::default(),
            cache,
            lost,
        })
    }

    /// The typed error of a lost device, if it is lost.
    pub(super) fn check_lost(&self) -> Result<(), GpuError> {
        match self.lost.lock().expect("lost flag").as_ref() {
            Some(message) => Err(GpuError::DeviceLost {
                adapter: self.name.clone(),
                message: message.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Runs `work` and turns validation errors into a typed one that names `what`.
    pub(super) fn guarded<T>(&self, what: &str, work: impl FnOnce() -> T) -> Result<T, GpuError> {
        self.check_lost()?;
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let result = work();
        let invalid = pollster::block_on(validation.pop());
        let full = pollster::block_on(memory.pop());
        if let Some(error) = full {
            return Err(GpuError::OutOfMemory {
                label: what.to_string(),
                bytes: 0,
                message: error.to_string(),
            });
        }
        match invalid {
            Some(error) => {
                self.check_lost()?;
                Err(GpuError::Validation {
                    what: what.to_string(),
                    message: error.to_string(),
                })
            }
            None => Ok(result),
        }
    }

    /// Waits until the device has finished everything queued so far.
    pub(super) fn wait(&self) -> Result<(), GpuError> {
        /// A batch takes well under a second on a GPU; minutes mean a software adapter under load, not a hang.
        const PATIENCE: Duration = Duration::from_secs(600);
        let result = self.device.poll(wgpu::PollType::Wait {
            submission_index: None,
            timeout: Some(PATIENCE),
        });
        self.check_lost()?;
        result.map(|_| ()).map_err(|e| GpuError::DeviceLost {
            adapter: self.name.clone(),
            message: format!("no answer within {} s ({e})", PATIENCE.as_secs()),
        })
    }

    /// Allocates; on out-of-memory the pool's stock is freed and the allocation tried once more.
    pub(super) fn allocate(&self, label: &str, bytes: u64, pool: &Pool) -> Result<wgpu::Buffer, GpuError> {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let create = || {
            self.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size: bytes,
                usage,
                mapped_at_creation: false,
            })
        };
        match self.guarded(label, create) {
            Err(GpuError::OutOfMemory { .. }) => {
                let returned = pool.clear();
                let _ = self.device.poll(wgpu::PollType::wait_indefinitely());
                pool.settle(returned);
                self.guarded(label, create)
            }
            other => other,
        }
        .map_err(|error| match error {
            GpuError::OutOfMemory { label, message, .. } => GpuError::OutOfMemory { label, bytes, message },
            other => other,
        })
    }

    /// Queues a host-to-device copy; bytes beyond a multiple of 4 are padded with zeros.
    pub(super) fn write(&self, buffer: &Buffer, bytes: &[u8]) -> Result<(), GpuError> {
        /// Staging memory wgpu takes per copy.
        const PIECE: usize = 16 << 20;
        self.guarded(buffer.label(), || {
            let whole = bytes.len() / 4 * 4;
            for (i, piece) in bytes[..whole].chunks(PIECE).enumerate() {
                self.queue.write_buffer(buffer.raw(), (i * PIECE) as u64, piece);
                if whole > PIECE {
                    // Lets wgpu reuse its staging memory instead of holding a second copy of a large tensor.
                    self.queue.submit([]);
                    let _ = self.device.poll(wgpu::PollType::Poll);
                }
            }
            if whole < bytes.len() {
                let mut last = [0; 4];
                last[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
                self.queue.write_buffer(buffer.raw(), whole as u64, &last);
            }
        })
    }
}

impl Drop for WgpuDevice {
    fn drop(&mut self) {
        let Some((cache, path)) = &self.cache else { return };
        let Some(data) = cache.get_data() else { return };
        cache::store(path, &data);
    }
}

/// The driver's compiled pipelines of earlier runs, in the user's cache folder.
fn open_cache(device: &wgpu::Device, info: &wgpu::AdapterInfo) -> Option<(wgpu::PipelineCache, PathBuf)> {
    let path = cache::folder()?.join(wgpu::util::pipeline_cache_key(info)?);
    let data = std::fs::read(&path).ok();
    let descriptor = wgpu::PipelineCacheDescriptor {
        label: Some("secateur"),
        data: data.as_deref(),
        fallback: true,
    };
    // SAFETY: the data is what `get_data` returned to us for this adapter and driver; `fallback` makes wgpu start
    // afresh when its header does not match.
    let cache = unsafe { device.create_pipeline_cache(&descriptor) };
    Some((cache, path))
}

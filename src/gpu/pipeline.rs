//! Compiled kernels, cached by stem and knob values.

use std::sync::Arc;

use super::wgpu_device::{Pipeline, WgpuDevice};
use super::{GpuError, Kernel, TileModule, compose};

impl WgpuDevice {
    /// The pipeline of `kernel` with `knobs`, compiled on first use; its layout comes from the shader.
    pub(super) fn pipeline(&self, kernel: &'static Kernel, knobs: &[u32]) -> Result<Arc<Pipeline>, GpuError> {
        let key = (kernel.stem, knobs.to_vec());
        if let Some(found) = self.pipelines.lock().expect("pipeline lock").get(&key) {
            return Ok(found.clone());
        }
        let source = compose(kernel, knobs)?;
        let built = self.guarded(kernel.stem, || {
            let descriptor = wgpu::ShaderModuleDescriptor {
                label: Some(kernel.stem),
                source: wgpu::ShaderSource::Wgsl(source.into()),
            };
            let module = if kernel.tile_module() == TileModule::Cooperative {
                let checks = wgpu::ShaderRuntimeChecks {
                    force_loop_bounding: false,
                    ..wgpu::ShaderRuntimeChecks::checked()
                };
                // SAFETY: every loop of `coop_tile` and of its importers ends: they count up to constants, or to the length of
                // the sums in steps of a tile. All other checks stay. Counters of wgpu's own would keep drivers from
                // unrolling, and so the operands on their way from registers.
                unsafe { self.device.create_shader_module_trusted(descriptor, checks) }
            } else {
                self.device.create_shader_module(descriptor)
            };
            let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(kernel.stem),
                layout: None,
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    zero_initialize_workgroup_memory: false,
                    ..Default::default()
                },
                cache: self.cache.as_ref().map(|(cache, _)| cache),
            });
            let layout = pipeline.get_bind_group_layout(0);
            Arc::new(Pipeline { pipeline, layout })
        })?;
        self.pipelines.lock().expect("pipeline lock").insert(key, built.clone());
        Ok(built)
    }
}

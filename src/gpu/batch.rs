//! Plays commands on wgpu: one submission for each batch short enough for a desktop watchdog.

use std::cell::Cell;

use super::record::{Command, Dispatch};
use super::wgpu_device::{Pipeline, WgpuDevice};
use super::{Gpu, GpuError, Slice};

/// Dispatches per submission at most, which bounds the parameter arena.
const BATCH_COMMANDS: usize = 512;

/// A result on its way to the host.
pub(super) enum Staged {
    Host(Cell<Option<Vec<u32>>>),
    Wgpu(wgpu::Buffer),
}

/// Cuts the list where the estimated work or the number of commands reaches a batch.
pub(super) fn batches(commands: &[Command], most: f64) -> Vec<&[Command]> {
    let (mut out, mut start, mut flops) = (Vec::new(), 0, 0.0);
    for (i, command) in commands.iter().enumerate() {
        if let Command::Dispatch(dispatch) = command {
            flops += dispatch.cost;
        }
        if flops >= most || i + 1 - start >= BATCH_COMMANDS {
            out.push(&commands[start..=i]);
            (start, flops) = (i + 1, 0.0);
        }
    }
    if start < commands.len() {
        out.push(&commands[start..]);
    }
    out
}

/// Plays one command list of a verify step.
pub(super) fn play_one(gpu: &Gpu, device: &WgpuDevice, dispatch: Dispatch) -> Result<(), GpuError> {
    play_batch(gpu, device, &[Command::Dispatch(dispatch)], &mut Vec::new())
}

/// Plays commands as one submission; what they read is added to `reads`.
pub(super) fn play_batch(
    gpu: &Gpu,
    device: &WgpuDevice,
    commands: &[Command],
    reads: &mut Vec<Staged>,
) -> Result<(), GpuError> {
    let groups = bind(gpu, device, commands)?;
    let queries = device.timestamps.then(|| query_set(device, commands.len()));
    let name = format!("submission of {} commands", commands.len());
    device.guarded(&name, || {
        let mut encoder = device
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
        for (i, command) in commands.iter().enumerate() {
            match command {
                Command::Dispatch(dispatch) => {
                    let (pipeline, group) = groups[i].as_ref().expect("every dispatch was bound");
                    let timestamps = queries.as_ref().map(|set| wgpu::ComputePassTimestampWrites {
                        query_set: set,
                        beginning_of_pass_write_index: Some(2 * i as u32),
                        end_of_pass_write_index: Some(2 * i as u32 + 1),
                    });
                    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                        label: Some(dispatch.kernel.stem),
                        timestamp_writes: timestamps,
                    });
                    pass.set_pipeline(&pipeline.pipeline);
                    pass.set_bind_group(0, group, &[]);
                    pass.dispatch_workgroups(dispatch.groups[0], dispatch.groups[1], dispatch.groups[2]);
                }
                Command::Copy { from, to } => {
                    encoder.copy_buffer_to_buffer(from.buffer.raw(), from.offset, to.buffer.raw(), to.offset, from.len)
                }
                Command::Clear { target } => {
                    encoder.clear_buffer(target.buffer.raw(), target.offset, Some(target.len));
                }
                Command::Read { from } => reads.push(Staged::Wgpu(stage(device, &mut encoder, from))),
            }
        }
        device.queue.submit([encoder.finish()]);
    })?;
    if let Some(set) = queries {
        collect_timestamps(gpu, device, commands, &set)?;
    }
    // Lets wgpu reclaim what finished batches held; a failure shows at the next wait.
    let _ = device.device.poll(wgpu::PollType::Poll);
    Ok(())
}

/// Reads a slice without the verify detour.
pub(super) fn read_now(gpu: &Gpu, device: &WgpuDevice, from: &Slice) -> Result<Vec<u32>, GpuError> {
    let mut reads = Vec::new();
    play_batch(gpu, device, &[Command::Read { from: from.clone() }], &mut reads)?;
    match &reads[0] {
        Staged::Wgpu(staging) => map(device, staging),
        Staged::Host(_) => unreachable!("played by wgpu"),
    }
}

type Bound = Option<(std::sync::Arc<Pipeline>, wgpu::BindGroup)>;

/// Pipelines, one uniform arena for all parameter blocks, and a bind group per dispatch.
fn bind(gpu: &Gpu, device: &WgpuDevice, commands: &[Command]) -> Result<Vec<Bound>, GpuError> {
    let align = device.device.limits().min_uniform_buffer_offset_alignment as usize;
    let mut arena: Vec<u8> = Vec::new();
    let mut offsets = Vec::with_capacity(commands.len());
    for command in commands {
        offsets.push(arena.len() as u64);
        if let Command::Dispatch(dispatch) = command {
            arena.extend_from_slice(&dispatch.params);
            arena.resize(arena.len().next_multiple_of(align), 0);
        }
    }
    let uniforms = device.guarded("parameter arena", || {
        let buffer = device.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("parameter arena"),
            size: (arena.len() as u64).max(16),
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        if !arena.is_empty() {
            device.queue.write_buffer(&buffer, 0, &arena);
        }
        buffer
    })?;
    commands
        .iter()
        .zip(offsets)
        .map(|(command, offset)| match command {
            Command::Dispatch(dispatch) => bind_one(gpu, device, dispatch, &uniforms, offset).map(Some),
            _ => Ok(None),
        })
        .collect()
}

fn bind_one(
    gpu: &Gpu,
    device: &WgpuDevice,
    dispatch: &Dispatch,
    uniforms: &wgpu::Buffer,
    offset: u64,
) -> Result<(std::sync::Arc<Pipeline>, wgpu::BindGroup), GpuError> {
    for slice in &dispatch.bindings {
        if slice.len > gpu.0.limits.binding {
            return Err(GpuError::BindingTooLarge {
                label: slice.buffer.label().to_string(),
                kernel: dispatch.kernel.stem.to_string(),
                bytes: slice.len,
                limit: gpu.0.limits.binding,
            });
        }
    }
    let pipeline = device.pipeline(dispatch.kernel, &dispatch.knobs)?;
    let size = std::num::NonZeroU64::new(dispatch.params.len() as u64);
    let parameters = wgpu::BindingResource::Buffer(wgpu::BufferBinding {
        buffer: uniforms,
        offset,
        size,
    });
    let mut entries = vec![wgpu::BindGroupEntry {
        binding: 0,
        resource: parameters,
    }];
    for (i, slice) in dispatch.bindings.iter().enumerate() {
        let resource = wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: slice.buffer.raw(),
            offset: slice.offset,
            size: std::num::NonZeroU64::new(slice.len),
        });
        entries.push(wgpu::BindGroupEntry {
            binding: i as u32 + 1,
            resource,
        });
    }
    let group = device.guarded(dispatch.kernel.stem, || {
        device.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(dispatch.kernel.stem),
            layout: &pipeline.layout,
            entries: &entries,
        })
    })?;
    Ok((pipeline, group))
}

fn stage(device: &WgpuDevice, encoder: &mut wgpu::CommandEncoder, from: &Slice) -> wgpu::Buffer {
    let staging = device.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("readback"),
        size: from.len,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    encoder.copy_buffer_to_buffer(from.buffer.raw(), from.offset, &staging, 0, from.len);
    staging
}

/// Waits for a staging buffer and takes what it holds.
pub(super) fn map(device: &WgpuDevice, staging: &wgpu::Buffer) -> Result<Vec<u32>, GpuError> {
    staging.map_async(wgpu::MapMode::Read, .., |_| {});
    device.wait()?;
    let lost = |e: &dyn std::fmt::Display| GpuError::DeviceLost {
        adapter: device.name.clone(),
        message: format!("readback failed: {e}"),
    };
    let view = staging.get_mapped_range(..).map_err(|e| lost(&e))?;
    let words = bytemuck::pod_collect_to_vec(&view);
    drop(view);
    staging.unmap();
    Ok(words)
}

fn query_set(device: &WgpuDevice, commands: usize) -> wgpu::QuerySet {
    device.device.create_query_set(&wgpu::QuerySetDescriptor {
        label: Some("kernel times"),
        ty: wgpu::QueryType::Timestamp,
        count: 2 * commands as u32,
    })
}

fn collect_timestamps(
    gpu: &Gpu,
    device: &WgpuDevice,
    commands: &[Command],
    set: &wgpu::QuerySet,
) -> Result<(), GpuError> {
    let bytes = 16 * commands.len() as u64;
    let resolve = device.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("kernel times"),
        size: bytes,
        usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
        mapped_at_creation: false,
    });
    let staging = device.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("kernel times"),
        size: bytes,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let mut encoder = device
        .device
        .create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
    encoder.resolve_query_set(set, 0..2 * commands.len() as u32, &resolve, 0);
    encoder.copy_buffer_to_buffer(&resolve, 0, &staging, 0, bytes);
    device.queue.submit([encoder.finish()]);
    let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&map(device, &staging)?);
    let period = f64::from(device.queue.get_timestamp_period()) * 1e-9;
    let seconds = |[begin, end]: [u64; 2]| end.saturating_sub(begin) as f64 * period;
    let mut span: Option<[u64; 2]> = None;
    for (i, command) in commands.iter().enumerate() {
        if let Command::Dispatch(dispatch) = command {
            let [begin, end] = [ticks[2 * i], ticks[2 * i + 1]];
            gpu.0.timings.add(dispatch.kernel.stem, seconds([begin, end]));
            span = Some(span.map_or([begin, end], |[first, last]| [first.min(begin), last.max(end)]));
        }
    }
    gpu.0.timings.add_span(span.map_or(0.0, seconds));
    Ok(())
}

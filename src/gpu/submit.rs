//! Plays a recording: on the host command by command, on wgpu in batches short enough for a desktop watchdog.

use std::cell::Cell;
use std::time::Instant;

use super::batch::{Staged, batches, map, play_batch};
use super::device::Executor;
use super::record::{Command, Dispatch};
use super::{Gpu, GpuError, HostCall, ReadId, Recording, Slice, host, verify};

/// Flops queued per submission at most: well under a second even on a slow integrated GPU.
const BATCH_FLOPS: f64 = 4e10;

/// A played recording; reading a result waits for the device.
pub struct Submission {
    gpu: Gpu,
    reads: Vec<Staged>,
}

impl Submission {
    /// Result of a readback as 32-bit words. Panics if it was asked for before: a result is handed over, not copied.
    pub fn words(&self, id: ReadId) -> Result<Vec<u32>, GpuError> {
        match &self.reads[id.0] {
            Staged::Host(words) => Ok(words.take().expect("a result is read once")),
            Staged::Wgpu(staging) => {
                let Executor::Wgpu(device) = &self.gpu.0.executor else {
                    unreachable!("staging belongs to wgpu")
                };
                map(device, staging)
            }
        }
    }

    /// Result of a readback as f32.
    pub fn floats(&self, id: ReadId) -> Result<Vec<f32>, GpuError> {
        Ok(bytemuck::allocation::cast_vec(self.words(id)?))
    }

    /// Waits until the device has finished everything queued so far.
    pub fn wait(&self) -> Result<(), GpuError> {
        match &self.gpu.0.executor {
            Executor::Wgpu(device) => device.wait(),
            Executor::Host | Executor::Foreign(_) => Ok(()),
        }
    }
}

impl Gpu {
    /// Plays a recording. On a GPU this returns when everything is queued; reading a result waits.
    pub fn submit(&self, recording: Recording) -> Result<Submission, GpuError> {
        self.0.count_flops(recording.flops());
        play(self, recording)
    }

    /// As [`Gpu::submit`], but [`Gpu::flops`] does not count it: to try out how to do something is not to do it.
    pub(crate) fn submit_trial(&self, recording: Recording) -> Result<Submission, GpuError> {
        play(self, recording)
    }

    /// Plays a recording of one readback and waits for it.
    pub fn fetch(&self, slice: &Slice) -> Result<Vec<u32>, GpuError> {
        let mut recording = Recording::new();
        let id = recording.read(slice);
        self.submit(recording)?.words(id)
    }
}

fn play(gpu: &Gpu, recording: Recording) -> Result<Submission, GpuError> {
    let mut reads = Vec::with_capacity(recording.reads);
    match &gpu.0.executor {
        Executor::Host => play_on_host(&recording, &mut reads, |dispatch| {
            host::dispatch(dispatch, &gpu.0.timings);
            Ok(())
        })?,
        Executor::Foreign(foreign) => play_on_host(&recording, &mut reads, |dispatch| {
            let play = |call: &mut HostCall<'_>| foreign.dispatch(dispatch.kernel, call, dispatch.groups);
            host::with_bindings(dispatch, play).map_err(|message| GpuError::Validation {
                what: dispatch.kernel.stem.to_string(),
                message,
            })
        })?,
        Executor::Wgpu(device) if gpu.0.options.verify => {
            for (index, command) in recording.commands.iter().enumerate() {
                if let Command::Dispatch(dispatch) = command {
                    verify::dispatch(gpu, index, dispatch)?;
                } else {
                    play_batch(gpu, device, std::slice::from_ref(command), &mut reads)?;
                }
            }
        }
        Executor::Wgpu(device) => {
            let gentle = gpu.0.options.gentle;
            let most = if gentle {
                gpu.dispatch_flops() as f64
            } else {
                BATCH_FLOPS
            };
            for batch in batches(&recording.commands, most) {
                let start = Instant::now();
                play_batch(gpu, device, batch, &mut reads)?;
                if gentle {
                    device.wait()?;
                    std::thread::sleep(start.elapsed());
                }
            }
        }
    }
    Ok(Submission {
        gpu: gpu.clone(),
        reads,
    })
}

/// Plays a recording whose buffers are the host's memory.
fn play_on_host(
    recording: &Recording,
    reads: &mut Vec<Staged>,
    dispatch: impl Fn(&Dispatch) -> Result<(), GpuError>,
) -> Result<(), GpuError> {
    for command in &recording.commands {
        match command {
            Command::Dispatch(launch) => dispatch(launch)?,
            Command::Copy { from, to } => host::copy(from, to),
            Command::Clear { target } => host::clear(target),
            Command::Read { from } => reads.push(Staged::Host(Cell::new(Some(host::read(from))))),
        }
    }
    Ok(())
}

//! The debug switch: plays a dispatch on the device and on the host from the same inputs and compares the outputs.

use super::device::Executor;
use super::record::Dispatch;
use super::{Gpu, GpuError, HostCall, batch, f32s};

/// Normalised error beyond which a kernel is called wrong.
const TOLERANCE: f64 = 1e-3;

pub(super) fn dispatch(gpu: &Gpu, index: usize, dispatch: &Dispatch) -> Result<(), GpuError> {
    let Executor::Wgpu(device) = &gpu.0.executor else {
        unreachable!("verify plays against a device")
    };
    let mut host: Vec<Vec<u32>> = dispatch
        .bindings
        .iter()
        .map(|slice| fetch(gpu, slice))
        .collect::<Result<_, _>>()?;
    let copy = Dispatch {
        kernel: dispatch.kernel,
        knobs: dispatch.knobs.clone(),
        params: dispatch.params.clone(),
        bindings: dispatch.bindings.clone(),
        groups: dispatch.groups,
        cost: dispatch.cost,
    };
    batch::play_one(gpu, device, copy)?;
    let (reads, writes) = host.split_at_mut(dispatch.kernel.reads);
    (dispatch.kernel.host)(&mut HostCall {
        knobs: &dispatch.knobs,
        params: &dispatch.params,
        reads: reads.iter().map(Vec::as_slice).collect(),
        writes: writes.iter_mut().map(Vec::as_mut_slice).collect(),
    });
    for (binding, wanted) in writes.iter().enumerate().map(|(i, w)| (dispatch.kernel.reads + i, w)) {
        let found = fetch(gpu, &dispatch.bindings[binding])?;
        compare(f32s(&found), f32s(wanted)).map_err(|(error, element)| GpuError::TwinMismatch {
            index,
            kernel: dispatch.kernel.stem.to_string(),
            binding,
            error,
            element,
            device: f32s(&found)[element],
            host: f32s(wanted)[element],
        })?;
    }
    Ok(())
}

fn fetch(gpu: &Gpu, slice: &super::Slice) -> Result<Vec<u32>, GpuError> {
    let Executor::Wgpu(device) = &gpu.0.executor else {
        unreachable!("verify plays against a device")
    };
    batch::read_now(gpu, device, slice)
}

/// `Err((error, worst element))` if the outputs differ; equal bits always pass, so integer outputs do too.
fn compare(found: &[f32], wanted: &[f32]) -> Result<(), (f64, usize)> {
    let (mut worst, mut at, mut difference, mut norm) = (0.0, 0, 0.0, 0.0);
    for (i, (f, w)) in found.iter().zip(wanted).enumerate() {
        if f.to_bits() == w.to_bits() {
            norm += if w.is_finite() { f64::from(*w).powi(2) } else { 0.0 };
            continue;
        }
        let d = (f64::from(*f) - f64::from(*w)).powi(2);
        if d.is_nan() {
            return Err((f64::NAN, i));
        }
        if d > worst {
            (worst, at) = (d, i);
        }
        difference += d;
        norm += f64::from(*w).powi(2);
    }
    let error = (difference / norm.max(f64::MIN_POSITIVE)).sqrt();
    if difference == 0.0 || error <= TOLERANCE {
        Ok(())
    } else {
        Err((error, at))
    }
}

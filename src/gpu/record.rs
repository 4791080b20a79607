//! A list of commands on handles. Recording touches no queue; [`super::Gpu::submit`] plays the list.

use super::{Buffer, Kernel, Slice};

/// Bytes of [`Recording::scratch`]: one size, so that a freed one serves the next recording.
pub(crate) const SCRATCH: u64 = 32 << 20;

/// One kernel launch.
pub(crate) struct Dispatch {
    pub(crate) kernel: &'static Kernel,
    pub(crate) knobs: Vec<u32>,
    pub(crate) params: Vec<u8>,
    pub(crate) bindings: Vec<Slice>,
    pub(crate) groups: [u32; 3],
    /// Rough work in flops, used to cut submissions short of a desktop watchdog.
    pub(crate) cost: f64,
}

pub(crate) enum Command {
    Dispatch(Dispatch),
    Copy { from: Slice, to: Slice },
    Clear { target: Slice },
    Read { from: Slice },
}

/// Names a readback of one recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadId(pub(crate) usize);

/// Commands in order. Buffers stay alive until the recording is dropped.
#[derive(Default)]
pub struct Recording {
    pub(crate) commands: Vec<Command>,
    pub(crate) reads: usize,
    pub(super) scratch: Option<Buffer>,
}

impl Recording {
    /// An empty recording.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of commands recorded so far.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Rough floating-point operations of all commands.
    pub(super) fn flops(&self) -> f64 {
        let cost = |command: &Command| match command {
            Command::Dispatch(dispatch) => dispatch.cost,
            _ => 0.0,
        };
        self.commands.iter().map(cost).sum()
    }

    /// Whether nothing is recorded.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Records a launch of `kernel`: reads first, then outputs, in binding order.
    ///
    /// Panics if the number of bindings or knobs differs from the kernel's row, or an output is bound twice.
    pub fn dispatch<P: bytemuck::Pod>(
        &mut self,
        kernel: &'static Kernel,
        knobs: &[u32],
        params: &P,
        bindings: &[Slice],
        work: Workload,
    ) {
        assert_eq!(
            bindings.len(),
            kernel.reads + kernel.writes,
            "{}: number of bindings",
            kernel.stem
        );
        assert_eq!(knobs.len(), kernel.knobs.len(), "{}: number of knobs", kernel.stem);
        for (i, output) in bindings.iter().enumerate().skip(kernel.reads) {
            let twice = bindings
                .iter()
                .enumerate()
                .any(|(j, b)| j != i && b.buffer.same(&output.buffer));
            assert!(
                !twice,
                "{}: output {} (`{}`) is bound twice",
                kernel.stem,
                i,
                output.buffer.label()
            );
        }
        if work.groups.contains(&0) {
            return;
        }
        self.commands.push(Command::Dispatch(Dispatch {
            kernel,
            knobs: knobs.to_vec(),
            params: bytemuck::bytes_of(params).to_vec(),
            bindings: bindings.to_vec(),
            groups: work.groups,
            cost: work.flops,
        }));
    }

    /// Copies bytes between two different buffers of equal length.
    pub fn copy(&mut self, from: &Slice, to: &Slice) {
        assert_eq!(
            from.len,
            to.len,
            "copy of `{}` to `{}`: lengths",
            from.buffer.label(),
            to.buffer.label()
        );
        assert!(!from.buffer.same(&to.buffer), "copy within `{}`", from.buffer.label());
        self.commands.push(Command::Copy {
            from: from.clone(),
            to: to.clone(),
        });
    }

    /// Fills with zero bytes.
    pub fn clear(&mut self, target: &Slice) {
        self.commands.push(Command::Clear { target: target.clone() });
    }

    /// Reads bytes back as they are at this point of the list.
    pub fn read(&mut self, from: &Slice) -> ReadId {
        self.commands.push(Command::Read { from: from.clone() });
        self.reads += 1;
        ReadId(self.reads - 1)
    }
}

/// How much a dispatch does.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Workgroups per dimension.
    pub groups: [u32; 3],
    /// Rough floating-point operations.
    pub flops: f64,
}

impl Workload {
    /// One workgroup per `size` elements of a flat range, folded into two dimensions.
    pub fn flat(elements: usize, size: usize) -> Self {
        Workload {
            groups: super::split_groups(elements.div_ceil(size)),
            flops: elements as f64 * 4.0,
        }
    }

    /// One workgroup per row, folded into two dimensions; `flops` in all.
    pub fn rows(rows: usize, flops: f64) -> Self {
        Workload {
            groups: super::split_groups(rows),
            flops,
        }
    }
}

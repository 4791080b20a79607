//! Shapes of the tiles that product-shaped kernels (`#import tile`) compute per workgroup.

use crate::gpu::{Contest, DISPATCH_FLOPS, Gpu, GpuError, Kernel, Knob, Question};

/// Rows, columns and depth of a tile: multiples of 8, of 8 and of 1; 8 x 8 elements per invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Rows of the product.
    pub rows: u8,
    /// Columns of the product.
    pub cols: u8,
    /// Terms of the sums that are in workgroup memory at a time.
    pub depth: u8,
}

impl Tile {
    /// A shape.
    pub const fn new(rows: u8, cols: u8, depth: u8) -> Self {
        Tile { rows, cols, depth }
    }

    /// The knob `TILE`.
    pub(crate) const fn knob(self) -> u32 {
        (self.rows as u32) << 16 | (self.cols as u32) << 8 | self.depth as u32
    }
}

/// What may be chosen on a GPU, the default first: at most 256 invocations and 16 KiB of workgroup memory. All give the
/// same sums in the same order.
pub const TILES: [Tile; 8] = [
    Tile::new(64, 64, 16),
    Tile::new(128, 64, 16),
    Tile::new(64, 128, 16),
    Tile::new(128, 128, 8),
    Tile::new(128, 128, 16),
    Tile::new(64, 64, 32),
    Tile::new(32, 64, 32),
    Tile::new(32, 32, 32),
];

/// The knob of kernels that import `tile`.
pub(crate) const TILE: Knob = Knob {
    name: "TILE",
    values: &{
        let mut values = [0; TILES.len()];
        let mut i = 0;
        while i < values.len() {
            values[i] = TILES[i].knob();
            i += 1;
        }
        values
    },
};

/// A kernel, its tile, and how its work is cut.
#[derive(Clone, Copy)]
pub struct Variant {
    /// Its row in the table.
    pub(crate) kernel: &'static Kernel,
    /// The shape; a register variant has its own.
    pub(crate) tile: Tile,
    /// Flops of one dispatch at most.
    pub(crate) dispatch: usize,
}

impl Variant {
    /// The kernel with its default tile.
    pub fn of(kernel: &'static Kernel) -> Self {
        let tile = if kernel.is_register_variant() {
            Tile::new(16, 64, 1)
        } else {
            TILES[0]
        };
        Variant::new(kernel, tile)
    }

    /// The kernel with another tile; `kernel` is not a register variant.
    pub fn new(kernel: &'static Kernel, tile: Tile) -> Self {
        Variant {
            kernel,
            tile,
            dispatch: DISPATCH_FLOPS,
        }
    }

    /// Every way to run a pair of kernels on a device, the default of its kind first.
    fn all(gpu: &Gpu, tiled: &'static Kernel, register: &'static Kernel) -> Vec<Self> {
        let tiled = TILES.iter().map(|&tile| Variant::new(tiled, tile));
        let register = Variant::of(register);
        let mut all: Vec<Self> = if gpu.is_software() {
            [register].into_iter().chain(tiled.take(1)).collect()
        } else {
            tiled.chain([register]).collect()
        };
        for variant in &mut all {
            variant.dispatch = gpu.dispatch_flops();
        }
        all
    }

    /// The fastest of all for products of about `sizes`, as far as that is known; `contest` is between those it is given.
    pub(crate) fn fastest<C: Contest>(
        gpu: &Gpu,
        [tiled, register]: [&'static Kernel; 2],
        (knobs, sizes): (&[u32], [usize; 3]),
        contest: impl FnOnce(Vec<Variant>) -> Result<C, GpuError>,
    ) -> Self {
        if gpu.is_host() {
            return Variant::of(tiled);
        }
        let all = Variant::all(gpu, tiled, register);
        let question = Question::new(tiled.stem, knobs, &sizes);
        all[gpu.tuned(&question, || contest(all.clone()))]
    }

    /// What it is called in results of tuning.
    pub fn name(&self) -> String {
        let Tile { rows, cols, depth } = self.tile;
        if self.kernel.is_register_variant() {
            format!("register {rows}x{cols}")
        } else {
            format!("tiled {rows}x{cols}x{depth}")
        }
    }

    /// All knobs of the kernel, of which the tile is the last.
    pub(crate) fn knobs(&self, others: &[u32]) -> Vec<u32> {
        let tile = (!self.kernel.is_register_variant()).then(|| self.tile.knob());
        others.iter().copied().chain(tile).collect()
    }

    /// Rows and columns of a tile.
    pub(crate) fn size(&self) -> [usize; 2] {
        [self.tile.rows.into(), self.tile.cols.into()]
    }
}

impl From<&'static Kernel> for Variant {
    fn from(kernel: &'static Kernel) -> Self {
        Variant::of(kernel)
    }
}

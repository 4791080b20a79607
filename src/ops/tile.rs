//! Shapes of the tiles that product-shaped kernels (`#import tile`) compute per workgroup.

use crate::gpu::{Contest, Cooperative, DISPATCH_FLOPS, Gpu, GpuError, Kernel, Knob, Question};

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

/// Size of the cooperative matrices, lanes of the largest subgroup, depth of a tile.
const fn coop(size: u32, width: u32, depth: u32) -> u32 {
    size << 16 | width << 8 | depth
}

/// The knob of kernels that import `tile` and run on cooperative matrices.
pub(crate) const COOP: Knob = Knob {
    name: "COOP",
    values: &[
        coop(8, 4, 32),
        coop(8, 8, 32),
        coop(8, 32, 16),
        coop(16, 32, 16),
        coop(16, 32, 32),
        coop(16, 64, 32),
    ],
};

/// Depths of tiles on cooperative matrices, the larger first: with matrices of 16 x 16 it takes 24 KiB.
const COOP_DEPTHS: [u8; 2] = [32, 16];
/// Workgroup memory that every device has.
const COMMON_MEMORY: u32 = 16 << 10;

/// How exact a product has to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Sums of f32 products in f32: what factorisations and their refinement need.
    #[default]
    Full,
    /// Each operand may be taken as two halves, where the device has cooperative matrices and tuning found them faster.
    /// `|error| <= 3 2^-22 |a||b| + 2^-39 (max|a| |b| + |a| max|b|)` for the sum over a step of 16 or 32 terms, and the sums' own
    /// rounding; the maxima are over the tile's rows or columns (32 or 64) in that step, so that rows of less than 2^-19
    /// of their neighbours' size lose digits. A b of 16 bits has 2^-28 where it is subnormal in halves. What is not finite
    /// makes the elements that it enters not finite, most often NaN where f32 has an infinity.
    Split,
}

/// A kernel, its tile, and how its work is cut.
#[derive(Clone, Copy)]
pub struct Variant {
    /// Its row in the table.
    pub(crate) kernel: &'static Kernel,
    /// The shape; a register variant has its own.
    pub(crate) tile: Tile,
    /// Flops of one dispatch at most.
    pub(crate) dispatch: usize,
    /// Lanes of the largest subgroup, for a cooperative variant.
    pub(crate) width: u8,
}

impl Variant {
    /// The kernel with its default tile; `kernel` is not a cooperative variant.
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
            width: 0,
        }
    }

    /// A cooperative variant with every depth that fits the device, the deepest first; none where it has no such matrices.
    pub fn cooperative(gpu: &Gpu, kernel: &'static Kernel) -> Vec<Self> {
        let Some(Cooperative { size, width, memory }) = gpu.cooperative() else {
            return Vec::new();
        };
        let fits = |depth: &u8| *depth <= 16 || size == 8 || memory >= 2 * COMMON_MEMORY;
        let depths = COOP_DEPTHS.into_iter().filter(fits);
        let variant = |depth| Variant {
            width,
            ..Variant::new(kernel, Tile::new(4 * size, 4 * size, depth))
        };
        depths.map(variant).collect()
    }

    /// Every way to run a product on a device, the default of its kind first. Cooperative matrices are no choice on software
    /// adapters, where they are an exercise.
    fn all(gpu: &Gpu, [tiled, register, coop]: [&'static Kernel; 3], precision: Precision) -> Vec<Self> {
        let tiled = TILES.iter().map(|&tile| Variant::new(tiled, tile));
        let register = Variant::of(register);
        let mut all: Vec<Self> = if gpu.is_software() {
            [register].into_iter().chain(tiled.take(1)).collect()
        } else {
            let coop = match precision {
                Precision::Full => Vec::new(),
                Precision::Split => Variant::cooperative(gpu, coop),
            };
            tiled.chain([register]).chain(coop).collect()
        };
        for variant in &mut all {
            variant.dispatch = gpu.dispatch_flops();
        }
        all
    }

    /// The fastest of all for products of about `sizes`, as far as that is known; `contest` is between those it is given.
    pub(crate) fn fastest<C: Contest>(
        gpu: &Gpu,
        (kernels, precision): ([&'static Kernel; 3], Precision),
        (knobs, sizes): (&[u32], [usize; 3]),
        contest: impl FnOnce(Vec<Variant>) -> Result<C, GpuError>,
    ) -> Self {
        if gpu.is_host() {
            return Variant::of(kernels[0]);
        }
        let all = Variant::all(gpu, kernels, precision);
        // With more candidates it is another question.
        let is_wider = all.iter().any(Variant::is_cooperative);
        let asked = if is_wider { kernels[2] } else { kernels[0] };
        let question = Question::new(asked.stem, knobs, &sizes);
        all[gpu.tuned(&question, || contest(all.clone()))]
    }

    /// What it is called in results of tuning.
    pub fn name(&self) -> String {
        let Tile { rows, cols, depth } = self.tile;
        if self.kernel.is_register_variant() {
            format!("register {rows}x{cols}")
        } else if self.is_cooperative() {
            format!("cooperative {rows}x{cols}x{depth}")
        } else {
            format!("tiled {rows}x{cols}x{depth}")
        }
    }

    /// Whether it runs on cooperative matrices.
    pub fn is_cooperative(&self) -> bool {
        self.kernel.is_coop_variant()
    }

    /// The same way to run another kernel of `[tiled, register, cooperative]`.
    pub(crate) fn of_kind(self, kernels: [&'static Kernel; 3]) -> Self {
        let kind = match self.kernel {
            kernel if kernel.is_register_variant() => 1,
            kernel if kernel.is_coop_variant() => 2,
            _ => 0,
        };
        Variant {
            kernel: kernels[kind],
            ..self
        }
    }

    /// Error of a product of numbers in -1..1 at most, for each term: eps/2, tenfold for the order of the sums, and what
    /// splitting adds.
    pub(crate) fn error_per_term(&self) -> f64 {
        let split = if self.is_cooperative() {
            3.0 * 2f64.powi(-22)
        } else {
            0.0
        };
        5.0 * f64::from(f32::EPSILON) + split
    }

    /// All knobs of the kernel, of which the tile is the last.
    pub(crate) fn knobs(&self, others: &[u32]) -> Vec<u32> {
        let tile = match self.kernel {
            kernel if kernel.is_register_variant() => None,
            kernel if kernel.is_coop_variant() => {
                let [size, width, depth] = [self.tile.rows / 4, self.width, self.tile.depth].map(u32::from);
                Some(coop(size, width, depth))
            }
            _ => Some(self.tile.knob()),
        };
        others.iter().copied().chain(tile).collect()
    }

    /// Rows, columns and depth of its tile.
    pub fn tile(&self) -> Tile {
        self.tile
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

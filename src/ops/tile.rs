//! Shapes of the tiles that product-shaped kernels (`#import tile`) compute per workgroup.

use crate::gpu::{Contest, Cooperative, DISPATCH_FLOPS, Gpu, GpuError, Kernel, Knob, Question, TileModule};

/// Rows, columns and depth of a tile: multiples of 8, of 8 and of 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Rows of the product.
    pub rows: u16,
    /// Columns of the product.
    pub cols: u16,
    /// Terms of the sums that are in workgroup memory at a time.
    pub depth: u16,
}

impl Tile {
    /// A shape.
    pub const fn new(rows: u16, cols: u16, depth: u16) -> Self {
        Tile { rows, cols, depth }
    }

    /// The knob `TILE`: a byte for each.
    pub(crate) const fn knob(self) -> u32 {
        (self.rows as u32) << 16 | (self.cols as u32) << 8 | self.depth as u32
    }
}

/// What may be chosen on a GPU, the default first: at most 256 invocations of 8 x 8 elements, and 16 KiB of workgroup
/// memory. All give the same sums in the same order.
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

/// What may be chosen with two buffers in 16 KiB, few enough registers being on their way.
pub const DOUBLES: [Tile; 3] = [Tile::new(64, 64, 16), Tile::new(128, 128, 8), Tile::new(128, 64, 8)];

/// The knobs of `tiles`.
const fn knobs_of<const N: usize>(tiles: [Tile; N]) -> [u32; N] {
    let mut values = [0; N];
    let mut i = 0;
    while i < N {
        values[i] = tiles[i].knob();
        i += 1;
    }
    values
}

/// The knob of kernels that import `tile`.
pub(crate) const TILE: Knob = Knob {
    name: "TILE",
    values: &knobs_of(TILES),
};

/// The knob of `_double` variants.
pub(crate) const DOUBLE_TILE: Knob = Knob {
    name: "TILE",
    values: &knobs_of(DOUBLES),
};

/// The knob of kernels that import `tile` and hand registers round in subgroups: invocations of a workgroup.
pub(crate) const LANES: Knob = Knob {
    name: "LANES",
    values: &[32, 64, 128],
};
/// Rows of such a tile, and columns of each lane.
const SUBGROUP_SHAPE: [u16; 2] = [16, 4];

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
const COOP_DEPTHS: [u16; 2] = [32, 16];
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

/// The kernels of one product, one for each module that `#import tile` may get.
#[derive(Clone, Copy)]
pub(crate) struct Kinds {
    /// `tile`.
    pub(crate) tiled: &'static Kernel,
    /// `double_tile`.
    pub(crate) double: &'static Kernel,
    /// `register_tile`.
    pub(crate) register: &'static Kernel,
    /// `subgroup_tile`.
    pub(crate) subgroup: &'static Kernel,
    /// `coop_tile`.
    pub(crate) cooperative: &'static Kernel,
}

/// Declares the other rows of a product-shaped kernel beside its `TILED`, and their [`Kinds`]: the knobs they share, then
/// the stems of the variants with two buffers, for drivers that run on the CPU, for GPUs whose lanes hand values round
/// quickly, and for cooperative matrices (see [`Precision::Split`]).
macro_rules! product_variants {
    ([$($knob:ident),*], $double:literal, $register:literal, $subgroup:literal, $cooperative:literal) => {
        /// The variant with two buffers in workgroup memory.
        pub static DOUBLE: Kernel = Kernel {
            stem: $double,
            knobs: &[$($knob,)* $crate::ops::tile::DOUBLE_TILE],
            ..TILED
        };

        /// The variant for drivers that run on the CPU.
        pub static REGISTER: Kernel = Kernel {
            stem: $register,
            knobs: &[$($knob),*],
            ..TILED
        };

        /// The variant for GPUs whose lanes hand values round quickly.
        pub static SUBGROUP: Kernel = Kernel {
            stem: $subgroup,
            knobs: &[$($knob,)* $crate::ops::tile::LANES],
            ..TILED
        };

        /// The variant for cooperative matrices: each operand as two halves.
        pub static COOPERATIVE: Kernel = Kernel {
            stem: $cooperative,
            knobs: &[$($knob,)* $crate::ops::tile::COOP],
            ..TILED
        };

        /// All of them, as [`crate::ops::Variant`] wants them.
        const KINDS: $crate::ops::tile::Kinds = $crate::ops::tile::Kinds {
            tiled: &TILED,
            double: &DOUBLE,
            register: &REGISTER,
            subgroup: &SUBGROUP,
            cooperative: &COOPERATIVE,
        };
    };
}
pub(crate) use product_variants;

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
    /// Parts of the sums that are taken side by side; 1 but for some Grams.
    pub(crate) parts: u8,
}

impl Variant {
    /// The kernel with its default tile; `kernel` is no subgroup or cooperative variant.
    pub fn of(kernel: &'static Kernel) -> Self {
        let tile = match kernel.tile_module() {
            TileModule::Register => Tile::new(16, 64, 1),
            TileModule::Double => DOUBLES[0],
            _ => TILES[0],
        };
        Variant::new(kernel, tile)
    }

    /// The kernel with another tile: of [`TILES`], with two buffers of [`DOUBLES`]; `kernel` is no register variant.
    pub fn new(kernel: &'static Kernel, tile: Tile) -> Self {
        Variant {
            kernel,
            tile,
            dispatch: DISPATCH_FLOPS,
            width: 0,
            parts: 1,
        }
    }

    /// The same with at most so many flops in a dispatch, but at least one row of tiles (tests).
    pub fn at_most(self, dispatch: usize) -> Self {
        Variant { dispatch, ..self }
    }

    /// The same with the tokens of a Gram in at most so many parts.
    pub fn in_parts(self, parts: u8) -> Self {
        Variant { parts, ..self }
    }

    /// A subgroup variant with every number of lanes; none where lanes cannot hand values round.
    pub fn subgroup(gpu: &Gpu, kernel: &'static Kernel) -> Vec<Self> {
        let [rows, each] = SUBGROUP_SHAPE;
        let lanes = LANES.values.iter().filter(|_| gpu.has_subgroups());
        let tile = |lanes: &u32| Tile::new(rows, each * *lanes as u16, 1);
        lanes.map(|lanes| Variant::new(kernel, tile(lanes))).collect()
    }

    /// A cooperative variant with every depth that fits the device, the deepest first; none where it has no such matrices.
    pub fn cooperative(gpu: &Gpu, kernel: &'static Kernel) -> Vec<Self> {
        let Some(Cooperative { size, width, memory }) = gpu.cooperative() else {
            return Vec::new();
        };
        let fits = |depth: &u16| *depth <= 16 || size == 8 || memory >= 2 * COMMON_MEMORY;
        let depths = COOP_DEPTHS.into_iter().filter(fits);
        let variant = |depth| Variant {
            width,
            ..Variant::new(kernel, Tile::new(4 * u16::from(size), 4 * u16::from(size), depth))
        };
        depths.map(variant).collect()
    }

    /// Every way to run a product on a device, the default of its kind first. Subgroups and cooperative matrices are no
    /// choice on software adapters, where they are an exercise.
    pub(crate) fn all(gpu: &Gpu, kinds: Kinds, precision: Precision) -> Vec<Self> {
        if gpu.is_host() {
            return vec![Variant::of(kinds.tiled)];
        }
        let tiled = TILES.iter().map(|&tile| Variant::new(kinds.tiled, tile));
        let doubles = DOUBLES.iter().map(|&tile| Variant::new(kinds.double, tile));
        let register = Variant::of(kinds.register);
        let mut all: Vec<Self> = if gpu.is_software() {
            [register].into_iter().chain(tiled.take(1)).collect()
        } else {
            let subgroup = Variant::subgroup(gpu, kinds.subgroup);
            let coop = match precision {
                Precision::Full => Vec::new(),
                Precision::Split => Variant::cooperative(gpu, kinds.cooperative),
            };
            tiled
                .chain(doubles)
                .chain([register])
                .chain(subgroup)
                .chain(coop)
                .collect()
        };
        for variant in &mut all {
            variant.dispatch = gpu.dispatch_flops();
        }
        all
    }

    /// The fastest of `all` for what `question` asks, as far as that is known; `contest` is between those it is given.
    pub(crate) fn fastest<C: Contest>(
        gpu: &Gpu,
        all: &[Variant],
        question: &Question,
        contest: impl FnOnce(Vec<Variant>) -> Result<C, GpuError>,
    ) -> Self {
        all[gpu.tuned(question, || contest(all.to_vec()))]
    }

    /// What it is called in results of tuning.
    pub fn name(&self) -> String {
        let Tile { rows, cols, depth } = self.tile;
        let shape = match self.kernel.tile_module() {
            TileModule::Tiled => format!("tiled {rows}x{cols}x{depth}"),
            TileModule::Double => format!("double {rows}x{cols}x{depth}"),
            TileModule::Register => format!("register {rows}x{cols}"),
            TileModule::Subgroup => format!("subgroup {rows}x{cols}"),
            TileModule::Cooperative => format!("cooperative {rows}x{cols}x{depth}"),
        };
        match self.parts {
            1 => shape,
            parts => format!("{shape} in {parts} parts"),
        }
    }

    /// Whether its operands go through one buffer in workgroup memory, as they are.
    pub(crate) fn is_tiled(&self) -> bool {
        self.kernel.tile_module() == TileModule::Tiled
    }

    /// Whether it runs on cooperative matrices.
    pub fn is_cooperative(&self) -> bool {
        self.kernel.tile_module() == TileModule::Cooperative
    }

    /// The same way to run another product.
    pub(crate) fn of_kind(self, kinds: Kinds) -> Self {
        let kernel = match self.kernel.tile_module() {
            TileModule::Tiled => kinds.tiled,
            TileModule::Double => kinds.double,
            TileModule::Register => kinds.register,
            TileModule::Subgroup => kinds.subgroup,
            TileModule::Cooperative => kinds.cooperative,
        };
        Variant { kernel, ..self }
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
        let tile = match self.kernel.tile_module() {
            TileModule::Tiled | TileModule::Double => Some(self.tile.knob()),
            TileModule::Register => None,
            TileModule::Subgroup => Some(u32::from(self.tile.cols / SUBGROUP_SHAPE[1])),
            TileModule::Cooperative => {
                let [size, depth] = [self.tile.rows / 4, self.tile.depth].map(u32::from);
                Some(coop(size, self.width.into(), depth))
            }
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

//! What a kernel is: one WGSL file, the knobs that shape it, its parameter layout, and its twin on the host.

/// A compile-time constant of a kernel, written into the generated header as `const NAME: u32`.
#[derive(Clone, Copy, Debug)]
pub struct Knob {
    /// Name in the shader.
    pub name: &'static str,
    /// Values that tests validate; an op may use others of the same kind (head sizes).
    pub values: &'static [u32],
}

/// One field of a `Params` block: name and byte offset, checked against naga's reflection.
pub type ParamField = (&'static str, usize);

/// A row of the kernel table.
pub struct Kernel {
    /// `room/name`: file stem, label, cache key, name of op, twin and test.
    pub stem: &'static str,
    /// WGSL text before composition.
    pub source: &'static str,
    /// Constants of the generated header.
    pub knobs: &'static [Knob],
    /// Fields of the uniform block.
    pub params: &'static [ParamField],
    /// Number of read-only storage bindings (1 ..= reads).
    pub reads: usize,
    /// Number of read-write storage bindings after them.
    pub writes: usize,
    /// Plays one dispatch on the host.
    pub host: fn(&mut HostCall<'_>),
}

/// Which text `#import tile` gets in a kernel. All but the first are the text of another kernel with another module, and a
/// stem that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TileModule {
    /// `tile`: operands go through workgroup memory; and every kernel that does not import it.
    Tiled,
    /// `double_tile`, in `<stem>_double`.
    Double,
    /// `register_tile`, in `<stem>_register`.
    Register,
    /// `subgroup_tile`, in `<stem>_subgroup`. It needs [`super::Gpu::has_subgroups`].
    Subgroup,
    /// `coop_tile`, in `<stem>_coop`. It needs cooperative matrices ([`super::Gpu::cooperative`]).
    Cooperative,
}

/// Suffixes of stems, and the modules that their imports get.
const SUFFIXES: [(&str, TileModule, StoredModule); 5] = [
    ("_double", TileModule::Double, StoredModule::Full),
    ("_register", TileModule::Register, StoredModule::Full),
    ("_subgroup", TileModule::Subgroup, StoredModule::Full),
    ("_coop", TileModule::Cooperative, StoredModule::Full),
    ("_half", TileModule::Tiled, StoredModule::Half),
];

/// Which text `#import stored` gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StoredModule {
    /// `stored`: f32 in workgroup memory; and every kernel that does not import it.
    Full,
    /// `stored_half`, in `<stem>_half`.
    Half,
}

impl StoredModule {
    /// Stem of the shared module.
    fn name(self) -> &'static str {
        match self {
            StoredModule::Full => "stored",
            StoredModule::Half => "stored_half",
        }
    }
}

impl TileModule {
    /// Stem of the shared module.
    pub(super) fn name(self) -> &'static str {
        match self {
            TileModule::Tiled => "tile",
            TileModule::Double => "double_tile",
            TileModule::Register => "register_tile",
            TileModule::Subgroup => "subgroup_tile",
            TileModule::Cooperative => "coop_tile",
        }
    }
}

impl Kernel {
    /// What its `#import tile` gets.
    pub fn tile_module(&self) -> TileModule {
        self.variant().1
    }

    /// Path of its text without the extension: `room/stem`.
    pub fn file(&self) -> &'static str {
        self.variant().0
    }

    /// Imports that stand for one of several modules, and the stem of that module.
    pub(super) fn modules(&self) -> [(&'static str, &'static str); 2] {
        let (_, tile, stored) = self.variant();
        [
            (TileModule::Tiled.name(), tile.name()),
            (StoredModule::Full.name(), stored.name()),
        ]
    }

    fn variant(&self) -> (&'static str, TileModule, StoredModule) {
        let mut found = SUFFIXES
            .iter()
            .filter_map(|(suffix, tile, stored)| Some((self.stem.strip_suffix(suffix)?, *tile, *stored)));
        found
            .next()
            .unwrap_or((self.stem, TileModule::Tiled, StoredModule::Full))
    }
}

/// One dispatch as the host executor hands it to a twin.
pub struct HostCall<'a> {
    /// Knob values in table order.
    pub knobs: &'a [u32],
    /// Bytes of the `Params` block.
    pub params: &'a [u8],
    /// Read-only bindings as 32-bit words.
    pub reads: Vec<&'a [u32]>,
    /// Read-write bindings as 32-bit words.
    pub writes: Vec<&'a mut [u32]>,
}

impl HostCall<'_> {
    /// The parameter block as its Rust mirror.
    pub fn params<P: bytemuck::Pod>(&self) -> P {
        bytemuck::pod_read_unaligned(self.params)
    }

    /// Read-only binding `i` as f32.
    pub fn read(&self, i: usize) -> &[f32] {
        f32s(self.reads[i])
    }

    /// All bindings at once: `R` inputs and `W` outputs as words.
    pub fn split<const R: usize, const W: usize>(&mut self) -> ([&[u32]; R], [&mut [u32]; W]) {
        let reads: [&[u32]; R] = std::array::from_fn(|i| self.reads[i]);
        let mut writes = self.writes.iter_mut();
        (
            reads,
            std::array::from_fn(|_| &mut **writes.next().expect("the kernel row states the number of outputs")),
        )
    }
}

/// Words seen as f32.
pub fn f32s(words: &[u32]) -> &[f32] {
    bytemuck::cast_slice(words)
}

/// Words seen as mutable f32.
pub fn f32s_mut(words: &mut [u32]) -> &mut [f32] {
    bytemuck::cast_slice_mut(words)
}

/// Declares a `Params` block of scalars: `#[repr(C)]`, `Pod`, and the field table for the reflection test.
///
/// The size must be a multiple of 16; pad by name (`pad0`).
macro_rules! params {
    ($(#[$meta:meta])* struct $name:ident { $($(#[$fmeta:meta])* $field:ident : $ty:ty),+ $(,)? }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
        pub(crate) struct $name { $($(#[$fmeta])* pub(crate) $field: $ty),+ }

        impl $name {
            /// Name and byte offset of every field.
            pub(crate) const FIELDS: &'static [$crate::gpu::ParamField] =
                &[$((stringify!($field), std::mem::offset_of!($name, $field))),+];
        }

        const _: () = assert!(std::mem::size_of::<$name>().is_multiple_of(16), "pad Params to 16 bytes by name");
    };
}
pub(crate) use params;

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

impl Kernel {
    /// Whether it is `<stem>_register`: the text of `<stem>`, in which `#import tile` gets `register_tile`.
    pub fn is_register_variant(&self) -> bool {
        self.stem.ends_with("_register")
    }

    /// Whether it is `<stem>_subgroup`: the text of `<stem>`, in which `#import tile` gets `subgroup_tile`. It needs
    /// [`super::Gpu::has_subgroups`].
    pub fn is_subgroup_variant(&self) -> bool {
        self.stem.ends_with("_subgroup")
    }

    /// Whether it is `<stem>_coop`: the text of `<stem>`, in which `#import tile` gets `coop_tile`. It needs cooperative
    /// matrices ([`super::Gpu::cooperative`]).
    pub fn is_coop_variant(&self) -> bool {
        self.stem.ends_with("_coop")
    }

    /// Path of its text without the extension: `room/stem`.
    pub fn file(&self) -> &'static str {
        let suffixes = ["_register", "_subgroup", "_coop"];
        let base = suffixes.iter().find_map(|s| self.stem.strip_suffix(s));
        base.unwrap_or(self.stem)
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

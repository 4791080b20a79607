//! Device memory handles.

use std::sync::{Arc, RwLock, Weak};

use super::pool::{Pool, Storage};

pub(super) struct Inner {
    label: String,
    bytes: u64,
    pub(super) storage: Option<Storage>,
    pool: Weak<Pool>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let (Some(storage), Some(pool)) = (self.storage.take(), self.pool.upgrade()) {
            pool.put(self.bytes, storage);
        }
    }
}

/// A handle on device memory; cloning shares it. Sizes are multiples of 4 bytes.
#[derive(Clone)]
pub struct Buffer(pub(super) Arc<Inner>);

impl Buffer {
    /// Wraps memory that the pool handed out or reserved.
    pub(super) fn new(label: &str, bytes: u64, storage: Storage, pool: &Arc<Pool>) -> Self {
        Buffer(Arc::new(Inner {
            label: label.into(),
            bytes,
            storage: Some(storage),
            pool: Arc::downgrade(pool),
        }))
    }

    /// Name in messages.
    pub fn label(&self) -> &str {
        &self.0.label
    }

    /// Size in bytes.
    pub fn bytes(&self) -> u64 {
        self.0.bytes
    }

    /// Whether both handles are one buffer.
    pub fn same(&self, other: &Buffer) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The whole buffer as a binding.
    pub fn slice(&self) -> Slice {
        Slice {
            buffer: self.clone(),
            offset: 0,
            len: self.bytes(),
        }
    }

    /// `len` bytes from `offset`; both multiples of 4. Panics beyond the end.
    pub fn window(&self, offset: u64, len: u64) -> Slice {
        assert!(
            offset.is_multiple_of(4) && len.is_multiple_of(4) && offset + len <= self.bytes(),
            "window of `{}`",
            self.label()
        );
        Slice {
            buffer: self.clone(),
            offset,
            len,
        }
    }

    pub(super) fn raw(&self) -> &wgpu::Buffer {
        match self.0.storage.as_ref().expect("storage is only taken in drop") {
            Storage::Wgpu(raw) => raw,
            Storage::Host(_) => panic!("host buffer `{}` given to the wgpu executor", self.label()),
        }
    }

    pub(super) fn host(&self) -> &RwLock<Vec<u32>> {
        match self.0.storage.as_ref().expect("storage is only taken in drop") {
            Storage::Host(memory) => memory,
            Storage::Wgpu(_) => panic!("wgpu buffer `{}` given to the host executor", self.label()),
        }
    }
}

/// A byte range of a buffer, as one binding.
#[derive(Clone)]
pub struct Slice {
    /// The buffer.
    pub buffer: Buffer,
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub len: u64,
}

//! Device memory handles and the pool that reuses them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, RwLock, Weak};

pub(super) enum Storage {
    Wgpu(wgpu::Buffer),
    Host(RwLock<Vec<u32>>),
}

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
    pub(super) fn new(label: &str, bytes: u64, storage: Storage, pool: &Arc<Pool>) -> Self {
        pool.count(bytes as i64);
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

#[derive(Default)]
struct Free {
    by_size: HashMap<u64, Vec<Storage>>,
    bytes: u64,
}

/// Freed buffers by exact size, up to a stock in bytes, and a count of what is alive.
pub(super) struct Pool {
    stock: u64,
    free: Mutex<Free>,
    live: Mutex<(i64, i64)>,
}

impl Pool {
    /// Keeps at most `stock` freed bytes; beyond it buffers go back to the driver.
    pub(super) fn new(stock: u64) -> Arc<Self> {
        Arc::new(Pool {
            stock,
            free: Mutex::default(),
            live: Mutex::default(),
        })
    }

    pub(super) fn take(&self, bytes: u64) -> Option<Storage> {
        let mut free = self.free.lock().expect("pool lock");
        let storage = free.by_size.get_mut(&bytes)?.pop()?;
        free.bytes -= bytes;
        Some(storage)
    }

    fn put(&self, bytes: u64, storage: Storage) {
        self.count(-(bytes as i64));
        let mut free = self.free.lock().expect("pool lock");
        if free.bytes + bytes <= self.stock {
            free.bytes += bytes;
            free.by_size.entry(bytes).or_default().push(storage);
        }
    }

    /// Gives everything back to the driver.
    pub(super) fn clear(&self) {
        *self.free.lock().expect("pool lock") = Free::default();
    }

    fn count(&self, change: i64) {
        let mut live = self.live.lock().expect("pool lock");
        live.0 += change;
        live.1 = live.1.max(live.0);
    }

    /// Largest number of bytes alive at once so far (the pool's own stock not counted).
    pub(super) fn peak(&self) -> u64 {
        self.live.lock().expect("pool lock").1.max(0) as u64
    }
}

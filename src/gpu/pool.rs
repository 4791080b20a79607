//! Reuse of freed buffers, the count of what is held, and the budget it must stay within.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

/// Of a budget, the part that may be spent on freed buffers kept for reuse.
const STOCK_SHARE: u64 = 8;

/// Memory of either executor.
pub(super) enum Storage {
    Wgpu(wgpu::Buffer),
    Host(RwLock<Vec<u32>>),
}

#[derive(Default)]
struct State {
    /// Freed buffers and their bytes, the one longest free first.
    free: VecDeque<(u64, Storage)>,
    /// Bytes of these.
    stock: u64,
    /// Bytes in use.
    live: u64,
    /// Bytes given back to the driver, which frees them once the device has finished with them.
    returned: u64,
    /// Largest `live + stock` so far.
    peak: u64,
    /// The same since the present phase began.
    ceiling: u64,
    /// Freed bytes that are kept at most.
    most: u64,
}

impl State {
    /// Gives up `bytes` of the stock at least, or all of it. `counted`: as bytes that the driver still has.
    fn give_up(&mut self, bytes: u64, counted: bool) {
        let before = self.stock;
        while before - self.stock < bytes
            && let Some((freed, _)) = self.free.pop_front()
        {
            self.stock -= freed;
        }
        if counted {
            self.returned += before - self.stock;
        }
    }
}

/// Freed buffers, up to a stock in bytes, and a count of all that is held.
pub(super) struct Pool {
    stock: u64,
    budget: Option<u64>,
    state: Mutex<State>,
}

impl Pool {
    /// Keeps at most `stock` freed bytes, and at most an eighth of the budget; beyond it buffers go back to the driver.
    pub(super) fn new(stock: u64, budget: Option<u64>) -> Arc<Self> {
        let stock = stock.min(budget.map_or(u64::MAX, |budget| budget / STOCK_SHARE));
        let state = State {
            most: stock,
            ..State::default()
        };
        Arc::new(Pool {
            stock,
            budget,
            state: state.into(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("pool lock")
    }

    /// A freed buffer of this size, if there is one.
    pub(super) fn take(&self, bytes: u64) -> Option<Storage> {
        let mut state = self.state();
        // What was freed last may still be in the processor's caches.
        let at = state.free.iter().rposition(|(size, _)| *size == bytes)?;
        let (_, storage) = state.free.remove(at)?;
        state.stock -= bytes;
        state.live += bytes;
        Some(storage)
    }

    /// Counts `bytes` as in use, before they are allocated; `Err` with the bytes held if that exceeds the budget.
    pub(super) fn reserve(&self, bytes: u64) -> Result<(), u64> {
        let mut state = self.state();
        // The stock never adds to the peak, which is then that of the buffers in use and can be predicted.
        let beyond = (state.live + state.stock + bytes).saturating_sub(state.ceiling);
        state.give_up(beyond, self.budget.is_some());
        let held = state.live + state.stock + state.returned;
        if self.budget.is_some_and(|budget| held.saturating_add(bytes) > budget) {
            return Err(held);
        }
        state.live += bytes;
        state.ceiling = state.ceiling.max(state.live + state.stock);
        state.peak = state.peak.max(state.ceiling);
        Ok(())
    }

    /// Takes back a reservation whose allocation failed.
    pub(super) fn unreserve(&self, bytes: u64) {
        self.state().live -= bytes;
    }

    /// Takes a buffer that is no longer in use.
    pub(super) fn put(&self, bytes: u64, storage: Storage) {
        let mut state = self.state();
        state.live -= bytes;
        if state.stock + bytes <= state.most {
            state.stock += bytes;
            state.free.push_back((bytes, storage));
        } else if self.budget.is_some() {
            state.returned += bytes;
        }
    }

    /// Gives the stock back to the driver; returns the bytes that are free once the device has been waited for.
    pub(super) fn clear(&self) -> u64 {
        let mut state = self.state();
        state.give_up(u64::MAX, true);
        state.returned
    }

    /// The device has been waited for since [`Pool::clear`] returned `bytes`.
    pub(super) fn settle(&self, bytes: u64) {
        let mut state = self.state();
        // Another thread may have waited for the same bytes.
        state.returned = state.returned.saturating_sub(bytes);
    }

    /// Gives up the stock, which others left, and from now on keeps none beyond the peak of what follows.
    pub(super) fn begin_phase(&self) {
        let mut state = self.state();
        state.give_up(u64::MAX, self.budget.is_some());
        state.ceiling = state.live;
    }

    /// The same, and forgets the peak so far.
    pub(super) fn reset_peak(&self) {
        self.begin_phase();
        let mut state = self.state();
        state.peak = state.live;
    }

    /// Freed bytes that are kept at most, unless [`Pool::limit_stock`] wants fewer.
    pub(super) fn stock(&self) -> u64 {
        self.stock
    }

    /// Keeps at most so many from now on.
    pub(super) fn limit_stock(&self, bytes: u64) {
        let mut state = self.state();
        state.most = self.stock.min(bytes);
        let beyond = state.stock.saturating_sub(state.most);
        state.give_up(beyond, self.budget.is_some());
    }

    /// Largest number of bytes held at once so far: buffers in use and the pool's stock.
    pub(super) fn peak(&self) -> u64 {
        self.state().peak
    }
}

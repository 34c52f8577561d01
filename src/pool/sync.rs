//! The one atomic type of the pool, so that tests can put another in its place.
//!
//! The shipped program gets the standard one. Unit tests get one that calls a hook before each access, so that a
//! thread can be stopped at any step; loom models get loom's.

pub(super) use std::sync::atomic::Ordering;

#[cfg(not(test))]
pub(super) use std::sync::atomic::AtomicU64;

#[cfg(all(test, loom))]
pub(super) use loom::sync::atomic::AtomicU64;

#[cfg(all(test, not(loom)))]
pub(super) use stepped::AtomicU64;

/// Atomics whose every access is a step at which a test can stop the thread.
#[cfg(all(test, not(loom)))]
pub(super) mod stepped {
    use std::cell::RefCell;
    use std::sync::atomic::{self, Ordering};

    type Hook = Box<dyn FnMut()>;

    thread_local! {
        static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
    }

    /// From now on `hook` runs before each access of this thread; `None` removes it.
    pub(in crate::pool) fn before_each_step(hook: Option<Hook>) {
        HOOK.with(|h| *h.borrow_mut() = hook);
    }

    fn step() {
        HOOK.with(|h| {
            if let Some(hook) = h.borrow_mut().as_mut() {
                hook();
            }
        });
    }

    /// `std`'s, with a step before each access.
    pub(in crate::pool) struct AtomicU64(atomic::AtomicU64);

    impl AtomicU64 {
        pub(in crate::pool) fn new(value: u64) -> Self {
            Self(atomic::AtomicU64::new(value))
        }

        pub(in crate::pool) fn load(&self, order: Ordering) -> u64 {
            step();
            self.0.load(order)
        }

        pub(in crate::pool) fn store(&self, value: u64, order: Ordering) {
            step();
            self.0.store(value, order);
        }

        pub(in crate::pool) fn compare_exchange(&self, old: u64, new: u64, ok: Ordering, no: Ordering) -> Result<u64, u64> {
            step();
            self.0.compare_exchange(old, new, ok, no)
        }
    }
}

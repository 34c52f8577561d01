//! The one atomic type of the pool, so that tests can put another in its place.
//!
//! The shipped program gets the standard one. Unit tests get one that calls a hook before each access, so that a
//! thread can be stopped at any step; loom models get loom's.
//! Either way it is the shipped code that runs.

pub(super) use std::sync::atomic::Ordering;

#[cfg(not(test))]
pub(super) use std::sync::atomic::AtomicU64;

#[cfg(all(test, e911d_models))]
pub(super) use turns::AtomicU64;

#[cfg(all(test, not(e911d_models)))]
pub(super) use stepped::AtomicU64;

/// Atomics whose every access is a step at which a test can stop the thread.
#[cfg(all(test, not(e911d_models)))]
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

/// Loom's atomics, with the choice to try a change of threads before every access.
///
/// Loom changes threads where two accesses depend on each other, but keeps in mind only the last access to each object: a
/// thread that loads a word before it writes to it hides earlier loads of others (loom 0.7). A relaxed count that all
/// accesses share makes them all dependent, and orders nothing else.
#[cfg(all(test, e911d_models))]
pub(super) mod turns {
    use std::cell::Cell;

    use loom::sync::atomic::{self, Ordering};

    thread_local! {
        // All threads of a model run on one thread of the system.
        static AT_EVERY_STEP: Cell<bool> = const { Cell::new(false) };
    }

    loom::lazy_static! {
        static ref TURN: atomic::AtomicU64 = atomic::AtomicU64::new(0);
    }

    /// From now on the models of this thread change threads at every access.
    pub(in crate::pool) fn at_every_step(yes: bool) {
        AT_EVERY_STEP.set(yes);
    }

    fn turn() {
        if AT_EVERY_STEP.get() {
            TURN.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Loom's, with a turn before each access.
    pub(in crate::pool) struct AtomicU64(atomic::AtomicU64);

    impl AtomicU64 {
        pub(in crate::pool) fn new(value: u64) -> Self {
            Self(atomic::AtomicU64::new(value))
        }

        pub(in crate::pool) fn load(&self, order: Ordering) -> u64 {
            turn();
            self.0.load(order)
        }

        pub(in crate::pool) fn store(&self, value: u64, order: Ordering) {
            turn();
            self.0.store(value, order);
        }

        pub(in crate::pool) fn compare_exchange(&self, old: u64, new: u64, ok: Ordering, no: Ordering) -> Result<u64, u64> {
            turn();
            self.0.compare_exchange(old, new, ok, no)
        }
    }
}

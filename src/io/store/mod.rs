//! Where rows are made durable (RULES L1, B1).
//!
//! [`Store`] is the seam: a new kind of store is a file here and an arm where the daemon opens it. A store never
//! holds a call up: it says "done" at once or later, and the story goes on after 50 ms whether it did or not.
//! [`Keeper`] is the way for everything that nobody waits for. Rows are plain data ([`Row`]); what they mean is
//! known where they are made.

mod memory;

pub use memory::in_memory;

use crate::emergency::facts::CallId;
use crate::words::{Row, Saved};
use std::task::{Context, Poll};

/// A store, open.
pub struct Opened {
    /// For the rows that calls wait for.
    pub store: Box<dyn Store>,
    /// For all others.
    pub keeper: Keeper,
    /// What it held.
    pub saved: Saved,
}

/// What has become of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is durable.
    Now,
    /// [`Store::poll_written`] will say.
    Later,
}

/// Makes rows durable, in the order in which they come. Must not block.
pub trait Store: Send {
    /// Begins to write the row that this call waits for.
    fn commit(&mut self, call: CallId, row: Row) -> Written;

    /// The next call whose row has become durable since.
    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<CallId>;
}

/// Hands rows over that no call waits for. Never blocks, never fails.
#[derive(Clone, Default)]
pub struct Keeper {}

impl Keeper {
    /// Begins to write this row.
    pub fn keep(&self, _row: Row) {}
}

//! Where lease records are made durable (RULES L1).
//!
//! [`Store`] is the seam: a new kind of store is a file here and an arm where the daemon opens it. A store never
//! holds a call up: it says "done" at once or later, and the story goes on after 50 ms whether it did or not.

mod memory;

pub use memory::Memory;

use crate::emergency::facts::{CallId, LeaseRecord};
use std::task::{Context, Poll};

/// What has become of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is durable.
    Now,
    /// [`Store::poll_written`] will say.
    Later,
}

/// Makes records durable, in the order in which they come. Must not block.
pub trait Store: Send {
    /// Begins to write the record that this call waits for.
    fn commit(&mut self, call: CallId, record: LeaseRecord) -> Written;

    /// The next call whose record has become durable since.
    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<CallId>;
}

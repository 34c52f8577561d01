//! Where rows are made durable (RULES L1, B1).
//!
//! [`Store`] is the seam: a new kind of store is a file here and an arm where the daemon opens it. A store never
//! holds a call up: it says "done" at once or later, and the story goes on after 50 ms whether it did or not.
//! [`Keeper`] is the way for everything that nobody waits for. Rows are plain data ([`Row`]); what they mean is
//! known where they are made.
//!
//! [`sqlite`] is the store of one machine.

mod memory;
pub mod sqlite;

pub use memory::in_memory;

use crate::emergency::facts::CallId;
use crate::words::{Row, Saved};
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Notify, oneshot};

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

/// What a store is told, in this order.
enum Order {
    /// A row that nobody waits for.
    Keep(Row),
    /// A row that a call waits for.
    Commit(CallId, Row),
    /// See [`Keeper::settled`].
    Settled,
    /// Tell when everything up to here is durable.
    Flush(mpsc::Sender<()>),
    /// Read records.
    Records { below: i64, most: usize, answer: oneshot::Sender<Vec<(i64, Vec<u8>)>> },
    /// The end; tell whether everything is durable.
    Close(mpsc::Sender<bool>),
}

/// The way to a store's thread.
#[derive(Clone)]
struct Orders {
    queue: UnboundedSender<Order>,
    /// Wakes the thread, which may not be listening to the queue for a while.
    urgent: Arc<Notify>,
    /// The thread will look into the queue by itself: rows that calls wait for need not wake it.
    will_look: Arc<AtomicBool>,
}

impl Orders {
    /// Never blocks; fails where nobody is there any more, and then there is nothing to be done.
    fn send(&self, order: Order) {
        let (waits, is_row) = (!matches!(order, Order::Keep(_)), matches!(order, Order::Commit(..)));
        let _ = self.queue.send(order);
        // With the fence on the other side: either this is seen to be false, or the order above is seen in the queue.
        fence(Ordering::SeqCst);
        if waits && !(is_row && self.will_look.load(Ordering::Relaxed)) {
            self.urgent.notify_one();
        }
    }
}

/// Hands rows over that no call waits for. Never blocks, never fails.
#[derive(Clone, Default)]
pub struct Keeper {
    orders: Option<Orders>,
}

impl Keeper {
    /// Begins to write this row. A row of [`Table::Record`](crate::words::Table::Record) has a number in decimal as its
    /// key, higher than those before; with none it gets the next one.
    pub fn keep(&self, row: Row) {
        self.send(Order::Keep(row));
    }

    /// What was restored has been kept again with times of this boot (or was of this boot): from here on the times in all
    /// rows belong to this boot. Until this is durable, a restart sees [`Saved::same_boot`] as this one did.
    pub fn settled(&self) {
        self.send(Order::Settled);
    }

    /// Waits until everything that was handed over so far is durable; false: not within this time. Not for a thread that
    /// carries calls.
    pub fn flush(&self, within: Duration) -> bool {
        let (done, flushed) = mpsc::channel();
        self.send(Order::Flush(done));
        self.orders.is_none() || flushed.recv_timeout(within).is_ok()
    }

    /// As [`Keeper::flush`], for a thread that has other things to do meanwhile.
    pub async fn flushed(&self, within: Duration) -> bool {
        let keeper = self.clone();
        tokio::task::spawn_blocking(move || keeper.flush(within)).await.unwrap_or(false)
    }

    /// Writes what is still to be written, then that the stop was an orderly one, and closes the store; false: not within
    /// this time. What is handed over afterwards goes nowhere.
    pub fn close(&self, within: Duration) -> bool {
        let (done, closed) = mpsc::channel();
        self.send(Order::Close(done));
        self.orders.is_none() || closed.recv_timeout(within).unwrap_or(false)
    }

    /// At most so many ordinary records with ids below this one, the newest first: `(id, content)`. Empty where there is no
    /// store. Those that are not written yet are not among them.
    pub async fn records(&self, below: i64, most: usize) -> Vec<(i64, Vec<u8>)> {
        let (answer, found) = oneshot::channel();
        self.send(Order::Records { below, most, answer });
        found.await.unwrap_or_default()
    }

    fn send(&self, order: Order) {
        if let Some(orders) = &self.orders {
            orders.send(order);
        }
    }
}

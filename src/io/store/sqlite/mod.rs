//! Rows in one SQLite database, written by group commit (RULES L1, B1, B3).
//!
//! Two threads stand between a call and the disk. The *collector* ([`Collector`]) takes every row at once and keeps the last
//! one of each key ([`pending`]), so memory is bounded by what lives, however long the disk stalls. The *disk* thread
//! ([`disk`]) gets all of it as one batch, writes it as one transaction ([`mod@file`]), and tells those who wait.
//!
//! Nothing here says no: where the state directory is missing, full, read-only or broken, rows wait in memory, the alarm
//! stands, and they are written once it works again. Read [`open`] first.

mod damage;
mod disk;
mod file;
mod lock;
mod pending;
mod schema;
#[cfg(test)]
mod tests;
mod wipe;

use super::{Keeper, Opened, Order, Orders, Store, Written};
use crate::emergency::facts::CallId;
use crate::io::{clock, kill};
use crate::words::{Row, Saved, Table, Time};
use disk::{Disk, Done, Work};
use file::node;
use pending::Pending;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::MissedTickBehavior;
use tracing::{error, warn};

/// A disk that gives no row for so long is not waited for when the daemon starts.
const NO_SIGN: Duration = Duration::from_secs(2);
/// And no disk is waited for longer than that.
const OPENING: Duration = Duration::from_secs(20);
/// A disk that has not written a batch after that has failed.
const STUCK: Duration = Duration::from_secs(3);
/// How often that is looked at.
const TICK: Duration = Duration::from_millis(500);
/// Between two attempts to write.
const RETRY: Duration = Duration::from_secs(1);
/// A batch that nobody waits for grows for so long: each sync costs more than its rows (RULES B1 leaves 100 ms). Until then
/// nobody listens, so that whoever hands a row over does not have to wake anybody.
const LINGER: Duration = Duration::from_millis(20);
/// A batch of nothing but records of ordinary calls grows for so long: no call and no lease hangs on them.
const RECORDS: Duration = Duration::from_millis(200);
/// From the beginning of one batch to the next, even if calls wait: in a rush several share one sync. That is the most
/// that a call loses by it.
const PACE: Duration = Duration::from_millis(4);
/// Orders that are taken at once.
const BURST: usize = 256;

/// Another daemon uses this state directory.
#[derive(Debug, thiserror::Error)]
#[error("state_dir {0}: in use: is another e911d running?")]
pub struct Taken(PathBuf);

/// Told whether the alarm `store_failed` stands, whenever that changes.
pub type StoreFailed = Box<dyn FnMut(bool) + Send>;

/// Opens the database of this state directory, or goes on from memory until it can be opened. `boot`: the present boot's id
/// ([`clock::boot_id`]). `keep_damaged`: how long a damaged database lies beside the new one before it is deleted. Waits for
/// as long as the disk gives rows.
///
/// # Errors
///
/// Only if another process has the directory.
pub fn open(dir: &Path, boot: &str, keep_damaged: Duration, store_failed: StoreFailed) -> Result<Opened, Taken> {
    begin(dir, boot, keep_damaged, store_failed, false)
}

/// As [`open`], for the process that the one which has the directory hands over to. If a disk that stalls keeps that one from
/// letting go, what the database holds is read all the same, and rows wait in memory until it has ended.
///
/// # Errors
///
/// None; the result is [`open`]'s.
pub fn inherit(dir: &Path, boot: &str, keep_damaged: Duration, store_failed: StoreFailed) -> Result<Opened, Taken> {
    begin(dir, boot, keep_damaged, store_failed, true)
}

fn begin(dir: &Path, boot: &str, keep_damaged: Duration, store_failed: StoreFailed, heir: bool) -> Result<Opened, Taken> {
    let (orders, taken) = unbounded_channel();
    let (written, durable) = unbounded_channel();
    let (work, to_do) = mpsc::channel();
    let urgent = Arc::new(Notify::new());
    let will_look = Arc::new(AtomicBool::new(false));
    let (done, results) = unbounded_channel();
    let (opened, saved) = mpsc::channel();
    let (progress, given_up) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let disk = Disk {
        dir: dir.to_owned(),
        heir,
        boot: boot.to_owned(),
        keep_damaged,
        work: to_do,
        done,
        written,
        progress: Arc::clone(&progress),
        given_up: Arc::clone(&given_up),
        state: disk::State::default(),
    };
    let collector = Collector {
        orders: taken,
        urgent: Arc::clone(&urgent),
        will_look: Arc::clone(&will_look),
        done: results,
        work,
        boot: boot.to_owned(),
        pending: Pending::default(),
        opened: Some(opened),
        store_failed,
        busy_since: Some(clock::now()),
        deaf_until: None,
        records_since: None,
        last_batch: Time::ZERO,
        healthy: true,
        told: false,
        not_before: Time::ZERO,
        closing: None,
    };
    let threads = spawn("disk", || disk.run()).and_then(|()| spawn("store", || collector.run()));
    let saved = match threads.map(|()| wait(&saved, &progress)) {
        Ok(Some(Some(saved))) => saved,
        Ok(Some(None)) => return Err(Taken(dir.to_owned())),
        Ok(None) | Err(_) => {
            given_up.store(true, Ordering::Release);
            glimpse(dir, boot)
        }
    };
    let orders = Orders { queue: orders, urgent, will_look };
    let store = Box::new(Sqlite { orders: orders.clone(), durable, told: VecDeque::new() });
    Ok(Opened { store, keeper: Keeper { orders: Some(orders) }, saved })
}

/// The node's row of this key, from a database that may be in use or not ours to write. `None` also where the disk hangs.
pub fn peek(dir: &Path, key: &str) -> Option<Vec<u8>> {
    let (dir, key) = (dir.to_owned(), key.to_owned());
    let (found, answer) = mpsc::channel();
    spawn("peek", move || drop(found.send(file::peek_row(&dir, Table::Node, &key)))).ok()?;
    answer.recv_timeout(NO_SIGN).ok()?
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
}

/// What can be read of a database on a disk that takes no writes and does not even refuse them.
fn glimpse(dir: &Path, boot: &str) -> Saved {
    let (dir, boot) = (dir.to_owned(), boot.to_owned());
    let progress = Arc::new(AtomicU64::new(0));
    let (seen, answer) = mpsc::channel();
    let rows = Arc::clone(&progress);
    let begun = spawn("glimpse", move || drop(seen.send(file::glimpse(&dir, &boot, &rows))));
    let mut held = begun.ok().and_then(|()| wait(&answer, &progress)).unwrap_or_default();
    held.era = file::nothing().era;
    held
}

/// What the database held; `None` if it takes too long.
fn wait<T>(saved: &mpsc::Receiver<T>, progress: &AtomicU64) -> Option<T> {
    let began = clock::now();
    let mut seen = 0;
    loop {
        if let Ok(saved) = saved.recv_timeout(NO_SIGN) {
            return Some(saved);
        }
        let read = progress.load(Ordering::Relaxed);
        if read == seen || clock::now() > began + OPENING {
            return None;
        }
        seen = read;
    }
}

/// The front's side.
struct Sqlite {
    orders: Orders,
    /// Batch by batch.
    durable: UnboundedReceiver<Vec<CallId>>,
    /// What is left of the batch that came last.
    told: VecDeque<CallId>,
}

impl Store for Sqlite {
    fn commit(&mut self, call: CallId, row: Row) -> Written {
        self.orders.send(Order::Commit(call, row));
        Written::Later
    }

    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<CallId> {
        loop {
            if let Some(call) = self.told.pop_front() {
                return Poll::Ready(call);
            }
            match self.durable.poll_recv(cx) {
                Poll::Ready(Some(batch)) => self.told = batch.into(),
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// The thread between the calls and the disk. Never touches a file.
struct Collector {
    orders: UnboundedReceiver<Order>,
    /// There is an order that somebody waits for.
    urgent: Arc<Notify>,
    /// There is a moment, soon, at which [`Self::take_all`] is called in any case.
    will_look: Arc<AtomicBool>,
    done: UnboundedReceiver<Done>,
    work: mpsc::Sender<Work>,
    boot: String,
    pending: Pending,
    /// Who waits for what the database held.
    opened: Option<mpsc::Sender<Option<Saved>>>,
    store_failed: StoreFailed,
    /// Since when the disk thread has been opening the database or writing a batch.
    busy_since: Option<Time>,
    /// While rows gather for which nobody waits: until when.
    deaf_until: Option<Time>,
    /// Since when nothing but records of ordinary calls waits.
    records_since: Option<Time>,
    /// When the last batch began.
    last_batch: Time,
    /// What the disk thread thinks.
    healthy: bool,
    /// Whether the alarm stands.
    told: bool,
    /// When a batch may be tried again.
    not_before: Time,
    closing: Option<Closing>,
}

/// The end has begun.
struct Closing {
    orderly: bool,
    done: Option<mpsc::Sender<bool>>,
}

impl Collector {
    fn run(self) {
        if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() {
            runtime.block_on(self.collect());
        }
    }

    async fn collect(mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut orders = Vec::with_capacity(BURST);
        let urgent = Arc::clone(&self.urgent);
        loop {
            let pause = self.pause(clock::now());
            // While the disk writes, or is about to, the next batch grows in the queue.
            let is_occupied = self.busy_since.is_some() || pause.is_some() && self.deaf_until.is_none();
            self.will_look.store(is_occupied, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            // Whoever has seen it true before now has woken nobody.
            if !is_occupied && self.take_all() {
                self.hand_over();
                continue;
            }
            let listens = self.closing.is_none() && self.deaf_until.is_none() && !is_occupied;
            tokio::select! {
                n = self.orders.recv_many(&mut orders, BURST), if listens => match n {
                    0 => self.closing = Some(Closing { orderly: false, done: None }),
                    _ => orders.drain(..).for_each(|order| self.take(order)),
                },
                () = urgent.notified() => {}
                done = self.done.recv() => match done {
                    Some(Done::Closed(all)) => return self.closed(all),
                    Some(done) => self.hear(done),
                    None => return self.without_disk(),
                },
                _ = tick.tick() => {}
                () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {}
            }
            self.take_all();
            self.hand_over();
            self.report();
        }
    }

    /// How long until something can be done that nothing else tells of.
    fn pause(&self, now: Time) -> Option<Duration> {
        let paced = (self.busy_since.is_none() && !self.pending.is_empty()).then(|| self.last_batch + PACE);
        let next = self.deaf_until.into_iter().chain(paced.filter(|at| *at > now)).min()?;
        Some(next.since(now))
    }

    /// Takes what is in the queue; whether there was anything.
    fn take_all(&mut self) -> bool {
        let mut any = false;
        while self.closing.is_none()
            && let Ok(order) = self.orders.try_recv()
        {
            self.take(order);
            any = true;
        }
        any
    }

    fn take(&mut self, order: Order) {
        match order {
            Order::Keep(row) => self.pending.keep(row),
            Order::Commit(call, row) => self.pending.commit(call, row),
            Order::Settled => self.pending.keep(Row::keep(Table::Node, node::BOOT, self.boot.clone().into_bytes())),
            Order::Flush(done) => self.pending.flush(done),
            Order::Records { below, most, answer } => drop(self.work.send(Work::Records(below, most, answer))),
            Order::Close(done) => self.closing = Some(Closing { orderly: true, done: Some(done) }),
        }
    }

    fn hear(&mut self, done: Done) {
        match done {
            Done::Opened(saved) => {
                self.busy_since = None;
                self.pending.learn(&saved);
                self.opened.take().map(|opened| opened.send(Some(saved)));
            }
            Done::Taken => drop(self.opened.take().map(|opened| opened.send(None))),
            Done::Written => self.busy_since = None,
            Done::Failed(batch) => {
                self.busy_since = None;
                self.not_before = clock::now() + RETRY;
                self.pending.give_back(batch);
            }
            Done::Health(healthy) => self.healthy = healthy,
            Done::Closed(_) => {}
        }
    }

    /// One batch at a time: meanwhile the next one grows.
    fn hand_over(&mut self) {
        let now = clock::now();
        let grown = self.deaf_until.is_some_and(|until| until <= now);
        let only_records = self.pending.is_only_records();
        if !only_records {
            self.records_since = None;
        }
        let may_grow = only_records && now < *self.records_since.get_or_insert(now) + RECORDS;
        if !self.pending.is_only_kept() || grown && !may_grow {
            self.deaf_until = None;
        } else if grown || self.deaf_until.is_none() {
            self.deaf_until = Some(now + LINGER);
        }
        if self.busy_since.is_some() {
            return;
        }
        let work = match &self.closing {
            Some(closing) => Work::Close(self.pending.take().unwrap_or_default(), closing.orderly),
            None if now < self.not_before || now < self.last_batch + PACE || self.deaf_until.is_some() => return,
            None => match self.pending.take() {
                Some(batch) => Work::Write(batch),
                None => return,
            },
        };
        (self.busy_since, self.last_batch, self.records_since) = (Some(now), now, None);
        kill::point("batch");
        let _ = self.work.send(work);
    }

    fn report(&mut self) {
        let lost = self.pending.take_lost();
        if lost > 0 {
            metrics::counter!("e911d_lost_total", "why" => "record").increment(lost);
            warn!(event = "ordinary records are lost: the disk does not take them", lost);
        }
        let stuck = self.busy_since.is_some_and(|since| clock::now() > since + STUCK);
        let failed = stuck || !self.healthy;
        if failed != self.told {
            self.told = failed;
            (self.store_failed)(failed);
        }
    }

    /// Its thread is gone, and with it every attempt to write.
    fn without_disk(mut self) {
        if self.closing.is_none() {
            self.ended();
        }
        self.closed(false);
    }

    fn ended(&mut self) {
        error!(event = "the store has ended: calls go on from memory, and nothing is written until a restart");
        (self.store_failed)(true);
    }

    fn closed(mut self, all: bool) {
        if let Some(done) = self.closing.take().and_then(|c| c.done) {
            let _ = done.send(all);
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if thread::panicking() {
            self.ended();
        }
    }
}

//! The disk thread: the only one that touches the state directory, and the only one that may hang there.
//!
//! Read [`Disk::run`] first.

use super::damage::{self, Aside};
use super::file::{self, File, Trouble, node};
use super::lock::{Lock, Locked, lock};
use super::pending::Batch;
use crate::emergency::facts::CallId;
use crate::io::clock;
use crate::words::{Saved, Table, Time};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tracing::{error, info, warn};

/// Between two attempts to open it.
const RETRY: Duration = Duration::from_secs(1);
/// Between two looks at a file that nobody writes: operators see an alarm within 5 s (RULES B3).
const LOOK: Duration = Duration::from_secs(2);
/// Without a row for so long the log is emptied: that takes some ms, which no call shall wait for.
const QUIET: Duration = Duration::from_secs(1);
/// The log is emptied after that at the latest: what was forgotten stands in it.
const LATEST: Duration = Duration::from_secs(10);
/// Or when it has so many bytes.
const LARGEST_LOG: u64 = 16 << 20;
/// How long an alarm stands because of a damaged file that was set aside.
const DAMAGE_STANDS: Duration = Duration::from_secs(60);

/// What is to be done.
pub(super) enum Work {
    /// Write this.
    Write(Batch),
    /// Write this, and that the stop was an orderly one if it was, and end.
    Close(Batch, bool),
    /// Read records below this id.
    Records(i64, usize, oneshot::Sender<Vec<(i64, Vec<u8>)>>),
}

/// What has become of it.
pub(super) enum Done {
    /// The database is open, or cannot be opened; this is what it held.
    Opened(Saved),
    /// Another daemon has it; there will be nothing more.
    Taken,
    /// Everybody who waited has been told.
    Written,
    /// To be tried again later.
    Failed(Batch),
    /// Whether all is well with the disk.
    Health(bool),
    /// The end; whether everything was written.
    Closed(bool),
}

/// See the module's docs.
pub(super) struct Disk {
    pub(super) dir: PathBuf,
    /// Whoever has the directory hands over to us and is about to end: it is not waited for.
    pub(super) heir: bool,
    /// The present boot's id.
    pub(super) boot: String,
    /// How long a damaged database is kept.
    pub(super) keep_damaged: Duration,
    pub(super) work: Receiver<Work>,
    pub(super) done: UnboundedSender<Done>,
    /// Whose rows are durable.
    pub(super) written: UnboundedSender<Vec<CallId>>,
    /// Rows that were read: a sign of life.
    pub(super) progress: Arc<AtomicU64>,
    /// Whoever opened the store has gone on without what it held.
    pub(super) given_up: Arc<AtomicBool>,
    pub(super) state: State,
}

/// Between two pieces of work.
#[derive(Default)]
pub(super) struct State {
    lock: Option<Lock>,
    file: Option<File>,
    /// From a file that is gone, to be written to the next one.
    carried: Option<Saved>,
    /// The database has rows of another boot that nobody has taken up: their times must not be taken for this boot's.
    has_strangers: bool,
    /// Whether the last thing that was tried worked.
    healthy: bool,
    /// What was said last.
    told: Option<bool>,
    damaged_until: Option<Time>,
    aside: Aside,
    last_write: Time,
    last_look: Time,
    /// Since when the log has something in it.
    dirty_since: Option<Time>,
}

impl Disk {
    /// Works until told to end.
    pub(super) fn run(mut self) {
        match lock(&self.dir) {
            Locked::Taken if !self.heir => return drop(self.done.send(Done::Taken)),
            Locked::Taken => {}
            Locked::Ours(lock) => self.state.lock = Some(lock),
            Locked::Impossible => {
                let _ = std::fs::create_dir(&self.dir);
            }
        }
        let saved = self.guarded(|disk| Ok(disk.start())).unwrap_or_else(|trouble| {
            self.fail(&trouble);
            file::nothing()
        });
        if self.given_up.load(Ordering::Acquire) {
            self.leave_strangers(&saved);
        }
        self.report();
        let _ = self.done.send(Done::Opened(saved));
        loop {
            match self.work.recv_timeout(self.pause()) {
                Ok(Work::Write(batch)) => self.write(batch),
                Ok(Work::Records(below, most, answer)) => self.records(below, most, answer),
                Ok(Work::Close(batch, orderly)) => return self.close(batch, orderly),
                Err(RecvTimeoutError::Timeout) => self.look(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.empty_log();
            self.delete_damaged();
            self.report();
        }
    }

    /// A panic is trouble like any other: alarm, memory, another attempt.
    fn guarded<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T, Trouble>) -> Result<T, Trouble> {
        catch_unwind(AssertUnwindSafe(|| step(self))).unwrap_or_else(|_| Err(Trouble::Failed("panic".to_owned())))
    }

    /// What the process before us left behind, as far as it can be had.
    fn start(&mut self) -> Saved {
        match self.open(true) {
            Ok(saved) => saved,
            Err(trouble) => {
                self.fail(&trouble);
                let mut held = file::peek(&self.dir, &self.boot, &self.progress).unwrap_or_default();
                held.era = file::nothing().era;
                held
            }
        }
    }

    fn open(&mut self, first: bool) -> Result<Saved, Trouble> {
        if self.state.lock.is_none() {
            match lock(&self.dir) {
                Locked::Ours(lock) => self.state.lock = Some(lock),
                Locked::Taken => return Err(Trouble::Failed("another e911d has it".to_owned())),
                Locked::Impossible => {}
            }
        }
        let opened = match File::open(&self.dir, &self.boot, first, &self.progress) {
            Err(Trouble::Damaged) => self.mend(first),
            opened => opened,
        };
        let (mut file, saved) = opened?;
        if let Some(carried) = self.state.carried.take()
            && let Err(trouble) = file.write(&mut damage::as_batch(&carried))
        {
            self.state.carried = Some(carried);
            return Err(trouble);
        }
        let now = clock::now();
        (self.state.last_write, self.state.last_look, self.state.dirty_since) = (now, now, Some(now));
        (self.state.file, self.state.healthy) = (Some(file), true);
        Ok(saved)
    }

    fn mend(&mut self, first: bool) -> Result<(File, Saved), Trouble> {
        error!(event = "the database is damaged: it is set aside, and what can be read of it is in a new one");
        self.state.damaged_until = Some(clock::now() + DAMAGE_STANDS);
        damage::mend(&self.dir, &self.boot, first, &self.progress)
    }

    /// Opens it late.
    fn open_again(&mut self) -> Result<(), Trouble> {
        let saved = self.open(false)?;
        info!(event = "the state directory works again");
        self.leave_strangers(&saved);
        Ok(())
    }

    /// Nobody takes these rows up any more.
    fn leave_strangers(&mut self, saved: &Saved) {
        self.state.has_strangers |= !saved.same_boot && super::schema::TABLES.iter().any(|t| saved.rows(*t).next().is_some());
    }

    fn write(&mut self, mut batch: Batch) {
        match self.guarded(|disk| disk.try_to_write(&mut batch)) {
            Ok(()) => {
                if !batch.waiting.is_empty() {
                    let _ = self.written.send(batch.waiting);
                }
                for flushed in batch.flushes {
                    let _ = flushed.send(());
                }
                let _ = self.done.send(Done::Written);
            }
            Err(trouble) => {
                self.fail(&trouble);
                let _ = self.done.send(Done::Failed(batch));
            }
        }
    }

    fn try_to_write(&mut self, batch: &mut Batch) -> Result<(), Trouble> {
        if self.state.file.is_none() {
            self.open_again()?;
        }
        if self.state.has_strangers
            && let Some(boot) = batch.rows.get_mut(&(Table::Node, node::BOOT.into()))
        {
            *boot = None;
        }
        let Some(file) = &mut self.state.file else { return Err(Trouble::Gone) };
        if batch.rows.is_empty() && batch.records.is_empty() {
            return file.examine();
        }
        file.write(batch)?;
        let now = clock::now();
        self.state.last_write = now;
        self.state.dirty_since.get_or_insert(now);
        self.state.healthy = true;
        Ok(())
    }

    fn fail(&mut self, trouble: &Trouble) {
        if self.state.healthy || self.state.told.is_none() {
            error!(event = "the state directory cannot be written: calls go on from memory", reason = %trouble);
        }
        self.state.healthy = false;
        match trouble {
            Trouble::Gone => {
                self.state.carried = self.state.file.take().map(File::abandon);
                self.state.lock = None;
            }
            Trouble::Damaged => {
                self.state.file = None;
                if let Ok((file, _)) = self.guarded(|disk| disk.mend(false)) {
                    self.state.file = Some(file);
                }
            }
            // What the kernel thinks of its pages after an error is not to be relied on: they are read and written anew.
            Trouble::Failed(_) | Trouble::Newer => self.state.file = None,
            Trouble::Full => {}
        }
    }

    /// With nothing to write.
    fn look(&mut self) {
        let now = clock::now();
        if now < self.state.last_look + if self.state.file.is_some() { LOOK } else { RETRY } {
            return;
        }
        self.state.last_look = now;
        let well = self.guarded(|disk| match &disk.state.file {
            Some(file) => file.examine(),
            None => disk.open_again(),
        });
        match well {
            Ok(()) => self.state.healthy = true,
            Err(trouble) => self.fail(&trouble),
        }
    }

    /// Only in a directory that is ours.
    fn delete_damaged(&mut self) {
        if self.state.lock.is_some() {
            self.state.aside.delete_old(&self.dir, self.keep_damaged, clock::now());
        }
    }

    fn empty_log(&mut self) {
        let (Some(since), Some(file)) = (self.state.dirty_since, &self.state.file) else { return };
        let now = clock::now();
        if now < self.state.last_write + QUIET && now < since + LATEST && file.log_size() < LARGEST_LOG {
            return;
        }
        match self.guarded(|disk| disk.state.file.as_ref().map_or(Ok(()), File::checkpoint)) {
            Ok(()) => self.state.dirty_since = None,
            Err(trouble) => {
                self.state.dirty_since = Some(now);
                self.state.last_write = now;
                self.fail(&trouble);
            }
        }
    }

    fn pause(&self) -> Duration {
        let now = clock::now();
        let look = self.state.last_look + if self.state.file.is_some() { LOOK } else { RETRY };
        let empty = self.state.dirty_since.map(|since| (self.state.last_write + QUIET).min(since + LATEST));
        empty.map_or(look, |empty| empty.min(look)).since(now).max(Duration::from_millis(1))
    }

    fn records(&mut self, below: i64, most: usize, answer: oneshot::Sender<Vec<(i64, Vec<u8>)>>) {
        let read = |disk: &mut Self| disk.state.file.as_ref().map_or(Ok(Vec::new()), |file| file.records(below, most));
        match self.guarded(read) {
            Ok(found) => drop(answer.send(found)),
            Err(trouble) => self.fail(&trouble),
        }
    }

    fn close(mut self, mut batch: Batch, orderly: bool) {
        let written = self.guarded(|disk| disk.try_to_write(&mut batch)).is_ok();
        if written {
            let _ = self.written.send(std::mem::take(&mut batch.waiting));
        }
        let mut mark = Batch::default();
        mark.rows.insert((Table::Node, node::CLEAN.into()), Some(Vec::new()));
        let closed = written && (!orderly || self.try_to_write(&mut mark).is_ok());
        if !closed {
            warn!(event = "the state directory does not have everything");
        }
        if let Some(file) = &self.state.file {
            let _ = file.checkpoint();
        }
        self.state = State::default();
        let _ = self.done.send(Done::Closed(closed));
    }

    fn report(&mut self) {
        let healthy = self.state.healthy && self.state.damaged_until.is_none_or(|until| clock::now() > until);
        if self.state.told != Some(healthy) {
            self.state.told = Some(healthy);
            let _ = self.done.send(Done::Health(healthy));
        }
    }
}

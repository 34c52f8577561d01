//! Damaged databases: set aside under another name, never written again, and deleted after a while: people are in them.

use super::file::{self, File, NAME, Trouble};
use super::pending::{Batch, Record};
use super::schema;
use crate::io::clock;
use crate::words::{Saved, Table, Time};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tracing::{info, warn};

/// Sets the damaged database aside and puts a new one in its place, with every row of it that can still be read.
pub(super) fn mend(dir: &Path, boot: &str, first: bool, rows: &AtomicU64) -> Result<(File, Saved), Trouble> {
    let salvaged = file::salvage_from(dir);
    set_aside(dir)?;
    let (mut fresh, _) = File::open(dir, boot, first, rows)?;
    fresh.write(&mut as_batch(&salvaged))?;
    drop(fresh);
    File::open(dir, boot, false, rows)
}

/// Its rows, to be written again.
pub(super) fn as_batch(saved: &Saved) -> Batch {
    let mut batch = Batch::default();
    for table in schema::TABLES {
        for (key, value) in saved.rows(table) {
            batch.rows.insert((table, key.into()), Some(value.to_vec()));
        }
    }
    let records = saved.rows(Table::Record);
    batch.records = records.map(|(key, value)| Record { id: key.parse().ok(), value: value.to_vec() }).collect();
    batch
}

/// When each file that was set aside was seen first.
#[derive(Default)]
pub(super) struct Aside {
    seen: BTreeMap<OsString, Time>,
    next_look: Time,
}

impl Aside {
    /// Deletes what was set aside so long ago, or has been seen for so long: no name and number outlives the longest
    /// quarantine (RULES A7), whatever the wall clock does.
    pub(super) fn delete_old(&mut self, dir: &Path, keep: Duration, now: Time) {
        if now < self.next_look {
            return;
        }
        self.next_look = now + (keep / 24).max(SOONEST_LOOK);
        let Ok(files) = fs::read_dir(dir) else { return };
        let names: Vec<_> = files.flatten().map(|f| f.file_name()).filter(|name| set_aside_at(name).is_some()).collect();
        self.seen.retain(|name, _| names.contains(name));
        for name in names {
            let since = *self.seen.entry(name.clone()).or_insert(now);
            let age = set_aside_at(&name).map_or(Duration::ZERO, |at| clock::wall().saturating_sub(Duration::from_secs(at)));
            if age < keep && now < since + keep {
                continue;
            }
            match fs::remove_file(dir.join(&name)) {
                Ok(()) => info!(event = "a damaged database that was set aside is deleted: it is old"),
                Err(e) => warn!(event = "a damaged database that was set aside cannot be deleted", reason = %e.kind()),
            }
        }
    }
}

/// Between two looks at what was set aside, at least.
const SOONEST_LOOK: Duration = Duration::from_secs(1);

/// When this file was set aside, in seconds since the Unix epoch; `None` for any other file.
fn set_aside_at(name: &OsString) -> Option<u64> {
    let rest = name.to_str()?.strip_prefix(NAME)?.strip_prefix(".damaged-")?;
    rest.split('-').next()?.parse().ok()
}

/// The log first: it must never meet a database that is not its own.
fn set_aside(dir: &Path) -> io::Result<()> {
    let mut at = clock::wall().as_secs();
    while dir.join(format!("{NAME}.damaged-{at}")).exists() {
        at += 1;
    }
    for part in ["-wal", "-shm", "-journal", ""] {
        match fs::rename(dir.join(format!("{NAME}{part}")), dir.join(format!("{NAME}.damaged-{at}{part}"))) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    fs::File::open(dir)?.sync_all()
}

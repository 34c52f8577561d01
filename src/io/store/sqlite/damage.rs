//! Damaged databases: set aside under another name, never written again.

use super::file::{self, File, NAME, Trouble};
use super::pending::Batch;
use super::schema;
use crate::io::clock;
use crate::words::Saved;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicU64;

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
    batch
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

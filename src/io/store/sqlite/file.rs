//! The database file: one table a [`Table`], opened, read whole, written batch by batch.
//!
//! Knows SQLite and nothing of threads. Read [`File`] first.

use super::pending::Batch;
use super::{schema, wipe};
use crate::io::kill;
use crate::words::{Saved, Table};
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior, params};
use std::collections::hash_map::RandomState;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The database's name in the state directory.
pub(super) const NAME: &str = "e911d.db";

/// The rows of [`Table::Node`].
pub(super) mod node {
    /// The boot that times in the rows belong to.
    pub(in super::super) const BOOT: &str = "boot";
    /// There while the last stop was an orderly one.
    pub(in super::super) const CLEAN: &str = "clean";
    /// What the node's identifiers are made from, 8 bytes.
    pub(in super::super) const SECRET: &str = "secret";
    /// How many times it was started, 2 bytes.
    pub(in super::super) const ERA: &str = "era";
}

/// Why the file is of no use at present.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// What it says cannot be true.
    #[error("damaged")]
    Damaged,
    /// A later version wrote it.
    #[error("written by a later version of e911d")]
    Newer,
    /// The path leads to another file by now, or to none.
    #[error("gone")]
    Gone,
    /// No room.
    #[error("full")]
    Full,
    /// Read-only, broken.
    #[error("{0}")]
    Failed(String),
}

impl From<rusqlite::Error> for Trouble {
    fn from(e: rusqlite::Error) -> Self {
        match e.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged,
            // A table or column is missing, or has something else in it.
            Some(ErrorCode::Unknown | ErrorCode::TypeMismatch | ErrorCode::ConstraintViolation) | None => Self::Damaged,
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(code) => Self::Failed(format!("{code:?}")),
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(e: io::Error) -> Self {
        Self::Failed(e.kind().to_string())
    }
}

/// An open database that can be written.
pub(super) struct File {
    db: Connection,
    /// For [`wipe`]. Closed after `db`: closing it ends SQLite's own locks.
    raw: fs::File,
    page_size: usize,
    path: PathBuf,
    /// Device and inode of the database and of its write-ahead log.
    identity: [(u64, u64); 2],
    next_record: i64,
}

impl File {
    /// Opens the database in this directory, or makes one. What it held is told to `rows` meanwhile (a sign of life).
    pub(super) fn open(dir: &Path, boot: &str, first: bool, rows: &AtomicU64) -> Result<(Self, Saved), Trouble> {
        let path = dir.join(NAME);
        create(dir, &path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut db = Connection::open_with_flags(&path, flags)?;
        set_up(&db)?;
        schema::migrate(&mut db, schema::STEPS)?;
        let raw = OpenOptions::new().read(true).write(true).open(&path)?;
        let page_size = db.pragma_query_value(None, "page_size", |row| row.get::<_, u32>(0))? as usize;
        empty_log(&db, &raw, page_size, &path)?;
        let mut saved = read(&db, rows)?;
        check(&db)?;
        let next_record = db.query_row("SELECT coalesce(max(key), 0) + 1 FROM record", [], |row| row.get(0))?;
        digest_node(&mut saved, boot);
        begin_run(&mut db, &mut saved, first)?;
        let identity = identity(&path)?;
        Ok((Self { db, raw, page_size, path, identity, next_record }, saved))
    }

    /// Writes all of it or nothing. Durable when this returns.
    pub(super) fn write(&mut self, batch: &mut Batch) -> Result<(), Trouble> {
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for ((table, key), value) in &batch.rows {
            match value {
                Some(value) => put(&tx, *table, key, value)?,
                // After what is added: it may be one of those.
                None if *table == Table::Record => {}
                None => drop(tx.prepare_cached(schema::delete(*table))?.execute([&**key])?),
            }
        }
        let mut next = self.next_record;
        for record in &mut batch.records {
            let id = *record.id.get_or_insert(next);
            next = next.max(id.saturating_add(1));
            let value = record.value.as_slice();
            let mut put = tx.prepare_cached(schema::PUT_RECORD)?;
            if put.execute(params![id, value, sum("", value)])? == 0 {
                // This file was not there when its number was given.
                put.execute(params![next, value, sum("", value)])?;
                record.id = Some(next);
                next += 1;
            }
        }
        let from_records = batch.rows.range((Table::Record, "".into())..);
        for ((table, key), _) in from_records.take_while(|((table, _), _)| *table == Table::Record) {
            tx.prepare_cached(schema::delete(*table))?.execute([&**key])?;
        }
        let waited_for = !batch.waiting.is_empty();
        if waited_for {
            kill::point("transaction");
        }
        tx.commit()?;
        if waited_for {
            kill::point("written");
        }
        self.next_record = next;
        self.still_there()
    }

    /// Moves the write-ahead log into the database and empties it. After that nothing that was forgotten is in either.
    pub(super) fn checkpoint(&self) -> Result<(), Trouble> {
        empty_log(&self.db, &self.raw, self.page_size, &self.path)
    }

    /// How many bytes the write-ahead log has.
    pub(super) fn log_size(&self) -> u64 {
        fs::metadata(wal(&self.path)).map_or(0, |m| m.len())
    }

    /// Whether the file could be written, without writing.
    pub(super) fn examine(&self) -> Result<(), Trouble> {
        self.still_there()?;
        let disk = rustix::fs::statvfs(&self.path).map_err(io::Error::from)?;
        if disk.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
            return Err(Trouble::Failed("read-only".to_owned()));
        }
        if disk.f_blocks > 0 && disk.f_bavail == 0 {
            return Err(Trouble::Full);
        }
        Ok(())
    }

    /// Ordinary records below this id, newest first: `(id, content)`.
    pub(super) fn records(&self, below: i64, most: usize) -> Result<Vec<(i64, Vec<u8>)>, Trouble> {
        let mut statement = self.db.prepare_cached("SELECT key, value FROM record WHERE key < ? ORDER BY key DESC LIMIT ?")?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![below, most], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Everything that can be read, from a file whose name leads elsewhere by now.
    pub(super) fn abandon(self) -> Saved {
        let saved = salvage(&self.db);
        // Whatever lies under its name at present is not touched.
        let _ = self.db.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        saved
    }

    fn still_there(&self) -> Result<(), Trouble> {
        if identity(&self.path).is_ok_and(|now| now == self.identity) { Ok(()) } else { Err(Trouble::Gone) }
    }
}

/// What a database holds that may not be written, or not yet: nothing about it is changed.
pub(super) fn peek(dir: &Path, boot: &str, rows: &AtomicU64) -> Result<Saved, Trouble> {
    let db = open_to_read(dir)?;
    let version = schema::version(&db)?;
    if version > schema::STEPS.len() {
        return Err(Trouble::Newer);
    }
    if version == 0 {
        return Err(Trouble::Damaged);
    }
    let mut saved = read(&db, rows)?;
    digest_node(&mut saved, boot);
    Ok(saved)
}

/// What the database held when its log was emptied last. Opens one file, to read: that hangs on no disk on which only writes
/// hang, as an open of the log would.
pub(super) fn glimpse(dir: &Path, boot: &str, rows: &AtomicU64) -> Saved {
    let mut saved = open_immutable(dir).map_or_else(|_| Saved::default(), |db| read(&db, rows).unwrap_or_else(|_| salvage(&db)));
    digest_node(&mut saved, boot);
    saved
}

/// One row of a database that may be anybody's at present.
pub(super) fn peek_row(dir: &Path, table: Table, key: &str) -> Option<Vec<u8>> {
    let db = open_to_read(dir).ok()?;
    if schema::version(&db).ok()? > schema::STEPS.len() {
        return None;
    }
    let sql = format!("SELECT value, sum FROM {} WHERE key = ?", schema::name(table));
    let (value, kept): (Vec<u8>, u32) = db.query_row(&sql, [key], |row| Ok((row.get(0)?, row.get(1)?))).ok()?;
    (kept == sum(key, &value)).then_some(value)
}

/// Everything of a damaged database that can still be read.
pub(super) fn salvage_from(dir: &Path) -> Saved {
    open_to_read(dir).map_or_else(|_| Saved::default(), |db| salvage(&db))
}

/// Without locks and without a log in shared memory, so that a read-only directory is no hindrance.
fn open_to_read(dir: &Path) -> Result<Connection, Trouble> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags_and_vfs(dir.join(NAME), flags, c"unix-none")?;
    db.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_| Ok(()))?;
    db.pragma_update(None, "trusted_schema", false)?;
    Ok(db)
}

/// As if nobody could ever change it: SQLite then looks for no log (<https://www.sqlite.org/uri.html>, `immutable`).
fn open_immutable(dir: &Path) -> Result<Connection, Trouble> {
    let mut uri = String::from("file:");
    for byte in dir.join(NAME).as_os_str().as_bytes() {
        let _ = write!(uri, "%{byte:02x}");
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let db = Connection::open_with_flags(uri, flags)?;
    db.pragma_update(None, "trusted_schema", false)?;
    if schema::version(&db)? > schema::STEPS.len() { Err(Trouble::Newer) } else { Ok(db) }
}

/// Readable by us alone, and its name on the disk.
fn create(dir: &Path, path: &Path) -> Result<(), Trouble> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(fs::File::open(dir)?.sync_all()?),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e.into()),
    }
}

fn set_up(db: &Connection) -> Result<(), Trouble> {
    // No other process, so no shared memory that a broken disk could take from under us.
    db.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_| Ok(()))?;
    let mode: String = db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(Trouble::Failed("no write-ahead log".to_owned()));
    }
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update_and_check(None, "secure_delete", "ON", |_| Ok(()))?;
    db.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    db.pragma_update(None, "trusted_schema", false)?;
    db.pragma_update(None, "cell_size_check", true)?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    db.pragma_update(None, "cache_size", -8192)?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// The log goes last: a process that is killed before has to do it all again.
fn empty_log(db: &Connection, raw: &fs::File, page_size: usize, path: &Path) -> Result<(), Trouble> {
    let pages = wipe::pages_in(&wal(path))?;
    move_log(db, "PRAGMA wal_checkpoint(PASSIVE)")?;
    wipe::wipe(raw, page_size, &pages)?;
    // Pages in memory still have what was wiped.
    db.execute_batch("PRAGMA shrink_memory")?;
    move_log(db, "PRAGMA wal_checkpoint(TRUNCATE)")
}

fn move_log(db: &Connection, how: &str) -> Result<(), Trouble> {
    let busy: bool = db.query_row(how, [], |row| row.get(0))?;
    if busy { Err(Trouble::Failed("busy".to_owned())) } else { Ok(()) }
}

/// A page that two lists claim would be written over later on.
fn check(db: &Connection) -> Result<(), Trouble> {
    let verdict: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(Trouble::Damaged) }
}

fn read(db: &Connection, progress: &AtomicU64) -> Result<Saved, Trouble> {
    let mut saved = Saved::default();
    for table in schema::TABLES {
        let mut statement = db.prepare(&format!("SELECT key, value, sum FROM {} ORDER BY key", schema::name(table)))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (key, value) = (row.get_ref(0)?.as_str().map_err(odd)?, row.get_ref(1)?.as_blob().map_err(odd)?);
            if row.get::<_, u32>(2)? != sum(key, value) {
                return Err(Trouble::Damaged);
            }
            saved.add(table, key, value);
            progress.fetch_add(1, Ordering::Relaxed);
        }
    }
    let mut statement = db.prepare(schema::ALL_RECORDS)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let value = row.get_ref(1)?.as_blob().map_err(odd)?;
        if row.get::<_, u32>(2)? != sum("", value) {
            return Err(Trouble::Damaged);
        }
        saved.add(Table::Record, row.get::<_, i64>(0)?.to_string(), value);
        progress.fetch_add(1, Ordering::Relaxed);
    }
    Ok(saved)
}

/// Each table from its beginning and from its end, as far as that goes.
fn salvage(db: &Connection) -> Saved {
    let mut saved = Saved::default();
    for table in schema::TABLES {
        let mut found = std::collections::BTreeMap::new();
        for order in ["ASC", "DESC"] {
            let sql = format!("SELECT key, value, sum FROM {} ORDER BY key {order}", schema::name(table));
            let Ok(mut statement) = db.prepare(&sql) else { continue };
            let Ok(mut rows) = statement.query([]) else { continue };
            while let Ok(Some(row)) = rows.next() {
                let Ok(content) =
                    row.get::<_, String>(0).and_then(|key| Ok((key, row.get::<_, Vec<u8>>(1)?, row.get::<_, u32>(2)?)))
                else {
                    continue;
                };
                let (key, value, kept) = content;
                if kept == sum(&key, &value) {
                    found.insert(key, value);
                }
            }
        }
        for (key, value) in found {
            saved.add(table, key, value);
        }
    }
    salvage_records(db, &mut saved);
    saved
}

/// The records, as far as they can be read.
fn salvage_records(db: &Connection, saved: &mut Saved) {
    let mut found = std::collections::BTreeMap::new();
    for order in ["", " DESC"] {
        let Ok(mut statement) = db.prepare(&format!("{}{order}", schema::ALL_RECORDS)) else { continue };
        let Ok(mut rows) = statement.query([]) else { continue };
        while let Ok(Some(row)) = rows.next() {
            let content = row.get::<_, i64>(0).and_then(|id| Ok((id, row.get::<_, Vec<u8>>(1)?, row.get::<_, u32>(2)?)));
            if let Ok((id, value, kept)) = content
                && kept == sum("", &value)
            {
                found.insert(id, value);
            }
        }
    }
    for (id, value) in found {
        saved.add(Table::Record, id.to_string(), value);
    }
}

fn odd(_: rusqlite::types::FromSqlError) -> Trouble {
    Trouble::Damaged
}

/// Reads the node's own rows.
fn digest_node(saved: &mut Saved, boot: &str) {
    let find = |name: &str| saved.get(Table::Node, name);
    let same_boot = !boot.is_empty() && find(node::BOOT) == Some(boot.as_bytes());
    let clean = find(node::CLEAN).is_some();
    let era = find(node::ERA).and_then(|v| v.try_into().ok()).map_or(0, u16::from_le_bytes);
    let secret = find(node::SECRET).and_then(|v| v.try_into().ok()).map(u64::from_le_bytes);
    (saved.same_boot, saved.clean, saved.era, saved.secret) = (same_boot, clean, era, secret);
}

/// From here on the stop is not an orderly one, and the node's identifiers are new ones: durable before anything is used.
fn begin_run(db: &mut Connection, saved: &mut Saved, first: bool) -> Result<(), Trouble> {
    let secret = saved.secret.unwrap_or_else(random);
    let era = if first { saved.era.wrapping_add(1) } else { saved.era };
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute(schema::delete(Table::Node), [node::CLEAN])?;
    put(&tx, Table::Node, node::SECRET, &secret.to_le_bytes())?;
    put(&tx, Table::Node, node::ERA, &era.to_le_bytes())?;
    tx.commit()?;
    (saved.secret, saved.era) = (Some(secret), era);
    Ok(())
}

fn put(tx: &Transaction<'_>, table: Table, key: &str, value: &[u8]) -> Result<(), Trouble> {
    tx.prepare_cached(schema::put(table))?.execute(params![key, value, sum(key, value)])?;
    Ok(())
}

/// What there is where nothing can be read.
pub(super) fn nothing() -> Saved {
    let mut nothing = Saved::default();
    let [low, high, ..] = random().to_le_bytes();
    nothing.era = u16::from_le_bytes([low, high]);
    nothing
}

/// A number that nobody can guess.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Tells a row from a damaged one.
fn sum(key: &str, value: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(key.as_bytes());
    sum.update(&[0]);
    sum.update(value);
    sum.finalize()
}

fn identity(path: &Path) -> io::Result<[(u64, u64); 2]> {
    let of = |path: &Path| fs::metadata(path).map(|m| (m.dev(), m.ino()));
    Ok([of(path)?, of(&wal(path))?])
}

/// The write-ahead log of this database.
pub(super) fn wal(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

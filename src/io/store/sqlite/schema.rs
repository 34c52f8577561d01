//! Which tables there are, and how older databases become present ones.

use super::file::Trouble;
use crate::words::Table;
use rusqlite::{Connection, TransactionBehavior};

/// All but [`Table::Record`], whose keys are numbers.
pub(super) const TABLES: [Table; 10] = [
    Table::Lease,
    Table::Reserved,
    Table::Presence,
    Table::Publication,
    Table::Letter,
    Table::Call,
    Table::Device,
    Table::Agent,
    Table::Template,
    Table::Node,
];

/// What leads from each version to the next one. The version of a database is the number of steps it has behind it.
pub(super) const STEPS: &[&str] = &[
    "
    CREATE TABLE lease(key TEXT PRIMARY KEY, value BLOB NOT NULL, sum INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE reserved(key TEXT PRIMARY KEY, value BLOB NOT NULL, sum INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE presence(key TEXT PRIMARY KEY, value BLOB NOT NULL, sum INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE letter(key TEXT PRIMARY KEY, value BLOB NOT NULL, sum INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE call(key TEXT PRIMARY KEY, value BLOB NOT NULL, sum INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE device(key TEXT PRIMARY KEY, value BLOB NOT NULL, sum INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE agent(key TEXT PRIMARY KEY, value BLOB NOT NULL, sum INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE template(key TEXT PRIMARY KEY, value BLOB NOT NULL, sum INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE node(key TEXT PRIMARY KEY, value BLOB NOT NULL, sum INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE record(key INTEGER PRIMARY KEY, value BLOB NOT NULL, sum INTEGER NOT NULL) STRICT;
",
    "CREATE TABLE publication(key TEXT PRIMARY KEY, value BLOB NOT NULL, sum INTEGER NOT NULL) STRICT, WITHOUT ROWID;",
];

/// Writes a record, also if an attempt before this one has; no row is changed where another one has its number.
pub(super) const PUT_RECORD: &str = "INSERT INTO record(key, value, sum) VALUES(?, ?, ?)
    ON CONFLICT(key) DO UPDATE SET sum = excluded.sum WHERE value = excluded.value";

/// Every record: key, value, sum.
pub(super) const ALL_RECORDS: &str = "SELECT key, value, sum FROM record ORDER BY key";

/// Takes every step that is missing, each whole or not at all.
pub(super) fn migrate(db: &mut Connection, steps: &[&str]) -> Result<(), Trouble> {
    let present = version(db)?;
    if present > steps.len() {
        return Err(Trouble::Newer);
    }
    if present == 0 && !is_empty(db)? {
        return Err(Trouble::Damaged);
    }
    for (at, step) in steps.iter().enumerate().skip(present) {
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(step)?;
        tx.pragma_update(None, "user_version", i64::try_from(at + 1).unwrap_or(i64::MAX))?;
        tx.commit()?;
    }
    Ok(())
}

/// How many steps it has behind it.
pub(super) fn version(db: &Connection) -> Result<usize, Trouble> {
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    usize::try_from(version).map_err(|_| Trouble::Damaged)
}

fn is_empty(db: &Connection) -> Result<bool, Trouble> {
    Ok(db.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))?)
}

/// The table's name in the database.
pub(super) const fn name(table: Table) -> &'static str {
    match table {
        Table::Lease => "lease",
        Table::Reserved => "reserved",
        Table::Presence => "presence",
        Table::Publication => "publication",
        Table::Letter => "letter",
        Table::Call => "call",
        Table::Device => "device",
        Table::Agent => "agent",
        Table::Template => "template",
        Table::Record => "record",
        Table::Node => "node",
    }
}

macro_rules! statements {
    ($(#[$doc:meta])* $name:ident, $before:literal, $after:literal) => {
        $(#[$doc])*
        pub(super) const fn $name(table: Table) -> &'static str {
            match table {
                Table::Lease => concat!($before, "lease", $after),
                Table::Reserved => concat!($before, "reserved", $after),
                Table::Presence => concat!($before, "presence", $after),
                Table::Publication => concat!($before, "publication", $after),
                Table::Letter => concat!($before, "letter", $after),
                Table::Call => concat!($before, "call", $after),
                Table::Device => concat!($before, "device", $after),
                Table::Agent => concat!($before, "agent", $after),
                Table::Template => concat!($before, "template", $after),
                Table::Record => concat!($before, "record", $after),
                Table::Node => concat!($before, "node", $after),
            }
        }
    };
}

statements!(
    /// Writes a row; `?`: key, value, sum.
    put,
    "INSERT INTO ",
    "(key, value, sum) VALUES(?, ?, ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value, sum = excluded.sum"
);
statements!(
    /// Forgets a row; `?`: key.
    delete,
    "DELETE FROM ",
    " WHERE key = ?"
);

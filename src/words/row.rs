//! What shall survive a restart, as plain data on its way to the store.

use super::Private;
use std::collections::BTreeMap;
use std::fmt;

/// What a row is about: a table of the store. Which content a table's rows have is said where they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Leases, open and late (RULES L1, L2).
    Lease,
    /// Numbers that may be shown before their lease is on record (RULES L1: the reserved window).
    Reserved,
    /// Who is shown busy, and what she was before (RULES A1).
    Presence,
    /// What a presence server holds of ours, and under which tags (RULES A1).
    Publication,
    /// Mails and other letters that are not delivered (RULES A4).
    Letter,
    /// Calls that are up (RULES B1).
    Call,
    /// Registered devices.
    Device,
    /// Agents edited at run time.
    Agent,
    /// Templates edited at run time (RULES A5).
    Template,
    /// Ordinary calls that are over (RULES A7).
    Record,
    /// The node's own: its secret, its last accepted config, which boot its times belong to.
    Node,
}

/// One row: a later one with the same table and key replaces it.
#[derive(Clone, PartialEq, Eq)]
pub struct Row {
    /// Where it stands.
    pub table: Table,
    /// Its name there.
    pub key: Private<Box<str>>,
    /// Its content; `None` forgets the row, and wipes what it held.
    pub value: Option<Private<Vec<u8>>>,
}

impl Row {
    /// A row with this content.
    pub fn keep(table: Table, key: impl Into<Box<str>>, value: Vec<u8>) -> Self {
        Self { table, key: Private::new(key.into()), value: Some(Private::new(value)) }
    }

    /// The end of a row.
    pub fn forget(table: Table, key: impl Into<Box<str>>) -> Self {
        Self { table, key: Private::new(key.into()), value: None }
    }
}

impl fmt::Debug for Row {
    /// Prints the table and whether the row ends, nothing of what it says (promise 3).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", if self.value.is_some() { "keep" } else { "forget" }, self.table)
    }
}

/// A table's rows, one behind the other: of 100,000 rows each would cost two allocations and their end.
#[derive(Clone, Default)]
struct Rows {
    keys: String,
    values: Vec<u8>,
    /// Where each row's key and value end.
    ends: Vec<(usize, usize)>,
}

impl Rows {
    fn add(&mut self, key: &str, value: &[u8]) {
        self.keys.push_str(key);
        self.values.extend_from_slice(value);
        self.ends.push((self.keys.len(), self.values.len()));
    }

    fn all(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let starts = std::iter::once((0, 0)).chain(self.ends.iter().copied());
        starts.zip(&self.ends).filter_map(|((key, value), (key_end, value_end))| {
            Some((self.keys.get(key..*key_end)?, self.values.get(value..*value_end)?))
        })
    }
}

/// What the store held when it was opened.
#[derive(Clone, Default)]
pub struct Saved {
    tables: BTreeMap<Table, Rows>,
    /// Whether the machine has not been booted since: only then do times in the rows mean anything (RULES L2).
    pub same_boot: bool,
    /// Whether the process before us ended in an orderly way and had everything written down (RULES L1).
    pub clean: bool,
    /// What this node makes its identifiers from, the same in every process; none: the store did not give one.
    pub secret: Option<u64>,
    /// Another one in each process: durable before it is used, and random where the store could not be written.
    pub era: u16,
}

impl Saved {
    /// Adds what was read.
    pub fn add(&mut self, table: Table, key: impl AsRef<str>, value: impl AsRef<[u8]>) {
        self.tables.entry(table).or_default().add(key.as_ref(), value.as_ref());
    }

    /// A row's content.
    pub fn get(&self, table: Table, key: &str) -> Option<&[u8]> {
        self.rows(table).find(|(k, _)| *k == key).map(|(_, value)| value)
    }

    /// A table's rows, in the order of their keys.
    pub fn rows(&self, table: Table) -> impl Iterator<Item = (&str, &[u8])> {
        self.tables.get(&table).into_iter().flat_map(Rows::all)
    }

    /// How many rows a table has.
    pub fn count(&self, table: Table) -> usize {
        self.tables.get(&table).map_or(0, |rows| rows.ends.len())
    }
}

impl fmt::Debug for Saved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Saved({} rows)", self.tables.values().map(|rows| rows.ends.len()).sum::<usize>())
    }
}

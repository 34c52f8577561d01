//! What is to be written and is not yet: at most one row a key, however long the disk stalls.
//!
//! Read [`Pending`] first.

use crate::emergency::facts::CallId;
use crate::words::{Row, Saved, Table};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::mpsc;

/// Ordinary records that wait while the disk does nothing; of more the oldest are lost and counted.
pub(super) const MOST_RECORDS: usize = 10_000;

/// An ordinary record and its number; none: the next one, from the first attempt to write it on.
pub(super) struct Record {
    pub(super) id: Option<i64>,
    pub(super) value: Vec<u8>,
}

/// What one transaction writes. All of it or nothing.
#[derive(Default)]
pub(super) struct Batch {
    /// The last value of each; none: the row ends.
    pub(super) rows: BTreeMap<(Table, Box<str>), Option<Vec<u8>>>,
    /// In the order in which they came.
    pub(super) records: VecDeque<Record>,
    /// Who waits for it, once for each row.
    pub(super) waiting: Vec<CallId>,
    /// Who else wants to know.
    pub(super) flushes: Vec<mpsc::Sender<()>>,
}

impl Batch {
    /// Whether there is nothing to write and nobody to tell.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.records.is_empty() && self.waiting.is_empty() && self.flushes.is_empty()
    }
}

/// Rows on their way to the disk.
#[derive(Default)]
pub(super) struct Pending {
    batch: Batch,
    /// What may be on the disk, by hash: a row that never was needs no end there.
    on_disk: HashSet<u64>,
    hasher: RandomState,
    /// The highest record that may be on the disk.
    last_record: i64,
    lost: u64,
}

impl Pending {
    /// Learns what the disk holds.
    pub(super) fn learn(&mut self, saved: &Saved) {
        for table in super::schema::TABLES {
            self.on_disk.extend(saved.rows(table).map(|(key, _)| self.hasher.hash_one((table, key))));
        }
        self.last_record = saved.rows(Table::Record).filter_map(|(key, _)| key.parse().ok()).max().unwrap_or(0);
    }

    /// Whether there is nothing to write and nobody to tell.
    pub(super) fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Whether there is something to write, and nobody waits for it.
    pub(super) fn is_only_kept(&self) -> bool {
        !self.batch.is_empty() && self.batch.waiting.is_empty() && self.batch.flushes.is_empty()
    }

    /// Whether there are records of ordinary calls to write, perhaps the end of earlier ones, and nothing else.
    pub(super) fn is_only_records(&self) -> bool {
        self.is_only_kept() && !self.batch.records.is_empty() && self.batch.rows.keys().all(|(table, _)| *table == Table::Record)
    }

    /// Takes a row in the place of an earlier one.
    pub(super) fn keep(&mut self, row: Row) {
        let (key, value) = (row.key.into_revealed(), row.value.map(crate::words::Private::into_revealed));
        match (row.table, value) {
            (Table::Record, Some(value)) => self.record(Record { id: key.parse().ok(), value }),
            (Table::Record, None) => self.forget_record(key),
            (table, None) if !self.on_disk.contains(&self.hasher.hash_one((table, &*key))) => {
                self.batch.rows.remove(&(table, key));
            }
            (table, value) => drop(self.batch.rows.insert((table, key), value)),
        }
    }

    /// As [`Self::keep`]; the call is told when it is durable.
    pub(super) fn commit(&mut self, call: CallId, row: Row) {
        self.keep(row);
        self.batch.waiting.push(call);
    }

    /// Tells when everything that was taken so far is durable.
    pub(super) fn flush(&mut self, done: mpsc::Sender<()>) {
        self.batch.flushes.push(done);
    }

    /// Everything, if there is anything.
    pub(super) fn take(&mut self) -> Option<Batch> {
        if self.batch.is_empty() {
            return None;
        }
        for ((table, key), value) in &self.batch.rows {
            let hash = self.hasher.hash_one((*table, &**key));
            if value.is_some() {
                self.on_disk.insert(hash)
            } else {
                self.on_disk.remove(&hash)
            };
        }
        for record in &self.batch.records {
            self.last_record = record.id.map_or(i64::MAX, |id| id.max(self.last_record));
        }
        Some(std::mem::take(&mut self.batch))
    }

    /// Takes a batch back that was not written: what came later counts more.
    pub(super) fn give_back(&mut self, batch: Batch) {
        let Batch { rows, records, mut waiting, mut flushes } = batch;
        for (key, value) in rows {
            self.on_disk.insert(self.hasher.hash_one((key.0, &*key.1)));
            self.batch.rows.entry(key).or_insert(value);
        }
        waiting.append(&mut self.batch.waiting);
        flushes.append(&mut self.batch.flushes);
        (self.batch.waiting, self.batch.flushes) = (waiting, flushes);
        let later = std::mem::replace(&mut self.batch.records, records);
        later.into_iter().for_each(|record| self.record(record));
    }

    /// How many records were lost since this was asked last.
    pub(super) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// One that waits is not written at all; one that never was on the disk needs no end there.
    fn forget_record(&mut self, key: Box<str>) {
        let Ok(id) = key.parse::<i64>() else { return };
        if let Some(at) = self.batch.records.iter().position(|record| record.id == Some(id)) {
            self.batch.records.remove(at);
        }
        if id <= self.last_record {
            self.batch.rows.insert((Table::Record, key), None);
        }
    }

    fn record(&mut self, record: Record) {
        if self.batch.records.len() >= MOST_RECORDS {
            self.batch.records.pop_front();
            self.lost += 1;
        }
        self.batch.records.push_back(record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(key: &str, value: &str) -> Row {
        Row::keep(Table::Lease, key, value.as_bytes().to_vec())
    }

    fn contents(batch: &Batch) -> Vec<(&str, Option<&str>)> {
        let text = |v: &'_ Option<Vec<u8>>| v.as_ref().map(|v| String::from_utf8(v.clone()).expect("text"));
        let rows = batch.rows.iter();
        rows.map(|((_, key), v)| (&**key, text(v).map(|t| &*Box::leak(t.into_boxed_str())))).collect()
    }

    #[test]
    fn a_later_row_takes_the_place_of_an_earlier_one_and_all_who_wait_are_told() {
        let mut pending = Pending::default();
        pending.commit(CallId(1), lease("a", "1"));
        pending.commit(CallId(1), lease("a", "2"));
        pending.commit(CallId(2), lease("b", "1"));
        let batch = pending.take().expect("there is something");
        assert_eq!(contents(&batch), [("a", Some("2")), ("b", Some("1"))]);
        assert_eq!(batch.waiting, [CallId(1), CallId(1), CallId(2)]);
        assert!(pending.take().is_none());
    }

    #[test]
    fn what_could_not_be_written_does_not_stand_over_what_came_meanwhile() {
        let mut pending = Pending::default();
        pending.commit(CallId(1), lease("a", "old"));
        pending.keep(lease("b", "old"));
        let failed = pending.take().expect("there is something");
        pending.commit(CallId(2), lease("a", "new"));
        pending.keep(Row::forget(Table::Lease, "b"));
        pending.give_back(failed);
        let batch = pending.take().expect("there is something");
        assert_eq!(contents(&batch), [("a", Some("new")), ("b", None)]);
        assert_eq!(batch.waiting, [CallId(1), CallId(2)]);
    }

    #[test]
    fn rows_that_come_and_go_while_the_disk_stalls_leave_nothing_behind() {
        let mut pending = Pending::default();
        let mut saved = Saved::default();
        saved.add(Table::Call, "on disk", Vec::new());
        pending.learn(&saved);
        for n in 0..100_000 {
            pending.keep(Row::keep(Table::Call, format!("call {n}"), vec![0; 10]));
            pending.keep(Row::forget(Table::Call, format!("call {n}")));
        }
        pending.keep(Row::forget(Table::Call, "on disk"));
        let batch = pending.take().expect("there is something");
        assert_eq!(contents(&batch), [("on disk", None)]);
    }

    #[test]
    fn records_that_come_and_go_while_the_disk_stalls_leave_nothing_behind() {
        let mut pending = Pending::default();
        let mut saved = Saved::default();
        saved.add(Table::Record, "7", Vec::new());
        pending.learn(&saved);
        pending.keep(Row::forget(Table::Record, "7"));
        for n in 8..50_000 {
            pending.keep(Row::keep(Table::Record, n.to_string(), vec![0; 10]));
            if n > 11 {
                pending.keep(Row::forget(Table::Record, (n - 3).to_string()));
            }
        }
        let batch = pending.take().expect("there is something");
        assert_eq!(contents(&batch), [("7", None)]);
        assert_eq!(batch.records.len(), 4);
    }

    #[test]
    fn records_that_wait_are_bounded_and_the_oldest_are_lost_and_counted() {
        let mut pending = Pending::default();
        for n in 0..MOST_RECORDS as u64 + 3 {
            pending.keep(Row::keep(Table::Record, "", n.to_le_bytes().to_vec()));
        }
        assert_eq!((pending.take_lost(), pending.take_lost()), (3, 0));
        let batch = pending.take().expect("there is something");
        assert_eq!(batch.records.front().expect("a record").value, 3u64.to_le_bytes());
        pending.keep(Row::keep(Table::Record, "", b"later".to_vec()));
        pending.give_back(batch);
        let batch = pending.take().expect("there is something");
        assert_eq!(batch.records.back().expect("a record").value, b"later");
        assert_eq!(batch.records.len(), MOST_RECORDS);
    }
}

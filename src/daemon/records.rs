//! Ordinary calls that are over: the newest of them, in memory and in the store (RULES A7).
//!
//! The only way in is [`Records::add`], which takes an [`OrdinaryCall`]; of an emergency call there is none.

use super::api::time::moment;
use crate::bridge::OrdinaryCall;
use crate::io::store::Keeper;
use crate::words::{Row, Saved, Table};
use serde::Serialize;
use serde_json::Value;
use std::collections::VecDeque;

/// The records, the oldest first. Each is kept as the JSON that the API shows.
pub struct Records {
    kept: VecDeque<(u64, Box<[u8]>)>,
    most: usize,
    last: u64,
    keeper: Keeper,
}

impl Records {
    /// What the store has, `most` at most.
    pub fn restore(saved: &Saved, most: u32, keeper: Keeper) -> Self {
        let rows = saved.rows(Table::Record);
        let mut kept: Vec<_> = rows.filter_map(|(key, value)| Some((key.parse().ok()?, Box::from(value)))).collect();
        kept.sort_unstable_by_key(|(id, _)| *id);
        let last = kept.last().map_or(0, |(id, _)| *id);
        let mut records = Self { kept: kept.into(), most: most as usize, last, keeper };
        records.drop_oldest();
        records
    }

    /// An ordinary call is over.
    pub fn add(&mut self, call: &OrdinaryCall) {
        if self.most == 0 {
            return;
        }
        self.last += 1;
        // Strings and numbers can always be written.
        let Ok(value) = serde_json::to_vec(&Shown::of(self.last, call)) else { return };
        self.keeper.keep(Row::keep(Table::Record, self.last.to_string(), value.clone()));
        self.kept.push_back((self.last, value.into()));
        self.drop_oldest();
    }

    /// So many are kept from now on.
    pub fn keep_at_most(&mut self, most: u32) {
        self.most = most as usize;
        self.drop_oldest();
    }

    /// The records after this one, `most` at most, and whether there are more. `since` leaves out calls that started
    /// before this time, written as RFC 3339 in UTC.
    pub fn after(&self, after: u64, since: &str, most: usize) -> (Vec<(u64, Value)>, bool) {
        let from = self.kept.partition_point(|(id, _)| *id <= after);
        let read = |(id, bytes): &(u64, Box<[u8]>)| Some((*id, serde_json::from_slice::<Value>(bytes).ok()?));
        let is_meant = |(_, v): &(u64, Value)| since.is_empty() || v["started"].as_str().is_some_and(|s| s >= since);
        let mut rest = self.kept.range(from..).filter_map(read).filter(is_meant);
        let found: Vec<_> = rest.by_ref().take(most).collect();
        let more = rest.next().is_some();
        (found, more)
    }

    fn drop_oldest(&mut self) {
        while self.kept.len() > self.most {
            let Some((id, _)) = self.kept.pop_front() else { return };
            self.keeper.keep(Row::forget(Table::Record, id.to_string()));
        }
    }
}

/// A record's id in the API. Sorts as the numbers do.
fn key_of(id: u64) -> String {
    format!("{id:016x}")
}

/// The number that an id was made from.
pub fn id_of(key: &str) -> Option<u64> {
    (key.len() == 16).then(|| u64::from_str_radix(key, 16).ok()).flatten()
}

/// A record as the API shows it.
#[derive(Serialize)]
struct Shown<'a> {
    id: String,
    direction: &'a str,
    from: &'a str,
    to: &'a str,
    peer: Option<&'a str>,
    trunk: Option<&'a str>,
    started: String,
    answered: Option<String>,
    ended: String,
    outcome: &'a str,
}

impl<'a> Shown<'a> {
    fn of(id: u64, call: &'a OrdinaryCall) -> Self {
        let view = &call.view;
        Self {
            id: key_of(id),
            direction: view.direction,
            from: view.from.reveal(),
            to: view.to.reveal(),
            peer: view.peer.as_deref(),
            trunk: view.trunk.as_deref(),
            started: moment(view.started),
            answered: view.answered.map(moment),
            ended: moment(call.ended),
            outcome: call.outcome,
        }
    }
}

//! Leases as rows of the store: one for each number of a lease (RULES L1, L2, A8, L9).
//!
//! The row that a call waits for is asked for by [`Leases::row_of`]; every later change is collected and given out by
//! [`Leases::take_rows`], once for all that happened in one step. A row ends with its quarantine, or when its number
//! goes to somebody else.

use std::borrow::Cow;
use std::time::Duration;

use super::{Held, Leases, PLAIN_CALLBACKS, Phase, Record, RecordId, RowState};
use crate::emergency::facts::TrunkId;
use crate::emergency::kept::{self, FORMAT, KeptCaller, KeptLease, lease_key};
use crate::emergency::ladder::Rung;
use crate::emergency::notice::About;
use crate::emergency::site::Site;
use crate::pool::Pool;
use crate::words::{E164, Row, Table, Time};

/// Leases whose rows are written anew at once after a restart. The store makes one transaction of what comes together,
/// and a call's own row waits for the one before it.
const PORTION: usize = 128;
/// Between two portions.
pub(super) const PORTION_EVERY: Duration = Duration::from_millis(10);

impl Leases {
    /// What the store writes for this number before it is shown.
    pub fn row_of(&mut self, site: &Site, id: RecordId, number: E164) -> Option<Row> {
        self.held_mut(id, number)?.row = RowState::Told;
        let record = self.get(id)?;
        record.held.iter().find(|h| h.number == number).map(|held| record.row(site, held))
    }

    /// The rows of whatever has changed since the last time.
    pub fn take_rows(&mut self, site: &Site, pool: &Pool, now: Time, mut row: impl FnMut(Row)) {
        let serial = &mut self.serial;
        let next = || {
            *serial += 1;
            *serial
        };
        self.reserve.refill(site, pool, now, next, &mut row);
        for key in std::mem::take(&mut self.gone) {
            row(Row::forget(Table::Lease, key));
        }
        for id in std::mem::take(&mut self.changed) {
            self.rows_of(site, id, &mut row);
        }
        if self.is_settled() || now < self.backlog_due {
            return;
        }
        self.backlog_due = now + PORTION_EVERY;
        for id in self.backlog.split_off(self.backlog.len().saturating_sub(PORTION)) {
            self.rows_of(site, id, &mut row);
        }
    }

    /// Whether every row of before the restart says what is true by now.
    pub const fn is_settled(&self) -> bool {
        self.backlog.is_empty()
    }

    fn rows_of(&mut self, site: &Site, id: RecordId, row: &mut impl FnMut(Row)) {
        let Some(record) = self.records.get_mut(id.index()).and_then(Option::as_mut) else { return };
        let mut held = std::mem::take(&mut record.held);
        for held in held.iter_mut().filter(|h| h.row == RowState::Old) {
            held.row = RowState::Told;
            row(record.row(site, held));
        }
        record.held = held;
    }

    /// A lease's name that stays the same across a restart.
    pub fn serial_of(&self, id: RecordId) -> Option<u64> {
        self.get(id).map(|record| record.serial)
    }

    /// The lease of this name, from before the restart.
    pub fn of_serial(&self, serial: u64) -> Option<RecordId> {
        self.before.get(&serial).copied().filter(|id| self.serial_of(*id) == Some(serial))
    }

    /// A lease of which the store knows nothing, while its call is up: its number leads to the caller beside the pool.
    pub fn lease_anew(&mut self, site: &Site, about: &About, trunk: TrunkId, shown: Option<E164>, now: Time) -> RecordId {
        let known = self.by_key.get(about.caller.key()).copied();
        let id = known.unwrap_or_else(|| self.insert(&about.caller, about.test, now));
        let serial = self.next_serial();
        let Some(record) = self.get_mut(id) else { return id };
        record.expires = record.expires.max(now + site.callback.ttl);
        (record.dialed_number, record.path) = (about.dialed, about.path);
        if let Some(number) = shown.filter(|n| record.held.iter().all(|h| h.number != *n)) {
            record.held.push(Held { row: RowState::Old, ..Held::beside(number, trunk, Rung::Free, serial) });
            self.besides.entry(number).or_default().push(id);
        }
        self.row_changed(id);
        id
    }

    /// Something of this lease that stands in its rows has changed.
    pub(super) fn row_changed(&mut self, id: RecordId) {
        let Some(record) = self.get_mut(id) else { return };
        let mut told = false;
        for held in record.held.iter_mut().filter(|h| h.row != RowState::Never) {
            held.row = RowState::Old;
            told = true;
        }
        if told && self.changed.last() != Some(&id) {
            self.changed.push(id);
        }
    }

    pub(super) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }
}

impl Record {
    fn row(&self, site: &Site, held: &Held) -> Row {
        let kept = KeptLease {
            format: FORMAT,
            lease: self.serial,
            trunk: Cow::Borrowed(kept::trunk_name(site, held.trunk)),
            rung: held.rung,
            owned: held.proof.is_some() || self.phase == Phase::Late,
            dialed: self.dialed.as_micros(),
            expires: self.expires.as_micros(),
            released: self.ended.filter(|_| self.phase == Phase::Late).map(Time::as_micros),
            desk_until: held.desk_until.map(Time::as_micros),
            test: self.test,
            number: Cow::Borrowed(self.dialed_number),
            path: Cow::Borrowed(self.path),
            caller: Some(KeptCaller::of(&self.caller, site)),
        };
        Row::keep(Table::Lease, lease_key(held.number, held.serial), kept::encode(&kept))
    }
}

impl Held {
    /// A number that no pool has given to this lease.
    pub(super) const fn beside(number: E164, trunk: TrunkId, rung: Rung, serial: u64) -> Self {
        Self {
            number,
            trunk,
            rung,
            proof: None,
            durable: true,
            plain: [Time::ZERO; PLAIN_CALLBACKS],
            plain_up: 0,
            desk_until: None,
            serial,
            row: RowState::Told,
        }
    }

    pub(super) fn forget_row(&self, gone: &mut Vec<String>) {
        if self.row != RowState::Never {
            gone.push(lease_key(self.number, self.serial));
        }
    }
}

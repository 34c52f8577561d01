//! Leases read back after a restart, and carried into another pool (RULES L1, L2, L9, B1, B4).

use std::collections::{BTreeMap, hash_map};

use super::{Held, LOOP_CALLS, Leases, Phase, Record, RecordId, RowState};
use crate::emergency::caller::Caller;
use crate::emergency::facts::TrunkId;
use crate::emergency::kept::{KeptLease, decode, emergency_number, of_lease_key, path_word, trunk_named};
use crate::emergency::ladder::Rung;
use crate::emergency::reserve::{NOBODY, Reserve};
use crate::emergency::site::Site;
use crate::pool::{Pool, Was};
use crate::words::{E164, Saved, Table, Time};

/// A row that could be read. What its text needed is free again before the next one is read.
struct Read<'a> {
    key: &'a str,
    number: E164,
    serial: u64,
    caller: Caller,
    /// The lease that it is a number of.
    lease: u64,
    trunk: TrunkId,
    rung: Rung,
    owned: bool,
    dialed: u64,
    expires: u64,
    released: Option<u64>,
    desk_until: Option<u64>,
    test: bool,
    dialed_number: &'static str,
    path: &'static str,
}

/// The newest lease that owned each number, by its serial.
struct Newest(Vec<(E164, u64)>);

impl Newest {
    fn of(rows: &[Read<'_>]) -> Self {
        let mut all: Vec<_> = rows.iter().filter(|r| r.owned).map(|r| (r.number, r.serial)).collect();
        // In the order of the rows' keys, so there is next to nothing to do.
        all.sort_unstable();
        all.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                kept.1 = later.1;
            }
            same
        });
        Self(all)
    }

    fn get(&self, number: E164) -> Option<u64> {
        let at = self.0.binary_search_by_key(&number, |(n, _)| *n).ok()?;
        self.0.get(at).map(|(_, serial)| *serial)
    }
}

impl Leases {
    /// The leases that the store held, with their numbers taken out of the pool, which must be new. And how many rows
    /// could not be read: their numbers rest.
    ///
    /// In the same boot times go on; in another one every lease and every quarantine starts its full time anew. After an
    /// unclean stop whoever's call may have been up is taken to have ended it now.
    pub fn restore(saved: &Saved, site: &Site, pool: &mut Pool, now: Time) -> (Self, usize) {
        let (reserve, marks) = Reserve::read(saved);
        let mut leases = Self { reserve, serial: marks.serial(), ..Self::default() };
        let mut doubt: BTreeMap<E164, Time> = BTreeMap::new();
        let (rows, damaged) = leases.read(saved, site, |number| {
            doubt.insert(number, now);
        });
        let newest = Newest::of(&rows);
        let used_up = |number, mark| newest.get(number).is_some_and(|serial| serial > mark);
        let shown = marks.marked.iter().filter(|(number, mark)| !saved.clean && !used_up(*number, *mark));
        doubt.extend(shown.map(|(number, _)| (*number, now)));
        let since = |since: Time| if saved.same_boot { since.min(now) } else { now };
        for &(number, at) in marks.doubted.iter().filter(|(number, _)| newest.get(*number).is_none()) {
            doubt.entry(number).or_insert(since(at));
        }
        leases.make_room(rows.len());
        // By serial, so it is in order.
        let mut owned = Vec::with_capacity(rows.len());
        for row in rows {
            if row.owned && newest.get(row.number) != Some(row.serial) {
                // The number went to somebody else since.
                leases.gone.push(row.key.to_owned());
                continue;
            }
            if row.owned {
                owned.push(row.serial);
            }
            let in_doubt = doubt.remove(&row.number).is_some();
            leases.take_up(row, saved, site, in_doubt, now);
        }
        if !doubt.is_empty() || !marks.doubted.is_empty() {
            leases.reserve.doubt(doubt.into_iter());
        }
        leases.enter(pool, |held| owned.binary_search(&held.serial).is_ok());
        leases.settle_in();
        (leases, damaged)
    }

    /// Carries all leases over to the pool of a new configuration (RULES L9). A number that it lacks stays with its
    /// lease to the end.
    pub fn move_to(&mut self, pool: &mut Pool) {
        self.reserve.shelves_changed();
        self.enter(pool, |held| held.proof.is_some());
    }

    fn make_room(&mut self, rows: usize) {
        self.records.reserve(rows);
        self.by_key.reserve(rows);
        self.before.reserve(rows);
    }

    fn read<'a>(&mut self, saved: &'a Saved, site: &Site, mut unreadable: impl FnMut(E164)) -> (Vec<Read<'a>>, usize) {
        let (mut rows, mut damaged) = (Vec::with_capacity(saved.count(Table::Lease)), 0);
        for (key, value) in saved.rows(Table::Lease) {
            let name = of_lease_key(key);
            self.serial = self.serial.max(name.map_or(0, |(_, serial)| serial));
            match name.and_then(|(number, serial)| read_row(key, number, serial, value, site)) {
                Some(row) => {
                    self.serial = self.serial.max(row.lease);
                    rows.push(row);
                }
                None => {
                    damaged += 1;
                    self.gone.push(key.to_owned());
                    name.into_iter().for_each(|(number, _)| unreadable(number));
                }
            }
        }
        // The newest holder of a shared number is the last.
        let mut order: Vec<_> = rows.iter().map(|row| row.serial).zip(0..).collect::<Vec<(u64, usize)>>();
        order.sort_unstable();
        let mut rows: Vec<_> = rows.into_iter().map(Some).collect();
        (order.into_iter().filter_map(|(_, at)| rows.get_mut(at)?.take()).collect(), damaged)
    }

    /// One row: another number of a lease that is there already, or a lease.
    fn take_up(&mut self, row: Read<'_>, saved: &Saved, site: &Site, in_doubt: bool, now: Time) {
        let (ttl, full) = (if row.test { site.callback.test_ttl } else { site.callback.ttl }, site.callback.quarantine);
        let time = Time::from_micros;
        let late = row.released.map(|at| if saved.same_boot && !in_doubt { time(at).min(now) } else { now });
        let expires = match late {
            Some(_) if !saved.same_boot || in_doubt => now + full,
            None if !saved.same_boot => now + ttl,
            None if !saved.clean && !row.test => time(row.expires).max(now + site.callback.tail),
            _ => time(row.expires),
        };
        let again = !saved.same_boot || expires != time(row.expires);
        let mut held = Held::beside(row.number, row.trunk, row.rung, row.serial);
        held.desk_until = match row.desk_until.map(time) {
            // Somebody else may have been shown the number since.
            _ if in_doubt && late.is_some() => Some(now + full),
            Some(until) if saved.same_boot => Some(until),
            Some(_) => Some(now + full),
            None => None,
        };
        if again {
            held.row = RowState::Old;
        }
        let (number, owned) = (row.number, row.owned);
        let id = match self.before.entry(row.lease) {
            hash_map::Entry::Occupied(known) => *known.get(),
            hash_map::Entry::Vacant(place) => {
                let dialed = if saved.same_boot { time(row.dialed).min(now) } else { now };
                self.records.push(Some(Record {
                    caller: row.caller,
                    held: Vec::with_capacity(1),
                    dialed,
                    dialed_number: row.dialed_number,
                    path: row.path,
                    up: 0,
                    ended: Some(late.unwrap_or(dialed)),
                    over: None,
                    expires,
                    phase: if late.is_some() { Phase::Late } else { Phase::Open },
                    queued: None,
                    recent: [Time::ZERO; LOOP_CALLS],
                    test: row.test,
                    serial: row.lease,
                }));
                *place.insert(RecordId::at(self.records.len() - 1))
            }
        };
        let Some(record) = self.get_mut(id) else { return };
        record.expires = record.expires.max(expires);
        if late.is_none() {
            record.phase = Phase::Open;
        }
        record.held.push(held);
        if again {
            self.backlog.push(id);
        }
        if !owned {
            self.besides.entry(number).or_default().push(id);
        }
    }

    /// Takes the numbers out of a pool that is new: first those that were leased, then those that lead to a lease beside
    /// the pool and perhaps are in it now, then those that rest.
    fn enter(&mut self, pool: &mut Pool, owned: impl Fn(&Held) -> bool) {
        let mut entries = Vec::new();
        for (index, record) in self.records.iter().enumerate() {
            let id = RecordId::at(index);
            let (Some(holder), Some(record)) = (id.holder(), record) else { continue };
            for (at, held) in record.held.iter().enumerate() {
                let (order, was) = match record.phase {
                    // In a late call that keeps it.
                    Phase::Late if held.proof.is_some() => (0, Was::Leased(holder)),
                    Phase::Late => (2, Was::Rested(holder, record.ended.unwrap_or(record.dialed))),
                    Phase::Open if owned(held) => (0, Was::Leased(holder)),
                    Phase::Open if held.rung != Rung::Shared => (1, Was::Leased(holder)),
                    Phase::Open => continue,
                };
                entries.push((order, (held.number, was), (id, at)));
            }
        }
        entries.sort_by_key(|(order, ..)| *order);
        let mut numbers: Vec<_> = entries.iter().map(|(_, number, _)| *number).collect();
        numbers.extend(self.reserve.doubted().map(|(number, since)| (number, Was::Rested(NOBODY, since))));
        let leases = pool.bring_in(&numbers);
        for ((order, (number, _), (id, at)), lease) in entries.into_iter().zip(leases) {
            if order == 2 {
                continue;
            }
            let Some(record) = self.get_mut(id) else { continue };
            let is_open = record.is_open();
            let Some(held) = record.held.get_mut(at) else { continue };
            held.proof = lease;
            match (order == 0 && is_open, held.proof.is_some()) {
                (true, false) => self.besides.entry(number).or_default().push(id),
                (false, true) => super::forget(&mut self.besides, number, id),
                _ => {}
            }
        }
    }

    /// Puts the restored leases where they are looked for.
    fn settle_in(&mut self) {
        let (mut due, mut idle) = (Vec::with_capacity(self.records.len()), Vec::with_capacity(self.records.len()));
        for index in 0..self.records.len() {
            let id = RecordId::at(index);
            let Some(record) = self.records.get(index).and_then(Option::as_ref) else { continue };
            if record.is_open() {
                match self.by_key.entry(record.caller.key().to_owned()) {
                    hash_map::Entry::Vacant(place) => drop(place.insert(id)),
                    hash_map::Entry::Occupied(mut known) => {
                        let other = self.records.get(known.get().index()).and_then(Option::as_ref);
                        if other.is_none_or(|other| other.dialed <= record.dialed) {
                            known.insert(id);
                        }
                    }
                }
            }
            for held in record.held.iter().filter(|h| record.test && h.proof.is_some()) {
                *self.tests.entry(held.trunk).or_default() += 1;
            }
            // No call is up yet.
            due.push((record.expires, id));
            idle.extend(record.ended.filter(|_| record.is_open()).map(|ended| (ended, id)));
        }
        for &(at, id) in &due {
            self.get_mut(id).into_iter().for_each(|record| record.queued = Some(at));
        }
        // At once: of many, one after the other would take much longer.
        (self.due, self.idle) = (due.into_iter().collect(), idle.into_iter().collect());
    }
}

/// `None` where it is damaged.
fn read_row<'a>(key: &'a str, number: E164, serial: u64, value: &[u8], site: &Site) -> Option<Read<'a>> {
    let kept = decode::<KeptLease<'_>>(value)?;
    Some(Read {
        key,
        number,
        serial,
        caller: kept.caller?.into_caller(site),
        lease: kept.lease,
        trunk: trunk_named(site, &kept.trunk),
        rung: kept.rung,
        owned: kept.owned,
        dialed: kept.dialed,
        expires: kept.expires,
        released: kept.released,
        desk_until: kept.desk_until,
        test: kept.test,
        dialed_number: emergency_number(&kept.number),
        path: path_word(&kept.path),
    })
}

//! Leases read back after a restart, and carried into another pool (RULES L1, L2, L9, B1, B4).

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Held, LOOP_CALLS, Leases, Phase, Record, RecordId, RowState};
use crate::emergency::caller::Caller;
use crate::emergency::kept::{KeptLease, decode, emergency_number, of_lease_key, path_word, trunk_named};
use crate::emergency::ladder::Rung;
use crate::emergency::reserve::{NOBODY, Reserve};
use crate::emergency::site::Site;
use crate::pool::{Pool, Was};
use crate::words::{E164, Saved, Table, Time};

/// A row that could be read.
struct Read<'a> {
    key: &'a str,
    number: E164,
    serial: u64,
    /// Made at once: what a row's text needed is free again before the next one is read.
    caller: Caller,
    kept: KeptLease<'a>,
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
        let mut newest: HashMap<E164, u64> = HashMap::new();
        for row in rows.iter().filter(|r| r.kept.owned) {
            let serial = newest.entry(row.number).or_default();
            *serial = row.serial.max(*serial);
        }
        let used_up = |number, mark| newest.get(&number).is_some_and(|serial| *serial > mark);
        let shown = marks.marked.iter().filter(|(number, mark)| !saved.clean && !used_up(*number, *mark));
        doubt.extend(shown.map(|(number, _)| (*number, now)));
        let since = |since: Time| if saved.same_boot { since.min(now) } else { now };
        for &(number, at) in marks.doubted.iter().filter(|(number, _)| !newest.contains_key(number)) {
            doubt.entry(number).or_insert(since(at));
        }
        let mut owned = HashSet::new();
        for row in rows {
            if row.kept.owned && newest.get(&row.number) != Some(&row.serial) {
                // The number went to somebody else since.
                leases.gone.push(row.key.to_owned());
                continue;
            }
            if row.kept.owned {
                owned.insert(row.serial);
            }
            let in_doubt = doubt.remove(&row.number).is_some();
            leases.take_up(row, saved, site, in_doubt, now);
        }
        if !doubt.is_empty() || !marks.doubted.is_empty() {
            leases.reserve.doubt(doubt.into_iter());
        }
        leases.enter(pool, |held| owned.contains(&held.serial));
        leases.settle_in();
        (leases, damaged)
    }

    /// Carries all leases over to the pool of a new configuration (RULES L9). A number that it lacks stays with its
    /// lease to the end.
    pub fn move_to(&mut self, pool: &mut Pool) {
        self.reserve.shelves_changed();
        self.enter(pool, |held| held.proof.is_some());
    }

    fn read<'a>(&mut self, saved: &'a Saved, site: &Site, mut unreadable: impl FnMut(E164)) -> (Vec<Read<'a>>, usize) {
        let (mut rows, mut damaged) = (Vec::new(), 0);
        for (key, value) in saved.rows(Table::Lease) {
            let name = of_lease_key(key);
            self.serial = self.serial.max(name.map_or(0, |(_, serial)| serial));
            let mut kept = decode::<KeptLease<'_>>(value);
            let caller = kept.as_mut().and_then(|k| k.caller.take()).map(|c| c.into_caller(site));
            match (name, kept, caller) {
                (Some((number, serial)), Some(kept), Some(caller)) => {
                    self.serial = self.serial.max(kept.lease);
                    rows.push(Read { key, number, serial, caller, kept });
                }
                (name, ..) => {
                    damaged += 1;
                    self.gone.push(key.to_owned());
                    name.into_iter().for_each(|(number, _)| unreadable(number));
                }
            }
        }
        // The newest holder of a shared number is the last.
        rows.sort_by_key(|row| row.serial);
        (rows, damaged)
    }

    /// One row: another number of a lease that is there already, or a lease.
    fn take_up(&mut self, row: Read<'_>, saved: &Saved, site: &Site, in_doubt: bool, now: Time) {
        let Read { number, serial, caller, kept, .. } = row;
        let (ttl, full) = (if kept.test { site.callback.test_ttl } else { site.callback.ttl }, site.callback.quarantine);
        let time = Time::from_micros;
        let late = kept.released.map(|at| if saved.same_boot && !in_doubt { time(at).min(now) } else { now });
        let expires = match late {
            Some(_) if !saved.same_boot || in_doubt => now + full,
            None if !saved.same_boot => now + ttl,
            None if !saved.clean && !kept.test => time(kept.expires).max(now + site.callback.tail),
            _ => time(kept.expires),
        };
        let again = !saved.same_boot || expires != time(kept.expires);
        let mut held = Held::beside(number, trunk_named(site, &kept.trunk), kept.rung, serial);
        held.desk_until = match kept.desk_until.map(time) {
            // Somebody else may have been shown the number since.
            _ if in_doubt && late.is_some() => Some(now + full),
            Some(until) if saved.same_boot => Some(until),
            Some(_) => Some(now + full),
            None => None,
        };
        if again {
            held.row = RowState::Old;
        }
        let id = match self.before.get(&kept.lease) {
            Some(id) => *id,
            None => {
                let dialed = if saved.same_boot { time(kept.dialed).min(now) } else { now };
                self.records.push(Some(Record {
                    caller,
                    held: Vec::with_capacity(1),
                    dialed,
                    dialed_number: emergency_number(&kept.number),
                    path: path_word(&kept.path),
                    up: 0,
                    ended: Some(late.unwrap_or(dialed)),
                    expires,
                    phase: if late.is_some() { Phase::Late } else { Phase::Open },
                    queued: None,
                    recent: [Time::ZERO; LOOP_CALLS],
                    test: kept.test,
                    serial: kept.lease,
                }));
                let id = RecordId::at(self.records.len() - 1);
                self.before.insert(kept.lease, id);
                id
            }
        };
        let Some(record) = self.get_mut(id) else { return };
        record.expires = record.expires.max(expires);
        if late.is_none() {
            record.phase = Phase::Open;
        }
        record.held.push(held);
        if again {
            self.changed.push(id);
        }
        if !kept.owned {
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
            let Some(held) = self.get_mut(id).and_then(|r| r.held.get_mut(at)) else { continue };
            held.proof = lease;
            match (order == 0, held.proof.is_some()) {
                (true, false) => self.besides.entry(number).or_default().push(id),
                (false, true) => super::forget(&mut self.besides, number, id),
                _ => {}
            }
        }
    }

    /// Puts the restored leases where they are looked for.
    fn settle_in(&mut self) {
        for index in 0..self.records.len() {
            let id = RecordId::at(index);
            let Some(record) = self.get(id) else { continue };
            if record.is_open() {
                let (key, dialed) = (record.caller.key(), record.dialed);
                let older = self.by_key.get(key).and_then(|other| self.get(*other)).is_none_or(|other| other.dialed <= dialed);
                if older {
                    let key = key.to_owned();
                    self.by_key.insert(key, id);
                }
            }
            let tests = self.get(id).filter(|r| r.test).into_iter().flat_map(|r| &r.held);
            let tests: Vec<_> = tests.filter(|h| h.proof.is_some()).map(|h| h.trunk).collect();
            tests.into_iter().for_each(|trunk| *self.tests.entry(trunk).or_default() += 1);
            self.requeue(id);
        }
    }
}

//! How a lease comes by its numbers, and where they go when it is over (RULES L2, L5, L7, C5).
//!
//! [`Leases::number_for`] takes from the pool, `close` gives back. Which rung of L7 a number is on is
//! [`ladder`]'s; who rings on it is [`callback`](crate::emergency::callback)'s.

use super::{Held, Leases, PLAIN_CALLBACKS, Phase, Record, RecordId, RowState, Shown, forget, one_test_less};
use crate::emergency::facts::TrunkId;
use crate::emergency::ladder::{self, Rung, Supply};
use crate::emergency::site::Site;
use crate::pool::{Lease, Pool};
use crate::words::{E164, Time};

impl Leases {
    /// The number that this lease shows on a trunk: the one it has, or a new one by the ladder of L7. `None` only
    /// where the whole site has no number at all.
    pub fn number_for(&mut self, site: &Site, pool: &Pool, id: RecordId, trunk: TrunkId, now: Time) -> Option<Shown> {
        let record = self.get(id)?;
        if let Some(held) = record.held.iter().find(|h| h.trunk == trunk) {
            return Some(Shown { number: held.number, rung: Rung::Held, durable: held.durable });
        }
        let test = record.test;
        let found = self.climb(site, pool, id, trunk, now)?;
        let owned = found.lease.is_some();
        if let Some(before) = found.lease.as_ref().and_then(Lease::previous) {
            self.forget_late(RecordId::of(before.holder), found.number);
        }
        if test && owned {
            *self.tests.entry(trunk).or_default() += 1;
        }
        let serial = self.next_serial();
        let held = Held {
            number: found.number,
            trunk,
            rung: found.rung,
            proof: found.lease,
            durable: false,
            desk_until: found.rests_until,
            plain: [Time::ZERO; PLAIN_CALLBACKS],
            plain_up: 0,
            serial,
            row: RowState::Never,
        };
        self.get_mut(id)?.held.push(held);
        if !owned {
            self.besides.entry(found.number).or_default().push(id);
        }
        Some(Shown { number: found.number, rung: found.rung, durable: false })
    }

    /// Climbs L7. A number whose late callback is up stays with it: the next one is taken instead.
    fn climb(&mut self, site: &Site, pool: &Pool, id: RecordId, trunk: TrunkId, now: Time) -> Option<ladder::Step> {
        loop {
            let record = self.get(id)?;
            let supply = Supply {
                site,
                pool,
                trunk,
                caller: &record.caller,
                holder: id.holder()?,
                test: record.test,
                tests: self.tests.get(&trunk).copied().unwrap_or(0),
                now,
            };
            let mut found = ladder::climb(&supply, || self.longest_ended(trunk, id))?;
            if let Some(shelf) = found.lease.as_ref().and_then(|lease| pool.shelf(lease.slot())) {
                self.reserve.given(shelf, found.number);
            }
            found.lease = match found.lease {
                Some(lease) => self.unless_in_a_late_call(pool, lease),
                none => return Some(ladder::Step { lease: none, ..found }),
            };
            if found.lease.is_some() {
                return Some(found);
            }
        }
    }

    /// Gives the lease back, unless its number is its last holder's and in a call: then it is that holder's until the
    /// call ends.
    fn unless_in_a_late_call(&mut self, pool: &Pool, mut lease: Lease) -> Option<Lease> {
        let Some(last) = lease.previous().map(|previous| previous.holder) else { return Some(lease) };
        let record = self.get_mut(RecordId::of(last)).filter(|r| r.phase == Phase::Late && r.up > 0);
        let Some(held) = record.and_then(|r| r.held.iter_mut().find(|h| h.number == lease.number())) else { return Some(lease) };
        pool.pass_on(&mut lease, last);
        held.proof = Some(lease);
        None
    }

    /// The lease is over: its numbers go back to the pool, where they rest and still lead here (RULES C5).
    pub(super) fn close(&mut self, site: &Site, pool: &Pool, id: RecordId, now: Time) {
        let shared_until = self.shared_until(site, id, now);
        let Some(record) = self.records.get_mut(id.index()).and_then(Option::as_mut) else { return };
        if let Some(until) = shared_until {
            record.expires = until;
            self.row_changed(id);
            return self.requeue(id);
        }
        record.phase = Phase::Late;
        self.by_key.remove(record.caller.key());
        if let Some(ended) = record.ended.replace(now) {
            self.idle.remove(&(ended, id));
        }
        record.held.retain_mut(|held| match held.proof.take() {
            Some(proof) => {
                if record.test {
                    one_test_less(&mut self.tests, held.trunk);
                }
                // Nobody calls a test back: its number has no need to rest.
                pool.release(proof, if record.test { now - site.callback.quarantine } else { now });
                if record.test {
                    held.forget_row(&mut self.gone);
                }
                !record.test
            }
            None => {
                forget(&mut self.besides, held.number, id);
                held.forget_row(&mut self.gone);
                false
            }
        });
        let rests = !record.held.is_empty();
        record.expires = now + site.callback.quarantine;
        self.row_changed(id);
        if rests { self.requeue(id) } else { self.remove(id) }
    }

    /// A late call is over whose number would have gone to somebody else: the number's rest begins anew.
    pub(super) fn rest_again(&mut self, site: &Site, pool: &Pool, id: RecordId, now: Time) {
        let Some(record) = self.get_mut(id).filter(|r| r.phase == Phase::Late) else { return };
        let kept: Vec<_> = record.held.iter_mut().filter_map(|held| held.proof.take()).collect();
        if kept.is_empty() {
            return;
        }
        record.expires = now + site.callback.quarantine;
        kept.into_iter().for_each(|proof| pool.release(proof, now));
        self.row_changed(id);
    }

    /// A sharer keeps the owner's lease: the number must lead to both for the sharer's full time.
    fn shared_until(&self, site: &Site, id: RecordId, now: Time) -> Option<Time> {
        let owned = self.get(id)?.held.iter().filter(|h| h.proof.is_some());
        let sharers = owned.filter_map(|h| self.besides.get(&h.number)).flatten().filter(|s| **s != id);
        let needs = |r: &Record| if r.up > 0 { r.expires.max(now + site.callback.tail) } else { r.expires };
        sharers.filter_map(|s| self.get(*s)).map(needs).max().filter(|until| *until > now)
    }

    /// The number went to somebody else: its last holder cannot be called back under it any more.
    fn forget_late(&mut self, id: RecordId, number: E164) {
        let record = self.records.get_mut(id.index()).and_then(Option::as_mut);
        let Some(record) = record.filter(|r| r.phase == Phase::Late) else { return };
        record.held.retain(|held| {
            if held.number == number {
                held.forget_row(&mut self.gone);
            }
            held.number != number
        });
        if record.held.is_empty() && record.up == 0 {
            if let Some(at) = record.queued {
                self.due.remove(&(at, id));
            }
            self.remove(id);
        }
    }

    /// The number of the lease whose call ended longest ago, on this trunk; never one whose call is up (RULES L7).
    fn longest_ended(&self, trunk: TrunkId, but: RecordId) -> Option<E164> {
        let mut idle = self.idle.iter().filter(|(_, id)| *id != but).filter_map(|(_, id)| self.get(*id));
        idle.find_map(|r| {
            r.held.iter().find(|h| h.trunk == trunk && h.proof.is_some() && !self.has_call(h.number)).map(|h| h.number)
        })
    }

    fn has_call(&self, number: E164) -> bool {
        self.besides.get(&number).is_some_and(|ids| ids.iter().any(|id| self.get(*id).is_some_and(|r| r.up > 0)))
    }
}

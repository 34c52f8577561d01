//! How alarms clear by themselves: after a while, or once what they say is not so any more.

use super::Gateway;
use crate::emergency::ladder;
use crate::pool::ShelfId;
use crate::words::Time;
use std::time::Duration;

/// How long the alarm for looping calls stands after the last one (RULES P12).
pub(super) const LOOP_STANDS: Duration = Duration::from_secs(60);

/// How long the alarm for a call that no trunk took stands after the last one, if none is connected meanwhile.
pub(super) const NOT_CONNECTED_STANDS: Duration = Duration::from_secs(3600);

/// How long the alarm for rows that could not be read after a restart stands: what they said is lost, and is not news for ever.
pub(super) const DAMAGE_STANDS: Duration = Duration::from_secs(3600);

/// For how long no call must have waited too long for the store: a disk that is slow now and then is one piece of news.
const STORE_CALM: Duration = Duration::from_secs(3);

/// How long it takes at least until it is looked whether every shelf has a free number again, while an alarm says that one
/// has none.
const POOL_LOOK: Duration = Duration::from_secs(4);
/// A lease may end, or a number be given back, before any quarantine does.
const LONGEST_POOL_LOOK: Duration = Duration::from_secs(60);

impl Gateway {
    /// Those that stand for a time only.
    pub(super) fn clear_alarms(&mut self, now: Time) {
        if self.loop_until.take_if(|until| *until <= now).is_some() {
            self.out.alarm("loop", false);
        }
        if self.not_connected_until.take_if(|until| *until <= now).is_some() {
            self.out.alarm("call_not_connected", false);
        }
        if self.damage_until.take_if(|until| *until <= now).is_some() {
            self.out.alarm("store_failed", false);
        }
        if self.store_look.take_if(|at| *at <= now).is_some() && !self.out.take_repeat("store_slow") {
            self.out.alarm("store_slow", false);
        }
    }

    /// The store has written a record: from here on it has to be in time for a while.
    pub(super) fn store_answers(&mut self, now: Time) {
        if self.out.is_raised("store_slow") && (self.out.take_repeat("store_slow") || self.store_look.is_none()) {
            self.store_look = Some(now + STORE_CALM);
        }
    }

    /// When there is something to clear, or to look for.
    pub(super) fn next_alarm(&self) -> Option<Time> {
        [self.loop_until, self.not_connected_until, self.damage_until, self.store_look, self.pool_look]
            .into_iter()
            .flatten()
            .min()
    }

    /// The alarms of the pool clear by themselves, once every shelf has a number that no quarantine holds.
    pub(super) fn look_for_free_numbers(&mut self, now: Time) {
        let raised = ["pool_low", "pool_empty"].into_iter().any(|name| self.out.is_raised(name));
        self.pool_look = match self.pool_look {
            _ if !raised => None,
            None => Some(now + POOL_LOOK),
            Some(at) if at > now => Some(at),
            Some(_) => {
                let shelves = (0u16..).map(ShelfId).zip(&self.site.shelves);
                let wait = shelves.map(|(shelf, _)| ladder::rests_for(&self.site, &self.pool, shelf, now)).max();
                let wait = wait.unwrap_or_default();
                if wait.is_zero() {
                    ["pool_low", "pool_empty"].into_iter().for_each(|name| self.out.alarm(name, false));
                }
                (!wait.is_zero()).then_some(now + wait.clamp(POOL_LOOK, LONGEST_POOL_LOOK))
            }
        };
    }
}

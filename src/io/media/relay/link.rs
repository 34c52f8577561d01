//! One end of a relay as its thread knows it: whom it hears, by which keys, and when it was heard last.

use super::Hearing;
use super::browser::Seat;
use super::guard::Guard;
use super::source::{Learn, Source};
use crate::bridge::{End, Joined};
use crate::emergency::facts::CallId;
use crate::words::Time;
use std::sync::mpsc::Sender;
use std::time::Duration;

/// What a pair is to its call.
pub(super) struct Link {
    pub(super) call: CallId,
    /// Whom it is joined with; a browser's end outlives that, and is joined with somebody else.
    pub(super) other: Option<usize>,
    pub(super) near: bool,
    pub(super) end: End,
    pub(super) rtp: Source,
    pub(super) rtcp: Source,
    pub(super) guard: Option<Guard>,
    /// Where it is a browser's.
    pub(super) seat: Option<Box<Seat>>,
    pub(super) held: bool,
    pub(super) heard: Time,
    /// The same, answered checks of ICE among it: a browser on hold is there.
    pub(super) alive: Time,
    /// Silence was reported.
    pub(super) silent: bool,
    /// A browser's end was reported to be gone.
    pub(super) gone: bool,
    /// The shard, and what it was told last.
    hears: Sender<Hearing>,
    told: bool,
}

impl Link {
    /// What was learned and counted before goes on, as far as it is still about the same.
    pub(super) fn new(
        before: Option<Self>,
        joined: &Joined,
        (other, near, hears): (usize, bool, &Sender<Hearing>),
        end: &End,
        learn: Learn,
        now: Time,
    ) -> Self {
        let told = before.as_ref().is_some_and(|b| b.told);
        let (rtp, rtcp, guard, heard, seat) = match before {
            Some(b) => (Some(b.rtp), Some(b.rtcp), b.guard, b.heard, b.seat),
            None => (None, None, None, now, None),
        };
        // The same browser stays where it is, with the keys that it has.
        let seat = end.browser.as_ref().zip(seat).and_then(|(browser, mut seat)| seat.goes_on_as(browser).then_some(seat));
        let source = |before: Option<Source>, negotiated| {
            let same = before.filter(|source| seat.is_some() || source.is_for(negotiated, end.also));
            same.unwrap_or_else(|| Source::new(negotiated, end.also, learn))
        };
        let age = if joined.restored { now.since(joined.since) } else { Duration::ZERO };
        let guard = match (guard, end.keys.clone()) {
            (guard, None) if seat.is_some() => guard,
            (Some(mut guard), Some(keys)) => {
                guard.rekey(keys);
                Some(guard)
            }
            (None, Some(keys)) => Guard::new(keys, age),
            (_, None) => None,
        };
        let mut link = Self {
            call: joined.call,
            other: Some(other),
            near,
            rtp: source(rtp, end.rtp),
            rtcp: source(rtcp, end.rtcp),
            end: end.clone(),
            guard,
            seat,
            held: joined.held,
            heard: if joined.held { now } else { heard },
            alive: now,
            silent: false,
            gone: false,
            hears: hears.clone(),
            told,
        };
        link.tell(false);
        link
    }

    /// Something came from it.
    pub(super) fn is_there(&mut self, now: Time) {
        (self.alive, self.gone) = (now, false);
        self.breaks_silence();
    }

    /// The other side is heard, where it is what silence is about.
    pub(super) fn breaks_silence(&mut self) {
        self.silent = false;
        self.tell(false);
    }

    /// Tells the shard, where that is news to it.
    pub(super) fn tell(&mut self, silent: bool) {
        if std::mem::replace(&mut self.told, silent) != silent {
            let _ = self.hears.send(Hearing { call: self.call, silent });
        }
    }
}

//! New ordinary calls that were taken in a rush, remembered until they are answered.
//!
//! Who hears nothing for half a second repeats his INVITE (RFC 3261 section 17.1.1.2). Where new calls are turned away by then, the
//! repeat of one that waits must not be: its caller would give up a call that is placed a moment later. Nothing is kept while
//! nothing waits.

use crate::words::Time;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::Duration;

/// How long one is remembered at least: longer than any queue of ours takes.
const LEAST: Duration = Duration::from_secs(2);

/// See the module's docs. A repeat is the same bytes from the same place.
#[derive(Default)]
pub struct Repeats {
    hash: RandomState,
    taken: HashSet<u64>,
    taken_before: HashSet<u64>,
    since: Time,
}

impl Repeats {
    /// An INVITE has begun to wait.
    pub fn note(&mut self, remote: SocketAddr, invite: &[u8]) {
        self.taken.insert(self.hash.hash_one((remote, invite)));
    }

    /// Whether this one was taken a moment ago.
    pub fn knows(&self, remote: SocketAddr, invite: &[u8]) -> bool {
        let has_any = !self.taken.is_empty() || !self.taken_before.is_empty();
        let is_in = |hash| self.taken.contains(&hash) || self.taken_before.contains(&hash);
        has_any && is_in(self.hash.hash_one((remote, invite)))
    }

    /// Forgets what is old, and gives its memory back.
    pub fn forget(&mut self, now: Time) {
        if now.since(self.since) >= LEAST {
            self.since = now;
            self.taken_before = std::mem::take(&mut self.taken);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_is_known_for_two_seconds_and_forgotten_after_four() {
        let at = |millis: u64| Time::from_micros(1_000_000_000 + millis * 1000);
        let [here, there] = ["127.0.0.1:15090", "127.0.0.1:15091"].map(|a| a.parse().expect("an address"));
        let mut repeats = Repeats::default();
        repeats.forget(at(0));
        repeats.note(here, b"INVITE 1");
        for millis in [1_999, 2_000, 3_999] {
            repeats.forget(at(millis));
            assert!(repeats.knows(here, b"INVITE 1"), "{millis}");
        }
        assert!(!repeats.knows(there, b"INVITE 1"));
        assert!(!repeats.knows(here, b"INVITE 2"));
        repeats.forget(at(4_000));
        assert!(!repeats.knows(here, b"INVITE 1"));
        assert_eq!(repeats.taken.capacity() + repeats.taken_before.capacity(), 0);
    }
}

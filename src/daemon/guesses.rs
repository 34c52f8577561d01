//! Who has guessed too often: passwords of agents and tokens, by whom they are of and by where they come from.
//!
//! Counts failures alone. A count ends a minute after it began, so that nobody is locked out for long, and whoever holds a
//! good token is never asked for here. Times are arguments. Read [`Guesses`] first.

use crate::words::Time;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a count lasts.
const WINDOW: Duration = Duration::from_secs(60);
/// Counts that are kept; where there are more, those that are over are taken out, else all.
const MOST: usize = 16_384;

/// What failures are counted by.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Of<'a> {
    /// Passwords of this agent, from wherever: 10 a minute.
    Agent(&'a str),
    /// Passwords from this address, for whichever agent: 30 a minute, for many may sit behind it.
    Address(IpAddr),
    /// Tokens from this address: 100 a minute.
    Tokens(IpAddr),
}

impl Of<'_> {
    const fn most(self) -> u32 {
        match self {
            Self::Agent(_) => 10,
            Self::Address(_) => 30,
            Self::Tokens(_) => 100,
        }
    }
}

/// See the module's docs.
#[derive(Default)]
pub struct Guesses {
    hasher: RandomState,
    counts: Mutex<HashMap<u64, Count>>,
}

struct Count {
    since: Time,
    failures: u32,
}

impl Guesses {
    /// How long to wait before the next guess; `None`: it may come now.
    pub fn wait(&self, of: Of<'_>, now: Time) -> Option<Duration> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.get(&self.key(of))?;
        let left = WINDOW.checked_sub(now.since(count.since)).filter(|left| !left.is_zero())?;
        (count.failures >= of.most()).then_some(left)
    }

    /// A guess was wrong.
    pub fn failed(&self, of: Of<'_>, now: Time) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= MOST {
            counts.retain(|_, count| !count.is_over(now));
            if counts.len() >= MOST {
                counts.clear();
            }
        }
        let count = counts.entry(self.key(of)).or_insert(Count { since: now, failures: 0 });
        if count.is_over(now) {
            *count = Count { since: now, failures: 0 };
        }
        count.failures = count.failures.saturating_add(1);
    }

    /// A guess was right: an agent who has mistyped begins anew.
    pub fn succeeded(&self, of: Of<'_>) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key(of));
    }

    /// Strangers choose the names: of each its hash is kept, never the name.
    fn key(&self, of: Of<'_>) -> u64 {
        self.hasher.hash_one(of)
    }
}

impl Count {
    fn is_over(&self, now: Time) -> bool {
        now.since(self.since) >= WINDOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const NOW: Time = Time::from_micros(1_000_000_000);
    const HERE: Of<'_> = Of::Address(IpAddr::V4(Ipv4Addr::LOCALHOST));

    #[test]
    fn after_ten_wrong_passwords_of_an_agent_the_next_one_waits_until_the_minute_is_over() {
        let guesses = Guesses::default();
        let alice = Of::Agent("alice");
        for _ in 0..10 {
            assert_eq!(guesses.wait(alice, NOW), None);
            guesses.failed(alice, NOW);
        }
        assert_eq!(guesses.wait(alice, NOW + Duration::from_secs(20)), Some(Duration::from_secs(40)));
        assert_eq!(guesses.wait(Of::Agent("bob"), NOW), None);
        assert_eq!(guesses.wait(HERE, NOW), None);
        assert_eq!(guesses.wait(alice, NOW + WINDOW), None);
        guesses.failed(alice, NOW + WINDOW);
        assert_eq!(guesses.wait(alice, NOW + WINDOW), None, "the count has begun anew");
    }

    #[test]
    fn whoever_gets_it_right_has_guessed_nothing() {
        let guesses = Guesses::default();
        (0..9).for_each(|_| guesses.failed(Of::Agent("alice"), NOW));
        guesses.succeeded(Of::Agent("alice"));
        guesses.failed(Of::Agent("alice"), NOW);
        assert_eq!(guesses.wait(Of::Agent("alice"), NOW), None);
    }

    #[test]
    fn b7_the_table_does_not_grow_without_bound() {
        let guesses = Guesses::default();
        for n in 0..MOST + 100 {
            guesses.failed(Of::Agent(&n.to_string()), NOW);
        }
        assert!(guesses.counts.lock().expect("nobody else").len() <= MOST);
    }
}

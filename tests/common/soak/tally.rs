//! What became of the calls.

use std::collections::BTreeMap;
use std::fmt;

use super::plan::Kind;

/// Of one kind of call.
#[derive(Clone, Debug, Default)]
pub struct Count {
    /// Begun.
    pub offered: u64,
    /// Answered, or heard to ring by a caller who then gave up; an ordinary call also: refused by its callee, as planned.
    pub complete: u64,
    /// Of these: after a `kill -9` had cut the first attempt off, at the second.
    pub redialed: u64,
    /// By status; 408: nothing final was ever heard.
    pub failed: BTreeMap<u16, u64>,
    /// Ordinary calls that got 503 with Retry-After.
    pub turned_away: u64,
    /// Ordinary calls that a kill or a hand-over cut off while they were being set up.
    pub cut: u64,
    /// INVITEs that were sent again by Timer A.
    pub repeats: u64,
    /// Calls whose end did not reach the other side, or was refused.
    pub bad_ends: u64,
    /// From INVITE to answer, without the time that it rang, in slots: see [`Count::took`].
    slots: BTreeMap<&'static str, Vec<u64>>,
}

/// What became of all of them.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// In the order of [`Kind::ALL`].
    pub kinds: [Count; 3],
    /// Calls that go on.
    pub going_on: usize,
    /// Legs at the callees' that go on.
    pub legs: usize,
    /// Callbacks that rang somebody else than who was shown by the number.
    pub misdirected: u64,
    /// Numbers that were shown for two people.
    pub shared: u64,
    /// People who were shown by another number of the same trunk than before.
    pub renumbered: u64,
    /// Callbacks that rang the desk although no phone had refused them.
    pub desk: u64,
    /// Calls that wait to be offered.
    pub waiting: u64,
    /// What was odd, the first few times.
    pub notes: Vec<String>,
}

impl Tally {
    /// Of one kind.
    pub fn of(&self, kind: Kind) -> &Count {
        &self.kinds[kind as usize]
    }

    /// The same, to write.
    pub fn of_mut(&mut self, kind: Kind) -> &mut Count {
        &mut self.kinds[kind as usize]
    }

    /// Calls of all kinds that were begun.
    pub fn offered(&self) -> u64 {
        self.kinds.iter().map(|k| k.offered).sum()
    }

    /// Remembers it, if little is remembered so far.
    pub fn note(&mut self, what: impl FnOnce() -> String) {
        if self.notes.len() < 40 {
            self.notes.push(what());
        }
    }
}

impl Count {
    /// That are not complete and should be.
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// Of a hundred that came to an end and were neither turned away nor cut off.
    pub fn completed(&self) -> f64 {
        let all = self.complete + self.failures();
        if all == 0 { 100.0 } else { self.complete as f64 * 100.0 / all as f64 }
    }

    /// A set-up took so long, in us: an eighth of an octave a slot.
    pub fn took(&mut self, phase: &'static str, us: u64) {
        let slot = (us.max(1) as f64).log2() * 8.0;
        let slots = self.slots.entry(phase).or_insert_with(|| vec![0; 8 * 32]);
        if let Some(slot) = slots.get_mut(slot as usize) {
            *slot += 1;
        }
    }

    /// p50, p99 and p99.9 of a phase in ms, and how many there were.
    fn spread(slots: &[u64]) -> (f64, f64, f64, u64) {
        let all: u64 = slots.iter().sum();
        let at = |share: f64| {
            let mut left = (all as f64 * share) as u64;
            let slot = slots.iter().position(|n| {
                let here = left < *n;
                left = left.saturating_sub(*n);
                here
            });
            ((slot.unwrap_or(0) + 1) as f64 / 8.0).exp2() / 1000.0
        };
        (at(0.5), at(0.99), at(0.999), all)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for kind in Kind::ALL {
            let Count { offered, complete, redialed, failed, turned_away, cut, repeats, bad_ends, slots } = self.of(kind);
            writeln!(
                f,
                "{kind:?}: {offered} offered, {complete} complete ({:.4} %), {redialed} of them redialed; failed {failed:?}, turned \
                 away {turned_away}, cut off {cut}; INVITEs repeated {repeats}, bad ends {bad_ends}",
                self.of(kind).completed()
            )?;
            for (phase, slots) in slots {
                let (half, most, nearly, all) = Count::spread(slots);
                writeln!(
                    f,
                    "    {phase}: {all} set up, p50 {half:.1} ms, p99 {most:.1} ms, p99.9 {nearly:.1} ms beside the ringing"
                )?;
            }
        }
        let Self { misdirected, shared, renumbered, desk, .. } = self;
        writeln!(
            f,
            "callbacks to somebody else {misdirected}, to the desk untold {desk}; numbers of two people {shared}, \
             people with another number than before {renumbered}"
        )?;
        self.notes.iter().try_for_each(|note| writeln!(f, "    {note}"))
    }
}

//! One number's place in the pool and who has it: a single word that is read and written as a whole.
//!
//! Only the thread that has taken a slot out of its shelf's queue writes to it; everybody may read. Generation, kind
//! and holder share one word, so no reader sees the holder of one lease with the generation of another.

use std::num::NonZeroU32;

use super::sync::{AtomicU64, Ordering};
use super::{Generation, Holder, ShelfId, State};
use crate::words::{E164, Time};

const KIND_SHIFT: u32 = 32;
const GENERATION_SHIFT: u32 = 34;
const LEASED: u64 = 1;
const IDLE: u64 = 2;

/// One number of the pool.
pub(super) struct Cell {
    pub(super) number: E164,
    pub(super) shelf: ShelfId,
    /// Bits 0..32 the holder (0: none), 32..34 the kind (0 never, 1 leased, 2 idle), 34..64 the generation.
    state: AtomicU64,
    /// When it was last released, in microseconds; means nothing until the state says that it was.
    since: AtomicU64,
}

impl Cell {
    pub(super) fn new(number: E164, shelf: ShelfId) -> Self {
        Self { number, shelf, state: AtomicU64::new(0), since: AtomicU64::new(0) }
    }

    /// Generation and state of one moment.
    pub(super) fn state(&self) -> (Generation, State) {
        // Acquire, with the Release of `write`: what the writer did before is seen as well, the time in `since` above all.
        unpack(self.state.load(Ordering::Acquire))
    }

    /// Since when it has been idle; `None` if it is leased or never was.
    pub(super) fn idle_since(&self) -> Option<Time> {
        match self.state().1 {
            State::Idle { .. } => Some(self.since()),
            State::Never | State::Leased(_) => None,
        }
    }

    /// Owner only: begins the next generation and gives it back.
    pub(super) fn lease(&self, holder: Holder) -> Generation {
        let generation = self.owned_state().0.next();
        self.write(generation, LEASED, holder);
        generation
    }

    /// Owner only: ends the present lease at `now`; its holder stays visible.
    pub(super) fn release(&self, now: Time) {
        if let (generation, State::Leased(holder)) = self.owned_state() {
            self.rest(generation, holder, now);
        }
    }

    /// Owner only: idle since `since`, last held by `last`.
    pub(super) fn rest(&self, generation: Generation, last: Holder, since: Time) {
        // Relaxed: whoever reads it has first seen the state that is written next.
        self.since.store(since.as_micros(), Ordering::Relaxed);
        self.write(generation, IDLE, last);
    }

    /// Owner only: the state, which nobody else can be writing.
    pub(super) fn owned_state(&self) -> (Generation, State) {
        // Relaxed: the queue has ordered the previous owner's writes before ours.
        unpack(self.state.load(Ordering::Relaxed))
    }

    /// When it was last released; for who has read from the state that it was.
    pub(super) fn since(&self) -> Time {
        // Relaxed: `state` has acquired what belongs to it. A later release's time may be read instead; it is as true.
        Time::from_micros(self.since.load(Ordering::Relaxed))
    }

    fn write(&self, generation: Generation, kind: u64, holder: Holder) {
        let word = u64::from(generation.0) << GENERATION_SHIFT | kind << KIND_SHIFT | u64::from(holder.0.get());
        // Release, for the Acquire of `state`. No read-modify-write is needed: only the owner writes.
        self.state.store(word, Ordering::Release);
    }
}

fn unpack(word: u64) -> (Generation, State) {
    let generation = Generation((word >> GENERATION_SHIFT) as u32);
    let state = match (word >> KIND_SHIFT & 3, NonZeroU32::new(word as u32)) {
        (LEASED, Some(holder)) => State::Leased(Holder(holder)),
        (IDLE, Some(last)) => State::Idle { last: Holder(last) },
        _ => State::Never,
    };
    (generation, state)
}

#[cfg(all(test, not(e911d_models)))]
mod tests {
    use super::*;

    #[test]
    fn a_word_gives_back_what_was_packed_into_it() {
        let cell = Cell::new(E164::from_digits(14_255_550_100).unwrap(), ShelfId(0));
        assert_eq!(cell.state(), (Generation(0), State::Never));
        for holder in [1, 2, u32::MAX] {
            for generation in [0, 1, Generation::LAST] {
                let h = Holder(NonZeroU32::new(holder).unwrap());
                cell.write(Generation(generation), LEASED, h);
                assert_eq!(cell.state(), (Generation(generation), State::Leased(h)));
                cell.release(Time::from_micros(5));
                assert_eq!(cell.state(), (Generation(generation), State::Idle { last: h }));
                assert_eq!(cell.idle_since(), Some(Time::from_micros(5)));
            }
        }
        assert_eq!(Generation(Generation::LAST).next(), Generation(0));
    }
}

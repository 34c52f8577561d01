//! From a number to its slot: a table that is built once and never changes.
//!
//! Open addressing with linear probing, at most half full. Nobody writes to it after it was built, so look-ups
//! need no synchronisation of their own.

use crate::words::E164;

/// The odd number next to 2^64 divided by the golden ratio (Knuth, TAOCP 3, 6.4): spreads consecutive numbers evenly.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// What no number has as its digits; marks an unused entry.
const UNUSED: u64 = 0;

/// Number to slot.
pub(super) struct Index {
    entries: Box<[Entry]>,
    shift: u32,
}

#[derive(Clone, Copy)]
struct Entry {
    digits: u64,
    slot: u32,
}

impl Index {
    /// An index with room for `count` numbers.
    pub(super) fn with_room_for(count: usize) -> Self {
        let len = (count.max(1) * 2).next_power_of_two();
        Self { entries: vec![Entry { digits: UNUSED, slot: 0 }; len].into_boxed_slice(), shift: u64::BITS - len.ilog2() }
    }

    /// Adds a number; `Err` with the slot that has it already. At most as many as there is room for.
    pub(super) fn add(&mut self, number: E164, slot: u32) -> Result<(), u32> {
        let at = self.probe(number);
        let entry = &mut self.entries[at];
        if entry.digits != UNUSED {
            return Err(entry.slot);
        }
        *entry = Entry { digits: number.digits(), slot };
        Ok(())
    }

    /// The slot of a number.
    pub(super) fn get(&self, number: E164) -> Option<u32> {
        let entry = self.entries[self.probe(number)];
        (entry.digits != UNUSED).then_some(entry.slot)
    }

    /// The place that has this number, or the unused one where it would be. Ends, since half of the places are unused.
    fn probe(&self, number: E164) -> usize {
        let mask = self.entries.len() - 1;
        let mut at = (number.digits().wrapping_mul(GOLDEN) >> self.shift) as usize & mask;
        loop {
            let digits = self.entries[at].digits;
            if digits == number.digits() || digits == UNUSED {
                return at;
            }
            at = (at + 1) & mask;
        }
    }
}

#[cfg(all(test, not(e911d_models)))]
mod tests {
    use super::Index;
    use crate::words::E164;

    fn number(n: u64) -> E164 {
        E164::from_digits(14_255_550_000 + n).unwrap()
    }

    #[test]
    fn every_number_is_found_and_no_other() {
        for (count, stride) in [(0, 1), (1, 1), (2, 1), (1000, 1), (1000, 37), (1024, 1 << 20)] {
            let mut index = Index::with_room_for(count);
            for i in 0..count {
                assert_eq!(index.add(number(i as u64 * stride), i as u32), Ok(()));
            }
            for i in 0..count {
                assert_eq!(index.get(number(i as u64 * stride)), Some(i as u32));
            }
            assert_eq!(index.get(number(count as u64 * stride)), None);
        }
    }

    #[test]
    fn a_number_added_twice_is_refused_with_the_slot_that_has_it() {
        let mut index = Index::with_room_for(3);
        assert_eq!(index.add(number(1), 7), Ok(()));
        assert_eq!(index.add(number(2), 8), Ok(()));
        assert_eq!(index.add(number(1), 9), Err(7));
        assert_eq!(index.get(number(1)), Some(7));
    }
}

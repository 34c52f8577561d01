//! A hashed timer wheel: arming is a push, nothing is ever cancelled.
//!
//! Who arms a timer keeps its deadline; an entry that fires for something that is gone or has another deadline
//! by then is stale and ignored by its owner. One turn is longer than 64*T1, so nearly every SIP timer fires in
//! its first turn; a later one just stays in its slot.

use crate::words::Time;

const SLOTS: usize = 4096;
/// 8.192 ms a slot, 33.5 s a turn: 64*T1 is 32 s.
const SHIFT: u32 = 13;

/// Deadlines of `T`s, in no order within one slot's 8 ms.
pub struct TimerWheel<T> {
    slots: Vec<Vec<(Time, T)>>,
    /// One bit a slot that holds something.
    occupied: [u64; SLOTS / 64],
    /// Slots before this tick have been emptied of what was due.
    tick: u64,
    len: usize,
}

impl<T: Copy> TimerWheel<T> {
    /// An empty wheel that turns from `now` on.
    pub fn new(now: Time) -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Vec::new()).collect(),
            occupied: [0; SLOTS / 64],
            tick: now.as_micros() >> SHIFT,
            len: 0,
        }
    }

    /// How many entries wait, stale ones included.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Fires `what` at `deadline`, or at the next turn of the hand where that has passed.
    pub fn arm(&mut self, deadline: Time, what: T) {
        let slot = ((deadline.as_micros() >> SHIFT).max(self.tick) as usize) % SLOTS;
        self.slots[slot].push((deadline, what));
        self.occupied[slot / 64] |= 1 << (slot % 64);
        self.len += 1;
    }

    /// Moves everything that is due at `now` into `due`.
    pub fn expire(&mut self, now: Time, due: &mut Vec<(Time, T)>) {
        let target = now.as_micros() >> SHIFT;
        if target.saturating_sub(self.tick) >= SLOTS as u64 {
            // Asleep for more than a turn: every slot may hold something due.
            self.tick = target - SLOTS as u64 + 1;
        }
        loop {
            let slot = (self.tick as usize) % SLOTS;
            if self.occupied[slot / 64] & (1 << (slot % 64)) != 0 {
                self.empty_slot(slot, now, due);
            }
            if self.tick >= target {
                return;
            }
            self.tick += 1;
        }
    }

    /// When to call [`TimerWheel::expire`] next; never later than the earliest deadline plus one slot.
    pub fn next(&self) -> Option<Time> {
        if self.len == 0 {
            return None;
        }
        let start = (self.tick as usize) % SLOTS;
        let mut later: Option<Time> = None;
        for word in (0..=SLOTS / 64).map(|i| (start / 64 + i) % (SLOTS / 64)) {
            let mut bits = self.occupied[word];
            while bits != 0 {
                let slot = word * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let reached = Time::from_micros((self.tick + ((slot + SLOTS - start) % SLOTS) as u64) << SHIFT);
                let earliest = self.slots[slot].iter().map(|e| e.0).min()?;
                if earliest.as_micros() >> SHIFT <= reached.as_micros() >> SHIFT && (word != start / 64 || slot >= start) {
                    return Some(earliest.max(reached).min(later.unwrap_or(earliest.max(reached))));
                }
                later = Some(later.map_or(earliest, |l| l.min(earliest)));
            }
        }
        later
    }

    fn empty_slot(&mut self, slot: usize, now: Time, due: &mut Vec<(Time, T)>) {
        let entries = &mut self.slots[slot];
        let before = entries.len();
        entries.retain(|e| {
            let later = e.0 > now;
            if !later {
                due.push(*e);
            }
            later
        });
        self.len -= before - entries.len();
        if entries.is_empty() {
            self.occupied[slot / 64] &= !(1 << (slot % 64));
            // A storm would leave long ones behind.
            *entries = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::TimerWheel;
    use crate::words::Time;
    use std::time::Duration;

    #[test]
    fn each_timer_fires_once_and_never_early() {
        let mut wheel = TimerWheel::new(Time::ZERO);
        let delays: Vec<u64> = (0..2000u64).map(|i| i * i * 37 % 90_000_000).collect();
        for (i, &d) in delays.iter().enumerate() {
            wheel.arm(Time::from_micros(d), i);
        }
        let (mut now, mut fired, mut due) = (Time::ZERO, vec![0; delays.len()], Vec::new());
        while let Some(next) = wheel.next() {
            assert!(next >= now || !wheel.is_empty());
            now = now.max(next);
            wheel.expire(now, &mut due);
            for (deadline, i) in due.drain(..) {
                assert_eq!(deadline, Time::from_micros(delays[i]));
                assert!(deadline <= now && now.since(deadline) < Duration::from_millis(9), "timer {i}");
                fired[i] += 1;
            }
        }
        assert!(fired.iter().all(|&n| n == 1));
        assert!(wheel.is_empty());
    }

    #[test]
    fn a_timer_beyond_one_turn_hides_no_nearer_one() {
        let mut wheel = TimerWheel::new(Time::ZERO);
        wheel.arm(Time::from_micros(180_000_000), 'c');
        wheel.arm(Time::from_micros(20_000_000), 'a');
        let next = wheel.next().map(Time::as_millis);
        assert_eq!(next, Some(20_000));
    }

    #[test]
    fn a_machine_that_slept_for_an_hour_misses_no_timer() {
        let mut wheel = TimerWheel::new(Time::ZERO);
        for i in 0..100u64 {
            wheel.arm(Time::from_micros(i * 700_000), i);
        }
        assert_eq!(wheel.next(), Some(Time::ZERO));
        let mut due = Vec::new();
        wheel.expire(Time::from_micros(3_600_000_000), &mut due);
        assert_eq!(due.len(), 100);
        assert_eq!(wheel.next(), None);
    }
}

//! Memory that is not used any more goes back to the system.
//!
//! The C library keeps what was freed in many small pieces for whoever asks next. After a thousand strangers have gone that is
//! a lot, so that somebody has to tell it. [`Tide`] knows when for connections, [`Peak`] for calls.

use crate::words::Time;
use std::time::Duration;

/// For how long no connection must have come or gone: giving back costs some milliseconds.
const CALM: Duration = Duration::from_secs(2);
/// Though there is never such a pause, it is time after this.
const LATEST: Duration = Duration::from_secs(60);
/// And no sooner again than after this.
const PAUSE: Duration = Duration::from_secs(10);

/// Whether connections have come and gone lately: handshakes, and messages that are never read, leave much behind.
#[derive(Debug, Default)]
pub struct Tide {
    moved: usize,
    seen: usize,
    /// When the last one was seen to move.
    since: Time,
    /// When the first one was.
    begun: Time,
    /// When memory was given back last.
    last: Time,
}

impl Tide {
    /// One came or went.
    pub const fn moved(&mut self) {
        self.moved += 1;
    }

    /// Whether it is time to [`give_back`]. To be asked about once a second.
    pub fn is_out(&mut self, now: Time) -> bool {
        if self.moved == 0 {
            return false;
        }
        if self.seen == 0 {
            self.begun = now;
        }
        if self.seen != self.moved {
            (self.seen, self.since) = (self.moved, now);
        }
        let is_calm = now.since(self.since) >= CALM || now.since(self.begun) >= LATEST;
        let is_out = is_calm && now.since(self.last) >= PAUSE;
        if is_out {
            *self = Self { last: now, ..Self::default() };
        }
        is_out
    }
}

/// From so many things on, there was much.
const MUCH: usize = 4000;

/// Whether there was much more of something lately than there is now: a storm that has passed.
#[derive(Debug, Default)]
pub struct Peak {
    most: usize,
}

impl Peak {
    /// So many there are now. True once after each storm: then it is time to [`give_back`].
    pub const fn has_passed(&mut self, now: usize) -> bool {
        if now > self.most {
            self.most = now;
        }
        let passed = self.most >= MUCH && now <= self.most / 32;
        if passed {
            self.most = now;
        }
        passed
    }
}

/// Gives back what the C library holds and nobody uses; where that library has no such function, nothing happens. Takes some
/// milliseconds, during which other threads may have to wait for memory.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        // SAFETY: malloc_trim(3) may be called at any time by any thread, takes a number of bytes to keep, and touches nothing
        // that is in use.
        unsafe {
            malloc_trim(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_passes_once_and_what_is_always_there_is_none() {
        let mut peak = Peak::default();
        for (now, passed) in [
            (10, false),
            (3_999, false),
            (0, false),
            (20_000, false),
            (626, false),
            (625, true),
            (600, false),
            (4_800, false),
            (151, false),
            (150, true),
            (0, false),
        ] {
            assert_eq!(peak.has_passed(now), passed, "{now}");
        }
    }

    #[test]
    fn memory_is_given_back_when_it_is_calm_or_after_a_minute_and_not_all_the_time() {
        let at = |s: u64| Time::ZERO + Duration::from_secs(s);
        let mut tide = Tide::default();
        assert!(!tide.is_out(at(100)) && !tide.is_out(at(200)), "nobody came or went");
        tide.moved();
        assert!(!tide.is_out(at(201)) && !tide.is_out(at(202)));
        tide.moved();
        assert!(!tide.is_out(at(203)) && !tide.is_out(at(204)), "they go on");
        assert!(tide.is_out(at(205)));
        tide.moved();
        assert!(!tide.is_out(at(207)) && !tide.is_out(at(214)), "it was just done");
        assert!(tide.is_out(at(215)));
        assert!(!tide.is_out(at(300)));
        let mut times = 0;
        for second in 301..=400 {
            tide.moved();
            times += usize::from(tide.is_out(at(second)));
        }
        assert_eq!(times, 1);
        give_back();
    }
}

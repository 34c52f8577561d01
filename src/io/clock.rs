//! Where the clock enters: the only reads of one in the program.
//!
//! Everything below gets its [`Time`] as an argument, so that what was decided can be replayed.

use crate::words::Time;
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Boot time, suspend included (`CLOCK_BOOTTIME`): no lease ends early because a lid was closed (RULES B4).
pub fn now() -> Time {
    Time::from_micros(micros(ClockId::Boottime))
}

/// The same moment for libraries that count by the standard library's clock: differences alone mean something.
#[expect(clippy::disallowed_methods, reason = "this is where the clock enters")]
pub fn instant() -> std::time::Instant {
    std::time::Instant::now()
}

/// Wall time, since the Unix epoch: for mails and views, never for a decision.
pub fn wall() -> Duration {
    Duration::from_micros(micros(ClockId::Realtime))
}

/// The wall time of a moment of boot time, by what both clocks say at present.
pub fn wall_at(moment: Time) -> Duration {
    let now = now();
    if moment > now { wall() + moment.since(now) } else { wall().saturating_sub(now.since(moment)) }
}

/// Which boot of the machine [`now`] counts from; empty where the kernel does not say (it does since Linux 2.3.16).
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn micros(clock: ClockId) -> u64 {
    let at = clock_gettime(clock);
    let seconds = u64::try_from(at.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(at.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000).saturating_add(nanos / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_time_does_not_go_back_and_the_wall_clock_follows_it() {
        let first = now();
        let second = now();
        assert!(first <= second && first > Time::ZERO);
        let later = wall_at(second + Duration::from_secs(3600));
        assert!(later > wall() + Duration::from_secs(3599) && later < wall() + Duration::from_secs(3601));
        assert!(wall_at(Time::ZERO) < wall());
    }
}

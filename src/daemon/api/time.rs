//! Times as the API writes them: RFC 3339, in UTC, to the millisecond.

use crate::io::clock;
use crate::words::Time;
use std::time::Duration;

/// `2025-11-22T19:41:31.042Z`, from wall time since the Unix epoch.
pub fn rfc3339(wall: Duration) -> String {
    let seconds = wall.as_secs();
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", wall.subsec_millis())
}

/// A moment of boot time, by what both clocks say at present.
pub fn moment(at: Time) -> String {
    rfc3339(clock::wall_at(at))
}

/// The Gregorian date of a day since 1970-01-01. Counts from a first of March, so that the leap day is a year's last.
fn date(day: u64) -> (u64, u64, u64) {
    let day = day + 719_468; // since 0000-03-01
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153; // 0 is March
    let day = day - (153 * month + 2) / 5 + 1;
    let year = era * 400 + year;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_as_rfc_3339_says() {
        assert_eq!(rfc3339(Duration::from_millis(1_763_840_491_042)), "2025-11-22T19:41:31.042Z");
        assert_eq!(rfc3339(Duration::from_secs(951_782_400)), "2000-02-29T00:00:00.000Z");
        assert_eq!(rfc3339(Duration::ZERO), "1970-01-01T00:00:00.000Z");
    }
}

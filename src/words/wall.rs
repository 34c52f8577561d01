//! Wall time for people and machines: the formats only, no clock.

use std::time::Duration;

/// `2025-11-22 19:41:31 UTC`; `wall` is since the Unix epoch.
pub fn utc(wall: Duration) -> String {
    let ((year, month, day), (hour, minute, second)) = moment(wall);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// `2025-11-22T19:41:31Z` (RFC 3339); `wall` is since the Unix epoch.
pub fn rfc3339(wall: Duration) -> String {
    let ((year, month, day), (hour, minute, second)) = moment(wall);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The year; `wall` is since the Unix epoch.
pub fn year(wall: Duration) -> u64 {
    moment(wall).0.0
}

/// Year, month, day; hour, minute, second.
type Moment = ((u64, u64, u64), (u64, u64, u64));

fn moment(wall: Duration) -> Moment {
    let seconds = wall.as_secs();
    (date(seconds / 86_400), (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60))
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
    fn days_since_the_epoch_become_dates() {
        for (day, want) in [
            (0, (1970, 1, 1)),
            (58, (1970, 2, 28)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (19_782, (2024, 2, 29)),
            (20_088, (2024, 12, 31)),
            (20_089, (2025, 1, 1)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(date(day), want, "{day}");
        }
    }

    #[test]
    fn a_moment_is_written_for_people_and_for_machines() {
        let wall = Duration::from_secs(1_763_840_491);
        assert_eq!((utc(wall).as_str(), rfc3339(wall).as_str()), ("2025-11-22 19:41:31 UTC", "2025-11-22T19:41:31Z"));
    }
}

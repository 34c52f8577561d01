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

/// The moment of `2025-11-22T19:41:31Z`, `…31.250Z` or `…31+01:00` (RFC 3339 section 5.6), since the Unix epoch; none before it.
pub fn parse_rfc3339(text: &str) -> Option<Duration> {
    let (day, rest) = text.split_at_checked(10)?;
    let (clock, rest) = rest.split_at_checked(9)?;
    let mut fields = day.split('-').map(digits);
    let (year, month, day) = (fields.next()??, fields.next()??, fields.next()??);
    let mut fields = clock.strip_prefix(['T', 't', ' '])?.split(':').map(digits);
    let (hour, minute, second) = (fields.next()??, fields.next()??, fields.next()??);
    if !(1970..=9999).contains(&year) || month == 0 || month > 12 || day == 0 || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let since = days_before(year, month) + day - 1;
    // A day that its month lacks is another month's.
    (date(since) == (year, month, day)).then_some(())?;
    let local = since * 86_400 + hour * 3600 + minute * 60 + second;
    let zone = rest.strip_prefix('.').map_or(rest, |fraction| fraction.trim_start_matches(|c: char| c.is_ascii_digit()));
    let (sign, offset) = zone.split_at_checked(1)?;
    let utc = match (sign, offset) {
        ("Z" | "z", "") => Some(local),
        ("+", offset) => local.checked_sub(seconds_of(offset)?),
        ("-", offset) => local.checked_add(seconds_of(offset)?),
        _ => None,
    };
    utc.map(Duration::from_secs)
}

/// A number of two or four digits.
fn digits(text: &str) -> Option<u64> {
    let plain = matches!(text.len(), 2 | 4) && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

/// `01:30`
fn seconds_of(offset: &str) -> Option<u64> {
    let (hours, minutes) = offset.split_once(':')?;
    let (hours, minutes) = (digits(hours)?, digits(minutes)?);
    (hours < 24 && minutes < 60).then_some(hours * 3600 + minutes * 60)
}

/// Days from 1970-01-01 to the first of this month: [`date`] backwards.
const fn days_before(year: u64, month: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year) = (year / 400, year % 400);
    era * 146_097 + year * 365 + year / 4 - year / 100 + (153 * month + 2) / 5 - 719_468
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
    fn what_is_written_is_read_back_and_so_are_fractions_and_offsets() {
        for seconds in [0, 951_782_399, 951_782_400, 1_763_840_491, 4_107_542_400] {
            let wall = Duration::from_secs(seconds);
            assert_eq!(parse_rfc3339(&rfc3339(wall)), Some(wall));
        }
        let wall = Some(Duration::from_secs(1_763_840_491));
        for text in ["2025-11-22T19:41:31.999Z", "2025-11-22T20:41:31+01:00", "2025-11-22t14:11:31-05:30", "2025-11-22 19:41:31Z"]
        {
            assert_eq!(parse_rfc3339(text), wall, "{text}");
        }
        for none in [
            "",
            "2025-11-22",
            "2025-11-22T19:41:31",
            "2025-02-29T00:00:00Z",
            "2025-13-01T00:00:00Z",
            "2025-11-22T24:00:00Z",
            "2025-11-22T19:41:31+1:00",
            "2025-11-22T19:41:31Zz",
            "1969-12-31T23:59:59Z",
            "2025-11-22T19:4\u{e9}31Z",
        ] {
            assert_eq!(parse_rfc3339(none), None, "{none}");
        }
    }

    #[test]
    fn a_moment_is_written_for_people_and_for_machines() {
        let wall = Duration::from_secs(1_763_840_491);
        assert_eq!((utc(wall).as_str(), rfc3339(wall).as_str()), ("2025-11-22 19:41:31 UTC", "2025-11-22T19:41:31Z"));
    }
}

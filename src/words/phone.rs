//! Telephone numbers: E.164 in one machine word.
//!
//! Not a number plan (that is [`crate::words::plan`]) and not a dial string (what a person typed; that is
//! `emergency::number`): an [`E164`] is already known to be a whole international number.

use std::fmt;

/// An international number of 7 to 15 digits, without its `+`. Eight bytes, so that a number index can
/// compare it in one instruction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct E164(u64);

impl E164 {
    /// The number with these digits, read as one decimal; `None` unless it has 7 to 15 of them.
    pub const fn from_digits(digits: u64) -> Option<Self> {
        if digits >= 1_000_000 && digits <= 999_999_999_999_999 { Some(Self(digits)) } else { None }
    }

    /// Reads `+` and 7 to 15 digits, nothing else; the form of the config and of what we write.
    pub fn parse(text: &str) -> Option<Self> {
        Self::of_digits(text.strip_prefix('+')?.as_bytes())
    }

    /// Reads a number as neighbours write it (RULES L10): `+1NPANXXXXXX`, `1NPANXXXXXX`, `NPANXXXXXX`, any of
    /// them with the visual separators of RFC 3966 section 5.1.1. Ten digits that begin with 2 to 9 are a number
    /// of the North American plan; other plans are read with their `+` only.
    pub fn from_neighbour(user: &[u8]) -> Option<Self> {
        let (plus, rest) = match user.strip_prefix(b"+") {
            Some(rest) => (true, rest),
            None => (false, user),
        };
        let mut digits = [0u8; 16];
        let mut n = 0;
        for &b in rest {
            match b {
                b'0'..=b'9' if n < 15 => {
                    digits[n] = b;
                    n += 1;
                }
                b'-' | b'.' | b'(' | b')' | b' ' => {}
                _ => return None,
            }
        }
        let d = &digits[..n];
        match (plus, n, d.first()) {
            (true, ..) => Self::of_digits(d),
            (false, 11, Some(b'1')) if d[1] >= b'2' => Self::of_digits(d),
            (false, 10, Some(b'2'..=b'9')) => Self::of_digits(d).map(|e| Self(e.0 + 10_000_000_000)),
            _ => None,
        }
    }

    /// The digits as one decimal number.
    pub const fn digits(self) -> u64 {
        self.0
    }

    fn of_digits(d: &[u8]) -> Option<Self> {
        if !(7..=15).contains(&d.len()) || d[0] == b'0' || !d.iter().all(u8::is_ascii_digit) {
            return None;
        }
        Self::from_digits(d.iter().fold(0, |n, b| n * 10 + u64::from(b - b'0')))
    }
}

impl fmt::Display for E164 {
    /// Writes `+` and the digits. This is for the wire: a log line gets a `Private<E164>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{}", self.0)
    }
}

impl fmt::Debug for E164 {
    /// Prints nothing of the number (promise 3).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("E164(-)")
    }
}

#[cfg(test)]
mod tests {
    use super::E164;

    #[test]
    fn l10_a_number_is_read_in_every_form_that_neighbours_write() {
        let same = E164::parse("+14255550100");
        assert!(same.is_some());
        for form in ["+14255550100", "14255550100", "4255550100", "+1 (425) 555-0100", "1.425.555.0100", "425-555-0100"] {
            assert_eq!(E164::from_neighbour(form.as_bytes()), same, "{form}");
        }
        for form in [
            "",
            "+",
            "911",
            "0255550100",
            "04255550100",
            "+0425555010",
            "14255550100x",
            "+1425555010012345",
            "1125550100",
            "alice",
        ] {
            assert_eq!(E164::from_neighbour(form.as_bytes()), None, "{form}");
        }
    }

    #[test]
    fn only_the_written_form_with_a_plus_is_a_number_of_the_config() {
        assert_eq!(E164::parse("+14255550100").map(|n| n.to_string()).as_deref(), Some("+14255550100"));
        for bad in ["14255550100", "+1425", "+1425555010a", "+1234567890123456", "+04255550100", ""] {
            assert_eq!(E164::parse(bad), None, "{bad}");
        }
    }
}

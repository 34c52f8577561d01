//! Telephone numbers: E.164 in one machine word.
//!
//! Not a number plan (that is [`crate::words::plan`]) and not a dial string (what a person typed; that is
//! `emergency::number`): an [`E164`] is already known to be a whole international number.

use super::block;
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

    /// How long the number is that this text begins with, where there are only digits in it, behind a `+` perhaps: one that
    /// [`from_neighbour`](Self::from_neighbour) reads. `None` says nothing. For whoever asks it of every message.
    #[inline]
    pub fn plain_len(text: &[u8]) -> Option<usize> {
        let plus = usize::from(text.first() == Some(&b'+'));
        let block = text.get(plus..)?.first_chunk()?;
        match (plus, block::digits(block), block) {
            (1, n @ 7..=15, [b'1'..=b'9', ..]) => Some(1 + n),
            (0, n @ 11, [b'1', b'2'..=b'9', ..]) | (0, n @ 10, [b'2'..=b'9', ..]) => Some(n),
            _ => None,
        }
    }

    /// The number that [`plain_len`](Self::plain_len) finds.
    #[inline]
    pub fn plain(text: &[u8]) -> Option<Self> {
        let len = Self::plain_len(text)?;
        let plus = usize::from(text.first() == Some(&b'+'));
        let (n, country_code) = (len - plus, if plus == 0 && len == 10 { 10_000_000_000 } else { 0 });
        let digits = text.get(plus..)?.first_chunk()?;
        // Zeros before the first digit change nothing.
        let digits = (u128::from_le_bytes(*digits) ^ u128::from_ne_bytes([b'0'; 16])) << (8 * (16 - n));
        let value = eight_digits(digits as u64) * 100_000_000 + eight_digits((digits >> 64) as u64);
        Some(Self(country_code + value))
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

/// The number whose digits these bytes are, the first one lowest: neighbours are added in ones, then in twos, then in fours.
#[inline]
fn eight_digits(ones: u64) -> u64 {
    let twos = (ones.wrapping_mul(10 << 8 | 1) >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = (twos.wrapping_mul(100 << 16 | 1) >> 16) & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul(10_000 << 32 | 1) >> 32
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
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn l10_a_plain_number_at_the_start_is_the_one_that_is_read(user in "\\+?[0-2]{0,2}[0-9]{0,16}[x@ .-]?[0-9]?") {
            let text = format!("{user}@gateway.example.com");
            let found = E164::plain_len(text.as_bytes()).map(|len| (E164::plain(text.as_bytes()), len));
            prop_assert!(found.is_none_or(|(n, len)| n.is_some() && E164::from_neighbour(&text.as_bytes()[..len]) == n), "{}", user);
            if user.strip_prefix('+').unwrap_or(&user).bytes().all(|b| b.is_ascii_digit()) {
                let want = E164::from_neighbour(user.as_bytes()).map(|n| (Some(n), user.len()));
                prop_assert_eq!(found, want, "{}", user);
            }
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

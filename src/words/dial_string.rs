//! Dial strings: what a person typed, before anybody knows what it means.
//!
//! Not a telephone number: that is [`crate::words::E164`].

use std::ops::Deref;

/// The longest one: `+` and six digits, and the `#` that many telephones send at the end.
const LONGEST: usize = 8;

/// A dial string as short as a service code, in its plain form: digits, `+`, `*` and `#` only. Visual separators
/// (RFC 3966 section 5.1.1), escapes (RFC 3986 section 2.1), parameters and one `#` at the end are gone (RULES R1).
pub struct ShortDialString {
    bytes: [u8; LONGEST],
    len: usize,
}

impl ShortDialString {
    /// Reads the user part of a SIP URI, or a tel URI without its scheme. `None` as soon as it is too long for a
    /// service code, or has a character that cannot be dialed. Allocates nothing.
    pub fn of(user: &[u8]) -> Option<Self> {
        let mut this = Self { bytes: [0; LONGEST], len: 0 };
        let mut rest = user;
        while let Some((byte, tail)) = unescape_first(rest) {
            rest = tail;
            match byte {
                b'-' | b'.' | b'(' | b')' | b' ' => continue,
                b'0'..=b'9' | b'+' | b'*' | b'#' => *this.bytes.get_mut(this.len)? = byte,
                _ => return None,
            }
            this.len += 1;
        }
        if this.last() == Some(&b'#') {
            this.len -= 1;
        }
        Some(this)
    }
}

impl Deref for ShortDialString {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// The first character, unescaped, and what follows it. A raw `;` ends the dial string: parameters follow
/// (`911;phone-context=+1`, RFC 3261 section 19.1.6). What is not a whole escape stands for itself.
fn unescape_first(text: &[u8]) -> Option<(u8, &[u8])> {
    let (&first, tail) = text.split_first()?;
    match (first, tail) {
        (b';', _) => None,
        (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
            (Some(high), Some(low)) => Some((high << 4 | low, after)),
            _ => Some((first, tail)),
        },
        _ => Some((first, tail)),
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::ShortDialString;

    #[test]
    fn r1_a_dial_string_loses_separators_escapes_parameters_and_one_hash_at_the_end() {
        for (user, want) in [
            ("911", Some("911")),
            ("(9) 1-1.", Some("911")),
            ("%39%31%31", Some("911")),
            ("%2B1%2d911", Some("+1911")),
            ("911;phone-context=+1", Some("911")),
            ("911#;x", Some("911")),
            ("911%23-", Some("911")),
            ("911##", Some("911#")),
            ("#*9", Some("#*9")),
            ("+123456#", Some("+123456")),
            ("12345678", Some("12345678")),
            ("123456789", None),
            ("1234567##", None),
            ("%3911%3", None),
            ("%253911", None),
            ("911%3Bx", None),
            ("9,911", None),
            ("alice", None),
            (";911", Some("")),
            ("", Some("")),
        ] {
            assert_eq!(ShortDialString::of(user.as_bytes()).as_deref(), want.map(str::as_bytes), "{user}");
        }
    }
}

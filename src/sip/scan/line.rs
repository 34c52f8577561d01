//! The lines of a head. The scanner and the stream framer both read them here, so that they cannot disagree about
//! where a field, the head or the body ends.

use super::{Name, Span};
use crate::sip::header;
use crate::words::block;

/// One header field with its folded lines.
pub(in crate::sip) struct Line {
    /// Where it ends, its last line end left out.
    pub(in crate::sip) end: usize,
    /// Where the next line begins.
    pub(in crate::sip) next: usize,
    /// How many CRs end a line in it.
    pub(in crate::sip) crs: usize,
}

/// Reads the line at `at`, and those folded under it. CRLF and a bare LF end a line, a bare CR does not.
#[inline]
pub(in crate::sip) fn line(bytes: &[u8], at: usize) -> Line {
    let mut from = at;
    let mut crs = 0;
    loop {
        let Some(lf) = bytes.get(from..).and_then(|rest| block::position(rest, b'\n')).map(|i| i + from) else {
            return Line { end: bytes.len(), next: bytes.len(), crs };
        };
        let crlf = usize::from(lf > from && bytes.get(lf - 1) == Some(&b'\r'));
        crs += crlf;
        if !matches!(bytes.get(lf + 1), Some(b' ' | b'\t')) {
            return Line { end: lf - crlf, next: lf + 1, crs };
        }
        from = lf + 1;
    }
}

/// If the line at `at` is empty and ends the head: where the body begins.
#[inline]
pub(in crate::sip) fn body_start(bytes: &[u8], at: usize) -> Option<usize> {
    match (bytes.get(at), bytes.get(at + 1)) {
        (Some(b'\n'), _) => Some(at + 1),
        (Some(b'\r'), Some(b'\n')) => Some(at + 2),
        _ => None,
    }
}

/// Which field stands from `start` to `end`, its name as it is written and its trimmed value; `None` without colon or with
/// an illegal name (RFC 3261 section 25.1 `HCOLON`: blanks before the colon are fine).
#[inline]
pub(in crate::sip) fn name_and_value(bytes: &[u8], start: usize, end: usize) -> Option<(Name, Span, Span)> {
    let field = bytes.get(start..end)?;
    let colon = colon(field)?;
    let mut text = field.get(..colon)?;
    while let [before @ .., b' ' | b'\t'] = text {
        text = before;
    }
    let name = Name::of(text);
    if name == Name::Other && (text.is_empty() || token_len(text) != text.len()) {
        return None;
    }
    let value = field.get(colon + 1..)?;
    let trimmed = value.trim_ascii_start();
    let from = end - trimmed.len();
    Some((name, Span::new(start, start + text.len()), Span::new(from, from + trimmed.trim_ascii_end().len())))
}

/// Where the first colon is. Names are short: eight bytes at a time beat a call for help.
#[inline]
fn colon(field: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let (eights, rest) = field.as_chunks::<8>();
    let mut at = 0;
    for eight in eights {
        let x = u64::from_le_bytes(*eight) ^ (ONES * b':' as u64);
        // The lowest zero byte of x stands where the lowest of these high bits does.
        let zeros = x.wrapping_sub(ONES) & !x & (ONES << 7);
        if zeros != 0 {
            return Some(at + zeros.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    rest.iter().position(|&c| c == b':').map(|i| at + i)
}

/// The field at `at` of a head without start line (that of a body part, RFC 2046): its name, its trimmed value, and where
/// the next one begins. A line that is no field is `Other` and empty.
pub(in crate::sip) fn field(bytes: &[u8], at: usize) -> (Name, &[u8], usize) {
    let l = line(bytes, at);
    match name_and_value(bytes, at, l.end) {
        Some((name, _, value)) => (name, value.of(bytes), l.next),
        None => (Name::Other, b"", l.next),
    }
}

/// What the Content-Length fields of one message say together (RFC 3261 sections 18.3 and 20.14).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::sip) enum Length {
    Absent,
    Is(usize),
    Malformed,
    Differing,
}

impl Length {
    /// Adds one field: equal ones are one.
    pub(in crate::sip) fn and(self, value: &[u8]) -> Self {
        let Some(n) = header::number(value).and_then(|n| usize::try_from(n).ok()) else {
            return Self::Malformed;
        };
        match self {
            Self::Absent => Self::Is(n),
            Self::Is(before) if before != n => Self::Differing,
            same => same,
        }
    }

    /// Reads it from a head that begins with its start line.
    pub(in crate::sip) fn of_head(head: &[u8]) -> Self {
        let mut length = Self::Absent;
        let mut at = memchr::memchr(b'\n', head).map_or(head.len(), |i| i + 1);
        while at < head.len() && body_start(head, at).is_none() {
            let (name, value, next) = field(head, at);
            if name == Name::ContentLength {
                length = length.and(value);
            }
            at = next;
        }
        length
    }
}

/// How long the token at the beginning is.
#[inline]
pub(in crate::sip) fn token_len(b: &[u8]) -> usize {
    let mut n = 0;
    while n < b.len() && is_token(b[n]) {
        n += 1;
    }
    n
}

/// RFC 3261 section 25.1 `token`.
#[inline]
pub(in crate::sip) fn is_token(c: u8) -> bool {
    TOKEN[usize::from(c)]
}

static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut c = 0;
    while c < 128 {
        table[c] = matches!(c as u8, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~');
        c += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::Length;

    #[test]
    fn the_length_of_a_head_is_read_in_every_spelling() {
        for (fields, want) in [
            ("", Length::Absent),
            ("Content-Length: 5\r\n", Length::Is(5)),
            ("content-length : 5\r\n", Length::Is(5)),
            ("L:5\n", Length::Is(5)),
            ("l:\r\n 5\r\n", Length::Is(5)),
            ("l: 5\r\nContent-Length: 05\r\n", Length::Is(5)),
            ("X: a\r\n l: 5\r\n", Length::Absent),
            ("l: 5\r\nl: 6\r\n", Length::Differing),
            ("l: -5\r\n", Length::Malformed),
            ("l: 5 5\r\n", Length::Malformed),
            ("l:\r\n", Length::Malformed),
            ("l: 99999999999\r\n", Length::Malformed),
        ] {
            let head = format!("OPTIONS sip:a@b SIP/2.0\r\n{fields}\r\n");
            assert_eq!(Length::of_head(head.as_bytes()), want, "{fields:?}");
        }
    }
}

//! The first line of a message.

use super::line::is_token;
use super::{Faults, Method, Span, check};
use crate::sip::header::number;

/// What a message is, by its first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// A request with this method.
    Request {
        /// The method; its spelling is [`Message::method_bytes`](super::Message::method_bytes).
        method: Method,
    },
    /// A response with this status, 100 to 699.
    Response {
        /// The status code.
        status: u16,
    },
}

/// There is not even a start line: nothing that could be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no SIP start line")
    }
}

impl std::error::Error for Unreadable {}

/// Whether a first line could begin a SIP message: what the framer asks before it waits for more.
pub(in crate::sip) fn is_start_line(line: &[u8]) -> bool {
    StartLine::read(line).is_ok() && !line.trim_ascii_end().rsplit(|&c| c == b' ').next().is_some_and(|v| v.starts_with(b"HTTP/"))
}

/// The first line in its parts.
#[derive(Clone, Copy)]
pub(super) struct StartLine {
    pub(super) kind: Start,
    pub(super) method: Span,
    pub(super) uri: Span,
    pub(super) reason: Span,
}

impl StartLine {
    /// Reads it, and says where the header fields begin and what is wrong so far.
    pub(super) fn read(bytes: &[u8]) -> Result<(Self, usize, Faults), Unreadable> {
        let at = bytes.iter().position(|&c| c != b'\r' && c != b'\n').ok_or(Unreadable)?;
        let rest = bytes.get(at..).unwrap_or_default();
        let (line, next) = match memchr::memchr(b'\n', rest) {
            Some(lf) => (rest.get(..lf).unwrap_or_default(), at + lf + 1),
            None => (rest, bytes.len()),
        };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let word = line.iter().position(|c| matches!(c, b' ' | b'\t')).unwrap_or(line.len());
        let (first, rest) = line.split_at(word);
        let is_response = first.get(..4).is_some_and(|p| p.eq_ignore_ascii_case(b"SIP/"));
        let (start, faults) = if is_response { Self::response(first, rest, at)? } else { Self::request(first, rest, at)? };
        Ok((start, next, faults))
    }

    fn response(version: &[u8], rest: &[u8], at: usize) -> Result<(Self, Faults), Unreadable> {
        let blank = rest.len() - rest.trim_ascii_start().len();
        let after = rest.trim_ascii_start();
        let digits = after.iter().position(|c| matches!(c, b' ' | b'\t')).unwrap_or(after.len());
        let status = after.get(..digits).and_then(status_code).ok_or(Unreadable)?;
        let reason_at = at + version.len() + blank + digits + usize::from(digits < after.len());
        let reason = Span::new(reason_at, at + version.len() + rest.len());
        let mut faults = version_fault(version);
        if blank != 1 {
            faults |= Faults::BAD_START_LINE;
        }
        Ok((Self { kind: Start::Response { status }, method: Span::default(), uri: Span::default(), reason }, faults))
    }

    fn request(first: &[u8], rest: &[u8], at: usize) -> Result<(Self, Faults), Unreadable> {
        if first.is_empty() || rest.trim_ascii().is_empty() || !first.iter().all(u8::is_ascii_graphic) {
            return Err(Unreadable);
        }
        let mut faults = if first.iter().all(|&c| is_token(c)) { Faults::NONE } else { Faults::BAD_START_LINE };
        let tail = rest.trim_ascii();
        let last = tail.iter().rposition(|c| matches!(c, b' ' | b'\t')).map_or(0, |i| i + 1);
        let (uri, version) = tail.split_at(last);
        let is_version = version.get(..4).is_some_and(|p| p.eq_ignore_ascii_case(b"SIP/"));
        // Without a version the last word is the URI, or junk behind it.
        let uri = if is_version || version.starts_with(b"HTTP/") { uri } else { tail };
        faults |= if is_version || uri.len() < tail.len() { version_fault(version) } else { Faults::BAD_START_LINE };
        let one_blank_each =
            rest.len() == tail.len() + 1 && uri.len() == uri.trim_ascii_end().len() + usize::from(uri.len() < tail.len());
        let leading = rest.len() - rest.trim_ascii_start().len();
        let (uri, from) = (uri.trim_ascii(), at + first.len() + leading);
        let bracketed = uri.strip_prefix(b"<").and_then(|u| u.strip_suffix(b">"));
        if !one_blank_each || bracketed.is_some() || uri.is_empty() {
            faults |= Faults::BAD_START_LINE;
        } else if !check::is_request_uri(uri) {
            faults |= Faults::BAD_REQUEST_URI;
        }
        let uri = match bracketed {
            Some(inside) => Span::new(from + 1, from + 1 + inside.len()),
            None => Span::new(from, from + uri.len()),
        };
        let method = Method::of(first);
        Ok((
            Self { kind: Start::Request { method }, method: Span::new(at, at + first.len()), uri, reason: Span::default() },
            faults,
        ))
    }
}

/// Three digits from 100 to 699.
fn status_code(b: &[u8]) -> Option<u16> {
    let n = if b.len() == 3 && b.iter().all(u8::is_ascii_digit) { number(b)? } else { return None };
    u16::try_from(n).ok().filter(|s| (100..700).contains(s))
}

fn version_fault(version: &[u8]) -> Faults {
    Faults::unless(version.eq_ignore_ascii_case(b"SIP/2.0"), Faults::VERSION)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::Message;
    use super::*;

    /// A message with this first line and otherwise nothing wrong.
    fn request(start: &str) -> Message {
        let method = start.split(' ').next().unwrap();
        let text =
            format!("{start}\r\nv: SIP/2.0/UDP 10.0.0.1\r\nf: sip:a@b\r\nt: sip:c@d\r\ni: 1@b\r\nCSeq: 7 {method}\r\n\r\n");
        Message::scan(text.into()).unwrap()
    }

    #[test]
    fn only_what_has_no_start_line_is_unreadable() {
        for none in [
            "",
            "\r\n",
            "INVITE",
            "INVITE \r\n\r\n",
            "SIP/2.0",
            "SIP/2.0 4294967301 x",
            "SIP/2.0 99 x",
            "SIP/2.0 700 x",
            "\0\u{1} x y",
            " a b c",
        ] {
            assert_eq!(Message::scan(Bytes::copy_from_slice(none.as_bytes())).err(), Some(Unreadable), "{none:?}");
        }
    }

    #[test]
    fn r4_a_start_line_is_read_however_it_is_written() {
        for (line, uri, fault) in [
            ("INVITE sip:911@h SIP/2.0", "sip:911@h", Faults::NONE),
            ("NEWMETHOD+! tel:911 sip/2.0", "tel:911", Faults::NONE),
            ("INVITE  sip:911@h SIP/2.0", "sip:911@h", Faults::BAD_START_LINE),
            ("INVITE sip:911@h  SIP/2.0", "sip:911@h", Faults::BAD_START_LINE),
            ("INVITE sip:911@h SIP/2.0 ", "sip:911@h", Faults::BAD_START_LINE),
            ("INVITE <urn:service:sos> SIP/2.0", "urn:service:sos", Faults::BAD_START_LINE),
            ("INVITE sip:911@h", "sip:911@h", Faults::BAD_START_LINE),
            ("INVITE sip:911@h; lr SIP/2.0", "sip:911@h; lr", Faults::BAD_REQUEST_URI),
            ("INVITE sip:911@h?a=b SIP/2.0", "sip:911@h?a=b", Faults::BAD_REQUEST_URI),
            ("INVITE 911 SIP/2.0", "911", Faults::BAD_REQUEST_URI),
            ("INVITE sip:911@h SIP/7.0", "sip:911@h", Faults::VERSION),
            ("OPTIONS / HTTP/1.1", "/", Faults::VERSION | Faults::BAD_REQUEST_URI),
            ("INVITE SIP/2.0", "", Faults::BAD_START_LINE),
        ] {
            let m = request(line);
            assert_eq!((std::str::from_utf8(m.uri()).unwrap(), m.faults()), (uri, fault), "{line}");
        }
    }
}

//! The writer: one message composed front to back into one buffer.
//!
//! The buffer is lent by the thread and goes back to it; the message leaves as a copy of just its size, since transactions
//! keep what they sent for half a minute.
//!
//! Not a builder: fields leave in the order in which they are written. Fields of another message are copied byte for
//! byte ([`Writer::copy`]); a value that is written anew never carries a CR or LF, so nobody outside can add a header field
//! through one.

use std::cell::Cell;
use std::fmt::{self, Write as _};

use bytes::{BufMut, Bytes};

use crate::sip::scan::{Header, Message};

/// A message under way.
pub struct Writer {
    buf: Vec<u8>,
}

thread_local! {
    /// The buffer of this thread's last message.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.buf.capacity() <= LARGEST_SPARE {
            SPARE.set(std::mem::take(&mut self.buf));
        }
    }
}

impl Writer {
    /// Begins a request. Blanks and controls in the URI leave escaped.
    pub fn request(method: &[u8], uri: &[u8]) -> Self {
        Self::fields().request_line(method, uri)
    }

    /// Begins a response.
    pub fn response(status: u16, reason: &[u8]) -> Self {
        Self::fields().status_line(status, reason)
    }

    /// Begins header fields without a start line: they end with [`Writer::into_fields`].
    pub fn fields() -> Self {
        let mut buf = SPARE.take();
        buf.clear();
        buf.reserve(USUAL_SIZE);
        Self { buf }
    }

    #[must_use]
    fn request_line(mut self, method: &[u8], uri: &[u8]) -> Self {
        self.put_escaped(method);
        self.buf.put_u8(b' ');
        self.put_escaped(uri);
        self.buf.put_slice(b" SIP/2.0\r\n");
        self
    }

    #[must_use]
    fn status_line(mut self, status: u16, reason: &[u8]) -> Self {
        self.put_fmt(format_args!("SIP/2.0 {status} "));
        self.put_clean(reason);
        self.buf.put_slice(b"\r\n");
        self
    }

    /// Writes a header field. CR and LF in the value become blanks.
    pub fn header(&mut self, name: &str, value: &[u8]) -> &mut Self {
        self.header_parts(name, &[value])
    }

    /// Writes a header field whose value is these parts, one behind the other. CR and LF become blanks.
    pub fn header_parts(&mut self, name: &str, parts: &[&[u8]]) -> &mut Self {
        self.put_name(name);
        for part in parts {
            self.put_clean(part);
        }
        self.end_line()
    }

    /// Writes a header field with a formatted value. CR and LF become blanks.
    pub fn header_fmt(&mut self, name: &str, value: fmt::Arguments<'_>) -> &mut Self {
        self.put_name(name);
        self.put_fmt(value);
        self.end_line()
    }

    /// Writes a header field whose value is a number.
    pub fn header_num(&mut self, name: &str, value: u64) -> &mut Self {
        self.header_fmt(name, format_args!("{value}"))
    }

    /// Copies a header field of a scanned message: byte for byte, its folded lines included. Only a stray CR becomes a
    /// blank and a stray LF before a fold becomes CRLF, since readers differ about where such a field ends.
    pub fn copy(&mut self, msg: &Message, h: &Header) -> &mut Self {
        let mut rest = msg.field(h);
        while let Some(i) = memchr::memchr2(b'\r', b'\n', rest) {
            let (before, from) = rest.split_at(i);
            self.buf.put_slice(before);
            let (written, taken): (&[u8], usize) = match from {
                [b'\r', b'\n', ..] => (b"\r\n", 2),
                [b'\n', ..] => (b"\r\n", 1),
                _ => (b" ", 1),
            };
            self.buf.put_slice(written);
            rest = from.get(taken..).unwrap_or_default();
        }
        self.buf.put_slice(rest);
        self.end_line()
    }

    /// Writes bytes of ours as they are: whole fields, or parts of one.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.buf.put_slice(bytes);
        self
    }

    /// The same, formatted.
    pub fn raw_fmt(&mut self, value: fmt::Arguments<'_>) -> &mut Self {
        self.put_fmt(value);
        self
    }

    /// How much was written so far.
    pub fn len(&self) -> usize {
        self.buf.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    /// Header fields without a start line, to be put into messages with [`Writer::raw`].
    pub fn into_fields(self) -> Bytes {
        Bytes::copy_from_slice(&self.buf)
    }

    /// Ends a message without body.
    pub fn finish(self) -> Bytes {
        self.finish_body(b"")
    }

    /// Ends a message with this body; writes Content-Length.
    pub fn finish_body(mut self, body: &[u8]) -> Bytes {
        self.header_num("Content-Length", body.len() as u64);
        self.buf.put_slice(b"\r\n");
        self.buf.put_slice(body);
        Bytes::copy_from_slice(&self.buf)
    }

    fn put_name(&mut self, name: &str) {
        self.buf.put_slice(name.as_bytes());
        self.buf.put_slice(b": ");
    }

    fn end_line(&mut self) -> &mut Self {
        self.buf.put_slice(b"\r\n");
        self
    }

    fn put_clean(&mut self, mut value: &[u8]) {
        while let Some(i) = memchr::memchr2(b'\r', b'\n', value) {
            self.buf.put_slice(value.get(..i).unwrap_or_default());
            self.buf.put_u8(b' ');
            value = value.get(i + 1..).unwrap_or_default();
        }
        self.buf.put_slice(value);
    }

    fn put_escaped(&mut self, value: &[u8]) {
        for &c in value {
            if c <= b' ' || c == 0x7f {
                self.put_fmt(format_args!("%{c:02X}"));
            } else {
                self.buf.put_u8(c);
            }
        }
    }

    fn put_fmt(&mut self, value: fmt::Arguments<'_>) {
        // Writing into a buffer that grows does not fail; a `Display` that fails leaves a shorter value.
        let _ = Clean(self).write_fmt(value);
    }
}

/// The usual size of a message: no growing.
const USUAL_SIZE: usize = 1500;
/// A buffer that has grown beyond is not kept.
const LARGEST_SPARE: usize = 16 << 10;

struct Clean<'a>(&'a mut Writer);

impl fmt::Write for Clean<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.0.put_clean(s.as_bytes());
        Ok(())
    }
}

/// The reason phrase of a status code (RFC 3261 section 21 and the IANA registry); the class for those unknown.
pub const fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        199 => "Early Dialog Terminated",
        200 => "OK",
        202 => "Accepted",
        204 => "No Notification",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        305 => "Use Proxy",
        380 => "Alternative Service",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        412 => "Conditional Request Failed",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        417 => "Unknown Resource-Priority",
        420 => "Bad Extension",
        421 => "Extension Required",
        422 => "Session Interval Too Small",
        423 => "Interval Too Brief",
        424 => "Bad Location Information",
        428 => "Use Identity Header",
        429 => "Provide Referrer Identity",
        430 => "Flow Failed",
        433 => "Anonymity Disallowed",
        436 => "Bad Identity Info",
        437 => "Unsupported Credential",
        438 => "Invalid Identity Header",
        439 => "First Hop Lacks Outbound Support",
        440 => "Max-Breadth Exceeded",
        469 => "Bad Info Package",
        470 => "Consent Needed",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        493 => "Undecipherable",
        494 => "Security Agreement Required",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        555 => "Push Notification Service Not Supported",
        580 => "Precondition Failure",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        607 => "Unwanted",
        608 => "Rejected",
        _ => class_phrase(status),
    }
}

const fn class_phrase(status: u16) -> &'static str {
    match status / 100 {
        1 => "Progress",
        2 => "Success",
        3 => "Redirection",
        4 => "Client Error",
        5 => "Server Error",
        _ => "Global Failure",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_written_front_to_back() {
        let mut w = Writer::request(b"OPTIONS", b"sip:a@b");
        w.header("Via", b"SIP/2.0/UDP h").header_parts("From", &[b"<sip:", b"x@y", b">"]).header_num("Max-Forwards", 70);
        w.header_fmt("CSeq", format_args!("{} {}", 1, "OPTIONS"));
        let want = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nFrom: <sip:x@y>\r\nMax-Forwards: 70\r\nCSeq: 1 OPTIONS\r\n\
                    Content-Length: 2\r\n\r\nhi";
        assert_eq!(w.finish_body(b"hi"), want);
        assert_eq!(
            Writer::response(486, reason_phrase(486).as_bytes()).finish(),
            "SIP/2.0 486 Busy Here\r\nContent-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn no_value_from_outside_adds_a_header_field() {
        let mut w = Writer::request(b"INVITE", b"sip:a@b SIP/2.0\r\nX: 1");
        w.header("A", b"1\r\nX: 2").header_parts("B", &[b"1\r", b"\nX: 3"]).header_fmt("C", format_args!("{}", "1\nX: 4"));
        let m = Message::scan(w.finish()).unwrap();
        assert_eq!(m.headers().len(), 4);
        assert_eq!(m.header_named("X"), None);
        let m = Message::scan(Writer::response(200, b"OK\r\nX: 1").finish()).unwrap();
        assert_eq!((m.headers().len(), m.reason()), (1, &b"OK  X: 1"[..]));
    }

    #[test]
    fn a_field_is_copied_with_its_folds_and_stray_line_ends_are_mended() {
        let m = Message::scan(Bytes::from_static(b"ACK sip:a@b SIP/2.0\r\ns :\r\n folded \r\n\tline\r\nX:a\n b\rY: c\r\n\r\n"))
            .unwrap();
        let mut w = Writer::response(200, b"OK");
        for h in m.headers() {
            w.copy(&m, h);
        }
        assert_eq!(w.finish(), "SIP/2.0 200 OK\r\ns :\r\n folded \r\n\tline\r\nX:a\r\n b Y: c\r\nContent-Length: 0\r\n\r\n");
    }

    #[test]
    fn every_class_has_a_phrase() {
        for status in [100, 199, 200, 299, 399, 499, 599, 699, 0] {
            assert!(!reason_phrase(status).is_empty());
        }
    }
}

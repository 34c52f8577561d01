//! The scanner: one SIP message as spans over its own bytes.
//!
//! Not a parser of values (that is [`header`](crate::sip::header)) and not a judge: a [`Message`] is whatever has a
//! readable start line, and what is wrong with it is a set of [`Faults`] beside it, so that an emergency can go on with
//! what could be read (RULES R4). Nothing is copied and, up to 32 header fields, nothing is allocated; every field can be
//! written again byte for byte. Read [`Message`] first.

mod check;
mod faults;
mod line;
mod name;
mod start;

use bytes::Bytes;
use smallvec::SmallVec;

pub(super) use check::{is_call_id, is_name_addr, is_request_uri};
pub use faults::Faults;
pub(super) use line::{Length, body_start, field};
pub use name::{Method, Name};
pub(super) use start::is_start_line;
pub use start::{Start, Unreadable};

use self::start::StartLine;
use crate::sip::header::{Via, number};

/// How many header fields of one message are kept.
pub const MAX_HEADERS: usize = 1024;

/// A range of a message's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// The byte after the last one.
    pub end: u32,
}

impl Span {
    /// The bytes of this range; empty where the range does not lie inside.
    #[inline]
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    // A scanned message is shorter than 4 GiB: `Message::scan` refuses others.
    #[inline]
    fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    /// Where this part of these bytes stands.
    #[inline]
    fn of_part(part: &[u8], bytes: &[u8]) -> Self {
        let start = part.as_ptr().addr().wrapping_sub(bytes.as_ptr().addr());
        Self::new(start, start + part.len())
    }
}

/// One header field of a [`Message`]: its name, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which field it is.
    pub name: Name,
    field: Span,
    text: Span,
    value: Span,
}

/// A message as spans over its bytes.
#[derive(Clone)]
pub struct Message {
    bytes: Bytes,
    start: StartLine,
    headers: SmallVec<[Header; 32]>,
    cseq: Option<(u32, Span)>,
    from_tag: Option<Span>,
    to_tag: Option<Span>,
    body: Span,
    faults: Faults,
}

impl Message {
    /// Scans one datagram, WebSocket message or framed message. Empty lines before the start line are skipped; without
    /// Content-Length the rest is the body, with one what lies behind the body is left aside (RFC 3261 section 18.3).
    ///
    /// # Errors
    /// Only where not even a start line can be read, or a response has no status from 100 to 699: then nobody could be
    /// answered.
    pub fn scan(bytes: Bytes) -> Result<Self, Unreadable> {
        if u32::try_from(bytes.len()).is_err() {
            return Err(Unreadable);
        }
        let (start, fields_at, faults) = StartLine::read(&bytes)?;
        let mut at = fields_at;
        let mut scan =
            Scan { bytes: &bytes, headers: SmallVec::new(), seen: Seen::default(), length: Length::Absent, crs: 0, faults };
        let body_at = loop {
            if let Some(body) = body_start(&bytes, at) {
                scan.look_for_bare_cr(fields_at, at);
                break body;
            }
            if at >= bytes.len() {
                // A message without body that lacks only its last line ends is read by everybody.
                scan.faults |= Faults::unless(scan.length != Length::Absent, Faults::UNTERMINATED);
                scan.look_for_bare_cr(fields_at, at);
                break bytes.len();
            }
            at = scan.line(at);
        };
        let body = scan.body(body_at);
        let cseq = scan.finish(&start);
        let (from_tag, to_tag) = (scan.seen.from.tag, scan.seen.to.tag);
        let (headers, faults) = (scan.headers, scan.faults);
        Ok(Self { start, headers, cseq, from_tag, to_tag, body, faults, bytes })
    }

    /// The same message, known to be the head at which a stream's framing was lost (see
    /// [`Lost`](crate::sip::frame::Lost)): says what was wrong with its length.
    pub fn unframed(mut self) -> Self {
        let length = Faults::BAD_CONTENT_LENGTH | Faults::DIFFERING_CONTENT_LENGTH;
        if !self.faults.intersects(length) {
            let whole = !self.faults.contains(Faults::UNTERMINATED) && self.get(Name::ContentLength).is_none();
            self.faults |= if whole { Faults::MISSING_CONTENT_LENGTH } else { Faults::TOO_LARGE };
        }
        self
    }

    /// Whether it is a request.
    pub const fn is_request(&self) -> bool {
        matches!(self.start.kind, Start::Request { .. })
    }

    /// What the first line says.
    pub const fn start(&self) -> Start {
        self.start.kind
    }

    /// The method of a request; of a response the method of its CSeq, [`Method::Other`] without one.
    pub fn method(&self) -> Method {
        match self.start.kind {
            Start::Request { method } => method,
            Start::Response { .. } => Method::of(self.method_bytes()),
        }
    }

    /// The method as it is written in the request line, or in the CSeq of a response.
    pub fn method_bytes(&self) -> &[u8] {
        let of_cseq = || self.cseq.map(|(_, method)| method).unwrap_or_default();
        if self.is_request() { self.start.method.of(&self.bytes) } else { of_cseq().of(&self.bytes) }
    }

    /// The Request-URI, brackets around it left out; empty for responses and where there is none.
    pub fn uri(&self) -> &[u8] {
        self.start.uri.of(&self.bytes)
    }

    /// The status of a response, 0 for requests.
    pub const fn status(&self) -> u16 {
        match self.start.kind {
            Start::Response { status } => status,
            Start::Request { .. } => 0,
        }
    }

    /// The reason phrase of a response.
    pub fn reason(&self) -> &[u8] {
        self.start.reason.of(&self.bytes)
    }

    /// All header fields, in their order.
    pub fn headers(&self) -> &[Header] {
        &self.headers
    }

    /// The trimmed value of a header field; folds inside stay.
    pub fn value(&self, h: &Header) -> &[u8] {
        h.value.of(&self.bytes)
    }

    /// The name of a header field as it is written.
    pub fn name_bytes(&self, h: &Header) -> &[u8] {
        h.text.of(&self.bytes)
    }

    /// The whole header field, folded lines included, without its final line end.
    pub fn field(&self, h: &Header) -> &[u8] {
        h.field.of(&self.bytes)
    }

    /// The trimmed value of the first field with this name.
    pub fn get(&self, n: Name) -> Option<&[u8]> {
        self.headers.iter().find(|h| h.name == n).map(|h| self.value(h))
    }

    /// The trimmed values of all fields with this name, in their order. One field may hold a list, see
    /// [`values`](crate::sip::header::values).
    pub fn all(&self, n: Name) -> impl Iterator<Item = &[u8]> {
        self.headers.iter().filter(move |h| h.name == n).map(|h| self.value(h))
    }

    /// The trimmed value of the first field that is spelled so, any case: for fields that are [`Name::Other`].
    pub fn header_named(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|h| self.name_bytes(h).eq_ignore_ascii_case(name.as_bytes())).map(|h| self.value(h))
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        self.body.of(&self.bytes)
    }

    /// The message's own bytes, shared.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The Call-ID; empty if it is missing.
    pub fn call_id(&self) -> &[u8] {
        self.get(Name::CallId).unwrap_or_default()
    }

    /// Number and method of the CSeq; `None` if it is missing or malformed.
    pub fn cseq(&self) -> Option<(u32, &[u8])> {
        self.cseq.map(|(n, method)| (n, method.of(&self.bytes)))
    }

    /// The tag of the From.
    pub fn from_tag(&self) -> Option<&[u8]> {
        self.from_tag.map(|tag| tag.of(&self.bytes))
    }

    /// The tag of the To.
    pub fn to_tag(&self) -> Option<&[u8]> {
        self.to_tag.map(|tag| tag.of(&self.bytes))
    }

    /// The topmost hop of the Via fields, where it can be read.
    pub fn top_via(&self) -> Option<Via<'_>> {
        Via::parse(self.get(Name::Via)?)
    }

    /// Max-Forwards, `None` where it is missing or malformed; a value above 255 reads as 255 (RFC 4475 section 3.1.2.4).
    pub fn max_forwards(&self) -> Option<u8> {
        let v = self.get(Name::MaxForwards)?;
        let digits = !v.is_empty() && v.iter().all(u8::is_ascii_digit);
        digits.then(|| number(v).and_then(|n| u8::try_from(n).ok()).unwrap_or(u8::MAX))
    }

    /// What is wrong with it.
    pub const fn faults(&self) -> Faults {
        self.faults
    }
}

impl std::fmt::Debug for Message {
    /// Prints kind, sizes and faults; nothing that belongs to a person.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("start", &self.start.kind)
            .field("headers", &self.headers.len())
            .field("body", &self.body().len())
            .field("faults", &self.faults)
            .finish()
    }
}

/// Which of the fields that stand once have been met.
#[derive(Default)]
struct Seen {
    via: bool,
    from: Party,
    to: Party,
    call_id: bool,
    cseq: Option<Span>,
}

/// The first From, or the first To.
#[derive(Default)]
struct Party {
    is_there: bool,
    tag: Option<Span>,
}

impl Party {
    /// Here is one, with this tag; true if there was one before.
    fn meet(&mut self, tag: Option<&[u8]>, bytes: &[u8]) -> bool {
        if !self.is_there {
            *self = Self { is_there: true, tag: tag.map(|tag| Span::of_part(tag, bytes)) };
            return false;
        }
        true
    }
}

struct Scan<'a> {
    bytes: &'a Bytes,
    headers: SmallVec<[Header; 32]>,
    seen: Seen,
    length: Length,
    /// How many CRs have ended a line.
    crs: usize,
    faults: Faults,
}

impl Scan<'_> {
    /// Takes the field at `at`; gives back where the next line begins.
    fn line(&mut self, at: usize) -> usize {
        let l = line::line(self.bytes, at);
        self.crs += l.crs;
        match line::name_and_value(self.bytes, at, l.end) {
            None => self.faults |= Faults::BAD_HEADER_LINE,
            Some(_) if self.headers.len() >= MAX_HEADERS => self.faults |= Faults::TOO_MANY_HEADERS,
            Some((name, text, value)) => {
                self.headers.push(Header { name, field: Span::new(at, l.end), text, value });
                self.look_at(name, value);
            }
        }
        l.next
    }

    /// Whether there are more CRs than those that end a line, from the first field to the last.
    fn look_for_bare_cr(&mut self, from: usize, to: usize) {
        let fields = self.bytes.get(from..to).unwrap_or_default();
        self.faults |= Faults::unless(memchr::memchr_iter(b'\r', fields).count() == self.crs, Faults::BARE_CR);
    }

    /// Looks at the fields that decide whether a message can be answered and matched.
    fn look_at(&mut self, name: Name, span: Span) {
        let v = span.of(self.bytes);
        let (fault, twice) = match name {
            Name::Via => {
                self.seen.via = true;
                (Faults::unless(check::is_via(v), Faults::BAD_VIA), false)
            }
            Name::From => {
                let (is_sound, tag) = check::tagged_name_addr(v);
                (Faults::unless(is_sound, Faults::BAD_FROM), self.seen.from.meet(tag, self.bytes))
            }
            Name::To => {
                let (is_sound, tag) = check::tagged_name_addr(v);
                (Faults::unless(is_sound, Faults::BAD_TO), self.seen.to.meet(tag, self.bytes))
            }
            Name::CallId if v.is_empty() => return,
            Name::CallId => (Faults::unless(is_call_id(v), Faults::BAD_CALL_ID), std::mem::replace(&mut self.seen.call_id, true)),
            Name::CSeq => {
                let twice = self.seen.cseq.is_some();
                self.seen.cseq.get_or_insert(span);
                (Faults::NONE, twice)
            }
            Name::Contact => (Faults::unless(check::is_contact(v), Faults::BAD_CONTACT), false),
            Name::MaxForwards => {
                (Faults::unless(!v.is_empty() && v.iter().all(u8::is_ascii_digit), Faults::BAD_MAX_FORWARDS), false)
            }
            Name::ContentLength => {
                self.length = self.length.and(v);
                (Faults::NONE, false)
            }
            _ => return,
        };
        self.faults |= fault | Faults::unless(!twice, Faults::DUPLICATE);
    }

    /// The body, which begins at `at`.
    fn body(&mut self, at: usize) -> Span {
        let there = self.bytes.len() - at;
        let bytes = self.bytes.get(at..).unwrap_or_default();
        let (len, fault) = match self.length {
            Length::Absent => (there, Faults::NONE),
            Length::Is(n) if n <= there => (n, Faults::NONE),
            Length::Is(n) if n - there <= miscount(bytes) => (there, Faults::NONE),
            Length::Is(_) => (there, Faults::SHORT_BODY),
            Length::Malformed => (there, Faults::BAD_CONTENT_LENGTH),
            Length::Differing => (there, Faults::DIFFERING_CONTENT_LENGTH),
        };
        self.faults |= fault;
        Span::new(at, at + len)
    }

    /// Asks what only the whole head can answer; gives back the CSeq.
    fn finish(&mut self, start: &StartLine) -> Option<(u32, Span)> {
        let seen = &self.seen;
        self.faults |= Faults::unless(seen.via, Faults::MISSING_VIA)
            | Faults::unless(seen.from.is_there, Faults::MISSING_FROM)
            | Faults::unless(seen.to.is_there, Faults::MISSING_TO)
            | Faults::unless(seen.call_id, Faults::MISSING_CALL_ID)
            | Faults::unless(seen.cseq.is_some(), Faults::MISSING_CSEQ);
        let span = seen.cseq?;
        let Some((n, method)) = cseq_in(self.bytes, span) else {
            self.faults |= Faults::BAD_CSEQ;
            return None;
        };
        let is_request = matches!(start.kind, Start::Request { .. });
        if is_request && method.of(self.bytes) != start.method.of(self.bytes) {
            self.faults |= Faults::CSEQ_METHOD;
        }
        Some((n, method))
    }
}

/// By how much senders that count line ends twice, or lose the last one, overstate the length of a body.
fn miscount(body: &[u8]) -> usize {
    if body.is_empty() { 0 } else { 2 * (1 + memchr::memchr_iter(b'\n', body).count()) }
}

/// Number and method of a CSeq value; blanks and folds between them are fine.
fn cseq_in(bytes: &[u8], span: Span) -> Option<(u32, Span)> {
    let v = span.of(bytes);
    let digits = v.iter().take_while(|c| c.is_ascii_digit()).count();
    let n = number(v.get(..digits)?)?;
    let rest = v.get(digits..)?;
    let method = rest.trim_ascii_start();
    let sound = method.len() < rest.len() && !method.is_empty() && method.iter().all(|&c| line::is_token(c));
    sound.then(|| (n, Span { start: span.end - method.len() as u32, end: span.end }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str) -> Message {
        Message::scan(Bytes::copy_from_slice(text.as_bytes())).unwrap_or_else(|_| panic!("{text}"))
    }

    /// A sound request with this start line and these additional fields.
    fn request(start: &str, fields: &str) -> Message {
        let method = start.split(' ').next().unwrap();
        scan(&format!(
            "{start}\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=f\r\nTo: sip:c@d\r\ni: 1@b\r\n\
             CSeq: 7 {method}\r\n{fields}\r\n"
        ))
    }

    #[test]
    fn a_request_is_read_in_its_parts() {
        let m = scan(
            "\r\n\r\nINVITE urn:service:sos SIP/2.0\r\nv: SIP/2.0/TLS [::1]:5061;branch=z9hG4bK1\r\nf: \"A\" <sip:a@b>;tag=f\r\n\
             t: <urn:service:sos>\r\ni: 1@b\r\ncseq: 0009\r\n  INVITE\r\nMaX-fOrWaRdS: 0068\r\nX-Foo :  bar\r\n\tbaz \r\ns:\r\nl: 2\r\n\r\nhi there",
        );
        assert_eq!(m.faults(), Faults::NONE);
        assert_eq!((m.start(), m.uri(), m.status()), (Start::Request { method: Method::Invite }, &b"urn:service:sos"[..], 0));
        assert_eq!((m.call_id(), m.cseq(), m.max_forwards()), (&b"1@b"[..], Some((9, &b"INVITE"[..])), Some(68)));
        assert_eq!((m.from_tag(), m.to_tag(), m.body()), (Some(&b"f"[..]), None, &b"hi"[..]));
        assert_eq!(m.top_via().and_then(|v| v.port), Some(5061));
        let foo = m.headers().iter().find(|h| h.name == Name::Other).unwrap();
        assert_eq!(
            (m.name_bytes(foo), m.value(foo), m.field(foo)),
            (&b"X-Foo"[..], &b"bar\r\n\tbaz"[..], &b"X-Foo :  bar\r\n\tbaz "[..])
        );
        assert_eq!((m.header_named("x-foo"), m.get(Name::Subject)), (Some(&b"bar\r\n\tbaz"[..]), Some(&b""[..])));
    }

    #[test]
    fn a_response_is_read_in_its_parts() {
        let m = scan("SIP/2.0 183 Session  Progress \r\nCSeq: 1 UPDATE\r\n\r\n");
        assert_eq!(
            (m.is_request(), m.status(), m.reason(), m.method()),
            (false, 183, &b"Session  Progress "[..], Method::Update)
        );
        for bare in ["SIP/2.0 100 \r\n\r\n", "SIP/2.0 100\r\n\r\n", "sip/2.0 100"] {
            assert_eq!((scan(bare).status(), scan(bare).reason()), (100, &b""[..]), "{bare}");
        }
    }

    #[test]
    fn every_fault_is_found_and_the_rest_is_read() {
        let ok = "OPTIONS sip:a@b SIP/2.0";
        for (fields, fault) in [
            ("", Faults::NONE),
            ("Content-Length: 0\r\nL : 00\r\n", Faults::NONE),
            ("Max-Forwards: 300\r\nContact: *\r\nX: \u{e9}\r\n", Faults::NONE),
            ("Call-ID: 1@b\r\n", Faults::DUPLICATE),
            ("To: sip:c@d\r\n", Faults::DUPLICATE),
            ("l: 1\r\n", Faults::SHORT_BODY),
            ("l: -1\r\n", Faults::BAD_CONTENT_LENGTH),
            ("l: 0\r\nl: 1\r\n", Faults::DIFFERING_CONTENT_LENGTH),
            ("no colon\r\n", Faults::BAD_HEADER_LINE),
            ("Bad Name: x\r\n", Faults::BAD_HEADER_LINE),
            (": x\r\n", Faults::BAD_HEADER_LINE),
            ("X: a\rVia: b\r\n", Faults::BARE_CR),
            ("Via: SIP/2.0/UDP h;;,;\r\n", Faults::BAD_VIA),
            ("Via: ,,,\r\n", Faults::BAD_VIA),
            ("Contact: ,\r\n", Faults::BAD_CONTACT),
            ("Max-Forwards: -1\r\n", Faults::BAD_MAX_FORWARDS),
            ("Contact: \"\" <>\r\n", Faults::BAD_CONTACT),
        ] {
            let m = request(ok, fields);
            assert_eq!(m.faults(), fault, "{fields:?}");
            assert_eq!((m.call_id(), m.from_tag()), (&b"1@b"[..], Some(&b"f"[..])), "{fields:?}");
        }
        let missing =
            Faults::MISSING_VIA | Faults::MISSING_FROM | Faults::MISSING_TO | Faults::MISSING_CALL_ID | Faults::MISSING_CSEQ;
        assert_eq!(scan(&format!("{ok}\r\n\r\n")).faults(), missing);
        assert_eq!(scan(&format!("{ok}\r\ni:\r\n")).faults(), missing | Faults::UNTERMINATED);
        assert_eq!(scan(&format!("{ok}\r\nl: 0")).faults(), missing);
    }

    #[test]
    fn a_cseq_is_a_number_and_the_method_of_the_request() {
        for (value, want, fault) in [
            ("1 OPTIONS", Some(1), Faults::NONE),
            ("4294967295 \t OPTIONS", Some(u32::MAX), Faults::NONE),
            ("1 INVITE", Some(1), Faults::CSEQ_METHOD),
            ("4294967296 OPTIONS", None, Faults::BAD_CSEQ),
            ("1OPTIONS", None, Faults::BAD_CSEQ),
            ("1", None, Faults::BAD_CSEQ),
            ("-1 OPTIONS", None, Faults::BAD_CSEQ),
            ("1 OPTIONS x", None, Faults::BAD_CSEQ),
        ] {
            let m = scan(&format!(
                "OPTIONS sip:a@b SIP/2.0\r\nv: SIP/2.0/UDP h\r\nf: sip:a@b\r\nt: sip:a@b\r\ni: 1\r\nCSeq: {value}\r\n\r\n"
            ));
            assert_eq!((m.cseq().map(|(n, _)| n), m.faults()), (want, fault), "{value}");
        }
    }

    #[test]
    fn a_body_may_lack_what_miscounted_line_ends_explain() {
        let faults =
            |n: usize| scan(&format!("SIP/2.0 200 OK\r\nl: {n}\r\n\r\nv=0\r\ns=-")).faults().contains(Faults::SHORT_BODY);
        assert_eq!([8, 10, 12, 13, 9999].map(faults), [false, false, false, true, true]);
    }

    #[test]
    fn where_framing_is_lost_the_length_is_to_blame() {
        for (fields, fault, status) in [
            ("\r\n", Faults::MISSING_CONTENT_LENGTH, 400),
            ("l: 999999\r\n\r\n", Faults::TOO_LARGE | Faults::SHORT_BODY, 513),
            ("l: x\r\n\r\n", Faults::BAD_CONTENT_LENGTH, 400),
            ("Subject: and so on", Faults::TOO_LARGE | Faults::UNTERMINATED, 513),
        ] {
            let text = format!(
                "OPTIONS sip:a@b SIP/2.0\r\nv: SIP/2.0/TCP h\r\nf: sip:a@b\r\nt: sip:a@b\r\ni: 1\r\nCSeq: 1 OPTIONS\r\n{fields}"
            );
            let faults = scan(&text).unframed().faults();
            assert_eq!((faults, faults.status()), (fault, status), "{fields:?}");
        }
    }

    #[test]
    fn a_flood_of_fields_is_bounded() {
        let m = request("OPTIONS sip:a@b SIP/2.0", &"a:\r\n".repeat(MAX_HEADERS));
        assert_eq!((m.headers().len(), m.faults()), (MAX_HEADERS, Faults::TOO_MANY_HEADERS));
    }

    #[test]
    fn a_debug_line_shows_nothing_of_a_message() {
        let shown = format!("{:?} {:?}", request("INVITE sip:4255550100@b SIP/2.0", ""), scan("SIP/2.0 200 4255550100"));
        assert!(!shown.contains("4255550100"), "{shown}");
    }
}

//! The framer: where one message of a stream ends and the next begins.
//!
//! Not a judge of messages: a request that is wrong inside but framed is a [`Frame::Message`] like any other, so that one
//! bad request does not end a connection. It reads the lines of a head with the scanner's own eyes. Read [`Framer`] first.

use bytes::{Buf, Bytes, BytesMut};

use crate::sip::scan::{Length, body_start, is_start_line};

/// How much of one message is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of start line and header fields.
    pub head: usize,
    /// Bytes of body.
    pub body: usize,
}

impl Default for Limits {
    /// 64 KiB of head, 256 KiB of body.
    fn default() -> Self {
        Self { head: 64 * 1024, body: 256 * 1024 }
    }
}

/// What came out of a stream.
#[derive(Clone, PartialEq, Eq)]
pub enum Frame {
    /// One message, whole.
    Message(Bytes),
    /// CRLFCRLF between messages: answer CRLF (RFC 5626 section 3.5.1).
    Ping,
    /// A single CRLF between messages: ignore.
    Pong,
}

impl Frame {
    /// What one datagram or one WebSocket message is: these frame themselves (RFC 7118 section 5).
    pub fn whole(bytes: Bytes) -> Self {
        if !bytes.iter().all(|c| matches!(c, b'\r' | b'\n')) {
            Self::Message(bytes)
        } else if bytes.len() >= 4 {
            Self::Ping
        } else {
            Self::Pong
        }
    }
}

impl std::fmt::Debug for Frame {
    /// Prints the size of a message and nothing of it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Message(b) => write!(f, "Message({} bytes)", b.len()),
            Self::Ping => f.write_str("Ping"),
            Self::Pong => f.write_str("Pong"),
        }
    }
}

/// Framing is lost: answer what can be answered, then close.
#[derive(Clone, PartialEq, Eq)]
pub enum Lost {
    /// The head has no Content-Length, which a stream needs (RFC 3261 section 18.3). Carries the head.
    NoContentLength(Bytes),
    /// The head has a malformed Content-Length, or several that differ. Carries the head.
    BadContentLength(Bytes),
    /// Head or body is over its limit. Carries the head as far as it is there.
    TooLarge(Bytes),
    /// Not SIP at all; there is nothing to answer.
    NotSip,
}

impl Lost {
    /// The status and reason phrase that answer it, and the head to answer from; `None` where nothing can be answered.
    pub fn answer(&self) -> Option<(u16, &'static str, &Bytes)> {
        match self {
            Self::NoContentLength(head) => Some((400, "Missing Content-Length", head)),
            Self::BadContentLength(head) => Some((400, "Malformed Content-Length", head)),
            Self::TooLarge(head) => Some((513, "Message Too Large", head)),
            Self::NotSip => None,
        }
    }
}

impl std::fmt::Debug for Lost {
    /// Prints the reason and nothing of the message.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.answer().map_or("Not SIP", |(_, reason, _)| reason))
    }
}

/// One direction of one stream: bytes go in with [`Framer::push`], frames come out of it as an iterator.
///
/// `next` gives `None` until more is pushed, and for good after a [`Lost`]. The caller takes all frames after each push:
/// then no more than one message is held, and [`Limits`] bound it. Every byte is looked at a fixed number of times,
/// however finely the stream is cut.
pub struct Framer {
    limits: Limits,
    buf: BytesMut,
    state: State,
}

enum State {
    /// Between messages. After a single CRLF was given out as a pong, another one makes it a ping.
    Between { after_pong: bool },
    /// In a head: where its current line begins, and how far it was searched for a line end.
    Head { line: usize, searched: usize },
    /// In a body: how long head and body are.
    Body { total: usize },
    /// Nothing more is read.
    Lost,
}

impl Framer {
    /// A stream of which nothing was read yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, buf: BytesMut::new(), state: State::Between { after_pong: false } }
    }

    /// Takes what was read from the stream.
    pub fn push(&mut self, data: &[u8]) {
        if !matches!(self.state, State::Lost) {
            self.buf.extend_from_slice(data);
        }
    }

    /// Whether a message has begun and is not complete: for a time limit on slow senders.
    pub fn is_amid_message(&self) -> bool {
        matches!(self.state, State::Head { .. } | State::Body { .. })
    }

    fn between(&mut self, after_pong: bool) -> Step {
        let (taken, frame, after_pong) = match &self.buf[..] {
            [] | [b'\r'] => return Step::Wait,
            [b'\r', b'\n', ..] if after_pong => (2, Some(Frame::Ping), false),
            [b'\r', b'\n', b'\r', b'\n', ..] => (4, Some(Frame::Ping), false),
            [b'\r', b'\n', ..] => (2, Some(Frame::Pong), true),
            [b'\n', ..] => (1, None, false),
            [c, ..] if c.is_ascii_graphic() => {
                self.state = State::Head { line: 0, searched: 0 };
                return Step::Again;
            }
            _ => return Step::Lost(Lost::NotSip),
        };
        self.buf.advance(taken);
        self.state = State::Between { after_pong };
        frame.map_or(Step::Again, Step::Frame)
    }

    fn head(&mut self, line: usize, searched: usize) -> Step {
        let lf = self.buf.get(searched..).and_then(|rest| memchr::memchr(b'\n', rest)).map(|i| i + searched);
        let end = lf.map_or(self.buf.len(), |lf| lf + 1);
        if end > self.limits.head {
            return Step::Lost(Lost::TooLarge(self.take(end)));
        }
        if lf.is_none() {
            self.state = State::Head { line, searched: end };
            return Step::Wait;
        }
        if line == 0 && !self.buf.get(..end).is_some_and(is_start_line) {
            return Step::Lost(Lost::NotSip);
        }
        if line > 0 && body_start(&self.buf, line).is_some() {
            return self.end_of_head(end);
        }
        self.state = State::Head { line: end, searched: end };
        Step::Again
    }

    fn end_of_head(&mut self, head: usize) -> Step {
        match Length::of_head(self.buf.get(..head).unwrap_or_default()) {
            Length::Is(n) if n <= self.limits.body => {
                self.state = State::Body { total: head + n };
                Step::Again
            }
            Length::Is(_) => Step::Lost(Lost::TooLarge(self.take(head))),
            Length::Absent => Step::Lost(Lost::NoContentLength(self.take(head))),
            Length::Malformed | Length::Differing => Step::Lost(Lost::BadContentLength(self.take(head))),
        }
    }

    fn body(&mut self, total: usize) -> Step {
        if self.buf.len() < total {
            return Step::Wait;
        }
        self.state = State::Between { after_pong: false };
        Step::Frame(Frame::Message(self.take(total)))
    }

    fn take(&mut self, len: usize) -> Bytes {
        self.buf.split_to(len).freeze()
    }
}

impl Iterator for Framer {
    type Item = Result<Frame, Lost>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let step = match self.state {
                State::Between { after_pong } => self.between(after_pong),
                State::Head { line, searched } => self.head(line, searched),
                State::Body { total } => self.body(total),
                State::Lost => Step::Wait,
            };
            match step {
                Step::Again => {}
                Step::Wait => return None,
                Step::Frame(frame) => return Some(Ok(frame)),
                Step::Lost(lost) => {
                    self.state = State::Lost;
                    self.buf = BytesMut::new();
                    return Some(Err(lost));
                }
            }
        }
    }
}

/// What one look at the stream came to.
enum Step {
    Again,
    Wait,
    Frame(Frame),
    Lost(Lost),
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: &str = "OPTIONS sip:a@b SIP/2.0\r\nl: 2\r\n\r\nhi";

    fn frames(limits: Limits, stream: &[u8], step: usize) -> Vec<Result<Frame, Lost>> {
        let mut framer = Framer::new(limits);
        let mut out = Vec::new();
        for piece in stream.chunks(step) {
            framer.push(piece);
            out.extend(framer.by_ref());
        }
        out
    }

    fn message(text: &str) -> Result<Frame, Lost> {
        Ok(Frame::Message(Bytes::copy_from_slice(text.as_bytes())))
    }

    #[test]
    fn messages_and_keepalives_come_out_in_their_order() {
        let stream = format!("\r\n{PING}{PING}\r\n\r\n{PING}");
        let want = [Ok(Frame::Pong), message(PING), message(PING), Ok(Frame::Ping), message(PING)];
        assert_eq!(frames(Limits::default(), stream.as_bytes(), usize::MAX), want);
    }

    #[test]
    fn a_stream_cut_anywhere_gives_the_same_frames() {
        let stream = format!("{PING}\r\n\r\n\r\n\r\n{PING}\r\n\r\n\r\n{PING}\n{PING}");
        let without_pongs = |step| {
            let mut f = frames(Limits::default(), stream.as_bytes(), step);
            f.retain(|f| *f != Ok(Frame::Pong));
            f
        };
        let whole = without_pongs(usize::MAX);
        assert_eq!(whole.len(), 7);
        for step in 1..stream.len() {
            assert_eq!(without_pongs(step), whole, "{step}");
        }
    }

    #[test]
    fn framer_and_scanner_agree_on_every_spelling_of_the_length() {
        for field in [
            "Content-Length : 2",
            "l: 2",
            "L:2",
            "CONTENT-LENGTH: 0002",
            "l:\r\n 2",
            "l:\n\t2",
            "l: 2\r\nl: 2",
            "X: y\r\n \r\n z\r\nl: 2",
        ] {
            let text = format!("OPTIONS sip:a@b SIP/2.0\r\n{field}\r\n\r\nhi");
            let got = frames(Limits::default(), format!("{text}{PING}").as_bytes(), usize::MAX);
            assert_eq!(got, [message(&text), message(PING)], "{field:?}");
            let scanned = crate::sip::scan::Message::scan(text.clone().into()).unwrap();
            assert_eq!(scanned.body(), b"hi", "{field:?}");
        }
    }

    #[test]
    fn a_bad_request_that_is_framed_does_not_end_the_stream() {
        let bad = "INVITE  sip:a@b\r\nnonsense\r\nl: 0\r\n\r\n";
        assert_eq!(frames(Limits::default(), format!("{bad}{PING}").as_bytes(), 7), [message(bad), message(PING)]);
    }

    #[test]
    fn where_framing_is_lost_the_head_is_there_to_answer_from_and_nothing_follows() {
        let limits = Limits { head: 80, body: 10 };
        let start = "OPTIONS sip:a@b SIP/2.0\r\n";
        for (rest, want) in [
            ("s: x\r\n\r\n", Some((400, "Missing Content-Length"))),
            ("l: -1\r\n\r\n", Some((400, "Malformed Content-Length"))),
            ("l: 1\r\nl: 2\r\n\r\n", Some((400, "Malformed Content-Length"))),
            ("l: 11\r\n\r\n", Some((513, "Message Too Large"))),
            (&format!("s: {}\r\n", "x".repeat(60)), Some((513, "Message Too Large"))),
        ] {
            let stream = format!("{start}{rest}{PING}");
            let got = frames(limits, stream.as_bytes(), usize::MAX);
            assert_eq!(got.len(), 1, "{rest:?}");
            let Err(lost) = &got[0] else { panic!("{rest:?}") };
            assert_eq!(lost.answer().map(|(status, reason, _)| (status, reason)), want, "{rest:?}");
            assert!(lost.answer().is_some_and(|(_, _, head)| head.starts_with(start.as_bytes())));
        }
    }

    #[test]
    fn other_protocols_are_noticed_at_their_first_line() {
        for stream in
            ["GET / HTTP/1.1\r\n", "\x16\x03\x01\x02", "hello\r\n", " INVITE sip:a@b SIP/2.0\r\n", "\rx", "SIP/2.0 9\r\n"]
        {
            assert_eq!(frames(Limits::default(), stream.as_bytes(), 1), [Err(Lost::NotSip)], "{stream:?}");
        }
    }

    #[test]
    fn a_datagram_frames_itself() {
        assert_eq!(Frame::whole(Bytes::from_static(b"\r\n\r\n")), Frame::Ping);
        assert_eq!(Frame::whole(Bytes::from_static(b"\r\n")), Frame::Pong);
        assert_eq!(Frame::whole(Bytes::from_static(b"x")), Frame::Message(Bytes::from_static(b"x")));
    }

    #[test]
    fn a_debug_line_shows_nothing_of_a_message() {
        let shown = format!("{:?} {:?}", message("INVITE sip:911@b"), Lost::TooLarge(Bytes::from_static(b"sip:911")));
        assert!(!shown.contains("911"), "{shown}");
    }
}

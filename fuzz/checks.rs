//! What must hold for whatever bytes come: one function for each fuzz target, and for its twin in `tests/fuzz_twins.rs`.

use bytes::Bytes;
use e911d::bridge::{Classifier, Do, Look, MediaOrder, Opened, Setup, Shard};
use e911d::daemon::small;
use e911d::sip::frame::{Frame, Framer, Limits};
use e911d::sip::header::{self, NameAddr, Via};
use e911d::sip::relayed::{Described, Ours, refused};
use e911d::sip::write::Writer;
use e911d::sip::{ClientKey, Flow, Message, Name, Transport, sdp};
use e911d::words::{E164, Time, Uri};
use std::collections::VecDeque;
use std::time::Duration;

/// The scanner: everything that it gives lies in the message, and a sound message is the same after it was written again.
pub fn scanner(data: &[u8]) {
    let Ok(msg) = Message::scan(Bytes::copy_from_slice(data)) else { return };
    let _ = (msg.method(), msg.method_bytes(), msg.reason(), msg.cseq(), msg.from_tag(), msg.to_tag(), msg.max_forwards());
    let _ = (msg.top_via().map(|v| (v.branch(), v.rport(), v.received())), msg.header_named("x"), format!("{msg:?}"));
    for h in msg.headers() {
        let (field, value, name) = (msg.field(h), msg.value(h), msg.name_bytes(h));
        assert!(field.len() >= value.len() + name.len(), "a field holds its name and its value");
        assert!(!name.is_empty() && value == value.trim_ascii());
    }
    if msg.faults().is_clean() {
        assert!(msg.top_via().is_some() && msg.cseq().is_some() && !msg.call_id().is_empty(), "a sound message can be answered");
        written_again_is_the_same(&msg);
    }
}

fn written_again_is_the_same(msg: &Message) {
    let mut w = if msg.is_request() {
        Writer::request(msg.method_bytes(), msg.uri())
    } else {
        Writer::response(msg.status(), msg.reason())
    };
    for h in msg.headers().iter().filter(|h| h.name != Name::ContentLength) {
        w.copy(msg, h);
    }
    let again = Message::scan(w.finish_body(msg.body())).expect("what is written can be read");
    assert_eq!((again.faults(), again.uri(), again.body()), (msg.faults(), msg.uri(), msg.body()));
    let all = |m: &Message| -> Vec<Vec<u8>> {
        let kept = m.headers().iter().filter(|h| h.name != Name::ContentLength);
        kept.map(|h| header::unfold(m.value(h)).into_owned()).collect()
    };
    assert_eq!(all(&again), all(msg), "every value is there, however its line is folded");
}

/// The framer: however a stream is cut, the same messages come out, and the scanner sees each as the framer did.
pub fn framer(data: &[u8]) {
    let Some((&cut, stream)) = data.split_first() else { return };
    let limits = Limits { head: 2048, body: 4096 };
    let frames = |step: usize| {
        let mut framer = Framer::new(limits);
        let mut out = Vec::new();
        for piece in stream.chunks(step.max(1)) {
            framer.push(piece);
            out.extend(framer.by_ref().filter(|f| *f != Ok(Frame::Pong)));
        }
        // How much of a lost head is there to answer from depends on the cut.
        out.into_iter().map(|f| f.map_err(|lost| lost.answer().map(|a| (a.0, a.1)))).collect::<Vec<_>>()
    };
    let whole = frames(usize::MAX);
    assert_eq!(frames(usize::from(cut)), whole);
    for frame in whole.into_iter().flatten() {
        let Frame::Message(bytes) = frame else { continue };
        let size = bytes.len();
        let msg = Message::scan(bytes).expect("a frame has a start line");
        let body_at = size - msg.body().len();
        assert!(msg.bytes().get(..body_at).is_some_and(|head| head.ends_with(b"\n")), "the body begins behind the head");
    }
}

/// Values: URIs, addresses, hops, lists and parameters.
pub fn uri(data: &[u8]) {
    if let Some(u) = Uri::parse(data) {
        let _ = (u.is_well_formed(), u.socket_addr(), u.param("transport"), format!("{u:?}"));
        assert!(!u.is_well_formed() || !u.host.is_empty());
    }
    if let Some(n) = NameAddr::parse(data) {
        assert!(!n.uri.is_empty() && n.uri == n.uri.trim_ascii());
        let _ = (n.tag(), n.param("q"), format!("{n:?}"));
    }
    if let Some(v) = Via::parse(data) {
        let _ = (v.branch(), v.rport(), v.received(), v.has_rport_empty(), format!("{v:?}"));
        assert!(!v.host.is_empty());
    }
    assert!(header::values(data).map(<[u8]>::len).sum::<usize>() <= data.len());
    assert!(header::params_of(data).map(|(k, v)| k.len() + v.len()).sum::<usize>() <= data.len());
    assert!(!header::unfold(data).iter().any(|c| matches!(c, b'\r' | b'\n')));
    let _ = (header::number(data), header::seconds(data), header::auth_param(data, "realm"), header::first_value(data));
    let _ = std::str::from_utf8(data).map(E164::parse);
}

/// The SDP editor: once is enough, nothing named by RULES L8 is left, and what is no SDP stays.
pub fn sdp(data: &[u8]) {
    let Some((&kind, rest)) = data.split_first() else { return };
    let (content_type, body) = match kind {
        0 => (&b"application/sdp"[..], rest),
        1 => {
            // The boundary of a multipart stands in its own first line.
            let line = rest.split(|&c| c == b'\n').next().unwrap_or_default().trim_ascii();
            let boundary = line.strip_prefix(b"--").unwrap_or(line);
            return edited(&[b"multipart/mixed;boundary=\"", boundary, b"\""].concat(), rest);
        }
        _ => rest.split_at(rest.len().min(usize::from(kind))),
    };
    edited(content_type, body);
    if kind == 0 {
        let out = sdp::edit_sdp_in(content_type, body);
        let named = |line: &[u8]| matches!(line, [b'i' | b'e' | b'p', b'=', ..]);
        assert!(!out.split(|c| matches!(c, b'\r' | b'\n')).any(named), "a name was left");
    }
}

/// A description with our address in it keeps its stream and no other, and tells where we are and nobody else.
fn relayed(sdp: &[u8]) {
    let at = std::net::SocketAddr::from(([192, 0, 2, 1], 20_000));
    let ours = Ours { at, protocol: None, cryptos: &[] };
    let Some(said) = Described::of(sdp) else {
        assert!(Described::of(&refused(sdp, at)).is_none(), "what was refused is no stream");
        return;
    };
    let out = said.rewritten(sdp, &ours);
    let again = Described::of(&out).expect("its stream is kept");
    assert!(again.rtp == Some(at) || said.rtp.is_none());
    assert!(again.protocol() == said.protocol() && again.cryptos.is_empty());
    assert_eq!(again.rewritten(&out, &ours), out, "twice is as once");
}

fn edited(content_type: &[u8], body: &[u8]) {
    let once = sdp::edit_sdp_in(content_type, body);
    assert!(once.len() <= body.len() + body.iter().filter(|&&c| c == b'=').count());
    assert_eq!(sdp::edit_sdp_in(content_type, &once), once, "twice is as once");
    match sdp::sdp_part(content_type, body) {
        Some(part) => assert!(part.len() <= body.len()),
        None => assert_eq!(once, body, "without SDP nothing changes"),
    }
    let _ = sdp::has_offer(content_type, body);
    relayed(sdp::sdp_part(content_type, body).unwrap_or(body));
}

/// PBX, the trunks, a stranger; the PBX by TCP.
const SOURCES: [(&str, Transport); 5] = [
    ("127.0.0.1:15090", Transport::Udp),
    ("127.0.0.1:15070", Transport::Udp),
    ("127.0.0.1:15071", Transport::Udp),
    ("127.0.0.9:5060", Transport::Udp),
    ("127.0.0.1:40000", Transport::Tcp),
];
const WAITS: [u64; 8] = [1, 200, 500, 1_500, 6_000, 32_000, 180_000, 3_600_000];
const STATUSES: [u16; 20] = [100, 180, 183, 200, 202, 300, 302, 401, 407, 408, 415, 480, 481, 486, 487, 488, 500, 503, 600, 699];
const METHODS: [&str; 11] =
    ["ACK", "BYE", "CANCEL", "INVITE", "UPDATE", "PRACK", "INFO", "REFER", "NOTIFY", "MESSAGE", "OPTIONS"];
const SDP: &str = "v=0\r\no=alice 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 30000 RTP/AVP 0\r\n";

/// The first look at a datagram, which the first byte of the input sends from the PBX, a trunk or a stranger: it is never sure of
/// what the whole message denies. Says what it saw.
pub fn first_look(data: &[u8]) -> Look {
    let Some((&from, datagram)) = data.split_first() else { return Look::Unknown };
    let from = ["127.0.0.1:15090", "127.0.0.1:15070", "127.0.0.9:5060"][usize::from(from % 3)];
    let flow = Flow { transport: Transport::Udp, listener: 0, remote: from.parse().expect("an address"), connection: 0, name: 0 };
    TWO_SHARDS.with(|(shard, classifier)| {
        let look = classifier.first_look(flow, datagram);
        let read = Message::scan(Bytes::copy_from_slice(datagram));
        let agrees = match (look, &read) {
            (Look::Unknown, _) => true,
            (Look::Junk, read) => read.is_err(),
            (Look::Response, read) => read.as_ref().map_or(true, |msg| !msg.is_request()),
            (_, Err(_)) => false,
            (Look::InCall, Ok(msg)) => msg.is_request(),
            (Look::Emergency | Look::Callback, Ok(msg)) => classifier.shard(flow, msg, shard) == 0,
            (Look::Ordinary, Ok(msg)) => (classifier.shard(flow, msg, shard), msg.to_tag()) == (1, None),
        };
        assert!(agrees, "{look:?} from {from}: {:?}", String::from_utf8_lossy(datagram));
        look
    })
}

thread_local! {
    static TWO_SHARDS: (Shard, Classifier) = {
        let setup = small::assembled(small::TOML, 7, 2, None).setup;
        let first = Shard::new(0, &setup, Time::from_micros(1_000_000_000)).expect("a shard");
        let classifier = first.classifier().expect("shard 0 has the story");
        (first, classifier)
    };
}

/// How many steps of one input are played.
const STEPS: usize = 64;
/// What is remembered of what went out.
const MEMORY: usize = 32;

/// The whole shard. The input is a list of steps between `FF FE`; a step that begins like a SIP message is one, from the PBX.
/// Whatever comes: it goes on, it sends requests that are sound, and what it holds and sends is bounded by what it was told.
pub fn shard(data: &[u8]) {
    let mut play = Play::new();
    for step in steps(data).take(STEPS) {
        play.step(step);
    }
    play.wait(Duration::from_secs(70));
    play.assert_bounded();
}

fn steps(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(data);
    std::iter::from_fn(move || {
        let here = rest?;
        let end = here.windows(2).position(|w| w == [0xff, 0xfe]);
        rest = end.and_then(|end| here.get(end + 2..));
        here.get(..end.unwrap_or(here.len()))
    })
}

thread_local! {
    static SETUP: Setup = {
        // The PBX by UDP and TCP, one trunk believed, one by TCP with a URN, and a route for whatever is dialed.
        let text = small::changed(&[
            ("[[peer]]", "[[listen]]\ntransport = \"tcp\"\nbind = \"127.0.0.1:15060\"\n[[peer]]"),
            ("sources = [\"127.0.0.1:15090\"]", "sources = [\"127.0.0.1\"]"),
            ("sources = [\"127.0.0.1:15070\"]", "sources = [\"127.0.0.1:15070\"]\ntrust_marks = true"),
            (":15071\"\nsources = [\"127.0.0.1:15071\"]\noptions = \"0s\"",
             ":15071;transport=tcp\"\nsources = [\"127.0.0.1:15071\"]\noptions = \"30s\"\nemergency_target = \"urn\""),
            (r"'^\+?1[2-9]\d{9}$'", "'.*'"),
            ("[\"carrier\", \"a\"]", "[\"b\", \"a\"]"),
        ]);
        small::assembled(&text, 7, 1, None).setup
    };
}

struct Sent {
    flow: Flow,
    msg: Message,
    client: Option<ClientKey>,
}

struct Play {
    shard: Shard,
    now: Time,
    sent: VecDeque<Sent>,
    got: VecDeque<(Flow, Bytes)>,
    told: usize,
}

impl Play {
    fn new() -> Self {
        let now = Time::from_micros(1_000_000_000);
        let shard = SETUP.with(|setup| Shard::new(0, setup, now)).expect("a shard");
        let mut play = Self { shard, now, sent: VecDeque::new(), got: VecDeque::new(), told: 1 };
        play.drain();
        play
    }

    fn step(&mut self, step: &[u8]) {
        let (op, arg, rest) = match step {
            [b'A'..=b'Z' | b'\r', ..] | [] => return self.receive(0, step),
            [op] => (*op, 0, &[][..]),
            [op, arg, rest @ ..] => (*op, *arg, rest),
        };
        let nth = usize::from(arg);
        match op & 7 {
            0 => self.receive(nth, rest),
            1 => self.wait(Duration::from_millis(WAITS[nth % WAITS.len()])),
            2 | 3 => self.answer(nth, rest),
            4 | 5 => self.ask(nth, rest),
            6 => self.fail(nth),
            _ => self.repeat(nth),
        }
    }

    fn receive(&mut self, source: usize, datagram: &[u8]) {
        let (from, transport) = SOURCES[source % SOURCES.len()];
        let flow = Flow { transport, listener: 0, remote: from.parse().expect("an address"), connection: 0, name: 0 };
        self.hear(flow, Bytes::copy_from_slice(datagram));
    }

    fn hear(&mut self, flow: Flow, bytes: Bytes) {
        let Ok(msg) = Message::scan(bytes.clone()) else { return };
        self.told += 1;
        self.shard.receive(flow, msg, self.now);
        self.got.push_front((flow, bytes));
        self.got.truncate(MEMORY);
        self.drain();
    }

    /// A response to a request that went out.
    fn answer(&mut self, nth: usize, rest: &[u8]) {
        let requests: Vec<&Sent> = self.sent.iter().filter(|s| s.msg.is_request()).collect();
        let Some(to) = requests.get(nth % requests.len().max(1)) else { return };
        let status = STATUSES[usize::from(rest.first().copied().unwrap_or(3)) % STATUSES.len()];
        let style = rest.get(1).copied().unwrap_or(0x80);
        let mut out = format!("SIP/2.0 {status} X\r\n").into_bytes();
        for h in to.msg.headers() {
            if matches!(h.name, Name::Via | Name::From | Name::CallId | Name::CSeq | Name::RecordRoute | Name::To) {
                out.extend_from_slice(to.msg.field(h));
                if h.name == Name::To && to.msg.to_tag().is_none() {
                    out.extend_from_slice(format!(";tag=t{}", style & 3).as_bytes());
                }
                out.extend_from_slice(b"\r\n");
            }
        }
        if style & 4 == 0 {
            out.extend_from_slice(format!("Contact: <sip:x@{}>\r\n", to.flow.remote).as_bytes());
        }
        finish(&mut out, rest.get(2..).unwrap_or_default(), style & 0x80 != 0);
        let flow = to.flow;
        self.hear(flow, out.into());
    }

    /// A request in the dialog of a message that went out.
    fn ask(&mut self, nth: usize, rest: &[u8]) {
        let Some(about) = self.sent.get(nth % self.sent.len().max(1)) else { return };
        let method = METHODS[usize::from(rest.first().copied().unwrap_or(1)) % METHODS.len()];
        let style = rest.get(1).copied().unwrap_or(2);
        let value = |name| String::from_utf8_lossy(about.msg.get(name).unwrap_or_default()).into_owned();
        let (mut from, mut to) = (value(Name::From), value(Name::To));
        if about.msg.is_request() {
            (from, to) = (format!("{to};tag=t{}", style & 3), from);
        }
        let same = matches!(method, "ACK" | "CANCEL");
        let seq = about.msg.cseq().map_or(1, |c| c.0).saturating_add(if same { 0 } else { u32::from(style >> 2) });
        let via = if same { value(Name::Via) } else { format!("SIP/2.0/UDP {};branch=z9hG4bK{method}{seq}", about.flow.remote) };
        let mut out = format!(
            "{method} sip:x@127.0.0.1:15060 SIP/2.0\r\nVia: {via}\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {seq} {method}\r\n",
            value(Name::CallId)
        )
        .into_bytes();
        finish(&mut out, rest.get(2..).unwrap_or_default(), style & 0x80 != 0);
        let flow = about.flow;
        self.hear(flow, out.into());
    }

    fn fail(&mut self, nth: usize) {
        let clients: Vec<ClientKey> = self.sent.iter().filter_map(|s| s.client).collect();
        let Some(client) = clients.get(nth % clients.len().max(1)) else { return };
        self.shard.unreachable(*client, self.now);
        self.told += 1;
        self.drain();
    }

    fn repeat(&mut self, nth: usize) {
        let Some((flow, bytes)) = self.got.get(nth % self.got.len().max(1)).cloned() else { return };
        self.hear(flow, bytes);
    }

    fn wait(&mut self, span: Duration) {
        let end = self.now + span;
        let mut turns = 0;
        while let Some(next) = self.shard.next_deadline().filter(|t| *t <= end) {
            self.now = self.now.max(next);
            self.shard.expire(self.now);
            self.drain();
            turns += 1;
            assert!(turns < 200_000, "timers without end");
        }
        self.now = end;
    }

    fn drain(&mut self) {
        let mut sends = 0;
        while let Some(what) = self.shard.poll() {
            match what {
                Do::Send(t) => {
                    sends += 1;
                    let msg = Message::scan(t.bytes).expect("what we send can be read");
                    assert!(
                        !msg.is_request() || msg.faults().is_clean(),
                        "{:?} in\n{}",
                        msg.faults(),
                        String::from_utf8_lossy(msg.bytes())
                    );
                    self.sent.push_front(Sent { flow: t.flow, msg, client: t.client });
                    self.sent.truncate(MEMORY);
                }
                Do::Commit { call, .. } => self.shard.committed(call, self.now),
                Do::Media { call, order: MediaOrder::Open { .. } } => {
                    let voice = Opened { at: "127.0.0.1:20000".parse().expect("an address"), lasts: Duration::from_secs(20) };
                    self.shard.media_opened(call, Some(voice), self.now);
                }
                Do::Keep(_) | Do::Record(_) | Do::Release { .. } | Do::Side(_) | Do::Media { .. } | Do::Relay(_) => {}
            }
        }
        assert!(sends <= 16 * self.told + 64, "{sends} messages at once");
    }

    fn assert_bounded(&self) {
        let c = self.shard.census();
        assert!(
            c.emergencies + c.ordinary <= self.told && c.dialogs + c.transactions <= 16 * self.told,
            "{c:?} after {}",
            self.told
        );
    }
}

/// The fuzzer's own lines, and a body.
fn finish(out: &mut Vec<u8>, lines: &[u8], with_sdp: bool) {
    out.extend_from_slice(lines);
    if !lines.is_empty() && !lines.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    let body = if with_sdp { SDP } else { "" };
    let kind = if with_sdp { "Content-Type: application/sdp\r\n" } else { "" };
    out.extend_from_slice(format!("{kind}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
}

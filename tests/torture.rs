//! Messages that nobody here wrote (RFC 4475, RFC 5118, other stacks' tests, captures) meet the running daemon.
//!
//! Each goes over real UDP, and each over TCP, from a known neighbour's address; what comes back is held against the
//! verdict of the test data's manifest. After each, the daemon must answer a plain OPTIONS within a second, and whatever it
//! relays must be clean. The trunk here is a phone that knows SDP and is busy.

mod common;

use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use common::testdata::{self, Sample};
use common::{Config, Deadline, Message, Peer, Transport, World};
use e911d::sip;
use e911d::sip::frame::{Frame, Framer, Limits};

/// How long an answer may take.
const A_SECOND: Duration = Duration::from_secs(1);
/// How long silence is listened to where silence is allowed.
const A_MOMENT: Duration = Duration::from_millis(150);
/// What one datagram holds.
const DATAGRAM: usize = 65_507;

/// Files whose verdict is not met, each with the reason.
const EXCEPTIONS: &[(&str, &str)] = &[];

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Status(u16),
    Closed,
    Silence,
}

#[test]
fn b7_torture_messages_over_udp_get_what_their_rfc_says() {
    let samples = testdata::samples();
    let small: Vec<_> = samples.iter().filter(|s| s.bytes.len() <= DATAGRAM).collect();
    let mut table = Table::default();
    for group in without_repeats(&small) {
        let world = World::with(Transport::Udp, |_, config| Config { ordinary: Some(".*"), ..config });
        let trunks = Busy::start(&world);
        let mut near = OverUdp::new(&world, &small);
        for sample in group {
            table.note(sample, verdict(sample), near.exchange(sample));
            near.assert_alive(&sample.name);
        }
        trunks.stop();
        assert_no_panic(&world, "UDP");
    }
    table.judge();
}

#[test]
fn b7_torture_messages_over_tcp_get_what_their_rfc_says() {
    let samples = testdata::samples();
    let all: Vec<_> = samples.iter().collect();
    let mut table = Table::default();
    for group in without_repeats(&all) {
        let world = World::with(Transport::Udp, |_, config| Config { ordinary: Some(".*"), ..config });
        let trunks = Busy::start(&world);
        for sample in group {
            let framing = Framing::of(&sample.bytes);
            let outcome = over_tcp(&world, sample, framing);
            match framing {
                Framing::Whole => table.note(sample, verdict(sample), outcome),
                // A CANCEL is obeyed whatever it lacks.
                Framing::Lost if !sample.bytes.starts_with(b"CANCEL ") => table.note(sample, "400-or-drop", outcome),
                Framing::Lost => {}
                Framing::Other => {}
            }
            let mut peer = Peer::tcp_to(world.net.ip(10), world.gateway.at(Transport::Tcp));
            ask_whether_alive(&mut peer, world.gateway.at(Transport::Tcp), &sample.name);
        }
        trunks.stop();
        assert_no_panic(&world, "TCP");
    }
    table.judge();
}

/// What the manifest says of it; nothing where it speaks of a response and the file is a request.
fn verdict(sample: &Sample) -> &str {
    let request = scan(&sample.bytes).is_some_and(|m| m.is_request());
    if request && sample.verdict.contains("-response") { "no-crash" } else { &sample.verdict }
}

/// The messages in groups: in none does a transaction that has a verdict come twice, as it would be taken for a retransmission.
fn without_repeats<'a>(samples: &[&'a Sample]) -> Vec<Vec<&'a Sample>> {
    let mut groups: Vec<(HashSet<Vec<u8>>, Vec<&Sample>)> = vec![Default::default()];
    for sample in samples {
        let id = transaction(&sample.bytes).filter(|_| sample.verdict != "no-crash").unwrap_or_default();
        let free = groups.iter().position(|(seen, _)| id.is_empty() || !seen.contains(&id));
        let at = free.unwrap_or_else(|| {
            groups.push(Default::default());
            groups.len() - 1
        });
        groups[at].0.insert(id);
        groups[at].1.push(sample);
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

fn scan(bytes: &[u8]) -> Option<sip::Message> {
    sip::Message::scan(bytes.to_vec().into()).ok()
}

/// Call-ID and branch: what an answer has in common with its request.
fn transaction(bytes: &[u8]) -> Option<Vec<u8>> {
    let msg = scan(bytes)?;
    let branch = msg.top_via().and_then(|v| v.branch()).unwrap_or_default().to_vec();
    Some([msg.call_id(), b" ", &branch].concat())
}

/// What came so far, by file.
#[derive(Default)]
struct Table {
    judged: usize,
    failed: Vec<(String, String, Outcome)>,
}

impl Table {
    fn note(&mut self, sample: &Sample, verdict: &str, outcome: Outcome) {
        let Some(good) = meets(verdict, outcome) else { return };
        self.judged += 1;
        if !good {
            self.failed.push((sample.name.clone(), verdict.to_owned(), outcome));
        }
    }

    fn judge(self) {
        let mut list = String::new();
        for (name, verdict, outcome) in &self.failed {
            let reason = EXCEPTIONS.iter().find(|e| e.0 == name).map_or("NO REASON", |e| e.1);
            list += &format!("  {name}: wanted {verdict}, got {outcome:?}: {reason}\n");
        }
        println!("{} of {} as they should be\n{list}", self.judged - self.failed.len(), self.judged);
        let excused = |name: &str| EXCEPTIONS.iter().any(|e| e.0 == name);
        assert!(self.failed.iter().all(|(name, verdict, _)| excused(name) && verdict != "accept"), "\n{list}");
        assert!(self.failed.len() * 20 <= self.judged, "more than 5 % are not as they should be:\n{list}");
    }
}

/// Whether an outcome meets a verdict; `None` where the verdict says nothing about an outcome.
fn meets(verdict: &str, outcome: Outcome) -> Option<bool> {
    let refused = matches!(outcome, Outcome::Status(400..=599) | Outcome::Closed);
    let mut judged = None;
    for one in verdict.split('|') {
        let good = match one {
            "accept" => matches!(outcome, Outcome::Status(s) if !matches!(s, 400 | 505 | 513)),
            "400" => refused,
            "400-or-drop" => refused || outcome == Outcome::Silence,
            "accept-response" | "drop-response" => outcome == Outcome::Silence,
            number => match number.parse() {
                Ok(status) => outcome == Outcome::Status(status),
                Err(_) => continue,
            },
        };
        judged = Some(judged.unwrap_or(false) || good);
    }
    judged
}

#[track_caller]
fn assert_no_panic(world: &World, what: &str) {
    let log = world.gateway.log();
    assert!(!log.contains("panicked"), "{what}:\n{log}");
}

/// A neighbour who answers a plain OPTIONS within a second is alive.
#[track_caller]
fn ask_whether_alive(peer: &mut Peer, to: SocketAddr, after: &str) {
    let via = format!("SIP/2.0/{} {};rport", peer.transport().name().to_uppercase(), peer.address());
    let id = after.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let text = format!(
        "OPTIONS sip:{to} SIP/2.0\r\nVia: {via};branch=z9hG4bK{id}\r\nMax-Forwards: 70\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:{to}>\r\n\
         Call-ID: alive-{id}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    );
    peer.send(text.as_bytes(), to);
    assert!(peer.answers_options_within(A_SECOND), "no answer to OPTIONS after {after}");
}

/// The known neighbour on UDP: it sends from port 5060 and hears on every port that some Via names.
struct OverUdp {
    to: SocketAddr,
    main: UdpSocket,
    others: Vec<UdpSocket>,
    prober: Peer,
}

impl OverUdp {
    fn new(world: &World, samples: &[&Sample]) -> Self {
        let ip = world.net.ip(10);
        let ports: HashSet<u16> = samples.iter().filter_map(|s| scan(&s.bytes)?.top_via()?.port).collect();
        let socket = |port| {
            let socket = UdpSocket::bind((ip, port)).ok()?;
            socket.set_nonblocking(true).ok().map(|()| socket)
        };
        let others = ports.into_iter().filter(|p| *p != 5060).filter_map(socket).collect();
        let main = socket(5060).expect("the neighbour's own port");
        Self { to: world.gateway.at(Transport::Udp), main, others, prober: Peer::udp(SocketAddr::new(ip, 0)) }
    }

    fn exchange(&mut self, sample: &Sample) -> Outcome {
        while self.read().is_some() {}
        self.main.send_to(&sample.bytes, self.to).expect("room for a datagram");
        let wanted = transaction(&sample.bytes);
        let silence_is_fine = meets(verdict(sample), Outcome::Silence) != Some(false);
        let deadline = Deadline::after(match silence_is_fine {
            true if verdict(sample) == "no-crash" => Duration::ZERO,
            true => A_MOMENT,
            false => A_SECOND,
        });
        let mut provisional = Outcome::Silence;
        while !deadline.passed() {
            let Some(answer) = self.read() else {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            };
            let status = scan(&answer).map_or(0, |m| m.status());
            if status == 0 || transaction(&answer) != wanted {
                continue;
            }
            if status >= 200 {
                return Outcome::Status(status);
            }
            provisional = Outcome::Status(status);
        }
        provisional
    }

    fn read(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 65_535];
        let n = std::iter::once(&self.main).chain(&self.others).find_map(|s| s.recv_from(&mut buffer).ok())?.0;
        buffer.truncate(n);
        Some(buffer)
    }

    fn assert_alive(&mut self, after: &str) {
        ask_whether_alive(&mut self.prober, self.to, after);
    }
}

/// What a message is on a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// One message and nothing else.
    Whole,
    /// No stream can go on behind it.
    Lost,
    /// Several messages, part of one, or none.
    Other,
}

impl Framing {
    fn of(bytes: &[u8]) -> Self {
        let mut framer = Framer::new(Limits::default());
        framer.push(bytes);
        let mut messages = 0;
        for frame in framer.by_ref() {
            match frame {
                Ok(Frame::Message(_)) => messages += 1,
                Ok(Frame::Ping | Frame::Pong) => {}
                Err(_) if messages == 0 => return Self::Lost,
                Err(_) => return Self::Other,
            }
        }
        if messages == 1 && !framer.is_amid_message() { Self::Whole } else { Self::Other }
    }
}

fn over_tcp(world: &World, sample: &Sample, framing: Framing) -> Outcome {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::new(world.net.ip(10), 0).into()).expect("the neighbour's address");
    socket.connect(&world.gateway.at(Transport::Tcp).into()).expect("a connection");
    let mut stream: TcpStream = socket.into();
    // It may be closed in our face.
    let _ = stream.write_all(&sample.bytes);
    let judged = framing != Framing::Other && meets(verdict(sample), Outcome::Silence) == Some(false);
    read_answer(&mut stream, if judged { A_SECOND } else { Duration::from_millis(5) })
}

fn read_answer(stream: &mut TcpStream, within: Duration) -> Outcome {
    stream.set_read_timeout(Some(within.min(Duration::from_millis(20)))).expect("a time");
    let (mut unread, mut provisional, mut buffer) = (Vec::new(), Outcome::Silence, [0; 16_384]);
    let deadline = Deadline::after(within);
    while !deadline.passed() {
        match stream.read(&mut buffer) {
            Ok(0) => return if provisional == Outcome::Silence { Outcome::Closed } else { provisional },
            Ok(n) => unread.extend_from_slice(&buffer[..n]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => return Outcome::Closed,
        }
        // The answer to empty lines in front of the message (RFC 5626 section 3.5.1).
        while unread.starts_with(b"\r\n") {
            unread.drain(..2);
        }
        while let Some(length) = Message::length_in_stream(&unread).filter(|n| *n <= unread.len()) {
            let answer: Vec<u8> = unread.drain(..length).collect();
            match Message::parse(&answer).status() {
                status @ 200.. => return Outcome::Status(status),
                status => provisional = Outcome::Status(status),
            }
        }
    }
    provisional
}

/// The trunks and the desk: phones that know SDP and nothing else, and are busy. They see to it that what is relayed is clean.
struct Busy {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Busy {
    fn start(world: &World) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = [21, 22, 50].map(|host| {
            let (stop, address) = (Arc::clone(&stop), world.net.sip(host));
            let socket = UdpSocket::bind(address).expect("a trunk's address");
            std::thread::spawn(move || answer_until(&stop, &socket))
        });
        Self { stop, threads: threads.into() }
    }

    #[track_caller]
    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("everything that is relayed is clean");
        }
    }
}

fn answer_until(stop: &AtomicBool, socket: &UdpSocket) {
    socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a time");
    let mut buffer = vec![0; 65_535];
    while !stop.load(Ordering::Relaxed) {
        let Ok((n, from)) = socket.recv_from(&mut buffer) else { continue };
        let relayed = scan(&buffer[..n]).expect("a message");
        assert!(relayed.is_request(), "a response was relayed");
        assert!(relayed.faults().is_clean(), "{:?} was relayed:\n{}", relayed.faults(), String::from_utf8_lossy(&buffer[..n]));
        let request = Message::parse(&buffer[..n]);
        let status = match request.method() {
            "ACK" => continue,
            "INVITE" if knows_body(&request) => "486 Busy Here",
            "INVITE" => "415 Unsupported Media Type",
            _ => "200 OK",
        };
        let mut text = format!("SIP/2.0 {status}\r\n");
        for (name, value) in &request.headers {
            match name.to_ascii_lowercase().as_str() {
                "to" => text += &format!("To: {value};tag=busy\r\n"),
                "via" | "from" | "call-id" | "cseq" => text += &format!("{name}: {value}\r\n"),
                _ => {}
            }
        }
        text += "Content-Length: 0\r\n\r\n";
        let _ = socket.send_to(text.as_bytes(), from);
    }
}

fn knows_body(request: &Message) -> bool {
    request.body.is_empty()
        || request.get("Content-Type").is_none_or(|t| t.starts_with("application/sdp") || t.starts_with("multipart/"))
}

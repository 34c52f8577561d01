//! Neighbours who look at the order in which a call's messages arrive: they say several things at once, numbered, and take note of
//! whatever overtakes. They know no transactions; what is lost they say again, and such a call's order is nobody's fault.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::clock::Deadline;
use super::message::{Message, user};
use super::net::Transport;
use super::peer::SDP;

/// How many INFO each side sends at once.
const BURST: u32 = 3;
/// After so long without progress something is said again.
const PATIENCE: Duration = Duration::from_secs(3);

/// What came of it all, on both sides.
#[derive(Debug, Default)]
pub struct Books {
    /// Calls that a caller saw through.
    pub over: AtomicUsize,
    /// Of these, PSAPs' callbacks.
    pub callbacks: AtomicUsize,
    /// Calls that were refused though the callee refuses none.
    pub turned_away: AtomicUsize,
    /// Messages that arrived in dialogs, and responses.
    pub messages: AtomicUsize,
    /// INFO that never arrived.
    pub lost: AtomicUsize,
    /// Legs on which something was said twice.
    pub repeated: AtomicUsize,
    /// What arrived out of order.
    pub disorder: Mutex<Vec<String>>,
    stop: AtomicBool,
}

/// What a caller dials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Answered, talked in, hung up.
    #[default]
    Ordinary,
    /// Given up right behind the INVITE.
    Cancelled,
    /// To 911; the PSAP calls back once it is over.
    Emergency,
    /// The PSAP's call.
    Callback,
}

/// A neighbour: at `at`, beside a gateway.
pub struct Party {
    wire: Wire,
    at: SocketAddr,
    gateway: SocketAddr,
    legs: HashMap<String, Leg>,
    books: Arc<Books>,
    /// Calls that are to be made, the first one last.
    plan: Vec<(u32, Kind)>,
    /// How many of its own run at a time.
    window: usize,
    running: usize,
}

impl Party {
    /// Runs it on a thread of its own until [`Books::close`].
    pub fn start(
        transport: Transport,
        at: SocketAddr,
        gateway: SocketAddr,
        books: &Arc<Books>,
        plan: Vec<(u32, Kind)>,
        window: usize,
    ) {
        let wire = Wire::open(transport, at);
        let (legs, books) = (HashMap::new(), Arc::clone(books));
        let mut party = Self { wire, at, gateway, legs, books, plan, window, running: 0 };
        std::thread::spawn(move || {
            let mut again = Deadline::after(PATIENCE);
            while !party.books.stop.load(Ordering::Relaxed) {
                while party.running < party.window
                    && let Some((n, kind)) = party.plan.pop()
                {
                    party.dial(n, kind, &target(kind, n));
                }
                if let Some((msg, way)) = party.wire.receive() {
                    party.take(&msg, way);
                }
                if again.passed() {
                    party.say_again();
                    again = Deadline::after(PATIENCE);
                }
            }
        });
    }

    fn dial(&mut self, n: u32, kind: Kind, dialed: &str) {
        self.running += 1;
        let from = if kind == Kind::Callback { "+12065559111".to_owned() } else { format!("agent{n}") };
        let (id, gateway) = (format!("{}{n}", if kind == Kind::Callback { "b" } else { "c" }), self.gateway);
        let leg = Leg {
            kind,
            ours: format!("<sip:{from}@{}>;tag=t{id}", self.at),
            theirs: format!("<sip:{dialed}@{gateway}>"),
            target: format!("sip:{dialed}@{gateway}"),
            way: Way::First,
            is_caller: true,
            ..Leg::default()
        };
        self.legs.insert(id.clone(), leg);
        self.request(&id, "INVITE", 1, SDP);
        if kind == Kind::Cancelled {
            self.request(&id, "CANCEL", 1, "");
        }
    }

    fn take(&mut self, msg: &Message, way: usize) {
        let id = msg.header("Call-ID").to_owned();
        self.books.messages.fetch_add(1, Ordering::Relaxed);
        match (msg.is_request(), msg.method()) {
            (true, "INVITE") if !self.legs.contains_key(&id) => self.ring(&id, msg, way),
            (true, _) => self.asked(&id, msg, way),
            (false, _) => self.answered(&id, msg),
        }
    }

    /// Somebody calls: three responses at once.
    fn ring(&mut self, id: &str, msg: &Message, way: usize) {
        let dialed = user(msg.uri()).to_owned();
        let number = shown(msg);
        let kind = if dialed == "911" { Kind::Emergency } else { Kind::Ordinary };
        let leg = Leg {
            kind,
            ours: format!("{};tag=u{id}", msg.header("To")),
            theirs: msg.header("From").to_owned(),
            target: msg.uri_of("Contact").to_owned(),
            number,
            way: Way::Of(way),
            invite: Some(msg.clone()),
            ..Leg::default()
        };
        self.legs.insert(id.to_owned(), leg);
        let statuses: &[u16] = if dialed.ends_with("99") { &[180] } else { &[180, 183, 200] };
        for status in statuses {
            self.respond(id, msg, *status, way);
        }
    }

    /// A request in a call of ours.
    fn asked(&mut self, id: &str, msg: &Message, way: usize) {
        let Some(leg) = self.legs.get_mut(id) else {
            // A call that is over, or was never taken.
            return;
        };
        let (method, seq) = (msg.method().to_owned(), msg.cseq());
        match method.as_str() {
            "INVITE" => {
                leg.note_repeat(&self.books);
                let status = leg.final_status;
                return if status > 0 { self.respond(id, msg, status, way) } else { self.respond(id, msg, 180, way) };
            }
            "ACK" => {
                if leg.heard > 0 && !leg.acked {
                    self.books.note(leg, format!("an ACK behind INFO {}", leg.heard));
                }
                if !std::mem::replace(&mut leg.acked, true) && leg.final_status == 200 {
                    self.talk(id);
                }
                return;
            }
            "CANCEL" => {
                let invite = leg.invite.clone();
                self.respond(id, msg, 200, way);
                if let Some(invite) = invite {
                    self.respond(id, &invite, 487, way);
                }
                return;
            }
            _ => {}
        }
        if !leg.seen.insert(seq) {
            // Its sender says again what it has not heard the answer to.
            leg.note_repeat(&self.books);
        } else {
            if seq <= leg.last_seq {
                self.books.note(leg, format!("{method} {seq} behind {}", leg.last_seq));
            }
            if !leg.acked && !leg.is_caller {
                self.books.note(leg, format!("{method} before the ACK"));
            }
            if method == "INFO" {
                let said: u32 = String::from_utf8_lossy(&msg.body).trim().parse().expect("a number");
                if said <= leg.heard {
                    self.books.note(leg, format!("INFO {said} behind {}", leg.heard));
                }
                self.books.lost.fetch_add(said.saturating_sub(leg.heard + 1) as usize, Ordering::Relaxed);
                leg.heard = said;
            }
            leg.last_seq = leg.last_seq.max(seq);
        }
        let is_bye = method == "BYE";
        self.respond(id, msg, 200, way);
        if is_bye {
            self.hung_up(id);
        } else {
            self.go_on(id);
        }
    }

    /// A response to a request of ours.
    fn answered(&mut self, id: &str, msg: &Message) {
        let (status, seq) = (msg.status(), msg.cseq());
        let Some(leg) = self.legs.get_mut(id) else { return };
        match msg.method() {
            "INVITE" => {
                if status < leg.last_status {
                    self.books.note(leg, format!("{status} behind {}", leg.last_status));
                } else if status == leg.last_status {
                    leg.note_repeat(&self.books);
                }
                let is_first = leg.last_status < 200;
                leg.last_status = leg.last_status.max(status);
                if status < 200 {
                    return;
                }
                leg.theirs = msg.header("To").to_owned();
                if status == 200 {
                    leg.target = msg.uri_of("Contact").to_owned();
                }
                leg.pending.remove(&1);
                self.acknowledge(id, msg, status);
                if is_first && status == 200 {
                    self.talk(id);
                } else if is_first {
                    let is_meant = status == 487 && self.legs.get(id).is_some_and(|leg| leg.kind == Kind::Cancelled);
                    self.books.turned_away.fetch_add(usize::from(!is_meant), Ordering::Relaxed);
                    self.finish(id);
                }
            }
            "CANCEL" if status == 503 => {}
            "CANCEL" => drop(leg.pending.remove(&0)),
            method => {
                // Who has no room is asked again later.
                if status < 200 || (status == 503 && method == "INFO") {
                    return;
                }
                if status == 200 && seq < leg.last_answer {
                    self.books.note(leg, format!("the answer to {method} {seq} behind that to {}", leg.last_answer));
                }
                leg.last_answer = leg.last_answer.max(seq);
                leg.pending.remove(&seq);
                let is_bye = method == "BYE";
                if is_bye { self.finish(id) } else { self.go_on(id) }
            }
        }
    }

    /// Both have said so much: the caller says something more, and hangs up right behind it.
    fn go_on(&mut self, id: &str) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        if leg.is_caller && leg.heard == BURST && leg.pending.is_empty() && leg.next_seq == 2 + BURST {
            leg.next_seq += 2;
            self.request(id, "INFO", 2 + BURST, &format!("{}\r\n", BURST + 1));
            self.request(id, "BYE", 3 + BURST, "");
        }
    }

    /// All INFO at once.
    fn talk(&mut self, id: &str) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let first = if leg.is_caller { 2 } else { 1 };
        leg.next_seq = first + BURST;
        for n in 0..BURST {
            self.request(id, "INFO", first + n, &format!("{}\r\n", n + 1));
        }
    }

    /// The other side has hung up; nothing may come behind that.
    fn hung_up(&mut self, id: &str) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        leg.pending.clear();
        self.books.lost.fetch_add((BURST + 1).saturating_sub(leg.heard) as usize, Ordering::Relaxed);
        if leg.kind == Kind::Emergency
            && let Some(number) = leg.number.take()
        {
            let n = number.trim_start_matches('+').parse::<u64>().map_or(0, |n| (n % 1_000_000) as u32);
            self.dial(n, Kind::Callback, &number);
        }
    }

    fn finish(&mut self, id: &str) {
        if let Some(leg) = self.legs.remove(id) {
            self.running -= 1;
            self.books.over.fetch_add(1, Ordering::Relaxed);
            if leg.kind == Kind::Callback {
                self.books.callbacks.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn request(&mut self, id: &str, method: &str, seq: u32, body: &str) {
        let (at, word) = (self.at, self.wire.word());
        let Some(leg) = self.legs.get_mut(id) else { return };
        let kind = if method == "INVITE" { "application/sdp" } else { "text/plain" };
        let branch = if method == "CANCEL" { format!("{id}INVITE1") } else { format!("{id}{method}{seq}") };
        let text = format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/{word} {at};branch=z9hG4bK{branch};rport\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\n\
             Call-ID: {id}\r\nCSeq: {seq} {method}\r\nContact: <sip:{at};transport={}>\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            leg.target,
            leg.ours,
            leg.theirs,
            word.to_lowercase(),
            body.len(),
        );
        leg.pending.insert(if method == "CANCEL" { 0 } else { seq }, text.clone());
        let way = leg.way;
        self.wire.send(text.as_bytes(), way, self.gateway);
    }

    fn acknowledge(&mut self, id: &str, msg: &Message, status: u16) {
        let (at, word) = (self.at, self.wire.word());
        let Some(leg) = self.legs.get(id) else { return };
        let branch = if status == 200 { format!("{id}ACK") } else { format!("{id}INVITE1") };
        let text = format!(
            "ACK {} SIP/2.0\r\nVia: SIP/2.0/{word} {at};branch=z9hG4bK{branch};rport\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\n\
             Call-ID: {id}\r\nCSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n",
            leg.target,
            leg.ours,
            msg.header("To"),
        );
        self.wire.send(text.as_bytes(), leg.way, self.gateway);
    }

    fn respond(&mut self, id: &str, to: &Message, status: u16, way: usize) {
        let (at, word) = (self.at, self.wire.word().to_lowercase());
        let Some(leg) = self.legs.get_mut(id) else { return };
        if to.method() == "INVITE" {
            leg.final_status = if status >= 200 { status } else { leg.final_status };
        }
        let body = if to.method() == "INVITE" && status == 200 { SDP } else { "" };
        let vias: String = to.all("Via").map(|via| format!("Via: {via}\r\n")).collect();
        let text = format!(
            "SIP/2.0 {status} X\r\n{vias}From: {}\r\nTo: {}\r\nCall-ID: {id}\r\nCSeq: {}\r\nContact: <sip:{at};transport={word}>\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            to.header("From"),
            leg.ours,
            to.header("CSeq"),
            body.len(),
        );
        self.wire.send(text.as_bytes(), Way::Of(way), self.gateway);
    }

    /// What nobody has answered for a while.
    fn say_again(&mut self) {
        let mut unacknowledged = Vec::new();
        for (id, leg) in self.legs.iter_mut().filter(|(_, leg)| !leg.pending.is_empty() || leg.waits_for_ack()) {
            if std::mem::replace(&mut leg.was_late, true) {
                unacknowledged
                    .extend(leg.invite.clone().filter(|_| leg.waits_for_ack()).map(|invite| (id.clone(), invite, leg.way)));
                leg.note_repeat(&self.books);
                for text in leg.pending.values() {
                    self.wire.send(text.as_bytes(), leg.way, self.gateway);
                }
            }
        }
        for (id, invite, way) in unacknowledged {
            self.respond(&id, &invite, 200, if let Way::Of(place) = way { place } else { 0 });
        }
    }
}

impl Books {
    /// Its parties go home.
    pub fn close(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn note(&self, leg: &Leg, what: String) {
        if !leg.repeated {
            self.disorder.lock().unwrap().push(format!(
                "{:?}, {}: {what}",
                leg.kind,
                if leg.is_caller { "caller" } else { "callee" }
            ));
        }
    }
}

/// One side's view of a call.
#[derive(Default)]
struct Leg {
    kind: Kind,
    is_caller: bool,
    ours: String,
    theirs: String,
    target: String,
    /// The callback number that an emergency call showed.
    number: Option<String>,
    way: Way,
    invite: Option<Message>,
    final_status: u16,
    acked: bool,
    /// The highest status of our INVITE.
    last_status: u16,
    /// The CSeq of their last request, and of ours that was answered last.
    last_seq: u32,
    seen: BTreeSet<u32>,
    last_answer: u32,
    next_seq: u32,
    /// The number in their last INFO.
    heard: u32,
    pending: BTreeMap<u32, String>,
    was_late: bool,
    repeated: bool,
}

impl Leg {
    fn waits_for_ack(&self) -> bool {
        !self.is_caller && self.final_status == 200 && !self.acked
    }

    fn note_repeat(&mut self, books: &Books) {
        if !std::mem::replace(&mut self.repeated, true) {
            books.repeated.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn target(kind: Kind, n: u32) -> String {
    match kind {
        Kind::Emergency => "911".to_owned(),
        Kind::Cancelled => "+12125550199".to_owned(),
        Kind::Ordinary | Kind::Callback => format!("+1212555{:04}", n % 99),
    }
}

/// The callback number of an emergency call.
fn shown(invite: &Message) -> Option<String> {
    let number = invite.user_of("From").to_owned();
    number.starts_with("+1").then_some(number)
}

/// By which connection.
#[derive(Clone, Copy, Debug, Default)]
enum Way {
    #[default]
    First,
    Of(usize),
}

/// A socket for datagrams, or a listener and its connections.
enum Wire {
    Udp(UdpSocket, Vec<u8>),
    Tcp(TcpListener, Vec<(TcpStream, Vec<u8>)>),
}

impl Wire {
    fn open(transport: Transport, at: SocketAddr) -> Self {
        match transport {
            Transport::Udp => {
                let socket = UdpSocket::bind(at).unwrap_or_else(|e| panic!("{at}: {e}"));
                socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
                Self::Udp(socket, vec![0; 65_535])
            }
            Transport::Tcp => {
                let listener = TcpListener::bind(at).unwrap_or_else(|e| panic!("{at}: {e}"));
                listener.set_nonblocking(true).unwrap();
                Self::Tcp(listener, Vec::new())
            }
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Udp(..) => "UDP",
            Self::Tcp(..) => "TCP",
        }
    }

    fn send(&mut self, bytes: &[u8], way: Way, gateway: SocketAddr) {
        match self {
            Self::Udp(socket, _) => drop(socket.send_to(bytes, gateway).unwrap()),
            Self::Tcp(listener, streams) => {
                if streams.is_empty() {
                    let from = listener.local_addr().unwrap().ip();
                    streams.push((prepared(connect(from, gateway)), Vec::new()));
                }
                let place = if let Way::Of(place) = way { place } else { 0 };
                let mut rest = bytes;
                while !rest.is_empty() {
                    match streams[place].0.write(rest) {
                        Ok(n) => rest = &rest[n..],
                        Err(e) if e.kind() == ErrorKind::WouldBlock => std::thread::sleep(Duration::from_micros(100)),
                        Err(e) => panic!("{e}"),
                    }
                }
            }
        }
    }

    fn receive(&mut self) -> Option<(Message, usize)> {
        match self {
            Self::Udp(socket, buffer) => socket.recv_from(buffer).ok().map(|(n, _)| (Message::parse(&buffer[..n]), 0)),
            Self::Tcp(listener, streams) => {
                if let Ok((stream, _)) = listener.accept() {
                    streams.push((prepared(stream), Vec::new()));
                }
                for (place, (stream, read)) in streams.iter_mut().enumerate() {
                    if let Some(length) = Message::length_in_stream_if_whole(read) {
                        let msg = Message::parse(&read[..length]);
                        read.drain(..length);
                        return Some((msg, place));
                    }
                    let mut buffer = [0; 65_536];
                    match stream.read(&mut buffer) {
                        Ok(n) => read.extend_from_slice(&buffer[..n]),
                        Err(e) => assert_eq!(e.kind(), ErrorKind::WouldBlock, "{e}"),
                    }
                }
                let has_more = streams.iter().any(|(_, read)| !read.is_empty());
                if !has_more {
                    std::thread::sleep(Duration::from_micros(200));
                }
                None
            }
        }
    }
}

/// From an address by which the gateway knows who it is.
fn connect(from: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.into()
}

fn prepared(stream: TcpStream) -> TcpStream {
    stream.set_nodelay(true).unwrap();
    stream.set_nonblocking(true).unwrap();
    stream
}

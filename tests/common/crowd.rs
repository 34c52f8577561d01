//! Who dials 911 again and again, over UDP: callers behind one PBX, with transactions of their own, that keep the books.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::clock::{Deadline, Stopwatch};
use super::message::Message;

const T1: Duration = Duration::from_millis(500);

/// The callers. Each call is another agent's (`agent0`, `agent1` …) and stays up until [`Crowd::hang_up`].
pub struct Crowd {
    calls: Arc<Mutex<BTreeMap<u32, Call>>>,
    dial: Arc<AtomicBool>,
    hang_up: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
}

/// A call as its caller saw it.
#[derive(Clone, Debug)]
pub struct Call {
    /// From the INVITE to the 200.
    pub set_up: Option<Duration>,
    /// A final response that was no 200.
    pub refused: Option<u16>,
    /// The other side ended it.
    pub ended: bool,
    /// The final response to our BYE.
    pub bye: Option<u16>,
    /// How many INVITEs were sent.
    pub invites: u32,
    since: Stopwatch,
    heard: bool,
    next: Option<(Deadline, Duration)>,
    contact: String,
    to: String,
}

impl Crowd {
    /// Begins to dial: `uri` at `gateway` from `at`, a call every `pause`, by so many agents in turn.
    pub fn start(at: SocketAddr, gateway: SocketAddr, pause: Duration, agents: u32) -> Self {
        let socket = UdpSocket::bind(at).unwrap_or_else(|e| panic!("{at}: {e}"));
        socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let flag = || Arc::new(AtomicBool::new(false));
        let crowd = Self { calls: Arc::default(), dial: Arc::new(AtomicBool::new(true)), hang_up: flag(), stop: flag() };
        let (calls, dial, hang_up, stop) = (crowd.calls.clone(), crowd.dial.clone(), crowd.hang_up.clone(), crowd.stop.clone());
        std::thread::spawn(move || {
            let line = Line { socket, at, gateway, agents };
            let mut due = Deadline::after(Duration::ZERO);
            let mut buffer = vec![0; 65_535];
            while !stop.load(Ordering::Relaxed) {
                if let Ok((n, _)) = line.socket.recv_from(&mut buffer) {
                    line.take(&mut calls.lock().unwrap(), &Message::parse(&buffer[..n]));
                }
                let mut calls = calls.lock().unwrap();
                if dial.load(Ordering::Relaxed) && due.passed() {
                    due = Deadline::after(pause);
                    line.call(&mut calls);
                }
                line.repeat(&mut calls, hang_up.load(Ordering::Relaxed));
            }
        });
        crowd
    }

    /// Dials no more.
    pub fn rest(&self) {
        self.dial.store(false, Ordering::Relaxed);
    }

    /// Ends all calls that are up.
    pub fn hang_up(&self) {
        self.hang_up.store(true, Ordering::Relaxed);
    }

    /// All calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().values().cloned().collect()
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Line {
    socket: UdpSocket,
    at: SocketAddr,
    gateway: SocketAddr,
    agents: u32,
}

impl Line {
    fn call(&self, calls: &mut BTreeMap<u32, Call>) {
        let n = calls.len() as u32;
        let call = Call {
            set_up: None,
            refused: None,
            ended: false,
            bye: None,
            invites: 1,
            since: Stopwatch::start(),
            heard: false,
            next: Some((Deadline::after(T1), T1)),
            contact: String::new(),
            to: format!("<sip:911@{}>", self.gateway),
        };
        self.send(n, &call, "INVITE", 1, "invite");
        calls.insert(n, call);
    }

    fn send(&self, n: u32, call: &Call, method: &str, cseq: u32, branch: &str) {
        let uri = if call.contact.is_empty() { format!("sip:911@{}", self.gateway) } else { call.contact.clone() };
        let user = format!("agent{}", n % self.agents);
        let sdp = match method {
            "INVITE" => format!(
                "v=0\r\no=- {n} 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n",
                self.at.ip()
            ),
            _ => String::new(),
        };
        let kind = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bK-{branch}-{n}\r\nMax-Forwards: 70\r\n\
             From: <sip:{user}@pbx.example.com>;tag=c{n}\r\nTo: {to}\r\nCall-ID: many-{n}@{at}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:{user}@{at}>\r\n{kind}Content-Length: {length}\r\n\r\n{sdp}",
            at = self.at,
            to = call.to,
            length = sdp.len(),
        );
        let _ = self.socket.send_to(text.as_bytes(), self.gateway);
    }

    fn take(&self, calls: &mut BTreeMap<u32, Call>, msg: &Message) {
        let n = msg.header("Call-ID").strip_prefix("many-").and_then(|id| id.split('@').next()?.parse::<u32>().ok());
        if msg.is_request() {
            return self.asked(calls, msg);
        }
        let Some((n, call)) = n.and_then(|n| Some((n, calls.get_mut(&n)?))) else { return };
        match (msg.method(), msg.status()) {
            ("INVITE", 100..=199) => call.heard = true,
            ("INVITE", 200) => {
                call.heard = true;
                call.set_up.get_or_insert(call.since.elapsed());
                call.contact = msg.uri_of("Contact").to_owned();
                call.to = msg.header("To").to_owned();
                self.send(n, call, "ACK", 1, "ack");
            }
            ("INVITE", status) => {
                call.heard = true;
                call.refused.get_or_insert(status);
                let refused = Call { to: msg.header("To").to_owned(), ..call.clone() };
                self.send(n, &refused, "ACK", 1, "invite");
            }
            ("BYE", status @ 200..) => call.bye = Some(status),
            _ => {}
        }
    }

    /// The gateway ends a call: its Call-ID is the caller's on this side.
    fn asked(&self, calls: &mut BTreeMap<u32, Call>, msg: &Message) {
        let mut text = "SIP/2.0 200 OK\r\n".to_owned();
        for (name, value) in &msg.headers {
            if matches!(name.as_str(), "Via" | "From" | "To" | "Call-ID" | "CSeq") {
                text += &format!("{name}: {value}\r\n");
            }
        }
        let _ = self.socket.send_to((text + "Content-Length: 0\r\n\r\n").as_bytes(), self.gateway);
        let n = msg.header("Call-ID").strip_prefix("many-").and_then(|id| id.split('@').next()?.parse::<u32>().ok());
        if let Some(call) = n.and_then(|n| calls.get_mut(&n)).filter(|_| msg.method() == "BYE") {
            call.ended = true;
        }
    }

    fn repeat(&self, calls: &mut BTreeMap<u32, Call>, hang_up: bool) {
        for (n, call) in calls {
            let is_up = call.set_up.is_some();
            if call.next.is_none_or(|(at, _)| at.passed()) && is_up && hang_up && call.bye.is_none() && !call.ended {
                self.send(*n, call, "BYE", 2, "bye");
                call.next = Some((Deadline::after(T1), T1));
            } else if let Some((_, wait)) = call.next.filter(|(at, _)| at.passed() && !call.heard) {
                call.invites += 1;
                self.send(*n, call, "INVITE", 1, "invite");
                call.next = Some((Deadline::after(wait * 2), wait * 2));
            }
        }
    }
}

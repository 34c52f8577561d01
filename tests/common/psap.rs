//! Who answers 911 calls by the hundred, over UDP: a callee with transactions of its own, that keeps the books.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::clock::Deadline;
use super::message::Message;
use super::peer::SDP;

/// The callee. It rings, answers after a while, and waits for BYE; it answers repeats as RFC 3261 section 17.2 says, and sends its
/// own final responses until their ACK.
pub struct Psap {
    legs: Arc<Mutex<HashMap<String, Leg>>>,
    stop: Arc<AtomicBool>,
}

/// A call as the PSAP saw it.
#[derive(Clone, Debug)]
pub struct Leg {
    /// The session id in the offer: the one thing that a gateway passes on from the caller's side.
    pub session: String,
    /// The callback number shown.
    pub number: String,
    /// What became of it.
    pub state: State,
    /// How many INVITEs with another branch or CSeq came in its dialog.
    pub strange_invites: usize,
    tag: String,
    key: (String, u32),
    last: Vec<u8>,
    from: SocketAddr,
    next: Option<(Deadline, Duration)>,
}

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It rings.
    Ringing,
    /// A 200 was sent; whether its ACK came.
    Answered(bool),
    /// Cancelled before it was answered; whether the ACK came.
    Cancelled(bool),
    /// Ended by BYE after it was answered, with this Reason.
    Ended(Option<String>),
}

const RINGS: Duration = Duration::from_millis(150);
const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);

impl Psap {
    /// Waits for calls at `at`; its Contact is `contact`.
    pub fn start(at: SocketAddr, contact: SocketAddr) -> Self {
        let socket = UdpSocket::bind(at).unwrap_or_else(|e| panic!("{at}: {e}"));
        socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let psap = Self { legs: Arc::default(), stop: Arc::default() };
        let (legs, stop) = (Arc::clone(&psap.legs), Arc::clone(&psap.stop));
        std::thread::spawn(move || {
            let mut buffer = vec![0; 65_535];
            while !stop.load(Ordering::Relaxed) {
                let received = socket.recv_from(&mut buffer);
                let mut legs = legs.lock().unwrap();
                if let Ok((n, from)) = received {
                    take(&socket, &mut legs, &Message::parse(&buffer[..n]), from, contact);
                }
                legs.values_mut().for_each(|leg| leg.on_time(&socket, contact));
            }
        });
        psap
    }

    /// All calls so far.
    pub fn legs(&self) -> Vec<Leg> {
        self.legs.lock().unwrap().values().cloned().collect()
    }
}

impl Drop for Psap {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn take(socket: &UdpSocket, legs: &mut HashMap<String, Leg>, msg: &Message, from: SocketAddr, contact: SocketAddr) {
    if !msg.is_request() {
        return;
    }
    let known = legs.get_mut(msg.header("Call-ID"));
    match (msg.method(), known) {
        ("INVITE", None) => {
            let leg = Leg::new(msg, from, contact);
            let _ = socket.send_to(&leg.last, from);
            legs.insert(msg.header("Call-ID").to_owned(), leg);
        }
        ("INVITE", Some(leg)) if leg.key == key(msg) => {
            let _ = socket.send_to(&leg.last, from);
        }
        ("INVITE", Some(leg)) => leg.strange_invites += 1,
        ("ACK", Some(leg)) => leg.on_ack(),
        ("CANCEL", Some(leg)) => {
            let _ = socket.send_to(&reply(msg, "200 OK", &leg.tag, contact, ""), from);
            if leg.state == State::Ringing {
                let text = String::from_utf8_lossy(&leg.last).replacen("180 Ringing", "487 Request Terminated", 1);
                leg.answer(socket, text.into_bytes(), State::Cancelled(false));
            }
        }
        ("BYE", Some(leg)) => {
            let _ = socket.send_to(&reply(msg, "200 OK", "", contact, ""), from);
            if matches!(leg.state, State::Answered(_)) {
                leg.state = State::Ended(msg.get("Reason").map(str::to_owned));
                leg.next = None;
            }
        }
        ("ACK", None) => {}
        _ => {
            let _ = socket.send_to(&reply(msg, "481 Call Does Not Exist", "none", contact, ""), from);
        }
    }
}

impl Leg {
    fn new(invite: &Message, from: SocketAddr, contact: SocketAddr) -> Self {
        let body = String::from_utf8_lossy(&invite.body).into_owned();
        let origin = body.lines().find_map(|l| l.strip_prefix("o=")).unwrap_or_default();
        let tag = format!("psap-{}", invite.header("Call-ID").len() + from.port() as usize);
        Self {
            session: origin.split(' ').nth(1).unwrap_or_default().to_owned(),
            number: invite.user_of("From").to_owned(),
            state: State::Ringing,
            strange_invites: 0,
            key: key(invite),
            last: reply(invite, "180 Ringing", &tag, contact, ""),
            tag,
            from,
            next: Some((Deadline::after(RINGS), T1)),
        }
    }

    fn on_ack(&mut self) {
        match &mut self.state {
            State::Answered(acked) | State::Cancelled(acked) => {
                *acked = true;
                self.next = None;
            }
            _ => {}
        }
    }

    fn answer(&mut self, socket: &UdpSocket, response: Vec<u8>, state: State) {
        self.last = response;
        self.state = state;
        self.next = Some((Deadline::after(T1), T1));
        let _ = socket.send_to(&self.last, self.from);
    }

    /// It has rung long enough, or its final response has waited long enough for the ACK.
    fn on_time(&mut self, socket: &UdpSocket, contact: SocketAddr) {
        let Some((_, wait)) = self.next.filter(|(at, _)| at.passed()) else { return };
        if self.state == State::Ringing {
            let ringing = Message::parse(&self.last);
            let answer = reply(&ringing, "200 OK", "", contact, SDP);
            return self.answer(socket, answer, State::Answered(false));
        }
        let _ = socket.send_to(&self.last, self.from);
        let wait = (wait * 2).min(T2);
        self.next = Some((Deadline::after(wait), wait));
    }
}

fn key(invite: &Message) -> (String, u32) {
    (invite.header("Via").to_owned(), invite.cseq())
}

/// A response to a request, or the next one to a request from the one before.
fn reply(to: &Message, status: &str, tag: &str, contact: SocketAddr, body: &str) -> Vec<u8> {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for (name, value) in &to.headers {
        match name.as_str() {
            "To" if to.tag_of("To").is_none() && !tag.is_empty() => text += &format!("To: {value};tag={tag}\r\n"),
            "Via" | "From" | "To" | "Call-ID" | "CSeq" | "Record-Route" => text += &format!("{name}: {value}\r\n"),
            _ => {}
        }
    }
    text += &format!("Contact: <sip:psap@{contact}>\r\n");
    if !body.is_empty() {
        text += "Content-Type: application/sdp\r\n";
    }
    text += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
    text.into_bytes()
}

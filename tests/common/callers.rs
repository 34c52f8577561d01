//! Agents behind a PBX by the dozen, over UDP: callers and callees with transactions of their own, that keep the books.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::clock::Deadline;
use super::message::Message;
use super::peer::SDP;

/// The PBX. It sends an INVITE again until something is heard, acknowledges what is answered, and takes every call.
pub struct Callers {
    book: Arc<Mutex<Book>>,
    socket: UdpSocket,
    gateway: SocketAddr,
    stop: Arc<AtomicBool>,
}

#[derive(Default)]
struct Book {
    /// By Call-ID.
    calls: BTreeMap<String, Call>,
    next: u32,
}

/// A call as its agent saw it.
#[derive(Clone, Debug)]
pub struct Call {
    /// Who dialed, or was rung.
    pub agent: String,
    /// What became of it.
    pub state: State,
    invite: String,
    again: Option<(Deadline, Duration)>,
}

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing was heard yet.
    Calling,
    /// A provisional response came.
    Proceeding,
    /// It was answered with this To value and Contact URI.
    Up(String, String),
    /// Refused with this status.
    Refused(u16),
    /// The other side hung up.
    Ended,
    /// It was a call to the agent, with this To user and Priority; taken.
    Taken(String, String),
}

const T1: Duration = Duration::from_millis(500);

impl Callers {
    /// At `at`, before a gateway.
    pub fn start(at: SocketAddr, gateway: SocketAddr) -> Self {
        let socket = UdpSocket::bind(at).unwrap_or_else(|e| panic!("{at}: {e}"));
        socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let callers = Self { book: Arc::default(), socket, gateway, stop: Arc::default() };
        let (book, stop) = (Arc::clone(&callers.book), Arc::clone(&callers.stop));
        let socket = callers.socket.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 65_535];
            while !stop.load(Ordering::Relaxed) {
                // A refused datagram is told here: the gateway is dead, and is tried again.
                let received = socket.recv_from(&mut buffer);
                let mut book = book.lock().unwrap();
                if let Ok((n, from)) = received {
                    book.take(&socket, &Message::parse(&buffer[..n]), from);
                }
                book.on_time(&socket, gateway);
            }
        });
        callers
    }

    /// An agent dials; gives the call's id.
    pub fn dial(&self, agent: &str, uri: &str) -> String {
        let mut book = self.book.lock().unwrap();
        book.next += 1;
        let (n, here) = (book.next, self.socket.local_addr().unwrap());
        let id = format!("{agent}-{n}-{}@pbx", std::process::id());
        let invite = format!(
            "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK-{id};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:{agent}@pbx.example.com>;tag=c{n}\r\nTo: <{uri}>\r\nCall-ID: {id}\r\nCSeq: 1 INVITE\r\n\
             Contact: <sip:{agent}@{here}>\r\nP-Asserted-Identity: <sip:{agent}@pbx.example.com>\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{SDP}",
            SDP.len()
        );
        let _ = self.socket.send_to(invite.as_bytes(), self.gateway);
        let again = Some((Deadline::after(T1), T1));
        book.calls.insert(id.clone(), Call { agent: agent.to_owned(), state: State::Calling, invite, again });
        id
    }

    /// An agent hangs up.
    pub fn hang_up(&self, id: &str) {
        let call = self.call(id);
        let State::Up(to, target) = &call.state else { panic!("{id} is {:?}", call.state) };
        let bye = in_dialog(&call.invite, "BYE", 2, target, to);
        let _ = self.socket.send_to(bye.as_bytes(), self.gateway);
    }

    /// A call.
    pub fn call(&self, id: &str) -> Call {
        self.book.lock().unwrap().calls[id].clone()
    }

    /// All calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.book.lock().unwrap().calls.values().cloned().collect()
    }
}

impl Drop for Callers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Book {
    fn take(&mut self, socket: &UdpSocket, msg: &Message, from: SocketAddr) {
        if !msg.is_request() {
            return self.take_response(socket, msg, from);
        }
        let id = msg.header("Call-ID").to_owned();
        match msg.method() {
            "ACK" => {}
            "INVITE" => {
                let priority = msg.get("Priority").unwrap_or_default().to_owned();
                let state = State::Taken(msg.user_of("To").to_owned(), priority);
                let call = Call { agent: super::message::user(msg.uri()).to_owned(), state, invite: String::new(), again: None };
                self.calls.entry(id).or_insert(call);
                let _ = socket.send_to(&answer(socket, msg, "200 OK", SDP), from);
            }
            "BYE" => {
                let known = self.calls.get_mut(&id);
                let status = if known.is_some() { "200 OK" } else { "481 Call Does Not Exist" };
                known.into_iter().for_each(|call| call.state = State::Ended);
                let _ = socket.send_to(&answer(socket, msg, status, ""), from);
            }
            _ => {
                let _ = socket.send_to(&answer(socket, msg, "200 OK", ""), from);
            }
        }
    }

    fn take_response(&mut self, socket: &UdpSocket, msg: &Message, from: SocketAddr) {
        let Some(call) = self.calls.get_mut(msg.header("Call-ID")).filter(|_| msg.method() == "INVITE") else { return };
        call.again = None;
        let to = msg.header("To").to_owned();
        match msg.status() {
            100..=199 if call.state == State::Calling => call.state = State::Proceeding,
            100..=199 => {}
            200..=299 => {
                let target = msg.uri_of("Contact").to_owned();
                let _ = socket.send_to(in_dialog(&call.invite, "ACK", 1, &target, &to).as_bytes(), from);
                if matches!(call.state, State::Calling | State::Proceeding) {
                    call.state = State::Up(to, target);
                }
            }
            status => {
                let uri = call.invite.split(' ').nth(1).unwrap_or_default();
                let ack = in_dialog(&call.invite, "ACK", 1, uri, &to).replace(";branch=z9hG4bK-ACK1-", ";branch=z9hG4bK-");
                let _ = socket.send_to(ack.as_bytes(), from);
                call.state = State::Refused(status);
            }
        }
    }

    fn on_time(&mut self, socket: &UdpSocket, gateway: SocketAddr) {
        for call in self.calls.values_mut() {
            let Some((_, wait)) = call.again.filter(|(at, _)| at.passed()) else { continue };
            let _ = socket.send_to(call.invite.as_bytes(), gateway);
            call.again = Some((Deadline::after(wait * 2), wait * 2));
        }
    }
}

/// A request in the dialog of an INVITE of ours.
fn in_dialog(invite: &str, method: &str, cseq: u32, target: &str, to: &str) -> String {
    let mut text = format!("{method} {target} SIP/2.0\r\n");
    for line in invite.lines().skip(1).take_while(|l| !l.is_empty()) {
        match line.split(':').next().unwrap_or_default() {
            "Via" => text += &format!("{}\r\n", line.replace("z9hG4bK-", &format!("z9hG4bK-{method}{cseq}-"))),
            "Max-Forwards" | "From" | "Call-ID" => text += &format!("{line}\r\n"),
            "To" => text += &format!("To: {to}\r\n"),
            "CSeq" => text += &format!("CSeq: {cseq} {method}\r\n"),
            _ => {}
        }
    }
    text + "Content-Length: 0\r\n\r\n"
}

/// An answer to a request.
fn answer(socket: &UdpSocket, to: &Message, status: &str, body: &str) -> Vec<u8> {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for (name, value) in &to.headers {
        match name.as_str() {
            "To" if to.tag_of("To").is_none() => text += &format!("To: {value};tag=taken\r\n"),
            "Via" | "From" | "To" | "Call-ID" | "CSeq" | "Record-Route" => text += &format!("{name}: {value}\r\n"),
            _ => {}
        }
    }
    text += &format!("Contact: <sip:agent@{}>\r\n", socket.local_addr().unwrap());
    if !body.is_empty() {
        text += "Content-Type: application/sdp\r\n";
    }
    text += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
    text.into_bytes()
}

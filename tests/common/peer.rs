//! A SIP speaker of a few lines, for what the peer programs do not say: it knows messages, no transactions, and does
//! nothing by itself except that it answers OPTIONS and skips byte-identical repeats.

use std::collections::{HashSet, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::clock::Deadline;
use super::message::Message;
use super::net::Transport;

/// A plain offer or answer.
pub const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 30000 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n";

/// How long the gateway may take for what it does at once.
pub const SOON: Duration = Duration::from_secs(4);

enum Wire {
    Udp(UdpSocket),
    Tcp { listener: Option<TcpListener>, stream: Option<TcpStream>, unread: Vec<u8> },
}

/// The speaker.
pub struct Peer {
    wire: Wire,
    address: SocketAddr,
    /// The transport's word in URIs, where it is another one than the wire's.
    word: Option<&'static str>,
    /// What stands in its Via and Contact instead of its address.
    host: Option<String>,
    waiting: VecDeque<Message>,
    seen: HashSet<Vec<u8>>,
    repeats: usize,
    /// The OPTIONS that was answered last.
    probe: Option<Message>,
}

impl Peer {
    /// A neighbour that waits for calls.
    pub fn at(transport: Transport, address: SocketAddr) -> Self {
        match transport {
            Transport::Udp => Self::udp(address),
            Transport::Tcp => Self::tcp_listener(address),
        }
    }

    /// A neighbour that calls the gateway: from this very address over UDP, from its IP address over TCP.
    pub fn calling(transport: Transport, address: SocketAddr, to: SocketAddr) -> Self {
        match transport {
            Transport::Udp => Self::udp(address),
            Transport::Tcp => Self::tcp_to(address.ip(), to),
        }
    }

    /// On a UDP socket.
    pub fn udp(address: SocketAddr) -> Self {
        let socket = UdpSocket::bind(address).unwrap_or_else(|e| panic!("{address}: {e}"));
        let address = socket.local_addr().unwrap();
        Self::new(Wire::Udp(socket), address)
    }

    /// Waits for a TCP connection when it first reads.
    pub fn tcp_listener(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap_or_else(|e| panic!("{address}: {e}"));
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        Self::new(Wire::Tcp { listener: Some(listener), stream: None, unread: Vec::new() }, address)
    }

    /// Connects by TCP from `ip`.
    pub fn tcp_to(ip: std::net::IpAddr, to: SocketAddr) -> Self {
        let domain = if ip.is_ipv4() { socket2::Domain::IPV4 } else { socket2::Domain::IPV6 };
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(ip, 0).into()).unwrap();
        socket.connect(&to.into()).unwrap_or_else(|e| panic!("{to}: {e}"));
        let stream: TcpStream = socket.into();
        let address = stream.local_addr().unwrap();
        Self::new(Wire::Tcp { listener: None, stream: Some(stream), unread: Vec::new() }, address)
    }

    /// Over a stream that somebody else has made, of a transport with that word in URIs.
    pub fn over(stream: TcpStream, address: SocketAddr, word: &'static str) -> Self {
        let wire = Wire::Tcp { listener: None, stream: Some(stream), unread: Vec::new() };
        Self { word: Some(word), ..Self::new(wire, address) }
    }

    /// Calls itself by this host in Via and Contact, as browsers do that know no address.
    pub fn calls_itself(self, host: &str) -> Self {
        Self { host: Some(host.to_owned()), ..self }
    }

    fn host(&self) -> String {
        self.host.clone().unwrap_or_else(|| self.address.to_string())
    }

    fn new(wire: Wire, address: SocketAddr) -> Self {
        Self { wire, address, word: None, host: None, waiting: VecDeque::new(), seen: HashSet::new(), repeats: 0, probe: None }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How it speaks.
    pub fn transport(&self) -> Transport {
        match self.wire {
            Wire::Udp(_) => Transport::Udp,
            Wire::Tcp { .. } => Transport::Tcp,
        }
    }

    /// How it speaks, as in `;transport=`.
    pub fn word(&self) -> &'static str {
        self.word.unwrap_or_else(|| self.transport().name())
    }

    /// How many byte-identical repeats it has skipped.
    pub fn repeats(&self) -> usize {
        self.repeats
    }

    /// Sends bytes; over TCP on the connection there is.
    pub fn send(&mut self, bytes: &[u8], to: SocketAddr) {
        match &mut self.wire {
            Wire::Udp(socket) => {
                socket.send_to(bytes, to).unwrap();
            }
            Wire::Tcp { stream, .. } => stream.as_mut().expect("a connection").write_all(bytes).unwrap(),
        }
    }

    /// The next request of that method; others wait for their turn.
    #[track_caller]
    pub fn request(&mut self, method: &str) -> Message {
        self.find(SOON, |m| m.is_request() && m.method() == method).unwrap_or_else(|| self.missing(method))
    }

    /// The same with a time limit of one's own; `None` when nothing came.
    pub fn request_within(&mut self, method: &str, within: Duration) -> Option<Message> {
        self.find(within, |m| m.is_request() && m.method() == method)
    }

    /// The next response to `method` with that status; provisional ones before it are skipped.
    #[track_caller]
    pub fn response(&mut self, method: &str, status: u16) -> Message {
        self.response_within(method, status, SOON)
    }

    /// The same with a time limit of one's own.
    #[track_caller]
    pub fn response_within(&mut self, method: &str, status: u16, within: Duration) -> Message {
        let found =
            self.find(within, |m| m.method() == method && (m.status() == status || (m.status() >= 200 && status != m.status())));
        let found = found.unwrap_or_else(|| self.missing(&format!("{status} to {method}")));
        assert_eq!(found.status(), status, "the answer to {method} at {}:\n{}", self.address, found.text());
        found
    }

    /// Any final response to `method`.
    #[track_caller]
    pub fn final_response(&mut self, method: &str, within: Duration) -> Message {
        self.find(within, |m| m.method() == method && m.status() >= 200).unwrap_or_else(|| self.missing("a final response"))
    }

    /// A final response to the request with this number, if one comes in time.
    pub fn answer_to(&mut self, method: &str, cseq: u32, within: Duration) -> Option<Message> {
        self.find(within, |m| m.method() == method && m.cseq() == cseq && m.status() >= 200)
    }

    /// Whether an OPTIONS of ours is answered with 200 in that time.
    pub fn answers_options_within(&mut self, within: Duration) -> bool {
        self.find(within, |m| !m.is_request() && m.method() == "OPTIONS" && m.status() == 200).is_some()
    }

    /// An OPTIONS, which it has answered by itself.
    #[track_caller]
    pub fn probe(&mut self) -> Message {
        let deadline = Deadline::after(SOON);
        while self.probe.is_none() && !deadline.passed() {
            self.read(deadline.left());
        }
        self.probe.take().unwrap_or_else(|| self.missing("OPTIONS"))
    }

    /// Nothing of that method comes in that time.
    #[track_caller]
    pub fn nothing(&mut self, method: &str, within: Duration) {
        if let Some(m) = self.request_within(method, within) {
            panic!("{} got an unwanted request:\n{}", self.address, m.text());
        }
    }

    /// Answers a request with a To tag, a Contact, and more header lines (each with its line end); with SDP where a body is given.
    pub fn reply(&mut self, request: &Message, status: &str, tag: &str, more: &str, body: &str) {
        let mut text = format!("SIP/2.0 {status}\r\n");
        for (name, value) in &request.headers {
            match name.to_ascii_lowercase().as_str() {
                "to" if request.tag_of("To").is_none() && !tag.is_empty() => text += &format!("To: {value};tag={tag}\r\n"),
                "via" | "from" | "to" | "call-id" | "cseq" | "record-route" => text += &format!("{name}: {value}\r\n"),
                _ => {}
            }
        }
        text += &format!("Contact: <{}>\r\n{more}", self.contact("callee"));
        text += &with_body(body);
        let to = request.from.expect("a received request");
        self.send(text.as_bytes(), to);
    }

    /// Answers INVITE with 200 and gives the dialog, in the callee's role.
    pub fn answer(&mut self, invite: &Message, tag: &str) -> Dialog {
        self.reply(invite, "200 OK", tag, "", SDP);
        Dialog::of_callee(invite, tag)
    }

    /// Sends an INVITE.
    pub fn invite(&mut self, call: &Outgoing) {
        let text = call.request(self, "INVITE");
        self.send(text.as_bytes(), call.to);
    }

    /// Sends a CANCEL for it.
    pub fn cancel(&mut self, call: &Outgoing) {
        let text = call.request(self, "CANCEL");
        self.send(text.as_bytes(), call.to);
    }

    /// Sends the ACK to a response: in its transaction for 300 to 699, in a new one for 2xx; gives the dialog then.
    pub fn ack(&mut self, call: &Outgoing, response: &Message) -> Dialog {
        let mut dialog = Dialog::of_caller(call, response);
        if response.status() >= 300 {
            let text = call
                .request(self, "ACK")
                .replace(&format!("To: <{}>\r\n", call.uri), &format!("To: {}\r\n", response.header("To")));
            self.send(text.as_bytes(), call.to);
        } else {
            dialog.cseq = call.cseq;
            let text = dialog.text(self, "ACK", call.cseq, "");
            self.send(text.as_bytes(), call.to);
        }
        dialog
    }

    /// Sends a request in a dialog.
    pub fn in_dialog(&mut self, dialog: &mut Dialog, method: &str, body: &str) {
        dialog.cseq += u32::from(method != "ACK");
        let text = dialog.text(self, method, dialog.cseq, body);
        self.send(text.as_bytes(), dialog.to);
    }

    /// A Contact or Via URI of ours.
    pub fn contact(&self, user: &str) -> String {
        format!("sip:{user}@{};transport={}", self.host(), self.word())
    }

    /// Closes its connection with a reset, and what it listened on.
    pub fn reset(&mut self) {
        if let Wire::Tcp { listener, stream, .. } = &mut self.wire {
            listener.take();
            if let Some(stream) = stream.take() {
                let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            }
        }
    }

    /// Closes its connection and goes on listening.
    pub fn drop_connection(&mut self) {
        if let Wire::Tcp { stream, .. } = &mut self.wire
            && let Some(stream) = stream.take()
        {
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    }

    fn via(&self, branch: &str) -> String {
        format!("Via: SIP/2.0/{} {};branch={branch};rport\r\n", self.word().to_uppercase(), self.host())
    }

    fn find(&mut self, within: Duration, wanted: impl Fn(&Message) -> bool) -> Option<Message> {
        let deadline = Deadline::after(within);
        loop {
            if let Some(at) = self.waiting.iter().position(&wanted) {
                return self.waiting.remove(at);
            }
            if deadline.passed() {
                return None;
            }
            self.read(deadline.left());
        }
    }

    fn read(&mut self, within: Duration) {
        let mut found = Vec::new();
        let slice = within.clamp(Duration::from_millis(1), Duration::from_millis(50));
        match &mut self.wire {
            Wire::Udp(socket) => {
                let mut buffer = vec![0; 65_535];
                socket.set_read_timeout(Some(slice)).unwrap();
                // A refused datagram of ours is told here; it is no answer.
                if let Ok((n, from)) = socket.recv_from(&mut buffer) {
                    found.push((buffer[..n].to_vec(), from));
                }
            }
            Wire::Tcp { listener, stream, unread } => {
                if let Some(Ok((new, _))) = listener.as_ref().map(TcpListener::accept) {
                    new.set_nonblocking(false).unwrap();
                    unread.clear();
                    *stream = Some(new);
                }
                let Some(stream) = stream.as_mut() else {
                    std::thread::sleep(Duration::from_millis(5));
                    return;
                };
                let mut buffer = [0; 16_384];
                stream.set_read_timeout(Some(slice)).unwrap();
                match stream.read(&mut buffer) {
                    Ok(n) => unread.extend_from_slice(&buffer[..n]),
                    Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                    Err(_) => {}
                }
                let from = stream.peer_addr().unwrap_or(self.address);
                loop {
                    while unread.starts_with(b"\r\n") {
                        unread.drain(..2);
                    }
                    let Some(length) = Message::length_in_stream(unread).filter(|&n| n <= unread.len()) else { break };
                    found.push((unread.drain(..length).collect(), from));
                }
            }
        }
        for (bytes, from) in found {
            self.take(&bytes, from);
        }
    }

    fn take(&mut self, bytes: &[u8], from: SocketAddr) {
        if bytes.iter().all(|&b| b == b'\r' || b == b'\n') {
            return;
        }
        let message = Message { from: Some(from), ..Message::parse(bytes) };
        if message.is_request() && message.method() == "OPTIONS" {
            self.reply(&message, "200 OK", "options", "", "");
            self.probe = Some(message);
            return;
        }
        if !self.seen.insert(bytes.to_vec()) {
            self.repeats += 1;
            return;
        }
        self.waiting.push_back(message);
    }

    #[track_caller]
    fn missing(&self, what: &str) -> ! {
        let waiting: Vec<_> = self.waiting.iter().map(|m| m.start.as_str()).collect();
        panic!("{} did not get {what}; what came: {waiting:?}", self.address);
    }
}

/// A call that a [`Peer`] makes.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The gateway.
    pub to: SocketAddr,
    /// Request-URI and To.
    pub uri: String,
    /// The user in From, P-Asserted-Identity and Contact.
    pub user: String,
    /// The host in From and P-Asserted-Identity.
    pub domain: String,
    /// More header lines, each with its line end.
    pub more: String,
    /// Content-Type of the body.
    pub content_type: String,
    /// The body.
    pub body: String,
    /// The INVITE's number.
    pub cseq: u32,
    /// Of the INVITE's transaction.
    pub branch: String,
    id: u32,
}

impl Outgoing {
    /// A call with an SDP offer, its ids new.
    pub fn new(to: SocketAddr, user: &str, uri: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            to,
            uri: uri.to_owned(),
            user: user.to_owned(),
            domain: "pbx.example.com".to_owned(),
            more: String::new(),
            content_type: "application/sdp".to_owned(),
            body: SDP.to_owned(),
            cseq: 1,
            branch: new_branch(),
            id,
        }
    }

    /// Adds a header line.
    pub fn header(mut self, line: &str) -> Self {
        self.more += &format!("{line}\r\n");
        self
    }

    fn from(&self) -> String {
        format!("<sip:{}@{}>;tag=c{}", self.user, self.domain, self.id)
    }

    fn call_id(&self) -> String {
        format!("{}-{}@test", std::process::id(), self.id)
    }

    /// INVITE, or CANCEL or ACK in its transaction.
    pub fn request(&self, peer: &Peer, method: &str) -> String {
        let mut text = format!("{method} {} SIP/2.0\r\n{}", self.uri, peer.via(&self.branch));
        text += &format!("Max-Forwards: 70\r\nFrom: {}\r\nTo: <{}>\r\n", self.from(), self.uri);
        text += &format!("Call-ID: {}\r\nCSeq: {} {method}\r\n", self.call_id(), self.cseq);
        if method != "INVITE" {
            return text + &with_body("");
        }
        text +=
            &format!("Contact: <{}>\r\nP-Asserted-Identity: <sip:{}@{}>\r\n", peer.contact(&self.user), self.user, self.domain);
        text += &self.more;
        text + &with_typed_body(&self.content_type, &self.body)
    }
}

/// A dialog as one side of it sees it (RFC 3261 section 12).
#[derive(Clone, Debug)]
pub struct Dialog {
    /// Where requests go.
    pub to: SocketAddr,
    /// From of our requests, with tag.
    pub local: String,
    /// To of our requests, with tag.
    pub remote: String,
    /// Its id.
    pub call_id: String,
    /// The other side's Contact.
    pub target: String,
    /// Our last number.
    pub cseq: u32,
}

impl Dialog {
    /// After a 2xx to our INVITE.
    pub fn of_caller(call: &Outgoing, response: &Message) -> Self {
        Self {
            to: call.to,
            local: call.from(),
            remote: response.header("To").to_owned(),
            call_id: call.call_id(),
            target: response.get("Contact").map_or_else(|| call.uri.clone(), |_| response.uri_of("Contact").to_owned()),
            cseq: call.cseq,
        }
    }

    /// After our 2xx with this tag.
    pub fn of_callee(invite: &Message, tag: &str) -> Self {
        Self {
            to: invite.from.expect("a received INVITE"),
            local: format!("{};tag={tag}", invite.header("To")),
            remote: invite.header("From").to_owned(),
            call_id: invite.header("Call-ID").to_owned(),
            target: invite.uri_of("Contact").to_owned(),
            cseq: 0,
        }
    }

    fn text(&self, peer: &Peer, method: &str, cseq: u32, body: &str) -> String {
        let mut text = format!("{method} {} SIP/2.0\r\n{}", self.target, peer.via(&new_branch()));
        text += &format!("Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\n", self.local, self.remote);
        text += &format!("Call-ID: {}\r\nCSeq: {cseq} {method}\r\nContact: <{}>\r\n", self.call_id, peer.contact("peer"));
        text + &with_body(body)
    }
}

fn new_branch() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("z9hG4bK-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn with_body(body: &str) -> String {
    if body.is_empty() { "Content-Length: 0\r\n\r\n".to_owned() } else { with_typed_body("application/sdp", body) }
}

fn with_typed_body(content_type: &str, body: &str) -> String {
    format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

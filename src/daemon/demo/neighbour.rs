//! A played SIP neighbour: a UDP socket, and the few messages that it says.
//!
//! Not a SIP stack: it keeps no transactions and sends nothing twice, because nothing is lost on loopback. What it
//! says is composed here as bytes; when it says it is the [`story`](super::story)'s business. Read [`Neighbour`] and
//! [`Dialog`] first.

use std::cell::Cell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use bytes::Bytes;

use super::ladder::Column;
use crate::sip::header::NameAddr;
use crate::sip::write::Writer;
use crate::sip::{Message, Method, Name};

/// A SIP neighbour of the daemon.
pub(super) struct Neighbour {
    /// Its place in the ladder.
    pub(super) column: Column,
    /// The user of its Contact, and of the origin in its SDP.
    user: &'static str,
    socket: UdpSocket,
    address: SocketAddr,
    /// Where it says that it speaks.
    port: u16,
    next: Cell<u32>,
}

/// A call that a neighbour makes.
pub(super) struct Call {
    /// Request-URI and To.
    pub(super) uri: String,
    /// The From, without its tag.
    pub(super) from: String,
    /// Unique.
    pub(super) call_id: String,
    /// Header fields besides.
    pub(super) more: Vec<(&'static str, String)>,
}

/// An answered call, as one side of it sees it (RFC 3261 section 12).
pub(super) struct Dialog {
    call_id: String,
    local: String,
    remote: String,
    target: String,
    cseq: u32,
}

const TAG: &str = "demo";
/// A port of which nobody hears anything.
const SILENT: u16 = 30_000;

impl Neighbour {
    /// Takes a port on loopback.
    pub(super) fn bind(column: Column, user: &'static str) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = socket.local_addr()?;
        Ok(Self { column, user, socket, address, port: SILENT, next: Cell::new(1) })
    }

    /// The same, with its audio at this port.
    pub(super) fn speaking_at(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// Where it is.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends bytes.
    pub(super) fn send(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        self.socket.send_to(bytes, to).map(|_| ())
    }

    /// Hands on what comes, for as long as somebody wants it; in a thread of its own.
    pub(super) fn listen(&self, deliver: impl Fn(Bytes) -> bool + Send + 'static) -> io::Result<()> {
        let socket = self.socket.try_clone()?;
        std::thread::spawn(move || {
            let mut buffer = vec![0; 65_535];
            loop {
                // An error tells of a datagram that nobody took: the story misses the answer by itself.
                let Ok((n, _)) = socket.recv_from(&mut buffer) else { continue };
                if !deliver(Bytes::copy_from_slice(buffer.get(..n).unwrap_or_default())) {
                    return;
                }
            }
        });
        Ok(())
    }

    /// The INVITE of a call, with an SDP offer.
    pub(super) fn invite(&self, call: &Call) -> Bytes {
        let mut w = self.request("INVITE", &call.uri);
        w.header_fmt("From", format_args!("{};tag={TAG}", call.from));
        w.header_fmt("To", format_args!("<{}>", call.uri));
        w.header("Call-ID", call.call_id.as_bytes()).header("CSeq", b"1 INVITE");
        w.header("Contact", self.contact().as_bytes());
        for (name, value) in &call.more {
            w.header(name, value.as_bytes());
        }
        w.header("Content-Type", b"application/sdp");
        w.finish_body(self.sdp().as_bytes())
    }

    /// A response to a request; with these header fields, and SDP where it answers an INVITE.
    pub(super) fn respond(&self, request: &Message, status: u16, reason: &str, more: &[(&str, &str)]) -> Bytes {
        let mut w = Writer::response(status, reason.as_bytes());
        for h in request.headers() {
            match h.name {
                Name::To if request.to_tag().is_none() => {
                    w.header_parts("To", &[request.value(h), b";tag=", TAG.as_bytes()]);
                }
                Name::Via | Name::From | Name::To | Name::CallId | Name::CSeq => {
                    w.copy(request, h);
                }
                _ => {}
            }
        }
        for (name, value) in more {
            w.header(name, value.as_bytes());
        }
        let takes_call = request.method() == Method::Invite && status < 300;
        if !takes_call {
            return w.finish();
        }
        w.header("Contact", self.contact().as_bytes());
        if status < 200 {
            return w.finish();
        }
        w.header("Content-Type", b"application/sdp");
        w.finish_body(self.sdp().as_bytes())
    }

    /// A request in a dialog: ACK, or one that counts.
    pub(super) fn in_dialog(&self, dialog: &mut Dialog, method: &str) -> Bytes {
        if method != "ACK" {
            dialog.cseq += 1;
        }
        let mut w = self.request(method, &dialog.target);
        w.header("From", dialog.local.as_bytes()).header("To", dialog.remote.as_bytes());
        w.header("Call-ID", dialog.call_id.as_bytes());
        w.header_fmt("CSeq", format_args!("{} {method}", dialog.cseq));
        w.finish()
    }

    /// The ACK of a refusal, which belongs to the transaction of its INVITE (RFC 3261 section 17.1.1.3).
    pub(super) fn ack_refusal(&self, invite: &Bytes, refusal: &Message) -> Option<Bytes> {
        let invite = Message::scan(invite.clone()).ok()?;
        let mut w = Writer::request(b"ACK", invite.uri());
        w.header("Via", invite.get(Name::Via)?).header("From", invite.get(Name::From)?);
        w.header("To", refusal.get(Name::To)?).header("Call-ID", invite.call_id()).header("CSeq", b"1 ACK");
        w.header_num("Max-Forwards", 70);
        Some(w.finish())
    }

    fn request(&self, method: &str, uri: &str) -> Writer {
        let branch = self.next.replace(self.next.get() + 1);
        let mut w = Writer::request(method.as_bytes(), uri.as_bytes());
        w.header_fmt("Via", format_args!("SIP/2.0/UDP {};branch=z9hG4bK-{branch};rport", self.address));
        w.header_num("Max-Forwards", 70);
        w
    }

    fn contact(&self) -> String {
        format!("<sip:{}@{}>", self.user, self.address)
    }

    fn sdp(&self) -> String {
        let (user, ip, port) = (self.user, self.address.ip(), self.port);
        format!(
            "v=0\r\no={user} 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
        )
    }
}

impl Dialog {
    /// For the side that answered this INVITE.
    pub(super) fn of_callee(invite: &Message) -> Self {
        Self {
            call_id: text(invite.call_id()),
            local: format!("{};tag={TAG}", field(invite, Name::To)),
            remote: field(invite, Name::From),
            target: target(invite),
            cseq: 0,
        }
    }

    /// For the side whose INVITE was answered so.
    pub(super) fn of_caller(answer: &Message) -> Self {
        Self {
            call_id: text(answer.call_id()),
            local: field(answer, Name::From),
            remote: field(answer, Name::To),
            target: target(answer),
            cseq: 1,
        }
    }

    /// Its Call-ID.
    pub(super) fn call_id(&self) -> &str {
        &self.call_id
    }
}

fn field(msg: &Message, name: Name) -> String {
    text(msg.get(name).unwrap_or_default())
}

fn target(msg: &Message) -> String {
    msg.get(Name::Contact).and_then(NameAddr::parse).map(|n| text(n.uri)).unwrap_or_default()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned(bytes: Bytes) -> Message {
        let msg = Message::scan(bytes).expect("a message");
        assert!(msg.faults().is_clean(), "{:?}", msg.faults());
        msg
    }

    #[test]
    fn what_a_neighbour_says_is_sound_sip() {
        let alice = Neighbour::bind(Column::Pbx, "alice").unwrap();
        let bob = Neighbour::bind(Column::CarrierB, "bob").unwrap();
        let call = Call {
            uri: format!("sip:911@{}", bob.address()),
            from: "\"Alice\" <sip:alice@pbx.example.com>".into(),
            call_id: "1@pbx".into(),
            more: vec![("Priority", "normal".into())],
        };
        let bytes = alice.invite(&call);
        let invite = scanned(bytes.clone());
        assert_eq!(invite.get(Name::Priority), Some(&b"normal"[..]));
        let answer = scanned(bob.respond(&invite, 200, "OK", &[("Allow", "INVITE")]));
        assert_eq!((answer.status(), answer.to_tag(), answer.body().is_empty()), (200, Some(&b"demo"[..]), false));
        let ack = scanned(alice.in_dialog(&mut Dialog::of_caller(&answer), "ACK"));
        assert_eq!((ack.cseq(), ack.to_tag()), (Some((1, &b"ACK"[..])), Some(&b"demo"[..])));
        let bye = scanned(bob.in_dialog(&mut Dialog::of_callee(&invite), "BYE"));
        assert_eq!((bye.cseq(), bye.from_tag(), bye.to_tag()), (Some((1, &b"BYE"[..])), Some(&b"demo"[..]), Some(&b"demo"[..])));
        let busy = scanned(bob.respond(&invite, 486, "Busy Here", &[]));
        assert!(busy.body().is_empty());
        let ack = scanned(alice.ack_refusal(&bytes, &busy).unwrap());
        assert_eq!(ack.top_via().and_then(|v| v.branch()), invite.top_via().and_then(|v| v.branch()));
    }
}

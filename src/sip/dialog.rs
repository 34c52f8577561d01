//! A dialog: what both ends must remember to go on talking (RFC 3261 section 12).

use super::flow::{Flow, Locals, Transport};
use super::header::{NameAddr, split_params, values};
use super::ids::Id;
use super::scan::{Message, Name, is_call_id, is_name_addr, is_request_uri};
use super::{ClientKey, DialogKey, ServerKey};
use crate::words::uri::Uri;
use bytes::Bytes;
use smallvec::SmallVec;
use std::net::IpAddr;

/// One side of a dialog, early or confirmed.
#[derive(Clone)]
pub struct Dialog<O> {
    /// Whose it is.
    pub owner: O,
    /// Call-ID.
    pub call_id: Bytes,
    /// Our tag.
    pub local_tag: Id,
    /// Our From or To value, without its tag.
    pub local: Bytes,
    /// Their From or To value, with its tag once there is one.
    pub remote: Bytes,
    /// Their tag; empty until a response brought one.
    pub remote_tag: Bytes,
    /// The CSeq of our last request.
    pub local_seq: u32,
    /// The CSeq of their last request.
    pub remote_seq: Option<u32>,
    /// Route values, nearest first.
    pub routes: SmallVec<[Bytes; 1]>,
    /// The URI that requests go to.
    pub target: Bytes,
    /// The next hop.
    pub flow: Flow,
    /// Where the far end is known to be whatever its Contact says: the neighbour's configured address.
    pub home: Option<Flow>,
    /// Whether requests go along `flow` even where the target names an address: a phone behind a NAT is reached by the
    /// way it came, whatever it calls itself. A route set counts all the same.
    pub along_flow: bool,
    /// Whose credentials answer challenges in it, by the owner's number.
    pub account: Option<u16>,
    /// The header field that answered a challenge to the INVITE; its ACK says the same (RFC 3261 section 13.2.2.4).
    pub credentials: Bytes,
    /// Our Contact value.
    pub contact: Bytes,
    /// Whether a 2xx was sent or received.
    pub confirmed: bool,
    /// The INVITE from us that was answered last: its ACK is sent again with its 2xx.
    pub invite: Option<ClientKey>,
    /// The CSeq of that INVITE.
    pub invite_seq: u32,
    /// The last UPDATE from us.
    pub update: Option<ClientKey>,
    /// Other early dialogs of the same INVITE, which have this one's tag of ours.
    pub forks: SmallVec<[DialogKey; 0]>,
    /// The INVITE to us whose 2xx waits for its ACK.
    pub answered: Option<ServerKey>,
    /// Hung up by us before that ACK came: the BYE waits for it. Holds the Reason value.
    pub ending: Option<Bytes>,
    /// The ACK of our INVITE's 2xx is to bring an answer that has not come yet.
    pub owes_answer: bool,
}

/// What a message says about its sender's side of a dialog.
pub struct Peer {
    /// From or To, with its tag.
    pub value: Bytes,
    /// The tag.
    pub tag: Bytes,
    /// Contact URI, where there was one.
    pub target: Option<Bytes>,
    /// Record-Route values in our order.
    pub routes: SmallVec<[Bytes; 1]>,
}

impl Peer {
    /// The sender of an INVITE to us.
    pub fn of_request(msg: &Message) -> Self {
        Self::read(msg, Name::From, false)
    }

    /// The sender of a response to an INVITE of ours: the route set is reversed (RFC 3261 section 12.1.2).
    pub fn of_response(msg: &Message) -> Self {
        Self::read(msg, Name::To, true)
    }

    fn read(msg: &Message, who: Name, reversed: bool) -> Self {
        let value = msg.get(who).unwrap_or_default();
        let tag = NameAddr::parse(value).and_then(|n| n.tag()).unwrap_or_default();
        let mut routes: SmallVec<[Bytes; 1]> = msg
            .all(Name::RecordRoute)
            .flat_map(values)
            .filter(|v| is_name_addr(v))
            .map(|v| msg.bytes().slice_ref(v))
            .map(compact)
            .collect();
        if reversed {
            routes.reverse();
        }
        Self { value: repaired(value), tag: Bytes::copy_from_slice(tag), target: contact_uri(msg), routes }
    }
}

impl<O> Dialog<O> {
    /// One in which nothing was said yet.
    pub(super) fn blank(owner: O, local_tag: Id, flow: Flow) -> Self {
        Self {
            owner,
            call_id: Bytes::new(),
            local_tag,
            local: Bytes::new(),
            remote: Bytes::new(),
            remote_tag: Bytes::new(),
            local_seq: 0,
            remote_seq: None,
            routes: SmallVec::new(),
            target: Bytes::new(),
            flow,
            home: None,
            along_flow: false,
            account: None,
            credentials: Bytes::new(),
            contact: Bytes::new(),
            confirmed: false,
            invite: None,
            invite_seq: 0,
            update: None,
            forks: SmallVec::new(),
            answered: None,
            ending: None,
            owes_answer: false,
        }
    }

    /// A response from the far end: its tag, its target, its routes. The route set is fixed by the 2xx.
    pub fn learn(&mut self, peer: Peer, confirmed: bool) {
        if self.confirmed {
            self.refresh(peer.target);
            return;
        }
        self.remote = peer.value;
        self.remote_tag = peer.tag;
        self.routes = peer.routes;
        self.confirmed = confirmed;
        self.refresh(peer.target);
    }

    /// Whether requests can be sent in it: without a Call-ID that can be repeated nobody would know them.
    pub fn is_addressable(&self) -> bool {
        !self.call_id.is_empty() && is_call_id(&self.call_id)
    }

    /// A target refresh (RFC 3261 section 12.2).
    pub fn refresh(&mut self, target: Option<Bytes>) {
        if let Some(target) = target {
            self.target = target;
        }
    }

    /// The URI of the first route, where that is a strict router: one without `lr` (RFC 3261 section 16.12).
    pub(super) fn strict_router(&self) -> Option<&[u8]> {
        let uri = NameAddr::parse(self.routes.first()?)?.uri;
        Uri::parse(uri)?.param("lr").is_none().then_some(uri)
    }

    /// The ways that a request may take once `hop` has failed, the last one first. What begins a dialog takes none: whom
    /// to try next is for others to decide.
    pub(super) fn other_ways(&self, hop: Flow) -> Vec<Flow> {
        if self.remote_tag.is_empty() {
            return Vec::new();
        }
        let same = |f: &Flow| f.transport == hop.transport && f.listener == hop.listener;
        let home = self.home.filter(|f| same(f) && f.remote != hop.remote).map(|f| Flow { connection: 0, ..f });
        let anew = (hop.connection != 0).then_some(Flow { connection: 0, ..hop });
        home.into_iter().chain(anew).collect()
    }

    /// Where the next request goes: the first route, else the target, where that is an address; else back along the
    /// flow on which the dialog came to be. A stream's connection is reused while it is open.
    pub fn next_hop(&self, locals: &Locals) -> Flow {
        let route = self.routes.first().and_then(|r| NameAddr::parse(r)).map(|n| n.uri);
        if route.is_none() && self.along_flow {
            return self.flow;
        }
        let Some(uri) = Uri::parse(route.unwrap_or(&self.target)) else { return self.flow };
        let Some(remote) = uri.socket_addr().filter(|at| is_somebodys(at.ip())) else { return self.flow };
        let asked = Transport::asked_by(&uri);
        // What began over TLS stays there; and nobody but the far end can open a WebSocket.
        let stays = self.flow.transport.is_secure() || self.flow.transport.is_theirs_to_open();
        let transport = match asked {
            Some(t) if !stays && !t.is_theirs_to_open() => t,
            _ if self.flow.transport.is_theirs_to_open() => return self.flow,
            _ if self.flow.transport.is_reliable() => return Flow { remote, ..self.flow },
            _ => Transport::Udp,
        };
        if transport == self.flow.transport {
            return Flow { remote, ..self.flow };
        }
        locals.towards(transport, remote).unwrap_or(self.flow)
    }
}

/// Whether one host can have this address.
fn is_somebodys(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}

/// The Contact URI of a message as a Request-URI, in bytes of its own; `None` also where it could be none.
pub fn contact_uri(msg: &Message) -> Option<Bytes> {
    let first = values(msg.get(Name::Contact)?).next()?;
    request_uri(NameAddr::parse(first)?.uri)
}

/// An address as a Request-URI, which has no header fields (RFC 3261 section 19.1.5).
pub(super) fn request_uri(uri: &[u8]) -> Option<Bytes> {
    let uri = uri.split(|&c| c == b'?').next()?;
    is_request_uri(uri).then(|| Bytes::copy_from_slice(uri))
}

/// A From or To value that our requests can repeat: as it came where it is sound, else what can be saved of it (RULES R4).
pub(super) fn repaired(value: &[u8]) -> Bytes {
    if is_name_addr(value) {
        return Bytes::copy_from_slice(value);
    }
    let parsed = NameAddr::parse(value);
    let uri = parsed.and_then(|n| request_uri(n.uri));
    let mut out = [b"<", uri.as_deref().unwrap_or(NOBODY), b">"].concat();
    if let Some(tag) = parsed.and_then(|n| n.tag()) {
        let tagged = [&out[..], b";tag=", tag].concat();
        out = if is_name_addr(&tagged) { tagged } else { out };
    }
    out.into()
}

/// A From or To value without its tag, every other byte kept.
pub fn without_tag(value: &[u8]) -> Bytes {
    let Some(parsed) = NameAddr::parse(value).filter(|n| n.tag().is_some()) else { return Bytes::copy_from_slice(value) };
    let params_at = value.len() - parsed.params.len();
    let mut out = Vec::with_capacity(value.len());
    out.extend_from_slice(value[..params_at].trim_ascii_end());
    if out.last() == Some(&b';') {
        out.pop();
    }
    for param in split_params(parsed.params) {
        let name = param.split(|b| *b == b'=').next().unwrap_or_default().trim_ascii();
        if !name.eq_ignore_ascii_case(b"tag") && !name.is_empty() {
            out.push(b';');
            out.extend_from_slice(param);
        }
    }
    out.into()
}

/// RFC 3323 section 4.1.1.3
const NOBODY: &[u8] = b"sip:anonymous@anonymous.invalid";

/// A dialog outlives the packet it came from by hours: it must not keep it in memory.
fn compact(b: Bytes) -> Bytes {
    Bytes::copy_from_slice(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r4_what_our_requests_repeat_is_sound() {
        for (value, want) in [
            ("\"A\" <sip:a@b;x=1?h=2>;tag=1", "\"A\" <sip:a@b;x=1?h=2>;tag=1"),
            ("\"A <sip:a@b>;tag=1", "<sip:a@b>;tag=1"),
            ("<sip:a@b>;tag=\"x", "<sip:a@b>;tag=x"),
            ("<sip:a@b>;tag=\"x y", "<sip:a@b>"),
            ("<sip:a b@c>;tag=1", "<sip:anonymous@anonymous.invalid>;tag=1"),
            ("sip:a@b?h=2;tag=1", "<sip:a@b>;tag=1"),
            ("", "<sip:anonymous@anonymous.invalid>"),
        ] {
            assert_eq!(repaired(value.as_bytes()), want, "{value}");
            assert!(is_name_addr(&repaired(value.as_bytes())));
        }
    }

    #[test]
    fn a_contact_becomes_a_request_uri_without_header_fields() {
        for (contact, want) in [
            ("\"A\" <sip:a@b;lr?x=y>;q=1, <sip:c@d>", Some("sip:a@b;lr")),
            ("<sip:a b@c>", None),
            ("*", None),
            ("<tel:+1425>", Some("tel:+1425")),
        ] {
            let msg = Message::scan(format!("SIP/2.0 200 OK\r\nm: {contact}\r\n\r\n").into()).expect("a start line");
            assert_eq!(contact_uri(&msg).as_deref(), want.map(str::as_bytes), "{contact}");
        }
    }
}

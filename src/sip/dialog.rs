//! A dialog: what both ends must remember to go on talking (RFC 3261 section 12).

use super::flow::{Flow, Locals, Transport};
use super::header::{NameAddr, values};
use super::ids::Id;
use super::scan::{Message, Name};
use super::{ClientKey, ServerKey};
use crate::words::uri::Uri;
use bytes::Bytes;
use smallvec::SmallVec;

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
    /// Our Contact value.
    pub contact: Bytes,
    /// Whether a 2xx was sent or received.
    pub confirmed: bool,
    /// The INVITE from us that was answered last: its ACK is sent again with its 2xx.
    pub invite: Option<ClientKey>,
    /// The CSeq of that INVITE.
    pub invite_seq: u32,
    /// The INVITE to us whose 2xx waits for its ACK.
    pub answered: Option<ServerKey>,
    /// Hung up by us before that ACK came: the BYE waits for it. Holds the Reason value.
    pub ending: Option<Bytes>,
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
        let mut routes: SmallVec<[Bytes; 1]> =
            msg.all(Name::RecordRoute).flat_map(values).map(|v| msg.bytes().slice_ref(v)).map(compact).collect();
        if reversed {
            routes.reverse();
        }
        Self { value: Bytes::copy_from_slice(value), tag: Bytes::copy_from_slice(tag), target: contact_uri(msg), routes }
    }
}

impl<O> Dialog<O> {
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

    /// A target refresh (RFC 3261 section 12.2).
    pub fn refresh(&mut self, target: Option<Bytes>) {
        if let Some(target) = target {
            self.target = target;
        }
    }

    /// Where the next request goes: the first route, else the target, where that is an address; else back along the
    /// flow on which the dialog came to be. A stream's connection is reused while it is open.
    pub fn next_hop(&self, locals: &Locals) -> Flow {
        let route = self.routes.first().and_then(|r| NameAddr::parse(r)).map(|n| n.uri);
        let Some(uri) = Uri::parse(route.unwrap_or(&self.target)) else { return self.flow };
        let Some(remote) = uri.socket_addr() else { return self.flow };
        let transport = match uri.param("transport") {
            Some(t) if t.eq_ignore_ascii_case(b"tcp") => Transport::Tcp,
            Some(t) if t.eq_ignore_ascii_case(b"udp") => Transport::Udp,
            _ if self.flow.transport.is_reliable() => return Flow { remote, ..self.flow },
            _ => Transport::Udp,
        };
        if transport == self.flow.transport {
            return Flow { remote, ..self.flow };
        }
        locals.towards(transport, remote).unwrap_or(self.flow)
    }
}

/// The Contact URI of a message, in bytes of its own.
pub fn contact_uri(msg: &Message) -> Option<Bytes> {
    let first = values(msg.get(Name::Contact)?).next()?;
    let uri = NameAddr::parse(first)?.uri;
    (!uri.is_empty() && uri != b"*").then(|| Bytes::copy_from_slice(uri))
}

/// A dialog outlives the packet it came from by hours: it must not keep it in memory.
fn compact(b: Bytes) -> Bytes {
    Bytes::copy_from_slice(&b)
}

//! Neighbours as the wire sees them: where they are, and to which shard what they send belongs.

use super::anchor::Srtp;
use super::registration::Registering;
use super::shard::{Setup, Shard};
use super::sources::Sources;
use crate::emergency::caller::number_in;
use crate::emergency::facts::{AgentId, Called, Origin, PeerId};
use crate::emergency::lane::Lane;
use crate::sip::header::{NameAddr, values};
use crate::sip::ids::{Ids, Kind};
use crate::sip::{Flow, Message, Method, Name, Transport};
use crate::words::{Country, E164, Private};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// One neighbour's address.
#[derive(Clone, Debug)]
pub struct Link {
    /// Its name in the config.
    pub name: String,
    /// The way to it; nowhere while nobody knows where its name leads.
    pub flow: Flow,
    /// All ways to it in the order in which they are tried, where it has a name; `flow` is one of them.
    pub ways: Vec<Flow>,
    /// `host[:port]` as it stands in URIs.
    pub host: String,
    /// Whether its URI is `sips:`.
    pub sips: bool,
    /// How often it is asked for its health; `None`: never.
    pub probe: Option<Duration>,
    /// What answers its challenges.
    pub credentials: Option<Arc<Credentials>>,
    /// Whether we register there; needs `credentials`.
    pub register: Option<Registering>,
    /// How its audio goes.
    pub media: MediaPolicy,
    /// Whether it may ask us to hold ordinary calls back (RFC 7339).
    pub overload_control: bool,
}

/// How the audio of a neighbour goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MediaPolicy {
    /// Through us (`media = "anchor"`).
    pub anchor: bool,
    /// Encrypted, where it goes through us.
    pub srtp: Srtp,
    /// A browser is there: through us in any case, with its own way of finding and of keys.
    pub ice: bool,
}

/// A trunk's `username` and `password`.
#[derive(Debug)]
pub struct Credentials {
    /// The user name in its realm.
    pub user: Private<String>,
    /// The password.
    pub password: Private<String>,
}

impl Link {
    /// The URI of a user there; see [`Link::scheme`].
    pub fn uri(&self, user: &str, protected: bool) -> String {
        self.uri_by(self.flow, user, protected)
    }

    /// The same where another way is taken.
    pub fn uri_by(&self, way: Flow, user: &str, protected: bool) -> String {
        let at = if user.is_empty() { "" } else { "@" };
        let scheme = if self.sips || protected && way.transport.is_secure() { "sips" } else { "sip" };
        format!("{scheme}:{}{at}{}{}", escaped(user), self.host, way.transport.uri_param())
    }

    /// All ways to it, the first one first.
    pub fn all_ways(&self) -> &[Flow] {
        if self.ways.is_empty() { std::slice::from_ref(&self.flow) } else { &self.ways }
    }

    /// The scheme of its URIs; `protected` where the call came by `sips:`, which stays so as long as there is TLS.
    pub fn scheme(&self, protected: bool) -> &'static str {
        if self.sips || protected && self.flow.transport.is_secure() { "sips" } else { "sip" }
    }
}

/// A user as it may stand in a URI: what may not is escaped, what was escaped stays so (RFC 3261 section 25.1).
pub(super) fn escaped(user: &str) -> Cow<'_, str> {
    let fit = |b: u8| b.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/%".contains(&b);
    if user.bytes().all(fit) {
        return Cow::Borrowed(user);
    }
    let mut out = String::with_capacity(user.len() + 8);
    for b in user.bytes() {
        match fit(b) {
            true => out.push(char::from(b)),
            false => {
                let _ = write!(out, "%{b:02X}");
            }
        }
    }
    out.into()
}

/// All neighbours.
#[derive(Clone, Debug, Default)]
pub struct Links {
    /// In the order of `Site::trunks`.
    pub trunks: Vec<Link>,
    /// In the order of `Site::peers`.
    pub peers: Vec<Link>,
    /// Who sends from where.
    pub sources: Arc<Sources>,
    /// `node.domain`: the host in From and P-Asserted-Identity.
    pub domain: String,
    /// `routing.inbound`.
    pub inbound: Option<PeerId>,
    /// The numbers of agents who may register, and their places: ordinary calls to them go to their devices.
    pub phones: Arc<HashMap<E164, AgentId>>,
    /// Where the names in URIs of devices, alternates and desks lead, by URI, in the order in which it is tried.
    pub hosts: Arc<HashMap<String, Vec<Flow>>>,
}

impl Links {
    /// Whether this is a peer's own address, not that of some phone of its network.
    pub(super) fn is_a_neighbours_own(&self, flow: Flow) -> bool {
        let same = |at: SocketAddr| match flow.transport {
            Transport::Udp => at == flow.remote,
            _ => at.ip() == flow.remote.ip(),
        };
        flow.name > 0 || self.peers.iter().any(|p| same(p.flow.remote))
    }
}

impl Links {
    /// Where a neighbour is, whatever its messages say.
    pub(super) fn home(&self, origin: Origin) -> Option<Flow> {
        let link = match origin {
            Origin::Peer(p) | Origin::Both(p, _) => self.peers.get(usize::from(p.0)),
            Origin::Trunk(t) => self.trunks.get(usize::from(t.0)),
            Origin::Agent(_) | Origin::Stranger => None,
        };
        link.map(|l| l.flow)
    }
}

/// The URIs of a message that may name the number dialed (RULES L10), without their brackets.
pub(super) struct CalledUris<'a> {
    request_uri: &'a [u8],
    others: SmallVec<[&'a [u8]; 4]>,
    country: Option<Country>,
}

impl<'a> CalledUris<'a> {
    pub(super) fn of(msg: &'a Message) -> Self {
        let mut others = SmallVec::new();
        for name in [Name::PCalledPartyId, Name::To, Name::HistoryInfo, Name::Diversion] {
            others.extend(msg.all(name).flat_map(values).filter_map(NameAddr::parse).map(|n| n.uri));
        }
        let told = msg.get(Name::XEmergencyCountry).and_then(|v| std::str::from_utf8(v).ok());
        Self { request_uri: msg.uri(), others, country: told.and_then(Country::parse) }
    }

    pub(super) fn called(&self) -> Called<'_> {
        Called { request_uri: self.request_uri, others: &self.others, country: self.country }
    }
}

/// Tells which shard a message belongs to: emergencies, callbacks and all that follows from them go to shard 0.
///
/// The answer is the same for an INVITE and its copies; a CANCEL and the ACK of an error follow their INVITE, of which they
/// repeat too little to be sorted by themselves.
pub struct Classifier {
    ids: Ids,
    secret: u64,
    pub(super) shards: u8,
    pub(super) sources: Arc<Sources>,
    /// Ordinary calls to these numbers may go to registered devices, which shard 0 knows.
    phones: HashSet<E164>,
    pub(super) lane: Arc<Lane>,
}

impl Classifier {
    pub(super) fn new(setup: &Setup, lane: Arc<Lane>) -> Self {
        Self {
            ids: Ids::new(setup.secret, setup.era, 0),
            secret: setup.secret,
            shards: setup.shards.max(1),
            sources: Arc::clone(&setup.links.sources),
            phones: setup.links.phones.keys().copied().collect(),
            lane,
        }
    }

    /// The shard of this message. `first` is shard 0.
    pub fn shard(&self, flow: Flow, msg: &Message, first: &Shard) -> u8 {
        if !msg.is_request() {
            return branch_of(msg).and_then(|b| self.ids.shard_of(Kind::Branch, b, self.shards)).unwrap_or(0);
        }
        if let Some(shard) = msg.to_tag().and_then(|t| self.ids.shard_of(Kind::Tag, t, self.shards)) {
            return shard;
        }
        let first_ones = match msg.method() {
            _ if self.shards == 1 => true,
            Method::Invite => {
                let origin = self.sources.of(flow);
                // Whoever is no neighbour may be an agent by now: shard 0 knows, and answers strangers without keeping anything.
                origin == Origin::Stranger
                    || self.lane.concerns(origin, &CalledUris::of(msg).called())
                    || self.may_ring_a_phone(origin, msg)
                    || is_an_instances(msg.uri())
            }
            Method::Cancel | Method::Ack => first.has_invite_of(msg),
            _ => true,
        };
        if first_ones {
            return 0;
        }
        let mut h = DefaultHasher::new();
        h.write_u64(self.secret);
        h.write(msg.call_id());
        1 + (h.finish() % u64::from(self.shards - 1)) as u8
    }

    /// Whether whoever is at the other end is a peer or a trunk.
    pub fn is_neighbours(&self, flow: Flow) -> bool {
        self.sources.of(flow) != Origin::Stranger
    }

    /// Whether it belongs to something of ours: a response to what we sent, or a request in a dialog of ours.
    pub fn is_of_ours(&self, msg: &Message) -> bool {
        let (kind, id) = if msg.is_request() { (Kind::Tag, msg.to_tag()) } else { (Kind::Branch, branch_of(msg)) };
        id.is_some_and(|id| self.ids.maker(kind, id).is_some())
    }

    fn may_ring_a_phone(&self, origin: Origin, msg: &Message) -> bool {
        let inbound = matches!(origin, Origin::Trunk(_) | Origin::Both(..));
        inbound && !self.phones.is_empty() && number_in(msg.uri()).is_some_and(|n| self.phones.contains(&n))
    }
}

/// The branch of the topmost Via, without the cookie of RFC 3261.
fn branch_of(msg: &Message) -> Option<&[u8]> {
    msg.top_via()?.branch()?.strip_prefix(crate::sip::ids::COOKIE)
}

/// Whether this may be a GRUU: the instance of somebody (RFC 5627).
fn is_an_instances(uri: &[u8]) -> bool {
    memchr::memmem::find(uri, b";gr=").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_escaped_where_a_uri_wants_it() {
        for (user, want) in
            [("bob", "bob"), ("+1(425)", "+1(425)"), ("a%20b", "a%20b"), ("a <b@c>:d", "a%20%3Cb%40c%3E%3Ad"), ("é", "%C3%A9")]
        {
            assert_eq!(escaped(user), want, "{user}");
        }
    }
}

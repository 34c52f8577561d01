//! Neighbours as the wire sees them: where they are, and which packets come from them.

use super::anchor::Srtp;
use super::registration::Registering;
use super::shard::{Setup, Shard};
use crate::emergency::caller::number_in;
use crate::emergency::facts::{AgentId, Called, Origin, PeerId, TrunkId};
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
use std::net::{IpAddr, SocketAddr};
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
}

/// How the audio of a neighbour goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MediaPolicy {
    /// Through us (`media = "anchor"`).
    pub anchor: bool,
    /// Encrypted, where it goes through us.
    pub srtp: Srtp,
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

/// An address that messages come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A host, whatever its port.
    Host(IpAddr),
    /// A network: address and prefix length.
    Network(IpAddr, u8),
    /// One port of a host. Ports count on UDP only.
    Socket(SocketAddr),
    /// Whoever has proved to be this name of a certificate: see [`Flow::name`].
    Name(u16),
}

/// Which neighbour a source belongs to; the most specific entry wins.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    sockets: HashMap<SocketAddr, Origin>,
    hosts: HashMap<IpAddr, Origin>,
    /// Longest prefix first.
    networks: Vec<(IpAddr, u8, Origin)>,
    /// By the place of their certificate names, from 1.
    names: HashMap<u16, Origin>,
}

impl Sources {
    /// From each peer's and each trunk's list, in the order of the site.
    pub fn new(peers: &[Vec<Source>], trunks: &[Vec<Source>]) -> Self {
        let mut all = Self::default();
        let peers = (0u16..).map(|i| Origin::Peer(PeerId(i))).zip(peers);
        let trunks = (0u16..).map(|i| Origin::Trunk(TrunkId(i))).zip(trunks);
        for (origin, sources) in peers.chain(trunks) {
            for source in sources {
                all.add(*source, origin);
            }
        }
        all.networks.sort_by_key(|n| std::cmp::Reverse(n.1));
        all
    }

    /// Who this is.
    pub fn origin(&self, transport: Transport, from: SocketAddr) -> Origin {
        let ip = from.ip().to_canonical();
        let socket = (transport == Transport::Udp).then(|| self.sockets.get(&SocketAddr::new(ip, from.port()))).flatten();
        let host = || self.hosts.get(&ip);
        let network = || self.networks.iter().find(|(net, len, _)| within(ip, *net, *len)).map(|n| &n.2);
        socket.or_else(host).or_else(network).copied().unwrap_or(Origin::Stranger)
    }

    /// Who is at the other end of this flow: a name that was proved beats the address.
    pub fn of(&self, flow: Flow) -> Origin {
        match self.names.get(&flow.name) {
            Some(origin) => *origin,
            None => self.origin(flow.transport, flow.remote),
        }
    }

    fn add(&mut self, source: Source, origin: Origin) {
        match source {
            Source::Socket(at) => merge(self.sockets.entry(at).or_insert(origin), origin),
            Source::Host(ip) => merge(self.hosts.entry(ip.to_canonical()).or_insert(origin), origin),
            Source::Name(name) => merge(self.names.entry(name).or_insert(origin), origin),
            Source::Network(ip, len) => match self.networks.iter_mut().find(|n| (n.0, n.1) == (ip, len)) {
                Some(known) => merge(&mut known.2, origin),
                None => self.networks.push((ip, len, origin)),
            },
        }
    }
}

/// One address may be a peer and a trunk (RULES C8).
fn merge(known: &mut Origin, new: Origin) {
    *known = match (*known, new) {
        (Origin::Peer(p), Origin::Trunk(t)) | (Origin::Trunk(t), Origin::Peer(p)) => Origin::Both(p, t),
        (known, _) => known,
    };
}

fn within(ip: IpAddr, net: IpAddr, len: u8) -> bool {
    match (ip, net) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).checked_shr(32 - u32::from(len.min(32))).unwrap_or(0) == 0,
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            (a.to_bits() ^ b.to_bits()).checked_shr(128 - u32::from(len.min(128))).unwrap_or(0) == 0
        }
        _ => false,
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
    shards: u8,
    sources: Arc<Sources>,
    /// Ordinary calls to these numbers may go to registered devices, which shard 0 knows.
    phones: HashSet<E164>,
    lane: Arc<Lane>,
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
            let branch = msg.top_via().and_then(|v| v.branch()).and_then(|b| b.strip_prefix(crate::sip::ids::COOKIE));
            return branch.and_then(|b| self.ids.shard_of(Kind::Branch, b, self.shards)).unwrap_or(0);
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

    fn may_ring_a_phone(&self, origin: Origin, msg: &Message) -> bool {
        let inbound = matches!(origin, Origin::Trunk(_) | Origin::Both(..));
        inbound && !self.phones.is_empty() && number_in(msg.uri()).is_some_and(|n| self.phones.contains(&n))
    }
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

    #[test]
    fn the_most_specific_source_wins_and_ports_count_on_udp_only() {
        let ip = |s: &str| s.parse::<IpAddr>().expect("an address");
        let at = |s: &str| s.parse::<SocketAddr>().expect("an address and port");
        let peers =
            [vec![Source::Host(ip("10.0.0.5")), Source::Network(ip("10.0.1.0"), 24)], vec![Source::Socket(at("10.0.0.5:5090"))]];
        let trunks = [
            vec![Source::Network(ip("10.0.0.0"), 8)],
            vec![Source::Host(ip("10.0.0.5"))],
            vec![Source::Network(ip("2001:db8::"), 32)],
        ];
        let sources = Sources::new(&peers, &trunks);
        for (transport, from, expected) in [
            (Transport::Udp, "10.0.0.5:5060", Origin::Both(PeerId(0), TrunkId(1))),
            (Transport::Udp, "10.0.0.5:5090", Origin::Peer(PeerId(1))),
            (Transport::Tcp, "10.0.0.5:5090", Origin::Both(PeerId(0), TrunkId(1))),
            (Transport::Udp, "10.0.1.77:1", Origin::Peer(PeerId(0))),
            (Transport::Udp, "10.9.1.77:1", Origin::Trunk(TrunkId(0))),
            (Transport::Udp, "11.9.1.77:1", Origin::Stranger),
            (Transport::Udp, "[2001:db8::7]:1", Origin::Trunk(TrunkId(2))),
            (Transport::Udp, "[::ffff:10.0.1.77]:1", Origin::Peer(PeerId(0))),
        ] {
            assert_eq!(sources.origin(transport, at(from)), expected, "{from}");
        }
    }
}

//! Which packets come from which neighbour.
//!
//! Not where to send to them: that is [`Link`](super::Link). Who registered here is no neighbour, and shard 0 knows. Asked for
//! every datagram, so a look-up takes some tens of instructions. Read [`Sources`] first.

use crate::emergency::facts::{Origin, PeerId, TrunkId};
use crate::sip::{Flow, Transport};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

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
    v4: Places,
    v6: HashMap<(Ipv6Addr, Port), Origin>,
    /// Longest prefix first.
    networks: Vec<(IpAddr, u8, Origin)>,
    /// By the place of their certificate names, from 1.
    names: HashMap<u16, Origin>,
    /// Whoever comes by this listener is a browser, at whatever neighbour's address.
    pages: Option<u8>,
}

/// A port of a host, or all of them.
type Port = Option<u16>;

impl Sources {
    /// From each peer's and each trunk's list, in the order of the site.
    pub fn new(peers: &[Vec<Source>], trunks: &[Vec<Source>]) -> Self {
        let mut all = Self::default();
        let peers = (0u16..).map(|i| Origin::Peer(PeerId(i))).zip(peers);
        let trunks = (0u16..).map(|i| Origin::Trunk(TrunkId(i))).zip(trunks);
        let mut v4 = BTreeMap::new();
        for (origin, sources) in peers.chain(trunks) {
            for source in sources {
                all.add(*source, origin, &mut v4);
            }
        }
        all.v4 = Places::new(&v4);
        all.networks.sort_by_key(|n| std::cmp::Reverse(n.1));
        all
    }

    /// The same, but who comes by this listener is nobody's neighbour: agents' pages, perhaps behind a proxy at a neighbour's
    /// address.
    #[must_use]
    pub fn but_pages_of(self, listener: Option<u8>) -> Self {
        Self { pages: listener, ..self }
    }

    /// Who is at the other end of this flow: a name that was proved beats the address.
    #[inline]
    pub fn of(&self, flow: Flow) -> Origin {
        if self.pages == Some(flow.listener) {
            return Origin::Stranger;
        }
        // Most come by UDP from a port that is known.
        if let (0, Transport::Udp, SocketAddr::V4(from)) = (flow.name, flow.transport, flow.remote)
            && let Some(origin) = self.v4.find(*from.ip(), Some(from.port()))
        {
            return origin;
        }
        // Place 0 is nobody's.
        let proved = if flow.name == 0 { None } else { self.names.get(&flow.name).copied() };
        proved.unwrap_or_else(|| self.origin(flow.transport, flow.remote))
    }

    /// Who this is.
    #[inline(never)]
    pub fn origin(&self, transport: Transport, from: SocketAddr) -> Origin {
        let ip = from.ip().to_canonical();
        let port = if transport == Transport::Udp { self.at(ip, Some(from.port())) } else { None };
        port.or_else(|| self.at(ip, None)).or_else(|| self.network(ip)).unwrap_or(Origin::Stranger)
    }

    fn at(&self, ip: IpAddr, port: Port) -> Option<Origin> {
        match ip {
            IpAddr::V4(ip) => self.v4.find(ip, port),
            IpAddr::V6(ip) => self.v6.get(&(ip, port)).copied(),
        }
    }

    fn network(&self, ip: IpAddr) -> Option<Origin> {
        self.networks.iter().find(|(net, len, _)| within(ip, *net, *len)).map(|n| n.2)
    }

    fn add(&mut self, source: Source, origin: Origin, v4: &mut BTreeMap<u64, Origin>) {
        let mut place = |ip: IpAddr, port| match ip.to_canonical() {
            IpAddr::V4(ip) => merge(v4.entry(key(ip, port)).or_insert(origin), origin),
            IpAddr::V6(ip) => merge(self.v6.entry((ip, port)).or_insert(origin), origin),
        };
        match source {
            Source::Socket(at) => place(at.ip(), Some(at.port())),
            Source::Host(ip) => place(ip, None),
            Source::Name(name) => merge(self.names.entry(name).or_insert(origin), origin),
            Source::Network(ip, len) => match self.networks.iter_mut().find(|n| (n.0, n.1) == (ip, len)) {
                Some(known) => merge(&mut known.2, origin),
                None => self.networks.push((ip, len, origin)),
            },
        }
    }
}

/// From an IPv4 address and a port to who is there: open addressing with linear probing, at most half full. Only the
/// configuration puts something into it, so nobody can make it slow from outside.
#[derive(Clone, Debug, Default)]
struct Places(Box<[Option<(u64, Origin)>]>);

impl Places {
    fn new(places: &BTreeMap<u64, Origin>) -> Self {
        if places.is_empty() {
            return Self::default();
        }
        let mut slots = vec![None; (2 * places.len()).next_power_of_two()].into_boxed_slice();
        let mask = slots.len() - 1;
        for (key, origin) in places {
            let free = (first_slot(*key)..).map(|at| at & mask).find(|at| slots.get(*at).is_some_and(Option::is_none));
            if let Some(slot) = free.and_then(|at| slots.get_mut(at)) {
                *slot = Some((*key, *origin));
            }
        }
        Self(slots)
    }

    /// Ends, since half of the slots are free.
    #[inline]
    fn find(&self, ip: Ipv4Addr, port: Port) -> Option<Origin> {
        let key = key(ip, port);
        let mut at = first_slot(key);
        loop {
            match self.0.get(at & self.0.len().wrapping_sub(1))? {
                Some((known, origin)) if *known == key => return Some(*origin),
                Some(_) => at += 1,
                None => return None,
            }
        }
    }
}

#[inline]
fn key(ip: Ipv4Addr, port: Port) -> u64 {
    u64::from(ip.to_bits()) << 32 | port.map_or(1 << 16, u64::from)
}

/// Spreads addresses and ports that follow each other (Knuth, TAOCP 3, 6.4).
#[inline]
fn first_slot(key: u64) -> usize {
    (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize
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

#[cfg(test)]
mod tests {
    use super::*;

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

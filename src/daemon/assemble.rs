//! From the configuration to what the floors below work from.
//!
//! Plain translation: nothing is decided here and no socket opened. [`site`] is the configured world for the story,
//! [`assemble`] adds who is where on the wire, by the listeners as they are really bound.

use super::config::{self, Config, SipTarget};
use super::names::named;
use crate::bridge::{
    Access, Agents, Anchoring, Credentials, Link, Links, MediaPolicy, PanelKey, Publisher, Registering, Setup, Source, Sources,
};
use crate::emergency::facts::{AgentId, PeerId, TrunkId};
use crate::emergency::notice::is_same_address;
use crate::emergency::number::Numbers;
use crate::emergency::site::{
    Agent, CallbackTimes, EmergencyTarget, IdentityFrom, NumberRange, Path, Peer, PlacingTimes, Profile, Shelf, Site, Trunk,
    VoiceRoute,
};
use crate::io::clock;
use crate::io::transport::Known;
use crate::io::transport::tls::Names;
use crate::sip::{Flow, Local, Locals, Transport};
use crate::words::uri::split_port;
use crate::words::{Civic, Country, E164, Private, Time, Uri};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

/// Why a configuration that reads well cannot be used. Names neighbours, no address.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// No listener speaks what the neighbour speaks.
    #[error("{0}: no [[listen]] has its transport and address family; add one")]
    NoListener(String),
    /// More neighbours or listeners than can be told apart.
    #[error("more {0} than this version can tell apart")]
    TooMany(&'static str),
    /// Under `[emergency]`.
    #[error("emergency.{key}: {entry:?} {why}")]
    Emergency {
        /// The key.
        key: &'static str,
        /// The entry.
        entry: String,
        /// What is wrong.
        why: &'static str,
    },
}

/// A configuration as it runs.
#[derive(Clone)]
pub struct Assembled {
    /// What the shards work from.
    pub setup: Setup,
    /// Where connections are not limited.
    pub known: Known,
    /// Each neighbour's sources by name, for the next reload.
    sources: BTreeMap<(Side, String), Vec<Source>>,
    /// Whom certificates are asked for.
    pub names: Names,
}

impl Assembled {
    /// The SHA-256 of the certificate that browsers are shown as long as this process runs.
    pub fn show_browsers(&mut self, fingerprint: Option<[u8; 32]>) {
        Arc::make_mut(&mut self.setup.anchoring).fingerprint = fingerprint;
    }

    /// The ways to all neighbours.
    pub fn flows(&self) -> impl Iterator<Item = Flow> {
        let links = &self.setup.links;
        let all = links.trunks.iter().chain(&links.peers).flat_map(|l| std::iter::once(l.flow).chain(l.ways.iter().copied()));
        all.filter(|f| !f.is_nowhere())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Peer,
    Trunk,
}

/// Everything. `bound` are the listeners' real addresses, in the config's order, and that of HTTP where there is one; `before` is what runs now, whose
/// neighbours keep their places. `secret` and `shards` are the process's; its era and its key for panels are set at
/// the start and stay.
pub fn assemble(
    config: &Config,
    bound: &[SocketAddr],
    secret: u64,
    shards: u8,
    before: Option<&Assembled>,
) -> Result<Assembled, Unusable> {
    assemble_at(config, bound, secret, shards, before, clock::wall_at(Time::ZERO))
}

/// The same on a machine that was booted at this wall time.
pub(super) fn assemble_at(
    config: &Config,
    bound: &[SocketAddr],
    secret: u64,
    shards: u8,
    before: Option<&Assembled>,
    booted: Duration,
) -> Result<Assembled, Unusable> {
    let mut site = site(config, secret)?;
    if let Some(before) = before {
        site.keep_places(&before.setup.site);
    }
    if u16::try_from(site.trunks.len().max(site.peers.len())).is_err() {
        return Err(Unusable::TooMany("neighbours"));
    }
    let locals = locals(config, bound)?;
    let names = names(config, before);
    let sources = sources(config, &names, before);
    let of = |side: Side, name: &String| sources.get(&(side, name.clone())).cloned().unwrap_or_default();
    let peers: Vec<_> = site.peers.iter().map(|p| of(Side::Peer, &p.name)).collect();
    let trunks: Vec<_> = site.trunks.iter().map(|t| of(Side::Trunk, &t.name)).collect();
    let links = Links {
        trunks: trunk_links(config, &site, &locals, before)?,
        peers: peer_links(config, &site, &locals, before)?,
        sources: Arc::new(Sources::new(&peers, &trunks).but_pages_of(pages_listener(config, bound))),
        domain: config.node.domain.clone(),
        inbound: site.inbound,
        phones: Arc::new(phones(config).filter_map(|(place, a)| Some((a.number?, place))).collect()),
        hosts: Arc::new(
            named(config).map(|t| (t.uri.reveal().clone(), ways(&locals, t))).filter(|(_, ways)| !ways.is_empty()).collect(),
        ),
    };
    let targets = config.peers.iter().map(|p| &p.target).chain(config.trunks.iter().map(|t| &t.target));
    let addresses = targets.flat_map(|t| std::iter::once(t.address).chain(t.others.iter().map(|o| o.1)));
    let hosts = addresses.map(|at| (at.ip(), 128)).filter(|(ip, _)| !ip.is_unspecified());
    let known = Known(hosts.chain(sources.values().flatten().filter_map(|s| network(*s))).collect());
    let presence = match &config.presence.kind {
        config::PresenceKind::None | config::PresenceKind::Webhook(_) => None,
        config::PresenceKind::SipPublish(server) => {
            let flow = flow(&locals, server, "presence.server")?;
            let credentials = config.presence.credentials.clone();
            let credentials = credentials.map(|(user, password)| Arc::new(Credentials { user, password }));
            Some(Publisher { flow, host: host(server), credentials, time_scale: config.time_scale })
        }
    };
    let passwords =
        phones(config).filter_map(|(place, a)| Some((a.id.reveal().as_str(), a.password.as_ref()?.reveal().as_str(), place)));
    let anchoring = Anchoring {
        at: told_addresses(config, &locals),
        phones: config.media.phones,
        ready: ready_pairs(config.media.ports, shards),
        fingerprint: before.and_then(|b| b.setup.anchoring.fingerprint),
    };
    let setup = Setup {
        load: Arc::default(),
        node: config.node.name.as_str().into(),
        agents: Arc::new(Agents::new(&site)),
        lines: Arc::default(),
        site: Arc::new(site),
        links: Arc::new(links),
        locals: Arc::new(with_pages(locals, config, bound)),
        secret,
        era: before.map_or(0, |b| b.setup.era),
        shards,
        access: Arc::new(Access::new(&config.auth.realm, passwords)),
        panel: before.map_or(PanelKey::new([0; 32]), |b| b.setup.panel),
        presence,
        booted,
        anchoring: Arc::new(anchoring),
    };
    Ok(Assembled { setup, known, sources, names })
}

/// So many pairs of ports are kept ready in each shard: enough for all who dial in one moment, and no large part of what
/// there is.
fn ready_pairs((low, high): (u16, u16), shards: u8) -> usize {
    let pairs = usize::from(high.saturating_sub(low)) / 2 + 1;
    (pairs / (4 * usize::from(shards.max(1)))).clamp(2, 64)
}

/// The addresses that are told in session descriptions where anybody's audio goes through us: `media.public`, else
/// `media.bind`, else those that our listeners are known by.
fn told_addresses(config: &Config, locals: &Locals) -> Vec<IpAddr> {
    let neighbours = config.trunks.iter().map(|t| t.media).chain(config.peers.iter().map(|p| p.media));
    if !neighbours.chain([config.media.phones]).any(|policy| policy.anchor) && !may_be_a_browser(config) {
        return Vec::new();
    }
    let media = &config.media;
    if let Some(one) = media.public.or_else(|| Some(media.bind).filter(|ip| !ip.is_unspecified())) {
        return vec![one];
    }
    let listeners = locals.0.iter().filter_map(|local| {
        let (host, _) = split_port(local.sent_by.as_bytes());
        std::str::from_utf8(host).ok()?.trim_matches(['[', ']']).parse().ok()
    });
    let targets = || config.trunks.iter().map(|t| t.target.address).chain(config.peers.iter().map(|p| p.target.address));
    // A listener that goes by a name is reached by the address of this machine's way out.
    let ways_out = config.listen.iter().map(|listen| reached_from(listen.bind, targets()));
    let mut all: Vec<IpAddr> = listeners.chain(ways_out).filter(|ip: &IpAddr| !ip.is_unspecified()).collect();
    let mut seen = std::collections::HashSet::new();
    all.retain(|ip| seen.insert(*ip));
    all
}

/// Whether a browser can register: with a password, over a WebSocket of ours or behind `public_url`.
fn may_be_a_browser(config: &Config) -> bool {
    let sockets = config.listen.iter().any(|l| matches!(l.transport, config::Transport::Ws | config::Transport::Wss));
    phones(config).next().is_some() && (sockets || config.http.public_url.is_some() || config.http.bind.ip().is_loopback())
}

/// The agents who may register, with their places.
fn phones(config: &Config) -> impl Iterator<Item = (AgentId, &config::Agent)> {
    (0u32..).map(AgentId).zip(&config.agents).filter(|(_, a)| a.password.is_some())
}

/// The configured world for the story, and for explaining routes.
pub fn site(config: &Config, seed: u64) -> Result<Site, Unusable> {
    let emergency = &config.emergency;
    let numbers = Numbers::new(&emergency.countries, &emergency.prefixes, &emergency.masks).map_err(|mistakes| {
        let first = mistakes.into_iter().next();
        first.map_or(Unusable::TooMany("mistakes"), |m| Unusable::Emergency { key: m.key, entry: m.entry, why: m.why })
    })?;
    let site_contacts = recipients([&config.notify.site_contacts]);
    Ok(Site {
        country: Some(config.node.country),
        peers: config.peers.iter().map(peer).collect(),
        trunks: config.trunks.iter().map(trunk).collect(),
        agents: config.agents.iter().map(|a| Arc::new(agent(a, config))).collect(),
        routes: config.voice_routes.iter().map(route).collect(),
        shelves: shelves(config),
        numbers,
        profile: match config.routing.profile {
            config::Profile::Emergency => Profile::Emergency,
            config::Profile::AcsStrict => Profile::AcsStrict { seed },
        },
        inbound: config.routing.inbound.map(peer_id),
        contingency: config.routing.contingency.map(Private::new),
        may_downgrade: emergency.may_downgrade,
        placing: PlacingTimes { silence: emergency.silence, trying: emergency.trying, budget: emergency.budget },
        callback: CallbackTimes {
            ttl: config.callback.ttl,
            tail: config.callback.tail,
            quarantine: config.callback.quarantine,
            ring: config.callback.ring,
            desk: config.callback.desk.as_ref().map(|d| d.uri.clone()),
            test_ttl: CallbackTimes::default().test_ttl / config.time_scale,
        },
        presence_hold: config.presence.hold,
        site_contacts,
        test_contacts: recipients([&config.notify.test_contacts]),
    })
}

/// What the listeners call themselves.
fn locals(config: &Config, bound: &[SocketAddr]) -> Result<Locals, Unusable> {
    if u8::try_from(bound.len()).is_err() {
        return Err(Unusable::TooMany("listeners"));
    }
    let neighbours = || config.trunks.iter().map(|t| t.target.address).chain(config.peers.iter().map(|p| p.target.address));
    let local = |(listen, at): (&config::Listen, &SocketAddr)| {
        let own = || SocketAddr::new(reached_from(*at, neighbours()), at.port()).to_string();
        let public = listen.public.as_ref().map(|p| format!("{}:{}", p.host, p.port.unwrap_or(at.port())));
        Local { transport: transport(listen.transport), sent_by: public.unwrap_or_else(own), ipv6: at.is_ipv6() }
    };
    Ok(Locals(config.listen.iter().zip(bound).map(local).collect()))
}

/// The listener that stands for `/sip` on `[http]`: the one after those of the config, where HTTP is bound.
pub fn pages_listener(config: &Config, bound: &[SocketAddr]) -> Option<u8> {
    let place = config.listen.len();
    u8::try_from(place).ok().filter(|_| bound.len() > place)
}

/// The listeners with that of agents' pages: they know us by the host that they came to.
fn with_pages(mut locals: Locals, config: &Config, bound: &[SocketAddr]) -> Locals {
    let http = pages_listener(config, bound).and_then(|place| bound.get(usize::from(place)));
    if let Some(http) = http {
        let url = config.http.public_url.as_deref().and_then(|url| url.split_once("://"));
        let public = url.and_then(|(_, rest)| rest.split('/').next()).map(str::to_owned);
        let sent_by = public.unwrap_or_else(|| http.to_string());
        locals.0.push(Local { transport: Transport::Ws, sent_by, ipv6: http.is_ipv6() });
    }
    locals
}

/// The address that others reach a listener by: its own, or where it is bound to all of them the one that the kernel
/// takes towards the first neighbour. Nothing is sent for that.
fn reached_from(bound: SocketAddr, mut neighbours: impl Iterator<Item = SocketAddr>) -> IpAddr {
    if !bound.ip().is_unspecified() {
        return bound.ip();
    }
    let loopback = if bound.is_ipv4() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { IpAddr::V6(Ipv6Addr::LOCALHOST) };
    let towards = |remote: SocketAddr| -> std::io::Result<IpAddr> {
        let socket = UdpSocket::bind(SocketAddr::new(bound.ip(), 0))?;
        socket.connect(remote)?;
        Ok(socket.local_addr()?.ip())
    };
    neighbours.find(|n| n.is_ipv4() == bound.is_ipv4() && n.port() != 0).and_then(|n| towards(n).ok()).unwrap_or(loopback)
}

/// The certificate names of all neighbours. Those of before keep their places: connections know theirs by it.
fn names(config: &Config, before: Option<&Assembled>) -> Names {
    let mut known = before.map(|b| b.names.known.clone()).unwrap_or_default();
    let mut servers = std::collections::HashMap::new();
    let peers = config.peers.iter().map(|p| (&p.target, &p.certificate_names));
    for (target, own) in peers.chain(config.trunks.iter().map(|t| (&t.target, &t.certificate_names))) {
        // RFC 5922 section 4: the name that was configured, not where DNS says it leads.
        let proves = own.first().or(target.name.as_ref().map(|name| &name.host));
        let all = std::iter::once((target.transport, target.address)).chain(target.others.iter().copied());
        for (_, address) in all.filter(|(t, _)| *t == config::Transport::Tls) {
            if let Some(name) = proves {
                servers.insert(address, name.clone());
            }
        }
        for name in own {
            if !known.contains(name) {
                known.push(name.clone());
            }
        }
    }
    Names { known, servers }
}

/// A neighbour that is gone keeps its sources, so that callbacks to open leases still come in by it (RULES L9), unless
/// another one has them now.
fn sources(config: &Config, names: &Names, before: Option<&Assembled>) -> BTreeMap<(Side, String), Vec<Source>> {
    let place = |name: &String| names.known.iter().position(|n| n == name).and_then(|i| u16::try_from(i + 1).ok());
    let list = |sources: &[config::Source], proved: &[String]| {
        let addresses = sources.iter().map(|s| source(*s));
        addresses.chain(proved.iter().filter_map(place).map(Source::Name)).collect::<Vec<_>>()
    };
    let peers = config.peers.iter().map(|p| ((Side::Peer, p.name.clone()), list(&p.sources, &p.certificate_names)));
    let trunks = config.trunks.iter().map(|t| ((Side::Trunk, t.name.clone()), list(&t.sources, &t.certificate_names)));
    let mut all: BTreeMap<_, _> = peers.chain(trunks).collect();
    let taken: Vec<Source> = all.values().flatten().copied().collect();
    for (key, sources) in before.into_iter().flat_map(|b| &b.sources) {
        let free = || sources.iter().copied().filter(|s| !taken.contains(s)).collect();
        all.entry(key.clone()).or_insert_with(free);
    }
    all
}

fn trunk_links(config: &Config, site: &Site, locals: &Locals, before: Option<&Assembled>) -> Result<Vec<Link>, Unusable> {
    let one = |trunk: &Trunk| match config.trunks.iter().find(|t| t.name == trunk.name) {
        Some(t) => {
            let link = link(&t.name, "trunk", &t.target, (!t.options.is_zero()).then_some(t.options), locals)?;
            let credentials = t.credentials.clone().map(|(user, password)| Arc::new(Credentials { user, password }));
            let register = t.register.then_some(Registering { time_scale: config.time_scale });
            Ok(Link { credentials, register, media: t.media, overload_control: t.overload_control, ..link })
        }
        None => gone(&trunk.name, before.map(|b| &b.setup.links.trunks)),
    };
    site.trunks.iter().map(one).collect()
}

fn peer_links(config: &Config, site: &Site, locals: &Locals, before: Option<&Assembled>) -> Result<Vec<Link>, Unusable> {
    let one = |peer: &Peer| match config.peers.iter().find(|p| p.name == peer.name) {
        Some(p) => link(&p.name, "peer", &p.target, None, locals).map(|link| Link { media: p.media, ..link }),
        None => gone(&peer.name, before.map(|b| &b.setup.links.peers)),
    };
    site.peers.iter().map(one).collect()
}

fn link(name: &str, kind: &str, target: &SipTarget, probe: Option<Duration>, locals: &Locals) -> Result<Link, Unusable> {
    Ok(Link {
        name: name.to_owned(),
        flow: flow(locals, target, &format!("{kind} {name}"))?,
        ways: ways(locals, target),
        host: host(target),
        sips: target.sips,
        probe,
        credentials: None,
        register: None,
        media: MediaPolicy::default(),
        overload_control: false,
    })
}

/// Its calls go on where they went.
fn gone(name: &str, before: Option<&Vec<Link>>) -> Result<Link, Unusable> {
    let link = before.and_then(|links| links.iter().find(|l| l.name == name)).cloned();
    let mut link = link.ok_or_else(|| Unusable::NoListener(name.to_owned()))?;
    (link.probe, link.register) = (None, None);
    Ok(link)
}

/// Where a name leads, in the order in which it is tried; nothing for an address.
fn ways(locals: &Locals, target: &SipTarget) -> Vec<Flow> {
    let all = std::iter::once((target.transport, target.address)).chain(target.others.iter().copied());
    let known = all.filter(|(_, at)| target.name.is_some() && at.port() != 0);
    known
        .filter_map(|(how, at)| locals.towards(transport(how), at))
        .filter(|f| locals.of(*f).ipv6 == f.remote.is_ipv6())
        .collect()
}

fn flow(locals: &Locals, target: &SipTarget, whose: &str) -> Result<Flow, Unusable> {
    let flow = locals.towards(transport(target.transport), target.address);
    if target.address.port() == 0 {
        // Nobody knows yet where it leads, nor therefore how.
        let any = || [Transport::Udp, Transport::Tcp, Transport::Tls].into_iter().find_map(|t| locals.towards(t, target.address));
        return flow.or_else(any).ok_or_else(|| Unusable::NoListener(whose.to_owned()));
    }
    let fits = |f: &Flow| locals.of(*f).ipv6 == target.address.is_ipv6();
    flow.filter(fits).ok_or_else(|| Unusable::NoListener(whose.to_owned()))
}

/// `host[:port]` as it stands in the neighbour's URI.
fn host(target: &SipTarget) -> String {
    let written = Uri::parse(target.uri.reveal().as_bytes()).map(|u| (String::from_utf8_lossy(u.host).into_owned(), u.port));
    match written {
        Some((host, Some(port))) => format!("{host}:{port}"),
        Some((host, None)) => host,
        None => target.address.to_string(),
    }
}

pub(super) const fn transport(transport: config::Transport) -> Transport {
    match transport {
        config::Transport::Udp => Transport::Udp,
        config::Transport::Tcp => Transport::Tcp,
        config::Transport::Tls => Transport::Tls,
        config::Transport::Ws => Transport::Ws,
        config::Transport::Wss => Transport::Wss,
    }
}

fn source(source: config::Source) -> Source {
    match source {
        config::Source::Endpoint(at) => Source::Socket(at),
        config::Source::Net { address, bits } if bits == if address.is_ipv4() { 32 } else { 128 } => Source::Host(address),
        config::Source::Net { address, bits } => Source::Network(address, bits),
    }
}

const fn network(source: Source) -> Option<(IpAddr, u8)> {
    match source {
        Source::Host(ip) => Some((ip, 128)),
        Source::Socket(at) => Some((at.ip(), 128)),
        Source::Network(ip, bits) => Some((ip, bits)),
        Source::Name(_) => None,
    }
}

fn peer_id(place: usize) -> PeerId {
    PeerId(u16::try_from(place).unwrap_or(u16::MAX))
}

fn trunk_id(place: usize) -> TrunkId {
    TrunkId(u16::try_from(place).unwrap_or(u16::MAX))
}

fn peer(p: &config::Peer) -> Peer {
    let identity = |from: &config::IdentityFrom| match from {
        config::IdentityFrom::PAssertedIdentity => IdentityFrom::PAssertedIdentity,
        config::IdentityFrom::From => IdentityFrom::From,
    };
    Peer {
        name: p.name.clone(),
        country: p.country,
        site: p.site.clone(),
        identity_from: p.identity_from.iter().map(identity).collect(),
        desk: p.desk.as_ref().map(|d| d.uri.clone()),
    }
}

fn trunk(t: &config::Trunk) -> Trunk {
    let brought = |b: &config::Brought| match b {
        config::Brought::Prefix(digits) => NumberRange::Prefix(*digits),
        config::Brought::Range(r) => NumberRange::Span(r.first, r.last),
    };
    Trunk {
        name: t.name.clone(),
        path: match t.path {
            config::TrunkPath::DirectRouting => Path::DirectRouting,
            config::TrunkPath::DirectOffer => Path::DirectOffer,
        },
        trust_marks: t.trust_marks,
        fallback_number: t.fallback_number.map(Private::new),
        default_number: t.default_number.map(Private::new),
        routes_to_us: t.routes_to_us.iter().map(brought).collect(),
        numbers: t.numbers.iter().map(|r| NumberRange::Span(r.first, r.last)).collect(),
        emergency_target: match t.emergency_target {
            config::EmergencyTarget::Number => EmergencyTarget::Number,
            config::EmergencyTarget::Urn => EmergencyTarget::Urn,
        },
        secure: transport(t.target.transport).is_secure(),
        adds_location: t.adds_location,
        gone: false,
    }
}

fn route(r: &config::VoiceRoute) -> VoiceRoute {
    VoiceRoute {
        name: r.name.clone(),
        pattern: r.pattern.clone(),
        trunks: r.trunks.iter().map(|t| trunk_id(*t)).collect(),
        emergency: r.emergency,
    }
}

/// One shelf for each trunk's numbers without an address, one for each pool.
fn shelves(config: &Config) -> Vec<Shelf> {
    let all = |ranges: &[config::NumberRange]| ranges.iter().flat_map(|r| r.iter()).collect::<Vec<E164>>();
    let plain = config.trunks.iter().enumerate().map(|(i, t)| Shelf {
        trunk: trunk_id(i),
        site: None,
        numbers: all(&t.callback_numbers),
    });
    let pools = config.callback_pools.iter();
    let sited = pools.map(|p| Shelf { trunk: trunk_id(p.trunk), site: Some(p.site.clone()), numbers: all(&p.numbers) });
    plain.filter(|s| !s.numbers.is_empty()).chain(sited).collect()
}

fn agent(a: &config::Agent, config: &Config) -> Agent {
    let uris = |targets: &[SipTarget]| targets.iter().map(|t| t.uri.clone()).collect();
    let language = match a.language.unwrap_or(config.node.language) {
        config::Language::English => "en",
        config::Language::Spanish => "es",
        config::Language::French => "fr",
    };
    let peer = a.peer.and_then(|p| config.peers.get(p));
    let country = a.country.or_else(|| peer?.country).unwrap_or(config.node.country);
    let site = a.site.clone().or_else(|| config.peers.get(a.peer?)?.site.clone());
    Agent {
        id: a.id.clone(),
        name: a.name.clone(),
        identity: a.identity.clone(),
        peer: a.peer.map(peer_id),
        devices: uris(&a.devices),
        alternates: uris(&a.alternates),
        number: a.number.map(Private::new),
        country: a.country,
        site,
        language: Some(language.to_owned()),
        caller_id: a.outbound_profile.and_then(|p| config.outbound_profiles.get(p)?.caller_id).map(Private::new),
        contacts: recipients([&a.contacts, &config.notify.site_contacts]),
        location: a.location.as_ref().map(|l| Private::new(Arc::new(civic(l.reveal(), country)))),
    }
}

/// Her place; its country is hers where it names none.
fn civic(place: &Civic, country: Country) -> Civic {
    Civic { country: place.country.clone().or_else(|| Some(country.to_string())), ..place.clone() }
}

/// The recipients of several lists, each once.
fn recipients<'a>(lists: impl IntoIterator<Item = &'a config::Contacts>) -> Private<Arc<[String]>> {
    let mut all: Vec<String> = Vec::new();
    for address in lists.into_iter().flat_map(|l| &l.valid) {
        if !all.iter().any(|known| is_same_address(known, address.reveal())) {
            all.push(address.reveal().clone());
        }
    }
    Private::new(all.into())
}

//! Who is calling (CONTRACT.md "Who is calling").
//!
//! [`Directory`] knows the agents by every identity that neighbours use for them; [`Directory::identify`] always
//! finds a [`Caller`], because nobody is refused for being unknown (RULES R8). Not a check of permissions.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::facts::{CallerEvidence, Origin, PeerId};
use super::site::{Agent, IdentityFrom, NumberRange, Site};
use crate::words::uri::Uri;
use crate::words::{Country, E164, Private};

/// The longest identity that is compared; a longer one belongs to nobody.
const LONGEST: usize = 128;

/// The one whom a callback must reach.
#[derive(Clone)]
pub struct Caller {
    /// Agent or not.
    pub who: Who,
    /// The peer that the call came from; none for a call from a trunk.
    pub peer: Option<PeerId>,
}

/// A configured agent, or somebody whom a neighbour showed us.
#[derive(Clone)]
pub enum Who {
    /// The agent as configured when she dialed (RULES A8).
    Agent(Arc<Agent>),
    /// Not configured.
    Unknown {
        /// Peer, identity and Contact user: whoever shares these shares a lease.
        key: Private<Arc<str>>,
        /// The From user that she had at the peer: her callback goes there.
        user: Private<String>,
    },
}

impl Caller {
    /// What her lease is kept under: the agent's id, or peer, identity and Contact user.
    pub fn key(&self) -> &str {
        match &self.who {
            Who::Agent(agent) => agent.id.reveal(),
            Who::Unknown { key, .. } => key.reveal(),
        }
    }

    /// The agent, if she is one.
    pub fn agent(&self) -> Option<&Arc<Agent>> {
        match &self.who {
            Who::Agent(agent) => Some(agent),
            Who::Unknown { .. } => None,
        }
    }

    /// Her own number, as configured or as her first identity that is one.
    pub fn own_number(&self) -> Option<E164> {
        let agent = self.agent()?;
        let identity = || agent.identity.iter().find_map(|i| E164::parse(i.reveal()));
        agent.number.map(Private::into_revealed).or_else(identity)
    }

    /// Whose address her numbers are registered to (RULES L5): her own site's, else her peer's.
    pub fn site<'a>(&'a self, site: &'a Site) -> Option<&'a str> {
        let own = self.agent().and_then(|a| a.site.as_deref());
        own.or_else(|| self.peer.and_then(|p| site.peer(p)).and_then(|p| p.site.as_deref()))
    }
}

impl fmt::Debug for Caller {
    /// Prints nothing of the person (promise 3).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.agent().is_some() { "Caller(agent)" } else { "Caller(unknown)" })
    }
}

/// Which country's number plan counts, of what is known without asking the panel (RULES R7): the agent's, the
/// peer's, the node's.
pub fn country(site: &Site, agent: Option<&Agent>, peer: Option<PeerId>) -> Option<Country> {
    agent.and_then(|a| a.country).or_else(|| peer.and_then(|p| site.peer(p)).and_then(|p| p.country)).or(site.country)
}

/// The agents by their identities. Built once for a [`Site`].
#[derive(Default)]
pub struct Directory {
    numbers: HashMap<E164, Vec<Arc<Agent>>>,
    /// Names and `user@host`, in lower case.
    names: HashMap<Vec<u8>, Vec<Arc<Agent>>>,
}

impl fmt::Debug for Directory {
    /// Prints nothing of the agents (promise 3).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Directory(-)")
    }
}

impl Directory {
    /// All identities of all agents.
    pub fn new(site: &Site) -> Self {
        let mut directory = Self::default();
        for agent in &site.agents {
            for identity in &agent.identity {
                directory.add(identity.reveal(), agent);
            }
        }
        directory
    }

    /// Who sent this INVITE, and the agent's country with it. Total: somebody unknown is somebody.
    pub fn identify(&self, site: &Site, origin: Origin, evidence: &CallerEvidence<'_>) -> Caller {
        let peer = peer_of(origin);
        let known = self.agent(site, origin, evidence);
        let who = known.map_or_else(|| unknown(site, peer, evidence), |agent| Who::Agent(Arc::clone(agent)));
        Caller { who, peer }
    }

    /// The agent who sent this INVITE, if she is one.
    pub fn agent<'a>(&'a self, site: &'a Site, origin: Origin, evidence: &CallerEvidence<'_>) -> Option<&'a Arc<Agent>> {
        if let Origin::Agent(id) = origin {
            return site.agents.get(id.0 as usize);
        }
        let peer = peer_of(origin)?;
        identities(site, peer, evidence).find_map(|uri| self.find(Some(peer), uri))
    }

    /// The agent whom this neighbour calls by this URI.
    pub fn find(&self, peer: Option<PeerId>, uri: &[u8]) -> Option<&Arc<Agent>> {
        let uri = Uri::parse(uri)?;
        let user = user_part(&uri);
        let mut name = Folded::new();
        let by_name = name.push(user).and_then(|()| {
            let user = name.len;
            name.push(b"@")?;
            name.push(uri.host)?;
            pick(self.names.get(name.all()), peer).or_else(|| pick(self.names.get(&name.all()[..user]), peer))
        });
        by_name.or_else(|| pick(self.numbers.get(&E164::from_neighbour(user)?), peer))
    }

    /// Whether a From or P-Asserted-Identity is an agent's, from whatever peer (RULES C8).
    pub fn knows_any(&self, peer: PeerId, evidence: &CallerEvidence<'_>) -> bool {
        evidence.asserted.iter().copied().chain([evidence.from]).any(|uri| self.find(Some(peer), uri).is_some())
    }

    fn add(&mut self, identity: &str, agent: &Arc<Agent>) {
        match E164::parse(identity) {
            Some(number) => self.numbers.entry(number).or_default().push(Arc::clone(agent)),
            None => self.names.entry(identity.to_ascii_lowercase().into_bytes()).or_default().push(Arc::clone(agent)),
        }
    }
}

/// The peer that a call came from.
pub const fn peer_of(origin: Origin) -> Option<PeerId> {
    match origin {
        Origin::Peer(peer) | Origin::Both(peer, _) => Some(peer),
        Origin::Trunk(_) | Origin::Agent(_) | Origin::Stranger => None,
    }
}

/// The number that a URI names, in any of the forms of RULES L10.
pub fn number_in(uri: &[u8]) -> Option<E164> {
    let uri = Uri::parse(uri)?;
    E164::from_neighbour(user_part(&uri))
}

/// Whether one of the ranges holds the number.
pub fn any_holds(ranges: &[NumberRange], number: E164) -> bool {
    ranges.iter().any(|r| r.contains(number))
}

/// The user of a URI without its parameters; of `tel:` the number.
fn user_part<'a>(uri: &Uri<'a>) -> &'a [u8] {
    let user = uri.user.unwrap_or(uri.host);
    user.split(|&b| b == b';').next().unwrap_or_default()
}

/// The identities that count from this peer, in its order.
fn identities<'a>(site: &'a Site, peer: PeerId, evidence: &CallerEvidence<'a>) -> impl Iterator<Item = &'a [u8]> {
    const CONTRACT: &[IdentityFrom] = &[IdentityFrom::PAssertedIdentity, IdentityFrom::From];
    let order = site.peer(peer).map_or(CONTRACT, |p| if p.identity_from.is_empty() { CONTRACT } else { &p.identity_from });
    let (asserted, from) = (evidence.asserted, evidence.from);
    order.iter().flat_map(move |kind| match kind {
        IdentityFrom::PAssertedIdentity => asserted.iter().copied().chain(None),
        IdentityFrom::From => [].iter().copied().chain(Some(from)),
    })
}

fn unknown(site: &Site, peer: Option<PeerId>, evidence: &CallerEvidence<'_>) -> Who {
    let text = |uri: &[u8]| Uri::parse(uri).map(|u| String::from_utf8_lossy(user_part(&u)).into_owned()).unwrap_or_default();
    let identity = peer.and_then(|p| identities(site, p, evidence).next()).unwrap_or(evidence.from);
    let name = peer.and_then(|p| site.peer(p)).map_or("", |p| &p.name);
    // A space stands in no name of the config and in no user of a URI: an agent's id can never be such a key.
    let key = format!("{name} {} {}", text(identity), text(evidence.contact));
    Who::Unknown { key: Private::new(Arc::from(key)), user: Private::new(user_for_a_uri(evidence.from)) }
}

/// The user of a URI, fit for a URI of ours: what may not stand there as it is stands there escaped (RFC 3261 section 25.1).
fn user_for_a_uri(uri: &[u8]) -> String {
    let parsed = Uri::parse(uri);
    let mut out = String::new();
    for &byte in parsed.as_ref().map(user_part).unwrap_or_default() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => out.push(char::from(byte)),
            _ if b"-_.!~*'()&=+$,?/%".contains(&byte) => out.push(char::from(byte)),
            _ => {
                let digit = |n: u8| char::from_digit(u32::from(n), 16).unwrap_or('0').to_ascii_uppercase();
                out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
    out
}

/// The agent of this peer first, then one whose identity counts from everywhere.
fn pick(agents: Option<&Vec<Arc<Agent>>>, peer: Option<PeerId>) -> Option<&Arc<Agent>> {
    let agents = agents?;
    let of_peer = agents.iter().find(|a| a.peer.is_some() && a.peer == peer);
    of_peer.or_else(|| agents.iter().find(|a| a.peer.is_none()))
}

/// A name in lower case with its escapes decoded, without allocation.
struct Folded {
    buf: [u8; LONGEST],
    len: usize,
}

impl Folded {
    const fn new() -> Self {
        Self { buf: [0; LONGEST], len: 0 }
    }

    fn all(&self) -> &[u8] {
        self.buf.get(..self.len).unwrap_or_default()
    }

    /// `None` if it does not fit: then nobody has that name.
    fn push(&mut self, text: &[u8]) -> Option<()> {
        let mut rest = text;
        while let Some((&first, tail)) = rest.split_first() {
            let (byte, tail) = match (first, tail) {
                (b'%', [high, low, tail @ ..]) => match (hex(*high), hex(*low)) {
                    (Some(high), Some(low)) => (high << 4 | low, tail),
                    _ => (first, &rest[1..]),
                },
                _ => (first, tail),
            };
            *self.buf.get_mut(self.len)? = byte.to_ascii_lowercase();
            self.len += 1;
            rest = tail;
        }
        Some(())
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

#[cfg(test)]
mod tests {
    use super::super::scenarios::world::{agent, site};
    use super::*;

    fn two_pbxs() -> Site {
        let mut site = site();
        let mut second = site.peers[0].clone();
        second.name = "pbx2".into();
        site.peers.push(second);
        let mut at = |id: &str, identity: &[&str], peer: Option<u16>| {
            let mut a = agent(id);
            a.identity = identity.iter().map(|i| Private::new((*i).to_owned())).collect();
            a.peer = peer.map(PeerId);
            site.agents.push(Arc::new(a));
        };
        at("ada", &["Ada", "+14255551234"], None);
        at("bob0", &["1001"], Some(0));
        at("bob1", &["1001"], Some(1));
        at("cyd", &["cyd@host.example"], None);
        site
    }

    #[test]
    fn an_agent_is_known_by_number_name_or_address_and_a_pbx_may_keep_its_names_to_itself() {
        let site = two_pbxs();
        let directory = Directory::new(&site);
        for (peer, uri, id) in [
            (0, "sip:ada@10.0.0.5", Some("ada")),
            (0, "sip:ADA@10.0.0.5", Some("ada")),
            (1, "sip:%61da@10.0.0.5", Some("ada")),
            (0, "sip:+14255551234@x", Some("ada")),
            (0, "sip:4255551234@x", Some("ada")),
            (0, "tel:+1-425-555-1234", Some("ada")),
            (0, "sip:14255551234;phone-context=x@x", Some("ada")),
            (0, "sip:1001@x", Some("bob0")),
            (1, "sip:1001@x", Some("bob1")),
            (2, "sip:1001@x", None),
            (0, "sip:cyd@host.example", Some("cyd")),
            (0, "sip:cyd@HOST.example:5062", Some("cyd")),
            (0, "sip:cyd@other.example", None),
            (0, "sip:adam@x", None),
            (0, "sip:x", None),
            (0, "", None),
        ] {
            let found = directory.find(Some(PeerId(peer)), uri.as_bytes()).map(|a| a.id.reveal().as_str());
            assert_eq!(found, id, "{peer} {uri}");
        }
    }

    #[test]
    fn every_asserted_identity_is_tried_and_then_from_unless_the_peer_says_otherwise() {
        let mut site = two_pbxs();
        let evidence = CallerEvidence {
            asserted: &[b"sip:nobody@x", b"tel:+14255551234"],
            from: b"sip:cyd@host.example",
            contact: b"sip:7@10.0.0.5",
        };
        let who = |site: &Site| Directory::new(site).identify(site, Origin::Peer(PeerId(0)), &evidence).key().to_owned();
        assert_eq!(who(&site), "ada");
        site.peers[0].identity_from = vec![IdentityFrom::From];
        assert_eq!(who(&site), "cyd");
    }

    #[test]
    fn an_unknown_caller_is_peer_identity_and_contact_user_and_is_called_back_as_the_peer_knew_her() {
        let site = two_pbxs();
        let directory = Directory::new(&site);
        let of = |asserted: &[&[u8]], contact: &[u8]| {
            let evidence = CallerEvidence { asserted, from: b"sip:guest7@10.0.0.5", contact };
            directory.identify(&site, Origin::Peer(PeerId(0)), &evidence)
        };
        let first = of(&[b"sip:+12065550000@x"], b"sip:a@10.0.0.5");
        assert_eq!(first.key(), of(&[b"sip:+12065550000@y"], b"sip:a@10.0.0.5:9").key());
        assert_ne!(first.key(), of(&[b"sip:+12065550000@x"], b"sip:b@10.0.0.5").key());
        assert_ne!(first.key(), of(&[b"sip:+12065550001@x"], b"sip:a@10.0.0.5").key());
        let Who::Unknown { user, .. } = &first.who else { panic!("she is not configured") };
        assert_eq!(user.reveal(), "guest7");
        assert_eq!(first.agent().map(|a| a.id.clone()), None);
    }

    #[test]
    fn r7_the_agents_country_counts_before_the_peers_and_the_nodes() {
        let mut site = two_pbxs();
        let parse = |text| Country::parse(text);
        site.country = parse("US");
        assert_eq!(country(&site, None, None), parse("US"));
        site.peers[0].country = parse("DK");
        assert_eq!(country(&site, None, Some(PeerId(0))), parse("DK"));
        let mut gb = agent("gb");
        gb.country = parse("GB");
        assert_eq!(country(&site, Some(&gb), Some(PeerId(0))), parse("GB"));
    }
}

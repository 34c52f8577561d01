//! What is allowed and still worth a look: [`lint`].

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use super::address::Source;
use super::model::{Config, Contacts, PresenceKind, Profile, Trunk, TrunkPath};
use super::relations::known_sites;
use super::value::masked;
use super::{meet, tls};
use crate::io::clock;
use crate::io::notifier::post::Hook;
use crate::words::plan::plan;
use crate::words::{E164, Private};

/// One thing to know about a configuration that starts. Names neighbours and routes, no person, number or address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub weight: Weight,
    /// The key it is about.
    pub key: String,
    /// What is so, and what it means.
    pub what: String,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Good to know.
    Note,
    /// Probably not what was meant, or a promise that is weaker for it.
    Warning,
}

impl Weight {
    /// `note` or `warning`
    pub const fn word(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
        }
    }
}

impl fmt::Display for Finding {
    /// `warning: key: what`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.weight.word(), self.key, self.what)
    }
}

/// Everything worth a look, in the order of the call's way: routes, numbers, neighbours, agents, notices.
pub fn lint(config: &Config) -> Vec<Finding> {
    let mut found = Findings(Vec::new());
    routes(config, &mut found);
    profile(config, &mut found);
    callback_numbers(config, &mut found);
    sources(config, &mut found);
    identities(config, &mut found);
    ways_out(config, &mut found);
    notices(config, &mut found);
    meet::lint(config, &mut found);
    tls::lint(config, clock::wall(), &mut found);
    found.0
}

pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn note(&mut self, key: impl Into<String>, what: impl Into<String>) {
        self.0.push(Finding { weight: Weight::Note, key: key.into(), what: what.into() });
    }

    pub(super) fn warn(&mut self, key: impl Into<String>, what: impl Into<String>) {
        self.0.push(Finding { weight: Weight::Warning, key: key.into(), what: what.into() });
    }
}

/// Each emergency number of the config's countries, once.
fn emergency_numbers(config: &Config) -> Vec<&'static str> {
    let mut numbers: Vec<_> =
        config.emergency.countries.iter().filter_map(|c| plan(*c)).flat_map(|p| p.emergency.iter().copied()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// Which route catches 911 (RULES P1 to P3, P9).
fn routes(config: &Config, found: &mut Findings) {
    let numbers = emergency_numbers(config);
    for number in &numbers {
        let catching = config.voice_routes.iter().filter(|r| r.pattern.is_match(number));
        let ways: Vec<_> = catching
            .map(|r| {
                format!(
                    "route \"{}\" ({})",
                    r.name,
                    r.trunks.iter().filter_map(|t| config.trunks.get(*t)).map(|t| t.name.as_str()).collect::<Vec<_>>().join(", ")
                )
            })
            .collect();
        match ways.is_empty() {
            false => found.note("voice_route", format!("{number} goes by {}", ways.join(", then "))),
            true => found.note("voice_route", format!("{number} matches no route and goes by direct offer")),
        }
    }
    for (i, route) in config.voice_routes.iter().enumerate() {
        let caught: Vec<_> = numbers.iter().copied().filter(|n| route.pattern.is_match(n)).collect();
        let key = format!("voice_route[{i}]");
        let is_catch_all = ["4255550123", "14255550123", "+14255550123"].iter().any(|n| route.pattern.is_match(n));
        match (route.emergency, caught.is_empty(), is_catch_all) {
            (true, true, _) => {
                found.warn(key, format!("route \"{}\" says emergency = true and matches no emergency number", route.name))
            }
            (false, false, true) => found.warn(
                key,
                format!(
                    "route \"{}\" is a catch-all and catches {} too; say emergency = true if that is meant",
                    route.name,
                    caught.join(", ")
                ),
            ),
            (false, false, false) => {
                found.note(key, format!("route \"{}\" catches {}; say emergency = true", route.name, caught.join(", ")))
            }
            _ => {}
        }
    }
}

/// `acs-strict` is the one exception to "the call goes out" (RULES P5).
fn profile(config: &Config, found: &mut Findings) {
    if config.routing.profile == Profile::AcsStrict {
        let what = "acs-strict: an emergency call ends when its routes are exhausted; failover on 408, 503 and 504 only, \
                    no contingency number, no second round";
        found.warn("routing.profile", what);
    }
}

/// Whether every trunk that may carry 911 has a number to show (RULES L5, L7).
fn callback_numbers(config: &Config, found: &mut Findings) {
    let sites = known_sites(config);
    for (i, trunk) in config.trunks.iter().enumerate().filter(|(i, t)| carries_emergencies(config, *i, t)) {
        let has_pool = !trunk.callback_numbers.is_empty() || config.callback_pools.iter().any(|p| p.trunk == i);
        let has_shared = trunk.fallback_number.is_some() || trunk.default_number.is_some();
        match (has_pool, has_shared) {
            (false, false) => found.warn(
                format!("trunk[{i}]"),
                format!("trunk \"{}\" may carry emergencies and has no callback number: the PSAP cannot call back", trunk.name),
            ),
            (false, true) => found.warn(
                format!("trunk[{i}]"),
                format!("trunk \"{}\" has no pool: all its emergencies share one number", trunk.name),
            ),
            (true, false) => {
                found.note(
                    format!("trunk[{i}]"),
                    format!("trunk \"{}\" has neither fallback_number nor default_number for an empty pool", trunk.name),
                );
            }
            (true, true) => {}
        }
    }
    for (i, pool) in config.callback_pools.iter().enumerate().filter(|(_, p)| !sites.contains(&p.site.as_str())) {
        found.warn(format!("callback_pool[{i}].site"), format!("no peer or agent is at site \"{}\"", pool.site));
    }
}

fn carries_emergencies(config: &Config, place: usize, trunk: &Trunk) -> bool {
    let is_offer = trunk.path == TrunkPath::DirectOffer && !trunk.numbers.is_empty();
    let numbers = emergency_numbers(config);
    is_offer || config.voice_routes.iter().any(|r| r.trunks.contains(&place) && numbers.iter().any(|n| r.pattern.is_match(n)))
}

/// Sources that overlap, and sources that let everybody in.
fn sources(config: &Config, found: &mut Findings) {
    let peers = config
        .peers
        .iter()
        .enumerate()
        .flat_map(|(i, p)| p.sources.iter().map(move |s| (format!("peer[{i}].sources"), p.name.as_str(), *s)));
    let trunks = config
        .trunks
        .iter()
        .enumerate()
        .flat_map(|(i, t)| t.sources.iter().map(move |s| (format!("trunk[{i}].sources"), t.name.as_str(), *s)));
    let all: Vec<_> = peers.chain(trunks).collect();
    for (i, (key, name, source)) in all.iter().enumerate() {
        if matches!(source, Source::Net { bits: 0, .. }) {
            found.warn(key, format!("\"{name}\" takes everybody for itself"));
        }
        for (_, other, _) in all.iter().take(i).filter(|(k, _, s)| k != key && s == source) {
            let what = format!(
                "\"{other}\" and \"{name}\" share a source: a leased number from there is a callback unless the caller is an agent's or ours"
            );
            found.note(key, what);
        }
        for (_, other, _) in all.iter().filter(|(k, _, s)| k != key && s != source && covers(*s, *source)) {
            found.note(key, format!("\"{name}\" lies within a network of \"{other}\"; the more specific one wins"));
        }
    }
}

/// Whether every packet of the second is one of the first as well.
fn covers(wide: Source, narrow: Source) -> bool {
    let Source::Net { address, bits } = wide else { return false };
    let (inner, length) = match narrow {
        Source::Net { address, bits } => (address, bits),
        Source::Endpoint(endpoint) => (endpoint.ip(), if endpoint.is_ipv4() { 32 } else { 128 }),
    };
    let is_same_family = matches!((address, inner), (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)));
    is_same_family && bits <= length && masked(inner, bits) == address
}

/// Agents that calls cannot tell apart.
fn identities(config: &Config, found: &mut Findings) {
    let mut seen: BTreeMap<String, Vec<(usize, Option<usize>)>> = BTreeMap::new();
    for (i, agent) in config.agents.iter().enumerate() {
        for identity in &agent.identity {
            let text = identity.reveal();
            let same = E164::from_neighbour(text.as_bytes()).map_or_else(|| text.to_lowercase(), |n| n.to_string());
            let holders = seen.entry(same).or_default();
            let shared =
                holders.iter().find(|(j, peer)| *j != i && (peer.is_none() || agent.peer.is_none() || *peer == agent.peer));
            if let Some((other, _)) = shared {
                let what = format!(
                    "agent[{other}] has one of these identities too: their calls cannot be told apart; give each a peer, or another identity"
                );
                found.warn(format!("agent[{i}].identity"), what);
            }
            holders.push((i, agent.peer));
        }
    }
    for (i, peer) in config.peers.iter().enumerate() {
        if !config.agents.iter().any(|a| a.peer.is_none_or(|p| p == i)) {
            let what = format!(
                "no agent is behind peer \"{}\": its callers are told apart by what it shows; a PBX that shows one number for everybody makes everybody one agent",
                peer.name
            );
            found.note(format!("peer[{i}]"), what);
        }
    }
}

/// Where a callback and an ordinary call end when nobody is there.
fn ways_out(config: &Config, found: &mut Findings) {
    if config.callback.desk.is_none() && config.peers.iter().any(|p| p.desk.is_none())
        || config.callback.desk.is_none() && config.peers.is_empty()
    {
        found.warn("callback.desk", "there is no desk: a callback that no device answers reaches nobody");
    }
    if config.peers.is_empty() {
        found.warn("peer", "there is no peer: nobody can send us a call");
    } else if config.routing.inbound.is_none() {
        found.note("routing.inbound", "is not set: ordinary inbound calls get 404");
    }
    if config.routing.contingency.is_none() && config.routing.profile == Profile::Emergency {
        found.note("routing.contingency", "is not set: when every trunk refuses 911 there is no last resort");
    }
    if config.callback.allow_short_ttl {
        found.warn("callback.allow_short_ttl", "numbers may lead back for less than 60 minutes");
    }
    let is_named = config.listen.iter().any(|l| l.public.is_some() || !l.bind.ip().is_unspecified());
    if config.node.domain == config.node.name && !is_named {
        found.warn("node.domain", "is not set and no listener says its public host: From shows the node's name");
    }
}

/// A login over a connection that nothing makes secret, to another machine.
fn sends_a_password_in_the_clear(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("smtp://") else { return false };
    let here = |place: &str| place.starts_with("127.") || place.starts_with("localhost") || place.starts_with("[::1]");
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    !rest.contains("tls=") && authority.rsplit_once('@').is_some_and(|(_, place)| !here(place))
}

/// Who is told.
fn notices(config: &Config, found: &mut Findings) {
    let nobody = |c: &Contacts| c.valid.is_empty();
    match (&config.notify.smtp, nobody(&config.notify.site_contacts)) {
        (None, _) => found.warn("notify.smtp", "is not set: nobody is told of an emergency call by mail"),
        (Some(_), true) => {
            found.warn("notify.site_contacts", "names nobody: only agents' own contacts are told of an emergency call")
        }
        (Some(_), false) => {}
    }
    if config.notify.smtp.as_ref().is_some_and(|url| sends_a_password_in_the_clear(url.reveal())) {
        found.warn("notify.smtp", "sends its password unencrypted; write smtps://…, or add ?tls=required for STARTTLS");
    }
    let mut rejected = |key: String, contacts: &Contacts| {
        for (place, entry) in &contacts.rejected {
            found.warn(key.clone(), format!("entry {place}, \"{}\", is no mailbox and is left out", entry.reveal()));
        }
    };
    rejected("notify.site_contacts".to_owned(), &config.notify.site_contacts);
    rejected("notify.test_contacts".to_owned(), &config.notify.test_contacts);
    for (i, agent) in config.agents.iter().enumerate() {
        rejected(format!("agent[{i}].contacts"), &agent.contacts);
    }
    let mut readable = |key: &str, url: Option<&Private<String>>| {
        if url.and_then(|url| Hook::new(url.reveal()).ok()).is_some_and(|hook| hook.is_in_the_clear()) {
            found.warn(key.to_owned(), "sends what it tells unencrypted to another machine; write https://…");
        }
    };
    readable("notify.webhook", config.notify.webhook.as_ref());
    readable("notify.alarm_url", config.notify.alarm_url.as_ref());
    if let PresenceKind::Webhook(url) = &config.presence.kind {
        readable("presence.url", Some(url));
    }
    if matches!(config.presence.kind, PresenceKind::None) {
        found.note("presence.kind", "is none: no presence system is told of an agent's DND");
    }
}

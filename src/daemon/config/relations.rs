//! What holds between sections: names, sources and numbers that may stand once only, and RULES P10.

use std::collections::BTreeMap;

use super::address::{SipTarget, Source};
use super::mistake::{Notebook, nearest};
use super::model::{Config, Listen, PresenceKind, TrunkPath};
use super::range::NumberRange;
use super::{tls, value};
use crate::words::plan::plan;
use crate::words::{Country, E164};

/// Notes every mistake between sections.
pub(super) fn check(config: &Config, notes: &Notebook) {
    names_stand_once(config, notes);
    listeners_stand_once(config, notes);
    sources_stand_once("peer", config.peers.iter().map(|p| p.sources.as_slice()), notes);
    sources_stand_once("trunk", config.trunks.iter().map(|t| t.sources.as_slice()), notes);
    certificate_names_stand_once("peer", config.peers.iter().map(|p| p.certificate_names.as_slice()), notes);
    certificate_names_stand_once("trunk", config.trunks.iter().map(|t| t.certificate_names.as_slice()), notes);
    numbers_stand_once(config, notes);
    sites_are_known(config, notes);
    neighbours_have_listeners(config, notes);
    tls::is_there_where_needed(config, notes);
    tls::names_can_be_proved(config, notes);
    let is_readable = ["voice_route", "trunk", "emergency", "routing"].iter().all(|section| !notes.has_mistake_in(section));
    if is_readable {
        every_emergency_number_can_be_placed(config, notes);
        somebody_can_be_called_back(config, notes);
    }
}

/// Whoever we call must be reached from one of our listeners: same transport, same address family.
fn neighbours_have_listeners(config: &Config, notes: &Notebook) {
    let reached = |to: &SipTarget| match &to.name {
        // Any transport and address family may be what it leads to.
        Some(name) if name.transport.is_none() && !name.sips => {
            config.listen.iter().any(|l| value::speech(l.transport).is_some())
        }
        Some(_) => config.listen.iter().any(|l| l.transport == to.transport),
        None => config.listen.iter().any(|l| l.transport == to.transport && l.bind.is_ipv4() == to.address.is_ipv4()),
    };
    let check = |key: String, to: &SipTarget| {
        if !config.listen.is_empty() && !reached(to) {
            let family = match to.address.is_ipv4() {
                _ if to.name.is_some() => "",
                true => " on IPv4",
                false => " on IPv6",
            };
            notes.note(&key, format!("no [[listen]] has transport {}{family}; add one", to.transport));
        }
    };
    for (i, peer) in config.peers.iter().enumerate() {
        check(format!("peer[{i}].uri"), &peer.target);
        peer.desk.iter().for_each(|d| check(format!("peer[{i}].desk"), d));
    }
    for (i, trunk) in config.trunks.iter().enumerate() {
        check(format!("trunk[{i}].uri"), &trunk.target);
    }
    config.callback.desk.iter().for_each(|d| check("callback.desk".to_owned(), d));
    if let PresenceKind::SipPublish(server) = &config.presence.kind {
        check("presence.server".to_owned(), server);
    }
    for (i, agent) in config.agents.iter().enumerate() {
        for (key, list) in [("devices", &agent.devices), ("alternates", &agent.alternates)] {
            list.iter().enumerate().for_each(|(j, to)| check(format!("agent[{i}].{key}[{j}]"), to));
        }
    }
}

/// A PSAP must be shown some number (RULES L7: never a refusal): one in the whole config is enough for that.
fn somebody_can_be_called_back(config: &Config, notes: &Notebook) {
    let shared = config.trunks.iter().any(|t| t.fallback_number.is_some() || t.default_number.is_some());
    if !config.trunks.is_empty() && !shared && leased_ranges(config).is_empty() {
        let what = "no callback number in the whole config; add callback_numbers to a trunk, the numbers that it routes to us";
        notes.note("trunk[0]", what);
    }
}

/// The emergency numbers of a country that no route matches and no direct offer takes (RULES P2, P3, P10).
pub(super) fn unplaceable(config: &Config, country: Country) -> Vec<&'static str> {
    let has_direct_offer = config.trunks.iter().any(|t| t.path == TrunkPath::DirectOffer && !t.numbers.is_empty());
    let routed = |number: &str| config.voice_routes.iter().any(|r| !r.trunks.is_empty() && r.pattern.is_match(number));
    let numbers = plan(country).into_iter().flat_map(|p| p.emergency.iter().copied());
    numbers.filter(|n| !has_direct_offer && !routed(n)).collect()
}

/// Every range that numbers are leased from, with its key: trunks' first, then the sites' pools.
fn leased_ranges(config: &Config) -> Vec<(String, NumberRange)> {
    let of_trunk = |(i, ranges): (usize, &Vec<NumberRange>)| keyed(&format!("trunk[{i}].callback_numbers"), ranges);
    let of_pool = |(i, ranges): (usize, &Vec<NumberRange>)| keyed(&format!("callback_pool[{i}].numbers"), ranges);
    let trunks = config.trunks.iter().map(|t| &t.callback_numbers).enumerate().flat_map(of_trunk);
    trunks.chain(config.callback_pools.iter().map(|p| &p.numbers).enumerate().flat_map(of_pool)).collect()
}

fn keyed(key: &str, ranges: &[NumberRange]) -> Vec<(String, NumberRange)> {
    ranges.iter().enumerate().map(|(i, r)| (format!("{key}[{i}]"), *r)).collect()
}

fn names_stand_once(config: &Config, notes: &Notebook) {
    once("peer", "name", config.peers.iter().map(|p| p.name.as_str()), notes);
    once("trunk", "name", config.trunks.iter().map(|t| t.name.as_str()), notes);
    once("outbound_profile", "name", config.outbound_profiles.iter().map(|p| p.name.as_str()), notes);
    once("agent", "id", config.agents.iter().map(|a| a.id.reveal().as_str()), notes);
    if !notes.has_mistake_in("voice_route") {
        once("voice_route", "name", config.voice_routes.iter().map(|r| r.name.as_str()), notes);
    }
}

fn once<'a>(section: &str, key: &str, names: impl Iterator<Item = &'a str>, notes: &Notebook) {
    let mut seen = BTreeMap::new();
    for (i, name) in names.enumerate().filter(|(_, n)| !n.is_empty()) {
        if let Some(first) = seen.insert(name.to_ascii_lowercase(), i) {
            notes.note(&format!("{section}[{i}].{key}"), format!("{section}[{first}] has the same {key}; {key}s stand once"));
        }
    }
}

fn listeners_stand_once(config: &Config, notes: &Notebook) {
    for (i, listen) in config.listen.iter().enumerate().filter(|(_, l)| l.bind.port() != 0) {
        let alike = |e: &Listen| e.transport.is_stream() == listen.transport.is_stream();
        if config.listen.iter().take(i).any(|e| alike(e) && e.bind == listen.bind) {
            let what = "another [[listen]] has the same address; streams need a port each";
            notes.note(&format!("listen[{i}].bind"), what);
        }
    }
    if config.listen.iter().any(|l| l.transport.is_stream() && l.bind == config.http.bind && l.bind.port() != 0) {
        notes.note("http.bind", "a [[listen]] has the same address; take another port");
    }
}

fn sources_stand_once<'a>(section: &str, all: impl Iterator<Item = &'a [Source]>, notes: &Notebook) {
    let mut seen: BTreeMap<Source, usize> = BTreeMap::new();
    for (i, sources) in all.enumerate() {
        for (j, source) in sources.iter().enumerate() {
            match seen.get(source) {
                Some(first) if *first == i => notes.note(&format!("{section}[{i}].sources[{j}]"), "stands twice in this list"),
                Some(first) => {
                    let what = format!(
                        "{section}[{first}] has the same source, which tells whom a call comes from; where two share an address, write sources as host:port"
                    );
                    notes.note(&format!("{section}[{i}].sources[{j}]"), what);
                }
                None => {
                    seen.insert(*source, i);
                }
            }
        }
    }
}

fn certificate_names_stand_once<'a>(section: &str, all: impl Iterator<Item = &'a [String]>, notes: &Notebook) {
    let mut seen = BTreeMap::new();
    for (i, names) in all.enumerate() {
        for name in names {
            if let Some(first) = seen.insert(name, i) {
                let what = format!("{section}[{first}] has the same certificate name, which tells whom a call comes from");
                notes.note(&format!("{section}[{i}].sources"), what);
            }
        }
    }
}

fn numbers_stand_once(config: &Config, notes: &Notebook) {
    let mut ranges = leased_ranges(config);
    ranges.sort_by_key(|(_, r)| *r);
    note_overlaps(&ranges, "a callback number stands once", notes);
    let within = |n: E164| ranges.iter().find(|(_, r)| r.contains(n)).map(|(key, _)| key.as_str());
    let lone = |key: String, number: Option<E164>, why: &str| {
        if let Some(pool) = number.and_then(within) {
            notes.note(&key, format!("is one of {pool}; {why}"));
        }
    };
    for (i, agent) in config.agents.iter().enumerate() {
        lone(format!("agent[{i}].number"), agent.number, "an agent's own number is never leased");
        for (j, identity) in agent.identity.iter().enumerate() {
            let what = "an agent's own number is never leased, and a 911 call from it would be taken for ours coming back";
            lone(format!("agent[{i}].identity[{j}]"), E164::parse(identity.reveal()), what);
        }
    }
    for (i, trunk) in config.trunks.iter().enumerate() {
        lone(format!("trunk[{i}].fallback_number"), trunk.fallback_number, "the fallback number is shared, a pool's is not");
        lone(format!("trunk[{i}].default_number"), trunk.default_number, "the default number is shared, a pool's is not");
    }
    for (i, profile) in config.outbound_profiles.iter().enumerate() {
        lone(format!("outbound_profile[{i}].caller_id"), profile.caller_id, "ordinary calls never show a callback number");
    }
    lone("routing.contingency".to_owned(), config.routing.contingency, "the last resort is somebody else's number");
    let bought = config.trunks.iter().enumerate().flat_map(|(i, t)| keyed(&format!("trunk[{i}].numbers"), &t.numbers));
    let mut bought: Vec<_> = bought.collect();
    bought.sort_by_key(|(_, r)| *r);
    note_overlaps(&bought, "a bought number stands once", notes);
}

/// Ranges in order: each may only begin behind the highest end so far.
fn note_overlaps(ranges: &[(String, NumberRange)], why: &str, notes: &Notebook) {
    let mut highest: Option<&(String, NumberRange)> = None;
    for range in ranges {
        if let Some((earlier, _)) = highest.filter(|(_, h)| h.overlaps(range.1)) {
            notes.note(&range.0, format!("overlaps {earlier}; {why}"));
        }
        if highest.is_none_or(|(_, h)| h.last < range.1.last) {
            highest = Some(range);
        }
    }
}

/// A pool of a site that nobody is at still helps (RULES L7); a slip in a known site's name does not.
fn sites_are_known(config: &Config, notes: &Notebook) {
    let sites = known_sites(config);
    for (i, pool) in config.callback_pools.iter().enumerate().filter(|(_, p)| !sites.contains(&p.site.as_str())) {
        if let Some(near) = nearest(&pool.site, sites.iter().copied()) {
            notes
                .note(&format!("callback_pool[{i}].site"), format!("no peer or agent is at this site; did you mean \"{near}\"?"));
        }
    }
}

/// The sites that a peer or an agent is at.
pub(super) fn known_sites(config: &Config) -> Vec<&str> {
    let peers = config.peers.iter().filter_map(|p| p.site.as_deref());
    peers.chain(config.agents.iter().filter_map(|a| a.site.as_deref())).collect()
}

fn every_emergency_number_can_be_placed(config: &Config, notes: &Notebook) {
    let is_listed = notes.line("emergency.countries").is_some() || notes.is_variable("emergency.countries");
    let key = if is_listed { "emergency.countries" } else { "voice_route" };
    for country in &config.emergency.countries {
        for number in unplaceable(config, *country) {
            let what = format!(
                "{number} of {country} cannot be placed: no [[voice_route]] matches it and no direct-offer trunk has numbers; \
                 add a route for it, or leave the country out of emergency.countries"
            );
            notes.note(key, what);
        }
    }
}

//! Host names in the configuration: what is to be looked up, and the configuration with what was found filled in.
//!
//! Who looks up is [`dns`](crate::io::dns), beside the calls. A name of which nothing is known leads nowhere: its trunk counts
//! as down and is tried as soon as it leads somewhere. What was found last is kept in the store: after a power cut the gateway
//! may be back before any name server is, and 911 must go out (promise 1).

use super::config::{Config, PresenceKind, SipTarget, Source, Transport};
use crate::io::dns::{Answers, Question, Speech, Wanted, Way};
use crate::words::{Row, Saved, Table};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// What is to be looked up for this configuration.
pub(super) fn wanted(config: &mut Config) -> Wanted {
    let mut questions = BTreeSet::new();
    each_target(config, |target| questions.extend(target.name.clone()));
    each_neighbour(config, |target, names, _| questions.extend(hosts(target, names)));
    let speaks = config.listen.iter().filter_map(|l| Some((speech(l.transport)?, l.bind.is_ipv6())));
    Wanted { questions, servers: config.dns.servers.clone(), speaks: speaks.collect() }
}

/// The configuration with where its names lead.
pub(super) fn filled(mut config: Config, answers: &Answers) -> Config {
    each_target(&mut config, |target| {
        let ways = target.name.as_ref().and_then(|name| answers.ways.get(name)).into_iter().flatten();
        let mut ways = ways.map(|way| (transport(way.speech), way.address));
        if let Some((transport, address)) = ways.next() {
            (target.transport, target.address) = (transport, address);
            target.others = ways.collect();
        }
    });
    each_neighbour(&mut config, |target, names, sources| {
        let of_uri = target.name.is_some() && sources.is_empty() && names.is_empty();
        let own = of_uri.then(|| std::iter::once(target.address).chain(target.others.iter().map(|o| o.1)).map(|at| at.ip()));
        let named = hosts(target, names).into_iter().filter_map(|q| answers.ways.get(&q)).flatten().map(|way| way.address.ip());
        let found: BTreeSet<IpAddr> = own.into_iter().flatten().chain(named).filter(|ip| !ip.is_unspecified()).collect();
        sources.extend(found.into_iter().map(host));
    });
    config
}

/// The row that keeps where names lead.
const KEY: &str = "names";

/// Where names lead, for the next run.
pub(super) fn row(answers: &Answers) -> Option<Row> {
    let all: Vec<_> = answers.ways.iter().collect();
    Some(Row::keep(Table::Node, KEY, serde_json::to_vec(&all).ok()?))
}

/// Where the names that are wanted led when an earlier run looked last.
pub(super) fn kept(saved: &Saved, wanted: &Wanted) -> Answers {
    let all = saved.get(Table::Node, KEY).and_then(|row| serde_json::from_slice::<Vec<(Question, Vec<Way>)>>(row).ok());
    let known = all.into_iter().flatten().filter(|(question, ways)| wanted.questions.contains(question) && !ways.is_empty());
    Answers { ways: known.collect(), is_complete: false }
}

/// A name among a neighbour's sources is looked up as well, unless it is there for its certificate.
fn hosts(target: &SipTarget, names: &[String]) -> Vec<Question> {
    let is_secure = target.transport.is_secure();
    let question = |host: &String| Question { host: host.clone(), port: Some(5060), transport: Some(Speech::Udp), sips: false };
    names.iter().filter(|_| !is_secure).map(question).collect()
}

const fn host(address: IpAddr) -> Source {
    Source::Net { address, bits: if address.is_ipv4() { 32 } else { 128 } }
}

fn each_neighbour(config: &mut Config, mut with: impl FnMut(&SipTarget, &[String], &mut Vec<Source>)) {
    config.peers.iter_mut().for_each(|p| with(&p.target, &p.certificate_names, &mut p.sources));
    config.trunks.iter_mut().for_each(|t| with(&t.target, &t.certificate_names, &mut t.sources));
}

fn each_target(config: &mut Config, mut with: impl FnMut(&mut SipTarget)) {
    for peer in &mut config.peers {
        with(&mut peer.target);
        peer.desk.iter_mut().for_each(&mut with);
    }
    config.trunks.iter_mut().for_each(|t| with(&mut t.target));
    config.callback.desk.iter_mut().for_each(&mut with);
    if let PresenceKind::SipPublish(server) = &mut config.presence.kind {
        with(server);
    }
    for agent in &mut config.agents {
        agent.devices.iter_mut().chain(&mut agent.alternates).for_each(&mut with);
    }
}

/// Every target with a name, to find its flows by its URI.
pub(super) fn named(config: &Config) -> impl Iterator<Item = &SipTarget> {
    let peers = config.peers.iter().filter_map(|p| p.desk.as_ref());
    let agents = config.agents.iter().flat_map(|a| a.devices.iter().chain(&a.alternates));
    peers.chain(&config.callback.desk).chain(agents).filter(|t| t.name.is_some())
}

const fn speech(transport: Transport) -> Option<Speech> {
    match transport {
        Transport::Udp => Some(Speech::Udp),
        Transport::Tcp => Some(Speech::Tcp),
        Transport::Tls => Some(Speech::Tls),
        Transport::Ws | Transport::Wss => None,
    }
}

const fn transport(speech: Speech) -> Transport {
    match speech {
        Speech::Udp => Transport::Udp,
        Speech::Tcp => Transport::Tcp,
        Speech::Tls => Transport::Tls,
    }
}

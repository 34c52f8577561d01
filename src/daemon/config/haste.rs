//! `--time-scale`: rules that take an hour, seen in seconds.
//!
//! Leases, quarantine, DND's hold and the pauses of retries run faster; SIP timers do not. It is for tests: a real
//! caller's number must not lead elsewhere after a minute, so it works only where nobody but this machine is reached.

use super::Config;
use super::address::{SipTarget, Source};
use super::model::PresenceKind;
use std::net::IpAddr;

/// Something of the configuration lies outside this machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--time-scale: {0} is not on loopback; it is for tests on one machine only")]
pub struct Beyond(String);

impl Config {
    /// Makes leases, quarantine, DND's hold and retries so many times faster.
    ///
    /// # Errors
    ///
    /// A listener or a neighbour is not on loopback.
    pub fn hasten(&mut self, times: u32) -> Result<(), Beyond> {
        let times = times.max(1);
        if times == 1 {
            return Ok(());
        }
        match self.addresses().into_iter().find(|(_, ip)| !ip.to_canonical().is_loopback()) {
            Some((what, _)) => return Err(Beyond(what)),
            None => self.time_scale = times,
        }
        for time in [&mut self.callback.ttl, &mut self.callback.tail, &mut self.callback.quarantine, &mut self.presence.hold] {
            *time /= times;
        }
        Ok(())
    }

    /// Every listener and neighbour, by what the file calls it.
    fn addresses(&self) -> Vec<(String, IpAddr)> {
        let mut all = Vec::new();
        let mut at = |what: String, ip| all.push((what, ip));
        self.listen.iter().for_each(|l| at("a [[listen]]".to_owned(), l.bind.ip()));
        let sources = |sources: &[Source]| sources.iter().map(|s| s.ip()).collect::<Vec<_>>();
        for peer in &self.peers {
            let own = sources(&peer.sources).into_iter().chain(ips([&peer.target]).chain(ips(&peer.desk)));
            own.for_each(|ip| at(format!("peer {}", peer.name), ip));
        }
        for trunk in &self.trunks {
            let own = sources(&trunk.sources).into_iter().chain(ips([&trunk.target]));
            own.for_each(|ip| at(format!("trunk {}", trunk.name), ip));
        }
        for agent in &self.agents {
            ips(&agent.devices).chain(ips(&agent.alternates)).for_each(|ip| at("an agent's device".to_owned(), ip));
        }
        ips(&self.callback.desk).for_each(|ip| at("callback.desk".to_owned(), ip));
        if let PresenceKind::SipPublish(server) = &self.presence.kind {
            at("presence.server".to_owned(), server.address.ip());
        }
        all
    }
}

impl Source {
    const fn ip(&self) -> IpAddr {
        match self {
            Self::Endpoint(at) => at.ip(),
            Self::Net { address, .. } => *address,
        }
    }
}

fn ips<'a>(targets: impl IntoIterator<Item = &'a SipTarget>) -> impl Iterator<Item = IpAddr> {
    targets.into_iter().map(|t| t.address.ip())
}

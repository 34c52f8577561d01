//! Whom a callback rings, in which order, and how far its claim is believed (RULES C1 to C9).
//!
//! Pure policy: [`plan`] turns what a number leads to into a [`Plan`]; [`ringing`](super::ringing) carries it out.
//! Forwarding, voicemail, queues, do-not-disturb and capacity are not asked: no type here could hold them (C1).

use std::time::Duration;

use super::caller::{Caller, Who};
use super::devices::Devices;
use super::facts::{Device, Marks};
use super::privacy::Tier;
use super::second_call::Phones;
use super::site::Site;
use crate::words::Private;

/// The holders of a shared number besides the newest, and the desk, ring after this (RULES L7).
pub const OTHERS_AFTER: Duration = Duration::from_secs(5);

/// The desk rings beside an agent whose emergency call is still up after this (RULES C3).
const DESK_BESIDE_CALL: Duration = Duration::from_secs(15);

/// Whom to ring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Groups that follow each other: the devices of a group ring together, the next group follows as soon as nobody
    /// of those before is there. The desk is not among them.
    pub groups: Vec<Vec<Device>>,
    /// Other holders of a shared number; they ring beside after [`OTHERS_AFTER`].
    pub others: Vec<Device>,
    /// Where a live person always answers.
    pub desk: Option<Device>,
    /// When the desk rings beside the others at the latest.
    pub desk_after: Duration,
    /// A busy device brings in the desk at once (RULES C3).
    pub desk_when_busy: bool,
    /// A device that registers while others ring rings with them (RULES C4).
    pub may_join: bool,
    /// Phones that are offered the callback again after an ordinary call was released for it (RULES C2).
    pub phones: Phones,
}

/// What is known about the number that was called.
#[derive(Clone, Copy, Debug, Default)]
pub struct Situation {
    /// The claim.
    pub tier: Option<Tier>,
    /// Too many unmarked callbacks to this number (RULES C6).
    pub crowded: bool,
    /// Held by several (RULES L7).
    pub shared: bool,
    /// The trunk's fallback or default number.
    pub newest_first: bool,
    /// It had another holder whose quarantine is not over (RULES C5).
    pub desk_at_once: bool,
    /// The agent's emergency call is still up (RULES C3).
    pub on_emergency_call: bool,
}

/// How far a callback is believed (RULES C6). Marks count from a trunk whose marks are trusted.
pub const fn tier(trusted: bool, marks: Marks, open_lease: bool) -> Tier {
    match (trusted && (marks.psap_callback || marks.esnet), open_lease) {
        (true, _) => Tier::T2,
        (false, true) => Tier::T1,
        (false, false) => Tier::T0,
    }
}

/// Whom to ring for these holders, the newest first. Without holders, or too many plain callers: the desk. Where
/// there is no desk, the agent, however many call: nobody is refused.
pub fn plan(site: &Site, devices: &Devices, holders: &[&Caller], situation: &Situation) -> Plan {
    let desk = site.desk(holders.first().and_then(|c| peer(c))).map(|uri| Device::Uri(uri.clone()));
    if (situation.crowded || holders.is_empty()) && desk.is_some() {
        return Plan { desk, ..Plan::default() };
    }
    let at_once = if situation.newest_first { holders.get(..1).unwrap_or_default() } else { holders };
    let mut groups: Vec<Vec<Device>> = Vec::new();
    for holder in at_once {
        for (n, group) in targets(holder, devices).into_iter().enumerate() {
            match groups.get_mut(n) {
                Some(together) => together.extend(group),
                None => groups.push(group),
            }
        }
    }
    let others = holders.iter().skip(at_once.len()).flat_map(|h| targets(h, devices).into_iter().next()).flatten().collect();
    let desk_after = match situation {
        s if s.desk_at_once => Duration::ZERO,
        s if s.shared || s.newest_first => OTHERS_AFTER,
        s if s.on_emergency_call => DESK_BESIDE_CALL.min(site.callback.ring),
        _ => site.callback.ring,
    };
    // On an emergency call C3 decides what a busy phone means.
    let phones = if situation.on_emergency_call { Phones::default() } else { Phones::of(holders, devices) };
    Plan { groups, others, desk, desk_after, desk_when_busy: situation.on_emergency_call, may_join: true, phones }
}

/// One caller's places, group by group (RULES C4): her devices, the PBX that she called from, her alternates. A phone behind
/// the PBX is one of her devices (RULES, Words): it rings with those that registered. Configured devices may be that
/// very phone, so that beside them alone it waits its turn.
pub fn targets(caller: &Caller, devices: &Devices) -> Vec<Vec<Device>> {
    let at_peer = |user: String| peer(caller).map(|p| Device::AtPeer(p, Private::new(user)));
    let groups: Vec<Vec<Device>> = match &caller.who {
        Who::Unknown { user, .. } => vec![at_peer(user.reveal().clone()).into_iter().collect()],
        Who::Agent(agent) => {
            let uris = |list: &[Private<String>]| list.iter().map(|uri| Device::Uri(uri.clone())).collect();
            let user = agent.identity.first().map(|i| user_of(i.reveal()).to_owned());
            let registered: Vec<_> = devices.of(&agent.id).iter().map(|d| Device::Registered(*d)).collect();
            let at_pbx: Vec<_> = user.and_then(at_peer).into_iter().collect();
            match registered.is_empty() {
                true => vec![uris(&agent.devices), at_pbx, uris(&agent.alternates)],
                false => vec![[registered, uris(&agent.devices), at_pbx].concat(), uris(&agent.alternates)],
            }
        }
    };
    groups.into_iter().filter(|g| !g.is_empty()).collect()
}

/// The PBX that the call came from, else the one where the agent's phone is.
fn peer(caller: &Caller) -> Option<super::facts::PeerId> {
    caller.peer.or_else(|| caller.agent().and_then(|a| a.peer))
}

fn user_of(identity: &str) -> &str {
    identity.split_once('@').map_or(identity, |(user, _)| user)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::facts::PeerId;
    use super::super::scenarios::world::{agent, site};
    use super::*;

    fn uri(text: &str) -> Device {
        Device::Uri(Private::new(text.to_owned()))
    }

    fn caller(change: impl FnOnce(&mut super::super::site::Agent)) -> Caller {
        let mut a = agent("ada");
        change(&mut a);
        Caller { who: Who::Agent(Arc::new(a)), peer: Some(PeerId(0)) }
    }

    #[test]
    fn c4_devices_ring_first_then_the_pbx_then_the_alternates() {
        let list = |uris: &[&str]| uris.iter().map(|u| Private::new((*u).to_owned())).collect::<Vec<_>>();
        let all = caller(|a| {
            a.devices = list(&["sip:d1@x", "sip:d2@x"]);
            a.alternates = list(&["sip:alt@x"]);
            a.identity = list(&["ada@pbx.example"]);
        });
        let at_pbx = Device::AtPeer(PeerId(0), Private::new("ada".to_owned()));
        assert_eq!(
            targets(&all, &Devices::default()),
            [vec![uri("sip:d1@x"), uri("sip:d2@x")], vec![at_pbx.clone()], vec![uri("sip:alt@x")]]
        );
        assert_eq!(targets(&caller(|a| a.devices.clear()), &Devices::default()), [vec![at_pbx]]);
        let nowhere = Caller { peer: None, ..caller(|a| a.devices.clear()) };
        assert_eq!(targets(&nowhere, &Devices::default()), Vec::<Vec<Device>>::new());
        let key = Private::new(Arc::from("k"));
        let unknown = Caller { who: Who::Unknown { key, user: Private::new("guest7".to_owned()) }, peer: Some(PeerId(1)) };
        assert_eq!(targets(&unknown, &Devices::default()), [vec![Device::AtPeer(PeerId(1), Private::new("guest7".to_owned()))]]);
    }

    #[test]
    fn c6_marks_count_from_trusted_trunks_only() {
        let (none, psap) = (Marks::default(), Marks { psap_callback: true, esnet: false });
        let esnet = Marks { psap_callback: false, esnet: true };
        for (trusted, marks, open, expected) in [
            (true, psap, true, Tier::T2),
            (true, esnet, false, Tier::T2),
            (false, psap, true, Tier::T1),
            (false, esnet, false, Tier::T0),
            (true, none, true, Tier::T1),
            (true, none, false, Tier::T0),
        ] {
            assert_eq!(tier(trusted, marks, open), expected, "{trusted} {marks:?} {open}");
        }
    }

    #[test]
    fn the_desk_rings_when_the_situation_says() {
        let site = site();
        let (ada, bob) = (caller(|_| {}), caller(|a| a.id = Private::new("bob".to_owned())));
        let s = Situation::default();
        let seconds = Duration::from_secs;
        for (holders, situation, groups, others, after) in [
            (vec![&ada], s, 2, 0, seconds(20)),
            (vec![], s, 0, 0, seconds(0)),
            (vec![&ada], Situation { crowded: true, ..s }, 0, 0, seconds(0)),
            (vec![&ada], Situation { desk_at_once: true, ..s }, 2, 0, seconds(0)),
            (vec![&ada], Situation { on_emergency_call: true, ..s }, 2, 0, seconds(15)),
            (vec![&bob, &ada], Situation { shared: true, ..s }, 2, 0, seconds(5)),
            (vec![&bob, &ada], Situation { shared: true, newest_first: true, ..s }, 2, 1, seconds(5)),
        ] {
            let plan = plan(&site, &Devices::default(), &holders, &situation);
            assert_eq!((plan.groups.len(), plan.others.len(), plan.desk_after), (groups, others, after), "{situation:?}");
            assert!(plan.desk.is_some());
        }
    }

    #[test]
    fn c6_without_a_desk_even_the_crowd_reaches_the_agent() {
        let mut site = site();
        site.callback.desk = None;
        let plan = plan(&site, &Devices::default(), &[&caller(|_| {})], &Situation { crowded: true, ..Situation::default() });
        assert!(!plan.groups.is_empty());
    }
}

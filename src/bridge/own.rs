//! Requests on our own behalf: trunks are asked for their health and told where we are ([`super::registration`]), a presence
//! server is told who is busy ([`super::publication`]).
//!
//! Neither can touch a call: a health answer only orders trunks, and nothing waits for a publication.

use super::call::{CallKey, Owner, Side as End};
use super::compose::contact;
use super::health::{About, TrunkHealth};
use super::publication::{PublicationKey, Publications};
use super::registration::Registration;
use super::shard::{Do, Shard, Wake};
use crate::emergency::facts::{LegId, Side, TrunkId};
use crate::sip::compose::{self, Plain};
use crate::sip::{Flow, Message};
use crate::words::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

/// What a request of our own is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Errand {
    /// A trunk's health. The number is that of the configuration that asked for it.
    Probe(TrunkId, u32),
    /// Our binding at a trunk.
    Register(TrunkId),
    /// Whether one of a trunk's addresses is there again, by its place among them.
    Revive(TrunkId, u8),
    /// Whether the far end of a ringing leg is still there, its connection being lost.
    Reopen(CallKey, LegId),
    /// An agent's presence.
    Publish(PublicationKey),
    /// Whether a side of a call that an earlier run left behind still knows of it.
    Alive(CallKey, LegId, End),
    /// Whether a desk answers: the round of questions, and its place among the desks.
    Desk(u32, u16),
    /// The patience with the desks of this round is over.
    DesksAreSilent(u32),
    /// Whether a callback number comes back to us.
    SelfCall(u32),
    /// The patience with that is over.
    SelfCallOver(u32),
}

/// Our own requests' state.
pub(super) struct Own {
    /// What is known of each trunk.
    pub(super) health: Vec<TrunkHealth>,
    /// Our bindings, by trunk.
    pub(super) registrations: Vec<Option<Registration>>,
    /// Addresses that could not be reached, by transport, and until when they are let alone.
    pub(super) dead: BTreeMap<(&'static str, SocketAddr), Time>,
    /// The trunks that have answered or failed to since the start.
    pub(super) heard: BTreeSet<TrunkId>,
    /// Counts configurations: a probe of an older one is not renewed.
    pub(super) generation: u32,
    seq: u32,
    pub(super) publications: Publications,
    pub(super) desks: super::desks::Desks,
    pub(super) self_calls: Vec<super::self_call::SelfCall>,
}

impl Own {
    pub(super) fn new(trunks: usize) -> Self {
        let mut health = Vec::new();
        health.resize_with(trunks, TrunkHealth::default);
        Self {
            health,
            registrations: Vec::new(),
            dead: BTreeMap::new(),
            heard: BTreeSet::new(),
            generation: 0,
            seq: 0,
            publications: Publications::default(),
            desks: super::desks::Desks::default(),
            self_calls: Vec::new(),
        }
    }

    /// The CSeq of the next request.
    pub(super) fn next_seq(&mut self) -> u32 {
        self.seq = self.seq.wrapping_add(1) & 0x7fff_ffff;
        self.seq
    }

    pub(super) fn registration_mut(&mut self, trunk: TrunkId) -> Option<&mut Registration> {
        self.registrations.get_mut(usize::from(trunk.0)).and_then(Option::as_mut)
    }
}

impl Shard {
    /// Begins to probe every trunk that wants it, spread over their first interval.
    pub(super) fn start_probes(&mut self, now: Time) {
        self.own.generation += 1;
        self.own.health.resize_with(self.setup.links.trunks.len(), TrunkHealth::default);
        let generation = self.own.generation;
        for (i, link) in (0u16..).zip(&self.setup.links.trunks) {
            if let Some(every) = link.probe {
                let first = every.min(Duration::from_secs(1)) * u32::from(i % 8 + 1) / 8;
                self.wakes.arm(now + first, Wake::Errand(Errand::Probe(TrunkId(i), generation)));
            }
        }
    }

    /// A request of our own is due.
    pub(super) fn run_errand(&mut self, errand: Errand, now: Time) {
        match errand {
            Errand::Probe(trunk, generation) if generation == self.own.generation => self.probe(trunk, now),
            Errand::Probe(..) | Errand::Reopen(..) | Errand::Revive(..) | Errand::Desk(..) | Errand::SelfCall(_) => {}
            Errand::SelfCallOver(id) => self.on_self_call_over(id, now),
            Errand::DesksAreSilent(_) => self.on_desk(errand, 0, now),
            Errand::Register(trunk) => self.registration_due(trunk, now),
            Errand::Alive(call, leg, side) => self.ask_whether_alive(call, leg, side, now),
            Errand::Publish(key) => self.publication_due(key, now),
        }
    }

    /// An answer to one of them.
    pub(super) fn on_errand_response(&mut self, errand: Errand, msg: &Message, now: Time) {
        match errand {
            // Any answer is a sign of life but 503, which says "not now" (RFC 3261 section 21.5.4).
            Errand::Probe(trunk, _) => {
                self.way_answers(trunk);
                self.trunk_is(trunk, About::Answers, msg.status() != 503, now);
            }
            Errand::Revive(trunk, place) => self.on_revival(trunk, place, msg.status() != 503, now),
            Errand::Register(trunk) => self.on_registered(trunk, msg, now),
            Errand::Desk(..) if msg.status() >= 200 => self.on_desk(errand, msg.status(), now),
            Errand::SelfCall(id) => self.on_self_call_response(id, msg, now),
            Errand::Reopen(..) | Errand::Desk(..) | Errand::DesksAreSilent(_) | Errand::SelfCallOver(_) => {}
            Errand::Publish(key) => self.on_published(key, msg, now),
            Errand::Alive(call, leg, side) => self.on_alive(call, leg, side, msg.status(), now),
        }
    }

    /// Nobody answered one of them.
    pub(super) fn on_errand_failed(&mut self, errand: Errand, now: Time) {
        match errand {
            Errand::Probe(trunk, _) => {
                if !self.probe_next_way(trunk, now) {
                    self.trunk_is(trunk, About::Answers, false, now);
                }
            }
            Errand::Revive(trunk, place) => self.on_revival(trunk, place, false, now),
            Errand::Register(trunk) => self.register_later(trunk, None, now),
            Errand::Reopen(call, leg) => self.on_leg_still_lost(call, leg, now),
            Errand::Publish(key) => self.retry_publication(key, now),
            Errand::Desk(..) | Errand::DesksAreSilent(_) => self.on_desk(errand, 0, now),
            Errand::SelfCall(id) | Errand::SelfCallOver(id) => self.on_self_call_silence(id),
            Errand::Alive(call, leg, side) => self.ask_later_whether_alive(call, leg, side, now + super::kept::ASK_AGAIN),
        }
    }

    /// Carries out what happens beside the calls.
    pub(super) fn beside(&mut self, side: Side, now: Time) {
        if let Side::Presence { agent, shown, again, .. } = &side {
            self.want_presence(agent, *shown, *again, now);
        }
        self.out.push_back(Do::Side(side));
    }

    fn probe(&mut self, trunk: TrunkId, now: Time) {
        let generation = self.own.generation;
        let Some(link) = self.setup.links.trunks.get(usize::from(trunk.0)) else { return };
        let Some(every) = link.probe else { return };
        let (errand, flow, host) = (Errand::Probe(trunk, generation), link.flow, link.host.clone());
        if !flow.is_nowhere() {
            self.ask_for_health(errand, flow, &host, now);
            self.probe_held_down(trunk, now);
        }
        self.wakes.arm(now + every, Wake::Errand(errand));
    }

    /// Sends OPTIONS.
    pub(super) fn ask_for_health(&mut self, errand: Errand, flow: Flow, host: &str, now: Time) {
        let (tx, via) = self.endpoint.begin_plain(flow, Owner::Own(errand), now);
        let id = String::from_utf8_lossy(self.endpoint.plain_id(tx).as_bytes()).into_owned();
        let seq = self.own.next_seq();
        let plain = Plain {
            user: None,
            host,
            transport: flow.transport,
            via,
            from: &format!("sip:{}", self.setup.links.domain),
            id: &id,
            seq,
        };
        let own = contact("", self.endpoint.locals(), flow, b"");
        let bytes = compose::options(plain, &String::from_utf8_lossy(&own));
        self.endpoint.send(tx, bytes, now);
    }

    /// Whether it is known since the start if this trunk answers.
    pub fn has_heard_of(&self, trunk: TrunkId) -> bool {
        self.own.heard.contains(&trunk)
    }
}

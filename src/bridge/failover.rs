//! Neighbours with several addresses behind one name: the next one is taken when one cannot be reached, and one that could
//! not is held down until it has shown a sign of life (RFC 3263 section 4.3).
//!
//! To the story a trunk stays one attempt: what is tried here counts as that, and its time runs on (RULES P7).

use super::call::{CallKey, Fate};
use super::health::About;
use super::own::Errand;
use super::shard::{Setup, Shard};
use crate::emergency::facts::{LegId, TrunkId};
use crate::sip::Flow;
use crate::words::Time;
use std::sync::Arc;
use std::time::Duration;

/// How long an address is held down where nobody asks for its health.
pub(super) const HELD_DOWN: Duration = Duration::from_secs(60);

impl Shard {
    /// Names lead elsewhere: new ways to neighbours, and new sources. Calls go on.
    pub fn relink(&mut self, setup: &Setup, now: Time) {
        let before = Arc::clone(&self.setup.links);
        self.setup.links = Arc::clone(&setup.links);
        self.setup.presence.clone_from(&setup.presence);
        self.setup.locals = Arc::clone(&setup.locals);
        self.endpoint.set_locals(Arc::clone(&setup.locals));
        self.obey_trunks();
        for trunk in (0..before.trunks.len()).filter_map(|i| u16::try_from(i).ok()).map(TrunkId) {
            self.choose_way(trunk, now);
        }
        if self.story.is_none() {
            return;
        }
        self.start_registrations(now);
        self.look_for_homeless(now);
        for (i, (was, is)) in (0u16..).zip(before.trunks.iter().zip(&Arc::clone(&self.setup.links).trunks)) {
            if was.flow != is.flow && is.probe.is_some() && !is.flow.is_nowhere() {
                self.probe_now(TrunkId(i), is.flow, now);
            }
        }
    }

    /// Trunks whose name leads nowhere are down; those that have found a home are asked for their health, if they are asked
    /// at all.
    pub(super) fn look_for_homeless(&mut self, now: Time) {
        for trunk in (0..self.setup.links.trunks.len()).filter_map(|i| u16::try_from(i).ok()).map(TrunkId) {
            self.choose_way(trunk, now);
        }
        let homes: Vec<_> = self.setup.links.trunks.iter().map(|l| !l.flow.is_nowhere()).collect();
        for (i, home) in (0u16..).zip(homes) {
            self.trunk_is(TrunkId(i), About::Address, home, now);
        }
    }

    /// This way to a trunk failed. The next one, if there is another that is not held down as well.
    pub(super) fn way_failed(&mut self, trunk: TrunkId, failed: Flow, now: Time) -> Option<Flow> {
        let links = Arc::clone(&self.setup.links);
        let link = links.trunks.get(usize::from(trunk.0)).filter(|l| l.ways.len() > 1)?;
        if !link.ways.contains(&failed) {
            return None;
        }
        self.own.dead.insert((failed.transport.via(), failed.remote), now + HELD_DOWN);
        self.choose_way(trunk, now);
        let next = self.setup.links.trunks.get(usize::from(trunk.0))?.flow;
        if next != link.flow && self.story.is_some() {
            self.start_registrations(now);
        }
        (!self.is_held_down(next, link.probe.is_none(), now)).then_some(next)
    }

    /// The first way that is not held down; all being so, the first.
    fn choose_way(&mut self, trunk: TrunkId, now: Time) {
        let Some(link) = self.setup.links.trunks.get(usize::from(trunk.0)) else { return };
        let forgives = link.probe.is_none();
        let best = link.ways.iter().find(|way| !self.is_held_down(**way, forgives, now)).or(link.ways.first()).copied();
        let Some(best) = best.filter(|best| *best != link.flow) else { return };
        if let Some(link) = Arc::make_mut(&mut self.setup.links).trunks.get_mut(usize::from(trunk.0)) {
            link.flow = best;
        }
    }

    /// The first of these ways that was not tried; one that is held down only where there is no other.
    pub(super) fn next_way(&self, ways: &[Flow], tried: &[Flow], now: Time) -> Option<Flow> {
        let untried = || ways.iter().filter(|way| !tried.contains(way));
        untried().find(|way| !self.is_held_down(**way, true, now)).or_else(|| untried().next()).copied()
    }

    /// Without probes an address has to be tried by a call sooner or later; with them a probe says when it is there again.
    fn is_held_down(&self, way: Flow, forgives: bool, now: Time) -> bool {
        self.own.dead.get(&(way.transport.via(), way.remote)).is_some_and(|until| !forgives || now < *until)
    }

    /// Asks an address that is held down whether it is there again; beside the trunk's own probe.
    pub(super) fn probe_held_down(&mut self, trunk: TrunkId, now: Time) {
        let Some(link) = self.setup.links.trunks.get(usize::from(trunk.0)) else { return };
        let held = (0u8..).zip(&link.ways).filter(|(_, way)| **way != link.flow);
        let due =
            held.filter(|(_, way)| self.own.dead.get(&(way.transport.via(), way.remote)).is_some_and(|until| *until <= now));
        let due: Vec<_> = due.map(|(place, way)| (place, *way)).collect();
        let host = link.host.clone();
        for (place, way) in due {
            self.ask_for_health(Errand::Revive(trunk, place), way, &host, now);
        }
    }

    /// What an address that was held down answers.
    pub(super) fn on_revival(&mut self, trunk: TrunkId, place: u8, alive: bool, now: Time) {
        let Some(link) = self.setup.links.trunks.get(usize::from(trunk.0)) else { return };
        let Some(way) = link.ways.get(usize::from(place)).copied() else { return };
        let key = (way.transport.via(), way.remote);
        if !alive {
            self.own.dead.entry(key).and_modify(|until| *until = now + HELD_DOWN);
            return;
        }
        self.own.dead.remove(&key);
        self.choose_way(trunk, now);
        self.start_registrations(now);
    }

    /// A sign of life of the way that is in use.
    pub(super) fn way_answers(&mut self, trunk: TrunkId) {
        if let Some(link) = self.setup.links.trunks.get(usize::from(trunk.0)).filter(|l| l.ways.len() > 1) {
            self.own.dead.remove(&(link.flow.transport.via(), link.flow.remote));
        }
    }

    /// A probe of the way in use failed: the next one is asked at once. False: there is none.
    pub(super) fn probe_next_way(&mut self, trunk: TrunkId, now: Time) -> bool {
        let Some(flow) = self.setup.links.trunks.get(usize::from(trunk.0)).map(|l| l.flow) else { return false };
        let Some(next) = self.way_failed(trunk, flow, now) else { return false };
        self.probe_now(trunk, next, now);
        true
    }

    /// The trunk's leg could not be delivered, or is refused for want of strength: to the next address, if there is one. A
    /// leg that was only silent is the story's to judge, and its address is held down.
    pub(super) fn place_next_way(&mut self, key: CallKey, id: LegId, may_place: bool, now: Time) -> bool {
        let Some(leg) = self.calls.get(key).and_then(|c| c.leg(id)) else { return false };
        let (open, placed) = (leg.fate == Fate::Open, leg.placed.clone());
        let Some(placed) = placed.filter(|p| p.moved.is_none()) else { return false };
        let Some(flow) = self.endpoint.dialog(leg.root).map(|d| d.flow) else { return false };
        let next = self.way_failed(placed.trunk, flow, now);
        if next.is_none() || !open || !may_place {
            return false;
        }
        self.forget_dialogs(key, id);
        self.place(key, id, *placed, now);
        true
    }

    fn probe_now(&mut self, trunk: TrunkId, flow: Flow, now: Time) {
        let Some(host) = self.setup.links.trunks.get(usize::from(trunk.0)).map(|l| l.host.clone()) else { return };
        let errand = Errand::Probe(trunk, self.own.generation);
        self.ask_for_health(errand, flow, &host, now);
    }
}

//! Devices with several flows, flows that die and come back (RFC 5626), and whoever else has several addresses.
//!
//! To the story a device is one leg. The flow that it was heard by last is tried first; where that is silent or broken the
//! next one follows, never two at once; so it is with the addresses of a PBX, a configured device, an alternate, the desk
//! (RFC 3263). What was sent along a flow that is lost is sent anew along the one that the device comes back by, and what is
//! said in its calls from then on goes there as well.

use super::bindings::DeviceKey;
use super::call::{CallKey, Course, Fate, Goal, Owner, Side};
use super::failover::HELD_DOWN;
use super::shard::{Shard, Wake};
use crate::emergency::facts::LegId;
use crate::emergency::path::asks_for_protection;
use crate::sip::{DialogKey, Flow};
use crate::words::Time;
use crate::words::uri::Uri;
use smallvec::SmallVec;
use std::time::Duration;

/// How long somebody has to show that an INVITE was heard, while there is another way: it was repeated once by then, and the
/// story waits a little longer (RULES C4).
const SILENCE: Duration = Duration::from_millis(1000);

/// Why a leg is given up along one flow.
const ANOTHER_FLOW: &str = "SIP;cause=430;text=\"Flow Failed\"";

impl Shard {
    /// This leg is for them, by a way that is not among those `tried` before.
    pub(super) fn note_course(&mut self, key: CallKey, id: LegId, goal: Goal, mut tried: SmallVec<[Flow; 2]>, now: Time) {
        let Some(leg) = self.calls.get(key).and_then(|c| c.leg(id)) else { return };
        tried.extend(self.endpoint.dialog(leg.root).map(|d| d.flow));
        let has_another = self.has_another_way(key, &goal, &tried, now);
        if let Some(device) = goal.device() {
            self.phones.note_call(device, key);
        }
        if let Some(leg) = self.calls.get_mut(key).and_then(|c| c.leg_mut(id)) {
            leg.course = Some(Box::new(Course { goal, tried, lost: false }));
        }
        if has_another {
            self.wakes.arm(now + SILENCE, Wake::Flow(key, id));
        }
    }

    /// Somebody has had the time to answer by one way.
    pub(super) fn flow_silent(&mut self, key: CallKey, id: LegId, now: Time) {
        if self.is_unheard(key, id) {
            self.go_by_next_way(key, id, now);
        }
    }

    /// A leg was refused: whether for its way alone, and another one is taken. An edge proxy has lost a device's flow, or got
    /// no answer along it (RFC 5626 sections 5.3 and 11.5); an address has no strength (RFC 3263 section 4.3).
    pub(super) fn goes_elsewhere_after(&mut self, key: CallKey, id: LegId, status: u16, now: Time) -> bool {
        let course = self.calls.get(key).and_then(|c| c.leg(id)).and_then(|l| l.course.as_ref());
        let for_its_way = course.is_some_and(|course| match course.goal.device() {
            Some(_) => matches!(status, 408 | 430),
            None => status == 503,
        });
        for_its_way && self.go_by_next_way(key, id, now)
    }

    /// Sends a leg by a way that was not tried yet. False: there is none, or nobody waits for it.
    pub(super) fn go_by_next_way(&mut self, key: CallKey, id: LegId, now: Time) -> bool {
        let Some(leg) = self.calls.get(key).and_then(|c| c.leg(id)).filter(|l| l.fate == Fate::Open) else { return false };
        let Some(Course { goal, tried, .. }) = leg.course.as_deref().cloned() else { return false };
        if !self.has_another_way(key, &goal, &tried, now) {
            return false;
        }
        if let Some(failed) = tried.last().filter(|_| goal.device().is_none()) {
            self.own.dead.insert((failed.transport.via(), failed.remote), now + HELD_DOWN);
        }
        self.leave_leg(key, id, now);
        match goal {
            Goal::Callback(device, called) => self.ring(key, id, &device, called, tried, now),
            Goal::Ordinary(hop) => self.place_ordinary(key, hop, id, tried, now),
        }
        true
    }

    fn has_another_way(&self, key: CallKey, goal: &Goal, tried: &[Flow], now: Time) -> bool {
        match goal {
            Goal::Callback(device, _) => self.way_to(device, tried, now).is_some(),
            Goal::Ordinary(hop) => {
                let protected = self.calls.get(key).and_then(|c| c.invite.as_ref()).is_some_and(|m| asks_for_protection(m.uri()));
                self.way_of(*hop, "", protected, tried, now).is_some()
            }
        }
    }

    /// A device has a flow that it did not have before; `before` is the one whose place it takes.
    pub(super) fn device_moved(&mut self, device: DeviceKey, before: Option<Flow>, flow: Flow, now: Time) {
        for key in self.phones.bindings().calls_of(device) {
            let Some(call) = self.calls.get(key) else { continue };
            let legs: SmallVec<[(LegId, bool); 2]> = call
                .legs
                .iter()
                .map(|l| {
                    (
                        l.id,
                        l.course
                            .as_ref()
                            .is_some_and(|c| c.goal.device() == Some(device) && (c.lost || self.is_unheard(key, l.id))),
                    )
                })
                .collect();
            let dialogs: SmallVec<[DialogKey; 4]> = call.legs.iter().flat_map(|l| [Some(l.far), l.near]).flatten().collect();
            for dialog in dialogs {
                let Some(dialog) = self.endpoint.dialog_mut(dialog).filter(|d| d.along_flow) else { continue };
                if Some(dialog.flow) == before || self.phones.bindings().was_at(dialog.flow) == Some(device) {
                    dialog.flow = flow;
                }
            }
            for (leg, _) in legs.into_iter().filter(|(_, waits)| *waits) {
                self.go_by_next_way(key, leg, now);
            }
        }
    }

    /// A dialog of an earlier run: its call follows the device that had its flow.
    pub(super) fn note_restored(&mut self, key: CallKey, dialog: DialogKey) {
        let flow = self.endpoint.dialog(dialog).filter(|d| d.along_flow).map(|d| d.flow);
        if let Some(device) = flow.and_then(|flow| self.phones.bindings().was_at(flow)) {
            self.phones.note_call(device, key);
        }
    }

    /// The connection to a leg's device is lost.
    pub(super) fn note_lost(&mut self, key: CallKey, id: LegId) {
        if let Some(course) = self.calls.get_mut(key).and_then(|c| c.leg_mut(id)).and_then(|l| l.course.as_mut()) {
            course.lost = true;
        }
    }

    /// The device whose GRUU this is (RFC 5627), in itself `None` where it is not there. `None`: it is nobody's.
    pub(super) fn instance_called(&self, uri: &[u8]) -> Option<Option<DeviceKey>> {
        let uri = Uri::parse(uri)?;
        let (user, instance) = (std::str::from_utf8(uri.user?).ok()?, uri.param("gr")?);
        self.setup.access.agent(user)?;
        Some(self.phones.bindings().instance_of(user, instance))
    }

    fn is_unheard(&self, key: CallKey, id: LegId) -> bool {
        let leg = self.calls.get(key).and_then(|c| c.leg(id));
        leg.is_some_and(|l| l.fate == Fate::Open && self.endpoint.is_unheard(l.invite))
    }

    /// What a leg has sent so far becomes a leg by itself, given up: should it still be answered, it is hung up.
    fn leave_leg(&mut self, key: CallKey, id: LegId, now: Time) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let Some(spare) = (0..=u16::MAX).rev().map(LegId).find(|l| call.leg(*l).is_none()) else { return };
        let Some(leg) = call.leg_mut(id) else { return };
        (leg.id, leg.course) = (spare, None);
        let owner = |side| Owner::Leg { call: key, leg: spare, side };
        let forks = leg.forks.iter().flat_map(|(far, near)| [Some((*far, Side::Far)), near.map(|n| (n, Side::Near))]);
        let own = [Some((leg.far, Side::Far)), Some((leg.root, Side::Far)), leg.near.map(|n| (n, Side::Near))];
        for (dialog, side) in own.into_iter().chain(forks).flatten() {
            if let Some(dialog) = self.endpoint.dialog_mut(dialog) {
                dialog.owner = owner(side);
            }
        }
        let invite = leg.invite;
        self.endpoint.give_to(invite, owner(Side::Far));
        match self.endpoint.is_unanswered(invite) {
            true => self.give_up_leg(key, spare, ANOTHER_FLOW, now),
            false => self.end_leg(key, spare),
        }
    }
}

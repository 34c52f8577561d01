//! Devices with several flows, and flows that die and come back (RFC 5626).
//!
//! To the story a device is one leg. The flow that it was heard by last is tried first; where that is silent or broken the
//! next one follows, never two at once. What was sent along a flow that is lost is sent anew along the one that the device
//! comes back by, and what is said in its calls from then on goes there as well.

use super::bindings::DeviceKey;
use super::call::{CallKey, Fate, Owner, Phone, Side};
use super::ordinary::Hop;
use super::shard::{Shard, Wake};
use crate::emergency::facts::{Device, DeviceId, LegId};
use crate::sip::{DialogKey, Flow};
use crate::words::uri::Uri;
use crate::words::{E164, Time};
use smallvec::SmallVec;
use std::time::Duration;

/// How long a device has to show that it has heard an INVITE along one flow, while there is another: it was repeated once by
/// then, and the story waits a little longer (RULES C4).
const SILENCE: Duration = Duration::from_millis(1000);

/// Why a leg is given up along one flow.
const ANOTHER_FLOW: &str = "SIP;cause=430;text=\"Flow Failed\"";

impl Shard {
    /// This leg goes to a registered device, along the newest flow that is not `tried`. `called` is the callback number.
    pub(super) fn note_phone(
        &mut self,
        key: CallKey,
        id: LegId,
        device: DeviceId,
        called: Option<E164>,
        mut tried: SmallVec<[Flow; 2]>,
        now: Time,
    ) {
        let device = DeviceKey::of(device);
        let Some(leg) = self.calls.get_mut(key).and_then(|c| c.leg_mut(id)) else { return };
        tried.extend(self.endpoint.dialog(leg.root).map(|d| d.flow));
        let has_another = self.phones.bindings().flows_of(device).iter().any(|b| !tried.contains(&b.flow));
        leg.phone = Some(Box::new(Phone { device, tried, called, lost: false }));
        self.phones.note_call(device, key);
        if has_another {
            self.wakes.arm(now + SILENCE, Wake::Flow(key, id));
        }
    }

    /// A device has had its time to answer along a flow.
    pub(super) fn flow_silent(&mut self, key: CallKey, id: LegId, now: Time) {
        if self.is_unheard(key, id) {
            self.ring_along_next_flow(key, id, now);
        }
    }

    /// Rings a leg's device along a flow that was not tried yet. False: there is none, or nobody waits for it.
    pub(super) fn ring_along_next_flow(&mut self, key: CallKey, id: LegId, now: Time) -> bool {
        let Some(leg) = self.calls.get(key).and_then(|c| c.leg(id)).filter(|l| l.fate == Fate::Open) else { return false };
        let Some(Phone { device, tried, called, .. }) = leg.phone.as_deref().cloned() else { return false };
        if self.way_to_registered(device.id(), &tried).is_none() {
            return false;
        }
        self.leave_leg(key, id, now);
        match called {
            Some(called) => self.ring(key, id, &Device::Registered(device.id()), called, tried, now),
            None => self.place_ordinary(key, Hop::Device(device.id()), id, tried, now),
        }
        true
    }

    /// A device has a flow that it did not have before; `before` is the one whose place it takes.
    pub(super) fn device_moved(&mut self, device: DeviceKey, before: Option<Flow>, flow: Flow, now: Time) {
        for key in self.phones.bindings().calls_of(device) {
            let Some(call) = self.calls.get(key) else { continue };
            let legs: SmallVec<[(LegId, bool); 2]> = call
                .legs
                .iter()
                .map(|l| (l.id, l.phone.as_ref().is_some_and(|p| p.device == device && (p.lost || self.is_unheard(key, l.id)))))
                .collect();
            let dialogs: SmallVec<[DialogKey; 4]> = call.legs.iter().flat_map(|l| [Some(l.far), l.near]).flatten().collect();
            for dialog in dialogs {
                let Some(dialog) = self.endpoint.dialog_mut(dialog).filter(|d| d.along_flow) else { continue };
                if Some(dialog.flow) == before || self.phones.bindings().was_at(dialog.flow) == Some(device) {
                    dialog.flow = flow;
                }
            }
            for (leg, _) in legs.into_iter().filter(|(_, waits)| *waits) {
                self.ring_along_next_flow(key, leg, now);
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
        if let Some(phone) = self.calls.get_mut(key).and_then(|c| c.leg_mut(id)).and_then(|l| l.phone.as_mut()) {
            phone.lost = true;
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
        (leg.id, leg.phone) = (spare, None);
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

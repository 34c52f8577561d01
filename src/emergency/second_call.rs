//! Phones of whom a callback rings that say "busy": her ordinary call is released and the callback offered again, once
//! (RULES C2).
//!
//! [`Phones`] only keeps the order: who was asked for, what came of it, when a phone is rung again. Which ordinary calls
//! there are is the bridge's knowledge; emergency calls are never among them. While her emergency call is up, C3 decides
//! instead and nobody is asked.

use std::time::Duration;

use super::callback::targets;
use super::caller::Caller;
use super::devices::Devices;
use super::facts::{Device, DeviceId};
use crate::words::{Private, Time};

/// How long a phone has to notice that its ordinary call is over before it is offered the callback again.
const AGAIN_AFTER: Duration = Duration::from_millis(250);

/// Says "busy": 486, 600, and 603 for a refusal by hand.
pub const fn is_busy(status: u16) -> bool {
    matches!(status, 486 | 600 | 603)
}

/// The phones of all agents whom a callback rings. Desk, alternates and callers who are no agents have none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Phones {
    all: Vec<Phone>,
    /// For which phone a line was asked for last.
    asked: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Phone {
    agent: Private<String>,
    device: Device,
    offer: Offer,
}

/// How far a phone is with its second offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offer {
    /// It has not said "busy".
    First,
    /// It has; it is rung again then, unless nothing could be released.
    AgainAt(Time),
    /// There is no other.
    Last,
}

/// What follows from a phone's "busy".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Busy {
    /// Release what this agent has, then say [`Phones::freed`].
    Free(Private<String>),
    /// It is rung again with another phone of hers.
    Wait,
    /// Nothing can be done any more.
    Over,
}

impl Phones {
    /// The phones of these callers: what registered, what is configured, and what is behind their PBX.
    pub fn of(callers: &[&Caller], devices: &Devices) -> Self {
        let mut phones = Self::default();
        for caller in callers {
            let Some(agent) = caller.agent() else { continue };
            let is_alternate = |d: &Device| matches!(d, Device::Uri(uri) if agent.alternates.contains(uri));
            for device in targets(caller, devices).into_iter().flatten().filter(|d| !is_alternate(d)) {
                phones.all.push(Phone { agent: agent.id.clone(), device, offer: Offer::First });
            }
        }
        phones
    }

    /// A device that registered meanwhile. Where several agents are called, nobody knows here whose it is.
    pub fn join(&mut self, device: DeviceId) {
        let Some(agent) = self.all.first().map(|p| p.agent.clone()) else { return };
        let device = Device::Registered(device);
        if self.all.iter().all(|p| p.agent == agent && p.device != device) {
            self.all.push(Phone { agent, device, offer: Offer::First });
        }
    }

    /// The place of this device among them.
    pub fn place(&self, device: &Device) -> Option<usize> {
        self.all.iter().position(|p| p.device == *device)
    }

    /// This phone said "busy".
    pub fn busy(&mut self, place: usize, now: Time) -> Busy {
        let Some(phone) = self.all.get(place).filter(|p| p.offer == Offer::First) else { return Busy::Over };
        let agent = phone.agent.clone();
        let is_free = self.all.iter().any(|p| p.agent == agent && matches!(p.offer, Offer::AgainAt(_)));
        if let Some(phone) = self.all.get_mut(place) {
            phone.offer = Offer::AgainAt(now + AGAIN_AFTER);
        }
        if is_free {
            return Busy::Wait;
        }
        self.asked = Some(place);
        Busy::Free(agent)
    }

    /// Whether there was anything to release. Where there was nothing, her phones are not rung again.
    pub fn freed(&mut self, freed: bool) {
        let Some(agent) = self.asked.take().and_then(|place| self.all.get(place)).map(|p| p.agent.clone()) else { return };
        for phone in self.all.iter_mut().filter(|p| !freed && p.agent == agent && p.offer != Offer::First) {
            phone.offer = Offer::Last;
        }
    }

    /// The phones that are to be rung again now.
    pub fn due(&mut self, now: Time) -> Vec<Device> {
        let due = self.all.iter_mut().filter(|p| matches!(p.offer, Offer::AgainAt(at) if at <= now));
        due.map(|phone| {
            phone.offer = Offer::Last;
            phone.device.clone()
        })
        .collect()
    }

    /// Whether a phone is about to be rung again: until then its agent counts as there.
    pub fn is_waiting(&self) -> bool {
        self.deadline().is_some()
    }

    /// When the next one is to be rung again.
    pub fn deadline(&self) -> Option<Time> {
        let times = self.all.iter().filter_map(|p| if let Offer::AgainAt(at) = p.offer { Some(at) } else { None });
        times.min()
    }
}

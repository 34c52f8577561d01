//! An emergency leg that is placed once more on the same trunk, because the trunk said how it wants to be asked: somewhere
//! else (3xx, RULES P6), at another address of its name (503, [`super::failover`]), with a longer session interval (422, RFC
//! 4028 section 7.4), or without SRTP (488).
//!
//! To the story it is one leg: its time runs on, and only what comes of the second INVITE is told.

use super::anchor::Srtp;
use super::call::{CallKey, Fate, Goal, Placement};
use super::shard::{Do, Shard};
use crate::emergency::facts::{LegId, Origin, Side};
use crate::emergency::site::Profile;
use crate::sip::header::{NameAddr, number, values};
use crate::sip::{Flow, Message, Name, Transport};
use crate::words::Time;
use crate::words::uri::{Scheme, Uri, split_port};
use bytes::Bytes;

impl Shard {
    /// Whether this refusal is not the trunk's last word; then the leg has been placed anew.
    pub(super) fn place_again(&mut self, key: CallKey, id: LegId, msg: &Message, now: Time) -> bool {
        if msg.status() == 503 && self.setup.site.profile == Profile::Emergency && self.place_next_way(key, id, true, now) {
            return true;
        }
        let leg = self.calls.get(key).and_then(|c| c.leg(id)).filter(|l| l.fate == Fate::Open);
        if self.setup.site.may_downgrade
            && is_about_the_description(msg.status())
            && leg.is_some_and(|l| l.anchor.as_ref().is_some_and(|a| a.offers_keys()))
        {
            return self.place_with_other_keys(key, id, now);
        }
        let Some(placed) = leg.and_then(|l| l.placed.clone()) else { return false };
        let Some(next) = self.next_placement(*placed, msg) else { return false };
        self.forget_dialogs(key, id);
        self.place(key, id, next, now);
        true
    }

    /// An emergency or a callback never fails for its keys: whoever refuses them beside plain audio is asked with nothing
    /// else, and then without.
    fn place_with_other_keys(&mut self, key: CallKey, id: LegId, now: Time) -> bool {
        let Some(leg) = self.calls.get(key).and_then(|c| c.leg(id)) else { return false };
        let refused = leg.anchor.as_ref().map(|anchor| anchor.far_srtp());
        let srtp = Some(if refused == Some(Srtp::Offer) { Srtp::Require } else { Srtp::Off });
        let placed = leg.placed.clone();
        let rung = leg.course.as_ref().and_then(|course| match &course.goal {
            Goal::Callback(device, called) => Some((device.clone(), *called, course.tried.clone())),
            Goal::Ordinary(_) => None,
        });
        if placed.is_none() && rung.is_none() {
            return false;
        }
        if srtp == Some(Srtp::Off) {
            let event = "SRTP was refused: the call goes on without";
            self.out.push_back(Do::Side(Side::Log { event, call: key.id(), trunk: placed.as_ref().map(|p| p.trunk) }));
        }
        self.forget_dialogs(key, id);
        match (placed, rung) {
            (Some(placed), _) => self.place(key, id, Placement { srtp, ..*placed }, now),
            (None, Some((device, called, mut tried))) => {
                // By the same way.
                tried.pop();
                if let Some(leg) = self.calls.get_mut(key).and_then(|c| c.leg_mut(id)) {
                    leg.srtp = srtp;
                }
                self.ring(key, id, &device, called, tried, now);
            }
            (None, None) => {}
        }
        true
    }

    fn next_placement(&self, placed: Placement, msg: &Message) -> Option<Placement> {
        match msg.status() {
            300..=399 if placed.moved.is_none() && self.setup.site.profile == Profile::Emergency => {
                let contacts = msg.all(Name::Contact).flat_map(values).filter_map(NameAddr::parse);
                let moved = contacts.map(|c| c.uri).find_map(|uri| self.trusted_target(&placed, uri))?;
                Some(Placement { moved: Some(moved), ..placed })
            }
            422 if placed.min_se.is_none() => {
                Some(Placement { min_se: Some(number(msg.get(Name::MinSe)?.trim_ascii())?), ..placed })
            }
            _ => None,
        }
    }

    /// A target on the very host of the trunk, or at an address that is some trunk's. A test is never led to a real
    /// service (RULES R5).
    fn trusted_target(&self, placed: &Placement, uri: &[u8]) -> Option<(Bytes, Flow)> {
        let target = Uri::parse(uri)
            .filter(|u| matches!(u.scheme, Scheme::Sip | Scheme::Sips) && u.is_well_formed() && u.headers.is_empty())?;
        let link = self.setup.links.trunks.get(usize::from(placed.trunk.0))?;
        let home = split_port(link.host.as_bytes()).0;
        let flow = match target.socket_addr() {
            Some(address) => {
                let transport = Transport::asked_by(&target).unwrap_or(Transport::Udp);
                let origin = self.setup.links.sources.origin(transport, address);
                let known = matches!(origin, Origin::Trunk(_) | Origin::Both(..))
                    || link.ways.iter().chain([&link.flow]).any(|way| way.remote.ip() == address.ip());
                known.then(|| self.endpoint.locals().towards(transport, address))??
            }
            None if target.host.eq_ignore_ascii_case(home) && target.port.is_none() => link.flow,
            None => return None,
        };
        (!(placed.test && self.is_live_service(uri))).then(|| (Bytes::copy_from_slice(uri), flow))
    }

    /// Whether a URI asks for help, and not for a test.
    pub(super) fn is_live_service(&self, uri: &[u8]) -> bool {
        let country = self.setup.site.country;
        let dialed = |country| self.setup.site.numbers.recognise(uri, country);
        [country, None].into_iter().filter_map(dialed).any(|d| !d.is_test())
    }
}

/// A refusal that may be meant for what the session description asks for.
const fn is_about_the_description(status: u16) -> bool {
    matches!(status, 400 | 415 | 488 | 606)
}

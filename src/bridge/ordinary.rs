//! Ordinary calls: relayed both ways, the next trunk on 408, 5xx and silence (CONTRACT "On the wire").
//!
//! Nothing here knows emergencies; what the story hands down as ordinary comes here as well.

mod record;

pub use record::{OrdinaryCall, OrdinaryView};

use super::anchor;
use super::call::{CallKey, Fate, Goal, Kind, Leg, Owner, Progress, Side};
use super::compose::{Dress, contact, dialed_user, user_of};
use super::emergency::Way;
use super::links::MediaPolicy;
use super::shard::{Do, Shard, Wake};
use super::understood::Beyond;
use crate::emergency::facts::{DeviceId, LegId, Origin, PeerId, Side as Beside, TrunkId};
use crate::emergency::path::{asks_for_protection, routes_for, without_separators};
use crate::sip::dialog::without_tag;
use crate::sip::header::NameAddr;
use crate::sip::{Flow, Message, Name};
use crate::words::{E164, Private, Time};
use record::Ticket;
use smallvec::SmallVec;
use std::collections::VecDeque;

/// Where an ordinary call has yet to try.
pub(super) struct Hunt {
    hops: VecDeque<Hop>,
    next_leg: u16,
    /// Whose line it takes while it is up.
    pub(super) agent: Option<Private<String>>,
    /// Until the call is over and recorded.
    ticket: Option<Ticket>,
}

/// One place to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hop {
    Trunk(TrunkId),
    Peer(PeerId),
    /// A device that registered here.
    Device(DeviceId),
}

impl Hunt {
    /// One that found somebody.
    pub(super) const fn over() -> Self {
        Self { hops: VecDeque::new(), next_leg: 0, agent: None, ticket: None }
    }
}

/// Why an answer is hung up that has no keys.
const NO_KEYS: &str = "SIP;cause=488;text=\"SRTP is required\"";

const LATER: &str = "SIP;cause=408;text=\"Another trunk took the call\"";

impl Shard {
    /// Routes an ordinary call and tries the first hop.
    pub(super) fn begin_ordinary(&mut self, key: CallKey, now: Time) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let Some(msg) = &call.invite else { return };
        let protected = asks_for_protection(msg.uri());
        let (faults, user, origin) = (msg.faults(), dialed_user(msg.uri()).unwrap_or_default(), call.origin);
        let uri = msg.bytes().slice_ref(msg.uri());
        let (exhausted, beyond) = (msg.max_forwards() == Some(0), Beyond::of(msg));
        let from = NameAddr::parse(msg.get(Name::From).unwrap_or_default()).map(|n| user_of(n.uri)).unwrap_or_default();
        let ticket = Some(Ticket::new(origin, from, user.clone(), now));
        call.kind = Kind::Ordinary(Hunt { ticket, ..Hunt::over() });
        if !faults.is_clean() {
            return self.refuse(key, faults.status(), None, faults.describe(), now);
        }
        if exhausted {
            return self.refuse(key, 483, None, "", now);
        }
        if let Some(beyond) = beyond {
            return self.refuse_beyond(key, beyond, now);
        }
        if self.is_amid_an_emergency(key) {
            return self.refuse(key, 486, None, "An emergency call is running", now);
        }
        let instance = self.instance_called(&uri);
        let mut hops = match instance {
            Some(device) => device.map(|d| Hop::Device(d.id())).into_iter().collect(),
            None => self.hops(origin, &user),
        };
        // RFC 5627 section 5.1: somebody's, who is not there.
        if instance == Some(None) {
            return self.refuse(key, 480, None, "", now);
        }
        if hops.is_empty() {
            return self.refuse(key, 404, None, "No route matches the number", now);
        }
        if protected {
            hops.retain(|hop| self.is_secure(*hop, now));
            if hops.is_empty() {
                return self.refuse_unprotected(key, now);
            }
        }
        if let Some(Kind::Ordinary(hunt)) = self.calls.get_mut(key).map(|c| &mut c.kind) {
            hunt.hops = hops;
        }
        self.try_next_hop(key, 503, now);
    }

    /// A response to an ordinary leg.
    pub(super) fn on_ordinary_response(&mut self, key: CallKey, id: LegId, msg: Message, now: Time) {
        match msg.status() {
            100..=199 => self.progress(key, id, &msg, now),
            200..=299 if self.misses_keys(key, id, Side::Far, &msg) => {
                if let Some(far) = self.calls.get(key).and_then(|c| c.leg(id)).map(|l| l.far) {
                    self.decline_late_answer(key, id, far, NO_KEYS, now);
                }
                self.refuse(key, 488, None, "SRTP is required", now);
            }
            200..=299 => {
                self.take_line(key);
                self.note_answer(key, now);
                self.connect(key, id, &msg, now);
            }
            408 | 500..=599 if self.has_another_hop(key) => {
                self.end_leg(key, id);
                self.try_next_hop(key, msg.status(), now);
            }
            _ => self.refuse_as(key, id, &msg, now),
        }
    }

    /// An ordinary leg heard nothing in time, or nobody is there.
    pub(super) fn on_ordinary_failure(&mut self, key: CallKey, id: LegId, status: u16, now: Time) {
        self.give_up_leg(key, id, LATER, now);
        let gone = self.calls.get(key).and_then(|c| c.leg(id)).is_some_and(|l| !self.endpoint.is_unanswered(l.invite));
        if gone {
            self.end_leg(key, id);
        }
        self.try_next_hop(key, status, now);
    }

    /// The silence timer of a leg: any response at all has stopped it.
    pub(super) fn ordinary_silence(&mut self, key: CallKey, id: LegId, now: Time) {
        let Some(leg) = self.calls.get(key).and_then(|c| c.leg(id)) else { return };
        if leg.fate == Fate::Open && self.endpoint.is_unheard(leg.invite) && self.has_another_hop(key) {
            self.on_ordinary_failure(key, id, 408, now);
        }
    }

    /// The running ordinary calls, after so many.
    pub fn ordinary_calls(&self, after: usize) -> impl Iterator<Item = OrdinaryView> {
        let tickets = self.calls.values().filter_map(|c| match &c.kind {
            Kind::Ordinary(hunt) => hunt.ticket.as_ref(),
            Kind::Emergency | Kind::Callback | Kind::Undecided => None,
        });
        tickets.skip(after).map(|ticket| ticket.view(&self.setup.site))
    }

    /// An ordinary call was answered.
    pub(super) fn note_answer(&mut self, key: CallKey, now: Time) {
        if let Some(ticket) = self.ticket_of(key) {
            ticket.answered(now);
        }
    }

    /// A call is over with this status; an ordinary one is recorded, once. Others have no ticket (RULES A7).
    pub(super) fn record(&mut self, key: CallKey, status: u16, now: Time) {
        let Some(Kind::Ordinary(hunt)) = self.calls.get_mut(key).map(|c| &mut c.kind) else { return };
        if let Some(ticket) = hunt.ticket.take() {
            self.out.push_back(Do::Record(Box::new(ticket.over(&self.setup.site, status, now))));
        }
    }

    fn ticket_of(&mut self, key: CallKey) -> Option<&mut Ticket> {
        match self.calls.get_mut(key).map(|c| &mut c.kind) {
            Some(Kind::Ordinary(hunt)) => hunt.ticket.as_mut(),
            _ => None,
        }
    }

    fn hops(&self, origin: Origin, user: &str) -> VecDeque<Hop> {
        let site = &self.setup.site;
        let dialed = without_separators(&unescape(user));
        let out = || {
            let mut hops = VecDeque::new();
            for trunk in routes_for(site, &dialed).flat_map(|r| &r.trunks) {
                if !hops.contains(&Hop::Trunk(*trunk)) {
                    hops.push_back(Hop::Trunk(*trunk));
                }
            }
            hops
        };
        let inbound = || self.devices_of(user).chain(self.setup.links.inbound.map(Hop::Peer)).collect();
        match origin {
            Origin::Peer(_) | Origin::Agent(_) => out(),
            Origin::Trunk(_) => inbound(),
            Origin::Both(..) => Some(out()).filter(|h| !h.is_empty()).unwrap_or_else(inbound),
            Origin::Stranger => VecDeque::new(),
        }
    }

    fn has_another_hop(&self, key: CallKey) -> bool {
        self.calls.get(key).is_some_and(|c| matches!(&c.kind, Kind::Ordinary(hunt) if !hunt.hops.is_empty()))
    }

    /// Tries the next hop; where there is none, the caller hears `status`.
    fn try_next_hop(&mut self, key: CallKey, status: u16, now: Time) {
        let next = match self.calls.get_mut(key).map(|c| &mut c.kind) {
            Some(Kind::Ordinary(hunt)) => {
                hunt.next_leg += 1;
                hunt.hops.pop_front().map(|hop| (hop, LegId(hunt.next_leg - 1)))
            }
            _ => return,
        };
        let Some((hop, id)) = next else { return self.refuse(key, status, None, "", now) };
        if let Some(ticket) = self.ticket_of(key) {
            match hop {
                Hop::Trunk(trunk) => ticket.tried(Some(trunk), None),
                Hop::Peer(peer) => ticket.tried(None, Some(peer)),
                Hop::Device(_) => ticket.tried(None, None),
            }
        }
        self.place_ordinary(key, hop, id, SmallVec::new(), now);
    }

    /// A leg to this hop; where that is a device, along another flow than those `tried`.
    pub(super) fn place_ordinary(&mut self, key: CallKey, hop: Hop, id: LegId, tried: SmallVec<[Flow; 2]>, now: Time) {
        let asked = self.calls.get(key).and_then(|c| c.invite.as_ref()).map(|m| m.uri()).unwrap_or_default();
        let (user, protected) = (dialed_user(asked).unwrap_or_default(), asks_for_protection(asked));
        let Some(Way { uri, flow, routes, along_flow, ice }) = self.way_of(hop, &user, protected, &tried, now) else {
            return self.try_next_hop(key, 503, now);
        };
        // Without Retry-After: whoever believed it would not dial 911 here meanwhile (RFC 3261 section 21.5.4).
        if self.is_to_spare(hop, flow, now) {
            return self.try_next_hop(key, 503, now);
        }
        let Some(msg) = self.calls.get_mut(key).and_then(|c| c.invite.take()) else { return };
        let policy = MediaPolicy { ice, ..self.policy_towards(flow) };
        let Ok(mut anchor) = self.anchor_for(key, id, policy, flow, &msg) else {
            if let Some(call) = self.calls.get_mut(key) {
                call.invite = Some(msg);
            }
            return self.try_next_hop(key, 503, now);
        };
        if anchor.as_ref().is_some_and(|anchor| anchor.misses_keys(Side::Near, &msg)) {
            self.release_anchor(anchor);
            return self.refuse(key, 488, None, "SRTP is required", now);
        }
        let caller = crate::sip::dialog::contact_uri(&msg).map(|u| user_of(&u)).unwrap_or_default();
        let ours = contact(&caller, self.endpoint.locals(), flow, &uri);
        let owner = Owner::Leg { call: key, leg: id, side: Side::Far };
        let from = without_tag(msg.get(Name::From).unwrap_or_default());
        let to = without_tag(msg.get(Name::To).unwrap_or_default());
        let far = self.endpoint.open_caller_dialog(from, to, uri, ours, flow, owner);
        if let Some(dialog) = self.endpoint.dialog_mut(far) {
            (dialog.routes, dialog.along_flow) = (routes, along_flow);
            dialog.account = if let Hop::Trunk(trunk) = hop { Some(trunk.0) } else { None };
        }
        let hops = msg.max_forwards().unwrap_or(70).saturating_sub(1);
        if let Some((invite, mut w)) = self.endpoint.begin(far, b"INVITE", hops, owner, now) {
            match self.calls.get(key).map_or(Origin::Stranger, |c| c.origin) {
                origin if self.believes_marks_of(origin) => Dress::Open.copy(&mut w, &msg),
                Origin::Agent(_) => Dress::Open.copy_of_a_phone(&mut w, &msg),
                _ => Dress::Open.copy_unmarked(&mut w, &msg),
            }
            let content_type = msg.get(Name::ContentType).unwrap_or_default();
            let body = anchor::offered(anchor.as_deref_mut(), content_type, Dress::Open.body(&msg));
            self.endpoint.send(invite, w.finish_body(&body), now);
            self.add_leg(key, Leg { anchor, ..Leg::new(id, invite, far, Dress::Open) });
            if !matches!(hop, Hop::Trunk(_)) {
                self.note_course(key, id, Goal::Ordinary(hop), tried, now);
            }
            let silence = self.setup.site.placing.silence;
            self.wakes.arm(now + silence, Wake::Silence(key, id));
        }
        if let Some(call) = self.calls.get_mut(key) {
            call.invite = Some(msg);
        }
    }

    /// Whether SRTP is required of a side and its description has no keys.
    fn misses_keys(&self, key: CallKey, id: LegId, side: Side, msg: &Message) -> bool {
        let anchor = self.calls.get(key).and_then(|c| c.leg(id)).and_then(|l| l.anchor.as_ref());
        anchor.is_some_and(|anchor| anchor.misses_keys(side, msg))
    }

    /// The far side's final error becomes the caller's.
    fn refuse_as(&mut self, key: CallKey, id: LegId, msg: &Message, now: Time) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let server = call.server;
        call.progress = Progress::Over;
        call.invite = None;
        if let Some(mut w) = self.endpoint.reply(server, msg.status()) {
            Dress::Open.copy(&mut w, msg);
            if (300..400).contains(&msg.status()) {
                for contact in msg.all(Name::Contact) {
                    w.header("Contact", contact);
                }
            }
            let bytes = w.finish_body(&Dress::Open.body(msg));
            self.endpoint.respond(server, msg.status(), None, bytes, now);
        }
        self.record(key, msg.status(), now);
        self.end_leg(key, id);
    }

    fn is_secure(&self, hop: Hop, now: Time) -> bool {
        self.way_of(hop, "", true, &[], now).is_some_and(|way| way.flow.transport.is_secure())
    }

    /// It was asked for by `sips:`, and nothing that it could take has TLS (RFC 5630 section 5.3).
    fn refuse_unprotected(&mut self, key: CallKey, now: Time) {
        let Some(call) = self.calls.get(key) else { return };
        let event = "a call that was asked for by sips finds no TLS";
        self.out.push_back(Do::Side(Beside::Log { event, call: key.id(), trunk: None }));
        if let Some(mut w) = self.endpoint.reply(call.server, 480) {
            let domain = &self.setup.links.domain;
            w.header_fmt("Warning", format_args!("380 {domain} \"SIPS Not Allowed\""));
            self.endpoint.respond(call.server, 480, None, w.finish(), now);
        }
        self.over(key);
    }

    /// How a hop is reached, by another way than those `tried`; what was asked for by `sips:` by those with TLS alone.
    pub(super) fn way_of(&self, hop: Hop, user: &str, protected: bool, tried: &[Flow], now: Time) -> Option<Way> {
        let (link, flow) = match hop {
            Hop::Trunk(t) => self.setup.links.trunks.get(usize::from(t.0)).map(|link| (link, link.flow))?,
            Hop::Peer(p) => {
                let link = self.setup.links.peers.get(usize::from(p.0))?;
                let fit: SmallVec<[Flow; 4]> =
                    link.all_ways().iter().filter(|w| !protected || w.transport.is_secure()).copied().collect();
                (link, self.next_way(&fit, tried, now)?)
            }
            Hop::Device(device) => return self.way_to_registered(device, tried),
        };
        Some(Way::direct(link.uri_by(flow, user, protected), flow))
    }

    /// The registered devices of the agent whose number this is, the newest first.
    fn devices_of(&self, user: &str) -> impl Iterator<Item = Hop> {
        let site = &self.setup.site;
        let agent = E164::from_neighbour(user.as_bytes()).and_then(|n| self.setup.links.phones.get(&n));
        let agent = agent.and_then(|a| site.agents.get(a.0 as usize));
        agent.into_iter().flat_map(|a| self.phones.bindings().devices_of(a.id.reveal())).map(|key| Hop::Device(key.id()))
    }

    /// The caller has been answered.
    pub(super) fn over(&mut self, key: CallKey) {
        if let Some(call) = self.calls.get_mut(key) {
            call.progress = Progress::Over;
        }
        self.settle(key);
    }

    /// RULES C6: marks from a source that is not trusted are stripped.
    pub(super) fn believes_marks_of(&self, origin: Origin) -> bool {
        match origin {
            Origin::Trunk(t) | Origin::Both(_, t) => self.setup.site.trunk(t).is_some_and(|t| t.trust_marks),
            _ => false,
        }
    }
}

/// A dialed user with its escapes decoded, for the patterns of the routes.
fn unescape(user: &str) -> String {
    let mut out: SmallVec<[u8; 32]> = SmallVec::new();
    let mut rest = user.as_bytes();
    while let [first, tail @ ..] = rest {
        match tail.get(..2).and_then(|h| std::str::from_utf8(h).ok()).and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) if *first == b'%' => {
                out.push(byte);
                rest = &tail[2..];
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn escapes_of_a_dialed_user_are_decoded_once() {
        for (user, plain) in
            [("4155551234", "4155551234"), ("%2B1415", "+1415"), ("%252B", "%2B"), ("a%", "a%"), ("a%4", "a%4"), ("%zz", "%zz")]
        {
            assert_eq!(unescape(user), plain, "{user}");
        }
    }
}

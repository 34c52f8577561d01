//! The pages of agents in calls: what an emergency's page may not ask for, and how one that was away comes back.
//!
//! A page is a device that has registered with a pass ([`panel`](super::panel)). Its connection is its own to open: where
//! that is lost amid a call, the other side is kept for [`AWAY`]. The same page that comes back by a new connection goes on as
//! any device does ([`flows`](super::flows)). One that was loaded anew knows of no call: it is rung, its answer brings an
//! offer, and with that the other side is asked anew (RFC 3725 section 4.1), so that the call is hers again; until it has
//! answered, nothing is taken from the page before it. It is no leg of the story's: to that the call was never interrupted.
//!
//! Read [`Page`] first, then [`Shard::page_registered`].

use super::anchor::Role;
use super::bindings::DeviceKey;
use super::call::{Call, CallKey, Fate, Kind, Owner, Progress, Side};
use super::compose::{contact, user_of};
use super::emergency::Way;
use super::shard::{Shard, Wake};
use crate::emergency::facts::{AgentId, LegId, Origin};
use crate::sip::dialog::{Peer, without_tag};
use crate::sip::header::NameAddr;
use crate::sip::{ClientKey, DialogKey, Flow, Message, Method, Name, Transport, sdp};
use crate::words::Time;
use smallvec::SmallVec;
use std::net::SocketAddr;
use std::time::Duration;

/// How long the other side of a call is kept for a page that is away.
const AWAY: Duration = Duration::from_secs(20);
/// What the other side hears then.
const NOT_BACK: &str = "SIP;cause=480;text=\"The caller's page did not come back\"";
/// What the page before hears, should it still be there.
const TAKEN_OVER: &str = "SIP;cause=200;text=\"Call completed elsewhere\"";

/// How often the other side is asked anew at most, should it have another offer at hand each time.
const MOST_ASKED: u8 = 4;

/// A page's part in a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    /// Whose page it is.
    pub(super) agent: AgentId,
    /// On which side of the call.
    pub(super) side: Side,
    /// Since when its connection is lost.
    lost: Option<Time>,
}

impl Page {
    /// One that is there.
    pub(super) const fn new(agent: AgentId, side: Side) -> Self {
        Self { agent, side, lost: None }
    }
}

/// A page's place in a connected call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seat {
    call: CallKey,
    leg: LegId,
    side: Side,
}

/// A page that is rung for a call that was hers before.
#[derive(Debug)]
pub(super) struct RungAgain {
    /// None: it has been taken meanwhile.
    seat: Option<Seat>,
    device: DeviceKey,
    dialog: DialogKey,
    invite: ClientKey,
}

/// What a page offers that has come back, until the other side has taken it.
#[derive(Debug)]
pub(super) struct Offered {
    seat: Seat,
    page: DialogKey,
    answer: Message,
    asked: u8,
}

impl Shard {
    /// Whether a request of a page's within an emergency call is one that RULES A6 leaves to her: with which status it is
    /// refused otherwise. A hold is refused as what it asks of the media (RFC 3261 section 14.2), and the call goes on as it is.
    pub(super) fn refused_to_page(&self, key: CallKey, side: Side, msg: &Message) -> Option<u16> {
        let call = self.calls.get(key).filter(|c| c.kind.is_storys())?;
        call.page.filter(|page| page.side == side)?;
        match msg.method() {
            Method::Bye | Method::Prack | Method::Options => None,
            Method::Invite | Method::Update if is_hold(msg) => Some(488),
            Method::Invite | Method::Update => None,
            _ => Some(403),
        }
    }

    /// Whether an ordinary call that a page begins is refused, because an emergency call of hers is up (RULES A6).
    pub(super) fn is_amid_an_emergency(&self, key: CallKey) -> bool {
        let Some(page) = self.calls.get(key).and_then(|c| c.page) else { return false };
        let is_hers = |call: &Call| call.page.is_some_and(|p| p.agent == page.agent);
        self.calls
            .iter()
            .any(|(other, call)| other != key && call.kind.is_storys() && call.progress != Progress::Over && is_hers(call))
    }

    /// Whether the caller is a page whose call is an emergency: its responses say so.
    pub(super) fn is_emergency_of_page(&self, key: CallKey) -> bool {
        let call = self.calls.get(key).filter(|c| matches!(c.kind, Kind::Emergency));
        call.and_then(|c| c.page).is_some_and(|page| page.side == Side::Near)
    }

    /// A call was connected: a page may have answered it, or have gone away while it rang.
    pub(super) fn page_connected(&mut self, key: CallKey, id: LegId, now: Time) {
        let device = self.calls.get(key).and_then(|c| c.leg(id)?.course.as_ref()?.goal.device());
        let agent = device.and_then(|device| self.page_of(device));
        let Some(call) = self.calls.get_mut(key) else { return };
        if let Some(agent) = agent {
            call.page = Some(Page::new(agent, Side::Far));
        }
        let Some(page) = call.page.as_mut().filter(|p| p.lost.is_some()) else { return };
        page.lost = Some(now);
        let (agent, lost) = (page.agent, call.near_flow);
        self.wakes.arm(now + AWAY, Wake::PageAway(key));
        let is_there = |device: &DeviceKey| self.phones.bindings().flows_of(*device).first().is_some_and(|b| b.flow != lost);
        let there = self.agents_pages(agent).find(is_there);
        if let (Some(device), Some(seat)) = (there, self.seat_of(key)) {
            self.ring_again(seat, device, now);
        }
    }

    /// A page has registered, by this flow: calls of hers whose page is another one are offered to it.
    pub(super) fn page_registered(&mut self, agent: AgentId, device: DeviceKey, flow: Flow, now: Time) {
        // The same page by another connection has its calls already.
        for key in self.phones.bindings().calls_of(device) {
            self.page_is_back(key, agent, flow);
        }
        let is_hers = |call: &Call| call.kind.is_storys() && call.page.is_some_and(|p| p.agent == agent);
        let hers: SmallVec<[CallKey; 2]> = self.calls.iter().filter(|(_, call)| is_hers(call)).map(|(key, _)| key).collect();
        for seat in hers.into_iter().filter_map(|key| self.seat_of(key)).collect::<SmallVec<[Seat; 2]>>() {
            let own = self.phones.bindings().calls_of(device).contains(&seat.call);
            let rings = self.phones.rung_again.iter().any(|r| r.seat == Some(seat) && r.device == device);
            if !own && !rings {
                self.ring_again(seat, device, now);
            }
        }
    }

    /// A WebSocket is closed: the calls of the page behind it wait for it.
    pub fn flow_lost(&mut self, transport: Transport, remote: SocketAddr, now: Time) {
        if !transport.is_theirs_to_open() {
            return;
        }
        let lost: SmallVec<[CallKey; 2]> = self
            .calls
            .iter()
            .filter(|(_, call)| {
                call.page.is_some_and(|p| p.lost.is_none()) && self.page_flow(call).is_some_and(|f| is(f, transport, remote))
            })
            .map(|(key, _)| key)
            .collect();
        for key in lost {
            if let Some(page) = self.calls.get_mut(key).and_then(|c| c.page.as_mut()) {
                page.lost = Some(now);
            }
            self.wakes.arm(now + AWAY, Wake::PageAway(key));
        }
    }

    /// The page of this call has had its time to come back. To the story the other side has ended the call: she is to be
    /// called back.
    pub(super) fn page_away(&mut self, key: CallKey, now: Time) {
        let Some(call) = self.calls.get(key).filter(|c| c.kind.is_storys()) else { return };
        let Some(page) = call.page.filter(|p| p.lost.is_some_and(|since| since + AWAY <= now)) else { return };
        let Progress::Connected(leg) = call.progress else { return };
        let (own, other) = (call.dialog(leg, page.side), call.dialog(leg, page.side.other()));
        if let Some(other) = other {
            let owner = Owner::Leg { call: key, leg, side: page.side.other() };
            self.endpoint.hang_up(other, NOT_BACK.as_bytes(), owner, now);
        }
        own.into_iter().for_each(|own| self.endpoint.end_dialog(own));
        self.stop_ringing_again(key, now);
        self.finish(key, leg, page.side.other(), now);
    }

    /// A response of a page that is rung again.
    pub(super) fn on_page_response(&mut self, seat: Seat, tx: ClientKey, msg: &Message, now: Time) {
        let status = msg.status();
        if status < 200 {
            return;
        }
        let Some(rung) = self.take_rung(tx) else { return };
        if status >= 300 {
            return self.endpoint.end_dialog(rung.dialog);
        }
        if let Some(dialog) = self.endpoint.dialog_mut(rung.dialog) {
            dialog.learn(Peer::of_response(msg), true);
        }
        if rung.seat.is_none() || self.seat_of(seat.call) != rung.seat {
            // The call has ended, or another page has it.
            self.endpoint.acknowledge(rung.dialog, b"", b"");
            return self.endpoint.hang_up(rung.dialog, TAKEN_OVER.as_bytes(), Owner::Late, now);
        }
        self.take_seat(seat, &rung, now);
        self.offer_on(seat, rung.dialog, msg, 0, now);
    }

    /// A page that was rung again is not there.
    pub(super) fn on_page_silence(&mut self, tx: ClientKey) {
        if let Some(rung) = self.take_rung(tx) {
            self.endpoint.forget(tx);
            self.endpoint.end_dialog(rung.dialog);
        }
    }

    /// What the other side answers to the offer of a page that has come back.
    pub(super) fn on_rejoin_response(&mut self, seat: Seat, page: DialogKey, msg: &Message, now: Time) {
        let status = msg.status();
        if status < 200 {
            return;
        }
        let offered = self.take_offered(page);
        let Some(call) = self.calls.get(seat.call).filter(|c| c.progress == Progress::Connected(seat.leg)) else {
            return self.endpoint.acknowledge(page, b"", b"");
        };
        if let Some(offered) = offered.filter(|_| is_for_later(msg)) {
            return self.wait_for_the_other(offered, now);
        }
        let (dress, other) = (call.dress(seat.leg, seat.side), call.dialog(seat.leg, seat.side.other()));
        if status >= 300 {
            return self.rejoin_failed(seat, page, status, now);
        }
        if let Some(other) = other {
            self.refresh(seat.call, other, msg, now);
            self.endpoint.acknowledge(other, b"", b"");
        }
        if !self.is_of(seat, page) {
            return self.endpoint.acknowledge(page, b"", b"");
        }
        let content_type = msg.get(Name::ContentType).unwrap_or_default();
        let body = self.carried(seat.call, seat.leg, seat.side, Role::Answer, content_type, dress.body(msg));
        self.endpoint.acknowledge(page, content_type, &body);
        self.keep_call(seat.call, now);
    }

    /// The other side has another offer at hand: it is asked again after a time that differs from its own (RFC 3261 section 14.1).
    fn wait_for_the_other(&mut self, offered: Offered, now: Time) {
        let Offered { seat, page, asked, .. } = offered;
        if asked >= MOST_ASKED {
            return self.rejoin_failed(seat, page, 491, now);
        }
        let some = Duration::from_millis(10 * (seat.call.id().0 % 190));
        // A leg on a trunk has a Call-ID of ours.
        let wait = if seat.side == Side::Near { Duration::from_millis(2100) + some } else { some };
        self.phones.offered.push(offered);
        self.wakes.arm(now + wait, Wake::OfferAgain(page));
    }

    /// It is time to ask again, if the call is still this page's.
    pub(super) fn offer_again(&mut self, page: DialogKey, now: Time) {
        let Some(Offered { seat, answer, asked, .. }) = self.take_offered(page) else { return };
        if self.seat_of(seat.call) == Some(seat) && self.is_of(seat, page) {
            self.offer_on(seat, page, &answer, asked, now);
        } else {
            self.endpoint.acknowledge(page, b"", b"");
        }
    }

    fn take_offered(&mut self, page: DialogKey) -> Option<Offered> {
        let at = self.phones.offered.iter().position(|o| o.page == page)?;
        Some(self.phones.offered.swap_remove(at))
    }

    /// Whether this page is the one that has the call: another may have taken it meanwhile.
    fn is_of(&self, seat: Seat, page: DialogKey) -> bool {
        self.calls.get(seat.call).and_then(|c| c.dialog(seat.leg, seat.side)) == Some(page)
    }

    /// Without an answer the page has no call: it is away again. Where the other side says that there is none, it is over.
    pub(super) fn rejoin_failed(&mut self, seat: Seat, page: DialogKey, status: u16, now: Time) {
        self.take_offered(page);
        self.endpoint.acknowledge(page, b"", b"");
        if status == 481 {
            return self.end_by(seat.call, seat.leg, seat.side.other(), now);
        }
        if !self.is_of(seat, page) {
            return;
        }
        let owner = Owner::Leg { call: seat.call, leg: seat.leg, side: seat.side };
        self.endpoint.hang_up(page, b"SIP;cause=488", owner, now);
        if let Some(page) = self.calls.get_mut(seat.call).and_then(|c| c.page.as_mut()) {
            page.lost = Some(now);
        }
        self.wakes.arm(now + AWAY, Wake::PageAway(seat.call));
    }

    fn ring_again(&mut self, seat: Seat, device: DeviceKey, now: Time) {
        let Some(way) = self.way_to_registered(device.id(), &[]) else { return };
        let Some(before) = self.calls.get(seat.call).and_then(|c| c.dialog(seat.leg, seat.side)) else { return };
        let Some((local, remote)) = self.endpoint.dialog(before).map(|d| (without_tag(&d.local), without_tag(&d.remote))) else {
            return;
        };
        let is_callback = self.calls.get(seat.call).is_some_and(|c| matches!(c.kind, Kind::Callback));
        let Way { uri, flow, routes, along_flow, .. } = way;
        let user = user_of(NameAddr::parse(&local).map_or(&b""[..], |n| n.uri));
        let ours = contact(&user, self.endpoint.locals(), flow, &uri);
        let dialog = self.endpoint.open_caller_dialog(local, remote, uri, ours, flow, Owner::Page(seat));
        if let Some(dialog) = self.endpoint.dialog_mut(dialog) {
            (dialog.routes, dialog.along_flow) = (routes, along_flow);
        }
        let Some((invite, mut w)) = self.endpoint.begin(dialog, b"INVITE", 70, Owner::Page(seat), now) else { return };
        w.header("Priority", if is_callback { b"psap-callback" } else { b"emergency" });
        w.header("Alert-Info", b"<urn:alert:priority:high>");
        // RFC 5373: she is on this call already.
        w.header("Answer-Mode", b"Auto");
        // Its offer is to come with its answer: what the other side can do is its business to say (RFC 3725 section 4.1).
        self.endpoint.send(invite, w.finish(), now);
        self.phones.rung_again.push(RungAgain { seat: Some(seat), device, dialog, invite });
    }

    /// The call is this page's from now on.
    fn take_seat(&mut self, seat: Seat, rung: &RungAgain, now: Time) {
        let Seat { call: key, leg: id, side } = seat;
        let owner = Owner::Leg { call: key, leg: id, side };
        let Some(call) = self.calls.get_mut(key) else { return };
        if let Some(page) = call.page.as_mut() {
            page.lost = None;
        }
        let Some(leg) = call.leg_mut(id) else { return };
        let before = match side {
            Side::Near => leg.near.replace(rung.dialog),
            Side::Far => {
                (leg.root, leg.invite) = (rung.dialog, rung.invite);
                Some(std::mem::replace(&mut leg.far, rung.dialog))
            }
        };
        if let Some(dialog) = self.endpoint.dialog_mut(rung.dialog) {
            dialog.owner = owner;
        }
        if let Some(before) = before {
            self.endpoint.hang_up(before, TAKEN_OVER.as_bytes(), Owner::Late, now);
        }
        self.phones.note_call(rung.device, key);
        self.stop_ringing_again(key, now);
    }

    /// Asks the other side anew, with what the page offers; so often it was `asked` before.
    fn offer_on(&mut self, seat: Seat, page: DialogKey, msg: &Message, asked: u8, now: Time) {
        let Seat { call: key, leg, side } = seat;
        let to = side.other();
        let target = self.calls.get(key).and_then(|c| Some((c.dialog(leg, to)?, c.dress(leg, to))));
        let content_type = msg.get(Name::ContentType).unwrap_or_default();
        let Some((there, dress)) = target.filter(|_| sdp::has_offer(content_type, msg.body())) else {
            return self.endpoint.acknowledge(page, b"", b"");
        };
        let body = self.carried(key, leg, to, Role::Offer, content_type, dress.body(msg));
        let owner = Owner::Rejoin(seat, page);
        let Some((request, mut w)) = self.endpoint.begin(there, b"INVITE", 70, owner, now) else {
            return self.rejoin_failed(seat, page, 488, now);
        };
        w.header("Content-Type", content_type);
        self.endpoint.send(request, w.finish_body(&body), now);
        self.phones.offered.push(Offered { seat, page, answer: msg.clone(), asked: asked + 1 });
    }

    pub(super) fn stop_ringing_again(&mut self, key: CallKey, now: Time) {
        for rung in self.phones.rung_again.iter_mut().filter(|r| r.seat.is_some_and(|seat| seat.call == key)) {
            // A late answer is hung up where it comes.
            rung.seat = None;
            self.endpoint.give_up(rung.invite, TAKEN_OVER.as_bytes().into(), now);
        }
    }

    fn take_rung(&mut self, tx: ClientKey) -> Option<RungAgain> {
        let at = self.phones.rung_again.iter().position(|r| r.invite == tx)?;
        Some(self.phones.rung_again.swap_remove(at))
    }

    /// The place of the page in a connected call.
    fn seat_of(&self, key: CallKey) -> Option<Seat> {
        let call = self.calls.get(key)?;
        let Progress::Connected(leg) = call.progress else { return None };
        let is_up = call.leg(leg).is_some_and(|l| l.fate == Fate::Chosen);
        call.page.filter(|_| is_up && call.kind.is_storys()).map(|page| Seat { call: key, leg, side: page.side })
    }

    /// By which flow the page of a call was heard.
    fn page_flow(&self, call: &Call) -> Option<Flow> {
        let page = call.page?;
        let dialog = match call.progress {
            Progress::Connected(leg) => call.dialog(leg, page.side),
            Progress::Waiting | Progress::Over => None,
        };
        dialog.and_then(|dialog| self.endpoint.dialog(dialog)).map(|d| d.flow).or(Some(call.near_flow))
    }

    /// A page that is the same has come back by this flow.
    fn page_is_back(&mut self, key: CallKey, agent: AgentId, flow: Flow) {
        let Some(call) = self.calls.get(key) else { return };
        let Progress::Connected(leg) = call.progress else { return };
        let is_by = |side| {
            let dialog = call.dialog(leg, side).and_then(|dialog| self.endpoint.dialog(dialog));
            dialog.is_some_and(|d| d.along_flow && d.flow == flow)
        };
        let side = [Side::Near, Side::Far].into_iter().find(|side| is_by(*side));
        if let (Some(side), Some(call)) = (side, self.calls.get_mut(key)) {
            // Also where the call is an earlier run's, which knew it as a page's.
            call.page = Some(Page::new(agent, side));
        }
    }

    /// Whose page this device is, if it is one.
    fn page_of(&self, device: DeviceKey) -> Option<AgentId> {
        let flows = self.phones.bindings().flows_of(device);
        let page = flows.into_iter().find(|b| b.panel)?;
        self.setup.access.agent(&page.agent)
    }

    fn agents_pages(&self, agent: AgentId) -> impl Iterator<Item = DeviceKey> {
        let id = self.setup.site.agents.get(agent.0 as usize).map(|a| a.id.reveal().as_str());
        let devices = id.map(|id| self.phones.bindings().devices_of(id)).unwrap_or_default();
        devices.into_iter().filter(move |device| self.page_of(*device) == Some(agent))
    }

    /// The page that a message by this flow is from, if it is one's.
    pub(super) fn page_at(&self, origin: Origin, device: Option<DeviceKey>) -> Option<Page> {
        let Origin::Agent(agent) = origin else { return None };
        device.filter(|device| self.page_of(*device).is_some()).map(|_| Page::new(agent, Side::Near))
    }
}

/// Whether an offer came while the side that was asked had another one at hand: its own (RFC 3261 section 14.1), or one of ours
/// that it has not answered yet (section 14.2).
fn is_for_later(answer: &Message) -> bool {
    answer.status() == 491 || answer.status() == 500 && answer.get(Name::RetryAfter).is_some()
}

/// Whether a description takes the other side's audio away: that is a hold (RFC 6337 section 5.3). A page without a microphone
/// listens only, which is none.
fn is_hold(msg: &Message) -> bool {
    let sdp = sdp::sdp_part(msg.get(Name::ContentType).unwrap_or_default(), msg.body()).unwrap_or_default();
    let lines = || sdp.split(|b| *b == b'\n').map(<[u8]>::trim_ascii);
    // To a browser that address says nothing: where it is, its candidates say (RFC 8839 section 4.3.1).
    let nowhere = || lines().any(|line| line == b"c=IN IP4 0.0.0.0") && !lines().any(|line| line.starts_with(b"a=ice-ufrag:"));
    lines().any(|line| matches!(line, b"a=sendonly" | b"a=inactive")) || nowhere()
}

fn is(flow: Flow, transport: Transport, remote: SocketAddr) -> bool {
    flow.transport == transport && flow.remote == remote
}

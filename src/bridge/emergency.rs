//! The story's side of the bridge: messages become its inputs, its effects become messages.

use super::anchor;
use super::bindings::DeviceKey;
use super::call::{CallKey, Fate, Goal, Kind, Leg, Owner, Placement, Progress, Side};
use super::compose::{Dress, contact, user_of};
use super::extensions::{support_instead, support_of_a_callback};
use super::links::{CalledUris, Link, MediaPolicy};
use super::location::{self, Added};
use super::own::Errand;
use super::read_back::ReadOut;
use super::shard::{CANCELLED, Do, Shard};
use crate::emergency::facts::{
    Because, Body, BodyForm, CallEffect, CallerEvidence, Device, DeviceId, Input, Invite, LegEvent, LegId, Marks, Origin, Output,
    Side as Beside, Target,
};
use crate::emergency::path::asks_for_protection;
use crate::sip::dialog::without_tag;
use crate::sip::header::{NameAddr, values};
use crate::sip::{ClientKey, DialogKey, Flow, Message, Name, Transport, sdp};
use crate::words::uri::Uri;
use crate::words::{E164, Private, Time};
use bytes::Bytes;
use smallvec::SmallVec;

/// An emergency whose Max-Forwards has run out is placed with this many hops (RULES P12).
const HOPS_OF_LAST_RESORT: u8 = 10;

impl Shard {
    /// Tells the story of an INVITE.
    pub(super) fn tell_story_of_invite(&mut self, key: CallKey, now: Time) {
        let Some(call) = self.calls.get_mut(key) else { return };
        // Taken out while the story reads it: the effects that follow find it in its place again.
        let (Some(msg), origin) = (call.invite.take(), call.origin) else { return };
        self.tell_invite(key, origin, &msg, now);
        if let Some(call) = self.calls.get_mut(key) {
            call.invite = Some(msg);
        }
        self.carry_out(now);
    }

    fn tell_invite(&mut self, key: CallKey, origin: Origin, msg: &Message, now: Time) {
        let Some(story) = &mut self.story else { return };
        let called = CalledUris::of(msg);
        let evidence = Evidence::of(msg);
        let location = location::brought(msg);
        let invite = Invite {
            call: key.id(),
            origin,
            called: called.called(),
            caller: evidence.caller(),
            marks: marks(msg),
            body: body_kind(msg),
            hops_used_up: msg.max_forwards() == Some(0),
            location: location.as_deref().map(Private::new),
        };
        story.handle(Input::Invite(invite), now);
    }

    /// Carries out what the story decided, in its order.
    pub(super) fn carry_out(&mut self, now: Time) {
        loop {
            let Some(output) = self.story.as_mut().map(|s| s.poll()) else { return };
            match output {
                Output::Call(effect) => self.execute(effect, now),
                Output::Side(side) => self.beside(side, now),
                Output::Timeout(at) => return self.set_story_deadline(at),
            }
        }
    }

    fn execute(&mut self, effect: CallEffect, now: Time) {
        match effect {
            CallEffect::Commit { call, lease } => {
                if let Some(waiting) = self.calls.get_mut(CallKey::of(call)) {
                    waiting.kind = Kind::Emergency;
                }
                self.out.push_back(Do::Commit { call, lease });
            }
            CallEffect::Ordinary { call } => self.begin_ordinary(CallKey::of(call), now),
            CallEffect::Place { call, leg, trunk, target, shown, body, location, test } => {
                let shown = *shown.reveal();
                let placement =
                    Placement { trunk, target, shown, form: body, location, test, moved: None, min_se: None, srtp: None };
                self.place(CallKey::of(call), leg, placement, now);
            }
            CallEffect::Ring { call, leg, device, called } => {
                self.ring(CallKey::of(call), leg, &device, *called.reveal(), SmallVec::new(), now);
            }
            CallEffect::FreeLine { call, agent } => self.free_line(call, &agent, now),
            CallEffect::GiveUp { call, leg, because } => self.give_up_leg(CallKey::of(call), leg, reason(because), now),
            CallEffect::Progress { call, leg } => {
                if let Some(msg) = self.at_hand.take() {
                    self.progress(CallKey::of(call), leg, &msg, now);
                }
            }
            CallEffect::Ringing { call } => self.ringing(CallKey::of(call), now),
            CallEffect::Connect { call, leg } => {
                if let Some(msg) = self.at_hand.take() {
                    self.connect(CallKey::of(call), leg, &msg, now);
                }
            }
            CallEffect::ReadBack { call, leg, number, path, language } => {
                self.begin_read_back(CallKey::of(call), leg, ReadOut { number, path, language }, now);
            }
            CallEffect::Refuse { call, status, retry_after, text } => {
                let key = CallKey::of(call);
                self.refuse(key, status, retry_after, text, now);
            }
            CallEffect::RefuseAbroad { call, number } => self.refuse_abroad(CallKey::of(call), number, now),
        }
    }

    /// An emergency leg on a trunk, composed by us from what RULES L8 allows.
    pub(super) fn place(&mut self, key: CallKey, leg: LegId, placement: Placement, now: Time) {
        let Some(link) = self.setup.links.trunks.get(usize::from(placement.trunk.0)) else { return };
        let protected = self.calls.get(key).and_then(|c| c.invite.as_ref()).is_some_and(|m| asks_for_protection(m.uri()));
        let (uri, route) = request_uri(&placement.target, link, protected);
        let remote = format!("<{uri}>");
        let (uri, flow, route) = match placement.moved.clone() {
            Some((uri, flow)) => (uri, flow, None),
            None => (Bytes::from(uri), link.flow, route),
        };
        // RULES R5: whatever went wrong before, a test never asks for real help.
        if placement.test && (matches!(placement.target, Target::Contingency(_)) || self.is_live_service(&uri)) {
            return self.tell_story(Some(Input::Leg { call: key.id(), leg, event: LegEvent::Unreachable }), now);
        }
        if protected && !flow.transport.is_secure() {
            let event = "an emergency that was asked for by sips goes on without TLS";
            self.out.push_back(Do::Side(Beside::Log { event, call: key.id(), trunk: Some(placement.trunk) }));
        }
        let Some(call) = self.calls.get_mut(key) else { return };
        call.kind = Kind::Emergency;
        let Some(msg) = call.invite.take() else { return };
        let policy = MediaPolicy { srtp: placement.srtp.unwrap_or(link.media.srtp), ..link.media };
        let Ok(mut anchor) = self.anchor_of_story(key, leg, policy, flow, &msg) else {
            return self.without_ports(key, leg, msg, now);
        };
        let shown = placement.shown;
        let local = format!("<sip:{shown}@{}>", self.setup.links.domain);
        let ours = contact(&shown.to_string(), self.endpoint.locals(), flow, &uri);
        let owner = Owner::Leg { call: key, leg, side: Side::Far };
        let far = self.endpoint.open_caller_dialog(local.clone().into(), remote.into(), uri, ours, flow, owner);
        if let Some(dialog) = self.endpoint.dialog_mut(far) {
            dialog.routes.extend(route);
            dialog.account = Some(placement.trunk.0);
        }
        let hops = msg.max_forwards().unwrap_or(70).checked_sub(1).unwrap_or(HOPS_OF_LAST_RESORT);
        let mut through = |content_type: &[u8], body| anchor::offered(anchor.as_deref_mut(), content_type, body);
        let content_type = msg.get(Name::ContentType).unwrap_or_default();
        if let Some((invite, mut w)) = self.endpoint.begin(far, b"INVITE", hops, owner, now) {
            w.header("P-Asserted-Identity", local.as_bytes());
            w.header_fmt("P-Asserted-Identity", format_args!("<tel:{shown}>"));
            w.header("User-Agent", b"e911d");
            support_instead(&mut w, &msg);
            if let Some(min_se) = placement.min_se {
                let wanted = msg.get(Name::SessionExpires).and_then(crate::sip::header::seconds).unwrap_or(0);
                w.header_num("Session-Expires", u64::from(wanted.max(min_se)));
                w.header_num("Min-SE", u64::from(min_se));
            }
            let interval: fn(Name) -> bool =
                if placement.min_se.is_some() { |n| matches!(n, Name::SessionExpires | Name::MinSe) } else { |_| false };
            let bytes = match placement.form {
                BodyForm::Whole if placement.location.is_some() => {
                    let about_more = |n| is_about_the_body(n) || n == Name::GeolocationRouting || interval(n);
                    Dress::Masked.copy_but(&mut w, &msg, about_more);
                    let body = through(content_type, Dress::Masked.body(&msg));
                    match self.added_location(&placement, far, now) {
                        Some(added) => added.finish(w, &msg, &body),
                        None => w.finish_body(&body),
                    }
                }
                BodyForm::Whole => {
                    Dress::Masked.copy_but(&mut w, &msg, interval);
                    w.finish_body(&through(content_type, Dress::Masked.body(&msg)))
                }
                BodyForm::SdpAlone => {
                    let about_more = |n| is_about_the_body(n) || is_about_location(n) || interval(n);
                    Dress::Masked.copy_but(&mut w, &msg, about_more);
                    let sdp = sdp::sdp_part(content_type, msg.body()).unwrap_or_default();
                    if !sdp.is_empty() {
                        w.header("Content-Type", b"application/sdp");
                    }
                    w.finish_body(&through(b"application/sdp", sdp::anonymize(sdp)))
                }
            };
            self.endpoint.send(invite, bytes, now);
            self.add_leg(key, Leg { placed: Some(Box::new(placement)), anchor, ..Leg::new(leg, invite, far, Dress::Masked) });
        } else {
            self.release_anchor(anchor);
        }
        if let Some(call) = self.calls.get_mut(key) {
            call.invite = Some(msg);
        }
    }

    /// A leg that cannot be heard: the story goes on to whoever is next.
    fn without_ports(&mut self, key: CallKey, leg: LegId, invite: Box<Message>, now: Time) {
        if let Some(call) = self.calls.get_mut(key) {
            call.invite = Some(invite);
        }
        self.tell_story(Some(Input::Leg { call: key.id(), leg, event: LegEvent::Unreachable }), now);
    }

    fn added_location<'a>(&'a self, placement: &'a Placement, far: DialogKey, now: Time) -> Option<Added<'a>> {
        let times = &self.setup.site.callback;
        Some(Added {
            place: placement.location.as_ref()?,
            shown: placement.shown,
            domain: &self.setup.links.domain,
            unique: self.endpoint.dialog(far).map_or(&b""[..], |d| &d.call_id),
            wall: self.setup.booted + now.since(Time::ZERO),
            retention: if placement.test { times.test_ttl } else { times.ttl },
        })
    }

    /// A callback's leg to a device, an alternate or the desk (CONTRACT "The callback leg").
    /// It is rung by another way than those `tried`.
    pub(super) fn ring(
        &mut self,
        key: CallKey,
        leg: LegId,
        device: &Device,
        called: E164,
        tried: SmallVec<[Flow; 2]>,
        now: Time,
    ) {
        let Some(Way { uri, flow, routes, along_flow, ice }) = self.way_to(device, &tried, now) else {
            return self.tell_story(Some(Input::Leg { call: key.id(), leg, event: LegEvent::Unreachable }), now);
        };
        let Some(call) = self.calls.get_mut(key) else { return };
        call.kind = Kind::Callback;
        call.near_dress = Dress::Masked;
        let Some(msg) = call.invite.take() else { return };
        let policy = self.policy_towards(flow);
        let srtp = self.calls.get(key).and_then(|c| c.leg(leg)).and_then(|l| l.srtp);
        let policy = MediaPolicy { srtp: srtp.unwrap_or(policy.srtp), ice, ..policy };
        let Ok(mut anchor) = self.anchor_of_story(key, leg, policy, flow, &msg) else {
            return self.without_ports(key, leg, msg, now);
        };
        let Some(call) = self.calls.get_mut(key) else { return };
        call.near_contact = contact(&called.to_string(), self.endpoint.locals(), call.near_flow, msg.uri());
        let from = without_tag(msg.get(Name::From).unwrap_or(b"<sip:anonymous@anonymous.invalid>"));
        let remote = format!("<sip:{called}@{}>", self.setup.links.domain);
        let psap = user_of(NameAddr::parse(&from).map_or(&b""[..], |n| n.uri));
        let ours = contact(&psap, self.endpoint.locals(), flow, &uri);
        let owner = Owner::Leg { call: key, leg, side: Side::Far };
        let far = self.endpoint.open_caller_dialog(from, remote.into(), uri, ours, flow, owner);
        if let Some(dialog) = self.endpoint.dialog_mut(far) {
            (dialog.routes, dialog.along_flow) = (routes, along_flow);
        }
        let hops = msg.max_forwards().unwrap_or(70).checked_sub(1).unwrap_or(HOPS_OF_LAST_RESORT);
        if let Some((invite, mut w)) = self.endpoint.begin(far, b"INVITE", hops, owner, now) {
            w.header("Priority", b"psap-callback");
            w.header("Alert-Info", b"<urn:alert:priority:high>");
            w.header("Reject-Contact", b"*;automata");
            w.header("Reject-Contact", b"*;actor=\"msg-taker\"");
            support_of_a_callback(&mut w, &msg);
            if self.calls.get(key).is_some_and(|c| self.believes_marks_of(c.origin)) {
                Dress::Open.copy_but(&mut w, &msg, is_of_the_callback_leg);
            } else {
                Dress::Open.copy_but(&mut w, &msg, |n| is_of_the_callback_leg(n) || n == Name::ResourcePriority);
            }
            let content_type = msg.get(Name::ContentType).unwrap_or_default();
            let body = anchor::offered(anchor.as_deref_mut(), content_type, Dress::Open.body(&msg));
            self.endpoint.send(invite, w.finish_body(&body), now);
            self.add_leg(key, Leg { anchor, srtp, ..Leg::new(leg, invite, far, Dress::Open) });
            self.note_course(key, leg, Goal::Callback(device.clone(), called), tried, now);
        } else {
            self.release_anchor(anchor);
        }
        if let Some(call) = self.calls.get_mut(key) {
            call.invite = Some(msg);
        }
    }

    /// A response to the INVITE of a leg, of the story's calls and of ordinary ones.
    pub(super) fn on_leg_response(&mut self, _tx: ClientKey, key: CallKey, id: LegId, msg: Message, now: Time) {
        let Some(call) = self.calls.get(key) else { return };
        let Some(leg) = call.leg(id) else { return };
        let (fate, status) = (leg.fate, msg.status());
        if status < 300 {
            self.learn(key, id, &msg);
        } else if self.place_again(key, id, &msg, now) || self.goes_elsewhere_after(key, id, status, now) {
            return;
        }
        let Some(far) = self.calls.get(key).and_then(|c| c.leg(id)).map(|l| l.far) else { return };
        match fate {
            Fate::GivenUp(reason) if (200..300).contains(&status) => {
                return self.decline_late_answer(key, id, far, reason, now);
            }
            Fate::GivenUp(_) if status >= 300 => return self.end_leg(key, id),
            Fate::Open => {}
            _ => return,
        }
        if !self.calls.get(key).is_some_and(|c| c.kind.is_storys()) {
            return self.on_ordinary_response(key, id, msg, now);
        }
        let event = match status {
            100 => LegEvent::Trying,
            101..=199 => {
                LegEvent::Progress { status, sdp: sdp::has_offer(msg.get(Name::ContentType).unwrap_or_default(), msg.body()) }
            }
            200..=299 => LegEvent::Answered,
            _ => LegEvent::Refused { status },
        };
        if status >= 300 {
            self.end_leg(key, id);
        }
        self.at_hand = Some(msg);
        self.tell_story(Some(Input::Leg { call: key.id(), leg: id, event }), now);
        self.at_hand = None;
        // Who answers must be told something: an answer that the story did not take is hung up.
        if event == LegEvent::Answered
            && let Some(leg) = self.calls.get(key).and_then(|c| c.leg(id))
            && !matches!(leg.fate, Fate::Chosen | Fate::Gone)
        {
            let because = if let Fate::GivenUp(because) = leg.fate { because } else { CANCELLED };
            self.decline_late_answer(key, id, far, because, now);
        }
    }

    /// A leg heard nothing, or timer C ran out, or nobody is there.
    pub(super) fn on_leg_silence(&mut self, tx: ClientKey, key: CallKey, id: LegId, unreachable: bool, now: Time) {
        let Some(call) = self.calls.get(key) else { return };
        let storys = call.kind.is_storys();
        let rings = self.endpoint.is_unanswered(tx);
        if !rings && (self.place_next_way(key, id, unreachable, now) || self.go_by_next_way(key, id, now)) {
            return;
        }
        let Some(leg) = self.calls.get(key).and_then(|c| c.leg(id)) else { return };
        match leg.fate {
            Fate::GivenUp(_) => {
                self.endpoint.forget(tx);
                self.end_leg(key, id);
            }
            // RULES P8: timer C never ends an emergency leg that had an 18x.
            Fate::Open if storys && rings => {}
            Fate::Open if storys => {
                self.end_leg(key, id);
                let event = if unreachable { LegEvent::Unreachable } else { LegEvent::TimedOut };
                self.tell_story(Some(Input::Leg { call: key.id(), leg: id, event }), now);
            }
            // Timer C: whoever rings an ordinary callee for three minutes without a word of progress gives up.
            Fate::Open if rings => {
                self.give_up_leg(key, id, "SIP;cause=408;text=\"Rang too long\"", now);
                self.refuse(key, 408, None, "", now);
            }
            Fate::Open => self.on_ordinary_failure(key, id, 408, now),
            _ => {}
        }
    }

    /// The connection to a leg that has said something is gone: it is opened anew by asking for its health (RULES P8).
    pub(super) fn on_leg_lost(&mut self, key: CallKey, id: LegId, now: Time) {
        let Some(call) = self.calls.get(key).filter(|c| c.kind.is_storys()) else { return };
        let Some(leg) = call.leg(id).filter(|l| l.fate == Fate::Open) else { return };
        let Some(flow) = self.endpoint.dialog(leg.root).map(|d| d.flow) else { return };
        self.note_lost(key, id);
        self.ask_for_health(Errand::Reopen(key, id), Flow { connection: 0, ..flow }, &flow.remote.to_string(), now);
    }

    /// And nobody is there any more.
    pub(super) fn on_leg_still_lost(&mut self, key: CallKey, id: LegId, now: Time) {
        if self.calls.get(key).and_then(|c| c.leg(id)).is_some_and(|l| l.fate == Fate::Open) {
            self.tell_story(Some(Input::Leg { call: key.id(), leg: id, event: LegEvent::Lost }), now);
        }
    }

    /// Takes a leg in; one that is placed once more takes its own place.
    pub(super) fn add_leg(&mut self, key: CallKey, leg: Leg) {
        self.release_leg(key, leg.id);
        let Some(call) = self.calls.get_mut(key) else { return };
        match call.leg_mut(leg.id) {
            Some(place) => *place = leg,
            None => call.legs.push(leg),
        }
    }

    /// RULES R7.
    fn refuse_abroad(&mut self, key: CallKey, number: &'static str, now: Time) {
        let Some(call) = self.calls.get(key) else { return };
        if let Some(mut w) = self.endpoint.reply(call.server, 403) {
            let domain = &self.setup.links.domain;
            w.header_fmt("Warning", format_args!("399 {domain} \"This number does not help here. Dial {number}\""));
            self.endpoint.respond(call.server, 403, None, w.finish(), now);
        }
        self.over(key);
    }

    /// 180 on our own behalf: no leg has said so yet.
    fn ringing(&mut self, key: CallKey, now: Time) {
        let Some(call) = self.calls.get_mut(key).filter(|c| c.progress == Progress::Waiting) else { return };
        call.kind = Kind::Callback;
        let server = call.server;
        let ours = call.near_contact.clone();
        if let Some(mut w) = self.endpoint.reply(server, 180) {
            w.header("Contact", &ours);
            self.endpoint.respond(server, 180, None, w.finish(), now);
        }
    }

    /// How a device is reached, by another way than those `tried`.
    pub(super) fn way_to(&self, device: &Device, tried: &[Flow], now: Time) -> Option<Way> {
        match device {
            Device::Registered(device) => self.way_to_registered(*device, tried),
            Device::AtPeer(peer, user) => {
                let link = self.setup.links.peers.get(usize::from(peer.0))?;
                let flow = self.next_way(link.all_ways(), tried, now)?;
                Some(Way::direct(link.uri_by(flow, user.reveal(), false), flow))
            }
            Device::Uri(uri) => {
                let parsed = Uri::parse(uri.reveal().as_bytes())?;
                let transport = Transport::asked_by(&parsed).unwrap_or(Transport::Udp);
                let flow = match parsed.socket_addr() {
                    Some(address) => self.endpoint.locals().towards(transport, address).filter(|f| !tried.contains(f))?,
                    None => self.next_way(self.setup.links.hosts.get(uri.reveal())?, tried, now)?,
                };
                Some(Way::direct(uri.reveal().clone(), flow))
            }
        }
    }

    /// A registered device: its Contact, by its Path, along the flow that it was heard by last, `tried` ones left out.
    pub(super) fn way_to_registered(&self, device: DeviceId, tried: &[Flow]) -> Option<Way> {
        let flows = self.phones.bindings().flows_of(DeviceKey::of(device));
        let binding = flows.into_iter().find(|b| !tried.contains(&b.flow))?;
        let (uri, routes) = (binding.uri.clone(), binding.path.clone());
        Some(Way { uri, flow: binding.flow, routes, along_flow: true, ice: binding.ice })
    }
}

/// What an INVITE says about who calls.
pub(super) struct Evidence<'a> {
    asserted: SmallVec<[&'a [u8]; 2]>,
    from: &'a [u8],
    contact: &'a [u8],
}

impl<'a> Evidence<'a> {
    pub(super) fn of(msg: &'a Message) -> Self {
        let asserted = msg.all(Name::PAssertedIdentity).flat_map(values).filter_map(NameAddr::parse).map(|n| n.uri);
        let uri_in = |name| msg.get(name).and_then(|v| values(v).next()).and_then(NameAddr::parse).map_or(&b""[..], |n| n.uri);
        Self { asserted: asserted.collect(), from: uri_in(Name::From), contact: uri_in(Name::Contact) }
    }

    pub(super) fn caller(&self) -> CallerEvidence<'_> {
        CallerEvidence { asserted: &self.asserted, from: self.from, contact: self.contact }
    }
}

/// How somebody is reached.
pub(super) struct Way {
    pub(super) uri: Bytes,
    pub(super) flow: Flow,
    pub(super) routes: SmallVec<[Bytes; 1]>,
    /// See [`Dialog::along_flow`](crate::sip::dialog::Dialog::along_flow).
    pub(super) along_flow: bool,
    /// Whether a browser is there.
    pub(super) ice: bool,
}

impl Way {
    pub(super) fn direct(uri: String, flow: Flow) -> Self {
        Self { uri: uri.into(), flow, routes: SmallVec::new(), along_flow: false, ice: false }
    }
}

/// The Request-URI of an emergency leg, and its Route where the URI does not name the next hop (RFC 5031).
fn request_uri(target: &Target, link: &Link, protected: bool) -> (String, Option<Bytes>) {
    let (scheme, host, transport) = (link.scheme(protected), &link.host, link.flow.transport.uri_param());
    match target {
        Target::Number(number) => (format!("{scheme}:{}@{host}{transport};user=phone", number.reveal()), None),
        Target::Contingency(number) => (format!("{scheme}:{}@{host}{transport};user=phone", number.reveal()), None),
        Target::Urn(urn) => (urn.clone(), Some(format!("<{scheme}:{host}{transport};lr>").into())),
    }
}

fn marks(msg: &Message) -> Marks {
    let is_mark = |v: &[u8]| v.trim_ascii().eq_ignore_ascii_case(b"psap-callback");
    let in_esnet = |v: &[u8]| v.len() > 6 && v[..6].eq_ignore_ascii_case(b"esnet.");
    Marks {
        psap_callback: msg.all(Name::Priority).any(is_mark),
        esnet: msg.all(Name::ResourcePriority).flat_map(values).any(in_esnet),
    }
}

fn body_kind(msg: &Message) -> Body {
    match msg.get(Name::ContentType) {
        _ if msg.body().is_empty() => Body::None,
        Some(t) if t.len() >= 10 && t[..10].eq_ignore_ascii_case(b"multipart/") => Body::Multipart,
        _ => Body::Sdp,
    }
}

fn is_about_the_body(name: Name) -> bool {
    matches!(
        name,
        Name::ContentType
            | Name::ContentDisposition
            | Name::ContentEncoding
            | Name::ContentLanguage
            | Name::ContentId
            | Name::MimeVersion
    )
}

/// References into a body part that is not sent any more.
fn is_about_location(name: Name) -> bool {
    matches!(name, Name::Geolocation | Name::GeolocationRouting | Name::CallInfo)
}

/// What the callback leg says in our own words.
fn is_of_the_callback_leg(name: Name) -> bool {
    let extension = matches!(name, Name::Supported | Name::Require | Name::ProxyRequire);
    extension || matches!(name, Name::Priority | Name::AlertInfo | Name::RejectContact)
}

fn reason(because: Because) -> &'static str {
    match because {
        Because::AnsweredElsewhere => "SIP;cause=200;text=\"Call completed elsewhere\"",
        Because::CallerCancelled => CANCELLED,
        Because::AnotherTrunk => "SIP;cause=200;text=\"Another trunk took the call\"",
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Access, Agents, Link, Links, MediaPolicy, PanelKey, Setup, Source, Sources};
    use super::*;
    use crate::emergency::facts::TrunkId;
    use crate::emergency::scenarios::site;
    use crate::sip::{Local, Locals};
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::Duration;

    const PBX: &str = "127.0.0.1:15090";

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn flow(remote: &str) -> Flow {
        Flow { transport: Transport::Udp, listener: 0, remote: at(remote), connection: 0, name: 0 }
    }

    fn number(text: &str) -> E164 {
        E164::parse(text).expect("a number")
    }

    /// The story's small world: one PBX, two trunks.
    fn setup() -> Setup {
        let site = site();
        let link = |remote: &str| Link {
            name: String::new(),
            flow: flow(remote),
            ways: Vec::new(),
            host: remote.to_owned(),
            sips: false,
            probe: None,
            credentials: None,
            register: None,
            media: MediaPolicy::default(),
            overload_control: false,
        };
        let links = Links {
            trunks: vec![link("127.0.0.1:15070"), link("127.0.0.1:15071")],
            peers: vec![link(PBX)],
            sources: Arc::new(Sources::new(&[vec![Source::Socket(at(PBX))]], &[Vec::new(), Vec::new()])),
            domain: "gw.example.net".to_owned(),
            ..Links::default()
        };
        let local = Local { transport: Transport::Udp, sent_by: "127.0.0.1:15060".to_owned(), ipv6: false };
        Setup {
            agents: Arc::new(Agents::new(&site)),
            lines: Arc::default(),
            booted: Duration::ZERO,
            site: Arc::new(site),
            links: Arc::new(links),
            locals: Arc::new(Locals(vec![local])),
            secret: 7,
            node: Arc::from("gw"),
            era: 0,
            shards: 1,
            access: Arc::new(Access::default()),
            panel: PanelKey::new([7; 32]),
            presence: None,
            anchoring: Arc::default(),
            load: Arc::default(),
        }
    }

    /// The Request-URIs of the INVITEs that leave.
    fn invited(shard: &mut Shard) -> Vec<String> {
        let sent = std::iter::from_fn(|| shard.poll()).filter_map(|what| match what {
            Do::Send(t) => Some(String::from_utf8_lossy(&t.bytes).into_owned()),
            _ => None,
        });
        sent.filter_map(|m| Some(m.strip_prefix("INVITE ")?.split(' ').next()?.to_owned())).collect()
    }

    #[test]
    fn r5_whatever_was_decided_before_no_test_leaves_for_the_real_number_or_service() {
        let now = Time::from_micros(1_000_000);
        let targets = || {
            [
                (Target::Number(Private::new("911".to_owned())), "sip:911@"),
                (Target::Urn("urn:service:sos".to_owned()), "urn:service:sos"),
                (Target::Urn("urn:service:sos.fire".to_owned()), "urn:service:sos.fire"),
                (Target::Contingency(Private::new(number("+12065559000"))), "sip:+12065559000@"),
                (Target::Number(Private::new("933".to_owned())), "sip:933@"),
            ]
        };
        for test in [true, false] {
            let mut shard = Shard::new(0, &setup(), now).expect("a shard");
            let invite = format!(
                "INVITE sip:933@x SIP/2.0\r\nVia: SIP/2.0/UDP {PBX};branch=z9hG4bK1\r\nMax-Forwards: 70\r\nFrom: <sip:al@x>;tag=1\r\n\
                 To: <sip:933@x>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nContact: <sip:al@{PBX}>\r\nContent-Length: 0\r\n\r\n"
            );
            shard.receive(flow(PBX), Message::scan(invite.into()).expect("a message"), now);
            let key = shard.calls.keys().next().expect("a call");
            shard.committed(key.id(), now);
            assert_eq!(invited(&mut shard), ["sip:933@127.0.0.1:15070;user=phone"]);
            for (leg, (target, uri)) in (10..).map(LegId).zip(targets()) {
                let shown = number("+14255550100");
                let (trunk, form) = (TrunkId(0), BodyForm::Whole);
                shard.place(
                    key,
                    leg,
                    Placement { trunk, target, shown, form, test, moved: None, min_se: None, location: None, srtp: None },
                    now,
                );
                let left = invited(&mut shard);
                let may = !test || uri.contains("933");
                assert!(if may { left[0].starts_with(uri) } else { left.is_empty() }, "test {test}, {uri}: {left:?}");
            }
        }
    }
}

//! A test call that no trunk took, answered by ourselves (RULES R5): we say where we speak from, and the voice is others'.
//!
//! The voice is asked for with [`MediaOrder`] and told with [`Shard::media_opened`] where it is and how long it speaks;
//! nothing else comes back. The dialog with the caller has no other side: what is said in it is answered here.

use super::call::{CallKey, Owner, Progress};
use super::shard::{Do, Shard, Wake, allow};
use crate::emergency::facts::{CallId, Input, LegEvent, LegId, Origin, Party};
use crate::sip::dialog::contact_uri;
use crate::sip::offer::{self, Offer};
use crate::sip::{DialogKey, Message, Method, Name, ServerKey, sdp};
use crate::words::uri::split_port;
use crate::words::{E164, Private, Time};
use std::net::IpAddr;
use std::time::Duration;

/// What is read to the caller of a test.
#[derive(Clone, Debug)]
pub struct ReadOut {
    /// The callback number that the call would have shown.
    pub number: Private<E164>,
    /// `direct-routing` or `direct-offer`.
    pub path: &'static str,
    /// `en`, `es`, `fr`; the node's language where none.
    pub language: Option<String>,
}

/// What the voice is told.
#[derive(Clone, Debug)]
pub enum MediaOrder {
    /// Be ready to read this, then say with [`Shard::media_opened`] where from.
    Open {
        /// What to read.
        text: ReadOut,
        /// Towards this host.
        towards: Private<IpAddr>,
        /// The address that we are known by there, where the SIP listener has one.
        known_as: Option<IpAddr>,
    },
    /// Read it to this address, from the beginning; where it is being read, go on to this address.
    Speak {
        /// Where the caller listens.
        to: Private<std::net::SocketAddr>,
        /// The payload type of PCMU there.
        payload: u8,
    },
    /// Be silent, and leave nothing behind.
    Close,
}

/// A voice that is ready.
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    /// Where it speaks from, as others reach it.
    pub at: std::net::SocketAddr,
    /// How long it speaks.
    pub lasts: Duration,
}

/// The read-back of a call.
pub(super) struct ReadBack {
    leg: LegId,
    /// What the caller offered, as long as it is to be answered or spoken to.
    offer: Option<Offer>,
    /// Our side, once the voice is there.
    answered: Option<Answered>,
}

#[derive(Clone, Copy)]
struct Answered {
    near: DialogKey,
    voice: Opened,
    /// The version of our session description.
    version: u32,
    speaking: bool,
}

/// Between the last word and our BYE: what is under way shall be heard.
const LAST_WORD: Duration = Duration::from_millis(300);

impl Shard {
    /// Asks for a voice, unless the caller could not hear it.
    pub(super) fn begin_read_back(&mut self, key: CallKey, leg: LegId, text: ReadOut, now: Time) {
        let Some(call) = self.calls.get_mut(key).filter(|c| c.progress == Progress::Waiting) else { return };
        let Some(msg) = &call.invite else { return };
        let offered = offer_in(msg);
        let offer = offered.and_then(Offer::of);
        if offered.is_some() && offer.is_none() {
            let refused = LegEvent::Refused { status: 488 };
            return self.tell_story(Some(Input::Leg { call: key.id(), leg, event: refused }), now);
        }
        let towards = offer.as_ref().map_or(call.near_flow.remote.ip(), |o| o.to.ip());
        let known_as = literal(&self.endpoint.locals().of(call.near_flow).sent_by);
        call.read_back = Some(Box::new(ReadBack { leg, offer, answered: None }));
        let order = MediaOrder::Open { text, towards: Private::new(towards), known_as };
        self.out.push_back(Do::Media { call: key.id(), order });
    }

    /// The voice is ready, or there is none.
    pub fn media_opened(&mut self, call: CallId, voice: Option<Opened>, now: Time) {
        let key = CallKey::of(call);
        let leg = self.calls.get(key).and_then(|c| c.read_back.as_ref()).filter(|r| r.answered.is_none()).map(|r| r.leg);
        let answered = voice.filter(|_| leg.is_some()).and_then(|voice| self.answer_ourselves(key, voice, now));
        if answered.is_none() && voice.is_some() {
            self.out.push_back(Do::Media { call, order: MediaOrder::Close });
        }
        let Some(leg) = leg else { return };
        let event = if answered.is_some() { LegEvent::Answered } else { LegEvent::Refused { status: 503 } };
        self.tell_story(Some(Input::Leg { call, leg, event }), now);
    }

    /// 200 with where our voice comes from.
    fn answer_ourselves(&mut self, key: CallKey, voice: Opened, now: Time) -> Option<()> {
        let call = self.calls.get_mut(key).filter(|c| c.progress == Progress::Waiting)?;
        let read_back = call.read_back.as_mut()?;
        let contact = call.near_contact.clone();
        let near = self.endpoint.open_callee_dialog(call.invite.as_ref()?, call.near_flow, contact, Owner::ReadBack(key));
        if let Some(dialog) = self.endpoint.dialog_mut(near) {
            dialog.home = self.setup.links.home(call.origin);
            dialog.along_flow = matches!(call.origin, Origin::Agent(_));
            dialog.account = Self::account_of(call.origin);
        }
        let body = match &read_back.offer {
            Some(offer) => offer.answer(voice.at, session_id(key), 1),
            None => offer::offer(voice.at, session_id(key)),
        };
        read_back.answered = Some(Answered { near, voice, version: 1, speaking: false });
        call.progress = Progress::Connected(read_back.leg);
        call.invite = None;
        let server = call.server;
        self.say_ok(server, near, Some(&body), now);
        Some(())
    }

    /// The caller acknowledges: now it listens.
    pub(super) fn on_read_back_ack(&mut self, key: CallKey, msg: &Message, now: Time) {
        let Some(read_back) = self.calls.get_mut(key).and_then(|c| c.read_back.as_mut()) else { return };
        let Some(answered) = read_back.answered.as_mut().filter(|a| !a.speaking) else { return };
        let Some(offer) = read_back.offer.take().or_else(|| Offer::of(offer_in(msg)?)) else {
            return self.end_read_back(key, Some("SIP;cause=488;text=\"No PCMU audio\""), now);
        };
        answered.speaking = true;
        let over = now + answered.voice.lasts + LAST_WORD;
        self.speak_to(key, &offer);
        self.wakes.arm(over, Wake::ReadBack(key));
    }

    /// A request in the dialog with the caller.
    pub(super) fn on_read_back_request(&mut self, tx: ServerKey, near: DialogKey, key: CallKey, msg: &Message, now: Time) {
        match msg.method() {
            Method::Bye => {
                self.endpoint.respond_plain(tx, 200, now);
                self.end_read_back(key, None, now);
            }
            Method::Options | Method::Info => self.endpoint.respond_plain(tx, 200, now),
            Method::Invite | Method::Update => self.renegotiate(tx, near, key, msg, now),
            Method::Refer => self.endpoint.respond_plain(tx, 403, now),
            _ => {
                if let Some(mut w) = self.endpoint.reply(tx, 405) {
                    allow(&mut w);
                    self.endpoint.respond(tx, 405, None, w.finish(), now);
                }
            }
        }
    }

    /// The caller listens elsewhere from now on, or only refreshes the session. What we cannot follow changes nothing.
    fn renegotiate(&mut self, tx: ServerKey, near: DialogKey, key: CallKey, msg: &Message, now: Time) {
        let offered = offer_in(msg);
        let offer = offered.and_then(Offer::of);
        let refresh = offered.is_none() && msg.method() == Method::Update;
        if offer.is_none() && !refresh {
            return self.endpoint.respond_plain(tx, 488, now);
        }
        if let Some(dialog) = self.endpoint.dialog_mut(near) {
            dialog.refresh(contact_uri(msg));
        }
        let read_back = self.calls.get_mut(key).and_then(|c| c.read_back.as_mut());
        let Some(answered) = read_back.and_then(|r| r.answered.as_mut()) else {
            return self.endpoint.respond_plain(tx, 481, now);
        };
        let body = offer.as_ref().map(|offer| {
            answered.version += 1;
            offer.answer(answered.voice.at, session_id(key), answered.version)
        });
        self.say_ok(tx, near, body.as_deref(), now);
        if let Some(offer) = offer {
            self.speak_to(key, &offer);
        }
    }

    /// All has been read, twice.
    pub(super) fn read_out(&mut self, key: CallKey, now: Time) {
        self.end_read_back(key, Some("SIP;cause=200;text=\"Test call read back\""), now);
    }

    /// Nobody acknowledged our answer: nobody is there to listen.
    pub(super) fn on_read_back_no_ack(&mut self, key: CallKey, now: Time) {
        let read_back = self.calls.get(key).and_then(|c| c.read_back.as_ref());
        if let Some(dialog) = read_back.and_then(|r| r.answered).and_then(|a| self.endpoint.dialog_mut(a.near)) {
            // The BYE would wait for the ACK otherwise.
            dialog.answered = None;
        }
        self.end_read_back(key, Some("SIP;cause=408;text=\"No ACK\""), now);
    }

    /// The end, by a BYE of ours with this Reason or by the caller's.
    fn end_read_back(&mut self, key: CallKey, reason: Option<&str>, now: Time) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let Some(answered) = call.read_back.take().and_then(|r| r.answered) else { return };
        call.progress = Progress::Over;
        self.out.push_back(Do::Media { call: key.id(), order: MediaOrder::Close });
        match reason {
            Some(reason) => self.endpoint.hang_up(answered.near, reason.as_bytes(), Owner::ReadBack(key), now),
            None => self.endpoint.end_dialog(answered.near),
        }
        self.settle(key);
        let by = if reason.is_some() { Party::Callee } else { Party::Caller };
        self.tell_story(Some(Input::Ended { call: key.id(), by }), now);
    }

    fn speak_to(&mut self, key: CallKey, offer: &Offer) {
        let order = MediaOrder::Speak { to: Private::new(offer.to), payload: offer.payload };
        self.out.push_back(Do::Media { call: key.id(), order });
    }

    fn say_ok(&mut self, tx: ServerKey, near: DialogKey, body: Option<&str>, now: Time) {
        let Some(mut w) = self.endpoint.reply_in(tx, near, 200) else { return };
        allow(&mut w);
        let bytes = match body {
            Some(body) => {
                w.header("Content-Type", b"application/sdp");
                w.finish_body(body.as_bytes())
            }
            None => w.finish(),
        };
        self.endpoint.respond(tx, 200, Some(near), bytes, now);
    }
}

/// The session description of a message, if it has one.
fn offer_in(msg: &Message) -> Option<&[u8]> {
    let content_type = msg.get(Name::ContentType).unwrap_or_default();
    sdp::sdp_part(content_type, msg.body()).filter(|sdp| !sdp.trim_ascii().is_empty())
}

/// The number in `o=`: unlike that of any other call of this process.
fn session_id(key: CallKey) -> u64 {
    key.id().0
}

/// The address in `host:port`, where the host is one that others can send to.
pub(super) fn literal(sent_by: &str) -> Option<IpAddr> {
    let host = std::str::from_utf8(split_port(sent_by.as_bytes()).0).ok()?;
    let ip: IpAddr = host.trim_matches(['[', ']']).parse().ok()?;
    (!ip.is_unspecified()).then_some(ip)
}

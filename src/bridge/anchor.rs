//! Calls whose audio goes through us (`media = "anchor"`): which ports of ours each side is told of, and what was agreed
//! with each. Still sans-IO: the relay itself is `io::media`, which is told with [`RelayOrder`] and tells nothing back but
//! ports that are ready.
//!
//! Ports are reserved ahead of need, so that no call waits for one: [`Shard::stock`] takes them in, [`RelayOrder::Want`] asks
//! for more. One pair faces the caller for the whole call, whichever trunk is tried; each leg has one of its own towards
//! whom it calls. What one side says of its audio becomes the relay's business when the other has answered it (RFC 3264
//! section 8: an offer that is refused changes nothing). Read [`Anchor`] first.

mod ports;
mod web;

pub(super) use ports::{NoPorts, Stock};

use super::call::{CallKey, Side};
use super::links::MediaPolicy;
use super::shard::{Do, Shard};
use crate::emergency::facts::{self, CallId, LegId, Origin};
use crate::sip::browser::Browser;
use crate::sip::relayed::{self, Described, Keys, Ours, Profile};
use crate::sip::sdes::{Crypto, Ice, KeyRing, Suite};
use crate::sip::{Flow, Message, Method, Name, sdp};
use crate::words::Time;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use web::Web;

/// Whether packets towards a neighbour are encrypted (`srtp`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Srtp {
    /// Only where it asks for it itself.
    #[default]
    Off,
    /// Offered beside plain RTP (RFC 8643).
    Offer,
    /// Offered alone. An emergency goes on without it all the same.
    Require,
}

/// A pair of ports of ours, bound and ready: RTP here, RTCP at the port above.
#[derive(Clone, Serialize, Deserialize)]
pub struct Pair {
    /// As others reach it.
    pub at: SocketAddr,
    /// What our keys towards whoever sends there are made of.
    pub keys: KeyRing,
}

impl fmt::Debug for Pair {
    /// Prints no key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pair({})", self.at.port())
    }
}

/// One end of a relay. Says where somebody is: prints nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct End {
    /// Ours.
    pub at: SocketAddr,
    /// Where RTP goes, and where it is expected from.
    pub rtp: Option<SocketAddr>,
    /// The same of RTCP.
    pub rtcp: Option<SocketAddr>,
    /// The address that its SIP comes from: behind a NAT its RTP does as well, whatever its SDP says.
    pub also: Option<IpAddr>,
    /// Its keys, where packets are encrypted.
    pub keys: Option<Keys>,
    /// Whether it wants to hear nothing.
    pub deaf: bool,
    /// Where it is a browser: it is found by ICE and has its keys from DTLS, whatever is said above.
    pub browser: Option<BrowserEnd>,
}

/// What there is between us and a browser.
#[derive(Clone, PartialEq, Eq)]
pub struct BrowserEnd {
    /// Who we are to it.
    pub ice: Ice,
    /// The SHA-256 of its certificate.
    pub fingerprint: [u8; 32],
    /// Whether it waits for DTLS to begin; else it begins.
    pub waits: bool,
}

/// Two ends that hear each other.
#[derive(Clone, PartialEq, Eq)]
pub struct Joined {
    /// Whose.
    pub call: CallId,
    /// Towards the caller.
    pub near: End,
    /// Towards the callee.
    pub far: End,
    /// Whether silence is meant.
    pub held: bool,
    /// Whether packets of an earlier run went over it (RULES B1).
    pub restored: bool,
    /// Since when.
    pub since: Time,
}

impl fmt::Debug for Joined {
    /// Prints nobody's address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Joined")
    }
}

/// What the relay is told.
#[derive(Clone)]
pub enum RelayOrder {
    /// Let these two ends hear each other, and nobody else. Said again with every change; what did not change goes on.
    Join(Box<Joined>),
    /// These pairs are needed no more.
    Release(SmallVec<[SocketAddr; 2]>),
    /// So many more pairs with this address; [`Shard::stock`] takes them, or as many as there are.
    Want(IpAddr, usize),
}

impl fmt::Debug for RelayOrder {
    /// Prints no address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Join(_) => "Join",
            Self::Release(_) => "Release",
            Self::Want(..) => "Want",
        })
    }
}

/// What a shard knows of its own media.
#[derive(Clone, Default)]
pub struct Anchoring {
    /// The addresses that others are told, where anybody's audio goes through us at all.
    pub at: Vec<IpAddr>,
    /// How audio of phones that register with us goes.
    pub phones: MediaPolicy,
    /// How many pairs a shard keeps ready for each address. More are asked for when a quarter is gone, and an eighth is left to
    /// emergencies.
    pub ready: usize,
    /// The SHA-256 of our certificate; without one there is no audio for browsers.
    pub fingerprint: Option<[u8; 32]>,
}

/// Forks of one leg whose answers are remembered.
const MOST_FORKS: usize = 8;

/// Whether a session description offers or answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Offer,
    Answer,
}

/// A leg whose audio goes through us.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Anchor {
    near: Half,
    far: Half,
    /// What the forks of the leg have answered, by their tags: the one whose 2xx says nothing more means that.
    #[serde(skip)]
    forks: SmallVec<[(Bytes, Talk); 1]>,
}

/// One side of it.
#[derive(Clone, Serialize, Deserialize)]
struct Half {
    pair: Pair,
    srtp: Srtp,
    also: Option<IpAddr>,
    /// Its last offer.
    #[serde(skip)]
    offer: Option<Described>,
    /// Whether our last offer to it brought keys.
    #[serde(skip)]
    offered_keys: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    talk: Option<Talk>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    web: Option<Box<Web>>,
}

/// What was agreed with a side.
#[derive(Clone, Serialize, Deserialize)]
struct Talk {
    rtp: Option<SocketAddr>,
    rtcp: Option<SocketAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keys: Option<Keys>,
    /// Whether its `m=` line says so (RTP/SAVP).
    #[serde(default)]
    secure: bool,
    #[serde(default)]
    deaf: bool,
    #[serde(default)]
    held: bool,
}

/// What has become of a description that passed.
#[derive(Clone, Copy, Default)]
struct Passing {
    /// Both sides agree: the relay is to be told.
    agreed: bool,
    /// SRTP was required, and there is none.
    in_the_clear: bool,
}

impl Half {
    const fn new(pair: Pair, srtp: Srtp, also: Option<IpAddr>) -> Self {
        Self { pair, srtp, also, offer: None, offered_keys: false, talk: None, web: None }
    }

    /// The same ports for another callee.
    fn moved(self, srtp: Srtp, host: IpAddr, web: Option<[u8; 32]>) -> Self {
        match web {
            Some(ours) => Self::of_browser(self.pair, ours),
            None => Self::new(self.pair, srtp, Some(host)),
        }
    }

    /// A browser's, where we have a certificate to show it.
    fn of_browser(pair: Pair, ours: [u8; 32]) -> Self {
        Self { web: Some(Web::of(ours)), ..Self::new(pair, Srtp::Off, None) }
    }

    fn end(&self) -> Option<End> {
        let talk = self.talk.as_ref()?;
        let Some(web) = &self.web else {
            let (rtp, rtcp, keys) = (talk.rtp, talk.rtcp, talk.keys.clone());
            return Some(End { at: self.pair.at, rtp, rtcp, also: self.also, keys, deaf: talk.deaf, browser: None });
        };
        self.web_end(web, talk)
    }

    fn our_crypto(&self, tag: u32, suite: Suite) -> Option<Crypto> {
        Some(Crypto { tag, key: self.pair.keys.key(suite)? })
    }

    /// The offer that it gets.
    fn offered(&mut self, theirs: &Described, sdp: &[u8]) -> Bytes {
        let before = self.talk.as_ref();
        let secure = self.srtp == Srtp::Require || before.is_some_and(|t| t.secure);
        let keyed = secure || self.srtp == Srtp::Offer || before.is_some_and(|t| t.keys.is_some());
        self.offered_keys = keyed && theirs.profile != Profile::Opaque;
        let cryptos: SmallVec<[Crypto; 3]> = match self.offered_keys {
            true => (1..).zip(Suite::ALL).filter_map(|(tag, suite)| self.our_crypto(tag, suite)).collect(),
            false => SmallVec::new(),
        };
        theirs.rewritten(sdp, &Ours { at: self.pair.at, protocol: theirs.profile.word(secure), cryptos: &cryptos })
    }

    /// The key of its own offer that we take, with ours.
    fn taken_keys(&self, offer: &Described) -> Option<(Crypto, Keys)> {
        let secure = matches!(offer.profile, Profile::Secure { .. });
        if !secure && self.srtp == Srtp::Off {
            return None;
        }
        let theirs = offer.cryptos.first()?;
        let ours = self.our_crypto(theirs.tag, theirs.key.suite())?;
        let keys = Keys { send: ours.key.clone(), receive: theirs.key.clone() };
        Some((ours, keys))
    }

    /// Its own answer to our offer.
    fn answered_keys(&self, answer: &Described) -> Option<Keys> {
        let theirs = answer.cryptos.first().filter(|_| self.offered_keys)?;
        Some(Keys { send: self.our_crypto(theirs.tag, theirs.key.suite())?.key, receive: theirs.key.clone() })
    }

    fn agree(&mut self, said: &Described, keys: Option<Keys>) {
        let before = self.talk.take();
        let kept = |of: fn(&Talk) -> Option<SocketAddr>| before.as_ref().and_then(of);
        self.talk = Some(Talk {
            rtp: said.rtp.or_else(|| kept(|t| t.rtp)),
            rtcp: said.rtcp.or_else(|| kept(|t| t.rtcp)),
            keys,
            secure: matches!(said.profile, Profile::Secure { .. }),
            deaf: said.rtp.is_none(),
            held: said.inactive || said.rtp.is_none(),
        });
    }
}

impl Anchor {
    /// One of an earlier run, for the ports that it has.
    pub(super) const fn near_pair(&self) -> &Pair {
        &self.near.pair
    }

    /// Whether the callee is offered keys.
    pub(super) fn offers_keys(&self) -> bool {
        self.far.offered_keys
    }

    /// How the callee was asked for keys.
    pub(super) const fn far_srtp(&self) -> Srtp {
        self.far.srtp
    }

    /// Whether a side has to bring keys and this description of it has none.
    pub(super) fn misses_keys(&self, side: Side, message: &Message) -> bool {
        let half = if side == Side::Near { &self.near } else { &self.far };
        let content_type = message.get(Name::ContentType).unwrap_or_default();
        let said = sdp::sdp_part(content_type, message.body()).and_then(Described::of);
        half.srtp == Srtp::Require && said.is_some_and(|said| said.profile != Profile::Opaque && said.cryptos.is_empty())
    }

    const fn halves(&mut self, to: Side) -> (&mut Half, &mut Half) {
        match to {
            Side::Near => (&mut self.far, &mut self.near),
            Side::Far => (&mut self.near, &mut self.far),
        }
    }

    /// The description as the side that it goes `to` gets it.
    fn pass(&mut self, to: Side, role: Role, sdp: &[u8]) -> (Bytes, Passing) {
        let (from, _) = self.halves(to);
        let plain = from.undressed(role, sdp);
        let (out, passing) = self.pass_plain(to, role, plain.as_deref().unwrap_or(sdp));
        let (_, to) = self.halves(to);
        (to.dressed(role, out), passing)
    }

    /// The same between phones.
    fn pass_plain(&mut self, to: Side, role: Role, sdp: &[u8]) -> (Bytes, Passing) {
        let (from, to) = self.halves(to);
        let said = Described::of(sdp);
        match role {
            Role::Offer => {
                let out = match &said {
                    Some(said) => to.offered(said, sdp),
                    None => relayed::refused(sdp, to.pair.at),
                };
                from.offer = said;
                (out, Passing::default())
            }
            Role::Answer => {
                let Some(said) = said else {
                    let talks = [&mut *from, &mut *to].into_iter().filter_map(|half| half.talk.as_mut());
                    talks.for_each(|talk| (talk.deaf, talk.held) = (true, true));
                    return (relayed::refused(sdp, to.pair.at), Passing { agreed: true, ..Passing::default() });
                };
                let keys = from.answered_keys(&said);
                let in_the_clear = from.srtp == Srtp::Require && keys.is_none() && said.profile != Profile::Opaque;
                from.agree(&said, keys);
                let Some(offer) = to.offer.clone() else {
                    // It was made to an earlier run of ours.
                    let out = said.rewritten(sdp, &Ours { at: to.pair.at, protocol: None, cryptos: &[] });
                    return (out, Passing { agreed: true, in_the_clear });
                };
                let taken = to.taken_keys(&offer).filter(|_| offer.profile != Profile::Opaque);
                let (line, keys) = taken.map_or((None, None), |(line, keys)| (Some(line), Some(keys)));
                let in_the_clear = in_the_clear || to.srtp == Srtp::Require && keys.is_none() && offer.profile != Profile::Opaque;
                let protocol = (offer.profile != Profile::Opaque).then(|| offer.protocol());
                let out = said.rewritten(sdp, &Ours { at: to.pair.at, protocol, cryptos: line.as_slice() });
                to.agree(&offer, keys);
                (out, Passing { agreed: true, in_the_clear })
            }
        }
    }

    fn joined(&self, call: CallId, restored: bool, since: Time) -> Option<Joined> {
        let held = [&self.near, &self.far].iter().any(|half| half.talk.as_ref().is_some_and(|t| t.held));
        Some(Joined { call, near: self.near.end()?, far: self.far.end()?, held, restored, since })
    }
}

impl Shard {
    /// The anchor of a leg that is about to be placed; `None` where its audio passes by us. `Err`: it should go through us, and
    /// there are no ports.
    pub(super) fn anchor_for(
        &mut self,
        key: CallKey,
        id: LegId,
        policy: MediaPolicy,
        flow: Flow,
        msg: &Message,
    ) -> Result<Option<Box<Anchor>>, NoPorts> {
        let Some(call) = self.calls.get_mut(key) else { return Ok(None) };
        let (near_flow, storys, origin) = (call.near_flow, call.kind.is_storys(), call.origin);
        let near = self.policy_of(origin, near_flow);
        let content_type = msg.get(Name::ContentType).unwrap_or_default();
        let offer = sdp::sdp_part(content_type, msg.body()).filter(|sdp| !sdp.trim_ascii().is_empty());
        let ours = self.setup.anchoring.fingerprint;
        let near_web = ours.filter(|_| offer.is_some_and(|sdp| Browser::read(sdp).is_some()));
        let far_web = ours.filter(|_| policy.ice);
        let wanted = near.anchor || policy.anchor || near_web.is_some() || far_web.is_some();
        if !wanted || super::is_inside(flow) {
            return Ok(None);
        }
        if let Some(offer) = offer {
            // What we could not answer passes by: perhaps the far side can.
            if Described::of(offer).is_none_or(|said| said.is_beyond_us()) {
                return Ok(None);
            }
        }
        // Placed once more: it keeps its ports.
        let before = self.calls.get_mut(key).and_then(|c| c.leg_mut(id)).and_then(|leg| leg.anchor.take());
        if let Some(mut anchor) = before {
            anchor.far = anchor.far.moved(policy.srtp, flow.remote.ip(), far_web);
            return Ok(Some(anchor));
        }
        let none = NoPorts { of_browser: near_web.is_some() || far_web.is_some() };
        let near_pair = match self.calls.get(key).and_then(|c| c.near_pair.clone()) {
            Some(pair) => pair,
            None => self.take_pair(near_flow, storys).ok_or(none)?,
        };
        if let Some(call) = self.calls.get_mut(key) {
            call.near_pair = Some(near_pair.clone());
        }
        let far_pair = self.take_pair(flow, storys).ok_or(none)?;
        let near = match near_web {
            Some(ours) => Half::of_browser(near_pair, ours),
            None => Half::new(near_pair, near.srtp, Some(near_flow.remote.ip())),
        };
        let far = Half::new(far_pair, Srtp::Off, None).moved(policy.srtp, flow.remote.ip(), far_web);
        Ok(Some(Box::new(Anchor { near, far, forks: SmallVec::new() })))
    }

    /// A body on its way within a leg, as the side that it goes `to` gets it.
    pub(super) fn carried(&mut self, key: CallKey, id: LegId, to: Side, role: Role, content_type: &[u8], body: Bytes) -> Bytes {
        let ours = self.setup.anchoring.fingerprint;
        let Some(anchor) = self.calls.get_mut(key).and_then(|c| c.leg_mut(id)).and_then(|l| l.anchor.as_mut()) else {
            return body;
        };
        if let Some(ours) = ours {
            [&mut anchor.near, &mut anchor.far].into_iter().filter_map(|half| half.web.as_mut()).for_each(|web| web.ours = ours);
        }
        let mut passing = Passing::default();
        let out = sdp::replace_sdp_in(content_type, &body, |sdp| {
            if sdp.trim_ascii().is_empty() {
                return Bytes::copy_from_slice(sdp);
            }
            let (out, passed) = anchor.pass(to, role, sdp);
            passing = passed;
            out
        });
        if passing.agreed {
            self.join(key, id, false);
        }
        if passing.in_the_clear {
            let event = "SRTP was required and there is none: the call goes on without";
            self.out.push_back(Do::Side(facts::Side::Log { event, call: key.id(), trunk: None }));
        }
        out
    }

    /// A response to a leg's INVITE from the fork with this tag. One without a description stands by what it has answered
    /// before, whatever others have answered since.
    pub(super) fn heard_from_fork(&mut self, key: CallKey, id: LegId, msg: &Message) {
        let Some(tag) = msg.to_tag() else { return };
        let Some(anchor) = self.calls.get_mut(key).and_then(|c| c.leg_mut(id)).and_then(|l| l.anchor.as_mut()) else { return };
        let known = anchor.forks.iter().position(|(known, _)| known == tag);
        let says = sdp::has_offer(msg.get(Name::ContentType).unwrap_or_default(), msg.body());
        match (known, anchor.far.talk.clone()) {
            (Some(at), Some(talk)) if says => {
                anchor.forks.get_mut(at).into_iter().for_each(|fork| fork.1 = talk.clone());
            }
            (None, Some(talk)) if says && anchor.forks.len() < MOST_FORKS => {
                anchor.forks.push((Bytes::copy_from_slice(tag), talk));
            }
            (Some(at), _) if !says && (200..300).contains(&msg.status()) => {
                anchor.far.talk = anchor.forks.get(at).map(|(_, talk)| talk.clone());
            }
            _ => {}
        }
    }

    /// This leg is the call's: what was agreed in it holds, and if its audio passes by us the caller's ports are free.
    pub(super) fn choose_media(&mut self, key: CallKey, id: LegId) {
        let Some(call) = self.calls.get_mut(key) else { return };
        if call.leg(id).is_some_and(|leg| leg.anchor.is_some()) {
            return self.join(key, id, false);
        }
        if let Some(pair) = call.near_pair.take() {
            self.give_back(smallvec::smallvec![pair.at]);
        }
    }

    /// Tells the relay what was agreed in a leg.
    pub(super) fn join(&mut self, key: CallKey, id: LegId, restored: bool) {
        let Some(call) = self.calls.get(key) else { return };
        let anchor = call.leg(id).and_then(|l| l.anchor.as_ref());
        if let Some(joined) = anchor.and_then(|a| a.joined(key.id(), restored, call.connected)) {
            self.out.push_back(Do::Relay(RelayOrder::Join(Box::new(joined))));
        }
    }

    /// A leg that could not be placed needs no ports.
    pub(super) fn release_anchor(&mut self, anchor: Option<Box<Anchor>>) {
        if let Some(anchor) = anchor {
            self.give_back(smallvec::smallvec![anchor.far.pair.at]);
        }
    }

    /// A leg is over: its ports are free.
    pub(super) fn release_leg(&mut self, key: CallKey, id: LegId) {
        let anchor = self.calls.get_mut(key).and_then(|c| c.leg_mut(id)).and_then(|l| l.anchor.take());
        self.release_anchor(anchor);
    }

    /// A call is forgotten: all its ports are free.
    pub(super) fn release_call(&mut self, call: &super::call::Call) {
        let legs = call.legs.iter().filter_map(|leg| leg.anchor.as_ref()).map(|anchor| anchor.far.pair.at);
        let all: SmallVec<[SocketAddr; 2]> = legs.chain(call.near_pair.as_ref().map(|pair| pair.at)).collect();
        if !all.is_empty() {
            self.give_back(all);
        }
    }

    /// How the audio of whoever is at the other end of a flow goes.
    pub(super) fn policy_towards(&self, flow: Flow) -> MediaPolicy {
        self.policy_of(self.setup.links.sources.of(flow), flow)
    }

    /// The same of somebody known.
    fn policy_of(&self, origin: Origin, flow: Flow) -> MediaPolicy {
        let links = &self.setup.links;
        let peer = |p: facts::PeerId| links.peers.get(usize::from(p.0)).map(|l| l.media).unwrap_or_default();
        let trunk = |t: facts::TrunkId| links.trunks.get(usize::from(t.0)).map(|l| l.media).unwrap_or_default();
        match origin {
            _ if super::is_inside(flow) => MediaPolicy::default(),
            Origin::Peer(p) => peer(p),
            Origin::Trunk(t) => trunk(t),
            Origin::Both(p, t) => Some(trunk(t)).filter(|policy| policy.anchor).unwrap_or_else(|| peer(p)),
            Origin::Agent(_) | Origin::Stranger => self.setup.anchoring.phones,
        }
    }

    /// The address that the other end of a flow is told: the one that it reaches us by where that is one of ours, else one of
    /// its family.
    fn told(&self, flow: Flow) -> Option<IpAddr> {
        let ours = &self.setup.anchoring.at;
        let by = super::read_back::literal(&self.endpoint.locals().of(flow).sent_by).filter(|ip| ours.contains(ip));
        by.or_else(|| ours.iter().copied().find(|ip| ip.is_ipv4() == flow.remote.ip().to_canonical().is_ipv4()))
    }
}

/// The role of a description in a request inside a dialog. `late`: the INVITE came without an offer.
pub(super) fn role_of_request(method: Method, late: bool) -> Role {
    if method == Method::Prack && late { Role::Answer } else { Role::Offer }
}

/// An offer on its way in an INVITE that makes a leg.
pub(super) fn offered(anchor: Option<&mut Anchor>, content_type: &[u8], body: Bytes) -> Bytes {
    let Some(anchor) = anchor else { return body };
    sdp::replace_sdp_in(content_type, &body, |sdp| match sdp.trim_ascii().is_empty() {
        true => Bytes::copy_from_slice(sdp),
        false => anchor.pass(Side::Far, Role::Offer, sdp).0,
    })
}

/// The ports that calls of an earlier run have, by their row: they are not to be given to anybody else.
pub fn ports_in(row: &[u8]) -> impl Iterator<Item = SocketAddr> {
    #[derive(Deserialize)]
    struct Row {
        anchor: Option<Anchor>,
    }
    // Most rows have none, and there may be very many.
    let has_one = memchr::memmem::find(row, b"\"anchor\"").is_some();
    let read = has_one.then(|| serde_json::from_slice::<Row>(row).ok()).flatten().and_then(|row| row.anchor);
    read.into_iter().flat_map(|anchor| [anchor.near.pair.at, anchor.far.pair.at])
}

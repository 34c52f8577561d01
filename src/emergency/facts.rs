//! What goes into the story and what comes out of it, as plain data.
//!
//! [`Input`] is everything that the emergency floor learns, [`Output`] everything that it decides. Note what
//! is missing: no input says that a mail, a presence server or a store failed, so none of them can reach a
//! call.

use std::fmt;
use std::sync::Arc;

use super::presence::PresenceState;
use crate::words::{Civic, Country, E164, Position, Private, Row, Time};

/// A peer's place in [`Site::peers`](super::site::Site).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u16);

/// A trunk's place in [`Site::trunks`](super::site::Site).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrunkId(pub u16);

/// An agent's place in [`Site::agents`](super::site::Site) of the running configuration. A reload may move her.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId(pub u32);

/// The bridge's name for a device that registered. Never reused; one that comes back another way has another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(pub u64);

/// The bridge's name for one INVITE that came in, and for the call that grew from it. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// An outgoing leg of a call, counted from 0 by the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LegId(pub u16);

/// Who a message came from: a neighbour told by its source, or an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A PBX, SBC or contact centre.
    Peer(PeerId),
    /// A neighbour towards the telephone network.
    Trunk(TrunkId),
    /// One address that is both (RULES C8).
    Both(PeerId, TrunkId),
    /// An agent: her device registered here, or the message shows her password (RULES R8).
    Agent(AgentId),
    /// Nobody we know.
    Stranger,
}

/// The URIs that may say which number was dialed (RULES L10), each as it stood on the wire.
#[derive(Clone, Copy, Default)]
pub struct Called<'a> {
    /// The Request-URI.
    pub request_uri: &'a [u8],
    /// P-Called-Party-ID, To, then History-Info and Diversion entries, in that order; URIs without their `<>`.
    pub others: &'a [&'a [u8]],
    /// Where a peer says that the caller is (`X-Emergency-Country`).
    pub country: Option<Country>,
}

impl fmt::Debug for Called<'_> {
    /// Prints nobody's URI (promise 3).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Called").field("country", &self.country).finish_non_exhaustive()
    }
}

/// What the INVITE says about who calls; URIs without their `<>`.
#[derive(Clone, Copy, Default)]
pub struct CallerEvidence<'a> {
    /// P-Asserted-Identity URIs, in order.
    pub asserted: &'a [&'a [u8]],
    /// The From URI.
    pub from: &'a [u8],
    /// The Contact URI.
    pub contact: &'a [u8],
}

impl fmt::Debug for CallerEvidence<'_> {
    /// Prints nobody's URI (promise 3).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallerEvidence(-)")
    }
}

/// Marks of a PSAP's callback (RFC 7090, RFC 7135). Whether they are believed is policy (RULES C6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// `Priority: psap-callback`.
    pub psap_callback: bool,
    /// `Resource-Priority: esnet.*`.
    pub esnet: bool,
}

/// What an INVITE carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Body {
    /// Nothing: the offer comes later.
    #[default]
    None,
    /// SDP alone.
    Sdp,
    /// Several parts, SDP among them perhaps.
    Multipart,
}

/// An INVITE outside any dialog.
#[derive(Clone, Copy, Debug)]
pub struct Invite<'a> {
    /// The bridge's name for it.
    pub call: CallId,
    /// Where it came from.
    pub origin: Origin,
    /// What was dialed.
    pub called: Called<'a>,
    /// Who dialed.
    pub caller: CallerEvidence<'a>,
    /// Callback marks, believed or not.
    pub marks: Marks,
    /// What it carries.
    pub body: Body,
    /// Max-Forwards is 0 (RULES P12).
    pub hops_used_up: bool,
    /// The location that it brings, in words for people (RFC 6442); none: it brings none.
    pub location: Option<Private<&'a str>>,
}

/// What happened on an outgoing leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegEvent {
    /// 100.
    Trying,
    /// Any other provisional response, and whether it had SDP.
    Progress {
        /// 101 to 199.
        status: u16,
        /// Early media.
        sdp: bool,
    },
    /// 2xx. Answer with [`CallEffect::Connect`] or [`CallEffect::GiveUp`].
    Answered,
    /// A final response from 300 to 699.
    Refused {
        /// 300 to 699.
        status: u16,
    },
    /// The transport says that nobody is there: ICMP, reset, connection refused.
    Unreachable,
    /// It had said something, its connection is gone and could not be opened anew (RULES P8). It may still answer.
    Lost,
    /// Timer B: no final response in 32 s and no provisional either.
    TimedOut,
}

/// Who ended something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// Whoever sent us the INVITE.
    Caller,
    /// Whoever we called.
    Callee,
}

/// What the story learns.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// An INVITE outside a dialog from a known neighbour.
    Invite(Invite<'a>),
    /// The lease's record is durable. There is no "failed": after 50 ms the call goes on without (RULES L1).
    Committed {
        /// The call that waited.
        call: CallId,
    },
    /// Something happened on an outgoing leg.
    Leg {
        /// The call.
        call: CallId,
        /// Its leg.
        leg: LegId,
        /// What happened.
        event: LegEvent,
    },
    /// The caller gave up before an answer (CANCEL), or the SIP core lost the caller.
    Abandoned {
        /// The call.
        call: CallId,
    },
    /// A connected call ended.
    Ended {
        /// The call.
        call: CallId,
        /// Who sent BYE, or answered 481.
        by: Party,
    },
    /// Nothing is heard any more of a call's audio that goes through us, or it is heard again (RULES C3). It ends no call (P11).
    Silence {
        /// The call.
        call: CallId,
        /// Whether nothing is heard.
        silent: bool,
    },
    /// A trunk's health changed (OPTIONS probes).
    Health {
        /// The trunk.
        trunk: TrunkId,
        /// Whether it answers.
        up: bool,
    },
    /// Whether every desk answers (OPTIONS probes).
    Desks {
        /// All of them do.
        up: bool,
    },
    /// An agent's device registered, or did so again (RULES C4).
    Registered {
        /// The agent.
        agent: AgentId,
        /// Her device.
        device: DeviceId,
    },
    /// A registered device is gone.
    Unregistered {
        /// The device.
        device: DeviceId,
    },
    /// What came of [`CallEffect::FreeLine`] (RULES C2).
    LineFreed {
        /// The callback.
        call: CallId,
        /// Whether the agent had an ordinary call.
        freed: bool,
    },
    /// An agent's own state was set by hand (RULES A1).
    SetPresence {
        /// The agent.
        agent: AgentId,
        /// What she is, emergencies aside.
        state: PresenceState,
        /// A line of hers, or empty.
        note: Private<&'a str>,
    },
    /// Where her browser says that an agent is. Goes with her next call; nothing else follows from it.
    Position {
        /// The agent.
        agent: AgentId,
        /// Where.
        position: Private<Position>,
    },
    /// The agent needs the hold after her emergency call no longer (RULES A1).
    DismissHold {
        /// The agent.
        agent: AgentId,
    },
    /// Time passed; nothing else.
    Tick,
}

/// Where an outgoing leg on a trunk goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `sip:<digits>@<trunk host>;user=phone`: `911`, or a test number.
    Number(Private<String>),
    /// `urn:service:sos…`, sent with the trunk as next hop.
    Urn(String),
    /// The contingency number, ten digits or more, over the same trunks.
    Contingency(Private<E164>),
}

/// Whom a callback rings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// A configured URI: a device, an alternate, or the desk.
    Uri(Private<String>),
    /// A user behind a PBX: `sip:<user>@<peer uri>`.
    AtPeer(PeerId, Private<String>),
    /// A device that registered here: its Contact, along its flow, by its Path.
    Registered(DeviceId),
}

/// Where an agent is, as far as it is known: one of the two at least.
#[derive(Clone, Debug)]
pub struct Place {
    /// Her address on file.
    pub civic: Option<Private<Arc<Civic>>>,
    /// Where her browser says that she is.
    pub position: Option<Private<Position>>,
}

impl Place {
    /// Of what is known; `None` where that is nothing.
    pub fn of(civic: Option<Private<Arc<Civic>>>, position: Option<Private<Position>>) -> Option<Self> {
        (civic.is_some() || position.is_some()).then_some(Self { civic, position })
    }

    /// In one line, for the contacts.
    pub fn line(&self) -> Private<String> {
        let civic = self.civic.as_ref().map(|civic| civic.reveal().to_string());
        Private::new(match (self.position.map(|p| p.reveal().line()), civic) {
            (Some(position), Some(civic)) => format!("{position}; on file: {civic}"),
            (position, civic) => position.or(civic).unwrap_or_default(),
        })
    }
}

/// Which part of the caller's body goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyForm {
    /// As it came.
    Whole,
    /// The SDP part alone (RULES P6, after 413, 415, 488, 513 or 400 to a multipart INVITE).
    SdpAlone,
}

/// Why a leg is given up; becomes the Reason header (RFC 3326).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// Another leg answered: `SIP;cause=200;text="Call completed elsewhere"`.
    AnsweredElsewhere,
    /// The caller cancelled: `SIP;cause=487`.
    CallerCancelled,
    /// It was too slow, or another trunk took the call.
    AnotherTrunk,
}

/// What the bridge must do on the wire, in order.
#[derive(Clone, Debug)]
pub enum CallEffect {
    /// Make the lease's row durable, then say [`Input::Committed`].
    Commit {
        /// The waiting call.
        call: CallId,
        /// What to write.
        lease: Row,
    },
    /// Neither an emergency nor a callback: route it as an ordinary call.
    Ordinary {
        /// The call.
        call: CallId,
    },
    /// Place an emergency leg on a trunk.
    Place {
        /// The call.
        call: CallId,
        /// The new leg.
        leg: LegId,
        /// Over this trunk.
        trunk: TrunkId,
        /// To this target.
        target: Target,
        /// The callback number shown in From, P-Asserted-Identity and Contact (RULES L8).
        shown: Private<E164>,
        /// What of the body goes along.
        body: BodyForm,
        /// The agent's location, to be added: the call brings none.
        location: Option<Place>,
        /// A test, which must never ask for real help (RULES R5).
        test: bool,
    },
    /// Ring a device, an alternate or the desk for a callback.
    Ring {
        /// The call.
        call: CallId,
        /// The new leg.
        leg: LegId,
        /// Whom.
        device: Device,
        /// The leased number; becomes To.
        called: Private<E164>,
    },
    /// Release this agent's ordinary calls, for her phone is busy, then say [`Input::LineFreed`] (RULES C2). Never an
    /// emergency call.
    FreeLine {
        /// The callback.
        call: CallId,
        /// The agent's id.
        agent: Private<String>,
    },
    /// Give a leg up: no more retransmissions, CANCEL once a provisional has come, ACK and BYE for a late 2xx.
    GiveUp {
        /// The call.
        call: CallId,
        /// The leg.
        leg: LegId,
        /// Why.
        because: Because,
    },
    /// Pass the provisional response that this leg just got on to the caller.
    Progress {
        /// The call.
        call: CallId,
        /// The leg whose last provisional it is.
        leg: LegId,
    },
    /// Tell the caller 180 on our own behalf.
    Ringing {
        /// The call.
        call: CallId,
    },
    /// This leg's 2xx is the call's answer.
    Connect {
        /// The call.
        call: CallId,
        /// The leg.
        leg: LegId,
    },
    /// Answer the caller of a test ourselves and read back what the call would have shown (RULES R5). What becomes of it is
    /// told as of a leg: [`LegEvent::Answered`], or [`LegEvent::Refused`] with 488 where the caller cannot hear us and 503
    /// where we cannot read now; then [`Input::Ended`].
    ReadBack {
        /// The call.
        call: CallId,
        /// The new leg.
        leg: LegId,
        /// The callback number.
        number: Private<E164>,
        /// `direct-routing` or `direct-offer`.
        path: &'static str,
        /// `en`, `es`, `fr`; the node's language where none.
        language: Option<String>,
    },
    /// Tell the caller a final error.
    Refuse {
        /// The call.
        call: CallId,
        /// 400 to 699.
        status: u16,
        /// Retry-After in seconds, where it helps.
        retry_after: Option<u32>,
        /// Reason header text for people, or empty.
        text: &'static str,
    },
    /// Tell a caller outside the dialed number's country which number helps there: 403 with a Warning (RULES R7).
    RefuseAbroad {
        /// The call.
        call: CallId,
        /// The local emergency number.
        number: &'static str,
    },
}

/// What happens beside the call. Nothing comes back from here.
#[derive(Clone, Debug)]
pub enum Side {
    /// Write this down, so that it survives a restart; no call waits for it.
    Keep(Row),
    /// Tell the presence system.
    Presence {
        /// The agent's id.
        agent: Private<String>,
        /// What is to be shown now.
        shown: PresenceState,
        /// An emergency is the reason; false: whatever it was before, or what was set by hand.
        dnd: bool,
        /// No news: it was told before a restart. For those who must say it again to keep it shown.
        again: bool,
    },
    /// Tell the contacts.
    Notice(super::notice::Notice),
    /// A named alarm is raised or cleared.
    Alarm {
        /// Its name in CONTRACT.md.
        name: &'static str,
        /// Raised or cleared.
        raised: bool,
    },
    /// An emergency call came to an end; for counters only.
    Counted {
        /// `direct-routing` or `direct-offer`.
        path: &'static str,
        /// The trunk that carried it, if any did.
        trunk: Option<TrunkId>,
        /// The outcome's word.
        outcome: &'static str,
    },
    /// A callback came to an end; for counters only.
    CallbackCounted {
        /// `T0` to `T3`.
        tier: &'static str,
        /// The outcome's word.
        outcome: &'static str,
    },
    /// A line for the log: a fixed text, a call's random id, a trunk. No field can hold a person or a number.
    Log {
        /// What happened.
        event: &'static str,
        /// The call, by its number of ours.
        call: CallId,
        /// The trunk, if one is meant.
        trunk: Option<TrunkId>,
    },
}

/// What the story decides.
#[derive(Clone, Debug)]
pub enum Output {
    /// Something on the wire.
    Call(CallEffect),
    /// Something beside the call.
    Side(Side),
    /// The drain is done; call again at this time at the latest.
    Timeout(Option<Time>),
}

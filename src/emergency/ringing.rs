//! A callback on its way in: several legs ring, the first answer wins (RULES C4, C7, C9).
//!
//! [`CallbackCall`] is the machine; whom it rings was decided in [`callback`](super::callback). It ends without an
//! answer only after everybody, the desk included, has been tried for a minute.

use std::collections::VecDeque;
use std::time::Duration;

use super::call::CallEvent;
use super::callback::{OTHERS_AFTER, Plan};
use super::facts::{Because, CallEffect, CallId, Device, DeviceId, LegEvent, LegId, Party};
use super::lease::RecordId;
use super::outputs::Outputs;
use super::presence::EndedBy;
use super::privacy::{Outcome, Tier};
use super::second_call::{Busy, Phones, is_busy};
use crate::words::{E164, Private, Time};

/// A device without any response in this time counts as not there (RULES C4).
const NOT_THERE: Duration = Duration::from_millis(1500);

/// One that says nothing but 100 keeps nobody else waiting for longer than this, as on a trunk (RULES P7).
const NOTHING_BUT_TRYING: Duration = Duration::from_secs(6);

/// How long the PSAP hears 180 after all have refused, and how often the desk is tried meanwhile (RULES C9).
const HOLD: Duration = Duration::from_secs(60);
const DESK_EVERY: Duration = Duration::from_secs(10);

/// After 480.
const RETRY_AFTER: u32 = 10;

/// A callback.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "callbacks are few, and one that rings becomes no smaller elsewhere")]
pub enum CallbackCall {
    /// Nobody has answered.
    Ringing(Ringing),
    /// Somebody has.
    Talking(Talking),
    /// Over.
    Ended(Ended),
}

/// What it is, in every state.
#[derive(Debug)]
pub struct Called {
    /// The bridge's name for it.
    pub call: CallId,
    /// The number that was called.
    pub number: E164,
    /// Its holders, the newest first; empty where the desk rings alone.
    pub records: Vec<RecordId>,
    /// How far it is believed.
    pub tier: Tier,
}

/// Legs ring.
#[derive(Debug)]
pub struct Ringing {
    called: Called,
    legs: Vec<Leg>,
    groups: VecDeque<Vec<Device>>,
    others: Option<(Time, Vec<Device>)>,
    desk: Option<Device>,
    desk_at: Option<Time>,
    desk_when_busy: bool,
    /// The agent's devices, to be rung again when her emergency call is over.
    busy: Option<Vec<Device>>,
    may_join: bool,
    /// The agents' phones, as far as they are busy (RULES C2).
    phones: Phones,
    /// Registered devices that said no.
    refused: Vec<DeviceId>,
    /// Nobody is left who rings: until when to wait, and when to try the desk again.
    hold: Option<Hold>,
    told: bool,
    next_leg: u16,
}

/// Somebody answered.
#[derive(Debug)]
pub struct Talking {
    called: Called,
    leg: LegId,
}

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    /// What it was.
    pub called: Called,
    /// How.
    pub outcome: Outcome,
    /// Who ended it.
    pub by: EndedBy,
}

#[derive(Clone, Copy, Debug)]
struct Leg {
    id: LegId,
    /// Until then it may be silent; none once it rings.
    silent_until: Option<Time>,
    /// It has said 100.
    trying: bool,
    /// It was silent for too long: others are rung beside it. It may still answer.
    overdue: bool,
    desk: bool,
    /// Where it is a registered device.
    device: Option<DeviceId>,
    /// Its place among the agents' phones.
    phone: Option<usize>,
}

impl Leg {
    /// Counts as not there.
    const fn is_away(&self) -> bool {
        self.overdue && !self.trying
    }
}

#[derive(Clone, Copy, Debug)]
struct Hold {
    until: Time,
    desk_at: Time,
}

impl CallbackCall {
    /// Begins to ring.
    pub fn begin(called: Called, plan: Plan, out: &mut Outputs, now: Time) -> Self {
        let others = if plan.others.is_empty() { None } else { Some((now + OTHERS_AFTER, plan.others)) };
        let ringing = Ringing {
            called,
            legs: Vec::with_capacity(2),
            busy: plan.groups.first().filter(|_| plan.desk_when_busy).cloned(),
            groups: plan.groups.into(),
            others,
            desk_at: plan.desk.is_some().then(|| now + plan.desk_after),
            desk: plan.desk,
            desk_when_busy: plan.desk_when_busy,
            may_join: plan.may_join,
            phones: plan.phones,
            refused: Vec::new(),
            hold: None,
            told: false,
            next_leg: 0,
        };
        ringing.advance(out, now)
    }

    /// A callback that was answered before a restart (RULES B1).
    pub fn answered_before(called: Called, leg: LegId) -> Self {
        Self::Talking(Talking { called, leg })
    }

    /// The leg that answered; `None` while nobody has.
    pub fn answered_by(&self) -> Option<(LegId, &Called)> {
        if let Self::Talking(s) = self { Some((s.leg, &s.called)) } else { None }
    }

    /// What becomes of it.
    pub fn handle(self, event: CallEvent, out: &mut Outputs, now: Time) -> Self {
        match self {
            Self::Ringing(state) => state.handle(event, out, now),
            Self::Talking(state) => state.handle(event, out),
            Self::Ended(state) => Self::Ended(state),
        }
    }

    /// When it wants [`CallEvent::Tick`].
    pub fn deadline(&self) -> Option<Time> {
        match self {
            Self::Ringing(state) => state.deadline(),
            Self::Talking(_) | Self::Ended(_) => None,
        }
    }

    /// Whether it still rings for the holder of this record.
    pub fn is_for(&self, record: RecordId) -> bool {
        matches!(self, Self::Ringing(state) if state.called.records.contains(&record))
    }

    /// Whose number was called.
    pub fn records(&self) -> &[RecordId] {
        match self {
            Self::Ringing(s) => &s.called.records,
            Self::Talking(s) => &s.called.records,
            Self::Ended(s) => &s.called.records,
        }
    }

    /// The word for operators.
    pub fn state(&self) -> &'static str {
        match self {
            Self::Ringing(_) => "ringing",
            Self::Talking(_) => "talking",
            Self::Ended(_) => "ended",
        }
    }
}

impl Ringing {
    fn handle(mut self, event: CallEvent, out: &mut Outputs, now: Time) -> CallbackCall {
        match event {
            CallEvent::Leg(id, LegEvent::Answered) => return self.answered(id, out),
            CallEvent::Leg(id, event) => self.on_leg(id, event, out, now),
            CallEvent::Abandoned | CallEvent::Ended(_) => {
                self.give_up_all(Because::CallerCancelled, out);
                return self.ended(Outcome::Abandoned, EndedBy::Trunk);
            }
            CallEvent::AgentFree => self.agent_free(out, now),
            CallEvent::Device(device) => self.join(device, out, now),
            CallEvent::LineFreed(freed) => self.line_freed(freed, now),
            CallEvent::Committed | CallEvent::Tick => {}
        }
        self.advance(out, now)
    }

    /// The first 200 wins (RULES C7).
    fn answered(mut self, id: LegId, out: &mut Outputs) -> CallbackCall {
        let call = self.called.call;
        if !self.legs.iter().any(|l| l.id == id) {
            out.call(CallEffect::GiveUp { call, leg: id, because: Because::AnsweredElsewhere });
            return CallbackCall::Ringing(self);
        }
        self.legs.retain(|l| l.id != id);
        out.call(CallEffect::Connect { call, leg: id });
        self.give_up_all(Because::AnsweredElsewhere, out);
        out.alarm("desk_unreachable", false);
        CallbackCall::Talking(Talking { called: self.called, leg: id })
    }

    fn on_leg(&mut self, id: LegId, event: LegEvent, out: &mut Outputs, now: Time) {
        let Some(at) = self.legs.iter().position(|l| l.id == id) else { return };
        match event {
            LegEvent::Refused { status } => {
                let leg = self.legs.remove(at);
                self.refused.extend(leg.device);
                if self.desk_when_busy && matches!(status, 486 | 600) {
                    self.desk_at = self.desk_at.map(|_| now);
                }
                if let Some(phone) = leg.phone.filter(|_| is_busy(status)) {
                    self.busy(phone, out, now);
                }
            }
            LegEvent::Unreachable | LegEvent::TimedOut => {
                self.legs.remove(at);
            }
            LegEvent::Lost => {
                let leg = &mut self.legs[at];
                (leg.silent_until, leg.trying, leg.overdue) = (None, false, true);
            }
            LegEvent::Trying => {
                let leg = &mut self.legs[at];
                leg.silent_until = leg.silent_until.map(|_| now + NOTHING_BUT_TRYING);
                leg.trying = true;
            }
            LegEvent::Progress { .. } => {
                self.legs[at] = Leg { silent_until: None, trying: true, overdue: false, ..self.legs[at] };
                self.tell(out);
            }
            LegEvent::Answered => {}
        }
    }

    /// A phone is busy with an ordinary call: that is released, and the phone rung again, once (RULES C2).
    fn busy(&mut self, phone: usize, out: &mut Outputs, now: Time) {
        match self.phones.busy(phone, now) {
            Busy::Free(agent) => out.call(CallEffect::FreeLine { call: self.called.call, agent }),
            Busy::Wait => {}
            Busy::Over => self.desk_is_next(now),
        }
    }

    fn line_freed(&mut self, freed: bool, now: Time) {
        self.phones.freed(freed);
        if !freed {
            self.desk_is_next(now);
        }
    }

    /// The busy agent cannot be rung: the desk, unless another phone of hers still may be answered.
    fn desk_is_next(&mut self, now: Time) {
        if self.nobody_else_rings() {
            self.desk_at = self.desk_at.map(|_| now);
        }
    }

    /// Whose phone was busy with the emergency call is rung again, beside the desk (RULES C3).
    fn agent_free(&mut self, out: &mut Outputs, now: Time) {
        if self.nobody_else_rings()
            && let Some(devices) = self.busy.take()
        {
            self.ring(devices, false, out, now);
        }
    }

    /// A device that registers meanwhile rings with the others (RULES C4), but neither twice nor after it has refused.
    fn join(&mut self, device: DeviceId, out: &mut Outputs, now: Time) {
        let rings = self.legs.iter().any(|l| l.device == Some(device));
        if self.may_join && !rings && !self.refused.contains(&device) {
            self.phones.join(device);
            self.ring(vec![Device::Registered(device)], false, out, now);
        }
    }

    /// Whatever is due: who has been silent for too long is not there, the next group follows at once, the others and
    /// the desk ring beside when their time has come.
    fn advance(mut self, out: &mut Outputs, now: Time) -> CallbackCall {
        for leg in self.legs.iter_mut().filter(|l| l.silent_until.is_some_and(|until| until <= now)) {
            (leg.silent_until, leg.overdue) = (None, true);
        }
        if let Some((_, others)) = self.others.take_if(|(at, _)| *at <= now) {
            self.ring(others, false, out, now);
        }
        for phone in self.phones.due(now) {
            self.ring(vec![phone], false, out, now);
        }
        self.next_group(out, now);
        let nobody_rings = !self.phones.is_waiting() && self.legs.iter().all(|l| l.overdue);
        if self.desk_at.is_some_and(|at| at <= now || nobody_rings) {
            self.ring_desk(out, now);
        }
        if self.nobody_there() {
            return self.hold(out, now);
        }
        CallbackCall::Ringing(self)
    }

    /// The next group, as soon as nobody before it is there; the desk may ring beside.
    fn next_group(&mut self, out: &mut Outputs, now: Time) {
        while self.nobody_else_rings()
            && let Some(group) = self.groups.pop_front().or_else(|| self.others.take().map(|(_, others)| others))
        {
            self.ring(group, false, out, now);
        }
    }

    fn nobody_there(&self) -> bool {
        !self.phones.is_waiting() && self.legs.iter().all(Leg::is_away)
    }

    /// Nobody but the desk, and nobody is about to.
    fn nobody_else_rings(&self) -> bool {
        !self.phones.is_waiting() && self.legs.iter().all(|l| l.overdue || l.desk)
    }

    /// All have refused: the PSAP hears 180 and the desk is tried again, for a minute (RULES C9).
    fn hold(mut self, out: &mut Outputs, now: Time) -> CallbackCall {
        self.tell(out);
        let hold = *self.hold.get_or_insert(Hold { until: now + HOLD, desk_at: now + DESK_EVERY });
        if hold.until <= now {
            return self.not_connected(out);
        }
        if hold.desk_at <= now {
            self.hold = Some(Hold { desk_at: now + DESK_EVERY, ..hold });
            self.ring_desk(out, now);
        }
        CallbackCall::Ringing(self)
    }

    fn not_connected(mut self, out: &mut Outputs) -> CallbackCall {
        self.give_up_all(Because::CallerCancelled, out);
        out.call(CallEffect::Refuse {
            call: self.called.call,
            status: 480,
            retry_after: Some(RETRY_AFTER),
            text: "Nobody answers the callback",
        });
        out.alarm("desk_unreachable", true);
        self.ended(Outcome::NotConnected, EndedBy::Trunk)
    }

    fn ring_desk(&mut self, out: &mut Outputs, now: Time) {
        self.desk_at = None;
        if let Some(desk) = self.desk.clone() {
            self.ring(vec![desk], true, out, now);
        }
    }

    fn ring(&mut self, devices: Vec<Device>, desk: bool, out: &mut Outputs, now: Time) {
        for device in devices {
            let id = LegId(self.next_leg);
            self.next_leg = self.next_leg.wrapping_add(1);
            let registered = if let Device::Registered(device) = device { Some(device) } else { None };
            let phone = self.phones.place(&device).filter(|_| !desk);
            let silent_until = Some(now + NOT_THERE);
            self.legs.push(Leg { id, silent_until, trying: false, overdue: false, desk, device: registered, phone });
            let (call, called) = (self.called.call, Private::new(self.called.number));
            out.call(CallEffect::Ring { call, leg: id, device, called });
        }
    }

    /// The PSAP hears 180, once.
    fn tell(&mut self, out: &mut Outputs) {
        if !std::mem::replace(&mut self.told, true) {
            out.call(CallEffect::Ringing { call: self.called.call });
        }
    }

    fn give_up_all(&mut self, because: Because, out: &mut Outputs) {
        for leg in std::mem::take(&mut self.legs) {
            out.call(CallEffect::GiveUp { call: self.called.call, leg: leg.id, because });
        }
    }

    fn ended(self, outcome: Outcome, by: EndedBy) -> CallbackCall {
        CallbackCall::Ended(Ended { called: self.called, outcome, by })
    }

    fn deadline(&self) -> Option<Time> {
        let hold = self.hold.filter(|_| self.nobody_there()).map(|h| h.until.min(h.desk_at));
        let silent = self.legs.iter().filter_map(|l| l.silent_until);
        silent.chain(hold).chain(self.desk_at).chain(self.phones.deadline()).chain(self.others.as_ref().map(|(at, _)| *at)).min()
    }
}

impl Talking {
    fn handle(self, event: CallEvent, out: &mut Outputs) -> CallbackCall {
        let by = match event {
            CallEvent::Ended(by) => by,
            CallEvent::Abandoned => Party::Caller,
            CallEvent::Leg(leg, LegEvent::Answered) if leg != self.leg => {
                let because = Because::AnsweredElsewhere;
                out.call(CallEffect::GiveUp { call: self.called.call, leg, because });
                return CallbackCall::Talking(self);
            }
            CallEvent::Leg(..)
            | CallEvent::Device(_)
            | CallEvent::Committed
            | CallEvent::Tick
            | CallEvent::AgentFree
            | CallEvent::LineFreed(_) => {
                return CallbackCall::Talking(self);
            }
        };
        // Here the agent is the one who was called.
        let by = if by == Party::Callee { EndedBy::Agent } else { EndedBy::Trunk };
        CallbackCall::Ended(Ended { called: self.called, outcome: Outcome::CalledBack, by })
    }
}

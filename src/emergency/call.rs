//! One emergency call on its way out: which trunk is asked when, until one takes it (RULES P6 to P8).
//!
//! [`EmergencyCall`] is the machine; each state consumes the one before. The order of trunks was decided in
//! [`path`](super::path); here is only time: who has been silent for too long, who rings, who is next. How a call
//! that has ended is settled (lease, presence, notice) is the [`gateway`](super::gateway)'s business.

mod facts;

use std::collections::VecDeque;
use std::time::Duration;

use super::facts::{Because, Body, BodyForm, CallEffect, CallId, DeviceId, LegEvent, LegId, Party, Place, Side, TrunkId};
use super::ladder::Rung;
use super::lease::{Leases, RecordId, Shown};
use super::legs::{Clock, Heard, Leg, Try, TryState, Waiting, decides, overdue_at};
use super::outputs::Outputs;
use super::path::{Attempt, moves_on, target};
use super::presence::EndedBy;
use super::privacy::Outcome;
use super::reading::{NO_TRUNK_FOR_THE_TEST, Reading};
use super::site::{Profile, Site};
pub use facts::Facts;

use crate::pool::Pool;
use crate::words::{E164, Private, Time};

/// A slow store holds a call no longer than this (RULES L1).
pub const COMMIT_WAIT: Duration = Duration::from_millis(50);

/// Between the last refusal and the second round (RULES P6).
const SECOND_ROUND: Duration = Duration::from_secs(1);

/// As many trunks as may be tried side by side (RULES P7).
const LEGS_AT_ONCE: usize = 2;

/// An emergency call.
#[derive(Debug)]
pub enum EmergencyCall {
    /// Trunks are asked; none has taken the call.
    Placing(Placing),
    /// One trunk rings, and the call is its.
    Ringing(Ringing),
    /// Answered.
    Talking(Talking),
    /// A test that no trunk took: we read back what it would have shown (RULES R5).
    Reading(Reading),
    /// Over.
    Ended(Ended),
}

/// What may happen to it.
#[derive(Clone, Copy, Debug)]
pub enum CallEvent {
    /// The lease's record is durable.
    Committed,
    /// On one of its legs.
    Leg(LegId, LegEvent),
    /// The caller gave up.
    Abandoned,
    /// One side ended the answered call.
    Ended(Party),
    /// The emergency call of whom a callback rings is over.
    AgentFree,
    /// A device of the one who is called back registered. Nothing to an emergency call.
    Device(DeviceId),
    /// Whether an ordinary call of the one who is called back was released. Nothing to an emergency call.
    LineFreed(bool),
    /// Time passed.
    Tick,
}

/// What a call's machine may touch.
pub struct World<'a> {
    /// The configuration.
    pub site: &'a Site,
    /// The numbers.
    pub pool: &'a Pool,
    /// The leases.
    pub leases: &'a mut Leases,
    /// Where its decisions go.
    pub out: &'a mut Outputs,
    /// Now.
    pub now: Time,
}

/// Trunks are asked, in order and up to two at a time.
#[derive(Debug)]
pub struct Placing {
    facts: Box<Facts>,
    tries: Vec<Try>,
    legs: Vec<Leg>,
    waiting: Option<Waiting>,
    /// Numbers whose records the store was asked to keep and has not yet.
    unanswered: VecDeque<E164>,
    clock: Clock,
    last_refusal: Option<Time>,
    second_round: bool,
    next_leg: u16,
}

/// One trunk rings.
#[derive(Debug)]
pub struct Ringing {
    leg: Leg,
    /// To go on from, should the leg be refused.
    placing: Placing,
}

/// Answered by a trunk.
#[derive(Debug)]
pub struct Talking {
    facts: Box<Facts>,
    leg: LegId,
    trunk: TrunkId,
}

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    /// What it was.
    pub facts: Box<Facts>,
    /// How.
    pub outcome: Outcome,
    /// Who ended it.
    pub by: EndedBy,
    /// The trunk that carried it.
    pub trunk: Option<TrunkId>,
}

impl EmergencyCall {
    /// Begins to place a call.
    pub fn begin(facts: Facts, attempts: &[Attempt], world: &mut World<'_>) -> Self {
        let tries = attempts.iter().map(|&attempt| Try { attempt, state: TryState::NotTried, body: BodyForm::Whole }).collect();
        let placing = Placing {
            facts: Box::new(facts),
            tries,
            legs: Vec::with_capacity(LEGS_AT_ONCE),
            waiting: None,
            unanswered: VecDeque::new(),
            clock: Clock::Runs { until: world.now + world.site.placing.budget },
            last_refusal: None,
            second_round: false,
            next_leg: 0,
        };
        placing.advance(world)
    }

    /// A call that was answered before a restart (RULES B1).
    pub fn answered_before(facts: Facts, leg: LegId, trunk: TrunkId) -> Self {
        Self::Talking(Talking { facts: Box::new(facts.of_one_placed_before()), leg, trunk })
    }

    /// The leg that answered, and its trunk; `None` while nobody has.
    pub fn answered_by(&self) -> Option<(LegId, TrunkId)> {
        if let Self::Talking(s) = self { Some((s.leg, s.trunk)) } else { None }
    }

    /// What becomes of it.
    pub fn handle(self, event: CallEvent, world: &mut World<'_>) -> Self {
        match self {
            Self::Placing(state) => state.handle(event, world),
            Self::Ringing(state) => state.handle(event, world),
            Self::Talking(state) => state.handle(event, world),
            Self::Reading(state) => state.handle(event, world.out),
            Self::Ended(state) => Self::Ended(state),
        }
    }

    /// When it wants [`CallEvent::Tick`].
    pub fn deadline(&self, site: &Site, now: Time) -> Option<Time> {
        match self {
            Self::Placing(state) => state.deadline(site, now),
            Self::Ringing(_) | Self::Talking(_) | Self::Reading(_) | Self::Ended(_) => None,
        }
    }

    /// What it is.
    pub fn facts(&self) -> &Facts {
        match self {
            Self::Placing(s) => &s.facts,
            Self::Ringing(s) => &s.placing.facts,
            Self::Talking(s) => &s.facts,
            Self::Reading(s) => &s.facts,
            Self::Ended(s) => &s.facts,
        }
    }

    /// The same, to say something after it is placed.
    pub fn facts_mut(&mut self) -> &mut Facts {
        match self {
            Self::Placing(s) => &mut s.facts,
            Self::Ringing(s) => &mut s.placing.facts,
            Self::Talking(s) => &mut s.facts,
            Self::Reading(s) => &mut s.facts,
            Self::Ended(s) => &mut s.facts,
        }
    }

    /// Whose lease it is.
    pub fn record(&self) -> RecordId {
        match self {
            Self::Placing(s) => s.facts.record,
            Self::Ringing(s) => s.placing.facts.record,
            Self::Talking(s) => s.facts.record,
            Self::Reading(s) => s.facts.record,
            Self::Ended(s) => s.facts.record,
        }
    }

    /// The word for operators, and the trunk where one has the call.
    pub fn state(&self) -> (&'static str, Option<TrunkId>) {
        match self {
            Self::Placing(_) => ("placing", None),
            Self::Ringing(s) => ("ringing", s.placing.tries.get(s.leg.of).map(|t| t.attempt.trunk)),
            Self::Talking(s) => ("talking", Some(s.trunk)),
            Self::Reading(_) => ("talking", None),
            Self::Ended(s) => ("ended", s.trunk),
        }
    }
}

impl Placing {
    fn handle(mut self, event: CallEvent, world: &mut World<'_>) -> EmergencyCall {
        match event {
            CallEvent::Committed => self.committed(world),
            CallEvent::Leg(id, event) => return self.on_leg(id, event, world),
            CallEvent::Abandoned | CallEvent::Ended(_) => return self.abandoned(world),
            CallEvent::Tick | CallEvent::Device(_) | CallEvent::AgentFree | CallEvent::LineFreed(_) => {}
        }
        self.advance(world)
    }

    /// The store answers in the order in which it was asked, perhaps too late for the leg that waited.
    fn committed(&mut self, world: &mut World<'_>) {
        let Some(number) = self.unanswered.pop_front() else { return };
        world.leases.durable(self.facts.record, number);
        if let Some(waiting) = self.waiting.take_if(|w| w.shown == number) {
            self.send(waiting.of, waiting.shown, world);
        }
    }

    fn on_leg(mut self, id: LegId, event: LegEvent, world: &mut World<'_>) -> EmergencyCall {
        let Some(at) = self.legs.iter().position(|l| l.id == id) else {
            give_up_late_answer(self.facts.call, id, event, world);
            return EmergencyCall::Placing(self);
        };
        match event {
            LegEvent::Progress { status, sdp } if decides(status, sdp) => self.ring(at, world),
            LegEvent::Answered => {
                let leg = self.legs.swap_remove(at);
                self.connect(leg, world)
            }
            LegEvent::Refused { status } => self.refused(at, Some(status), world),
            LegEvent::TimedOut => self.refused(at, None, world),
            LegEvent::Lost => {
                self.legs[at].heard = Heard::Lost;
                self.advance(world)
            }
            LegEvent::Unreachable => self.refused(at, None, world),
            LegEvent::Trying | LegEvent::Progress { .. } => {
                self.heard(at, event, world);
                self.advance(world)
            }
        }
    }

    /// A response that does not decide: 100, or a provisional that only keeps its leg ringing.
    fn heard(&mut self, at: usize, event: LegEvent, world: &mut World<'_>) {
        let leg = &mut self.legs[at];
        if let LegEvent::Progress { status: 181..=198, .. } = event {
            leg.heard = Heard::Ringing;
            self.clock.stop(world.now);
            world.out.call(CallEffect::Progress { call: self.facts.call, leg: leg.id });
        } else if leg.heard == Heard::Nothing {
            leg.heard = Heard::Trying;
        }
    }

    /// This leg has the call; the other one is given up (RULES P7).
    fn ring(mut self, at: usize, world: &mut World<'_>) -> EmergencyCall {
        let mut leg = self.legs.swap_remove(at);
        leg.heard = Heard::Ringing;
        world.out.call(CallEffect::Progress { call: self.facts.call, leg: leg.id });
        self.give_up_all(Because::AnotherTrunk, world);
        self.clock.stop(world.now);
        EmergencyCall::Ringing(Ringing { leg, placing: self })
    }

    fn connect(mut self, leg: Leg, world: &mut World<'_>) -> EmergencyCall {
        let trunk = self.tries[leg.of].attempt.trunk;
        world.out.call(CallEffect::Connect { call: self.facts.call, leg: leg.id });
        self.give_up_all(Because::AnotherTrunk, world);
        world.out.alarm("call_not_connected", false);
        world.out.log("emergency call connected", self.facts.call, Some(trunk));
        EmergencyCall::Talking(Talking { facts: self.facts, leg: leg.id, trunk })
    }

    /// A final error, or nobody there: the same trunk once more where the body was too much for it, else the next one.
    fn refused(mut self, at: usize, status: Option<u16>, world: &mut World<'_>) -> EmergencyCall {
        let leg = self.legs.remove(at);
        self.last_refusal = Some(world.now);
        self.tries[leg.of].state = TryState::Refused;
        let trunk = self.tries[leg.of].attempt.trunk;
        world.out.log("trunk refused the emergency call", self.facts.call, Some(trunk));
        if let Some(status) = status {
            if matches!(status, 400 | 413 | 415 | 488 | 513) && self.may_send_less(leg.of, world.site) {
                return self.send_less(leg.of, world);
            }
            if !moves_on(world.site.profile, status) {
                return self.failed(status, world);
            }
        }
        self.advance(world)
    }

    fn may_send_less(&self, of: usize, site: &Site) -> bool {
        let is_more = self.facts.body == Body::Multipart || self.added_location(of, site).is_some();
        is_more && self.tries[of].body == BodyForm::Whole
    }

    /// The agent's own location, where the trunk is to be told one, the call brings none and the body may have parts.
    fn added_location(&self, of: usize, site: &Site) -> Option<Place> {
        let asked = &self.tries[of];
        let adds = self.facts.brought.is_none() && asked.body == BodyForm::Whole;
        let trunk = site.trunk(asked.attempt.trunk).filter(|t| adds && t.adds_location);
        let civic = || self.facts.about.caller.agent().and_then(|agent| agent.location.clone());
        trunk.and_then(|_| Place::of(civic(), self.facts.position))
    }

    /// The same trunk and number once more, with the SDP alone. The number's record has had its time already.
    fn send_less(mut self, of: usize, world: &mut World<'_>) -> EmergencyCall {
        let (trunk, record) = (self.tries[of].attempt.trunk, self.facts.record);
        self.tries[of].body = BodyForm::SdpAlone;
        if let Some(shown) = world.leases.number_for(world.site, world.pool, record, trunk, world.now) {
            self.tries[of].state = TryState::Running;
            self.send(of, shown.number, world);
        }
        self.advance(world)
    }

    fn abandoned(mut self, world: &mut World<'_>) -> EmergencyCall {
        self.give_up_all(Because::CallerCancelled, world);
        self.facts.never_placed(world.out);
        self.ended(Outcome::Abandoned, EndedBy::Agent)
    }

    /// Whatever time asks for: a leg that has waited for its record, the next trunk beside a silent one, the second
    /// round, or the end.
    fn advance(mut self, world: &mut World<'_>) -> EmergencyCall {
        if let Some(waiting) = self.waiting.filter(|w| w.until <= world.now) {
            self.waiting = None;
            let slow = world.out.alarm_news("store_slow", true);
            self.send(waiting.of, waiting.shown, world);
            slow.into_iter().for_each(|side| world.out.side(side));
        }
        if self.legs.iter().any(|l| matches!(l.heard, Heard::Ringing)) {
            return EmergencyCall::Placing(self);
        }
        self.clock.run(world.now);
        if self.clock.is_over(world.now) {
            if self.second_round || self.next_try().is_none() {
                return self.failed(503, world);
            }
            // The time went by while the machine slept, or over many slow trunks: no call ends before each was asked.
            self.clock = Clock::Runs { until: world.now + world.site.placing.trying };
        }
        while self.wants_another(world.site, world.now) {
            match self.next_try() {
                Some(of) => {
                    self.make_room(world);
                    self.start(of, world);
                }
                None if self.second_round_at(world.site).is_some_and(|at| at <= world.now) => self.begin_second_round(),
                None if self.legs.is_empty() && self.second_round_at(world.site).is_none() => return self.failed(503, world),
                None => break,
            }
        }
        EmergencyCall::Placing(self)
    }

    /// No leg that may still answer in time, and none about to leave.
    fn wants_another(&self, site: &Site, now: Time) -> bool {
        self.waiting.is_none() && self.legs.iter().all(|l| overdue_at(l, &site.placing).is_some_and(|at| at <= now))
    }

    /// The first attempt not yet made. A trunk that has not said a word gets no second INVITE beside the first: that one
    /// is being retransmitted.
    fn next_try(&self) -> Option<usize> {
        let silent = |t: TrunkId| {
            self.legs.iter().any(|l| l.heard == Heard::Nothing && self.tries.get(l.of).is_some_and(|x| x.attempt.trunk == t))
        };
        self.tries.iter().position(|t| t.state == TryState::NotTried && !silent(t.attempt.trunk))
    }

    /// Two legs at most: the one that says least goes first.
    fn make_room(&mut self, world: &mut World<'_>) {
        if self.legs.len() < LEGS_AT_ONCE {
            return;
        }
        let silent = self.legs.iter().position(|l| l.heard == Heard::Nothing);
        let leg = self.legs.remove(silent.unwrap_or(0));
        self.give_up(leg, Because::AnotherTrunk, world);
    }

    /// Leases the trunk's number and sends the INVITE, at once where the number's record is durable already.
    fn start(&mut self, of: usize, world: &mut World<'_>) {
        let (trunk, record) = (self.tries[of].attempt.trunk, self.facts.record);
        self.tries[of].state = TryState::Running;
        let Some(shown) = world.leases.number_for(world.site, world.pool, record, trunk, world.now) else {
            self.tries[of].state = TryState::Refused;
            return self.without_a_number(trunk, world);
        };
        self.tell_rung(shown, trunk, world);
        let unsaved = if shown.durable { None } else { world.leases.row_of(world.site, record, shown.number) };
        match unsaved {
            None => self.send(of, shown.number, world),
            Some(lease) => {
                self.unanswered.push_back(shown.number);
                self.waiting = Some(Waiting { of, shown: shown.number, until: world.now + COMMIT_WAIT });
                world.out.call(CallEffect::Commit { call: self.facts.call, lease });
            }
        }
    }

    fn send(&mut self, of: usize, shown: E164, world: &mut World<'_>) {
        let (attempt, body) = (self.tries[of].attempt, self.tries[of].body);
        let id = LegId(self.next_leg);
        self.next_leg = self.next_leg.wrapping_add(1);
        self.legs.push(Leg { id, of, started: world.now, heard: Heard::Nothing });
        self.facts.shown = Some(shown);
        let location = self.added_location(of, world.site);
        self.facts.location = match (&location, body) {
            (Some(place), _) => Some(place.line()),
            (None, BodyForm::Whole) => self.facts.brought.clone(),
            (None, BodyForm::SdpAlone) => None,
        };
        world.out.call(CallEffect::Place {
            call: self.facts.call,
            leg: id,
            trunk: attempt.trunk,
            target: target(world.site, &self.facts.dialed, attempt),
            shown: Private::new(shown),
            body,
            location,
            test: self.facts.about.test,
        });
        self.facts.placed(world.out);
    }

    fn without_a_number(&mut self, trunk: TrunkId, world: &mut World<'_>) {
        self.last_refusal = Some(world.now);
        let alarm = world.out.alarm_news("pool_empty", true);
        let log = Side::Log { event: "no callback number in the whole site", call: self.facts.call, trunk: Some(trunk) };
        alarm.into_iter().chain([log]).for_each(|side| self.facts.then(side, world.out));
    }

    fn tell_rung(&mut self, shown: Shown, trunk: TrunkId, world: &mut World<'_>) {
        let call = self.facts.call;
        let alarm = shown.rung.alarm().and_then(|name| world.out.alarm_news(name, true));
        if shown.rung == Rung::Free {
            let cleared = ["pool_low", "pool_empty"].map(|name| world.out.alarm_news(name, false));
            cleared.into_iter().flatten().for_each(|side| self.facts.then(side, world.out));
        }
        let log = shown.rung.event().map(|event| Side::Log { event, call, trunk: Some(trunk) });
        alarm.into_iter().chain(log).for_each(|side| self.facts.then(side, world.out));
        self.facts.about.remark = shown.rung.remark().or(self.facts.about.remark);
    }

    fn second_round_at(&self, site: &Site) -> Option<Time> {
        let may = !self.second_round && site.profile == Profile::Emergency && !self.facts.about.test;
        let refused = self.tries.iter().any(|t| t.state == TryState::Refused);
        if may && refused { self.last_refusal.map(|at| at + SECOND_ROUND) } else { None }
    }

    fn begin_second_round(&mut self) {
        self.second_round = true;
        self.tries.iter_mut().filter(|t| t.state != TryState::Running).for_each(|t| t.state = TryState::NotTried);
    }

    fn give_up_all(&mut self, because: Because, world: &mut World<'_>) {
        if let Some(waiting) = self.waiting.take() {
            self.tries[waiting.of].state = TryState::GivenUp;
        }
        for leg in std::mem::take(&mut self.legs) {
            self.give_up(leg, because, world);
        }
    }

    fn give_up(&mut self, leg: Leg, because: Because, world: &mut World<'_>) {
        self.tries[leg.of].state = TryState::GivenUp;
        world.out.call(CallEffect::GiveUp { call: self.facts.call, leg: leg.id, because });
    }

    fn failed(mut self, status: u16, world: &mut World<'_>) -> EmergencyCall {
        self.give_up_all(Because::AnotherTrunk, world);
        if self.facts.about.test
            && let Some(number) = self.facts.shown
        {
            return EmergencyCall::Reading(Reading::begin(self.facts, LegId(self.next_leg), number, world.out));
        }
        let text = if self.facts.about.test { NO_TRUNK_FOR_THE_TEST } else { "No trunk took the emergency call" };
        world.out.call(CallEffect::Refuse { call: self.facts.call, status, retry_after: None, text });
        self.facts.never_placed(world.out);
        if !self.facts.about.test {
            world.out.alarm("call_not_connected", true);
        }
        self.ended(Outcome::NotConnected, EndedBy::Trunk)
    }

    fn ended(self, outcome: Outcome, by: EndedBy) -> EmergencyCall {
        EmergencyCall::Ended(Ended { facts: self.facts, outcome, by, trunk: None })
    }

    fn deadline(&self, site: &Site, now: Time) -> Option<Time> {
        if self.legs.iter().any(|l| l.heard == Heard::Ringing) {
            return self.waiting.map(|w| w.until);
        }
        let silent = self.legs.iter().filter_map(|l| overdue_at(l, &site.placing));
        let times = silent.chain(self.second_round_at(site)).filter(|at| *at > now);
        times.chain(self.waiting.map(|w| w.until)).chain(self.clock.until()).min()
    }
}

impl Ringing {
    fn handle(mut self, event: CallEvent, world: &mut World<'_>) -> EmergencyCall {
        let call = self.placing.facts.call;
        match event {
            CallEvent::Leg(id, event) if id != self.leg.id => give_up_late_answer(call, id, event, world),
            CallEvent::Leg(_, LegEvent::Progress { .. }) => {
                world.out.call(CallEffect::Progress { call, leg: self.leg.id });
            }
            CallEvent::Leg(_, LegEvent::Answered) => return self.placing.connect(self.leg, world),
            CallEvent::Leg(_, LegEvent::Refused { status }) => return self.go_on().refused(0, Some(status), world),
            CallEvent::Leg(_, LegEvent::TimedOut) => return self.go_on().refused(0, None, world),
            CallEvent::Leg(_, LegEvent::Lost) => {
                self.leg.heard = Heard::Lost;
                return self.go_on().advance(world);
            }
            CallEvent::Leg(_, LegEvent::Unreachable) => return self.go_on().refused(0, None, world),
            CallEvent::Abandoned | CallEvent::Ended(_) => return self.go_on().abandoned(world),
            CallEvent::Committed => self.placing.committed(world),
            CallEvent::Leg(_, LegEvent::Trying)
            | CallEvent::Tick
            | CallEvent::Device(_)
            | CallEvent::AgentFree
            | CallEvent::LineFreed(_) => {}
        }
        EmergencyCall::Ringing(self)
    }

    /// Back to placing: the clock goes on, and trunks that were given up for this one count as not tried (RULES P7).
    fn go_on(mut self) -> Placing {
        let given_up = self.placing.tries.iter_mut().filter(|t| t.state == TryState::GivenUp);
        given_up.for_each(|t| t.state = TryState::NotTried);
        self.placing.legs.push(self.leg);
        self.placing
    }
}

impl Talking {
    fn handle(self, event: CallEvent, world: &mut World<'_>) -> EmergencyCall {
        let by = match event {
            CallEvent::Ended(by) => by,
            CallEvent::Abandoned => Party::Caller,
            CallEvent::Leg(id, event) => {
                if id != self.leg {
                    give_up_late_answer(self.facts.call, id, event, world);
                }
                return EmergencyCall::Talking(self);
            }
            CallEvent::Committed | CallEvent::Tick | CallEvent::Device(_) | CallEvent::AgentFree | CallEvent::LineFreed(_) => {
                return EmergencyCall::Talking(self);
            }
        };
        let ended_by = if by == Party::Caller { EndedBy::Agent } else { EndedBy::Trunk };
        EmergencyCall::Ended(Ended {
            facts: self.facts,
            outcome: Outcome::of_answered(by),
            by: ended_by,
            trunk: Some(self.trunk),
        })
    }
}

/// A leg that was given up may answer before it hears of it.
fn give_up_late_answer(call: CallId, leg: LegId, event: LegEvent, world: &mut World<'_>) {
    give_up_late(call, CallEvent::Leg(leg, event), world.out);
}

/// The same for a call that is over.
pub fn give_up_late(call: CallId, event: CallEvent, out: &mut Outputs) {
    if let CallEvent::Leg(leg, LegEvent::Answered) = event {
        out.call(CallEffect::GiveUp { call, leg, because: Because::AnotherTrunk });
    }
}

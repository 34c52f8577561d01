//! The story: an emergency call goes out, and the call back comes home.
//!
//! [`Gateway::handle`] takes one fact, [`Gateway::poll`] gives the decisions that follow from it, in order, and then
//! when to call again. `Gateway::invite` is the function to read first: it is the requirement, step by step. The
//! gateway owns its calls and runs on one thread; it sends nothing, writes nothing and waits for nobody.

mod alarms;
mod rehearsal;
mod restart;
mod silence;
mod views;

pub use rehearsal::Lead;
pub use views::{CallView, PanelView, Shelved};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::abroad::Whereabouts;
use super::call::{self, CallEvent, EmergencyCall, Facts, World};
use super::callback::{self, Situation};
use super::caller::{Caller, number_in};
use super::devices::Devices;
use super::facts::{AgentId, CallEffect, CallId, Called, CallerEvidence, DeviceId, Input, Invite, Origin, Output, Side, TrunkId};
use super::lane::Lane;
use super::lease::{Found, Leases, Over, RecordId};
use super::lookups::Lookups;
use super::notice::{About, Notice};
use super::number::Dialed;
use super::outputs::Outputs;
use super::path::{self, Health, Question, asks_for_protection};
use super::positions::Positions;
use super::presence::{EndedBy, Presence, PresenceState};
use super::privacy::{Outcome, Tier};
use super::ringing::{self, CallbackCall};
use super::site::{Agent, Site};
use crate::pool::{Pool, PoolError};
use crate::words::plan::{Plan, plan};
use crate::words::{E164, Position, Private, Time};

/// Leases that end in one step at most; the rest follows in the next, so that no call waits for them.
const EXPIRIES_AT_ONCE: usize = 64;

/// The emergency calls, callbacks and leases of a node.
#[derive(Debug)]
pub struct Gateway {
    site: Arc<Site>,
    pool: Arc<Pool>,
    lane: Arc<Lane>,
    lookups: Arc<Lookups>,
    leases: Leases,
    devices: Devices,
    health: Health,
    presence: Presence,
    positions: Positions,
    calls: BTreeMap<CallId, Running>,
    /// Those of them of whose audio nothing is heard.
    silent: BTreeSet<CallId>,
    timers: BTreeSet<(Time, CallId)>,
    /// Until when the alarm for looping calls stands.
    loop_until: Option<Time>,
    /// Until when the alarm for a call that no trunk took stands.
    not_connected_until: Option<Time>,
    /// Until when the alarm for rows that could not be read stands.
    damage_until: Option<Time>,
    /// When the alarm for a slow store ends, if no other call has waited too long for it by then.
    store_look: Option<Time>,
    /// When it is looked for free numbers again.
    pool_look: Option<Time>,
    out: Outputs,
}

#[derive(Debug)]
struct Running {
    since: Time,
    timer: Option<Time>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Emergency(EmergencyCall),
    Callback(CallbackCall),
}

/// A callback, as far as it is known before anybody rings.
struct ToHolder {
    number: E164,
    found: Found,
    trusted: bool,
}

impl Gateway {
    /// A gateway without calls and leases. It fails only where the config gives one number twice. `lookups` are this site's.
    pub fn new(site: Arc<Site>, lookups: Arc<Lookups>) -> Result<Self, PoolError> {
        let pool = Arc::new(pool_of(&site)?);
        Ok(Self {
            lane: Arc::new(Lane::new(Arc::clone(&site), Arc::clone(&lookups), Arc::clone(&pool), std::iter::empty())),
            lookups,
            site,
            pool,
            leases: Leases::default(),
            devices: Devices::default(),
            health: Health::default(),
            presence: Presence::default(),
            positions: Positions::default(),
            calls: BTreeMap::new(),
            silent: BTreeSet::new(),
            timers: BTreeSet::new(),
            loop_until: None,
            not_connected_until: None,
            damage_until: None,
            store_look: None,
            pool_look: None,
            out: Outputs::default(),
        })
    }

    /// Takes in one fact.
    pub fn handle(&mut self, input: Input<'_>, now: Time) {
        match input {
            Input::Invite(invite) => self.invite(&invite, now),
            Input::Committed { call } => {
                self.event(call, CallEvent::Committed, now);
                // However late, and wherever the call is by now: the store answers again.
                self.store_answers(now);
            }
            Input::Leg { call, leg, event } => self.event(call, CallEvent::Leg(leg, event), now),
            Input::Abandoned { call } => self.event(call, CallEvent::Abandoned, now),
            Input::Ended { call, by } => self.event(call, CallEvent::Ended(by), now),
            Input::Silence { call, silent } => self.silence(call, silent),
            Input::Health { trunk, up } => self.health(trunk, up),
            Input::Desks { up } => self.out.alarm("desk_unreachable", !up),
            Input::Registered { agent, device } => self.registered(agent, device, now),
            Input::Unregistered { device } => self.devices.remove(device),
            Input::LineFreed { call, freed } => self.event(call, CallEvent::LineFreed(freed), now),
            Input::SetPresence { agent, state, note } => self.set_presence(agent, state, note.reveal(), now),
            Input::Position { agent, position } => self.set_position(agent, position, now),
            Input::DismissHold { agent } => self.dismiss_hold(agent),
            Input::Tick => {}
        }
        self.due(now);
    }

    /// The next decision; after the last one, [`Output::Timeout`] with the time of the next [`Input::Tick`].
    pub fn poll(&mut self) -> Output {
        self.out.pop().unwrap_or_else(|| Output::Timeout(self.next_due()))
    }

    /// An INVITE outside any dialog: the requirement, step by step.
    fn invite(&mut self, invite: &Invite<'_>, now: Time) {
        // From a trunk, to somebody who dialed an emergency number: that comes before everything else (RULES R3).
        if let Some(holder) = self.callback_holder(invite, now) {
            return self.call_back(invite, holder, now);
        }
        // Is it an emergency at all?
        let Some(dialed) = self.recognise(invite, now) else {
            return self.out.call(CallEffect::Ordinary { call: invite.call });
        };
        // Our own call, coming back to us (RULES P12).
        if self.is_our_own(&invite.caller) {
            return self.out.call(our_own_call(invite.call));
        }
        // Who calls, and over which trunks does the call go?
        let caller = self.lookups.directory.identify(&self.site, invite.origin, &invite.caller);
        // It has used up its hops, and nobody dials that often: it goes in circles (RULES P12).
        if invite.hops_used_up && self.leases.is_looping(&caller, now) {
            return self.refuse_loop(invite, now);
        }
        // The number helps nobody where she is, for certain: she is told at once which one does (RULES R7).
        if let Some(number) = self.number_there(invite, &dialed, &caller, now) {
            return self.refuse_abroad(invite, &dialed, &caller, number, now);
        }
        let came_over = trunk_alone(invite.origin);
        let protected = asks_for_protection(invite.called.request_uri);
        let question = Question { dialed: &dialed, caller: &caller, came_over, call: invite.call, protected };
        let decision = path::decide(&self.site, &self.health, &question);
        // Hold a lease for her: the same as before if she has one.
        let (record, looping) = self.leases.dial(&self.site, &caller, dialed.service.is_test(), now);
        self.leases.note(record, dialed.canonical, decision.path.word());
        self.leases.set_over(record, None);
        // Place the call: the trunk's callback number is leased, its record made durable, the INVITE sent.
        let about = about(&caller, &dialed, &decision, now);
        let mut facts = Facts::new(invite.call, about, dialed, record, invite.body);
        facts.position = caller.agent().and_then(|agent| self.positions.of(&agent.id));
        facts.brought = invite.location.map(|l| Private::new((*l.reveal()).to_owned()));
        let mut call = EmergencyCall::begin(facts, &decision.attempts, &mut self.world(now));
        if protected && decision.attempts.is_empty() {
            self.out.log("an emergency that was asked for by sips finds no TLS and may not go on without", invite.call, None);
        }
        // Then, and only then: presence and panel, the contacts, the log. Until the INVITE has left, the call keeps these.
        self.then_presence(&mut call, now);
        self.then_notice(&mut call);
        self.then_alarm_loop(&mut call, looping, now);
        self.keep(invite.call, Kind::Emergency(call), now, now);
    }

    /// A callback: ring the holder past everything, then, and only then, tell the others.
    fn call_back(&mut self, invite: &Invite<'_>, to: ToHolder, now: Time) {
        let ToHolder { number, found, trusted } = to;
        let tier = callback::tier(trusted, invite.marks, !found.late && !found.records.is_empty());
        let crowded =
            tier < Tier::T2 && found.records.first().is_some_and(|id| self.leases.plain_callback_began(*id, number, now));
        let records: Vec<_> = found.records.iter().filter_map(|id| self.leases.get(*id)).collect();
        let situation = Situation {
            tier: Some(tier),
            crowded,
            shared: found.shared,
            newest_first: found.newest_first,
            desk_at_once: found.desk_at_once,
            on_emergency_call: found.records.iter().any(|id| self.is_on_a_live_call(*id)),
        };
        let holders: Vec<&Caller> = records.iter().map(|r| &r.caller).collect();
        let plan = callback::plan(&self.site, &self.devices, &holders, &situation);
        let notices: Vec<_> =
            records.iter().map(|r| Notice::called_back(&self.site, &r.about(), number, Outcome::CalledBack, now)).collect();
        let called = ringing::Called { call: invite.call, number, records: found.records.clone(), tier };
        let call = CallbackCall::begin(called, plan, &mut self.out, now);
        for id in found.records {
            self.leases.leg_up(id);
            self.agent_is_busy(id, now);
        }
        notices.into_iter().for_each(|notice| self.out.side(Side::Notice(notice)));
        self.out.log(if found.late { "callback, late" } else { "callback" }, invite.call, trunk_of(invite.origin));
        self.keep(invite.call, Kind::Callback(call), now, now);
    }

    fn agent_is_busy(&mut self, id: RecordId, now: Time) {
        let began = self.agent_id(id).and_then(|agent| self.presence.began(&agent, now));
        began.into_iter().for_each(|side| self.out.side(side));
    }

    /// Whom the called number leads to: leased, or late, or in the pool and marked (RULES C5, C8, L10).
    fn callback_holder(&self, invite: &Invite<'_>, now: Time) -> Option<ToHolder> {
        let trunk = trunk_of(invite.origin)?;
        if let Origin::Both(peer, _) = invite.origin
            && (self.lookups.directory.knows_any(peer, &invite.caller) || self.is_our_own(&invite.caller))
        {
            return None;
        }
        let uris = std::iter::once(invite.called.request_uri).chain(invite.called.others.iter().copied());
        let mut numbers = uris.filter_map(number_in);
        let (number, found) = numbers.find_map(|n| self.leases.find(&self.pool, n, now).map(|f| (n, f)))?;
        let trusted = self.site.trunk(trunk).is_some_and(|t| t.trust_marks);
        let marked = callback::tier(trusted, invite.marks, false) > Tier::T0;
        (marked || !found.records.is_empty()).then_some(ToHolder { number, found, trusted })
    }

    /// Recognised by the country's number plan (RULES R1, R7): the agent's, where agents have their own.
    fn recognise(&self, invite: &Invite<'_>, now: Time) -> Option<Dialed> {
        if invite.origin == Origin::Stranger {
            return None;
        }
        let ask = self.lookups.agents_abroad || matches!(invite.origin, Origin::Agent(_));
        let caller = ask.then(|| self.lookups.directory.identify(&self.site, invite.origin, &invite.caller));
        let agent = caller.as_ref().and_then(Caller::agent).map(AsRef::as_ref);
        let country = self.whereabouts(invite, agent, now).country();
        self.site.numbers.recognise(invite.called.request_uri, country)
    }

    /// The emergency number of the country where the caller certainly is, if that is not the one of the number dialed.
    fn number_there(&self, invite: &Invite<'_>, dialed: &Dialed, caller: &Caller, now: Time) -> Option<&'static str> {
        let agent = caller.agent().map(AsRef::as_ref);
        let there = self.whereabouts(invite, agent, now);
        let refuse = dialed.outside && !dialed.service.is_test() && there.is_certain();
        refuse.then(|| there.country().and_then(plan))?.map(Plan::usual)
    }

    fn whereabouts(&self, invite: &Invite<'_>, agent: Option<&Agent>, now: Time) -> Whereabouts {
        let located = agent.and_then(|agent| self.positions.country_of(&agent.id, now));
        Whereabouts::of(&self.site, invite.origin, invite.called.country, agent).located(located)
    }

    fn refuse_abroad(&mut self, invite: &Invite<'_>, dialed: &Dialed, caller: &Caller, number: &'static str, now: Time) {
        self.out.call(CallEffect::RefuseAbroad { call: invite.call, number });
        let about =
            About { caller: caller.clone(), time: now, dialed: dialed.canonical, path: "none", test: false, remark: None };
        self.out.side(Side::Notice(Notice::over(&self.site, &about, None, Outcome::Refused, now)));
        self.out.side(Side::Counted { path: about.path, trunk: None, outcome: Outcome::Refused.word() });
        self.out.log("emergency call refused: outside the number's country", invite.call, None);
    }

    fn refuse_loop(&mut self, invite: &Invite<'_>, now: Time) {
        let text = "The emergency call goes in circles";
        self.out.call(CallEffect::Refuse { call: invite.call, status: 483, retry_after: None, text });
        self.loop_until = Some(now + alarms::LOOP_STANDS);
        self.out.alarm("loop", true);
        self.out.log("emergency call refused: it goes in circles", invite.call, None);
    }

    /// Whether From or a P-Asserted-Identity is one of our callback numbers.
    fn is_our_own(&self, evidence: &CallerEvidence<'_>) -> bool {
        let uris = evidence.asserted.iter().copied().chain([evidence.from]);
        uris.filter_map(number_in).any(|n| self.pool.lookup(n).is_some())
    }

    fn then_presence(&mut self, call: &mut EmergencyCall, now: Time) {
        let facts = call.facts_mut();
        if facts.about.test {
            return;
        }
        let agent = facts.about.caller.agent().map(|a| a.id.clone());
        if let Some(side) = agent.and_then(|agent| self.presence.began(&agent, now)) {
            facts.then(side, &mut self.out);
        }
    }

    fn then_notice(&mut self, call: &mut EmergencyCall) {
        let facts = call.facts_mut();
        let shown = self.leases.latest_number(facts.record);
        facts.then(Side::Notice(Notice::made(&self.site, &facts.about, shown)), &mut self.out);
        facts.then(Side::Log { event: "emergency call placed", call: facts.call, trunk: None }, &mut self.out);
    }

    fn then_alarm_loop(&mut self, call: &mut EmergencyCall, looping: bool, now: Time) {
        if looping {
            self.loop_until = Some(now + alarms::LOOP_STANDS);
            let news = self.out.alarm_news("loop", true);
            news.into_iter().for_each(|side| call.facts_mut().then(side, &mut self.out));
        }
    }

    /// Something happened to a running call; to one that is over it makes no difference.
    fn event(&mut self, id: CallId, event: CallEvent, now: Time) {
        let Some(running) = self.calls.remove(&id) else {
            return call::give_up_late(id, event, &mut self.out);
        };
        if let Some(at) = running.timer {
            self.timers.remove(&(at, id));
        }
        let kind = match running.kind {
            Kind::Emergency(call) => Kind::Emergency(call.handle(event, &mut self.world(now))),
            Kind::Callback(call) => Kind::Callback(call.handle(event, &mut self.out, now)),
        };
        self.keep(id, kind, running.since, now);
    }

    /// Keeps a call until its next event, or settles it if it has ended.
    fn keep(&mut self, id: CallId, kind: Kind, since: Time, now: Time) {
        let timer = match &kind {
            Kind::Emergency(EmergencyCall::Ended(ended)) => return self.settle(ended, now),
            Kind::Callback(CallbackCall::Ended(ended)) => return self.settle_callback(ended, now),
            Kind::Emergency(call) => call.deadline(&self.site, now),
            Kind::Callback(call) => call.deadline(),
        };
        if let Some(at) = timer {
            self.timers.insert((at, id));
        }
        self.calls.insert(id, Running { since, timer, kind });
    }

    /// An emergency call is over: its lease runs on, presence comes back, the contacts are told.
    fn settle(&mut self, ended: &call::Ended, now: Time) {
        let (facts, word) = (&ended.facts, ended.outcome.word());
        self.silent.remove(&facts.call);
        self.leases.leg_down(&self.site, &self.pool, facts.record, now);
        self.agent_is_free(facts.record, now);
        if !facts.about.test && self.out.is_raised("call_not_connected") {
            let stands = ended.outcome == Outcome::NotConnected;
            self.not_connected_until = if stands { Some(now + alarms::NOT_CONNECTED_STANDS) } else { self.not_connected_until };
        }
        let over = match (ended.outcome, ended.by) {
            (Outcome::NotConnected, _) => Some(Over::NotConnected),
            (Outcome::Dropped, EndedBy::Trunk) => Some(Over::Dropped),
            _ => None,
        };
        self.leases.set_over(facts.record, over);
        if !facts.about.test {
            self.end_presence(facts.about.caller.agent().map(|a| a.id.clone()), ended.by, now);
            self.out.side(Side::Counted { path: facts.about.path, trunk: ended.trunk, outcome: word });
        }
        let notice = Notice::over(&self.site, &facts.about, facts.shown, ended.outcome, now);
        self.out.side(Side::Notice(notice.with_location(facts.location.as_ref())));
        self.out.log(word, facts.call, ended.trunk);
    }

    /// Callbacks that found her on this call try her again (RULES C3).
    fn agent_is_free(&mut self, record: RecordId, now: Time) {
        let is_for_her = |kind: &Kind| matches!(kind, Kind::Callback(c) if c.is_for(record));
        let waiting: Vec<_> = self.calls.iter().filter(|(_, r)| is_for_her(&r.kind)).map(|(id, _)| *id).collect();
        waiting.into_iter().for_each(|id| self.event(id, CallEvent::AgentFree, now));
    }

    fn settle_callback(&mut self, ended: &ringing::Ended, now: Time) {
        let called = &ended.called;
        self.silent.remove(&called.call);
        if called.tier < Tier::T2
            && let Some(first) = called.records.first()
        {
            self.leases.plain_callback_ended(*first, called.number);
        }
        for &id in &called.records {
            if ended.outcome == Outcome::NotConnected
                && let Some(record) = self.leases.get(id)
            {
                let notice = Notice::called_back(&self.site, &record.about(), called.number, Outcome::NotConnected, now);
                self.out.side(Side::Notice(notice));
            }
            self.leases.leg_down(&self.site, &self.pool, id, now);
            self.leases.set_over(id, (ended.by == EndedBy::Trunk).then_some(Over::Dropped));
            self.end_presence(self.agent_id(id), ended.by, now);
        }
        self.out.side(Side::CallbackCounted { tier: called.tier.word(), outcome: ended.outcome.word() });
        self.out.log(ended.outcome.word(), called.call, None);
    }

    fn end_presence(&mut self, agent: Option<Private<String>>, by: EndedBy, now: Time) {
        let restored = agent.and_then(|agent| self.presence.ended(&agent, by, self.site.presence_hold, now));
        restored.into_iter().for_each(|side| self.out.side(side));
    }

    fn health(&mut self, trunk: TrunkId, up: bool) {
        if self.health.set(trunk, up) {
            self.out.alarm("trunk_down", !self.health.all_up());
            self.out.alarm("no_trunk", self.site.trunk_ids().all(|(id, _)| !self.health.is_up(id)));
        }
    }

    /// A device is there: callbacks of its agent that are still ringing ring it as well (RULES C4).
    fn registered(&mut self, agent: AgentId, device: DeviceId, now: Time) {
        let Some(agent) = self.site.agents.get(agent.0 as usize).map(|a| a.id.clone()) else { return };
        self.devices.add(&agent, device);
        let is_for_her = |running: &Running| match &running.kind {
            Kind::Callback(call) => call.records().iter().any(|id| self.agent_id(*id).as_ref() == Some(&agent)),
            Kind::Emergency(_) => false,
        };
        let calls: Vec<_> = self.calls.iter().filter(|(_, running)| is_for_her(running)).map(|(id, _)| *id).collect();
        for call in calls {
            self.event(call, CallEvent::Device(device), now);
        }
    }

    fn set_presence(&mut self, agent: AgentId, state: PresenceState, note: &str, now: Time) {
        let Some(agent) = self.site.agents.get(agent.0 as usize) else { return };
        let told = self.presence.set(&agent.id, state, note, now);
        told.into_iter().for_each(|side| self.out.side(side));
    }

    fn set_position(&mut self, agent: AgentId, position: Private<Position>, now: Time) {
        if let Some(agent) = self.site.agents.get(agent.0 as usize) {
            self.positions.set(&agent.id, position, now);
        }
    }

    fn dismiss_hold(&mut self, agent: AgentId) {
        let Some(agent) = self.site.agents.get(agent.0 as usize) else { return };
        let told = self.presence.dismiss(&agent.id);
        if let Some((id, _)) = self.leases.real_of(agent.id.reveal()) {
            self.leases.set_over(id, None);
        }
        told.into_iter().for_each(|side| self.out.side(side));
    }

    /// Whatever time asks for: calls first.
    fn due(&mut self, now: Time) {
        while let Some(&(at, id)) = self.timers.first()
            && at <= now
        {
            self.event(id, CallEvent::Tick, now);
            if self.timers.contains(&(at, id)) {
                // A timer that asks for the same moment again would never let go.
                break;
            }
        }
        self.clear_alarms(now);
        while let Some(side) = self.presence.back(now) {
            self.out.side(side);
        }
        self.leases.expire(&self.site, &self.pool, now, EXPIRIES_AT_ONCE);
        self.look_for_free_numbers(now);
        self.write_down(now);
    }

    fn next_due(&self) -> Option<Time> {
        let calls = self.timers.first().map(|(at, _)| *at);
        [calls, self.presence.next_due(), self.leases.next_due(), self.next_alarm()].into_iter().flatten().min()
    }

    fn agent_id(&self, id: RecordId) -> Option<Private<String>> {
        self.leases.get(id)?.caller.agent().map(|a| a.id.clone())
    }

    fn world(&mut self, now: Time) -> World<'_> {
        World { site: &self.site, pool: &self.pool, leases: &mut self.leases, out: &mut self.out, now }
    }
}

/// What others ask.
impl Gateway {
    /// The numbers.
    pub fn pool(&self) -> Arc<Pool> {
        Arc::clone(&self.pool)
    }

    /// The configuration.
    pub fn site(&self) -> &Arc<Site> {
        &self.site
    }

    /// Whether the story must see an INVITE: see [`Lane`].
    pub fn concerns(&self, origin: Origin, called: &Called<'_>) -> bool {
        self.lane.concerns(origin, called)
    }

    /// The same question for other threads; a reload brings a new one.
    pub fn lane(&self) -> Arc<Lane> {
        Arc::clone(&self.lane)
    }

    /// Takes a new configuration. Open leases keep their numbers to the end (RULES L9), calls go on. The neighbours
    /// that are in both must have the same ids in both: see [`Site::keep_places`]. `lookups` are this site's.
    pub fn reload(&mut self, site: Arc<Site>, lookups: Arc<Lookups>) -> Result<(), PoolError> {
        if site.shelves == self.site.shelves {
            // The pool is what takes long where there are many leases.
            self.lane = Arc::new(self.lane.with(Arc::clone(&site), Arc::clone(&lookups)));
            (self.site, self.lookups) = (site, lookups);
            return Ok(());
        }
        let mut pool = pool_of(&site)?;
        self.leases.move_to(&mut pool);
        (self.site, self.lookups) = (site, lookups);
        self.take_pool(pool);
        Ok(())
    }

    /// The pool with the leases' numbers in their places.
    fn take_pool(&mut self, pool: Pool) {
        self.pool = Arc::new(pool);
        let (site, lookups, pool) = (Arc::clone(&self.site), Arc::clone(&self.lookups), Arc::clone(&self.pool));
        self.lane = Arc::new(Lane::new(site, lookups, pool, self.leases.numbers()));
    }
}

fn pool_of(site: &Site) -> Result<Pool, PoolError> {
    let shelves: Vec<_> = site.shelves.iter().map(|s| s.numbers.clone()).collect();
    Pool::new(&shelves)
}

fn about(caller: &Caller, dialed: &Dialed, decision: &path::Decision, now: Time) -> About {
    About {
        caller: caller.clone(),
        time: now,
        dialed: dialed.canonical,
        path: decision.path.word(),
        test: dialed.service.is_test(),
        remark: None,
    }
}

const fn our_own_call(call: CallId) -> CallEffect {
    CallEffect::Refuse { call, status: 482, retry_after: None, text: "Our own emergency call came back" }
}

/// The trunk that a call comes from, whatever else its neighbour is.
const fn trunk_of(origin: Origin) -> Option<TrunkId> {
    match origin {
        Origin::Trunk(trunk) | Origin::Both(_, trunk) => Some(trunk),
        Origin::Peer(_) | Origin::Agent(_) | Origin::Stranger => None,
    }
}

/// The trunk that must not get the call back. A neighbour that is a peer as well may be the only way out.
const fn trunk_alone(origin: Origin) -> Option<TrunkId> {
    match origin {
        Origin::Trunk(trunk) => Some(trunk),
        Origin::Peer(_) | Origin::Both(..) | Origin::Agent(_) | Origin::Stranger => None,
    }
}

//! A small configured world, and a bridge that does what it is told and remembers it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use regex::Regex;

use super::super::facts::*;
use super::super::gateway::Gateway;
use super::super::lookups::Lookups;
use super::super::notice::{Kind, recipients};
use super::super::number::Numbers;
use super::super::site::*;
use crate::pool::PoolError;
use crate::words::{Country, E164, Private, Row, Saved, Time};

pub(in super::super) fn number(text: &str) -> E164 {
    E164::parse(text).unwrap_or_else(|| panic!("{text} is a number"))
}

/// `count` numbers from `+1425555<first>` on.
pub(in super::super) fn numbers(first: u64, count: u64) -> Vec<E164> {
    (first..first + count).map(|n| number(&format!("+1425555{n:04}"))).collect()
}

pub(in super::super) fn trunk(name: &str, path: Path) -> Trunk {
    Trunk {
        name: name.into(),
        path,
        trust_marks: false,
        fallback_number: None,
        default_number: None,
        routes_to_us: Vec::new(),
        numbers: Vec::new(),
        emergency_target: EmergencyTarget::Number,
        secure: false,
        adds_location: false,
        gone: false,
    }
}

pub(in super::super) fn agent(id: &str) -> Agent {
    Agent {
        id: Private::new(id.to_owned()),
        name: Private::new(id.to_uppercase()),
        identity: vec![Private::new(id.to_owned())],
        peer: None,
        devices: vec![Private::new(format!("sip:{id}@10.0.0.9"))],
        alternates: Vec::new(),
        number: None,
        country: None,
        site: None,
        language: None,
        caller_id: None,
        contacts: recipients(&["lead@example.com"]),
        location: None,
    }
}

/// One PBX, trunks `a` and `b` with ten numbers each and a route to both, agents `ada` and `bob`, a desk.
pub(crate) fn site() -> Site {
    let us = Country::parse("US");
    let shelf = |trunk, first| Shelf { trunk: TrunkId(trunk), site: None, numbers: numbers(first, 10) };
    Site {
        country: us,
        peers: vec![Peer { name: "pbx".into(), country: us, site: None, identity_from: Vec::new(), desk: None }],
        trunks: vec![trunk("a", Path::DirectRouting), trunk("b", Path::DirectRouting)],
        agents: vec![Arc::new(agent("ada")), Arc::new(agent("bob"))],
        routes: vec![route("local-emergency", r"^\+?911$", &[0, 1])],
        shelves: vec![shelf(0, 100), shelf(1, 200)],
        numbers: Numbers::new(&us.into_iter().collect::<Vec<_>>(), &["9".to_owned()], &BTreeMap::new()).expect("a number plan"),
        profile: Profile::Emergency,
        inbound: Some(PeerId(0)),
        contingency: None,
        placing: PlacingTimes::default(),
        may_downgrade: true,
        callback: CallbackTimes { desk: Some(Private::new("sip:desk@10.0.0.5".to_owned())), ..CallbackTimes::default() },
        presence_hold: Duration::from_secs(120),
        site_contacts: recipients(&["security@example.com"]),
        test_contacts: recipients(&["it@example.com"]),
    }
}

pub(in super::super) fn route(name: &str, pattern: &str, trunks: &[u16]) -> VoiceRoute {
    VoiceRoute {
        name: name.into(),
        pattern: Regex::new(pattern).expect("a pattern"),
        trunks: trunks.iter().copied().map(TrunkId).collect(),
        emergency: true,
    }
}

pub(in super::super) const PBX: Origin = Origin::Peer(PeerId(0));
pub(in super::super) const TRUNK_A: Origin = Origin::Trunk(TrunkId(0));

/// What was saved, by a process that ended so.
pub(in super::super) fn stopped(mut saved: Saved, same_boot: bool, clean: bool) -> Saved {
    (saved.same_boot, saved.clean) = (same_boot, clean);
    saved
}

/// The gateway with a clock, and everything that it has decided.
pub(in super::super) struct World {
    pub(in super::super) gateway: Gateway,
    pub(in super::super) now: Time,
    /// Everything decided, as short words.
    pub(in super::super) seen: Vec<String>,
    /// The same as it came.
    pub(in super::super) outputs: Vec<Output>,
    /// A store that says at once that a record is durable.
    pub(in super::super) store_works: bool,
    /// What the store has acknowledged, in order; not told among the words.
    pub(in super::super) kept: Vec<Row>,
    /// INVITEs come with Max-Forwards 0.
    pub(in super::super) hops_used_up: bool,
    next: Option<Time>,
    calls: u64,
}

impl World {
    /// Takes a new configuration.
    pub(in super::super) fn reload(&mut self, site: Site) -> Result<(), PoolError> {
        let lookups = Arc::new(Lookups::new(&site));
        self.gateway.reload(Arc::new(site), lookups)
    }

    pub(in super::super) fn new(site: Site) -> Self {
        let lookups = Arc::new(Lookups::new(&site));
        let gateway = Gateway::new(Arc::new(site), lookups).expect("every number once");
        let now = Time::ZERO + Duration::from_secs(1000);
        Self {
            gateway,
            now,
            seen: Vec::new(),
            outputs: Vec::new(),
            store_works: true,
            kept: Vec::new(),
            hops_used_up: false,
            next: None,
            calls: 0,
        }
    }

    /// The same at another time.
    pub(in super::super) fn at(site: Site, now: Time) -> Self {
        let mut world = Self::new(site);
        world.now = now;
        world
    }

    /// `user` at the PBX dials.
    pub(in super::super) fn dial(&mut self, user: &str, uri: &str) -> CallId {
        let from = format!("sip:{user}@10.0.0.5");
        let caller = CallerEvidence { asserted: &[], from: from.as_bytes(), contact: from.as_bytes() };
        self.invite(PBX, uri, caller, Marks::default(), Body::Sdp)
    }

    /// Somebody in the telephone network dials a number of ours.
    pub(in super::super) fn call_back(&mut self, number: E164, psap: bool) -> CallId {
        let caller = CallerEvidence { asserted: &[], from: b"sip:+12065559111@psap", contact: b"sip:psap@192.0.2.9" };
        let uri = format!("sip:{number}@gw.example.com");
        self.invite(TRUNK_A, &uri, caller, Marks { psap_callback: psap, esnet: false }, Body::Sdp)
    }

    pub(in super::super) fn invite(
        &mut self,
        origin: Origin,
        uri: &str,
        caller: CallerEvidence<'_>,
        marks: Marks,
        body: Body,
    ) -> CallId {
        self.calls += 1;
        let call = CallId(self.calls);
        let called = Called { request_uri: uri.as_bytes(), others: &[], country: None };
        let hops_used_up = self.hops_used_up;
        self.input(Input::Invite(Invite { call, origin, called, caller, marks, body, hops_used_up, location: None }));
        call
    }

    pub(in super::super) fn leg(&mut self, call: CallId, leg: u16, event: LegEvent) {
        self.input(Input::Leg { call, leg: LegId(leg), event });
    }

    pub(in super::super) fn refuse(&mut self, call: CallId, leg: u16, status: u16) {
        self.leg(call, leg, LegEvent::Refused { status });
    }

    pub(in super::super) fn rings(&mut self, call: CallId, leg: u16) {
        self.leg(call, leg, LegEvent::Progress { status: 180, sdp: false });
    }

    pub(in super::super) fn input(&mut self, input: Input<'_>) {
        self.gateway.handle(input, self.now);
        self.drain();
    }

    /// Time passes; the gateway is woken exactly when it asked to be.
    pub(in super::super) fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..10_000 {
            let Some(at) = self.next.filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            assert!(at >= self.now, "a time that is over cannot be waited for");
            self.now = at;
            self.input(Input::Tick);
        }
        panic!("the gateway never stops asking for time");
    }

    pub(in super::super) fn wait_ms(&mut self, ms: u64) {
        self.wait(Duration::from_millis(ms));
    }

    /// Everything since the last time, log lines and counters left out.
    pub(in super::super) fn heard(&mut self) -> Vec<String> {
        let all = std::mem::take(&mut self.seen);
        all.into_iter().filter(|w| !w.starts_with("log ") && !w.starts_with("count ")).collect()
    }

    /// What happened on the wire since the last time.
    pub(in super::super) fn wire(&mut self) -> Vec<String> {
        let beside = ["presence", "notice", "alarm", "commit"];
        self.heard().into_iter().filter(|w| !beside.iter().any(|b| w.starts_with(b))).collect()
    }

    /// The number that the last INVITE showed.
    pub(in super::super) fn shown(&self) -> E164 {
        let shown = |o: &Output| match o {
            Output::Call(CallEffect::Place { shown, .. }) => Some(*shown.reveal()),
            _ => None,
        };
        self.outputs.iter().rev().find_map(shown).expect("something was placed")
    }

    /// An emergency call of this user that is answered and ended by her; gives its number.
    pub(in super::super) fn short_call(&mut self, user: &str) -> E164 {
        let call = self.dial(user, "sip:911@gw");
        let number = self.shown();
        self.leg(call, 0, LegEvent::Answered);
        self.input(Input::Ended { call, by: Party::Caller });
        number
    }

    /// The first `rows` rows that were written, as a store gives them back; all of them for `usize::MAX`.
    pub(in super::super) fn saved(&self, rows: usize) -> Saved {
        let mut disk = BTreeMap::new();
        for row in self.kept.iter().take(rows) {
            let key = (row.table, row.key.reveal().clone());
            match &row.value {
                Some(value) => disk.insert(key, value.reveal().clone()),
                None => disk.remove(&key),
            };
        }
        let mut saved = stopped(Saved::default(), true, false);
        disk.into_iter().for_each(|((table, key), value)| saved.add(table, key, value));
        saved
    }

    /// The process dies and another one begins with what was saved. Nobody hears of what was not polled.
    pub(in super::super) fn restart(&mut self, saved: &Saved) {
        let site = Arc::clone(self.gateway.site());
        let lookups = Arc::new(Lookups::new(&site));
        self.gateway = Gateway::new(site, lookups).expect("every number once");
        self.gateway.restore(saved, self.now);
        self.drain();
    }

    pub(in super::super) fn kill(&mut self) {
        let saved = self.saved(usize::MAX);
        self.restart(&saved);
    }

    fn drain(&mut self) {
        loop {
            match self.gateway.poll() {
                Output::Timeout(next) => {
                    self.next = next;
                    return;
                }
                Output::Side(Side::Keep(row)) => self.kept.extend(self.store_works.then_some(row)),
                output => {
                    self.seen.push(word(&output));
                    self.outputs.push(output.clone());
                    if let (Output::Call(CallEffect::Commit { call, lease }), true) = (output, self.store_works) {
                        self.kept.push(lease);
                        self.gateway.handle(Input::Committed { call }, self.now);
                    }
                }
            }
        }
    }
}

/// One decision in a few words: `place 0 a 911`, `ring 1 sip:desk@…`, `give up 0 AnotherTrunk`.
fn word(output: &Output) -> String {
    match output {
        Output::Call(effect) => effect_word(effect),
        Output::Side(side) => side_word(side),
        Output::Timeout(_) => String::new(),
    }
}

fn effect_word(effect: &CallEffect) -> String {
    match effect {
        CallEffect::Commit { .. } => "commit".into(),
        CallEffect::Ordinary { .. } => "ordinary".into(),
        CallEffect::Place { leg, trunk, target, body, .. } => {
            let target = match target {
                Target::Number(n) => n.reveal().clone(),
                Target::Urn(urn) => urn.clone(),
                Target::Contingency(n) => n.reveal().to_string(),
            };
            let body = if *body == BodyForm::SdpAlone { " sdp" } else { "" };
            format!("place {} {} {target}{body}", leg.0, ["a", "b", "c", "d"][usize::from(trunk.0)])
        }
        CallEffect::Ring { leg, device, .. } => match device {
            Device::Uri(uri) => format!("ring {} {}", leg.0, uri.reveal()),
            Device::Registered(device) => format!("ring {} device {}", leg.0, device.0),
            Device::AtPeer(peer, user) => format!("ring {} peer {} {}", leg.0, peer.0, user.reveal()),
        },
        CallEffect::FreeLine { agent, .. } => format!("free {}", agent.reveal()),
        CallEffect::GiveUp { leg, because, .. } => format!("give up {} {because:?}", leg.0),
        CallEffect::Progress { leg, .. } => format!("progress {}", leg.0),
        CallEffect::Ringing { .. } => "180".into(),
        CallEffect::Connect { leg, .. } => format!("connect {}", leg.0),
        CallEffect::ReadBack { leg, number, path, language, .. } => {
            format!("read back {} {} {path} {}", leg.0, number.reveal(), language.as_deref().unwrap_or("-"))
        }
        CallEffect::RefuseAbroad { number, .. } => format!("refuse 403 dial {number}"),
        CallEffect::Refuse { status, retry_after, .. } => match retry_after {
            Some(_) => format!("refuse {status} later"),
            None => format!("refuse {status}"),
        },
    }
}

fn side_word(side: &Side) -> String {
    match side {
        Side::Keep(row) => format!("{row:?}"),
        Side::Presence { agent, dnd, again, .. } => {
            let again = if *again { " again" } else { "" };
            format!("presence {} {}{again}", agent.reveal(), if *dnd { "dnd" } else { "back" })
        }
        Side::Notice(n) => {
            let kind = match n.kind {
                Kind::Emergency => "emergency",
                Kind::Outcome => "outcome",
                Kind::Test => "test",
                Kind::Callback => "callback",
            };
            let outcome = n.outcome.map_or(String::new(), |o| format!(" {}", o.word()));
            format!("notice {kind}{outcome} to {}", n.contacts.reveal().join(","))
        }
        Side::Alarm { name, raised } => format!("alarm {name} {}", if *raised { "raised" } else { "cleared" }),
        Side::Counted { path, outcome, .. } => format!("count {path} {outcome}"),
        Side::CallbackCounted { tier, outcome } => format!("count {tier} {outcome}"),
        Side::Log { event, .. } => format!("log {event}"),
    }
}

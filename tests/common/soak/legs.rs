//! The callees' side: PSAPs behind the trunks, phones behind the PBX, the desk, and whoever takes ordinary calls.

use std::net::SocketAddr;

use super::book::Shown;
use super::plan::{Fate, Kind, Plan};
use super::wire::{Seen, sdp, uri, user, with_body};
use super::{Crew, Due, Place, T1, T2, TIMEOUT, Trunk};

/// A call as its callee sees it.
pub(super) struct Leg {
    /// The call's id: the session in the offer.
    id: u32,
    plan: Plan,
    at: Place,
    state: State,
    /// Call-ID.
    name: String,
    /// Via and CSeq of the INVITE.
    key: String,
    /// The final response that is due when it has rung.
    answer: String,
    /// What is sent again.
    last: String,
    /// Of a BYE of ours: From, To, Request-URI.
    own: (String, String, String),
    since: u64,
    /// When something is due; anything else is out of date.
    next: u64,
    wait: u64,
    /// A kill may have cut it off.
    cut: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ringing,
    /// 2xx was sent, its ACK is awaited.
    Answered,
    Up,
    /// A refusal was sent, its ACK is awaited.
    Refused,
    /// A BYE of ours was sent.
    Ending,
    Over,
}

/// How long after it is over a leg still answers repeats.
const REMEMBERED: u64 = 12_000_000;
/// How long after the caller should have hung up the callee does.
const FORGOTTEN: u64 = 45_000_000;

impl Leg {
    pub(super) fn is_over(&self) -> bool {
        self.state == State::Over
    }
}

impl Crew {
    /// A request of the gateway's to a callee.
    pub(super) fn take_request_to_callee(&mut self, place: Place, seen: &Seen<'_>) {
        let here = self.at(place);
        let known = self.leg_of.get(seen.call_id).copied();
        match (seen.method(), known) {
            ("INVITE", Some(leg)) => {
                if let Some(leg) = self.legs.get(&leg).filter(|leg| leg.key == key(seen)) {
                    self.send(place, &leg.last);
                }
            }
            ("INVITE", None) => self.rings(place, seen),
            ("ACK", Some(leg)) => self.leg_acknowledged(leg),
            ("ACK", None) => {}
            ("CANCEL", Some(leg)) => {
                self.send(place, &seen.answered("200 OK", "t", here));
                self.leg_cancelled(leg);
            }
            ("BYE", Some(leg)) => {
                self.send(place, &seen.answered("200 OK", "t", here));
                self.leg_is_over(leg);
            }
            ("OPTIONS", _) => self.send(place, &seen.answered("200 OK", "t", here)),
            _ => self.send(place, &seen.answered("481 Call/Transaction Does Not Exist", "t", here)),
        }
    }

    fn rings(&mut self, place: Place, seen: &Seen<'_>) {
        let here = self.at(place);
        let Some(id) = seen.session() else {
            self.tally.note(|| "an INVITE without a session".to_owned());
            return self.send(place, &seen.answered("488 Not Acceptable Here", "t", here));
        };
        let n = self.next_leg;
        self.next_leg += 1;
        let plan = self.plan_of(id);
        let tag = format!("t{n}");
        let refusal = self.refusal(place, id, plan);
        if plan.kind == Kind::Emergency && refusal.is_none() {
            self.is_shown(place, id, seen);
        }
        if plan.kind == Kind::Callback {
            self.is_called_back(place, id, seen);
        }
        let answer = with_body(&seen.answered("200 OK", &tag, here), &sdp(id, here));
        let last = seen.answered(refusal.unwrap_or("180 Ringing"), &tag, here);
        self.send(place, &last);
        let to = if seen.to.contains(";tag=") { seen.to.to_owned() } else { format!("{};tag={tag}", seen.to) };
        let own = (to, seen.from.to_owned(), seen.target().to_owned());
        let state = if refusal.is_some() { State::Refused } else { State::Ringing };
        let (name, since) = (seen.call_id.to_owned(), self.now());
        self.leg_of.insert(name.clone(), n);
        let leg =
            Leg { id, plan, at: place, state, name, key: key(seen), answer, last, own, since, next: 0, wait: T1, cut: false };
        self.legs.insert(n, leg);
        // Whoever wants to give up first has to be let.
        let rings = if plan.fate == Fate::Cancelled { TIMEOUT } else { plan.rings };
        self.leg_again(n, if refusal.is_some() { T1 } else { rings });
    }

    fn plan_of(&self, id: u32) -> Plan {
        // Where nobody could be called back an ordinary call was made of it.
        self.calls.get(&id).map_or_else(|| Plan::of(id / 2), super::calls::Call::plan)
    }

    /// What it is refused with, if it is.
    fn refusal(&mut self, place: Place, id: u32, plan: Plan) -> Option<&'static str> {
        let down = place == Place::TrunkA && self.trunk != Trunk::Up;
        if down && plan.kind == Kind::Emergency {
            return Some("503 Service Unavailable");
        }
        match (plan.kind, plan.fate) {
            (Kind::Emergency, Fate::Refused) if place == Place::TrunkA => Some("503 Service Unavailable"),
            (Kind::Emergency, Fate::SecondRound) => {
                let times = self.refused.entry(id / 2).or_default();
                *times += 1;
                let first_round = if self.trunk == Trunk::Up { 2 } else { 1 };
                (*times <= first_round).then_some("486 Busy Here")
            }
            (Kind::Callback, Fate::Refused) if place == Place::Pbx => Some("486 Busy Here"),
            (Kind::Ordinary, Fate::Refused) => Some("486 Busy Here"),
            _ => None,
        }
    }

    /// A PSAP sees a number.
    fn is_shown(&mut self, place: Place, id: u32, seen: &Seen<'_>) {
        let number = user(uri(seen.from)).trim_start_matches('+').parse().unwrap_or(0);
        let Some(person) = self.calls.get(&id).and_then(super::calls::Call::person) else { return };
        let (shown, phase) = (self.book.shown(person, usize::from(place == Place::TrunkB), number), self.phase);
        match shown {
            Shown::Hers => return,
            Shown::Another => self.tally.renumbered += 1,
            Shown::SomebodyElses => self.tally.shared += 1,
        }
        self.tally.note(|| format!("{phase}: {id} was shown by {shown:?}"));
    }

    /// A phone rings, or the desk.
    fn is_called_back(&mut self, place: Place, id: u32, seen: &Seen<'_>) {
        let Some(call) = self.calls.get(&id) else { return };
        let number = user(uri(seen.to)).trim_start_matches('+').parse().unwrap_or(0);
        let (hers, refused) = (call.person().is_some_and(|p| self.book.is_hers(p, number)), call.plan().fate == Fate::Refused);
        let rung = seen.dialed().strip_prefix('u').and_then(|n| n.parse().ok());
        let (phase, after) = (self.phase, (self.now() - call.began()) / 1000);
        let person = call.person();
        match place {
            Place::Pbx if rung != person || !hers => {
                self.tally.misdirected += 1;
                self.tally.note(|| format!("{phase}: callback {id} rang somebody else"));
            }
            Place::Desk if !refused => {
                self.tally.desk += 1;
                self.tally.note(|| format!("{phase}: callback {id} rang the desk after {after} ms"));
            }
            _ => {}
        }
    }

    fn leg_acknowledged(&mut self, n: u32) {
        let Some(leg) = self.legs.get_mut(&n) else { return };
        match leg.state {
            State::Refused => self.leg_is_over(n),
            State::Answered => {
                leg.state = State::Up;
                let talks = leg.plan.talks;
                let wait = if leg.plan.fate == Fate::Dropped { talks } else { talks + FORGOTTEN };
                self.leg_again(n, wait);
            }
            _ => {}
        }
    }

    fn leg_cancelled(&mut self, n: u32) {
        let Some(leg) = self.legs.get_mut(&n).filter(|leg| leg.state == State::Ringing) else { return };
        leg.state = State::Refused;
        leg.last = leg.last.replacen("180 Ringing", "487 Request Terminated", 1);
        leg.wait = T1;
        let (at, since) = (leg.at, self.now());
        self.send(at, &self.legs[&n].last);
        if let Some(leg) = self.legs.get_mut(&n) {
            leg.since = since;
        }
        self.leg_again(n, T1);
    }

    /// A response to a BYE of a callee's.
    pub(super) fn take_response_to_callee(&mut self, seen: &Seen<'_>) {
        if seen.method() != "BYE" || seen.status() < 200 {
            return;
        }
        let Some(n) = self.leg_of.get(seen.call_id).copied() else { return };
        let Some(leg) = self.legs.get(&n).filter(|leg| leg.state == State::Ending) else { return };
        if seen.status() != 200 && !leg.cut {
            let (kind, phase, status, id) = (leg.plan.kind, self.phase, seen.status(), leg.id);
            self.tally.of_mut(kind).bad_ends += 1;
            self.tally.note(|| format!("{phase}: the callee's BYE of {kind:?} {id} got {status}"));
        }
        self.leg_is_over(n);
    }

    fn leg_is_over(&mut self, n: u32) {
        let Some(leg) = self.legs.get_mut(&n).filter(|leg| leg.state != State::Over) else { return };
        leg.state = State::Over;
        (leg.answer, leg.own) = Default::default();
        self.leg_again(n, REMEMBERED);
    }

    fn leg_again(&mut self, n: u32, wait: u64) {
        let at = self.later(wait, Due::Leg(n));
        if let Some(leg) = self.legs.get_mut(&n) {
            leg.next = at;
        }
    }

    pub(super) fn leg_on_time(&mut self, n: u32, at: u64) {
        let Some(here) = self.legs.get(&n).map(|leg| self.at(leg.at)) else { return };
        let Some(leg) = self.legs.get_mut(&n).filter(|leg| leg.next == at) else { return };
        let place = leg.at;
        match leg.state {
            State::Ringing => {
                (leg.state, leg.wait, leg.since) = (State::Answered, T1, at);
                leg.last = std::mem::take(&mut leg.answer);
            }
            State::Up => {
                (leg.state, leg.wait, leg.since) = (State::Ending, T1, at);
                leg.last = bye(n, leg, here);
                if leg.plan.fate != Fate::Dropped && !leg.cut {
                    let (kind, id, fate, phase) = (leg.plan.kind, leg.id, leg.plan.fate, self.phase);
                    self.tally.of_mut(kind).bad_ends += 1;
                    self.tally.note(|| format!("{phase}: {kind:?} {id} ({fate:?}) was left up at the callee's"));
                }
            }
            State::Answered | State::Refused | State::Ending if at > leg.since + TIMEOUT => {
                let (kind, id, state, phase) = (leg.plan.kind, leg.id, leg.state, self.phase);
                if !leg.cut {
                    self.tally.of_mut(kind).bad_ends += 1;
                    self.tally.note(|| format!("{phase}: leg of {kind:?} {id}: nobody answers in {state:?}"));
                }
                return self.leg_is_over(n);
            }
            State::Answered | State::Refused | State::Ending => leg.wait = (leg.wait * 2).min(T2),
            State::Over => {
                if let Some(leg) = self.legs.remove(&n) {
                    self.leg_of.remove(&leg.name);
                }
                return;
            }
        }
        let wait = self.legs[&n].wait;
        self.send(place, &self.legs[&n].last);
        self.leg_again(n, wait);
    }

    /// What was not up for so long may be lost.
    pub(super) fn legs_are_cut(&mut self, since: u64) {
        for leg in self.legs.values_mut() {
            leg.cut |= leg.state != State::Up || leg.since > since;
        }
    }

    pub(super) fn ordinary_legs_are_cut(&mut self) {
        for leg in self.legs.values_mut() {
            leg.cut |= leg.plan.kind == Kind::Ordinary && leg.state != State::Up;
        }
    }
}

fn key(seen: &Seen<'_>) -> String {
    format!("{} {}", seen.via, seen.cseq)
}

fn bye(n: u32, leg: &Leg, here: SocketAddr) -> String {
    let (from, to, target) = &leg.own;
    format!(
        "BYE {target} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bKleg{n}\r\nMax-Forwards: 70\r\nFrom: {from}\r\n\
         To: {to}\r\nCall-ID: {}\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n",
        leg.name
    )
}

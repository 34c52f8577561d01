//! The callers' side: client transactions of INVITE, CANCEL and BYE, and when somebody has had enough.

use super::plan::{Fate, Kind, Plan};
use super::wire::{Seen, sdp, uri};
use super::{Crew, DURABLE, Due, PATIENCE, Place, T1, T2, TIMEOUT};

/// A call as its caller sees it.
pub(super) struct Call {
    plan: Plan,
    person: Option<u32>,
    /// Of a callback: the number, a space, and the mark's header.
    called: String,
    from: Place,
    state: State,
    began: u64,
    /// When something is sent again; anything else that is due is out of date.
    next: u64,
    wait: u64,
    until: u64,
    to: String,
    target: String,
    heard: bool,
    rang: bool,
    answered: Option<u64>,
    /// A kill has cut it off, or may have.
    cut: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Of the INVITE, something final is awaited.
    Calling,
    /// So it is, but she has hung up; whether the CANCEL is answered.
    Cancelling(bool),
    /// Up.
    Up,
    /// BYE was sent.
    Ending,
}

impl Call {
    pub(super) fn plan(&self) -> Plan {
        self.plan
    }

    pub(super) fn person(&self) -> Option<u32> {
        self.person
    }

    pub(super) fn began(&self) -> u64 {
        self.began
    }
}

impl Crew {
    /// Begins a call.
    pub(super) fn dial(&mut self, id: u32, plan: Plan, person: Option<u32>, called: String, from: Place) {
        if !is_second(id) {
            self.tally.of_mut(plan.kind).offered += 1;
        }
        person.into_iter().for_each(|person| self.book.is_on_the_phone(person, true));
        let now = self.now();
        let call = Call {
            plan,
            person,
            called,
            from,
            state: State::Calling,
            began: now,
            next: 0,
            wait: T1,
            until: now + TIMEOUT,
            to: String::new(),
            target: String::new(),
            heard: false,
            rang: false,
            answered: None,
            cut: false,
        };
        self.say(id, &call, "INVITE");
        self.calls.insert(id, call);
        self.again(id, T1);
    }

    /// A response to something that a caller sent.
    pub(super) fn take_response_to_caller(&mut self, place: Place, seen: &Seen<'_>) {
        let Some(id) = id_of(seen.call_id) else { return };
        if !self.calls.contains_key(&id) {
            if seen.method() == "INVITE" && seen.status() >= 200 {
                self.send(place, &seen.acknowledged());
            }
            return;
        }
        match (seen.method(), seen.status()) {
            ("INVITE", status @ 100..=199) => self.on_provisional(id, status),
            ("INVITE", 200..=299) => self.on_answer(id, seen),
            ("INVITE", status) => self.on_refusal(id, status, seen),
            // After a kill it is nobody's: there will be no 487.
            ("CANCEL", 300..) if self.calls[&id].cut => self.on_silence(id),
            ("CANCEL", 200..) => {
                if let Some(call) = self.calls.get_mut(&id).filter(|call| matches!(call.state, State::Cancelling(_))) {
                    call.state = State::Cancelling(true);
                }
            }
            ("BYE", status @ 200..) => self.on_end(id, status),
            _ => {}
        }
    }

    fn on_provisional(&mut self, id: u32, status: u16) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.heard = true;
        if status == 100 || call.rang {
            return;
        }
        call.rang = true;
        if call.plan.fate == Fate::Cancelled {
            let rings = call.plan.rings;
            self.later(rings, Due::Enough(id));
        }
    }

    fn on_answer(&mut self, id: u32, seen: &Seen<'_>) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        (call.to, call.target) = (seen.to.to_owned(), seen.target().to_owned());
        (call.heard, call.rang) = (true, true);
        let (before, talks) = (call.state, call.plan.talks);
        let call = &self.calls[&id];
        self.say(id, call, "ACK");
        let now = self.now();
        match before {
            State::Calling => {
                self.is_complete(id, now);
                if let Some(call) = self.calls.get_mut(&id) {
                    (call.state, call.answered, call.next) = (State::Up, Some(now), 0);
                }
                let dropped = self.calls[&id].plan.fate == Fate::Dropped;
                // Whoever is to be hung up on hangs up herself in the end.
                self.later(if dropped { talks + 2 * TIMEOUT } else { talks }, Due::Enough(id));
            }
            State::Cancelling(_) => self.hang_up(id),
            State::Up | State::Ending => {}
        }
    }

    /// It counts as set up.
    fn is_complete(&mut self, id: u32, now: u64) {
        let call = &self.calls[&id];
        let rings = if call.plan.fate == Fate::Cancelled { 0 } else { call.plan.rings };
        let took = (now - call.began).saturating_sub(rings);
        let (kind, fate, phase) = (call.plan.kind, call.plan.fate, self.phase);
        let count = self.tally.of_mut(kind);
        count.complete += 1;
        count.redialed += u64::from(is_second(id));
        if fate != Fate::SecondRound {
            count.took(phase, took);
        }
    }

    fn on_refusal(&mut self, id: u32, status: u16, seen: &Seen<'_>) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.to = seen.to.to_owned();
        let call = &self.calls[&id];
        self.say(id, call, "ACK:refused");
        let (kind, phase) = (call.plan.kind, self.phase);
        let as_planned = kind == Kind::Ordinary && call.plan.fate == Fate::Refused && status == 486;
        let turned_away = kind == Kind::Ordinary && status == 503 && seen.has_retry_after;
        let (cut, rang) = (call.cut, call.rang);
        match call.state {
            State::Calling if as_planned => self.tally.of_mut(kind).complete += 1,
            State::Calling if turned_away => self.tally.of_mut(kind).turned_away += 1,
            State::Calling if cut && kind == Kind::Ordinary => self.tally.of_mut(kind).cut += 1,
            State::Calling => {
                *self.tally.of_mut(kind).failed.entry(status).or_default() += 1;
                let after = self.now() - self.calls[&id].began;
                let fate = self.calls[&id].plan.fate;
                self.tally
                    .note(|| format!("{phase}: {kind:?} {id} ({fate:?}, cut {cut}) got {status} after {} ms", after / 1000));
            }
            // 481: the kill came between.
            State::Cancelling(_) if rang && (status == 487 || cut) => self.tally.of_mut(kind).complete += 1,
            State::Cancelling(_) => {
                *self.tally.of_mut(kind).failed.entry(status).or_default() += 1;
                self.tally.note(|| format!("{phase}: {kind:?} {id} was cancelled and got {status}"));
            }
            State::Up | State::Ending => return,
        }
        self.is_over(id);
    }

    fn on_end(&mut self, id: u32, status: u16) {
        let Some(call) = self.calls.get(&id).filter(|call| call.state == State::Ending) else { return };
        if status != 200 && !call.cut {
            let (kind, fate, phase) = (call.plan.kind, call.plan.fate, self.phase);
            self.tally.of_mut(kind).bad_ends += 1;
            self.tally.note(|| format!("{phase}: BYE of {kind:?} {id} ({fate:?}) got {status}"));
        }
        self.is_over(id);
    }

    fn is_over(&mut self, id: u32) {
        let Some(call) = self.calls.remove(&id) else { return };
        self.refused.remove(&(id / 2));
        call.person.into_iter().for_each(|person| self.book.is_on_the_phone(person, false));
    }

    /// The gateway asks something in a caller's dialog.
    pub(super) fn take_request_to_caller(&mut self, place: Place, seen: &Seen<'_>) {
        if seen.method() == "ACK" {
            return;
        }
        let known = id_of(seen.call_id).filter(|id| self.calls.contains_key(id));
        let status = if known.is_some() { "200 OK" } else { "481 Call/Transaction Does Not Exist" };
        self.send(place, &seen.answered(status, "c", self.at(place)));
        if seen.method() == "BYE"
            && let Some(id) = known
        {
            let call = &self.calls[&id];
            let (kind, fate, phase, cut) = (call.plan.kind, call.plan.fate, self.phase, call.cut);
            if call.state == State::Up && fate != Fate::Dropped && !cut {
                self.tally.of_mut(kind).bad_ends += 1;
                self.tally.note(|| format!("{phase}: {kind:?} {id} ({fate:?}) was hung up on"));
            }
            self.is_over(id);
        }
    }

    /// The caller has rung, or talked, for long enough.
    pub(super) fn enough(&mut self, id: u32) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        match call.state {
            State::Calling => self.give_up(id),
            State::Up => {
                if call.plan.fate == Fate::Dropped && !call.cut {
                    let kind = call.plan.kind;
                    self.tally.of_mut(kind).bad_ends += 1;
                    self.tally.note(|| format!("{kind:?} {id} should have been hung up on"));
                }
                self.hang_up(id);
            }
            State::Cancelling(_) | State::Ending => {}
        }
    }

    fn give_up(&mut self, id: u32) {
        let until = self.now() + TIMEOUT;
        let Some(call) = self.calls.get_mut(&id) else { return };
        (call.state, call.until) = (State::Cancelling(false), until);
        let call = &self.calls[&id];
        self.say(id, call, "CANCEL");
        self.again(id, T1);
    }

    fn hang_up(&mut self, id: u32) {
        let until = self.now() + TIMEOUT;
        let Some(call) = self.calls.get_mut(&id) else { return };
        (call.state, call.until) = (State::Ending, until);
        let call = &self.calls[&id];
        self.say(id, call, "BYE");
        self.again(id, T1);
    }

    fn again(&mut self, id: u32, wait: u64) {
        let at = self.later(wait, Due::Call(id));
        if let Some(call) = self.calls.get_mut(&id) {
            (call.next, call.wait) = (at, wait);
        }
    }

    /// Timers A, B, E and F.
    pub(super) fn call_again(&mut self, id: u32, at: u64) {
        let Some(call) = self.calls.get(&id).filter(|call| call.next == at) else { return };
        let (method, most) = match call.state {
            State::Calling if !call.heard => ("INVITE", u64::MAX),
            // Rings, for two minutes at most; nothing is sent again.
            State::Calling => ("", T2),
            State::Cancelling(false) => ("CANCEL", T2),
            State::Cancelling(true) => ("", T2),
            State::Ending => ("BYE", T2),
            State::Up => return,
        };
        let limit = if call.state == State::Calling && call.heard { call.began + 4 * TIMEOUT } else { call.until };
        if at >= limit {
            return self.on_silence(id);
        }
        self.tally.kinds[call.plan.kind as usize].repeats += u64::from(method == "INVITE");
        let wait = (call.wait * 2).min(most);
        if !method.is_empty() {
            self.say(id, &self.calls[&id], method);
        }
        self.again(id, wait);
    }

    fn on_silence(&mut self, id: u32) {
        let call = &self.calls[&id];
        let (kind, state, cut, phase, fate) = (call.plan.kind, call.state, call.cut, self.phase, call.plan.fate);
        match state {
            // She rang and hung up; the kill has swallowed the rest.
            State::Cancelling(_) if cut && call.rang => self.tally.of_mut(kind).complete += 1,
            State::Ending if cut => {}
            State::Ending => self.tally.of_mut(kind).bad_ends += 1,
            _ if cut && kind == Kind::Ordinary => self.tally.of_mut(kind).cut += 1,
            _ => *self.tally.of_mut(kind).failed.entry(408).or_default() += 1,
        }
        if !cut {
            self.tally.note(|| format!("{phase}: {kind:?} {id} ({fate:?}, {state:?}) heard nothing final"));
        }
        self.is_over(id);
    }

    /// Everything that is being set up, or was only just, has lost its gateway.
    pub(super) fn on_kill(&mut self) {
        let now = self.now();
        for call in self.calls.values_mut() {
            call.cut |= call.answered.is_none_or(|at| now < at + DURABLE) || call.state == State::Ending;
        }
        self.legs_are_cut(now.saturating_sub(DURABLE));
    }

    /// Callers who wait for what will never come wait for some seconds more.
    pub(super) fn on_return(&mut self) {
        let waits = |call: &Call| call.cut && call.heard && call.state == State::Calling;
        let waiting: Vec<_> = self.calls.iter().filter(|(_, call)| waits(call)).map(|(id, _)| *id).collect();
        for id in waiting {
            self.later(PATIENCE, Due::Redial(id));
        }
    }

    /// Ordinary calls that ring are not handed over.
    pub(super) fn on_hand_over(&mut self) {
        for call in self.calls.values_mut() {
            call.cut |= call.plan.kind == Kind::Ordinary && call.answered.is_none();
        }
        self.ordinary_legs_are_cut();
    }

    /// She hangs up and dials again. Whatever becomes of the first attempt, it counts no more.
    pub(super) fn redial(&mut self, id: u32) {
        let Some(call) = self.calls.get(&id).filter(|call| call.state == State::Calling) else { return };
        if call.plan.kind == Kind::Ordinary {
            self.tally.of_mut(Kind::Ordinary).cut += 1;
            return self.is_over(id);
        }
        if is_second(id) {
            return;
        }
        let (plan, person, called, from) = (call.plan, call.person, call.called.clone(), call.from);
        self.say(id, call, "CANCEL");
        self.is_over(id);
        self.dial(id + 1, plan, person, called, from);
    }

    /// Sends a request of this call.
    fn say(&self, id: u32, call: &Call, what: &str) {
        let (at, gateway) = (self.at(call.from), self.places.gateway);
        let (method, is_refused) = what.split_once(':').map_or((what, false), |(method, _)| (method, true));
        let (number, mark) = call.called.split_once(' ').unwrap_or_default();
        let (from, dialed) = match call.plan.kind {
            Kind::Emergency => (format!("u{}@pbx.example.com", call.person.unwrap_or_default()), "911".to_owned()),
            Kind::Callback => (format!("+12065550190@{gateway}"), number.to_owned()),
            Kind::Ordinary => {
                let area = if call.plan.anchored { 213 } else { 212 };
                (format!("o{}@pbx.example.com", id % 5000), format!("+1{area}{:07}", id % 10_000_000))
            }
        };
        let target = format!("sip:{dialed}@{gateway}");
        let in_dialog = matches!(method, "ACK" | "BYE") && !is_refused;
        let uri = if in_dialog { uri(&call.target) } else { &target };
        let to = if call.to.is_empty() { format!("<{target}>") } else { call.to.clone() };
        let branch = match (method, is_refused) {
            ("ACK", false) => "a",
            ("BYE", _) => "b",
            _ => "i",
        };
        let seq = if method == "BYE" { 2 } else { 1 };
        let body = if method == "INVITE" { sdp(id, at) } else { String::new() };
        let more = if method == "INVITE" { format!("{mark}Content-Type: application/sdp\r\n") } else { String::new() };
        let text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bK{branch}{id}\r\nMax-Forwards: 70\r\n\
             From: <sip:{from}>;tag=c{id}\r\nTo: {to}\r\nCall-ID: soak-{id}\r\nCSeq: {seq} {method}\r\n\
             Contact: <sip:caller@{at}>\r\n{more}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.send(call.from, &text);
    }
}

/// Call `n` is tried with the id `2 n`, and with the next one by a caller who dials again.
const fn is_second(id: u32) -> bool {
    id & 1 == 1
}

fn id_of(call_id: &str) -> Option<u32> {
    call_id.strip_prefix("soak-")?.parse().ok()
}

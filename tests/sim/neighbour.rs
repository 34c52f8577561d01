//! A SIP neighbour that keeps to RFC 3261 in the little that it does: it retransmits, absorbs copies, acknowledges, answers
//! BYE; when it speaks and what it says to an INVITE is its script.

use crate::world::{InDialog, SDP, get, response};
use bytes::Bytes;
use e911d::sip::{Message, Method, Name};
use e911d::words::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How it takes an INVITE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Rings after so many ms and answers after so many more; hangs up after so many more, or never.
    Answers { rings: u64, answers: u64, hangs_up: Option<u64> },
    /// Refuses with this status after so many ms.
    Refuses { status: u16, after: u64 },
    /// Rings, and refuses after so many ms.
    RingsAndRefuses { after: u64 },
    /// Says nothing at all.
    Silent,
    /// Says 100 and nothing else.
    Trying,
    /// Nobody is there.
    Dead,
}

impl Manner {
    pub fn answers(self) -> bool {
        matches!(self, Self::Answers { .. })
    }
}

struct Pending {
    key: String,
    bytes: String,
    next: Time,
    interval: Duration,
    until: Time,
    invite: bool,
}

/// One side of a dialog that is up.
pub struct Up {
    dialog: InDialog,
    seq: u32,
}

/// See the module's docs.
pub struct Neighbour {
    pub at: String,
    pub manner: Manner,
    /// What it wants to say, and when.
    agenda: BTreeMap<(Time, u64), String>,
    counted: u64,
    pending: Vec<Pending>,
    /// The last response to each request, by branch and method.
    answers: BTreeMap<String, String>,
    /// Calls that are up, by Call-ID.
    pub up: BTreeMap<String, Up>,
    cancelled: Vec<String>,
    hang_ups: BTreeMap<(Time, String), ()>,
    /// The numbers that callers showed, in order.
    pub shown: Vec<String>,
    /// The final responses to its own INVITEs, by Call-ID.
    pub finals: BTreeMap<String, u16>,
    hangs_up: BTreeMap<String, u64>,
    /// Calls whose BYE it heard.
    pub ended: BTreeSet<String>,
    /// Calls whose BYE of its own was answered with 481 though it had heard none.
    pub unknown: BTreeSet<String>,
}

impl Neighbour {
    pub fn new(at: &str, manner: Manner) -> Self {
        Self {
            at: at.to_owned(),
            manner,
            agenda: BTreeMap::new(),
            counted: 0,
            pending: Vec::new(),
            answers: BTreeMap::new(),
            up: BTreeMap::new(),
            cancelled: Vec::new(),
            hang_ups: BTreeMap::new(),
            shown: Vec::new(),
            finals: BTreeMap::new(),
            hangs_up: BTreeMap::new(),
            ended: BTreeSet::new(),
            unknown: BTreeSet::new(),
        }
    }

    /// Sends an INVITE of its own, and hangs up so many ms after the answer if it is to.
    pub fn call(&mut self, invite: String, call_id: &str, hangs_up: Option<u64>, now: Time) -> String {
        if let Some(after) = hangs_up {
            self.hangs_up.insert(call_id.to_owned(), after);
        }
        self.ask(invite, now)
    }

    /// Cancels an INVITE of its own.
    pub fn cancel(&mut self, invite: &str, now: Time) -> String {
        let head = invite.split("Content-Type").next().unwrap_or_default().replace("INVITE", "CANCEL");
        self.ask(head + "Content-Length: 0\r\n\r\n", now)
    }

    /// A datagram came; what it says at once.
    pub fn hear(&mut self, msg: &Message, now: Time) -> Vec<String> {
        if msg.is_request() { self.hear_request(msg, now) } else { self.hear_response(msg, now) }
    }

    /// When it has something to do.
    pub fn next(&self) -> Option<Time> {
        let pending = self.pending.iter().map(|p| p.next.min(p.until)).min();
        let agenda = self.agenda.keys().next().map(|k| k.0);
        let hang_ups = self.hang_ups.keys().next().map(|k| k.0);
        [pending, agenda, hang_ups].into_iter().flatten().min()
    }

    /// What is due.
    pub fn act(&mut self, now: Time) -> Vec<String> {
        let mut out = Vec::new();
        while let Some((&key, _)) = self.agenda.first_key_value().filter(|(k, _)| k.0 <= now) {
            let text = self.agenda.remove(&key).unwrap_or_default();
            out.extend(self.say(text, now));
        }
        while let Some(key) = self.hang_ups.keys().next().filter(|k| k.0 <= now).cloned() {
            self.hang_ups.remove(&key);
            out.extend(self.hang_up(&key.1, now));
        }
        for p in &mut self.pending {
            if p.next <= now && now < p.until {
                out.push(p.bytes.clone());
                p.interval = if p.invite { p.interval * 2 } else { (p.interval * 2).min(Duration::from_secs(4)) };
                p.next = now + p.interval;
            }
        }
        self.pending.retain(|p| now < p.until);
        out
    }

    /// Ends a call that is up.
    pub fn hang_up(&mut self, call_id: &str, now: Time) -> Option<String> {
        let mut up = self.up.remove(call_id)?;
        up.seq += 1;
        let bye = up.dialog.request("BYE", up.seq, &self.at, "", "");
        Some(self.ask(bye, now))
    }

    fn ask(&mut self, text: String, now: Time) -> String {
        let msg = scan(&text);
        let invite = msg.method() == Method::Invite;
        self.pending.push(Pending {
            key: key_of(&msg),
            bytes: text.clone(),
            next: now + Duration::from_millis(500),
            interval: Duration::from_millis(500),
            until: now + Duration::from_secs(32),
            invite,
        });
        text
    }

    /// Sends a response of its script, unless the call was cancelled meanwhile; a final one to an INVITE is sent again
    /// until it is acknowledged.
    fn say(&mut self, text: String, now: Time) -> Option<String> {
        let msg = scan(&text);
        let key = key_of(&msg);
        if self.cancelled.contains(&key) || self.answers.get(&key).is_some_and(|a| is_final(a)) {
            return None;
        }
        self.answers.insert(key.clone(), text.clone());
        if msg.status() >= 200 {
            self.pending.push(Pending {
                key: format!("ack {}", String::from_utf8_lossy(msg.call_id())),
                bytes: text.clone(),
                next: now + Duration::from_millis(500),
                interval: Duration::from_millis(500),
                until: now + Duration::from_secs(32),
                invite: false,
            });
        }
        Some(text)
    }

    fn hear_request(&mut self, msg: &Message, now: Time) -> Vec<String> {
        let call_id = String::from_utf8_lossy(msg.call_id()).into_owned();
        if msg.method() == Method::Ack {
            let key = format!("ack {call_id}");
            self.pending.retain(|p| p.key != key);
            return Vec::new();
        }
        let key = key_of(msg);
        if let Some(before) = self.answers.get(&key) {
            return if before.is_empty() { Vec::new() } else { vec![before.clone()] };
        }
        match msg.method() {
            Method::Invite => {
                self.answers.insert(key, String::new());
                self.take_invite(msg, &call_id, now);
                Vec::new()
            }
            Method::Cancel => {
                let ok = response(msg, 200, "c", "", "");
                self.answers.insert(key.clone(), ok.clone());
                let invite = key.replace("CANCEL", "INVITE");
                let open = self.answers.get(&invite).is_some_and(|a| !is_final(a));
                let mut out = vec![ok];
                if open {
                    let text = String::from_utf8_lossy(msg.bytes()).replace("CANCEL", "INVITE");
                    out.extend(self.say(response(&scan(&text), 487, "x", "", ""), now));
                    self.cancelled.push(invite);
                    self.up.remove(&call_id);
                }
                out
            }
            Method::Bye => {
                let known = self.up.remove(&call_id).is_some();
                self.unknown.remove(&call_id);
                self.ended.insert(call_id);
                let answer = response(msg, if known { 200 } else { 481 }, "b", "", "");
                self.answers.insert(key, answer.clone());
                vec![answer]
            }
            _ => {
                let known = msg.to_tag().is_none() || self.up.contains_key(&call_id);
                vec![response(msg, if known { 200 } else { 481 }, "o", "", "")]
            }
        }
    }

    fn take_invite(&mut self, msg: &Message, call_id: &str, now: Time) {
        let from = get(msg, Name::From);
        self.shown.push(from.trim_start_matches("<sip:").split('@').next().unwrap_or_default().to_owned());
        let (tag, contact) = (format!("t{}", self.counted), format!("sip:x@{}", self.at));
        let ms = Duration::from_millis;
        let mut plan = |after: u64, status: u16, body: &str| {
            self.counted += 1;
            self.agenda.insert((now + ms(after), self.counted), response(msg, status, &tag, &contact, body));
        };
        match self.manner {
            Manner::Answers { rings, answers, hangs_up } => {
                plan(rings, 180, "");
                plan(rings + answers, 200, SDP);
                self.up.insert(call_id.to_owned(), Up { dialog: InDialog::of_invite(msg, &tag), seq: 0 });
                if let Some(after) = hangs_up {
                    self.hang_ups.insert((now + ms(rings + answers + after), call_id.to_owned()), ());
                }
            }
            Manner::Refuses { status, after } => plan(after, status, ""),
            Manner::RingsAndRefuses { after } => {
                plan(10, 180, "");
                plan(after, 480, "");
            }
            Manner::Trying => plan(10, 100, ""),
            Manner::Silent | Manner::Dead => {}
        }
    }

    fn hear_response(&mut self, msg: &Message, now: Time) -> Vec<String> {
        let key = key_of(msg);
        let call_id = String::from_utf8_lossy(msg.call_id()).into_owned();
        if msg.status() == 481 && key.ends_with("BYE") && !self.ended.contains(&call_id) {
            self.unknown.insert(call_id.clone());
        }
        if !key.contains("INVITE") {
            self.pending.retain(|p| p.key != key);
            return Vec::new();
        }
        let asked = self.pending.iter().position(|p| p.key == key);
        if msg.status() < 200 {
            // RFC 3261 section 17.1.1.2: a provisional ends the retransmissions.
            self.pending.retain(|p| p.key != key);
            return Vec::new();
        }
        if let Some(at) = asked {
            self.pending.remove(at);
        }
        let first = self.finals.insert(call_id.clone(), msg.status()).is_none();
        let mut dialog = InDialog::of_response(msg);
        if msg.status() >= 300 {
            dialog.target = "sip:gateway@127.0.0.1:15060".to_owned();
            let branch = String::from_utf8_lossy(msg.top_via().and_then(|v| v.branch()).unwrap_or_default()).into_owned();
            let ack = dialog.request("ACK", 1, &self.at, "", "");
            let line = ack.lines().nth(1).unwrap_or_default().to_owned();
            return vec![ack.replace(&line, &format!("Via: SIP/2.0/UDP {};branch={branch}", self.at))];
        }
        let ack = dialog.request("ACK", 1, &self.at, "", "");
        if first {
            if let Some(after) = self.hangs_up.remove(&call_id) {
                self.hang_ups.insert((now + Duration::from_millis(after), call_id.clone()), ());
            }
            self.up.insert(call_id, Up { dialog, seq: 1 });
        }
        vec![ack]
    }
}

fn is_final(answer: &str) -> bool {
    !answer.is_empty() && scan(answer).status() >= 200
}

fn scan(text: &str) -> Message {
    Message::scan(Bytes::copy_from_slice(text.as_bytes())).expect("a message")
}

/// Branch and method: what a transaction is known by.
fn key_of(msg: &Message) -> String {
    let via = msg.top_via();
    let branch = String::from_utf8_lossy(via.as_ref().and_then(|v| v.branch()).unwrap_or_default()).into_owned();
    let method = if msg.is_request() { msg.method_bytes() } else { msg.cseq().map_or(&b""[..], |c| c.1) };
    format!("{branch} {}", String::from_utf8_lossy(method))
}

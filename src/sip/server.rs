//! The endpoint's server side: requests to us and what we answer.

use super::endpoint::{Endpoint, Event, number};
use super::flow::Flow;
use super::header::{Via, first_value, host_is, split_params, unfold};
use super::ids::{COOKIE, Kind};
use super::overload::{self, Load};
use super::scan::{Message, Name};
use super::transaction::{InviteServer, Server, Todo};
use super::write::{Writer, reason_phrase};
use super::{DialogKey, ServerKey};
use crate::words::Time;
use bytes::Bytes;
use slotmap::Key;
use std::hash::{DefaultHasher, Hasher};
use std::net::SocketAddr;

enum Machine {
    Invite(InviteServer),
    Other(Server),
}

pub(super) struct ServerTransaction {
    machine: Machine,
    pub(super) flow: Flow,
    pub(super) reply: ReplyHead,
    pub(super) hash: u64,
    pub(super) merge: u64,
    pub(super) deadline: Option<Time>,
    last: Bytes,
    dialog: Option<DialogKey>,
}

impl ServerTransaction {
    /// `flow` is the responses' way.
    pub(super) fn new(invite: bool, flow: Flow, reply: ReplyHead, hash: u64, now: Time) -> Self {
        let machine = if invite { Machine::Invite(InviteServer::new(now)) } else { Machine::Other(Server::new(now)) };
        let mut tx = Self { machine, flow, reply, hash, merge: 0, deadline: None, last: Bytes::new(), dialog: None };
        tx.deadline = tx.next_deadline();
        tx
    }

    /// One that an earlier run answered.
    pub(super) fn reopened(answered: Answered, dialog: DialogKey, until: Time, now: Time) -> Self {
        let Answered { hash, via, flow, last } = answered;
        let machine = Machine::Invite(InviteServer::answered(until, now, !last.is_empty()));
        let reply = ReplyHead { via: via.len(), to: via.len(), fields: via, to_has_tag: true, is_spent: true };
        let mut tx = Self { machine, flow, reply, hash, merge: 0, deadline: None, last, dialog: Some(dialog) };
        tx.deadline = tx.next_deadline();
        tx
    }

    /// What is to be known of an answered INVITE in another run.
    pub(super) fn answered(&self) -> Answered {
        Answered { hash: self.hash, via: self.reply.via(), flow: self.flow, last: self.last.clone() }
    }

    /// Whether it is an INVITE without a final response.
    pub(super) const fn is_pending(&self) -> bool {
        matches!(self.machine, Machine::Invite(InviteServer::Proceeding { .. }))
    }

    /// The dialog of an INVITE that was answered by a 2xx.
    pub(super) fn accepted(&self) -> Option<DialogKey> {
        self.dialog.filter(|_| matches!(self.machine, Machine::Invite(InviteServer::Accepted { .. })))
    }

    fn next_deadline(&self) -> Option<Time> {
        match &self.machine {
            Machine::Invite(m) => m.deadline(),
            Machine::Other(m) => m.deadline(),
        }
    }

    const fn is_over(&self) -> bool {
        matches!(self.machine, Machine::Invite(InviteServer::Terminated) | Machine::Other(Server::Terminated))
    }
}

/// An INVITE to us that was answered: enough to know its copies.
pub(super) struct Answered {
    pub(super) hash: u64,
    /// The topmost Via field.
    pub(super) via: Bytes,
    pub(super) flow: Flow,
    /// The 2xx; empty where nobody waits for it.
    pub(super) last: Bytes,
}

/// What every response to a request repeats from it (RFC 3261 section 8.2.6.2).
pub(super) struct ReplyHead {
    /// Via, Record-Route, From, Call-ID, CSeq: whole fields; then To without its line end.
    fields: Bytes,
    /// How much of it is the topmost Via.
    via: usize,
    /// Where To begins.
    to: usize,
    to_has_tag: bool,
    /// Only the topmost Via is left, to know copies of the request: the final response was composed.
    is_spent: bool,
}

impl ReplyHead {
    /// Copies what there is; what the request lacks, its answer lacks as well (RULES R4).
    pub(super) fn new(msg: &Message, flow: Flow, load: &Load) -> Self {
        let mut head = Writer::fields();
        let mut to_field = None;
        let mut via = 0;
        for h in msg.headers() {
            match h.name {
                Name::Via if via == 0 => {
                    top_via(&mut head, msg.value(h), flow, load);
                    via = head.len();
                }
                Name::Via | Name::RecordRoute | Name::From | Name::CallId | Name::CSeq => {
                    head.copy(msg, h);
                }
                Name::To if to_field.is_none() => to_field = Some(h),
                _ => {}
            }
        }
        let to = head.len();
        if let Some(h) = to_field {
            head.copy(msg, h);
        }
        Self { fields: head.into_fields(), via, to, to_has_tag: msg.to_tag().is_some(), is_spent: false }
    }

    /// Whether this is the head for a copy of `msg`: the same branch, byte for byte.
    pub(super) fn is_of(&self, msg: &Message) -> bool {
        let branch = msg.top_via().and_then(|v| v.branch()).unwrap_or_default();
        self.fields.get(..self.via).is_some_and(|via| memchr::memmem::find(via, branch).is_some())
    }

    /// Gives up what only responses need.
    fn spend(&mut self) {
        if !self.is_spent {
            self.fields = Bytes::copy_from_slice(self.fields.get(..self.via).unwrap_or_default());
            (self.to, self.is_spent) = (self.via, true);
        }
    }

    fn via(&self) -> Bytes {
        self.fields.slice(..self.via.min(self.fields.len()))
    }

    fn compose(&self, status: u16, tag: &[u8]) -> Writer {
        let mut w = Writer::response(status, reason_phrase(status).as_bytes());
        let (head, to) = self.fields.split_at(self.to.min(self.fields.len()));
        w.raw(head);
        if !to.is_empty() {
            w.raw(to.trim_ascii_end());
            if !self.to_has_tag && !tag.is_empty() {
                w.raw(b";tag=");
                w.raw(tag);
            }
            w.raw(b"\r\n");
        }
        w
    }
}

impl<O: Copy> Endpoint<O> {
    /// Begins a response outside any dialog; `None` if the transaction is gone.
    pub fn reply(&self, tx: ServerKey, status: u16) -> Option<Writer> {
        let tag = self.ids.make(Kind::CallId, tx.data().as_ffi());
        Some(self.reply_head(tx)?.compose(status, if status == 100 { b"" } else { tag.as_bytes() }))
    }

    /// Begins a response inside a dialog of ours: with its tag, and its Contact.
    pub fn reply_in(&self, tx: ServerKey, dialog: DialogKey, status: u16) -> Option<Writer> {
        let dialog = self.dialogs.get(dialog)?;
        let mut w = self.reply_head(tx)?.compose(status, dialog.local_tag.as_bytes());
        w.header("Contact", &dialog.contact);
        Some(w)
    }

    fn reply_head(&self, tx: ServerKey) -> Option<&ReplyHead> {
        self.servers.get(tx).map(|tx| &tx.reply).filter(|reply| !reply.is_spent)
    }

    /// Sends a response. A 2xx to an INVITE names the dialog whose ACK it waits for.
    pub fn respond(&mut self, key: ServerKey, status: u16, dialog: Option<DialogKey>, bytes: Bytes, now: Time) {
        let Some(tx) = self.servers.get_mut(key) else { return };
        let reliable = tx.flow.transport.is_reliable();
        let refused = status >= 300 && tx.is_pending();
        match &mut tx.machine {
            Machine::Invite(m) => *m = m.on_send(status, now, reliable),
            Machine::Other(m) => *m = m.on_send(status, now, reliable),
        }
        if status >= 200 {
            tx.reply.spend();
        }
        tx.last = bytes.clone();
        tx.dialog = dialog;
        tx.deadline = tx.next_deadline();
        let (flow, deadline, invite) = (tx.flow, tx.deadline, matches!(tx.machine, Machine::Invite(_)));
        if tx.is_over() {
            self.close_server(key);
        } else {
            self.arm_server(key, deadline);
        }
        if refused {
            self.unmerge(key);
        }
        if let Some(entry) = dialog.filter(|_| invite && (200..300).contains(&status)).and_then(|d| self.dialogs.get_mut(d)) {
            entry.answered = Some(key);
            entry.confirmed = true;
        }
        self.transmit(flow, bytes, None);
    }

    /// A response with nothing in it but what it repeats.
    pub fn respond_plain(&mut self, tx: ServerKey, status: u16, now: Time) {
        if let Some(w) = self.reply(tx, status) {
            self.respond(tx, status, None, w.finish(), now);
        }
    }

    /// Answers without keeping anything: the same request gets the same answer, tag included. Never for an ACK.
    pub fn reply_stateless(&mut self, flow: Flow, msg: &Message, status: u16, more: &[(&str, &[u8])]) {
        self.reply_stateless_within(flow, msg, status, more, usize::MAX);
    }

    /// The same, unless the answer would have more than `most` bytes: then false, and nothing is sent.
    pub fn reply_stateless_within(
        &mut self,
        flow: Flow,
        msg: &Message,
        status: u16,
        more: &[(&str, &[u8])],
        most: usize,
    ) -> bool {
        if msg.method_bytes() == b"ACK" {
            return true;
        }
        let head = ReplyHead::new(msg, flow, &self.load);
        let hash = transaction_hash(self.secret(), msg, b"");
        let tag = self.ids.make(Kind::CallId, hash);
        let mut w = head.compose(status, tag.as_bytes());
        for (name, value) in more {
            w.header(name, value);
        }
        let bytes = w.finish();
        if bytes.len() > most {
            return false;
        }
        self.transmit(reply_flow(msg, flow), bytes, None);
        true
    }

    /// A 100 for an INVITE that has not been told anything yet.
    pub(super) fn say_trying(&mut self, key: ServerKey, now: Time) {
        if self.servers.get(key).is_some_and(|tx| tx.is_pending() && tx.last.is_empty())
            && let Some(w) = self.reply(key, 100)
        {
            self.respond(key, 100, None, w.finish(), now);
        }
    }

    pub(super) fn server_retransmission(&mut self, key: ServerKey) {
        let Some(tx) = self.servers.get(key) else { return };
        let send = match &tx.machine {
            Machine::Invite(m) => m.on_retransmission().send,
            Machine::Other(_) => true,
        };
        if send && !tx.last.is_empty() {
            let (flow, bytes) = (tx.flow, tx.last.clone());
            self.transmit(flow, bytes, None);
        }
    }

    pub(super) fn server_ack(&mut self, key: ServerKey, now: Time) {
        let Some(tx) = self.servers.get_mut(key) else { return };
        let reliable = tx.flow.transport.is_reliable();
        if let Machine::Invite(m) = &mut tx.machine {
            *m = m.on_ack(now, reliable);
        }
        tx.last = Bytes::new();
        tx.deadline = tx.next_deadline();
        let deadline = tx.deadline;
        if tx.is_over() {
            self.close_server(key);
        } else {
            self.arm_server(key, deadline);
        }
    }

    pub(super) fn server_timer(&mut self, key: ServerKey, deadline: Time, now: Time) -> Option<Event<O>> {
        let tx = self.servers.get_mut(key)?;
        if tx.deadline != Some(deadline) {
            return None;
        }
        let mut todo = Todo::default();
        match &mut tx.machine {
            Machine::Invite(m) => (*m, todo) = m.on_timer(now),
            Machine::Other(m) => *m = m.on_timer(now),
        }
        if todo.trying {
            tx.last = tx.reply.compose(100, b"").finish();
        }
        let again = (todo.send || todo.trying).then(|| (tx.flow, tx.last.clone()));
        tx.deadline = tx.next_deadline();
        let (next, dialog) = (tx.deadline, tx.dialog);
        if tx.is_over() {
            self.close_server(key);
        } else {
            self.arm_server(key, next);
        }
        if let Some((flow, bytes)) = again {
            self.transmit(flow, bytes, None);
        }
        let dialog = dialog.filter(|_| todo.timed_out)?;
        if self.say_late_bye(dialog, now) {
            return None;
        }
        let entry = self.dialogs.get_mut(dialog)?;
        // A BYE waits for it no longer.
        entry.answered = None;
        let owner = entry.owner;
        Some(Event::NoAck { dialog, owner })
    }
}

/// What tells one server transaction from another (RFC 3261 section 17.2.3), keyed so that nobody can aim for a
/// collision. Requests without the magic cookie are told apart by everything that section lists for them. The Call-ID
/// counts always: there are senders that use a branch again for their next call.
pub(super) fn transaction_hash(secret: u64, msg: &Message, method: &[u8]) -> u64 {
    let mut h = DefaultHasher::new();
    h.write_u64(secret);
    h.write(method);
    h.write(msg.call_id());
    let via = msg.top_via();
    let branch = via.as_ref().and_then(|v| v.branch()).unwrap_or_default();
    if let Some(via) = &via {
        h.write(via.host);
        h.write_u16(via.port.unwrap_or(0));
    }
    if branch.len() > COOKIE.len() && branch.starts_with(COOKIE) {
        h.write(branch);
        return h.finish();
    }
    h.write(msg.get(Name::Via).unwrap_or_default());
    h.write(msg.uri());
    h.write(msg.from_tag().unwrap_or_default());
    h.write_u32(msg.cseq().map_or(0, |c| c.0));
    h.finish()
}

/// RFC 3261 section 18.2.1 and RFC 3581 section 4: what the packet's source says beats whatever the Via says.
fn top_via(head: &mut Writer, value: &[u8], flow: Flow, load: &Load) {
    let (first, rest) = first_value(value);
    let via = Via::parse(first);
    let wants_rport = via.as_ref().is_some_and(|v| v.param("rport").is_some());
    let same_host = via.as_ref().is_some_and(|v| host_is(v.host, flow.remote.ip()));
    head.raw(b"Via: ");
    for (i, part) in split_params(first).enumerate() {
        let name = part.split(|b| *b == b'=').next().unwrap_or_default().trim_ascii();
        if i == 0 {
            head.raw(&unfold(part));
        } else if !name.eq_ignore_ascii_case(b"received") && !name.eq_ignore_ascii_case(b"rport") && !overload::is_ours(name) {
            head.raw(b";").raw(&unfold(part));
        }
    }
    if !same_host || wants_rport {
        head.raw_fmt(format_args!(";received={}", flow.remote.ip()));
    }
    if wants_rport {
        head.raw(b";rport=").raw(number(flow.remote.port().into()).as_bytes());
    }
    if via.as_ref().is_some_and(overload::is_offered) {
        load.say(head);
    }
    if !rest.is_empty() {
        head.raw(b", ").raw(&unfold(rest));
    }
    head.raw(b"\r\n");
}

/// A response to a request of which nothing is kept; its tag is the same on every copy (RFC 3261 section 8.2.7).
pub fn stateless(msg: &Message, flow: Flow, load: &Load, status: u16, more: &[(&str, &[u8])]) -> (Flow, Bytes) {
    let mut w = ReplyHead::new(msg, flow, load).compose(status, b"busy");
    for (name, value) in more {
        w.header(name, value);
    }
    (reply_flow(msg, flow), w.finish())
}

/// RFC 3261 section 18.2.2, RFC 3581 section 4: back to the packet's source; to its port with `rport`, else to the Via's.
pub(super) fn reply_flow(msg: &Message, flow: Flow) -> Flow {
    match msg.top_via() {
        Some(via) if !flow.transport.is_reliable() && via.param("rport").is_none() => {
            Flow { remote: SocketAddr::new(flow.remote.ip(), via.port.unwrap_or(5060)), ..flow }
        }
        _ => flow,
    }
}

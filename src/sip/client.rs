//! The endpoint's client side: requests of ours and what comes back.

use super::challenged::Challenged;
use super::dialog::Peer;
use super::endpoint::{Endpoint, Event};
use super::flow::Flow;
use super::scan::{Message, Method, Name};
use super::transaction::{Client, InviteClient, Todo};
use super::write::Writer;
use super::{ClientKey, DialogKey};
use crate::words::Time;
use bytes::Bytes;

/// One of the two client machines.
pub(super) enum Machine {
    Invite(InviteClient),
    Other(Client),
}

impl Machine {
    pub(super) fn new(invite: bool, now: Time, reliable: bool) -> Self {
        if invite { Self::Invite(InviteClient::new(now, reliable)) } else { Self::Other(Client::new(now, reliable)) }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        match self {
            Self::Invite(m) => m.deadline(),
            Self::Other(m) => m.deadline(),
        }
    }

    pub(super) const fn is_answered(&self) -> bool {
        match self {
            Self::Invite(m) => !matches!(m, InviteClient::Calling { .. } | InviteClient::Proceeding { .. }),
            Self::Other(m) => !matches!(m, Client::Trying { .. }),
        }
    }

    pub(super) const fn has_provisional(&self) -> bool {
        matches!(self, Self::Invite(InviteClient::Proceeding { .. }) | Self::Other(Client::Trying { proceeding: true, .. }))
    }

    const fn is_over(&self) -> bool {
        matches!(self, Self::Invite(InviteClient::Terminated) | Self::Other(Client::Terminated))
    }

    fn on_response(&mut self, status: u16, now: Time, reliable: bool) -> Todo {
        let todo;
        *self = match self {
            Self::Invite(m) => {
                let (next, t) = m.on_response(status, now, reliable);
                todo = t;
                Self::Invite(next)
            }
            Self::Other(m) => {
                let (next, t) = m.on_response(status, now, reliable);
                todo = t;
                Self::Other(next)
            }
        };
        todo
    }

    fn on_timer(&mut self, now: Time) -> Todo {
        let todo;
        *self = match self {
            Self::Invite(m) => {
                let (next, t) = m.on_timer(now);
                todo = t;
                Self::Invite(next)
            }
            Self::Other(m) => {
                let (next, t) = m.on_timer(now);
                todo = t;
                Self::Other(next)
            }
        };
        todo
    }
}

/// What became of the wish to cancel an INVITE.
enum Cancel {
    No,
    /// Nothing was heard yet: RFC 3261 section 9.1 forbids a CANCEL before a provisional. Holds the Reason value.
    Wanted(Box<[u8]>),
    Sent(ClientKey),
}

pub(super) struct ClientTransaction<O> {
    pub(super) invite: bool,
    /// [`Method::Other`] matches any response.
    pub(super) method: Method,
    pub(super) machine: Machine,
    pub(super) flow: Flow,
    /// Where else it may be sent, the last one first.
    pub(super) ways: Vec<Flow>,
    /// What is sent again: the request until its final response, then an INVITE's ACK.
    pub(super) bytes: Bytes,
    pub(super) owner: O,
    pub(super) deadline: Option<Time>,
    pub(super) dialog: Option<DialogKey>,
    /// Whose credentials answer a challenge, by the owner's number.
    pub(super) account: Option<u16>,
    /// How often a challenge to this request was answered before.
    pub(super) answers: u8,
    /// Nobody wants to hear what becomes of it.
    pub(super) silent: bool,
    cancel: Cancel,
    /// The To tag of the first 2xx.
    answered_by: Box<[u8]>,
}

impl<O> ClientTransaction<O> {
    pub(super) fn new(invite: bool, flow: Flow, owner: O, dialog: Option<DialogKey>, now: Time) -> Self {
        Self {
            invite,
            method: if invite { Method::Invite } else { Method::Other },
            machine: Machine::new(invite, now, true),
            flow,
            ways: Vec::new(),
            bytes: Bytes::new(),
            owner,
            deadline: None,
            dialog,
            account: None,
            answers: 0,
            silent: false,
            cancel: Cancel::No,
            answered_by: Box::default(),
        }
    }

    /// From now on each copy of its final response gets this ACK, by this way.
    pub(super) fn acknowledged_with(&mut self, flow: Flow, ack: Bytes) {
        (self.flow, self.bytes) = (flow, ack);
    }

    /// Whether a response with this method in its CSeq may be for it (RFC 3261 section 17.1.3). A CANCEL has its INVITE's
    /// branch.
    pub(super) fn asks_for(&self, method: &[u8]) -> bool {
        self.method == Method::Other || self.method == Method::of(method) || (self.invite && method == b"CANCEL")
    }
}

impl<O: Copy> Endpoint<O> {
    /// Gives an INVITE up: no more retransmissions, CANCEL once a provisional has come and never before (RULES P7).
    /// Its final response is still reported; a 2xx then needs ACK and BYE. `reason` is a Reason value (RFC 3326).
    pub fn give_up(&mut self, tx: ClientKey, reason: Bytes, now: Time) {
        let Some(client) = self.clients.get_mut(tx) else { return };
        if client.machine.is_answered() || !matches!(client.cancel, Cancel::No) {
            return;
        }
        if client.machine.has_provisional() {
            return self.send_cancel(tx, &reason, now);
        }
        client.cancel = Cancel::Wanted(reason.as_ref().into());
        if let Machine::Invite(m) = &client.machine {
            client.machine = Machine::Invite(m.hush());
        }
        client.deadline = client.machine.deadline();
        let deadline = client.deadline;
        self.arm_client(tx, deadline);
    }

    /// Whether an INVITE of ours was given up.
    pub fn is_given_up(&self, tx: ClientKey) -> bool {
        self.clients.get(tx).is_some_and(|c| !matches!(c.cancel, Cancel::No))
    }

    /// Ends a dialog with a BYE whose fate interests nobody. `reason` is a Reason value, or empty.
    ///
    /// Who has not acknowledged our 2xx may not have heard it and would not know the dialog: the BYE waits for the ACK
    /// (RFC 3261 section 15).
    pub fn hang_up(&mut self, dialog: DialogKey, reason: &[u8], owner: O, now: Time) {
        if let Some(entry) = self.dialogs.get_mut(dialog).filter(|d| d.answered.is_some()) {
            entry.ending = Some(Bytes::copy_from_slice(reason));
            return;
        }
        if let Some((tx, mut w)) = self.begin(dialog, b"BYE", 70, owner, now) {
            if !reason.is_empty() {
                w.header("Reason", reason);
            }
            self.silence(tx);
            self.send(tx, w.finish(), now);
        }
        self.end_dialog(dialog);
    }

    /// The ACK that a BYE waited for has come, or never will. Whether there was such a BYE.
    pub(super) fn say_late_bye(&mut self, dialog: DialogKey, now: Time) -> bool {
        let Some(entry) = self.dialogs.get_mut(dialog) else { return false };
        let Some(reason) = entry.ending.take() else { return false };
        entry.answered = None;
        let owner = entry.owner;
        self.hang_up(dialog, &reason, owner, now);
        true
    }

    /// This request is another owner's from now on.
    pub fn give_to(&mut self, tx: ClientKey, owner: O) {
        if let Some(client) = self.clients.get_mut(tx) {
            client.owner = owner;
        }
    }

    /// Nobody wants to hear what becomes of this request.
    pub fn silence(&mut self, tx: ClientKey) {
        if let Some(client) = self.clients.get_mut(tx) {
            client.silent = true;
        }
    }

    pub(super) fn client_response(&mut self, key: ClientKey, msg: Message, now: Time) -> Option<Event<O>> {
        let client = self.clients.get_mut(key)?;
        let of_cancel = client.invite && msg.cseq().is_some_and(|(_, m)| m == b"CANCEL");
        if of_cancel {
            let Cancel::Sent(cancel) = client.cancel else { return None };
            return self.client_response(cancel, msg, now);
        }
        let first_2xx = !client.machine.is_answered();
        let given_up = !matches!(client.cancel, Cancel::No);
        let challenged = matches!(msg.status(), 401 | 407) && first_2xx && !given_up && msg.method() != Method::Cancel;
        self.challenged = challenged.then(|| Challenged::of(key, client));
        let reliable = client.flow.transport.is_reliable();
        let todo = client.machine.on_response(msg.status(), now, reliable);
        if todo.ack {
            self.acknowledge_error(key, &msg);
        }
        if todo.deliver && client_is_answered(self, key) && msg.status() < 300 {
            if !first_2xx {
                self.repeated_2xx(key, &msg, now);
                return None;
            }
            if let Some(client) = self.clients.get_mut(key) {
                client.bytes = Bytes::new();
                if client.invite {
                    client.answered_by = msg.to_tag().unwrap_or_default().into();
                }
            }
        }
        self.settle_cancel(key, now);
        let client = self.clients.get_mut(key)?;
        client.deadline = client.machine.deadline();
        let (owner, silent, deadline) = (client.owner, client.silent, client.deadline);
        if client.machine.is_over() {
            self.clients.remove(key);
        } else {
            self.arm_client(key, deadline);
        }
        if challenged {
            return Some(Event::Challenged { tx: key, owner, msg, silent });
        }
        (todo.deliver && !silent).then_some(Event::Response { tx: key, owner, msg })
    }

    pub(super) fn client_timer(&mut self, key: ClientKey, deadline: Time, now: Time) -> Option<Event<O>> {
        let client = self.clients.get_mut(key)?;
        if client.deadline != Some(deadline) {
            return None;
        }
        let todo = client.machine.on_timer(now);
        client.deadline = client.machine.deadline();
        let (owner, next, silent) = (client.owner, client.deadline, client.silent);
        let again = todo.send.then(|| (client.flow, client.bytes.clone()));
        if client.machine.is_over() {
            self.clients.remove(key);
        } else {
            self.arm_client(key, next);
        }
        if let Some((flow, bytes)) = again {
            self.transmit(flow, bytes, Some(key));
        }
        (todo.timed_out && !silent).then_some(Event::TimedOut { tx: key, owner })
    }

    /// A provisional lets a wanted CANCEL go; a final response makes a sent one pointless.
    fn settle_cancel(&mut self, key: ClientKey, now: Time) {
        let Some(client) = self.clients.get_mut(key) else { return };
        match &client.cancel {
            Cancel::Wanted(reason) if client.machine.has_provisional() => {
                let reason = reason.clone();
                self.send_cancel(key, &reason, now);
            }
            Cancel::Sent(cancel) if client.machine.is_answered() => {
                let cancel = *cancel;
                self.clients.remove(cancel);
            }
            _ => {}
        }
    }

    /// RFC 3261 section 9.1: the CANCEL goes where the INVITE went, with its branch.
    fn send_cancel(&mut self, key: ClientKey, reason: &[u8], now: Time) {
        let Some(client) = self.clients.get(key) else { return };
        let (flow, owner) = (client.flow, client.owner);
        let Some(mut w) = companion(&client.bytes, b"CANCEL", None) else { return };
        if !reason.is_empty() {
            w.header("Reason", reason);
        }
        let mut cancel = ClientTransaction::new(false, flow, owner, None, now);
        cancel.silent = true;
        let cancel = self.clients.insert(Box::new(cancel));
        if let Some(client) = self.clients.get_mut(key) {
            client.cancel = Cancel::Sent(cancel);
            if let Machine::Invite(m) = &client.machine {
                client.machine = Machine::Invite(m.on_cancel_sent(now));
            }
            client.deadline = client.machine.deadline();
            let deadline = client.deadline;
            self.arm_client(key, deadline);
        }
        self.send(cancel, w.finish(), now);
    }

    /// RFC 3261 section 17.1.1.3. Once composed it replaces the INVITE: nothing else is sent again from here on.
    fn acknowledge_error(&mut self, key: ClientKey, response: &Message) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if !client.bytes.starts_with(b"ACK ") {
            let Some(w) = companion(&client.bytes, b"ACK", response.get(Name::To)) else { return };
            client.bytes = w.finish();
        }
        let (flow, ack) = (client.flow, client.bytes.clone());
        self.transmit(flow, ack, None);
    }

    /// A copy of the 2xx gets its ACK again; one of another fork gets ACK and BYE (RFC 3261 section 13.2.2.4).
    fn repeated_2xx(&mut self, key: ClientKey, msg: &Message, now: Time) {
        let Some(client) = self.clients.get(key) else { return };
        if *client.answered_by == *msg.to_tag().unwrap_or_default() {
            let (flow, ack) = (client.flow, client.bytes.clone());
            if !ack.is_empty() {
                self.transmit(flow, ack, None);
            }
            return;
        }
        let owner = client.owner;
        let Some(original) = client.dialog.and_then(|d| self.dialogs.get(d)) else { return };
        let mut fork = original.clone();
        fork.confirmed = false;
        fork.invite = None;
        fork.learn(Peer::of_response(msg), true);
        let fork = self.dialogs.insert(fork);
        self.acknowledge(fork, b"", b"");
        self.hang_up(fork, b"SIP;cause=200;text=\"Call completed elsewhere\"", owner, now);
    }
}

fn client_is_answered<O: Copy>(endpoint: &Endpoint<O>, key: ClientKey) -> bool {
    endpoint.clients.get(key).is_some_and(|c| c.machine.is_answered())
}

/// ACK of an error, or CANCEL: same Request-URI, top Via, From, Call-ID, CSeq number and Route as the INVITE.
fn companion(invite: &Bytes, method: &[u8], to: Option<&[u8]>) -> Option<Writer> {
    let invite = Message::scan(invite.clone()).ok()?;
    let (seq, _) = invite.cseq()?;
    let mut w = Writer::request(method, invite.uri());
    w.header("Via", invite.get(Name::Via)?);
    w.header("Max-Forwards", b"70");
    for route in invite.all(Name::Route) {
        w.header("Route", route);
    }
    w.header("From", invite.get(Name::From)?);
    w.header("To", to.or_else(|| invite.get(Name::To))?);
    w.header("Call-ID", invite.call_id());
    w.header_parts("CSeq", &[super::endpoint::number(seq).as_bytes(), b" ", method]);
    Some(w)
}

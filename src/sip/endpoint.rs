//! The SIP endpoint: a message's whole way from the wire to whoever must decide, and back.
//!
//! It owns transactions, dialogs and their timers, and nothing else: no sockets, no clock, no routing, no idea of
//! what an emergency is. Read [`Endpoint::receive`] first, then [`Event`]. What has to be sent comes out of
//! [`Endpoint::poll_transmit`]; [`Endpoint::expire`] must be called at [`Endpoint::next_deadline`].
//!
//! `O` is the owner's mark on a transaction or dialog, handed back with each event.

use super::challenged::Challenged;
use super::client::{ClientTransaction, Machine};
use super::dialog::Dialog;
use super::flow::{Flow, Locals, Transport};
use super::ids::{COOKIE, Id, Ids, Kind};
use super::late::Late;
use super::overload::{Load, Neighbours};
use super::scan::{Faults, Message, Method};
use super::server::{Answered, ReplyHead, ServerTransaction, reply_flow, transaction_hash};
use super::timer::TimerWheel;
use super::write::Writer;
use super::{ClientKey, DialogKey, ServerKey};
use crate::words::Time;
use bytes::Bytes;
use slotmap::{Key, KeyData, SlotMap};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;

/// A message to send. `client` says whose transaction fails if it cannot be sent.
pub struct Transmit {
    /// Where to.
    pub flow: Flow,
    /// What.
    pub bytes: Bytes,
    /// The client transaction to tell with [`Endpoint::unreachable`].
    pub client: Option<ClientKey>,
}

impl fmt::Debug for Transmit {
    /// Prints nothing of the message (promise 3).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transmit").field("flow", &self.flow).field("length", &self.bytes.len()).finish_non_exhaustive()
    }
}

/// What the endpoint cannot settle by itself.
pub enum Event<O> {
    /// An INVITE outside any dialog. It may have [faults](Message::faults): policy decides (RULES R4).
    Invite { tx: ServerKey, msg: Message, flow: Flow },
    /// Any other request than ACK and CANCEL; `dialog` says in which dialog, with its owner's mark.
    Request { tx: ServerKey, dialog: Option<(DialogKey, O)>, msg: Message, flow: Flow },
    /// The ACK of a 2xx of ours.
    Ack { dialog: DialogKey, owner: O, msg: Message },
    /// A CANCEL for an INVITE that is not finally answered yet; the CANCEL itself is answered.
    Cancelled { tx: ServerKey, msg: Message },
    /// A response to a request of ours, each copy of an INVITE's 2xx absorbed.
    Response { tx: ClientKey, owner: O, msg: Message },
    /// 401 or 407 to a request of ours. [`Endpoint::challenged`] has the request as it was, until the next message comes;
    /// `silent` says that nobody wants to hear of it, should it not be answered.
    Challenged { tx: ClientKey, owner: O, msg: Message, silent: bool },
    /// No final response in time. An INVITE that had a provisional goes on waiting: timer C only reports.
    TimedOut { tx: ClientKey, owner: O },
    /// The transport could not reach the far end.
    Unreachable { tx: ClientKey, owner: O },
    /// The far end could not be reached after it had sent a provisional. It may still answer; nothing is forgotten.
    Lost { tx: ClientKey, owner: O },
    /// A response to an INVITE of an earlier run whose call is not up: [`Endpoint::decline_late`] ends what it speaks of.
    Late { msg: Message, flow: Flow },
    /// A 2xx of ours was never acknowledged.
    NoAck { dialog: DialogKey, owner: O },
}

#[derive(Clone, Copy)]
enum Timed {
    Client(ClientKey),
    Server(ServerKey),
}

/// See the module's docs.
pub struct Endpoint<O> {
    pub(super) ids: Ids,
    pub(super) locals: Arc<Locals>,
    // In boxes: a slot map never shrinks, and after a rush its slots are all that stays.
    pub(super) clients: SlotMap<ClientKey, Box<ClientTransaction<O>>>,
    pub(super) servers: SlotMap<ServerKey, Box<ServerTransaction>>,
    pub(super) dialogs: SlotMap<DialogKey, Box<Dialog<O>>>,
    index: HashMap<u64, ServerKey, BuildHasherDefault<Prehashed>>,
    /// The dialogs of earlier runs, by our tags.
    pub(super) restored: HashMap<Id, DialogKey>,
    pub(super) late: Late,
    /// What we tell our neighbours of ourselves, and they us.
    pub(super) load: Arc<Load>,
    pub(super) neighbours: Neighbours,
    secret: u64,
    timers: TimerWheel<Timed>,
    due: Vec<(Time, Timed)>,
    out: VecDeque<Transmit>,
    pub(super) challenged: Option<Challenged>,
    /// Responses that matched nothing.
    pub strays: u64,
}

impl<O: Copy> Endpoint<O> {
    /// An endpoint for one shard. `secret` and `era` as for [`Ids::new`].
    pub fn new(secret: u64, era: u16, shard: u8, locals: Arc<Locals>, now: Time) -> Self {
        Self {
            ids: Ids::new(secret, era, shard),
            locals,
            clients: SlotMap::with_key(),
            servers: SlotMap::with_key(),
            dialogs: SlotMap::with_key(),
            index: HashMap::default(),
            restored: HashMap::new(),
            late: Late::default(),
            load: Arc::default(),
            neighbours: Neighbours::default(),
            secret,
            timers: TimerWheel::new(now),
            due: Vec::new(),
            out: VecDeque::new(),
            challenged: None,
            strays: 0,
        }
    }

    /// What our listeners call themselves.
    pub fn locals(&self) -> &Locals {
        &self.locals
    }

    /// How full we are is said by this from now on.
    #[must_use]
    pub fn with_load(self, load: Arc<Load>) -> Self {
        Self { load, ..self }
    }

    /// The neighbours that may ask us to hold new calls back (RFC 7339).
    pub fn obey(&mut self, neighbours: &[SocketAddr]) {
        self.neighbours.are(neighbours);
    }

    /// Whether a new call is to be kept from whoever is there, as they wish. Never to be asked about an emergency call or a callback.
    pub fn spares(&mut self, flow: Flow, now: Time) -> bool {
        self.neighbours.spares(flow, now)
    }

    /// New names for our listeners; dialogs keep the Contact that they told.
    pub fn set_locals(&mut self, locals: Arc<Locals>) {
        self.locals = locals;
    }

    /// A message came in. What it means, unless the core settled it.
    pub fn receive(&mut self, flow: Flow, msg: Message, now: Time) -> Option<Event<O>> {
        if !msg.is_request() {
            return self.receive_response(flow, msg, now);
        }
        match msg.method() {
            Method::Ack => self.receive_ack(msg, now),
            Method::Cancel => self.receive_cancel(flow, msg, now),
            _ => self.receive_request(flow, msg, now),
        }
    }

    /// Fires one timer that is due and says so if somebody must decide; `None` once all have been.
    pub fn expire(&mut self, now: Time) -> Option<Event<O>> {
        if self.due.is_empty() {
            self.timers.expire(now, &mut self.due);
        }
        while let Some((deadline, what)) = self.due.pop() {
            let event = match what {
                Timed::Client(key) => self.client_timer(key, deadline, now),
                Timed::Server(key) => self.server_timer(key, deadline, now),
            };
            if event.is_some() {
                return event;
            }
        }
        None
    }

    /// When [`Endpoint::expire`] has something to do.
    pub fn next_deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.out.pop_front()
    }

    /// The transport could not deliver what this transaction sent.
    ///
    /// A request inside a dialog takes another way first: a connection that was lost is opened anew, and where the far
    /// end's Contact leads nowhere it is asked for where its dialog came to be (RULES P11).
    pub fn unreachable(&mut self, tx: ClientKey) -> Option<Event<O>> {
        let client = self.clients.get_mut(tx)?;
        if client.machine.is_answered() {
            return None;
        }
        let (owner, silent) = (client.owner, client.silent);
        if client.machine.has_provisional() {
            return (!silent).then_some(Event::Lost { tx, owner });
        }
        if let Some(flow) = client.ways.pop() {
            client.flow = flow;
            let bytes = client.bytes.clone();
            self.transmit(flow, bytes, Some(tx));
            return None;
        }
        self.clients.remove(tx);
        (!silent).then_some(Event::Unreachable { tx, owner })
    }

    /// Whether a request of ours has had no response at all.
    pub fn is_unheard(&self, tx: ClientKey) -> bool {
        self.clients.get(tx).is_some_and(|c| !c.machine.is_answered() && !c.machine.has_provisional())
    }

    /// Whether a request of ours waits for its final response.
    pub fn is_unanswered(&self, tx: ClientKey) -> bool {
        self.clients.get(tx).is_some_and(|c| !c.machine.is_answered())
    }

    /// Ends a client transaction: whatever comes for it is a stray.
    pub fn forget(&mut self, tx: ClientKey) {
        self.clients.remove(tx);
    }

    /// Whether this CANCEL or ACK is for an INVITE to us whose transaction is still here, or this INVITE is a copy of it.
    pub fn has_invite_of(&self, msg: &Message) -> bool {
        self.find_server(transaction_hash(self.secret, msg, b"INVITE"), msg).is_some()
    }

    /// Whether this request is a copy of one whose transaction is still here.
    pub fn is_copy(&self, msg: &Message) -> bool {
        self.find_server(transaction_hash(self.secret, msg, msg.method_bytes()), msg).is_some()
    }

    /// How many transactions and dialogs there are: all zero when everything has come to rest.
    pub fn census(&self) -> (usize, usize, usize) {
        (self.clients.len(), self.servers.len(), self.dialogs.len())
    }

    pub(super) const fn secret(&self) -> u64 {
        self.secret
    }

    fn receive_request(&mut self, flow: Flow, msg: Message, now: Time) -> Option<Event<O>> {
        let hash = transaction_hash(self.secret, &msg, msg.method_bytes());
        if let Some(tx) = self.find_server(hash, &msg) {
            self.server_retransmission(tx);
            return None;
        }
        let in_dialog = match msg.to_tag() {
            None => None,
            Some(tag) => match self.find_dialog(tag, &msg) {
                Some(key) => Some(key),
                None if msg.method() == Method::Invite && !msg.faults().is_clean() => None,
                None => {
                    self.reply_stateless(flow, &msg, 481, &[]);
                    return None;
                }
            },
        };
        if in_dialog.is_none() && msg.method() == Method::Invite {
            return self.receive_invite(flow, msg, hash, now);
        }
        if !msg.faults().is_clean() {
            self.reply_stateless(flow, &msg, msg.faults().status(), &[]);
            return None;
        }
        let owner = match in_dialog {
            Some(key) => Some((key, self.in_order(key, flow, &msg)?)),
            None => None,
        };
        let tx = self.open_server(hash, flow, &msg, now);
        Some(Event::Request { tx, dialog: owner, msg, flow })
    }

    /// An INVITE without a dialog: the same one by another way (RFC 3261 section 8.2.2.2) gets 482.
    fn receive_invite(&mut self, flow: Flow, msg: Message, hash: u64, now: Time) -> Option<Event<O>> {
        let merge = merge_hash(self.secret, &msg);
        let first = merge.and_then(|m| self.index.get(&m)).copied();
        if let Some(first) = first.filter(|k| self.servers.get(*k).is_some_and(|tx| tx.is_pending())) {
            // RULES B5: not before the first one knows that it is being served.
            self.say_trying(first, now);
            self.reply_stateless(flow, &msg, 482, &[]);
            return None;
        }
        let tx = self.open_server(hash, flow, &msg, now);
        if let (Some(merge), Some(server)) = (merge, self.servers.get_mut(tx)) {
            server.merge = merge;
            self.index.insert(merge, tx);
        }
        Some(Event::Invite { tx, msg, flow })
    }

    fn receive_ack(&mut self, msg: Message, now: Time) -> Option<Event<O>> {
        let hash = transaction_hash(self.secret, &msg, b"INVITE");
        let tx = self.find_server(hash, &msg);
        // The ACK of a 2xx is its dialog's, even from those who repeat the INVITE's branch in it: a BYE may wait for it.
        let accepted = tx.and_then(|tx| self.servers.get(tx)?.accepted());
        if let Some(tx) = tx.filter(|_| accepted.is_none()) {
            self.server_ack(tx, now);
            return None;
        }
        let dialog = match msg.to_tag() {
            Some(tag) => self.find_dialog(tag, &msg)?,
            None => accepted?,
        };
        let entry = self.dialogs.get_mut(dialog)?;
        let owner = entry.owner;
        let tx = entry.answered.take()?;
        self.server_ack(tx, now);
        if self.say_late_bye(dialog, now) {
            return None;
        }
        Some(Event::Ack { dialog, owner, msg })
    }

    /// RFC 3261 section 9.2. The answer to the CANCEL is the same however often it comes, so it needs no transaction.
    fn receive_cancel(&mut self, flow: Flow, msg: Message, _now: Time) -> Option<Event<O>> {
        let hash = transaction_hash(self.secret, &msg, b"INVITE");
        // Hop by hop: it comes from where the INVITE came from (RFC 3261 section 22.1), or it is somebody else's.
        let from_there = |tx: &ServerKey| self.servers.get(*tx).is_some_and(|s| s.flow.remote.ip() == flow.remote.ip());
        let Some(tx) = self.find_server(hash, &msg).filter(from_there) else {
            self.reply_stateless(flow, &msg, 481, &[]);
            return None;
        };
        self.reply_stateless(flow, &msg, 200, &[]);
        let pending = self.servers.get(tx).is_some_and(|tx| tx.is_pending());
        pending.then_some(Event::Cancelled { tx, msg })
    }

    fn receive_response(&mut self, flow: Flow, msg: Message, now: Time) -> Option<Event<O>> {
        let sound = !msg.faults().intersects(Faults::UNMATCHABLE);
        let branch = msg.top_via().filter(|_| sound).and_then(|v| v.branch());
        let key = branch.and_then(|b| self.ids.read_branch(b)).map(|k| ClientKey::from(KeyData::from_ffi(k)));
        let Some(key) = key.filter(|k| self.clients.get(*k).is_some_and(|c| c.asks_for(msg.method_bytes()))) else {
            let of_before = branch.and_then(|b| b.strip_prefix(COOKIE)).is_some_and(|b| self.ids.is_of_before(Kind::Branch, b));
            if of_before && msg.cseq().is_some_and(|(_, method)| method == b"INVITE") {
                return self.receive_late(flow, msg);
            }
            self.strays += 1;
            return None;
        };
        if let (Some(client), Some(via)) = (self.clients.get(key), msg.top_via()) {
            self.neighbours.hear(client.flow, &via, now);
        }
        self.client_response(key, msg, now)
    }

    fn find_server(&self, hash: u64, msg: &Message) -> Option<ServerKey> {
        let key = *self.index.get(&hash)?;
        self.servers.get(key)?.reply.is_of(msg).then_some(key)
    }

    fn open_server(&mut self, hash: u64, flow: Flow, msg: &Message, now: Time) -> ServerKey {
        let invite = msg.method() == Method::Invite;
        let tx = ServerTransaction::new(invite, reply_flow(msg, flow), ReplyHead::new(msg, flow, &self.load), hash, now);
        let deadline = tx.deadline;
        let key = self.servers.insert(Box::new(tx));
        self.index.insert(hash, key);
        self.arm_server(key, deadline);
        key
    }

    /// Takes up an INVITE that an earlier run answered.
    pub(super) fn reopen_server(&mut self, answered: Answered, dialog: DialogKey, until: Time, now: Time) -> ServerKey {
        let hash = answered.hash;
        let tx = ServerTransaction::reopened(answered, dialog, until, now);
        let deadline = tx.deadline;
        let key = self.servers.insert(Box::new(tx));
        self.index.insert(hash, key);
        self.arm_server(key, deadline);
        key
    }

    /// Forgets a server transaction and its places in the index.
    pub(super) fn close_server(&mut self, key: ServerKey) {
        let Some(tx) = self.servers.remove(key) else { return };
        for hash in [tx.hash, tx.merge] {
            if self.index.get(&hash) == Some(&key) {
                self.index.remove(&hash);
            }
        }
    }

    /// Lets a copy of this INVITE by another way through again: it was refused.
    pub(super) fn unmerge(&mut self, key: ServerKey) {
        let merge = self.servers.get(key).map_or(0, |tx| tx.merge);
        if self.index.get(&merge) == Some(&key) {
            self.index.remove(&merge);
        }
    }

    /// Writes our Via for a request that goes this way.
    pub(super) fn via(&self, w: &mut Writer, flow: Flow, branch: &Id) {
        let (transport, sent_by) = (flow.transport.via().as_bytes(), self.locals.of(flow).sent_by.as_bytes());
        let (asks, offer) = (asks(flow).as_bytes(), self.neighbours.offer(flow));
        w.header_parts("Via", &[b"SIP/2.0/", transport, b" ", sent_by, b";branch=z9hG4bK", branch.as_bytes(), asks, offer]);
    }

    pub(super) fn branch(&self, tx: ClientKey) -> Id {
        self.ids.make(Kind::Branch, tx.data().as_ffi())
    }

    pub(super) fn arm_client(&mut self, key: ClientKey, deadline: Option<Time>) {
        if let Some(at) = deadline {
            self.timers.arm(at, Timed::Client(key));
        }
    }

    pub(super) fn arm_server(&mut self, key: ServerKey, deadline: Option<Time>) {
        if let Some(at) = deadline {
            self.timers.arm(at, Timed::Server(key));
        }
    }

    pub(super) fn transmit(&mut self, flow: Flow, bytes: Bytes, client: Option<ClientKey>) {
        self.out.push_back(Transmit { flow, bytes, client });
    }
}

/// Requests outside any dialog.
impl<O: Copy> Endpoint<O> {
    /// Begins a client transaction for a request that is composed elsewhere: its key and the whole Via value to use.
    pub fn begin_plain(&mut self, flow: Flow, owner: O, now: Time) -> (ClientKey, String) {
        let tx = self.clients.insert(Box::new(ClientTransaction::new(false, flow, owner, None, now)));
        let branch = self.branch(tx);
        let local = self.locals.of(flow);
        let branch = String::from_utf8_lossy(branch.as_bytes());
        let offer = String::from_utf8_lossy(self.neighbours.offer(flow));
        (tx, format!("SIP/2.0/{} {};branch=z9hG4bK{branch}{}{offer}", flow.transport.via(), local.sent_by, asks(flow)))
    }

    /// An id for a Call-ID or tag of such a request.
    pub fn plain_id(&self, tx: ClientKey) -> Id {
        self.ids.make(Kind::CallId, tx.data().as_ffi())
    }

    /// Sends what was begun.
    pub fn send(&mut self, tx: ClientKey, bytes: Bytes, now: Time) {
        let Some(client) = self.clients.get_mut(tx) else { return };
        client.bytes = bytes.clone();
        client.machine = Machine::new(client.invite, now, client.flow.transport.is_reliable());
        client.deadline = client.machine.deadline();
        let (flow, deadline) = (client.flow, client.deadline);
        self.arm_client(tx, deadline);
        self.transmit(flow, bytes, Some(tx));
    }
}

/// What our Via asks for: `rport` always (RFC 3581), and over TLS that the far end's own requests may come by the same connection
/// (`alias`, RFC 5923 section 4: over TLS alone, since it takes certificates to know whose they are).
fn asks(flow: Flow) -> &'static str {
    if flow.transport == Transport::Tls { ";rport;alias" } else { ";rport" }
}

/// Writes a Via of ours with a branch that is there already.
pub(super) fn via_of(w: &mut Writer, locals: &Locals, flow: Flow, branch: &[u8]) {
    let transport = flow.transport.via().as_bytes();
    let (sent_by, asks) = (locals.of(flow).sent_by.as_bytes(), asks(flow).as_bytes());
    w.header_parts("Via", &[b"SIP/2.0/", transport, b" ", sent_by, b";branch=", branch, asks]);
}

/// A decimal on the stack.
pub(super) fn number(n: u32) -> Decimal {
    let mut text = [0; 10];
    let mut at = text.len();
    let mut rest = n;
    loop {
        at -= 1;
        text[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return Decimal { text, at };
        }
    }
}

pub(super) struct Decimal {
    text: [u8; 10],
    at: usize,
}

impl Decimal {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.text[self.at..]
    }
}

/// Call-ID, From tag and CSeq of an INVITE; `None` where one is missing.
fn merge_hash(secret: u64, msg: &Message) -> Option<u64> {
    let mut h = std::hash::DefaultHasher::new();
    h.write_u64(!secret);
    h.write(msg.call_id());
    h.write(msg.from_tag().filter(|t| !t.is_empty())?);
    h.write_u32(msg.cseq()?.0);
    (!msg.call_id().is_empty()).then(|| h.finish())
}

/// The index's keys are keyed hashes already.
#[derive(Default)]
struct Prehashed(u64);

impl Hasher for Prehashed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {}
    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }
}

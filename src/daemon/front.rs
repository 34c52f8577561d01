//! The front: the thread that owns all sockets, sorts what comes in, and carries every emergency call itself.
//!
//! One hand-written loop ([`Front::poll`]) with numbered priorities. An emergency never changes threads: it is received,
//! decided and sent here, and no queue of ours lies in its way. Ordinary calls are handed to the threads of
//! [`shards`](super::shards), or wait in the [`lane`](super::lane) where the machine is small.

mod misfits;
mod near;
mod reading;
mod strangers;

use super::api::phone::PageSocket;
use super::ask::{Ask, NoDial, SetPresence};
use super::handover::Held;
use super::lane::Lane;
use super::leaving::Leaving;
use super::overload::Meter;
use super::repeats::Repeats;
use super::shards::{FromShard, Ordinary, REPORT, busy, is_new_call};
use super::side::{SideSender, ToSide};
use super::worker::{Outside, Worker};
use crate::bridge::{Classifier, Setup};
use crate::emergency::facts::{AgentId, Input};
use crate::emergency::presence::View;
use crate::io::clock;
use crate::io::media::relay::{self, Relay};
use crate::io::media::{self, Media};
use crate::io::store::Store;
use crate::io::transport::stream::Streams;
use crate::io::transport::tls::Secure;
use crate::io::transport::udp::{Inbox, LARGEST, Ports};
use crate::io::transport::{Counters, Known, Sent};
use crate::pool::PoolError;
use crate::sip::overload::Load;
use crate::sip::scan::Unreadable;
use crate::sip::{Flow, Message, Method, Transport};
use crate::words::{Position, Private, Time};
use bytes::Bytes;
use misfits::Misfits;
use near::{ForLane, Near};
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use strangers::Strangers;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::Sleep;

/// Datagrams that are taken from one socket before the next one has its turn.
const BURST: usize = 64;
/// Connections that are accepted at once.
const ACCEPTS: usize = 16;
/// How long closing connections may take.
const CLOSING: Duration = Duration::from_millis(400);
/// How long before the end, while calls are still being placed, new ones are left to the next start.
const LAST_CALLS: Duration = Duration::from_millis(700);
/// How long connections may take to write what they have when a successor waits.
const WRITING: Duration = Duration::from_millis(30);
/// Panics after which the process ends, to be started anew.
const MOST_PANICS: u32 = 100;

/// What the front is told by whoever controls the daemon.
pub enum Command {
    /// A new configuration; the answer comes back.
    Reload(Box<Reload>, oneshot::Sender<Result<(), PoolError>>),
    /// Names lead elsewhere.
    Relink(Box<Reload>),
    /// A look at the calls.
    Ask(Ask),
    /// An agent's page has connected by WebSocket.
    Page(Box<PageSocket>),
    /// Hold new calls back until no emergency is being placed, and end then; the answer is what was held. `None`: there was no
    /// such moment until this time, and everything goes on.
    HandOver(Time, oneshot::Sender<Option<Vec<Held>>>),
    /// Take no ordinary new calls, let those that are being placed get on, and end by this time.
    Stop(Time),
}

/// A new configuration and what it needs.
pub struct Reload {
    /// What the shards work from.
    pub setup: Setup,
    /// The sockets; those of before are among them.
    pub ports: Arc<Ports>,
    /// Whose connections are not limited.
    pub known: Known,
    /// What TLS connections begin with.
    pub secure: Option<Arc<Secure>>,
    /// Where audio of ours leaves from.
    pub media: media::Settings,
    /// How audio is relayed.
    pub relay: relay::Settings,
    /// How many messages a second are taken from one address that nobody knows.
    pub stranger_rate: u32,
}

/// What a [`Front`] is made of.
pub struct Parts {
    /// Shard 0.
    pub worker: Worker,
    /// The UDP sockets.
    pub ports: Arc<Ports>,
    /// The connections.
    pub streams: Streams,
    /// The ordinary threads.
    pub ordinary: Vec<Ordinary>,
    /// Instead of them.
    pub lane: Option<Lane>,
    /// What the threads ask for.
    pub from_shards: UnboundedReceiver<FromShard>,
    /// What to do.
    pub commands: UnboundedReceiver<Command>,
    /// Where leases are made durable.
    pub store: Box<dyn Store>,
    /// Who reads to test calls.
    pub media: Media,
    /// Who relays audio.
    pub relay: Relay,
    /// What was lost.
    pub counters: Arc<Counters>,
    /// The side thread.
    pub side: SideSender,
    /// How many messages a second are taken from one address that nobody knows.
    pub stranger_rate: u32,
    /// Where is said how full we are.
    pub load: Arc<Load>,
    /// New calls that the process before us has received and not looked at.
    pub held: Vec<(Flow, Bytes)>,
    /// Boot time of the loop's last turn in ms: whether it is alive.
    pub beat: Arc<AtomicU64>,
}

/// See the module's docs.
pub struct Front {
    worker: Worker,
    lane: Option<Lane>,
    strangers: Strangers,
    meter: Meter,
    repeats: Repeats,
    classifier: Classifier,
    near: Near,
    inboxes: Vec<Inbox>,
    from_shards: UnboundedReceiver<FromShard>,
    commands: UnboundedReceiver<Command>,
    refusals: UnboundedReceiver<SocketAddr>,
    to_refusals: UnboundedSender<SocketAddr>,
    counters: Arc<Counters>,
    side: SideSender,
    beat: Arc<AtomicU64>,
    buffer: Box<[u8]>,
    sleep: Pin<Box<Sleep>>,
    /// When `sleep` ends.
    wakes: Time,
    next_report: Time,
    misfits: Misfits,
    held: Vec<(Flow, Bytes)>,
    leaving: Option<Leaving>,
    ends: Option<Ending>,
    panics: u32,
}

enum Ending {
    /// Calls are being placed.
    Calls(Time),
    /// Connections write what they have.
    Connections(Time),
}

impl Front {
    /// Begins to receive. Must be called within the runtime of the thread that will poll it.
    pub fn new(parts: Parts) -> io::Result<Self> {
        let now = clock::now();
        let (to_refusals, refusals) = unbounded_channel();
        let Some(classifier) = parts.worker.shard().classifier() else { return Err(io::Error::other("shard 0 has no story")) };
        let near = Near {
            streams: parts.streams,
            store: parts.store,
            ordinary: parts.ordinary,
            for_lane: Vec::new(),
            media: parts.media,
            relay: parts.relay,
            inside: None,
        };
        let mut front = Self {
            worker: parts.worker,
            lane: parts.lane,
            strangers: Strangers::new(parts.stranger_rate),
            meter: Meter::new(parts.load),
            repeats: Repeats::default(),
            classifier,
            near,
            inboxes: Vec::new(),
            from_shards: parts.from_shards,
            commands: parts.commands,
            refusals,
            to_refusals,
            counters: parts.counters,
            side: parts.side,
            beat: parts.beat,
            buffer: vec![0; LARGEST].into(),
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
            wakes: now,
            next_report: now,
            misfits: Misfits::default(),
            held: parts.held,
            leaving: None,
            ends: None,
            panics: 0,
        };
        front.watch(&parts.ports)?;
        Ok(front)
    }

    /// Runs until told to stop.
    pub async fn run(mut self) {
        // What was restored goes its way before the first message; rows that it makes are written before "settled".
        let _ = catch_unwind(AssertUnwindSafe(|| self.each_lane(|worker, near| worker.drain(near, clock::now()))));
        let _ = catch_unwind(AssertUnwindSafe(|| self.worker.settle(&mut self.near, clock::now())));
        self.each_lane(|worker, _| worker.await_stock());
        for (flow, bytes) in std::mem::take(&mut self.held) {
            let _ = catch_unwind(AssertUnwindSafe(|| self.message(flow, Message::scan(bytes))));
        }
        let turns = std::future::poll_fn(|cx| {
            // A panic costs the message that caused it, not the other calls.
            catch_unwind(AssertUnwindSafe(|| self.poll(cx))).unwrap_or_else(|_| self.after_panic(cx))
        });
        tokio::task::unconstrained(turns).await;
        // What was received is not lost with the process: over a stream nobody sends it again.
        while self.lane.as_mut().is_some_and(|lane| lane.turn(&mut self.near)) {}
        self.worker.leave(&mut self.near, clock::now());
        self.each_lane(|worker, near| worker.leave(near, clock::now()));
    }

    /// One turn.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // 1. Commands.
        let mut more = false;
        while let Poll::Ready(Some(command)) = self.commands.poll_recv(cx) {
            // One look a turn: calls do not wait for several.
            more = matches!(command, Command::Ask(_));
            self.obey(command);
            if more {
                break;
            }
        }
        if let Some(over) = self.leave(cx) {
            return over;
        }
        // 2. Sockets, each in bursts, so that one neighbour's flood does not hold up the others.
        for at in 0..self.inboxes.len() {
            more |= self.read(at, cx);
        }
        while let Poll::Ready(Some(remote)) = self.refusals.poll_recv(cx) {
            self.unreachable(Transport::Udp, remote);
        }
        // 3. Streams, the other threads, the store.
        more |= self.near.streams.poll_accept(cx, ACCEPTS);
        more |= self.read_streams(cx);
        more |= self.serve_shards(cx);
        while let Poll::Ready(call) = self.near.store.poll_written(cx) {
            self.worker.committed(call, &mut self.near, clock::now());
        }
        // 4. Ordinary calls and strangers, some of those that wait.
        more |= self.serve_lane();
        more |= self.serve_strangers();
        // 5. Timers. (6. What is to be sent goes out right after the input that caused it.)
        let now = clock::now();
        self.worker.expire(&mut self.near, now);
        self.report(now);
        if self.is_over(now) {
            return Poll::Ready(());
        }
        more |= self.sleep_until_deadline(cx, now);
        if more {
            // Not a loop: connections and timers are the runtime's and want their turn.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Ask(ask) => self.answer(ask),
            Command::Page(page) => self.near.streams.join(page.stream, page.part, page.remote, page.transport),
            Command::HandOver(by, answer) => self.leaving = Some(Leaving::new(by, answer)),
            Command::Stop(by) => self.ends = Some(Ending::Calls(by)),
            Command::Relink(reload) => self.relink(*reload),
            Command::Reload(reload, answer) => {
                let taken = self.reload(*reload);
                let _ = answer.send(taken);
            }
        }
    }

    fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Presence { agent, set, answer } => {
                let _ = answer.send(self.presence(agent.reveal(), &set));
            }
            Ask::Ordinary { shard, .. } if shard > 0 => {
                if let Some(lane) = &self.lane {
                    ask.answer(lane.worker.shard());
                } else if let Some(thread) = self.near.ordinary.get(usize::from(shard) - 1) {
                    thread.ask(ask);
                }
            }
            Ask::Dial { agent, invite, heard, answer } => {
                let _ = answer.send(self.dial(agent.reveal(), invite, heard));
            }
            Ask::Say(bytes) => self.say_inside(bytes),
            Ask::Position { agent, position, answer } => {
                let _ = answer.send(self.set_position(agent.reveal(), position));
            }
            Ask::Leads { agent, answer } => {
                let story = self.worker.shard().story();
                let _ = answer.send(story.map(|s| s.leads_of(agent.reveal(), clock::now())).unwrap_or_default());
            }
            Ask::CallOurselves { trunk, number, pick, answer } => {
                let number = number.map(Private::into_revealed);
                let _ = answer.send(self.worker.call_ourselves(trunk, number, pick, &mut self.near, clock::now()));
            }
            _ => {
                if matches!(ask, Ask::Neighbours { anew: true, .. }) {
                    self.worker.ask_desks(&mut self.near, clock::now());
                }
                ask.answer(self.worker.shard());
            }
        }
    }

    /// Places a test call as this agent would, unless that might touch what is real.
    fn dial(&mut self, id: &str, invite: Bytes, heard: UnboundedSender<Bytes>) -> Result<Time, NoDial> {
        let story = self.worker.shard().story().ok_or(NoDial::Nobody)?;
        let agent = self.agent_of(id).ok_or(NoDial::Nobody)?;
        let msg = Message::scan(invite).map_err(|_| NoDial::NoTest)?;
        if !story.is_test_for(agent, msg.uri()) {
            return Err(NoDial::NoTest);
        }
        if story.has_real_lease(id) {
            return Err(NoDial::Leased);
        }
        self.near.inside = Some((agent, heard));
        let now = clock::now();
        self.worker.receive_inside(agent, msg, &mut self.near, now);
        Ok(now)
    }

    /// The rest of that call. A new INVITE is not for here.
    fn say_inside(&mut self, bytes: Bytes) {
        let Some(agent) = self.near.inside.as_ref().map(|(agent, _)| *agent) else { return };
        if let Ok(msg) = Message::scan(bytes)
            && (!msg.is_request() || msg.method() != Method::Invite)
        {
            self.worker.receive_inside(agent, msg, &mut self.near, clock::now());
        }
    }

    fn set_position(&mut self, id: &str, position: Private<Position>) -> bool {
        let agent = self.agent_of(id);
        if let Some(agent) = agent {
            self.worker.tell(Input::Position { agent, position }, &mut self.near, clock::now());
        }
        agent.is_some()
    }

    fn agent_of(&self, id: &str) -> Option<AgentId> {
        let place = self.worker.shard().story()?.site().agents.iter().position(|a| a.id.reveal() == id)?;
        u32::try_from(place).ok().map(AgentId)
    }

    fn presence(&mut self, id: &str, set: &SetPresence) -> Option<View> {
        let agent = self.agent_of(id)?;
        let input = match set {
            SetPresence::Keep => None,
            SetPresence::State(state, note) => {
                Some(Input::SetPresence { agent, state: *state, note: Private::new(note.reveal()) })
            }
            SetPresence::Dismiss => Some(Input::DismissHold { agent }),
        };
        if let Some(input) = input {
            self.worker.tell(input, &mut self.near, clock::now());
        }
        self.worker.shard().story().map(|story| story.presence_of(id))
    }

    fn reload(&mut self, new: Reload) -> Result<(), PoolError> {
        // Ahead of the calls: a trunk that is new is asked at once, by what its name must prove.
        let (known, secure) = self.near.streams.reload(new.known, new.secure);
        if let Err(e) = self.worker.reload(&new.setup, Arc::clone(&new.ports), &mut self.near, clock::now()) {
            self.near.streams.reload(known, secure);
            return Err(e);
        }
        for thread in &self.near.ordinary {
            thread.reload(&new.setup, &new.ports);
        }
        // Only the shard with the numbers can refuse a configuration, and it has taken this one.
        let (setup, ports) = (&new.setup, &new.ports);
        self.each_lane(|worker, near| {
            let _ = worker.reload(setup, Arc::clone(ports), near, clock::now());
        });
        self.near.media.configure(&new.media);
        self.near.relay.configure(new.relay);
        self.strangers.set_rate(new.stranger_rate);
        self.take_sockets(&new.ports);
        Ok(())
    }

    fn take_sockets(&mut self, ports: &Ports) {
        if let Some(classifier) = self.worker.shard().classifier() {
            self.classifier = classifier;
        }
        self.inboxes.retain(|inbox| ports.all().any(|port| Arc::ptr_eq(port, inbox.port())));
        if self.watch(ports).is_err() {
            self.side.send(ToSide::Alarm("config_rejected", true));
        }
    }

    /// As a reload, of what hangs on names alone: the story is not touched.
    fn relink(&mut self, new: Reload) {
        self.near.streams.reload(new.known, new.secure);
        self.worker.relink(&new.setup, Arc::clone(&new.ports), &mut self.near, clock::now());
        for thread in &self.near.ordinary {
            thread.reload(&new.setup, &new.ports);
        }
        let (setup, ports) = (&new.setup, &new.ports);
        self.each_lane(|worker, near| worker.relink(setup, Arc::clone(ports), near, clock::now()));
        self.take_sockets(&new.ports);
    }

    /// Watches the sockets that are not watched yet.
    fn watch(&mut self, ports: &Ports) -> io::Result<()> {
        for port in ports.all() {
            if !self.inboxes.iter().any(|inbox| Arc::ptr_eq(inbox.port(), port)) {
                self.inboxes.push(Inbox::new(Arc::clone(port), self.to_refusals.clone())?);
            }
        }
        Ok(())
    }

    /// Has the lane go on, and tells it and the front's own shard what either has found out; true if there is more.
    fn serve_lane(&mut self) -> bool {
        let Some(lane) = &mut self.lane else { return false };
        let mut more = lane.turn(&mut self.near);
        for news in std::mem::take(&mut self.near.for_lane) {
            more = true;
            match news {
                ForLane::Refused(transport, remote) => {
                    lane.worker.unreachable(transport, remote, &mut self.near, clock::now());
                    self.worker.unreachable(transport, remote, &mut self.near, clock::now());
                }
                ForLane::Release(call) => lane.worker.release(call, &mut self.near, clock::now()),
            }
        }
        more
    }

    fn each_lane(&mut self, mut tell: impl FnMut(&mut Worker, &mut Near)) {
        if let Some(lane) = &mut self.lane {
            tell(&mut lane.worker, &mut self.near);
        }
    }

    fn serve_shards(&mut self, cx: &mut Context<'_>) -> bool {
        for _ in 0..BURST {
            match self.from_shards.poll_recv(cx) {
                Poll::Ready(Some(FromShard::Stream(flow, bytes))) => {
                    if matches!(self.near.streams.send(flow, bytes), Sent::Impossible | Sent::Refused) {
                        self.unreachable(flow.transport, flow.remote);
                    }
                }
                Poll::Ready(Some(FromShard::Refused(transport, remote))) => self.unreachable(transport, remote),
                Poll::Ready(None) | Poll::Pending => return false,
            }
        }
        true
    }

    /// The way of every message: scanned once, sorted, handled here or handed over.
    fn message(&mut self, flow: Flow, scanned: Result<Message, Unreadable>) {
        let Ok(msg) = scanned else { return Counters::add(&self.counters.unreadable) };
        if self.leaving.as_mut().is_some_and(|l| l.holds(flow, &msg, self.worker.shard())) || self.leaves_to_the_next(flow, &msg)
        {
            return;
        }
        let shard = self.classifier.shard(flow, &msg, self.worker.shard());
        if shard == 0 {
            return self.worker.receive(flow, msg, &mut self.near, clock::now());
        }
        let is_new = is_new_call(&msg);
        let thread = self.near.ordinary.get(usize::from(shard) - 1);
        let is_filling = self.lane.as_ref().map(Lane::is_filling).or_else(|| thread.map(Ordinary::is_filling));
        let noted = (is_new && is_filling == Some(true)).then(|| msg.bytes().clone());
        let refused = match (&mut self.lane, thread) {
            _ if self.ends.is_some() && is_new => Some(msg),
            (Some(lane), _) => lane.hand_over(flow, msg),
            (None, Some(thread)) => thread.hand_over(flow, msg),
            (None, None) => Some(msg),
        };
        match refused {
            None if is_new => {
                self.meter.taken();
                if let Some(bytes) = noted {
                    self.repeats.note(flow.remote, &bytes);
                }
            }
            None => {}
            // It waits, and is answered then.
            Some(msg) if is_new && self.repeats.knows(flow.remote, msg.bytes()) => {}
            Some(msg) => {
                Counters::add(&self.counters.overload);
                if is_new {
                    self.meter.turned_away();
                }
                // What belongs to a call comes again by itself, but not over a stream.
                if is_new || flow.transport.is_reliable() {
                    self.say_busy(flow, &msg);
                }
            }
        }
    }

    /// Turns a request away, without keeping anything of it.
    fn say_busy(&mut self, flow: Flow, msg: &Message) {
        if let Some((way, answer)) = busy(msg, flow, self.meter.load()) {
            self.worker.send_plain(way, answer, &mut self.near);
        }
    }

    /// Nobody is at that address: every shard may have sent something there.
    fn unreachable(&mut self, transport: Transport, remote: SocketAddr) {
        self.near.refused(transport, remote);
        self.each_lane(|worker, near| worker.unreachable(transport, remote, near, clock::now()));
        self.worker.unreachable(transport, remote, &mut self.near, clock::now());
    }

    fn report(&mut self, now: Time) {
        self.beat.store(now.as_millis(), Ordering::Relaxed);
        self.meter.look(now, clock::wall);
        self.repeats.forget(now);
        if now < self.next_report {
            return;
        }
        self.next_report = now + REPORT;
        self.misfits.report(&self.side, now);
        self.near.streams.tidy(now);
        for worker in [&self.worker].into_iter().chain(self.lane.as_ref().map(|lane| &lane.worker)) {
            self.side.send(ToSide::Census(worker.index, worker.shard().census()));
        }
        if let Some(story) = self.worker.shard().story() {
            self.side.send(ToSide::Numbers(story.shelved(), self.worker.shard().troubles()));
        }
    }

    /// At the very end a new call would be cut off while it is placed. Whoever hears nothing repeats it (RFC 3261 section
    /// 17.1.1.2), and the next start takes it.
    fn leaves_to_the_next(&self, flow: Flow, msg: &Message) -> bool {
        let Some(Ending::Calls(by)) = self.ends else { return false };
        let is_late = clock::now() + LAST_CALLS >= by && flow.transport == Transport::Udp;
        is_late && is_new_call(msg) && !self.worker.shard().has_invite_of(msg)
    }

    fn is_placing(&self) -> bool {
        self.worker.shard().story().is_some_and(|s| s.calls().any(|c| c.state != "talking"))
    }

    /// The way to a successor: `None` while there is no such way, or new calls are held; then datagrams are read no more,
    /// connections write what they have, and it is over.
    fn leave(&mut self, cx: &mut Context<'_>) -> Option<Poll<()>> {
        let mut leaving = self.leaving.take()?;
        let now = clock::now();
        if leaving.closes.is_none() && !self.is_placing() {
            self.near.streams.close();
            leaving.closes = Some(now + WRITING);
        }
        let Some(by) = leaving.closes else {
            if now < leaving.by {
                self.leaving = Some(leaving);
            } else {
                leaving.not_now().into_iter().for_each(|(flow, msg)| self.message(flow, Ok(msg)));
            }
            return None;
        };
        self.read_streams(cx);
        self.serve_lane();
        if self.near.streams.is_empty() || now >= by {
            leaving.done(self.worker.ports());
            return Some(Poll::Ready(()));
        }
        self.leaving = Some(leaving);
        if self.sleep_until_deadline(cx, now) {
            cx.waker().wake_by_ref();
        }
        Some(Poll::Pending)
    }

    /// Whether the end that was asked for has come (RULES B2).
    fn is_over(&mut self, now: Time) -> bool {
        if let Some(Ending::Calls(by)) = self.ends {
            if self.is_placing() && now < by {
                return false;
            }
            self.near.streams.close();
            self.ends = Some(Ending::Connections(now + CLOSING));
        }
        match self.ends {
            Some(Ending::Connections(by)) => self.near.streams.is_empty() || now >= by,
            Some(Ending::Calls(_)) | None => false,
        }
    }

    /// Sleeps until the next deadline, a second at most: the loop shows that it is alive. True if that is over already.
    fn sleep_until_deadline(&mut self, cx: &mut Context<'_>, now: Time) -> bool {
        let of_lane = self.lane.as_ref().and_then(|lane| lane.worker.shard().next_deadline());
        let due = self.worker.shard().next_deadline().into_iter().chain(of_lane).min();
        let mut deadline = due.unwrap_or(self.next_report).min(self.next_report);
        if let Some(Ending::Calls(by) | Ending::Connections(by)) = self.ends {
            deadline = deadline.min(by).min(now + Duration::from_millis(10));
        }
        if let Some(leaving) = &self.leaving {
            deadline = deadline.min(leaving.closes.unwrap_or(leaving.by)).min(now + Duration::from_millis(10));
        }
        if deadline < self.wakes || self.wakes <= now {
            self.sleep.set(tokio::time::sleep(deadline.since(now).max(Duration::from_millis(1))));
            self.wakes = deadline.max(now);
        }
        let over = self.sleep.as_mut().poll(cx).is_ready();
        if over {
            self.wakes = now;
        }
        over
    }

    fn after_panic(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.panics += 1;
        cx.waker().wake_by_ref();
        if self.panics < MOST_PANICS { Poll::Pending } else { Poll::Ready(()) }
    }
}

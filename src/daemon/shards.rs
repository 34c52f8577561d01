//! The threads for ordinary calls: each owns its calls, gets messages by a bounded queue and sends by itself.
//!
//! Emergency calls are not here: the front carries them. When these threads are overloaded, new calls are refused by the
//! front before they are queued, and everything that belongs to calls which are up still finds room.

use super::ask::Ask;
use super::side::{SideSender, ToSide};
use super::worker::{Outside, Worker};
use crate::bridge::{MediaOrder, Opened, Setup};
use crate::emergency::facts::CallId;
use crate::io::clock;
use crate::io::media::relay::Relay;
use crate::io::store::{Keeper, Written};
use crate::io::transport::udp::Ports;
use crate::io::transport::{Counters, Sent};
use crate::pool::PoolError;
use crate::sip::overload::Load;
use crate::sip::{Flow, Message, Method, Transport, stateless};
use crate::words::{Row, Saved, Time};
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

/// Messages that wait for one thread.
const QUEUE: usize = 4096;
/// From here on new calls are refused.
const NO_NEW_CALLS: usize = 3072;
/// From here on a repeat may come before its original is looked at.
const FILLING: usize = NO_NEW_CALLS / 4;
/// Messages that are handled before timers are looked at again.
const BURST: usize = 64;
/// How often a thread reports what it holds.
pub(super) const REPORT: Duration = Duration::from_secs(1);
/// Panics after which a thread ends; its new calls are refused then.
const MOST_PANICS: u32 = 100;
/// When a refused caller may try again, in seconds.
const RETRY_AFTER: u64 = 5;

/// What a thread is told.
#[expect(clippy::large_enum_variant, reason = "a message is moved into the queue, not allocated for it")]
enum ToShard {
    Message(Flow, Message),
    Unreachable(Transport, SocketAddr),
    Release(CallId),
    Ask(Ask),
    /// There is something in [`Mailbox`].
    Look,
}

/// A configuration that waits for its thread. Beside the queue, so that the front never waits for room.
type Mailbox = Arc<ArcSwapOption<(Setup, Arc<Ports>)>>;

/// What a thread asks the front for.
pub enum FromShard {
    /// Send on a stream.
    Stream(Flow, Bytes),
    /// Nobody is there: tell the others.
    Refused(Transport, SocketAddr),
}

/// What a worker works from, whichever thread is to have it.
pub struct Common {
    /// The configuration.
    pub setup: Setup,
    /// The UDP sockets.
    pub ports: Arc<Ports>,
    /// What was lost.
    pub counters: Arc<Counters>,
    /// The side thread.
    pub side: SideSender,
    /// The store.
    pub keeper: Keeper,
    /// The front.
    pub front: UnboundedSender<FromShard>,
    /// Who relays audio.
    pub relay: Relay,
}

impl Common {
    /// Shard `index` with the calls that are its own of those `saved`. What that makes it say is still to be sent.
    pub fn worker(&self, index: u8, saved: &Saved) -> Result<Worker, PoolError> {
        let (ports, counters) = (Arc::clone(&self.ports), Arc::clone(&self.counters));
        let now = clock::now();
        let worker = Worker::new(index, &self.setup, ports, counters, self.side.clone(), self.keeper.clone(), now)?;
        let mut worker = worker.with_relay(self.relay.for_shard());
        worker.restore(saved, now);
        Ok(worker)
    }
}

/// The front's end of an ordinary thread. Dropping it ends the thread.
pub struct Ordinary {
    queue: SyncSender<ToShard>,
    waiting: Arc<AtomicUsize>,
    mailbox: Mailbox,
}

impl Ordinary {
    /// Starts the thread of shard `index`, 1 or more, with the calls that are its own of those `saved`.
    pub fn start(index: u8, common: &Common, saved: &Saved) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (queue, messages) = sync_channel(QUEUE);
        let waiting = Arc::new(AtomicUsize::new(0));
        let mailbox = Mailbox::default();
        let mut worker = common.worker(index, saved).map_err(std::io::Error::other)?;
        let mut outside = ToFront(common.front.clone());
        worker.drain(&mut outside, clock::now());
        worker.await_stock();
        let thread = Thread {
            worker,
            outside,
            messages,
            waiting: Arc::clone(&waiting),
            mailbox: Arc::clone(&mailbox),
            side: common.side.clone(),
            next_report: clock::now(),
        };
        let handle = thread::Builder::new().name(format!("calls-{index}")).spawn(|| thread.run())?;
        Ok((Self { queue, waiting, mailbox }, handle))
    }

    /// Hands a message over; gives it back where there is no room for it.
    pub fn hand_over(&self, flow: Flow, msg: Message) -> Option<Message> {
        if self.waiting.load(Ordering::Relaxed) >= NO_NEW_CALLS && is_new_call(&msg) {
            return Some(msg);
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        match self.queue.try_send(ToShard::Message(flow, msg)) {
            Ok(()) => None,
            Err(TrySendError::Full(back) | TrySendError::Disconnected(back)) => {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                match back {
                    ToShard::Message(_, msg) => Some(msg),
                    ToShard::Unreachable(..) | ToShard::Release(_) | ToShard::Ask(_) | ToShard::Look => None,
                }
            }
        }
    }

    /// Whether what is handed over now may wait for longer than it takes until it is repeated.
    pub fn is_filling(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) >= FILLING
    }

    /// Tells it that nobody is at an address. Where there is no room timers will find out.
    pub fn unreachable(&self, transport: Transport, remote: SocketAddr) {
        let _ = self.queue.try_send(ToShard::Unreachable(transport, remote));
    }

    /// Has it release a call for a callback. Where there is no room the callback finds the line busy and goes to the desk.
    pub fn release(&self, call: CallId) {
        let _ = self.queue.try_send(ToShard::Release(call));
    }

    /// Asks it something. Where there is no room the question is dropped.
    pub fn ask(&self, ask: Ask) {
        let _ = self.queue.try_send(ToShard::Ask(ask));
    }

    /// Tells it of a new configuration, which it takes within a second.
    pub fn reload(&self, setup: &Setup, ports: &Arc<Ports>) {
        self.mailbox.store(Some(Arc::new((setup.clone(), Arc::clone(ports)))));
        let _ = self.queue.try_send(ToShard::Look);
    }
}

/// Whether this is an INVITE outside a dialog.
pub fn is_new_call(msg: &Message) -> bool {
    msg.is_request() && msg.method() == Method::Invite && msg.to_tag().is_none()
}

/// The 503 to whatever can be answered, and its way, without keeping anything of it; `None` where an answer makes no sense.
pub fn busy(msg: &Message, flow: Flow, load: &Load) -> Option<(Flow, Bytes)> {
    if !msg.is_request() || msg.method() == Method::Ack {
        return None;
    }
    let retry_after = RETRY_AFTER.to_string();
    Some(stateless(msg, flow, load, 503, &[("Retry-After", retry_after.as_bytes())]))
}

struct Thread {
    worker: Worker,
    outside: ToFront,
    messages: Receiver<ToShard>,
    waiting: Arc<AtomicUsize>,
    mailbox: Mailbox,
    side: SideSender,
    next_report: Time,
}

impl Thread {
    fn run(mut self) {
        let mut panics = 0;
        loop {
            // A panic costs the message that caused it, not the other calls.
            match catch_unwind(AssertUnwindSafe(|| self.turn())) {
                Ok(true) => {}
                Err(_) if panics < MOST_PANICS => panics += 1,
                Ok(false) | Err(_) => break,
            }
        }
        self.worker.leave(&mut self.outside, clock::now());
    }

    /// One wait and what it brings; false once nobody can send any more.
    fn turn(&mut self) -> bool {
        match self.messages.recv_timeout(self.patience()) {
            Ok(first) => {
                self.take(first);
                for _ in 1..BURST {
                    let Ok(next) = self.messages.try_recv() else { break };
                    self.take(next);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        self.look();
        let now = clock::now();
        self.worker.expire(&mut self.outside, now);
        if now >= self.next_report {
            self.next_report = now + REPORT;
            self.side.send(ToSide::Census(self.worker.index, self.worker.shard().census()));
        }
        true
    }

    fn take(&mut self, what: ToShard) {
        let now = clock::now();
        match what {
            ToShard::Message(flow, msg) => {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                self.worker.receive(flow, msg, &mut self.outside, now);
            }
            ToShard::Unreachable(transport, remote) => self.worker.unreachable(transport, remote, &mut self.outside, now),
            ToShard::Release(call) => self.worker.release(call, &mut self.outside, now),
            ToShard::Ask(ask) => ask.answer(self.worker.shard()),
            ToShard::Look => self.look(),
        }
    }

    fn look(&mut self) {
        if self.mailbox.load().is_none() {
            return;
        }
        if let Some(new) = self.mailbox.swap(None) {
            // Only the shard with the numbers can refuse a configuration, and it has taken this one.
            let _ = self.worker.reload(&new.0, Arc::clone(&new.1), &mut self.outside, clock::now());
        }
    }

    fn patience(&self) -> Duration {
        let now = clock::now();
        let deadline = self.worker.shard().next_deadline().map_or(REPORT, |at| at.since(now));
        deadline.clamp(Duration::from_millis(1), REPORT)
    }
}

struct ToFront(UnboundedSender<FromShard>);

impl Outside for ToFront {
    fn stream(&mut self, flow: Flow, bytes: Bytes) -> Sent {
        let sent = self.0.send(FromShard::Stream(flow, bytes));
        if sent.is_ok() { Sent::Yes } else { Sent::Dropped }
    }

    fn refused(&mut self, transport: Transport, remote: SocketAddr) {
        let _ = self.0.send(FromShard::Refused(transport, remote));
    }

    /// Devices register in the front only.
    fn keep(&mut self, _: Flow) {}

    /// Only the front has callbacks.
    fn release(&mut self, _: u8, _: CallId) {}

    fn commit(&mut self, _: CallId, _: Row) -> Written {
        Written::Now
    }

    /// Test calls are in the front only.
    fn media(&mut self, _: CallId, _: MediaOrder) -> Option<Opened> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::Name;

    fn flow() -> Flow {
        let remote = "127.0.0.1:15090".parse().expect("an address");
        Flow { transport: Transport::Udp, listener: 0, remote, connection: 0, name: 0 }
    }

    fn scan(text: &str) -> Message {
        Message::scan(Bytes::from(text.replace('\n', "\r\n"))).expect("a start line")
    }

    #[test]
    fn b6_a_new_call_is_turned_away_with_503_and_retry_after() {
        let invite = scan(
            "INVITE sip:5551234@x SIP/2.0\nVia: SIP/2.0/UDP a;branch=z9hG4bK1;oc\nv: SIP/2.0/UDP b;branch=z9hG4bK2\nFrom: <sip:a@x>;tag=1\nTo: <sip:b@x>\nCall-ID: 7\nCSeq: 1 INVITE\nSubject: no\n\n",
        );
        let load = Load::default();
        load.set(40, Duration::from_secs(7));
        let (way, answer) = busy(&invite, flow(), &load).expect("an answer");
        let answer = Message::scan(answer).expect("a start line");
        assert_eq!((answer.status(), answer.call_id(), answer.all(Name::Via).count()), (503, &b"7"[..], 2));
        assert_eq!(way.remote.to_string(), "127.0.0.1:5060");
        let via = "SIP/2.0/UDP a;branch=z9hG4bK1;received=127.0.0.1;oc=40;oc-algo=\"loss\";oc-validity=1000;oc-seq=7.000";
        assert_eq!(answer.get(Name::Via).map(String::from_utf8_lossy).as_deref(), Some(via));
        assert_eq!(
            (answer.get(Name::RetryAfter), answer.to_tag(), answer.get(Name::Subject)),
            (Some(&b"5"[..]), Some(&b"busy"[..]), None)
        );
        assert!(answer.faults().is_clean());
    }

    #[test]
    fn what_belongs_to_a_call_is_no_new_call_and_what_cannot_be_answered_is_not() {
        for (text, is_answered) in [
            ("BYE sip:x SIP/2.0\nTo: <sip:b@x>;tag=1\n\n", true),
            ("INVITE sip:x SIP/2.0\nTo: <sip:b@x>;tag=1\n\n", true),
            ("ACK sip:x SIP/2.0\nTo: <sip:b@x>\n\n", false),
            ("SIP/2.0 200 OK\n\n", false),
        ] {
            let msg = scan(text);
            assert!(!is_new_call(&msg), "{text}");
            assert_eq!(busy(&msg, flow(), &Load::default()).is_some(), is_answered, "{text}");
        }
    }
}

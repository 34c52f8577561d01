//! One thread's calls together with the way out: a shard whose decisions are carried out.
//!
//! The front and every ordinary thread have one [`Worker`] each. What a thread cannot do by itself it asks its
//! [`Outside`] for.

use super::side::{SideSender, ToSide};
use crate::bridge::{Do, MediaOrder, Opened, Setup, Shard};
use crate::emergency::facts::{AgentId, CallId, Input, Side, TrunkId};
use crate::emergency::gateway::Gateway;
use crate::io::kill;
use crate::io::media::relay::{Hearing, Share};
use crate::io::store::{Keeper, Written};
use crate::io::transport::udp::Ports;
use crate::io::transport::{Counters, Sent};
use crate::pool::PoolError;
use crate::sip::{ClientKey, Flow, Message, Transmit, Transport};
use crate::words::{E164, Row, Saved, Time};
use bytes::Bytes;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What a worker needs done elsewhere.
pub trait Outside {
    /// Sends on a stream.
    fn stream(&mut self, flow: Flow, bytes: Bytes) -> Sent;
    /// Tells the other threads that nobody is there.
    fn refused(&mut self, transport: Transport, remote: SocketAddr);
    /// Keeps a connection however long it is silent.
    fn keep(&mut self, flow: Flow);
    /// Has another shard release an ordinary call for a callback.
    fn release(&mut self, shard: u8, call: CallId);
    /// Begins to make a lease's row durable.
    fn commit(&mut self, call: CallId, row: Row) -> Written;
    /// Tells a voice; `Some` where one was asked for and is ready.
    fn media(&mut self, call: CallId, order: MediaOrder) -> Option<Opened>;
}

/// What keeps a way of datagrams open and says nothing (RFC 3261 section 7.5).
const KEEP_ALIVE: &[u8] = b"\r\n\r\n";
/// How long the start waits for ports to be bound.
const FIRST_PORTS: Duration = Duration::from_millis(400);

/// See the module's docs.
pub struct Worker {
    /// Its place among the shards.
    pub index: u8,
    shard: Shard,
    reach: Reach,
    ports: Arc<Ports>,
    counters: Arc<Counters>,
    side: SideSender,
    keeper: Keeper,
    /// The store is yet to be told that the rows' times are this boot's.
    settles: bool,
    /// Who relays audio.
    relay: Option<Share>,
}

impl Worker {
    /// Shard `index` of this setup.
    pub fn new(
        index: u8,
        setup: &Setup,
        ports: Arc<Ports>,
        counters: Arc<Counters>,
        side: SideSender,
        keeper: Keeper,
        now: Time,
    ) -> Result<Self, PoolError> {
        Ok(Self {
            index,
            shard: Shard::new(index, setup, now)?,
            reach: Reach::default(),
            ports,
            counters,
            side,
            keeper,
            settles: false,
            relay: None,
        })
    }

    /// Has audio relayed here.
    pub fn with_relay(self, relay: Share) -> Self {
        Self { relay: Some(relay), ..self }
    }

    /// The calls.
    pub const fn shard(&self) -> &Shard {
        &self.shard
    }

    /// The UDP sockets.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// Takes up what the process before us left behind. Before the first message.
    pub fn restore(&mut self, saved: &Saved, now: Time) {
        self.shard.restore(saved, now);
    }

    /// Carries out what [`Self::restore`] has decided. Once every row that it has changed is handed over, the store is told
    /// that the rows' times are this boot's.
    pub fn settle(&mut self, outside: &mut impl Outside, now: Time) {
        self.settles = true;
        self.drain(outside, now);
        self.await_stock();
    }

    /// Waits for the ports that the first calls will need; not long, and never again.
    pub fn await_stock(&mut self) {
        while self.shard.waits_for_ports()
            && let Some((at, pairs)) = self.relay.as_ref().and_then(|relay| relay.ready_within(FIRST_PORTS))
        {
            self.shard.stock(at, pairs);
        }
    }

    /// A new configuration and its sockets. After an error everything is as before.
    pub fn reload(&mut self, setup: &Setup, ports: Arc<Ports>, outside: &mut impl Outside, now: Time) -> Result<(), PoolError> {
        self.shard.reload(setup, now)?;
        self.ports = ports;
        self.drain(outside, now);
        Ok(())
    }

    /// Names lead elsewhere.
    pub fn relink(&mut self, setup: &Setup, ports: Arc<Ports>, outside: &mut impl Outside, now: Time) {
        self.ports = ports;
        self.shard.relink(setup, now);
        self.drain(outside, now);
    }

    /// A message for this shard.
    pub fn receive(&mut self, flow: Flow, msg: Message, outside: &mut impl Outside, now: Time) {
        kill::message("received", msg.bytes());
        self.take_stock(now);
        self.shard.receive(flow, msg, now);
        self.drain(outside, now);
    }

    /// A lease's record is durable.
    pub fn committed(&mut self, call: CallId, outside: &mut impl Outside, now: Time) {
        kill::point("committed");
        self.shard.committed(call, now);
        self.drain(outside, now);
    }

    /// Asks the desks whether they answer.
    pub fn ask_desks(&mut self, outside: &mut impl Outside, now: Time) {
        self.shard.ask_desks(now);
        self.drain(outside, now);
    }

    /// What the caller of our own says, who is this agent.
    pub fn receive_inside(&mut self, agent: AgentId, msg: Message, outside: &mut impl Outside, now: Time) {
        self.shard.receive_inside(agent, msg, now);
        self.drain(outside, now);
    }

    /// Calls a number of ours over its trunk, any free one where none is said; see [`Shard::self_call`].
    pub fn call_ourselves(
        &mut self,
        trunk: TrunkId,
        number: Option<E164>,
        pick: u64,
        outside: &mut impl Outside,
        now: Time,
    ) -> Option<u32> {
        let spare = self.shard.story()?.spare_numbers(trunk, now);
        let at = |n: u64| usize::try_from(n % spare.len().max(1) as u64).ok();
        let called = number.or_else(|| spare.get(at(pick)?).copied())?;
        let shown = spare.iter().cycle().skip(at(pick)?).take(spare.len()).copied().find(|n| *n != called)?;
        let id = self.shard.call_ourselves(trunk, called, shown, now);
        self.drain(outside, now);
        id
    }

    /// A callback needs the line that this ordinary call takes.
    pub fn release(&mut self, call: CallId, outside: &mut impl Outside, now: Time) {
        self.shard.release(call, now);
        self.drain(outside, now);
    }

    /// Somebody beside the calls tells the story something.
    pub fn tell(&mut self, input: Input<'_>, outside: &mut impl Outside, now: Time) {
        self.shard.tell(input, now);
        self.drain(outside, now);
    }

    /// Nobody is at that address: the requests that were sent there last have failed.
    pub fn unreachable(&mut self, transport: Transport, remote: SocketAddr, outside: &mut impl Outside, now: Time) {
        self.fail_sent_to(transport, remote, now);
        self.shard.flow_lost(transport, remote, now);
        self.drain(outside, now);
    }

    /// Fires what is due.
    pub fn expire(&mut self, outside: &mut impl Outside, now: Time) {
        if self.shard.next_deadline().is_some_and(|at| at <= now) {
            self.shard.expire(now);
            self.drain(outside, now);
        }
    }

    /// Carries out everything that the shard has decided.
    pub fn drain(&mut self, outside: &mut impl Outside, now: Time) {
        while let Some(what) = self.shard.poll() {
            match what {
                Do::Send(transmit) => self.send(transmit, outside, now),
                Do::Commit { call, lease } => {
                    kill::point("commit");
                    if outside.commit(call, lease) == Written::Now {
                        self.shard.committed(call, now);
                    }
                }
                Do::Keep(flow) if flow.transport == Transport::Udp => drop(self.ports.send(flow, KEEP_ALIVE)),
                Do::Keep(flow) => outside.keep(flow),
                Do::Release { shard, call } => outside.release(shard, call),
                Do::Media { call, order } => {
                    let asked = matches!(order, MediaOrder::Open { .. });
                    let opened = outside.media(call, order);
                    if asked {
                        self.shard.media_opened(call, opened, now);
                    }
                }
                Do::Relay(order) => {
                    if let Some(relay) = &self.relay {
                        relay.obey(order);
                    }
                }
                Do::Record(call) => self.side.send(ToSide::Record(call)),
                Do::Side(Side::Keep(row)) => self.keeper.keep(row),
                Do::Side(side) => self.side.send(ToSide::Effect(side)),
            }
        }
        if self.settles && self.shard.story().is_none_or(Gateway::is_settled) {
            self.settles = false;
            self.keeper.settled();
        }
    }

    /// The end: what was to be written soon is handed over now.
    pub fn leave(&mut self, outside: &mut impl Outside, now: Time) {
        self.shard.keep_calls();
        self.drain(outside, now);
    }

    /// Sends something that is no transaction's: an answer which the shard has not seen.
    pub fn send_plain(&self, flow: Flow, bytes: Bytes, outside: &mut impl Outside) {
        match flow.transport {
            Transport::Udp => self.ports.send(flow, &bytes),
            _ => outside.stream(flow, bytes),
        };
    }

    /// Takes in the ports that have become ready, and what is heard of calls: a callback that comes now is to know it. Waits for
    /// none.
    fn take_stock(&mut self, now: Time) {
        while let Some((at, pairs)) = self.relay.as_ref().and_then(Share::ready) {
            self.shard.stock(at, pairs);
        }
        while let Some(Hearing { call, silent }) = self.relay.as_ref().and_then(Share::hearing) {
            self.shard.tell(Input::Silence { call, silent }, now);
        }
    }

    fn send(&mut self, transmit: Transmit, outside: &mut impl Outside, now: Time) {
        let Transmit { flow, bytes, client } = transmit;
        kill::message("sending", &bytes);
        if let Some(client) = client {
            self.reach.note(flow, client);
        }
        let sent = match flow.transport {
            _ if flow.is_nowhere() => Sent::Impossible,
            Transport::Udp => self.ports.send(flow, &bytes),
            _ => outside.stream(flow, bytes.clone()),
        };
        kill::message("sent", &bytes);
        match (sent, client) {
            (Sent::Yes, _) | (Sent::Impossible, None) => {}
            (Sent::Dropped, _) => Counters::add(&self.counters.dropped),
            (Sent::Impossible, Some(client)) => self.shard.unreachable(client, now),
            (Sent::Refused, _) => {
                outside.refused(flow.transport, flow.remote);
                self.fail_sent_to(flow.transport, flow.remote, now);
            }
        }
    }

    fn fail_sent_to(&mut self, transport: Transport, remote: SocketAddr, now: Time) {
        for client in self.reach.take(transport, remote) {
            self.shard.unreachable(client, now);
        }
    }
}

/// Which requests went where lately. The network says only that an address cannot be reached, not what was meant for it.
#[derive(Default)]
struct Reach {
    rings: HashMap<(Transport, SocketAddr), Ring>,
}

#[derive(Default)]
struct Ring {
    last: [ClientKey; Reach::EACH],
    next: usize,
}

impl Reach {
    /// Requests that are remembered for each address.
    const EACH: usize = 32;
    /// Addresses that are remembered; neighbours are few, and forgetting costs a failover some time, nothing more.
    const ADDRESSES: usize = 1024;

    fn note(&mut self, flow: Flow, client: ClientKey) {
        let key = (flow.transport, flow.remote);
        if self.rings.len() >= Self::ADDRESSES && !self.rings.contains_key(&key) {
            self.rings.clear();
        }
        let ring = self.rings.entry(key).or_default();
        if let Some(place) = ring.last.get_mut(ring.next % Self::EACH) {
            *place = client;
        }
        ring.next = (ring.next + 1) % Self::EACH;
    }

    /// The requests that went there, each told once. Those that are answered by now are no secret to the shard.
    fn take(&mut self, transport: Transport, remote: SocketAddr) -> impl Iterator<Item = ClientKey> + use<> {
        self.rings.remove(&(transport, remote)).unwrap_or_default().last.into_iter().filter(|key| *key != ClientKey::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::small;
    use crate::io::store;
    use slotmap::KeyData;
    use std::sync::atomic::Ordering;

    /// The small configuration with everybody that an emergency meets over TCP.
    fn by_tcp() -> Setup {
        let text = small::changed(&[
            ("[[listen]]", "[[listen]]\ntransport = \"tcp\"\nbind = \"127.0.0.1:15060\"\n[[listen]]"),
            (":15090\"\nsources = [\"127.0.0.1:15090\"]", ":15090;transport=tcp\"\nsources = [\"127.0.0.1\"]"),
            (":15070\"\nsources = [\"127.0.0.1:15070\"]", ":15070;transport=tcp\"\nsources = [\"127.0.0.2\"]"),
            (":15071\"\nsources = [\"127.0.0.1:15071\"]", ":15071;transport=tcp\"\nsources = [\"127.0.0.3\"]"),
        ]);
        small::assembled(&text, 7, 1, None).setup
    }

    /// An outside where one address takes no more.
    struct Full {
        full: SocketAddr,
        sent: Vec<(SocketAddr, Bytes)>,
        told: usize,
    }

    impl Outside for Full {
        fn stream(&mut self, flow: Flow, bytes: Bytes) -> Sent {
            if flow.remote == self.full {
                return Sent::Refused;
            }
            self.sent.push((flow.remote, bytes));
            Sent::Yes
        }

        fn refused(&mut self, _: Transport, remote: SocketAddr) {
            self.told += usize::from(remote == self.full);
        }

        fn keep(&mut self, _: Flow) {}

        fn release(&mut self, _: u8, _: CallId) {}

        fn commit(&mut self, _: CallId, _: Row) -> Written {
            Written::Now
        }

        fn media(&mut self, _: CallId, _: MediaOrder) -> Option<Opened> {
            None
        }
    }

    #[test]
    fn p6_an_emergency_for_a_stream_that_takes_no_more_goes_to_the_next_trunk_at_once() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let setup = by_tcp();
        let (ports, counters) = (Arc::new(Ports::default()), Arc::new(Counters::default()));
        let side = SideSender::new(tokio::sync::mpsc::unbounded_channel().0);
        let now = Time::from_micros(1_000_000_000);
        let keeper = store::in_memory().keeper;
        let mut worker = Worker::new(0, &setup, ports, Arc::clone(&counters), side, keeper, now).expect("a shard");
        let mut outside = Full { full: at(15070), sent: Vec::new(), told: 0 };
        let invite = "INVITE sip:911@gw SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:15090;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
                      From: <sip:alice@pbx>;tag=1\r\nTo: <sip:911@gw>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\
                      Contact: <sip:alice@127.0.0.1:15090>\r\nContent-Length: 0\r\n\r\n";
        let flow = Flow { transport: Transport::Tcp, listener: 0, remote: at(15090), connection: 1, name: 0 };
        worker.receive(flow, Message::scan(Bytes::from(invite)).expect("an INVITE"), &mut outside, now);
        let invites = outside.sent.iter().filter(|(_, bytes)| bytes.starts_with(b"INVITE sip:911@"));
        assert_eq!(invites.map(|(to, _)| *to).collect::<Vec<_>>(), [at(15071)]);
        assert_eq!((outside.told, counters.dropped.load(Ordering::Relaxed)), (1, 0), "the transport has counted it");
    }

    #[test]
    fn an_address_that_cannot_be_reached_fails_what_went_there_last_and_only_once() {
        let flow = |port| Flow {
            transport: Transport::Udp,
            listener: 0,
            remote: SocketAddr::from(([127, 0, 0, 1], port)),
            connection: 0,
            name: 0,
        };
        let key = |n: u64| ClientKey::from(KeyData::from_ffi(1 << 32 | n));
        let mut reach = Reach::default();
        for n in 1..=40 {
            reach.note(flow(5060), key(n));
        }
        reach.note(flow(5070), key(99));
        let mut failed: Vec<_> = reach.take(Transport::Udp, flow(5060).remote).collect();
        failed.sort();
        assert_eq!(failed, (9..=40).map(key).collect::<Vec<_>>());
        assert_eq!(reach.take(Transport::Udp, flow(5060).remote).count(), 0);
        assert_eq!(reach.take(Transport::Tcp, flow(5070).remote).count(), 0);
        assert_eq!(reach.take(Transport::Udp, flow(5070).remote).collect::<Vec<_>>(), [key(99)]);
    }
}

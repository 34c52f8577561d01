//! Relays audio: what comes in at a pair of ports of ours goes out by the one that it is joined with (`media = "anchor"`).
//!
//! One thread owns all sockets; calls tell it what to do by [`Relay`] and wait for nothing. Pairs are bound ahead of need and
//! handed to the shards, so that a call has its ports before it asks. Packets go through unchanged, SRTP aside: SSRC, sequence
//! and DTMF are the parties' own; a [`browser`] alone hears one stream of ours, made of theirs. Taken is what comes from the negotiated [`source`] and from nobody else. Nothing is mixed,
//! transcoded or recorded, and nothing here ends a call.
//!
//! Read [`Relay`] first, then `Thread::relay`, the way of a packet.

pub mod browser;
mod guard;
mod link;
mod ports;
pub mod source;
pub mod traffic;

use crate::bridge::{Joined, Pair, RelayOrder};
use crate::emergency::facts::CallId;
use crate::io::clock;
use crate::words::Time;
use browser::{Identity, Seat, Sort, Taken};
use guard::{Guard, is_rtcp};
use link::Link;
use mio::event::Source as _;
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token, Waker};
use ports::Range;
use source::{Learn, Source};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use traffic::{Traffic, one_more};

/// What the configuration says about relays.
#[derive(Clone, Copy)]
pub struct Settings {
    /// Sockets are bound to this address; to the one that is told where it is unspecified.
    pub bind: IpAddr,
    /// The lowest and the highest port.
    pub ports: (u16, u16),
    /// Which sources behind a NAT are learned.
    pub learn: Learn,
    /// How long nobody may be heard before that is reported; zero: never.
    pub silence: Duration,
}

/// Larger than any packet of audio.
const LARGEST: usize = 9000;
/// Packets that are read from one socket before the next has its turn.
const BURST: usize = 32;
const WAKE: Token = Token(usize::MAX);
/// How often silence is looked for, and counted what there is.
const LOOK: Duration = Duration::from_secs(1);
/// How often a port that somebody still has is tried again, and how long: its owner is the run before us.
const TRY_AGAIN: Duration = Duration::from_millis(20);
const LAST_TRY: Duration = Duration::from_secs(10);
/// A browser sends something every 20 ms, and asks whether we are there every 2.5 s (RFC 7675): silent for longer it is gone.
const GONE: Duration = Duration::from_secs(3);
/// How often a flight of DTLS is looked after that may be lost.
const TICK: Duration = Duration::from_millis(50);

/// What a relay reports of a call.
pub type Report = Box<dyn Fn(CallId, &'static str) + Send>;

/// Pairs that are ready, and the address that was asked for.
pub type Ready = (IpAddr, Vec<Pair>);

/// Whether anything is heard of a call's audio. Said when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hearing {
    /// Whose.
    pub call: CallId,
    /// For [`GONE`] nothing has come from its browser, or from neither side for as long as is configured.
    pub silent: bool,
}

enum Order {
    Obey(RelayOrder),
    Join(Box<Joined>, Sender<Hearing>),
    Want(IpAddr, usize, Sender<Ready>),
    Configure(Settings),
}

/// The way to all relays.
#[derive(Clone)]
pub struct Relay {
    orders: Sender<Order>,
    waker: Option<Arc<Waker>>,
    /// What they have carried.
    pub traffic: Arc<Traffic>,
}

impl Relay {
    /// Starts the thread. `claimed`: what calls of an earlier run have. Where the system has no thread for us no pair is ever
    /// ready, and audio passes by. `identity`: what browsers know us by; without one there is no audio for them.
    pub fn start(
        settings: Settings,
        identity: Option<Identity>,
        claimed: impl IntoIterator<Item = SocketAddr>,
        report: Report,
    ) -> Self {
        let (orders, received) = channel();
        let traffic = Arc::new(Traffic::default());
        let range = Range::new(settings, claimed);
        let waker = Thread::new(received, range, identity, report, Arc::clone(&traffic)).and_then(|thread| {
            let waker = Arc::new(Waker::new(thread.poll.registry(), WAKE)?);
            std::thread::Builder::new().name("relay".to_owned()).spawn(move || thread.run())?;
            Ok(waker)
        });
        Self { orders, waker: waker.ok(), traffic }
    }

    /// New settings; relays that are up go on as they are.
    pub fn configure(&self, settings: Settings) {
        self.send(Order::Configure(settings));
    }

    /// What one shard uses.
    pub fn for_shard(&self) -> Share {
        let ((ready, stock), (hears, hearings)) = (channel(), channel());
        Share { relay: self.clone(), ready, stock, hears, hearings }
    }

    fn send(&self, order: Order) {
        let _ = self.orders.send(order);
        if let Some(waker) = &self.waker {
            let _ = waker.wake();
        }
    }
}

/// A shard's way to the relays, and where its pairs come in.
pub struct Share {
    relay: Relay,
    ready: Sender<Ready>,
    stock: Receiver<Ready>,
    hears: Sender<Hearing>,
    hearings: Receiver<Hearing>,
}

impl Share {
    /// Has an order carried out.
    pub fn obey(&self, order: RelayOrder) {
        self.relay.send(match order {
            RelayOrder::Want(at, count) => Order::Want(at, count, self.ready.clone()),
            RelayOrder::Join(joined) => Order::Join(joined, self.hears.clone()),
            order => Order::Obey(order),
        });
    }

    /// Pairs that have become ready.
    pub fn ready(&self) -> Option<Ready> {
        self.stock.try_recv().ok()
    }

    /// What has changed in what is heard of this shard's calls.
    pub fn hearing(&self) -> Option<Hearing> {
        self.hearings.try_recv().ok()
    }

    /// The same as [`Self::ready`], waited for: before the first call.
    pub fn ready_within(&self, time: Duration) -> Option<Ready> {
        self.stock.recv_timeout(time).ok()
    }
}

/// A pair of ports.
struct Port {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    watched: bool,
    link: Option<Link>,
}

impl Port {
    /// Whom it was joined with is gone.
    fn part(&mut self) {
        match &mut self.link {
            Some(link) if link.seat.is_some() => link.other = None,
            link => *link = None,
        }
    }
}

struct Thread {
    poll: Poll,
    orders: Receiver<Order>,
    range: Range,
    identity: Option<Identity>,
    report: Report,
    traffic: Arc<Traffic>,
    ports: Vec<Option<Port>>,
    free: Vec<usize>,
    places: HashMap<SocketAddr, usize>,
    /// Relays whose ports somebody still has.
    waiting: Vec<(Joined, Sender<Hearing>, Time)>,
    /// Sockets that have more.
    unfinished: Vec<usize>,
    /// Ends whose DTLS is under way.
    shaking: Vec<usize>,
    buffer: Box<[u8]>,
    next_look: Time,
}

impl Thread {
    fn new(
        orders: Receiver<Order>,
        range: Range,
        identity: Option<Identity>,
        report: Report,
        traffic: Arc<Traffic>,
    ) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            orders,
            range,
            identity,
            report,
            traffic,
            ports: Vec::new(),
            free: Vec::new(),
            places: HashMap::new(),
            waiting: Vec::new(),
            unfinished: Vec::new(),
            shaking: Vec::new(),
            buffer: vec![0; LARGEST].into(),
            next_look: clock::now(),
        })
    }

    /// Runs as long as the process.
    fn run(mut self) {
        let mut events = Events::with_capacity(1024);
        loop {
            let patience = if !self.unfinished.is_empty() {
                Duration::ZERO
            } else if !self.waiting.is_empty() {
                TRY_AGAIN
            } else if !self.shaking.is_empty() {
                TICK
            } else {
                self.next_look.since(clock::now())
            };
            if self.poll.poll(&mut events, Some(patience)).is_err() {
                continue;
            }
            // A panic costs the packet that caused it, not the other calls.
            let _ = catch_unwind(AssertUnwindSafe(|| self.turn(&events)));
        }
    }

    fn turn(&mut self, events: &Events) {
        let now = clock::now();
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Obey(RelayOrder::Release(pairs)) => pairs.into_iter().for_each(|at| self.release(at)),
                Order::Join(joined, hears) => self.join_or_wait(*joined, hears, now + LAST_TRY, now),
                Order::Obey(_) => {}
                Order::Want(at, count, to) => drop(to.send((at, self.bind(at, count)))),
                Order::Configure(settings) => self.range.configure(settings),
            }
        }
        let unfinished = std::mem::take(&mut self.unfinished);
        let ready = events.iter().map(|event| event.token()).filter(|token| *token != WAKE).map(|token| token.0);
        for token in unfinished.into_iter().chain(ready) {
            self.read(token, now);
        }
        self.try_waiting(now);
        self.tick(now);
        if now >= self.next_look {
            self.next_look = now + LOOK;
            self.look(now);
        }
    }

    fn join_or_wait(&mut self, joined: Joined, hears: Sender<Hearing>, until: Time, now: Time) {
        if self.join(&joined, &hears, now) {
            return;
        }
        if now < until {
            self.waiting.push((joined, hears, until));
        } else {
            (self.report)(joined.call, "the ports of a call's audio are somebody else's: it is heard no more");
        }
    }

    fn bind(&mut self, at: IpAddr, count: usize) -> Vec<Pair> {
        let mut pairs = Vec::with_capacity(count);
        while pairs.len() < count {
            let Some((at, rtp, rtcp)) = self.range.bind(at) else { break };
            let Some(keys) = ports::keys() else { break };
            self.add(at, rtp, rtcp);
            pairs.push(Pair { at, keys });
        }
        pairs
    }

    fn add(&mut self, at: SocketAddr, rtp: std::net::UdpSocket, rtcp: std::net::UdpSocket) -> usize {
        let port = Port { rtp: UdpSocket::from_std(rtp), rtcp: UdpSocket::from_std(rtcp), watched: false, link: None };
        let place = self.free.pop().unwrap_or_else(|| {
            self.ports.push(None);
            self.ports.len() - 1
        });
        if let Some(slot) = self.ports.get_mut(place) {
            *slot = Some(port);
        }
        self.places.insert(at, place);
        self.traffic.pairs.store(self.places.len() as u64, Relaxed);
        place
    }

    /// Joins two ends; false where one of them has to be bound first and is somebody's.
    fn join(&mut self, joined: &Joined, hears: &Sender<Hearing>, now: Time) -> bool {
        let (Some(near), Some(far)) = (self.place_of(joined.near.at), self.place_of(joined.far.at)) else { return false };
        for (place, other) in [(near, far), (far, near)] {
            let before = self.port(place).and_then(|p| p.link.as_ref()).and_then(|link| link.other);
            if let Some(port) = before.filter(|before| *before != other).and_then(|before| self.port(before)) {
                port.part();
            }
        }
        let (learn, identity) = (self.range.settings().learn, self.identity.clone());
        for (place, other, end) in [(near, far, &joined.near), (far, near, &joined.far)] {
            let Some(port) = self.port(place) else { continue };
            let mut link = Link::new(port.link.take(), joined, (other, place == near, hears), end, learn, now);
            if let (None, Some(browser), Some(identity)) = (&link.seat, &end.browser, identity.as_ref()) {
                link.seat = Seat::new(browser, identity, (clock::instant(), now)).map(Box::new);
            }
            port.link = Some(link);
            self.watch(place);
        }
        true
    }

    /// Where a pair is; one of an earlier run is bound now.
    fn place_of(&mut self, at: SocketAddr) -> Option<usize> {
        if let Some(place) = self.places.get(&at) {
            return Some(*place);
        }
        let (rtp, rtcp) = self.range.bind_again(at)?;
        Some(self.add(at, rtp, rtcp))
    }

    fn port(&mut self, place: usize) -> Option<&mut Port> {
        self.ports.get_mut(place)?.as_mut()
    }

    /// What came in before anybody was to be heard is thrown away.
    fn watch(&mut self, place: usize) {
        let registry = self.poll.registry();
        let Some(port) = self.ports.get_mut(place).and_then(Option::as_mut).filter(|port| !port.watched) else { return };
        port.watched = true;
        for (socket, token) in [(&mut port.rtp, place * 2), (&mut port.rtcp, place * 2 + 1)] {
            let _ = socket.register(registry, Token(token), Interest::READABLE);
            while socket.recv_from(&mut self.buffer).is_ok() {}
        }
    }

    fn release(&mut self, at: SocketAddr) {
        self.range.forget(at);
        self.waiting.retain(|(joined, ..)| joined.near.at != at && joined.far.at != at);
        let Some(place) = self.places.remove(&at) else { return };
        let port = self.ports.get_mut(place).and_then(Option::take);
        self.free.push(place);
        self.traffic.pairs.store(self.places.len() as u64, Relaxed);
        if let Some(other) = port.and_then(|port| port.link).and_then(|link| self.port(link.other?)) {
            other.part();
        }
    }

    fn try_waiting(&mut self, now: Time) {
        for (joined, hears, until) in std::mem::take(&mut self.waiting) {
            self.join_or_wait(joined, hears, until, now);
        }
    }

    fn read(&mut self, token: usize, now: Time) {
        for _ in 0..BURST {
            let Some(port) = self.ports.get_mut(token / 2).and_then(Option::as_mut) else { return };
            let socket = if token.is_multiple_of(2) { &port.rtp } else { &port.rtcp };
            match socket.recv_from(&mut self.buffer) {
                Ok((length, from)) => self.relay(token / 2, token % 2 == 1, length, from, now),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                // An address that nobody is at; the next packet is not its fault.
                Err(_) => {}
            }
        }
        self.unfinished.push(token);
    }

    /// The way of a packet: is it whose it should be, is it genuine, where does it go.
    fn relay(&mut self, place: usize, control: bool, length: usize, from: SocketAddr, now: Time) {
        let Some(packet) = self.buffer.get(..length) else { return };
        let Some(link) = self.ports.get_mut(place).and_then(Option::as_mut).and_then(|p| p.link.as_mut()) else { return };
        if let Some(seat) = link.seat.as_mut().filter(|_| Sort::of(packet) != Sort::Media) {
            let taken = seat.take(packet, from, now);
            if !taken.replies.is_empty() {
                link.is_there(now);
            }
            return self.carry_out(place, taken);
        }
        let Some(other) = link.other else { return };
        let Ok([Some(here), Some(there)]) = self.ports.get_disjoint_mut([place, other]) else { return };
        let (Some(heard), Some(told)) = (&mut here.link, &mut there.link) else { return };
        if is_rtcp(packet) && (heard.seat.is_some() || told.seat.is_some()) {
            return;
        }
        let source = if control { &mut heard.rtcp } else { &mut heard.rtp };
        let opened = match &mut heard.guard {
            Some(guard) if source.may_admit(from) => match guard.open(packet) {
                Some(opened) => Some(opened),
                None => return one_more(&self.traffic.unprotected),
            },
            // A browser has no keys yet: whatever this is, it is not genuine.
            None if heard.seat.is_some() => return one_more(&self.traffic.strangers),
            _ => None,
        };
        if !source.admits(from) {
            return one_more(&self.traffic.strangers);
        }
        heard.heard = now;
        heard.is_there(now);
        if heard.seat.is_none() && told.seat.is_none() {
            told.breaks_silence();
        }
        let packet = opened.as_deref().unwrap_or(packet);
        // RTCP of whoever multiplexes goes where its twin's RTP goes: both agreed to it.
        let to = if control { told.rtcp.towards() } else { told.rtp.towards() };
        let Some(to) = to.filter(|_| !told.end.deaf || is_rtcp(packet)) else { return };
        let continued = told.seat.as_mut().map(|seat| seat.continued(packet, now).unwrap_or_default());
        let packet = continued.as_deref().unwrap_or(packet);
        let closed = match &mut told.guard {
            None if told.seat.is_some() => return,
            Some(guard) => match guard.close(packet) {
                Some(closed) => Some(closed),
                None => return one_more(&self.traffic.unsent),
            },
            None => None,
        };
        let socket = if control { &there.rtcp } else { &there.rtp };
        match socket.send_to(closed.as_deref().unwrap_or(packet), to) {
            Ok(_) => (if told.near { &self.traffic.to_caller } else { &self.traffic.to_callee }).count(length),
            Err(_) => one_more(&self.traffic.unsent),
        }
    }

    /// What a browser's end has made of a packet, or of the time.
    fn carry_out(&mut self, place: usize, taken: Taken) {
        let Some(port) = self.ports.get_mut(place).and_then(Option::as_mut) else { return };
        let Some(link) = port.link.as_mut() else { return };
        for (packet, to) in taken.replies {
            if port.rtp.send_to(&packet, to).is_err() {
                one_more(&self.traffic.unsent);
            }
        }
        if let Some(at) = taken.found {
            link.rtp = Source::new(Some(at), None, Learn::Off);
        }
        if let Some(keys) = taken.keys {
            link.guard = Guard::new(keys, Duration::ZERO);
        }
        if link.seat.as_ref().is_some_and(|seat| seat.is_shaking()) && !self.shaking.contains(&place) {
            self.shaking.push(place);
        }
    }

    fn tick(&mut self, now: Time) {
        for place in std::mem::take(&mut self.shaking) {
            let seat = self.port(place).and_then(|p| p.link.as_mut()).and_then(|l| l.seat.as_mut());
            if let Some(taken) = seat.filter(|seat| seat.is_shaking()).map(|seat| seat.tick(now)) {
                self.carry_out(place, taken);
            }
        }
    }

    /// Reports browsers that were there and are no more, once each.
    fn look_for_browsers(&mut self, now: Time) {
        let links = self.ports.iter_mut().flatten().filter_map(|port| port.link.as_mut());
        for link in links.filter(|link| link.seat.is_some() && link.guard.is_some() && !link.gone) {
            if now.since(link.alive) >= GONE {
                link.gone = true;
                link.tell(true);
                one_more(&self.traffic.gone);
                (self.report)(link.call, "nothing comes from a browser any more");
            }
        }
    }

    /// Reports relays in which nobody is heard, once each.
    fn look(&mut self, now: Time) {
        self.look_for_browsers(now);
        let silence = self.range.settings().silence;
        let mut relays = 0;
        for place in 0..self.ports.len() {
            let Some(link) = self.ports.get(place).and_then(Option::as_ref).and_then(|p| p.link.as_ref()).filter(|l| l.near)
            else {
                continue;
            };
            relays += 1;
            let (call, heard, other) = (link.call, link.heard, link.other);
            if silence.is_zero() || link.held || link.silent || now.since(heard) < silence {
                continue;
            }
            let across = other.and_then(|other| self.port(other)).and_then(|p| p.link.as_ref());
            // Where there is a browser, that is what is looked after.
            let with_browser = across.is_some_and(|l| l.seat.is_some());
            let across = across.is_none_or(|l| now.since(l.heard) >= silence);
            if across && let Some(link) = self.port(place).and_then(|p| p.link.as_mut()) {
                link.silent = true;
                if !with_browser && link.seat.is_none() {
                    link.tell(true);
                }
                one_more(&self.traffic.silences);
                (self.report)(call, "no audio comes from either side");
            }
        }
        self.traffic.relays.store(relays, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::End;
    use std::net::UdpSocket as Plain;

    const PACKET: &[u8] = &[0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0x7f];

    fn relay(ports: (u16, u16), claimed: &[SocketAddr]) -> Relay {
        relay_with(ports, claimed, Duration::ZERO)
    }

    fn relay_with(ports: (u16, u16), claimed: &[SocketAddr], silence: Duration) -> Relay {
        let bind = "0.0.0.0".parse().expect("an address");
        let settings = Settings { bind, ports, learn: Learn::Host, silence };
        Relay::start(settings, None, claimed.iter().copied(), Box::new(|_, _| ()))
    }

    fn party(ip: &str) -> Plain {
        let socket = Plain::bind((ip, 0)).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a time-out");
        socket
    }

    fn end(at: SocketAddr, party: &Plain) -> End {
        let rtp = party.local_addr().ok();
        End { at, rtp, rtcp: None, also: None, keys: None, deaf: false, browser: None }
    }

    fn join(share: &Share, near: End, far: End, restored: bool) {
        let joined = Joined { call: CallId(1), near, far, held: false, restored, since: Time::ZERO };
        share.obey(RelayOrder::Join(Box::new(joined)));
    }

    /// Sends until the other one hears it, from where it should.
    #[track_caller]
    fn is_heard(one: &Plain, to: SocketAddr, other: &Plain, from: SocketAddr) {
        let mut buffer = [0; 100];
        for _ in 0..400 {
            let _ = one.send_to(PACKET, to);
            if let Ok((n, by)) = other.recv_from(&mut buffer) {
                assert_eq!((&buffer[..n], by), (PACKET, from));
                return;
            }
        }
        panic!("nothing is heard");
    }

    fn pair(share: &Share, ip: &str) -> SocketAddr {
        share.obey(RelayOrder::Want(ip.parse().expect("an address"), 1));
        let (_, pairs) = share.ready_within(Duration::from_secs(5)).expect("a pair");
        pairs.first().expect("a pair").at
    }

    #[test]
    fn ipv4_and_ipv6_hear_each_other() {
        let Ok(six) = Plain::bind("[::1]:0") else { return eprintln!("no IPv6 here") };
        drop(six);
        let share = relay((24_000, 24_099), &[]).for_shard();
        let (four, six) = (party("127.0.0.61"), party("::1"));
        let (near, far) = (pair(&share, "127.0.0.60"), pair(&share, "::1"));
        join(&share, end(near, &four), end(far, &six), false);
        is_heard(&four, near, &six, far);
        is_heard(&six, far, &four, near);
    }

    /// Waits until the shard is told so.
    #[track_caller]
    fn until_told(share: &Share, silent: bool) {
        for _ in 0..1000 {
            match share.hearing() {
                Some(said) => return assert_eq!(said, Hearing { call: CallId(1), silent }),
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        panic!("the shard is told nothing");
    }

    #[test]
    fn c3_a_shard_is_told_once_of_a_call_in_which_nobody_is_heard_and_once_when_somebody_is() {
        let relay = relay_with((24_200, 24_299), &[], Duration::from_millis(500));
        let share = relay.for_shard();
        let (one, other) = (party("127.0.0.65"), party("127.0.0.66"));
        let (near, far) = (pair(&share, "127.0.0.67"), pair(&share, "127.0.0.67"));
        join(&share, end(near, &one), end(far, &other), false);
        for (from, to) in [((&one, near), (&other, far)), ((&other, far), (&one, near))] {
            until_told(&share, true);
            is_heard(from.0, from.1, to.0, to.1);
            until_told(&share, false);
        }
        until_told(&share, true);
        join(&share, end(near, &one), end(far, &other), false);
        until_told(&share, false);
    }

    #[test]
    fn b1_a_port_that_the_run_before_still_has_is_taken_as_soon_as_it_is_free() {
        let before = Plain::bind("127.0.0.62:24100").expect("a socket");
        let claimed: Vec<SocketAddr> = ["127.0.0.62:24100", "127.0.0.62:24102"].map(|at| at.parse().expect("an address")).into();
        let relay = relay((24_100, 24_105), &claimed);
        let share = relay.for_shard();
        let (one, other) = (party("127.0.0.63"), party("127.0.0.64"));
        join(&share, end(claimed[0], &one), end(claimed[1], &other), true);
        assert_eq!(pair(&share, "127.0.0.62").port(), 24_104, "what is claimed is given to nobody else");
        assert!(other.recv_from(&mut [0; 100]).is_err());
        drop(before);
        is_heard(&one, claimed[0], &other, claimed[1]);
        is_heard(&other, claimed[1], &one, claimed[0]);
        share.obey(RelayOrder::Release(claimed.iter().copied().collect()));
        for _ in 0..400 {
            if relay.traffic.pairs.load(Relaxed) == 1 {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the ports are kept");
    }
}

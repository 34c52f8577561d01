//! A million calls: callers and callees in one thread, over UDP, with transactions of their own by RFC 3261's timers, that keep the
//! books. What a call is and how it goes is fixed by its number ([`plan`]); callers offer it on schedule, whatever the gateway does.
//!
//! Read [`Soak`] first; `calls.rs` has the callers, `legs.rs` the callees.
//!
//! **When a set-up is complete.** Its INVITE, repeated by Timer A until anything is heard (RFC 3261 section 17.1.1.2), is answered
//! by a 2xx; or was heard to ring by a caller who then gives up, and ends with 487. Only `kill -9` allows more: RULES B1 promises the
//! call to whoever repeats her INVITE, and who has heard a provisional response repeats nothing. Such a caller, whom the kill cut off
//! before an answer, waits for [`PATIENCE`], gives up and dials again, once. No other event allows a second dialing.

#![allow(unreachable_pub)] // as in common, whose part it is by its place

pub mod book;
mod calls;
mod legs;
pub mod plan;
pub mod tally;
mod wire;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};

use crate::common::clock::Stopwatch;
use book::Book;
use plan::{Kind, Plan};
use tally::Tally;

/// RFC 3261 section 17.1.1.1, in us.
const T1: u64 = 500_000;
const T2: u64 = 4_000_000;
/// Timers B, F and H.
const TIMEOUT: u64 = 64 * T1;
/// How long a caller who was cut off by a kill waits before she dials again, in us.
pub const PATIENCE: u64 = 2_000_000;
/// A dialog is durable 100 ms after its answer (RULES B1), and what a busy machine adds.
const DURABLE: u64 = 400_000;
/// Calls that go on at once, at most: what is due beyond that waits.
const AT_ONCE: usize = 15_000;

/// Where everybody is.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    /// The gateway under test.
    pub gateway: SocketAddr,
    /// The PBX: callers, and the phones that are called back.
    pub pbx: SocketAddr,
    /// The first trunk: its carrier's PSAP, and who calls back its numbers.
    pub trunk_a: SocketAddr,
    /// The second one.
    pub trunk_b: SocketAddr,
    /// Where ordinary calls go.
    pub next_hop: SocketAddr,
    /// Where ordinary calls go whose audio goes through the gateway.
    pub anchored: SocketAddr,
    /// The desk.
    pub desk: SocketAddr,
}

/// One of these places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Pbx,
    TrunkA,
    TrunkB,
    NextHop,
    Anchored,
    Desk,
}

const PLACES: [Place; 6] = [Place::Pbx, Place::TrunkA, Place::TrunkB, Place::NextHop, Place::Anchored, Place::Desk];

/// How the first trunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trunk {
    /// Well.
    Up,
    /// Nothing gets there, nothing comes from there.
    Silent,
    /// Answers new calls with 503.
    Refuses,
}

enum Order {
    Offer(u64),
    Pace(f64),
    Trunk(Trunk),
    Phase(&'static str),
    Join(u32),
    Killed,
    BackAgain,
    HandingOver,
    Stop,
}

/// Callers and callees.
pub struct Soak {
    orders: Sender<Order>,
    tally: Arc<Mutex<Tally>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Soak {
    /// They are in their places; so many people dial 911.
    pub fn start(places: Places, people: u32) -> Self {
        let (orders, taken) = channel();
        let tally = Arc::<Mutex<Tally>>::default();
        let mut crew = Crew::new(places, people);
        let shown = Arc::clone(&tally);
        let thread = Some(std::thread::spawn(move || crew.run(&taken, &shown)));
        Self { orders, tally, thread }
    }

    /// So many more calls, after those that wait.
    pub fn offer(&self, calls: u64) {
        self.tally.lock().unwrap().waiting += calls;
        self.tell(Order::Offer(calls));
    }

    /// So many a second.
    pub fn pace(&self, calls: f64) {
        self.tell(Order::Pace(calls));
    }

    /// The first trunk changes.
    pub fn trunk(&self, how: Trunk) {
        self.tell(Order::Trunk(how));
    }

    /// What is going on, for the figures.
    pub fn phase(&self, name: &'static str) {
        self.tell(Order::Phase(name));
    }

    /// So many people more dial 911, who never did.
    pub fn join(&self, newcomers: u32) {
        self.tell(Order::Join(newcomers));
    }

    /// The gateway has been killed.
    pub fn killed(&self) {
        self.tell(Order::Killed);
    }

    /// It is there again.
    pub fn back_again(&self) {
        self.tell(Order::BackAgain);
    }

    /// It is handing over: ordinary calls that ring may be lost by that.
    pub fn handing_over(&self) {
        self.tell(Order::HandingOver);
    }

    /// So far.
    pub fn tally(&self) -> Tally {
        self.tally.lock().unwrap().clone()
    }

    fn tell(&self, order: Order) {
        self.orders.send(order).expect("the callers are there");
    }
}

impl Drop for Soak {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Stop);
        if let Some(Err(panic)) = self.thread.take().map(std::thread::JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// Something of this call, by its `next`.
    Call(u32),
    /// Its caller gives up, or hangs up.
    Enough(u32),
    /// She dials again if nothing has been answered.
    Redial(u32),
    /// Something of this leg, by its `next`.
    Leg(u32),
}

/// The thread's own.
struct Crew {
    places: Places,
    poll: Poll,
    sockets: Vec<UdpSocket>,
    watch: Stopwatch,
    due: BinaryHeap<Reverse<(u64, Due)>>,
    trunk: Trunk,
    phase: &'static str,
    pace: f64,
    /// Offered since the pace was set, and when that was.
    offered: (u64, u64),
    waiting: u64,
    next: u32,
    calls: HashMap<u32, calls::Call>,
    legs: HashMap<u32, legs::Leg>,
    /// By Call-ID.
    leg_of: HashMap<String, u32>,
    next_leg: u32,
    /// How often which call was refused by trunks.
    refused: HashMap<u32, u32>,
    book: Book,
    tally: Tally,
}

impl Crew {
    fn new(places: Places, people: u32) -> Self {
        let poll = Poll::new().expect("epoll");
        let mut crew = Self {
            places,
            poll,
            sockets: Vec::new(),
            watch: Stopwatch::start(),
            due: BinaryHeap::new(),
            trunk: Trunk::Up,
            phase: "steady",
            pace: 1000.0,
            offered: (0, 0),
            waiting: 0,
            next: 0,
            calls: HashMap::new(),
            legs: HashMap::new(),
            leg_of: HashMap::new(),
            next_leg: 0,
            refused: HashMap::new(),
            book: Book::of(people),
            tally: Tally::default(),
        };
        for place in PLACES {
            let at = crew.at(place);
            let socket = std::net::UdpSocket::bind(at).unwrap_or_else(|e| panic!("{at}: {e}"));
            let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20);
            socket.set_nonblocking(true).expect("a socket");
            let mut socket = UdpSocket::from_std(socket);
            crew.poll.registry().register(&mut socket, Token(place as usize), Interest::READABLE).expect("registered");
            crew.sockets.push(socket);
        }
        crew
    }

    fn run(&mut self, orders: &Receiver<Order>, shown: &Mutex<Tally>) {
        let mut events = Events::with_capacity(16);
        let mut buffer = vec![0; 65_535];
        let mut last_shown = 0;
        loop {
            let _ = self.poll.poll(&mut events, Some(Duration::from_millis(1)));
            // Edge by edge, and whatever the edges say: each is read until it is empty.
            for place in PLACES {
                while let Some(n) = self.receive(place, &mut buffer) {
                    self.take(place, &buffer[..n]);
                }
            }
            let now = self.now();
            while let Some(Reverse((at, what))) = self.due.peek().copied().filter(|Reverse((at, _))| *at <= now) {
                self.due.pop();
                self.on_time(at, what);
            }
            self.offer_what_is_due(now);
            while let Ok(order) = orders.try_recv() {
                if matches!(order, Order::Stop) {
                    return;
                }
                self.obey(order);
            }
            if now > last_shown + 50_000 {
                last_shown = now;
                self.show(shown);
            }
        }
    }

    fn show(&mut self, shown: &Mutex<Tally>) {
        self.tally.going_on = self.calls.len();
        self.tally.legs = self.legs.values().filter(|leg| !leg.is_over()).count();
        self.tally.waiting = self.waiting;
        *shown.lock().unwrap() = self.tally.clone();
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Offer(calls) => {
                if self.waiting == 0 {
                    self.offered = (0, self.now());
                }
                self.waiting += calls;
            }
            Order::Pace(pace) => (self.pace, self.offered) = (pace, (0, self.now())),
            Order::Trunk(how) => self.trunk = how,
            Order::Phase(name) => self.phase = name,
            Order::Join(newcomers) => self.book.join(newcomers),
            Order::Killed => self.on_kill(),
            Order::BackAgain => self.on_return(),
            Order::HandingOver => self.on_hand_over(),
            Order::Stop => {}
        }
    }

    fn offer_what_is_due(&mut self, now: u64) {
        let (offered, since) = self.offered;
        let due = (self.pace * (now - since) as f64 / 1e6) as u64;
        let now = due.saturating_sub(offered).min(self.waiting).min(64);
        for _ in 0..now {
            if self.calls.len() >= AT_ONCE {
                return;
            }
            self.offered.0 += 1;
            self.waiting -= 1;
            self.begin();
        }
    }

    fn begin(&mut self) {
        let n = self.next;
        self.next += 1;
        match Plan::of(n) {
            plan @ Plan { kind: Kind::Emergency, .. } => {
                let person = self.book.caller();
                self.dial(n * 2, plan, Some(person), String::new(), Place::Pbx);
            }
            plan @ Plan { kind: Kind::Callback, .. } => {
                let (trunk, now) = (self.trunk, self.now());
                let called = self.book.called(now, |number| trunk == Trunk::Up || trunk_of(number) != Place::TrunkA);
                let Some((person, number, marked)) = called else {
                    return self.dial(n * 2, Plan::ordinary(n), None, String::new(), Place::Pbx);
                };
                let mark = if marked { "Priority: psap-callback\r\n" } else { "" };
                self.dial(n * 2, plan, Some(person), format!("+{number} {mark}"), trunk_of(number));
            }
            plan => self.dial(n * 2, plan, None, String::new(), Place::Pbx),
        }
    }

    fn take(&mut self, place: Place, bytes: &[u8]) {
        let Some(seen) = wire::Seen::read(bytes) else { return };
        let is_ours = seen.call_id.starts_with("soak-");
        match (seen.status(), is_ours) {
            (0, true) => self.take_request_to_caller(place, &seen),
            (0, false) => self.take_request_to_callee(place, &seen),
            (_, true) => self.take_response_to_caller(place, &seen),
            (_, false) => self.take_response_to_callee(&seen),
        }
    }

    fn on_time(&mut self, at: u64, what: Due) {
        match what {
            Due::Call(id) => self.call_again(id, at),
            Due::Enough(id) => self.enough(id),
            Due::Redial(id) => self.redial(id),
            Due::Leg(leg) => self.leg_on_time(leg, at),
        }
    }

    fn receive(&self, place: Place, buffer: &mut [u8]) -> Option<usize> {
        loop {
            match self.sockets[place as usize].recv_from(buffer) {
                Ok((n, _)) if !self.is_cut_off(place) => return Some(n),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return None,
                // A refused datagram is told here: nobody listens now.
                Err(_) => {}
            }
        }
    }

    fn send(&self, place: Place, text: &str) {
        if !self.is_cut_off(place) {
            let _ = self.sockets[place as usize].send_to(text.as_bytes(), self.places.gateway);
        }
    }

    fn is_cut_off(&self, place: Place) -> bool {
        place == Place::TrunkA && self.trunk == Trunk::Silent
    }

    fn later(&mut self, us: u64, what: Due) -> u64 {
        let at = self.now() + us;
        self.due.push(Reverse((at, what)));
        at
    }

    fn now(&self) -> u64 {
        self.watch.elapsed().as_micros() as u64
    }

    fn at(&self, place: Place) -> SocketAddr {
        let Places { pbx, trunk_a, trunk_b, next_hop, anchored, desk, .. } = self.places;
        [pbx, trunk_a, trunk_b, next_hop, anchored, desk][place as usize]
    }
}

/// Numbers of the first trunk begin with 1425.
fn trunk_of(number: u64) -> Place {
    if number / 10_000_000 == 1425 { Place::TrunkA } else { Place::TrunkB }
}

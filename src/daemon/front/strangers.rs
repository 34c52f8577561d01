//! Messages of people whom nobody knows: so many from each address, and their datagrams behind everything else.
//!
//! A stranger is neither a neighbour nor at a place where a device is registered, and what he sends holds no id of ours: it
//! belongs to no call. Whoever that leaves out is never limited here. Registered devices are left out, so that they can
//! refresh their bindings through any flood. Read [`Strangers::admit`] first.

use crate::sip::{Flow, Message, Method, Transport};
use crate::words::Time;
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

/// Messages that wait in a line at most.
const LONGEST: usize = 512;
/// And their bytes.
const MOST_BYTES: usize = 1 << 20;
/// Messages that are taken before the front looks at its sockets again: an emergency waits for no more.
pub(super) const SHARE: usize = 8;

/// Those that wait, and how much each address may send.
pub(super) struct Strangers {
    limits: Limits,
    /// An agent whose telephone is not registered shows her password with the call: that waits for no REGISTER.
    calls: Line,
    others: Line,
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<(Flow, Message)>,
    bytes: usize,
}

impl Strangers {
    /// So many messages a second from one address, INVITEs and others for themselves, and five times as many at once.
    pub(super) fn new(rate: u32) -> Self {
        Self { limits: Limits::new(rate), calls: Line::default(), others: Line::default() }
    }

    /// A new configuration.
    pub(super) fn set_rate(&mut self, rate: u32) {
        self.limits.set_rate(rate);
    }

    /// Whether one more message of this stranger's is taken. Datagrams are counted by address; of streams each connection is for
    /// itself, since nobody can forge one, and a whole site may be behind one address.
    pub(super) fn admit(&mut self, flow: Flow, msg: &Message, now: Time) -> bool {
        let connection = if flow.transport == Transport::Udp { 0 } else { flow.remote.port() };
        self.limits.admit((flow.remote.ip(), connection, is_call(msg)), now)
    }

    /// Has a datagram wait; false where there is no room for it. Who has sent it sends it again.
    pub(super) fn join(&mut self, flow: Flow, msg: Message) -> bool {
        if is_call(&msg) { self.calls.join(flow, msg) } else { self.others.join(flow, msg) }
    }

    /// The one whose turn it is: calls first, and who has waited longest.
    pub(super) fn next(&mut self) -> Option<(Flow, Message)> {
        self.calls.next().or_else(|| self.others.next())
    }

    /// Whether somebody waits.
    pub(super) fn wait(&self) -> bool {
        !self.calls.waiting.is_empty() || !self.others.waiting.is_empty()
    }
}

impl Line {
    fn join(&mut self, flow: Flow, msg: Message) -> bool {
        let len = msg.bytes().len();
        let has_room = self.waiting.len() < LONGEST && self.bytes + len <= MOST_BYTES;
        if has_room {
            self.bytes += len;
            self.waiting.push_back((flow, msg));
        }
        has_room
    }

    fn next(&mut self) -> Option<(Flow, Message)> {
        let next = self.waiting.pop_front()?;
        self.bytes -= next.1.bytes().len();
        if self.waiting.is_empty() {
            // After a flood its memory goes back.
            self.waiting.shrink_to(SHARE);
        }
        Some(next)
    }
}

fn is_call(msg: &Message) -> bool {
    msg.is_request() && msg.method() == Method::Invite
}

/// Who is counted: an address, with a port the connection from there; calls for themselves.
type Sender = (IpAddr, u16, bool);

/// One time for each address: when it will have paid for what it has sent (a leaky bucket as a meter, GCRA of ITU-T I.371).
/// One that has paid is as good as none, so that forgetting it loses nothing. The memory is fixed, a megabyte, of which the
/// system hands out what was written to: an address has its place in one of [`Limits::SETS`] sets, and in a full set whoever
/// owes least makes room. Sets are chosen by a keyed hash: nobody outside can fill one.
struct Limits {
    hash: RandomState,
    /// Of each place the upper half tells the address apart, 0: nobody; the lower half is its time in [`TICK`]s, modulo 2^32.
    sets: Box<[[u64; Self::WAYS]]>,
    /// What a message costs, in ticks.
    price: u32,
}

/// Microseconds.
const TICK: u64 = 10;

impl Limits {
    const SETS: usize = 1 << 14;
    const WAYS: usize = 8;
    /// How far an address may be in debt: 5 s.
    const DEPTH: u32 = 500_000;

    fn new(rate: u32) -> Self {
        // All zero: nothing of it is touched before it is used.
        let sets = vec![[0; Self::WAYS]; Self::SETS].into_boxed_slice();
        let mut limits = Self { hash: RandomState::new(), sets, price: 1 };
        limits.set_rate(rate);
        limits
    }

    fn set_rate(&mut self, rate: u32) {
        self.price = (Self::DEPTH / 5 / rate.max(1)).max(1);
    }

    /// Whether one more message is taken. Of IPv6 the network counts, since a host has it all.
    fn admit(&mut self, (ip, connection, calls): Sender, now: Time) -> bool {
        let hash = match ip.to_canonical() {
            IpAddr::V4(ip) => self.hash.hash_one((ip.to_bits(), connection, calls)),
            IpAddr::V6(ip) => self.hash.hash_one((ip.to_bits() >> 64, connection, calls)),
        };
        let now = (now.as_micros() / TICK) as u32;
        let print = (hash >> 32) as u32 | 1;
        let Some(set) = self.sets.get_mut(hash as usize % Self::SETS) else { return true };
        let owes = |place: &u64| debt(*place as u32, now);
        let own = set.iter().position(|place| (place >> 32) as u32 == print);
        let place = match own {
            Some(at) => set.get_mut(at),
            None => set.iter_mut().min_by_key(|place| owes(place)),
        };
        let Some(place) = place else { return true };
        let owed = if own.is_some() { owes(place) } else { 0 };
        let after = owed.saturating_add(self.price);
        let admits = after <= Self::DEPTH;
        let until = now.wrapping_add(if admits { after } else { owed });
        *place = u64::from(print) << 32 | u64::from(until);
        admits
    }
}

/// What is still to be paid at this time. A time further ahead than anybody may be in debt is one that has passed.
fn debt(until: u32, now: u32) -> u32 {
    let ahead = until.wrapping_sub(now);
    if ahead <= Limits::DEPTH { ahead } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::net::{Ipv4Addr, SocketAddr};
    use std::time::Duration;

    fn ip(n: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0A00_0000 + n).into()
    }

    fn at(ms: u64) -> Time {
        Time::from_micros(1_000_000_000) + Duration::from_millis(ms)
    }

    fn admitted(limits: &mut Limits, from: IpAddr, ms: u64, tries: usize) -> usize {
        (0..tries).filter(|_| limits.admit((from, 0, false), at(ms))).count()
    }

    #[test]
    fn an_address_may_send_five_seconds_worth_at_once_and_then_its_rate() {
        let mut limits = Limits::new(100);
        for (ms, tries, want) in [(0, 1000, 500), (10, 50, 1), (1_010, 500, 100), (1_010, 10, 0), (60_000, 1000, 500)] {
            assert_eq!(admitted(&mut limits, ip(1), ms, tries), want, "after {ms} ms");
        }
        assert_eq!(admitted(&mut limits, ip(2), 0, 1000), 500, "another address");
        assert!(limits.admit((ip(2), 0, true), at(0)), "a call");
        limits.set_rate(10);
        assert_eq!(admitted(&mut limits, ip(3), 0, 1000), 50, "another rate");
    }

    #[test]
    fn a_refused_message_costs_nothing_and_times_may_wrap() {
        let mut limits = Limits::new(100);
        assert_eq!(admitted(&mut limits, ip(1), 0, 100_000), 500);
        assert_eq!(admitted(&mut limits, ip(1), 5_000, 1000), 500);
        // 2^32 ticks are 42,949,672.96 ms.
        for ms in [21_474_836, 42_949_000, 42_954_000, 64_000_000, 42_949_673 * 3] {
            assert_eq!(admitted(&mut limits, ip(1), ms, 1000), 500, "after {ms} ms");
        }
    }

    #[test]
    fn the_networks_of_ipv6_count_and_mapped_addresses_are_those_that_they_map() {
        let mut limits = Limits::new(1);
        let of = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!(admitted(&mut limits, of("2001:db8::1"), 0, 10), 5);
        assert_eq!(admitted(&mut limits, of("2001:db8::2"), 0, 10), 0);
        assert_eq!(admitted(&mut limits, of("2001:db8:0:1::1"), 0, 10), 5);
        assert_eq!(admitted(&mut limits, of("192.0.2.1"), 0, 10), 5);
        assert_eq!(admitted(&mut limits, of("::ffff:192.0.2.1"), 0, 10), 0);
    }

    #[test]
    fn a_hundred_thousand_addresses_are_kept_apart_in_fixed_memory() {
        let mut limits = Limits::new(1);
        let memory = |l: &Limits| size_of_val(&*l.sets);
        assert_eq!(memory(&limits), 1 << 20);
        let refused = |limits: &mut Limits| (0..100_000).filter(|n| !limits.admit((ip(*n), 0, false), at(0))).count();
        for _ in 0..5 {
            assert_eq!(refused(&mut limits), 0);
        }
        // Some sets have more than eight of them, and somebody of these had to go.
        let sixth = refused(&mut limits);
        assert!(sixth > 85_000, "{sixth} of 100,000");
        assert_eq!(memory(&limits), 1 << 20);
    }

    #[test]
    fn two_hundred_thousand_forged_addresses_do_not_make_room_for_one_that_sends_too_much() {
        let mut limits = Limits::new(100);
        assert_eq!(admitted(&mut limits, ip(0), 0, 1000), 500);
        let others = (1..200_000).filter(|n| limits.admit((ip(*n), 0, false), at(1))).count();
        assert_eq!(others, 199_999);
        assert!(admitted(&mut limits, ip(0), 1, 1000) < 2);
    }

    #[test]
    fn a_site_behind_one_address_has_a_limit_for_each_connection_and_calls_have_their_own() {
        let mut strangers = Strangers::new(1);
        let by = |transport: Transport, port: u16| Flow {
            transport,
            listener: 0,
            remote: SocketAddr::new(ip(1), port),
            connection: u32::from(port),
            name: 0,
        };
        let request = |method: &str| Message::scan(Bytes::from(format!("{method} sip:x SIP/2.0\r\n\r\n"))).expect("a request");
        let mut taken = |flow, method| (0..10).filter(|_| strangers.admit(flow, &request(method), at(0))).count();
        assert_eq!(taken(by(Transport::Udp, 5060), "REGISTER"), 5);
        assert_eq!(taken(by(Transport::Udp, 5061), "REGISTER"), 0, "ports of datagrams are forged as easily");
        assert_eq!(taken(by(Transport::Udp, 5060), "INVITE"), 5);
        for port in 40_000..42_000 {
            assert_eq!(taken(by(Transport::Tls, port), "REGISTER"), 5, "{port}");
        }
        assert_eq!(taken(by(Transport::Tls, 41_999), "REGISTER"), 0);
    }

    #[test]
    fn strangers_wait_in_a_line_with_an_end() {
        let mut strangers = Strangers::new(100);
        let flow = |n: u32| Flow {
            transport: Transport::Udp,
            listener: 0,
            remote: SocketAddr::new(ip(n), 5060),
            connection: 0,
            name: 0,
        };
        let request = |method: &str, len: usize| {
            let text = format!("{method} sip:x SIP/2.0\r\nX: {}\r\n\r\n", "x".repeat(len));
            Message::scan(Bytes::from(text)).expect("a request")
        };
        let msg = |len: usize| request("REGISTER", len);
        let taken = (0..200_000).filter(|n| strangers.admit(flow(*n), &msg(10), at(0)) && strangers.join(flow(*n), msg(10)));
        assert_eq!(taken.count(), LONGEST);
        assert!(strangers.join(flow(7), request("INVITE", 10)), "a call has a line of its own");
        assert_eq!(strangers.next().map(|(_, msg)| msg.method()), Some(Method::Invite), "whose turn comes first");
        for n in 0..LONGEST {
            let next = strangers.next().expect("somebody waits");
            assert_eq!(next.0.remote.ip(), ip(u32::try_from(n).unwrap()), "in their order");
        }
        assert!(!strangers.wait() && strangers.next().is_none() && strangers.others.bytes == 0);
        assert!(strangers.others.waiting.capacity() <= LONGEST / 2, "{}", strangers.others.waiting.capacity());
        let long = (0..200).filter(|n| strangers.join(flow(*n), msg(60_000))).count();
        assert_eq!(long, MOST_BYTES / 60_031);
    }
}

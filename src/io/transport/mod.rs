//! SIP over sockets: datagrams and streams in, datagrams and streams out.
//!
//! It moves bytes and says which [`Flow`](crate::sip::Flow) they came by; it does not read them (the framer of the SIP
//! core cuts streams into messages). [`udp::Ports`] sends datagrams from any thread; [`udp::Inbox`] receives them;
//! [`stream::Streams`] keeps the connections, of TCP, TLS and
//! WebSocket. Each neighbour that is reached by UDP has a connected socket of its own.

pub mod connection;
pub mod stream;
pub mod stun;
mod tcp;
pub mod tls;
pub mod udp;
mod websocket;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

/// What became of a message that was to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is on its way, or in a queue of the kernel's or ours.
    Yes,
    /// Buffers are full: it is lost, and SIP retransmits. Datagrams only.
    Dropped,
    /// Nobody is there: the far end's host said so, or it has not read its stream for long.
    Refused,
    /// It cannot be sent from here: no route, too large, no such listener, too many connections.
    Impossible,
}

/// Counts what was lost on the way. One for all threads.
#[derive(Debug, Default)]
pub struct Counters {
    /// Datagrams and frames that hold no SIP message.
    pub unreadable: AtomicU64,
    /// Messages that were not sent because buffers were full.
    pub dropped: AtomicU64,
    /// Messages that came in and were not taken, because the thread they were for is overloaded.
    pub overload: AtomicU64,
    /// Messages that were not taken because nobody knows who sends so many.
    pub strangers: AtomicU64,
    /// Connections that were closed at once: too many.
    pub turned_away: AtomicU64,
    /// Connections whose framing was lost.
    pub broken: AtomicU64,
    /// Connections that began with something else than what their port speaks.
    pub misfit: AtomicU64,
    /// TLS handshakes that failed.
    pub handshake: AtomicU64,
}

impl Counters {
    /// Counts one more.
    pub fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// The networks that neighbours send from: their connections are not limited as strangers' are.
#[derive(Clone, Debug, Default)]
pub struct Known(pub Vec<(IpAddr, u8)>);

impl Known {
    /// Whether the address lies in one of them.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|(net, bits)| is_within(ip.to_canonical(), *net, *bits))
    }
}

fn is_within(ip: IpAddr, net: IpAddr, bits: u8) -> bool {
    match (ip, net) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).checked_shr(32 - u32::from(bits.min(32))).unwrap_or(0) == 0,
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            (a.to_bits() ^ b.to_bits()).checked_shr(128 - u32::from(bits.min(128))).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_the_addresses_with_its_first_bits() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let known = Known(vec![(ip("10.0.0.5"), 32), (ip("10.0.1.0"), 24), (ip("2001:db8::"), 32)]);
        for (text, inside) in [
            ("10.0.0.5", true),
            ("10.0.0.6", false),
            ("10.0.1.77", true),
            ("10.0.2.1", false),
            ("::ffff:10.0.0.5", true),
            ("2001:db8::1", true),
            ("2001:db9::1", false),
        ] {
            assert_eq!(known.contains(ip(text)), inside, "{text}");
        }
        assert!(Known(vec![(ip("0.0.0.0"), 0)]).contains(ip("192.0.2.1")), "everything");
    }
}

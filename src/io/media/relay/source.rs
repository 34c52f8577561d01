//! Whose packets one end of a relay takes: those of the source that was negotiated, and of nobody else.
//!
//! Behind a NAT nobody sends from where its SDP says. So the source is learned, once, from the first packets, and then locked;
//! by [`Learn`] it must come from the host that the SDP names or that the SIP comes from, and whoever it is not gets no more
//! than [`MOST_LEAKED`] packets through before that. A packet from the very address that was negotiated ends all learning.

use std::net::{IpAddr, SocketAddr};

/// Packets of sources that are not settled yet which are let through, in all.
pub const MOST_LEAKED: u8 = 5;
/// So many in a row are believed.
const BELIEVED: u8 = 3;

/// Whose packets may be believed besides those of the negotiated address (`media.learn`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Learn {
    /// Nobody's.
    Off,
    /// Those of another port of that host, and those of the host that the SIP comes from: a NAT with one address.
    #[default]
    Host,
    /// Whoever's come first: a NAT with several.
    Any,
}

/// See the module's docs. Knows where somebody is: no `Debug`.
#[derive(Clone, Default)]
pub struct Source {
    negotiated: Option<SocketAddr>,
    also: Option<IpAddr>,
    learn: Learn,
    locked: Option<SocketAddr>,
    settled: bool,
    leaked: u8,
    candidate: Option<(SocketAddr, u8)>,
}

impl Source {
    /// Expects packets from `negotiated`; `also` is the host that the SIP comes from.
    pub const fn new(negotiated: Option<SocketAddr>, also: Option<IpAddr>, learn: Learn) -> Self {
        Self { negotiated, also, learn, locked: None, settled: false, leaked: 0, candidate: None }
    }

    /// Whether this is another agreement than that of before; one that is the same changes nothing of what was learned.
    pub fn is_for(&self, negotiated: Option<SocketAddr>, also: Option<IpAddr>) -> bool {
        (self.negotiated, self.also) == (negotiated, also)
    }

    /// Whether a packet that came from there is let through.
    pub fn admits(&mut self, from: SocketAddr) -> bool {
        if self.negotiated == Some(from) {
            (self.locked, self.settled) = (Some(from), true);
            return true;
        }
        if let Some(locked) = self.locked {
            return locked == from;
        }
        if !self.is_plausible(from) {
            return false;
        }
        let seen = match self.candidate {
            Some((who, seen)) if who == from => seen + 1,
            _ => 1,
        };
        self.candidate = Some((from, seen));
        if seen >= BELIEVED {
            self.locked = Some(from);
        }
        let through = self.leaked < MOST_LEAKED;
        self.leaked += u8::from(through);
        through || self.locked.is_some()
    }

    /// Whether a packet that came from there might be let through: worth a look.
    pub fn may_admit(&self, from: SocketAddr) -> bool {
        self.negotiated == Some(from) || self.locked.map_or_else(|| self.is_plausible(from), |locked| locked == from)
    }

    /// Where packets for it go.
    pub fn towards(&self) -> Option<SocketAddr> {
        self.locked.or(self.negotiated)
    }

    fn is_plausible(&self, from: SocketAddr) -> bool {
        match self.learn {
            Learn::Off => false,
            Learn::Host => self.negotiated.is_some_and(|n| n.ip() == from.ip()) || self.also == Some(from.ip()),
            Learn::Any => self.negotiated.is_some_and(|n| n.is_ipv4() == from.is_ipv4()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn source(learn: Learn) -> Source {
        Source::new(Some(at("10.0.0.9:4000")), Some(at("203.0.113.9:1").ip()), learn)
    }

    fn let_through(source: &mut Source, from: &str, packets: usize) -> usize {
        (0..packets).filter(|_| source.admits(at(from))).count()
    }

    #[test]
    fn the_negotiated_source_is_heard_from_its_first_packet_and_strangers_never() {
        for learn in [Learn::Host, Learn::Off] {
            let mut source = source(learn);
            assert_eq!(let_through(&mut source, "198.51.100.1:4000", 100), 0);
            assert_eq!(let_through(&mut source, "10.0.0.9:4000", 10), 10);
            for stranger in ["198.51.100.1:4000", "10.0.0.9:4002", "203.0.113.9:4000"] {
                assert_eq!(let_through(&mut source, stranger, 100), 0, "{stranger}");
            }
            assert_eq!(source.towards(), Some(at("10.0.0.9:4000")));
        }
    }

    #[test]
    fn a_phone_behind_a_nat_is_learned_once_and_locked() {
        let mut source = source(Learn::Host);
        assert_eq!(let_through(&mut source, "203.0.113.9:61000", 10), 10);
        assert_eq!(source.towards(), Some(at("203.0.113.9:61000")));
        assert_eq!(let_through(&mut source, "203.0.113.9:61002", 100), 0);
        assert_eq!(let_through(&mut source, "203.0.113.9:61000", 10), 10);
    }

    #[test]
    fn at_most_five_packets_of_others_leak_while_it_is_not_settled() {
        let mut source = source(Learn::Host);
        let mut leaked = 0;
        for n in 0..100 {
            leaked += let_through(&mut source, &format!("203.0.113.9:{}", 5000 + n % 7), 1);
        }
        assert_eq!(leaked, usize::from(MOST_LEAKED));
        assert_eq!(let_through(&mut source, "10.0.0.9:4000", 10), 10);
        assert_eq!(let_through(&mut source, "203.0.113.9:5000", 10), 0);
    }

    #[test]
    fn without_learning_none_leaks() {
        let mut source = source(Learn::Off);
        assert_eq!(let_through(&mut source, "10.0.0.9:4002", 100) + let_through(&mut source, "203.0.113.9:61000", 100), 0);
        assert_eq!(let_through(&mut Source::new(None, None, Learn::Host), "10.0.0.9:4000", 10), 0);
    }

    #[test]
    fn whoever_comes_first_is_believed_where_that_is_wanted_and_five_packets_of_others_at_most() {
        let mut source = source(Learn::Any);
        let mut leaked = 0;
        for n in 0..50 {
            leaked += let_through(&mut source, &format!("198.51.100.1:{}", 5000 + n % 7), 1);
        }
        assert_eq!(leaked, usize::from(MOST_LEAKED));
        assert_eq!(let_through(&mut source, "198.51.100.9:4000", 10), 8, "the third in a row is believed");
        assert_eq!(let_through(&mut source, "198.51.100.1:5000", 10), 0);
        assert_eq!(let_through(&mut source, "10.0.0.9:4000", 10), 10);
    }

    #[test]
    fn whoever_was_believed_before_makes_room_for_the_negotiated_source_once() {
        let mut source = source(Learn::Host);
        let_through(&mut source, "10.0.0.9:4002", 10);
        assert_eq!(let_through(&mut source, "10.0.0.9:4000", 1), 1);
        assert_eq!(let_through(&mut source, "10.0.0.9:4002", 10), 0);
        assert_eq!(source.towards(), Some(at("10.0.0.9:4000")));
    }
}

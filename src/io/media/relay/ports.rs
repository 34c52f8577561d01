//! The ports of the relays: pairs of the configured range, bound at random beginnings and one after the other.

use super::Settings;
use crate::sip::sdes::KeyRing;
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Expedited forwarding (RFC 3246), in the TOS byte.
const VOICE: u32 = 0xb8;

/// See the module's docs.
pub(super) struct Range {
    settings: Settings,
    /// What calls of an earlier run have, until they say so themselves.
    claimed: HashSet<SocketAddr>,
    next: u32,
}

impl Range {
    pub(super) fn new(settings: Settings, claimed: impl IntoIterator<Item = SocketAddr>) -> Self {
        let next = RandomState::new().hash_one(0) as u32;
        Self { settings, claimed: claimed.into_iter().collect(), next }
    }

    pub(super) const fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) const fn configure(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// A free pair that is told as this address; none where all are taken.
    pub(super) fn bind(&mut self, told: IpAddr) -> Option<(SocketAddr, UdpSocket, UdpSocket)> {
        let (low, high) = self.settings.ports;
        let first = u32::from(low) + u32::from(low % 2);
        let count = (u32::from(high) + 1).saturating_sub(first) / 2;
        (0..count).find_map(|_| {
            let port = u16::try_from(first + 2 * (self.next % count)).ok()?;
            self.next = self.next.wrapping_add(1);
            let at = SocketAddr::new(told, port);
            if self.claimed.contains(&at) {
                return None;
            }
            let (rtp, rtcp) = self.open(at)?;
            Some((at, rtp, rtcp))
        })
    }

    /// The pair of an earlier run; `None` while somebody has it.
    pub(super) fn bind_again(&mut self, at: SocketAddr) -> Option<(UdpSocket, UdpSocket)> {
        let pair = self.open(at)?;
        self.claimed.remove(&at);
        Some(pair)
    }

    /// Nobody has a claim to it any more.
    pub(super) fn forget(&mut self, at: SocketAddr) {
        self.claimed.remove(&at);
    }

    fn open(&self, at: SocketAddr) -> Option<(UdpSocket, UdpSocket)> {
        let rtcp = at.port().checked_add(1)?;
        let rtp = self.socket(at.ip(), at.port())?;
        // At the same address as its twin.
        let ip = rtp.local_addr().ok()?.ip();
        Some((rtp, socket(ip, rtcp).ok()?))
    }

    /// Where the address that is told is not ours, as behind a NAT, from whichever the kernel takes.
    fn socket(&self, told: IpAddr, port: u16) -> Option<UdpSocket> {
        let bind = Some(self.settings.bind).filter(|ip| !ip.is_unspecified() && ip.is_ipv4() == told.is_ipv4());
        let own = bind.unwrap_or(told);
        match socket(own, port) {
            Err(e) if e.kind() == io::ErrorKind::AddrNotAvailable => socket(any(told), port).ok(),
            opened => opened.ok(),
        }
    }
}

/// What our keys of one pair are made of; `None` where the system has no randomness.
pub(super) fn keys() -> Option<KeyRing> {
    let mut random = [0; KeyRing::LEN];
    SystemRandom::new().fill(&mut random).ok()?;
    Some(KeyRing::new(random))
}

fn socket(ip: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((ip, port))?;
    socket.set_nonblocking(true)?;
    let options = socket2::SockRef::from(&socket);
    // Networks that look at it carry voice first; one that forbids it carries it all the same.
    let _ = if ip.is_ipv4() { options.set_tos_v4(VOICE) } else { options.set_tclass_v6(VOICE) };
    Ok(socket)
}

const fn any(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn range(ports: (u16, u16), claimed: &[&str]) -> Range {
        let settings =
            Settings { bind: any(here()), ports, learn: crate::io::media::relay::source::Learn::Host, silence: Duration::ZERO };
        Range::new(settings, claimed.iter().map(|at| at.parse().expect("an address")))
    }

    fn here() -> IpAddr {
        "127.0.0.77".parse().expect("an address")
    }

    #[test]
    fn pairs_are_even_and_odd_and_none_is_given_twice_nor_one_of_an_earlier_run() {
        let mut range = range((23_001, 23_008), &["127.0.0.77:23004"]);
        let pairs: Vec<_> = std::iter::from_fn(|| range.bind(here())).collect();
        let mut ports: Vec<_> = pairs
            .iter()
            .map(|(at, rtp, rtcp)| {
                assert_eq!(rtp.local_addr().expect("an address"), *at);
                assert_eq!(rtcp.local_addr().expect("an address").port(), at.port() + 1);
                at.port()
            })
            .collect();
        ports.sort_unstable();
        assert_eq!(ports, [23_002, 23_006]);
        assert!(range.bind_again("127.0.0.77:23004".parse().expect("an address")).is_some());
    }

    #[test]
    fn an_address_that_is_not_ours_is_told_and_another_one_bound() {
        let told = "203.0.113.7".parse().expect("an address");
        let (at, rtp, _) = range((23_020, 23_039), &[]).bind(told).expect("a pair");
        assert_eq!(at.ip(), told);
        assert!(rtp.local_addr().expect("an address").ip().is_unspecified());
    }
}

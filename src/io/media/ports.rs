//! Where audio leaves from: ports of ours, and the address that they are known by (`[media]`).

use crate::io::notifier::template::Language;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// What the configuration says about media.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Sockets are bound to this address; to the one that the caller reaches us by where it is unspecified.
    pub bind: IpAddr,
    /// The address told to others, where it is another one.
    pub public: Option<IpAddr>,
    /// The lowest and the highest port.
    pub ports: (u16, u16),
    /// Of callers without a language of their own.
    pub language: Language,
}

/// Ports that are tried before there is none: taken ones lie together.
const TRIES: u32 = 32;

/// Even ports, one after the other (RFC 3550 section 11: the odd one above is RTCP's).
pub struct Ports {
    bind: Option<IpAddr>,
    public: Option<IpAddr>,
    first: u16,
    /// How many even ports there are.
    count: u16,
    next: u16,
}

impl Ports {
    /// The ports of this configuration.
    pub fn new(settings: &Settings) -> Self {
        let (low, high) = settings.ports;
        let first = low.saturating_add(low % 2);
        Self {
            bind: Some(settings.bind).filter(|ip| !ip.is_unspecified()),
            public: settings.public,
            first,
            count: high.saturating_sub(first) / 2 + 1,
            next: 0,
        }
    }

    /// A socket towards this host, and its address as others reach it: `public`, else `bind`, else the name of the SIP
    /// listener if that is an address, else the one that the kernel takes towards there. Never an unspecified one.
    pub fn open(&mut self, towards: IpAddr, known_as: Option<IpAddr>) -> Option<(UdpSocket, SocketAddr)> {
        let towards = towards.to_canonical();
        let fits = |ip: &IpAddr| ip.is_ipv4() == towards.is_ipv4();
        let bind = self.bind.filter(fits);
        let told = self.public.filter(fits).or(bind).or(known_as.filter(fits)).or_else(|| way_out(towards))?;
        // Behind an address translation the address that is told is not ours: then from whichever the kernel takes.
        let own = [bind.unwrap_or(told), any(towards)];
        let port = own.into_iter().find_map(|ip| self.bind(ip))?;
        let at = SocketAddr::new(told, port.local_addr().ok()?.port());
        Some((port, at))
    }

    fn bind(&mut self, ip: IpAddr) -> Option<UdpSocket> {
        (0..TRIES.min(u32::from(self.count))).find_map(|_| {
            let port = self.first + 2 * self.next;
            self.next = (self.next + 1) % self.count;
            let socket = UdpSocket::bind((ip, port)).ok()?;
            socket.set_nonblocking(true).ok()?;
            Some(socket)
        })
    }
}

/// The address of ours that packets to this host leave from. Nothing is sent for that.
fn way_out(towards: IpAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind((any(towards), 0)).ok()?;
    socket.connect((towards, 9)).ok()?;
    socket.local_addr().ok().map(|at| at.ip()).filter(|ip| !ip.is_unspecified())
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

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn ports(bind: &str, public: Option<&str>, ports: (u16, u16)) -> Ports {
        Ports::new(&Settings { bind: ip(bind), public: public.map(ip), ports, language: Language::English })
    }

    #[test]
    fn r5_the_address_that_is_told_is_one_where_we_are_reached_and_never_an_unspecified_one() {
        for (bind, public, known_as, told, bound) in [
            ("0.0.0.0", Some("203.0.113.7"), Some("127.0.0.9"), "203.0.113.7", "0.0.0.0"),
            ("127.0.0.8", Some("203.0.113.7"), Some("127.0.0.9"), "203.0.113.7", "127.0.0.8"),
            ("127.0.0.8", None, Some("127.0.0.9"), "127.0.0.8", "127.0.0.8"),
            ("0.0.0.0", None, Some("127.0.0.9"), "127.0.0.9", "127.0.0.9"),
            ("0.0.0.0", None, Some("203.0.113.7"), "203.0.113.7", "0.0.0.0"),
            ("0.0.0.0", None, Some("2001:db8::1"), "127.0.0.1", "127.0.0.1"),
            ("::", Some("2001:db8::1"), None, "127.0.0.1", "127.0.0.1"),
        ] {
            let mut ports = ports(bind, public, (21_001, 21_999));
            let (socket, at) = ports.open(ip("127.0.0.1"), known_as.map(ip)).expect("a port");
            let own = socket.local_addr().expect("an address");
            assert_eq!((at.ip(), own.ip(), at.port()), (ip(told), ip(bound), own.port()), "{bind} {public:?} {known_as:?}");
            assert!(at.port() % 2 == 0 && (21_002..=21_998).contains(&at.port()), "{at}");
        }
    }

    #[test]
    fn ports_that_are_taken_are_passed_over_and_when_all_are_there_is_none() {
        let mut ports = ports("127.0.0.7", None, (22_000, 22_005));
        let open = |ports: &mut Ports| ports.open(ip("127.0.0.1"), None).map(|(socket, at)| (socket, at.port()));
        let _somebodys = UdpSocket::bind(("127.0.0.7", 22_002)).expect("a socket");
        let (first, second) = (open(&mut ports).expect("a port"), open(&mut ports).expect("a port"));
        assert_eq!((first.1, second.1), (22_000, 22_004));
        // The last resort is the unspecified address, where the same ports are taken as well.
        assert!(open(&mut ports).is_none());
        drop(first);
        assert_eq!(open(&mut ports).map(|o| o.1), Some(22_000));
    }
}

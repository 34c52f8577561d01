//! Loopback networks that tests do not share, and a look at who listens on them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::clock::until;

/// How SIP travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
}

impl Transport {
    /// As in `;transport=`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// A /24 inside 127.0.0.0/8 that belongs to one test. The kernel says whose it is: whoever holds a socket on its
/// last address. So every neighbour can have an address of its own, at port 5060, and no two tests meet.
pub struct Net {
    prefix: [u8; 3],
    _owned: UdpSocket,
}

impl Net {
    /// Takes a free one.
    pub fn take() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let start = std::process::id().wrapping_mul(61);
        loop {
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            assert!(n < 60_000, "no free loopback network");
            let [_, _, high, low] = start.wrapping_add(n).to_be_bytes();
            let prefix = [127, 16 + high % 200, low];
            if let Ok(owned) = UdpSocket::bind((Ipv4Addr::new(prefix[0], prefix[1], prefix[2], 254), 9)) {
                return Self { prefix, _owned: owned };
            }
            if let Ok(owned) = UdpSocket::bind((Ipv4Addr::new(prefix[0], prefix[1], prefix[2], 254), 40_009)) {
                return Self { prefix, _owned: owned };
            }
        }
    }

    /// An address in it, 1 to 253.
    pub fn ip(&self, host: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(self.prefix[0], self.prefix[1], self.prefix[2], host))
    }

    /// That address at SIP's port.
    pub fn sip(&self, host: u8) -> SocketAddr {
        SocketAddr::new(self.ip(host), 5060)
    }
}

/// A port on `::1` that is free for UDP and TCP at this moment.
pub fn free_v6_port() -> SocketAddr {
    loop {
        let tcp = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).expect("IPv6 loopback");
        let address = tcp.local_addr().unwrap();
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

/// Whether this machine has `::1`.
pub fn has_ipv6() -> bool {
    UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

/// Waits until somebody has bound the address (UDP) or listens on it (TCP). Asks the kernel's tables, sends nothing.
pub fn wait_until_bound(transport: Transport, address: SocketAddr) {
    until(&format!("somebody at {address} {}", transport.name()), Duration::from_secs(10), || {
        is_bound(transport, address).then_some(())
    });
}

/// Whether somebody has bound the address.
pub fn is_bound(transport: Transport, address: SocketAddr) -> bool {
    let table = match (transport, address) {
        (Transport::Udp, SocketAddr::V4(_)) => "/proc/net/udp",
        (Transport::Udp, SocketAddr::V6(_)) => "/proc/net/udp6",
        (Transport::Tcp, SocketAddr::V4(_)) => "/proc/net/tcp",
        (Transport::Tcp, SocketAddr::V6(_)) => "/proc/net/tcp6",
    };
    let wanted = [kernel_text(address), kernel_text(SocketAddr::new(any(address.ip()), address.port()))];
    let Ok(lines) = std::fs::read_to_string(table) else { return false };
    lines.lines().skip(1).any(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let local = words.next().unwrap_or_default();
        let state = words.nth(1).unwrap_or_default();
        wanted.iter().any(|w| w == local) && (transport == Transport::Udp || state == "0A")
    })
}

fn any(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// An address as /proc/net writes it: 32-bit words in the machine's byte order, hexadecimal.
fn kernel_text(address: SocketAddr) -> String {
    let bytes = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let words: String = bytes.chunks_exact(4).map(|w| format!("{:08X}", u32::from_ne_bytes([w[0], w[1], w[2], w[3]]))).collect();
    format!("{words}:{:04X}", address.port())
}

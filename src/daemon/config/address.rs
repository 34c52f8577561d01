//! Where SIP goes, where it comes from, and what carries it: the addresses that a configuration writes.
//!
//! Not who answers there: those are [`Peer`](super::Peer), [`Trunk`](super::Trunk) and agents' devices. Read [`SipTarget`] first.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::value;
use crate::io::dns::Question;
use crate::words::Private;

/// A SIP URI, for everything that we send requests to.
#[derive(Clone, PartialEq, Eq)]
pub struct SipTarget {
    /// The whole URI as configured, for a Request-URI.
    pub uri: Private<String>,
    /// Its user part as configured, escapes kept.
    pub user: Option<Private<String>>,
    /// Where it leads; port 5060 where it names none, 5061 over TLS. Port 0: nobody knows yet where `name` leads.
    pub address: SocketAddr,
    /// Where its name leads besides, in the order in which it is tried.
    pub others: Vec<(Transport, SocketAddr)>,
    /// What is to be looked up, where its host is a name.
    pub name: Option<Question>,
    /// Its `transport` parameter. Default `udp`, of `sips:` always `tls`.
    pub transport: Transport,
    /// Whether it is `sips:`.
    pub sips: bool,
}

impl fmt::Debug for SipTarget {
    /// Prints where it leads, not to whom.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SipTarget").field("transport", &self.transport).finish_non_exhaustive()
    }
}

impl SipTarget {
    /// Stands in for a URI that could not be read.
    pub(super) fn nowhere() -> Self {
        let (address, transport) = (value::NOWHERE, Transport::default());
        Self { uri: Private::default(), user: None, address, others: Vec::new(), name: None, transport, sips: false }
    }
}

/// An address or addresses that a neighbour sends from; the most specific one that fits wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// This address and this port. The port counts on UDP only.
    Endpoint(SocketAddr),
    /// Every address whose first `bits` bits are these; a single host has them all.
    Net {
        /// With the host bits zero.
        address: IpAddr,
        /// 0 to 32, or 0 to 128.
        bits: u8,
    },
}

/// What carries SIP between us and a neighbour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// `udp`, also where a URI does not say.
    #[default]
    Udp,
    /// `tcp`
    Tcp,
    /// `tls`, also where a URI is `sips:`.
    Tls,
    /// `ws`: WebSocket. Of listeners only.
    Ws,
    /// `wss`: WebSocket over TLS. Of listeners only.
    Wss,
}

impl Transport {
    /// Whether it is made of TCP connections, so that two of them cannot share a port.
    pub const fn is_stream(self) -> bool {
        !matches!(self, Self::Udp)
    }

    /// Whether it needs `[tls]`.
    pub const fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
        })
    }
}

/// A host, as a name or an address (IPv6 in brackets), and perhaps a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// As it is written into a URI.
    pub host: String,
    /// Default: the port that is bound.
    pub port: Option<u16>,
}

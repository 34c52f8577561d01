//! Where a message came from, and where one goes.

use crate::words::uri::{Scheme, Uri};
use std::fmt;
use std::net::SocketAddr;

/// How SIP travels. A new transport is an arm here and a file under `io/transport`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Datagrams: we retransmit.
    Udp,
    /// A stream: the kernel does.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// WebSocket over TCP, one message a frame (RFC 7118). The far end opens it, never we.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl Transport {
    /// Whether the transport itself retransmits (RFC 3261 section 17: timers A, E and G stay off, D, I, J and K are 0).
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Self::Udp)
    }

    /// Whether nobody between the two hosts can read along: what `sips:` asks of every hop (RFC 5630).
    pub const fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    /// Whether only the far end can open a connection: one that is gone is gone (RFC 7118 section 5).
    pub const fn is_theirs_to_open(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    /// What a URI asks for: its `transport` parameter, else TLS for `sips:`, else nothing in particular (RFC 3263
    /// section 4.1, RFC 5630 section 3.1.2: under `sips:`, `tcp` means TLS over it).
    pub fn asked_by(uri: &Uri<'_>) -> Option<Self> {
        let sips = uri.scheme == Scheme::Sips;
        let named = |t: &[u8]| match t {
            t if t.eq_ignore_ascii_case(b"tls") || sips && t.eq_ignore_ascii_case(b"tcp") => Some(Self::Tls),
            t if t.eq_ignore_ascii_case(b"tcp") => Some(Self::Tcp),
            t if t.eq_ignore_ascii_case(b"udp") && !sips => Some(Self::Udp),
            t if t.eq_ignore_ascii_case(b"ws") => Some(if sips { Self::Wss } else { Self::Ws }),
            t if t.eq_ignore_ascii_case(b"wss") => Some(Self::Wss),
            _ => None,
        };
        uri.param("transport").and_then(named).or(sips.then_some(Self::Tls))
    }

    /// The word in a Via (RFC 3261 section 20.42, RFC 7118 section 5.1).
    pub const fn via(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }

    /// The URI parameter that a Contact needs so that the answer takes the same transport; empty for the default.
    pub const fn uri_param(self) -> &'static str {
        match self {
            Self::Udp => "",
            Self::Tcp => ";transport=tcp",
            Self::Tls => ";transport=tls",
            Self::Ws | Self::Wss => ";transport=ws",
        }
    }
}

/// One way between us and a remote address: a listener of ours, the far address and, on streams, the connection.
///
/// `connection` 0 on a stream means "the one to `remote`, opened if need be".
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The transport.
    pub transport: Transport,
    /// Our listener's place in the config: messages leave from its address.
    pub listener: u8,
    /// The far end.
    pub remote: SocketAddr,
    /// A stream's number, never reused; 0 for datagrams.
    pub connection: u32,
    /// Which of the neighbours' certificate names the far end has proved to be its own, counted from 1 in the order of
    /// the configuration; 0: none.
    pub name: u16,
}

impl Flow {
    /// Whether it leads to nobody: a name of which nothing is known.
    pub const fn is_nowhere(&self) -> bool {
        self.remote.port() == 0
    }
}

impl fmt::Debug for Flow {
    /// Prints no address: a flow may be a phone's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flow({:?} listener {} connection {})", self.transport, self.listener, self.connection)
    }
}

/// What one of our listeners calls itself in Via and Contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Its transport.
    pub transport: Transport,
    /// `host:port` as others reach it; IPv6 in brackets.
    pub sent_by: String,
    /// Whether it speaks IPv6.
    pub ipv6: bool,
}

/// All listeners, in the config's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locals(pub Vec<Local>);

impl Locals {
    /// The listener of a flow. A flow always names one that exists: it came from here or from [`Locals::towards`].
    pub fn of(&self, flow: Flow) -> &Local {
        static NONE: Local = Local { transport: Transport::Udp, sent_by: String::new(), ipv6: false };
        self.0.get(usize::from(flow.listener)).unwrap_or(&NONE)
    }

    /// The flow to an address over a transport: by the first listener of that transport and address family, else of
    /// that transport; `None` where nothing speaks it.
    pub fn towards(&self, transport: Transport, remote: SocketAddr) -> Option<Flow> {
        let speaks = |l: &Local| l.transport == transport;
        let listener =
            (self.0.iter().position(|l| speaks(l) && l.ipv6 == remote.is_ipv6())).or_else(|| self.0.iter().position(speaks))?;
        Some(Flow { transport, listener: u8::try_from(listener).ok()?, remote, connection: 0, name: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_asks_for_its_transport_and_sips_for_tls() {
        for (uri, want) in [
            ("sip:a@h", None),
            ("sip:a@h;transport=tcp", Some(Transport::Tcp)),
            ("sip:a@h;transport=UDP", Some(Transport::Udp)),
            ("sip:a@h;transport=tls", Some(Transport::Tls)),
            ("sip:a@h;transport=ws", Some(Transport::Ws)),
            ("sip:a@h;transport=sctp", None),
            ("sips:a@h", Some(Transport::Tls)),
            ("sips:a@h;transport=tcp", Some(Transport::Tls)),
            ("sips:a@h;transport=udp", Some(Transport::Tls)),
            ("sips:a@h;transport=ws", Some(Transport::Wss)),
        ] {
            assert_eq!(Transport::asked_by(&Uri::parse(uri.as_bytes()).expect("a URI")), want, "{uri}");
        }
    }
}

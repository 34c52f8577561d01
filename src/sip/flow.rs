//! Where a message came from, and where one goes.

use std::fmt;
use std::net::SocketAddr;

/// How SIP travels. A new transport is an arm here and a file under `io/transport`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Datagrams: we retransmit.
    Udp,
    /// A stream: the kernel does.
    Tcp,
}

impl Transport {
    /// Whether the transport itself retransmits (RFC 3261 section 17: timers A, E and G stay off, D, I, J and K are 0).
    pub const fn is_reliable(self) -> bool {
        matches!(self, Self::Tcp)
    }

    /// The word in a Via (RFC 3261 section 20.42).
    pub const fn via(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        }
    }

    /// The URI parameter that a Contact needs so that the answer takes the same transport; empty for the default.
    pub const fn uri_param(self) -> &'static str {
        match self {
            Self::Udp => "",
            Self::Tcp => ";transport=tcp",
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
        Some(Flow { transport, listener: u8::try_from(listener).ok()?, remote, connection: 0 })
    }
}

//! Datagrams: one socket a listener, and one connected socket for each neighbour.
//!
//! A connected socket has three uses: the kernel reports that nobody listens at the far end (ICMP), the neighbour's flood
//! fills its own buffer only, and sending needs no route look-up. The kernel gives it the datagrams of that neighbour;
//! the listener gets everybody else's.

use super::Sent;
use crate::sip::{Flow, Transport};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, Ready};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::AbortHandle;

/// The largest datagram that there can be.
pub const LARGEST: usize = 64 * 1024;
const LISTENER_BUFFER: usize = 4 << 20;
const NEIGHBOUR_BUFFER: usize = 1 << 20;

/// A bound socket. Sending never blocks.
#[derive(Debug)]
pub struct Port {
    socket: UdpSocket,
    listener: u8,
    remote: Option<SocketAddr>,
}

impl AsRawFd for Port {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Port {
    /// Binds a listener, the `listener`th of the config. Fails where the address is in use, also by another process of
    /// this program: the address may be shared only afterwards, with the connected sockets.
    pub fn listen(at: SocketAddr, listener: u8) -> io::Result<Self> {
        let socket = open(at)?;
        socket.bind(&SockAddr::from(at))?;
        socket.set_reuse_address(true)?;
        // A smaller buffer than asked for still works.
        let _ = socket.set_recv_buffer_size(LISTENER_BUFFER);
        Ok(Self { socket: socket.into(), listener, remote: None })
    }

    /// The bound socket that another process had, as the `listener`th of the config.
    pub fn inherit(socket: UdpSocket, listener: u8) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let remote = socket.peer_addr().ok();
        Ok(Self { socket, listener, remote })
    }

    /// A socket on the same address that is connected to one neighbour.
    fn connect(&self, remote: SocketAddr) -> io::Result<Self> {
        let at = self.address()?;
        let socket = open(at)?;
        socket.set_reuse_address(true)?;
        let _ = socket.set_recv_buffer_size(NEIGHBOUR_BUFFER);
        socket.bind(&SockAddr::from(at))?;
        socket.connect(&SockAddr::from(remote))?;
        Ok(Self { socket: socket.into(), listener: self.listener, remote: Some(remote) })
    }

    /// Where it is bound, with its real port.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The neighbour that it is connected to.
    pub const fn remote(&self) -> Option<SocketAddr> {
        self.remote
    }

    fn send(&self, to: SocketAddr, bytes: &[u8]) -> Sent {
        let once = || match self.remote {
            Some(_) => self.socket.send(bytes),
            None => self.socket.send_to(bytes, to),
        };
        // An error may be the answer to an earlier datagram, in which case this one has not been tried.
        match once() {
            Ok(_) => Sent::Yes,
            Err(e) if is_full(&e) => Sent::Dropped,
            Err(e) if e.kind() == ErrorKind::ConnectionRefused => {
                let _ = once();
                Sent::Refused
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => once().map_or(Sent::Dropped, |_| Sent::Yes),
            Err(_) => Sent::Impossible,
        }
    }
}

fn open(at: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), Type::DGRAM, Some(Protocol::UDP))?;
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn is_full(e: &io::Error) -> bool {
    // ENOBUFS has no kind of its own.
    e.kind() == ErrorKind::WouldBlock || e.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error())
}

/// Which socket sends to whom. Never changes, so threads share it without a lock; a reload makes a new one.
#[derive(Clone, Debug, Default)]
pub struct Ports {
    /// By listener.
    listeners: Vec<Option<Arc<Port>>>,
    /// Sorted by listener and address.
    neighbours: Vec<((u8, SocketAddr), Arc<Port>)>,
}

impl Ports {
    /// The listeners (by their place in the config; `None` where one is a stream's) and a connected socket for each
    /// neighbour's UDP flow; neighbours with one address share one. Sockets that `before` has are kept. The second value
    /// is the flows that got none: they use the listener's.
    pub fn new(
        listeners: Vec<Option<Arc<Port>>>,
        neighbours: impl Iterator<Item = Flow>,
        before: &Self,
    ) -> (Self, Vec<io::Error>) {
        let mut ports = Self { listeners, neighbours: Vec::new() };
        let mut failed = Vec::new();
        for flow in neighbours.filter(|f| f.transport == Transport::Udp) {
            let key = (flow.listener, flow.remote);
            let Err(place) = ports.place(key) else { continue };
            let Some(listener) = ports.listener(flow.listener) else { continue };
            let kept = before.place(key).ok().and_then(|i| before.neighbours.get(i)).map(|n| Ok(Arc::clone(&n.1)));
            match kept.unwrap_or_else(|| listener.connect(flow.remote).map(Arc::new)) {
                Ok(port) => ports.neighbours.insert(place, (key, port)),
                Err(e) => failed.push(e),
            }
        }
        (ports, failed)
    }

    /// The connected sockets that another process had on the addresses of these listeners, to be `before` in
    /// [`Ports::new`]. Others are closed.
    pub fn inherit(listeners: &[Option<Arc<Port>>], neighbours: Vec<UdpSocket>) -> Self {
        let mut ports = Self::default();
        for socket in neighbours {
            let here = socket.local_addr().ok();
            let mine = listeners.iter().flatten().find(|l| here.is_some() && l.address().ok() == here);
            let Some(Ok(port)) = mine.map(|l| Port::inherit(socket, l.listener)) else { continue };
            let Some(key) = port.remote.map(|remote| (port.listener, remote)) else { continue };
            if let Err(place) = ports.place(key) {
                ports.neighbours.insert(place, (key, Arc::new(port)));
            }
        }
        ports
    }

    /// Sends a datagram by the neighbour's own socket, or by the listener's.
    pub fn send(&self, flow: Flow, bytes: &[u8]) -> Sent {
        let own = self.place((flow.listener, flow.remote)).ok().and_then(|i| self.neighbours.get(i)).map(|n| &n.1);
        match own.or_else(|| self.listener(flow.listener)) {
            Some(port) => port.send(flow.remote, bytes),
            None => Sent::Impossible,
        }
    }

    /// All sockets, the neighbours' first.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Port>> {
        self.neighbours.iter().map(|n| &n.1).chain(self.listeners.iter().flatten())
    }

    /// The neighbours' sockets.
    pub fn neighbours(&self) -> impl Iterator<Item = &Arc<Port>> {
        self.neighbours.iter().map(|n| &n.1)
    }

    /// The listener at this place in the config.
    pub fn listener(&self, listener: u8) -> Option<&Arc<Port>> {
        self.listeners.get(usize::from(listener))?.as_ref()
    }

    fn place(&self, key: (u8, SocketAddr)) -> Result<usize, usize> {
        self.neighbours.binary_search_by_key(&key, |n| n.0)
    }
}

/// What a read gave.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// So many bytes, and the way they came.
    Datagram(usize, Flow),
    /// The neighbour's host says that nobody listens there.
    Refused(SocketAddr),
    /// The socket is of no more use.
    Broken,
}

/// Receives from one socket, in the thread whose runtime it was made in.
pub struct Inbox {
    fd: Arc<AsyncFd<Arc<Port>>>,
    watch: Option<AbortHandle>,
}

impl Drop for Inbox {
    fn drop(&mut self) {
        if let Some(watch) = &self.watch {
            watch.abort();
        }
    }
}

impl Inbox {
    /// Watches a socket. That nobody listens at the neighbour's end is told to `refused` as well, since it wakes no reader.
    pub fn new(port: Arc<Port>, refused: UnboundedSender<SocketAddr>) -> io::Result<Self> {
        // SAFETY: `as_raw_fd` is that of the socket inside the port, which is open as long as the `Arc` that is handed over
        // here, and never changes.
        let fd = unsafe { AsyncFd::register_with_interest(port, Interest::READABLE.add(Interest::ERROR)) };
        let fd = Arc::new(fd.map_err(io::Error::from)?);
        let watch = fd.get_ref().remote.map(|remote| tokio::spawn(watch(Arc::clone(&fd), remote, refused)).abort_handle());
        Ok(Self { fd, watch })
    }

    /// The socket.
    pub fn port(&self) -> &Arc<Port> {
        self.fd.get_ref()
    }

    /// The next datagram, into `buffer`, which is best [`LARGEST`] long.
    pub fn poll(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Received> {
        let port = self.port();
        let mut errors = 0;
        loop {
            let Ok(mut guard) = ready!(self.fd.poll_read_ready(cx)) else { return Poll::Ready(Received::Broken) };
            // `recv_from` on a connected socket as well: before it was connected anybody could have written to it.
            match port.socket.recv_from(buffer) {
                Ok((n, remote)) => return Poll::Ready(Received::Datagram(n, port.flow(remote))),
                Err(e) if e.kind() == ErrorKind::WouldBlock => guard.clear_ready(),
                Err(e) => match (e.kind(), port.remote) {
                    (ErrorKind::ConnectionRefused, Some(remote)) => return Poll::Ready(Received::Refused(remote)),
                    // Soft errors of earlier datagrams are told once each.
                    _ if errors < 8 => errors += 1,
                    _ => guard.clear_ready(),
                },
            }
        }
    }
}

async fn watch(fd: Arc<AsyncFd<Arc<Port>>>, remote: SocketAddr, refused: UnboundedSender<SocketAddr>) {
    loop {
        let Ok(mut guard) = fd.ready(Interest::ERROR).await else { return };
        guard.clear_ready_matching(Ready::ERROR);
        let error = fd.get_ref().socket.take_error().ok().flatten();
        if error.is_some_and(|e| e.kind() == ErrorKind::ConnectionRefused) && refused.send(remote).is_err() {
            return;
        }
    }
}

impl Port {
    const fn flow(&self, remote: SocketAddr) -> Flow {
        Flow { transport: Transport::Udp, listener: self.listener, remote, connection: 0, name: 0 }
    }
}

//! TCP, which all streams are made of: its sockets and their options.

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};

/// How long a far end may acknowledge nothing of what was written (TCP_USER_TIMEOUT, RFC 5482). Without it unacknowledged
/// bytes put the kernel's own keep-alives off for a quarter of an hour.
const UNHEARD: Duration = Duration::from_secs(30);

/// Binds a listening socket. `SO_REUSEADDR` only passes over connections of an earlier process: two listeners never share
/// an address.
pub(super) fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(at))?;
    socket.listen(1024)?;
    Ok(socket.into())
}

/// Connects, from this address of ours.
pub(super) async fn connect(remote: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if remote.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(ip) = from {
        socket.bind(SocketAddr::new(ip, 0))?;
    }
    socket.connect(remote).await
}

/// No delay for small messages. A far end that has silently gone is found out after two minutes where nobody speaks, and
/// [`UNHEARD`] after anything was written to it, a keep-alive included.
pub(super) fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(20)).with_retries(3);
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
    let _ = SockRef::from(stream).set_tcp_user_timeout(Some(UNHEARD));
}

//! The beginning of a connection. Its arithmetic, about a millisecond a handshake, is done on threads of its own, a few
//! handshakes at a time: strangers' never hold up neighbours', and neither holds up the thread that carries the calls.
//!
//! The bytes go through the connection's task on the calls' thread; what is computed is a [`Port`] without a socket, which
//! gets its socket when the handshake is over.

use super::Secure;
use crate::io::clock;
use bytes::{Buf, BytesMut};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio_rustls::TlsStream;

/// The first byte of a TLS record that holds a handshake.
const HANDSHAKE: u8 = 0x16;
/// The header of a record.
const HEADER: usize = 5;
const CHUNK: usize = 4096;

/// Handshakes whose arithmetic is done at once. One for all connections.
#[derive(Debug)]
pub struct Gates {
    strangers: Semaphore,
    neighbours: Semaphore,
}

impl Default for Gates {
    fn default() -> Self {
        Self { strangers: Semaphore::new(1), neighbours: Semaphore::new(2) }
    }
}

/// Why a handshake came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// The far end does not speak TLS.
    NotTls,
    /// The far end is gone, too slow, of another version, or one of the two does not believe the other.
    Refused,
}

impl From<io::Error> for Failed {
    fn from(_: io::Error) -> Self {
        Self::Refused
    }
}

impl Secure {
    /// Answers whoever has connected; also tells which of the neighbours' names the far end has proved, 0 for none.
    pub async fn accept(
        self: &Arc<Self>,
        socket: TcpStream,
        gates: &Gates,
        known: bool,
    ) -> Result<(TlsStream<Port>, u16), Failed> {
        let port = Port::default();
        let far = Far::new(&port);
        let gate = if known { &gates.neighbours } else { &gates.strangers };
        let stream = shake(socket, far, gate, true, self.acceptor.accept(port)).await?;
        let stream = TlsStream::from(stream);
        let Some(chain) = stream.get_ref().1.peer_certificates().filter(|_| !self.names.known.is_empty()) else {
            return Ok((stream, 0));
        };
        let (own, chain) = (Arc::clone(self), chain.to_vec());
        let _permit = gate.acquire().await.map_err(|_| Failed::Refused)?;
        let name = spawn_blocking(move || own.proved(&chain, clock::wall())).await.unwrap_or(0);
        Ok((stream, name))
    }

    /// Begins with whoever was connected to, who proves to be the one that is there by the configuration; also tells its name,
    /// as [`accept`](Self::accept) does: what it says by this connection is its own (RFC 5923).
    pub async fn connect(&self, socket: TcpStream, at: SocketAddr, gates: &Gates) -> Result<(TlsStream<Port>, u16), Failed> {
        let port = Port::default();
        let far = Far::new(&port);
        let handshake = self.connector.connect(self.server_name(at), port);
        let stream = shake(socket, far, &gates.neighbours, false, handshake).await?;
        Ok((TlsStream::from(stream), self.name_there(at)))
    }
}

/// What both of rustls's streams have.
trait HasPort {
    fn port(&mut self) -> &mut Port;
}

impl HasPort for tokio_rustls::server::TlsStream<Port> {
    fn port(&mut self) -> &mut Port {
        self.get_mut().0
    }
}

impl HasPort for tokio_rustls::client::TlsStream<Port> {
    fn port(&mut self) -> &mut Port {
        self.get_mut().0
    }
}

/// Carries the bytes of a handshake until it is over.
async fn shake<S, H>(mut socket: TcpStream, far: Far, gate: &Semaphore, listen_first: bool, handshake: H) -> Result<S, Failed>
where
    S: HasPort + Send + 'static,
    H: Future<Output = io::Result<S>> + Unpin + Send + 'static,
{
    let mut handshake = handshake;
    let mut listen = listen_first;
    loop {
        if listen {
            read_record(&socket, &far).await?;
        }
        listen = true;
        let permit = gate.acquire().await.map_err(|_| Failed::Refused)?;
        let computed = spawn_blocking(move || {
            let polled = Pin::new(&mut handshake).poll(&mut Context::from_waker(Waker::noop()));
            (handshake, polled)
        });
        let (again, polled) = computed.await.map_err(|_| Failed::Refused)?;
        drop(permit);
        handshake = again;
        let answer = far.take_outgoing();
        if !answer.is_empty() {
            socket.write_all(&answer).await?;
        }
        match polled {
            Poll::Ready(Ok(mut stream)) => {
                stream.port().attach(socket);
                return Ok(stream);
            }
            Poll::Ready(Err(_)) => return Err(Failed::Refused),
            Poll::Pending => {}
        }
    }
}

/// Reads until there is a whole record: nothing is computed for a few bytes.
async fn read_record(socket: &TcpStream, far: &Far) -> Result<(), Failed> {
    loop {
        socket.readable().await?;
        match read_some(socket, far)? {
            Record::Whole => return Ok(()),
            Record::Part => {}
            Record::None => return Err(Failed::NotTls),
        }
    }
}

/// What has come is read onto the stack: a handshake that waits holds no buffer.
fn read_some(socket: &TcpStream, far: &Far) -> Result<Record, Failed> {
    let mut chunk = [0; CHUNK];
    match socket.try_read(&mut chunk) {
        Ok(0) => Err(Failed::Refused),
        Ok(n) => Ok(far.push(chunk.get(..n).unwrap_or_default())),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(Record::Part),
        Err(e) => Err(e.into()),
    }
}

/// What the bytes that have come are.
enum Record {
    Whole,
    Part,
    None,
}

#[derive(Default)]
struct Exchange {
    incoming: BytesMut,
    outgoing: Vec<u8>,
    /// Whether a record was seen before: of the first one alone it is asked whether this is TLS at all.
    begun: bool,
}

/// The task's end of a port without a socket.
struct Far(Arc<Mutex<Exchange>>);

impl Far {
    fn new(port: &Port) -> Self {
        Self(Arc::clone(&port.exchange))
    }

    fn push(&self, bytes: &[u8]) -> Record {
        let mut exchange = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        exchange.incoming.extend_from_slice(bytes);
        match exchange.incoming[..] {
            [first, ..] if first != HANDSHAKE && !exchange.begun => Record::None,
            [_, major, ..] if major != 3 && !exchange.begun => Record::None,
            [_, _, _, high, low, ..] if exchange.incoming.len() >= HEADER + usize::from(u16::from_be_bytes([high, low])) => {
                exchange.begun = true;
                Record::Whole
            }
            _ => Record::Part,
        }
    }

    fn take_outgoing(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).outgoing)
    }
}

/// What rustls reads from and writes to: memory during the handshake, then the socket.
#[derive(Default)]
pub struct Port {
    socket: Option<TcpStream>,
    exchange: Arc<Mutex<Exchange>>,
    /// Read with the handshake's last bytes.
    rest: BytesMut,
}

impl Port {
    /// The handshake is over.
    fn attach(&mut self, socket: TcpStream) {
        self.rest = std::mem::take(&mut self.exchange.lock().unwrap_or_else(PoisonError::into_inner).incoming);
        self.socket = Some(socket);
    }
}

impl AsyncRead for Port {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some(socket) = &mut this.socket else {
            let mut exchange = this.exchange.lock().unwrap_or_else(PoisonError::into_inner);
            return if fill(&mut exchange.incoming, buf) { Poll::Ready(Ok(())) } else { Poll::Pending };
        };
        if fill(&mut this.rest, buf) { Poll::Ready(Ok(())) } else { Pin::new(socket).poll_read(cx, buf) }
    }
}

fn fill(from: &mut BytesMut, buf: &mut ReadBuf<'_>) -> bool {
    let n = from.len().min(buf.remaining());
    buf.put_slice(from.get(..n).unwrap_or_default());
    from.advance(n);
    n > 0
}

impl AsyncWrite for Port {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Some(socket) => Pin::new(socket).poll_write(cx, bytes),
            None => {
                let mut exchange = self.exchange.lock().unwrap_or_else(PoisonError::into_inner);
                exchange.outgoing.extend_from_slice(bytes);
                Poll::Ready(Ok(bytes.len()))
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.as_mut().map_or(Poll::Ready(Ok(())), |socket| Pin::new(socket).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.as_mut().map_or(Poll::Ready(Ok(())), |socket| Pin::new(socket).poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the pieces are, one after the other.
    fn pushed(pieces: &[&[u8]]) -> Vec<&'static str> {
        let far = Far::new(&Port::default());
        let name = |record| match record {
            Record::Whole => "whole",
            Record::Part => "part",
            Record::None => "none",
        };
        pieces.iter().map(|piece| name(far.push(piece))).collect()
    }

    #[test]
    fn nothing_is_computed_before_a_record_is_whole() {
        assert_eq!(pushed(&[&[0x16], &[3, 1], &[0, 2], &[1], &[2]]), ["part", "part", "part", "part", "whole"]);
        assert_eq!(pushed(&[&[0x16, 3, 3, 0, 1, 9, 0x16]]), ["whole"]);
    }

    #[test]
    fn what_is_no_tls_is_told_by_its_first_bytes() {
        for text in [&b"OPTIONS sip:x SIP/2.0"[..], b"GET / HTTP/1.1", b"\r\n\r\n", b"\x16\x02", b"\x80\x2e\x01"] {
            assert_eq!(pushed(&[text]), ["none"], "{text:?}");
        }
    }
}

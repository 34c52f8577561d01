//! One connection, whatever it is made of: it begins, its messages are read and written, it ends.
//!
//! Bytes are cut into frames by the SIP core's framer where the transport is a stream of bytes; a WebSocket frames by
//! itself. A transport is an arm of [`Task::accept`] with its own [`Reads`] and [`Writes`].

use super::tls::Secure;
use super::tls::handshake::{Failed, Gates, Port};
use super::{tcp, websocket};
use crate::sip::frame::{Frame, Framer, Limits, Lost};
use crate::sip::{Flow, Transport};
use bytes::Bytes;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsStream;

/// How long a new connection may take to be made.
const CONNECT: Duration = Duration::from_millis(1500);
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long one of our own may take: whatever waits for it can go elsewhere.
const OWN_HANDSHAKE: Duration = Duration::from_secs(4);
/// How long a stranger may take to send a first whole message, and anybody to send a message that has begun.
const MESSAGE: Duration = Duration::from_secs(10);
/// How long a stranger may be silent.
const IDLE: Duration = Duration::from_secs(60);
/// How long a connection whose framing is lost waits for its answer.
const LAST_WORD: Duration = Duration::from_secs(32);
/// How long a far end may leave us no room to write.
const STALL: Duration = Duration::from_secs(10);
/// How long a closing connection may take to write what is left.
const FLUSH: Duration = Duration::from_millis(500);
/// RFC 5626 section 3.5.1.
const PING: &[u8] = b"\r\n\r\n";
const CHUNK: usize = 16 * 1024;

/// What a connection's task tells.
pub(super) enum FromTask {
    Message(Flow, Bytes),
    Broken(Flow, Bytes),
    Misfit(Misfit),
    Ended { id: u32, made: bool, unsent: Vec<Letter> },
}

/// A message, and the address it is meant for: that of a Contact where the connection is a neighbour's own. In a box because
/// each queue has room for 32, also while it is empty.
pub(super) type Letter = Box<(SocketAddr, Bytes)>;

/// A connection that did not begin as its listener, or its server, wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// Something else than TLS on a TLS port.
    NotTls,
    /// Something else than SIP on a SIP port, for example TLS on a plain one.
    NotSip,
    /// A TLS handshake failed: one of the two does not believe the other, or they have no version in common.
    Handshake,
}

/// One connection.
pub(super) struct Task {
    pub(super) flow: Flow,
    pub(super) kept: Arc<AtomicBool>,
    pub(super) queue: mpsc::Receiver<Letter>,
    pub(super) to_loop: mpsc::Sender<FromTask>,
    pub(super) secure: Option<Arc<Secure>>,
    pub(super) gates: Arc<Gates>,
    /// Whose pages may connect by WebSocket.
    pub(super) origins: Arc<[String]>,
    /// How long our side may be silent.
    pub(super) keep_alive: Option<Duration>,
}

/// All that happens on a connection.
pub(super) type Conversation = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Turns that a stranger's handshake waits for: its address's, then all strangers'.
pub(super) type Turns = (Arc<Semaphore>, Arc<Semaphore>);

/// The reading half of a connection.
pub(super) trait Reads: Send {
    /// One step: waits for something to come, and gives a frame if there is one by then. Nothing is lost where it is not
    /// waited for to the end.
    fn step(&mut self) -> impl Future<Output = Step> + Send;
    /// Whether a message has begun and is not complete.
    fn is_amid_message(&self) -> bool;
}

/// What a step of reading came to.
pub(super) enum Step {
    /// A frame, or the loss of framing.
    Frame(Result<Frame, Lost>),
    /// Bytes, but no frame yet.
    Part,
    /// The end.
    End,
}

/// The writing half of a connection.
pub(super) trait Writes: Send {
    /// How long our side may be silent before [`Writes::ping`], whoever opened the connection; `None`: see
    /// [`Task::keep_alive`].
    const SILENCE: Option<Duration> = None;
    /// Shows whatever lies between that the connection is alive.
    fn ping(&mut self) -> impl Future<Output = io::Result<()>> + Send;
    /// Writes a message.
    fn message(&mut self, bytes: &Bytes) -> impl Future<Output = io::Result<()>> + Send;
    /// Answers a keep-alive.
    fn pong(&mut self) -> impl Future<Output = io::Result<()>> + Send;
    /// Writes what is left and says good-bye.
    fn close(&mut self) -> impl Future<Output = io::Result<()>> + Send;
}

/// A stream of bytes, read.
struct BytesIn<R> {
    read: R,
    framer: Framer,
}

impl<R: AsyncRead + Unpin + Send> BytesIn<R> {
    fn new(read: R) -> Self {
        Self { read, framer: Framer::new(Limits::default()) }
    }
}

impl<R: AsyncRead + Unpin> BytesIn<R> {
    /// What comes is read onto the stack: a connection that is silent holds no buffer.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        let mut chunk = [const { MaybeUninit::uninit() }; CHUNK];
        let mut chunk = ReadBuf::uninit(&mut chunk);
        Poll::Ready(match ready!(Pin::new(&mut self.read).poll_read(cx, &mut chunk)) {
            Ok(()) if !chunk.filled().is_empty() => {
                self.framer.push(chunk.filled());
                self.framer.next().map_or(Step::Part, Step::Frame)
            }
            Ok(()) | Err(_) => Step::End,
        })
    }
}

impl<R: AsyncRead + Unpin + Send> Reads for BytesIn<R> {
    async fn step(&mut self) -> Step {
        if let Some(frame) = self.framer.next() {
            return Step::Frame(frame);
        }
        poll_fn(|cx| self.poll(cx)).await
    }

    fn is_amid_message(&self) -> bool {
        self.framer.is_amid_message()
    }
}

/// A stream of bytes, written.
struct BytesOut<W>(W);

impl<W: AsyncWrite + Unpin + Send> Writes for BytesOut<W> {
    async fn message(&mut self, bytes: &Bytes) -> io::Result<()> {
        self.0.write_all(bytes).await?;
        self.0.flush().await
    }

    async fn pong(&mut self) -> io::Result<()> {
        self.message(&Bytes::from_static(b"\r\n")).await
    }

    async fn ping(&mut self) -> io::Result<()> {
        self.message(&Bytes::from_static(PING)).await
    }

    async fn close(&mut self) -> io::Result<()> {
        self.0.shutdown().await
    }
}

/// How a connection's conversation ended.
enum End {
    /// The queue is closed and written.
    Written,
    /// The far end closed, was silent for too long, or an error came up. This was being written.
    Lost(Option<Letter>),
}

impl Task {
    /// Somebody has connected. A thousand strangers are to cost little: what is needed for the beginning only is in a box of
    /// its own and not kept for a connection's whole life.
    pub(super) fn accept(self, stream: TcpStream, turns: Option<Turns>) -> Conversation {
        match self.flow.transport {
            Transport::Udp | Transport::Tcp => Box::pin(self.run_plain(stream)),
            Transport::Ws => Box::pin(self.run_web(stream)),
            Transport::Tls | Transport::Wss => Box::pin(self.run_secure(stream, turns)),
        }
    }

    async fn run_secure(mut self, stream: TcpStream, turns: Option<Turns>) {
        match Box::pin(self.shake_hands(stream, turns)).await {
            Some(stream) => self.talk_secure(stream).await,
            None => self.end(false, None).await,
        }
    }

    fn talk_secure(self, stream: Box<TlsStream<Port>>) -> Conversation {
        if self.flow.transport == Transport::Wss {
            return Box::pin(self.run_web(stream));
        }
        let (read, write) = tokio::io::split(stream);
        Box::pin(self.run(BytesIn::new(read), BytesOut(write)))
    }

    /// Somebody has asked an HTTP server for a WebSocket, and been let in.
    pub(super) async fn join(self, stream: TcpStream, part: Bytes) {
        let (read, write) = websocket::upgraded(stream, part).await;
        self.run(read, write).await;
    }

    async fn run_web(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send) {
        match timeout(HANDSHAKE, Box::pin(websocket::accept(stream, &self.origins))).await {
            Ok(Ok((read, write))) => self.run(read, write).await,
            _ => {
                let _ = self.to_loop.send(FromTask::Misfit(Misfit::NotSip)).await;
                self.end(false, None).await;
            }
        }
    }

    /// Connects, from this address of ours.
    pub(super) async fn connect(mut self, from: Option<IpAddr>) {
        let Ok(Ok(stream)) = timeout(CONNECT, tcp::connect(self.flow.remote, from)).await else {
            return self.end(false, None).await;
        };
        tcp::tune(&stream);
        let secure = self.secure.clone().filter(|_| self.flow.transport.is_secure());
        let Some(secure) = secure else { return Box::pin(self.run_plain(stream)).await };
        match timeout(OWN_HANDSHAKE, Box::pin(secure.connect(stream, self.flow.remote, &self.gates))).await {
            Ok(Ok((stream, name))) => {
                self.flow.name = name;
                self.talk_secure(Box::new(stream)).await;
            }
            failed => {
                self.misfit(failed.ok().and_then(Result::err).unwrap_or(Failed::Refused)).await;
                self.end(false, None).await;
            }
        }
    }

    /// Shakes hands with whoever has connected, when it is its turn.
    async fn shake_hands(&mut self, stream: TcpStream, turns: Option<Turns>) -> Option<Box<TlsStream<Port>>> {
        let secure = self.secure.clone()?;
        let (gates, known) = (Arc::clone(&self.gates), turns.is_none());
        let handshake = async {
            let _turns = match &turns {
                Some((own, all)) => Some((own.acquire().await, all.acquire().await)),
                None => None,
            };
            // Made when it is its turn: many may wait.
            Box::pin(secure.accept(stream, &gates, known)).await
        };
        match timeout(HANDSHAKE, handshake).await {
            Ok(Ok((stream, name))) => {
                self.flow.name = name;
                if name > 0 {
                    self.kept.store(true, Ordering::Relaxed);
                }
                Some(Box::new(stream))
            }
            failed => {
                let why = failed.ok().and_then(Result::err).unwrap_or(Failed::Refused);
                self.misfit(why).await;
                None
            }
        }
    }

    async fn misfit(&self, why: Failed) {
        let misfit = match why {
            Failed::NotTls => Misfit::NotTls,
            Failed::Refused => Misfit::Handshake,
        };
        let _ = self.to_loop.send(FromTask::Misfit(misfit)).await;
    }

    async fn run_plain(self, stream: TcpStream) {
        let (read, write) = stream.into_split();
        self.run(BytesIn::new(read), BytesOut(write)).await;
    }

    async fn run<W: Writes>(mut self, read: impl Reads, mut write: W) {
        let (pong, pongs) = mpsc::channel(1);
        let last_answer = AtomicBool::new(false);
        let keep_alive = W::SILENCE.or(self.keep_alive);
        let end = {
            let mut reader = pin!(read_frames(read, self.flow, &self.kept, self.to_loop.clone(), pong));
            let mut writer = pin!(write_queue(&mut write, &mut self.queue, pongs, &last_answer, keep_alive));
            tokio::select! {
                end = &mut writer => end,
                framing_lost = &mut reader => if framing_lost {
                    last_answer.store(true, Ordering::Relaxed);
                    timeout(LAST_WORD, &mut writer).await.unwrap_or(End::Written)
                } else {
                    End::Lost(None)
                },
            }
        };
        let _ = timeout(FLUSH, write.close()).await;
        let unsent = match end {
            End::Written => None,
            End::Lost(letter) => letter,
        };
        self.end(true, unsent).await;
    }

    async fn end(mut self, made: bool, unsent: Option<Letter>) {
        self.queue.close();
        let mut unsent: Vec<_> = unsent.into_iter().collect();
        while let Ok(letter) = self.queue.try_recv() {
            unsent.push(letter);
        }
        let _ = self.to_loop.send(FromTask::Ended { id: self.flow.connection, made, unsent }).await;
    }
}

/// Writes until the queue is closed; after `last_answer` until a final response has been written.
async fn write_queue(
    write: &mut impl Writes,
    queue: &mut mpsc::Receiver<Letter>,
    mut pongs: mpsc::Receiver<()>,
    last_answer: &AtomicBool,
    keep_alive: Option<Duration>,
) -> End {
    enum Next {
        Letter(Letter),
        Pong,
        Ping,
    }
    let mut silence = pin!(sleep(keep_alive.unwrap_or_default()));
    loop {
        let next = tokio::select! {
            next = queue.recv() => match next {
                Some(letter) => Next::Letter(letter),
                None => return End::Written,
            },
            Some(()) = pongs.recv() => Next::Pong,
            () = &mut silence, if keep_alive.is_some() => Next::Ping,
        };
        if let Some(keep_alive) = keep_alive {
            silence.set(sleep(keep_alive));
        }
        let (to, bytes) = match next {
            Next::Letter(letter) => *letter,
            Next::Pong => match timeout(STALL, write.pong()).await {
                Ok(Ok(())) => continue,
                _ => return End::Lost(None),
            },
            Next::Ping => match timeout(STALL, write.ping()).await {
                Ok(Ok(())) => continue,
                _ => return End::Lost(None),
            },
        };
        if !matches!(timeout(STALL, write.message(&bytes)).await, Ok(Ok(()))) {
            return End::Lost(Some(Box::new((to, bytes))));
        }
        if last_answer.load(Ordering::Relaxed) && is_final_response(&bytes) {
            return End::Written;
        }
    }
}

/// Reads until the stream ends; true if its framing was lost, so that it may still be written.
async fn read_frames(
    mut read: impl Reads,
    flow: Flow,
    kept: &AtomicBool,
    to_loop: mpsc::Sender<FromTask>,
    pong: mpsc::Sender<()>,
) -> bool {
    let (mut amid, mut first) = (false, true);
    let mut patience = pin!(sleep(MESSAGE));
    loop {
        let step = tokio::select! {
            step = read.step() => step,
            () = &mut patience => {
                if amid || !kept.load(Ordering::Relaxed) {
                    return false;
                }
                patience.set(sleep(IDLE));
                continue;
            }
        };
        let frame = match step {
            Step::End => return false,
            Step::Part => None,
            Step::Frame(frame) => Some(frame),
        };
        // From a message's first byte on, and from each whole one on, time begins anew.
        let begun = read.is_amid_message() && (frame.is_some() || !amid);
        if begun || frame.is_some() {
            patience.set(sleep(if begun { MESSAGE } else { IDLE }));
        }
        amid = read.is_amid_message();
        let told = match frame {
            None | Some(Ok(Frame::Pong)) => Ok(()),
            Some(Ok(Frame::Message(bytes))) => to_loop.send(FromTask::Message(flow, bytes)).await,
            Some(Ok(Frame::Ping)) => {
                // One that is not read yet answers this one too.
                let _ = pong.try_send(());
                Ok(())
            }
            Some(Err(lost)) => {
                if first && lost == Lost::NotSip {
                    let _ = to_loop.send(FromTask::Misfit(Misfit::NotSip)).await;
                }
                let Some(head) = answerable(lost) else { return false };
                return to_loop.send(FromTask::Broken(flow, head)).await.is_ok();
            }
        };
        first = false;
        if told.is_err() {
            return false;
        }
    }
}

/// The head of a message whose end could not be found, as far as it is there.
fn answerable(lost: Lost) -> Option<Bytes> {
    let (Lost::NoContentLength(head) | Lost::BadContentLength(head) | Lost::TooLarge(head)) = lost else { return None };
    (!head.trim_ascii().is_empty()).then_some(head)
}

fn is_final_response(bytes: &[u8]) -> bool {
    bytes.strip_prefix(b"SIP/2.0 ").and_then(<[u8]>::first).is_some_and(|digit| matches!(digit, b'2'..=b'6'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_head_is_answered_and_one_that_is_not_sip_is_not() {
        let head = |text: &'static [u8]| Bytes::from_static(text);
        let whole = answerable(Lost::NoContentLength(head(b"INVITE sip:911@x SIP/2.0\r\nCall-ID: 1\r\n\r\n")));
        assert!(whole.is_some_and(|h| h.ends_with(b"\r\n\r\n")));
        assert!(answerable(Lost::NotSip).is_none());
        assert!(answerable(Lost::TooLarge(head(b"\r\n"))).is_none());
    }

    #[test]
    fn a_final_response_is_told_from_the_rest() {
        assert!(is_final_response(b"SIP/2.0 400 Missing Call-ID\r\n"));
        assert!(!is_final_response(b"SIP/2.0 180 Ringing\r\n"));
        assert!(!is_final_response(b"BYE sip:x SIP/2.0\r\n"));
    }
}

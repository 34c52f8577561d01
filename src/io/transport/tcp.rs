//! Streams: listeners, connections and their limits.
//!
//! Each connection is a task of its own that cuts the stream into frames and writes what it is given. [`Streams`] knows
//! them all; it lives in one thread, in whose runtime the tasks run, and is polled by that thread's loop. A connection is
//! never the end of a call: what could not be written goes over a new one, and only if that fails too the far end
//! counts as not there (RULES P8, P11). Connections that we opened to neighbours are kept alive by us, the others by
//! whoever opened them (RFC 5626); a neighbour need not answer a keep-alive, for few do.

use super::{Counters, Known, Sent};
use crate::sip::frame::{Frame, Framer, Limits, Lost};
use crate::sip::{Flow, Transport};
use bytes::Bytes;
use smallvec::SmallVec;
use socket2::{SockRef, TcpKeepalive};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Connections in all.
pub const MOST: usize = 4096;
/// Of these, connections of strangers: the rest is kept for neighbours.
pub const MOST_STRANGERS: usize = 3072;
/// Connections of one stranger's address.
pub const MOST_PER_ADDRESS: usize = 256;
/// How long a new connection may take to be made.
const CONNECT: Duration = Duration::from_millis(1500);
/// How long a stranger may take to send a first whole message.
const FIRST_FRAME: Duration = Duration::from_secs(10);
/// How long a stranger may be silent.
const IDLE: Duration = Duration::from_secs(600);
/// How long a connection whose framing is lost waits for its answer.
const LAST_WORD: Duration = Duration::from_secs(32);
/// How long a connection that we opened to a neighbour may be silent on our side before it gets a keep-alive (RFC 5626
/// section 4.4.1; shorter than most firewalls and address translators forget), and the least part of it, in percent.
const KEEP_ALIVE: Duration = Duration::from_secs(90);
const KEEP_ALIVE_LEAST: u32 = 80;
/// RFC 5626 section 3.5.1.
const PING: &[u8] = b"\r\n\r\n";
/// How long a far end may leave us no room to write.
const STALL: Duration = Duration::from_secs(10);
/// How long a far end may acknowledge nothing of what was written (TCP_USER_TIMEOUT, RFC 5482). Without it unacknowledged
/// bytes put the kernel's own keep-alives off for a quarter of an hour.
const UNHEARD: Duration = Duration::from_secs(30);
/// How long a closing connection may take to write what is left.
const FLUSH: Duration = Duration::from_millis(500);
/// Messages that wait to be written to one connection; one that does not read is closed.
const QUEUE: usize = 1024;
/// Frames of all connections that wait to be taken; then connections are not read.
const FRAMES: usize = 1024;
const CHUNK: usize = 16 * 1024;
/// Contact addresses that are remembered for one connection.
const MOST_CARRIED: usize = 32;

/// What the connections have to tell.
pub enum Happened {
    /// A message came in.
    Message(Flow, Bytes),
    /// Framing is lost. What was read of the head, if it can be answered; the connection closes after its answer.
    Broken(Flow, Bytes),
    /// The far end could not be reached, or went away while something may have been on its way to it.
    Unreachable(SocketAddr),
    /// A connection ended.
    Closed,
}

enum FromTask {
    Message(Flow, Bytes),
    Broken(Flow, Bytes),
    Ended { id: u32, made: bool, unsent: Vec<Letter> },
}

/// A message, and the address it is meant for: that of a Contact where the connection is a neighbour's own.
type Letter = (SocketAddr, Bytes);

struct Connection {
    remote: SocketAddr,
    /// Whom else it has carried messages for.
    carried: SmallVec<[SocketAddr; 2]>,
    listener: u8,
    queue: mpsc::Sender<Letter>,
    stranger: bool,
    /// It may be silent for as long as it likes.
    kept: Arc<AtomicBool>,
    /// It was opened to carry what an earlier connection had not written.
    second_try: bool,
}

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: std::net::TcpListener,
    listener: u8,
}

impl Listener {
    /// Binds a listener, the `listener`th of the config. `SO_REUSEADDR` only passes over connections of an earlier
    /// process: two listeners never share an address.
    pub fn listen(at: SocketAddr, listener: u8) -> io::Result<Self> {
        use socket2::{Domain, Protocol, SockAddr, Socket, Type};
        let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
        if at.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::from(at))?;
        socket.listen(1024)?;
        Ok(Self { socket: socket.into(), listener })
    }

    /// Where it is bound, with its real port.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// All connections. Lives in one thread.
pub struct Streams {
    listeners: Vec<(TcpListener, u8)>,
    /// The address of each listener, by its place in the config: new connections leave from there.
    locals: HashMap<u8, IpAddr>,
    connections: HashMap<u32, Connection>,
    /// The newest connection to each address.
    by_remote: HashMap<SocketAddr, u32>,
    /// Strangers' connections by address, and in all.
    strangers: HashMap<IpAddr, usize>,
    all_strangers: usize,
    closing: bool,
    last_id: u32,
    known: Known,
    counters: Arc<Counters>,
    from_tasks: mpsc::Receiver<FromTask>,
    to_loop: mpsc::Sender<FromTask>,
    /// Addresses that could not be reached, yet to be told.
    lost: VecDeque<SocketAddr>,
    keep_alive: Duration,
}

impl Streams {
    /// Begins to accept. Must be called within the runtime of the thread that polls.
    pub fn new(listeners: Vec<Listener>, known: Known, counters: Arc<Counters>) -> io::Result<Self> {
        let (to_loop, from_tasks) = mpsc::channel(FRAMES);
        let locals = listeners.iter().map(|l| Ok((l.listener, l.address()?.ip()))).collect::<io::Result<_>>()?;
        let listeners =
            listeners.into_iter().map(|l| Ok((TcpListener::from_std(l.socket)?, l.listener))).collect::<io::Result<_>>()?;
        Ok(Self {
            listeners,
            locals,
            connections: HashMap::new(),
            by_remote: HashMap::new(),
            strangers: HashMap::new(),
            all_strangers: 0,
            closing: false,
            last_id: 0,
            known,
            counters,
            from_tasks,
            to_loop,
            lost: VecDeque::new(),
            keep_alive: KEEP_ALIVE,
        })
    }

    /// How long a connection that is opened to a neighbour from now on may be silent on our side; 90 s unless told.
    pub fn set_keep_alive(&mut self, keep_alive: Duration) {
        self.keep_alive = keep_alive;
    }

    /// Who is not a stranger, after a reload.
    pub fn set_known(&mut self, known: Known) {
        self.known = known;
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Accepts what has come, at most `most` connections; true if there may be more.
    pub fn poll_accept(&mut self, cx: &mut Context<'_>, most: usize) -> bool {
        let mut more = false;
        for at in 0..self.listeners.len() {
            for n in 1..=most {
                let Some((listener, place)) = self.listeners.get(at) else { break };
                let place = *place;
                match listener.poll_accept(cx) {
                    Poll::Ready(Ok((stream, remote))) => self.admit(stream, remote, place),
                    // Out of descriptors, or the far end was faster: the next one may do.
                    Poll::Ready(Err(_)) => {}
                    Poll::Pending => break,
                }
                more |= n == most;
            }
        }
        more
    }

    /// What the connections have to tell; `Pending` when nothing.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Happened> {
        if let Some(remote) = self.lost.pop_front() {
            return Poll::Ready(Happened::Unreachable(remote));
        }
        match self.from_tasks.poll_recv(cx) {
            Poll::Ready(Some(FromTask::Message(flow, bytes))) => Poll::Ready(Happened::Message(flow, bytes)),
            Poll::Ready(Some(FromTask::Broken(flow, bytes))) => {
                Counters::add(&self.counters.broken);
                Poll::Ready(Happened::Broken(flow, bytes))
            }
            Poll::Ready(Some(FromTask::Ended { id, made, unsent })) => Poll::Ready(self.ended(id, made, unsent)),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    /// Queues a message for the flow's connection, else for another one to its address, else for a new one. A connection
    /// that takes no more is given up: nobody repeats what is lost on a stream, so that its far end counts as not there.
    pub fn send(&mut self, flow: Flow, bytes: Bytes) -> Sent {
        let by_remote = || self.by_remote.get(&flow.remote).copied();
        let own = self.connections.contains_key(&flow.connection).then_some(flow.connection);
        let letter = (flow.remote, bytes);
        let Some(id) = own.or_else(by_remote) else { return self.open(flow.listener, flow.remote, vec![letter], false) };
        let Some(connection) = self.connections.get_mut(&id) else { return Sent::Impossible };
        if connection.remote != flow.remote && !connection.carried.contains(&flow.remote) {
            if connection.carried.len() >= MOST_CARRIED {
                connection.carried.remove(0);
            }
            connection.carried.push(flow.remote);
        }
        match connection.queue.try_send(letter) {
            Ok(()) => Sent::Yes,
            Err(mpsc::error::TrySendError::Full((to, _))) => {
                Counters::add(&self.counters.dropped);
                self.give_up(id, to);
                Sent::Refused
            }
            Err(mpsc::error::TrySendError::Closed(letter)) => {
                self.forget(id);
                self.open(flow.listener, flow.remote, vec![letter], false)
            }
        }
    }

    /// This connection may be silent for as long as it likes: somebody known is at its other end. It still counts as a
    /// stranger's.
    pub fn keep(&mut self, connection: u32) {
        if let Some(connection) = self.connections.get(&connection) {
            connection.kept.store(true, Ordering::Relaxed);
        }
    }

    /// Lets every connection write what it has and close. [`Streams::is_empty`] once all have; poll until then.
    pub fn close(&mut self) {
        self.listeners.clear();
        self.closing = true;
        let (nobody, _) = mpsc::channel(1);
        for connection in self.connections.values_mut() {
            connection.queue = nobody.clone();
        }
        self.by_remote.clear();
    }

    fn admit(&mut self, stream: TcpStream, remote: SocketAddr, listener: u8) {
        let stranger = !self.known.contains(remote.ip());
        let here = self.strangers.get(&remote.ip()).copied().unwrap_or(0);
        let too_many = stranger && (here >= MOST_PER_ADDRESS || self.all_strangers >= MOST_STRANGERS);
        if too_many || self.connections.len() >= MOST {
            Counters::add(&self.counters.turned_away);
            return;
        }
        tune(&stream);
        let (id, queue, kept) = self.enter(listener, remote, stranger, false);
        let flow = self.flow(id, listener, remote);
        let task = Task { flow, kept, queue, to_loop: self.to_loop.clone(), keep_alive: None };
        tokio::spawn(task.run(stream));
    }

    fn open(&mut self, listener: u8, remote: SocketAddr, first: Vec<Letter>, second_try: bool) -> Sent {
        if self.connections.len() >= MOST {
            Counters::add(&self.counters.dropped);
            return Sent::Impossible;
        }
        let (id, queue, kept) = self.enter(listener, remote, false, second_try);
        let Some(connection) = self.connections.get(&id) else { return Sent::Impossible };
        let lost = first.into_iter().filter(|b| connection.queue.try_send(b.clone()).is_err()).count();
        let from = self.locals.get(&listener).copied().filter(|ip| !ip.is_unspecified() && ip.is_ipv4() == remote.is_ipv4());
        // Who is known only by a Contact closes what it does not need.
        let keep_alive = self.known.contains(remote.ip()).then(|| part_of(self.keep_alive, id));
        let task = Task { flow: self.flow(id, listener, remote), kept, queue, to_loop: self.to_loop.clone(), keep_alive };
        tokio::spawn(task.connect(from));
        if lost == 0 {
            return Sent::Yes;
        }
        Counters::add(&self.counters.dropped);
        Sent::Refused
    }

    fn enter(
        &mut self,
        listener: u8,
        remote: SocketAddr,
        stranger: bool,
        second_try: bool,
    ) -> (u32, mpsc::Receiver<Letter>, Arc<AtomicBool>) {
        let kept = Arc::new(AtomicBool::new(!stranger));
        let (queue, to_write) = mpsc::channel(QUEUE);
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        let carried = SmallVec::new();
        let connection = Connection { remote, carried, listener, queue, stranger, kept: Arc::clone(&kept), second_try };
        self.connections.insert(self.last_id, connection);
        self.by_remote.insert(remote, self.last_id);
        if stranger {
            *self.strangers.entry(remote.ip()).or_default() += 1;
            self.all_strangers += 1;
        }
        (self.last_id, to_write, kept)
    }

    const fn flow(&self, connection: u32, listener: u8, remote: SocketAddr) -> Flow {
        Flow { transport: Transport::Tcp, listener, remote, connection }
    }

    /// A task ended. What an established connection did not write gets one new connection to where it was meant for.
    fn ended(&mut self, id: u32, made: bool, unsent: Vec<Letter>) -> Happened {
        let Some(connection) = self.forget(id) else { return Happened::Closed };
        if self.closing {
            return Happened::Closed;
        }
        let mut again: Vec<(SocketAddr, Vec<Letter>)> = Vec::new();
        for letter in unsent.into_iter().filter(|_| made && !connection.second_try) {
            match again.iter_mut().find(|(to, _)| *to == letter.0) {
                Some((_, letters)) => letters.push(letter),
                None => again.push((letter.0, vec![letter])),
            }
        }
        let mut anew: SmallVec<[SocketAddr; 2]> = SmallVec::new();
        for (to, letters) in again {
            if self.open(connection.listener, to, letters, true) == Sent::Yes {
                anew.push(to);
            }
        }
        let all = std::iter::once(connection.remote).chain(connection.carried);
        self.lost.extend(all.filter(|to| !anew.contains(to)));
        self.lost.pop_front().map_or(Happened::Closed, Happened::Unreachable)
    }

    /// Gives a connection up that does not read. Whoever else it carried messages for is told of by [`Streams::poll`].
    fn give_up(&mut self, id: u32, but: SocketAddr) {
        let Some(connection) = self.forget(id) else { return };
        let all = std::iter::once(connection.remote).chain(connection.carried);
        self.lost.extend(all.filter(|to| *to != but));
        if !self.lost.is_empty() {
            // Says nothing new; it wakes whoever polls.
            let _ = self.to_loop.try_send(FromTask::Ended { id, made: false, unsent: Vec::new() });
        }
    }

    fn forget(&mut self, id: u32) -> Option<Connection> {
        let connection = self.connections.remove(&id)?;
        if self.by_remote.get(&connection.remote) == Some(&id) {
            self.by_remote.remove(&connection.remote);
        }
        if connection.stranger
            && let Some(count) = self.strangers.get_mut(&connection.remote.ip())
        {
            self.all_strangers -= 1;
            *count -= 1;
            if *count == 0 {
                self.strangers.remove(&connection.remote.ip());
            }
        }
        Some(connection)
    }
}

/// One connection.
struct Task {
    flow: Flow,
    kept: Arc<AtomicBool>,
    queue: mpsc::Receiver<Letter>,
    to_loop: mpsc::Sender<FromTask>,
    /// How long we may be silent before the far end gets a keep-alive. Whoever opened a connection keeps it alive.
    keep_alive: Option<Duration>,
}

/// How a connection's conversation ended.
enum End {
    /// The queue is closed and written.
    Written,
    /// The far end closed, was silent for too long, or an error came up. This was being written.
    Lost(Option<Letter>),
}

impl Task {
    async fn connect(self, from: Option<IpAddr>) {
        match timeout(CONNECT, connect(self.flow.remote, from)).await {
            Ok(Ok(stream)) => {
                tune(&stream);
                self.run(stream).await;
            }
            Ok(Err(_)) | Err(_) => self.end(false, None).await,
        }
    }

    async fn run(mut self, stream: TcpStream) {
        let (read, mut write) = stream.into_split();
        let (pong, pongs) = mpsc::channel(1);
        let last_answer = AtomicBool::new(false);
        let end = {
            let mut reader = pin!(read_frames(read, self.flow, &self.kept, self.to_loop.clone(), pong));
            let mut writer = pin!(write_queue(&mut write, &mut self.queue, pongs, &last_answer, self.keep_alive));
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
        let _ = timeout(FLUSH, write.shutdown()).await;
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
    write: &mut OwnedWriteHalf,
    queue: &mut mpsc::Receiver<Letter>,
    mut pongs: mpsc::Receiver<()>,
    last_answer: &AtomicBool,
    keep_alive: Option<Duration>,
) -> End {
    loop {
        let silence = tokio::time::sleep(keep_alive.unwrap_or_default());
        let (to, bytes) = tokio::select! {
            next = queue.recv() => match next {
                Some((to, bytes)) => (Some(to), bytes),
                None => return End::Written,
            },
            Some(()) = pongs.recv() => (None, Bytes::from_static(b"\r\n")),
            () = silence, if keep_alive.is_some() => (None, Bytes::from_static(PING)),
        };
        let written = timeout(STALL, write.write_all(&bytes)).await;
        if !matches!(written, Ok(Ok(()))) {
            return End::Lost(to.map(|to| (to, bytes)));
        }
        if last_answer.load(Ordering::Relaxed) && is_final_response(&bytes) {
            return End::Written;
        }
    }
}

/// Reads until the stream ends; true if its framing was lost, so that it may still be written.
async fn read_frames(
    mut read: OwnedReadHalf,
    flow: Flow,
    kept: &AtomicBool,
    to_loop: mpsc::Sender<FromTask>,
    pong: mpsc::Sender<()>,
) -> bool {
    let mut framer = Framer::new(Limits::default());
    let mut chunk = vec![0; CHUNK];
    let mut patience = FIRST_FRAME;
    loop {
        let Ok(frame) = timeout(patience, next_frame(&mut read, &mut framer, &mut chunk)).await else {
            if kept.load(Ordering::Relaxed) {
                continue;
            }
            return false;
        };
        patience = IDLE;
        let told = match frame {
            None => return false,
            Some(Ok(Frame::Message(bytes))) => to_loop.send(FromTask::Message(flow, bytes)).await,
            Some(Ok(Frame::Ping)) => {
                // One that is not read yet answers this one too.
                let _ = pong.try_send(());
                Ok(())
            }
            Some(Ok(Frame::Pong)) => Ok(()),
            Some(Err(lost)) => {
                let Some(head) = answerable(lost) else { return false };
                return to_loop.send(FromTask::Broken(flow, head)).await.is_ok();
            }
        };
        if told.is_err() {
            return false;
        }
    }
}

/// The next frame; `None` at the end of the stream.
async fn next_frame(read: &mut OwnedReadHalf, framer: &mut Framer, chunk: &mut [u8]) -> Option<Result<Frame, Lost>> {
    loop {
        if let Some(frame) = framer.next() {
            return Some(frame);
        }
        match read.read(chunk).await {
            Ok(n @ 1..) => framer.push(chunk.get(..n)?),
            Ok(0) | Err(_) => return None,
        }
    }
}

/// Between 80 and 100 percent of it (RFC 5626 section 4.4.1), so that connections which were opened together are not kept
/// alive together.
fn part_of(keep_alive: Duration, id: u32) -> Duration {
    // Neighbouring ids lie far apart.
    let spread = id.wrapping_mul(0x9e37_79b9) % (101 - KEEP_ALIVE_LEAST);
    keep_alive * (KEEP_ALIVE_LEAST + spread) / 100
}

/// The head of a message whose end could not be found, as far as it is there.
fn answerable(lost: Lost) -> Option<Bytes> {
    let (Lost::NoContentLength(head) | Lost::BadContentLength(head) | Lost::TooLarge(head)) = lost else { return None };
    (!head.trim_ascii().is_empty()).then_some(head)
}

fn is_final_response(bytes: &[u8]) -> bool {
    bytes.strip_prefix(b"SIP/2.0 ").and_then(<[u8]>::first).is_some_and(|digit| matches!(digit, b'2'..=b'6'))
}

async fn connect(remote: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if remote.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(ip) = from {
        socket.bind(SocketAddr::new(ip, 0))?;
    }
    socket.connect(remote).await
}

/// No delay for small messages. A far end that has silently gone is found out after two minutes where nobody speaks, and
/// [`UNHEARD`] after anything was written to it, a keep-alive included.
fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(20)).with_retries(3);
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
    let _ = SockRef::from(stream).set_tcp_user_timeout(Some(UNHEARD));
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
    fn keep_alives_come_after_80_to_100_percent_of_their_time_and_not_together() {
        let parts: std::collections::BTreeSet<_> = (1..=50).map(|id| part_of(KEEP_ALIVE, id)).collect();
        assert!(parts.iter().all(|p| (72..=90).contains(&p.as_secs())), "{parts:?}");
        assert!(parts.len() > 10, "{parts:?}");
    }

    #[test]
    fn a_final_response_is_told_from_the_rest() {
        assert!(is_final_response(b"SIP/2.0 400 Missing Call-ID\r\n"));
        assert!(!is_final_response(b"SIP/2.0 180 Ringing\r\n"));
        assert!(!is_final_response(b"BYE sip:x SIP/2.0\r\n"));
    }
}

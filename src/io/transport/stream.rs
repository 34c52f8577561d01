//! Streams of every kind: listeners, connections and their limits.
//!
//! Each connection is a task of its own ([`connection`](super::connection)) that cuts the stream into frames and writes
//! what it is given. [`Streams`] knows them all; it lives in one thread, in whose runtime the tasks run, and is polled by
//! that thread's loop. A connection is never the end of a call: what could not be written goes over a new one, and only if
//! that fails too the far end counts as not there (RULES P8, P11). Connections that we opened to neighbours are kept alive
//! by us, the others by whoever opened them (RFC 5626); a neighbour need not answer a keep-alive, for few do.

use super::connection::{FromTask, Letter, Misfit, Task};
use super::tls::Secure;
use super::tls::handshake::Gates;
use super::{Counters, Known, Sent, tcp};
use crate::io::memory::{self, Tide};
use crate::sip::{Flow, Transport};
use crate::words::Time;
use bytes::Bytes;
use smallvec::SmallVec;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};

/// Connections in all.
pub const MOST: usize = 4096;
/// Of these, connections of strangers: the rest is kept for neighbours.
pub const MOST_STRANGERS: usize = 3072;
/// Connections of one stranger's address.
pub const MOST_PER_ADDRESS: usize = 256;
/// Handshakes of one stranger's address that are under way; the others wait.
const HANDSHAKES_PER_ADDRESS: usize = 8;
/// Handshakes of all strangers.
const HANDSHAKES: usize = 256;
/// How long a connection that we opened to a neighbour may be silent on our side before it gets a keep-alive (RFC 5626
/// section 4.4.1; shorter than most firewalls and address translators forget), and the least part of it, in percent.
const KEEP_ALIVE: Duration = Duration::from_secs(90);
const KEEP_ALIVE_LEAST: u32 = 80;
/// Messages that wait to be written to one connection; one that does not read is closed.
const QUEUE: usize = 1024;
/// Frames of all connections that wait to be taken; then connections are not read.
const FRAMES: usize = 1024;
/// Contact addresses that are remembered for one connection.
const MOST_CARRIED: usize = 32;

/// What the connections have to tell.
pub enum Happened {
    /// A message came in.
    Message(Flow, Bytes),
    /// Framing is lost. What was read of the head, if it can be answered; the connection closes after its answer.
    Broken(Flow, Bytes),
    /// The far end could not be reached, or went away while something may have been on its way to it.
    Unreachable(Transport, SocketAddr),
    /// A connection did not begin as it should.
    Misfit(Misfit),
    /// A connection ended.
    Closed,
}

struct Connection {
    transport: Transport,
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
    transport: Transport,
    origins: Arc<[String]>,
}

impl Listener {
    /// Binds a listener, the `listener`th of the config, which speaks this over TCP.
    pub fn listen(at: SocketAddr, listener: u8, transport: Transport) -> io::Result<Self> {
        Ok(Self { socket: tcp::listen(at)?, listener, transport, origins: Arc::default() })
    }

    /// The listening socket that another process had, as the `listener`th of the config.
    pub fn inherit(socket: std::net::TcpListener, listener: u8, transport: Transport) -> Self {
        Self { socket, listener, transport, origins: Arc::default() }
    }

    /// The socket.
    pub const fn socket(&self) -> &std::net::TcpListener {
        &self.socket
    }

    /// Lets in pages of these origins, `https://example.com`, by WebSocket.
    #[must_use]
    pub fn for_pages_of(self, origins: &[String]) -> Self {
        Self { origins: origins.into(), ..self }
    }

    /// Where it is bound, with its real port.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// One address of strangers.
struct Visitors {
    connections: usize,
    handshakes: Arc<Semaphore>,
}

/// All connections. Lives in one thread.
pub struct Streams {
    listeners: Vec<(TcpListener, u8, Transport)>,
    /// Whose pages each listener lets in, by its place.
    origins: HashMap<u8, Arc<[String]>>,
    /// The address of each listener, by its place in the config: new connections leave from there.
    locals: HashMap<u8, IpAddr>,
    connections: HashMap<u32, Connection>,
    /// The newest connection to each address that may carry what is meant for it.
    by_remote: HashMap<(Transport, SocketAddr), u32>,
    /// Strangers' connections by address, and in all.
    strangers: HashMap<IpAddr, Visitors>,
    all_strangers: usize,
    handshakes: Arc<Semaphore>,
    gates: Arc<Gates>,
    secure: Option<Arc<Secure>>,
    closing: bool,
    /// The listener of pages that come by an HTTP server.
    pages: Option<u8>,
    last_id: u32,
    known: Known,
    counters: Arc<Counters>,
    from_tasks: mpsc::Receiver<FromTask>,
    to_loop: mpsc::Sender<FromTask>,
    /// Addresses that could not be reached, yet to be told.
    lost: VecDeque<(Transport, SocketAddr)>,
    keep_alive: Duration,
    tide: Tide,
}

impl Streams {
    /// Begins to accept. Must be called within the runtime of the thread that polls.
    /// `secure` is what TLS connections begin with; without it there are none.
    pub fn new(listeners: Vec<Listener>, known: Known, secure: Option<Arc<Secure>>, counters: Arc<Counters>) -> io::Result<Self> {
        let (to_loop, from_tasks) = mpsc::channel(FRAMES);
        let locals = listeners.iter().map(|l| Ok((l.listener, l.address()?.ip()))).collect::<io::Result<_>>()?;
        let origins = listeners.iter().map(|l| (l.listener, Arc::clone(&l.origins))).collect();
        let accepting = |l: Listener| Ok((TcpListener::from_std(l.socket)?, l.listener, l.transport));
        let listeners = listeners.into_iter().map(accepting).collect::<io::Result<_>>()?;
        Ok(Self {
            listeners,
            origins,
            locals,
            connections: HashMap::new(),
            by_remote: HashMap::new(),
            strangers: HashMap::new(),
            all_strangers: 0,
            handshakes: Arc::new(Semaphore::new(HANDSHAKES)),
            gates: Arc::default(),
            secure,
            closing: false,
            pages: None,
            last_id: 0,
            known,
            counters,
            from_tasks,
            to_loop,
            lost: VecDeque::new(),
            keep_alive: KEEP_ALIVE,
            tide: Tide::default(),
        })
    }

    /// How long a connection that is opened to a neighbour from now on may be silent on our side; 90 s unless told.
    pub fn set_keep_alive(&mut self, keep_alive: Duration) {
        self.keep_alive = keep_alive;
    }

    /// Who is not a stranger, and what TLS connections begin with, from a reload on; gives what it was. Connections that
    /// there are go on.
    pub fn reload(&mut self, known: Known, secure: Option<Arc<Secure>>) -> (Known, Option<Arc<Secure>>) {
        (std::mem::replace(&mut self.known, known), std::mem::replace(&mut self.secure, secure))
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Gives memory back, on a thread beside, some time after many connections have come or gone. To be called about once a second.
    pub fn tidy(&mut self, now: Time) {
        if self.tide.is_out(now) {
            tokio::task::spawn_blocking(memory::give_back);
        }
    }

    /// Accepts what has come, at most `most` connections; true if there may be more.
    pub fn poll_accept(&mut self, cx: &mut Context<'_>, most: usize) -> bool {
        let mut more = false;
        for at in 0..self.listeners.len() {
            for n in 1..=most {
                let Some((listener, place, transport)) = self.listeners.get(at) else { break };
                let (place, transport) = (*place, *transport);
                match listener.poll_accept(cx) {
                    Poll::Ready(Ok((stream, remote))) => self.admit(stream, remote, place, transport),
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
        if let Some((transport, remote)) = self.lost.pop_front() {
            return Poll::Ready(Happened::Unreachable(transport, remote));
        }
        match self.from_tasks.poll_recv(cx) {
            Poll::Ready(Some(FromTask::Message(flow, bytes))) => Poll::Ready(Happened::Message(flow, bytes)),
            Poll::Ready(Some(FromTask::Broken(flow, bytes))) => {
                Counters::add(&self.counters.broken);
                Poll::Ready(Happened::Broken(flow, bytes))
            }
            Poll::Ready(Some(FromTask::Misfit(misfit))) => {
                Counters::add(match misfit {
                    Misfit::NotTls | Misfit::NotSip => &self.counters.misfit,
                    Misfit::Handshake => &self.counters.handshake,
                });
                Poll::Ready(Happened::Misfit(misfit))
            }
            Poll::Ready(Some(FromTask::Ended { id, made, unsent })) => Poll::Ready(self.ended(id, made, unsent)),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    /// Queues a message for the flow's connection, else for another one to its address, else for a new one; what is meant for
    /// a stranger's connection goes there or nowhere (RFC 5626 section 5.3): behind its address somebody else may be by now.
    /// A connection that takes no more is given up: nobody repeats what is lost on a stream, so that its far end counts as not there.
    pub fn send(&mut self, flow: Flow, bytes: Bytes) -> Sent {
        let by_remote = || self.by_remote.get(&(flow.transport, flow.remote)).copied();
        let own = self.connections.get(&flow.connection).filter(|c| c.transport == flow.transport).map(|_| flow.connection);
        let letter = Box::new((flow.remote, bytes));
        let there_or_nowhere = flow.connection > 0 && !self.known.contains(flow.remote.ip());
        if own.is_none() && there_or_nowhere {
            return Sent::Refused;
        }
        let Some(id) = own.or_else(by_remote) else { return self.open(flow, vec![letter], false) };
        let Some(connection) = self.connections.get_mut(&id) else { return Sent::Impossible };
        if connection.remote != flow.remote && !connection.carried.contains(&flow.remote) {
            if connection.carried.len() >= MOST_CARRIED {
                connection.carried.remove(0);
            }
            connection.carried.push(flow.remote);
        }
        match connection.queue.try_send(letter) {
            Ok(()) => Sent::Yes,
            Err(mpsc::error::TrySendError::Full(letter)) => {
                Counters::add(&self.counters.dropped);
                self.give_up(id, letter.0);
                Sent::Refused
            }
            Err(mpsc::error::TrySendError::Closed(letter)) => {
                self.forget(id);
                if there_or_nowhere { Sent::Refused } else { self.open(flow, vec![letter], false) }
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

    fn admit(&mut self, stream: TcpStream, remote: SocketAddr, listener: u8, transport: Transport) {
        let Some(stranger) = self.is_welcome(remote) else { return };
        tcp::tune(&stream);
        let flow = Flow { transport, listener, remote, connection: 0, name: 0 };
        let turns = stranger.then(|| (self.visitor(remote.ip()), Arc::clone(&self.handshakes)));
        let task = self.enter(flow, stranger, false);
        // Whoever calls from a neighbour's port need not be the neighbour: with TLS that has to be proved (RFC 5923).
        if !transport.is_secure() {
            self.by_remote.insert((transport, remote), self.last_id);
        }
        tokio::spawn(task.accept(stream, turns));
    }

    /// Takes a WebSocket in that an HTTP server has accepted, with its subprotocol and Origin checked, and what was read of
    /// it ahead. It is a stranger's, wherever it comes from.
    pub fn join(&mut self, stream: std::net::TcpStream, part: Bytes, remote: SocketAddr, transport: Transport) {
        let Some(listener) = self.pages else { return };
        let flow = Flow { transport, listener, remote, connection: 0, name: 0 };
        let Ok(stream) = TcpStream::from_std(stream) else { return };
        tcp::tune(&stream);
        if self.is_welcome(remote).is_some() {
            let task = self.enter(flow, true, false);
            self.by_remote.insert((transport, remote), self.last_id);
            tokio::spawn(task.join(stream, part));
        }
    }

    /// Pages that come by an HTTP server are of this listener, whose name our Via has there.
    pub fn pages_are_of(&mut self, listener: u8) {
        self.pages = Some(listener);
    }

    /// Whether somebody from there may connect, and is a stranger.
    fn is_welcome(&self, remote: SocketAddr) -> Option<bool> {
        let stranger = !self.known.contains(remote.ip());
        let here = self.strangers.get(&remote.ip()).map_or(0, |v| v.connections);
        let too_many = stranger && (here >= MOST_PER_ADDRESS || self.all_strangers >= MOST_STRANGERS);
        if too_many || self.connections.len() >= MOST {
            Counters::add(&self.counters.turned_away);
            return None;
        }
        Some(stranger)
    }

    /// The handshakes of a stranger's address.
    fn visitor(&mut self, ip: IpAddr) -> Arc<Semaphore> {
        let new = || Visitors { connections: 0, handshakes: Arc::new(Semaphore::new(HANDSHAKES_PER_ADDRESS)) };
        Arc::clone(&self.strangers.entry(ip).or_insert_with(new).handshakes)
    }

    fn open(&mut self, flow: Flow, first: Vec<Letter>, second_try: bool) -> Sent {
        let (listener, remote) = (flow.listener, flow.remote);
        if flow.transport.is_theirs_to_open() || flow.transport.is_secure() && self.secure.is_none() {
            return Sent::Impossible;
        }
        if self.connections.len() >= MOST {
            Counters::add(&self.counters.dropped);
            return Sent::Impossible;
        }
        let mut task = self.enter(flow, false, second_try);
        self.by_remote.insert((flow.transport, remote), self.last_id);
        let Some(connection) = self.connections.get(&self.last_id) else { return Sent::Impossible };
        let lost = first.into_iter().filter(|b| connection.queue.try_send(b.clone()).is_err()).count();
        let from = self.locals.get(&listener).copied().filter(|ip| !ip.is_unspecified() && ip.is_ipv4() == remote.is_ipv4());
        // Who is known only by a Contact closes what it does not need.
        task.keep_alive = self.known.contains(remote.ip()).then(|| part_of(self.keep_alive, self.last_id));
        tokio::spawn(task.connect(from));
        if lost == 0 {
            return Sent::Yes;
        }
        Counters::add(&self.counters.dropped);
        Sent::Refused
    }

    fn enter(&mut self, mut flow: Flow, stranger: bool, second_try: bool) -> Task {
        let kept = Arc::new(AtomicBool::new(!stranger));
        let (queue, to_write) = mpsc::channel(QUEUE);
        self.tide.moved();
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        (flow.connection, flow.name) = (self.last_id, 0);
        let Flow { transport, listener, remote, .. } = flow;
        let carried = SmallVec::new();
        let connection =
            Connection { transport, remote, carried, listener, queue, stranger, kept: Arc::clone(&kept), second_try };
        self.connections.insert(self.last_id, connection);
        if stranger {
            self.visitor(remote.ip());
            if let Some(visitors) = self.strangers.get_mut(&remote.ip()) {
                visitors.connections += 1;
            }
            self.all_strangers += 1;
        }
        let (secure, gates) = (self.secure.clone(), Arc::clone(&self.gates));
        let origins = self.origins.get(&listener).cloned().unwrap_or_default();
        Task { flow, kept, queue: to_write, to_loop: self.to_loop.clone(), secure, gates, origins, keep_alive: None }
    }

    /// A task ended. What an established connection did not write gets one new connection to where it was meant for.
    fn ended(&mut self, id: u32, made: bool, unsent: Vec<Letter>) -> Happened {
        let Some(connection) = self.forget(id) else { return Happened::Closed };
        // Who has shaken no hand was sent nothing.
        if self.closing || connection.stranger && !made {
            return Happened::Closed;
        }
        let mut again: Vec<(SocketAddr, Vec<Letter>)> = Vec::new();
        for letter in unsent.into_iter().filter(|_| made && !connection.second_try && !connection.stranger) {
            match again.iter_mut().find(|(to, _)| *to == letter.0) {
                Some((_, letters)) => letters.push(letter),
                None => again.push((letter.0, vec![letter])),
            }
        }
        let mut anew: SmallVec<[SocketAddr; 2]> = SmallVec::new();
        let Connection { transport, listener, .. } = connection;
        for (remote, letters) in again {
            let flow = Flow { transport, listener, remote, connection: 0, name: 0 };
            if self.open(flow, letters, true) == Sent::Yes {
                anew.push(remote);
            }
        }
        let all = std::iter::once(connection.remote).chain(connection.carried);
        self.lost.extend(all.filter(|to| !anew.contains(to)).map(|to| (transport, to)));
        self.lost.pop_front().map_or(Happened::Closed, |(transport, to)| Happened::Unreachable(transport, to))
    }

    /// Gives a connection up that does not read. Whoever else it carried messages for is told of by [`Streams::poll`].
    fn give_up(&mut self, id: u32, but: SocketAddr) {
        let Some(connection) = self.forget(id) else { return };
        let all = std::iter::once(connection.remote).chain(connection.carried);
        self.lost.extend(all.filter(|to| *to != but).map(|to| (connection.transport, to)));
        if !self.lost.is_empty() {
            // Says nothing new; it wakes whoever polls.
            let _ = self.to_loop.try_send(FromTask::Ended { id, made: false, unsent: Vec::new() });
        }
    }

    fn forget(&mut self, id: u32) -> Option<Connection> {
        let connection = self.connections.remove(&id)?;
        self.tide.moved();
        let key = (connection.transport, connection.remote);
        if self.by_remote.get(&key) == Some(&id) {
            self.by_remote.remove(&key);
        }
        if connection.stranger
            && let Some(visitors) = self.strangers.get_mut(&connection.remote.ip())
        {
            self.all_strangers -= 1;
            visitors.connections -= 1;
            if visitors.connections == 0 {
                self.strangers.remove(&connection.remote.ip());
            }
        }
        Some(connection)
    }
}

/// Between 80 and 100 percent of it (RFC 5626 section 4.4.1), so that connections which were opened together are not kept
/// alive together.
fn part_of(keep_alive: Duration, id: u32) -> Duration {
    // Neighbouring ids lie far apart.
    let spread = id.wrapping_mul(0x9e37_79b9) % (101 - KEEP_ALIVE_LEAST);
    keep_alive * (KEEP_ALIVE_LEAST + spread) / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keep_alives_come_after_80_to_100_percent_of_their_time_and_not_together() {
        let parts: std::collections::BTreeSet<_> = (1..=50).map(|id| part_of(KEEP_ALIVE, id)).collect();
        assert!(parts.iter().all(|p| (72..=90).contains(&p.as_secs())), "{parts:?}");
        assert!(parts.len() > 10, "{parts:?}");
    }
}

//! The hand-over to a new binary (SIGUSR2): sockets go by inheritance, calls by the store.
//!
//! The running daemon starts its successor, the file that is now at its own path, with every bound socket and one end of a
//! connection. The successor reads its config and says that it could start; nothing has changed yet, and if it fails here
//! nothing ever does. Then the running daemon waits for a moment in which no emergency call is being placed
//! ([`Command::HandOver`](super::front::Command::HandOver)), reads no further, closes the store and says "go" along with
//! the new calls that it has held back. The successor restores what is in the store, as after any stop, and reads on:
//! what came meanwhile waits in the kernel's buffers.
//!
//! [`Heir`] is the running daemon's side, [`Inheritance`] the successor's. Streams are not handed over: they are closed,
//! and neighbours open them anew (RULES P11).

use crate::io::transport::stream::Listener;
use crate::io::transport::udp::{Port, Ports};
use crate::sip::Transport;
use command_fds::{CommandFdExt, FdMapping};
use listenfd::ListenFd;
use rustix::net::{AddressFamily, SocketType};
use std::fmt::Display;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What each inherited socket is, a line each, in the order of the descriptors.
const NAMES: &str = "E911D_HAND_OVER";
/// The first inherited descriptor (sd_listen_fds(3)).
const FIRST: i32 = 3;
const CONTROL: &str = "control";
/// How long a successor may take to say that it could start.
const STARTING: Duration = Duration::from_secs(5);
/// How long it may take from "go" to the moment in which it reads.
const TAKING_OVER: Duration = Duration::from_secs(5);
/// How long a successor waits for "go"; its predecessor gives up before that.
const PATIENCE: Duration = Duration::from_secs(120);
/// What is held back in all, in bytes.
const MOST_HELD: u32 = 64 << 20;
/// It could start.
const COULD_START: u8 = 1;
/// It reads.
const READS: u8 = 2;

/// A datagram that was received and not looked at: our address, the sender's, what it held. Never printed.
pub type Held = (SocketAddr, SocketAddr, Vec<u8>);

/// A socket that is handed over, and what it is.
pub struct Item<'a> {
    name: String,
    socket: BorrowedFd<'a>,
}

impl<'a> Item<'a> {
    /// A listener of this kind that was asked for at this address (with port 0, where that was asked for) or path.
    pub fn new(kind: Kind, asked: impl Display, socket: &'a impl AsFd) -> Self {
        Self { name: kind.name(asked), socket: socket.as_fd() }
    }
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A `[[listen]]` for datagrams.
    Udp,
    /// A `[[listen]]` for streams, with the word for what they carry before the address.
    Stream,
    /// A datagram socket that is connected to a neighbour.
    Neighbour,
    /// `[http]`.
    Http,
    /// `admin.sock`.
    Admin,
}

impl Kind {
    fn name(self, asked: impl Display) -> String {
        let word = match self {
            Self::Udp => "udp",
            Self::Stream => "stream",
            Self::Neighbour => "neighbour",
            Self::Http => "http",
            Self::Admin => "admin",
        };
        format!("{word} {asked}")
    }
}

/// The successor, while it waits.
pub struct Heir {
    child: Child,
    control: tokio::net::UnixStream,
}

impl Heir {
    /// Starts `program` with our own arguments and these sockets.
    ///
    /// # Errors
    ///
    /// It cannot be started at all.
    pub fn start(program: &Path, items: &[Item<'_>]) -> io::Result<Self> {
        let (ours, its) = UnixStream::pair()?;
        let mut names = Vec::new();
        let mut mappings = Vec::new();
        let mut add = |name: &str, socket: OwnedFd| {
            mappings
                .push(FdMapping { parent_fd: socket, child_fd: FIRST + i32::try_from(names.len()).unwrap_or(i32::MAX - FIRST) });
            names.push(name.to_owned());
        };
        for item in items {
            add(&item.name, item.socket.try_clone_to_owned()?);
        }
        add(CONTROL, its.into());
        let mut command = Command::new(program);
        command.args(std::env::args_os().skip(1)).env(NAMES, names.join("\n")).env("LISTEN_FDS", names.len().to_string());
        // The watchdog is the service's, not one process's.
        command.env_remove("LISTEN_PID").env_remove("LISTEN_FDS_FIRST_FD").env_remove("WATCHDOG_PID");
        command.fd_mappings(mappings).map_err(io::Error::other)?;
        ours.set_nonblocking(true)?;
        let control = tokio::net::UnixStream::from_std(ours)?;
        Ok(Self { child: command.spawn()?, control })
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it says that it could start.
    ///
    /// # Errors
    ///
    /// It has ended, or says nothing.
    pub async fn could_start(&mut self) -> io::Result<()> {
        self.says(COULD_START, STARTING).await
    }

    /// Lets it take over. The store is closed, nothing reads the sockets any more.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub async fn go(&mut self, held: &[Held]) -> io::Result<()> {
        let held = serde_json::to_vec(held).map_err(io::Error::other)?;
        let length = u32::try_from(held.len()).map_err(io::Error::other)?;
        self.control.write_all(&length.to_le_bytes()).await?;
        self.control.write_all(&held).await
    }

    /// Waits until it reads.
    ///
    /// # Errors
    ///
    /// It has ended, or says nothing.
    pub async fn reads(&mut self) -> io::Result<()> {
        self.says(READS, TAKING_OVER).await
    }

    /// Ends it: nothing is handed over.
    pub fn dismiss(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    async fn says(&mut self, word: u8, within: Duration) -> io::Result<()> {
        match tokio::time::timeout(within, self.control.read_u8()).await {
            Ok(Ok(said)) if said == word => Ok(()),
            Ok(Ok(_)) => Err(io::ErrorKind::InvalidData.into()),
            Ok(Err(e)) => Err(e),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

/// What the daemon before us hands over; nothing, where there is none.
#[derive(Default)]
pub struct Inheritance {
    names: Vec<Option<String>>,
    sockets: Option<ListenFd>,
    control: Option<UnixStream>,
}

impl Inheritance {
    /// Takes it out of the environment. Before the first thread is started.
    pub fn take() -> Self {
        let Some(names) = std::env::var_os(NAMES) else { return Self::default() };
        let mut sockets = ListenFd::from_env();
        let names: Vec<_> = names.to_string_lossy().lines().map(|l| Some(l.to_owned())).collect();
        let (unix, stream) = (i32::from(AddressFamily::UNIX.as_raw()), SocketType::STREAM.as_raw().cast_signed());
        let place = names.iter().position(|n| n.as_deref() == Some(CONTROL));
        let control = place.and_then(|at| sockets.take_custom(at, unix, stream, "stream").ok().flatten());
        Self { names, sockets: Some(sockets), control }
    }

    /// Whether somebody hands over.
    pub const fn is_there(&self) -> bool {
        self.control.is_some()
    }

    /// The datagram socket that was asked for at this address, for this place in the config.
    pub fn udp(&mut self, asked: SocketAddr, listener: u8) -> Option<Port> {
        let socket = self.find(&Kind::Udp.name(asked), ListenFd::take_udp_socket)?;
        Port::inherit(socket, listener).ok()
    }

    /// The stream listener that was asked for by this word and at this address, for this place in the config.
    pub fn stream(&mut self, asked: impl Display, listener: u8, transport: Transport) -> Option<Listener> {
        let socket = self.find(&Kind::Stream.name(asked), ListenFd::take_tcp_listener)?;
        Some(Listener::inherit(socket, listener, transport))
    }

    /// Where HTTP is served.
    pub fn http(&mut self, asked: SocketAddr) -> Option<TcpListener> {
        self.find(&Kind::Http.name(asked), ListenFd::take_tcp_listener)
    }

    /// The admin socket of this state directory.
    pub fn admin(&mut self, state_dir: &Path) -> Option<UnixListener> {
        self.find(&Kind::Admin.name(state_dir.display()), ListenFd::take_unix_listener)
    }

    /// The sockets that are connected to neighbours; those of others than ours come to nothing.
    pub fn neighbours(&mut self, listeners: &[Option<Arc<Port>>]) -> Ports {
        let name = Kind::Neighbour.name("");
        let sockets = std::iter::from_fn(|| self.find(&name, ListenFd::take_udp_socket)).collect::<Vec<UdpSocket>>();
        Ports::inherit(listeners, sockets)
    }

    /// Says that we could start, and waits until we may: what is in the store from then on is ours.
    ///
    /// # Errors
    ///
    /// The other one has thought better of it, or is gone. Once it has said "go" it reads no more, and there is none: better
    /// without what it held back than nobody.
    pub fn wait(&mut self) -> io::Result<Vec<Held>> {
        let Some(control) = &mut self.control else { return Ok(Vec::new()) };
        control.set_read_timeout(Some(PATIENCE))?;
        control.write_all(&[COULD_START])?;
        let mut length = [0; 4];
        control.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length);
        let mut held = Vec::new();
        let _ = control.take(u64::from(length.min(MOST_HELD))).read_to_end(&mut held);
        Ok(serde_json::from_slice(&held).unwrap_or_default())
    }

    /// Says that we read.
    pub fn say_reads(&mut self) {
        if let Some(mut control) = self.control.take() {
            let _ = control.write_all(&[READS]);
        }
    }

    fn find<T>(&mut self, name: &str, take: fn(&mut ListenFd, usize) -> io::Result<Option<T>>) -> Option<T> {
        let place = self.names.iter().position(|n| n.as_deref() == Some(name))?;
        self.names.get_mut(place)?.take();
        take(self.sockets.as_mut()?, place).ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(bytes: &[u8]) -> io::Result<Vec<Held>> {
        let (mut before, after) = UnixStream::pair().expect("a pair of sockets");
        before.write_all(bytes).expect("it takes a few bytes");
        before.shutdown(std::net::Shutdown::Write).expect("it says no more");
        Inheritance { control: Some(after), ..Inheritance::default() }.wait()
    }

    #[test]
    fn b2_once_go_was_said_the_successor_takes_over_even_if_the_rest_was_not_and_before_that_it_does_not() {
        let here = SocketAddr::from(([127, 0, 0, 1], 5060));
        let held = serde_json::to_vec(&vec![(here, here, vec![1u8, 2])]).expect("text");
        let whole = [&(held.len() as u32).to_le_bytes()[..], &held].concat();
        assert_eq!(told(&whole).expect("go").len(), 1);
        for cut in [4, 5, whole.len() - 1] {
            assert!(told(&whole[..cut]).expect("go").is_empty(), "{cut}");
        }
        assert!(told(&[]).is_err() && told(&whole[..3]).is_err());
    }
}

//! Succession: taking over from the daemon before us, and handing over to the one after (SIGUSR2).
//!
//! [`handover`](crate::daemon::handover) says how; here is when.

use super::{Bound, Config, Control, Failure, Listen, Listener, Running, listeners_of, notifier_settings, secure};
use crate::daemon::assemble::assemble;
use crate::daemon::cli::{DONE, FAILED};
use crate::daemon::front::Command;
use crate::daemon::handover::{Heir, Held, Inheritance, Item, Kind};
use crate::daemon::systemd;
use crate::io::clock;
use crate::sip::{Flow, Transport};
use bytes::Bytes;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;
use tokio::signal::unix::Signal;
use tokio::sync::oneshot;
use tracing::{error, info, warn};

/// How long new calls may be held back until no emergency is being placed, when a successor waits.
const HOLDING: Duration = Duration::from_millis(250);
/// How often that is tried, and what lies between.
const QUIET_TRIES: u32 = 60;
const QUIET_PAUSE: Duration = Duration::from_secs(1);
/// How long the store may take to have everything when a successor waits.
const HANDING: Duration = Duration::from_millis(300);
/// How long threads for ordinary calls may take to finish what they have.
const FINISHING: Duration = Duration::from_millis(50);

/// Takes over from the daemon before us, if there is one: says that everything is fine so far and waits until it has
/// stopped. What it has held is for the front.
pub(super) fn take_over(
    inheritance: &mut Inheritance,
    config: &Config,
    bound: &Bound,
    shards: u8,
) -> Result<Vec<(Flow, Bytes)>, Failure> {
    if !inheritance.is_there() {
        return Ok(Vec::new());
    }
    let assembled = assemble(config, &bound.addresses, 0, shards, None)?;
    secure(config, &assembled)?;
    notifier_settings(config)?;
    listeners_of(config)?;
    let held = inheritance.wait()?;
    let flow = |here: SocketAddr, remote| {
        let place = bound.addresses.iter().zip(&bound.udp).position(|(at, udp)| udp.is_some() && *at == here)?;
        Some(Flow { transport: Transport::Udp, listener: u8::try_from(place).ok()?, remote, connection: 0, name: 0 })
    };
    Ok(held.into_iter().filter_map(|(here, remote, bytes)| Some((flow(here, remote)?, Bytes::from(bytes)))).collect())
}

/// By what a listener for streams is found again.
pub(super) fn asked(listen: &Listen) -> String {
    format!("{} {}", listen.transport, listen.bind)
}

/// What a successor gets, beside what can be seen elsewhere.
pub(super) struct Kept {
    program: PathBuf,
    streams: Vec<TcpListener>,
    web: TcpListener,
    admin: Option<UnixListener>,
    pub(super) threads: Vec<thread::JoinHandle<()>>,
    /// Stops the side thread at once; gone once that has been done.
    pub(super) halt: Option<oneshot::Sender<()>>,
}

impl Kept {
    pub(super) fn new(
        program: PathBuf,
        streams: &[Listener],
        web: &TcpListener,
        admin: Option<&UnixListener>,
    ) -> io::Result<Self> {
        let streams = streams.iter().map(|l| l.socket().try_clone()).collect::<io::Result<_>>()?;
        let admin = admin.map(UnixListener::try_clone).transpose()?;
        Ok(Self { program, streams, web: web.try_clone()?, admin, threads: Vec::new(), halt: None })
    }

    fn items<'a>(&'a self, running: &'a Running, state_dir: &Path) -> Vec<Item<'a>> {
        let mut streams = self.streams.iter();
        let mut items = Vec::new();
        for (listen, udp) in running.listen.iter().zip(&running.udp) {
            match udp {
                Some(port) => items.push(Item::new(Kind::Udp, listen.bind, port.as_ref())),
                None => items.extend(streams.next().map(|socket| Item::new(Kind::Stream, asked(listen), socket))),
            }
        }
        items.push(Item::new(Kind::Http, running.http, &self.web));
        items.extend(self.admin.as_ref().map(|socket| Item::new(Kind::Admin, state_dir.display(), socket)));
        items
    }
}

impl Control {
    /// Hands over to what is at our own path now. `None`: that did not come to pass, and everything is as before.
    pub(super) async fn hand_over(&mut self, terminate: &mut Signal) -> Option<u8> {
        info!(event = "handing over");
        let mut heir = match self.heir().await {
            Ok(heir) => heir,
            Err(e) => {
                error!(event = "the new binary does not start; this one goes on", reason = %e.kind());
                return None;
            }
        };
        let Some(held) = self.quiet_moment(terminate).await else {
            heir.dismiss();
            warn!(event = "not handed over: emergencies were being placed all the time; this one goes on");
            return None;
        };
        // From here on there is no way back, and calls wait.
        let limit = clock::now() + FINISHING;
        while self.kept.threads.iter().any(|t| !t.is_finished()) && clock::now() < limit {
            thread::sleep(Duration::from_millis(1));
        }
        self.kept.halt.take().map(|halt| halt.send(()));
        let stored = self.keeper.close(HANDING);
        let taken = match heir.go(&held).await {
            Ok(()) => heir.reads().await,
            Err(e) => Err(e),
        };
        match taken {
            Ok(()) => {
                info!(event = "handed over", process = heir.id(), held = held.len(), stored);
                systemd::successor(heir.id());
                Some(DONE)
            }
            Err(e) => {
                error!(event = "the new binary failed while it took over", reason = %e.kind());
                heir.dismiss();
                Some(FAILED)
            }
        }
    }

    async fn heir(&self) -> io::Result<Heir> {
        let mut items = self.kept.items(&self.running, &self.board.config().node.state_dir);
        items.extend(self.ports.neighbours().map(|port| Item::new(Kind::Neighbour, "", port.as_ref())));
        let mut heir = Heir::start(&self.kept.program, &items)?;
        match heir.could_start().await {
            Ok(()) => Ok(heir),
            Err(e) => {
                heir.dismiss();
                Err(e)
            }
        }
    }

    /// Waits for a moment without an emergency that is being placed, in which the front has ended. New calls wait for a
    /// part of it only; then they are placed, and it is tried again.
    async fn quiet_moment(&mut self, terminate: &mut Signal) -> Option<Vec<Held>> {
        for _ in 0..QUIET_TRIES {
            let (answer, answered) = oneshot::channel();
            let _ = self.commands.send(Command::HandOver(clock::now() + HOLDING, answer));
            match answered.await {
                Ok(Some(held)) => {
                    let _ = (&mut self.front).await;
                    return Some(held);
                }
                Ok(None) => {}
                // The front has ended by itself.
                Err(_) => return None,
            }
            self.say_alive();
            tokio::select! {
                () = tokio::time::sleep(QUIET_PAUSE) => {}
                _ = terminate.recv() => {
                    // Once more, for the loop that waits for it.
                    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM);
                    return None;
                }
            }
        }
        None
    }
}

//! `e911d demo`: a 911 call and its callback against a real daemon, on this machine alone.
//!
//! The daemon is this very program, started with `run` as a [`child`] process with a config that is shown first
//! ([`setting`]). Here its neighbours are played over loopback sockets: a PBX, two carriers, a PSAP and a [`mailbox`].
//! What they say is in [`story`], what they hear comes in at the [`stage`] and is drawn by the [`ladder`] while it
//! happens. No memory is shared with the daemon: what is called seen was on the wire.
//!
//! Read [`demo`] first, then [`story::play`]. [`panel()`] is another one, for whoever wants to dial by herself.

mod caption;
mod child;
mod interrupt;
mod ladder;
mod mailbox;
mod neighbour;
mod paint;
mod panel;
mod pbx;
mod setting;
mod stage;
mod story;
mod summary;

pub use panel::panel;

use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, Sender};

use self::child::Child;
use self::interrupt::Interrupt;
use self::ladder::{Column, Ladder};
use self::mailbox::Mailbox;
use self::neighbour::Neighbour;
use self::paint::{Look, Tone, wrapped};
use self::setting::{Addresses, Folder};
use self::stage::{Arrival, Heard, Stage, show};
use crate::daemon::cli;
use crate::io::clock;

/// What a side has seen.
struct Check {
    by: Column,
    what: String,
}

/// Why the demo ended early.
#[derive(Debug)]
enum Failure {
    /// A step was not seen on the wire.
    NotSeen { by: Column, what: String },
    /// The daemon did not start or stop as it should.
    Daemon(String),
    /// This machine gave no socket, file or thread.
    Machine(io::Error),
    /// Somebody stopped it.
    Interrupted,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSeen { by, what } => write!(f, "not seen at {}: {what}", by.name()),
            Self::Daemon(why) => write!(f, "e911d: {why}"),
            Self::Machine(e) => write!(f, "this machine: {e}"),
            Self::Interrupted => f.write_str("stopped"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        Self::Machine(e)
    }
}

/// Lines of the daemon's log that are shown when something failed.
const LAST_LINES: usize = 20;

/// Runs the demo; exit code 0 if every step was seen on the wire, 1 otherwise.
pub fn demo() -> ExitCode {
    let look = Look::of_stdout();
    match run(look) {
        Ok(()) => ExitCode::from(cli::DONE),
        Err(failure) => {
            show(&format!("\n{}\n", look.paint(Tone::Bad, &failure.to_string())));
            ExitCode::from(cli::FAILED)
        }
    }
}

fn run(look: Look) -> Result<(), Failure> {
    let interrupt = Interrupt::listen()?;
    let mut folder = Folder::make()?;
    let (neighbours, mailbox, arrivals) = neighbours()?;
    let [pbx, carrier_a, carrier_b] = &neighbours;
    let carriers = [carrier_a.address(), carrier_b.address()];
    let addresses = Addresses { pbx: pbx.address(), carriers, mailbox: mailbox.address()?, gateway: free_port()? };
    serve_mail(mailbox, arrivals.0);

    let config = setting::config(addresses, &folder.state());
    fs::write(folder.config(), &config)?;
    show(&opening(look, &config));

    let mut child = Child::start(&folder.config(), folder.log())?;
    let began = clock::now();
    let played = child.ready(|| interrupt.came()).and_then(|gateway| {
        let after = clock::now().since(began).as_millis();
        show(&look.paint(Tone::Faint, &format!("   e911d is ready after {after} ms: process {}, {gateway}\n", child.id())));
        let mut stage = Stage::new(neighbours, gateway, arrivals.1, interrupt.clone(), look);
        let played = story::play(&mut stage, &mut child).and_then(|()| stops(&mut child));
        show(&closing(look, stage.checks(), played.as_ref().err()));
        played
    });
    if !matches!(played, Ok(()) | Err(Failure::Interrupted)) {
        show(&last_lines(look, &child.log()));
        let kept = folder.keep().display().to_string();
        show(&format!("\n   Config and log are left in {kept}\n"));
    }
    played
}

type Arrivals = (Sender<Arrival>, Receiver<Arrival>);

/// Opens every port, and listens.
fn neighbours() -> io::Result<([Neighbour; 3], Mailbox, Arrivals)> {
    let (tx, rx) = mpsc::channel();
    let bind = |column, user| {
        let neighbour = Neighbour::bind(column, user)?;
        let tx: Sender<Arrival> = tx.clone();
        neighbour.listen(move |bytes| tx.send(Arrival { at: column, time: clock::now(), what: Heard::Sip(bytes) }).is_ok())?;
        Ok::<_, io::Error>(neighbour)
    };
    let neighbours = [bind(Column::Pbx, "alice")?, bind(Column::CarrierA, "trunk")?, bind(Column::CarrierB, "psap")?];
    Ok((neighbours, Mailbox::open()?, (tx, rx)))
}

/// A port that is free, and will still be a moment later.
fn free_port() -> io::Result<SocketAddr> {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

fn serve_mail(mailbox: Mailbox, tx: Sender<Arrival>) {
    std::thread::spawn(move || {
        mailbox.serve(move |mail| tx.send(Arrival { at: Column::Mailbox, time: clock::now(), what: Heard::Mail(mail) }).is_ok());
    });
}

fn stops(child: &mut Child) -> Result<(), Failure> {
    if child.stop() { Ok(()) } else { Err(Failure::Daemon("it did not stop by itself".to_owned())) }
}

fn opening(look: Look, config: &str) -> String {
    let words = "A real e911d runs as a child process, over SIP and SMTP on loopback. Played here are its neighbours: the PBX of \
                 Alice, who sits behind it; two carriers; the PSAP, which answers 911 behind carrier-b; and the mailbox of the \
                 front desk. This is the whole config:";
    let mut text = format!("\n{}", Ladder::new(look).rule("e911d demo: a 911 call and its callback"));
    for line in wrapped(words, look.width - 6) {
        text += &format!("   {line}\n");
    }
    text + "\n" + &setting::shown(config, look) + "\n"
}

fn closing(look: Look, checks: &[Check], failure: Option<&Failure>) -> String {
    let title = if failure.is_none() { "What each side saw on the wire" } else { "What each side saw, up to here" };
    let mut text = format!("\n{}", summary::boxed(look, title, checks, failure));
    if failure.is_none() {
        text += &summary::next(look);
    }
    text
}

fn last_lines(look: Look, log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    let last = lines.get(lines.len().saturating_sub(LAST_LINES)..).unwrap_or_default();
    let mut text = format!("\n{}", Ladder::new(look).rule("The daemon's log, last lines"));
    for line in last {
        text += &format!("   {line}\n");
    }
    text
}

//! `e911d demo --panel`: an agent's page in a browser on this machine, and a PSAP that speaks.
//!
//! The daemon is a [`child`](super::child) with a config of its own; here its one trunk is played, with the PSAP behind it:
//! it answers 911, reads the callback number that it was shown, hangs up after [`TALKS`], and calls back. Nothing is checked:
//! it goes on until somebody stops it. Read [`panel`] first.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use bytes::Bytes;

use super::child::Child;
use super::interrupt::Interrupt;
use super::ladder::Column;
use super::neighbour::{Call, Dialog, Neighbour};
use super::paint::{Look, Tone};
use super::setting::{Folder, NUMBERS};
use super::stage::show;
use super::{Failure, free_port, last_lines};
use crate::bridge::ReadOut;
use crate::daemon::cli;
use crate::io::clock;
use crate::io::media::prompts::Script;
use crate::io::notifier::template::Language;
use crate::sip::header::NameAddr;
use crate::sip::{Message, Method, Name};
use crate::words::uri::Uri;
use crate::words::{E164, Private, Time};

/// How long the PSAP lets it ring.
const RINGS: Duration = Duration::from_millis(1500);
/// How long it talks before the line drops.
const TALKS: Duration = Duration::from_secs(20);
/// How long it takes to call back.
const CALLS_BACK: Duration = Duration::from_secs(4);
/// Samples in a packet of speech, and how long they last.
const SAMPLES: usize = 160;
const PACE: Duration = Duration::from_millis(20);
const TURN: Duration = Duration::from_millis(5);
const PASSWORD: &str = "password";

/// Runs until somebody stops it; exit code 1 where the daemon or this machine fails.
pub fn panel() -> ExitCode {
    let look = Look::of_stdout();
    match run(look) {
        Ok(()) | Err(Failure::Interrupted) => ExitCode::from(cli::DONE),
        Err(failure) => {
            show(&format!("\n{}\n", look.paint(Tone::Bad, &failure.to_string())));
            ExitCode::from(cli::FAILED)
        }
    }
}

fn run(look: Look) -> Result<(), Failure> {
    let interrupt = Interrupt::listen()?;
    let folder = Folder::make()?;
    let speech = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let neighbour = Neighbour::bind(Column::CarrierB, "psap")?.speaking_at(speech.local_addr()?.port());
    let (heard, hears) = mpsc::channel();
    neighbour.listen(move |bytes| heard.send(bytes).is_ok())?;
    let web = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let at = Addresses { trunk: neighbour.address(), gateway: free_port()?, web, media: own_address() };
    fs::write(folder.config(), config(at, &folder.state()))?;

    let mut child = Child::start(&folder.config(), folder.log())?;
    let gateway = child.ready(|| interrupt.came()).inspect_err(|_| show(&last_lines(look, &child.log())))?;
    show(&welcome(web.port()));
    let mut psap = Psap { neighbour, speech: Speech::new(speech), gateway, state: State::Waits };
    while !interrupt.came() {
        match hears.recv_timeout(TURN) {
            Ok(bytes) => psap.hear(bytes)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        psap.turn(clock::now())?;
    }
    child.stop();
    Ok(())
}

#[derive(Clone, Copy)]
struct Addresses {
    trunk: SocketAddr,
    gateway: SocketAddr,
    web: SocketAddr,
    /// Where browsers send audio: they leave loopback out.
    media: IpAddr,
}

/// An address of this machine that is not loopback, where it has one. Nothing is sent for that.
fn own_address() -> IpAddr {
    let towards = || -> io::Result<IpAddr> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        Ok(socket.local_addr()?.ip())
    };
    towards().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

fn config(at: Addresses, state: &Path) -> String {
    let Addresses { trunk, gateway, web, media } = at;
    let (state, numbers) = (state.display(), NUMBERS.map(|n| format!("{n}0-{n}9"))[1].clone());
    format!(
        r#"[node]
name = "demo"
domain = "e911d.example.com"
state_dir = '{state}'
[[listen]]
transport = "udp"
bind = "{gateway}"
[http]
bind = "{web}"
[media]
bind = "0.0.0.0"
public = "{media}"
[[trunk]]
name = "carrier"
uri = "sip:{trunk}"
sources = ["{trunk}"]
callback_numbers = ["{numbers}"]
trust_marks = true
media = "anchor"
options = "0s"
[[voice_route]]
name = "emergency"
pattern = '^911$'
trunks = ["carrier"]
emergency = true
[[agent]]
id = "alice"
name = "Alice Andersen"
password = "{PASSWORD}"
"#
    )
}

fn welcome(port: u16) -> String {
    format!(
        "\n   Open  http://localhost:{port}/panel  in a browser on this machine.\n\
         \x20  Sign in as  alice  with the password  {PASSWORD}  and let the page have the microphone.\n\n\
         \x20  Dial 911. The PSAP answers and reads the callback number that it was shown; it is played here, nobody is called.\n\
         \x20  After {} s the line drops, and {} s later the PSAP calls back.\n\n\
         \x20  Ctrl-C ends it.\n\n",
        TALKS.as_secs(),
        CALLS_BACK.as_secs()
    )
}

/// What the PSAP is at.
enum State {
    Waits,
    /// Somebody calls 911.
    Rings(Box<Message>, Time),
    /// They talk.
    Talks {
        dialog: Dialog,
        since: Time,
        called_back: bool,
        number: String,
    },
    /// The line has dropped.
    Dropped {
        number: String,
        since: Time,
    },
    /// It calls back.
    Calls {
        number: String,
        invite: Bytes,
    },
}

struct Psap {
    neighbour: Neighbour,
    speech: Speech,
    gateway: SocketAddr,
    state: State,
}

impl Psap {
    fn hear(&mut self, bytes: Bytes) -> io::Result<()> {
        let Ok(msg) = Message::scan(bytes) else { return Ok(()) };
        if !msg.is_request() {
            return self.hear_response(&msg);
        }
        match msg.method() {
            Method::Invite if msg.to_tag().is_some() => {
                self.speech.to = audio_of(&msg).or(self.speech.to);
                self.say(&self.neighbour.respond(&msg, 200, "OK", &[]))
            }
            Method::Invite => {
                self.say(&self.neighbour.respond(&msg, 180, "Ringing", &[]))?;
                show("   911 rings at the PSAP\n");
                self.state = State::Rings(Box::new(msg), clock::now());
                Ok(())
            }
            Method::Cancel => {
                self.say(&self.neighbour.respond(&msg, 200, "OK", &[]))?;
                if let State::Rings(invite, _) = std::mem::replace(&mut self.state, State::Waits) {
                    self.say(&self.neighbour.respond(&invite, 487, "Request Terminated", &[]))?;
                }
                Ok(())
            }
            Method::Bye => {
                self.speech.stop();
                self.state = State::Waits;
                show("   Alice has hung up\n");
                self.say(&self.neighbour.respond(&msg, 200, "OK", &[]))
            }
            Method::Ack => Ok(()),
            _ => self.say(&self.neighbour.respond(&msg, 200, "OK", &[])),
        }
    }

    fn hear_response(&mut self, msg: &Message) -> io::Result<()> {
        let (State::Calls { number, invite }, true) = (&self.state, msg.status() >= 200) else { return Ok(()) };
        if msg.cseq().is_none_or(|(_, method)| method != b"INVITE") {
            return Ok(());
        }
        if msg.status() >= 300 {
            show(&format!("   Nobody took the PSAP's call: {}\n", msg.status()));
            let ack = self.neighbour.ack_refusal(invite, msg);
            self.state = State::Waits;
            return ack.map_or(Ok(()), |ack| self.say(&ack));
        }
        let (number, mut dialog) = (number.clone(), Dialog::of_caller(msg));
        self.say(&self.neighbour.in_dialog(&mut dialog, "ACK"))?;
        self.speech.start(audio_of(msg), &number);
        show("   Alice has answered the PSAP\n");
        self.state = State::Talks { dialog, since: clock::now(), called_back: true, number };
        Ok(())
    }

    /// Whatever is due.
    fn turn(&mut self, now: Time) -> io::Result<()> {
        self.speech.turn(now)?;
        match std::mem::replace(&mut self.state, State::Waits) {
            State::Rings(invite, since) if now >= since + RINGS => {
                let number = user_of(&invite);
                self.say(&self.neighbour.respond(&invite, 200, "OK", &[]))?;
                self.speech.start(audio_of(&invite), &number);
                show(&format!("   The PSAP has answered; it sees {number}\n"));
                self.state = State::Talks { dialog: Dialog::of_callee(&invite), since: now, called_back: false, number };
            }
            State::Talks { mut dialog, since, called_back: false, number } if now >= since + TALKS => {
                self.speech.stop();
                self.say(&self.neighbour.in_dialog(&mut dialog, "BYE"))?;
                show("   The line drops\n");
                self.state = State::Dropped { number, since: now };
            }
            State::Dropped { number, since } if now >= since + CALLS_BACK => {
                let call = Call {
                    uri: format!("sip:{number}@{}", self.gateway),
                    from: "<sip:+12065550911@psap.example.com>".to_owned(),
                    call_id: format!("{}@psap", now.as_micros()),
                    more: vec![("Priority", "psap-callback".to_owned())],
                };
                let invite = self.neighbour.invite(&call);
                show(&format!("   The PSAP calls {number} back\n"));
                self.say(&invite)?;
                self.state = State::Calls { number, invite };
            }
            state => self.state = state,
        }
        Ok(())
    }

    fn say(&self, bytes: &[u8]) -> io::Result<()> {
        self.neighbour.send(bytes, self.gateway)
    }
}

/// The PSAP's voice: it reads the callback number, again and again (PCMU, RFC 3551).
struct Speech {
    socket: UdpSocket,
    to: Option<SocketAddr>,
    script: Option<Script>,
    samples: Box<dyn Iterator<Item = u8>>,
    due: Time,
    sequence: u16,
    stamp: u32,
}

impl Speech {
    fn new(socket: UdpSocket) -> Self {
        Self { socket, to: None, script: None, samples: Box::new(std::iter::empty()), due: Time::ZERO, sequence: 0, stamp: 0 }
    }

    fn start(&mut self, to: Option<SocketAddr>, number: &str) {
        let number = E164::parse(number).map(Private::new);
        let read_out = number.map(|number| ReadOut { number, path: "direct-routing", language: None });
        self.script = read_out.map(|text| Script::of(&text, Language::English));
        (self.to, self.due) = (to, clock::now());
    }

    fn stop(&mut self) {
        (self.to, self.script) = (None, None);
    }

    fn turn(&mut self, now: Time) -> io::Result<()> {
        let (Some(to), Some(script)) = (self.to, &self.script) else { return Ok(()) };
        while self.due <= now {
            let mut packet = vec![0x80, 0];
            packet.extend(self.sequence.to_be_bytes());
            packet.extend(self.stamp.to_be_bytes());
            packet.extend(b"psap");
            let mut speech: Vec<u8> = self.samples.by_ref().take(SAMPLES).collect();
            if speech.len() < SAMPLES {
                self.samples = Box::new(script.samples());
                speech.resize(SAMPLES, 0xff);
            }
            packet.extend(speech);
            // Refused while nobody is there yet.
            let _ = self.socket.send_to(&packet, to);
            (self.sequence, self.stamp) = (self.sequence.wrapping_add(1), self.stamp.wrapping_add(SAMPLES as u32));
            self.due += PACE;
        }
        Ok(())
    }
}

/// Where a description wants its audio.
fn audio_of(msg: &Message) -> Option<SocketAddr> {
    let text = String::from_utf8_lossy(msg.body()).into_owned();
    let of = |kind: &str| text.lines().find_map(|line| line.strip_prefix(kind)).map(str::to_owned);
    let ip = of("c=IN IP4 ")?.trim().parse().ok()?;
    let port = of("m=audio ")?.split(' ').next()?.parse().ok()?;
    Some(SocketAddr::new(ip, port))
}

fn user_of(invite: &Message) -> String {
    let from = invite.get(Name::From).and_then(NameAddr::parse);
    let user = from.and_then(|n| Uri::parse(n.uri)?.user.map(<[u8]>::to_vec));
    String::from_utf8_lossy(&user.unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_of_the_panel_is_one_and_lets_alice_sign_in() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let addresses = Addresses { trunk: at(1), gateway: at(2), web: at(3), media: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)) };
        let config = crate::daemon::small::read(&config(addresses, Path::new("/tmp")));
        assert_eq!(config.agents[0].password.as_ref().map(|p| p.reveal().as_str()), Some(PASSWORD));
        assert!(welcome(3).contains("http://localhost:3/panel"));
    }
}

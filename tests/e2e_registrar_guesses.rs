//! Passwords are guessed, fast and from many addresses: nobody learns who exists, and a phone still registers.

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::clock::{Deadline, Stopwatch};
use common::{Message, Transport, World};
use e911d::sip::digest::{Asked, Challenge};

const ALICE: (&str, &str) = ("alice", "wonderland");
const T1: Duration = Duration::from_millis(500);
/// Guesses a turn of 10 ms, one from each address: 2,000 a second.
const SOURCES: u8 = 20;
const TURN: Duration = Duration::from_millis(10);

fn world() -> World {
    World::with(Transport::Udp, |net, config| {
        let mut config = config.agent(ALICE.0, &format!("password = \"{}\"\n", ALICE.1));
        config.bind = net.sip(1);
        config
    })
}

/// A phone of which nothing is kept but what it needs for the next REGISTER.
struct Phone {
    socket: UdpSocket,
    to: SocketAddr,
    user: &'static str,
    seq: u32,
}

impl Phone {
    fn new(world: &World, host: u8, user: &'static str) -> Self {
        let socket = UdpSocket::bind((world.net.ip(host), 0)).unwrap();
        Self { socket, to: world.at(), user, seq: 0 }
    }

    fn text(&mut self, more: &str) -> String {
        self.seq += 1;
        let (at, user, seq) = (self.socket.local_addr().unwrap(), self.user, self.seq);
        let host = self.to.ip();
        format!(
            "REGISTER sip:{host} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bK{seq};rport\r\nMax-Forwards: 70\r\nFrom: <sip:{user}@{host}>;tag=f\r\n\
             To: <sip:{user}@{host}>\r\nCall-ID: {user}-{at}\r\nCSeq: {seq} REGISTER\r\nContact: <sip:{user}@{at}>;expires=300\r\n{more}Content-Length: 0\r\n\r\n"
        )
    }

    /// The final response, over as many repeats as RFC 3261 section 17.1.2.2 allows.
    fn ask(&mut self, more: &str) -> Option<Message> {
        let text = self.text(more);
        let (mut wait, over) = (T1, Deadline::after(64 * T1));
        let mut buffer = [0; 4096];
        while !over.passed() {
            self.socket.send_to(text.as_bytes(), self.to).unwrap();
            let again = Deadline::after(wait);
            while !again.passed() {
                self.socket.set_read_timeout(Some(again.left().max(Duration::from_millis(1)))).unwrap();
                let Ok((n, _)) = self.socket.recv_from(&mut buffer) else { break };
                let message = Message::parse(&buffer[..n]);
                if message.header("CSeq") == format!("{} REGISTER", self.seq) {
                    return Some(message);
                }
            }
            wait = (wait * 2).min(8 * T1);
        }
        None
    }

    /// Credentials for this challenge with a password.
    fn credentials(&self, challenged: &Message, password: &str) -> String {
        let challenge = Challenge::parse(challenged.header("WWW-Authenticate").as_bytes()).expect("a challenge");
        let uri = format!("sip:{}", self.to.ip());
        let asked = Asked { method: b"REGISTER", uri: uri.as_bytes(), body: b"" };
        let answer = challenge.answer(self.user.as_bytes(), password.as_bytes(), &asked, 1, b"c");
        format!("Authorization: {}\r\n", String::from_utf8_lossy(&answer))
    }

    fn registers(&mut self, password: &str) -> Option<u16> {
        let challenged = self.ask("")?;
        let credentials = self.credentials(&challenged, password);
        self.ask(&credentials).map(|m| m.status())
    }

    /// How long each of the registrations took that it can do in this time; `None` for one that failed.
    fn registers_for(&mut self, time: Duration) -> Vec<Option<Duration>> {
        let over = Deadline::after(time);
        let mut all = Vec::new();
        while !over.passed() {
            let begun = Stopwatch::start();
            let done = self.registers(ALICE.1) == Some(200);
            all.push(done.then(|| begun.elapsed()));
            std::thread::sleep(TURN);
        }
        all
    }
}

/// Guesses until told to stop: half of them at somebody who exists. Counts what was sent, answered, and answered otherwise
/// than with 401.
struct Guessers {
    stop: Arc<AtomicBool>,
    counts: Arc<[AtomicUsize; 3]>,
    thread: std::thread::JoinHandle<()>,
}

impl Guessers {
    fn start(world: &World) -> Self {
        let (stop, counts) = (Arc::new(AtomicBool::new(false)), Arc::new([const { AtomicUsize::new(0) }; 3]));
        let mut all: Vec<_> = (0..SOURCES).map(|n| Phone::new(world, 100 + n, ["alice", "alicf"][usize::from(n % 2)])).collect();
        // A nonce of ours is looked at as carefully as one that was never answered.
        let wrong: Vec<_> = all.iter_mut().map(|p| p.ask("").map(|m| p.credentials(&m, "guess")).expect("a challenge")).collect();
        all.iter().for_each(|p| p.socket.set_nonblocking(true).unwrap());
        let (told, books) = (stop.clone(), counts.clone());
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !told.load(Ordering::Relaxed) {
                let next = Deadline::after(TURN);
                for (phone, wrong) in all.iter_mut().zip(&wrong) {
                    let text = phone.text(wrong);
                    books[0].fetch_add(usize::from(phone.socket.send_to(text.as_bytes(), phone.to).is_ok()), Ordering::Relaxed);
                    while let Ok((n, _)) = phone.socket.recv_from(&mut buffer) {
                        let refused = buffer[..n].starts_with(b"SIP/2.0 401 ");
                        books[if refused { 1 } else { 2 }].fetch_add(1, Ordering::Relaxed);
                    }
                }
                std::thread::sleep(next.left());
            }
        });
        Self { stop, counts, thread }
    }

    fn stop(self) -> [usize; 3] {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        std::array::from_fn(|i| self.counts[i].load(Ordering::Relaxed))
    }
}

fn percentile(times: &[Option<Duration>], percent: usize) -> Duration {
    let mut done: Vec<_> = times.iter().flatten().copied().collect();
    done.sort();
    done.get((done.len() * percent / 100).min(done.len().saturating_sub(1))).copied().unwrap_or_default()
}

#[test]
fn a_phone_registers_while_two_thousand_passwords_a_second_are_guessed_from_twenty_addresses() {
    let world = world();
    let mut phone = Phone::new(&world, 31, ALICE.0);
    let idle = phone.registers_for(Duration::from_millis(1500));
    let guessers = Guessers::start(&world);
    let busy = phone.registers_for(Duration::from_secs(4));
    let [sent, refused, others] = guessers.stop();
    eprintln!(
        "registrations: idle {} (p50 {:?}, p99 {:?}), under {sent} guesses {} (p50 {:?}, p99 {:?}); {refused} guesses answered",
        idle.len(),
        percentile(&idle, 50),
        percentile(&idle, 99),
        busy.len(),
        percentile(&busy, 50),
        percentile(&busy, 99)
    );
    let failed = |times: &[Option<Duration>]| times.iter().filter(|t| t.is_none()).count();
    assert_eq!(failed(&idle), 0);
    assert!(failed(&busy) * 1000 <= busy.len(), "{} of {} failed", failed(&busy), busy.len());
    assert_eq!(others, 0, "no guess is answered otherwise than with 401");
    assert!(refused > 0 && sent > 0);
}

#[test]
fn an_unknown_user_and_a_wrong_password_get_answers_that_nobody_can_tell_apart() {
    let world = world();
    let mut phones: Vec<_> = [(32, "alice"), (33, "alicf")].map(|(host, user)| Phone::new(&world, host, user)).into();
    let mut times = [Vec::new(), Vec::new()];
    for n in 0..300 {
        let mut answers = Vec::new();
        for at in if n % 2 == 0 { [0, 1] } else { [1, 0] } {
            let phone = &mut phones[at];
            let challenged = phone.ask("").expect("an answer");
            let credentials = phone.credentials(&challenged, "guess");
            let begun = Stopwatch::start();
            let refused = phone.ask(&credentials).expect("an answer");
            times[at].push(Some(begun.elapsed()));
            answers.push((refused.status(), shape(&refused)));
        }
        assert_eq!(answers[0], answers[1]);
        assert_eq!(answers[0].0, 401);
    }
    let [known, unknown] = times;
    for percent in [10, 50, 90] {
        eprintln!(
            "p{percent}: wrong password {:?}, unknown user {:?}",
            percentile(&known, percent),
            percentile(&unknown, percent)
        );
    }
}

/// The names of the header fields in their order, and the challenges without their nonces.
fn shape(message: &Message) -> Vec<String> {
    let fields = message.headers.iter().map(|(name, value)| match name.as_str() {
        "WWW-Authenticate" => {
            let parts: Vec<_> = value.split(", ").filter(|p| !p.starts_with("nonce=")).collect();
            format!("{name}: {}", parts.join(", "))
        }
        _ => name.clone(),
    });
    fields.collect()
}

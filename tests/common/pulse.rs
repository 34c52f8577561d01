//! How promptly the gateway answers: OPTIONS at a steady pace, and how long each answer took.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::clock::{Deadline, Stopwatch};
use super::message::Message;

/// Asks all the time, from its own thread.
pub struct Pulse {
    beats: Arc<Mutex<Vec<Duration>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<usize>>,
}

/// What the answers took.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Answers.
    pub answered: usize,
    /// Questions without one.
    pub lost: usize,
    /// The median.
    pub median: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
    /// The longest.
    pub longest: Duration,
}

impl Pulse {
    /// From `at` (a neighbour's address) to the gateway, every `pause`.
    pub fn start(at: SocketAddr, gateway: SocketAddr, pause: Duration) -> Self {
        let socket = UdpSocket::bind(at).unwrap_or_else(|e| panic!("{at}: {e}"));
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let (beats, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (book, ends) = (Arc::clone(&beats), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut open: Vec<(u32, Stopwatch)> = Vec::new();
            let (mut next, mut due) = (0, Deadline::after(Duration::ZERO));
            let mut buffer = [0; 4096];
            let mut last = None;
            loop {
                if ends.load(Ordering::Relaxed) {
                    // The last answers are waited for.
                    let end = last.get_or_insert_with(|| Deadline::after(Duration::from_secs(3)));
                    if open.is_empty() || end.passed() {
                        return open.len();
                    }
                } else if due.passed() {
                    due = Deadline::after(pause);
                    next += 1;
                    open.push((next, Stopwatch::start()));
                    let _ = socket.send_to(options(at, gateway, next).as_bytes(), gateway);
                }
                let Ok((n, _)) = socket.recv_from(&mut buffer) else { continue };
                let cseq = Message::parse(&buffer[..n]).cseq();
                if let Some(place) = open.iter().position(|(n, _)| *n == cseq) {
                    book.lock().unwrap().push(open.swap_remove(place).1.elapsed());
                }
            }
        });
        Self { beats, stop, thread: Some(thread) }
    }

    /// Forgets the answers so far.
    pub fn begin_anew(&self) {
        self.beats.lock().unwrap().clear();
    }

    /// What the answers took so far.
    pub fn so_far(&self) -> Figures {
        figures(self.beats.lock().unwrap().clone(), 0)
    }

    /// Stops, and says what the answers took.
    pub fn stop(mut self) -> Figures {
        self.stop.store(true, Ordering::Relaxed);
        let lost = self.thread.take().and_then(|t| t.join().ok()).expect("the pulse's thread");
        let beats = std::mem::take(&mut *self.beats.lock().unwrap());
        figures(beats, lost)
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn figures(mut beats: Vec<Duration>, lost: usize) -> Figures {
    beats.sort_unstable();
    let at = |part: usize| beats.get((beats.len() * part / 100).min(beats.len().saturating_sub(1))).copied().unwrap_or_default();
    Figures { answered: beats.len(), lost, median: at(50), p99: at(99), longest: at(100) }
}

/// An OPTIONS with this CSeq.
pub fn options(at: SocketAddr, gateway: SocketAddr, n: u32) -> String {
    format!(
        "OPTIONS sip:{gateway} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bK-pulse{n}-{port};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:pulse@{at}>;tag=p\r\nTo: <sip:{gateway}>\r\nCall-ID: pulse{n}-{port}\r\nCSeq: {n} OPTIONS\r\n\
         Content-Length: 0\r\n\r\n",
        port = at.port()
    )
}

//! Who offers ordinary calls by the thousand and does not care what becomes of them, and who refuses them all.

use std::collections::{HashMap, VecDeque};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::clock::Deadline;
use super::message::Message;

/// What became of the calls that a [`Flood`] offered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Final responses of the callee, relayed.
    pub relayed: usize,
    /// 503 with Retry-After: the gateway's own.
    pub turned_away: usize,
    /// Other final responses.
    pub others: usize,
    /// Calls of which nothing was heard for [`REPEAT`], so that the INVITE was repeated.
    pub repeated: usize,
    /// Those of them that were turned away and placed as well.
    pub torn: usize,
    /// The most of a hundred that the gateway asked to be spared (RFC 7339). It is asked of one who obeys nothing.
    pub to_spare: u32,
}

/// When an INVITE is repeated of which nothing was heard, once.
const REPEAT: Duration = Duration::from_millis(150);

/// What was heard of a call.
#[derive(Default)]
struct Heard {
    repeated: bool,
    turned_away: bool,
    placed: bool,
}

#[derive(Default)]
struct Ears {
    tally: Tally,
    calls: HashMap<String, Heard>,
}

/// Ordinary calls out of one socket, final responses acknowledged.
pub struct Flood {
    ears: Arc<Mutex<Ears>>,
    thread: JoinHandle<()>,
}

impl Flood {
    /// Offers so many calls, `each` of them every millisecond, and listens for two more seconds.
    pub fn start(from: SocketAddr, gateway: SocketAddr, calls: usize, each: usize) -> Self {
        let socket = UdpSocket::bind(from).unwrap_or_else(|e| panic!("{from}: {e}"));
        socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let ears = Arc::<Mutex<Ears>>::default();
        let (heard, listening) = (Arc::clone(&ears), socket.try_clone().unwrap());
        let thread = std::thread::spawn(move || {
            let asked = Arc::clone(&heard);
            let offers = std::thread::spawn(move || {
                let mut unheard = VecDeque::new();
                for n in 0..calls {
                    unheard.push_back((n, Deadline::after(REPEAT)));
                    while unheard.front().is_some_and(|(_, by): &(usize, Deadline)| by.passed()) {
                        let Some((n, _)) = unheard.pop_front() else { break };
                        if repeats(n, &asked) {
                            socket.send_to(invite(from, gateway, n).as_bytes(), gateway).unwrap();
                        }
                    }
                    socket.send_to(invite(from, gateway, n).as_bytes(), gateway).unwrap();
                    if n % each == 0 {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                }
            });
            let mut buffer = vec![0; 65_535];
            while !offers.is_finished() {
                hear(&listening, gateway, &heard, &mut buffer);
            }
            let end = Deadline::after(Duration::from_secs(2));
            while !end.passed() {
                hear(&listening, gateway, &heard, &mut buffer);
            }
        });
        Self { ears, thread }
    }

    /// Whether it still goes on.
    pub fn goes_on(&self) -> bool {
        !self.thread.is_finished()
    }

    /// What became of them so far.
    pub fn tally(&self) -> Tally {
        self.ears.lock().unwrap().tally
    }
}

/// Whether nothing was heard of this call yet; it counts as repeated then.
fn repeats(n: usize, ears: &Mutex<Ears>) -> bool {
    let mut ears = ears.lock().unwrap();
    let call = ears.calls.entry(format!("flood{n}")).or_default();
    let is_unheard = !call.turned_away && !call.placed;
    call.repeated |= is_unheard;
    ears.tally.repeated += usize::from(is_unheard);
    is_unheard
}

fn hear(socket: &UdpSocket, gateway: SocketAddr, ears: &Mutex<Ears>, buffer: &mut [u8]) {
    let Ok((n, _)) = socket.recv_from(buffer) else { return };
    let msg = Message::parse(&buffer[..n]);
    let mut ears = ears.lock().unwrap();
    let Ears { tally, calls } = &mut *ears;
    let asked = msg.header("Via").split_once(";oc=").map(|(_, rest)| rest.split(';').next().unwrap_or_default());
    tally.to_spare = tally.to_spare.max(asked.map_or(0, |percent| percent.parse().expect("a number")));
    let is_ours = msg.status() == 503 && !msg.header("Retry-After").is_empty();
    let call = calls.entry(msg.header("Call-ID").to_owned()).or_default();
    let was_torn = call.turned_away && call.placed;
    if is_ours {
        call.turned_away = true
    } else {
        call.placed = true
    }
    tally.torn += usize::from(call.repeated && call.turned_away && call.placed && !was_torn);
    match msg.status() {
        ..200 => return,
        486 => tally.relayed += 1,
        _ if is_ours => tally.turned_away += 1,
        _ => tally.others += 1,
    }
    drop(ears);
    let of = |name: &str| format!("{name}: {}\r\n", msg.header(name));
    let ack = format!(
        "ACK sip:+12125550100@{gateway} SIP/2.0\r\n{}Max-Forwards: 70\r\n{}{}{}CSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n",
        of("Via"),
        of("From"),
        of("To"),
        of("Call-ID"),
    );
    socket.send_to(ack.as_bytes(), gateway).unwrap();
}

fn invite(from: SocketAddr, gateway: SocketAddr, n: usize) -> String {
    format!(
        "INVITE sip:+12125550100@{gateway} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKflood{n};oc;oc-algo=\"loss\"\r\nMax-Forwards: 70\r\n\
         From: <sip:someone@pbx.example.com>;tag=f{n}\r\nTo: <sip:+12125550100@{gateway}>\r\nCall-ID: flood{n}\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:someone@{from}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{}",
        super::peer::SDP.len(),
        super::peer::SDP
    )
}

/// Who is always busy.
pub struct Busy {
    stop: Arc<AtomicBool>,
}

impl Busy {
    /// Answers every INVITE at `at` with 486.
    pub fn start(at: SocketAddr) -> Self {
        let socket = UdpSocket::bind(at).unwrap_or_else(|e| panic!("{at}: {e}"));
        socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let busy = Self { stop: Arc::default() };
        let stop = Arc::clone(&busy.stop);
        std::thread::spawn(move || {
            let mut buffer = vec![0; 65_535];
            while !stop.load(Ordering::Relaxed) {
                let Ok((n, from)) = socket.recv_from(&mut buffer) else { continue };
                let msg = Message::parse(&buffer[..n]);
                if msg.is_request() && msg.method() == "INVITE" {
                    let of = |name: &str| format!("{name}: {}", msg.header(name));
                    let head = ["Via", "From", "Call-ID", "CSeq"].map(of).join("\r\n");
                    let text = format!("SIP/2.0 486 Busy Here\r\n{head}\r\n{};tag=busy\r\nContent-Length: 0\r\n\r\n", of("To"));
                    socket.send_to(text.as_bytes(), from).unwrap();
                }
            }
        });
        busy
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Strangers who send REGISTER after REGISTER without a password, from many addresses in turn.
pub struct Strangers {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
}

impl Strangers {
    /// From each of these addresses in turn, `each` messages every millisecond.
    pub fn start(from: Vec<SocketAddr>, gateway: SocketAddr, each: usize) -> Self {
        let sockets: Vec<_> = from.iter().map(|at| (*at, UdpSocket::bind(at).unwrap_or_else(|e| panic!("{at}: {e}")))).collect();
        let strangers = Self { stop: Arc::default(), sent: Arc::default() };
        let (stop, sent) = (Arc::clone(&strangers.stop), Arc::clone(&strangers.sent));
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..each {
                    let n = sent.fetch_add(1, Ordering::Relaxed);
                    let (at, socket) = &sockets[n % sockets.len()];
                    let text = format!(
                        "REGISTER sip:{gateway} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bKs{n}\r\nMax-Forwards: 70\r\n\
                         From: <sip:alice@x>;tag=s{n}\r\nTo: <sip:alice@x>\r\nCall-ID: s{n}\r\nCSeq: 1 REGISTER\r\nContent-Length: 0\r\n\r\n"
                    );
                    let _ = socket.send_to(text.as_bytes(), gateway);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        strangers
    }

    /// How many messages they have sent.
    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Strangers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

//! A browser's audio by another maker's library (str0m): ICE, DTLS-SRTP and a tone, over a socket of its own.
//! Not part of the other tests: `mod` it by its path.

use std::f64::consts::TAU;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

use crate::common::clock::until;
use crate::common::rtp::{PACKET, WINDOW, decode, encode, is_tone};

/// A browser that says a tone and remembers what it hears, until dropped.
pub(super) struct Browser {
    pending: Option<SdpPendingOffer>,
    /// It is elsewhere once its offer is answered.
    moving: bool,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    stop: AtomicBool,
    state: Mutex<State>,
}

struct State {
    rtc: Rtc,
    socket: UdpSocket,
    at: SocketAddr,
    asleep: bool,
    hz: f64,
    mid: Option<Mid>,
    connected: bool,
    heard: Vec<i16>,
    /// SSRC, number and time of what was heard.
    packets: Vec<(u32, u16, u32)>,
}

impl Browser {
    /// One at that address that says a tone of so many Hertz once it is connected.
    pub(super) fn start(ip: IpAddr, hz: f64) -> Self {
        let (socket, at) = bound(ip);
        let config = RtcConfig::new()
            .set_crypto_provider(Arc::new(str0m::crypto::from_feature_flags()))
            .clear_codecs()
            .enable_pcmu(true, false)
            .enable_pcma(true, false)
            .set_rtp_mode(true);
        let mut rtc = config.build(now());
        rtc.add_local_candidate(Candidate::host(at, "udp").unwrap());
        let (heard, packets) = Default::default();
        let state = State { rtc, socket, at, asleep: false, hz, mid: None, connected: false, heard, packets };
        let shared = Arc::new(Shared { stop: AtomicBool::new(false), state: Mutex::new(state) });
        let own = Arc::clone(&shared);
        let thread = std::thread::spawn(move || run(&own));
        Self { pending: None, moving: false, shared, thread: Some(thread) }
    }

    /// It has another network from now on, with this address there: what it offers then, which begins ICE anew.
    pub(super) fn offer_from(&mut self, ip: IpAddr) -> String {
        let (offer, pending) = self.state(|s| {
            (s.socket, s.at) = bound(ip);
            let mut change = s.rtc.sdp_api();
            change.ice_restart(false);
            change.apply().expect("an offer")
        });
        (self.pending, self.moving) = (Some(pending), true);
        offer.to_sdp_string()
    }

    /// Whether its machine sleeps: nothing is sent, and what comes is left lying.
    pub(super) fn sleep(&self, asleep: bool) {
        self.state(|s| s.asleep = asleep);
    }

    /// What it offers.
    pub(super) fn offer(&mut self) -> String {
        let (offer, pending) = self.state(|s| {
            let mut change = s.rtc.sdp_api();
            match s.mid {
                // Another direction is another offer; the same again is none.
                Some(mid) => change.set_direction(mid, Direction::SendOnly),
                None => s.mid = Some(change.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None)),
            }
            change.apply().expect("an offer")
        });
        self.pending = Some(pending);
        offer.to_sdp_string()
    }

    /// Takes the answer to its offer.
    pub(super) fn take(&mut self, answer: &str) {
        let answer = SdpAnswer::from_sdp_string(answer).unwrap_or_else(|e| panic!("{e}: {answer}"));
        let pending = self.pending.take().expect("an offer");
        let moving = std::mem::take(&mut self.moving);
        self.state(|s| {
            s.rtc.sdp_api().accept_answer(pending, answer).expect("an answer that fits");
            if moving {
                s.rtc.add_local_candidate(Candidate::host(s.at, "udp").unwrap());
            }
        });
    }

    /// Its answer to an offer.
    pub(super) fn answer(&mut self, offer: &str) -> String {
        let offer = SdpOffer::from_sdp_string(offer).unwrap_or_else(|e| panic!("{e}: {offer}"));
        self.state(|s| s.rtc.sdp_api().accept_offer(offer)).expect("an offer that fits").to_sdp_string()
    }

    /// Waits until ICE and DTLS are through.
    #[track_caller]
    pub(super) fn until_connected(&self) {
        until(&format!("a connection of {}", self.at()), Duration::from_secs(8), || self.state(|s| s.connected).then_some(()));
    }

    /// Waits until a tone is what it hears now; forgets what it heard before.
    #[track_caller]
    pub(super) fn until_hears(&self, hz: f64) {
        self.state(|s| s.heard.clear());
        until(&format!("a tone of {hz} Hz at {}", self.at()), Duration::from_secs(8), || {
            let heard = self.state(|s| s.heard.clone());
            (heard.len() >= WINDOW && is_tone(&heard[heard.len() - WINDOW..], hz)).then_some(())
        });
    }

    /// SSRC, number and time of all packets that it has heard.
    pub(super) fn packets(&self) -> Vec<(u32, u16, u32)> {
        self.state(|s| s.packets.clone())
    }

    fn at(&self) -> SocketAddr {
        self.state(|s| s.at)
    }

    fn state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.shared.state.lock().unwrap())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[expect(clippy::disallowed_methods, reason = "the library's clock is the standard library's")]
fn now() -> Instant {
    Instant::now()
}

fn bound(ip: IpAddr) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    socket.set_nonblocking(true).unwrap();
    let at = socket.local_addr().unwrap();
    (socket, at)
}

fn run(shared: &Shared) {
    let (mut buffer, mut sample, mut sequence) = ([0; 2048], 0usize, 1u64);
    let mut next = now();
    while !shared.stop.load(Ordering::Relaxed) {
        let mut state = shared.state.lock().unwrap();
        if !state.asleep {
            state.drain();
            while let Ok((length, source)) = state.socket.recv_from(&mut buffer) {
                let Ok(contents) = buffer[..length].try_into() else { continue };
                let received = Receive { proto: Protocol::Udp, source, destination: state.at, contents };
                let _ = state.rtc.handle_input(Input::Receive(now(), received));
                state.drain();
            }
            let _ = state.rtc.handle_input(Input::Timeout(now()));
            state.drain();
            if now() >= next {
                next = now() + Duration::from_millis(20);
                state.speak(sample, sequence);
                state.drain();
                (sample, sequence) = (sample + PACKET, sequence + 1);
            }
        }
        drop(state);
        std::thread::sleep(Duration::from_millis(2));
    }
}

impl State {
    fn drain(&mut self) {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Transmit(packet)) => drop(self.socket.send_to(&packet.contents, packet.destination)),
                Ok(Output::Event(Event::Connected)) => self.connected = true,
                Ok(Output::Event(Event::MediaAdded(media))) => self.mid = Some(media.mid),
                Ok(Output::Event(Event::RtpPacket(packet))) => {
                    let header = &packet.header;
                    self.packets.push((*header.ssrc, header.sequence_number, header.timestamp));
                    self.heard.extend(packet.payload.iter().map(|code| decode(*code)));
                }
                Ok(Output::Event(_)) => {}
                Ok(Output::Timeout(_)) | Err(_) => return,
            }
        }
    }

    fn speak(&mut self, sample: usize, sequence: u64) {
        let Some(mid) = self.mid.filter(|_| self.connected) else { return };
        let hz = self.hz;
        let tone = (sample..sample + PACKET).map(|n| encode((12_000.0 * (TAU * hz * n as f64 / 8000.0).sin()) as i16));
        let tone: Vec<u8> = tone.collect();
        if let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(mid, None) {
            stream.write_rtp(RtpWrite::new(0.into(), sequence.into(), sample as u32, now(), &tone[..]));
        }
    }
}

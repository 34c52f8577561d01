//! A voice: somebody who says a tone by RTP and remembers what is heard.

use std::f64::consts::TAU;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;

use super::clock::{Stopwatch, until};
use super::net::Net;

/// Samples in a packet of 20 ms.
pub const PACKET: usize = 160;
/// Samples in which a tone is looked for: 200 ms.
pub const WINDOW: usize = 1600;
const PACE: Duration = Duration::from_millis(20);

/// Who speaks and listens, until dropped.
pub struct Voice {
    at: SocketAddr,
    socket: UdpSocket,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    hz: f64,
    to: Option<SocketAddr>,
    heard: Vec<i16>,
    /// Payloads of other payload types than PCMU, in order.
    events: Vec<(u8, Vec<u8>)>,
    reports: usize,
    /// To be sent next, besides.
    besides: Vec<(u8, Vec<u8>)>,
    sources: Vec<SocketAddr>,
    ssrcs: Vec<u32>,
    keys: Option<Keys>,
    bad: usize,
}

struct Keys {
    send: Context,
    receive: Context,
}

impl Voice {
    /// One at an even port of that address, that says a tone of so many Hertz.
    pub fn start(ip: IpAddr, hz: f64) -> Self {
        let (rtp, rtcp) = (0..200)
            .find_map(|_| {
                let rtp = UdpSocket::bind((ip, 0)).ok()?;
                let port = rtp.local_addr().ok()?.port();
                (port % 2 == 0).then_some(())?;
                Some((rtp, UdpSocket::bind((ip, port + 1)).ok()?))
            })
            .expect("two ports");
        rtp.set_nonblocking(true).unwrap();
        rtcp.set_nonblocking(true).unwrap();
        let shared = Arc::new(Shared::default());
        shared.state.lock().unwrap().hz = hz;
        let (at, own) = (rtp.local_addr().unwrap(), Arc::clone(&shared));
        let socket = rtp.try_clone().unwrap();
        let thread = std::thread::spawn(move || run(&rtp, &rtcp, &own));
        Self { at, socket, shared, thread: Some(thread) }
    }

    /// Where it listens.
    pub fn at(&self) -> SocketAddr {
        self.at
    }

    /// Its offer or answer.
    pub fn sdp(&self) -> String {
        self.sdp_with("RTP/AVP", 1, "")
    }

    /// The same with another protocol, version, and more lines in its stream, each with its end.
    pub fn sdp_with(&self, protocol: &str, version: u32, more: &str) -> String {
        let (ip, port) = (self.at.ip(), self.at.port());
        format!(
            "v=0\r\no=- {port} {version} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} {protocol} 0 101\r\n\
             a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n{more}"
        )
    }

    /// Speaks to where this description says, from now on.
    pub fn speak_to(&self, sdp: impl AsRef<[u8]>) {
        self.state(|s| s.to = Some(place_in(sdp)));
    }

    /// Says nothing any more.
    pub fn be_silent(&self) {
        self.state(|s| s.to = None);
    }

    /// Sends these bytes as they are, once, from where it speaks.
    pub fn send_raw(&self, bytes: &[u8], to: SocketAddr) {
        let _ = self.socket.send_to(bytes, to);
    }

    /// Encrypts with the first key and decrypts with the second: AES-128 in counter mode, tags of 80 bits.
    pub fn encrypt(&self, send: &[u8; 30], receive: &[u8; 30]) {
        let provider = rtc_crypto::default_provider().unwrap();
        let context = |key: &[u8; 30]| {
            let profile = ProtectionProfile::Aes128CmHmacSha1_80;
            Context::new(&key[..16], &key[16..], profile, None, None, provider.crypto()).unwrap()
        };
        self.state(|s| s.keys = Some(Keys { send: context(send), receive: context(receive) }));
    }

    /// Sends one packet of that payload type besides.
    pub fn send(&self, payload: u8, content: &[u8]) {
        self.state(|s| s.besides.push((payload, content.to_vec())));
    }

    /// Waits until a tone is what it hears now; forgets what it heard before.
    #[track_caller]
    pub fn until_hears(&self, hz: f64) {
        self.state(|s| s.heard.clear());
        until(&format!("a tone of {hz} Hz at {}", self.at), Duration::from_secs(8), || {
            let heard = self.state(|s| s.heard.clone());
            (heard.len() >= WINDOW && is_tone(&heard[heard.len() - WINDOW..], hz)).then_some(())
        });
    }

    /// Hears nothing at all for that long.
    #[track_caller]
    pub fn hears_nothing(&self, within: Duration) {
        // What is under way may still come.
        std::thread::sleep(Duration::from_millis(100));
        self.state(|s| s.heard.clear());
        std::thread::sleep(within);
        assert_eq!(self.packets(), 0, "packets are heard at {}", self.at);
    }

    /// Packets of PCMU that it has heard since it was last cleared.
    pub fn packets(&self) -> usize {
        self.state(|s| s.heard.len() / PACKET)
    }

    /// Forgets what it has heard.
    pub fn clear(&self) {
        self.state(|s| {
            s.heard.clear();
            s.events.clear();
            s.sources.clear();
            s.ssrcs.clear();
        });
    }

    /// Packets of other payload types.
    pub fn events(&self) -> Vec<(u8, Vec<u8>)> {
        self.state(|s| s.events.clone())
    }

    /// Where packets came from.
    pub fn sources(&self) -> Vec<SocketAddr> {
        self.state(|s| s.sources.clone())
    }

    /// The SSRCs of what it heard.
    pub fn ssrcs(&self) -> Vec<u32> {
        self.state(|s| s.ssrcs.clone())
    }

    /// How many RTCP packets it got.
    pub fn reports(&self) -> usize {
        self.state(|s| s.reports)
    }

    /// How many packets it could not decrypt.
    pub fn bad(&self) -> usize {
        self.state(|s| s.bad)
    }

    fn state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.shared.state.lock().unwrap())
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Where a description takes audio.
pub fn place_in(sdp: impl AsRef<[u8]>) -> SocketAddr {
    let sdp = String::from_utf8_lossy(sdp.as_ref());
    let after = |key: &str| sdp.lines().find_map(|l| l.strip_prefix(key)).unwrap_or_else(|| panic!("no {key} in {sdp}"));
    let port = after("m=audio ").split(' ').next().and_then(|p| p.parse().ok()).expect("a port");
    SocketAddr::new(after("c=IN IP4 ").trim().parse().expect("an address"), port)
}

/// The line of a description that offers or takes this key: AES-128 in counter mode, tags of 80 bits.
pub fn crypto_line(tag: u32, key: &[u8; 30]) -> String {
    format!("a=crypto:{tag} AES_CM_128_HMAC_SHA1_80 inline:{}\r\n", STANDARD.encode(key))
}

/// The tag and key of such a line in a description.
pub fn key_in(sdp: &str) -> Option<(u32, [u8; 30])> {
    let line = sdp.lines().find(|l| l.starts_with("a=crypto:") && l.contains(" AES_CM_128_HMAC_SHA1_80 "))?;
    let (tag, rest) = line.strip_prefix("a=crypto:")?.split_once(' ')?;
    let inline = rest.split_once("inline:")?.1.split(['|', ' ']).next()?;
    Some((tag.parse().ok()?, STANDARD.decode(inline).ok()?.try_into().ok()?))
}

/// Two voices: one in the PBX, one at the trunk, each with a tone of its own.
pub fn voices(net: &Net) -> (Voice, Voice) {
    (Voice::start(net.ip(10), 440.0), Voice::start(net.ip(21), 1000.0))
}

/// Whether most of what is heard is this tone (Goertzel).
pub fn is_tone(samples: &[i16], hz: f64) -> bool {
    let turn = 2.0 * (TAU * hz / 8000.0).cos();
    let (mut one, mut two, mut all) = (0.0, 0.0, 1.0);
    for sample in samples.iter().map(|s| f64::from(*s)) {
        (two, one) = (one, sample + turn * one - two);
        all += sample * sample;
    }
    let power = (one * one + two * two - turn * one * two) * 2.0 / samples.len() as f64;
    all > 1e6 && power > 0.8 * all
}

fn run(rtp: &UdpSocket, rtcp: &UdpSocket, shared: &Shared) {
    let (mut sequence, mut sample) = (1u16, 0usize);
    let ssrc = u32::from(rtp.local_addr().unwrap().port());
    let mut packet = [0; 2048];
    let start = Stopwatch::start();
    let mut turns = 0u32;
    while !shared.stop.load(Ordering::Relaxed) {
        {
            let mut state = shared.state.lock().unwrap();
            while let Ok((length, from)) = rtp.recv_from(&mut packet) {
                state.take(&packet[..length], from);
            }
            while rtcp.recv_from(&mut packet).is_ok() {
                state.reports += 1;
            }
            if let Some(to) = state.to {
                let hz = state.hz;
                let tone = (sample..sample + PACKET).map(|n| encode((12_000.0 * (TAU * hz * n as f64 / 8000.0).sin()) as i16));
                let mut all = vec![(0, tone.collect::<Vec<u8>>())];
                all.append(&mut state.besides);
                for (payload, content) in all {
                    let mut out = vec![0x80, payload];
                    out.extend(sequence.to_be_bytes());
                    out.extend((sample as u32).to_be_bytes());
                    out.extend(ssrc.to_be_bytes());
                    out.extend(content);
                    let out = match &mut state.keys {
                        Some(keys) => keys.send.encrypt_rtp(&out).unwrap().to_vec(),
                        None => out,
                    };
                    let _ = rtp.send_to(&out, to);
                    sequence = sequence.wrapping_add(1);
                }
                if turns.is_multiple_of(25) && state.keys.is_none() {
                    let report = [&[0x80, 201, 0, 1][..], &ssrc.to_be_bytes()].concat();
                    let _ = rtcp.send_to(&report, SocketAddr::new(to.ip(), to.port() + 1));
                }
            }
            sample += PACKET;
        }
        turns += 1;
        std::thread::sleep((PACE * turns).saturating_sub(start.elapsed()));
    }
}

impl State {
    fn take(&mut self, packet: &[u8], from: SocketAddr) {
        let opened = match &mut self.keys {
            Some(keys) => match keys.receive.decrypt_rtp(packet) {
                Ok(opened) => opened.to_vec(),
                Err(_) => return self.bad += 1,
            },
            None => packet.to_vec(),
        };
        let Some(payload) = payload_of(&opened) else { return };
        if !self.sources.contains(&from) {
            self.sources.push(from);
        }
        let ssrc = u32::from_be_bytes([opened[8], opened[9], opened[10], opened[11]]);
        if !self.ssrcs.contains(&ssrc) {
            self.ssrcs.push(ssrc);
        }
        match opened[1] & 0x7f {
            0 => self.heard.extend(payload.iter().map(|code| decode(*code))),
            other => self.events.push((other, payload.to_vec())),
        }
    }
}

/// What follows the header with its sources and its extension (RFC 3550 section 5.3.1).
fn payload_of(packet: &[u8]) -> Option<&[u8]> {
    let first = usize::from(*packet.first()?);
    let rest = packet.get(12 + 4 * (first & 15)..)?;
    if first & 0x10 == 0 {
        return Some(rest);
    }
    let words = usize::from(u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]));
    rest.get(4 + 4 * words..)
}

/// G.711: a sample as a mu-law code.
pub fn encode(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = i32::from(sample).abs().min(32_635) + 0x84;
    let exponent = (7..15).rev().find(|bit| magnitude & (1 << bit) != 0).unwrap_or(7) - 7;
    let mantissa = (magnitude >> (exponent + 3)) & 15;
    !(sign | (exponent << 4) as u8 | mantissa as u8)
}

/// And back.
pub fn decode(code: u8) -> i16 {
    let code = !code;
    let (exponent, mantissa) = (i32::from(code >> 4 & 7), i32::from(code & 15));
    let magnitude = (((mantissa << 3) + 0x84) << exponent) - 0x84;
    i16::try_from(if code & 0x80 != 0 { -magnitude } else { magnitude }).unwrap_or(0)
}

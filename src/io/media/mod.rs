//! Speaks: what a call hears from us as RTP (RFC 3550, RFC 3551).
//!
//! That is the read-back of a test call alone (RULES R5): PCMU out of the binary, every 20 ms, one way; nothing is received,
//! mixed or transcoded. No call waits for a packet: [`Media::open`] binds a socket and hands everything else to a thread of its
//! own, which sends ([`voice`]) and says nothing back. The audio between the parties of a call, where it goes through us, is
//! [`relay`]'s.
//!
//! Read [`Media`] first. Logs know nothing of what is read, to whom, or where.

mod ports;
pub mod prompts;
pub mod relay;
mod voice;

use crate::bridge::{MediaOrder, Opened, ReadOut};
use crate::emergency::facts::CallId;
use crate::io::notifier::template::Language;
pub use ports::{Ports, Settings};
use prompts::Script;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;
use voice::{Order, Voice};

/// Read-backs at once; a test beyond gets the error that it would have got without.
pub const MOST: usize = 16;

/// No voice speaks longer.
pub const LONGEST: Duration = Duration::from_secs(60);

/// The way to all voices.
pub struct Media {
    ports: Ports,
    language: Language,
    open: Arc<AtomicUsize>,
    /// To the thread; it ends with this.
    orders: Sender<Order>,
}

impl Media {
    /// Starts the thread. Where the system has none for us there is no voice, and nothing else is missed.
    pub fn start(settings: Settings) -> Self {
        let (orders, received) = channel();
        let _ = std::thread::Builder::new().name("media".to_owned()).spawn(move || voice::run(&received));
        Self { ports: Ports::new(&settings), language: settings.language, open: Arc::default(), orders }
    }

    /// New settings; voices that speak go on as they are.
    pub fn configure(&mut self, settings: &Settings) {
        self.ports = Ports::new(settings);
        self.language = settings.language;
    }

    /// Carries an order out. `Some` only for [`MediaOrder::Open`], where there is room, a port and a thread.
    pub fn obey(&mut self, call: CallId, order: MediaOrder) -> Option<Opened> {
        match order {
            MediaOrder::Open { text, towards, known_as } => return self.open(call, &text, *towards.reveal(), known_as),
            MediaOrder::Speak { to, payload } => drop(self.orders.send(Order::Speak { call, to: *to.reveal(), payload })),
            MediaOrder::Close => drop(self.orders.send(Order::Close { call })),
        }
        None
    }

    /// How many voices are there.
    pub fn voices(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn open(&mut self, call: CallId, text: &ReadOut, towards: IpAddr, known_as: Option<IpAddr>) -> Option<Opened> {
        let place = Place::take(&self.open)?;
        let (socket, at) = self.ports.open(towards, known_as)?;
        let script = Script::of(text, self.language);
        let lasts = script.lasts();
        self.orders.send(Order::Open { call, voice: Box::new(Voice::new(socket, &script, place)) }).ok()?;
        Some(Opened { at, lasts })
    }
}

/// One of [`MOST`] places, free again when this is dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Option<Self> {
        let room = |taken| (taken < MOST).then_some(taken + 1);
        open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok().map(|_| Self(Arc::clone(open)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::{E164, Private};
    use std::net::{Ipv4Addr, UdpSocket};

    fn settings() -> Settings {
        Settings { bind: Ipv4Addr::UNSPECIFIED.into(), public: None, ports: (20_000, 29_999), language: Language::English }
    }

    fn here() -> IpAddr {
        Ipv4Addr::LOCALHOST.into()
    }

    fn open(media: &mut Media, call: u64) -> Option<Opened> {
        let number = Private::new(E164::parse("+14255550109").expect("a number"));
        let text = ReadOut { number, path: "direct-routing", language: None };
        media.obey(CallId(call), MediaOrder::Open { text, towards: Private::new(here()), known_as: Some(here()) })
    }

    #[track_caller]
    fn until(media: &Media, voices: usize) {
        for _ in 0..500 {
            if media.voices() == voices {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{} voices, not {voices}", media.voices());
    }

    #[test]
    fn r5_what_is_heard_are_the_prompts_in_order_and_the_socket_is_closed_at_the_end() {
        let ear = UdpSocket::bind((here(), 0)).expect("a socket");
        ear.set_read_timeout(Some(Duration::from_secs(5))).expect("a time-out");
        let mut media = Media::start(settings());
        let opened = open(&mut media, 1).expect("a voice");
        let to = Private::new(ear.local_addr().expect("an address"));
        media.obey(CallId(1), MediaOrder::Speak { to, payload: 96 });
        let mut heard = Vec::new();
        let mut packet = [0; 2000];
        for place in 0..60u16 {
            let (length, from) = ear.recv_from(&mut packet).expect("a packet");
            assert_eq!((length, from), (172, opened.at));
            let marker = if place == 0 { 0x80 } else { 0 };
            assert_eq!(packet[..2], [0x80, 96 | marker], "version 2, the payload type, a marker on the first");
            heard.push((packet[2..4].to_vec(), packet[4..8].to_vec(), packet[8..12].to_vec(), packet[12..172].to_vec()));
        }
        for pair in heard.windows(2) {
            let [a, b] = pair else { continue };
            let sequence = |p: &[u8]| u16::from_be_bytes([p[0], p[1]]);
            let stamp = |p: &[u8]| u32::from_be_bytes([p[0], p[1], p[2], p[3]]);
            assert_eq!(sequence(&b.0), sequence(&a.0).wrapping_add(1));
            assert_eq!(stamp(&b.1), stamp(&a.1).wrapping_add(160));
            assert_eq!(a.2, b.2, "one source");
        }
        let number = Private::new(E164::parse("+14255550109").expect("a number"));
        let text = ReadOut { number, path: "direct-routing", language: None };
        let said: Vec<u8> = Script::of(&text, Language::English).samples().take(60 * 160).collect();
        assert!(heard.into_iter().flat_map(|p| p.3).collect::<Vec<_>>() == said);
        assert!(UdpSocket::bind(opened.at).is_err(), "the port is taken");
        media.obey(CallId(1), MediaOrder::Close);
        until(&media, 0);
        UdpSocket::bind(opened.at).expect("the port is free");
    }

    #[test]
    fn r5_no_more_than_sixteen_are_read_to_at_once() {
        let mut media = Media::start(settings());
        for call in 0..16 {
            assert!(open(&mut media, call).is_some(), "{call}");
        }
        assert!(open(&mut media, 16).is_none());
        media.obey(CallId(3), MediaOrder::Close);
        until(&media, 15);
        assert!(open(&mut media, 17).is_some());
    }
}

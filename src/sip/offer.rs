//! Offer and answer where we speak ourselves (RFC 3264): one audio stream of PCMU, nothing else.
//!
//! Not what calls need whose audio flows between the parties: their SDP passes as it is, see [`super::sdp`]. Read
//! [`Offer::of`] first.

use smallvec::SmallVec;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

/// The payload type of PCMU (RFC 3551 section 6).
pub const PCMU: u8 = 0;

/// The payload type that we offer telephone events with.
const EVENTS: u8 = 101;

/// More streams than anybody offers.
const MOST_STREAMS: usize = 16;

/// An offer (or the answer to one of ours) in which we can be heard. Says where somebody is: no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Offer {
    /// Where the audio goes.
    pub to: SocketAddr,
    /// The payload type that PCMU has there.
    pub payload: u8,
    events: Option<u8>,
    /// Whether the far end speaks as well.
    speaks: bool,
    streams: SmallVec<[Stream; 2]>,
    /// The one that is taken.
    taken: usize,
}

/// A stream as it is answered: all of its `m=` line that a refusal repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stream {
    media: String,
    protocol: String,
    format: String,
}

/// An audio stream while it is read. What is `None` is the session's.
#[derive(Default)]
struct Reading {
    port: u16,
    formats: SmallVec<[u8; 8]>,
    /// Its own `c=`; `Some(None)` where that is no address.
    at: Option<Option<IpAddr>>,
    direction: Option<Direction>,
    maps: SmallVec<[(u8, Encoding); 8]>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Pcmu,
    Events,
    Other,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Both,
    /// The far end speaks only.
    Send,
    /// The far end listens only.
    Receive,
    Neither,
}

impl Offer {
    /// Reads an offer; `None` where no stream of it is plain RTP audio that takes PCMU at an address and listens.
    pub fn of(sdp: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(sdp).ok()?;
        let (mut at, mut direction) = (None, Direction::Both);
        let mut streams: SmallVec<[Stream; 2]> = SmallVec::new();
        let mut audio: Option<(usize, Reading)> = None;
        let mut found: Option<(usize, Reading)> = None;
        for line in text.split(['\r', '\n']) {
            let Some((kind, value)) = line.split_once('=') else { continue };
            let inside = !streams.is_empty();
            match (kind, &mut audio) {
                ("m", _) => {
                    found = found.or_else(|| audio.take().filter(|(_, a)| a.pcmu().is_some()));
                    let (stream, reading) = Stream::of(value)?;
                    audio = reading.map(|r| (streams.len(), r));
                    streams.push(stream);
                    if streams.len() > MOST_STREAMS {
                        return None;
                    }
                }
                ("c", Some((_, audio))) => audio.at = Some(connection(value)),
                ("a", Some((_, audio))) => audio.attribute(value),
                ("c", None) if !inside => at = connection(value),
                ("a", None) if !inside => direction = Direction::of(value).unwrap_or(direction),
                _ => {}
            }
        }
        let (taken, audio) = found.or_else(|| audio.filter(|(_, a)| a.pcmu().is_some()))?;
        let direction = audio.direction.unwrap_or(direction);
        if matches!(direction, Direction::Send | Direction::Neither) {
            return None;
        }
        let to = SocketAddr::new(audio.at.unwrap_or(at).filter(|ip| is_somebodys(*ip))?, audio.port);
        Some(Self { to, payload: audio.pcmu()?, events: audio.events(), speaks: direction == Direction::Both, streams, taken })
    }

    /// The answer: our audio at `at`, every other stream refused. `id` and `version` are those of `o=` (RFC 3264 section 8).
    pub fn answer(&self, at: SocketAddr, id: u64, version: u32) -> String {
        let mut out = session(at, id, version);
        for (place, stream) in self.streams.iter().enumerate() {
            let Stream { media, protocol, format } = stream;
            if place != self.taken {
                let _ = write!(out, "m={media} 0 {protocol} {format}\r\n");
                continue;
            }
            let direction = if self.speaks { "sendrecv" } else { "sendonly" };
            audio(&mut out, at.port(), protocol, self.payload, self.events, direction);
        }
        out
    }
}

/// An offer of ours, where the caller left it to us.
pub fn offer(at: SocketAddr, id: u64) -> String {
    let mut out = session(at, id, 1);
    audio(&mut out, at.port(), "RTP/AVP", PCMU, Some(EVENTS), "sendrecv");
    out
}

fn session(at: SocketAddr, id: u64, version: u32) -> String {
    let family = if at.is_ipv4() { "IP4" } else { "IP6" };
    let ip = at.ip();
    format!("v=0\r\no=- {id} {version} IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n")
}

fn audio(out: &mut String, port: u16, protocol: &str, payload: u8, events: Option<u8>, direction: &str) {
    let _ = write!(out, "m=audio {port} {protocol} {payload}");
    let _ = events.map_or(Ok(()), |events| write!(out, " {events}"));
    let _ = write!(out, "\r\na=rtpmap:{payload} PCMU/8000\r\n");
    if let Some(events) = events {
        let _ = write!(out, "a=rtpmap:{events} telephone-event/8000\r\na=fmtp:{events} 0-15\r\n");
    }
    let _ = write!(out, "a=ptime:20\r\na={direction}\r\n");
}

impl Stream {
    /// Reads the value of an `m=` line; with it, where it is audio that we could speak in, what is to be read on.
    fn of(value: &str) -> Option<(Self, Option<Reading>)> {
        let mut words = value.split(' ').filter(|w| !w.is_empty());
        let mut word = || words.next().filter(|w| w.bytes().all(|b| b.is_ascii_graphic()));
        let (media, port, protocol, format) = (word()?, word()?, word()?, word()?);
        let port = port.split('/').next().and_then(|p| p.parse().ok()).unwrap_or(0);
        let plain = media == "audio" && matches!(protocol, "RTP/AVP" | "RTP/AVPF") && port != 0;
        let formats = || std::iter::once(format).chain(words).filter_map(|f| f.parse().ok()).take(64).collect();
        let reading = plain.then(|| Reading { port, formats: formats(), ..Reading::default() });
        let stream = Self { media: media.to_owned(), protocol: protocol.to_owned(), format: format.to_owned() };
        Some((stream, reading))
    }
}

impl Reading {
    fn attribute(&mut self, value: &str) {
        if let Some(map) = value.strip_prefix("rtpmap:") {
            self.maps.extend(rtpmap(map).filter(|_| self.maps.len() < 64));
        } else if let Some(direction) = Direction::of(value) {
            self.direction = Some(direction);
        }
    }

    /// The first payload type that is PCMU; 0 need not say so.
    fn pcmu(&self) -> Option<u8> {
        let is_pcmu = |f: &u8| self.encoding(*f).map_or(*f == PCMU, |e| e == Encoding::Pcmu);
        self.formats.iter().copied().find(is_pcmu)
    }

    fn events(&self) -> Option<u8> {
        self.formats.iter().copied().find(|f| self.encoding(*f) == Some(Encoding::Events))
    }

    fn encoding(&self, format: u8) -> Option<Encoding> {
        self.maps.iter().find(|(f, _)| *f == format).map(|(_, e)| *e)
    }
}

impl Direction {
    fn of(attribute: &str) -> Option<Self> {
        match attribute.trim() {
            "sendrecv" => Some(Self::Both),
            "sendonly" => Some(Self::Send),
            "recvonly" => Some(Self::Receive),
            "inactive" => Some(Self::Neither),
            _ => None,
        }
    }
}

/// `0 PCMU/8000`
fn rtpmap(value: &str) -> Option<(u8, Encoding)> {
    let (format, encoding) = value.split_once(' ')?;
    let encoding = encoding.trim().trim_end_matches("/1").to_ascii_lowercase();
    let encoding = match encoding.as_str() {
        "pcmu/8000" => Encoding::Pcmu,
        "telephone-event/8000" => Encoding::Events,
        _ => Encoding::Other,
    };
    Some((format.parse().ok()?, encoding))
}

/// `IN IP4 192.0.2.1`; names are not looked up.
fn connection(value: &str) -> Option<IpAddr> {
    let address = value.split(' ').filter(|w| !w.is_empty()).nth(2)?;
    address.trim().parse().ok()
}

/// Whether one host can have this address; 0.0.0.0 is a hold of old (RFC 3264 section 8.4).
fn is_somebodys(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "v=0\r\no=alice 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n";

    fn of(streams: &str) -> Option<Offer> {
        Offer::of(format!("{HEAD}{streams}").replace("; ", "\r\n").as_bytes())
    }

    fn ours() -> SocketAddr {
        "192.0.2.1:20000".parse().expect("an address")
    }

    #[test]
    fn r5_pcmu_is_found_wherever_it_stands() {
        for (streams, to, payload) in [
            ("m=audio 4000 RTP/AVP 0", "192.0.2.7:4000", 0),
            ("m=audio 4000/1 RTP/AVP 8 0 101; a=rtpmap:0 pcmu/8000/1; a=rtpmap:101 telephone-event/8000", "192.0.2.7:4000", 0),
            ("m=audio 4000 RTP/AVPF 96 8; a=rtpmap:96 PCMU/8000", "192.0.2.7:4000", 96),
            ("m=audio 0 RTP/AVP 0; m=audio 4002 RTP/AVP 0; c=IN IP4 192.0.2.8", "192.0.2.8:4002", 0),
            ("m=audio 4000 RTP/AVP 8; m=audio 4002 RTP/AVP 0; m=audio 4004 RTP/AVP 0", "192.0.2.7:4002", 0),
            ("m=video 4000 RTP/AVP 0; c=IN IP4 192.0.2.9; m=audio 4002 RTP/AVP 0", "192.0.2.7:4002", 0),
            ("m=audio 4000 RTP/AVP 0; c=IN IP6 2001:db8::7", "[2001:db8::7]:4000", 0),
            ("m=audio 4000 RTP/AVP 0; a=recvonly", "192.0.2.7:4000", 0),
        ] {
            let offer = of(streams).unwrap_or_else(|| panic!("{streams}"));
            assert_eq!((offer.to.to_string().as_str(), offer.payload), (to, payload), "{streams}");
        }
    }

    #[test]
    fn r5_nobody_is_spoken_to_who_could_not_hear_it() {
        for streams in [
            "",
            "m=audio 4000 RTP/AVP 8",
            "m=audio 0 RTP/AVP 0",
            "m=audio 99999 RTP/AVP 0",
            "m=audio 4000 RTP/SAVP 0",
            "m=audio 4000 RTP/AVP 0; a=rtpmap:0 opus/48000/2",
            "m=audio 4000 RTP/AVP 0; a=sendonly",
            "a=inactive; m=audio 4000 RTP/AVP 0",
            "m=audio 4000 RTP/AVP 0; c=IN IP4 0.0.0.0",
            "m=audio 4000 RTP/AVP 0; c=IN IP4 224.0.0.1",
            "m=audio 4000 RTP/AVP 0; c=IN IP4 phone.example.com",
            "m=audio 4000 RTP/AVP",
            "m=audio 4000 RTP/AVP 0; m=vi\u{1}deo 1 x 1",
        ] {
            assert!(of(streams).is_none(), "{streams}");
        }
        assert!(of(&"m=audio 4000 RTP/AVP 0; ".repeat(17)).is_none());
        assert!(Offer::of(b"m=audio 4000 RTP/AVP 0").is_none() && Offer::of(b"\xff").is_none());
    }

    #[test]
    fn r5_the_answer_takes_one_stream_and_refuses_the_others() {
        let offer = of("m=video 4000 RTP/AVP 31; m=audio 4002 RTP/AVP 8 0 97; a=rtpmap:97 telephone-event/8000; m=x 1 y z");
        let answer = offer.expect("PCMU").answer(ours(), 7, 2);
        let want = "v=0\r\no=- 7 2 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=video 0 RTP/AVP 31\r\n\
                    m=audio 20000 RTP/AVP 0 97\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:97 telephone-event/8000\r\na=fmtp:97 0-15\r\n\
                    a=ptime:20\r\na=sendrecv\r\nm=x 0 y z\r\n";
        assert_eq!(answer, want);
        let listens = of("a=recvonly; m=audio 4002 RTP/AVP 0").expect("PCMU").answer(ours(), 7, 1);
        assert!(
            listens.ends_with("m=audio 20000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\na=sendonly\r\n"),
            "{listens}"
        );
    }

    #[test]
    fn r5_what_we_offer_we_understand() {
        for at in [ours(), "[2001:db8::1]:20002".parse().expect("an address")] {
            let read = Offer::of(offer(at, 1).as_bytes()).expect("PCMU");
            assert_eq!((read.to, read.payload, read.events, read.speaks), (at, PCMU, Some(101), true));
        }
    }
}

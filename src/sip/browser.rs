//! Session descriptions of browsers: what one says of its audio as any phone would say it, and what a phone says as a browser
//! must hear it (RFC 8829; ICE by RFC 8839, DTLS-SRTP by RFC 5763 and RFC 8842, one port for all by RFC 5761).
//!
//! One audio stream is kept, with PCMU, PCMA and telephone-events, in the payload types that were offered; every other stream is
//! rejected in its place. We are ICE-lite, and the server of DTLS where the choice is ours, so nothing here depends on the network.
//! Packets are `io::media::relay`'s. Read [`Browser::read`] first, then [`dressed`].

use super::relayed::{Section, Sections};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};

/// Streams of a description that are answered; what comes after them gets no answer and no call has.
const MOST_STREAMS: usize = 1024;
/// The longest name of ICE or of a stream that is taken (RFC 8839 section 5.4: 256).
const LONGEST: usize = 256;

/// What a browser says.
#[derive(Clone, PartialEq, Eq)]
pub struct Browser {
    /// The SHA-256 of its certificate.
    pub fingerprint: [u8; 32],
    /// Its name in ICE. Another one than before: ICE begins anew.
    pub ufrag: String,
    /// Whether it waits for DTLS to begin, or begins; `None` where it leaves us the choice (RFC 8842 section 5).
    pub waits: Option<bool>,
    /// All its streams, in their order.
    pub streams: Streams,
}

/// The streams of a description, as its answer and every later description have to repeat them (RFC 3264 section 8).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streams {
    /// Which one is ours.
    kept: usize,
    all: Vec<Stream>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stream {
    media: String,
    protocol: String,
    format: String,
    mid: Option<String>,
}

/// What we are to a browser.
pub struct Face<'a> {
    /// Where it reaches us.
    pub at: SocketAddr,
    /// Our name in ICE.
    pub ufrag: &'a str,
    /// Our password in ICE.
    pub password: &'a str,
    /// The SHA-256 of our certificate.
    pub fingerprint: &'a [u8; 32],
    /// The source of all that it hears of us.
    pub ssrc: u32,
    /// Whether we answer; else we offer.
    pub answers: bool,
    /// Whether DTLS begins with us: it waits.
    pub begins: bool,
    /// The streams that it knows of.
    pub streams: Option<&'a Streams>,
}

/// What is relayed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Pcmu,
    Pcma,
    Events,
}

impl Browser {
    /// Reads a browser's offer or answer. `None` where it is none, or has no audio that we relay.
    pub fn read(sdp: &[u8]) -> Option<Self> {
        let sections = Sections::of(sdp);
        let kept = sections.streams.iter().position(|stream| {
            stream.line.as_ref().is_some_and(|l| l.media == "audio" && l.port != 0 && is_secure(l.protocol))
                && !formats(stream).is_empty()
        })?;
        let stream = sections.streams.get(kept)?;
        let both = [stream, &sections.session];
        let fingerprint = both.into_iter().flat_map(|s| s.attributes("fingerprint")).find_map(fingerprint)?;
        let ufrag = both.into_iter().flat_map(|s| s.attributes("ice-ufrag")).find(|name| is_word(name))?;
        let waits = match both.into_iter().flat_map(|s| s.attributes("setup")).next() {
            Some("passive") => Some(true),
            Some("active") => Some(false),
            _ => None,
        };
        Some(Self { fingerprint, ufrag: ufrag.to_owned(), waits, streams: Streams::of(&sections, kept) })
    }

    /// The same description as a phone at `at` would give it, with the streams that its reader knows of.
    pub fn plain(&self, sdp: &[u8], at: SocketAddr, known: Option<&Streams>) -> Bytes {
        let sections = Sections::of(sdp);
        let mut out = String::with_capacity(512);
        head(&mut out, &sections, at.ip());
        let own = Streams::alone("RTP/AVP", None);
        let streams = known.unwrap_or(&own);
        for (place, stream) in streams.all.iter().enumerate() {
            match sections.streams.get(self.streams.kept).filter(|_| place == streams.kept) {
                Some(kept) => {
                    let protocol = if is_secure(&stream.protocol) { "RTP/AVP" } else { &stream.protocol };
                    media(&mut out, at.port(), protocol, kept);
                    direction(&mut out, kept, &sections.session);
                }
                None => rejected(&mut out, stream),
            }
        }
        out.into()
    }
}

/// A phone's description as a browser gets it.
pub fn dressed(plain: &[u8], face: &Face<'_>) -> Bytes {
    let sections = Sections::of(plain);
    let kept = sections
        .streams
        .iter()
        .find(|stream| stream.line.as_ref().is_some_and(|l| l.media == "audio" && l.port != 0) && !formats(stream).is_empty());
    let own = Streams::alone("UDP/TLS/RTP/SAVPF", Some("0"));
    let streams = face.streams.unwrap_or(&own);
    let ours = kept.and_then(|_| streams.all.get(streams.kept));
    let mut out = String::with_capacity(1024);
    head(&mut out, &sections, face.at.ip());
    if let Some(mid) = ours.and_then(|s| s.mid.as_ref()) {
        let _ = write!(out, "a=group:BUNDLE {mid}\r\n");
    }
    out.push_str("a=ice-lite\r\na=msid-semantic: WMS *\r\n");
    for (place, stream) in streams.all.iter().enumerate() {
        match kept.filter(|_| place == streams.kept) {
            Some(kept) => {
                media(&mut out, face.at.port(), &stream.protocol, kept);
                direction(&mut out, kept, &sections.session);
                transport(&mut out, stream, face);
            }
            None => rejected(&mut out, stream),
        }
    }
    out.into()
}

impl Streams {
    /// Those of a phone's description, and which of them is kept; `None` where none is.
    pub fn of_plain(sdp: &[u8]) -> Option<Self> {
        let sections = Sections::of(sdp);
        let is_kept = |s: &Section<'_>| s.line.as_ref().is_some_and(|l| l.media == "audio" && l.port != 0);
        let kept = sections.streams.iter().position(is_kept)?;
        Some(Self::of(&sections, kept))
    }

    fn of(sections: &Sections<'_>, kept: usize) -> Self {
        let stream = |section: &Section<'_>| {
            let line = section.line.as_ref();
            let format = line.and_then(|l| l.formats.split_ascii_whitespace().next()).unwrap_or("0");
            Stream {
                media: line.map_or("audio", |l| l.media).to_owned(),
                protocol: line.map_or("RTP/AVP", |l| l.protocol).to_owned(),
                format: format.to_owned(),
                mid: section.attributes("mid").find(|mid| is_word(mid)).map(str::to_owned),
            }
        };
        Self { kept, all: sections.streams.iter().take(MOST_STREAMS.max(kept + 1)).map(stream).collect() }
    }

    fn alone(protocol: &str, mid: Option<&str>) -> Self {
        let (media, format) = ("audio".to_owned(), "0".to_owned());
        let stream = Stream { media, protocol: protocol.to_owned(), format, mid: mid.map(str::to_owned) };
        Self { kept: 0, all: vec![stream] }
    }
}

impl fmt::Debug for Browser {
    /// Prints nothing of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Browser")
    }
}

/// The session's lines, with the number and the version that its sender counts.
fn head(out: &mut String, sections: &Sections<'_>, ip: IpAddr) {
    let origin = sections.session.lines.iter().find_map(|l| l.strip_prefix("o=")).unwrap_or_default();
    let mut numbers = origin.split_ascii_whitespace().skip(1).map(|n| n.parse::<u64>().unwrap_or(0));
    let (id, version) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
    let _ = write!(out, "v=0\r\no=- {id} {version} IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n");
}

/// The `m=` line of the stream that is kept, and its formats.
fn media(out: &mut String, port: u16, protocol: &str, kept: &Section<'_>) {
    let formats = formats(kept);
    let _ = write!(out, "m=audio {port} {protocol}");
    for (payload, _) in &formats {
        let _ = write!(out, " {payload}");
    }
    out.push_str("\r\n");
    for (payload, encoding) in &formats {
        let _ = write!(out, "a=rtpmap:{payload} {}/8000\r\n", encoding.name());
        if *encoding == Encoding::Events {
            let _ = write!(out, "a=fmtp:{payload} {}\r\n", events(kept, *payload));
        }
    }
    for name in ["ptime", "maxptime"] {
        if let Some(ms) = kept.attributes(name).find_map(|v| v.trim().parse::<u16>().ok()).filter(|ms| *ms > 0) {
            let _ = write!(out, "a={name}:{ms}\r\n");
        }
    }
}

fn direction(out: &mut String, kept: &Section<'_>, session: &Section<'_>) {
    let direction = [kept, session].into_iter().find_map(Section::direction).unwrap_or("sendrecv");
    let _ = write!(out, "a={direction}\r\n");
}

/// ICE, DTLS and the one source that it hears.
fn transport(out: &mut String, stream: &Stream, face: &Face<'_>) {
    if let Some(mid) = &stream.mid {
        let _ = write!(out, "a=mid:{mid}\r\n");
    }
    let (ip, port, ssrc) = (face.at.ip(), face.at.port(), face.ssrc);
    let setup = match (face.answers, face.begins) {
        (true, true) => "active",
        (true, false) => "passive",
        (false, _) => "actpass",
    };
    let _ = write!(out, "a=rtcp-mux\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=fingerprint:sha-256 ", face.ufrag, face.password);
    for (place, byte) in face.fingerprint.iter().enumerate() {
        let _ = write!(out, "{}{byte:02X}", if place == 0 { "" } else { ":" });
    }
    let _ = write!(out, "\r\na=setup:{setup}\r\na=msid:e911d audio\r\na=ssrc:{ssrc} cname:e911d\r\n");
    let _ = write!(out, "a=candidate:1 1 udp 2130706431 {ip} {port} typ host\r\na=end-of-candidates\r\n");
}

fn rejected(out: &mut String, stream: &Stream) {
    let _ = write!(out, "m={} 0 {} {}\r\n", stream.media, stream.protocol, stream.format);
    if let Some(mid) = &stream.mid {
        let _ = write!(out, "a=mid:{mid}\r\n");
    }
}

/// The payload types of a stream that are relayed, as they are offered.
fn formats(stream: &Section<'_>) -> SmallVec<[(u8, Encoding); 4]> {
    let Some(line) = stream.line.as_ref() else { return SmallVec::new() };
    let payloads = line.formats.split_ascii_whitespace().filter_map(|f| f.parse::<u8>().ok().filter(|p| *p < 128));
    let mut found: SmallVec<[(u8, Encoding); 4]> = SmallVec::new();
    for payload in payloads {
        if found.iter().any(|(known, _)| *known == payload) {
            continue;
        }
        found.extend(Encoding::of(stream, payload).map(|encoding| (payload, encoding)));
    }
    // Events alone are no audio.
    if found.iter().all(|(_, encoding)| *encoding == Encoding::Events) {
        found.clear();
    }
    found
}

/// The events of a payload type, as far as that is a list of numbers (RFC 4733 section 2.5.1.1).
fn events<'a>(stream: &Section<'a>, payload: u8) -> &'a str {
    let listed = stream.attributes("fmtp").filter_map(|v| v.split_once(' ')).find(|(p, _)| p.parse() == Ok(payload));
    let is_list = |list: &&str| {
        !list.is_empty() && list.len() < LONGEST && list.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b','))
    };
    listed.map(|(_, list)| list.trim()).filter(is_list).unwrap_or("0-15")
}

impl Encoding {
    fn of(stream: &Section<'_>, payload: u8) -> Option<Self> {
        let mapped = stream.attributes("rtpmap").filter_map(|v| v.split_once(' ')).find(|(p, _)| p.trim().parse() == Ok(payload));
        let name = match (mapped, payload) {
            (Some((_, name)), _) => name.trim(),
            (None, 0) => "PCMU/8000",
            (None, 8) => "PCMA/8000",
            (None, _) => return None,
        };
        // One channel is what is meant where it says nothing.
        let name = name.strip_suffix("/1").unwrap_or(name);
        [Self::Pcmu, Self::Pcma, Self::Events]
            .into_iter()
            .find(|e| name.strip_suffix("/8000").is_some_and(|name| name.eq_ignore_ascii_case(e.name())))
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::Events => "telephone-event",
        }
    }
}

/// Keys by DTLS: `UDP/TLS/RTP/SAVPF`, or what browsers said before (RFC 8829 section 5.1.2).
fn is_secure(protocol: &str) -> bool {
    let known = ["UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP", "RTP/SAVPF", "RTP/SAVP", "TCP/DTLS/RTP/SAVPF", "TCP/TLS/RTP/SAVPF"];
    known.iter().any(|k| protocol.eq_ignore_ascii_case(k))
}

/// `sha-256 AB:CD:…` (RFC 8122 section 5).
fn fingerprint(value: &str) -> Option<[u8; 32]> {
    let (hash, text) = value.trim().split_once(' ')?;
    if !hash.eq_ignore_ascii_case("sha-256") {
        return None;
    }
    let mut bytes = text.trim().split(':').map(|byte| u8::from_str_radix(byte, 16).ok().filter(|_| byte.len() == 2));
    let mut all = [0; 32];
    for byte in &mut all {
        *byte = bytes.next()??;
    }
    bytes.next().is_none().then_some(all)
}

/// A token of ICE or of a stream's name.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.len() <= LONGEST && text.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::super::relayed::Described;
    use super::*;

    const PRINT: &str = "00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F";

    /// As Chromium offers it, abridged.
    fn offer(streams: &str) -> Vec<u8> {
        let head = "v=0; o=- 4611731400430051336 2 IN IP4 127.0.0.1; s=-; t=0 0; a=group:BUNDLE 0 1; a=msid-semantic: WMS x; ";
        format!("{head}{streams}").replace("; ", "\r\n").into_bytes()
    }

    fn audio(rest: &str) -> String {
        format!(
            "m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126; c=IN IP4 0.0.0.0; a=rtcp:9 IN IP4 0.0.0.0; \
             a=candidate:1 1 udp 2113937151 f0e1.local 51472 typ host generation 0; a=ice-ufrag:Oe3b; a=ice-pwd:secret; \
             a=ice-options:trickle; a=fingerprint:sha-256 {PRINT}; a=setup:actpass; a=mid:0; a=rtcp-mux; \
             a=rtpmap:111 opus/48000/2; a=fmtp:111 minptime=10; a=rtpmap:9 G722/8000; a=rtpmap:0 PCMU/8000; \
             a=rtpmap:8 PCMA/8000; a=rtpmap:110 telephone-event/48000; a=rtpmap:126 telephone-event/8000; {rest}"
        )
    }

    fn at() -> SocketAddr {
        "192.0.2.1:20000".parse().expect("an address")
    }

    fn face(answers: bool, streams: Option<&Streams>) -> Face<'_> {
        Face { at: at(), ufrag: "ours", password: "key", fingerprint: &[0xab; 32], ssrc: 7, answers, begins: false, streams }
    }

    fn text(sdp: &[u8]) -> String {
        String::from_utf8_lossy(sdp).trim_end().replace("\r\n", "; ")
    }

    #[test]
    fn a_browsers_offer_is_told_to_the_trunk_as_any_phones_is() {
        let sdp = offer(&audio("a=sendrecv; "));
        let browser = Browser::read(&sdp).expect("a browser");
        assert_eq!((browser.ufrag.as_str(), browser.fingerprint[31]), ("Oe3b", 0x1f));
        let plain = browser.plain(&sdp, at(), None);
        assert_eq!(
            text(&plain),
            "v=0; o=- 4611731400430051336 2 IN IP4 192.0.2.1; s=-; c=IN IP4 192.0.2.1; t=0 0; m=audio 20000 RTP/AVP 0 8 126; \
             a=rtpmap:0 PCMU/8000; a=rtpmap:8 PCMA/8000; a=rtpmap:126 telephone-event/8000; a=fmtp:126 0-15; a=sendrecv"
        );
        assert_eq!(Described::of(&plain).and_then(|d| d.rtp), Some(at()));
    }

    #[test]
    fn the_trunks_answer_is_told_to_the_browser_with_every_stream_in_its_place() {
        let video = "m=video 9 UDP/TLS/RTP/SAVPF 96; a=mid:1; ";
        let sdp = offer(&format!("{video}{}", audio("a=sendonly; ")));
        let browser = Browser::read(&sdp).expect("a browser");
        let answer = b"v=0\r\no=x 3 4 IN IP4 10.0.0.9\r\ns=-\r\nt=0 0\r\nm=audio 20000 RTP/AVP 0 126\r\nc=IN IP4 10.0.0.9\r\na=rtpmap:126 telephone-event/8000\r\na=recvonly\r\n";
        let out = text(&dressed(answer, &face(true, Some(&browser.streams))));
        assert!(out.starts_with(
            "v=0; o=- 3 4 IN IP4 192.0.2.1; s=-; c=IN IP4 192.0.2.1; t=0 0; a=group:BUNDLE 0; a=ice-lite; a=msid-semantic: WMS *; \
             m=video 0 UDP/TLS/RTP/SAVPF 96; a=mid:1; m=audio 20000 UDP/TLS/RTP/SAVPF 0 126; a=rtpmap:0 PCMU/8000; "
        ), "{out}");
        for line in [
            "a=recvonly; ",
            "a=mid:0; ",
            "a=setup:passive; ",
            "a=rtcp-mux; ",
            "a=ice-ufrag:ours; ",
            "udp 2130706431 192.0.2.1 20000 ",
        ] {
            assert!(out.contains(line), "{line} of {out}");
        }
        assert!(!out.contains("10.0.0.9"));
    }

    #[test]
    fn what_we_offer_a_browser_is_one_stream_and_its_answer_fits_the_callers_offer() {
        let caller = b"v=0\r\no=x 3 4 IN IP4 10.0.0.9\r\ns=-\r\nc=IN IP4 10.0.0.9\r\nt=0 0\r\nm=video 5000 RTP/AVP 31\r\nm=audio 4000 RTP/AVP 18 0 101\r\na=rtpmap:101 telephone-event/8000\r\n";
        let out = text(&dressed(caller, &face(false, None)));
        assert!(
            out.contains("a=group:BUNDLE 0; ") && out.contains("; a=setup:actpass; ") && out.contains("SAVPF 0 101; "),
            "{out}"
        );
        assert!(!out.contains("m=video"));
        let known = Streams::of_plain(caller).expect("streams");
        let answer = offer(&audio("a=sendrecv; "));
        let plain = text(&Browser::read(&answer).expect("a browser").plain(&answer, at(), Some(&known)));
        assert!(plain.contains("; m=video 0 RTP/AVP 31; m=audio 20000 RTP/AVP 0 8 126; "), "{plain}");
    }

    #[test]
    fn what_is_no_browsers_or_has_no_audio_for_us_is_left_alone() {
        let good = audio("");
        for (from, to) in [
            ("m=audio 9", "m=audio 0"),
            ("a=ice-ufrag:Oe3b; ", ""),
            ("a=fingerprint:sha-256 00", "a=fingerprint:sha-1 00"),
            ("a=fingerprint:sha-256 00:", "a=fingerprint:sha-256 "),
            (" 0 8 13 110 126", " 13 110 126"),
            ("UDP/TLS/RTP/SAVPF", "UDP/DTLS/SCTP"),
        ] {
            assert!(good.contains(from), "{from}");
            assert!(Browser::read(&offer(&good.replace(from, to))).is_none(), "{to}");
        }
        assert!(Browser::read(b"v=0\r\nm=audio 4000 RTP/AVP 0\r\n").is_none());
    }

    #[test]
    fn a_thousand_streams_and_a_bad_fmtp_are_read_as_far_as_they_mean_something() {
        let many = format!("{}{}", "m=video 9 RTP/AVP 31; ".repeat(1000), audio("a=fmtp:126 <script>; a=ptime:-3; "));
        let sdp = offer(&many);
        let browser = Browser::read(&sdp).expect("a browser");
        let plain = text(&browser.plain(&sdp, at(), None));
        assert!(plain.contains("a=fmtp:126 0-15; ") && !plain.contains("ptime") && !plain.contains("script"), "{plain}");
        let answer = text(&dressed(&browser.plain(&sdp, at(), None), &face(true, Some(&browser.streams))));
        assert_eq!(answer.matches("m=video 0 ").count(), 1000);
        assert_eq!(answer.matches("m=audio 20000 ").count(), 1);
    }

    #[test]
    fn a_stream_that_the_far_side_refuses_is_refused_in_its_place() {
        let sdp = offer(&audio(""));
        let browser = Browser::read(&sdp).expect("a browser");
        let out = text(&dressed(b"v=0\r\nm=audio 0 RTP/AVP 0\r\n", &face(true, Some(&browser.streams))));
        assert!(out.ends_with("m=audio 0 UDP/TLS/RTP/SAVPF 111; a=mid:0"), "{out}");
        assert!(!out.contains("BUNDLE"));
    }
}

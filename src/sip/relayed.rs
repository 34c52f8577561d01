//! Session descriptions of calls whose audio goes through us: what a side says of its audio, and the same text with our
//! address in it (RFC 3264, RFC 8866).
//!
//! Not an engine of offers and answers, and nothing is transcoded: one audio stream is kept as it was offered, byte for byte
//! where it says nothing of addresses, ICE or keys; every other stream is rejected with port 0. Read [`Described::of`] first.

use super::sdes::{Crypto, Key};
use super::sdp::line_len;
use bytes::{BufMut, Bytes, BytesMut};
use smallvec::SmallVec;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

/// Attributes of a stream that are looked at.
const MOST_CRYPTOS: usize = 16;

/// How packets are protected, by the `m=` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// `RTP/AVP`, or `RTP/AVPF` where `feedback`.
    Plain {
        /// RFC 4585.
        feedback: bool,
    },
    /// `RTP/SAVP`, or `RTP/SAVPF`.
    Secure {
        /// RFC 5124.
        feedback: bool,
    },
    /// Something that goes through as it is: keys by DTLS, fax.
    Opaque,
}

/// What one side says of the stream that we relay. Says where somebody is: no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Described {
    place: usize,
    protocol: String,
    /// How its packets are protected.
    pub profile: Profile,
    /// Where it takes RTP; `None` where it takes none for now (a hold of old, RFC 3264 section 8.4), or gives a name.
    pub rtp: Option<SocketAddr>,
    /// Where it takes RTCP.
    pub rtcp: Option<SocketAddr>,
    /// The keys that it offers, or the one that it has taken, as far as we have the suites.
    pub cryptos: SmallVec<[Crypto; 2]>,
    /// Whether neither side is to send.
    pub inactive: bool,
}

/// What we say instead.
pub struct Ours<'a> {
    /// Where we take RTP; RTCP at the port above.
    pub at: SocketAddr,
    /// Another protocol for the `m=` line.
    pub protocol: Option<&'a str>,
    /// Our keys.
    pub cryptos: &'a [Crypto],
}

impl Described {
    /// Reads the first audio stream that is not refused; a fax where there is no audio. `None` where there is neither.
    pub fn of(sdp: &[u8]) -> Option<Self> {
        let sections = Sections::of(sdp);
        let usable = |wanted: fn(&MediaLine<'_>) -> bool| {
            sections.streams.iter().position(|s| s.line.as_ref().is_some_and(|line| line.port != 0 && wanted(line)))
        };
        let place = usable(|line| line.media == "audio" && line.protocol.contains("RTP/"))
            .or_else(|| usable(|line| line.media == "image" && line.protocol.eq_ignore_ascii_case("udptl")))?;
        let stream = sections.streams.get(place)?;
        let line = stream.line.as_ref()?;
        let mut cryptos: SmallVec<[Crypto; 2]> =
            stream.attributes("crypto").filter_map(Crypto::read).take(MOST_CRYPTOS).collect();
        let profile = Profile::of(line.protocol, !cryptos.is_empty());
        if profile == Profile::Opaque {
            cryptos.clear();
        }
        let at = stream.connection().unwrap_or_else(|| sections.session.connection().flatten());
        let at = at.filter(|ip| is_somebodys(*ip));
        let rtcp = stream.attributes("rtcp").find_map(|value| rtcp_of(value, at));
        let direction = [stream, &sections.session].into_iter().find_map(Section::direction);
        Some(Self {
            place,
            protocol: line.protocol.to_owned(),
            profile,
            rtp: at.map(|ip| SocketAddr::new(ip, line.port)),
            rtcp: rtcp.or_else(|| at.and_then(|ip| Some(SocketAddr::new(ip, line.port.checked_add(1)?)))),
            cryptos,
            inactive: direction == Some("inactive"),
        })
    }

    /// The protocol of its `m=` line.
    pub fn protocol(&self) -> &str {
        &self.protocol
    }

    /// Whether it asks for SRTP of which we have no suite, and which we could therefore not answer.
    pub fn is_beyond_us(&self) -> bool {
        matches!(self.profile, Profile::Secure { .. }) && self.cryptos.is_empty()
    }

    /// The same text with us in its place; see [`refused`] for one without a stream to keep.
    pub fn rewritten(&self, sdp: &[u8], ours: &Ours<'_>) -> Bytes {
        rewrite(sdp, ours, Some((self.place, self.profile == Profile::Opaque, self.rtp.is_some() && self.rtp == self.rtcp)))
    }
}

/// A description in which nothing can be relayed: every stream is rejected, and nobody's address is told.
pub fn refused(sdp: &[u8], at: SocketAddr) -> Bytes {
    rewrite(sdp, &Ours { at, protocol: None, cryptos: &[] }, None)
}

impl Profile {
    fn of(protocol: &str, has_keys: bool) -> Self {
        match protocol.to_ascii_uppercase().as_str() {
            "RTP/AVP" => Self::Plain { feedback: false },
            "RTP/AVPF" => Self::Plain { feedback: true },
            "RTP/SAVP" => Self::Secure { feedback: false },
            "RTP/SAVPF" if has_keys => Self::Secure { feedback: true },
            // WebRTC of old says so with a fingerprint instead of keys.
            _ => Self::Opaque,
        }
    }

    /// The word for the `m=` line that asks for this much protection; `None` where it is not ours to say.
    pub const fn word(self, secure: bool) -> Option<&'static str> {
        match (self, secure) {
            (Self::Opaque, _) => None,
            (Self::Plain { feedback: false } | Self::Secure { feedback: false }, false) => Some("RTP/AVP"),
            (Self::Plain { feedback: true } | Self::Secure { feedback: true }, false) => Some("RTP/AVPF"),
            (Self::Plain { feedback: false } | Self::Secure { feedback: false }, true) => Some("RTP/SAVP"),
            (Self::Plain { feedback: true } | Self::Secure { feedback: true }, true) => Some("RTP/SAVPF"),
        }
    }
}

/// The keys of a side, one direction each.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Keys {
    /// With which we encrypt towards it.
    pub send: Key,
    /// With which it encrypts.
    pub receive: Key,
}

/// The lines before the first `m=`, or one `m=` and what follows.
#[derive(Default)]
pub(super) struct Section<'a> {
    pub(super) line: Option<MediaLine<'a>>,
    pub(super) lines: Vec<&'a str>,
}

pub(super) struct MediaLine<'a> {
    pub(super) media: &'a str,
    pub(super) port: u16,
    pub(super) protocol: &'a str,
    /// What follows.
    pub(super) formats: &'a str,
}

/// A description, line by line.
pub(super) struct Sections<'a> {
    pub(super) session: Section<'a>,
    pub(super) streams: Vec<Section<'a>>,
}

impl<'a> Sections<'a> {
    pub(super) fn of(sdp: &'a [u8]) -> Self {
        let mut all = Self { session: Section::default(), streams: Vec::new() };
        for line in lines(sdp) {
            // What is not UTF-8 says nothing of what is looked for here.
            let text = std::str::from_utf8(line).unwrap_or_default().trim_end();
            if line.starts_with(b"m=") {
                let line = text.strip_prefix("m=").and_then(MediaLine::of);
                all.streams.push(Section { line, lines: Vec::new() });
            } else {
                all.streams.last_mut().unwrap_or(&mut all.session).lines.push(text);
            }
        }
        all
    }
}

impl<'a> Section<'a> {
    /// The values of an attribute.
    pub(super) fn attributes(&self, name: &'static str) -> impl Iterator<Item = &'a str> {
        self.lines.iter().filter_map(move |l| l.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':'))
    }

    /// Its `c=`; the inner `None` where that is no address.
    fn connection(&self) -> Option<Option<IpAddr>> {
        self.lines.iter().find_map(|l| l.strip_prefix("c=")).map(address)
    }

    pub(super) fn direction(&self) -> Option<&'a str> {
        let known = ["sendrecv", "sendonly", "recvonly", "inactive"];
        self.lines.iter().filter_map(|l| l.strip_prefix("a=")).find(|a| known.contains(a))
    }
}

impl<'a> MediaLine<'a> {
    fn of(value: &'a str) -> Option<Self> {
        let next = |text: &'a str| {
            let text = text.trim_ascii_start();
            Some(text.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((text, ""))).filter(|(word, _)| !word.is_empty())
        };
        let (media, rest) = next(value)?;
        let (port, rest) = next(rest)?;
        let (protocol, formats) = next(rest)?;
        Some(Self { media, port: port.split('/').next()?.parse().ok()?, protocol, formats })
    }
}

/// The text with our words in it. `kept`: the stream that goes through us, whether it is opaque, and whether its RTCP comes to
/// the port of its RTP.
fn rewrite(sdp: &[u8], ours: &Ours<'_>, kept: Option<(usize, bool, bool)>) -> Bytes {
    let mut out = BytesMut::with_capacity(sdp.len() + 256);
    let (mut streams, mut pending) = (0usize, String::new());
    let end: &[u8] = if memchr::memmem::find(sdp, b"\r\n").is_some() { b"\r\n" } else { b"\n" };
    let has_session_connection = lines(sdp).take_while(|l| !l.starts_with(b"m=")).any(|l| l.starts_with(b"c="));
    for line in lines(sdp) {
        let is_kept = kept.filter(|(place, ..)| streams.checked_sub(1) == Some(*place));
        match line {
            [b'm', b'=', value @ ..] => {
                flush(&mut out, &mut pending);
                let keeps = kept.is_some_and(|(place, ..)| place == streams);
                streams += 1;
                put_media_line(&mut out, value, keeps.then_some(ours));
                if keeps {
                    pending = extra_lines(ours, !has_session_connection, end);
                }
            }
            [b'o', b'=', value @ ..] => put_origin(&mut out, value, ours.at.ip()),
            // Of a stream that is rejected nothing but its place is told.
            _ if streams > 0 && is_kept.is_none() => {}
            [b'c', b'=', value @ ..] => {
                // Its own one makes ours superfluous.
                if streams > 0 && pending.starts_with("c=") {
                    let rest = pending.find('\n').map_or(pending.len(), |at| at + 1);
                    pending.replace_range(..rest, "");
                }
                put_connection(&mut out, value, ours.at.ip());
            }
            [b'k', b'=', ..] => {}
            [b'a', b'=', value @ ..] => {
                flush(&mut out, &mut pending);
                let (_, opaque, muxed) = kept.unwrap_or((0, false, false));
                put_attribute(&mut out, line, value, ours.at.port(), (opaque, muxed));
            }
            _ => out.put_slice(line),
        }
        if !out.ends_with(b"\n") && !out.ends_with(b"\r") && !out.is_empty() {
            out.put_slice(end);
        }
    }
    flush(&mut out, &mut pending);
    out.freeze()
}

/// What the kept stream says besides, before its first attribute.
fn extra_lines(ours: &Ours<'_>, connection: bool, end: &[u8]) -> String {
    let end = std::str::from_utf8(end).unwrap_or("\r\n");
    let mut out = String::new();
    if connection {
        let _ = write!(out, "c=IN {}{end}", of_family(ours.at.ip()));
    }
    for crypto in ours.cryptos {
        crypto.write(&mut out);
        out.push_str(end);
    }
    out
}

fn flush(out: &mut BytesMut, pending: &mut String) {
    out.put_slice(pending.as_bytes());
    pending.clear();
}

/// The `m=` line with our port and protocol, or with port 0; its formats as they are. Where a refused one lacks a word
/// it gets one, so that whoever reads it next finds four (RFC 8866 section 5.14).
fn put_media_line(out: &mut BytesMut, value: &[u8], ours: Option<&Ours<'_>>) {
    let (media, rest) = word(value);
    let (_port, rest) = word(rest);
    let (protocol, formats) = word(rest);
    out.put_slice(b"m=");
    out.put_slice(or(media, b"audio"));
    let port = ours.map_or(0, |o| o.at.port());
    out.put_slice(format!(" {port} ").as_bytes());
    out.put_slice(or(ours.and_then(|o| o.protocol).map_or(protocol, str::as_bytes), b"RTP/AVP"));
    let formats = formats.trim_ascii_start();
    if !formats.is_empty() || ours.is_none() {
        out.put_slice(b" ");
        out.put_slice(or(formats, b"0"));
    }
    if formats.is_empty() {
        out.put_slice(value.rsplit(|b| !matches!(b, b'\r' | b'\n')).next().unwrap_or_default());
    }
}

fn or<'a>(word: &'a [u8], missing: &'a [u8]) -> &'a [u8] {
    if word.is_empty() { missing } else { word }
}

/// The first word, and what follows it.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let text = text.trim_ascii_start();
    text.split_at(text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len()))
}

/// `o=` keeps its user, its number and its version: what its sender counts we need not count.
fn put_origin(out: &mut BytesMut, value: &[u8], ip: IpAddr) {
    let mut words = value.splitn(4, |b| *b == b' ');
    let (user, id, version) = (words.next(), words.next(), words.next());
    out.put_slice(b"o=");
    let (Some(user), Some(id), Some(version), Some(rest)) = (user, id, version, words.next()) else {
        return out.put_slice(value);
    };
    for word in [user, id, version] {
        out.put_slice(word);
        out.put_slice(b" ");
    }
    out.put_slice(b"IN ");
    out.put_slice(of_family(ip).as_bytes());
    out.put_slice(rest.get(rest.trim_ascii_end().len()..).unwrap_or_default());
}

fn put_connection(out: &mut BytesMut, value: &[u8], ip: IpAddr) {
    let text = std::str::from_utf8(value).unwrap_or_default();
    // A hold of old stays one.
    if address(text).is_some_and(|ip| ip.is_unspecified()) {
        out.put_slice(b"c=");
        return out.put_slice(value);
    }
    out.put_slice(b"c=IN ");
    out.put_slice(of_family(ip).as_bytes());
    out.put_slice(value.get(value.trim_ascii_end().len()..).unwrap_or_default());
}

fn put_attribute(out: &mut BytesMut, line: &[u8], value: &[u8], port: u16, (opaque, muxed): (bool, bool)) {
    let name = value.split(|b| matches!(b, b':' | b'\r' | b'\n')).next().unwrap_or_default().trim_ascii_end();
    let ends = line.get(line.trim_ascii_end().len()..).unwrap_or_default();
    match name {
        b"candidate" | b"remote-candidates" | b"end-of-candidates" | b"group" | b"bundle-only" => {}
        b"crypto" | b"key-mgmt" if !opaque => {}
        b"fingerprint" | b"setup" | b"connection" | b"tls-id" | b"dtls-id" if !opaque => {}
        _ if name.starts_with(b"ice-") => {}
        b"rtcp" => {
            let port = if muxed { port } else { port + 1 };
            out.put_slice(format!("a=rtcp:{port}").as_bytes());
            out.put_slice(ends);
        }
        _ => out.put_slice(line),
    }
}

fn of_family(ip: IpAddr) -> String {
    if ip.is_ipv4() { format!("IP4 {ip}") } else { format!("IP6 {ip}") }
}

/// `IN IP4 192.0.2.1`; names are not looked up.
fn address(value: &str) -> Option<IpAddr> {
    // IPv4 multicast has a TTL behind a slash, which no call has.
    value.split_ascii_whitespace().nth(2)?.parse().ok()
}

/// `53020`, or `53020 IN IP4 192.0.2.1` (RFC 3605).
fn rtcp_of(value: &str, at: Option<IpAddr>) -> Option<SocketAddr> {
    let (port, rest) = value.split_once(' ').unwrap_or((value, ""));
    let own = rest.split_ascii_whitespace().nth(2).and_then(|ip| ip.parse().ok()).filter(|ip| is_somebodys(*ip));
    Some(SocketAddr::new(own.or(at)?, port.trim().parse().ok().filter(|port| *port != 0)?))
}

/// Whether one host can have this address.
fn is_somebodys(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}

/// Lines with their ends.
fn lines(sdp: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = sdp;
    std::iter::from_fn(move || {
        let (line, after) = (!rest.is_empty()).then(|| rest.split_at(line_len(rest)))?;
        rest = after;
        Some(line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "v=0; o=- 7 8 IN IP4 10.0.0.9; s=-; c=IN IP4 10.0.0.9; t=0 0; ";

    fn sdp(text: &str) -> Vec<u8> {
        let text = text.trim_end_matches("; ");
        format!("{};", text).replace("; ", "\r\n").replace(';', "\r\n").into_bytes()
    }

    fn ours() -> SocketAddr {
        "192.0.2.1:20000".parse().expect("an address")
    }

    fn rewritten(text: &str) -> String {
        let text = sdp(text);
        let described = Described::of(&text).expect("a stream");
        let out = described.rewritten(&text, &Ours { at: ours(), protocol: None, cryptos: &[] });
        String::from_utf8_lossy(&out).trim_end().replace("\r\n", "; ")
    }

    const OURS: &str = "v=0; o=- 7 8 IN IP4 192.0.2.1; s=-; c=IN IP4 192.0.2.1; t=0 0; ";

    #[test]
    fn our_address_takes_the_place_of_theirs_and_the_rest_stays() {
        for (theirs, want) in [
            (
                "m=audio 4000 RTP/AVP 0 101; a=rtpmap:0 PCMU/8000; a=fmtp:101 0-16; a=ptime:20; a=sendrecv",
                "m=audio 20000 RTP/AVP 0 101; a=rtpmap:0 PCMU/8000; a=fmtp:101 0-16; a=ptime:20; a=sendrecv",
            ),
            ("m= audio  4000 RTP/AVP  0", "m=audio 20000 RTP/AVP 0"),
            ("m=audio 4000 RTP/AVP", "m=audio 20000 RTP/AVP"),
            ("b=AS:64; m=audio 4000/2 RTP/AVP 0; b=AS:64", "b=AS:64; m=audio 20000 RTP/AVP 0; b=AS:64"),
            ("m=audio 4000 RTP/AVP 0; c=IN IP6 2001:db8::7", "m=audio 20000 RTP/AVP 0; c=IN IP4 192.0.2.1"),
            ("m=audio 4000 RTP/AVP 0; a=rtcp:4007 IN IP4 10.0.0.8", "m=audio 20000 RTP/AVP 0; a=rtcp:20001"),
            ("m=audio 4000 RTP/AVP 0; a=rtcp:4000; a=rtcp-mux", "m=audio 20000 RTP/AVP 0; a=rtcp:20000; a=rtcp-mux"),
            ("m=audio 4000 RTP/AVP 0; a=rtcp-fb:* nack", "m=audio 20000 RTP/AVP 0; a=rtcp-fb:* nack"),
            (
                "a=ice-lite; a=group:BUNDLE 0; m=audio 4000 RTP/AVP 0; a=mid:0; a=ice-ufrag:x; a=candidate:1 1 UDP 1 10.0.0.9 4000 typ host",
                "m=audio 20000 RTP/AVP 0; a=mid:0",
            ),
            (
                "m=audio 4000 RTP/AVP 0; a=sendonly; m=video 4002 RTP/AVP 31; c=IN IP4 10.0.0.9; a=rtpmap:31 H261/90000; m=text 4004 RTP/AVP 98",
                "m=audio 20000 RTP/AVP 0; a=sendonly; m=video 0 RTP/AVP 31; m=text 0 RTP/AVP 98",
            ),
            (
                "m=audio 0 RTP/AVP 0; m=audio 4002 RTP/AVP 8; m=audio 4004 RTP/AVP 9",
                "m=audio 0 RTP/AVP 0; m=audio 20000 RTP/AVP 8; m=audio 0 RTP/AVP 9",
            ),
            (
                "m=audio 4000 UDP/TLS/RTP/SAVPF 0; a=fingerprint:sha-256 AA; a=setup:actpass",
                "m=audio 20000 UDP/TLS/RTP/SAVPF 0; a=fingerprint:sha-256 AA; a=setup:actpass",
            ),
            ("m=image 4000 udptl t38; a=T38FaxVersion:0", "m=image 20000 udptl t38; a=T38FaxVersion:0"),
        ] {
            assert_eq!(rewritten(&format!("{HEAD}{theirs}")), format!("{OURS}{want}"), "{theirs}");
        }
        assert_eq!(
            rewritten("v=0; m=audio 4000 RTP/AVP 0; a=x"),
            "v=0; m=audio 20000 RTP/AVP 0; c=IN IP4 192.0.2.1; a=x",
            "one without any c= gets ours"
        );
        assert_eq!(
            rewritten("v=0; m=audio 4000 RTP/AVP 0; c=IN IP4 10.0.0.9; a=x"),
            "v=0; m=audio 20000 RTP/AVP 0; c=IN IP4 192.0.2.1; a=x"
        );
    }

    #[test]
    fn the_ends_of_lines_stay_what_they_are_and_the_last_one_gets_one() {
        let text = b"v=0\no=- 1 1 IN IP4 10.0.0.9\nc=IN IP4 10.0.0.9\nm=audio 4000 RTP/AVP 0\na=\xff";
        let out = Described::of(text).expect("a stream").rewritten(text, &Ours { at: ours(), protocol: None, cryptos: &[] });
        assert_eq!(&out[..], b"v=0\no=- 1 1 IN IP4 192.0.2.1\nc=IN IP4 192.0.2.1\nm=audio 20000 RTP/AVP 0\na=\xff\n");
    }

    #[test]
    fn a_hold_of_old_stays_one_and_nothing_is_sent_there() {
        let held = "v=0; o=- 7 8 IN IP4 10.0.0.9; s=-; c=IN IP4 0.0.0.0; t=0 0; m=audio 4000 RTP/AVP 0";
        assert!(rewritten(held).contains("c=IN IP4 0.0.0.0; "), "{}", rewritten(held));
        let described = Described::of(&sdp(held)).expect("a stream");
        assert!(described.rtp.is_none() && described.rtcp.is_none());
    }

    #[test]
    fn a_side_is_read_as_it_means_it() {
        for (theirs, rtp, rtcp) in [
            ("m=audio 4000 RTP/AVP 0", Some("10.0.0.9:4000"), Some("10.0.0.9:4001")),
            ("m=audio 4000 RTP/AVP 0; a=rtcp:5000", Some("10.0.0.9:4000"), Some("10.0.0.9:5000")),
            ("m=audio 4000 RTP/AVP 0; a=rtcp:5000 IN IP4 10.0.0.8", Some("10.0.0.9:4000"), Some("10.0.0.8:5000")),
            ("m=audio 4000 RTP/AVP 0; c=IN IP6 2001:db8::7", Some("[2001:db8::7]:4000"), Some("[2001:db8::7]:4001")),
            ("m=audio 4000 RTP/AVP 0; c=IN IP4 phone.example.com", None, None),
            ("m=audio 65535 RTP/AVP 0", Some("10.0.0.9:65535"), None),
            ("m=video 4000 RTP/AVP 31; m=audio 4002 RTP/AVP 0", Some("10.0.0.9:4002"), Some("10.0.0.9:4003")),
        ] {
            let described = Described::of(&sdp(&format!("{HEAD}{theirs}"))).unwrap_or_else(|| panic!("{theirs}"));
            let text = |at: Option<SocketAddr>| at.map(|at| at.to_string());
            assert_eq!((text(described.rtp).as_deref(), text(described.rtcp).as_deref()), (rtp, rtcp), "{theirs}");
        }
        for nothing in
            ["", "m=audio 0 RTP/AVP 0", "m=video 4000 RTP/AVP 31", "m=audio", "m=audio x RTP/AVP 0", "m=message 9 TCP/MSRP *"]
        {
            assert!(Described::of(&sdp(&format!("{HEAD}{nothing}"))).is_none(), "{nothing}");
        }
        let thousand = format!("{HEAD}{}m=audio 4000 RTP/AVP 0", "m=video 4002 RTP/AVP 31; ".repeat(1000));
        assert_eq!(rewritten(&thousand).matches("m=video 0 ").count(), 1000);
    }

    #[test]
    fn keys_take_the_place_of_keys_and_the_protocol_says_so() {
        let inline = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";
        let text = sdp(&format!(
            "{HEAD}m=audio 4000 RTP/SAVP 0; a=crypto:1 F8_128_HMAC_SHA1_80 inline:x; a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:{inline}; a=ptime:20"
        ));
        let described = Described::of(&text).expect("a stream");
        assert_eq!((described.cryptos.len(), described.cryptos[0].tag), (1, 2));
        assert!(!described.is_beyond_us());
        let plain = described.rewritten(&text, &Ours { at: ours(), protocol: described.profile.word(false), cryptos: &[] });
        let plain = String::from_utf8_lossy(&plain);
        assert!(plain.ends_with("m=audio 20000 RTP/AVP 0\r\na=ptime:20\r\n"), "{plain}");
        let key = described.cryptos[0].key.clone();
        let ours = Ours { at: ours(), protocol: described.profile.word(true), cryptos: &[Crypto { tag: 9, key }] };
        let secure = described.rewritten(&text, &ours);
        let secure = String::from_utf8_lossy(&secure);
        let want = format!("m=audio 20000 RTP/SAVP 0\r\na=crypto:9 AES_CM_128_HMAC_SHA1_80 inline:{inline}\r\na=ptime:20\r\n");
        assert!(secure.ends_with(&want), "{secure}");
        let beyond = sdp(&format!("{HEAD}m=audio 4000 RTP/SAVP 0; a=crypto:1 F8_128_HMAC_SHA1_80 inline:x"));
        assert!(Described::of(&beyond).expect("a stream").is_beyond_us());
    }

    #[test]
    fn a_stream_without_formats_is_written_once_and_for_all() {
        for line in ["m=audio 4000 15\r\n", "m=audio 4000 15 \r\n", "m=audio\r\n", "m=\n"] {
            let text = format!("v=0\r\n{line}m=audio 4000 RTP/AVP 0\r\n");
            let once = refused(text.as_bytes(), ours());
            assert_eq!(refused(&once, ours()), once);
        }
    }

    #[test]
    fn where_nothing_can_be_relayed_nobodys_address_is_told() {
        let text = sdp(&format!("{HEAD}m=video 4000 RTP/AVP 31; a=x; m=audio 0 RTP/AVP 0"));
        let out = refused(&text, ours());
        assert_eq!(
            String::from_utf8_lossy(&out).trim_end().replace("\r\n", "; "),
            format!("{OURS}m=video 0 RTP/AVP 31; m=audio 0 RTP/AVP 0")
        );
    }
}

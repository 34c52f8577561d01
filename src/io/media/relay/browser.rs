//! A browser at one end of a relay: ICE-lite, DTLS-SRTP, and one continuous stream towards it (RFC 8445 section 2.5, RFC 5764).
//!
//! Parts of the webrtc project do the work (`rtc-stun`, `rtc-dtls`); they do no I/O, so that a browser costs no task, no thread
//! and no socket of its own: packets come from the relay's thread and go back to it. A browser is where it has proved to be, with
//! the password that our description gave it: from elsewhere neither DTLS nor RTP is looked at (CVE-2023-49786). RTCP is not relayed to or from
//! it: the streams on both sides have other names and times. Read [`Seat::take`] first.

use crate::bridge::BrowserEnd;
use crate::sip::relayed::Keys;
use crate::sip::sdes::{Key, Suite};
use crate::words::Time;
use bytes::BytesMut;
use ring::digest::{SHA256, digest};
use rtc_crypto::RTCCryptoProvider;
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use rtc_shared::error::Error;
use rtc_stun::attributes::{ATTR_USE_CANDIDATE, ATTR_USERNAME};
use rtc_stun::fingerprint::FingerprintAttr;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Message, Setter};
use rtc_stun::xoraddr::XorMappedAddress;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What DTLS calls the far end: it may be elsewhere tomorrow, and is the same association.
const FAR: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9);
/// How long one flight of DTLS is waited for.
const FLIGHT: Duration = Duration::from_millis(200);
/// How packets may be encrypted; of several the browser's first is taken (RFC 5764 section 4.1.1, RFC 7714 section 14.2). Every
/// browser has the last.
const PROFILES: [(SrtpProtectionProfile, Suite); 3] = [
    (SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm, Suite::AesGcm128),
    (SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm, Suite::AesGcm256),
    (SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80, Suite::AesCm128Sha1Tag80),
];
/// A timestamp or a number that is so far from the last is of another stream.
const FAR_AWAY: u16 = 3000;
/// RTP's clock of all that is relayed to browsers, in ticks a millisecond.
const TICKS: u64 = 8;
/// Of one packet of 20 ms.
const PACKET: u32 = 160;

/// Who we are in DTLS: a key and a certificate of this run alone.
#[derive(Clone)]
pub struct Identity {
    certificate: Certificate,
    provider: Arc<dyn RTCCryptoProvider>,
    /// The SHA-256 of the certificate.
    pub fingerprint: [u8; 32],
}

impl Identity {
    /// A new one; `None` where the system has no randomness: there is no audio for browsers then.
    pub fn new() -> Option<Self> {
        let provider = rtc_crypto::default_provider().ok()?;
        let certificate = Certificate::generate_self_signed(vec!["e911d".to_owned()], provider.crypto()).ok()?;
        let fingerprint = sha256(certificate.certificate.first()?.as_ref())?;
        Some(Self { certificate, provider, fingerprint })
    }
}

/// What a packet at a browser's port is (RFC 7983).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Stun,
    Dtls,
    Media,
    Other,
}

impl Sort {
    pub(super) fn of(packet: &[u8]) -> Self {
        match packet.first() {
            Some(0..=3) => Self::Stun,
            Some(20..=63) => Self::Dtls,
            Some(128..=191) => Self::Media,
            _ => Self::Other,
        }
    }
}

/// What is to be done for a packet that was taken.
#[derive(Default)]
pub(super) struct Taken {
    /// What goes back, and where to.
    pub(super) replies: Vec<(BytesMut, SocketAddr)>,
    /// It is there from now on.
    pub(super) found: Option<SocketAddr>,
    /// These are the keys from now on.
    pub(super) keys: Option<Keys>,
}

/// A browser's end.
pub(super) struct Seat {
    end: BrowserEnd,
    provider: Arc<dyn RTCCryptoProvider>,
    dtls: Endpoint,
    config: Arc<HandshakeConfig>,
    at: Option<SocketAddr>,
    stream: Stream,
    /// DTLS goes by the standard library's clock: this moment of it was `now` of ours.
    began: (Instant, Time),
    shaking: bool,
}

impl Seat {
    /// `moment` is `now` on the clock of the standard library. `None` where DTLS cannot be.
    pub(super) fn new(end: &BrowserEnd, identity: &Identity, began: (Instant, Time)) -> Option<Self> {
        let wanted = end.fingerprint;
        let is_its = move |chain: &[Vec<u8>], _: &[_]| match chain.first().and_then(|der| sha256(der)) {
            Some(found) if found == wanted => Ok(()),
            _ => Err(Error::ErrNoMatchingCertificateFingerprint),
        };
        let config = ConfigBuilder::default()
            .with_crypto_provider(Arc::clone(&identity.provider))
            .with_certificates(vec![identity.certificate.clone()])
            .with_srtp_protection_profiles(PROFILES.map(|(profile, _)| profile).to_vec())
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            .with_insecure_skip_verify(true)
            .with_verify_peer_certificate(Some(Arc::new(is_its)))
            .with_extended_master_secret(ExtendedMasterSecretType::Require)
            .with_flight_interval(FLIGHT)
            .with_server_name("e911d".to_owned())
            .build(end.waits, None)
            .ok()?;
        let config = Arc::new(config);
        Some(Self {
            end: end.clone(),
            provider: Arc::clone(&identity.provider),
            dtls: Endpoint::new(FAR, TransportProtocol::UDP, (!end.waits).then(|| Arc::clone(&config))),
            config,
            at: None,
            stream: Stream { ssrc: end.ice.ssrc, ..Stream::default() },
            began,
            shaking: false,
        })
    }

    /// What another description changes; false where it is of another browser.
    pub(super) fn goes_on_as(&mut self, end: &BrowserEnd) -> bool {
        let who = |end: &BrowserEnd| (end.fingerprint, end.ice.ssrc);
        let same = who(&self.end) == who(end);
        if same {
            self.end = end.clone();
        }
        same
    }

    /// Whether DTLS is under way, and wants to hear of the time.
    pub(super) const fn is_shaking(&self) -> bool {
        self.shaking
    }

    /// Takes a packet that is not media.
    pub(super) fn take(&mut self, packet: &[u8], from: SocketAddr, now: Time) -> Taken {
        match Sort::of(packet) {
            Sort::Stun => self.take_check(packet, from, now),
            Sort::Dtls if self.at == Some(from) => self.take_flight(packet, now),
            _ => Taken::default(),
        }
    }

    /// Sends a flight again that nobody has answered.
    pub(super) fn tick(&mut self, now: Time) -> Taken {
        let mut taken = Taken::default();
        if self.dtls.handle_timeout(FAR, self.moment(now)).is_err() {
            self.shaking = false;
        }
        self.collect(&mut taken);
        taken
    }

    /// A packet of the other side, as the next one of the one stream that the browser hears.
    pub(super) fn continued(&mut self, packet: &[u8], now: Time) -> Option<BytesMut> {
        self.stream.continued(packet, now)
    }

    /// A connectivity check (RFC 8445 section 7.3): who knows our password is answered, and is where the check came from once it
    /// says so, or when it is the first.
    fn take_check(&mut self, packet: &[u8], from: SocketAddr, now: Time) -> Taken {
        let mut taken = self.checked(packet, from).unwrap_or_default();
        if taken.found.is_some() && self.end.waits && self.dtls.get_connection_state(FAR).is_none() {
            let config = Arc::clone(&self.config);
            self.shaking = self.dtls.connect(self.moment(now), FAR, config, None).is_ok();
            self.collect(&mut taken);
        }
        taken
    }

    fn checked(&mut self, packet: &[u8], from: SocketAddr) -> Option<Taken> {
        let mut request = Message::new();
        request.unmarshal_binary(packet).ok()?;
        let ours = request.get(ATTR_USERNAME).ok()?;
        let for_us = ours.strip_prefix(self.end.ice.ufrag.as_bytes())?.first() == Some(&b':');
        if request.typ != BINDING_REQUEST || !for_us {
            return None;
        }
        let crypto = self.provider.crypto();
        MessageIntegrity::check(&mut request, self.end.ice.password.as_bytes(), crypto).ok()?;
        let mut reply = Message::new();
        reply.typ = BINDING_SUCCESS;
        reply.transaction_id = request.transaction_id;
        reply.write_header();
        XorMappedAddress { ip: from.ip(), port: from.port() }.add_to(&mut reply).ok()?;
        let integrity = MessageIntegrity::new_short_term_integrity_with_provider(self.end.ice.password.clone(), crypto);
        integrity.add_to(&mut reply).ok()?;
        FingerprintAttr.add_to(&mut reply).ok()?;
        let replies = vec![(BytesMut::from(&reply.raw[..]), from)];
        let moves = self.at != Some(from) && (self.at.is_none() || request.contains(ATTR_USE_CANDIDATE));
        if moves {
            self.at = Some(from);
        }
        Some(Taken { replies, found: moves.then_some(from), keys: None })
    }

    fn take_flight(&mut self, packet: &[u8], now: Time) -> Taken {
        let mut taken = Taken::default();
        self.shaking |= self.dtls.get_connection_state(FAR).is_none();
        let events = self.dtls.read(self.moment(now), FAR, None, BytesMut::from(packet)).unwrap_or_default();
        for event in events {
            match event {
                EndpointEvent::HandshakeComplete => {
                    self.shaking = false;
                    taken.keys = self.keys();
                }
                EndpointEvent::PeerClosed => self.shaking = false,
                _ => {}
            }
        }
        self.collect(&mut taken);
        taken
    }

    fn collect(&mut self, taken: &mut Taken) {
        while let Some(packet) = self.dtls.poll_transmit() {
            taken.replies.extend(self.at.map(|at| (packet.message, at)));
        }
    }

    fn keys(&self) -> Option<Keys> {
        let state = self.dtls.get_connection_state(FAR)?;
        let agreed = state.srtp_protection_profile();
        let suite = PROFILES.into_iter().find(|(profile, _)| *profile == agreed)?.1;
        // Both keys, then both salts (RFC 5764 section 4.2).
        let (long, salt) = (suite.key_len(), suite.salt_len());
        let material = state.export_keying_material("EXTRACTOR-dtls_srtp", &[], 2 * (long + salt)).ok()?;
        let part = |from: usize, length: usize| material.as_ref().get(from..from + length);
        let key = |place: usize| Key::from_parts(suite, part(long * place, long)?, part(2 * long + salt * place, salt)?);
        let (client, server) = (key(0)?, key(1)?);
        Some(match state.is_client() {
            true => Keys { receive: server, send: client },
            false => Keys { receive: client, send: server },
        })
    }

    fn moment(&self, now: Time) -> Instant {
        let (moment, was) = self.began;
        moment + now.since(was)
    }
}

/// One stream towards a browser, whatever streams it is made of: source, numbers and times go on without a break, since a browser
/// that hears another source, or an older number, falls silent.
#[derive(Default)]
struct Stream {
    ssrc: u32,
    /// The number and the time of the last packet that it got, and when that was.
    last: Option<(u16, u32, Time)>,
    /// Whose stream goes on, and by how much its numbers and its times are moved.
    from: Option<(u32, u16, u32)>,
}

impl Stream {
    fn continued(&mut self, packet: &[u8], now: Time) -> Option<BytesMut> {
        let number = |at: usize| Some(u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?));
        let word = |at: usize| Some(u32::from_be_bytes(packet.get(at..at + 4)?.try_into().ok()?));
        let (sequence, time, source) = (number(2)?, word(4)?, word(8)?);
        let known = self.from.filter(|(known, by, _)| {
            let ahead = |last: u16| sequence.wrapping_add(*by).wrapping_sub(last);
            *known == source && self.last.is_none_or(|(last, ..)| ahead(last) < FAR_AWAY || ahead(last) > u16::MAX - FAR_AWAY)
        });
        let starts = known.is_none();
        let (_, by, later) = known.unwrap_or_else(|| match self.last {
            Some((last, was, when)) => {
                let passed = u64::try_from(now.since(when).as_millis()).unwrap_or(0).saturating_mul(TICKS);
                let passed = u32::try_from(passed).unwrap_or(PACKET).max(PACKET);
                (source, last.wrapping_add(1).wrapping_sub(sequence), was.wrapping_add(passed).wrapping_sub(time))
            }
            None => (source, 0, 0),
        });
        self.from = Some((source, by, later));
        let (sequence, time) = (sequence.wrapping_add(by), time.wrapping_add(later));
        if self.last.is_none_or(|(last, ..)| sequence.wrapping_sub(last) < 1 << 15) {
            self.last = Some((sequence, time, now));
        }
        let mut out = BytesMut::from(packet);
        // A new beginning is a talk-spurt to whoever plays it (RFC 3551 section 4.1).
        out.get_mut(1).into_iter().for_each(|b| *b |= if starts { 0x80 } else { 0 });
        out.get_mut(2..4)?.copy_from_slice(&sequence.to_be_bytes());
        out.get_mut(4..8)?.copy_from_slice(&time.to_be_bytes());
        out.get_mut(8..12)?.copy_from_slice(&self.ssrc.to_be_bytes());
        Some(out)
    }
}

fn sha256(der: &[u8]) -> Option<[u8; 32]> {
    digest(&SHA256, der).as_ref().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(source: u32, sequence: u16, time: u32) -> Vec<u8> {
        let [s1, s2] = sequence.to_be_bytes();
        [&[0x80, 0, s1, s2], &time.to_be_bytes()[..], &source.to_be_bytes(), &[0x7f; 160]].concat()
    }

    fn read(packet: &[u8]) -> (u32, u16, u32) {
        let word = |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().expect("four"));
        (word(8), u16::from_be_bytes([packet[2], packet[3]]), word(4))
    }

    fn at(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    #[test]
    fn a_browser_hears_one_stream_whichever_trunk_has_the_call() {
        let mut stream = Stream { ssrc: 7, ..Stream::default() };
        let mut heard = |source, sequence, time, ms| {
            let out = stream.continued(&packet(source, sequence, time), at(ms)).expect("a packet");
            read(&out)
        };
        assert_eq!(heard(1, 65_535, 1000, 0), (7, 65_535, 1000));
        assert_eq!(heard(1, 0, 1160, 20), (7, 0, 1160));
        // Another trunk: other names, numbers and times, a second later.
        assert_eq!(heard(2, 500, 9_000_000, 1020), (7, 1, 1160 + 8000));
        assert_eq!(heard(2, 501, 9_000_160, 1040), (7, 2, 1160 + 8160));
        // One comes late, one is lost.
        assert_eq!(heard(2, 503, 9_000_480, 1080), (7, 4, 1160 + 8480));
        assert_eq!(heard(2, 502, 9_000_320, 1081), (7, 3, 1160 + 8320));
        // The same source begins anew.
        assert_eq!(heard(2, 40_000, 5, 1100), (7, 5, 1160 + 8480 + 160));
        assert_eq!(heard(2, 40_001, 165, 1120), (7, 6, 1160 + 8480 + 320));
    }

    #[test]
    fn what_is_too_short_to_be_rtp_goes_nowhere() {
        let mut stream = Stream::default();
        for length in 0..12 {
            assert!(stream.continued(&packet(1, 1, 1)[..length], at(0)).is_none());
        }
    }

    #[test]
    fn packets_are_told_apart_by_their_first_byte() {
        let sort = |byte: u8| Sort::of(&[byte]);
        assert_eq!([sort(0), sort(22), sort(128), sort(64)], [Sort::Stun, Sort::Dtls, Sort::Media, Sort::Other]);
        assert_eq!(Sort::of(&[]), Sort::Other);
    }

    fn from() -> SocketAddr {
        "127.0.0.1:4000".parse().expect("an address")
    }

    /// A connectivity check of somebody who says so.
    fn check(identity: &Identity, user: &str, password: &str) -> Vec<u8> {
        let mut request = Message::new();
        request.typ = BINDING_REQUEST;
        request.write_header();
        request.add(ATTR_USERNAME, user.as_bytes());
        let crypto = identity.provider.crypto();
        let integrity = MessageIntegrity::new_short_term_integrity_with_provider(password.to_owned(), crypto);
        integrity.add_to(&mut request).expect("integrity");
        request.raw
    }

    /// A browser that has these profiles alone: the keys of both ends.
    fn keys_of_both(profiles: &[SrtpProtectionProfile]) -> Option<(Keys, Suite)> {
        let (ours, theirs) = (Identity::new()?, Identity::new()?);
        let ice = crate::sip::sdes::KeyRing::new([3; _]).ice(0);
        let end = BrowserEnd { ice: ice.clone(), fingerprint: theirs.fingerprint, waits: false };
        let began = (crate::io::clock::instant(), at(0));
        let mut seat = Seat::new(&end, &ours, began)?;
        seat.take(&check(&ours, &format!("{}:x", ice.ufrag), &ice.password), from(), at(0));
        let config = ConfigBuilder::default()
            .with_crypto_provider(Arc::clone(&theirs.provider))
            .with_certificates(vec![theirs.certificate])
            .with_srtp_protection_profiles(profiles.to_vec())
            .with_insecure_skip_verify(true)
            .with_extended_master_secret(ExtendedMasterSecretType::Require)
            .with_server_name("e911d".to_owned())
            .build(true, None)
            .ok()?;
        let mut browser = Endpoint::new(FAR, TransportProtocol::UDP, None);
        browser.connect(began.0, FAR, Arc::new(config), None).ok()?;
        for _ in 0..100 {
            let packet = browser.poll_transmit()?;
            let taken = seat.take(&packet.message, from(), at(0));
            for (reply, _) in taken.replies {
                let _ = browser.read(began.0, FAR, None, reply);
            }
            if let Some(keys) = taken.keys {
                let suite = keys.send.suite();
                return Some((keys, suite));
            }
        }
        None
    }

    #[test]
    fn the_first_of_a_browsers_profiles_that_we_have_is_taken_and_one_without_any_gets_no_keys() {
        use SrtpProtectionProfile::{Srtp_Aes128_Cm_Hmac_Sha1_32, Srtp_Aes128_Cm_Hmac_Sha1_80};
        for (profile, suite) in PROFILES {
            let (keys, agreed) = keys_of_both(&[Srtp_Aes128_Cm_Hmac_Sha1_32, profile]).expect("keys");
            assert_eq!(agreed, suite);
            assert!(keys.send != keys.receive && keys.receive.suite() == suite);
            assert!(super::super::guard::Guard::new(keys, Duration::ZERO).is_some(), "{suite:?}");
        }
        let both = keys_of_both(&[PROFILES[0].0, Srtp_Aes128_Cm_Hmac_Sha1_80]).expect("keys");
        assert_eq!(both.1, Suite::AesGcm128);
        assert!(keys_of_both(&[Srtp_Aes128_Cm_Hmac_Sha1_32]).is_none());
    }

    #[test]
    fn whoever_does_not_know_our_password_gets_no_answer_and_no_dtls() {
        let identity = Identity::new().expect("an identity");
        let ice = crate::sip::sdes::KeyRing::new([3; _]).ice(0);
        let end = BrowserEnd { ice: ice.clone(), fingerprint: [0; 32], waits: false };
        let mut seat = Seat::new(&end, &identity, (crate::io::clock::instant(), at(0))).expect("a seat");
        let from = from();
        let check = |user: &str, password: &str| check(&identity, user, password);
        let hello = [22u8, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for (user, password) in
            [("other:x", ice.password.as_str()), (&format!("{}:x", ice.ufrag), "wrong"), (&ice.ufrag, "wrong")]
        {
            let taken = seat.take(&check(user, password), from, at(0));
            assert!(taken.replies.is_empty() && taken.found.is_none());
            assert!(seat.take(&hello, from, at(0)).replies.is_empty());
            assert!(seat.dtls.get_connection_state(FAR).is_none());
        }
        let taken = seat.take(&check(&format!("{}:x", ice.ufrag), &ice.password), from, at(0));
        assert_eq!((taken.replies.len(), taken.found), (1, Some(from)));
        let elsewhere: SocketAddr = "127.0.0.1:4001".parse().expect("an address");
        seat.take(&hello, elsewhere, at(0));
        assert!(seat.dtls.get_connection_state(FAR).is_none(), "not from there");
    }
}

//! SRTP towards one end: its packets decrypted, ours encrypted (RFC 3711), by the contexts of `rtc-srtp`.
//!
//! A context knows how often a stream's sequence number has rolled over from nothing but the packets that it has seen, and
//! believes the first one before that has proved to be genuine. So each source gets a context of its own, and only once a
//! packet of it could be decrypted; and where a run of the daemon, a key or our part of a call is younger than the stream, the
//! rollovers are found by trying.

use crate::sip::relayed::Keys;
use crate::sip::sdes::{Key, Suite};
use bytes::BytesMut;
use rtc_crypto::RTCCryptoProvider;
use rtc_srtp::context::Context;
use rtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use rtc_srtp::protection_profile::ProtectionProfile;
use smallvec::SmallVec;
use std::sync::Arc;
use std::time::Duration;

/// Packets that may come late: a bad network reorders more than the usual 64.
const WINDOW: usize = 128;
/// Sources of one stream that are remembered; of more, the newest.
const MOST_SOURCES: usize = 4;
/// Sources that we encrypt for with one key.
const MOST_OWN_SOURCES: usize = 64;
/// Rollovers that are tried: at 50 packets a second, a day.
const MOST_ROLLOVERS: u32 = 66;
/// Packets for which they are tried before it is left at that.
const MOST_TRIALS: u8 = 10;
/// Packets in a second, where nobody has counted them.
const PACE: u64 = 50;
/// Where a context stops on its way through one rollover: none may be further from the next than half of it.
const STOPS: [u16; 4] = [1, 0x4000, 0x8000, 0xc000];

/// See the module's docs.
pub(super) struct Guard {
    keys: Keys,
    provider: Arc<dyn RTCCryptoProvider>,
    inward: Inward,
    outward: Context,
    own: SmallVec<[u32; 4]>,
    /// What was decrypted with the key of before: such packets may still be under way.
    before: Option<Inward>,
    /// How often rollovers may still be tried.
    trials: u8,
    /// How long the streams that we encrypt have been there before us.
    age: Duration,
}

/// Sources and their contexts, the newest last.
type Inward = SmallVec<[(u32, Context); 1]>;

impl Guard {
    /// For streams that are `age` old already. `None` where the keys are not such.
    pub(super) fn new(keys: Keys, age: Duration) -> Option<Self> {
        let provider = rtc_crypto::default_provider().ok()?;
        let outward = context(&keys.send, false, &*provider)?;
        context(&keys.receive, true, &*provider)?;
        let (inward, own) = (Inward::new(), SmallVec::new());
        Some(Self { keys, provider, inward, outward, own, before: None, trials: MOST_TRIALS, age })
    }

    /// Takes other keys; what did not change keeps its counts.
    pub(super) fn rekey(&mut self, keys: Keys) {
        if keys.receive != self.keys.receive {
            self.before = Some(std::mem::take(&mut self.inward));
            self.trials = MOST_TRIALS;
        }
        if keys.send != self.keys.send
            && let Some(context) = context(&keys.send, false, &*self.provider)
        {
            (self.outward, self.own) = (context, SmallVec::new());
        }
        self.keys = keys;
    }

    /// A packet from there in the clear; `None` where it is not genuine, or was here before.
    pub(super) fn open(&mut self, packet: &[u8]) -> Option<BytesMut> {
        let source = source_of(packet)?;
        if let Some((_, context)) = self.inward.iter_mut().find(|(known, _)| *known == source) {
            return decrypt(context, packet);
        }
        let before = self.before.as_mut().and_then(|all| all.iter_mut().find(|(known, _)| *known == source));
        if let Some(opened) = before.and_then(|(_, context)| decrypt(context, packet)) {
            return Some(opened);
        }
        let mut fresh = context(&self.keys.receive, true, &*self.provider)?;
        let (found, opened) = match decrypt(&mut fresh, packet) {
            Some(opened) => (fresh, opened),
            None => self.find(packet)?,
        };
        if self.inward.len() >= MOST_SOURCES {
            self.inward.remove(0);
        }
        self.inward.push((source, found));
        Some(opened)
    }

    /// A packet for there.
    pub(super) fn close(&mut self, packet: &[u8]) -> Option<BytesMut> {
        if is_rtcp(packet) {
            return self.outward.encrypt_rtcp(packet).ok();
        }
        let source = source_of(packet)?;
        if !self.own.contains(&source) {
            if self.own.len() >= MOST_OWN_SOURCES {
                return None;
            }
            self.own.push(source);
            self.catch_up(packet);
        }
        self.outward.encrypt_rtp(packet).ok()
    }

    /// Brings the context to where the run before us has left this stream, by the stream's age and where it is now. Only the
    /// first one can be that old: whoever joins later begins later.
    fn catch_up(&mut self, packet: &[u8]) {
        let sent = std::mem::take(&mut self.age).as_secs() * PACE;
        let (Some(head), Some(sequence)) = (head_of(packet), sequence_of(packet)) else { return };
        let rollovers = sent.saturating_sub(u64::from(sequence)).div_ceil(1 << 16);
        let stops = (0..rollovers).flat_map(|_| STOPS).chain(STOPS.into_iter().filter(|stop| *stop < sequence));
        for stop in stops.take(if rollovers > 0 { usize::MAX } else { 0 }) {
            let _ = self.outward.encrypt_rtp(&stop_at(head, stop));
        }
    }

    /// The context that has seen as many rollovers as the sender of this packet. It is brought there by packets of our own
    /// making.
    fn find(&mut self, packet: &[u8]) -> Option<(Context, BytesMut)> {
        if is_rtcp(packet) {
            return None;
        }
        self.trials = self.trials.checked_sub(1)?;
        let (head, sequence) = (head_of(packet)?, sequence_of(packet)?);
        let mut theirs = context(&self.keys.receive, false, &*self.provider)?;
        let mut ours = context(&self.keys.receive, true, &*self.provider)?;
        let nearest = STOPS.into_iter().rfind(|stop| *stop < sequence)?;
        for _ in 0..MOST_ROLLOVERS {
            for stop in STOPS {
                let made = theirs.encrypt_rtp(&stop_at(head, stop)).ok()?;
                ours.decrypt_rtp(&made).ok()?;
                if stop == nearest
                    && let Some(opened) = decrypt(&mut ours, packet)
                {
                    self.trials = MOST_TRIALS;
                    return Some((ours, opened));
                }
            }
        }
        None
    }
}

/// RFC 5761 section 4: what may be multiplexed is told apart by its second byte.
pub(super) fn is_rtcp(packet: &[u8]) -> bool {
    packet.get(1).is_some_and(|kind| (192..=223).contains(kind))
}

fn decrypt(context: &mut Context, packet: &[u8]) -> Option<BytesMut> {
    if is_rtcp(packet) { context.decrypt_rtcp(packet).ok() } else { context.decrypt_rtp(packet).ok() }
}

/// The SSRC.
fn source_of(packet: &[u8]) -> Option<u32> {
    let at = if is_rtcp(packet) { 4 } else { 8 };
    Some(u32::from_be_bytes(packet.get(at..at + 4)?.try_into().ok()?))
}

fn head_of(packet: &[u8]) -> Option<[u8; 12]> {
    packet.get(..12)?.try_into().ok()
}

fn sequence_of(packet: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(packet.get(2..4)?.try_into().ok()?))
}

/// An empty packet of the same source.
fn stop_at([_, _, _, _, a, b, c, d, e, f, g, h]: [u8; 12], sequence: u16) -> [u8; 12] {
    let [high, low] = sequence.to_be_bytes();
    [0x80, 0, high, low, a, b, c, d, e, f, g, h]
}

fn context(key: &Key, inward: bool, provider: &dyn RTCCryptoProvider) -> Option<Context> {
    let profile = match key.suite() {
        Suite::AesCm128Sha1Tag80 => ProtectionProfile::Aes128CmHmacSha1_80,
        Suite::AesCm128Sha1Tag32 => ProtectionProfile::Aes128CmHmacSha1_32,
        Suite::AesGcm256 => ProtectionProfile::AeadAes256Gcm,
        Suite::AesGcm128 => ProtectionProfile::AeadAes128Gcm,
    };
    let (master, salt) = key.parts();
    let window = inward.then(|| srtp_replay_protection(WINDOW));
    let control = inward.then(|| srtcp_replay_protection(WINDOW));
    Context::new(master, salt, profile, window, control, provider.crypto()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::sdes::KeyRing;

    /// Two ends with this suite: what one closes the other opens.
    fn ends(suite: Suite, age: Duration) -> (Guard, Guard) {
        let ring = |n: u8| KeyRing::new(std::array::from_fn(|i| n.wrapping_add(i as u8))).key(suite).expect("a key");
        let (a, b) = (ring(1), ring(101));
        let one = Guard::new(Keys { send: a.clone(), receive: b.clone() }, Duration::ZERO).expect("keys");
        (one, Guard::new(Keys { send: b, receive: a }, age).expect("keys"))
    }

    impl Guard {
        /// As an end that tries no rollovers.
        fn open_now(&mut self, packet: &[u8]) -> Option<BytesMut> {
            self.trials = 0;
            self.open(packet)
        }
    }

    fn packet(source: u32, sequence: u16) -> Vec<u8> {
        let mut packet = vec![0x80, 0];
        packet.extend(sequence.to_be_bytes());
        packet.extend([0, 0, 1, 0]);
        packet.extend(source.to_be_bytes());
        packet.extend([0x55; 160]);
        packet
    }

    fn receiver_report(source: u32) -> Vec<u8> {
        [&[0x80, 201, 0, 1][..], &source.to_be_bytes()].concat()
    }

    #[test]
    fn what_one_end_closes_the_other_opens_once() {
        for suite in Suite::ALL {
            let (mut one, mut other) = ends(suite, Duration::ZERO);
            for n in 0..300u16 {
                let plain = packet(7, 65_400u16.wrapping_add(n));
                let closed = one.close(&plain).expect("encrypted");
                assert_ne!(closed[12..40], plain[12..40]);
                assert_eq!(other.open(&closed).as_deref(), Some(&plain[..]), "{suite:?} {n}");
                assert!(other.open(&closed).is_none(), "a repetition");
            }
            let report = receiver_report(7);
            let closed = one.close(&report).expect("encrypted");
            assert_eq!(other.open(&closed).as_deref(), Some(&report[..]));
        }
    }

    #[test]
    fn ten_thousand_bad_packets_do_no_harm_not_even_before_the_first_good_one() {
        let (mut one, mut other) = ends(Suite::AesCm128Sha1Tag80, Duration::ZERO);
        let bad = |other: &mut Guard, n: u32| {
            for i in 0..n {
                assert!(other.open(&packet(if i % 2 == 0 { 7 } else { i }, i as u16)).is_none());
                assert!(other.open(&receiver_report(i)).is_none() && other.open(&[0x80, 0, 1]).is_none());
            }
        };
        bad(&mut other, 3000);
        for n in 100..5100u16 {
            let plain = packet(7, n);
            let closed = one.close(&plain).expect("encrypted");
            bad(&mut other, 1);
            assert_eq!(other.open(&closed).as_deref(), Some(&plain[..]));
        }
        bad(&mut other, 3000);
        assert_eq!(other.inward.len(), 1);
    }

    #[test]
    fn b1_a_stream_that_has_rolled_over_is_found_again_by_the_next_run() {
        let (mut one, _) = ends(Suite::AesCm128Sha1Tag80, Duration::ZERO);
        let mut sequence = 60_000u16;
        for step in 0..80_000u32 {
            sequence = 60_000u16.wrapping_add(step as u16);
            let _ = one.close(&packet(7, sequence)).expect("encrypted");
        }
        // 80,000 packets at 50 a second.
        let (_, mut next) = ends(Suite::AesCm128Sha1Tag80, Duration::from_secs(1600));
        let plain = packet(7, sequence.wrapping_add(1));
        let closed = one.close(&plain).expect("encrypted");
        assert_eq!(next.open(&closed).as_deref(), Some(&plain[..]), "what comes in");
        // And what goes out: the far end has seen all of it, the next run nothing.
        let (mut far, mut run) = ends(Suite::AesCm128Sha1Tag80, Duration::ZERO);
        for step in 0..80_000u32 {
            let closed = run.close(&packet(8, 60_000u16.wrapping_add(step as u16))).expect("encrypted");
            assert!(step % 1000 != 0 || far.open(&closed).is_some());
        }
        let plain = packet(8, sequence.wrapping_add(1));
        let closed = next.close(&plain).expect("encrypted");
        assert_eq!(far.open(&closed).as_deref(), Some(&plain[..]), "what goes out");
    }

    #[test]
    fn b1_a_source_that_joins_after_a_restart_has_not_rolled_over() {
        // Half an hour into the call the run begins; the far end is transferred, and another source is heard.
        let (mut far, mut run) = ends(Suite::AesCm128Sha1Tag80, Duration::from_secs(1800));
        run.close(&packet(7, 24_464)).expect("encrypted");
        for n in 0..100u16 {
            let plain = packet(8, 500 + n);
            let closed = run.close(&plain).expect("encrypted");
            assert_eq!(far.open_now(&closed).as_deref(), Some(&plain[..]), "{n}");
        }
    }

    #[test]
    fn after_a_new_key_the_rollovers_go_on_or_begin_anew_and_late_packets_are_still_heard() {
        for keeps_count in [true, false] {
            let (mut one, mut other) = ends(Suite::AesCm128Sha1Tag80, Duration::ZERO);
            for step in 0..70_000u32 {
                let closed = one.close(&packet(7, step as u16)).expect("encrypted");
                assert!(other.open(&closed).is_some());
            }
            let late = one.close(&packet(7, 4_465)).expect("encrypted");
            let ring = KeyRing::new([9; KeyRing::LEN]).key(Suite::AesCm128Sha1Tag80).expect("a key");
            let keys = Keys { send: ring.clone(), receive: one.keys.receive.clone() };
            one.rekey(keys);
            if keeps_count {
                one.age = Duration::from_secs(70_000 / PACE);
            }
            other.rekey(Keys { send: other.keys.send.clone(), receive: ring });
            assert!(other.open(&late).is_some(), "sent before the new key");
            for n in 4_470..4_500 {
                let closed = one.close(&packet(7, n)).expect("encrypted");
                assert!(other.open(&closed).is_some(), "{keeps_count} {n}");
            }
        }
    }
}

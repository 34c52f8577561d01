//! Keys for SRTP as session descriptions carry them: `a=crypto` (RFC 4568, RFC 7714 section 14.2).
//!
//! Text to keys and back; nothing is encrypted here. Read [`Crypto::read`] first. A key has no `Debug`.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// A crypto suite that we speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Suite {
    /// `AES_CM_128_HMAC_SHA1_80`: everybody has it.
    AesCm128Sha1Tag80,
    /// `AES_CM_128_HMAC_SHA1_32`
    AesCm128Sha1Tag32,
    /// `AEAD_AES_256_GCM`
    AesGcm256,
    /// `AEAD_AES_128_GCM`: browsers', by DTLS alone (RFC 7714 section 14.2).
    AesGcm128,
}

impl Suite {
    /// Those of session descriptions, as we offer them: what everybody has comes first.
    pub const ALL: [Self; 3] = [Self::AesCm128Sha1Tag80, Self::AesGcm256, Self::AesCm128Sha1Tag32];

    /// Its name in `a=crypto`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AesCm128Sha1Tag80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128Sha1Tag32 => "AES_CM_128_HMAC_SHA1_32",
            Self::AesGcm256 => "AEAD_AES_256_GCM",
            Self::AesGcm128 => "AEAD_AES_128_GCM",
        }
    }

    /// Bytes of master key.
    pub const fn key_len(self) -> usize {
        match self {
            Self::AesCm128Sha1Tag80 | Self::AesCm128Sha1Tag32 | Self::AesGcm128 => 16,
            Self::AesGcm256 => 32,
        }
    }

    /// Bytes of master salt.
    pub const fn salt_len(self) -> usize {
        match self {
            Self::AesCm128Sha1Tag80 | Self::AesCm128Sha1Tag32 => 14,
            Self::AesGcm256 | Self::AesGcm128 => 12,
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name().eq_ignore_ascii_case(name))
    }

    const fn material_len(self) -> usize {
        self.key_len() + self.salt_len()
    }
}

/// A master key with its salt, for one direction of one stream.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Key {
    suite: Suite,
    material: Vec<u8>,
}

impl Key {
    /// What it is for.
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// Master key and master salt.
    pub fn parts(&self) -> (&[u8], &[u8]) {
        self.material.split_at(self.suite.key_len().min(self.material.len()))
    }

    /// Of a master key and a master salt; `None` where they are not as long as the suite has them.
    pub fn from_parts(suite: Suite, key: &[u8], salt: &[u8]) -> Option<Self> {
        Self::of(suite, [key, salt].concat()).filter(|_| key.len() == suite.key_len())
    }

    fn of(suite: Suite, material: Vec<u8>) -> Option<Self> {
        (material.len() == suite.material_len()).then_some(Self { suite, material })
    }

    fn read(suite: Suite, inline: &str) -> Option<Self> {
        let decoded = STANDARD.decode(inline).or_else(|_| STANDARD_NO_PAD.decode(inline.trim_end_matches('=')));
        Self::of(suite, decoded.ok()?)
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        format!("{} {}", key.suite.name(), STANDARD.encode(&key.material))
    }
}

impl TryFrom<String> for Key {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let (suite, inline) = text.split_once(' ').ok_or("no key")?;
        Suite::named(suite).and_then(|suite| Self::read(suite, inline)).ok_or("no key of a known suite")
    }
}

/// Random bytes of which our own keys of one stream are made, one for each suite.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct KeyRing(Vec<u8>);

impl KeyRing {
    /// How many bytes it takes.
    pub const LEN: usize =
        Suite::AesCm128Sha1Tag80.material_len() + Suite::AesCm128Sha1Tag32.material_len() + Suite::AesGcm256.material_len();

    /// From that many bytes that nobody can guess.
    pub fn new(random: [u8; Self::LEN]) -> Self {
        Self(random.to_vec())
    }

    /// Our key for a suite, always the same one.
    pub fn key(&self, suite: Suite) -> Option<Key> {
        let before = Suite::ALL.into_iter().take_while(|s| *s != suite).map(Suite::material_len).sum::<usize>();
        Key::of(suite, self.0.get(before..before + suite.material_len())?.to_vec())
    }
}

impl KeyRing {
    /// Our name and password in ICE for the `round`th time that it begins, and the source of what a browser hears (RFC 8839
    /// section 5.4: at least 24 and 128 bits). Made of the same bytes, of which they tell nothing.
    pub fn ice(&self, round: u8) -> Ice {
        let made = |label: u8| Sha256::new().chain_update(b"ice").chain_update([label, round]).chain_update(&self.0).finalize();
        let (ufrag, password, source) = (made(0), made(1), Sha256::new().chain_update(b"ssrc").chain_update(&self.0).finalize());
        let text = |bytes: &[u8]| STANDARD_NO_PAD.encode(bytes);
        let ssrc = source.iter().take(4).fold(0, |all, byte| all << 8 | u32::from(*byte));
        Ice { ufrag: text(&ufrag[..6]), password: text(&password[..24]), ssrc }
    }
}

/// Who we are to a browser. Not for logs: no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Ice {
    /// Our name.
    pub ufrag: String,
    /// Our password.
    pub password: String,
    /// Our source of RTP.
    pub ssrc: u32,
}

impl From<KeyRing> for String {
    fn from(ring: KeyRing) -> Self {
        STANDARD.encode(ring.0)
    }
}

impl TryFrom<String> for KeyRing {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = STANDARD.decode(text).map_err(|_| "no base64")?;
        if bytes.len() == Self::LEN { Ok(Self(bytes)) } else { Err("too few or too many bytes") }
    }
}

/// One `a=crypto` line.
#[derive(Clone, PartialEq, Eq)]
pub struct Crypto {
    /// Its number, which the answer repeats.
    pub tag: u32,
    /// The key with which its sender encrypts.
    pub key: Key,
}

impl Crypto {
    /// Reads what follows `a=crypto:`. `None` where it is of a suite, or asks for something, that we do not have: several keys,
    /// an MKI, other key derivation rates, or packets that are left unencrypted.
    pub fn read(value: &str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        let (tag, suite, keys) = (words.next()?.parse().ok()?, Suite::named(words.next()?)?, words.next()?);
        if !words.all(is_harmless) || keys.contains(';') {
            return None;
        }
        let (method, info) = keys.split_once(':')?;
        let mut info = info.split('|');
        let inline = info.next()?;
        // The second part is a lifetime, the one with a colon an MKI.
        let understood = method.eq_ignore_ascii_case("inline") && info.all(|part| !part.contains(':'));
        understood.then_some(Self { tag, key: Key::read(suite, inline)? })
    }

    /// Writes the line without its end.
    pub fn write(&self, out: &mut String) {
        let Key { suite, material } = &self.key;
        let _ = write!(out, "a=crypto:{} {} inline:{}", self.tag, suite.name(), STANDARD.encode(material));
    }
}

/// A session parameter that changes nothing of how we read or write packets.
fn is_harmless(parameter: &str) -> bool {
    let name = parameter.split('=').next().unwrap_or_default();
    ["WSH", "FEC_ORDER"].iter().any(|known| name.eq_ignore_ascii_case(known)) || parameter.eq_ignore_ascii_case("KDR=0")
}

#[cfg(test)]
mod tests {
    use super::*;

    const INLINE: &str = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";

    #[test]
    fn a_line_of_rfc_4568_is_read_and_written_back() {
        for value in [
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{INLINE}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{INLINE}|2^20"),
            format!("1 AES_CM_128_HMAC_SHA1_80  inline:{INLINE}|2^20 WSH=64 KDR=0"),
        ] {
            let crypto = Crypto::read(&value).unwrap_or_else(|| panic!("{value}"));
            let mut out = String::new();
            crypto.write(&mut out);
            assert_eq!(out, format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{INLINE}"));
            assert_eq!(crypto.key.parts().0.len(), 16);
            assert!(Key::try_from(String::from(crypto.key.clone())).is_ok_and(|key| key == crypto.key));
        }
    }

    #[test]
    fn what_asks_for_more_than_we_have_is_passed_over() {
        for value in [
            "",
            "1",
            "x AES_CM_128_HMAC_SHA1_80 inline:AA==",
            "1 F8_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj",
            "1 AES_CM_128_HMAC_SHA1_80 inline:AAAA",
            "1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^20|1:4",
            "1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|1:4",
            "1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj;inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj",
            "1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj UNENCRYPTED_SRTP",
            "1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj KDR=3",
            "1 AES_CM_128_HMAC_SHA1_80 uri:x",
        ] {
            assert!(Crypto::read(value).is_none(), "{value}");
        }
    }

    #[test]
    fn a_ring_has_a_key_of_its_own_for_each_suite_and_survives_being_written_down() {
        let mut random = [0; KeyRing::LEN];
        random.iter_mut().zip(0u8..).for_each(|(place, n)| *place = n);
        let ring = KeyRing::new(random);
        let again = KeyRing::try_from(String::from(ring.clone())).expect("a ring");
        let keys: Vec<Key> = Suite::ALL.into_iter().filter_map(|s| again.key(s)).collect();
        assert_eq!(keys.len(), 3);
        for (key, suite) in keys.iter().zip(Suite::ALL) {
            assert!(ring.key(suite).as_ref() == Some(key) && key.parts().1.len() == suite.salt_len());
            assert_eq!(keys.iter().filter(|other| other.material[..8] == key.material[..8]).count(), 1);
        }
    }
}

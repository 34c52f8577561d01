//! Digest authentication (RFC 7616, RFC 8760; RFC 3261 section 22): challenges and credentials, read, answered, checked.
//!
//! Pure: it hashes and compares. It keeps no nonces, knows no accounts, and decides about nobody; those who do are
//! above. Read [`Challenge`] for the side that is asked, [`Credentials`] for the side that asks. Session variants
//! (`MD5-sess`) and hashed user names are not offered and not understood; no SIP phone or trunk needs them.

use super::header::auth_param;
use md5::Md5;
use sha2::{Digest, Sha256, Sha512_256};
use std::borrow::Cow;

/// A hash algorithm by its token (RFC 7616 section 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// `MD5`, also where no algorithm is named (RFC 3261 section 22.4).
    Md5,
    /// `SHA-256`
    Sha256,
    /// `SHA-512-256`
    Sha512_256,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Md5, Self::Sha256, Self::Sha512_256];

    /// How it is written.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
            Self::Sha512_256 => "SHA-512-256",
        }
    }

    /// The one that is written so, any case.
    pub fn of(token: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.token().as_bytes().eq_ignore_ascii_case(token))
    }

    fn named_in(header: &[u8]) -> Option<Self> {
        auth_param(header, "algorithm").map_or(Some(Self::Md5), Self::of)
    }

    /// The parts with a colon between each two, hashed.
    fn hash(self, parts: &[&[u8]]) -> Hex {
        fn run<D: Digest>(parts: &[&[u8]]) -> Hex {
            let mut hash = D::new();
            for (i, part) in parts.iter().enumerate() {
                if i > 0 {
                    hash.update(b":");
                }
                hash.update(part);
            }
            Hex::of(&hash.finalize())
        }
        match self {
            Self::Md5 => run::<Md5>(parts),
            Self::Sha256 => run::<Sha256>(parts),
            Self::Sha512_256 => run::<Sha512_256>(parts),
        }
    }
}

/// Quality of protection (RFC 7616 section 3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qop {
    /// `auth`: method and URI are protected.
    Auth,
    /// `auth-int`: the body as well.
    AuthInt,
}

impl Qop {
    const fn token(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::AuthInt => "auth-int",
        }
    }

    fn of(token: &[u8]) -> Option<Self> {
        [Self::Auth, Self::AuthInt].into_iter().find(|q| q.token().as_bytes().eq_ignore_ascii_case(token))
    }
}

/// What a request is, as far as a digest protects it.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a [u8],
    /// Its Request-URI, as it is written.
    pub uri: &'a [u8],
    /// Its body, for `auth-int`.
    pub body: &'a [u8],
}

/// `H(user:realm:password)` for one algorithm (RFC 7616 section 3.4.2): as good as the password within its realm.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Ha1(Hex);

impl Ha1 {
    /// Of these three, each as it is meant: without quotes and escapes.
    pub fn new(algorithm: Algorithm, user: &[u8], realm: &[u8], password: &[u8]) -> Self {
        Self(algorithm.hash(&[user, realm, password]))
    }

    /// Its hexadecimal digits: a secret, for what is derived from it.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl std::fmt::Debug for Ha1 {
    /// Prints nothing of the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ha1(-)")
    }
}

/// A challenge: the value of WWW-Authenticate or Proxy-Authenticate.
#[derive(Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Whose password is asked for.
    pub realm: Vec<u8>,
    /// The server's word.
    pub nonce: Vec<u8>,
    /// To be given back as it is.
    pub opaque: Option<Vec<u8>>,
    /// The algorithm to use.
    pub algorithm: Algorithm,
    /// The protection to use, the weaker of those offered: bodies change on their way through SBCs. `None` from a
    /// server that knows RFC 2069 only.
    pub qop: Option<Qop>,
    /// Only the nonce was too old: the password was not looked at.
    pub stale: bool,
}

impl Challenge {
    /// Reads one value. `None` where it is no digest, or one that we do not understand: another one may do
    /// (RFC 8760 section 2.4).
    pub fn parse(value: &[u8]) -> Option<Self> {
        let value = digest_value(value)?;
        let offered = auth_param(value, "qop");
        let offers = |q: Qop| offered.is_some_and(|list| list.split(|c| *c == b',').any(|t| Qop::of(t.trim_ascii()) == Some(q)));
        let qop = [Qop::Auth, Qop::AuthInt].into_iter().find(|q| offers(*q));
        if offered.is_some() && qop.is_none() {
            return None;
        }
        Some(Self {
            realm: text(value, "realm")?.into_owned(),
            nonce: text(value, "nonce")?.into_owned(),
            opaque: text(value, "opaque").map(Cow::into_owned),
            algorithm: Algorithm::named_in(value)?,
            qop,
            stale: auth_param(value, "stale").is_some_and(|s| s.eq_ignore_ascii_case(b"true")),
        })
    }

    /// The credentials that answer it: a value for Authorization or Proxy-Authorization. `count` says how often this nonce
    /// was answered, this time included; `cnonce` is a token of ours, another one each time.
    pub fn answer(&self, user: &[u8], password: &[u8], asked: &Asked<'_>, count: u32, cnonce: &[u8]) -> Vec<u8> {
        let ha1 = Ha1::new(self.algorithm, user, &self.realm, password);
        let count = format!("{count:08x}");
        let shield = self.qop.map(|qop| Shield { qop, count: count.as_bytes(), cnonce });
        let response = response(self.algorithm, &ha1, &self.nonce, shield.as_ref(), asked.uri, asked);
        let mut out = b"Digest ".to_vec();
        put_quoted(&mut out, "username", user);
        put_quoted(&mut out, ", realm", &self.realm);
        put_quoted(&mut out, ", nonce", &self.nonce);
        put_quoted(&mut out, ", uri", asked.uri);
        put_quoted(&mut out, ", response", response.as_bytes());
        put(&mut out, ", algorithm", self.algorithm.token().as_bytes());
        if let Some(shield) = shield {
            put_quoted(&mut out, ", cnonce", cnonce);
            put(&mut out, ", qop", shield.qop.token().as_bytes());
            put(&mut out, ", nc", shield.count);
        }
        if let Some(opaque) = &self.opaque {
            put_quoted(&mut out, ", opaque", opaque);
        }
        out
    }
}

impl std::fmt::Debug for Challenge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Challenge({:?} {:?} stale {})", self.algorithm, self.qop, self.stale)
    }
}

/// The value of a challenge of ours. `realm` and `nonce` hold neither quotes nor backslashes.
pub fn challenge(realm: &str, nonce: &str, algorithm: Algorithm, stale: bool) -> String {
    let stale = if stale { ", stale=true" } else { "" };
    format!("Digest realm=\"{realm}\", nonce=\"{nonce}\", algorithm={}, qop=\"auth\"{stale}", algorithm.token())
}

/// Credentials: the value of Authorization or Proxy-Authorization.
pub struct Credentials<'a> {
    /// Who it claims to be.
    pub user: Cow<'a, [u8]>,
    /// Whose password was used.
    pub realm: Cow<'a, [u8]>,
    /// The nonce that is answered.
    pub nonce: Cow<'a, [u8]>,
    /// The URI that was hashed; a proxy may have changed the Request-URI since.
    pub uri: Cow<'a, [u8]>,
    /// The algorithm that was used.
    pub algorithm: Algorithm,
    /// How often the nonce was answered, this time included; `None` without a qop (RFC 2069).
    pub count: Option<u32>,
    response: &'a [u8],
    shield: Option<Given<'a>>,
}

/// qop, `nc` and `cnonce` as they were given.
type Given<'a> = (Qop, &'a [u8], Cow<'a, [u8]>);

impl<'a> Credentials<'a> {
    /// Reads one value. `None` where it is no digest or lacks a part.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let value = digest_value(value)?;
        let shield = match auth_param(value, "qop") {
            None => None,
            Some(qop) => Some((Qop::of(qop)?, auth_param(value, "nc")?, text(value, "cnonce")?)),
        };
        let count = match &shield {
            None => None,
            Some((_, nc, _)) => Some(hex_number(nc)?),
        };
        Some(Self {
            user: text(value, "username")?,
            realm: text(value, "realm")?,
            nonce: text(value, "nonce")?,
            uri: text(value, "uri")?,
            algorithm: Algorithm::named_in(value)?,
            count,
            response: auth_param(value, "response")?,
            shield,
        })
    }

    /// Whether they were made with this secret, which must be one for [`Credentials::algorithm`]. Takes as long for a wrong
    /// one as for the right one.
    pub fn prove(&self, ha1: &Ha1, asked: &Asked<'_>) -> bool {
        let shield = self.shield.as_ref().map(|(qop, count, cnonce)| Shield { qop: *qop, count, cnonce });
        let expected = response(self.algorithm, ha1, &self.nonce, shield.as_ref(), &self.uri, asked);
        let (expected, given) = (expected.as_bytes(), self.response);
        let differences = expected.iter().zip(given).fold(0, |all, (a, b)| all | (a ^ b.to_ascii_lowercase()));
        expected.len() == given.len() && differences == 0
    }
}

impl std::fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({:?})", self.algorithm)
    }
}

/// What a qop adds to the hash.
struct Shield<'a> {
    qop: Qop,
    count: &'a [u8],
    cnonce: &'a [u8],
}

/// RFC 7616 section 3.4.1; without a qop RFC 2069.
fn response(a: Algorithm, ha1: &Ha1, nonce: &[u8], shield: Option<&Shield<'_>>, uri: &[u8], asked: &Asked<'_>) -> Hex {
    let ha2 = match shield {
        Some(Shield { qop: Qop::AuthInt, .. }) => a.hash(&[asked.method, uri, a.hash(&[asked.body]).as_bytes()]),
        _ => a.hash(&[asked.method, uri]),
    };
    let (ha1, ha2) = (ha1.0.as_bytes(), ha2.as_bytes());
    match shield {
        Some(s) => a.hash(&[ha1, nonce, s.count, s.cnonce, s.qop.token().as_bytes(), ha2]),
        None => a.hash(&[ha1, nonce, ha2]),
    }
}

/// A hash in lower-case hexadecimal, on the stack.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Hex {
    text: [u8; 64],
    len: usize,
}

impl Hex {
    fn of(hash: &[u8]) -> Self {
        let mut hex = Self { text: [0; 64], len: 0 };
        for (pair, byte) in hex.text.chunks_exact_mut(2).zip(hash) {
            let digit = |n: u8| b"0123456789abcdef"[usize::from(n & 15)];
            pair.copy_from_slice(&[digit(byte >> 4), digit(*byte)]);
            hex.len += 2;
        }
        hex
    }

    fn as_bytes(&self) -> &[u8] {
        self.text.get(..self.len).unwrap_or_default()
    }
}

/// The value, where its scheme is Digest.
fn digest_value(value: &[u8]) -> Option<&[u8]> {
    let value = value.trim_ascii();
    let (scheme, rest) = value.split_at_checked(6)?;
    (scheme.eq_ignore_ascii_case(b"Digest") && rest.first().is_some_and(u8::is_ascii_whitespace)).then_some(value)
}

/// A parameter as it is meant: the escapes of a quoted string undone.
fn text<'a>(value: &'a [u8], name: &str) -> Option<Cow<'a, [u8]>> {
    let raw = auth_param(value, name)?;
    if !raw.contains(&b'\\') {
        return Some(Cow::Borrowed(raw));
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter();
    while let Some(&byte) = bytes.next() {
        out.push(if byte == b'\\' { *bytes.next().unwrap_or(&byte) } else { byte });
    }
    Some(Cow::Owned(out))
}

/// The number in `nc`: up to eight hexadecimal digits.
fn hex_number(text: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(text).ok().filter(|t| t.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u32::from_str_radix(digits, 16).ok()
}

fn put(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.push(b'=');
    out.extend_from_slice(value);
}

fn put_quoted(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    put(out, name, b"\"");
    for &byte in value {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors: header, user, password, method, body; each answer must be found right, and made again by us.
    #[test]
    fn the_published_examples_come_out() {
        let rfc7616 = |algorithm: &str, response: &str| {
            format!(
                "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", uri=\"/dir/index.html\", algorithm={algorithm}, \
                 nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, \
                 cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, response=\"{response}\", \
                 opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
            )
        };
        let cases = [
            // RFC 7616 section 3.9.1.
            (rfc7616("MD5", "8ca523f5e9506fed4657c9700eebdbec"), "Mufasa", "Circle of Life", "GET"),
            (
                rfc7616("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
                "Mufasa",
                "Circle of Life",
                "GET",
            ),
            // RFC 7616 section 3.9.2 as corrected by erratum 4897: SHA-512/256 instead of a shortened SHA-512.
            (
                "Digest username=\"x\", realm=\"api@example.org\", uri=\"/doe.json\", algorithm=SHA-512-256, \
                 nonce=\"5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK\", nc=00000001, \
                 cnonce=\"NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v\", qop=auth, \
                 response=\"3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5\", \
                 opaque=\"HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS\""
                    .to_owned(),
                "J\u{e4}s\u{f8}n Doe",
                "Secret, or not?",
                "GET",
            ),
            // RFC 2617 section 3.5.
            (
                "Digest username=\"Mufasa\", realm=\"testrealm@host.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", \
                 uri=\"/dir/index.html\", qop=auth, nc=00000001, cnonce=\"0a4f113b\", \
                 response=\"6629fae49393a05397450978507c4ef1\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\""
                    .to_owned(),
                "Mufasa",
                "Circle Of Life",
                "GET",
            ),
        ];
        for (header, user, password, method) in cases {
            let credentials = Credentials::parse(header.as_bytes()).expect("credentials");
            let secret = |p: &str| Ha1::new(credentials.algorithm, user.as_bytes(), &credentials.realm, p.as_bytes());
            let asked = Asked { method: method.as_bytes(), uri: b"ignored", body: b"" };
            assert!(credentials.prove(&secret(password), &asked), "{header}");
            assert!(!credentials.prove(&secret("another"), &asked));
            assert!(!credentials.prove(&secret(password), &Asked { method: b"PUT", ..asked }));
            let challenge = Challenge::parse(header.as_bytes()).expect("the same parameters");
            let (_, _, cnonce) = credentials.shield.as_ref().expect("a qop");
            let asked = Asked { uri: &credentials.uri, ..asked };
            let again = challenge.answer(user.as_bytes(), password.as_bytes(), &asked, 1, cnonce);
            let again = Credentials::parse(&again).expect("credentials");
            assert_eq!(again.response, credentials.response, "{header}");
        }
    }

    #[test]
    fn what_we_answer_to_any_challenge_is_found_right() {
        for (challenge, qop) in [
            ("Digest realm=\"a\", nonce=\"n\"", None),
            ("digest  nonce=\"n\" , REALM=\"a\",qop=\"auth-int\"", Some(Qop::AuthInt)),
            ("Digest realm=\"a\",nonce=\"n\",qop=\"auth-int, auth\",algorithm=sha-256,stale=TRUE", Some(Qop::Auth)),
            ("Digest realm=\"a \\\"b\\\\\", nonce=\"n, m\", qop=auth, algorithm=\"SHA-512-256\", opaque=\"\"", Some(Qop::Auth)),
        ] {
            let parsed = Challenge::parse(challenge.as_bytes()).expect(challenge);
            assert_eq!(parsed.qop, qop, "{challenge}");
            let asked = Asked { method: b"INVITE", uri: b"sip:911@x;user=phone", body: b"v=0" };
            let answer = parsed.answer(b"us\"er", b"p:w\"\\", &asked, 0x1a, b"c1");
            let credentials = Credentials::parse(&answer).expect("credentials");
            assert_eq!((&*credentials.user, &*credentials.realm), (&b"us\"er"[..], &parsed.realm[..]));
            assert_eq!((&*credentials.nonce, &*credentials.uri), (&parsed.nonce[..], asked.uri));
            assert_eq!(credentials.count, qop.map(|_| 26), "nc is hexadecimal");
            let ha1 = Ha1::new(parsed.algorithm, b"us\"er", &parsed.realm, b"p:w\"\\");
            assert!(credentials.prove(&ha1, &asked), "{challenge}");
            let changed = Asked { body: b"v=1", ..asked };
            assert_eq!(credentials.prove(&ha1, &changed), qop != Some(Qop::AuthInt), "{challenge}");
        }
    }

    #[test]
    fn what_is_not_understood_is_none() {
        for none in [
            "Basic realm=\"a\"",
            "Digest",
            "Digest realm=\"a\"",
            "Digest nonce=\"a\"",
            "Digest realm=\"a\", nonce=\"n\", algorithm=MD5-sess",
            "Digest realm=\"a\", nonce=\"n\", algorithm=AKAv1-MD5",
            "Digest realm=\"a\", nonce=\"n\", qop=\"auth-conf\"",
            "Digestrealm=\"a\", nonce=\"n\"",
        ] {
            assert!(Challenge::parse(none.as_bytes()).is_none(), "{none}");
        }
        let whole = "Digest username=\"u\", realm=\"r\", nonce=\"n\", uri=\"sip:x\", response=\"00\", qop=auth, nc=00000001, cnonce=\"c\"";
        assert!(Credentials::parse(whole.as_bytes()).is_some());
        for part in [
            "username=\"u\", ",
            "realm=\"r\", ",
            "nonce=\"n\", ",
            "uri=\"sip:x\", ",
            "response=\"00\", ",
            ", nc=00000001",
            ", cnonce=\"c\"",
        ] {
            assert!(Credentials::parse(whole.replace(part, "").as_bytes()).is_none(), "without {part}");
        }
        for nc in ["g", "", "123456789", "+1", "-1"] {
            assert!(Credentials::parse(whole.replace("00000001", nc).as_bytes()).is_none(), "nc={nc}");
        }
    }

    #[test]
    fn a_challenge_of_ours_is_read_back_and_stale_is_seen() {
        for algorithm in Algorithm::ALL {
            for stale in [false, true] {
                let text = challenge("gw.example.com", "0123", algorithm, stale);
                let parsed = Challenge::parse(text.as_bytes()).expect("a challenge");
                assert_eq!((parsed.algorithm, parsed.stale, parsed.qop), (algorithm, stale, Some(Qop::Auth)));
                assert_eq!((&parsed.realm[..], &parsed.nonce[..]), (&b"gw.example.com"[..], &b"0123"[..]));
            }
        }
    }

    #[test]
    fn nothing_of_a_secret_is_printed() {
        let ha1 = Ha1::new(Algorithm::Md5, b"alice", b"r", b"secret");
        assert_eq!(format!("{ha1:?}"), "Ha1(-)");
    }
}

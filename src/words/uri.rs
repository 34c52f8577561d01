//! URIs as they stand in SIP: `sip:`, `sips:`, `tel:`, `urn:` and any other scheme, as slices of the message.
//!
//! Not a validator: [`Uri::parse`] takes whatever has a scheme, so that an emergency can be recognised in a URI that
//! is wrong somewhere else; [`Uri::is_well_formed`] is the strict question. Nothing is unescaped and nothing is copied.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The scheme of a URI (RFC 3261 section 19.1, RFC 3966, RFC 5031).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:` (RFC 3966)
    Tel,
    /// `urn:` (RFC 8141); `urn:service:` is RFC 5031
    Urn,
    /// Any other scheme: a request for it is answered 416.
    Other,
}

/// A URI in its parts. All slices are raw: escapes stay.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Uri<'a> {
    /// What stands before the first colon, any case.
    pub scheme: Scheme,
    /// The user of `sip:` and `sips:`, still escaped, without password. `None` also where it is empty.
    pub user: Option<&'a [u8]>,
    /// The host; an IPv6 reference keeps its brackets. Of schemes other than `sip:` and `sips:`: everything between
    /// the scheme and the first `;`.
    pub host: &'a [u8],
    /// The port, where one was given and is a number from 1 to 65535.
    pub port: Option<u16>,
    /// The URI parameters without the first `;`.
    pub params: &'a [u8],
    /// The header fields of `sip:` and `sips:` after the `?`.
    pub headers: &'a [u8],
    sound: bool,
}

impl<'a> Uri<'a> {
    /// Takes a URI apart; `None` where there is no scheme or nothing behind it. Brackets (`<>`) do not belong here.
    pub fn parse(b: &'a [u8]) -> Option<Self> {
        let b = b.trim_ascii();
        let colon = memchr::memchr(b':', b)?;
        let (scheme, rest) = (b.get(..colon)?, b.get(colon + 1..)?);
        if rest.is_empty() || !is_scheme(scheme) {
            return None;
        }
        Some(match scheme_of(scheme) {
            scheme @ (Scheme::Sip | Scheme::Sips) => Self::parse_sip(scheme, rest),
            scheme => Self::parse_opaque(scheme, rest),
        })
    }

    /// The value of a URI parameter, any case; `Some(b"")` for one without value.
    pub fn param(&self, name: &str) -> Option<&'a [u8]> {
        self.params.split(|&c| c == b';').find_map(|p| {
            let (key, value) = split_once(p, b'=').unwrap_or((p, b""));
            key.trim_ascii().eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
        })
    }

    /// The address of a host that is an IP literal, with the default port 5060, or 5061 for `sips:` and
    /// `transport=tls` (RFC 3263 section 4.2). `None` for names, and where the port is no port.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        if !self.sound {
            return None;
        }
        let ip = ip_literal(self.host)?;
        let tls = self.scheme == Scheme::Sips || self.param("transport").is_some_and(|t| t.eq_ignore_ascii_case(b"tls"));
        Some(SocketAddr::new(ip, self.port.unwrap_or(if tls { 5061 } else { 5060 })))
    }

    /// Whether a strict reader would take it: no blanks, controls, quotes or brackets anywhere, and for `sip:` and
    /// `sips:` a host by RFC 3261 section 25.1 (underscores let through) and a port that is one.
    /// Bytes above 127 are ordinary input.
    pub fn is_well_formed(&self) -> bool {
        let sip = matches!(self.scheme, Scheme::Sip | Scheme::Sips);
        self.sound
            && is_clean(self.params)
            && is_clean(self.headers)
            && self.user.is_none_or(is_clean)
            && if sip { is_host(self.host) } else { is_clean(self.host) && !self.host.is_empty() }
    }

    fn parse_sip(scheme: Scheme, rest: &'a [u8]) -> Self {
        Self::parse_plain(scheme, rest).unwrap_or_else(|| Self::parse_unusual(scheme, rest))
    }

    /// The commonest shapes, read in one look.
    fn parse_plain(scheme: Scheme, rest: &'a [u8]) -> Option<Self> {
        let (user, host_on) = plain_user(rest);
        let (host, port, tail) = plain_host_port(host_on)?;
        let params = match tail.split_first() {
            None => tail,
            Some((b';', params)) if run_len(params, PARAM) == params.len() => params,
            Some(_) => return None,
        };
        Some(Self { scheme, user, host, port, params, headers: b"", sound: true })
    }

    fn parse_unusual(scheme: Scheme, rest: &'a [u8]) -> Self {
        // RFC 3261 section 25.1: an unescaped `@` ends the userinfo, which may itself contain `;` and `?`.
        let (user, rest) = split_once(rest, b'@').map_or((None, rest), |(user, rest)| (Some(user), rest));
        let (user, password) = user.map_or((None, None), |u| match split_once(u, b':') {
            Some((name, password)) => (Some(name), Some(password)),
            None => (Some(u), None),
        });
        let (host_port, tail) = rest.split_at(host_port_len(rest));
        let (host, port) = split_port(host_port);
        let (params, headers) = split_once(tail, b'?').unwrap_or((tail, b""));
        Self {
            scheme,
            user: user.filter(|u| !u.is_empty()),
            host: host.trim_ascii(),
            port: port.and_then(port_number),
            params: params.strip_prefix(b";").unwrap_or(params),
            headers,
            sound: user.is_none_or(|u| !u.is_empty())
                && password.is_none_or(is_clean)
                && is_clean(host_port)
                && port.is_none_or(|p| port_number(p).is_some()),
        }
    }

    fn parse_opaque(scheme: Scheme, rest: &'a [u8]) -> Self {
        let (host, params) = split_once(rest, b';').unwrap_or((rest, b""));
        Self { scheme, user: None, host, port: None, params, headers: b"", sound: true }
    }
}

impl std::fmt::Debug for Uri<'_> {
    /// Prints the scheme and nothing of the address.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Uri({:?})", self.scheme)
    }
}

/// Splits `host`, `host:port`, `[v6]` or `[v6]:port` before the colon of the port. An unbracketed host with several
/// colons is taken for an IPv6 address without port.
pub(crate) fn split_port(b: &[u8]) -> (&[u8], Option<&[u8]>) {
    let from = if b.starts_with(b"[") { memchr::memchr(b']', b).unwrap_or(b.len()) } else { 0 };
    let behind = b.get(from..).unwrap_or_default();
    match memchr::memchr(b':', behind).map(|i| behind.split_at(i)) {
        Some((_, port)) if memchr::memchr(b':', port.get(1..).unwrap_or_default()).is_none() => {
            (b.get(..b.len() - port.len()).unwrap_or_default(), port.get(1..))
        }
        _ => (b, None),
    }
}

/// A port from 1 to 65535, blanks around it allowed.
pub(crate) fn port_number(b: &[u8]) -> Option<u16> {
    let b = b.trim_ascii();
    if b.is_empty() || b.len() > 8 {
        return None;
    }
    let n = b.iter().try_fold(0u32, |n, c| c.is_ascii_digit().then(|| n * 10 + u32::from(c - b'0')))?;
    u16::try_from(n).ok().filter(|&p| p != 0)
}

/// An IPv4 address, or an IPv6 address with or without brackets.
pub(crate) fn ip_literal(host: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(host).ok()?;
    match text.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None if text.contains(':') => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

/// Whether these bytes are a host name, an IPv4 address or a bracketed IPv6 reference.
pub(crate) fn is_host(host: &[u8]) -> bool {
    match host.first() {
        None => false,
        Some(b'[') => ip_literal(host).is_some(),
        Some(_) => host.iter().all(|&c| CLASS[usize::from(c)] & HOST != 0),
    }
}

/// How many bytes at the beginning are a `sip:` URI of the commonest shape: what is one, is well-formed, and is known for
/// it in one look. `None` says nothing.
pub(crate) fn plain_len(b: &[u8]) -> Option<usize> {
    let (_, host_on) = plain_user(b.strip_prefix(b"sip:")?);
    let (_, _, rest) = plain_host_port(host_on)?;
    let params = if rest.first() == Some(&b';') { run_len(rest, PARAM) } else { 0 };
    let rest = rest.get(params..)?;
    // Anything else that may belong to a URI is for those who look twice.
    rest.first().is_none_or(|&c| CLASS[usize::from(c)] & URI == 0).then_some(b.len() - rest.len())
}

/// The user at the beginning, if there is one that has nothing unusual, and what follows its `@`.
fn plain_user(b: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let (user, rest) = b.split_at(run_len(b, USER));
    match rest.strip_prefix(b"@") {
        Some(rest) if !user.is_empty() => (Some(user), rest),
        _ => (None, b),
    }
}

/// A host name or IPv4 address at the beginning, its port if it has one, and what follows them; `None` says nothing.
pub(crate) fn plain_host_port(b: &[u8]) -> Option<(&[u8], Option<u16>, &[u8])> {
    let (host, rest) = b.split_at(run_len(b, HOST));
    if host.is_empty() {
        return None;
    }
    let Some(port) = rest.strip_prefix(b":") else { return Some((host, None, rest)) };
    let (digits, rest) = port.split_at(port.iter().take_while(|c| c.is_ascii_digit()).count());
    let in_range = matches!(digits.len(), 1..=4) || digits.len() == 5 && digits <= b"65535".as_slice();
    let is_port = in_range && digits.first() != Some(&b'0');
    is_port.then(|| (host, Some(digits.iter().fold(0, |n, c| n * 10 + u16::from(c - b'0'))), rest))
}

fn is_clean(part: &[u8]) -> bool {
    part.iter().all(|&c| CLASS[usize::from(c)] & URI != 0)
}

fn run_len(b: &[u8], class: u8) -> usize {
    b.iter().take_while(|&&c| CLASS[usize::from(c)] & class != 0).count()
}

/// A byte that may stand somewhere in a URI.
const URI: u8 = 1;
/// A byte of a host name.
const HOST: u8 = 2;
/// A byte of a user that ends nothing.
const USER: u8 = 4;
/// A byte of URI parameters that could not belong to anything else.
const PARAM: u8 = 8;

static CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut c = 0;
    while c < 256 {
        let b = c as u8;
        if b > b' ' && !matches!(b, b'"' | b'<' | b'>' | 0x7f) {
            table[c] |= URI;
        }
        if b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_') {
            table[c] |= HOST;
        }
        if table[c] & URI != 0 && !matches!(b, b'@' | b':' | b';' | b'?') {
            table[c] |= USER;
        }
        if table[c] & URI != 0 && !matches!(b, b'@' | b'?') {
            table[c] |= PARAM;
        }
        c += 1;
    }
    table
};

fn host_port_len(rest: &[u8]) -> usize {
    memchr::memchr2(b';', b'?', rest).unwrap_or(rest.len())
}

fn is_scheme(b: &[u8]) -> bool {
    b.first().is_some_and(u8::is_ascii_alphabetic)
        && b.iter().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-' | b'.'))
}

fn scheme_of(b: &[u8]) -> Scheme {
    match b.len() {
        3 if b.eq_ignore_ascii_case(b"sip") => Scheme::Sip,
        4 if b.eq_ignore_ascii_case(b"sips") => Scheme::Sips,
        3 if b.eq_ignore_ascii_case(b"tel") => Scheme::Tel,
        3 if b.eq_ignore_ascii_case(b"urn") => Scheme::Urn,
        _ => Scheme::Other,
    }
}

fn split_once(b: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let i = memchr::memchr(at, b)?;
    Some((b.get(..i)?, b.get(i + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::{Scheme, Uri, plain_len};
    use proptest::prelude::*;

    #[test]
    fn what_is_plain_is_well_formed() {
        for common in ["alice@10.0.0.1:50600;transport=udp", "host", "+14255550123@gw.example.net;user=phone"] {
            assert!(Uri::parse_plain(Scheme::Sip, common.as_bytes()).is_some(), "{common}");
        }
        for (text, want) in [
            ("sip:alice@10.0.0.1:5060;transport=udp>;tag=1", Some(37)),
            ("sip:host", Some(8)),
            ("sip:+1@h;lr", Some(11)),
            ("sip:a@h:5060 x", Some(12)),
            ("sip:a@h:65535;lr", Some(16)),
            ("sip:a@h:65536", None),
            ("sip:a@h:123456", None),
            ("sip:a@h:0", None),
            ("sip:a@h:", None),
            ("sip:a@[::1]", None),
            ("sip:a:pw@h", None),
            ("sip:@h", None),
            ("sip:a@", None),
            ("sip:h;x=a@b", None),
            ("sip:a@h?x=y", None),
            ("sip:a@h,b", None),
            ("sips:a@h", None),
        ] {
            assert_eq!(plain_len(text.as_bytes()), want, "{text}");
            if let Some(n) = want {
                assert!(Uri::parse(&text.as_bytes()[..n]).unwrap().is_well_formed(), "{text}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_read_in_one_look_is_what_the_second_look_reads(text in "[a;:@?.\\[ 0-9]{0,14}(:[0-9]{1,6})?(;[a=@:?]{0,4})?") {
            if let Some(plain) = Uri::parse_plain(Scheme::Sip, text.as_bytes()) {
                prop_assert!(plain == Uri::parse_unusual(Scheme::Sip, text.as_bytes()), "{text}");
            }
        }
    }

    fn parts(text: &str) -> (Scheme, Option<&str>, &str, Option<u16>, &str, &str) {
        let u = Uri::parse(text.as_bytes()).unwrap_or_else(|| panic!("{text}"));
        let s = |b| std::str::from_utf8(b).unwrap();
        (u.scheme, u.user.map(s), s(u.host), u.port, s(u.params), s(u.headers))
    }

    #[test]
    fn a_uri_is_taken_apart_into_its_raw_parts() {
        use Scheme::{Other, Sip, Sips, Tel, Urn};
        for (text, want) in [
            ("sip:911@10.0.0.1:5070;user=phone", (Sip, Some("911"), "10.0.0.1", Some(5070), "user=phone", "")),
            ("SIPS:a%40b:pw@[2001:db8::1]:5061?x=1", (Sips, Some("a%40b"), "[2001:db8::1]", Some(5061), "", "x=1")),
            ("sip:[2001:db8::10:5070]", (Sip, None, "[2001:db8::10:5070]", None, "", "")),
            ("sip:user;par=u%40example.net@example.com", (Sip, Some("user;par=u%40example.net"), "example.com", None, "", "")),
            ("sip:example.com;lr;transport=tcp?a=b", (Sip, None, "example.com", None, "lr;transport=tcp", "a=b")),
            ("tel:+1-425-555-0100;phone-context=x", (Tel, None, "+1-425-555-0100", None, "phone-context=x", "")),
            ("urn:service:sos", (Urn, None, "service:sos", None, "", "")),
            ("soap.beep://192.0.2.103:3002", (Other, None, "//192.0.2.103:3002", None, "", "")),
            ("sip:911@", (Sip, Some("911"), "", None, "", "")),
            ("sip:911@host:port", (Sip, Some("911"), "host", None, "", "")),
            ("sip:@host", (Sip, None, "host", None, "", "")),
        ] {
            assert_eq!(parts(text), want, "{text}");
        }
        for none in ["", "sip", "sip:", ":", "911", "<sip:a@b>", "si p:a@b"] {
            assert!(Uri::parse(none.as_bytes()).is_none(), "{none}");
        }
    }

    #[test]
    fn a_parameter_is_found_in_any_case_and_may_have_no_value() {
        let u = Uri::parse(b"sip:a@b;LR;Transport=TCP;x=").unwrap();
        assert_eq!(
            (u.param("lr"), u.param("transport"), u.param("x"), u.param("y")),
            (Some(&b""[..]), Some(&b"TCP"[..]), Some(&b""[..]), None)
        );
    }

    #[test]
    fn an_ip_literal_is_an_address_with_the_default_port_of_its_transport() {
        for (text, want) in [
            ("sip:10.0.0.1", Some("10.0.0.1:5060")),
            ("sips:a@10.0.0.1", Some("10.0.0.1:5061")),
            ("sip:10.0.0.1;transport=TLS", Some("10.0.0.1:5061")),
            ("sip:[::1]:5080", Some("[::1]:5080")),
            ("sip:host.example.com", None),
            ("sip:10.0.0.1:99999", None),
            ("sip:10.0.0.1:0", None),
            ("sip:[::1", None),
        ] {
            let got = Uri::parse(text.as_bytes()).and_then(|u| u.socket_addr()).map(|a| a.to_string());
            assert_eq!(got.as_deref(), want, "{text}");
        }
    }

    #[test]
    fn the_strict_question_finds_what_the_lenient_reader_lets_through() {
        for good in [
            "sip:911@10.0.0.1",
            "sip:%00@h",
            "sip:jos\u{e9}@h_x",
            "tel:911",
            "urn:service:sos",
            "name:John_Smith",
            "sip:a@[::1];x=[y]",
        ] {
            assert!(Uri::parse(good.as_bytes()).unwrap().is_well_formed(), "{good}");
        }
        for bad in [
            "sip:a@",
            "sip:@h",
            "sip:a@h:x",
            "sip:a@h; lr",
            "sip:a@2001:db8::10",
            "sip:a@[2001:db8]",
            "sip:a b@h",
            "sip:a:p w@h",
            "sip:a@h :5060",
            "sip:a@h: 5060",
            "sip:h ;lr",
            "sip:a:<@h",
            "sip:a@h>",
            "sip:a@h\0",
        ] {
            assert!(!Uri::parse(bad.as_bytes()).unwrap().is_well_formed(), "{bad}");
        }
    }
}

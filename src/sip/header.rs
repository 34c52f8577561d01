//! Header field values: name-addr, Via, lists, parameters, as slices of the message.
//!
//! Not a validator. Every reader here is lenient: it gives what can be found in a value, since an emergency is placed
//! with what could be read (RULES R4); whether a value keeps to the grammar is asked by the scanner, see
//! [`Faults`](crate::sip::scan::Faults). Read [`NameAddr`] and [`Via`] first. Blanks and folds around the parts of a
//! value are ordinary (RFC 3261 section 7.3.1) and never in what is returned.

use std::borrow::Cow;

use crate::words::{block, uri};

/// A `name-addr` or `addr-spec` with its header parameters (RFC 3261 section 20.10): From, To, Contact, Route and their
/// like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// The display name without its quotes, escapes and folds left in; empty if there is none.
    pub display: &'a [u8],
    /// The URI without brackets; `*` for the Contact that removes all bindings.
    pub uri: &'a [u8],
    /// The header parameters without the first `;`.
    pub params: &'a [u8],
}

impl<'a> NameAddr<'a> {
    /// Reads one value. `None` where no URI can be found.
    pub fn parse(v: &'a [u8]) -> Option<Self> {
        let v = v.trim_ascii();
        let quoted_len = quoted_len(v).unwrap_or(0);
        let open = block::position(v.get(quoted_len..)?, b'<').map(|i| i + quoted_len);
        // An unterminated quote swallows the rest: what looks like brackets is then still the address.
        let Some(open) = open.or_else(|| memchr::memrchr(b'<', v).filter(|_| quoted_len == v.len())) else {
            return Self::parse_addr_spec(v);
        };
        let inside = v.get(open + 1..)?;
        let close = block::position(inside, b'>').unwrap_or(inside.len());
        let uri = inside.get(..close)?.trim_ascii();
        let after = inside.get(close + 1..).unwrap_or_default();
        let params = block::position(after, b';').and_then(|i| after.get(i + 1..)).unwrap_or_default();
        (!uri.is_empty()).then(|| Self { display: unquote(v.get(..open).unwrap_or_default()), uri, params: params.trim_ascii() })
    }

    /// The value of a header parameter, any case; `Some(b"")` for one without value.
    pub fn param(&self, name: &str) -> Option<&'a [u8]> {
        param(self.params, name)
    }

    /// The tag of a From or To; `None` also where it is empty.
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.param("tag").filter(|t| !t.is_empty())
    }

    /// Without brackets a `;` ends the URI: what follows are header parameters (RFC 3261 section 20).
    fn parse_addr_spec(v: &'a [u8]) -> Option<Self> {
        let end = block::position(v, b';').unwrap_or(v.len());
        let (uri, params) = (v.get(..end)?.trim_ascii(), v.get(end + 1..).unwrap_or_default().trim_ascii());
        (!uri.is_empty() && !uri.starts_with(b"\"")).then_some(Self { display: b"", uri, params })
    }
}

impl std::fmt::Debug for NameAddr<'_> {
    /// Prints nothing of the address.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NameAddr(-)")
    }
}

/// One hop of a Via (RFC 3261 section 20.42).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Via<'a> {
    /// `UDP`, `TCP`, `TLS`, `WS`, `WSS` or whatever was written, in its case.
    pub transport: &'a [u8],
    /// The host of sent-by; an IPv6 reference keeps its brackets.
    pub host: &'a [u8],
    /// The port of sent-by, where one was given and is a number from 1 to 65535.
    pub port: Option<u16>,
    /// The parameters without the first `;`.
    pub params: &'a [u8],
}

impl<'a> Via<'a> {
    /// Reads the first hop of a Via value. `None` where there is no `SIP/2.0/transport` or no host.
    pub fn parse(v: &'a [u8]) -> Option<Self> {
        Self::parse_plain(v).or_else(|| Self::parse_hop(values(v).next()?))
    }

    /// The commonest shape, read in one look: one hop, a blank where one must be and nowhere else.
    fn parse_plain(v: &'a [u8]) -> Option<Self> {
        let rest = v.strip_prefix(b"SIP/2.0/")?;
        let (transport, rest) = rest.split_at(block::position(rest, b' ')?);
        let (host, port, tail) = uri::plain_host_port(rest.get(1..)?)?;
        let params = match tail.split_first() {
            None => tail,
            Some((b';', params)) if memchr::memchr3(b',', b'"', b'<', params).is_none() => params.trim_ascii_end(),
            Some(_) => return None,
        };
        let is_token = !transport.is_empty() && transport.iter().all(u8::is_ascii_alphanumeric);
        is_token.then_some(Self { transport, host, port, params })
    }

    /// Reads one hop of a list that is split already.
    pub(super) fn parse_hop(v: &'a [u8]) -> Option<Self> {
        let first = memchr::memchr(b'/', v)?;
        let second = first + 1 + memchr::memchr(b'/', v.get(first + 1..)?)?;
        if !v.get(..first)?.trim_ascii().eq_ignore_ascii_case(b"SIP") {
            return None;
        }
        let rest = v.get(second + 1..)?.trim_ascii_start();
        let end = rest.iter().position(u8::is_ascii_whitespace)?;
        let (transport, rest) = (rest.get(..end)?, rest.get(end..)?.trim_ascii_start());
        let semi = memchr::memchr(b';', rest).unwrap_or(rest.len());
        let (host, port) = uri::split_port(rest.get(..semi)?.trim_ascii());
        let (host, params) = (host.trim_ascii(), rest.get(semi + 1..).unwrap_or_default());
        (!transport.is_empty() && !host.is_empty()).then(|| Self {
            transport,
            host,
            port: port.and_then(uri::port_number),
            params,
        })
    }

    /// The branch; `None` also where it is empty.
    pub fn branch(&self) -> Option<&'a [u8]> {
        self.param("branch").filter(|b| !b.is_empty())
    }

    /// A parameter, any case; `Some(b"")` for one without value.
    pub fn param(&self, name: &str) -> Option<&'a [u8]> {
        param(self.params, name)
    }

    /// Whether there is an `rport` without value: the request to answer to the source port (RFC 3581 section 3).
    pub fn has_rport_empty(&self) -> bool {
        self.param("rport").is_some_and(<[u8]>::is_empty)
    }

    /// The port of a filled `rport` (RFC 3581 section 4).
    pub fn rport(&self) -> Option<u16> {
        self.param("rport").and_then(uri::port_number)
    }

    /// The address of `received`, with or without brackets (RFC 5118 section 4.5).
    pub fn received(&self) -> Option<std::net::IpAddr> {
        self.param("received").and_then(uri::ip_literal)
    }
}

impl std::fmt::Debug for Via<'_> {
    /// Prints the transport and nothing of the address.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Via({})", String::from_utf8_lossy(self.transport))
    }
}

/// The values of a comma-separated list, trimmed, empty ones left out. Commas inside quotes and brackets separate
/// nothing.
pub fn values(v: &[u8]) -> impl Iterator<Item = &[u8]> {
    pieces(v, b',').map(<[u8]>::trim_ascii).filter(|p| !p.is_empty())
}

/// The value of a `;`-separated parameter, any case, without its quotes; `Some(b"")` for one without value.
pub fn param<'a>(params: &'a [u8], name: &str) -> Option<&'a [u8]> {
    params_of(params).find(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| unquote(value))
}

/// All `;`-separated parameters as key and raw value (quotes left on), trimmed; the value of one without `=` is empty.
pub fn params_of(params: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    pieces(params, b';').map(key_value).filter(|(key, _)| !key.is_empty())
}

/// A parameter of a challenge or of credentials, without its quotes: `Digest realm="x", nonce="y"` (RFC 3261
/// section 20.7). Any case.
pub fn auth_param<'a>(v: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let v = v.trim_ascii();
    let scheme = v.iter().position(u8::is_ascii_whitespace).unwrap_or(v.len());
    let found = values(v.get(scheme..)?).map(key_value).find(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes()));
    found.map(|(_, value)| unquote(value))
}

/// The value on one line: every fold becomes one blank (RFC 3261 section 7.3.1).
pub fn unfold(v: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'\r', b'\n', v).is_none() {
        return Cow::Borrowed(v);
    }
    let mut out = Vec::with_capacity(v.len());
    for line in v.split(|&c| c == b'\n' || c == b'\r').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()) {
        if !out.is_empty() {
            out.push(b' ');
        }
        out.extend_from_slice(line);
    }
    Cow::Owned(out)
}

/// Whether a comma-separated list names this token, any case; parameters of the list's members do not matter.
pub fn token_in_list(v: &[u8], token: &str) -> bool {
    values(v).any(|m| m.split(|&c| c == b';').next().is_some_and(|t| t.trim_ascii().eq_ignore_ascii_case(token.as_bytes())))
}

/// A decimal number that fits, nothing else around it but blanks. Leading zeros are fine.
pub fn number(v: &[u8]) -> Option<u32> {
    let v = v.trim_ascii();
    let digit = |n: u32, c: &u8| n.checked_mul(10)?.checked_add(u32::from(c.is_ascii_digit().then(|| c - b'0')?));
    if v.is_empty() { None } else { v.iter().try_fold(0, digit) }
}

/// The delta-seconds at the beginning of Expires, Session-Expires, Min-SE or Retry-After; parameters and comments
/// behind it are left aside, a larger number reads as `u32::MAX` (RFC 3261 section 20.19).
pub fn seconds(v: &[u8]) -> Option<u32> {
    let v = v.trim_ascii();
    let digits = v.iter().take_while(|c| c.is_ascii_digit()).count();
    let delimited = v.get(digits).is_none_or(|c| c.is_ascii_whitespace() || matches!(c, b';' | b'('));
    (digits > 0 && delimited).then(|| number(v.get(..digits).unwrap_or_default()).unwrap_or(u32::MAX))
}

/// The length of the quoted string at the beginning, quotes included; to the end where it is not terminated.
pub(super) fn quoted_len(v: &[u8]) -> Option<usize> {
    (v.first() == Some(&b'"')).then(|| closed_quoted_len(v).unwrap_or(v.len()))
}

/// The same; `None` where it is not terminated.
pub(super) fn closed_quoted_len(v: &[u8]) -> Option<usize> {
    let mut i = 1;
    while let Some(&c) = v.get(i) {
        match c {
            b'"' => return Some(i + 1),
            b'\\' => i += 2,
            _ => i += 1,
        }
    }
    None
}

/// The first value of a comma-separated list, and the rest of the list.
pub fn first_value(v: &[u8]) -> (&[u8], &[u8]) {
    let end = piece_len(v, b',');
    (v.get(..end).unwrap_or_default().trim_ascii(), v.get(end + 1..).unwrap_or_default().trim_ascii())
}

/// The pieces of a value between its semicolons, quotes and brackets respected, each as it stands.
pub fn split_params(v: &[u8]) -> impl Iterator<Item = &[u8]> {
    pieces(v, b';')
}

/// Whether a Via's host is this address.
pub fn host_is(host: &[u8], ip: std::net::IpAddr) -> bool {
    let bare = host.strip_prefix(b"[").and_then(|h| h.strip_suffix(b"]")).unwrap_or(host);
    std::str::from_utf8(bare).is_ok_and(|h| h.parse() == Ok(ip))
}

/// Splits at a separator that stands outside quotes and brackets.
fn pieces(v: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(v);
    std::iter::from_fn(move || {
        let v = rest?;
        let end = piece_len(v, separator);
        rest = v.get(end + 1..);
        v.get(..end)
    })
}

fn piece_len(v: &[u8], separator: u8) -> usize {
    let mut at = 0;
    while let Some(i) = v.get(at..).and_then(|rest| memchr::memchr3(separator, b'"', b'<', rest)) {
        at += i;
        let rest = v.get(at..).unwrap_or_default();
        at += match rest.first() {
            Some(b'"') => quoted_len(rest).unwrap_or(1),
            Some(b'<') => memchr::memchr(b'>', rest).map_or(1, |n| n + 1),
            _ => return at,
        };
    }
    v.len()
}

fn key_value(p: &[u8]) -> (&[u8], &[u8]) {
    let eq = memchr::memchr(b'=', p).unwrap_or(p.len());
    (p.get(..eq).unwrap_or_default().trim_ascii(), p.get(eq + 1..).unwrap_or_default().trim_ascii())
}

fn unquote(v: &[u8]) -> &[u8] {
    let v = v.trim_ascii();
    v.strip_prefix(b"\"").map_or(v, |inner| inner.strip_suffix(b"\"").unwrap_or(inner))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(b: &[u8]) -> &str {
        std::str::from_utf8(b).unwrap()
    }

    #[test]
    fn a_name_addr_is_read_in_every_form() {
        for (value, display, uri, tag) in [
            ("<sip:a@b>;tag=1", "", "sip:a@b", Some("1")),
            ("sip:a@b;tag=1;x", "", "sip:a@b", Some("1")),
            ("\"A, <B>; \\\" C\" <sip:a@b;lr?x=1>;TAG = 2", "A, <B>; \\\" C", "sip:a@b;lr?x=1", Some("2")),
            ("Alice B.<sip:a@b>", "Alice B.", "sip:a@b", None),
            ("sip:vivekg@chair ;   tag    = 1918", "", "sip:vivekg@chair", Some("1918")),
            ("\"J R\"\r\n <sip:j@e>\r\n  ;\r\n  tag = 98", "J R", "sip:j@e", Some("98")),
            ("\"Mr. J. User <sip:j@e>", "Mr. J. User", "sip:j@e", None),
            ("<sip:a@b", "", "sip:a@b", None),
            ("*", "", "*", None),
            ("urn:service:sos", "", "urn:service:sos", None),
            ("<sip:a@b>;tag=", "", "sip:a@b", None),
            ("<sip:a@b>;x=\"a;tag=9\";tag=3", "", "sip:a@b", Some("3")),
        ] {
            let n = NameAddr::parse(value.as_bytes()).unwrap_or_else(|| panic!("{value}"));
            assert_eq!((text(n.display), text(n.uri), n.tag().map(text)), (display, uri, tag), "{value}");
        }
        for none in ["", "<>", "\"\" <>", ";tag=1", "\"only a name\"", "\""] {
            assert!(NameAddr::parse(none.as_bytes()).is_none(), "{none}");
        }
    }

    #[test]
    fn a_via_is_read_in_every_form() {
        for (value, transport, host, port, branch) in [
            ("SIP/2.0/UDP 10.0.0.1:5062;rport;branch=z9hG4bK1", "UDP", "10.0.0.1", Some(5062), Some("z9hG4bK1")),
            ("SIP  /    2.0   / UDP  192.168.255.111   ; branch=\r\n z9", "UDP", "192.168.255.111", None, Some("z9")),
            ("SIP  /   2.0\r\n /UDP\r\n    192.0.2.2;branch=390", "UDP", "192.0.2.2", None, Some("390")),
            ("SIP/2.0/TLS [2001:db8::9:1]:5061;branch=x", "TLS", "[2001:db8::9:1]", Some(5061), Some("x")),
            ("SIP/2.0/UDP [2001:db8::9:1];branch=x", "UDP", "[2001:db8::9:1]", None, Some("x")),
            ("SIP/2.0/UDP h :4054 ;ttl=16", "UDP", "h", Some(4054), None),
            ("SIP/2.0/TCP a;branch=1, SIP/2.0/UDP b;branch=2", "TCP", "a", None, Some("1")),
        ] {
            let v = Via::parse(value.as_bytes()).unwrap_or_else(|| panic!("{value}"));
            assert_eq!(
                (text(v.transport), text(v.host), v.port, v.branch().map(text)),
                (transport, host, port, branch),
                "{value}"
            );
        }
        assert!(Via::parse_plain(b"SIP/2.0/UDP 10.0.0.1:50600;rport;branch=z9hG4bK1").is_some(), "it takes one look");
        for none in ["", "SIP/2.0/UDP", "SIP/2.0/UDP ", "SIP/2.0 h", "HTTP/1.1/TCP h", "SIP/2.0/UDP ;branch=1"] {
            assert!(Via::parse(none.as_bytes()).is_none(), "{none}");
        }
    }

    proptest! {
        #[test]
        fn a_via_is_read_in_one_look_as_the_second_look_reads_it(
            text in r#"SIP/2\.0/[UDP /]{0,5} [h.:\[ ]{0,4}(:[0-9]{1,6})?( ?;[b=:"<, ]{0,5}){0,2}"#,
        ) {
            if let Some(plain) = Via::parse_plain(text.as_bytes()) {
                prop_assert!(Some(plain) == values(text.as_bytes()).next().and_then(Via::parse_hop), "{text}");
            }
        }
    }

    #[test]
    fn rport_and_received_are_read_with_and_without_value() {
        let v = Via::parse(b"SIP/2.0/UDP a;rport;received=[::1]").unwrap();
        assert!(v.has_rport_empty() && v.rport().is_none() && v.received().is_some_and(|ip| ip.is_ipv6()));
        let v = Via::parse(b"SIP/2.0/UDP a;rport=5070;received=10.0.0.9").unwrap();
        assert!(!v.has_rport_empty() && v.rport() == Some(5070) && v.received().is_some_and(|ip| ip.is_ipv4()));
    }

    #[test]
    fn a_list_is_split_outside_quotes_and_brackets() {
        let list: Vec<_> = values(b" \"a,b\" <sip:x,y@z>;p=\"1,2\" ,, c ,\r\n d").map(text).collect();
        assert_eq!(list, ["\"a,b\" <sip:x,y@z>;p=\"1,2\"", "c", "d"]);
        assert_eq!(values(b"").count(), 0);
        assert_eq!(values(b"a, \"open, b").map(text).collect::<Vec<_>>(), ["a", "\"open, b"]);
    }

    #[test]
    fn parameters_lose_their_quotes_and_their_blanks() {
        let p = b" a ; B = \" x;y \" ;+sip.instance=\"<urn:uuid:1>\";;c=";
        assert_eq!(param(p, "a"), Some(&b""[..]));
        assert_eq!(param(p, "b"), Some(&b" x;y "[..]));
        assert_eq!(param(p, "+SIP.instance"), Some(&b"<urn:uuid:1>"[..]));
        assert_eq!(param(p, "c"), Some(&b""[..]));
        assert_eq!(param(p, "d"), None);
    }

    #[test]
    fn an_auth_parameter_is_found_behind_the_scheme() {
        let v = b"Digest realm=\"a, b\", NONCE=\"x==\",\r\n qop=auth";
        assert_eq!(auth_param(v, "realm"), Some(&b"a, b"[..]));
        assert_eq!(auth_param(v, "nonce"), Some(&b"x=="[..]));
        assert_eq!(auth_param(v, "qop"), Some(&b"auth"[..]));
        assert_eq!(auth_param(v, "opaque"), None);
    }

    #[test]
    fn folds_become_one_blank() {
        assert!(matches!(unfold(b"a b"), Cow::Borrowed(_)));
        assert_eq!(unfold(b"a \r\n   b\n\tc"), &b"a b c"[..]);
        assert_eq!(unfold(b"\r\n a"), &b"a"[..]);
    }

    #[test]
    fn a_token_is_a_whole_member_of_its_list() {
        assert!(token_in_list(b"timer, 100REL", "100rel"));
        assert!(token_in_list(b"text/plain;q=0.1, application/sdp;q=1", "application/sdp"));
        assert!(!token_in_list(b"100relx, x100rel", "100rel"));
    }

    #[test]
    fn numbers_are_decimal_and_seconds_are_bounded() {
        assert_eq!((number(b" 0070 "), number(b"-1"), number(b"4294967296"), number(b"")), (Some(70), None, None, None));
        assert_eq!(
            (seconds(b"90;refresher=uac"), seconds(b"18000;duration=3600"), seconds(b"120 (later)")),
            (Some(90), Some(18000), Some(120))
        );
        assert_eq!((seconds(b"949302838503028349304023988"), seconds(b"x"), seconds(b"12x")), (Some(u32::MAX), None, None));
    }
}

//! The strict questions: does a value keep to the grammar of RFC 3261 section 25.1?
//!
//! Nothing is taken from a value here. Bytes above 127, unknown parameters, parameters without value and one `;` too many
//! are ordinary input.

use super::line::{is_token, token_len};
use crate::sip::header::{NameAddr, Via, closed_quoted_len, values};
use crate::words::{Uri, uri};

/// A Request-URI. Unknown schemes are not wrong (416 is the answer to them), header fields are.
pub(in crate::sip) fn is_request_uri(b: &[u8]) -> bool {
    uri::plain_len(b) == Some(b.len()) || is_unusual_request_uri(b)
}

fn is_unusual_request_uri(b: &[u8]) -> bool {
    // The whole of it: around what is read of a URI blanks are let through.
    b == b.trim_ascii() && Uri::parse(b).is_some_and(|u| u.is_well_formed() && u.headers.is_empty())
}

/// A `name-addr` or `addr-spec` with parameters.
pub(in crate::sip) fn is_name_addr(v: &[u8]) -> bool {
    plain_name_addr(v).is_some() || is_unusual_name_addr(v)
}

/// Whether a From or To is such a value, and its tag, which may be found in a wrong one as well.
pub(super) fn tagged_name_addr(v: &[u8]) -> (bool, Option<&[u8]>) {
    match plain_name_addr(v) {
        Some(Plain { tag }) => (true, tag.filter(|tag| !tag.is_empty())),
        None => (is_unusual_name_addr(v), NameAddr::parse(v).and_then(|n| n.tag())),
    }
}

/// A value that was known in one look.
struct Plain<'a> {
    /// The value of its first `tag`; empty where that has none.
    tag: Option<&'a [u8]>,
}

/// The commonest shapes, known in one look: `"A" <sip:a@b>;tag=1`, `A <sip:a@b>`, `<sip:a@b>`.
fn plain_name_addr(v: &[u8]) -> Option<Plain<'_>> {
    let rest = match v.strip_prefix(b"\"") {
        Some(quoted) => {
            let end = quoted.iter().position(|&c| matches!(c, b'"' | b'\\'))?;
            quoted.get(end..)?.strip_prefix(b"\"")?.trim_ascii_start()
        }
        None => v.get(v.iter().take_while(|&&c| is_token(c) || c == b' ').count()..)?,
    };
    let inside = rest.strip_prefix(b"<")?;
    let behind = inside.get(uri::plain_len(inside)?..)?.strip_prefix(b">")?;
    plain_params(behind)
}

/// `*(SEMI token [EQUAL token])` without blanks.
fn plain_params(mut p: &[u8]) -> Option<Plain<'_>> {
    let mut tag = None;
    while let Some(param) = p.strip_prefix(b";") {
        let (key, rest) = param.split_at(token_len(param));
        let (value, rest) = match rest.strip_prefix(b"=") {
            Some(value) => value.split_at(Some(token_len(value)).filter(|len| *len > 0)?),
            None => (rest.get(..0)?, rest),
        };
        if key.is_empty() {
            return None;
        }
        if tag.is_none() && key.eq_ignore_ascii_case(b"tag") {
            tag = Some(value);
        }
        p = rest;
    }
    p.is_empty().then_some(Plain { tag })
}

fn is_unusual_name_addr(v: &[u8]) -> bool {
    let quoted = if v.starts_with(b"\"") { closed_quoted_len(v) } else { Some(0) };
    let Some(quoted) = quoted else { return false };
    let rest = v.get(quoted..).unwrap_or_default().trim_ascii_start();
    if quoted > 0 && rest.first() != Some(&b'<') {
        return false;
    }
    let Some(open) = memchr::memchr(b'<', rest) else {
        let end = memchr::memchr(b';', rest).unwrap_or(rest.len());
        let uri = rest.get(..end).unwrap_or_default().trim_ascii();
        return memchr::memchr2(b'?', b',', uri).is_none() && is_address(uri) && are_params(rest.get(end..).unwrap_or_default());
    };
    let (display, inside) = (rest.get(..open).unwrap_or_default(), rest.get(open + 1..).unwrap_or_default());
    let Some(close) = memchr::memchr(b'>', inside) else { return false };
    memchr::memchr2(b'"', b';', display).is_none()
        && is_address(inside.get(..close).unwrap_or_default())
        && are_params(inside.get(close + 1..).unwrap_or_default())
}

/// The values of a Contact: `*`, or addresses.
pub(super) fn is_contact(v: &[u8]) -> bool {
    plain_name_addr(v).is_some() || v == b"*" || has_values_that(v, is_name_addr)
}

/// The hops of a Via.
pub(super) fn is_via(v: &[u8]) -> bool {
    plain_via(v).is_some() || is_unusual_via(v)
}

/// The commonest shape, known in one look: one hop, a blank where one must be and nowhere else.
fn plain_via(v: &[u8]) -> Option<Plain<'_>> {
    let rest = v.strip_prefix(b"SIP/2.0/")?;
    let transport = token_len(rest);
    let host = rest.get(transport..).filter(|_| transport > 0)?.strip_prefix(b" ")?;
    plain_params(uri::plain_host_port(host)?.2)
}

fn is_unusual_via(v: &[u8]) -> bool {
    has_values_that(v, is_hop)
}

/// Whether there is a value in a list, and each is so: commas alone are none.
fn has_values_that(v: &[u8], is_so: impl Fn(&[u8]) -> bool) -> bool {
    let mut values = values(v).peekable();
    values.peek().is_some() && values.all(is_so)
}

/// A Call-ID: one word without blanks or controls. Laxer than the grammar, as everybody is.
pub(in crate::sip) fn is_call_id(v: &[u8]) -> bool {
    !v.iter().any(|&c| c <= b' ' || c == 0x7f)
}

fn is_hop(v: &[u8]) -> bool {
    let Some(via) = Via::parse_hop(v) else { return false };
    let Some(semi) = memchr::memchr(b';', v) else { return is_sent_by(&via, v) };
    is_sent_by(&via, v.get(..semi).unwrap_or_default()) && are_params(v.get(semi..).unwrap_or_default())
}

/// Whether transport, host and port are what they should be; `v` is the hop without its parameters.
fn is_sent_by(via: &Via<'_>, v: &[u8]) -> bool {
    let behind_host = memchr::memrchr(b']', v).map_or(v, |i| v.get(i..).unwrap_or_default());
    let port_is_sound = via.port.is_some() || memchr::memchr(b':', behind_host).is_none();
    via.transport.iter().all(|&c| is_token(c)) && uri::is_host(via.host) && port_is_sound
}

/// A URI inside a header field: any scheme, blanks around it let through.
fn is_address(b: &[u8]) -> bool {
    Uri::parse(b).is_some_and(|u| u.is_well_formed())
}

/// `*(SEMI generic-param)`; a doubled `;`, and one at the end, are let through.
fn are_params(mut p: &[u8]) -> bool {
    loop {
        p = match after_semi(p) {
            Ok(rest) => after_semi(rest).unwrap_or(rest),
            Err(rest) => return rest.is_empty(),
        };
        if p.is_empty() {
            return true;
        }
        let key = token_len(p);
        if key == 0 {
            return false;
        }
        p = p.get(key..).unwrap_or_default().trim_ascii_start();
        if let Some(value) = p.strip_prefix(b"=") {
            let value = value.trim_ascii_start();
            p = value.get(value_len(value)..).unwrap_or_default();
        }
    }
}

/// What follows a `;`, or what stands there instead of one; blanks around left out.
fn after_semi(p: &[u8]) -> Result<&[u8], &[u8]> {
    let p = p.trim_ascii_start();
    p.strip_prefix(b";").map(<[u8]>::trim_ascii_start).ok_or(p)
}

/// A token, host or quoted string; what neighbours put into parameters beside these (`/`, `[`, `@`, `:`) is let through.
fn value_len(v: &[u8]) -> usize {
    match v.first() {
        Some(b'"') => closed_quoted_len(v).unwrap_or(0),
        _ => match token_len(v) {
            whole if v.get(whole).is_none_or(|&c| c == b';') => whole,
            _ => v.iter().take_while(|&&c| c > b' ' && !matches!(c, b';' | b',' | b'"' | b'<' | b'>' | b'?')).count(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_keep_to_the_grammar() {
        for good in [
            "sip:a@b",
            "<sip:a@b;x?h=1>;tag=1",
            "\"Quoted string \\\"\\\"\" <sip:j@e> ; newparam =\r\n newvalue ;\r\n secondparam ; q = 0.33",
            "Alice B. <sip:a@b>",
            "Bell, Alexander <sip:a@b>;tag=43",
            "isbn:2983792873",
            "<tel:+1425;phone-context=x>;+sip.instance=\"<urn:uuid:1>\"",
            "J\u{f6}rg <sip:a@b>;",
            "sip:vivekg@chair ;   tag    = 1918",
            "<sip:a@b>; reg-id=1;\r\n ;+sip.instance=\"<urn:uuid:1>\"",
            "<sip:a@[::1]:5060>;x=[::1]:1/2",
        ] {
            assert!(is_name_addr(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "\"Mr. J. User <sip:a@b>",
            "\"a\" \"b\"<sip:a@b>",
            "\"a\" sip:a@b",
            "<sip:a@b",
            "<>",
            "sip:",
            "alice",
            "\"Joe\" <sip:joe@example.org>;;;;",
            "<sip:a@b> junk",
            "sip:a@b?x=y",
            "<sip:a@b>;=1",
            "<sip:a@b>;x=\"1",
            "<sip:a@b>;x=\"1\\\"",
            "\"A\\\" <sip:a@b>",
            "sip:a b@c",
        ] {
            assert!(!is_name_addr(bad.as_bytes()), "{bad}");
        }
        assert!(
            is_contact(b"*") && is_contact(b"<sip:a@b>, sip:c@d;q=1") && !is_contact(b"\"\" <> ;, <sip:a@b>") && !is_contact(b"")
        );
    }

    #[test]
    fn a_tag_is_found_in_whatever_shape_its_address_has() {
        for (value, sound, tag) in [
            ("<sip:a@b>;tag=1", true, Some("1")),
            ("\"A\" <sip:a@b:50600>;x;TAG=1;tag=2", true, Some("1")),
            ("<sip:a@b>;tag", true, None),
            ("<sip:a@b>;tag;tag=2", true, None),
            ("<sip:a@b>;tagged=1", true, None),
            ("sip:a@b;tag=1", true, Some("1")),
            ("<sip:a@b> ; tag = 1", true, Some("1")),
            ("<sip:a@[::1]>;x=\";tag=9\";tag=1", true, Some("1")),
            ("<sip:a b@c>;tag=1", false, Some("1")),
            ("<sip:a@b>;=;tag=1", false, Some("1")),
        ] {
            let (is_sound, found) = tagged_name_addr(value.as_bytes());
            assert_eq!((is_sound, found.map(|t| std::str::from_utf8(t).unwrap())), (sound, tag), "{value}");
            assert_eq!(NameAddr::parse(value.as_bytes()).and_then(|n| n.tag()), found, "{value}");
        }
    }

    #[test]
    fn hops_keep_to_the_grammar() {
        for good in [
            "SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK1;rport",
            "SIP/2.0/UDP host",
            "SIP  / 2.0  / TCP     spindle.example.com   ;\r\n  branch  =   z9  ,\r\n SIP  /    2.0   / UDP  192.168.255.111   ; branch=\r\n z9",
            "SIP/2.0/UDP [2001:db8::9:1]:5060;received=[2001:db8::9:255]; branch=x",
            "SIP/2.0/UDP [::1];received=2001:db8::1",
            "SIP/2.0/WSS df7jal23ls0d.invalid;branch=z9",
            "SIP/2.0/UDP my.ex.fr :4054 ;ttl=16",
        ] {
            assert!(is_via(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "SIP/2.0/UDP",
            "SIP/2.0/UDP 192.0.2.15;;,;,,",
            "SIP/2.0/UDP h:99999",
            "SIP/2.0/UDP h:x;branch=1",
            "SIP/2.0/UDP h:h",
            "SIP/2.0/UDP 2001:db8::1",
            "SIP/2.0/UDP a b",
        ] {
            assert!(!is_via(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn a_request_uri_is_of_any_scheme_but_has_no_headers() {
        for good in ["sip:a@b", "urn:service:sos", "tel:911", "soap.beep://192.0.2.103:3002", "sip:vivekg@chair;unknownparam"] {
            assert!(is_request_uri(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "911",
            "urn:ser\u{7f}ice:sos",
            " tel:911",
            "sip:a@b?Route=%3Csip:c%3E",
            "sip:a@b; lr",
            "sip:2001:db8::10",
            "sip:@@b",
            "tel:9 11",
        ] {
            assert!(!is_request_uri(bad.as_bytes()), "{bad}");
        }
    }
}

//! One value each: durations, addresses, numbers, sources, URIs. Text in, a value or what is wrong out.
//!
//! The messages tell what to write and repeat nothing of what stood there: it may be a number or an address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use regex::Regex;

use super::address::{HostPort, SipTarget, Source, Transport};
use super::model::Contacts;
use super::range::{Brought, NumberRange};
use crate::emergency::notice::is_same_address;
use crate::io::dns::{Question, Speech};
use crate::words::{Country, E164, Private};

/// More numbers in one range are a slip of the pen: the North American plan gives out blocks of 10,000.
const RANGE_MAX: u64 = 1_000_000;

/// Whatever is not empty and has no control characters.
pub(super) fn words(text: &str) -> Result<String, String> {
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        return Err("must not be empty, nor hold control characters".to_owned());
    }
    Ok(text.to_owned())
}

/// A name that may stand in a log line, a metric and a variable: letters, digits, `-`, `_`, `.`.
pub(super) fn name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 64 || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        return Err("must be 1 to 64 letters, digits, '-', '_' or '.'".to_owned());
    }
    Ok(text.to_owned())
}

/// `1500ms`, `90s`, `60m`, `24h`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "must be a duration as 1500ms, 90s, 60m or 24h".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(wrong)
}

/// ISO 3166-1 alpha-2.
pub(super) fn country(text: &str) -> Result<Country, String> {
    Country::parse(text).ok_or_else(|| "must be a country as US, two capital letters of ISO 3166".to_owned())
}

/// `+14255550100`
pub(super) fn number(text: &str) -> Result<E164, String> {
    E164::parse(text).ok_or_else(|| "must be a number as +14255550100: '+' and 7 to 15 digits".to_owned())
}

/// `+14255550100-+14255550149`, or a single number.
pub(super) fn range(text: &str) -> Result<NumberRange, String> {
    let Some((first, last)) = text.split_once('-') else {
        return number(text).map(|n| NumberRange { first: n, last: n });
    };
    let (Some(first), Some(last)) = (E164::parse(first.trim()), E164::parse(last.trim())) else {
        return Err("must be a range as +14255550100-+14255550149: both ends with '+' and 7 to 15 digits".to_owned());
    };
    if first > last || first.digits().ilog10() != last.digits().ilog10() {
        return Err("the range must go upwards, between numbers of the same length".to_owned());
    }
    let range = NumberRange { first, last };
    if range.count() > RANGE_MAX {
        return Err(format!("the range holds more than {RANGE_MAX} numbers"));
    }
    Ok(range)
}

/// A prefix `+1425`, or a range.
pub(super) fn brought(text: &str) -> Result<Brought, String> {
    if text.contains('-') {
        return range(text).map(Brought::Range);
    }
    let digits = text
        .strip_prefix('+')
        .filter(|d| (1..=15).contains(&d.len()) && d.bytes().all(|b| b.is_ascii_digit()) && !d.starts_with('0'));
    let prefix = digits.and_then(|d| d.parse().ok());
    prefix.map(Brought::Prefix).ok_or_else(|| "must be a prefix as +1425555, or a range as +14255550100-+14255550149".to_owned())
}

/// A pattern of a voice route.
pub(super) fn pattern(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|e| {
        let last = e.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        format!("is not a regular expression: {last}")
    })
}

/// `host:port` with a literal host, IPv6 in brackets.
pub(super) fn socket(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "must be an address and a port as 0.0.0.0:5060 or [::]:5060".to_owned())
}

/// An IP address, IPv6 without brackets.
pub(super) fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "must be an address as 203.0.113.7 or 2001:db8::7".to_owned())
}

/// `20000-29999`: ports that RTP may use, two at least.
pub(super) fn ports(text: &str) -> Result<(u16, u16), String> {
    let parsed = text.split_once('-').and_then(|(low, high)| Some((low.trim().parse().ok()?, high.trim().parse().ok()?)));
    match parsed {
        Some((low, high)) if low < 1024 && low < high => Err("must lie above 1023".to_owned()),
        Some((low, high)) if low < high => Ok((low, high)),
        _ => Err("must be two ports as 20000-29999, the lower one first".to_owned()),
    }
}

/// `host` or `host:port`; the host a name or an address, IPv6 in brackets.
pub(super) fn host_port(text: &str) -> Result<HostPort, String> {
    let wrong = || "must be a host as sip.example.com:5060, 192.0.2.1 or [2001:db8::1]:5060".to_owned();
    let (host, port) = split_port(text).ok_or_else(wrong)?;
    if literal(host).is_none() && !is_name(host) {
        return Err(wrong());
    }
    Ok(HostPort { host: host.to_owned(), port })
}

/// A host for From: a name or an address, without a port.
pub(super) fn domain(text: &str) -> Result<String, String> {
    match host_port(text) {
        Ok(HostPort { host, port: None }) => Ok(host),
        _ => Err("must be a host as gw1.example.com, without a port".to_owned()),
    }
}

/// What tells that a call comes from a neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Its address.
    Address(Source),
    /// A name of its certificate, lower case.
    Certificate(String),
}

/// A host, a CIDR, `host:port`, or a name of a TLS certificate.
pub(super) fn source(text: &str) -> Result<Mark, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Mark::Address(host_source(address)));
    }
    if let Some((address, bits)) = text.split_once('/') {
        return net(address, bits).map(Mark::Address);
    }
    match split_port(text) {
        Some((host, port)) => match (literal(host), port) {
            (Some(address), Some(port)) => Ok(Mark::Address(Source::Endpoint(SocketAddr::new(address, port)))),
            (Some(address), None) => Ok(Mark::Address(host_source(address))),
            (None, None) if is_name(host) => Ok(Mark::Certificate(host.to_ascii_lowercase())),
            (None, Some(_)) if is_name(host) => Err("is a name, which has no port here; take the port out".to_owned()),
            (None, _) => Err(SOURCE.to_owned()),
        },
        None => Err(SOURCE.to_owned()),
    }
}

/// Every packet of this host.
pub(super) const fn host_source(address: IpAddr) -> Source {
    let bits = if address.is_ipv4() { 32 } else { 128 };
    Source::Net { address, bits }
}

/// `sip:user@10.0.0.5:5060;transport=tcp`
pub(super) fn target(text: &str) -> Result<SipTarget, String> {
    let (sips, rest) = match text.split_once(':') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("sip") => (false, rest),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("sips") => (true, rest),
        _ => return Err(TARGET.to_owned()),
    };
    if !text.bytes().all(|b| b.is_ascii_graphic() && !b"<>\"?".contains(&b)) {
        return Err(TARGET.to_owned());
    }
    let (user, rest) = match rest.split_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, rest),
    };
    if user.is_some_and(|u| u.is_empty() || u.contains(':')) {
        return Err("must have a user before its '@', and no password".to_owned());
    }
    let (place, params) = rest.split_once(';').unwrap_or((rest, ""));
    let (host, port) = split_port(place).ok_or(TARGET)?;
    let asked = transport_of(params, sips)?;
    let transport = asked.unwrap_or(if sips { Transport::Tls } else { Transport::Udp });
    let (address, name) = match literal(host) {
        Some(address) => (SocketAddr::new(address, port.unwrap_or(if transport.is_secure() { 5061 } else { 5060 })), None),
        None if is_name(host) => {
            let speech = asked.and_then(speech);
            (NOWHERE, Some(Question { host: host.to_ascii_lowercase(), port, transport: speech, sips }))
        }
        None => return Err(TARGET.to_owned()),
    };
    if name.is_none() && (address.ip().is_unspecified() || address.port() == 0) || port == Some(0) {
        return Err("leads to no one: the address or the port is zero".to_owned());
    }
    let user = user.map(|u| Private::new(u.to_owned()));
    Ok(SipTarget { uri: Private::new(text.to_owned()), user, address, others: Vec::new(), name, transport, sips })
}

/// An address of `[dns] servers`; port 53 where it names none.
pub(super) fn name_server(text: &str) -> Result<SocketAddr, String> {
    let found = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)).or_else(|_| text.parse());
    let usable = found.ok().filter(|at| at.port() > 0 && !at.ip().is_unspecified());
    usable.ok_or_else(|| "must be an address as 192.0.2.53 or 127.0.0.1:5353, IPv6 with a port in brackets".to_owned())
}

/// Where a name leads of which nothing is known.
pub(super) const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Whom we call speaks one of these.
pub(super) const fn speech(transport: Transport) -> Option<Speech> {
    match transport {
        Transport::Udp => Some(Speech::Udp),
        Transport::Tcp => Some(Speech::Tcp),
        Transport::Tls => Some(Speech::Tls),
        Transport::Ws | Transport::Wss => None,
    }
}

/// A neighbour: a target without a user.
pub(super) fn neighbour(text: &str) -> Result<SipTarget, String> {
    match target(text)? {
        SipTarget { user: Some(_), .. } => Err("a neighbour is a host, without a user; write sip:10.0.0.5:5060".to_owned()),
        found => Ok(found),
    }
}

/// `a@x; b@y`: never wrong as a whole.
pub(super) fn contacts(text: &str) -> Result<Contacts, String> {
    let mut found = Contacts::default();
    for (place, part) in (1..).zip(text.split([';', ',']).map(str::trim)).filter(|(_, p)| !p.is_empty()) {
        match mailbox(part).map(|_| address_of(part)) {
            Ok(address) if found.valid.iter().any(|known| is_same_address(known.reveal(), address)) => {}
            Ok(address) => found.valid.push(Private::new(address.to_owned())),
            Err(_) => found.rejected.push((place, Private::new(part.to_owned()))),
        }
    }
    Ok(found)
}

/// What of a mailbox is its address.
fn address_of(mailbox: &str) -> &str {
    match mailbox.strip_suffix('>') {
        Some(inner) => inner.rsplit_once('<').map_or("", |(_, address)| address),
        None => mailbox,
    }
}

/// `a@example.com` or `Name <a@example.com>`
pub(super) fn mailbox(text: &str) -> Result<Private<String>, String> {
    let address = address_of(text);
    let fits = |c: char| !c.is_whitespace() && !c.is_control() && !"<>,;:\"()[]\\@".contains(c);
    let is_valid = address.rsplit_once('@').is_some_and(|(local, host)| {
        !local.is_empty()
            && local.chars().all(fits)
            && host.chars().all(fits)
            && is_name(host)
            && !text.chars().any(char::is_control)
    });
    if is_valid { Ok(Private::new(text.to_owned())) } else { Err("must be a mailbox as security@example.com".to_owned()) }
}

/// A URL of ours for browsers, without a slash at its end.
pub(super) fn web_url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let host = rest.map(|r| r.split('/').next().unwrap_or_default()).unwrap_or_default();
    let is_host = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || matches!(c, '@' | '?' | '#' | ','));
    if is_host && !text.contains(['?', '#', ' ']) {
        Ok(text.trim_end_matches('/').to_owned())
    } else {
        Err("must be a URL as https://e911.example.com".to_owned())
    }
}

/// Scheme, host and perhaps a port, as browsers send it (RFC 6454).
pub(super) fn origin(text: &str) -> Result<String, String> {
    match web_url(text)? {
        url if url.matches('/').count() == 2 => Ok(url),
        _ => Err("must be an origin as https://wall.example.com, without a path".to_owned()),
    }
}

/// `smtp://` or `smtps://` with a host.
pub(super) fn is_smtp_url(text: &str) -> bool {
    let rest = text.strip_prefix("smtp://").or_else(|| text.strip_prefix("smtps://")).unwrap_or_default();
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let place = authority.rsplit_once('@').map_or(authority, |(_, p)| p);
    split_port(place).is_some_and(|(host, _)| literal(host).is_some() || is_name(host))
}

const SOURCE: &str =
    "must be an address as 10.0.0.5, a network as 10.0.1.0/24, 10.0.0.5:5060, or a name; IPv6 with a port in brackets";
const TARGET: &str = "must be a URI as sip:10.0.0.5:5060;transport=tcp, IPv6 in brackets";

fn net(address: &str, bits: &str) -> Result<Source, String> {
    let address: IpAddr = address.trim_matches(['[', ']']).parse().map_err(|_| SOURCE.to_owned())?;
    let width: u8 = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.parse().ok().filter(|b| *b <= width).ok_or_else(|| format!("the network's length must be 0 to {width}"))?;
    let masked = masked(address, bits);
    if masked != address {
        return Err("the network has bits set behind its length; write its first address".to_owned());
    }
    Ok(Source::Net { address, bits })
}

/// The address with all but its first `bits` bits zero.
pub(super) fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(a) => {
            let shift = 32 - u32::from(bits.min(32));
            IpAddr::V4(Ipv4Addr::from_bits(a.to_bits() & u32::MAX.checked_shl(shift).unwrap_or(0)))
        }
        IpAddr::V6(a) => {
            let shift = 128 - u32::from(bits.min(128));
            IpAddr::V6(Ipv6Addr::from_bits(a.to_bits() & u128::MAX.checked_shl(shift).unwrap_or(0)))
        }
    }
}

/// What the parameters ask for, if anything.
fn transport_of(params: &str, sips: bool) -> Result<Option<Transport>, String> {
    let mut transport = None;
    for param in params.split(';').filter(|p| !p.is_empty()) {
        let (name, value) = param.split_once('=').unwrap_or((param, ""));
        if !name.eq_ignore_ascii_case("transport") {
            continue;
        }
        transport = Some(match value.to_ascii_lowercase().as_str() {
            // RFC 5630 section 3.1.2: TLS over TCP.
            "tcp" | "tls" if sips => Transport::Tls,
            _ if sips => return Err("sips goes over TLS; write no transport, or tls".to_owned()),
            "udp" => Transport::Udp,
            "tcp" => Transport::Tcp,
            "tls" => Transport::Tls,
            "ws" | "wss" => return Err("whoever speaks WebSocket calls us, we never call it; write udp, tcp or tls".to_owned()),
            _ => return Err("the transport must be udp, tcp or tls".to_owned()),
        });
    }
    Ok(transport)
}

/// Splits `host`, `host:port`, `[v6]`, `[v6]:port`; brackets stay with the host.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let end = match text.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => text.find(':').unwrap_or(text.len()),
    };
    let (host, rest) = (text.get(..end)?, text.get(end..)?);
    match rest.strip_prefix(':') {
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => Some((host, Some(port.parse().ok()?))),
        None if rest.is_empty() && !host.is_empty() => Some((host, None)),
        _ => None,
    }
}

fn literal(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[') {
        Some(v6) => v6.strip_suffix(']')?.parse().ok().map(IpAddr::V6),
        None => host.parse().ok().map(IpAddr::V4),
    }
}

/// A host name (RFC 1123): labels of letters, digits and hyphens, the last of them not a number.
fn is_name(host: &str) -> bool {
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    host.len() <= 253 && host.split('.').all(label) && !last.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_a_unit() {
        for (text, millis) in [("1500ms", 1500), ("90s", 90_000), ("60m", 3_600_000), ("24h", 86_400_000), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "90", "s", "1.5s", "-1s", "90 s", "1d", "99999999999999999999h", "18446744073709551615h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_range_goes_upwards_between_numbers_of_one_length() {
        let r = range("+14255550100-+14255550149").expect("a range");
        assert_eq!((r.count(), r.iter().count()), (50, 50));
        assert!(r.contains(r.first) && r.contains(r.last) && r.overlaps(range("+14255550149").expect("a number")));
        assert!(!r.overlaps(range("+14255550150-+14255550159").expect("a range")));
        for bad in [
            "",
            "+1425",
            "+14255550149-+14255550100",
            "+14255550100-14255550149",
            "+9999999-+10000000",
            "+10000000000-+19999999999",
            "911",
        ] {
            assert!(range(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_prefix_brings_the_numbers_that_begin_with_it() {
        let n = |t| E164::parse(t).expect("a number");
        let b = brought("+1425555").expect("a prefix");
        assert!(b.contains(n("+14255550100")) && !b.contains(n("+14265550100")) && !b.contains(n("+1425554")));
        assert!(brought("+14255550100-+14255550149").expect("a range").contains(n("+14255550120")));
        for bad in ["", "+", "1425", "+0425", "+1425x", "+1234567890123456"] {
            assert!(brought(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_source_is_a_host_a_network_an_endpoint_or_a_certificates_name() {
        for good in ["10.0.0.5", "::1", "[::1]", "10.0.1.0/24", "0.0.0.0/0", "fd00::/8", "10.0.0.5:5060", "[::1]:5060"] {
            assert!(source(good).is_ok(), "{good}");
        }
        assert_eq!(source("10.0.0.5"), source("10.0.0.5/32"));
        assert_eq!(source("SBC.example.com"), Ok(Mark::Certificate("sbc.example.com".to_owned())));
        for bad in [
            "",
            "10.0.1.1/24",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.300",
            "10.0.0.5:99999",
            "pbx.example.com:5061",
            "[::1",
            "10.0.0.5:",
            "10.0.0.5/",
        ] {
            assert!(source(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_target_leads_to_an_address() {
        let t = target("sip:security@10.0.0.5:5070;transport=TCP;x").expect("a target");
        assert_eq!((t.address.to_string().as_str(), t.transport), ("10.0.0.5:5070", Transport::Tcp));
        assert_eq!(t.user.map(Private::into_revealed).as_deref(), Some("security"));
        assert_eq!(neighbour("sip:[2001:db8::1]").map(|t| t.address.to_string()), Ok("[2001:db8::1]:5060".to_owned()));
        for bad in [
            "",
            "10.0.0.5",
            "sip:",
            "sip:@10.0.0.5",
            "sip:a:b@10.0.0.5",
            "sip:2001:db8::1",
            "sip:10.0.0.5:0",
            "sip:10.0.0.5:99999",
            "sip:0.0.0.0",
            "tel:911",
            "sip:10.0.0.5;transport=sctp",
            "sip:10.0.0.5?x=y",
            "sip:1 0.0.0.5",
            "<sip:10.0.0.5>",
        ] {
            assert!(target(bad).is_err(), "{bad}");
        }
        let named = target("sip:PBX.example.com:5070;transport=tcp").expect("a name");
        let question =
            Question { host: "pbx.example.com".to_owned(), port: Some(5070), transport: Some(Speech::Tcp), sips: false };
        assert_eq!((named.name, named.address.port()), (Some(question), 0));
        let bare = target("sips:pbx.example.com").expect("a name").name.expect("a question");
        assert_eq!((bare.port, bare.transport, bare.sips), (None, None, true));
        assert!(target("sip:pbx.example.com:0").is_err());
        assert!(neighbour("sip:a@10.0.0.5").is_err());
    }

    #[test]
    fn sips_and_tls_have_their_own_port_and_never_another_transport() {
        for (uri, port) in [
            ("sips:10.0.0.5", 5061),
            ("sips:10.0.0.5:5070", 5070),
            ("sips:10.0.0.5;transport=tcp", 5061),
            ("sips:10.0.0.5;transport=tls", 5061),
            ("sip:10.0.0.5;transport=tls", 5061),
            ("sip:10.0.0.5:5060;transport=TLS", 5060),
        ] {
            let t = target(uri).expect(uri);
            assert_eq!((t.transport, t.address.port(), t.sips), (Transport::Tls, port, uri.starts_with("sips")), "{uri}");
        }
        for bad in ["sips:10.0.0.5;transport=udp", "sips:10.0.0.5;transport=ws", "sip:10.0.0.5;transport=wss"] {
            assert!(target(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a4_valid_contacts_are_kept_once_and_the_rest_is_named_with_its_place() {
        let c = contacts("a@x; ;bad ;B@y; a@X;Front Desk <c@z.example>;<c@Z.example>").expect("contacts");
        let valid: Vec<_> = c.valid.iter().map(|v| v.reveal().as_str()).collect();
        assert_eq!(valid, ["a@x", "B@y", "c@z.example"]);
        let rejected: Vec<_> = c.rejected.iter().map(|(place, entry)| (*place, entry.reveal().as_str())).collect();
        assert_eq!(rejected, [(3, "bad")]);
    }

    #[test]
    fn a_mail_server_is_a_url() {
        for good in [
            "smtp://mail.example.com",
            "smtp://user:pa@ss@mail.example.com:587",
            "smtps://127.0.0.1:465/",
            "smtp://[::1]:25?tls=required",
        ] {
            assert!(is_smtp_url(good), "{good}");
        }
        for bad in ["", "mail.example.com", "http://mail.example.com", "smtp://", "smtp://user:p@"] {
            assert!(!is_smtp_url(bad), "{bad}");
        }
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        assert_eq!(host_port("sip.example.com:5060").map(|h| h.port), Ok(Some(5060)));
        assert_eq!(host_port("[::1]").map(|h| h.host), Ok("[::1]".to_owned()));
        for bad in ["", "a b", "::1", "-a.example", "10.0.0.300", "x:99999"] {
            assert!(host_port(bad).is_err(), "{bad}");
        }
        assert!(domain("gw1.example.com").is_ok() && domain("gw1:5060").is_err());
        assert!(socket("[::]:5060").is_ok() && socket("::5060").is_err() && socket("10.0.0.5").is_err());
    }
}

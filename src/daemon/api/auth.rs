//! Who may ask what: tokens and roles, Host and Origin.
//!
//! On the admin socket whoever can open it is an operator. On TCP a token says who asks; pages of somebody else's are
//! kept out by Host (DNS rebinding) and Origin (cross-site requests).

use super::error::ApiError;
use crate::daemon::config::{Http, Role, Token};
use crate::daemon::passes::Holder;
use axum::http::{HeaderMap, StatusCode, header};
use std::net::{IpAddr, SocketAddr};
use subtle::{Choice, ConstantTimeEq};

/// By which door a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// `admin.sock`: its file mode has said who may.
    Socket,
    /// TCP, from this address.
    Tcp(SocketAddr),
}

/// Who asks. 401 without a token that we know.
pub fn role(http: &Http, door: Door, headers: &HeaderMap) -> Result<Role, ApiError> {
    let from_loopback = match door {
        Door::Socket => return Ok(Role::Operator),
        Door::Tcp(from) => from.ip().to_canonical().is_loopback(),
    };
    let mut shown = headers.get_all(header::AUTHORIZATION).iter();
    let (shown, more) = (shown.next(), shown.next());
    match (shown, more) {
        (None, _) if http.open_on_loopback && from_loopback => Ok(Role::Operator),
        (None, _) => Err(unknown("show a token as Authorization: Bearer")),
        (Some(_), Some(_)) => Err(unknown("there is more than one Authorization")),
        (Some(shown), None) => bearer(shown.as_bytes())
            .and_then(|token| known(&http.tokens, token))
            .ok_or_else(|| unknown("this token is not known here")),
    }
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Asker {
    /// What the token is good for.
    pub role: Role,
    /// The agent whose own token it is: she has signed in.
    pub holder: Option<Holder>,
}

/// 403 where the token does not reach so far. `roles` may; whoever has signed in where `own` says so, and below
/// `/agents/` for herself alone.
pub fn allow(asker: &Asker, roles: &[Role], own: bool, path: &str) -> Result<(), ApiError> {
    let Some(holder) = &asker.holder else {
        return if roles.contains(&asker.role) { Ok(()) } else { Err(forbidden()) };
    };
    let about = path.strip_prefix("/agents/").map(|rest| rest.split('/').next().unwrap_or_default());
    let is_hers = about.is_none_or(|id| id == holder.agent.reveal());
    if own && is_hers { Ok(()) } else { Err(forbidden()) }
}

/// 403
pub fn forbidden() -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "forbidden", "the token's role does not allow this")
}

/// The token that is shown, if one is.
pub fn token(headers: &HeaderMap) -> Option<&[u8]> {
    let mut shown = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(one), None) = (shown.next(), shown.next()) else { return None };
    bearer(one.as_bytes())
}

/// The address of whoever asks; `None` on the admin socket. A proxy on this machine is believed whom it names last
/// (`X-Forwarded-For`); nobody else is.
pub fn address(door: Door, headers: &HeaderMap) -> Option<IpAddr> {
    let Door::Tcp(from) = door else { return None };
    let from = from.ip().to_canonical();
    if !from.is_loopback() {
        return Some(from);
    }
    let named = headers.get_all("x-forwarded-for").iter().next_back().and_then(|v| v.to_str().ok());
    let last = named.and_then(|v| v.rsplit(',').next()).and_then(|v| v.trim().parse::<IpAddr>().ok());
    Some(last.map_or(from, |ip| ip.to_canonical()))
}

/// A page of somebody else's cannot read us through a name of its own (DNS rebinding): 421.
pub fn check_host(http: &Http, headers: &HeaderMap) -> Result<(), ApiError> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return Err(misdirected()) };
    let Ok(host) = host.to_str() else { return Err(misdirected()) };
    let name = host_name(host);
    let is_public = http.public_url.as_deref().is_some_and(|url| host_name(authority(url)).eq_ignore_ascii_case(name));
    if is_loopback(name) || is_public { Ok(()) } else { Err(misdirected()) }
}

/// A page of somebody else's cannot send us anything: 403 to an Origin that is neither ours nor listed.
pub fn check_origin(http: &Http, headers: &HeaderMap) -> Result<(), ApiError> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let origin = match (origins.next(), origins.next()) {
        (None, _) => return Ok(()),
        (Some(origin), None) => origin.to_str().unwrap_or_default(),
        (Some(_), Some(_)) => "",
    };
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    let is_own = ["http://", "https://"]
        .iter()
        .any(|scheme| origin.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty() && rest.eq_ignore_ascii_case(host)));
    let listed = http.public_url.iter().chain(&http.origins).any(|o| same_origin(o, origin));
    if is_own || listed {
        return Ok(());
    }
    Err(ApiError::new(StatusCode::FORBIDDEN, "foreign_origin", "pages of this origin may not ask here; see http.origins"))
}

fn same_origin(configured: &str, origin: &str) -> bool {
    let end = configured.find("://").map_or(0, |at| at + 3) + authority(configured).len();
    configured.get(..end).is_some_and(|c| c.eq_ignore_ascii_case(origin))
}

/// `host:port` of a URL.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

fn host_name(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

fn is_loopback(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// RFC 6750 section 2.1; the scheme's case does not count (RFC 9110 section 11.1).
fn bearer(shown: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = shown.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// The role of a token. Every token is compared whole, so that the time taken says nothing of how near one came.
fn known(tokens: &[Token], shown: &[u8]) -> Option<Role> {
    let mut role = None;
    for token in tokens {
        let same: Choice = token.value.reveal().as_bytes().ct_eq(shown);
        if bool::from(same) {
            role = Some(token.role);
        }
    }
    role
}

fn unknown(message: &str) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
}

fn misdirected() -> ApiError {
    ApiError::new(StatusCode::MISDIRECTED_REQUEST, "wrong_host", "this host is not served here; see http.public_url")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Private;
    use axum::http::{HeaderName, HeaderValue};

    fn http() -> Http {
        Http {
            bind: SocketAddr::from(([127, 0, 0, 1], 0)),
            public_url: Some("https://e911.example.com/panel".to_owned()),
            origins: vec!["https://wall.example.com:8443".to_owned()],
            open_on_loopback: false,
            tokens: vec![
                Token { role: Role::Viewer, value: Private::new("look-at-me-and-see".to_owned()) },
                Token { role: Role::Operator, value: Private::new("do-as-you-are-told".to_owned()) },
            ],
        }
    }

    fn headers(list: &[(HeaderName, &'static str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    const HERE: Door = Door::Tcp(SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9));

    #[test]
    fn only_loopback_names_and_the_public_name_are_served() {
        let served = |host: &'static str| check_host(&http(), &headers(&[(header::HOST, host)])).is_ok();
        for host in ["localhost", "LOCALHOST:8911", "127.0.0.1", "127.5.3.1:80", "[::1]:8911", "[::1]", "E911.example.com:443"] {
            assert!(served(host), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "192.0.2.1:80", "[2001:db8::1]", "", "127.0.0.1.evil.example:80"] {
            assert!(!served(host), "{host}");
        }
        assert!(check_host(&http(), &HeaderMap::new()).is_err());
    }

    #[test]
    fn a_foreign_origin_is_refused_and_our_own_is_not() {
        let origin = |host, origin| check_origin(&http(), &headers(&[(header::HOST, host), (header::ORIGIN, origin)])).is_ok();
        assert!(check_origin(&http(), &HeaderMap::new()).is_ok());
        for o in ["http://127.0.0.1:8911", "https://e911.example.com", "https://wall.example.com:8443"] {
            assert!(origin("127.0.0.1:8911", o), "{o}");
        }
        for o in [
            "null",
            "",
            "http://",
            "http://127.0.0.1:80",
            "https://evil.example",
            "https://e911.example.com.evil.example",
            "http://e911.example.com",
            "https://wall.example.com",
        ] {
            assert!(!origin("127.0.0.1:8911", o), "{o}");
        }
    }

    #[test]
    fn a_token_says_who_asks_and_without_one_nobody_does() {
        let role_of = |authorization: &'static str| {
            role(&http(), HERE, &headers(&[(header::AUTHORIZATION, authorization)])).map_err(|e| e.status.as_u16())
        };
        assert_eq!(role_of("Bearer look-at-me-and-see"), Ok(Role::Viewer));
        assert_eq!(role_of("bearer do-as-you-are-told"), Ok(Role::Operator));
        for wrong in
            ["Bearer look-at-me-and-se", "Bearer look-at-me-and-seeX", "Bearer ", "Bearer", "Basic look-at-me-and-see", ""]
        {
            assert_eq!(role_of(wrong), Err(401), "{wrong}");
        }
        assert_eq!(role(&http(), HERE, &HeaderMap::new()).map_err(|e| e.status.as_u16()), Err(401));
        assert_eq!(role(&http(), Door::Socket, &HeaderMap::new()), Ok(Role::Operator));
    }

    #[test]
    fn open_on_loopback_opens_to_loopback_alone_and_a_wrong_token_stays_wrong() {
        let open = Http { open_on_loopback: true, ..http() };
        assert_eq!(role(&open, HERE, &HeaderMap::new()), Ok(Role::Operator));
        let away = Door::Tcp(SocketAddr::from(([192, 0, 2, 1], 9)));
        assert!(role(&open, away, &HeaderMap::new()).is_err());
        assert!(role(&open, HERE, &headers(&[(header::AUTHORIZATION, "Bearer wrong")])).is_err());
        let twice = headers(&[(header::AUTHORIZATION, "Bearer look-at-me-and-see")]);
        let mut twice = twice;
        twice.append(header::AUTHORIZATION, HeaderValue::from_static("Bearer do-as-you-are-told"));
        assert!(role(&http(), HERE, &twice).is_err());
    }
}

//! The mail server that `notify.smtp` names.
//!
//! Not a connection: that is [`super::smtp`]. The URL has lettre's form, `scheme://user:pass@host:port/ehlo-name?tls=TLS`;
//! lettre's own reader gives its parts only to its own transport, which holds a delivered mail back as failed where the
//! server does not answer QUIT.
//!
//! | scheme | `tls` | default port | what |
//! |---|---|---|---|
//! | `smtps` | - | 465 | TLS from the first byte (RFC 8314) |
//! | `smtp` | `required` | 587 | STARTTLS or nothing (RFC 3207) |
//! | `smtp` | `opportunistic` | 587 | STARTTLS where it is offered |
//! | `smtp` | - | 25 | never encrypted: for a relay on this machine or in this room |

use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::extension::ClientId;
use std::net::{Ipv4Addr, Ipv6Addr};

/// How the connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Not at all.
    Plain,
    /// STARTTLS where it is offered.
    Opportunistic,
    /// STARTTLS, or no mail.
    Required,
    /// TLS from the first byte.
    Wrapped,
}

/// See the module's docs. Holds a password: no `Debug`.
#[derive(Clone)]
pub struct Server {
    /// A name, or an address without brackets.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// Whether there is TLS.
    pub security: Security,
    /// User and password, where it asks for them.
    pub login: Option<Credentials>,
    /// What EHLO says, where the URL says so.
    pub hello: Option<ClientId>,
}

/// Why mail cannot be sent with these settings. Tells nothing of the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadServer {
    /// Neither `smtp://` nor `smtps://`.
    #[error("must begin with smtp:// or smtps://")]
    Scheme,
    /// No host, or one with characters that no host has.
    #[error("must have a host as in smtp://mail.example.com")]
    Host,
    /// Not 1 to 65535.
    #[error("has a port that is no number from 1 to 65535")]
    Port,
    /// An escape in user or password that is not UTF-8.
    #[error("has a user or password whose % escapes cannot be read")]
    Login,
    /// A path that EHLO cannot say.
    #[error("has a path that is no host name for EHLO")]
    Hello,
    /// Something behind `?` that we do not know.
    #[error("may have ?tls=required or ?tls=opportunistic with smtp://, nothing else")]
    Query,
    /// `notify.from` is no mailbox.
    #[error("must be a mailbox as security@example.com")]
    From,
}

impl Server {
    /// Reads the URL.
    pub fn parse(url: &str) -> Result<Self, BadServer> {
        let (scheme, rest) = url.trim().split_once("://").ok_or(BadServer::Scheme)?;
        let (rest, query) = rest.split_once('?').map_or((rest, None), |(r, q)| (r, Some(q)));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, place) = authority.rsplit_once('@').map_or((None, authority), |(u, p)| (Some(u), p));
        let (security, usual_port) = security(scheme, query)?;
        let (host, port) = host_and_port(place)?;
        Ok(Self {
            host,
            port: port.unwrap_or(usual_port),
            security,
            login: user.map(login).transpose()?.flatten(),
            hello: hello(path.trim_matches('/'))?,
        })
    }
}

/// What EHLO says of a host: an address as a literal (RFC 5321 section 4.1.3), a name as it is; `None` where it is neither.
pub fn client_id(host: &str) -> Option<ClientId> {
    let bare = host.trim_matches(['[', ']']);
    if let Ok(ip) = bare.parse::<Ipv4Addr>() {
        return Some(ClientId::Ipv4(ip));
    }
    if let Ok(ip) = bare.parse::<Ipv6Addr>() {
        return Some(ClientId::Ipv6(ip));
    }
    is_name(host).then(|| ClientId::Domain(host.to_owned()))
}

fn security(scheme: &str, query: Option<&str>) -> Result<(Security, u16), BadServer> {
    let tls = match query.unwrap_or_default() {
        "" => None,
        query => Some(query.strip_prefix("tls=").ok_or(BadServer::Query)?),
    };
    match (scheme, tls) {
        ("smtp", None) => Ok((Security::Plain, 25)),
        ("smtp", Some("opportunistic")) => Ok((Security::Opportunistic, 587)),
        ("smtp", Some("required")) => Ok((Security::Required, 587)),
        ("smtps", None | Some("required")) => Ok((Security::Wrapped, 465)),
        ("smtp" | "smtps", _) => Err(BadServer::Query),
        _ => Err(BadServer::Scheme),
    }
}

fn host_and_port(place: &str) -> Result<(String, Option<u16>), BadServer> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (ip, after) = rest.split_once(']').ok_or(BadServer::Host)?;
            ip.parse::<Ipv6Addr>().map_err(|_| BadServer::Host)?;
            (ip, if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or(BadServer::Host)?) })
        }
        None => {
            let (host, port) = place.split_once(':').map_or((place, None), |(h, p)| (h, Some(p)));
            if !is_name(host) {
                return Err(BadServer::Host);
            }
            (host, port)
        }
    };
    let port = match port {
        None => None,
        Some(port) => Some(port.parse().ok().filter(|p| *p > 0).ok_or(BadServer::Port)?),
    };
    Ok((host.to_owned(), port))
}

/// Without a password there is no login, as with lettre.
fn login(user: &str) -> Result<Option<Credentials>, BadServer> {
    let Some((user, password)) = user.split_once(':') else { return Ok(None) };
    Ok(Some(Credentials::new(unescaped(user)?, unescaped(password)?)))
}

fn hello(path: &str) -> Result<Option<ClientId>, BadServer> {
    if path.is_empty() {
        return Ok(None);
    }
    client_id(path).map(Some).ok_or(BadServer::Hello)
}

fn is_name(host: &str) -> bool {
    !host.is_empty() && host.len() <= 253 && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
}

/// Undoes percent-encoding (RFC 3986 section 2.1).
fn unescaped(text: &str) -> Result<String, BadServer> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, after @ ..] = tail else { return Err(BadServer::Login) };
        let digit = |d: u8| char::from(d).to_digit(16).and_then(|v| u8::try_from(v).ok()).ok_or(BadServer::Login);
        bytes.push(digit(*high)? << 4 | digit(*low)?);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| BadServer::Login)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_lettres_form_names_a_server() {
        use Security::{Opportunistic, Plain, Required, Wrapped};
        for (url, host, port, security, login, hello) in [
            ("smtp://127.0.0.1:2525", "127.0.0.1", 2525, Plain, None, None),
            ("smtp://mail.example.com", "mail.example.com", 25, Plain, None, None),
            ("smtps://mail.example.com/", "mail.example.com", 465, Wrapped, None, None),
            ("smtps://mail.example.com?tls=required", "mail.example.com", 465, Wrapped, None, None),
            ("smtp://m?tls=required", "m", 587, Required, None, None),
            ("smtp://m:26?tls=opportunistic", "m", 26, Opportunistic, None, None),
            ("smtp://user:password@mail.example.com:587", "mail.example.com", 587, Plain, Some(("user", "password")), None),
            (
                "smtp://a%40b:p%3A%2F%25@[::1]:26/gw1.example.com?tls=required",
                "::1",
                26,
                Required,
                Some(("a@b", "p:/%")),
                Some("gw1.example.com"),
            ),
            ("smtp://a@b:p@m/[10.0.0.1]", "m", 25, Plain, Some(("a@b", "p")), Some("[10.0.0.1]")),
            ("smtp://user@m", "m", 25, Plain, None, None),
        ] {
            let server = Server::parse(url).unwrap_or_else(|e| panic!("{url}: {e}"));
            assert_eq!((server.host.as_str(), server.port, server.security), (host, port, security), "{url}");
            assert_eq!(server.login, login.map(|(u, p)| Credentials::new(u.to_owned(), p.to_owned())), "{url}");
            assert_eq!(server.hello.map(|h| h.to_string()).as_deref(), hello, "{url}");
        }
    }

    #[test]
    fn what_is_no_such_url_is_refused_with_the_reason() {
        for (url, want) in [
            ("", BadServer::Scheme),
            ("mail.example.com:25", BadServer::Scheme),
            ("http://mail.example.com", BadServer::Scheme),
            ("smtp://", BadServer::Host),
            ("smtp://a b", BadServer::Host),
            ("smtp://m\r\nDATA", BadServer::Host),
            ("smtp://[::1", BadServer::Host),
            ("smtp://[::1]25", BadServer::Host),
            ("smtp://m:0", BadServer::Port),
            ("smtp://m:99999", BadServer::Port),
            ("smtp://u:%zz@m", BadServer::Login),
            ("smtp://u:%ff@m", BadServer::Login),
            ("smtp://m/a b", BadServer::Hello),
            ("smtp://m?tls=maybe", BadServer::Query),
            ("smtp://m?x=y", BadServer::Query),
            ("smtps://m?tls=opportunistic", BadServer::Query),
        ] {
            assert_eq!(Server::parse(url).err(), Some(want), "{url}");
        }
    }
}

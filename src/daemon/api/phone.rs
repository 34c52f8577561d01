//! `/sip`: SIP over WebSocket (RFC 7118) for agents' pages, at the address that they came from.
//!
//! Here hands are shaken; then the connection is the front's, which knows it as any other. No token: SIP asks for a
//! password, and Origin has been checked as for the API.

use super::auth;
use super::error::ApiError;
use super::{Api, DoorOf};
use crate::daemon::api::auth::Door;
use crate::daemon::front::Command;
use crate::daemon::serve::of_connection;
use crate::sip::Transport;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

const SUBPROTOCOL: &str = "sip";
/// How long the connection may take to become a WebSocket.
const PATIENCE: Duration = Duration::from_secs(10);

/// A page's connection that has become a WebSocket.
pub struct PageSocket {
    /// The connection.
    pub stream: TcpStream,
    /// What was read of it ahead.
    pub part: Bytes,
    /// Whose it is: behind a proxy of this machine the address that it names, with the proxy's port, so that no two are the
    /// same.
    pub remote: SocketAddr,
    /// Whether it came by `http:` or `https:`, as the proxy says.
    pub transport: Transport,
}

/// 101; 400 where no WebSocket or another subprotocol is asked for, 403 to pages of others.
pub(super) async fn connect(State(api): State<Api>, DoorOf(door): DoorOf, mut request: Request) -> Result<Response, ApiError> {
    let Door::Tcp(from) = door else { return Err(ApiError::unreadable("", "WebSockets are for TCP")) };
    let headers = request.headers();
    let key = asked(headers).ok_or_else(|| ApiError::unreadable("", "ask for a WebSocket of the subprotocol sip"))?;
    let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes())).map_err(|_| ApiError::unreadable("", "no key"))?;
    let remote = SocketAddr::new(auth::address(door, headers).unwrap_or(from.ip()), from.port());
    let is_secure = from.ip().to_canonical().is_loopback() && is(headers, "x-forwarded-proto", "https");
    let transport = if is_secure { Transport::Wss } else { Transport::Ws };
    let upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let upgrade = upgrade.ok_or_else(|| ApiError::unreadable("", "this connection cannot become a WebSocket"))?;
    tokio::spawn(async move {
        let Ok(Ok(upgraded)) = timeout(PATIENCE, upgrade).await else { return };
        let Some((stream, part)) = of_connection(upgraded) else { return };
        let _ = api.front.send(Command::Page(Box::new(PageSocket { stream, part, remote, transport })));
    });
    let headers = [
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::CONNECTION, HeaderValue::from_static("Upgrade")),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
        (header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL)),
    ];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

/// The key of whoever asks as RFC 6455 section 4.2.1 wants it, for SIP.
fn asked(headers: &HeaderMap) -> Option<&str> {
    let asks = is(headers, header::UPGRADE, "websocket")
        && is(headers, header::CONNECTION, "upgrade")
        && is(headers, header::SEC_WEBSOCKET_VERSION, "13")
        && is(headers, header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL);
    headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| asks)?.to_str().ok()
}

/// Whether a list of tokens has this one.
fn is(headers: &HeaderMap, name: impl TryInto<HeaderName>, token: &str) -> bool {
    let Ok(name) = name.try_into() else { return false };
    let values = headers.get_all(name);
    values.iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).any(|t| t.trim().eq_ignore_ascii_case(token))
}

//! SIP over WebSocket (RFC 7118): one message a frame, over TCP or over TLS. We are always the server.
//!
//! Whoever says where its page came from (Origin, which browsers always do) must be on the listener's list; programs say
//! nothing and are let in. The SIP layer asks both for passwords.

use super::connection::{Reads, Step, Writes};
use crate::sip::frame::{Frame, Lost};
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, Stream, StreamExt};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, header};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

/// The largest message that is taken.
const LARGEST: usize = 64 * 1024;
/// What is read at once: each connection holds so much, also while it is silent.
const READ: usize = 1024;
const WRITTEN: usize = 8 * 1024;
/// How long our side may be silent: proxies and NATs forget connections that are silent for a minute.
const SILENCE: Duration = Duration::from_secs(25);
const SUBPROTOCOL: &str = "sip";

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ)
        .write_buffer_size(WRITTEN)
        .max_write_buffer_size(16 * LARGEST)
        .max_message_size(Some(LARGEST))
        .max_frame_size(Some(LARGEST))
}

/// The two halves of a connection.
pub(super) type Halves<S> = (WebIn<S>, WebOut<S>);

/// Shakes hands with whoever has connected.
///
/// # Errors
///
/// It does not speak WebSocket, not the subprotocol `sip` (400), or its page is from elsewhere (403).
pub(super) async fn accept<S>(stream: S, origins: &[String]) -> Result<Halves<S>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (stream, arrived) = Watched::new(stream);
    // The type is tungstenite's.
    #[expect(clippy::result_large_err)]
    let check = |request: &Request, mut response: Response| match refusal(request, origins) {
        Some(status) => Err(refused(status)),
        None => {
            response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
            Ok(response)
        }
    };
    let socket = accept_hdr_async_with_config(stream, check, Some(config())).await?;
    Ok(halves(socket, arrived))
}

/// A connection whose hands were shaken elsewhere, by an HTTP server that has checked Origin and subprotocol, and has read
/// this `part` of it ahead.
pub(super) async fn upgraded<S>(stream: S, part: Bytes) -> Halves<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (stream, arrived) = Watched::new(stream);
    halves(WebSocketStream::from_partially_read(stream, part.into(), Role::Server, Some(config())).await, arrived)
}

fn halves<S: AsyncRead + AsyncWrite + Unpin>(socket: WebSocketStream<Watched<S>>, arrived: Arc<AtomicUsize>) -> Halves<S> {
    let (write, read) = socket.split();
    (WebIn { read, arrived, seen: 0, amid: false }, WebOut(write))
}

/// The status that refuses this request, if it is to be refused.
fn refusal(request: &Request, origins: &[String]) -> Option<StatusCode> {
    let text = |v: &HeaderValue| v.to_str().unwrap_or_default().to_owned();
    let offered: Vec<_> = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().map(text).collect();
    let offers_sip = offered.iter().flat_map(|v| v.split(',')).any(|p| p.trim().eq_ignore_ascii_case(SUBPROTOCOL));
    let origin = request.headers().get(header::ORIGIN).map(text);
    if origin.is_some_and(|origin| !origins.iter().any(|o| o.eq_ignore_ascii_case(&origin))) {
        return Some(StatusCode::FORBIDDEN);
    }
    (!offers_sip).then_some(StatusCode::BAD_REQUEST)
}

fn refused(status: StatusCode) -> ErrorResponse {
    let mut response = ErrorResponse::new(None);
    *response.status_mut() = status;
    response
}

/// A WebSocket, read.
pub(super) struct WebIn<S> {
    read: SplitStream<WebSocketStream<Watched<S>>>,
    arrived: Arc<AtomicUsize>,
    /// Of what has arrived, what was looked at.
    seen: usize,
    amid: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Reads for WebIn<S> {
    async fn step(&mut self) -> Step {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn is_amid_message(&self) -> bool {
        self.amid
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebIn<S> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        let polled = Pin::new(&mut self.read).poll_next(cx);
        let arrived = self.arrived.load(Ordering::Relaxed);
        let more = std::mem::replace(&mut self.seen, arrived) != arrived;
        // Bytes that are no message yet are the beginning of one.
        self.amid = polled.is_pending() && (self.amid || more);
        match polled {
            Poll::Pending if more => Poll::Ready(Step::Part),
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(Message::Text(text)))) => Poll::Ready(Step::Frame(Ok(Frame::whole(Bytes::from(text))))),
            Poll::Ready(Some(Ok(Message::Binary(bytes)))) => Poll::Ready(Step::Frame(Ok(Frame::whole(bytes)))),
            // Pings are answered below; neither they nor pongs are a sign of SIP.
            Poll::Ready(Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)))) => Poll::Ready(Step::Part),
            Poll::Ready(Some(Err(Error::Capacity(_)))) => Poll::Ready(Step::Frame(Err(Lost::TooLarge(Bytes::new())))),
            Poll::Ready(Some(Ok(Message::Close(_)) | Err(_)) | None) => Poll::Ready(Step::End),
        }
    }
}

/// A WebSocket, written.
pub(super) struct WebOut<S>(SplitSink<WebSocketStream<Watched<S>>, Message>);

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Writes for WebOut<S> {
    const SILENCE: Option<Duration> = Some(SILENCE);

    async fn message(&mut self, bytes: &Bytes) -> io::Result<()> {
        // RFC 7118 section 5: text where it is text.
        let message = Utf8Bytes::try_from(bytes.clone()).map_or_else(|_| Message::Binary(bytes.clone()), Message::Text);
        self.0.send(message).await.map_err(io::Error::other)
    }

    async fn pong(&mut self) -> io::Result<()> {
        self.message(&Bytes::from_static(b"\r\n")).await
    }

    async fn ping(&mut self) -> io::Result<()> {
        self.0.send(Message::Ping(Bytes::new())).await.map_err(io::Error::other)
    }

    async fn close(&mut self) -> io::Result<()> {
        self.0.close().await.map_err(io::Error::other)
    }
}

/// A stream that counts what has arrived: tungstenite does not say that a message has begun.
pub(super) struct Watched<S> {
    stream: S,
    arrived: Arc<AtomicUsize>,
}

impl<S> Watched<S> {
    fn new(stream: S) -> (Self, Arc<AtomicUsize>) {
        let arrived = Arc::new(AtomicUsize::new(0));
        (Self { stream, arrived: Arc::clone(&arrived) }, arrived)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.arrived.fetch_add(buf.filled().len() - before, Ordering::Relaxed);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused_with(headers: &[(&str, &str)]) -> Option<u16> {
        let mut request = Request::builder().uri("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let origins = ["https://e911.example.com".to_owned()];
        refusal(&request.body(()).expect("a request"), &origins).map(|s| s.as_u16())
    }

    #[test]
    fn the_subprotocol_is_required_and_a_browsers_page_must_be_known() {
        let sip = ("Sec-WebSocket-Protocol", "sip");
        for (headers, status) in [
            (&[sip][..], None),
            (&[("Sec-WebSocket-Protocol", "chat, SIP")], None),
            (&[("Sec-WebSocket-Protocol", "chat"), sip], None),
            (&[], Some(400)),
            (&[("Sec-WebSocket-Protocol", "sips")], Some(400)),
            (&[sip, ("Origin", "https://e911.example.com")], None),
            (&[sip, ("Origin", "https://E911.example.com")], None),
            (&[sip, ("Origin", "http://e911.example.com")], Some(403)),
            (&[sip, ("Origin", "null")], Some(403)),
            (&[("Origin", "https://elsewhere.example")], Some(403)),
        ] {
            assert_eq!(refused_with(headers), status, "{headers:?}");
        }
    }
}

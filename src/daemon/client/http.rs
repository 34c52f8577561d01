//! One HTTP request after the other, over the admin socket or TCP.

use crate::words::Private;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// How long the daemon may take; it gives up by itself before that.
const PATIENCE: Duration = Duration::from_secs(15);
/// The same for a test call.
const LONG_PATIENCE: Duration = Duration::from_secs(95);

/// Why a command that talks to the daemon fails.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// What was typed makes no sense.
    #[error("{0}")]
    Usage(String),
    /// Nobody answers.
    #[error("no daemon answers at {place}: {why}; is it running, and may you open that?")]
    Nobody { place: String, why: io::ErrorKind },
    /// The connection broke.
    #[error("the daemon did not answer: {0}")]
    Broken(String),
    /// The daemon says no.
    #[error("{0}")]
    Refused(Refusal),
    /// What was edited is not taken, and not lost.
    #[error("{why}\nthe text is in {file}")]
    Kept { why: String, file: String },
    /// A report says so.
    #[error("not ready")]
    Unready,
    /// Our own output or a file of ours.
    #[error("{0}")]
    Written(io::Error),
}

/// What the daemon says with an error status.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The status.
    pub(super) status: StatusCode,
    /// `{"error":{…}}`, or whatever came.
    pub(super) body: Value,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let error = &self.body["error"];
        let text = |key: &str| error[key].as_str().unwrap_or_default();
        match (text("field"), text("message")) {
            (_, "") => write!(f, "the daemon refuses: {}", self.status)?,
            ("", message) => write!(f, "{message}")?,
            (field, message) => write!(f, "{field}: {message}")?,
        }
        for row in error["rows"].as_array().into_iter().flatten() {
            let text = |key: &str| row[key].as_str().unwrap_or_default();
            write!(f, "\nline {}: {}", row["line"], text("field"))?;
            if !text("field").is_empty() {
                f.write_str(": ")?;
            }
            f.write_str(text("message"))?;
        }
        Ok(())
    }
}

/// An answer: its body and its ETag.
pub(super) struct Answered {
    pub(super) body: Value,
    pub(super) etag: Option<String>,
}

/// The way to the daemon.
pub(super) struct Line {
    place: Place,
    token: Option<Private<String>>,
}

enum Place {
    Socket(PathBuf),
    Tcp { host: String, address: String },
}

impl Line {
    /// Over the admin socket.
    pub(super) const fn to_socket(path: PathBuf) -> Self {
        Self { place: Place::Socket(path), token: None }
    }

    /// Over TCP, to `http://host:port`.
    pub(super) fn to_url(url: &str, token: Option<Private<String>>) -> Result<Self, Failure> {
        let Some(rest) = url.strip_prefix("http://") else {
            return Err(Failure::Usage("--url must begin with http://; https is not in this version".to_owned()));
        };
        let host = rest.trim_end_matches('/').to_owned();
        if host.is_empty() || host.contains('/') {
            return Err(Failure::Usage("--url must be as http://127.0.0.1:8911, without a path".to_owned()));
        }
        let has_port = host.rsplit_once(':').is_some_and(|(_, p)| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
        let address = if has_port { host.clone() } else { format!("{host}:80") };
        Ok(Self { place: Place::Tcp { host, address }, token })
    }

    /// GET.
    pub(super) async fn get(&mut self, path: &str) -> Result<Value, Failure> {
        Ok(self.send(Method::GET, path, &[], None).await?.body)
    }

    /// Any request; `body` with its content type.
    pub(super) async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(header::HeaderName, &str)],
        body: Option<(&str, Vec<u8>)>,
    ) -> Result<Answered, Failure> {
        let (kind, bytes) = body.map_or((None, Vec::new()), |(kind, bytes)| (Some(kind), bytes));
        let mut request = Request::builder().method(method).uri(format!("/api/v1/{path}"));
        request = request.header(header::HOST, self.host());
        if let Some(token) = &self.token {
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.reveal()))
                .map_err(|_| Failure::Usage("E911D_TOKEN cannot be sent".to_owned()))?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        for (name, value) in kind.map(|k| (header::CONTENT_TYPE, k)).iter().chain(headers) {
            request = request.header(name, *value);
        }
        let request = request.body(Full::new(Bytes::from(bytes))).map_err(|e| Failure::Usage(e.to_string()))?;
        let exchange = async {
            match &self.place {
                Place::Socket(path) => exchange(UnixStream::connect(path).await.map_err(|e| self.nobody(&e))?, request).await,
                Place::Tcp { address, .. } => {
                    exchange(TcpStream::connect(address).await.map_err(|e| self.nobody(&e))?, request).await
                }
            }
        };
        let patience = if path.ends_with("/test-call") { LONG_PATIENCE } else { PATIENCE };
        tokio::time::timeout(patience, exchange).await.unwrap_or_else(|_| Err(Failure::Broken("it takes too long".to_owned())))
    }

    fn host(&self) -> &str {
        match &self.place {
            Place::Socket(_) => "localhost",
            Place::Tcp { host, .. } => host,
        }
    }

    fn nobody(&self, e: &io::Error) -> Failure {
        let place = match &self.place {
            Place::Socket(path) => path.display().to_string(),
            Place::Tcp { address, .. } => address.clone(),
        };
        Failure::Nobody { place, why: e.kind() }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Answered, Failure> {
    let broken = |e: hyper::Error| Failure::Broken(e.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(broken)?;
    let status = response.status();
    let etag = response.headers().get(header::ETAG).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let bytes = response.into_body().collect().await.map_err(broken)?.to_bytes();
    connection.abort();
    let body = match serde_json::from_slice(&bytes) {
        Ok(body) => body,
        Err(_) if bytes.is_empty() => Value::Null,
        Err(_) => Value::String(String::from_utf8_lossy(&bytes).into_owned()),
    };
    if status.is_success() { Ok(Answered { body, etag }) } else { Err(Failure::Refused(Refusal { status, body })) }
}

/// For a path segment or a parameter (RFC 3986 section 2.1).
pub(super) fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, b| {
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(b));
        } else {
            let _ = write!(out, "%{b:02X}");
        }
        out
    })
}

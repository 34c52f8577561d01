//! One POST of JSON to one URL, over a connection of its own (RFC 9110, RFC 9112).
//!
//! Not a web client: no redirects, no cookies, no proxies, and of the answer only its status is read. HTTPS with the
//! system's roots; plain HTTP where the URL says so.

use super::failure::Failure;
use super::smtp::install_ring;
use crate::words::Private;
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::ConfigVerifierExt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// How long one try may take, from looking the name up to the answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// The request header that makes a repeated POST known for what it is (draft-ietf-httpapi-idempotency-key-header).
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Where JSON is posted. Its URL may hold a secret.
pub struct Hook {
    uri: Private<Uri>,
    host: String,
    port: u16,
    secure: bool,
    patience: Duration,
    tls: OnceLock<TlsConnector>,
}

/// Why nothing can be posted to a URL. Tells nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// Neither `https://` nor `http://`, or not a URL at all.
    #[error("must be a URL as https://example.com/path")]
    Url,
    /// User and password stand in it.
    #[error("must have no user and password in it; put a secret into its path or query")]
    Login,
}

impl Hook {
    /// Reads the URL. Opens nothing.
    ///
    /// # Errors
    ///
    /// It is not one that can be posted to.
    pub fn new(url: &str) -> Result<Self, BadUrl> {
        let uri: Uri = url.trim().parse().map_err(|_| BadUrl::Url)?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(BadUrl::Url),
        };
        let authority = uri.authority().ok_or(BadUrl::Url)?;
        if authority.as_str().contains('@') {
            return Err(BadUrl::Login);
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err(BadUrl::Url);
        }
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        Ok(Self { uri: Private::new(uri), host, port, secure, patience: PATIENCE, tls: OnceLock::new() })
    }

    /// Another limit for one try.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Whether what is posted can be read on its way to another machine.
    pub fn is_in_the_clear(&self) -> bool {
        let loopback = self.host.parse::<std::net::IpAddr>().map_or(self.host == "localhost", |ip| ip.is_loopback());
        !self.secure && !loopback
    }

    /// Posts; any status from 200 to 299 takes it.
    ///
    /// # Errors
    ///
    /// It was not taken, or nobody knows: then it is posted again with the same key.
    pub async fn post(&self, key: &str, body: Vec<u8>) -> Result<(), Failure> {
        tokio::time::timeout(self.patience, self.try_post(key, body)).await.unwrap_or(Err(Failure::Silent))
    }

    async fn try_post(&self, key: &str, body: Vec<u8>) -> Result<(), Failure> {
        let request = self.request(key, body)?;
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|_| Failure::Unreachable)?;
        let _ = stream.set_nodelay(true);
        if !self.secure {
            return exchange(stream, request).await;
        }
        let name = ServerName::try_from(self.host.clone()).map_err(|_| Failure::NoTls)?;
        let stream = self.tls()?.connect(name, stream).await.map_err(|_| Failure::NoTls)?;
        exchange(stream, request).await
    }

    fn request(&self, key: &str, body: Vec<u8>) -> Result<Request<Full<Bytes>>, Failure> {
        let uri = self.uri.reveal();
        let path = uri.path_and_query().map_or("/", |p| p.as_str());
        let host = uri.authority().map_or("", |a| a.as_str());
        Request::post(path)
            .header(HOST, host)
            .header(USER_AGENT, "e911d")
            .header(CONTENT_TYPE, "application/json")
            .header(IDEMPOTENCY_KEY, format!("\"{key}\""))
            .body(Full::new(body.into()))
            .map_err(|_| Failure::Internal)
    }

    /// Reads the system's roots when they are first needed. Where they cannot be read, the next try reads them again.
    fn tls(&self) -> Result<TlsConnector, Failure> {
        install_ring();
        if let Some(tls) = self.tls.get() {
            return Ok(tls.clone());
        }
        let config = ClientConfig::with_platform_verifier().map_err(|_| Failure::NoTls)?;
        Ok(self.tls.get_or_init(|| TlsConnector::from(Arc::new(config))).clone())
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<(), Failure> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|_| Failure::Lost)?;
    // Ends with this try: a set aborts what it holds.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let status = sender.send_request(request).await.map_err(|_| Failure::Lost)?.status();
    if status.is_success() { Ok(()) } else { Err(Failure::Refused(status.as_u16())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_cannot_be_posted_to_are_refused() {
        for (url, want) in [
            ("", Some(BadUrl::Url)),
            ("example.com", Some(BadUrl::Url)),
            ("ftp://example.com/", Some(BadUrl::Url)),
            ("https://", Some(BadUrl::Url)),
            ("https:///path", Some(BadUrl::Url)),
            ("https://user:secret@example.com/", Some(BadUrl::Login)),
            ("https://example.com", None),
            ("http://[::1]:8080/a?b=c", None),
        ] {
            assert_eq!(Hook::new(url).err(), want, "{url}");
        }
    }

    #[test]
    fn what_another_machine_is_sent_unencrypted_is_known() {
        for (url, want) in [
            ("http://example.com/", true),
            ("http://10.0.0.1/", true),
            ("http://127.0.0.1:8080/", false),
            ("http://[::1]/", false),
            ("http://localhost/", false),
            ("https://example.com/", false),
        ] {
            assert_eq!(Hook::new(url).expect("a URL").is_in_the_clear(), want, "{url}");
        }
    }
}

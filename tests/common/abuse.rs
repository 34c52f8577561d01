//! Strangers on streams who mean no good, by the hundred: TCP, TLS and WebSocket, each in a task of its own.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

/// A stream, whatever it is made of.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// What the strangers speak below SIP.
#[derive(Clone)]
pub enum Kind {
    Tcp,
    /// Believing this.
    Tls(TlsConnector),
    Ws,
}

impl Kind {
    /// TLS whose servers are vouched for by this authority.
    pub fn tls(roots: &Path) -> Self {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(CertificateDer::pem_file_iter(roots).unwrap().flatten());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Self::Tls(TlsConnector::from(Arc::new(config.with_root_certificates(store).with_no_client_auth())))
    }

    /// An open connection from this address; `None` where the gateway did not want it.
    pub async fn open(&self, from: IpAddr, to: SocketAddr) -> Option<Box<dyn Stream>> {
        let mut stream = connect(from, to).await?;
        match self {
            Self::Tcp => Some(Box::new(stream)),
            Self::Tls(connector) => {
                let shaken = timeout(Duration::from_secs(30), connector.connect(ServerName::IpAddress(to.ip().into()), stream));
                Some(Box::new(shaken.await.ok()?.ok()?))
            }
            Self::Ws => {
                let ask = format!(
                    "GET / HTTP/1.1\r\nHost: {to}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: sip\r\n\r\n"
                );
                stream.write_all(ask.as_bytes()).await.ok()?;
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.ok()?);
                }
                head.starts_with(b"HTTP/1.1 101 ").then(|| Box::new(stream) as Box<dyn Stream>)
            }
        }
    }

    /// What the beginning of a message looks like on it: one that says that much more will come.
    pub fn beginning(&self) -> Vec<u8> {
        let text = b"OPTIONS sip:x SIP/2.0\r\nX: ";
        match self {
            Self::Ws => frame(0x81, text, 1000),
            Self::Tcp | Self::Tls(_) => text.to_vec(),
        }
    }
}

/// A plain connection from this address.
pub async fn connect(from: IpAddr, to: SocketAddr) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().ok()?;
    socket.bind(SocketAddr::new(from, 0)).ok()?;
    timeout(Duration::from_secs(10), socket.connect(to)).await.ok()?.ok()
}

/// A frame's header and these bytes of its payload, masked with zeros, which is `length` long all in all.
pub fn frame(first: u8, part: &[u8], length: u16) -> Vec<u8> {
    let mut frame = vec![first, 0xfe];
    frame.extend(length.to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(part);
    frame
}

/// Many strangers, half of them silent, half of them sending a byte at a time.
pub struct Strangers {
    runtime: Runtime,
    counts: Arc<[AtomicUsize; 2]>,
    all: usize,
}

impl Strangers {
    /// So many of each kind, from these addresses in turn.
    pub fn come(kind: &Kind, each: usize, from: Vec<IpAddr>, to: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let counts = Arc::new([const { AtomicUsize::new(0) }; 2]);
        for n in 0..2 * each {
            let (kind, from, counts) = (kind.clone(), from[n % from.len()], Arc::clone(&counts));
            runtime.spawn(async move {
                if let Some(stream) = kind.open(from, to).await {
                    counts[0].fetch_add(1, Ordering::Relaxed);
                    stay(stream, (n % 2 == 0).then(|| kind.beginning())).await;
                }
                counts[1].fetch_add(1, Ordering::Relaxed);
            });
        }
        Self { runtime, counts, all: 2 * each }
    }

    /// How many were let in so far, and how many are gone.
    pub fn counts(&self) -> (usize, usize) {
        (self.counts[0].load(Ordering::Relaxed), self.counts[1].load(Ordering::Relaxed))
    }

    /// Whether all have come and are gone again.
    pub fn are_gone(&self) -> bool {
        self.counts().1 == self.all
    }

    /// Runs something among them.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }
}

/// Until the far end closes: silent, or dripping.
async fn stay(mut stream: Box<dyn Stream>, beginning: Option<Vec<u8>>) {
    let mut buffer = [0; 256];
    let drips = beginning.is_some();
    if let Some(beginning) = beginning {
        let _ = stream.write_all(&beginning).await;
        let _ = stream.flush().await;
    }
    loop {
        tokio::select! {
            read = stream.read(&mut buffer) => if !read.is_ok_and(|n| n > 0) { return },
            () = sleep(Duration::from_millis(200)), if drips => {
                if stream.write_all(b"x").await.is_err() || stream.flush().await.is_err() {
                    return;
                }
            }
        }
    }
}

/// One stranger who does something that nobody should: there are [`WAYS`] of it. Until the gateway closes the connection, or
/// the stranger has had enough.
pub async fn misbehave(way: usize, from: IpAddr, gateway: &Ports, tls: &Kind) {
    // Longer than the gateway bears any of it.
    let _ = timeout(Duration::from_secs(40), misbehave_for_long(way, from, gateway, tls)).await;
}

/// How many ways there are.
pub const WAYS: usize = 16;

/// Where the gateway takes what.
#[derive(Clone, Copy)]
pub struct Ports {
    pub tcp: SocketAddr,
    pub tls: SocketAddr,
    pub ws: SocketAddr,
}

const OPTIONS: &str = "OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/TCP x;branch=z9hG4bKa\r\nFrom: <sip:a@x>;tag=1\r\nTo: <sip:a@x>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n";

async fn misbehave_for_long(way: usize, from: IpAddr, gateway: &Ports, tls: &Kind) -> Option<()> {
    let whole = format!("{OPTIONS}Content-Length: 0\r\n\r\n");
    match way {
        // Half a message, then a reset.
        0 => {
            let mut stream = connect(from, gateway.tcp).await?;
            stream.write_all(OPTIONS.as_bytes()).await.ok()?;
            sleep(Duration::from_millis(50)).await;
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).ok()?;
        }
        // Less than its Content-Length says.
        1 => {
            let mut stream = connect(from, gateway.tcp).await?;
            stream.write_all(format!("{OPTIONS}Content-Length: 200\r\n\r\nshort").as_bytes()).await.ok()?;
            listen(&mut stream).await;
        }
        // A header line, and a body, without end.
        2 => pour(&mut connect(from, gateway.tcp).await?, &format!("{OPTIONS}X: "), b"x").await?,
        3 => {
            let mut stream = connect(from, gateway.tcp).await?;
            pour(&mut stream, &format!("{OPTIONS}Content-Length: 99999999\r\n\r\n"), b"y").await?;
        }
        // Ten thousand keep-alives, with and without a look at the answers.
        4 | 5 => {
            let mut stream = connect(from, gateway.tcp).await?;
            stream.write_all(&b"\r\n\r\n".repeat(10_000)).await.ok()?;
            if way == 4 {
                listen(&mut stream).await;
            } else {
                sleep(Duration::from_secs(5)).await;
            }
        }
        // Garbage, framed and not.
        6 => pour(&mut connect(from, gateway.tcp).await?, "", b"\0\xff garbage\r\n").await?,
        7 => {
            let mut stream = connect(from, gateway.tcp).await?;
            let framed = "NONSENSE\u{1} \u{7f} SIP/2.0\r\nl: 4\r\n\r\n\r\n\r\n".repeat(500);
            stream.write_all(framed.as_bytes()).await.ok()?;
            listen(&mut stream).await;
        }
        // Asks and never reads.
        8 => pour(&mut connect(from, gateway.tcp).await?, "", whole.as_bytes()).await?,
        9 => {
            let mut stream = tls.open(from, gateway.tls).await?;
            pour(&mut stream, "", whole.as_bytes()).await?;
        }
        // Half a client hello, and one that comes a byte at a time.
        10 | 11 => {
            let mut stream = connect(from, gateway.tls).await?;
            let mut hello = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
            hello.extend([7; 100]);
            let (first, rest) = hello.split_at(if way == 10 { hello.len() } else { 1 });
            stream.write_all(first).await.ok()?;
            for byte in rest {
                sleep(Duration::from_millis(200)).await;
                stream.write_all(&[*byte]).await.ok()?;
            }
            listen(&mut stream).await;
        }
        // A message in frames of a byte, frames that are too large, and frames without a mask.
        12 => {
            let mut stream = Kind::Ws.open(from, gateway.ws).await?;
            let bytes = whole.as_bytes();
            for (at, byte) in bytes.iter().enumerate() {
                let first = u8::from(at == 0) | if at + 1 == bytes.len() { 0x80 } else { 0 };
                stream.write_all(&[first, 0x81, 0, 0, 0, 0, *byte]).await.ok()?;
            }
            assert!(stream.read_u8().await.is_ok(), "the message is answered");
        }
        13 => {
            let mut stream = Kind::Ws.open(from, gateway.ws).await?;
            stream.write_all(&[0x81, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]).await.ok()?;
            pour(&mut stream, "", b"zzzzzzzz").await?;
        }
        14 => {
            let mut stream = Kind::Ws.open(from, gateway.ws).await?;
            pour(&mut stream, "", b"\x81\x02hi").await?;
        }
        // An HTTP request without end.
        _ => pour(&mut connect(from, gateway.ws).await?, "GET / HTTP/1.1\r\nX: ", b"x").await?,
    }
    Some(())
}

/// Writes it again and again, and reads nothing.
async fn pour(stream: &mut (impl AsyncWrite + Unpin), first: &str, again: &[u8]) -> Option<()> {
    stream.write_all(first.as_bytes()).await.ok()?;
    let chunk = again.repeat(4096usize.div_ceil(again.len()));
    loop {
        stream.write_all(&chunk).await.ok()?;
        stream.flush().await.ok()?;
    }
}

/// Reads until the far end closes.
async fn listen(stream: &mut (impl AsyncRead + Unpin)) {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
}

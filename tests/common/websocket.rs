//! Peers that speak WebSocket: by Debian's python3-websockets, and frame by frame.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command};
use std::time::Duration;

use super::child::{self, Child};
use super::clock::until;
use super::peer::{Peer, SOON};
use super::tls::{Openssl, speaking};

const PYTHON: &str = "/usr/bin/python3";

/// Whether Python and its WebSocket library are installed; as [`child::is_installed`].
pub fn is_installed() -> bool {
    if Command::new(PYTHON).args(["-c", "import websockets"]).output().is_ok_and(|o| o.status.success()) {
        return true;
    }
    let why = "python3-websockets is not installed (apt-get install python3-websockets)";
    assert!(std::env::var_os("E911D_REQUIRE_PEERS").is_none_or(|v| v != "1"), "{why}");
    child::skipped(why);
    false
}

/// Where JsSIP and a WebSocket for Node are installed: `target/jssip/node_modules`, by `tests/run`. Says on the terminal what
/// is skipped where they are not; they are no part of Debian, so nobody need have them.
fn jssip() -> Option<PathBuf> {
    let modules = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/jssip/node_modules");
    let there = child::find("node").is_some() && ["jssip", "ws"].iter().all(|m| modules.join(m).is_dir());
    if !there {
        child::skipped("JsSIP is not installed (npm install --prefix target/jssip jssip@3 ws@8)");
    }
    there.then_some(modules)
}

/// A phone made of JsSIP under Node, which answers whoever calls. Talks to it by lines: `dial URI`, `hangup`.
pub struct JsSip {
    child: Child,
    stdin: ChildStdin,
}

impl JsSip {
    /// Starts one that registers; `None` where JsSIP is not installed.
    pub fn register(to: SocketAddr, (user, password): (&str, &str), roots: Option<&Path>) -> Option<Self> {
        let mut command = Command::new("node");
        command.env("NODE_PATH", jssip()?);
        command.arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers/jssip/phone.js"));
        let scheme = if roots.is_some() { "wss" } else { "ws" };
        command.arg(format!("{scheme}://{to}/")).arg(format!("sip:{user}@{}", to.ip())).arg(password);
        if let Some(roots) = roots {
            command.env("NODE_EXTRA_CA_CERTS", roots);
        }
        let (child, stdin) = Child::start_talking("jssip", command);
        Some(Self { child, stdin })
    }

    /// Tells it something.
    pub fn tell(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
    }

    /// Waits until it has said this so many times since its start.
    pub fn until_said(&self, words: &str, times: usize) {
        until(&format!("JsSIP says {words:?}"), Duration::from_secs(15), || {
            (self.child.output().matches(words).count() >= times).then_some(())
        });
    }
}

/// A page's phone, by `/sip` of the HTTP server that gave the page.
pub fn page(http: SocketAddr) -> (Peer, Openssl) {
    let mut command = Command::new(PYTHON);
    command.arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers/websocket/relay.py"));
    command.arg(format!("ws://{http}/sip")).arg(format!("http://{http}"));
    let (peer, child) = speaking(command, SocketAddr::new(http.ip(), 1), "ws");
    (peer.calls_itself("df7jal23ls0d.invalid"), child)
}

/// A phone that has connected: `ws`, or `wss` believing an authority. Like a browser it knows no address of its own.
pub fn phone(to: SocketAddr, roots: Option<&Path>) -> (Peer, Openssl) {
    let scheme = if roots.is_some() { "wss" } else { "ws" };
    let mut command = Command::new(PYTHON);
    command.arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers/websocket/relay.py"));
    command.arg(format!("{scheme}://{to}/")).arg("");
    command.args(roots);
    let (peer, child) = speaking(command, SocketAddr::new(to.ip(), 1), scheme);
    (peer.calls_itself("df7jal23ls0d.invalid"), child)
}

/// A WebSocket of which every byte is ours.
pub struct Raw(TcpStream);

impl Raw {
    /// Asks for it with these header lines; gives the status and the socket.
    pub fn ask(to: SocketAddr, more: &str) -> (u16, Self) {
        Self::ask_at(to, "/", more)
    }

    /// The same by another path.
    pub fn ask_at(to: SocketAddr, path: &str, more: &str) -> (u16, Self) {
        let mut stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let fixed = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {to}\r\n{fixed}{more}\r\n").unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        assert!(status != 101 || head.to_ascii_lowercase().contains("sec-websocket-protocol: sip\r\n"), "{head}");
        (status, Self(stream))
    }

    /// One that is open.
    pub fn open(to: SocketAddr) -> Self {
        let (status, socket) = Self::ask(to, "Sec-WebSocket-Protocol: sip\r\n");
        assert_eq!(status, 101);
        socket
    }

    /// Sends a frame; `head` is its first byte: FIN and opcode. Masked, as clients must, with zeros.
    pub fn send(&mut self, head: u8, payload: &[u8]) {
        let mut frame = vec![head];
        match payload.len() {
            n @ 0..=125 => frame.push(0x80 | n as u8),
            n @ 126..=0xffff => frame.extend([0xfe].iter().chain(&(n as u16).to_be_bytes())),
            n => frame.extend([0xff].iter().chain(&(n as u64).to_be_bytes())),
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        let _ = self.0.write_all(&frame);
    }

    /// Sends these very bytes.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// The next frame: first byte and payload; `None` where the connection is closed, or nothing comes in time.
    pub fn receive(&mut self, within: Duration) -> Option<(u8, Vec<u8>)> {
        self.0.set_read_timeout(Some(within)).unwrap();
        let mut head = [0; 2];
        self.0.read_exact(&mut head).ok()?;
        let length = match head[1] {
            126 => {
                let mut more = [0; 2];
                self.0.read_exact(&mut more).ok()?;
                usize::from(u16::from_be_bytes(more))
            }
            127 => panic!("no message of ours is so large"),
            n => usize::from(n),
        };
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).ok()?;
        Some((head[0], payload))
    }
}

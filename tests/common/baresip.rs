//! A real phone: baresip with an account at the PBX, steered over its control socket.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::child::Child;
use super::clock::{Deadline, until};
use super::net::Transport;

/// The running phone.
pub struct Baresip {
    child: Child,
    control: TcpStream,
    unread: Vec<u8>,
    events: Vec<String>,
    dir: tempfile::TempDir,
}

/// What a phone does when it rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Answers at once.
    Auto,
    /// Rings until told otherwise.
    Manual,
}

impl Baresip {
    /// Starts a phone at `ip` that registers as `user` at `pbx`.
    pub fn start(ip: IpAddr, user: &str, pbx: SocketAddr, answer: Answer) -> Self {
        let pbx = pbx.ip();
        Self::with_account(ip, user, &format!("<sip:{user}@{pbx}>;outbound=\"sip:{pbx}\";regint=30"), answer, 4)
    }

    /// Starts a phone at `ip` that registers as `user` with a password, over this transport.
    pub fn register(ip: IpAddr, user: (&str, &str), at: SocketAddr, transport: Transport, answer: Answer) -> Self {
        Self::register_with_lines(ip, user, at, transport, answer, 4)
    }

    /// The same with so many lines: to one call more it says that it is busy.
    pub fn register_with_lines(
        ip: IpAddr,
        (user, password): (&str, &str),
        at: SocketAddr,
        transport: Transport,
        answer: Answer,
        lines: usize,
    ) -> Self {
        let uri = format!("sip:{at};transport={}", transport.name());
        let account = format!("<sip:{user}@{at};transport={}>;outbound=\"{uri}\"", transport.name());
        Self::with_account(ip, user, &format!("{account};auth_user={user};auth_pass={password};regint=60"), answer, lines)
    }

    /// A phone that registers by a UDP flow and by a TCP flow (RFC 5626), and has done so.
    pub fn register_twice(ip: IpAddr, (user, password): (&str, &str), at: SocketAddr, answer: Answer) -> Self {
        let flows = format!("outbound=\"sip:{at};transport=udp\";outbound2=\"sip:{at};transport=tcp\";sipnat=outbound");
        let account = format!("<sip:{user}@{at}>;{flows};auth_user={user};auth_pass={password};regint=60");
        let phone = Self::with_account(ip, user, &account, answer, 4);
        until("both flows of baresip", Duration::from_secs(10), || {
            (phone.child.output().matches("200 OK").count() >= 2).then_some(())
        });
        phone
    }

    /// A phone that registers over TLS, believing this authority.
    pub fn register_by_tls(ip: IpAddr, (user, password): (&str, &str), at: SocketAddr, roots: &Path, answer: Answer) -> Self {
        let uri = format!("sip:{at};transport=tls");
        let account =
            format!("<sip:{user}@{at};transport=tls>;outbound=\"{uri}\";auth_user={user};auth_pass={password};regint=60");
        Self::with_more(ip, user, &account, answer, 4, &format!("sip_cafile\t\t{}\n", roots.display()))
    }

    /// A phone that registers and encrypts its audio: `srtp` offers it, `srtp-mand` asks for it.
    pub fn register_with_srtp(ip: IpAddr, (user, password): (&str, &str), at: SocketAddr, how: &str) -> Self {
        let account =
            format!("<sip:{user}@{at}>;outbound=\"sip:{at}\";auth_user={user};auth_pass={password};regint=60;mediaenc={how}");
        Self::with_more(ip, user, &account, Answer::Auto, 4, "module srtp.so\n")
    }

    /// One that answers whoever calls this user, by itself; `how` as in [`Baresip::register_with_srtp`], or nothing.
    pub fn answers(ip: IpAddr, user: &str, how: &str) -> Self {
        let encryption = if how.is_empty() { String::new() } else { format!(";mediaenc={how}") };
        let account = format!("<sip:{user}@{ip}>;regint=0{encryption}");
        Self::with_more(ip, user, &account, Answer::Auto, 4, if how.is_empty() { "" } else { "module srtp.so\n" })
    }

    fn with_account(ip: IpAddr, user: &str, account: &str, answer: Answer, lines: usize) -> Self {
        Self::with_more(ip, user, account, answer, lines, "")
    }

    fn with_more(ip: IpAddr, user: &str, account: &str, answer: Answer, lines: usize, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let templates = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers/baresip");
        let answer = if answer == Answer::Auto { "auto" } else { "manual" };
        for name in ["config", "accounts"] {
            let text = std::fs::read_to_string(templates.join(name)).unwrap();
            let text = text.replace("@ACCOUNT@", account).replace("@ANSWER@", answer).replace("@CALLS@", &lines.to_string());
            let text = text.replace("@ADDRESS@", &ip.to_string()).replace("@MODULES@", &modules().display().to_string());
            let text = text.replace("@RECORDINGS@", &dir.path().display().to_string());
            let text = if name == "config" { text + more } else { text };
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        std::fs::write(dir.path().join("contacts"), "").unwrap();
        let mut command = Command::new("baresip");
        command.arg("-f").arg(dir.path()).env("HOME", dir.path());
        let child = Child::start(&format!("baresip {user}"), command);
        let control = until("baresip's control socket", Duration::from_secs(10), || TcpStream::connect((ip, 4444)).ok());
        control.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        Self { child, control, unread: Vec::new(), events: Vec::new(), dir }
    }

    /// Waits until it has said this on its terminal, at any time since its start: it registers before anybody can ask it.
    pub fn until_said(&self, words: &str, within: Duration) {
        until(&format!("baresip says {words:?}"), within, || self.child.output().contains(words).then_some(()));
    }

    /// Dials.
    pub fn dial(&mut self, uri: &str) {
        self.command("dial", uri);
    }

    /// Hangs up.
    pub fn hang_up(&mut self) {
        self.command("hangup", "");
    }

    /// Waits for an event, for example `CALL_ESTABLISHED`, and takes it and all before it; gives its JSON text.
    pub fn until(&mut self, event: &str, within: Duration) -> String {
        self.event_within(event, within).unwrap_or_else(|| panic!("the phone did not say {event}; it said {:?}", self.events))
    }

    /// The same; `None` where it does not come.
    pub fn event_within(&mut self, event: &str, within: Duration) -> Option<String> {
        let deadline = Deadline::after(within);
        let wanted = format!("\"{event}\"");
        loop {
            if let Some(at) = self.events.iter().position(|e| e.contains(&wanted)) {
                return self.events.drain(..=at).next_back();
            }
            if deadline.passed() {
                return None;
            }
            self.read();
        }
    }

    /// All that it has heard in its calls so far, 16 bits a sample.
    pub fn heard(&self) -> Vec<i16> {
        let mut files: Vec<_> = std::fs::read_dir(self.dir.path()).unwrap().flatten().map(|f| f.path()).collect();
        files.retain(|f| f.to_string_lossy().ends_with("-dec.wav"));
        files.sort();
        let samples = |file: &PathBuf| {
            let bytes = std::fs::read(file).unwrap();
            let data = bytes.windows(4).position(|w| w == b"data").expect("a WAV file") + 8;
            bytes[data..].chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect::<Vec<_>>()
        };
        files.iter().flat_map(samples).collect()
    }

    fn command(&mut self, name: &str, parameters: &str) {
        let json = format!("{{\"command\":\"{name}\",\"params\":\"{parameters}\"}}");
        write!(self.control, "{}:{json},", json.len()).unwrap();
    }

    /// The control socket speaks netstrings: `5:hello,`.
    fn read(&mut self) {
        let mut buffer = [0; 4096];
        match self.control.read(&mut buffer) {
            Ok(n) => self.unread.extend_from_slice(&buffer[..n]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(e) => panic!("baresip's control socket: {e}"),
        }
        while let Some(colon) = self.unread.iter().position(|&b| b == b':') {
            let length: usize = String::from_utf8_lossy(&self.unread[..colon]).parse().expect("a netstring's length");
            if self.unread.len() < colon + length + 2 {
                break;
            }
            let text = String::from_utf8_lossy(&self.unread[colon + 1..colon + 1 + length]).into_owned();
            self.unread.drain(..colon + length + 2);
            if text.contains("\"event\"") {
                self.events.push(text);
            }
        }
    }
}

fn modules() -> PathBuf {
    let folders =
        ["/usr/lib/baresip/modules", "/usr/lib/x86_64-linux-gnu/baresip/modules", "/usr/lib/aarch64-linux-gnu/baresip/modules"];
    let there = folders.iter().map(Path::new).find(|f| f.join("menu.so").exists());
    there.unwrap_or_else(|| panic!("baresip's modules are in none of {folders:?}")).to_owned()
}

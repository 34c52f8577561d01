//! SIPp as PBX, trunk and PSAP: it plays a scenario of `tests/peers/sipp`, and its message trace is what was seen on the wire.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::child::{Child, tail};
use super::clock::until;
use super::message::Message;
use super::net::{Transport, wait_until_bound};

/// How SIPp shall be started; ends with [`start`](Self::start) or [`run`](Self::run).
#[derive(Clone, Debug)]
pub struct Sipp {
    scenario: &'static str,
    at: SocketAddr,
    to: Option<SocketAddr>,
    transport: Transport,
    status: String,
    provisional: String,
    keys: Vec<(&'static str, String)>,
    users: Vec<String>,
    calls: usize,
    hold: Duration,
    rate: u32,
    timeout: Duration,
}

impl Sipp {
    /// Answers at this address, once.
    pub fn answers(scenario: &'static str, transport: Transport, at: SocketAddr) -> Self {
        Self {
            scenario,
            at,
            to: None,
            transport,
            status: "503 Service Unavailable".to_owned(),
            provisional: "180 Ringing".to_owned(),
            keys: Vec::new(),
            users: Vec::new(),
            calls: 1,
            hold: Duration::from_millis(100),
            rate: 50,
            timeout: Duration::from_secs(25),
        }
    }

    /// Calls `uri` as `user` from this address.
    pub fn calls(scenario: &'static str, transport: Transport, at: SocketAddr, to: SocketAddr, user: &str, uri: &str) -> Self {
        let keys = vec![("ruri", uri.to_owned()), ("domain", host(at)), ("extra", "User-Agent: pbx/1.0".to_owned())];
        Self { to: Some(to), keys, users: vec![user.to_owned()], ..Self::answers(scenario, transport, at) }
    }

    /// The final response that the scenario gives.
    pub fn status(mut self, status: &str) -> Self {
        self.status = status.to_owned();
        self
    }

    /// The provisional response that the scenario gives.
    pub fn provisional(mut self, provisional: &str) -> Self {
        self.provisional = provisional.to_owned();
        self
    }

    /// Sets a keyword of the scenario.
    pub fn key(mut self, name: &'static str, value: &str) -> Self {
        self.keys.retain(|(n, _)| *n != name);
        self.keys.push((name, value.to_owned()));
        self
    }

    /// One call for each of these users.
    pub fn users(mut self, users: impl IntoIterator<Item = String>) -> Self {
        self.users = users.into_iter().collect();
        self.calls = self.users.len();
        self
    }

    /// Plays the scenario so often.
    pub fn times(mut self, calls: usize) -> Self {
        self.calls = calls;
        self
    }

    /// The scenario's pause.
    pub fn hold(mut self, hold: Duration) -> Self {
        self.hold = hold;
        self
    }

    /// Calls a second.
    pub fn rate(mut self, rate: u32) -> Self {
        self.rate = rate;
        self
    }

    /// How long all of it may take.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Starts it; an answering one is ready on return.
    pub fn start(self) -> Running {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        // SIPp wants status codes as digits when it reads the scenario, so they cannot be keywords.
        let scenario = std::fs::read_to_string(scenario_file(self.scenario)).unwrap();
        let scenario = scenario.replace("@status@", &self.status).replace("@provisional@", &self.provisional);
        std::fs::write(file("scenario.xml"), scenario).unwrap();
        let mut command = Command::new("sipp");
        command.current_dir(dir.path());
        command.arg("-sf").arg(file("scenario.xml"));
        command.args(["-i", &bare(self.at), "-p", &self.at.port().to_string(), "-bind_local", "-nostdin"]);
        command.args(["-t", if self.transport == Transport::Udp { "u1" } else { "t1" }]);
        command.args(["-m", &self.calls.to_string(), "-d", &self.hold.as_millis().to_string()]);
        command.args(["-timeout", &format!("{}s", self.timeout.as_secs()), "-timeout_error"]);
        command.arg("-trace_err").arg("-error_file").arg(file("errors"));
        command.arg("-trace_msg").arg("-message_file").arg(file("messages"));
        command.args(["-message_overwrite", "false"]);
        for (name, value) in &self.keys {
            command.args(["-key", name, value]);
        }
        if let Some(to) = self.to {
            let users = format!("SEQUENTIAL\n{}\n", self.users.join(";\n") + ";");
            std::fs::write(file("users.csv"), users).unwrap();
            command.arg("-inf").arg(file("users.csv")).args(["-r", &self.rate.to_string()]).arg(to.to_string());
        }
        let mut running = Running {
            child: Child::start(&format!("sipp {} at {}", self.scenario, self.at), command),
            name: format!("SIPp {} at {}", self.scenario, self.at),
            dir,
            timeout: self.timeout,
        };
        if self.to.is_none() {
            if let Some(status) = running.child.wait(Duration::from_millis(20)) {
                running.fail(&format!("ended at once, {status}"));
            }
            wait_until_bound(self.transport, self.at);
        }
        running
    }

    /// Starts it and waits for its good end.
    pub fn run(self) -> Trace {
        self.start().finish()
    }
}

/// SIPp at work. Dropped, it is killed.
pub struct Running {
    child: Child,
    name: String,
    dir: tempfile::TempDir,
    timeout: Duration,
}

impl Running {
    /// Waits until all its calls went as the scenario says; panics with SIPp's complaints otherwise.
    pub fn finish(mut self) -> Trace {
        match self.child.wait(self.timeout + Duration::from_secs(5)) {
            Some(status) if status.success() => self.trace(),
            Some(status) => self.fail(&status.to_string()),
            None => self.fail("does not end"),
        }
    }

    /// Waits for its end, good or bad.
    pub fn end(mut self) -> Trace {
        if self.child.wait(self.timeout + Duration::from_secs(5)).is_none() {
            self.fail("does not end");
        }
        self.trace()
    }

    /// What was seen so far.
    pub fn trace(&self) -> Trace {
        let file = std::fs::read(self.dir.path().join("messages")).unwrap_or_default();
        Trace(parse_trace(&file))
    }

    /// Waits until it has received a message for which `wanted` holds.
    pub fn until_received(&self, what: &str, wanted: impl Fn(&Message) -> bool) -> Message {
        until(&format!("{} receives {what}", self.name), Duration::from_secs(10), || {
            self.trace().received().find(|m| wanted(m)).cloned()
        })
    }

    fn fail(&self, why: &str) -> ! {
        let read =
            |name: &str| String::from_utf8_lossy(&std::fs::read(self.dir.path().join(name)).unwrap_or_default()).into_owned();
        let (errors, messages) = (read("errors"), read("messages"));
        panic!("{}: {why}\n--- errors\n{}\n--- messages\n{}", self.name, tail(&errors, 3000), tail(&messages, 6000));
    }
}

/// SIPp's message trace.
#[derive(Clone, Debug)]
pub struct Trace(Vec<(Way, Message)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Sent,
    Received,
}

impl Trace {
    /// What it received, retransmissions too.
    pub fn received(&self) -> impl Iterator<Item = &Message> {
        self.0.iter().filter(|(way, _)| *way == Way::Received).map(|(_, m)| m)
    }

    /// What it sent.
    pub fn sent(&self) -> impl Iterator<Item = &Message> {
        self.0.iter().filter(|(way, _)| *way == Way::Sent).map(|(_, m)| m)
    }

    /// The first lines of a call's messages, in order.
    pub fn story(&self, call_id: &str) -> String {
        let of_call = self.0.iter().filter(|(_, m)| m.header("Call-ID") == call_id);
        of_call.map(|(way, m)| format!("{way:?}: {} (CSeq {})\n", m.start, m.header("CSeq"))).collect()
    }

    /// Requests received with that method, one for each Call-ID and CSeq.
    pub fn requests(&self, method: &str) -> Vec<&Message> {
        let mut seen = Vec::new();
        let all = self.received().filter(|m| m.is_request() && m.method() == method);
        all.filter(|m| {
            let id = (m.header("Call-ID"), m.cseq());
            let new = !seen.contains(&id);
            seen.push(id);
            new
        })
        .collect()
    }

    /// The first such request.
    pub fn request(&self, method: &str) -> &Message {
        self.requests(method).first().copied().unwrap_or_else(|| panic!("no {method} received"))
    }

    /// Responses received with that status.
    pub fn responses(&self, status: u16) -> Vec<&Message> {
        self.received().filter(|m| m.status() == status).collect()
    }
}

/// Waits for both ends, and shows both traces where one failed.
pub fn finish_both(one: Running, other: Running) -> (Trace, Trace) {
    (one.finish(), other.finish())
}

fn scenario_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers/sipp").join(name)
}

fn bare(address: SocketAddr) -> String {
    address.ip().to_string()
}

fn host(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(a) => a.ip().to_string(),
        SocketAddr::V6(a) => format!("[{}]", a.ip()),
    }
}

/// The file is blocks of: a line of dashes with a time, `UDP message received [523] bytes :` or
/// `UDP message sent (523 bytes):`, an empty line, the message.
fn parse_trace(file: &[u8]) -> Vec<(Way, Message)> {
    const MARK: &[u8] = b"-----------------------------------------------";
    let mut messages = Vec::new();
    let mut rest = file;
    while let Some(at) = rest.windows(MARK.len()).position(|w| w == MARK) {
        rest = &rest[at..];
        let Some((_, after)) = split_line(rest) else { break };
        rest = after;
        let Some((title, body)) = split_line(rest) else { break };
        let title = String::from_utf8_lossy(title);
        let way = match title.as_ref() {
            t if t.contains("message received") => Way::Received,
            t if t.contains("message sent") => Way::Sent,
            _ => continue,
        };
        let digits: String = title.chars().skip_while(|c| !"[(".contains(*c)).skip(1).take_while(char::is_ascii_digit).collect();
        let Ok(length) = digits.parse::<usize>() else { continue };
        let Some((_, body)) = split_line(body) else { break };
        let Some(message) = body.get(..length) else { break };
        if message.windows(4).any(|w| w == b"\r\n\r\n") {
            messages.push((way, Message::parse(message)));
        }
        rest = &body[length..];
    }
    messages
}

fn split_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|&b| b == b'\n')?;
    Some((&text[..end], &text[end + 1..]))
}

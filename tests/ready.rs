//! `ready` and the daily look at the prerequisites, against the real daemon among real neighbours.
#[macro_use]
mod common;

use common::mailbox::Mailbox;
use common::{Config, Gateway, Message, Net, Transport, until};
use serde_json::Value;
use std::net::UdpSocket;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Somebody who answers every OPTIONS with this, until it is dropped.
struct Answers {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Answers {
    fn start(at: std::net::SocketAddr, status: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let socket = UdpSocket::bind(at).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((n, from)) = socket.recv_from(&mut buffer) else { continue };
                let request = Message::parse(&buffer[..n]);
                let kept = |name: &str| matches!(name.to_lowercase().as_str(), "via" | "from" | "to" | "call-id" | "cseq");
                let lines: String =
                    request.headers.iter().filter(|(n, _)| kept(n)).map(|(n, v)| format!("{n}: {v}\r\n")).collect();
                let answer = format!("SIP/2.0 {status}\r\n{lines}Content-Length: 0\r\n\r\n");
                socket.send_to(answer.as_bytes(), from).unwrap();
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Runs `e911d ready --json` with these words: exit code and report.
fn ready(gateway: &Gateway, words: &[&str]) -> (i32, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_e911d"));
    let output = command.arg("ready").arg("--json").args(words).arg("-c").arg(gateway.config_file()).output().unwrap();
    let report =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap(), report)
}

/// The names of the checks that fail.
fn failing(checks: &Value) -> Vec<String> {
    let all = checks.as_array().unwrap().iter();
    all.filter(|c| c["ok"] == false)
        .map(|c| {
            assert!(c["why"].as_str().unwrap().len() > 10, "a failed check says what to do: {c}");
            format!("{}{}", c["name"].as_str().unwrap(), c["of"].as_str().map(|of| format!(" {of}")).unwrap_or_default())
        })
        .collect()
}

/// An agent who lacks nothing.
const ALICE: &str = "outbound_profile = \"support\"\nmailbox = \"alice@example.com\"\ncontacts = \"lead@example.com\"\n\
                     location = { house = \"1\", street = \"Main St\", city = \"Redmond\", state = \"WA\", zip = \"98052\" }";

fn config(net: &Net, more: &str) -> Config {
    let mut config = Config::new(net, Transport::Udp).agent("alice", ALICE).agent("bob", "locked = true");
    config.more.push_str("[[outbound_profile]]\nname = \"support\"\ntoll = true\n");
    config.more.push_str(more);
    config
}

/// The harness asks no trunk for its health: these are asked.
fn start(config: &Config) -> Gateway {
    let names = ["E911D__TRUNK__CARRIER_A__OPTIONS", "E911D__TRUNK__CARRIER_B__OPTIONS"];
    let mut config = config.clone();
    config.env.extend(names.map(|name| (name, "1s".to_owned())));
    Gateway::start(&config)
}

#[test]
fn a_site_that_lacks_nothing_is_ready_and_an_agent_who_lacks_something_is_told_what() {
    let net = Net::take();
    let mailbox = Mailbox::start(net.ip(60));
    let mail = format!("[notify]\nsmtp = \"{}\"\nfrom = \"E911 <e911@example.com>\"\n", mailbox.url());
    let _peers = [net.sip(21), net.sip(22), net.sip(50)].map(|at| Answers::start(at, "200 OK"));
    let gateway = start(&config(&net, &mail));
    until("the trunks to be asked", Duration::from_secs(10), || {
        let (code, report) = ready(&gateway, &["--agent", "alice"]);
        (code == 0 && report["ok"] == true).then_some(())
    });
    let (code, report) = ready(&gateway, &[]);
    assert_eq!((code, &report["ok"]), (1, &Value::Bool(false)));
    assert_eq!(failing(&report["site"]), [""; 0]);
    let agents = report["agents"].as_array().unwrap();
    assert_eq!(agents.iter().map(|a| a["id"].as_str().unwrap()).collect::<Vec<_>>(), ["alice", "bob"]);
    assert_eq!(failing(&agents[0]["checks"]), [""; 0]);
    assert_eq!(failing(&agents[1]["checks"]), ["profile", "location", "mailbox", "contacts"]);
    let desk = report["site"].as_array().unwrap().iter().find(|c| c["name"] == "desk").unwrap();
    assert!(desk["age"].is_u64(), "what was measured says when: {desk}");
}

#[test]
fn what_is_missing_at_the_site_is_named_with_its_trunk() {
    let net = Net::take();
    let _trunk = Answers::start(net.sip(21), "200 OK");
    let _desk = Answers::start(net.sip(50), "404 Not Found");
    let gateway = start(&config(&net, ""));
    until("carrier-b to be known as silent", Duration::from_secs(50), || {
        let (code, report) = ready(&gateway, &["--agent", "alice"]);
        assert_eq!(code, 1);
        (failing(&report["site"]) == ["trunk carrier-b", "desk", "mail"]).then_some(())
    });
}

#[test]
fn desk_unreachable_is_raised_by_the_look_that_runs_by_itself_and_cleared_once_the_desk_answers() {
    let net = Net::take();
    let gateway = start(&config(&net, "[readiness]\nafter = \"1s\"\n"));
    until("the alarm", Duration::from_secs(15), || {
        gateway.log().contains("alarm=\"desk_unreachable\" state=\"raised\"").then_some(())
    });
    let _desk = Answers::start(net.sip(50), "200 OK");
    until("the alarm's end", Duration::from_secs(40), || {
        let _ = ready(&gateway, &["--agent", "alice"]);
        gateway.log().contains("alarm=\"desk_unreachable\" state=\"cleared\"").then_some(())
    });
}

#[test]
fn mail_failing_is_raised_by_the_look_that_runs_by_itself_and_cleared_once_the_server_greets() {
    let net = Net::take();
    let at = std::net::SocketAddr::new(net.ip(60), 2525);
    let more = format!("[notify]\nsmtp = \"smtp://{at}\"\nfrom = \"E911 <e911@example.com>\"\n[readiness]\nafter = \"1s\"\n");
    let gateway = start(&config(&net, &more));
    until("the alarm", Duration::from_secs(15), || {
        gateway.log().contains("alarm=\"mail_failing\" state=\"raised\"").then_some(())
    });
    let _mailbox = Mailbox::start_at(at);
    until("the alarm's end", Duration::from_secs(40), || {
        let _ = ready(&gateway, &["--agent", "alice"]);
        gateway.log().contains("alarm=\"mail_failing\" state=\"cleared\"").then_some(())
    });
}

//! `ready` and the daily look at the prerequisites, against the real daemon among real neighbours.
#[macro_use]
mod common;

use common::mailbox::Mailbox;
use common::{Config, Gateway, Message, Net, Outgoing, Peer, Transport, until};
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

/// Runs `e911d test-call` beside the test: exit code and report.
fn test_call(gateway: &Gateway, agent: &str) -> JoinHandle<(i32, Value)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_e911d"));
    command.args(["test-call", "--json", "--agent", agent, "-c"]).arg(gateway.config_file());
    std::thread::spawn(move || {
        let output = command.output().unwrap();
        let report = serde_json::from_slice(&output.stdout);
        let report = report.unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&output.stderr).into_owned()));
        (output.status.code().unwrap(), report)
    })
}

fn steps(report: &Value) -> Vec<(&str, bool)> {
    let all = report["steps"].as_array().unwrap_or_else(|| panic!("{report}"));
    let steps: Vec<_> = all.iter().map(|s| (s["name"].as_str().unwrap(), s["ok"] == true)).collect();
    let times: Vec<_> = all.iter().map(|s| s["ms"].as_u64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    steps
}

#[test]
fn a_test_call_goes_the_agents_way_to_the_trunk_and_nobody_is_rung_for_its_callback() {
    let net = Net::take();
    let (mut trunk, mut pbx) = (Peer::udp(net.sip(21)), Peer::udp(net.sip(10)));
    let gateway = Gateway::start(&config(&net, ""));
    let running = test_call(&gateway, "alice");
    let invite = trunk.request("INVITE");
    assert!(invite.uri().starts_with("sip:933@"), "RULES R5: {}", invite.uri());
    assert!(invite.user_of("From").starts_with("+1425555"), "a callback number is shown: {}", invite.user_of("From"));
    trunk.reply(&invite, "180 Ringing", "psap", "", "");
    trunk.answer(&invite, "psap");
    trunk.request("ACK");
    let bye = trunk.request("BYE");
    trunk.reply(&bye, "200 OK", "", "", "");
    let (code, report) = running.join().unwrap();
    let expected =
        [("dialed", true), ("ringing", true), ("answered", true), ("ended", true), ("number", true), ("callback", true)];
    assert_eq!(steps(&report), expected, "{report}");
    assert_eq!(code, 0);
    assert!(report.to_string().contains("by carrier-a"), "{report}");
    pbx.nothing("INVITE", Duration::from_millis(500));
}

#[test]
fn r5_a_test_call_that_no_trunk_takes_is_read_back_to_the_caller_that_we_play() {
    let net = Net::take();
    let (mut a, mut b) = (Peer::udp(net.sip(21)), Peer::udp(net.sip(22)));
    let gateway = Gateway::start(&config(&net, ""));
    let running = test_call(&gateway, "alice");
    for trunk in [&mut a, &mut b] {
        let invite = trunk.request("INVITE");
        trunk.reply(&invite, "404 Not Found", "none", "", "");
    }
    let (code, report) = running.join().unwrap();
    let of_each_trunk = [("number", true), ("callback", true)];
    assert_eq!(
        steps(&report),
        [&[("dialed", true), ("answered", true), ("ended", true)][..], &of_each_trunk, &of_each_trunk].concat()
    );
    assert_eq!(code, 0);
    let heard = report["steps"][2]["why"].as_str().unwrap().split(' ').find_map(|w| w.parse::<usize>().ok()).unwrap();
    assert!(heard > 10, "the read-back is heard: {report}");
}

#[test]
fn a_test_call_leaves_an_agent_alone_who_has_a_lease_of_an_emergency_call_and_one_whom_nobody_knows() {
    let net = Net::take();
    let (mut trunk, mut pbx) = (Peer::udp(net.sip(21)), Peer::udp(net.sip(10)));
    let gateway = Gateway::start(&config(&net, ""));
    let call = Outgoing::new(gateway.at(Transport::Udp), "alice", "sip:911@gw");
    pbx.invite(&call);
    let invite = trunk.request("INVITE");
    trunk.reply(&invite, "486 Busy Here", "psap", "", "");
    let (code, refusal) = test_call(&gateway, "alice").join().unwrap();
    assert_eq!(code, 1);
    assert!(refusal.to_string().contains("open lease"), "{refusal}");
    let (code, refusal) = test_call(&gateway, "nobody").join().unwrap();
    assert!(code == 1 && refusal.to_string().contains("no agent of that id"), "{refusal}");
}

#[test]
fn a_callback_number_is_called_over_its_trunk_and_what_comes_back_rings_nobody() {
    let net = Net::take();
    let (mut trunk, mut pbx) = (Peer::udp(net.sip(21)), Peer::udp(net.sip(10)));
    let gateway = Gateway::start(&config(&net, "[readiness]\nafter = \"1s\"\nself_call = true\n"));
    let out = trunk.request_within("INVITE", Duration::from_secs(20)).expect("a call to one of the numbers");
    let (called, shown) = (common::message::user(out.uri()).to_owned(), out.user_of("From").to_owned());
    assert!(called.starts_with("+1425555") && shown.starts_with("+1425555") && called != shown, "{called} {shown}");
    // As a carrier does: another call, with other headers, the number called and the number shown.
    let back = Outgoing::new(gateway.at(Transport::Udp), &shown, &format!("sip:{called}@gw"));
    trunk.invite(&back);
    trunk.response("INVITE", 480);
    trunk.reply(&out, "480 Temporarily Unavailable", "b2bua", "", "");
    pbx.nothing("INVITE", Duration::from_millis(500));
    let check = until("the result", Duration::from_secs(40), || {
        let (_, report) = ready(&gateway, &["--agent", "alice"]);
        let site = report["site"].as_array().unwrap().clone();
        site.into_iter().find(|c| c["name"] == "self_call" && c["of"] == "carrier-a" && c["age"].is_u64())
    });
    assert_eq!(check["ok"], true, "{check}");
    let leases = Command::new(env!("CARGO_BIN_EXE_e911d"));
    assert_eq!(leased(leases, &gateway), "none", "no lease is touched");
}

fn leased(mut command: Command, gateway: &Gateway) -> String {
    let output = command.args(["leases", "-c"]).arg(gateway.config_file()).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn until_said(gateway: &Gateway, alarm: &str, state: &str) {
    let line = format!("alarm=\"{alarm}\" state=\"{state}\"");
    until(&line.clone(), Duration::from_secs(50), || gateway.log().contains(&line).then_some(()));
}

#[test]
fn trunk_down_and_no_trunk_are_raised_while_nobody_answers_at_the_trunks_and_cleared_by_themselves() {
    let net = Net::take();
    let gateway = start(&config(&net, ""));
    until_said(&gateway, "trunk_down", "raised");
    until_said(&gateway, "no_trunk", "raised");
    let _trunks = [net.sip(21), net.sip(22)].map(|at| Answers::start(at, "200 OK"));
    until_said(&gateway, "trunk_down", "cleared");
    until_said(&gateway, "no_trunk", "cleared");
}

#[test]
fn config_rejected_is_raised_by_a_bad_file_and_cleared_by_a_good_one() {
    let net = Net::take();
    let mut gateway = start(&config(&net, ""));
    let good = std::fs::read_to_string(gateway.config_file()).unwrap();
    std::fs::write(gateway.config_file(), format!("{good}\n[nonsense]\n")).unwrap();
    gateway.child().signal("HUP");
    until_said(&gateway, "config_rejected", "raised");
    std::fs::write(gateway.config_file(), good).unwrap();
    gateway.child().signal("HUP");
    until_said(&gateway, "config_rejected", "cleared");
}

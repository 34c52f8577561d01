//! The page `/admin` in a real browser, before a gateway with real calls. What the browser does is in `tests/peers/chromium`.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use common::chromium::Chromium;
use common::psap::Psap;
use common::{Dialog, Outgoing, Peer, Transport, World};
use serde_json::json;

const OPERATOR: &str = "operator-0123456789abcdef";
const VIEWER: &str = "viewer-0123456789abcdef";
const AGENT: &str = "agent-0123456789abcdef";
/// Whom an ordinary call goes to.
const NUMBER: &str = "+12125550123";
/// Who calls back.
const PSAP: &str = "+12065559110";

/// A gateway with a token for each role, an agent in its file and two that were added.
fn world() -> World {
    let world = World::with(Transport::Udp, |_, mut config| {
        for (role, value) in [("viewer", VIEWER), ("operator", OPERATOR), ("agent", AGENT)] {
            config.more.push_str(&format!("[[http.token]]\nrole = \"{role}\"\nvalue = \"{value}\"\n"));
        }
        config.agent("alice", "name = \"Alice Andersen\"\ncontacts = \"lead@example.com\"\nsite = \"redmond\"")
    });
    let more = json!([
        {"id": "ada", "name": "Ada Lovelace", "identity": ["ada"], "number": "+12065550002", "site": "redmond",
         "contacts": "lead@example.com; hr@example.com"},
        {"id": "bob", "name": "Bob", "identity": ["bob"]},
    ]);
    let headers = format!("Authorization: Bearer {OPERATOR}\r\nContent-Type: application/json\r\n");
    let (status, answer) = ask(http(&world), "POST", "/api/v1/agents", &headers, &more.to_string());
    assert_eq!(status, 200, "{answer}");
    world
}

fn http(world: &World) -> SocketAddr {
    world.gateway.http().expect("HTTP")
}

/// Status, and all that was answered.
fn ask(at: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
    let host = if headers.contains("Host: ") { String::new() } else { format!("Host: {at}\r\n") };
    let mut stream = TcpStream::connect(at).unwrap();
    let length = body.len();
    write!(stream, "{method} {path} HTTP/1.1\r\n{host}Connection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    (text.split(' ').nth(1).unwrap().parse().unwrap(), text)
}

/// An INVITE from the PBX that the other side answers.
fn call(pbx: &mut Peer, world: &World, dialed: &str) -> Dialog {
    let call = Outgoing::new(world.at(), "alice", &world.uri(dialed));
    pbx.invite(&call);
    let answer = pbx.response_within("INVITE", 200, Duration::from_secs(10));
    pbx.ack(&call, &answer)
}

/// The PSAP calls a leased number by the trunk, and the PBX answers.
fn call_back(pbx: &mut Peer, world: &World, number: &str) -> (Peer, Dialog) {
    let mut caller = Peer::udp(SocketAddr::new(world.trunk_a().ip(), 5070));
    let call = Outgoing::new(world.at(), PSAP, &world.uri(number));
    caller.invite(&call);
    let invite = pbx.request("INVITE");
    pbx.answer(&invite, "alice");
    let answer = caller.response("INVITE", 200);
    let dialog = caller.ack(&call, &answer);
    pbx.request("ACK");
    (caller, dialog)
}

fn hang_up(pbx: &mut Peer, mut dialog: Dialog) {
    pbx.in_dialog(&mut dialog, "BYE", "");
    pbx.response("BYE", 200);
}

#[test]
fn a7_an_operator_sees_what_goes_on_changes_agents_and_texts_and_finds_no_emergency_call_in_any_history() {
    let mut world = world();
    let Some(mut browser) = Chromium::at("admin.mjs", &format!("http://{}", http(&world))) else { return };
    let mut pbx = Peer::udp(world.pbx());
    let psap = Psap::start(world.trunk_a(), world.trunk_a());
    browser.does("sign-in", json!({}));
    browser.does("nothing-up", json!({}));

    let emergency = call(&mut pbx, &world, "911");
    let ordinary = call(&mut pbx, &world, NUMBER);
    let shown = psap.legs().into_iter().map(|leg| leg.number).find(|number| number.starts_with("+1425")).expect("a lease");
    let secrets = json!({"secrets": [shown, "Alice", PSAP], "ordinary": NUMBER});
    browser.does("calls-up", secrets.clone());
    hang_up(&mut pbx, emergency);
    hang_up(&mut pbx, ordinary);
    browser.does("nothing-up", json!({}));

    let (mut caller, mut callback) = call_back(&mut pbx, &world, &shown);
    browser.does("callback-up", secrets.clone());
    caller.in_dialog(&mut callback, "BYE", "");
    let bye = pbx.request("BYE");
    pbx.reply(&bye, "200 OK", "", "", "");
    caller.response("BYE", 200);
    browser.does("nothing-up", json!({}));

    world.gateway.reload(|text| text.replace("[routing]", "[rooting]"));
    browser.does("alarm-raised", json!({}));
    world.gateway.reload(|text| text.replace("[rooting]", "[routing]"));
    browser.does("alarm-cleared", json!({}));

    for step in ["keyboard", "agents", "conflict", "import", "templates", "readiness", "test-call"] {
        browser.does(step, json!({}));
    }
    browser.does("records", secrets);
    browser.does("a-day", json!({}));
    browser.does("watch-the-line", json!({}));
    let same_port = ("E911D__HTTP__BIND", http(&world).to_string());
    world.gateway.start_again(&[same_port]);
    browser.does("line-lost", json!({}));
    world.gateway.reload(|text| text.replace(OPERATOR, "operator-fedcba9876543210"));
    browser.does("token-gone", json!({}));
}

#[test]
fn the_page_is_sent_with_its_policy_to_our_own_name_alone_and_once() {
    let world = world();
    let at = http(&world);
    for (path, kind) in [
        ("/admin", "text/html"),
        ("/admin/", "text/html"),
        ("/admin/admin.js", "text/javascript"),
        ("/admin/admin.css", "text/css"),
        ("/panel", "text/html"),
        ("/panel/panel.js", "text/javascript"),
        ("/panel/panel.css", "text/css"),
    ] {
        let (status, answer) = ask(at, "GET", path, "", "");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let has = |line: &str| assert!(head.lines().any(|l| l.starts_with(line)), "{path} lacks {line}: {head}");
        assert_eq!(status, 200);
        has(&format!("content-type: {kind}; charset=utf-8"));
        has("content-security-policy: default-src 'none'; script-src 'self'; style-src 'self';");
        has("x-content-type-options: nosniff");
        has("referrer-policy: no-referrer");
        has("cache-control: no-cache");
        has("permissions-policy: microphone=(self), geolocation=(self), camera=()");
        assert!(body.len() > 200, "{path}: {body}");
        let tag = head.lines().find_map(|l| l.strip_prefix("etag: ")).unwrap();
        let (status, answer) = ask(at, "GET", path, &format!("If-None-Match: {tag}\r\n"), "");
        assert_eq!(status, 304, "{path}");
        assert!(answer.ends_with("\r\n\r\n") && answer.contains("content-security-policy: "), "{path}: {answer}");
        assert_eq!(ask(at, "GET", path, "Host: evil.example\r\n", "").0, 421);
        assert_eq!(ask(at, "GET", path, "Origin: https://evil.example\r\n", "").0, 403);
        assert_eq!(ask(at, "POST", path, "", "").0, 405);
    }
    assert_eq!(ask(at, "GET", "/admin/../conf", "", "").0, 404);
}

#[test]
fn whoami_says_what_a_token_is_good_for() {
    let world = world();
    let role = |token: &str| {
        let (status, answer) = ask(http(&world), "GET", "/api/v1/whoami", &format!("Authorization: Bearer {token}\r\n"), "");
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        (status, serde_json::from_str::<serde_json::Value>(body).unwrap()["role"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(role(VIEWER), (200, "viewer".to_owned()));
    assert_eq!(role(OPERATOR), (200, "operator".to_owned()));
    assert_eq!(role(AGENT), (200, "agent".to_owned()));
    assert_eq!(role("nobody-knows-this-token"), (401, String::new()));
}

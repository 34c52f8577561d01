//! An agent's page as the daemon sees it: she signs in, registers by `/sip` with her pass, says where she is, dials, loses
//! her connection and comes back; and whoever guesses is told to wait. What the page itself does is tested elsewhere.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use common::clock::until;
use common::peer::SOON;
use common::websocket::{Raw, is_installed, page};
use common::{Message, Outgoing, Peer, SDP, Transport, World};
use e911d::sip::digest::{Asked, Challenge};
use serde_json::{Value, json};

const PASSWORD: &str = "wonderland-of-hers";
const DOMAIN: &str = common::gateway::DOMAIN;

fn world() -> World {
    World::with(Transport::Udp, |_, config| {
        let more = format!("name = \"Alice Andersen\"\npassword = \"{PASSWORD}\"\nlanguage = \"es\"\nanswer = \"auto\"\n");
        let mut config = config.agent("alice", &more).agent("bob", "password = \"builder-of-his\"\n");
        config.trunks.iter_mut().for_each(|trunk| trunk.more.push_str("location = \"pidf\"\n"));
        config
    })
}

struct Answer {
    status: u16,
    head: String,
    body: Value,
}

fn ask(at: SocketAddr, method: &str, path: &str, headers: &str, body: &Value) -> Answer {
    let mut stream = TcpStream::connect(at).expect("a connection");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("written");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
    Answer { status, head: head.to_lowercase(), body: serde_json::from_str(body).unwrap_or(Value::Null) }
}

fn sign_in(at: SocketAddr, agent: &str, password: &str, headers: &str) -> Answer {
    ask(at, "POST", "/api/v1/session", headers, &json!({ "agent": agent, "password": password }))
}

/// Her session, and the header that shows its token.
fn session(at: SocketAddr) -> (Value, String) {
    let session = sign_in(at, "alice", PASSWORD, "");
    assert_eq!(session.status, 200, "{}", session.body);
    let bearer = format!("Authorization: Bearer {}\r\n", session.body["token"].as_str().expect("a token"));
    (session.body, bearer)
}

/// Registers with the pass of this session.
fn register(phone: &mut Peer, session: &Value, instance: &str) -> Message {
    let (user, password) = (session["sip"]["username"].as_str().unwrap(), session["sip"]["password"].as_str().unwrap());
    let (uri, aor, contact) = (format!("sip:{DOMAIN}"), format!("sip:alice@{DOMAIN}"), phone.contact("alice"));
    let to = phone.address();
    let mut ask = |seq: u32, more: &str| {
        let text = format!(
            "REGISTER {uri} SIP/2.0\r\nVia: SIP/2.0/WS df7jal23ls0d.invalid;branch=z9hG4bK{instance}{seq}\r\nFrom: <{aor}>;tag=r\r\nTo: <{aor}>\r\n\
             Call-ID: reg-{instance}\r\nCSeq: {seq} REGISTER\r\nContact: <{contact}>;expires=300;+sip.instance=\"<urn:uuid:{instance}>\"\r\n\
             Supported: path, outbound\r\n{more}Content-Length: 0\r\n\r\n"
        );
        phone.send(text.as_bytes(), to);
        phone.final_response("REGISTER", SOON)
    };
    let challenged = ask(1, "");
    assert_eq!(challenged.status(), 401);
    let challenge = Challenge::parse(challenged.header("WWW-Authenticate").as_bytes()).expect("a challenge");
    let asked = Asked { method: b"REGISTER", uri: uri.as_bytes(), body: b"" };
    let answer = challenge.answer(user.as_bytes(), password.as_bytes(), &asked, 1, b"c");
    ask(2, &format!("Authorization: {}\r\n", String::from_utf8_lossy(&answer)))
}

#[test]
fn whoever_signs_in_gets_what_her_page_needs_and_sees_nothing_but_her_own() {
    let world = world();
    let at = world.gateway.http().expect("HTTP");
    let (session, bearer) = session(at);
    for (key, value) in [("agent", "alice"), ("name", "Alice Andersen"), ("language", "es"), ("answer", "auto")] {
        assert_eq!(session[key], value, "{session}");
    }
    assert_eq!(session["sip"]["uri"], format!("sip:alice@{DOMAIN}"));
    assert!(session["emergency"].as_array().expect("numbers").contains(&json!("911")), "{session}");
    assert!(!session.to_string().contains(PASSWORD));
    let status = |method: &str, path: &str, body: Value| ask(at, method, &format!("/api/v1/{path}"), &bearer, &body).status;
    for (method, path, body, want) in [
        ("GET", "session/state", Value::Null, 200),
        ("GET", "whoami", Value::Null, 200),
        ("GET", "agents/alice/readiness", Value::Null, 200),
        ("GET", "agents/alice/presence", Value::Null, 200),
        ("PUT", "agents/alice/presence", json!({ "state": "busy" }), 200),
        ("POST", "agents/alice/dismiss", Value::Null, 204),
        ("GET", "agents/bob/presence", Value::Null, 403),
        ("PUT", "agents/bob/presence", json!({ "state": "busy" }), 403),
        ("POST", "agents/bob/dismiss", Value::Null, 403),
        ("GET", "agents/bob/readiness", Value::Null, 403),
        ("PUT", "agents/bob/position", json!({}), 403),
        ("PUT", "agents/%61lice/position", json!({}), 403),
        ("GET", "agents/alice", Value::Null, 403),
        ("PATCH", "agents/alice", json!({ "locked": false }), 403),
        ("GET", "agents", Value::Null, 403),
        ("GET", "leases", Value::Null, 403),
        ("GET", "calls", Value::Null, 403),
        ("GET", "records", Value::Null, 403),
        ("GET", "readiness", Value::Null, 403),
        ("GET", "templates/emergency", Value::Null, 403),
        ("GET", "alarms", Value::Null, 403),
        ("POST", "agents/alice/test-call", Value::Null, 403),
        (
            "PUT",
            "agents/alice/position",
            json!({ "latitude": 91, "longitude": 0, "accuracy": 1, "at": "2026-01-01T00:00:00Z" }),
            422,
        ),
        ("PUT", "agents/alice/position", json!({ "latitude": "x" }), 422),
    ] {
        assert_eq!(status(method, path, body), want, "{method} {path}");
    }
    let renewed = ask(at, "GET", "/api/v1/session", &bearer, &Value::Null);
    assert_eq!((renewed.status, &renewed.body["agent"]), (200, &json!("alice")));
    assert_eq!(ask(at, "DELETE", "/api/v1/session", &bearer, &Value::Null).status, 204);
    assert_eq!(status("GET", "session/state", Value::Null), 401, "she has signed out");
    assert_eq!(ask(at, "GET", "/api/v1/session/state", "", &Value::Null).status, 401);
}

#[test]
fn whoever_guesses_is_told_to_wait_and_whoever_has_signed_in_is_not_touched_by_it() {
    let world = world();
    let at = world.gateway.http().expect("HTTP");
    let (_, bearer) = session(at);
    let from = |host: u8| format!("X-Forwarded-For: 192.0.2.{host}\r\n");
    for n in 0..10 {
        let wrong = sign_in(at, "alice", "guessed", &from(n));
        assert_eq!(wrong.status, 401, "{}", wrong.body);
        assert_eq!(wrong.body, sign_in(at, &format!("nobody-{n}"), "guessed", &from(100 + n)).body, "nobody learns who there is");
    }
    let held = sign_in(at, "alice", PASSWORD, &from(50));
    assert_eq!(held.status, 429, "{}", held.body);
    let wait = held.head.lines().find_map(|l| l.strip_prefix("retry-after: ")).and_then(|v| v.parse::<u64>().ok());
    assert!(wait.is_some_and(|s| (1..=61).contains(&s)), "{}", held.head);
    assert_eq!(ask(at, "GET", "/api/v1/session", &bearer, &Value::Null).status, 200, "her page goes on");
    // One address, many names.
    for n in 0..30 {
        assert_eq!(sign_in(at, &format!("somebody-{n}"), "guessed", &from(200)).status, 401);
    }
    assert_eq!(sign_in(at, "bob", "builder-of-his", &from(200)).status, 429);
    assert_eq!(sign_in(at, "bob", "builder-of-his", &from(201)).status, 200, "others are others");
    // Tokens likewise; a right one is served.
    let shown =
        |token: &str| ask(at, "GET", "/api/v1/alarms", &format!("Authorization: Bearer {token}\r\n"), &Value::Null).status;
    assert!((0..100).all(|n| shown(&format!("guess-{n}")) == 401));
    assert_eq!(shown("guess-100"), 429);
    assert_eq!(ask(at, "GET", "/api/v1/session/state", &bearer, &Value::Null).status, 200);
    // What is no sign-in at all.
    for (body, status) in
        [(json!({}), 422), (json!([]), 422), (json!({ "agent": "alice" }), 422), (json!("x"), 422), (Value::Null, 400)]
    {
        assert_eq!(ask(at, "POST", "/api/v1/session", "", &body).status, status, "{body}");
    }
}

#[test]
fn what_asks_for_no_websocket_of_sip_or_comes_from_elsewhere_gets_none() {
    let world = world();
    let at = world.gateway.http().expect("HTTP");
    let sip = "Sec-WebSocket-Protocol: sip\r\n";
    for (more, status) in [
        (sip.to_owned(), 101),
        (format!("{sip}Origin: http://{at}\r\n"), 101),
        (format!("{sip}Origin: https://elsewhere.example\r\n"), 403),
        (format!("{sip}Origin: null\r\n"), 403),
        (String::new(), 400),
        ("Sec-WebSocket-Protocol: chat\r\n".to_owned(), 400),
    ] {
        assert_eq!(Raw::ask_at(at, "/sip", &more).0, status, "{more}");
    }
}

#[test]
fn a_page_dials_911_with_her_position_loses_its_connection_and_has_the_call_back() {
    if !is_installed() {
        return;
    }
    let world = world();
    let at = world.gateway.http().expect("HTTP");
    let (session, bearer) = session(at);
    let measured = e911d::words::wall::rfc3339(e911d::io::clock::wall());
    let position = json!({ "latitude": 47.67412, "longitude": -122.1215, "accuracy": 19.6, "at": measured });
    assert_eq!(ask(at, "PUT", "/api/v1/agents/alice/position", &bearer, &position).status, 204);
    let state = || ask(at, "GET", "/api/v1/session/state", &bearer, &Value::Null).body;
    assert_eq!((&state()["call"], &state()["lease"]), (&Value::Null, &Value::Null));

    let mut trunk = Peer::udp(world.trunk_a());
    let (mut first, python) = page(at);
    assert_eq!(register(&mut first, &session, "one").status(), 200);
    let call = Outgoing::new(first.address(), "alice", &format!("sip:911@{DOMAIN}"));
    first.invite(&call);
    let invite = trunk.request("INVITE");
    trunk.answer(&invite, "psap");
    let answer = first.response("INVITE", 200);
    assert_eq!(answer.header("Priority"), "emergency");
    first.ack(&call, &answer);
    trunk.request("ACK");
    until("she is on an emergency call", SOON, || (state()["call"]["kind"] == "emergency").then_some(()));
    assert!(state()["lease"]["number"].as_str().is_some_and(|n| n.starts_with("+1")), "{}", state());
    assert_eq!(state()["presence"]["state"], "dnd");

    // The page is loaded anew: another instance, another connection.
    drop((first, python));
    let (mut second, _python) = page(at);
    assert_eq!(register(&mut second, &session, "two").status(), 200);
    let rung = second.request_within("INVITE", SOON).expect("she is rung again");
    assert_eq!(rung.header("Priority"), "emergency");
    second.answer(&rung, "two");
    let again = trunk.request("INVITE");
    assert_eq!(again.header("Call-ID"), invite.header("Call-ID"), "the PSAP has the call that it had");
    trunk.reply(&again, "200 OK", "", "", SDP);
    trunk.request("ACK");
    let ack = second.request("ACK");
    assert!(ack.text().contains("m=audio"), "{}", ack.text());
    assert_eq!(state()["call"]["kind"], "emergency");
    let mut dialog = common::peer::Dialog::of_callee(&rung, "two");
    second.in_dialog(&mut dialog, "BYE", "");
    let bye = trunk.request("BYE");
    trunk.reply(&bye, "200 OK", "", "", "");
    second.response("BYE", 200);
    until("the call is over", SOON, || state()["call"].is_null().then_some(()));
    assert_eq!(state()["dropped"], false);

    let invite = invite.text();
    assert!(invite.contains("gs:Circle") && invite.contains("47.674120 -122.121500"), "{invite}");
    for own in ["alice", "wonderland", "invalid", "~"] {
        assert!(!invite.contains(own), "{own} in {invite}");
    }
    for private in ["47.67", "alice", PASSWORD] {
        assert!(!world.gateway.log().contains(private), "{private} in the log");
    }
}

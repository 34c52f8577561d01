//! Promise 3: whatever the daemon says of itself, it says nothing of a person. Every story is played to a daemon that logs
//! everything it can, and then everything it ever said, shows and keeps is searched.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::clock::until;
use common::story::{PSAP, number_after_911, psap_calls};
use common::{Gateway, Outgoing, Peer, Sipp, Transport, World, require};

/// Words that only ever stand for a person, a number, a message or an address of somebody's.
const CANARIES: &[&str] = &["canary", "4255550", "2065550", "2065559111", "g=audio", "m=audio", "z9hG4bK", "lead@", "Wren"];

fn world() -> World {
    World::with(Transport::Udp, |net, mut config| {
        config.more.push_str("[log]\nlevel = \"trace\"\n[notify]\n");
        // Nobody listens there: every mail fails, and the reasons are logged.
        config.more.push_str(&format!("smtp = \"smtp://{}:2525\"\nfrom = \"canary-from@example.com\"\n", net.ip(60)));
        config.more.push_str("site_contacts = \"lead@canary.example.com; broken canary\"\n");
        config.agent("canary-alice", "name = \"Alice Wren\"\ncontacts = \"hr@canary.example.com\"")
    })
}

/// A page of the daemon's HTTP.
fn page(world: &World, path: &str) -> String {
    let at = world.gateway.http().expect("an HTTP listener");
    let mut stream = TcpStream::connect(at).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n").expect("a request");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    assert!(text.starts_with("HTTP/1.1 200"), "{path}: {text}");
    text
}

#[test]
fn a7_no_log_line_metric_or_page_names_anybody_at_any_level() {
    require!("sipp" from "sip-tester");
    let mut world = world();
    // A call that is answered and ends, and the callback to it.
    let number = number_after_911(&world, "canary-alice");
    let phone = Sipp::answers("uas_answer.xml", world.transport, world.pbx()).start();
    psap_calls(&world, "uac_call.xml", &number).run();
    phone.finish();
    // A call that every trunk refuses; nobody listens there.
    let mut pbx = Peer::udp(world.pbx());
    let call = Outgoing::new(world.at(), "canary-bob", &world.uri("911"));
    pbx.invite(&call);
    // One that is cancelled, a stranger, and noise.
    let call = Outgoing::new(world.at(), "canary-carol", &world.uri("911"));
    pbx.invite(&call);
    pbx.cancel(&call);
    let mut stranger = Peer::udp(world.net.sip(99));
    stranger.invite(&Outgoing::new(world.at(), "canary-mallory", &world.uri("911")));
    stranger.response("INVITE", 401);
    for noise in ["INVITE sip:911@canary SIP/2.0\r\n\r\n", "canary", "INVITE sip:canary SIP/7.0\r\nVia: canary\r\n\r\n"] {
        let socket = std::net::UdpSocket::bind((world.pbx().ip(), 0)).expect("a socket");
        socket.send_to(noise.as_bytes(), world.at()).expect("sent");
    }
    until("a mail to fail", Duration::from_secs(20), || world.gateway.log().contains("mail_failing").then_some(()));
    until("both calls to be counted", Duration::from_secs(20), || {
        let counted = page(&world, "/metrics");
        ["called_back", "abandoned"].iter().all(|o| counted.contains(o)).then_some(())
    });
    let pages = page(&world, "/metrics") + &page(&world, "/readyz") + &page(&world, "/healthz");
    assert!(pages.contains("e911d_emergency_calls_total"), "no call was counted:\n{pages}");
    world.gateway.child().terminate(Duration::from_secs(6));
    let said = world.gateway.log() + &pages;
    assert!(said.contains("emergency call placed"), "no call was logged:\n{said}");
    assert!(said.contains("alarm=\"mail_failing\""), "no mail failed:\n{said}");
    for canary in CANARIES.iter().chain([&PSAP, &number.as_str()]) {
        let line = said.lines().find(|l| l.contains(canary));
        assert!(line.is_none(), "{canary} was told: {}", line.unwrap_or_default());
    }
}

/// What stands in the messages of the calls below and nowhere else: persons, their numbers, Call-IDs, bodies.
const OF_CALLS: &[&str] = &["canary", "2065559111", "@test", "z9hG4bK", "m=audio"];
/// A lease and what hangs on it live for seconds.
const TIMES: u32 = 7200;
const OPERATOR: &str = "operator-0123456789abcdef";
const VIEWER: &str = "viewer-0123456789abcdef";

/// The first of these words in a text.
fn found_in(text: &[u8]) -> Option<&'static str> {
    OF_CALLS.iter().copied().find(|canary| memchr::memmem::find(text, canary.as_bytes()).is_some())
}

/// The file of the state directory that tells one of these words, and which.
fn told_by_a_file(state: &Path) -> Option<String> {
    let files = std::fs::read_dir(state).expect("a directory").flatten().filter(|f| f.path().is_file());
    files.filter_map(|f| Some(format!("{:?}: {}", f.file_name(), found_in(&std::fs::read(f.path()).ok()?)?))).next()
}

/// Runs a command against this daemon: everything that it prints.
fn printed(gateway: &Gateway, words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_e911d"));
    let output = command.args(words).arg("-c").arg(gateway.config_file()).output().expect("it runs");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A request over the admin socket; the body of the answer.
fn asked(gateway: &Gateway, path: &str) -> String {
    let mut stream = UnixStream::connect(gateway.state().join("admin.sock")).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    write!(stream, "GET /api/v1/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("a request");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    assert!(text.starts_with("HTTP/1.1 200"), "{path}: {text}");
    text
}

/// Everything that can be asked for, but for the leases, which are there to tell operators whom a number leads to.
fn tells_nothing(gateway: &Gateway, when: &str) {
    for list in ["calls", "trunks", "alarms", "outbox"] {
        let text = printed(gateway, &[list, "--json"]);
        assert!(text.contains("items"), "{list}: {text}");
        assert_eq!(found_in(text.as_bytes()), None, "{when}, {list} --json: {text}");
    }
    let lists = ["records", "readiness", "agents", "calls", "trunks", "alarms", "outbox"];
    for path in lists.into_iter().chain(["templates/emergency", "agents/alice/presence"]) {
        let text = asked(gateway, path);
        assert_eq!(found_in(text.as_bytes()), None, "{when}, {path}: {text}");
    }
}

/// Listens to the API's events until the daemon dies.
fn overhears(gateway: &Gateway) -> std::thread::JoinHandle<Vec<u8>> {
    let mut stream = UnixStream::connect(gateway.state().join("admin.sock")).expect("a connection");
    write!(stream, "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
    std::thread::spawn(move || {
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard);
        heard
    })
}

#[test]
fn a7_after_the_quarantine_nothing_of_an_emergency_call_is_left_in_any_file_list_or_line() {
    let mut world = World::with(Transport::Udp, |net, mut config| {
        config.more.push_str("[log]\nlevel = \"trace\"\n[notify]\n");
        // Nobody listens there.
        config.more.push_str(&format!("smtp = \"smtp://{}:2525\"\nfrom = \"e911@example.com\"\n", net.ip(60)));
        config.more.push_str("site_contacts = \"lead@example.com\"\n");
        config.agent("alice", "").scaled(TIMES)
    });
    let (mut pbx, mut trunk) = (Peer::udp(world.pbx()), Peer::udp(world.trunk_a()));
    let before = overhears(&world.gateway);
    let mut call = Outgoing::new(world.at(), "canary-bob", &world.uri("911")).header("X-Canary: canary-header");
    call.body = call.body.replace("s=-", "s=canary-session").replace("o=- ", "o=canary-origin ");
    pbx.invite(&call);
    let invite = trunk.request("INVITE");
    let number = invite.user_of("From").to_owned();
    trunk.answer(&invite, "canary-tag");
    let answer = pbx.response("INVITE", 200);
    let mut dialog = pbx.ack(&call, &answer);
    trunk.request("ACK");

    // While the lease is open its row, the call's row and the contacts' mail hold the caller: they are needed after a kill.
    let state = world.gateway.state();
    until("the rows of the lease and the call", Duration::from_secs(10), || told_by_a_file(&state));
    tells_nothing(&world.gateway, "during the call");
    let leases = printed(&world.gateway, &["leases", "--json"]);
    assert!(leases.contains(&number), "an operator sees where a callback number leads: {leases}");
    std::thread::sleep(Duration::from_millis(400)); // RULES B1: durable 100 ms after the answer
    let mut said = world.gateway.log();
    world.gateway.start_again(&[]);
    let after = overhears(&world.gateway);
    tells_nothing(&world.gateway, "after the kill");
    pbx.in_dialog(&mut dialog, "BYE", "");
    pbx.response("BYE", 200);
    let bye = trunk.request("BYE");
    trunk.reply(&bye, "200 OK", "", "", "");

    let back = Outgoing::new(world.at(), PSAP, &world.uri(&number)).header("Priority: psap-callback");
    let back = back.header("Subject: canary-subject");
    trunk.invite(&back);
    let ring = pbx.request("INVITE");
    assert_eq!(ring.user_of("To"), number);
    let mut far = pbx.answer(&ring, "canary-tag");
    let answer = trunk.response("INVITE", 200);
    trunk.ack(&back, &answer);
    pbx.request("ACK");
    tells_nothing(&world.gateway, "during the callback");
    pbx.in_dialog(&mut far, "BYE", "");
    let bye = trunk.request("BYE");
    trunk.reply(&bye, "200 OK", "", "", "");
    pbx.response("BYE", 200);

    // Then the quarantine ends, the mails are given up, and the log of the database is emptied.
    let mut last = None;
    until("every file to forget", Duration::from_secs(90), || {
        last = told_by_a_file(&state);
        last.is_none().then_some(())
    });
    tells_nothing(&world.gateway, "after the quarantine");
    let leases = printed(&world.gateway, &["leases", "--json"]);
    assert!(found_in(leases.as_bytes()).is_none() && !leases.contains(&number), "{leases}");
    said += &page(&world, "/metrics");
    world.gateway.child().terminate(Duration::from_secs(6));
    said += &world.gateway.log();
    assert!(said.contains("emergency call placed"), "no call was logged:\n{said}");
    for heard in [before, after].map(|listener| listener.join().expect("no panic")) {
        let heard = String::from_utf8(heard).expect("text");
        assert!(heard.contains("event:") && !heard.contains(&number), "{heard}");
        said += &heard;
    }
    assert_eq!(told_by_a_file(&state), None, "after the stop");
    for canary in OF_CALLS.iter().chain([&number.as_str()]) {
        let line = said.lines().find(|l| l.contains(canary));
        assert!(line.is_none(), "{canary} was told: {}", line.unwrap_or_default());
    }
}

#[test]
fn a7_refusals_tell_nothing_and_are_not_logged_with_what_was_asked() {
    let world = World::with(Transport::Udp, |_, mut config| {
        config.trunks[0].numbers = "+14255558100-+14255558119".to_owned();
        config.more.push_str("[log]\nlevel = \"trace\"\nformat = \"json\"\n");
        // Lines as the journal takes them.
        config.env = vec![("JOURNAL_STREAM", "8:1".to_owned())];
        for (role, value) in [("operator", OPERATOR), ("viewer", VIEWER)] {
            config.more.push_str(&format!("[[http.token]]\nrole = \"{role}\"\nvalue = \"{value}\"\n"));
        }
        config.agent("alice", "")
    });
    let (mut pbx, mut trunk) = (Peer::udp(world.pbx()), Peer::udp(world.trunk_a()));
    pbx.invite(&Outgoing::new(world.at(), "canary-bob", &world.uri("911")));
    let invite = trunk.request("INVITE");
    let number = invite.user_of("From").to_owned();
    let at = world.gateway.http().expect("HTTP");
    let ask = |method: &str, path: &str, head: &str, body: &str| {
        let mut stream = TcpStream::connect(at).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        let host = if head.contains("Host:") { String::new() } else { format!("Host: {at}\r\n") };
        let length = body.len();
        write!(stream, "{method} {path} HTTP/1.1\r\n{host}Connection: close\r\nContent-Length: {length}\r\n{head}\r\n{body}")
            .expect("a request");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        text
    };
    let operator = format!("Authorization: Bearer {OPERATOR}\r\nContent-Type: application/json\r\n");
    let viewer = format!("Authorization: Bearer {VIEWER}\r\n");
    let mut told = String::new();
    for (method, path, head, body) in [
        ("GET", "/canary-path", "", ""),
        ("GET", "/api/v1/canary", &*operator, ""),
        ("GET", "/api/v1/leases", "", ""),
        ("GET", "/api/v1/leases", &viewer, ""),
        ("GET", "/api/v1/calls", &viewer, ""),
        ("GET", "/api/v1/leases", "Authorization: Bearer canary-token\r\n", ""),
        ("GET", "/api/v1/leases", "Host: canary.example.com\r\n", ""),
        ("GET", "/api/v1/leases?limit=canary", &operator, ""),
        ("GET", "/api/v1/leases?canary=1", &operator, ""),
        ("GET", "/api/v1/agents/canary-nobody", &operator, ""),
        ("GET", "/api/v1/agents/canary-nobody/presence", &operator, ""),
        ("PUT", "/api/v1/agents/canary-new", &operator, "canary is no JSON"),
        ("PUT", "/api/v1/agents/canary-new", &operator, r#"{"canary-field":"canary-value"}"#),
        ("PUT", "/api/v1/agents/canary-new", &operator, r#"{"identity":["canary"],"number":"canary"}"#),
        ("PUT", "/api/v1/agents/alice/presence", &operator, r#"{"state":"canary"}"#),
        ("PUT", "/api/v1/templates/emergency", &operator, r#"{"text":"Subject: {{ canary }}"}"#),
        ("PUT", "/api/v1/templates/canary", &operator, r#"{"text":"canary"}"#),
        ("POST", "/api/v1/agents/canary-nobody/test-call", &operator, ""),
        ("DELETE", "/metrics", "", "canary"),
        ("CANARY", "/metrics", "", ""),
    ] {
        let answer = ask(method, path, head, body);
        assert!(!answer.starts_with("HTTP/1.1 2"), "{method} {path}: {answer}");
        told += &answer;
    }
    for words in [
        &["presence", "canary-nobody"][..],
        &["ready", "--agent", "canary-nobody", "--json"],
        &["test-call", "--agent", "canary-nobody"],
        &["agent", "set", "canary-nobody", "--contacts", "canary; @canary"],
        &["agent", "remove", "canary-nobody"],
    ] {
        told += &printed(&world.gateway, words);
    }
    // Not even what was asked is repeated, but for the name of a field.
    let told = told.replace("\"field\":\"canary-field\"", "");
    for secret in [number.as_str(), "canary", "@test", "z9hG4bK", OPERATOR, VIEWER] {
        assert!(!told.contains(secret), "{secret} was told: {told}");
    }
    let said = world.gateway.log() + &page(&world, "/metrics");
    assert!(said.contains("<6>{"), "no line for the journal:\n{said}");
    for word in ["canary", &number, OPERATOR, VIEWER] {
        let line = said.lines().find(|l| l.contains(word));
        assert!(line.is_none(), "{word} was logged: {}", line.unwrap_or_default());
    }
}

#[test]
fn a7_a_panic_with_a_call_in_hand_tells_where_it_was_and_the_call_goes_out_when_it_is_repeated() {
    let world = World::with(Transport::Udp, |_, mut config| {
        config.more.push_str("[log]\nlevel = \"trace\"\n");
        config.env = vec![("E911D_PANIC_AT", "received INVITE".to_owned())];
        config.agent("alice", "")
    });
    let (mut pbx, mut trunk) = (Peer::udp(world.pbx()), Peer::udp(world.trunk_a()));
    let call = Outgoing::new(world.at(), "canary-bob", &world.uri("911")).header("X-Canary: canary-header");
    pbx.invite(&call);
    until("the panic", Duration::from_secs(10), || world.gateway.log().contains("panic at=src/").then_some(()));
    pbx.invite(&call);
    let invite = trunk.request("INVITE");
    trunk.answer(&invite, "psap");
    let answer = pbx.response("INVITE", 200);
    pbx.ack(&call, &answer);
    trunk.request("ACK");
    let said = world.gateway.log() + &page(&world, "/metrics");
    assert_eq!(found_in(said.as_bytes()), None, "{said}");
}

//! Promise 3: whatever the daemon says of itself, it says nothing of a person. Every story is played to a daemon that logs
//! everything it can, and then everything it ever said is searched.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use common::clock::until;
use common::story::{PSAP, number_after_911, psap_calls};
use common::{Outgoing, Peer, Sipp, Transport, World, require};

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

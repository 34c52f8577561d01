//! Traps that other SIP stacks fell into, each with its test:
//!
//! | trap | test |
//! |---|---|
//! | an INVITE that only ever got 100 hangs for minutes | `an_invite_that_only_ever_got_100_fails_over` |
//! | one bad request ends the TCP connection | `e2e_corners.rs`, `one_bad_request_…` |
//! | a missing Content-Length on UDP is an error, on a stream it is guessed | `without_content_length_…` |
//! | framer and parser disagree on `Content-Length : 5` | `framer_and_scanner_agree_…` |
//! | whole messages are logged | `e2e_canary.rs`, and `no_message_is_ever_logged` |
//! | DNS runs in the receive loop | `no_name_is_looked_up_where_messages_are_received` |
//! | only the first DNS answer is tried | names are not looked up in this version |
//! | `[::]` advertises IPv4 | `a_listener_on_all_of_ipv6_advertises_no_ipv4` |
//! | UDP reads stop at 1500 or 4096 bytes | `a_datagram_of_64_kib_arrives_whole` |
//! | clean-up walks all calls | `clean_up_touches_only_what_is_due` |
//! | a slot's reuse repeats a Call-ID | `no_call_id_tag_or_branch_ever_repeats` |
//! | a forged `received` beats the packet's source | `the_packets_source_beats_a_forged_received` |

#![allow(unreachable_pub, dead_code, reason = "the world is shared with tests/calls")]

#[path = "calls/world.rs"]
mod world;

use bytes::Bytes;
use e911d::daemon::{assemble, config};
use e911d::io::transport::udp::LARGEST;
use e911d::sip::frame::{Frame, Framer, Limits, Lost};
use e911d::sip::scan::Faults;
use e911d::sip::timer::TimerWheel;
use e911d::sip::{Message, Name};
use e911d::words::Time;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use world::*;

#[test]
fn an_invite_that_only_ever_got_100_fails_over() {
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let a = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &response(&a.msg, 100, "", "", ""));
    w.wait(Duration::from_secs(7));
    w.expect(TRUNK_B, "INVITE");
}

#[test]
fn without_content_length_a_datagram_goes_to_its_end_and_a_stream_is_lost() {
    let text = "MESSAGE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\n\
                Call-ID: 1\r\nCSeq: 1 MESSAGE\r\n\r\nthe rest";
    let msg = Message::scan(Bytes::from_static(text.as_bytes())).expect("a message");
    assert_eq!((msg.body(), msg.faults()), (&b"the rest"[..], Faults::NONE));
    let mut framer = Framer::new(Limits::default());
    framer.push(text.as_bytes());
    assert!(matches!(framer.next(), Some(Err(Lost::NoContentLength(_)))));
}

#[test]
fn framer_and_scanner_agree_on_every_way_to_write_content_length() {
    for field in [
        "Content-Length: 5",
        "Content-Length : 5",
        "Content-Length\t:5",
        "content-length:5",
        "CONTENT-LENGTH:  5  ",
        "l: 5",
        "l :5",
        "L:5",
        "Content-Length:\r\n 5",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 05",
    ] {
        let text = format!(
            "MESSAGE sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\n\
             Call-ID: 1\r\nCSeq: 1 MESSAGE\r\n{field}\r\n\r\nhelloOPTIONS sip:x SIP/2.0\r\nl: 0\r\n\r\n"
        );
        let mut framer = Framer::new(Limits::default());
        framer.push(text.as_bytes());
        let Some(Ok(Frame::Message(bytes))) = framer.next() else { panic!("{field}") };
        assert_eq!(Message::scan(bytes).expect("a message").body(), b"hello", "{field}");
        let Some(Ok(Frame::Message(next))) = framer.next() else { panic!("{field}") };
        assert!(next.starts_with(b"OPTIONS"), "{field}");
    }
}

/// All source files under a folder of the crate.
fn sources(under: &str) -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, all: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(dir).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, all);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).expect("text");
                all.push((path, text));
            }
        }
    }
    let mut all = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join(under), &mut all);
    all
}

#[test]
fn no_message_is_ever_logged() {
    for (path, text) in sources("src/bridge").into_iter().chain(sources("src/sip")).chain(sources("src/emergency")) {
        let shipped = text.split("#[cfg(test)]").next().unwrap_or_default();
        assert!(
            path.ends_with("wire_tests.rs") || !["tracing::", "println!"].iter().any(|p| shipped.contains(p)),
            "{}",
            path.display()
        );
    }
}

#[test]
fn no_name_is_looked_up_where_messages_are_received() {
    let folders = ["src/bridge", "src/sip", "src/emergency", "src/io/transport"];
    let mut files: Vec<_> = folders.into_iter().flat_map(sources).collect();
    files.extend(
        sources("src/daemon").into_iter().filter(|(p, _)| ["front.rs", "worker.rs", "shards.rs"].iter().any(|f| p.ends_with(f))),
    );
    assert!(files.len() > 30, "the folders have moved");
    for (path, text) in files {
        for lookup in ["ToSocketAddrs", "to_socket_addrs", "lookup_host", "hickory"] {
            assert!(!text.contains(lookup), "{} looks names up: {lookup}", path.display());
        }
    }
}

#[test]
fn a_listener_on_all_of_ipv6_advertises_no_ipv4() {
    let text = "[node]\nstate_dir = \"/tmp\"\n[[listen]]\ntransport = \"udp\"\nbind = \"[::]:15060\"\n\
                [[listen]]\ntransport = \"udp\"\nbind = \"0.0.0.0:15060\"\n\
                [[trunk]]\nname = \"six\"\npath = \"direct-routing\"\nuri = \"sip:[::1]:15070\"\ncallback_numbers = [\"+12000000100\"]\n\
                [[trunk]]\nname = \"four\"\npath = \"direct-routing\"\nuri = \"sip:127.0.0.1:15070\"\n\
                [[voice_route]]\nname = \"e\"\npattern = '^911$'\ntrunks = [\"six\", \"four\"]\nemergency = true\n";
    let config = config::read(text, Path::new("x.toml"), std::iter::empty()).expect("a good config");
    let bound = ["[::]:15060".parse().expect("an address"), "0.0.0.0:15060".parse().expect("an address")];
    let setup = assemble::assemble(&config, &bound, 7, 1, None).expect("a usable config").setup;
    let names: Vec<_> = setup.locals.0.iter().map(|l| l.sent_by.as_str()).collect();
    assert_eq!(names, ["[::1]:15060", "127.0.0.1:15060"]);
    for (link, name) in setup.links.trunks.iter().zip(names) {
        assert_eq!(setup.locals.of(link.flow).sent_by, name, "each neighbour is told an address of its own family");
    }
}

#[test]
fn a_datagram_of_64_kib_arrives_whole() {
    const { assert!(LARGEST >= 65_507, "the largest UDP payload over IPv4") };
    let mut w = World::new();
    let padding = "x".repeat(60_000);
    let call =
        invite(PBX, "alice", "+14551234567", "c1").replacen("User-Agent:", &format!("X-Long: {padding}\r\nUser-Agent:"), 1);
    w.receive(PBX, &call);
    let out = w.expect(CARRIER, "INVITE");
    assert_eq!(out.msg.header_named("X-Long").map(<[u8]>::len), Some(60_000));
}

#[test]
fn clean_up_touches_only_what_is_due() {
    let mut wheel = TimerWheel::new(Time::ZERO);
    for i in 0..100_000u64 {
        wheel.arm(Time::from_micros(10_000_000 + i * 100), i);
    }
    let mut due = Vec::new();
    let before = wheel.len();
    wheel.expire(Time::from_micros(10_100_000), &mut due);
    assert_eq!(due.len(), 1001);
    assert_eq!(wheel.len(), before - due.len());
    // A thousand calls that are over leave nothing to walk.
    let mut w = World::new();
    for n in 0..1000 {
        w.receive(PBX, &invite(PBX, "alice", "5", &format!("c{n}")));
        w.take();
    }
    w.wait(Duration::from_secs(40));
    assert_eq!(w.shard.census(), e911d::bridge::Census::default());
    assert_eq!(w.shard.next_deadline(), None);
}

#[test]
fn no_call_id_tag_or_branch_ever_repeats() {
    let mut w = World::new();
    let mut seen = BTreeSet::new();
    for n in 0..2000 {
        w.receive(PBX, &invite(PBX, "alice", "+14551234567", &format!("c{n}")));
        let out = w.expect(CARRIER, "INVITE");
        let branch = String::from_utf8_lossy(out.msg.top_via().and_then(|v| v.branch()).expect("a branch")).into_owned();
        let tag = String::from_utf8_lossy(out.msg.from_tag().expect("a tag")).into_owned();
        for id in [get(&out.msg, Name::CallId), branch, tag] {
            assert!(seen.insert(id), "call {n} repeats an id");
        }
        w.receive(CARRIER, &response(&out.msg, 486, "x", "", ""));
        w.take();
        if n % 100 == 0 {
            w.wait(Duration::from_secs(40));
            w.take();
        }
    }
}

#[test]
fn the_packets_source_beats_a_forged_received() {
    let mut w = World::new();
    let forged = invite(PBX, "alice", "5", "c1")
        .replace("127.0.0.1:15090;branch=z9hG4bKc1", "192.0.2.7:5060;received=192.0.2.8;rport=9;branch=z9hG4bKc1");
    w.receive(PBX, &forged);
    let answer = w.expect(PBX, "SIP/2.0 404");
    let via = get(&answer.msg, Name::Via);
    assert!(via.contains(";received=127.0.0.1") && via.contains(";rport=15090"), "{via}");
    assert!(!via.contains("192.0.2.8") && !via.contains("rport=9;"), "{via}");
    w.expect_nothing();
}

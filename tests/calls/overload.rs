//! Overload control between neighbours (RFC 7339).

use crate::world::*;
use e911d::sip::{Message, Name};
use std::time::Duration;

/// The carrier of ordinary calls and trunk a may ask for fewer.
fn obedient() -> World {
    World::changed(|text| {
        ["15070", "15080"].iter().fold(text.to_owned(), |text, port| {
            let uri = format!("uri = \"sip:127.0.0.1:{port}\"");
            assert!(text.contains(&uri), "{port}");
            text.replacen(&uri, &format!("{uri}\noverload_control = true"), 1)
        })
    })
}

/// A response with this behind the topmost Via's `oc`.
fn saying(to: &Message, status: u16, word: &str) -> String {
    let text = response(to, status, "t1", "sip:x@127.0.0.1:15080", if status < 300 { SDP } else { "" });
    assert!(text.contains(";oc;oc-algo=\"loss\"\r\n"), "{text}");
    text.replacen(";oc;oc-algo=\"loss\"\r\n", &format!(";{word}\r\n"), 1)
}

fn ordinary(w: &mut World, call: &str) {
    w.receive(PBX, &invite(PBX, "alice", "+14551234567", call));
}

#[test]
fn a_trunk_that_asks_for_fewer_ordinary_calls_gets_fewer_and_the_next_trunk_the_others() {
    let mut w = obedient();
    ordinary(&mut w, "c0");
    let out = w.expect(CARRIER, "INVITE");
    w.receive(CARRIER, &saying(&out.msg, 180, "oc=50;oc-algo=\"loss\";oc-validity=2000;oc-seq=1.0"));
    w.expect(PBX, "SIP/2.0 180");
    for call in 1..=4 {
        ordinary(&mut w, &format!("c{call}"));
        w.expect(if call % 2 == 0 { TRUNK_A } else { CARRIER }, "INVITE");
    }
    w.take();
    w.wait(Duration::from_secs(2));
    w.take();
    for call in 5..=8 {
        ordinary(&mut w, &format!("c{call}"));
        w.expect(CARRIER, "INVITE");
    }
}

#[test]
fn a_caller_whom_nobody_has_room_for_hears_503_and_may_dial_911_here_all_the_same() {
    let mut w = obedient();
    ordinary(&mut w, "c1");
    let out = w.expect(CARRIER, "INVITE");
    w.receive(CARRIER, &saying(&out.msg, 503, "oc=100;oc-algo=\"loss\";oc-validity=5000;oc-seq=1.0"));
    w.expect(CARRIER, "ACK");
    let out = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &saying(&out.msg, 503, "oc=100;oc-algo=\"loss\";oc-validity=5000;oc-seq=1.0"));
    w.expect(TRUNK_A, "ACK");
    w.take();
    ordinary(&mut w, "c2");
    let refused = w.expect(PBX, "SIP/2.0 503");
    assert_eq!(refused.msg.get(Name::RetryAfter), None, "whoever believed it would not dial 911 here meanwhile");
    w.receive(PBX, &invite(PBX, "alice", "911", "c3"));
    w.expect(TRUNK_A, "INVITE sip:911@");
}

#[test]
fn what_belongs_to_a_call_is_never_held_back() {
    let mut w = obedient();
    ordinary(&mut w, "c1");
    let out = w.expect(CARRIER, "INVITE");
    w.receive(CARRIER, &saying(&out.msg, 200, "oc=100;oc-algo=\"loss\";oc-validity=60000;oc-seq=1.0"));
    w.expect(CARRIER, "ACK");
    let ok = w.expect(PBX, "SIP/2.0 200");
    let near = InDialog::of_response(&ok.msg);
    w.receive(PBX, &near.request("ACK", 1, PBX, "", ""));
    w.receive(PBX, &near.request("INFO", 2, PBX, "", ""));
    w.expect(CARRIER, "INFO");
    w.receive(PBX, &near.request("BYE", 3, PBX, "", ""));
    w.expect(CARRIER, "BYE");
}

#[test]
fn whoever_is_not_to_be_obeyed_is_not_asked_and_changes_nothing() {
    let mut w = World::new();
    ordinary(&mut w, "c1");
    let out = w.expect(CARRIER, "INVITE");
    assert!(!get(&out.msg, Name::Via).contains(";oc"));
    let word = response(&out.msg, 180, "t1", "", "").replacen(";rport", ";rport;oc=100;oc-validity=60000;oc-seq=1.0", 1);
    assert!(word.contains(";oc=100"), "{word}");
    w.receive(CARRIER, &word);
    w.take();
    ordinary(&mut w, "c2");
    w.expect(CARRIER, "INVITE");
}

#[test]
fn a_neighbour_that_asks_is_told_how_full_we_are_and_others_are_not() {
    let mut w = World::new();
    for (asks, percent, want) in [
        ("", 40, None),
        (";oc", 0, Some(";oc=0;oc-algo=\"loss\";oc-validity=0;oc-seq=7.250")),
        (";oc;oc-algo=\"loss,rate\"", 40, Some(";oc=40;oc-algo=\"loss\";oc-validity=1000;oc-seq=7.250")),
        (";oc;oc-algo=\"rate\"", 40, None),
    ] {
        w.setup.load.set(percent, Duration::from_millis(7250));
        let call = format!("c{asks}{percent}").replace([';', '"', ',', '='], "");
        w.receive(PBX, &invite(PBX, "alice", "5", &call).replacen(";branch=", &format!("{asks};branch="), 1));
        let via = get(&w.expect(PBX, "SIP/2.0 404").msg, Name::Via);
        let found = via.find(";oc").map(|at| via[at..].split(", ").next().unwrap_or_default().to_owned());
        assert_eq!(found.as_deref(), want, "{asks}");
        w.take();
    }
}

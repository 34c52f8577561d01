//! Browsers' audio on paper: ports that are left to their emergencies, and ICE that begins anew.

use crate::anchors::{answer, joined, port, sdp};
use crate::pages::{MORE, PAGE, panel, register};
use crate::world::*;
use e911d::bridge::RelayOrder;
use e911d::sip::Name;
use std::sync::Arc;
use std::time::Duration;

const WITH_SDP: &str = "Contact: <sip:alice@127.0.0.31:40001>\r\nContent-Type: application/sdp\r\n";

/// What her browser offers, under this name in ICE.
fn offer(ufrag: &str) -> String {
    let print = vec!["AB"; 32].join(":");
    format!(
        "v=0\r\no=- 7 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 0.0.0.0\r\n\
         a=ice-ufrag:{ufrag}\r\na=ice-pwd:a-password-of-hers-of-24\r\na=fingerprint:sha-256 {print}\r\na=setup:actpass\r\na=mid:0\r\n\
         a=rtcp-mux\r\na=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n"
    )
}

/// Our name in ICE, as she is told it.
fn our_ufrag(sdp: &str) -> &str {
    sdp.lines().find_map(|l| l.strip_prefix("a=ice-ufrag:")).unwrap_or_else(|| panic!("no ICE in {sdp}"))
}

/// A world where her page has registered, and where there are these ports.
fn world(ports: bool) -> World {
    let mut setup = setup(&format!("{CONFIG}{MORE}"), 1);
    Arc::make_mut(&mut setup.anchoring).fingerprint = Some([1; 32]);
    let mut w = World::of_shard(0, &setup);
    w.ports = ports;
    w.drain();
    assert_eq!(register(&mut w, PAGE, "a").status(), 200);
    w
}

fn dial(w: &mut World, number: &str, call: &str) {
    let text = invite(PAGE, "alice", number, call).replace("sip:alice@pbx.example.net", "sip:alice@gw.example.net");
    let (head, _) = text.split_once("\r\n\r\n").expect("a body");
    let head = head.rsplit_once("Content-Length").expect("a length").0;
    let body = offer("hers");
    w.receive_by_web(PAGE, &format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()));
}

fn psap() -> String {
    format!("sip:psap@{TRUNK_A}")
}

/// Her 911 call is up: her dialog, and the PSAP's, and what she was told.
fn talk(w: &mut World) -> (InDialog, InDialog, String) {
    dial(w, "911", "c1");
    let out = w.expect(TRUNK_A, "INVITE");
    assert!(sdp(&out).contains("RTP/AVP 0"), "{}", sdp(&out));
    w.receive(TRUNK_A, &response(&out.msg, 200, "t1", &psap(), &answer(7000, "RTP/AVP", "")));
    let ok = w.expect(PAGE, "SIP/2.0 200");
    w.expect(TRUNK_A, "ACK");
    let near = InDialog::of_response(&ok.msg);
    w.receive_by_web(PAGE, &near.request("ACK", 1, PAGE, "", ""));
    (near, InDialog::of_invite(&out.msg, "t1"), sdp(&ok))
}

#[test]
fn p6_the_ports_that_ordinary_calls_of_browsers_leave_are_for_their_emergencies() {
    let mut w = world(true);
    // There are no more than those that are ready.
    w.ports = false;
    let ready = w.relayed.iter().find_map(|order| if let RelayOrder::Want(_, n) = order { Some(*n) } else { None });
    let ready = ready.expect("ports that are kept ready");
    let mut ordinary = Vec::new();
    for n in 0..ready {
        dial(&mut w, "+14551234567", &format!("o{n}"));
        let sent = w.take();
        if sent.iter().any(|s| s.to.to_string() == PAGE && s.msg.status() == 503) {
            break;
        }
        ordinary.extend(sent.into_iter().find(|s| s.to.to_string() == CARRIER));
    }
    assert_eq!(ordinary.len(), (ready - ready / 8) / 2, "of {ready} pairs");
    for n in 0..ready / 16 {
        dial(&mut w, "911", &format!("e{n}"));
        let out = w.expect(TRUNK_A, "INVITE");
        assert!(sdp(&out).contains("RTP/AVP 0") && port(&sdp(&out)) > 20_000, "{}", sdp(&out));
    }
    // Of one more than that the second round finds what an ordinary call has left meanwhile.
    dial(&mut w, "911", "more");
    assert!(w.take().iter().all(|s| s.to.to_string() == PAGE));
    w.ports = true;
    let over = ordinary.first().expect("an ordinary call");
    w.receive(CARRIER, &response(&over.msg, 486, "o", "", ""));
    w.wait(Duration::from_secs(2));
    let out = w.expect(TRUNK_A, "INVITE");
    assert!(sdp(&out).contains("RTP/AVP 0"), "{}", sdp(&out));
}

#[test]
fn p6_a_browser_for_whom_no_port_is_left_is_told_so_at_once_and_no_trunk_gets_what_it_cannot_understand() {
    let mut w = world(false);
    dial(&mut w, "911", "c1");
    w.wait(Duration::from_secs(2));
    let sent = w.take();
    assert!(sent.iter().all(|s| !text(&s.msg).starts_with("INVITE")), "nobody can be spoken with");
    let no = sent.iter().find(|s| s.to.to_string() == PAGE && s.msg.status() == 503).expect("a refusal");
    assert_eq!(get(&no.msg, Name::Priority), "emergency");
    assert!(panel(&w).not_connected, "her page names a mobile phone");
}

#[test]
fn c4_where_no_port_is_left_for_her_browser_the_desk_is_rung_at_once() {
    let mut w = world(true);
    w.ports = false;
    let mut calls = 0;
    while calls == 0 || w.take().iter().any(|s| s.to.to_string() == TRUNK_A) {
        dial(&mut w, "911", &format!("c{calls}"));
        calls += 1;
    }
    let number = panel(&w).lease.expect("a lease").0.reveal().to_string();
    w.receive(TRUNK_A, &invite(TRUNK_A, "+12065550911", &number, "cb"));
    let sent = w.take();
    assert!(!sent.iter().any(|s| s.to.to_string() == PAGE && text(&s.msg).starts_with("INVITE")), "she could not be heard");
    assert!(sent.iter().any(|s| text(&s.msg).starts_with("INVITE sip:security@")), "the desk rings");
}

#[test]
fn an_ice_restart_that_is_answered_has_other_names_on_both_sides() {
    let mut w = world(true);
    let (near, _, before) = talk(&mut w);
    let was = joined(&w);
    w.receive_by_web(PAGE, &near.request("INVITE", 2, PAGE, WITH_SDP, &offer("anew")));
    let out = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &response(&out.msg, 200, "t1", &psap(), &answer(7000, "RTP/AVP", "")));
    let ok = w.expect(PAGE, "SIP/2.0 200");
    assert_ne!(our_ufrag(&sdp(&ok)), our_ufrag(&before));
    let is = joined(&w).near;
    let (was, is) = (was.near.browser.expect("a browser"), is.browser.expect("a browser"));
    assert_eq!(is.ice.ufrag, our_ufrag(&sdp(&ok)), "the relay takes what she is told");
    assert_eq!((is.fingerprint, is.ice.ssrc), (was.fingerprint, was.ice.ssrc), "keys and stream go on");
}

#[test]
fn an_ice_restart_that_the_psap_refuses_leaves_the_names_of_before() {
    let mut w = world(true);
    let (near, far, before) = talk(&mut w);
    let was = joined(&w);
    w.receive_by_web(PAGE, &near.request("INVITE", 2, PAGE, WITH_SDP, &offer("anew")));
    let out = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &response(&out.msg, 488, "t1", &psap(), ""));
    w.expect(TRUNK_A, "ACK");
    w.expect(PAGE, "SIP/2.0 488");
    w.receive_by_web(PAGE, &near.request("ACK", 2, PAGE, "", ""));
    // The PSAP's own offer is told by the names that hold, and what comes of it is heard by them.
    let more = format!("Contact: <{}>\r\nContent-Type: application/sdp\r\n", psap());
    w.receive(TRUNK_A, &far.request("INVITE", 1, TRUNK_A, &more, &answer(7002, "RTP/AVP", "")));
    let offered = w.expect(PAGE, "INVITE");
    assert_eq!(our_ufrag(&sdp(&offered)), our_ufrag(&before));
    let hers = offer("hers").replace("actpass", "active");
    w.receive_by_web(PAGE, &response(&offered.msg, 200, "t1", "sip:alice@127.0.0.31:40001", &hers));
    w.expect(TRUNK_A, "SIP/2.0 200");
    assert!(joined(&w).near.browser == was.near.browser, "she is heard as before");
}

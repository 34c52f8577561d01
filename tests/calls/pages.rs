//! Agents' pages: they register with a pass, may do little during an emergency, go away and come back.

use crate::phones::Phone;
use crate::world::*;
use e911d::bridge::Own;
use e911d::sip::digest::{Asked, Challenge};
use e911d::sip::{Message, Name};
use std::time::Duration;

pub const PAGE: &str = "127.0.0.31:40001";
pub const RELOADED: &str = "127.0.0.31:40002";
const ONCE_MORE: &str = "127.0.0.31:40003";
pub const MORE: &str =
    "[[listen]]\ntransport = \"ws\"\nbind = \"127.0.0.1:15062\"\n[[agent]]\nid = \"alice\"\npassword = \"wonder\"\n";
const HELD: &str =
    "v=0\r\no=alice 1 2 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 30000 RTP/AVP 0\r\na=sendonly\r\n";
const OTHER: &str = "v=0\r\no=alice 7 7 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 31000 RTP/AVP 0\r\n";

fn world() -> World {
    World::with(&format!("{CONFIG}{MORE}"))
}

/// Registers a page by a WebSocket, with a pass that ends an hour from now.
pub fn register(w: &mut World, at: &'static str, instance: &str) -> Message {
    let wall = w.setup.booted + w.now.since(e911d::words::Time::ZERO);
    register_until(w, at, instance, wall.as_secs() + 3600)
}

fn register_until(w: &mut World, at: &'static str, instance: &str, ends: u64) -> Message {
    let (user, password) = w.setup.panel.sip("alice", &Own::new("gw.example.net", "alice", "wonder"), ends);
    let contact = format!("Contact: <sip:x@{at};transport=ws>;+sip.ice;+sip.instance=\"<urn:uuid:{instance}>\";expires=300\r\n");
    let mut phone = Phone::new(at);
    let first = phone.register_text(&contact);
    w.receive_by_web(at, &first);
    let challenge = w.expect(at, "SIP/2.0 401");
    let challenge = challenge.msg.get(Name::WwwAuthenticate).and_then(Challenge::parse).expect("a challenge");
    let asked = Asked { method: b"REGISTER", uri: b"sip:gw.example.net", body: b"" };
    let answer = challenge.answer(user.as_bytes(), password.reveal().as_bytes(), &asked, 1, b"c");
    let second = phone.register_text(&format!("Authorization: {}\r\n{contact}", String::from_utf8_lossy(&answer)));
    w.receive_by_web(at, &second);
    w.expect(at, "SIP/2.0 ").msg
}

/// Her page dials; the INVITE that leaves.
fn dial(w: &mut World, number: &str, call: &str) {
    let text = invite(PAGE, "alice", number, call).replace("sip:alice@pbx.example.net", "sip:alice@gw.example.net");
    w.receive_by_web(PAGE, &text);
}

/// Her page dials 911 and is connected: her dialog, and the PSAP's.
fn dial_911(w: &mut World) -> (InDialog, InDialog) {
    dial(w, "911", "c1");
    let out = w.expect(TRUNK_A, "INVITE sip:911@");
    w.receive(TRUNK_A, &response(&out.msg, 180, "t1", "sip:psap@127.0.0.1:15070", ""));
    assert_eq!(get(&w.expect(PAGE, "SIP/2.0 180").msg, Name::Priority), "emergency");
    w.receive(TRUNK_A, &response(&out.msg, 200, "t1", "sip:psap@127.0.0.1:15070", SDP));
    let ok = w.expect(PAGE, "SIP/2.0 200");
    assert_eq!(get(&ok.msg, Name::Priority), "emergency");
    w.expect(TRUNK_A, "ACK");
    let near = InDialog::of_response(&ok.msg);
    w.receive_by_web(PAGE, &near.request("ACK", 1, PAGE, "", ""));
    (near, InDialog::of_invite(&out.msg, "t1"))
}

pub fn panel(w: &World) -> e911d::emergency::gateway::PanelView {
    w.shard.story().expect("the story").panel_of("alice")
}

#[test]
fn r8_a_page_registers_with_its_pass_until_that_ends() {
    let mut w = world();
    assert_eq!(register(&mut w, PAGE, "a").status(), 200);
    let wall = w.setup.booted + w.now.since(e911d::words::Time::ZERO);
    assert_eq!(register_until(&mut w, RELOADED, "b", wall.as_secs()).status(), 401);
}

#[test]
fn a6_during_an_emergency_a_page_may_end_the_call_and_little_else() {
    let mut w = world();
    register(&mut w, PAGE, "a");
    let (near, _) = dial_911(&mut w);
    let sdp = "Content-Type: application/sdp\r\n";
    let contact = "Contact: <sip:alice@127.0.0.31:40001>\r\n";
    for (seq, method, body, status) in [
        (2, "REFER", "", "403"),
        (3, "INFO", "", "403"),
        (4, "MESSAGE", "", "403"),
        (5, "INVITE", HELD, "488"),
        (7, "INVITE", &*SDP.replace("t=0 0", "t=0 0\r\na=inactive"), "488"),
        (8, "INVITE", &*SDP.replace("c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0"), "488"),
        (9, "OPTIONS", "", "200"),
        (10, "SUBSCRIBE", "", "403"),
        (12, "NOTIFY", "", "403"),
        (13, "PUBLISH", "", "403"),
        (14, "UPDATE", HELD, "488"),
    ] {
        let more = if body.is_empty() { contact.to_owned() } else { format!("{contact}{sdp}") };
        w.receive_by_web(PAGE, &near.request(method, seq, PAGE, &more, body));
        w.expect(PAGE, &format!("SIP/2.0 {status}"));
        w.expect_nothing();
    }
    // New candidates of hers, and listening only, go on to the PSAP.
    let listens = SDP.replace("t=0 0", "t=0 0\r\na=recvonly");
    w.receive_by_web(PAGE, &near.request("INVITE", 15, PAGE, &format!("{contact}{sdp}"), &listens));
    w.expect(TRUNK_A, "INVITE");
    w.take();
    w.receive_by_web(PAGE, &near.request("BYE", 16, PAGE, "", ""));
    w.expect(PAGE, "SIP/2.0 200");
    w.expect(TRUNK_A, "BYE");
    assert!(!panel(&w).dropped, "she has ended it");
}

#[test]
fn a6_a_page_has_no_ordinary_call_beside_an_emergency_but_another_911() {
    let mut w = world();
    register(&mut w, PAGE, "a");
    dial_911(&mut w);
    dial(&mut w, "4255550123", "c2");
    w.expect(PAGE, "SIP/2.0 486");
    w.expect_nothing();
    dial(&mut w, "911", "c3");
    w.expect(TRUNK_A, "INVITE sip:911@");
}

#[test]
fn a6_what_a_page_may_not_a_telephone_may() {
    let mut w = world();
    let mut phone = Phone::new("127.0.0.33:5060");
    let contact = phone.contact();
    phone.register(&mut w, &contact);
    phone.dial(&mut w, "911", "");
    let out = w.expect(TRUNK_A, "INVITE sip:911@");
    w.receive(TRUNK_A, &response(&out.msg, 200, "t1", "sip:psap@127.0.0.1:15070", SDP));
    let ok = w.expect(phone.at, "SIP/2.0 200");
    assert_eq!(get(&ok.msg, Name::Priority), "");
    let near = InDialog::of_response(&ok.msg);
    w.receive(phone.at, &near.request("ACK", phone.seq, phone.at, "", ""));
    w.take();
    let more = "Contact: <sip:alice@127.0.0.33:5060>\r\nContent-Type: application/sdp\r\n";
    w.receive(phone.at, &near.request("INVITE", phone.seq + 1, phone.at, more, HELD));
    w.expect(TRUNK_A, "INVITE");
}

#[test]
fn a2_a_call_that_the_psap_ends_is_shown_as_dropped_until_she_dials_again() {
    let mut w = world();
    register(&mut w, PAGE, "a");
    let (_, far) = dial_911(&mut w);
    assert_eq!(panel(&w).call, Some(("emergency", "talking")));
    w.receive(TRUNK_A, &far.request("BYE", 1, TRUNK_A, "Reason: Q.850;cause=16\r\n", ""));
    let bye = w.expect(PAGE, "BYE");
    assert!(get(&bye.msg, Name::Reason).contains("cause="), "{}", text(&bye.msg));
    let view = panel(&w);
    assert!(view.dropped && view.call.is_none() && view.lease.is_some(), "{view:?}");
    dial(&mut w, "911", "c2");
    assert!(!panel(&w).dropped);
}

#[test]
fn p6_where_no_trunk_takes_her_call_she_is_told_to_use_another_telephone() {
    let mut w = world();
    register(&mut w, PAGE, "a");
    dial(&mut w, "911", "c1");
    for _ in 0..4 {
        for sent in w.take().into_iter().filter(|s| text(&s.msg).starts_with("INVITE")) {
            let to = sent.to.to_string();
            w.receive(&to, &response(&sent.msg, 503, "t1", "sip:psap@127.0.0.1:15070", ""));
        }
        w.wait(Duration::from_millis(1100));
    }
    let no = w.expect(PAGE, "SIP/2.0 503");
    assert_eq!(get(&no.msg, Name::Priority), "emergency");
    assert!(panel(&w).not_connected);
}

#[test]
fn a_page_that_was_loaded_anew_is_rung_and_has_its_call_back() {
    let mut w = world();
    register(&mut w, PAGE, "a");
    let (near, far) = dial_911(&mut w);
    w.close_web(PAGE);
    w.wait(Duration::from_secs(5));
    w.expect_nothing();
    register(&mut w, RELOADED, "b");
    let rung = w.expect(RELOADED, "INVITE");
    assert_eq!(get(&rung.msg, Name::Priority), "emergency");
    assert!(get(&rung.msg, Name::From).starts_with("<sip:911@"), "{}", text(&rung.msg));
    assert!(rung.msg.body().is_empty(), "her answer brings the offer");
    // Registering again rings nobody twice.
    register(&mut w, RELOADED, "b");
    w.expect_nothing();
    w.receive_by_web(RELOADED, &response(&rung.msg, 200, "p2", "sip:x@127.0.0.31:40002;transport=ws", OTHER));
    // Whoever had it before is hung up; the PSAP is asked anew, in the dialog that it has.
    assert_eq!(get(&w.expect(PAGE, "BYE").msg, Name::CallId), near.call_id);
    let again = w.expect(TRUNK_A, "INVITE");
    assert_eq!(get(&again.msg, Name::CallId), far.call_id);
    assert!(text(&again.msg).contains("m=audio 31000"), "{}", text(&again.msg));
    w.expect_nothing();
    w.receive(TRUNK_A, &response(&again.msg, 200, "t1", "sip:psap@127.0.0.1:15070", SDP));
    w.expect(TRUNK_A, "ACK");
    let ack = w.expect(RELOADED, "ACK");
    assert!(text(&ack.msg).contains("m=audio 30000"), "{}", text(&ack.msg));
    // And it is a call as any: 20 s are over, and she ends it.
    w.wait(Duration::from_secs(30));
    w.take();
    let hers = InDialog::of_invite(&rung.msg, "p2");
    w.receive_by_web(RELOADED, &hers.request("REFER", 1, RELOADED, "", ""));
    w.expect(RELOADED, "SIP/2.0 403");
    w.receive_by_web(RELOADED, &hers.request("BYE", 2, RELOADED, "", ""));
    w.expect(RELOADED, "SIP/2.0 200");
    let bye = w.expect(TRUNK_A, "BYE");
    w.receive(TRUNK_A, &response(&bye.msg, 200, "", "", ""));
    assert!(panel(&w).call.is_none());
}

#[test]
fn a_page_that_was_loaded_anew_has_a_psaps_call_back_as_well() {
    let mut w = world();
    register(&mut w, PAGE, "a");
    let (near, _) = dial_911(&mut w);
    let number = panel(&w).lease.expect("a lease").0.reveal().to_string();
    w.receive_by_web(PAGE, &near.request("BYE", 2, PAGE, "", ""));
    let bye = w.expect(TRUNK_A, "BYE");
    w.receive(TRUNK_A, &response(&bye.msg, 200, "", "", ""));
    w.take();
    w.receive(TRUNK_A, &invite(TRUNK_A, "+12065550911", &number, "cb"));
    let rings = w.expect(PAGE, "INVITE");
    w.receive_by_web(PAGE, &response(&rings.msg, 200, "p1", "sip:x@127.0.0.31:40001;transport=ws", SDP));
    let ok = w.expect(TRUNK_A, "SIP/2.0 200");
    let psap = InDialog::of_response(&ok.msg);
    w.receive(TRUNK_A, &psap.request("ACK", 1, TRUNK_A, "", ""));
    w.take();
    w.close_web(PAGE);
    register(&mut w, RELOADED, "b");
    let rung = w.expect(RELOADED, "INVITE");
    assert_eq!(get(&rung.msg, Name::Priority), "psap-callback");
    w.receive_by_web(RELOADED, &response(&rung.msg, 200, "p2", "sip:x@127.0.0.31:40002;transport=ws", OTHER));
    let again = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &response(&again.msg, 200, "", "sip:psap@127.0.0.1:15070", SDP));
    w.expect(RELOADED, "ACK");
    w.take();
    w.receive(TRUNK_A, &psap.request("BYE", 2, TRUNK_A, "", ""));
    w.expect(RELOADED, "BYE");
}

#[test]
fn the_same_page_by_a_new_connection_goes_on_without_a_ring() {
    let mut w = world();
    register(&mut w, PAGE, "a");
    let (near, far) = dial_911(&mut w);
    w.close_web(PAGE);
    register(&mut w, RELOADED, "a");
    w.wait(Duration::from_secs(30));
    w.expect_nothing();
    w.receive(TRUNK_A, &far.request("BYE", 1, TRUNK_A, "", ""));
    assert_eq!(get(&w.expect(RELOADED, "BYE").msg, Name::CallId), near.call_id);
}

#[test]
fn a_page_that_does_not_come_back_within_20_s_has_lost_its_call_and_is_called_back() {
    let mut w = world();
    register(&mut w, PAGE, "a");
    dial_911(&mut w);
    w.close_web(PAGE);
    w.wait(Duration::from_millis(19_900));
    w.expect_nothing();
    w.wait(Duration::from_millis(200));
    let bye = w.expect(TRUNK_A, "BYE");
    assert!(get(&bye.msg, Name::Reason).contains("page"), "{}", text(&bye.msg));
    w.receive(TRUNK_A, &response(&bye.msg, 200, "", "", ""));
    let view = panel(&w);
    assert!(view.dropped && view.call.is_none(), "{view:?}");
    let number = view.lease.expect("her number is still hers").0.reveal().to_string();
    w.take();
    register(&mut w, RELOADED, "b");
    w.receive(TRUNK_A, &invite(TRUNK_A, "+12065550911", &number, "cb"));
    w.expect(RELOADED, "INVITE");
}

#[test]
fn who_is_rung_again_and_refuses_takes_nothing_from_the_page_before() {
    let mut w = world();
    register(&mut w, PAGE, "a");
    let (near, _) = dial_911(&mut w);
    register(&mut w, RELOADED, "b");
    let rung = w.expect(RELOADED, "INVITE");
    w.receive_by_web(RELOADED, &response(&rung.msg, 486, "p2", "sip:x@127.0.0.31:40002", ""));
    w.expect(RELOADED, "ACK");
    w.expect_nothing();
    w.receive_by_web(PAGE, &near.request("BYE", 2, PAGE, "", ""));
    w.expect(PAGE, "SIP/2.0 200");
    w.expect(TRUNK_A, "BYE");
}

/// An emergency call whose page was loaded anew and has answered: its dialog, and what the PSAP is asked then.
fn page_is_back() -> (World, InDialog, Sent) {
    let mut w = world();
    register(&mut w, PAGE, "a");
    dial_911(&mut w);
    w.close_web(PAGE);
    register(&mut w, RELOADED, "b");
    let rung = w.expect(RELOADED, "INVITE");
    w.receive_by_web(RELOADED, &response(&rung.msg, 200, "p2", "sip:x@127.0.0.31:40002;transport=ws", OTHER));
    w.expect(PAGE, "BYE");
    let again = w.expect(TRUNK_A, "INVITE");
    (w, InDialog::of_invite(&rung.msg, "p2"), again)
}

/// The PSAP is asked once more, not within 2.1 s (RFC 3261 section 14.1) and within 4 s.
fn asked_again(w: &mut World) -> Sent {
    w.wait(Duration::from_secs(2));
    assert!(w.take().iter().all(|s| !text(&s.msg).starts_with("INVITE")), "too early");
    w.wait(Duration::from_secs(2));
    let again = w.expect(TRUNK_A, "INVITE");
    // Its copies.
    w.take();
    again
}

#[test]
fn p11_where_the_psap_refuses_the_offer_of_a_page_that_is_back_the_call_waits_for_her_once_more() {
    let (mut w, _, again) = page_is_back();
    w.receive(TRUNK_A, &response(&again.msg, 488, "t1", "sip:psap@127.0.0.1:15070", ""));
    w.expect(TRUNK_A, "ACK");
    w.expect(RELOADED, "ACK");
    w.expect(RELOADED, "BYE");
    w.take();
    w.wait(Duration::from_secs(19));
    assert!(w.take().iter().all(|s| !text(&s.msg).starts_with("BYE") || s.to.to_string() != TRUNK_A));
    assert!(panel(&w).call.is_some());
}

#[test]
fn p11_a_psap_that_asks_something_itself_is_asked_again_by_the_page_that_is_back() {
    let (mut w, _, mut again) = page_is_back();
    for _ in 0..3 {
        w.receive(TRUNK_A, &response(&again.msg, 491, "t1", "", ""));
        w.expect(TRUNK_A, "ACK");
        again = asked_again(&mut w);
        assert!(text(&again.msg).contains("m=audio 31000"), "{}", text(&again.msg));
    }
    w.receive(TRUNK_A, &response(&again.msg, 200, "t1", "sip:psap@127.0.0.1:15070", SDP));
    w.expect(TRUNK_A, "ACK");
    let ack = w.expect(RELOADED, "ACK");
    assert!(text(&ack.msg).contains("m=audio 30000"), "{}", text(&ack.msg));
    w.wait(Duration::from_secs(30));
    assert!(w.take().iter().all(|s| !text(&s.msg).starts_with("BYE")));
    assert!(panel(&w).call.is_some());
}

#[test]
fn p11_a_psap_that_is_always_asking_something_itself_leaves_the_call_waiting_for_her_page() {
    let (mut w, _, mut again) = page_is_back();
    for asked in 1..=4 {
        w.receive(TRUNK_A, &response(&again.msg, 491, "t1", "", ""));
        w.expect(TRUNK_A, "ACK");
        if asked < 4 {
            again = asked_again(&mut w);
        }
    }
    w.expect(RELOADED, "BYE");
    w.wait(Duration::from_secs(10));
    assert!(w.take().iter().all(|s| !text(&s.msg).starts_with("INVITE")));
    assert!(panel(&w).call.is_some());
}

#[test]
fn a_page_that_ends_its_call_while_the_psap_is_to_be_asked_again_asks_no_more() {
    let (mut w, hers, again) = page_is_back();
    w.receive(TRUNK_A, &response(&again.msg, 491, "t1", "", ""));
    w.expect(TRUNK_A, "ACK");
    w.receive_by_web(RELOADED, &hers.request("BYE", 2, RELOADED, "", ""));
    let bye = w.expect(TRUNK_A, "BYE");
    w.receive(TRUNK_A, &response(&bye.msg, 200, "", "", ""));
    w.wait(Duration::from_secs(10));
    assert!(w.take().iter().all(|s| !text(&s.msg).starts_with("INVITE")));
    assert!(panel(&w).call.is_none());
}

#[test]
fn p11_a_page_that_is_loaded_anew_twice_keeps_its_call_whatever_becomes_of_the_offer_between() {
    for answer in [491, 488, 200] {
        let (mut w, _, between) = page_is_back();
        register(&mut w, ONCE_MORE, "c");
        let rung = w.expect(ONCE_MORE, "INVITE");
        w.receive_by_web(ONCE_MORE, &response(&rung.msg, 200, "p3", "sip:x@127.0.0.31:40003;transport=ws", OTHER));
        w.expect(RELOADED, "BYE");
        // The PSAP has not answered the one before yet (RFC 3261 section 14.2).
        let newest = w.expect(TRUNK_A, "INVITE");
        let busy = response(&newest.msg, 500, "t1", "", "").replacen("\r\n", "\r\nRetry-After: 3\r\n", 1);
        w.receive(TRUNK_A, &busy);
        w.expect(TRUNK_A, "ACK");
        let sdp = if answer == 200 { SDP } else { "" };
        w.receive(TRUNK_A, &response(&between.msg, answer, "t1", "sip:psap@127.0.0.1:15070", sdp));
        w.expect(TRUNK_A, "ACK");
        let newest = asked_again(&mut w);
        w.receive(TRUNK_A, &response(&newest.msg, 200, "t1", "sip:psap@127.0.0.1:15070", SDP));
        w.expect(TRUNK_A, "ACK");
        let ack = w.expect(ONCE_MORE, "ACK");
        assert!(text(&ack.msg).contains("m=audio 30000"), "{answer}: {}", text(&ack.msg));
        w.wait(Duration::from_secs(30));
        assert!(!w.take().iter().any(|s| s.to.to_string() != RELOADED && text(&s.msg).starts_with("BYE")), "{answer}");
        assert!(panel(&w).call.is_some(), "{answer}");
    }
}

#[test]
fn a_call_that_ends_while_a_page_is_rung_again_stops_ringing_there() {
    let mut w = world();
    register(&mut w, PAGE, "a");
    let (_, far) = dial_911(&mut w);
    w.close_web(PAGE);
    register(&mut w, RELOADED, "b");
    let rung = w.expect(RELOADED, "INVITE");
    w.receive_by_web(RELOADED, &response(&rung.msg, 180, "p2", "sip:x@127.0.0.31:40002;transport=ws", ""));
    w.receive(TRUNK_A, &far.request("BYE", 1, TRUNK_A, "", ""));
    w.expect(RELOADED, "CANCEL");
    // Its answer had been on its way.
    w.take();
    w.receive_by_web(RELOADED, &response(&rung.msg, 200, "p2", "sip:x@127.0.0.31:40002;transport=ws", OTHER));
    w.expect(RELOADED, "ACK");
    w.expect(RELOADED, "BYE");
    w.expect_nothing();
}

/// Her page dials 911, the PSAP rings, and the page is closed.
fn closed_while_it_rings(w: &mut World) -> Message {
    register(w, PAGE, "a");
    dial(w, "911", "c1");
    let out = w.expect(TRUNK_A, "INVITE sip:911@").msg;
    w.receive(TRUNK_A, &response(&out, 180, "t1", "sip:psap@127.0.0.1:15070", ""));
    w.close_web(PAGE);
    w.take();
    out
}

fn answer_of_the_psap(w: &mut World, out: &Message) {
    w.receive(TRUNK_A, &response(out, 200, "t1", "sip:psap@127.0.0.1:15070", SDP));
    w.expect(TRUNK_A, "ACK");
}

#[test]
fn a6_a_page_that_was_loaded_anew_while_the_psap_rang_is_rung_the_moment_that_is_answered() {
    for back_after in [Duration::ZERO, Duration::from_secs(40)] {
        let mut w = world();
        let out = closed_while_it_rings(&mut w);
        w.wait(back_after);
        register(&mut w, RELOADED, "b");
        w.wait(Duration::from_secs(40));
        assert!(w.take().iter().all(|s| s.to.to_string() != TRUNK_A), "the PSAP goes on ringing");
        assert_eq!(panel(&w).call, Some(("emergency", "ringing")), "which her page is told");
        answer_of_the_psap(&mut w, &out);
        let rung = w.expect(RELOADED, "INVITE");
        assert_eq!(get(&rung.msg, Name::AnswerMode), "Auto");
        w.receive_by_web(RELOADED, &response(&rung.msg, 200, "p2", "sip:x@127.0.0.31:40002;transport=ws", OTHER));
        let again = w.expect(TRUNK_A, "INVITE");
        assert!(text(&again.msg).contains("m=audio 31000"), "{}", text(&again.msg));
        w.receive(TRUNK_A, &response(&again.msg, 200, "t1", "sip:psap@127.0.0.1:15070", SDP));
        w.expect(RELOADED, "ACK");
        w.take();
        w.wait(Duration::from_secs(60));
        assert!(w.take().iter().all(|s| !text(&s.msg).starts_with("BYE") || s.to.to_string() != TRUNK_A), "she has it");
    }
}

#[test]
fn a6_a_page_that_comes_back_up_to_20_s_after_the_answer_is_rung_and_one_that_does_not_is_to_be_called_back() {
    let mut w = world();
    let out = closed_while_it_rings(&mut w);
    w.wait(Duration::from_secs(60));
    answer_of_the_psap(&mut w, &out);
    w.take();
    w.wait(Duration::from_millis(19_900));
    assert!(w.take().iter().all(|s| s.to.to_string() != TRUNK_A));
    register(&mut w, RELOADED, "b");
    w.expect(RELOADED, "INVITE");
    w.wait(Duration::from_millis(200));
    w.expect(TRUNK_A, "BYE");
    assert!(panel(&w).dropped);
}

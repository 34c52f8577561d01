//! Rules of the emergency path in their corners, message by message.

use crate::world::*;
use e911d::emergency::facts::Side;
use e911d::emergency::privacy::Outcome;
use e911d::sip::Name;
use std::time::Duration;

const MS: fn(u64) -> Duration = Duration::from_millis;
const PSAP: &str = "sip:psap@127.0.0.1:15070";

fn with(message: &str, more: &str) -> String {
    message.replacen("Content-Length:", &format!("{more}Content-Length:"), 1)
}

fn outcomes(w: &World) -> Vec<Option<Outcome>> {
    let notice = |s: &Side| if let Side::Notice(n) = s { Some(n.outcome) } else { None };
    w.sides.iter().filter_map(notice).collect()
}

/// Answers a leg and gives the caller's side of the dialog.
fn answer(w: &mut World, out: &Sent, trunk: &str) -> InDialog {
    w.receive(trunk, &response(&out.msg, 200, "t1", &format!("sip:psap@{trunk}"), SDP));
    let ok = w.expect(PBX, "SIP/2.0 200");
    let near = InDialog::of_response(&ok.msg);
    w.receive(PBX, &near.request("ACK", 1, PBX, "", ""));
    w.expect(trunk, "ACK");
    near
}

fn shown(out: &Sent) -> String {
    get(&out.msg, Name::From).split(['<', ':', '@']).nth(2).unwrap().to_owned()
}

#[test]
fn r4_an_unknown_require_is_dropped_on_an_emergency_and_420_otherwise() {
    let mut w = World::new();
    let more = "Require: 100rel, x-magic\r\nProxy-Require: x-more\r\n";
    w.receive(PBX, &with(&invite(PBX, "alice", "911", "c1"), more));
    let out = w.expect(TRUNK_A, "INVITE");
    assert_eq!((out.msg.get(Name::Require), out.msg.get(Name::ProxyRequire)), (None, None));
    assert_eq!(get(&out.msg, Name::Supported), "100rel");
    w.receive(PBX, &with(&invite(PBX, "alice", "+14551234567", "c2"), more));
    let refused = w.expect(PBX, "SIP/2.0 420");
    assert_eq!(get(&refused.msg, Name::Unsupported), "x-magic");
    w.expect_nothing();
    w.receive(PBX, &with(&invite(PBX, "alice", "+14551234567", "c3"), "Require: 100rel, timer\r\n"));
    assert_eq!(get(&w.expect(CARRIER, "INVITE").msg, Name::Require), "100rel, timer");
}

#[test]
fn an_ordinary_call_by_tel_goes_out_and_one_by_an_unknown_scheme_gets_416() {
    let mut w = World::new();
    let dialed = |uri: &str, call: &str| {
        invite(PBX, "alice", "x", call).replacen("INVITE sip:x@127.0.0.1:15060 ", &format!("INVITE {uri} "), 1)
    };
    w.receive(PBX, &dialed("tel:+1-455-123-4567;phone-context=+1", "c1"));
    w.expect(CARRIER, "INVITE sip:+1-455-123-4567@127.0.0.1:15080");
    for (call, uri) in [("c2", "urn:service:counseling"), ("c3", "http://example.com/"), ("c4", "mailto:a@b")] {
        w.receive(PBX, &dialed(uri, call));
        w.expect(PBX, "SIP/2.0 416");
        w.expect_nothing();
    }
}

#[test]
fn each_mistake_gets_the_answer_that_the_rfc_has_for_it_and_an_ack_none() {
    let mut w = World::new();
    let base = invite(PBX, "alice", "+14551234567", "c");
    let cases = [
        (base.replace("SIP/2.0\r\nVia", "SIP/3.0\r\nVia"), 505),
        (base.replace("Max-Forwards: 70", "Max-Forwards: 0"), 483),
        (base.replace("Call-ID: c\r\n", ""), 400),
        (base.replace("INVITE", "BREW"), 501),
        (base.replace("INVITE", "SUBSCRIBE"), 405),
        (base.replace("INVITE", "BYE").replace("pbx.example.net>\r\nCall", "pbx.example.net>;tag=x\r\nCall"), 481),
        (base.replace("INVITE", "CANCEL"), 481),
    ];
    for (n, (text, status)) in cases.into_iter().enumerate() {
        w.receive(PBX, &text.replace("z9hG4bKc", &format!("z9hG4bKm{n}")));
        w.expect(PBX, &format!("SIP/2.0 {status}"));
        w.expect_nothing();
    }
    for text in [base.replace("INVITE", "ACK"), base.replace("INVITE", "ACK").replace("Call-ID: c\r\n", "")] {
        w.receive(PBX, &text);
        w.receive(STRANGER, &text);
        w.expect_nothing();
    }
}

#[test]
fn r5_a_test_call_never_asks_for_real_help_and_has_no_second_round() {
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "933", "c1"));
    let out = w.expect(TRUNK_A, "INVITE sip:933@127.0.0.1:15070");
    // A trunk that sends the test to the real service is not followed.
    w.receive(TRUNK_A, &response(&out.msg, 302, "t1", "sip:911@127.0.0.1:15070", ""));
    w.expect(TRUNK_A, "ACK");
    let out = w.expect(TRUNK_B, "INVITE sip:933@127.0.0.1:15071");
    w.receive(TRUNK_B, &response(&out.msg, 503, "t1", "", ""));
    w.expect(TRUNK_B, "ACK");
    w.expect(PBX, "SIP/2.0 200");
    w.wait(Duration::from_secs(10));
    assert!(w.take().iter().all(|s| !s.msg.is_request()), "no second round");
    w.receive(PBX, &invite(PBX, "alice", "x", "c2").replacen("sip:x@127.0.0.1:15060", "urn:service:test.sos", 1));
    assert_eq!(get(&w.expect(TRUNK_A, "INVITE sip:933@").msg, Name::To), "<sip:933@127.0.0.1:15070;user=phone>");
}

#[test]
fn p6_one_3xx_to_a_trusted_target_is_followed_and_no_other() {
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let a = w.expect(TRUNK_A, "INVITE");
    let two = "Contact: <sip:911@192.0.2.1>, <sip:911@127.0.0.1:15071;user=phone>\r\n";
    w.receive(TRUNK_A, &with(&response(&a.msg, 302, "t1", "", ""), two));
    w.expect(TRUNK_A, "ACK");
    let moved = w.expect(TRUNK_B, "INVITE sip:911@127.0.0.1:15071;user=phone");
    assert_eq!(shown(&moved), shown(&a), "still the first trunk's number");
    assert_ne!(get(&moved.msg, Name::CallId), get(&a.msg, Name::CallId));
    w.expect_nothing();
    w.receive(TRUNK_B, &response(&moved.msg, 302, "t2", "sip:911@127.0.0.1:15070", ""));
    w.expect(TRUNK_B, "ACK");
    let b = w.expect(TRUNK_B, "INVITE sip:911@127.0.0.1:15071;user=phone");
    assert_ne!(shown(&b), shown(&a), "the next trunk, with its own number");
    w.receive(TRUNK_B, &response(&b.msg, 301, "t3", "sip:911@192.0.2.1", ""));
    w.expect(TRUNK_B, "ACK");
    w.expect_nothing();
    w.wait(MS(1100));
    w.expect(TRUNK_A, "INVITE");
}

#[test]
fn an_ordinary_3xx_is_relayed_with_its_contacts() {
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "+14551234567", "c1"));
    let out = w.expect(CARRIER, "INVITE");
    w.receive(CARRIER, &response(&out.msg, 302, "t1", "sip:bob@192.0.2.1", ""));
    assert_eq!(get(&w.expect(PBX, "SIP/2.0 302").msg, Name::Contact), "<sip:bob@192.0.2.1>");
}

#[test]
fn p8_a_ringing_trunk_that_is_lost_is_asked_first_and_joined_by_the_next_if_it_is_gone() {
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let a = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &response(&a.msg, 180, "ta", PSAP, ""));
    w.expect(PBX, "SIP/2.0 180");
    w.unreachable(&a);
    let question = w.expect(TRUNK_A, "OPTIONS");
    // Carriers know a neighbour by where it says that it is.
    assert!(question.msg.get(Name::Contact).is_some_and(|c| c.starts_with(b"<sip:") && !c.contains(&b'@')));
    w.expect_nothing();
    w.receive(TRUNK_A, &response(&question.msg, 200, "x", "", ""));
    w.expect_nothing();
    w.unreachable(&a);
    let question = w.expect(TRUNK_A, "OPTIONS");
    w.unreachable(&question);
    let b = w.expect(TRUNK_B, "INVITE");
    w.expect_nothing();
    // The first one was only out of sight.
    w.receive(TRUNK_A, &response(&a.msg, 200, "ta", PSAP, SDP));
    w.expect(PBX, "SIP/2.0 200");
    w.receive(TRUNK_B, &response(&b.msg, 100, "", "", ""));
    w.expect(TRUNK_B, "CANCEL");
}

#[test]
fn p12_hops_are_counted_down_and_an_emergency_without_any_left_gets_ten() {
    for (came, dialed, to, leaves) in [
        ("70", "911", TRUNK_A, "69"),
        ("0", "911", TRUNK_A, "10"),
        ("1", "911", TRUNK_A, "0"),
        ("2", "+14551234567", CARRIER, "1"),
    ] {
        let mut w = World::new();
        let call = invite(PBX, "alice", dialed, "c1").replace("Max-Forwards: 70", &format!("Max-Forwards: {came}"));
        w.receive(PBX, &call);
        assert_eq!(get(&w.expect(to, "INVITE").msg, Name::MaxForwards), leaves, "{came} {dialed}");
    }
}

#[test]
fn p12_a_pbx_that_sends_our_own_call_back_under_another_name_does_not_keep_it_going_for_ever() {
    let mut w = World::new();
    let mut hops = "70".to_owned();
    for round in 0..50 {
        w.take();
        let again = invite(PBX, "hunt-group", "911", &format!("r{round}"));
        w.receive(PBX, &again.replace("Max-Forwards: 70", &format!("Max-Forwards: {hops}")));
        if w.sent.iter().any(|s| s.msg.status() == 483) {
            assert_eq!(hops, "0");
            return;
        }
        hops = get(&w.expect(TRUNK_A, "INVITE").msg, Name::MaxForwards);
        hops = hops.parse::<u8>().map(|h| h.saturating_sub(1).to_string()).expect("a number");
        w.wait(Duration::from_millis(50));
    }
    panic!("it still goes in circles");
}

#[test]
fn r7_a_caller_who_is_certainly_abroad_is_told_the_local_number_and_the_contacts_are_told() {
    let from = |country: &str, call: &str| with(&invite(PBX, "bob", "911", call), &format!("X-Emergency-Country: {country}\r\n"));
    // One source says so, and it may be wrong: the call is placed, and the header stays here.
    let mut w = World::new();
    w.receive(PBX, &from("DK", "c1"));
    let out = w.expect(TRUNK_A, "INVITE");
    assert!(out.msg.header_named("X-Emergency-Country").is_none());
    // The agent's profile says so as well.
    let mut w =
        World::changed(|c| c.replace("id = \"bob\"", "id = \"bob\"\ncountry = \"DK\"").replace("'^911$'", "'^(911|112)$'"));
    w.receive(PBX, &from("DK", "c1"));
    let refused = w.expect(PBX, "SIP/2.0 403");
    assert!(get(&refused.msg, Name::Warning).contains("Dial 112"), "{}", text(&refused.msg));
    w.expect_nothing();
    assert_eq!(outcomes(&w), [Some(Outcome::Refused)]);
    w.receive(PBX, &invite(PBX, "bob", "911", "c2"));
    w.expect(PBX, "SIP/2.0 403");
    // What was said of this very call speaks against it.
    w.receive(PBX, &from("US", "c3"));
    w.expect(TRUNK_A, "INVITE");
    // The local number is an emergency where she is.
    w.receive(PBX, &invite(PBX, "bob", "112", "c4"));
    w.expect(TRUNK_A, "INVITE sip:112@");
}

#[test]
fn c6_marks_are_believed_from_trusted_trunks_and_stripped_otherwise() {
    let marked = |to: &str, call: &str| {
        with(&invite(TRUNK_A, "psap", to, call), "Priority: psap-callback\r\nResource-Priority: esnet.1, wps.3\r\n")
    };
    for (trusted, to_desk) in [(true, true), (false, false)] {
        // T2 or T0: a number of the pool that nobody holds.
        let mut w = World::changed(|c| c.replacen("name = \"a\"", &format!("name = \"a\"\ntrust_marks = {trusted}"), 1));
        w.receive(TRUNK_A, &marked("+12000000103", "cb1"));
        if to_desk {
            let ring = w.expect("127.0.0.1:15095", "INVITE sip:security@");
            assert_eq!(get(&ring.msg, Name::ResourcePriority), "esnet.1, wps.3");
            continue;
        }
        let relayed = w.expect(PBX, "INVITE sip:+12000000103@");
        assert_eq!((relayed.msg.get(Name::Priority), relayed.msg.get(Name::ResourcePriority)), (None, None));
        // T1: an open lease. The agent's leg has our mark and not theirs.
        w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
        let out = w.expect(TRUNK_A, "INVITE");
        answer(&mut w, &out, TRUNK_A);
        w.receive(TRUNK_A, &marked(&shown(&out), "cb2"));
        let ring = w.expect(PBX, "INVITE sip:alice@");
        assert_eq!((get(&ring.msg, Name::Priority), ring.msg.get(Name::ResourcePriority)), ("psap-callback".into(), None));
    }
    // Another priority is the caller's own business.
    let mut w = World::new();
    w.receive(PBX, &with(&invite(PBX, "alice", "+14551234567", "c1"), "Priority: urgent\r\n"));
    assert_eq!(get(&w.expect(CARRIER, "INVITE").msg, Name::Priority), "urgent");
}

#[test]
fn c3_an_agent_busy_with_her_emergency_call_is_rung_again_the_moment_it_ends() {
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let out = w.expect(TRUNK_A, "INVITE");
    let near = answer(&mut w, &out, TRUNK_A);
    w.receive(TRUNK_A, &invite(TRUNK_A, "psap", &shown(&out), "cb1"));
    let ring = w.expect(PBX, "INVITE sip:alice@");
    w.receive(PBX, &response(&ring.msg, 486, "x", "", ""));
    w.expect(PBX, "ACK");
    let desk = w.expect("127.0.0.1:15095", "INVITE sip:security@");
    w.receive("127.0.0.1:15095", &response(&desk.msg, 180, "d", "sip:security@127.0.0.1:15095", ""));
    w.take();
    w.receive(PBX, &near.request("BYE", 2, PBX, "", ""));
    let again = w.expect(PBX, "INVITE sip:alice@");
    w.receive(PBX, &response(&again.msg, 200, "y", "sip:alice@127.0.0.1:15090", SDP));
    w.expect(TRUNK_A, "SIP/2.0 200");
    w.expect("127.0.0.1:15095", "CANCEL");
}

#[test]
fn c3_an_agent_on_her_emergency_call_has_15_s_before_the_desk_rings_beside() {
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let out = w.expect(TRUNK_A, "INVITE");
    answer(&mut w, &out, TRUNK_A);
    w.receive(TRUNK_A, &invite(TRUNK_A, "psap", &shown(&out), "cb1"));
    let ring = w.expect(PBX, "INVITE sip:alice@");
    w.receive(PBX, &response(&ring.msg, 182, "x", "", ""));
    w.take();
    w.wait(MS(14_900));
    w.expect_nothing();
    w.wait(MS(200));
    w.expect("127.0.0.1:15095", "INVITE sip:security@");
}

#[test]
fn a6_nobody_is_transferred_out_of_an_emergency_by_the_callers_side() {
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let out = w.expect(TRUNK_A, "INVITE");
    let near = answer(&mut w, &out, TRUNK_A);
    w.receive(PBX, &near.request("REFER", 2, PBX, "Refer-To: <sip:bob@127.0.0.1:15090>\r\n", ""));
    w.expect(PBX, "SIP/2.0 403");
    w.expect_nothing();
    // Whatever the PSAP sends passes.
    let far = InDialog::of_invite(&out.msg, "t1");
    w.receive(TRUNK_A, &far.request("REFER", 1, TRUNK_A, "Refer-To: <sip:police@127.0.0.1:15070>\r\n", ""));
    w.expect(PBX, "REFER");
}

/// A call that is answered; the ACK as one who repeats the INVITE's branch in it would send it.
fn answered_with_an_old_ack(w: &mut World) -> (InDialog, String) {
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let out = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &response(&out.msg, 200, "t1", "sip:psap@127.0.0.1:15070", SDP));
    w.expect(TRUNK_A, "ACK");
    let ok = w.expect(PBX, "SIP/2.0 200");
    let ack = InDialog::of_response(&ok.msg).request("ACK", 1, PBX, "", "");
    let own = ack.lines().find(|l| l.starts_with("Via: ")).expect("a Via");
    let ack = ack.replacen(own, &format!("Via: {}", get(&ok.msg, Name::Via)), 1);
    (InDialog::of_invite(&out.msg, "t1"), ack)
}

#[test]
fn whoever_repeats_the_branch_of_the_invite_in_its_ack_is_hung_up_on_like_all_others() {
    let mut w = World::new();
    let (far, ack) = answered_with_an_old_ack(&mut w);
    w.receive(PBX, &ack);
    w.wait(Duration::from_secs(40));
    w.take();
    w.receive(TRUNK_A, &far.request("BYE", 1, TRUNK_A, "", ""));
    w.expect(TRUNK_A, "SIP/2.0 200");
    let bye = w.expect(PBX, "BYE");
    w.receive(PBX, &response(&bye.msg, 200, "", "", ""));
    w.wait(Duration::from_secs(40));
    assert_eq!(w.shard.census(), e911d::bridge::Census::default());
}

#[test]
fn the_ack_of_another_answer_ends_no_repeats_of_a_2xx() {
    let mut w = World::new();
    let (_, ack) = answered_with_an_old_ack(&mut w);
    let to = ack.lines().find(|l| l.starts_with("To: ")).expect("a To");
    let (before, _) = to.split_once(";tag=").expect("a tag");
    w.receive(PBX, &ack.replacen(to, &format!("{before};tag=of-a-503"), 1));
    w.take();
    w.wait(Duration::from_millis(500));
    w.expect(PBX, "SIP/2.0 200");
}

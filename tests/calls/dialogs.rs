//! What real SIP does inside a call: reliable provisionals, updates, glare, forks, CANCEL in every state, routes.

use crate::world::*;
use e911d::sip::Name;
use std::time::Duration;

const MS: fn(u64) -> Duration = Duration::from_millis;
const PSAP: &str = "sip:psap@127.0.0.1:15070";
const OFFER: &str = "Contact: <sip:alice@127.0.0.1:15090>\r\nContent-Type: application/sdp\r\n";
const THEIR_OFFER: &str = "Contact: <sip:psap@127.0.0.1:15070>\r\nContent-Type: application/sdp\r\n";

/// A response with more header lines.
fn with(response: &str, more: &str) -> String {
    response.replacen("Content-Length:", &format!("{more}Content-Length:"), 1)
}

/// Alice's INVITE with more header lines.
fn alice(dialed: &str, more: &str) -> String {
    invite(PBX, "alice", dialed, "c1").replacen("User-Agent:", &format!("{more}User-Agent:"), 1)
}

fn cancel(call: &str) -> String {
    call.replace("INVITE", "CANCEL").split("P-Asserted").next().unwrap().to_owned() + "Content-Length: 0\r\n\r\n"
}

/// An answered call: our INVITE, and the dialogs of both sides.
fn talking(w: &mut World, dialed: &str, trunk: &str) -> (Sent, InDialog, InDialog) {
    w.receive(PBX, &invite(PBX, "alice", dialed, "c1"));
    let out = w.expect(trunk, "INVITE");
    w.receive(trunk, &response(&out.msg, 200, "t1", &format!("sip:psap@{trunk}"), SDP));
    let ok = w.expect(PBX, "SIP/2.0 200");
    let near = InDialog::of_response(&ok.msg);
    w.receive(PBX, &near.request("ACK", 1, PBX, "", ""));
    w.expect(trunk, "ACK");
    w.expect_nothing();
    let far = InDialog::of_invite(&out.msg, "t1");
    (out, near, far)
}

#[test]
fn a_reliable_provisional_its_copies_and_its_prack_pass_both_ways_with_their_bodies() {
    let mut w = World::new();
    w.receive(PBX, &alice("911", "Supported: 100rel, timer\r\n"));
    let out = w.expect(TRUNK_A, "INVITE");
    assert_eq!(get(&out.msg, Name::Supported), "100rel, timer");
    let ringing = with(&response(&out.msg, 183, "t1", PSAP, SDP), "Require: 100rel\r\nRSeq: 77\r\n");
    for _ in 0..2 {
        w.receive(TRUNK_A, &ringing);
        let told = w.expect(PBX, "SIP/2.0 183");
        assert_eq!((get(&told.msg, Name::RSeq), get(&told.msg, Name::Require)), ("77".into(), "100rel".into()));
        assert_eq!(told.msg.body(), SDP.as_bytes());
        w.expect_nothing();
        let near = InDialog::of_response(&told.msg);
        w.receive(PBX, &near.request("PRACK", 2, PBX, "RAck: 77 1 INVITE\r\nContent-Type: application/sdp\r\n", SDP));
        let Some(prack) = w.take().into_iter().find(|s| text(&s.msg).starts_with("PRACK sip:psap@127.0.0.1:15070")) else {
            continue;
        };
        let hidden = SDP.replace("o=alice", "o=-");
        assert_eq!((get(&prack.msg, Name::RAck), prack.msg.body()), ("77 1 INVITE".into(), hidden.as_bytes()));
        w.receive(TRUNK_A, &response(&prack.msg, 200, "", "", SDP));
        assert_eq!(w.expect(PBX, "SIP/2.0 200").msg.body(), SDP.as_bytes());
    }
    w.take();
    w.receive(TRUNK_A, &response(&out.msg, 200, "t1", PSAP, ""));
    w.expect(PBX, "SIP/2.0 200");
}

#[test]
fn a_devices_reliable_provisional_is_never_asked_for_on_a_callback() {
    let mut w = World::new();
    let (out, near, _) = talking(&mut w, "911", TRUNK_A);
    let number = get(&out.msg, Name::From).split(['<', ':', '@']).nth(2).unwrap().to_owned();
    w.receive(PBX, &near.request("BYE", 2, PBX, "", ""));
    w.take();
    let call = invite(TRUNK_A, "psap", &number, "cb").replacen(
        "User-Agent:",
        "Supported: 100rel, timer, replaces\r\nRequire: 100rel, x-unknown\r\nUser-Agent:",
        1,
    );
    w.receive(TRUNK_A, &call);
    let ring = w.expect(PBX, "INVITE sip:alice@");
    // Several devices ring, and the PSAP hears one 180 of ours: nobody would acknowledge theirs.
    assert_eq!(get(&ring.msg, Name::Supported), "timer, replaces");
    assert_eq!(ring.msg.get(Name::Require), None);
}

#[test]
fn an_update_passes_in_the_early_and_in_the_confirmed_dialog() {
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let out = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &response(&out.msg, 183, "t1", PSAP, SDP));
    let told = w.expect(PBX, "SIP/2.0 183");
    let (near, far) = (InDialog::of_response(&told.msg), InDialog::of_invite(&out.msg, "t1"));
    for seq in [2, 3] {
        w.receive(PBX, &near.request("UPDATE", seq, PBX, OFFER, SDP));
        let update = w.expect(TRUNK_A, "UPDATE sip:psap@");
        assert!(!text(&update.msg).contains("alice"), "{}", text(&update.msg));
        w.receive(TRUNK_A, &response(&update.msg, 200, "", PSAP, SDP));
        assert_eq!(w.expect(PBX, "SIP/2.0 200").msg.body(), SDP.as_bytes());
        w.receive(TRUNK_A, &far.request("UPDATE", seq, TRUNK_A, THEIR_OFFER, SDP));
        let update = w.expect(PBX, "UPDATE sip:alice@127.0.0.1:15090");
        w.receive(PBX, &response(&update.msg, 200, "", "sip:alice@127.0.0.1:15090", SDP));
        w.expect(TRUNK_A, "SIP/2.0 200");
        if seq == 2 {
            w.receive(TRUNK_A, &response(&out.msg, 200, "t1", PSAP, SDP));
            w.expect(PBX, "SIP/2.0 200");
            w.receive(PBX, &near.request("ACK", 1, PBX, "", ""));
            w.take();
        }
    }
    w.expect_nothing();
}

#[test]
fn requests_that_meet_get_491_and_those_that_overlap_500_with_retry_after() {
    for method in ["INVITE", "UPDATE"] {
        let mut w = World::new();
        let (_, near, far) = talking(&mut w, "911", TRUNK_A);
        w.receive(PBX, &near.request(method, 2, PBX, OFFER, SDP));
        let passed = w.expect(TRUNK_A, method);
        w.receive(TRUNK_A, &far.request(method, 1, TRUNK_A, THEIR_OFFER, SDP));
        w.expect(TRUNK_A, "SIP/2.0 491");
        w.receive(PBX, &near.request(method, 3, PBX, OFFER, SDP));
        let overlap = w.expect(PBX, "SIP/2.0 500");
        assert!(overlap.msg.get(Name::RetryAfter).is_some());
        w.expect_nothing();
        w.receive(TRUNK_A, &response(&passed.msg, 200, "", PSAP, SDP));
        w.expect(PBX, "SIP/2.0 200");
        w.take();
        w.receive(TRUNK_A, &far.request(method, 2, TRUNK_A, THEIR_OFFER, SDP));
        w.expect(PBX, method);
    }
}

#[test]
fn a_cseq_that_goes_backwards_gets_500() {
    let mut w = World::new();
    let (_, near, _) = talking(&mut w, "911", TRUNK_A);
    w.receive(PBX, &near.request("INFO", 5, PBX, "", ""));
    w.expect(TRUNK_A, "INFO");
    w.receive(PBX, &near.request("INFO", 4, PBX, "", ""));
    w.expect(PBX, "SIP/2.0 500");
    w.expect_nothing();
}

#[test]
fn each_trunk_leg_is_an_early_dialog_of_its_own_towards_the_caller() {
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let a = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &response(&a.msg, 180, "ta", PSAP, ""));
    let first = w.expect(PBX, "SIP/2.0 180");
    w.receive(TRUNK_A, &response(&a.msg, 503, "ta", "", ""));
    let b = w.expect(TRUNK_B, "INVITE");
    w.receive(TRUNK_B, &response(&b.msg, 180, "tb", "sip:psap@127.0.0.1:15071", ""));
    let second = w.expect(PBX, "SIP/2.0 180");
    assert_ne!(first.msg.to_tag(), second.msg.to_tag());
    w.receive(TRUNK_B, &response(&b.msg, 200, "tb", "sip:psap@127.0.0.1:15071", SDP));
    assert_eq!(w.expect(PBX, "SIP/2.0 200").msg.to_tag(), second.msg.to_tag());
}

#[test]
fn forks_behind_one_trunk_have_early_dialogs_of_their_own_and_the_one_that_answers_is_the_calls() {
    let mut w = World::new();
    w.receive(PBX, &alice("911", "Supported: 100rel\r\n"));
    let out = w.expect(TRUNK_A, "INVITE");
    let reliable = |tag: &str, rseq: u32| {
        let contact = format!("sip:{tag}@127.0.0.1:15070");
        with(&response(&out.msg, 183, tag, &contact, SDP), &format!("Require: 100rel\r\nRSeq: {rseq}\r\n"))
    };
    w.receive(TRUNK_A, &reliable("one", 10));
    let one = w.expect(PBX, "SIP/2.0 183");
    w.receive(TRUNK_A, &reliable("two", 20));
    let two = w.expect(PBX, "SIP/2.0 183");
    assert_ne!(one.msg.to_tag(), two.msg.to_tag());
    for (told, rseq, name) in [(&one, 10, "one"), (&two, 20, "two")] {
        let near = InDialog::of_response(&told.msg);
        w.receive(PBX, &near.request("PRACK", 2, PBX, &format!("RAck: {rseq} 1 INVITE\r\n"), "").replace("z9hG4bKPRACK", name));
        let prack = w.expect(TRUNK_A, &format!("PRACK sip:{name}@"));
        assert!(get(&prack.msg, Name::To).ends_with(&format!(";tag={name}")));
        w.receive(TRUNK_A, &response(&prack.msg, 200, "", "", ""));
        w.expect(PBX, "SIP/2.0 200");
    }
    w.receive(TRUNK_A, &response(&out.msg, 200, "two", "sip:two@127.0.0.1:15070", ""));
    let ok = w.expect(PBX, "SIP/2.0 200");
    assert_eq!(ok.msg.to_tag(), two.msg.to_tag());
    w.expect(TRUNK_A, "ACK sip:two@");
    let near = InDialog::of_response(&ok.msg);
    w.receive(PBX, &near.request("ACK", 1, PBX, "", ""));
    // Both sides go on in the dialog of the fork that answered.
    w.receive(TRUNK_A, &InDialog::of_invite(&out.msg, "two").request("INFO", 1, TRUNK_A, "", ""));
    let info = w.expect(PBX, "INFO");
    w.receive(PBX, &response(&info.msg, 200, "", "", ""));
    w.expect(TRUNK_A, "SIP/2.0 200");
    w.receive(PBX, &near.request("BYE", 3, PBX, "", ""));
    w.expect(PBX, "SIP/2.0 200");
    let bye = w.expect(TRUNK_A, "BYE sip:two@");
    w.receive(TRUNK_A, &response(&bye.msg, 200, "", "", ""));
    w.wait(Duration::from_secs(40));
    assert_eq!(w.shard.census(), e911d::bridge::Census::default());
}

#[test]
fn a3_cancel_before_any_response_waits_for_one_and_is_sent_then() {
    let mut w = World::new();
    let call = invite(PBX, "alice", "911", "c1");
    w.receive(PBX, &call);
    let a = w.expect(TRUNK_A, "INVITE");
    for _ in 0..2 {
        w.receive(PBX, &cancel(&call));
        w.expect(PBX, "SIP/2.0 200");
    }
    w.expect(PBX, "SIP/2.0 487");
    w.expect_nothing();
    w.wait(MS(1200));
    assert!(w.take().iter().all(|s| text(&s.msg).starts_with("SIP/2.0 487")), "the INVITE is not sent again");
    w.receive(TRUNK_A, &response(&a.msg, 100, "", "", ""));
    let out = w.expect(TRUNK_A, "CANCEL");
    assert_eq!(out.msg.top_via().and_then(|v| v.branch()), a.msg.top_via().and_then(|v| v.branch()));
    w.receive(TRUNK_A, &response(&out.msg, 200, "", "", ""));
    w.receive(TRUNK_A, &response(&a.msg, 487, "t", "", ""));
    w.expect(TRUNK_A, "ACK");
    w.wait(Duration::from_secs(40));
    assert_eq!((w.shard.census().transactions, w.shard.census().dialogs), (0, 0));
}

#[test]
fn a3_cancel_after_the_answer_changes_nothing_and_one_for_nothing_gets_481() {
    let mut w = World::new();
    talking(&mut w, "911", TRUNK_A);
    w.receive(PBX, &cancel(&invite(PBX, "alice", "911", "c1")));
    w.expect(PBX, "SIP/2.0 200");
    w.expect_nothing();
    w.receive(PBX, &cancel(&invite(PBX, "alice", "911", "other")));
    w.expect(PBX, "SIP/2.0 481");
    w.expect_nothing();
}

#[test]
fn a_re_invite_can_be_cancelled() {
    let mut w = World::new();
    let (_, near, _) = talking(&mut w, "911", TRUNK_A);
    let re = near.request("INVITE", 2, PBX, OFFER, SDP);
    w.receive(PBX, &re);
    let passed = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &response(&passed.msg, 100, "", "", ""));
    let text_of = re.replacen("INVITE ", "CANCEL ", 1).replacen("2 INVITE", "2 CANCEL", 1);
    let bare = text_of.split("Contact:").next().unwrap().to_owned() + "Content-Length: 0\r\n\r\n";
    w.receive(PBX, &bare);
    w.expect(PBX, "SIP/2.0 200");
    w.expect(TRUNK_A, "CANCEL sip:psap@");
    w.receive(TRUNK_A, &response(&passed.msg, 487, "", "", ""));
    w.expect(PBX, "SIP/2.0 487");
    // The call itself goes on.
    w.take();
    w.receive(PBX, &near.request("INFO", 4, PBX, "", ""));
    w.expect(TRUNK_A, "INFO");
}

#[test]
fn whoever_asked_something_as_the_call_ended_is_answered_all_the_same() {
    let mut w = World::new();
    let (_, near, far) = talking(&mut w, "911", TRUNK_A);
    w.receive(PBX, &near.request("INVITE", 2, PBX, OFFER, SDP));
    let re = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &far.request("BYE", 1, TRUNK_A, "", ""));
    w.expect(TRUNK_A, "SIP/2.0 200");
    let bye = w.expect(PBX, "BYE");
    w.receive(PBX, &response(&bye.msg, 200, "", "", ""));
    w.receive(TRUNK_A, &response(&re.msg, 487, "", "", ""));
    w.expect(PBX, "SIP/2.0 487");
    w.wait(Duration::from_secs(40));
    assert_eq!(w.shard.census(), e911d::bridge::Census::default());
}

#[test]
fn p11_session_timers_pass_end_to_end_and_nobody_here_minds_when_they_expire() {
    let mut w = World::new();
    w.receive(PBX, &alice("911", "Supported: timer\r\nSession-Expires: 90;refresher=uac\r\nMin-SE: 90\r\n"));
    let out = w.expect(TRUNK_A, "INVITE");
    assert_eq!(get(&out.msg, Name::SessionExpires), "90;refresher=uac");
    assert_eq!((get(&out.msg, Name::MinSe), get(&out.msg, Name::Supported)), ("90".into(), "timer".into()));
    let ok = with(&response(&out.msg, 200, "t1", PSAP, SDP), "Require: timer\r\nSession-Expires: 90;refresher=uac\r\n");
    w.receive(TRUNK_A, &ok);
    let told = w.expect(PBX, "SIP/2.0 200");
    assert_eq!(get(&told.msg, Name::SessionExpires), "90;refresher=uac");
    assert_eq!(get(&told.msg, Name::Require), "timer");
    let near = InDialog::of_response(&told.msg);
    w.receive(PBX, &near.request("ACK", 1, PBX, "", ""));
    w.take();
    w.wait(Duration::from_secs(600));
    w.expect_nothing();
    let more = "Contact: <sip:alice@127.0.0.1:15090>\r\nSupported: timer\r\nSession-Expires: 90;refresher=uac\r\n";
    w.receive(PBX, &near.request("UPDATE", 2, PBX, more, ""));
    let refresh = w.expect(TRUNK_A, "UPDATE");
    assert_eq!(get(&refresh.msg, Name::SessionExpires), "90;refresher=uac");
}

#[test]
fn p6_a_session_interval_that_is_too_small_is_raised_on_the_same_trunk_for_an_emergency() {
    let mut w = World::new();
    w.receive(PBX, &alice("911", "Supported: timer\r\nSession-Expires: 90\r\nMin-SE: 90\r\n"));
    let out = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &with(&response(&out.msg, 422, "t1", "", ""), "Min-SE: 1800\r\n"));
    w.expect(TRUNK_A, "ACK");
    let again = w.expect(TRUNK_A, "INVITE");
    assert_eq!((get(&again.msg, Name::SessionExpires), get(&again.msg, Name::MinSe)), ("1800".into(), "1800".into()));
    assert_eq!(again.msg.all(Name::SessionExpires).count(), 1);
    w.expect_nothing();
    w.receive(TRUNK_A, &response(&again.msg, 200, "t2", PSAP, SDP));
    w.expect(PBX, "SIP/2.0 200");
    // An ordinary caller is told and asks anew.
    let mut w = World::new();
    w.receive(PBX, &alice("+14551234567", "Session-Expires: 90\r\n"));
    let out = w.expect(CARRIER, "INVITE");
    w.receive(CARRIER, &with(&response(&out.msg, 422, "t1", "", ""), "Min-SE: 1800\r\n"));
    assert_eq!(get(&w.expect(PBX, "SIP/2.0 422").msg, Name::MinSe), "1800");
}

#[test]
fn p8_timer_c_ends_an_ordinary_call_and_never_an_emergency_that_rings() {
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "+14551234567", "c1"));
    let out = w.expect(CARRIER, "INVITE");
    w.receive(CARRIER, &response(&out.msg, 180, "t1", "sip:x@127.0.0.1:15080", ""));
    w.wait(Duration::from_secs(100));
    w.receive(CARRIER, &response(&out.msg, 183, "t1", "sip:x@127.0.0.1:15080", ""));
    w.take();
    w.wait(Duration::from_secs(180));
    w.expect_nothing();
    w.wait(Duration::from_secs(2));
    w.expect(CARRIER, "CANCEL");
    w.expect(PBX, "SIP/2.0 408");
    w.receive(CARRIER, &response(&out.msg, 487, "t1", "", ""));
    w.take();
    w.wait(Duration::from_secs(40));
    assert_eq!((w.shard.census().transactions, w.shard.census().dialogs), (0, 0));

    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let out = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &response(&out.msg, 182, "t1", PSAP, ""));
    w.receive(TRUNK_A, &response(&out.msg, 180, "t1", PSAP, ""));
    w.take();
    w.wait(Duration::from_secs(3600));
    w.expect_nothing();
    w.receive(TRUNK_A, &response(&out.msg, 200, "t1", PSAP, SDP));
    w.expect(PBX, "SIP/2.0 200");
}

#[test]
fn record_routes_are_followed_on_both_sides_and_a_strict_router_gets_its_uri() {
    let mut w = World::new();
    w.receive(
        PBX,
        &alice("911", "Record-Route: <sip:127.0.0.1:15096;lr>, <sip:127.0.0.1:15097;lr>\r\n")
            .replace("@127.0.0.1:15090>", "@pbx.example.net>"),
    );
    let out = w.expect(TRUNK_A, "INVITE");
    let routed = "Record-Route: <sip:127.0.0.1:15099;lr>, <sip:127.0.0.1:15098>\r\n";
    w.receive(TRUNK_A, &with(&response(&out.msg, 200, "t1", "sip:psap@psap.example.net", SDP), routed));
    let ack = w.expect("127.0.0.1:15098", "ACK sip:127.0.0.1:15098 SIP/2.0");
    let routes: Vec<_> = ack.msg.all(Name::Route).map(|r| String::from_utf8_lossy(r).into_owned()).collect();
    assert_eq!(routes, ["<sip:127.0.0.1:15099;lr>", "<sip:psap@psap.example.net>"]);
    let ok = w.expect(PBX, "SIP/2.0 200");
    assert_eq!(get(&ok.msg, Name::RecordRoute), "<sip:127.0.0.1:15096;lr>, <sip:127.0.0.1:15097;lr>");
    w.receive(PBX, &InDialog::of_response(&ok.msg).request("ACK", 1, PBX, "", ""));
    w.receive(TRUNK_A, &InDialog::of_invite(&out.msg, "t1").request("BYE", 1, TRUNK_A, "", ""));
    let bye = w.expect("127.0.0.1:15096", "BYE sip:alice@pbx.example.net");
    let routes: Vec<_> = bye.msg.all(Name::Route).map(|r| String::from_utf8_lossy(r).into_owned()).collect();
    assert_eq!(routes, ["<sip:127.0.0.1:15096;lr>", "<sip:127.0.0.1:15097;lr>"]);
}

#[test]
fn a_contact_with_a_name_is_reached_where_its_call_came_from() {
    let mut w = World::new();
    w.receive(
        PBX,
        &invite(PBX, "alice", "911", "c1")
            .replace("Contact: <sip:alice@127.0.0.1:15090>", "Contact: <sip:alice@pbx.example.net>"),
    );
    let out = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &response(&out.msg, 200, "t1", "sip:psap@psap.example.net", SDP));
    w.expect(TRUNK_A, "ACK sip:psap@psap.example.net");
    let ok = w.expect(PBX, "SIP/2.0 200");
    w.receive(PBX, &InDialog::of_response(&ok.msg).request("ACK", 1, PBX, "", ""));
    w.receive(TRUNK_A, &InDialog::of_invite(&out.msg, "t1").request("BYE", 1, TRUNK_A, "", ""));
    w.expect(PBX, "BYE sip:alice@pbx.example.net");
}

#[test]
fn p11_a_request_whose_way_is_gone_takes_the_neighbours_own() {
    let mut w = World::new();
    w.receive(
        PBX,
        &invite(PBX, "alice", "911", "c1")
            .replace("Contact: <sip:alice@127.0.0.1:15090>", "Contact: <sip:alice@127.0.0.1:15099>"),
    );
    let out = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &response(&out.msg, 200, "t1", PSAP, SDP));
    let ok = w.expect(PBX, "SIP/2.0 200");
    w.receive(PBX, &InDialog::of_response(&ok.msg).request("ACK", 1, PBX, "", ""));
    w.receive(TRUNK_A, &InDialog::of_invite(&out.msg, "t1").request("BYE", 1, TRUNK_A, "", ""));
    let bye = w.expect("127.0.0.1:15099", "BYE");
    w.unreachable(&bye);
    let again = w.expect(PBX, "BYE sip:alice@127.0.0.1:15099");
    assert_eq!(again.msg.bytes(), bye.msg.bytes(), "the same request by another way");
}

#[test]
fn b5_a_merged_copy_gets_482_only_after_the_first_has_a_provisional() {
    let mut w = World::new();
    let call = invite(PBX, "alice", "911", "c1");
    w.receive(PBX, &call);
    w.expect(TRUNK_A, "INVITE");
    w.receive(PBX, &call.replace("z9hG4bKc1", "z9hG4bKother"));
    let sent: Vec<_> = w.take().iter().map(|s| s.msg.status()).collect();
    assert_eq!(sent, [100, 482]);
    assert_eq!(w.sides.iter().filter(|s| matches!(s, e911d::emergency::facts::Side::Notice(_))).count(), 1, "one call");
}

#[test]
fn a_response_that_matches_nothing_is_dropped_and_counted() {
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let out = w.expect(TRUNK_A, "INVITE");
    let ok = response(&out.msg, 200, "t1", PSAP, SDP);
    let branch = String::from_utf8_lossy(out.msg.top_via().and_then(|v| v.branch()).unwrap()).into_owned();
    for stray in [ok.replace(&branch, "z9hG4bKnobody"), ok.replace("1 INVITE", "1 BYE"), ok.replace("CSeq:", "X-CSeq:")] {
        w.receive(TRUNK_A, &stray);
        w.expect_nothing();
    }
    assert_eq!(w.shard.census().strays, 3);
    w.receive(TRUNK_A, &ok);
    w.expect(PBX, "SIP/2.0 200");
}

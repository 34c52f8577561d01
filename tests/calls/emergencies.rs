use crate::world::*;
use e911d::sip::Name;
use std::time::Duration;

const MS: fn(u64) -> Duration = Duration::from_millis;

#[test]
fn l8_the_psap_sees_the_callback_number_and_nothing_of_the_caller() {
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let out = w.expect(TRUNK_A, "INVITE sip:911@127.0.0.1:15070");
    w.expect_nothing();
    assert!(get(&out.msg, Name::From).starts_with("<sip:+12000000100@gw.example.net>;tag="));
    assert_eq!(get(&out.msg, Name::PAssertedIdentity), "<sip:+12000000100@gw.example.net>");
    assert_eq!(get(&out.msg, Name::Contact), "<sip:+12000000100@127.0.0.1:15060>");
    assert_eq!(get(&out.msg, Name::MaxForwards), "69");
    let all = text(&out.msg);
    for trace in ["alice", "Al\"", "pbx", "15090", "c1"] {
        assert!(!all.contains(trace), "{trace} in\n{all}");
    }
    assert!(all.contains("o=- 1 1 IN"), "{all}");
}

#[test]
fn a_call_is_answered_talks_and_is_hung_up_by_the_caller() {
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let out = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &response(&out.msg, 180, "t1", "sip:psap@127.0.0.1:15070", ""));
    w.expect(PBX, "SIP/2.0 180");
    w.receive(TRUNK_A, &response(&out.msg, 200, "t1", "sip:psap@127.0.0.1:15070", SDP));
    let ok = w.expect(PBX, "SIP/2.0 200");
    assert_eq!(ok.msg.body(), SDP.as_bytes());
    let ack = w.expect(TRUNK_A, "ACK sip:psap@127.0.0.1:15070");
    assert_eq!(get(&ack.msg, Name::CSeq), "1 ACK");
    let dialog = InDialog::of_response(&ok.msg);
    w.receive(PBX, &dialog.request("ACK", 1, PBX, "", ""));
    w.receive(PBX, &dialog.request("BYE", 2, PBX, "", ""));
    w.expect(PBX, "SIP/2.0 200");
    let bye = w.expect(TRUNK_A, "BYE sip:psap@127.0.0.1:15070");
    w.receive(TRUNK_A, &response(&bye.msg, 200, "", "", ""));
    w.expect_nothing();
    // Everything comes to rest.
    w.wait(Duration::from_secs(40));
    w.expect_nothing();
    assert_eq!(w.shard.census(), e911d::bridge::Census::default());
}

#[test]
fn a_2xx_is_sent_again_until_the_ack_and_its_copies_are_acknowledged() {
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let out = w.expect(TRUNK_A, "INVITE");
    let ok = response(&out.msg, 200, "t1", "sip:psap@127.0.0.1:15070", SDP);
    w.receive(TRUNK_A, &ok);
    w.expect(TRUNK_A, "ACK");
    let first = w.expect(PBX, "SIP/2.0 200");
    w.receive(TRUNK_A, &ok);
    w.expect(TRUNK_A, "ACK");
    w.expect_nothing();
    w.wait(MS(600));
    w.expect(PBX, "SIP/2.0 200");
    w.receive(PBX, &InDialog::of_response(&first.msg).request("ACK", 1, PBX, "", ""));
    w.wait(MS(5000));
    w.expect_nothing();
}

#[test]
fn p6_a_refusal_moves_on_to_the_next_trunk_with_a_number_of_its_own() {
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let out = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &response(&out.msg, 503, "t1", "", ""));
    w.expect(TRUNK_A, "ACK");
    let out = w.expect(TRUNK_B, "INVITE sip:911@127.0.0.1:15071");
    assert!(get(&out.msg, Name::From).starts_with("<sip:+12000000200@"));
    w.receive(TRUNK_B, &response(&out.msg, 200, "t2", "sip:psap@127.0.0.1:15071", SDP));
    w.expect(PBX, "SIP/2.0 200");
    w.expect(TRUNK_B, "ACK");
    w.expect_nothing();
}

#[test]
fn p7_a_silent_trunk_gets_company_after_1_5_s_and_loses_to_the_first_that_rings() {
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let a = w.expect(TRUNK_A, "INVITE");
    w.wait(MS(1490));
    assert!(w.take().iter().all(
        |s| s.to == TRUNK_A.parse::<std::net::SocketAddr>().unwrap() || s.to == PBX.parse::<std::net::SocketAddr>().unwrap()
    ));
    w.wait(MS(30));
    let b = w.expect(TRUNK_B, "INVITE");
    w.take();
    w.receive(TRUNK_B, &response(&b.msg, 180, "tb", "sip:psap@127.0.0.1:15071", ""));
    w.expect(PBX, "SIP/2.0 180");
    w.wait(MS(10_000));
    w.expect_nothing();
    // The loser speaks up: CANCEL only now, and its late 2xx is acknowledged and hung up.
    w.receive(TRUNK_A, &response(&a.msg, 100, "", "", ""));
    w.expect(TRUNK_A, "CANCEL");
    w.receive(TRUNK_A, &response(&a.msg, 200, "ta", "sip:psap@127.0.0.1:15070", SDP));
    w.expect(TRUNK_A, "ACK");
    let bye = w.expect(TRUNK_A, "BYE");
    assert!(get(&bye.msg, Name::Reason).starts_with("SIP;cause=200"));
    w.expect_nothing();
}

#[test]
fn p7_a_closed_port_moves_on_at_once() {
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let a = w.expect(TRUNK_A, "INVITE");
    w.unreachable(&a);
    w.expect(TRUNK_B, "INVITE");
}

#[test]
fn a3_a_cancel_goes_through_and_a_late_answer_is_hung_up() {
    let mut w = World::new();
    let call = invite(PBX, "alice", "911", "c1");
    w.receive(PBX, &call);
    let a = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &response(&a.msg, 180, "ta", "sip:psap@127.0.0.1:15070", ""));
    w.expect(PBX, "SIP/2.0 180");
    let cancel = call.replace("INVITE", "CANCEL").split("Content-Type").next().unwrap().to_owned() + "Content-Length: 0\r\n\r\n";
    w.receive(PBX, &cancel);
    w.expect(PBX, "SIP/2.0 200");
    w.expect(PBX, "SIP/2.0 487");
    w.expect(TRUNK_A, "CANCEL sip:911@127.0.0.1:15070");
    w.expect_nothing();
    w.receive(TRUNK_A, &response(&a.msg, 200, "ta", "sip:psap@127.0.0.1:15070", SDP));
    w.expect(TRUNK_A, "ACK");
    w.expect(TRUNK_A, "BYE");
}

#[test]
fn p11_a_481_to_any_request_ends_the_call_and_a_408_does_not() {
    for (status, ends) in [(481, true), (408, false), (500, false)] {
        let mut w = World::new();
        w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
        let a = w.expect(TRUNK_A, "INVITE");
        w.receive(TRUNK_A, &response(&a.msg, 200, "ta", "sip:psap@127.0.0.1:15070", SDP));
        let ok = w.expect(PBX, "SIP/2.0 200");
        let dialog = InDialog::of_response(&ok.msg);
        w.receive(PBX, &dialog.request("ACK", 1, PBX, "", ""));
        w.take();
        w.receive(
            PBX,
            &dialog.request("INVITE", 2, PBX, "Contact: <sip:alice@127.0.0.1:15090>\r\nContent-Type: application/sdp\r\n", SDP),
        );
        let re = w.expect(TRUNK_A, "INVITE sip:psap@");
        assert!(re.msg.to_tag().is_some());
        w.receive(TRUNK_A, &response(&re.msg, status, "", "", ""));
        w.expect(PBX, &format!("SIP/2.0 {status}"));
        w.expect(TRUNK_A, "ACK");
        let bye = w.take().iter().any(|s| text(&s.msg).starts_with("BYE"));
        assert_eq!(bye, ends, "{status}");
    }
}

#[test]
fn a_re_invite_passes_both_ways_with_its_answer() {
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let a = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &response(&a.msg, 200, "ta", "sip:psap@127.0.0.1:15070", SDP));
    let ok = w.expect(PBX, "SIP/2.0 200");
    w.take();
    let near = InDialog::of_response(&ok.msg);
    w.receive(PBX, &near.request("ACK", 1, PBX, "", ""));
    let far = InDialog::of_invite(&a.msg, "ta");
    w.receive(
        TRUNK_A,
        &far.request("INVITE", 1, TRUNK_A, "Contact: <sip:psap2@127.0.0.1:15070>\r\nContent-Type: application/sdp\r\n", SDP),
    );
    let re = w.expect(PBX, "INVITE sip:alice@127.0.0.1:15090");
    w.receive(PBX, &response(&re.msg, 200, "", "sip:alice@127.0.0.1:15090", SDP));
    w.expect(PBX, "ACK");
    let answer = w.expect(TRUNK_A, "SIP/2.0 200");
    assert!(!text(&answer.msg).contains("alice"), "{}", text(&answer.msg));
    w.receive(TRUNK_A, &far.request("ACK", 1, TRUNK_A, "", ""));
    w.expect_nothing();
    // The target was refreshed.
    w.receive(PBX, &near.request("BYE", 3, PBX, "", ""));
    w.expect(TRUNK_A, "BYE sip:psap2@127.0.0.1:15070");
}

#[test]
fn a_second_fork_that_answers_is_acknowledged_and_hung_up() {
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let a = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &response(&a.msg, 200, "ta", "sip:one@127.0.0.1:15070", SDP));
    w.take();
    w.receive(TRUNK_A, &response(&a.msg, 200, "tb", "sip:two@127.0.0.1:15070", SDP));
    w.expect(TRUNK_A, "ACK sip:two@");
    w.expect(TRUNK_A, "BYE sip:two@");
    w.expect_nothing();
}

#[test]
fn b5_copies_of_an_invite_are_absorbed_and_another_way_gets_482() {
    let mut w = World::new();
    let call = invite(PBX, "alice", "911", "c1");
    w.receive(PBX, &call);
    w.expect(TRUNK_A, "INVITE");
    w.receive(PBX, &call);
    w.expect_nothing();
    w.wait(MS(200));
    w.expect(PBX, "SIP/2.0 100");
    w.receive(PBX, &call);
    w.expect(PBX, "SIP/2.0 100");
    w.receive(PBX, &call.replace("z9hG4bKc1", "z9hG4bKother"));
    w.expect(PBX, "SIP/2.0 482");
    w.expect_nothing();
}

#[test]
fn r4_an_emergency_without_half_its_headers_is_placed_and_answered() {
    let mut w = World::new();
    w.receive(PBX, "INVITE sip:911@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:15090;branch=z9hG4bKx\r\nFrom: <sip:alice@x>;tag=1\r\n\r\n");
    let a = w.expect(TRUNK_A, "INVITE sip:911@127.0.0.1:15070");
    w.receive(TRUNK_A, &response(&a.msg, 180, "ta", "sip:psap@127.0.0.1:15070", ""));
    assert!(w.sent.is_empty() || text(&w.sent[0].msg).starts_with("SIP/2.0 180"));
}

#[test]
fn a_stranger_is_answered_without_state_and_never_relayed() {
    let mut w = World::new();
    let call = invite(STRANGER, "mallory", "911", "c1");
    w.receive(STRANGER, &call);
    let no = w.expect(STRANGER, "SIP/2.0 401");
    assert!(no.msg.bytes().len() <= 3 * call.len());
    w.expect_nothing();
    assert_eq!(w.shard.census().transactions, 0);
}

#[test]
fn p12_our_own_call_coming_back_gets_482() {
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    w.expect(TRUNK_A, "INVITE");
    w.receive(PBX, &invite(PBX, "+12000000100", "911", "c2"));
    w.expect(PBX, "SIP/2.0 482");
    w.expect_nothing();
}

#[test]
fn a_bye_waits_for_the_ack_of_our_answer_and_follows_it() {
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let a = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &response(&a.msg, 200, "ta", "sip:psap@127.0.0.1:15070", SDP));
    let ok = w.expect(PBX, "SIP/2.0 200");
    w.expect(TRUNK_A, "ACK");
    let far = InDialog::of_invite(&a.msg, "ta");
    w.receive(TRUNK_A, &far.request("BYE", 1, TRUNK_A, "", ""));
    w.expect(TRUNK_A, "SIP/2.0 200");
    // The caller may not have heard the answer: a BYE now would get 481, and its answer come to life afterwards.
    w.expect_nothing();
    w.receive(PBX, &InDialog::of_response(&ok.msg).request("ACK", 1, PBX, "", ""));
    let bye = w.expect(PBX, "BYE");
    w.receive(PBX, &response(&bye.msg, 200, "", "", ""));
    w.wait(Duration::from_secs(40));
    assert_eq!(w.shard.census(), e911d::bridge::Census::default());
}

#[test]
fn a_callee_that_hangs_up_before_its_answer_arrived_has_refused() {
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let a = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &response(&a.msg, 180, "ta", "sip:psap@127.0.0.1:15070", ""));
    w.receive(TRUNK_A, &InDialog::of_invite(&a.msg, "ta").request("BYE", 1, TRUNK_A, "", ""));
    w.expect(TRUNK_A, "SIP/2.0 200");
    w.expect(TRUNK_B, "INVITE");
    w.take();
    w.receive(TRUNK_A, &response(&a.msg, 200, "ta", "sip:psap@127.0.0.1:15070", SDP));
    w.expect(TRUNK_A, "ACK");
    w.expect(TRUNK_A, "BYE");
}

#[test]
fn r4_a_caller_without_call_id_hears_no_requests_and_keeps_the_call() {
    let mut w = World::new();
    let bare = format!(
        "INVITE sip:911@127.0.0.1:15060 SIP/2.0\r\nVia: SIP/2.0/UDP {PBX};branch=z9hG4bKbare\r\nCSeq: 1 INVITE\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{SDP}",
        SDP.len()
    );
    w.receive(PBX, &bare);
    let leg = w.expect(TRUNK_A, "INVITE sip:911@").msg;
    w.receive(TRUNK_A, &response(&leg, 200, "psap", &format!("sip:psap@{TRUNK_A}"), SDP));
    w.expect(PBX, "SIP/2.0 200");
    w.expect(TRUNK_A, "ACK ");
    // The PSAP's re-INVITE cannot be passed on; 481 would end the call (P11).
    let psap = InDialog::of_invite(&leg, "psap");
    w.receive(TRUNK_A, &psap.request("INVITE", 2, TRUNK_A, "", ""));
    w.expect(TRUNK_A, "SIP/2.0 488");
    w.expect_nothing();
}

#[test]
fn p2_a_route_that_matches_911_takes_it_over_its_trunks_in_their_order() {
    let mut w = World::with(&CONFIG.replace("trunks = [\"a\", \"b\"]", "trunks = [\"b\", \"carrier\", \"a\"]"));
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    for trunk in [TRUNK_B, CARRIER, TRUNK_A] {
        let out = w.expect(trunk, "INVITE sip:911@");
        w.expect_nothing();
        w.receive(trunk, &response(&out.msg, 503, "t", "", ""));
        w.expect(trunk, "ACK");
    }
}

#[test]
fn p4_a_caller_whose_own_number_was_bought_goes_over_that_numbers_trunk_first() {
    let offers = CONFIG
        .replace("name = \"b\"\npath = \"direct-routing\"", "name = \"b\"\npath = \"direct-offer\"\nnumbers = [\"+14255551234\"]")
        .replace("name = \"a\"\npath = \"direct-routing\"", "name = \"a\"\npath = \"direct-offer\"\nnumbers = [\"+14255559999\"]")
        .replace("pattern = '^911$'", "pattern = '^912$'")
        .replace("id = \"bob\"", "id = \"bob\"\nnumber = \"+14255551234\"");
    for (caller, first) in [("bob", TRUNK_B), ("alice", TRUNK_A)] {
        let mut w = World::with(&offers);
        w.receive(PBX, &invite(PBX, caller, "911", "c1"));
        w.expect(first, "INVITE sip:911@");
        w.expect_nothing();
    }
}

#[test]
fn a2_a_caller_behind_a_pbx_hears_why_the_trunk_ended_the_call() {
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let a = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &response(&a.msg, 200, "ta", "sip:psap@127.0.0.1:15070", SDP));
    let ok = w.expect(PBX, "SIP/2.0 200");
    w.receive(PBX, &InDialog::of_response(&ok.msg).request("ACK", 1, PBX, "", ""));
    w.take();
    w.receive(TRUNK_A, &InDialog::of_invite(&a.msg, "ta").request("BYE", 1, TRUNK_A, "Reason: Q.850;cause=27\r\n", ""));
    let bye = w.expect(PBX, "BYE sip:alice@127.0.0.1:15090");
    assert_eq!(get(&bye.msg, Name::Reason), "Q.850;cause=27");
    // No redial by itself.
    w.wait(Duration::from_secs(10));
    assert!(w.take().iter().all(|s| !text(&s.msg).starts_with("INVITE")));
}

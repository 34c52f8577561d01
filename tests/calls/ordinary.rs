use crate::world::*;
use e911d::sip::Name;
use std::time::Duration;

#[test]
fn an_ordinary_call_keeps_its_user_and_its_identities_on_the_way_out() {
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "+15551234567", "c1").replace("1555", "1455"));
    let out = w.expect(CARRIER, "INVITE sip:+14551234567@127.0.0.1:15080");
    assert!(get(&out.msg, Name::From).starts_with("\"Al\" <sip:alice@pbx.example.net>;tag=e9"));
    assert_eq!(get(&out.msg, Name::To), "<sip:+14551234567@pbx.example.net>");
    assert_eq!(get(&out.msg, Name::PAssertedIdentity), "<sip:alice@pbx.example.net>");
    assert_eq!(out.msg.body(), SDP.as_bytes());
    assert_ne!(get(&out.msg, Name::CallId), "c1");
    w.receive(CARRIER, &response(&out.msg, 200, "t1", "sip:x@127.0.0.1:15080", SDP));
    let ok = w.expect(PBX, "SIP/2.0 200");
    w.expect(CARRIER, "ACK");
    let near = InDialog::of_response(&ok.msg);
    w.receive(PBX, &near.request("ACK", 1, PBX, "", ""));
    let far = InDialog::of_invite(&out.msg, "t1");
    w.receive(CARRIER, &far.request("BYE", 1, CARRIER, "Reason: Q.850;cause=16\r\n", ""));
    w.expect(CARRIER, "SIP/2.0 200");
    let bye = w.expect(PBX, "BYE sip:alice@127.0.0.1:15090");
    assert_eq!(get(&bye.msg, Name::Reason), "Q.850;cause=16");
    w.receive(PBX, &response(&bye.msg, 200, "", "", ""));
    w.wait(Duration::from_secs(40));
    assert_eq!(w.shard.census(), e911d::bridge::Census::default());
}

#[test]
fn the_next_trunk_follows_on_408_5xx_and_silence_and_not_on_486() {
    for status in [408, 500, 503] {
        let mut w = World::new();
        w.receive(PBX, &invite(PBX, "alice", "+14551234567", "c1"));
        let out = w.expect(CARRIER, "INVITE");
        w.receive(CARRIER, &response(&out.msg, status, "t1", "", ""));
        w.expect(TRUNK_A, "INVITE sip:+14551234567@127.0.0.1:15070");
    }
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "+14551234567", "c1"));
    let out = w.expect(CARRIER, "INVITE");
    w.receive(CARRIER, &response(&out.msg, 486, "t1", "", ""));
    w.expect(PBX, "SIP/2.0 486");
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "+14551234567", "c1"));
    w.wait(Duration::from_millis(1600));
    w.expect(TRUNK_A, "INVITE");
}

#[test]
fn a_number_without_a_route_gets_404_and_an_inbound_call_goes_to_the_pbx() {
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "5", "c1"));
    w.expect(PBX, "SIP/2.0 404");
    w.receive(TRUNK_A, &invite(TRUNK_A, "+14155550000", "+14255559999", "c2"));
    w.expect(PBX, "INVITE sip:+14255559999@127.0.0.1:15090");
}

#[test]
fn a_late_offer_is_answered_in_the_ack() {
    let mut w = World::new();
    let call = invite(PBX, "alice", "+14551234567", "c1");
    let bare = call.split("Content-Type").next().unwrap().to_owned() + "Content-Length: 0\r\n\r\n";
    w.receive(PBX, &bare);
    let out = w.expect(CARRIER, "INVITE");
    w.receive(CARRIER, &response(&out.msg, 200, "t1", "sip:x@127.0.0.1:15080", SDP));
    let ok = w.expect(PBX, "SIP/2.0 200");
    w.expect_nothing();
    w.receive(PBX, &InDialog::of_response(&ok.msg).request("ACK", 1, PBX, "Content-Type: application/sdp\r\n", SDP));
    let ack = w.expect(CARRIER, "ACK");
    assert_eq!(ack.msg.body(), SDP.as_bytes());
}

#[test]
fn an_invite_that_breaks_the_grammar_gets_400_and_options_200() {
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "+14551234567", "c1").replace("CSeq: 1 INVITE", "CSeq: one INVITE"));
    w.expect(PBX, "SIP/2.0 400");
    w.receive(PBX, &invite(PBX, "alice", "x", "c2").replace("INVITE", "OPTIONS"));
    w.expect(PBX, "SIP/2.0 200");
    w.receive(PBX, &invite(PBX, "alice", "x", "c3").replace("INVITE", "PUBLISH"));
    w.expect(PBX, "SIP/2.0 405");
    w.receive(PBX, &invite(PBX, "alice", "+14551234567", "c4").replace("Max-Forwards: 70", "Max-Forwards: 0"));
    w.expect(PBX, "SIP/2.0 483");
}

#[test]
fn r6_988_711_and_611_are_ordinary_calls_with_their_callers_own_identity() {
    let mut w = World::with(&CONFIG.replace("pattern = '^\\+?1[2-9]\\d{9}$'", "pattern = '^[2-9]\\d\\d$'"));
    for number in ["988", "711", "611"] {
        w.receive(PBX, &invite(PBX, "alice", number, number));
        let out = w.expect(CARRIER, &format!("INVITE sip:{number}@127.0.0.1:15080"));
        assert!(get(&out.msg, Name::From).contains("alice"), "{number}");
    }
    assert_eq!(w.shard.story().map(|s| s.leases().count()), Some(0));
}

#[test]
fn an_ordinary_call_whose_answer_is_never_acknowledged_is_ended_on_both_sides() {
    for bare in [false, true] {
        let mut w = World::new();
        let mut call = invite(PBX, "alice", "+14551234567", "c1");
        if bare {
            call = call.split("Content-Type").next().unwrap().to_owned() + "Content-Length: 0\r\n\r\n";
        }
        w.receive(PBX, &call);
        let out = w.expect(CARRIER, "INVITE");
        w.receive(CARRIER, &response(&out.msg, 200, "t1", "sip:x@127.0.0.1:15080", SDP));
        w.wait(Duration::from_secs(33));
        let sent = w.take();
        let byes = |to: &str| sent.iter().filter(|s| s.to.to_string() == to && text(&s.msg).starts_with("BYE")).count();
        assert!(byes(PBX) > 0, "the caller hears no BYE");
        assert!(byes(CARRIER) > 0, "the callee hears no BYE");
        let to_carrier = |method: &str| sent.iter().position(|s| s.to.to_string() == CARRIER && text(&s.msg).starts_with(method));
        assert!(to_carrier("ACK") < to_carrier("BYE"), "RFC 3261 section 15: a 2xx is acknowledged before the BYE");
        assert!(to_carrier("ACK").is_some());
        let [record] = w.records.as_slice() else { panic!("{} records", w.records.len()) };
        assert_eq!(record.outcome, "answered");
    }
}

#[test]
fn a7_an_ordinary_call_that_is_over_is_recorded_once_and_with_its_outcome() {
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "+14551234567", "c1"));
    let out = w.expect(CARRIER, "INVITE");
    w.receive(CARRIER, &response(&out.msg, 200, "t1", "sip:x@127.0.0.1:15080", SDP));
    let ok = w.expect(PBX, "SIP/2.0 200");
    let near = InDialog::of_response(&ok.msg);
    w.receive(PBX, &near.request("ACK", 1, PBX, "", ""));
    assert!(w.records.is_empty());
    w.wait(Duration::from_secs(5));
    w.receive(PBX, &near.request("BYE", 2, PBX, "", ""));
    w.wait(Duration::from_secs(60));
    let [call] = w.records.as_slice() else { panic!("{} records", w.records.len()) };
    let view = &call.view;
    assert_eq!((view.direction, call.outcome), ("outbound", "answered"));
    assert_eq!((view.from.reveal().as_str(), view.to.reveal().as_str()), ("alice", "+14551234567"));
    assert_eq!(view.peer.as_deref(), Some("pbx"));
    assert!(view.trunk.is_some());
    assert!(view.answered.is_some_and(|at| at >= view.started && call.ended.since(at) >= Duration::from_secs(5)));

    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "5", "c2"));
    w.receive(TRUNK_A, &invite(TRUNK_A, "+14155550000", "+14255559999", "c3"));
    let ring = w.expect(PBX, "INVITE");
    w.receive(PBX, &response(&ring.msg, 486, "t1", "", ""));
    w.wait(Duration::from_secs(60));
    let told: Vec<_> = w.records.iter().map(|c| (c.view.direction, c.outcome)).collect();
    assert_eq!(told, [("outbound", "not_found"), ("inbound", "busy")]);
}

#[test]
fn a7_emergency_calls_and_callbacks_are_in_no_record() {
    let mut w = World::new();
    let number = dial(&mut w, "alice", "c1");
    w.receive(TRUNK_A, &invite(TRUNK_A, "psap7", &number, "cb1"));
    let ring = w.expect(PBX, "INVITE sip:alice@127.0.0.1:15090");
    w.receive(PBX, &response(&ring.msg, 200, "ph", "sip:alice@127.0.0.1:15090", SDP));
    let ok = w.expect(TRUNK_A, "SIP/2.0 200");
    w.expect(PBX, "ACK");
    let near = InDialog::of_response(&ok.msg);
    w.receive(TRUNK_A, &near.request("ACK", 1, TRUNK_A, "", ""));
    assert_eq!(w.shard.ordinary_calls(0).count(), 0);
    w.receive(TRUNK_A, &near.request("BYE", 2, TRUNK_A, "", ""));
    w.receive(PBX, &invite(PBX, "bob", "911", "c2"));
    w.wait(Duration::from_secs(120));
    assert!(w.records.is_empty(), "{} records", w.records.len());
}

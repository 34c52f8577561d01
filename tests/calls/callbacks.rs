use crate::world::*;
use e911d::sip::Name;
use std::time::Duration;

#[test]
fn c1_the_callback_of_an_unknown_caller_rings_the_user_at_the_pbx() {
    let mut w = World::new();
    let number = dial(&mut w, "alice", "c1");
    w.receive(TRUNK_A, &invite(TRUNK_A, "psap7", &number, "cb1"));
    let ring = w.expect(PBX, "INVITE sip:alice@127.0.0.1:15090");
    assert_eq!(get(&ring.msg, Name::Priority), "psap-callback");
    assert_eq!(get(&ring.msg, Name::AlertInfo), "<urn:alert:priority:high>");
    assert!(get(&ring.msg, Name::From).contains("psap7"));
    assert_eq!(get(&ring.msg, Name::To), format!("<sip:{number}@gw.example.net>"));
    w.receive(PBX, &response(&ring.msg, 180, "ph", "sip:alice@127.0.0.1:15090", ""));
    let ringing = w.expect(TRUNK_A, "SIP/2.0 180");
    assert!(!text(&ringing.msg).contains("alice"), "{}", text(&ringing.msg));
    w.receive(PBX, &response(&ring.msg, 200, "ph", "sip:alice@127.0.0.1:15090", SDP));
    let ok = w.expect(TRUNK_A, "SIP/2.0 200");
    assert!(!text(&ok.msg).contains("alice"), "{}", text(&ok.msg));
    w.expect(PBX, "ACK");
    w.expect_nothing();
}

#[test]
fn c7_the_first_device_that_answers_wins_and_the_others_get_cancel_with_the_reason() {
    let mut w = World::new();
    let number = dial(&mut w, "bob", "c1");
    w.receive(TRUNK_A, &invite(TRUNK_A, "psap7", &number, "cb1"));
    let one = w.expect("127.0.0.1:15091", "INVITE sip:bob@127.0.0.1:15091");
    let two = w.expect("127.0.0.1:15092", "INVITE sip:bob-2@127.0.0.1:15092");
    w.receive("127.0.0.1:15091", &response(&one.msg, 180, "d1", "sip:bob@127.0.0.1:15091", ""));
    w.receive("127.0.0.1:15092", &response(&two.msg, 180, "d2", "sip:bob@127.0.0.1:15092", ""));
    w.receive("127.0.0.1:15092", &response(&two.msg, 200, "d2", "sip:bob@127.0.0.1:15092", SDP));
    let cancel = w.expect("127.0.0.1:15091", "CANCEL");
    assert!(get(&cancel.msg, Name::Reason).starts_with("SIP;cause=200"));
    w.expect(TRUNK_A, "SIP/2.0 200");
    // Too late: it is acknowledged and hung up.
    w.receive("127.0.0.1:15091", &response(&one.msg, 200, "d1", "sip:bob@127.0.0.1:15091", SDP));
    w.expect("127.0.0.1:15091", "ACK");
    w.expect("127.0.0.1:15091", "BYE");
}

#[test]
fn c4_devices_that_are_not_there_are_followed_by_the_pbx_and_the_desk() {
    let mut w = World::new();
    let number = dial(&mut w, "bob", "c1");
    w.receive(TRUNK_A, &invite(TRUNK_A, "psap7", &number, "cb1"));
    let one = w.expect("127.0.0.1:15091", "INVITE");
    let two = w.expect("127.0.0.1:15092", "INVITE");
    w.unreachable(&one);
    w.unreachable(&two);
    let pbx = w.expect(PBX, "INVITE sip:bob@127.0.0.1:15090");
    w.receive(PBX, &response(&pbx.msg, 480, "x", "", ""));
    let desk = w.expect("127.0.0.1:15095", "INVITE sip:security@");
    w.receive("127.0.0.1:15095", &response(&desk.msg, 200, "k", "sip:security@127.0.0.1:15095", SDP));
    w.expect(TRUNK_A, "SIP/2.0 200");
}

#[test]
fn c9_the_desk_rings_beside_the_devices_after_20_s() {
    let mut w = World::new();
    let number = dial(&mut w, "bob", "c1");
    w.receive(TRUNK_A, &invite(TRUNK_A, "psap7", &number, "cb1"));
    for (at, tag) in [("127.0.0.1:15091", "d1"), ("127.0.0.1:15092", "d2")] {
        let ring = w.expect(at, "INVITE");
        w.receive(at, &response(&ring.msg, 180, tag, &format!("sip:bob@{at}"), ""));
    }
    w.take();
    w.wait(Duration::from_millis(19_900));
    w.expect_nothing();
    w.wait(Duration::from_millis(200));
    w.expect("127.0.0.1:15095", "INVITE sip:security@");
}

#[test]
fn c8_a_leased_number_dialed_from_inside_is_an_ordinary_call() {
    let mut w = World::new();
    let number = dial(&mut w, "alice", "c1");
    w.receive(PBX, &invite(PBX, "carol", &number, "c2"));
    w.expect(CARRIER, &format!("INVITE sip:{number}@127.0.0.1:15080"));
}

#[test]
fn l2_the_number_leads_back_for_60_minutes_and_late_after_that() {
    let mut w = World::new();
    let number = dial(&mut w, "alice", "c1");
    w.wait(Duration::from_secs(59 * 60));
    w.receive(TRUNK_A, &invite(TRUNK_A, "psap7", &number, "cb1"));
    let ring = w.expect(PBX, "INVITE sip:alice@127.0.0.1:15090");
    w.receive(PBX, &response(&ring.msg, 486, "x", "", ""));
    w.take();
    w.wait(Duration::from_secs(3600));
    w.take();
    w.receive(TRUNK_A, &invite(TRUNK_A, "psap7", &number, "cb2"));
    w.expect(PBX, "INVITE sip:alice@127.0.0.1:15090");
}

//! The agent is on an ordinary call when the PSAP calls back (RULES C2).

use crate::world::*;
use e911d::sip::Name;
use std::time::Duration;

const PHONE: &str = "127.0.0.1:15091";
const PHONE_2: &str = "127.0.0.1:15092";
const DESK: &str = "127.0.0.1:15095";
const PREEMPTION: &str = "preemption;cause=1;text=\"UA Preemption\"";

/// An ordinary call from `from` to `to` is up.
fn talk(w: &mut World, from: &str, invite: &str, to: &str) {
    w.receive(from, invite);
    let out = w.expect(to, "INVITE");
    w.receive(to, &response(&out.msg, 200, "o1", &format!("sip:other@{to}"), SDP));
    let ok = w.expect(from, "SIP/2.0 200");
    w.expect(to, "ACK");
    w.receive(from, &InDialog::of_response(&ok.msg).request("ACK", 1, from, "", ""));
}

/// The PSAP calls; both of bob's phones say this. The first one's INVITE is given back.
fn call_back(w: &mut World, number: &str, status: u16) {
    w.receive(TRUNK_A, &invite(TRUNK_A, "psap7", number, "cb1"));
    for phone in [PHONE, PHONE_2] {
        let ring = w.expect(phone, "INVITE");
        assert_eq!(get(&ring.msg, Name::Priority), "psap-callback");
        w.receive(phone, &response(&ring.msg, status, "x", "", ""));
        w.expect(phone, "ACK");
    }
}

/// Both sides of the ordinary call hear why it ends.
fn assert_released(w: &mut World, sides: [&str; 2]) {
    for side in sides {
        let bye = w.expect(side, "BYE");
        assert_eq!(get(&bye.msg, Name::Reason), PREEMPTION);
        w.receive(side, &response(&bye.msg, 200, "", "", ""));
    }
}

#[test]
fn c2_the_ordinary_call_that_she_dialed_is_released_and_the_callback_offered_again_once_then_the_desk() {
    for status in [486, 600, 603] {
        let mut w = World::new();
        let number = dial(&mut w, "bob", "c1");
        talk(&mut w, PBX, &invite(PBX, "bob", "+14551234567", "o1"), CARRIER);
        call_back(&mut w, &number, status);
        assert_released(&mut w, [PBX, CARRIER]);
        w.expect_nothing();
        w.wait(Duration::from_millis(300));
        for phone in [PHONE, PHONE_2] {
            let again = w.expect(phone, "INVITE");
            w.receive(phone, &response(&again.msg, status, "x", "", ""));
            w.expect(phone, "ACK");
        }
        w.expect(DESK, "INVITE sip:security@");
    }
}

#[test]
fn c2_the_phone_that_is_offered_the_callback_again_may_take_it() {
    let mut w = World::new();
    let number = dial(&mut w, "bob", "c1");
    talk(&mut w, PBX, &invite(PBX, "bob", "+14551234567", "o1"), CARRIER);
    call_back(&mut w, &number, 486);
    assert_released(&mut w, [PBX, CARRIER]);
    w.wait(Duration::from_millis(300));
    let again = w.expect(PHONE, "INVITE");
    w.receive(PHONE, &response(&again.msg, 200, "p", "sip:bob@127.0.0.1:15091", SDP));
    w.expect(TRUNK_A, "SIP/2.0 200");
}

#[test]
fn c2_a_call_to_her_number_is_released_as_well() {
    let with_number = |c: &str| c.replace("name = \"Bob\"", "name = \"Bob\"\nnumber = \"+14255559999\"");
    let mut w = World::changed(with_number);
    let number = dial(&mut w, "bob", "c1");
    talk(&mut w, CARRIER, &invite(CARRIER, "+14155550000", "+14255559999", "o1"), PBX);
    call_back(&mut w, &number, 486);
    assert_released(&mut w, [CARRIER, PBX]);
}

#[test]
fn c2_calls_that_are_over_and_calls_of_others_are_not_released() {
    let mut w = World::new();
    let number = dial(&mut w, "bob", "c1");
    talk(&mut w, PBX, &invite(PBX, "carol", "+14551234567", "o1"), CARRIER);
    w.receive(PBX, &invite(PBX, "bob", "+14551234568", "o2"));
    let out = w.expect(CARRIER, "INVITE");
    w.receive(CARRIER, &response(&out.msg, 200, "o2", "sip:other@127.0.0.1:15080", SDP));
    w.receive(CARRIER, &InDialog::of_invite(&out.msg, "o2").request("BYE", 1, CARRIER, "", ""));
    w.take();
    call_back(&mut w, &number, 486);
    assert!(!w.take().iter().any(|s| text(&s.msg).starts_with("BYE")));
}

#[test]
fn c2_an_emergency_call_is_never_released() {
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "bob", "911", "c1"));
    let out = w.expect(TRUNK_A, "INVITE");
    let number = get(&out.msg, Name::From).trim_start_matches("<sip:").split('@').next().expect("a number").to_owned();
    w.receive(TRUNK_A, &response(&out.msg, 200, "t1", "sip:psap@127.0.0.1:15070", SDP));
    w.take();
    call_back(&mut w, &number, 486);
    w.wait(Duration::from_secs(1));
    assert!(!w.take().iter().any(|s| text(&s.msg).starts_with("BYE")));
}

#[test]
fn c2_an_ordinary_call_in_another_shard_is_released_there() {
    let setup = setup(CONFIG, 2);
    let (mut first, mut second) = (World::of_shard(0, &setup), World::of_shard(1, &setup));
    let number = dial(&mut first, "bob", "c1");
    talk(&mut second, PBX, &invite(PBX, "bob", "+14551234567", "o1"), CARRIER);
    call_back(&mut first, &number, 486);
    let releases = std::mem::take(&mut first.releases);
    let [(1, call)] = releases[..] else { panic!("{releases:?}") };
    second.release(call);
    assert_released(&mut second, [PBX, CARRIER]);
    first.wait(Duration::from_millis(300));
    first.expect(PHONE, "INVITE");
    // What was over before it was to be released makes no difference.
    second.release(call);
    second.wait(Duration::from_secs(40));
    assert_eq!(second.shard.census(), e911d::bridge::Census::default());
}

//! Calls to callback numbers of ours, and questions to the desk: what is asked beside the calls.

use crate::world::*;
use e911d::emergency::facts::{Side, TrunkId};
use e911d::emergency::prerequisites::CameBack;
use e911d::sip::Name;
use e911d::words::E164;
use std::time::Duration;

const CALLED: &str = "+12000000103";
const SHOWN: &str = "+12000000102";
const DESK: &str = "127.0.0.1:15095";

fn number(text: &str) -> E164 {
    E164::parse(text).expect("a number")
}

/// A self-call over trunk a, and its INVITE as trunk a got it.
fn under_way(w: &mut World) -> (u32, Sent) {
    let id = w.shard.call_ourselves(TrunkId(0), number(CALLED), number(SHOWN), w.now).expect("a trunk");
    w.drain();
    let out = w.expect(TRUNK_A, &format!("INVITE sip:{CALLED}@"));
    assert!(get(&out.msg, Name::From).contains(SHOWN));
    (id, out)
}

#[test]
fn a_self_call_that_comes_back_gets_480_and_rings_nobody() {
    for (from, came_back) in [(TRUNK_A, CameBack::Yes), (TRUNK_B, CameBack::Elsewhere)] {
        let mut w = World::new();
        let (id, _) = under_way(&mut w);
        assert_eq!(w.shard.self_call(id), None);
        w.receive(from, &invite(from, SHOWN, CALLED, "back"));
        w.expect(from, "SIP/2.0 480");
        w.expect_nothing();
        assert_eq!(w.shard.self_call(id), Some(came_back));
        assert_eq!(w.shard.story().expect("a story").active_calls(), 0);
    }
}

#[test]
fn somebody_elses_call_to_the_same_number_is_no_self_call_and_the_psaps_callback_rings() {
    let mut w = World::new();
    dial(&mut w, "bob", "911-1");
    let leased = number("+12000000100");
    w.take();
    let id = w.shard.call_ourselves(TrunkId(0), leased, number(SHOWN), w.now).expect("a trunk");
    w.drain();
    w.expect(TRUNK_A, "INVITE sip:+12000000100@");
    w.receive(TRUNK_A, &invite(TRUNK_A, "+12065550911", "+12000000100", "psap"));
    assert!(w.take().iter().any(|s| text(&s.msg).starts_with("INVITE sip:bob@")), "the callback rings");
    assert_eq!(w.shard.self_call(id), None);
}

#[test]
fn a_self_call_that_is_refused_answered_by_somebody_else_or_lost_did_not_come_back() {
    let mut w = World::new();
    let (id, out) = under_way(&mut w);
    w.receive(TRUNK_A, &response(&out.msg, 404, "x", "", ""));
    w.expect(TRUNK_A, "ACK");
    assert_eq!(w.shard.self_call(id), Some(CameBack::Refused(404)));
    let (id, out) = under_way(&mut w);
    w.receive(TRUNK_A, &response(&out.msg, 200, "x", "sip:x@127.0.0.1:15070", ""));
    w.expect(TRUNK_A, "ACK");
    w.expect(TRUNK_A, "BYE");
    assert_eq!(w.shard.self_call(id), Some(CameBack::No));
    let (id, out) = under_way(&mut w);
    w.receive(TRUNK_A, &response(&out.msg, 180, "x", "sip:x@127.0.0.1:15070", ""));
    w.wait(Duration::from_secs(9));
    w.expect(TRUNK_A, "CANCEL");
    assert_eq!(w.shard.self_call(id), Some(CameBack::No));
}

fn alarms(w: &mut World) -> Vec<(&'static str, bool)> {
    let said = std::mem::take(&mut w.sides);
    said.into_iter().filter_map(|s| if let Side::Alarm { name, raised } = s { Some((name, raised)) } else { None }).collect()
}

#[test]
fn desk_unreachable_is_raised_four_seconds_after_a_desk_was_asked_in_vain_and_cleared_by_its_answer() {
    let mut w = World::new();
    w.shard.ask_desks(w.now);
    w.drain();
    w.expect(DESK, "OPTIONS sip:security@");
    w.wait(Duration::from_millis(3900));
    assert_eq!(alarms(&mut w), []);
    w.wait(Duration::from_millis(200));
    assert_eq!(alarms(&mut w), [("desk_unreachable", true)]);
    w.take();
    w.shard.ask_desks(w.now);
    w.drain();
    let options = w.expect(DESK, "OPTIONS sip:security@");
    w.receive(DESK, &response(&options.msg, 200, "x", "", ""));
    assert_eq!(alarms(&mut w), [("desk_unreachable", false)]);
}

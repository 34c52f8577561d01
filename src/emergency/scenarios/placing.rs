//! The call out.

use super::super::facts::*;
use super::super::site::*;
use super::world::*;
use crate::words::Private;
use std::time::Duration;

fn three_trunks() -> Site {
    let mut site = site();
    site.trunks.push(trunk("c", Path::DirectRouting));
    site.shelves.push(Shelf { trunk: TrunkId(2), site: None, numbers: numbers(300, 10) });
    site.routes = vec![route("emergency", "^911$", &[0, 1, 2])];
    site
}

#[test]
fn the_whole_story_of_a_call_and_then_and_only_then_presence_and_the_contacts() {
    let mut w = World::new(site());
    let call = w.dial("ada", "sip:911@gw");
    assert_eq!(w.heard(), ["commit", "place 0 a 911", "presence ada dnd", "notice emergency to lead@example.com"]);
    w.rings(call, 0);
    w.leg(call, 0, LegEvent::Answered);
    assert_eq!(w.heard(), ["progress 0", "connect 0"]);
    assert_eq!(w.gateway.active_calls(), 1);
    w.input(Input::Ended { call, by: Party::Caller });
    assert_eq!(w.heard(), ["presence ada back", "notice outcome ended to lead@example.com"]);
    assert_eq!(w.gateway.active_calls(), 0);
}

#[test]
fn l1_nothing_leaves_beside_the_call_before_the_invite_has_left() {
    let mut w = World::new(site());
    w.store_works = false;
    w.dial("ada", "sip:911@gw");
    assert_eq!(w.seen, ["commit"]);
    w.wait_ms(49);
    assert_eq!(w.seen, ["commit"]);
    w.wait_ms(1);
    let placed = w.seen.iter().position(|s| s.starts_with("place")).expect("placed after 50 ms");
    let beside = w.seen.iter().position(|s| ["presence", "notice", "alarm", "log"].iter().any(|b| s.starts_with(b)));
    assert!(beside.is_some_and(|b| b > placed), "{:?}", w.seen);
    assert!(w.heard().contains(&"alarm store_slow raised".to_owned()));
}

fn alarms(w: &mut World) -> Vec<String> {
    w.heard().into_iter().filter(|s| s.starts_with("alarm store_slow")).collect()
}

#[test]
fn l1_the_alarm_of_a_slow_store_ends_soon_after_its_late_answer() {
    let mut w = World::new(site());
    w.store_works = false;
    let call = w.dial("ada", "sip:911@gw");
    w.wait_ms(20_000);
    assert_eq!(alarms(&mut w), ["alarm store_slow raised"]);
    w.input(Input::Committed { call });
    w.wait_ms(2_999);
    assert!(alarms(&mut w).is_empty());
    w.wait_ms(1);
    assert_eq!(alarms(&mut w), ["alarm store_slow cleared"]);
}

#[test]
fn l1_a_store_that_is_slow_at_every_call_is_told_of_once() {
    let mut w = World::new(site());
    w.store_works = false;
    for agent in ["ada", "bob", "cleo"] {
        let call = w.dial(agent, "sip:911@gw");
        w.wait_ms(400);
        w.input(Input::Committed { call });
        w.wait_ms(2_000);
    }
    assert_eq!(alarms(&mut w), ["alarm store_slow raised"]);
    let call = w.dial("dan", "sip:911@gw");
    w.wait_ms(20_000);
    assert!(alarms(&mut w).is_empty(), "the last one is still waited for");
    w.input(Input::Committed { call });
    w.wait_ms(3_000);
    assert_eq!(alarms(&mut w), ["alarm store_slow cleared"]);
}

#[test]
fn l1_a_durable_record_is_not_waited_for_again() {
    let mut w = World::new(site());
    w.short_call("ada");
    w.heard();
    w.store_works = false;
    w.dial("ada", "sip:911@gw");
    assert_eq!(w.heard()[0], "place 0 a 911");
}

#[test]
fn l1_an_answer_of_the_store_that_comes_too_late_does_not_count_for_the_next_number() {
    let mut w = World::new(site());
    w.store_works = false;
    let call = w.dial("ada", "sip:911@gw");
    w.wait_ms(50);
    w.refuse(call, 0, 503);
    assert_eq!(w.wire(), ["place 0 a 911"]);
    w.input(Input::Committed { call });
    assert_eq!(w.wire(), Vec::<String>::new(), "that was the first number's");
    w.input(Input::Committed { call });
    assert_eq!(w.wire(), ["place 1 b 911"]);
}

#[test]
fn r3_what_is_no_emergency_is_an_ordinary_call_and_a_stranger_is_never_placed() {
    let mut w = World::new(site());
    for uri in ["sip:9110@gw", "sip:988@gw", "sip:4155559110@gw", "sip:bob@gw"] {
        w.dial("ada", uri);
        assert_eq!(w.heard(), ["ordinary"], "{uri}");
    }
    for uri in ["sip:911@gw", "sip:+911@gw", "sip:9911@gw", "urn:service:sos"] {
        w.dial("nobody", uri);
        assert!(w.wire()[0].starts_with("place 0 a 911"), "{uri}");
    }
    w.invite(Origin::Stranger, "sip:911@gw", CallerEvidence::default(), Marks::default(), Body::Sdp);
    assert_eq!(w.heard(), ["ordinary"]);
}

#[test]
fn p6_a_refusal_moves_on_and_the_next_trunk_shows_a_number_of_its_own() {
    for status in [404, 486, 603, 503, 500, 302, 408] {
        let mut w = World::new(site());
        let call = w.dial("ada", "sip:911@gw");
        let first = w.shown();
        w.refuse(call, 0, status);
        assert_eq!(w.wire(), ["place 0 a 911", "place 1 b 911"], "{status}");
        assert_ne!(w.shown(), first);
        w.leg(call, 1, LegEvent::Answered);
        assert_eq!(w.wire(), ["connect 1"]);
    }
}

#[test]
fn p6_an_unhealthy_trunk_is_last_but_never_left_out() {
    let mut w = World::new(site());
    w.input(Input::Health { trunk: TrunkId(0), up: false });
    assert_eq!(w.heard(), ["alarm trunk_down raised"]);
    let call = w.dial("ada", "sip:911@gw");
    w.refuse(call, 0, 503);
    assert_eq!(w.wire(), ["place 0 b 911", "place 1 a 911"]);
    w.input(Input::Health { trunk: TrunkId(1), up: false });
    w.input(Input::Health { trunk: TrunkId(0), up: true });
    assert_eq!(w.heard(), ["alarm no_trunk raised", "alarm no_trunk cleared"]);
}

#[test]
fn p6_the_other_path_the_contingency_number_a_second_round_and_only_then_503() {
    let mut site = site();
    site.trunks[1] = trunk("b", Path::DirectOffer);
    site.trunks[1].numbers = vec![NumberRange::Span(number("+12065550100"), number("+12065550109"))];
    site.routes = vec![route("emergency", "^911$", &[0])];
    site.contingency = Some(Private::new(number("+12065559000")));
    let mut w = World::new(site);
    let call = w.dial("ada", "sip:911@gw");
    for leg in 0..4 {
        w.refuse(call, leg, 503);
    }
    let round = |n: usize| {
        let contingency = "+12065559000";
        [(0, "a", "911"), (1, "b", "911"), (2, "a", contingency), (3, "b", contingency)]
            .map(|(leg, trunk, target)| format!("place {} {trunk} {target}", n * 4 + leg))
    };
    assert_eq!(w.wire(), round(0));
    w.wait_ms(999);
    assert_eq!(w.wire(), Vec::<String>::new());
    w.wait_ms(1);
    for leg in 4..8 {
        w.refuse(call, leg, 503);
    }
    assert_eq!(w.heard().into_iter().filter(|s| s.starts_with("place")).collect::<Vec<_>>(), round(1));
    assert!(w.outputs.iter().any(|o| matches!(o, Output::Call(CallEffect::Refuse { status: 503, .. }))));
    assert_eq!(w.gateway.active_calls(), 0);
}

#[test]
fn p6_when_no_trunk_takes_the_call_the_contacts_are_told_that_it_did_not_connect() {
    let mut w = World::new(site());
    let call = w.dial("ada", "sip:911@gw");
    w.heard();
    w.refuse(call, 0, 503);
    w.refuse(call, 1, 503);
    w.wait_ms(1000);
    w.refuse(call, 2, 503);
    w.heard();
    w.refuse(call, 3, 503);
    let last = ["refuse 503", "alarm call_not_connected raised", "notice outcome not_connected to lead@example.com"];
    assert_eq!(w.heard(), last);
    w.wait_ms(120_000);
    assert_eq!(w.heard(), ["presence ada back"]);
}

#[test]
fn p6_thirty_seconds_of_silence_end_the_call_and_a_ringing_leg_stops_that_clock() {
    let mut w = World::new(site());
    let start = w.now;
    w.dial("ada", "sip:911@gw");
    w.wait_ms(29_999);
    assert_eq!(w.wire(), ["place 0 a 911", "place 1 b 911"]);
    w.wait_ms(1);
    assert_eq!(w.wire(), ["give up 0 AnotherTrunk", "give up 1 AnotherTrunk", "refuse 503"]);
    assert_eq!(w.now.since(start).as_secs(), 30);

    let call = w.dial("bob", "sip:911@gw");
    w.rings(call, 0);
    w.wait(Duration::from_secs(3600));
    assert_eq!(w.gateway.active_calls(), 1, "PSAPs queue");
    w.refuse(call, 0, 503);
    w.heard();
    w.wait_ms(29_999);
    assert_eq!(w.gateway.active_calls(), 1);
    w.wait_ms(1);
    assert_eq!(w.gateway.active_calls(), 0);
}

#[test]
fn p6_a_body_that_is_too_much_goes_again_as_sdp_alone_over_the_same_trunk_once() {
    for status in [413, 415, 488, 513, 400] {
        let mut w = World::new(site());
        let caller = CallerEvidence { asserted: &[], from: b"sip:ada@x", contact: b"sip:ada@x" };
        let call = w.invite(PBX, "sip:911@gw", caller, Marks::default(), Body::Multipart);
        w.refuse(call, 0, status);
        w.refuse(call, 1, status);
        assert_eq!(w.wire(), ["place 0 a 911", "place 1 a 911 sdp", "place 2 b 911"], "{status}");
    }
    let mut w = World::new(site());
    let call = w.dial("ada", "sip:911@gw");
    w.refuse(call, 0, 488);
    assert_eq!(w.wire(), ["place 0 a 911", "place 1 b 911"]);
}

#[test]
fn p7_the_next_trunk_starts_beside_a_silent_one_after_1500_ms_and_the_first_to_ring_has_the_call() {
    let mut w = World::new(site());
    let call = w.dial("ada", "sip:911@gw");
    w.wait_ms(1499);
    assert_eq!(w.wire(), ["place 0 a 911"]);
    w.wait_ms(1);
    assert_eq!(w.wire(), ["place 1 b 911"]);
    w.rings(call, 0);
    assert_eq!(w.wire(), ["progress 0", "give up 1 AnotherTrunk"]);
    w.leg(call, 1, LegEvent::Answered);
    assert_eq!(w.wire(), ["give up 1 AnotherTrunk"], "a late answer is given up as well");
    w.leg(call, 0, LegEvent::Answered);
    assert_eq!(w.wire(), ["connect 0"]);
}

#[test]
fn p7_nothing_but_100_for_six_seconds_starts_the_next_trunk_beside_it() {
    let mut w = World::new(site());
    let call = w.dial("ada", "sip:911@gw");
    w.leg(call, 0, LegEvent::Trying);
    w.wait_ms(5999);
    assert_eq!(w.wire(), ["place 0 a 911"]);
    w.wait_ms(1);
    assert_eq!(w.wire(), ["place 1 b 911"]);
    w.leg(call, 1, LegEvent::Answered);
    assert_eq!(w.wire(), ["connect 1", "give up 0 AnotherTrunk"]);
}

#[test]
fn p7_at_most_two_legs_at_once_and_the_most_silent_one_makes_room() {
    let mut w = World::new(three_trunks());
    let call = w.dial("ada", "sip:911@gw");
    w.leg(call, 0, LegEvent::Trying);
    w.wait_ms(6000);
    w.wait_ms(1500);
    assert_eq!(w.wire(), ["place 0 a 911", "place 1 b 911", "give up 1 AnotherTrunk", "place 2 c 911"]);
}

#[test]
fn p7_if_the_winner_fails_a_trunk_that_was_given_up_counts_as_not_tried() {
    let mut w = World::new(site());
    let call = w.dial("ada", "sip:911@gw");
    w.wait_ms(1500);
    w.rings(call, 1);
    assert_eq!(w.wire(), ["place 0 a 911", "place 1 b 911", "progress 1", "give up 0 AnotherTrunk"]);
    w.refuse(call, 1, 480);
    assert_eq!(w.wire(), ["place 2 a 911"]);
}

#[test]
fn p7_a_183_without_sdp_is_passed_on_keeps_the_leg_ringing_and_does_not_decide() {
    let mut w = World::new(site());
    let call = w.dial("ada", "sip:911@gw");
    w.wait_ms(1500);
    w.leg(call, 0, LegEvent::Progress { status: 183, sdp: false });
    assert_eq!(w.wire(), ["place 0 a 911", "place 1 b 911", "progress 0"]);
    w.wait_ms(60_000);
    assert_eq!(w.wire(), Vec::<String>::new());
    w.leg(call, 1, LegEvent::Progress { status: 183, sdp: true });
    assert_eq!(w.wire(), ["progress 1", "give up 0 AnotherTrunk"]);
}

#[test]
fn p8_a_ringing_leg_whose_connection_is_lost_keeps_ringing_beside_the_next_trunk() {
    let mut w = World::new(site());
    let call = w.dial("ada", "sip:911@gw");
    w.rings(call, 0);
    w.leg(call, 0, LegEvent::Lost);
    assert_eq!(w.wire(), ["place 0 a 911", "progress 0", "place 1 b 911"]);
    w.leg(call, 0, LegEvent::Answered);
    assert_eq!(w.wire(), ["connect 0", "give up 1 AnotherTrunk"]);
}

#[test]
fn p6_a_closed_port_moves_on_at_once() {
    for event in [LegEvent::Unreachable, LegEvent::TimedOut] {
        let mut w = World::new(site());
        let call = w.dial("ada", "sip:911@gw");
        w.leg(call, 0, event);
        assert_eq!(w.wire(), ["place 0 a 911", "place 1 b 911"]);
    }
}

#[test]
fn p5_acs_strict_moves_on_for_408_503_and_504_only_and_has_no_second_round() {
    let strict = || Site { profile: Profile::AcsStrict { seed: 7 }, ..site() };
    let mut w = World::new(strict());
    let call = w.dial("ada", "sip:911@gw");
    w.refuse(call, 0, 486);
    assert_eq!(w.wire().last().map(String::as_str), Some("refuse 486"));
    let mut w = World::new(strict());
    let call = w.dial("ada", "sip:911@gw");
    w.refuse(call, 0, 503);
    w.refuse(call, 1, 504);
    let wire = w.wire();
    assert_eq!((wire.len(), wire[2].as_str()), (3, "refuse 503"));
}

#[test]
fn p12_our_own_call_that_comes_back_is_482_without_a_lease() {
    let mut w = World::new(site());
    let caller = CallerEvidence { asserted: &[b"tel:+14255550103"], from: b"sip:x@y", contact: b"sip:x@y" };
    for origin in [PBX, TRUNK_A] {
        w.invite(origin, "sip:911@gw", caller, Marks::default(), Body::Sdp);
        assert_eq!(w.heard(), ["refuse 482"]);
    }
    assert_eq!(w.gateway.leases().count(), 0);
}

#[test]
fn p12_an_emergency_from_a_trunk_is_placed_but_not_over_that_trunk() {
    let mut w = World::new(site());
    let caller = CallerEvidence { asserted: &[], from: b"sip:+13605550000@y", contact: b"sip:x@y" };
    let call = w.invite(TRUNK_A, "sip:911@gw", caller, Marks::default(), Body::Sdp);
    w.refuse(call, 0, 503);
    w.wait_ms(1000);
    assert_eq!(w.wire(), ["place 0 b 911", "place 1 b 911"]);
}

#[test]
fn p12_more_than_four_calls_in_ten_seconds_raise_an_alarm_and_are_placed() {
    let mut w = World::new(site());
    for _ in 0..4 {
        w.short_call("ada");
        w.wait_ms(1000);
    }
    assert!(!w.heard().iter().any(|s| s.starts_with("alarm loop")));
    w.short_call("ada");
    let heard = w.heard();
    assert_eq!(heard[0], "place 0 a 911");
    assert!(heard.contains(&"alarm loop raised".to_owned()), "{heard:?}");
    w.short_call("bob");
    w.wait_ms(59_999);
    assert!(!w.heard().contains(&"alarm loop cleared".to_owned()));
    w.wait_ms(1);
    assert_eq!(w.heard(), ["alarm loop cleared"]);
}

#[test]
fn p12_the_fifth_call_in_ten_seconds_whose_hops_are_used_up_goes_in_circles_and_gets_483() {
    let mut w = World::new(site());
    w.hops_used_up = true;
    for _ in 0..4 {
        w.dial("ada", "sip:911@gw");
        assert!(w.wire().contains(&"place 0 a 911".to_owned()), "used up alone is no reason");
        w.wait_ms(1000);
    }
    w.wire();
    w.dial("ada", "sip:911@gw");
    assert_eq!(w.heard(), ["refuse 483", "alarm loop raised"]);
    assert_eq!(w.gateway.active_calls(), 4);
    w.dial("bob", "sip:911@gw");
    assert_eq!(w.wire(), ["place 0 a 911"], "others are none of it");
    w.hops_used_up = false;
    w.dial("ada", "sip:911@gw");
    assert_eq!(w.wire(), ["place 0 a 911"], "who has hops left may be in need");
    w.hops_used_up = true;
    w.wait_ms(10_000);
    w.wire();
    w.dial("ada", "sip:911@gw");
    assert!(w.wire().contains(&"place 0 a 911".to_owned()));
}

#[test]
fn a3_a_caller_who_gives_up_cancels_every_leg_keeps_her_lease_and_the_contacts_hear_of_it() {
    let mut w = World::new(site());
    let call = w.dial("ada", "sip:911@gw");
    w.wait_ms(1500);
    w.heard();
    w.input(Input::Abandoned { call });
    let expected = [
        "give up 0 CallerCancelled",
        "give up 1 CallerCancelled",
        "presence ada back",
        "notice outcome abandoned to lead@example.com",
    ];
    assert_eq!(w.heard(), expected);
    assert_eq!(w.gateway.leases().count(), 2);
    w.leg(call, 0, LegEvent::Answered);
    assert_eq!(w.wire(), ["give up 0 AnotherTrunk"]);
}

#[test]
fn a3_a_caller_who_gives_up_while_the_record_is_written_leaves_no_invite_behind() {
    let mut w = World::new(site());
    w.store_works = false;
    let call = w.dial("ada", "sip:911@gw");
    w.input(Input::Abandoned { call });
    w.wait_ms(1000);
    w.input(Input::Committed { call });
    assert!(!w.heard().iter().any(|s| s.starts_with("place")));
}

#[test]
fn a1_do_not_disturb_ends_120_s_after_the_trunk_ended_the_call() {
    let mut w = World::new(site());
    let call = w.dial("ada", "sip:911@gw");
    w.leg(call, 0, LegEvent::Answered);
    w.heard();
    w.input(Input::Ended { call, by: Party::Callee });
    assert_eq!(w.heard(), ["notice outcome dropped to lead@example.com"]);
    w.wait_ms(119_999);
    assert_eq!(w.heard(), Vec::<String>::new());
    w.wait_ms(1);
    assert_eq!(w.heard(), ["presence ada back"]);
}

#[test]
fn r5_a_test_takes_the_path_of_911_to_the_test_number_without_second_round_and_tells_the_test_contacts() {
    let mut site = site();
    site.contingency = Some(Private::new(number("+12065559000")));
    for shelf in &mut site.shelves {
        shelf.numbers = numbers(u64::from(shelf.trunk.0) * 100 + 100, 20);
    }
    site.trunks[1].emergency_target = EmergencyTarget::Urn;
    let mut w = World::new(site);
    let call = w.dial("ada", "sip:933@gw");
    assert_eq!(w.heard(), ["commit", "place 0 a 933", "notice test to it@example.com"]);
    w.refuse(call, 0, 503);
    w.refuse(call, 1, 503);
    let heard = w.heard();
    assert_eq!(heard, ["commit", "place 1 b urn:service:test.sos", "read back 2 +14255550200 direct-routing -"]);
}

#[test]
fn p7_a_trunk_that_says_nothing_gets_no_second_invite_beside_the_first_but_one_that_says_100_may_get_the_contingency() {
    let with_contingency = || Site { contingency: Some(Private::new(number("+12065559000"))), ..site() };
    let mut w = World::new(with_contingency());
    w.dial("ada", "sip:911@gw");
    w.wait_ms(29_000);
    assert_eq!(w.wire(), ["place 0 a 911", "place 1 b 911"]);

    let mut w = World::new(with_contingency());
    let call = w.dial("ada", "sip:911@gw");
    w.refuse(call, 0, 503);
    w.leg(call, 1, LegEvent::Trying);
    w.wait_ms(6000);
    assert_eq!(w.wire(), ["place 0 a 911", "place 1 b 911", "place 2 a +12065559000"]);
}

#[test]
fn p6_no_call_ends_before_every_trunk_was_asked_even_where_the_machine_slept() {
    let mut w = World::new(site());
    let call = w.dial("ada", "sip:911@gw");
    w.now += Duration::from_secs(31);
    w.input(Input::Tick);
    assert_eq!(w.wire(), ["place 0 a 911", "place 1 b 911"]);
    w.refuse(call, 1, 503);
    w.wait_ms(1000);
    assert_eq!(w.wire(), ["place 2 b 911"]);
    w.refuse(call, 2, 503);
    w.wait(Duration::from_secs(30));
    assert_eq!(w.wire().last().map(String::as_str), Some("refuse 503"));
}

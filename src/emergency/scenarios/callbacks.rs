//! The call back.

use std::sync::Arc;
use std::time::Duration;

use super::super::facts::*;
use super::super::site::*;
use super::world::*;
use crate::words::{E164, Private};

const ANSWERED: LegEvent = LegEvent::Answered;

fn uris(list: &[&str]) -> Vec<Private<String>> {
    list.iter().map(|u| Private::new((*u).to_owned())).collect()
}

/// The site with another `ada`, after a call of hers.
fn after_a_call(change: impl FnOnce(&mut Agent)) -> (World, E164) {
    let mut site = site();
    change(Arc::make_mut(&mut site.agents[0]));
    let mut w = World::new(site);
    let number = w.short_call("ada");
    w.heard();
    (w, number)
}

#[test]
fn c1_a_callback_rings_the_agents_devices_now_and_then_presence_and_the_contacts() {
    let (mut w, number) = after_a_call(|_| {});
    let call = w.call_back(number, true);
    let notice = "notice callback called_back to lead@example.com";
    assert_eq!(w.heard(), ["ring 0 sip:ada@10.0.0.9", "presence ada dnd", notice]);
    w.rings(call, 0);
    w.leg(call, 0, ANSWERED);
    assert_eq!(w.heard(), ["180", "connect 0"]);
    w.input(Input::Ended { call, by: Party::Callee });
    assert_eq!(w.heard(), ["presence ada back"]);
}

#[test]
fn c7_the_first_200_wins_and_the_others_are_told() {
    let (mut w, number) = after_a_call(|a| a.devices = uris(&["sip:1@x", "sip:2@x", "sip:3@x"]));
    let call = w.call_back(number, false);
    w.rings(call, 0);
    w.rings(call, 1);
    w.leg(call, 1, ANSWERED);
    let expected = [
        "ring 0 sip:1@x",
        "ring 1 sip:2@x",
        "ring 2 sip:3@x",
        "180",
        "connect 1",
        "give up 0 AnsweredElsewhere",
        "give up 2 AnsweredElsewhere",
    ];
    assert_eq!(w.wire(), expected);
    w.leg(call, 2, ANSWERED);
    assert_eq!(w.wire(), ["give up 2 AnsweredElsewhere"]);
}

#[test]
fn c4_a_device_that_is_not_there_is_followed_by_the_pbx_the_alternates_and_the_desk() {
    let (mut w, number) = after_a_call(|a| a.alternates = uris(&["sip:alt@x"]));
    let call = w.call_back(number, false);
    w.wait_ms(1499);
    assert_eq!(w.wire(), ["ring 0 sip:ada@10.0.0.9"]);
    w.wait_ms(1);
    assert_eq!(w.wire(), ["ring 1 peer 0 ada"]);
    w.leg(call, 1, LegEvent::Unreachable);
    assert_eq!(w.wire(), ["ring 2 sip:alt@x"]);
    w.refuse(call, 2, 404);
    assert_eq!(w.wire(), ["ring 3 sip:desk@10.0.0.5"]);
    w.leg(call, 0, ANSWERED);
    assert_eq!(w.wire(), ["connect 0", "give up 3 AnsweredElsewhere"], "a slow device may still answer");
}

#[test]
fn c4_an_agent_at_a_pbx_without_devices_and_an_unknown_caller_are_rung_there() {
    let (mut w, number) = after_a_call(|a| a.devices.clear());
    w.call_back(number, false);
    assert_eq!(w.wire(), ["ring 0 peer 0 ada"]);
    let other = w.short_call("agent77");
    w.heard();
    w.call_back(other, false);
    assert_eq!(w.wire(), ["ring 0 peer 0 agent77"]);
}

#[test]
fn c9_after_20_s_the_desk_rings_beside_the_devices_until_someone_answers() {
    let (mut w, number) = after_a_call(|_| {});
    let call = w.call_back(number, false);
    w.rings(call, 0);
    w.wait_ms(19_999);
    assert_eq!(w.wire(), ["ring 0 sip:ada@10.0.0.9", "180"]);
    w.wait_ms(1);
    assert_eq!(w.wire(), ["ring 1 sip:desk@10.0.0.5"]);
    w.rings(call, 1);
    w.wait_ms(600_000);
    assert_eq!(w.wire(), Vec::<String>::new());
    w.leg(call, 1, ANSWERED);
    assert_eq!(w.wire(), ["connect 1", "give up 0 AnsweredElsewhere"]);
}

#[test]
fn c9_when_all_have_refused_180_stays_for_60_s_the_desk_is_tried_every_10_s_and_then_480() {
    let (mut w, number) = after_a_call(|a| a.devices.clear());
    let call = w.call_back(number, false);
    w.refuse(call, 0, 480);
    w.refuse(call, 1, 486);
    assert_eq!(w.wire(), ["ring 0 peer 0 ada", "ring 1 sip:desk@10.0.0.5", "180"]);
    for leg in 2..7 {
        w.wait_ms(10_000);
        assert_eq!(w.wire(), [format!("ring {leg} sip:desk@10.0.0.5")]);
        w.refuse(call, leg, 486);
    }
    w.wait_ms(9_999);
    assert_eq!(w.wire(), Vec::<String>::new());
    w.wait_ms(1);
    let heard = w.heard();
    assert_eq!(heard[..2], ["refuse 480 later", "alarm desk_unreachable raised"]);
    assert_eq!(heard[2], "notice callback not_connected to lead@example.com");
    assert_eq!(w.gateway.active_calls(), 0);
}

#[test]
fn c5_after_the_lease_the_number_still_leads_to_its_last_holder_and_when_reused_to_the_new_one_and_the_desk() {
    let mut site = site();
    site.shelves[0].numbers = numbers(100, 1);
    let mut w = World::new(site);
    let number = w.short_call("ada");
    w.wait(Duration::from_secs(3600));
    w.heard();
    let call = w.call_back(number, false);
    assert_eq!(w.wire(), ["ring 0 sip:ada@10.0.0.9"]);
    assert!(w.outputs.iter().any(|o| matches!(o, Output::Side(Side::Log { event: "callback, late", .. }))));
    w.input(Input::Abandoned { call });
    assert_eq!(w.short_call("bob"), number);
    w.heard();
    let call = w.call_back(number, false);
    assert_eq!(w.wire(), ["ring 0 sip:bob@10.0.0.9", "ring 1 sip:desk@10.0.0.5"]);
    w.rings(call, 1);
    assert_eq!(w.wire(), ["180"]);
    w.wait_ms(1500);
    assert_eq!(w.wire()[0], "ring 2 peer 0 bob", "the desk does not stand in the way of her other places");
}

#[test]
fn c5_a_number_that_nobody_holds_is_ordinary_and_the_desk_where_the_call_is_marked() {
    let mut site = site();
    site.trunks[0].trust_marks = true;
    let mut w = World::new(site);
    w.call_back(numbers(105, 1)[0], false);
    assert_eq!(w.heard(), ["ordinary"]);
    w.call_back(numbers(105, 1)[0], true);
    assert_eq!(w.heard(), ["ring 0 sip:desk@10.0.0.5"]);
    w.call_back(number("+12065550000"), true);
    assert_eq!(w.heard(), ["ordinary"]);
}

#[test]
fn c6_beyond_two_plain_callers_at_once_or_six_in_ten_minutes_the_desk_answers_and_marked_ones_pass() {
    let mut site = site();
    site.trunks[0].trust_marks = true;
    let mut w = World::new(site);
    let number = w.short_call("ada");
    let mut rung = |psap: bool, end: bool| {
        w.heard();
        let call = w.call_back(number, psap);
        let first = w.wire().remove(0);
        if end {
            w.input(Input::Abandoned { call });
        }
        first
    };
    let (agent, desk) = ("ring 0 sip:ada@10.0.0.9", "ring 0 sip:desk@10.0.0.5");
    assert_eq!(rung(false, false), agent);
    assert_eq!(rung(false, false), agent);
    assert_eq!(rung(false, true), desk);
    assert_eq!(rung(true, true), agent);

    let (mut w, number) = after_a_call(|_| {});
    for n in 0..7 {
        let call = w.call_back(number, false);
        assert_eq!(w.wire()[0], if n < 6 { agent } else { desk }, "{n}");
        w.input(Input::Abandoned { call });
        w.heard();
        w.wait_ms(30_000);
    }
}

#[test]
fn c8_an_agent_who_dials_a_leased_number_makes_an_ordinary_call() {
    let (mut w, number) = after_a_call(|_| {});
    w.dial("bob", &format!("sip:{number}@gw"));
    assert_eq!(w.heard(), ["ordinary"]);
}

#[test]
fn c8_where_one_address_is_peer_and_trunk_only_a_call_that_is_not_from_an_agent_or_us_is_a_callback() {
    let (mut w, number) = after_a_call(|_| {});
    let both = Origin::Both(PeerId(0), TrunkId(0));
    for (from, expected) in [
        ("sip:+12065559111@psap", "ring 0 sip:ada@10.0.0.9"),
        ("sip:bob@10.0.0.5", "ordinary"),
        ("sip:+14255550105@10.0.0.5", "ordinary"),
    ] {
        let caller = CallerEvidence { asserted: &[], from: from.as_bytes(), contact: from.as_bytes() };
        w.invite(both, &format!("sip:{number}@gw"), caller, Marks::default(), Body::Sdp);
        assert_eq!(w.wire()[0], expected, "{from}");
    }
}

#[test]
fn c3_while_her_emergency_call_is_up_the_desk_is_added_after_15_s_and_at_once_when_she_is_busy() {
    let mut w = World::new(site());
    let out = w.dial("ada", "sip:911@gw");
    let number = w.shown();
    w.leg(out, 0, ANSWERED);
    w.heard();
    let call = w.call_back(number, false);
    w.rings(call, 0);
    w.wait_ms(15_000);
    assert_eq!(w.wire(), ["ring 0 sip:ada@10.0.0.9", "180", "ring 1 sip:desk@10.0.0.5"]);
    let second = w.call_back(number, false);
    w.refuse(second, 0, 486);
    assert_eq!(w.wire()[1..], ["ring 1 peer 0 ada", "ring 2 sip:desk@10.0.0.5"]);
}

#[test]
fn c3_an_emergency_call_of_which_nothing_is_heard_is_dead_until_it_is_heard_again_and_p11_is_not_ended() {
    let mut w = World::new(site());
    let out = w.dial("ada", "sip:911@gw");
    let number = w.shown();
    w.input(Input::Silence { call: out, silent: true });
    let early = w.call_back(number, false);
    w.wire();
    w.refuse(early, 0, 486);
    assert_eq!(w.wire()[1..], ["ring 2 sip:desk@10.0.0.5"], "one that rings is alive");
    w.input(Input::Abandoned { call: early });
    w.leg(out, 0, ANSWERED);
    w.heard();
    let call = w.call_back(number, false);
    w.rings(call, 0);
    w.wait_ms(15_000);
    assert_eq!(w.wire(), ["ring 0 sip:ada@10.0.0.9", "180"], "the desk has the time of any callback");
    w.wait_ms(5_000);
    assert_eq!(w.wire(), ["ring 1 sip:desk@10.0.0.5"]);
    w.leg(call, 0, ANSWERED);
    assert!(w.wire().iter().all(|said| !said.contains("bye")), "nobody has ended the first");
    w.input(Input::Ended { call, by: Party::Caller });
    w.input(Input::Silence { call: out, silent: false });
    w.wire();
    let call = w.call_back(number, false);
    w.refuse(call, 0, 486);
    assert!(w.wire().contains(&"ring 2 sip:desk@10.0.0.5".to_owned()), "it is alive");
}

#[test]
fn l10_the_number_is_found_in_every_form_and_behind_the_request_uri() {
    let (mut w, number) = after_a_call(|_| {});
    let ten = &number.to_string()[2..];
    let caller = CallerEvidence { asserted: &[], from: b"sip:+12065559111@psap", contact: b"sip:x@y" };
    for uri in
        [format!("sip:{ten}@gw"), format!("sip:1{ten}@gw;user=phone"), format!("tel:+1{ten}"), format!("sips:+1{ten};x=y@gw")]
    {
        w.invite(TRUNK_A, &uri, caller, Marks { psap_callback: true, esnet: false }, Body::Sdp);
        assert_eq!(w.wire()[0].get(..4), Some("ring"), "{uri}");
    }
    let to = format!("sip:+1{ten}@gw");
    let others: [&[u8]; 2] = [b"sip:gw", to.as_bytes()];
    let called = Called { request_uri: b"sip:line7@gw", others: &others, country: None };
    let (marks, body) = (Marks::default(), Body::Sdp);
    let invite = Invite { call: CallId(99), origin: TRUNK_A, called, caller, marks, body, hops_used_up: false, location: None };
    w.input(Input::Invite(invite));
    assert_eq!(w.wire()[0].get(..4), Some("ring"));
}

#[test]
fn a_callback_and_an_emergency_concern_the_story_whether_or_not_the_number_is_leased() {
    let w = World::new(site());
    let asks =
        |origin, uri: &str| w.gateway.concerns(origin, &Called { request_uri: uri.as_bytes(), others: &[], country: None });
    let both = Origin::Both(PeerId(0), TrunkId(0));
    for (origin, uri, expected) in [
        (PBX, "sip:911@gw", true),
        (PBX, "urn:service:sos.fire", true),
        (PBX, "sip:9110@gw", false),
        (PBX, "sip:+14255550100@gw", false),
        (TRUNK_A, "sip:+14255550100@gw", true),
        (TRUNK_A, "sip:4255550205@gw", true),
        (TRUNK_A, "sip:+14255559999@gw", false),
        (TRUNK_A, "sip:911@gw", true),
        (both, "sip:+14255550100@gw", true),
        (both, "sip:911@gw", true),
        (Origin::Stranger, "sip:911@gw", false),
        (Origin::Stranger, "sip:+14255550100@gw", false),
    ] {
        assert_eq!(asks(origin, uri), expected, "{origin:?} {uri}");
    }
}

#[test]
fn nothing_that_is_decided_or_kept_prints_a_person_a_number_or_an_address() {
    let (mut w, number) = after_a_call(|a| a.number = Some(Private::new(numbers(700, 1)[0])));
    w.short_call("guest7");
    let call = w.call_back(number, true);
    w.dial("bob", "sip:911@gw");
    w.leg(call, 0, ANSWERED);
    let printed = format!("{:?} {:?} {:?}", w.outputs, w.gateway, w.gateway.leases().collect::<Vec<_>>());
    for private in ["ada", "ADA", "bob", "guest7", "example.com", "425555", "10.0.0", "psap@"] {
        let at = printed.find(private);
        assert_eq!(at.map(|at| &printed[at.saturating_sub(80)..at]), None, "{private} is printed");
    }
}

#[test]
fn c6_plain_callers_of_a_number_whose_lease_is_over_are_counted_as_well() {
    let (mut w, number) = after_a_call(|_| {});
    w.wait(Duration::from_secs(3601));
    for n in 0..7 {
        w.heard();
        let call = w.call_back(number, false);
        assert_eq!(w.wire()[0], if n < 6 { "ring 0 sip:ada@10.0.0.9" } else { "ring 0 sip:desk@10.0.0.5" }, "caller {n}");
        w.input(Input::Abandoned { call });
    }
}

#[test]
fn c9_who_says_nothing_but_100_keeps_nobody_waiting_and_is_not_given_up() {
    let (mut w, number) = after_a_call(|a| a.alternates = uris(&["sip:alt@x"]));
    let call = w.call_back(number, false);
    w.leg(call, 0, LegEvent::Unreachable);
    w.leg(call, 1, LegEvent::Trying);
    w.wire();
    w.wait_ms(5999);
    assert!(w.wire().is_empty());
    w.wait_ms(1);
    assert_eq!(w.wire(), ["ring 2 sip:alt@x"]);
    w.refuse(call, 2, 404);
    assert_eq!(w.wire(), ["ring 3 sip:desk@10.0.0.5"]);
    w.refuse(call, 3, 486);
    w.wait(Duration::from_secs(120));
    assert!(!w.wire().iter().any(|e| e.starts_with("refuse")));
    w.leg(call, 1, ANSWERED);
    assert_eq!(w.wire(), ["connect 1"]);
}

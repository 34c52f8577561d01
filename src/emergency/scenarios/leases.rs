//! Which number is shown, and for how long it leads back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::super::facts::*;
use super::super::site::*;
use super::world::*;
use crate::words::{E164, Private};

const MINUTE: Duration = Duration::from_secs(60);

/// One trunk with this many numbers.
fn small(count: u64) -> Site {
    let mut site = site();
    site.trunks.truncate(1);
    site.routes = vec![route("emergency", "^911$", &[0])];
    site.shelves = vec![Shelf { trunk: TrunkId(0), site: None, numbers: numbers(100, count) }];
    site
}

fn alarm(w: &mut World, name: &str) -> bool {
    w.heard().iter().any(|s| s == &format!("alarm {name} raised"))
}

#[test]
fn l3_the_same_agent_gets_the_same_number_and_cannot_drain_the_pool() {
    let mut w = World::new(site());
    let first = w.short_call("ada");
    for _ in 0..30 {
        w.wait_ms(5000);
        assert_eq!(w.short_call("ada"), first);
    }
    assert_eq!(w.gateway.leases().count(), 1);
}

#[test]
fn l4_two_agents_get_two_numbers() {
    let mut w = World::new(site());
    let shown: BTreeSet<E164> = (0..10).map(|n| w.short_call(&format!("guest{n}"))).collect();
    assert_eq!(shown.len(), 10);
    assert!(!alarm(&mut w, "pool_low"));
}

#[test]
fn l2_a_lease_ends_60_minutes_after_dialing_or_15_after_the_last_leg_and_never_while_one_is_up() {
    let state = |w: &World| w.gateway.leases().map(|l| l.state).next();
    let mut w = World::new(site());
    w.short_call("ada");
    w.wait(60 * MINUTE - Duration::from_millis(1));
    assert_eq!(state(&w), Some("open"));
    w.wait_ms(1);
    assert_eq!(state(&w), Some("late"));

    let mut w = World::new(site());
    let call = w.dial("ada", "sip:911@gw");
    w.leg(call, 0, LegEvent::Answered);
    w.wait(300 * MINUTE);
    assert_eq!(state(&w), Some("open"));
    w.input(Input::Ended { call, by: Party::Caller });
    w.wait(15 * MINUTE - Duration::from_millis(1));
    assert_eq!(state(&w), Some("open"));
    w.wait_ms(1);
    assert_eq!(state(&w), Some("late"));
    w.wait(24 * 60 * MINUTE);
    assert_eq!(state(&w), None);
}

#[test]
fn l3_dialing_again_extends_the_lease() {
    let mut w = World::new(site());
    let first = w.short_call("ada");
    w.wait(59 * MINUTE);
    assert_eq!(w.short_call("ada"), first);
    w.wait(59 * MINUTE);
    assert_eq!(w.short_call("ada"), first);
}

#[test]
fn l6_a_number_rests_while_others_are_free_and_the_longest_idle_one_is_leased_first() {
    let mut w = World::new(small(3));
    let first = w.short_call("g1");
    w.wait(61 * MINUTE);
    let (second, third) = (w.short_call("g2"), w.short_call("g3"));
    assert!(first != second && first != third && second != third);
    assert!(!alarm(&mut w, "pool_low"));
    assert_eq!(w.short_call("g4"), first, "it has rested longest");
    assert!(alarm(&mut w, "pool_low"));
}

#[test]
fn l5_the_agents_site_first_then_numbers_without_an_address_then_another_sites_with_an_alarm() {
    let mut site = small(1);
    let at = |name: &str, first| Shelf { trunk: TrunkId(0), site: Some(name.into()), numbers: numbers(first, 1) };
    site.shelves.extend([at("redmond", 200), at("tacoma", 300)]);
    site.agents = (0..3).map(|n| Arc::new(Agent { site: Some("redmond".into()), ..agent(&format!("r{n}")) })).collect();
    let mut w = World::new(site);
    assert_eq!(w.short_call("r0"), numbers(200, 1)[0]);
    assert_eq!(w.short_call("r1"), numbers(100, 1)[0]);
    assert!(!alarm(&mut w, "pool_empty"));
    assert_eq!(w.short_call("r2"), numbers(300, 1)[0]);
    assert!(alarm(&mut w, "pool_empty"));
    let remarked = |o: &Output| matches!(o, Output::Side(Side::Notice(n)) if n.remark.is_some());
    assert!(w.outputs.iter().any(remarked), "a line in the notice");
}

#[test]
fn l7_the_agents_own_number_then_the_fallback_number_and_all_lead_back() {
    let mut site = small(1);
    let own = number("+14255551234");
    site.trunks[0].routes_to_us = vec![NumberRange::Prefix(1425555)];
    site.trunks[0].fallback_number = Some(Private::new(number("+14255550199")));
    site.agents = vec![Arc::new(agent("g1")), Arc::new(Agent { number: Some(Private::new(own)), ..agent("g2") })];
    let mut w = World::new(site);
    w.short_call("g1");
    assert_eq!(w.short_call("g2"), own);
    assert_eq!(w.short_call("g3"), number("+14255550199"));
    assert!(alarm(&mut w, "pool_empty"));
    w.call_back(own, false);
    assert_eq!(w.wire()[0], "ring 0 sip:g2@10.0.0.9");
    w.call_back(number("+14255550199"), false);
    assert_eq!(w.wire()[0], "ring 0 peer 0 g3");
    w.wait(120 * MINUTE);
    w.heard();
    w.call_back(own, false);
    assert_eq!(w.heard(), ["ordinary"], "it was hers for the time of the lease only");
}

#[test]
fn l7_the_number_of_the_call_that_ended_longest_ago_is_shared_and_never_one_whose_call_is_up() {
    let mut w = World::new(small(2));
    let up = w.dial("g1", "sip:911@gw");
    let (busy, free) = (w.shown(), w.short_call("g2"));
    w.wait_ms(60_000);
    assert_eq!(w.short_call("g3"), free);
    assert_ne!(free, busy);
    assert!(alarm(&mut w, "pool_empty"));
    w.call_back(free, false);
    assert_eq!(w.wire(), ["ring 0 peer 0 g2", "ring 1 peer 0 g3"]);
    w.wait_ms(5000);
    assert!(w.wire().contains(&"ring 2 sip:desk@10.0.0.5".to_owned()));
    w.input(Input::Abandoned { call: up });
    assert_eq!(w.gateway.leases().filter(|l| l.state == "shared").count(), 2);
}

#[test]
fn l7_the_default_number_is_the_last_rung_and_a_site_without_any_refuses() {
    let mut site = small(0);
    site.trunks[0].default_number = Some(Private::new(number("+14255550000")));
    let mut w = World::new(site);
    assert_eq!(w.short_call("g1"), number("+14255550000"));
    let mut w = World::new(small(0));
    w.dial("g1", "sip:911@gw");
    w.wait_ms(2000);
    assert_eq!(w.wire(), ["refuse 503"]);
}

#[test]
fn l7_a_shared_number_leads_to_both_until_the_later_lease_is_over() {
    let mut w = World::new(small(1));
    let only = w.short_call("g1");
    w.wait(50 * MINUTE);
    assert_eq!(w.short_call("g2"), only);
    w.wait(30 * MINUTE);
    assert_eq!(w.gateway.leases().filter(|l| l.state == "shared").count(), 2, "the first holder's lease lasts as long");
    w.heard();
    w.call_back(only, false);
    assert!(w.wire().contains(&"ring 1 peer 0 g2".to_owned()));
}

#[test]
fn l9_open_leases_keep_their_numbers_to_the_end_when_the_config_changes() {
    let mut w = World::new(site());
    let (kept, gone) = (w.short_call("ada"), w.short_call("bob"));
    let mut new = site();
    new.agents.clear();
    new.shelves[0].numbers.retain(|n| *n != gone);
    new.keep_places(w.gateway.site());
    w.reload(new).expect("every number once");
    for (number, device) in [(kept, "ring 0 sip:ada@10.0.0.9"), (gone, "ring 0 sip:bob@10.0.0.9")] {
        let called = format!("sip:{number}@gw");
        let called = Called { request_uri: called.as_bytes(), others: &[], country: None };
        assert!(w.gateway.concerns(TRUNK_A, &called));
        w.heard();
        w.call_back(number, false);
        assert_eq!(w.wire()[0], device);
    }
    assert!(!(0..8).any(|n| w.short_call(&format!("g{n}")) == kept));
}

#[test]
fn l9_a_neighbour_that_moves_in_the_config_keeps_its_place() {
    let old = site();
    let mut new = site();
    new.trunks = vec![trunk("c", Path::DirectRouting), trunk("b", Path::DirectRouting)];
    new.routes = vec![route("emergency", "^911$", &[0, 1])];
    new.keep_places(&old);
    let names: Vec<_> = new.trunks.iter().map(|t| (t.name.as_str(), t.gone)).collect();
    assert_eq!(names, [("a", true), ("b", false), ("c", false)]);
    assert_eq!(new.routes[0].trunks, [TrunkId(2), TrunkId(1)]);
}

#[test]
fn r5_tests_have_one_number_in_twenty_for_five_minutes_and_none_in_a_small_pool() {
    let mut w = World::new(small(20));
    let test = |w: &mut World, user: &str| {
        let call = w.dial(user, "sip:933@gw");
        w.input(Input::Abandoned { call });
        w.wire().iter().any(|s| s.starts_with("place"))
    };
    assert!(test(&mut w, "g1"));
    let first = w.shown();
    assert!(test(&mut w, "g2"), "a number that is not leased for it is shown");
    assert_eq!(w.gateway.shelved()[0].leased, 1);
    w.wait(5 * MINUTE);
    assert_eq!((w.gateway.leases().count(), w.gateway.shelved()[0].leased), (0, 0));
    assert_ne!(w.short_call("g3"), first);

    let mut w = World::new(small(19));
    test(&mut w, "g1");
    assert_eq!(w.gateway.shelved()[0].leased, 0);
    let real = w.short_call("g1");
    assert_ne!(w.short_call("g2"), real, "the real call has a number of its own");
}

#[test]
fn l7_a_number_that_somebody_else_shares_in_a_call_is_not_shared_again() {
    let mut w = World::new(small(2));
    let first = w.short_call("g1");
    w.wait_ms(1000);
    let second = w.short_call("g2");
    w.dial("g3", "sip:911@gw");
    assert_eq!(w.shown(), first, "its call ended longest ago");
    w.dial("g4", "sip:911@gw");
    assert_eq!(w.shown(), second, "the other one's call is up");
}

#[test]
fn l7_the_oldest_quarantined_number_of_the_trunk_is_the_oldest_of_site_and_no_address_together() {
    let mut site = small(1);
    site.shelves.push(Shelf { trunk: TrunkId(0), site: Some("redmond".into()), numbers: numbers(200, 1) });
    site.agents = (0..2).map(|n| Arc::new(Agent { site: Some("redmond".into()), ..agent(&format!("r{n}")) })).collect();
    let mut w = World::new(site);
    let older = w.short_call("guest");
    w.wait(30 * MINUTE);
    assert_ne!(w.short_call("r0"), older);
    w.wait(61 * MINUTE);
    assert_eq!(w.short_call("r1"), older);
}

#[test]
fn l7_a_number_whose_late_callback_is_up_is_given_to_nobody_until_it_is_over() {
    let mut w = World::new(small(2));
    let talking = w.short_call("g1");
    w.wait_ms(1000);
    let other = w.short_call("g2");
    w.wait(61 * MINUTE);
    let callback = w.call_back(talking, false);
    w.rings(callback, 0);
    w.leg(callback, 0, LegEvent::Answered);
    assert_eq!(w.short_call("g3"), other, "the other one has rested for less time, and nobody talks on it");
    w.heard();
    w.call_back(talking, false);
    assert_eq!(w.wire()[0], "ring 0 peer 0 g1", "it still leads to whom it led to");
    assert_eq!(w.short_call("g4"), other, "shared rather than taken from the one who talks");
    w.input(Input::Ended { call: callback, by: Party::Caller });
    assert_eq!(w.short_call("g5"), other, "the second callback still rings");
}

#[test]
fn l7_a_number_rests_anew_after_a_late_call_that_kept_it() {
    let mut w = World::new(small(1));
    let only = w.short_call("g1");
    w.wait(61 * MINUTE);
    let callback = w.call_back(only, false);
    w.rings(callback, 0);
    w.dial("g2", "sip:911@gw");
    w.input(Input::Abandoned { call: callback });
    assert_eq!(w.short_call("g3"), only, "nobody talks on it any more");
    w.heard();
    w.call_back(only, false);
    assert_eq!(w.wire()[0], "ring 0 peer 0 g3");
}

#[test]
fn l7_a_late_call_keeps_its_number_through_a_change_of_the_config() {
    let mut w = World::new(small(2));
    let talking = w.short_call("g1");
    w.wait_ms(1000);
    w.short_call("g0");
    w.wait(61 * MINUTE);
    let callback = w.call_back(talking, false);
    w.rings(callback, 0);
    w.leg(callback, 0, LegEvent::Answered);
    let other = w.short_call("g2");
    assert_ne!(other, talking);
    let mut site = small(3);
    site.callback.quarantine = w.gateway.site().callback.quarantine;
    w.reload(site).expect("every number once");
    w.wait(70 * MINUTE);
    w.input(Input::Ended { call: callback, by: Party::Caller });
    let third = w.short_call("g3");
    assert!(third != talking && third != other);
    assert_eq!(w.short_call("g4"), other, "it has rested for ten minutes, the late call's number for none");
}

#[test]
fn r5_a_test_never_takes_the_last_free_number() {
    let mut w = World::new(small(20));
    for n in 0..19 {
        w.short_call(&format!("g{n}"));
    }
    w.dial("g19", "sip:933@gw");
    assert_eq!(w.gateway.shelved()[0].leased, 19);
}

#[test]
fn l9_a_number_that_leaves_the_config_and_comes_back_leads_to_its_holder_once_and_to_nobody_else_later() {
    let mut w = World::new(small(3));
    let number = w.short_call("ada");
    let reload = |w: &mut World, numbers: Vec<E164>| {
        let mut site = small(3);
        site.shelves[0].numbers = numbers;
        w.reload(site).expect("every number once");
    };
    reload(&mut w, numbers(200, 3));
    reload(&mut w, numbers(100, 3));
    w.heard();
    let call = w.call_back(number, false);
    w.rings(call, 0);
    w.wait_ms(6000);
    assert_eq!(w.wire(), ["ring 0 sip:ada@10.0.0.9", "180"], "the number is not shared");
    w.input(Input::Abandoned { call });
    // The lease ends, its quarantine as well, and somebody else takes its place in the table.
    w.wait(MINUTE * 60 * 30);
    assert_ne!(w.short_call("bob"), number);
    w.heard();
    w.call_back(number, false);
    assert_eq!(w.wire(), ["ordinary"]);
}

#[test]
fn l2_a_lease_does_not_expire_while_its_callback_rings() {
    let mut w = World::new(small(3));
    let number = w.short_call("ada");
    w.wait(MINUTE * 60 - Duration::from_secs(1));
    let call = w.call_back(number, false);
    w.rings(call, 0);
    w.wait(MINUTE * 30);
    assert!(w.gateway.leases().any(|l| *l.number.reveal() == number && l.state == "open"));
    w.input(Input::Abandoned { call });
    w.wait(MINUTE * 16);
    assert!(w.gateway.leases().any(|l| *l.number.reveal() == number && l.state == "late"));
}

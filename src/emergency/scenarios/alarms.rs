//! The story's alarms: each is raised when it must be and clears by itself.

use std::time::Duration;

use super::super::facts::*;
use super::super::site::*;
use super::world::*;

const MINUTE: Duration = Duration::from_secs(60);

/// One trunk with this many numbers.
fn small(count: u64) -> Site {
    let mut site = site();
    site.trunks.truncate(1);
    site.routes = vec![route("emergency", "^911$", &[0])];
    site.shelves = vec![Shelf { trunk: TrunkId(0), site: None, numbers: numbers(100, count) }];
    site
}

/// What was said of this alarm since the last time.
fn said(w: &mut World, name: &str) -> Vec<String> {
    let of = format!("alarm {name} ");
    w.heard().iter().filter_map(|line| line.strip_prefix(&of).map(str::to_owned)).collect()
}

#[test]
fn pool_low_is_raised_when_a_number_leaves_quarantine_early_and_cleared_once_one_has_rested() {
    let mut w = World::new(small(1));
    w.short_call("g1");
    w.wait(61 * MINUTE);
    assert_eq!(said(&mut w, "pool_low"), [""; 0]);
    w.short_call("g2");
    assert_eq!(said(&mut w, "pool_low"), ["raised"]);
    w.wait(24 * 60 * MINUTE);
    assert_eq!(said(&mut w, "pool_low"), [""; 0], "the number rests, or is leased");
    w.wait(2 * 60 * MINUTE);
    assert_eq!(said(&mut w, "pool_low"), ["cleared"]);
}

#[test]
fn pool_empty_is_raised_when_a_number_is_shared_and_cleared_once_one_is_free_again() {
    let mut w = World::new(small(1));
    w.short_call("g1");
    w.short_call("g2");
    assert_eq!(said(&mut w, "pool_empty"), ["raised"]);
    w.wait(26 * 60 * MINUTE);
    assert_eq!(said(&mut w, "pool_empty"), ["cleared"]);
}

#[test]
fn call_not_connected_is_cleared_by_the_next_call_that_is_connected_or_after_an_hour() {
    let mut site = small(5);
    site.placing.budget = Duration::from_secs(1);
    let fail = |w: &mut World| {
        let call = w.dial("ada", "sip:911@gw");
        w.refuse(call, 0, 503);
        w.wait(MINUTE);
        assert_eq!(said(w, "call_not_connected"), ["raised"]);
    };
    let mut w = World::new(site);
    fail(&mut w);
    w.wait(58 * MINUTE);
    assert_eq!(said(&mut w, "call_not_connected"), [""; 0]);
    w.wait(2 * MINUTE);
    assert_eq!(said(&mut w, "call_not_connected"), ["cleared"]);
    fail(&mut w);
    let call = w.dial("ada", "sip:911@gw");
    w.leg(call, 0, LegEvent::Answered);
    assert_eq!(said(&mut w, "call_not_connected"), ["cleared"]);
}

#[test]
fn desk_unreachable_is_raised_and_cleared_as_the_desks_answer() {
    let mut w = World::new(site());
    w.input(Input::Desks { up: true });
    assert_eq!(said(&mut w, "desk_unreachable"), [""; 0]);
    w.input(Input::Desks { up: false });
    w.input(Input::Desks { up: false });
    assert_eq!(said(&mut w, "desk_unreachable"), ["raised"]);
    w.input(Input::Desks { up: true });
    assert_eq!(said(&mut w, "desk_unreachable"), ["cleared"]);
}

#[test]
fn trunk_down_and_no_trunk_are_raised_and_cleared_as_the_trunks_answer() {
    let mut w = World::new(small(5));
    w.input(Input::Health { trunk: TrunkId(0), up: false });
    assert_eq!(w.heard(), ["alarm trunk_down raised", "alarm no_trunk raised"]);
    w.input(Input::Health { trunk: TrunkId(0), up: true });
    assert_eq!(w.heard(), ["alarm trunk_down cleared", "alarm no_trunk cleared"]);
}

#[test]
fn p12_loop_is_raised_by_calls_in_a_circle_and_cleared_a_minute_after_the_last() {
    let mut w = World::new(site());
    for _ in 0..6 {
        w.short_call("ada");
    }
    assert_eq!(said(&mut w, "loop"), ["raised"]);
    w.wait(2 * MINUTE);
    assert_eq!(said(&mut w, "loop"), ["cleared"]);
}

//! Test calls: what they may take, and what becomes of one that no trunk takes (RULES R5).

use std::sync::Arc;
use std::time::Duration;

use super::super::facts::*;
use super::super::notice::Kind;
use super::super::reading::READ_BACK;
use super::super::site::*;
use super::world::*;
use crate::words::Private;

/// A site whose pools have room for a test each, with a contingency number and ada's language.
fn roomy(language: &str) -> Site {
    let ada = Agent { language: Some(language.to_owned()), ..agent("ada") };
    let mut site = Site { contingency: Some(Private::new(number("+12065559000"))), agents: vec![Arc::new(ada)], ..site() };
    for shelf in &mut site.shelves {
        shelf.numbers = numbers(u64::from(shelf.trunk.0) * 100 + 100, 20);
    }
    site
}

/// A test of ada's that both trunks have refused: it is about to be read back in leg 2.
fn refused(w: &mut World) -> CallId {
    let call = w.dial("ada", "sip:933@gw");
    w.refuse(call, 0, 503);
    w.refuse(call, 1, 486);
    assert_eq!(w.wire().last().map(String::as_str), Some("read back 2 +14255550200 direct-routing es"));
    call
}

/// The remark of the last notice.
fn remark(w: &World) -> Option<&'static str> {
    let notice = |o: &Output| if let Output::Side(Side::Notice(n)) = o { Some((n.kind, n.remark)) } else { None };
    let (kind, remark) = w.outputs.iter().rev().find_map(notice).expect("a notice");
    assert_eq!(kind, Kind::Test);
    remark
}

#[test]
fn r5_a_test_that_no_trunk_takes_is_read_back_and_its_contacts_hear_that_it_did_not_connect() {
    for (by, _) in [(Party::Caller, "she hangs up"), (Party::Callee, "all was read")] {
        let mut w = World::new(roomy("es"));
        let call = refused(&mut w);
        w.leg(call, 2, LegEvent::Answered);
        assert_eq!((w.heard(), w.gateway.active_calls()), (Vec::new(), 1));
        assert!(w.gateway.calls().all(|c| c.state == "talking"), "a stop does not wait for it");
        w.wait(Duration::from_secs(30));
        assert_eq!(w.heard(), Vec::<String>::new(), "neither a second round nor the contingency number");
        w.input(Input::Ended { call, by });
        assert_eq!(w.heard(), ["notice test not_connected to it@example.com"]);
        assert_eq!((remark(&w), w.gateway.active_calls()), (Some(READ_BACK), 0));
    }
}

#[test]
fn r5_a_test_that_cannot_be_read_back_either_is_refused_and_its_contacts_are_not_told_that_it_was() {
    for status in [488, 503] {
        let mut w = World::new(roomy("es"));
        let call = refused(&mut w);
        w.leg(call, 2, LegEvent::Refused { status });
        let refusal = format!("refuse {status}");
        assert_eq!(w.heard(), [refusal.as_str(), "notice test not_connected to it@example.com"]);
        assert_eq!((remark(&w), w.gateway.active_calls()), (None, 0));
    }
}

#[test]
fn r5_a_trunk_that_answers_a_test_too_late_is_hung_up_on() {
    let mut w = World::new(roomy("es"));
    let call = w.dial("ada", "sip:933@gw");
    w.wait(Duration::from_secs(31));
    w.leg(call, 2, LegEvent::Answered);
    w.wire();
    w.leg(call, 0, LegEvent::Answered);
    assert_eq!(w.wire(), ["give up 0 AnotherTrunk"]);
}

#[test]
fn r5_only_a_test_is_read_back() {
    let mut w = World::new(Site { contingency: None, ..roomy("es") });
    let call = w.dial("ada", "sip:911@gw");
    for leg in 0..4 {
        w.refuse(call, leg, 503);
        w.wait_ms(1000);
    }
    assert!(w.wire().iter().all(|s| !s.starts_with("read back")));
    assert_eq!(w.gateway.active_calls(), 0);
}

#[test]
fn r5_an_emergency_may_always_borrow_the_tests_share() {
    let mut w = World::new(roomy("en"));
    let mut shown: Vec<_> = (0..20).map(|n| w.short_call(&format!("g{n}"))).collect();
    shown.sort();
    shown.dedup();
    assert_eq!((shown.len(), w.gateway.shelved()[0].leased), (20, 20), "each has a number of its own");
}

#[test]
fn r5_of_forty_numbers_two_are_the_tests_and_no_more() {
    let mut site = roomy("en");
    site.shelves[0].numbers = numbers(100, 40);
    let mut w = World::new(site);
    let leased = [1, 2, 2].map(|_| {
        let user = format!("t{}", w.gateway.leases().count());
        let call = w.dial(&user, "sip:933@gw");
        w.input(Input::Abandoned { call });
        w.gateway.shelved()[0].leased
    });
    assert_eq!(leased, [1, 2, 2]);
}

//! The call back finds a busy phone (RULES C2).

use std::sync::Arc;
use std::time::Duration;

use super::super::facts::*;
use super::super::site::*;
use super::world::*;
use crate::words::Private;

const NOTHING: [&str; 0] = [];

/// A callback that rings ada's phones, who has been heard of; `change` is her place in the config.
fn called_back(change: impl FnOnce(&mut Agent)) -> (World, CallId) {
    let mut site = site();
    change(Arc::make_mut(&mut site.agents[0]));
    let mut w = World::new(site);
    let number = w.short_call("ada");
    w.heard();
    let call = w.call_back(number, true);
    (w, call)
}

fn freed(w: &mut World, call: CallId, freed: bool) {
    w.input(Input::LineFreed { call, freed });
}

#[test]
fn c2_a_busy_phone_is_offered_the_callback_again_once_after_her_ordinary_call_was_released_then_the_desk() {
    for status in [486, 600, 603] {
        let (mut w, call) = called_back(|_| {});
        w.rings(call, 0);
        w.wire();
        w.refuse(call, 0, status);
        assert_eq!(w.wire(), ["free ada"]);
        freed(&mut w, call, true);
        w.wait_ms(249);
        assert_eq!(w.wire(), NOTHING);
        w.wait_ms(1);
        assert_eq!(w.wire(), ["ring 1 sip:ada@10.0.0.9"]);
        w.refuse(call, 1, status);
        assert_eq!(w.wire(), ["ring 2 peer 0 ada", "ring 3 sip:desk@10.0.0.5"]);
    }
}

#[test]
fn c2_who_has_no_ordinary_call_is_not_rung_again_and_the_desk_is_next() {
    let (mut w, call) = called_back(|_| {});
    w.wire();
    w.refuse(call, 0, 486);
    assert_eq!(w.wire(), ["free ada"]);
    freed(&mut w, call, false);
    assert_eq!(w.wire(), ["ring 1 peer 0 ada", "ring 2 sip:desk@10.0.0.5"]);
    w.wait_ms(1000);
    assert_eq!(w.wire(), NOTHING, "her phone is not among them");
}

#[test]
fn c2_other_refusals_release_nothing() {
    for status in [404, 408, 480, 487, 500, 503, 606] {
        let (mut w, call) = called_back(|_| {});
        w.wire();
        w.refuse(call, 0, status);
        assert!(!w.wire().iter().any(|e| e.starts_with("free")), "{status}");
    }
}

#[test]
fn c2_two_busy_phones_release_once_and_both_are_rung_again() {
    let phones = |a: &mut Agent| a.devices = ["sip:1@x", "sip:2@x"].map(|u| Private::new(u.to_owned())).to_vec();
    let (mut w, call) = called_back(phones);
    w.wire();
    w.refuse(call, 0, 486);
    freed(&mut w, call, true);
    w.wait_ms(20);
    w.refuse(call, 1, 486);
    assert_eq!(w.wire(), ["free ada"]);
    w.wait_ms(250);
    assert_eq!(w.wire(), ["ring 2 sip:1@x", "ring 3 sip:2@x"]);
}

#[test]
fn c2_a_phone_that_still_rings_keeps_the_desk_away_and_may_answer() {
    let phones = |a: &mut Agent| a.devices = ["sip:1@x", "sip:2@x"].map(|u| Private::new(u.to_owned())).to_vec();
    let (mut w, call) = called_back(phones);
    w.rings(call, 1);
    w.wire();
    w.refuse(call, 0, 486);
    freed(&mut w, call, false);
    assert_eq!(w.wire(), ["free ada"]);
    w.leg(call, 1, LegEvent::Answered);
    assert_eq!(w.wire(), ["connect 1"]);
}

#[test]
fn c2_the_desk_waits_for_the_second_offer_no_longer_than_for_any() {
    let (mut w, call) = called_back(|_| {});
    w.rings(call, 0);
    w.wait(Duration::from_millis(19_900));
    w.wire();
    w.refuse(call, 0, 486);
    freed(&mut w, call, true);
    w.wait_ms(100);
    assert_eq!(w.wire(), ["free ada", "ring 1 sip:desk@10.0.0.5"]);
    w.wait_ms(150);
    assert_eq!(w.wire(), ["ring 2 sip:ada@10.0.0.9"]);
}

#[test]
fn c2_alternates_the_desk_and_callers_who_are_no_agents_release_nothing() {
    let (mut w, call) = called_back(|a| a.alternates = vec![Private::new("sip:home@x".to_owned())]);
    w.leg(call, 0, LegEvent::Unreachable);
    w.refuse(call, 1, 404);
    w.refuse(call, 2, 486);
    w.refuse(call, 3, 486);
    assert!(w.seen.iter().any(|e| e == "ring 3 sip:desk@10.0.0.5"));
    let mut other = World::new(site());
    let number = other.short_call("guest7");
    let call = other.call_back(number, true);
    other.refuse(call, 0, 486);
    assert!(!w.wire().iter().chain(&other.wire()).any(|e| e.starts_with("free")));
}

#[test]
fn c3_on_an_emergency_call_nothing_is_released_and_the_desk_rings_at_once() {
    let mut w = World::new(site());
    let out = w.dial("ada", "sip:911@gw");
    let number = w.shown();
    w.leg(out, 0, LegEvent::Answered);
    let call = w.call_back(number, true);
    w.wire();
    w.refuse(call, 0, 486);
    assert_eq!(w.wire(), ["ring 1 peer 0 ada", "ring 2 sip:desk@10.0.0.5"]);
}

#[test]
fn c2_of_a_shared_number_only_the_agent_whose_phone_is_busy_loses_her_call() {
    let mut site = site();
    site.shelves[0].numbers = numbers(100, 1);
    site.routes = vec![route("local-emergency", r"^\+?911$", &[0])];
    let mut w = World::new(site);
    let number = w.short_call("ada");
    assert_eq!(w.short_call("bob"), number);
    w.wire();
    let call = w.call_back(number, true);
    let rung = w.wire();
    let bobs = rung.iter().position(|e| e.ends_with("sip:bob@10.0.0.9")).expect("bob is rung");
    w.refuse(call, u16::try_from(bobs).expect("few legs"), 486);
    assert_eq!(w.wire(), ["free bob"]);
}

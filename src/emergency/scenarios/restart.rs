//! What a process that was killed leaves behind, and how the next one goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::super::facts::*;
use super::super::presence::PresenceState;
use super::super::site::*;
use super::world::*;
use crate::words::{E164, Private, Row, Saved, Table, Time};

const MINUTE: Duration = Duration::from_secs(60);

/// One trunk with this many numbers.
fn small(count: u64) -> Site {
    let mut site = site();
    site.trunks.truncate(1);
    site.routes = vec![route("emergency", "^911$", &[0])];
    site.shelves = vec![Shelf { trunk: TrunkId(0), site: None, numbers: numbers(100, count) }];
    site
}

fn state(w: &World, number: E164) -> Option<&'static str> {
    w.gateway.leases().find(|l| *l.number.reveal() == number).map(|l| l.state)
}

fn first_ring(w: &mut World, number: E164) -> String {
    w.heard();
    let call = w.call_back(number, true);
    let first = w.wire().into_iter().next().unwrap_or_default();
    w.input(Input::Abandoned { call });
    first
}

#[test]
fn l1_a_lease_leads_to_its_holder_after_a_kill_before_anybody_answered() {
    let mut w = World::new(site());
    w.dial("ada", "sip:911@gw");
    let (ada, guest) = (w.shown(), {
        w.dial("guest7", "sip:911@gw");
        w.shown()
    });
    w.kill();
    let called = format!("sip:{ada}@gw");
    let called = Called { request_uri: called.as_bytes(), others: &[], country: None };
    assert!(w.gateway.concerns(TRUNK_A, &called));
    assert_eq!(first_ring(&mut w, ada), "ring 0 sip:ada@10.0.0.9");
    assert_eq!(first_ring(&mut w, guest), "ring 0 peer 0 guest7");
    assert_eq!(w.short_call("ada"), ada, "L3 holds after a restart as well");
}

#[test]
fn l1_a_number_that_was_shown_while_the_store_was_dead_is_not_given_out_again() {
    let mut trusting = site();
    trusting.trunks[0].trust_marks = true;
    let mut w = World::new(trusting);
    w.short_call("ada");
    w.store_works = false;
    w.dial("bob", "sip:911@gw");
    w.wait_ms(60);
    let shown = w.shown();
    w.store_works = true;
    w.kill();
    assert_eq!(state(&w, shown), None, "the store knows nothing of it");
    w.heard();
    let call = w.call_back(shown, true);
    assert_eq!(w.wire()[0], "ring 0 sip:desk@10.0.0.5", "it is nobody's, and the desk answers");
    w.input(Input::Abandoned { call });
    let free = w.gateway.shelved()[0].free;
    let others: BTreeSet<E164> = (0..free - 2).map(|n| w.short_call(&format!("g{n}"))).collect();
    assert!(!others.contains(&shown));
    assert!(!w.heard().iter().any(|s| s.contains("pool_low")), "none of them was in doubt");
}

#[test]
fn l1_a_number_in_doubt_rests_across_further_restarts_and_an_orderly_stop_leaves_none() {
    let doubted = |w: &World| w.kept.iter().rev().find(|r| r.table == Table::Reserved && **r.key.reveal() == *"doubt").is_some();
    let mut w = World::new(small(40));
    w.short_call("g0");
    let saved = stopped(w.saved(usize::MAX), true, true);
    w.restart(&saved);
    assert!(!doubted(&w));
    w.kill();
    assert!(doubted(&w));
    let mut fresh: BTreeSet<E164> = (0..10).map(|n| w.short_call(&format!("g{n}"))).collect();
    let saved = stopped(w.saved(usize::MAX), true, true);
    w.restart(&saved);
    fresh.extend((10..30).map(|n| w.short_call(&format!("g{n}"))));
    assert_eq!(fresh.len(), 30);
    assert!(!w.heard().iter().any(|s| s.contains("pool_low")));
    fresh.insert(w.short_call("g30"));
    assert_eq!(fresh.len(), 31, "a number in doubt is given out of need");
    assert!(w.heard().iter().any(|s| s == "alarm pool_low raised"));
}

#[test]
fn l1_a_lease_that_the_store_cannot_read_is_skipped_and_its_number_rests() {
    let mut w = World::new(site());
    let (ada, bob) = (w.short_call("ada"), w.short_call("bob"));
    let whole = w.saved(usize::MAX);
    let mut saved = stopped(Saved::default(), true, true);
    for table in [Table::Lease, Table::Reserved, Table::Presence] {
        for (key, value) in whole.rows(table) {
            let damaged = table == Table::Lease && key.starts_with(&ada.to_string());
            saved.add(table, key, if damaged { &value[..value.len() / 2] } else { value });
        }
    }
    saved.add(Table::Lease, "nonsense", vec![0xff; 9]);
    w.restart(&saved);
    assert!(w.heard().contains(&"alarm store_failed raised".to_owned()));
    assert_eq!((state(&w, ada), state(&w, bob)), (None, Some("open")));
    assert!((0..8).all(|n| w.short_call(&format!("g{n}")) != ada));
    w.wait(Duration::from_secs(3601));
    assert!(w.heard().contains(&"alarm store_failed cleared".to_owned()));
}

#[test]
fn l2_in_the_same_boot_a_lease_ends_when_it_would_have_and_in_another_one_it_begins_anew() {
    let end_of = |same_boot, clean| {
        let mut w = World::new(site());
        let number = w.short_call("ada");
        w.wait(40 * MINUTE);
        let saved = stopped(w.saved(usize::MAX), same_boot, clean);
        if !same_boot {
            w.now = Time::ZERO + Duration::from_secs(5);
        }
        let begin = w.now;
        w.restart(&saved);
        while state(&w, number) == Some("open") {
            w.wait(MINUTE);
        }
        (w.now.since(begin).as_secs() / 60, first_ring(&mut w, number))
    };
    let ada = || "ring 0 sip:ada@10.0.0.9".to_owned();
    assert_eq!(end_of(true, true), (20, ada()));
    assert_eq!(end_of(true, false), (20, ada()));
    assert_eq!(end_of(false, true), (60, ada()), "late reuse is safe, early is not");
}

#[test]
fn l2_whose_call_was_perhaps_up_when_the_process_was_killed_has_a_quarter_of_an_hour_at_least() {
    let mut w = World::new(site());
    let call = w.dial("ada", "sip:911@gw");
    let number = w.shown();
    w.leg(call, 0, LegEvent::Answered);
    w.wait(600 * MINUTE);
    w.kill();
    w.wait(14 * MINUTE);
    assert_eq!(state(&w, number), Some("open"));
    w.wait(2 * MINUTE);
    assert_eq!(state(&w, number), Some("late"));
}

#[test]
fn l3_dialing_again_extends_what_is_on_record() {
    let mut w = World::new(site());
    let number = w.short_call("ada");
    w.wait(50 * MINUTE);
    w.short_call("ada");
    w.kill();
    w.wait(55 * MINUTE);
    assert_eq!(state(&w, number), Some("open"));
}

#[test]
fn l6_after_a_restart_a_number_rests_while_others_are_free_and_the_longest_idle_one_is_leased_first() {
    let mut w = World::new(small(3));
    let first = w.short_call("g1");
    w.wait(61 * MINUTE);
    let second = w.short_call("g2");
    w.wait(61 * MINUTE);
    let saved = stopped(w.saved(usize::MAX), true, true);
    w.restart(&saved);
    assert_eq!((state(&w, first), state(&w, second)), (Some("late"), Some("late")));
    let third = w.short_call("g3");
    assert!(third != first && third != second);
    assert_eq!(w.short_call("g4"), first, "it has rested longest");
    assert_eq!(first_ring(&mut w, second), "ring 0 peer 0 g2", "C5: late, still to its last holder");
    w.kill();
    w.heard();
    w.call_back(first, true);
    assert_eq!(w.wire(), ["ring 0 peer 0 g4", "ring 1 sip:desk@10.0.0.5"], "C5: the new holder and the desk at once");
}

#[test]
fn l7_a_shared_number_leads_to_both_after_a_restart() {
    let mut w = World::new(small(1));
    let only = w.short_call("g1");
    w.wait_ms(1000);
    assert_eq!(w.short_call("g2"), only);
    w.kill();
    assert_eq!(w.gateway.leases().filter(|l| l.state == "shared").count(), 2);
    w.heard();
    w.call_back(only, false);
    assert_eq!(w.wire(), ["ring 0 peer 0 g1", "ring 1 peer 0 g2"]);
}

#[test]
fn l9_a_number_that_is_in_the_config_no_more_leads_to_its_holder_after_a_restart() {
    let mut w = World::new(site());
    let number = w.short_call("ada");
    let mut new = site();
    new.agents.clear();
    new.trunks.remove(0);
    new.shelves = vec![Shelf { trunk: TrunkId(0), site: None, numbers: numbers(200, 10) }];
    new.routes = vec![route("emergency", "^911$", &[0])];
    let saved = w.saved(usize::MAX);
    let mut w = World::at(new, w.now);
    for _ in 0..2 {
        w.restart(&saved);
        let called = format!("sip:{number}@gw");
        let called = Called { request_uri: called.as_bytes(), others: &[], country: None };
        assert!(w.gateway.concerns(TRUNK_A, &called));
        assert_eq!(first_ring(&mut w, number), "ring 0 sip:ada@10.0.0.9");
    }
}

#[test]
fn a8_an_agent_who_is_deleted_before_the_restart_is_called_back_as_she_was() {
    let mut w = World::new(site());
    let number = w.short_call("ada");
    let saved = w.saved(usize::MAX);
    let mut new = site();
    new.agents.clear();
    let mut w = World::at(new, w.now);
    w.restart(&saved);
    w.call_back(number, true);
    let heard = w.heard();
    assert!(heard.contains(&"ring 0 sip:ada@10.0.0.9".to_owned()));
    assert!(heard.contains(&"notice callback called_back to lead@example.com".to_owned()), "{heard:?}");
}

#[test]
fn b1_a_call_that_is_taken_up_again_ends_as_it_would_have() {
    for (by, outcome, presence) in [(Party::Caller, "ended", true), (Party::Callee, "dropped", false)] {
        let mut w = World::new(site());
        let call = w.dial("ada", "sip:911@gw");
        let number = w.shown();
        assert!(w.gateway.kept(call).is_none(), "nobody has answered");
        w.leg(call, 0, LegEvent::Answered);
        let kept = serde_json::to_vec(&w.gateway.kept(call).expect("answered")).expect("plain data");
        w.wait(7 * MINUTE);
        w.kill();
        assert_eq!(w.heard().last().map(String::as_str), Some("presence ada dnd again"));
        let kept = serde_json::from_slice(&kept).expect("what was written");
        let again = CallId(900);
        w.gateway.restore_call(again, &kept, w.now);
        w.wait(5 * MINUTE);
        assert!(w.heard().is_empty(), "she is busy as before");
        assert_eq!((w.gateway.active_calls(), state(&w, number)), (1, Some("open")));
        w.wait(90 * MINUTE);
        w.input(Input::Ended { call: again, by });
        let told: Vec<_> = w.heard();
        assert_eq!(told.contains(&"presence ada back".to_owned()), presence, "{told:?}");
        assert!(told.contains(&format!("notice outcome {outcome} to lead@example.com")));
        let duration = w.outputs.iter().rev().find_map(|o| match o {
            Output::Side(Side::Notice(n)) => n.duration,
            _ => None,
        });
        assert_eq!(duration, Some(102 * MINUTE));
        w.wait(14 * MINUTE);
        assert_eq!(state(&w, number), Some("open"));
        w.wait(2 * MINUTE);
        assert_eq!(state(&w, number), Some("late"));
    }
}

#[test]
fn b1_a_callback_that_is_taken_up_again_keeps_the_lease_and_ends_as_it_would_have() {
    let mut w = World::new(site());
    let number = w.short_call("ada");
    let call = w.call_back(number, true);
    w.leg(call, 0, LegEvent::Answered);
    let kept = w.gateway.kept(call).expect("answered");
    w.kill();
    w.gateway.restore_call(call, &kept, w.now);
    w.wait(120 * MINUTE);
    assert_eq!(state(&w, number), Some("open"));
    w.heard();
    w.input(Input::Ended { call, by: Party::Callee });
    assert_eq!(w.heard(), ["presence ada back"]);
    assert_eq!(w.gateway.active_calls(), 0);
}

#[test]
fn b1_a_call_whose_lease_never_reached_the_store_gets_one_again() {
    let mut w = World::new(site());
    w.store_works = false;
    let call = w.dial("ada", "sip:911@gw");
    w.wait_ms(60);
    let number = w.shown();
    w.leg(call, 0, LegEvent::Answered);
    let kept = w.gateway.kept(call).expect("answered");
    w.store_works = true;
    w.restart(&stopped(Saved::default(), true, false));
    w.gateway.restore_call(call, &kept, w.now);
    assert_eq!(first_ring(&mut w, number), "ring 0 sip:ada@10.0.0.9");
    w.kill();
    assert_eq!(first_ring(&mut w, number), "ring 0 sip:ada@10.0.0.9", "and now it is on record");
}

#[test]
fn b4_a_suspended_machine_ends_no_lease_early_and_a_time_that_lies_ahead_is_not_believed() {
    let mut w = World::new(site());
    let number = w.short_call("ada");
    let saved = stopped(w.saved(usize::MAX), true, true);
    // Boot time is all there is; whatever the wall clock did, a store that says "same boot" with times ahead of ours
    // holds the lease for its full time.
    w.now = Time::ZERO + Duration::from_secs(1);
    w.restart(&saved);
    w.wait(60 * MINUTE);
    assert_eq!(state(&w, number), Some("open"));
    assert_eq!(w.short_call("ada"), number);
}

#[test]
fn a1_who_was_shown_busy_and_whose_call_is_gone_goes_back_after_the_hold() {
    let mut w = World::new(site());
    w.dial("ada", "sip:911@gw");
    w.kill();
    w.heard();
    w.wait(Duration::from_secs(119));
    assert!(w.heard().is_empty());
    w.wait(Duration::from_secs(1));
    assert_eq!(w.heard(), ["presence ada back"]);
    w.kill();
    w.wait(Duration::from_secs(300));
    assert!(w.heard().is_empty(), "once");
}

#[test]
fn a1_a_hold_goes_on_where_it_was_and_can_be_dismissed() {
    let mut w = World::new(site());
    let call = w.dial("ada", "sip:911@gw");
    w.leg(call, 0, LegEvent::Answered);
    w.input(Input::Ended { call, by: Party::Callee });
    w.wait(Duration::from_secs(100));
    w.kill();
    w.heard();
    w.wait(Duration::from_secs(20));
    assert_eq!(w.heard(), ["presence ada back"]);

    w.dial("bob", "sip:911@gw");
    w.input(Input::DismissHold { agent: AgentId(1) });
    assert!(w.gateway.presence_of("bob").emergency, "her call is up");
    w.kill();
    w.heard();
    w.input(Input::DismissHold { agent: AgentId(1) });
    assert_eq!(w.heard(), ["presence bob back"]);
}

#[test]
fn a1_a_change_by_hand_during_the_call_is_what_comes_back_and_survives_a_kill() {
    let mut w = World::new(site());
    let ada = AgentId(0);
    let set = |w: &mut World, state| w.input(Input::SetPresence { agent: ada, state, note: Private::new("at lunch") });
    set(&mut w, PresenceState::Away);
    w.heard();
    let call = w.dial("ada", "sip:911@gw");
    w.heard();
    set(&mut w, PresenceState::Offline);
    assert!(w.heard().is_empty(), "she is shown as do not disturb all the while");
    w.kill();
    let view = w.gateway.presence_of("ada");
    assert_eq!((view.shown, view.emergency, view.own), (PresenceState::Dnd, true, PresenceState::Offline));
    w.heard();
    w.wait(Duration::from_secs(120));
    let shown = w.outputs.iter().rev().find_map(|o| match o {
        Output::Side(Side::Presence { shown, dnd, .. }) => Some((*shown, *dnd)),
        _ => None,
    });
    assert_eq!(shown, Some((PresenceState::Offline, false)));
    w.kill();
    let view = w.gateway.presence_of("ada");
    assert_eq!((view.shown, view.emergency, view.note.reveal().as_str()), (PresenceState::Offline, false, "at lunch"));
    w.input(Input::Ended { call, by: Party::Caller });
}

/// What happens in one seed's world: calls, ends, time.
fn live(w: &mut World, dice: &mut u64, up: &mut Vec<CallId>) {
    *dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let roll = (*dice >> 33) as usize;
    match roll % 8 {
        0..=3 => {
            let call = w.dial(&format!("g{}", roll / 8 % 9), "sip:911@gw");
            up.push(call);
        }
        4 => {
            if let Some(call) = up.pop() {
                w.leg(call, 0, LegEvent::Answered);
                w.input(Input::Ended { call, by: Party::Caller });
            }
        }
        5 => {
            if let Some(call) = up.pop() {
                w.input(Input::Abandoned { call });
            }
        }
        6 => w.wait(MINUTE * (roll / 8 % 50) as u32),
        _ => w.wait_ms(10),
    }
}

#[test]
fn b1_whenever_the_process_is_killed_no_committed_lease_is_lost_and_no_number_has_two_owners() {
    for seed in 0..12u64 {
        let (mut w, mut dice, mut up) = (World::new(small(6)), seed, Vec::new());
        // After each step: how much was written, and which leases there were.
        let mut steps = Vec::new();
        for _ in 0..40 {
            live(&mut w, &mut dice, &mut up);
            let open: BTreeMap<(String, E164), bool> = w
                .gateway
                .leases()
                .filter(|l| l.state != "late")
                .map(|l| ((l.agent.reveal().clone(), *l.number.reveal()), l.calls > 0))
                .collect();
            steps.push((w.kept.len(), w.now, open));
        }
        for (rows, now, open) in &steps {
            let mut after = World::at(small(6), *now);
            after.kept = w.kept[..*rows].to_vec();
            after.kill();
            let found: BTreeSet<_> = after.gateway.leases().map(|l| (l.agent.reveal().clone(), *l.number.reveal())).collect();
            assert!(open.keys().all(|lease| found.contains(lease)), "seed {seed}: a lease is lost after {rows} rows");
        }
        for rows in 0..=w.kept.len() {
            let mut after = World::at(small(6), w.now);
            let saved = w.saved(rows);
            after.restart(&saved);
            let owners: Vec<_> = after.gateway.leases().filter(|l| l.state == "open").map(|l| *l.number.reveal()).collect();
            assert_eq!(owners.iter().collect::<BTreeSet<_>>().len(), owners.len(), "seed {seed} after {rows} rows");
            let shelf = after.gateway.shelved()[0];
            assert_eq!(shelf.leased + shelf.free, 6, "each number is there once");
            let leased: BTreeSet<_> = after.gateway.leases().filter(|l| l.state != "late").map(|l| *l.number.reveal()).collect();
            assert_eq!(leased.len(), shelf.leased as usize, "seed {seed} after {rows} rows");
        }
    }
}

#[test]
fn b1_a_hundred_thousand_leases_are_read_back() {
    const MANY: u64 = if cfg!(debug_assertions) { 3000 } else { 100_000 };
    let mut site = small(0);
    site.shelves[0].numbers = (0..MANY).filter_map(|n| E164::from_digits(14_250_000_000 + n)).collect();
    let mut w = World::new(site);
    let agents: Vec<_> = (0..MANY).map(|n| Arc::new(agent(&format!("agent-{n}")))).collect();
    let mut new = small(0);
    new.shelves = w.gateway.site().shelves.clone();
    new.agents = agents;
    w.reload(new).expect("every number once");
    for n in 0..MANY {
        w.short_call(&format!("agent-{n}"));
    }
    w.outputs.clear();
    let saved = w.saved(usize::MAX);
    w.kept.clear();
    w.restart(&saved);
    assert_eq!(w.gateway.leases().count() as u64, MANY);
    assert!(w.kept.len() < 5, "nothing is written anew: {}", w.kept.len());
}

#[test]
fn l2_after_a_reboot_many_rows_are_written_anew_in_portions_and_all_before_their_times_count() {
    const MANY: u64 = 600;
    let mut site = small(0);
    site.shelves[0].numbers = (0..MANY + 50).filter_map(|n| E164::from_digits(14_250_000_000 + n)).collect();
    let mut w = World::new(site);
    let numbers: Vec<_> = (0..MANY).map(|n| w.short_call(&format!("agent-{n}"))).collect();
    let saved = stopped(w.saved(usize::MAX), false, false);
    w.kept.clear();
    w.restart(&saved);
    // A call is served meanwhile, and its own row waits for none of them.
    let fresh = w.short_call("ada");
    assert!(!w.gateway.is_settled() && !numbers.contains(&fresh));
    w.wait(Duration::from_secs(1));
    assert!(w.gateway.is_settled());
    let anew = |number: &E164| {
        let of_number = |row: &&Row| row.table == Table::Lease && row.key.reveal().starts_with(&format!("{number}."));
        w.kept.iter().filter(of_number).count()
    };
    assert!(numbers.iter().all(|n| anew(n) == 1), "each once");
    assert!(numbers.iter().all(|n| state(&w, *n) == Some("open")));
}

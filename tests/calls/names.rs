//! Neighbours with a name: several addresses, or none yet.

use crate::world::*;
use e911d::bridge::{Setup, Trouble};
use e911d::emergency::facts::{Side, TrunkId};
use e911d::sip::{Flow, Transport};
use std::sync::Arc;
use std::time::Duration;

const SECOND: &str = "127.0.0.1:15170";

fn flow(at: &str) -> Flow {
    Flow { transport: Transport::Udp, listener: 0, remote: at.parse().expect("an address"), connection: 0, name: 0 }
}

/// Trunk a has a name.
fn named(text: &str) -> String {
    text.replacen("uri = \"sip:127.0.0.1:15070\"", "uri = \"sip:carrier.example\"", 1)
}

/// It leads to these addresses.
fn leading_to(text: &str, ways: &[&str]) -> Setup {
    let mut setup = setup(&named(text), 1);
    let link = &mut Arc::make_mut(&mut setup.links).trunks[0];
    link.ways = ways.iter().map(|at| flow(at)).collect();
    link.flow = link.ways.first().copied().unwrap_or(flow("0.0.0.0:0"));
    setup
}

fn alarms(w: &mut World) -> Vec<(&'static str, bool)> {
    let told = std::mem::take(&mut w.sides).into_iter();
    told.filter_map(|s| if let Side::Alarm { name, raised } = s { Some((name, raised)) } else { None }).collect()
}

#[test]
fn p7_a_trunks_next_address_is_tried_before_the_next_trunk_where_one_cannot_be_reached_or_is_out_of_service() {
    for by in ["port closed", "503"] {
        let mut w = World::of_shard(0, &leading_to(CONFIG, &[TRUNK_A, SECOND]));
        w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
        let first = w.expect(TRUNK_A, "INVITE sip:911@");
        if by == "503" {
            w.receive(TRUNK_A, &response(&first.msg, 503, "q", "", ""));
            w.expect(TRUNK_A, "ACK");
        } else {
            w.unreachable(&first);
        }
        let second = w.expect(SECOND, "INVITE sip:911@");
        w.expect_nothing();
        // The next call goes there at once.
        w.receive(PBX, &invite(PBX, "bob", "911", "c2"));
        w.expect(SECOND, "INVITE sip:911@");
        // All addresses of a trunk are tried once; then the story moves on.
        w.unreachable(&second);
        w.expect(TRUNK_B, "INVITE sip:911@");
        w.expect_nothing();
    }
}

#[test]
fn p7_a_silent_address_is_the_storys_to_judge_and_the_next_trunk_starts_beside_it() {
    let mut w = World::of_shard(0, &leading_to(CONFIG, &[TRUNK_A, SECOND]));
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    w.expect(TRUNK_A, "INVITE");
    w.wait(Duration::from_millis(1600));
    w.expect(TRUNK_B, "INVITE");
    assert!(w.take().iter().all(|s| s.to != SECOND.parse::<std::net::SocketAddr>().expect("an address")));
}

#[test]
fn an_address_that_does_not_answer_is_held_down_until_it_does_and_the_trunk_stays_up() {
    let text = CONFIG.replacen("options = \"0s\"", "options = \"30s\"", 1);
    let mut w = World::of_shard(0, &leading_to(&text, &[TRUNK_A, SECOND]));
    w.wait(Duration::from_millis(200));
    let first = w.expect(TRUNK_A, "OPTIONS");
    w.unreachable(&first);
    let second = w.expect(SECOND, "OPTIONS");
    w.receive(SECOND, &response(&second.msg, 200, "t", "", ""));
    assert_eq!(alarms(&mut w), []);
    // After a while it is asked beside the other one, and comes back with its answer.
    for _ in 0..3 {
        w.wait(Duration::from_secs(30));
        let there = w.expect(SECOND, "OPTIONS");
        w.receive(SECOND, &response(&there.msg, 200, "t", "", ""));
        if let Some(at) = w.sent.iter().position(|s| s.to == TRUNK_A.parse::<std::net::SocketAddr>().expect("an address")) {
            let asked = w.sent.remove(at);
            w.receive(TRUNK_A, &response(&asked.msg, 200, "t", "", ""));
            break;
        }
    }
    w.take();
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    w.expect(TRUNK_A, "INVITE");
    assert_eq!(alarms(&mut w), []);
}

#[test]
fn p6_a_trunk_whose_name_leads_nowhere_is_down_and_tried_as_soon_as_it_leads_somewhere() {
    let mut w = World::with(&named(CONFIG));
    w.wait(Duration::ZERO);
    assert_eq!(w.shard.troubles(), [(TrunkId(0), Trouble::Unresolved)]);
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    w.expect(TRUNK_B, "INVITE");
    w.expect_nothing();
    w.shard.relink(&leading_to(CONFIG, &[SECOND, TRUNK_A]), w.now);
    w.wait(Duration::ZERO);
    assert_eq!(w.shard.troubles(), []);
    w.receive(PBX, &invite(PBX, "bob", "911", "c2"));
    w.expect(SECOND, "INVITE sip:911@carrier.example");
    let told: Vec<_> = alarms(&mut w).into_iter().filter(|a| a.0 == "trunk_down").collect();
    assert_eq!(told, [("trunk_down", true), ("trunk_down", false)]);
}

/// The PBX and the desk have names that lead to two addresses each.
fn with_names() -> World {
    let text = CONFIG.replace("desk = \"sip:security@127.0.0.1:15095\"", "desk = \"sip:security@desk.example\"");
    let mut setup = setup(&text, 1);
    let links = Arc::make_mut(&mut setup.links);
    links.peers[0].host = "pbx.example".to_owned();
    links.peers[0].ways = vec![flow(PBX), flow(SECOND)];
    let desk = ("sip:security@desk.example".to_owned(), vec![flow("127.0.0.1:15095"), flow("127.0.0.1:15195")]);
    links.hosts = Arc::new([desk].into());
    World::of_shard(0, &setup)
}

#[test]
fn c4_the_next_address_of_a_pbx_is_tried_where_one_is_silent_closed_or_out_of_service() {
    for by in ["port closed", "503", "silence"] {
        let mut w = with_names();
        let number = dial(&mut w, "alice", "c1");
        w.take();
        w.receive(TRUNK_A, &invite(TRUNK_A, "psap7", &number, "cb1"));
        let first = w.expect(PBX, "INVITE sip:alice@");
        match by {
            "503" => w.receive(PBX, &response(&first.msg, 503, "q", "", "")),
            "silence" => w.wait(Duration::from_millis(1001)),
            _ => w.unreachable(&first),
        }
        let second = w.expect(SECOND, "INVITE sip:alice@");
        w.receive(SECOND, &response(&second.msg, 180, "q", "sip:alice@127.0.0.1:15170", ""));
        w.expect(TRUNK_A, "SIP/2.0 180");
        w.take();
        // The one that failed is held down: an ordinary call begins at the other one.
        w.receive(TRUNK_A, &invite(TRUNK_A, "+12065550000", "+14255551234", "o1"));
        w.expect(SECOND, "INVITE sip:+14255551234@");
        w.wait(Duration::from_millis(1001));
        w.expect(PBX, "INVITE sip:+14255551234@");
    }
}

#[test]
fn c9_the_next_address_of_the_desk_is_tried_where_one_cannot_be_reached() {
    let mut w = with_names();
    let number = dial(&mut w, "alice", "c1");
    w.take();
    w.receive(TRUNK_A, &invite(TRUNK_A, "psap7", &number, "cb1"));
    for at in [PBX, SECOND] {
        let invite = w.expect(at, "INVITE sip:alice@");
        w.unreachable(&invite);
    }
    let first = w.expect("127.0.0.1:15095", "INVITE sip:security@desk.example");
    w.unreachable(&first);
    let second = w.expect("127.0.0.1:15195", "INVITE sip:security@desk.example");
    w.receive("127.0.0.1:15195", &response(&second.msg, 200, "k", "sip:k@127.0.0.1:15195", SDP));
    w.expect(TRUNK_A, "SIP/2.0 200");
}

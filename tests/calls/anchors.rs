//! Calls whose audio goes through us: which ports each side is told of, what the relay hears, and that every port comes back.

use crate::world::*;
use e911d::bridge::{Joined, RelayOrder};
use e911d::emergency::facts::Side;
use e911d::words::Table;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

const INLINE: &str = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";

/// Trunk a and the carrier are anchored, trunk b is not.
pub fn world(srtp: &str) -> World {
    let mut w = World::changed(|config| {
        let anchored = format!("options = \"0s\"\nmedia = \"anchor\"\nsrtp = \"{srtp}\"\n");
        config.replacen("options = \"0s\"\n", &anchored, 1).replace(
            "uri = \"sip:127.0.0.1:15080\"\n",
            &format!("uri = \"sip:127.0.0.1:15080\"\nmedia = \"anchor\"\nsrtp = \"{srtp}\"\n"),
        )
    });
    // The ports that are kept ready.
    w.drain();
    w
}

pub fn sdp(sent: &Sent) -> String {
    String::from_utf8_lossy(sent.msg.body()).into_owned()
}

pub fn port(sdp: &str) -> u16 {
    let line = sdp.lines().find_map(|l| l.strip_prefix("m=audio ")).unwrap_or_else(|| panic!("no audio in {sdp}"));
    line.split(' ').next().and_then(|p| p.parse().ok()).expect("a port")
}

/// What a trunk answers with: its audio at this port, with this protocol and these lines.
pub fn answer(port: u16, protocol: &str, more: &str) -> String {
    format!("v=0\r\no=- 5 5 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio {port} {protocol} 0\r\n{more}")
}

/// The last thing that was joined.
pub fn joined(w: &World) -> Joined {
    let joined = w.relayed.iter().rev().find_map(|order| match order {
        RelayOrder::Join(joined) => Some(Joined::clone(joined)),
        _ => None,
    });
    joined.expect("something that was joined")
}

/// The ports that calls have at present: all that were told of, less what was given back.
pub fn taken(w: &World, told: &[u16]) -> BTreeSet<u16> {
    let released = w.relayed.iter().flat_map(|order| match order {
        RelayOrder::Release(all) => all.iter().map(SocketAddr::port).collect(),
        _ => Vec::new(),
    });
    let released: Vec<u16> = released.collect();
    let mut once = released.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), released.len(), "a port is given back twice");
    told.iter().copied().filter(|p| !released.contains(p)).collect()
}

#[test]
fn each_side_is_told_a_port_of_its_own_and_the_relay_who_is_where() {
    for (dialed, trunk) in [("911", TRUNK_A), ("+14551234567", CARRIER)] {
        let mut w = world("off");
        w.receive(PBX, &invite(PBX, "alice", dialed, "c1"));
        let out = w.expect(trunk, "INVITE");
        assert!(!w.relayed.iter().any(|o| matches!(o, RelayOrder::Join(_))), "an offer alone joins nothing");
        w.receive(trunk, &response(&out.msg, 200, "t1", &format!("sip:psap@{trunk}"), &answer(7000, "RTP/AVP", "")));
        let ok = w.expect(PBX, "SIP/2.0 200");
        let (far, near) = (port(&sdp(&out)), port(&sdp(&ok)));
        let relay = joined(&w);
        assert_eq!((relay.near.at.port(), relay.far.at.port()), (near, far));
        assert_eq!(relay.near.rtp, Some("127.0.0.1:30000".parse().expect("an address")));
        assert_eq!(relay.far.rtp, Some("192.0.2.9:7000".parse().expect("an address")));
        assert_eq!(relay.far.rtcp, Some("192.0.2.9:7001".parse().expect("an address")));
        assert!(!relay.held && !relay.restored && !sdp(&ok).contains("192.0.2.9"));
        let dialog = InDialog::of_response(&ok.msg);
        w.receive(PBX, &dialog.request("ACK", 1, PBX, "", ""));
        w.receive(PBX, &dialog.request("BYE", 2, PBX, "", ""));
        assert!(taken(&w, &[near, far]).is_empty());
    }
}

#[test]
fn a_leg_that_fails_gives_its_port_back_and_one_whose_audio_passes_by_takes_the_callers_too() {
    let mut w = world("off");
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let first = w.expect(TRUNK_A, "INVITE");
    let early = response(&first.msg, 183, "t1", &format!("sip:psap@{TRUNK_A}"), &answer(7000, "RTP/AVP", ""));
    w.receive(TRUNK_A, &early);
    let heard = w.expect(PBX, "SIP/2.0 183");
    let (far, near) = (port(&sdp(&first)), port(&sdp(&heard)));
    w.receive(TRUNK_A, &response(&first.msg, 503, "t1", "", ""));
    w.expect(TRUNK_A, "ACK");
    assert_eq!(taken(&w, &[near, far]), [near].into());
    // Trunk b's audio passes by.
    let second = w.expect(TRUNK_B, "INVITE");
    assert_eq!(port(&sdp(&second)), 30_000);
    w.receive(TRUNK_B, &response(&second.msg, 200, "t2", &format!("sip:psap@{TRUNK_B}"), &answer(8000, "RTP/AVP", "")));
    let ok = w.expect(PBX, "SIP/2.0 200");
    assert_eq!(port(&sdp(&ok)), 8000);
    assert!(taken(&w, &[near, far]).is_empty());
}

#[test]
fn without_ports_an_emergency_passes_by_and_an_ordinary_call_is_refused() {
    let mut w = world("off");
    w.ports = false;
    w.restart();
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let out = w.expect(TRUNK_A, "INVITE");
    assert_eq!(port(&sdp(&out)), 30_000);
    let raised =
        |w: &World, is: bool| w.sides.iter().any(|s| matches!(s, Side::Alarm { name: "media_ports", raised } if *raised == is));
    assert!(raised(&w, true));
    w.receive(PBX, &invite(PBX, "alice", "+14551234567", "c2"));
    // The carrier is anchored, and so is the next trunk.
    w.expect(PBX, "SIP/2.0 503");
    w.ports = true;
    w.receive(PBX, &invite(PBX, "alice", "+14551234567", "c3"));
    w.take();
    assert!(raised(&w, false), "there are ports again");
}

#[test]
fn a_fork_that_answers_without_a_description_stands_by_its_earlier_one() {
    let mut w = world("off");
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let out = w.expect(TRUNK_A, "INVITE");
    for (tag, at) in [("one", 7000), ("two", 8000)] {
        w.receive(TRUNK_A, &response(&out.msg, 183, tag, &format!("sip:{tag}@{TRUNK_A}"), &answer(at, "RTP/AVP", "")));
        w.expect(PBX, "SIP/2.0 183");
        assert_eq!(joined(&w).far.rtp.map(|at| at.port()), Some(at));
    }
    w.receive(TRUNK_A, &response(&out.msg, 200, "one", &format!("sip:one@{TRUNK_A}"), ""));
    w.expect(PBX, "SIP/2.0 200");
    assert_eq!(joined(&w).far.rtp.map(|at| at.port()), Some(7000));
}

#[test]
fn in_a_body_of_several_parts_the_description_alone_is_rewritten() {
    let mut w = world("off");
    let parts = format!(
        "--b\r\nContent-Type: application/sdp\r\n\r\n{SDP}--b\r\nContent-Type: application/pidf+xml\r\n\r\n<c=IN IP4 127.0.0.1/>\r\n--b--\r\n"
    );
    let call = invite(PBX, "alice", "911", "c1");
    let head = call.split("Content-Type").next().expect("a head");
    let length = parts.len();
    w.receive(PBX, &format!("{head}Content-Type: multipart/mixed;boundary=b\r\nContent-Length: {length}\r\n\r\n{parts}"));
    let out = w.expect(TRUNK_A, "INVITE");
    assert!(sdp(&out).contains("<c=IN IP4 127.0.0.1/>") && port(&sdp(&out)) != 30_000, "{}", sdp(&out));
}

#[test]
fn a_reliable_early_answer_and_an_update_before_the_answer_move_the_relay() {
    let mut w = world("off");
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let out = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &response(&out.msg, 183, "t1", &format!("sip:psap@{TRUNK_A}"), &answer(7000, "RTP/AVP", "")));
    let early = w.expect(PBX, "SIP/2.0 183");
    assert_eq!(joined(&w).far.rtp.map(|at| at.port()), Some(7000));
    let near = InDialog::of_response(&early.msg);
    let head = "Contact: <sip:alice@127.0.0.1:15090>\r\nContent-Type: application/sdp\r\n";
    w.receive(PBX, &near.request("UPDATE", 2, PBX, head, &SDP.replace("30000", "30008")));
    let update = w.expect(TRUNK_A, "UPDATE");
    assert_eq!(port(&sdp(&update)), port(&sdp(&out)));
    assert_eq!(joined(&w).near.rtp.map(|at| at.port()), Some(30_000), "not before it is answered");
    w.receive(TRUNK_A, &response(&update.msg, 200, "t1", &format!("sip:psap@{TRUNK_A}"), &answer(7002, "RTP/AVP", "")));
    w.expect(PBX, "SIP/2.0 200");
    let relay = joined(&w);
    assert_eq!((relay.near.rtp.map(|at| at.port()), relay.far.rtp.map(|at| at.port())), (Some(30_008), Some(7002)));
}

#[test]
fn an_emergency_asks_for_srtp_beside_plain_audio_then_alone_then_not_at_all() {
    let mut w = world("offer");
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let mut ports = BTreeSet::new();
    for (protocol, keys) in [("RTP/AVP", 3), ("RTP/SAVP", 3), ("RTP/AVP", 0)] {
        let out = w.expect(TRUNK_A, "INVITE");
        let offer = sdp(&out);
        assert!(offer.contains(&format!(" {protocol} 0\r\n")) && offer.matches("a=crypto:").count() == keys, "{offer}");
        ports.insert(port(&offer));
        w.receive(TRUNK_A, &response(&out.msg, 488, "t1", "", ""));
        w.expect(TRUNK_A, "ACK");
    }
    assert_eq!(ports.len(), 1, "it keeps its port");
    w.expect(TRUNK_B, "INVITE");
}

#[test]
fn b1_a_kept_call_has_its_ports_and_keys_and_the_next_run_joins_them_again() {
    let mut w = world("require");
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let out = w.expect(TRUNK_A, "INVITE");
    let keys = format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{INLINE}\r\n");
    w.receive(TRUNK_A, &response(&out.msg, 200, "t1", &format!("sip:psap@{TRUNK_A}"), &answer(7000, "RTP/SAVP", &keys)));
    let ok = w.expect(PBX, "SIP/2.0 200");
    w.expect(TRUNK_A, "ACK");
    let near = InDialog::of_response(&ok.msg);
    w.receive(PBX, &near.request("ACK", 1, PBX, "", ""));
    w.wait(Duration::from_millis(150));
    let before = joined(&w);
    let rows: Vec<_> = w.rows.iter().filter(|((table, _), _)| *table == Table::Call).map(|(_, row)| row.clone()).collect();
    let ports: Vec<_> = rows.iter().flat_map(|row| e911d::bridge::ports_in(row).collect::<Vec<_>>()).collect();
    assert_eq!(ports, [before.near.at, before.far.at]);
    w.relayed.clear();
    w.restart();
    let after = joined(&w);
    assert!(after.restored && after.near == before.near && after.far == before.far && after.far.keys.is_some());
    // A new key of the trunk's is kept as well.
    let far = InDialog::of_invite(&out.msg, "t1");
    let head = format!("Contact: <sip:psap@{TRUNK_A}>\r\nContent-Type: application/sdp\r\n");
    let other = keys.replace("d0Rm", "eeRm");
    w.receive(TRUNK_A, &far.request("INVITE", 5, TRUNK_A, &head, &answer(7000, "RTP/SAVP", &other)));
    let again = w.expect(PBX, "INVITE");
    assert_eq!(port(&sdp(&again)), before.near.at.port());
    w.receive(PBX, &response(&again.msg, 200, "", "sip:alice@127.0.0.1:15090", SDP));
    let ok = w.expect(TRUNK_A, "SIP/2.0 200");
    assert!(sdp(&ok).contains(" RTP/SAVP 0\r\n") && sdp(&ok).contains("a=crypto:1 "), "{}", sdp(&ok));
    assert!(joined(&w).far.keys != after.far.keys);
    let moved = joined(&w);
    w.restart();
    assert!(joined(&w).far == moved.far);
    w.receive(TRUNK_A, &far.request("BYE", 6, TRUNK_A, "", ""));
    w.expect(PBX, "BYE");
    assert!(taken(&w, &[before.near.at.port(), before.far.at.port()]).is_empty());
}

#[test]
fn a_callback_whose_phone_refuses_keys_rings_it_once_more_without() {
    let mut w = World::changed(|config| {
        config.replace("[callback]\n", "[media]\nphones = \"anchor\"\nphones_srtp = \"require\"\n[callback]\n")
    });
    w.receive(PBX, &invite(PBX, "bob", "911", "c1"));
    let out = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &response(&out.msg, 486, "t1", "", ""));
    let number = user(&out.msg);
    w.wait(Duration::from_millis(10));
    w.take();
    w.receive(TRUNK_A, &invite(TRUNK_A, "+12065550190", &number, "c2"));
    let phone = "127.0.0.1:15091";
    let ring = w.expect(phone, "INVITE");
    assert!(sdp(&ring).contains("RTP/SAVP"), "{}", sdp(&ring));
    w.receive(phone, &response(&ring.msg, 488, "p1", "", ""));
    w.expect(phone, "ACK");
    let again = w.expect(phone, "INVITE");
    assert!(sdp(&again).contains("RTP/AVP 0\r\n") && !sdp(&again).contains("crypto"), "{}", sdp(&again));
}

/// The callback number that the trunk is shown.
fn user(msg: &e911d::sip::Message) -> String {
    let from = get(msg, e911d::sip::Name::From);
    from.split("sip:").nth(1).and_then(|rest| rest.split('@').next()).expect("a user").to_owned()
}

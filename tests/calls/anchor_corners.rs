//! Audio through us where offers and answers come in the order that nobody draws: late, crossed, moved on, held of old, and
//! with one pair of ports left.

use crate::anchors::*;
use crate::world::*;
use e911d::bridge::RelayOrder;

/// An emergency over trunk a that is up, and its two dialogs: the caller's and the PSAP's.
struct Up {
    near: InDialog,
    far: InDialog,
    ports: [u16; 2],
}

fn up(w: &mut World) -> Up {
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let out = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &response(&out.msg, 200, "t1", &psap(), &answer(7000, "RTP/AVP", "")));
    let ok = w.expect(PBX, "SIP/2.0 200");
    let near = InDialog::of_response(&ok.msg);
    w.receive(PBX, &near.request("ACK", 1, PBX, "", ""));
    w.expect(TRUNK_A, "ACK");
    w.take();
    Up { near, far: InDialog::of_invite(&out.msg, "t1"), ports: [port(&sdp(&ok)), port(&sdp(&out))] }
}

fn psap() -> String {
    format!("sip:psap@{TRUNK_A}")
}

fn with_body(contact: &str) -> String {
    format!("Contact: <{contact}>\r\nContent-Type: application/sdp\r\n")
}

const ALICE: &str = "sip:alice@127.0.0.1:15090";

#[test]
fn an_emergency_without_an_offer_is_answered_in_the_ack_and_both_are_joined() {
    let mut w = world("off");
    let call = invite(PBX, "alice", "911", "c1");
    let head = call.split("Content-Type").next().expect("a head");
    w.receive(PBX, &format!("{head}Content-Length: 0\r\n\r\n"));
    let out = w.expect(TRUNK_A, "INVITE");
    assert!(out.msg.body().is_empty());
    w.receive(TRUNK_A, &response(&out.msg, 200, "t1", &psap(), &answer(7000, "RTP/AVP", "")));
    let ok = w.expect(PBX, "SIP/2.0 200");
    assert!(!sdp(&ok).contains("192.0.2.9"), "{}", sdp(&ok));
    w.receive(PBX, &InDialog::of_response(&ok.msg).request("ACK", 1, PBX, "Content-Type: application/sdp\r\n", SDP));
    let ack = w.expect(TRUNK_A, "ACK");
    let relay = joined(&w);
    assert_eq!((relay.near.at.port(), relay.far.at.port()), (port(&sdp(&ok)), port(&sdp(&ack))));
    assert_eq!(relay.near.rtp.map(|at| at.port()), Some(30_000));
    assert_eq!(relay.far.rtp.map(|at| at.port()), Some(7000));
}

#[test]
fn p6_a_trunk_that_sends_the_call_elsewhere_gets_it_with_the_same_port_and_every_port_comes_back() {
    let mut w = world("off");
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let first = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &response(&first.msg, 302, "t1", &format!("sip:911@{TRUNK_A}"), ""));
    w.expect(TRUNK_A, "ACK");
    let second = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &response(&second.msg, 200, "t2", &psap(), &answer(7000, "RTP/AVP", "")));
    let ok = w.expect(PBX, "SIP/2.0 200");
    let relay = joined(&w);
    assert_eq!((relay.near.at.port(), relay.far.at.port()), (port(&sdp(&ok)), port(&sdp(&second))));
    let near = InDialog::of_response(&ok.msg);
    w.receive(PBX, &near.request("ACK", 1, PBX, "", ""));
    w.receive(PBX, &near.request("BYE", 2, PBX, "", ""));
    let told = [port(&sdp(&first)), port(&sdp(&second)), port(&sdp(&ok))];
    assert!(taken(&w, &told).is_empty());
}

#[test]
fn offers_that_cross_are_refused_on_both_sides_and_what_was_agreed_stays() {
    let mut w = world("off");
    let call = up(&mut w);
    let before = joined(&w);
    w.receive(PBX, &call.near.request("INVITE", 2, PBX, &with_body(ALICE), &SDP.replace("30000", "30008")));
    let there = w.expect(TRUNK_A, "INVITE");
    assert_eq!(port(&sdp(&there)), call.ports[1]);
    w.receive(TRUNK_A, &call.far.request("INVITE", 7, TRUNK_A, &with_body(&psap()), &answer(7008, "RTP/AVP", "")));
    w.expect(TRUNK_A, "SIP/2.0 491");
    w.receive(TRUNK_A, &response(&there.msg, 491, "t1", "", ""));
    w.expect(PBX, "SIP/2.0 491");
    assert!(joined(&w).near == before.near && joined(&w).far == before.far);
    // The one that comes again is taken.
    w.take();
    w.receive(TRUNK_A, &call.far.request("INVITE", 8, TRUNK_A, &with_body(&psap()), &answer(7008, "RTP/AVP", "")));
    let here = w.expect(PBX, "INVITE");
    w.receive(PBX, &response(&here.msg, 200, "", ALICE, SDP));
    w.expect(TRUNK_A, "SIP/2.0 200");
    let ports = |w: &World| (joined(w).near.rtp.map(|at| at.port()), joined(w).far.rtp.map(|at| at.port()));
    assert_eq!(ports(&w), (Some(30_000), Some(7008)));
}

#[test]
fn a6_a_hold_of_old_passes_wherever_its_address_stands_and_ends_as_it_began() {
    let session = SDP.replace("c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0");
    let stream = format!("{SDP}c=IN IP4 0.0.0.0\r\n");
    let six = SDP.replace("c=IN IP4 127.0.0.1", "c=IN IP6 ::");
    for hold in [session, stream, six] {
        let mut w = world("off");
        let call = up(&mut w);
        let before = joined(&w);
        w.receive(PBX, &call.near.request("INVITE", 2, PBX, &with_body(ALICE), &hold));
        let there = w.expect(TRUNK_A, "INVITE");
        let said = sdp(&there);
        assert!(said.contains("c=IN IP4 0.0.0.0\r\n") || said.contains("c=IN IP6 ::\r\n"), "{said}");
        w.receive(TRUNK_A, &response(&there.msg, 200, "t1", &psap(), &answer(7000, "RTP/AVP", "a=recvonly\r\n")));
        w.expect(PBX, "SIP/2.0 200");
        w.receive(PBX, &call.near.request("ACK", 2, PBX, "", ""));
        let held = joined(&w);
        assert!(held.held && held.near.deaf && !held.far.deaf && held.near.rtp == before.near.rtp);
        w.receive(PBX, &call.near.request("INVITE", 3, PBX, &with_body(ALICE), SDP));
        let there = w.expect(TRUNK_A, "INVITE");
        w.receive(TRUNK_A, &response(&there.msg, 200, "t1", &psap(), &answer(7000, "RTP/AVP", "")));
        assert!(!joined(&w).held && joined(&w).near == before.near && joined(&w).far == before.far);
    }
}

#[test]
fn p6_of_more_emergencies_than_ports_every_one_is_placed_and_every_port_comes_back() {
    let mut w = world("off");
    w.ports = false;
    let ready = w.relayed.iter().find_map(|order| if let RelayOrder::Want(_, n) = order { Some(*n) } else { None });
    let calls = ready.expect("ports that are kept ready") + 4;
    let (mut told, mut up) = (Vec::new(), Vec::new());
    for n in 0..calls {
        w.receive(PBX, &invite(PBX, &format!("u{n}"), "911", &format!("c{n}")));
        let out = w.expect(TRUNK_A, "INVITE");
        told.push(port(&sdp(&out)));
        w.receive(TRUNK_A, &response(&out.msg, 200, "t1", &psap(), &answer(7000, "RTP/AVP", "")));
        let ok = w.expect(PBX, "SIP/2.0 200");
        told.push(port(&sdp(&ok)));
        let near = InDialog::of_response(&ok.msg);
        w.receive(PBX, &near.request("ACK", 1, PBX, "", ""));
        if n + 1 == calls {
            assert_eq!(told.split_off(told.len() - 2), [30_000, 7000], "nothing is left for the last one");
        }
        up.push(near);
    }
    for near in up {
        w.receive(PBX, &near.request("BYE", 2, PBX, "", ""));
    }
    let ours: Vec<u16> = told.into_iter().filter(|p| ![30_000, 7000].contains(p)).collect();
    assert!(!ours.is_empty() && taken(&w, &ours).is_empty());
}

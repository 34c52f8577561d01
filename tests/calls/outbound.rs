//! Phones that manage their flows (RFC 5626) and name their instance (RFC 5627): flows that die, come back and stand in for
//! each other, while the PSAP waits.

use crate::phones::{PHONE, Phone, SOFTPHONE, dial_911, world};
use crate::world::*;
use e911d::bridge::Census;
use e911d::sip::{Message, Name};
use e911d::words::Table;
use std::time::Duration;

const INSTANCE: &str = "+sip.instance=\"<urn:uuid:0c67446e-f1a1-11d9-94d3-000a95a0e128>\"";
const GRUU: &str = "sip:alice@gw.example.net;gr=urn:uuid:0c67446e-f1a1-11d9-94d3-000a95a0e128";
const PSAP: &str = "psap7";

/// A numbered flow of the one instance.
fn flow(id: u32) -> String {
    format!("Supported: path, outbound, gruu\r\nContact: <sip:alice@192.168.1.7:5060;ob>;reg-id={id};{INSTANCE}\r\n")
}

fn two_flows(w: &mut World) -> (Phone, Phone) {
    let (mut first, mut second) = (Phone::new(PHONE), Phone::new(SOFTPHONE));
    first.register(w, &flow(1));
    w.wait(Duration::from_secs(1));
    assert_eq!(second.register(w, &flow(2)).all(Name::Contact).count(), 2);
    (first, second)
}

fn psap_calls(w: &mut World, number: &str) {
    w.take();
    w.receive(TRUNK_A, &invite(TRUNK_A, PSAP, number, "cb1"));
}

/// How many INVITEs went there since the last look.
fn invites(w: &mut World, to: &str) -> usize {
    w.take().iter().filter(|s| s.to.to_string() == to && text(&s.msg).starts_with("INVITE")).count()
}

/// The phone rings, answers, is talked to and hung up on; nothing is left.
fn answer_and_end(w: &mut World, at: &'static str, ring: &Message) {
    w.receive(at, &response(ring, 200, "d1", "sip:alice@192.168.1.7:5060;ob", SDP));
    w.expect(at, "ACK");
    let ok = w.expect(TRUNK_A, "SIP/2.0 200");
    let far = InDialog::of_response(&ok.msg);
    w.receive(TRUNK_A, &far.request("ACK", 1, TRUNK_A, "", ""));
    w.receive(TRUNK_A, &far.request("BYE", 2, TRUNK_A, "", ""));
    let bye = w.expect(at, "BYE");
    w.receive(at, &response(&bye.msg, 200, "", "", ""));
    w.take();
    w.wait(Duration::from_secs(70));
    assert_eq!(w.shard.census(), Census { strays: w.shard.census().strays, ..Census::default() });
}

#[test]
fn an_outbound_register_is_told_so_and_gets_its_gruu() {
    let mut w = world("");
    let mut phone = Phone::new(PHONE);
    let ok = phone.register(&mut w, &flow(1));
    assert_eq!((get(&ok, Name::Require), get(&ok, Name::Supported)), ("outbound".to_owned(), "path, outbound, gruu".to_owned()));
    assert!(text(&ok).contains("Flow-Timer: 30\r\n"), "{}", text(&ok));
    let contact = get(&ok, Name::Contact);
    assert!(contact.contains(";reg-id=1") && contact.ends_with(&format!(";pub-gruu=\"{GRUU}\"")), "{contact}");
    // Who does not say that it supports it gets neither; a reg-id says nothing then.
    let plain = flow(1).replace("Supported: path, outbound, gruu\r\n", "");
    let ok = phone.register(&mut w, &plain);
    assert!(!text(&ok).contains("Flow-Timer") && !text(&ok).contains("pub-gruu"), "{}", text(&ok));
    // Behind a proxy that keeps no flow, likewise; and who requires it is told why not.
    let edge = "Path: <sip:127.0.0.40:5070;lr>\r\n";
    assert_eq!(phone.register(&mut w, &format!("{}{edge}", flow(1))).get(Name::Require), None);
    let edge_keeps = "Path: <sip:127.0.0.40:5070;lr;ob>\r\n";
    assert!(phone.register(&mut w, &format!("{}{edge_keeps}", flow(1))).get(Name::Require).is_some());
    assert_eq!(phone.register(&mut w, &format!("Require: outbound\r\n{}{edge}", flow(1))).status(), 439);
}

#[test]
fn the_flows_of_one_instance_are_tried_one_after_another_the_newest_first() {
    let mut w = world("");
    let (mut first, _) = two_flows(&mut w);
    let number = dial_911(&mut w, &mut first);
    psap_calls(&mut w, &number);
    let ring = w.expect(SOFTPHONE, "INVITE sip:alice@192.168.1.7:5060;ob");
    w.expect_nothing();
    w.wait(Duration::from_millis(999));
    assert_eq!(invites(&mut w, PHONE), 0, "one at a time");
    w.wait(Duration::from_millis(2));
    let next = w.expect(PHONE, "INVITE sip:alice@192.168.1.7:5060;ob");
    w.wait(Duration::from_secs(1));
    assert_eq!(invites(&mut w, SOFTPHONE), 0, "what was sent there is not repeated");
    w.receive(PHONE, &response(&next.msg, 180, "d1", "sip:alice@192.168.1.7:5060;ob", ""));
    w.expect(TRUNK_A, "SIP/2.0 180");
    // The silent flow wakes up: it is told that the other one rings.
    w.receive(SOFTPHONE, &response(&ring.msg, 180, "d0", "sip:alice@192.168.1.7:5060;ob", ""));
    let cancel = w.expect(SOFTPHONE, "CANCEL");
    w.receive(SOFTPHONE, &response(&cancel.msg, 200, "", "", ""));
    w.receive(SOFTPHONE, &response(&ring.msg, 487, "d0", "", ""));
    w.take();
    answer_and_end(&mut w, PHONE, &next.msg);
}

#[test]
fn an_answer_that_comes_late_along_a_given_up_flow_is_hung_up_and_the_call_goes_on() {
    let mut w = world("");
    let (mut first, _) = two_flows(&mut w);
    let number = dial_911(&mut w, &mut first);
    psap_calls(&mut w, &number);
    let ring = w.expect(SOFTPHONE, "INVITE");
    w.wait(Duration::from_millis(1001));
    let next = w.expect(PHONE, "INVITE");
    w.take();
    w.receive(SOFTPHONE, &response(&ring.msg, 200, "d0", "sip:alice@192.168.1.7:5060;ob", SDP));
    w.expect(SOFTPHONE, "ACK");
    let bye = w.expect(SOFTPHONE, "BYE");
    w.receive(SOFTPHONE, &response(&bye.msg, 200, "", "", ""));
    w.expect_nothing();
    answer_and_end(&mut w, PHONE, &next.msg);
}

#[test]
fn a_flow_that_is_broken_or_that_its_edge_has_lost_is_followed_by_the_next_at_once() {
    for status in [0, 430, 408] {
        let mut w = world("");
        let (mut first, _) = two_flows(&mut w);
        let number = dial_911(&mut w, &mut first);
        psap_calls(&mut w, &number);
        let ring = w.expect(SOFTPHONE, "INVITE");
        match status {
            0 => w.unreachable(&ring),
            status => w.receive(SOFTPHONE, &response(&ring.msg, status, "d0", "", "")),
        }
        let next = w.expect(PHONE, "INVITE");
        answer_and_end(&mut w, PHONE, &next.msg);
    }
    // An ordinary call likewise.
    let mut w = world("");
    two_flows(&mut w);
    w.receive(TRUNK_A, &invite(TRUNK_A, "+12065550000", "+14255559999", "c1"));
    let ring = w.expect(SOFTPHONE, "INVITE");
    w.unreachable(&ring);
    w.expect(PHONE, "INVITE sip:alice@192.168.1.7:5060;ob");
}

#[test]
fn c4_a_callback_reaches_a_device_whose_flow_died_and_came_back_by_another() {
    for numbered in [true, false] {
        let contact = |phone: &Phone| if numbered { flow(1) } else { phone.contact() };
        let mut w = world("");
        let mut phone = Phone::new(PHONE);
        let before = contact(&phone);
        phone.register(&mut w, &before);
        let number = dial_911(&mut w, &mut phone);
        psap_calls(&mut w, &number);
        // Its router has forgotten it: nobody hears this.
        w.expect(PHONE, "INVITE");
        w.wait(Duration::from_secs(4));
        w.take();
        let mut back = Phone { seq: 20, ..Phone::new(SOFTPHONE) };
        let after = contact(&back);
        assert_eq!(back.register(&mut w, &after).all(Name::Contact).count(), 1, "the old flow has its successor");
        let ring = w.expect(SOFTPHONE, "INVITE sip:alice@192.168.1.7:5060;ob");
        w.take();
        w.wait(Duration::from_secs(1));
        assert_eq!(invites(&mut w, PHONE), 0, "nothing is repeated along the dead flow");
        // It registers again: that is no other device.
        back.register(&mut w, &after);
        assert!(!w.take().iter().any(|s| text(&s.msg).starts_with("INVITE") && s.msg.call_id() != ring.msg.call_id()));
        answer_and_end(&mut w, SOFTPHONE, &ring.msg);
    }
}

#[test]
fn c4_a_device_that_rings_is_not_rung_again_because_another_flow_of_it_came_back() {
    let mut w = world("");
    let (mut first, _) = two_flows(&mut w);
    let number = dial_911(&mut w, &mut first);
    psap_calls(&mut w, &number);
    let ring = w.expect(SOFTPHONE, "INVITE");
    w.receive(SOFTPHONE, &response(&ring.msg, 180, "d1", "sip:alice@192.168.1.7:5060;ob", ""));
    w.expect(TRUNK_A, "SIP/2.0 180");
    let mut back = Phone { seq: 20, ..Phone::new("127.0.0.33:5060") };
    back.register(&mut w, &flow(1));
    w.expect_nothing();
    answer_and_end(&mut w, SOFTPHONE, &ring.msg);
}

#[test]
fn p11_what_is_said_in_a_call_follows_the_device_to_its_new_flow() {
    for (to_her, kill) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut w = world("");
        let mut phone = Phone::new(PHONE);
        phone.register(&mut w, &flow(1));
        let psap = if to_her {
            let number = dial_911(&mut w, &mut phone);
            psap_calls(&mut w, &number);
            let ring = w.expect(PHONE, "INVITE");
            w.receive(PHONE, &response(&ring.msg, 200, "d1", "sip:alice@192.168.1.7:5060;ob", SDP));
            let psap = InDialog::of_response(&w.expect(TRUNK_A, "SIP/2.0 200").msg);
            w.receive(TRUNK_A, &psap.request("ACK", 1, TRUNK_A, "", ""));
            psap
        } else {
            phone.dial(&mut w, "911", "");
            let out = w.expect(TRUNK_A, "INVITE sip:911@");
            w.receive(TRUNK_A, &response(&out.msg, 200, "t1", "sip:psap@127.0.0.1:15070", SDP));
            let near = InDialog::of_response(&w.expect(PHONE, "SIP/2.0 200").msg);
            w.receive(PHONE, &near.request("ACK", phone.seq, PHONE, "", ""));
            InDialog::of_invite(&out.msg, "t1")
        };
        w.take();
        if kill {
            w.wait(Duration::from_secs(1));
            w.restart();
        }
        Phone { seq: 20, ..Phone::new(SOFTPHONE) }.register(&mut w, &flow(1));
        w.receive(TRUNK_A, &psap.request("BYE", 2, TRUNK_A, "", ""));
        w.expect(SOFTPHONE, "BYE sip:alice@192.168.1.7:5060");
    }
}

#[test]
fn p11_a_call_behind_an_address_that_several_devices_have_follows_none_of_them_a_kill_or_not() {
    for kill in [false, true] {
        let mut w = world("");
        let mut phone = Phone::new(PHONE);
        phone.register(&mut w, &flow(1));
        let mut other = Phone { seq: phone.seq + 10, ..Phone::new(PHONE) };
        let contact = other.contact().replace("192.168.1.7", "192.168.1.8");
        other.register(&mut w, &contact);
        phone.seq += 20;
        phone.dial(&mut w, "911", "");
        let out = w.expect(TRUNK_A, "INVITE sip:911@");
        w.receive(TRUNK_A, &response(&out.msg, 200, "t1", "sip:psap@127.0.0.1:15070", SDP));
        let near = InDialog::of_response(&w.expect(PHONE, "SIP/2.0 200").msg);
        w.receive(PHONE, &near.request("ACK", phone.seq, PHONE, "", ""));
        w.wait(Duration::from_secs(1));
        w.take();
        if kill {
            w.restart();
        }
        Phone { seq: 40, ..Phone::new(SOFTPHONE) }.register(&mut w, &contact);
        w.receive(TRUNK_A, &InDialog::of_invite(&out.msg, "t1").request("BYE", 2, TRUNK_A, "", ""));
        w.expect(PHONE, "BYE sip:alice@192.168.1.7:5060");
    }
}

#[test]
fn a_call_to_a_gruu_reaches_that_device_and_no_other() {
    let mut w = world("");
    let mut phone = Phone::new(PHONE);
    phone.register(&mut w, &flow(1));
    let mut other = Phone::new(SOFTPHONE);
    let contact = other.contact().replace("192.168.1.7", "192.168.1.8");
    other.register(&mut w, &contact);
    let to = |uri: &str, call: &str| invite(PBX, "+12065550000", "x", call).replace("sip:x@127.0.0.1:15060", uri);
    w.receive(PBX, &to(GRUU, "g1"));
    let ring = w.expect(PHONE, "INVITE sip:alice@192.168.1.7:5060;ob");
    w.receive(PHONE, &response(&ring.msg, 486, "d1", "", ""));
    w.expect(PBX, "SIP/2.0 486");
    w.take();
    w.receive(PBX, &to(&GRUU.replace("0c67", "0000"), "g2"));
    w.expect(PBX, "SIP/2.0 480");
    w.expect_nothing();
}

#[test]
fn b1_the_flows_of_an_instance_are_one_device_after_a_kill_and_another_nodes_are_left_alone() {
    let mut w = world("");
    let (mut first, _) = two_flows(&mut w);
    assert_eq!(w.kept(Table::Device), 2);
    w.restart();
    let number = dial_911(&mut w, &mut first);
    psap_calls(&mut w, &number);
    let all = w.take();
    assert_eq!(all.iter().filter(|s| text(&s.msg).starts_with("INVITE sip:alice@192.168")).count(), 1);
    w.restart_as(true, |setup| setup.node = "gw2".into());
    assert_eq!(w.kept(Table::Device), 2);
    first.dial(&mut w, "911", "");
    w.expect(PHONE, "SIP/2.0 401");
}

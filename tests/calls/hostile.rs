//! What a hostile, broken or unlucky neighbour may try, and what must not come of it.

use crate::world::*;
use e911d::bridge::{Census, Shard};
use e911d::daemon::small;
use e911d::sip::{Flow, Message, Name, Transport};
use e911d::words::Time;
use std::time::Duration;

const MS: fn(u64) -> Duration = Duration::from_millis;

/// A connected emergency call: the caller's dialog, and the trunk's.
fn connected(w: &mut World) -> (InDialog, InDialog) {
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let out = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &response(&out.msg, 200, "ta", "sip:psap@127.0.0.1:15070", SDP));
    let ok = w.expect(PBX, "SIP/2.0 200");
    let near = InDialog::of_response(&ok.msg);
    w.receive(PBX, &near.request("ACK", 1, PBX, "", ""));
    w.take();
    (near, InDialog::of_invite(&out.msg, "ta"))
}

#[test]
fn r8_a_strangers_broken_invite_with_a_tag_is_answered_once_and_leaves_nothing_behind() {
    let mut w = World::new();
    for uri in ["911", "+14551234567"] {
        let broken = invite(STRANGER, "mallory", uri, "c1")
            .replace(&format!("To: <sip:{uri}@pbx.example.net>"), &format!("To: <sip:{uri}@pbx.example.net>;tag=x"))
            .replace("CSeq: 1 INVITE", "CSeq: one INVITE");
        w.receive(STRANGER, &broken);
        assert_eq!(w.shard.census(), Census::default());
        assert_eq!(w.take().len(), 1);
        w.wait(Duration::from_secs(40));
        w.expect_nothing();
    }
}

#[test]
fn p11_a_481_to_a_prack_or_a_notify_is_about_these_and_does_not_end_the_call() {
    for (method, more) in [("PRACK", "RAck: 1 1 INVITE\r\n"), ("NOTIFY", "Event: refer\r\n")] {
        let mut w = World::new();
        let (near, _) = connected(&mut w);
        w.receive(PBX, &near.request(method, 2, PBX, more, ""));
        let passed = w.expect(TRUNK_A, method);
        w.receive(TRUNK_A, &response(&passed.msg, 481, "", "", ""));
        w.expect(PBX, "SIP/2.0 481");
        w.expect_nothing();
    }
}

#[test]
fn a3_a_cancel_from_elsewhere_cancels_nothing() {
    let mut w = World::new();
    let call = invite(PBX, "alice", "911", "c1");
    w.receive(PBX, &call);
    w.expect(TRUNK_A, "INVITE");
    let cancel = call.replace("INVITE", "CANCEL").split("Content-Type").next().unwrap().to_owned() + "Content-Length: 0\r\n\r\n";
    w.receive(STRANGER, &cancel);
    w.expect("127.0.0.9:15090", "SIP/2.0 481");
    w.expect_nothing();
    w.receive(PBX, &cancel);
    w.expect(PBX, "SIP/2.0 487");
}

#[test]
fn l8_the_reason_of_the_callers_bye_reaches_the_trunk_without_its_text() {
    let mut w = World::new();
    let (near, _) = connected(&mut w);
    w.receive(PBX, &near.request("BYE", 2, PBX, "Reason: Q.850;cause=16;text=\"alice hung up\"\r\n", ""));
    let bye = w.expect(TRUNK_A, "BYE");
    assert_eq!(get(&bye.msg, Name::Reason), "Q.850;cause=16");
}

#[test]
fn a_contact_without_an_address_does_not_lead_a_bye_astray() {
    for nowhere in ["0.0.0.0", "0.0.0.0:5060", "255.255.255.255", "224.0.0.1"] {
        let mut w = World::new();
        w.receive(PBX, &invite(PBX, "alice", "911", "c1").replace("alice@127.0.0.1:15090", &format!("alice@{nowhere}")));
        let out = w.expect(TRUNK_A, "INVITE");
        w.receive(TRUNK_A, &response(&out.msg, 200, "ta", &format!("sip:psap@{nowhere}"), SDP));
        w.expect(TRUNK_A, "ACK");
        let ok = w.expect(PBX, "SIP/2.0 200");
        w.receive(PBX, &InDialog::of_response(&ok.msg).request("ACK", 1, PBX, "", ""));
        w.receive(TRUNK_A, &InDialog::of_invite(&out.msg, "ta").request("BYE", 1, TRUNK_A, "", ""));
        w.expect(PBX, "BYE");
    }
}

#[test]
fn c4_a_caller_whose_name_is_no_name_of_a_uri_is_called_back_all_the_same() {
    for (user, escaped) in
        [("al\"ice", "al%22ice"), ("al%20ice", "al%20ice"), ("a\u{e9}", "a%C3%A9"), ("al;x=1", "al"), ("al[ice]", "al%5Bice%5D")]
    {
        let mut w = World::new();
        w.receive(PBX, &invite(PBX, user, "911", "c1"));
        let out = w.expect(TRUNK_A, "INVITE");
        let number = get(&out.msg, Name::From).trim_start_matches("<sip:").split('@').next().unwrap().to_owned();
        w.receive(TRUNK_A, &response(&out.msg, 486, "t1", "", ""));
        w.take();
        w.receive(TRUNK_A, &invite(TRUNK_A, "psap7", &number, "cb1"));
        let ring = w.expect(PBX, "INVITE");
        assert!(text(&ring.msg).starts_with(&format!("INVITE sip:{escaped}@127.0.0.1:15090 SIP/2.0")), "{}", text(&ring.msg));
    }
}

#[test]
fn responses_with_odd_status_codes_end_a_leg_and_nothing_else() {
    for status in ["000", "099", "700", "999"] {
        let mut w = World::new();
        w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
        let out = w.expect(TRUNK_A, "INVITE");
        let odd = response(&out.msg, 503, "t", "", "").replacen("503", status, 1);
        if let Ok(msg) = Message::scan(odd.clone().into()) {
            assert!((100..700).contains(&msg.status()), "{status} was read as {}", msg.status());
        }
    }
}

#[test]
fn a_2xx_without_contact_and_with_another_tag_than_the_180_connects() {
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let out = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &response(&out.msg, 180, "t1", "sip:one@127.0.0.1:15070", ""));
    w.expect(PBX, "SIP/2.0 180");
    w.receive(TRUNK_A, &response(&out.msg, 200, "t2", "", SDP));
    let ack = w.expect(TRUNK_A, "ACK");
    assert!(get(&ack.msg, Name::To).ends_with(";tag=t2"));
    let ok = w.expect(PBX, "SIP/2.0 200");
    let near = InDialog::of_response(&ok.msg);
    w.receive(PBX, &near.request("ACK", 1, PBX, "", ""));
    w.receive(PBX, &near.request("BYE", 2, PBX, "", ""));
    let bye = w.expect(TRUNK_A, "BYE");
    assert!(get(&bye.msg, Name::To).ends_with(";tag=t2"));
}

#[test]
fn p6_a_late_offer_fails_over_and_its_answer_travels_in_the_ack() {
    let mut w = World::new();
    let call = invite(PBX, "alice", "911", "c1").split("Content-Type").next().unwrap().to_owned() + "Content-Length: 0\r\n\r\n";
    w.receive(PBX, &call);
    let a = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &response(&a.msg, 503, "ta", "", ""));
    w.expect(TRUNK_A, "ACK");
    let b = w.expect(TRUNK_B, "INVITE");
    w.receive(TRUNK_B, &response(&b.msg, 200, "tb", "sip:psap@127.0.0.1:15071", SDP));
    let ok = w.expect(PBX, "SIP/2.0 200");
    w.expect_nothing();
    let near = InDialog::of_response(&ok.msg);
    w.receive(PBX, &near.request("ACK", 1, PBX, "Content-Type: application/sdp\r\n", SDP));
    let ack = w.expect(TRUNK_B, "ACK sip:psap@127.0.0.1:15071");
    assert!(!ack.msg.body().is_empty());
    w.wait(MS(40_000));
    w.expect_nothing();
}

#[test]
fn a_given_up_leg_of_the_first_round_that_answers_in_the_second_is_hung_up() {
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let a = w.expect(TRUNK_A, "INVITE");
    w.wait(MS(1510));
    let b = w.expect(TRUNK_B, "INVITE");
    w.receive(TRUNK_B, &response(&b.msg, 180, "tb", "sip:psap@127.0.0.1:15071", ""));
    w.receive(TRUNK_B, &response(&b.msg, 503, "tb", "", ""));
    w.wait(MS(10));
    let again = w
        .sent
        .iter()
        .filter(|s| s.to == TRUNK_A.parse::<std::net::SocketAddr>().unwrap() && text(&s.msg).starts_with("INVITE"))
        .count();
    assert!(again >= 1, "A counts as not tried");
    w.take();
    w.receive(TRUNK_A, &response(&a.msg, 200, "ta", "sip:psap@127.0.0.1:15070", SDP));
    w.expect(TRUNK_A, "ACK");
    w.expect(TRUNK_A, "BYE");
    w.receive(
        PBX,
        &(invite(PBX, "alice", "911", "c1").replace("INVITE", "CANCEL").split("Content-Type").next().unwrap().to_owned()
            + "Content-Length: 0\r\n\r\n"),
    );
    w.expect(PBX, "SIP/2.0 487");
    w.take();
    w.wait(Duration::from_secs(200));
    assert_eq!(w.shard.census(), Census::default());
}

#[test]
fn a_bye_before_the_ack_and_an_early_bye_end_everything() {
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let out = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &response(&out.msg, 200, "ta", "sip:psap@127.0.0.1:15070", SDP));
    let ok = w.expect(PBX, "SIP/2.0 200");
    w.take();
    w.receive(PBX, &InDialog::of_response(&ok.msg).request("BYE", 2, PBX, "", ""));
    w.expect(PBX, "SIP/2.0 200");
    let bye = w.expect(TRUNK_A, "BYE");
    w.receive(TRUNK_A, &response(&bye.msg, 200, "", "", ""));
    w.wait(Duration::from_secs(70));
    assert_eq!(w.shard.census(), Census::default());
}

#[test]
fn c9_a_pbx_that_says_nothing_but_100_does_not_keep_the_alternates_waiting() {
    let config = CONFIG.replace("desk = \"sip:security@127.0.0.1:15095\"\n", "").replace(
        "devices = [\"sip:bob@127.0.0.1:15091\", \"sip:bob-2@127.0.0.1:15092\"]",
        "devices = [\"sip:bob@127.0.0.1:15091\"]\nalternates = [\"sip:boss@127.0.0.1:15093\"]",
    );
    let mut w = World::with(&config);
    w.receive(PBX, &invite(PBX, "bob", "911", "c1"));
    let out = w.expect(TRUNK_A, "INVITE");
    let number = get(&out.msg, Name::From).trim_start_matches("<sip:").split('@').next().unwrap().to_owned();
    w.receive(TRUNK_A, &response(&out.msg, 486, "t1", "", ""));
    w.take();
    w.receive(TRUNK_A, &invite(TRUNK_A, "psap7", &number, "cb1"));
    let device = w.expect("127.0.0.1:15091", "INVITE");
    w.unreachable(&device);
    let pbx = w.expect(PBX, "INVITE");
    w.receive(PBX, &response(&pbx.msg, 100, "", "", ""));
    w.wait(Duration::from_secs(7));
    w.expect("127.0.0.1:15093", "INVITE sip:boss@");
}

#[test]
fn l10_a_cancel_and_an_ack_follow_an_invite_that_only_its_own_fields_told_for_a_callback() {
    let setup = setup(CONFIG, 4);
    let now = Time::from_micros(1_000_000_000);
    let mut first = Shard::new(0, &setup, now).expect("a shard");
    let classifier = first.classifier().expect("shard 0 has the story");
    let flow =
        Flow { transport: Transport::Udp, listener: 0, remote: TRUNK_A.parse().expect("an address"), connection: 0, name: 0 };
    let scan = |text: &str| Message::scan(text.to_owned().into()).expect("a message");
    let plain = invite(TRUNK_A, "psap7", "+14255550199", "cb1");
    let call = plain.replace("User-Agent", "P-Called-Party-ID: <sip:+12000000100@gw.example.net>\r\nUser-Agent");
    assert_eq!(classifier.shard(flow, &scan(&call), &first), 0);
    first.receive(flow, scan(&call), now);
    for method in ["CANCEL", "ACK"] {
        assert_eq!(classifier.shard(flow, &scan(&plain.replace("INVITE", method)), &first), 0, "{method}");
        let another = plain.replace("INVITE", method).replace("cb1", "cb2");
        assert_ne!(classifier.shard(flow, &scan(&another), &first), 0, "{method}");
    }
}

/// A world after a reload with another configuration.
fn reload(w: &mut World, text: &str) {
    let before = small::assembled(CONFIG, 7, 1, None);
    let setup = small::assembled(text, 7, 1, Some(&before)).setup;
    w.shard.reload(&setup, w.now).expect("every number once");
}

#[test]
fn b2_a_reload_that_takes_a_calls_neighbours_away_leaves_the_call_and_its_callback() {
    let mut w = World::new();
    let (near, far) = connected(&mut w);
    let gone = CONFIG
        .replace("name = \"pbx\"", "name = \"other\"")
        .replace("15090", "15099")
        .replace("name = \"a\"", "name = \"c\"")
        .replace("15070", "15079")
        .replace("\"a\"", "\"c\"")
        .replace("\"pbx\"", "\"other\"")
        .replace("+12000000100-+12000000103", "+12000000300-+12000000303");
    reload(&mut w, &gone);
    w.receive(PBX, &near.request("INFO", 2, PBX, "", ""));
    let info = w.expect(TRUNK_A, "INFO");
    w.receive(TRUNK_A, &response(&info.msg, 200, "", "", ""));
    w.expect(PBX, "SIP/2.0 200");
    w.receive(TRUNK_A, &far.request("BYE", 1, TRUNK_A, "", ""));
    w.expect(TRUNK_A, "SIP/2.0 200");
    w.expect(PBX, "BYE");
    w.take();
    w.receive(TRUNK_A, &invite(TRUNK_A, "psap7", "+12000000100", "cb1"));
    w.expect(PBX, "INVITE sip:alice@127.0.0.1:15090");
}

#[test]
fn r3_a_copy_of_an_invite_is_one_even_where_its_neighbour_has_moved() {
    let mut w = World::new();
    let call = invite(PBX, "alice", "911", "c1");
    w.receive(PBX, &call);
    let out = w.expect(TRUNK_A, "INVITE");
    reload(&mut w, &CONFIG.replace("15090", "15099"));
    w.receive(PBX, &call);
    w.expect_nothing();
    w.receive(TRUNK_A, &response(&out.msg, 200, "ta", "sip:psap@127.0.0.1:15070", SDP));
    w.expect(PBX, "SIP/2.0 200");
}

#[test]
fn a_callback_without_an_offer_takes_the_first_devices_and_leaves_the_other_nothing() {
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "bob", "911", "c1"));
    let out = w.expect(TRUNK_A, "INVITE");
    let number = get(&out.msg, Name::From).trim_start_matches("<sip:").split('@').next().unwrap().to_owned();
    w.receive(TRUNK_A, &response(&out.msg, 200, "ta", "sip:psap@127.0.0.1:15070", SDP));
    w.take();
    w.receive(TRUNK_A, &InDialog::of_invite(&out.msg, "ta").request("BYE", 1, TRUNK_A, "", ""));
    w.take();
    let call =
        invite(TRUNK_A, "psap7", &number, "cb1").split("Content-Type").next().unwrap().to_owned() + "Content-Length: 0\r\n\r\n";
    w.receive(TRUNK_A, &call);
    let (one, two) = (w.expect("127.0.0.1:15091", "INVITE"), w.expect("127.0.0.1:15092", "INVITE"));
    w.receive("127.0.0.1:15091", &response(&one.msg, 200, "d1", "sip:bob@127.0.0.1:15091", SDP));
    w.receive("127.0.0.1:15092", &response(&two.msg, 200, "d2", "sip:bob@127.0.0.1:15092", SDP));
    w.expect("127.0.0.1:15092", "ACK");
    let bye = w.expect("127.0.0.1:15092", "BYE");
    w.receive("127.0.0.1:15092", &response(&bye.msg, 200, "", "", ""));
    let ok = w.expect(TRUNK_A, "SIP/2.0 200");
    w.expect_nothing();
    let psap = InDialog::of_response(&ok.msg);
    w.receive(TRUNK_A, &psap.request("ACK", 1, TRUNK_A, "Content-Type: application/sdp\r\n", SDP));
    assert!(!w.expect("127.0.0.1:15091", "ACK").msg.body().is_empty());
    w.receive(TRUNK_A, &psap.request("BYE", 2, TRUNK_A, "", ""));
    let bye = w.expect("127.0.0.1:15091", "BYE");
    w.receive("127.0.0.1:15091", &response(&bye.msg, 200, "", "", ""));
    w.take();
    w.wait(Duration::from_secs(70));
    assert_eq!((w.shard.census().emergencies, w.shard.census().dialogs), (0, 0));
}

#[test]
fn b7_a_stranger_and_a_neighbour_who_flood_with_everything_leave_nothing_behind() {
    let mut w = World::new();
    let (near, _) = connected(&mut w);
    let methods = [
        "BYE",
        "CANCEL",
        "ACK",
        "PRACK",
        "UPDATE",
        "INFO",
        "NOTIFY",
        "REFER",
        "MESSAGE",
        "OPTIONS",
        "REGISTER",
        "SUBSCRIBE",
        "PUBLISH",
        "FOO",
    ];
    for method in methods {
        // A stranger who knows all but the tag of ours, and one who guesses it.
        for to in ["<sip:911@pbx.example.net>;tag=e900000000000000010000000000", "<sip:911@pbx.example.net>"] {
            let forged = InDialog {
                to: to.to_owned(),
                ..InDialog::of_response(
                    &Message::scan(bytes::Bytes::from(format!(
                        "SIP/2.0 200 OK\r\nFrom: {}\r\nTo: {to}\r\nCall-ID: {}\r\nContact: <{}>\r\n\r\n",
                        near.from, near.call_id, near.target
                    )))
                    .expect("a message"),
                )
            };
            for from in [STRANGER, TRUNK_B] {
                w.receive(from, &forged.request(method, 7, from, "", ""));
                let answers = w.take();
                assert!(answers.iter().all(|s| text(&s.msg).starts_with("SIP/2.0")), "{method} from {from}");
                assert!(answers.len() == usize::from(method != "ACK"), "{method} from {from}: {}", answers.len());
            }
        }
    }
    w.wait(Duration::from_secs(70));
    w.take();
    assert_eq!(w.shard.census().emergencies, 1);
    assert_eq!(w.shard.census().transactions, 0);
}

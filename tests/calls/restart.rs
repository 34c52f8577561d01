//! The node is killed and started again: calls that were up go on, what was being placed is ended, nothing is placed twice
//! (RULES B1, B2, B5, P11).

use crate::world::*;
use e911d::bridge::Shard;
use e911d::emergency::facts::Side;
use e911d::sip::{Flow, Message, Name, Transport};
use e911d::words::Table;
use std::time::Duration;

const PSAP: &str = "sip:psap@127.0.0.1:15070";
const OFFER: &str = "Contact: <sip:alice@127.0.0.1:15090>\r\nContent-Type: application/sdp\r\n";
const THEIR_OFFER: &str = "Contact: <sip:psap@127.0.0.1:15070>\r\nContent-Type: application/sdp\r\n";

/// An answered call: the trunk's INVITE, our 200, and the dialogs of both sides.
struct Call {
    out: Sent,
    ok: Sent,
    near: InDialog,
    far: InDialog,
}

fn talking(w: &mut World, dialed: &str, trunk: &str) -> Call {
    let call = answered(w, &invite(PBX, "alice", dialed, "c1"), trunk);
    w.receive(PBX, &call.near.request("ACK", 1, PBX, "", ""));
    w.take();
    w.wait(WRITTEN);
    call
}

/// The same before the caller's ACK.
fn answered(w: &mut World, invite: &str, trunk: &str) -> Call {
    w.receive(PBX, invite);
    let out = w.expect(trunk, "INVITE");
    w.receive(trunk, &response(&out.msg, 200, "t1", &format!("sip:psap@{trunk}"), SDP));
    let ok = w.expect(PBX, "SIP/2.0 200");
    let (near, far) = (InDialog::of_response(&ok.msg), InDialog::of_invite(&out.msg, "t1"));
    Call { out, ok, near, far }
}

fn seq(sent: &Sent) -> u32 {
    sent.msg.cseq().expect("a CSeq").0
}

/// Everything has come to rest, and nothing is written down any more.
fn at_rest(w: &mut World) {
    w.wait(Duration::from_secs(40));
    assert_eq!(w.shard.census(), e911d::bridge::Census { strays: w.shard.census().strays, ..Default::default() });
    assert_eq!(w.kept(Table::Call), 0);
    let story = w.shard.story().expect("the story");
    assert_eq!((story.active_calls(), story.leases().map(|l| l.calls).sum::<u32>()), (0, 0));
}

#[test]
fn b1_a_call_that_was_up_goes_on_after_a_kill_from_either_side() {
    for (dialed, trunk) in [("911", TRUNK_A), ("+14551234567", CARRIER)] {
        for ends in ["near", "far"] {
            let mut w = World::new();
            let Call { near, far, .. } = talking(&mut w, dialed, trunk);
            assert_eq!(w.kept(Table::Call), 1);
            w.restart();
            w.expect_nothing();
            assert_eq!(w.shard.census().dialogs, 2);
            assert_eq!(w.shard.story().expect("the story").active_calls(), usize::from(dialed == "911"));
            w.receive(PBX, &near.request("INVITE", 2, PBX, OFFER, SDP));
            let re = w.expect(trunk, "INVITE sip:psap@");
            assert!(seq(&re) > 1000, "well past whatever was used");
            assert_eq!(String::from_utf8_lossy(re.msg.call_id()), far.call_id);
            w.receive(trunk, &response(&re.msg, 200, "", &format!("sip:psap@{trunk}"), SDP));
            w.expect(trunk, "ACK sip:psap@");
            assert_eq!(w.expect(PBX, "SIP/2.0 200").msg.body(), SDP.as_bytes());
            w.receive(PBX, &near.request("ACK", 2, PBX, "", ""));
            w.receive(trunk, &far.request("UPDATE", 1, trunk, &THEIR_OFFER.replace(TRUNK_A, trunk), SDP));
            let update = w.expect(PBX, "UPDATE sip:alice@127.0.0.1:15090");
            w.receive(PBX, &response(&update.msg, 200, "", "sip:alice@127.0.0.1:15090", SDP));
            w.expect(trunk, "SIP/2.0 200");
            w.receive(trunk, &far.request("INFO", 2, trunk, "", ""));
            let info = w.expect(PBX, "INFO");
            w.receive(PBX, &response(&info.msg, 200, "", "", ""));
            w.expect(trunk, "SIP/2.0 200");
            w.expect_nothing();
            let (here, there, dialog) = if ends == "near" { (PBX, trunk, &near) } else { (trunk, PBX, &far) };
            w.receive(here, &dialog.request("BYE", 9, here, "", ""));
            w.expect(here, "SIP/2.0 200");
            let bye = w.expect(there, "BYE");
            w.receive(there, &response(&bye.msg, 200, "", "", ""));
            at_rest(&mut w);
        }
    }
}

#[test]
fn b1_a_call_outlives_one_kill_after_another_and_no_cseq_is_said_twice() {
    let mut w = World::new();
    let Call { near, far, .. } = talking(&mut w, "911", TRUNK_A);
    let mut last = 1;
    for n in 0..4 {
        w.restart();
        for i in 0..3 {
            w.receive(PBX, &near.request("INFO", 10 + n * 10 + i, PBX, "", ""));
            let info = w.expect(TRUNK_A, "INFO");
            assert!(seq(&info) > last, "{} after {last}", seq(&info));
            last = seq(&info);
            w.receive(TRUNK_A, &response(&info.msg, 200, "", "", ""));
            w.expect(PBX, "SIP/2.0 200");
        }
        // Half of the time a new target is written down in between.
        if n % 2 == 0 {
            let moved = THEIR_OFFER.replace("psap@", &format!("psap{n}@"));
            w.receive(TRUNK_A, &far.request("UPDATE", 1 + n, TRUNK_A, &moved, SDP));
            let update = w.expect(PBX, "UPDATE");
            w.receive(PBX, &response(&update.msg, 200, "", "sip:alice@127.0.0.1:15090", SDP));
            w.expect(TRUNK_A, "SIP/2.0 200");
        }
    }
    w.restart();
    w.receive(PBX, &near.request("BYE", 90, PBX, "", ""));
    assert!(seq(&w.expect(TRUNK_A, "BYE sip:psap2@")) > last);
}

#[test]
fn b1_a_callback_that_was_up_goes_on_after_a_kill() {
    let mut w = World::new();
    let Call { out, near, .. } = talking(&mut w, "911", TRUNK_A);
    let number = get(&out.msg, Name::From).split(['<', ':', '@']).nth(2).unwrap().to_owned();
    w.receive(PBX, &near.request("BYE", 2, PBX, "", ""));
    w.take();
    w.receive(TRUNK_A, &invite(TRUNK_A, "psap", &number, "cb"));
    let ring = w.expect(PBX, "INVITE sip:alice@");
    w.receive(PBX, &response(&ring.msg, 200, "t2", "sip:alice@127.0.0.1:15090", SDP));
    let ok = w.expect(TRUNK_A, "SIP/2.0 200");
    let psap = InDialog::of_response(&ok.msg);
    w.receive(TRUNK_A, &psap.request("ACK", 1, TRUNK_A, "", ""));
    w.take();
    w.restart();
    w.receive(PBX, &InDialog::of_invite(&ring.msg, "t2").request("INVITE", 1, PBX, OFFER, SDP));
    let re = w.expect(TRUNK_A, "INVITE");
    assert!(!text(&re.msg).contains("alice"), "her name stays behind: {}", text(&re.msg));
    w.receive(TRUNK_A, &response(&re.msg, 488, "", "", ""));
    w.expect(PBX, "SIP/2.0 488");
    w.take();
    w.receive(TRUNK_A, &psap.request("BYE", 2, TRUNK_A, "", ""));
    w.expect(PBX, "BYE sip:alice@");
    assert_eq!(w.kept(Table::Call), 0);
}

#[test]
fn b1_what_is_not_utf_8_comes_back_byte_for_byte() {
    let mut w = World::new();
    let raw = invite(PBX, "alice", "911", "c1").replace("\"Al\"", "\"LATIN\"");
    let bytes = raw.into_bytes();
    let at = bytes.windows(5).position(|b| b == b"LATIN").unwrap();
    let bytes = [&bytes[..at], b"\xe9\xff", &bytes[at + 5..]].concat();
    w.receive_bytes(PBX, &bytes);
    let out = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &response(&out.msg, 200, "t1", PSAP, SDP));
    w.take();
    w.restart();
    w.wait(Duration::from_secs(33));
    w.take();
    w.receive(TRUNK_A, &InDialog::of_invite(&out.msg, "t1").request("BYE", 1, TRUNK_A, "", ""));
    let bye = w.expect(PBX, "BYE");
    assert!(bye.msg.get(Name::To).unwrap().starts_with(b"\"\xe9\xff\" <"), "{}", text(&bye.msg));
}

#[test]
fn b1_a_row_of_another_version_or_a_damaged_one_is_passed_over_and_the_others_stay() {
    let mut w = World::new();
    let Call { near, .. } = talking(&mut w, "911", TRUNK_A);
    let (key, good) = w.rows.iter().find(|(k, _)| k.0 == Table::Call).map(|(k, v)| (k.clone(), v.clone())).unwrap();
    let text = String::from_utf8(good).unwrap();
    let more = text.replacen('{', "{\"unheard_of\":[{}],", 1);
    for (row, up) in
        [(more.as_str(), 2), (&text.replace("\"format\":1", "\"format\":2"), 0), (&text[..text.len() / 2], 0), ("", 0)]
    {
        w.rows.insert(key.clone(), row.as_bytes().to_vec());
        w.rows.insert((Table::Call, "x".into()), text.clone().into_bytes());
        w.restart();
        assert_eq!(w.shard.census().dialogs, up, "{}", row.len());
    }
    w.receive(PBX, &near.request("INFO", 2, PBX, "", ""));
    w.expect(PBX, "SIP/2.0 481");
}

#[test]
fn b1_somebody_elses_tag_gets_481_as_ever() {
    let mut w = World::new();
    let Call { near, .. } = talking(&mut w, "911", TRUNK_A);
    w.restart();
    for strange in [
        InDialog { call_id: "other".into(), ..near.clone() },
        InDialog { from: near.from.replace("tag=", "tag=x"), ..near.clone() },
        InDialog { to: near.to.replace("tag=e9", "tag=e8"), ..near.clone() },
    ] {
        w.receive(PBX, &strange.request("BYE", 2, PBX, "", ""));
        w.expect(PBX, "SIP/2.0 481");
        w.expect_nothing();
    }
    w.receive(PBX, &near.request("BYE", 2, PBX, "", ""));
    w.expect(TRUNK_A, "BYE");
}

#[test]
fn b1_what_rang_at_the_kill_is_cancelled_and_what_answers_late_is_hung_up_and_no_oftener_than_a_few_times() {
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let out = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &response(&out.msg, 180, "t1", PSAP, ""));
    w.take();
    w.restart();
    for n in 0..10 {
        w.receive(TRUNK_A, &response(&out.msg, 180, "t1", PSAP, ""));
        let sent = w.take();
        assert_eq!(sent.len(), usize::from(n < 4));
        for cancel in sent {
            assert!(text(&cancel.msg).starts_with("CANCEL sip:911@127.0.0.1:15070"), "{}", text(&cancel.msg));
            let branch = |m: &Message| m.top_via().and_then(|v| v.branch()).map(<[u8]>::to_vec);
            assert_eq!(branch(&cancel.msg), branch(&out.msg));
            assert_eq!((cancel.msg.to_tag(), cancel.msg.call_id()), (None, out.msg.call_id()));
            assert!(cancel.msg.get(Name::Reason).is_some());
        }
    }
    w.receive(TRUNK_A, &response(&out.msg, 487, "t1", "", ""));
    assert!(get(&w.expect(TRUNK_A, "ACK").msg, Name::To).ends_with("tag=t1"));
    // Another leg answered before it heard of it.
    w.receive(TRUNK_B, &response(&out.msg, 200, "t2", "sip:psap@127.0.0.1:15071", SDP));
    w.expect(TRUNK_B, "ACK sip:psap@127.0.0.1:15071");
    let bye = w.expect(TRUNK_B, "BYE sip:psap@127.0.0.1:15071");
    assert!(bye.msg.get(Name::Reason).is_some());
    w.receive(TRUNK_B, &response(&out.msg, 200, "t2", "sip:psap@127.0.0.1:15071", SDP));
    w.expect(TRUNK_B, "ACK");
    w.expect_nothing();
    w.receive(TRUNK_B, &response(&bye.msg, 200, "", "", ""));
    at_rest(&mut w);
}

#[test]
fn b1_a_2xx_that_comes_again_after_the_kill_gets_its_ack_again() {
    let mut w = World::new();
    let Call { out, .. } = talking(&mut w, "911", TRUNK_A);
    w.restart();
    w.receive(TRUNK_A, &response(&out.msg, 200, "t1", PSAP, SDP));
    assert_eq!(seq(&w.expect(TRUNK_A, "ACK sip:psap@")), 1);
    // A branch behind the trunk that answered as well.
    w.receive(TRUNK_A, &response(&out.msg, 200, "t2", "sip:other@127.0.0.1:15070", SDP));
    w.expect(TRUNK_A, "ACK sip:other@");
    w.expect(TRUNK_A, "BYE sip:other@");
    assert_eq!(w.kept(Table::Call), 1);
}

#[test]
fn b5_an_invite_that_comes_again_after_the_kill_is_never_placed_again() {
    // An emergency whose 200 was lost hears it again, until its ACK comes.
    let mut w = World::new();
    let alice = invite(PBX, "alice", "911", "c1");
    let Call { ok, near, .. } = answered(&mut w, &alice, TRUNK_A);
    w.take();
    w.restart();
    w.receive(PBX, &alice);
    w.wait(Duration::from_secs(1));
    assert_eq!(w.expect(PBX, "SIP/2.0 200").msg.bytes(), ok.msg.bytes());
    w.expect_nothing();
    w.receive(PBX, &near.request("ACK", 1, PBX, "", ""));
    w.wait(Duration::from_secs(10));
    w.expect_nothing();
    // An ordinary one is absorbed.
    let mut w = World::new();
    let alice = invite(PBX, "alice", "+14551234567", "c1");
    answered(&mut w, &alice, CARRIER);
    w.take();
    w.restart();
    w.receive(PBX, &alice);
    w.wait(Duration::from_secs(29));
    w.expect_nothing();
    assert_eq!(w.shard.census().ordinary, 1);
}

#[test]
fn b1_an_unanswered_call_is_placed_again_once() {
    let mut w = World::new();
    let alice = invite(PBX, "alice", "911", "c1");
    w.receive(PBX, &alice);
    w.expect(TRUNK_A, "INVITE");
    w.restart();
    for _ in 0..3 {
        w.receive(PBX, &alice);
    }
    let placed = w.take().iter().filter(|s| text(&s.msg).starts_with("INVITE")).count();
    assert_eq!(placed, 1);
    assert_eq!(w.shard.story().expect("the story").active_calls(), 1);
}

#[test]
fn b1_an_answer_that_came_late_still_reaches_the_far_side() {
    let mut w = World::new();
    let bare = invite(PBX, "alice", "911", "c1").split("Content-Type").next().unwrap().to_owned() + "Content-Length: 0\r\n\r\n";
    let Call { near, out, .. } = answered(&mut w, &bare, TRUNK_A);
    w.expect_nothing();
    w.restart();
    // Not before there is an answer to acknowledge with.
    w.receive(TRUNK_A, &response(&out.msg, 200, "t1", PSAP, SDP));
    w.expect_nothing();
    w.wait(Duration::from_secs(1));
    w.expect(PBX, "SIP/2.0 200");
    w.receive(PBX, &near.request("ACK", 1, PBX, "Content-Type: application/sdp\r\n", SDP));
    let hidden = SDP.replace("o=alice", "o=-");
    assert_eq!(w.expect(TRUNK_A, "ACK").msg.body(), hidden.as_bytes());
}

#[test]
fn b2_a_stop_leaves_calls_up_and_the_next_run_answers_for_them() {
    let mut w = World::new();
    let Call { near, .. } = talking(&mut w, "911", TRUNK_A);
    // Nothing is said at the end of a run: there is no such input. What stays are the rows.
    w.restart();
    w.expect_nothing();
    w.receive(PBX, &near.request("BYE", 2, PBX, "", ""));
    w.expect(TRUNK_A, "BYE");
}

#[test]
fn p11_a_restored_call_ends_by_a_481_and_not_by_silence() {
    let mut w = World::new();
    let Call { near, .. } = talking(&mut w, "911", TRUNK_A);
    w.restart();
    w.receive(PBX, &near.request("INFO", 2, PBX, "", ""));
    w.expect(TRUNK_A, "INFO");
    w.wait(Duration::from_secs(40));
    w.expect(PBX, "SIP/2.0 408");
    w.take();
    assert_eq!(w.kept(Table::Call), 1);
    w.receive(PBX, &near.request("INFO", 3, PBX, "", ""));
    let info = w.expect(TRUNK_A, "INFO");
    w.receive(TRUNK_A, &response(&info.msg, 481, "", "", ""));
    w.expect(PBX, "SIP/2.0 481");
    w.expect(PBX, "BYE");
    assert_eq!(w.kept(Table::Call), 0);
}

#[test]
fn b1_nothing_that_is_kept_prints_what_it_holds() {
    let mut w = World::new();
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let out = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &response(&out.msg, 200, "t1", PSAP, SDP));
    let rows: Vec<_> =
        w.rows.iter().map(|((table, key), value)| e911d::words::Row::keep(*table, key.as_str(), value.clone())).collect();
    let said = format!("{rows:?} {:?}", w.sides.iter().filter(|s| matches!(s, Side::Keep(_))).collect::<Vec<_>>());
    assert!(!rows.is_empty() && !said.contains("alice") && !said.contains("psap"), "{said}");
}

#[test]
fn b1_what_belongs_to_a_call_comes_to_the_shard_that_took_it_up_however_many_there_are() {
    for (before, at, after) in [(4, 3, 4), (4, 3, 3), (4, 3, 2), (2, 1, 5), (8, 7, 1)] {
        let mut w = World::new();
        w.setup.shards = before;
        w.shard = Shard::new(at, &w.setup, w.now).expect("a shard");
        let Call { near, far, out, .. } = talking(&mut w, "+14551234567", CARRIER);
        (w.setup.shards, w.setup.era) = (after, 1);
        let run = |index: u8| {
            let mut shard = Shard::new(index, &w.setup, w.now).expect("a shard");
            shard.restore(&saved(&w.rows, true), w.now);
            shard
        };
        let shards: Vec<_> = (0..after).map(run).collect();
        let has: Vec<_> = (0u8..).zip(&shards).filter(|(_, s)| s.census().dialogs == 2).map(|(index, _)| index).collect();
        assert_eq!(has.len(), 1, "{before} to {after}");
        let classifier = shards[0].classifier().expect("shard 0 has the story");
        let bye = near.request("BYE", 2, PBX, "", "");
        let late = response(&out.msg, 200, "t1", "sip:x@127.0.0.1:15080", "");
        for (from, text) in [(PBX, bye), (CARRIER, far.request("BYE", 1, CARRIER, "", "")), (CARRIER, late)] {
            let flow = Flow {
                transport: Transport::Udp,
                listener: 0,
                remote: from.parse().expect("an address"),
                connection: 0,
                name: 0,
            };
            let msg = Message::scan(text.into_bytes().into()).expect("a message");
            assert_eq!(classifier.shard(flow, &msg, &shards[0]), has[0], "{before} to {after}");
        }
    }
}

#[test]
fn b1_a_call_whose_end_was_not_written_down_is_asked_for_and_ends() {
    for forgets in [PBX, TRUNK_A] {
        let mut w = World::new();
        let Call { near, .. } = talking(&mut w, "911", TRUNK_A);
        let rows = w.rows.clone();
        w.receive(PBX, &near.request("BYE", 2, PBX, "", ""));
        w.take();
        w.rows = rows;
        w.wait(Duration::from_secs(40));
        w.restart();
        w.wait(Duration::from_secs(31));
        let (other, asked) = (if forgets == PBX { TRUNK_A } else { PBX }, w.expect(forgets, "OPTIONS"));
        let alive = w.expect(other, "OPTIONS");
        w.take();
        w.receive(other, &response(&alive.msg, 405, "", "", ""));
        w.expect_nothing();
        w.receive(forgets, &response(&asked.msg, 481, "", "", ""));
        let bye = w.expect(other, "BYE");
        w.receive(other, &response(&bye.msg, 481, "", "", ""));
        at_rest(&mut w);
    }
}

#[test]
fn b1_what_ends_before_it_is_written_down_is_never_written() {
    let mut w = World::new();
    let Call { near, .. } = answered(&mut w, &invite(PBX, "alice", "+14551234567", "c1"), CARRIER);
    w.receive(PBX, &near.request("ACK", 1, PBX, "", ""));
    w.receive(PBX, &near.request("BYE", 2, PBX, "", ""));
    w.wait(WRITTEN);
    assert_eq!(w.kept(Table::Call), 0);
}

#[test]
fn b2_what_is_not_written_down_yet_is_at_the_end_of_a_run() {
    let mut w = World::new();
    answered(&mut w, &invite(PBX, "alice", "+14551234567", "c1"), CARRIER);
    assert_eq!(w.kept(Table::Call), 0);
    w.shard.keep_calls();
    w.drain();
    assert_eq!(w.kept(Table::Call), 1);
}

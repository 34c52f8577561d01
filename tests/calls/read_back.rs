//! A test call that no trunk takes: answered by us, read back, hung up by us (RULES R5).

use crate::world::*;
use e911d::bridge::MediaOrder;
use e911d::emergency::facts::Side;
use e911d::emergency::notice::Kind;
use e911d::emergency::privacy::Outcome;
use e911d::sip::Name;
use std::time::Duration;

/// What the world's voice answers with.
const VOICE: &str = "m=audio 20000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n";

fn second(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Both trunks refuse this INVITE; gives the number that the second one was shown.
fn refused_by_all(w: &mut World, invite: &str) -> String {
    w.receive(PBX, invite);
    let mut shown = String::new();
    for trunk in [TRUNK_A, TRUNK_B] {
        let out = w.expect(trunk, "INVITE sip:933@");
        shown = get(&out.msg, Name::From).split(['<', ':', '@']).nth(2).expect("a user").to_owned();
        w.receive(trunk, &response(&out.msg, 503, "t1", "", ""));
        w.expect(trunk, "ACK");
    }
    shown
}

/// Alice's test, answered and acknowledged: our 200, and her side of the dialog.
fn read_back(w: &mut World) -> (String, InDialog) {
    refused_by_all(w, &invite(PBX, "alice", "933", "c1"));
    let ok = w.expect(PBX, "SIP/2.0 200");
    let near = InDialog::of_response(&ok.msg);
    w.receive(PBX, &near.request("ACK", 1, PBX, "", ""));
    (text(&ok.msg), near)
}

/// The orders in a word each.
fn orders(w: &World) -> Vec<String> {
    let word = |order: &MediaOrder| match order {
        MediaOrder::Open { text, towards, known_as } => {
            let known_as = known_as.map_or("-".to_owned(), |ip| ip.to_string());
            format!("open {} {} towards {} as {known_as}", text.number.reveal(), text.path, towards.reveal())
        }
        MediaOrder::Speak { to, payload } => format!("speak {payload} to {}", to.reveal()),
        MediaOrder::Close => "close".to_owned(),
    };
    w.media.iter().map(word).collect()
}

/// Outcome and whether it was read back, as the test contacts are told at the end.
fn told(w: &World) -> Vec<(Outcome, bool)> {
    let notices = w.sides.iter().filter_map(|s| if let Side::Notice(n) = s { Some(n) } else { None });
    let notices = notices.inspect(|n| assert_eq!(n.kind, Kind::Test));
    notices.filter_map(|n| Some((n.outcome?, n.remark.is_some()))).collect()
}

#[track_caller]
fn nothing_is_left(w: &mut World) {
    w.wait(second(40));
    let census = w.shard.census();
    assert_eq!((census.emergencies, census.transactions, census.dialogs), (0, 0, 0), "{census:?}");
    assert_eq!(orders(w).iter().filter(|o| *o == "close").count(), 1);
}

#[test]
fn r5_a_test_that_every_trunk_refuses_is_answered_read_back_and_hung_up_by_us() {
    let mut w = World::new();
    let shown = refused_by_all(&mut w, &invite(PBX, "alice", "933", "c1"));
    let ok = w.expect(PBX, "SIP/2.0 200");
    let body = text(&ok.msg);
    assert!(body.contains("c=IN IP4 127.0.0.1\r\n") && body.contains(VOICE) && body.ends_with("a=sendrecv\r\n"), "{body}");
    assert_eq!(get(&ok.msg, Name::ContentType), "application/sdp");
    let open = format!("open {shown} direct-routing towards 127.0.0.1 as 127.0.0.1");
    assert_eq!(orders(&w), [open.as_str()], "nothing is read before the caller has acknowledged");
    let near = InDialog::of_response(&ok.msg);
    w.receive(PBX, &near.request("ACK", 1, PBX, "", ""));
    assert_eq!(orders(&w)[1..], ["speak 0 to 127.0.0.1:30000"]);
    w.wait(second(20));
    w.expect_nothing();
    w.wait(second(1));
    let bye = w.expect(PBX, "BYE sip:alice@127.0.0.1:15090");
    assert!(get(&bye.msg, Name::Reason).contains("read back"));
    w.receive(PBX, &response(&bye.msg, 200, "", "", ""));
    assert_eq!(told(&w), [(Outcome::NotConnected, true)]);
    nothing_is_left(&mut w);
}

#[test]
fn r5_nothing_that_is_told_or_ordered_prints_the_number() {
    let mut w = World::new();
    let shown = refused_by_all(&mut w, &invite(PBX, "alice", "933", "c1"));
    let printed = format!("{:?} {:?}", w.media, w.sides);
    assert!(!printed.contains(shown.trim_start_matches('+')) && !printed.contains("alice"), "{printed}");
}

#[test]
fn r5_the_caller_may_hang_up_in_the_middle() {
    let mut w = World::new();
    let (_, near) = read_back(&mut w);
    w.wait(second(5));
    w.receive(PBX, &near.request("BYE", 2, PBX, "", ""));
    w.expect(PBX, "SIP/2.0 200");
    assert_eq!(orders(&w).last().map(String::as_str), Some("close"));
    assert_eq!(told(&w), [(Outcome::NotConnected, true)]);
    w.wait(second(30));
    w.expect_nothing();
    nothing_is_left(&mut w);
}

#[test]
fn r5_without_pcmu_the_test_is_refused_with_488_and_says_why() {
    let mut w = World::new();
    // Of the same length, so that Content-Length stays.
    let alaw = invite(PBX, "alice", "933", "c1").replace("RTP/AVP 0", "RTP/AVP 8");
    refused_by_all(&mut w, &alaw);
    let refused = w.expect(PBX, "SIP/2.0 488");
    let reason = get(&refused.msg, Name::Reason);
    assert!(reason.contains("No trunk took the test call") && reason.contains("PCMU"), "{reason}");
    assert_eq!((orders(&w).len(), told(&w)), (0, vec![(Outcome::NotConnected, false)]));
}

#[test]
fn r5_where_there_is_no_voice_the_test_gets_503() {
    let mut w = World::new();
    w.voice = None;
    refused_by_all(&mut w, &invite(PBX, "alice", "933", "c1"));
    let refused = w.expect(PBX, "SIP/2.0 503");
    assert!(get(&refused.msg, Name::Reason).contains("No trunk took the test call"));
    assert_eq!(told(&w), [(Outcome::NotConnected, false)]);
}

#[test]
fn r5_a_caller_who_offers_nothing_gets_our_offer_and_answers_in_the_ack() {
    for (answer, spoken) in [(SDP, true), ("", false)] {
        let mut w = World::new();
        let whole = invite(PBX, "alice", "933", "c1");
        let (head, _) = whole.split_once("Content-Type").expect("a body");
        refused_by_all(&mut w, &format!("{head}Content-Length: 0\r\n\r\n"));
        let ok = w.expect(PBX, "SIP/2.0 200");
        assert!(text(&ok.msg).contains("m=audio 20000 RTP/AVP 0 101\r\n"), "{}", text(&ok.msg));
        let ack = InDialog::of_response(&ok.msg).request("ACK", 1, PBX, "Content-Type: application/sdp\r\n", answer);
        w.receive(PBX, &ack);
        let heard = orders(&w).iter().any(|o| o == "speak 0 to 127.0.0.1:30000");
        assert_eq!(heard, spoken);
        if !spoken {
            assert!(get(&w.expect(PBX, "BYE").msg, Name::Reason).contains("488"));
        }
    }
}

#[test]
fn r5_an_answer_that_nobody_acknowledges_is_given_up() {
    let mut w = World::new();
    refused_by_all(&mut w, &invite(PBX, "alice", "933", "c1"));
    w.wait(second(33));
    let bye = w.expect(PBX, "BYE");
    w.receive(PBX, &response(&bye.msg, 200, "", "", ""));
    nothing_is_left(&mut w);
}

#[test]
fn r5_the_caller_may_move_its_audio_and_what_we_cannot_follow_changes_nothing() {
    let mut w = World::new();
    let (_, near) = read_back(&mut w);
    let sdp = "Content-Type: application/sdp\r\n";
    let moved = SDP.replace("30000", "30002");
    w.receive(PBX, &near.request("INVITE", 2, PBX, sdp, &moved));
    let ok = w.expect(PBX, "SIP/2.0 200");
    assert!(text(&ok.msg).contains(" 2 IN IP4 127.0.0.1\r\n") && text(&ok.msg).contains(VOICE), "{}", text(&ok.msg));
    w.receive(PBX, &near.request("ACK", 2, PBX, "", ""));
    assert_eq!(orders(&w).last().map(String::as_str), Some("speak 0 to 127.0.0.1:30002"));
    let held = format!("{SDP}a=sendonly\r\n");
    w.receive(PBX, &near.request("INVITE", 3, PBX, sdp, &held));
    w.expect(PBX, "SIP/2.0 488");
    w.receive(PBX, &near.request("UPDATE", 4, PBX, "", ""));
    w.expect(PBX, "SIP/2.0 200");
    w.receive(PBX, &near.request("REFER", 5, PBX, "Refer-To: <sip:x@y>\r\n", ""));
    w.expect(PBX, "SIP/2.0 403");
    assert_eq!((orders(&w).len(), told(&w)), (3, Vec::new()), "it is read on");
}

//! A 911 call from the PBX to a trunk, over real sockets, with SIPp on both sides; where an assertion needs
//! the exact order of things, a [`Peer`] plays a side.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::clock::Stopwatch;
use common::peer::SOON;
use common::story::{assert_headers_hide, assert_trace_hides, number_after_911, shown_number};
use common::{Config, Gateway, Message, Net, Outgoing, Peer, SDP, Sipp, Transport, World, net, require};

const BOTH: [Transport; 2] = [Transport::Udp, Transport::Tcp];

/// The PBX's side, by hand.
fn pbx_peer(world: &World) -> Peer {
    Peer::calling(world.transport, world.pbx(), world.at())
}

/// Alice's 911 call, by hand.
fn alices_call(world: &World) -> Outgoing {
    Outgoing::new(world.at(), "alice", &world.uri("911"))
}

/// The call is answered with 200 by `trunk`, and ends with the caller's BYE.
fn talk_and_hang_up(pbx: &mut Peer, call: &Outgoing, trunk: &mut Peer, invite: &Message) {
    trunk.answer(invite, "answered");
    let answer = pbx.response("INVITE", 200);
    let mut dialog = pbx.ack(call, &answer);
    trunk.request("ACK");
    pbx.in_dialog(&mut dialog, "BYE", "");
    let bye = trunk.request("BYE");
    trunk.reply(&bye, "200 OK", "", "", "");
    pbx.response("BYE", 200);
}

#[test]
fn r1_r2_every_form_of_911_reaches_the_trunk_over_udp_and_tcp() {
    require!("sipp" from "sip-tester");
    for transport in BOTH {
        let world = World::new(transport);
        let forms = [world.uri("911"), world.uri("+911"), world.uri("9911"), "urn:service:sos".to_owned(), "tel:911".to_owned()];
        let trunk = Sipp::answers("uas_answer.xml", transport, world.trunk_a()).times(forms.len()).start();
        for form in &forms {
            Sipp::calls("uac_call.xml", transport, world.pbx(), world.at(), "alice", form).run();
        }
        let trace = trunk.finish();
        let invites = trace.requests("INVITE");
        assert_eq!(invites.len(), forms.len());
        for invite in invites {
            let host = world.trunk_a().ip();
            assert!(invite.uri().starts_with(&format!("sip:911@{host}")), "{}", invite.uri());
            assert!(invite.uri().contains(";user=phone"), "{}", invite.uri());
            shown_number(invite);
        }
    }
}

#[test]
fn r2_a_trunk_that_wants_the_urn_gets_the_urn() {
    require!("sipp" from "sip-tester");
    let world = World::with(Transport::Udp, |_, mut config| {
        config.trunks[0].more = "emergency_target = \"urn\"".to_owned();
        config
    });
    let trunk = Sipp::answers("uas_answer.xml", Transport::Udp, world.trunk_a()).start();
    Sipp::calls("uac_call.xml", Transport::Udp, world.pbx(), world.at(), "alice", &world.uri("911")).run();
    let trace = trunk.finish();
    assert_eq!(trace.request("INVITE").uri(), "urn:service:sos");
    shown_number(trace.request("INVITE"));
}

#[test]
fn r1_the_call_goes_out_over_ipv6() {
    require!("sipp" from "sip-tester");
    if !net::has_ipv6() {
        return common::child::skipped("this machine has no ::1");
    }
    for trunk_transport in BOTH {
        let own = Net::take();
        let mut config = Config::new(&own, Transport::Udp).agent("alice", "");
        let (pbx, trunk) = (net::free_v6_port(), net::free_v6_port());
        config.bind = "[::1]:0".parse().unwrap();
        config.pbx = pbx;
        config.pbx_sources = vec![pbx.to_string()];
        config.desk = None;
        config.trunks.truncate(1);
        config.trunks[0].at = trunk;
        config.trunks[0].transport = trunk_transport;
        let gateway = Gateway::start(&config);
        let at = gateway.at(Transport::Udp);
        let answers = Sipp::answers("uas_answer.xml", trunk_transport, trunk).start();
        Sipp::calls("uac_call.xml", Transport::Udp, pbx, at, "alice", &format!("sip:911@{at}")).run();
        let trace = answers.finish();
        shown_number(trace.request("INVITE"));
        assert!(trace.request("INVITE").uri().starts_with("sip:911@[::1]"));
    }
}

#[test]
fn l8_the_psap_sees_the_callback_number_and_nothing_of_the_agent() {
    require!("sipp" from "sip-tester");
    for transport in BOTH {
        let world = World::new(transport);
        let trunk = Sipp::answers("uas_answer.xml", transport, world.trunk_a()).start();
        let call = Sipp::calls("uac_call.xml", transport, world.pbx(), world.at(), "alice", &world.uri("911"));
        let caller = call.key("extra", "Remote-Party-ID: <sip:alice@pbx.example.com>").run();
        let trace = trunk.finish();
        let number = shown_number(trace.request("INVITE"));
        assert!(("+14255550100"..="+14255550119").contains(&number.as_str()), "{number} is not a number of carrier-a");
        let call_id = caller.sent().next().unwrap().header("Call-ID").to_owned();
        assert_trace_hides(&trace, &["alice", "Caller", "pbx/1.0", &call_id, &world.pbx().ip().to_string()]);
    }
}

#[test]
fn l3_the_same_agent_gets_the_same_number_again() {
    require!("sipp" from "sip-tester");
    let world = World::new(Transport::Udp);
    let first = number_after_911(&world, "alice");
    let other = number_after_911(&world, "bob");
    assert_eq!(number_after_911(&world, "alice"), first);
    assert_ne!(other, first);
}

#[test]
fn l4_ten_agents_at_once_get_ten_numbers() {
    require!("sipp" from "sip-tester");
    let world = World::new(Transport::Udp);
    let trunk = Sipp::answers("uas_answer.xml", Transport::Udp, world.trunk_a()).times(10).start();
    let calls = Sipp::calls("uac_call.xml", Transport::Udp, world.pbx(), world.at(), "", &world.uri("911"));
    calls.users((0..10).map(|n| format!("agent{n}"))).hold(Duration::from_millis(500)).run();
    let trace = trunk.finish();
    let mut numbers: Vec<_> = trace.requests("INVITE").into_iter().map(shown_number).collect();
    numbers.sort();
    numbers.dedup();
    assert_eq!(numbers.len(), 10, "{numbers:?}");
}

#[test]
fn p6_any_refusal_moves_on_to_the_next_trunk() {
    require!("sipp" from "sip-tester");
    let refusals = ["503 Service Unavailable", "486 Busy Here", "603 Decline", "404 Not Found", "302 Moved Temporarily"];
    for refusal in refusals {
        let world = World::new(Transport::Udp);
        let refuses = Sipp::answers("uas_refuse.xml", Transport::Udp, world.trunk_a()).status(refusal).start();
        let answers = Sipp::answers("uas_answer.xml", Transport::Udp, world.trunk_b()).start();
        Sipp::calls("uac_call.xml", Transport::Udp, world.pbx(), world.at(), "alice", &world.uri("911")).run();
        let first = shown_number(refuses.finish().request("INVITE"));
        let trace = answers.finish();
        let second = shown_number(trace.request("INVITE"));
        assert!(first.starts_with("+1425") && second.starts_with("+1206"), "after {refusal}: {first}, {second} (L5)");
        assert_headers_hide(trace.request("INVITE"), &["alice"]);
    }
}

#[test]
fn p6_over_tcp_a_refusal_moves_on_too() {
    require!("sipp" from "sip-tester");
    let world = World::new(Transport::Tcp);
    let refuses = Sipp::answers("uas_refuse.xml", Transport::Tcp, world.trunk_a()).start();
    let answers = Sipp::answers("uas_answer.xml", Transport::Tcp, world.trunk_b()).start();
    Sipp::calls("uac_call.xml", Transport::Tcp, world.pbx(), world.at(), "alice", &world.uri("911")).run();
    refuses.finish();
    shown_number(answers.finish().request("INVITE"));
}

#[test]
fn p6_when_all_trunks_refuse_twice_the_caller_gets_503_with_a_reason() {
    require!("sipp" from "sip-tester");
    let world = World::new(Transport::Udp);
    let refuse = |at: SocketAddr| Sipp::answers("uas_refuse.xml", Transport::Udp, at).times(2).start();
    let (a, b) = (refuse(world.trunk_a()), refuse(world.trunk_b()));
    let mut pbx = pbx_peer(&world);
    let call = alices_call(&world);
    let watch = Stopwatch::start();
    pbx.invite(&call);
    let refused = pbx.final_response("INVITE", Duration::from_secs(15));
    pbx.ack(&call, &refused);
    assert_eq!(refused.status(), 503);
    assert!(refused.get("Reason").is_some(), "no Reason:\n{}", refused.text());
    assert!(watch.elapsed() >= Duration::from_secs(1), "the second round begins at least 1 s after the last refusal");
    assert_eq!(a.finish().requests("INVITE").len(), 2);
    assert_eq!(b.finish().requests("INVITE").len(), 2);
}

#[test]
fn p7_a_silent_trunk_is_joined_by_the_next_after_a_second_and_a_half() {
    let world = World::new(Transport::Udp);
    let mut silent = Peer::udp(world.trunk_a());
    let mut other = Peer::udp(world.trunk_b());
    let mut pbx = pbx_peer(&world);
    let call = alices_call(&world);
    pbx.invite(&call);
    let unanswered = silent.request("INVITE");
    let watch = Stopwatch::start();
    let invite = other.request("INVITE");
    let waited = watch.elapsed().as_millis();
    assert!((1300..2500).contains(&waited), "the next trunk was tried after {waited} ms");
    other.reply(&invite, "180 Ringing", "answered", "", "");
    pbx.response("INVITE", 180);
    silent.nothing("CANCEL", Duration::from_millis(500));
    // It wakes up too late: its answer is taken and ended, and the caller never hears of it.
    silent.answer(&unanswered, "late");
    silent.request("ACK");
    let bye = silent.request("BYE");
    silent.reply(&bye, "200 OK", "", "", "");
    assert!(bye.get("Reason").is_some(), "BYE with Reason:\n{}", bye.text());
    talk_and_hang_up(&mut pbx, &call, &mut other, &invite);
}

#[test]
fn p7_a_trunk_that_only_says_100_is_joined_after_six_seconds_and_cancelled() {
    let world = World::new(Transport::Udp);
    let mut trying = Peer::udp(world.trunk_a());
    let mut other = Peer::udp(world.trunk_b());
    let mut pbx = pbx_peer(&world);
    let call = alices_call(&world);
    pbx.invite(&call);
    let stuck = trying.request("INVITE");
    trying.reply(&stuck, "100 Trying", "", "", "");
    let watch = Stopwatch::start();
    let invite = other.request_within("INVITE", Duration::from_secs(9)).expect("the next trunk is tried");
    let waited = watch.elapsed().as_millis();
    assert!((5500..7500).contains(&waited), "the next trunk was tried after {waited} ms");
    other.reply(&invite, "180 Ringing", "answered", "", "");
    let cancel = trying.request("CANCEL");
    assert_eq!(cancel.header("Via"), stuck.header("Via"), "RFC 3261 section 9.1");
    assert_eq!(cancel.uri(), stuck.uri());
    trying.reply(&cancel, "200 OK", "stuck", "", "");
    trying.reply(&stuck, "487 Request Terminated", "stuck", "", "");
    trying.request("ACK");
    talk_and_hang_up(&mut pbx, &call, &mut other, &invite);
}

#[test]
fn p7_a_closed_udp_port_moves_on_at_once() {
    let world = World::new(Transport::Udp);
    let mut other = Peer::udp(world.trunk_b());
    let mut pbx = pbx_peer(&world);
    let call = alices_call(&world);
    let watch = Stopwatch::start();
    pbx.invite(&call);
    let invite = other.request("INVITE");
    assert!(watch.elapsed() < Duration::from_millis(1400), "the ICMP error was not heard: {:?}", watch.elapsed());
    talk_and_hang_up(&mut pbx, &call, &mut other, &invite);
}

#[test]
fn p7_a_closed_tcp_port_moves_on_at_once() {
    let world = World::new(Transport::Tcp);
    let mut other = Peer::tcp_listener(world.trunk_b());
    let mut pbx = pbx_peer(&world);
    let call = alices_call(&world);
    let watch = Stopwatch::start();
    pbx.invite(&call);
    let invite = other.request("INVITE");
    assert!(watch.elapsed() < Duration::from_millis(1400), "the refused connection was not heard: {:?}", watch.elapsed());
    talk_and_hang_up(&mut pbx, &call, &mut other, &invite);
}

#[test]
fn p7_a_tcp_reset_after_the_invite_moves_on() {
    let world = World::new(Transport::Tcp);
    let mut resets = Peer::tcp_listener(world.trunk_a());
    let mut other = Peer::tcp_listener(world.trunk_b());
    let mut pbx = pbx_peer(&world);
    let call = alices_call(&world);
    pbx.invite(&call);
    resets.request("INVITE");
    resets.reset();
    let invite = other.request("INVITE");
    talk_and_hang_up(&mut pbx, &call, &mut other, &invite);
}

#[test]
fn p8_a_ringing_trunk_keeps_ringing_until_it_refuses() {
    let world = World::new(Transport::Udp);
    let mut rings = Peer::udp(world.trunk_a());
    let mut other = Peer::udp(world.trunk_b());
    let mut pbx = pbx_peer(&world);
    let call = alices_call(&world);
    pbx.invite(&call);
    let ringing = rings.request("INVITE");
    rings.reply(&ringing, "180 Ringing", "rings", "", "");
    pbx.response("INVITE", 180);
    other.nothing("INVITE", Duration::from_secs(8));
    rings.reply(&ringing, "503 Service Unavailable", "rings", "", "");
    rings.request("ACK");
    let invite = other.request("INVITE");
    talk_and_hang_up(&mut pbx, &call, &mut other, &invite);
}

#[test]
fn p8_early_media_is_passed_on_with_its_sdp() {
    let world = World::new(Transport::Udp);
    let mut trunk = Peer::udp(world.trunk_a());
    let mut pbx = pbx_peer(&world);
    let call = alices_call(&world);
    pbx.invite(&call);
    let invite = trunk.request("INVITE");
    trunk.reply(&invite, "183 Session Progress", "early", "", SDP);
    let early = pbx.response("INVITE", 183);
    assert_eq!(early.body, SDP.as_bytes());
    assert!(early.tag_of("To").is_some());
    talk_and_hang_up(&mut pbx, &call, &mut trunk, &invite);
}

#[test]
fn a3_the_callers_cancel_reaches_the_trunk_and_487_comes_back() {
    require!("sipp" from "sip-tester");
    for transport in BOTH {
        let world = World::new(transport);
        let trunk = Sipp::answers("uas_cancelled.xml", transport, world.trunk_a()).start();
        Sipp::calls("uac_cancel.xml", transport, world.pbx(), world.at(), "alice", &world.uri("911")).run();
        let trace = trunk.finish();
        assert_trace_hides(&trace, &["alice"]);
        let number = shown_number(trace.request("INVITE"));
        assert_eq!(number_after_911(&world, "alice"), number, "the lease stays");
    }
}

#[test]
fn a3_cancel_and_answer_at_the_same_moment_leave_no_half_call() {
    let world = World::new(Transport::Udp);
    let mut trunk = Peer::udp(world.trunk_a());
    let mut pbx = pbx_peer(&world);
    for round in 0..10 {
        let call = alices_call(&world);
        pbx.invite(&call);
        let invite = trunk.request("INVITE");
        trunk.reply(&invite, "180 Ringing", "race", "", "");
        pbx.response("INVITE", 180);
        if round % 2 == 0 {
            pbx.cancel(&call);
            trunk.answer(&invite, "race");
        } else {
            trunk.answer(&invite, "race");
            pbx.cancel(&call);
        }
        pbx.final_response("CANCEL", SOON);
        let end = pbx.final_response("INVITE", SOON);
        let mut dialog = pbx.ack(&call, &end);
        trunk.request("ACK");
        match end.status() {
            200 => pbx.in_dialog(&mut dialog, "BYE", ""),
            487 => {}
            other => panic!("round {round}: {other}"),
        }
        if let Some(cancel) = trunk.request_within("CANCEL", Duration::ZERO) {
            trunk.reply(&cancel, "200 OK", "race", "", "");
        }
        let bye = trunk.request("BYE");
        trunk.reply(&bye, "200 OK", "", "", "");
        if end.status() == 200 {
            pbx.response("BYE", 200);
        }
    }
}

#[test]
fn p11_either_side_can_hang_up() {
    require!("sipp" from "sip-tester");
    for transport in BOTH {
        let world = World::new(transport);
        for (caller, callee) in [("uac_call.xml", "uas_answer.xml"), ("uac_hung_up_on.xml", "uas_hangup.xml")] {
            let trunk = Sipp::answers(callee, transport, world.trunk_a()).start();
            let pbx = Sipp::calls(caller, transport, world.pbx(), world.at(), "alice", &world.uri("911")).start();
            common::sipp::finish_both(pbx, trunk);
        }
    }
}

#[test]
fn a6_hold_and_back_pass_both_ways() {
    require!("sipp" from "sip-tester");
    for transport in BOTH {
        let world = World::new(transport);
        let trunk = Sipp::answers("uas_reinvite.xml", transport, world.trunk_a()).start();
        let pbx = Sipp::calls("uac_reinvite.xml", transport, world.pbx(), world.at(), "alice", &world.uri("911")).start();
        let (pbx, trunk) = common::sipp::finish_both(pbx, trunk);
        assert_trace_hides(&trunk, &["alice", "Caller"]);
        let held = trunk.requests("INVITE")[1];
        assert!(String::from_utf8_lossy(&held.body).contains("a=sendonly"));
        assert!(String::from_utf8_lossy(&pbx.request("INVITE").body).contains("a=sendonly"));
    }
}

#[test]
fn a6_refer_is_refused_and_the_call_goes_on() {
    let world = World::new(Transport::Udp);
    let mut trunk = Peer::udp(world.trunk_a());
    let mut pbx = pbx_peer(&world);
    let call = alices_call(&world);
    pbx.invite(&call);
    let invite = trunk.request("INVITE");
    trunk.answer(&invite, "t");
    let answer = pbx.response("INVITE", 200);
    let mut dialog = pbx.ack(&call, &answer);
    trunk.request("ACK");
    pbx.in_dialog(&mut dialog, "REFER", "");
    pbx.response("REFER", 403);
    trunk.nothing("REFER", Duration::from_millis(200));
    pbx.in_dialog(&mut dialog, "BYE", "");
    let bye = trunk.request("BYE");
    trunk.reply(&bye, "200 OK", "", "", "");
    pbx.response("BYE", 200);
}

#[test]
fn p11_a_second_forked_answer_is_ended_and_the_first_goes_on() {
    let world = World::new(Transport::Udp);
    let mut trunk = Peer::udp(world.trunk_a());
    let mut pbx = pbx_peer(&world);
    let call = alices_call(&world);
    pbx.invite(&call);
    let invite = trunk.request("INVITE");
    trunk.reply(&invite, "180 Ringing", "first", "", "");
    trunk.reply(&invite, "180 Ringing", "second", "", "");
    trunk.answer(&invite, "first");
    trunk.answer(&invite, "second");
    let answer = pbx.response("INVITE", 200);
    let mut dialog = pbx.ack(&call, &answer);
    let acked = [trunk.request("ACK"), trunk.request("ACK")].map(|ack| ack.tag_of("To").unwrap_or_default().to_owned());
    assert!(acked.contains(&"first".to_owned()) && acked.contains(&"second".to_owned()), "{acked:?}");
    let bye = trunk.request("BYE");
    assert_eq!(bye.tag_of("To"), Some("second"));
    trunk.reply(&bye, "200 OK", "", "", "");
    pbx.nothing("BYE", Duration::from_millis(200));
    pbx.in_dialog(&mut dialog, "BYE", "");
    let bye = trunk.request("BYE");
    assert_eq!(bye.tag_of("To"), Some("first"));
    trunk.reply(&bye, "200 OK", "", "", "");
    pbx.response("BYE", 200);
}

#[test]
fn b5_a_repeated_invite_is_absorbed() {
    let world = World::new(Transport::Udp);
    let mut trunk = Peer::udp(world.trunk_a());
    let mut pbx = pbx_peer(&world);
    let call = alices_call(&world);
    pbx.invite(&call);
    pbx.invite(&call);
    let invite = trunk.request("INVITE");
    pbx.invite(&call);
    trunk.nothing("INVITE", Duration::from_millis(300));
    talk_and_hang_up(&mut pbx, &call, &mut trunk, &invite);
}

#[test]
fn p12_our_own_call_coming_back_is_482_and_leases_nothing() {
    let world = World::new(Transport::Udp);
    let mut trunk = Peer::udp(world.trunk_a());
    let mut pbx = pbx_peer(&world);
    let call = Outgoing::new(world.at(), "+14255550107", &world.uri("911"));
    pbx.invite(&call);
    let refused = pbx.response("INVITE", 482);
    pbx.ack(&call, &refused);
    trunk.nothing("INVITE", Duration::from_millis(300));
}

#[test]
fn r4_an_unknown_require_does_not_stop_an_emergency() {
    let world = World::new(Transport::Udp);
    let mut trunk = Peer::udp(world.trunk_a());
    let mut pbx = pbx_peer(&world);
    let call = alices_call(&world).header("Require: nothing-we-know");
    pbx.invite(&call);
    let invite = trunk.request("INVITE");
    assert_eq!(invite.get("Require"), None);
    talk_and_hang_up(&mut pbx, &call, &mut trunk, &invite);
}

#[test]
fn r8_a_strangers_call_is_answered_and_never_relayed() {
    let world = World::new(Transport::Udp);
    let mut trunk = Peer::udp(world.trunk_a());
    let mut stranger = Peer::udp(world.net.sip(99));
    let call = alices_call(&world);
    stranger.invite(&call);
    let refused = stranger.final_response("INVITE", SOON);
    assert!(refused.status() >= 400, "{}", refused.start);
    assert!(refused.bytes.len() <= 3 * call.request(&stranger, "INVITE").len());
    trunk.nothing("INVITE", Duration::from_millis(300));
}

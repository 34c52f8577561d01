//! Ordinary calls pass through, both ways, as they came.

mod common;

use std::time::Duration;

use common::{Outgoing, Peer, SDP, Sipp, Transport, World, require};

const BOTH: [Transport; 2] = [Transport::Udp, Transport::Tcp];
const NUMBER: &str = "+12125550123";

#[test]
fn an_outbound_call_keeps_its_number_and_its_caller() {
    require!("sipp" from "sip-tester");
    for transport in BOTH {
        let world = World::new(transport);
        for dialed in [NUMBER, "12125550123", "2125550123"] {
            let trunk = Sipp::answers("uas_answer.xml", transport, world.trunk_a()).start();
            let pbx = Sipp::calls("uac_call.xml", transport, world.pbx(), world.at(), "alice", &world.uri(dialed)).run();
            let trace = trunk.finish();
            let invite = trace.request("INVITE");
            let sent = pbx.sent().find(|m| m.method() == "INVITE").unwrap();
            assert!(invite.uri().starts_with(&format!("sip:{dialed}@{}", world.trunk_a().ip())), "{}", invite.uri());
            assert_eq!(invite.uri_of("From"), sent.uri_of("From"));
            assert_eq!(invite.uri_of("To"), sent.uri_of("To"));
            assert_eq!(invite.header("P-Asserted-Identity"), sent.header("P-Asserted-Identity"));
            assert_eq!(invite.header("Max-Forwards"), "69");
            assert_eq!(invite.body, sent.body);
        }
    }
}

#[test]
fn an_inbound_call_goes_to_the_configured_peer_with_its_user_unchanged() {
    require!("sipp" from "sip-tester");
    for transport in BOTH {
        let world = World::new(transport);
        let pbx = Sipp::answers("uas_answer.xml", transport, world.pbx()).start();
        Sipp::calls("uac_call.xml", transport, world.trunk_a(), world.at(), NUMBER, &world.uri("+14255551234")).run();
        let trace = pbx.finish();
        let invite = trace.request("INVITE");
        assert!(invite.uri().starts_with(&format!("sip:+14255551234@{}", world.pbx().ip())), "{}", invite.uri());
        assert_eq!(invite.user_of("From"), NUMBER);
        assert_eq!(invite.get("Priority"), None);
    }
}

#[test]
fn hang_up_hold_and_cancel_pass_both_ways() {
    require!("sipp" from "sip-tester");
    for transport in BOTH {
        let world = World::new(transport);
        let pairs = [
            ("uac_hung_up_on.xml", "uas_hangup.xml"),
            ("uac_reinvite.xml", "uas_reinvite.xml"),
            ("uac_cancel.xml", "uas_cancelled.xml"),
        ];
        for (caller, callee) in pairs {
            let trunk = Sipp::answers(callee, transport, world.trunk_a()).start();
            let pbx = Sipp::calls(caller, transport, world.pbx(), world.at(), "alice", &world.uri(NUMBER)).start();
            common::sipp::finish_both(pbx, trunk);
        }
    }
}

#[test]
fn p1_the_next_trunk_takes_over_after_408_and_5xx() {
    require!("sipp" from "sip-tester");
    for refusal in ["408 Request Timeout", "500 Server Internal Error", "503 Service Unavailable"] {
        let world = World::new(Transport::Udp);
        let refuses = Sipp::answers("uas_refuse.xml", Transport::Udp, world.trunk_a()).status(refusal).start();
        let answers = Sipp::answers("uas_answer.xml", Transport::Udp, world.trunk_b()).start();
        Sipp::calls("uac_call.xml", Transport::Udp, world.pbx(), world.at(), "alice", &world.uri(NUMBER)).run();
        refuses.finish();
        assert!(answers.finish().request("INVITE").uri().starts_with(&format!("sip:{NUMBER}@{}", world.trunk_b().ip())));
    }
}

#[test]
fn p1_the_next_trunk_takes_over_from_a_silent_one() {
    let world = World::new(Transport::Udp);
    let mut silent = Peer::udp(world.trunk_a());
    let mut other = Peer::udp(world.trunk_b());
    let mut pbx = Peer::udp(world.pbx());
    let call = Outgoing::new(world.at(), "alice", &world.uri(NUMBER));
    pbx.invite(&call);
    silent.request("INVITE");
    let invite = other.request_within("INVITE", Duration::from_secs(35)).expect("the next trunk");
    other.answer(&invite, "t");
    let answer = pbx.response("INVITE", 200);
    pbx.ack(&call, &answer);
    other.request("ACK");
}

#[test]
fn a_busy_callee_is_busy() {
    require!("sipp" from "sip-tester");
    let world = World::new(Transport::Udp);
    let refuses = Sipp::answers("uas_refuse.xml", Transport::Udp, world.trunk_a()).status("486 Busy Here").start();
    let mut other = Peer::udp(world.trunk_b());
    let mut pbx = Peer::udp(world.pbx());
    let call = Outgoing::new(world.at(), "alice", &world.uri(NUMBER));
    pbx.invite(&call);
    let busy = pbx.response("INVITE", 486);
    pbx.ack(&call, &busy);
    refuses.finish();
    other.nothing("INVITE", Duration::from_millis(200));
}

#[test]
fn r1_a_number_that_only_looks_like_911_is_ordinary_and_unmatched_ones_are_404() {
    let world = World::new(Transport::Udp);
    let mut trunk = Peer::udp(world.trunk_a());
    let mut pbx = Peer::udp(world.pbx());
    for dialed in ["9110", "5551", "91", "988", "1911"] {
        let call = Outgoing::new(world.at(), "alice", &world.uri(dialed));
        pbx.invite(&call);
        let refused = pbx.response("INVITE", 404);
        pbx.ack(&call, &refused);
    }
    trunk.nothing("INVITE", Duration::from_millis(200));
}

#[test]
fn headers_that_we_do_not_know_and_early_media_pass() {
    let world = World::new(Transport::Udp);
    let mut trunk = Peer::udp(world.trunk_a());
    let mut pbx = Peer::udp(world.pbx());
    let call = Outgoing::new(world.at(), "alice", &world.uri(NUMBER)).header("X-Tenant: seven").header("Subject: =?caf\u{e9}");
    pbx.invite(&call);
    let invite = trunk.request("INVITE");
    assert_eq!(invite.header("X-Tenant"), "seven");
    assert_eq!(invite.header("Subject"), "=?caf\u{e9}");
    trunk.reply(&invite, "183 Session Progress", "t", "X-Trunk: eight\r\n", SDP);
    let early = pbx.response("INVITE", 183);
    assert_eq!(early.body, SDP.as_bytes());
    assert_eq!(early.header("X-Trunk"), "eight");
    trunk.answer(&invite, "t");
    let answer = pbx.response("INVITE", 200);
    pbx.ack(&call, &answer);
    trunk.request("ACK");
}

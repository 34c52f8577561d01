//! The PSAP calls the number back that it saw, and that very agent rings.

mod common;

use std::time::Duration;

use common::clock::Stopwatch;
use common::peer::SOON;
use common::story::{PSAP, assert_headers_hide, assert_trace_hides, number_after_911, psap_calls};
use common::{Config, Message, Net, Outgoing, Peer, Sipp, Transport, World, require};

const BOTH: [Transport; 2] = [Transport::Udp, Transport::Tcp];

/// The config's `devices` line with phones at these hosts of the network.
fn devices(net: &Net, transport: Transport, hosts: &[u8]) -> String {
    let uris: Vec<_> = hosts.iter().map(|&h| format!("\"sip:alice@{};transport={}\"", net.sip(h), transport.name())).collect();
    format!("devices = [{}]\n", uris.join(", "))
}

/// Alice has phones at these hosts.
fn world_with_devices(transport: Transport, hosts: &'static [u8]) -> World {
    World::with(transport, |net, config| config.agent("alice", &devices(net, transport, hosts)))
}

/// The PSAP, by hand: it calls the number and is left waiting.
fn psap_peer(world: &World, number: &str) -> (Peer, Outgoing) {
    let mut psap = Peer::calling(world.transport, world.trunk_a(), world.at());
    let mut call = Outgoing::new(world.at(), PSAP, &world.uri(number));
    call.domain = "psap.example.net".to_owned();
    psap.invite(&call);
    (psap, call)
}

/// The INVITE says that it is a PSAP's callback, who calls, and whom she called.
fn assert_marked(invite: &Message, number: &str) {
    assert_eq!(invite.header("Priority"), "psap-callback");
    assert_eq!(invite.header("Alert-Info"), "<urn:alert:priority:high>");
    assert_eq!(invite.user_of("From"), PSAP);
    assert_eq!(invite.user_of("P-Asserted-Identity"), PSAP);
    assert_eq!(invite.user_of("To"), number);
    assert!(invite.all("Reject-Contact").any(|v| v.contains("automata")), "RFC 3841, RULES C9:\n{}", invite.text());
}

/// Takes the call on `phone`, and the PSAP ends it.
fn talk_and_hang_up(psap: &mut Peer, call: &Outgoing, phone: &mut Peer, invite: &Message) {
    phone.answer(invite, "phone");
    let answer = psap.response("INVITE", 200);
    let mut dialog = psap.ack(call, &answer);
    phone.request("ACK");
    psap.in_dialog(&mut dialog, "BYE", "");
    let bye = phone.request("BYE");
    phone.reply(&bye, "200 OK", "", "", "");
    psap.response("BYE", 200);
}

#[test]
fn c1_the_callback_rings_the_agents_own_device() {
    require!("sipp" from "sip-tester");
    for transport in BOTH {
        let world = world_with_devices(transport, &[31]);
        let number = number_after_911(&world, "alice");
        let phone = Sipp::answers("uas_answer.xml", transport, world.net.sip(31)).start();
        let psap = psap_calls(&world, "uac_call.xml", &number).run();
        let trace = phone.finish();
        let invite = trace.request("INVITE");
        assert!(invite.uri().starts_with(&format!("sip:alice@{}", world.net.ip(31))), "{}", invite.uri());
        assert_marked(invite, &number);
        assert_trace_hides(&psap, &["alice", &world.net.sip(31).ip().to_string()]);
    }
}

#[test]
fn c1_the_callback_rings_the_phone_behind_the_pbx_that_made_the_call() {
    require!("sipp" from "sip-tester");
    for transport in BOTH {
        let world = World::new(transport);
        for agent in ["alice", "bob", "nobody-in-the-config"] {
            let number = number_after_911(&world, agent);
            let pbx = Sipp::answers("uas_answer.xml", transport, world.pbx()).start();
            psap_calls(&world, "uac_call.xml", &number).run();
            let trace = pbx.finish();
            let invite = trace.request("INVITE");
            assert!(invite.uri().starts_with(&format!("sip:{agent}@{}", world.pbx().ip())), "{}", invite.uri());
            assert_marked(invite, &number);
        }
    }
}

#[test]
fn c1_either_side_of_a_callback_can_hang_up_hold_and_cancel() {
    require!("sipp" from "sip-tester");
    for transport in BOTH {
        let world = world_with_devices(transport, &[31]);
        let number = number_after_911(&world, "alice");
        let pairs = [
            ("uac_hung_up_on.xml", "uas_hangup.xml"),
            ("uac_reinvite.xml", "uas_reinvite.xml"),
            ("uac_cancel.xml", "uas_cancelled.xml"),
        ];
        for (caller, callee) in pairs {
            let phone = Sipp::answers(callee, transport, world.net.sip(31)).start();
            let psap = psap_calls(&world, caller, &number).start();
            let (psap, _) = common::sipp::finish_both(psap, phone);
            assert_trace_hides(&psap, &["alice"]);
        }
    }
}

#[test]
fn c7_of_two_devices_the_first_answer_wins_and_the_other_is_cancelled() {
    require!("sipp" from "sip-tester");
    let world = world_with_devices(Transport::Udp, &[31, 32]);
    let number = number_after_911(&world, "alice");
    let (mut desk_phone, mut mobile) = (Peer::udp(world.net.sip(31)), Peer::udp(world.net.sip(32)));
    let (mut psap, call) = psap_peer(&world, &number);
    let on_desk_phone = desk_phone.request("INVITE");
    let on_mobile = mobile.request("INVITE");
    desk_phone.reply(&on_desk_phone, "180 Ringing", "desk-phone", "", "");
    mobile.reply(&on_mobile, "180 Ringing", "mobile", "", "");
    psap.response("INVITE", 180);
    mobile.answer(&on_mobile, "mobile");
    let cancel = desk_phone.request("CANCEL");
    let reason = cancel.header("Reason").replace(' ', "");
    assert!(reason.starts_with("SIP;") && reason.contains("cause=200"), "{reason}");
    desk_phone.reply(&cancel, "200 OK", "desk-phone", "", "");
    desk_phone.reply(&on_desk_phone, "487 Request Terminated", "desk-phone", "", "");
    desk_phone.request("ACK");
    let answer = psap.response("INVITE", 200);
    let mut dialog = psap.ack(&call, &answer);
    mobile.request("ACK");
    psap.in_dialog(&mut dialog, "BYE", "");
    let bye = mobile.request("BYE");
    mobile.reply(&bye, "200 OK", "", "", "");
    psap.response("BYE", 200);
}

#[test]
fn c4_without_a_device_the_pbx_then_the_alternates_then_the_desk_ring() {
    require!("sipp" from "sip-tester");
    let world = World::with(Transport::Udp, |net, config| {
        let more = devices(net, Transport::Udp, &[31]) + &format!("alternates = [\"sip:home@{}\"]\n", net.sip(41));
        config.agent("alice", &more)
    });
    let number = number_after_911(&world, "alice");
    // Nobody is at the device's port; PBX and alternate refuse.
    let refuse = |at| Sipp::answers("uas_refuse.xml", Transport::Udp, at).status("480 Temporarily Unavailable").start();
    let (pbx, alternate) = (refuse(world.pbx()), refuse(world.net.sip(41)));
    let desk = Sipp::answers("uas_answer.xml", Transport::Udp, world.desk()).start();
    psap_calls(&world, "uac_call.xml", &number).run();
    for trace in [pbx.finish(), alternate.finish(), desk.finish()] {
        assert_marked(trace.request("INVITE"), &number);
    }
}

#[test]
fn c4_a_device_that_says_nothing_for_a_second_and_a_half_counts_as_not_there() {
    require!("sipp" from "sip-tester");
    let world = world_with_devices(Transport::Udp, &[31]);
    let number = number_after_911(&world, "alice");
    let (mut dead, mut pbx) = (Peer::udp(world.net.sip(31)), Peer::udp(world.pbx()));
    let (mut psap, call) = psap_peer(&world, &number);
    dead.request("INVITE");
    let watch = Stopwatch::start();
    let invite = pbx.request("INVITE");
    assert!((1200..2500).contains(&watch.elapsed().as_millis()), "{:?}", watch.elapsed());
    talk_and_hang_up(&mut psap, &call, &mut pbx, &invite);
}

#[test]
fn c9_when_nobody_answers_the_desk_rings_beside_the_devices() {
    require!("sipp" from "sip-tester");
    let world = World::with(Transport::Udp, |net, mut config: Config| {
        config.callback = "ring = \"2s\"\n".to_owned();
        config.agent("alice", &devices(net, Transport::Udp, &[31]))
    });
    let number = number_after_911(&world, "alice");
    let (mut phone, mut desk) = (Peer::udp(world.net.sip(31)), Peer::udp(world.desk()));
    let (mut psap, call) = psap_peer(&world, &number);
    let ringing = phone.request("INVITE");
    phone.reply(&ringing, "180 Ringing", "phone", "", "");
    psap.response("INVITE", 180);
    desk.nothing("INVITE", Duration::from_millis(1500));
    let invite = desk.request("INVITE");
    phone.nothing("CANCEL", Duration::from_millis(300));
    desk.answer(&invite, "desk");
    let answer = psap.response("INVITE", 200);
    psap.ack(&call, &answer);
    desk.request("ACK");
    phone.request("CANCEL");
}

#[test]
fn c2_an_ordinary_call_in_another_shard_is_released_with_the_reason_and_her_phone_is_offered_the_callback_again() {
    require!("sipp" from "sip-tester");
    for transport in BOTH {
        let world = world_with_devices(transport, &[31]);
        let number = number_after_911(&world, "alice");
        let carrier = Sipp::answers("uas_answer.xml", transport, world.trunk_a()).start();
        let ordinary = world.uri("+12125550123");
        let pbx = Sipp::calls("uac_hung_up_on.xml", transport, world.pbx(), world.at(), "alice", &ordinary).start();
        carrier.until_received("the ACK", |m| m.method() == "ACK");
        let mut phone = Peer::at(transport, world.net.sip(31));
        let mut psap = Peer::calling(transport, world.trunk_b(), world.at());
        let call = Outgoing::new(world.at(), PSAP, &world.uri(&number));
        psap.invite(&call);
        let invite = phone.request("INVITE");
        assert_marked(&invite, &number);
        phone.reply(&invite, "486 Busy Here", "busy", "", "");
        let again = phone.request("INVITE");
        assert_marked(&again, &number);
        talk_and_hang_up(&mut psap, &call, &mut phone, &again);
        for trace in [pbx.finish(), carrier.finish()] {
            assert_eq!(trace.request("BYE").header("Reason"), "preemption;cause=1;text=\"UA Preemption\"");
        }
    }
}

#[test]
fn c8_a_leased_number_dialed_from_inside_is_an_ordinary_call() {
    require!("sipp" from "sip-tester");
    let world = world_with_devices(Transport::Udp, &[31]);
    let number = number_after_911(&world, "alice");
    let mut phone = Peer::udp(world.net.sip(31));
    let trunk = Sipp::answers("uas_answer.xml", Transport::Udp, world.trunk_a()).start();
    Sipp::calls("uac_call.xml", Transport::Udp, world.pbx(), world.at(), "bob", &world.uri(&number)).run();
    let trace = trunk.finish();
    assert_eq!(trace.request("INVITE").user_of("From"), "bob");
    assert_eq!(trace.request("INVITE").get("Priority"), None);
    phone.nothing("INVITE", Duration::from_millis(200));
}

#[test]
fn l5_after_failover_the_second_trunks_number_leads_back_too() {
    require!("sipp" from "sip-tester");
    let world = world_with_devices(Transport::Udp, &[31]);
    let refuses = Sipp::answers("uas_refuse.xml", Transport::Udp, world.trunk_a()).start();
    let answers = Sipp::answers("uas_answer.xml", Transport::Udp, world.trunk_b()).start();
    Sipp::calls("uac_call.xml", Transport::Udp, world.pbx(), world.at(), "alice", &world.uri("911")).run();
    let numbers = [refuses.finish(), answers.finish()].map(|trace| trace.request("INVITE").user_of("From").to_owned());
    for (number, from) in numbers.iter().zip([world.trunk_a(), world.trunk_b()]) {
        let phone = Sipp::answers("uas_answer.xml", Transport::Udp, world.net.sip(31)).start();
        Sipp::calls("uac_call.xml", Transport::Udp, from, world.at(), PSAP, &world.uri(number)).run();
        assert_marked(phone.finish().request("INVITE"), number);
    }
}

#[test]
fn l10_the_number_is_found_in_every_form() {
    require!("sipp" from "sip-tester");
    let world = world_with_devices(Transport::Udp, &[31]);
    let number = number_after_911(&world, "alice");
    let digits = number.trim_start_matches('+');
    let national = &digits[1..];
    let forms = [world.uri(&number), world.uri(digits), world.uri(national), format!("tel:{number}"), world.uri("unknown")];
    let mut phone = Peer::udp(world.net.sip(31));
    let mut psap = Peer::udp(world.trunk_a());
    for form in forms {
        let mut call = Outgoing::new(world.at(), PSAP, &form);
        if form.contains("unknown") {
            call = call.header(&format!("P-Called-Party-ID: <sip:{number}@psap.example.net>"));
        }
        psap.invite(&call);
        let invite = phone.request_within("INVITE", SOON).unwrap_or_else(|| panic!("{form} did not ring"));
        assert_eq!(invite.header("Priority"), "psap-callback", "{form}");
        talk_and_hang_up(&mut psap, &call, &mut phone, &invite);
    }
}

#[test]
fn l8_our_responses_to_the_psap_hide_who_answers() {
    require!("sipp" from "sip-tester");
    let world = world_with_devices(Transport::Udp, &[31]);
    let number = number_after_911(&world, "alice");
    let mut phone = Peer::udp(world.net.sip(31));
    let (mut psap, call) = psap_peer(&world, &number);
    let invite = phone.request("INVITE");
    let told =
        "P-Asserted-Identity: \"Alice\" <sip:alice@pbx.example.com>\r\nUser-Agent: alices-phone\r\nServer: alices-phone\r\n";
    phone.reply(&invite, "180 Ringing", "phone", told, "");
    assert_headers_hide(&psap.response("INVITE", 180), &["alice", "Alice"]);
    phone.reply(&invite, "200 OK", "phone", told, common::SDP);
    let answer = psap.response("INVITE", 200);
    assert_headers_hide(&answer, &["alice", "Alice", &world.net.ip(31).to_string()]);
    psap.ack(&call, &answer);
    phone.request("ACK");
}

//! Agents' phones register at the gateway itself, dial 911, and are rung when the PSAP calls back; trunks ask for credentials.

mod common;

use std::time::Duration;

use common::baresip::Answer;
use common::peer::SOON;
use common::story::{PSAP, assert_trace_hides, number_after_911, psap_calls, shown_number};
use common::{Baresip, Kamailio, Linphone, Message, Net, Outgoing, Peer, Sipp, Transport, World, require};

const BOTH: [Transport; 2] = [Transport::Udp, Transport::Tcp];
const ALICE: (&str, &str) = ("alice", "wonderland");
const TEN: Duration = Duration::from_secs(10);

/// Alice may register. The trunks speak UDP, the phones whatever they like.
fn world() -> World {
    world_with("")
}

fn world_with(more: &'static str) -> World {
    World::with(Transport::Udp, |net, config| {
        let mut config = config.agent(ALICE.0, &format!("password = \"{}\"\n{more}", ALICE.1));
        config.bind = net.sip(1);
        config
    })
}

/// What carrier-a saw of a 911 call which `dial` makes and ends.
fn number_shown(world: &World, dial: impl FnOnce()) -> String {
    let trunk = Sipp::answers("uas_answer.xml", Transport::Udp, world.trunk_a()).start();
    dial();
    let trace = trunk.finish();
    assert_trace_hides(&trace, &["alice", "baresip", "Linphone", "Authorization"]);
    shown_number(trace.request("INVITE"))
}

#[test]
fn r8_baresip_registers_dials_911_and_is_rung_by_the_psap() {
    require!("sipp" from "sip-tester", "baresip" from "baresip-core");
    for transport in BOTH {
        let world = world();
        let mut phone = Baresip::register(world.net.ip(31), ALICE, world.at(), transport, Answer::Auto);
        phone.until_said("200 OK", TEN);
        let number = number_shown(&world, || {
            phone.dial("911");
            phone.until("CALL_ESTABLISHED", TEN);
            phone.hang_up();
        });
        phone.until("CALL_CLOSED", SOON);
        psap_calls(&world, "uac_call.xml", &number).hold(Duration::from_millis(300)).run();
        let up = phone.until("CALL_ESTABLISHED", SOON);
        assert!(up.contains(PSAP) && up.contains("\"incoming\""), "she sees who calls: {up}");
        phone.until("CALL_CLOSED", SOON);
    }
}

#[test]
fn c2_baresip_with_one_line_loses_its_ordinary_call_to_the_callback() {
    require!("sipp" from "sip-tester", "baresip" from "baresip-core");
    for transport in BOTH {
        let world = world();
        let mut phone = Baresip::register_with_lines(world.net.ip(31), ALICE, world.at(), transport, Answer::Auto, 1);
        phone.until_said("200 OK", TEN);
        let number = number_shown(&world, || {
            phone.dial("911");
            phone.until("CALL_ESTABLISHED", TEN);
            phone.hang_up();
        });
        phone.until("CALL_CLOSED", SOON);
        let other = Sipp::answers("uas_answer.xml", Transport::Udp, world.trunk_a()).start();
        phone.dial("+12125550123");
        phone.until("CALL_ESTABLISHED", TEN);
        Sipp::calls("uac_call.xml", Transport::Udp, world.trunk_b(), world.at(), PSAP, &world.uri(&number))
            .hold(Duration::from_millis(300))
            .run();
        phone.until("CALL_CLOSED", SOON);
        let up = phone.until("CALL_ESTABLISHED", SOON);
        assert!(up.contains(PSAP), "{up}");
        assert!(other.finish().request("BYE").header("Reason").starts_with("preemption"));
    }
}

#[test]
fn r8_linphone_registers_dials_911_and_is_rung_by_the_psap() {
    require!("sipp" from "sip-tester", "linphonec" from "linphone-cli");
    for transport in BOTH {
        let world = world();
        let mut phone = Linphone::register(world.net.ip(31), ALICE, world.at(), transport, Answer::Auto);
        let number = number_shown(&world, || {
            phone.dial("911");
            phone.until("connected.", TEN);
            phone.hang_up();
        });
        phone.until("ended", SOON);
        psap_calls(&world, "uac_call.xml", &number).hold(Duration::from_millis(300)).run();
        phone.until(PSAP, SOON);
        phone.until("ended", SOON);
    }
}

#[test]
fn c1_registered_phones_of_two_makes_and_the_phone_behind_the_pbx_ring_together() {
    require!("sipp" from "sip-tester", "baresip" from "baresip-core", "linphonec" from "linphone-cli");
    let world = world();
    // She dialed at the PBX; her other phones are rung all the same.
    let number = number_after_911(&world, ALICE.0);
    let mut linphone = Linphone::register(world.net.ip(31), ALICE, world.at(), Transport::Tcp, Answer::Manual);
    let mut baresip = Baresip::register(world.net.ip(32), ALICE, world.at(), Transport::Udp, Answer::Manual);
    baresip.until_said("200 OK", TEN);
    let mut pbx = Peer::udp(world.pbx());
    let psap = psap_calls(&world, "uac_call.xml", &number).start();
    let invite = pbx.request("INVITE");
    pbx.reply(&invite, "180 Ringing", "pbx", "", "");
    baresip.until("CALL_INCOMING", SOON);
    linphone.until(PSAP, SOON);
    let mut dialog = pbx.answer(&invite, "pbx");
    pbx.request("ACK");
    baresip.until("CALL_CLOSED", SOON);
    linphone.until("ended", SOON);
    let bye = pbx.request_within("BYE", Duration::from_secs(10)).expect("the PSAP hangs up");
    pbx.reply(&bye, "200 OK", "", "", "");
    dialog.cseq += 1;
    psap.finish();
}

#[test]
fn c4_a_phone_that_registers_while_the_callback_waits_joins_the_ringing() {
    require!("sipp" from "sip-tester", "baresip" from "baresip-core");
    let world = world();
    let number = {
        let mut phone = Baresip::register(world.net.ip(31), ALICE, world.at(), Transport::Tcp, Answer::Auto);
        phone.until_said("200 OK", TEN);
        number_shown(&world, || {
            phone.dial("911");
            phone.until("CALL_ESTABLISHED", TEN);
            phone.hang_up();
        })
    };
    // The phone has lost its power; nobody is at the PBX nor at the desk.
    let psap = psap_calls(&world, "uac_call.xml", &number).start();
    std::thread::sleep(Duration::from_secs(2));
    let mut phone = Baresip::register(world.net.ip(31), ALICE, world.at(), Transport::Tcp, Answer::Auto);
    phone.until("CALL_ESTABLISHED", TEN);
    psap.finish();
}

#[test]
fn an_ordinary_call_to_her_number_goes_to_her_phone() {
    require!("baresip" from "baresip-core");
    let world = world_with("number = \"+14255551234\"\n");
    let mut phone = Baresip::register(world.net.ip(31), ALICE, world.at(), Transport::Udp, Answer::Auto);
    phone.until_said("200 OK", TEN);
    let mut somebody = Peer::udp(world.trunk_b());
    let call = Outgoing::new(world.at(), "+12125550123", &world.uri("+14255551234"));
    somebody.invite(&call);
    let answer = somebody.response("INVITE", 200);
    let mut dialog = somebody.ack(&call, &answer);
    phone.until("CALL_ESTABLISHED", SOON);
    somebody.in_dialog(&mut dialog, "BYE", "");
    somebody.response("BYE", 200);
    phone.until("CALL_CLOSED", SOON);
}

#[test]
fn r8_nothing_of_a_stranger_is_relayed_and_a_wrong_password_is_one() {
    require!("baresip" from "baresip-core");
    let world = world();
    let mut trunk = Peer::udp(world.trunk_a());
    for transport in BOTH {
        let mut stranger = Peer::calling(transport, world.net.sip(90), world.at());
        let call = Outgoing::new(world.at(), ALICE.0, &world.uri("911"));
        stranger.invite(&call);
        let refused: Message = stranger.response("INVITE", 401);
        assert!(refused.header("WWW-Authenticate").contains("SHA-256"), "{}", refused.text());
    }
    let mut phone = Baresip::register(world.net.ip(31), (ALICE.0, "guess"), world.at(), Transport::Udp, Answer::Auto);
    phone.until_said("401 Unauthorized", TEN);
    phone.dial("911");
    phone.until("CALL_CLOSED", TEN);
    trunk.nothing("INVITE", Duration::from_millis(300));
}

/// Carrier-a has credentials.
fn world_with_credentials(password: &str) -> World {
    World::with(Transport::Udp, |_: &Net, mut config| {
        config.trunks[0].more = format!("username = \"gw-user\"\npassword = \"{password}\"\n");
        config.agent(ALICE.0, "")
    })
}

#[test]
fn p6_a_trunk_that_asks_for_credentials_and_finds_them_too_old_gets_the_call() {
    require!("sipp" from "sip-tester");
    let world = world_with_credentials("gw-password");
    let trunk = Sipp::answers("uas_challenge.xml", Transport::Udp, world.trunk_a()).start();
    let pbx = Sipp::calls("uac_call.xml", Transport::Udp, world.pbx(), world.at(), ALICE.0, &world.uri("911")).run();
    let invites = trunk.finish();
    assert_eq!(invites.requests("INVITE").len(), 3);
    assert!(pbx.responses(407).is_empty() && pbx.responses(401).is_empty());
}

#[test]
fn p6_a_trunk_that_refuses_the_password_is_followed_by_the_next() {
    require!("sipp" from "sip-tester");
    let world = world_with_credentials("wrong");
    let trunk = Sipp::answers("uas_challenge.xml", Transport::Udp, world.trunk_a()).start();
    let next = Sipp::answers("uas_answer.xml", Transport::Udp, world.trunk_b()).start();
    Sipp::calls("uac_call.xml", Transport::Udp, world.pbx(), world.at(), ALICE.0, &world.uri("911")).run();
    trunk.finish();
    next.finish();
}

#[test]
fn p6_kamailio_as_a_trunk_believes_our_sha_256_credentials_for_invite_and_bye() {
    require!("sipp" from "sip-tester", "kamailio" from "kamailio");
    let world = world_with_credentials("gw-password");
    let callee = std::net::SocketAddr::new(world.net.ip(23), 5060);
    let _trunk = Kamailio::trunk(world.trunk_a(), callee);
    let psap = Sipp::answers("uas_answer.xml", Transport::Udp, callee).start();
    // Longer than its nonces live: the BYE finds another one.
    let call = Sipp::calls("uac_call.xml", Transport::Udp, world.pbx(), world.at(), ALICE.0, &world.uri("911"));
    call.hold(Duration::from_secs(3)).run();
    let trace = psap.finish();
    shown_number(trace.request("INVITE"));
    trace.request("BYE");
}

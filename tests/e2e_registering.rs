//! A real registrar, Kamailio, as a trunk that brings calls only to who has registered.

mod common;

use std::time::Duration;

use common::story::{PSAP, shown_number};
use common::{Kamailio, Sipp, Transport, World, require, until};

macro_rules! require_all {
    () => {
        require!("sipp" from "sip-tester", "kamailio" from "kamailio");
    };
}

const REGISTER: &str = "register = true\nusername = \"gw-user\"\n";

/// The trunk `carrier-a` is a registrar that keeps a binding for 8 s.
fn world(transport: Transport, password: &str) -> (World, Kamailio) {
    let mut proxy = None;
    let world = World::with(transport, |net, mut config| {
        proxy = Some(Kamailio::registrar(net.sip(21), net.sip(61), net.sip(62), 8));
        config.trunks[0].more = format!("{REGISTER}password = \"{password}\"");
        config.agent("alice", "").agent("bob", "").scaled(20)
    });
    (world, proxy.expect("Kamailio"))
}

fn trunk_down(world: &World) -> bool {
    world.gateway.metric("e911d_alarm{name=\"trunk_down\"}") > 0.0
}

fn cseq(binding: &str) -> u32 {
    let line = binding.lines().find_map(|l| l.trim().strip_prefix("CSeq:")).unwrap_or_else(|| panic!("{binding}"));
    line.trim().parse().expect("a number")
}

#[test]
fn a_trunk_that_asks_for_a_password_knows_us_and_brings_the_callback_by_the_binding() {
    require_all!();
    for transport in [Transport::Udp, Transport::Tcp] {
        let (world, registrar) = world(transport, "gw-password");
        registrar.until_registered("gw-user");
        let first = registrar.binding("gw-user").expect("a binding");
        assert!(first.contains(&format!("sip:gw-user@{}", world.at())), "{first}");
        // Alice's 911 goes by Kamailio to the PSAP, and the PSAP calls back through the binding.
        let psap = Sipp::answers("uas_answer.xml", Transport::Udp, world.net.sip(62)).start();
        Sipp::calls("uac_call.xml", transport, world.pbx(), world.at(), "alice", &world.uri("911")).run();
        let mut invite = psap.finish().request("INVITE").clone();
        invite.start = format!("INVITE {} SIP/2.0", invite.uri_of("To"));
        let number = shown_number(&invite);
        let pbx = Sipp::answers("uas_answer.xml", transport, world.pbx()).start();
        let uri = format!("sip:{number}@{}", registrar.at());
        Sipp::calls("uac_call.xml", Transport::Udp, world.net.sip(61), registrar.at(), PSAP, &uri).run();
        assert_eq!(pbx.finish().request("INVITE").header("Priority"), "psap-callback");
        // It is refreshed in time, again and again: two more of its lives.
        until("the binding's refreshes", Duration::from_secs(30), || {
            let now = registrar.binding("gw-user").expect("it never runs out");
            (cseq(&now) >= cseq(&first) + 6).then_some(())
        });
        assert!(!trunk_down(&world));
    }
}

#[test]
fn p6_a_trunk_that_refuses_to_register_us_is_down_and_comes_back_by_itself() {
    require_all!();
    let (world, registrar) = world(Transport::Udp, "another");
    until("the alarm", Duration::from_secs(10), || trunk_down(&world).then_some(()));
    assert!(registrar.binding("gw-user").is_none());
    // Emergencies take the other trunk first now.
    let next = Sipp::answers("uas_answer.xml", Transport::Udp, world.trunk_b()).start();
    Sipp::calls("uac_call.xml", Transport::Udp, world.pbx(), world.at(), "alice", &world.uri("911")).run();
    assert!(shown_number(next.finish().request("INVITE")).starts_with("+1206"));
    // A reload with the right password registers at once.
    world.gateway.reload(|text| text.replace("\"another\"", "\"gw-password\""));
    registrar.until_registered("gw-user");
    until("the end of the alarm", Duration::from_secs(10), || (!trunk_down(&world)).then_some(()));
    // Whoever is refused for a while asks again, and the alarm goes with the answer.
    registrar.refuse(true);
    until("the alarm", Duration::from_secs(10), || trunk_down(&world).then_some(()));
    registrar.refuse(false);
    registrar.until_registered("gw-user");
}

//! Neighbours with names, looked up at a real DNS server that also hangs, lies and dies.

mod common;

use std::thread::sleep;
use std::time::Duration;

use common::story::{number_after_911, psap_calls, shown_number};
use common::{Dnsmasq, Net, Peer, Sipp, Transport, World, require, until};

macro_rules! require_all {
    () => {
        require!("sipp" from "sip-tester", "dnsmasq" from "dnsmasq-base");
    };
}

/// `carrier.test` leads by NAPTR and SRV to a host where nobody is, then to that of `carrier-a`.
fn records(net: &Net) -> Vec<String> {
    vec![
        "--naptr-record=carrier.test,10,10,s,SIP+D2U,,_sip._udp.carrier.test".to_owned(),
        "--srv-host=_sip._udp.carrier.test,gone.test,5060,10,100".to_owned(),
        "--srv-host=_sip._udp.carrier.test,there.test,5060,20,100".to_owned(),
        format!("--host-record=gone.test,{}", net.ip(31)),
        format!("--host-record=there.test,{}", net.ip(21)),
    ]
}

/// The usual world, but that `carrier-a` has a name.
fn world(hangs: bool, change: impl FnOnce(&Net) -> Vec<String>) -> (World, Dnsmasq) {
    let mut server = None;
    let world = World::with(Transport::Udp, |net, mut config| {
        let dns = Dnsmasq::start(net.ip(53), &change(net));
        dns.hang(hangs);
        config.trunks[0].uri = Some("sip:carrier.test".to_owned());
        config.trunks[0].sources = Some("carrier.test".to_owned());
        config.more.push_str(&format!("[dns]\nservers = [\"{}\"]\n", dns.at()));
        server = Some(dns);
        config.agent("alice", "").agent("bob", "")
    });
    (world, server.expect("dnsmasq"))
}

/// Alice's 911 reaches this trunk; gives the number shown.
fn emergency(world: &World, trunk: std::net::SocketAddr) -> String {
    let trunk = Sipp::answers("uas_answer.xml", Transport::Udp, trunk).start();
    Sipp::calls("uac_call.xml", Transport::Udp, world.pbx(), world.at(), "alice", &world.uri("911")).run();
    let trace = trunk.finish();
    let invite = trace.request("INVITE");
    shown_number(invite)
}

fn trunk_down(world: &World) -> bool {
    world.gateway.metric("e911d_alarm{name=\"trunk_down\"}") > 0.0
}

#[test]
fn p7_a_name_is_followed_by_naptr_and_srv_and_its_second_address_is_taken_where_the_first_is_gone() {
    require_all!();
    let (world, _dns) = world(false, records);
    let number = emergency(&world, world.trunk_a());
    assert!(number.starts_with("+1425"), "over carrier-a");
    // The next call knows, and what comes from there is the trunk's.
    assert_eq!(emergency(&world, world.trunk_a()), number);
}

#[test]
fn p6_a_dns_server_that_hangs_holds_nobody_up_and_the_trunk_is_there_once_it_answers() {
    require_all!();
    let (world, dns) = world(true, records);
    until("the alarm", Duration::from_secs(5), || trunk_down(&world).then_some(()));
    assert!(emergency(&world, world.trunk_b()).starts_with("+1206"), "over carrier-b");
    dns.hang(false);
    until("the end of the alarm", Duration::from_secs(40), || (!trunk_down(&world)).then_some(()));
    assert!(emergency(&world, world.trunk_a()).starts_with("+1425"), "over carrier-a");
}

#[test]
fn what_a_name_led_to_stays_while_the_server_lies_hangs_and_is_dead() {
    require_all!();
    let (world, dns) = world(false, records);
    let number = emergency(&world, world.trunk_a());
    // It says that there is no such name; then it leads to where nobody is; then it hangs; then it is dead. Each for longer
    // than the answers of before hold.
    let dns = dns.replace(&[]);
    sleep(Duration::from_secs(7));
    assert_eq!(emergency(&world, world.trunk_a()), number);
    let dns = dns.replace(&[format!("--host-record=carrier.test,{}", world.net.ip(32))]);
    until("the lie", Duration::from_secs(40), || (world.gateway.log().matches("names looked up").count() > 1).then_some(()));
    assert_eq!(emergency(&world, world.trunk_a()), number);
    dns.hang(true);
    sleep(Duration::from_secs(7));
    assert_eq!(emergency(&world, world.trunk_a()), number);
    drop(dns);
    sleep(Duration::from_secs(2));
    assert_eq!(emergency(&world, world.trunk_a()), number);
}

#[test]
fn p6_a_trunk_with_a_name_is_called_at_once_after_a_kill_while_every_name_server_is_dead() {
    require_all!();
    let and_the_source = |net: &Net| [records(net), vec![format!("--host-record=carrier.test,{}", net.ip(21))]].concat();
    let (mut world, dns) = world(false, and_the_source);
    let number = emergency(&world, world.trunk_a());
    drop(dns);
    for _ in 0..2 {
        world.gateway.start_again(&[]);
        assert_eq!(emergency(&world, world.trunk_a()), number, "the same lease, over the same trunk");
        // What comes from there is the trunk's still: a callback.
        let mut pbx = Peer::udp(world.pbx());
        let psap = psap_calls(&world, "uac_call.xml", &number).start();
        let invite = pbx.request("INVITE");
        pbx.answer(&invite, "pbx");
        pbx.request("ACK");
        let bye = pbx.request_within("BYE", Duration::from_secs(10)).expect("the PSAP hangs up");
        pbx.reply(&bye, "200 OK", "", "", "");
        psap.finish();
    }
}

#[test]
fn c4_the_callback_takes_the_second_address_of_the_pbx_where_nobody_is_at_the_first() {
    require_all!();
    let mut dns = None;
    let world = World::with(Transport::Udp, |net, mut config| {
        let records = [
            "--srv-host=_sip._udp.pbx.test,gone.test,5060,10,100".to_owned(),
            "--srv-host=_sip._udp.pbx.test,there.test,5060,20,100".to_owned(),
            format!("--host-record=gone.test,{}", net.ip(31)),
            format!("--host-record=there.test,{}", net.ip(10)),
        ];
        let server = Dnsmasq::start(net.ip(53), &records);
        config.pbx_uri = Some("sip:pbx.test".to_owned());
        config.more.push_str(&format!("[dns]\nservers = [\"{}\"]\n", server.at()));
        dns = Some(server);
        config.agent("alice", "")
    });
    until("the answer", Duration::from_secs(10), || world.gateway.log().contains("names looked up").then_some(()));
    let number = number_after_911(&world, "alice");
    let mut pbx = Peer::udp(world.pbx());
    let psap = psap_calls(&world, "uac_call.xml", &number).start();
    let invite = pbx.request("INVITE");
    assert_eq!(invite.uri(), "sip:alice@pbx.test");
    pbx.answer(&invite, "pbx");
    pbx.request("ACK");
    let bye = pbx.request_within("BYE", Duration::from_secs(10)).expect("the PSAP hangs up");
    pbx.reply(&bye, "200 OK", "", "", "");
    psap.finish();
}

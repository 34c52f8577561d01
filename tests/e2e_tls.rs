//! SIP over TLS with real peers: openssl for handshakes and what goes wrong with them, Kamailio as trunk, baresip as phone.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use common::baresip::Answer;
use common::kamailio::has_module;
use common::peer::SOON;
use common::sipp::finish_both;
use common::story::{PSAP, assert_trace_hides, number_after_911, psap_calls, shown_number};
use common::tls::{Authority, client, s_client, server};
use common::{Baresip, Config, Kamailio, Message, Net, Outgoing, Peer, Sipp, Transport, World, require, until};
use e911d::io::transport::tls::Material;

const ALICE: (&str, &str) = ("alice", "wonderland");
const TEN: Duration = Duration::from_secs(10);

fn tls(at: SocketAddr) -> SocketAddr {
    SocketAddr::new(at.ip(), 5061)
}

/// A world whose gateway listens for TLS at its own port 5061.
fn world(ca: &Authority, change: impl FnOnce(&Net, Config) -> Config) -> World {
    World::with(Transport::Udp, |net, config| {
        let mut config = change(net, config.agent(ALICE.0, &format!("password = \"{}\"\n", ALICE.1)));
        config.bind = net.sip(1);
        config.more += &ca.section(&ca.of_gateway(net.ip(1)), tls(net.sip(1)));
        config
    })
}

fn plain(ca: &Authority) -> World {
    world(ca, |_, config| config)
}

/// Carrier-a is reached by TLS.
fn with_tls_trunk(ca: &Authority) -> World {
    world(ca, |net, mut config| {
        config.trunks[0].uri = Some(format!("sip:{};transport=tls", tls(net.sip(21))));
        config
    })
}

#[test]
fn a_certificate_says_whose_it_is_by_rfc_5922() {
    require!("openssl" from "openssl");
    let ca = Authority::new();
    for (common_name, names, domains, addresses) in [
        ("cn.example.com", "", &["cn.example.com"][..], 0),
        ("cn.example.com", "DNS:A.example.com,DNS:b.example.com", &["a.example.com", "b.example.com"], 0),
        ("cn.example.com", "DNS:a.example.com,URI:sip:s.example.com", &["s.example.com"], 0),
        ("cn.example.com", "URI:sip:bob@s.example.com,URI:https:w.example.com,DNS:a.example.com", &["a.example.com"], 0),
        ("cn.example.com", "IP:127.0.0.1,IP:::1", &[], 2),
        ("cn.example.com", "email:a@example.com", &[], 0),
    ] {
        let own = ca.issue(common_name, names, 1);
        let read = Material::read(&own.certificate, &own.key, Some(&ca.roots())).expect("sound files").identities;
        assert_eq!(
            (read.domains.as_slice(), read.addresses.len()),
            (&domains.iter().map(|d| (*d).to_owned()).collect::<Vec<_>>()[..], addresses),
            "{names}"
        );
        assert!(read.from < read.until);
    }
    let wild = ca.issue("x", "DNS:*.example.com", 1);
    let wild = Material::read(&wild.certificate, &wild.key, Some(&ca.roots())).expect("sound files").identities;
    assert!(!wild.holds("a.example.com") && wild.holds("*.EXAMPLE.com"), "no wildcards");
}

#[test]
fn what_is_wrong_with_the_files_is_told_with_its_key() {
    require!("openssl" from "openssl");
    let ca = Authority::new();
    let (own, other) = (ca.issue("a", "DNS:a", 1), ca.issue("b", "DNS:b", 1));
    let (cert, key) = (own.certificate.clone(), own.key.clone());
    let nowhere = cert.with_file_name("nowhere.pem");
    let nothing = cert.with_file_name("nothing.pem");
    std::fs::write(&nothing, "nothing\n").unwrap();
    for (certificate, key, trust, wrong, word) in [
        (&nowhere, &key, None, "certificate", "cannot be read"),
        (&nothing, &key, None, "certificate", "no certificate"),
        (&cert, &nowhere, None, "key", "cannot be read"),
        (&cert, &nothing, None, "key", "PEM"),
        (&cert, &other.key, None, "key", "not the key"),
        (&cert, &key, Some(&nowhere), "trust", "cannot be read"),
        (&cert, &key, Some(&nothing), "trust", "no certificate"),
    ] {
        let found = Material::read(certificate, key, trust.map(|t| t.as_path())).expect_err(word);
        assert!(found.len() == 1 && found[0].0 == wrong && found[0].1.contains(word), "{wrong} {word}: {found:?}");
    }
}

#[test]
fn versions_below_1_2_are_refused_and_sessions_are_resumed() {
    require!("openssl" from "openssl");
    let ca = Authority::new();
    let world = plain(&ca);
    let at = world.gateway.bound("tls");
    let roots = ca.roots();
    let believes =
        ["-CAfile", roots.to_str().unwrap(), "-verify_return_error", "-verify_ip", &at.ip().to_string()].map(str::to_owned);
    for version in ["-tls1_2", "-tls1_3"] {
        let session = roots.with_file_name(format!("session{version}"));
        let session = session.to_str().unwrap();
        let ping = b"\r\n\r\n";
        let mut words: Vec<&str> = believes.iter().map(String::as_str).collect();
        words.extend([version, "-ign_eof"]);
        let ask = |more: [&str; 2]| {
            let mut words = words.clone();
            words.extend(more);
            // openssl stays until it is ended: the gateway waits for a message.
            s_client(at, &words, ping)
        };
        let first = ask(["-sess_out", session]);
        assert!(first.contains("Verify return code: 0 (ok)") && first.contains("New, TLSv1"), "{version}: {first}");
        let again = ask(["-sess_in", session]);
        assert!(again.contains("Reused, TLSv1"), "{version}: {again}");
    }
    for version in ["-tls1_1", "-tls1"] {
        let said = s_client(at, &[version, "-cipher", "DEFAULT@SECLEVEL=0"], b"");
        assert!(said.contains("Cipher is (NONE)") || said.contains("Cipher    : 0000"), "{version}: {said}");
    }
}

#[test]
fn tls_on_a_plain_port_and_the_other_way_round_is_closed_at_once_and_told_once() {
    require!("openssl" from "openssl");
    let ca = Authority::new();
    let world = plain(&ca);
    let counted = || world.gateway.metric("e911d_lost_total{why=\"other_protocol\"}");
    for n in 0..5 {
        let mut plain = TcpStream::connect(world.gateway.bound("tls")).unwrap();
        plain.set_read_timeout(Some(SOON)).unwrap();
        plain.write_all(b"OPTIONS sip:x SIP/2.0\r\n").unwrap();
        assert!(matches!(plain.read(&mut [0; 16]), Ok(0) | Err(_)), "closed, after {n}");
        let said = s_client(world.gateway.bound("tcp"), &[], b"");
        assert!(said.contains("no peer certificate available"), "{said}");
    }
    until("both kinds are counted", SOON, || (counted() == 10.0).then_some(()));
    until("and told", SOON, || world.gateway.log().contains("no TLS on a TLS port").then_some(()));
    assert_eq!(world.gateway.log().matches("no TLS on a TLS port").count(), 1, "{}", world.gateway.log());
}

#[test]
fn a_neighbour_is_known_by_its_certificate_wherever_it_calls_from() {
    require!("openssl" from "openssl", "sipp" from "sip-tester");
    let (ca, others) = (Authority::new(), Authority::new());
    let world = world(&ca, |_, mut config| {
        config.pbx_sources = vec!["pbx.example.com".to_owned()];
        config
    });
    let at = world.gateway.bound("tls");
    let call = Outgoing::new(at, "alice", &format!("sip:911@{at}"));
    let its = ca.issue("x", "URI:sip:pbx.example.com", 1);
    let trunk = Sipp::answers("uas_answer.xml", Transport::Udp, world.trunk_a()).start();
    let (mut pbx, _openssl) = client(world.net.ip(77), at, Some(&its));
    pbx.invite(&call);
    let answer = pbx.response("INVITE", 200);
    assert!(answer.header("Via").starts_with("SIP/2.0/TLS"), "{}", answer.text());
    assert!(answer.uri_of("Contact").ends_with(&format!("@{at};transport=tls")), "{}", answer.text());
    let mut dialog = pbx.ack(&call, &answer);
    pbx.in_dialog(&mut dialog, "BYE", "");
    pbx.response("BYE", 200);
    trunk.finish();
    for own in [
        None,
        Some(others.issue("x", "URI:sip:pbx.example.com", 1)),
        Some(ca.issue("x", "URI:sip:other.example.com,DNS:pbx.example.com", 1)),
        Some(ca.issue("x", "URI:sip:pbx.example.com", -1)),
        Some(ca.self_signed("URI:sip:pbx.example.com")),
    ] {
        let (mut stranger, _openssl) = client(world.net.ip(10), at, own.as_ref());
        stranger.invite(&call);
        stranger.response("INVITE", 401);
    }
}

#[test]
fn a_trunk_over_tls_takes_the_call_and_brings_the_callback_on_the_same_connection() {
    require!("openssl" from "openssl");
    let ca = Authority::new();
    let world = with_tls_trunk(&ca);
    let its = ca.issue("x", &format!("IP:{}", world.net.ip(21)), 1);
    let (mut trunk, _openssl) = server(tls(world.trunk_a()), &its, &ca.roots());
    let mut pbx = Peer::udp(world.pbx());
    let call = Outgoing::new(world.at(), "alice", &world.uri("911"));
    pbx.invite(&call);
    let invite = trunk.request("INVITE");
    let at = world.gateway.bound("tls");
    assert!(invite.header("Via").starts_with(&format!("SIP/2.0/TLS {at};")), "{}", invite.text());
    assert_eq!(invite.uri(), format!("sip:911@{};transport=tls;user=phone", tls(world.trunk_a())));
    assert!(invite.header("Via").ends_with(";rport;alias"), "RFC 5923:\n{}", invite.text());
    let number = shown_number(&invite);
    assert_eq!(invite.uri_of("Contact"), format!("sip:{number}@{at};transport=tls"));
    trunk.answer(&invite, "trunk");
    let answer = pbx.response("INVITE", 200);
    let mut dialog = pbx.ack(&call, &answer);
    trunk.request("ACK");
    pbx.in_dialog(&mut dialog, "BYE", "");
    let bye = trunk.request("BYE");
    trunk.reply(&bye, "200 OK", "", "", "");
    pbx.response("BYE", 200);
    // The PSAP calls back by the connection that the gateway opened.
    trunk.invite(&Outgoing::new(at, PSAP, &format!("sip:{number}@{at};transport=tls")));
    let ringing = pbx.request("INVITE");
    assert!(ringing.header("From").contains(PSAP));
    pbx.reply(&ringing, "486 Busy Here", "pbx", "", "");
}

#[test]
fn kamailio_as_pbx_and_as_trunk_both_over_tls_carry_911_and_the_callback() {
    require!("openssl" from "openssl", "sipp" from "sip-tester");
    if !has_module("tls.so", "kamailio-tls-modules") {
        return;
    }
    let ca = Authority::new();
    let world = world(&ca, |net, mut config| {
        config.pbx_uri = Some(format!("sip:{};transport=tls", tls(net.sip(10))));
        config.pbx_sources = vec!["pbx.example.com".to_owned()];
        config.trunks[0].uri = Some(format!("sip:{};transport=tls", tls(net.sip(21))));
        // Kamailio calls from whatever address the kernel takes.
        config.trunks[0].sources = Some("carrier.example.com".to_owned());
        config
    });
    let (phone, psap) = (world.net.sip(31), world.net.sip(61));
    let at = world.gateway.bound("tls");
    let its = |name: &str, own: SocketAddr| ca.issue(name, &format!("DNS:{name},IP:{}", own.ip()), 1);
    let pbx = Kamailio::tls(world.pbx(), at, phone, &its("pbx.example.com", world.pbx()), &ca.roots());
    let carrier = Kamailio::tls(world.trunk_a(), at, psap, &its("carrier.example.com", world.trunk_a()), &ca.roots());

    let callee = Sipp::answers("uas_answer.xml", Transport::Udp, psap).start();
    let caller = Sipp::calls("uac_call.xml", Transport::Udp, phone, pbx.at(), "alice", &format!("sip:911@{}", pbx.at()));
    let (_, seen) = finish_both(caller.start(), callee);
    assert_trace_hides(&seen, &["alice", "pbx.example.com"]);
    let number = shown_number_behind(seen.request("INVITE"));

    let callee = Sipp::answers("uas_answer.xml", Transport::Udp, phone).start();
    let uri = format!("sip:{number}@{}", carrier.at());
    let caller = Sipp::calls("uac_call.xml", Transport::Udp, psap, carrier.at(), PSAP, &uri);
    let (_, rung) = finish_both(caller.start(), callee);
    let invite = rung.request("INVITE");
    assert!(invite.header("From").contains(PSAP) && invite.header("Priority") == "psap-callback", "{}", invite.text());
    assert_eq!(invite.all("Via").count(), 2, "by way of the PBX");
}

/// The callback number in an INVITE that a proxy has passed on.
fn shown_number_behind(invite: &Message) -> String {
    assert!(invite.all("Via").any(|via| via.starts_with("SIP/2.0/TLS")), "{}", invite.text());
    shown_number(invite)
}

#[test]
fn p6_a_trunk_whose_certificate_is_not_to_be_believed_is_passed_over() {
    require!("openssl" from "openssl", "sipp" from "sip-tester");
    let (ca, others) = (Authority::new(), Authority::new());
    let world = with_tls_trunk(&ca);
    let ip = world.net.ip(21);
    for own in [
        ca.issue("x", &format!("IP:{ip}"), -1),
        ca.issue("x", "IP:127.0.0.99,DNS:sbc.example.com", 1),
        ca.issue(&ip.to_string(), "", 1),
        others.issue("x", &format!("IP:{ip}"), 1),
        ca.self_signed(&format!("IP:{ip}")),
    ] {
        let (mut trunk, _openssl) = server(tls(world.trunk_a()), &own, &ca.roots());
        let next = Sipp::answers("uas_answer.xml", Transport::Udp, world.trunk_b()).start();
        Sipp::calls("uac_call.xml", Transport::Udp, world.pbx(), world.at(), "alice", &world.uri("911")).run();
        next.finish();
        trunk.nothing("INVITE", Duration::from_millis(100));
    }
    until("five are counted", SOON, || (world.gateway.metric("e911d_lost_total{why=\"tls_handshake\"}") >= 5.0).then_some(()));
}

#[test]
fn a_trunk_at_an_address_may_prove_the_name_that_its_sources_say() {
    require!("openssl" from "openssl");
    let ca = Authority::new();
    let world = world(&ca, |net, mut config| {
        config.trunks[0].uri = Some(format!("sips:{}", net.ip(21)));
        config.trunks[0].sources = Some("sbc.example.com".to_owned());
        config
    });
    let (mut trunk, _openssl) = server(tls(world.trunk_a()), &ca.issue("x", "DNS:sbc.example.com", 1), &ca.roots());
    let mut pbx = Peer::udp(world.pbx());
    pbx.invite(&Outgoing::new(world.at(), "alice", &world.uri("911")));
    let invite = trunk.request("INVITE");
    assert_eq!(invite.uri(), format!("sips:911@{};transport=tls;user=phone", world.net.ip(21)));
    assert!(invite.uri_of("Contact").starts_with("sips:"), "{}", invite.text());
    trunk.reply(&invite, "486 Busy Here", "trunk", "", "");
}

#[test]
fn r8_baresip_registers_by_tls_dials_911_and_is_rung_by_the_psap() {
    require!("openssl" from "openssl", "sipp" from "sip-tester", "baresip" from "baresip-core");
    let ca = Authority::new();
    let world = plain(&ca);
    let at = world.gateway.bound("tls");
    let mut phone = Baresip::register_by_tls(world.net.ip(31), ALICE, at, &ca.roots(), Answer::Auto);
    phone.until_said("200 OK", TEN);
    let trunk = Sipp::answers("uas_answer.xml", Transport::Udp, world.trunk_a()).start();
    phone.dial("911");
    phone.until("CALL_ESTABLISHED", TEN);
    phone.hang_up();
    let trace = trunk.finish();
    assert_trace_hides(&trace, &["alice", "baresip", "Authorization", "TLS", "5061"]);
    let number = shown_number(trace.request("INVITE"));
    phone.until("CALL_CLOSED", SOON);
    psap_calls(&world, "uac_call.xml", &number).hold(Duration::from_millis(300)).run();
    let up = phone.until("CALL_ESTABLISHED", SOON);
    assert!(up.contains(PSAP) && up.contains("\"incoming\""), "she sees who calls: {up}");
    phone.until("CALL_CLOSED", SOON);
}

#[test]
fn b2_certificates_are_changed_by_a_reload_and_no_connection_is_lost() {
    require!("openssl" from "openssl");
    let ca = Authority::new();
    let world = plain(&ca);
    let at = world.gateway.bound("tls");
    let subject = || s_client(at, &[], b"").lines().find(|l| l.contains("subject=")).unwrap_or_default().to_owned();
    assert!(subject().contains("gw1"), "{}", subject());
    let (mut pbx, _openssl) = client(world.net.ip(10), at, None);
    let probe = |n: u32| {
        format!(
            "OPTIONS sip:{at} SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1;branch=z9hG4bK{n};rport\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: {n}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        )
    };
    pbx.send(probe(1).as_bytes(), at);
    assert!(pbx.answers_options_within(SOON));
    let renewed = ca.issue("renewed", &format!("IP:{}", at.ip()), 2);
    world.gateway.reload(|text| {
        let (before, rest) = text.split_once("[tls]\n").expect("the section");
        let (_, after) = rest.split_once("[[listen]]").expect("the listener");
        format!("{before}{}[[listen]]{after}", ca.files(&renewed))
    });
    assert!(subject().contains("renewed"), "{}", subject());
    pbx.send(probe(2).as_bytes(), at);
    assert!(pbx.answers_options_within(SOON), "the connection of before goes on");
    // What cannot be read is refused whole, and what there was stays.
    std::fs::write(&renewed.key, "nothing").unwrap();
    world.gateway.reload(|text| text);
    assert!(world.gateway.log().contains("tls.key"), "{}", world.gateway.log());
    assert!(subject().contains("renewed"), "{}", subject());
}

#[test]
fn b2_a_start_without_the_certificates_files_still_carries_what_needs_no_tls() {
    require!("openssl" from "openssl", "sipp" from "sip-tester");
    let ca = Authority::new();
    let mut world = plain(&ca);
    std::fs::remove_file(ca.roots()).unwrap();
    world.gateway.start_again(&[]);
    assert!(world.gateway.log().contains("tls.trust"), "{}", world.gateway.log());
    number_after_911(&world, "alice");
}

#[test]
fn a_call_asked_for_by_sips_stays_on_tls_and_an_emergency_goes_on_without() {
    require!("openssl" from "openssl");
    let ca = Authority::new();
    // Both trunks without TLS.
    let world = plain(&ca);
    let mut pbx = Peer::udp(world.pbx());
    let mut trunk = Peer::udp(world.trunk_a());
    pbx.invite(&Outgoing::new(world.at(), "alice", &world.uri("+12125550123").replace("sip:", "sips:")));
    let refused = pbx.response("INVITE", 480);
    assert!(refused.header("Warning").starts_with("380 "), "{}", refused.text());
    trunk.nothing("INVITE", Duration::from_millis(100));
    pbx.invite(&Outgoing::new(world.at(), "alice", &world.uri("911").replace("sip:", "sips:")));
    let invite = trunk.request("INVITE");
    assert!(invite.uri().starts_with("sip:911@"), "{}", invite.text());
    trunk.reply(&invite, "486 Busy Here", "trunk", "", "");
    for said in ["finds no TLS", "goes on without TLS"] {
        until("it is logged", SOON, || world.gateway.log().contains(said).then_some(()));
    }
    // The fall-back forbidden.
    drop((pbx, trunk, world));
    let world = self::world(&ca, |_, mut config| {
        config.emergency = "may_downgrade = false\n".to_owned();
        config
    });
    let (mut pbx, mut trunk) = (Peer::udp(world.pbx()), Peer::udp(world.trunk_a()));
    pbx.invite(&Outgoing::new(world.at(), "alice", &world.uri("911").replace("sip:", "sips:")));
    assert!(pbx.final_response("INVITE", TEN).status() >= 480);
    trunk.nothing("INVITE", Duration::from_millis(100));
    until("it is logged", SOON, || world.gateway.log().contains("may not go on without").then_some(()));
}

#[test]
fn where_the_tls_trunk_is_not_believed_a_sips_emergency_goes_on_without_and_nothing_else_does() {
    require!("openssl" from "openssl");
    let ca = Authority::new();
    for may_downgrade in [true, false] {
        let world = world(&ca, |net, mut config| {
            config.trunks[0].uri = Some(format!("sip:{};transport=tls", tls(net.sip(21))));
            config.emergency = format!("may_downgrade = {may_downgrade}\n");
            config
        });
        let expired = ca.issue("x", &format!("IP:{}", world.net.ip(21)), -1);
        let mut pbx = Peer::udp(world.pbx());
        let mut plain = Peer::udp(world.trunk_b());
        // s_server takes one connection.
        let (_trunk, openssl) = server(tls(world.trunk_a()), &expired, &ca.roots());
        let sips = |user: &str| Outgoing::new(world.at(), "alice", &world.uri(user).replace("sip:", "sips:"));
        pbx.invite(&sips("+12125550123"));
        assert!(pbx.final_response("INVITE", TEN).status() >= 400);
        plain.nothing("INVITE", Duration::from_millis(300));
        drop(openssl);
        let (_trunk, _openssl) = server(tls(world.trunk_a()), &expired, &ca.roots());
        pbx.invite(&sips("911"));
        if may_downgrade {
            let invite = plain.request("INVITE");
            assert!(invite.uri().starts_with("sip:911@"), "{}", invite.text());
            plain.reply(&invite, "486 Busy Here", "trunk", "", "");
            until("it is logged", SOON, || world.gateway.log().contains("goes on without TLS").then_some(()));
        } else {
            assert!(pbx.final_response("INVITE", Duration::from_secs(35)).status() >= 480);
            plain.nothing("INVITE", Duration::from_millis(100));
        }
    }
}

#[test]
fn websockets_with_and_without_tls_at_each_others_port_are_closed_and_calls_go_on() {
    require!("openssl" from "openssl", "sipp" from "sip-tester");
    let ca = Authority::new();
    let world = world(&ca, |net, mut config| {
        for (transport, port) in [("ws", 5062), ("wss", 5063)] {
            config.more += &format!("[[listen]]\ntransport = \"{transport}\"\nbind = \"{}:{port}\"\n", net.ip(1));
        }
        config
    });
    let ip = world.net.ip(1);
    let said = s_client(SocketAddr::new(ip, 5062), &[], b"");
    assert!(said.contains("no peer certificate available"), "{said}");
    let mut plain = TcpStream::connect(SocketAddr::new(ip, 5063)).unwrap();
    plain.set_read_timeout(Some(SOON)).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").unwrap();
    assert!(matches!(plain.read(&mut [0; 16]), Ok(0) | Err(_)), "closed");
    until("both are counted", SOON, || (world.gateway.metric("e911d_lost_total{why=\"other_protocol\"}") >= 2.0).then_some(()));
    number_after_911(&world, "alice");
}

#[test]
fn a_sips_emergency_takes_the_tls_trunk_first() {
    require!("openssl" from "openssl");
    let ca = Authority::new();
    let world = world(&ca, |net, mut config| {
        config.trunks[1].uri = Some(format!("sip:{};transport=tls", tls(net.sip(22))));
        config
    });
    let its = ca.issue("x", &format!("IP:{}", world.net.ip(22)), 1);
    let (mut trunk, _openssl) = server(tls(world.trunk_b()), &its, &ca.roots());
    let mut pbx = Peer::udp(world.pbx());
    let mut other = Peer::udp(world.trunk_a());
    pbx.invite(&Outgoing::new(world.at(), "alice", &world.uri("911").replace("sip:", "sips:")));
    let invite = trunk.request("INVITE");
    assert!(invite.uri().starts_with("sips:911@") && invite.uri_of("Contact").starts_with("sips:"), "{}", invite.text());
    other.nothing("INVITE", Duration::from_millis(50));
    trunk.answer(&invite, "trunk");
    let answer = pbx.response("INVITE", 200);
    assert!(answer.uri_of("Contact").starts_with("sips:"), "{}", answer.text());
}

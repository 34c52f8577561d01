//! Phones that manage their flows (RFC 5626) at the real daemon: several at once, and such as die and come back while the
//! PSAP waits.

mod common;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use common::baresip::Answer;
use common::peer::SOON;
use common::story::{PSAP, number_after_911, psap_calls};
use common::websocket::JsSip;
use common::{Baresip, Message, Peer, Transport, World, require, until};
use e911d::sip::digest::{Asked, Challenge};

const ALICE: (&str, &str) = ("alice", "wonderland");
const TEN: Duration = Duration::from_secs(10);

/// Alice may register, by WebSocket as well.
fn world() -> World {
    World::with(Transport::Udp, |net, config| {
        let mut config = config.agent(ALICE.0, &format!("password = \"{}\"\n", ALICE.1));
        config.bind = net.sip(1);
        config.more += &format!("[[listen]]\ntransport = \"ws\"\nbind = \"{}:5062\"\n", net.ip(1));
        config
    })
}

/// Registers flow `id` of one instance with the password.
fn register(phone: &mut Peer, to: SocketAddr, id: u32) -> Message {
    let (contact, uri) = (phone.contact(ALICE.0), format!("sip:{}", to.ip()));
    let via = format!("SIP/2.0/{} {}", phone.word().to_uppercase(), phone.address());
    let call = format!("{}-{id}", phone.address().port());
    let mut ask = |seq: u32, more: &str| {
        let text = format!(
            "REGISTER {uri} SIP/2.0\r\nVia: {via};branch=z9hG4bK{call}{seq};rport\r\nFrom: <sip:{0}@{1}>;tag=r\r\nTo: <sip:{0}@{1}>\r\n\
             Call-ID: {call}\r\nCSeq: {seq} REGISTER\r\nMax-Forwards: 70\r\nSupported: path, outbound\r\n\
             Contact: <{contact}>;expires=300;reg-id={id};+sip.instance=\"<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>\"\r\n{more}Content-Length: 0\r\n\r\n",
            ALICE.0,
            to.ip(),
        );
        phone.send(text.as_bytes(), to);
        phone.final_response("REGISTER", SOON)
    };
    let challenged = ask(1, "");
    let challenge = Challenge::parse(challenged.header("WWW-Authenticate").as_bytes()).expect("a challenge");
    let asked = Asked { method: b"REGISTER", uri: uri.as_bytes(), body: b"" };
    let answer = challenge.answer(ALICE.0.as_bytes(), ALICE.1.as_bytes(), &asked, 1, b"c");
    ask(2, &format!("Authorization: {}\r\n", String::from_utf8_lossy(&answer)))
}

/// The phone answers what rings, and the PSAP hangs up.
fn answer_and_end(phone: &mut Peer, invite: &Message) {
    assert!(invite.header("From").contains(PSAP), "{}", invite.text());
    phone.answer(invite, "phone");
    phone.request("ACK");
    let bye = phone.request_within("BYE", TEN).expect("the PSAP hangs up");
    phone.reply(&bye, "200 OK", "", "", "");
}

#[test]
fn baresip_with_an_udp_and_a_tcp_flow_is_rung_once_and_still_after_a_kill() {
    require!("sipp" from "sip-tester", "baresip" from "baresip-core");
    let mut world = world();
    let number = number_after_911(&world, ALICE.0);
    let mut phone = Baresip::register_twice(world.net.ip(31), ALICE, world.at(), Answer::Auto);
    for kill in [false, true] {
        if kill {
            world.gateway.start_again(&[]);
        }
        psap_calls(&world, "uac_call.xml", &number).hold(Duration::from_millis(300)).run();
        let up = phone.until("CALL_ESTABLISHED", SOON);
        assert!(up.contains(PSAP), "{up}");
        phone.until("CALL_CLOSED", SOON);
        assert!(phone.event_within("CALL_INCOMING", Duration::from_millis(1500)).is_none(), "by one flow alone");
    }
}

#[test]
fn c4_a_callback_reaches_a_phone_whose_connection_died_and_which_comes_back_while_the_psap_waits() {
    require!("sipp" from "sip-tester");
    let world = world();
    let (number, ip) = (number_after_911(&world, ALICE.0), world.net.ip(31));
    let to = world.gateway.at(Transport::Tcp);
    for (dies_at, answers) in [("before", 1), ("silent", 2)] {
        let mut phone = Peer::tcp_to(ip, to);
        let registered = register(&mut phone, to, 1);
        assert!(registered.header("Contact").contains("reg-id=1") && registered.header("Require") == "outbound");
        if dies_at == "before" {
            phone.reset();
        }
        let psap = psap_calls(&world, "uac_call.xml", &number).hold(Duration::from_millis(300)).start();
        // The connection is dead for good, or stands open and nobody is there.
        std::thread::sleep(Duration::from_secs(2));
        let mut back = Peer::tcp_to(ip, to);
        let registered = register(&mut back, to, 1);
        assert_eq!(registered.all("Contact").count(), 1, "{answers}: {}", registered.text());
        let ring = back.request("INVITE");
        answer_and_end(&mut back, &ring);
        psap.finish();
    }
}

#[test]
fn the_flow_that_is_silent_is_followed_by_the_other_one() {
    require!("sipp" from "sip-tester");
    let world = world();
    let (number, ip) = (number_after_911(&world, ALICE.0), world.net.ip(31));
    let mut by_udp = Peer::udp(SocketAddr::new(ip, 5060));
    register(&mut by_udp, world.at(), 1);
    std::thread::sleep(Duration::from_millis(20));
    let tcp = world.gateway.at(Transport::Tcp);
    let mut by_tcp = Peer::tcp_to(ip, tcp);
    assert_eq!(register(&mut by_tcp, tcp, 2).all("Contact").count(), 2);
    let psap = psap_calls(&world, "uac_call.xml", &number).hold(Duration::from_millis(300)).start();
    by_tcp.request("INVITE");
    let ring = by_udp.request("INVITE");
    answer_and_end(&mut by_udp, &ring);
    psap.finish();
}

#[test]
fn c4_jssip_that_has_lost_its_websocket_by_a_kill_comes_back_and_is_rung_by_the_psap_who_waits() {
    require!("sipp" from "sip-tester", "node" from "nodejs");
    let mut world = world();
    let number = number_after_911(&world, ALICE.0);
    let to = SocketAddr::new(world.net.ip(1), 5062);
    let Some(phone) = JsSip::register(to, ALICE, None) else { return };
    phone.until_said("REGISTERED", 1);
    world.gateway.start_again(&[]);
    let psap = psap_calls(&world, "uac_call.xml", &number).start();
    phone.until_said(&format!("RINGS {PSAP}"), 1);
    psap.finish();
}

#[test]
fn a_phone_learns_by_stun_at_the_sip_port_where_it_seems_to_be() {
    let world = world();
    let socket = UdpSocket::bind((world.net.ip(31), 0)).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let request = [0u8, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    socket.send_to(&request, world.at()).unwrap();
    let mut answer = [0; 64];
    let (n, from) = socket.recv_from(&mut answer).expect("an answer");
    assert_eq!((n, from, &answer[..2], &answer[4..20]), (32, world.at(), &[1u8, 1][..], &request[4..]));
    let own = socket.local_addr().unwrap();
    let port = u16::from_be_bytes([answer[26] ^ 0x21, answer[27] ^ 0x12]);
    let ip = [answer[28] ^ 0x21, answer[29] ^ 0x12, answer[30] ^ 0xa4, answer[31] ^ 0x42];
    assert_eq!((IpAddr::from(ip), port), (own.ip(), own.port()));
    until("it is no unreadable message", SOON, || {
        (world.gateway.metric("e911d_lost_total{why=\"unreadable\"}") == 0.0).then_some(())
    });
}

//! SIP over WebSocket (RFC 7118), plain and over TLS, with a client of another making; and frame by frame.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::peer::SOON;
use common::story::{PSAP, assert_trace_hides, psap_calls, shown_number};
use common::tls::Authority;
use common::websocket::{JsSip, Raw, is_installed, phone};
use common::{Message, Outgoing, Peer, Sipp, Transport, World, require};
use e911d::sip::digest::{Asked, Challenge};

const ALICE: (&str, &str) = ("alice", "wonderland");
const ORIGIN: &str = "https://e911.example.com";

fn at(world: &World, port: u16) -> SocketAddr {
    SocketAddr::new(world.net.ip(1), port)
}

/// The gateway takes WebSocket at port 5062 and, with an authority, secure WebSocket at 5063.
fn world(ca: Option<&Authority>) -> World {
    World::with(Transport::Udp, |net, config| {
        let mut config = config.agent(ALICE.0, &format!("password = \"{}\"\n", ALICE.1));
        config.bind = net.sip(1);
        let ip = net.ip(1);
        config.more += &format!("[[listen]]\ntransport = \"ws\"\nbind = \"{ip}:5062\"\norigins = [\"{ORIGIN}\"]\n");
        if let Some(ca) = ca {
            config.more += &ca.files(&ca.of_gateway(ip));
            config.more += &format!("[[listen]]\ntransport = \"wss\"\nbind = \"{ip}:5063\"\n");
        }
        config
    })
}

/// Registers with the password, for 300 s.
fn register(phone: &mut Peer, to: SocketAddr) -> Message {
    let contact = phone.contact(ALICE.0);
    let uri = format!("sip:{}", to.ip());
    let mut ask = |seq: u32, more: &str| {
        let via = format!("Via: SIP/2.0/{} df7jal23ls0d.invalid;branch=z9hG4bKreg{seq}", phone.word().to_uppercase());
        let text = format!(
            "REGISTER {uri} SIP/2.0\r\n{via}\r\nFrom: <sip:{0}@{1}>;tag=r\r\nTo: <sip:{0}@{1}>\r\nCall-ID: reg-{2}\r\nCSeq: {seq} REGISTER\r\n\
             Contact: <{contact}>;expires=300;reg-id=1;+sip.instance=\"<urn:uuid:f81-7dec-14a06cf1>\"\r\nSupported: path, outbound\r\n{more}Content-Length: 0\r\n\r\n",
            ALICE.0,
            to.ip(),
            to.port()
        );
        phone.send(text.as_bytes(), to);
        phone.final_response("REGISTER", SOON)
    };
    let challenged = ask(1, "");
    assert_eq!(challenged.status(), 401);
    let challenge = Challenge::parse(challenged.header("WWW-Authenticate").as_bytes()).expect("a challenge");
    let asked = Asked { method: b"REGISTER", uri: uri.as_bytes(), body: b"" };
    let answer = challenge.answer(ALICE.0.as_bytes(), ALICE.1.as_bytes(), &asked, 1, b"c");
    ask(2, &format!("Authorization: {}\r\n", String::from_utf8_lossy(&answer)))
}

#[test]
fn r8_a_browser_like_phone_registers_dials_911_and_is_rung_along_its_connection() {
    require!("openssl" from "openssl", "sipp" from "sip-tester");
    if !is_installed() {
        return;
    }
    let ca = Authority::new();
    let world = world(Some(&ca));
    let roots = ca.roots();
    for (to, roots, word) in [(at(&world, 5062), None, "WS"), (at(&world, 5063), Some(roots.as_path()), "WSS")] {
        let (mut phone, _python) = phone(to, roots);
        let registered = register(&mut phone, to);
        assert_eq!(registered.status(), 200, "{}", registered.text());
        assert!(registered.header("Contact").contains(".invalid;transport=ws"), "{}", registered.text());
        // 911.
        let trunk = Sipp::answers("uas_answer.xml", Transport::Udp, world.trunk_a()).start();
        let call = Outgoing::new(to, ALICE.0, &format!("sip:911@{}", to.ip()));
        phone.invite(&call);
        let answer = phone.response("INVITE", 200);
        assert!(answer.header("Via").starts_with(&format!("SIP/2.0/{word} ")), "{}", answer.text());
        assert_eq!(answer.uri_of("Contact"), format!("sip:911@{to};transport=ws"));
        let mut dialog = phone.ack(&call, &answer);
        phone.in_dialog(&mut dialog, "BYE", "");
        phone.response("BYE", 200);
        let number = shown_number(trunk.finish().request("INVITE"));
        // The callback.
        let psap = psap_calls(&world, "uac_call.xml", &number).start();
        let invite = phone.request("INVITE");
        assert!(invite.header("From").contains(PSAP) && invite.uri().contains(".invalid"), "{}", invite.text());
        assert!(invite.header("Via").starts_with(&format!("SIP/2.0/{word} {to};")), "{}", invite.text());
        phone.answer(&invite, "phone");
        phone.request("ACK");
        let bye = phone.request_within("BYE", Duration::from_secs(10)).expect("the PSAP hangs up");
        phone.reply(&bye, "200 OK", "", "", "");
        psap.finish();
    }
}

#[test]
fn r8_jssip_registers_dials_911_and_is_rung_by_the_psap() {
    require!("openssl" from "openssl", "sipp" from "sip-tester");
    let ca = Authority::new();
    let world = world(Some(&ca));
    let roots = ca.roots();
    for (to, roots) in [(at(&world, 5062), None), (at(&world, 5063), Some(roots.as_path()))] {
        let Some(mut phone) = JsSip::register(to, ALICE, roots) else { return };
        phone.until_said("REGISTERED", 1);
        let trunk = Sipp::answers("uas_answer.xml", Transport::Udp, world.trunk_a()).start();
        phone.tell(&format!("dial sip:911@{}", to.ip()));
        phone.until_said("ANSWERED", 1);
        phone.tell("hangup");
        let trace = trunk.finish();
        assert_trace_hides(&trace, &["alice", "JsSIP", "invalid", "ws"]);
        let number = shown_number(trace.request("INVITE"));
        phone.until_said("ENDED", 1);
        psap_calls(&world, "uac_call.xml", &number).run();
        phone.until_said(&format!("RINGS {PSAP}"), 1);
        phone.until_said("ENDED", 2);
    }
}

#[test]
fn who_does_not_ask_for_sip_or_comes_from_a_page_elsewhere_is_turned_away() {
    let world = world(None);
    let to = at(&world, 5062);
    let sip = "Sec-WebSocket-Protocol: sip\r\n";
    for (more, status) in [
        (sip.to_owned(), 101),
        (format!("{sip}Origin: {ORIGIN}\r\n"), 101),
        (format!("{sip}Origin: https://elsewhere.example\r\n"), 403),
        (format!("{sip}Origin: null\r\n"), 403),
        (String::new(), 400),
        ("Sec-WebSocket-Protocol: chat\r\n".to_owned(), 400),
    ] {
        assert_eq!(Raw::ask(to, &more).0, status, "{more}");
    }
    // A SIP message where a WebSocket is expected.
    let mut plain = Peer::tcp_to(world.net.ip(10), to);
    plain.send(b"OPTIONS sip:x SIP/2.0\r\nContent-Length: 0\r\n\r\n", to);
    assert!(!plain.answers_options_within(Duration::from_millis(300)));
}

fn options(n: u32, length: &str) -> Vec<u8> {
    let ids =
        format!("Via: SIP/2.0/WS x.invalid;branch=z9hG4bK{n}\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: {n}\r\n");
    format!("OPTIONS sip:gw SIP/2.0\r\n{ids}CSeq: 1 OPTIONS\r\n{length}\r\n").into_bytes()
}

#[test]
fn one_message_a_frame_text_or_binary_in_pieces_or_whole_up_to_64_kib() {
    const TEXT: u8 = 0x81;
    let world = world(None);
    let to = at(&world, 5062);
    let mut socket = Raw::open(to);
    let mut answered = |frames: &[(u8, &[u8])]| {
        frames.iter().for_each(|(head, payload)| socket.send(*head, payload));
        let (head, payload) = socket.receive(SOON).expect("an answer");
        (head, String::from_utf8_lossy(&payload).into_owned())
    };
    // A stranger's OPTIONS gets 403 (RULES R8), and an answer is text.
    let is_answer = |(head, text): (u8, String)| assert!(head == TEXT && text.starts_with("SIP/2.0 403 "), "{head} {text}");
    is_answer(answered(&[(TEXT, &options(1, "Content-Length: 0\r\n"))]));
    is_answer(answered(&[(0x82, &options(2, "Content-Length: 0\r\n"))]));
    is_answer(answered(&[(TEXT, &options(3, ""))]));
    let in_pieces = options(4, "");
    let (first, rest) = in_pieces.split_at(20);
    assert_eq!(answered(&[(0x01, first), (0x89, b"amid")]), (0x8a, "amid".to_owned()));
    is_answer(answered(&[(0x80, rest)]));
    // Keep-alives of both kinds.
    assert_eq!(answered(&[(0x89, b"still there")]), (0x8a, "still there".to_owned()));
    assert_eq!(answered(&[(TEXT, b"\r\n\r\n")]), (TEXT, "\r\n".to_owned()));
    // Garbage costs nothing but itself.
    assert!(answered(&[(TEXT, b"nothing of ours")]).1.starts_with("SIP/2.0 400 "));
    is_answer(answered(&[(TEXT, &options(5, ""))]));
    // Too much.
    socket.send(TEXT, &vec![b'x'; 65 * 1024]);
    while let Some((head, _)) = socket.receive(SOON) {
        assert_eq!(head & 0x0f, 8, "nothing but a close");
    }
    let mut unmasked = Raw::open(to);
    unmasked.send_bytes(b"\x81\x02hi");
    while let Some((head, _)) = unmasked.receive(SOON) {
        assert_eq!(head & 0x0f, 8, "nothing but a close");
    }
}

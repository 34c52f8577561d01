//! Agents' phones: they register, show passwords, dial, and are rung.

use crate::world::*;
use e911d::bridge::Census;
use e911d::sip::digest::{Asked, Challenge};
use e911d::sip::{Flow, Message, Name, Transport};
use e911d::words::Table;
use std::time::Duration;

pub const PHONE: &str = "127.0.0.31:5060";
pub const SOFTPHONE: &str = "127.0.0.32:40001";
const ALICE: &str = "[[agent]]\nid = \"alice\"\npassword = \"wonder\"\nnumber = \"+14255559999\"\n";
const AT_PBX: &str = "peer = \"pbx\"\n";

pub fn world(more: &str) -> World {
    World::with(&format!("{CONFIG}{ALICE}{more}[[agent]]\nid = \"carol\"\npassword = \"carols\"\n"))
}

/// A request with a Via and a Contact at this address.
pub struct Phone {
    pub at: &'static str,
    pub user: &'static str,
    pub password: &'static str,
    pub seq: u32,
}

impl Phone {
    pub fn new(at: &'static str) -> Self {
        Self { at, user: "alice", password: "wonder", seq: 0 }
    }

    pub fn of(at: &'static str, user: &'static str, password: &'static str) -> Self {
        Self { at, user, password, seq: 0 }
    }

    pub fn text(&mut self, method: &str, uri: &str, to: &str, more: &str) -> String {
        self.seq += 1;
        let (at, user, seq) = (self.at, self.user, self.seq);
        let body = if method == "INVITE" { SDP } else { "" };
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bK{method}{user}{seq};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:{user}@gw.example.net>;tag=f{seq}\r\nTo: <{to}>\r\nCall-ID: {method}-{user}@{at}\r\n\
             CSeq: {seq} {method}\r\n{more}{kind}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    pub fn register_text(&mut self, more: &str) -> String {
        let aor = format!("sip:{}@gw.example.net", self.user);
        self.text("REGISTER", "sip:gw.example.net", &aor, more)
    }

    /// Credentials that answer the `which`th challenge of this response.
    pub fn credentials(&self, challenge: &Message, method: &str, uri: &str, which: usize) -> String {
        let challenge = challenge.all(Name::WwwAuthenticate).nth(which).expect("a challenge");
        let challenge = Challenge::parse(challenge).expect("one that is understood");
        let asked = Asked { method: method.as_bytes(), uri: uri.as_bytes(), body: b"" };
        let answer = challenge.answer(self.user.as_bytes(), self.password.as_bytes(), &asked, 1, b"cnonce");
        format!("Authorization: {}\r\n", String::from_utf8(answer).expect("text"))
    }

    /// Registers; gives the answer to the second, authenticated REGISTER.
    pub fn register(&mut self, w: &mut World, more: &str) -> Message {
        let first = self.register_text(more);
        w.receive(self.at, &first);
        let challenge = w.expect(self.at, "SIP/2.0 401");
        let credentials = self.credentials(&challenge.msg, "REGISTER", "sip:gw.example.net", 0);
        let second = self.register_text(&(credentials + more));
        w.receive(self.at, &second);
        w.expect(self.at, "SIP/2.0 ").msg
    }

    pub fn contact(&self) -> String {
        // What a phone behind a NAT says of itself.
        format!("Contact: <sip:{}@192.168.1.7:5060;ob>\r\n", self.user)
    }

    pub fn dial(&mut self, w: &mut World, number: &str, more: &str) -> String {
        let uri = format!("sip:{number}@gw.example.net");
        let more = self.contact() + more;
        let invite = self.text("INVITE", &uri, &uri, &more);
        w.receive(self.at, &invite);
        invite
    }
}

/// Alice dials 911 on this registered phone, and the call ends; gives the number that the PSAP saw.
pub fn dial_911(w: &mut World, phone: &mut Phone) -> String {
    phone.dial(w, "911", "");
    let out = w.expect(TRUNK_A, "INVITE sip:911@");
    let number = get(&out.msg, Name::From).trim_start_matches("<sip:").split('@').next().unwrap().to_owned();
    w.receive(TRUNK_A, &response(&out.msg, 200, "t1", "sip:psap@127.0.0.1:15070", SDP));
    let ok = w.expect(phone.at, "SIP/2.0 200");
    let near = InDialog::of_response(&ok.msg);
    w.receive(phone.at, &near.request("ACK", phone.seq, phone.at, "", ""));
    w.receive(phone.at, &near.request("BYE", phone.seq + 1, phone.at, "", ""));
    let bye = w.take().into_iter().find(|s| text(&s.msg).starts_with("BYE")).expect("a BYE");
    w.receive(TRUNK_A, &response(&bye.msg, 200, "", "", ""));
    number
}

#[test]
fn r8_a_stranger_is_challenged_statelessly_with_the_strongest_algorithm_first() {
    let mut w = world("");
    let mut phone = Phone::new(PHONE);
    let invite = phone.dial(&mut w, "911", "");
    let no = w.expect(PHONE, "SIP/2.0 401");
    w.expect_nothing();
    assert_eq!(w.shard.census(), Census::default());
    let challenges: Vec<_> = no.msg.all(Name::WwwAuthenticate).map(|c| String::from_utf8_lossy(c).into_owned()).collect();
    assert!(challenges[0].contains("algorithm=SHA-256") && challenges[1].contains("algorithm=MD5"), "{challenges:?}");
    assert!(challenges.iter().all(|c| c.contains("realm=\"gw.example.net\"") && c.contains("qop=\"auth\"")), "{challenges:?}");
    assert!(no.msg.bytes().len() <= 3 * invite.len());
    // Its ACK means nothing to anybody, and whatever else strangers ask is refused.
    w.receive(PHONE, &invite.replace("INVITE", "ACK"));
    w.expect_nothing();
    let options = phone.text("OPTIONS", "sip:gw.example.net", "sip:gw.example.net", "");
    w.receive(PHONE, &options);
    w.expect(PHONE, "SIP/2.0 403");
}

#[test]
fn b7_no_answer_to_a_stranger_is_larger_than_three_times_the_question() {
    let mut w = world("");
    for pad in [0, 20, 60, 100, 200, 400] {
        let text = format!(
            "REGISTER sip:x SIP/2.0\r\nv:SIP/2.0/UDP h;branch=z9hG4bK1\r\nf:<sip:a@x>;tag=1\r\nt:<sip:a@x>\r\ni:{}1\r\nCSeq:1 REGISTER\r\n\r\n",
            "x".repeat(pad)
        );
        w.receive(STRANGER, &text);
        for sent in w.take() {
            assert!(sent.msg.bytes().len() <= 3 * text.len(), "{} for {}", sent.msg.bytes().len(), text.len());
            assert_eq!(sent.msg.status(), 401);
        }
    }
}

#[test]
fn r8_with_an_agents_password_a_strangers_call_is_placed_as_hers_and_only_once() {
    for which in [0, 1] {
        let mut w = world("");
        let mut phone = Phone::new(PHONE);
        phone.dial(&mut w, "911", "");
        let challenge = w.expect(PHONE, "SIP/2.0 401");
        let credentials = phone.credentials(&challenge.msg, "INVITE", "sip:911@gw.example.net", which);
        let invite = phone.dial(&mut w, "911", &credentials);
        let out = w.expect(TRUNK_A, "INVITE sip:911@127.0.0.1:15070");
        assert!(!text(&out.msg).contains("wonder") && !text(&out.msg).contains("Authorization"), "{}", text(&out.msg));
        // A copy is the same call; the same credentials in another call are not taken again.
        w.receive(PHONE, &invite);
        w.expect_nothing();
        phone.dial(&mut w, "911", &credentials);
        let again = w.expect(PHONE, "SIP/2.0 401");
        assert!(get(&again.msg, Name::WwwAuthenticate).contains("stale=true"));
        w.expect_nothing();
    }
}

#[test]
fn r8_a_wrong_password_and_an_unknown_user_get_the_same_answer_and_nothing_is_relayed() {
    let mut w = world("");
    let mut answers = Vec::new();
    for (user, password) in [("alice", "guess"), ("alicf", "wonder"), ("carol", "wonder")] {
        let mut phone = Phone::of(PHONE, user, password);
        phone.dial(&mut w, "911", "");
        let challenge = w.expect(PHONE, "SIP/2.0 401");
        let credentials = phone.credentials(&challenge.msg, "INVITE", "sip:911@gw.example.net", 0);
        phone.dial(&mut w, "911", &credentials);
        let no = w.expect(PHONE, "SIP/2.0 401");
        w.expect_nothing();
        let of_user = text(&no.msg).replace(user, "-");
        answers.push(
            of_user.lines().filter(|l| !l.contains("nonce=") && !l.starts_with("To:")).map(str::to_owned).collect::<Vec<_>>(),
        );
        assert!(!get(&no.msg, Name::WwwAuthenticate).contains("stale"), "{}", text(&no.msg));
    }
    assert!(answers.windows(2).all(|two| two[0] == two[1]), "{answers:?}");
    assert_eq!(w.shard.census(), Census::default());
}

#[test]
fn a_nonce_that_is_too_old_is_stale_and_the_next_one_works() {
    let mut w = world("");
    let mut phone = Phone::new(PHONE);
    let first = phone.register_text("");
    w.receive(PHONE, &first);
    let challenge = w.expect(PHONE, "SIP/2.0 401");
    let credentials = phone.credentials(&challenge.msg, "REGISTER", "sip:gw.example.net", 0);
    w.wait(Duration::from_secs(301));
    let late = phone.register_text(&credentials);
    w.receive(PHONE, &late);
    let stale = w.expect(PHONE, "SIP/2.0 401");
    assert!(get(&stale.msg, Name::WwwAuthenticate).contains("stale=true"));
    let credentials = phone.credentials(&stale.msg, "REGISTER", "sip:gw.example.net", 1);
    let again = phone.register_text(&credentials);
    w.receive(PHONE, &again);
    w.expect(PHONE, "SIP/2.0 200");
}

#[test]
fn a_register_lists_keeps_and_removes_devices() {
    let mut w = world("");
    let (mut phone, mut soft) = (Phone::new(PHONE), Phone::new(SOFTPHONE));
    let contacts = |msg: &Message| msg.all(Name::Contact).map(|c| String::from_utf8_lossy(c).into_owned()).collect::<Vec<_>>();
    let ok = phone.register(&mut w, "Contact: <sip:alice@127.0.0.31>;expires=7200\r\n");
    assert_eq!((ok.status(), contacts(&ok)), (200, vec!["<sip:alice@127.0.0.31>;expires=3600".to_owned()]));
    let ok = soft
        .register(&mut w, "Supported: outbound\r\nExpires: 120\r\nContact: <sip:alice@127.0.0.32:40001>;+sip.instance=\"<urn:uuid:1>\";reg-id=1\r\n");
    let second = "<sip:alice@127.0.0.32:40001>;expires=120;+sip.instance=\"<urn:uuid:1>\";reg-id=1";
    assert_eq!(contacts(&ok)[1], second);
    w.wait(Duration::from_secs(60));
    assert_eq!(contacts(&phone.register(&mut w, "")).len(), 2);
    w.wait(Duration::from_secs(61));
    assert_eq!(contacts(&phone.register(&mut w, "")), ["<sip:alice@127.0.0.31>;expires=3479"]);
    for (more, status) in [
        ("Contact: <sip:x@y>;expires=59\r\n", 423),
        ("Contact: *\r\n", 400),
        ("Contact: *\r\nExpires: 10\r\n", 400),
        ("Require: path, gruu-from-mars\r\n", 420),
    ] {
        let no = phone.register(&mut w, more);
        assert_eq!(no.status(), status, "{more}");
        assert_eq!(no.get(Name::MinExpires), (status == 423).then_some(&b"60"[..]));
        assert_eq!(no.get(Name::Unsupported), (status == 420).then_some(&b"gruu-from-mars"[..]));
    }
    let ok = phone.register(&mut w, "Contact: *\r\nExpires: 0\r\n");
    assert_eq!((ok.status(), contacts(&ok).len()), (200, 0));
    // A neighbour's REGISTER needs a password as well, and nobody registers as somebody else.
    let mut pbx = Phone::of(PBX, "carol", "carols");
    assert_eq!(pbx.register(&mut w, "Contact: <sip:carol@127.0.0.1:15090>\r\n").status(), 200);
    let mut other = Phone::of(SOFTPHONE, "carol", "carols");
    let first = other.register_text("");
    w.receive(SOFTPHONE, &first);
    let challenge = w.expect(SOFTPHONE, "SIP/2.0 401");
    let credentials = other.credentials(&challenge.msg, "REGISTER", "sip:gw.example.net", 0);
    let for_alice = other.register_text(&credentials).replace("To: <sip:carol@", "To: <sip:alice@");
    w.receive(SOFTPHONE, &for_alice);
    w.expect(SOFTPHONE, "SIP/2.0 403");
}

#[test]
fn r8_a_registered_flow_is_its_agent_and_never_challenged_until_it_expires() {
    let mut w = world("");
    let mut phone = Phone::new(PHONE);
    let contact = phone.contact();
    phone.register(&mut w, &format!("Expires: 600\r\n{contact}"));
    let number = dial_911(&mut w, &mut phone);
    // Hers, whatever she calls herself.
    phone.user = "anonymous";
    assert_eq!(dial_911(&mut w, &mut phone), number);
    // Ordinary calls are trusted as well, but not what the phone says of itself.
    phone.dial(&mut w, "+14155551234", "P-Asserted-Identity: <sip:+12065550000@x>\r\nPriority: psap-callback\r\n");
    let out = w.expect(CARRIER, "INVITE sip:+14155551234@");
    assert_eq!((out.msg.get(Name::PAssertedIdentity), out.msg.get(Name::Priority)), (None, None));
    w.take();
    // Another port of the same host is a stranger.
    let mut next = Phone::new("127.0.0.31:5062");
    next.dial(&mut w, "911", "");
    w.expect("127.0.0.31:5062", "SIP/2.0 401");
    w.wait(Duration::from_secs(601));
    w.take();
    phone.dial(&mut w, "911", "");
    w.expect(PHONE, "SIP/2.0 401");
}

#[test]
fn r8_who_registers_from_where_a_pbx_node_is_does_not_become_everybody_behind_it() {
    const NODE: &str = "127.0.0.41:5060";
    let text = format!("{CONFIG}{ALICE}[[agent]]\nid = \"carol\"\npassword = \"carols\"\n");
    let mut w = World::with(&text.replace("[\"127.0.0.1:15090\"]", "[\"127.0.0.1:15090\", \"127.0.0.40/30\"]"));
    let mut calls = 0;
    let mut node = |w: &mut World, user: &'static str| {
        calls += 10;
        dial_911(w, &mut Phone { seq: calls, ..Phone::of(NODE, user, "") })
    };
    let before = [node(&mut w, "dave"), node(&mut w, "erin")];
    // A datagram's source is easily forged, and the node may have an account of its own.
    let mut carol = Phone::of(NODE, "carol", "carols");
    let contact = carol.contact();
    assert_eq!(carol.register(&mut w, &contact).status(), 200);
    assert_eq!([node(&mut w, "dave"), node(&mut w, "erin")], before);
    let hers = dial_911(&mut w, &mut carol);
    assert!(!before.contains(&hers));
    // Who names nobody, and for whom nobody speaks, is the phone that is there.
    assert_eq!(node(&mut w, "anonymous"), hers);
}

#[test]
fn c1_a_contact_that_a_register_names_twice_is_rung_once() {
    let mut w = world("");
    let mut phone = Phone::new(PHONE);
    let twice = phone.contact() + &phone.contact().replace(">\r", ">;expires=900\r");
    let ok = phone.register(&mut w, &twice);
    let contacts: Vec<_> = ok.all(Name::Contact).map(String::from_utf8_lossy).collect();
    assert!(contacts.len() == 1 && contacts[0].ends_with(";expires=900"), "{contacts:?}");
    let number = dial_911(&mut w, &mut phone);
    w.receive(TRUNK_A, &invite(TRUNK_A, "+12065550190", &number, "cb"));
    let rung = w.take().into_iter().filter(|s| s.to.to_string() == PHONE && text(&s.msg).starts_with("INVITE"));
    assert_eq!(rung.count(), 1);
}

#[test]
fn the_way_to_a_phone_that_sends_nothing_by_itself_is_kept_open_until_its_time_is_over() {
    let mut w = world("");
    let (mut phone, mut soft) = (Phone::new(PHONE), Phone::new(SOFTPHONE));
    let contact = phone.contact();
    phone.register(&mut w, &format!("Expires: 120\r\n{contact}"));
    // This one has been told to see to it itself.
    soft.register(
        &mut w,
        "Supported: outbound\r\nContact: <sip:alice@127.0.0.32:40001>;+sip.instance=\"<urn:uuid:1>\";reg-id=1\r\n",
    );
    let in_a_minute = |w: &mut World, seconds| {
        w.wait(Duration::from_secs(seconds));
        assert!(w.kept_open.iter().all(|at| at.to_string() == PHONE));
        std::mem::take(&mut w.kept_open).len()
    };
    assert_eq!(in_a_minute(&mut w, 100), 4);
    phone.register(&mut w, &format!("Expires: 120\r\n{contact}"));
    assert_eq!(in_a_minute(&mut w, 50), 2, "one timer, however often it registers");
    w.restart();
    assert_eq!(in_a_minute(&mut w, 50), 2);
    w.wait(Duration::from_secs(30));
    w.kept_open.clear();
    assert_eq!(in_a_minute(&mut w, 60), 0);
}

#[test]
fn c1_all_registered_devices_ring_together_with_the_phone_behind_the_pbx_along_their_flows() {
    let mut w = world(AT_PBX);
    let (mut phone, mut soft) = (Phone::new(PHONE), Phone::new(SOFTPHONE));
    let contact = phone.contact();
    phone.register(&mut w, &contact);
    soft.register(&mut w, &contact.replace(":5060", ":5099"));
    let number = dial_911(&mut w, &mut phone);
    w.receive(TRUNK_A, &invite(TRUNK_A, "psap7", &number, "cb1"));
    let one = w.expect(PHONE, "INVITE sip:alice@192.168.1.7:5060;ob");
    let two = w.expect(SOFTPHONE, "INVITE sip:alice@192.168.1.7:5099;ob");
    let pbx = w.expect(PBX, "INVITE sip:alice@127.0.0.1:15090");
    assert_eq!(get(&one.msg, Name::Priority), "psap-callback");
    w.receive(PHONE, &response(&one.msg, 180, "d1", "sip:alice@192.168.1.7:5060", ""));
    w.expect(TRUNK_A, "SIP/2.0 180");
    w.receive(PBX, &response(&pbx.msg, 180, "d3", "sip:alice@127.0.0.1:15090", ""));
    // The NAT's inside stands in its Contact; everything goes along the flow all the same.
    w.receive(SOFTPHONE, &response(&two.msg, 200, "d2", "sip:alice@192.168.1.7:5099", SDP));
    w.expect(SOFTPHONE, "ACK sip:alice@192.168.1.7:5099");
    let cancel = w.expect(PHONE, "CANCEL");
    assert!(get(&cancel.msg, Name::Reason).starts_with("SIP;cause=200"), "RULES C7");
    w.expect(PBX, "CANCEL");
    let ok = w.expect(TRUNK_A, "SIP/2.0 200");
    assert!(!text(&ok.msg).contains("alice") && !text(&ok.msg).contains("192.168"), "{}", text(&ok.msg));
    let far = InDialog::of_response(&ok.msg);
    w.receive(TRUNK_A, &far.request("ACK", 1, TRUNK_A, "", ""));
    w.receive(TRUNK_A, &far.request("BYE", 2, TRUNK_A, "", ""));
    w.expect(SOFTPHONE, "BYE sip:alice@192.168.1.7:5099");
}

#[test]
fn c2_a_registered_phone_that_is_busy_with_a_call_to_or_from_her_is_freed_and_rung_again() {
    for to_her in [true, false] {
        let mut w = world("");
        let mut phone = Phone::new(PHONE);
        let contact = phone.contact();
        phone.register(&mut w, &contact);
        let number = dial_911(&mut w, &mut phone);
        let (asked, caller, callee) = if to_her {
            w.receive(CARRIER, &invite(CARRIER, "+14155550000", "+14255559999", "o1"));
            (w.expect(PHONE, "INVITE"), CARRIER, PHONE)
        } else {
            phone.dial(&mut w, "+14155551234", "");
            (w.expect(CARRIER, "INVITE"), PHONE, CARRIER)
        };
        w.receive(callee, &response(&asked.msg, 200, "o1", &format!("sip:x@{callee}"), SDP));
        let ok = w.expect(caller, "SIP/2.0 200");
        let seq = if to_her { 1 } else { phone.seq };
        w.receive(caller, &InDialog::of_response(&ok.msg).request("ACK", seq, caller, "", ""));
        w.take();
        w.receive(TRUNK_A, &invite(TRUNK_A, "psap7", &number, "cb1"));
        let ring = w.expect(PHONE, "INVITE");
        w.receive(PHONE, &response(&ring.msg, 486, "b", "", ""));
        for side in [PHONE, CARRIER] {
            assert!(get(&w.expect(side, "BYE").msg, Name::Reason).starts_with("preemption;cause=1"), "{to_her}");
        }
        w.wait(Duration::from_millis(300));
        let again = w.expect(PHONE, "INVITE");
        w.receive(PHONE, &response(&again.msg, 200, "b2", "sip:alice@192.168.1.7:5060", SDP));
        w.expect(TRUNK_A, "SIP/2.0 200");
    }
}

#[test]
fn c4_a_device_that_registers_while_the_callback_waits_joins_the_ringing() {
    let mut w = world("");
    let mut phone = Phone::new(PHONE);
    let contact = phone.contact();
    phone.register(&mut w, &contact);
    let number = dial_911(&mut w, &mut phone);
    phone.register(&mut w, "Contact: *\r\nExpires: 0\r\n");
    w.receive(TRUNK_A, &invite(TRUNK_A, "psap7", &number, "cb1"));
    let desk = w.expect("127.0.0.1:15095", "INVITE sip:security@");
    w.receive("127.0.0.1:15095", &response(&desk.msg, 480, "k", "", ""));
    w.take();
    w.wait(Duration::from_secs(3));
    phone.register(&mut w, &contact);
    let ring = w.expect(PHONE, "INVITE sip:alice@192.168.1.7:5060;ob");
    w.receive(PHONE, &response(&ring.msg, 180, "d1", "sip:alice@192.168.1.7:5060", ""));
    // Once, however often it says that it is there.
    phone.register(&mut w, &contact);
    w.expect_nothing();
    w.receive(PHONE, &response(&ring.msg, 200, "d1", "sip:alice@192.168.1.7:5060", SDP));
    w.expect(TRUNK_A, "SIP/2.0 200");
}

#[test]
fn c4_a_device_that_has_refused_is_not_rung_again_by_its_next_register() {
    let mut w = world("");
    let mut phone = Phone::new(PHONE);
    let contact = phone.contact();
    phone.register(&mut w, &contact);
    let number = dial_911(&mut w, &mut phone);
    w.receive(TRUNK_A, &invite(TRUNK_A, "psap7", &number, "cb1"));
    let ring = w.expect(PHONE, "INVITE");
    w.receive(PHONE, &response(&ring.msg, 603, "d1", "", ""));
    w.take();
    phone.register(&mut w, &contact);
    w.expect_nothing();
}

#[test]
fn a_device_is_reached_by_its_path() {
    let mut w = world("");
    let mut phone = Phone::new(PHONE);
    let path = "Supported: path\r\nPath: <sip:edge@127.0.0.40:5070;lr>\r\n";
    let ok = phone.register(&mut w, &format!("{}{path}", phone.contact()));
    assert_eq!((ok.status(), ok.get(Name::Path)), (200, Some(&b"<sip:edge@127.0.0.40:5070;lr>"[..])));
    w.receive(TRUNK_A, &invite(TRUNK_A, "+12065550000", "+14255559999", "c9"));
    let ring = w.expect("127.0.0.40:5070", "INVITE sip:alice@192.168.1.7:5060;ob");
    assert_eq!(get(&ring.msg, Name::Route), "<sip:edge@127.0.0.40:5070;lr>");
}

#[test]
fn an_ordinary_call_to_an_agents_number_goes_to_her_device_and_else_inbound() {
    let mut w = world("");
    w.receive(TRUNK_A, &invite(TRUNK_A, "+12065550000", "+14255559999", "c1"));
    w.expect(PBX, "INVITE sip:+14255559999@127.0.0.1:15090");
    w.take();
    let mut phone = Phone::new(PHONE);
    let contact = phone.contact();
    phone.register(&mut w, &contact);
    w.receive(TRUNK_A, &invite(TRUNK_A, "+12065550000", "+14255559999", "c2"));
    let ring = w.expect(PHONE, "INVITE sip:alice@192.168.1.7:5060;ob");
    assert_eq!(get(&ring.msg, Name::Priority), "");
    w.unreachable(&ring);
    w.expect(PBX, "INVITE sip:+14255559999@127.0.0.1:15090");
}

#[test]
fn everything_comes_to_rest_after_calls_of_phones() {
    let mut w = world("");
    let mut phone = Phone::new(PHONE);
    let contact = phone.contact();
    phone.register(&mut w, &contact);
    dial_911(&mut w, &mut phone);
    w.wait(Duration::from_secs(40));
    assert_eq!(w.shard.census(), Census::default());
}

#[test]
fn b1_a_registered_phone_is_still_known_after_a_kill_until_its_time_is_over() {
    let mut w = world("");
    let mut phone = Phone::new(PHONE);
    let contact = phone.contact();
    assert_eq!(phone.register(&mut w, &(contact.clone() + "Expires: 600\r\n")).status(), 200);
    w.wait(Duration::from_secs(60));
    assert_eq!(w.kept(Table::Device), 1);
    w.restart();
    // She is who she was: her call is placed unasked, and the call back rings her phone the way it came.
    let number = dial_911(&mut w, &mut phone);
    w.take();
    w.receive(TRUNK_A, &invite(TRUNK_A, "psap", &number, "cb"));
    let ring = w.expect(PHONE, "INVITE sip:alice@192.168.1.7");
    w.receive(PHONE, &response(&ring.msg, 603, "t", "", ""));
    w.wait(Duration::from_secs(541));
    w.take();
    assert_eq!(w.kept(Table::Device), 0);
    phone.dial(&mut w, "911", "");
    w.expect(PHONE, "SIP/2.0 401");
}

#[test]
fn b1_after_a_kill_a_phone_whose_connection_is_gone_is_not_looked_for_at_somebody_elses_address() {
    let udp = "transport = \"udp\"\nbind = \"127.0.0.1:15060\"\n";
    let both = format!("{udp}[[listen]]\n{}", udp.replace("udp", "tcp"));
    let mut w = World::with(&format!("{}{ALICE}", CONFIG.replace(udp, &both)));
    // One behind a NAT, whose Contact is an address of its own network, and one that listens where it is.
    for (at, contact) in [(SOFTPHONE, "192.168.1.7:5060"), ("127.0.0.33:40002", "127.0.0.33:5060")] {
        let mut phone = Phone::new(at);
        let mut ask = |w: &mut World, more: &str| {
            let text = phone.register_text(&format!("Contact: <sip:alice@{contact};transport=tcp>\r\n{more}"));
            let remote = at.parse().expect("an address");
            let flow = Flow { transport: Transport::Tcp, listener: 1, remote, connection: 7, name: 0 };
            w.shard.receive(
                flow,
                Message::scan(text.replace("2.0/UDP", "2.0/TCP").into_bytes().into()).expect("a message"),
                w.now,
            );
            w.drain();
            (w.expect(at, "SIP/2.0 ").msg, phone.seq)
        };
        let (challenge, _) = ask(&mut w, "");
        let credentials = Phone::new(at).credentials(&challenge, "REGISTER", "sip:gw.example.net", 0);
        assert_eq!(ask(&mut w, &credentials).0.status(), 200);
    }
    let mut phone = Phone::new(PHONE);
    let contact = phone.contact();
    phone.register(&mut w, &contact);
    w.restart();
    let number = dial_911(&mut w, &mut phone);
    w.take();
    w.receive(TRUNK_A, &invite(TRUNK_A, "+12065550190", &number, "cb"));
    let asked: Vec<_> = w.take().iter().filter(|s| text(&s.msg).starts_with("INVITE")).map(|s| s.to.to_string()).collect();
    assert!(asked.contains(&"127.0.0.33:5060".to_owned()), "{asked:?}");
    assert!(!asked.iter().any(|to| to.starts_with("192.168.")), "{asked:?}");
}

#[test]
fn b1_after_a_boot_a_phone_has_the_time_that_it_had_when_it_registered_last() {
    let mut w = world("");
    let mut phone = Phone::new(PHONE);
    let contact = phone.contact();
    phone.register(&mut w, &(contact + "Expires: 600\r\n"));
    w.now = e911d::words::Time::from_micros(5_000_000);
    w.restart_as(false, |_| {});
    w.wait(Duration::from_secs(599));
    phone.dial(&mut w, "911", "");
    w.expect(TRUNK_A, "INVITE sip:911@");
    w.wait(Duration::from_secs(2));
    assert_eq!(w.kept(Table::Device), 0);
}

#[test]
fn b1_a_phone_that_registers_anew_after_a_kill_or_goes_takes_the_place_of_what_was_kept() {
    let mut w = world("");
    let mut phone = Phone::new(PHONE);
    let contact = phone.contact();
    phone.register(&mut w, &contact);
    w.restart();
    assert_eq!(phone.register(&mut w, &contact).all(Name::Contact).count(), 1);
    assert_eq!(w.kept(Table::Device), 1);
    let mut moved = Phone { seq: 20, ..Phone::new(SOFTPHONE) };
    assert_eq!(moved.register(&mut w, &contact).all(Name::Contact).count(), 1);
    assert_eq!(w.kept(Table::Device), 1);
    moved.register(&mut w, "Contact: *\r\nExpires: 0\r\n");
    assert_eq!(w.kept(Table::Device), 0);
    w.restart();
    phone.dial(&mut w, "911", "");
    w.expect(PHONE, "SIP/2.0 401");
}

#[test]
fn b1_whoever_may_not_register_any_more_is_not_restored() {
    let mut w = world("");
    let mut phone = Phone::new(PHONE);
    let contact = phone.contact();
    phone.register(&mut w, &contact);
    let nobody = World::new().setup.access;
    w.restart_as(true, |setup| setup.access = nobody);
    assert_eq!(w.kept(Table::Device), 0);
}

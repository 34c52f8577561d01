//! Trunks that ask for credentials: whoever waits hears nothing of it.

use crate::world::*;
use e911d::sip::digest::{Algorithm, Asked, Credentials, Ha1, challenge};
use e911d::sip::{Message, Name};
use std::time::Duration;

const KEYS: &str = "options = \"0s\"\nusername = \"gw-user\"\npassword = \"pa\\\"ss\"\n";

/// Trunks a and carrier have credentials, b has none.
fn world() -> World {
    let parts: Vec<_> = CONFIG.split("options = \"0s\"\n").collect();
    let [head, b, carrier, rest] = parts[..] else { panic!("three trunks") };
    World::with(&format!("{head}{KEYS}{b}options = \"0s\"\n{carrier}{KEYS}{rest}"))
}

fn with_header(response: &str, lines: &str) -> String {
    response.replacen("\r\n", &format!("\r\n{lines}"), 1)
}

fn ask(to: &Message, status: u16, realm: &str, nonce: &str, algorithm: Algorithm, stale: bool) -> String {
    let name = if status == 401 { "WWW-Authenticate" } else { "Proxy-Authenticate" };
    with_header(&response(to, status, "q", "", ""), &format!("{name}: {}\r\n", challenge(realm, nonce, algorithm, stale)))
}

/// Whether the request carries credentials that this trunk must believe.
fn is_proved(msg: &Message, status: u16, realm: &str, count: u32) -> bool {
    let name = if status == 401 { Name::Authorization } else { Name::ProxyAuthorization };
    let Some(credentials) = msg.get(name).and_then(Credentials::parse) else { return false };
    let ha1 = Ha1::new(credentials.algorithm, b"gw-user", realm.as_bytes(), b"pa\"ss");
    let asked = Asked { method: msg.method_bytes(), uri: msg.uri(), body: msg.body() };
    credentials.prove(&ha1, &asked) && *credentials.uri == *msg.uri() && credentials.count == Some(count)
}

#[test]
fn p6_a_challenge_is_answered_on_the_same_trunk_and_the_caller_hears_nothing() {
    for (status, algorithm) in [(407, Algorithm::Md5), (401, Algorithm::Sha256), (407, Algorithm::Sha512_256)] {
        let mut w = world();
        w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
        let first = w.expect(TRUNK_A, "INVITE sip:911@");
        w.receive(TRUNK_A, &ask(&first.msg, status, "carrier", "n1", algorithm, false));
        w.expect(TRUNK_A, "ACK");
        let second = w.expect(TRUNK_A, "INVITE sip:911@");
        w.expect_nothing();
        assert!(is_proved(&second.msg, status, "carrier", 1), "{}", text(&second.msg));
        assert_eq!(second.msg.cseq().map(|c| c.0), first.msg.cseq().map(|c| c.0 + 1));
        assert_eq!(
            (get(&second.msg, Name::CallId), get(&second.msg, Name::From)),
            (get(&first.msg, Name::CallId), get(&first.msg, Name::From))
        );
        assert_eq!(second.msg.body(), first.msg.body());
        assert_ne!(get(&second.msg, Name::Via), get(&first.msg, Name::Via));
        w.receive(TRUNK_A, &response(&second.msg, 200, "t1", "sip:psap@127.0.0.1:15070", SDP));
        let ack = w.expect(TRUNK_A, "ACK sip:psap@");
        assert_eq!(get(&ack.msg, Name::CSeq), "2 ACK");
        assert_eq!(ack.msg.header_named("Proxy-Authorization").is_some(), status == 407, "RFC 3261 section 13.2.2.4");
        let ok = w.expect(PBX, "SIP/2.0 200");
        // The BYE is challenged too, and the call is gone on our side by then.
        let near = InDialog::of_response(&ok.msg);
        w.receive(PBX, &near.request("ACK", 1, PBX, "", ""));
        w.receive(PBX, &near.request("BYE", 2, PBX, "", ""));
        w.expect(PBX, "SIP/2.0 200");
        let bye = w.expect(TRUNK_A, "BYE");
        w.receive(TRUNK_A, &ask(&bye.msg, status, "carrier", "n1", algorithm, false));
        let bye = w.expect(TRUNK_A, "BYE");
        assert!(is_proved(&bye.msg, status, "carrier", 2), "the nonce's second use\n{}", text(&bye.msg));
        assert_eq!(get(&bye.msg, Name::CSeq), "4 BYE");
        w.receive(TRUNK_A, &response(&bye.msg, 200, "", "", ""));
        w.wait(Duration::from_secs(40));
        assert_eq!(w.shard.census(), e911d::bridge::Census::default());
    }
}

#[test]
fn p6_a_stale_nonce_is_answered_again_and_a_refused_password_moves_on() {
    let mut w = world();
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let first = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &ask(&first.msg, 407, "carrier", "n1", Algorithm::Md5, false));
    w.expect(TRUNK_A, "ACK");
    let second = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &ask(&second.msg, 407, "carrier", "n2", Algorithm::Md5, true));
    w.expect(TRUNK_A, "ACK");
    let third = w.expect(TRUNK_A, "INVITE");
    assert!(is_proved(&third.msg, 407, "carrier", 1));
    assert_eq!(third.msg.all(Name::ProxyAuthorization).count(), 1);
    w.expect_nothing();
    w.receive(TRUNK_A, &ask(&third.msg, 407, "carrier", "n3", Algorithm::Md5, false));
    w.expect(TRUNK_A, "ACK");
    w.expect(TRUNK_B, "INVITE");
    w.expect_nothing();
}

#[test]
fn a_trunk_that_never_tires_of_asking_is_left() {
    let mut w = world();
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let mut rounds = 0;
    while let Some(at) =
        w.sent.iter().position(|s| text(&s.msg).starts_with("INVITE") && s.to == TRUNK_A.parse::<std::net::SocketAddr>().unwrap())
    {
        let asked = w.sent.remove(at);
        rounds += 1;
        assert!(rounds < 10);
        w.receive(TRUNK_A, &ask(&asked.msg, 407, "carrier", &format!("n{rounds}"), Algorithm::Md5, true));
    }
    assert_eq!(rounds, 5);
    w.expect(TRUNK_B, "INVITE");
}

#[test]
fn p6_the_first_challenge_that_is_understood_is_answered_and_one_that_is_not_moves_on() {
    let mut w = world();
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let first = w.expect(TRUNK_A, "INVITE");
    let both = format!(
        "Proxy-Authenticate: Digest realm=\"x\", nonce=\"a\", algorithm=AKAv1-MD5\r\nProxy-Authenticate: {}\r\n",
        challenge("carrier", "n1", Algorithm::Sha256, false)
    );
    w.receive(TRUNK_A, &with_header(&response(&first.msg, 407, "q", "", ""), &both));
    w.expect(TRUNK_A, "ACK");
    let second = w.expect(TRUNK_A, "INVITE");
    assert!(is_proved(&second.msg, 407, "carrier", 1));
    w.receive(TRUNK_A, &response(&second.msg, 503, "q", "", ""));
    w.expect(TRUNK_A, "ACK");
    // Trunk b has no credentials, least of all another trunk's.
    let b = w.expect(TRUNK_B, "INVITE");
    w.receive(TRUNK_B, &ask(&b.msg, 401, "carrier", "n1", Algorithm::Md5, false));
    w.expect(TRUNK_B, "ACK");
    w.expect_nothing();
}

#[test]
fn a_leg_that_was_given_up_is_not_called_again() {
    let mut w = world();
    let call = invite(PBX, "alice", "911", "c1");
    w.receive(PBX, &call);
    let first = w.expect(TRUNK_A, "INVITE");
    let cancel = call.replace("INVITE", "CANCEL").split("Content-Type").next().unwrap().to_owned() + "Content-Length: 0\r\n\r\n";
    w.receive(PBX, &cancel);
    w.take();
    w.receive(TRUNK_A, &ask(&first.msg, 407, "carrier", "n1", Algorithm::Md5, false));
    w.expect(TRUNK_A, "ACK");
    w.expect_nothing();
}

#[test]
fn an_ordinary_call_and_a_re_invite_are_answered_for_and_the_far_end_gets_no_credentials() {
    let mut w = world();
    w.receive(PBX, &invite(PBX, "alice", "+14551234567", "c1"));
    let first = w.expect(CARRIER, "INVITE");
    w.receive(CARRIER, &ask(&first.msg, 407, "carrier", "n1", Algorithm::Md5, false));
    w.expect(CARRIER, "ACK");
    let second = w.expect(CARRIER, "INVITE sip:+14551234567@");
    assert!(is_proved(&second.msg, 407, "carrier", 1));
    w.receive(CARRIER, &response(&second.msg, 200, "t1", "sip:x@127.0.0.1:15080", SDP));
    let ok = w.expect(PBX, "SIP/2.0 200");
    w.expect(CARRIER, "ACK");
    let near = InDialog::of_response(&ok.msg);
    w.receive(PBX, &near.request("ACK", 1, PBX, "", ""));
    let more = "Contact: <sip:alice@127.0.0.1:15090>\r\nContent-Type: application/sdp\r\n";
    w.receive(PBX, &near.request("INVITE", 2, PBX, more, SDP));
    let re = w.expect(CARRIER, "INVITE sip:x@");
    w.receive(CARRIER, &ask(&re.msg, 407, "carrier", "n2", Algorithm::Md5, false));
    w.expect(CARRIER, "ACK");
    let re = w.expect(CARRIER, "INVITE sip:x@");
    assert!(is_proved(&re.msg, 407, "carrier", 1));
    w.expect_nothing();
    w.receive(CARRIER, &response(&re.msg, 200, "", "sip:x@127.0.0.1:15080", SDP));
    w.expect(PBX, "SIP/2.0 200");
    w.take();
    w.receive(PBX, &near.request("ACK", 2, PBX, "", ""));
    // Whoever is at the far end asks in its own name: that is the other side's business.
    w.receive(PBX, &near.request("INFO", 3, PBX, "", ""));
    let info = w.expect(CARRIER, "INFO");
    w.receive(CARRIER, &ask(&info.msg, 401, "far-end", "n9", Algorithm::Md5, false));
    w.expect(PBX, "SIP/2.0 401");
    w.expect_nothing();
}

#[test]
fn a_probe_is_answered_for() {
    let mut w = World::with(&CONFIG.replacen("options = \"0s\"\n", &KEYS.replace("0s", "30s"), 1));
    w.wait(Duration::from_secs(2));
    let first = w.take().remove(0);
    w.receive(TRUNK_A, &ask(&first.msg, 401, "carrier", "n1", Algorithm::Md5, false));
    let second = w.expect(TRUNK_A, "OPTIONS");
    assert!(is_proved(&second.msg, 401, "carrier", 1));
    w.receive(TRUNK_A, &response(&second.msg, 200, "t", "", ""));
    w.expect_nothing();
}

#[test]
fn whoever_a_trunk_sends_us_to_gets_none_of_its_credentials() {
    let mut w = world();
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let first = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &response(&first.msg, 302, "q", "sip:911@127.0.0.1:15079", ""));
    w.expect(TRUNK_A, "ACK");
    let moved = w.expect("127.0.0.1:15079", "INVITE");
    w.receive("127.0.0.1:15079", &ask(&moved.msg, 407, "carrier", "n1", Algorithm::Md5, false));
    w.expect("127.0.0.1:15079", "ACK");
    w.expect(TRUNK_B, "INVITE");
    w.expect_nothing();
}

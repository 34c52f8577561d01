//! INVITEs of NG9-1-1 equipment, cut from captures, are placed on a trunk with everything in them that a PSAP needs.
//!
//! They come from a known neighbour of the running daemon over real UDP. The trunk lets each ring and looks at what it got.

mod common;

use std::collections::HashSet;
use std::net::UdpSocket;

use common::child::skipped;
use common::testdata::{self, Sample};
use common::{Message, Peer, Transport, World};
use e911d::sip;

/// What stays on the trunk leg as it came (RFC 6442, RFC 7852, NENA-STA-010).
const KEPT: [&str; 4] = ["Geolocation", "Geolocation-Routing", "Call-Info", "Content-Type"];

struct Call {
    name: String,
    bytes: Vec<u8>,
    msg: sip::Message,
}

/// Every INVITE outside a dialog, each transaction once.
fn invites() -> Vec<Call> {
    let mut seen = HashSet::new();
    let scan = |s: Sample| {
        let msg = sip::Message::scan(s.bytes.clone().into()).ok()?;
        let new_call = msg.is_request() && msg.method() == sip::Method::Invite && msg.to_tag().is_none();
        let branch = msg.top_via().and_then(|v| v.branch()).unwrap_or_default().to_vec();
        (new_call && seen.insert((msg.call_id().to_vec(), branch))).then(|| Call { name: s.name, bytes: s.bytes, msg })
    };
    testdata::samples().into_iter().filter(|s| s.verdict == "no-crash").filter_map(scan).collect()
}

/// Calls for help: the number or a service URN in the Request-URI (RULES R1, R2).
fn emergencies() -> Vec<Call> {
    let mut calls = invites();
    calls.retain(|c| {
        let uri = String::from_utf8_lossy(c.msg.uri()).to_ascii_lowercase();
        uri == "urn:service:sos" || uri.starts_with("urn:service:sos.") || uri.starts_with("sip:911@")
    });
    if calls.is_empty() {
        skipped("no NG9-1-1 INVITE in the test data");
    }
    calls
}

/// A gateway with one trunk, which is spoken to by `emergency_target`.
fn world(target: &str) -> (World, Peer, UdpSocket) {
    let world = World::with(Transport::Udp, |_, mut config| {
        config.trunks.truncate(1);
        config.trunks[0].more = format!("emergency_target = \"{target}\"");
        config
    });
    let trunk = Peer::udp(world.trunk_a());
    let near = UdpSocket::bind(world.pbx()).expect("the neighbour's address");
    (world, trunk, near)
}

/// Has the trunk ring for one call; gives what it got.
fn place(world: &World, trunk: &mut Peer, near: &UdpSocket, name: &str, bytes: &[u8]) -> Message {
    near.send_to(bytes, world.at()).expect("room for a datagram");
    let invite = trunk.request_within("INVITE", common::peer::SOON).unwrap_or_else(|| panic!("{name} was not placed"));
    trunk.reply(&invite, "180 Ringing", "ringing", "", "");
    invite
}

/// The body without what RULES L8 changes in SDP.
fn without_names(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in body.split_inclusive(|c| *c == b'\n') {
        match line {
            [b'i' | b'e' | b'p', b'=', ..] => {}
            [b'o', b'=', rest @ ..] => {
                out.extend_from_slice(b"o=-");
                out.extend_from_slice(&rest[rest.iter().position(|c| *c == b' ').unwrap_or(0)..]);
            }
            line => out.extend_from_slice(line),
        }
    }
    out
}

fn values(msg: &sip::Message, name: &str) -> Vec<String> {
    let of_name = msg.headers().iter().filter(|h| {
        let full = h.name.as_str();
        if full.is_empty() { msg.name_bytes(h).eq_ignore_ascii_case(name.as_bytes()) } else { full == name }
    });
    of_name.map(|h| String::from_utf8_lossy(&sip::header::unfold(msg.value(h))).into_owned()).collect()
}

fn assert_kept(call: &Call, invite: &Message) {
    let got = sip::Message::scan(invite.bytes.clone().into()).expect("a message");
    assert!(got.faults().is_clean(), "{}: {:?}", call.name, got.faults());
    assert_eq!(without_names(got.body()), without_names(call.msg.body()), "{}: the body", call.name);
    for name in KEPT {
        assert_eq!(values(&got, name), values(&call.msg, name), "{}: {name}", call.name);
    }
}

#[test]
fn l8_ng911_calls_reach_the_trunk_with_location_and_bodies_untouched() {
    let (world, mut trunk, near) = world("number");
    for call in emergencies() {
        let invite = place(&world, &mut trunk, &near, &call.name, &call.bytes);
        assert_eq!(invite.uri(), format!("sip:911@{};user=phone", trunk.address()), "{}", call.name);
        assert_kept(&call, &invite);
    }
    assert!(!world.gateway.log().contains("panicked"));
}

#[test]
fn r2_a_service_urn_stays_what_it_was_towards_a_trunk_that_takes_urns() {
    let (world, mut trunk, near) = world("urn");
    for call in emergencies() {
        let invite = place(&world, &mut trunk, &near, &call.name, &call.bytes);
        let sent = String::from_utf8_lossy(call.msg.uri()).into_owned();
        let wanted = if sent.starts_with("urn:") { sent } else { "urn:service:sos".to_owned() };
        assert_eq!(invite.uri(), wanted, "{}", call.name);
        assert_kept(&call, &invite);
    }
}

#[test]
fn r5_what_is_a_test_never_goes_out_as_the_real_thing() {
    for target in ["number", "urn"] {
        let (world, mut trunk, near) = world(target);
        for call in emergencies() {
            let Some(rest) = call.bytes.strip_prefix(b"INVITE urn:service:sos") else { continue };
            let bytes = [b"INVITE urn:service:test.sos", rest].concat();
            let invite = place(&world, &mut trunk, &near, &call.name, &bytes);
            assert!(!is_real(&invite), "{}: {}", call.name, invite.start);
            assert_kept(&call, &invite);
        }
        for call in invites().iter().filter(|c| String::from_utf8_lossy(c.msg.uri()).contains("test")) {
            near.send_to(&call.bytes, world.at()).expect("room for a datagram");
            while let Some(invite) = trunk.request_within("INVITE", std::time::Duration::from_millis(300)) {
                assert!(!is_real(&invite), "{}: {}", call.name, invite.start);
            }
        }
    }
}

fn is_real(invite: &Message) -> bool {
    ["911@", "urn:service:sos"].iter().any(|real| invite.uri().contains(real) || invite.header("To").contains(real))
}

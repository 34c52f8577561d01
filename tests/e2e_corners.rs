//! Connections that break and bytes that are wrong, over real sockets: the call goes on, and the sender hears why not.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use common::{Outgoing, Peer, Transport, World};

/// An answered 911 call over TCP: the PBX, the trunk, and both sides of the dialog.
fn talking(world: &World) -> (Peer, Peer, common::Dialog, common::Dialog) {
    let mut trunk = Peer::tcp_listener(world.trunk_a());
    let mut pbx = Peer::calling(Transport::Tcp, world.pbx(), world.at());
    let call = Outgoing::new(world.at(), "alice", &world.uri("911"));
    pbx.invite(&call);
    let invite = trunk.request("INVITE");
    let far = trunk.answer(&invite, "t");
    let answer = pbx.response("INVITE", 200);
    let near = pbx.ack(&call, &answer);
    trunk.request("ACK");
    (pbx, trunk, near, far)
}

#[test]
fn p11_a_bye_reaches_the_pbx_whose_connection_was_lost() {
    let world = World::new(Transport::Tcp);
    let (mut pbx, mut trunk, _, mut far) = talking(&world);
    let mut listening = Peer::tcp_listener(world.pbx());
    pbx.reset();
    trunk.in_dialog(&mut far, "BYE", "");
    trunk.response("BYE", 200);
    let bye = listening.request("BYE");
    listening.reply(&bye, "200 OK", "", "", "");
}

#[test]
fn p11_a_re_invite_reaches_the_trunk_whose_connection_was_lost() {
    let world = World::new(Transport::Tcp);
    let (mut pbx, mut trunk, mut near, _) = talking(&world);
    trunk.reset();
    drop(trunk);
    let mut trunk = Peer::tcp_listener(world.trunk_a());
    pbx.in_dialog(&mut near, "INVITE", common::SDP);
    let again = trunk.request("INVITE");
    trunk.reply(&again, "200 OK", "", "", common::SDP);
    pbx.response("INVITE", 200);
    pbx.in_dialog(&mut near, "ACK", "");
    trunk.request("ACK");
    pbx.in_dialog(&mut near, "BYE", "");
    trunk.request("BYE");
}

#[test]
fn p8_a_ringing_trunk_whose_connection_is_gone_for_good_is_joined_by_the_next() {
    let world = World::new(Transport::Tcp);
    let mut rings = Peer::tcp_listener(world.trunk_a());
    let mut next = Peer::tcp_listener(world.trunk_b());
    let mut pbx = Peer::calling(Transport::Tcp, world.pbx(), world.at());
    pbx.invite(&Outgoing::new(world.at(), "alice", &world.uri("911")));
    let ringing = rings.request("INVITE");
    rings.reply(&ringing, "180 Ringing", "rings", "", "");
    pbx.response("INVITE", 180);
    rings.reset();
    let invite = next.request("INVITE");
    next.answer(&invite, "t");
    pbx.response("INVITE", 200);
}

#[test]
fn p8_a_ringing_trunk_whose_connection_can_be_reopened_goes_on_ringing() {
    let world = World::new(Transport::Tcp);
    let mut rings = Peer::tcp_listener(world.trunk_a());
    let mut next = Peer::tcp_listener(world.trunk_b());
    let mut pbx = Peer::calling(Transport::Tcp, world.pbx(), world.at());
    let call = Outgoing::new(world.at(), "alice", &world.uri("911"));
    pbx.invite(&call);
    let ringing = rings.request("INVITE");
    rings.reply(&ringing, "180 Ringing", "rings", "", "");
    pbx.response("INVITE", 180);
    rings.drop_connection();
    rings.nothing("INVITE", Duration::from_millis(500));
    next.nothing("INVITE", Duration::from_secs(2));
    // The answer comes over the connection that was opened anew.
    rings.answer(&ringing, "rings");
    pbx.response("INVITE", 200);
}

/// Sends this on a connection of its own and gives what comes back until it has been silent for a while, and whether the
/// connection was closed.
fn exchange(world: &World, parts: &[&str]) -> (String, bool) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::new(world.pbx().ip(), 0).into()).unwrap();
    socket.connect(&world.at().into()).unwrap();
    let mut stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    for part in parts {
        stream.write_all(part.as_bytes()).unwrap();
    }
    let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return (String::from_utf8_lossy(&all).into_owned(), true),
            Ok(n) => all.extend_from_slice(&buffer[..n]),
            Err(_) => return (String::from_utf8_lossy(&all).into_owned(), false),
        }
    }
}

fn request(method: &str, id: &str, more: &str) -> String {
    format!(
        "{method} sip:x@gw SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bK{id}\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\n\
         Call-ID: {id}\r\nCSeq: 1 {method}\r\nMax-Forwards: 70\r\n{more}\r\n"
    )
}

#[test]
fn one_bad_request_does_not_close_the_connection_and_a_lost_frame_is_answered_first() {
    let world = World::new(Transport::Tcp);
    let options = request("OPTIONS", "good", "Content-Length: 0\r\n");
    let bad = request("OPTIONS", "bad", "Content-Length : 5\r\n").replace("CSeq: 1", "CSeq: one") + "hello";
    let (answers, closed) = exchange(&world, &[&bad, &options]);
    let statuses: Vec<_> = answers.lines().filter(|l| l.starts_with("SIP/2.0")).collect();
    assert_eq!((statuses, closed), (vec!["SIP/2.0 400 Bad Request", "SIP/2.0 200 OK"], false));
    // Between messages an empty line is answered by one.
    let (answers, closed) = exchange(&world, &["\r\n\r\n"]);
    assert_eq!((answers.as_str(), closed), ("\r\n", false));
    for (text, status) in
        [(request("OPTIONS", "none", ""), "400"), (request("OPTIONS", "huge", "Content-Length: 9999999\r\n"), "513")]
    {
        let (answers, closed) = exchange(&world, &[&text, &options]);
        assert!(answers.starts_with(&format!("SIP/2.0 {status} ")), "{answers}");
        assert!(closed && !answers.contains("200 OK"), "{answers}");
    }
}

#[test]
fn l2_a_lease_of_an_hour_ends_within_seconds_where_time_is_scaled() {
    let mut world = World::with(Transport::Udp, |_, config| config.agent("alice", "").scaled(3600));
    assert!(world.gateway.log().contains("time_scale=3600"), "{}", world.gateway.log());
    let mut trunk = Peer::udp(world.trunk_a());
    let mut pbx = Peer::calling(Transport::Udp, world.pbx(), world.at());
    let call = Outgoing::new(world.at(), "alice", &world.uri("911"));
    pbx.invite(&call);
    let invite = trunk.request("INVITE");
    let number = invite.user_of("From").to_owned();
    trunk.answer(&invite, "t");
    let answer = pbx.response("INVITE", 200);
    let mut near = pbx.ack(&call, &answer);
    trunk.request("ACK");
    pbx.in_dialog(&mut near, "BYE", "");
    let bye = trunk.request("BYE");
    trunk.reply(&bye, "200 OK", "", "", "");
    pbx.response("BYE", 200);
    // 60 minutes for the lease and 24 hours for the quarantine: 1 s and 24 s. Long before that another caller may have it.
    std::thread::sleep(Duration::from_secs(3));
    trunk.invite(&Outgoing::new(world.at(), "psap", &world.uri(&number)));
    let late = pbx.request("INVITE");
    assert_eq!(late.get("Priority"), Some("psap-callback"), "still to its last holder");
    world.gateway.child();
}

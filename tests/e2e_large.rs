//! An INVITE larger than an MTU, with a PIDF-LO in it, arrives as it was sent.

mod common;

use std::process::Command;

use common::{Message, Outgoing, Peer, Transport, World};

const BOUNDARY: &str = "location-and-offer";
const FRAGMENTED: &str = "E911D_TEST_FRAGMENTED";

/// An INVITE of 1,900 bytes: an offer and the caller's dispatchable location (RFC 4119, RFC 6442).
fn large_call(world: &World, pbx: &Peer, offer: &str) -> Outgoing {
    let mut call = Outgoing::new(world.at(), "alice", &world.uri("911"))
        .header("Geolocation: <cid:alice-1@pbx.example.com>")
        .header("Geolocation-Routing: yes")
        .header("MIME-Version: 1.0");
    call.content_type = format!("multipart/mixed; boundary={BOUNDARY}");
    call.body = multipart(offer, "");
    let missing = 1900 - call.request(pbx, "INVITE").len();
    call.body = multipart(offer, &"x".repeat(missing));
    assert!((1900..=1901).contains(&call.request(pbx, "INVITE").len()));
    call
}

fn multipart(offer: &str, note: &str) -> String {
    let location = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"pres:alice@pbx.example.com\">\n<tuple id=\"a\"><status>\
         <gp:geopriv xmlns:gp=\"urn:ietf:params:xml:ns:pidf:geopriv10\"><gp:location-info>\
         <ca:civicAddress xmlns:ca=\"urn:ietf:params:xml:ns:pidf:geopriv10:civicAddr\"><ca:country>US</ca:country><ca:A1>WA</ca:A1>\
         <ca:A3>Redmond</ca:A3><ca:RD>Main</ca:RD><ca:STS>St</ca:STS><ca:HNO>1</ca:HNO><ca:FLR>2</ca:FLR></ca:civicAddress>\
         </gp:location-info></gp:geopriv></status><note>caf\u{e9} {note}</note></tuple>\n</presence>\n"
    );
    format!(
        "--{BOUNDARY}\r\nContent-Type: application/sdp\r\n\r\n{offer}\r\n--{BOUNDARY}\r\nContent-Type: application/pidf+xml\r\n\
         Content-ID: <alice-1@pbx.example.com>\r\nContent-Disposition: by-reference;handling=optional\r\n\r\n{location}\r\n--{BOUNDARY}--\r\n"
    )
}

/// Sends it, and gives what was sent and what the trunk got.
fn relay(from: Transport, to: Transport, offer: &str) -> (Outgoing, Message) {
    let world = World::with(from, |_, mut config| {
        config.trunks.iter_mut().for_each(|t| t.transport = to);
        config.agent("alice", "")
    });
    let mut trunk = Peer::at(to, world.trunk_a());
    let mut pbx = Peer::calling(from, world.pbx(), world.at());
    let call = large_call(&world, &pbx, offer);
    pbx.invite(&call);
    let invite = trunk.request("INVITE");
    trunk.answer(&invite, "t");
    let answer = pbx.response("INVITE", 200);
    pbx.ack(&call, &answer);
    trunk.request("ACK");
    (call, invite)
}

fn assert_arrived_whole(call: &Outgoing, invite: &Message) {
    assert_eq!(String::from_utf8_lossy(&invite.body), call.body, "the body, byte for byte");
    assert_eq!(invite.header("Content-Type"), call.content_type);
    assert_eq!(invite.header("Geolocation"), "<cid:alice-1@pbx.example.com>");
    assert_eq!(invite.header("Geolocation-Routing"), "yes");
    assert_eq!(invite.header("MIME-Version"), "1.0");
}

#[test]
fn l8_a_large_invite_with_a_location_arrives_byte_equal_over_udp_and_tcp() {
    let ways = [
        (Transport::Tcp, Transport::Tcp),
        (Transport::Udp, Transport::Udp),
        (Transport::Tcp, Transport::Udp),
        (Transport::Udp, Transport::Tcp),
    ];
    for (from, to) in ways {
        let (call, invite) = relay(from, to, common::SDP);
        assert_arrived_whole(&call, &invite);
    }
}

#[test]
fn l8_the_offer_loses_its_name_and_the_location_keeps_every_byte() {
    let offer = common::SDP.replace("o=- ", "o=alice ").replace("s=-\r\n", "s=-\r\ni=Alice's phone\r\ne=alice@example.com\r\n");
    let (call, invite) = relay(Transport::Udp, Transport::Udp, &offer);
    assert_eq!(String::from_utf8_lossy(&invite.body), call.body.replace(&offer, common::SDP));
}

/// Loopback's MTU is 64 KiB, so the datagrams go through a network namespace where it is 1,280 bytes.
#[test]
fn l8_a_large_invite_arrives_byte_equal_in_fragments() {
    if std::env::var_os(FRAGMENTED).is_none() {
        return again_with_a_small_mtu("l8_a_large_invite_arrives_byte_equal_in_fragments");
    }
    let before = fragments_reassembled();
    let (call, invite) = relay(Transport::Udp, Transport::Udp, common::SDP);
    assert_arrived_whole(&call, &invite);
    let reassembled = fragments_reassembled() - before;
    assert!(reassembled >= 2, "both legs were fragmented: {reassembled} datagrams reassembled");
}

fn again_with_a_small_mtu(test: &str) {
    let ways = [["--net", "--"], ["--map-root-user", "--net"]];
    let possible = |way: &&[&str; 2]| Command::new("unshare").args(**way).arg("true").output().is_ok_and(|o| o.status.success());
    let Some(way) = ways.iter().find(possible) else {
        return common::child::skipped("fragmented UDP: this user may not make a network namespace (unshare --net)");
    };
    if common::child::find("ip").is_none() {
        return common::child::skipped("fragmented UDP: ip is not installed (apt-get install iproute2)");
    }
    let script = "PATH=$PATH:/usr/sbin:/sbin; ip link set lo mtu 1280 up && exec \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command.args(way).args(["sh", "-c", script]).arg(std::env::current_exe().unwrap());
    let run = command.args(["--exact", test, "--nocapture"]).env(FRAGMENTED, "1").output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && said.contains("1 passed"), "with an MTU of 1280:\n{said}");
}

/// `ReasmOKs` of this network namespace (RFC 1213).
fn fragments_reassembled() -> u64 {
    let table = std::fs::read_to_string("/proc/net/snmp").unwrap();
    let mut lines = table.lines().filter(|l| l.starts_with("Ip:"));
    let names = lines.next().unwrap_or_default().split(' ');
    let values = lines.next().unwrap_or_default().split(' ');
    names.zip(values).find(|(name, _)| *name == "ReasmOKs").and_then(|(_, v)| v.parse().ok()).unwrap_or(0)
}

//! The agent's location on the trunk leg (RFC 6442, RULES A4): added where it is asked for and the call brings none.

use crate::world::*;
use e911d::emergency::facts::Side;
use e911d::emergency::notice::Notice;
use e911d::sip::Name;

fn world() -> World {
    let trunk = "callback_numbers = [\"+12000000100-+12000000103\"]\n";
    let place = "location = { house = \"1A\", street = \"NE Main & 1st St\", city = \"Redmond\", state = \"WA\", zip = \"98052\", floor = \"<2>\" }\n";
    World::changed(|c| {
        c.replace(trunk, &format!("{trunk}location = \"pidf\"\n"))
            .replace("contacts = \"lead@example.com\"\n", &format!("contacts = \"lead@example.com\"\n{place}"))
    })
}

fn notices(w: &mut World) -> Vec<Notice> {
    let notice = |side| if let Side::Notice(notice) = side { Some(notice) } else { None };
    std::mem::take(&mut w.sides).into_iter().filter_map(notice).collect()
}

fn told(w: &mut World) -> Vec<Option<String>> {
    notices(w).into_iter().map(|n| n.location.map(|l| l.reveal().clone())).collect()
}

const WORDS: &str = "1A NE Main & 1st St, Redmond, WA 98052, US, floor <2>";

#[test]
fn the_agents_location_goes_along_with_the_sdp_where_the_trunk_wants_it() {
    let mut w = world();
    w.receive(PBX, &invite(PBX, "bob", "911", "c1"));
    let out = w.expect(TRUNK_A, "INVITE sip:911@");
    let call_id = get(&out.msg, Name::CallId);
    let sdp = SDP.replace("o=alice", "o=-");
    let want = format!(
        "--e911d-{call_id}\r\nContent-Type: application/sdp\r\n\r\n{sdp}\r\n--e911d-{call_id}\r\n\
         Content-Type: application/pidf+xml\r\nContent-ID: <location.{call_id}@gw.example.net>\r\n\
         Content-Disposition: by-reference;handling=optional\r\n\r\n{}\r\n--e911d-{call_id}--\r\n",
        r#"<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:gp="urn:ietf:params:xml:ns:pidf:geopriv10" xmlns:gbp="urn:ietf:params:xml:ns:pidf:geopriv10:basicPolicy" xmlns:ca="urn:ietf:params:xml:ns:pidf:geopriv10:civicAddr" entity="pres:+12000000100@gw.example.net">
  <dm:device id="target">
    <gp:geopriv>
      <gp:location-info>
        <ca:civicAddress>
          <ca:country>US</ca:country>
          <ca:A1>WA</ca:A1>
          <ca:A3>Redmond</ca:A3>
          <ca:PRD>NE</ca:PRD>
          <ca:RD>Main &amp; 1st</ca:RD>
          <ca:STS>St</ca:STS>
          <ca:HNO>1</ca:HNO>
          <ca:HNS>A</ca:HNS>
          <ca:FLR>&lt;2&gt;</ca:FLR>
          <ca:PC>98052</ca:PC>
        </ca:civicAddress>
      </gp:location-info>
      <gp:usage-rules>
        <gbp:retransmission-allowed>true</gbp:retransmission-allowed>
        <gbp:retention-expiry>2025-11-22T20:41:31Z</gbp:retention-expiry>
      </gp:usage-rules>
      <gp:method>Manual</gp:method>
    </gp:geopriv>
    <dm:deviceID>tel:+12000000100</dm:deviceID>
    <dm:timestamp>2025-11-22T19:41:31Z</dm:timestamp>
  </dm:device>
</presence>"#
            .replace('\n', "\r\n")
    );
    assert_eq!(String::from_utf8_lossy(out.msg.body()), want);
    assert_eq!(get(&out.msg, Name::ContentType), format!("multipart/mixed;boundary=\"e911d-{call_id}\""));
    assert_eq!(get(&out.msg, Name::Geolocation), format!("<cid:location.{call_id}@gw.example.net>"));
    assert_eq!(get(&out.msg, Name::GeolocationRouting), "yes");
    assert_eq!(get(&out.msg, Name::MimeVersion), "1.0");
    assert_eq!(get(&out.msg, Name::Supported), "geolocation");
    for trace in ["bob", "pbx", "alice"] {
        assert!(!text(&out.msg).contains(trace), "{trace} in\n{}", text(&out.msg));
    }
    assert_eq!(told(&mut w), [Some(WORDS.to_owned())]);
}

#[test]
fn p6_a_trunk_that_refuses_the_location_gets_the_sdp_alone_and_the_contacts_hear_of_it() {
    for status in [400, 413, 415, 488, 513] {
        let mut w = world();
        w.receive(PBX, &invite(PBX, "bob", "911", "c1"));
        let out = w.expect(TRUNK_A, "INVITE");
        w.receive(TRUNK_A, &response(&out.msg, status, "t1", "", ""));
        w.expect(TRUNK_A, "ACK");
        let again = w.expect(TRUNK_A, "INVITE");
        assert_eq!(again.msg.body(), SDP.replace("o=alice", "o=-").as_bytes());
        for gone in [Name::Geolocation, Name::GeolocationRouting, Name::MimeVersion] {
            assert_eq!(again.msg.get(gone), None, "{status}");
        }
        w.receive(TRUNK_A, &response(&again.msg, 486, "t2", "", ""));
        w.expect(TRUNK_A, "ACK");
        // The next trunk wants none.
        let next = w.expect(TRUNK_B, "INVITE");
        assert_eq!(get(&next.msg, Name::ContentType), "application/sdp");
        w.receive(TRUNK_B, &response(&next.msg, 200, "t3", "sip:psap@127.0.0.1:15071", SDP));
        w.expect(TRUNK_B, "ACK");
        let ok = w.expect(PBX, "SIP/2.0 200");
        w.receive(PBX, &InDialog::of_response(&ok.msg).request("BYE", 2, PBX, "", ""));
        assert_eq!(told(&mut w), [Some(WORDS.to_owned()), None], "made with it, over without");
    }
}

#[test]
fn what_a_call_brings_is_never_replaced_and_the_contacts_are_told_what_it_was() {
    let pidf = "<presence><civicAddress><A3>Kirkland</A3><RD>Lake</RD><STS>St</STS><HNO>7</HNO></civicAddress></presence>";
    let parts = format!(
        "--b\r\nContent-Type: application/sdp\r\n\r\n{SDP}\r\n--b\r\nContent-Type: application/pidf+xml\r\nContent-ID: <x@y>\r\n\r\n{pidf}\r\n--b--\r\n"
    );
    let of = |headers: &str, content_type: &str, body: &str| {
        let plain = invite(PBX, "bob", "911", "c1");
        let head = plain.split("Content-Type").next().unwrap_or_default().to_owned();
        format!("{head}{headers}Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let unread = "as the caller's telephone system sent it";
    for (call, words) in [
        (of("Geolocation: <cid:x@y>\r\n", "multipart/mixed;boundary=b", &parts), "7 Lake St, Kirkland"),
        (of("", "multipart/mixed;boundary=b", &parts), "7 Lake St, Kirkland"),
        (of("Geolocation: <https://lis.example.com/1>\r\n", "application/sdp", SDP), unread),
        (of("", "multipart/mixed;boundary=b", &parts.replace(pidf, "<broken")), unread),
    ] {
        let mut w = world();
        w.receive(PBX, &call);
        let out = w.expect(TRUNK_A, "INVITE");
        assert!(!text(&out.msg).contains("Redmond"), "{}", text(&out.msg));
        assert_eq!(told(&mut w), [Some(words.to_owned())]);
    }
}

#[test]
fn a_call_of_nobody_in_particular_and_one_without_an_offer_are_placed_as_well() {
    let mut w = world();
    w.receive(PBX, &invite(PBX, "somebody", "911", "c1"));
    let out = w.expect(TRUNK_A, "INVITE");
    assert_eq!(get(&out.msg, Name::ContentType), "application/sdp");
    assert_eq!(told(&mut w), [None]);
    let plain = invite(PBX, "bob", "911", "c2");
    let head = plain.split("Content-Type").next().unwrap_or_default().to_owned();
    w.receive(PBX, &format!("{head}Content-Length: 0\r\n\r\n"));
    let out = w.expect(TRUNK_A, "INVITE");
    assert!(!text(&out.msg).contains("application/sdp") && text(&out.msg).contains("<ca:A3>Redmond</ca:A3>"));
    w.receive(TRUNK_A, &response(&out.msg, 415, "t1", "", ""));
    w.expect(TRUNK_A, "ACK");
    let again = w.expect(TRUNK_A, "INVITE");
    assert_eq!((again.msg.body(), again.msg.get(Name::ContentType)), (&b""[..], None));
}

#[test]
fn r5_a_test_call_carries_the_location_as_well() {
    let mut w = world();
    w.receive(PBX, &invite(PBX, "bob", "933", "c1"));
    let out = w.expect(TRUNK_A, "INVITE sip:933@");
    assert!(text(&out.msg).contains("<gbp:retention-expiry>2025-11-22T19:46:31Z"), "five minutes: {}", text(&out.msg));
}

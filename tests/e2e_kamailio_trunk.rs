//! A real carrier's proxy, Kamailio, between the gateway and the PSAPs: it stays in every dialog, so all that is said
//! in a dialog goes by Route headers, and it rings two PSAPs at once.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::sipp::{Trace, finish_both};
use common::story::{PSAP, assert_trace_hides, shown_number};
use common::{Kamailio, Message, Outgoing, Peer, Sipp, Transport, World, require};

/// The gateway, its trunk `carrier-a` being Kamailio, and the PSAPs behind it.
struct Carrier {
    proxy: Kamailio,
    world: World,
}

impl Carrier {
    fn with_psaps(hosts: &[u8]) -> Self {
        let world = World::new(Transport::Udp);
        let psaps: Vec<_> = hosts.iter().map(|&h| world.net.sip(h)).collect();
        let proxy = Kamailio::carrier(world.trunk_a(), world.at(), &psaps);
        Self { proxy, world }
    }

    fn psap(&self) -> SocketAddr {
        self.world.net.sip(61)
    }

    /// Alice dials 911 in one scenario, the PSAP answers in another; gives both traces.
    fn emergency(&self, caller: &'static str, callee: &'static str) -> (Trace, Trace) {
        let psap = Sipp::answers(callee, Transport::Udp, self.psap()).start();
        let alice = Sipp::calls(caller, Transport::Udp, self.world.pbx(), self.world.at(), "alice", &self.world.uri("911"));
        finish_both(alice.start(), psap)
    }

    /// The PSAP calls a number in one scenario, through Kamailio; the PBX answers in another.
    fn callback(&self, number: &str, caller: &'static str, callee: &'static str) -> (Trace, Trace) {
        let pbx = Sipp::answers(callee, Transport::Udp, self.world.pbx()).start();
        let uri = format!("sip:{number}@{}", self.proxy.at());
        let psap = Sipp::calls(caller, Transport::Udp, self.psap(), self.proxy.at(), PSAP, &uri);
        finish_both(psap.start(), pbx)
    }

    /// These came to the PSAP by way of the proxy.
    fn assert_came_through(&self, messages: &[&Message]) {
        let here = format!(" {}", self.proxy.at().ip());
        for message in messages {
            assert!(message.header("Via").contains(&here), "past the proxy:\n{}", message.text());
            assert_eq!(message.all("Via").count(), 2, "{}", message.text());
        }
    }
}

macro_rules! require_all {
    () => {
        require!("sipp" from "sip-tester", "kamailio" from "kamailio");
    };
}

#[test]
fn a_call_through_a_proxy_that_record_routes_is_answered_and_either_side_hangs_up() {
    require_all!();
    let carrier = Carrier::with_psaps(&[61]);
    let (_, psap) = carrier.emergency("uac_call.xml", "uas_answer.xml");
    shown_number(&as_sent(psap.request("INVITE"), &carrier));
    carrier.assert_came_through(&[psap.request("ACK"), psap.request("BYE")]);
    assert_trace_hides(&psap, &["alice"]);
    let (alice, psap) = carrier.emergency("uac_hung_up_on.xml", "uas_hangup.xml");
    carrier.assert_came_through(&[psap.request("ACK")]);
    assert_eq!(alice.requests("BYE").len(), 1);
}

#[test]
fn a6_re_invites_pass_both_ways_through_a_proxy() {
    require_all!();
    let carrier = Carrier::with_psaps(&[61]);
    let (alice, psap) = carrier.emergency("uac_reinvite.xml", "uas_reinvite.xml");
    carrier.assert_came_through(&psap.requests("INVITE"));
    carrier.assert_came_through(&psap.requests("ACK"));
    assert!(String::from_utf8_lossy(&psap.requests("INVITE")[1].body).contains("a=sendonly"));
    assert!(String::from_utf8_lossy(&alice.request("INVITE").body).contains("a=sendonly"));
    assert_trace_hides(&psap, &["alice", "Caller"]);
}

#[test]
fn c1_a_callback_through_a_proxy_reaches_the_agent_and_all_of_a_dialog_works() {
    require_all!();
    let carrier = Carrier::with_psaps(&[61]);
    let (_, psap) = carrier.emergency("uac_call.xml", "uas_answer.xml");
    let number = shown_number(&as_sent(psap.request("INVITE"), &carrier));
    let scenarios =
        [("uac_call.xml", "uas_answer.xml"), ("uac_hung_up_on.xml", "uas_hangup.xml"), ("uac_reinvite.xml", "uas_reinvite.xml")];
    for (caller, callee) in scenarios {
        let (psap, pbx) = carrier.callback(&number, caller, callee);
        assert_eq!(pbx.request("INVITE").header("Priority"), "psap-callback");
        assert_trace_hides(&psap, &["alice"]);
    }
}

#[test]
fn p11_of_two_psaps_that_ring_together_one_answers_and_the_other_stops() {
    require_all!();
    let carrier = Carrier::with_psaps(&[61, 62]);
    let other = Sipp::answers("uas_cancelled.xml", Transport::Udp, carrier.world.net.sip(62)).start();
    let one = Sipp::answers("uas_answer.xml", Transport::Udp, carrier.psap()).hold(Duration::from_millis(600)).start();
    let world = &carrier.world;
    let alice = Sipp::calls("uac_call.xml", Transport::Udp, world.pbx(), world.at(), "alice", &world.uri("911")).run();
    let (one, other) = finish_both(one, other);
    assert_eq!(one.request("INVITE").header("Call-ID"), other.request("INVITE").header("Call-ID"));
    assert_eq!(one.requests("BYE").len(), 1);
    let answers: std::collections::BTreeSet<_> =
        alice.responses(200).into_iter().filter(|m| m.method() == "INVITE").map(|m| m.tag_of("To").map(str::to_owned)).collect();
    assert_eq!(answers.len(), 1, "one answer");
}

#[test]
fn p11_of_two_psaps_that_answer_at_once_one_is_kept_and_the_other_is_hung_up() {
    require_all!();
    let carrier = Carrier::with_psaps(&[61, 62]);
    let (world, mut psaps) = (&carrier.world, [61, 62].map(|host| Peer::udp(carrier.world.net.sip(host))));
    let mut pbx = Peer::udp(world.pbx());
    let call = Outgoing::new(world.at(), "alice", &world.uri("911"));
    pbx.invite(&call);
    let invites = psaps.each_mut().map(|psap| psap.request("INVITE"));
    for (n, (psap, invite)) in psaps.iter_mut().zip(&invites).enumerate() {
        psap.answer(invite, &format!("psap{n}"));
    }
    let answer = pbx.response("INVITE", 200);
    let mut dialog = pbx.ack(&call, &answer);
    for psap in &mut psaps {
        psap.request("ACK");
        // The proxy may cancel where the answer is under way.
        if let Some(cancel) = psap.request_within("CANCEL", Duration::from_millis(200)) {
            psap.reply(&cancel, "200 OK", "", "", "");
        }
    }
    let ended = psaps.each_mut().map(|psap| psap.request_within("BYE", Duration::from_millis(300)));
    assert_eq!(ended.iter().flatten().count(), 1, "one is hung up, the other goes on");
    for (psap, bye) in psaps.iter_mut().zip(ended) {
        if let Some(bye) = bye {
            psap.reply(&bye, "200 OK", "", "", "");
            continue;
        }
        pbx.in_dialog(&mut dialog, "BYE", "");
        let bye = psap.request("BYE");
        psap.reply(&bye, "200 OK", "", "", "");
        pbx.response("BYE", 200);
    }
}

#[test]
fn p6_a_proxy_that_cannot_reach_its_psap_is_left_for_the_next_trunk() {
    require_all!();
    let carrier = Carrier::with_psaps(&[61]);
    let world = &carrier.world;
    let next = Sipp::answers("uas_answer.xml", Transport::Udp, world.trunk_b()).start();
    Sipp::calls("uac_call.xml", Transport::Udp, world.pbx(), world.at(), "alice", &world.uri("911")).run();
    assert!(shown_number(next.finish().request("INVITE")).starts_with("+1206"));
}

/// The INVITE as the gateway sent it: the proxy has another Request-URI in it.
fn as_sent(invite: &Message, carrier: &Carrier) -> Message {
    let mut sent = invite.clone();
    assert!(invite.uri().starts_with("sip:911@"), "{}", invite.uri());
    assert!(invite.header("Record-Route").contains(&carrier.proxy.at().ip().to_string()), "{}", invite.text());
    sent.start = format!("INVITE {} SIP/2.0", invite.uri_of("To"));
    sent
}

//! The daemon is killed in the middle of a call and started again: the call goes on (RULES B1, B2, P11).

mod common;

use std::time::Duration;

use common::{Outgoing, Peer, Sipp, Transport, World, require};

const NUMBER: &str = "+12125550123";
/// A connected call is on record after that: 100 ms by the rule, and what a busy machine adds.
const ON_RECORD: Duration = Duration::from_millis(400);

#[test]
fn b1_a_call_between_sipp_on_both_sides_outlives_a_kill_and_its_bye_passes() {
    require!("sipp" from "sip-tester");
    for dialed in ["911", NUMBER] {
        let mut world = World::new(Transport::Udp);
        let trunk = Sipp::answers("uas_answer.xml", Transport::Udp, world.trunk_a()).start();
        let pbx = Sipp::calls("uac_call.xml", Transport::Udp, world.pbx(), world.at(), "alice", &world.uri(dialed))
            .hold(Duration::from_secs(4))
            .start();
        trunk.until_received("the ACK", |m| m.is_request() && m.method() == "ACK");
        std::thread::sleep(ON_RECORD);
        world.gateway.start_again(&[]);
        let (callee, caller) = common::sipp::finish_both(trunk, pbx);
        assert_eq!(callee.requests("BYE").len(), 1, "{dialed}");
        assert!(callee.request("BYE").cseq() > 1000, "{dialed}: a CSeq that was never used");
        assert!(caller.responses(481).is_empty(), "{dialed}");
    }
}

#[test]
fn b1_a_psap_hangs_up_after_one_kill_and_another() {
    let mut world = World::new(Transport::Udp);
    let (mut trunk, mut pbx) = (Peer::udp(world.trunk_a()), Peer::udp(world.pbx()));
    let call = Outgoing::new(world.at(), "alice", &world.uri("911"));
    pbx.invite(&call);
    let invite = trunk.request("INVITE");
    let mut far = trunk.answer(&invite, "psap");
    let answer = pbx.response("INVITE", 200);
    let mut near = pbx.ack(&call, &answer);
    trunk.request("ACK");
    std::thread::sleep(ON_RECORD);
    world.gateway.start_again(&[]);
    pbx.in_dialog(&mut near, "INFO", "");
    let info = trunk.request("INFO");
    trunk.reply(&info, "200 OK", "", "", "");
    pbx.response("INFO", 200);
    world.gateway.start_again(&[]);
    trunk.in_dialog(&mut far, "BYE", "");
    trunk.response("BYE", 200);
    let bye = pbx.request("BYE");
    pbx.reply(&bye, "200 OK", "", "", "");
    // Times and ports may have any digits.
    for what in ["alice", "sip:911", "=911", "\"911"] {
        assert!(!world.gateway.log().contains(what), "the log says {what}");
    }
}

#[test]
fn p11_a_tcp_neighbour_is_reached_by_a_new_connection_after_a_kill() {
    let mut world = World::new(Transport::Tcp);
    let (pbx_listens, mut trunk) = (Peer::tcp_listener(world.pbx()), Peer::tcp_listener(world.trunk_a()));
    let mut pbx = Peer::tcp_to(world.pbx().ip(), world.at());
    let call = Outgoing::new(world.at(), "alice", &world.uri("911"));
    pbx.invite(&call);
    let invite = trunk.request("INVITE");
    trunk.answer(&invite, "psap");
    let answer = pbx.response("INVITE", 200);
    pbx.ack(&call, &answer);
    trunk.request("ACK");
    std::thread::sleep(ON_RECORD);
    world.gateway.start_again(&[]);
    trunk.drop_connection();
    // The PBX comes by a connection of its own; to the trunk the gateway opens one.
    let mut dialog = common::peer::Dialog::of_caller(&call, &answer);
    let mut again = Peer::tcp_to(world.pbx().ip(), world.at());
    again.in_dialog(&mut dialog, "BYE", "");
    again.response("BYE", 200);
    let bye = trunk.request("BYE");
    trunk.reply(&bye, "200 OK", "", "", "");
    drop(pbx_listens);
}

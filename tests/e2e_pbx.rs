//! A real PBX, Kamailio, with real phones behind it, and everything switched on that stands between a call and an agent.
//! The same test shows that it does stop an ordinary call, and that it does not stop the PSAP's callback.

mod common;

use std::time::Duration;

use common::baresip::Answer;
use common::story::{PSAP, assert_trace_hides, psap_calls, shown_number};
use common::{Baresip, Kamailio, Outgoing, Peer, Sipp, Transport, World, require};

const ALICES_NUMBER: &str = "+14255551234";
const SOMEBODY: &str = "+12125550123";

/// The gateway, Kamailio, and the phones of alice (answers by itself) and bob (rings).
struct Office {
    alice: Baresip,
    bob: Baresip,
    pbx: Kamailio,
    world: World,
}

impl Office {
    fn open() -> Self {
        let world = World::with(Transport::Udp, |_, config| config.agent("alice", &format!("number = \"{ALICES_NUMBER}\"")));
        let pbx = Kamailio::start(world.pbx(), world.at(), world.net.sip(40));
        let alice = Baresip::start(world.net.ip(31), "alice", pbx.at(), Answer::Auto);
        let bob = Baresip::start(world.net.ip(32), "bob", pbx.at(), Answer::Manual);
        pbx.until_registered("alice");
        pbx.until_registered("bob");
        pbx.number(ALICES_NUMBER, "alice");
        Self { alice, bob, pbx, world }
    }

    /// Alice dials 911 on her phone; gives the number that the PSAP saw.
    fn alice_dials_911(&mut self) -> String {
        let trunk = Sipp::answers("uas_answer.xml", Transport::Udp, self.world.trunk_a()).start();
        self.alice.dial("911");
        self.alice.until("CALL_ESTABLISHED", Duration::from_secs(10));
        self.alice.hang_up();
        let trace = trunk.finish();
        assert_trace_hides(&trace, &["alice", "baresip", "kamailio", &self.world.pbx().ip().to_string()]);
        shown_number(trace.request("INVITE"))
    }

    /// The PSAP calls back, and alice's phone answers.
    fn psap_reaches_alice(&mut self, number: &str) {
        psap_calls(&self.world, "uac_call.xml", number).hold(Duration::from_millis(300)).run();
        let up = self.alice.until("CALL_ESTABLISHED", Duration::from_secs(2));
        assert!(up.contains(PSAP) && up.contains("\"incoming\""), "she sees who calls: {up}");
        self.alice.until("CALL_CLOSED", Duration::from_secs(4));
    }

    /// Somebody calls alice's own number; by hand, so that any outcome can be looked at.
    fn somebody_calls_alice(&self) -> (Peer, Outgoing) {
        let mut somebody = Peer::udp(self.world.trunk_b());
        let call = Outgoing::new(self.world.at(), SOMEBODY, &self.world.uri(ALICES_NUMBER));
        somebody.invite(&call);
        (somebody, call)
    }

    fn alices_phone_is_quiet(&mut self) {
        // A phone that answers by itself says nothing of ringing, but the direction stands in all that it says of a call.
        let rang = self.alice.event_within("incoming", Duration::from_millis(300));
        assert!(rang.is_none(), "an ordinary call came through: {rang:?}");
    }
}

#[test]
fn c1_the_callback_passes_do_not_disturb_forwarding_and_a_queue_that_stop_ordinary_calls() {
    require!("sipp" from "sip-tester", "kamailio" from "kamailio", "baresip" from "baresip-core");
    let mut office = Office::open();
    let number = office.alice_dials_911();
    office.psap_reaches_alice(&number);

    office.pbx.switch_on("alice", "dnd", "1");
    let (mut somebody, call) = office.somebody_calls_alice();
    let refused = somebody.response("INVITE", 486);
    somebody.ack(&call, &refused);
    office.alices_phone_is_quiet();
    office.psap_reaches_alice(&number);
    office.pbx.switch_off("alice", "dnd");

    drop(somebody);
    office.pbx.switch_on("alice", "forward", "bob");
    let (mut somebody, call) = office.somebody_calls_alice();
    somebody.response("INVITE", 180);
    office.bob.until("CALL_INCOMING", Duration::from_secs(2));
    somebody.cancel(&call);
    let ended = somebody.response("INVITE", 487);
    somebody.ack(&call, &ended);
    office.alices_phone_is_quiet();
    office.psap_reaches_alice(&number);
    office.pbx.switch_off("alice", "forward");

    drop(somebody);
    office.pbx.switch_on("alice", "queue", "1");
    let queue = Sipp::answers("uas_answer.xml", Transport::Udp, office.world.net.sip(40)).start();
    Sipp::calls(
        "uac_call.xml",
        Transport::Udp,
        office.world.trunk_b(),
        office.world.at(),
        SOMEBODY,
        &office.world.uri(ALICES_NUMBER),
    )
    .run();
    queue.finish();
    office.alices_phone_is_quiet();

    office.pbx.switch_on("alice", "dnd", "1");
    office.pbx.switch_on("alice", "forward", "bob");
    office.psap_reaches_alice(&number);
    assert!(office.bob.event_within("CALL_INCOMING", Duration::from_millis(200)).is_none(), "the callback was forwarded");
}

#[test]
fn c1_with_nothing_switched_on_an_ordinary_call_and_a_callback_both_reach_the_phone() {
    require!("sipp" from "sip-tester", "kamailio" from "kamailio", "baresip" from "baresip-core");
    let mut office = Office::open();
    let (mut somebody, call) = office.somebody_calls_alice();
    let answer = somebody.response("INVITE", 200);
    let mut dialog = somebody.ack(&call, &answer);
    office.alice.until("CALL_ESTABLISHED", Duration::from_secs(2));
    somebody.in_dialog(&mut dialog, "BYE", "");
    somebody.response("BYE", 200);
    office.alice.until("CALL_CLOSED", Duration::from_secs(2));
    let number = office.alice_dials_911();
    office.psap_reaches_alice(&number);
}

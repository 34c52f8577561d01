//! A real presence server, Kamailio, and a watcher: who dials 911 is shown as busy, and as before when it is over (RULES A1).

mod common;

use std::time::Duration;

use common::kamailio::has_module;
use common::peer::SOON;
use common::{Dialog, Kamailio, Message, Net, Outgoing, Peer, Transport, World};

const WATCHER: u8 = 70;
const SERVER: u8 = 60;

fn world() -> World {
    World::with(Transport::Udp, |net, mut config| {
        let server = net.sip(SERVER);
        config.more = format!("[presence]\nkind = \"sip-publish\"\nserver = \"sip:presence@{server}\"\nhold = \"1s\"\n");
        config.agent("alice", "")
    })
}

/// Somebody who sees alice's presence.
struct Watcher(Peer);

impl Watcher {
    fn of_alice(net: &Net) -> Self {
        let mut peer = Peer::udp(net.sip(WATCHER));
        let uri = format!("sip:alice@{}", net.ip(SERVER));
        let call = Outgoing::new(net.sip(SERVER), "watcher", &uri);
        let text = call.request(&peer, "SUBSCRIBE");
        let more = format!(
            "Contact: <{}>\r\nEvent: presence\r\nAccept: application/pidf+xml\r\nExpires: 600\r\nContent-Length: 0\r\n",
            peer.contact("watcher")
        );
        peer.send(text.replace("Content-Length: 0\r\n", &more).as_bytes(), net.sip(SERVER));
        let accepted = peer.final_response("SUBSCRIBE", SOON);
        assert!((200..300).contains(&accepted.status()), "{}", accepted.text());
        Self(peer)
    }

    /// Waits until she is told that alice is busy, or that she is not; gives the NOTIFY.
    fn until_busy(&mut self, busy: bool, within: Duration) -> Message {
        let deadline = common::Deadline::after(within);
        let mut last = String::new();
        while let Some(notify) = self.0.request_within("NOTIFY", deadline.left()) {
            self.0.reply(&notify, "200 OK", "", "", "");
            let body = String::from_utf8_lossy(&notify.body).into_owned();
            if (body.contains("Do not disturb") && body.contains("busy")) == busy {
                return notify;
            }
            last = notify.text();
        }
        panic!("the watcher was not told that busy is {busy}; last she was told:\n{last}");
    }
}

/// Alice's call, answered.
fn talking(world: &World, pbx: &mut Peer, trunk: &mut Peer) -> (Dialog, Dialog) {
    let call = Outgoing::new(world.at(), "alice", &world.uri("911"));
    pbx.invite(&call);
    let invite = trunk.request("INVITE");
    let far = trunk.answer(&invite, "psap");
    let answer = pbx.response("INVITE", 200);
    let near = pbx.ack(&call, &answer);
    trunk.request("ACK");
    (near, far)
}

fn hang_up(one: &mut Peer, dialog: &mut Dialog, other: &mut Peer) {
    one.in_dialog(dialog, "BYE", "");
    let bye = other.request("BYE");
    other.reply(&bye, "200 OK", "", "", "");
    one.response("BYE", 200);
}

fn sides(world: &World) -> (Peer, Peer) {
    (Peer::udp(world.pbx()), Peer::udp(world.trunk_a()))
}

#[test]
fn a1_a_watcher_sees_do_not_disturb_during_the_call_and_not_after_it() {
    if !has_module("presence.so", "kamailio-presence-modules") {
        return;
    }
    let world = world();
    let _server = Kamailio::presence(world.net.sip(SERVER));
    let mut watcher = Watcher::of_alice(&world.net);
    watcher.until_busy(false, SOON);
    let (mut pbx, mut trunk) = sides(&world);
    for _ in 0..2 {
        let (mut near, _) = talking(&world, &mut pbx, &mut trunk);
        let told = watcher.until_busy(true, SOON);
        let entity = format!("entity=\"sip:alice@{}", world.net.ip(SERVER));
        assert!(told.text().contains(&entity), "{}", told.text());
        hang_up(&mut pbx, &mut near, &mut trunk);
        watcher.until_busy(false, SOON);
    }
    // Where the trunk ends it she may be called back: the hold.
    let (_, mut far) = talking(&world, &mut pbx, &mut trunk);
    watcher.until_busy(true, SOON);
    hang_up(&mut trunk, &mut far, &mut pbx);
    watcher.0.nothing("NOTIFY", Duration::from_millis(500));
    watcher.until_busy(false, SOON);
}

#[test]
fn a1_a_presence_server_that_is_down_is_not_noticed_by_the_call_and_is_told_when_it_is_back() {
    if !has_module("presence.so", "kamailio-presence-modules") {
        return;
    }
    let world = world();
    let (mut pbx, mut trunk) = sides(&world);
    let (mut near, _) = talking(&world, &mut pbx, &mut trunk);
    let server = Kamailio::presence(world.net.sip(SERVER));
    let mut watcher = Watcher::of_alice(&world.net);
    watcher.until_busy(true, Duration::from_secs(15));
    // It restarts and has forgotten all: what cannot be removed there is not insisted on.
    drop(server);
    let _server = Kamailio::presence(world.net.sip(SERVER));
    hang_up(&mut pbx, &mut near, &mut trunk);
    drop(watcher);
    let mut watcher = Watcher::of_alice(&world.net);
    watcher.until_busy(false, SOON);
    let (mut near, _) = talking(&world, &mut pbx, &mut trunk);
    watcher.until_busy(true, SOON);
    hang_up(&mut pbx, &mut near, &mut trunk);
    watcher.until_busy(false, SOON);
}

#[test]
fn a1_a_presence_server_that_hangs_is_not_noticed_by_the_call_and_is_told_when_it_answers() {
    if !has_module("presence.so", "kamailio-presence-modules") {
        return;
    }
    let world = world();
    let server = Kamailio::presence(world.net.sip(SERVER));
    let mut watcher = Watcher::of_alice(&world.net);
    watcher.until_busy(false, SOON);
    server.hang(true);
    let (mut pbx, mut trunk) = sides(&world);
    let (mut near, _) = talking(&world, &mut pbx, &mut trunk);
    std::thread::sleep(Duration::from_secs(2));
    server.hang(false);
    watcher.until_busy(true, Duration::from_secs(10));
    server.hang(true);
    hang_up(&mut pbx, &mut near, &mut trunk);
    std::thread::sleep(Duration::from_secs(2));
    server.hang(false);
    watcher.until_busy(false, Duration::from_secs(10));
}

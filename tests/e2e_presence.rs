//! A real presence server, Kamailio, and a watcher: who dials 911 is shown as busy, and as before when it is over (RULES A1).

mod common;

use std::process::Command;
use std::time::Duration;

use common::baresip::Answer;
use common::kamailio::has_module;
use common::peer::SOON;
use common::story::{psap_calls, shown_number};
use common::{Baresip, Dialog, Kamailio, Message, Net, Outgoing, Peer, Sipp, Transport, World, require, until};

const WATCHER: u8 = 70;
const SERVER: u8 = 60;

fn world() -> World {
    with("hold = \"1s\"\n")
}

/// The presence server is at host 60; more lines for `[presence]`.
fn with(more: &str) -> World {
    World::with(Transport::Udp, |net, mut config| {
        let server = net.sip(SERVER);
        config.more = format!("[presence]\nkind = \"sip-publish\"\nserver = \"sip:presence@{server}\"\n{more}");
        config.agent("alice", "")
    })
}

/// Somebody who sees alice's presence.
struct Watcher(Peer);

impl Watcher {
    fn of_alice(net: &Net) -> Self {
        Self::at(net, SERVER)
    }

    /// Where the presence server is at this host.
    fn at(net: &Net, server: u8) -> Self {
        let mut peer = Peer::udp(net.sip(WATCHER));
        let uri = format!("sip:alice@{}", net.ip(server));
        let call = Outgoing::new(net.sip(server), "watcher", &uri);
        let text = call.request(&peer, "SUBSCRIBE");
        let more = format!(
            "Contact: <{}>\r\nEvent: presence\r\nAccept: application/pidf+xml\r\nExpires: 600\r\nContent-Length: 0\r\n",
            peer.contact("watcher")
        );
        peer.send(text.replace("Content-Length: 0\r\n", &more).as_bytes(), net.sip(server));
        let accepted = peer.final_response("SUBSCRIBE", SOON);
        assert!((200..300).contains(&accepted.status()), "{}", accepted.text());
        Self(peer)
    }

    /// Waits until she is told that alice is busy, or that she is not; gives the NOTIFY.
    fn until_busy(&mut self, busy: bool, within: Duration) -> Message {
        let wanted = |body: &str| (body.contains("Do not disturb") && body.contains("busy")) == busy;
        self.until_told(&format!("that busy is {busy}"), wanted, within)
    }

    fn until_told(&mut self, what: &str, wanted: impl Fn(&str) -> bool, within: Duration) -> Message {
        let deadline = common::Deadline::after(within);
        let mut last = String::new();
        while let Some(notify) = self.0.request_within("NOTIFY", deadline.left()) {
            self.0.reply(&notify, "200 OK", "", "", "");
            if wanted(&String::from_utf8_lossy(&notify.body)) {
                return notify;
            }
            last = notify.text();
        }
        panic!("the watcher was not told {what}; last she was told:\n{last}");
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

/// What is beside the call is written a little after it.
fn kill(world: &mut World) {
    std::thread::sleep(Duration::from_millis(300));
    world.gateway.start_again(&[]);
}

/// Waits until alice has so many publications, and sees that it stays so.
fn has_publications(server: &Kamailio, count: usize) {
    let there = || Some(server.publications("alice")).filter(|all| all.len() == count);
    until(&format!("{count} publications"), SOON, there);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(server.publications("alice").len(), count);
}

fn e911d(world: &World, words: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_e911d"));
    let output = command.args(words).arg("-c").arg(world.gateway.config_file()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
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

#[test]
fn b1_do_not_disturb_outlives_kill_9_as_one_publication_and_ends_with_the_call() {
    if !has_module("presence.so", "kamailio-presence-modules") {
        return;
    }
    let mut world = world();
    let server = Kamailio::presence(world.net.sip(SERVER));
    let mut watcher = Watcher::of_alice(&world.net);
    watcher.until_busy(false, SOON);
    let (mut pbx, mut trunk) = sides(&world);
    for by_trunk in [false, true] {
        let (mut near, mut far) = talking(&world, &mut pbx, &mut trunk);
        watcher.until_busy(true, SOON);
        for _ in 0..2 {
            kill(&mut world);
            has_publications(&server, 1);
        }
        let told = drain(&mut watcher);
        assert!(told.iter().all(|body| body.contains("Do not disturb")), "{told:?}");
        match by_trunk {
            false => hang_up(&mut pbx, &mut near, &mut trunk),
            true => hang_up(&mut trunk, &mut far, &mut pbx),
        }
        watcher.until_busy(false, SOON);
        has_publications(&server, 0);
    }
}

/// What she was told meanwhile.
fn drain(watcher: &mut Watcher) -> Vec<String> {
    let mut told = Vec::new();
    while let Some(notify) = watcher.0.request_within("NOTIFY", Duration::from_millis(50)) {
        watcher.0.reply(&notify, "200 OK", "", "", "");
        told.push(String::from_utf8_lossy(&notify.body).into_owned());
    }
    told
}

#[test]
fn b1_killed_in_the_hold_she_is_back_after_it_and_nested_calls_bring_her_back_once() {
    if !has_module("presence.so", "kamailio-presence-modules") {
        return;
    }
    let mut world = World::with(Transport::Udp, |net, mut config| {
        let server = net.sip(SERVER);
        config.more = format!("[presence]\nkind = \"sip-publish\"\nserver = \"sip:presence@{server}\"\n");
        config.agent("alice", "").scaled(40)
    });
    let server = Kamailio::presence(world.net.sip(SERVER));
    let mut watcher = Watcher::of_alice(&world.net);
    watcher.until_busy(false, SOON);
    let (mut pbx, mut trunk) = sides(&world);
    // 120 s, forty times as fast.
    let (_, mut far) = talking(&world, &mut pbx, &mut trunk);
    watcher.until_busy(true, SOON);
    hang_up(&mut trunk, &mut far, &mut pbx);
    kill(&mut world);
    let (_, said, _) = e911d(&world, &["presence", "alice"]);
    assert!(said.contains(", held after an emergency call; available from "), "{said}");
    has_publications(&server, 1);
    let told = drain(&mut watcher);
    assert!(told.iter().all(|body| body.contains("Do not disturb")), "{told:?}");
    watcher.until_busy(false, Duration::from_secs(6));
    has_publications(&server, 0);

    let (_, mut far) = talking(&world, &mut pbx, &mut trunk);
    watcher.until_busy(true, SOON);
    hang_up(&mut trunk, &mut far, &mut pbx);
    assert_eq!(e911d(&world, &["presence", "alice", "--dismiss"]), (0, "available\n".to_owned(), String::new()));
    watcher.until_busy(false, Duration::from_secs(1));
    has_publications(&server, 0);

    let (mut first, _) = talking(&world, &mut pbx, &mut trunk);
    watcher.until_busy(true, SOON);
    let (mut second, _) = talking(&world, &mut pbx, &mut trunk);
    hang_up(&mut pbx, &mut first, &mut trunk);
    has_publications(&server, 1);
    hang_up(&mut pbx, &mut second, &mut trunk);
    watcher.until_busy(false, SOON);
    has_publications(&server, 0);
    assert_eq!(drain(&mut watcher), Vec::<String>::new());
}

#[test]
fn a1_what_she_sets_by_hand_during_the_call_is_what_others_see_after_it() {
    if !has_module("presence.so", "kamailio-presence-modules") {
        return;
    }
    let mut world = world();
    let server = Kamailio::presence(world.net.sip(SERVER));
    let mut watcher = Watcher::of_alice(&world.net);
    watcher.until_busy(false, SOON);
    let (mut pbx, mut trunk) = sides(&world);
    assert_eq!(e911d(&world, &["presence", "alice"]), (0, "available\n".to_owned(), String::new()));
    let (mut near, _) = talking(&world, &mut pbx, &mut trunk);
    watcher.until_busy(true, SOON);
    let (code, said, errors) = e911d(&world, &["presence", "alice", "away", "--note", "at lunch"]);
    let in_call = said.starts_with("dnd since ") && said.ends_with(", for an emergency call; away (at lunch) after it\n");
    assert!(code == 0 && in_call, "{said}{errors}");
    watcher.0.nothing("NOTIFY", Duration::from_millis(300));
    kill(&mut world);
    hang_up(&mut pbx, &mut near, &mut trunk);
    watcher.until_told("that she is away", |body| body.contains("Away") && !body.contains("disturb"), SOON);
    kill(&mut world);
    has_publications(&server, 1);
    assert!(e911d(&world, &["presence", "alice"]).1.starts_with("away (at lunch) since "));
    assert_eq!(e911d(&world, &["presence", "alice", "available"]).0, 0);
    watcher.until_told("that she is back", |body| !body.contains("Away"), SOON);
    has_publications(&server, 0);
}

#[test]
fn b1_what_the_server_did_not_answer_before_the_kill_is_told_after_it_once() {
    if !has_module("presence.so", "kamailio-presence-modules") {
        return;
    }
    let mut world = world();
    let server = Kamailio::presence(world.net.sip(SERVER));
    let (mut pbx, mut trunk) = sides(&world);
    server.hang(true);
    let (mut near, _) = talking(&world, &mut pbx, &mut trunk);
    kill(&mut world);
    server.hang(false);
    has_publications(&server, 1);
    server.hang(true);
    hang_up(&mut pbx, &mut near, &mut trunk);
    kill(&mut world);
    server.hang(false);
    has_publications(&server, 0);
}

#[test]
fn a1_a_presence_server_that_wants_a_password_gets_it_and_a_wrong_one_touches_no_call() {
    if !has_module("presence.so", "kamailio-presence-modules") {
        return;
    }
    for (password, count) in [("gw-password", 1), ("another", 0)] {
        let world = with(&format!("hold = \"1s\"\nusername = \"gw-user\"\npassword = \"{password}\"\n"));
        let server = Kamailio::presence_with_password(world.net.sip(SERVER), "gw-password");
        let (mut pbx, mut trunk) = sides(&world);
        let (mut near, _) = talking(&world, &mut pbx, &mut trunk);
        has_publications(&server, count);
        hang_up(&mut pbx, &mut near, &mut trunk);
        has_publications(&server, 0);
    }
}

#[test]
fn a1_c1_do_not_disturb_stands_beside_what_the_pbx_publishes_itself_and_the_callback_passes_it() {
    require!("sipp" from "sip-tester", "kamailio" from "kamailio", "baresip" from "baresip-core");
    if !has_module("pua_usrloc.so", "kamailio-presence-modules") {
        return;
    }
    let world = World::with(Transport::Udp, |_, mut config| {
        let pbx = config.pbx;
        config.more = format!("[presence]\nkind = \"sip-publish\"\nserver = \"sip:presence@{pbx}\"\nhold = \"1s\"\n");
        config.agent("alice", "")
    });
    let pbx = Kamailio::with_presence(world.pbx(), world.at());
    let mut alice = Baresip::start(world.net.ip(31), "alice", pbx.at(), Answer::Auto);
    pbx.until_registered("alice");
    // The PBX says that she is there.
    has_publications(&pbx, 1);
    let mut watcher = Watcher::at(&world.net, 10);
    watcher.until_busy(false, SOON);

    let trunk = Sipp::answers("uas_answer.xml", Transport::Udp, world.trunk_a()).start();
    alice.dial("911");
    alice.until("CALL_ESTABLISHED", Duration::from_secs(10));
    watcher.until_busy(true, SOON);
    assert!(pbx.publications("alice").len() >= 2);
    // As a PBX that heeds what is published.
    pbx.switch_on("alice", "dnd", "1");
    alice.hang_up();
    let number = shown_number(trunk.finish().request("INVITE"));
    watcher.until_busy(false, SOON);
    has_publications(&pbx, 1);

    psap_calls(&world, "uac_call.xml", &number).hold(Duration::from_millis(800)).run();
    alice.until("CALL_ESTABLISHED", Duration::from_secs(2));
    watcher.until_busy(true, SOON);
    alice.until("CALL_CLOSED", Duration::from_secs(4));
    watcher.until_busy(false, SOON);
    has_publications(&pbx, 1);
}

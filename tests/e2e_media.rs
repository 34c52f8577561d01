//! Audio that goes through us: tones by real RTP from one side to the other and back, found at the far end.

mod common;

use std::net::UdpSocket;
use std::time::Duration;

use common::clock::Stopwatch;
use common::peer::SOON;
use common::rtp::{Voice, place_in, voices};
use common::{Config, Dialog, Message, Outgoing, Peer, Transport, World, until};

const ANCHOR: &str = "media = \"anchor\"\n";
/// Of the caller's voice, and of the trunk's.
const NEAR: f64 = 440.0;
const FAR: f64 = 1000.0;

/// A gateway through which the audio of both trunks goes.
fn world(more: &str) -> World {
    anchored(|config| config.more += more)
}

fn anchored(change: impl FnOnce(&mut Config)) -> World {
    World::with(Transport::Udp, |_, config| {
        let mut config = config.agent("alice", "").agent("bob", "");
        config.trunks.iter_mut().for_each(|trunk| trunk.more += ANCHOR);
        change(&mut config);
        config
    })
}

/// A PBX with a voice and a trunk with a voice, and the call between them.
struct Scene {
    world: World,
    pbx: Peer,
    trunk: Peer,
    near: Voice,
    far: Voice,
}

/// A call that is up: what each side has, and what it was told.
struct Talk {
    caller: Dialog,
    callee: Dialog,
    /// What the trunk was offered, and what the PBX was answered.
    offered: String,
    answered: String,
    /// The number shown to the trunk.
    number: String,
}

impl Scene {
    fn new(world: World) -> Self {
        let (near, far) = voices(&world.net);
        let pbx = Peer::calling(Transport::Udp, world.pbx(), world.at());
        let trunk = Peer::at(Transport::Udp, world.trunk_a());
        Self { world, pbx, trunk, near, far }
    }

    fn dial(&mut self, number: &str, offer: &str) -> (Outgoing, Message) {
        let mut call = Outgoing::new(self.world.at(), "alice", &self.world.uri(number));
        call.body = offer.to_owned();
        if offer.is_empty() {
            call.content_type = "text/plain".to_owned();
        }
        self.pbx.invite(&call);
        (call, self.trunk.request("INVITE"))
    }

    /// Both talk.
    fn talk(&mut self, number: &str) -> Talk {
        let (offer, answer) = (self.near.sdp(), self.far.sdp());
        self.talk_with(number, &offer, &answer)
    }

    fn talk_with(&mut self, number: &str, offer: &str, answer: &str) -> Talk {
        let (call, invite) = self.dial(number, offer);
        self.trunk.reply(&invite, "200 OK", "trunk", "", answer);
        let ok = self.pbx.response("INVITE", 200);
        let caller = self.pbx.ack(&call, &ok);
        self.trunk.request("ACK");
        let number = invite.user_of("From").to_owned();
        let talk =
            Talk { number, caller, callee: Dialog::of_callee(&invite, "trunk"), offered: sdp(&invite), answered: sdp(&ok) };
        self.near.speak_to(&talk.answered);
        self.far.speak_to(&talk.offered);
        talk
    }

    #[track_caller]
    fn hear_each_other(&self) {
        self.near.until_hears(FAR);
        self.far.until_hears(NEAR);
    }

    fn hang_up(&mut self, talk: &mut Talk) {
        self.pbx.in_dialog(&mut talk.caller, "BYE", "");
        let bye = self.trunk.request("BYE");
        self.trunk.reply(&bye, "200 OK", "", "", "");
        self.pbx.response("BYE", 200);
    }

    /// A re-INVITE from the caller with this offer and this answer; gives what passed.
    fn reinvite(&mut self, talk: &mut Talk, offer: &str, answer: &str) -> (String, String) {
        self.pbx.in_dialog(&mut talk.caller, "INVITE", offer);
        let invite = self.trunk.request("INVITE");
        self.trunk.reply(&invite, "200 OK", "", "", answer);
        let ok = self.pbx.response("INVITE", 200);
        self.pbx.in_dialog(&mut talk.caller, "ACK", "");
        self.trunk.request("ACK");
        (sdp(&invite), sdp(&ok))
    }

    fn metric(&self, line: &str) -> f64 {
        self.world.gateway.metric(line)
    }
}

fn sdp(message: &Message) -> String {
    String::from_utf8_lossy(&message.body).into_owned()
}

#[test]
fn tones_go_both_ways_through_us_and_neither_side_learns_where_the_other_is() {
    for number in ["911", "4155551234"] {
        let mut scene = Scene::new(world(""));
        let mut talk = scene.talk(number);
        scene.hear_each_other();
        let (ours, near, far) = (scene.world.net.ip(1), scene.world.net.ip(10), scene.world.net.ip(21));
        for (sdp, other) in [(&talk.offered, near), (&talk.answered, far)] {
            assert_eq!(place_in(sdp).ip(), ours);
            assert!(!sdp.contains(&other.to_string()), "{sdp}");
        }
        assert_eq!(scene.near.sources(), [place_in(&talk.answered)]);
        assert_eq!(scene.far.sources(), [place_in(&talk.offered)]);
        assert_eq!(scene.near.ssrcs(), [u32::from(scene.far.at().port())], "the parties' own SSRC");
        until("RTCP both ways", SOON, || (scene.near.reports() > 0 && scene.far.reports() > 0).then_some(()));
        for direction in ["to_caller", "to_callee"] {
            assert!(scene.metric(&format!("e911d_media_packets_total{{direction=\"{direction}\"}}")) > 10.0);
        }
        until("the relay is counted", SOON, || (scene.metric("e911d_media_relays") == 1.0).then_some(()));
        scene.hang_up(&mut talk);
        for voice in [&scene.near, &scene.far] {
            voice.hears_nothing(Duration::from_millis(200));
        }
        for ours in [place_in(&talk.offered), place_in(&talk.answered)] {
            until("the port is free", SOON, || UdpSocket::bind(ours).ok());
        }
        let log = scene.world.gateway.log();
        assert!(!log.contains(&near.to_string()) && !log.contains(&scene.far.at().port().to_string()), "{log}");
    }
}

#[test]
fn c1_a_callback_is_heard_both_ways_through_us() {
    let mut scene = Scene::new(world(""));
    let mut talk = scene.talk("911");
    let number = talk.number.clone();
    scene.hang_up(&mut talk);
    let mut call = Outgoing::new(scene.world.at(), "+12065550190", &scene.world.uri(&number)).header("Priority: psap-callback");
    call.body = scene.far.sdp();
    scene.trunk.invite(&call);
    let invite = scene.pbx.request("INVITE");
    scene.pbx.reply(&invite, "200 OK", "phone", "", &scene.near.sdp());
    let ok = scene.trunk.response("INVITE", 200);
    scene.trunk.ack(&call, &ok);
    scene.far.speak_to(&ok.body);
    scene.near.speak_to(&invite.body);
    scene.hear_each_other();
}

#[test]
fn a6_hold_passes_and_what_was_held_is_heard_again() {
    let mut scene = Scene::new(world(""));
    let mut talk = scene.talk("911");
    scene.hear_each_other();
    for (hold, answer) in [("a=sendonly\r\n", "a=recvonly\r\n"), ("a=inactive\r\n", "a=inactive\r\n")] {
        let (hold, answer) = (scene.near.sdp_with("RTP/AVP", 2, hold), scene.far.sdp_with("RTP/AVP", 2, answer));
        let (offered, answered) = scene.reinvite(&mut talk, &hold, &answer);
        for (before, now) in [(&talk.offered, offered), (&talk.answered, answered)] {
            assert_eq!(place_in(before), place_in(&now), "the ports are kept");
        }
        let (offer, answer) = (scene.near.sdp_with("RTP/AVP", 3, ""), scene.far.sdp_with("RTP/AVP", 3, ""));
        scene.reinvite(&mut talk, &offer, &answer);
        scene.hear_each_other();
    }
    // A hold of old: c=0.0.0.0. Nothing is sent there until it is over.
    let hold = scene.near.sdp_with("RTP/AVP", 4, "").replace(&format!("c=IN IP4 {}", scene.world.net.ip(10)), "c=IN IP4 0.0.0.0");
    let answer = scene.far.sdp_with("RTP/AVP", 4, "");
    let (offered, _) = scene.reinvite(&mut talk, &hold, &answer);
    assert!(offered.contains("c=IN IP4 0.0.0.0\r\n"), "{offered}");
    scene.near.hears_nothing(Duration::from_millis(200));
    let (offer, answer) = (scene.near.sdp_with("RTP/AVP", 5, ""), scene.far.sdp_with("RTP/AVP", 5, ""));
    scene.reinvite(&mut talk, &offer, &answer);
    scene.hear_each_other();
}

#[test]
fn a_side_that_moves_is_followed_and_a_refused_move_changes_nothing() {
    let mut scene = Scene::new(world(""));
    let mut talk = scene.talk("911");
    scene.hear_each_other();
    let elsewhere = Voice::start(scene.world.net.ip(11), NEAR);
    // Refused: all stays.
    scene.pbx.in_dialog(&mut talk.caller, "INVITE", &elsewhere.sdp_with("RTP/AVP", 2, ""));
    let invite = scene.trunk.request("INVITE");
    scene.trunk.reply(&invite, "488 Not Acceptable Here", "", "", "");
    scene.pbx.response("INVITE", 488);
    scene.hear_each_other();
    // Taken.
    let answer = scene.far.sdp_with("RTP/AVP", 2, "");
    let (_, answered) = scene.reinvite(&mut talk, &elsewhere.sdp_with("RTP/AVP", 3, ""), &answer);
    elsewhere.speak_to(&answered);
    elsewhere.until_hears(FAR);
    scene.near.hears_nothing(Duration::from_millis(200));
    // UPDATE does the same from the other side.
    let moved = Voice::start(scene.world.net.ip(22), 700.0);
    scene.trunk.in_dialog(&mut talk.callee, "UPDATE", &moved.sdp_with("RTP/AVP", 3, ""));
    let update = scene.pbx.request("UPDATE");
    scene.pbx.reply(&update, "200 OK", "", "", &elsewhere.sdp_with("RTP/AVP", 4, ""));
    let ok = scene.trunk.response("UPDATE", 200);
    moved.speak_to(&ok.body);
    elsewhere.until_hears(700.0);
    moved.until_hears(NEAR);
}

#[test]
fn after_failover_the_callers_port_is_the_same_and_the_trunk_that_answers_is_heard() {
    let mut scene = Scene::new(world(""));
    let mut second = Peer::at(Transport::Udp, scene.world.trunk_b());
    let offer = scene.near.sdp();
    let (call, invite) = scene.dial("911", &offer);
    // Early media, and then no.
    scene.trunk.reply(&invite, "183 Session Progress", "trunk", "", &scene.far.sdp());
    let early = scene.pbx.response("INVITE", 183).body;
    scene.near.speak_to(&early);
    scene.far.speak_to(&invite.body);
    scene.hear_each_other();
    scene.trunk.reply(&invite, "503 Service Unavailable", "trunk", "", "");
    let next = second.request("INVITE");
    let other = Voice::start(scene.world.net.ip(22), 700.0);
    second.reply(&next, "200 OK", "second", "", &other.sdp());
    let ok = scene.pbx.response("INVITE", 200);
    scene.pbx.ack(&call, &ok);
    other.speak_to(&next.body);
    assert_eq!(place_in(&early), place_in(&ok.body), "the caller hears of no other port");
    assert_ne!(place_in(&invite.body), place_in(&next.body), "no trunk gets the port of another");
    scene.near.until_hears(700.0);
    other.until_hears(NEAR);
    scene.far.hears_nothing(Duration::from_millis(200));
}

#[test]
fn of_several_forks_the_one_that_answers_is_heard() {
    let mut scene = Scene::new(world(""));
    let offer = scene.near.sdp();
    let (call, invite) = scene.dial("911", &offer);
    let other = Voice::start(scene.world.net.ip(23), 700.0);
    scene.trunk.reply(&invite, "183 Session Progress", "one", "", &scene.far.sdp());
    scene.pbx.response("INVITE", 183);
    scene.trunk.reply(&invite, "183 Session Progress", "two", "", &other.sdp());
    let early = scene.pbx.response("INVITE", 183).body;
    scene.near.speak_to(&early);
    other.speak_to(&invite.body);
    scene.near.until_hears(700.0);
    scene.trunk.reply(&invite, "200 OK", "one", "", &scene.far.sdp());
    let ok = scene.pbx.response("INVITE", 200);
    scene.pbx.ack(&call, &ok);
    scene.far.speak_to(&invite.body);
    scene.hear_each_other();
}

#[test]
fn an_offer_that_comes_late_is_answered_late_and_both_are_heard() {
    let mut scene = Scene::new(world(""));
    let (call, invite) = scene.dial("911", "");
    assert!(invite.body.is_empty());
    scene.trunk.reply(&invite, "200 OK", "trunk", "", &scene.far.sdp());
    let ok = scene.pbx.response("INVITE", 200);
    let mut dialog = Dialog::of_caller(&call, &ok);
    scene.pbx.in_dialog(&mut dialog, "ACK", &scene.near.sdp());
    let ack = scene.trunk.request("ACK");
    scene.near.speak_to(&ok.body);
    scene.far.speak_to(&ack.body);
    scene.hear_each_other();
}

#[test]
fn what_is_beside_the_audio_is_rejected_and_the_audio_kept() {
    let mut scene = Scene::new(world(""));
    let video = "m=video 5000 RTP/AVP 31\r\na=rtpmap:31 H261/90000\r\nm=text 5002 RTP/AVP 98\r\n";
    let (offer, answer) = (scene.near.sdp() + video, scene.far.sdp() + "m=video 0 RTP/AVP 31\r\nm=text 0 RTP/AVP 98\r\n");
    let talk = scene.talk_with("911", &offer, &answer);
    assert!(talk.offered.ends_with("m=video 0 RTP/AVP 31\r\nm=text 0 RTP/AVP 98\r\n"), "{}", talk.offered);
    scene.hear_each_other();
}

#[test]
fn digits_pass_as_the_events_that_they_are() {
    let mut scene = Scene::new(world(""));
    let _talk = scene.talk("911");
    scene.hear_each_other();
    scene.far.clear();
    let events: Vec<Vec<u8>> = (0..5u8).map(|n| vec![5, if n == 4 { 0x8a } else { 0x0a }, 0, 160 * n.min(1)]).collect();
    for event in &events {
        scene.near.send(101, event);
    }
    until("the digit", SOON, || (scene.far.events().len() >= events.len()).then_some(()));
    assert_eq!(scene.far.events(), events.into_iter().map(|e| (101, e)).collect::<Vec<_>>());
}

#[test]
fn a_stranger_is_not_heard_and_nobody_hears_that_it_tried() {
    for (learn, most) in [("host", 5), ("any", 5), ("off", 0)] {
        let mut scene = Scene::new(world(&format!("[media]\nlearn = \"{learn}\"\n")));
        // The far side keeps silent while strangers spray both ports, from its own host as well.
        let (call, invite) = {
            let offer = scene.near.sdp();
            scene.dial("911", &offer)
        };
        scene.trunk.reply(&invite, "200 OK", "trunk", "", &scene.far.sdp());
        let ok = scene.pbx.response("INVITE", 200);
        scene.pbx.ack(&call, &ok);
        let (ours, mut leaked) = (place_in(&invite.body), 0);
        let packet = [&[0x80, 0, 0, 1, 0, 0, 0, 0, 9, 9, 9, 9][..], &[0x7f; 160]].concat();
        let strangers: Vec<_> = [21, 21, 77].map(|host| UdpSocket::bind((scene.world.net.ip(host), 0)).unwrap()).into();
        for n in 0..100 {
            strangers[n % 3].send_to(&packet, ours).unwrap();
        }
        std::thread::sleep(Duration::from_millis(300));
        leaked += scene.near.packets();
        assert!(leaked <= most, "{leaked} packets leaked with learning {learn}");
        scene.far.speak_to(&invite.body);
        scene.near.speak_to(&ok.body);
        scene.hear_each_other();
        for n in 0..100 {
            strangers[n % 3].send_to(&packet, ours).unwrap();
        }
        std::thread::sleep(Duration::from_millis(200));
        scene.near.until_hears(FAR);
        let heard = scene.near.sources();
        assert_eq!(heard, [place_in(&ok.body)]);
        assert!(!scene.near.ssrcs().contains(&0x0909_0909) || most > 0, "a stranger was heard");
        let dropped = scene.metric("e911d_media_dropped_total{why=\"stranger\"}");
        assert!(dropped >= 95.0, "{dropped}");
    }
}

#[test]
fn a_phone_behind_a_nat_is_heard_where_its_packets_come_from() {
    let mut scene = Scene::new(world(""));
    // What it says of itself is true in its own network only.
    let offer = scene.near.sdp().replace(&scene.world.net.ip(10).to_string(), "192.168.7.7");
    let answer = scene.far.sdp();
    scene.talk_with("911", &offer, &answer);
    scene.hear_each_other();
}

#[test]
fn b1_after_a_kill_the_audio_goes_on_at_the_same_ports() {
    let mut scene = Scene::new(world(""));
    let mut talk = scene.talk("911");
    scene.hear_each_other();
    std::thread::sleep(Duration::from_millis(200)); // RULES B1: durable 100 ms after the answer
    scene.world.gateway.start_again(&[]);
    let restart = Stopwatch::start();
    scene.hear_each_other();
    println!("heard again {:?} after the ready line", restart.elapsed());
    // And it can be changed and ended.
    let (offer, answer) = (scene.near.sdp_with("RTP/AVP", 2, ""), scene.far.sdp_with("RTP/AVP", 2, ""));
    let (offered, answered) = scene.reinvite(&mut talk, &offer, &answer);
    assert_eq!((place_in(&offered), place_in(&answered)), (place_in(&talk.offered), place_in(&talk.answered)));
    scene.hear_each_other();
    scene.hang_up(&mut talk);
    for ours in [place_in(&talk.offered), place_in(&talk.answered)] {
        until("the port is free", SOON, || UdpSocket::bind(ours).ok());
    }
}

/// Kills it when the test ends: it is nobody's child.
struct Successor(u32);

impl Drop for Successor {
    fn drop(&mut self) {
        let _ = std::process::Command::new("kill").arg("-KILL").arg(self.0.to_string()).status();
    }
}

#[test]
fn b2_a_hand_over_and_a_stop_and_a_start_keep_the_audio() {
    let mut scene = Scene::new(world(""));
    let talk = scene.talk("911");
    scene.hear_each_other();
    std::thread::sleep(Duration::from_millis(200));
    assert!(scene.world.gateway.child().terminate(Duration::from_secs(10)).is_some_and(|s| s.success()));
    scene.near.hears_nothing(Duration::from_millis(100));
    scene.world.gateway.start_again(&[]);
    scene.hear_each_other();
    scene.world.gateway.child().signal("USR2");
    let successor = until("the hand-over", Duration::from_secs(30), || {
        let log = scene.world.gateway.log();
        log.lines().find(|l| l.contains("event=\"handed over\""))?.split("process=").nth(1)?.split(' ').next()?.parse().ok()
    });
    let _successor = Successor(successor);
    assert!(scene.world.gateway.child().wait(Duration::from_secs(5)).is_some_and(|s| s.success()));
    scene.hear_each_other();
    assert_eq!(scene.near.sources(), [place_in(&talk.answered)]);
}

#[test]
fn without_ports_an_emergency_goes_on_with_its_audio_passing_by_and_an_alarm_is_raised() {
    let mut scene = Scene::new(world("[media]\nports = \"20000-20001\"\n"));
    // One pair is not enough for two sides.
    let talk = scene.talk("911");
    assert_eq!(place_in(&talk.offered), scene.near.at());
    scene.hear_each_other();
    until("the alarm", SOON, || (scene.metric("e911d_alarm{name=\"media_ports\"}") == 1.0).then_some(()));
}

#[test]
fn silence_on_both_sides_is_reported_once_and_ends_nothing() {
    let mut scene = Scene::new(world("[media]\nsilence = \"2s\"\n"));
    let mut talk = scene.talk("911");
    scene.hear_each_other();
    // A hold in which nobody sends is meant so, however long it is.
    let inactive = "a=inactive\r\n";
    let (offer, answer) = (scene.near.sdp_with("RTP/AVP", 2, inactive), scene.far.sdp_with("RTP/AVP", 2, inactive));
    scene.reinvite(&mut talk, &offer, &answer);
    scene.near.be_silent();
    scene.far.be_silent();
    std::thread::sleep(Duration::from_millis(3500));
    assert!(!scene.world.gateway.log().contains("no audio comes"), "it is held");
    let (offer, answer) = (scene.near.sdp_with("RTP/AVP", 3, ""), scene.far.sdp_with("RTP/AVP", 3, ""));
    scene.reinvite(&mut talk, &offer, &answer);
    scene.near.speak_to(&talk.answered);
    scene.far.speak_to(&talk.offered);
    scene.hear_each_other();
    scene.near.be_silent();
    std::thread::sleep(Duration::from_millis(2500));
    assert!(!scene.world.gateway.log().contains("no audio comes"), "one side still speaks");
    scene.far.be_silent();
    until("the report", Duration::from_secs(8), || scene.world.gateway.log().contains("no audio comes").then_some(()));
    assert_eq!(scene.metric("e911d_media_silences_total"), 1.0);
    scene.near.speak_to(&talk.answered);
    scene.far.speak_to(&talk.offered);
    scene.hear_each_other();
    scene.hang_up(&mut talk);
}

/// Descriptors that the gateway has open.
fn descriptors(scene: &mut Scene) -> usize {
    let id = scene.world.gateway.child().id();
    std::fs::read_dir(format!("/proc/{id}/fd")).expect("its descriptors").count()
}

/// That many calls, one after the other, most of which are answered; then nothing of them is left.
fn calls_leave_nothing_behind(calls: usize) {
    let mut scene = Scene::new(world(""));
    let mut before = 0;
    for n in 0..calls {
        let number = if n % 2 == 0 { "911" } else { "4155551234" };
        match n % 4 {
            0 | 1 => {
                let mut talk = scene.talk(number);
                scene.hang_up(&mut talk);
            }
            2 => {
                let offer = scene.near.sdp();
                let (call, invite) = scene.dial(number, &offer);
                scene.trunk.reply(&invite, "180 Ringing", "trunk", "", "");
                scene.pbx.response("INVITE", 180);
                scene.pbx.cancel(&call);
                let refused = scene.pbx.response("INVITE", 487);
                scene.pbx.ack(&call, &refused);
                let cancel = scene.trunk.request("CANCEL");
                scene.trunk.reply(&cancel, "200 OK", "", "", "");
                scene.trunk.reply(&invite, "487 Request Terminated", "trunk", "", "");
            }
            _ => {
                let offer = scene.near.sdp();
                let (call, invite) = scene.dial(number, &offer);
                scene.trunk.reply(&invite, "404 Not Found", "trunk", "", "");
                let refused = scene.pbx.response("INVITE", 404);
                scene.pbx.ack(&call, &refused);
            }
        }
        if n == 19 {
            std::thread::sleep(Duration::from_millis(200));
            before = descriptors(&mut scene);
        }
    }
    until("the last call to be forgotten", Duration::from_secs(40), || {
        let pairs = scene.metric("e911d_media_port_pairs");
        // What is kept ready, sixty-four at most for each thread with calls.
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).max(2);
        (pairs <= 64.0 * threads as f64 && scene.metric("e911d_media_relays") == 0.0).then_some(())
    });
    let after = descriptors(&mut scene);
    // Of what is kept ready a quarter comes and goes.
    assert!(after <= before + 64, "{before} descriptors before, {after} after {calls} calls");
}

#[test]
fn a_hundred_calls_leave_no_port_and_no_descriptor_behind() {
    calls_leave_nothing_behind(100);
}

#[test]
#[ignore = "long: a thousand calls"]
fn a_thousand_calls_leave_no_port_and_no_descriptor_behind() {
    calls_leave_nothing_behind(1000);
}

/// `cargo test --release --test e2e_media -- --ignored --exact what_a_stream_costs --nocapture`
#[test]
#[ignore = "measures, asserts nothing"]
fn what_a_stream_costs() {
    const CALLS: usize = 10;
    let mut scene = Scene::new(world(""));
    let voices: Vec<_> = (0..CALLS).map(|_| voices(&scene.world.net)).collect();
    let mut speaking = Vec::new();
    for (near, far) in voices {
        speaking.push((std::mem::replace(&mut scene.near, near), std::mem::replace(&mut scene.far, far)));
        scene.talk("4155551234");
    }
    std::thread::sleep(Duration::from_secs(1));
    let (before, watch) = (scene.world.gateway.ticks(), Stopwatch::start());
    let packets = |scene: &Scene| {
        ["to_caller", "to_callee"]
            .iter()
            .map(|d| scene.metric(&format!("e911d_media_packets_total{{direction=\"{d}\"}}")))
            .sum::<f64>()
    };
    let carried = packets(&scene);
    std::thread::sleep(Duration::from_secs(20));
    let (ticks, seconds) = (scene.world.gateway.ticks() - before, watch.elapsed().as_secs_f64());
    let carried = packets(&scene) - carried;
    println!(
        "{} streams, {:.0} packets/s: {:.3} % of a core a stream",
        2 * CALLS,
        carried / seconds,
        ticks / seconds / (2 * CALLS) as f64
    );
}

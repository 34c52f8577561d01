//! Audio that is encrypted on one side (RFC 4568, RFC 3711) and goes through us: heard in the clear on the other.

mod common;

use std::time::Duration;

use common::clock::Stopwatch;
use common::rtp::{Voice, crypto_line, key_in, place_in, voices};
use common::{Baresip, Config, Dialog, Message, Outgoing, Peer, Transport, World, require};

/// Of the caller's voice, and of the trunk's.
const NEAR: f64 = 440.0;
const FAR: f64 = 1000.0;
const FIRST: [u8; 30] = [0x11; 30];
const SECOND: [u8; 30] = [0x22; 30];
/// On loopback baresip's audio comes from 127.0.0.1, wherever it is.
const FROM_ANYWHERE: &str = "[media]\nlearn = \"any\"\n";

/// A gateway whose trunks' audio goes through it, with this `srtp`.
fn world(srtp: &str, change: impl FnOnce(&common::Net, &mut Config)) -> World {
    World::with(Transport::Udp, |net, config| {
        let mut config = config.agent("alice", "password = \"wonderland\"");
        config.trunks.iter_mut().for_each(|trunk| trunk.more += &format!("media = \"anchor\"\nsrtp = \"{srtp}\"\n"));
        change(net, &mut config);
        config
    })
}

fn sdp(message: &Message) -> String {
    String::from_utf8_lossy(&message.body).into_owned()
}

/// Dials with this offer; gives the call and what the trunk gets.
fn dial(world: &World, pbx: &mut Peer, trunk: &mut Peer, number: &str, offer: String) -> (Outgoing, Message) {
    let mut call = Outgoing::new(world.at(), "alice", &world.uri(number));
    call.body = offer;
    pbx.invite(&call);
    let invite = trunk.request("INVITE");
    (call, invite)
}

#[track_caller]
fn hear_each_other(near: &Voice, far: &Voice) {
    near.until_hears(FAR);
    far.until_hears(NEAR);
}

/// The PBX, the trunk, and their voices.
fn parties(world: &World) -> (Peer, Peer, Voice, Voice) {
    let (near, far) = voices(&world.net);
    (Peer::calling(Transport::Udp, world.pbx(), world.at()), Peer::at(Transport::Udp, world.trunk_a()), near, far)
}

#[test]
fn a_trunk_is_offered_keys_beside_or_instead_of_plain_audio_and_what_it_answers_is_heard() {
    for (srtp, protocol) in [("offer", "RTP/AVP"), ("require", "RTP/SAVP")] {
        let world = world(srtp, |_, _| {});
        let (mut pbx, mut trunk, near, far) = parties(&world);
        let (call, invite) = dial(&world, &mut pbx, &mut trunk, "911", near.sdp());
        let offered = sdp(&invite);
        assert!(offered.contains(&format!(" {protocol} 0 101\r\n")), "{offered}");
        assert_eq!(offered.matches("a=crypto:").count(), 3, "{offered}");
        let (tag, ours) = key_in(&offered).expect("a key");
        trunk.reply(&invite, "200 OK", "trunk", "", &far.sdp_with(protocol, 1, &crypto_line(tag, &FIRST)));
        let ok = pbx.response("INVITE", 200);
        pbx.ack(&call, &ok);
        let answered = sdp(&ok);
        assert!(
            answered.contains(" RTP/AVP 0 101\r\n") && !answered.contains("crypto"),
            "the PBX asked for plain audio: {answered}"
        );
        far.encrypt(&FIRST, &ours);
        far.speak_to(&offered);
        near.speak_to(&answered);
        hear_each_other(&near, &far);
        assert_eq!(far.bad(), 0);
    }
}

#[test]
fn a_trunk_that_is_offered_keys_and_takes_none_is_heard_in_the_clear() {
    for (srtp, protocol) in [("offer", "RTP/AVP"), ("require", "RTP/SAVP")] {
        let world = world(srtp, |_, _| {});
        let (mut pbx, mut trunk, near, far) = parties(&world);
        let (call, invite) = dial(&world, &mut pbx, &mut trunk, "911", near.sdp());
        trunk.reply(&invite, "200 OK", "trunk", "", &far.sdp_with(protocol, 1, ""));
        let ok = pbx.response("INVITE", 200);
        pbx.ack(&call, &ok);
        far.speak_to(sdp(&invite));
        near.speak_to(sdp(&ok));
        hear_each_other(&near, &far);
        let said = world.gateway.log().contains("SRTP was required and there is none");
        assert_eq!(said, srtp == "require");
    }
}

#[test]
fn an_emergency_that_is_refused_for_its_keys_is_placed_on_the_same_trunk_without() {
    let world = world("require", |_, _| {});
    let (mut pbx, mut trunk, near, far) = parties(&world);
    let (call, invite) = dial(&world, &mut pbx, &mut trunk, "911", near.sdp());
    assert!(sdp(&invite).contains("RTP/SAVP"));
    trunk.reply(&invite, "488 Not Acceptable Here", "trunk", "", "");
    let again = trunk.request("INVITE");
    assert!(sdp(&again).contains("RTP/AVP 0") && !sdp(&again).contains("crypto"), "{}", sdp(&again));
    trunk.reply(&again, "200 OK", "again", "", &far.sdp());
    let ok = pbx.response("INVITE", 200);
    pbx.ack(&call, &ok);
    far.speak_to(sdp(&again));
    near.speak_to(sdp(&ok));
    hear_each_other(&near, &far);
    assert!(world.gateway.log().contains("SRTP was refused"));
}

#[test]
fn an_ordinary_call_for_which_srtp_is_required_is_not_connected_without() {
    let world = world("require", |_, _| {});
    let (mut pbx, mut trunk, near, far) = parties(&world);
    let (call, invite) = dial(&world, &mut pbx, &mut trunk, "4155551234", near.sdp());
    trunk.reply(&invite, "200 OK", "trunk", "", &far.sdp_with("RTP/SAVP", 1, ""));
    trunk.request("ACK");
    let bye = trunk.request("BYE");
    trunk.reply(&bye, "200 OK", "", "", "");
    let refused = pbx.response("INVITE", 488);
    pbx.ack(&call, &refused);
}

#[test]
fn new_keys_by_reinvite_are_taken_from_either_side_and_bad_packets_do_no_harm() {
    let world = world("require", |_, _| {});
    let (mut pbx, mut trunk, near, far) = parties(&world);
    // The caller's side encrypts as well.
    let offer = near.sdp_with("RTP/SAVP", 1, &crypto_line(7, &SECOND));
    let (call, invite) = dial(&world, &mut pbx, &mut trunk, "911", offer);
    let (tag, ours) = key_in(&sdp(&invite)).expect("a key");
    assert!(!sdp(&invite).contains(&crypto_line(1, &SECOND)[11..]), "each side has its own keys");
    trunk.reply(&invite, "200 OK", "trunk", "", &far.sdp_with("RTP/SAVP", 1, &crypto_line(tag, &FIRST)));
    let ok = pbx.response("INVITE", 200);
    let mut caller = pbx.ack(&call, &ok);
    trunk.request("ACK");
    let (their_tag, towards_near) = key_in(&sdp(&ok)).expect("a key");
    assert_eq!(their_tag, 7, "the answer repeats the tag of the offer");
    assert_ne!(towards_near, ours);
    far.encrypt(&FIRST, &ours);
    near.encrypt(&SECOND, &towards_near);
    far.speak_to(sdp(&invite));
    near.speak_to(sdp(&ok));
    hear_each_other(&near, &far);
    // Ten thousand packets that look like its own and are not.
    let at = place_in(sdp(&invite));
    for n in 0..10_000u16 {
        let head = [&[0x80, 0][..], &n.to_be_bytes(), &[0; 4], &u32::from(far.at().port()).to_be_bytes()].concat();
        far.send_raw(&[&head[..], &[0x5a; 170]].concat(), at);
        if n % 200 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    hear_each_other(&near, &far);
    assert!(world.gateway.metric("e911d_media_dropped_total{why=\"srtp\"}") > 1000.0);
    // The caller takes a new key.
    let third = [0x33; 30];
    pbx.in_dialog(&mut caller, "INVITE", &near.sdp_with("RTP/SAVP", 2, &crypto_line(8, &third)));
    let again = trunk.request("INVITE");
    assert_eq!(key_in(&sdp(&again)), Some((tag, ours)), "ours towards the trunk stays");
    trunk.reply(&again, "200 OK", "", "", &far.sdp_with("RTP/SAVP", 2, &crypto_line(tag, &FIRST)));
    let ok = pbx.response("INVITE", 200);
    pbx.in_dialog(&mut caller, "ACK", "");
    trunk.request("ACK");
    assert_eq!(key_in(&sdp(&ok)), Some((8, towards_near)));
    near.encrypt(&third, &towards_near);
    hear_each_other(&near, &far);
    // So does the trunk.
    let (fourth, mut callee) = ([0x44; 30], Dialog::of_callee(&invite, "trunk"));
    trunk.in_dialog(&mut callee, "INVITE", &far.sdp_with("RTP/SAVP", 3, &crypto_line(1, &fourth)));
    let again = pbx.request("INVITE");
    let (tag, _) = key_in(&sdp(&again)).expect("a key");
    pbx.reply(&again, "200 OK", "", "", &near.sdp_with("RTP/SAVP", 3, &crypto_line(tag, &third)));
    trunk.response("INVITE", 200);
    trunk.in_dialog(&mut callee, "ACK", "");
    pbx.request("ACK");
    far.encrypt(&fourth, &ours);
    hear_each_other(&near, &far);
}

#[test]
fn b1_after_a_kill_the_keys_are_the_same() {
    let mut world = world("require", |_, _| {});
    let (mut pbx, mut trunk, near, far) = parties(&world);
    let (call, invite) = dial(&world, &mut pbx, &mut trunk, "911", near.sdp());
    let (tag, ours) = key_in(&sdp(&invite)).expect("a key");
    trunk.reply(&invite, "200 OK", "trunk", "", &far.sdp_with("RTP/SAVP", 1, &crypto_line(tag, &FIRST)));
    let ok = pbx.response("INVITE", 200);
    pbx.ack(&call, &ok);
    trunk.request("ACK");
    far.encrypt(&FIRST, &ours);
    far.speak_to(sdp(&invite));
    near.speak_to(sdp(&ok));
    hear_each_other(&near, &far);
    std::thread::sleep(Duration::from_millis(200)); // RULES B1: durable 100 ms after the answer
    world.gateway.start_again(&[]);
    hear_each_other(&near, &far);
    let key = &crypto_line(1, &ours)[40..];
    assert!(!world.gateway.log().contains(key.trim()));
}

#[test]
fn what_only_the_far_side_could_decrypt_passes_by_us() {
    let world = world("off", |_, _| {});
    let (mut pbx, mut trunk, near, _far) = parties(&world);
    let line = "a=crypto:1 F8_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\r\n";
    let (_, invite) = dial(&world, &mut pbx, &mut trunk, "911", near.sdp_with("RTP/SAVP", 1, line));
    assert!(sdp(&invite).contains(line) && place_in(sdp(&invite)) == near.at(), "{}", sdp(&invite));
}

#[test]
fn baresip_as_a_trunk_that_encrypts_hears_and_is_heard() {
    require!("baresip" from "baresip-core");
    for (srtp, how) in [("offer", "srtp"), ("require", "srtp-mand"), ("require", ""), ("offer", "")] {
        let world = world(srtp, |_, config| config.more += FROM_ANYWHERE);
        let _trunk = Baresip::answers(world.net.ip(21), "911", how);
        let near = Voice::start(world.net.ip(10), NEAR);
        let mut pbx = Peer::calling(Transport::Udp, world.pbx(), world.at());
        let mut call = Outgoing::new(world.at(), "alice", &world.uri("911"));
        call.body = near.sdp();
        pbx.invite(&call);
        let ok = pbx.response_within("INVITE", 200, Duration::from_secs(8));
        pbx.ack(&call, &ok);
        near.speak_to(sdp(&ok));
        // It says what it hears.
        near.until_hears(NEAR);
        near.until_hears(NEAR);
        assert_eq!(near.sources(), [place_in(sdp(&ok))]);
        let bad = world.gateway.metric("e911d_media_dropped_total{why=\"srtp\"}");
        assert!(bad < 5.0, "{srtp} {how}: {bad}");
    }
}

#[test]
fn baresip_as_a_phone_that_encrypts_talks_to_a_trunk_that_does_not() {
    require!("baresip" from "baresip-core");
    for how in ["srtp-mand", "srtp"] {
        let world = world("off", |net, config| {
            config.bind = net.sip(1);
            config.more += "[media]\nlearn = \"any\"\nphones = \"anchor\"\nphones_srtp = \"offer\"\n";
        });
        let far = Voice::start(world.net.ip(21), FAR);
        let mut trunk = Peer::at(Transport::Udp, world.trunk_a());
        let mut phone = Baresip::register_with_srtp(world.net.ip(31), ("alice", "wonderland"), world.at(), how);
        phone.until_said("200 OK", Duration::from_secs(10));
        phone.dial("911");
        let invite = trunk.request("INVITE");
        assert!(sdp(&invite).contains(" RTP/AVP 0") && !sdp(&invite).contains("crypto"), "{}", sdp(&invite));
        trunk.reply(&invite, "200 OK", "trunk", "", &far.sdp());
        phone.until("CALL_ESTABLISHED", Duration::from_secs(10));
        far.speak_to(sdp(&invite));
        far.until_hears(FAR);
        // Its callback rings it, encrypted as it wants.
        let mut callee = Dialog::of_callee(&invite, "trunk");
        trunk.in_dialog(&mut callee, "BYE", "");
        trunk.response("BYE", 200);
        phone.until("CALL_CLOSED", Duration::from_secs(10));
        let mut call =
            Outgoing::new(world.at(), "+12065550190", &world.uri(invite.user_of("From"))).header("Priority: psap-callback");
        call.body = far.sdp_with("RTP/AVP", 2, "");
        trunk.invite(&call);
        let ok = trunk.response_within("INVITE", 200, Duration::from_secs(8));
        trunk.ack(&call, &ok);
        far.speak_to(sdp(&ok));
        far.until_hears(FAR);
        let bad = world.gateway.metric("e911d_media_dropped_total{why=\"srtp\"}");
        // It says something in the clear before it has its keys.
        assert!(bad < 5.0, "{how}: {bad}");
    }
}

/// `cargo test --release --test e2e_srtp -- --ignored --nocapture`
#[test]
#[ignore = "measures, asserts nothing"]
fn what_an_encrypted_stream_costs() {
    const CALLS: usize = 10;
    let world = world("require", |_, _| {});
    let (mut pbx, mut trunk, ..) = parties(&world);
    let mut speaking = Vec::new();
    for _ in 0..CALLS {
        let (near, far) = voices(&world.net);
        let (call, invite) = dial(&world, &mut pbx, &mut trunk, "4155551234", near.sdp());
        let (tag, ours) = key_in(&sdp(&invite)).expect("a key");
        trunk.reply(&invite, "200 OK", "trunk", "", &far.sdp_with("RTP/SAVP", 1, &crypto_line(tag, &FIRST)));
        let ok = pbx.response("INVITE", 200);
        pbx.ack(&call, &ok);
        trunk.request("ACK");
        far.encrypt(&FIRST, &ours);
        far.speak_to(sdp(&invite));
        near.speak_to(sdp(&ok));
        speaking.push((near, far));
    }
    std::thread::sleep(Duration::from_secs(1));
    let (before, watch) = (world.gateway.ticks(), Stopwatch::start());
    std::thread::sleep(Duration::from_secs(20));
    let (ticks, seconds) = (world.gateway.ticks() - before, watch.elapsed().as_secs_f64());
    println!(
        "{} streams, half of them decrypted, half encrypted: {:.3} % of a core a stream",
        2 * CALLS,
        ticks / seconds / (2 * CALLS) as f64
    );
}

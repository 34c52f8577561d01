//! A browser's audio: ICE, DTLS-SRTP and a tone by another maker's library, over a WebSocket of SIP; a phone's at the trunk.

mod common;
#[path = "common/webrtc.rs"]
mod webrtc;

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use common::peer::SOON;
use common::rtp::Voice;
use common::websocket::{is_installed, phone};
use common::{Dialog, Message, Outgoing, Peer, Transport, World, until};
use e911d::sip::digest::{Asked, Challenge};
use webrtc::Browser;

const ALICE: (&str, &str) = ("alice", "wonderland");
/// Of the browser's voice, and of the trunk's.
const NEAR: f64 = 440.0;
const FAR: f64 = 1000.0;

/// An agent's page, and a trunk with a voice.
struct Scene {
    world: World,
    page: Peer,
    _socket: common::tls::Openssl,
    browser: Browser,
    trunk: Peer,
    far: Voice,
}

impl Scene {
    fn new() -> Option<Self> {
        if !is_installed() {
            return None;
        }
        let world = World::with(Transport::Udp, |net, config| {
            let mut config = config.agent(ALICE.0, &format!("password = \"{}\"\n", ALICE.1));
            config.bind = net.sip(1);
            config.more += &format!("[[listen]]\ntransport = \"ws\"\nbind = \"{}:5062\"\n", net.ip(1));
            config
        });
        let to = SocketAddr::new(world.net.ip(1), 5062);
        let (mut page, socket) = phone(to, None);
        register(&mut page, to);
        let browser = Browser::start(world.net.ip(30), NEAR);
        let trunk = Peer::at(Transport::Udp, world.trunk_a());
        let far = Voice::start(world.net.ip(21), FAR);
        Some(Self { world, page, _socket: socket, browser, trunk, far })
    }

    fn to(&self) -> SocketAddr {
        SocketAddr::new(self.world.net.ip(1), 5062)
    }

    /// Dials 911 with this offer; gives the call and what the trunk gets.
    fn dial(&mut self, offer: String) -> (Outgoing, Message) {
        self.dial_to("911", offer)
    }

    fn dial_to(&mut self, number: &str, offer: String) -> (Outgoing, Message) {
        let mut call = Outgoing::new(self.to(), ALICE.0, &format!("sip:{number}@{}", self.to().ip()));
        call.body = offer;
        self.page.invite(&call);
        (call, self.trunk.request("INVITE"))
    }

    /// A 911 call that is up: the browser's side, the trunk's, and the number shown there.
    fn talk(&mut self) -> (Dialog, Dialog, String) {
        self.talk_to("911")
    }

    fn talk_to(&mut self, number: &str) -> (Dialog, Dialog, String) {
        let offer = self.browser.offer();
        let (call, invite) = self.dial_to(number, offer);
        self.trunk.reply(&invite, "200 OK", "trunk", "", &self.far.sdp());
        let ok = self.page.response("INVITE", 200);
        let caller = self.page.ack(&call, &ok);
        self.trunk.request("ACK");
        self.far.speak_to(sdp(&invite));
        self.browser.take(&sdp(&ok));
        (caller, Dialog::of_callee(&invite, "trunk"), invite.user_of("From").to_owned())
    }

    /// A call of each of these browsers is up: where the trunk sends its audio to. `answered` sees what each is told.
    fn talk_with_all(&mut self, browsers: &mut [Browser], mut answered: impl FnMut(&str)) -> Vec<SocketAddr> {
        let talk = |browser: &mut Browser| {
            std::mem::swap(&mut self.browser, browser);
            let offer = self.browser.offer();
            let (call, invite) = self.dial_to("4155551234", offer);
            self.trunk.reply(&invite, "200 OK", "trunk", "", &self.far.sdp());
            let ok = self.page.response("INVITE", 200);
            self.page.ack(&call, &ok);
            self.trunk.request("ACK");
            answered(&sdp(&ok));
            self.browser.take(&sdp(&ok));
            std::mem::swap(&mut self.browser, browser);
            common::rtp::place_in(sdp(&invite))
        };
        browsers.iter_mut().map(talk).collect()
    }

    #[track_caller]
    fn hear_each_other(&self) {
        self.browser.until_hears(FAR);
        self.far.until_hears(NEAR);
    }

    fn hang_up(&mut self, caller: &mut Dialog) {
        self.page.in_dialog(caller, "BYE", "");
        let bye = self.trunk.request("BYE");
        self.trunk.reply(&bye, "200 OK", "", "", "");
        self.page.response("BYE", 200);
    }
}

fn sdp(message: &Message) -> String {
    String::from_utf8_lossy(&message.body).into_owned()
}

/// Registers as a browser does.
fn register(page: &mut Peer, to: SocketAddr) {
    let (contact, uri) = (page.contact(ALICE.0), format!("sip:{}", to.ip()));
    let mut ask = |seq: u32, more: &str| {
        let text = format!(
            "REGISTER {uri} SIP/2.0\r\nVia: SIP/2.0/WS df7jal23ls0d.invalid;branch=z9hG4bKreg{seq}\r\nFrom: <sip:{0}@{1}>;tag=r\r\n\
             To: <sip:{0}@{1}>\r\nCall-ID: reg-{2}\r\nCSeq: {seq} REGISTER\r\nContact: <{contact}>;expires=300;+sip.ice;reg-id=1;\
             +sip.instance=\"<urn:uuid:f81-7dec-14a06cf1>\"\r\nSupported: path, outbound\r\n{more}Content-Length: 0\r\n\r\n",
            ALICE.0,
            to.ip(),
            to.port()
        );
        page.send(text.as_bytes(), to);
        page.final_response("REGISTER", SOON)
    };
    let challenged = ask(1, "");
    let challenge = Challenge::parse(challenged.header("WWW-Authenticate").as_bytes()).expect("a challenge");
    let asked = Asked { method: b"REGISTER", uri: uri.as_bytes(), body: b"" };
    let answer = challenge.answer(ALICE.0.as_bytes(), ALICE.1.as_bytes(), &asked, 1, b"c");
    assert_eq!(ask(2, &format!("Authorization: {}\r\n", String::from_utf8_lossy(&answer))).status(), 200);
}

#[test]
fn an_agent_at_a_browser_dials_911_and_both_hear_each_other() {
    let Some(mut scene) = Scene::new() else { return };
    let (mut caller, ..) = scene.talk();
    scene.browser.until_connected();
    scene.hear_each_other();
    let ssrcs: std::collections::BTreeSet<u32> = scene.browser.packets().iter().map(|p| p.0).collect();
    assert_eq!(ssrcs.len(), 1, "one source");
    assert_ne!(ssrcs.first(), Some(&u32::from(scene.far.at().port())), "of ours, not of the trunk's");
    scene.hang_up(&mut caller);
    until("its ports are free", SOON, || (scene.world.gateway.metric("e911d_media_relays") == 0.0).then_some(()));
}

#[test]
fn a_browser_that_is_killed_in_a_call_is_noticed_and_the_call_stays() {
    let Some(mut scene) = Scene::new() else { return };
    let (mut caller, ..) = scene.talk();
    scene.hear_each_other();
    scene.browser = Browser::start(scene.world.net.ip(32), NEAR);
    until("it is noticed", Duration::from_secs(10), || {
        (scene.world.gateway.metric("e911d_media_browsers_gone_total") == 1.0).then_some(())
    });
    assert!(scene.trunk.request_within("BYE", Duration::from_millis(300)).is_none());
    scene.hang_up(&mut caller);
}

#[test]
fn a_laptop_that_slept_for_ten_seconds_is_heard_again_in_the_same_call() {
    let Some(mut scene) = Scene::new() else { return };
    let (mut caller, ..) = scene.talk();
    scene.hear_each_other();
    scene.browser.sleep(true);
    std::thread::sleep(Duration::from_secs(10));
    assert_eq!(scene.world.gateway.metric("e911d_media_browsers_gone_total"), 1.0);
    assert!(scene.trunk.request_within("BYE", Duration::from_millis(100)).is_none());
    scene.browser.sleep(false);
    scene.hear_each_other();
    scene.hang_up(&mut caller);
}

#[test]
fn a_browser_that_changes_its_network_in_a_call_goes_on_from_its_new_address() {
    let Some(mut scene) = Scene::new() else { return };
    let (mut caller, mut callee, _) = scene.talk();
    scene.hear_each_other();
    let before = scene.browser.packets();
    // The first time the PSAP's side does not like to be asked.
    let offer = scene.browser.offer_from(scene.world.net.ip(33));
    scene.page.in_dialog(&mut caller, "INVITE", &offer);
    let invite = scene.trunk.request("INVITE");
    scene.trunk.reply(&invite, "488 Not Acceptable Here", "", "", "");
    scene.page.response("INVITE", 488);
    scene.trunk.request("ACK");
    let offer = scene.browser.offer_from(scene.world.net.ip(33));
    scene.page.in_dialog(&mut caller, "INVITE", &offer);
    let invite = scene.trunk.request("INVITE");
    scene.trunk.reply(&invite, "200 OK", "", "", &scene.far.sdp_with("RTP/AVP", 2, ""));
    let ok = scene.page.response("INVITE", 200);
    scene.page.in_dialog(&mut caller, "ACK", "");
    scene.trunk.request("ACK");
    scene.browser.take(&sdp(&ok));
    scene.hear_each_other();
    let packets = scene.browser.packets();
    assert!(packets.len() > before.len() && packets.iter().all(|p| p.0 == packets[0].0), "one source, and the keys of before");
    scene.trunk.in_dialog(&mut callee, "BYE", "");
    scene.trunk.response("BYE", 200);
    let bye = scene.page.request("BYE");
    scene.page.reply(&bye, "200 OK", "", "", "");
}

#[test]
fn c1_the_psaps_call_back_is_heard_in_the_browser() {
    let Some(mut scene) = Scene::new() else { return };
    let (mut caller, _, number) = scene.talk();
    scene.browser.until_connected();
    scene.hang_up(&mut caller);
    scene.browser = Browser::start(scene.world.net.ip(30), NEAR);
    let mut call = Outgoing::new(scene.world.at(), "+14255550911", &scene.world.uri(&number));
    call.body = scene.far.sdp();
    scene.trunk.invite(&call);
    let invite = scene.page.request("INVITE");
    assert_eq!(invite.header("Priority"), "psap-callback");
    let answer = scene.browser.answer(&sdp(&invite));
    assert!(answer.contains("a=setup:passive"), "this one has us begin: {answer}");
    scene.page.reply(&invite, "200 OK", "page", "", &answer);
    let ok = scene.trunk.response("INVITE", 200);
    scene.trunk.ack(&call, &ok);
    scene.page.request("ACK");
    assert!(sdp(&ok).contains("RTP/AVP 0"), "{}", sdp(&ok));
    scene.far.speak_to(sdp(&ok));
    scene.browser.until_connected();
    scene.hear_each_other();
}

#[test]
fn p7_the_browser_hears_one_stream_when_another_trunk_has_the_call() {
    let Some(mut scene) = Scene::new() else { return };
    let mut other = Peer::at(Transport::Udp, scene.world.trunk_b());
    let second = Voice::start(scene.world.net.ip(22), 600.0);
    let offer = scene.browser.offer();
    let (call, invite) = scene.dial(offer);
    // The first trunk plays an announcement, and then refuses.
    scene.trunk.reply(&invite, "183 Session Progress", "first", "", &scene.far.sdp());
    scene.far.speak_to(sdp(&invite));
    let progress = scene.page.response("INVITE", 183);
    scene.browser.take(&sdp(&progress));
    scene.browser.until_hears(FAR);
    scene.far.be_silent();
    scene.trunk.reply(&invite, "503 Service Unavailable", "first", "", "");
    let invite = other.request("INVITE");
    other.reply(&invite, "200 OK", "second", "", &second.sdp());
    second.speak_to(sdp(&invite));
    let ok = scene.page.response("INVITE", 200);
    scene.page.ack(&call, &ok);
    other.request("ACK");
    scene.browser.until_hears(600.0);
    second.until_hears(NEAR);
    let packets = scene.browser.packets();
    for pair in packets.windows(2) {
        let ((one, first, was), (other, then, is)) = (pair[0], pair[1]);
        assert_eq!(one, other, "one source");
        assert!(then.wrapping_sub(first) < 100 && is.wrapping_sub(was) < 80_000, "{pair:?}");
    }
}

#[test]
fn a_hold_of_the_browser_is_answered_as_one() {
    let Some(mut scene) = Scene::new() else { return };
    let (mut caller, ..) = scene.talk();
    scene.hear_each_other();
    let offer = scene.browser.offer();
    assert!(offer.contains("a=sendonly"), "{offer}");
    scene.page.in_dialog(&mut caller, "INVITE", &offer);
    let invite = scene.trunk.request("INVITE");
    assert!(sdp(&invite).contains("a=sendonly"));
    let answer = scene.far.sdp_with("RTP/AVP", 2, "a=recvonly\r\n");
    scene.trunk.reply(&invite, "200 OK", "", "", &answer);
    let ok = scene.page.response("INVITE", 200);
    scene.page.in_dialog(&mut caller, "ACK", "");
    scene.trunk.request("ACK");
    assert!(sdp(&ok).contains("a=recvonly"), "{}", sdp(&ok));
    scene.browser.take(&sdp(&ok));
    scene.far.until_hears(NEAR);
}

#[test]
fn nobody_else_gets_dtls_and_eleven_thousand_packets_of_a_stranger_do_no_harm() {
    let Some(mut scene) = Scene::new() else { return };
    let offer = scene.browser.offer();
    let (call, invite) = scene.dial(offer);
    scene.trunk.reply(&invite, "200 OK", "trunk", "", &scene.far.sdp());
    let ok = scene.page.response("INVITE", 200);
    scene.page.ack(&call, &ok);
    scene.trunk.request("ACK");
    let ours = common::rtp::place_in(sdp(&ok));
    let stranger = UdpSocket::bind((scene.world.net.ip(31), 0)).unwrap();
    stranger.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let hello: Vec<u8> = [&[22u8, 254, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 60, 1][..], &[7; 59]].concat();
    let spray = |count: usize| {
        for n in 0..count {
            let _ = stranger.send_to(&hello, ours);
            let rtp = [&[0x80, 0, (n >> 8) as u8, n as u8][..], &[5; 168]].concat();
            let _ = stranger.send_to(&rtp, ours);
            if n % 100 == 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    };
    spray(500);
    assert!(stranger.recv_from(&mut [0; 2048]).is_err(), "a stranger gets an answer");
    scene.browser.take(&sdp(&ok));
    scene.far.speak_to(sdp(&invite));
    scene.browser.until_connected();
    spray(5000);
    scene.hear_each_other();
    assert_eq!(scene.far.sources().len(), 1);
}

/// What strangers send to a browser's port: a ClientHello, and checks of ICE with our name and no idea of the password.
fn spray_of(ufrag: &str, n: u8) -> [Vec<u8>; 3] {
    let hello = [&[22u8, 254, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 60, 1][..], &[n; 59]].concat();
    let mut user = format!("{ufrag}:x").into_bytes();
    let length = user.len();
    user.resize(length.next_multiple_of(4), 0);
    let attributes = [&[0, 6, 0, length as u8][..], &user, &[0, 37, 0, 0], &[0, 8, 0, 20], &[n; 20]].concat();
    let check = [&[0, 1, 0, attributes.len() as u8, 0x21, 0x12, 0xa4, 0x42][..], &[n; 12], &attributes].concat();
    let bare = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[n; 12]].concat();
    [hello, check, bare]
}

#[test]
fn of_fifty_calls_of_browsers_under_a_spray_of_strangers_none_is_lost() {
    const ROUNDS: u32 = 300;
    let Some(mut scene) = Scene::new() else { return };
    let strangers: Vec<_> = (40..44).map(|n| UdpSocket::bind((scene.world.net.ip(n), 0)).unwrap()).collect();
    let mut browsers: Vec<_> = (0..50).map(|_| Browser::start(scene.world.net.ip(30), NEAR)).collect();
    let (known, over) = (std::sync::Mutex::new(Vec::new()), std::sync::atomic::AtomicBool::new(false));
    std::thread::scope(|scope| {
        let spraying = scope.spawn(|| {
            let mut sent = 0;
            for n in 0..ROUNDS {
                if over.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
                let known: Vec<(SocketAddr, String)> = known.lock().unwrap().clone();
                for (stranger, (at, ufrag)) in strangers.iter().cycle().zip(&known) {
                    spray_of(ufrag, n as u8).iter().for_each(|packet| drop(stranger.send_to(packet, at)));
                }
                sent += 3 * known.len();
                std::thread::sleep(Duration::from_millis(40));
            }
            sent
        });
        let places = scene.talk_with_all(&mut browsers, |answer| {
            let ufrag = answer.lines().find_map(|l| l.strip_prefix("a=ice-ufrag:")).expect("a name");
            known.lock().unwrap().push((common::rtp::place_in(answer), ufrag.to_owned()));
        });
        browsers.iter().for_each(Browser::until_connected);
        until("all fifty are heard", Duration::from_secs(20), || (scene.far.sources().len() == 50).then_some(()));
        for (browser, place) in browsers.iter().zip(places) {
            scene.far.speak_to(format!("c=IN IP4 {}\r\nm=audio {} RTP/AVP 0\r\n", place.ip(), place.port()));
            until("and hear", SOON, || (!browser.packets().is_empty()).then_some(()));
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(spraying.join().expect("the spray") > 1000);
    });
    for stranger in &strangers {
        stranger.set_nonblocking(true).unwrap();
        assert!(stranger.recv_from(&mut [0; 2048]).is_err(), "a stranger gets an answer");
    }
}

#[test]
fn video_beside_audio_is_refused_in_its_place_and_the_call_goes_out() {
    let Some(mut scene) = Scene::new() else { return };
    let offer = scene.browser.offer();
    let video = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:v\r\na=rtpmap:96 VP8/90000\r\na=sendrecv\r\n";
    let (call, invite) = scene.dial(format!("{offer}{video}"));
    assert!(!sdp(&invite).contains("video"), "{}", sdp(&invite));
    scene.trunk.reply(&invite, "200 OK", "trunk", "", &scene.far.sdp());
    let ok = scene.page.response("INVITE", 200);
    scene.page.ack(&call, &ok);
    let answer = sdp(&ok);
    assert!(answer.contains("m=video 0 ") && answer.contains("a=mid:v"), "{answer}");
    assert!(answer.find("m=audio ") < answer.find("m=video "), "{answer}");
}

/// That many calls, one after the other, each heard; then nothing of them is left.
fn calls_leave_nothing_behind(calls: usize) {
    let Some(mut scene) = Scene::new() else { return };
    let descriptors = |scene: &mut Scene| {
        let id = scene.world.gateway.child().id();
        std::fs::read_dir(format!("/proc/{id}/fd")).expect("its descriptors").count()
    };
    let mut before = 0;
    for n in 0..calls {
        scene.browser = Browser::start(scene.world.net.ip(30), NEAR);
        let (mut caller, ..) = scene.talk_to("4155551234");
        scene.browser.until_connected();
        scene.hang_up(&mut caller);
        if n == 9 {
            before = descriptors(&mut scene);
        }
    }
    until("the last call to be forgotten", Duration::from_secs(40), || {
        (scene.world.gateway.metric("e911d_media_relays") == 0.0).then_some(())
    });
    let after = descriptors(&mut scene);
    // Of the ports that are kept ready a quarter comes and goes.
    assert!(after <= before + 64, "{before} descriptors before, {after} after {calls} calls");
}

#[test]
fn fifty_calls_of_browsers_leave_no_port_and_no_descriptor_behind() {
    calls_leave_nothing_behind(50);
}

#[test]
#[ignore = "long: a thousand calls"]
fn a_thousand_calls_of_browsers_leave_no_port_and_no_descriptor_behind() {
    calls_leave_nothing_behind(1000);
}

/// `cargo test --release --test e2e_webrtc -- --ignored --exact what_a_hundred_browsers_cost --nocapture`
#[test]
#[ignore = "measures, asserts nothing"]
fn what_a_hundred_browsers_cost() {
    const BROWSERS: usize = 100;
    let Some(mut scene) = Scene::new() else { return };
    let mut browsers: Vec<_> = (0..BROWSERS).map(|_| Browser::start(scene.world.net.ip(30), NEAR)).collect();
    let watch = common::clock::Stopwatch::start();
    let places = scene.talk_with_all(&mut browsers, |_| ());
    browsers.iter().for_each(Browser::until_connected);
    println!(
        "{BROWSERS} browsers are connected after {:.2} s, their own share of the machine included",
        watch.elapsed().as_secs_f64()
    );
    let (far, stop) = (&scene.far, std::sync::atomic::AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0u16.. {
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
                let packet =
                    [&[0x80, 0][..], &n.to_be_bytes(), &(u32::from(n) * 160).to_be_bytes(), &[0, 0, 0, 9], &[0x7f; 160]].concat();
                places.iter().for_each(|at| far.send_raw(&packet, *at));
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        std::thread::sleep(Duration::from_secs(2));
        let gateway = &scene.world.gateway;
        let packets = || {
            let of = |d: &str| gateway.metric(&format!("e911d_media_packets_total{{direction=\"{d}\"}}"));
            of("to_caller") + of("to_callee")
        };
        let (before, carried, watch) = (gateway.ticks(), packets(), common::clock::Stopwatch::start());
        std::thread::sleep(Duration::from_secs(10));
        let (ticks, carried, seconds) = (gateway.ticks() - before, packets() - carried, watch.elapsed().as_secs_f64());
        println!("{:.0} packets/s: {:.3} % of a core a browser", carried / seconds, ticks / seconds / BROWSERS as f64);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

//! The page `/panel` in a real browser: in every state before a stand-in, and as the phone of an agent of a real gateway.
//! What the browser does is in `tests/peers/chromium`.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::chromium::Chromium;
use common::peer::SOON;
use common::rtp::Voice;
use common::{Dialog, Message, Outgoing, Peer, Transport, World, until};
use serde_json::json;

/// Who calls back.
const PSAP: &str = "+12065559110";
const ALICE: (&str, &str) = ("alice", "wonderland");
/// Until both trunks have refused twice.
const ROUNDS: Duration = Duration::from_secs(10);

/// The page goes through these states before a stand-in for the gateway.
fn goes_through(states: &[&str]) {
    let Some(mut browser) = Chromium::at("panel-alone.mjs", "http://localhost:1") else { return };
    states.iter().for_each(|state| browser.does(state, json!({})));
}

#[test]
fn before_a_call_the_page_says_what_is_missing_and_one_tab_is_the_phone() {
    goes_through(&["sign-in", "home", "not-ready", "languages", "second-tab", "asleep", "ordinary"]);
}

#[test]
fn a6_during_an_emergency_call_the_page_has_devices_and_end_call_and_nothing_else() {
    goes_through(&["emergency", "keyboard", "listen-only", "nothing-holds-it", "failed", "outdated", "session-gone"]);
}

#[test]
fn an_emergency_call_outlasts_a_reload_a_lost_line_and_another_network() {
    goes_through(&["reload", "reload-while-ringing", "line-lost", "network-changed"]);
}

#[test]
fn c2_the_psaps_callback_is_shown_over_everything_and_answered_with_one_click() {
    goes_through(&["dropped", "callback", "callback-over-a-call", "callback-over-a-dead-call", "answers-by-itself", "warm"]);
}

/// A gateway with both trunks in the hands of the test.
struct Scene {
    world: World,
    a: Peer,
    b: Peer,
}

impl Scene {
    fn new() -> Self {
        let world = World::with(Transport::Udp, |_, config| {
            config.agent(ALICE.0, &format!("name = \"Alice Andersen\"\npassword = \"{}\"\n", ALICE.1))
        });
        let (a, b) = (Peer::udp(world.trunk_a()), Peer::udp(world.trunk_b()));
        Self { world, a, b }
    }

    fn page(&self) -> String {
        format!("http://{}", self.world.gateway.http().expect("HTTP"))
    }

    /// The PSAP calls a leased number over the first trunk.
    fn call_back(&self, number: &str) -> (Peer, Outgoing) {
        let mut caller = Peer::udp(SocketAddr::new(self.world.trunk_a().ip(), 5070));
        let call = Outgoing::new(self.world.at(), PSAP, &self.world.uri(number));
        caller.invite(&call);
        (caller, call)
    }
}

/// Of the agent's microphone, and of the far end.
const NEAR: f64 = 440.0;
const FAR: f64 = 1000.0;

/// Who speaks at the far end: by RTP where the gateway ends the browser's leg, another browser where its media passes by.
struct FarEnd {
    voice: Voice,
    is_rtp: bool,
    calls: usize,
}

impl FarEnd {
    fn new(world: &World) -> Self {
        Self { voice: Voice::start(world.trunk_a().ip(), FAR), is_rtp: false, calls: 0 }
    }

    fn id(&self) -> String {
        self.calls.to_string()
    }

    /// Answers a call of the page's.
    fn answer(&mut self, browser: &mut Chromium, trunk: &mut Peer) -> (Message, Dialog) {
        let invite = trunk.request("INVITE");
        let dialog = self.answer_this(browser, trunk, &invite);
        (invite, dialog)
    }

    fn answer_this(&mut self, browser: &mut Chromium, trunk: &mut Peer, invite: &Message) -> Dialog {
        let offer = text(invite);
        self.calls += 1;
        self.is_rtp = !offer.contains("a=ice-ufrag");
        let answer = if self.is_rtp {
            self.voice.speak_to(&offer);
            self.voice.sdp()
        } else {
            browser.gives("far-answer", json!({"id": self.id(), "sdp": offer}))
        };
        trunk.reply(invite, "200 OK", "trunk", "", &answer);
        trunk.request("ACK");
        Dialog::of_callee(invite, "trunk")
    }

    /// The page was loaded anew and has a new leg: where its media passes by the far end is asked anew.
    fn answers_anew(&mut self, browser: &mut Chromium, trunk: &mut Peer) {
        if let Some(invite) = trunk.request_within("INVITE", SOON) {
            let answer = if self.is_rtp {
                self.voice.speak_to(text(&invite));
                self.voice.sdp()
            } else {
                self.calls += 1;
                browser.gives("far-answer", json!({"id": self.id(), "sdp": text(&invite)}))
            };
            trunk.reply(&invite, "200 OK", "trunk", "", &answer);
            trunk.request("ACK");
        }
    }

    /// What it offers when it calls.
    fn offer(&mut self, browser: &mut Chromium) -> String {
        self.calls += 1;
        if self.is_rtp { self.voice.sdp() } else { browser.gives("far-offer", json!({"id": self.id()})) }
    }

    /// Its call was answered.
    fn accept(&self, browser: &mut Chromium, answer: &Message) {
        if self.is_rtp {
            self.voice.speak_to(text(answer));
        } else {
            browser.does("far-accept", json!({"id": self.id(), "sdp": text(answer)}));
        }
    }

    /// Both hear each other.
    fn talks(&self, browser: &mut Chromium) {
        browser.does("hears", json!({"hertz": FAR}));
        if self.is_rtp {
            self.voice.until_hears(NEAR);
        } else {
            browser.does("far-hears", json!({"hertz": NEAR}));
        }
    }
}

fn text(message: &Message) -> String {
    String::from_utf8_lossy(&message.body).into_owned()
}

#[test]
fn a2_c1_an_agent_dials_911_reloads_the_page_is_cut_off_dials_again_hangs_up_and_is_called_back_in_her_browser() {
    let mut scene = Scene::new();
    let Some(mut browser) = Chromium::at("panel.mjs", &scene.page()) else { return };
    let mut far = FarEnd::new(&scene.world);
    browser.does("sign-in", json!({}));

    browser.does("call-911", json!({}));
    let (_, mut dialog) = far.answer(&mut browser, &mut scene.a);
    browser.does("connected", json!({}));
    far.talks(&mut browser);
    browser.does("reload", json!({}));
    far.answers_anew(&mut browser, &mut scene.a);
    browser.does("connected", json!({}));
    browser.does("one-call", json!({}));
    far.talks(&mut browser);
    scene.a.in_dialog(&mut dialog, "BYE", "");
    scene.a.response("BYE", 200);
    browser.does("dropped", json!({}));

    // The page is reloaded once more, before the PSAP has answered.
    browser.does("redial", json!({}));
    let invite = scene.a.request("INVITE");
    scene.a.reply(&invite, "180 Ringing", "trunk", "", "");
    browser.does("ringing", json!({}));
    browser.does("reload", json!({}));
    far.answer_this(&mut browser, &mut scene.a, &invite);
    far.answers_anew(&mut browser, &mut scene.a);
    browser.does("connected", json!({}));
    browser.does("one-call", json!({}));
    far.talks(&mut browser);
    browser.does("end-call", json!({}));
    let bye = scene.a.request("BYE");
    scene.a.reply(&bye, "200 OK", "", "", "");

    let mut psap = Peer::udp(SocketAddr::new(scene.world.trunk_a().ip(), 5070));
    let mut call = Outgoing::new(scene.world.at(), PSAP, &scene.world.uri(invite.user_of("From")));
    call.body = far.offer(&mut browser);
    psap.invite(&call);
    browser.does("called-back", json!({}));
    browser.does("answer", json!({}));
    let answer = psap.response("INVITE", 200);
    let mut dialog = psap.ack(&call, &answer);
    far.accept(&mut browser, &answer);
    browser.does("connected", json!({}));
    far.talks(&mut browser);
    psap.in_dialog(&mut dialog, "BYE", "");
    psap.response("BYE", 200);
    browser.does("dropped", json!({}));
    browser.does("safe", json!({}));
}

#[test]
fn a_refused_microphone_holds_no_call_and_an_ordinary_call_has_keys_and_an_end() {
    let mut scene = Scene::new();
    let Some(mut browser) = Chromium::at("panel.mjs", &scene.page()) else { return };
    let mut far = FarEnd::new(&scene.world);
    browser.does("sign-in", json!({"permissions": []}));
    browser.does("call-911", json!({}));
    let (_, mut dialog) = far.answer(&mut browser, &mut scene.a);
    browser.does("connected", json!({}));
    browser.does("listen-only", json!({}));
    browser.does("hears", json!({"hertz": FAR}));
    // A browser that may not use the microphone tells no address of its own.
    browser.does("other-network", json!({}));
    let anew = scene.a.request("INVITE");
    scene.a.reply(&anew, "200 OK", "trunk", "", &far.voice.sdp());
    scene.a.request("ACK");
    browser.does("hears", json!({"hertz": FAR}));
    scene.a.in_dialog(&mut dialog, "BYE", "");
    scene.a.response("BYE", 200);
    browser.does("dropped", json!({}));

    browser.does("sign-in", json!({}));
    browser.does("dial", json!({"number": "+1 (212) 555-0123"}));
    far.answer(&mut browser, &mut scene.a);
    browser.does("connected", json!({}));
    far.talks(&mut browser);
    browser.does("press", json!({"keys": ["5", "1"]}));
    if far.is_rtp {
        until("two keys at the trunk", SOON, || (keys(&far.voice) == [5, 1]).then_some(()));
    }
    browser.does("hang-up", json!({}));
    let bye = scene.a.request("BYE");
    scene.a.reply(&bye, "200 OK", "", "", "");
}

/// The keys that were pressed: the events of packets that say that one is over (RFC 4733), each once.
fn keys(voice: &Voice) -> Vec<u8> {
    let mut ends: Vec<_> = voice.events().into_iter().filter(|(_, e)| e.get(1).is_some_and(|flags| flags & 0x80 != 0)).collect();
    ends.dedup();
    ends.iter().filter_map(|(_, event)| event.first().copied()).collect()
}

fn refuse(trunk: &mut Peer) -> Message {
    let invite = trunk.request_within("INVITE", ROUNDS).expect("an INVITE");
    trunk.reply(&invite, "503 Service Unavailable", "trunk", "", "");
    trunk.request("ACK");
    invite
}

#[test]
fn p6_where_no_trunk_takes_the_call_the_page_says_that_a_mobile_phone_is_to_be_used_and_rings_when_the_psap_calls() {
    let mut scene = Scene::new();
    let Some(mut browser) = Chromium::at("panel.mjs", &scene.page()) else { return };
    browser.does("sign-in-fails", json!({}));
    browser.does("sign-in", json!({}));
    browser.does("call-911", json!({}));
    let first = scene.a.request("INVITE");
    scene.a.reply(&first, "180 Ringing", "trunk", "", "");
    browser.does("ringing", json!({}));
    scene.a.reply(&first, "503 Service Unavailable", "trunk", "", "");
    scene.a.request("ACK");
    refuse(&mut scene.b);
    refuse(&mut scene.a);
    refuse(&mut scene.b);
    browser.does("not-placed", json!({}));
    browser.does("back", json!({}));

    let (mut psap, call) = scene.call_back(first.user_of("From"));
    browser.does("called-back", json!({}));
    psap.cancel(&call);
    psap.response("INVITE", 487);
    browser.does("missed", json!({}));
}

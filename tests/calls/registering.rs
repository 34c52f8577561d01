//! Registering at a trunk that wants it.

use crate::world::*;
use e911d::bridge::Trouble;
use e911d::emergency::facts::{Side, TrunkId};
use e911d::sip::digest::{Algorithm, Asked, Credentials, Ha1, challenge};
use e911d::sip::{Message, Name};
use std::time::Duration;

/// Trunk a wants to be registered at.
fn text_of(password: &str) -> String {
    let more = format!("options = \"0s\"\nregister = true\nusername = \"gw-user\"\npassword = \"{password}\"\n");
    CONFIG.replacen("options = \"0s\"\n", &more, 1)
}

fn world() -> World {
    World::with(&text_of("pass"))
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Too short for a retransmission.
const MOMENT: Duration = Duration::from_millis(200);

fn with_header(response: &str, lines: &str) -> String {
    response.replacen("\r\n", &format!("\r\n{lines}"), 1)
}

fn ask(to: &Message, nonce: &str, stale: bool) -> String {
    let challenge = challenge("carrier", nonce, Algorithm::Md5, stale);
    with_header(&response(to, 401, "r", "", ""), &format!("WWW-Authenticate: {challenge}\r\n"))
}

fn is_proved(msg: &Message, password: &str) -> bool {
    let Some(credentials) = msg.get(Name::Authorization).and_then(Credentials::parse) else { return false };
    let ha1 = Ha1::new(credentials.algorithm, b"gw-user", b"carrier", password.as_bytes());
    credentials.prove(&ha1, &Asked { method: msg.method_bytes(), uri: msg.uri(), body: msg.body() })
}

/// The first REGISTER, challenged, and proved.
fn proved(w: &mut World) -> Message {
    w.wait(MOMENT);
    let first = w.expect(TRUNK_A, "REGISTER");
    w.receive(TRUNK_A, &ask(&first.msg, "n1", false));
    w.expect(TRUNK_A, "REGISTER").msg
}

fn accept(w: &mut World, to: &Message, granted: u32) {
    let contact = format!("Contact: <sip:other@127.0.0.1:9>;expires=1, <sip:gw-user@127.0.0.1:15060>;expires={granted}\r\n");
    w.receive(TRUNK_A, &with_header(&response(to, 200, "r", "", ""), &contact));
}

fn alarms(w: &mut World) -> Vec<(&'static str, bool)> {
    let told = std::mem::take(&mut w.sides).into_iter();
    told.filter_map(|s| if let Side::Alarm { name, raised } = s { Some((name, raised)) } else { None }).collect()
}

#[test]
fn a_trunk_that_wants_it_is_registered_at_and_the_binding_is_kept_alive() {
    let mut w = world();
    w.wait(MOMENT);
    let first = w.expect(TRUNK_A, "REGISTER sip:127.0.0.1:15070 SIP/2.0");
    assert_eq!(get(&first.msg, Name::To), "<sip:gw-user@127.0.0.1>");
    assert!(get(&first.msg, Name::From).starts_with("<sip:gw-user@127.0.0.1>;tag="));
    assert_eq!(get(&first.msg, Name::Contact), "<sip:gw-user@127.0.0.1:15060>");
    assert_eq!(get(&first.msg, Name::Expires), "600");
    w.receive(TRUNK_A, &ask(&first.msg, "n1", false));
    let second = w.expect(TRUNK_A, "REGISTER");
    assert!(is_proved(&second.msg, "pass"), "{}", text(&second.msg));
    accept(&mut w, &second.msg, 100);
    assert_eq!(alarms(&mut w), []);
    w.wait(seconds(50) - MOMENT);
    w.expect_nothing();
    w.wait(MOMENT);
    let third = w.expect(TRUNK_A, "REGISTER");
    assert_eq!(get(&third.msg, Name::CallId), get(&first.msg, Name::CallId), "RFC 3261 section 10.2");
    assert!(third.msg.cseq().map(|c| c.0) > second.msg.cseq().map(|c| c.0));
    // The nonce has become too old meanwhile, and once more so.
    w.receive(TRUNK_A, &ask(&third.msg, "n2", true));
    let fourth = w.expect(TRUNK_A, "REGISTER");
    w.receive(TRUNK_A, &ask(&fourth.msg, "n3", true));
    let fifth = w.expect(TRUNK_A, "REGISTER");
    assert!(is_proved(&fifth.msg, "pass"));
    accept(&mut w, &fifth.msg, 100);
    w.wait(seconds(50));
    let sixth = w.expect(TRUNK_A, "REGISTER");
    assert!(sixth.msg.cseq().map(|c| c.0) > fifth.msg.cseq().map(|c| c.0));
    w.expect_nothing();
}

#[test]
fn a_registrar_that_finds_it_too_brief_gets_what_it_wants() {
    let mut w = world();
    let proved = proved(&mut w);
    w.receive(TRUNK_A, &with_header(&response(&proved, 423, "r", "", ""), "Min-Expires: 1800\r\n"));
    let again = w.expect(TRUNK_A, "REGISTER");
    assert_eq!(get(&again.msg, Name::Expires), "1800");
    w.receive(TRUNK_A, &with_header(&response(&again.msg, 423, "r", "", ""), "Min-Expires: 1800\r\n"));
    w.expect_nothing();
    assert_eq!(alarms(&mut w), [("trunk_down", true)], "what it says makes no sense");
}

#[test]
fn p6_a_trunk_that_refuses_to_register_us_is_down_but_still_carries_emergencies() {
    let mut w = world();
    let proved = proved(&mut w);
    w.receive(TRUNK_A, &ask(&proved, "n2", false));
    w.expect_nothing();
    assert_eq!(alarms(&mut w), [("trunk_down", true)]);
    assert_eq!(w.shard.troubles(), [(TrunkId(0), Trouble::NotRegistered)]);
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let b = w.expect(TRUNK_B, "INVITE");
    w.receive(TRUNK_B, &response(&b.msg, 503, "q", "", ""));
    w.expect(TRUNK_B, "ACK");
    let a = w.expect(TRUNK_A, "INVITE sip:911@");
    w.receive(TRUNK_A, &response(&a.msg, 200, "t1", "sip:psap@127.0.0.1:15070", SDP));
    let ok = w.expect(PBX, "SIP/2.0 200");
    w.receive(PBX, &InDialog::of_response(&ok.msg).request("ACK", 1, PBX, "", ""));
    w.take();
    // Tried again, more and more seldom; it is up as soon as it relents.
    w.wait(seconds(30) - MOMENT);
    w.expect_nothing();
    w.wait(MOMENT);
    let again = w.expect(TRUNK_A, "REGISTER");
    w.receive(TRUNK_A, &response(&again.msg, 403, "r", "", ""));
    w.wait(seconds(60) - MOMENT);
    w.expect_nothing();
    w.wait(MOMENT);
    let again = w.expect(TRUNK_A, "REGISTER");
    accept(&mut w, &again.msg, 600);
    assert!(alarms(&mut w).contains(&("trunk_down", false)));
    assert_eq!(w.shard.troubles(), []);
}

#[test]
fn a_registrar_that_is_silent_for_a_while_has_us_still_until_its_word_has_run_out() {
    let mut w = world();
    let proved = proved(&mut w);
    accept(&mut w, &proved, 100);
    w.take();
    // Refreshed after 50 s, given up after 32 s more: 18 s are left, then 5 s and 32 s pass again.
    w.wait(seconds(90));
    assert_eq!(alarms(&mut w), []);
    assert!(w.take().iter().all(|s| text(&s.msg).starts_with("REGISTER")));
    w.wait(seconds(40));
    assert_eq!(alarms(&mut w), [("trunk_down", true)]);
}

#[test]
fn a_reload_goes_on_with_the_binding_or_begins_anew_with_another_password() {
    let mut w = world();
    let proved = proved(&mut w);
    accept(&mut w, &proved, 600);
    w.shard.reload(&setup(&text_of("pass"), 1), w.now).expect("the same config");
    w.wait(seconds(5));
    w.expect_nothing();
    w.shard.reload(&setup(&text_of("other"), 1), w.now).expect("another password");
    w.wait(MOMENT);
    let anew = w.expect(TRUNK_A, "REGISTER");
    assert_ne!(anew.msg.call_id(), proved.call_id());
    w.receive(TRUNK_A, &ask(&anew.msg, "n9", false));
    assert!(is_proved(&w.expect(TRUNK_A, "REGISTER").msg, "other"));
    w.shard.reload(&setup(CONFIG, 1), w.now).expect("no registration any more");
    w.wait(seconds(40));
    w.take();
    w.wait(seconds(700));
    w.expect_nothing();
}

#[test]
fn the_far_end_of_a_dialog_learns_nothing_where_the_trunk_never_asked() {
    let mut w = World::with(&text_of("pass").replace("register = true\n", ""));
    w.receive(PBX, &invite(PBX, "alice", "911", "c1"));
    let out = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &response(&out.msg, 200, "t1", "sip:psap@127.0.0.1:15070", SDP));
    let ok = w.expect(PBX, "SIP/2.0 200");
    w.take();
    let near = InDialog::of_response(&ok.msg);
    w.receive(PBX, &near.request("ACK", 1, PBX, "", ""));
    w.take();
    w.receive(PBX, &near.request("INFO", 2, PBX, "", ""));
    let info = w.expect(TRUNK_A, "INFO");
    w.receive(TRUNK_A, &ask(&info.msg, "n1", false));
    w.expect(PBX, "SIP/2.0 401");
    w.expect_nothing();
}

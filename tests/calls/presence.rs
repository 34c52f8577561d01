//! PUBLISH as a presence server may take it (RFC 3903).

use crate::world::*;
use e911d::emergency::facts::{AgentId, Input};
use e911d::emergency::presence::PresenceState;
use e911d::sip::Name;
use e911d::sip::digest::{Algorithm, Asked, Credentials, Ha1, challenge};
use e911d::words::{Private, Table};
use std::time::Duration;

const SERVER: &str = "127.0.0.1:15097";
const SECOND: Duration = Duration::from_secs(1);

fn world() -> World {
    with("")
}

fn with(more: &str) -> World {
    World::with(&config(SERVER, more))
}

fn config(server: &str, more: &str) -> String {
    format!("{CONFIG}[presence]\nkind = \"sip-publish\"\nserver = \"sip:presence@{server}\"\n{more}")
}

fn published(to: &Sent, status: u16, more: &str) -> String {
    response(&to.msg, status, "p", "", "").replace("Content-Length", &format!("{more}Content-Length"))
}

/// Bob's 911 call, answered; what follows it.
fn talking(w: &mut World, call: &str) -> (InDialog, Sent) {
    w.receive(PBX, &invite(PBX, "bob", "911", call));
    let out = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &response(&out.msg, 200, "t1", "sip:psap@127.0.0.1:15070", SDP));
    w.expect(TRUNK_A, "ACK");
    let ok = w.expect(PBX, "SIP/2.0 200");
    let dialog = InDialog::of_response(&ok.msg);
    w.receive(PBX, &dialog.request("ACK", 1, PBX, "", ""));
    (dialog, w.expect(SERVER, "PUBLISH"))
}

fn hang_up(w: &mut World, dialog: &InDialog) {
    w.receive(PBX, &dialog.request("BYE", 2, PBX, "", ""));
    w.expect(PBX, "SIP/2.0 200");
    let bye = w.expect(TRUNK_A, "BYE");
    w.receive(TRUNK_A, &response(&bye.msg, 200, "", "", ""));
}

#[test]
fn a1_a_publication_is_kept_alive_for_as_long_as_the_server_grants_and_removed_at_the_end() {
    let mut w = world();
    let (dialog, initial) = talking(&mut w, "c1");
    assert!(text(&initial.msg).starts_with("PUBLISH sip:bob@127.0.0.1:15097 SIP/2.0"), "{}", text(&initial.msg));
    assert!(text(&initial.msg).contains("entity=\"sip:bob@127.0.0.1:15097\""));
    w.receive(SERVER, &published(&initial, 200, "SIP-ETag: e1\r\nExpires: 60\r\n"));
    w.wait(29 * SECOND);
    w.expect_nothing();
    w.wait(SECOND * 11 / 10);
    let refresh = w.expect(SERVER, "PUBLISH");
    assert_eq!(get(&refresh.msg, Name::SipIfMatch), "e1");
    assert_eq!(refresh.msg.body(), initial.msg.body(), "there are servers that forget what is not said again");
    w.receive(SERVER, &published(&refresh, 200, "SIP-ETag: e2\r\nExpires: 60\r\n"));
    hang_up(&mut w, &dialog);
    let remove = w.expect(SERVER, "PUBLISH");
    assert_eq!((get(&remove.msg, Name::SipIfMatch), get(&remove.msg, Name::Expires)), ("e2".to_owned(), "0".to_owned()));
    // A server that says less than RFC 3903 wants is done as well.
    w.receive(SERVER, &published(&remove, 200, ""));
    w.wait(200 * SECOND);
    w.expect_nothing();
}

#[test]
fn a1_a_server_that_has_forgotten_the_publication_is_told_anew() {
    let mut w = world();
    let (dialog, initial) = talking(&mut w, "c1");
    w.receive(SERVER, &published(&initial, 200, "SIP-ETag: e1\r\nExpires: 60\r\n"));
    w.wait(SECOND * 301 / 10);
    let refresh = w.expect(SERVER, "PUBLISH");
    w.receive(SERVER, &published(&refresh, 412, ""));
    let again = w.expect(SERVER, "PUBLISH");
    assert!(again.msg.get(Name::SipIfMatch).is_none() && !again.msg.body().is_empty());
    w.receive(SERVER, &published(&again, 200, "SIP-ETag: e9\r\nExpires: 60\r\n"));
    hang_up(&mut w, &dialog);
    let remove = w.expect(SERVER, "PUBLISH");
    w.receive(SERVER, &published(&remove, 412, ""));
    w.wait(200 * SECOND);
    w.expect_nothing();
}

#[test]
fn a1_a_server_that_answers_nonsense_is_asked_again_later_and_not_at_once() {
    for (status, more) in [(412, ""), (200, ""), (200, "SIP-ETag: e1\r\nExpires: 0\r\n"), (423, "Min-Expires: 1\r\n"), (500, "")]
    {
        let mut w = world();
        let (_, first) = talking(&mut w, "c1");
        w.receive(SERVER, &published(&first, status, more));
        w.expect_nothing();
        w.wait(SECOND);
        w.expect_nothing();
        w.wait(SECOND * 11 / 10);
        let second = w.expect(SERVER, "PUBLISH");
        w.expect_nothing();
        w.receive(SERVER, &published(&second, status, more));
        w.wait(3 * SECOND);
        w.expect_nothing();
    }
}

#[test]
fn a1_a_server_that_wants_longer_publications_gets_them() {
    let mut w = world();
    let (_, first) = talking(&mut w, "c1");
    w.receive(SERVER, &published(&first, 423, "Min-Expires: 3600\r\n"));
    let second = w.expect(SERVER, "PUBLISH");
    assert_eq!(get(&second.msg, Name::Expires), "3600");
}

#[test]
fn a1_a_first_publication_is_short_and_the_one_after_it_long() {
    let mut w = world();
    let (_, first) = talking(&mut w, "c1");
    assert_eq!(get(&first.msg, Name::Expires), "60");
    w.receive(SERVER, &published(&first, 200, "SIP-ETag: e1\r\nExpires: 60\r\n"));
    w.wait(SECOND * 301 / 10);
    assert_eq!(get(&w.expect(SERVER, "PUBLISH").msg, Name::Expires), "900");
}

#[test]
fn a1_the_newest_wish_counts_and_an_old_retry_adds_nothing() {
    let mut w = world();
    let (dialog, first) = talking(&mut w, "c1");
    w.receive(SERVER, &published(&first, 503, ""));
    hang_up(&mut w, &dialog);
    // Nothing was published, nothing is to be removed; another call within the retry's time publishes once.
    w.expect_nothing();
    let (_, second) = talking(&mut w, "c2");
    w.receive(SERVER, &published(&second, 200, "SIP-ETag: e1\r\nExpires: 600\r\n"));
    w.wait(60 * SECOND);
    w.expect_nothing();
}

/// The tag that a PUBLISH is for; empty: it is a first one.
fn tag(publish: &Sent) -> String {
    get(&publish.msg, Name::SipIfMatch)
}

/// Alice's call was answered, published under `e1`, and the gateway is killed.
fn killed_in_a_call(w: &mut World) -> InDialog {
    let (dialog, first) = talking(w, "c1");
    w.receive(SERVER, &published(&first, 200, "SIP-ETag: e1\r\nExpires: 60\r\n"));
    w.restart();
    dialog
}

#[test]
fn a1_after_a_kill_the_publication_goes_on_under_its_tag_and_is_removed_once() {
    for same_boot in [true, false] {
        let mut w = world();
        let dialog = killed_in_a_call(&mut w);
        w.restart_as(same_boot, |_| {});
        w.take();
        w.wait(SECOND / 10);
        let refresh = w.expect(SERVER, "PUBLISH");
        assert!(tag(&refresh) == "e1" && !refresh.msg.body().is_empty(), "{}", text(&refresh.msg));
        w.receive(SERVER, &published(&refresh, 200, "SIP-ETag: e2\r\nExpires: 900\r\n"));
        hang_up(&mut w, &dialog);
        let remove = w.expect(SERVER, "PUBLISH");
        assert_eq!((tag(&remove), get(&remove.msg, Name::Expires)), ("e2".to_owned(), "0".to_owned()));
        w.receive(SERVER, &published(&remove, 200, ""));
        assert_eq!(w.kept(Table::Publication), 0);
        w.wait(1000 * SECOND);
        w.expect_nothing();
    }
}

#[test]
fn a1_a_removal_that_a_kill_cut_short_is_sent_again_under_its_tag() {
    let mut w = world();
    let (dialog, first) = talking(&mut w, "c1");
    w.receive(SERVER, &published(&first, 200, "SIP-ETag: e1\r\nExpires: 60\r\n"));
    hang_up(&mut w, &dialog);
    w.expect(SERVER, "PUBLISH");
    w.restart();
    w.wait(SECOND / 10);
    let remove = w.expect(SERVER, "PUBLISH");
    assert_eq!((tag(&remove), get(&remove.msg, Name::Expires)), ("e1".to_owned(), "0".to_owned()));
    w.receive(SERVER, &published(&remove, 412, ""));
    assert_eq!(w.kept(Table::Publication), 0);
    w.wait(200 * SECOND);
    w.expect_nothing();
}

#[test]
fn a1_a_first_publication_without_an_answer_at_the_kill_is_sent_again_once() {
    let mut w = world();
    talking(&mut w, "c1");
    w.restart();
    w.wait(SECOND / 10);
    let again = w.expect(SERVER, "PUBLISH");
    assert!(tag(&again).is_empty() && !again.msg.body().is_empty());
    w.receive(SERVER, &published(&again, 200, "SIP-ETag: e1\r\nExpires: 60\r\n"));
    w.wait(10 * SECOND);
    assert!(w.take().iter().all(|s| !text(&s.msg).starts_with("PUBLISH")));
}

#[test]
fn a1_a_tag_that_the_server_has_forgotten_over_a_kill_makes_a_first_publication() {
    let mut w = world();
    killed_in_a_call(&mut w);
    w.wait(SECOND / 10);
    let refresh = w.expect(SERVER, "PUBLISH");
    w.receive(SERVER, &published(&refresh, 412, ""));
    let first = w.expect(SERVER, "PUBLISH");
    assert!(tag(&first).is_empty() && !first.msg.body().is_empty());
}

#[test]
fn a1_a_tag_is_shown_to_no_other_server_than_its_own() {
    let mut w = world();
    let other = "127.0.0.1:15098";
    killed_in_a_call(&mut w);
    w.restart_as(true, |setup| *setup = e911d::bridge::Setup { era: setup.era, ..crate::world::setup(&config(other, ""), 1) });
    w.wait(SECOND / 10);
    assert_eq!(tag(&w.expect(other, "PUBLISH")), "");
    assert_eq!(w.kept(Table::Publication), 0);
}

#[test]
fn a1_a_removal_that_is_refused_is_given_up_when_the_publication_is_over_anyway() {
    let mut w = world();
    let (dialog, first) = talking(&mut w, "c1");
    w.receive(SERVER, &published(&first, 200, "SIP-ETag: e1\r\nExpires: 60\r\n"));
    hang_up(&mut w, &dialog);
    let mut asked = 0;
    for _ in 0..3000 {
        for publish in w.take() {
            assert!(text(&publish.msg).starts_with("PUBLISH"));
            asked += 1;
            w.receive(SERVER, &published(&publish, 403, ""));
        }
        w.wait(SECOND);
    }
    assert!((3..10).contains(&asked), "{asked} times");
    assert_eq!(w.kept(Table::Publication), 0);
}

#[test]
fn a1_what_is_set_by_hand_during_the_call_is_shown_after_it_also_after_a_kill() {
    for killed in [false, true] {
        let mut w = world();
        let (dialog, first) = talking(&mut w, "c1");
        w.receive(SERVER, &published(&first, 200, "SIP-ETag: e1\r\nExpires: 900\r\n"));
        w.shard.tell(Input::SetPresence { agent: AgentId(0), state: PresenceState::Away, note: Private::new("") }, w.now);
        w.wait(SECOND);
        w.expect_nothing();
        if killed {
            w.restart();
            w.wait(SECOND / 10);
            let refresh = w.expect(SERVER, "PUBLISH");
            w.receive(SERVER, &published(&refresh, 200, "SIP-ETag: e1\r\nExpires: 900\r\n"));
        }
        hang_up(&mut w, &dialog);
        let changed = w.expect(SERVER, "PUBLISH");
        let body = String::from_utf8_lossy(changed.msg.body()).into_owned();
        assert!(tag(&changed) == "e1" && body.contains("<rpid:away/>") && !body.contains("disturb"), "{}", text(&changed.msg));
        w.receive(SERVER, &published(&changed, 200, "SIP-ETag: e2\r\nExpires: 900\r\n"));
        if killed {
            w.restart();
            w.wait(SECOND / 10);
            let refresh = w.expect(SERVER, "PUBLISH");
            assert!(tag(&refresh) == "e2" && !refresh.msg.body().is_empty(), "{}", text(&refresh.msg));
            w.receive(SERVER, &published(&refresh, 200, "SIP-ETag: e2\r\nExpires: 900\r\n"));
        }
        w.shard.tell(Input::SetPresence { agent: AgentId(0), state: PresenceState::Available, note: Private::new("") }, w.now);
        w.wait(SECOND);
        let remove = w.expect(SERVER, "PUBLISH");
        assert_eq!((tag(&remove), get(&remove.msg, Name::Expires)), ("e2".to_owned(), "0".to_owned()));
    }
}

const KEYS: &str = "username = \"gw-user\"\npassword = \"secret\"\n";

fn asks(to: &Sent, status: u16, nonce: &str) -> String {
    let name = if status == 401 { "WWW-Authenticate" } else { "Proxy-Authenticate" };
    published(to, status, &format!("{name}: {}\r\n", challenge("presence", nonce, Algorithm::Sha256, false)))
}

#[test]
fn a1_the_presence_servers_challenge_is_answered_and_a_refusal_only_later() {
    for (status, name) in [(401, Name::Authorization), (407, Name::ProxyAuthorization)] {
        let mut w = with(KEYS);
        let (_, first) = talking(&mut w, "c1");
        w.receive(SERVER, &asks(&first, status, "n1"));
        let second = w.expect(SERVER, "PUBLISH");
        let credentials = second.msg.get(name).and_then(Credentials::parse).expect("credentials");
        let ha1 = Ha1::new(credentials.algorithm, b"gw-user", b"presence", b"secret");
        let asked = Asked { method: second.msg.method_bytes(), uri: second.msg.uri(), body: second.msg.body() };
        assert!(credentials.prove(&ha1, &asked), "{}", text(&second.msg));
        w.expect_nothing();
        // The password is wrong: no storm.
        w.receive(SERVER, &asks(&second, status, "n2"));
        w.wait(SECOND);
        w.expect_nothing();
        w.wait(SECOND * 11 / 10);
        assert!(w.expect(SERVER, "PUBLISH").msg.get(name).is_none());
    }
}

#[test]
fn a1_credentials_of_the_presence_server_answer_no_trunk() {
    let mut w = with(KEYS);
    w.receive(PBX, &invite(PBX, "bob", "911", "c1"));
    let out = w.expect(TRUNK_A, "INVITE");
    w.receive(TRUNK_A, &asks(&out, 407, "n1"));
    w.expect(TRUNK_A, "ACK");
    assert!(!w.take().iter().any(|s| text(&s.msg).contains("Authorization")));
}

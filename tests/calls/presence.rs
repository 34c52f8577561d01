//! PUBLISH as a presence server may take it (RFC 3903).

use crate::world::*;
use e911d::sip::Name;
use std::time::Duration;

const SERVER: &str = "127.0.0.1:15097";
const SECOND: Duration = Duration::from_secs(1);

fn world() -> World {
    World::with(&format!("{CONFIG}[presence]\nkind = \"sip-publish\"\nserver = \"sip:presence@{SERVER}\"\n"))
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
    assert!(refresh.msg.body().is_empty(), "a refresh has no body (RFC 3903 section 4.3)");
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

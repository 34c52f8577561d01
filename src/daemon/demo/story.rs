//! The story: what the neighbours do, in order, and what each of them has to see.
//!
//! Every claim is a check on bytes that a neighbour has received from the daemon; the first one that does not hold ends
//! the demo. Read [`play`] first.

use std::time::Duration;

use bytes::Bytes;

use super::Failure;
use super::caption::{called, caller};
use super::child::Child;
use super::ladder::Column::{self, CarrierA, CarrierB, Gateway, Mailbox, Pbx};
use super::mailbox::Mail;
use super::neighbour::{Call, Dialog};
use super::pbx::contains;
use super::setting::{ALICES_NUMBER, FRONT_DESK, NUMBERS};
use super::stage::{Received, Stage};
use crate::io::clock;
use crate::sip::header::{NameAddr, values};
use crate::sip::{Message, Method, Name};
use crate::words::Time;

/// What must not reach the carriers: Alice's name, her user at the PBX, her number.
const TRACES: &[&str] = &["alice", "andersen", "5550142"];
/// How long the played people take.
const A_MOMENT: Duration = Duration::from_millis(150);
const A_BREATH: Duration = Duration::from_millis(350);

/// Plays it. Everything was seen if there is no failure.
pub(super) fn play(stage: &mut Stage, child: &mut Child) -> Result<(), Failure> {
    let mut call = alice_dials_911(stage)?;
    the_daemon_is_killed(stage, child)?;
    the_line_drops(stage, &mut call)?;
    let ordinary = somebody_else_calls_alice(stage)?;
    let mut callback = the_psap_calls_back(stage, &call.number)?;
    alice_hangs_up(stage, &mut callback, &call.number)?;
    nothing_of_alice(stage, &ordinary)
}

/// A call that is up, seen from both of its ends.
struct Up {
    /// At the PBX.
    near: Dialog,
    /// At the PSAP.
    far: Dialog,
    /// The callback number.
    number: String,
}

fn alice_dials_911(stage: &mut Stage) -> Result<Up, Failure> {
    stage.chapter(
        1,
        "Alice dials 911",
        "carrier-a refuses, so carrier-b gets the call at once. The PSAP sees a callback number of the trunk that carries \
         the call, leased to Alice, and nothing of Alice herself. Meanwhile her presence says do not disturb, and the front \
         desk has mail.",
    );
    let call = Call {
        uri: format!("sip:911@{}", stage.gateway()),
        from: "\"Alice Andersen\" <sip:alice@pbx.example.com>".to_owned(),
        call_id: "alice-dials-911@pbx.example.com".to_owned(),
        more: vec![
            ("P-Asserted-Identity", format!("\"Alice Andersen\" <sip:alice@pbx.example.com>, <tel:{ALICES_NUMBER}>")),
            ("User-Agent", "Alice's phone".to_owned()),
        ],
    };
    let (dialed, _) = place(stage, Pbx, &call)?;

    let first = stage.request(CarrierA, Method::Invite)?;
    let first_number = shown_to_psap(&first, 0)?;
    stage.seen(CarrierA, "was asked first, and refused the call");
    stage.answer(&first, 503, "Service Unavailable")?;

    let second = stage.request(CarrierB, Method::Invite)?;
    let number = shown_to_psap(&second, 1)?;
    let after = millis(second.time.since(dialed));
    stage.seen(CarrierB, &format!("got the call {after} after Alice had dialed 911"));
    stage.seen(CarrierB, &format!("saw the callback number {number}, and nothing of Alice"));

    stage.pause(A_MOMENT)?;
    stage.answer(&second, 180, "Ringing")?;
    stage.response(Pbx, Method::Invite, 180)?;
    stage.seen(Pbx, "heard 911 ring");
    stage.pause(A_BREATH)?;
    stage.answer(&second, 200, "OK")?;
    let answer = stage.response(Pbx, Method::Invite, 200)?;
    let mut near = Dialog::of_caller(&answer.msg);
    stage.say(Pbx, &mut near, "ACK")?;
    stage.request(CarrierB, Method::Ack)?;
    stage.check(Pbx, !answer.msg.body().is_empty(), "was connected with the PSAP")?;

    stage.request(Pbx, Method::Publish)?;
    let busy = stage.rules.do_not_disturb();
    stage.check(Pbx, busy, "was told by PUBLISH: Alice is not to be disturbed")?;
    let is_told = |m: &Mail| m.text.contains(&first_number) && contains(m.text.as_bytes(), "no location was sent");
    let mail = stage.mail("a mail with the callback number, and what location was sent", is_told)?;
    let what = "\"Alice has called 911\", with the callback number, and that no location was sent";
    stage.check(Mailbox, mail.to == [FRONT_DESK], what)?;
    Ok(Up { near, far: Dialog::of_callee(&second.msg), number })
}

fn the_daemon_is_killed(stage: &mut Stage, child: &mut Child) -> Result<(), Failure> {
    stage.chapter(
        2,
        "e911d is killed",
        "SIGKILL, in the middle of the call. PBX and PSAP talk on: their audio does not pass e911d. It is started again and \
         reads back what it had on disk: the call, and whose the callback number is.",
    );
    stage.pause(A_BREATH)?;
    let killed = clock::now();
    child.kill_and_start()?;
    child.ready(|| stage.is_interrupted())?;
    let after = millis(clock::now().since(killed));
    stage.seen(Gateway, &format!("was killed, and answered again {after} later"));
    Ok(())
}

fn the_line_drops(stage: &mut Stage, call: &mut Up) -> Result<(), Failure> {
    stage.chapter(
        3,
        "The line drops",
        "carrier-b ends the call: e911d knows it still. The number stays Alice's for at least 60 minutes.",
    );
    stage.pause(A_BREATH)?;
    stage.say(CarrierB, &mut call.far, "BYE")?;
    let bye = stage.request(Pbx, Method::Bye)?;
    stage.answer(&bye, 200, "OK")?;
    stage.response(CarrierB, Method::Bye, 200)?;
    stage.check(Pbx, bye.msg.call_id() == call.near.call_id().as_bytes(), "saw the call end")?;
    let number = call.number.clone();
    stage.mail("a mail that the call was cut off", |m| m.text.contains("outcome dropped") && m.text.contains(&number))?;
    stage.seen(Mailbox, "\"the call was cut off\"");
    Ok(())
}

/// Gives back the Call-ID of the ordinary call.
fn somebody_else_calls_alice(stage: &mut Stage) -> Result<Bytes, Failure> {
    stage.chapter(
        4,
        "Somebody else calls Alice",
        "An ordinary call to Alice's own number goes to her PBX, by the PBX's own rules: it honours do not disturb.",
    );
    stage.pause(A_BREATH)?;
    let call = Call {
        uri: format!("sip:{ALICES_NUMBER}@{}", stage.gateway()),
        from: "<sip:+13605550177@carrier-b.example.com>".to_owned(),
        call_id: "somebody-else@carrier-b.example.com".to_owned(),
        more: Vec::new(),
    };
    let (_, sent) = place(stage, CarrierB, &call)?;
    let invite = stage.request(Pbx, Method::Invite)?;
    let refused = !stage.rules.lets_ring(&invite.msg);
    stage.check(Pbx, refused, "refused an ordinary call to Alice: do not disturb")?;
    stage.answer(&invite, 486, "Busy Here")?;
    stage.request(Pbx, Method::Ack)?;
    let busy = stage.response(CarrierB, Method::Invite, 486)?;
    if let Some(ack) = stage.neighbour(CarrierB)?.ack_refusal(&sent, &busy.msg) {
        stage.send(CarrierB, &ack)?;
    }
    Ok(Bytes::copy_from_slice(busy.msg.call_id()))
}

fn the_psap_calls_back(stage: &mut Stage, number: &str) -> Result<Up, Failure> {
    stage.chapter(
        5,
        "The PSAP calls back",
        "It dials the number that it saw. e911d knows by it whom to ring, and marks the call as a PSAP's: that one her PBX \
         lets through.",
    );
    stage.pause(A_BREATH)?;
    let call = Call {
        uri: format!("sip:{number}@{}", stage.gateway()),
        from: "<sip:+12065550190@carrier-b.example.com>".to_owned(),
        call_id: "the-psap-calls-back@carrier-b.example.com".to_owned(),
        more: vec![("Priority", "psap-callback".to_owned())],
    };
    let (dialed, _) = place(stage, CarrierB, &call)?;
    let invite = stage.request(Pbx, Method::Invite)?;
    let to_alice = called(&invite.msg) == "alice" && caller(&invite.msg) == "+12065550190";
    stage.check(Pbx, to_alice, "got the PSAP's call, to Alice herself")?;
    let rings = stage.rules.do_not_disturb() && stage.rules.lets_ring(&invite.msg);
    stage.check(Pbx, rings, "let it ring past do not disturb: Priority: psap-callback")?;
    stage.answer(&invite, 180, "Ringing")?;
    let ringing = stage.response(CarrierB, Method::Invite, 180)?;
    let after = millis(ringing.time.since(dialed));
    stage.seen(CarrierB, &format!("called {number} and heard Alice's phone ring after {after}"));
    stage.pause(A_BREATH)?;
    stage.answer(&invite, 200, "OK")?;
    let answer = stage.response(CarrierB, Method::Invite, 200)?;
    let mut far = Dialog::of_caller(&answer.msg);
    stage.say(CarrierB, &mut far, "ACK")?;
    stage.request(Pbx, Method::Ack)?;
    stage.check(CarrierB, !answer.msg.body().is_empty(), "talked with Alice")?;
    Ok(Up { near: Dialog::of_callee(&invite.msg), far, number: number.to_owned() })
}

fn alice_hangs_up(stage: &mut Stage, call: &mut Up, number: &str) -> Result<(), Failure> {
    stage.chapter(6, "Alice hangs up", "She has ended it herself, so her presence is restored at once.");
    stage.pause(A_BREATH)?;
    stage.say(Pbx, &mut call.near, "BYE")?;
    let bye = stage.request(CarrierB, Method::Bye)?;
    stage.answer(&bye, 200, "OK")?;
    stage.response(Pbx, Method::Bye, 200)?;
    stage.check(CarrierB, bye.msg.call_id() == call.far.call_id().as_bytes(), "saw Alice hang up")?;
    stage.expect(Pbx, "PUBLISH with Expires: 0", |m| m.method() == Method::Publish && m.get(Name::Expires) == Some(b"0"))?;
    let restored = !stage.rules.do_not_disturb();
    stage.check(Pbx, restored, "was told by PUBLISH: Alice is as before")?;
    stage.mail("a mail that the PSAP called back", |m| m.text.contains("outcome called_back") && m.text.contains(number))?;
    stage.seen(Mailbox, "\"the PSAP has called Alice back\"");
    // The answers to what came last.
    stage.pause(Duration::from_millis(30))
}

/// RULES L8, over everything that the carriers have received but the ordinary call, which was dialed to her.
fn nothing_of_alice(stage: &mut Stage, ordinary: &Bytes) -> Result<(), Failure> {
    let is_clean = |msg: &&Message| !TRACES.iter().any(|trace| contains(msg.bytes(), trace));
    let emergency = |by| stage.heard(by).filter(|m| m.call_id() != ordinary).collect::<Vec<_>>();
    let all: Vec<_> = [CarrierA, CarrierB].into_iter().flat_map(emergency).collect();
    let (count, clean) = (all.len(), all.iter().all(is_clean));
    stage.check(CarrierB, clean, &format!("found no trace of Alice in any of the {count} messages of both calls"))
}

/// Calls the gateway. Gives back when, and what was sent.
fn place(stage: &mut Stage, from: Column, call: &Call) -> Result<(Time, Bytes), Failure> {
    let bytes = stage.neighbour(from)?.invite(call);
    let time = stage.send(from, &bytes)?;
    Ok((time, bytes))
}

/// RULES L8: From, P-Asserted-Identity and Contact carry one callback number of this trunk; gives it back.
fn shown_to_psap(invite: &Received, trunk: usize) -> Result<String, Failure> {
    let msg = &invite.msg;
    let number = caller(msg);
    let ours = NUMBERS.get(trunk).is_some_and(|first| number.starts_with(first) && number.len() == first.len() + 1);
    let asserted: Vec<_> = msg.all(Name::PAssertedIdentity).flat_map(values).filter_map(NameAddr::parse).collect();
    let contact = msg.get(Name::Contact).and_then(NameAddr::parse);
    let everywhere = !asserted.is_empty() && asserted.iter().chain(&contact).all(|n| contains(n.uri, &number));
    Stage::must(invite.by, called(msg) == "911" && ours && everywhere && contact.is_some(), "911 with a callback number")?;
    let clean = !TRACES.iter().any(|trace| contains(msg.bytes(), trace));
    Stage::must(invite.by, clean, "911 without a trace of Alice")?;
    Ok(number)
}

fn millis(span: Duration) -> String {
    format!("{:.1} ms", span.as_secs_f64() * 1000.0)
}

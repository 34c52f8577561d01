//! Steps that several stories share.

use std::time::Duration;

use super::gateway::{DOMAIN, World};
use super::message::{Message, user};
use super::sipp::{Sipp, Trace};

/// A PSAP's number.
pub const PSAP: &str = "+12065559111";

/// A 911 call of `agent` through the PBX and `carrier-a`, answered and ended; gives the callback number that was shown.
pub fn number_after_911(world: &World, agent: &str) -> String {
    let trunk = Sipp::answers("uas_answer.xml", world.transport, world.trunk_a()).hold(Duration::from_millis(20)).start();
    Sipp::calls("uac_call.xml", world.transport, world.pbx(), world.at(), agent, &world.uri("911")).run();
    shown_number(trunk.finish().request("INVITE"))
}

/// The PSAP calls a number back over `carrier-a`; SIPp as it is about to start.
pub fn psap_calls(world: &World, scenario: &'static str, number: &str) -> Sipp {
    Sipp::calls(scenario, world.transport, world.trunk_a(), world.at(), PSAP, &world.uri(number))
}

/// The callback number in an emergency INVITE; checks on the way all of RULES L8 that can be seen in any such INVITE.
pub fn shown_number(invite: &Message) -> String {
    let number = invite.user_of("From").to_owned();
    assert!(number.starts_with("+1") && number.len() == 12, "From is no callback number:\n{}", invite.text());
    assert_eq!(invite.uri_of("From"), format!("sip:{number}@{DOMAIN}"));
    assert_eq!(invite.user_of("Contact"), number);
    let asserted: Vec<_> =
        invite.all("P-Asserted-Identity").flat_map(|v| v.split(',')).map(|v| v.trim().trim_matches(['<', '>'])).collect();
    assert_eq!(asserted, [format!("sip:{number}@{DOMAIN}"), format!("tel:{number}")]);
    assert!(asserted.iter().all(|uri| user(uri) == number));
    assert_eq!(invite.uri_of("To"), invite.uri(), "To equals the Request-URI");
    number
}

/// Nothing in the headers says any of these words (RULES L8).
pub fn assert_headers_hide(message: &Message, words: &[&str]) {
    let text = message.text();
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    for word in words {
        assert!(!head.contains(word), "{word} is told:\n{head}");
    }
}

/// Nothing that a trunk received in a whole call says any of these words.
pub fn assert_trace_hides(trace: &Trace, words: &[&str]) {
    for message in trace.received() {
        assert_headers_hide(message, words);
    }
}

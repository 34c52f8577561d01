//! A notice as JSON to `notify.webhook`: the second way to tell people, out of the same outbox as mail.
//!
//! One POST a notice, with the fields of the templates under their names. Its `id`, also in the header
//! `Idempotency-Key`, is the same at every try.

use super::outbox::{Letter, Way};
use super::template::{Language, Written};
use crate::emergency::notice::{Kind, Notice};
use crate::words::{Private, wall};
use serde::Serialize;
use std::time::Duration;

/// The body. Names are stable.
#[derive(Serialize)]
struct Body<'a> {
    /// Tells this notice from all others.
    id: &'a str,
    /// `emergency`, `outcome`, `test`, `callback`.
    kind: &'static str,
    agent_id: &'a str,
    agent_name: &'a str,
    /// When the call came in (RFC 3339).
    time: String,
    /// E.164.
    callback_number: Option<String>,
    /// What was sent to the PSAP; null: nothing was (47 CFR 9.16), or in a `callback` that this notice does not tell.
    location: Option<&'a str>,
    dialed: &'static str,
    path: &'static str,
    outcome: Option<&'static str>,
    /// Seconds.
    duration: Option<u64>,
    /// What was out of the ordinary.
    remark: Option<&'static str>,
    language: &'static str,
    /// What a mail says.
    subject: &'a str,
    text: &'a str,
}

/// The one letter of a notice. `called` is when the call came in, since the Unix epoch; `series` the notice's own name.
pub(super) fn letter(notice: &Notice, written: &Written, called: Duration, series: &str) -> Letter {
    let language: Language = written.language;
    let body = Body {
        id: series,
        kind: word(notice.kind),
        agent_id: notice.agent_id.reveal(),
        agent_name: notice.agent_name.reveal(),
        time: wall::rfc3339(called),
        callback_number: notice.callback_number.as_ref().map(|n| n.reveal().to_string()),
        location: notice.location.as_ref().map(|l| l.reveal().as_str()),
        dialed: notice.dialed,
        path: notice.path,
        outcome: notice.outcome.map(crate::emergency::privacy::Outcome::word),
        duration: notice.duration.map(|d| d.as_secs()),
        remark: notice.remark,
        language: language.code(),
        subject: &written.subject,
        text: &written.text,
    };
    let content = serde_json::to_vec(&body).unwrap_or_default();
    Letter { name: format!("{series}.hook"), way: Way::Webhook, to: Private::default(), content: Private::new(content) }
}

const fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Emergency => "emergency",
        Kind::Outcome => "outcome",
        Kind::Test => "test",
        Kind::Callback => "callback",
    }
}

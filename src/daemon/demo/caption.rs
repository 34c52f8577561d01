//! What is said of a message in the ladder: its first words, and what matters in it.
//!
//! Read off the message's own bytes, so that the ladder shows what was on the wire and not what was meant.

use super::ladder::Caption;
use super::mailbox::Mail;
use super::paint::Tone;
use crate::sip::header::NameAddr;
use crate::sip::{Message, Method, Name};
use crate::words::Uri;

/// The words for a SIP message.
pub(super) fn of_message(msg: &Message) -> Caption {
    if msg.is_request() { of_request(msg) } else { of_response(msg) }
}

/// The words for a mail.
pub(super) fn of_mail(mail: &Mail) -> Caption {
    Caption { label: "mail".to_owned(), detail: mail.subject.clone(), short: mail.subject.clone(), tone: Tone::Mail }
}

/// The user of the From, or its host where there is none.
pub(super) fn caller(msg: &Message) -> String {
    msg.get(Name::From).and_then(NameAddr::parse).map(|n| user(n.uri)).unwrap_or_default()
}

/// The user of the Request-URI, or its host where there is none.
pub(super) fn called(msg: &Message) -> String {
    user(msg.uri())
}

fn of_request(msg: &Message) -> Caption {
    let method = String::from_utf8_lossy(msg.method_bytes()).into_owned();
    let (label, detail, short) = match msg.method() {
        Method::Invite => {
            let (detail, short) = about_invite(msg);
            (format!("{method} {}", called(msg)), detail, short)
        }
        Method::Publish => (method, about_publish(msg), "presence".to_owned()),
        _ => (method, String::new(), String::new()),
    };
    let tone = if msg.method() == Method::Ack { Tone::Faint } else { Tone::Request };
    Caption { label, detail, short, tone }
}

fn about_invite(msg: &Message) -> (String, String) {
    match msg.get(Name::Priority) {
        Some(priority) => {
            let priority = String::from_utf8_lossy(priority).into_owned();
            (format!("Priority: {priority}"), priority)
        }
        None => (format!("From: {}", caller(msg)), caller(msg)),
    }
}

/// RFC 3903: the note of the state that is published (RFC 3863 section 4.1.8), or that it is removed.
fn about_publish(msg: &Message) -> String {
    if msg.get(Name::Expires) == Some(b"0") {
        return "Expires: 0".to_owned();
    }
    let body = String::from_utf8_lossy(msg.body());
    let note = body.split_once("<note>").and_then(|(_, rest)| rest.split_once("</note>"));
    note.map_or_else(|| "a state".to_owned(), |(note, _)| note.to_owned())
}

fn of_response(msg: &Message) -> Caption {
    let label = format!("{} {}", msg.status(), String::from_utf8_lossy(msg.reason()));
    let tone = match (msg.method(), msg.status()) {
        (_, 100) => Tone::Faint,
        (_, 101..=199) => Tone::Plain,
        (Method::Invite, 200..=299) => Tone::Good,
        (_, 200..=299) => Tone::Faint,
        _ => Tone::Refused,
    };
    Caption { label, detail: String::new(), short: String::new(), tone }
}

fn user(uri: &[u8]) -> String {
    let part = Uri::parse(uri).map_or(uri, |u| u.user.unwrap_or(u.host));
    String::from_utf8_lossy(part).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn words(text: &'static str) -> (String, String, Tone) {
        let c = of_message(&Message::scan(Bytes::from_static(text.as_bytes())).expect("a message"));
        (c.label, c.detail, c.tone)
    }

    #[test]
    fn a_message_is_said_in_a_few_words() {
        let head =
            "Via: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: \"A\" <sip:alice@pbx>;tag=1\r\nTo: <sip:911@gw>\r\nCall-ID: 1\r\n";
        for (start, cseq, more, label, detail, tone) in [
            ("INVITE sip:911@gw SIP/2.0", "1 INVITE", "", "INVITE 911", "From: alice", Tone::Request),
            ("INVITE urn:service:sos SIP/2.0", "1 INVITE", "", "INVITE service:sos", "From: alice", Tone::Request),
            (
                "INVITE sip:a@h SIP/2.0",
                "1 INVITE",
                "Priority: psap-callback\r\n",
                "INVITE a",
                "Priority: psap-callback",
                Tone::Request,
            ),
            ("ACK sip:911@gw SIP/2.0", "1 ACK", "", "ACK", "", Tone::Faint),
            ("PUBLISH sip:a@h SIP/2.0", "1 PUBLISH", "Expires: 0\r\n", "PUBLISH", "Expires: 0", Tone::Request),
            (
                "PUBLISH sip:a@h SIP/2.0",
                "1 PUBLISH",
                "Expires: 3600\r\n\r\n<note>Do not disturb</note>",
                "PUBLISH",
                "Do not disturb",
                Tone::Request,
            ),
            ("SIP/2.0 200 OK", "1 INVITE", "", "200 OK", "", Tone::Good),
            ("SIP/2.0 200 OK", "2 BYE", "", "200 OK", "", Tone::Faint),
            ("SIP/2.0 486 Busy Here", "1 INVITE", "", "486 Busy Here", "", Tone::Refused),
        ] {
            let text: &'static str = Box::leak(format!("{start}\r\n{head}CSeq: {cseq}\r\n{more}\r\n").into_boxed_str());
            assert_eq!(words(text), (label.to_owned(), detail.to_owned(), tone), "{start}");
        }
    }
}

//! The played PBX's own rules: its presence table, and do not disturb.
//!
//! It is told who wants no calls by PUBLISH (RFC 3903), and then refuses every call to her but one that is marked as
//! a PSAP's (RFC 7090).

use crate::sip::{Message, Name};

/// What it knows of Alice.
#[derive(Debug, Default)]
pub(super) struct Rules {
    do_not_disturb: bool,
}

/// An answer: status, reason and header fields.
pub(super) type Answer = (u16, &'static str, &'static [(&'static str, &'static str)]);

const ETAG: &str = "dnd-1";

impl Rules {
    /// Takes a publication: one with a state, or the removal of that one.
    pub(super) fn publish(&mut self, msg: &Message) -> Answer {
        let removes = msg.get(Name::Expires) == Some(b"0");
        let refers = msg.get(Name::SipIfMatch).map(|etag| etag == ETAG.as_bytes());
        if refers == Some(false) || (removes && refers.is_none()) {
            return (412, "Conditional Request Failed", &[]);
        }
        if removes {
            self.do_not_disturb = false;
            return (200, "OK", &[("SIP-ETag", ETAG), ("Expires", "0")]);
        }
        self.do_not_disturb = contains(msg.body(), "busy");
        (200, "OK", &[("SIP-ETag", ETAG), ("Expires", "3600")])
    }

    /// Whether Alice is shown as not to be disturbed.
    pub(super) const fn do_not_disturb(&self) -> bool {
        self.do_not_disturb
    }

    /// Whether a call to her rings.
    pub(super) fn lets_ring(&self, invite: &Message) -> bool {
        !self.do_not_disturb || invite.get(Name::Priority).is_some_and(|p| p.eq_ignore_ascii_case(b"psap-callback"))
    }
}

/// Whether bytes contain a text, any case.
pub(super) fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len().max(1)).any(|w| w.eq_ignore_ascii_case(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn message(start: &str, more: &str, body: &str) -> Message {
        let text = format!(
            "{start} SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\n{more}\r\n{body}"
        );
        Message::scan(Bytes::from(text)).expect("a message")
    }

    #[test]
    fn do_not_disturb_refuses_every_call_but_a_psaps() {
        let mut rules = Rules::default();
        let (plain, psap) = (message("INVITE sip:a@h", "", ""), message("INVITE sip:a@h", "Priority: psap-callback\r\n", ""));
        assert!(rules.lets_ring(&plain));
        assert_eq!(rules.publish(&message("PUBLISH sip:a@h", "Expires: 60\r\n", "<rpid:busy/>")).0, 200);
        assert!(rules.do_not_disturb() && !rules.lets_ring(&plain) && rules.lets_ring(&psap));
        assert_eq!(rules.publish(&message("PUBLISH sip:a@h", "Expires: 0\r\n", "")).0, 412);
        assert_eq!(rules.publish(&message("PUBLISH sip:a@h", "Expires: 0\r\nSIP-If-Match: other\r\n", "")).0, 412);
        assert!(rules.do_not_disturb());
        assert_eq!(rules.publish(&message("PUBLISH sip:a@h", "Expires: 0\r\nSIP-If-Match: dnd-1\r\n", "")).0, 200);
        assert!(rules.lets_ring(&plain));
    }
}

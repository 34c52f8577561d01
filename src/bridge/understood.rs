//! Whether we understand an ordinary request well enough to act on it (RFC 3261 sections 8.2.2.1 and 8.2.2.3).
//!
//! Emergencies are never asked: what they require beyond us is dropped (RULES R4).

use crate::sip::header::values;
use crate::sip::write::Writer;
use crate::sip::{Message, Name};
use crate::words::{Scheme, Uri};

/// Extensions that calls may require of us: we keep to them, or they hold between the two ends and pass through us whole.
/// Those that name another dialog (`replaces`, `join`, `tdialog`) are not here: the other side knows it by another name.
const EXTENSIONS: [&str; 22] = [
    "100rel",
    "199",
    "answermode",
    "early-session",
    "from-change",
    "geolocation-http",
    "geolocation-sip",
    "gruu",
    "histinfo",
    "ice",
    "norefersub",
    "outbound",
    "path",
    "precondition",
    "pref",
    "privacy",
    "record-aware",
    "resource-priority",
    "sdp-anat",
    "siprec",
    "timer",
    "uui",
];

/// What of a request is beyond us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beyond {
    /// A Request-URI of a scheme that leads nowhere from here: 416.
    Scheme,
    /// A required extension: 420.
    Extension,
}

impl Beyond {
    /// What of this request is beyond us, in the order of RFC 3261 section 8.2.2.
    pub(super) fn of(msg: &Message) -> Option<Self> {
        let routable = Uri::parse(msg.uri()).is_some_and(|u| matches!(u.scheme, Scheme::Sip | Scheme::Sips | Scheme::Tel));
        if !routable {
            return Some(Self::Scheme);
        }
        unknown(msg).next().map(|_| Self::Extension)
    }

    /// The status that says so.
    pub(super) const fn status(self) -> u16 {
        match self {
            Self::Scheme => 416,
            Self::Extension => 420,
        }
    }

    /// What the response names beside its status.
    pub(super) fn write(self, w: &mut Writer, msg: &Message) {
        if self == Self::Extension {
            for tag in unknown(msg) {
                w.header("Unsupported", tag);
            }
        }
    }
}

fn unknown(msg: &Message) -> impl Iterator<Item = &[u8]> {
    msg.all(Name::Require).flat_map(values).filter(|tag| !is_understood(tag))
}

/// Whether this option tag is one of [`EXTENSIONS`].
pub(super) fn is_understood(tag: &[u8]) -> bool {
    EXTENSIONS.iter().any(|e| tag.eq_ignore_ascii_case(e.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beyond(uri: &str, fields: &str) -> Option<u16> {
        let text = format!("INVITE {uri} SIP/2.0\r\n{fields}\r\n");
        Beyond::of(&Message::scan(text.into()).expect("a start line")).map(Beyond::status)
    }

    #[test]
    fn what_is_beyond_us_is_a_scheme_or_an_extension() {
        for (uri, fields, want) in [
            ("sip:a@b", "", None),
            ("sips:a@b", "Require: 100rel, TIMER\r\n", None),
            ("tel:+14255550100", "Supported: nothing\r\nProxy-Require: foo\r\n", None),
            ("soap.beep://192.0.2.103:3002", "Require: foo\r\n", Some(416)),
            ("urn:service:counseling", "", Some(416)),
            ("name:John_Smith", "", Some(416)),
            ("sip:a@b", "Require: foo\r\n", Some(420)),
            ("sip:a@b", "Require: timer,\r\n foo\r\n", Some(420)),
            ("sip:a@b", "Require: replaces\r\n", Some(420)),
        ] {
            assert_eq!(beyond(uri, fields), want, "{uri} {fields:?}");
        }
    }
}

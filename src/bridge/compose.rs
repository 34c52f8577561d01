//! What of a message goes along to the other side.
//!
//! Relayed messages are copy-edited from their own bytes: a header field that goes along goes byte for byte. Which
//! ones do is decided by who gets them, see [`Dress`].

use crate::emergency::path::asks_for_protection;
use crate::sip::header::{split_params, values};
use crate::sip::scan::Header;
use crate::sip::write::Writer;
use crate::sip::{Flow, Locals, Message, Name, sdp};
use crate::words::uri::{Scheme, Uri};
use bytes::Bytes;

/// What a side of a call may see of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dress {
    /// Everything but what is each side's own.
    Open,
    /// The trunk side of an emergency call or a callback: only what RULES L8 lists, and SDP without its names.
    Masked,
}

impl Dress {
    /// Copies the header fields of a message that go along.
    pub(super) fn copy(self, w: &mut Writer, msg: &Message) {
        self.copy_but(w, msg, |_| false);
    }

    /// The same without the marks of a PSAP's callback (RULES C6).
    pub(super) fn copy_unmarked(self, w: &mut Writer, msg: &Message) {
        for h in msg.headers().iter().filter(|h| self.lets_pass(h) && !is_a_mark(h.name, msg.value(h))) {
            w.copy(msg, h);
        }
    }

    /// What a phone says: nor is it believed who it says it is (RFC 3325 section 9.1).
    pub(super) fn copy_of_a_phone(self, w: &mut Writer, msg: &Message) {
        let is_a_claim = |h: &Header| h.name == Name::PAssertedIdentity || is_a_mark(h.name, msg.value(h));
        for h in msg.headers().iter().filter(|h| self.lets_pass(h) && !is_a_claim(h)) {
            w.copy(msg, h);
        }
    }

    /// The same without some.
    pub(super) fn copy_but(self, w: &mut Writer, msg: &Message, left_out: impl Fn(Name) -> bool) {
        for h in msg.headers() {
            if self.lets_pass(h) && !left_out(h.name) {
                w.copy(msg, h);
            }
        }
    }

    /// The body as this side gets it.
    pub(super) fn body(self, msg: &Message) -> Bytes {
        let body = msg.body();
        match self {
            Self::Masked if !body.is_empty() => sdp::edit_sdp_in(msg.get(Name::ContentType).unwrap_or_default(), body),
            _ => msg.bytes().slice_ref(body),
        }
    }

    /// The Reason of a message as this side gets it. Its text is for people and may name some: a trunk gets the causes.
    pub(super) fn reason(self, msg: &Message) -> Bytes {
        let value = msg.get(Name::Reason).unwrap_or_default();
        if self == Self::Open {
            return Bytes::copy_from_slice(value);
        }
        let mut out = Vec::with_capacity(value.len());
        for reason in values(value) {
            if !out.is_empty() {
                out.extend_from_slice(b", ");
            }
            let mut params = split_params(reason).map(<[u8]>::trim_ascii);
            out.extend_from_slice(params.next().unwrap_or_default());
            for cause in params.filter(|p| p.get(..6).is_some_and(|p| p.eq_ignore_ascii_case(b"cause="))) {
                out.push(b';');
                out.extend_from_slice(cause);
            }
        }
        out.into()
    }

    fn lets_pass(self, h: &Header) -> bool {
        match self {
            Self::Open => !is_one_sides_own(h.name),
            Self::Masked => is_for_the_trunk(h.name),
        }
    }
}

/// Belongs to one side's dialog or hop, or is a secret between two neighbours.
fn is_one_sides_own(name: Name) -> bool {
    matches!(
        name,
        Name::Via
            | Name::From
            | Name::To
            | Name::CallId
            | Name::CSeq
            | Name::Contact
            | Name::MaxForwards
            | Name::Route
            | Name::RecordRoute
            | Name::Path
            | Name::ContentLength
            | Name::RAck
            | Name::Authorization
            | Name::ProxyAuthorization
            | Name::XEmergencyCountry
    )
}

/// `Priority: psap-callback` (RFC 7090) or `Resource-Priority: esnet.*` (RFC 7135).
fn is_a_mark(name: Name, value: &[u8]) -> bool {
    match name {
        Name::Priority => value.eq_ignore_ascii_case(b"psap-callback"),
        Name::ResourcePriority => values(value).any(|v| v.len() > 6 && v[..6].eq_ignore_ascii_case(b"esnet.")),
        _ => false,
    }
}

/// RULES L8: what may be copied onto the trunk leg of an emergency.
fn is_for_the_trunk(name: Name) -> bool {
    matches!(
        name,
        Name::ContentType
            | Name::ContentDisposition
            | Name::ContentEncoding
            | Name::ContentLanguage
            | Name::ContentId
            | Name::MimeVersion
            | Name::Geolocation
            | Name::GeolocationRouting
            | Name::CallInfo
            | Name::Supported
            | Name::Allow
            | Name::Accept
            | Name::SessionExpires
            | Name::MinSe
            | Name::RSeq
    )
}

/// A Contact value of ours on a flow, towards whoever is asked, or asks, by this Request-URI: `sips:` is answered in kind
/// (RFC 3261 sections 8.1.1.8 and 12.1.1).
pub(super) fn contact(user: &str, locals: &Locals, flow: Flow, request_uri: &[u8]) -> Bytes {
    let at = if user.is_empty() { "" } else { "@" };
    let scheme = if asks_for_protection(request_uri) { "sips" } else { "sip" };
    format!("<{scheme}:{user}{at}{}{}>", locals.of(flow).sent_by, flow.transport.uri_param()).into()
}

/// What was dialed: the user of a SIP URI, the number of `tel:`; `None` where the scheme is another one (416).
pub(super) fn dialed_user(uri: &[u8]) -> Option<String> {
    let parsed = Uri::parse(uri)?;
    match parsed.scheme {
        Scheme::Sip | Scheme::Sips => Some(user_of(uri)),
        Scheme::Tel => Some(fit(parsed.host)),
        Scheme::Urn | Scheme::Other => None,
    }
}

/// The user part of a URI, or nothing, as text that is fit for a URI of ours.
pub(super) fn user_of(uri: &[u8]) -> String {
    fit(Uri::parse(uri).and_then(|u| u.user).unwrap_or_default())
}

fn fit(user: &[u8]) -> String {
    let fit = user.iter().all(|b| b.is_ascii_graphic() && !matches!(b, b'<' | b'>' | b'"' | b'@' | b':'));
    if fit { String::from_utf8_lossy(user).into_owned() } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::user_of;
    use crate::sip::dialog::without_tag;

    #[test]
    fn a_tag_is_cut_out_of_a_value_and_nothing_else() {
        for (value, expected) in [
            ("<sip:a@b>;tag=1", "<sip:a@b>"),
            ("\"A; tag=2\" <sip:a@b;x=1>;x=y;tag=1;z", "\"A; tag=2\" <sip:a@b;x=1>;x=y;z"),
            ("sip:a@b;tag=1", "sip:a@b"),
            ("<sip:a@b>", "<sip:a@b>"),
        ] {
            assert_eq!(without_tag(value.as_bytes()), expected, "{value}");
        }
    }

    #[test]
    fn a_user_that_would_break_a_uri_of_ours_is_left_out() {
        for (uri, user) in [("sip:alice@h", "alice"), ("sip:h", ""), ("tel:+1425", ""), ("sip:a%22@h", "a%22"), ("sip:a>b@h", "")]
        {
            assert_eq!(user_of(uri.as_bytes()), user, "{uri}");
        }
    }
}

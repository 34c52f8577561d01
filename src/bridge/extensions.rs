//! Required extensions: what an emergency and a callback may demand of the other side.
//!
//! What an ordinary call requires passes as it is, or is refused: see [`understood`](super::understood). An emergency is
//! placed whatever it requires (RULES R4).

use super::compose::Dress;
use super::understood::is_understood;
use crate::sip::header::values;
use crate::sip::write::Writer;
use crate::sip::{Message, Name};

/// Writes what a message requires, as far as the ends can settle it between them. [`Dress`] leaves `Require` to this
/// function where it is not passed byte for byte.
///
/// What a trunk or a PSAP is sent requires nothing that it might not have: an emergency never fails for an extension. But
/// a reliable provisional or a refreshed session is one only with its `Require` (RFC 3262, RFC 4028), so responses and
/// requests inside a dialog keep it.
pub(super) fn pass_required(w: &mut Writer, msg: &Message, dress: Dress) {
    if dress == Dress::Open {
        return;
    }
    let passed: Vec<&[u8]> = options(msg, Name::Require).filter(|o| is_understood(o)).collect();
    if !passed.is_empty() {
        w.header("Require", &passed.join(&b", "[..]));
    }
}

/// Writes what the INVITE that rings somebody for a callback supports: all that the PSAP's did or required, but for reliable
/// provisionals. Several devices may ring while the PSAP hears one 180 of ours, so nobody would acknowledge theirs. Like an
/// emergency it requires nothing.
pub(super) fn support_of_a_callback(w: &mut Writer, msg: &Message) {
    let all = options(msg, Name::Supported).chain(options(msg, Name::Require).filter(|o| is_understood(o)));
    let all: Vec<&[u8]> = all.filter(|o| !o.eq_ignore_ascii_case(b"100rel")).collect();
    if !all.is_empty() {
        w.header("Supported", &all.join(&b", "[..]));
    }
}

/// An emergency's INVITE requires nothing; whoever required reliable provisionals supports them.
pub(super) fn support_instead(w: &mut Writer, msg: &Message) {
    let has = |name, wanted: &[u8]| options(msg, name).any(|o| o.eq_ignore_ascii_case(wanted));
    for option in [&b"100rel"[..], b"timer", b"precondition"] {
        if has(Name::Require, option) && !has(Name::Supported, option) {
            w.header("Supported", option);
        }
    }
}

fn options(msg: &Message, name: Name) -> impl Iterator<Item = &[u8]> {
    msg.all(name).flat_map(values).map(<[u8]>::trim_ascii).filter(|o| !o.is_empty())
}

//! The first look at a datagram: what it is by its source and its first lines, before anything of it is parsed.
//!
//! Not a parser and not a judge. What it is sure of is what [`Classifier::shard`] says of the whole message; where it is not,
//! it says [`Look::Unknown`], and the message is read. So a flood of ordinary calls costs the thread that has the sockets
//! some hundred instructions a message, and an emergency behind it waits for no more. Read [`Classifier::first_look`] first.

use super::links::Classifier;
use crate::emergency::facts::Origin;
use crate::sip::Flow;
use crate::words::{E164, block};

/// What a datagram is at first sight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing that [`Message::scan`](crate::sip::Message::scan) could read.
    Junk,
    /// A response.
    Response,
    /// A request that is no INVITE, or an INVITE that may be in a dialog.
    InCall,
    /// An INVITE of a known neighbour to an emergency number or the test number.
    Emergency,
    /// A trunk's INVITE to a callback number of ours.
    Callback,
    /// A peer's INVITE to a telephone number, outside a dialog: an ordinary call, which shard 0 need not see.
    Ordinary,
    /// It takes the whole message to know.
    Unknown,
}

impl Classifier {
    /// What came by this flow. Allocates nothing.
    #[inline]
    pub fn first_look(&self, flow: Flow, datagram: &[u8]) -> Look {
        match datagram.strip_prefix(b"INVITE sip:") {
            Some(address) => self.look_at_invite(flow, address).unwrap_or(Look::Unknown),
            None => look_at_other(datagram),
        }
    }

    /// `address`: what stands behind the scheme of the Request-URI. `None` where it is none of the common ones.
    fn look_at_invite(&self, flow: Flow, address: &[u8]) -> Option<Look> {
        let origin = self.sources.of(flow);
        if origin == Origin::Stranger {
            return None;
        }
        let Some(len) = E164::plain_len(address).filter(|&len| address.get(len) == Some(&b'@')) else {
            let user = address.get(..block::position(address, b'@')?).filter(|user| user.iter().all(u8::is_ascii_graphic))?;
            return self.lane.is_help(user).then_some(Look::Emergency);
        };
        // Seven digits and more are no emergency number anywhere (RULES R1).
        match origin {
            Origin::Trunk(_) | Origin::Both(..) => self.lane.has(E164::plain(address)?).then_some(Look::Callback),
            Origin::Peer(_) if self.shards > 1 => look_at_ordinary(address.get(len..)?),
            Origin::Peer(_) | Origin::Agent(_) | Origin::Stranger => None,
        }
    }
}

/// An INVITE to a telephone number; `behind`: what stands behind the user of its Request-URI.
#[inline]
fn look_at_ordinary(behind: &[u8]) -> Option<Look> {
    let (line, to) = line_and_to(behind)?;
    let host = line.strip_suffix(b" SIP/2.0\r")?;
    if may_name_an_instance(host, behind) {
        return None;
    }
    Some(if has_tag(to)? { Look::InCall } else { Look::Ordinary })
}

/// Whether the URI with this host and these parameters may be the instance of somebody (RFC 5627); `text` begins with them.
#[inline]
fn may_name_an_instance(host: &[u8], text: &[u8]) -> bool {
    let Some(block) = text.first_chunk().filter(|_| host.len() < block::FOUR) else {
        return host.windows(3).any(|three| three == b";gr");
    };
    let mut parameters = block::marks(block, b';') & ((1 << host.len()) - 1);
    while parameters != 0 {
        if text.get(parameters.trailing_zeros() as usize + 1) == Some(&b'g') {
            return true;
        }
        parameters &= parameters - 1;
    }
    false
}

/// What does not begin as INVITEs do.
fn look_at_other(datagram: &[u8]) -> Look {
    match datagram {
        // An INVITE to a `tel:` URI, say.
        [] | [b'\r' | b'\n', ..] | [b'I', b'N', b'V', b'I', b'T', b'E', b' ', ..] => return Look::Unknown,
        [b'S' | b's', b'I' | b'i', b'P' | b'p', b'/', rest @ ..] => {
            let is_usual = datagram.starts_with(b"SIP") && rest.starts_with(b"2.0 ");
            return if is_usual { Look::Response } else { Look::Unknown };
        }
        _ => {}
    }
    let method = datagram.iter().take_while(|b| b.is_ascii_graphic()).count();
    let mut behind = datagram.get(method..).unwrap_or_default().iter();
    let is_method = method > 0 && matches!(behind.next(), Some(b' ' | b'\t'));
    let is_request = is_method && behind.find(|&&b| b == b'\n' || !b.is_ascii_whitespace()).is_some_and(|&b| b != b'\n');
    if is_request { Look::InCall } else { Look::Junk }
}

/// The rest of the first line without its LF, and what stands behind the name of the first To to the end; `None` where that is
/// not seen at once.
#[inline]
fn line_and_to(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut rest, mut first) = (text, None);
    while let Some((block, next)) = rest.first_chunk().zip(rest.get(1..).and_then(<[u8]>::first_chunk::<{ block::FOUR }>)) {
        let mut ends = block::marks(block, b'\n');
        while ends != 0 {
            let end = ends.trailing_zeros() as usize;
            first = first.or(Some(text.len() - rest.len() + end));
            match *next.get(end)? {
                b'T' | b't' => match rest.get(end + 2..)? {
                    [b'o' | b'O', b':', to @ ..] | [b':', to @ ..] => return Some((text.get(..first?)?, to)),
                    // Blanks before the colon, perhaps.
                    [b'o' | b'O' | b' ' | b'\t', ..] => return None,
                    _ => {}
                },
                // Here the fields end, and perhaps a body begins.
                ..=b'\r' => return None,
                _ => {}
            }
            ends &= ends - 1;
        }
        rest = rest.get(block::FOUR..)?;
    }
    None
}

/// Whether the To that begins here has a tag; where something only looks like one, true as well.
#[inline]
fn has_tag(to: &[u8]) -> Option<bool> {
    // Parameters stand behind the bracket: most end there. (Where it is in another line, this one has none at all.)
    if let ([b' ', b'<', ..] | [b'<', ..], [b'>', b'\r', b'\n', next, ..]) = (to, to.get(block::near(to, b'>').unwrap_or(0)..)?)
        && !matches!(next, b' ' | b'\t')
    {
        return Some(false);
    }
    has_tag_at_second_sight(to)
}

#[cold]
fn has_tag_at_second_sight(to: &[u8]) -> Option<bool> {
    let (line, behind) = to.split_at_checked(block::position(to, b'\n')?)?;
    if matches!(behind, [] | [_] | [_, b' ' | b'\t', ..]) {
        return None;
    }
    // A display name may have brackets as well: then a later one closes the address.
    let params = match block::position(line, b'>').and_then(|at| line.split_at_checked(at)) {
        Some((before, params)) if block::position(before, b'<').is_some() => params,
        _ => line,
    };
    Some(params.windows(3).any(|three| three.eq_ignore_ascii_case(b"tag")))
}

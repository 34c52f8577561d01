//! Responses to INVITEs that an earlier run of the node sent (RULES B1).
//!
//! A call that was up is restored with its dialogs: a copy of its 2xx gets its ACK again. Of a call that was not, nothing
//! is known but what the response itself says, which is enough to end what it speaks of.

use super::dialog::{Dialog, Peer, request_uri, without_tag};
use super::endpoint::{Endpoint, Event, number, via_of};
use super::flow::Flow;
use super::header::NameAddr;
use super::ids::{Id, Kind};
use super::scan::{Message, Name};
use super::write::Writer;
use crate::words::Time;
use bytes::Bytes;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher};

/// Branches that are remembered.
const REMEMBERED: usize = 512;
/// So often a final response is acknowledged; a 2xx is repeated eleven times (RFC 3261 section 13.3.1.4).
const MOST_ACKS: u8 = 12;
/// So many provisionals of a branch are answered with a CANCEL.
const MOST_CANCELS: u8 = 4;
/// Between the INVITE's CSeq and that of the BYE there may have been others.
const SEQ_GAP: u32 = 10_000;

/// What was answered how often, so that nobody can make us talk without end.
#[derive(Default)]
pub(super) struct Late {
    seen: VecDeque<(u64, u8)>,
}

impl Late {
    /// How often this came before; it has come once more now.
    fn count(&mut self, what: u64) -> u8 {
        if let Some((_, times)) = self.seen.iter_mut().find(|(known, _)| *known == what) {
            *times = times.saturating_add(1);
            return *times - 1;
        }
        if self.seen.len() >= REMEMBERED {
            self.seen.pop_front();
        }
        self.seen.push_back((what, 1));
        0
    }
}

impl<O: Copy> Endpoint<O> {
    /// A response with a branch of an earlier run, to an INVITE.
    pub(super) fn receive_late(&mut self, flow: Flow, msg: Message) -> Option<Event<O>> {
        if msg.status() >= 300 {
            self.acknowledge_late_error(flow, &msg);
            return None;
        }
        let Some(dialog) = msg.from_tag().and_then(|tag| self.find_restored(tag)) else { return Some(Event::Late { msg, flow }) };
        let entry = self.dialogs.get_mut(dialog)?;
        let same = entry.remote_tag == msg.to_tag().unwrap_or_default();
        match msg.status() {
            ..200 => return None,
            _ if !same => return Some(Event::Late { msg, flow }),
            _ => {}
        }
        // Its INVITE may be a later one than that which made the dialog.
        entry.invite_seq = msg.cseq()?.0;
        if !entry.owes_answer {
            self.acknowledge(dialog, b"", b"");
        }
        None
    }

    /// Ends what a response of [`Event::Late`] speaks of: a provisional gets CANCEL, a 2xx ACK and BYE. `reason` is a Reason
    /// value (RFC 3326). Nothing of the INVITE is known but its copies in the response, so the CANCEL asks for the To URI.
    pub fn decline_late(&mut self, msg: &Message, flow: Flow, reason: &[u8], owner: O, now: Time) {
        let times = self.times_late(msg);
        if msg.status() >= 200 {
            self.hang_up_late(msg, flow, (reason, times), owner, now);
        } else if times < MOST_CANCELS
            && let Some(mut w) = self.companion_of(msg, flow, b"CANCEL", &without_tag(msg.get(Name::To).unwrap_or_default()))
        {
            w.header("Reason", reason);
            self.transmit(flow, w.finish(), None);
        }
    }

    /// RFC 3261 section 17.1.1.3.
    fn acknowledge_late_error(&mut self, flow: Flow, msg: &Message) {
        if self.times_late(msg) < MOST_ACKS
            && let Some(w) = self.companion_of(msg, flow, b"ACK", msg.get(Name::To).unwrap_or_default())
        {
            self.transmit(flow, w.finish(), None);
        }
    }

    fn hang_up_late(&mut self, msg: &Message, flow: Flow, (reason, times): (&[u8], u8), owner: O, now: Time) {
        let tag = msg.from_tag().filter(|tag| self.ids.is_of_before(Kind::Tag, tag)).and_then(Id::of);
        let (Some(tag), Some((seq, _)), true) = (tag, msg.cseq(), times < MOST_ACKS) else { return };
        let to = msg.get(Name::To).and_then(NameAddr::parse).and_then(|to| request_uri(to.uri));
        let mut dialog = Dialog {
            call_id: Bytes::copy_from_slice(msg.call_id()),
            local: without_tag(msg.get(Name::From).unwrap_or_default()),
            local_seq: seq.saturating_add(SEQ_GAP),
            invite_seq: seq,
            target: to.unwrap_or_else(|| format!("sip:{}", flow.remote).into()),
            ..Dialog::blank(owner, tag, flow)
        };
        dialog.learn(Peer::of_response(msg), true);
        let key = self.dialogs.insert(Box::new(dialog));
        self.acknowledge(key, b"", b"");
        if times == 0 {
            self.hang_up(key, reason, owner, now);
        } else {
            self.end_dialog(key);
        }
    }

    /// How often a response with this branch, tag and class came before.
    fn times_late(&mut self, msg: &Message) -> u8 {
        let mut h = DefaultHasher::new();
        h.write_u64(self.secret());
        h.write(msg.top_via().and_then(|v| v.branch()).unwrap_or_default());
        if msg.status() >= 200 {
            h.write(msg.to_tag().unwrap_or_default());
        }
        h.write_u16(msg.status() / 100);
        self.late.count(h.finish())
    }

    /// CANCEL, or the ACK of an error, for the INVITE that this is a response to: with its branch (RFC 3261 section 9.1).
    fn companion_of(&self, msg: &Message, flow: Flow, method: &[u8], to: &[u8]) -> Option<Writer> {
        let (seq, _) = msg.cseq()?;
        let uri = request_uri(NameAddr::parse(to)?.uri)?;
        let mut w = Writer::request(method, &uri);
        via_of(&mut w, &self.locals, flow, msg.top_via()?.branch()?);
        w.header_num("Max-Forwards", 70);
        w.header("From", msg.get(Name::From)?);
        w.header("To", to);
        w.header("Call-ID", msg.call_id());
        w.header_parts("CSeq", &[number(seq).as_bytes(), b" ", method]);
        Some(w)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b7_what_comes_late_without_end_is_forgotten_from_the_oldest_on() {
        let mut late = Late::default();
        assert_eq!((late.count(7), late.count(7), late.count(8)), (0, 1, 0));
        for what in 100..100 + REMEMBERED as u64 {
            assert_eq!(late.count(what), 0);
        }
        assert_eq!(late.seen.len(), REMEMBERED);
        assert_eq!(late.count(7), 0);
        for _ in 0..1000 {
            late.count(9);
        }
        assert_eq!(late.count(9), u8::MAX - 1);
    }
}

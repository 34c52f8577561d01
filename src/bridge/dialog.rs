//! Within a call: what one side says is passed on to the other, as RFC 3261 section 12 wants it said there.

use super::anchor::{self, Role};
use super::call::{Call, CallKey, Fate, Owner, Passed, Progress, Side};
use super::compose::Dress;
use super::extensions::pass_required;
use super::shard::{CANCELLED, Shard};
use crate::emergency::facts::{Input, LegEvent, LegId, Origin, Party};
use crate::sip::dialog::{Peer, contact_uri};
use crate::sip::{ClientKey, DialogKey, Message, Method, Name, ServerKey, sdp};
use crate::words::Time;
use bytes::Bytes;

impl Shard {
    /// A request inside a dialog of a call, from its `side`.
    pub(super) fn on_request_in_call(&mut self, tx: ServerKey, here: DialogKey, owner: Owner, msg: &Message, now: Time) {
        let Owner::Leg { call: key, leg, side } = owner else { return self.endpoint.respond_plain(tx, 481, now) };
        let storys = self.calls.get(key).is_some_and(|c| c.kind.is_storys());
        if let Some(status) = self.refused_to_page(key, side, msg) {
            return self.endpoint.respond_plain(tx, status, now);
        }
        match msg.method() {
            Method::Bye => self.on_bye(tx, key, leg, side, msg, now),
            // Keep-alives are answered here: the other side would only learn what we know.
            Method::Options => self.endpoint.respond_plain(tx, 200, now),
            // RULES A6: nobody is transferred out of an emergency by the caller's side.
            Method::Refer if storys && side == Side::Near => self.endpoint.respond_plain(tx, 403, now),
            _ => self.pass_on(tx, here, key, leg, side, msg, now),
        }
    }

    /// The ACK of a 2xx of ours: where the offer came late it carries the answer (RFC 3261 section 13.2.1).
    pub(super) fn on_ack(&mut self, dialog: DialogKey, msg: &Message, now: Time) {
        let Some(Owner::Leg { call: key, leg, side }) = self.endpoint.dialog(dialog).map(|d| d.owner) else { return };
        let Some(call) = self.calls.get_mut(key) else { return };
        let late = call.late_ack.take_if(|(whose, _)| *whose == dialog);
        let keep = call.kept.is_some() && (call.kind.is_storys() || late.is_some());
        if let Some((_, answered)) = late {
            let body = call.dress(leg, side.other()).body(msg);
            let content_type = msg.get(Name::ContentType).unwrap_or_default();
            let body = self.carried(key, leg, side.other(), Role::Answer, content_type, body);
            self.endpoint.acknowledge(answered, content_type, &body);
        }
        if keep {
            // Its row has the 2xx, to be sent until this ACK comes.
            self.keep_call(key, now);
        }
    }

    /// Nobody acknowledged our 2xx for 32 s. RFC 3261 section 13.3.1.4 ends the call; an emergency goes on (RULES P11).
    pub(super) fn on_no_ack(&mut self, owner: Owner, now: Time) {
        let Owner::Leg { call, leg, .. } = owner else { return };
        if self.calls.get(call).is_some_and(|c| !c.kind.is_storys()) {
            self.hang_up_both(call, leg, b"SIP;cause=408;text=\"No ACK\"", now);
        }
    }

    /// The other side answered a request that was passed on.
    pub(super) fn on_passed_response(&mut self, passed: Passed, msg: &Message, now: Time) {
        let Passed { call: key, leg, side, asker, asked, server } = passed;
        let status = msg.status();
        if status == 100 {
            return;
        }
        if status >= 200 {
            self.passed_invites.remove(server);
        }
        let dress = self.calls.get(key).filter(|_| self.endpoint.dialog(asker).is_some()).map(|c| c.dress(leg, side.other()));
        let Some(dress) = dress else {
            // The call ended meanwhile; whoever asked is owed an answer all the same.
            if status >= 200 {
                self.endpoint.respond_plain(server, if status < 300 { 481 } else { status }, now);
            }
            return;
        };
        let invite = msg.cseq().is_some_and(|(_, m)| m == b"INVITE");
        let late = invite && self.calls.get(key).is_some_and(|c| c.late_ack == Some((asker, asked)));
        if (200..300).contains(&status) {
            self.refresh(key, asked, msg, now);
            if invite {
                self.acknowledge_passed(key, asked, asker);
            }
        }
        let mut body = dress.body(msg);
        if status < 300 && !body.is_empty() {
            let role = if late { Role::Offer } else { Role::Answer };
            body = self.carried(key, leg, side.other(), role, msg.get(Name::ContentType).unwrap_or_default(), body);
            if role == Role::Answer && self.calls.get(key).is_some_and(|c| c.kept.is_some() && c.near_pair.is_some()) {
                self.keep_call(key, now);
            }
        }
        if let Some(mut w) = self.endpoint.reply_in(server, asker, status) {
            dress.copy(&mut w, msg);
            pass_required(&mut w, msg, dress);
            self.endpoint.respond(server, status, Some(asker), w.finish_body(&body), now);
        }
        if status == 481 && ends_the_dialog(msg) {
            self.end_by(key, leg, side, now);
        }
    }

    /// A request that was passed on met silence (or nobody): its sender hears 408. An emergency is not ended by it.
    fn on_passed_silence(&mut self, tx: ClientKey, server: ServerKey, now: Time) {
        self.passed_invites.remove(server);
        self.endpoint.respond_plain(server, 408, now);
        if self.endpoint.is_given_up(tx) {
            return self.endpoint.forget(tx);
        }
        if self.endpoint.is_unanswered(tx) {
            self.endpoint.give_up(tx, Bytes::from_static(b"SIP;cause=408"), now);
        }
    }

    /// CANCEL for a re-INVITE: it goes where the re-INVITE went.
    pub(super) fn on_passed_cancelled(&mut self, server: ServerKey, now: Time) {
        if let Some(&tx) = self.passed_invites.get(server) {
            self.endpoint.give_up(tx, Bytes::from_static(CANCELLED.as_bytes()), now);
        }
    }

    /// Connects the caller with the leg whose 2xx this is.
    pub(super) fn connect(&mut self, key: CallKey, id: LegId, msg: &Message, now: Time) {
        let Some(near) = self.near_dialog(key, id) else { return };
        let Some(call) = self.calls.get_mut(key) else { return };
        let (server, dress, offered) = (call.server, call.near_dress, call.offered);
        let Some(leg) = call.leg_mut(id) else { return };
        leg.fate = Fate::Chosen;
        let (far, forks) = (leg.far, std::mem::take(&mut leg.forks));
        (call.progress, call.connected) = (Progress::Connected(id), now);
        call.invite = None;
        if !offered {
            call.late_ack = Some((near, far));
        }
        for (far, near) in forks {
            self.endpoint.end_dialog(far);
            near.into_iter().for_each(|near| self.endpoint.end_dialog(near));
        }
        let body = self.answered_body(key, id, offered, dress, msg);
        self.choose_media(key, id);
        let is_emergency = self.is_emergency_of_page(key);
        if let Some(mut w) = self.endpoint.reply_in(server, near, msg.status()) {
            dress.copy(&mut w, msg);
            if is_emergency {
                w.header("Priority", b"emergency");
            }
            pass_required(&mut w, msg, dress);
            self.endpoint.respond(server, msg.status(), Some(near), w.finish_body(&body), now);
        }
        if offered {
            self.endpoint.acknowledge(far, b"", b"");
        }
        self.page_connected(key, id, now);
        self.keep_call(key, now);
    }

    /// Passes a provisional response on, in the leg's own early dialog.
    pub(super) fn progress(&mut self, key: CallKey, id: LegId, msg: &Message, now: Time) {
        if msg.status() == 100 {
            return;
        }
        let Some(near) = self.near_dialog(key, id) else { return };
        let Some(call) = self.calls.get(key).filter(|c| c.progress == Progress::Waiting) else { return };
        let (server, dress, offered) = (call.server, call.near_dress, call.offered);
        let body = self.answered_body(key, id, offered, dress, msg);
        let is_emergency = self.is_emergency_of_page(key);
        if let Some(mut w) = self.endpoint.reply_in(server, near, msg.status()) {
            dress.copy(&mut w, msg);
            if is_emergency {
                w.header("Priority", b"emergency");
            }
            pass_required(&mut w, msg, dress);
            self.endpoint.respond(server, msg.status(), None, w.finish_body(&body), now);
        }
    }

    /// The body of a response to a leg's INVITE as the caller gets it.
    fn answered_body(&mut self, key: CallKey, id: LegId, offered: bool, dress: Dress, msg: &Message) -> Bytes {
        let role = if offered { Role::Answer } else { Role::Offer };
        let body = self.carried(key, id, Side::Near, role, msg.get(Name::ContentType).unwrap_or_default(), dress.body(msg));
        if offered {
            self.heard_from_fork(key, id, msg);
        }
        body
    }

    /// A late 2xx of a leg that was given up.
    pub(super) fn decline_late_answer(&mut self, key: CallKey, id: LegId, far: DialogKey, reason: &'static str, now: Time) {
        self.endpoint.acknowledge(far, b"", b"");
        let owner = Owner::Leg { call: key, leg: id, side: Side::Far };
        self.endpoint.hang_up(far, reason.as_bytes(), owner, now);
        self.end_leg(key, id);
    }

    /// What a response says about the far side of a leg. One with another tag than those before is another fork's: it has
    /// an early dialog of its own, and one towards the caller (RFC 3261 section 12.1).
    pub(super) fn learn(&mut self, key: CallKey, id: LegId, msg: &Message) {
        let answered = (200..300).contains(&msg.status());
        let Some(tag) = msg.to_tag() else { return };
        let Some(leg) = self.calls.get_mut(key).and_then(|c| c.leg_mut(id)) else { return };
        if leg.fate == Fate::Chosen {
            return;
        }
        let is_of = |far: DialogKey| self.endpoint.dialog(far).is_some_and(|d| d.remote_tag.is_empty() || d.remote_tag == tag);
        if !is_of(leg.far) {
            let known = leg.forks.iter().position(|(far, _)| is_of(*far)).map(|at| leg.forks.swap_remove(at));
            let room = leg.forks.len() < MOST_FORKS;
            let root = leg.root;
            let fork = known.or_else(|| if room { self.endpoint.fork_dialog(root).map(|far| (far, None)) } else { None });
            if let Some((far, near)) = fork {
                leg.forks.push((leg.far, leg.near));
                (leg.far, leg.near) = (far, near);
            }
        }
        if answered && leg.far != leg.root {
            let (root, fork) = (leg.root, leg.far);
            let first = leg.forks.iter().position(|(far, _)| *far == root).map(|at| leg.forks.swap_remove(at));
            leg.far = root;
            self.endpoint.adopt_fork(root, fork);
            first.and_then(|(_, near)| near).into_iter().for_each(|near| self.endpoint.end_dialog(near));
        }
        if let Some(dialog) = self.endpoint.dialog_mut(leg.far) {
            dialog.learn(Peer::of_response(msg), answered);
        }
    }

    fn on_bye(&mut self, tx: ServerKey, key: CallKey, leg: LegId, side: Side, msg: &Message, now: Time) {
        self.endpoint.respond_plain(tx, 200, now);
        let Some(call) = self.calls.get(key) else { return };
        if call.progress != Progress::Connected(leg) {
            match (call.progress, side) {
                // BYE in an early dialog (RFC 3261 section 15 allows it to the caller): as good as a CANCEL.
                (Progress::Waiting, Side::Near) => self.abandon(key, now),
                // It answered and hung up before its answer reached us: as good as a refusal.
                (Progress::Waiting, Side::Far) => self.lose_leg(key, leg, now),
                _ => {}
            }
            return;
        }
        let reason = call.dress(leg, side.other()).reason(msg);
        let other = call.dialog(leg, side.other());
        self.acknowledge_late(key);
        if let Some(other) = other {
            let owner = Owner::Leg { call: key, leg, side: side.other() };
            self.endpoint.hang_up(other, &reason, owner, now);
        }
        self.finish(key, leg, side, now);
    }

    fn lose_leg(&mut self, key: CallKey, leg: LegId, now: Time) {
        let Some(call) = self.calls.get(key).filter(|c| c.leg(leg).is_some_and(|l| l.fate == Fate::Open)) else { return };
        if !call.kind.is_storys() {
            return self.on_ordinary_failure(key, leg, 480, now);
        }
        self.give_up_leg(key, leg, "SIP;cause=480", now);
        self.tell_story(Some(Input::Leg { call: key.id(), leg, event: LegEvent::Refused { status: 480 } }), now);
    }

    fn abandon(&mut self, key: CallKey, now: Time) {
        if self.calls.get(key).is_some_and(|c| c.kind.is_storys()) {
            self.tell_story(Some(Input::Abandoned { call: key.id() }), now);
        }
        self.give_up_open_legs(key, CANCELLED, now);
        self.refuse(key, 487, None, "", now);
    }

    /// `side` answered 481: the dialog is gone there, so it ends on the other side as well (RULES P11).
    pub(super) fn end_by(&mut self, key: CallKey, leg: LegId, side: Side, now: Time) {
        let Some(call) = self.calls.get(key) else { return };
        if call.progress != Progress::Connected(leg) {
            return;
        }
        let other = call.dialog(leg, side.other());
        self.acknowledge_late(key);
        if let Some(other) = other {
            let owner = Owner::Leg { call: key, leg, side: side.other() };
            self.endpoint.hang_up(other, b"SIP;cause=481", owner, now);
        }
        self.finish(key, leg, side, now);
    }

    pub(super) fn hang_up_both(&mut self, key: CallKey, leg: LegId, reason: &[u8], now: Time) {
        self.acknowledge_late(key);
        for side in [Side::Near, Side::Far] {
            if let Some(dialog) = self.calls.get(key).and_then(|c| c.dialog(leg, side)) {
                self.endpoint.hang_up(dialog, reason, Owner::Leg { call: key, leg, side }, now);
            }
        }
        self.finish(key, leg, Side::Near, now);
    }

    /// A 2xx whose ACK was to carry an answer that does not come any more: it is owed an ACK all the same before the BYE
    /// (RFC 3261 section 15).
    fn acknowledge_late(&mut self, key: CallKey) {
        let Some((_, there)) = self.calls.get_mut(key).and_then(|c| c.late_ack.take()) else { return };
        let invite = self.endpoint.dialog(there).and_then(|d| d.invite);
        if !invite.is_some_and(|invite| self.endpoint.is_unanswered(invite)) {
            self.endpoint.acknowledge(there, b"", b"");
        }
    }

    /// A connected call is over on both sides.
    pub(super) fn finish(&mut self, key: CallKey, leg: LegId, by: Side, now: Time) {
        let Some(call) = self.calls.get_mut(key) else { return };
        call.progress = Progress::Over;
        let storys = call.kind.is_storys();
        self.leave_line(key);
        self.record(key, 200, now);
        self.forget_kept(key);
        self.end_leg(key, leg);
        self.stop_ringing_again(key, now);
        if storys {
            let by = if by == Side::Near { Party::Caller } else { Party::Callee };
            self.tell_story(Some(Input::Ended { call: key.id(), by }), now);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "a request, and where it came in")]
    fn pass_on(&mut self, tx: ServerKey, here: DialogKey, key: CallKey, leg: LegId, from: Side, msg: &Message, now: Time) {
        let to = from.other();
        let target = self.calls.get(key).and_then(|c| Some((c.twin(leg, from, here)?, c.dress(leg, to))));
        let Some((there, dress)) = target else { return self.endpoint.respond_plain(tx, 481, now) };
        if let Some(status) = self.clash(here, there, msg) {
            return self.refuse_clash(tx, status, msg, now);
        }
        let refreshes = matches!(msg.method(), Method::Invite | Method::Update);
        if refreshes {
            self.refresh(key, here, msg, now);
        }
        let Some(hops) = msg.max_forwards().unwrap_or(70).checked_sub(1) else {
            return self.endpoint.respond_plain(tx, 483, now);
        };
        let owner = Owner::Passed(Passed { call: key, leg, side: to, asker: here, asked: there, server: tx });
        let Some((request, mut w)) = self.endpoint.begin(there, msg.method_bytes(), hops, owner, now) else {
            // A side that cannot be spoken to is no reason to end the call (RULES P11).
            let status = if self.endpoint.dialog(there).is_some() { 488 } else { 481 };
            return self.endpoint.respond_plain(tx, status, now);
        };
        if let Some(rack) = msg.get(Name::RAck) {
            self.copy_rack(&mut w, rack, there);
        }
        dress.copy(&mut w, msg);
        pass_required(&mut w, msg, dress);
        let mut body = dress.body(msg);
        if !body.is_empty() && matches!(msg.method(), Method::Invite | Method::Update | Method::Prack) {
            let late = self.calls.get(key).is_some_and(|c| !c.offered && c.progress == Progress::Waiting);
            let role = anchor::role_of_request(msg.method(), late);
            body = self.carried(key, leg, to, role, msg.get(Name::ContentType).unwrap_or_default(), body);
        }
        if msg.method() == Method::Invite {
            self.passed_invites.insert(tx, request);
            if let Some(call) = self.calls.get_mut(key) {
                call.late_ack = (!has_offer(msg)).then_some((here, there));
            }
        }
        self.endpoint.send(request, w.finish_body(&body), now);
    }

    /// A target refresh (RFC 3261 section 12.2): a new target of a call that is written down is written down as well.
    pub(super) fn refresh(&mut self, key: CallKey, dialog: DialogKey, msg: &Message, now: Time) {
        let Some(target) = contact_uri(msg) else { return };
        let Some(dialog) = self.endpoint.dialog_mut(dialog).filter(|d| d.target != target) else { return };
        dialog.refresh(Some(target));
        if self.calls.get(key).is_some_and(|c| c.kept.is_some()) {
            self.keep_call(key, now);
        }
    }

    /// The far side's 2xx to a re-INVITE: acknowledged at once, or with the answer that its sender still owes.
    fn acknowledge_passed(&mut self, key: CallKey, asked: DialogKey, asker: DialogKey) {
        let late = self.calls.get(key).and_then(|c| c.late_ack);
        if late != Some((asker, asked)) {
            self.endpoint.acknowledge(asked, b"", b"");
        }
    }

    /// Whether an INVITE or UPDATE meets another one that is under way: 491 where that one came from the other side, 500
    /// where it came from the same (RFC 3261 section 14.2, RFC 3311 section 5.2).
    fn clash(&self, here: DialogKey, there: DialogKey, msg: &Message) -> Option<u16> {
        let waits = |tx: Option<ClientKey>| tx.is_some_and(|tx| self.endpoint.is_unanswered(tx));
        let (ours, theirs) = (self.endpoint.dialog(here)?, self.endpoint.dialog(there)?);
        match msg.method() {
            Method::Invite if waits(ours.invite) || waits(ours.update) => Some(491),
            Method::Invite if waits(theirs.invite) => Some(500),
            Method::Update if waits(ours.update) && has_offer(msg) => Some(491),
            Method::Update if waits(theirs.update) => Some(500),
            _ => None,
        }
    }

    /// The seconds of the Retry-After differ from request to request, so that two sides do not meet again.
    fn refuse_clash(&mut self, tx: ServerKey, status: u16, msg: &Message, now: Time) {
        let Some(mut w) = self.endpoint.reply(tx, status) else { return };
        if status == 500 {
            w.header_num("Retry-After", u64::from(msg.cseq().map_or(0, |c| c.0) % 10));
        }
        self.endpoint.respond(tx, status, None, w.finish(), now);
    }

    /// RFC 3262 section 7.2: the CSeq number in RAck is that of the INVITE in the dialog where the PRACK goes.
    fn copy_rack(&self, w: &mut crate::sip::write::Writer, rack: &[u8], there: DialogKey) {
        let Some(seq) = self.endpoint.dialog(there).map(|d| d.invite_seq) else { return };
        let rseq = rack.split(u8::is_ascii_whitespace).next().and_then(crate::sip::header::number).unwrap_or(0);
        w.header_fmt("RAck", format_args!("{rseq} {seq} INVITE"));
    }

    /// The caller's dialog of a leg, made when it is first needed.
    fn near_dialog(&mut self, key: CallKey, id: LegId) -> Option<DialogKey> {
        let call: &mut Call = self.calls.get_mut(key)?;
        if let Some(near) = call.leg(id)?.near {
            return Some(near);
        }
        let owner = Owner::Leg { call: key, leg: id, side: Side::Near };
        let near = self.endpoint.open_callee_dialog(call.invite.as_ref()?, call.near_flow, call.near_contact.clone(), owner);
        let home = self.setup.links.home(call.origin);
        if let Some(dialog) = self.endpoint.dialog_mut(near) {
            dialog.home = home;
            dialog.along_flow = matches!(call.origin, Origin::Agent(_));
            dialog.account = Self::account_of(call.origin);
        }
        call.leg_mut(id)?.near = Some(near);
        Some(near)
    }

    /// Nobody answered, or nobody is there.
    pub(super) fn on_no_response(&mut self, tx: ClientKey, owner: Owner, unreachable: bool, now: Time) {
        match owner {
            Owner::Leg { call, leg, .. } => self.on_leg_silence(tx, call, leg, unreachable, now),
            Owner::Passed(passed) => self.on_passed_silence(tx, passed.server, now),
            Owner::ReadBack(_) => {}
            Owner::Own(errand) => self.on_errand_failed(errand, now),
            Owner::Page(_) => self.on_page_silence(tx),
            Owner::Rejoin(seat, page) => self.rejoin_failed(seat, page, 408, now),
            Owner::Late => {}
        }
    }
}

/// Whether a 481 says that the dialog is gone. For a PRACK it says that the provisional is (RFC 3262 section 3), for a
/// NOTIFY that the subscription is (RFC 6665 section 4.1.3).
fn ends_the_dialog(msg: &Message) -> bool {
    !msg.cseq().is_some_and(|(_, method)| matches!(method, b"PRACK" | b"NOTIFY"))
}

/// Early dialogs that one leg may have besides its first.
const MOST_FORKS: usize = 8;

fn has_offer(msg: &Message) -> bool {
    sdp::has_offer(msg.get(Name::ContentType).unwrap_or_default(), msg.body())
}

//! Calls to callback numbers of our own, placed over the trunk that they belong to: do they come back to us by it?
//!
//! Ordinary INVITEs outside the story. One that comes back is known by the number called together with the number shown,
//! which are both ours, for no mark survives a carrier; it gets 480, nobody rings, no lease is touched. A PSAP's callback to
//! the same number shows a number that is not ours, and is none of this.

use super::call::Owner;
use super::compose::contact;
use super::emergency::Evidence;
use super::links::CalledUris;
use super::own::Errand;
use super::shard::{Shard, Wake};
use crate::emergency::caller::number_in;
use crate::emergency::facts::{Origin, TrunkId};
use crate::emergency::prerequisites::CameBack;
use crate::sip::dialog::Peer;
use crate::sip::{ClientKey, DialogKey, Message};
use crate::words::{E164, Time};
use std::time::Duration;

/// What has not come back by then does not.
const PATIENCE: Duration = Duration::from_secs(8);
/// One that comes back later is still known for what it is.
const STAYS_KNOWN: Duration = Duration::from_secs(120);
/// Calls that are remembered at most.
const MOST: usize = 64;
const REASON: &str = "SIP;cause=487;text=\"Test of a callback number\"";

/// One such call.
pub(super) struct SelfCall {
    id: u32,
    trunk: TrunkId,
    called: E164,
    shown: E164,
    began: Time,
    invite: ClientKey,
    far: DialogKey,
    outcome: Option<CameBack>,
}

impl Shard {
    /// Calls a number of ours over a trunk and shows another one of ours. [`Self::self_call`] says what comes of it; `None`:
    /// there is no such trunk, or too many are under way.
    pub fn call_ourselves(&mut self, trunk: TrunkId, called: E164, shown: E164, now: Time) -> Option<u32> {
        self.own.self_calls.retain(|c| c.began + STAYS_KNOWN > now);
        let link = self.setup.links.trunks.get(usize::from(trunk.0)).filter(|_| self.own.self_calls.len() < MOST)?;
        let flow = link.flow;
        let uri = format!("sip:{called}@{}{};user=phone", link.host, flow.transport.uri_param());
        let local = format!("<sip:{shown}@{}>", self.setup.links.domain);
        let ours = contact(&shown.to_string(), self.endpoint.locals(), flow, uri.as_bytes());
        let id = self.own.next_seq();
        let owner = Owner::Own(Errand::SelfCall(id));
        let remote = format!("<{uri}>");
        let far = self.endpoint.open_caller_dialog(local.clone().into(), remote.into(), uri.into(), ours, flow, owner);
        if let Some(dialog) = self.endpoint.dialog_mut(far) {
            dialog.account = Some(trunk.0);
        }
        let (invite, mut w) = self.endpoint.begin(far, b"INVITE", 70, owner, now)?;
        w.header("P-Asserted-Identity", local.as_bytes());
        w.header("User-Agent", b"e911d");
        self.endpoint.send(invite, w.finish(), now);
        self.own.self_calls.push(SelfCall { id, trunk, called, shown, began: now, invite, far, outcome: None });
        self.wakes.arm(now + PATIENCE, Wake::Errand(Errand::SelfCallOver(id)));
        Some(id)
    }

    /// What came of a call to ourselves; `None`: nothing yet.
    pub fn self_call(&self, id: u32) -> Option<CameBack> {
        self.own.self_calls.iter().find(|c| c.id == id)?.outcome
    }

    /// Whether this INVITE is one of these, coming back.
    pub(super) fn is_self_call(&mut self, origin: Origin, msg: &Message, now: Time) -> bool {
        let (Origin::Trunk(by) | Origin::Both(_, by)) = origin else { return false };
        if self.own.self_calls.is_empty() {
            return false;
        }
        let evidence = Evidence::of(msg);
        let uris = CalledUris::of(msg);
        let called = uris.called();
        let is_called =
            |n| std::iter::once(called.request_uri).chain(called.others.iter().copied()).filter_map(number_in).any(|c| c == n);
        let caller = evidence.caller();
        let is_shown = |n| caller.asserted.iter().copied().chain([caller.from]).filter_map(number_in).any(|c| c == n);
        let is_it = |c: &&mut SelfCall| c.began + STAYS_KNOWN > now && is_called(c.called) && is_shown(c.shown);
        let Some(call) = self.own.self_calls.iter_mut().find(is_it) else { return false };
        let outcome = if call.trunk == by { CameBack::Yes } else { CameBack::Elsewhere };
        call.outcome.get_or_insert(outcome);
        true
    }

    /// The trunk says something about one of these.
    pub(super) fn on_self_call_response(&mut self, id: u32, msg: &Message, now: Time) {
        let Some(call) = self.own.self_calls.iter_mut().find(|c| c.id == id) else { return };
        let far = call.far;
        match msg.status() {
            ..200 => return,
            // Somebody else answered.
            200..300 => {
                call.outcome.get_or_insert(CameBack::No);
                if let Some(dialog) = self.endpoint.dialog_mut(far) {
                    dialog.learn(Peer::of_response(msg), true);
                }
                self.endpoint.acknowledge(far, b"", b"");
                return self.endpoint.hang_up(far, REASON.as_bytes(), Owner::Late, now);
            }
            status => call.outcome.get_or_insert(CameBack::Refused(status)),
        };
        self.endpoint.end_dialog(far);
    }

    /// The trunk said nothing about it.
    pub(super) fn on_self_call_silence(&mut self, id: u32) {
        let Some(call) = self.own.self_calls.iter_mut().find(|c| c.id == id) else { return };
        call.outcome.get_or_insert(CameBack::No);
        let far = call.far;
        self.endpoint.end_dialog(far);
    }

    /// It has had its time.
    pub(super) fn on_self_call_over(&mut self, id: u32, now: Time) {
        let Some(call) = self.own.self_calls.iter_mut().find(|c| c.id == id) else { return };
        call.outcome.get_or_insert(CameBack::No);
        let invite = call.invite;
        self.endpoint.give_up(invite, bytes::Bytes::from_static(REASON.as_bytes()), now);
    }

    /// It was sent again, with credentials.
    pub(super) fn self_call_goes_on(&mut self, owner: Owner, again: ClientKey) {
        if let Owner::Own(Errand::SelfCall(id)) = owner
            && let Some(call) = self.own.self_calls.iter_mut().find(|c| c.id == id)
        {
            call.invite = again;
        }
    }
}

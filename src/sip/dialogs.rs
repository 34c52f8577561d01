//! The endpoint's dialogs: how they come to be, and what is said in them.

use super::client::ClientTransaction;
use super::dialog::{Dialog, Peer, repaired, request_uri};
use super::endpoint::{Endpoint, number};
use super::flow::Flow;
use super::header::NameAddr;
use super::ids::{Id, Kind};
use super::scan::{Message, Method, Name};
use super::write::Writer;
use super::{ClientKey, DialogKey};
use crate::words::Time;
use bytes::Bytes;
use slotmap::{Key, KeyData};

impl<O: Copy> Endpoint<O> {
    /// A dialog.
    pub fn dialog(&self, key: DialogKey) -> Option<&Dialog<O>> {
        self.dialogs.get(key).map(Box::as_ref)
    }

    /// A dialog, to be changed.
    pub fn dialog_mut(&mut self, key: DialogKey) -> Option<&mut Dialog<O>> {
        self.dialogs.get_mut(key).map(Box::as_mut)
    }

    /// Another early dialog of the same INVITE: its answer forked (RFC 3261 section 12.1).
    pub fn fork_dialog(&mut self, root: DialogKey) -> Option<DialogKey> {
        let mut fork = self.dialogs.get(root)?.clone();
        (fork.remote_tag, fork.remote_seq, fork.update) = (Bytes::new(), None, None);
        fork.forks.clear();
        let fork = self.dialogs.insert(fork);
        self.dialogs.get_mut(root)?.forks.push(fork);
        Some(fork)
    }

    /// A fork has become the dialog: from now on it goes by the name of its INVITE's first one.
    pub fn adopt_fork(&mut self, root: DialogKey, fork: DialogKey) {
        let forks = self.dialogs.get_mut(root).map(|d| std::mem::take(&mut d.forks)).unwrap_or_default();
        if let Some(mut chosen) = self.dialogs.remove(fork)
            && let Some(place) = self.dialogs.get_mut(root)
        {
            chosen.forks = forks;
            chosen.forks.retain(|f| *f != fork);
            *place = chosen;
        }
    }

    /// Forgets a dialog: requests in it get 481 from now on. One whose BYE still waits for an ACK goes when that is out.
    pub fn end_dialog(&mut self, key: DialogKey) {
        if self.dialogs.get(key).is_some_and(|d| d.ending.is_none())
            && let Some(gone) = self.dialogs.remove(key)
            && self.restored.get(&gone.local_tag) == Some(&key)
        {
            self.restored.remove(&gone.local_tag);
        }
    }

    /// Our side of the dialog that this INVITE may become. One INVITE can have several: one early dialog for each leg.
    pub fn open_callee_dialog(&mut self, msg: &Message, flow: Flow, contact: Bytes, owner: O) -> DialogKey {
        let peer = Peer::of_request(msg);
        let ids = self.ids;
        let local = msg.get(Name::To).unwrap_or_default();
        let from_uri = || request_uri(NameAddr::parse(msg.get(Name::From)?)?.uri);
        let target = peer.target.or_else(from_uri).unwrap_or_else(|| format!("sip:{}", flow.remote).into());
        self.dialogs.insert_with_key(|key| {
            Box::new(Dialog {
                call_id: Bytes::copy_from_slice(msg.call_id()),
                local: repaired(local),
                remote: peer.value,
                remote_tag: peer.tag,
                remote_seq: msg.cseq().map(|c| c.0),
                routes: peer.routes,
                target,
                contact,
                ..Dialog::blank(owner, ids.make(Kind::Tag, key.data().as_ffi()), flow)
            })
        })
    }

    /// A dialog of which we are the caller, with a Call-ID of ours. `local` and `remote` are From and To values without tags.
    pub fn open_caller_dialog(
        &mut self,
        local: Bytes,
        remote: Bytes,
        target: Bytes,
        contact: Bytes,
        flow: Flow,
        owner: O,
    ) -> DialogKey {
        let ids = self.ids;
        self.dialogs.insert_with_key(|key| {
            let ffi = key.data().as_ffi();
            Box::new(Dialog {
                call_id: Bytes::copy_from_slice(ids.make(Kind::CallId, ffi).as_bytes()),
                local,
                remote,
                target,
                contact,
                home: Some(flow),
                ..Dialog::blank(owner, ids.make(Kind::Tag, ffi), flow)
            })
        })
    }

    /// Begins a request inside a dialog (or the INVITE that creates it): start line, Via, Max-Forwards, Route, From, To,
    /// Call-ID, CSeq, and Contact where the method wants one. Add what else it needs and hand it to [`Endpoint::send`].
    /// `None` where the dialog is gone, or the other side gave it no Call-ID.
    pub fn begin(
        &mut self,
        dialog: DialogKey,
        method: &[u8],
        max_forwards: u8,
        owner: O,
        now: Time,
    ) -> Option<(ClientKey, Writer)> {
        let hop = self.dialogs.get(dialog).filter(|d| d.is_addressable())?.next_hop(&self.locals);
        let invite = method == b"INVITE";
        let entry = self.dialogs.get(dialog)?;
        let mut client = ClientTransaction::new(invite, hop, owner, Some(dialog), now);
        client.ways = entry.other_ways(hop);
        client.method = Method::of(method);
        client.account = entry.account;
        let tx = self.clients.insert(Box::new(client));
        let branch = self.branch(tx);
        let entry = self.dialogs.get_mut(dialog)?;
        entry.local_seq += 1;
        match method {
            b"INVITE" => {
                (entry.invite, entry.invite_seq) = (Some(tx), entry.local_seq);
                entry.credentials = Bytes::new();
            }
            b"UPDATE" => entry.update = Some(tx),
            _ => {}
        }
        let seq = entry.local_seq;
        let mut w = self.compose(dialog, method, seq, &branch, hop, max_forwards)?;
        let entry = self.dialogs.get(dialog)?;
        if matches!(method, b"INVITE" | b"UPDATE" | b"SUBSCRIBE" | b"NOTIFY" | b"REFER") {
            w.header("Contact", &entry.contact);
        }
        Some((tx, w))
    }

    /// Acknowledges the 2xx of the dialog's INVITE (RFC 3261 section 13.2.2.4), with the answer if the offer came late.
    pub fn acknowledge(&mut self, dialog: DialogKey, content_type: &[u8], body: &[u8]) {
        let Some(entry) = self.dialogs.get_mut(dialog) else { return };
        entry.owes_answer = false;
        let (seq, invite, hop) = (entry.invite_seq, entry.invite, entry.next_hop(&self.locals));
        let credentials = entry.credentials.clone();
        // A transaction of its own in name only: nothing ever answers an ACK.
        let branch = self.ids.make(Kind::Branch, dialog.data().as_ffi() ^ u64::from(seq) << 40);
        let Some(mut w) = self.compose(dialog, b"ACK", seq, &branch, hop, 70) else { return };
        w.raw(&credentials);
        let bytes = if body.is_empty() {
            w.finish()
        } else {
            w.header("Content-Type", content_type);
            w.finish_body(body)
        };
        if let Some(tx) = invite.and_then(|key| self.clients.get_mut(key)) {
            tx.acknowledged_with(hop, bytes.clone());
        }
        self.transmit(hop, bytes, None);
    }

    fn compose(&self, dialog: DialogKey, method: &[u8], seq: u32, branch: &Id, hop: Flow, max_forwards: u8) -> Option<Writer> {
        let entry = self.dialogs.get(dialog)?;
        // RFC 3261 section 12.2.1.1: a strict router's URI stands in the request line, the target behind the other routes.
        let strict = entry.strict_router();
        let mut w = Writer::request(method, strict.unwrap_or(&entry.target));
        self.via(&mut w, hop, branch);
        w.header_num("Max-Forwards", u64::from(max_forwards));
        for route in entry.routes.iter().skip(usize::from(strict.is_some())) {
            w.header("Route", route);
        }
        if strict.is_some() {
            w.header_parts("Route", &[b"<", &entry.target, b">"]);
        }
        w.header_parts("From", &[&entry.local, b";tag=", entry.local_tag.as_bytes()]);
        w.header("To", &entry.remote);
        w.header("Call-ID", &entry.call_id);
        w.header_parts("CSeq", &[number(seq).as_bytes(), b" ", method]);
        Some(w)
    }

    /// The dialog of a request, by our tag in its To; Call-ID and their tag must fit (RFC 3261 section 12.2.2).
    pub(super) fn find_dialog(&self, to_tag: &[u8], msg: &Message) -> Option<DialogKey> {
        let root = match self.ids.read(Kind::Tag, to_tag) {
            Some(key) => DialogKey::from(KeyData::from_ffi(key)),
            None => self.find_restored(to_tag)?,
        };
        let forks = self.dialogs.get(root)?.forks.iter().copied();
        let from = msg.from_tag().unwrap_or_default();
        let fits = |key: &DialogKey| self.dialogs.get(*key).is_some_and(|d| d.call_id == msg.call_id() && d.remote_tag == from);
        std::iter::once(root).chain(forks).find(fits)
    }

    /// Whether what this tag of ours names is this shard's, were there so many shards.
    pub fn is_mine(&self, tag: &[u8], shards: u8) -> bool {
        self.ids.shard_of(Kind::Tag, tag, shards) == Some(self.ids.shard())
    }

    /// The dialog of an earlier run that has this tag of ours.
    pub(super) fn find_restored(&self, tag: &[u8]) -> Option<DialogKey> {
        self.restored.get(&Id::of(tag).filter(|_| !self.restored.is_empty())?).copied()
    }

    /// RFC 3261 section 12.2.2: a CSeq that went backwards gets 500.
    pub(super) fn in_order(&mut self, key: DialogKey, flow: Flow, msg: &Message) -> Option<O> {
        let seq = msg.cseq().map_or(0, |c| c.0);
        let dialog = self.dialogs.get_mut(key)?;
        if dialog.remote_seq.is_some_and(|last| seq <= last) {
            self.reply_stateless(flow, msg, 500, &[("Retry-After", b"1")]);
            return None;
        }
        dialog.remote_seq = Some(seq);
        // A phone whose connection was lost has come back: from now on it is reached by the new one (RULES P11).
        if dialog.along_flow && flow.transport.is_reliable() && flow.transport == dialog.flow.transport {
            dialog.flow = flow;
        }
        Some(dialog.owner)
    }
}

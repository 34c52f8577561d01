//! Dialogs as they are kept for the next run of the node (RULES B1), and how they come back.
//!
//! Plain data for serde: what cannot be text stays bytes, what is not known is passed over. Connections are gone with the
//! process; they are opened anew when something is to be said (RULES P11). Nothing here prints what it holds.

use super::dialog::Dialog;
use super::endpoint::Endpoint;
use super::flow::{Flow, Locals, Transport};
use super::ids::{Id, Kind};
use super::server::Answered;
use super::transaction::LIFETIME;
use super::{DialogKey, ServerKey};
use crate::words::Time;
use bytes::Bytes;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::net::SocketAddr;

/// How far our CSeq jumps with each run, past everything that may have been said since the row was written. Gaps are
/// legal (RFC 3261 section 12.2.1.1).
const SEQ_GAP: u32 = 10_000;
/// A CSeq has 31 bits (RFC 3261 section 8.1.1.5).
const LAST_SEQ: u32 = 0x7fff_ffff;

/// Bytes that are text, mostly: a string where they are UTF-8, else a list of numbers.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Text(pub Bytes);

impl Text {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => s.serialize_str(text),
            Err(_) => s.serialize_bytes(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text or bytes")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(Bytes::copy_from_slice(text.as_bytes())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Text, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = seq.next_element()? {
                    bytes.push(byte);
                }
                Ok(Text(bytes.into()))
            }
        }
        d.deserialize_any(Read)
    }
}

/// A way, without its connection.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct KeptFlow {
    transport: KeptTransport,
    listener: u8,
    remote: SocketAddr,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KeptTransport {
    Udp,
    Tcp,
    Tls,
    Ws,
    Wss,
}

impl From<Flow> for KeptFlow {
    fn from(flow: Flow) -> Self {
        let transport = match flow.transport {
            Transport::Udp => KeptTransport::Udp,
            Transport::Tcp => KeptTransport::Tcp,
            Transport::Tls => KeptTransport::Tls,
            Transport::Ws => KeptTransport::Ws,
            Transport::Wss => KeptTransport::Wss,
        };
        Self { transport, listener: flow.listener, remote: flow.remote }
    }
}

impl KeptFlow {
    /// The same way by today's listeners; `None` where none of them speaks its transport.
    pub fn flow(self, locals: &Locals) -> Option<Flow> {
        let transport = match self.transport {
            KeptTransport::Udp => Transport::Udp,
            KeptTransport::Tcp => Transport::Tcp,
            KeptTransport::Tls => Transport::Tls,
            KeptTransport::Ws => Transport::Ws,
            KeptTransport::Wss => Transport::Wss,
        };
        let same = Flow { transport, listener: self.listener, remote: self.remote, connection: 0, name: 0 };
        let is_there = locals.0.get(usize::from(self.listener)).is_some_and(|l| l.transport == transport);
        if is_there { Some(same) } else { locals.towards(transport, self.remote) }
    }
}

/// A confirmed dialog.
#[derive(Serialize, Deserialize)]
pub struct KeptDialog {
    call_id: Text,
    local_tag: Text,
    local: Text,
    remote: Text,
    remote_tag: Text,
    local_seq: u32,
    remote_seq: Option<u32>,
    invite_seq: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    routes: Vec<Text>,
    target: Text,
    flow: KeptFlow,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    home: Option<KeptFlow>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    along_flow: bool,
    #[serde(default, skip_serializing_if = "Text::is_empty")]
    credentials: Text,
    contact: Text,
}

impl KeptDialog {
    /// Our tag: which shard the dialog belongs to is written in it.
    pub fn local_tag(&self) -> &[u8] {
        &self.local_tag.0
    }
}

/// An INVITE to us that was answered: its copies are known for 32 s (RULES B5).
#[derive(Serialize, Deserialize)]
pub struct KeptInvite {
    hash: u64,
    via: Text,
    flow: KeptFlow,
    /// The 2xx, to be repeated until its ACK comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<Text>,
}

impl<O: Copy> Endpoint<O> {
    /// A dialog for the next run.
    pub fn keep_dialog(&self, key: DialogKey) -> Option<KeptDialog> {
        let d = self.dialogs.get(key)?;
        let text = |bytes: &Bytes| Text(bytes.clone());
        Some(KeptDialog {
            call_id: text(&d.call_id),
            local_tag: Text(Bytes::copy_from_slice(d.local_tag.as_bytes())),
            local: text(&d.local),
            remote: text(&d.remote),
            remote_tag: text(&d.remote_tag),
            local_seq: d.local_seq,
            remote_seq: d.remote_seq,
            invite_seq: d.invite_seq,
            routes: d.routes.iter().map(text).collect(),
            target: text(&d.target),
            flow: d.flow.into(),
            home: d.home.map(Into::into),
            along_flow: d.along_flow,
            credentials: text(&d.credentials),
            contact: text(&d.contact),
        })
    }

    /// A dialog of an earlier run, under a new key. It is found by its old tag, and goes on with CSeqs that were never
    /// used. `None` where the tag is not ours, or no listener is left that could carry it.
    pub fn restore_dialog(&mut self, kept: KeptDialog, owner: O) -> Option<DialogKey> {
        let local_tag = Id::of(&kept.local_tag.0)?;
        let maker = self.ids.maker(Kind::Tag, local_tag.as_bytes()).filter(|_| !self.restored.contains_key(&local_tag))?;
        let flow = kept.flow.flow(&self.locals)?;
        let runs = u32::from(self.ids.era().wrapping_sub(maker.era));
        let dialog = Dialog {
            call_id: kept.call_id.0,
            local: kept.local.0,
            remote: kept.remote.0,
            remote_tag: kept.remote_tag.0,
            // Counted from the dialog's beginning: a row that was written in between says more already.
            local_seq: kept.local_seq.max(runs.saturating_mul(SEQ_GAP)).saturating_add(SEQ_GAP).min(LAST_SEQ),
            remote_seq: kept.remote_seq,
            invite_seq: kept.invite_seq,
            routes: kept.routes.into_iter().map(|r| r.0).collect(),
            target: kept.target.0,
            home: kept.home.and_then(|home| home.flow(&self.locals)),
            along_flow: kept.along_flow,
            credentials: kept.credentials.0,
            contact: kept.contact.0,
            confirmed: true,
            ..Dialog::blank(owner, local_tag, flow)
        };
        let key = self.dialogs.insert(Box::new(dialog));
        self.restored.insert(local_tag, key);
        Some(key)
    }

    /// An answered INVITE to us, for the next run. With its 2xx, where `answer`.
    pub fn keep_invite(&self, key: ServerKey, answer: bool) -> Option<KeptInvite> {
        let Answered { hash, via, flow, last } = self.servers.get(key)?.answered();
        Some(KeptInvite { hash, via: Text(via), flow: flow.into(), answer: (answer && !last.is_empty()).then_some(Text(last)) })
    }

    /// An INVITE that an earlier run answered at `answered`: its copies are no new calls. Where its 2xx was kept, that is
    /// repeated until its ACK comes in this dialog.
    pub fn restore_invite(&mut self, kept: KeptInvite, dialog: DialogKey, answered: Time, now: Time) -> Option<ServerKey> {
        let until = Some(answered + LIFETIME).filter(|until| *until > now)?;
        let flow = kept.flow.flow(&self.locals)?;
        let waits = kept.answer.is_some();
        let answered = Answered { hash: kept.hash, via: kept.via.0, flow, last: kept.answer.unwrap_or_default().0 };
        let key = self.reopen_server(answered, dialog, until, now);
        if let Some(entry) = self.dialogs.get_mut(dialog).filter(|_| waits) {
            entry.answered = Some(key);
        }
        Some(key)
    }
}

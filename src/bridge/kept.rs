//! Calls that are up, as rows for the next run of the node, and how they come back (RULES B1).
//!
//! One row a call in [`Table::Call`]: both dialogs, who called, and the story's part. It is written soon after the call is
//! connected or a target has changed, and forgotten at the call's end. Its key is our tag towards the caller, which says
//! whose shard it is. Read [`KeptCall`] first.

use super::anchor::Anchor;
use super::call::{Call, CallKey, Fate, Kind, Leg, Owner, Progress, Side};
use super::compose::Dress;
use super::ordinary::Hunt;
use super::own::Errand;
use super::shard::{Do, Shard, Wake};
use crate::emergency::facts::{self, AgentId, LegId, Origin, PeerId, TrunkId};
use crate::emergency::kept::KeptTalk;
use crate::sip::kept::{KeptDialog, KeptInvite};
use crate::sip::{ClientKey, DialogKey, ServerKey};
use crate::words::{Private, Row, Saved, Table, Time};
use serde::{Deserialize, Serialize};
use smallvec::smallvec;
use std::borrow::Cow;
use std::time::Duration;

/// The form of the rows. One that is higher is another version's.
const FORMAT: u8 = 1;
/// When the sides of a restored call are asked whether they still know of it: its end may have come too late to be written.
const ASK: Duration = Duration::from_secs(30);
/// Between one call and the next.
const ASK_NEXT: Duration = Duration::from_millis(1);
/// When a side that said nothing is asked again.
pub(super) const ASK_AGAIN: Duration = Duration::from_secs(60);
/// How long what has changed may wait to be written, together with other calls: the rule leaves 100 ms after the answer, and
/// the store lingers as well.
const SOON: Duration = Duration::from_millis(20);
/// What a row has, about.
const ROW: usize = 1536;

/// A connected call.
#[derive(Serialize, Deserialize)]
struct KeptCall<'a> {
    format: u8,
    kind: KeptKind,
    origin: KeptOrigin<'a>,
    /// Whose credentials answer challenges on the far side, by the trunk's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<Cow<'a, str>>,
    leg: u16,
    near: KeptDialog,
    far: KeptDialog,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    near_masked: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    far_masked: bool,
    /// When it was connected, in microseconds of boot time.
    connected: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    invite: Option<KeptInvite>,
    /// The caller's ACK is to bring the answer that the far side waits for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    late: bool,
    /// The agent whose line an ordinary call takes, by her id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    line: Option<Cow<'a, str>>,
    /// Where its audio goes through us: the ports, the keys and what was agreed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    anchor: Option<Cow<'a, Anchor>>,
    /// What the story keeps of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    story: Option<KeptTalk>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KeptKind {
    Emergency,
    Callback,
    Ordinary,
}

/// Who called, by name: places may change with the configuration.
#[derive(Default, Serialize, Deserialize)]
struct KeptOrigin<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    peer: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trunk: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    agent: Option<Cow<'a, str>>,
}

impl Shard {
    /// Writes a connected call down soon.
    pub(super) fn keep_call(&mut self, key: CallKey, now: Time) {
        if self.unkept.is_empty() {
            self.wakes.arm(now + SOON, Wake::KeepCalls);
        }
        if self.unkept.last() != Some(&key) {
            self.unkept.push(key);
        }
    }

    /// Writes down what is to be, now.
    pub fn keep_calls(&mut self) {
        for key in std::mem::take(&mut self.unkept) {
            self.write_call(key);
        }
    }

    fn write_call(&mut self, key: CallKey) {
        let Some((tag, value)) = self.row_of(key) else { return };
        if let Some(call) = self.calls.get_mut(key) {
            call.kept = Some(tag);
        }
        self.out.push_back(Do::Side(facts::Side::Keep(Row::keep(Table::Call, name_of(&tag), value))));
    }

    /// A call is over: its row is wiped.
    pub(super) fn forget_kept(&mut self, key: CallKey) {
        if let Some(tag) = self.calls.get_mut(key).and_then(|c| c.kept.take()) {
            self.out.push_back(Do::Side(facts::Side::Keep(Row::forget(Table::Call, name_of(&tag)))));
        }
    }

    /// Takes up the calls of an earlier run that are this shard's.
    pub(super) fn restore_calls(&mut self, saved: &Saved, now: Time) {
        let mut ask = now + ASK;
        for (name, value) in saved.rows(Table::Call) {
            if !self.endpoint.is_mine(name.as_bytes(), self.setup.shards) {
                continue;
            }
            let Ok(kept) = serde_json::from_slice::<KeptCall<'_>>(value) else { continue };
            if kept.format <= FORMAT && kept.near.local_tag() == name.as_bytes() {
                ask += ASK_NEXT;
                self.restore_call(kept, saved.same_boot, ask, now);
            }
        }
    }

    /// Asks a side of a restored call whether it still knows of it. Only a 481 ends the call (RULES P11).
    pub(super) fn ask_whether_alive(&mut self, key: CallKey, leg: LegId, side: Side, now: Time) {
        let connected = self.calls.get(key).filter(|c| c.progress == Progress::Connected(leg));
        let Some(dialog) = connected.and_then(|c| c.dialog(leg, side)) else { return };
        let owner = Owner::Own(Errand::Alive(key, leg, side));
        let Some((tx, mut w)) = self.endpoint.begin(dialog, b"OPTIONS", 70, owner, now) else { return };
        w.header("Accept", b"application/sdp");
        self.endpoint.send(tx, w.finish(), now);
    }

    /// What it says.
    pub(super) fn on_alive(&mut self, key: CallKey, leg: LegId, side: Side, status: u16, now: Time) {
        if status == 481 {
            self.end_by(key, leg, side, now);
        }
    }

    /// Asks it then.
    pub(super) fn ask_later_whether_alive(&mut self, key: CallKey, leg: LegId, side: Side, at: Time) {
        self.wakes.arm(at, Wake::Errand(Errand::Alive(key, leg, side)));
    }

    fn row_of(&self, key: CallKey) -> Option<(crate::sip::ids::Id, Vec<u8>)> {
        let call = self.calls.get(key)?;
        let Progress::Connected(id) = call.progress else { return None };
        let leg = call.leg(id)?;
        let (near, far) = (leg.near?, leg.far);
        let kind = match call.kind {
            Kind::Emergency => KeptKind::Emergency,
            Kind::Callback => KeptKind::Callback,
            Kind::Ordinary(_) | Kind::Undecided => KeptKind::Ordinary,
        };
        let storys = call.kind.is_storys();
        let late = call.late_ack == Some((near, far));
        let account = self.endpoint.dialog(far)?.account.and_then(|trunk| self.setup.links.trunks.get(usize::from(trunk)));
        let kept = KeptCall {
            format: FORMAT,
            kind,
            origin: self.named(call.origin),
            account: account.map(|link| Cow::Borrowed(&*link.name)),
            leg: id.0,
            near: self.endpoint.keep_dialog(near)?,
            far: self.endpoint.keep_dialog(far)?,
            near_masked: call.near_dress == Dress::Masked,
            far_masked: leg.dress == Dress::Masked,
            connected: call.connected.as_micros(),
            // An ordinary call's answer is not worth its room, unless the far side cannot go on without the ACK.
            invite: self.endpoint.keep_invite(call.server, storys || late),
            late,
            line: Self::line_of(call).map(Cow::Borrowed),
            anchor: leg.anchor.as_deref().map(Cow::Borrowed),
            story: self.story.as_ref().filter(|_| storys).and_then(|story| story.kept(key.id())),
        };
        let mut value = Vec::with_capacity(ROW);
        serde_json::to_writer(&mut value, &kept).ok()?;
        Some((self.endpoint.dialog(near)?.local_tag, value))
    }

    fn named(&self, origin: Origin) -> KeptOrigin<'_> {
        let links = &self.setup.links;
        let peer = |p: PeerId| links.peers.get(usize::from(p.0)).map(|l| Cow::Borrowed(&*l.name));
        let trunk = |t: TrunkId| links.trunks.get(usize::from(t.0)).map(|l| Cow::Borrowed(&*l.name));
        match origin {
            Origin::Peer(p) => KeptOrigin { peer: peer(p), ..KeptOrigin::default() },
            Origin::Trunk(t) => KeptOrigin { trunk: trunk(t), ..KeptOrigin::default() },
            Origin::Both(p, t) => KeptOrigin { peer: peer(p), trunk: trunk(t), agent: None },
            Origin::Agent(a) => {
                let agent = self.setup.site.agents.get(a.0 as usize).map(|a| Cow::Borrowed(&**a.id.reveal()));
                KeptOrigin { agent, ..KeptOrigin::default() }
            }
            Origin::Stranger => KeptOrigin::default(),
        }
    }

    fn origin_named(&self, kept: &KeptOrigin<'_>) -> Origin {
        let links = &self.setup.links;
        let at = |of: &[super::links::Link], name: &Option<Cow<'_, str>>| {
            name.as_ref().and_then(|name| of.iter().position(|l| l.name == **name)).and_then(|at| u16::try_from(at).ok())
        };
        let agents = &self.setup.site.agents;
        let agent = kept.agent.as_ref().and_then(|id| agents.iter().position(|a| *a.id.reveal() == **id));
        match (at(&links.peers, &kept.peer), at(&links.trunks, &kept.trunk), agent.and_then(|at| u32::try_from(at).ok())) {
            (Some(p), Some(t), _) => Origin::Both(PeerId(p), TrunkId(t)),
            (Some(p), None, _) => Origin::Peer(PeerId(p)),
            (None, Some(t), _) => Origin::Trunk(TrunkId(t)),
            (None, None, Some(a)) => Origin::Agent(AgentId(a)),
            (None, None, None) => Origin::Stranger,
        }
    }

    fn restore_call(&mut self, kept: KeptCall<'_>, same_boot: bool, ask: Time, now: Time) {
        let (id, connected) = (LegId(kept.leg), Time::from_micros(kept.connected));
        let origin = self.origin_named(&kept.origin);
        let account = kept.account.as_ref().and_then(|name| self.setup.links.trunks.iter().position(|l| l.name == **name));
        let key = self.calls.insert(Box::new(Call { kept: None, connected, ..blank(kept.kind, origin, id, kept.near_masked) }));
        let owner = |side| Owner::Leg { call: key, leg: id, side };
        let near = self.endpoint.restore_dialog(kept.near, owner(Side::Near));
        let far = self.endpoint.restore_dialog(kept.far, owner(Side::Far));
        [near, far].into_iter().flatten().for_each(|dialog| self.note_restored(key, dialog));
        let (Some(near), Some(far)) = (near, far) else {
            near.into_iter().chain(far).for_each(|half| self.endpoint.end_dialog(half));
            self.calls.remove(key);
            return;
        };
        let young = same_boot && now.since(connected) < crate::sip::transaction::LIFETIME;
        let (late, invite) = (kept.late && young, kept.invite.filter(|_| young));
        let server = invite.and_then(|invite| self.endpoint.restore_invite(invite, near, connected, now));
        if let Some(dialog) = self.endpoint.dialog_mut(near) {
            dialog.account = Self::account_of(origin);
        }
        let account = account.and_then(|at| u16::try_from(at).ok());
        self.learn_realm(account, far);
        if let Some(dialog) = self.endpoint.dialog_mut(far) {
            dialog.account = account;
            dialog.owes_answer = late;
        }
        if let Some(call) = self.calls.get_mut(key) {
            let dress = if kept.far_masked { Dress::Masked } else { Dress::Open };
            let anchor = kept.anchor.map(|anchor| Box::new(anchor.into_owned()));
            call.near_pair = anchor.as_ref().map(|anchor| anchor.near_pair().clone());
            call.legs = smallvec![Leg { anchor, ..connected_leg(id, near, far, dress) }];
            call.server = server.unwrap_or_default();
            call.late_ack = late.then_some((near, far));
            call.kept = self.endpoint.dialog(near).map(|d| d.local_tag);
        }
        if let Some(agent) = kept.line {
            self.take_line_again(key, Private::new(agent.into_owned()));
        }
        if let (Some(story), Some(part)) = (&mut self.story, kept.story) {
            story.restore_call(key.id(), &part, now);
        }
        self.join(key, id, true);
        [Side::Near, Side::Far].into_iter().for_each(|side| self.ask_later_whether_alive(key, id, side, ask));
        if !same_boot {
            // From here on the times in all rows are this boot's.
            self.write_call(key);
        }
    }
}

/// A connected call without its dialogs.
fn blank(kind: KeptKind, origin: Origin, leg: LegId, near_masked: bool) -> Call {
    let flow = crate::sip::Flow {
        transport: crate::sip::Transport::Udp,
        listener: 0,
        remote: std::net::SocketAddr::from(([0, 0, 0, 0], 0)),
        connection: 0,
        name: 0,
    };
    Call {
        kind: match kind {
            KeptKind::Emergency => Kind::Emergency,
            KeptKind::Callback => Kind::Callback,
            KeptKind::Ordinary => Kind::Ordinary(Hunt::over()),
        },
        origin,
        server: ServerKey::default(),
        near_flow: flow,
        invite: None,
        offered: true,
        near_dress: if near_masked { Dress::Masked } else { Dress::Open },
        near_contact: bytes::Bytes::new(),
        legs: smallvec![],
        progress: Progress::Connected(leg),
        late_ack: None,
        read_back: None,
        near_pair: None,
        page: None,
        connected: Time::ZERO,
        kept: None,
    }
}

fn connected_leg(id: LegId, near: DialogKey, far: DialogKey, dress: Dress) -> Leg {
    Leg { near: Some(near), fate: Fate::Chosen, ..Leg::new(id, ClientKey::default(), far, dress) }
}

fn name_of(tag: &crate::sip::ids::Id) -> String {
    String::from_utf8_lossy(tag.as_bytes()).into_owned()
}

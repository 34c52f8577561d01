//! A call as the wire sees it: one side that called us, and the legs that we placed for it.
//!
//! Each leg is a pair of dialogs, so that each early dialog of the far side has one of its own on the near side
//! (RFC 3261 section 12.1): whatever comes in one goes out in the other.

use super::anchor::{Anchor, Pair, Srtp};
use super::bindings::DeviceKey;
use super::compose::Dress;
use super::ordinary::{Hop, Hunt};
use super::page::{Page, Seat};
use super::read_back::ReadBack;
use crate::emergency::facts::{BodyForm, CallId, Device, LegId, Origin, Place, Target, TrunkId};
use crate::sip::ids::Id;
use crate::sip::{ClientKey, DialogKey, Flow, Message, ServerKey};
use crate::words::{E164, Time};
use bytes::Bytes;
use slotmap::{Key, KeyData, new_key_type};
use smallvec::SmallVec;

new_key_type! {
    /// Names a call of this shard.
    pub(super) struct CallKey;
}

impl CallKey {
    pub(super) fn id(self) -> CallId {
        CallId(self.data().as_ffi())
    }

    pub(super) fn of(id: CallId) -> Self {
        Self::from(KeyData::from_ffi(id.0))
    }
}

/// Which side of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Whoever called us.
    Near,
    /// Whom we called.
    Far,
}

/// Whose a dialog or a request of ours is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owner {
    /// A dialog of a call, or the INVITE that makes one.
    Leg { call: CallKey, leg: LegId, side: Side },
    /// A request passed on within a call.
    Passed(Passed),
    /// A dialog with a caller to whom we read.
    ReadBack(CallKey),
    /// A request on our own behalf.
    Own(super::own::Errand),
    /// A dialog with a page that is rung again, and the INVITE that makes it.
    Page(Seat),
    /// The offer of such a page, on its way to the other side; her dialog waits for the answer.
    Rejoin(Seat, DialogKey),
    /// The end of what an earlier run began.
    Late,
}

/// A request that was passed on from one dialog of a leg to its twin; its answer goes back to `server`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passed {
    pub(super) call: CallKey,
    pub(super) leg: LegId,
    /// Where the request went.
    pub(super) side: Side,
    pub(super) asker: DialogKey,
    pub(super) asked: DialogKey,
    pub(super) server: ServerKey,
}

/// What a call is to us.
pub(super) enum Kind {
    /// An emergency call; the story decides.
    Emergency,
    /// A PSAP's call back; the story decides.
    Callback,
    /// Anything else; the hunt decides.
    Ordinary(Hunt),
    /// Not decided yet.
    Undecided,
}

impl Kind {
    /// Whether the story decides over it: then only a party ends it (RULES P11).
    pub(super) const fn is_storys(&self) -> bool {
        matches!(self, Self::Emergency | Self::Callback)
    }
}

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The caller waits for a final response.
    Waiting,
    /// Connected over this leg.
    Connected(LegId),
    /// The caller has its final error, or the call was hung up. Only given-up legs may still come to rest.
    Over,
}

/// One call.
pub(super) struct Call {
    pub(super) kind: Kind,
    pub(super) origin: Origin,
    /// The caller's INVITE, its transaction, and how it came.
    pub(super) server: ServerKey,
    pub(super) near_flow: Flow,
    /// Kept until the call is connected or over.
    pub(super) invite: Option<Box<Message>>,
    /// Whether it brought an offer: then a 2xx is acknowledged at once, else with the caller's answer.
    pub(super) offered: bool,
    /// What the caller may see.
    pub(super) near_dress: Dress,
    /// Our Contact towards the caller.
    pub(super) near_contact: Bytes,
    pub(super) legs: SmallVec<[Leg; 2]>,
    pub(super) progress: Progress,
    /// The dialog that waits for the ACK of the other side's answer: `(whose ACK, whose 2xx)`.
    pub(super) late_ack: Option<(DialogKey, DialogKey)>,
    /// Where we are the other side.
    pub(super) read_back: Option<Box<ReadBack>>,
    /// The ports that the caller is told, where its audio goes through us.
    pub(super) near_pair: Option<Pair>,
    /// The agent's page in it.
    pub(super) page: Option<Page>,
    /// When it was connected.
    pub(super) connected: Time,
    /// Under which tag of ours it is written down.
    pub(super) kept: Option<Id>,
}

/// One leg: the dialog with whom we called, and its twin towards the caller.
pub(super) struct Leg {
    pub(super) id: LegId,
    pub(super) invite: ClientKey,
    pub(super) far: DialogKey,
    /// The dialog that the INVITE was sent in; [`Leg::far`] is another one after the answer has forked.
    pub(super) root: DialogKey,
    /// Made with the first response that is passed on.
    pub(super) near: Option<DialogKey>,
    /// Early dialogs of other forks, and their twins towards the caller.
    pub(super) forks: SmallVec<[(DialogKey, Option<DialogKey>); 0]>,
    pub(super) dress: Dress,
    pub(super) fate: Fate,
    /// How an emergency leg was placed, should it have to be placed once more.
    pub(super) placed: Option<Box<Placement>>,
    /// Where it goes, should that have to be tried by another way; trunks have [`Leg::placed`].
    pub(super) course: Option<Box<Course>>,
    /// A callback's leg refused what it was offered of SRTP, and gets this instead.
    pub(super) srtp: Option<Srtp>,
    /// Where its audio goes through us.
    pub(super) anchor: Option<Box<Anchor>>,
}

/// A leg's goal, and the ways by which it was tried.
#[derive(Clone)]
pub(super) struct Course {
    pub(super) goal: Goal,
    /// The last one is the leg's.
    pub(super) tried: SmallVec<[Flow; 2]>,
    /// Its connection was lost after it had said that it rings.
    pub(super) lost: bool,
}

/// Whom a leg is for.
#[derive(Clone)]
pub(super) enum Goal {
    /// A callback's, by the number that was called.
    Callback(Device, E164),
    /// An ordinary call's.
    Ordinary(Hop),
}

impl Goal {
    /// The device that it is, where that has registered.
    pub(super) fn device(&self) -> Option<DeviceKey> {
        match self {
            Self::Callback(Device::Registered(device), _) | Self::Ordinary(Hop::Device(device)) => Some(DeviceKey::of(*device)),
            _ => None,
        }
    }
}

/// How an emergency leg is placed.
#[derive(Clone)]
pub(super) struct Placement {
    pub(super) trunk: TrunkId,
    pub(super) target: Target,
    pub(super) shown: E164,
    pub(super) form: BodyForm,
    /// To be added to the body.
    pub(super) location: Option<Place>,
    pub(super) test: bool,
    /// Where the trunk sent it with a 3xx.
    pub(super) moved: Option<(Bytes, Flow)>,
    /// The shortest session interval that the trunk wants (422).
    pub(super) min_se: Option<u32>,
    /// It refused what it was offered of SRTP, and gets this instead.
    pub(super) srtp: Option<Srtp>,
}

/// What is to become of a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It may still become the call's.
    Open,
    /// Given up: a late 2xx gets ACK and BYE. The text is its Reason.
    GivenUp(&'static str),
    /// It is the call's.
    Chosen,
    /// Nothing will come of it any more.
    Gone,
}

impl Leg {
    pub(super) fn new(id: LegId, invite: ClientKey, far: DialogKey, dress: Dress) -> Self {
        Self {
            id,
            invite,
            far,
            root: far,
            near: None,
            forks: SmallVec::new(),
            dress,
            fate: Fate::Open,
            placed: None,
            course: None,
            srtp: None,
            anchor: None,
        }
    }

    /// All dialogs of it, towards both sides.
    pub(super) fn take_dialogs(&mut self) -> SmallVec<[DialogKey; 2]> {
        let forks = std::mem::take(&mut self.forks);
        let all = forks.into_iter().chain([(self.far, self.near.take())]).flat_map(|(far, near)| [Some(far), near]);
        all.flatten().chain([self.root]).collect()
    }
}

impl Call {
    pub(super) fn leg(&self, id: LegId) -> Option<&Leg> {
        self.legs.iter().find(|l| l.id == id)
    }

    pub(super) fn leg_mut(&mut self, id: LegId) -> Option<&mut Leg> {
        self.legs.iter_mut().find(|l| l.id == id)
    }

    /// The dialog that belongs to this one of a leg, on its other side.
    pub(super) fn twin(&self, id: LegId, side: Side, dialog: DialogKey) -> Option<DialogKey> {
        let leg = self.leg(id)?;
        let mut pairs = std::iter::once((leg.far, leg.near)).chain(leg.forks.iter().copied());
        match side {
            Side::Near => pairs.find(|(_, near)| *near == Some(dialog)).map(|(far, _)| far),
            Side::Far => pairs.find(|(far, _)| *far == dialog).and_then(|(_, near)| near),
        }
    }

    /// The dialog on the other side of a leg.
    pub(super) fn dialog(&self, id: LegId, side: Side) -> Option<DialogKey> {
        let leg = self.leg(id)?;
        match side {
            Side::Near => leg.near,
            Side::Far => Some(leg.far),
        }
    }

    /// How a side is dressed.
    pub(super) fn dress(&self, id: LegId, side: Side) -> Dress {
        match side {
            Side::Near => self.near_dress,
            Side::Far => self.leg(id).map_or(Dress::Masked, |l| l.dress),
        }
    }

    /// Whether nothing of it is left on the wire.
    pub(super) fn is_at_rest(&self) -> bool {
        self.progress == Progress::Over && self.legs.iter().all(|l| matches!(l.fate, Fate::Gone | Fate::Chosen))
    }
}

impl Side {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Near => Self::Far,
            Self::Far => Self::Near,
        }
    }
}

//! A call as the wire sees it: one side that called us, and the legs that we placed for it.
//!
//! Each leg is a pair of dialogs, so that each early dialog of the far side has one of its own on the near side
//! (RFC 3261 section 12.1): whatever comes in one goes out in the other.

use super::compose::Dress;
use super::ordinary::Hunt;
use crate::emergency::facts::{CallId, LegId, Origin};
use crate::sip::{ClientKey, DialogKey, Flow, Message, ServerKey};
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
    /// A request passed on within a call: its answer goes back to `server`. `side` is where the request went.
    Passed { call: CallKey, leg: LegId, side: Side, server: ServerKey },
    /// A request on our own behalf.
    Own(super::own::Errand),
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
}

/// One leg: the dialog with whom we called, and its twin towards the caller.
pub(super) struct Leg {
    pub(super) id: LegId,
    pub(super) invite: ClientKey,
    pub(super) far: DialogKey,
    /// Made with the first response that is passed on.
    pub(super) near: Option<DialogKey>,
    pub(super) dress: Dress,
    pub(super) fate: Fate,
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

impl Call {
    pub(super) fn leg(&self, id: LegId) -> Option<&Leg> {
        self.legs.iter().find(|l| l.id == id)
    }

    pub(super) fn leg_mut(&mut self, id: LegId) -> Option<&mut Leg> {
        self.legs.iter_mut().find(|l| l.id == id)
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

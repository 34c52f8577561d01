//! What stays the same of a call while its state changes, and what waits until its INVITE has left.

use crate::emergency::facts::{Body, CallId, Side};
use crate::emergency::lease::RecordId;
use crate::emergency::notice::About;
use crate::emergency::number::Dialed;
use crate::emergency::outputs::Outputs;
use crate::words::{E164, Position, Private};

/// What a call is, in every state.
#[derive(Debug)]
pub struct Facts {
    /// The bridge's name for it.
    pub call: CallId,
    /// What the contacts are told.
    pub about: About,
    /// What was dialed.
    pub dialed: Dialed,
    /// Whose lease it is.
    pub record: RecordId,
    /// What it carries.
    pub body: Body,
    /// The number shown last.
    pub shown: Option<E164>,
    /// The location that the call brought, in words.
    pub brought: Option<Private<String>>,
    /// Where her browser says that she is.
    pub position: Option<Private<Position>>,
    /// The location that went out last, in words.
    pub location: Option<Private<String>>,
    /// Whatever waits until the INVITE has left; `None` once it has.
    then: Option<Vec<Side>>,
}

impl Facts {
    /// A call that is not placed yet.
    pub fn new(call: CallId, about: About, dialed: Dialed, record: RecordId, body: Body) -> Self {
        Self {
            call,
            about,
            dialed,
            record,
            body,
            shown: None,
            brought: None,
            position: None,
            location: None,
            then: Some(Vec::with_capacity(3)),
        }
    }

    /// The same of a call whose INVITE left in an earlier life: nothing waits for that.
    pub(super) fn of_one_placed_before(self) -> Self {
        Self { then: None, ..self }
    }

    /// Says something beside the call, but not before its INVITE has left.
    pub fn then(&mut self, side: Side, out: &mut Outputs) {
        match &mut self.then {
            Some(waiting) => waiting.push(side),
            None => out.side(self.located(side)),
        }
    }

    /// A notice says which location was sent, which is known once the INVITE has left.
    fn located(&self, side: Side) -> Side {
        match side {
            Side::Notice(notice) => Side::Notice(notice.with_location(self.location.as_ref())),
            side => side,
        }
    }

    /// It ended before: of what waited, the contacts need not hear that a call was made.
    pub(super) fn never_placed(&mut self, out: &mut Outputs) {
        let waiting = self.then.take().into_iter().flatten();
        waiting.filter(|side| !matches!(side, Side::Notice(_))).for_each(|side| out.side(side));
    }

    pub(super) fn placed(&mut self, out: &mut Outputs) {
        self.then.take().into_iter().flatten().for_each(|side| out.side(self.located(side)));
    }
}

//! The trunks that are asked for one call: what each has said, and who has been silent for too long (RULES P6, P7).
//!
//! Parts of [`call`](super::call) without decisions of their own; all of it is arithmetic on times.

use std::time::Duration;

use super::facts::{BodyForm, LegId};
use super::path::Attempt;
use super::site::PlacingTimes;
use crate::words::{E164, Time};

/// One attempt of the plan.
#[derive(Debug)]
pub(super) struct Try {
    pub(super) attempt: Attempt,
    pub(super) state: TryState,
    pub(super) body: BodyForm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TryState {
    NotTried,
    Running,
    /// Another leg was preferred; counts as not tried if that one fails (RULES P7).
    GivenUp,
    Refused,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Leg {
    pub(super) id: LegId,
    pub(super) of: usize,
    pub(super) started: Time,
    pub(super) heard: Heard,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Nothing,
    /// 100 only.
    Trying,
    /// A provisional that keeps it ringing.
    Ringing,
    /// It rang, and its connection is gone: the next trunk starts beside it (RULES P8).
    Lost,
}

/// A leg that leaves as soon as its number's record is durable.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) of: usize,
    pub(super) shown: E164,
    pub(super) until: Time,
}

/// The 30 s of P6: they run until a trunk rings, and go on should that one fail.
#[derive(Clone, Copy, Debug)]
pub(super) enum Clock {
    Runs { until: Time },
    Stopped { left: Duration },
}

impl Clock {
    pub(super) fn stop(&mut self, now: Time) {
        if let Self::Runs { until } = *self {
            *self = Self::Stopped { left: until.since(now) };
        }
    }

    pub(super) fn run(&mut self, now: Time) {
        if let Self::Stopped { left } = *self {
            *self = Self::Runs { until: now + left };
        }
    }

    pub(super) fn is_over(self, now: Time) -> bool {
        self.until().is_some_and(|until| until <= now)
    }

    pub(super) const fn until(self) -> Option<Time> {
        match self {
            Self::Runs { until } => Some(until),
            Self::Stopped { .. } => None,
        }
    }
}

/// 180 and early media make a leg the call's (RULES P7).
pub(super) const fn decides(status: u16, sdp: bool) -> bool {
    status == 180 || (status == 183 && sdp)
}

/// From when on the next trunk is started beside this leg; never while it rings.
pub(super) fn overdue_at(leg: &Leg, times: &PlacingTimes) -> Option<Time> {
    match leg.heard {
        Heard::Nothing => Some(leg.started + times.silence),
        Heard::Trying => Some(leg.started + times.trying),
        Heard::Ringing => None,
        Heard::Lost => Some(leg.started),
    }
}

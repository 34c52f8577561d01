//! What of a call may be seen outside the call and the mail to the contacts (promise 3).
//!
//! Everything that belongs to a person travels as [`Private`](crate::words::Private), which prints nothing.
//! What is left to say in public is a fixed word: the functions here are the only source of those words.

use super::facts::Party;

/// How an emergency call ended; the words of CONTRACT.md "Mail".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered; for a running call.
    Connected,
    /// No trunk took it.
    NotConnected,
    /// The caller gave up before an answer.
    Abandoned,
    /// The trunk ended it: they may call back (RULES A2).
    Dropped,
    /// The agent ended it.
    Ended,
    /// We refused it.
    Refused,
    /// The PSAP called back.
    CalledBack,
}

impl Outcome {
    /// The word for mail, metrics and logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::NotConnected => "not_connected",
            Self::Abandoned => "abandoned",
            Self::Dropped => "dropped",
            Self::Ended => "ended",
            Self::Refused => "refused",
            Self::CalledBack => "called_back",
        }
    }

    /// How an answered emergency call ended, by who ended it: the agent is its caller.
    pub const fn of_answered(by: Party) -> Self {
        match by {
            Party::Caller => Self::Ended,
            Party::Callee => Self::Dropped,
        }
    }
}

/// How far a callback's claim to come from a PSAP is believed (RULES C6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// No lease.
    T0,
    /// Any caller to an open lease.
    T1,
    /// Marked, by a trunk whose marks are trusted.
    T2,
    /// Signed (RFC 9027). Not told apart from T2 in this version.
    T3,
}

impl Tier {
    /// The word for metrics and logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::T0 => "T0",
            Self::T1 => "T1",
            Self::T2 => "T2",
            Self::T3 => "T3",
        }
    }
}

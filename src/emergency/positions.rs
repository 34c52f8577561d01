//! Where agents' browsers say that they are: the last word of each, in memory alone.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::words::{Country, Position, Private, Time};

/// How long a position says in which country she is (RULES R7).
const FRESH: Duration = Duration::from_secs(3600);

/// The last position of each agent; never more than there are agents, for only theirs come here.
#[derive(Default)]
pub(super) struct Positions(BTreeMap<Private<String>, (Private<Position>, Time)>);

impl Positions {
    /// Keeps it in place of the one before.
    pub(super) fn set(&mut self, agent: &Private<String>, position: Private<Position>, now: Time) {
        self.0.insert(agent.clone(), (position, now));
    }

    /// Where this agent was last, if she has said so.
    pub(super) fn of(&self, agent: &Private<String>) -> Option<Private<Position>> {
        self.0.get(agent).map(|(position, _)| *position)
    }

    /// The country where this agent is by her panel, if it has said so within the hour (RULES R7).
    pub(super) fn country_of(&self, agent: &Private<String>, now: Time) -> Option<Country> {
        let (position, told) = self.0.get(agent)?;
        position.reveal().country().filter(|_| now.since(*told) <= FRESH)
    }
}

impl fmt::Debug for Positions {
    /// Prints how many there are and nobody's (promise 3).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Positions({})", self.0.len())
    }
}

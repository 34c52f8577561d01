//! When an agent is shown as "do not disturb" (RULES A1).
//!
//! What she was before is not kept here: whoever tells the presence system takes the snapshot at "true" and
//! restores it at "false". Each is said once for however many calls overlap.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::facts::Side;
use crate::words::{Private, Time};

/// Who ended an agent's last emergency leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// She did: it is over for her.
    Agent,
    /// The trunk did, or no trunk took the call: she may be called back any moment.
    Trunk,
}

/// The agents who are shown as busy with an emergency.
#[derive(Default)]
pub struct Presence {
    agents: BTreeMap<String, Shown>,
    holds: BTreeSet<(Time, String)>,
}

#[derive(Debug, Default)]
struct Shown {
    legs: u32,
    hold: Option<Time>,
}

impl fmt::Debug for Presence {
    /// Prints how many agents are shown busy and none of them (promise 3).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Presence({})", self.agents.len())
    }
}

impl Presence {
    /// An emergency leg of this agent began. Says so if she was not shown busy already.
    pub fn began(&mut self, agent: &Private<String>) -> Option<Side> {
        let known = self.agents.get_mut(agent.reveal());
        let first = known.is_none();
        let shown = match known {
            Some(shown) => shown,
            None => self.agents.entry(agent.reveal().clone()).or_default(),
        };
        shown.legs += 1;
        if let Some(at) = shown.hold.take() {
            self.holds.remove(&(at, agent.reveal().clone()));
        }
        first.then(|| Side::Presence { agent: agent.clone(), dnd: true })
    }

    /// One of them ended. Says so if it was the last and the agent ended it; otherwise the hold begins.
    pub fn ended(&mut self, agent: &Private<String>, by: EndedBy, hold: Duration, now: Time) -> Option<Side> {
        let shown = self.agents.get_mut(agent.reveal())?;
        shown.legs = shown.legs.saturating_sub(1);
        if shown.legs > 0 {
            return None;
        }
        if by == EndedBy::Trunk && !hold.is_zero() {
            shown.hold = Some(now + hold);
            self.holds.insert((now + hold, agent.reveal().clone()));
            return None;
        }
        self.agents.remove(agent.reveal());
        Some(Side::Presence { agent: agent.clone(), dnd: false })
    }

    /// When [`Presence::restore`] has something to say.
    pub fn next_due(&self) -> Option<Time> {
        self.holds.first().map(|(at, _)| *at)
    }

    /// An agent whose hold is over; call again until there is none.
    pub fn restore(&mut self, now: Time) -> Option<Side> {
        if self.next_due()? > now {
            return None;
        }
        let (_, agent) = self.holds.pop_first()?;
        self.agents.remove(&agent);
        Some(Side::Presence { agent: Private::new(agent), dnd: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Duration = Duration::from_secs(120);

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    fn dnd(side: Option<Side>) -> Option<bool> {
        side.map(|s| match s {
            Side::Presence { dnd, .. } => dnd,
            other => panic!("presence says {other:?}"),
        })
    }

    #[test]
    fn a1_do_not_disturb_ends_at_once_where_the_agent_ended_the_call_and_after_the_hold_where_the_trunk_did() {
        let agent = Private::new("ada".to_owned());
        let mut presence = Presence::default();
        assert_eq!(dnd(presence.began(&agent)), Some(true));
        assert_eq!(dnd(presence.ended(&agent, EndedBy::Agent, HOLD, at(5))), Some(false));
        assert_eq!(presence.next_due(), None);

        assert_eq!(dnd(presence.began(&agent)), Some(true));
        assert_eq!(dnd(presence.ended(&agent, EndedBy::Trunk, HOLD, at(10))), None);
        assert_eq!(presence.next_due(), Some(at(130)));
        assert_eq!(dnd(presence.restore(at(129))), None);
        assert_eq!(dnd(presence.restore(at(130))), Some(false));
        assert_eq!(dnd(presence.restore(at(130))), None);
    }

    #[test]
    fn a1_nested_calls_and_a_callback_within_the_hold_restore_once() {
        let agent = Private::new("ada".to_owned());
        let mut presence = Presence::default();
        assert_eq!(dnd(presence.began(&agent)), Some(true));
        assert_eq!(dnd(presence.began(&agent)), None);
        assert_eq!(dnd(presence.ended(&agent, EndedBy::Agent, HOLD, at(1))), None);
        assert_eq!(dnd(presence.ended(&agent, EndedBy::Trunk, HOLD, at(2))), None);
        assert_eq!(dnd(presence.began(&agent)), None, "she is still shown busy");
        assert_eq!(presence.next_due(), None);
        assert_eq!(dnd(presence.ended(&agent, EndedBy::Agent, HOLD, at(3))), Some(false));
    }
}

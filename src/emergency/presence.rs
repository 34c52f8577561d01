//! What an agent is shown as: "do not disturb" during an emergency, otherwise what she set by hand (RULES A1).
//!
//! The snapshot of A1 is her own state, which is kept beside the emergency's: a change by hand while she is shown busy
//! replaces what comes back. Each change is said once for however many calls overlap, and written down after it was
//! said, so that after a kill it is rather said again than lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::facts::Side;
use super::kept::{FORMAT, decode, encode};
use crate::words::{Private, Row, Saved, Table, Time};

/// Who ended an agent's last emergency leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// She did: it is over for her.
    Agent,
    /// The trunk did, or no trunk took the call: she may be called back any moment.
    Trunk,
}

/// The states of CONTRACT.md.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PresenceState {
    /// There.
    #[default]
    Available,
    /// Has something to do.
    Busy,
    /// Not there.
    Away,
    /// Do not disturb.
    Dnd,
    /// Not signed in.
    Offline,
}

impl PresenceState {
    /// The word of the API and the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Busy => "busy",
            Self::Away => "away",
            Self::Dnd => "dnd",
            Self::Offline => "offline",
        }
    }

    /// The state of this word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Available, Self::Busy, Self::Away, Self::Dnd, Self::Offline].into_iter().find(|state| state.word() == word)
    }
}

/// An agent's presence as others ask for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// What she is shown as.
    pub shown: PresenceState,
    /// An emergency is the reason.
    pub emergency: bool,
    /// What she set by hand: that comes back after the emergency.
    pub own: PresenceState,
    /// A line of hers, or empty.
    pub note: Private<String>,
    /// Since when she is shown so; in another boot than this, since the restart. None: nothing is known of her.
    pub since: Option<Time>,
    /// Until when the hold after an emergency lasts, unless it is dismissed.
    pub hold: Option<Time>,
}

/// The agents of whom something is known.
#[derive(Default)]
pub struct Presence {
    agents: BTreeMap<String, Known>,
    holds: BTreeSet<(Time, String)>,
    /// Those whose row is old.
    changed: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Known {
    own: PresenceState,
    note: Private<String>,
    since: Time,
    /// Since when she is shown busy with an emergency.
    busy: Option<Time>,
    legs: u32,
    hold: Option<Time>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    #[serde(default)]
    format: u32,
    #[serde(default)]
    own: PresenceState,
    #[serde(default)]
    note: String,
    #[serde(default)]
    since: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    busy: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hold: Option<u64>,
}

/// Who was not available when the store was last written: id, what she was shown as, and whether for an emergency.
pub fn shown_before(saved: &Saved) -> impl Iterator<Item = (&str, PresenceState, bool)> {
    let shown = saved.rows(Table::Presence).filter_map(|(agent, row)| Some((agent, decode::<Kept>(row)?)));
    shown
        .map(|(agent, kept)| (agent, kept.shown(), kept.busy.is_some()))
        .filter(|(_, shown, _)| *shown != PresenceState::Available)
}

impl Kept {
    fn shown(&self) -> PresenceState {
        if self.busy.is_some() { PresenceState::Dnd } else { self.own }
    }
}

impl fmt::Debug for Presence {
    /// Prints how many agents there are and none of them (promise 3).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Presence({})", self.agents.len())
    }
}

impl Presence {
    /// What the store held. Whoever was shown busy is so still, for the rest of her hold, or for a whole one where her
    /// call was up: a call that is restored stops it.
    pub fn restore(saved: &Saved, hold: Duration, now: Time, mut say: impl FnMut(Side)) -> Self {
        let mut presence = Self::default();
        for (agent, row) in saved.rows(Table::Presence) {
            let Some(kept) = decode::<Kept>(row) else { continue };
            let time = |at| if saved.same_boot { Time::from_micros(at).min(now) } else { now };
            let until = kept.hold.filter(|_| saved.same_boot).map_or(now + hold, Time::from_micros).min(now + hold);
            let hold = kept.busy.map(|_| until);
            presence.holds.extend(hold.map(|at| (at, agent.to_owned())));
            let (dnd, shown) = (kept.busy.is_some(), kept.shown());
            if shown != PresenceState::Available {
                say(Side::Presence { agent: Private::new(agent.to_owned()), shown, dnd, again: true });
            }
            let known = Known {
                own: kept.own,
                note: Private::new(kept.note),
                since: time(kept.since),
                busy: kept.busy.map(time),
                legs: 0,
                hold,
            };
            presence.agents.insert(agent.to_owned(), known);
            presence.changed.insert(agent.to_owned());
        }
        presence
    }

    /// An emergency leg of this agent began. Says so if she was not shown busy already.
    pub fn began(&mut self, agent: &Private<String>, now: Time) -> Option<Side> {
        let known = self.agents.entry(agent.reveal().clone()).or_default();
        known.legs += 1;
        let held = known.hold.take();
        let first = known.busy.is_none();
        known.busy.get_or_insert(now);
        if let Some(at) = held {
            self.holds.remove(&(at, agent.reveal().clone()));
        }
        if first || held.is_some() {
            self.changed.insert(agent.reveal().clone());
        }
        first.then(|| Side::Presence { agent: agent.clone(), shown: PresenceState::Dnd, dnd: true, again: false })
    }

    /// One of them ended. Says so if it was the last and the agent ended it; otherwise the hold begins.
    pub fn ended(&mut self, agent: &Private<String>, by: EndedBy, hold: Duration, now: Time) -> Option<Side> {
        let known = self.agents.get_mut(agent.reveal())?;
        known.legs = known.legs.saturating_sub(1);
        if known.legs > 0 || known.busy.is_none() {
            return None;
        }
        if by == EndedBy::Trunk && !hold.is_zero() {
            known.hold = Some(now + hold);
            self.holds.insert((now + hold, agent.reveal().clone()));
            self.changed.insert(agent.reveal().clone());
            return None;
        }
        self.calm(agent.reveal())
    }

    /// Her own state, set by hand. Says so unless she is shown busy with an emergency: then it is what comes back.
    pub fn set(&mut self, agent: &Private<String>, state: PresenceState, note: &str, now: Time) -> Option<Side> {
        let known = self.agents.entry(agent.reveal().clone()).or_default();
        let news = known.own != state && known.busy.is_none();
        (known.own, known.since) = (state, now);
        known.note = Private::new(note.to_owned());
        self.changed.insert(agent.reveal().clone());
        news.then(|| Side::Presence { agent: agent.clone(), shown: state, dnd: false, again: false })
    }

    /// Ends her hold, if it is one; a call that is up is not touched.
    pub fn dismiss(&mut self, agent: &Private<String>) -> Option<Side> {
        let at = self.agents.get_mut(agent.reveal())?.hold.take()?;
        self.holds.remove(&(at, agent.reveal().clone()));
        self.calm(agent.reveal())
    }

    /// When [`Presence::back`] has something to say.
    pub fn next_due(&self) -> Option<Time> {
        self.holds.first().map(|(at, _)| *at)
    }

    /// An agent whose hold is over; call again until there is none.
    pub fn back(&mut self, now: Time) -> Option<Side> {
        if self.next_due()? > now {
            return None;
        }
        let (_, agent) = self.holds.pop_first()?;
        self.calm(&agent)
    }

    /// What an agent is; available where nothing is known of her.
    pub fn view(&self, agent: &str) -> View {
        let Some(known) = self.agents.get(agent) else { return View::default() };
        View {
            shown: if known.busy.is_some() { PresenceState::Dnd } else { known.own },
            emergency: known.busy.is_some(),
            own: known.own,
            note: known.note.clone(),
            since: Some(known.busy.unwrap_or(known.since)),
            hold: known.hold,
        }
    }

    /// The rows of whatever has changed since the last time. An agent of whom there is nothing to say has none.
    pub fn take_rows(&mut self, mut row: impl FnMut(Row)) {
        for agent in std::mem::take(&mut self.changed) {
            match self.agents.get(&agent).map(Known::kept) {
                Some(kept) => row(Row::keep(Table::Presence, agent, encode(&kept))),
                None => row(Row::forget(Table::Presence, agent)),
            }
        }
    }

    /// The emergency is over for her: she is as she was, or as she set herself since.
    fn calm(&mut self, agent: &str) -> Option<Side> {
        let known = self.agents.get_mut(agent)?;
        (known.busy, known.hold) = (None, None);
        let shown = known.own;
        if shown == PresenceState::Available && known.note.reveal().is_empty() {
            self.agents.remove(agent);
        }
        self.changed.insert(agent.to_owned());
        Some(Side::Presence { agent: Private::new(agent.to_owned()), shown, dnd: false, again: false })
    }
}

impl Known {
    fn kept(&self) -> Kept {
        Kept {
            format: FORMAT,
            own: self.own,
            note: self.note.reveal().clone(),
            since: self.since.as_micros(),
            busy: self.busy.map(Time::as_micros),
            hold: self.hold.map(Time::as_micros),
        }
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
        assert_eq!(dnd(presence.began(&agent, at(0))), Some(true));
        assert_eq!(dnd(presence.ended(&agent, EndedBy::Agent, HOLD, at(5))), Some(false));
        assert_eq!(presence.next_due(), None);

        assert_eq!(dnd(presence.began(&agent, at(0))), Some(true));
        assert_eq!(dnd(presence.ended(&agent, EndedBy::Trunk, HOLD, at(10))), None);
        assert_eq!(presence.next_due(), Some(at(130)));
        assert_eq!(dnd(presence.back(at(129))), None);
        assert_eq!(dnd(presence.back(at(130))), Some(false));
        assert_eq!(dnd(presence.back(at(130))), None);
    }

    #[test]
    fn a1_nested_calls_and_a_callback_within_the_hold_restore_once() {
        let agent = Private::new("ada".to_owned());
        let mut presence = Presence::default();
        assert_eq!(dnd(presence.began(&agent, at(0))), Some(true));
        assert_eq!(dnd(presence.began(&agent, at(0))), None);
        assert_eq!(dnd(presence.ended(&agent, EndedBy::Agent, HOLD, at(1))), None);
        assert_eq!(dnd(presence.ended(&agent, EndedBy::Trunk, HOLD, at(2))), None);
        assert_eq!(dnd(presence.began(&agent, at(0))), None, "she is still shown busy");
        assert_eq!(presence.next_due(), None);
        assert_eq!(dnd(presence.ended(&agent, EndedBy::Agent, HOLD, at(3))), Some(false));
    }
}

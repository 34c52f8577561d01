//! Which agents are on ordinary calls, and where those calls are (RULES C2).
//!
//! [`Lines`] is the one thing besides the pool that shards share: each writes its own calls into it, shard 0 reads it when
//! a phone is busy for a callback. Neither the lease nor the callback look-up comes here, and nobody waits here: whoever
//! finds an entry locked for longer than a look-up takes goes on without it. What is missing then costs a busy agent's
//! callback its second offer, what is too much costs it a quarter of a second.

use super::call::{Call, CallKey, Kind, Progress};
use super::emergency::Evidence;
use super::shard::{Do, Shard};
use crate::emergency::caller::number_in;
use crate::emergency::facts::{CallId, Input, Origin, PeerId};
use crate::emergency::lookups::Lookups;
use crate::emergency::site::{Agent, Site};
use crate::sip::Message;
use crate::words::{E164, Private, Time};
use dashmap::{DashMap, Entry};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// How often an entry that is locked is looked at again: some microseconds in all.
const TRIES: usize = 1000;
/// Calls that are remembered for one agent; of more, the newest.
const MOST: usize = 16;

/// RFC 4411 section 5: the user agent needs the line for a call that matters more.
const PREEMPTION: &[u8] = b"preemption;cause=1;text=\"UA Preemption\"";

/// An ordinary call: its shard, and its name there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    shard: u8,
    call: CallId,
}

type Key = Private<Arc<str>>;
type OfOne = SmallVec<[Line; 2]>;

/// Connected ordinary calls by their agent's id. One for all shards, for as long as the process lives.
#[derive(Default)]
pub struct Lines(DashMap<Key, OfOne>);

impl fmt::Debug for Lines {
    /// Prints how many agents and nobody's id (promise 3).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lines({})", self.0.len())
    }
}

impl Lines {
    fn add(&self, agent: &Private<String>, line: Line) {
        let Some(entry) = self.entry(agent) else { return };
        let mut lines = entry.or_default();
        if lines.len() >= MOST {
            lines.remove(0);
        }
        lines.push(line);
    }

    fn remove(&self, agent: &Private<String>, line: Line) {
        let Some(Entry::Occupied(mut lines)) = self.entry(agent) else { return };
        lines.get_mut().retain(|l| *l != line);
        if lines.get().is_empty() {
            lines.remove();
        }
    }

    /// Takes out all calls of an agent.
    fn take(&self, agent: &Private<String>) -> OfOne {
        match self.entry(agent) {
            Some(Entry::Occupied(lines)) => lines.remove(),
            Some(Entry::Vacant(_)) | None => OfOne::new(),
        }
    }

    /// `None` where somebody else has had it for too long.
    fn entry(&self, agent: &Private<String>) -> Option<Entry<'_, Key, OfOne>> {
        let key = Key::new(Arc::from(agent.reveal().as_str()));
        (0..TRIES).find_map(|n| {
            if n > 0 {
                std::hint::spin_loop();
            }
            self.0.try_entry(key.clone())
        })
    }
}

/// The agents of a configuration by whatever names them in a call.
pub struct Agents {
    lookups: Arc<Lookups>,
    /// By the number that the world calls.
    numbers: HashMap<E164, Arc<Agent>>,
    inbound: Option<PeerId>,
}

impl fmt::Debug for Agents {
    /// Prints nothing of the agents (promise 3).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Agents(-)")
    }
}

impl Agents {
    /// All of this configuration.
    pub fn new(site: &Site) -> Self {
        let numbers = site.agents.iter().filter_map(|a| Some((*a.number.as_ref()?.reveal(), Arc::clone(a)))).collect();
        Self { lookups: Arc::new(Lookups::new(site)), numbers, inbound: site.inbound }
    }

    /// What the story looks up.
    pub fn lookups(&self) -> Arc<Lookups> {
        Arc::clone(&self.lookups)
    }

    /// Who is on this call: the agent who dialed, or the one who was called from outside.
    fn on(&self, site: &Site, origin: Origin, msg: &Message) -> Option<Private<String>> {
        let evidence = Evidence::of(msg);
        let caller = || self.lookups.directory.agent(site, origin, &evidence.caller());
        let called = || number_in(msg.uri()).and_then(|n| self.numbers.get(&n));
        let known = || self.lookups.directory.find(self.inbound, msg.uri());
        let agent = match origin {
            Origin::Peer(_) | Origin::Agent(_) => caller(),
            Origin::Trunk(_) => called().or_else(known),
            Origin::Both(..) => caller().or_else(called).or_else(known),
            Origin::Stranger => None,
        };
        agent.map(|a| a.id.clone())
    }
}

impl Shard {
    /// An ordinary call is about to be connected: who is on it has a line that is taken.
    pub(super) fn take_line(&mut self, key: CallKey) {
        let Some(call) = self.calls.get(key).filter(|c| c.progress == Progress::Waiting) else { return };
        let msg = call.invite.as_ref();
        let Some(agent) = msg.and_then(|m| self.setup.agents.on(&self.setup.site, call.origin, m)) else { return };
        self.setup.lines.add(&agent, Line { shard: self.index, call: key.id() });
        if let Some(Kind::Ordinary(hunt)) = self.calls.get_mut(key).map(|c| &mut c.kind) {
            hunt.agent = Some(agent);
        }
    }

    /// The line that is taken by an ordinary call, by the agent's id.
    pub(super) fn line_of(call: &Call) -> Option<&str> {
        match &call.kind {
            Kind::Ordinary(hunt) => hunt.agent.as_ref().map(|agent| agent.reveal().as_str()),
            _ => None,
        }
    }

    /// An ordinary call of an earlier run goes on: so does what it takes.
    pub(super) fn take_line_again(&mut self, key: CallKey, agent: Private<String>) {
        if let Some(Kind::Ordinary(hunt)) = self.calls.get_mut(key).map(|c| &mut c.kind) {
            self.setup.lines.add(&agent, Line { shard: self.index, call: key.id() });
            hunt.agent = Some(agent);
        }
    }

    /// And it is over.
    pub(super) fn leave_line(&mut self, key: CallKey) {
        if let Some(Kind::Ordinary(hunt)) = self.calls.get_mut(key).map(|c| &mut c.kind)
            && let Some(agent) = hunt.agent.take()
        {
            self.setup.lines.remove(&agent, Line { shard: self.index, call: key.id() });
        }
    }

    /// This agent's phone is busy for a callback: whatever ordinary calls she has are released, wherever they are.
    pub(super) fn free_line(&mut self, callback: CallId, agent: &Private<String>, now: Time) {
        let lines = self.setup.lines.take(agent);
        for Line { shard, call } in &lines {
            match *shard == self.index {
                true => self.release(*call, now),
                false => self.out.push_back(Do::Release { shard: *shard, call: *call }),
            }
        }
        self.tell_story(Some(Input::LineFreed { call: callback, freed: !lines.is_empty() }), now);
    }

    /// Hangs up both sides of an ordinary call for a callback (RULES C2, RFC 4411). Nothing becomes of it where the call is
    /// over, or is no ordinary one.
    pub fn release(&mut self, call: CallId, now: Time) {
        let key = CallKey::of(call);
        let Some(call) = self.calls.get(key).filter(|c| matches!(c.kind, Kind::Ordinary(_))) else { return };
        if let Progress::Connected(leg) = call.progress {
            self.hang_up_both(key, leg, PREEMPTION, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(shard: u8, call: u64) -> Line {
        Line { shard, call: CallId(call) }
    }

    #[test]
    fn an_agents_lines_are_taken_out_together_and_nothing_is_left_of_calls_that_are_over() {
        let (lines, ada, bob) = (Lines::default(), Private::new("ada".to_owned()), Private::new("bob".to_owned()));
        lines.add(&ada, line(1, 7));
        lines.add(&bob, line(1, 8));
        lines.add(&ada, line(2, 7));
        lines.remove(&bob, line(1, 8));
        lines.remove(&bob, line(1, 8));
        assert_eq!(lines.take(&bob)[..], []);
        assert_eq!(lines.take(&ada)[..], [line(1, 7), line(2, 7)]);
        assert_eq!(lines.take(&ada)[..], []);
        assert_eq!(format!("{lines:?}"), "Lines(0)");
    }

    #[test]
    fn what_is_remembered_of_one_agent_is_bounded() {
        let (lines, ada) = (Lines::default(), Private::new("ada".to_owned()));
        (0..1000).for_each(|call| lines.add(&ada, line(1, call)));
        assert_eq!(lines.take(&ada)[..], (1000 - MOST as u64..1000).map(|call| line(1, call)).collect::<Vec<_>>());
    }

    #[test]
    fn nobody_waits_for_whoever_was_stopped_at_an_entry() {
        let (lines, ada) = (Lines::default(), Private::new("ada".to_owned()));
        lines.add(&ada, line(1, 7));
        let stopped = lines.0.try_get_mut(&Key::new(Arc::from("ada"))).try_unwrap();
        assert!(stopped.is_some());
        assert_eq!(lines.take(&ada)[..], []);
        lines.add(&ada, line(1, 8));
        lines.remove(&ada, line(1, 7));
        drop(stopped);
        assert_eq!(lines.take(&ada)[..], [line(1, 7)]);
    }
}

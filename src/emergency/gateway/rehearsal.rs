//! What a rehearsal of an agent's call asks of the story; nothing here changes it.

use super::{Gateway, Situation, Whereabouts};
use crate::emergency::callback;
use crate::emergency::caller::Caller;
use crate::emergency::facts::{AgentId, Origin, TrunkId};
use crate::pool::{ShelfId, State};
use crate::words::{E164, Private, Time};

/// Candidates that are looked at on each shelf.
const HEADS: usize = 64;

/// Where a callback to a number would lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lead {
    /// The trunk that brings it.
    pub trunk: TrunkId,
    /// The number.
    pub number: Private<E164>,
    /// Devices, phones behind a PBX and alternates that would ring.
    pub devices: usize,
    /// Whether the desk would.
    pub desk: bool,
}

impl Gateway {
    /// Whether this Request-URI asks for a test where this agent is (RULES R5).
    pub fn is_test_for(&self, agent: AgentId, uri: &[u8]) -> bool {
        let known = self.site.agents.get(agent.0 as usize).map(AsRef::as_ref);
        let country = Whereabouts::of(&self.site, Origin::Agent(agent), None, known).country();
        self.site.numbers.recognise(uri, country).is_some_and(|dialed| dialed.service.is_test())
    }

    /// Whether this agent has an open lease of an emergency call, which a test would touch.
    pub fn has_real_lease(&self, agent: &str) -> bool {
        self.leases.has_real(agent)
    }

    /// Where callbacks to the numbers of this agent's lease would lead now. Nobody rings.
    pub fn leads_of(&self, agent: &str, now: Time) -> Vec<Lead> {
        let lead = |(number, trunk)| {
            let found = self.leases.find(&self.pool, number, now)?;
            let holders: Vec<&Caller> = found.records.iter().filter_map(|id| Some(&self.leases.get(*id)?.caller)).collect();
            let plan = callback::plan(&self.site, &self.devices, &holders, &Situation::default());
            let devices = plan.groups.iter().map(Vec::len).sum();
            Some(Lead { trunk, number: Private::new(number), devices, desk: plan.desk.is_some() })
        };
        self.leases.numbers_of(agent).filter_map(lead).collect()
    }

    /// Numbers of this trunk that are neither leased nor in quarantine, some of them.
    pub fn spare_numbers(&self, trunk: TrunkId, now: Time) -> Vec<E164> {
        let shelves = (0u16..).map(ShelfId).zip(&self.site.shelves).filter(|(_, s)| s.trunk == trunk);
        let is_spare = |number: &E164| {
            self.pool.lookup(*number).is_some_and(|found| match found.state {
                State::Never => true,
                State::Leased(_) => false,
                State::Idle { .. } => {
                    self.pool.idle_since(found.slot).is_some_and(|since| since + self.site.callback.quarantine <= now)
                }
            })
        };
        shelves.flat_map(|(shelf, _)| self.pool.heads(shelf, HEADS)).filter(is_spare).collect()
    }
}

//! Calls of whose audio nothing is heard: what that means to a callback, and to nothing else (RULES C3, P11).

use super::{Gateway, Kind};
use crate::emergency::facts::CallId;
use crate::emergency::lease::RecordId;

impl Gateway {
    pub(super) fn silence(&mut self, call: CallId, silent: bool) {
        match silent && self.calls.contains_key(&call) {
            true => self.silent.insert(call),
            false => self.silent.remove(&call),
        };
    }

    /// Whether a call of this lease is up that is not dead: one that still rings is alive, whatever is heard of it.
    pub(super) fn is_on_a_live_call(&self, record: RecordId) -> bool {
        let up = self.leases.get(record).map_or(0, |r| r.calls_up());
        let is_dead = |call: &&CallId| {
            self.calls.get(call).is_some_and(|running| match &running.kind {
                Kind::Emergency(call) => call.record() == record && call.answered_by().is_some(),
                Kind::Callback(call) => call.records().contains(&record) && call.answered_by().is_some(),
            })
        };
        self.silent.iter().filter(is_dead).count() < up as usize
    }
}

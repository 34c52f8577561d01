//! What others may see of the story: running calls, leases, presence, how full the pool is. Nothing here changes it.

use std::ops::Bound;

use super::{Gateway, Kind};
use crate::emergency::facts::{CallId, TrunkId};
use crate::emergency::lease::{Over, View, ViewMark};
use crate::emergency::presence;
use crate::pool::ShelfId;
use crate::words::{E164, Private, Time};

/// A running call as operators see it: nobody's number is in it.
#[derive(Clone, Copy, Debug)]
pub struct CallView {
    /// The bridge's name for it.
    pub call: CallId,
    /// `emergency` or `callback`.
    pub kind: &'static str,
    /// `placing`, `ringing` or `talking`.
    pub state: &'static str,
    /// The trunk that has the call.
    pub trunk: Option<TrunkId>,
    /// When its INVITE came.
    pub since: Time,
}

/// What an agent's page shows of the story.
#[derive(Clone, Copy, Debug, Default)]
pub struct PanelView {
    /// The number that leads back to her, and until when: that of her last call.
    pub lease: Option<(Private<E164>, Time)>,
    /// Her last emergency call was ended by the trunk: she may be called back (RULES A2).
    pub dropped: bool,
    /// No trunk took her last emergency call.
    pub not_connected: bool,
    /// Her running call: `emergency` or `callback`, and its state.
    pub call: Option<(&'static str, &'static str)>,
}

/// A trunk's numbers and health, for gauges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shelved {
    /// The trunk.
    pub trunk: TrunkId,
    /// Leased now.
    pub leased: u32,
    /// Not leased, in quarantine or not.
    pub free: u32,
    /// Whether the trunk is healthy.
    pub up: bool,
}

impl Gateway {
    /// How many emergency calls and callbacks are up.
    pub fn active_calls(&self) -> usize {
        self.calls.len()
    }

    /// Running calls, by their numbers of ours.
    pub fn calls(&self) -> impl Iterator<Item = CallView> {
        self.calls_after(None)
    }

    /// The running calls after this one.
    pub fn calls_after(&self, after: Option<CallId>) -> impl Iterator<Item = CallView> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.calls.range((from, Bound::Unbounded)).map(|(&call, running)| {
            let (kind, state, trunk) = running.kind.words();
            CallView { call, kind, state, trunk, since: running.since }
        })
    }

    /// An agent's presence, as others see it and as she set it; by her id.
    pub fn presence_of(&self, agent: &str) -> presence::View {
        self.presence.view(agent)
    }

    /// What the page of the agent with this id shows.
    pub fn panel_of(&self, agent: &str) -> PanelView {
        let Some((id, record)) = self.leases.real_of(agent) else { return PanelView::default() };
        let is_hers = |kind: &Kind| match kind {
            Kind::Emergency(call) => call.record() == id,
            Kind::Callback(call) => call.records().contains(&id),
        };
        let call = match record.calls_up() {
            0 => None,
            _ => self.calls.iter().find(|(_, running)| is_hers(&running.kind)).map(|(call, _)| *call),
        };
        let call = call.and_then(|call| self.calls.get(&call)).map(|running| running.kind.words());
        let over = record.over.filter(|_| call.is_none());
        PanelView {
            lease: record.shown().map(|number| (Private::new(number), record.expires())),
            dropped: over == Some(Over::Dropped),
            not_connected: over == Some(Over::NotConnected),
            call: call.map(|(kind, state, _)| (kind, state)),
        }
    }

    /// The leases after this one, from `most` records at most; then where to go on, `None` at the end.
    pub fn leases_after(&self, after: Option<ViewMark>, most: usize) -> (Vec<(ViewMark, View)>, Option<ViewMark>) {
        self.leases.views_after(after, most)
    }

    /// All leases, late ones among them.
    pub fn leases(&self) -> impl Iterator<Item = View> {
        self.leases.views()
    }

    /// How many devices of this agent are registered.
    pub fn devices_of(&self, agent: &Private<String>) -> usize {
        self.devices.of(agent).len()
    }

    /// How many numbers of each trunk are leased and free.
    pub fn shelved(&self) -> Vec<Shelved> {
        let of = |trunk| {
            let shelves = (0u16..).map(ShelfId).zip(&self.site.shelves).filter(|(_, s)| s.trunk == trunk);
            shelves.fold((0, 0), |(size, free), (id, _)| (size + self.pool.size(id), free + self.pool.free(id)))
        };
        let trunks = self.site.trunk_ids().map(|(trunk, _)| (trunk, of(trunk)));
        trunks
            .map(|(trunk, (size, free))| Shelved { trunk, leased: size.saturating_sub(free), free, up: self.health.is_up(trunk) })
            .collect()
    }
}

impl Kind {
    /// `emergency` or `callback`, the state, and the trunk that has the call.
    fn words(&self) -> (&'static str, &'static str, Option<TrunkId>) {
        match self {
            Self::Emergency(call) => {
                let (state, trunk) = call.state();
                ("emergency", state, trunk)
            }
            Self::Callback(call) => ("callback", call.state(), None),
        }
    }
}

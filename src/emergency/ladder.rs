//! Which number a lease gets: the trunk's longest-idle one, and what to do when there is none (RULES L5 to L7).
//!
//! [`climb`] tries the rungs in order. It never gives up while the site has a number at all; who else rings on a
//! shared number is [`super::callback`]'s business.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::caller::Caller;
use super::facts::TrunkId;
use super::lease::routed_to_us;
use super::site::Site;
use crate::pool::{Holder, Lease, Pool, Rest, ShelfId};
use crate::words::{E164, Time};

/// One number in this many of a trunk is for tests (RULES R5).
const TEST_SHARE: u32 = 20;

/// Where a number was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// The lease had it already (RULES L3).
    Held,
    /// A free number of this trunk, of the caller's site or without an address (RULES L5).
    Free,
    /// The oldest quarantined one of these.
    Quarantined,
    /// A number of this trunk that is registered to another site.
    OtherSite,
    /// The agent's own number, which this trunk routes to us.
    OwnNumber,
    /// The trunk's fallback number.
    Fallback,
    /// The number of the lease whose call ended longest ago.
    Shared,
    /// The trunk's default number.
    Default,
    /// A number of another trunk: better than none.
    OtherTrunk,
}

impl Rung {
    /// The log's and the metric's line, where the pool was empty.
    pub const fn event(self) -> Option<&'static str> {
        match self {
            Self::Held | Self::Free => None,
            Self::Quarantined => Some("pool empty: oldest quarantined number"),
            Self::OtherSite => Some("pool empty: another site's number"),
            Self::OwnNumber => Some("pool empty: the agent's own number"),
            Self::Fallback => Some("pool empty: the trunk's fallback number"),
            Self::Shared => Some("pool empty: a shared number"),
            Self::Default => Some("pool empty: the trunk's default number"),
            Self::OtherTrunk => Some("pool empty: another trunk's number"),
        }
    }

    /// The alarm that goes with it. Reuse from quarantine says that the pool is small, everything above that it is empty.
    pub const fn alarm(self) -> Option<&'static str> {
        match self {
            Self::Held | Self::Free => None,
            Self::Quarantined => Some("pool_low"),
            _ => Some("pool_empty"),
        }
    }

    /// The line for the contacts.
    pub const fn remark(self) -> Option<&'static str> {
        match self {
            Self::OtherSite => Some("The callback number shown is registered to the address of another site."),
            Self::Fallback | Self::Shared | Self::Default => Some("The callback number shown is shared with other callers."),
            _ => None,
        }
    }
}

/// What there is to choose from.
#[derive(Debug)]
pub struct Supply<'a> {
    /// The configuration.
    pub site: &'a Site,
    /// Its numbers.
    pub pool: &'a Pool,
    /// The trunk that is to carry the call.
    pub trunk: TrunkId,
    /// Who dials.
    pub caller: &'a Caller,
    /// The record to lease for.
    pub holder: Holder,
    /// A test call has its own share only (RULES R5).
    pub test: bool,
    /// How many numbers of this trunk tests hold now.
    pub tests: u32,
    /// Now.
    pub now: Time,
}

/// A number, and how it was come by.
#[derive(Debug)]
pub struct Step {
    /// The number.
    pub number: E164,
    /// Where it was.
    pub rung: Rung,
    /// The pool's proof, for a number of the pool that nobody else has.
    pub lease: Option<Lease>,
    /// The end of the quarantine that its last holder was promised, if that lies ahead.
    pub rests_until: Option<Time>,
}

/// How long until this shelf has a number that is neither leased nor in quarantine (RULES L6); zero if it has one, and
/// without end while all are leased.
pub fn rests_for(site: &Site, pool: &Pool, shelf: ShelfId, now: Time) -> Duration {
    match pool.head_idle(shelf, now) {
        Some(Rest::Unused) => Duration::ZERO,
        Some(Rest::For(time)) => site.callback.quarantine.saturating_sub(time),
        None => Duration::MAX,
    }
}

/// Climbs L7 from the bottom. `longest_ended` finds the number to share. `None` only where the site has no number.
pub fn climb(supply: &Supply<'_>, longest_ended: impl FnOnce() -> Option<E164>) -> Option<Step> {
    let shelves = Shelves::of(supply);
    if !supply.test || supply.test_share_left(&shelves) {
        if let Some(lease) = shelves.near().find_map(|s| supply.free(s)) {
            return Some(supply.owned(lease, Rung::Free));
        }
        if let Some(lease) = supply.longest_rested(shelves.near()) {
            return Some(supply.owned(lease, Rung::Quarantined));
        }
        if let Some(lease) = supply.longest_rested(shelves.far.iter().copied()) {
            return Some(supply.owned(lease, Rung::OtherSite));
        }
    }
    let trunk = supply.site.trunk(supply.trunk);
    let configured = |number: Option<E164>, rung| number.map(|number| Step { number, rung, lease: None, rests_until: None });
    let own = supply.caller.own_number().filter(|n| routed_to_us(supply.site, supply.trunk, *n));
    configured(own, Rung::OwnNumber)
        .or_else(|| configured(trunk.and_then(|t| t.fallback_number).map(|n| *n.reveal()), Rung::Fallback))
        .or_else(|| if supply.test { None } else { configured(longest_ended(), Rung::Shared) })
        .or_else(|| configured(trunk.and_then(|t| t.default_number).map(|n| *n.reveal()), Rung::Default))
        .or_else(|| supply.other_trunk())
}

/// The shelves of a trunk by their nearness to the caller.
struct Shelves {
    own_site: Option<ShelfId>,
    no_address: Vec<ShelfId>,
    far: Vec<ShelfId>,
}

impl Shelves {
    fn of(supply: &Supply<'_>) -> Self {
        let own = supply.caller.site(supply.site);
        let mut shelves = Self { own_site: None, no_address: Vec::new(), far: Vec::new() };
        for (id, shelf) in (0u16..).map(ShelfId).zip(&supply.site.shelves).filter(|(_, s)| s.trunk == supply.trunk) {
            match shelf.site.as_deref() {
                None => shelves.no_address.push(id),
                at if at == own && shelves.own_site.is_none() => shelves.own_site = Some(id),
                Some(_) => shelves.far.push(id),
            }
        }
        shelves
    }

    /// Same site first, then numbers without an address (RULES L5).
    fn near(&self) -> impl Iterator<Item = ShelfId> {
        self.own_site.into_iter().chain(self.no_address.iter().copied())
    }
}

impl Supply<'_> {
    /// A number whose quarantine is over, or that never had one.
    fn free(&self, shelf: ShelfId) -> Option<Lease> {
        if rests_for(self.site, self.pool, shelf, self.now).is_zero() { self.pool.lease(shelf, self.holder) } else { None }
    }

    fn longest_rested(&self, shelves: impl Iterator<Item = ShelfId>) -> Option<Lease> {
        let rest = |s| match self.pool.head_idle(s, self.now)? {
            Rest::Unused => Some(Duration::MAX),
            Rest::For(time) => Some(time),
        };
        let mut rested: Vec<_> = shelves.filter_map(|s| rest(s).map(|time| (time, s))).collect();
        rested.sort_by(|a, b| b.cmp(a));
        rested.into_iter().find_map(|(_, shelf)| self.pool.lease(shelf, self.holder))
    }

    /// One number in twenty, and never the last free one (RULES R5).
    fn test_share_left(&self, shelves: &Shelves) -> bool {
        let near = || shelves.near();
        let size: u32 = near().map(|s| self.pool.size(s)).sum();
        let free: u32 = near().map(|s| self.pool.free(s)).sum();
        self.tests < size / TEST_SHARE && free > 1
    }

    fn owned(&self, lease: Lease, rung: Rung) -> Step {
        let until = lease.previous().map(|p| p.released + self.site.callback.quarantine).filter(|until| self.now < *until);
        Step { number: lease.number(), rung, lease: Some(lease), rests_until: until }
    }

    fn other_trunk(&self) -> Option<Step> {
        let step = |number, lease| Step { number, rung: Rung::OtherTrunk, lease, rests_until: None };
        if !self.test {
            let all = (0u16..).map(ShelfId).take(self.site.shelves.len());
            if let Some(lease) = self.longest_rested(all) {
                return Some(step(lease.number(), Some(lease)));
            }
        }
        let configured = self.site.trunks.iter().find_map(|t| t.fallback_number.or(t.default_number));
        let of_caller = || self.caller.own_number();
        let any = || self.site.shelves.iter().find_map(|s| s.numbers.first().copied());
        configured.map(|n| *n.reveal()).or_else(of_caller).or_else(any).map(|number| step(number, None))
    }
}

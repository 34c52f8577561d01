//! Which INVITEs the story wants to see (RULES R3): a cheap question, asked before anything else is.
//!
//! The answer depends on the configuration only, not on which numbers are leased right now, so that a
//! retransmission and a CANCEL go where their INVITE went. It is a superset: the story may still find that the
//! call is an ordinary one.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::abroad::Whereabouts;
use super::caller::{any_holds, number_in};
use super::facts::{Called, Origin, TrunkId};
use super::lookups::Lookups;
use super::site::Site;
use crate::pool::Pool;
use crate::words::E164;
use crate::words::plan::plans;

/// A shared, unchanging view for whoever sorts INVITEs. A reload brings a new one.
#[derive(Debug)]
pub struct Lane {
    site: Arc<Site>,
    pool: Arc<Pool>,
    /// Numbers of open leases that this configuration does not have any more (RULES L9).
    leftover: BTreeSet<E164>,
    lookups: Arc<Lookups>,
}

impl Lane {
    pub(super) fn new(site: Arc<Site>, lookups: Arc<Lookups>, pool: Arc<Pool>, held: impl Iterator<Item = E164>) -> Self {
        let leftover = held.filter(|n| pool.lookup(*n).is_none()).collect();
        Self { site, pool, leftover, lookups }
    }

    /// The same numbers under another configuration.
    pub(super) fn with(&self, site: Arc<Site>, lookups: Arc<Lookups>) -> Self {
        Self { site, pool: Arc::clone(&self.pool), leftover: self.leftover.clone(), lookups }
    }

    /// Whether the story must see an INVITE from this neighbour to this number.
    pub fn concerns(&self, origin: Origin, called: &Called<'_>) -> bool {
        match origin {
            Origin::Stranger => return false,
            Origin::Trunk(trunk) | Origin::Both(_, trunk) if self.may_be_callback(trunk, called) => return true,
            _ => {}
        }
        let uri = called.request_uri;
        let usual = Whereabouts::of(&self.site, origin, None, None).country();
        let told = Whereabouts::of(&self.site, origin, called.country, None).told;
        // A panel's agent may be anywhere that has a plan (RULES R7): the story knows.
        let anywhere = plans().iter().map(|plan| plan.country).filter(|_| matches!(origin, Origin::Agent(_)));
        let others = self.lookups.countries.iter().copied().chain(told).chain(anywhere).filter(|c| Some(*c) != usual);
        std::iter::once(usual).chain(others.map(Some)).any(|c| self.site.numbers.recognise(uri, c).is_some())
    }

    /// Whether this dial string is an emergency number or a test number of some configured country, or masked.
    pub fn is_help(&self, user: &[u8]) -> bool {
        self.site.numbers.has(user)
    }

    /// Whether this is a callback number, whoever has it at present.
    pub fn has(&self, number: E164) -> bool {
        self.pool.lookup(number).is_some() || self.lookups.shared.contains(&number) || self.leftover.contains(&number)
    }

    fn may_be_callback(&self, trunk: TrunkId, called: &Called<'_>) -> bool {
        let routed = |n| self.site.trunk(trunk).is_some_and(|t| any_holds(&t.routes_to_us, n));
        let ours = |n| self.has(n) || (self.lookups.own.contains(&n) && routed(n));
        std::iter::once(called.request_uri).chain(called.others.iter().copied()).filter_map(number_in).any(ours)
    }
}

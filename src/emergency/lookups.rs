//! What is looked up in a [`Site`] while calls run: whoever calls, whoever is called.
//!
//! Made by whoever makes the site, on its own thread: of 10,000 agents it takes longer than a call may wait. A reload only
//! puts it in its place. Nothing here changes once it is made, and nothing depends on which numbers are leased.

use std::collections::BTreeSet;

use super::caller::{self, Directory};
use super::site::{Agent, Site};
use crate::words::{Country, E164};

/// See the module's docs.
#[derive(Debug)]
pub struct Lookups {
    /// The agents by their identities.
    pub directory: Directory,
    /// The agents' own numbers, which may become temporary callback numbers (RULES L7).
    pub(super) own: BTreeSet<E164>,
    /// Fallback and default numbers.
    pub(super) shared: BTreeSet<E164>,
    /// The countries of agents; theirs may lie outside the configured ones.
    pub(super) countries: BTreeSet<Country>,
    /// Some agent's country is not the one that her neighbours' calls are taken to come from.
    pub(super) agents_abroad: bool,
}

impl Lookups {
    /// All of this configuration.
    pub fn new(site: &Site) -> Self {
        let identities = site.agents.iter().flat_map(|a| a.identity.iter().filter_map(|i| E164::parse(i.reveal())));
        let shared = site.trunks.iter().flat_map(|t| [t.fallback_number, t.default_number]).flatten();
        let elsewhere = |a: &Agent| a.country.is_some() && a.country != caller::country(site, None, a.peer);
        Self {
            directory: Directory::new(site),
            own: site.agents.iter().filter_map(|a| a.number.map(|n| *n.reveal())).chain(identities).collect(),
            shared: shared.map(|n| *n.reveal()).collect(),
            countries: site.agents.iter().filter_map(|a| a.country).collect(),
            agents_abroad: site.agents.iter().any(|a| elsewhere(a)),
        }
    }
}

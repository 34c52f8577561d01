//! Is the caller outside the country of the number dialed (RULES R7)?
//!
//! What is known of a country comes from several places and may be wrong. [`Whereabouts::country`] is the one whose number
//! plan counts; only where [`Whereabouts::is_certain`] may a call be refused for it.

use super::caller::peer_of;
use super::facts::Origin;
use super::site::{Agent, Site};
use crate::words::Country;

/// Where the caller may be, the most specific first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// What the peer said of this call (`X-Emergency-Country`).
    pub told: Option<Country>,
    /// Where her panel is, by a fresh position.
    pub located: Option<Country>,
    /// The agent's profile.
    pub agent: Option<Country>,
    /// Where the peer's users are.
    pub peer: Option<Country>,
    /// Where the node is.
    pub node: Option<Country>,
}

impl Whereabouts {
    /// All that is known about a call. What a trunk says of somebody's country does not count.
    pub fn of(site: &Site, origin: Origin, told: Option<Country>, agent: Option<&Agent>) -> Self {
        let peer = peer_of(origin).and_then(|p| site.peer(p));
        Self {
            told: peer.and(told),
            located: None,
            agent: agent.and_then(|a| a.country),
            peer: peer.and_then(|p| p.country),
            node: site.country,
        }
    }

    /// The same with what her panel says.
    pub const fn located(self, located: Option<Country>) -> Self {
        Self { located, ..self }
    }

    /// The country whose number plan counts: the first that is known.
    pub fn country(&self) -> Option<Country> {
        self.told.or(self.located).or(self.agent).or(self.peer).or(self.node)
    }

    /// Whether that is certain: the agent's profile says so, or two sources agree, and what was said of this very call does
    /// not speak against the profile.
    pub fn is_certain(&self) -> bool {
        let Some(country) = self.country().map(Country::plan_country) else { return false };
        let says = |source: Option<Country>| source.map(Country::plan_country) == Some(country);
        let agreeing = [self.told, self.located, self.agent, self.peer, self.node].into_iter().filter(|s| says(*s)).count();
        (self.agent.is_none() || says(self.agent)) && (says(self.agent) || agreeing > 1)
    }
}

#[cfg(test)]
mod tests {
    use super::Whereabouts;
    use crate::words::Country;

    #[test]
    fn r7_only_the_profile_or_two_agreeing_sources_are_certain() {
        let at = |text: &str| Country::parse(text);
        for (told, agent, peer, node, country, certain) in [
            ("", "", "", "", "", false),
            ("", "DK", "US", "US", "DK", true),
            ("", "DK", "", "", "DK", true),
            ("DK", "", "", "", "DK", false),
            ("DK", "", "US", "US", "DK", false),
            ("DK", "DK", "US", "US", "DK", true),
            ("DK", "US", "DK", "DK", "DK", false),
            ("US", "DK", "DK", "DK", "US", false),
            ("DK", "", "DK", "US", "DK", true),
            ("", "", "DK", "US", "DK", false),
            ("", "", "DK", "DK", "DK", true),
            ("GU", "", "US", "", "GU", true),
        ] {
            let there = Whereabouts { told: at(told), located: None, agent: at(agent), peer: at(peer), node: at(node) };
            assert_eq!((there.country(), there.is_certain()), (at(country), certain), "{told} {agent} {peer} {node}");
        }
    }

    #[test]
    fn r7_where_the_panel_is_counts_before_the_profile_and_never_refuses_a_call_against_it() {
        let at = |text: &str| Country::parse(text);
        for (located, agent, node, country, certain) in [
            ("DK", "", "", "DK", false),
            ("DK", "US", "US", "DK", false),
            ("DK", "DK", "US", "DK", true),
            ("DK", "", "DK", "DK", true),
            ("", "DK", "US", "DK", true),
        ] {
            let there = Whereabouts { located: at(located), agent: at(agent), node: at(node), ..Whereabouts::default() };
            assert_eq!((there.country(), there.is_certain()), (at(country), certain), "{located} {agent} {node}");
        }
    }
}

//! What the contacts are told (RULES A4): the content only.
//!
//! Not a mail: texts, languages, retries and the spool belong to the notifier, and nothing that happens there
//! comes back. The time of day is the notifier's as well; the story has a [`Time`] only.

use std::collections::BTreeSet;
use std::time::Duration;

use super::caller::{Caller, Who};
use super::privacy::Outcome;
use super::site::{Contacts, Site};
use crate::words::{E164, Private, Time};

/// Stands for a location that the call brought and that is not one of words: a reference, or broken XML.
pub const BROUGHT: &str = "as the caller's telephone system sent it";

/// One message to every contact. Its `Debug` shows nothing that belongs to a person.
#[derive(Clone, Debug)]
pub struct Notice {
    /// Which template.
    pub kind: Kind,
    /// The agent's name; the user shown by her peer where she is unknown.
    pub agent_name: Private<String>,
    /// The agent's id; the same for the unknown.
    pub agent_id: Private<String>,
    /// `en`, `es`, `fr`; the node's language where none.
    pub language: Option<String>,
    /// When the call came in.
    pub time: Time,
    /// When the call or callback came in that this notice is about. With agent, kind and outcome it tells one notice from
    /// every other, and a notice that is told again from none.
    pub about: Time,
    /// The number that the PSAP saw, if the call got as far as having one.
    pub callback_number: Option<Private<E164>>,
    /// The location that was sent, in words; [`BROUGHT`] where it cannot be read. None: "no location was sent" (47 CFR 9.16).
    pub location: Option<Private<String>>,
    /// The emergency number as recognised: `911`.
    pub dialed: &'static str,
    /// `direct-routing` or `direct-offer`.
    pub path: &'static str,
    /// How it ended, or that it is not over.
    pub outcome: Option<Outcome>,
    /// From the INVITE to the end.
    pub duration: Option<Duration>,
    /// A line for people where something was out of the ordinary (RULES L7).
    pub remark: Option<&'static str>,
    /// The valid recipients, each once.
    pub contacts: Contacts,
}

/// Which occasion a [`Notice`] is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An emergency call was made.
    Emergency,
    /// It is over, or could not be placed.
    Outcome,
    /// A test call; to the test contacts only (RULES R5).
    Test,
    /// The PSAP called back.
    Callback,
}

/// What is known about a call whatever becomes of it.
#[derive(Clone, Debug)]
pub struct About {
    /// Who dialed.
    pub caller: Caller,
    /// When.
    pub time: Time,
    /// The emergency number as recognised.
    pub dialed: &'static str,
    /// `direct-routing` or `direct-offer`.
    pub path: &'static str,
    /// Whether it was a test.
    pub test: bool,
    /// See [`Notice::remark`].
    pub remark: Option<&'static str>,
}

impl Notice {
    /// "A call was made": after the INVITE has left.
    pub fn made(site: &Site, about: &About, shown: Option<E164>) -> Self {
        let kind = if about.test { Kind::Test } else { Kind::Emergency };
        Self::of(site, about, kind, shown, None, None)
    }

    /// "The call is over", or "could not be placed".
    pub fn over(site: &Site, about: &About, shown: Option<E164>, outcome: Outcome, now: Time) -> Self {
        let kind = if about.test { Kind::Test } else { Kind::Outcome };
        Self::of(site, about, kind, shown, Some(outcome), Some(now.since(about.time)))
    }

    /// "The PSAP called back."
    pub fn called_back(site: &Site, about: &About, number: E164, outcome: Outcome, now: Time) -> Self {
        Self { about: now, ..Self::of(site, about, Kind::Callback, Some(number), Some(outcome), None) }
    }

    /// The same with the location that was sent.
    pub fn with_location(self, location: Option<&Private<String>>) -> Self {
        Self { location: location.cloned(), ..self }
    }

    fn of(
        site: &Site,
        about: &About,
        kind: Kind,
        shown: Option<E164>,
        outcome: Option<Outcome>,
        duration: Option<Duration>,
    ) -> Self {
        let (agent_id, agent_name, language) = match &about.caller.who {
            Who::Agent(a) => (a.id.clone(), a.name.clone(), a.language.clone()),
            Who::Unknown { user, .. } => (user.clone(), user.clone(), None),
        };
        let contacts = match &about.caller.who {
            _ if about.test => &site.test_contacts,
            Who::Agent(a) => &a.contacts,
            Who::Unknown { .. } => &site.site_contacts,
        };
        Self {
            kind,
            agent_name,
            agent_id,
            language,
            time: about.time,
            about: about.time,
            callback_number: shown.map(Private::new),
            location: None,
            dialed: about.dialed,
            path: about.path,
            outcome,
            duration,
            remark: about.remark,
            contacts: contacts.clone(),
        }
    }
}

/// Whether two addresses are one recipient. Domains have no case (RFC 5321 section 2.4), and a host that tells `a` from `A` is
/// not heard of any more.
pub fn is_same_address(a: &str, b: &str) -> bool {
    a.to_lowercase() == b.to_lowercase()
}

/// The valid addresses of several `;` lists, each address once and in order, whatever its case; what is not an address is left out
/// (RULES A4) and found by [`rejected`].
pub fn recipients(lists: &[&str]) -> Contacts {
    let mut seen = BTreeSet::new();
    let valid = lists.iter().flat_map(|l| entries(l)).filter(|e| is_address(e) && seen.insert(e.to_lowercase()));
    Private::new(valid.map(str::to_owned).collect())
}

/// The entries of a `;` list that are no address.
pub fn rejected(list: &str) -> impl Iterator<Item = &str> {
    entries(list).filter(|e| !is_address(e))
}

fn entries(list: &str) -> impl Iterator<Item = &str> {
    list.split(';').map(str::trim).filter(|e| !e.is_empty())
}

/// `local@domain` of printable ASCII or UTF-8 (RFC 5321 section 4.1.2, RFC 6531), without quoting, so that no
/// entry can bring a second address or a header with it.
fn is_address(entry: &str) -> bool {
    let Some((local, domain)) = entry.split_once('@') else { return false };
    let plain = |c: char| !c.is_control() && !c.is_whitespace() && !r#"()<>[]:;@\,""#.contains(c);
    let dots = |part: &str| part.split('.').all(|label| !label.is_empty());
    let label = |l: &str| !l.starts_with('-') && !l.ends_with('-') && l.chars().all(|c| c.is_alphanumeric() || c == '-');
    local.len() <= 64
        && domain.len() <= 255
        && local.chars().all(plain)
        && dots(local)
        && dots(domain)
        && domain.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a4_the_valid_ones_of_a_list_are_served_and_the_rest_is_reported() {
        let list = "a@x; ;bad ;b@y; a@X;two words@x;c@;@d;e@-f;g@h..i;j@k\r\nBcc: l@m;<n@o>;ü@p.example";
        assert_eq!(recipients(&[list, "b@y; q@r"]).reveal()[..], ["a@x", "b@y", "ü@p.example", "q@r"]);
        let rest: Vec<_> = rejected(list).collect();
        assert_eq!(rest, ["bad", "two words@x", "c@", "@d", "e@-f", "g@h..i", "j@k\r\nBcc: l@m", "<n@o>"]);
        assert!(recipients(&["", " ; "]).reveal().is_empty());
    }
}

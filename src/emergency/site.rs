//! The configured world as plain data: neighbours, agents, routes, numbers and times.
//!
//! Not the config file (the daemon reads that and fills this in) and not the state: [`Site`] never changes, a
//! reload brings a new one. A [`PeerId`] or [`TrunkId`] is a place in [`Site::peers`] or [`Site::trunks`].

use std::sync::Arc;
use std::time::Duration;

use regex::Regex;

use super::facts::{PeerId, TrunkId};
use super::number::Numbers;
use crate::words::{Civic, Country, E164, Private};

/// Everything that policy may ask about the configuration.
#[derive(Debug)]
pub struct Site {
    /// `node.country`, for callers whose own is not known.
    pub country: Option<Country>,
    /// `[[peer]]`, in configured order.
    pub peers: Vec<Peer>,
    /// `[[trunk]]`, in configured order.
    pub trunks: Vec<Trunk>,
    /// `[[agent]]`. Shared, because a lease keeps its own copy (RULES A8).
    pub agents: Vec<Arc<Agent>>,
    /// `[[voice_route]]`, in configured order.
    pub routes: Vec<VoiceRoute>,
    /// The callback numbers, one shelf for each trunk and site; the pool is built from these in this order.
    pub shelves: Vec<Shelf>,
    /// The emergency numbers with prefixes and masks.
    pub numbers: Numbers,
    /// `routing.profile`.
    pub profile: Profile,
    /// `routing.inbound`: ordinary inbound calls go to this peer.
    pub inbound: Option<PeerId>,
    /// `routing.contingency`: ten digits or more, the last resort of P6.
    pub contingency: Option<Private<E164>>,
    /// `emergency.silence`, `trying` and `budget`.
    pub placing: PlacingTimes,
    /// `emergency.may_downgrade`: an emergency that was asked for by `sips:` may go over a trunk without TLS.
    pub may_downgrade: bool,
    /// `callback.*`.
    pub callback: CallbackTimes,
    /// `presence.hold`: how long DND stays after the trunk ended the call (RULES A1).
    pub presence_hold: Duration,
    /// `notify.site_contacts`, the valid ones: see [`super::notice::recipients`].
    pub site_contacts: Contacts,
    /// `notify.test_contacts`, likewise.
    pub test_contacts: Contacts,
}

/// Mail addresses of people, shared by everything that is told to them.
pub type Contacts = Private<Arc<[String]>>;

/// A SIP neighbour that sends us its calls.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its name in the config.
    pub name: String,
    /// The country of its users.
    pub country: Option<Country>,
    /// The site of its users.
    pub site: Option<String>,
    /// Where the caller's identity stands, the first to be believed first.
    pub identity_from: Vec<IdentityFrom>,
    /// Where a live person answers callbacks to this peer's users, instead of `callback.desk`; a SIP URI.
    pub desk: Option<Private<String>>,
}

/// A header that may say who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityFrom {
    /// P-Asserted-Identity (RFC 3325).
    PAssertedIdentity,
    /// From.
    From,
}

/// A SIP neighbour towards the telephone network.
#[derive(Clone, Debug)]
pub struct Trunk {
    /// Its name in the config.
    pub name: String,
    /// `direct-routing` or `direct-offer`.
    pub path: Path,
    /// Whether `Priority` and `Resource-Priority` from here are believed (RULES C6).
    pub trust_marks: bool,
    /// Shared by several agents when the pool is empty (RULES L7).
    pub fallback_number: Option<Private<E164>>,
    /// The last rung of L7.
    pub default_number: Option<Private<E164>>,
    /// Numbers besides the pool's that this trunk brings to us.
    pub routes_to_us: Vec<NumberRange>,
    /// Direct offer: the bought numbers.
    pub numbers: Vec<NumberRange>,
    /// What stands in the Request-URI of an emergency leg.
    pub emergency_target: EmergencyTarget,
    /// Whether it is reached over TLS.
    pub secure: bool,
    /// Whether the agent's location is added to an emergency leg where the call brings none (`trunk.location = "pidf"`).
    pub adds_location: bool,
    /// No longer configured: its calls and leases run to their end, nothing new goes there. False in a new [`Site`].
    pub gone: bool,
}

/// The two ways into the telephone network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// The operator's own carrier.
    DirectRouting,
    /// Numbers bought from a provider: a calling plan.
    DirectOffer,
}

impl Path {
    /// The word of the config, the mail and the metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::DirectRouting => "direct-routing",
            Self::DirectOffer => "direct-offer",
        }
    }
}

/// The Request-URI of an emergency leg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EmergencyTarget {
    /// `sip:911@<trunk host>;user=phone`
    #[default]
    Number,
    /// `urn:service:sos` (RFC 5031)
    Urn,
}

/// A range of numbers, or all numbers with a prefix.
#[derive(Clone, Copy)]
pub enum NumberRange {
    /// From the first to the last, both included.
    Span(E164, E164),
    /// All numbers whose digits begin with this one's decimal digits (`+1425` is 1425).
    Prefix(u64),
}

impl NumberRange {
    /// Whether the number lies in it.
    pub fn contains(self, number: E164) -> bool {
        match self {
            Self::Span(first, last) => (first..=last).contains(&number),
            Self::Prefix(prefix) => {
                let mut head = number.digits();
                while head > prefix {
                    head /= 10;
                }
                head == prefix
            }
        }
    }
}

impl std::fmt::Debug for NumberRange {
    /// Prints nothing of the numbers (promise 3).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NumberRange(-)")
    }
}

/// The callback numbers of one trunk that are registered to one site's address, or to none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shelf {
    /// The trunk that routes them to us.
    pub trunk: TrunkId,
    /// The site, or none for numbers without an address.
    pub site: Option<String>,
    /// The numbers, each in one shelf only.
    pub numbers: Vec<E164>,
}

/// A voice route (RULES P1).
#[derive(Clone, Debug)]
pub struct VoiceRoute {
    /// Its name in the config.
    pub name: String,
    /// Matched against the dialed number.
    pub pattern: Regex,
    /// Its trunks, in configured order.
    pub trunks: Vec<TrunkId>,
    /// Meant for emergencies (RULES P9).
    pub emergency: bool,
}

/// `routing.profile`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// RULES P6.
    #[default]
    Emergency,
    /// RULES P5: the provider's published behaviour.
    AcsStrict {
        /// Chosen by the daemon at start; orders the trunks of a route anew for every call.
        seed: u64,
    },
}

/// How long a trunk may take (RULES P6, P7).
#[derive(Clone, Copy, Debug)]
pub struct PlacingTimes {
    /// Without any response; then the next trunk is started beside it.
    pub silence: Duration,
    /// With nothing but 100.
    pub trying: Duration,
    /// In all, until some trunk rings or answers.
    pub budget: Duration,
}

impl Default for PlacingTimes {
    fn default() -> Self {
        Self { silence: Duration::from_millis(1500), trying: Duration::from_secs(6), budget: Duration::from_secs(30) }
    }
}

/// How long a number leads back, and who answers when the agent does not.
#[derive(Clone, Debug)]
pub struct CallbackTimes {
    /// From dialing (RULES L2).
    pub ttl: Duration,
    /// From the end of the last emergency leg (RULES L2).
    pub tail: Duration,
    /// After the lease's end, while other numbers are free (RULES L6).
    pub quarantine: Duration,
    /// How long the devices ring alone (RULES C9).
    pub ring: Duration,
    /// Where a live person always answers; a SIP URI.
    pub desk: Option<Private<String>>,
    /// From dialing, for a test's lease (RULES R5).
    pub test_ttl: Duration,
}

impl Default for CallbackTimes {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        Self {
            ttl: minutes(60),
            tail: minutes(15),
            quarantine: minutes(24 * 60),
            ring: Duration::from_secs(20),
            desk: None,
            test_ttl: minutes(5),
        }
    }
}

/// The person who dials.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Unique in the site.
    pub id: Private<String>,
    /// For the mail.
    pub name: Private<String>,
    /// Numbers, names and `user@host` by which neighbours know her; the first is her user at the PBX.
    pub identity: Vec<Private<String>>,
    /// Her identity counts from this peer only, and her phone is there.
    pub peer: Option<PeerId>,
    /// SIP URIs that ring on a callback.
    pub devices: Vec<Private<String>>,
    /// SIP URIs that ring when neither a device nor the PBX does.
    pub alternates: Vec<Private<String>>,
    /// Her own number.
    pub number: Option<Private<E164>>,
    /// Where her emergency numbers are valid.
    pub country: Option<Country>,
    /// Whose registered numbers she is given first (RULES L5).
    pub site: Option<String>,
    /// `en`, `es` or `fr`; the node's where none.
    pub language: Option<String>,
    /// What an ordinary call shows (`outbound_profile.caller_id`); used by [`super::path::explain`].
    pub caller_id: Option<Private<E164>>,
    /// Whoever is told of her emergency calls, the site's contacts among them: see [`super::notice::recipients`].
    pub contacts: Contacts,
    /// Where she is, for trunks that are told.
    pub location: Option<Private<Arc<Civic>>>,
}

impl Site {
    /// The peer in this place.
    pub fn peer(&self, id: PeerId) -> Option<&Peer> {
        self.peers.get(usize::from(id.0))
    }

    /// The trunk in this place.
    pub fn trunk(&self, id: TrunkId) -> Option<&Trunk> {
        self.trunks.get(usize::from(id.0))
    }

    /// Renumbers this new configuration's neighbours so that those which `old` has, by name, keep their ids: calls and
    /// leases know them by id. One that is gone keeps its place as well, with its last configuration; no route leads
    /// there any more.
    pub fn keep_places(&mut self, old: &Self) {
        let peers = places(&mut self.peers, &old.peers, |p| &p.name);
        let trunks = places(&mut self.trunks, &old.trunks, |t| &t.name);
        for (n, trunk) in (0u16..).zip(&mut self.trunks) {
            trunk.gone = !trunks.contains(&n);
        }
        let peer = |id: PeerId| PeerId(peers.get(usize::from(id.0)).copied().unwrap_or(id.0));
        let trunk = |id: TrunkId| TrunkId(trunks.get(usize::from(id.0)).copied().unwrap_or(id.0));
        self.inbound = self.inbound.map(peer);
        for route in &mut self.routes {
            route.trunks.iter_mut().for_each(|t| *t = trunk(*t));
        }
        for shelf in &mut self.shelves {
            shelf.trunk = trunk(shelf.trunk);
        }
        for agent in &mut self.agents {
            if let Some(id) = agent.peer {
                Arc::make_mut(agent).peer = Some(peer(id));
            }
        }
    }

    /// All trunks with their ids, in configured order.
    pub fn trunk_ids(&self) -> impl Iterator<Item = (TrunkId, &Trunk)> {
        (0u16..).map(TrunkId).zip(&self.trunks).filter(|(_, t)| !t.gone)
    }

    /// The desk for callers behind this peer.
    pub fn desk(&self, peer: Option<PeerId>) -> Option<&Private<String>> {
        peer.and_then(|p| self.peer(p)).and_then(|p| p.desk.as_ref()).or(self.callback.desk.as_ref())
    }
}

/// Puts `new` into the places of `old`, the rest behind; gives the new place of each entry.
fn places<T: Clone>(new: &mut Vec<T>, old: &[T], name: impl Fn(&T) -> &String) -> Vec<u16> {
    let mut kept = old.to_vec();
    let mut to = Vec::with_capacity(new.len());
    for entry in std::mem::take(new) {
        let at = old.iter().position(|o| name(o) == name(&entry));
        match at.and_then(|at| kept.get_mut(at)) {
            Some(place) => *place = entry,
            None => kept.push(entry),
        }
        to.push(u16::try_from(at.unwrap_or(kept.len() - 1)).unwrap_or(u16::MAX));
    }
    *new = kept;
    to
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> E164 {
        E164::parse(text).expect("a number")
    }

    #[test]
    fn a_range_holds_its_ends_and_a_prefix_holds_whatever_begins_with_it() {
        let span = NumberRange::Span(number("+14255550100"), number("+14255550149"));
        let prefix = NumberRange::Prefix(1425555);
        for (range, text, inside) in [
            (span, "+14255550100", true),
            (span, "+14255550149", true),
            (span, "+14255550150", false),
            (prefix, "+14255551234", true),
            (prefix, "+14255541234", false),
            (prefix, "+1425555123", true),
            (NumberRange::Prefix(4), "+4511223344", true),
            (NumberRange::Prefix(46), "+4511223344", false),
        ] {
            assert_eq!(range.contains(number(text)), inside, "{text}");
        }
    }
}

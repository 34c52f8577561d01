//! Where an emergency call goes: which trunks, in which order, to which target, and why (RULES P1 to P6).
//!
//! [`decide`] is total: there is always a plan, and an empty one is possible only on a site without trunks, or where
//! `sips:` was asked for, no trunk has TLS, and the operator has forbidden the fall-back.
//! [`explain`] says the same to people. How long a trunk may take is [`super::call`]'s business.

use std::fmt;
use std::sync::Arc;

use super::caller::{self, Caller, Who, any_holds};
use super::facts::{CallId, Target, TrunkId};
use super::number::Dialed;
use super::site::{Agent, EmergencyTarget, Path, Profile, Site, VoiceRoute};
use crate::words::{Country, Private};

/// Where the call goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The path that is tried first.
    pub path: Path,
    /// One round of attempts, in order.
    pub attempts: Vec<Attempt>,
    /// What decided it.
    pub because: Because,
}

/// One trunk with one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Over this trunk.
    pub trunk: TrunkId,
    /// The emergency service itself, or the contingency number.
    pub to: To,
}

/// What an attempt asks the trunk for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// The number or service that was dialed.
    Service,
    /// `routing.contingency` (RULES P6).
    Contingency,
}

/// Why a call takes its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// A voice route matches the emergency number (RULES P2).
    RouteMatches,
    /// No route does, and there is a direct-offer number (RULES P3).
    NoRoute,
    /// No route does, and the caller's own number is a direct-offer number (RULES P4).
    OwnNumber,
    /// Neither a route nor a direct-offer number: every trunk is tried, for the caller's sake.
    NothingElse,
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RouteMatches => "a voice route matches the emergency number (P2)",
            Self::NoRoute => "no voice route matches the emergency number and there are direct-offer numbers (P3)",
            Self::OwnNumber => {
                "no voice route matches the emergency number and the caller's own number is a direct-offer number (P4)"
            }
            Self::NothingElse => "neither a voice route nor a direct-offer number can carry it: every trunk is tried",
        })
    }
}

/// Which trunks are known to be down.
#[derive(Clone, Debug, Default)]
pub struct Health {
    down: Vec<TrunkId>,
}

impl Health {
    /// Takes note of a probe's result; true if it changed anything.
    pub fn set(&mut self, trunk: TrunkId, up: bool) -> bool {
        let known_down = self.down.contains(&trunk);
        match (up, known_down) {
            (true, true) => self.down.retain(|t| *t != trunk),
            (false, false) => self.down.push(trunk),
            _ => return false,
        }
        true
    }

    /// Whether no trunk is known to be down.
    pub fn all_up(&self) -> bool {
        self.down.is_empty()
    }

    /// Whether the trunk is not known to be down.
    pub fn is_up(&self, trunk: TrunkId) -> bool {
        !self.down.contains(&trunk)
    }
}

/// What is decided about: the call, besides the site and the trunks' health.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The number or service.
    pub dialed: &'a Dialed,
    /// Who dials.
    pub caller: &'a Caller,
    /// The trunk that brought the call, which does not get it back (RULES P12).
    pub came_over: Option<TrunkId>,
    /// Orders the trunks of a route under `acs-strict`.
    pub call: CallId,
    /// Whether it was asked that every hop be protected: see [`asks_for_protection`].
    pub protected: bool,
}

/// Whether a Request-URI asks that every hop be protected (RFC 5630 section 3): `sips:`.
pub fn asks_for_protection(uri: &[u8]) -> bool {
    uri.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"sips:"))
}

/// Chooses the path and the order of attempts for an emergency or test call.
pub fn decide(site: &Site, health: &Health, question: &Question<'_>) -> Decision {
    let routed = routed(site, question);
    let (path, because, first, other) = match first_offer(site, question.caller) {
        _ if !routed.is_empty() => (Path::DirectRouting, Because::RouteMatches, routed, of_path(site, Path::DirectOffer)),
        Offer::Own(trunk) => {
            let first = std::iter::once(trunk).chain(of_path(site, Path::DirectOffer)).collect();
            (Path::DirectOffer, Because::OwnNumber, first, of_path(site, Path::DirectRouting))
        }
        Offer::Some => {
            (Path::DirectOffer, Because::NoRoute, of_path(site, Path::DirectOffer), of_path(site, Path::DirectRouting))
        }
        Offer::None => {
            let all: Vec<_> = site.trunk_ids().map(|(id, _)| id).collect();
            (Path::DirectRouting, Because::NothingElse, all, Vec::new())
        }
    };
    let strict = matches!(site.profile, Profile::AcsStrict { .. });
    let mut trunks = Vec::with_capacity(first.len() + other.len());
    let paths = if strict { vec![first] } else { vec![first, other] };
    for path in paths {
        let (up, down): (Vec<_>, Vec<_>) = path.into_iter().partition(|t| strict || health.is_up(*t));
        for trunk in up.into_iter().chain(down) {
            if !trunks.contains(&trunk) && question.came_over != Some(trunk) {
                trunks.push(trunk);
            }
        }
    }
    if question.protected {
        let is_secure = |trunk: &TrunkId| site.trunk(*trunk).is_some_and(|t| t.secure);
        trunks.sort_by_key(|trunk| !is_secure(trunk));
        // Whoever forbids the fall-back wants no call rather than one that others can hear.
        trunks.retain(|trunk| site.may_downgrade || is_secure(trunk));
    }
    let contingency = site.contingency.is_some() && !strict && !question.dialed.service.is_test();
    let last: &[TrunkId] = if contingency { &trunks } else { &[] };
    let attempt = |to| move |&trunk: &TrunkId| Attempt { trunk, to };
    let attempts = trunks.iter().map(attempt(To::Service)).chain(last.iter().map(attempt(To::Contingency))).collect();
    Decision { path, attempts, because }
}

/// What stands in the Request-URI for this attempt. A test's target comes from the test service alone, so it
/// can be neither 911 nor `urn:service:sos` (RULES R5).
pub fn target(site: &Site, dialed: &Dialed, attempt: Attempt) -> Target {
    let form = site.trunk(attempt.trunk).map(|t| t.emergency_target).unwrap_or_default();
    match (attempt.to, site.contingency, form) {
        (To::Contingency, Some(number), _) if !dialed.service.is_test() => Target::Contingency(number),
        (_, _, EmergencyTarget::Number) => Target::Number(Private::new(dialed.canonical.to_owned())),
        (_, _, EmergencyTarget::Urn) => Target::Urn(dialed.service.urn().to_owned()),
    }
}

/// Whether a final response makes the call try the next trunk (RULES P5, P6).
pub const fn moves_on(profile: Profile, status: u16) -> bool {
    match profile {
        Profile::Emergency => true,
        Profile::AcsStrict { .. } => matches!(status, 408 | 503 | 504),
    }
}

/// The voice routes that match a dialed number, in configured order (RULES P1). For an ordinary call the dialed
/// user, with separators removed and escapes decoded; for an emergency its canonical number.
pub fn routes_for<'a>(site: &'a Site, dialed: &str) -> impl Iterator<Item = &'a VoiceRoute> {
    site.routes.iter().filter(move |r| r.pattern.is_match(dialed))
}

/// The trunks of all matching routes, each once, in order.
fn routed(site: &Site, question: &Question<'_>) -> Vec<TrunkId> {
    let mut trunks: Vec<TrunkId> = Vec::new();
    for route in routes_for(site, question.dialed.route_as) {
        let start = trunks.len();
        for &trunk in &route.trunks {
            if !trunks.contains(&trunk) && site.trunk(trunk).is_some() {
                trunks.push(trunk);
            }
        }
        if let (Profile::AcsStrict { seed }, Some(new)) = (site.profile, trunks.get_mut(start..)) {
            shuffle(new, seed ^ question.call.0);
        }
    }
    trunks
}

/// Fisher and Yates over the numbers of splitmix64: the same order for the same seed.
fn shuffle(trunks: &mut [TrunkId], seed: u64) {
    let mut state = seed;
    for i in (1..trunks.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let j = (z ^ (z >> 31)) % (i as u64 + 1);
        trunks.swap(i, usize::try_from(j).unwrap_or(0));
    }
}

/// Direct offer needs a bought number.
enum Offer {
    None,
    Some,
    Own(TrunkId),
}

fn first_offer(site: &Site, caller: &Caller) -> Offer {
    let own = caller.own_number();
    let mut offers = site.trunk_ids().filter(|(_, t)| t.path == Path::DirectOffer && !t.numbers.is_empty()).peekable();
    if offers.peek().is_none() {
        return Offer::None;
    }
    let of_caller = offers.find(|(_, t)| own.is_some_and(|n| any_holds(&t.numbers, n)));
    of_caller.map_or(Offer::Some, |(id, _)| Offer::Own(id))
}

/// The trunks of a path in configured order; of direct offer those with numbers.
fn of_path(site: &Site, path: Path) -> Vec<TrunkId> {
    let usable = |t: &super::site::Trunk| t.path == path && (path == Path::DirectRouting || !t.numbers.is_empty());
    site.trunk_ids().filter(|(_, t)| usable(t)).map(|(id, _)| id).collect()
}

/// What `e911d route` prints. It names numbers of the config, so it is for operators' eyes and never logged.
pub struct Explanation {
    lines: Vec<(&'static str, String)>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|(what, is)| writeln!(f, "{:<12} {is}", format!("{what}:")))
    }
}

impl Explanation {
    /// The lines as key and value, for `--json`.
    pub fn lines(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.lines.iter().map(|(what, is)| (*what, is.as_str()))
    }
}

/// Explains what would happen to a dialed string. `agent` is an agent of the site; `down` are trunks taken to be
/// down.
pub fn explain(site: &Site, dialed_text: &str, agent: Option<&Arc<Agent>>, down: &[TrunkId]) -> Explanation {
    let mut health = Health::default();
    for &trunk in down {
        health.set(trunk, false);
    }
    let peer = agent.and_then(|a| a.peer);
    let who = agent.map_or_else(
        || Who::Unknown { key: Private::new(Arc::from("")), user: Private::default() },
        |a| Who::Agent(Arc::clone(a)),
    );
    let caller = Caller { who, peer };
    let country = caller::country(site, agent.map(AsRef::as_ref), peer);
    let uri = as_uri(dialed_text);
    let lines = match site.numbers.recognise(uri.as_bytes(), country) {
        Some(dialed) => explain_emergency(site, &dialed, &caller, country, &health),
        None => explain_ordinary(site, dialed_text, agent.map(AsRef::as_ref), country),
    };
    Explanation { lines }
}

fn explain_emergency(
    site: &Site,
    dialed: &Dialed,
    caller: &Caller,
    country: Option<Country>,
    health: &Health,
) -> Vec<(&'static str, String)> {
    let decision = decide(site, health, &Question { dialed, caller, came_over: None, call: CallId(0), protected: false });
    let kind = if dialed.service.is_test() { "test call" } else { "emergency" };
    let mut lines = vec![
        ("recognised", format!("yes, {kind}: {} ({})", dialed.canonical, dialed.service.urn())),
        ("country", country.map_or_else(|| format!("not known, taken as {}", dialed.country), |c| c.to_string())),
        ("path", decision.path.word().to_owned()),
        ("why", decision.because.to_string()),
    ];
    for (n, attempt) in decision.attempts.iter().enumerate() {
        let name = site.trunk(attempt.trunk).map_or("", |t| &t.name);
        let to = match target(site, dialed, *attempt) {
            Target::Number(number) => number.into_revealed(),
            Target::Urn(urn) => urn,
            Target::Contingency(number) => format!("contingency {}", number.reveal()),
        };
        let health = if health.is_up(attempt.trunk) { "" } else { ", down" };
        lines.push(("trunk", format!("{}. {name} -> {to}{health}", n + 1)));
    }
    let first = decision.attempts.first().map(|a| a.trunk);
    lines.push(("caller id", first.map_or_else(|| "none: there is no trunk".to_owned(), |t| shown_on(site, t, caller))));
    lines
}

/// Which callback number a trunk would show, without leasing one.
fn shown_on(site: &Site, trunk: TrunkId, caller: &Caller) -> String {
    let name = site.trunk(trunk).map_or("", |t| &t.name);
    let own_site = caller.site(site);
    let count = |wanted: fn(&str, Option<&str>) -> bool| -> usize {
        let shelves = site.shelves.iter().filter(|s| s.trunk == trunk);
        shelves.filter(|s| s.site.as_deref().is_some_and(|x| wanted(x, own_site))).map(|s| s.numbers.len()).sum()
    };
    let of_site = count(|shelf, own| Some(shelf) == own);
    let plain: usize = site.shelves.iter().filter(|s| s.trunk == trunk && s.site.is_none()).map(|s| s.numbers.len()).sum();
    match (of_site, plain) {
        (0, 0) => format!("{name} has no callback number for this caller: the next rung (L7)"),
        (0, n) => format!("a callback number of {name} (one of {n})"),
        (n, _) => format!("a callback number of {name} registered to the caller's site (one of {n})"),
    }
}

fn explain_ordinary(site: &Site, text: &str, agent: Option<&Agent>, country: Option<Country>) -> Vec<(&'static str, String)> {
    let number = without_separators(text);
    let mut lines = vec![
        ("recognised", "no, an ordinary call".to_owned()),
        ("country", country.map_or_else(|| "not known".to_owned(), |c| c.to_string())),
    ];
    let mut tried: Vec<TrunkId> = Vec::new();
    let mut none = true;
    for route in routes_for(site, &number) {
        none = false;
        lines.push(("route", format!("{} ({})", route.name, route.pattern.as_str())));
        for &trunk in &route.trunks {
            if !tried.contains(&trunk) {
                tried.push(trunk);
                lines.push(("trunk", format!("{}. {}", tried.len(), site.trunk(trunk).map_or("", |t| &t.name))));
            }
        }
    }
    if none {
        lines.push(("why", "no voice route matches: 404".to_owned()));
    } else {
        lines
            .push(("why", "the first matching route starts, the next one follows when its trunks are exhausted (P1)".to_owned()));
        let shown = agent.and_then(|a| a.caller_id).map_or_else(|| "as received".to_owned(), |n| n.reveal().to_string());
        lines.push(("caller id", shown));
    }
    lines
}

fn as_uri(text: &str) -> String {
    let scheme = text.split_once(':').map(|(s, _)| s.to_ascii_lowercase());
    match scheme.as_deref() {
        Some("sip" | "sips" | "tel" | "urn") => text.to_owned(),
        _ => format!("tel:{text}"),
    }
}

/// What a voice route sees of a dialed user: separators removed (RULES P1). Escapes are decoded before.
pub fn without_separators(dialed: &str) -> String {
    dialed.chars().filter(|c| !matches!(c, '-' | '.' | '(' | ')' | ' ')).collect()
}

/// The agent with this id.
pub fn agent_by_id<'a>(site: &'a Site, id: &str) -> Option<&'a Arc<Agent>> {
    site.agents.iter().find(|a| a.id.reveal() == id)
}

#[cfg(test)]
mod tests {
    use super::super::facts::PeerId;
    use super::super::scenarios::world::{agent, number, numbers, route, site, trunk};
    use super::super::site::{NumberRange, Shelf};
    use super::*;

    const A: u16 = 0;
    const B: u16 = 1;
    const C: u16 = 2;
    const D: u16 = 3;

    /// `a` and `b` are the operator's carriers, `c` and `d` have bought numbers.
    fn four(routes: &[(&str, &[u16])]) -> Site {
        let mut site = site();
        for (name, first) in [("c", "+12065550100"), ("d", "+12065550200")] {
            let mut offer = trunk(name, Path::DirectOffer);
            offer.numbers = vec![NumberRange::Span(number(first), number(first))];
            site.trunks.push(offer);
        }
        site.routes = routes.iter().map(|(pattern, trunks)| route(pattern, pattern, trunks)).collect();
        site
    }

    fn caller(own: Option<&str>) -> Caller {
        let mut a = agent("ada");
        a.number = own.map(|n| Private::new(number(n)));
        Caller { who: Who::Agent(Arc::new(a)), peer: Some(PeerId(0)) }
    }

    fn decided(site: &Site, own: Option<&str>, down: &[u16], came_over: Option<u16>, uri: &str) -> (Path, Because, Vec<u16>) {
        let mut health = Health::default();
        down.iter().for_each(|t| assert!(health.set(TrunkId(*t), false)));
        let dialed = site.numbers.recognise(uri.as_bytes(), site.country).expect("an emergency");
        let caller = caller(own);
        let question =
            Question { dialed: &dialed, caller: &caller, came_over: came_over.map(TrunkId), call: CallId(1), protected: false };
        let decision = decide(site, &health, &question);
        (decision.path, decision.because, decision.attempts.iter().map(|a| a.trunk.0).collect())
    }

    #[test]
    fn a_sips_emergency_takes_tls_trunks_first_and_the_others_only_where_it_may() {
        let mut site = four(&[("^911$", &[A, B])]);
        site.trunks[usize::from(B)].secure = true;
        let dialed = site.numbers.recognise(b"sips:911@h", site.country).expect("an emergency");
        let caller = caller(None);
        let question = Question { dialed: &dialed, caller: &caller, came_over: None, call: CallId(1), protected: true };
        let order = |site: &Site, question: &Question<'_>| -> Vec<u16> {
            decide(site, &Health::default(), question).attempts.iter().map(|a| a.trunk.0).collect()
        };
        assert_eq!(order(&site, &question), [B, A, C, D]);
        assert_eq!(order(&site, &Question { protected: false, ..question }), [A, B, C, D]);
        site.may_downgrade = false;
        assert_eq!(order(&site, &question), [B]);
        assert_eq!(order(&site, &Question { protected: false, ..question }), [A, B, C, D]);
        for (uri, protected) in [("sips:911@h", true), ("SIPS:911", true), ("sip:911@h", false), ("", false), ("sipsa:b", false)]
        {
            assert_eq!(asks_for_protection(uri.as_bytes()), protected, "{uri}");
        }
    }

    #[test]
    fn p1_to_p6_a_route_then_direct_offer_then_whatever_there_is() {
        use Because::*;
        use Path::*;
        let matching: &[(&str, &[u16])] = &[("^911$", &[B, A])];
        let two: &[(&str, &[u16])] = &[("^911$", &[B]), ("^[0-9]+$", &[A, B]), ("^4", &[C])];
        let none: &[(&str, &[u16])] = &[("^[2-9][0-9]{9}$", &[A])];
        for (routes, own, down, expected) in [
            (matching, None, &[][..], (DirectRouting, RouteMatches, vec![B, A, C, D])),
            (two, None, &[], (DirectRouting, RouteMatches, vec![B, A, C, D])),
            (matching, Some("+12065550200"), &[], (DirectRouting, RouteMatches, vec![B, A, C, D])),
            (matching, None, &[B, C], (DirectRouting, RouteMatches, vec![A, B, D, C])),
            (none, None, &[], (DirectOffer, NoRoute, vec![C, D, A, B])),
            (none, Some("+12065550200"), &[], (DirectOffer, OwnNumber, vec![D, C, A, B])),
            (none, Some("+12065550200"), &[D], (DirectOffer, OwnNumber, vec![C, D, A, B])),
            (none, Some("+14255550000"), &[], (DirectOffer, NoRoute, vec![C, D, A, B])),
            (&[], None, &[], (DirectOffer, NoRoute, vec![C, D, A, B])),
        ] {
            assert_eq!(decided(&four(routes), own, down, None, "sip:911@gw"), expected, "{routes:?} {down:?}");
        }
        let mut without_offers = four(none);
        without_offers.trunks.iter_mut().for_each(|t| t.numbers.clear());
        assert_eq!(decided(&without_offers, None, &[], None, "sip:911@gw"), (DirectRouting, NothingElse, vec![A, B, C, D]));
    }

    #[test]
    fn p1_emergencies_are_matched_as_their_canonical_number_and_tests_as_the_real_one() {
        let site = four(&[("^911$", &[A])]);
        for uri in ["sip:+1911@gw", "sip:9911@gw", "urn:service:sos.police", "tel:911", "sip:933@gw", "urn:service:test.sos"] {
            assert_eq!(decided(&site, None, &[], None, uri).1, Because::RouteMatches, "{uri}");
        }
    }

    #[test]
    fn p12_the_trunk_that_brought_the_call_is_left_out() {
        assert_eq!(decided(&four(&[("911", &[A, B])]), None, &[], Some(A), "sip:911@gw").2, [B, C, D]);
    }

    #[test]
    fn p6_the_contingency_number_goes_over_the_same_trunks_after_all_of_them_but_not_for_a_test() {
        let mut site = four(&[("911", &[A])]);
        site.contingency = Some(Private::new(number("+12065559000")));
        assert_eq!(decided(&site, None, &[], None, "sip:911@gw").2, [A, C, D, A, C, D]);
        assert_eq!(decided(&site, None, &[], None, "sip:933@gw").2, [A, C, D]);
    }

    #[test]
    fn r5_no_target_of_a_test_is_the_real_number_or_service() {
        let mut site = four(&[("911", &[A])]);
        site.trunks[1].emergency_target = EmergencyTarget::Urn;
        site.contingency = Some(Private::new(number("+12065559000")));
        for uri in ["sip:933@gw", "urn:service:test.sos"] {
            let test = site.numbers.recognise(uri.as_bytes(), site.country).expect("a test");
            for to in [To::Service, To::Contingency] {
                let of = |t| target(&site, &test, Attempt { trunk: TrunkId(t), to });
                assert_eq!(of(A), Target::Number(Private::new("933".to_owned())));
                assert_eq!(of(B), Target::Urn("urn:service:test.sos".to_owned()));
            }
        }
        let fire = site.numbers.recognise(b"urn:service:sos.fire", site.country).expect("an emergency");
        let of = |t| target(&site, &fire, Attempt { trunk: TrunkId(t), to: To::Service });
        assert_eq!((of(A), of(B)), (Target::Number(Private::new("911".into())), Target::Urn("urn:service:sos.fire".into())));
    }

    #[test]
    fn p5_acs_strict_orders_the_trunks_of_a_route_anew_for_each_call_and_takes_no_other_path() {
        let mut site = four(&[("911", &[A, B, C, D])]);
        site.profile = Profile::AcsStrict { seed: 42 };
        let dialed = site.numbers.recognise(b"sip:911@gw", site.country).expect("an emergency");
        let caller = caller(None);
        let order = |call| {
            let question = Question { dialed: &dialed, caller: &caller, came_over: None, call: CallId(call), protected: false };
            decide(&site, &Health::default(), &question).attempts.iter().map(|a| a.trunk.0).collect::<Vec<_>>()
        };
        let orders: std::collections::BTreeSet<_> = (0..200).map(order).collect();
        assert_eq!(orders.len(), 24);
        assert_eq!(order(5), order(5));
        site.routes = vec![route("911", "911", &[A])];
        let question = Question { dialed: &dialed, caller: &caller, came_over: None, call: CallId(1), protected: false };
        assert_eq!(decide(&site, &Health::default(), &question).attempts.len(), 1);
    }

    #[test]
    fn p6_every_final_response_moves_on_but_under_acs_strict_only_three_do() {
        for status in 300..700 {
            assert!(moves_on(Profile::Emergency, status));
            assert_eq!(moves_on(Profile::AcsStrict { seed: 0 }, status), [408, 503, 504].contains(&status), "{status}");
        }
    }

    #[test]
    fn the_explanation_of_a_call_names_its_trunks_in_order_and_why() {
        let mut site = four(&[("^911$", &[A]), ("^[2-9][0-9]{9}$", &[B])]);
        site.shelves = vec![Shelf { trunk: TrunkId(0), site: None, numbers: numbers(100, 10) }];
        let ada = Arc::clone(agent_by_id(&site, "ada").expect("an agent"));
        let text = explain(&site, "9911", Some(&ada), &[TrunkId(0)]).to_string();
        for part in ["yes, emergency: 911", "US", "direct-routing", "(P2)", "1. a -> 911, down", "2. c -> 911", "(one of 10)"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let text = explain(&site, "(425) 555-1234", None, &[]).to_string();
        for part in ["no, an ordinary call", "1. b", "P1"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(explain(&site, "12", None, &[]).to_string().contains("404"));
        assert!(explain(&site, "933", None, &[]).to_string().contains("test call: 933"));
    }
}

//! What must be in place before the day: the prerequisites of an emergency call that reaches help and of a callback that
//! reaches the caller, as a list that one can work through.
//!
//! Pure policy: facts in, [`Check`]s out. No call asks it, and nothing here changes one; how the facts are come by is the
//! daemon's business. Read [`of_agent`] and [`of_site`]. Each check that fails says what to do.

use std::time::Duration;

use super::path::{Because, Health, Question, decide};
use super::site::{Agent, Site};
use super::{caller, facts::CallId};
use crate::words::plan::plan;
use std::sync::Arc;

/// A location that a browser told is asked for anew after this: people move.
pub const LOCATION_STAYS_FRESH: Duration = Duration::from_secs(24 * 3600);
/// A trunk whose share of free numbers is below one in this many is short of them.
const LEAST_FREE: u32 = 10;
/// How far the wall clock may have moved against boot time: mails, records and certificates go by it.
const MOST_DRIFT: Duration = Duration::from_secs(5);
/// Years in which this program may run.
const YEARS: std::ops::RangeInclusive<u64> = 2024..=2099;
/// A certificate is to be renewed before it has this many days left.
const LEAST_DAYS: i64 = 14;

/// One prerequisite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Which; the same in every report.
    pub name: &'static str,
    /// Of what, where there are several: a trunk's or a peer's name.
    pub of: Option<String>,
    /// Whether it is fulfilled.
    pub ok: bool,
    /// What was found; where it fails, what to do.
    pub why: String,
    /// How long ago it was measured; none: it was looked up just now.
    pub age: Option<Duration>,
}

impl Check {
    fn good(name: &'static str, why: impl Into<String>) -> Self {
        Self { name, of: None, ok: true, why: why.into(), age: None }
    }

    fn bad(name: &'static str, why: impl Into<String>) -> Self {
        Self { name, of: None, ok: false, why: why.into(), age: None }
    }

    fn of(self, of: &str) -> Self {
        Self { of: Some(of.to_owned()), ..self }
    }

    fn aged(self, age: Duration) -> Self {
        Self { age: Some(age), ..self }
    }
}

/// Where an agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// Nobody has said.
    Unknown,
    /// In a country whose emergency numbers are not placeable here.
    Unsupported,
    /// Known, by the config or an operator.
    Told,
    /// Known from her browser, so long ago.
    Browser(Duration),
}

/// How a call of hers would go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The emergency number of her country.
    pub number: &'static str,
    /// What decides the path; none: the number is not recognised.
    pub because: Option<Because>,
}

/// What is known of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentFacts {
    /// She has an outbound profile.
    pub profile: bool,
    /// Ordinary calls at once.
    pub capacity: u32,
    /// Locked for ordinary calls.
    pub locked: bool,
    /// Where she is.
    pub location: Location,
    /// She has a mailbox.
    pub mailbox: bool,
    /// Who is told of her calls, the site's contacts among them.
    pub contacts: usize,
    /// Entries among her contacts that are no addresses.
    pub rejected: usize,
    /// How her call goes out.
    pub way: Way,
    /// Devices with a fixed address.
    pub configured: usize,
    /// Devices that are registered now.
    pub registered: usize,
    /// Her phone is behind a PBX.
    pub at_pbx: bool,
    /// She has a password, so that devices may register.
    pub may_register: bool,
}

/// The prerequisites of one agent, always the same ones in the same order.
pub fn of_agent(facts: &AgentFacts) -> Vec<Check> {
    vec![profile(facts), location(facts.location), mailbox(facts), contacts(facts), number(facts.way), devices(facts)]
}

fn profile(facts: &AgentFacts) -> Check {
    let missing = match facts {
        f if f.locked => "is locked: set agent.locked = false",
        f if f.capacity == 0 => "has no capacity: set agent.capacity to 1 or more",
        f if !f.profile => "has no outbound profile: set agent.outbound_profile to an [[outbound_profile]]",
        _ => return Check::good("profile", "has an outbound profile and capacity"),
    };
    Check::bad("profile", missing)
}

fn location(location: Location) -> Check {
    const NAME: &str = "location";
    match location {
        Location::Unknown => Check::bad(NAME, "is not known: set agent.location to her civic address"),
        Location::Unsupported => {
            Check::bad(NAME, "is in a country that this site does not place emergency calls in: see emergency.countries")
        }
        Location::Told => Check::good(NAME, "is known"),
        Location::Browser(age) if age > LOCATION_STAYS_FRESH => {
            Check::bad(NAME, "is older than a day: let her confirm it at the panel").aged(age)
        }
        Location::Browser(age) => Check::good(NAME, "is known and fresh").aged(age),
    }
}

fn mailbox(facts: &AgentFacts) -> Check {
    match facts.mailbox {
        true => Check::good("mailbox", "is set"),
        false => Check::bad("mailbox", "is not set: set agent.mailbox"),
    }
}

fn contacts(facts: &AgentFacts) -> Check {
    const NAME: &str = "contacts";
    match (facts.contacts, facts.rejected) {
        (0, _) => Check::bad(NAME, "nobody is told of her calls: set agent.contacts or notify.site_contacts"),
        (_, 1..) => Check::bad(NAME, format!("{} are no addresses: correct agent.contacts", facts.rejected)),
        (told, 0) => Check::good(NAME, format!("{told} are told")),
    }
}

fn number(way: Way) -> Check {
    const NAME: &str = "number";
    let number = way.number;
    match way.because {
        None => Check::bad(NAME, format!("{number} is not recognised where she is: add her country to emergency.countries")),
        Some(Because::NothingElse) => Check::bad(
            NAME,
            format!("no path for {number}: write a [[voice_route]] that matches it, or buy a number (trunk.numbers)"),
        ),
        Some(Because::RouteMatches) => Check::good(NAME, format!("a voice route takes {number}")),
        Some(Because::NoRoute) => Check::good(NAME, format!("direct offer takes {number}")),
        Some(Because::OwnNumber) => Check::good(NAME, format!("her own bought number takes {number}")),
    }
}

fn devices(facts: &AgentFacts) -> Check {
    const NAME: &str = "devices";
    let AgentFacts { configured, registered, at_pbx, may_register, .. } = *facts;
    match (configured + registered, at_pbx, may_register) {
        (0, false, true) => Check::bad(NAME, "none is registered: switch one on, or set agent.devices"),
        (0, false, false) => Check::bad(NAME, "a callback reaches nobody: set agent.devices, agent.password or agent.peer"),
        (0, true, _) => Check::good(NAME, "behind the PBX"),
        (devices, ..) => Check::good(NAME, format!("{devices} ({registered} registered)")),
    }
}

/// How an emergency call of this agent would go out with every trunk up.
pub fn way(site: &Site, agent: &Arc<Agent>) -> Way {
    let country = caller::country(site, Some(agent), agent.peer);
    let number = country.and_then(plan).map_or("911", |p| p.usual());
    let dialed = site.numbers.recognise(format!("sip:{number}@x").as_bytes(), country).filter(|d| !d.service.is_test());
    let caller = caller::Caller { who: caller::Who::Agent(Arc::clone(agent)), peer: agent.peer };
    let because = dialed.map(|dialed| {
        let question = Question { dialed: &dialed, caller: &caller, came_over: None, call: CallId(0), protected: false };
        decide(site, &Health::default(), &question).because
    });
    Way { number, because }
}

/// A measurement: what came of it and how long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured<T> {
    /// What came of it.
    pub result: T,
    /// How long ago.
    pub age: Duration,
}

/// What is known of a trunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrunkFacts {
    /// Its name.
    pub name: String,
    /// Whether it is asked for its health.
    pub probed: bool,
    /// Whether it answers; none: it was not asked yet.
    pub up: Option<bool>,
    /// Its callback numbers.
    pub numbers: u32,
    /// Those that are not leased.
    pub free: u32,
    /// Whether a call to one of its numbers came back to us; none: it was not tried yet.
    pub comes_back: Option<Measured<CameBack>>,
}

/// What became of a call to a callback number of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CameBack {
    /// It came in by the trunk that the number belongs to.
    Yes,
    /// Another trunk brought it.
    Elsewhere,
    /// The trunk refused it with this status.
    Refused(u16),
    /// Nothing came.
    No,
    /// There was no number to try with.
    NoNumber,
}

/// A place where a live person always answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeskFacts {
    /// The peer whose desk it is; none: `callback.desk`.
    pub peer: Option<String>,
    /// The status of its answer to OPTIONS, 0 for silence; none: it was not asked yet.
    pub answer: Option<Measured<u16>>,
}

/// What is known of the site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SiteFacts {
    /// Every trunk.
    pub trunks: Vec<TrunkFacts>,
    /// Every desk; without one a callback to nobody ends.
    pub desks: Vec<DeskFacts>,
    /// Templates that have mistakes, by name and language.
    pub bad_templates: Vec<String>,
    /// Templates in all.
    pub templates: usize,
    /// Whether a mail server is set.
    pub has_mail: bool,
    /// Whether it greets us, or in words why not; none: it was not asked yet.
    pub mail: Option<Measured<Result<(), &'static str>>>,
    /// The wall clock's year.
    pub year: u64,
    /// How far the wall clock has moved against boot time since the start.
    pub drift: Duration,
    /// Whether the store takes rows.
    pub store_works: bool,
    /// Whether it takes them in time.
    pub store_is_fast: bool,
    /// Days that the certificate is still good; none: there is none.
    pub certificate_days: Option<i64>,
    /// Whether numbers are called to see whether they come back.
    pub calls_itself: bool,
}

/// The prerequisites of the site, always in the same order.
pub fn of_site(facts: &SiteFacts) -> Vec<Check> {
    let mut checks = Vec::new();
    for trunk in &facts.trunks {
        checks.push(trunk_up(trunk).of(&trunk.name));
        checks.push(pool(trunk).of(&trunk.name));
        if facts.calls_itself && trunk.numbers > 0 {
            checks.push(self_call(trunk).of(&trunk.name));
        }
    }
    if facts.desks.is_empty() {
        checks.push(Check::bad("desk", "is not set: set callback.desk to a place where a live person always answers"));
    }
    checks.extend(facts.desks.iter().map(desk));
    checks.push(templates(facts));
    checks.push(mail(facts));
    checks.push(clock(facts));
    checks.push(store(facts));
    checks.extend(facts.certificate_days.map(certificate));
    checks
}

fn trunk_up(trunk: &TrunkFacts) -> Check {
    const NAME: &str = "trunk";
    match (trunk.probed, trunk.up) {
        (_, Some(false)) => Check::bad(NAME, "does not answer: look at the way to it, its address and its sources"),
        (false, _) => Check::bad(NAME, "is not asked for its health: set trunk.options, as 30s"),
        (true, None) => Check::bad(NAME, "was not asked yet: ask again in a minute"),
        (true, Some(true)) => Check::good(NAME, "answers"),
    }
}

fn pool(trunk: &TrunkFacts) -> Check {
    const NAME: &str = "pool";
    let TrunkFacts { numbers, free, .. } = *trunk;
    if numbers == 0 {
        return Check::bad(NAME, "has no callback numbers: set trunk.callback_numbers");
    }
    if u64::from(free) * u64::from(LEAST_FREE) < u64::from(numbers) || free == 0 {
        return Check::bad(NAME, format!("{free} of {numbers} numbers are free: add numbers to trunk.callback_numbers"));
    }
    Check::good(NAME, format!("{free} of {numbers} numbers are free"))
}

fn self_call(trunk: &TrunkFacts) -> Check {
    const NAME: &str = "self_call";
    let Some(Measured { result, age }) = trunk.comes_back else {
        return Check::bad(NAME, "was not tried yet: ask again in a minute");
    };
    let check = match result {
        CameBack::Yes => Check::good(NAME, "a call to a callback number comes back to us"),
        CameBack::Elsewhere => {
            Check::bad(NAME, "a call to a callback number comes back by another trunk: correct one of the two")
        }
        CameBack::Refused(status) => {
            Check::bad(NAME, format!("the trunk refuses a call to its own callback number with {status}: ask the carrier"))
        }
        CameBack::No => Check::bad(NAME, "a call to a callback number does not come back: have the carrier route it here"),
        CameBack::NoNumber => Check::bad(NAME, "no two numbers are free to try with: add numbers to trunk.callback_numbers"),
    };
    check.aged(age)
}

fn desk(desk: &DeskFacts) -> Check {
    const NAME: &str = "desk";
    let check = match desk.answer {
        None => Check::bad(NAME, "was not asked yet: ask again in a minute"),
        Some(Measured { result, age }) => match result {
            0 => Check::bad(NAME, "does not answer: look at the way to it and whether it is switched on"),
            404 | 410 | 604 => Check::bad(NAME, format!("is not known where it should be ({result}): correct its URI")),
            503 => Check::bad(NAME, "says that it is out of service (503)"),
            _ => Check::good(NAME, "answers"),
        }
        .aged(age),
    };
    match &desk.peer {
        Some(peer) => check.of(peer),
        None => check,
    }
}

/// Whether a desk that answers OPTIONS like this can be rung; 0 is silence.
pub const fn desk_answers(status: u16) -> bool {
    !matches!(status, 0 | 404 | 410 | 503 | 604)
}

fn templates(facts: &SiteFacts) -> Check {
    const NAME: &str = "templates";
    if facts.bad_templates.is_empty() {
        return Check::good(NAME, format!("{} are without mistakes", facts.templates));
    }
    let which = facts.bad_templates.join(", ");
    Check::bad(NAME, format!("{which}: mistakes; correct them with e911d template edit, or reset them"))
}

fn mail(facts: &SiteFacts) -> Check {
    const NAME: &str = "mail";
    if !facts.has_mail {
        return Check::bad(NAME, "nobody gets mail: set notify.smtp and notify.from");
    }
    match facts.mail {
        None => Check::bad(NAME, "the server was not asked yet: ask again in a minute"),
        Some(Measured { result: Ok(()), age }) => Check::good(NAME, "the server greets us").aged(age),
        Some(Measured { result: Err(why), age }) => Check::bad(NAME, format!("{why}: correct notify.smtp")).aged(age),
    }
}

fn clock(facts: &SiteFacts) -> Check {
    const NAME: &str = "clock";
    if !YEARS.contains(&facts.year) {
        return Check::bad(NAME, format!("the wall clock says {}: set it, and let NTP keep it", facts.year));
    }
    if facts.drift > MOST_DRIFT {
        let seconds = facts.drift.as_secs();
        return Check::bad(NAME, format!("the wall clock was moved by {seconds} s since the start: let NTP keep it"));
    }
    Check::good(NAME, "is set and steady")
}

fn store(facts: &SiteFacts) -> Check {
    const NAME: &str = "store";
    match (facts.store_works, facts.store_is_fast) {
        (false, _) => Check::bad(NAME, "leases are not kept: look at node.state_dir, its disk and its rights"),
        (true, false) => Check::bad(NAME, "is slower than 50 ms: put node.state_dir on a faster disk"),
        (true, true) => Check::good(NAME, "takes rows in time"),
    }
}

fn certificate(days: i64) -> Check {
    const NAME: &str = "certificate";
    match days {
        ..0 => Check::bad(NAME, "is not valid now: renew tls.certificate and reload"),
        0..LEAST_DAYS => Check::bad(NAME, format!("is valid for {days} days more: renew tls.certificate and reload")),
        LEAST_DAYS.. => Check::good(NAME, format!("is valid for {days} days")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready_agent() -> AgentFacts {
        AgentFacts {
            profile: true,
            capacity: 1,
            locked: false,
            location: Location::Told,
            mailbox: true,
            contacts: 2,
            rejected: 0,
            way: Way { number: "911", because: Some(Because::RouteMatches) },
            configured: 1,
            registered: 0,
            at_pbx: false,
            may_register: false,
        }
    }

    fn failed(checks: &[Check]) -> Vec<&'static str> {
        checks.iter().filter(|c| !c.ok).map(|c| c.name).collect()
    }

    #[test]
    fn an_agent_with_everything_is_ready_and_each_thing_she_lacks_is_one_failed_check() {
        let ready = ready_agent();
        assert_eq!(failed(&of_agent(&ready)), [""; 0]);
        let way = |because| Way { number: "911", because };
        let hours = |n: u64| Location::Browser(Duration::from_secs(n * 3600));
        let cases: [(AgentFacts, &[&str]); 17] = [
            (AgentFacts { profile: false, ..ready }, &["profile"]),
            (AgentFacts { locked: true, ..ready }, &["profile"]),
            (AgentFacts { capacity: 0, ..ready }, &["profile"]),
            (AgentFacts { location: Location::Unknown, ..ready }, &["location"]),
            (AgentFacts { location: Location::Unsupported, ..ready }, &["location"]),
            (AgentFacts { location: hours(23), ..ready }, &[]),
            (AgentFacts { location: hours(25), ..ready }, &["location"]),
            (AgentFacts { mailbox: false, ..ready }, &["mailbox"]),
            (AgentFacts { contacts: 0, ..ready }, &["contacts"]),
            (AgentFacts { rejected: 1, ..ready }, &["contacts"]),
            (AgentFacts { way: way(None), ..ready }, &["number"]),
            (AgentFacts { way: way(Some(Because::NothingElse)), ..ready }, &["number"]),
            (AgentFacts { way: way(Some(Because::NoRoute)), ..ready }, &[]),
            (AgentFacts { configured: 0, ..ready }, &["devices"]),
            (AgentFacts { configured: 0, may_register: true, ..ready }, &["devices"]),
            (AgentFacts { configured: 0, registered: 1, ..ready }, &[]),
            (AgentFacts { configured: 0, at_pbx: true, ..ready }, &[]),
        ];
        for (facts, wanted) in cases {
            assert_eq!(failed(&of_agent(&facts)), wanted, "{facts:?}");
        }
    }

    const NOW: Duration = Duration::ZERO;

    fn trunk() -> TrunkFacts {
        let comes_back = Some(Measured { result: CameBack::Yes, age: NOW });
        TrunkFacts { name: "a".to_owned(), probed: true, up: Some(true), numbers: 20, free: 2, comes_back }
    }

    fn ready_site() -> SiteFacts {
        SiteFacts {
            trunks: vec![trunk()],
            desks: vec![DeskFacts { peer: None, answer: Some(Measured { result: 200, age: NOW }) }],
            templates: 9,
            has_mail: true,
            mail: Some(Measured { result: Ok(()), age: NOW }),
            year: 2026,
            store_works: true,
            store_is_fast: true,
            certificate_days: Some(90),
            calls_itself: true,
            ..SiteFacts::default()
        }
    }

    #[test]
    fn a_site_with_everything_is_ready_and_each_thing_it_lacks_is_one_failed_check() {
        assert_eq!(failed(&of_site(&ready_site())), [""; 0]);
        let with = |change: &dyn Fn(&mut SiteFacts)| {
            let mut site = ready_site();
            change(&mut site);
            failed(&of_site(&site))
        };
        let with_trunk = |change: &dyn Fn(&mut TrunkFacts)| with(&|s| s.trunks.iter_mut().for_each(change));
        assert_eq!(with_trunk(&|t| t.up = Some(false)), ["trunk"]);
        assert_eq!(with_trunk(&|t| t.up = None), ["trunk"]);
        assert_eq!(with_trunk(&|t| t.probed = false), ["trunk"]);
        assert_eq!(with_trunk(&|t| t.free = 1), ["pool"]);
        assert_eq!(with_trunk(&|t| (t.numbers, t.free) = (1, 0)), ["pool"]);
        assert_eq!(with_trunk(&|t| (t.numbers, t.free) = (0, 0)), ["pool"], "what has no numbers is not called");
        assert_eq!(with_trunk(&|t| t.comes_back = None), ["self_call"]);
        for result in [CameBack::Elsewhere, CameBack::Refused(404), CameBack::No, CameBack::NoNumber] {
            assert_eq!(with_trunk(&|t| t.comes_back = Some(Measured { result, age: NOW })), ["self_call"]);
        }
        assert_eq!(with(&|s| (s.calls_itself, s.trunks[0].comes_back) = (false, None)), [""; 0]);
        assert_eq!(with(&|s| s.desks.clear()), ["desk"]);
        assert_eq!(with(&|s| s.desks[0].answer = None), ["desk"]);
        for (result, answers) in [(0, false), (404, false), (503, false), (200, true), (405, true), (486, true)] {
            let failed = with(&|s| s.desks[0].answer = Some(Measured { result, age: NOW }));
            assert_eq!((failed.is_empty(), desk_answers(result)), (answers, answers), "{result}");
        }
        assert_eq!(with(&|s| s.bad_templates.push("emergency.en".to_owned())), ["templates"]);
        assert_eq!(with(&|s| s.has_mail = false), ["mail"]);
        assert_eq!(with(&|s| s.mail = None), ["mail"]);
        assert_eq!(with(&|s| s.mail = Some(Measured { result: Err("cannot be reached"), age: NOW })), ["mail"]);
        assert_eq!(with(&|s| s.year = 1970), ["clock"]);
        assert_eq!(with(&|s| s.drift = Duration::from_secs(6)), ["clock"]);
        assert_eq!(with(&|s| s.store_works = false), ["store"]);
        assert_eq!(with(&|s| s.store_is_fast = false), ["store"]);
        for (days, wanted) in [(-1, 1), (0, 1), (13, 1), (14, 0)] {
            assert_eq!(with(&|s| s.certificate_days = Some(days)).len(), wanted, "{days} days");
        }
        assert_eq!(with(&|s| s.certificate_days = None), [""; 0], "where there is no TLS there is none to expire");
    }

    #[test]
    fn what_was_measured_says_how_long_ago() {
        let age = Duration::from_secs(90);
        let mut site = ready_site();
        site.mail = Some(Measured { result: Ok(()), age });
        let checks = of_site(&site);
        let mail = checks.iter().find(|c| c.name == "mail").expect("a check of the mail server");
        assert_eq!(mail.age, Some(age));
    }
}

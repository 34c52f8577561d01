//! Whether this node is ready for the day: the facts behind [`prerequisites`], measured, kept for a while, looked at daily.
//!
//! Nothing here is on a call's way: desks are asked by the front between calls ([`Ask::Neighbours`]), the mail server from the
//! side thread, everything else is looked up. One round at a time, a few seconds long at most; who asks meanwhile, or soon
//! after, gets what was measured with its age. Read [`Readiness`] first.

use super::api::Api;
use super::ask::{Ask, Neighbours, SLICE};
use super::config::{Agent, Config, Tls};
use super::front::Command;
use super::side::Cause;
use crate::emergency::facts::TrunkId;
use crate::emergency::prerequisites::{
    self, AgentFacts, CameBack, Check, DeskFacts, Location, Measured, SiteFacts, TrunkFacts, Way, desk_answers, of_agent, of_site,
};
use crate::emergency::site::{self, Site};
use crate::io::clock;
use crate::io::notifier::failure::Failure;
use crate::io::notifier::smtp::Smtp;
use crate::io::notifier::template::{ALL_LANGUAGES, ALL_NAMES, lint};
use crate::words::{Country, E164, Private, Time, wall};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tracing::info;

/// What was measured is shown for so long before it is measured anew.
const FRESH: Duration = Duration::from_secs(10);
/// How long a desk, or the mail server, may take.
const PATIENCE: Duration = Duration::from_millis(4500);
/// How long a call to ourselves may take; the front gives up before that.
const SELF_CALL: Duration = Duration::from_secs(10);
/// Between two looks at what is being measured.
const PAUSE: Duration = Duration::from_millis(50);
/// Between two rounds while an alarm of theirs stands.
const AGAIN: Duration = Duration::from_secs(60);

/// See the module's docs.
#[derive(Default)]
pub struct Readiness {
    measured: Mutex<Measurements>,
    /// One test call at a time.
    pub(super) test_call: tokio::sync::Mutex<()>,
    /// One round at a time.
    round: tokio::sync::Mutex<()>,
    /// Where both clocks stood at the start.
    began: Option<(Time, Duration)>,
}

/// What was found, and when.
#[derive(Clone, Default)]
struct Measurements {
    at: Option<Time>,
    neighbours: Option<(Neighbours, Time)>,
    mail: Option<(Result<(), &'static str>, Time)>,
    came_back: BTreeMap<String, (CameBack, Time)>,
}

impl Readiness {
    /// Begins now.
    pub fn new() -> Self {
        Self { began: Some((clock::now(), clock::wall())), ..Self::default() }
    }

    fn measured(&self) -> MutexGuard<'_, Measurements> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at everything by itself, for ever.
pub async fn run(api: Api) {
    tokio::time::sleep(api.board.config().readiness.after).await;
    loop {
        measure(&api, Duration::ZERO).await;
        call_every_trunk(&api).await;
        let facts = site_facts(&api);
        let failed = of_site(&facts).iter().filter(|c| !c.ok).count();
        let raised = raise(&api, &facts);
        info!(event = "prerequisites looked at", failed);
        let every = api.board.config().readiness.every;
        tokio::time::sleep(if raised { AGAIN } else { jittered(every) }).await;
    }
}

/// Raises and clears the alarms that the facts speak of; whether one stands. Those of trunks are the front's.
fn raise(api: &Api, facts: &SiteFacts) -> bool {
    let mail = facts.mail.is_some_and(|m| m.result.is_err());
    let pool = of_site(facts).iter().any(|c| c.name == "pool" && !c.ok);
    api.status.set_alarm_for(Cause::Check, "mail_failing", mail);
    api.status.set_alarm_for(Cause::Check, "pool_low", pool);
    // The story has raised the alarm of the desk.
    let desk = facts.desks.iter().any(|d| d.answer.is_some_and(|a| !desk_answers(a.result)));
    mail || pool || desk
}

/// Measures what was not measured within this time.
pub async fn measure(api: &Api, fresh: Duration) {
    let readiness = &api.readiness;
    let _one = readiness.round.lock().await;
    let now = clock::now();
    if readiness.measured().at.is_some_and(|at| now.since(at) < fresh) {
        return;
    }
    let config = api.board.config();
    let (neighbours, mail) = tokio::join!(ask_neighbours(api), greet(&config));
    let now = clock::now();
    let mut measured = readiness.measured();
    measured.at = Some(now);
    measured.neighbours = neighbours.map(|found| (found, now)).or(measured.neighbours.take());
    measured.mail = mail.map(|mail| (mail, now));
}

/// A free number of every trunk is called, one trunk after the other.
async fn call_every_trunk(api: &Api) {
    if !api.board.config().readiness.self_call {
        return;
    }
    let site = api.board.site();
    for (id, trunk) in site.trunk_ids().filter(|(id, _)| site.shelves.iter().any(|s| s.trunk == *id)) {
        let came_back = call_ourselves(api, id, None).await;
        api.readiness.measured().came_back.insert(trunk.name.clone(), (came_back, clock::now()));
    }
}

/// Calls a number of ours over its trunk, any free one where none is said, and waits for what comes of it.
pub(super) async fn call_ourselves(api: &Api, trunk: TrunkId, number: Option<Private<E164>>) -> CameBack {
    let (answer, answered) = oneshot::channel();
    let begin = Ask::CallOurselves { trunk, number, pick: random(), answer };
    if api.front.send(Command::Ask(begin)).is_err() {
        return CameBack::No;
    }
    let Ok(Some(id)) = answered.await else { return CameBack::NoNumber };
    let until = clock::now() + SELF_CALL;
    while clock::now() < until {
        tokio::time::sleep(PAUSE).await;
        let (answer, answered) = oneshot::channel();
        let _ = api.front.send(Command::Ask(Ask::SelfCall { id, answer }));
        if let Ok(Some(came_back)) = answered.await {
            return came_back;
        }
    }
    CameBack::No
}

async fn ask_neighbours(api: &Api) -> Option<Neighbours> {
    let until = clock::now() + PATIENCE;
    let mut anew = true;
    loop {
        let found = look_at_neighbours(api, anew).await?;
        if found.desks.iter().all(|d| d.answer.is_some()) || clock::now() > until {
            return Some(found);
        }
        anew = false;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn look_at_neighbours(api: &Api, anew: bool) -> Option<Neighbours> {
    let (answer, answered) = oneshot::channel();
    api.front.send(Command::Ask(Ask::Neighbours { anew, answer })).ok()?;
    answered.await.ok()
}

/// None: no server is set.
async fn greet(config: &Config) -> Option<Result<(), &'static str>> {
    let (url, from) = (config.notify.smtp.as_ref()?, config.notify.from.as_ref()?);
    let Ok(smtp) = Smtp::new(url.reveal(), from.reveal(), &config.node.domain) else { return Some(Err("is no mail server")) };
    let greeted = smtp.greet(PATIENCE).await;
    Some(greeted.map_err(|failure| match failure {
        Failure::Unreachable => "the server cannot be reached, or does not greet",
        Failure::NoTls => "the server offers no TLS",
        Failure::Silent => "the server does not answer in time",
        Failure::Refused(_) => "the server refuses us",
        Failure::Incapable => "the server lacks a way to log in",
        Failure::Lost | Failure::NoServer | Failure::Internal => "the server cannot be spoken with",
    }))
}

/// The site's checks, measured lately.
pub async fn of_the_site(api: &Api) -> Vec<Check> {
    measure(api, FRESH).await;
    // Trunks are asked by themselves: what they said last is looked up.
    if let Some(found) = look_at_neighbours(api, false).await
        && let Some((known, _)) = &mut api.readiness.measured().neighbours
    {
        known.trunks = found.trunks;
    }
    let facts = site_facts(api);
    raise(api, &facts);
    of_site(&facts)
}

fn site_facts(api: &Api) -> SiteFacts {
    let (config, site, now) = (api.board.config(), api.board.site(), clock::now());
    let measured = api.readiness.measured().clone();
    let alarms = api.status.alarms();
    let wrong = |(name, language)| lint(name, language, &api.templates.get(name, language).text).is_err();
    let texts = || ALL_NAMES.into_iter().flat_map(|n| ALL_LANGUAGES.map(|l| (n, l)));
    let drift = api.readiness.began.map_or(Duration::ZERO, |(boot, wall)| drift(wall + now.since(boot), clock::wall()));
    SiteFacts {
        trunks: trunks(api, &config, &site, &measured, now),
        desks: desks(&site, &measured, now),
        bad_templates: texts().filter(|t| wrong(*t)).map(|(n, l)| format!("{}.{}", n.word(), l.code())).collect(),
        templates: texts().count(),
        has_mail: config.notify.smtp.is_some(),
        mail: measured.mail.map(|(result, at)| Measured { result, age: now.since(at) }),
        year: wall::year(clock::wall()),
        drift,
        store_works: !alarms.contains_key("store_failed"),
        store_is_fast: !alarms.contains_key("store_slow"),
        certificate_days: config.tls.as_ref().map(|tls| days_left(tls, clock::wall())),
        calls_itself: config.readiness.self_call,
    }
}

/// How many days the certificate is still good; negative where it is not, or not yet, or could not be read.
fn days_left(tls: &Tls, wall: Duration) -> i64 {
    let Some(material) = &tls.material else { return -1 };
    let (from, until) = (material.identities.from, material.identities.until);
    match until.checked_sub(wall) {
        Some(left) if from <= wall => i64::try_from(left.as_secs() / (24 * 3600)).unwrap_or(i64::MAX),
        _ => -1,
    }
}

const fn drift(expected: Duration, found: Duration) -> Duration {
    expected.abs_diff(found)
}

fn trunks(api: &Api, config: &Config, site: &Site, measured: &Measurements, now: Time) -> Vec<TrunkFacts> {
    let shelves = api.board.trunks();
    let one = |trunk: &super::config::Trunk| {
        let id = site.trunk_ids().find(|(_, t)| t.name == trunk.name).map(|(id, _)| id);
        let shelf = shelves.iter().find(|s| Some(s.trunk) == id);
        let heard = |id| measured.neighbours.as_ref().is_some_and(|(found, _)| found.trunks.contains(&id));
        let comes_back = measured.came_back.get(&trunk.name);
        TrunkFacts {
            name: trunk.name.clone(),
            probed: !trunk.options.is_zero(),
            up: shelf.map(|s| s.up).filter(|up| !up || id.is_some_and(heard)),
            numbers: shelf.map_or(0, |s| s.leased + s.free),
            free: shelf.map_or(0, |s| s.free),
            comes_back: comes_back.map(|(result, at)| Measured { result: *result, age: now.since(*at) }),
        }
    };
    config.trunks.iter().map(one).collect()
}

fn desks(site: &Site, measured: &Measurements, now: Time) -> Vec<DeskFacts> {
    let peers = (0u16..).map(crate::emergency::facts::PeerId).zip(&site.peers).filter(|(_, p)| p.desk.is_some());
    let own = site.callback.desk.iter().map(|_| (None, None));
    let all = own.chain(peers.map(|(id, p)| (Some(id), Some(p.name.clone()))));
    let answer = |id| {
        let (found, at) = measured.neighbours.as_ref()?;
        let result = found.desks.iter().find(|d| d.peer == id)?.answer?;
        Some(Measured { result, age: now.since(*at) })
    };
    all.map(|(id, peer)| DeskFacts { peer, answer: answer(id) }).collect()
}

/// The checks of the agents at these places of the config, in their order.
pub async fn agents<'a>(api: &Api, config: &'a Config, places: &[usize]) -> Option<Vec<(&'a Agent, Vec<Check>)>> {
    let site = api.board.site();
    let mut reports = Vec::with_capacity(places.len());
    for slice in places.chunks(SLICE) {
        let slice: Vec<_> = slice.iter().filter_map(|place| Some((*place, config.agents.get(*place)?))).collect();
        let (answer, answered) = oneshot::channel();
        let agents = slice.iter().map(|(_, a)| a.id.clone()).collect();
        api.front.send(Command::Ask(Ask::Registered { agents, answer })).ok()?;
        for ((place, agent), registered) in slice.iter().zip(answered.await.ok()?) {
            // Both are in one order; a reload may come between.
            let known = site.agents.get(*place).filter(|known| known.id == agent.id);
            reports.push((*agent, of_agent(&agent_facts(config, &site, agent, known, registered))));
        }
    }
    Some(reports)
}

fn agent_facts(config: &Config, site: &Site, agent: &Agent, known: Option<&Arc<site::Agent>>, registered: usize) -> AgentFacts {
    let peer = agent.peer.and_then(|p| config.peers.get(p));
    let country = agent.country.or_else(|| peer?.country).unwrap_or(config.node.country);
    AgentFacts {
        profile: agent.outbound_profile.is_some(),
        capacity: agent.capacity,
        locked: agent.locked,
        location: location(config, agent, country),
        mailbox: agent.mailbox.is_some(),
        contacts: known.map_or(0, |a| a.contacts.reveal().len()),
        rejected: agent.contacts.rejected.len(),
        way: known.map_or(Way { number: "911", because: None }, |a| prerequisites::way(site, a)),
        configured: agent.devices.len(),
        registered,
        at_pbx: agent.peer.is_some(),
        may_register: agent.password.is_some(),
    }
}

/// A location that her browser tells comes in beside the configured one, with its age.
fn location(config: &Config, agent: &Agent, country: Country) -> Location {
    let Some(location) = &agent.location else { return Location::Unknown };
    let there = location.reveal().country.as_deref().and_then(Country::parse).unwrap_or(country).plan_country();
    match config.emergency.countries.iter().any(|c| c.plan_country() == there) {
        true => Location::Told,
        false => Location::Unsupported,
    }
}

/// A tenth more or less, so that nodes that started together do not stay together.
fn jittered(every: Duration) -> Duration {
    every.mul_f64(0.9 + (random() % 1000) as f64 / 5000.0)
}

fn random() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_round_is_a_tenth_earlier_or_later_at_most() {
        for _ in 0..100 {
            let next = jittered(Duration::from_secs(1000));
            assert!((900..=1100).contains(&next.as_secs()), "{next:?}");
        }
    }

    #[test]
    fn the_wall_clock_drifts_whichever_way_it_is_moved() {
        let (early, late) = (Duration::from_secs(100), Duration::from_secs(107));
        assert_eq!((drift(early, late), drift(late, early)), (Duration::from_secs(7), Duration::from_secs(7)));
    }
}

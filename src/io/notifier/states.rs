//! States that somebody else is told by POST: an alarm, an agent's presence (RULES A1).
//!
//! Unlike a letter a state is worth nothing once there is a newer one: of each thing the newest is told, as often as it
//! takes, and what was overtaken is never sent. What is not told yet survives the process. [`States`] decides and does
//! no I/O; [`Teller`] runs it.

use super::outbox::Pace;
use super::post::Hook;
use crate::io::clock;
use crate::io::store::Keeper;
use crate::words::{Private, Row, Saved, Table, Time, wall};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::{self, JoinSet};
use tracing::{debug, info};

/// Keys of rows in [`Table::Letter`] that are states begin so.
pub(super) const PREFIX: &str = "state:";
/// Of these, keys that begin so say what an agent's presence was told as last; available is not written down.
const TOLD: &str = "state:told:";
/// What is told of an agent of whom nothing is known.
const AVAILABLE: &str = "available";
/// Tries that run at once.
const AT_ONCE: usize = 32;
/// After the first failure; doubled after each further one.
const FIRST: Duration = Duration::from_secs(2);

/// To whom a state is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum To {
    /// `notify.alarm_url`
    Alarms,
    /// `presence.url`
    Presence,
}

impl To {
    const fn word(self) -> &'static str {
        match self {
            Self::Alarms => "alarm",
            Self::Presence => "presence",
        }
    }
}

/// A state of something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Who is told.
    pub to: To,
    /// Whose state it is: the alarm's name, the agent's id.
    pub of: Private<String>,
    /// JSON.
    pub body: Private<Vec<u8>>,
}

impl State {
    /// `{"name":"trunk_down","state":"raised","since":"…","node":"gw1"}`
    pub fn alarm(name: &str, raised: bool, since: Duration, node: &str) -> Self {
        let state = if raised { "raised" } else { "cleared" };
        let body = json!({ "name": name, "state": state, "since": wall::rfc3339(since), "node": node });
        Self::new(To::Alarms, name, &body)
    }

    /// `{"agent":"alice","state":"dnd","emergency":true,"since":"…"}`
    pub fn presence(agent: &str, state: &str, emergency: bool, since: Duration) -> Self {
        let body = json!({ "agent": agent, "state": state, "emergency": emergency, "since": wall::rfc3339(since) });
        Self::new(To::Presence, agent, &body)
    }

    fn new(to: To, of: &str, body: &serde_json::Value) -> Self {
        Self { to, of: Private::new(of.to_owned()), body: Private::new(body.to_string().into_bytes()) }
    }

    fn key(&self) -> String {
        format!("{PREFIX}{}:{}", self.to.word(), self.of.reveal())
    }

    /// Whether it says the same, whenever that began.
    fn says(&self, body: &[u8]) -> bool {
        let read = |bytes| serde_json::from_slice::<serde_json::Value>(bytes).ok();
        let what = |v: serde_json::Value| (v["state"].clone(), v["emergency"].clone());
        read(self.body.reveal()).map(what) == read(body).map(what)
    }

    fn told_key(&self) -> Option<String> {
        (self.to == To::Presence).then(|| format!("{TOLD}{}", self.of.reveal()))
    }

    fn of_row(key: &str, body: &[u8]) -> Option<Self> {
        let (word, of) = key.strip_prefix(PREFIX)?.split_once(':')?;
        let to = [To::Alarms, To::Presence].into_iter().find(|to| to.word() == word)?;
        Some(Self { to, of: Private::new(of.to_owned()), body: Private::new(body.to_vec()) })
    }
}

/// What is not told yet.
#[derive(Default)]
pub struct States {
    waiting: BTreeMap<String, Waiting>,
    running: usize,
    versions: u64,
}

struct Waiting {
    state: State,
    /// Which state of the thing: a try that began with an older one settles nothing.
    version: u64,
    due: Time,
    failures: u32,
    is_running: bool,
}

/// What a try is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Try {
    key: Private<String>,
    version: u64,
    /// What to tell.
    pub state: State,
}

impl States {
    /// The newest state of something; due at once, or when the try that runs has ended.
    pub fn put(&mut self, state: State, now: Time) {
        self.versions += 1;
        let version = self.versions;
        let is_running = self.waiting.get(&state.key()).is_some_and(|w| w.is_running);
        self.waiting.insert(state.key(), Waiting { state, version, due: now, failures: 0, is_running });
    }

    /// A state to tell now; must be [settled](Self::settle). Of one thing there is one try at a time, so that an older
    /// state never overtakes a newer one.
    pub fn next(&mut self, now: Time) -> Option<Try> {
        if self.running >= AT_ONCE {
            return None;
        }
        let (key, waiting) = self.waiting.iter_mut().find(|(_, w)| !w.is_running && w.due <= now)?;
        waiting.is_running = true;
        self.running += 1;
        Some(Try { key: Private::new(key.clone()), version: waiting.version, state: waiting.state.clone() })
    }

    /// What came of a try. True where there is nothing more to tell of this thing.
    pub fn settle(&mut self, tried: &Try, told: bool, pace: Pace, now: Time) -> bool {
        self.running = self.running.saturating_sub(1);
        let Some(waiting) = self.waiting.get_mut(tried.key.reveal()) else { return false };
        waiting.is_running = false;
        if waiting.version != tried.version {
            return false;
        }
        if told {
            self.waiting.remove(tried.key.reveal());
            return true;
        }
        waiting.failures += 1;
        waiting.due = now + pace.pause(waiting.failures);
        false
    }

    /// When [`next`](Self::next) may have something.
    pub fn deadline(&self) -> Option<Time> {
        if self.running >= AT_ONCE {
            return None;
        }
        self.waiting.values().filter(|w| !w.is_running).map(|w| w.due).min()
    }
}

/// What the process before us left to tell: what it did not get told, the newest of it, and what it was killed over before
/// it could write it down. `shown` is what is now, of all agents who are not available.
fn left(saved: &Saved, shown: Vec<State>) -> impl Iterator<Item = State> {
    let rows = || saved.rows(Table::Letter);
    let mut waiting: BTreeMap<_, _> = rows().filter_map(|(key, body)| State::of_row(key, body)).map(|s| (s.key(), s)).collect();
    let mut present: BTreeMap<_, _> = shown.into_iter().map(|state| (state.key(), state)).collect();
    let known = waiting.values().filter(|s| s.to == To::Presence).map(|s| s.of.reveal().clone());
    let known: Vec<_> = known.chain(rows().filter_map(|(key, _)| key.strip_prefix(TOLD).map(str::to_owned))).collect();
    for agent in known {
        let available = State::presence(&agent, AVAILABLE, false, clock::wall());
        present.entry(available.key()).or_insert(available);
    }
    for (key, state) in present {
        let told = state.told_key().and_then(|key| saved.get(Table::Letter, &key));
        let is_told = || told.is_some_and(|body| state.says(body));
        let stays = waiting.get(&key).map_or_else(is_told, |waits| state.says(waits.body.reveal()));
        if !stays {
            waiting.insert(key, state);
        }
    }
    waiting.into_values()
}

/// Where states are told.
#[derive(Clone, Default)]
pub struct Listeners {
    /// `notify.alarm_url`
    pub alarms: Option<Arc<Hook>>,
    /// `presence.url`
    pub presence: Option<Arc<Hook>>,
    /// So many times faster than usual; see `--time-scale`.
    pub times: u32,
}

impl Listeners {
    fn hook(&self, to: To) -> Option<Arc<Hook>> {
        match to {
            To::Alarms => self.alarms.clone(),
            To::Presence => self.presence.clone(),
        }
    }

    fn pace(&self) -> Pace {
        Pace { first: FIRST, ..Pace::default() }.faster(self.times)
    }
}

/// Tells states until the other end of the queue is gone. What hangs holds nothing up but the next state of the same thing.
pub struct Teller {
    listeners: watch::Receiver<Listeners>,
    keeper: Keeper,
    states: States,
    /// This process's part of every idempotency key: when it began.
    process: Duration,
    tries: JoinSet<bool>,
    /// Which state a task tells; it stands here, so that a task that breaks loses none.
    trying: HashMap<task::Id, Try>,
}

impl Teller {
    /// One that begins with what the process before us did not get told. `shown`: the presence of all agents who are not
    /// available.
    pub fn new(listeners: watch::Receiver<Listeners>, keeper: Keeper, saved: &Saved, shown: Vec<State>) -> Self {
        let mut teller = Self::idle(listeners, keeper);
        left(saved, shown).for_each(|state| teller.take_in(state));
        teller
    }

    fn idle(listeners: watch::Receiver<Listeners>, keeper: Keeper) -> Self {
        let states = States::default();
        Self { listeners, keeper, states, process: clock::wall(), tries: JoinSet::new(), trying: HashMap::new() }
    }

    /// See the type. Needs a tokio runtime with time and network.
    pub async fn run(mut self, mut queue: UnboundedReceiver<State>) {
        loop {
            self.start_tries();
            let deadline = self.states.deadline();
            let pause = deadline.map_or(Duration::ZERO, |at| at.since(clock::now()));
            tokio::select! {
                state = queue.recv() => match state {
                    Some(state) => self.take_in(state),
                    None => return,
                },
                Some(ended) = self.tries.join_next_with_id() => {
                    let (task, told) = ended.unwrap_or_else(|broken| (broken.id(), false));
                    if let Some(tried) = self.trying.remove(&task) {
                        self.settle(&tried, Some(told));
                    }
                }
                () = tokio::time::sleep(pause), if deadline.is_some() => {}
            }
        }
    }

    /// Nobody listens: nothing is kept.
    fn take_in(&mut self, state: State) {
        if self.listeners.borrow().hook(state.to).is_none() {
            return;
        }
        self.keeper.keep(Row::keep(Table::Letter, state.key(), state.body.reveal().clone()));
        self.states.put(state, clock::now());
    }

    fn start_tries(&mut self) {
        while let Some(tried) = self.states.next(clock::now()) {
            let Some(hook) = self.listeners.borrow().hook(tried.state.to) else {
                // The listener is gone from the configuration, and what it was to be told with it.
                self.settle(&tried, None);
                continue;
            };
            let key = format!("{}.{}.{}", tried.state.to.word(), self.process.as_micros(), tried.version);
            let (to, body) = (tried.state.to, tried.state.body.reveal().clone());
            let task = self.tries.spawn(async move {
                let told = hook.post(&key, body).await;
                if let Err(why) = &told {
                    debug!(to = to.word(), why = %why, "a state is not told yet");
                }
                told.is_ok()
            });
            self.trying.insert(task.id(), tried);
        }
    }

    /// What came of a try; `None`: there is nobody to tell.
    fn settle(&mut self, tried: &Try, told: Option<bool>) {
        let pace = self.listeners.borrow().pace();
        if told == Some(true) {
            self.keep_told(&tried.state);
        }
        if self.states.settle(tried, told.unwrap_or(true), pace, clock::now()) {
            self.keeper.keep(Row::forget(Table::Letter, tried.key.reveal().as_str()));
            info!(to = tried.state.to.word(), "a state is told");
        }
    }

    /// A process that follows sees by it what it must still tell.
    fn keep_told(&self, state: &State) {
        let Some(key) = state.told_key() else { return };
        let available = State::presence(state.of.reveal(), AVAILABLE, false, Duration::ZERO);
        self.keeper.keep(match available.says(state.body.reveal()) {
            true => Row::forget(Table::Letter, key),
            false => Row::keep(Table::Letter, key, state.body.reveal().clone()),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const PACE: Pace = Pace { first: SECOND, longest: Duration::from_secs(4), last: Duration::ZERO };

    fn presence(agent: &str, state: &str) -> State {
        State::presence(agent, state, state == "dnd", Duration::ZERO)
    }

    #[test]
    fn a1_a_retry_tells_the_newest_state_and_an_older_one_never_overtakes_it() {
        let (mut states, now) = (States::default(), Time::ZERO);
        states.put(presence("ada", "dnd"), now);
        let first = states.next(now).expect("due");
        states.put(presence("ada", "available"), now);
        assert_eq!(states.next(now), None, "the first try still runs");
        states.put(presence("bob", "dnd"), now);
        assert_eq!(states.next(now).map(|t| t.state), Some(presence("bob", "dnd")), "others do not wait");
        assert!(!states.settle(&first, false, PACE, now));
        let second = states.next(now).expect("at once: it is another state");
        assert_eq!(second.state, presence("ada", "available"));
        assert!(states.settle(&second, true, PACE, now));
        assert_eq!(states.next(now + 100 * SECOND), None);
    }

    #[test]
    fn a1_a_state_that_was_told_while_a_newer_one_came_is_not_the_end() {
        let (mut states, now) = (States::default(), Time::ZERO);
        states.put(presence("ada", "dnd"), now);
        let first = states.next(now).expect("due");
        states.put(presence("ada", "available"), now);
        assert!(!states.settle(&first, true, PACE, now));
        assert_eq!(states.next(now).map(|t| t.state), Some(presence("ada", "available")));
    }

    #[test]
    fn a1_a_failure_is_retried_with_back_off_for_ever() {
        let (mut states, mut now) = (States::default(), Time::ZERO);
        states.put(presence("ada", "dnd"), now);
        let mut pauses = Vec::new();
        for _ in 0..5 {
            let tried = states.next(now).expect("due");
            states.settle(&tried, false, PACE, now);
            let due = states.deadline().expect("it waits");
            pauses.push(due.since(now).as_secs());
            now = due;
        }
        assert_eq!(pauses, [1, 2, 4, 4, 4]);
    }

    #[test]
    fn a1_b1_after_a_kill_what_is_shown_and_was_not_told_is_told_and_nothing_else() {
        let row = |state: State| (state.key(), state.body.into_revealed());
        let told = |state: State| (state.told_key().expect("presence"), state.body.into_revealed());
        let (dnd, available) = (|| presence("ada", "dnd"), || presence("ada", "available"));
        let cases = [
            ("killed before it was written down", vec![], vec![dnd()], vec!["dnd"]),
            ("told", vec![told(dnd())], vec![dnd()], vec![]),
            ("not told yet", vec![row(dnd())], vec![dnd()], vec!["dnd"]),
            ("killed at the call's end", vec![told(dnd())], vec![], vec!["available"]),
            ("overtaken", vec![row(dnd())], vec![], vec!["available"]),
            ("its end not told yet", vec![told(dnd()), row(available())], vec![], vec!["available"]),
            ("again", vec![told(dnd()), row(available())], vec![dnd()], vec!["dnd"]),
            ("nothing", vec![], vec![], vec![]),
        ];
        for (case, rows, shown, want) in cases {
            let mut saved = Saved::default();
            rows.into_iter().for_each(|(key, body)| saved.add(Table::Letter, key, body));
            let word = |s: State| serde_json::from_slice::<serde_json::Value>(s.body.reveal()).expect("JSON")["state"].clone();
            assert_eq!(left(&saved, shown).map(word).collect::<Vec<_>>(), want, "{case}");
        }
    }

    #[test]
    fn a_state_comes_back_from_its_row() {
        for state in [presence("a:b", "dnd"), State::alarm("trunk_down", true, Duration::ZERO, "gw1")] {
            assert_eq!(State::of_row(&state.key(), state.body.reveal()), Some(state));
        }
        assert_eq!(State::of_row("ab.0", b"{}"), None);
        let alarm = State::alarm("trunk_down", false, Duration::ZERO, "gw1").body.into_revealed();
        let json: serde_json::Value = serde_json::from_slice(&alarm).expect("JSON");
        assert_eq!(json, json!({"name": "trunk_down", "state": "cleared", "since": "1970-01-01T00:00:00Z", "node": "gw1"}));
    }
}

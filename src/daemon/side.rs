//! The side thread: everything that no call waits for.
//!
//! The call path drops what happened into an unbounded queue ([`SideSender`]) and goes on; nothing ever comes back. Here it
//! becomes log lines, metrics, alarms and notices, and here HTTP is served. [`Status`] is what HTTP shows.

use super::api::{BACKLOG, Events, Happened};
use super::board::Board;
use crate::bridge::{Census, OrdinaryCall, Trouble};
use crate::emergency::facts::{Side, TrunkId};
use crate::emergency::gateway::Shelved;
use crate::emergency::notice::Notice;
use crate::emergency::site::Site;
use crate::io::clock;
use crate::io::media::relay::traffic::Traffic;
use crate::io::memory::{self, Peak};
use crate::io::notifier::states::State;
use crate::io::transport::Counters;
use metrics::{counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tracing::{info, warn};

/// The names of CONTRACT.md, so that each has its gauge before it is raised for the first time.
const ALARMS: [&str; 12] = [
    "pool_empty",
    "pool_low",
    "store_slow",
    "store_failed",
    "trunk_down",
    "no_trunk",
    "call_not_connected",
    "mail_failing",
    "config_rejected",
    "desk_unreachable",
    "loop",
    "media_ports",
];

/// How long the side thread lets things gather.
const PAUSE: Duration = Duration::from_millis(10);

/// What the side thread is told.
pub enum ToSide {
    /// Something beside a call.
    Effect(Side),
    /// What a shard holds at present.
    Census(u8, Census),
    /// How many numbers of each trunk are leased, and what is wrong with which.
    Numbers(Vec<Shelved>, Vec<(TrunkId, Trouble)>),
    /// A configuration was taken.
    Site(Arc<Site>),
    /// An ordinary call is over.
    Record(Box<OrdinaryCall>),
    /// Something outside the calls is wrong, or right again.
    Alarm(&'static str, bool),
    /// Connections that began wrongly, since this was told last: why, and how many.
    Misfits(&'static str, u64),
}

/// The way to the side thread. Never blocks, never fails.
#[derive(Clone)]
pub struct SideSender(UnboundedSender<ToSide>);

impl SideSender {
    /// The sender of this queue.
    pub const fn new(queue: UnboundedSender<ToSide>) -> Self {
        Self(queue)
    }

    /// Drops it into the queue.
    pub fn send(&self, what: ToSide) {
        let _ = self.0.send(what);
    }
}

/// Who says that something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// What happened on a call.
    Event,
    /// What happened to a row or a mail.
    Keeping,
    /// A prerequisite that was looked at.
    Check,
}

/// What can be seen of the daemon from outside the calls.
pub struct Status {
    metrics: PrometheusHandle,
    alarms: Mutex<BTreeMap<&'static str, Duration>>,
    /// Why each stands: it is cleared when no reason is left.
    causes: Mutex<BTreeMap<&'static str, BTreeSet<Cause>>>,
    events: Events,
    stopping: AtomicBool,
    counters: Arc<Counters>,
    node: String,
    /// Who tells others of alarms and presence.
    teller: OnceLock<UnboundedSender<State>>,
    /// What the relays have carried.
    traffic: OnceLock<Arc<Traffic>>,
}

impl Status {
    /// Begins to keep metrics. There is one a process.
    pub fn new(node: &str, counters: Arc<Counters>) -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        // Fails where there is one already; then metrics go there, and this one stays empty.
        let _ = metrics::set_global_recorder(recorder);
        describe();
        gauge!("e911d_build_info", "version" => env!("CARGO_PKG_VERSION"), "node" => node.to_owned()).set(1.0);
        for name in ALARMS {
            gauge!("e911d_alarm", "name" => name).set(0.0);
        }
        Self {
            metrics: handle,
            alarms: Mutex::default(),
            causes: Mutex::default(),
            events: Events::new(BACKLOG),
            stopping: AtomicBool::new(false),
            counters,
            node: node.to_owned(),
            teller: OnceLock::new(),
            traffic: OnceLock::new(),
        }
    }

    /// Prometheus' text format.
    pub fn metrics(&self) -> String {
        let lost = &self.counters;
        for (name, counter) in [
            ("unreadable", &lost.unreadable),
            ("dropped", &lost.dropped),
            ("overload", &lost.overload),
            ("strangers", &lost.strangers),
            ("connection_turned_away", &lost.turned_away),
            ("framing_lost", &lost.broken),
            ("other_protocol", &lost.misfit),
            ("tls_handshake", &lost.handshake),
        ] {
            counter!("e911d_lost_total", "why" => name).absolute(counter.load(Ordering::Relaxed));
        }
        if let Some(traffic) = self.traffic.get() {
            count(traffic);
        }
        self.metrics.run_upkeep();
        self.metrics.render()
    }

    /// The raised alarms with their wall time.
    pub fn alarms(&self) -> BTreeMap<&'static str, Duration> {
        self.alarms.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What changes, for whoever listens.
    pub const fn events(&self) -> &Events {
        &self.events
    }

    fn announce(&self, name: &'static str, data: Value) {
        // Fails where nobody listens.
        let _ = self.events.send(Happened { name, data });
    }

    /// Whether no new ordinary calls are taken any more.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// The end begins.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// From now on alarms are told here as well.
    pub(super) fn tell(&self, teller: UnboundedSender<State>) {
        let _ = self.teller.set(teller);
    }

    /// From now on what these relays carry is in the metrics.
    pub(super) fn watch(&self, traffic: Arc<Traffic>) {
        let _ = self.traffic.set(traffic);
    }

    /// The calls say that something is wrong, or right again.
    pub(super) fn set_alarm(&self, name: &'static str, raised: bool) {
        self.set_alarm_for(Cause::Event, name, raised);
    }

    /// Raises or clears an alarm for this cause; says so if that is news.
    pub(super) fn set_alarm_for(&self, cause: Cause, name: &'static str, raised: bool) {
        let mut causes = self.causes.lock().unwrap_or_else(PoisonError::into_inner);
        let of = causes.entry(name).or_default();
        if raised {
            of.insert(cause)
        } else {
            of.remove(&cause)
        };
        let stands = !of.is_empty();
        // Held until it is said: two threads must not say it in another order.
        self.say_alarm(name, stands);
    }

    fn say_alarm(&self, name: &'static str, raised: bool) {
        let mut alarms = self.alarms.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = if raised { !alarms.contains_key(name) } else { alarms.contains_key(name) };
        if !changed {
            return;
        }
        if raised {
            alarms.insert(name, clock::wall());
            warn!(alarm = name, state = "raised");
        } else {
            alarms.remove(name);
            info!(alarm = name, state = "cleared");
        }
        if let Some(teller) = self.teller.get() {
            let _ = teller.send(State::alarm(name, raised, clock::wall(), &self.node));
        }
        self.announce("alarm", json!({"name": name, "state": if raised { "raised" } else { "cleared" }}));
        gauge!("e911d_alarm", "name" => name).set(if raised { 1.0 } else { 0.0 });
    }
}

/// What the relays have carried.
fn count(traffic: &Traffic) {
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    for (direction, flow) in [("to_caller", &traffic.to_caller), ("to_callee", &traffic.to_callee)] {
        counter!("e911d_media_packets_total", "direction" => direction).absolute(of(&flow.packets));
        counter!("e911d_media_bytes_total", "direction" => direction).absolute(of(&flow.bytes));
    }
    for (why, counter) in [("stranger", &traffic.strangers), ("srtp", &traffic.unprotected), ("unsent", &traffic.unsent)] {
        counter!("e911d_media_dropped_total", "why" => why).absolute(of(counter));
    }
    counter!("e911d_media_silences_total").absolute(of(&traffic.silences));
    counter!("e911d_media_browsers_gone_total").absolute(of(&traffic.gone));
    gauge!("e911d_media_relays").set(of(&traffic.relays) as f64);
    gauge!("e911d_media_port_pairs").set(of(&traffic.pairs) as f64);
}

/// Emergency calls and ordinary ones.
fn up(census: &BTreeMap<u8, Census>) -> (usize, usize) {
    census.values().fold((0, 0), |(e, o), c| (e + c.emergencies, o + c.ordinary))
}

fn describe() {
    describe_counter!("e911d_emergency_calls_total", "Emergency calls that came to an end");
    describe_counter!("e911d_callbacks_total", "Callbacks that came to an end");
    describe_counter!("e911d_notices_total", "Notices to contacts");
    describe_counter!("e911d_lost_total", "What came in or was to go out, and was lost");
    describe_counter!("e911d_media_packets_total", "Packets of audio that were relayed, RTCP among them");
    describe_counter!("e911d_media_bytes_total", "Bytes of such packets, as they came in");
    describe_counter!("e911d_media_dropped_total", "Packets of audio that were not relayed");
    describe_counter!("e911d_media_browsers_gone_total", "Browsers of which nothing came for 3 s in a call");
    describe_counter!("e911d_media_silences_total", "Relays in which nobody was heard for media.silence");
    describe_gauge!("e911d_media_relays", "Calls whose audio goes through us");
    describe_gauge!("e911d_media_port_pairs", "Pairs of ports for audio, with those that are only ready");
    describe_gauge!("e911d_alarm", "1 while the alarm is raised");
    describe_gauge!("e911d_calls", "Calls that are up or being placed");
    describe_gauge!("e911d_pool_numbers", "Callback numbers by trunk");
    describe_gauge!("e911d_trunk_up", "1 while the trunk answers, or is not asked");
    describe_gauge!("e911d_transactions", "SIP transactions");
    describe_gauge!("e911d_dialogs", "SIP dialogs");
    describe_gauge!("e911d_build_info", "1");
}

/// The thread's own part.
pub struct SideThread {
    /// What it is told.
    pub queue: UnboundedReceiver<ToSide>,
    /// What is seen from outside.
    pub status: Arc<Status>,
    /// Who writes to the contacts.
    pub notices: UnboundedSender<Notice>,
    /// The configuration, for names.
    pub site: Arc<Site>,
    /// What the API shows.
    pub board: Arc<Board>,
}

impl SideThread {
    /// Runs until every sender is gone.
    pub async fn run(mut self) {
        let (mut census, mut peak) = (BTreeMap::new(), Peak::default());
        while let Some(what) = self.queue.recv().await {
            self.take(what, &mut census);
            // Whoever drops something in while nobody listens does not have to wake anybody.
            tokio::time::sleep(PAUSE).await;
            while let Ok(what) = self.queue.try_recv() {
                self.take(what, &mut census);
            }
            if peak.has_passed(census.values().map(|c| c.transactions).sum()) {
                memory::give_back();
            }
        }
    }

    fn take(&mut self, what: ToSide, census: &mut BTreeMap<u8, Census>) {
        match what {
            ToSide::Effect(side) => self.effect(side),
            ToSide::Census(shard, counted) => {
                let before = up(census);
                census.insert(shard, counted);
                let (emergency, ordinary) = up(census);
                if (emergency, ordinary) != before {
                    self.status.announce("calls", json!({"emergency": emergency, "ordinary": ordinary}));
                }
                let sum = |of: fn(&Census) -> usize| census.values().map(of).sum::<usize>() as f64;
                gauge!("e911d_calls", "kind" => "emergency").set(sum(|c| c.emergencies));
                gauge!("e911d_calls", "kind" => "ordinary").set(sum(|c| c.ordinary));
                gauge!("e911d_transactions").set(sum(|c| c.transactions));
                gauge!("e911d_dialogs").set(sum(|c| c.dialogs));
                counter!("e911d_lost_total", "why" => "stray_response").absolute(census.values().map(|c| c.strays).sum());
            }
            ToSide::Numbers(shelves, troubles) => {
                self.board.set_troubles(troubles);
                if self.board.set_trunks(shelves.clone()) {
                    let trunks = shelves.iter().map(|s| json!({"name": self.trunk(Some(s.trunk)), "up": s.up}));
                    self.status.announce("trunks", json!({"trunks": trunks.collect::<Vec<_>>()}));
                }
                for shelf in shelves {
                    let trunk = self.trunk(Some(shelf.trunk));
                    gauge!("e911d_pool_numbers", "trunk" => trunk.clone(), "state" => "leased").set(f64::from(shelf.leased));
                    gauge!("e911d_pool_numbers", "trunk" => trunk.clone(), "state" => "free").set(f64::from(shelf.free));
                    gauge!("e911d_trunk_up", "trunk" => trunk).set(if shelf.up { 1.0 } else { 0.0 });
                }
            }
            ToSide::Site(site) => self.site = site,
            ToSide::Record(call) => self.board.records().add(&call),
            ToSide::Alarm(name, raised) => self.status.set_alarm(name, raised),
            ToSide::Misfits(why, connections) => warn!(event = "connections closed at once", why, connections),
        }
    }

    fn effect(&self, side: Side) {
        match side {
            // The bridge tells presence by SIP, the teller to a URL; the worker tells the store.
            Side::Presence { agent, shown, dnd, again: false } => {
                if let Some(teller) = self.status.teller.get() {
                    let _ = teller.send(State::presence(agent.reveal(), shown.word(), dnd, clock::wall()));
                }
            }
            // What was told before the restart is in the teller's own outbox, if it did not get through.
            Side::Presence { again: true, .. } | Side::Keep(_) => {}
            Side::Notice(notice) => {
                counter!("e911d_notices_total").increment(1);
                let _ = self.notices.send(notice);
            }
            Side::Alarm { name, raised } => self.status.set_alarm(name, raised),
            Side::Counted { path, trunk, outcome } => {
                counter!("e911d_emergency_calls_total", "path" => path, "trunk" => self.trunk(trunk), "outcome" => outcome)
                    .increment(1);
            }
            Side::CallbackCounted { tier, outcome } => {
                counter!("e911d_callbacks_total", "tier" => tier, "outcome" => outcome).increment(1);
            }
            Side::Log { event, call, trunk } => match trunk {
                Some(_) => info!(event, call = format_args!("{:x}", call.0), trunk = self.trunk(trunk)),
                None => info!(event, call = format_args!("{:x}", call.0)),
            },
        }
    }

    fn trunk(&self, trunk: Option<TrunkId>) -> String {
        trunk.and_then(|t| self.site.trunk(t)).map_or_else(|| "none".to_owned(), |t| t.name.clone())
    }
}

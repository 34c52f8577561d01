//! `e911d run`: from the configuration to a daemon that answers, and to its end.
//!
//! Read [`run`] from top to bottom. The calling thread ends up in [`Control`]: signals, reloads, the service manager. It
//! carries no calls.

mod loaded;
mod opening;
mod successor;
mod threads;

use super::api::error::ApiError;
use super::api::{self, Api};
use super::assemble::{Assembled, assemble, pages_listener};
use super::board::Board;
use super::cli::{BAD_USAGE, DONE, FAILED};
use super::config::{self, Config, Files, Listen, Mistakes, accepted};
use super::control::{self, Change, ToControl};
use super::front::{Command, Front, Parts, Reload};
use super::handover::Inheritance;
use super::lane::Lane;
use super::passes::{self, Passes};
use super::readiness::{self, Readiness};
use super::records::Records;
use super::roster::{self, Joined, Roster};
use super::shards::{Common, Ordinary};
use super::side::{Cause, SideSender, SideThread, Status, ToSide};
use super::{log, names, systemd};
use crate::emergency::presence;
use crate::io::clock;
use crate::io::dns;
use crate::io::media::Media;
use crate::io::media::relay::browser::Identity;
use crate::io::notifier::states::{Listeners, State, Teller};
use crate::io::notifier::template::Templates;
use crate::io::notifier::{self, Notifier};
use crate::io::store::{Keeper, Opened};
use crate::io::transport::Counters;
use crate::io::transport::stream::{Listener, Streams};
use crate::io::transport::udp::{Port, Ports};
use crate::words::Time;
use loaded::Loaded;
use opening::{
    Bound, Doors, Failure, listeners_of, media_settings, notifier_settings, open_admin_socket, open_store, relay_settings,
    report_contacts, secure, start_relay,
};
use std::hash::{BuildHasher, Hasher};
use std::io::{Write, stderr};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;
use successor::{Kept, take_over};
use threads::{current_thread_runtime, raise_descriptor_limit, start_front, start_side};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{Receiver, UnboundedReceiver, UnboundedSender, channel, unbounded_channel};
use tokio::sync::{oneshot, watch};
use tracing::{error, info, warn};

/// How long calls that are being placed may take once the end has begun (RULES B2: gone within 5 s).
const PLACING: Duration = Duration::from_millis(4300);
/// How long the front may take in all.
const LAST: Duration = Duration::from_millis(4800);
/// Everything (RULES B2).
const GONE: Duration = Duration::from_millis(4950);
/// How long the ready line may wait for the config to be on record.
const ACCEPTING: Duration = Duration::from_millis(250);
/// How long the store may take to have everything once the front is gone.
const FLUSHING: Duration = Duration::from_millis(50);
/// How much of the end is the store's.
const CLOSING: Duration = Duration::from_millis(100);
/// The loop is taken for dead after that.
const DEAD: Duration = Duration::from_secs(10);
/// How long the start waits for names to be looked up.
const FIRST_NAMES: Duration = Duration::from_millis(300);
/// Changes to agents, and questions about the outbox, that wait.
const WAITING_CHANGES: usize = 16;

/// Runs the daemon until it is told to stop. `strict`: a bad file never starts, not even with the last accepted config.
/// `time_scale`: see [`Config::hasten`].
pub fn run(file: &Path, strict: bool, time_scale: u32) -> ExitCode {
    let program = std::env::current_exe().unwrap_or_default();
    let inheritance = Inheritance::take();
    // A successor that cannot take the config is none: the daemon before it goes on.
    let mut loaded = match Loaded::read(file, strict || inheritance.is_there()) {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            let _ = writeln!(stderr(), "{mistakes}");
            return ExitCode::from(BAD_USAGE);
        }
    };
    if let Err(beyond) = loaded.config.hasten(time_scale) {
        let _ = writeln!(stderr(), "{beyond}");
        return ExitCode::from(BAD_USAGE);
    }
    log::start(loaded.config.log);
    if time_scale > 1 {
        warn!(event = "leases, quarantine, DND's hold and retries run faster than they should: for tests only", time_scale);
    }
    raise_descriptor_limit();
    match start(file, loaded, program, inheritance) {
        Ok(control) => control.run(),
        Err(why) => {
            let _ = writeln!(stderr(), "{why}");
            systemd::stopping();
            ExitCode::from(FAILED)
        }
    }
}

/// Opens everything and starts the threads. After the ready line every listed socket answers.
fn start(file: &Path, loaded: Loaded, program: PathBuf, mut inheritance: Inheritance) -> Result<Control, Failure> {
    let config = loaded.config;
    let mut bound = Bound::open(&config.listen, &mut inheritance)?;
    let bind = || TcpListener::bind(config.http.bind);
    let web = inheritance.http(config.http.bind).map_or_else(bind, Ok).map_err(|e| Failure::socket("[http]", &e))?;
    web.set_nonblocking(true)?;
    let web_address = web.local_addr()?;

    let counters = Arc::new(Counters::default());
    let status = Arc::new(Status::new(&config.node.name, Arc::clone(&counters)));
    let threads = config.node.threads;
    let shards = threads.max(1) + 1;
    let held = take_over(&mut inheritance, &config, &bound, shards)?;
    let Opened { store, keeper, saved } = open_store(&config, &status, inheritance.is_there())?;
    let roster = Roster::restore(&saved, keeper.clone());
    let mut config = with_roster(&roster, &loaded.text, file, config);
    let secret = saved.secret.unwrap_or_else(|| std::hash::RandomState::new().build_hasher().finish());
    bound.addresses.push(web_address);
    let wanted = names::wanted(&mut config);
    let answers = names::kept(&saved, &wanted);
    let (mut assembled, secure) = assembled_with(&config, &answers, |config| {
        let assembled = assemble(config, &bound.addresses, secret, shards, None)?;
        let secure = secure(config, &assembled)?;
        Ok((assembled, secure))
    })?;
    let identity = Identity::new();
    assembled.show_browsers(identity.as_ref().map(|identity| identity.fingerprint));
    assembled.setup.era = saved.era;
    assembled.setup.panel = passes::key(&saved, &keeper);
    let before = inheritance.neighbours(&bound.udp);
    let (ports, failed) = Ports::new(bound.udp.clone(), assembled.flows(), &before);
    let ports = Arc::new(ports);

    let (to_side, from_all) = unbounded_channel();
    let side = SideSender::new(to_side);
    let (notify, notify_settings) = watch::channel(notifier_settings(&config)?);
    let (to_notifier, notices) = unbounded_channel();
    let records = Records::restore(&saved, config.records.keep, keeper.clone());
    let board = Arc::new(Board::new(config.clone(), Arc::clone(&assembled.setup.site), records));
    let (commands, obeyed) = unbounded_channel();
    let (control, asked) = channel(WAITING_CHANGES);
    let alarms = Arc::clone(&status);
    let (outbox, questions) = channel(WAITING_CHANGES);
    let templates = Arc::new(Templates::new(keeper.clone(), &saved));
    let notifier = Notifier::new(notify_settings, move |failing| alarms.set_alarm_for(Cause::Keeping, "mail_failing", failing))
        .with_store(keeper.clone(), &saved)
        .with_templates(Arc::clone(&templates))
        .with_questions(questions);
    let (listeners, told) = watch::channel(listeners_of(&config)?);
    let (want, wanted) = watch::channel(wanted);
    let (to_control, found) = unbounded_channel();
    let keeper_of_names = dns::Keeper::new(wanted, to_control).knowing(&answers);
    let (to_teller, states) = unbounded_channel();
    let shown =
        presence::shown_before(&saved).map(|(agent, shown, dnd)| State::presence(agent, shown.word(), dnd, clock::wall()));
    let teller = Teller::new(told, keeper.clone(), &saved, shown.collect());
    status.tell(to_teller);
    let side_thread = SideThread {
        queue: from_all,
        status: Arc::clone(&status),
        notices: to_notifier,
        site: Arc::clone(&assembled.setup.site),
        board: Arc::clone(&board),
    };
    let api = Api {
        status: Arc::clone(&status),
        board: Arc::clone(&board),
        front: commands.clone(),
        shards,
        templates,
        outbox,
        control,
        readiness: Arc::new(Readiness::new()),
        keeper: keeper.clone(),
        passes: Arc::new(Passes::new(assembled.setup.panel)),
        guesses: Arc::default(),
    };
    let daily = readiness::run(api.clone());
    let admin = inheritance.admin(&config.node.state_dir).or_else(|| open_admin_socket(&config.node.state_dir));
    let mut kept = Kept::new(program, &bound.streams, &web, admin.as_ref())?;
    let doors = Doors { web, admin, state_dir: config.node.state_dir.clone(), router: api::router(api) };
    let (halt, halted) = oneshot::channel();
    kept.halt = Some(halt);
    let beside = async move {
        tokio::join!(teller.run(states), daily, keeper_of_names.run());
    };
    let side_handle = start_side(side_thread, doors, async move { notifier.run(notices).await }, beside, halted)?;

    let relay = start_relay(&config, identity, &saved, &side);
    status.watch(Arc::clone(&relay.traffic));
    let (to_front, from_shards) = unbounded_channel();
    let common = Common {
        setup: assembled.setup.clone(),
        ports: Arc::clone(&ports),
        counters: Arc::clone(&counters),
        side: side.clone(),
        keeper: keeper.clone(),
        front: to_front,
        relay: relay.clone(),
    };
    let mut ordinary = Vec::new();
    for index in 1..=threads {
        let (thread, handle) = Ordinary::start(index, &common, &saved)?;
        ordinary.push(thread);
        kept.threads.push(handle);
    }
    let lane = if threads == 0 { Some(Lane::new(common.worker(1, &saved)?)) } else { None };
    let worker = common.worker(0, &saved)?;
    let beat = Arc::new(AtomicU64::new(clock::now().as_millis()));
    let known = assembled.known.clone();
    let media = Media::start(media_settings(&config));
    let (beat_of_front, side_of_front, ports_of_front) = (Arc::clone(&beat), side.clone(), Arc::clone(&ports));
    let pages = pages_listener(&config, &bound.addresses);
    let (stranger_rate, load) = (config.auth.stranger_rate, Arc::clone(&assembled.setup.load));
    let front = start_front(move || {
        let mut streams = Streams::new(bound.streams, known, secure, Arc::clone(&counters))?;
        pages.into_iter().for_each(|listener| streams.pages_are_of(listener));
        Front::new(Parts {
            worker,
            ports: ports_of_front,
            streams,
            ordinary,
            lane,
            from_shards,
            commands: obeyed,
            store,
            media,
            relay,
            counters,
            side: side_of_front,
            stranger_rate,
            load,
            held,
            beat: beat_of_front,
        })
    })?;

    for e in failed {
        warn!(event = "a neighbour has no socket of its own", reason = %e.kind());
    }
    report_start(&loaded.rejected, &side);
    report_contacts(&config);
    let control = Control {
        file: file.to_owned(),
        text: loaded.text.clone(),
        running: Running {
            node: config.node.name.clone(),
            listen: config.listen.clone(),
            http: config.http.bind,
            time_scale: config.time_scale,
            addresses: bound.addresses,
            udp: bound.udp,
        },
        assembled,
        ports,
        commands,
        side,
        side_handle,
        keeper,
        notify,
        listeners,
        status,
        board,
        beat,
        front,
        web: web_address,
        roster,
        asked,
        want,
        found,
        answers,
        ends: Time::ZERO,
        inheritance,
        kept,
    };
    if loaded.rejected.is_none() {
        control.accept(&loaded.text);
        control.keeper.flush(ACCEPTING);
    }
    Ok(control)
}

/// What becomes of a config whose names lead where they led last; where that does not fit any more, of the config alone.
fn assembled_with<T>(
    config: &Config,
    answers: &dns::Answers,
    assemble: impl Fn(&Config) -> Result<T, Failure>,
) -> Result<T, Failure> {
    if answers.ways.is_empty() {
        return assemble(config);
    }
    assemble(&names::filled(config.clone(), answers)).or_else(|_| assemble(config))
}

/// The config with the agents that were edited at run time. The file alone has been read already.
fn with_roster(roster: &Roster, text: &str, file: &Path, alone: Config) -> Config {
    let Ok(Joined { mut config, left_out, .. }) = roster.join(text, file, Files::Optional) else { return alone };
    report_left_out(left_out);
    if config.hasten(alone.time_scale).is_ok() { config } else { alone }
}

fn report_left_out(left_out: usize) {
    if left_out > 0 {
        warn!(event = "agents edited at run time do not fit the config and are left out", left_out);
    }
}

fn report_start(rejected: &Option<Mistakes>, side: &SideSender) {
    let Some(mistakes) = rejected else { return };
    for mistake in &mistakes.0 {
        error!(event = "config rejected", %mistake);
    }
    warn!(event = "started with the last accepted config");
    side.send(ToSide::Alarm("config_rejected", true));
}

/// What a reload cannot change.
struct Running {
    node: String,
    listen: Vec<Listen>,
    http: SocketAddr,
    time_scale: u32,
    addresses: Vec<SocketAddr>,
    udp: Vec<Option<Arc<Port>>>,
}

/// The thread that is told what to do.
struct Control {
    file: PathBuf,
    running: Running,
    assembled: Assembled,
    ports: Arc<Ports>,
    commands: UnboundedSender<Command>,
    side: SideSender,
    side_handle: thread::JoinHandle<()>,
    keeper: Keeper,
    notify: watch::Sender<notifier::Settings>,
    listeners: watch::Sender<Listeners>,
    status: Arc<Status>,
    board: Arc<Board>,
    beat: Arc<AtomicU64>,
    front: oneshot::Receiver<()>,
    web: SocketAddr,
    /// The config file as it was taken last, to which agents are added at run time.
    text: String,
    roster: Roster,
    asked: Receiver<ToControl>,
    /// Which names are to be looked up.
    want: watch::Sender<dns::Wanted>,
    /// Where they lead.
    found: UnboundedReceiver<dns::Answers>,
    answers: dns::Answers,
    /// When the process must be gone, once its end has begun.
    ends: Time,
    /// Whom we took over from, until it has been told.
    inheritance: Inheritance,
    /// What a successor gets.
    kept: Kept,
}

impl Control {
    /// The one line at any log level.
    fn say_ready(&mut self) {
        let mut line = format!("ready node={}", self.running.node);
        for (listen, address) in self.running.listen.iter().zip(&self.running.addresses) {
            line.push_str(&format!(" {}={address}", listen.transport));
        }
        line.push_str(&format!(" http={}\n", self.web));
        // In one piece: whoever waits for it reads as it is written.
        let _ = stderr().write_all(line.as_bytes());
        // To the service manager a successor is nobody yet, and the service has been ready all the time.
        if self.inheritance.is_there() {
            return self.inheritance.say_reads();
        }
        systemd::ready();
    }

    /// Signals, until the end.
    fn run(mut self) -> ExitCode {
        let Ok(runtime) = current_thread_runtime() else { return ExitCode::from(FAILED) };
        let code = runtime.block_on(self.obey_signals());
        let Self { commands, side, side_handle, keeper, ends, kept, .. } = self;
        if kept.halt.is_none() {
            // A successor has everything.
            return ExitCode::from(code);
        }
        drop((commands, side));
        // What is to survive comes before the last mails, and once more after them.
        keeper.flush(FLUSHING);
        // The log's last lines and the last mails; whoever holds the terminal up is not waited for.
        let now = clock::now();
        let ends = ends.max(now + CLOSING + Duration::from_millis(100));
        while !side_handle.is_finished() && clock::now() + CLOSING < ends {
            thread::sleep(Duration::from_millis(2));
        }
        keeper.close(ends.since(clock::now()));
        ExitCode::from(code)
    }

    async fn obey_signals(&mut self) -> u8 {
        let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup(), SignalKind::user_defined2()];
        let [Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup), Ok(mut hand_over)] = kinds.map(signal) else { return FAILED };
        // From here on a signal does not end the process by itself.
        self.await_names().await;
        self.say_ready();
        let pause = systemd::watchdog().map_or(Duration::from_secs(3600), |w| w / 2);
        let mut watchdog = tokio::time::interval(pause);
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => self.reload().await,
                _ = hand_over.recv() => if let Some(code) = self.hand_over(&mut terminate).await { return code },
                Some(request) = self.asked.recv() => self.change_agents(request).await,
                Some(answers) = self.found.recv() => self.relink(answers),
                _ = watchdog.tick() => self.say_alive(),
                _ = &mut self.front => {
                    error!(event = "the front ended by itself");
                    return FAILED;
                }
            }
        }
        self.stop().await
    }

    /// The start gives DNS a moment and no more: a trunk without an address is tried as soon as it has one.
    async fn await_names(&mut self) {
        // Where they led last is where calls go meanwhile.
        if self.want.borrow().questions.iter().all(|question| self.answers.ways.contains_key(question)) {
            return;
        }
        let first = async {
            while let Some(answers) = self.found.recv().await {
                let is_complete = answers.is_complete;
                self.relink(answers);
                if is_complete {
                    return;
                }
            }
        };
        if tokio::time::timeout(FIRST_NAMES, first).await.is_err() {
            warn!(event = "some names lead nowhere yet: their neighbours are reached as soon as they do");
        }
    }

    /// Names lead elsewhere: the calls are told of it as of a reload, but the story is not touched.
    fn relink(&mut self, answers: dns::Answers) {
        self.answers = answers;
        let config = Config::clone(&self.board.config());
        let setup = &self.assembled.setup;
        let filled = names::filled(config, &self.answers);
        let assembled = assemble(&filled, &self.running.addresses, setup.secret, setup.shards, Some(&self.assembled));
        let secure = assembled.as_ref().map_err(ToString::to_string).and_then(|a| secure(&filled, a).map_err(|e| e.to_string()));
        let (Ok(assembled), Ok(secure)) = (assembled, secure) else {
            return warn!(event = "where names lead now cannot be used; what they led to before stays");
        };
        let ports = self.ports_of(&assembled);
        let (setup, known) = (assembled.setup.clone(), assembled.known.clone());
        let relink = Reload {
            setup,
            ports: Arc::clone(&ports),
            known,
            secure,
            media: media_settings(&filled),
            relay: relay_settings(&filled),
            stranger_rate: filled.auth.stranger_rate,
        };
        let _ = self.commands.send(Command::Relink(Box::new(relink)));
        (self.assembled, self.ports) = (assembled, ports);
        names::row(&self.answers).into_iter().for_each(|row| self.keeper.keep(row));
        info!(event = "names looked up", count = self.answers.ways.len());
    }

    fn ports_of(&self, assembled: &Assembled) -> Arc<Ports> {
        let (ports, failed) = Ports::new(self.running.udp.clone(), assembled.flows(), &self.ports);
        for e in failed {
            warn!(event = "a neighbour has no socket of its own", reason = %e.kind());
        }
        Arc::new(ports)
    }

    async fn stop(&mut self) -> u8 {
        info!(event = "stopping");
        self.ends = clock::now() + GONE;
        systemd::stopping();
        self.status.stop();
        let _ = self.commands.send(Command::Stop(clock::now() + PLACING));
        let in_time = tokio::time::timeout(LAST, &mut self.front).await.is_ok();
        info!(event = "stopped", in_time);
        DONE
    }

    /// A bad configuration is refused whole and the old one stays (RULES B2).
    async fn reload(&mut self) {
        systemd::reloading();
        match self.take_new_config().await {
            Ok(()) => {
                info!(event = "config taken");
                self.side.send(ToSide::Alarm("config_rejected", false));
            }
            Err(reasons) => {
                for reason in reasons {
                    error!(event = "config rejected", reason);
                }
                warn!(event = "the config of before stays");
                self.side.send(ToSide::Alarm("config_rejected", true));
            }
        }
        systemd::ready();
    }

    async fn take_new_config(&mut self) -> Result<(), Vec<String>> {
        let mistakes = |m: Mistakes| m.0.iter().map(ToString::to_string).collect::<Vec<_>>();
        let text = config::text(&self.file).map_err(mistakes)?;
        let joined = self.roster.join(&text, &self.file, Files::Required).map_err(mistakes)?;
        report_left_out(joined.left_out);
        self.take(joined.config, text).await
    }

    /// Changes agents, all or nothing, and says what came of it.
    async fn change_agents(&mut self, request: ToControl) {
        let ToControl { changes, is_list, answer } = request;
        let result = self.try_change(&changes, is_list).await;
        info!(event = "agents changed by the API", count = changes.len(), taken = result.is_ok());
        let _ = answer.send(result);
    }

    async fn try_change(&mut self, changes: &[Change], is_list: bool) -> Result<(), ApiError> {
        let running = self.board.config();
        let etag_of = |id: &str| api::agents::find(&running, id).map(|shown| control::etag(&shown));
        let after = control::changed(self.roster.documents(), &running, changes, is_list, etag_of)?;
        let (config, _) =
            roster::join(&self.text, &self.file, &after, Files::Required).map_err(|e| control::refusal(e, changes, is_list))?;
        self.take(config, self.text.clone()).await.map_err(|why| ApiError::conflict(why.join("; ")))?;
        self.roster.replace(after).await;
        Ok(())
    }

    /// Makes a configuration that was read and checked the running one.
    async fn take(&mut self, mut config: Config, text: String) -> Result<(), Vec<String>> {
        config.hasten(self.running.time_scale).map_err(|beyond| vec![beyond.to_string()])?;
        self.keep_sockets(&mut config);
        let setup = &self.assembled.setup;
        let wanted = names::wanted(&mut config);
        let filled = names::filled(config.clone(), &self.answers);
        let assembled = assemble(&filled, &self.running.addresses, setup.secret, setup.shards, Some(&self.assembled));
        let assembled = assembled.map_err(|e| vec![e.to_string()])?;
        let ports = self.ports_of(&assembled);
        let notify = notifier_settings(&config).map_err(|e| vec![e.to_string()])?;
        let listeners = listeners_of(&config).map_err(|e| vec![e.to_string()])?;
        let secure = secure(&config, &assembled).map_err(|e| vec![format!("[tls]: {e}")])?;
        let (answer, answered) = oneshot::channel();
        let (setup, known) = (assembled.setup.clone(), assembled.known.clone());
        let reload = Reload {
            setup,
            ports: Arc::clone(&ports),
            known,
            secure,
            media: media_settings(&config),
            relay: relay_settings(&config),
            stranger_rate: config.auth.stranger_rate,
        };
        let _ = self.commands.send(Command::Reload(Box::new(reload), answer));
        match answered.await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return Err(vec![e.to_string()]),
            Err(_) => return Err(vec!["the front is gone".to_owned()]),
        }
        self.want.send_replace(wanted);
        self.notify.send_replace(notify);
        self.listeners.send_replace(listeners);
        report_contacts(&config);
        self.side.send(ToSide::Site(Arc::clone(&assembled.setup.site)));
        self.accept(&text);
        self.board.take(config, Arc::clone(&assembled.setup.site));
        (self.assembled, self.ports, self.text) = (assembled, ports, text);
        Ok(())
    }

    /// Sockets are opened at the start only.
    fn keep_sockets(&self, config: &mut Config) {
        let key = |l: &Listen| (l.transport, l.bind);
        let same = config.listen.iter().map(key).eq(self.running.listen.iter().map(key));
        if !same {
            warn!(event = "[[listen]] has changed: that needs a restart, and until then the old listeners stay");
            config.listen.clone_from(&self.running.listen);
        }
        if config.http.bind != self.running.http {
            warn!(event = "[http] bind has changed: that needs a restart");
        }
    }

    /// Keeps the configuration for a start with a bad file.
    fn accept(&self, text: &str) {
        self.keeper.keep(accepted::row(text));
    }

    fn say_alive(&self) {
        let last = self.beat.load(Ordering::Relaxed);
        if clock::now().as_millis().saturating_sub(last) < DEAD.as_millis() as u64 {
            systemd::alive();
        }
    }
}

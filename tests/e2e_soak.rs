//! A soak: a million mixed calls in three rounds, and in each of them a hand-over, a `kill -9`, a reload, a trunk that is silent and
//! then refuses, and a disk that hardly moves. Emergencies and callbacks complete, 99.999 % of them; once the calls are gone so is
//! what they took, from the first round's end to the third's.
//!
//! What "complete" means stands in `common/soak/mod.rs`. Alone and by hand:
//! `E911D_SOAK_CALLS=60000 cargo test --release --test e2e_soak -- --ignored --nocapture`

mod common;
#[path = "common/soak/mod.rs"]
mod soak;

use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::child::{Child, find, skipped};
use common::clock::Stopwatch;
use common::net::is_bound;
use common::{Deadline, Net, Transport, World, until};
use soak::plan::Kind;
use soak::tally::Tally;
use soak::{Places, Soak, Trunk};

/// Of the whole soak, and in how many rounds.
const CALLS: u64 = 1_000_000;
const ROUNDS: u64 = 3;
/// Calls a second.
const PACE: f64 = 1000.0;
const SAID_EVERY: Duration = Duration::from_secs(5);
/// How long the first trunk is silent.
const SILENCE: Duration = Duration::from_secs(5);
/// How long the disk hardly moves, and how long it takes for each sync then, in us.
const STALL: Duration = Duration::from_secs(6);
const SYNC: u32 = 400_000;
/// Who dials 911 for the first time meanwhile: a lease that is on record already waits for no disk.
const NEWCOMERS: u32 = 200;
/// After the last call, until nothing of it is left: Timers J and H take 32 s.
const REST: Duration = Duration::from_secs(150);

/// What the gateway takes while no call goes on.
#[derive(Clone, Debug, PartialEq)]
struct Idle {
    resident_kib: u64,
    /// File descriptors, without those of the ports for audio.
    descriptors: f64,
    leases: f64,
    /// Pairs of ports for audio: those that are held ready, from 96 to 128.
    port_pairs: f64,
}

struct Scene {
    world: World,
    soak: Soak,
    /// The gateway's process now: a successor's, after a hand-over.
    process: u32,
    manager: UnixDatagram,
    notify: String,
    people: u32,
    pace: f64,
    watch: Stopwatch,
    said: Deadline,
    _dir: tempfile::TempDir,
}

fn setting(name: &str, default: f64) -> f64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn places(net: &Net, gateway: std::net::SocketAddr) -> Places {
    Places {
        gateway,
        pbx: net.sip(10),
        trunk_a: net.sip(21),
        trunk_b: net.sip(22),
        next_hop: net.sip(23),
        anchored: net.sip(24),
        desk: net.sip(50),
    }
}

fn world(people: u32, notify: &str) -> World {
    World::with(Transport::Udp, |net, mut config| {
        let last = people * 2 + 1999;
        config.trunks[0].numbers = format!("+14250000000-+1425{last:07}");
        config.trunks[1].numbers = format!("+12060000000-+1206{last:07}");
        config.ordinary = None;
        config.program = std::env::var_os("E911D_PROGRAM").map(Into::into);
        config.env = vec![("NOTIFY_SOCKET", notify.to_owned())];
        for (name, host, area, more) in [("next-hop", 23, 212, ""), ("anchored", 24, 213, "media = \"anchor\"\n")] {
            config.more += &format!(
                "[[trunk]]\nname = \"{name}\"\npath = \"direct-routing\"\nuri = \"sip:{at}\"\nsources = [\"{at}\"]\noptions = \"0s\"\n{more}\
                 [[voice_route]]\nname = \"{name}\"\npattern = '^\\+1{area}\\d{{7}}$'\ntrunks = [\"{name}\"]\n",
                at = net.sip(host)
            );
        }
        config.more += &format!(
            "[media]\nbind = \"{}\"\n[records]\nkeep = 1000\n[readiness]\nafter = \"24h\"\n[log]\nlevel = \"warn\"\n",
            net.ip(1)
        );
        config
    })
}

impl Scene {
    fn start(calls: u64, pace: f64) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let notify = dir.path().join("notify");
        let manager = UnixDatagram::bind(&notify).expect("a service manager");
        manager.set_read_timeout(Some(Duration::from_millis(50))).expect("set");
        let notify = notify.display().to_string();
        let people = u32::try_from(calls / ROUNDS / 12).unwrap_or(u32::MAX).clamp(300, 2000);
        let mut world = world(people, &notify);
        let soak = Soak::start(places(&world.net, world.at()), people);
        soak.pace(pace);
        let process = world.gateway.child().id();
        let said = Deadline::after(SAID_EVERY);
        Self { world, soak, process, manager, notify, people, pace, watch: Stopwatch::start(), said, _dir: dir }
    }

    /// Waits until `done`, and says how it goes.
    fn watch(&mut self, what: &str, within: Duration, mut done: impl FnMut(&Tally) -> bool) {
        let deadline = Deadline::after(within);
        loop {
            let tally = self.soak.tally();
            if done(&tally) {
                return;
            }
            assert!(!deadline.passed(), "{what}: not within {within:?}\n{tally}");
            if self.said.passed() {
                self.said = Deadline::after(SAID_EVERY);
                self.say(what, &tally);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn say(&self, what: &str, tally: &Tally) {
        let (all, time) = (tally.offered(), self.watch.elapsed().as_secs_f64());
        let failed = Kind::ALL.map(|kind| tally.of(kind).failures());
        let _ = writeln!(
            std::io::stderr(),
            "{time:6.0} s  {all:8} calls, {:5.0} a second, {:5} up; failed {failed:?}, turned away {}; {:.1} MiB  {what}",
            all as f64 / time,
            tally.going_on,
            tally.of(Kind::Ordinary).turned_away,
            resident_kib(self.process) as f64 / 1024.0,
        );
    }

    /// Until so many calls are left to be offered.
    fn until_left(&mut self, what: &'static str, left: u64) {
        self.soak.phase(what);
        let calls = self.soak.tally().waiting.saturating_sub(left);
        let within = Duration::from_secs_f64(60.0 + 20.0 * calls as f64 / self.pace);
        self.watch(what, within, |tally| tally.waiting <= left);
    }

    /// Goes on for so long, with calls all the time, even if there are few of them in the round.
    fn run_for(&mut self, what: &'static str, time: Duration) {
        let needed = (self.pace * time.as_secs_f64()) as u64;
        let waiting = self.soak.tally().waiting;
        if waiting < needed {
            self.soak.offer(needed - waiting);
        }
        let end = Deadline::after(time);
        self.watch(what, time + Duration::from_secs(60), |_| end.passed());
    }

    /// One round of so many calls; what the gateway takes after its half, when everything has happened to it, and in the end.
    fn round(&mut self, calls: u64) -> [Idle; 2] {
        self.soak.offer(calls / 2);
        self.until_left("steady", calls * 2 / 5);
        self.hand_over();
        self.until_left("steady", calls * 3 / 10);
        self.kill();
        self.until_left("after the kill", calls / 5);
        self.reload();
        self.flap();
        self.stall();
        self.until_left("steady", 0);
        let half = self.rest();
        self.soak.offer(calls - calls / 2);
        self.until_left("steady", 0);
        [half, self.rest()]
    }

    fn forget_what_was_told(&self) {
        while self.manager.recv(&mut [0; 1024]).is_ok() {}
    }

    /// In a quieter moment, as operators choose one: it waits for a quarter of a second in which no emergency is being placed.
    fn hand_over(&mut self) {
        self.soak.phase("hand-over");
        self.soak.pace(self.pace / 20.0);
        self.run_for("before the hand-over", Duration::from_secs(2));
        self.forget_what_was_told();
        self.soak.handing_over();
        signal(self.process, "USR2");
        let mut successor = None;
        let (manager, process) = (&self.manager.try_clone().expect("a socket"), self.process);
        let told = || told(manager, "MAINPID=")?.parse::<u32>().ok();
        self.watch("hand-over", Duration::from_secs(90), |_| {
            successor = successor.or_else(told);
            successor.is_some()
        });
        self.soak.handing_over();
        self.process = successor.unwrap_or(process);
        until("the end of the old one", Duration::from_secs(10), || {
            (process == self.process || self.world.gateway.child().ended().is_some()).then_some(())
        });
        self.soak.pace(self.pace);
    }

    /// In the middle of everything.
    fn kill(&mut self) {
        self.soak.phase("kill");
        signal(self.process, "KILL");
        self.soak.killed();
        // The last of its threads takes the sockets with it.
        until("its end", Duration::from_secs(10), || (!is_bound(Transport::Udp, self.world.at())).then_some(()));
        self.world.gateway.start_again(&[("NOTIFY_SOCKET", self.notify.clone())]);
        self.process = self.world.gateway.child().id();
        self.soak.back_again();
    }

    /// More numbers at the second trunk, and one more agent.
    fn reload(&mut self) {
        self.soak.phase("reload");
        self.forget_what_was_told();
        let file = self.world.gateway.config_file();
        let text = std::fs::read_to_string(&file).expect("a config");
        let more = text.replace("[\"+12060000000", "[\"+12069000000-+12069000099\", \"+12060000000");
        assert_ne!(more, text);
        std::fs::write(&file, more + "[[agent]]\nid = \"late\"\nidentity = [\"late\"]\npeer = \"pbx\"\n").expect("written");
        signal(self.process, "HUP");
        until("the reload", Duration::from_secs(20), || told(&self.manager, "READY=1"));
        self.run_for("after the reload", Duration::from_secs(2));
    }

    /// The first trunk falls silent, then refuses, until everybody has had to be shown by the second one's numbers; and is back.
    fn flap(&mut self) {
        self.soak.phase("silent trunk");
        self.soak.trunk(Trunk::Silent);
        self.run_for("silent trunk", SILENCE);
        self.soak.trunk(Trunk::Refuses);
        let needed = u64::from(self.people) * 3;
        self.soak.offer(needed.saturating_sub(self.soak.tally().waiting));
        let waiting = self.soak.tally().waiting;
        self.until_left("refusing trunk", waiting.saturating_sub(needed));
        self.soak.trunk(Trunk::Up);
    }

    /// The thread before the disk waits for each sync: what it waits for is only seen by that thread, and needs no rights.
    fn stall(&mut self) {
        let thread = std::fs::read_dir(format!("/proc/{}/task", self.process))
            .expect("it runs")
            .flatten()
            .find(|task| std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "disk"));
        let thread = thread.expect("a thread before the disk").file_name().to_string_lossy().into_owned();
        let Some(strace) = find("strace") else { return skipped("a disk that hardly moves: no strace (apt-get install strace)") };
        let mut command = Command::new(strace);
        command.args(["-qq", "-o", "/dev/null", "-p", &thread, "-e", "trace=fsync,fdatasync"]);
        command.args(["-e", &format!("inject=fsync,fdatasync:delay_enter={SYNC}")]);
        self.soak.phase("slow disk");
        let raised = |scene: &Self| scene.world.gateway.log().matches("alarm=\"store_slow\" state=\"raised\"").count();
        let before = raised(self);
        let mut tracer = Child::start("strace", command);
        for _ in 0..NEWCOMERS / 20 {
            self.soak.join(20);
            self.people += 20;
            self.run_for("slow disk", STALL * 20 / NEWCOMERS);
        }
        if let Some(ended) = tracer.ended() {
            return skipped(&format!("a disk that hardly moves: strace {ended}: {}", tracer.output()));
        }
        assert!(raised(self) > before, "nobody has noticed the disk");
        tracer.terminate(Duration::from_secs(10));
    }

    /// Until all calls are gone, and all that they took; what is left.
    fn rest(&mut self) -> Idle {
        self.watch("the last calls", REST, |tally| tally.waiting == 0 && tally.going_on == 0 && tally.legs == 0);
        let gone = Stopwatch::start();
        let mut left = String::new();
        let deadline = Deadline::after(REST);
        loop {
            left.clear();
            let text = self.world.gateway.metrics();
            for line in text.lines().filter(|l| !l.starts_with('#') && IS_GONE.iter().any(|name| l.starts_with(name))) {
                if !line.ends_with(" 0") {
                    left += &format!("{line}\n");
                }
            }
            if left.is_empty() {
                break;
            }
            assert!(!deadline.passed(), "left after {:?}:\n{left}{}", gone.elapsed(), self.soak.tally());
            std::thread::sleep(Duration::from_millis(200));
        }
        std::thread::sleep(Duration::from_secs(3));
        let idle = self.idle();
        let tally = self.soak.tally();
        self.say("at rest", &tally);
        let _ = writeln!(std::io::stderr(), "{tally}    {idle:?}, {:?} after the last call", gone.elapsed());
        idle
    }

    fn idle(&self) -> Idle {
        let text = self.world.gateway.metrics();
        let sum = |name: &str, label: &str| {
            let lines = text.lines().filter(|l| l.starts_with(name) && l.contains(label));
            lines.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        let port_pairs: f64 = sum("e911d_media_port_pairs", "");
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", self.process)).map_or(0, Iterator::count);
        Idle {
            resident_kib: resident_kib(self.process),
            descriptors: descriptors as f64 - 2.0 * port_pairs,
            leases: sum("e911d_pool_numbers", "state=\"leased\""),
            port_pairs,
        }
    }
}

/// What stands at 0 when no call goes on.
const IS_GONE: [&str; 5] =
    ["e911d_calls", "e911d_transactions", "e911d_dialogs", "e911d_media_relays", "e911d_alarm{name=\"store"];

impl Drop for Scene {
    fn drop(&mut self) {
        // A successor is nobody's child.
        if Path::new(&format!("/proc/{}", self.process)).exists() {
            signal(self.process, "KILL");
        }
    }
}

fn signal(process: u32, name: &str) {
    let _ = Command::new("kill").arg(format!("-{name}")).arg(process.to_string()).stderr(Stdio::null()).status();
}

/// What the service manager is told next with this word before it, if anything is told.
fn told(manager: &UnixDatagram, word: &str) -> Option<String> {
    let mut buffer = [0; 1024];
    let n = manager.recv(&mut buffer).ok()?;
    let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
    text.lines().find_map(|line| line.strip_prefix(word).map(str::to_owned))
}

fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    line.and_then(|l| l.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// Memory: 10 %, or 3 MiB where that is more. Descriptors: the connection that asks may be seen, or its end.
fn has_not_grown(what: &str, before: &Idle, after: &Idle) {
    let room = (before.resident_kib / 10).max(3 * 1024);
    assert!(after.resident_kib <= before.resident_kib + room, "{what}: {before:?}, then {after:?}");
    assert!(after.descriptors <= before.descriptors + 2.0, "{what}: {before:?}, then {after:?}");
    assert!(after.port_pairs <= 128.0, "{what}: {before:?}, then {after:?}");
}

#[test]
#[ignore = "long: a million calls"]
fn a_million_mixed_calls_complete_and_leave_nothing_behind() {
    let calls = setting("E911D_SOAK_CALLS", CALLS as f64) as u64;
    let mut scene = Scene::start(calls, setting("E911D_SOAK_PACE", PACE));
    let rounds: Vec<_> = (0..ROUNDS).map(|_| scene.round(calls / ROUNDS)).collect();
    let tally = scene.soak.tally();

    for kind in [Kind::Emergency, Kind::Callback] {
        let count = tally.of(kind);
        assert!(count.completed() >= 99.999, "{kind:?}\n{tally}");
        assert!(count.bad_ends * 100_000 <= count.complete, "{kind:?}\n{tally}");
    }
    assert_eq!((tally.misdirected, tally.shared, tally.desk), (0, 0, 0), "{tally}");
    assert_eq!(tally.renumbered, 0, "{tally}");
    assert!(tally.of(Kind::Ordinary).completed() >= 99.9, "{tally}");

    let (first, last) = (&rounds[0][1], &rounds[rounds.len() - 1][1]);
    has_not_grown("from the first round's end to the last one's", first, last);
    for [half, end] in &rounds {
        has_not_grown("in the second half of a round, in one process", half, end);
    }
    assert!(last.leases <= f64::from(scene.people * 2), "two for each of {} at most: {last:?}", scene.people);
}

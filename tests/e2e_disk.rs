//! The state directory is gone, read-only, full or hangs, at the start and while calls run (RULES B3, L1): calls go out, calls
//! come back, operators hear of it, and once the disk is well everything is on it.
//!
//! Disks of all kinds are mounted in mount namespaces of the tests' own: each such test is the child of another one.

mod common;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::callers::State;
use common::child::skipped;
use common::psap::Psap;
use common::{Callers, Config, Gateway, Net, Outgoing, Peer, Transport, until};

/// How long a 911 call may take to the PSAP on a busy machine: the lease's 50 ms are in it, no disk is.
const AT_ONCE: Duration = Duration::from_secs(1);
/// For what the gateway does at once.
const SOON: Duration = Duration::from_secs(8);
/// Operators see an alarm within 5 s, on a machine that has nothing else to do.
const SEEN: Duration = Duration::from_secs(10);

/// Agents behind a PBX, a PSAP and its dispatcher around a gateway with a bad disk.
struct Scene {
    gateway: Gateway,
    agents: Callers,
    psap: Psap,
    dispatcher: Peer,
    /// Who was shown by which number.
    shown: Vec<(String, String)>,
    _net: Net,
}

impl Scene {
    fn start(state: &Path, env: &[(&'static str, String)]) -> Self {
        let net = Net::take();
        let mut config = Config::new(&net, Transport::Udp);
        config.state_dir = Some(state.to_owned());
        config.env = env.to_vec();
        config.more = "[[http.token]]\nrole = \"viewer\"\nvalue = \"a-token-for-this-test\"\n".to_owned();
        let config = (0..12).fold(config, |config, n| config.agent(&format!("agent{n}"), ""));
        let gateway = Gateway::start(&config);
        let agents = Callers::start(net.sip(10), gateway.at(Transport::Udp));
        let psap = Psap::start(net.sip(21), net.sip(21));
        let dispatcher = Peer::udp(SocketAddr::new(net.ip(21), 5070));
        Self { gateway, agents, psap, dispatcher, shown: Vec::new(), _net: net }
    }

    fn uri(&self, user: &str) -> String {
        format!("sip:{user}@{}", self.gateway.at(Transport::Udp))
    }

    /// Another agent calls 911, is answered and hangs up; then the PSAP calls her back.
    fn a_call_goes_out_and_comes_back(&mut self) {
        let agent = format!("agent{}", self.shown.len());
        let before: BTreeSet<_> = self.psap.legs().into_iter().map(|leg| leg.number).collect();
        let id = self.agents.dial(&agent, &self.uri("911"));
        let number = until("the call at the PSAP", AT_ONCE, || {
            self.psap.legs().into_iter().map(|leg| leg.number).find(|number| !before.contains(number))
        });
        until("the answer", SOON, || matches!(self.agents.call(&id).state, State::Up(..)).then_some(()));
        self.agents.hang_up(&id);
        assert_eq!(self.call_back(&number), agent);
        self.shown.push((agent, number));
    }

    /// The PSAP calls a number; gives the agent whose phone took it.
    fn call_back(&mut self, number: &str) -> String {
        let before = self.agents.calls().len();
        let call = Outgoing::new(self.gateway.at(Transport::Udp), "+12065550190", &self.uri(number));
        let call = call.header("Priority: psap-callback");
        self.dispatcher.invite(&call);
        let answer = self.dispatcher.response_within("INVITE", 200, SOON);
        let mut dialog = self.dispatcher.ack(&call, &answer);
        let taken = until("the callback's phone", SOON, || {
            let calls = self.agents.calls();
            let taken = |s: &State| matches!(s, State::Taken(to, mark) if to == number && mark == "psap-callback");
            calls.iter().find(|c| taken(&c.state)).filter(|_| calls.len() > before).map(|c| c.agent.clone())
        });
        self.dispatcher.in_dialog(&mut dialog, "BYE", "");
        self.dispatcher.response_within("BYE", 200, SOON);
        until("its end", SOON, || {
            let up = |s: &State| matches!(s, State::Taken(..));
            (!self.agents.calls().iter().any(|c| up(&c.state))).then_some(())
        });
        taken
    }

    /// Everybody who was shown is reached, and nobody shares a number.
    fn everybody_is_called_back(&mut self) {
        let numbers: BTreeSet<_> = self.shown.iter().map(|(_, number)| number).collect();
        assert_eq!(numbers.len(), self.shown.len(), "a number was given twice: {:?}", self.shown);
        for (agent, number) in self.shown.clone() {
            assert_eq!(self.call_back(&number), agent, "{number}");
        }
    }

    /// Gauge, API and log agree that this alarm stands, or does not.
    fn alarm(&self, name: &str, raised: bool) {
        let gauge = format!("e911d_alarm{{name=\"{name}\"}}");
        let state = if raised { "raised" } else { "cleared" };
        until(&format!("{name} {state}"), SEEN, || {
            let listed = self.ask("alarms").contains(&format!("\"{name}\""));
            (listed == raised && (self.gateway.metric(&gauge) > 0.0) == raised).then_some(())
        });
        let said = |line: &str| line.contains(&format!("alarm=\"{name}\"")) && line.contains(&format!("state=\"{state}\""));
        until("the log", SEEN, || self.gateway.log().lines().any(said).then_some(()));
    }

    /// This process has not raised it.
    fn alarm_never_stood(&self, name: &str) {
        assert!(!self.gateway.log().contains(&format!("alarm=\"{name}\"")), "{}", self.gateway.log());
    }

    /// The disk is well: nothing stands any more.
    fn alarms_clear(&self) {
        self.alarm("store_failed", false);
        self.alarm("store_slow", false);
    }

    fn ask(&self, path: &str) -> String {
        let at = self.gateway.http().expect("HTTP");
        let mut stream = TcpStream::connect(at).expect("a connection");
        stream.set_read_timeout(Some(SOON)).expect("a time limit");
        let head = format!("GET /api/v1/{path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n");
        write!(stream, "{head}Authorization: Bearer a-token-for-this-test\r\n\r\n").expect("asked");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        assert!(text.starts_with("HTTP/1.1 200"), "{path}: {text}");
        text
    }

    /// Whether commands find the daemon by its state directory.
    fn commands_reach_it(&self) {
        let socket = self.gateway.state().join("admin.sock");
        until("admin.sock", SEEN, || std::os::unix::net::UnixStream::connect(&socket).ok());
    }

    /// Nothing waits to be moved into the database: a full disk gets no room by that.
    fn until_the_log_is_empty(&self) {
        let log = self.gateway.state().join("e911d.db-wal");
        let is_empty = || std::fs::metadata(&log).is_ok_and(|m| m.len() == 0).then_some(());
        until("the log to be emptied", Duration::from_secs(20), is_empty);
    }

    /// A kill, a look at what it left behind, and a new start.
    fn killed_and_started_again(&mut self) {
        self.gateway.child().kill();
        database_is_whole(&self.gateway.state());
        self.gateway.start_again(&[]);
    }
}

/// SQLite finds nothing wrong in a copy, and no damaged database was ever set aside.
fn database_is_whole(state: &Path) {
    let copy = tempfile::tempdir_in("/tmp").expect("a directory");
    for file in std::fs::read_dir(state).expect("a directory").flatten() {
        let name = file.file_name();
        assert!(!name.to_string_lossy().contains("damaged"), "{name:?}");
        if name.to_string_lossy().starts_with("e911d.db") {
            std::fs::copy(file.path(), copy.path().join(name)).expect("copied");
        }
    }
    let db = rusqlite::Connection::open(copy.path().join("e911d.db")).expect("a database");
    let verdict: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a verdict");
    assert_eq!(verdict, "ok");
}

/// What is mounted at the child's state directory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Disk {
    /// 1 MB of memory, in a user namespace where need be.
    Memory,
    /// A file system that can be frozen; only root may have one.
    Ext4,
}

/// Runs the ignored test of this name in a mount namespace of its own, with a disk at `DISK_STATE`.
fn on_own_disk(name: &str, disk: Disk) {
    let (unshare, mount) = match disk {
        Disk::Memory => ("-rm", "mount -t tmpfs -o size=1m none \"$DISK_STATE\""),
        Disk::Ext4 => (
            "-m",
            "truncate -s 16M \"$DISK_IMAGE\" && mkfs.ext4 -q -F \"$DISK_IMAGE\" && mount -o loop \"$DISK_IMAGE\" \"$DISK_STATE\" \
             && fsfreeze -f \"$DISK_STATE\" && fsfreeze -u \"$DISK_STATE\"",
        ),
    };
    let dir = tempfile::tempdir().expect("a directory");
    let state = dir.path().join("disk");
    std::fs::create_dir(&state).expect("made");
    let me = std::env::current_exe().expect("it runs");
    // Whatever becomes of the test, nothing stays frozen or mounted.
    let script = format!(
        "PATH=$PATH:/usr/sbin:/sbin; {{ {mount}; }} >/dev/null 2>&1 || exit 77
         timeout -k 5 240 '{}' --ignored --exact {name} --nocapture; code=$?
         fsfreeze -u \"$DISK_STATE\" 2>/dev/null; umount -l \"$DISK_STATE\"; exit $code",
        me.display()
    );
    let mut command = Command::new("unshare");
    command.args([unshare, "sh", "-c", &script]).env("DISK_STATE", &state).env("DISK_IMAGE", dir.path().join("image"));
    let output = command.output();
    let said = output.as_ref().map(|o| format!("{}{}", String::from_utf8_lossy(&o.stdout), String::from_utf8_lossy(&o.stderr)));
    let cannot = |code: Option<i32>| code == Some(77) || said.as_ref().is_ok_and(|said| said.starts_with("unshare:"));
    match &output {
        Ok(output) if output.status.success() => {}
        Ok(output) if !cannot(output.status.code()) => panic!("{}", said.unwrap_or_default()),
        _ => skipped(&format!("{name}: no such mount can be made here (unshare {unshare}; loop devices need root)")),
    }
}

/// The state directory of a child, on its disk; `None`: the test was not run by its parent.
fn state_on_disk() -> Option<PathBuf> {
    std::env::var_os("DISK_STATE").map(PathBuf::from)
}

fn remount(disk: &Path, how: &str) {
    let done = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(disk).status().expect("mount");
    assert!(done.success(), "remount,{how}");
}

/// Takes all the room that is left.
fn fill(disk: &Path) {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(disk.join("ballast")).expect("a file");
    while file.write_all(&[1; 512]).is_ok() {}
}

fn empty(disk: &Path) {
    std::fs::remove_file(disk.join("ballast")).expect("removed");
}

/// A file system on which every write hangs until this is dropped.
struct Frozen<'a>(&'a Path);

impl<'a> Frozen<'a> {
    fn new(disk: &'a Path) -> Self {
        assert!(Self::fsfreeze("-f", disk), "not frozen");
        Self(disk)
    }

    fn fsfreeze(how: &str, disk: &Path) -> bool {
        let program = common::child::find("fsfreeze").expect("it worked before");
        Command::new(program).arg(how).arg(disk).status().is_ok_and(|s| s.success())
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        Self::fsfreeze("-u", self.0);
    }
}

#[test]
fn b3_without_a_state_directory_calls_go_on_and_it_is_used_once_it_is_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let blocked = dir.path().join("blocked");
    std::fs::write(&blocked, "a file where a directory should be").expect("written");
    let mut scene = Scene::start(&blocked.join("state"), &[]);
    scene.alarm("store_failed", true);
    scene.a_call_goes_out_and_comes_back();
    scene.a_call_goes_out_and_comes_back();
    scene.alarm("store_slow", true);
    std::fs::remove_file(&blocked).expect("removed");
    std::fs::create_dir_all(blocked.join("state")).expect("made");
    scene.alarms_clear();
    scene.commands_reach_it();
    scene.a_call_goes_out_and_comes_back();
    scene.killed_and_started_again();
    scene.everybody_is_called_back();
}

#[test]
fn b3_a_read_only_state_directory_gives_its_leases_and_takes_new_ones_once_it_can() {
    on_own_disk("read_only", Disk::Memory);
}

#[test]
#[ignore = "the child of another test"]
fn read_only() {
    let Some(disk) = state_on_disk() else { return };
    let mut scene = Scene::start(&disk, &[]);
    scene.a_call_goes_out_and_comes_back();
    scene.gateway.child().kill();
    remount(&disk, "ro");
    scene.gateway.start_again(&[]);
    scene.alarm("store_failed", true);
    scene.everybody_is_called_back();
    scene.a_call_goes_out_and_comes_back();
    scene.alarm("store_slow", true);
    remount(&disk, "rw");
    scene.alarms_clear();
    scene.commands_reach_it();
    scene.killed_and_started_again();
    scene.everybody_is_called_back();
    scene.a_call_goes_out_and_comes_back();
}

#[test]
fn b3_on_a_disk_that_is_full_at_the_start_calls_go_on() {
    on_own_disk("full_at_the_start", Disk::Memory);
}

#[test]
#[ignore = "the child of another test"]
fn full_at_the_start() {
    let Some(disk) = state_on_disk() else { return };
    fill(&disk);
    let mut scene = Scene::start(&disk, &[]);
    scene.alarm("store_failed", true);
    scene.a_call_goes_out_and_comes_back();
    scene.alarm("store_slow", true);
    empty(&disk);
    scene.alarms_clear();
    scene.commands_reach_it();
    scene.killed_and_started_again();
    scene.everybody_is_called_back();
    scene.a_call_goes_out_and_comes_back();
}

#[test]
fn b3_a_disk_that_fills_up_while_calls_run_loses_nothing_that_was_written() {
    on_own_disk("fills_up", Disk::Memory);
}

#[test]
#[ignore = "the child of another test"]
fn fills_up() {
    let Some(disk) = state_on_disk() else { return };
    let mut scene = Scene::start(&disk, &[]);
    scene.a_call_goes_out_and_comes_back();
    scene.until_the_log_is_empty();
    fill(&disk);
    scene.alarm("store_failed", true);
    scene.a_call_goes_out_and_comes_back();
    scene.a_call_goes_out_and_comes_back();
    scene.everybody_is_called_back();
    empty(&disk);
    scene.alarms_clear();
    scene.killed_and_started_again();
    scene.everybody_is_called_back();

    // And killed while it is full: what was shown since is forgotten, but nobody else gets it (RULES L1).
    scene.until_the_log_is_empty();
    fill(&disk);
    scene.alarm("store_failed", true);
    scene.a_call_goes_out_and_comes_back();
    let forgotten = scene.shown.pop().expect("a call");
    scene.killed_and_started_again();
    scene.alarm("store_failed", true);
    scene.everybody_is_called_back();
    scene.shown.push(("somebody else".to_owned(), String::new()));
    scene.a_call_goes_out_and_comes_back();
    scene.shown.retain(|(agent, _)| agent != "somebody else");
    assert!(scene.shown.iter().all(|(_, number)| *number != forgotten.1), "{forgotten:?} was given away: {:?}", scene.shown);
    empty(&disk);
    scene.alarms_clear();
    scene.killed_and_started_again();
    scene.everybody_is_called_back();
}

#[test]
fn b3_a_disk_that_hangs_holds_no_call_up_and_no_start() {
    on_own_disk("hangs", Disk::Ext4);
}

#[test]
#[ignore = "the child of another test"]
fn hangs() {
    let Some(disk) = state_on_disk() else { return };
    let state = disk.join("state");
    std::fs::create_dir(&state).expect("made");
    let mut scene = Scene::start(&state, &[]);
    scene.a_call_goes_out_and_comes_back();
    let frozen = Frozen::new(&disk);
    scene.a_call_goes_out_and_comes_back();
    scene.alarm("store_slow", true);
    scene.alarm("store_failed", true);
    scene.a_call_goes_out_and_comes_back();
    scene.everybody_is_called_back();
    drop(frozen);
    scene.alarms_clear();
    scene.killed_and_started_again();
    scene.everybody_is_called_back();

    // It hangs while the daemon starts.
    scene.until_the_log_is_empty();
    scene.gateway.child().kill();
    let frozen = Frozen::new(&disk);
    scene.gateway.start_again(&[]);
    scene.alarm("store_failed", true);
    scene.everybody_is_called_back();
    scene.a_call_goes_out_and_comes_back();
    scene.everybody_is_called_back();
    drop(frozen);
    scene.alarms_clear();
    scene.commands_reach_it();
    scene.killed_and_started_again();
    scene.everybody_is_called_back();
}

#[test]
fn b3_without_the_thread_before_the_disk_calls_go_on_from_memory_under_the_alarm() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut scene = Scene::start(dir.path(), &[("E911D_PANIC_AT", "batch".to_owned())]);
    scene.alarm("store_failed", true);
    scene.a_call_goes_out_and_comes_back();
    scene.a_call_goes_out_and_comes_back();
    scene.alarm("store_slow", true);
    scene.alarm("store_failed", true);
    assert!(scene.gateway.log().contains("nothing is written until a restart"), "{}", scene.gateway.log());
    scene.everybody_is_called_back();
    scene.killed_and_started_again();
    scene.alarm_never_stood("store_failed");
}

#[test]
fn b3_a_panic_on_the_disks_thread_raises_the_alarm_and_loses_no_row() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut scene = Scene::start(dir.path(), &[("E911D_PANIC_AT", "transaction".to_owned())]);
    scene.a_call_goes_out_and_comes_back();
    scene.alarm("store_failed", false);
    scene.alarm("store_slow", false);
    assert!(scene.gateway.log().contains("alarm=\"store_failed\" state=\"raised\""), "{}", scene.gateway.log());
    scene.a_call_goes_out_and_comes_back();
    scene.killed_and_started_again();
    scene.everybody_is_called_back();
}

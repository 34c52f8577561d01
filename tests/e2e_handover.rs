//! The daemon is stopped and started, or hands over to a new binary, while 911 is dialed every 80 ms (RULES B2).

mod common;

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::clock::Stopwatch;
use common::crowd::{Call, Crowd};
use common::psap::{Psap, State};
use common::{Transport, World, until};

const PAUSE: Duration = Duration::from_millis(80);
const AGENTS: u32 = 400;

/// 911 is dialed for ever, and a PSAP behind each trunk answers.
struct Load {
    world: World,
    callers: Crowd,
    psaps: [Psap; 2],
}

impl Load {
    fn start(program: Option<&Path>, env: &[(&'static str, String)]) -> Self {
        let world = World::with(Transport::Udp, |_, mut config| {
            config.trunks[0].numbers = "+14255550100-+14255550899".to_owned();
            config.trunks[1].numbers = "+12065550100-+12065550899".to_owned();
            config.program = program.map(Path::to_owned);
            config.env = env.to_vec();
            (0..AGENTS).fold(config, |config, n| config.agent(&format!("agent{n}"), ""))
        });
        let psaps = [Psap::start(world.trunk_a(), world.trunk_a()), Psap::start(world.trunk_b(), world.trunk_b())];
        let callers = Crowd::start(world.pbx(), world.at(), PAUSE, AGENTS);
        Self { world, callers, psaps }
    }

    fn run(&self, time: Duration) {
        std::thread::sleep(time);
    }

    /// Every call was set up, was left alone, and ends with the caller's BYE on both sides. Gives all calls.
    fn finish(self) -> Vec<Call> {
        self.callers.rest();
        until("the last call's answer", Duration::from_secs(20), || {
            self.callers.calls().iter().all(|c| c.set_up.is_some() || c.refused.is_some()).then_some(())
        });
        let calls = self.callers.calls();
        let bad: Vec<_> = calls.iter().filter(|c| c.set_up.is_none() || c.ended).collect();
        assert!(bad.is_empty(), "{} of {} calls: {bad:?}", bad.len(), calls.len());
        // The slowest dialog is on record.
        self.run(Duration::from_millis(300));
        self.callers.hang_up();
        until("all BYEs' answers", Duration::from_secs(20), || {
            self.callers.calls().iter().all(|c| c.bye.is_some()).then_some(())
        });
        let calls = self.callers.calls();
        let odd: Vec<_> = calls.iter().filter(|c| c.bye != Some(200)).collect();
        assert!(odd.is_empty(), "{} of {} calls: {odd:?}", odd.len(), calls.len());
        let legs = || self.psaps.iter().flat_map(Psap::legs).collect::<Vec<_>>();
        until("the ends at the PSAP", Duration::from_secs(20), || {
            legs().iter().all(|l| matches!(l.state, State::Ended(_) | State::Cancelled(_))).then_some(())
        });
        let ended = legs().iter().filter(|l| matches!(l.state, State::Ended(None))).count();
        assert_eq!(
            ended,
            calls.len(),
            "each call reached the PSAP, and once: {:?}",
            legs().iter().map(|l| &l.state).collect::<Vec<_>>()
        );
        calls
    }
}

fn slowest(calls: &[Call]) -> Duration {
    calls.iter().filter_map(|c| c.set_up).max().expect("a call")
}

/// Kills it when the test ends: it is nobody's child.
struct Successor(u32);

impl Drop for Successor {
    fn drop(&mut self) {
        signal(self.0, "KILL");
    }
}

fn signal(process: u32, name: &str) {
    let _ = Command::new("kill").arg(format!("-{name}")).arg(process.to_string()).stderr(Stdio::null()).status();
}

/// Who has taken over so far, by the log.
fn successors(log: &str) -> Vec<u32> {
    let lines = log.lines().filter(|l| l.contains("event=\"handed over\""));
    lines.filter_map(|l| l.split("process=").nth(1)?.split(' ').next()?.parse().ok()).collect()
}

/// The next thing that the service manager is told, beside that the program is alive.
fn told(manager: &UnixDatagram) -> String {
    let mut buffer = [0; 1024];
    loop {
        let n = manager.recv(&mut buffer).expect("something");
        let text = String::from_utf8_lossy(&buffer[..n]).trim_end().to_owned();
        if text != "WATCHDOG=1" {
            return text;
        }
    }
}

/// Asks for a hand-over and waits for its end.
fn hand_over(load: &mut Load) -> Successor {
    load.world.gateway.child().signal("USR2");
    let first = || successors(&load.world.gateway.log()).first().copied();
    let successor = Successor(until("the hand-over", Duration::from_secs(30), first));
    let status = load.world.gateway.child().wait(Duration::from_secs(5));
    assert!(status.is_some_and(|s| s.success()), "{status:?}");
    successor
}

/// A copy of the program, as a package would install it.
fn installed(dir: &Path) -> PathBuf {
    let program = dir.join("e911d");
    std::fs::copy(env!("CARGO_BIN_EXE_e911d"), &program).expect("a copy");
    program
}

#[test]
fn b2_a_stop_and_a_start_under_load_lose_no_emergency_and_leave_calls_up() {
    let mut load = Load::start(None, &[]);
    load.run(Duration::from_secs(2));
    let watch = Stopwatch::start();
    let ended = load.world.gateway.child().terminate(Duration::from_secs(10));
    let gone = watch.elapsed();
    assert!(ended.is_some_and(|s| s.success()), "{ended:?}");
    load.world.gateway.start_again(&[]);
    println!("gone after {gone:?}, answers again after {:?}", watch.elapsed());
    load.run(Duration::from_secs(2));
    let calls = load.finish();
    println!("{} calls, the slowest set up in {:?}", calls.len(), slowest(&calls));
    assert!(slowest(&calls) < Duration::from_secs(15));
}

#[test]
fn b2_a_hand_over_to_a_new_binary_under_load_loses_no_emergency() {
    let dir = tempfile::tempdir().expect("a folder");
    let program = installed(dir.path());
    let manager = UnixDatagram::bind(dir.path().join("notify")).expect("a service manager");
    manager.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
    let mut load = Load::start(Some(&program), &[("NOTIFY_SOCKET", dir.path().join("notify").display().to_string())]);
    load.run(Duration::from_secs(2));
    // A package replaces the file; the old one is gone from its place.
    let new = dir.path().join("new");
    std::fs::copy(&program, &new).expect("a copy");
    std::fs::rename(&new, &program).expect("replaced");
    let first = hand_over(&mut load);
    let runs = std::fs::read_link(format!("/proc/{}/exe", first.0)).expect("it runs");
    assert_eq!(runs, program, "not the deleted one");
    assert_eq!([told(&manager), told(&manager)], ["READY=1".to_owned(), format!("MAINPID={}", first.0)]);
    load.run(Duration::from_secs(1));
    // And on to the next one.
    signal(first.0, "USR2");
    let second = Successor(until("the second hand-over", Duration::from_secs(30), || {
        successors(&load.world.gateway.log()).into_iter().find(|process| *process != first.0)
    }));
    assert_eq!(told(&manager), format!("MAINPID={}", second.0));
    load.run(Duration::from_secs(1));
    let calls = load.finish();
    println!("{} calls, the slowest set up in {:?}", calls.len(), slowest(&calls));
    assert!(calls.iter().all(|c| c.invites == 1), "nobody had to ask twice");
    assert!(slowest(&calls) < Duration::from_secs(10));
}

#[test]
fn b2_a_new_binary_that_does_not_start_changes_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let program = installed(dir.path());
    let mut load = Load::start(Some(&program), &[]);
    load.run(Duration::from_millis(500));
    for (what, script) in [("a crash", "#!/bin/sh\nkill -9 $$\n"), ("an error", "#!/bin/sh\nexit 2\n"), ("no program", "what")] {
        let new = dir.path().join("new");
        std::fs::write(&new, script).expect("written");
        std::fs::set_permissions(&new, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("executable");
        std::fs::rename(&new, &program).expect("replaced");
        let before = load.world.gateway.log().matches("does not start").count();
        load.world.gateway.child().signal("USR2");
        until(what, Duration::from_secs(10), || {
            (load.world.gateway.log().matches("does not start").count() > before).then_some(())
        });
    }
    // And one whose config is bad by now.
    std::fs::copy(env!("CARGO_BIN_EXE_e911d"), dir.path().join("new")).expect("a copy");
    std::fs::rename(dir.path().join("new"), &program).expect("replaced");
    let config = load.world.gateway.config_file();
    std::fs::write(&config, "[node]\nnme = 1\n").expect("written");
    load.world.gateway.child().signal("USR2");
    until("a bad config", Duration::from_secs(10), || {
        (load.world.gateway.log().matches("does not start").count() == 4).then_some(())
    });
    assert!(load.world.gateway.child().ended().is_none());
    let calls = load.finish();
    assert!(calls.len() > 3 && calls.iter().all(|c| c.invites == 1));
}

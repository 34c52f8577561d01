//! A real Kamailio as the PBX of `tests/peers/kamailio/pbx.cfg`, or as the trunk of `trunk.cfg`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::child::{self, Child};
use super::clock::until;
use super::net::{Transport, wait_until_bound};

/// The running PBX or trunk.
pub struct Kamailio {
    child: Child,
    at: SocketAddr,
    dir: tempfile::TempDir,
}

impl Kamailio {
    /// Starts it at `at` with the gateway at `gateway`; its queue's announcement is at `queue`.
    pub fn start(at: SocketAddr, gateway: SocketAddr, queue: SocketAddr) -> Self {
        let words = [
            format!("PBX={}", at.ip()),
            format!("PBX_NAME=\"{}\"", at.ip()),
            format!("GATEWAY=\"{}\"", gateway.ip()),
            format!("GATEWAY_PORT=\"{}\"", gateway.port()),
            format!("QUEUE=\"{queue}\""),
        ];
        Self::with_config("pbx.cfg", at, &words)
    }

    /// Starts a trunk at `at` that challenges everybody; calls that it believes go to `callee`.
    pub fn trunk(at: SocketAddr, callee: SocketAddr) -> Self {
        Self::with_config("trunk.cfg", at, &[format!("TRUNK={}", at.ip()), format!("CALLEE=\"sip:{callee}\"")])
    }

    fn with_config(name: &str, at: SocketAddr, words: &[String]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers/kamailio").join(name);
        let mut command = Command::new(child::find("kamailio").expect("kamailio"));
        command.current_dir(dir.path()).arg("-f").arg(config).args(["-DD", "-E", "-m", "32", "-M", "4"]);
        command.arg("-Y").arg(dir.path());
        for word in words {
            command.arg("-A").arg(word);
        }
        command.arg("-A").arg(format!("CONTROL=\"unix:{}/ctl\"", dir.path().display()));
        let kamailio = Self { child: Child::start("kamailio", command), at, dir };
        wait_until_bound(Transport::Udp, at);
        until("Kamailio's control socket", Duration::from_secs(10), || kamailio.ask(&["core.uptime"]));
        kamailio
    }

    /// Where it is.
    pub fn at(&self) -> SocketAddr {
        self.at
    }

    /// Waits until a phone has registered.
    pub fn until_registered(&self, user: &str) {
        until(&format!("{user} registers"), Duration::from_secs(15), || self.ask(&["ul.lookup", "location", user]));
    }

    /// Switches `dnd`, `queue` or `forward` on for a user.
    pub fn switch_on(&self, user: &str, feature: &str, value: &str) {
        self.tell(&["htable.sets", "feature", &format!("{user}::{feature}"), &format!("s:{value}")]);
    }

    /// Switches it off.
    pub fn switch_off(&self, user: &str, feature: &str) {
        self.tell(&["htable.delete", "feature", &format!("{user}::{feature}")]);
    }

    /// Makes an outside number ring a user.
    pub fn number(&self, number: &str, user: &str) {
        self.tell(&["htable.sets", "number", &format!("s:{number}"), user]);
    }

    fn tell(&self, words: &[&str]) {
        assert!(self.ask(words).is_some(), "kamcmd {words:?}");
    }

    fn ask(&self, words: &[&str]) -> Option<String> {
        let mut command = Command::new(child::find("kamcmd").expect("kamcmd"));
        let run = command.arg("-s").arg(format!("unix:{}/ctl", self.dir.path().display())).args(words).output().unwrap();
        let said = String::from_utf8_lossy(&run.stdout).into_owned();
        (run.status.success() && !said.starts_with("error")).then_some(said)
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        // SIGTERM lets the main process take its workers along.
        self.child.terminate(Duration::from_secs(5));
    }
}

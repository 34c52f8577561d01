//! A real Kamailio as in `tests/peers/kamailio`: a PBX, a trunk that challenges, a carrier's proxy, a
//! presence server, neighbours that speak TLS.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::child::{self, Child};
use super::clock::until;
use super::net::{Transport, wait_until_bound};
use super::tls::Issued;

/// The control socket of a packaged Kamailio.
const CONTROL: &str = "unix:/run/kamailio/kamailio_ctl";

/// The running Kamailio.
pub struct Kamailio {
    child: Child,
    at: SocketAddr,
    dir: tempfile::TempDir,
}

/// Whether Kamailio and one of its modules are installed; as [`child::is_installed`].
pub fn has_module(module: &str, package: &str) -> bool {
    if !child::is_installed("kamailio", "kamailio") {
        return false;
    }
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files = folders.map(|folder| folder.join("kamailio/modules").join(module));
    if files.any(|file| file.is_file()) {
        return true;
    }
    let why = format!("Kamailio's {module} is not installed (apt-get install {package})");
    assert!(std::env::var_os("E911D_REQUIRE_PEERS").is_none_or(|v| v != "1"), "{why}");
    child::skipped(&why);
    false
}

impl Kamailio {
    /// The PBX, with the gateway at `gateway`; its queue's announcement is at `queue`.
    pub fn start(at: SocketAddr, gateway: SocketAddr, queue: SocketAddr) -> Self {
        let mut definitions = of_gateway(gateway);
        definitions.push(format!("PBX={}", at.ip()));
        definitions.push(text("PBX_NAME", at.ip()));
        definitions.push(text("QUEUE", queue));
        Self::run("pbx.cfg", at, &definitions)
    }

    /// A trunk that challenges everybody; calls that it believes go to `callee`.
    pub fn trunk(at: SocketAddr, callee: SocketAddr) -> Self {
        Self::run("trunk.cfg", at, &[format!("TRUNK={}", at.ip()), text("CALLEE", format!("sip:{callee}"))])
    }

    /// A trunk that takes calls for whoever has registered, for so many seconds at most: calls of `caller` go to the
    /// binding, the others to `callee`.
    pub fn registrar(at: SocketAddr, caller: SocketAddr, callee: SocketAddr, longest: u32) -> Self {
        let mut definitions = vec![format!("TRUNK={}", at.ip()), format!("LONGEST={longest}")];
        definitions.extend([text("CALLER", caller.ip()), text("CALLEE", format!("sip:{callee}"))]);
        Self::run("registrar.cfg", at, &definitions)
    }

    /// A carrier's proxy in front of these PSAPs: one, or two that ring together.
    pub fn carrier(at: SocketAddr, gateway: SocketAddr, psaps: &[SocketAddr]) -> Self {
        let mut definitions = of_gateway(gateway);
        definitions.push(format!("TRUNK={}", at.ip()));
        definitions.push(text("PSAP", psaps[0]));
        if let Some(second) = psaps.get(1) {
            definitions.push(text("SECOND_PSAP", format!("sip:911@{second}")));
        }
        Self::run("carrier.cfg", at, &definitions)
    }

    /// A presence server, which knows nothing yet.
    pub fn presence(at: SocketAddr) -> Self {
        Self::run("presence.cfg", at, &[format!("PRESENCE={}", at.ip())])
    }

    /// A neighbour that speaks TLS, at port 5061, with the gateway at `gateway`, and UDP with whoever is `behind` it.
    pub fn tls(at: SocketAddr, gateway: SocketAddr, behind: SocketAddr, own: &Issued, roots: &Path) -> Self {
        let mut definitions = of_gateway(gateway);
        definitions.push(format!("OWN={}", at.ip()));
        definitions.push(text("BEHIND", format!("sip:{behind}")));
        for (name, file) in [("KEY", own.key.as_path()), ("CERTIFICATE", &own.certificate), ("ROOTS", roots)] {
            definitions.push(text(name, file.display()));
        }
        Self::run("tls.cfg", at, &definitions)
    }

    /// The same; who publishes must show that it is `gw-user` with this password.
    pub fn presence_with_password(at: SocketAddr, password: &str) -> Self {
        Self::run("presence.cfg", at, &[format!("PRESENCE={}", at.ip()), text("PASSWORD", password)])
    }

    /// The PBX, which is its users' presence server as well: that they are registered, and what they do, it publishes itself.
    pub fn with_presence(at: SocketAddr, gateway: SocketAddr) -> Self {
        let mut definitions = of_gateway(gateway);
        definitions.extend([format!("PBX={}", at.ip()), text("PBX_NAME", at.ip()), text("QUEUE", at)]);
        definitions.push(text("PUBLISHES", format!("sip:{at}")));
        Self::run("pbx.cfg", at, &definitions)
    }

    /// Publications for a user that are there: their documents.
    pub fn publications(&self, user: &str) -> Vec<String> {
        let list = self.ask(&["presence.presentity_list", "full"]).unwrap_or_default();
        let of_user = |entry: &&str| entry.contains(&format!("user: {user}\n")) && entry.contains("event: presence\n");
        list.split("\n}\n").filter(of_user).map(str::to_owned).collect()
    }

    /// One whose whole configuration is this text; its control socket is moved to where the others have theirs.
    pub fn from_text(text: &str, at: SocketAddr) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("kamailio.cfg");
        let control = format!("unix:{}/ctl", dir.path().display());
        assert!(text.contains(CONTROL), "no control socket in:\n{text}");
        std::fs::write(&config, text.replace(CONTROL, &control)).unwrap();
        Self::start_in(dir, &config, at, &[])
    }

    fn run(config: &str, at: SocketAddr, definitions: &[String]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tables = dir.path().join("tables");
        std::fs::create_dir(&tables).unwrap();
        for table in std::fs::read_dir("/usr/share/kamailio/dbtext/kamailio").into_iter().flatten().flatten() {
            std::fs::copy(table.path(), tables.join(table.file_name())).unwrap();
        }
        let config = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers/kamailio").join(config);
        let mut definitions = definitions.to_vec();
        definitions.push(text("CONTROL", format!("unix:{}/ctl", dir.path().display())));
        definitions.push(text("TABLES", format!("text://{}", tables.display())));
        Self::start_in(dir, &config, at, &definitions)
    }

    fn start_in(dir: tempfile::TempDir, config: &Path, at: SocketAddr, definitions: &[String]) -> Self {
        let mut command = Command::new(child::find("kamailio").expect("kamailio"));
        command.current_dir(dir.path()).arg("-f").arg(config).args(["-DD", "-E", "-m", "32", "-M", "4"]);
        command.arg("-Y").arg(dir.path());
        for definition in definitions {
            command.arg("-A").arg(definition);
        }
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

    /// What it knows of a user's binding; `None`: it has none.
    pub fn binding(&self, user: &str) -> Option<String> {
        self.ask(&["ul.lookup", "location", user])
    }

    /// Makes it refuse to register anybody, or take them again.
    pub fn refuse(&self, refuses: bool) {
        self.tell(&["htable.seti", "feature", "refuses", if refuses { "1" } else { "0" }]);
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

    /// Makes it swallow whatever comes, or take it again.
    pub fn hang(&self, hangs: bool) {
        self.tell(&["htable.seti", "feature", "hangs", if hangs { "1" } else { "0" }]);
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

fn text(name: &str, value: impl std::fmt::Display) -> String {
    format!("{name}=\"{value}\"")
}

fn of_gateway(gateway: SocketAddr) -> Vec<String> {
    vec![text("GATEWAY", gateway.ip()), text("GATEWAY_PORT", gateway.port())]
}

//! Chromium, driven by Playwright under Node: it does what `tests/peers/chromium` says, a step at a time.

use std::io::Write;
use std::path::PathBuf;
use std::process::{ChildStdin, Command};
use std::time::Duration;

use super::child::{self, Child};
use super::clock::until;

/// How long a step may take: some look at a page in four sizes.
const PATIENCE: Duration = Duration::from_secs(150);

/// A browser before one page. Its screenshots are in `target/screenshots`.
pub struct Chromium {
    child: Child,
    stdin: ChildStdin,
    told: usize,
}

impl Chromium {
    /// Starts one with these steps and this address. `None`, said loudly, where Chromium, Node or `web/node_modules` is
    /// not there; the latter come from a registry, so nobody need have them.
    pub fn at(script: &str, url: &str) -> Option<Self> {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        if !child::is_installed("chromium", "chromium") || !has_modules() {
            return None;
        }
        let shots = root.join("target/screenshots");
        std::fs::create_dir_all(&shots).unwrap();
        let mut command = Command::new("node");
        command.arg(root.join("tests/peers/chromium").join(script)).arg(url).env("E911D_SHOTS", shots);
        command.env("CHROMIUM", child::find("chromium").unwrap_or_default());
        let (child, stdin) = Child::start_talking("chromium", command);
        until("the browser", PATIENCE, || child.output().contains("ready\n").then_some(()));
        Some(Self { child, stdin, told: 0 })
    }

    /// Has it do a step, and waits until it is done.
    #[track_caller]
    pub fn does(&mut self, step: &str, with: serde_json::Value) {
        writeln!(self.stdin, "{}", serde_json::json!({ "do": step, "with": with })).unwrap();
        self.told += 1;
        let said = until(&format!("the browser's {step}"), PATIENCE, || {
            let output = self.child.output();
            let (whole, _) = output.rsplit_once('\n').unwrap_or_default();
            let mut ends = whole.lines().filter(|l| l.starts_with("done ") || l.starts_with("failed "));
            ends.nth(self.told - 1).map(str::to_owned)
        });
        assert_eq!(said, format!("done {step}"), "\n{}", self.child.output());
    }
}

impl Chromium {
    /// Has it do a step that gives a text.
    #[track_caller]
    pub fn gives(&mut self, step: &str, with: serde_json::Value) -> String {
        self.does(step, with);
        let output = self.child.output();
        let last = output.lines().rfind(|l| l.starts_with("said ")).unwrap_or_default();
        serde_json::from_str(last.trim_start_matches("said ")).unwrap()
    }
}

/// Whether what the pages are built and looked at with is installed. Says what is skipped where not.
pub fn has_modules() -> bool {
    let modules = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("web/node_modules");
    let there = child::find("node").is_some() && modules.join(".package-lock.json").is_file();
    if !there {
        child::skipped("the tools of web/ are not installed (npm ci --prefix web)");
    }
    there
}

//! The Debian package, in a folder of its own instead of a system: installed, upgraded, removed, purged.
//!
//! Long, for it builds the package; needs cargo-deb, dpkg and root.

mod common;

use std::ffi::OsString;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::child::{find, skipped};

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    said
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a readable folder").flatten() {
        if entry.file_type().expect("a type").is_dir() { files(&entry.path(), found) } else { found.push(entry.path()) }
    }
}

/// Builds it and says where it is.
fn built(output: &Path) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/deb");
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    let said = run(&script.to_string_lossy(), &["--profile", profile, "--output", &output.to_string_lossy()]);
    PathBuf::from(said.lines().last().expect("its path"))
}

/// A folder that dpkg takes for a system.
struct System(tempfile::TempDir);

impl System {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a folder");
        for folder in ["etc", "var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers"] {
            std::fs::create_dir_all(root.path().join(folder)).expect("made");
        }
        for file in ["status", "available"] {
            std::fs::write(root.path().join("var/lib/dpkg").join(file), "").expect("written");
        }
        Self(root)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn dpkg(&self, arguments: &[&str]) -> String {
        let root = format!("--root={}", self.0.path().display());
        run("dpkg", &[&[root.as_str(), "--force-depends", "--force-script-chrootless", "--force-confold"], arguments].concat())
    }

    fn systemd(&self, program: &str, arguments: &[&str]) {
        let root = format!("--root={}", self.0.path().display());
        run(program, &[&[root.as_str()], arguments].concat());
    }
}

#[test]
#[ignore = "builds a package"]
fn it_installs_upgrades_and_purges_cleanly() {
    for (program, from) in [("cargo-deb", "cargo install cargo-deb"), ("dpkg", "Debian"), ("systemd-sysusers", "systemd")] {
        if find(program).is_none() {
            return skipped(&format!("{program} is not installed ({from})"));
        }
    }
    if std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() != 0) {
        return skipped("dpkg needs root");
    }
    let (out, system) = (tempfile::tempdir().expect("a folder"), System::new());
    let package = built(out.path());
    let package = package.to_string_lossy();

    system.dpkg(&["--install", &package]);
    let users = std::fs::read_to_string(system.at("etc/passwd")).expect("users");
    assert!(users.lines().any(|l| l.starts_with("e911d:")), "{users}");
    let mode =
        |path: &str| std::fs::metadata(system.at(path)).unwrap_or_else(|e| panic!("{path}: {e}")).permissions().mode() & 0o777;
    assert_eq!((mode("etc/e911d"), mode("etc/e911d/e911d.toml"), mode("var/lib/e911d")), (0o750, 0o640, 0o750));
    for path in [
        "usr/share/man/man1/e911d.1.gz",
        "usr/share/bash-completion/completions/e911d",
        "usr/share/zsh/vendor-completions/_e911d",
        "usr/share/fish/vendor_completions.d/e911d.fish",
        "usr/share/doc/e911d/examples/e911d.json",
        "usr/share/doc/e911d/examples/kamailio/kamailio.cfg",
        "usr/share/doc/e911d/docs/upgrade.md",
    ] {
        assert!(system.at(path).is_file(), "{path}");
    }
    let unit = std::fs::read_to_string(system.at("usr/lib/systemd/system/e911d.service")).expect("the unit");
    assert!(unit.contains("ExecStart=/usr/bin/e911d run -c /etc/e911d/e911d.toml\n"));
    system.systemd("systemd-analyze", &["security", "--offline=yes", "--threshold=15", "e911d.service"]);
    let program = system.at("usr/bin/e911d").to_string_lossy().into_owned();
    let config = system.at("etc/e911d/e911d.toml");
    run(&program, &["check", "-c", &config.to_string_lossy()]);
    run(&program, &["demo"]);

    // An upgrade leaves what was edited and what is kept.
    let edited = std::fs::read_to_string(&config).expect("a config") + "\n# ours\n";
    std::fs::write(&config, &edited).expect("written");
    std::fs::write(system.at("var/lib/e911d/e911d.db"), "leases").expect("written");
    system.dpkg(&["--install", &package]);
    assert_eq!(std::fs::read_to_string(&config).expect("a config"), edited);
    assert!(system.at("var/lib/e911d/e911d.db").is_file());

    system.dpkg(&["--remove", "e911d"]);
    assert!(!system.at("usr/bin/e911d").exists() && config.is_file() && system.at("var/lib/e911d/e911d.db").is_file());
    system.dpkg(&["--purge", "e911d"]);
    let mut left = Vec::new();
    files(system.0.path(), &mut left);
    left.retain(|f| !f.starts_with(system.at("var/lib/dpkg")));
    let others =
        ["passwd", "group", "shadow", "gshadow", "passwd-", "group-", "shadow-", "gshadow-", ".pwd.lock"].map(OsString::from);
    left.retain(|f| !(f.parent() == Some(&system.at("etc")) && f.file_name().is_some_and(|n| others.iter().any(|o| o == n))));
    assert!(left.is_empty(), "{left:?}");
    assert!(!system.at("etc/e911d").exists() && !system.at("var/lib/e911d").exists());
}

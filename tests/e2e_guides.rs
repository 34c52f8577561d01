//! Every command of the guides works: the blocks marked `sh` in `docs/` are run in order, against a daemon of their own.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::child::Child;
use common::{Transport, World, require};

/// The blocks marked `sh`.
fn commands(guide: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = guide.lines();
    while lines.by_ref().any(|l| l.trim() == "```sh") {
        blocks.push(lines.by_ref().take_while(|l| l.trim() != "```").collect::<Vec<_>>().join("\n"));
    }
    blocks
}

/// Programs that stand for those of a real system: they do to our daemon what the real ones do to the service.
fn write_programs(bin: &Path) {
    let scripts = [
        // The config is elsewhere.
        ("e911d", "case \"$1\" in demo|completions|man|-*) exec \"$REAL\" \"$@\" ;; esac\nexec \"$REAL\" \"$@\" -c \"$CONFIG\""),
        (
            "systemctl",
            "case \"$*\" in\n'enable --now e911d') ;;\n'reload e911d') kill -HUP \"$DAEMON\" ;;\n\
             'restart e911d') : > restarted ;;\n\
             'kill --kill-whom=main --signal=SIGUSR2 e911d') kill -USR2 \"$DAEMON\"\n\
             for _ in $(seq 200); do kill -0 \"$DAEMON\" 2>/dev/null || exit 0; \
             grep -q ' Z ' /proc/$DAEMON/stat 2>/dev/null && exit 0; sleep 0.05; done; echo 'no hand-over' >&2; exit 1 ;;\n\
             *) echo \"unknown: systemctl $*\" >&2; exit 2 ;;\nesac",
        ),
        ("journalctl", "[ \"$1 $2\" = '-u e911d' ]"),
        ("apt-get", "[ \"$*\" = 'install --only-upgrade e911d' ]"),
    ];
    for (name, script) in scripts {
        let program = bin.join(name);
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("written");
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("executable");
    }
}

fn guide(name: &str) {
    require!("curl" from "curl");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    let blocks = commands(&std::fs::read_to_string(&file).expect("a guide"));
    assert!(!blocks.is_empty(), "{name} has no commands");
    let mut world = World::new(Transport::Udp);
    let http = world.gateway.http().expect("http").to_string();
    let dir = tempfile::tempdir().expect("a folder");
    write_programs(dir.path());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(dir.path().to_owned()).chain(std::env::split_paths(&path));
    let path = std::env::join_paths(paths.collect::<Vec<PathBuf>>()).expect("a path");
    for block in blocks {
        let mut shell = Command::new("bash");
        shell.args(["-euo", "pipefail", "-c", &block.replace("127.0.0.1:8911", &http)]).current_dir(dir.path());
        shell.env("PATH", &path).env("REAL", env!("CARGO_BIN_EXE_e911d")).env("CONFIG", world.gateway.config_file());
        shell.env("DAEMON", world.gateway.child().id().to_string()).stdin(Stdio::null());
        let mut shell = Child::start("bash", shell);
        let status = shell.wait(Duration::from_secs(120));
        assert!(status.is_some_and(|s| s.success()), "{name}: {status:?}\n{block}\n{}", shell.output());
    }
    // Whoever has taken over is nobody's child.
    for successor in world.gateway.log().split("process=").skip(1).filter_map(|t| t.split(' ').next()) {
        let _ = Command::new("kill").args(["-KILL", successor]).status();
    }
}

macro_rules! guides {
    ($($test:ident $file:literal),+ $(,)?) => {
        $(#[test] fn $test() { guide($file); })+

        #[test]
        fn every_guide_is_run_and_linked_in_the_readme() {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            let readme = std::fs::read_to_string(root.join("README.md")).expect("a README");
            for entry in std::fs::read_dir(root.join("docs")).expect("docs").flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                assert!([$($file),+].contains(&name.as_str()), "{name} is not run");
                assert!(readme.contains(&format!("(docs/{name})")), "{name} is not linked");
            }
        }
    };
}

guides!(
    the_first_hour_can_be_lived "first-hour.md",
    in_front_of_a_pbx "in-front-of-a-pbx.md",
    behind_a_carrier "behind-a-carrier.md",
    the_day_it_rings "the-day-it-rings.md",
    upgrade "upgrade.md",
    what_is_not_done "what-is-not-done.md",
);

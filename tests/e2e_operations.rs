//! What operators install beside the program: the unit, the dashboard, the alert rules.

mod common;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::child::{find, is_installed, skipped};
use common::{Transport, World, until};
use serde_json::Value;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(file(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Its output, if it is there; fails where it fails.
fn run(program: &str, package: &str, arguments: &[&std::ffi::OsStr]) -> Option<String> {
    if !is_installed(program, package) {
        return None;
    }
    let output = Command::new(find(program)?).args(arguments).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {said}");
    Some(said)
}

/// A folder like a system's, with the unit and an executable program in it.
fn system() -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a folder");
    for (from, to) in [
        ("systemd/e911d.service", "usr/lib/systemd/system/e911d.service"),
        ("systemd/e911d.sysusers.conf", "usr/lib/sysusers.d/e911d.conf"),
        ("systemd/e911d.tmpfiles.conf", "usr/lib/tmpfiles.d/e911d.conf"),
    ] {
        let to = root.path().join(to);
        std::fs::create_dir_all(to.parent().expect("a folder")).expect("made");
        std::fs::copy(file(from), to).expect("copied");
    }
    for program in ["usr/bin/e911d", "bin/kill"] {
        let to = root.path().join(program);
        std::fs::create_dir_all(to.parent().expect("a folder")).expect("made");
        std::fs::copy(env!("CARGO_BIN_EXE_e911d"), to).expect("copied");
    }
    for target in ["network-online.target", "multi-user.target", "sysinit.target", "basic.target", "shutdown.target"] {
        let to = root.path().join("usr/lib/systemd/system").join(target);
        std::fs::write(to, "[Unit]\nDescription=as in a real system\n").expect("written");
    }
    std::fs::create_dir_all(root.path().join("etc")).expect("made");
    root
}

#[test]
fn the_unit_is_a_good_one_and_stays_shut_in() {
    let root = system();
    let at = format!("--root={}", root.path().display());
    let words = |words: &[&str]| words.iter().map(std::ffi::OsString::from).collect::<Vec<_>>();
    let analyze = |arguments: &[&str]| {
        let arguments = words(arguments);
        run("systemd-analyze", "systemd", &arguments.iter().map(AsRef::as_ref).collect::<Vec<_>>())
    };
    let Some(said) = analyze(&["verify", "--man=no", "--recursive-errors=no", &at, "e911d.service"]) else { return };
    let about_us: Vec<_> = said.lines().filter(|l| l.contains("e911d.service")).collect();
    assert!(about_us.is_empty(), "{about_us:?}");
    // Tenths: 0 is shut in, 100 is wide open. It was 12 when this was written.
    analyze(&["security", "--offline=yes", "--threshold=15", &at, "e911d.service"]);
}

#[test]
fn the_user_and_the_folders_can_be_made() {
    let root = system();
    let at = std::ffi::OsString::from(format!("--root={}", root.path().display()));
    if run("systemd-sysusers", "systemd", &[&at, "e911d.conf".as_ref()]).is_none() {
        return;
    }
    let users = std::fs::read_to_string(root.path().join("etc/passwd")).expect("users");
    assert!(users.lines().any(|l| l.starts_with("e911d:") && l.ends_with(":/var/lib/e911d:/usr/sbin/nologin")), "{users}");
    if std::fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) != 0) {
        return skipped("folders of other users: needs root");
    }
    run("systemd-tmpfiles", "systemd", &[&at, "--create".as_ref(), "e911d.conf".as_ref()]);
    let mode = |path: &str| {
        let folder = std::fs::metadata(root.path().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
        std::os::unix::fs::PermissionsExt::mode(&folder.permissions()) & 0o7777
    };
    assert_eq!((mode("etc/e911d"), mode("var/lib/e911d")), (0o750, 0o750));
}

/// The names that begin with `e911d_` in a text.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.split(|c| !is_part(c)).filter(|w| w.starts_with("e911d_")).map(str::to_owned).collect()
}

fn expressions(dashboard: &Value) -> Vec<&str> {
    let panels = dashboard["panels"].as_array().expect("panels");
    panels.iter().flat_map(|p| p["targets"].as_array().expect("targets")).map(|t| t["expr"].as_str().expect("expr")).collect()
}

fn get(world: &World, path: &str) -> String {
    let mut stream = TcpStream::connect(world.gateway.http().expect("http")).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", stream.peer_addr().expect("an address"))
        .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn every_metric_of_the_dashboard_and_the_rules_exists_and_every_alarm_has_a_rule() {
    let side = text("src/daemon/side.rs");
    let described: BTreeSet<_> = side.lines().filter(|l| l.contains("describe_")).flat_map(metrics_in).collect();
    assert!(described.len() > 8, "{described:?}");
    let dashboard: Value = serde_json::from_str(&text("conf/grafana/e911d.json")).expect("JSON");
    let rules = text("conf/prometheus/e911d.rules.yml");
    let rules: Vec<_> = rules.lines().filter(|l| !l.trim_start().starts_with('#')).collect();
    let shown = metrics_in(&expressions(&dashboard).join("\n"));
    let watched = metrics_in(&rules.join("\n"));
    for (what, names) in [("the dashboard", &shown), ("the rules", &watched)] {
        let unknown: Vec<_> = names.difference(&described).collect();
        assert!(unknown.is_empty(), "{what}: {unknown:?}");
    }
    assert_eq!(described.difference(&shown).collect::<Vec<_>>(), Vec::<&String>::new(), "shown nowhere");

    let world = World::new(Transport::Udp);
    let has = ["e911d_pool_numbers", "e911d_calls"];
    let metrics = until("the first census", Duration::from_secs(10), || {
        let metrics = get(&world, "/metrics");
        has.iter().all(|name| metrics.contains(name)).then_some(metrics)
    });
    let counters = ["e911d_emergency_calls_total", "e911d_callbacks_total", "e911d_notices_total"];
    for name in shown.iter().filter(|n| !counters.contains(&n.as_str())) {
        assert!(metrics.lines().any(|l| l.starts_with(name.as_str())), "{name} is not in /metrics");
    }
    for label in
        ["kind=\"emergency\"", "kind=\"ordinary\"", "state=\"free\"", "state=\"leased\"", "why=\"dropped\"", "why=\"overload\""]
    {
        assert!(metrics.contains(label), "{label}");
    }
    let alarms: BTreeSet<_> =
        metrics.lines().filter_map(|l| l.strip_prefix("e911d_alarm{name=\"")?.split('"').next().map(str::to_owned)).collect();
    assert!(alarms.len() >= 11, "{alarms:?}");
    for alarm in &alarms {
        let expression = format!("expr: e911d_alarm{{name=\"{alarm}\"}} == 1");
        assert!(rules.iter().any(|l| l.trim() == expression), "{alarm} has no rule");
        assert!(rules.iter().any(|l| l.contains("name!~") && l.contains(alarm.as_str())), "{alarm} counts as unknown");
    }
}

#[test]
fn promtool_takes_the_rules() {
    let rules = file("conf/prometheus/e911d.rules.yml");
    run("promtool", "prometheus", &["check".as_ref(), "rules".as_ref(), rules.as_os_str()]);
}

#[test]
fn under_journald_a_line_has_its_priority_and_no_time() {
    let mut world = World::with(Transport::Udp, |_, mut config| {
        config.env.push(("JOURNAL_STREAM", "8:1".to_owned()));
        config
    });
    std::fs::write(world.gateway.config_file(), "[node]\nnme = 1\n").expect("written");
    world.gateway.child().signal("HUP");
    let log = until("the refusal", Duration::from_secs(10), || {
        let log = world.gateway.log();
        log.contains("alarm=\"config_rejected\" state=\"raised\"").then_some(log)
    });
    let has = |start: &str, part: &str| log.lines().any(|l| l.starts_with(start) && l.contains(part));
    assert!(has("<3>ERROR", "config rejected") && has("<4> WARN", "alarm=\"config_rejected\""), "{log}");
    assert!(log.lines().any(|l| l.starts_with("ready ")), "as it is at any level");
}

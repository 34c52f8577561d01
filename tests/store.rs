//! The store on disks that fail: killed in mid-commit, cut from power, full, read-only.
//!
//! The writer is this test binary itself, run as a child: it says on stdout which rows were acknowledged.

mod traced;

use e911d::emergency::facts::CallId;
use e911d::io::store::{Opened, sqlite};
use e911d::words::{Row, Table};
use std::future::poll_fn;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

fn open(dir: &Path) -> (Opened, Arc<Mutex<Vec<bool>>>) {
    let alarms = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&alarms);
    let store_failed = Box::new(move |failed| told.lock().expect("no panic").push(failed));
    (sqlite::open(dir, "boot", SOON, store_failed).expect("nobody else has it"), alarms)
}

/// The leases of a state directory that nobody uses.
fn rows(dir: &Path) -> Vec<u64> {
    let (opened, _) = open(dir);
    let rows = opened.saved.rows(Table::Lease).map(|(key, value)| {
        assert_eq!(value, content(key.parse().expect("a number")));
        key.parse().expect("a number")
    });
    let rows = rows.collect();
    assert!(opened.keeper.close(SOON));
    rows
}

fn content(n: u64) -> Vec<u8> {
    n.to_le_bytes().repeat(75)
}

/// Writes rows until it is killed, at most this many.
fn write(dir: &Path, most: u64) {
    let (mut opened, _) = open(dir);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let out = std::io::stdout();
    for first in (1..=most).step_by(3) {
        for n in first..first + 3 {
            opened.store.commit(CallId(n), Row::keep(Table::Lease, format!("{n:06}"), content(n)));
        }
        for _ in 0..3 {
            let CallId(n) = runtime.block_on(poll_fn(|cx| opened.store.poll_written(cx)));
            writeln!(out.lock(), "written {n}.").expect("somebody listens");
        }
    }
    opened.keeper.close(SOON);
}

#[test]
#[ignore = "the child of other tests"]
fn writer() {
    let Ok(dir) = std::env::var("STORE_DIR") else { return };
    write(Path::new(&dir), std::env::var("STORE_ROWS").map_or(u64::MAX / 2, |n| n.parse().expect("a number")));
}

/// This binary as a writer; before it, the program that runs it.
fn child(dir: &Path, rows: u64, by: &[&str]) -> Child {
    let me = std::env::current_exe().expect("it runs");
    let words: Vec<_> = by.iter().map(|w| w.to_string()).chain([me.display().to_string()]).collect();
    Command::new(&words[0])
        .args(&words[1..])
        .args(["--ignored", "--exact", "writer", "--nocapture", "--test-threads=1"])
        .envs([("STORE_DIR", dir.display().to_string()), ("STORE_ROWS", rows.to_string())])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts")
}

/// Whether this user may run it here.
fn works(program: &str, args: &[&str]) -> bool {
    let works = Command::new(program).args(args).output().is_ok_and(|o| o.status.success());
    if !works {
        eprintln!("skipped: {program} does not work here");
    }
    works
}

fn written(line: &str) -> Option<u64> {
    line.split("written ").nth(1)?.split('.').next()?.parse().ok()
}

#[test]
fn b1_a_kill_in_mid_commit_loses_no_acknowledged_row() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut highest = 0;
    for round in 1..=20 {
        let mut child = child(dir.path(), 1_000_000, &[]);
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut seen = 0;
        for n in lines.by_ref().map_while(Result::ok).filter_map(|line| written(&line)) {
            seen = n;
            if n >= round * 37 {
                break;
            }
        }
        // A varying part of the next commits.
        std::thread::sleep(Duration::from_micros(round * 170));
        child.kill().expect("killed");
        child.wait().expect("it is gone");
        highest = highest.max(seen);
        let there = rows(dir.path());
        assert!((1..=highest).all(|n| there.binary_search(&n).is_ok()), "round {round}: one of {highest} is lost");
    }
}

#[test]
fn b1_a_power_cut_at_any_moment_loses_no_acknowledged_row() {
    if !works("strace", &["-o", "/dev/null", "true"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("strace");
    let state = dir.path().join("state");
    std::fs::create_dir(&state).expect("made");
    let traced = "trace=openat,close,lseek,write,pwrite64,ftruncate,fsync,fdatasync,unlink";
    let log_name = log.display().to_string();
    let mut child = child(&state, 300, &["strace", "-f", "-xx", "-s", "70000", "-e", traced, "-o", &log_name]);
    let lines: Vec<_> = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok).collect();
    assert!(child.wait().expect("it ends").success() && lines.iter().filter_map(|l| written(l)).count() == 300);
    let events = traced::read(&std::fs::read_to_string(&log).expect("a trace"), &state);
    let syncs = events.iter().filter(|e| matches!(e, traced::Event::Sync(_))).count();
    assert!(syncs > 100, "{syncs}");
    let mut acknowledged = 0;
    let mut random = traced::Random(7);
    for cut in 0..120 {
        let at = (cut + 1) * events.len() / 120;
        let after = tempfile::tempdir().expect("a directory");
        let told = traced::cut(&events[..at], after.path(), &mut random);
        let there = rows(after.path());
        assert!(told.iter().all(|n| there.binary_search(n).is_ok()), "cut at {at}: an acknowledged row is lost");
        acknowledged = acknowledged.max(told.len());
    }
    assert_eq!(acknowledged, 300);
}

/// Runs the ignored test of this name in a mount namespace of its own, with a small file system at `STORE_DIR`.
fn in_own_mounts(name: &str) {
    if !works("unshare", &["-rm", "true"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let me = std::env::current_exe().expect("it runs");
    let script = format!(
        "set -e; mount -t tmpfs -o size=600k none \"$STORE_DIR\"; exec '{}' --ignored --exact {name} --nocapture",
        me.display()
    );
    let output =
        Command::new("unshare").args(["-rm", "sh", "-c", &script]).env("STORE_DIR", dir.path()).output().expect("it runs");
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
}

fn until(what: impl Fn() -> bool) -> bool {
    (0..400).any(|_| {
        std::thread::sleep(Duration::from_millis(25));
        what()
    })
}

#[test]
fn b3_a_full_disk_damages_nothing_and_gets_the_rest_once_there_is_room() {
    in_own_mounts("full");
}

#[test]
#[ignore = "the child of another test"]
fn full() {
    let Ok(dir) = std::env::var("STORE_DIR") else { return };
    let dir = Path::new(&dir);
    let (opened, alarms) = open(dir);
    let keep = |n: u64| opened.keeper.keep(Row::keep(Table::Lease, format!("{n:06}"), content(n)));
    (1..=20).for_each(keep);
    assert!(opened.keeper.flush(SOON));
    std::fs::write(dir.join("ballast"), vec![0; 600 << 10]).expect_err("more than there is room for");
    (21..=60).for_each(keep);
    assert!(until(|| alarms.lock().expect("no panic").last() == Some(&true)), "no alarm");
    // What is on the disk now is whole.
    let copy = tempfile::tempdir_in("/tmp").expect("a directory");
    for name in ["e911d.db", "e911d.db-wal"] {
        std::fs::copy(dir.join(name), copy.path().join(name)).expect("copied");
    }
    assert!((1..=20).all(|n| rows(copy.path()).contains(&n)));
    std::fs::remove_file(dir.join("ballast")).expect("removed");
    assert!(opened.keeper.flush(SOON));
    assert!(until(|| alarms.lock().expect("no panic").last() == Some(&false)), "the alarm stands");
    assert!(opened.keeper.close(SOON));
    assert_eq!(rows(dir), (1..=60).collect::<Vec<_>>());
}

#[test]
fn b3_a_read_only_state_directory_is_read_and_takes_rows_once_it_can_be_written() {
    in_own_mounts("read_only");
}

#[test]
#[ignore = "the child of another test"]
fn read_only() {
    let Ok(name) = std::env::var("STORE_DIR") else { return };
    let dir = Path::new(&name);
    let remount = |how: &str| Command::new("mount").args(["-o", how, &name]).status().expect("it runs").success();
    // A killed writer's files, its log included.
    let mut child = child(dir, 30, &[]);
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    lines.by_ref().map_while(Result::ok).find(|line| written(line) == Some(9)).expect("it writes");
    child.kill().expect("killed");
    child.wait().expect("it is gone");
    assert!(remount("remount,ro"));
    let (opened, alarms) = open(dir);
    let held = opened.saved.rows(Table::Lease).count();
    assert!(held >= 9, "{held}");
    assert!(until(|| alarms.lock().expect("no panic").last() == Some(&true)), "no alarm");
    opened.keeper.keep(Row::keep(Table::Lease, "000099", content(99)));
    assert!(!opened.keeper.flush(Duration::from_millis(1500)));
    assert!(remount("remount,rw"));
    assert!(opened.keeper.flush(SOON));
    assert!(until(|| alarms.lock().expect("no panic").last() == Some(&false)), "the alarm stands");
    assert!(opened.keeper.close(SOON));
    let there = rows(dir);
    assert!(there.len() == held + 1 && there.contains(&99));
}

/// `cargo test --release --test store -- --ignored --exact measure --nocapture`
#[test]
#[ignore = "measures, asserts nothing"]
fn measure() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let cpu = || {
        let tasks = std::fs::read_dir("/proc/self/task").expect("threads").flatten();
        let of = |p: std::path::PathBuf| std::fs::read_to_string(p).ok()?.split(' ').next()?.parse::<u64>().ok();
        let sum: u64 = tasks.filter_map(|t| of(t.path().join("schedstat"))).sum();
        Duration::from_nanos(sum)
    };
    let (mut opened, _) = open(dir.path());
    let wait = |opened: &mut Opened, n: u64| {
        for _ in 0..n {
            runtime.block_on(poll_fn(|cx| opened.store.poll_written(cx)));
        }
    };
    let mut took: Vec<_> = (0..2000)
        .map(|n| {
            let from = e911d::io::clock::now();
            opened.store.commit(CallId(n), Row::keep(Table::Lease, format!("{n:06}"), content(n)));
            wait(&mut opened, 1);
            e911d::io::clock::now().since(from)
        })
        .collect();
    took.sort();
    println!("one commit: p50 {:?}, p99 {:?}, most {:?}", took[1000], took[1980], took[1999]);
    let (from, before) = (e911d::io::clock::now(), cpu());
    for n in 0..100_000 {
        opened.store.commit(CallId(n), Row::keep(Table::Lease, format!("{n:06}"), content(n)));
    }
    wait(&mut opened, 100_000);
    let (took, used) = (e911d::io::clock::now().since(from), cpu() - before);
    println!("100,000 rows at once: {took:?}, CPU a row {:?}", used / 100_000);
    assert!(opened.keeper.close(SOON));
    let from = e911d::io::clock::now();
    let (opened, _) = open(dir.path());
    println!("opened with {} rows: {:?}", opened.saved.rows(Table::Lease).count(), e911d::io::clock::now().since(from));
}

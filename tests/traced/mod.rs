//! What a process did to its files, from strace's log, and what a power cut would have left of it.

use std::collections::HashMap;
use std::path::Path;

/// One thing that was done.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// File, offset, bytes.
    Write(String, u64, Vec<u8>),
    /// File and length.
    Truncate(String, u64),
    /// Everything before is on the disk.
    Sync(String),
    /// The file is gone.
    Unlink(String),
    /// The process told us that this row is durable.
    Told(u64),
}

/// xorshift64, so that a failure can be repeated.
pub(super) struct Random(pub(super) u64);

impl Random {
    /// A number below `below`.
    pub(super) fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below.max(1) as u64) as usize
    }
}

fn unhex(text: &str) -> Vec<u8> {
    text.split("\\x").skip(1).map(|h| u8::from_str_radix(&h[..2], 16).expect("hex")).collect()
}

/// Joins calls that another thread's line interrupts.
fn whole_lines(log: &str) -> Vec<String> {
    let mut open: HashMap<&str, String> = HashMap::new();
    let mut lines = Vec::new();
    for line in log.lines() {
        let Some((thread, what)) = line.split_once(' ') else { continue };
        let what = what.trim_start();
        if let Some(begun) = what.strip_suffix(" <unfinished ...>") {
            open.insert(thread, begun.to_owned());
        } else if let Some((_, rest)) = what.split_once(" resumed>") {
            lines.push(open.remove(thread).unwrap_or_default() + rest);
        } else {
            lines.push(what.to_owned());
        }
    }
    lines
}

/// The events of files in this directory, in the order in which they ended.
pub(super) fn read(log: &str, dir: &Path) -> Vec<Event> {
    let mut names: HashMap<i32, String> = HashMap::new();
    let mut places: HashMap<i32, u64> = HashMap::new();
    let mut events = Vec::new();
    let name_in = |path: &str| {
        let path = String::from_utf8(unhex(path)).expect("a path");
        Path::new(&path).strip_prefix(dir).ok().map(|p| p.display().to_string())
    };
    for line in whole_lines(log) {
        let Some((call, rest)) = line.split_once('(') else { continue };
        let Some((given, result)) = rest.rsplit_once(") ").or_else(|| rest.rsplit_once(')')) else { continue };
        let Some(result) = result.trim().strip_prefix("= ").and_then(|r| r.split(' ').next()?.parse::<i64>().ok()) else {
            continue;
        };
        if result < 0 {
            continue;
        }
        let quoted = given.split('"').nth(1).unwrap_or_default();
        let fd = given.split(',').next().and_then(|fd| fd.trim().parse().ok()).unwrap_or(-1);
        let name = names.get(&fd).cloned();
        match (call, name) {
            ("openat", _) => {
                places.insert(result as i32, 0);
                match name_in(quoted) {
                    Some(name) => drop(names.insert(result as i32, name)),
                    None => drop(names.remove(&(result as i32))),
                }
            }
            ("close", _) => drop(names.remove(&fd)),
            ("unlink", _) => events.extend(name_in(quoted).map(Event::Unlink)),
            ("lseek", Some(_)) => drop(places.insert(fd, result as u64)),
            ("write", Some(name)) => {
                let at = places.entry(fd).or_default();
                events.push(Event::Write(name, *at, unhex(quoted)));
                *at += result as u64;
            }
            ("pwrite64", Some(name)) => {
                let at = given.rsplit(',').next().and_then(|at| at.trim().parse().ok()).expect("an offset");
                events.push(Event::Write(name, at, unhex(quoted)));
            }
            ("ftruncate", Some(name)) => {
                let length = given.rsplit(',').next().and_then(|n| n.trim().parse().ok()).expect("a length");
                events.push(Event::Truncate(name, length));
            }
            ("fsync" | "fdatasync", Some(name)) => events.push(Event::Sync(name)),
            ("write", None) => {
                let text = String::from_utf8_lossy(&unhex(quoted)).into_owned();
                let told = text.lines().filter_map(super::written);
                events.extend(told.map(Event::Told));
            }
            _ => {}
        }
    }
    events
}

/// Makes the files as a power cut after these events may leave them: what was synced is there, of the rest each write is
/// there, torn, or not. Returns the rows that were told.
pub(super) fn cut(events: &[Event], dir: &Path, random: &mut Random) -> Vec<u64> {
    let last_sync = |name: &str| events.iter().rposition(|e| matches!(e, Event::Sync(n) if n == name)).unwrap_or(0);
    let mut files: HashMap<&str, Vec<u8>> = HashMap::new();
    let mut told = Vec::new();
    for (at, event) in events.iter().enumerate() {
        match event {
            Event::Write(name, offset, bytes) => {
                let kept = match random.below(3) {
                    _ if at < last_sync(name) => bytes.len(),
                    0 => bytes.len(),
                    1 => random.below(bytes.len() + 1) & !511,
                    _ => 0,
                };
                let (file, from) = (files.entry(name).or_default(), *offset as usize);
                if kept > 0 && file.len() < from + kept {
                    file.resize(from + kept, 0);
                }
                if kept > 0 {
                    file[from..from + kept].copy_from_slice(&bytes[..kept]);
                }
            }
            Event::Truncate(name, length) => {
                if at < last_sync(name) || random.below(2) == 0 {
                    files.entry(name).or_default().resize(*length as usize, 0);
                }
            }
            Event::Unlink(name) => drop(files.remove(&**name)),
            Event::Sync(_) => {}
            Event::Told(n) => told.push(*n),
        }
    }
    for (name, bytes) in files {
        std::fs::write(dir.join(name), bytes).expect("written");
    }
    told
}

//! The house stands: each floor imports only lower ones, and the clock enters in one place.
//!
//! Reads the sources as text, so it sees what the compiler allows.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Module, floor, and what it may name of its own floor besides itself.
const FLOORS: &[(&str, u8, &[&str])] = &[
    ("words", 0, &[]),
    ("emergency", 1, &["pool"]),
    ("pool", 1, &[]),
    ("sip", 1, &[]),
    ("bridge", 2, &[]),
    ("io", 3, &[]),
    ("daemon", 4, &[]),
];

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a readable folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn module_of(file: &Path) -> Option<&'static (&'static str, u8, &'static [&'static str])> {
    let first = file.strip_prefix(src()).ok()?.components().next()?.as_os_str().to_str()?.trim_end_matches(".rs").to_owned();
    FLOORS.iter().find(|f| f.0 == first)
}

/// The modules that a line of code names by `crate::`, with nested braces spelled out only one level deep.
fn named(line: &str) -> Vec<String> {
    let code = line.split("//").next().unwrap_or_default();
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let list = rest.strip_prefix('{').map_or(rest, |inner| inner);
        for item in list.split(',') {
            found.push(item.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
            if !rest.starts_with('{') {
                break;
            }
        }
    }
    found
}

fn breaches(file: &Path, text: &str) -> String {
    let Some((module, floor, neighbours)) = module_of(file) else { return String::new() };
    let mut found = String::new();
    for (number, line) in text.lines().enumerate() {
        for name in named(line) {
            let Some(other) = FLOORS.iter().find(|f| f.0 == name) else { continue };
            let allowed = other.0 == *module || other.1 < *floor || neighbours.contains(&other.0);
            if !allowed {
                let _ = writeln!(
                    found,
                    "{}:{}: {module} (floor {floor}) names {} (floor {})",
                    file.display(),
                    number + 1,
                    other.0,
                    other.1
                );
            }
        }
    }
    found
}

#[test]
fn each_floor_imports_only_lower_ones() {
    let mut files = Vec::new();
    rust_files(&src(), &mut files);
    assert!(files.len() > 30, "the sources were not found");
    let all: String = files.iter().map(|f| breaches(f, &fs::read_to_string(f).expect("a readable file"))).collect();
    assert!(all.is_empty(), "\n{all}");
}

#[test]
fn a_breach_is_named_with_file_and_line() {
    let file = src().join("sip/scan.rs");
    let found = breaches(&file, "//! text\nuse crate::emergency::facts::CallId;\nuse crate::words::E164;\n");
    assert!(found.contains("scan.rs:2: sip (floor 1) names emergency"), "{found}");
    assert_eq!(found.lines().count(), 1, "{found}");
    assert!(breaches(&src().join("emergency/call.rs"), "use crate::{pool::Pool, words::E164};").is_empty());
    assert!(!breaches(&src().join("pool/mod.rs"), "use crate::{words::E164, sip::Flow};").is_empty());
}

#[test]
fn lower_floors_read_no_clock_and_open_no_socket() {
    let mut files = Vec::new();
    for floor in ["words", "emergency", "pool", "sip", "bridge"] {
        rust_files(&src().join(floor), &mut files);
    }
    for file in files.iter().filter(|f| !f.to_string_lossy().ends_with("tests.rs")) {
        let text = fs::read_to_string(file).expect("a readable file");
        for banned in ["tokio", "Instant::now", "SystemTime", "UdpSocket", "TcpStream", "std::fs", "println!", "dbg!"] {
            let used = text.lines().position(|l| !l.trim_start().starts_with("//") && l.contains(banned));
            assert!(used.is_none(), "{}:{}: {banned}", file.display(), used.unwrap_or(0) + 1);
        }
    }
}

#[test]
fn nothing_outside_the_sip_core_names_rsip() {
    let mut files = Vec::new();
    rust_files(&src(), &mut files);
    for file in files.iter().filter(|f| !f.starts_with(src().join("sip"))) {
        let text = fs::read_to_string(file).expect("a readable file");
        assert!(!text.lines().any(|l| !l.trim_start().starts_with("//") && l.contains("rsip::")), "{}", file.display());
    }
}

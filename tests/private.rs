//! Promise 3 in the types: what prints itself with `{:?}` has no text in it that could be a person's.
//!
//! Reads the sources as text. A type that derives `Debug` and holds text, bytes or an address outside `Private` is listed
//! here with what stands in it, or it is a mistake.

use std::fs;
use std::path::{Path, PathBuf};

/// Types that may print their text: module below `src`, type. What it is stands in the comment above each group.
const MAY: &[(&str, &[&str])] = &[
    // Names, hosts and addresses of neighbours, listeners and servers; names of sites, routes and profiles.
    ("bridge/links", &["Link", "Links"]),
    ("bridge/sources", &["Source", "Sources"]),
    ("bridge/ordinary/record", &["OrdinaryView"]),
    ("bridge/publication", &["Publisher"]),
    (
        "daemon/config",
        &[
            "Node",
            "Listen",
            "HostPort",
            "Http",
            "Dns",
            "Source",
            "Peer",
            "Trunk",
            "CallbackPool",
            "VoiceRoute",
            "Auth",
            "OutboundProfile",
            "Agent",
        ],
    ),
    ("daemon/config/value", &["Mark"]),
    ("emergency/prerequisites", &["TrunkFacts", "DeskFacts", "SiteFacts"]),
    ("emergency/reserve", &["Reserve"]),
    ("emergency/site", &["Peer", "Trunk", "Shelf", "VoiceRoute", "Agent"]),
    ("io/dns/keeper", &["Wanted"]),
    ("io/dns/locate", &["Naptr", "Srv"]),
    ("io/transport/stream", &["Listener"]),
    ("io/transport/mod", &["Known"]),
    ("io/transport/tls/certificate", &["Identities"]),
    ("io/transport/tls/mod", &["Names"]),
    ("io/transport/udp", &["Port", "Ports"]),
    ("sip/flow", &["Local"]),
    // Languages, our own ports, words of SDP, prefixes and masks of the dial plan, names of mails that are hashes.
    ("bridge/read_back", &["ReadOut", "Opened", "MediaOrder"]),
    ("io/media/ports", &["Settings"]),
    ("emergency/facts", &["Target", "CallEffect"]),
    ("emergency/notice", &["Notice"]),
    ("emergency/number", &["Numbers", "NumberMistake", "Mask"]),
    ("daemon/config", &["Emergency", "Media"]),
    ("io/notifier/outbox", &["Letter"]),
    ("sip/offer", &["Stream"]),
    // What is said to whoever asked, of what they wrote: keys, places, reasons in our words.
    ("daemon/api/auth", &["Door"]),
    ("daemon/api/error", &["ApiError", "Row"]),
    ("daemon/api/events", &["Happened"]),
    ("daemon/api/page", &["Page", "PageSince"]),
    ("daemon/assemble", &["Unusable"]),
    ("daemon/cli", &["Command", "ConfigFile", "Reach", "AgentCommand", "AgentKeys", "What", "TemplateCommand", "WhichTemplate"]),
    ("daemon/client/http", &["Failure", "Refusal"]),
    ("daemon/config/haste", &["Beyond"]),
    ("daemon/config/lint", &["Finding"]),
    ("daemon/config/mistake", &["Mistake", "Place", "Notebook"]),
    ("daemon/control", &["OnlyIf"]),
    ("daemon/run/opening", &["Failure"]),
    ("daemon/test_call", &["Step"]),
    ("emergency/prerequisites", &["Check"]),
    ("io/notifier/template/edited", &["Shown"]),
    ("io/notifier/template/lint", &["Finding"]),
    ("io/store/sqlite/file", &["Trouble"]),
    ("io/store/sqlite/mod", &["Taken"]),
];

/// What text, bytes and addresses are made of.
const TEXT: &[&str] = &["String", "str", "OsString", "PathBuf", "Bytes", "u8]", "Vec<u8", "Value", "SocketAddr", "IpAddr"];

/// A type that derives `Debug`.
struct Printed {
    name: String,
    fields: String,
}

/// Where the bracket that opens at `open` is closed.
fn closing(text: &str, open: usize, brackets: (char, char)) -> usize {
    let mut depth = 0usize;
    for (at, c) in text[open..].char_indices() {
        if c == brackets.0 {
            depth += 1;
        } else if c == brackets.1 {
            depth -= 1;
            if depth == 0 {
                return open + at;
            }
        }
    }
    text.len()
}

/// Every type of a source that derives `Debug`, its comments and what is `Private` left out.
fn printed(source: &str) -> Vec<Printed> {
    let code: String = source.lines().filter(|l| !l.trim_start().starts_with("//")).map(|l| format!("{l}\n")).collect();
    let mut found = Vec::new();
    for (at, _) in code.match_indices("#[derive(") {
        let end = closing(&code, at + 1, ('[', ']'));
        let derives = &code[at..end];
        if !derives.split(|c: char| !c.is_alphanumeric()).any(|word| word == "Debug") {
            continue;
        }
        let rest = &code[end + 1..];
        let word = |word: &str| rest.find(word).map(|at| at + word.len());
        let Some(start) = [word("struct "), word("enum ")].into_iter().flatten().min() else { continue };
        let name: String = rest[start..].chars().take_while(|c| c.is_alphanumeric()).collect();
        let Some(open) = rest[start..].find(['{', '(', ';']).map(|at| start + at) else { continue };
        let brackets = match &rest[open..=open] {
            "{" => ('{', '}'),
            "(" => ('(', ')'),
            _ => continue,
        };
        let mut fields = rest[open..closing(rest, open, brackets)].to_owned();
        for hidden in ["Private<", "&'static str"] {
            while let Some(at) = fields.find(hidden) {
                let end = if hidden.ends_with('<') {
                    closing(&fields, at + hidden.len() - 1, ('<', '>'))
                } else {
                    at + hidden.len() - 1
                };
                fields.replace_range(at..=end.min(fields.len() - 1), "-");
            }
        }
        found.push(Printed { name, fields });
    }
    found
}

/// The line of a type that holds text.
fn text_in(printed: &Printed) -> Option<&str> {
    let holds = |line: &&str| {
        let is_end = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
        TEXT.iter().any(|word| {
            line.match_indices(word).any(|(at, _)| {
                let after = line[at + word.len()..].chars().next();
                is_end(line[..at].chars().next_back()) && (word.ends_with(']') || is_end(after))
            })
        })
    };
    printed.fields.lines().find(holds).map(str::trim)
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for path in fs::read_dir(dir).expect("a readable folder").flatten().map(|e| e.path()) {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn a7_no_type_that_prints_itself_holds_text_that_could_be_a_persons() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut files, mut seen) = (Vec::new(), 0);
    sources(&src, &mut files);
    let (mut used, mut wrong) = (Vec::new(), String::new());
    for file in &files {
        let name = file.strip_prefix(&src).expect("below it").to_string_lossy().into_owned();
        // Worlds of tests, and the demo's, have made-up people only.
        if ["tests.rs", "world.rs"].iter().any(|end| name.ends_with(end))
            || name.contains("/demo/")
            || name.contains("/scenarios/")
        {
            continue;
        }
        let text = fs::read_to_string(file).expect("a readable file");
        let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for printed in printed(product) {
            seen += 1;
            let Some(line) = text_in(&printed) else { continue };
            let may = MAY.iter().any(|(module, types)| name.starts_with(module) && types.contains(&printed.name.as_str()));
            if !may {
                wrong.push_str(&format!("src/{name}: {} prints `{line}`\n", printed.name));
            }
            used.push((name.clone(), printed.name));
        }
    }
    assert!(wrong.is_empty(), "put it into Private, or say in tests/private.rs what it is:\n{wrong}");
    assert!(seen > 200, "{seen} types were found");
    for (module, types) in MAY {
        let idle: Vec<_> =
            types.iter().filter(|name| !used.iter().any(|(file, t)| file.starts_with(module) && t == *name)).collect();
        assert!(idle.is_empty(), "{module}: {idle:?} hold no text any more");
    }
}

#[test]
fn text_outside_private_is_found_in_structs_and_enums() {
    let source = "#[derive(Clone, Debug)]\npub struct A {\n    a: Private<Vec<String>>,\n    b: &'static str,\n    c: E164,\n}\n\
                  #[derive(Debug)]\npub struct B {\n    /// String\n    a: Option<Private<&'a str>>,\n    b: Option<&'a str>,\n}\n\
                  #[derive(Clone)]\nstruct C(String);\n#[derive(Debug)]\nstruct D(Arc<[u8]>);\n\
                  #[derive(Debug)]\nenum E {\n    One,\n    Two { at: SocketAddr },\n}\n#[derive(Debug)]\nstruct F;\n";
    let all = printed(source);
    assert_eq!(all.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["A", "B", "D", "E"]);
    let lines: Vec<_> = all.iter().filter_map(text_in).collect();
    assert_eq!(lines, ["b: Option<&'a str>,", "(Arc<[u8]>", "Two { at: SocketAddr },"]);
}

//! Promise 3 in the types: what prints itself with `{:?}` has no text in it that could be a person's.
//!
//! Reads the sources as text. A type that derives `Debug` and holds text, bytes or an address outside `Private` is listed
//! here with what stands in it, or it is a mistake.

use std::fs;
use std::path::{Path, PathBuf};

/// Types that may print their text: file below `src`, type. What it is stands in the comment above each group.
const MAY: &[(&str, &[&str])] = &[
    // Names, hosts and addresses of neighbours, listeners and servers; names of sites, routes and profiles.
    ("bridge/links.rs", &["Link", "Links", "Source", "Sources"]),
    ("bridge/ordinary/record.rs", &["OrdinaryView"]),
    ("bridge/publication.rs", &["Publisher"]),
    (
        "daemon/config/model.rs",
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
    ("daemon/config/value.rs", &["Mark"]),
    ("emergency/prerequisites.rs", &["TrunkFacts", "DeskFacts", "SiteFacts"]),
    ("emergency/reserve.rs", &["Reserve"]),
    ("emergency/site.rs", &["Peer", "Trunk", "Shelf", "VoiceRoute", "Agent"]),
    ("io/dns/keeper.rs", &["Wanted"]),
    ("io/dns/locate.rs", &["Naptr", "Srv"]),
    ("io/transport/stream.rs", &["Listener"]),
    ("io/transport/mod.rs", &["Known"]),
    ("io/transport/tls/certificate.rs", &["Identities"]),
    ("io/transport/tls/mod.rs", &["Names"]),
    ("io/transport/udp.rs", &["Port", "Ports"]),
    ("sip/flow.rs", &["Local"]),
    // Languages, our own ports, words of SDP, prefixes and masks of the dial plan, names of mails that are hashes.
    ("bridge/read_back.rs", &["ReadOut", "Opened", "MediaOrder"]),
    ("io/media/ports.rs", &["Settings"]),
    ("emergency/facts.rs", &["Target", "CallEffect"]),
    ("emergency/notice.rs", &["Notice"]),
    ("emergency/number.rs", &["Numbers", "NumberMistake", "Mask"]),
    ("daemon/config/model.rs", &["Emergency", "Media"]),
    ("io/notifier/outbox.rs", &["Letter"]),
    ("sip/offer.rs", &["Stream"]),
    // What is said to whoever asked, of what they wrote: keys, places, reasons in our words.
    ("daemon/api/auth.rs", &["Door"]),
    ("daemon/api/error.rs", &["ApiError", "Row"]),
    ("daemon/api/events.rs", &["Happened"]),
    ("daemon/api/page.rs", &["Page", "PageSince"]),
    ("daemon/assemble.rs", &["Unusable"]),
    (
        "daemon/cli.rs",
        &["Command", "ConfigFile", "Reach", "AgentCommand", "AgentKeys", "What", "TemplateCommand", "WhichTemplate"],
    ),
    ("daemon/client/http.rs", &["Failure", "Refusal"]),
    ("daemon/config/haste.rs", &["Beyond"]),
    ("daemon/config/lint.rs", &["Finding"]),
    ("daemon/config/mistake.rs", &["Mistake", "Place", "Notebook"]),
    ("daemon/control.rs", &["OnlyIf"]),
    ("daemon/run/opening.rs", &["Failure"]),
    ("daemon/test_call.rs", &["Step"]),
    ("emergency/prerequisites.rs", &["Check"]),
    ("io/notifier/template/edited.rs", &["Shown"]),
    ("io/notifier/template/lint.rs", &["Finding"]),
    ("io/store/sqlite/file.rs", &["Trouble"]),
    ("io/store/sqlite/mod.rs", &["Taken"]),
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
            let may = MAY.iter().any(|(file, types)| *file == name && types.contains(&printed.name.as_str()));
            if !may {
                wrong.push_str(&format!("src/{name}: {} prints `{line}`\n", printed.name));
            }
            used.push((name.clone(), printed.name));
        }
    }
    assert!(wrong.is_empty(), "put it into Private, or say in tests/private.rs what it is:\n{wrong}");
    assert!(seen > 200, "{seen} types were found");
    for (file, types) in MAY {
        let idle: Vec<_> = types.iter().filter(|name| !used.iter().any(|(f, t)| f == file && t == *name)).collect();
        assert!(idle.is_empty(), "{file}: {idle:?} hold no text any more");
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

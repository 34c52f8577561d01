//! File and environment become one tree; each key remembers where it stands.
//!
//! The `config` crate merges, `toml_edit` knows the lines. Entries of arrays are found by their name, so that
//! `E911D__TRUNK__CARRIER_A__PASSWORD` is the password of the trunk `carrier-a`; entries without a name by
//! their place, from 0. A value that begins with `[` or `{` is read as TOML, a list may also be `a,b`.

use std::collections::BTreeMap;
use std::path::Path;

use config::{File, FileFormat, Value, ValueKind};
use toml_edit::{Document, Item, TableLike};

use super::mistake::{Mistakes, Notebook};

/// What every variable of ours begins with.
const PREFIX: &str = "E911D__";

/// The merged tree and its notebook; an error where the file is not TOML.
pub(super) fn merge(text: &str, file: &Path, env: impl Iterator<Item = (String, String)>) -> Result<(Value, Notebook), Mistakes> {
    let doc = match Document::parse(text) {
        Ok(doc) => doc,
        Err(e) => return Err(not_toml(text, file, e.span().map_or(0, |s| s.start), e.message())),
    };
    let mut lines = Lines::of(text);
    lines.table("", doc.as_table());
    let mut notes = Notebook::new(file, lines.found);

    let source = || File::from_str(text, FileFormat::Toml);
    let file_alone =
        config::Config::builder().add_source(source()).build().map_err(|e| not_toml(text, file, 0, &e.to_string()))?.cache;
    let mut builder = config::Config::builder().add_source(source());
    let mut variables: Vec<_> = env.filter(|(name, _)| name.starts_with(PREFIX)).collect();
    variables.sort();
    for (name, value) in variables {
        let Some((path, value)) = place_of(&name, value, &file_alone, &notes) else { continue };
        notes.set_by(&path, &name);
        builder = match builder.clone().set_override(path.as_str(), value) {
            Ok(next) => next,
            Err(_) => {
                notes.note_variable(&name, "leads to no key");
                builder
            }
        };
    }
    match builder.build() {
        Ok(merged) => Ok((merged.cache, notes)),
        Err(e) => Err(not_toml(text, file, 0, &e.to_string())),
    }
}

/// The state directory that a file names, also one with mistakes: where the last accepted config is.
pub(super) fn state_dir(text: &str, env: impl Iterator<Item = (String, String)>) -> Option<String> {
    if let Some((_, dir)) = env.into_iter().find(|(name, _)| name == "E911D__NODE__STATE_DIR") {
        return Some(dir);
    }
    if let Ok(doc) = Document::parse(text) {
        return Some(doc.as_table().get("node")?.as_table_like()?.get("state_dir")?.as_str()?.to_owned());
    }
    let line = text.lines().find(|l| l.trim_start().starts_with("state_dir"))?;
    let doc = Document::parse(line).ok()?;
    Some(doc.as_table().get("state_dir")?.as_str()?.to_owned())
}

/// Puts agents behind the file's. Where the file's are no list there is nothing to put them behind, and a mistake anyway.
/// How many were put there.
pub(super) fn add_agents<'a>(
    tree: &mut Value,
    agents: impl Iterator<Item = &'a serde_json::Map<String, serde_json::Value>>,
) -> usize {
    let agents: Vec<_> = agents.map(table).collect();
    let ValueKind::Table(root) = &mut tree.kind else { return 0 };
    let added = agents.len();
    if added == 0 {
        return 0;
    }
    let list = root.entry("agent".to_owned()).or_insert_with(|| Value::new(None, ValueKind::Array(Vec::new())));
    let ValueKind::Array(list) = &mut list.kind else { return 0 };
    list.extend(agents);
    added
}

fn table(object: &serde_json::Map<String, serde_json::Value>) -> Value {
    let entries = object.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), from_json(v)));
    Value::new(None, ValueKind::Table(entries.collect()))
}

fn from_json(value: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    let kind = match value {
        Json::Null => ValueKind::Nil,
        Json::Bool(b) => ValueKind::Boolean(*b),
        Json::Number(n) => n.as_i64().map_or_else(|| ValueKind::Float(n.as_f64().unwrap_or_default()), ValueKind::I64),
        Json::String(s) => ValueKind::String(s.clone()),
        Json::Array(list) => ValueKind::Array(list.iter().map(from_json).collect()),
        Json::Object(object) => return table(object),
    };
    Value::new(None, kind)
}

fn not_toml(text: &str, file: &Path, at: usize, message: &str) -> Mistakes {
    let line = Lines::of(text).line(at);
    let notes = Notebook::new(file, BTreeMap::from([(String::new(), line)]));
    notes.note("", format!("is not TOML: {}", message.trim().replace('\n', ", ")));
    notes.into_mistakes()
}

/// Where a variable leads, as a path of the tree, and its value.
fn place_of(name: &str, text: String, tree: &Value, notes: &Notebook) -> Option<(String, Value)> {
    let mut path = String::new();
    let mut at = Some(tree);
    for part in name.strip_prefix(PREFIX)?.split("__") {
        if part.is_empty() || !part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            notes.note_variable(name, "leads to no key; write E911D__SECTION__KEY");
            return None;
        }
        match at.map(|v| &v.kind) {
            Some(ValueKind::Array(entries)) => {
                let Some(i) = entry_named(entries, part) else {
                    notes.note_variable(
                        name,
                        format!("the file has no [[{path}]] of that name; variables change entries, they do not add any"),
                    );
                    return None;
                };
                path = format!("{path}[{i}]");
                at = entries.get(i);
            }
            kind => {
                let key = part.to_ascii_lowercase();
                at = match kind {
                    Some(ValueKind::Table(table)) => table.get(&key),
                    _ => None,
                };
                path = if path.is_empty() { key } else { format!("{path}.{key}") };
            }
        }
    }
    Some((path, value_of(text)))
}

fn entry_named(entries: &[Value], part: &str) -> Option<usize> {
    let shout =
        |s: &str| s.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect::<String>();
    let is_named = |entry: &Value| match &entry.kind {
        ValueKind::Table(t) => ["name", "id"]
            .iter()
            .any(|k| matches!(t.get(*k).map(|v| &v.kind), Some(ValueKind::String(s)) if shout(s) == part.to_ascii_uppercase())),
        _ => false,
    };
    entries.iter().position(is_named).or_else(|| part.parse().ok().filter(|i| *i < entries.len()))
}

/// A TOML array or table where it is one, else the text as it stands: `[::]:5060` is an address.
fn value_of(text: String) -> Value {
    let is_list = text.starts_with(['[', '{']);
    is_list.then(|| toml_value(&text)).flatten().unwrap_or_else(|| Value::new(None, ValueKind::String(text)))
}

fn toml_value(text: &str) -> Option<Value> {
    let parsed =
        config::Config::builder().add_source(File::from_str(&format!("value = {text}"), FileFormat::Toml)).build().ok()?;
    match parsed.cache.kind {
        ValueKind::Table(mut table) => table.remove("value"),
        _ => None,
    }
}

/// Collects the line of every key.
struct Lines {
    /// Where each line but the first begins.
    starts: Vec<usize>,
    found: BTreeMap<String, usize>,
}

impl Lines {
    fn of(text: &str) -> Self {
        Self { starts: text.match_indices('\n').map(|(i, _)| i + 1).collect(), found: BTreeMap::new() }
    }

    fn table(&mut self, path: &str, table: &dyn TableLike) {
        for (name, item) in table.iter() {
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            let key = table.key(name).and_then(|k| k.span()).or_else(|| item.span());
            self.put(&path, key);
            self.item(&path, item);
        }
    }

    fn item(&mut self, path: &str, item: &Item) {
        if let Some(table) = item.as_table_like() {
            return self.table(path, table);
        }
        if let Some(entries) = item.as_array_of_tables() {
            for (i, table) in entries.iter().enumerate() {
                let path = format!("{path}[{i}]");
                self.put(&path, table.span());
                self.table(&path, table);
            }
        }
        if let Some(entries) = item.as_array() {
            for (i, value) in entries.iter().enumerate() {
                let path = format!("{path}[{i}]");
                self.put(&path, value.span());
                if let Some(table) = value.as_inline_table() {
                    self.table(&path, table);
                }
            }
        }
    }

    fn put(&mut self, path: &str, span: Option<std::ops::Range<usize>>) {
        if let Some(span) = span {
            let line = self.line(span.start);
            self.found.insert(path.to_owned(), line);
        }
    }

    fn line(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "[node]\nname = \"gw1\"\n\n[[trunk]]\nname = \"carrier-a\"\nuri = \"sip:192.0.2.1\"\n[emergency]\nmasks = { 112 = \"911\" }\n";

    fn merged(env: &[(&str, &str)]) -> (Value, Notebook) {
        let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        merge(FILE, Path::new("f"), env).expect("the file is TOML")
    }

    fn text(tree: &Value, keys: &[&str]) -> Option<String> {
        let mut at = tree.clone();
        for key in keys {
            at = match at.kind {
                ValueKind::Table(mut t) => t.remove(*key)?,
                ValueKind::Array(a) => a.get(key.parse::<usize>().ok()?)?.clone(),
                _ => return None,
            };
        }
        at.into_string().ok()
    }

    #[test]
    fn keys_know_their_lines() {
        let (_, notes) = merged(&[]);
        let lines = ["node", "node.name", "trunk[0]", "trunk[0].uri", "emergency.masks.112"].map(|k| notes.line(k));
        assert_eq!(lines, [Some(1), Some(2), Some(4), Some(6), Some(8)]);
    }

    #[test]
    fn a_variable_replaces_a_value_and_reaches_array_entries_by_name() {
        let (tree, notes) = merged(&[
            ("E911D__NODE__NAME", "gw2"),
            ("E911D__TRUNK__CARRIER_A__PASSWORD", "s"),
            ("E911D__EMERGENCY__MASKS__999", "911"),
            ("E911D__CALLBACK__TTL", "2h"),
            ("E911D_TOKEN", "not ours"),
        ]);
        assert_eq!(text(&tree, &["node", "name"]).as_deref(), Some("gw2"));
        assert_eq!(text(&tree, &["trunk", "0", "password"]).as_deref(), Some("s"));
        assert_eq!(text(&tree, &["trunk", "0", "uri"]).as_deref(), Some("sip:192.0.2.1"));
        assert_eq!(text(&tree, &["emergency", "masks", "999"]).as_deref(), Some("911"));
        assert_eq!(text(&tree, &["emergency", "masks", "112"]).as_deref(), Some("911"));
        assert_eq!(text(&tree, &["callback", "ttl"]).as_deref(), Some("2h"));
        assert!(notes.into_mistakes().0.is_empty());
    }

    #[test]
    fn a_variable_that_leads_nowhere_is_a_mistake() {
        let (_, notes) = merged(&[("E911D__TRUNK__CARRIER_B__URI", "x"), ("E911D__", "x"), ("E911D__NODE__", "x")]);
        assert_eq!(notes.into_mistakes().0.len(), 3);
    }

    #[test]
    fn the_state_directory_is_found_in_a_broken_file() {
        let none = std::iter::empty;
        assert_eq!(state_dir("[node]\nstate_dir = \"/a\"\n", none()).as_deref(), Some("/a"));
        assert_eq!(state_dir("[node\n  state_dir = \"/a\" # here\nx =", none()).as_deref(), Some("/a"));
        assert_eq!(state_dir("[node]", none()), None);
        let env = [("E911D__NODE__STATE_DIR".to_owned(), "/b".to_owned())];
        assert_eq!(state_dir("[node]\nstate_dir = \"/a\"\n", env.into_iter()).as_deref(), Some("/b"));
    }
}

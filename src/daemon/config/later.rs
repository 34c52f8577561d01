//! What the contract names and this version lacks. It is refused, never accepted and ignored.
//!
//! One table: a version that brings a feature removes its line (and reads the key in `read.rs`).

use config::{Value, ValueKind};

use super::mistake::Notebook;

/// A key that is refused.
struct Later {
    /// Its path; `[]` is any entry of a list. Keys below it are meant as well.
    key: &'static str,
    /// Values that ask for nothing and are therefore accepted.
    harmless: &'static [&'static str],
    /// What it would bring.
    what: &'static str,
}

const LATER: &[Later] = &[
    Later { key: "trunk[].esinet", harmless: &["false"], what: "ESInet trunks" },
    Later { key: "cluster.endpoints", harmless: &["[]"], what: "the cluster" },
];

/// The words that refuse.
pub(super) fn refusal(what: &str) -> String {
    format!("{what}: not in this version; take it out")
}

/// Notes everything in the tree that this version lacks.
pub(super) fn refuse(tree: &Value, notes: &Notebook) {
    walk("", tree, &mut |path, value| {
        let Some(later) = LATER.iter().find(|l| l.key == generic(path)) else { return true };
        if !later.harmless.contains(&plain(value).as_str()) {
            notes.note(path, refusal(later.what));
        }
        false
    });
}

/// Whether a later version reads this key, one below it, or the whole section that it is in.
pub(super) fn knows(path: &str) -> bool {
    let key = generic(path);
    LATER.iter().any(|l| {
        let above = |a: &str, b: &str| b.strip_prefix(a).is_some_and(|rest| rest.starts_with('.'));
        l.key == key || above(&key, l.key) || l.harmless.is_empty() && above(l.key, &key)
    })
}

/// Visits every value with its path, tables in the order of their keys; `visit` says whether to go deeper.
fn walk(path: &str, value: &Value, visit: &mut impl FnMut(&str, &Value) -> bool) {
    if !path.is_empty() && !visit(path, value) {
        return;
    }
    match &value.kind {
        ValueKind::Table(table) => {
            let mut keys: Vec<_> = table.iter().collect();
            keys.sort_by_key(|(k, _)| *k);
            for (key, child) in keys {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                walk(&path, child, visit);
            }
        }
        ValueKind::Array(entries) => {
            for (i, child) in entries.iter().enumerate() {
                walk(&format!("{path}[{i}]"), child, visit);
            }
        }
        _ => {}
    }
}

/// The path with its array places left out: `trunk[3].uri` as `trunk[].uri`.
fn generic(path: &str) -> String {
    let mut inside = false;
    let keep = |c: &char| {
        inside = *c == '[' || inside && *c != ']';
        *c == '[' || !inside
    };
    path.chars().filter(keep).collect()
}

fn plain(value: &Value) -> String {
    match &value.kind {
        ValueKind::String(text) => text.clone(),
        ValueKind::Boolean(flag) => flag.to_string(),
        ValueKind::Array(entries) if entries.is_empty() => "[]".to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn array_places_do_not_matter() {
        assert_eq!(generic("trunk[12].callback_numbers[0]"), "trunk[].callback_numbers[]");
        assert!(knows("trunk[3].esinet") && knows("cluster") && knows("cluster.endpoints"));
        assert!(!knows("trunk[3].uri") && !knows("tl") && !knows("trunk"));
    }
}

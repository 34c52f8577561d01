//! Reading one table of the merged tree, key by key; what is wrong goes into the notebook.
//!
//! Every key that is asked for is known; what is left when the section is finished is an unknown key.

use config::{Map, Value, ValueKind};

use super::later;
use super::mistake::{Notebook, suggestion};
use crate::words::Private;

/// A table being read. The root of the tree is a section too, with an empty path.
pub(super) struct Section<'a> {
    notes: &'a Notebook,
    path: String,
    table: Option<&'a Map<String, Value>>,
    asked: Vec<String>,
}

impl<'a> Section<'a> {
    /// The root.
    pub(super) fn root(tree: &'a Value, notes: &'a Notebook) -> Self {
        Self { notes, path: String::new(), table: as_table(tree), asked: Vec::new() }
    }

    /// The notebook.
    pub(super) const fn notes(&self) -> &'a Notebook {
        self.notes
    }

    /// The full name of a key of this section.
    pub(super) fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Writes down a mistake at a key.
    pub(super) fn note(&self, key: &str, what: impl Into<String>) {
        self.notes.note(&self.key(key), what);
    }

    /// Whether the key is set.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|t| t.contains_key(key))
    }

    /// The table at `key`; an empty one where there is none.
    pub(super) fn section(&mut self, key: &str) -> Self {
        let table = self.get(key).and_then(|value| {
            let table = as_table(value);
            if table.is_none() {
                self.note(key, format!("must be a table; write [{key}]"));
            }
            table
        });
        Section { notes: self.notes, path: self.key(key), table, asked: Vec::new() }
    }

    /// The tables of the array at `key`.
    pub(super) fn sections(&mut self, key: &str) -> Vec<Self> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let tables: Option<Vec<_>> = match &value.kind {
            ValueKind::Array(entries) => entries.iter().map(as_table).collect(),
            _ => None,
        };
        let Some(tables) = tables else {
            self.note(key, format!("must be a list of tables; write [[{key}]]"));
            return Vec::new();
        };
        let section = |(i, table)| Section {
            notes: self.notes,
            path: format!("{}[{i}]", self.key(key)),
            table: Some(table),
            asked: Vec::new(),
        };
        tables.into_iter().enumerate().map(section).collect()
    }

    /// As [`Section::sections`], noting nothing: for a look at names before the sections are read.
    pub(super) fn sections_quietly(&mut self, key: &str) -> Vec<Self> {
        let is_list =
            matches!(self.get(key).map(|v| &v.kind), Some(ValueKind::Array(a)) if a.iter().all(|v| as_table(v).is_some()));
        if is_list { self.sections(key) } else { Vec::new() }
    }

    /// As [`Section::text`], noting nothing.
    pub(super) fn text_quietly(&mut self, key: &str) -> Option<&'a str> {
        as_text(self.get(key)?)
    }

    /// The text at `key`.
    pub(super) fn text(&mut self, key: &str) -> Option<&'a str> {
        let text = as_text(self.get(key)?);
        if text.is_none() {
            self.note(key, "must be a text in quotes");
        }
        text
    }

    /// The text at `key`, parsed.
    pub(super) fn read<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(key)?;
        parse(text).map_err(|what| self.note(key, what)).ok()
    }

    /// As [`Section::read`], but a missing key is a mistake.
    pub(super) fn required<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        if !self.has(key) {
            self.asked.push(key.to_owned());
            self.note(key, "is missing and required");
            return None;
        }
        self.read(key, parse)
    }

    /// One of these words.
    pub(super) fn choice<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Option<T> {
        self.read(key, |text| choose(text, words))
    }

    /// The list of texts at `key`, each parsed. A list in the environment may be `a,b`.
    pub(super) fn list<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<Vec<T>> {
        let value = self.get(key)?;
        let full = self.key(key);
        let texts: Vec<(String, Option<&str>)> = match &value.kind {
            ValueKind::Array(entries) => entries.iter().enumerate().map(|(i, v)| (format!("{full}[{i}]"), as_text(v))).collect(),
            ValueKind::String(text) if self.notes.is_variable(&full) => {
                text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(|t| (full.clone(), Some(t))).collect()
            }
            _ => {
                self.note(key, "must be a list of texts, as [\"a\", \"b\"]");
                return None;
            }
        };
        let parsed = texts.into_iter().filter_map(|(at, text)| {
            let result = text.ok_or_else(|| "must be a text in quotes".to_owned()).and_then(&parse);
            result.map_err(|what| self.notes.note(&at, what)).ok()
        });
        Some(parsed.collect())
    }

    /// The table of texts at `key`, in the order of its keys.
    pub(super) fn texts(&mut self, key: &str) -> Vec<(String, &'a str)> {
        let section = self.section(key);
        let Some(table) = section.table else { return Vec::new() };
        let mut pairs: Vec<(String, &str)> = Vec::new();
        for (name, value) in table {
            match as_text(value) {
                Some(text) => pairs.push((name.clone(), text)),
                None => section.note(name, "must be a text in quotes"),
            }
        }
        pairs.sort();
        pairs
    }

    /// The truth value at `key`.
    pub(super) fn flag(&mut self, key: &str, default: bool) -> bool {
        let Some(value) = self.get(key) else { return default };
        let from_env = self.notes.is_variable(&self.key(key));
        match &value.kind {
            ValueKind::Boolean(b) => return *b,
            ValueKind::String(s) if from_env && s == "true" => return true,
            ValueKind::String(s) if from_env && s == "false" => return false,
            _ => self.note(key, "must be true or false, without quotes"),
        }
        default
    }

    /// The whole number at `key`, within a range.
    pub(super) fn number(&mut self, key: &str, default: u32, range: std::ops::RangeInclusive<u32>) -> u32 {
        let Some(value) = self.get(key) else { return default };
        let number = match &value.kind {
            ValueKind::I64(n) => u32::try_from(*n).ok(),
            ValueKind::String(s) if self.notes.is_variable(&self.key(key)) => s.parse().ok(),
            _ => None,
        };
        match number.filter(|n| range.contains(n)) {
            Some(n) => n,
            None => {
                self.note(key, format!("must be a whole number from {} to {}", range.start(), range.end()));
                default
            }
        }
    }

    /// The secret at `key`, or the first line of the file that `<key>_file` names.
    pub(super) fn secret(&mut self, key: &str) -> Option<Private<String>> {
        let file_key = format!("{key}_file");
        let inline = self.text(key).map(|t| Private::new(t.to_owned()));
        let Some(path) = self.text(&file_key) else { return inline };
        if inline.is_some() {
            self.note(&file_key, format!("is given beside {key}; keep one of the two"));
            return inline;
        }
        match std::fs::read_to_string(path) {
            Ok(text) => Some(Private::new(text.lines().next().unwrap_or_default().trim().to_owned())),
            Err(e) => {
                self.note(&file_key, format!("the file cannot be read: {}", e.kind()));
                None
            }
        }
    }

    /// Every key that nobody asked for is unknown, unless a later version knows it.
    pub(super) fn finish(self) {
        let mut left: Vec<_> = self.table.into_iter().flat_map(Map::keys).filter(|k| !self.asked.contains(k)).collect();
        left.sort();
        for key in left {
            if later::knows(&self.key(key)) {
                continue;
            }
            let known = self.asked.iter().map(String::as_str);
            let what = if self.path.is_empty() { "unknown section" } else { "unknown key" };
            self.note(key, format!("{what}{}", suggestion(key, known)));
        }
    }

    fn get(&mut self, key: &str) -> Option<&'a Value> {
        self.asked.push(key.to_owned());
        self.table?.get(key)
    }
}

/// One of these words, or what is wrong.
pub(super) fn choose<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    if let Some((_, value)) = words.iter().find(|(w, _)| *w == text) {
        return Ok(*value);
    }
    let all: Vec<_> = words.iter().map(|(w, _)| format!("\"{w}\"")).collect();
    Err(format!("must be {}{}", all.join(" or "), suggestion(text, words.iter().map(|(w, _)| *w))))
}

fn as_table(value: &Value) -> Option<&Map<String, Value>> {
    match &value.kind {
        ValueKind::Table(table) => Some(table),
        _ => None,
    }
}

fn as_text(value: &Value) -> Option<&str> {
    match &value.kind {
        ValueKind::String(text) => Some(text),
        _ => None,
    }
}

//! What is wrong with a configuration, and where: [`Mistake`], and the list that collects all of them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// One thing that is wrong. Its text names keys and neighbours; it repeats no person, number, address or secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where it stands.
    pub place: Place,
    /// The key, as `trunk[0].uri`; array places are counted from 0. Empty where the whole file is meant.
    pub key: String,
    /// What is wrong, and what to do.
    pub what: String,
}

/// Where a mistake stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of the file, counted from 1.
    Line(PathBuf, usize),
    /// An environment variable.
    Variable(String),
}

impl fmt::Display for Mistake {
    /// `FILE:LINE: key: what is wrong; what to do`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Line(file, line) => write!(f, "{}:{line}: ", file.display())?,
            Place::Variable(name) => write!(f, "environment {name}: ")?,
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)
    }
}

/// Everything that is wrong: by line, then variables. Never empty where it is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    /// One mistake a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

/// Where keys stand, and the mistakes found so far. Shared by everything that reads.
#[derive(Debug)]
pub(super) struct Notebook {
    file: PathBuf,
    lines: BTreeMap<String, usize>,
    variables: BTreeMap<String, String>,
    found: RefCell<Vec<Mistake>>,
}

impl Notebook {
    /// An empty one for this file, whose keys stand in these lines.
    pub(super) fn new(file: &Path, lines: BTreeMap<String, usize>) -> Self {
        Self { file: file.to_owned(), lines, variables: BTreeMap::new(), found: RefCell::default() }
    }

    /// The key's value comes from this environment variable.
    pub(super) fn set_by(&mut self, key: &str, variable: &str) {
        self.variables.insert(key.to_owned(), variable.to_owned());
    }

    /// Whether the key's value comes from the environment.
    pub(super) fn is_variable(&self, key: &str) -> bool {
        self.variables.contains_key(key)
    }

    /// Writes down a mistake at a key, or at the nearest key above it that stands somewhere.
    pub(super) fn note(&self, key: &str, what: impl Into<String>) {
        self.push(self.place(key), key, what.into());
    }

    /// Writes down a mistake of a variable that leads to no key.
    pub(super) fn note_variable(&self, variable: &str, what: impl Into<String>) {
        self.push(Place::Variable(variable.to_owned()), "", what.into());
    }

    /// The line of a key, where the file has it.
    pub(super) fn line(&self, key: &str) -> Option<usize> {
        self.lines.get(key).copied()
    }

    /// Whether a mistake was found at a key that begins so.
    pub(super) fn has_mistake_in(&self, section: &str) -> bool {
        self.found.borrow().iter().any(|m| m.key.starts_with(section))
    }

    /// All mistakes, in order.
    pub(super) fn into_mistakes(self) -> Mistakes {
        let mut found = self.found.into_inner();
        found.sort_by_key(|m| match &m.place {
            Place::Line(_, line) => (*line, String::new()),
            Place::Variable(name) => (usize::MAX, name.clone()),
        });
        Mistakes(found)
    }

    fn push(&self, place: Place, key: &str, what: String) {
        self.found.borrow_mut().push(Mistake { place, key: key.to_owned(), what });
    }

    fn place(&self, key: &str) -> Place {
        let below = format!("{key}.");
        let sets_below = self.variables.iter().find(|(k, _)| k.starts_with(&below));
        if let (None, Some((_, name))) = (self.lines.get(key), sets_below) {
            return Place::Variable(name.clone());
        }
        let mut at = key;
        loop {
            if let Some(name) = self.variables.get(at) {
                return Place::Variable(name.clone());
            }
            if let Some(line) = self.lines.get(at) {
                return Place::Line(self.file.clone(), *line);
            }
            match at.rfind(['.', '[']) {
                Some(end) => at = &at[..end],
                None => return Place::Line(self.file.clone(), 1),
            }
        }
    }
}

/// The candidate that was probably meant, as `; did you mean ...?`, or nothing.
pub(super) fn suggestion<'a>(wrong: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(wrong, candidates) {
        Some(near) => format!("; did you mean \"{near}\"?"),
        None => String::new(),
    }
}

/// The candidate at most two slips away, and less than half of it.
pub(super) fn nearest<'a>(wrong: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates.into_iter().map(|c| (slips(wrong, c), c)).filter(|(n, c)| *n <= 2 && n * 2 < c.len()).min().map(|(_, c)| c)
}

/// How many letters were left out, added, changed, or swapped with their neighbour.
fn slips(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, cb) in b.iter().enumerate() {
            let changed = row[j] + usize::from(ca != cb);
            let best = changed.min(row[j + 1] + 1).min(next[j] + 1);
            let is_swap = i > 0 && j > 0 && *ca == b[j - 1] && a[i - 1] == *cb;
            next.push(if is_swap { best.min(before[j - 1] + 1) } else { best });
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_a_stranger_finds_none() {
        let words = ["uri", "sources", "callback_numbers", "numbers"];
        assert_eq!(nearest("soruces", words), Some("sources"));
        assert_eq!(nearest("callback_number", words), Some("callback_numbers"));
        assert_eq!(nearest("url", words), Some("uri"));
        assert_eq!(nearest("colour", words), None);
        assert_eq!(nearest("", words), None);
        let table = [
            ("kitten", "sitting", 3),
            ("", "abc", 3),
            ("abc", "", 3),
            ("abc", "abc", 0),
            ("upd", "udp", 1),
            ("pxb", "pbx", 1),
            ("é", "e", 1),
        ];
        for (a, b, n) in table {
            assert_eq!(slips(a, b), n, "{a} {b}");
        }
    }

    #[test]
    fn a_mistake_stands_at_the_nearest_key_that_the_file_has() {
        let lines = BTreeMap::from([("node".to_owned(), 3), ("node.name".to_owned(), 4)]);
        let mut notes = Notebook::new(Path::new("x.toml"), lines);
        notes.set_by("node.country", "E911D__NODE__COUNTRY");
        notes.note("node.country", "bad");
        notes.note("node.state_dir", "missing");
        notes.note("node.name", "bad");
        notes.note("listen", "missing");
        let text = notes.into_mistakes().to_string();
        let expected = "x.toml:1: listen: missing\nx.toml:3: node.state_dir: missing\nx.toml:4: node.name: bad\n\
                        environment E911D__NODE__COUNTRY: node.country: bad";
        assert_eq!(text, expected);
    }
}

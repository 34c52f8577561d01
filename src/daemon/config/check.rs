//! What `e911d check` prints: every mistake, then the findings.

use std::fmt;
use std::path::Path;

use serde_json::{Value, json};

use super::lint::{Finding, Weight, lint};
use super::mistake::{Mistake, Mistakes, Place};

/// The outcome of a check. Its `Display` is for people and ends with a line that sums up.
#[derive(Clone, Debug)]
pub struct Report {
    /// What keeps the daemon from starting.
    pub mistakes: Mistakes,
    /// What is worth a look; empty while there are mistakes.
    pub findings: Vec<Finding>,
}

/// Checks a file together with the environment.
pub fn check(file: &Path, env: impl Iterator<Item = (String, String)>) -> Report {
    match super::load(file, env) {
        Ok(config) => Report { mistakes: Mistakes::default(), findings: lint(&config) },
        Err(mistakes) => Report { mistakes, findings: Vec::new() },
    }
}

impl Report {
    /// Whether the daemon would start.
    pub fn is_good(&self) -> bool {
        self.mistakes.0.is_empty()
    }

    /// `{"ok":false,"mistakes":[{"file":"…","line":3,"key":"…","what":"…"}],"findings":[{"weight":"warning","key":"…","what":"…"}]}`
    pub fn to_json(&self) -> String {
        let mistakes: Vec<_> = self.mistakes.0.iter().map(mistake_json).collect();
        let findings: Vec<_> =
            self.findings.iter().map(|f| json!({"weight": f.weight.word(), "key": f.key, "what": f.what})).collect();
        json!({"ok": self.is_good(), "mistakes": mistakes, "findings": findings}).to_string()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in &self.mistakes.0 {
            writeln!(f, "{mistake}")?;
        }
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        let warnings = self.findings.iter().filter(|f| f.weight == Weight::Warning).count();
        match self.mistakes.0.len() {
            0 => write!(f, "good: it would start, with {}", counted(warnings, "warning")),
            n => write!(f, "bad: {}; it would not start", counted(n, "mistake")),
        }
    }
}

fn mistake_json(mistake: &Mistake) -> Value {
    match &mistake.place {
        Place::Line(file, line) => {
            json!({"file": file.display().to_string(), "line": line, "key": mistake.key, "what": mistake.what})
        }
        Place::Variable(name) => json!({"variable": name, "key": mistake.key, "what": mistake.what}),
    }
}

fn counted(n: usize, what: &str) -> String {
    match n {
        0 => format!("no {what}s"),
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_file_is_summed_up_in_words_and_in_json() {
        let report = check(Path::new("/nonexistent/x.toml"), std::iter::empty());
        assert!(!report.is_good());
        let text = report.to_string();
        assert!(
            text.starts_with("/nonexistent/x.toml:1: cannot be read") && text.ends_with("bad: 1 mistake; it would not start"),
            "{text}"
        );
        let json: Value = serde_json::from_str(&report.to_json()).expect("JSON");
        assert_eq!((&json["ok"], &json["mistakes"][0]["line"]), (&json!(false), &json!(1)));
    }
}

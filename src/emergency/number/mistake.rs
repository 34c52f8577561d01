//! What can be wrong with the emergency numbers of a configuration, in words for whoever wrote it.

use std::fmt;

/// An entry under `[emergency]` that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberMistake {
    /// The key in `[emergency]`: `countries`, `prefixes` or `masks`.
    pub key: &'static str,
    /// The entry, as written; for a mask the number before the arrow.
    pub entry: String,
    /// What is wrong with it and what to do.
    pub why: &'static str,
}

impl NumberMistake {
    pub(super) fn new(key: &'static str, entry: &str, why: &'static str) -> Self {
        Self { key, entry: entry.to_owned(), why }
    }
}

impl fmt::Display for NumberMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "emergency.{}: \"{}\" {}", self.key, self.entry, self.why)
    }
}

impl std::error::Error for NumberMistake {}

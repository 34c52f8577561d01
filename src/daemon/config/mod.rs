//! The configuration: one TOML file and the environment, read whole, checked whole.
//!
//! [`load`] gives a [`Config`] or every mistake at once, each with file, line and key. A configuration that
//! loads can place every emergency number that it must (RULES P10). What this version lacks is refused in words
//! (`later.rs` is the list). Read [`Config`] first; [`lint`](fn@lint) says what is allowed and still worth a look, and
//! [`accepted`] keeps the last good one for a start with a broken file.

pub mod accepted;
mod address;
mod check;
mod haste;
mod later;
mod lint;
mod meet;
mod merge;
mod mistake;
mod model;
mod range;
mod read;
mod relations;
mod section;
mod tls;
mod value;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

pub use address::{HostPort, SipTarget, Source, Transport};
pub use check::{Report, check};
pub use haste::Beyond;
pub use lint::{Finding, Weight, lint};
pub use mistake::{Mistake, Mistakes, Place};
pub use model::*;
pub use range::{Brought, NumberRange};
pub use tls::Files;

/// The environment, or part of it.
type Variable = (String, String);

/// Reads the file and the `E911D__…` variables of `env` (in the program: `std::env::vars()`).
pub fn load(file: &Path, env: impl Iterator<Item = Variable>) -> Result<Config, Mistakes> {
    read(&text(file)?, file, env)
}

/// The file's text, for [`read`](fn@read) and [`accepted::row`].
pub fn text(file: &Path) -> Result<String, Mistakes> {
    fs::read_to_string(file).map_err(|e| {
        let notes = mistake::Notebook::new(file, BTreeMap::new());
        notes.note("", format!("cannot be read: {e}"));
        notes.into_mistakes()
    })
}

/// As [`load`], from a text; `file` is what mistakes call it.
pub fn read(text: &str, file: &Path, env: impl Iterator<Item = Variable>) -> Result<Config, Mistakes> {
    read_with(text, file, env, std::iter::empty(), Files::Required)
}

/// As [`read`](fn@read), with more agents behind the file's, each in the keys of `[[agent]]`. What is wrong with them
/// stands at the file's first line, under their place: `agent[7].number`.
pub fn read_with<'a>(
    text: &str,
    file: &Path,
    env: impl Iterator<Item = Variable>,
    agents: impl Iterator<Item = &'a serde_json::Map<String, serde_json::Value>>,
    files: Files,
) -> Result<Config, Mistakes> {
    let (mut tree, notes) = merge::merge(text, file, env)?;
    let added = merge::add_agents(&mut tree, agents);
    later::refuse(&tree, &notes);
    let mut config = read::config(&tree, &notes, files);
    config.iter_mut().for_each(|c| c.agents_of_file = c.agents_of_file.saturating_sub(added));
    if let Some(config) = &config {
        relations::check(config, &notes);
    }
    let mistakes = notes.into_mistakes();
    match config {
        Some(config) if mistakes.0.is_empty() => Ok(config),
        _ => Err(mistakes),
    }
}

/// The state directory that a file names even where it has mistakes: where [`accepted::load`] looks then.
pub fn state_dir(text: &str, env: impl Iterator<Item = Variable>) -> Option<PathBuf> {
    merge::state_dir(text, env).map(PathBuf::from)
}

//! Agents edited at run time, beside those of the config file.
//!
//! Each is a [`Document`] with the keys of `[[agent]]`. They are read by the code that reads the file, together with it,
//! so that what is wrong with one is found by the same checks (RULES P10 among them). An id that the file has wins.

use super::config::{self, Config, Files, Mistakes};
use crate::io::store::Keeper;
use crate::words::{Private, Row, Saved, Table};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::Duration;

/// Rows that are given to the store at once.
const PORTION: usize = 500;
/// How long a disk may take for a portion before it gets the next one nevertheless.
const PORTION_WITHIN: Duration = Duration::from_millis(200);

/// An agent in the keys of `[[agent]]`.
pub type Document = Map<String, Value>;

/// All of them, by id.
pub type Documents = BTreeMap<String, Private<Document>>;

/// See the module's docs.
pub struct Roster {
    documents: Documents,
    keeper: Keeper,
}

/// A configuration with its agents, and who of them could not be used.
pub struct Joined {
    /// The file's agents, then those of the roster.
    pub config: Config,
    /// The ids in the order in which they stand behind the file's agents.
    pub ids: Vec<String>,
    /// How many were left out: the file has changed since, and they fit it no more.
    pub left_out: usize,
}

impl Roster {
    /// What the store has.
    pub fn restore(saved: &Saved, keeper: Keeper) -> Self {
        let read = |(key, value): (&str, &[u8])| Some((key.to_owned(), Private::new(serde_json::from_slice(value).ok()?)));
        Self { documents: saved.rows(Table::Agent).filter_map(read).collect(), keeper }
    }

    /// All of them.
    pub const fn documents(&self) -> &Documents {
        &self.documents
    }

    /// These are the agents from now on. Of many the store gets a portion after the other: a call's own row waits for the
    /// transaction before it.
    pub async fn replace(&mut self, new: Documents) {
        let before = std::mem::replace(&mut self.documents, new);
        let gone = before.keys().filter(|id| !self.documents.contains_key(*id)).map(|id| Row::forget(Table::Agent, id.as_str()));
        let changed = self.documents.iter().filter(|(id, d)| before.get(*id) != Some(d)).map(|(id, document)| {
            let value = Value::Object(document.reveal().clone()).to_string().into_bytes();
            Row::keep(Table::Agent, id.as_str(), value)
        });
        for (n, row) in gone.chain(changed).enumerate() {
            if n > 0 && n % PORTION == 0 {
                self.keeper.flushed(PORTION_WITHIN).await;
            }
            self.keeper.keep(row);
        }
    }

    /// The file with all of these agents that fit it. An error is the file's alone.
    pub fn join(&self, text: &str, file: &Path, files: Files) -> Result<Joined, Mistakes> {
        let mut documents = self.documents.clone();
        let mut left_out = 0;
        loop {
            match join(text, file, &documents, files) {
                Ok((config, ids)) => return Ok(Joined { config, ids, left_out }),
                Err(NoFit::File(mistakes)) => return Err(mistakes),
                Err(NoFit::Agents(wrong)) => {
                    let before = documents.len();
                    for (id, ..) in &wrong {
                        documents.remove(id);
                    }
                    if documents.len() == before {
                        documents.clear();
                    }
                    left_out += before - documents.len();
                }
            }
        }
    }
}

/// Why a file and agents do not fit together.
pub enum NoFit {
    /// The file is wrong by itself.
    File(Mistakes),
    /// Ids, keys, and what is wrong; the id is empty where it cannot be said whose fault it is.
    Agents(Vec<(String, String, String)>),
}

/// The file with exactly these agents, and their ids in order. Those whose id the file has are not needed.
pub fn join(text: &str, file: &Path, documents: &Documents, files: Files) -> Result<(Config, Vec<String>), NoFit> {
    let alone = config::read_with(text, file, std::env::vars(), std::iter::empty(), files).map_err(NoFit::File)?;
    let taken: HashSet<_> = alone.agents.iter().map(|a| a.id.reveal().to_ascii_lowercase()).collect();
    let meant: Vec<_> = documents.iter().filter(|(id, _)| !taken.contains(&id.to_ascii_lowercase())).collect();
    let ids: Vec<String> = meant.iter().map(|(id, _)| (*id).clone()).collect();
    if ids.is_empty() {
        return Ok((alone, ids));
    }
    let more = meant.iter().map(|(_, d)| d.reveal());
    match config::read_with(text, file, std::env::vars(), more, files) {
        Ok(config) => Ok((config, ids)),
        Err(mistakes) => {
            let first = alone.agents.len();
            let whose = |m: config::Mistake| match place(&m.key) {
                Some((n, key)) if n >= first => (ids.get(n - first).cloned().unwrap_or_default(), key, m.what),
                _ => (String::new(), m.key, m.what),
            };
            Err(NoFit::Agents(mistakes.0.into_iter().map(whose).collect()))
        }
    }
}

/// `agent[3].devices[0]` is agent 3 and `devices[0]`.
fn place(key: &str) -> Option<(usize, String)> {
    let (n, rest) = key.strip_prefix("agent[")?.split_once(']')?;
    Some((n.parse().ok()?, rest.trim_start_matches('.').to_owned()))
}

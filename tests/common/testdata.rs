//! Messages that nobody here wrote: the files of `../shared/testdata`, each with the verdict that its manifest gives.
//!
//! They are read from there and never copied. `E911D_TESTDATA` names another folder of the same shape.

use std::path::{Path, PathBuf};

use super::child::skipped;

/// One file.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Folder and name.
    pub name: String,
    /// The manifest's verdict.
    pub verdict: String,
    /// What it holds.
    pub bytes: Vec<u8>,
}

impl Sample {
    /// The verdict's alternatives.
    pub fn verdicts(&self) -> impl Iterator<Item = &str> {
        self.verdict.split('|')
    }
}

/// Where the files are.
pub fn folder() -> PathBuf {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/testdata");
    std::env::var_os("E911D_TESTDATA").map_or_else(beside, PathBuf::from)
}

/// Every file of the manifest that is there; empty, and said on the terminal, where there are none. A file that the
/// manifest names and the folder lacks is said as well.
pub fn samples() -> Vec<Sample> {
    let folder = folder();
    let Ok(manifest) = std::fs::read_to_string(folder.join("MANIFEST.tsv")) else {
        skipped(&format!("no test data at {}", folder.display()));
        return Vec::new();
    };
    let rows: Vec<Vec<&str>> = manifest.lines().skip(1).map(|l| l.split('\t').collect()).collect();
    let samples: Vec<Sample> = rows
        .iter()
        .filter_map(|row| {
            let [group, file, _, verdict, ..] = row[..] else { return None };
            let bytes = std::fs::read(folder.join(group).join(file)).ok()?;
            Some(Sample { name: format!("{group}/{file}"), verdict: verdict.to_owned(), bytes })
        })
        .collect();
    if samples.len() < rows.len() {
        skipped(&format!("{} of {} files of the test data are not there", rows.len() - samples.len(), rows.len()));
    }
    samples
}

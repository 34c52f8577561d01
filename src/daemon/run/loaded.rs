//! The configuration to start with: the file's, or with a bad file the one that was accepted last.

use std::path::Path;

use crate::daemon::config::{self, Config, Files, Mistakes, accepted};

/// A configuration to start with.
pub(super) struct Loaded {
    pub(super) config: Config,
    pub(super) text: String,
    /// Why it is not the file's.
    pub(super) rejected: Option<Mistakes>,
}

impl Loaded {
    pub(super) fn read(file: &Path, strict: bool) -> Result<Self, Mistakes> {
        let text = config::text(file);
        let read = text.clone().and_then(|text| config::read(&text, file, std::env::vars()));
        match (text, read) {
            (Ok(text), Ok(config)) => Ok(Self { config, text, rejected: None }),
            (_, Err(mistakes)) if strict => Err(mistakes),
            (Ok(text), Err(mistakes)) => {
                Self::accepted(&text).map(|l| Self { rejected: Some(mistakes.clone()), ..l }).ok_or(mistakes)
            }
            (Err(mistakes), _) => Err(mistakes),
        }
    }

    /// What the state directory that the bad file names accepted last.
    fn accepted(bad: &str) -> Option<Self> {
        let state_dir = config::state_dir(bad, std::env::vars())?;
        let text = accepted::load(&state_dir)?;
        let config =
            config::read_with(&text, &accepted::path(&state_dir), std::env::vars(), std::iter::empty(), Files::Optional).ok()?;
        Some(Self { config, text, rejected: None })
    }
}

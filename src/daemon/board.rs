//! What is known beside the calls: the configuration that runs, trunks, ordinary records.
//!
//! Written by the thread that controls the daemon and by the side thread, read by the API. No call waits for it; each
//! lock is held for a copy of a few words.

use super::config::Config;
use super::records::Records;
use crate::bridge::Trouble;
use crate::emergency::facts::TrunkId;
use crate::emergency::gateway::Shelved;
use crate::emergency::site::Site;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// See the module's docs.
pub struct Board {
    config: Mutex<Arc<Config>>,
    site: Mutex<Arc<Site>>,
    trunks: Mutex<Vec<Shelved>>,
    troubles: Mutex<Vec<(TrunkId, Trouble)>>,
    records: Mutex<Records>,
}

impl Board {
    /// For a daemon that starts with this.
    pub fn new(config: Config, site: Arc<Site>, records: Records) -> Self {
        Self {
            config: Mutex::new(Arc::new(config)),
            site: Mutex::new(site),
            trunks: Mutex::default(),
            troubles: Mutex::default(),
            records: Mutex::new(records),
        }
    }

    /// The configuration that runs.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&lock(&self.config))
    }

    /// The same, as the calls know it.
    pub fn site(&self) -> Arc<Site> {
        Arc::clone(&lock(&self.site))
    }

    /// A configuration was taken.
    pub fn take(&self, config: Config, site: Arc<Site>) {
        lock(&self.records).keep_at_most(config.records.keep);
        *lock(&self.config) = Arc::new(config);
        *lock(&self.site) = site;
    }

    /// The trunks, as the front said last.
    pub fn trunks(&self) -> Vec<Shelved> {
        lock(&self.trunks).clone()
    }

    /// The front says how the trunks are. True if one went up or down.
    pub fn set_trunks(&self, trunks: Vec<Shelved>) -> bool {
        let mut before = lock(&self.trunks);
        let changed = !before.iter().map(|s| (s.trunk, s.up)).eq(trunks.iter().map(|s| (s.trunk, s.up)));
        *before = trunks;
        changed
    }

    /// What is wrong with a trunk besides that it does not answer, as the front said last.
    pub fn trouble(&self, trunk: TrunkId) -> Option<Trouble> {
        lock(&self.troubles).iter().find(|(t, _)| *t == trunk).map(|(_, trouble)| *trouble)
    }

    /// The front says what is wrong with which trunk.
    pub fn set_troubles(&self, troubles: Vec<(TrunkId, Trouble)>) {
        *lock(&self.troubles) = troubles;
    }

    /// Ordinary calls that are over.
    pub fn records(&self) -> MutexGuard<'_, Records> {
        lock(&self.records)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Which devices have registered, as far as callbacks ask: whose, and in which order they came (RULES C1, C4).

use std::collections::BTreeMap;

use super::facts::DeviceId;
use crate::words::Private;

/// Registered devices by their agent's id. How a device is reached is the bridge's business.
#[derive(Debug, Default)]
pub struct Devices {
    of: BTreeMap<Private<String>, Vec<DeviceId>>,
    owners: BTreeMap<DeviceId, Private<String>>,
}

impl Devices {
    /// A device is there. One that was there before stays where it is in the order.
    pub fn add(&mut self, agent: &Private<String>, device: DeviceId) {
        if self.owners.insert(device, agent.clone()).is_none() {
            self.of.entry(agent.clone()).or_default().push(device);
        }
    }

    /// A device is gone.
    pub fn remove(&mut self, device: DeviceId) {
        let Some(agent) = self.owners.remove(&device) else { return };
        let Some(devices) = self.of.get_mut(&agent) else { return };
        devices.retain(|d| *d != device);
        if devices.is_empty() {
            self.of.remove(&agent);
        }
    }

    /// An agent's devices, the oldest first.
    pub fn of(&self, agent: &Private<String>) -> &[DeviceId] {
        self.of.get(agent).map_or(&[], Vec::as_slice)
    }
}

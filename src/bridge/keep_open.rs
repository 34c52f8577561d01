//! Ways to phones that send nothing by themselves (RULES promise 2: the call comes back).
//!
//! A NAT or firewall forgets datagrams after half a minute or so, and with them the only way to a phone behind it. Phones that
//! manage their flows (RFC 5626) see to that, and those behind a proxy are its business; to all others on UDP a datagram with
//! two line ends goes now and then, which every SIP stack passes over (RFC 3261 section 7.5). Connections are the transport's.

use super::bindings::{Binding, BindingKey};
use super::shard::{Do, Shard, Wake};
use crate::sip::Transport;
use crate::words::Time;
use slotmap::SecondaryMap;
use std::time::Duration;

/// Below the half minute after which the least patient NATs forget.
const EVERY: Duration = Duration::from_secs(25);

/// The bindings that have a timer.
pub(super) type HeldOpen = SecondaryMap<BindingKey, ()>;

impl Shard {
    /// A phone has registered, or was taken up from an earlier run.
    pub(super) fn keep_open(&mut self, key: BindingKey, now: Time) {
        let needs_it = self.phones.bindings().get(key).is_some_and(needs_it);
        if needs_it && self.phones.held_open.insert(key, ()).is_none() {
            // After a restart all come at once: each begins at another second.
            let first = Duration::from_secs(1 + key.number() % EVERY.as_secs());
            self.wakes.arm(now + first, Wake::KeepOpen(key));
        }
    }

    /// Its time has come.
    pub(super) fn keep_open_due(&mut self, key: BindingKey, now: Time) {
        let Some(flow) = self.phones.bindings().get(key).filter(|b| needs_it(b)).map(|b| b.flow) else {
            self.phones.held_open.remove(key);
            return;
        };
        self.out.push_back(Do::Keep(flow));
        self.wakes.arm(now + EVERY, Wake::KeepOpen(key));
    }
}

/// Whether nobody else sees to it that the way to a phone stays open.
fn needs_it(binding: &Binding) -> bool {
    let is_managed = binding.instance.as_ref().is_some_and(|(_, reg_id)| !reg_id.is_empty());
    binding.flow.transport == Transport::Udp && !is_managed && binding.path.is_empty()
}

//! What the relays have carried, for whoever looks: counters alone, nobody's.

use std::sync::atomic::{AtomicU64, Ordering};

/// Since the start.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Packets and bytes towards callers.
    pub to_caller: Flow,
    /// Packets and bytes towards callees.
    pub to_callee: Flow,
    /// Packets from somebody else than the one that was negotiated.
    pub strangers: AtomicU64,
    /// Packets that could not be decrypted, or were a repetition.
    pub unprotected: AtomicU64,
    /// Packets that could not be sent.
    pub unsent: AtomicU64,
    /// Relays in which nobody was heard for long.
    pub silences: AtomicU64,
    /// Browsers that fell silent in a call.
    pub gone: AtomicU64,
    /// Relays at present.
    pub relays: AtomicU64,
    /// Pairs of ports at present, those that are only ready among them.
    pub pairs: AtomicU64,
}

/// One direction.
#[derive(Debug, Default)]
pub struct Flow {
    /// Packets.
    pub packets: AtomicU64,
    /// Bytes of them, as they were received.
    pub bytes: AtomicU64,
}

pub(super) fn one_more(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Flow {
    pub(super) fn count(&self, bytes: usize) {
        self.packets.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

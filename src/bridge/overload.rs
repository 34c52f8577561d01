//! Trunks that ask for fewer calls (RFC 7339): ordinary ones take the next hop. What an emergency needs is never held back.

use super::ordinary::Hop;
use super::shard::Shard;
use crate::sip::Flow;
use crate::words::Time;

impl Shard {
    /// From now on trunks are obeyed where the configuration says so.
    pub(super) fn obey_trunks(&mut self) {
        let obeyed = self.setup.links.trunks.iter().filter(|link| link.overload_control);
        let all: Vec<_> = obeyed.flat_map(|link| link.all_ways()).map(|way| way.remote).collect();
        self.endpoint.obey(&all);
    }

    /// Whether this ordinary call is one that the hop asked to be spared.
    pub(super) fn is_to_spare(&mut self, hop: Hop, way: Flow, now: Time) -> bool {
        matches!(hop, Hop::Trunk(_)) && self.endpoint.spares(way, now)
    }
}

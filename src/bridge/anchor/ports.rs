//! The ports that are ready for calls: taken in ahead of need, given back, and some of them left to emergencies.

use super::{Anchor, MediaPolicy, Pair, RelayOrder};
use crate::bridge::call::CallKey;
use crate::bridge::shard::{Do, Shard};
use crate::emergency::facts::{self, LegId};
use crate::sip::{Flow, Message};
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// One towards each side.
const PAIRS_OF_A_CALL: usize = 2;

/// Pairs that are ready.
#[derive(Default)]
pub(in crate::bridge) struct Stock {
    ready: BTreeMap<IpAddr, Vec<Pair>>,
    asked: SmallVec<[IpAddr; 2]>,
    /// Whether a call found none.
    short: bool,
}

/// No port is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bridge) struct NoPorts {
    /// For a leg between a browser and a phone: they do not understand each other without us.
    pub(super) of_browser: bool,
}

impl Shard {
    /// Pairs that are ready, as asked for with [`RelayOrder::Want`]; fewer, or none, where there are no more.
    pub fn stock(&mut self, at: IpAddr, pairs: Vec<Pair>) {
        self.stock.asked.retain(|asked| *asked != at);
        if !pairs.is_empty() && std::mem::take(&mut self.stock.short) {
            self.alarm_of_ports(false);
        }
        self.stock.ready.entry(at).or_default().extend(pairs);
    }

    /// Whether pairs were asked for that have not come.
    pub fn waits_for_ports(&self) -> bool {
        !self.stock.asked.is_empty()
    }

    /// Asks for pairs where few are left; gives those back whose address is ours no more.
    pub(in crate::bridge) fn look_after_stock(&mut self) {
        let anchoring = Arc::clone(&self.setup.anchoring);
        let mut gone = SmallVec::new();
        self.stock.ready.retain(|at, pairs| {
            let ours = anchoring.at.contains(at);
            if !ours {
                gone.extend(pairs.iter().map(|pair| pair.at));
            }
            ours
        });
        if !gone.is_empty() {
            self.out.push_back(Do::Relay(RelayOrder::Release(gone)));
        }
        for at in anchoring.at.iter().copied() {
            let left = self.stock.ready.get(&at).map_or(0, Vec::len);
            let ready = anchoring.ready;
            if left < ready - ready / 4 && !self.stock.asked.contains(&at) {
                self.stock.asked.push(at);
                self.out.push_back(Do::Relay(RelayOrder::Want(at, ready - left)));
            }
        }
    }

    /// Ports that are free may be what others wait for.
    pub(super) fn give_back(&mut self, ports: SmallVec<[SocketAddr; 2]>) {
        self.out.push_back(Do::Relay(RelayOrder::Release(ports)));
        if self.stock.short {
            self.look_after_stock();
        }
    }

    /// The anchor of a leg of the story's. Between phones it is never refused for ports: their audio passes by us, then. What a
    /// browser says no trunk understands: that leg is not there, and a moment later there may be ports again.
    pub(in crate::bridge) fn anchor_of_story(
        &mut self,
        key: CallKey,
        id: LegId,
        policy: MediaPolicy,
        flow: Flow,
        msg: &Message,
    ) -> Result<Option<Box<Anchor>>, NoPorts> {
        match self.anchor_for(key, id, policy, flow, msg) {
            Err(NoPorts { of_browser: false }) => Ok(None),
            anchor => anchor,
        }
    }

    /// An eighth is left to emergencies; of a small stock the ports of one.
    pub(super) fn take_pair(&mut self, flow: Flow, storys: bool) -> Option<Pair> {
        let at = self.told(flow)?;
        let ready = self.stock.ready.entry(at).or_default();
        let kept = self.setup.anchoring.ready;
        let spare = (kept / 8).max(PAIRS_OF_A_CALL).min(kept.saturating_sub(PAIRS_OF_A_CALL));
        let pair = if storys || ready.len() > spare { ready.pop() } else { None };
        self.look_after_stock();
        if pair.is_none() && !std::mem::replace(&mut self.stock.short, true) {
            self.alarm_of_ports(true);
        }
        pair
    }

    fn alarm_of_ports(&mut self, raised: bool) {
        self.out.push_back(Do::Side(facts::Side::Alarm { name: "media_ports", raised }));
    }
}

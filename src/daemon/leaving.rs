//! New calls are held back while the front waits for a moment to hand over in which no emergency is being placed.
//!
//! Only datagrams: what came by a stream is placed, since streams are not handed over. What belongs to a call that is held
//! (a repeat, a CANCEL) is held with it, in order.

use super::handover::Held;
use super::shards::is_new_call;
use crate::bridge::Shard;
use crate::io::transport::udp::Ports;
use crate::sip::{Flow, Message, Transport};
use crate::words::Time;
use tokio::sync::oneshot;

/// Messages that are held at most; what is more is placed.
const MOST: usize = 1024;

/// See the module's docs.
pub(super) struct Leaving {
    /// When it is given up.
    pub by: Time,
    /// Nothing is being placed; until when connections may write.
    pub closes: Option<Time>,
    answer: oneshot::Sender<Option<Vec<Held>>>,
    held: Vec<(Flow, Message)>,
}

impl Leaving {
    pub(super) const fn new(by: Time, answer: oneshot::Sender<Option<Vec<Held>>>) -> Self {
        Self { by, closes: None, answer, held: Vec::new() }
    }

    /// Whether it has kept this message.
    pub(super) fn holds(&mut self, flow: Flow, msg: &Message, first: &Shard) -> bool {
        if flow.transport != Transport::Udp || !msg.is_request() || self.held.len() >= MOST {
            return false;
        }
        let is_new = is_new_call(msg) && !first.has_invite_of(msg);
        let belongs = || self.held.iter().any(|(from, held)| from.remote == flow.remote && held.call_id() == msg.call_id());
        let holds = is_new || belongs();
        if holds {
            self.held.push((flow, msg.clone()));
        }
        holds
    }

    /// Hands what was held to whoever takes over.
    pub(super) fn done(self, ports: &Ports) {
        let here = |flow: Flow| ports.listener(flow.listener)?.address().ok();
        let held = self.held.iter().filter_map(|(flow, msg)| Some((here(*flow)?, flow.remote, msg.bytes().to_vec())));
        let _ = self.answer.send(Some(held.collect()));
    }

    /// Gives up, and gives back what was held.
    pub(super) fn not_now(self) -> Vec<(Flow, Message)> {
        let _ = self.answer.send(None);
        self.held
    }
}

//! What the front does for the workers on its thread: its own, and the lane's.

use crate::bridge::{MediaOrder, Opened, is_inside};
use crate::daemon::shards::Ordinary;
use crate::daemon::worker::Outside;
use crate::emergency::facts::{AgentId, CallId};
use crate::io::media::Media;
use crate::io::media::relay::Relay;
use crate::io::store::{Store, Written};
use crate::io::transport::Sent;
use crate::io::transport::stream::Streams;
use crate::sip::{Flow, Transport};
use crate::words::Row;
use bytes::Bytes;
use std::net::SocketAddr;
use tokio::sync::mpsc::UnboundedSender;

/// What a worker has found out that concerns the lane.
pub(super) enum ForLane {
    Refused(Transport, SocketAddr),
    Release(CallId),
}

/// What the front does for its own shard, and for the lane.
pub(super) struct Near {
    pub(super) streams: Streams,
    pub(super) store: Box<dyn Store>,
    pub(super) ordinary: Vec<Ordinary>,
    /// What the lane is still to be told.
    pub(super) for_lane: Vec<ForLane>,
    pub(super) media: Media,
    pub(super) relay: Relay,
    /// Who plays a caller of our own, and whom.
    pub(super) inside: Option<(AgentId, UnboundedSender<Bytes>)>,
}

impl Outside for Near {
    fn stream(&mut self, flow: Flow, bytes: Bytes) -> Sent {
        if is_inside(flow) {
            // Whoever played the caller may be gone.
            let _ = self.inside.as_ref().map(|(_, heard)| heard.send(bytes));
            return Sent::Yes;
        }
        self.streams.send(flow, bytes)
    }

    fn refused(&mut self, transport: Transport, remote: SocketAddr) {
        for thread in &self.ordinary {
            thread.unreachable(transport, remote);
        }
        if self.ordinary.is_empty() {
            self.for_lane.push(ForLane::Refused(transport, remote));
        }
    }

    fn keep(&mut self, flow: Flow) {
        self.streams.keep(flow.connection);
    }

    fn release(&mut self, shard: u8, call: CallId) {
        if let Some(thread) = usize::from(shard).checked_sub(1).and_then(|at| self.ordinary.get(at)) {
            thread.release(call);
        } else {
            self.for_lane.push(ForLane::Release(call));
        }
    }

    fn commit(&mut self, call: CallId, row: Row) -> Written {
        self.store.commit(call, row)
    }

    fn media(&mut self, call: CallId, order: MediaOrder) -> Option<Opened> {
        self.media.obey(call, order)
    }
}

//! What comes in: datagrams and messages of streams, in bursts.

use super::strangers::SHARE;
use super::{BURST, Front};
use crate::bridge::Look;
use crate::io::clock;
use crate::io::transport::Counters;
use crate::io::transport::stream::Happened;
use crate::io::transport::stun;
use crate::io::transport::udp::Received;
use crate::sip::scan::Unreadable;
use crate::sip::{Flow, Message, Transport};
use bytes::Bytes;
use std::task::{Context, Poll};

impl Front {
    /// Reads one socket; true if there may be more.
    pub(super) fn read(&mut self, at: usize, cx: &mut Context<'_>) -> bool {
        for _ in 0..BURST {
            let Some(inbox) = self.inboxes.get(at) else { return false };
            match inbox.poll(cx, &mut self.buffer) {
                Poll::Ready(Received::Datagram(n, flow)) => {
                    let datagram = self.buffer.get(..n).unwrap_or_default();
                    if let Some(answer) = stun::answer(datagram, flow.remote) {
                        self.worker.send_plain(flow, answer, &mut self.near);
                        continue;
                    }
                    // Keep-alives (RFC 5626 section 3.5.1 and the empty datagrams of others).
                    if n > 4 || !datagram.iter().all(|b| matches!(b, b'\r' | b'\n' | 0)) {
                        self.datagram(flow, n);
                    }
                }
                Poll::Ready(Received::Refused(remote)) => self.unreachable(Transport::Udp, remote),
                Poll::Ready(Received::Broken) => {
                    self.inboxes.remove(at);
                    return false;
                }
                Poll::Pending => return false,
            }
        }
        true
    }

    /// Looks at the datagram of `n` bytes in the buffer: junk is counted, and an ordinary call's first message waits unread in
    /// the lane. All others are read.
    fn datagram(&mut self, flow: Flow, n: usize) {
        let datagram = self.buffer.get(..n).unwrap_or_default();
        let look = self.classifier.first_look(flow, datagram);
        if look == Look::Junk {
            return Counters::add(&self.counters.unreadable);
        }
        let bytes = Bytes::copy_from_slice(datagram);
        let is_usual = look == Look::Ordinary && self.leaving.is_none() && self.ends.is_none();
        match &mut self.lane {
            Some(lane) if is_usual && lane.takes_new_calls() => {
                self.meter.taken();
                if lane.is_filling() {
                    self.repeats.note(flow.remote, &bytes);
                }
                lane.hand_over_unread(flow, bytes);
            }
            _ => self.arrived(flow, Message::scan(bytes)),
        }
    }

    /// A message of a neighbour's, of a registered device's or of a call's goes its way; a stranger's
    /// is one of so many, and waits where it is a datagram.
    fn arrived(&mut self, flow: Flow, scanned: Result<Message, Unreadable>) {
        if self.classifier.is_neighbours(flow) {
            return self.message(flow, scanned);
        }
        let Ok(msg) = scanned else { return Counters::add(&self.counters.unreadable) };
        if self.classifier.is_of_ours(&msg) || self.worker.shard().has_device_at(flow) {
            return self.message(flow, Ok(msg));
        }
        let by_datagram = flow.transport == Transport::Udp;
        if !self.strangers.admit(flow, &msg, clock::now()) {
            Counters::add(&self.counters.strangers);
            // A datagram's source may be forged: whoever is there hears nothing. Over a stream nobody asks again by himself.
            if !by_datagram {
                self.say_busy(flow, &msg);
            }
        } else if !by_datagram {
            // Whoever has a connection is where he says: a flood of forged datagrams must not make an agent's page wait.
            self.message(flow, Ok(msg));
        } else if !self.strangers.join(flow, msg) {
            Counters::add(&self.counters.overload);
        }
    }

    /// Takes some of the strangers' messages; true if more wait.
    pub(super) fn serve_strangers(&mut self) -> bool {
        for _ in 0..SHARE {
            let Some((flow, msg)) = self.strangers.next() else { break };
            self.message(flow, Ok(msg));
        }
        self.strangers.wait()
    }

    /// The same for all connections.
    pub(super) fn read_streams(&mut self, cx: &mut Context<'_>) -> bool {
        for _ in 0..BURST {
            match self.near.streams.poll(cx) {
                Poll::Ready(Happened::Message(flow, bytes)) => self.arrived(flow, Message::scan(bytes)),
                Poll::Ready(Happened::Broken(flow, bytes)) => self.message(flow, Message::scan(bytes).map(Message::unframed)),
                Poll::Ready(Happened::Unreachable(transport, remote)) => self.unreachable(transport, remote),
                Poll::Ready(Happened::Misfit(misfit)) => self.misfits.count(misfit),
                Poll::Ready(Happened::Closed) => {}
                Poll::Pending => return false,
            }
        }
        true
    }
}

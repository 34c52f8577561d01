//! Ordinary calls on the front's own thread, behind everything else that it does.
//!
//! On a machine with one or two cores a thread of their own costs more than it brings: two changes of threads for each message.
//! Here their messages wait in a bounded lane, and the front takes a few of them when nothing else is to be done: an emergency
//! waits for [`SHARE`] messages at most. When the lane is long, new calls are refused before they are queued. The
//! threads of larger machines are [`shards`](super::shards)'.

use super::shards::is_new_call;
use super::worker::{Outside, Worker};
use crate::io::clock;
use crate::sip::{Flow, Message};
use bytes::Bytes;
use std::collections::VecDeque;

/// Messages that wait at most.
const LONGEST: usize = 4096;
/// From here on new calls are refused.
const NO_NEW_CALLS: usize = 1024;
/// From here on a repeat may come before its original is looked at.
const FILLING: usize = NO_NEW_CALLS / 4;
/// Messages that are taken before the front looks at its sockets again.
const SHARE: usize = 16;

/// See the module's docs.
pub struct Lane {
    /// Whose calls they are.
    pub worker: Worker,
    waiting: VecDeque<(Flow, Waiting)>,
}

/// What waits.
#[expect(clippy::large_enum_variant, reason = "a message is moved into the queue, not allocated for it")]
enum Waiting {
    Message(Message),
    /// An INVITE outside a dialog, as it came.
    Invite(Bytes),
}

impl Lane {
    /// The lane of this shard, which is not shard 0.
    pub const fn new(worker: Worker) -> Self {
        Self { worker, waiting: VecDeque::new() }
    }

    /// Has a message wait; gives it back where there is no room for it. A repeated INVITE belongs to a call.
    pub fn hand_over(&mut self, flow: Flow, msg: Message) -> Option<Message> {
        let is_refused = !self.takes_new_calls() && is_new_call(&msg) && !self.worker.shard().has_invite_of(&msg);
        if is_refused || self.waiting.len() >= LONGEST {
            return Some(msg);
        }
        self.waiting.push_back((flow, Waiting::Message(msg)));
        None
    }

    /// Whether there is room for new calls.
    pub fn takes_new_calls(&self) -> bool {
        self.waiting.len() < NO_NEW_CALLS
    }

    /// Whether what is handed over now may wait for longer than it takes until it is repeated.
    pub fn is_filling(&self) -> bool {
        self.waiting.len() >= FILLING
    }

    /// Has an INVITE wait that nobody has read yet. It is one outside a dialog, and there is room.
    pub fn hand_over_unread(&mut self, flow: Flow, invite: Bytes) {
        self.waiting.push_back((flow, Waiting::Invite(invite)));
    }

    /// Takes some of what waits, and fires what is due; true if more waits.
    pub fn turn(&mut self, outside: &mut impl Outside) -> bool {
        for _ in 0..SHARE {
            let Some((flow, waiting)) = self.waiting.pop_front() else { break };
            let msg = match waiting {
                Waiting::Message(msg) => msg,
                // It has a start line, so it can be read.
                Waiting::Invite(bytes) => match Message::scan(bytes) {
                    Ok(msg) => msg,
                    Err(_) => continue,
                },
            };
            self.worker.receive(flow, msg, outside, clock::now());
        }
        self.worker.expire(outside, clock::now());
        !self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::side::SideSender;
    use crate::daemon::small;
    use crate::io::store;
    use crate::io::transport::Counters;
    use crate::io::transport::udp::Ports;
    use crate::sip::Transport;
    use crate::words::Time;
    use std::sync::Arc;

    fn lane() -> Lane {
        let setup = small::assembled(small::TOML, 7, 2, None).setup;
        let side = SideSender::new(tokio::sync::mpsc::unbounded_channel().0);
        let (ports, counters, keeper) = (Arc::new(Ports::default()), Arc::new(Counters::default()), store::in_memory().keeper);
        Lane::new(Worker::new(1, &setup, ports, counters, side, keeper, Time::from_micros(1_000_000_000)).expect("a shard"))
    }

    fn request(method: &str, to: &str) -> Message {
        let text = format!("{method} sip:x@y SIP/2.0\r\nTo: <sip:x@y>{to}\r\n\r\n");
        Message::scan(Bytes::from(text)).expect("a request")
    }

    #[test]
    fn b6_a_long_lane_takes_no_new_calls_but_what_belongs_to_those_that_are_up() {
        let flow = Flow {
            transport: Transport::Udp,
            listener: 0,
            remote: "127.0.0.1:15090".parse().expect("an address"),
            connection: 0,
            name: 0,
        };
        let mut lane = lane();
        while lane.takes_new_calls() {
            lane.hand_over_unread(flow, Bytes::from_static(b"INVITE sip:x@y SIP/2.0\r\n\r\n"));
        }
        assert_eq!(lane.waiting.len(), NO_NEW_CALLS);
        lane.waiting.clear();
        let taken = (0..LONGEST).take_while(|_| lane.hand_over(flow, request("INVITE", "")).is_none()).count();
        assert_eq!(taken, NO_NEW_CALLS);
        for (method, to) in [("BYE", ";tag=1"), ("INVITE", ";tag=1"), ("CANCEL", "")] {
            assert!(lane.hand_over(flow, request(method, to)).is_none(), "{method}");
        }
        let more = (0..LONGEST).take_while(|_| lane.hand_over(flow, request("BYE", ";tag=1")).is_none()).count();
        assert_eq!(more, LONGEST - NO_NEW_CALLS - 3);
    }
}

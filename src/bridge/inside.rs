//! A caller of our own: the daemon places a test call as an agent would, through everything that hers goes through.
//!
//! Its messages come in by a flow that no socket has, so that nobody outside can be it; what goes there is handed to
//! whoever plays the caller. Only a test may be dialed: who lets it in asks
//! [`Gateway::is_test_for`](crate::emergency::gateway::Gateway::is_test_for) first, and the writer's guard stands behind
//! (RULES R5).

use super::shard::Shard;
use crate::emergency::facts::AgentId;
use crate::sip::{Flow, Message, Transport};
use crate::words::Time;
use std::net::{Ipv4Addr, SocketAddr};

/// The connection that is none: those of sockets count from 1.
const CONNECTION: u32 = u32::MAX;

/// The way to the caller of our own.
pub const INSIDE: Flow = Flow {
    transport: Transport::Tcp,
    listener: 0,
    remote: SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9),
    connection: CONNECTION,
    name: 0,
};

/// Whether this leads to the caller of our own.
pub const fn is_inside(flow: Flow) -> bool {
    flow.connection == CONNECTION
}

impl Shard {
    /// What the caller of our own says; it is this agent.
    pub fn receive_inside(&mut self, agent: AgentId, msg: Message, now: Time) {
        self.inside = Some(agent);
        self.receive(INSIDE, msg, now);
        self.inside = None;
    }
}

//! The decisions on their way out, in order.
//!
//! Not a log and not a channel: a plain queue that [`Gateway::poll`](super::gateway::Gateway::poll) drains.

use std::collections::{BTreeSet, VecDeque};

use super::facts::{CallEffect, CallId, Output, Side, TrunkId};

/// A queue of decisions, and which alarms stand.
#[derive(Debug, Default)]
pub struct Outputs {
    queue: VecDeque<Output>,
    raised: BTreeSet<&'static str>,
    /// Those that were to be raised while they stood.
    repeated: BTreeSet<&'static str>,
}

impl Outputs {
    /// Something on the wire.
    pub fn call(&mut self, effect: CallEffect) {
        self.queue.push_back(Output::Call(effect));
    }

    /// Something beside the call.
    pub fn side(&mut self, side: Side) {
        self.queue.push_back(Output::Side(side));
    }

    /// A line for the log.
    pub fn log(&mut self, event: &'static str, call: CallId, trunk: Option<TrunkId>) {
        self.side(Side::Log { event, call, trunk });
    }

    /// Raises or clears an alarm; says so only if that is news.
    pub fn alarm(&mut self, name: &'static str, raised: bool) {
        let news = self.alarm_news(name, raised);
        self.queue.extend(news.map(Output::Side));
    }

    /// The same for an alarm that must wait until the call is placed.
    pub fn alarm_news(&mut self, name: &'static str, raised: bool) -> Option<Side> {
        let news = if raised { self.raised.insert(name) } else { self.raised.remove(name) };
        if raised && !news {
            self.repeated.insert(name);
        }
        news.then_some(Side::Alarm { name, raised })
    }

    /// Whether the alarm stands.
    pub fn is_raised(&self, name: &str) -> bool {
        self.raised.contains(name)
    }

    /// Whether there was one more reason for the alarm while it stood, since this was asked last.
    pub fn take_repeat(&mut self, name: &str) -> bool {
        self.repeated.remove(name)
    }

    /// The next decision.
    pub fn pop(&mut self) -> Option<Output> {
        self.queue.pop_front()
    }
}

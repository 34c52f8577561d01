//! What others may ask the threads that carry calls, and how much at once.
//!
//! A question is answered in one turn of a thread's loop with [`SLICE`] entries at most; whoever wants more asks again
//! with what the last slice ended with. So a list of 100,000 leases takes no more of a turn than a few messages do.

use crate::bridge::{OrdinaryView, Shard};
use crate::emergency::facts::CallId;
use crate::emergency::gateway::CallView;
use crate::emergency::lease::{View, ViewMark};
use tokio::sync::oneshot;

/// Entries that are looked at in one turn at most.
pub const SLICE: usize = 256;

/// Part of a list, and where to go on; `None` at its end.
pub type Slice<T, M> = (Vec<(M, T)>, Option<M>);

/// A question. Where there is no time for it, the answer's other end is dropped.
pub enum Ask {
    /// Running emergency calls and callbacks; asked of the front.
    Emergencies {
        /// Those after this one.
        after: Option<CallId>,
        /// The answer.
        answer: oneshot::Sender<Slice<CallView, CallId>>,
    },
    /// Leases, late ones among them; asked of the front.
    Leases {
        /// Those after this one.
        after: Option<ViewMark>,
        /// The answer.
        answer: oneshot::Sender<Slice<View, ViewMark>>,
    },
    /// A shard's running ordinary calls.
    Ordinary {
        /// The shard.
        shard: u8,
        /// Those after so many.
        after: usize,
        /// The answer.
        answer: oneshot::Sender<Slice<OrdinaryView, usize>>,
    },
}

impl Ask {
    /// Answers from this shard.
    pub fn answer(self, shard: &Shard) {
        match self {
            Self::Emergencies { after, answer } => {
                let Some(story) = shard.story() else { return };
                let calls: Vec<_> = story.calls_after(after).take(SLICE).map(|c| (c.call, c)).collect();
                let _ = answer.send(with_mark(calls));
            }
            Self::Leases { after, answer } => {
                let Some(story) = shard.story() else { return };
                let _ = answer.send(story.leases_after(after, SLICE));
            }
            Self::Ordinary { after, answer, .. } => {
                let calls: Vec<_> = (after + 1..).zip(shard.ordinary_calls(after).take(SLICE)).collect();
                let _ = answer.send(with_mark(calls));
            }
        }
    }
}

/// A full slice may have another one after it.
fn with_mark<T, M: Copy>(entries: Vec<(M, T)>) -> Slice<T, M> {
    let next = entries.last().map(|(mark, _)| *mark).filter(|_| entries.len() >= SLICE);
    (entries, next)
}

//! What others may ask the threads that carry calls, and how much at once.
//!
//! A question is answered in one turn of a thread's loop with [`SLICE`] entries at most; whoever wants more asks again
//! with what the last slice ended with. So a list of 100,000 leases takes no more of a turn than a few messages do.

use crate::bridge::{DeskView, OrdinaryView, Shard};
use crate::emergency::facts::{CallId, TrunkId};
use crate::emergency::gateway::{CallView, Lead, PanelView};
use crate::emergency::lease::{View, ViewMark};
use crate::emergency::prerequisites::CameBack;
use crate::emergency::presence::{self, PresenceState};
use crate::words::{E164, Position, Private, Time};
use bytes::Bytes;
use tokio::sync::mpsc::UnboundedSender;
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
    /// A test call that the daemon places as an agent would; asked of the front.
    Dial {
        /// Her id.
        agent: Private<String>,
        /// The whole INVITE.
        invite: Bytes,
        /// What is answered.
        heard: UnboundedSender<Bytes>,
        /// When it was taken, or why not.
        answer: oneshot::Sender<Result<Time, NoDial>>,
    },
    /// What that caller says next; asked of the front.
    Say(Bytes),
    /// Where callbacks to an agent's numbers would lead; asked of the front.
    Leads {
        /// Her id.
        agent: Private<String>,
        /// The answer.
        answer: oneshot::Sender<Vec<Lead>>,
    },
    /// A call to a callback number of a trunk, to see whether it comes back; asked of the front.
    CallOurselves {
        /// The trunk.
        trunk: TrunkId,
        /// The number; any that is free otherwise.
        number: Option<Private<E164>>,
        /// Random: chooses among the free ones.
        pick: u64,
        /// What to ask for it with; none: there are not two numbers.
        answer: oneshot::Sender<Option<u32>>,
    },
    /// What came of it, if anything yet; asked of the front.
    SelfCall {
        /// Which.
        id: u32,
        /// The answer.
        answer: oneshot::Sender<Option<CameBack>>,
    },
    /// How many devices these agents have registered; asked of the front.
    Registered {
        /// Their ids, [`SLICE`] at most.
        agents: Vec<Private<String>>,
        /// The answer, in the same order.
        answer: oneshot::Sender<Vec<usize>>,
    },
    /// Which neighbours answer; asked of the front.
    Neighbours {
        /// Ask the desks anew, unless that is under way.
        anew: bool,
        /// The answer.
        answer: oneshot::Sender<Neighbours>,
    },
    /// What an agent's page shows; asked of the front.
    Panel {
        /// Her id.
        agent: Private<String>,
        /// The answer.
        answer: oneshot::Sender<PanelView>,
    },
    /// Where an agent's browser says that she is; asked of the front.
    Position {
        /// Her id.
        agent: Private<String>,
        /// Where.
        position: Private<Position>,
        /// Whether there is such an agent.
        answer: oneshot::Sender<bool>,
    },
    /// An agent's presence; asked of the front.
    Presence {
        /// Her id.
        agent: Private<String>,
        /// What to do before the answer.
        set: SetPresence,
        /// The answer; none: nobody has that id.
        answer: oneshot::Sender<Option<presence::View>>,
    },
}

impl Ask {
    /// Answers from this shard; a question about presence is the front's own business.
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
            Self::Registered { agents, answer } => {
                let Some(story) = shard.story() else { return };
                let _ = answer.send(agents.iter().take(SLICE).map(|id| story.devices_of(id)).collect());
            }
            Self::Neighbours { answer, .. } => {
                let Some(story) = shard.story() else { return };
                let heard = story.site().trunk_ids().map(|(id, _)| id).filter(|id| shard.has_heard_of(*id));
                let _ = answer.send(Neighbours { desks: shard.desks().collect(), trunks: heard.collect() });
            }
            Self::Panel { agent, answer } => {
                let Some(story) = shard.story() else { return };
                let _ = answer.send(story.panel_of(agent.reveal()));
            }
            Self::SelfCall { id, answer } => {
                let _ = answer.send(shard.self_call(id));
            }
            // The front's own business.
            Self::Presence { .. }
            | Self::Position { .. }
            | Self::Dial { .. }
            | Self::Say(_)
            | Self::Leads { .. }
            | Self::CallOurselves { .. } => {}
        }
    }
}

/// Why a test call is not placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoDial {
    /// Nobody has that id.
    Nobody,
    /// What is dialed is no test (RULES R5).
    NoTest,
    /// She has an open lease of an emergency call, which is not to be touched.
    Leased,
}

/// What is known of the neighbours that are asked whether they answer.
#[derive(Clone, Debug)]
pub struct Neighbours {
    /// The desks that were asked last.
    pub desks: Vec<DeskView>,
    /// The trunks of which it is known whether they answer.
    pub trunks: Vec<TrunkId>,
}

/// What is to become of an agent's presence.
pub enum SetPresence {
    /// Nothing: it is only asked for.
    Keep,
    /// She set it by hand, with a note.
    State(PresenceState, Private<String>),
    /// The hold after her emergency call ends.
    Dismiss,
}

/// A full slice may have another one after it.
fn with_mark<T, M: Copy>(entries: Vec<(M, T)>) -> Slice<T, M> {
    let next = entries.last().map(|(mark, _)| *mark).filter(|_| entries.len() >= SLICE);
    (entries, next)
}

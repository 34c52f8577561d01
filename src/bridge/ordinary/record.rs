//! The record of an ordinary call that is over (RULES A7), and the view of one that runs.
//!
//! An emergency call has no record, by type: an [`OrdinaryCall`] is made from a [`Ticket`], a ticket is written only
//! where an ordinary call begins, and only a call's `Hunt` has one; emergency calls and callbacks have no hunt.

use crate::emergency::facts::{Origin, PeerId, TrunkId};
use crate::emergency::site::Site;
use crate::words::{Private, Time};

/// An ordinary call that is over. No other module can make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrdinaryCall {
    /// Which way, between whom, since when.
    pub view: OrdinaryView,
    /// When it ended.
    pub ended: Time,
    /// `answered`, `cancelled`, `busy`, `no_answer`, `not_found`, `refused` or `failed`.
    pub outcome: &'static str,
    /// Keeps others from making one.
    _ordinary: Only,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Only;

/// An ordinary call as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrdinaryView {
    /// `outbound` (over a trunk) or `inbound`.
    pub direction: &'static str,
    /// The user of From.
    pub from: Private<String>,
    /// The dialed user.
    pub to: Private<String>,
    /// The peer on its one side.
    pub peer: Option<String>,
    /// The trunk on its other side.
    pub trunk: Option<String>,
    /// When its INVITE came.
    pub started: Time,
    /// When it was answered.
    pub answered: Option<Time>,
}

/// What will be recorded of an ordinary call that runs.
pub(in crate::bridge) struct Ticket {
    origin: Origin,
    from: Private<String>,
    to: Private<String>,
    started: Time,
    answered: Option<Time>,
    /// Where it was tried last.
    peer: Option<PeerId>,
    trunk: Option<TrunkId>,
}

impl Ticket {
    /// For an ordinary call that begins.
    pub(super) fn new(origin: Origin, from: String, to: String, started: Time) -> Self {
        let (from, to) = (Private::new(from), Private::new(to));
        Self { origin, from, to, started, answered: None, peer: None, trunk: None }
    }

    /// It is tried over this trunk, at this peer, or at a device.
    pub(super) fn tried(&mut self, trunk: Option<TrunkId>, peer: Option<PeerId>) {
        (self.trunk, self.peer) = (trunk, peer);
    }

    /// It was answered.
    pub(super) fn answered(&mut self, now: Time) {
        self.answered.get_or_insert(now);
    }

    /// As it is now.
    pub(super) fn view(&self, site: &Site) -> OrdinaryView {
        let is_outbound = match self.origin {
            Origin::Peer(_) | Origin::Agent(_) => true,
            Origin::Both(..) => self.trunk.is_some(),
            Origin::Trunk(_) | Origin::Stranger => false,
        };
        let (from_peer, from_trunk) = match self.origin {
            Origin::Peer(peer) => (Some(peer), None),
            Origin::Trunk(trunk) => (None, Some(trunk)),
            Origin::Both(peer, _) if is_outbound => (Some(peer), None),
            Origin::Both(_, trunk) => (None, Some(trunk)),
            Origin::Agent(_) | Origin::Stranger => (None, None),
        };
        let (peer, trunk) = (from_peer.or(self.peer), from_trunk.or(self.trunk));
        OrdinaryView {
            direction: if is_outbound { "outbound" } else { "inbound" },
            from: self.from.clone(),
            to: self.to.clone(),
            peer: peer.and_then(|p| site.peer(p)).map(|p| p.name.clone()),
            trunk: trunk.and_then(|t| site.trunk(t)).map(|t| t.name.clone()),
            started: self.started,
            answered: self.answered,
        }
    }

    /// The call is over, with this final status towards the caller.
    pub(super) fn over(self, site: &Site, status: u16, now: Time) -> OrdinaryCall {
        let outcome = match status {
            _ if self.answered.is_some() => "answered",
            487 => "cancelled",
            486 | 600 => "busy",
            408 | 480 => "no_answer",
            404 | 484 | 604 => "not_found",
            500..=599 => "failed",
            _ => "refused",
        };
        OrdinaryCall { view: self.view(site), ended: now, outcome, _ordinary: Only }
    }
}

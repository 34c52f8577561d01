//! Floor 1: the story of an emergency call and of the call back, and its policy. Pure.
//!
//! No sockets, no clock, no randomness: facts go in as [`facts::Input`], decisions come out as
//! [`facts::Output`]. Read [`gateway`] first (one function tells the story), then [`path`] (where a call goes)
//! and [`lease`] (which number it shows, and whom that number leads back to). It is not a SIP stack: what a
//! decision means on the wire is the bridge's business.
//!
//! Policy, free functions on data: [`number`], [`caller`], [`abroad`], [`path`], [`ladder`], [`callback`], [`presence`],
//! [`notice`], [`privacy`], [`prerequisites`]. Mechanism: [`gateway`], [`call`] (the call out), [`ringing`] (the call back), [`second_call`],
//! [`reading`] (a test that nobody took), [`lease`], [`lane`], [`outputs`].

pub mod abroad;
pub mod call;
pub mod callback;
pub mod caller;
pub mod devices;
pub mod facts;
pub mod gateway;
pub mod kept;
pub mod ladder;
pub mod lane;
pub mod lease;
mod legs;
pub mod lookups;
pub mod notice;
pub mod number;
pub mod outputs;
pub mod path;
mod positions;
pub mod prerequisites;
pub mod presence;
pub mod privacy;
pub mod reading;
mod reserve;
pub mod ringing;
pub mod second_call;
pub mod site;

#[cfg(test)]
pub(crate) mod scenarios;

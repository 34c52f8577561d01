//! Where host names lead: NAPTR, SRV, A and AAAA (RFC 3263), asked for ahead of need and kept.
//!
//! Nothing on a call's way waits for it: [`Keeper`] runs beside the calls, asks anew before an answer is too old, and tells
//! what changed as plain data. While the servers are silent, or say that a name is not there which was, the last good
//! answer stays. What is asked is a [`Question`]; how it becomes addresses is told in [`locate`].

mod keeper;
mod locate;
mod servers;

pub use keeper::{Answers, Keeper, Wanted};
pub use locate::{Question, Speech, Way};

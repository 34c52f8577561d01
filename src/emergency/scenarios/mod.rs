//! The story played through: facts in, decisions out, the clock is a number.

mod alarms;
mod callbacks;
mod leases;
mod placing;
mod restart;
mod second_calls;
mod test_calls;
pub(super) mod world;

pub(crate) use world::site;

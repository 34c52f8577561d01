//! Calls in a world on paper: what goes in and what comes out, message by message, without a socket or a clock.

#![allow(unreachable_pub, reason = "a test has no outside")]

mod anchors;
mod callbacks;
mod corners;
mod dialogs;
mod emergencies;
mod hostile;
mod location;
mod names;
mod ordinary;
mod outbound;
mod phones;
mod presence;
mod read_back;
mod registering;
mod restart;
mod second_calls;
mod self_calls;
mod trunk_digest;
mod world;

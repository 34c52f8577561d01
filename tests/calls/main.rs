//! Calls in a world on paper: what goes in and what comes out, message by message, without a socket or a clock.

#![allow(unreachable_pub, reason = "a test has no outside")]

mod anchor_corners;
mod anchors;
mod browsers;
mod callbacks;
mod corners;
mod dialogs;
mod emergencies;
mod first_look;
mod hostile;
mod location;
mod names;
mod ordinary;
mod outbound;
mod overload;
mod pages;
mod phones;
mod presence;
mod read_back;
mod registering;
mod restart;
mod second_calls;
mod self_calls;
mod trunk_digest;
mod world;

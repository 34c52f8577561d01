//! Calls in a world on paper: what goes in and what comes out, message by message, without a socket or a clock.

mod callbacks;
mod emergencies;
mod ordinary;
mod world;

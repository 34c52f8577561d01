//! e911d, a SIP emergency gateway: it stands between a PBX's phones and its trunks, takes every 911 call out over
//! whichever trunk works, shows the PSAP a callback number that is leased to the caller for at least an hour, and brings
//! the PSAP's call back to that very person ahead of everything.
//!
//! # The map
//!
//! Five floors; each imports only lower ones (`tests/house.rs` reads the imports and names every breach).
//!
//! | floor | module | what |
//! |---|---|---|
//! | 0 | [`words`] | the field's nouns: numbers, URIs, number plans, time, what is private |
//! | 1 | [`emergency`] | the story and its policy; pure |
//! | 1 | [`pool`] | callback numbers, lock-free |
//! | 1 | [`sip`] | the SIP core, sans-IO; knows nothing of emergencies |
//! | 2 | [`bridge`] | SIP events become the story's inputs, its effects become SIP; ordinary calls; still sans-IO |
//! | 3 | [`io`] | sockets, store, notifier, and the one clock |
//! | 4 | [`daemon`] | config, assembly, threads, HTTP, signals, the commands |
//!
//! # The two stories
//!
//! *911 goes out*: a datagram is read in `daemon::front`, scanned by [`sip::Message::scan`], matched by
//! [`sip::Endpoint::receive`], and its INVITE told to [`emergency::gateway::Gateway::handle`], whose one function for
//! an INVITE reads like the requirement. What it decides, [`bridge::Shard`] says on the wire.
//!
//! *The PSAP calls back*: the same way in; the callback look-up stands before everything else in that function.
//!
//! # What the pieces promise each other
//!
//! Deciding and doing are apart: floors 0 to 2 open no socket, read no clock, draw no random number. Time is an argument
//! ([`words::Time`]), work comes out as plain data ([`emergency::facts::Output`], [`bridge::Do`]). What happens beside a
//! call has no way back into it: there is no input that says "the mail failed".

pub mod bridge;
pub mod daemon;
pub mod emergency;
pub mod io;
pub mod pool;
pub mod sip;
pub mod words;

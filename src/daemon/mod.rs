//! Floor 4: configuration, assembly and the running program.
//!
//! [`run`] is the daemon: it reads the [`config`], [`assemble`]s what the floors below work from, opens the sockets and
//! starts the threads. [`front`] is the loop that receives everything and carries emergency calls, [`shards`] the threads
//! for ordinary calls ([`lane`] where there are none), [`side`] the thread for all that no call waits for: log, metrics,
//! alarms, notices, and [`serve`] with the [`api`] and the [`pages`] behind it. [`client`] has the commands that ask a
//! running daemon.
//!
//! Read [`run::run`] first, then [`front::Front`].

pub mod api;
pub mod ask;
pub mod assemble;
pub mod board;
mod borders;
pub mod cli;
pub mod client;
pub mod config;
pub mod control;
pub mod demo;
pub mod front;
pub mod guesses;
pub mod handover;
pub mod lane;
mod leaving;
pub mod log;
mod names;
pub mod overload;
mod pages;
pub mod passes;
pub mod readiness;
pub mod records;
pub mod repeats;
pub mod roster;
pub mod run;
pub mod serve;
pub mod shards;
pub mod side;
#[doc(hidden)]
pub mod small;
pub mod systemd;
pub mod test_call;
pub mod worker;

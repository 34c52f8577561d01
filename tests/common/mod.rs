//! Real SIP software and real sockets around the gateway under test.
//!
//! A [`World`] is a gateway with a PBX and two trunks in a loopback network of its own. The neighbours are played by
//! SIPp ([`Sipp`]), Kamailio ([`Kamailio`]), baresip ([`Baresip`]) or, where an assertion needs more than they
//! say, by [`Peer`], a SIP speaker of a few lines that knows no transactions. Everything that is started dies with its value.
#![allow(dead_code, unused_imports, unused_macros, unreachable_pub)] // each test file uses a part of this

pub mod abuse;
pub mod baresip;
pub mod callers;
pub mod child;
pub mod chromium;
pub mod clock;
pub mod crowd;
pub mod dnsmasq;
pub mod flood;
pub mod gateway;
pub mod kamailio;
pub mod large;
pub mod linphone;
pub mod loss;
pub mod mailbox;
pub mod message;
pub mod net;
pub mod ordered;
pub mod peer;
pub mod psap;
pub mod pulse;
pub mod rtp;
pub mod sipp;
pub mod story;
pub mod testdata;
pub mod tls;
pub mod websocket;

pub use baresip::Baresip;
pub use callers::Callers;
pub use clock::{Deadline, until};
pub use dnsmasq::Dnsmasq;
pub use gateway::{Agent, Config, Gateway, Trunk, World};
pub use kamailio::Kamailio;
pub use linphone::Linphone;
pub use message::Message;
pub use net::{Net, Transport};
pub use peer::{Dialog, Outgoing, Peer, SDP};
pub use sipp::Sipp;

/// Leaves the test, loudly, where a program is not installed. With `E911D_REQUIRE_PEERS=1` that is a failure.
macro_rules! require {
    ($($program:literal from $package:literal),+ $(,)?) => {
        $(if !crate::common::child::is_installed($program, $package) { return; })+
    };
}
pub(crate) use require;

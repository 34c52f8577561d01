//! Floor 2: between the SIP core and the story. Still sans-IO.
//!
//! SIP [events](crate::sip::Event) become emergency [inputs](crate::emergency::facts::Input), decided effects become SIP;
//! the two sides of every call are paired here, and ordinary calls are routed here. It decides nothing about
//! emergencies: that is `emergency/`. It opens no sockets: that is `io/`.
//!
//! Read [`Shard`] first: it owns one thread's calls.

mod access;
mod again;
mod anchor;
mod bindings;
mod call;
mod challenge;
mod compose;
mod desks;
mod dialog;
mod emergency;
mod extensions;
mod failover;
mod first_look;
mod flows;
mod health;
mod inside;
mod keep_open;
mod kept;
mod lines;
mod links;
mod location;
mod ordinary;
mod overload;
mod own;
mod page;
mod panel;
mod publication;
mod read_back;
mod registrar;
mod registration;
mod self_call;
mod shard;
mod sources;
mod understood;

pub use access::Access;
pub use anchor::{Anchoring, BrowserEnd, End, Joined, Pair, RelayOrder, Srtp, ports_in};
pub use desks::DeskView;
pub use first_look::Look;
pub use health::Trouble;
pub use inside::{INSIDE, is_inside};
pub use lines::{Agents, Lines};
pub use links::{Classifier, Credentials, Link, Links, MediaPolicy};
pub use ordinary::{OrdinaryCall, OrdinaryView};
pub use panel::{Own, PanelKey};
pub use publication::Publisher;
pub use read_back::{MediaOrder, Opened, ReadOut};
pub use registration::Registering;
pub use shard::{Census, Do, Setup, Shard};
pub use sources::{Source, Sources};

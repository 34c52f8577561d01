//! Floor 1: the SIP core, sans-IO.
//!
//! Reads the wire ([`scan`], [`frame`]), writes it ([`write`](mod@write), copy-editing relayed messages from their own bytes), and
//! keeps transactions and dialogs ([`endpoint`]). It opens no sockets, reads no clock, and knows nothing of
//! emergencies. `compose` is the only place that names `rsip`: it composes the few requests that are our own.
//!
//! Read [`endpoint::Endpoint`] first, then [`scan::Message`].

pub mod browser;
pub mod compose;
pub mod dialog;
pub mod digest;
pub mod endpoint;
pub mod flow;
pub mod frame;
pub mod header;
pub mod ids;
pub mod kept;
pub mod offer;
pub mod overload;
pub mod relayed;
pub mod scan;
pub mod sdes;
pub mod sdp;
pub mod timer;
pub mod transaction;
pub mod write;

mod challenged;
mod client;
mod dialogs;
mod late;
mod server;

pub use challenged::Request;
pub use endpoint::{Endpoint, Event, Transmit};
pub use flow::{Flow, Local, Locals, Transport};
pub use scan::{Message, Method, Name};
pub use server::stateless;

slotmap::new_key_type! {
    /// Names a request of ours.
    pub struct ClientKey;
    /// Names a request to us.
    pub struct ServerKey;
    /// Names a dialog.
    pub struct DialogKey;
}

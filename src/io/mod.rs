//! Floor 3: the plugs. One folder each; they execute plain data and decide nothing.
//!
//! [`transport`] moves SIP over sockets, [`store`] makes leases durable, [`notifier`] writes to the contacts, [`clock`] is where
//! time enters, [`dns`] finds where names lead, [`kill`] where tests end the process, [`media`] speaks, [`memory`]
//! gives back what is not used any more. No plug knows what an emergency is. Which plugs there
//! are and how they are joined is the business of `daemon/`.

pub mod clock;
pub mod dns;
pub mod kill;
pub mod media;
pub mod memory;
pub mod notifier;
pub mod store;
pub mod transport;

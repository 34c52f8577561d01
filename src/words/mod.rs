//! Floor 0: the field's nouns. Parse and format only.
//!
//! No policy, no sockets, no clock. Read [`E164`], [`Time`] and [`Private`] first.

pub(crate) mod block;
mod civic;
mod country;
pub mod dial_string;
mod phone;
pub mod plan;
pub mod position;
mod private;
mod row;
pub mod service;
mod time;
pub mod uri;
pub mod wall;

pub use civic::Civic;
pub use country::Country;
pub use phone::E164;
pub use position::Position;
pub use private::Private;
pub use row::{Row, Saved, Table};
pub use time::Time;
pub use uri::{Scheme, Uri};

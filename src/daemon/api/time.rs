//! Times as the API writes them: RFC 3339, in UTC.

use crate::io::clock;
use crate::words::Time;
pub use crate::words::wall::rfc3339;

/// A moment of boot time, by what both clocks say at present.
pub fn moment(at: Time) -> String {
    rfc3339(clock::wall_at(at))
}

//! Whoever knocks at the wrong door: plain text where TLS is spoken, TLS where it is not.

use std::time::Duration;

use crate::daemon::side::{SideSender, ToSide};
use crate::io::transport::connection::Misfit;
use crate::words::Time;

/// Connections that began wrongly, told at most once in a while: whoever knocks at the wrong door fills no log.
#[derive(Default)]
pub(super) struct Misfits {
    counted: [u64; 3],
    next: Time,
}

impl Misfits {
    const PAUSE: Duration = Duration::from_secs(10);
    const WHY: [&'static str; 3] = ["no TLS on a TLS port", "no SIP on a SIP port; TLS perhaps", "a TLS handshake failed"];

    /// One more.
    pub(super) const fn count(&mut self, misfit: Misfit) {
        self.counted[match misfit {
            Misfit::NotTls => 0,
            Misfit::NotSip => 1,
            Misfit::Handshake => 2,
        }] += 1;
    }

    /// Tells of what was counted, if the pause is over.
    pub(super) fn report(&mut self, side: &SideSender, now: Time) {
        if now < self.next || self.counted == [0; 3] {
            return;
        }
        self.next = now + Self::PAUSE;
        for (why, count) in Self::WHY.into_iter().zip(std::mem::take(&mut self.counted)).filter(|(_, n)| *n > 0) {
            side.send(ToSide::Misfits(why, count));
        }
    }
}

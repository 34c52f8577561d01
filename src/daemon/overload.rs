//! How many new ordinary calls we turn away, and what our neighbours are asked to keep to themselves because of it (RFC 7339).
//!
//! Nobody is asked while nothing is turned away. What is asked for then is what would have fitted; it falls again by a tenth a
//! quarter of a second, so that room that has become free is found. Those who obey nothing are not told apart: they get 503.

use crate::sip::overload::Load;
use crate::words::Time;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(250);
/// A neighbour that sends nothing does not find out that there is room again.
const MOST: f64 = 95.0;

/// See the module's docs. New ordinary calls only: emergencies are not counted, since nobody may hold them back.
pub struct Meter {
    load: Arc<Load>,
    taken: u32,
    turned_away: u32,
    since: Time,
}

impl Meter {
    /// A meter that says what it finds to this.
    pub const fn new(load: Arc<Load>) -> Self {
        Self { load, taken: 0, turned_away: 0, since: Time::ZERO }
    }

    /// A new call was taken.
    pub const fn taken(&mut self) {
        self.taken = self.taken.saturating_add(1);
    }

    /// One was turned away.
    pub const fn turned_away(&mut self) {
        self.turned_away = self.turned_away.saturating_add(1);
    }

    /// How full we are.
    pub fn load(&self) -> &Load {
        &self.load
    }

    /// Looks, if it is time to. `wall` is asked where there is something to say.
    pub fn look(&mut self, now: Time, wall: impl FnOnce() -> Duration) {
        if now.since(self.since) < PERIOD {
            return;
        }
        let before = self.load.percent();
        let after = next(before, self.taken, self.turned_away);
        (self.since, self.taken, self.turned_away) = (now, 0, 0);
        if (before, after) != (0, 0) {
            self.load.set(after, wall());
        }
    }
}

/// What is asked for next, of a hundred.
fn next(before: u8, taken: u32, turned_away: u32) -> u8 {
    let before = f64::from(before);
    let after = match f64::from(taken) + f64::from(turned_away) {
        offered if turned_away > 0 => 100.0 - (100.0 - before) * f64::from(taken) / offered,
        _ => (before - 1.0).min(before * 0.9),
    };
    after.clamp(0.0, MOST).round() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_what_would_have_fitted_and_then_less_and_less() {
        for (before, taken, turned_away, want) in [
            (0, 0, 0, 0),
            (0, 1000, 0, 0),
            (0, 750, 250, 25),
            (0, 0, 10, 95),
            (50, 500, 500, 75),
            (75, 100, 0, 68),
            (3, 100, 0, 2),
            (1, 0, 0, 0),
        ] {
            assert_eq!(next(before, taken, turned_away), want, "{before} {taken} {turned_away}");
        }
    }

    #[test]
    fn neighbours_that_obey_are_soon_asked_for_what_fits() {
        let mut percent = 0;
        for _ in 0..40 {
            let offered = 4000 * (100 - u32::from(percent)) / 100;
            let taken = offered.min(1000);
            percent = next(percent, taken, offered - taken);
        }
        assert!((65..=78).contains(&percent), "{percent} of a hundred, where 75 fit");
    }

    #[test]
    fn it_is_said_once_a_period_and_not_at_all_while_there_is_nothing_to_say() {
        let load = Arc::new(Load::default());
        let mut meter = Meter::new(Arc::clone(&load));
        let at = |millis: u64| Time::from_micros(1_000_000_000 + millis * 1000);
        meter.taken();
        meter.look(at(0), || panic!("nothing to say"));
        meter.turned_away();
        meter.look(at(249), || panic!("not yet"));
        assert_eq!(load.percent(), 0);
        meter.look(at(250), || Duration::from_secs(1));
        assert_eq!(load.percent(), 95);
    }
}

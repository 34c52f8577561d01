//! Whether a trunk can be relied on, from all that is known of it: its answers to OPTIONS, whether it lets us register.
//!
//! It orders trunks and raises alarms; no trunk is ever left out for it (RULES P6).

use super::shard::Shard;
use crate::emergency::facts::{Input, TrunkId};
use crate::words::Time;
use std::time::Duration;

/// Why a trunk counts as down although it may answer OPTIONS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It does not let us register (`register = true`).
    NotRegistered,
    /// Nobody knows yet where its name leads.
    Unresolved,
}

/// What a word about a trunk is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum About {
    Answers,
    Registration,
    Address,
}

/// One trunk's health.
///
/// It is down at the first bad word. A trunk that comes and goes is up again only once all words were good for a while, each
/// time twice as long: who watches alarms is told of it once.
#[derive(Debug, Default)]
pub(super) struct TrunkHealth {
    mute: bool,
    unregistered: bool,
    homeless: bool,
    /// What the story was told last.
    is_down: bool,
    /// Since when all is good, while it is still held down.
    good_since: Option<Time>,
    /// When it came up last.
    up_since: Option<Time>,
    hold: Duration,
}

/// A trunk that goes down again so soon after it came up is held down.
const SOON: Duration = Duration::from_secs(10 * 60);
const FIRST_HOLD: Duration = Duration::from_secs(60);
const LONGEST_HOLD: Duration = Duration::from_secs(10 * 60);

impl TrunkHealth {
    /// Takes a word in; whether the trunk is up, where that is news.
    fn note(&mut self, about: About, good: bool, now: Time) -> Option<bool> {
        match about {
            About::Answers => self.mute = !good,
            About::Registration => self.unregistered = !good,
            About::Address => self.homeless = !good,
        }
        let is_good = !self.mute && !self.unregistered && !self.homeless;
        if !is_good {
            self.good_since = None;
            return (!std::mem::replace(&mut self.is_down, true)).then(|| self.goes_down(now));
        }
        if !self.is_down || now.since(*self.good_since.get_or_insert(now)) < self.hold {
            return None;
        }
        (self.is_down, self.good_since, self.up_since) = (false, None, Some(now));
        Some(true)
    }

    fn goes_down(&mut self, now: Time) -> bool {
        let again = self.up_since.is_some_and(|up| now.since(up) < SOON);
        self.hold = if again { (self.hold * 2).clamp(FIRST_HOLD, LONGEST_HOLD) } else { Duration::ZERO };
        false
    }
}

impl Shard {
    /// What is wrong with trunks besides that they do not answer.
    pub fn troubles(&self) -> Vec<(TrunkId, Trouble)> {
        let all = (0u16..).map(TrunkId).zip(&self.own.health);
        let trouble = |h: &TrunkHealth| match h {
            TrunkHealth { homeless: true, .. } => Some(Trouble::Unresolved),
            TrunkHealth { unregistered: true, .. } => Some(Trouble::NotRegistered),
            _ => None,
        };
        all.filter_map(|(trunk, h)| Some((trunk, trouble(h)?))).collect()
    }

    /// Something was heard of a trunk.
    pub(super) fn trunk_is(&mut self, trunk: TrunkId, about: About, good: bool, now: Time) {
        if matches!(about, About::Answers) {
            self.own.heard.insert(trunk);
        }
        let Some(health) = self.own.health.get_mut(usize::from(trunk.0)) else { return };
        if let Some(up) = health.note(about, good, now) {
            self.tell_story(Some(Input::Health { trunk, up }), now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of a trunk that is asked every 30 s and answers like this: `.` well, `x` badly.
    fn told(answers: &str) -> Vec<(usize, bool)> {
        let mut health = TrunkHealth::default();
        let at = |i: usize| Time::from_micros(1_000_000_000) + Duration::from_secs(30 * i as u64);
        answers.bytes().enumerate().filter_map(|(i, b)| Some((i, health.note(About::Answers, b == b'.', at(i))?))).collect()
    }

    #[test]
    fn a_trunk_that_failed_once_is_up_at_its_next_answer() {
        assert_eq!(told("..x..."), [(2, false), (3, true)]);
    }

    #[test]
    fn a_trunk_that_comes_and_goes_stays_down_until_it_was_well_for_a_while() {
        assert_eq!(told("x.x.x.x.x.x."), [(0, false), (1, true), (2, false)]);
        assert_eq!(told("x.x...x.....x"), [(0, false), (1, true), (2, false), (5, true), (6, false), (11, true), (12, false)]);
    }

    #[test]
    fn long_after_a_trunk_came_up_nothing_is_held_against_it() {
        let quiet = ".".repeat(25);
        assert_eq!(told(&format!("x{quiet}x.")), [(0, false), (1, true), (26, false), (27, true)]);
    }

    #[test]
    fn a_trunk_is_up_only_if_it_answers_and_lets_us_register() {
        let (mut health, now) = (TrunkHealth::default(), Time::from_micros(1));
        assert_eq!(health.note(About::Registration, false, now), Some(false));
        assert_eq!(health.note(About::Answers, true, now), None);
        assert_eq!(health.note(About::Answers, false, now), None);
        assert_eq!(health.note(About::Registration, true, now), None);
        assert_eq!(health.note(About::Answers, true, now), Some(true));
    }
}

//! What has to be delivered, and when it is tried again (RULES A4).
//!
//! Sans-IO: [`Outbox::next`] says which letter to try, [`Outbox::settle`] learns what came of it, and time is an argument.
//! It knows nothing of SMTP. [`Spool`] is the seam for what survives a kill: a durable one is a new implementation of it.

use crate::words::{Private, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

/// First tries that run at once.
const FIRST_AT_ONCE: usize = 64;
/// Later tries that run at once; few, so that what fails does not crowd a server that is coming back.
const AGAIN_AT_ONCE: usize = 8;

/// By which way a letter goes. A new one is a line here, a file beside `smtp.rs` and `webhook.rs`, and an arm in `channel.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Mail.
    Smtp,
    /// A POST to `notify.webhook`.
    Webhook,
}

impl Way {
    /// As rows have it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Webhook => "webhook",
        }
    }

    /// The way of a row.
    pub(super) fn of_word(word: &str) -> Option<Self> {
        [Self::Smtp, Self::Webhook].into_iter().find(|way| way.word() == word)
    }
}

/// One message to one recipient, ready to go: every try sends the same bytes, its Message-ID among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// What tells it from every other letter, in this process and all before it; stands in its Message-ID. The same notice
    /// to the same recipient has the same name.
    pub name: String,
    /// By which way.
    pub way: Way,
    /// Whom.
    pub to: Private<String>,
    /// What.
    pub content: Private<Vec<u8>>,
}

/// The outbox's number for a letter. Never reused in a process; says nothing about anybody, so logs may have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LetterId(pub u64);

/// When a letter is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// After the first failure; doubled after each further one.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// So long after it was written comes the last try.
    pub last: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { first: Duration::from_secs(15), longest: Duration::from_secs(15 * 60), last: Duration::from_secs(24 * 3600) }
    }
}

impl Pace {
    /// So many times faster, for `--time-scale`.
    pub fn faster(self, times: u32) -> Self {
        let times = times.max(1);
        Self { first: self.first / times, longest: self.longest / times, last: self.last / times }
    }

    pub(super) fn pause(self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.first.saturating_mul(1 << doublings).min(self.longest)
    }
}

/// How far a letter has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// How long ago it was written.
    pub age: Duration,
    /// How often it was tried in vain.
    pub failures: u32,
}

/// A letter that is not delivered, as operators see it: nobody's name or address is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Its number.
    pub id: LetterId,
    /// By which way it goes.
    pub way: Way,
    /// How long ago it was written, and how often it was tried in vain.
    pub standing: Standing,
    /// When it is tried again; none: now.
    pub next: Option<Time>,
}

/// Keeps letters over a restart.
pub trait Spool: Send {
    /// This letter shall survive, as it stands now; said again after each failure.
    fn keep(&mut self, letter: &Letter, standing: Standing);
    /// This one is settled: nothing of it shall remain.
    fn forget(&mut self, letter: &Letter);
}

/// Keeps nothing: letters live as long as the process does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory;

impl Spool for Memory {
    fn keep(&mut self, _: &Letter, _: Standing) {}
    fn forget(&mut self, _: &Letter) {}
}

/// What became of a letter after a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The server took it.
    Delivered,
    /// Not yet; it is tried again after this time.
    Again(Duration),
    /// The last try failed as well.
    GivenUp,
}

/// The letters that are not delivered yet.
pub struct Outbox {
    spool: Box<dyn Spool>,
    letters: BTreeMap<LetterId, Entry>,
    /// By name: a notice that is told again becomes no second letter.
    names: BTreeSet<String>,
    /// Never tried.
    fresh: BTreeSet<LetterId>,
    /// Tried, by the time of the next try.
    again: BTreeSet<(Time, LetterId)>,
    first_running: usize,
    again_running: usize,
    last_id: u64,
}

struct Entry {
    letter: Arc<Letter>,
    /// When it came in here, and how it stood then.
    since: Time,
    then: Duration,
    failures: u32,
}

impl Entry {
    /// How long ago it was written, also where that was before the machine was booted.
    fn age(&self, now: Time) -> Duration {
        self.then + now.since(self.since)
    }
}

impl Outbox {
    /// An empty one.
    pub fn new(spool: Box<dyn Spool>) -> Self {
        Self {
            spool,
            letters: BTreeMap::new(),
            names: BTreeSet::new(),
            fresh: BTreeSet::new(),
            again: BTreeSet::new(),
            first_running: 0,
            again_running: 0,
            last_id: 0,
        }
    }

    /// Takes a letter in; it is due at once. None where one of this name is here already.
    pub fn put(&mut self, letter: Letter, now: Time) -> Option<LetterId> {
        if self.names.contains(&letter.name) {
            return None;
        }
        self.spool.keep(&letter, Standing::default());
        let id = self.add(letter, Standing::default(), now);
        self.fresh.insert(id);
        Some(id)
    }

    /// Takes a letter in that a process before us wrote; it is due at once, behind those that were never tried.
    pub fn take_up(&mut self, letter: Letter, standing: Standing, now: Time) {
        if self.names.contains(&letter.name) {
            return;
        }
        let id = self.add(letter, standing, now);
        if standing.failures == 0 {
            self.fresh.insert(id);
        } else {
            self.again.insert((now, id));
        }
    }

    /// A letter to try now, if there is one and not too many tries run already. Must be [settled](Self::settle).
    ///
    /// New letters go before those that failed, and failing ones never take the last place: a mail about a call that
    /// is up now does not wait behind an address that hangs.
    pub fn next(&mut self, now: Time) -> Option<(LetterId, Arc<Letter>)> {
        let id = self.next_fresh().or_else(|| self.next_again(now))?;
        self.letters.get(&id).map(|entry| (id, Arc::clone(&entry.letter)))
    }

    /// What came of a try.
    pub fn settle(&mut self, id: LetterId, delivered: bool, pace: Pace, now: Time) -> Settled {
        let Some(entry) = self.letters.get_mut(&id) else { return Settled::Delivered };
        let running = if entry.failures == 0 { &mut self.first_running } else { &mut self.again_running };
        *running = running.saturating_sub(1);
        let age = entry.age(now);
        if !delivered && age < pace.last {
            entry.failures += 1;
            let due = (now + pace.pause(entry.failures)).min(now + pace.last.saturating_sub(age));
            self.spool.keep(&entry.letter, Standing { age, failures: entry.failures });
            self.again.insert((due, id));
            return Settled::Again(due.since(now));
        }
        if let Some(entry) = self.letters.remove(&id) {
            self.names.remove(&entry.letter.name);
            self.spool.forget(&entry.letter);
        }
        if delivered { Settled::Delivered } else { Settled::GivenUp }
    }

    /// When [`next`](Self::next) may have a letter, unless something is settled or put before.
    pub fn deadline(&self) -> Option<Time> {
        if !self.fresh.is_empty() && self.first_running < FIRST_AT_ONCE {
            return Some(Time::ZERO);
        }
        if self.again_running >= AGAIN_AT_ONCE {
            return None;
        }
        self.again.first().map(|(due, _)| *due)
    }

    /// How many letters wait that have failed at least once, those that are being tried now among them.
    pub fn failing(&self) -> usize {
        self.again.len() + self.again_running
    }

    /// The letters after this one, `most` at most, and whether there are more.
    pub fn views(&self, after: LetterId, most: usize, now: Time) -> (Vec<View>, bool) {
        let dues: BTreeMap<LetterId, Time> = self.again.iter().map(|(due, id)| (*id, *due)).collect();
        let mut rest = self.letters.range((Bound::Excluded(after), Bound::Unbounded)).map(|(&id, entry)| {
            let standing = Standing { age: entry.age(now), failures: entry.failures };
            View { id, way: entry.letter.way, standing, next: dues.get(&id).copied() }
        });
        let found = rest.by_ref().take(most).collect();
        (found, rest.next().is_some())
    }

    /// How many letters are not delivered.
    pub fn len(&self) -> usize {
        self.letters.len()
    }

    /// Whether everything is delivered.
    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    fn add(&mut self, letter: Letter, standing: Standing, now: Time) -> LetterId {
        self.last_id += 1;
        let id = LetterId(self.last_id);
        self.names.insert(letter.name.clone());
        let letter = Arc::new(letter);
        self.letters.insert(id, Entry { letter, since: now, then: standing.age, failures: standing.failures });
        id
    }

    fn next_fresh(&mut self) -> Option<LetterId> {
        if self.first_running >= FIRST_AT_ONCE {
            return None;
        }
        let id = self.fresh.pop_first()?;
        self.first_running += 1;
        Some(id)
    }

    fn next_again(&mut self, now: Time) -> Option<LetterId> {
        let &(due, id) = self.again.first()?;
        if due > now || self.again_running >= AGAIN_AT_ONCE {
            return None;
        }
        self.again.pop_first();
        self.again_running += 1;
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn letter(to: &str) -> Letter {
        Letter { name: to.to_owned(), way: Way::Smtp, to: Private::new(to.to_owned()), content: Private::default() }
    }

    fn outbox() -> Outbox {
        Outbox::new(Box::new(Memory))
    }

    #[test]
    fn a4_a_letter_is_tried_after_15_s_then_with_back_off_up_to_15_min_for_24_h() {
        let (mut outbox, mut now) = (outbox(), Time::from_micros(5));
        let written = now;
        let id = outbox.put(letter("a"), now).expect("new");
        let mut pauses = Vec::new();
        loop {
            assert_eq!(outbox.next(now).map(|(id, _)| id), Some(id));
            match outbox.settle(id, false, Pace::default(), now) {
                Settled::Again(pause) => {
                    assert_eq!(outbox.deadline(), Some(now + pause));
                    assert!(outbox.next(now + pause - Duration::from_micros(1)).is_none(), "not before its time");
                    pauses.push(pause);
                    now += pause;
                }
                Settled::GivenUp => break,
                Settled::Delivered => panic!("it was not"),
            }
        }
        let first: Vec<_> = pauses.iter().take(8).map(Duration::as_secs).collect();
        assert_eq!(first, [15, 30, 60, 120, 240, 480, 900, 900]);
        assert_eq!(now.since(written), DAY, "the last try");
        assert!(outbox.is_empty() && outbox.deadline().is_none() && outbox.failing() == 0);
    }

    #[test]
    fn a4_a_letter_is_delivered_once() {
        let mut outbox = outbox();
        let id = outbox.put(letter("a"), Time::ZERO).expect("new");
        assert!(outbox.next(Time::ZERO).is_some());
        assert!(outbox.next(Time::ZERO + DAY).is_none(), "it is being tried");
        assert_eq!(outbox.settle(id, true, Pace::default(), Time::ZERO), Settled::Delivered);
        assert!(outbox.is_empty() && outbox.next(Time::ZERO + DAY).is_none());
    }

    #[test]
    fn a4_what_fails_does_not_hold_up_what_is_new() {
        let mut outbox = outbox();
        let now = Time::ZERO + SECOND;
        for n in 0..100 {
            outbox.put(letter(&format!("bad {n}")), now);
        }
        while let Some((id, _)) = outbox.next(now) {
            outbox.settle(id, false, Pace::default(), now);
        }
        assert_eq!(outbox.failing(), 100);
        let later = now + 15 * SECOND;
        let running: Vec<_> = std::iter::from_fn(|| outbox.next(later)).collect();
        assert_eq!((running.len(), outbox.deadline()), (AGAIN_AT_ONCE, None), "a few of them hang");
        let id = outbox.put(letter("good"), later).expect("new");
        assert_eq!(outbox.deadline(), Some(Time::ZERO));
        assert_eq!(outbox.next(later).map(|(id, _)| id), Some(id));
        outbox.settle(running[0].0, true, Pace::default(), later);
        assert!(outbox.next(later).is_some() && outbox.next(later).is_none(), "one is settled, one begins");
        assert_eq!(outbox.failing(), 99);
    }

    #[test]
    fn first_tries_are_bounded_as_well() {
        let mut outbox = outbox();
        for n in 0..=FIRST_AT_ONCE {
            outbox.put(letter(&n.to_string()), Time::ZERO);
        }
        assert_eq!(std::iter::from_fn(|| outbox.next(Time::ZERO)).count(), FIRST_AT_ONCE);
        assert_eq!(outbox.deadline(), None);
    }

    #[test]
    fn a4_the_24_h_go_on_where_a_process_before_us_left_off_and_a_last_try_is_always_made() {
        let now = Time::ZERO + SECOND;
        for (age, last) in [(DAY / 2, DAY / 2), (DAY - SECOND, SECOND), (2 * DAY, Duration::ZERO)] {
            let (mut outbox, mut at) = (outbox(), now);
            outbox.take_up(letter("a"), Standing { age, failures: 20 }, now);
            assert_eq!((outbox.failing(), outbox.deadline()), (1, Some(now)), "due at once");
            loop {
                let (id, _) = outbox.next(at).expect("due");
                match outbox.settle(id, false, Pace::default(), at) {
                    Settled::Again(pause) => at += pause,
                    _ => break,
                }
            }
            assert_eq!(at.since(now), last, "written {age:?} ago");
        }
    }

    #[test]
    fn a4_a_notice_that_is_told_again_becomes_no_second_letter() {
        let mut outbox = outbox();
        let id = outbox.put(letter("a"), Time::ZERO).expect("new");
        assert_eq!(outbox.put(letter("a"), Time::ZERO), None);
        outbox.take_up(letter("a"), Standing::default(), Time::ZERO);
        assert_eq!(outbox.len(), 1);
        assert!(outbox.next(Time::ZERO).is_some());
        outbox.settle(id, true, Pace::default(), Time::ZERO);
        assert!(outbox.put(letter("a"), Time::ZERO).is_some(), "delivered, and told again: the same Message-ID goes out twice");
    }

    #[test]
    fn a_faster_pace_keeps_its_proportions() {
        let pace = Pace::default().faster(60);
        assert_eq!((pace.first, pace.longest, pace.last), (SECOND / 4, 15 * SECOND, 1440 * SECOND));
        assert_eq!(Pace::default().faster(0), Pace::default());
    }

    #[test]
    fn a_letter_prints_nothing_of_its_recipient_and_text() {
        let printed = format!(
            "{:?}",
            Letter { name: "ab.0".to_owned(), content: Private::new(b"secret".to_vec()), ..letter("front@example.com") }
        );
        assert!(!printed.contains("front") && !printed.contains("115"), "{printed}");
    }
}

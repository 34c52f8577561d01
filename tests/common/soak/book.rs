//! Who was shown by which number, as the PSAP remembers it, and who is on the phone.

use std::collections::HashMap;

/// A number that is called without a mark so often stays below the six in ten minutes of RULES C6.
const PLAIN_EVERY: u64 = 150_000_000;

/// What a number is that somebody is shown by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Hers, for the first time or again (RULES L3).
    Hers,
    /// Hers, but she had another one of the same trunk.
    Another,
    /// Another person's (RULES L4).
    SomebodyElses,
}

/// The people who dial 911: `u0`, `u1` …
#[derive(Default)]
pub struct Book {
    people: Vec<Person>,
    /// Who has a number.
    holders: HashMap<u64, u32>,
    next_caller: u32,
    next_called: u32,
}

#[derive(Clone, Default)]
struct Person {
    /// The number that was shown last.
    number: Option<u64>,
    /// Hers at the first trunk, and at the second.
    held: [Option<u64>; 2],
    /// Calls of hers that go on.
    calls: u32,
    /// When she was last called back without a mark.
    plain: Option<u64>,
}

impl Book {
    /// So many people.
    pub fn of(people: u32) -> Self {
        Self { people: vec![Person::default(); people as usize], ..Self::default() }
    }

    /// The next one who dials: in turn, but nobody who is on the phone, while there is somebody else.
    pub fn caller(&mut self) -> u32 {
        let (count, first) = (self.people.len() as u32, self.next_caller);
        let in_turn = (0..count).map(|n| (first + n) % count);
        let caller = in_turn.take(200).find(|n| self.people[*n as usize].calls == 0).unwrap_or(first);
        self.next_caller = (caller + 1) % count;
        caller
    }

    /// The next one who can be called back: was shown by a number that `may` lead back now, and is not on the phone. With her
    /// number, and whether the call carries the mark of a PSAP's.
    pub fn called(&mut self, now: u64, may: impl Fn(u64) -> bool) -> Option<(u32, u64, bool)> {
        let (count, first) = (self.people.len() as u32, self.next_called);
        let in_turn = (0..count).map(|n| (first + n) % count).take(200);
        let free = |n: u32| Some(&self.people[n as usize]).filter(|p| p.calls == 0)?.number.filter(|number| may(*number));
        let (called, number) = in_turn.into_iter().find_map(|n| Some((n, free(n)?)))?;
        self.next_called = (called + 1) % count;
        let person = &mut self.people[called as usize];
        let marked = person.plain.is_some_and(|then| now < then + PLAIN_EVERY);
        person.plain = if marked { person.plain } else { Some(now) };
        Some((called, number, marked))
    }

    /// One more call of hers goes on, or one less.
    pub fn is_on_the_phone(&mut self, person: u32, more: bool) {
        let calls = &mut self.people[person as usize].calls;
        *calls = if more { *calls + 1 } else { calls.saturating_sub(1) };
    }

    /// So many people more, who dial next.
    pub fn join(&mut self, newcomers: u32) {
        self.next_caller = self.people.len() as u32;
        self.people.resize(self.people.len() + newcomers as usize, Person::default());
    }

    /// The PSAP behind the first or the second trunk sees a number.
    pub fn shown(&mut self, person: u32, trunk: usize, number: u64) -> Shown {
        let Person { number: last, held, .. } = &mut self.people[person as usize];
        *last = Some(number);
        if *self.holders.entry(number).or_insert(person) != person {
            return Shown::SomebodyElses;
        }
        match held[trunk].replace(number) {
            Some(before) if before != number => Shown::Another,
            _ => Shown::Hers,
        }
    }

    /// Whether this number is hers.
    pub fn is_hers(&self, person: u32, number: u64) -> bool {
        self.holders.get(&number) == Some(&person)
    }
}

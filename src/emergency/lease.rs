//! Which callback number a call shows, whom it leads back to, and for how long (RULES L1 to L9, C5).
//!
//! [`Leases`] is the table of records, each with its own copy of the caller; the numbers themselves rest in the
//! [`Pool`]; `numbers` takes them from there and gives them back. Durability is not here: the record goes
//! to the store as [`CallEffect::Commit`](super::facts::CallEffect).

mod numbers;
mod restore;
mod rows;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use super::caller::{Caller, any_holds};
use super::facts::TrunkId;
use super::ladder::Rung;
use super::notice::About;
use super::reserve::Reserve;
use super::site::Site;
use crate::pool::{Holder, Lease, Pool, State};
use crate::words::{E164, Private, Time};

/// More than this many calls of one agent in [`LOOP_WINDOW`] look like a loop (RULES P12).
const LOOP_CALLS: usize = 4;
const LOOP_WINDOW: Duration = Duration::from_secs(10);

/// More unmarked callbacks than this to one number in [`PLAIN_WINDOW`], or than [`PLAIN_AT_ONCE`] together, go to the
/// desk (RULES C6).
const PLAIN_CALLBACKS: usize = 6;
const PLAIN_WINDOW: Duration = Duration::from_secs(10 * 60);
const PLAIN_AT_ONCE: u32 = 2;

/// A record's place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordId(u32);

/// One agent's lease: everything a callback needs, whatever the config has become since (RULES A8, L9).
#[derive(Debug)]
pub struct Record {
    /// Whom its numbers lead to, as she was when she last dialed.
    pub caller: Caller,
    /// Its numbers; one for each trunk that tried (RULES L5).
    held: Vec<Held>,
    /// The last dialing.
    pub dialed: Time,
    /// What was dialed, for the notice of a callback.
    pub dialed_number: &'static str,
    /// The path it took, likewise.
    pub path: &'static str,
    /// Emergency legs that are up: calls out and callbacks.
    up: u32,
    ended: Option<Time>,
    expires: Time,
    phase: Phase,
    queued: Option<Time>,
    recent: [Time; LOOP_CALLS],
    test: bool,
    /// How her last call ended, as far as she is to be told of it still. Not kept across a restart.
    pub over: Option<Over>,
    /// Its name in the store.
    serial: u64,
}

/// How an agent's last emergency call ended, where that asks something of her.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// The trunk ended it: she may be called back (RULES A2).
    Dropped,
    /// No trunk took it.
    NotConnected,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Expired; its numbers rest and still lead to it (RULES C5).
    Late,
}

#[derive(Debug)]
struct Held {
    number: E164,
    trunk: TrunkId,
    rung: Rung,
    /// The pool's proof that it is ours. None for a number that no pool has, that another lease owns, or that rests.
    proof: Option<Lease>,
    durable: bool,
    /// When unmarked callbacks came in, and how many are up (RULES C6).
    plain: [Time; PLAIN_CALLBACKS],
    plain_up: u32,
    /// It was given out before its quarantine was over: until then the desk rings at once (RULES C5).
    desk_until: Option<Time>,
    /// Its row's name in the store, together with the number; a higher one was leased later.
    serial: u64,
    row: RowState,
}

/// What of a number's row the store has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RowState {
    /// Nothing.
    Never,
    /// What is true.
    Told,
    /// Something that has changed since.
    Old,
}

/// The number that a leg shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The number.
    pub number: E164,
    /// Where it was found; [`Rung::Held`] where the lease had it already (RULES L3).
    pub rung: Rung,
    /// Whether its record is known to be durable.
    pub durable: bool,
}

/// To whom a number leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The records, the newest lease first. Empty: in the pool, but nobody's.
    pub records: Vec<RecordId>,
    /// The lease is over, and the number still rests (RULES C5).
    pub late: bool,
    /// Several hold it (RULES L7).
    pub shared: bool,
    /// It is the trunk's fallback or default number, where the others ring after 5 s.
    pub newest_first: bool,
    /// It had another holder whose quarantine is not over (RULES C5).
    pub desk_at_once: bool,
}

/// A lease as operators see it.
#[derive(Clone, Debug)]
pub struct View {
    /// The callback number.
    pub number: Private<E164>,
    /// The agent's id, or peer, identity and Contact user.
    pub agent: Private<String>,
    /// The trunk that routes the number to us.
    pub trunk: TrunkId,
    /// When it was last dialed.
    pub dialed: Time,
    /// When it expires, unless a call extends it.
    pub expires: Time,
    /// `open`, `late` or `shared`.
    pub state: &'static str,
    /// Emergency calls and callbacks that are up.
    pub calls: u32,
}

/// A view's place among all, for going on after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ViewMark {
    /// The record's place.
    pub record: u32,
    /// The number's place in it.
    pub number: u16,
}

/// The table of leases.
#[derive(Default)]
pub struct Leases {
    records: Vec<Option<Record>>,
    vacant: Vec<u32>,
    /// Open leases by holder; for look-up only.
    by_key: HashMap<String, RecordId>,
    /// Holders besides the pool's: of shared numbers and of numbers that no pool has; the newest last.
    besides: BTreeMap<E164, Vec<RecordId>>,
    /// When something happens to a record that has no call up: it expires, or its quarantine ends.
    due: BTreeSet<(Time, RecordId)>,
    /// Open leases without a call, by the end of the last one.
    idle: BTreeSet<(Time, RecordId)>,
    tests: BTreeMap<TrunkId, u32>,
    /// The last serial that was given.
    serial: u64,
    /// Leases from before the restart, by serial.
    before: HashMap<u64, RecordId>,
    /// Leases with a number whose row is old.
    changed: Vec<RecordId>,
    /// Leases from before the restart whose rows are old: written anew in small portions, the last one first.
    backlog: Vec<RecordId>,
    /// When the next portion may be written.
    backlog_due: Time,
    /// Until then no more leases end: after a reboot they all do at one time.
    rests_until: Time,
    /// Keys of rows that are to be forgotten.
    gone: Vec<String>,
    reserve: Reserve,
}

impl fmt::Debug for Leases {
    /// Prints how many there are and nobody's key (promise 3).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Leases({})", self.records.iter().flatten().count())
    }
}

impl Leases {
    /// The caller's open lease, or a new one without a number, dialed now (RULES L2, L3). True with it: more than
    /// four calls in 10 s (RULES P12).
    pub fn dial(&mut self, site: &Site, caller: &Caller, test: bool, now: Time) -> (RecordId, bool) {
        let known = self.by_key.get(caller.key()).copied();
        if let (Some(id), false) = (known, test) {
            self.becomes_real(id);
        }
        let id = known.unwrap_or_else(|| self.insert(caller, test, now));
        let ttl = if test { site.callback.test_ttl } else { site.callback.ttl };
        let Some(record) = self.get_mut(id) else { return (id, false) };
        record.caller = caller.clone();
        record.dialed = now;
        record.expires = record.expires.max(now + ttl);
        let looping = record.is_looping(now);
        record.count(now);
        self.row_changed(id);
        self.leg_up(id);
        (id, looping)
    }

    /// Whether one more call of hers is more than four in 10 s; it is counted then, but gets no lease (RULES P12).
    pub fn is_looping(&mut self, caller: &Caller, now: Time) -> bool {
        let record = self.by_key.get(caller.key()).copied().and_then(|id| self.get_mut(id));
        record.filter(|r| r.is_looping(now)).map(|r| r.count(now)).is_some()
    }

    /// The number that this lease got last.
    pub fn latest_number(&self, id: RecordId) -> Option<E164> {
        self.get(id)?.held.last().map(|h| h.number)
    }

    /// The store has the number's record.
    pub fn durable(&mut self, id: RecordId, number: E164) {
        if let Some(held) = self.held_mut(id, number) {
            held.durable = true;
        }
    }

    /// To whom the number leads; `None` if it is not ours, or ours and never leased under a record.
    pub fn find(&self, pool: &Pool, number: E164, now: Time) -> Option<Found> {
        let mut found = Found::default();
        let in_pool = pool.lookup(number);
        if let Some(there) = &in_pool {
            let holder = match there.state {
                State::Leased(holder) | State::Idle { last: holder } => Some(holder),
                State::Never => None,
            };
            let record = holder.map(RecordId::of).filter(|id| self.holds(*id, number, there.state));
            found.late = record.and_then(|id| self.get(id)).is_some_and(|r| r.phase == Phase::Late);
            found.records.extend(record);
        }
        if let Some(others) = self.besides.get(&number) {
            found.shared = others.len() + found.records.len() > 1;
            found.records.extend(others.iter().rev().filter(|id| self.get(**id).is_some()));
            found.newest_first = in_pool.is_none();
        }
        found.desk_at_once = found.records.first().is_some_and(|id| self.rests_elsewhere(*id, number, now));
        (in_pool.is_some() || !found.records.is_empty()).then_some(found)
    }

    /// Another leg of this lease is up: it does not expire now.
    pub fn leg_up(&mut self, id: RecordId) {
        let Some(record) = self.get_mut(id) else { return };
        record.up += 1;
        self.requeue(id);
    }

    /// A leg of this lease ended (RULES L2). True if none is up any more.
    pub fn leg_down(&mut self, site: &Site, pool: &Pool, id: RecordId, now: Time) -> bool {
        let Some(record) = self.get_mut(id) else { return true };
        record.up = record.up.saturating_sub(1);
        let before = record.expires;
        if record.phase == Phase::Open && !record.test {
            record.expires = record.expires.max(now + site.callback.tail);
        }
        let (last, later) = (record.up == 0, record.expires > before);
        if later {
            self.row_changed(id);
        }
        let Some(record) = self.get_mut(id) else { return true };
        if last && let Some(before) = record.ended.replace(now) {
            self.idle.remove(&(before, id));
        }
        if last {
            self.rest_again(site, pool, id, now);
        }
        self.requeue(id);
        last
    }

    /// An unmarked callback to this number began; true if there are too many of them (RULES C6).
    pub fn plain_callback_began(&mut self, id: RecordId, number: E164, now: Time) -> bool {
        let Some(held) = self.held_mut(id, number) else { return false };
        let sixth_last = held.plain[0];
        held.plain.rotate_left(1);
        held.plain[PLAIN_CALLBACKS - 1] = now;
        held.plain_up += 1;
        let too_often = sixth_last > Time::ZERO && now.since(sixth_last) < PLAIN_WINDOW;
        too_often || held.plain_up > PLAIN_AT_ONCE
    }

    /// It ended.
    pub fn plain_callback_ended(&mut self, id: RecordId, number: E164) {
        if let Some(held) = self.held_mut(id, number) {
            held.plain_up = held.plain_up.saturating_sub(1);
        }
    }

    /// The record in this place.
    pub fn get(&self, id: RecordId) -> Option<&Record> {
        self.records.get(id.index())?.as_ref()
    }

    /// Remembers what was decided, for the notice of a callback.
    pub fn note(&mut self, id: RecordId, dialed: &'static str, path: &'static str) {
        if let Some(record) = self.get_mut(id) {
            (record.dialed_number, record.path) = (dialed, path);
        }
    }

    /// When [`Leases::expire`] has something to do.
    pub fn next_due(&self) -> Option<Time> {
        let rows = (!self.backlog.is_empty()).then_some(self.backlog_due);
        let ends = self.due.first().map(|(at, _)| (*at).max(self.rests_until));
        [ends, rows].into_iter().flatten().min()
    }

    /// Ends at most `most` leases and quarantines whose time has come; where there are more, the next ones a little later:
    /// their rows go to the store, and a call's own row waits for the transaction before it.
    pub fn expire(&mut self, site: &Site, pool: &Pool, now: Time, most: usize) {
        if now < self.rests_until {
            return;
        }
        for _ in 0..most {
            let Some(&(at, id)) = self.due.first() else { return };
            if at > now {
                return;
            }
            self.due.pop_first();
            match self.get_mut(id).map(|r| (r.queued.take(), &r.phase)) {
                Some((_, Phase::Open)) => self.close(site, pool, id, now),
                Some((_, Phase::Late)) => self.remove(id),
                None => {}
            }
        }
        self.rests_until = now + rows::PORTION_EVERY;
    }

    /// All numbers that open leases hold.
    pub fn numbers(&self) -> impl Iterator<Item = E164> {
        self.records.iter().flatten().filter(|r| r.phase == Phase::Open).flat_map(|r| r.held.iter().map(|h| h.number))
    }

    /// All leases, in the order of their places.
    pub fn views(&self) -> impl Iterator<Item = View> {
        self.records.iter().flatten().flat_map(|record| record.held.iter().map(|held| self.view(record, held)))
    }

    /// The views after this one, from `most` places of the table at most; then where to go on, `None` at the end.
    pub fn views_after(&self, after: Option<ViewMark>, most: usize) -> (Vec<(ViewMark, View)>, Option<ViewMark>) {
        let first = after.map_or(0, |mark| mark.record);
        let end = self.records.len().min((first as usize).saturating_add(most));
        let mut found = Vec::new();
        for (place, record) in (first..).zip(self.records.get(first as usize..end).unwrap_or_default()) {
            let Some(record) = record else { continue };
            for (number, held) in (0u16..).zip(&record.held) {
                let mark = ViewMark { record: place, number };
                if after.is_none_or(|after| mark > after) {
                    found.push((mark, self.view(record, held)));
                }
            }
        }
        let next = u32::try_from(end).ok().filter(|_| end < self.records.len());
        (found, next.map(|end| ViewMark { record: end - 1, number: u16::MAX }))
    }

    /// This key's open lease that is not a test's.
    pub fn real_of(&self, key: &str) -> Option<(RecordId, &Record)> {
        let id = *self.by_key.get(key)?;
        self.get(id).filter(|record| !record.test).map(|record| (id, record))
    }

    /// What she is to be told of how her last call ended.
    pub fn set_over(&mut self, id: RecordId, over: Option<Over>) {
        if let Some(record) = self.get_mut(id) {
            record.over = over;
        }
    }

    /// Whether this key has an open lease that is not a test's.
    pub fn has_real(&self, key: &str) -> bool {
        self.by_key.get(key).and_then(|id| self.get(*id)).is_some_and(|record| !record.test)
    }

    /// The numbers of this key's open lease, with their trunks.
    pub fn numbers_of(&self, key: &str) -> impl Iterator<Item = (E164, TrunkId)> {
        let record = self.by_key.get(key).and_then(|id| self.get(*id));
        record.into_iter().flat_map(|record| record.held.iter().map(|held| (held.number, held.trunk)))
    }

    fn view(&self, record: &Record, held: &Held) -> View {
        View {
            number: Private::new(held.number),
            agent: Private::new(record.caller.key().to_owned()),
            trunk: held.trunk,
            dialed: record.dialed,
            expires: record.expires,
            state: match record.phase {
                Phase::Late => "late",
                Phase::Open if self.is_shared(held) => "shared",
                Phase::Open => "open",
            },
            calls: record.up,
        }
    }

    /// An emergency call on a test's lease: the number counts no longer as the tests', and one that was not leased
    /// for the test makes room for a number of her own.
    fn becomes_real(&mut self, id: RecordId) {
        let Some(record) = self.records.get_mut(id.index()).and_then(Option::as_mut) else { return };
        if !std::mem::take(&mut record.test) {
            return;
        }
        record.held.retain(|held| {
            let owned = held.proof.is_some();
            if owned {
                one_test_less(&mut self.tests, held.trunk);
            } else {
                forget(&mut self.besides, held.number, id);
                held.forget_row(&mut self.gone);
            }
            owned
        });
        self.row_changed(id);
    }

    fn insert(&mut self, caller: &Caller, test: bool, now: Time) -> RecordId {
        let id = match self.vacant.pop() {
            Some(index) => RecordId(index),
            None => {
                self.records.push(None);
                RecordId::at(self.records.len() - 1)
            }
        };
        let serial = self.next_serial();
        let record = Record {
            caller: caller.clone(),
            held: Vec::with_capacity(1),
            dialed: now,
            dialed_number: "",
            path: "",
            up: 0,
            ended: None,
            over: None,
            expires: now,
            phase: Phase::Open,
            queued: None,
            recent: [Time::ZERO; LOOP_CALLS],
            test,
            serial,
        };
        if let Some(place) = self.records.get_mut(id.index()) {
            *place = Some(record);
        }
        self.by_key.insert(caller.key().to_owned(), id);
        id
    }

    fn get_mut(&mut self, id: RecordId) -> Option<&mut Record> {
        self.records.get_mut(id.index())?.as_mut()
    }

    fn held_mut(&mut self, id: RecordId, number: E164) -> Option<&mut Held> {
        self.get_mut(id)?.held.iter_mut().find(|h| h.number == number)
    }

    /// Puts the record where its next event is: nowhere while a leg is up.
    fn requeue(&mut self, id: RecordId) {
        let Some(record) = self.records.get_mut(id.index()).and_then(Option::as_mut) else { return };
        if let Some(at) = record.queued.take() {
            self.due.remove(&(at, id));
        }
        if let Some(ended) = record.ended {
            self.idle.remove(&(ended, id));
            if record.up == 0 && record.phase == Phase::Open {
                self.idle.insert((ended, id));
            }
        }
        if record.up == 0 {
            record.queued = Some(record.expires);
            self.due.insert((record.expires, id));
        }
    }

    fn remove(&mut self, id: RecordId) {
        if let Some(record) = self.records.get_mut(id.index()).and_then(Option::take) {
            record.held.iter().for_each(|held| held.forget_row(&mut self.gone));
            self.vacant.push(id.0);
        }
    }

    /// An open lease, or a late call, holds what the pool says is leased; what rests is a late lease's.
    fn holds(&self, id: RecordId, number: E164, state: State) -> bool {
        let Some(record) = self.get(id) else { return false };
        let phase = match state {
            State::Idle { .. } => record.phase == Phase::Late,
            _ => record.phase == Phase::Open || record.up > 0,
        };
        phase && record.held.iter().any(|h| h.number == number)
    }

    fn rests_elsewhere(&self, id: RecordId, number: E164, now: Time) -> bool {
        let held = self.get(id).and_then(|r| r.held.iter().find(|h| h.number == number));
        held.and_then(|h| h.desk_until).is_some_and(|until| now < until)
    }

    fn is_shared(&self, held: &Held) -> bool {
        let besides = self.besides.get(&held.number).map_or(0, Vec::len);
        held.rung == Rung::Shared || besides + usize::from(held.proof.is_some()) > 1
    }
}

impl Record {
    /// What the contacts are told when it is called back.
    pub fn about(&self) -> About {
        let caller = self.caller.clone();
        About { caller, time: self.dialed, dialed: self.dialed_number, path: self.path, test: self.test, remark: None }
    }

    /// The number that it got last.
    pub fn shown(&self) -> Option<E164> {
        self.held.last().map(|held| held.number)
    }

    /// When it expires, unless a call extends it.
    pub const fn expires(&self) -> Time {
        self.expires
    }

    /// Whether a call of this lease is up.
    pub fn calls_up(&self) -> u32 {
        self.up
    }

    /// Whether a call now is one of more than four in 10 s.
    fn is_looping(&self, now: Time) -> bool {
        let [fifth_last, ..] = self.recent;
        fifth_last > Time::ZERO && now.since(fifth_last) < LOOP_WINDOW
    }

    fn count(&mut self, now: Time) {
        self.recent.rotate_left(1);
        self.recent[LOOP_CALLS - 1] = now;
    }

    /// Whether it is open, not late.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }
}

impl RecordId {
    fn at(index: usize) -> Self {
        Self(u32::try_from(index).unwrap_or(u32::MAX))
    }

    const fn index(self) -> usize {
        self.0 as usize
    }

    fn holder(self) -> Option<Holder> {
        self.0.checked_add(1).and_then(NonZeroU32::new).map(Holder)
    }

    const fn of(holder: Holder) -> Self {
        Self(holder.0.get() - 1)
    }
}

fn one_test_less(tests: &mut BTreeMap<TrunkId, u32>, trunk: TrunkId) {
    if let Some(count) = tests.get_mut(&trunk) {
        *count = count.saturating_sub(1);
    }
}

fn forget(besides: &mut BTreeMap<E164, Vec<RecordId>>, number: E164, id: RecordId) {
    if let Some(ids) = besides.get_mut(&number) {
        ids.retain(|i| *i != id);
        if ids.is_empty() {
            besides.remove(&number);
        }
    }
}

/// Whether this trunk brings the number to us besides the pool's (RULES L7, third rung).
pub fn routed_to_us(site: &Site, trunk: TrunkId, number: E164) -> bool {
    site.trunk(trunk).is_some_and(|t| any_holds(&t.routes_to_us, number))
}

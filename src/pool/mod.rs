//! The callback number pool: which number a caller is shown by, and whose number it is when the PSAP calls back.
//!
//! Numbers stand on shelves, one for each trunk and site (RULES L5), and each shelf is a queue: the number that has been
//! idle longest is leased first (L6). A released number keeps its last holder until it is leased again (C5). There is no
//! clock, no lease time and no policy in here: which shelf to try next, when a lease ends and what a late callback does
//! are the story's to decide.
//!
//! **No thread waits for another.** [`Pool::lease`], [`Pool::release`] and [`Pool::lookup`] have no lock and no loop that
//! waits: a thread stopped at any of their steps stops nobody else. [`Pool::lease`] says `None` only if every number of
//! the shelf was leased at that moment.
//!
//! Read [`Pool`] first, then [`Lease`]; how it works is told in `queue.rs`.
//!
//! A pool never changes its numbers. For a change of the config (L9) and after a restart a new one is built, and open and
//! quarantined leases are brought into it with [`Pool::bring_in`] before it is shared.

mod index;
mod queue;
mod slot;
#[cfg(all(test, not(e911d_models)))]
mod stalls;
mod sync;

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{error, fmt};

use crate::words::{E164, Time};
use index::Index;
use queue::{Queue, Spare};
use slot::Cell;

/// The numbers of one trunk and one site, or of a trunk and no address (RULES L5): a place in the list that
/// [`Pool::new`] got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShelfId(pub u16);

/// The caller's name for the record of a lease; the pool only keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holder(pub NonZeroU32);

/// One number's place in one pool. Another pool may have another number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// Which lease of its number a lease is, counted from 1 in each pool; 0 before the first. Starts again after 2^30.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Generation(u32);

impl Generation {
    const LAST: u32 = (1 << 30) - 1;

    const fn next(self) -> Self {
        Self(if self.0 == Self::LAST { 0 } else { self.0 + 1 })
    }
}

/// Who has a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody, and nobody ever had.
    Never,
    /// This holder.
    Leased(Holder),
    /// Nobody; `last` had it until it was released (RULES C5).
    Idle {
        /// The last holder.
        last: Holder,
    },
}

/// What a look-up finds. `generation` and `state` are of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The number's place.
    pub slot: Slot,
    /// Its shelf.
    pub shelf: ShelfId,
    /// The lease that `state` speaks of. Another generation later means that the number went to somebody else.
    pub generation: Generation,
    /// Who has it.
    pub state: State,
}

/// How long the number that would be leased next has been idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// It was never leased.
    Unused,
    /// This long since its release: below the quarantine it is leased out of need only (RULES L6, L7).
    For(Duration),
}

/// Who had a number before the present lease, and until when. That holder can no longer be called back under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Previous {
    /// The holder.
    pub holder: Holder,
    /// When it was released.
    pub released: Time,
}

/// What a number was in another pool or before a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Was {
    /// This holder's.
    Leased(Holder),
    /// Nobody's, since this holder released it.
    Rested(Holder, Time),
}

/// The proof that a number is leased; ends with [`Pool::release`].
///
/// There is one for each leased number. If it is dropped instead of released, the number stays leased in its pool for ever.
#[must_use = "a lease that is dropped keeps its number for ever"]
#[derive(Debug)]
pub struct Lease {
    pool: u64,
    slot: Slot,
    generation: Generation,
    number: E164,
    previous: Option<Previous>,
    spare: Spare,
}

impl Lease {
    /// The leased number.
    pub const fn number(&self) -> E164 {
        self.number
    }

    /// Its place in the pool that leased it.
    pub const fn slot(&self) -> Slot {
        self.slot
    }

    /// Which lease of the number it is.
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// Who lost the number with this lease; `None` if it was never leased.
    pub const fn previous(&self) -> Option<Previous> {
        self.previous
    }
}

/// Where a number stands in the list that [`Pool::new`] got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The shelf.
    pub shelf: ShelfId,
    /// Counted from 0 within the shelf.
    pub position: usize,
}

/// Why there can be no pool with these numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolError {
    /// One number stands in two places.
    Duplicate {
        /// The one.
        first: Place,
        /// The other.
        again: Place,
    },
    /// More than 65,536 shelves, or more than 16,777,214 numbers on a shelf.
    TooMany,
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate { first: a, again: b } => {
                write!(
                    f,
                    "one number twice: shelf {} position {} and shelf {} position {}",
                    a.shelf.0, a.position, b.shelf.0, b.position
                )
            }
            Self::TooMany => f.write_str("more shelves or numbers than a pool can have"),
        }
    }
}

impl error::Error for PoolError {}

/// The callback numbers of all trunks and sites. Shared by reference; see the module's text.
pub struct Pool {
    id: u64,
    shelves: Box<[Queue]>,
    cells: Box<[Cell]>,
    index: Index,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("shelves", &self.shelves.len()).field("numbers", &self.cells.len()).finish_non_exhaustive()
    }
}

impl Pool {
    /// A pool with these numbers, none of them leased. The first lease of a shelf gets its first number.
    pub fn new(shelves: &[Vec<E164>]) -> Result<Self, PoolError> {
        let count = shelves.iter().map(Vec::len).sum();
        if u32::try_from(count).is_err() {
            return Err(PoolError::TooMany);
        }
        let mut cells = Vec::with_capacity(count);
        let mut index = Index::with_room_for(count);
        let mut queues = Vec::with_capacity(shelves.len());
        for (id, numbers) in shelves.iter().enumerate() {
            let shelf = ShelfId(u16::try_from(id).map_err(|_| PoolError::TooMany)?);
            if numbers.len() > queue::MOST {
                return Err(PoolError::TooMany);
            }
            queues.push(Queue::new(cells.len() as u32, numbers.len() as u32));
            for (position, &number) in numbers.iter().enumerate() {
                index.add(number, cells.len() as u32).map_err(|slot| PoolError::Duplicate {
                    first: place(shelves, slot as usize),
                    again: Place { shelf, position },
                })?;
                cells.push(Cell::new(number, shelf));
            }
        }
        Ok(Self { id: next_id(), shelves: queues.into(), cells: cells.into(), index })
    }

    /// Leases the number of this shelf that has been idle longest (RULES L6), even if it is in quarantine: see
    /// [`Pool::head_idle`] and [`Lease::previous`]. `None` if every number of the shelf is leased, or there is no such shelf.
    #[inline]
    pub fn lease(&self, shelf: ShelfId, holder: Holder) -> Option<Lease> {
        let (slot, spare) = self.queue(shelf)?.pop()?;
        Some(self.leased(slot, spare, holder))
    }

    /// Gives a number that is leased to another holder, as another lease of it. The lease of another pool stays as it is.
    pub fn pass_on(&self, lease: &mut Lease, holder: Holder) {
        if lease.pool == self.id {
            lease.generation = self.cells[lease.slot.0 as usize].lease(holder);
        }
    }

    /// Ends a lease at `now`: the number goes to the end of its shelf and keeps its holder as the last one (RULES C5).
    /// The lease of another pool is only dropped.
    #[inline]
    pub fn release(&self, lease: Lease, now: Time) {
        if lease.pool != self.id {
            return;
        }
        let cell = &self.cells[lease.slot.0 as usize];
        cell.release(now);
        self.shelves[usize::from(cell.shelf.0)].push(lease.slot.0, lease.spare);
    }

    /// Who has this number; `None` if it is not in the pool. At the moment of a lease or release either answer may come.
    pub fn lookup(&self, number: E164) -> Option<Found> {
        self.at(Slot(self.index.get(number)?))
    }

    /// The same by slot; `None` if the pool has no such slot.
    pub fn at(&self, slot: Slot) -> Option<Found> {
        let cell = self.cell(slot)?;
        let (generation, state) = cell.state();
        Some(Found { slot, shelf: cell.shelf, generation, state })
    }

    /// When the number was last released; `None` if it is leased, never was, or there is no such slot.
    pub fn idle_since(&self, slot: Slot) -> Option<Time> {
        self.cell(slot)?.idle_since()
    }

    /// How long the number that [`Pool::lease`] would give now has been idle; `None` if it would give none. The story
    /// tells "free" from "quarantined" by it (RULES L6, L7). Of the moment: another thread may lease that number first.
    pub fn head_idle(&self, shelf: ShelfId, now: Time) -> Option<Rest> {
        let queue = self.queue(shelf)?;
        loop {
            let cell = &self.cells[queue.peek()? as usize];
            match cell.state().1 {
                State::Never => return Some(Rest::Unused),
                State::Idle { .. } => return Some(Rest::For(now.since(cell.since()))),
                // Somebody has leased it since; there is another first one.
                State::Leased(_) => {}
            }
        }
    }

    /// The next numbers that [`Pool::lease`] would give, at most `most`. Of the moment.
    pub fn heads(&self, shelf: ShelfId, most: usize) -> Vec<E164> {
        let slots = self.queue(shelf).map(|queue| queue.heads(most)).unwrap_or_default();
        slots.into_iter().map(|slot| self.cells[slot as usize].number).collect()
    }

    /// The number of a slot; `None` if the pool has no such slot.
    pub fn number(&self, slot: Slot) -> Option<E164> {
        self.cell(slot).map(|cell| cell.number)
    }

    /// The shelf of a slot; `None` if the pool has no such slot.
    pub fn shelf(&self, slot: Slot) -> Option<ShelfId> {
        self.cell(slot).map(|cell| cell.shelf)
    }

    /// How many shelves there are.
    pub fn shelves(&self) -> usize {
        self.shelves.len()
    }

    /// How many numbers a shelf has, leased or not.
    pub fn size(&self, shelf: ShelfId) -> u32 {
        self.queue(shelf).map_or(0, Queue::capacity)
    }

    /// How many numbers of a shelf are not leased, of the moment; for gauges.
    pub fn free(&self, shelf: ShelfId) -> u32 {
        self.queue(shelf).map_or(0, Queue::len)
    }

    /// Leases this very number, for a lease that began in another pool or before a restart (RULES L2, L9). `None` if it is
    /// leased already or not in this pool: then its lease ends with the old pool. Walks the shelf; not for the call path.
    pub fn adopt(&mut self, number: E164, holder: Holder) -> Option<Lease> {
        let (slot, spare) = self.take(number)?;
        Some(self.leased(slot, spare, holder))
    }

    /// Puts this very number into quarantine, as if `last` had released it at `since` (RULES C5, L6): behind all that were
    /// never leased or were released before. False, and nothing changes, if it is leased or not in this pool. Walks the
    /// shelf; not for the call path.
    pub fn rest(&mut self, number: E164, last: Holder, since: Time) -> bool {
        let Some((slot, spare)) = self.take(number) else {
            return false;
        };
        let cell = &self.cells[slot as usize];
        cell.rest(cell.owned_state().0.next(), last, since);
        let cells = &self.cells;
        let later = |other: u32| cells[other as usize].idle_since().is_some_and(|t| t > since);
        self.shelves[usize::from(cell.shelf.0)].insert(slot, spare, later);
        true
    }

    /// Brings many numbers in, as [`Pool::adopt`] and [`Pool::rest`] do for one: each shelf is put in order once. Gives for
    /// each entry its lease, in the same order; `None` for what rests, is leased already or is not in this pool.
    pub fn bring_in(&mut self, numbers: &[(E164, Was)]) -> Vec<Option<Lease>> {
        let mut touched = vec![false; self.shelves.len()];
        // The slot of each entry that gets a lease, with who had it before.
        let mut taken: Vec<Option<(u32, Option<Previous>)>> = Vec::with_capacity(numbers.len());
        for &(number, was) in numbers {
            taken.push(self.index.get(number).and_then(|slot| {
                let cell = &self.cells[slot as usize];
                let (generation, state) = cell.owned_state();
                let previous = match state {
                    State::Leased(_) => return None,
                    State::Idle { last } => Some(Previous { holder: last, released: cell.since() }),
                    State::Never => None,
                };
                touched[usize::from(cell.shelf.0)] = true;
                match was {
                    Was::Leased(holder) => {
                        cell.lease(holder);
                        Some((slot, previous))
                    }
                    Was::Rested(last, since) => {
                        cell.rest(generation.next(), last, since);
                        None
                    }
                }
            }));
        }
        let mut spares: Vec<Vec<Spare>> = Vec::with_capacity(touched.len());
        for (queue, touched) in self.shelves.iter_mut().zip(touched) {
            let cells = &self.cells;
            let in_order = |mut slots: Vec<u32>| {
                slots.retain(|slot| !matches!(cells[*slot as usize].owned_state().1, State::Leased(_)));
                // Stable, and `None` is first: those never leased stay as they are, before all that were.
                slots.sort_by_key(|slot| cells[*slot as usize].idle_since());
                slots
            };
            spares.push(if touched { queue.reorder(in_order) } else { Vec::new() });
        }
        let lease = |taken: Option<(u32, Option<Previous>)>| {
            let (slot, previous) = taken?;
            let cell = &self.cells[slot as usize];
            let spare = spares[usize::from(cell.shelf.0)].pop()?;
            let generation = cell.owned_state().0;
            Some(Lease { pool: self.id, slot: Slot(slot), generation, number: cell.number, previous, spare })
        };
        taken.into_iter().map(lease).collect()
    }

    fn take(&mut self, number: E164) -> Option<(u32, Spare)> {
        let slot = self.index.get(number)?;
        let shelf = self.cells[slot as usize].shelf;
        self.shelves[usize::from(shelf.0)].take(slot).map(|spare| (slot, spare))
    }

    /// The lease of a slot that has just been taken out of its queue.
    fn leased(&self, slot: u32, spare: Spare, holder: Holder) -> Lease {
        let cell = &self.cells[slot as usize];
        let previous = match cell.owned_state().1 {
            State::Idle { last } => Some(Previous { holder: last, released: cell.since() }),
            State::Never | State::Leased(_) => None,
        };
        let generation = cell.lease(holder);
        Lease { pool: self.id, slot: Slot(slot), generation, number: cell.number, previous, spare }
    }

    fn queue(&self, shelf: ShelfId) -> Option<&Queue> {
        self.shelves.get(usize::from(shelf.0))
    }

    fn cell(&self, slot: Slot) -> Option<&Cell> {
        self.cells.get(slot.0 as usize)
    }
}

/// A name for a pool that no other one in this process has, so that a lease is known for a stranger's.
fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // Relaxed: only that all differ.
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The place of the `nth` number of all.
fn place(shelves: &[Vec<E164>], nth: usize) -> Place {
    let mut position = nth;
    for (id, numbers) in shelves.iter().enumerate() {
        if position < numbers.len() {
            return Place { shelf: ShelfId(id as u16), position };
        }
        position -= numbers.len();
    }
    Place { shelf: ShelfId(0), position }
}

#[cfg(all(test, e911d_models))]
mod models;

#[cfg(all(test, not(e911d_models)))]
mod tests;

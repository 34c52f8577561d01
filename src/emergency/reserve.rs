//! Which numbers may be shown before their lease is on record, and which were perhaps (RULES L1).
//!
//! The numbers that a shelf gives next are written down ahead of need: one row a shelf, written anew when half of them
//! are gone. The newest of rows wins: a lease that was written after its number was marked has used the mark up. After
//! an unclean stop a mark that no lease has used up is a number *in doubt*: somebody may have been shown it. It rests
//! from then on and is nobody's. Not a gate: if the store is dead, numbers are given out without a mark.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::kept::{FORMAT, decode, encode};
use super::site::{Shelf, Site};
use crate::pool::{Holder, Pool, ShelfId};
use crate::words::{E164, Row, Saved, Table, Time};

/// The last holder of a number in doubt: no lease has this name.
pub(super) const NOBODY: Holder = Holder(NonZeroU32::MAX);

/// Numbers of a shelf that are marked ahead: a quarter of it, within these.
const LEAST: u32 = 1;
const MOST: u32 = 16;

/// The row of the numbers in doubt. A shelf's key has a slash in it.
const DOUBT: &str = "doubt";

/// The marks of all shelves.
#[derive(Debug, Default)]
pub(super) struct Reserve {
    /// Marked and not yet given out, for each shelf.
    left: Vec<u32>,
    /// Shelves that need more.
    low: Vec<u16>,
    doubt: BTreeMap<E164, Time>,
    doubt_changed: bool,
    /// The rows that there are.
    keys: BTreeSet<String>,
    ready: bool,
}

/// What the store knows of marks.
pub(super) struct Marks {
    /// Marked numbers, and when, as a serial.
    pub(super) marked: Vec<(E164, u64)>,
    /// In doubt since before the last restart.
    pub(super) doubted: Vec<(E164, Time)>,
}

#[derive(Serialize, Deserialize)]
struct KeptMarks {
    #[serde(default)]
    format: u32,
    serial: u64,
    numbers: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct KeptDoubt {
    #[serde(default)]
    format: u32,
    numbers: Vec<(String, u64)>,
}

impl Reserve {
    /// What was marked, and the rows' keys.
    pub(super) fn read(saved: &Saved) -> (Self, Marks) {
        let (mut reserve, mut marks) = (Self::default(), Marks { marked: Vec::new(), doubted: Vec::new() });
        for (key, value) in saved.rows(Table::Reserved) {
            reserve.keys.insert(key.to_owned());
            if key == DOUBT {
                let kept = decode::<KeptDoubt>(value).map(|k| k.numbers).unwrap_or_default();
                let known = kept.iter().filter_map(|(n, since)| Some((E164::parse(n)?, Time::from_micros(*since))));
                marks.doubted.extend(known);
            } else if let Some(kept) = decode::<KeptMarks>(value) {
                marks.marked.extend(kept.numbers.iter().filter_map(|n| E164::parse(n)).map(|n| (n, kept.serial)));
            }
        }
        (reserve, marks)
    }

    /// These numbers may be somebody's, since then.
    pub(super) fn doubt(&mut self, numbers: impl Iterator<Item = (E164, Time)>) {
        self.doubt.extend(numbers);
        self.doubt_changed = true;
    }

    /// The numbers in doubt.
    pub(super) fn doubted(&self) -> impl Iterator<Item = (E164, Time)> {
        self.doubt.iter().map(|(number, since)| (*number, *since))
    }

    /// A shelf gave a number.
    pub(super) fn given(&mut self, shelf: ShelfId, number: E164) {
        self.doubt_changed |= self.doubt.remove(&number).is_some();
        if let Some(left) = self.left.get_mut(usize::from(shelf.0)) {
            *left = left.saturating_sub(1);
            if !self.low.contains(&shelf.0) {
                self.low.push(shelf.0);
            }
        }
    }

    /// There are new shelves, in a new order.
    pub(super) fn shelves_changed(&mut self) {
        self.ready = false;
    }

    /// Marks more numbers where half of them are gone.
    pub(super) fn refill(
        &mut self,
        site: &Site,
        pool: &Pool,
        now: Time,
        mut serial: impl FnMut() -> u64,
        mut row: impl FnMut(Row),
    ) {
        if !self.ready {
            self.begin(site, &mut row);
        }
        for shelf in std::mem::take(&mut self.low) {
            let (id, at) = (ShelfId(shelf), usize::from(shelf));
            let (Some(left), Some(configured)) = (self.left.get_mut(at), site.shelves.get(at)) else { continue };
            let want = window(pool.size(id));
            if *left >= want.div_ceil(2) {
                continue;
            }
            if pool.free(id) <= *left {
                // All that it has is marked: again when something came back.
                self.low.push(shelf);
                continue;
            }
            let heads = pool.heads(id, want as usize);
            *left = heads.len() as u32;
            let kept = KeptMarks { format: FORMAT, serial: serial(), numbers: heads.iter().map(E164::to_string).collect() };
            let key = key_of(site, configured);
            self.keys.insert(key.clone());
            row(Row::keep(Table::Reserved, key, encode(&kept)));
        }
        self.write_doubt(site, now, &mut row);
    }

    fn begin(&mut self, site: &Site, row: &mut impl FnMut(Row)) {
        self.ready = true;
        self.left = vec![0; site.shelves.len()];
        self.low = (0u16..).take(site.shelves.len()).collect();
        let present: BTreeSet<_> = site.shelves.iter().map(|s| key_of(site, s)).chain([DOUBT.to_owned()]).collect();
        let gone: Vec<_> = self.keys.difference(&present).cloned().collect();
        for key in gone {
            self.keys.remove(&key);
            row(Row::forget(Table::Reserved, key));
        }
    }

    fn write_doubt(&mut self, site: &Site, now: Time, row: &mut impl FnMut(Row)) {
        if !std::mem::take(&mut self.doubt_changed) {
            return;
        }
        self.doubt.retain(|_, since| *since + site.callback.quarantine > now);
        if !self.doubt.is_empty() {
            let numbers = self.doubt.iter().map(|(n, since)| (n.to_string(), since.as_micros())).collect();
            self.keys.insert(DOUBT.to_owned());
            row(Row::keep(Table::Reserved, DOUBT, encode(&KeptDoubt { format: FORMAT, numbers })));
        } else if self.keys.remove(DOUBT) {
            row(Row::forget(Table::Reserved, DOUBT));
        }
    }
}

impl Marks {
    /// The last serial.
    pub(super) fn serial(&self) -> u64 {
        self.marked.iter().map(|(_, serial)| *serial).max().unwrap_or_default()
    }
}

/// How many numbers of a shelf of this size are marked.
fn window(size: u32) -> u32 {
    (size / 4).clamp(LEAST, MOST)
}

fn key_of(site: &Site, shelf: &Shelf) -> String {
    format!("{}/{}", site.trunk(shelf.trunk).map_or("", |t| &t.name), shelf.site.as_deref().unwrap_or_default())
}

//! Telephone numbers by the range and by their first digits.
//!
//! Not the pool that leases them. Read [`NumberRange`] first.

use std::fmt;

use crate::words::E164;

/// Numbers from `first` to `last`, both included; as many digits each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NumberRange {
    /// The lowest.
    pub first: E164,
    /// The highest.
    pub last: E164,
}

impl NumberRange {
    /// Every number of the range, ascending.
    pub fn iter(self) -> impl Iterator<Item = E164> {
        (self.first.digits()..=self.last.digits()).filter_map(E164::from_digits)
    }

    /// How many numbers it holds; at least one.
    pub const fn count(self) -> u64 {
        self.last.digits() - self.first.digits() + 1
    }

    /// Whether the number is one of them.
    pub fn contains(self, number: E164) -> bool {
        self.first <= number && number <= self.last
    }

    /// Whether the two have a number in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Numbers that a trunk brings to us, besides its callback numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Brought {
    /// Every number that begins with these digits, read as one decimal (country code first).
    Prefix(u64),
    /// Every number of the range.
    Range(NumberRange),
}

impl fmt::Debug for Brought {
    /// Prints nothing of the numbers (promise 3).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Brought(-)")
    }
}

impl Brought {
    /// Whether the trunk brings this number to us.
    pub fn contains(self, number: E164) -> bool {
        match self {
            Self::Range(range) => range.contains(number),
            Self::Prefix(prefix) => {
                std::iter::successors(Some(number.digits()), |d| Some(d / 10)).take_while(|d| *d > 0).any(|d| d == prefix)
            }
        }
    }
}

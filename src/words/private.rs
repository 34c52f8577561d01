//! What belongs to a person: names, numbers, addresses, identities.

use std::fmt;

/// A value that belongs to a person and prints nothing.
///
/// Names, numbers and addresses travel in this wrapper wherever a log line or an error could meet them:
/// its `Debug` and `Display` write `-` (promise 3). The value is taken out with [`Private::reveal`], a
/// word that can be searched for.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Private<T>(T);

impl<T> Private<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, for the wire and for mail to the configured contacts. Never for a log line.
    pub const fn reveal(&self) -> &T {
        &self.0
    }

    /// Gives the value back, for the same purposes as [`Private::reveal`].
    pub fn into_revealed(self) -> T {
        self.0
    }
}

impl<T> fmt::Debug for Private<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("-")
    }
}

impl<T> fmt::Display for Private<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("-")
    }
}

impl<T> From<T> for Private<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

#[cfg(test)]
mod tests {
    use super::Private;

    #[test]
    fn a_private_value_prints_nothing_however_it_is_printed() {
        let p = Private::new("+14255550100");
        for text in [format!("{p}"), format!("{p:?}"), format!("{:#?}", Some(&p))] {
            assert!(!text.contains("4255"), "{text}");
        }
    }
}

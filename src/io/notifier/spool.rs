//! Letters as rows of the store: what is not delivered survives the process (RULES A4).
//!
//! A row has everything that the same bytes need to go out again, its key is the letter's name, and it is wiped when
//! the letter is settled. Times in it are ages, so that the 24 hours hold over a reboot: within a boot they go on by
//! boot time, from one to the next by the wall clock.

use super::outbox::{Letter, Spool, Standing, Way};
use crate::io::clock;
use crate::io::store::Keeper;
use crate::words::{Private, Row, Saved, Table, Time};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tracing::warn;

/// Hands rows to the store.
pub struct Rows(Keeper);

/// What a row holds, as JSON. Later versions may add to it.
#[derive(Serialize, Deserialize)]
struct Content {
    way: String,
    to: String,
    text: String,
    /// Milliseconds since it was written, as the row was.
    age: u64,
    failures: u32,
    /// When the row was written: milliseconds of boot time and since the Unix epoch.
    boot: u64,
    wall: u64,
}

impl Rows {
    /// Rows of this store.
    pub const fn new(keeper: Keeper) -> Self {
        Self(keeper)
    }
}

impl Spool for Rows {
    fn keep(&mut self, letter: &Letter, standing: Standing) {
        self.0.keep(row(letter, standing, clock::now(), clock::wall()));
    }

    fn forget(&mut self, letter: &Letter) {
        self.0.keep(Row::forget(Table::Letter, letter.name.as_str()));
    }
}

/// The letters that the process before us did not deliver, in the order of their names.
pub fn restored(saved: &Saved) -> Vec<(Letter, Standing)> {
    let letters: Vec<_> =
        of_letters(saved).filter_map(|(key, row)| read(key, row, saved.same_boot, clock::now(), clock::wall())).collect();
    let lost = of_letters(saved).count() - letters.len();
    if lost > 0 {
        warn!(rows = lost, "saved mails that this version cannot read are left alone");
    }
    letters
}

/// Rows of the table that are states stand apart by their key; see [`super::states`].
fn of_letters(saved: &Saved) -> impl Iterator<Item = (&str, &[u8])> {
    saved.rows(Table::Letter).filter(|(key, _)| !key.starts_with(super::states::PREFIX))
}

fn row(letter: &Letter, standing: Standing, boot: Time, wall: Duration) -> Row {
    let content = Content {
        way: letter.way.word().to_owned(),
        to: letter.to.reveal().clone(),
        text: String::from_utf8_lossy(letter.content.reveal()).into_owned(),
        age: millis(standing.age),
        failures: standing.failures,
        boot: boot.as_millis(),
        wall: millis(wall),
    };
    Row::keep(Table::Letter, letter.name.as_str(), serde_json::to_vec(&content).unwrap_or_default())
}

fn read(key: &str, row: &[u8], same_boot: bool, boot: Time, wall: Duration) -> Option<(Letter, Standing)> {
    let content: Content = serde_json::from_slice(row).ok()?;
    let since = if same_boot { boot.as_millis().saturating_sub(content.boot) } else { millis(wall).saturating_sub(content.wall) };
    let letter = Letter {
        name: key.to_owned(),
        way: Way::of_word(&content.way)?,
        to: Private::new(content.to),
        content: Private::new(content.text.into_bytes()),
    };
    let age = Duration::from_millis(content.age.saturating_add(since));
    Some((letter, Standing { age, failures: content.failures }))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a4_a_letter_comes_back_with_the_same_bytes_and_its_age() {
        let letter = Letter {
            name: "ab.0".to_owned(),
            way: Way::Smtp,
            to: Private::new("jürgen@example.com".to_owned()),
            content: Private::new("Subject: x\r\n\r\n=C3=B3 ü\r\n".as_bytes().to_vec()),
        };
        let (boot, wall) = (Time::ZERO + 100 * HOUR, 9000 * HOUR);
        let standing = Standing { age: HOUR, failures: 3 };
        let row = row(&letter, standing, boot, wall);
        let value = row.value.expect("a content").into_revealed();
        let key = row.key.into_revealed();
        for (same_boot, now, wall_now, age) in [
            (true, boot + HOUR, wall, 2 * HOUR),
            (true, boot + HOUR, wall + 50 * HOUR, 2 * HOUR),
            (false, Time::ZERO + HOUR, wall + 2 * HOUR, 3 * HOUR),
            (false, Time::ZERO + HOUR, wall - HOUR, HOUR),
        ] {
            let back = read(&key, &value, same_boot, now, wall_now);
            assert_eq!(back, Some((letter.clone(), Standing { age, failures: 3 })), "{same_boot}");
        }
        for broken in [&b""[..], b"{}", b"\xff", br#"{"way":"pigeon","to":"","text":"","age":0,"failures":0,"boot":0,"wall":0}"#]
        {
            assert_eq!(read(&key, broken, true, boot, wall), None);
        }
    }
}

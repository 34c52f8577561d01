//! Wipes what SQLite leaves behind where it moves rows between pages.
//!
//! `secure_delete` overwrites a deleted row, but a page that gave rows to its neighbour keeps their bytes in its unallocated
//! space (`rebuildPage` does not clear it). This clears that space. It is no part of the database's content, so a torn write
//! here damages nothing. Formats: <https://www.sqlite.org/fileformat2.html>, sections 1.6 and 4.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Of the write-ahead log, and of each of its frames.
const LOG_HEADER: usize = 32;
const FRAME_HEADER: u64 = 24;

/// The pages that the log has, old ones included; the first is 1.
pub(super) fn pages_in(log: &Path) -> io::Result<BTreeSet<u32>> {
    let file = match File::open(log) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        file => file?,
    };
    let length = file.metadata()?.len();
    let mut pages = BTreeSet::new();
    let mut header = [0; LOG_HEADER];
    if file.read_exact_at(&mut header, 0).is_err() {
        return Ok(pages);
    }
    let page_size = u64::from(big_endian(&header, 8));
    if !(512..=65536).contains(&page_size) {
        return Ok(pages);
    }
    let mut at = LOG_HEADER as u64;
    while at + FRAME_HEADER <= length {
        let mut number = [0; 4];
        file.read_exact_at(&mut number, at)?;
        pages.insert(u32::from_be_bytes(number));
        at += FRAME_HEADER + page_size;
    }
    Ok(pages)
}

/// Clears the unallocated space of these pages; those that are no b-tree's are left alone. Durable when this returns.
pub(super) fn wipe(database: &File, page_size: usize, pages: &BTreeSet<u32>) -> io::Result<()> {
    let mut page = vec![0; page_size];
    let mut changed = false;
    for number in pages.iter().filter(|n| **n > 0) {
        let at = u64::from(*number - 1) * page_size as u64;
        match database.read_exact_at(&mut page, at) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => continue,
            read => read?,
        }
        let Some((from, to)) = unallocated(&page, if *number == 1 { 100 } else { 0 }) else { continue };
        if let Some(space) = page.get_mut(from..to)
            && space.iter().any(|b| *b != 0)
        {
            space.fill(0);
            database.write_all_at(space, at + from as u64)?;
            changed = true;
        }
    }
    if changed { database.sync_data() } else { Ok(()) }
}

/// From where to where; `None`: this is no page of a b-tree. Overflow and freelist pages begin with a page number, whose first
/// byte is 0 in any database below 64 GB.
fn unallocated(page: &[u8], header: usize) -> Option<(usize, usize)> {
    let pointers = match page.get(header)? {
        2 | 5 => header + 12,
        10 | 13 => header + 8,
        _ => return None,
    };
    let two = |at: usize| Some(usize::from(u16::from_be_bytes([*page.get(at)?, *page.get(at + 1)?])));
    let from = pointers + 2 * two(header + 3)?;
    let to = match two(header + 5)? {
        0 => 65536,
        to => to,
    };
    (from <= to && to <= page.len()).then_some((from, to))
}

fn big_endian(bytes: &[u8; LOG_HEADER], at: usize) -> u32 {
    bytes.iter().skip(at).take(4).fold(0, |sum, b| sum << 8 | u32::from(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_space_between_pointers_and_rows_is_cleared() {
        let mut leaf = vec![7u8; 512];
        leaf[..8].copy_from_slice(&[10, 0, 0, 0, 2, 1, 200, 0]);
        let mut interior = leaf.clone();
        interior[0] = 2;
        let mut overflow = leaf.clone();
        overflow[0] = 0;
        let mut nonsense = leaf.clone();
        nonsense[3] = 0xFF;
        assert_eq!(unallocated(&leaf, 0), Some((12, 456)));
        assert_eq!(unallocated(&interior, 0), Some((16, 456)));
        assert_eq!(unallocated(&overflow, 0), None);
        assert_eq!(unallocated(&nonsense, 0), None);
        let file = tempfile::tempfile().expect("a file");
        file.write_all_at(&[[0; 512].as_slice(), &leaf, &overflow].concat(), 0).expect("written");
        wipe(&file, 512, &(1..=4).collect()).expect("wiped");
        let mut after = vec![0; 1536];
        file.read_exact_at(&mut after, 0).expect("read");
        assert_eq!(after[1024..], overflow);
        leaf[12..456].fill(0);
        assert_eq!(after[512..1024], leaf);
    }
}

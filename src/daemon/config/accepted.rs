//! The last accepted configuration, kept beside the leases.
//!
//! A daemon that is restarted with a broken file starts with what it last accepted, so that calls go out. Only
//! the file is kept: the environment is the present one.

use crate::io::store::sqlite;
use crate::words::{Row, Table};
use std::path::{Path, PathBuf};

const KEY: &str = "config";

/// The row that keeps a config's text.
pub fn row(text: &str) -> Row {
    Row::keep(Table::Node, KEY, text.as_bytes().to_vec())
}

/// The text kept last, if this state directory ever accepted one and can be read.
pub fn load(state_dir: &Path) -> Option<String> {
    String::from_utf8(sqlite::peek(state_dir, KEY)?).ok()
}

/// What mistakes in it are said to be in.
pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("last accepted config")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_was_kept_last_is_loaded_also_while_the_store_is_open() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(load(dir.path()), None);
        let opened = sqlite::open(dir.path(), "boot", Duration::MAX, Box::new(|_| {})).expect("nobody else has it");
        for text in ["one", "two", "two"] {
            opened.keeper.keep(row(text));
            assert!(opened.keeper.flush(Duration::from_secs(10)));
            assert_eq!(load(dir.path()).as_deref(), Some(text));
        }
        assert!(opened.keeper.close(Duration::from_secs(10)));
        assert_eq!(load(dir.path()).as_deref(), Some("two"));
    }

    #[test]
    fn b3_a_missing_state_directory_has_none() {
        assert_eq!(load(Path::new("/nonexistent/e911d")), None);
    }
}

//! The last accepted configuration, kept beside the leases.
//!
//! A daemon that is restarted with a broken file starts with what it last accepted, so that calls go out. Only
//! the file is kept: the environment is the present one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Keeps a config's text: readable by us alone, there whole or not at all. An error is worth a log line and no more.
pub fn save(state_dir: &Path, text: &str) -> io::Result<()> {
    if load(state_dir).is_ok_and(|kept| kept.as_deref() == Some(text)) {
        return Ok(());
    }
    let draft = state_dir.join("accepted.toml.new");
    match fs::remove_file(&draft) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path(state_dir))?;
    File::open(state_dir)?.sync_all()
}

/// The text kept last, if this state directory ever accepted one.
pub fn load(state_dir: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path(state_dir)) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Where it is kept.
pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("accepted.toml")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_was_saved_last_is_loaded_and_nobody_else_may_read_it() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(load(dir.path()).expect("nothing yet"), None);
        for text in ["one", "two", "two"] {
            save(dir.path(), text).expect("it can be written");
            assert_eq!(load(dir.path()).expect("it can be read").as_deref(), Some(text));
        }
        let mode = fs::metadata(path(dir.path())).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 1);
    }

    #[test]
    fn a_leftover_of_a_killed_writer_is_no_hindrance() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("accepted.toml.new"), "half").expect("written");
        save(dir.path(), "whole").expect("it can be written");
        assert_eq!(load(dir.path()).expect("it can be read").as_deref(), Some("whole"));
    }

    #[test]
    fn b3_a_missing_state_directory_is_an_error_and_nothing_worse() {
        assert!(save(Path::new("/nonexistent/e911d"), "x").is_err());
        assert_eq!(load(Path::new("/nonexistent/e911d")).expect("nothing there"), None);
    }
}

//! One daemon a state directory.

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Held while it lives; the kernel lets go of it with the process.
pub(super) struct Lock(#[expect(dead_code, reason = "closing it ends the lock")] OwnedFd);

/// What became of the attempt.
pub(super) enum Locked {
    /// It is ours.
    Ours(Lock),
    /// Another process has it.
    Taken,
    /// There is no such directory, or its file system knows no locks.
    Impossible,
}

/// Locks the directory itself, so that no file has to be made.
pub(super) fn lock(dir: &Path) -> Locked {
    let opened = open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(io::Error::from);
    let Ok(dir) = opened else { return Locked::Impossible };
    match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Locked::Ours(Lock(dir)),
        Err(Errno::WOULDBLOCK) => Locked::Taken,
        Err(_) => Locked::Impossible,
    }
}

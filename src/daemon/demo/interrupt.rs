//! Ctrl-C and SIGTERM: asked for now and then, so that the daemon is stopped and the files go.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

/// Whether somebody wants to stop.
#[derive(Clone, Debug, Default)]
pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens for signals, in a thread of its own.
    pub(super) fn listen() -> io::Result<Self> {
        let interrupt = Self::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let guard = runtime.enter();
        let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        drop(guard);
        let heard = interrupt.clone();
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! { _ = int.recv() => {} _ = term.recv() => {} }
            });
            heard.0.store(true, Ordering::Relaxed);
        });
        Ok(interrupt)
    }

    /// Whether a signal has come.
    pub(super) fn came(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

//! The threads: how each starts, and how the one beside the calls ends.
//!
//! Not what they do: that is [`Front`] and [`SideThread`].

use std::io;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::opening::Doors;
use crate::daemon::front::Front;
use crate::daemon::side::SideThread;

/// How long mails that are on their way may take after the calls.
const LAST_MAILS: Duration = Duration::from_secs(4);

pub(super) fn start_side(
    side: SideThread,
    doors: Doors,
    notifier: impl Future<Output = ()> + Send + 'static,
    teller: impl Future<Output = ()> + Send + 'static,
    halted: oneshot::Receiver<()>,
) -> io::Result<thread::JoinHandle<()>> {
    let runtime = current_thread_runtime()?;
    thread::Builder::new().name("side".to_owned()).spawn(move || {
        runtime.block_on(async {
            doors.open();
            tokio::spawn(teller);
            let mails = tokio::spawn(notifier);
            let ends = async {
                side.run().await;
                // What is on its way gets its chance; nothing else waits for it.
                let _ = tokio::time::timeout(LAST_MAILS, mails).await;
            };
            tokio::select! {
                () = ends => {}
                // A successor sends it.
                Ok(()) = halted => {}
            }
        });
        // The state directory may hang; nothing waits for it.
        runtime.shutdown_background();
    })
}

/// Starts the front and waits until it is there. The receiver is told when it ends.
pub(super) fn start_front(build: impl FnOnce() -> io::Result<Front> + Send + 'static) -> io::Result<oneshot::Receiver<()>> {
    let runtime = current_thread_runtime()?;
    let (began, begun) = std::sync::mpsc::channel();
    let (ended, end) = oneshot::channel();
    thread::Builder::new().name("front".to_owned()).spawn(move || {
        runtime.block_on(async {
            match build() {
                Ok(front) => {
                    let _ = began.send(Ok(()));
                    front.run().await;
                }
                Err(e) => drop(began.send(Err(e))),
            }
        });
        let _ = ended.send(());
    })?;
    begun.recv().map_err(io::Error::other)??;
    Ok(end)
}

pub(super) fn current_thread_runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// As many descriptors as we may have: each connection is one.
pub(super) fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

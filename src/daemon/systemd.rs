//! What the service manager is told, where there is one (sd_notify(3)). Failures do not matter: nobody is listening then.

use sd_notify::NotifyState;
use std::time::Duration;

/// Every listed socket answers.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// A reload begins; [`ready`] ends it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The end begins.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// From now on that process is the service: it has taken over.
pub fn successor(process: u32) {
    tell(&[NotifyState::MainPid(process)]);
}

/// The program is alive.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often [`alive`] is expected, if at all.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

fn tell(state: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(state);
}

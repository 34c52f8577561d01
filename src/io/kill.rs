//! Named points at which a test kills the process or makes a thread panic (RULES B1, B3). A build for users has none of them.
//!
//! `E911D_KILL_AT=NAME` in the environment sends SIGKILL to this very process where it first passes that point,
//! `E911D_KILL_AT=NAME#3` where it does so for the third time. Messages make points of their start lines: see [`message`].
//! `E911D_PANIC_AT` has the same form: the thread that passes panics.

#[cfg(debug_assertions)]
use std::sync::{
    OnceLock,
    atomic::{AtomicU32, Ordering},
};

/// A point.
#[inline]
pub fn point(name: &str) {
    passes(|wanted| wanted == name);
}

/// The point that a SIP message makes: `when` and its method or status, as `sent INVITE`, `received 200`.
#[inline]
pub fn message(when: &str, bytes: &[u8]) {
    passes(|wanted| wanted.strip_prefix(when).and_then(|w| w.strip_prefix(' ')).is_some_and(|what| starts_with(bytes, what)));
}

fn starts_with(bytes: &[u8], what: &str) -> bool {
    let rest = bytes.strip_prefix(b"SIP/2.0 ").unwrap_or(bytes);
    rest.strip_prefix(what.as_bytes()).is_some_and(|rest| rest.first() == Some(&b' '))
}

#[cfg(debug_assertions)]
fn passes(is_wanted: impl Fn(&str) -> bool) {
    static KILLS: Trap = Trap::at("E911D_KILL_AT");
    static PANICS: Trap = Trap::at("E911D_PANIC_AT");
    if KILLS.catches(&is_wanted) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }
    assert!(!PANICS.catches(&is_wanted), "a test wants this");
}

/// A point that the environment names.
#[cfg(debug_assertions)]
struct Trap {
    variable: &'static str,
    wanted: OnceLock<Option<(String, u32)>>,
    passed: AtomicU32,
}

#[cfg(debug_assertions)]
impl Trap {
    const fn at(variable: &'static str) -> Self {
        Self { variable, wanted: OnceLock::new(), passed: AtomicU32::new(0) }
    }

    /// Whether this is the point, passed so many times.
    fn catches(&self, is_wanted: impl Fn(&str) -> bool) -> bool {
        let wanted = self.wanted.get_or_init(|| {
            let text = std::env::var(self.variable).ok()?;
            let (name, times) = text.split_once('#').unwrap_or((&text, "1"));
            Some((name.to_owned(), times.parse().ok()?))
        });
        wanted.as_ref().is_some_and(|(name, times)| is_wanted(name) && self.passed.fetch_add(1, Ordering::Relaxed) + 1 == *times)
    }
}

#[cfg(not(debug_assertions))]
#[inline]
fn passes(_: impl Fn(&str) -> bool) {}

#[cfg(test)]
mod tests {
    use super::starts_with;

    #[test]
    fn a_message_is_known_by_its_method_or_status() {
        for (bytes, what, is) in [
            (&b"INVITE sip:x SIP/2.0\r\n"[..], "INVITE", true),
            (b"SIP/2.0 200 OK\r\n", "200", true),
            (b"SIP/2.0 200 OK\r\n", "20", false),
            (b"BYE sip:200 SIP/2.0\r\n", "200", false),
            (b"", "BYE", false),
        ] {
            assert_eq!(starts_with(bytes, what), is, "{what}");
        }
    }
}

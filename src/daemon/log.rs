//! The log: one line an event on stderr, as text or JSON.
//!
//! Lines hold fixed words, names of neighbours, our own call numbers and durations. They never hold a person, number,
//! address, Call-ID, URI or body, at any level (promise 3): libraries are not logged at all, since they know nothing of
//! that, and a panic says where it happened and not with what. Under journald a line begins with its priority (sd-daemon(3)),
//! so that `journalctl -p warning` finds what it should; its fields stand in it as `key=value`, or as JSON.

use super::config::{Log, LogFormat, LogLevel};
use std::io::{self, Write, stderr};
use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// Begins to log. Under journald lines have no time and no colour: it knows the time. A second call does nothing.
pub fn start(log: Log) {
    let ours = Targets::new().with_target("e911d", level(log.level));
    let lines = fmt::layer().with_writer(stderr).with_ansi(false).with_target(false);
    let journald = std::env::var_os("JOURNAL_STREAM").is_some();
    let layer = match (log.format, journald) {
        (LogFormat::Text, false) => lines.boxed(),
        (LogFormat::Text, true) => lines.with_writer(Journal).without_time().boxed(),
        (LogFormat::Json, false) => lines.json().flatten_event(true).boxed(),
        (LogFormat::Json, true) => lines.with_writer(Journal).json().flatten_event(true).without_time().boxed(),
    };
    let _ = tracing_subscriber::registry().with(layer.with_filter(ours)).try_init();
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|l| format!("{}:{}", l.file(), l.line())).unwrap_or_default();
        let thread = std::thread::current();
        let _ = writeln!(stderr(), "panic at={place} thread={}", thread.name().unwrap_or("-"));
    }));
}

/// Standard error, read by journald.
struct Journal;

impl MakeWriter<'_> for Journal {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        Line { priority: b'6' }
    }

    fn make_writer_for(&self, meta: &Metadata<'_>) -> Line {
        Line { priority: priority(*meta.level()) }
    }
}

/// One line, with its priority (syslog(3)).
struct Line {
    priority: u8,
}

impl Write for Line {
    /// A whole line, in one piece.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        stderr().write_all(&[&[b'<', self.priority, b'>'], line].concat())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const fn priority(level: tracing::Level) -> u8 {
    match level {
        tracing::Level::ERROR => b'3',
        tracing::Level::WARN => b'4',
        tracing::Level::INFO => b'6',
        _ => b'7',
    }
}

const fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

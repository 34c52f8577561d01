//! The log: one line an event on stderr, as text or JSON.
//!
//! Lines hold fixed words, names of neighbours, our own call numbers and durations. They never hold a person, number,
//! address, Call-ID, URI or body, at any level (promise 3): libraries are not logged at all, since they know nothing of
//! that, and a panic says where it happened and not with what.

use super::config::{Log, LogFormat, LogLevel};
use std::io::{Write, stderr};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
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
        (LogFormat::Text, true) => lines.without_time().boxed(),
        (LogFormat::Json, false) => lines.json().flatten_event(true).boxed(),
        (LogFormat::Json, true) => lines.json().flatten_event(true).without_time().boxed(),
    };
    let _ = tracing_subscriber::registry().with(layer.with_filter(ours)).try_init();
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|l| format!("{}:{}", l.file(), l.line())).unwrap_or_default();
        let thread = std::thread::current();
        let _ = writeln!(stderr(), "panic at={place} thread={}", thread.name().unwrap_or("-"));
    }));
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

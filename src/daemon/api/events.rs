//! `events`: what changes, as it changes (server-sent events, WHATWG HTML section 9.2).
//!
//! Alarms, the number of calls and trunks; never a person. A reader that is too slow is let go, and reads the lists anew.

use super::error::ApiError;
use super::{Api, request};
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use serde_json::Value;
use std::convert::Infallible;
use tokio::sync::broadcast::{self, Receiver};

/// Events that wait for one reader.
pub const BACKLOG: usize = 64;
/// Readers at once.
const READERS: usize = 16;

/// One event: a name and what it says.
#[derive(Clone, Debug, PartialEq)]
pub struct Happened {
    /// `alarm`, `calls` or `trunks`.
    pub name: &'static str,
    /// An object.
    pub data: Value,
}

/// The stream. 503 where too many read already.
pub(super) async fn stream(
    State(api): State<Api>,
    _: request::NoParameters,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    if api.status.events().receiver_count() >= READERS {
        return Err(ApiError::busy());
    }
    let events = stream::unfold(api.status.events().subscribe(), next);
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// The next event; none for a reader that has missed some.
async fn next(mut events: Receiver<Happened>) -> Option<(Result<Event, Infallible>, Receiver<Happened>)> {
    let happened = events.recv().await.ok()?;
    let event = Event::default().event(happened.name).data(happened.data.to_string());
    Some((Ok(event), events))
}

/// Where events come from.
pub type Events = broadcast::Sender<Happened>;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn a_reader_that_is_too_slow_is_let_go() {
        let (events, reader) = broadcast::channel(2);
        let mut reader = next({
            let _ = events.send(Happened { name: "calls", data: json!({}) });
            reader
        })
        .await
        .expect("an event")
        .1;
        for _ in 0..3 {
            let _ = events.send(Happened { name: "calls", data: json!({}) });
        }
        assert!(next(reader).await.is_none());
        reader = events.subscribe();
        let _ = events.send(Happened { name: "calls", data: json!({}) });
        assert!(next(reader).await.is_some());
    }
}

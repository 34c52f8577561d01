//! `events`: what changes, as it changes (server-sent events, WHATWG HTML section 9.2).
//!
//! Alarms, the number of calls and trunks; never a person. A reader that is too slow is let go, and reads the lists anew.

use super::auth::Asker;
use super::error::ApiError;
use super::{Api, request, session};
use crate::daemon::passes::Holder;
use axum::Extension;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use serde_json::Value;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::broadcast::{self, Receiver};

/// Events that wait for one reader.
pub const BACKLOG: usize = 64;
/// Readers at once.
const READERS: usize = 16;
/// Agents' pages that read at once: the others ask now and then.
const OWN_READERS: usize = 512;
/// How often it is looked for what is new for an agent.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// One event: a name and what it says.
#[derive(Clone, Debug, PartialEq)]
pub struct Happened {
    /// `alarm`, `calls` or `trunks`.
    pub name: &'static str,
    /// An object.
    pub data: Value,
}

/// The stream; to an agent who has signed in, of what `session/state` says of her alone. 503 where too many read already.
pub(super) async fn stream(
    State(api): State<Api>,
    Extension(asker): Extension<Asker>,
    _: request::NoParameters,
) -> Result<Response, ApiError> {
    static OWN: AtomicUsize = AtomicUsize::new(0);
    static ALL: AtomicUsize = AtomicUsize::new(0);
    let (counted, most) = if asker.holder.is_some() { (&OWN, OWN_READERS) } else { (&ALL, READERS) };
    let place = Place::take(counted, most).ok_or_else(ApiError::busy)?;
    let events: Pin<Box<dyn Stream<Item = _> + Send>> = match asker.holder {
        None => Box::pin(stream::unfold((api.status.events().subscribe(), place), async |(events, place)| {
            next(events).await.map(|(event, events)| (event, (events, place)))
        })),
        Some(holder) => Box::pin(stream::unfold(Watch { api, holder, shown: Value::Null, _place: place }, Watch::next)),
    };
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

/// One of the readers at once.
struct Place(&'static AtomicUsize);

impl Place {
    fn take(counted: &'static AtomicUsize, most: usize) -> Option<Self> {
        let taken = counted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < most).then_some(n + 1));
        taken.is_ok().then_some(Self(counted))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An agent's own stream.
struct Watch {
    api: Api,
    holder: Holder,
    shown: Value,
    _place: Place,
}

impl Watch {
    /// Waits for what is new; the end where the daemon has no time for it.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        loop {
            if !self.shown.is_null() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            let state = session::state_of(&self.api, &self.holder).await.ok()?;
            if state != self.shown {
                let event = Event::default().event("state").data(state.to_string());
                self.shown = state;
                return Some((Ok(event), self));
            }
        }
    }
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

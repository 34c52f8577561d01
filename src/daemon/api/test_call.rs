//! `agents/{id}/test-call`: an agent's path with the test number, for real.

use super::error::ApiError;
use super::request::{Id, NoParameters};
use super::{Answer, Api};
use crate::daemon::ask::NoDial;
use crate::daemon::test_call::{NoWalk, Step, walk};
use crate::words::Private;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

/// Walks it: `ok, steps`, each step with `name, ok, why` and `ms` since the start.
pub(super) async fn place(State(api): State<Api>, Id(id): Id, _: NoParameters) -> Answer {
    let steps = walk(&api, &Private::new(id)).await.map_err(|why| match why {
        NoWalk::Busy => ApiError::conflict("another test call is under way; wait for its end"),
        NoWalk::Gone => ApiError::busy(),
        NoWalk::NoDial(NoDial::Nobody) => ApiError::not_found("agent"),
        NoWalk::NoDial(NoDial::NoTest) => ApiError::conflict("her country has no test number; nothing was dialed"),
        NoWalk::NoDial(NoDial::Leased) => {
            ApiError::conflict("she has an open lease of an emergency call, which a test must not touch; wait for its end")
        }
    })?;
    let ok = steps.iter().all(|s| s.ok);
    let shown: Vec<Value> = steps.iter().map(show).collect();
    Ok(Json(json!({ "ok": ok, "steps": shown })))
}

fn show(step: &Step) -> Value {
    json!({ "name": step.name, "ok": step.ok, "why": step.why, "ms": u64::try_from(step.at.as_millis()).unwrap_or(u64::MAX) })
}

//! `agents/{id}/presence` and `agents/{id}/dismiss` (RULES A1).

use super::error::ApiError;
use super::request::{Id, NoParameters, Raw, content_type, wrong_type};
use super::time::moment;
use super::{Answer, Api};
use crate::daemon::ask::{Ask, SetPresence};
use crate::emergency::presence::{PresenceState, View};
use crate::words::Private;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

/// Characters of a note at most.
const LONGEST_NOTE: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    state: String,
    #[serde(default)]
    note: String,
}

/// What she is shown as: `state, note, emergency, since` (null: always, as far as is known); `own` is what she set by hand, `hold` how long DND still stays.
pub(super) async fn show(State(api): State<Api>, Id(id): Id, _: NoParameters) -> Answer {
    Ok(Json(written(ask(&api, id, SetPresence::Keep).await?)))
}

/// Sets what she is, emergencies aside: during one it is what comes back after it.
pub(super) async fn set(State(api): State<Api>, Id(id): Id, _: NoParameters, headers: HeaderMap, Raw(body): Raw) -> Answer {
    if content_type(&headers) != "application/json" {
        return Err(wrong_type("application/json"));
    }
    let body: Value = serde_json::from_slice(&body).map_err(|_| ApiError::unreadable("", "is not JSON"))?;
    let wanted: Wanted = serde_json::from_value(body)
        .map_err(|_| ApiError::invalid("", "must be an object with state, and perhaps note, both texts"))?;
    let state = PresenceState::parse(&wanted.state)
        .ok_or_else(|| ApiError::invalid("state", "must be available, busy, away, dnd or offline"))?;
    if wanted.note.chars().count() > LONGEST_NOTE || wanted.note.chars().any(char::is_control) {
        return Err(ApiError::invalid("note", format!("must be one line of {LONGEST_NOTE} characters at most")));
    }
    let set = SetPresence::State(state, Private::new(wanted.note));
    Ok(Json(written(ask(&api, id, set).await?)))
}

/// Ends the hold after an emergency call.
pub(super) async fn dismiss(State(api): State<Api>, Id(id): Id, _: NoParameters) -> Result<StatusCode, ApiError> {
    ask(&api, id, SetPresence::Dismiss).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn ask(api: &Api, id: String, set: SetPresence) -> Result<View, ApiError> {
    let agent = Private::new(id);
    api.ask(|answer| Ask::Presence { agent, set, answer }).await?.ok_or_else(|| ApiError::not_found("agent"))
}

pub(super) fn written(view: View) -> Value {
    json!({
        "state": view.shown.word(), "note": view.note.reveal(), "emergency": view.emergency, "since": view.since.map(moment),
        "own": view.own.word(), "hold": view.hold.map(moment),
    })
}

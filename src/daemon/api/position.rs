//! `agents/{id}/position`: where an agent's browser says that she is. Goes with her next emergency call (RFC 5491).
//!
//! Kept in memory alone and never shown again; no call waits for it.

use super::Api;
use super::error::ApiError;
use super::request::{Id, NoParameters, Raw, content_type, wrong_type};
use crate::daemon::ask::Ask;
use crate::daemon::borders::country_of;
use crate::io::clock;
use crate::words::Private;
use crate::words::position::Position;
use crate::words::wall::parse_rfc3339;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// A position that is older says nothing of where she is.
const OLDEST: Duration = Duration::from_secs(24 * 3600);
/// The country is told of one that is not older than that (RULES R7).
const FRESH: Duration = Duration::from_secs(3600);
/// How far her clock may be ahead of ours; what is ahead counts as of now.
const AHEAD: Duration = Duration::from_secs(600);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    latitude: f64,
    longitude: f64,
    accuracy: f64,
    at: String,
}

/// Keeps it in place of the one before.
pub(super) async fn set(
    State(api): State<Api>,
    Id(id): Id,
    _: NoParameters,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<StatusCode, ApiError> {
    if content_type(&headers) != "application/json" {
        return Err(wrong_type("application/json"));
    }
    let body: Value = serde_json::from_slice(&body).map_err(|_| ApiError::unreadable("", "is not JSON"))?;
    let said: Said = serde_json::from_value(body)
        .map_err(|_| ApiError::invalid("", "must be an object with latitude, longitude and accuracy, numbers, and at, a time"))?;
    let position = read(&said, clock::wall())?;
    let agent = Private::new(id);
    let there = api.ask(|answer| Ask::Position { agent, position: Private::new(position), answer }).await?;
    if there { Ok(StatusCode::NO_CONTENT) } else { Err(ApiError::not_found("agent")) }
}

fn read(said: &Said, now: Duration) -> Result<Position, ApiError> {
    let at = parse_rfc3339(&said.at).ok_or_else(|| ApiError::invalid("at", "must be a time as 2026-01-31T12:00:00Z"))?;
    if now.saturating_sub(at) > OLDEST {
        return Err(ApiError::invalid("at", "is more than a day ago"));
    }
    if at.saturating_sub(now) > AHEAD {
        return Err(ApiError::invalid("at", "lies ahead: is that clock right?"));
    }
    let position = Position::new(said.latitude, said.longitude, said.accuracy, at.min(now))
        .map_err(|wrong| ApiError::invalid(wrong.field(), wrong.to_string()))?;
    let fresh = now.saturating_sub(at) <= FRESH;
    Ok(position.in_country(fresh.then(|| country_of(&position)).flatten()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_763_840_491); // 2025-11-22T19:41:31Z

    #[test]
    fn what_makes_no_sense_is_refused_by_its_field() {
        let said = |latitude, longitude, accuracy, at: &str| Said { latitude, longitude, accuracy, at: at.to_owned() };
        let field = |said: &Said| read(said, NOW).err().map(|e| e.field);
        let at = "2025-11-22T19:41:00Z";
        assert_eq!(field(&said(47.67, -122.12, 20.0, at)), None);
        for (wrong, want) in [
            (said(90.1, 0.0, 1.0, at), "latitude"),
            (said(f64::NAN, 0.0, 1.0, at), "latitude"),
            (said(0.0, -180.1, 1.0, at), "longitude"),
            (said(0.0, 0.0, -1.0, at), "accuracy"),
            (said(0.0, 0.0, f64::INFINITY, at), "accuracy"),
            (said(0.0, 0.0, 1.0, "yesterday"), "at"),
            (said(0.0, 0.0, 1.0, "2025-11-21T19:41:30Z"), "at"),
            (said(0.0, 0.0, 1.0, "2025-11-22T19:52:31Z"), "at"),
        ] {
            assert_eq!(field(&wrong).as_deref(), Some(want));
        }
        let ahead = read(&said(47.67, -122.12, 20.0, "2025-11-22T19:45:00Z"), NOW).expect("a clock that is a little ahead");
        assert_eq!(ahead.at(), NOW);
    }
}

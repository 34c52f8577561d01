//! `openapi.json`: what this API is, for programs (OpenAPI 3.1).

use super::request::NoParameters;
use super::{Answer, ApiError};
use axum::Json;
use axum::http::StatusCode;
use serde_json::Value;

/// The description, kept as a file beside this one.
const DOCUMENT: &str = include_str!("openapi.json");

/// The description.
pub(super) async fn show(_: NoParameters) -> Answer {
    let broken = |_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the description is broken");
    serde_json::from_str::<Value>(DOCUMENT).map(Json).map_err(broken)
}

//! `alarms`: what is wrong now.

use super::page::{Page, of_sorted};
use super::time::rfc3339;
use super::{Answer, Api};
use axum::Json;
use axum::extract::State;
use serde_json::json;

/// The raised alarms by name: `name, state, since`.
pub(super) async fn list(State(api): State<Api>, page: Page) -> Answer {
    let alarms: Vec<_> = api.status.alarms().into_iter().collect();
    let show = |(name, since): &(&str, _)| json!({"name": name, "state": "raised", "since": rfc3339(*since)});
    Ok(Json(of_sorted(alarms.iter(), &page, |(name, _)| (*name).to_owned(), show)))
}

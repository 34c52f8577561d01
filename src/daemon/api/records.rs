//! `records`: ordinary calls that are over. Emergency calls are in none, in either direction (RULES A7).

use super::error::ApiError;
use super::page::{self, PageSince};
use super::{Answer, Api};
use crate::daemon::records::id_of;
use axum::Json;
use axum::extract::State;
use serde_json::Value;

/// The records, the oldest first, those that started at `since` or later: `id, direction, from, to, peer, trunk, started, answered, ended, outcome`.
pub(super) async fn list(State(api): State<Api>, PageSince { page, since }: PageSince) -> Answer {
    let after = page.after.as_deref().map_or(Some(0), id_of).ok_or_else(page::bad_cursor)?;
    let (found, more) = api.board.records().after(after, &since, page.limit);
    let next = found.last().filter(|_| more).and_then(|(_, v)| v["id"].as_str()).map(str::to_owned);
    let items: Vec<Value> = found.into_iter().map(|(_, v)| v).collect();
    Ok::<_, ApiError>(Json(page::list(items, next)))
}

//! `outbox`: what is not delivered yet. Whom it is for and what it says stays in it (promise 3).

use super::error::ApiError;
use super::page::{self, Page};
use super::time::{moment, rfc3339};
use super::{Answer, Api};
use crate::io::clock;
use crate::io::notifier::Question;
use crate::io::notifier::outbox::{View, Way};
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// The letters, the oldest first: `id, channel, written, failures, next`.
pub(super) async fn list(State(api): State<Api>, page: Page) -> Answer {
    let after = page.after.as_deref().map_or(Ok(0), |after| after.parse().map_err(|_| page::bad_cursor()))?;
    let (answer, answered) = oneshot::channel();
    let question = Question { after, most: page.limit, answer };
    api.outbox.send(question).await.map_err(|_| ApiError::busy())?;
    let (letters, more) = answered.await.map_err(|_| ApiError::busy())?;
    let next = letters.last().filter(|_| more).map(|l| l.id.0.to_string());
    Ok(Json(page::list(letters.iter().map(show).collect(), next)))
}

fn show(letter: &View) -> Value {
    let channel = match letter.way {
        Way::Smtp => "mail",
        Way::Webhook => "webhook",
    };
    json!({
        "id": letter.id.0.to_string(), "channel": channel,
        "written": rfc3339(clock::wall().saturating_sub(letter.standing.age)),
        "failures": letter.standing.failures, "next": letter.next.map(moment),
    })
}

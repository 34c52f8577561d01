//! The one shape of every refusal: `{"error":{"code","message","field"}}`, with the status that fits.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::time::Duration;

/// A refusal. Its text repeats no person, number, address or secret.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// A word for programs, as `not_found`.
    pub code: &'static str,
    /// A sentence for people: what is wrong, and what to do.
    pub message: String,
    /// The key or parameter that is meant; empty where none is.
    pub field: String,
    /// Every wrong row of a list, where a list was sent.
    pub rows: Vec<Row>,
    /// When to try again, in seconds.
    pub retry_after: Option<u64>,
}

/// One wrong row of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where it begins in what was sent, counted from 1.
    pub line: u64,
    /// The key that is wrong; empty where the whole row is.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl Row {
    /// As it stands in a list.
    pub fn to_json(&self) -> Value {
        json!({"line": self.line, "field": self.field, "message": self.message})
    }
}

impl ApiError {
    /// A refusal without a field.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), field: String::new(), rows: Vec::new(), retry_after: None }
    }

    /// 422: what was sent can be read and makes no sense.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message) }
    }

    /// 400: a parameter or a body that cannot be read.
    pub fn unreadable(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), ..Self::new(StatusCode::BAD_REQUEST, "unreadable", message) }
    }

    /// 404: nothing has that id.
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("there is no {what} of that id"))
    }

    /// 409: it is there, and it does not allow that.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", message)
    }

    /// 412: somebody else has changed it meanwhile.
    pub fn changed(what: &str) -> Self {
        let message = format!("somebody else has changed this {what} meanwhile; read it again, then change it");
        Self::new(StatusCode::PRECONDITION_FAILED, "changed", message)
    }

    /// 422: rows of a list are wrong, and so none was taken.
    pub fn bad_rows(rows: Vec<Row>) -> Self {
        let message = format!("{} rows are wrong; nothing was taken", rows.len());
        Self { rows, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_rows", message) }
    }

    /// 503: whoever knows has no time for us.
    pub fn busy() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "the daemon has no time for this now; try again")
    }

    /// 503: an edit counts, and the disk does not take it.
    pub fn not_durable() -> Self {
        let message =
            "it counts from now on, but is not on the disk yet and lost in a restart until it is: see the alarm store_failed";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_durable", message)
    }

    /// 429: whoever asks has guessed too often.
    pub fn too_often(wait: Duration) -> Self {
        let seconds = wait.as_secs() + 1;
        let message = format!("too many wrong guesses; try again in {seconds} s");
        Self { retry_after: Some(seconds), ..Self::new(StatusCode::TOO_MANY_REQUESTS, "too_often", message) }
    }

    /// The body.
    pub fn to_json(&self) -> Value {
        let mut error = json!({"code": self.code, "message": self.message, "field": self.field});
        if !self.rows.is_empty() {
            error["rows"] = self.rows.iter().map(Row::to_json).collect();
        }
        json!({ "error": error })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.to_json())).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

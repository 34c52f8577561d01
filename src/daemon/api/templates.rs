//! `templates/{name}`: the texts of mails (RULES A5).

use super::error::{ApiError, Row};
use super::request::{Id, Raw, content_type, wrong_type};
use super::{Answer, Api};
use crate::daemon::control::etag;
use crate::io::notifier::template::{ALL_LANGUAGES, ALL_NAMES, Finding, Language, Name};
use axum::Json;
use axum::extract::{FromRequestParts, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

/// `?language=`; the node's where none is said.
pub(super) struct Spoken(Option<Language>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    language: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for Spoken {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let asked = Query::<Asked>::try_from_uri(&parts.uri)
            .map_err(|_| ApiError::unreadable("", "the one parameter is language, once"))?;
        let Some(code) = &asked.language else { return Ok(Self(None)) };
        let language = ALL_LANGUAGES.into_iter().find(|l| l.code() == code);
        language.map(|l| Self(Some(l))).ok_or_else(|| ApiError::unreadable("language", "must be en, es or fr"))
    }
}

/// The text in use: `name, language, text, edited`, with an ETag.
pub(super) async fn show(State(api): State<Api>, Id(name): Id, spoken: Spoken) -> Result<Response, ApiError> {
    let (name, language) = which(&api, &name, &spoken)?;
    Ok(with_etag(shown(&api, name, language)))
}

/// Takes a text, once it is without mistakes.
pub(super) async fn put(
    State(api): State<Api>,
    Id(name): Id,
    spoken: Spoken,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<Response, ApiError> {
    let (name, language) = which(&api, &name, &spoken)?;
    let text = text(&headers, &body)?.ok_or_else(|| ApiError::invalid("text", "is missing and required"))?;
    // Nothing is waited for between the look and the change, and this thread is the only one that changes them.
    check(&headers, &shown(&api, name, language))?;
    api.templates.set(name, language, &text).map_err(mistakes)?;
    api.durable().await?;
    Ok(with_etag(shown(&api, name, language)))
}

/// Back to the text that comes with the program.
pub(super) async fn reset(
    State(api): State<Api>,
    Id(name): Id,
    spoken: Spoken,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let (name, language) = which(&api, &name, &spoken)?;
    check(&headers, &shown(&api, name, language))?;
    api.templates.reset(name, language);
    api.durable().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a mail would read like, with made-up values: by the text sent, or by the one in use.
pub(super) async fn preview(State(api): State<Api>, Id(name): Id, spoken: Spoken, headers: HeaderMap, Raw(body): Raw) -> Answer {
    let (name, language) = which(&api, &name, &spoken)?;
    let text = text(&headers, &body)?;
    let written = api.templates.preview(name, language, text.as_deref()).map_err(mistakes)?;
    Ok(Json(json!({ "subject": written.subject, "text": written.text })))
}

fn which(api: &Api, name: &str, spoken: &Spoken) -> Result<(Name, Language), ApiError> {
    let name = ALL_NAMES.into_iter().find(|n| n.word() == name).ok_or_else(|| ApiError::not_found("template"))?;
    let language = spoken.0.unwrap_or_else(|| match api.board.config().node.language {
        crate::daemon::config::Language::English => Language::English,
        crate::daemon::config::Language::Spanish => Language::Spanish,
        crate::daemon::config::Language::French => Language::French,
    });
    Ok((name, language))
}

fn shown(api: &Api, name: Name, language: Language) -> Value {
    let template = api.templates.get(name, language);
    json!({ "name": name.word(), "language": language.code(), "text": template.text, "edited": template.is_edited })
}

fn text(headers: &HeaderMap, body: &[u8]) -> Result<Option<String>, ApiError> {
    if content_type(headers) != "application/json" {
        return Err(wrong_type("application/json"));
    }
    let body: Value = serde_json::from_slice(body).map_err(|_| ApiError::unreadable("", "is not JSON"))?;
    let Value::Object(mut body) = body else { return Err(ApiError::invalid("", "must be an object with text")) };
    let text = body.remove("text");
    if let Some(key) = body.keys().next() {
        return Err(ApiError::invalid(key.as_str(), "is no key of a template; text is"));
    }
    match text {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(ApiError::invalid("text", "must be a text")),
    }
}

fn check(headers: &HeaderMap, shown: &Value) -> Result<(), ApiError> {
    let Some(wanted) = headers.get(header::IF_MATCH) else { return Ok(()) };
    let wanted = wanted.to_str().unwrap_or_default();
    let tag = etag(shown);
    if wanted == "*" || wanted.split(',').any(|w| w.trim() == tag) { Ok(()) } else { Err(ApiError::changed("template")) }
}

/// Every mistake with its line and column.
fn mistakes(found: Vec<Finding>) -> ApiError {
    let row = |f: &Finding| Row { line: f.line as u64, field: format!("column {}", f.column), message: f.what.clone() };
    let message = format!("{} mistakes; the text of before stays", found.len());
    ApiError { rows: found.iter().map(row).collect(), ..ApiError::invalid("text", message) }
}

fn with_etag(shown: Value) -> Response {
    ([(header::ETAG, etag(&shown))], Json(shown)).into_response()
}

//! `agents`: the people who dial. Those of the config file can be looked at, those of the API be changed.

use super::error::{ApiError, Row};
use super::page::{Page, of_sorted};
use super::request::{Id, NoParameters, Raw, content_type, wrong_type};
use super::{Answer, Api, sheet};
use crate::daemon::config::{self, Config, Contacts, Language, SipTarget};
use crate::daemon::control::{Become, Change, OnlyIf, ToControl, etag};
use crate::daemon::roster::Document;
use crate::words::{Civic, Private};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use tokio::sync::oneshot;

/// The agents by id, each with the keys of the config; passwords never leave.
pub(super) async fn list(State(api): State<Api>, page: Page) -> Answer {
    let config = api.board.config();
    let mut agents: Vec<_> = config.agents.iter().collect();
    agents.sort_by(|a, b| a.id.reveal().cmp(b.id.reveal()));
    Ok(Json(of_sorted(agents.into_iter(), &page, |a| a.id.reveal().clone(), |a| show_agent(&config, a))))
}

/// One agent, with an ETag for whoever wants to change her.
pub(super) async fn show(State(api): State<Api>, Id(id): Id, _: NoParameters) -> Result<Response, ApiError> {
    let shown = find(&api.board.config(), &id).ok_or_else(|| ApiError::not_found("agent"))?;
    Ok(with_etag(StatusCode::OK, shown))
}

/// Adds or replaces one agent. A password that is left out stays as it was.
pub(super) async fn put(
    State(api): State<Api>,
    Id(id): Id,
    _: NoParameters,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<Response, ApiError> {
    let is_new = find(&api.board.config(), &id).is_none();
    let document = document(&headers, &body)?;
    change(&api, &id, &headers, Become::This(document)).await?;
    let shown = find(&api.board.config(), &id).unwrap_or_default();
    Ok(with_etag(if is_new { StatusCode::CREATED } else { StatusCode::OK }, shown))
}

/// Changes some keys of one agent; null takes a key away (RFC 7396).
pub(super) async fn patch(
    State(api): State<Api>,
    Id(id): Id,
    _: NoParameters,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<Response, ApiError> {
    let document = document(&headers, &body)?;
    change(&api, &id, &headers, Become::Merged(document)).await?;
    Ok(with_etag(StatusCode::OK, find(&api.board.config(), &id).unwrap_or_default()))
}

/// Removes one agent. Her lease runs on (RULES A8).
pub(super) async fn remove(
    State(api): State<Api>,
    Id(id): Id,
    _: NoParameters,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    change(&api, &id, &headers, Become::Gone).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Adds or replaces many, all or nothing: a JSON list of agents, or CSV.
pub(super) async fn import(State(api): State<Api>, _: NoParameters, headers: HeaderMap, Raw(body): Raw) -> Answer {
    let text = std::str::from_utf8(&body).map_err(|_| ApiError::unreadable("", "is not UTF-8"))?;
    let rows = match content_type(&headers) {
        "text/csv" => sheet::read(text),
        "application/json" => rows_of_json(text),
        _ => return Err(wrong_type("application/json or text/csv")),
    }?;
    let changes: Vec<Change> = rows.into_iter().map(change_of_row).collect::<Result<_, _>>().map_err(ApiError::bad_rows)?;
    let sent: Vec<_> = changes.iter().map(|change| (change.line, change.id.reveal().clone())).collect();
    tell(&api, changes, true).await?;
    let warnings: Vec<_> = left_out(&api.board.config(), &sent).iter().map(Row::to_json).collect();
    Ok(Json(json!({ "imported": sent.len(), "warnings": warnings })))
}

/// Contacts of these agents that are no addresses, by their places (RULES A4: the others are served).
fn left_out(config: &Config, sent: &[(u64, String)]) -> Vec<Row> {
    let agents: HashMap<_, _> = config.agents.iter().map(|a| (a.id.reveal().as_str(), a)).collect();
    let rows = sent.iter().filter_map(|(line, id)| Some((*line, agents.get(id.as_str())?)));
    rows.flat_map(|(line, agent)| {
        agent.contacts.rejected.iter().map(move |(place, _)| {
            let message = format!("entry {place} is no mail address and is told nothing");
            Row { line, field: "contacts".to_owned(), message }
        })
    })
    .collect()
}

async fn change(api: &Api, id: &str, headers: &HeaderMap, to: Become) -> Result<(), ApiError> {
    let only_if = only_if(headers)?;
    tell(api, vec![Change { id: Private::new(id.to_owned()), line: 0, only_if, to }], false).await
}

async fn tell(api: &Api, changes: Vec<Change>, is_list: bool) -> Result<(), ApiError> {
    let (answer, answered) = oneshot::channel();
    api.control.send(ToControl { changes, is_list, answer }).await.map_err(|_| ApiError::busy())?;
    answered.await.map_err(|_| ApiError::busy())??;
    api.durable().await
}

/// RFC 9110 sections 13.1.1 and 13.1.2.
fn only_if(headers: &HeaderMap) -> Result<OnlyIf, ApiError> {
    let of = |name| headers.get(name).map(|v: &header::HeaderValue| v.to_str().unwrap_or_default());
    match (of(header::IF_MATCH), of(header::IF_NONE_MATCH)) {
        (None, None) => Ok(OnlyIf::Always),
        (Some("*"), None) => Ok(OnlyIf::There),
        (Some(tags), None) => Ok(OnlyIf::Same(tags.split(',').map(|t| t.trim().to_owned()).collect())),
        (None, Some("*")) => Ok(OnlyIf::New),
        _ => Err(ApiError::unreadable("If-None-Match", "only * can be asked for, and not beside If-Match")),
    }
}

fn document(headers: &HeaderMap, body: &[u8]) -> Result<Private<Document>, ApiError> {
    if !matches!(content_type(headers), "application/json" | "application/merge-patch+json") {
        return Err(wrong_type("application/json"));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(document)) => Ok(Private::new(document)),
        Ok(_) => Err(ApiError::unreadable("", "must be a JSON object with the keys of an agent")),
        Err(e) => Err(ApiError::unreadable("", format!("is not JSON: line {}, column {}", e.line(), e.column()))),
    }
}

/// The entries of a JSON list, each with the line where it begins.
fn rows_of_json(text: &str) -> Result<Vec<(u64, Document)>, ApiError> {
    let broken =
        |e: serde_json::Error| ApiError::unreadable("", format!("is no JSON list: line {}, column {}", e.line(), e.column()));
    let entries: Vec<&serde_json::value::RawValue> = serde_json::from_str(text).map_err(broken)?;
    let mut rows = Vec::new();
    let mut wrong = Vec::new();
    let (mut line, mut counted) = (1, 0);
    for entry in entries {
        let before = (entry.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
        // On from the entry before: lists are long.
        line += text.bytes().take(before).skip(counted).filter(|b| *b == b'\n').count() as u64;
        counted = before;
        match serde_json::from_str(entry.get()) {
            Ok(Value::Object(document)) => rows.push((line, document)),
            _ => wrong.push(Row { line, field: String::new(), message: "must be an object".to_owned() }),
        }
    }
    if wrong.is_empty() { Ok(rows) } else { Err(ApiError::bad_rows(wrong)) }
}

fn change_of_row((line, document): (u64, Document)) -> Result<Change, Vec<Row>> {
    let Some(id) = document.get("id").and_then(Value::as_str).filter(|id| !id.is_empty()) else {
        return Err(vec![Row { line, field: "id".to_owned(), message: "is missing and required".to_owned() }]);
    };
    let id = Private::new(id.to_owned());
    Ok(Change { id, line, only_if: OnlyIf::Always, to: Become::This(Private::new(document)) })
}

fn with_etag(status: StatusCode, shown: Value) -> Response {
    (status, [(header::ETAG, etag(&shown))], Json(shown)).into_response()
}

/// An agent of the running config, by id.
pub fn find(config: &Config, id: &str) -> Option<Value> {
    config.agents.iter().find(|a| *a.id.reveal() == id).map(|a| show_agent(config, a))
}

/// An agent in the keys of the config. What is not set is not there; a password is only said to be there.
fn show_agent(config: &Config, agent: &config::Agent) -> Value {
    let mut shown = Map::new();
    let mut put = |key: &str, value: Value| {
        if !value.is_null() {
            shown.insert(key.to_owned(), value);
        }
    };
    let uris = |list: &[SipTarget]| list.iter().map(|t| json!(t.uri.reveal())).collect::<Vec<_>>();
    put("id", json!(agent.id.reveal()));
    put("name", json!(agent.name.reveal()));
    put("identity", agent.identity.iter().map(|i| json!(i.reveal())).collect());
    put("peer", json!(agent.peer.and_then(|p| config.peers.get(p)).map(|p| &p.name)));
    put("devices", json!(uris(&agent.devices)));
    put("alternates", json!(uris(&agent.alternates)));
    put("number", json!(agent.number.map(|n| n.to_string())));
    put("country", json!(agent.country.map(|c| c.to_string())));
    put("site", json!(agent.site));
    put("language", json!(agent.language.map(language)));
    put("outbound_profile", json!(agent.outbound_profile.and_then(|p| config.outbound_profiles.get(p)).map(|p| &p.name)));
    put("capacity", json!(agent.capacity));
    put("locked", json!(agent.locked));
    put("mailbox", json!(agent.mailbox.as_ref().map(|m| m.reveal())));
    put("contacts", json!(contacts(&agent.contacts)));
    put("location", agent.location.as_ref().map_or(Value::Null, |l| location(l.reveal())));
    let place = config.agents.iter().position(|a| std::ptr::eq(a, agent)).unwrap_or_default();
    put("source", json!(if place < config.agents_of_file { "config" } else { "runtime" }));
    put("has_password", json!(agent.password.is_some()));
    Value::Object(shown)
}

const fn language(language: Language) -> &'static str {
    match language {
        Language::English => "en",
        Language::Spanish => "es",
        Language::French => "fr",
    }
}

fn contacts(contacts: &Contacts) -> String {
    contacts.valid.iter().map(|c| c.reveal().as_str()).collect::<Vec<_>>().join("; ")
}

fn location(location: &Civic) -> Value {
    let Civic { house, street, city, state, zip, country, building, floor, room } = location;
    let fields = [
        ("house", house),
        ("street", street),
        ("city", city),
        ("state", state),
        ("zip", zip),
        ("country", country),
        ("building", building),
        ("floor", floor),
        ("room", room),
    ];
    fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), json!(value.as_ref()?)))).collect::<Map<_, _>>().into()
}

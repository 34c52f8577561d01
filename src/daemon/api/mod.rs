//! The API: `/api/v1/…` on the admin socket and by HTTP, in the shapes of CONTRACT.md.
//!
//! One file per resource; [`openapi`] describes them all, and a test holds the two together. Nothing here touches a
//! call: what runs is asked of the threads that carry it, a slice at a time ([`ask`](super::ask)), what is configured is
//! read from what was taken last, and changes go to the thread that controls the daemon.
//!
//! The [`pages`] are served beside it, and agents' pages get their WebSocket for SIP ([`phone`]).
//!
//! Read [`Api`] first, then [`router`].

pub mod agents;
mod alarms;
pub mod auth;
mod calls;
pub mod error;
mod events;
mod leases;
mod openapi;
mod outbox;
pub mod page;
pub mod phone;
mod position;
mod presence;
mod readiness;
mod records;
pub mod request;
mod session;
pub mod sheet;
mod templates;
mod test_call;
pub mod time;
mod trunks;
mod whoami;

pub use events::{BACKLOG, Events, Happened};

use super::ask::Ask;
use super::board::Board;
use super::config::{Http, Role};
use super::control::ToControl;
use super::front::Command;
use super::guesses::{Guesses, Of};
use super::pages;
use super::passes::Passes;
use super::readiness::Readiness;
use super::side::Status;
use crate::io::clock;
use crate::io::notifier::Question;
use crate::io::notifier::template::Templates;
use crate::io::store::Keeper;
use auth::{Asker, Door};
use axum::extract::{DefaultBodyLimit, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post, put};
use axum::{Json, Router};
use error::ApiError;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{Sender, UnboundedSender};
use tokio::sync::oneshot;

/// What a body may hold, in bytes.
const LARGEST_BODY: usize = 1024 * 1024;
/// The same for a list of agents: 10,000 of them with all that can be said of one.
const LARGEST_LIST: usize = 8 * 1024 * 1024;
/// How long the disk may take for an edit.
const DURABLE: Duration = Duration::from_secs(3);
/// How long a request may take, its body included.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same for a test call.
const LONG_PATIENCE: Duration = Duration::from_secs(90);

/// What an answer is made from.
#[derive(Clone)]
pub struct Api {
    /// Alarms and metrics.
    pub status: Arc<Status>,
    /// What is known beside the calls.
    pub board: Arc<Board>,
    /// The threads that carry calls, the front before all.
    pub front: UnboundedSender<Command>,
    /// How many shards there are.
    pub shards: u8,
    /// What the mails say.
    pub templates: Arc<Templates>,
    /// Who knows what is not delivered.
    pub outbox: Sender<Question>,
    /// Who changes agents.
    pub control: Sender<ToControl>,
    /// What was measured of the prerequisites.
    pub readiness: Arc<Readiness>,
    /// What was edited at run time goes to the disk by it.
    pub keeper: Keeper,
    /// Who has signed in.
    pub passes: Arc<Passes>,
    /// Who has guessed too often.
    pub guesses: Arc<Guesses>,
}

impl Api {
    /// Asks the threads that carry calls. 503 where they have no time.
    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, ApiError> {
        let (answer, answered) = oneshot::channel();
        self.front.send(Command::Ask(question(answer))).map_err(|_| ApiError::busy())?;
        answered.await.map_err(|_| ApiError::busy())
    }

    /// Waits until what was edited is on the disk: an edit that was acknowledged outlives a kill. 503 where the disk does
    /// not take it.
    async fn durable(&self) -> Result<(), ApiError> {
        if self.keeper.flushed(DURABLE).await { Ok(()) } else { Err(ApiError::not_durable()) }
    }

    fn http(&self) -> Http {
        self.board.config().http.clone()
    }
}

/// An answer in JSON, or a refusal.
type Answer = Result<Json<Value>, ApiError>;

/// Who may see and do what; the route of a resource names one.
#[derive(Clone, Copy)]
struct Allowed {
    /// The roles of configured tokens.
    roles: &'static [Role],
    /// Whether an agent who has signed in may as well: below `/agents/`, where it is about herself.
    own: bool,
}

const LOOK: Allowed = Allowed { roles: &[Role::Viewer, Role::Operator], own: false };
const LOOK_OR_OWN: Allowed = Allowed { own: true, ..LOOK };
const OPERATE: Allowed = Allowed { roles: &[Role::Operator], own: false };
const PRESENCE: Allowed = Allowed { roles: &[Role::Operator, Role::Agent], own: true };
const OWN: Allowed = Allowed { roles: &[], own: true };
const ANYBODY: Allowed = Allowed { roles: &[Role::Viewer, Role::Operator, Role::Agent], own: true };

/// Everything that is served through this door kind; the connection's [`Door`] comes as an extension.
pub fn router(api: Api) -> Router {
    let v1 = Router::new()
        .merge(resource("/openapi.json", get(openapi::show), ANYBODY))
        .merge(resource("/whoami", get(whoami::show), ANYBODY))
        .merge(resource("/alarms", get(alarms::list), LOOK))
        .merge(resource("/session", get(session::renew).delete(session::sign_out), OWN))
        .merge(resource("/session/state", get(session::state), OWN))
        .merge(resource("/events", get(events::stream), LOOK_OR_OWN))
        .merge(resource("/trunks", get(trunks::list), LOOK))
        .merge(resource("/calls", get(calls::list), OPERATE))
        .merge(resource("/leases", get(leases::list), OPERATE))
        .merge(resource("/records", get(records::list), LOOK))
        .merge(resource("/outbox", get(outbox::list), LOOK))
        .merge(resource("/readiness", get(readiness::list), LOOK))
        .merge(resource("/agents/{id}/readiness", get(readiness::of_agent), LOOK_OR_OWN))
        .merge(resource("/agents/{id}/position", put(position::set), OWN))
        .merge(resource("/agents/{id}/test-call", post(test_call::place), OPERATE))
        .merge(resource("/agents/{id}/presence", get(presence::show), ANYBODY))
        .merge(resource("/agents/{id}/presence", put(presence::set), PRESENCE))
        .merge(resource("/agents/{id}/dismiss", post(presence::dismiss), PRESENCE))
        .merge(resource("/templates/{name}", get(templates::show), LOOK))
        .merge(resource("/templates/{name}", put(templates::put).delete(templates::reset), OPERATE))
        .merge(resource("/templates/{name}/preview", post(templates::preview), OPERATE))
        .merge(resource("/agents", get(agents::list), LOOK))
        .merge(resource("/agents", post(agents::import).layer(DefaultBodyLimit::max(LARGEST_LIST)), OPERATE))
        .merge(resource("/agents/{id}", get(agents::show), LOOK))
        .merge(resource("/agents/{id}", put(agents::put).patch(agents::patch).delete(agents::remove), OPERATE))
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(api.clone(), identify))
        .merge(open_resource("/session", post(session::sign_in)))
        .layer(from_fn(in_time))
        .layer(DefaultBodyLimit::max(LARGEST_BODY));
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/sip", get(phone::connect))
        .nest("/api/v1", v1)
        .merge(pages::of())
        .fallback(|| async { (StatusCode::NOT_FOUND, "not in this version\n") })
        .layer(from_fn_with_state(api.clone(), check_source))
        .with_state(api)
}

/// One resource, and who may come near it.
fn resource(path: &str, methods: MethodRouter<Api>, allowed: Allowed) -> Router<Api> {
    Router::new().route(path, methods.route_layer(from_fn(move |request, next| check_role(allowed, request, next))))
}

/// One that needs no token.
fn open_resource(path: &str, methods: MethodRouter<Api>) -> Router<Api> {
    Router::new().route(path, methods.layer(from_fn(unstored)))
}

/// No cache keeps what is about somebody.
async fn unstored(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn check_source(State(api): State<Api>, request: Request, next: Next) -> Response {
    let checked = match door(&request) {
        Door::Socket => Ok(()),
        Door::Tcp(_) => {
            let http = api.http();
            auth::check_host(&http, request.headers()).and_then(|()| auth::check_origin(&http, request.headers()))
        }
    };
    match checked {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

/// Nobody learns which paths there are without a token.
async fn identify(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    match asker(&api, door(&request), request.headers()) {
        Ok(asker) => {
            request.extensions_mut().insert(asker);
            unstored(request, next).await
        }
        Err(refused) => refused.into_response(),
    }
}

/// By a configured token, or by that of an agent who has signed in. Whoever shows many wrong ones is told to wait; a right
/// one is never refused for the wrong ones of others.
fn asker(api: &Api, door: Door, headers: &HeaderMap) -> Result<Asker, ApiError> {
    let config = api.board.config();
    let refused = match auth::role(&config.http, door, headers) {
        Ok(role) => return Ok(Asker { role, holder: None }),
        Err(refused) => refused,
    };
    let Some(token) = auth::token(headers) else { return Err(refused) };
    if let Some(holder) = api.passes.holder(&config, token) {
        return Ok(Asker { role: Role::Agent, holder: Some(holder) });
    }
    let Some(from) = auth::address(door, headers).map(Of::Tokens) else { return Err(refused) };
    let now = clock::now();
    let wait = api.guesses.wait(from, now);
    api.guesses.failed(from, now);
    Err(wait.map_or(refused, ApiError::too_often))
}

async fn check_role(allowed: Allowed, request: Request, next: Next) -> Response {
    let asker = request.extensions().get::<Asker>();
    match asker.map(|asker| auth::allow(asker, allowed.roles, allowed.own, request.uri().path())) {
        Some(Ok(())) => next.run(request).await,
        Some(Err(refused)) => refused.into_response(),
        None => ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", "nobody is known to ask").into_response(),
    }
}

async fn in_time(request: Request, next: Next) -> Response {
    // A test call waits for the trunks as long as they may take.
    let patience = if request.uri().path().ends_with("/test-call") { LONG_PATIENCE } else { PATIENCE };
    tokio::time::timeout(patience, next.run(request)).await.unwrap_or_else(|_| {
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "the request was not there in time").into_response()
    })
}

/// The door is said by whoever accepted the connection; without it nobody is trusted.
fn door(request: &Request) -> Door {
    request.extensions().get::<Door>().copied().unwrap_or(NOWHERE)
}

/// Nobody is trusted who comes from there.
const NOWHERE: Door = Door::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0));

/// By which door a request came, for whoever answers it.
struct DoorOf(Door);

impl<S: Sync> FromRequestParts<S> for DoorOf {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(parts.extensions.get::<Door>().copied().unwrap_or(NOWHERE)))
    }
}

async fn no_such_path() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", "there is no such path; /api/v1/openapi.json lists them")
}

async fn wrong_method() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", "this path does not know this method")
}

/// 200 while calls are taken, also with all trunks down: then the body says degraded.
async fn ready(State(api): State<Api>) -> Response {
    let alarms = api.status.alarms();
    let stopping = api.status.is_stopping();
    let code = if stopping { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let names: Vec<_> = alarms.keys().collect();
    let body = json!({"ready": !stopping, "degraded": alarms.contains_key("no_trunk"), "alarms": names});
    (code, Json(body)).into_response()
}

async fn metrics(State(api): State<Api>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], api.status.metrics())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// The routes as this file says them: path and method.
    fn routes() -> BTreeSet<(String, String)> {
        let source = include_str!("mod.rs").split("#[cfg(test)]").next().expect("code");
        let methods = ["get", "put", "post", "patch", "delete"];
        let calls = source.split("resource(\"").skip(1).map(|rest| {
            let (path, rest) = rest.split_once('"').expect("a path");
            (path, rest.split("))").next().expect("its methods"))
        });
        calls
            .flat_map(|(path, code)| {
                let used = methods.into_iter().filter(|m| code.contains(&format!("{m}(")));
                used.map(|m| (path.to_owned(), m.to_owned())).collect::<Vec<_>>()
            })
            .collect()
    }

    #[test]
    fn every_route_is_described_and_nothing_else_is() {
        let document: serde_json::Value = serde_json::from_str(include_str!("openapi.json")).expect("JSON");
        let paths = document["paths"].as_object().expect("paths");
        let described: BTreeSet<_> = paths
            .iter()
            .flat_map(|(path, item)| item.as_object().expect("methods").keys().map(|m| (path.clone(), m.clone())))
            .collect();
        assert_eq!(routes(), described);
        assert!(described.len() > 10);
    }
}

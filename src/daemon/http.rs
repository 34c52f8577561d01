//! Health, readiness and metrics by HTTP, on loopback only.
//!
//! Not the panel and not the API: those are not in this version, and every other path says so.

use super::side::Status;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use std::net::IpAddr;
use std::sync::Arc;

/// Everything that is served.
pub fn router(status: Arc<Status>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .fallback(|| async { (StatusCode::NOT_FOUND, "not in this version\n") })
        .layer(from_fn(check_host))
        .with_state(status)
}

/// 200 while calls are taken, also with all trunks down: then the body says degraded.
async fn ready(State(status): State<Arc<Status>>) -> Response {
    let alarms = status.alarms();
    let stopping = status.is_stopping();
    let code = if stopping { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let names: Vec<_> = alarms.keys().collect();
    let body = json!({"ready": !stopping, "degraded": alarms.contains_key("no_trunk"), "alarms": names});
    (code, Json(body)).into_response()
}

async fn metrics(State(status): State<Arc<Status>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], status.metrics())
}

/// A page of somebody else's cannot read this through a name of its own (DNS rebinding).
async fn check_host(request: Request, next: Next) -> Response {
    if is_loopback_host(request.headers()) {
        return next.run(request).await;
    }
    (StatusCode::MISDIRECTED_REQUEST, "this host is not served here\n").into_response()
}

fn is_loopback_host(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn only_loopback_names_are_served() {
        let served =
            |host: &'static str| is_loopback_host(&HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]));
        for host in ["localhost", "LOCALHOST:8911", "127.0.0.1", "127.5.3.1:80", "[::1]:8911", "[::1]"] {
            assert!(served(host), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "192.0.2.1:80", "[2001:db8::1]", "", "127.0.0.1.evil.example:80"] {
            assert!(!served(host), "{host}");
        }
        assert!(!is_loopback_host(&HeaderMap::new()));
    }
}

//! `whoami`: what a token is good for. A page asks it before it shows anything.

use super::auth::Asker;
use super::request::NoParameters;
use super::{Answer, Api};
use crate::daemon::config::Role;
use axum::extract::State;
use axum::{Extension, Json};
use serde_json::json;

/// `role` of whoever asks (viewer, operator, agent), `node` and the program's `version`.
pub(super) async fn show(State(api): State<Api>, Extension(asker): Extension<Asker>, _: NoParameters) -> Answer {
    let role = match asker.role {
        Role::Viewer => "viewer",
        Role::Operator => "operator",
        Role::Agent => "agent",
    };
    Ok(Json(json!({ "role": role, "node": api.board.config().node.name, "version": env!("CARGO_PKG_VERSION") })))
}

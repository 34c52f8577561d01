//! `trunks`: whether each answers, and its numbers.

use super::page::{Page, list as a_list};
use super::{Answer, Api, page};
use crate::bridge::Trouble;
use crate::daemon::config;
use crate::emergency::gateway::Shelved;
use crate::emergency::site::Site;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

/// The trunks in configured order: `name, path, state (online|unknown|inactive), reason, leased, free`.
pub(super) async fn list(State(api): State<Api>, page: Page) -> Answer {
    let (config, site) = (api.board.config(), api.board.site());
    let shelves = api.board.trunks();
    let from = match &page.after {
        None => 0,
        Some(after) => config.trunks.iter().position(|t| t.name == *after).ok_or_else(page::bad_cursor)? + 1,
    };
    let trunks = config.trunks.get(from..).unwrap_or_default();
    let one = |t: &config::Trunk| {
        let shelved = shelved(&site, &shelves, &t.name);
        show(t, shelved, shelved.and_then(|s| api.board.trouble(s.trunk)))
    };
    let items: Vec<_> = trunks.iter().take(page.limit).map(one).collect();
    let next = trunks.get(page.limit.min(trunks.len())).and_then(|_| trunks.get(page.limit - 1)).map(|t| t.name.clone());
    Ok(Json(a_list(items, next)))
}

fn shelved(site: &Site, shelves: &[Shelved], name: &str) -> Option<Shelved> {
    let (id, _) = site.trunk_ids().find(|(_, t)| t.name == name)?;
    shelves.iter().find(|s| s.trunk == id).copied()
}

fn show(trunk: &config::Trunk, shelved: Option<Shelved>, trouble: Option<Trouble>) -> Value {
    let (state, reason) = match shelved {
        Some(Shelved { up: false, .. }) if trouble == Some(Trouble::Unresolved) => ("inactive", "its name leads nowhere yet"),
        Some(Shelved { up: false, .. }) if trouble == Some(Trouble::NotRegistered) => ("inactive", "does not let us register"),
        Some(Shelved { up: false, .. }) => ("inactive", "does not answer OPTIONS, or answers that it is out of service"),
        None => ("unknown", "was not asked yet"),
        Some(_) if trunk.options.is_zero() && !trunk.register => ("unknown", "is not asked: its options are 0s"),
        Some(_) => ("online", ""),
    };
    let path = match trunk.path {
        config::TrunkPath::DirectRouting => "direct-routing",
        config::TrunkPath::DirectOffer => "direct-offer",
    };
    json!({
        "name": trunk.name, "path": path, "state": state, "reason": reason,
        "leased": shelved.map(|s| s.leased), "free": shelved.map(|s| s.free),
    })
}

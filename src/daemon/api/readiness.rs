//! `readiness` and `agents/{id}/readiness`: what is in place for the day, and what is to be done.

use super::error::ApiError;
use super::page::Page;
use super::request::{Id, NoParameters};
use super::{Answer, Api};
use crate::daemon::config::Agent;
use crate::daemon::readiness;
use crate::emergency::prerequisites::Check;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

/// The site and a page of its agents: `ok, agents, site, next`. `ok` is of what this page shows.
pub(super) async fn list(State(api): State<Api>, page: Page) -> Answer {
    let config = api.board.config();
    let is_after = |a: &Agent| page.after.as_ref().is_none_or(|after| a.id.reveal() > after);
    let mut all: Vec<_> = config.agents.iter().enumerate().filter(|(_, a)| is_after(a)).collect();
    all.sort_by(|(_, a), (_, b)| a.id.reveal().cmp(b.id.reveal()));
    let more = all.len() > page.limit;
    all.truncate(page.limit);
    let next = all.last().filter(|_| more).map(|(_, a)| a.id.reveal().clone());
    let places: Vec<_> = all.into_iter().map(|(place, _)| place).collect();
    let site = readiness::of_the_site(&api).await;
    let agents = readiness::agents(&api, &config, &places).await.ok_or_else(ApiError::busy)?;
    let ok = are_good(&site) && agents.iter().all(|(_, checks)| are_good(checks));
    let agents: Vec<_> = agents.iter().map(|(agent, checks)| show_agent(agent, checks)).collect();
    Ok(Json(json!({ "ok": ok, "agents": agents, "site": show(&site), "next": next })))
}

/// One agent: `id, ok, checks`.
pub(super) async fn of_agent(State(api): State<Api>, Id(id): Id, _: NoParameters) -> Answer {
    let config = api.board.config();
    let place = config.agents.iter().position(|a| *a.id.reveal() == id).ok_or_else(|| ApiError::not_found("agent"))?;
    let reports = readiness::agents(&api, &config, &[place]).await.ok_or_else(ApiError::busy)?;
    let (agent, checks) = reports.first().ok_or_else(ApiError::busy)?;
    let mut shown = show_agent(agent, checks);
    shown["ok"] = json!(are_good(checks));
    Ok(Json(shown))
}

fn are_good(checks: &[Check]) -> bool {
    checks.iter().all(|c| c.ok)
}

fn show_agent(agent: &Agent, checks: &[Check]) -> Value {
    json!({ "id": agent.id.reveal(), "checks": show(checks) })
}

/// `name, ok, why`; `of` where there are several of the name, `age` in seconds where it was measured.
fn show(checks: &[Check]) -> Value {
    let one = |check: &Check| {
        let mut shown = json!({ "name": check.name, "ok": check.ok, "why": check.why });
        if let Some(of) = &check.of {
            shown["of"] = json!(of);
        }
        if let Some(age) = check.age {
            shown["age"] = json!(age.as_secs());
        }
        shown
    };
    checks.iter().map(one).collect()
}

//! `leases`: which number leads to whom, and until when. For operators alone.

use super::page::{self, Page};
use super::time::moment;
use super::{Answer, Api};
use crate::daemon::ask::Ask;
use crate::emergency::lease::{View, ViewMark};
use crate::emergency::site::Site;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

/// All leases, late ones among them: `number, agent, trunk, dialed, expires, state (open|late|shared), calls`.
pub(super) async fn list(State(api): State<Api>, page: Page) -> Answer {
    let mut after = page.after.as_deref().map(mark).transpose()?;
    let site = api.board.site();
    let (mut items, mut last) = (Vec::new(), None);
    loop {
        let (views, next) = api.ask(|answer| Ask::Leases { after, answer }).await?;
        for (mark, view) in views {
            if items.len() == page.limit {
                return Ok(Json(page::list(items, last.map(written))));
            }
            items.push(show(&site, &view));
            last = Some(mark);
        }
        match next {
            Some(next) => after = Some(next),
            None => return Ok(Json(page::list(items, None))),
        }
    }
}

fn show(site: &Site, view: &View) -> Value {
    json!({
        "number": view.number.reveal().to_string(), "agent": view.agent.reveal(),
        "trunk": site.trunk(view.trunk).map(|t| &t.name),
        "dialed": moment(view.dialed), "expires": moment(view.expires), "state": view.state, "calls": view.calls,
    })
}

fn written(mark: ViewMark) -> String {
    format!("{}.{}", mark.record, mark.number)
}

fn mark(cursor: &str) -> Result<ViewMark, super::ApiError> {
    let mark = cursor.split_once('.').and_then(|(r, n)| Some(ViewMark { record: r.parse().ok()?, number: n.parse().ok()? }));
    mark.ok_or_else(page::bad_cursor)
}

//! `calls`: what runs now. Emergency calls without anybody's number, gone when they end (promise 3).

use super::page::{self, Page};
use super::time::moment;
use super::{Answer, Api, ApiError};
use crate::bridge::OrdinaryView;
use crate::daemon::ask::Ask;
use crate::emergency::facts::CallId;
use crate::emergency::gateway::CallView;
use crate::emergency::site::Site;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

/// Where a list of calls goes on: emergencies come first, then the ordinary ones of each shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Emergency(Option<CallId>),
    Ordinary(u8, usize),
}

/// Running calls. Emergencies and callbacks: `kind, id, state, trunk, since`; ordinary ones: `direction, from, to, peer,
/// trunk, state, since` besides.
pub(super) async fn list(State(api): State<Api>, page: Page) -> Answer {
    let mut mark = page.after.as_deref().map_or(Ok(Mark::Emergency(None)), Mark::read)?;
    let site = api.board.site();
    let mut items: Vec<Value> = Vec::new();
    let mut last = mark;
    loop {
        let (slice, next) = slice(&api, &site, mark).await?;
        for (at, item) in slice {
            if items.len() == page.limit {
                return Ok(Json(page::list(items, Some(last.written()))));
            }
            items.push(item);
            last = at;
        }
        match next {
            Some(Mark::Ordinary(shard, _)) if shard >= api.shards => return Ok(Json(page::list(items, None))),
            Some(next) => mark = next,
            None => return Ok(Json(page::list(items, None))),
        }
    }
}

/// One slice, and where the next one begins.
async fn slice(api: &Api, site: &Site, mark: Mark) -> Result<(Vec<(Mark, Value)>, Option<Mark>), ApiError> {
    match mark {
        Mark::Emergency(after) => {
            let (calls, next) = api.ask(|answer| Ask::Emergencies { after, answer }).await?;
            let next = next.map_or(Mark::Ordinary(0, 0), |at| Mark::Emergency(Some(at)));
            let items = calls.into_iter().map(|(at, call)| (Mark::Emergency(Some(at)), emergency(site, &call)));
            Ok((items.collect(), Some(next)))
        }
        Mark::Ordinary(shard, _) if shard >= api.shards => Ok((Vec::new(), None)),
        Mark::Ordinary(shard, after) => {
            let (calls, next) = api.ask(|answer| Ask::Ordinary { shard, after, answer }).await?;
            let next = next.map_or(Mark::Ordinary(shard + 1, 0), |at| Mark::Ordinary(shard, at));
            Ok((calls.into_iter().map(|(at, call)| (Mark::Ordinary(shard, at), ordinary(&call))).collect(), Some(next)))
        }
    }
}

fn emergency(site: &Site, call: &CallView) -> Value {
    let trunk = call.trunk.and_then(|t| site.trunk(t)).map(|t| &t.name);
    json!({
        "kind": call.kind, "id": format!("{:x}", call.call.0), "state": call.state, "trunk": trunk, "since": moment(call.since),
    })
}

fn ordinary(call: &OrdinaryView) -> Value {
    let state = if call.answered.is_some() { "talking" } else { "placing" };
    json!({
        "kind": "ordinary", "direction": call.direction, "from": call.from.reveal(), "to": call.to.reveal(),
        "peer": call.peer, "trunk": call.trunk, "state": state, "since": moment(call.started),
    })
}

impl Mark {
    fn written(self) -> String {
        match self {
            Self::Emergency(after) => format!("e{:x}", after.map_or(0, |a| a.0)),
            Self::Ordinary(shard, after) => format!("o{shard}.{after}"),
        }
    }

    fn read(text: &str) -> Result<Self, ApiError> {
        let read = |text: &str| match text.split_at_checked(1)? {
            ("e", id) => Some(Self::Emergency(Some(CallId(u64::from_str_radix(id, 16).ok()?)))),
            ("o", rest) => {
                let (shard, after) = rest.split_once('.')?;
                Some(Self::Ordinary(shard.parse().ok()?, after.parse().ok().filter(|n| *n < usize::MAX / 2)?))
            }
            _ => None,
        };
        read(text).ok_or_else(page::bad_cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_nothing_else_is() {
        for mark in [Mark::Emergency(Some(CallId(0xabc))), Mark::Ordinary(0, 0), Mark::Ordinary(3, 70_000)] {
            assert_eq!(Mark::read(&mark.written()), Ok(mark));
        }
        for text in ["", "e", "exyz", "o", "o1", "o1.", "o300.1", "x1", "é", "o1.-1"] {
            assert!(Mark::read(text).is_err(), "{text}");
        }
    }
}

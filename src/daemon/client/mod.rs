//! The commands that talk to a running daemon: one request each, then a table for people or JSON for scripts.
//!
//! They know the API's paths and nothing of what is behind them. Read [`run`] first.

mod agent;
mod http;
mod presence;
mod ready;
mod table;
mod template;

use super::cli::{BAD_USAGE, DONE, FAILED, Reach, RecordFormat, What};
use super::{config, serve};
use crate::words::Private;
use http::{Failure, Line};
use serde_json::Value;
use std::io::{self, Write, stderr, stdout};
use std::process::ExitCode;

/// Where to send a token that belongs to `--url`.
const TOKEN: &str = "E911D_TOKEN";
/// The columns of records as CSV.
const RECORD_KEYS: [&str; 10] = ["id", "direction", "from", "to", "peer", "trunk", "started", "answered", "ended", "outcome"];
/// Items that are read at once.
const PAGE: usize = 1000;

/// Runs one of these commands.
pub fn run(reach: &Reach, what: &What) -> ExitCode {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return ExitCode::from(FAILED);
    };
    let result = runtime.block_on(async {
        let mut line = line(reach)?;
        obey(&mut line, reach.json, what).await
    });
    match result {
        Ok(()) => ExitCode::from(DONE),
        Err(Failure::Written(e)) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(DONE),
        // It has been said.
        Err(Failure::Unready) => ExitCode::from(FAILED),
        Err(failure) => {
            let _ = writeln!(stderr(), "{failure}");
            ExitCode::from(if matches!(failure, Failure::Usage(_)) { BAD_USAGE } else { FAILED })
        }
    }
}

/// The daemon that is meant: by URL, by socket, else by the config's state directory.
fn line(reach: &Reach) -> Result<Line, Failure> {
    if let Some(url) = &reach.url {
        return Line::to_url(url, std::env::var(TOKEN).ok().map(Private::new));
    }
    if let Some(socket) = &reach.socket {
        return Ok(Line::to_socket(socket.clone()));
    }
    let file = &reach.config.path;
    let text = config::text(file).map_err(|m| Failure::Usage(m.to_string()))?;
    let state_dir = config::state_dir(&text, std::env::vars());
    let state_dir = state_dir.ok_or_else(|| Failure::Usage(format!("{}: names no node.state_dir", file.display())))?;
    Ok(Line::to_socket(serve::socket_path(&state_dir)))
}

async fn obey(line: &mut Line, json: bool, what: &What) -> Result<(), Failure> {
    match what {
        What::Calls => list(line, json, "calls", table::CALLS).await,
        What::Leases => list(line, json, "leases", table::LEASES).await,
        What::Agents => list(line, json, "agents", table::AGENTS).await,
        What::Trunks => list(line, json, "trunks", table::TRUNKS).await,
        What::Alarms => list(line, json, "alarms", table::ALARMS).await,
        What::Records { format, since, limit } => records(line, json, *format, since.as_deref(), *limit).await,
        What::Ready { agent } => ready::obey(line, json, agent.as_ref().map(|a| a.reveal().as_str())).await,
        What::TestCall { agent } => ready::test_call(line, json, agent.reveal()).await,
        What::Outbox => list(line, json, "outbox", table::OUTBOX).await,
        What::Presence { id, state, note, dismiss } => {
            presence::obey(line, json, id.reveal(), state.as_deref(), note.as_ref().map(|n| n.reveal().as_str()), *dismiss).await
        }
        What::Template(command) => template::obey(line, json, command).await,
        What::Agent(command) => agent::obey(line, json, command).await,
    }
}

/// A whole list: `{"items":[…]}` for scripts, a table for people.
async fn list(line: &mut Line, json: bool, path: &str, columns: &[table::Column]) -> Result<(), Failure> {
    let items = all(line, path, usize::MAX).await?;
    if json { say(&serde_json::json!({ "items": items })) } else { say_text(&table::of(columns, &items)) }
}

/// Ordinary calls: the last `limit` of those since a time.
async fn records(
    line: &mut Line,
    json: bool,
    format: Option<RecordFormat>,
    since: Option<&str>,
    limit: Option<usize>,
) -> Result<(), Failure> {
    let path = since.map_or_else(|| "records".to_owned(), |since| format!("records?since={}", http::escaped(since)));
    let mut items = all(line, &path, usize::MAX).await?;
    items.drain(..items.len().saturating_sub(limit.unwrap_or(usize::MAX)));
    match format {
        None if json => say(&serde_json::json!({ "items": items })),
        None => say_text(&table::of(table::RECORDS, &items)),
        Some(RecordFormat::Jsonl) => say_text(&items.iter().map(|i| format!("{i}\n")).collect::<String>()),
        Some(RecordFormat::Csv) => say_text(&csv(&items)),
    }
}

fn csv(items: &[Value]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Writing to memory fails for no reason of its own.
    let _ = writer.write_record(RECORD_KEYS);
    for item in items {
        let _ = writer.write_record(RECORD_KEYS.map(|key| item[key].as_str().unwrap_or_default()));
    }
    String::from_utf8(writer.into_inner().unwrap_or_default()).unwrap_or_default()
}

/// The items of a list, page by page, `most` at most.
async fn all(line: &mut Line, path: &str, most: usize) -> Result<Vec<Value>, Failure> {
    let mut items = Vec::new();
    let mut after = String::new();
    loop {
        let mark = if path.contains('?') { '&' } else { '?' };
        let limit = PAGE.min(most - items.len()).max(1);
        let mut page = line.get(&format!("{path}{mark}limit={limit}{after}")).await?;
        if let Some(Value::Array(more)) = page.get_mut("items").map(Value::take) {
            items.extend(more);
        }
        match page.get("next").and_then(Value::as_str) {
            Some(next) if items.len() < most => after = format!("&after={}", http::escaped(next)),
            _ => return Ok(items),
        }
    }
}

fn say(value: &Value) -> Result<(), Failure> {
    say_text(&format!("{value:#}\n"))
}

fn say_text(text: &str) -> Result<(), Failure> {
    stdout().lock().write_all(text.as_bytes()).map_err(Failure::Written)
}

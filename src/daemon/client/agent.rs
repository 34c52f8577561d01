//! `agent`: people added and changed at run time.

use super::http::{Failure, Line, escaped};
use super::{all, list, say, say_text, table};
use crate::daemon::api::sheet;
use crate::daemon::cli::{AgentCommand, AgentKeys, Sheet};
use hyper::{Method, header};
use serde_json::{Map, Value, json};
use std::io::{self, Read};
use std::path::Path;

/// Runs `agent …`.
pub(super) async fn obey(line: &mut Line, as_json: bool, command: &AgentCommand) -> Result<(), Failure> {
    match command {
        AgentCommand::List(_) => list(line, as_json, "agents", table::AGENTS).await,
        AgentCommand::Add { id, keys, .. } => {
            let new = (header::IF_NONE_MATCH, "*");
            let sent = line.send(Method::PUT, &path(id.reveal()), &[new], Some((JSON, bytes(&document(keys)?)))).await?;
            done(as_json, &sent.body, "added")
        }
        AgentCommand::Set { id, keys, clear, .. } => {
            let mut changes = document(keys)?;
            changes.extend(clear.iter().map(|key| (key.clone(), Value::Null)));
            if changes.is_empty() {
                return Err(Failure::Usage("nothing to change: name a key, as --contacts or --clear number".to_owned()));
            }
            let sent = line.send(Method::PATCH, &path(id.reveal()), &[], Some((JSON, bytes(&changes)))).await?;
            done(as_json, &sent.body, "changed")
        }
        AgentCommand::Remove { id, .. } => {
            line.send(Method::DELETE, &path(id.reveal()), &[], None).await?;
            done(as_json, &json!({}), "removed")
        }
        AgentCommand::Import { file, format, .. } => {
            let kind = if sheet_of(file, *format)? == Sheet::Csv { "text/csv" } else { JSON };
            let sent = line.send(Method::POST, "agents", &[], Some((kind, contents(file)?))).await?;
            if as_json { say(&sent.body) } else { say_text(&taken(&sent.body)) }
        }
        AgentCommand::Export { format, .. } => export(line, *format).await,
    }
}

const JSON: &str = "application/json";

/// Those that were added at run time; the config file has the others.
async fn export(line: &mut Line, format: Sheet) -> Result<(), Failure> {
    let mut agents = all(line, "agents", usize::MAX).await?;
    agents.retain(|a| a["source"] == "runtime");
    for agent in agents.iter_mut().filter_map(Value::as_object_mut) {
        agent.retain(|key, value| {
            !matches!(key.as_str(), "source" | "has_password") && *value != json!([]) && *value != json!("")
        });
    }
    match format {
        Sheet::Csv => say_text(&sheet::write(&agents)),
        // An agent a line, so that what is wrong with one is found by its line.
        Sheet::Json => {
            let lines: Vec<_> = agents.iter().map(Value::to_string).collect();
            say_text(&format!("[\n{}\n]\n", lines.join(",\n")))
        }
    }
}

/// How many, and what of them is left out.
fn taken(body: &Value) -> String {
    let mut text = format!("{} agents taken\n", body["imported"]);
    for row in body["warnings"].as_array().into_iter().flatten() {
        let word = |key: &str| row[key].as_str().unwrap_or_default();
        text.push_str(&format!("line {}: {}: {}\n", row["line"], word("field"), word("message")));
    }
    text
}

fn path(id: &str) -> String {
    format!("agents/{}", escaped(id))
}

fn bytes(document: &Map<String, Value>) -> Vec<u8> {
    Value::Object(document.clone()).to_string().into_bytes()
}

fn done(as_json: bool, body: &Value, word: &str) -> Result<(), Failure> {
    if as_json { say(body) } else { say_text(&format!("{word}\n")) }
}

/// What the options say, in the keys of the API.
fn document(keys: &AgentKeys) -> Result<Map<String, Value>, Failure> {
    let mut document = Map::new();
    let texts = [
        ("name", &keys.name),
        ("peer", &keys.peer),
        ("number", &keys.number),
        ("country", &keys.country),
        ("site", &keys.site),
        ("language", &keys.language),
        ("outbound_profile", &keys.outbound_profile),
        ("mailbox", &keys.mailbox),
        ("contacts", &keys.contacts),
    ];
    document.extend(texts.into_iter().filter_map(|(key, value)| Some((key.to_owned(), json!(value.as_ref()?.reveal())))));
    for (key, values) in [("identity", &keys.identity), ("devices", &keys.device), ("alternates", &keys.alternate)] {
        if !values.is_empty() {
            document.insert(key.to_owned(), values.iter().map(|v| json!(v.reveal())).collect());
        }
    }
    if let Some(capacity) = keys.capacity {
        document.insert("capacity".to_owned(), json!(capacity));
    }
    if let Some(locked) = keys.locked {
        document.insert("locked".to_owned(), json!(locked));
    }
    if let Some(file) = &keys.password_file {
        let text = std::fs::read_to_string(file).map_err(Failure::Written)?;
        document.insert("password".to_owned(), json!(text.lines().next().unwrap_or_default().trim()));
    }
    if !keys.location.is_empty() {
        let parts: Option<Map<_, _>> = keys
            .location
            .iter()
            .map(|p| p.reveal().split_once('=').map(|(k, v)| (k.trim().to_owned(), json!(v.trim()))))
            .collect();
        let parts = parts.ok_or_else(|| Failure::Usage("--location must be as street=Main St".to_owned()))?;
        document.insert("location".to_owned(), Value::Object(parts));
    }
    Ok(document)
}

fn sheet_of(file: &Path, format: Option<Sheet>) -> Result<Sheet, Failure> {
    let by_name = || match file.extension().and_then(|e| e.to_str()) {
        Some("csv") => Some(Sheet::Csv),
        Some("json") => Some(Sheet::Json),
        _ => None,
    };
    format.or_else(by_name).ok_or_else(|| Failure::Usage("say what it is: --format csv or --format json".to_owned()))
}

/// A file, or what is typed where it is called `-`.
fn contents(file: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    if file.as_os_str() == "-" {
        io::stdin().lock().read_to_end(&mut bytes).map_err(Failure::Written)?;
        return Ok(bytes);
    }
    std::fs::read(file).map_err(Failure::Written)
}

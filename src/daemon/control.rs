//! What the thread that controls the daemon may be asked to change: agents.
//!
//! All or nothing: the file with the agents as they would be is read and checked as a reload is, and only then anything
//! changes. Read [`Change`] first.

use super::api::error::{ApiError, Row};
use super::config::Config;
use super::roster::{Document, Documents, NoFit};
use crate::words::Private;
use axum::http::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use tokio::sync::oneshot;

/// Changes to agents, and who waits for them.
pub struct ToControl {
    /// In order.
    pub changes: Vec<Change>,
    /// Whether they came as one list, whose lines are named in what is wrong.
    pub is_list: bool,
    /// What came of it.
    pub answer: oneshot::Sender<Result<(), ApiError>>,
}

/// What is to become of one agent.
pub struct Change {
    /// Who.
    pub id: Private<String>,
    /// Where it stands in a list that was sent; 0 where none was.
    pub line: u64,
    /// What must hold before.
    pub only_if: OnlyIf,
    /// What she becomes.
    pub to: Become,
}

/// What must hold before a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnlyIf {
    /// Nothing.
    Always,
    /// She is not there (`If-None-Match: *`).
    New,
    /// She is there (`If-Match: *`).
    There,
    /// She is as she was when she was read (`If-Match`).
    Same(Vec<String>),
}

/// What an agent becomes.
pub enum Become {
    /// This; a password that it does not name stays.
    This(Private<Document>),
    /// What she was, with these keys changed; null takes one away (RFC 7396).
    Merged(Private<Document>),
    /// Nobody.
    Gone,
}

/// What an agent looks like to the API, for telling whether she has changed.
pub fn etag(shown: &Value) -> String {
    let digest = Sha256::digest(shown.to_string().as_bytes());
    let hex = digest.iter().take(12).fold(String::new(), |mut hex, b| {
        let _ = write!(hex, "{b:02x}");
        hex
    });
    format!("\"{hex}\"")
}

/// The agents as they would be after the changes. `etag_of` says what an agent of the running config looks like.
///
/// # Errors
///
/// 404, 409 (the config file has her), 412; for a list every wrong row at once.
pub fn changed(
    before: &Documents,
    config: &Config,
    request: &[Change],
    is_list: bool,
    etag_of: impl Fn(&str) -> Option<String>,
) -> Result<Documents, ApiError> {
    let mut after = before.clone();
    let present: HashSet<_> = config.agents.iter().map(|a| a.id.reveal().to_ascii_lowercase()).collect();
    let mut seen = BTreeMap::new();
    let mut wrong = Vec::new();
    for change in request {
        let id = change.id.reveal();
        let repeated = seen.insert(id.to_ascii_lowercase(), change.line);
        let result = match repeated {
            Some(line) => Err(ApiError::invalid("id", format!("line {line} has the same id; ids stand once"))),
            None => apply(&mut after, &present, change, &etag_of),
        };
        match result {
            Ok(()) => {}
            Err(error) if is_list => wrong.push(Row { line: change.line, field: error.field, message: error.message }),
            Err(error) => return Err(error),
        }
    }
    if wrong.is_empty() { Ok(after) } else { Err(ApiError::bad_rows(wrong)) }
}

/// `present`: the ids of the running config, in lower case.
fn apply(
    after: &mut Documents,
    present: &HashSet<String>,
    change: &Change,
    etag_of: impl Fn(&str) -> Option<String>,
) -> Result<(), ApiError> {
    let id = change.id.reveal();
    let is_in_file = !after.contains_key(id) && present.contains(&id.to_ascii_lowercase());
    if change.only_if != OnlyIf::Always {
        check(&change.only_if, etag_of(id))?;
    }
    if is_in_file {
        return Err(ApiError::conflict("the config file has an agent of that id; change it there"));
    }
    let old = after.get(id).map(|d| d.reveal().clone());
    let mut new = match &change.to {
        Become::Gone => {
            return after.remove(id).map(drop).ok_or_else(|| ApiError::not_found("agent"));
        }
        Become::This(document) => {
            let mut new = document.reveal().clone();
            let password = old.and_then(|mut old| old.remove("password"));
            if let (false, Some(password)) = (new.contains_key("password"), password) {
                new.insert("password".to_owned(), password);
            }
            new
        }
        Become::Merged(keys) => {
            let mut new = old.ok_or_else(|| ApiError::not_found("agent"))?;
            new.extend(keys.reveal().clone());
            new
        }
    };
    for key in ["has_password", "source"] {
        new.remove(key);
    }
    if new.contains_key("password_file") {
        return Err(ApiError::invalid("password_file", "is for the config file alone; send the password"));
    }
    if new.get("id").is_some_and(|named| named.as_str() != Some(id)) {
        return Err(ApiError::invalid("id", "is another one than the path's"));
    }
    new.retain(|_, value| !value.is_null());
    new.insert("id".to_owned(), json!(id));
    after.insert(id.clone(), Private::new(new));
    Ok(())
}

fn check(only_if: &OnlyIf, etag: Option<String>) -> Result<(), ApiError> {
    match (only_if, etag) {
        (OnlyIf::Always, _) | (OnlyIf::New, None) | (OnlyIf::There, Some(_)) => Ok(()),
        (OnlyIf::New, Some(_)) => {
            Err(ApiError::new(StatusCode::PRECONDITION_FAILED, "exists", "there is an agent of that id already"))
        }
        (OnlyIf::Same(wanted), Some(etag)) if wanted.contains(&etag) => Ok(()),
        (OnlyIf::Same(_) | OnlyIf::There, _) => Err(ApiError::changed("agent")),
    }
}

/// Why the agents do not fit, in the API's words.
pub fn refusal(no_fit: NoFit, request: &[Change], is_list: bool) -> ApiError {
    let wrong = match no_fit {
        NoFit::File(_) => return ApiError::conflict("the config file has mistakes now; see e911d check"),
        NoFit::Agents(wrong) => wrong,
    };
    if is_list {
        let lines: HashMap<_, _> = request.iter().rev().map(|c| (c.id.reveal().as_str(), c.line)).collect();
        let line = |id: &str| lines.get(id).copied().unwrap_or(0);
        let row = |(id, field, message): (String, String, String)| Row { line: line(&id), field, message };
        return ApiError::bad_rows(wrong.into_iter().map(row).collect());
    }
    let mine = wrong.iter().find(|(id, ..)| request.iter().any(|c| c.id.reveal() == id)).or(wrong.first());
    mine.map_or_else(|| ApiError::invalid("", "does not fit the config"), |(_, key, what)| ApiError::invalid(key, what.as_str()))
}

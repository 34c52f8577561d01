//! `presence`: an agent's presence, shown or set.

use super::http::{Failure, Line, escaped};
use super::{say, say_text};
use hyper::Method;
use serde_json::{Value, json};

/// Runs `presence ID [STATE]`.
pub(super) async fn obey(
    line: &mut Line,
    as_json: bool,
    id: &str,
    state: Option<&str>,
    note: Option<&str>,
    dismiss: bool,
) -> Result<(), Failure> {
    let agent = format!("agents/{}", escaped(id));
    if dismiss {
        line.send(Method::POST, &format!("{agent}/dismiss"), &[], None).await?;
    }
    let path = format!("{agent}/presence");
    let shown = match state {
        None => line.get(&path).await?,
        Some(state) => {
            let body = json!({ "state": state, "note": note.unwrap_or_default() }).to_string().into_bytes();
            line.send(Method::PUT, &path, &[], Some(("application/json", body))).await?.body
        }
    };
    if as_json { say(&shown) } else { say_text(&in_words(&shown)) }
}

fn in_words(shown: &Value) -> String {
    let text = |key: &str| shown[key].as_str().unwrap_or_default().to_owned();
    let mut words = format!("{} since {}", text("state"), text("since"));
    if shown["emergency"] == true {
        words.push_str(&format!(", for an emergency; {} after it", text("own")));
    }
    if !text("note").is_empty() {
        words.push_str(&format!(" ({})", text("note").replace(char::is_control, " ")));
    }
    words.push('\n');
    words
}

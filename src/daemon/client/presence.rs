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

/// As `dnd since 2026-11-22T19:00:00Z, for an emergency call; away (at lunch) after it`.
fn in_words(shown: &Value) -> String {
    let text = |key: &str| shown[key].as_str().unwrap_or_default();
    let note = match text("note") {
        "" => String::new(),
        note => format!(" ({})", note.replace(char::is_control, " ")),
    };
    let (state, since, own, until) = (text("state"), text("since"), text("own"), text("hold"));
    match (shown["emergency"] == true, until) {
        (false, _) if since.is_empty() => format!("{state}{note}\n"),
        (false, _) => format!("{state}{note} since {since}\n"),
        (true, "") => format!("{state} since {since}, for an emergency call; {own}{note} after it\n"),
        (true, until) => {
            format!("{state} since {since}, held after an emergency call; {own}{note} from {until}, or with --dismiss now\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a1_what_she_is_and_what_she_will_be_are_said_in_words() {
        let shown = |emergency: bool, hold: Option<&str>| {
            let state = if emergency { "dnd" } else { "away" };
            in_words(
                &json!({ "state": state, "note": "at lunch", "emergency": emergency, "since": "A", "own": "away", "hold": hold }),
            )
        };
        assert_eq!(in_words(&json!({ "state": "available", "note": "", "emergency": false, "since": null })), "available\n");
        assert_eq!(shown(false, None), "away (at lunch) since A\n");
        assert_eq!(shown(true, None), "dnd since A, for an emergency call; away (at lunch) after it\n");
        assert_eq!(
            shown(true, Some("B")),
            "dnd since A, held after an emergency call; away (at lunch) from B, or with --dismiss now\n"
        );
    }
}

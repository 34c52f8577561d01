//! `ready` and `test-call`: what is in place for the day, and what is to be done.

use super::http::{Failure, Line, escaped};
use super::{PAGE, say, say_text};
use hyper::Method;
use serde_json::{Value, json};

/// Runs `ready [--agent ID]`. [`Failure::Unready`] if anything is missing.
pub(super) async fn obey(line: &mut Line, as_json: bool, agent: Option<&str>) -> Result<(), Failure> {
    let report = match agent {
        Some(id) => of_one(line, id).await?,
        None => of_all(line).await?,
    };
    if as_json {
        say(&report)?
    } else {
        say_text(&in_words(&report))?
    }
    if report["ok"] == true { Ok(()) } else { Err(Failure::Unready) }
}

/// Runs `test-call --agent ID`. [`Failure::Unready`] if a step failed.
pub(super) async fn test_call(line: &mut Line, as_json: bool, agent: &str) -> Result<(), Failure> {
    let path = format!("agents/{}/test-call", escaped(agent));
    let report = line.send(Method::POST, &path, &[], None).await?.body;
    if as_json {
        say(&report)?
    } else {
        say_text(&steps_in_words(&report))?
    }
    if report["ok"] == true { Ok(()) } else { Err(Failure::Unready) }
}

fn steps_in_words(report: &Value) -> String {
    let step = |step: &Value| {
        let mark = if step["ok"] == true { "ok    " } else { "FAILED" };
        format!("{:>6} ms  {mark} {}: {}\n", step["ms"].as_u64().unwrap_or(0), clean(&step["name"]), clean(&step["why"]))
    };
    report["steps"].as_array().into_iter().flatten().map(step).collect()
}

/// The site and one agent.
async fn of_one(line: &mut Line, id: &str) -> Result<Value, Failure> {
    let mut agent = line.get(&format!("agents/{}/readiness", escaped(id))).await?;
    let mut page = line.get("readiness?limit=1").await?;
    let site = page["site"].take();
    let ok = agent["ok"] == true && are_good(&site);
    if let Some(agent) = agent.as_object_mut() {
        agent.remove("ok");
    }
    Ok(json!({ "ok": ok, "agents": [agent], "site": site }))
}

/// The site and every agent, page by page.
async fn of_all(line: &mut Line) -> Result<Value, Failure> {
    let (mut agents, mut after, mut ok) = (Vec::new(), String::new(), true);
    loop {
        let mut page = line.get(&format!("readiness?limit={PAGE}{after}")).await?;
        ok &= page["ok"] == true;
        if let Value::Array(more) = page["agents"].take() {
            agents.extend(more);
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={}", escaped(next)),
            None => return Ok(json!({ "ok": ok, "agents": agents, "site": page["site"].take() })),
        }
    }
}

fn are_good(checks: &Value) -> bool {
    checks.as_array().is_some_and(|all| all.iter().all(|c| c["ok"] == true))
}

/// What is missing first to last; of agents that lack nothing the number alone.
fn in_words(report: &Value) -> String {
    let empty = Vec::new();
    let list = |value: &Value| value.as_array().unwrap_or(&empty).clone();
    let mut text = String::from("site\n");
    list(&report["site"]).iter().for_each(|c| text.push_str(&one(c)));
    let agents = list(&report["agents"]);
    let (ready, unready): (Vec<_>, Vec<_>) = agents.iter().partition(|a| are_good(&a["checks"]));
    for agent in unready {
        text.push_str(&format!("agent {}\n", clean(&agent["id"])));
        list(&agent["checks"]).iter().for_each(|c| text.push_str(&one(c)));
    }
    let verdict = if report["ok"] == true { "ready" } else { "not ready" };
    text.push_str(&format!("{} of {} agents lack nothing\n{verdict}\n", ready.len(), agents.len()));
    text
}

fn one(check: &Value) -> String {
    let mark = if check["ok"] == true { "ok     " } else { "MISSING" };
    let of = check["of"].as_str().map(|of| format!(" {of}")).unwrap_or_default();
    let age = check["age"].as_u64().map(|age| format!(" ({age} s ago)")).unwrap_or_default();
    format!("  {mark} {}{of}: {}{age}\n", clean(&check["name"]), clean(&check["why"]))
}

/// One line, without what a terminal would obey.
fn clean(value: &Value) -> String {
    value.as_str().unwrap_or_default().replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_for_people_names_what_is_missing_and_what_to_do() {
        let good = json!({"name": "mailbox", "ok": true, "why": "is set"});
        let bad = json!({"name": "trunk", "of": "a", "ok": false, "why": "does not answer", "age": 4});
        let report = json!({"ok": false, "site": [bad], "agents": [
            {"id": "alice", "checks": [good]},
            {"id": "bob", "checks": [{"name": "mailbox", "ok": false, "why": "is not set: set agent.mailbox"}]}]});
        let expected = "site\n  MISSING trunk a: does not answer (4 s ago)\nagent bob\n  MISSING mailbox: is not set: set agent.mailbox\n\
                        1 of 2 agents lack nothing\nnot ready\n";
        assert_eq!(in_words(&report), expected);
    }
}

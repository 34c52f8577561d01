//! Agents as CSV (RFC 4180): one line each, the first line names the columns.
//!
//! A column is a key of `[[agent]]`, `location.street` and the like among them; an empty cell leaves the key out. Several
//! devices, alternates or identities stand in one cell with ` | ` between them.

use super::error::{ApiError, Row};
use crate::daemon::roster::Document;
use serde_json::{Map, Value, json};

/// The columns, in the order in which they are written.
const COLUMNS: [&str; 26] = [
    "id",
    "name",
    "identity",
    "peer",
    "devices",
    "alternates",
    "number",
    "country",
    "site",
    "language",
    "outbound_profile",
    "capacity",
    "locked",
    "mailbox",
    "password",
    "answer",
    "contacts",
    "location.house",
    "location.street",
    "location.city",
    "location.state",
    "location.zip",
    "location.country",
    "location.building",
    "location.floor",
    "location.room",
];
const LISTS: [&str; 3] = ["identity", "devices", "alternates"];

/// Each line as an agent, with its number counted from 1.
///
/// # Errors
///
/// Every line that cannot be read, and columns that no agent has.
pub fn read(text: &str) -> Result<Vec<(u64, Document)>, ApiError> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let headings = reader.headers().map_err(|_| ApiError::unreadable("", "the first line must name the columns"))?.clone();
    let unknown = headings.iter().filter(|h| !COLUMNS.contains(h));
    let mut wrong: Vec<Row> =
        unknown.map(|h| Row { line: 1, field: h.to_owned(), message: "no agent has this column".to_owned() }).collect();
    let mut rows = Vec::new();
    for record in reader.records() {
        match record {
            Ok(record) => {
                let line = record.position().map_or(0, csv::Position::line);
                match document(&headings, &record) {
                    Ok(document) => rows.push((line, document)),
                    Err((field, message)) => wrong.push(Row { line, field, message: message.to_owned() }),
                }
            }
            Err(e) => {
                let line = e.position().map_or(0, csv::Position::line);
                wrong.push(Row {
                    line,
                    field: String::new(),
                    message: "has another number of columns than the first line".to_owned(),
                });
            }
        }
    }
    if wrong.is_empty() { Ok(rows) } else { Err(ApiError::bad_rows(wrong)) }
}

fn document(headings: &csv::StringRecord, record: &csv::StringRecord) -> Result<Document, (String, &'static str)> {
    let mut document = Document::new();
    let mut location = Map::new();
    for (heading, cell) in headings.iter().zip(record).filter(|(_, cell)| !cell.is_empty()) {
        if let Some(part) = heading.strip_prefix("location.") {
            location.insert(part.to_owned(), json!(cell));
            continue;
        }
        let value = match heading {
            "capacity" => json!(cell.parse::<u32>().map_err(|_| (heading.to_owned(), "must be a whole number"))?),
            "locked" => json!(cell.parse::<bool>().map_err(|_| (heading.to_owned(), "must be true or false"))?),
            list if LISTS.contains(&list) => cell.split('|').map(str::trim).filter(|s| !s.is_empty()).collect(),
            _ => json!(cell),
        };
        document.insert(heading.to_owned(), value);
    }
    if !location.is_empty() {
        document.insert("location".to_owned(), Value::Object(location));
    }
    Ok(document)
}

/// Agents as CSV; the columns that none of them has are left out.
pub fn write(agents: &[Value]) -> String {
    let used: Vec<_> = COLUMNS.into_iter().filter(|c| *c == "id" || agents.iter().any(|a| !cell(a, c).is_empty())).collect();
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Writing to memory fails for no reason of its own.
    let _ = writer.write_record(&used);
    for agent in agents {
        let _ = writer.write_record(used.iter().map(|c| cell(agent, c)));
    }
    String::from_utf8(writer.into_inner().unwrap_or_default()).unwrap_or_default()
}

fn cell(agent: &Value, column: &str) -> String {
    let value = match column.split_once('.') {
        Some((table, key)) => &agent[table][key],
        None => &agent[column],
    };
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" | "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again() {
        let agents = json!([
            {"id": "ada", "name": "Lovelace, Ada", "devices": ["sip:a@10.0.0.1;transport=tcp", "sip:b@10.0.0.2"],
             "contacts": "a@x.example; b@y.example", "capacity": 2, "locked": false, "location": {"street": "Main \"St\"", "room": "1\n2"}},
            {"id": "bob", "number": "+12065550001"},
        ]);
        let list = agents.as_array().expect("a list");
        let text = write(list);
        let rows = read(&text).expect("readable");
        assert_eq!(rows.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 4], "{text}");
        let read: Vec<_> = rows.into_iter().map(|(_, d)| Value::Object(d)).collect();
        assert_eq!(&read, list, "{text}");
    }

    #[test]
    fn every_line_that_cannot_be_read_is_named() {
        let text = "id,capacity,colour\nada,two,red\nbob\ncy,1,\ndee,1,,,\n";
        let refused = read(text).expect_err("four mistakes");
        let places: Vec<_> = refused.rows.iter().map(|r| (r.line, r.field.as_str())).collect();
        assert_eq!(places, [(1, "colour"), (2, "capacity"), (3, ""), (5, "")]);
    }
}

//! Tables for people: columns as wide as their widest entry.

use serde_json::Value;

/// A column: its heading, and the key of what stands there.
pub(super) type Column = (&'static str, &'static str);

/// `calls`
pub(super) const CALLS: &[Column] = &[
    ("KIND", "kind"),
    ("STATE", "state"),
    ("SINCE", "since"),
    ("TRUNK", "trunk"),
    ("PEER", "peer"),
    ("DIRECTION", "direction"),
    ("FROM", "from"),
    ("TO", "to"),
];
/// `leases`
pub(super) const LEASES: &[Column] = &[
    ("NUMBER", "number"),
    ("AGENT", "agent"),
    ("TRUNK", "trunk"),
    ("STATE", "state"),
    ("DIALED", "dialed"),
    ("EXPIRES", "expires"),
    ("CALLS", "calls"),
];
/// `agents`
pub(super) const AGENTS: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("PEER", "peer"),
    ("NUMBER", "number"),
    ("SITE", "site"),
    ("COUNTRY", "country"),
    ("CONTACTS", "contacts"),
    ("SOURCE", "source"),
];
/// `trunks`
pub(super) const TRUNKS: &[Column] =
    &[("NAME", "name"), ("PATH", "path"), ("STATE", "state"), ("LEASED", "leased"), ("FREE", "free"), ("REASON", "reason")];
/// `outbox`
pub(super) const OUTBOX: &[Column] =
    &[("ID", "id"), ("CHANNEL", "channel"), ("WRITTEN", "written"), ("FAILURES", "failures"), ("NEXT", "next")];
/// `alarms`
pub(super) const ALARMS: &[Column] = &[("NAME", "name"), ("STATE", "state"), ("SINCE", "since")];
/// `records`
pub(super) const RECORDS: &[Column] = &[
    ("STARTED", "started"),
    ("DIRECTION", "direction"),
    ("FROM", "from"),
    ("TO", "to"),
    ("PEER", "peer"),
    ("TRUNK", "trunk"),
    ("ANSWERED", "answered"),
    ("ENDED", "ended"),
    ("OUTCOME", "outcome"),
];

/// The table, or a word that there is nothing.
pub(super) fn of(columns: &[Column], items: &[Value]) -> String {
    if items.is_empty() {
        return "none\n".to_owned();
    }
    let heading = columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
    let rows: Vec<Vec<String>> =
        std::iter::once(heading).chain(items.iter().map(|i| columns.iter().map(|(_, key)| cell(&i[*key])).collect())).collect();
    let width = |column: usize| rows.iter().filter_map(|r| r.get(column)).map(|c| c.chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// What stands in a cell: one line, without what a terminal would obey.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_are_as_wide_as_their_widest_entry_and_nothing_reaches_the_terminal_raw() {
        let items = [json!({"name": "no_trunk", "since": "x\u{1b}[2J"}), json!({"name": "loop", "state": ""})];
        let expected = "NAME      STATE  SINCE\nno_trunk  -      x [2J\nloop      -      -\n";
        assert_eq!(of(ALARMS, &items), expected);
        assert_eq!(of(ALARMS, &[]), "none\n");
    }
}

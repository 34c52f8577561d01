//! The last words: what each side has seen, and where to go from here.

use super::ladder::Column;
use super::paint::{Line, Look, Tone, wrapped};
use super::{Check, Failure};

/// Who a side is to a reader; the ladder's names are shorter.
const fn side(column: Column) -> &'static str {
    match column {
        Column::Pbx => "PBX",
        Column::Gateway => "e911d",
        Column::CarrierA => "carrier-a",
        Column::CarrierB => "PSAP",
        Column::Mailbox => "mailbox",
    }
}

/// A box with every check under its side, and the one that did not hold.
pub(super) fn boxed(look: Look, title: &str, checks: &[Check], failure: Option<&Failure>) -> String {
    let missing = match failure {
        Some(Failure::NotSeen { by, what }) => Some((*by, what.as_str())),
        _ => None,
    };
    let mut rows = Vec::new();
    for column in Column::ALL {
        let held = checks.iter().filter(|c| c.by == column).map(|c| (true, c.what.as_str()));
        let failed = missing.filter(|(by, _)| *by == column).map(|(_, what)| (false, what));
        for (i, (holds, what)) in held.chain(failed).enumerate() {
            rows.extend(row(look, if i == 0 { side(column) } else { "" }, holds, what));
        }
    }
    let [top_left, top_right, bottom_left, bottom_right] = look.signs().corners;
    let mut top = edge(look, top_left, top_right);
    top.put(3, &format!(" {title} "), Tone::Strong);
    let mut text = top.render(look);
    for row in rows {
        text += &row.render(look);
    }
    text + &edge(look, bottom_left, bottom_right).render(look)
}

/// What to do next.
pub(super) fn next(look: Look) -> String {
    let lines = [
        ("conf/examples/minimal.toml", "the least that a config needs"),
        ("e911d check -c FILE", "every mistake of a config, with its line"),
        ("e911d route 911 -c FILE", "where a call would go, and why"),
        ("README.md", "the rest"),
    ];
    let line = |(i, (what, why)): (usize, (&str, &str))| {
        let begin = if i == 0 { "Next:" } else { "" };
        format!("  {begin:5}  {} {}\n", look.paint(Tone::Request, &format!("{what:28}")), look.paint(Tone::Faint, why))
    };
    lines.into_iter().enumerate().map(line).collect()
}

const SIDE: usize = 2;
const MARK: usize = 13;
const WHAT: usize = 16;

fn row(look: Look, side: &str, holds: bool, what: &str) -> Vec<Line> {
    let (held, missed) = look.signs().marks;
    let (mark, tone) = if holds { (held, Tone::Good) } else { (missed, Tone::Bad) };
    let mut lines: Vec<_> = wrapped(what, look.width - WHAT - 2)
        .iter()
        .map(|part| {
            let mut line = frame(look);
            line.put(WHAT, part, if holds { Tone::Plain } else { Tone::Bad });
            line
        })
        .collect();
    if let Some(first) = lines.first_mut() {
        first.put(SIDE, side, Tone::Strong);
        first.put(MARK, mark, tone);
    }
    lines
}

fn frame(look: Look) -> Line {
    let mut line = Line::blank(look.width);
    for at in [0, look.width - 1] {
        line.sign(at, look.signs().upright, Tone::Faint);
    }
    line
}

fn edge(look: Look, left: char, right: char) -> Line {
    let mut line = Line::blank(look.width);
    for at in 1..look.width - 1 {
        line.sign(at, look.signs().dash, Tone::Faint);
    }
    line.sign(0, left, Tone::Faint);
    line.sign(look.width - 1, right, Tone::Faint);
    line
}

#[cfg(test)]
mod tests {
    use super::super::paint::columns;
    use super::*;

    #[test]
    fn what_was_seen_stands_under_its_side_and_what_was_not_is_marked() {
        let check = |by, what: &str| Check { by, what: what.to_owned() };
        let checks = [check(Column::Pbx, "rang"), check(Column::CarrierB, "answered"), check(Column::Pbx, "hung up")];
        let failure = Failure::NotSeen { by: Column::CarrierB, what: "its number".to_owned() };
        let look = Look { width: 80, colour: false, unicode: true };
        let text = boxed(look, "What each side saw", &checks, Some(&failure));
        let lines: Vec<_> = text.lines().collect();
        assert!(lines.iter().all(|l| columns(l) == 80), "{text}");
        let inner: Vec<_> = lines.iter().map(|l| l.trim_matches(['│', ' '])).collect();
        assert_eq!(&inner[1..5], ["PBX        ✓  rang", "✓  hung up", "PSAP       ✓  answered", "✗  its number"]);
        let plain = boxed(Look { unicode: false, ..look }, "What each side saw", &checks, None);
        assert!(plain.is_ascii() && plain.contains("PBX        ok rang"), "{plain}");
    }
}

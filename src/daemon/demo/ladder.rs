//! The ladder: who says what to whom, drawn line by line as it happens.
//!
//! Pure: text from facts, no output and no clock. Read [`Arrow`] first.

use std::time::Duration;

use super::paint::{Line, Look, Tone, columns, fitting, wrapped};

/// A side of the ladder, from left to right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Column {
    /// The PBX, with Alice behind it; the presence server as well.
    Pbx,
    /// The daemon, a process of its own.
    Gateway,
    /// The trunk that refuses.
    CarrierA,
    /// The trunk that answers: the PSAP is behind it.
    CarrierB,
    /// The contacts' mail server.
    Mailbox,
}

impl Column {
    /// All of them, from left to right.
    pub(super) const ALL: [Self; 5] = [Self::Pbx, Self::Gateway, Self::CarrierA, Self::CarrierB, Self::Mailbox];

    /// What stands over its line.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Pbx => "alice's PBX",
            Self::Gateway => "e911d",
            Self::CarrierA => "carrier-a",
            Self::CarrierB => "carrier-b (PSAP)",
            Self::Mailbox => "mailbox",
        }
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arrow {
    /// Since the story began.
    pub(super) at: Duration,
    /// Who said it.
    pub(super) from: Column,
    /// To whom.
    pub(super) to: Column,
    /// What it says.
    pub(super) caption: Caption,
}

/// A message in a few words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caption {
    /// Its first words.
    pub(super) label: String,
    /// What matters in it; may be empty. Stands behind the label where there is room, else in a line below.
    pub(super) detail: String,
    /// The detail for a narrow place.
    pub(super) short: String,
    /// Its colour.
    pub(super) tone: Tone,
}

/// Draws in one width.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ladder {
    look: Look,
}

/// The time of a message stands in front of the first line, in so many columns.
const TIME: usize = 5;
/// Where the lines stand in a terminal of 80 columns: names fit over them, and labels between the first three.
const AT: [usize; 5] = [11, 30, 47, 63, 76];
/// How many percent of what a wider terminal has more goes in front of each line.
const SHARE: [usize; 5] = [0, 37, 85, 91, 100];
const NARROW: usize = 80;

impl Ladder {
    /// For a terminal.
    pub(super) const fn new(look: Look) -> Self {
        Self { look }
    }

    /// A chapter: its title over the whole width, a few words about it, the names of the columns.
    pub(super) fn chapter(&self, number: usize, title: &str, words: &str) -> String {
        let mut text = format!("\n{}", self.rule(&format!("{number}  {title}")));
        for line in wrapped(words, self.look.width - 6) {
            text += &format!("   {}\n", self.look.paint(Tone::Plain, &line));
        }
        text + "\n" + &self.names() + &self.gap()
    }

    /// A title over the whole width.
    pub(super) fn rule(&self, title: &str) -> String {
        let mut line = Line::blank(self.look.width);
        line.put(0, &self.dashes(self.look.width), Tone::Faint);
        line.put(2, &format!(" {title} "), Tone::Strong);
        line.render(self.look)
    }

    /// One message: a line, and one more where its detail needs one.
    pub(super) fn arrow(&self, arrow: &Arrow) -> String {
        let (from, to) = (self.at(arrow.from), self.at(arrow.to));
        let (left, right) = (from.min(to), from.max(to));
        let mut line = self.lifelines();
        line.put(0, &format!("{:>TIME$}", arrow.at.as_millis()), Tone::Faint);
        self.draw_shaft(&mut line, from, to, arrow.caption.tone);

        // A head, and a dash and a blank before and behind the label.
        let room = (right - left).saturating_sub(6);
        let Caption { label, detail, short, tone } = &arrow.caption;
        let one_line = |detail: &str| !detail.is_empty() && columns(label) + 1 + columns(detail) <= room;
        let beside = [detail, short].into_iter().find(|d| one_line(d));
        let label = whole_or_first_word(label, room);
        let length = columns(&label) + beside.map_or(0, |d| 1 + columns(d));
        let start = left + (right - left + 1).saturating_sub(length) / 2;
        line.put(start - 1, " ", Tone::Plain);
        line.put(start, &label, *tone);
        if let Some(detail) = beside {
            line.put(start + columns(&label), &format!(" {detail}"), Tone::Plain);
        }
        line.put(start + length, " ", Tone::Plain);

        let mut text = line.render(self.look);
        if beside.is_none() && !detail.is_empty() {
            text += &self.below(left, right, detail, short);
        }
        text
    }

    /// The lines alone.
    pub(super) fn gap(&self) -> String {
        self.lifelines().render(self.look)
    }

    /// A detail between two lines, a blank away from each.
    fn below(&self, left: usize, right: usize, detail: &str, short: &str) -> String {
        let room = right - left - 3;
        let text = [detail, short].into_iter().find(|d| columns(d) <= room).map_or_else(|| self.cut(short, room), str::to_owned);
        let mut line = self.lifelines();
        let start = left + (right - left + 1).saturating_sub(columns(&text)) / 2;
        line.put(start - 1, &format!(" {text} "), Tone::Plain);
        line.render(self.look)
    }

    /// The first words of a text, and a sign that there are more.
    fn cut(&self, text: &str, room: usize) -> String {
        let more = self.look.signs().more;
        fitting(text, room.saturating_sub(columns(more))) + more
    }

    fn draw_shaft(&self, line: &mut Line, from: usize, to: usize, tone: Tone) {
        let signs = self.look.signs();
        let (left, right) = (from.min(to), from.max(to));
        for at in left + 1..right {
            line.sign(at, signs.dash, tone);
        }
        for crossed in Column::ALL.map(|c| self.at(c)).into_iter().filter(|at| left < *at && *at < right) {
            line.sign(crossed, signs.cross, Tone::Faint);
        }
        let (tee, head, head_at) =
            if from < to { (signs.tees.0, signs.heads.1, to - 1) } else { (signs.tees.1, signs.heads.0, to + 1) };
        line.sign(from, tee, Tone::Faint);
        line.sign(head_at, head, tone);
    }

    fn names(&self) -> String {
        let mut line = Line::blank(self.look.width);
        line.put(TIME - 2, "ms", Tone::Faint);
        for column in Column::ALL {
            let name = column.name();
            line.put(self.at(column).saturating_sub(columns(name) / 2), name, Tone::Strong);
        }
        line.render(self.look)
    }

    fn lifelines(&self) -> Line {
        let mut line = Line::blank(self.look.width);
        for column in Column::ALL {
            line.sign(self.at(column), self.look.signs().upright, Tone::Faint);
        }
        line
    }

    fn dashes(&self, n: usize) -> String {
        std::iter::repeat_n(self.look.signs().dash, n).collect()
    }

    /// Where a column's line stands.
    fn at(&self, column: Column) -> usize {
        let more = self.look.width.saturating_sub(NARROW);
        let i = column as usize;
        AT.get(i).copied().unwrap_or_default() + more * SHARE.get(i).copied().unwrap_or_default() / 100
    }
}

/// A status without half of its reason.
fn whole_or_first_word(label: &str, room: usize) -> String {
    let shown = if columns(label) <= room { label } else { label.split(' ').next().unwrap_or_default() };
    fitting(shown, room)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ladder(width: usize, unicode: bool) -> Ladder {
        Ladder::new(Look { width, colour: false, unicode })
    }

    fn arrow(at: u64, from: Column, to: Column, label: &str, detail: &str, short: &str) -> Arrow {
        let caption = Caption { label: label.into(), detail: detail.into(), short: short.into(), tone: Tone::Request };
        Arrow { at: Duration::from_millis(at), from, to, caption }
    }

    fn a_call(ladder: Ladder) -> String {
        use Column::{CarrierA, CarrierB, Gateway, Mailbox, Pbx};
        let arrows = [
            arrow(0, Pbx, Gateway, "INVITE 911", "From: alice", ""),
            arrow(1, Gateway, CarrierA, "INVITE 911", "From: +14255550100", "+14255550100"),
            arrow(2, CarrierA, Gateway, "503 Service Unavailable", "", ""),
            arrow(12, Gateway, CarrierB, "INVITE 911", "From: +12065550100", "+12065550100"),
            arrow(345, CarrierB, Gateway, "200 OK", "", ""),
            arrow(346, Gateway, Pbx, "INVITE alice", "Priority: psap-callback", "psap-callback"),
            arrow(12_345, Gateway, Mailbox, "mail", "A subject", ""),
        ];
        ladder.chapter(1, "Alice dials 911", "A few words.") + &arrows.map(|a| ladder.arrow(&a)).concat()
    }

    #[test]
    fn a_call_is_drawn_in_80_and_in_120_columns() {
        assert_eq!(a_call(ladder(80, true)), AT_80);
        assert_eq!(a_call(ladder(120, true)), AT_120);
    }

    #[test]
    fn a_plain_terminal_gets_the_same_in_ascii() {
        let plain = |text: &str| {
            let sign = |c| match c {
                '│' | '├' | '┤' => '|',
                '─' => '-',
                '┼' => '+',
                '►' => '>',
                '◄' => '<',
                c => c,
            };
            text.chars().map(sign).collect::<String>()
        };
        for (width, text) in [(80, AT_80), (120, AT_120)] {
            assert_eq!(a_call(ladder(width, false)), plain(text));
            assert!(plain(text).is_ascii());
        }
    }

    #[test]
    fn colours_are_laid_over_the_same_drawing() {
        let coloured = a_call(Ladder::new(Look { width: 80, colour: true, unicode: true }));
        let mut bare = String::new();
        for (i, piece) in coloured.split("\x1b[").enumerate() {
            bare += if i == 0 { piece } else { piece.split_once('m').map_or("", |(_, rest)| rest) };
        }
        assert_ne!(coloured, bare);
        assert_eq!(bare.replace(" \n", "\n"), AT_80);
    }

    #[test]
    fn nothing_is_wider_than_the_terminal_and_plain_terminals_get_plain_signs() {
        for width in [80, 97, 120, 140] {
            for unicode in [true, false] {
                let text = a_call(ladder(width, unicode));
                assert!(text.lines().all(|l| columns(l) <= width), "{width}\n{text}");
                assert!(unicode || text.is_ascii(), "{text}");
                for word in ["INVITE 911", "From: alice", "+14255550100", "503", "200 OK", "mail", "A subject", "12345"] {
                    assert!(text.contains(word), "no {word} in {width}\n{text}");
                }
            }
        }
    }

    const AT_80: &str = "
── 1  Alice dials 911 ──────────────────────────────────────────────────────────
   A few words.

   ms alice's PBX           e911d          carrier-a   carrier-b (PSAP)  mailbox
           │                  │                │               │            │
    0      ├─── INVITE 911 ──►│                │               │            │
           │   From: alice    │                │               │            │
    1      │                  ├── INVITE 911 ─►│               │            │
           │                  │  +14255550100  │               │            │
    2      │                  │◄──── 503 ──────┤               │            │
   12      │                  ├─── INVITE 911 +12065550100 ───►│            │
  345      │                  │◄─────────── 200 OK ────────────┤            │
  346      │◄─ INVITE alice ──┤                │               │            │
           │  psap-callback   │                │               │            │
12345      │                  ├────────────── mail A subject ──┼───────────►│
";
    const AT_120: &str = "
── 1  Alice dials 911 ──────────────────────────────────────────────────────────────────────────────────────────────────
   A few words.

   ms alice's PBX                         e911d                              carrier-a     carrier-b (PSAP)      mailbox
           │                                │                                    │                 │                │
    0      ├──── INVITE 911 From: alice ───►│                                    │                 │                │
    1      │                                ├── INVITE 911 From: +14255550100 ──►│                 │                │
    2      │                                │◄──── 503 Service Unavailable ──────┤                 │                │
   12      │                                ├─────────── INVITE 911 From: +12065550100 ───────────►│                │
  345      │                                │◄────────────────────── 200 OK ─────┼─────────────────┤                │
  346      │◄─ INVITE alice psap-callback ──┤                                    │                 │                │
12345      │                                ├─────────────────────────── mail A subject ───────────┼───────────────►│
";
}

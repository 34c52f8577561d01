//! How the terminal is written to: its width, whether it has colours, and whether it knows more than ASCII.
//!
//! Not a terminal library: text is laid out in a [`Line`] of cells, all of them one column wide, and rendered once.
//! Read [`Look`] first.

use std::io::IsTerminal;

/// The narrowest and the widest that is drawn, in columns.
const NARROWEST: usize = 80;
const WIDEST: usize = 140;

/// What the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// Columns, 80 to 140.
    pub(super) width: usize,
    /// Whether colours may be written.
    pub(super) colour: bool,
    /// Whether box drawing and check marks may be written.
    pub(super) unicode: bool,
}

/// What a piece of text is; each has its colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    /// Ordinary text.
    #[default]
    Plain,
    /// Scaffolding.
    Faint,
    /// Headings.
    Strong,
    /// A SIP request.
    Request,
    /// An answer, a check that held.
    Good,
    /// A refusal.
    Refused,
    /// A check that did not hold.
    Bad,
    /// A mail.
    Mail,
}

/// The signs that are not letters.
pub(super) struct Signs {
    /// A vertical line.
    pub(super) upright: char,
    /// The same, where a line leaves it to the right, and to the left.
    pub(super) tees: (char, char),
    /// A horizontal line.
    pub(super) dash: char,
    /// Where the two cross.
    pub(super) cross: char,
    /// Arrow heads, to the left and to the right.
    pub(super) heads: (char, char),
    /// Corners of a box: top left, top right, bottom left, bottom right.
    pub(super) corners: [char; 4],
    /// A text goes on.
    pub(super) more: &'static str,
    /// A check that held, and one that did not.
    pub(super) marks: (&'static str, &'static str),
}

const UNICODE: Signs = Signs {
    upright: '│',
    tees: ('├', '┤'),
    dash: '─',
    cross: '┼',
    heads: ('◄', '►'),
    corners: ['╭', '╮', '╰', '╯'],
    more: "…",
    marks: ("✓", "✗"),
};

const ASCII: Signs = Signs {
    upright: '|',
    tees: ('|', '|'),
    dash: '-',
    cross: '+',
    heads: ('<', '>'),
    corners: ['+', '+', '+', '+'],
    more: "...",
    marks: ("ok", "NO"),
};

impl Look {
    /// What standard output can show. Colours only on a terminal and not where `NO_COLOR` is set (no-color.org).
    pub(super) fn of_stdout() -> Self {
        let out = std::io::stdout();
        let columns = rustix::termios::tcgetwinsize(&out).map_or(0, |size| usize::from(size.ws_col));
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        let locale =
            ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find(|name| is_set(name)).and_then(|name| std::env::var(name).ok());
        Self {
            width: columns.clamp(NARROWEST, WIDEST),
            colour: out.is_terminal() && !is_set("NO_COLOR") && !is_dumb,
            unicode: locale.is_some_and(|l| is_utf8(&l)),
        }
    }

    /// The signs that it knows.
    pub(super) const fn signs(self) -> &'static Signs {
        if self.unicode { &UNICODE } else { &ASCII }
    }

    /// Text in the colour of its tone.
    pub(super) fn paint(self, tone: Tone, text: &str) -> String {
        match tone.code() {
            Some(code) if self.colour => format!("\x1b[{code}m{text}\x1b[0m"),
            _ => text.to_owned(),
        }
    }
}

impl Tone {
    const fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Faint => Some("2"),
            Self::Strong => Some("1"),
            Self::Request => Some("36"),
            Self::Good => Some("32"),
            Self::Refused => Some("33"),
            Self::Bad => Some("1;31"),
            Self::Mail => Some("35"),
        }
    }
}

/// One line of cells.
pub(super) struct Line {
    cells: Vec<(char, Tone)>,
}

impl Line {
    /// An empty line of that many columns.
    pub(super) fn blank(width: usize) -> Self {
        Self { cells: vec![(' ', Tone::Plain); width] }
    }

    /// Writes text from a column on; what does not fit is cut off.
    pub(super) fn put(&mut self, at: usize, text: &str, tone: Tone) {
        for (cell, c) in self.cells.iter_mut().skip(at).zip(text.chars()) {
            *cell = (c, tone);
        }
    }

    /// Writes one sign.
    pub(super) fn sign(&mut self, at: usize, sign: char, tone: Tone) {
        if let Some(cell) = self.cells.get_mut(at) {
            *cell = (sign, tone);
        }
    }

    /// As text, blanks at its end left out, with a line end.
    pub(super) fn render(&self, look: Look) -> String {
        let end = self.cells.iter().rposition(|(c, _)| *c != ' ').map_or(0, |i| i + 1);
        let cells = self.cells.get(..end).unwrap_or_default();
        let mut text: String = cells
            .chunk_by(|a, b| a.1 == b.1)
            .map(|run| look.paint(tone_of(run), &run.iter().map(|(c, _)| *c).collect::<String>()))
            .collect();
        text.push('\n');
        text
    }
}

fn tone_of(run: &[(char, Tone)]) -> Tone {
    run.first().map_or(Tone::Plain, |(_, tone)| *tone)
}

/// How many columns a text takes.
pub(super) fn columns(text: &str) -> usize {
    text.chars().count()
}

/// The text in lines of at most `width` columns, broken at blanks.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if columns(line) + 1 + columns(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// As many whole words of a text as fit; cut inside the first one if even that does not.
pub(super) fn fitting(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let first = wrapped(text, width).into_iter().next().unwrap_or_default();
    first.chars().take(width).collect()
}

fn is_utf8(locale: &str) -> bool {
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Look = Look { width: 80, colour: false, unicode: true };

    #[test]
    fn colours_are_written_only_where_they_may_be_and_each_run_once() {
        let mut line = Line::blank(10);
        line.put(1, "ab", Tone::Good);
        line.put(3, "c", Tone::Plain);
        assert_eq!(line.render(PLAIN), " abc\n");
        assert_eq!(line.render(Look { colour: true, ..PLAIN }), " \x1b[32mab\x1b[0mc\n");
    }

    #[test]
    fn text_that_does_not_fit_is_cut_and_never_panics() {
        let mut line = Line::blank(4);
        line.put(2, "long", Tone::Plain);
        line.put(9, "out", Tone::Plain);
        line.sign(9, 'x', Tone::Plain);
        assert_eq!(line.render(PLAIN), "  lo\n");
        for (width, want) in [(20, "486 Busy Here"), (10, "486 Busy"), (4, "486"), (2, "48"), (0, "")] {
            assert_eq!(fitting("486 Busy Here", width), want, "{width}");
        }
        assert_eq!(wrapped("one two  three", 7), ["one two", "three"]);
        assert!(wrapped("", 7).is_empty());
    }

    #[test]
    fn a_locale_says_whether_more_than_ascii_is_known() {
        for (locale, known) in [("C.UTF-8", true), ("de_DE.utf8", true), ("C", false), ("en_US.ISO-8859-1", false)] {
            assert_eq!(is_utf8(locale), known, "{locale}");
        }
    }
}

//! What is wrong with a template that somebody edited (RULES A5).
//!
//! [`lint`] is the whole of it: what it lets through renders for every outcome, in bounded time and space, says what
//! 47 CFR 9.16 asks for, and cannot bring a header of its own. Read [`check`] for the order of the questions.

use super::compiled::{Compiled, FILTERS, parts};
use super::{Fields, Language, Name, OUTCOMES};
use std::collections::BTreeSet;
use std::fmt;

/// A template is no longer than this, in bytes.
const LONGEST: usize = 32 * 1024;
/// The fields of CONTRACT.md "Mail".
const FIELDS: [&str; 9] =
    ["agent_name", "agent_id", "time", "callback_number", "location", "dialed", "path", "outcome", "duration"];
/// The tags that a text needs. Without `set` and `macro` no value grows.
const TAGS: [&str; 6] = ["if", "elif", "else", "endif", "for", "endfor"];
/// Words that are no fields.
const WORDS: [&str; 12] = ["in", "not", "and", "or", "is", "true", "false", "none", "True", "False", "None", "loop"];
/// Tries to be a line, a header and the end of the head.
const HOSTILE: &str = "Eve\r\nBcc: all@example.com\r\n\r\n{{ time }}\u{2028}x";

/// A mistake and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.what)
    }
}

/// Every mistake of a template, in the order of their places.
///
/// # Errors
///
/// There is at least one.
pub fn lint(name: Name, language: Language, text: &str) -> Result<(), Vec<Finding>> {
    check(name, language, text).map(drop)
}

/// The same; a template without a mistake is ready for use.
pub(super) fn check(name: Name, language: Language, text: &str) -> Result<Compiled, Vec<Finding>> {
    let at = |offset: usize, what: &str| vec![finding(text, offset, what)];
    if text.len() > LONGEST {
        return Err(at(0, "is longer than 32 KiB"));
    }
    let Some(parts) = parts(text) else {
        let what = "must begin with a line \"Subject: …\" and an empty line";
        let offset = if text.starts_with("Subject:") { text.find('\n').map_or(0, |i| i + 1) } else { 0 };
        return Err(at(offset, what));
    };
    if parts.subject.1.trim().is_empty() {
        return Err(at(parts.subject.0, "the subject is empty"));
    }
    let mut found = Vec::new();
    if let Some((offset, _)) = text.char_indices().find(|(_, c)| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        found.push(finding(text, offset, "a control character"));
    }
    for (start, part) in [parts.subject, parts.text] {
        found.extend(tags(part).into_iter().map(|(offset, what)| finding(text, start + offset, &what)));
    }
    if !found.is_empty() {
        return Err(found);
    }
    let compiled = Compiled::new(text).map_err(|(offset, what)| at(offset, &what))?;
    match said(name, language, &compiled) {
        Ok(()) => Ok(compiled),
        Err(Unsaid::Fails(offset, what)) => Err(at(offset, &what)),
        Err(Unsaid::Subject(what)) => Err(at(parts.subject.0, &what)),
        Err(Unsaid::Text(what)) => Err(what.iter().map(|what| finding(text, parts.text.0, what)).collect()),
    }
}

/// What comes of rendering it.
enum Unsaid {
    Fails(usize, String),
    Subject(String),
    Text(BTreeSet<String>),
}

/// Renders every occasion of the template, and reads it as the law does.
fn said(name: Name, language: Language, compiled: &Compiled) -> Result<(), Unsaid> {
    let mut missing = BTreeSet::new();
    let mut texts = Vec::new();
    for &outcome in occasions(name) {
        for fields in [Fields::sample(outcome), Fields::bare(language, outcome), Fields::hostile(outcome, HOSTILE)] {
            let rendered = compiled.render(&fields).map_err(|(offset, what)| {
                let when = if outcome.is_empty() { String::new() } else { format!(" (outcome {outcome})") };
                Unsaid::Fails(offset, format!("{what}{when}"))
            })?;
            if rendered.subject.trim().is_empty() || rendered.subject.chars().any(char::is_control) {
                return Err(Unsaid::Subject(
                    "the subject must be one line that is not empty, whatever the fields hold".to_owned(),
                ));
            }
            for field in fields.unsaid(&rendered) {
                let when = if outcome.is_empty() { String::new() } else { format!(" where outcome is {outcome}") };
                missing.insert(format!("the text does not say {field}{when} (47 CFR 9.16)"));
            }
        }
        texts.push((outcome, compiled.render(&Fields::sample(outcome)).map(|r| r.text)));
    }
    let text = |outcome: &str| texts.iter().find(|(o, _)| *o == outcome).and_then(|(_, t)| t.as_ref().ok());
    if name != Name::Emergency && text("not_connected") == text("ended").map(|t| t.replace("ended", "not_connected")).as_ref() {
        missing.insert("the text must say so in words where outcome is not_connected: the call did NOT connect".to_owned());
    }
    if missing.is_empty() { Ok(()) } else { Err(Unsaid::Text(missing)) }
}

/// The outcomes that a template is used for.
const fn occasions(name: Name) -> &'static [&'static str] {
    match name {
        Name::Emergency => &[""],
        Name::Outcome | Name::Test => &OUTCOMES,
    }
}

/// What a part's tags say that a template must not: offset and words.
fn tags(part: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut known: BTreeSet<&str> = FIELDS.into_iter().chain(WORDS).collect();
    let mut at = 0;
    while let Some(open) = part.get(at..).and_then(|rest| rest.find('{')).map(|i| at + i) {
        let (is_block, inside) = match part.as_bytes().get(open + 1) {
            Some(b'{') => (false, open + 2),
            Some(b'%') => (true, open + 2),
            Some(b'#') => {
                at = part.get(open..).and_then(|rest| rest.find("#}")).map_or(part.len(), |i| open + i + 2);
                continue;
            }
            _ => {
                at = open + 1;
                continue;
            }
        };
        let (tokens, end) = tokens(part, inside, is_block);
        read_tag(&tokens, is_block, &mut known, &mut found);
        at = end;
    }
    found
}

/// One tag.
fn read_tag<'a>(tokens: &[(usize, &'a str)], is_block: bool, known: &mut BTreeSet<&'a str>, found: &mut Vec<(usize, String)>) {
    let mut rest = tokens;
    if is_block {
        let Some(((offset, tag), after)) = tokens.split_first() else { return };
        if !TAGS.contains(tag) {
            found.push((*offset, format!("{{% {tag} %}} is not for templates; there are {}", TAGS.join(", "))));
            return;
        }
        rest = after;
        if *tag == "for" {
            known.extend(after.iter().map(|(_, t)| *t).take_while(|t| *t != "in"));
        }
    }
    let mut before = "";
    for &(offset, token) in rest {
        let is_word = token.starts_with(|c: char| c.is_alphabetic() || c == '_');
        let wrong = match before {
            "|" if is_word && !FILTERS.contains(&token) => {
                Some(format!("there is no filter {token}; there are {}", FILTERS.join(", ")))
            }
            "|" | "." => None,
            "is" if is_word && token != "not" => Some("tests are not for templates; compare with == and !=".to_owned()),
            _ if token == "*" || token == "(" && is_name(before) => Some(format!("\"{token}\" is not for templates")),
            _ if is_word && !known.contains(token) => Some(format!("there is no field {token}; there are {}", FIELDS.join(", "))),
            _ => None,
        };
        found.extend(wrong.map(|what| (offset, what)));
        before = token;
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_') && !WORDS.contains(&token)
}

/// Words and signs of a tag that begins at `at`, texts in quotes and numbers left out; and where it ends.
fn tokens(part: &str, at: usize, is_block: bool) -> (Vec<(usize, &str)>, usize) {
    let close = if is_block { "%}" } else { "}}" };
    let mut tokens = Vec::new();
    let mut rest = part.get(at..).unwrap_or_default().char_indices().peekable();
    while let Some((i, c)) = rest.next() {
        let here = at + i;
        if part.get(here..).is_some_and(|r| r.starts_with(close)) {
            return (tokens, here + 2);
        }
        match c {
            '"' | '\'' => {
                while let Some((_, inside)) = rest.next() {
                    match inside {
                        '\\' => drop(rest.next()),
                        inside if inside == c => break,
                        _ => {}
                    }
                }
                tokens.push((here, "\"\""));
            }
            c if c.is_alphanumeric() || c == '_' => {
                let mut end = here + c.len_utf8();
                while let Some((j, _)) = rest.next_if(|(_, c)| c.is_alphanumeric() || *c == '_') {
                    end = at + j + part.get(at + j..).and_then(|r| r.chars().next()).map_or(1, char::len_utf8);
                }
                tokens.push((here, part.get(here..end).unwrap_or_default()));
            }
            // The signs that trim blanks around a tag.
            '-' | '+' => {}
            c if c.is_whitespace() => {}
            c => tokens.push((here, part.get(here..here + c.len_utf8()).unwrap_or_default())),
        }
    }
    (tokens, part.len())
}

/// Line and column of an offset.
fn finding(text: &str, offset: usize, what: &str) -> Finding {
    let before = text.get(..offset.min(text.len())).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Finding { line, column, what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::{ALL_LANGUAGES, ALL_NAMES, shipped};
    use super::*;

    const GOOD: &str = "Subject: {{ dialed }} by {{ agent_name }}\n\n{{ agent_name }} dialed {{ dialed }}.\n\
                        Number: {{ callback_number }}\nPlace: {{ location }}\n";

    fn findings(name: Name, text: &str) -> Vec<String> {
        lint(name, Language::English, text).err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    fn finding_of(text: &str) -> String {
        findings(Name::Emergency, text).first().cloned().unwrap_or_default()
    }

    #[test]
    fn a5_the_shipped_templates_are_without_a_mistake() {
        for name in ALL_NAMES {
            for language in ALL_LANGUAGES {
                assert_eq!(lint(name, language, shipped(name, language)), Ok(()), "{name:?} {language:?}");
            }
        }
        assert_eq!(findings(Name::Emergency, GOOD), [""; 0]);
        assert_eq!(findings(Name::Emergency, &GOOD.replace('\n', "\r\n")), [""; 0]);
    }

    #[test]
    fn a5_a_mistake_is_named_with_its_line_and_column() {
        for (text, want) in [
            (String::new(), "line 1, column 1: must begin"),
            ("Hello".to_owned(), "line 1, column 1: must begin"),
            ("Subject: x\ntext".to_owned(), "line 2, column 1: must begin"),
            ("Subject:  \n\ntext".to_owned(), "line 1, column 11: the subject is empty"),
            (GOOD.replace("Place", "{{ palce }}"), "line 5, column 4: there is no field palce"),
            (GOOD.replace("Subject: ", "Subject: {{ agent }}"), "line 1, column 13: there is no field agent"),
            (format!("{GOOD}{{% if false %}}{{{{ secret }}}}{{% endif %}}"), "line 6, column 18: there is no field secret"),
            (format!("{GOOD}ü {{{{ time"), "line 6, column 6: syntax error"),
            (format!("{GOOD}{{% if time %}}"), "line 6, column 12: syntax error"),
            (format!("{GOOD}{{% set x = time %}}"), "line 6, column 4: {% set %} is not"),
            (format!("{GOOD}{{% include 'a' %}}"), "line 6, column 4: {% include %} is not"),
            (format!("{GOOD}{{{{ \"x\" * 1000000000 }}}}"), "line 6, column 8: \"*\" is not"),
            (format!("{GOOD}{{{{ range(9) }}}}"), "line 6, column 4: there is no field range"),
            (format!("{GOOD}{{{{ time|indent(99999999) }}}}"), "line 6, column 9: there is no filter indent"),
            (format!("{GOOD}{{{{ time.foo }}}}"), "line 6, column 4: "),
            (format!("{GOOD}a\u{7}b"), "line 6, column 2: a control character"),
        ] {
            let got = finding_of(&text);
            assert!(got.starts_with(want), "{got:?} is not {want:?}, of\n{text}");
        }
    }

    #[test]
    fn a5_a_template_without_what_the_law_asks_for_is_refused() {
        for (field, gone) in
            [("callback_number", GOOD.replace("{{ callback_number }}", "-")), ("location", GOOD.replace("{{ location }}", "-"))]
        {
            assert_eq!(
                findings(Name::Emergency, &gone),
                [format!("line 3, column 1: the text does not say {field} (47 CFR 9.16)")]
            );
        }
        let silent = "Subject: hello\n\nNumber: {{ callback_number }}\nPlace: {{ location }}\n";
        assert!(findings(Name::Emergency, silent).iter().any(|f| f.contains("does not say dialed")));
        // Said in one branch only.
        let half = GOOD.replace("Place: {{ location }}", "{% if outcome == \"ended\" %}{{ location }}{% endif %}");
        let found = findings(Name::Outcome, &half);
        assert!(found.iter().any(|f| f.contains("location where outcome is dropped")), "{found:?}");
        assert!(!found.iter().any(|f| f.contains("location where outcome is ended")), "{found:?}");
        assert!(findings(Name::Outcome, GOOD).iter().any(|f| f.contains("did NOT connect")));
    }

    #[test]
    fn a5_no_subject_brings_a_header_whatever_the_fields_hold() {
        for subject in ["{{ \"a\\nBcc: b@c\" }}", "{{ dialed }}{{ \"\\r\" }}", "{{ \"\\n\" }}"] {
            let text = GOOD.replace("{{ dialed }} by {{ agent_name }}", subject);
            assert!(finding_of(&text).contains("must be one line"), "{subject}");
        }
    }

    #[test]
    fn a5_a_loop_without_an_end_is_refused() {
        let nested = "{% for a in [1,2,3,4,5,6,7,8,9,0] %}".repeat(12) + "x" + &"{% endfor %}".repeat(12);
        let got = finding_of(&format!("{GOOD}{nested}"));
        assert!(got.contains("too long"), "{got}");
        let wide = "{% for a in [1,2,3,4,5,6,7,8,9,0] %}".repeat(3) + &"x".repeat(1000) + &"{% endfor %}".repeat(3);
        let got = finding_of(&format!("{GOOD}{wide}"));
        assert!(got.contains("too long"), "{got}");
    }
}

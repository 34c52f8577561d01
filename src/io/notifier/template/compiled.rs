//! A template that can be rendered: in bounded time, into a bounded text.

use super::{Fields, Rendered, de};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, filters};
use std::io;

/// Steps that a template may take; the longest of ours takes under two hundred.
const FUEL: u64 = 20_000;
/// Bytes that a template may write; RFC 5321 section 4.5.3.1.7 wants 64 KiB taken for a whole message.
const LARGEST: usize = 48 * 1024;
/// The filters that a template may use. Each gives a text about as long as the one it gets.
pub(super) const FILTERS: [&str; 4] = ["de", "upper", "lower", "trim"];

/// The two parts of a template, each with the offset at which it begins.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    /// Behind `Subject:`.
    pub(super) subject: (usize, &'a str),
    /// From the third line on.
    pub(super) text: (usize, &'a str),
}

/// `Subject: …`, an empty line, text.
pub(super) fn parts(source: &str) -> Option<Parts<'_>> {
    let (first, rest) = source.split_once('\n')?;
    let subject = first.strip_prefix("Subject:")?;
    let start = first.len() - subject.trim_start().len();
    let text = rest.strip_prefix('\n').or_else(|| rest.strip_prefix("\r\n"))?;
    Some(Parts { subject: (start, subject.trim()), text: (source.len() - text.len(), text) })
}

/// See the module's docs.
pub(super) struct Compiled {
    environment: Environment<'static>,
    /// Where the two parts begin in the source.
    starts: [usize; 2],
}

/// An offset in the source, and what is wrong there.
type Mistake = (usize, String);

const PARTS: [&str; 2] = ["subject", "text"];

impl Compiled {
    /// Reads a template.
    pub(super) fn new(source: &str) -> Result<Self, Mistake> {
        let parts = parts(source).ok_or_else(|| (0, "has no Subject".to_owned()))?;
        let mut compiled = Self { environment: environment(), starts: [parts.subject.0, parts.text.0] };
        for (name, (start, part)) in PARTS.into_iter().zip([parts.subject, parts.text]) {
            compiled.environment.add_template_owned(name, part.to_owned()).map_err(|e| mistake(start, part.len(), &e))?;
        }
        Ok(compiled)
    }

    /// Fills the fields in.
    pub(super) fn render(&self, fields: &Fields) -> Result<Rendered, Mistake> {
        let [subject, text] = [0, 1].map(|i| self.part(i, fields));
        Ok(Rendered { subject: subject?, text: text? })
    }

    fn part(&self, which: usize, fields: &Fields) -> Result<String, Mistake> {
        let (Some(name), Some(start)) = (PARTS.get(which), self.starts.get(which)) else { return Ok(String::new()) };
        let failed = |e: Error| mistake(*start, 0, &e);
        let template = self.environment.get_template(name).map_err(failed)?;
        let mut out = Bounded(Vec::new());
        template.render_captured_to(Serde(fields), &mut out).map_err(failed)?;
        String::from_utf8(out.0).map_err(|_| (*start, "is not UTF-8".to_owned()))
    }
}

/// Nothing but the filters of [`FILTERS`]: no functions, no tests, no other templates.
fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    if let Ok(syntax) = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build() {
        environment.set_syntax(syntax);
    }
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(50);
    environment.set_debug(true);
    environment.add_filter("de", |name: &str| de(name));
    environment.add_filter("upper", filters::upper);
    environment.add_filter("lower", filters::lower);
    environment.add_filter("trim", filters::trim);
    environment
}

/// Says what is wrong without showing a value.
fn mistake(start: usize, end: usize, error: &Error) -> Mistake {
    let what = match error.kind() {
        ErrorKind::OutOfFuel | ErrorKind::WriteFailure => "takes too long, or its text is too long".to_owned(),
        ErrorKind::SyntaxError => format!("syntax error: {}", error.detail().unwrap_or_default()),
        kind => format!("{kind}: {}", error.detail().unwrap_or_default()),
    };
    (start + error.range().map_or(end, |r| r.start), what)
}

/// Takes so much and no more.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > LARGEST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

//! The templates that an operator has edited, above those that come with the program (RULES A5).
//!
//! [`Templates`] may be read and changed from any thread. What is not right is never taken, and what nevertheless
//! fails when a mail is written is passed over for the built-in template: no mail is lost for a text.

use super::compiled::Compiled;
use super::lint::{Finding, check};
use super::{ALL_LANGUAGES, ALL_NAMES, Fields, Language, Name, Written, compose, finished, shipped};
use crate::emergency::notice::Notice;
use crate::io::store::Keeper;
use crate::words::{Row, Saved, Table};
use arc_swap::ArcSwap;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tracing::{error, warn};

/// See the module's docs.
#[derive(Default)]
pub struct Templates {
    edited: ArcSwap<BTreeMap<(Name, Language), Arc<Edited>>>,
    keeper: Keeper,
}

struct Edited {
    source: String,
    compiled: Compiled,
}

/// A template as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its text.
    pub text: String,
    /// Whether somebody edited it.
    pub is_edited: bool,
}

impl Templates {
    /// The built-in ones, and above them what was saved. A saved one that this version finds mistakes in is passed over.
    pub fn new(keeper: Keeper, saved: &Saved) -> Self {
        let mut edited = BTreeMap::new();
        for (key, value) in saved.rows(Table::Template) {
            let source = String::from_utf8_lossy(value).into_owned();
            let place = place_of(key);
            match place.map(|(name, language)| check(name, language, &source)) {
                Some(Ok(compiled)) => {
                    edited.extend(place.map(|place| (place, Arc::new(Edited { source, compiled }))));
                }
                _ => warn!(event = "a saved template is not taken; the built-in one is used"),
            }
        }
        Self { edited: ArcSwap::from_pointee(edited), keeper }
    }

    /// The one in use.
    pub fn get(&self, name: Name, language: Language) -> Shown {
        match self.edited.load().get(&(name, language)) {
            Some(edited) => Shown { text: edited.source.clone(), is_edited: true },
            None => Shown { text: shipped(name, language).to_owned(), is_edited: false },
        }
    }

    /// Takes an edited one. It counts from the next notice on, and after a restart.
    ///
    /// # Errors
    ///
    /// It has mistakes: see [`lint`](super::lint()). The one of before stays.
    pub fn set(&self, name: Name, language: Language, text: &str) -> Result<(), Vec<Finding>> {
        let compiled = check(name, language, text)?;
        let edited = Arc::new(Edited { source: text.to_owned(), compiled });
        self.edited.rcu(|all| {
            let mut all = BTreeMap::clone(all);
            all.insert((name, language), Arc::clone(&edited));
            all
        });
        self.keeper.keep(Row::keep(Table::Template, key(name, language), text.as_bytes().to_vec()));
        Ok(())
    }

    /// Back to the built-in one.
    pub fn reset(&self, name: Name, language: Language) {
        self.edited.rcu(|all| {
            let mut all = BTreeMap::clone(all);
            all.remove(&(name, language));
            all
        });
        self.keeper.keep(Row::forget(Table::Template, key(name, language)));
    }

    /// What a mail would read like with made-up values: by this text, or by the one in use.
    ///
    /// # Errors
    ///
    /// As [`Templates::set`].
    pub fn preview(&self, name: Name, language: Language, text: Option<&str>) -> Result<Written, Vec<Finding>> {
        let source = text.map_or_else(|| self.get(name, language).text, str::to_owned);
        let compiled = check(name, language, &source)?;
        let outcome = if name == Name::Outcome { "ended" } else { "" };
        let failed = |(_, what)| vec![Finding { line: 1, column: 1, what }];
        compiled.render(&Fields::sample(outcome)).map(|rendered| finished(&rendered, language)).map_err(failed)
    }

    /// Writes a notice down; see [`write`](super::write()).
    pub fn write(&self, notice: &Notice, node: Language, wall: Duration) -> Written {
        compose(notice, node, wall, |name, language, fields| {
            let edited = self.edited.load().get(&(name, language)).cloned()?;
            let rendered = edited.compiled.render(fields).ok();
            let said = rendered.filter(|r| !r.subject.trim().is_empty() && fields.unsaid(r).is_empty());
            if said.is_none() {
                error!(template = key(name, language), "an edited template fails; the built-in one is used");
            }
            said
        })
    }
}

/// `outcome.es`
fn key(name: Name, language: Language) -> String {
    format!("{}.{}", name.word(), language.code())
}

fn place_of(text: &str) -> Option<(Name, Language)> {
    let all = ALL_NAMES.into_iter().flat_map(|name| ALL_LANGUAGES.map(|language| (name, language)));
    all.into_iter().find(|(name, language)| key(*name, *language) == text)
}

#[cfg(test)]
mod tests {
    use super::super::tests::notice;
    use super::*;
    use crate::emergency::notice::Kind;

    const MINE: &str = "Subject: hello {{ dialed }}\n\n{{ agent_name }} {{ dialed }} {{ callback_number }} {{ location }}\n";

    #[test]
    fn a5_an_edited_template_counts_until_it_is_reset_and_a_bad_one_never() {
        let templates = Templates::default();
        let subject = || templates.write(&notice(Kind::Emergency, None), Language::English, Duration::ZERO).subject;
        let before = subject();
        assert!(templates.set(Name::Emergency, Language::English, "Subject: x\n\ny").is_err());
        assert_eq!(subject(), before);
        templates.set(Name::Emergency, Language::English, MINE).expect("good");
        assert_eq!(subject(), "hello 911");
        assert_eq!(templates.get(Name::Emergency, Language::English), Shown { text: MINE.to_owned(), is_edited: true });
        assert!(!templates.get(Name::Emergency, Language::Spanish).is_edited);
        templates.reset(Name::Emergency, Language::English);
        assert_eq!(subject(), before);
    }

    #[test]
    fn a5_edited_templates_are_there_after_a_restart_and_broken_ones_are_passed_over() {
        let mut saved = Saved::default();
        saved.add(Table::Template, "emergency.en", MINE.as_bytes());
        for (key, text) in [("test.en", &b"Subject: {{"[..]), ("other.en", MINE.as_bytes()), ("outcome.fr", b"\xff")] {
            saved.add(Table::Template, key, text);
        }
        let templates = Templates::new(Keeper::default(), &saved);
        assert!(templates.get(Name::Emergency, Language::English).is_edited);
        assert!(!templates.get(Name::Test, Language::English).is_edited);
        let written = templates.write(&notice(Kind::Test, None), Language::English, Duration::ZERO);
        assert!(written.subject.starts_with("TEST"));
    }

    #[test]
    fn a5_a_template_that_hides_what_the_law_asks_for_from_some_readers_is_passed_over() {
        let templates = Templates::default();
        let sly = MINE.replace("{{ location }}", "{% if dialed == \"911\" %}{{ location }}{% endif %}");
        templates.set(Name::Emergency, Language::English, &sly).expect("nothing shows in the samples");
        let mut n = notice(Kind::Emergency, None);
        n.dialed = "112";
        let written = templates.write(&n, Language::English, Duration::ZERO);
        assert!(written.text.contains("Location: no location was sent"), "{}", written.text);
    }

    #[test]
    fn a_preview_shows_made_up_values() {
        let templates = Templates::default();
        for name in ALL_NAMES {
            for language in ALL_LANGUAGES {
                let shown = templates.preview(name, language, None).expect("the built-in one");
                assert!(shown.text.contains("Alice Andersen") && !shown.text.contains("{{"), "{}", shown.text);
            }
        }
        let mine = templates.preview(Name::Emergency, Language::English, Some(MINE)).expect("good");
        assert_eq!(mine.subject, "hello 911");
        assert!(templates.preview(Name::Emergency, Language::English, Some("Subject: {{ x }}\n\n")).is_err());
    }
}

//! The texts of the mails: from a [`Notice`] to a subject and a text in the reader's language.
//!
//! Not a MIME message: that is [`super::smtp`]. [`write()`] cannot fail: where a template does, the bare facts are written
//! instead, because a contact who reads plain facts is told and one who gets no mail is not.
//!
//! A template is a `Subject:` line, an empty line, text (CONTRACT.md "Mail"), in the language of minijinja with strict
//! undefined. There are three, each in every [`Language`]: `emergency`, `outcome` (the PSAP's call back as well) and `test`.
//!
//! | field | what |
//! |---|---|
//! | `agent_name`, `agent_id` | who dialed; equal where the caller is unknown |
//! | `time` | when the call came in, in UTC |
//! | `callback_number` | E.164, or words that there is none |
//! | `location` | what was sent to the PSAP, or words that nothing was (47 CFR 9.16) |
//! | `dialed`, `path` | `911`; `direct-routing` or `direct-offer` |
//! | `outcome` | a word of CONTRACT.md, or `callback_not_connected`; empty while the call goes on |
//! | `duration` | `7 s`, `2 min 05 s`; empty where there is none |
//!
//! There are the filters `upper`, `lower`, `trim` and `de`: `{{ agent_name|de }}` is `de Bob` or `d'Alice`. [`lint()`] says
//! what is wrong with an edited template, [`Templates`] keeps those that are right.

mod compiled;
mod edited;
mod lint;

pub use edited::{Shown, Templates};
pub use lint::{Finding, lint};

use crate::emergency::notice::{BROUGHT, Kind, Notice};
use crate::emergency::privacy::Outcome;
use crate::emergency::reading::READ_BACK;
use crate::words::wall::utc;
use compiled::Compiled;
use serde::Serialize;
use std::sync::LazyLock;
use std::time::Duration;

/// No field is longer: a caller chooses her own display name.
const LONGEST: usize = 300;

/// Template, language, text.
const SHIPPED: [(Name, Language, &str); 9] = [
    (Name::Emergency, Language::English, include_str!("templates/emergency.en.txt")),
    (Name::Emergency, Language::Spanish, include_str!("templates/emergency.es.txt")),
    (Name::Emergency, Language::French, include_str!("templates/emergency.fr.txt")),
    (Name::Outcome, Language::English, include_str!("templates/outcome.en.txt")),
    (Name::Outcome, Language::Spanish, include_str!("templates/outcome.es.txt")),
    (Name::Outcome, Language::French, include_str!("templates/outcome.fr.txt")),
    (Name::Test, Language::English, include_str!("templates/test.en.txt")),
    (Name::Test, Language::Spanish, include_str!("templates/test.es.txt")),
    (Name::Test, Language::French, include_str!("templates/test.fr.txt")),
];

/// One that does not compile is left out, and the bare facts are written; a test reads them all.
static BUILT_IN: LazyLock<Vec<(Name, Language, Compiled)>> = LazyLock::new(|| {
    SHIPPED.into_iter().filter_map(|(name, language, source)| Some((name, language, Compiled::new(source).ok()?))).collect()
});

/// Every template.
pub const ALL_NAMES: [Name; 3] = [Name::Emergency, Name::Outcome, Name::Test];
/// Every language.
pub const ALL_LANGUAGES: [Language; 3] = [Language::English, Language::Spanish, Language::French];
/// The words that the field `outcome` may hold.
pub const OUTCOMES: [&str; 9] =
    ["", "connected", "not_connected", "abandoned", "dropped", "ended", "refused", "called_back", "callback_not_connected"];

/// Which template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// A call was made.
    Emergency,
    /// It is over, or the PSAP called back.
    Outcome,
    /// Both, of a test.
    Test,
}

impl Name {
    /// `emergency`, `outcome` or `test`.
    pub fn of_word(word: &str) -> Option<Self> {
        ALL_NAMES.into_iter().find(|name| name.word() == word)
    }

    /// The word of CONTRACT.md.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Emergency => "emergency",
            Self::Outcome => "outcome",
            Self::Test => "test",
        }
    }
}

/// The template that comes with the program.
pub fn shipped(name: Name, language: Language) -> &'static str {
    SHIPPED.into_iter().find(|(n, l, _)| (*n, *l) == (name, language)).map_or("", |(_, _, source)| source)
}

/// The languages that there are templates in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Language {
    /// `en`
    #[default]
    English,
    /// `es`
    Spanish,
    /// `fr`
    French,
}

impl Language {
    /// `en`, `es` or `fr`, of any case, also with a region: `es-PR`.
    pub fn of_code(code: &str) -> Option<Self> {
        match code.split(['-', '_']).next()?.to_ascii_lowercase().as_str() {
            "en" => Some(Self::English),
            "es" => Some(Self::Spanish),
            "fr" => Some(Self::French),
            _ => None,
        }
    }

    /// Its two letters (ISO 639-1), also for Content-Language (RFC 3282).
    pub const fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Spanish => "es",
            Self::French => "fr",
        }
    }

    const fn words(self) -> &'static Words {
        match self {
            Self::English => &Words {
                no_location: "no location was sent",
                brought: "as the caller's telephone system sent it",
                earlier: "as told when the call was made",
                no_number: "none was assigned",
                nobody: "an unknown caller",
                note: "Please note:",
            },
            Self::Spanish => &Words {
                no_location: "no se envió ninguna ubicación",
                brought: "la que envió el sistema telefónico de quien llamó",
                earlier: "la indicada cuando se hizo la llamada",
                no_number: "no se asignó ninguno",
                nobody: "una persona desconocida",
                note: "Tenga en cuenta:",
            },
            Self::French => &Words {
                no_location: "aucun emplacement n'a été transmis",
                brought: "celui qu'a transmis le système téléphonique de l'appelant",
                earlier: "celui indiqué lors de l'appel",
                no_number: "aucun n'a été attribué",
                nobody: "une personne inconnue",
                note: "À noter :",
            },
        }
    }
}

/// What is said where a field has no value, and before a remark.
struct Words {
    no_location: &'static str,
    /// A location that nobody can read; see [`BROUGHT`].
    brought: &'static str,
    /// Of a callback: its mail is not the one that tells.
    earlier: &'static str,
    no_number: &'static str,
    nobody: &'static str,
    note: &'static str,
}

/// What a mail says. Belongs to people: no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Written {
    /// One line, without `Subject:`.
    pub subject: String,
    /// Lines that end with LF.
    pub text: String,
    /// The language of both.
    pub language: Language,
}

/// What a template makes of a notice.
struct Rendered {
    subject: String,
    text: String,
}

/// Writes a notice down in its agent's language, else in the node's, by the built-in templates.
///
/// `wall` is when the call came in, since the Unix epoch.
pub fn write(notice: &Notice, node: Language, wall: Duration) -> Written {
    compose(notice, node, wall, |_, _, _| None)
}

/// The same by another template where `edited` renders one.
fn compose(
    notice: &Notice,
    node: Language,
    wall: Duration,
    edited: impl FnOnce(Name, Language, &Fields) -> Option<Rendered>,
) -> Written {
    let language = notice.language.as_deref().and_then(Language::of_code).unwrap_or(node);
    let fields = Fields::of(notice, language, wall);
    let name = match notice.kind {
        Kind::Emergency => Name::Emergency,
        Kind::Outcome | Kind::Callback => Name::Outcome,
        Kind::Test => Name::Test,
    };
    let built_in = || BUILT_IN.iter().find(|(n, l, _)| (*n, *l) == (name, language))?.2.render(&fields).ok();
    let rendered = edited(name, language, &fields).or_else(built_in).unwrap_or_else(|| fields.unadorned());
    let mut written = finished(&rendered, language);
    if let Some(remark) = notice.remark {
        // Added here and not by the templates, so that no edited one can lose it (RULES L7).
        written.text += &format!("\n{} {}\n", language.words().note, translated(remark, language));
    }
    written
}

fn finished(rendered: &Rendered, language: Language) -> Written {
    Written { subject: one_line(&rendered.subject, usize::MAX), text: format!("{}\n", rendered.text.trim()), language }
}

/// What the templates see. Every value is one line.
#[derive(Serialize)]
struct Fields {
    agent_name: String,
    agent_id: String,
    time: String,
    callback_number: String,
    location: String,
    dialed: &'static str,
    path: &'static str,
    outcome: &'static str,
    duration: String,
}

impl Fields {
    fn of(notice: &Notice, language: Language, wall: Duration) -> Self {
        let words = language.words();
        let or = |text: String, instead: &str| if text.is_empty() { instead.to_owned() } else { text };
        let number = notice.callback_number.as_ref();
        let id = or(one_line(notice.agent_id.reveal(), LONGEST), words.nobody);
        let location = match notice.location.as_ref().map(|l| l.reveal().as_str()) {
            Some(BROUGHT) => words.brought.to_owned(),
            Some(location) => one_line(location, LONGEST),
            None if notice.kind == Kind::Callback => words.earlier.to_owned(),
            None => String::new(),
        };
        Self {
            agent_name: or(one_line(notice.agent_name.reveal(), LONGEST), &id),
            agent_id: id,
            time: utc(wall),
            callback_number: number.map_or_else(|| words.no_number.to_owned(), |n| n.reveal().to_string()),
            location: or(location, words.no_location),
            dialed: notice.dialed,
            path: notice.path,
            outcome: outcome_word(notice),
            duration: notice.duration.map_or_else(String::new, length),
        }
    }

    /// Made up.
    fn sample(outcome: &'static str) -> Self {
        Self {
            agent_name: "Alice Andersen".to_owned(),
            agent_id: "alice".to_owned(),
            time: utc(Duration::from_secs(1_763_840_491)),
            callback_number: "+14255550100".to_owned(),
            location: "1 Main St, Redmond, WA 98052, floor 2".to_owned(),
            dialed: "911",
            path: "direct-routing",
            outcome,
            duration: if outcome.is_empty() { String::new() } else { length(Duration::from_secs(125)) },
        }
    }

    /// The same of somebody unknown, who was shown nothing.
    fn bare(language: Language, outcome: &'static str) -> Self {
        let words = language.words();
        Self {
            agent_name: words.nobody.to_owned(),
            agent_id: words.nobody.to_owned(),
            callback_number: words.no_number.to_owned(),
            location: words.no_location.to_owned(),
            ..Self::sample(outcome)
        }
    }

    /// The same of somebody who means harm, as far as a caller chooses her fields.
    fn hostile(outcome: &'static str, value: &str) -> Self {
        let value = one_line(value, LONGEST);
        Self { agent_name: value.clone(), agent_id: value.clone(), location: value, ..Self::sample(outcome) }
    }

    /// What of the legal minimum a mail does not say: the call, the number, the location (47 CFR 9.16).
    fn unsaid(&self, mail: &Rendered) -> Vec<&'static str> {
        let said = |text: &str, value: &str| text.contains(value);
        let mut unsaid = Vec::new();
        if !said(&mail.text, self.dialed) {
            unsaid.push("dialed");
        }
        if !said(&mail.text, &self.agent_name) && !said(&mail.text, &self.agent_id) {
            unsaid.push("agent_name");
        }
        if !said(&mail.text, &self.callback_number) {
            unsaid.push("callback_number");
        }
        if !said(&mail.text, &self.location) {
            unsaid.push("location");
        }
        unsaid
    }

    fn unadorned(&self) -> Rendered {
        let subject = format!("{} {} {}", self.dialed, self.agent_name, self.outcome);
        let text = format!(
            "dialed: {}\nagent_name: {}\nagent_id: {}\ntime: {}\ncallback_number: {}\nlocation: {}\noutcome: {}\nduration: {}\npath: {}",
            self.dialed,
            self.agent_name,
            self.agent_id,
            self.time,
            self.callback_number,
            self.location,
            self.outcome,
            self.duration,
            self.path
        );
        Rendered { subject, text }
    }
}

/// A callback that nobody answered must not read as if the 911 call had not connected.
fn outcome_word(notice: &Notice) -> &'static str {
    match (notice.kind, notice.outcome) {
        (Kind::Callback, Some(Outcome::NotConnected)) => "callback_not_connected",
        (_, outcome) => outcome.map_or("", Outcome::word),
    }
}

/// The remarks that the story knows, in the reader's language; one that is not listed stays English.
fn translated(remark: &'static str, language: Language) -> &'static str {
    match (language, remark) {
        (Language::Spanish, "The callback number shown is registered to the address of another site.") => {
            "El número mostrado está registrado a la dirección de otra sede."
        }
        (Language::Spanish, "The callback number shown is shared with other callers.") => {
            "El número mostrado se comparte con otras personas que llamaron."
        }
        (Language::French, "The callback number shown is registered to the address of another site.") => {
            "Le numéro de rappel affiché est enregistré à l'adresse d'un autre site."
        }
        (Language::French, "The callback number shown is shared with other callers.") => {
            "Le numéro de rappel affiché est partagé avec d'autres appelants."
        }
        (Language::Spanish, READ_BACK) => {
            "Ninguna troncal aceptó la llamada de prueba; la propia pasarela contestó y leyó el número de devolución de llamada."
        }
        (Language::French, READ_BACK) => {
            "Aucune ligne réseau n'a pris l'appel d'essai ; la passerelle a répondu elle-même et lu le numéro de rappel."
        }
        _ => remark,
    }
}

/// French: `de Bob`, `d'Alice`; as the filter `de` in templates.
fn de(name: &str) -> String {
    let first = name.chars().next().and_then(|c| c.to_lowercase().next());
    let elided = first.is_some_and(|c| "aeiouàâäéèêëîïôöœùûü".contains(c));
    if elided { format!("d'{name}") } else { format!("de {name}") }
}

/// At most `longest` characters on one line: what could begin a new line or a header, or turn the order of reading,
/// becomes a blank, and blanks are joined.
fn one_line(text: &str, longest: usize) -> String {
    let hidden =
        |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let plain: String = text.chars().take(longest).map(|c| if hidden(c) { ' ' } else { c }).collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `7 s`, `2 min 05 s`, the same in all three languages. Seconds alone up to two minutes.
fn length(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 120 { format!("{seconds} s") } else { format!("{} min {:02} s", seconds / 60, seconds % 60) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::emergency::ladder::Rung;
    use crate::words::{E164, Private, Time};

    const ALL: [Language; 3] = ALL_LANGUAGES;
    const OUTCOMES: [Outcome; 7] = [
        Outcome::Connected,
        Outcome::NotConnected,
        Outcome::Abandoned,
        Outcome::Dropped,
        Outcome::Ended,
        Outcome::Refused,
        Outcome::CalledBack,
    ];

    pub(in super::super) fn notice(kind: Kind, outcome: Option<Outcome>) -> Notice {
        Notice {
            kind,
            agent_name: Private::new("Alice Andersen".to_owned()),
            agent_id: Private::new("alice".to_owned()),
            language: None,
            time: Time::ZERO,
            about: Time::ZERO,
            callback_number: E164::parse("+14255550100").map(Private::new),
            location: None,
            dialed: "911",
            path: "direct-routing",
            outcome,
            duration: outcome.map(|_| Duration::from_secs(7)),
            remark: None,
            contacts: Private::new(std::sync::Arc::from([])),
        }
    }

    fn english(notice: &Notice) -> Written {
        write(notice, Language::English, Duration::from_secs(1_763_840_491))
    }

    #[test]
    fn a4_a_mail_says_that_a_call_was_made_with_its_callback_number_time_and_location() {
        let mut n = notice(Kind::Emergency, None);
        let without = english(&n);
        assert_eq!(without.subject, "EMERGENCY: Alice Andersen has called 911");
        for part in ["Alice Andersen (alice)", "+14255550100", "2025-11-22 19:41:31 UTC", "Location: no location was sent"] {
            assert!(without.text.contains(part), "{part} is not in\n{}", without.text);
        }
        n.location = Some(Private::new("1 Main St, Redmond, WA, floor 2, room 210".to_owned()));
        let with = english(&n);
        assert!(with.text.contains("Location: 1 Main St, Redmond, WA, floor 2, room 210\n"), "{}", with.text);
        assert!(!with.text.contains("no location"), "{}", with.text);
    }

    #[test]
    fn a4_the_language_is_the_agents_else_the_nodes() {
        let mut n = notice(Kind::Emergency, None);
        for (agent, node, want) in [
            (Some("es"), Language::English, "Ubicación: no se envió ninguna ubicación"),
            (Some("fr-CA"), Language::English, "Emplacement : aucun emplacement n'a été transmis"),
            (Some("EN"), Language::French, "Location: no location was sent"),
            (Some("da"), Language::French, "Emplacement :"),
            (None, Language::Spanish, "Ubicación:"),
        ] {
            n.language = agent.map(str::to_owned);
            let text = write(&n, node, Duration::ZERO).text;
            assert!(text.contains(want), "{agent:?} {node:?}:\n{text}");
        }
    }

    #[test]
    fn a3_an_abandoned_call_says_after_how_many_seconds() {
        let mail = english(&notice(Kind::Outcome, Some(Outcome::Abandoned)));
        assert_eq!(mail.subject, "The 911 call by Alice Andersen was abandoned after 7 s");
        assert!(mail.text.contains("abandoned after 7 s"));
    }

    #[test]
    fn p6_a_call_that_no_trunk_took_says_that_it_did_not_connect() {
        for (language, want) in ALL.into_iter().zip(["did NOT connect", "NO se conectó", "n'a PAS abouti"]) {
            for kind in [Kind::Outcome, Kind::Test] {
                let mail = write(&notice(kind, Some(Outcome::NotConnected)), language, Duration::ZERO);
                assert!(mail.subject.contains(want) && mail.text.contains(want), "{}", mail.subject);
            }
        }
    }

    #[test]
    fn c9_an_unanswered_callback_does_not_read_as_a_call_that_did_not_connect() {
        let mail = english(&notice(Kind::Callback, Some(Outcome::NotConnected)));
        assert_eq!(mail.subject, "ACT NOW: nobody answered the emergency centre's call back to Alice Andersen");
        assert!(!mail.text.contains("did NOT connect"));
    }

    #[test]
    fn r5_a_mail_about_a_test_says_so_before_everything_else() {
        for (language, want) in ALL.into_iter().zip(["TEST", "PRUEBA", "ESSAI"]) {
            for outcome in [None, Some(Outcome::Ended), Some(Outcome::NotConnected)] {
                let mail = write(&notice(Kind::Test, outcome), language, Duration::ZERO);
                assert!(mail.subject.starts_with(want), "{}", mail.subject);
                assert!(mail.text.lines().next().is_some_and(|l| l.contains(want)), "{}", mail.text);
            }
        }
    }

    #[test]
    fn every_template_writes_every_outcome_with_all_that_the_law_asks_for() {
        for language in ALL {
            let mut subjects = std::collections::BTreeSet::new();
            for kind in [Kind::Emergency, Kind::Outcome, Kind::Test, Kind::Callback] {
                for outcome in OUTCOMES.map(Some).into_iter().chain([None]) {
                    let mail = write(&notice(kind, outcome), language, Duration::ZERO);
                    let bare = mail.text.contains("callback_number:");
                    assert!(!bare, "the template of {kind:?} {outcome:?} {language:?} does not render");
                    let words = language.words();
                    let location = if kind == Kind::Callback { words.earlier } else { words.no_location };
                    for part in ["Alice Andersen", "911", "+14255550100", location, "1970-01-01 00:00:00 UTC"] {
                        assert!(mail.text.contains(part), "{part} is missing in {kind:?} {outcome:?} {language:?}");
                    }
                    assert!(mail.subject.contains("Alice Andersen") && mail.subject.len() < 200, "{}", mail.subject);
                    assert!(!mail.text.contains("\n\n\n\n"), "{}", mail.text);
                    if kind == Kind::Outcome {
                        subjects.insert(mail.subject);
                    }
                }
            }
            assert_eq!(subjects.len(), OUTCOMES.len(), "each outcome has a subject of its own, in {language:?}");
        }
    }

    #[test]
    fn l7_a_remark_is_in_the_mail_and_in_the_readers_language() {
        let mut n = notice(Kind::Emergency, None);
        for rung in [Rung::OtherSite, Rung::Fallback, Rung::Shared, Rung::Default] {
            n.remark = rung.remark();
            let remark = n.remark.expect("a remark");
            assert!(english(&n).text.ends_with(&format!("Please note: {remark}\n")));
            for language in [Language::Spanish, Language::French] {
                assert_ne!(translated(remark, language), remark, "{language:?}");
            }
        }
    }

    #[test]
    fn r5_that_a_test_was_read_back_is_told_in_the_readers_language() {
        let n = Notice { remark: Some(READ_BACK), ..notice(Kind::Test, Some(Outcome::NotConnected)) };
        assert!(english(&n).text.ends_with(&format!("Please note: {READ_BACK}\n")));
        for language in [Language::Spanish, Language::French] {
            assert_ne!(translated(READ_BACK, language), READ_BACK, "{language:?}");
        }
    }

    #[test]
    fn a5_no_field_can_bring_a_line_of_its_own() {
        let mut n = notice(Kind::Emergency, None);
        n.agent_name = Private::new("Eve\r\nBcc: all@example.com\r\n\r\nIgnore this\u{2028}x\u{202e}y\0".to_owned());
        n.agent_id = Private::new("{{ time }}{% raw %}".to_owned());
        n.location = Some(Private::new(format!("a\nb{}", "c".repeat(10_000))));
        let mail = english(&n);
        assert_eq!(mail.subject, "EMERGENCY: Eve Bcc: all@example.com Ignore this x y has called 911");
        assert!(mail.text.contains("({{ time }}{% raw %})"), "a field is no template");
        assert!(!mail.text.contains('\r') && !mail.text.lines().any(|l| l.starts_with("Bcc") || l.starts_with("b")));
        assert!(mail.text.len() < 5_000);
    }

    #[test]
    fn an_unknown_caller_is_named_once_and_nobody_has_a_name_too() {
        let mut n = notice(Kind::Emergency, None);
        n.agent_name = Private::new("1001".to_owned());
        n.agent_id = n.agent_name.clone();
        n.callback_number = None;
        let mail = english(&n);
        assert!(mail.text.starts_with("1001 has called 911") && mail.text.contains("Callback number: none was assigned"));
        n.agent_name = Private::default();
        n.agent_id = Private::default();
        assert_eq!(english(&n).subject, "EMERGENCY: an unknown caller has called 911");
    }

    #[test]
    fn french_elides_before_a_vowel() {
        let mail = write(&notice(Kind::Outcome, Some(Outcome::Dropped)), Language::French, Duration::ZERO);
        assert_eq!(mail.subject, "L'appel d'Alice Andersen au 911 a été coupé");
        assert_eq!((de("Bob"), de("Élise"), de("1001")), ("de Bob".to_owned(), "d'Élise".to_owned(), "de 1001".to_owned()));
    }

    #[test]
    fn a_length_is_in_seconds_up_to_two_minutes() {
        assert_eq!(length(Duration::from_secs(119)), "119 s");
        assert_eq!(length(Duration::from_secs(125)), "2 min 05 s");
    }
}

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
//! Beside minijinja's own there is the filter `de`: `{{ agent_name|de }}` is `de Bob` or `d'Alice`.

use crate::emergency::notice::{Kind, Notice};
use crate::emergency::privacy::Outcome;
use crate::words::wall::utc;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;
use std::sync::LazyLock;
use std::time::Duration;

/// No field is longer: a caller chooses her own display name.
const LONGEST: usize = 300;

/// Template, language, text.
const SHIPPED: [(&str, Language, &str); 9] = [
    ("emergency", Language::English, include_str!("templates/emergency.en.txt")),
    ("emergency", Language::Spanish, include_str!("templates/emergency.es.txt")),
    ("emergency", Language::French, include_str!("templates/emergency.fr.txt")),
    ("outcome", Language::English, include_str!("templates/outcome.en.txt")),
    ("outcome", Language::Spanish, include_str!("templates/outcome.es.txt")),
    ("outcome", Language::French, include_str!("templates/outcome.fr.txt")),
    ("test", Language::English, include_str!("templates/test.en.txt")),
    ("test", Language::Spanish, include_str!("templates/test.es.txt")),
    ("test", Language::French, include_str!("templates/test.fr.txt")),
];

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut all = Environment::new();
    all.set_undefined_behavior(UndefinedBehavior::Strict);
    if let Ok(syntax) = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build() {
        all.set_syntax(syntax);
    }
    all.add_filter("de", de);
    for (name, language, source) in SHIPPED {
        let Some((subject, text)) = split(source) else { continue };
        // A template that does not compile is left out, and `write` gives the bare facts; a test reads them all.
        let _ = all.add_template_owned(format!("{name}.{}.subject", language.code()), subject);
        let _ = all.add_template_owned(format!("{name}.{}.text", language.code()), text);
    }
    all
});

/// The languages that there are templates in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
                no_number: "none was assigned",
                nobody: "an unknown caller",
                note: "Please note:",
            },
            Self::Spanish => &Words {
                no_location: "no se envió ninguna ubicación",
                no_number: "no se asignó ninguno",
                nobody: "una persona desconocida",
                note: "Tenga en cuenta:",
            },
            Self::French => &Words {
                no_location: "aucun emplacement n'a été transmis",
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

/// Writes a notice down in its agent's language, else in the node's.
///
/// `wall` is when the call came in, since the Unix epoch.
pub fn write(notice: &Notice, node: Language, wall: Duration) -> Written {
    let language = notice.language.as_deref().and_then(Language::of_code).unwrap_or(node);
    let fields = Fields::of(notice, language, wall);
    let template = match notice.kind {
        Kind::Emergency => "emergency",
        Kind::Outcome | Kind::Callback => "outcome",
        Kind::Test => "test",
    };
    let name = format!("{template}.{}", language.code());
    let subject = render(&format!("{name}.subject"), &fields).unwrap_or_else(|| fields.bare_subject());
    let text = render(&format!("{name}.text"), &fields).unwrap_or_else(|| fields.bare_text());
    let mut text = format!("{}\n", text.trim());
    if let Some(remark) = notice.remark {
        // Added here and not by the templates, so that no edited one can lose it (RULES L7).
        text += &format!("\n{} {}\n", language.words().note, translated(remark, language));
    }
    Written { subject: one_line(&subject, usize::MAX), text, language }
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
        let location = notice.location.as_ref().map_or_else(String::new, |l| one_line(l.reveal(), LONGEST));
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

    fn bare_subject(&self) -> String {
        format!("{} {} {}", self.dialed, self.agent_name, self.outcome)
    }

    fn bare_text(&self) -> String {
        format!(
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
        )
    }
}

/// A callback that nobody answered must not read as if the 911 call had not connected.
fn outcome_word(notice: &Notice) -> &'static str {
    match (notice.kind, notice.outcome) {
        (Kind::Callback, Some(Outcome::NotConnected)) => "callback_not_connected",
        (_, outcome) => outcome.map_or("", Outcome::word),
    }
}

fn render(name: &str, fields: &Fields) -> Option<String> {
    TEMPLATES.get_template(name).and_then(|t| t.render(Serde(fields))).ok()
}

/// The two parts of a template.
fn split(source: &str) -> Option<(String, String)> {
    let (first, text) = source.split_once('\n')?;
    let subject = first.strip_prefix("Subject:")?.trim();
    let text = text.strip_prefix('\n')?;
    Some((subject.to_owned(), text.to_owned()))
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
mod tests {
    use super::*;
    use crate::emergency::ladder::Rung;
    use crate::words::{E164, Private, Time};

    const ALL: [Language; 3] = [Language::English, Language::Spanish, Language::French];
    const OUTCOMES: [Outcome; 7] = [
        Outcome::Connected,
        Outcome::NotConnected,
        Outcome::Abandoned,
        Outcome::Dropped,
        Outcome::Ended,
        Outcome::Refused,
        Outcome::CalledBack,
    ];

    fn notice(kind: Kind, outcome: Option<Outcome>) -> Notice {
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
                    for part in ["Alice Andersen", "911", "+14255550100", language.words().no_location, "1970-01-01 00:00:00 UTC"]
                    {
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

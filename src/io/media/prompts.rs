//! What is said: the prompts in the binary, and the order in which a read-back strings them together.
//!
//! Nothing is synthesised here, see `prompts/README.md`. Sound is mu-law (G.711) at [`RATE`] samples a second, a byte each.

use crate::bridge::ReadOut;
use crate::io::notifier::template::Language;
use std::time::Duration;

/// Samples a second.
pub const RATE: usize = 8000;

/// How often the number and the path are read.
const TIMES: usize = 2;

/// The mu-law code of no sound, a second of it.
static SILENCE: [u8; RATE] = [0xff; RATE];

/// A pause of so many milliseconds, a second at most.
fn pause(milliseconds: usize) -> &'static [u8] {
    SILENCE.get(..milliseconds * RATE / 1000).unwrap_or(&SILENCE)
}

/// One language's prompts.
struct Prompts {
    test: &'static [u8],
    path: &'static [u8],
    direct_routing: &'static [u8],
    direct_offer: &'static [u8],
    goodbye: &'static [u8],
    digits: [&'static [u8]; 10],
}

macro_rules! prompts {
    ($language:literal) => {{
        macro_rules! prompt {
            ($name:literal) => {
                include_bytes!(concat!("prompts/", $language, "/", $name, ".ulaw")).as_slice()
            };
        }
        Prompts {
            test: prompt!("test"),
            path: prompt!("path"),
            direct_routing: prompt!("direct-routing"),
            direct_offer: prompt!("direct-offer"),
            goodbye: prompt!("goodbye"),
            digits: [
                prompt!("0"),
                prompt!("1"),
                prompt!("2"),
                prompt!("3"),
                prompt!("4"),
                prompt!("5"),
                prompt!("6"),
                prompt!("7"),
                prompt!("8"),
                prompt!("9"),
            ],
        }
    }};
}

static ENGLISH: Prompts = prompts!("en");
static SPANISH: Prompts = prompts!("es");
static FRENCH: Prompts = prompts!("fr");

/// What is said in one read-back, piece by piece. It can be told to nobody else: no `Debug`.
#[derive(Clone)]
pub struct Script(Vec<&'static [u8]>);

impl Script {
    /// "This is a test call. Your callback number is 1, 425, 555, 0100. The path is direct routing." twice, "Goodbye." In
    /// the text's language, else the node's.
    pub fn of(text: &ReadOut, node: Language) -> Self {
        let prompts = match text.language.as_deref().and_then(Language::of_code).unwrap_or(node) {
            Language::English => &ENGLISH,
            Language::Spanish => &SPANISH,
            Language::French => &FRENCH,
        };
        let path = if text.path == "direct-offer" { prompts.direct_offer } else { prompts.direct_routing };
        let digits = text.number.reveal().to_string();
        let digits: Vec<usize> = digits.bytes().filter(u8::is_ascii_digit).map(|b| usize::from(b - b'0')).collect();
        let mut said = vec![pause(500)];
        for _ in 0..TIMES {
            said.extend([prompts.test, pause(250)]);
            for (place, digit) in digits.iter().enumerate() {
                let gap = if ends_a_group(place, digits.len(), digits.first() == Some(&1)) { 350 } else { 100 };
                said.extend([prompts.digits.get(*digit).copied().unwrap_or_default(), pause(gap)]);
            }
            said.extend([prompts.path, pause(100), path, pause(800)]);
        }
        said.push(prompts.goodbye);
        Self(said)
    }

    /// How long it takes.
    pub fn lasts(&self) -> Duration {
        let samples: usize = self.0.iter().map(|piece| piece.len()).sum();
        Duration::from_micros(samples as u64 * 1_000_000 / RATE as u64)
    }

    /// All of it, sample by sample.
    pub fn samples(&self) -> impl Iterator<Item = u8> + use<> {
        self.0.clone().into_iter().flatten().copied()
    }
}

/// Whether people pause behind the digit at this place: 1-425-555-0100 in North America, threes elsewhere, and at the end.
const fn ends_a_group(place: usize, digits: usize, north_american: bool) -> bool {
    match (place + 1 == digits, north_american && digits == 11) {
        (true, _) => true,
        (false, true) => matches!(place, 0 | 3 | 6),
        (false, false) => place % 3 == 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::{E164, Private};

    fn script(number: &str, path: &'static str, language: Option<&str>) -> Script {
        let number = Private::new(E164::parse(number).expect("a number"));
        Script::of(&ReadOut { number, path, language: language.map(str::to_owned) }, Language::French)
    }

    /// The pieces that are no pauses.
    fn words(script: &Script) -> Vec<&'static [u8]> {
        script.0.iter().copied().filter(|p| p.iter().any(|b| *b != 0xff)).collect()
    }

    #[test]
    fn r5_the_number_and_the_path_are_read_twice_digit_by_digit() {
        let p = &ENGLISH;
        let d = |n: usize| p.digits[n];
        let once = |path| {
            let number = [1, 4, 2, 5, 5, 5, 5, 0, 1, 0, 9].map(d);
            [vec![p.test], number.to_vec(), vec![p.path, path]].concat()
        };
        for (path, prompt) in [("direct-routing", p.direct_routing), ("direct-offer", p.direct_offer)] {
            let want = [once(prompt), once(prompt), vec![p.goodbye]].concat();
            assert!(words(&script("+14255550109", path, Some("en"))) == want, "{path}");
        }
    }

    #[test]
    fn r5_the_language_is_the_agents_else_the_nodes() {
        for (language, prompts) in [(Some("es"), &SPANISH), (Some("fr"), &FRENCH), (Some("de"), &FRENCH), (None, &FRENCH)] {
            assert!(words(&script("+14255550109", "direct-offer", language))[0] == prompts.test, "{language:?}");
        }
    }

    #[test]
    fn r5_every_prompt_is_there_in_every_language_and_the_longest_reading_ends_in_time() {
        for prompts in [&ENGLISH, &SPANISH, &FRENCH] {
            let all = [prompts.test, prompts.path, prompts.direct_routing, prompts.direct_offer, prompts.goodbye];
            let all = [&all[..], &prompts.digits[..]].concat();
            // A tenth of a second at least, eight at most, and not silent: a code near the middle of its range is loud.
            assert!(all.iter().all(|p| (RATE / 10..8 * RATE).contains(&p.len())));
            assert!(all.iter().all(|p| p.iter().filter(|b| **b & 0x7f < 0x40).count() > p.len() / 20));
            assert!((0..10).all(|a| (0..a).all(|b| prompts.digits[a] != prompts.digits[b])), "no digit is read as another");
        }
        for language in ["en", "es", "fr"] {
            let lasts = script("+777777777777777", "direct-routing", Some(language)).lasts();
            assert!(lasts < super::super::LONGEST, "{language}: {lasts:?}");
        }
    }
}

//! Is it an emergency? What somebody dialed against the number plans (RULES R1, R2, R5, R6, R7).
//!
//! [`Numbers`] is compiled once from the config and asked for every INVITE; the answer is a [`Dialed`] or
//! nothing, and nothing means an ordinary call. A number is compared as a whole, never by how it begins or what
//! it contains. Not the plans themselves (those are [`crate::words::plan`]) and no decision about the call.

mod mistake;

use crate::words::Country;
use crate::words::dial_string::ShortDialString;
use crate::words::plan::{Plan, plan, plans};
pub use crate::words::service::{Service, SubService};
use crate::words::uri::{Scheme, Uri};
pub use mistake::NumberMistake;
use std::collections::BTreeMap;

/// A whole telephone number has at least seven digits; nothing that long is ever an emergency number.
const LONGEST_SHORT_CODE: usize = 6;

/// The test call's number where the country's plan has none. No trunk answers it there, and a test that no trunk
/// answers is read back by ourselves (RULES R5).
const TEST_NUMBER: &str = "933";

/// The emergency numbers of a configuration.
#[derive(Clone, Debug)]
pub struct Numbers {
    configured: Vec<&'static Plan>,
    prefixes: Vec<String>,
    masks: Vec<Mask>,
}

/// Somebody dialed an emergency number or a test number, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialed {
    /// The number as its plan writes it: `911` for `+1911`, for a masked `112` and for `urn:service:sos`; `933`
    /// for a test. What a trunk is sent that takes numbers.
    pub canonical: &'static str,
    /// What voice routes are asked for (RULES P2): [`canonical`](Self::canonical), but the emergency number for a
    /// test, so that a test takes the path of a real call (RULES R5).
    pub route_as: &'static str,
    /// The country whose plan the number belongs to; for a URN the caller's, else the first configured one.
    pub country: Country,
    /// Which help is wanted.
    pub service: Service,
    /// Dialed as a number or as a service URN.
    pub form: DialedForm,
    /// A mask made it an emergency (`112 -> 911`).
    pub masked: bool,
    /// The caller's country is known, has a plan, and the plan lacks the number (RULES R7). It says nothing
    /// about how surely the country is known; by itself it never keeps a call from being placed.
    pub outside: bool,
}

/// How it was dialed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialedForm {
    /// As a number, in a sip, sips or tel URI.
    Number,
    /// As a service URN (RFC 5031).
    Urn,
}

#[derive(Clone, Debug)]
struct Mask {
    dialed: String,
    plan: &'static Plan,
    number: &'static str,
}

impl Numbers {
    /// Compiles the emergency numbers of `countries`, dialed plainly or behind one of `prefixes`, and the `masks`
    /// (dialed number to emergency number). Gives every mistake, not just the first.
    pub fn new(countries: &[Country], prefixes: &[String], masks: &BTreeMap<String, String>) -> Result<Self, Vec<NumberMistake>> {
        let mut mistakes = Vec::new();
        let mut numbers = Self { configured: Vec::new(), prefixes: Vec::new(), masks: Vec::new() };
        if countries.is_empty() {
            mistakes.push(NumberMistake::new("countries", "", "is empty; name at least one country"));
        }
        for country in countries {
            match plan(*country) {
                Some(plan) => numbers.configured.push(plan),
                None => mistakes.push(NumberMistake::new(
                    "countries",
                    &country.to_string(),
                    "there is no number plan for this country",
                )),
            }
        }
        for prefix in prefixes {
            match unusable_prefix(prefix) {
                Some(why) => mistakes.push(NumberMistake::new("prefixes", prefix, why)),
                None => numbers.prefixes.push(prefix.clone()),
            }
        }
        for (dialed, number) in masks {
            match numbers.mask(dialed, number) {
                Ok(mask) => numbers.masks.push(mask),
                Err(why) => mistakes.push(NumberMistake::new("masks", dialed, why)),
            }
        }
        if mistakes.is_empty() { Ok(numbers) } else { Err(mistakes) }
    }

    /// What an INVITE's Request-URI asks for, if that is help; `None` for an ordinary call. Takes a bare dial
    /// string as well. `country` is the caller's, as far as known. Allocates nothing.
    pub fn recognise(&self, request_uri: &[u8], country: Option<Country>) -> Option<Dialed> {
        let text = bare(request_uri);
        if !text.contains(&b':') {
            return self.recognise_number(text, country);
        }
        let uri = Uri::parse(text)?;
        match uri.scheme {
            Scheme::Sip | Scheme::Sips => self.recognise_number(uri.user?, country),
            Scheme::Tel => self.recognise_number(uri.host, country),
            Scheme::Urn => self.recognise_urn(uri.host, country),
            Scheme::Other => None,
        }
    }

    /// Whether this user of a SIP URI is a number that [`recognise`](Self::recognise) finds where the country is unknown: the same
    /// question for whoever does not ask which. Allocates nothing.
    pub fn has(&self, user: &[u8]) -> bool {
        let Some(dialed) = &ShortDialString::of(user) else { return false };
        let in_plan = |plan: &Plan| plan.emergency.iter().chain(&plan.test).any(|number| self.spells(plan, number, dialed));
        self.configured.iter().any(|plan| in_plan(plan)) || self.masks.iter().any(|mask| mask.dialed.as_bytes() == &**dialed)
    }

    /// The country's own numbers come first, so that a mask meant for others does not touch them. Where the
    /// country is unknown, or has no plan, every configured country counts: rather one call too many.
    fn recognise_number(&self, user: &[u8], country: Option<Country>) -> Option<Dialed> {
        let dialed = &ShortDialString::of(user)?;
        let Some(own) = country.and_then(plan) else {
            return self.in_any_plan(dialed).or_else(|| self.masked(dialed));
        };
        self.in_plan(own, dialed)
            .or_else(|| self.masked(dialed))
            .or_else(|| self.in_any_plan(dialed).map(|abroad| Dialed { outside: true, ..abroad }))
    }

    fn recognise_urn(&self, urn: &[u8], country: Option<Country>) -> Option<Dialed> {
        let service = Service::of_urn(urn)?;
        let plan = country.and_then(plan).or_else(|| self.configured.first().copied())?;
        let (canonical, route_as) = match service {
            Service::Sos(_) => (plan.usual(), plan.usual()),
            Service::Test => (plan.test.unwrap_or(TEST_NUMBER), plan.usual()),
        };
        Some(Dialed { canonical, route_as, country: plan.country, service, form: DialedForm::Urn, masked: false, outside: false })
    }

    fn in_any_plan(&self, dialed: &[u8]) -> Option<Dialed> {
        self.configured.iter().find_map(|plan| self.in_plan(plan, dialed))
    }

    fn in_plan(&self, plan: &Plan, dialed: &[u8]) -> Option<Dialed> {
        if let Some(number) = plan.emergency.iter().find(|number| self.spells(plan, number, dialed)) {
            return Some(Dialed::number(plan, number));
        }
        let number = plan.test.filter(|number| self.spells(plan, number, dialed))?;
        Some(Dialed { route_as: plan.usual(), service: Service::Test, ..Dialed::number(plan, number) })
    }

    fn masked(&self, dialed: &[u8]) -> Option<Dialed> {
        let mask = self.masks.iter().find(|mask| mask.dialed.as_bytes() == dialed)?;
        Some(Dialed { masked: true, ..Dialed::number(mask.plan, mask.number) })
    }

    /// Whether `dialed` is the whole of `number`, `+number`, `+` country code `number`, or prefix `number` (RULES R1).
    fn spells(&self, plan: &Plan, number: &str, dialed: &[u8]) -> bool {
        match dialed.strip_suffix(number.as_bytes()) {
            None => false,
            Some(b"" | b"+") => true,
            Some([b'+', code @ ..]) => code == plan.code.as_bytes(),
            Some(before) => self.prefixes.iter().any(|prefix| prefix.as_bytes() == before),
        }
    }

    fn mask(&self, dialed: &str, number: &str) -> Result<Mask, &'static str> {
        let digits = dialed.strip_prefix('+').unwrap_or(dialed);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit() || b == b'*') {
            return Err("only digits and * can be masked, after a + perhaps; write it without separators and without #");
        }
        if digits.len() > LONGEST_SHORT_CODE {
            return Err("has more than six digits and could be somebody's telephone number");
        }
        let Some((plan, number)) = self.configured.iter().find_map(|plan| Some((*plan, plan.emergency_number(number)?))) else {
            return Err("does not lead to an emergency number of a configured country");
        };
        let mut already = self.configured.iter().map(|plan| self.in_plan(plan, dialed.as_bytes()));
        if already.clone().flatten().any(Dialed::is_test) {
            return Err("is the number of the test call, which must never reach a PSAP");
        }
        if already.all(|own| own.is_some()) {
            return Err("is an emergency number already; remove the mask");
        }
        Ok(Mask { dialed: dialed.to_owned(), plan, number })
    }
}

impl Dialed {
    /// The service URN of what is wanted: `urn:service:sos.fire`, `urn:service:test.sos`.
    pub const fn urn(self) -> &'static str {
        self.service.urn()
    }

    /// Whether it is a test call, which must never reach a PSAP.
    pub const fn is_test(self) -> bool {
        self.service.is_test()
    }

    fn number(plan: &Plan, number: &'static str) -> Self {
        let (service, form) = (Service::Sos(SubService::General), DialedForm::Number);
        Self { canonical: number, route_as: number, country: plan.country, service, form, masked: false, outside: false }
    }
}

/// A Request-URI without blanks around it and without the `<>` that some senders put there (RFC 4475 section
/// 3.1.2.7): for an emergency that is readable enough (RULES R4).
fn bare(request_uri: &[u8]) -> &[u8] {
    let text = request_uri.trim_ascii();
    text.strip_prefix(b"<").and_then(|text| text.split(|&b| b == b'>').next()).unwrap_or(text).trim_ascii()
}

fn unusable_prefix(prefix: &str) -> Option<&'static str> {
    if prefix.is_empty() || !prefix.bytes().all(|b| matches!(b, b'0'..=b'9' | b'*' | b'#')) {
        return Some("is no prefix; only digits, * and # can be dialed before an emergency number");
    }
    let numbers = plans().iter().flat_map(|plan| plan.emergency.iter().chain(&plan.test));
    let longest = numbers.map(|number| number.len()).max().unwrap_or_default();
    (prefix.len() + longest > LONGEST_SHORT_CODE)
        .then_some("is too long: with the emergency number behind it, it could be somebody's telephone number")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn country(code: &str) -> Option<Country> {
        Country::parse(code)
    }

    fn numbers(countries: &[&str], prefixes: &[&str], masks: &[(&str, &str)]) -> Result<Numbers, Vec<NumberMistake>> {
        let countries: Vec<_> = countries.iter().map(|c| country(c).unwrap()).collect();
        let prefixes: Vec<_> = prefixes.iter().map(|&p| p.to_owned()).collect();
        let masks = masks.iter().map(|&(from, to)| (from.to_owned(), to.to_owned())).collect();
        Numbers::new(&countries, &prefixes, &masks)
    }

    /// What the shipped config says.
    fn american() -> Numbers {
        numbers(&["US", "PR", "CA"], &["9"], &[("112", "911")]).unwrap()
    }

    fn unmasked() -> Numbers {
        numbers(&["US", "PR", "CA"], &["9"], &[]).unwrap()
    }

    const SOS: Service = Service::Sos(SubService::General);

    /// The dialed user in every URI that can carry it.
    fn forms(user: &str) -> [String; 5] {
        [
            user.to_owned(),
            format!("sip:{user}@10.0.0.1:5060;user=phone"),
            format!("SIPS:{user}@[2001:db8::1]"),
            format!("tel:{user}"),
            format!("Tel:{user};phone-context=+1"),
        ]
    }

    /// Every user stands in five URIs (`forms`), with each way of knowing the country.
    #[track_caller]
    fn every_form_is(users: &[&str], want: Option<(&str, Service)>) {
        let numbers = unmasked();
        for form in users.iter().flat_map(|user| forms(user)) {
            for from in [None, country("US"), country("PR"), country("CA"), country("GU"), country("FR")] {
                let got = numbers.recognise(form.as_bytes(), from).map(|d| (d.canonical, d.service));
                assert_eq!(got, want, "{form} from {from:?}");
            }
        }
        for user in users {
            let uri = format!("sip:{user}@h");
            assert_eq!(numbers.has(user.as_bytes()), numbers.recognise(uri.as_bytes(), None).is_some(), "{user}");
        }
    }

    #[track_caller]
    fn every_uri_is(uris: &[&str], want: Option<(&str, Service)>) {
        for uri in uris {
            let got = unmasked().recognise(uri.as_bytes(), None).map(|d| (d.canonical, d.service));
            assert_eq!(got, want, "{uri}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn r1_an_emergency_number_is_recognised_however_it_is_written() {
        every_form_is(&[
            "911", "+911", "+1911", "9911", "9-1-1", "9.1.1", "9 1 1", "(911)", "(9)11", "91-1", "9-11", "-911", "911-", "9--11", "+1-911", "+1 911",
            "+1.911", "+1(911)", "(+1)911", "+ 911", "+-911", "9-911", "9 911", "9.911", "(9) 911", "9-9-1-1", "%39%31%31", "%3911", "9%311", "91%31",
            "%2B911", "%2b1911", "+%31911", "%39911", "9%3911", "9%2D1%2d1", "%28911%29", "%20911", "911%20", "911#", "911%23", "9-1-1#", "9911#",
            "+911#", "+1911%23", "911-#", "911#-", "911 #",
        ], Some(("911", SOS)));
    }

    #[test]
    #[rustfmt::skip]
    fn r5_the_test_number_is_recognised_as_a_test() {
        every_form_is(&["933", "+933", "+1933", "9933", "9-3-3", "(933)", "%3933", "933#", "933%23", "9 933"], Some(("933", Service::Test)));
    }

    #[test]
    #[rustfmt::skip]
    fn r1_a_number_that_only_begins_with_ends_with_or_contains_911_is_ordinary() {
        every_form_is(&[
            // Too much, too little, something in between.
            "9110", "9111", "0911", "1911", "2911", "8911", "91", "9", "11", "1", "19", "91 ", "9 1", "99", "99911", "999911", "19911", "91911", "911911", "911911911",
            "9119", "91191", "9112", "99110", "9113", "0-911", "1-911", "1 911", "01911", "001911", "00911", "011911", "910", "912", "901", "921", "811",
            // Subscriber numbers.
            "9115550100", "9115555555", "+19115550100", "4155559110", "4155550911", "+14155559110", "14155559110", "5559110", "5550911", "9115550", "19115550100",
            "415-555-9110", "(911) 555-0100", "+1 (911) 555-0100", "911-5555", "+911155501", "+911123456789", "+91 11 2345 6789", "91911555", "94155550911", "914155550911",
            // A + where none belongs, other countries' codes, more than one.
            "+9911", "++911", "+1+911", "911+", "9+911", "9+11", "+0911", "+2911", "+44911", "+45911", "+11911", "+1 1911", "+91911", "+", "+1", "+19", "1+911", "+9110",
            // Keys and letters.
            "*911", "911*", "*9911", "#911", "911##", "911%23%23", "911#%23", "9#11", "*67911", "911x", "x911", "911a", "nine11", "9l1", "9i1", "91I", "O911", "9O11",
            "911,", "9,911", "9p911", "9w911", "911p1", "911,,1", "911=", "911/", "911_", "_911", "911!", "911$", "911&", "911'", "~911", "911\\", "911\"", "911\t1", "9\t11",
            // Escapes that are none, and twice escaped.
            "%911", "911%", "9%1", "9%111", "%3", "%3911%", "%253911", "%2539%2531%2531", "%39%31%3", "%ZZ11", "%3g11", "911%00", "%00911", "%0a911", "%c3%b9911", "%3%3911",
            // Other short codes (R6) and other countries' numbers.
            "112", "999", "000", "106", "110", "118", "119", "111", "113", "114", "15", "17", "18", "988", "811", "711", "611", "511", "411", "311", "211", "711#", "9988", "+988", "+1988",
            "9112#", "+112", "0112", "900", "940", "922", "932", "934", "0933", "9330", "1933", "93", "33", "9933933", "+9933", "933933", "*933", "933*", "+45112",
            // Nothing, and no digits at all.
            "", "-", "()", " ", ".", "#", "%23", "-#", "%20", "alice", "bob911", "911alice", "police", "fire", "sos", "emergency", "help911", "e911", "911e", "e-911", "anonymous",
            "\u{ff19}\u{ff11}\u{ff11}", "\u{0669}\u{0661}\u{0661}", "\u{2460}", "\u{feff}911", "9\u{2011}1\u{2011}1", "911\u{200b}",
        ], None);
    }

    #[test]
    #[rustfmt::skip]
    fn r2_the_number_is_found_in_every_form_of_uri() {
        every_uri_is(&[
            "sip:911@10.0.0.1", "SIP:911@h", "Sip:911@h", "sips:911@h", "SIPS:911@h", "sip:911@h:5070", "sip:911@[::1]", "sip:911@[::1]:5070;transport=tcp", "sip:911@h;user=phone",
            "sip:911@h;user=ip", "sip:911@h;lr", "sip:911@h?Priority=normal", "sip:911:secret@h", "sip:911;phone-context=+1@h;user=phone", "sip:911;phone-context=example.com@h",
            "sip:911;isub=1@h", "sip:+1911;npdi@h", "sip:911@", "sip:911@h:99999", "sip:911@h:port", "sip:911@[::1", "sip:911@-bad-", "sip:911@h@h", "sip:911@h;;", "sip:911@911",
            "sip:911@4155550100", "tel:911", "TEL:911", "tel:+1911", "tel:911;phone-context=+1", "tel:911;phone-context=+45", "tel:911;phone-context=example.com", "tel:911;", "tel:9-1-1;x=y",
            "<sip:911@h>", "<tel:911>", "< sip:911@h >", "<sip:911@h>;tag=1", "<sip:911@h", " sip:911@h ", "\tsip:911@h", "911", "9911#", " 911 ", "sip:911@caf\u{e9}", "sip:911@h;x=\u{1f692}",
        ], Some(("911", SOS)));
        every_uri_is(&[
            "sip:alice@911", "sip:911", "sip:911.example.com", "sip:911;user=phone", "sip:alice@911:911", "sip:alice@h;user=911", "sip:alice@h?to=911", "sip:alice:911@h", "sip:alice;911@h",
            "sip:@911", "sip:;911@h", "sip::911@h", "sip:4155550100@911", "sip:alice@h;phone-context=911", "sip:alice%40911@h", "sip:911%40h@h", "sip:911%3Bx@h", "sip:911?x@h", "sip:911/x@h",
            "sip:sip:911@h", "sip:tel:911@h", "tel:911@h", "tel:alice;x=911", "tel:;911", "tel:", "tel://911", "sip://911@h", "sip:", "sips:", ":911", "911:", ":", "http:911", "http://911@h", "im:911",
            "sipx:911@h", "si:911@h", "sip 911@h", "callto:911", "mailto:911@h", "911@h", "\"911\"", "<>", "911>", "\"911\" <sip:alice@h>", "tel:4155550100;ext=911", "tel:+14155550100;isub=911",
        ], None);
    }

    #[test]
    fn r2_a_service_urn_stands_for_the_usual_number_of_the_callers_country() {
        let numbers = numbers(&["GB", "US"], &[], &[("113", "911")]).unwrap();
        for urn in [
            "urn:service:sos.fire",
            "URN:Services:SOS.Fire",
            " urn:service:sos.fire ",
            "<urn:service:sos.fire>",
            "urn:service:sos.fire;x=y",
        ] {
            for (from, number) in [("", "999"), ("GB", "999"), ("US", "911"), ("AS", "911"), ("AU", "000"), ("FR", "999")] {
                let got = numbers.recognise(urn.as_bytes(), country(from)).expect(urn);
                assert_eq!((got.canonical, got.service), (number, Service::Sos(SubService::Fire)), "{urn} from {from}");
                assert_eq!((got.urn(), got.form, got.outside), ("urn:service:sos.fire", DialedForm::Urn, false), "{urn}");
            }
        }
        every_uri_is(
            &[
                "urn:",
                "service:sos",
                "sos",
                "sip:urn:service:sos",
                "sip:sos@h",
                "sip:urn:service:sos@h",
                "tel:urn:service:sos",
                "sip:a@h;x=urn:service:sos",
            ],
            None,
        );
    }

    #[test]
    fn r5_a_test_takes_the_path_of_an_emergency_and_never_its_number_or_urn() {
        let numbers = numbers(&["US", "DK"], &["9"], &[]).unwrap();
        for (test, from, route_as) in [
            ("sip:933@h", None, "911"),
            ("urn:service:test.sos", None, "911"),
            ("URN:Services:Test.SOS", country("US"), "911"),
            ("urn:service:test.sos.fire", country("GU"), "911"),
            ("urn:service:test.sos", country("DK"), "112"),
        ] {
            let got = numbers.recognise(test.as_bytes(), from).expect(test);
            assert!(got.is_test(), "{test}");
            assert_eq!((got.canonical, got.route_as, got.urn()), ("933", route_as, "urn:service:test.sos"), "{test}");
        }
        let real = numbers.recognise(b"sip:911@h", None).unwrap();
        assert_eq!((real.is_test(), real.canonical, real.route_as, real.urn()), (false, "911", "911", "urn:service:sos"));
    }

    #[test]
    fn r1_each_country_has_its_own_numbers_and_its_code() {
        let numbers = numbers(&["AU", "GB", "DK", "US"], &["0", "9"], &[]).unwrap();
        for (from, user, want) in [
            ("DK", "112", Some("112")),
            ("DK", "+45112", Some("112")),
            ("DK", "0112", Some("112")),
            ("DK", "+44112", Some("112")),
            ("DK", "114", None),
            ("DK", "1813", None),
            ("GB", "999", Some("999")),
            ("GB", "9999", Some("999")),
            ("GB", "+44999", Some("999")),
            ("GB", "99999", None),
            ("GB", "101", None),
            ("AU", "000", Some("000")),
            ("AU", "0000", Some("000")),
            ("AU", "0-000", Some("000")),
            ("AU", "+61000", Some("000")),
            ("AU", "106", Some("106")),
            ("AU", "00", None),
            ("AU", "00000", None),
            ("AU", "000000", None),
            ("AU", "+61106#", Some("106")),
            ("US", "9911", Some("911")),
            ("US", "0911", Some("911")),
        ] {
            let got = numbers.recognise(user.as_bytes(), country(from)).map(|d| d.canonical);
            assert_eq!(got, want, "{user} from {from}");
        }
    }

    #[test]
    fn r7_a_number_of_another_configured_country_is_recognised_and_known_to_be_outside() {
        let numbers = numbers(&["US", "DK"], &[], &[]).unwrap();
        let ask = |user: &str, from: &str| {
            numbers.recognise(user.as_bytes(), country(from)).map(|d| (d.country.to_string(), d.outside))
        };
        let us = |outside| Some(("US".to_owned(), outside));
        let dk = |outside| Some(("DK".to_owned(), outside));
        assert_eq!(ask("911", "US"), us(false));
        assert_eq!(ask("911", "DK"), us(true));
        assert_eq!(ask("112", "US"), dk(true));
        assert_eq!(
            ask("112", "GB"),
            Some(("GB".to_owned(), false)),
            "a known country's plan counts even if it is not configured"
        );
        assert_eq!(ask("911", "GB"), us(true));
        assert_eq!(ask("911", "FR"), us(false), "nothing is known about a country without a plan");
        assert_eq!(ask("911", ""), us(false));
        assert_eq!(ask("999", "US"), None, "a number of no configured country");
        assert_eq!(ask("urn:service:sos", "DK"), dk(false));
        assert_eq!(ask("urn:service:sos", ""), us(false));
    }

    #[test]
    fn r1_a_mask_makes_exactly_one_dial_string_an_emergency() {
        let numbers = american();
        for user in forms("112").iter().chain(&forms("1-1-2#")) {
            let got = numbers.recognise(user.as_bytes(), country("US")).expect(user);
            assert_eq!((got.canonical, got.masked, got.outside, got.service), ("911", true, false, SOS), "{user}");
        }
        for user in ["1120", "0112", "9112", "+112", "+1112", "12", "11", "11-22", "sip:alice@112"] {
            assert_eq!(numbers.recognise(user.as_bytes(), country("US")), None, "{user}");
        }
        assert!(!numbers.recognise(b"911", None).unwrap().masked);
        let danish = numbers.recognise(b"112", country("DK")).unwrap();
        assert_eq!((danish.canonical, danish.masked), ("112", false), "a mask leaves the caller's own number alone");
    }

    #[test]
    fn r1_where_countries_differ_a_mask_serves_those_whose_plan_lacks_the_number() {
        let numbers = numbers(&["US", "DK"], &[], &[("112", "911"), ("*9", "911"), ("+118", "112")]).unwrap();
        let ask = |user: &str, from: &str| numbers.recognise(user.as_bytes(), country(from)).map(|d| (d.canonical, d.masked));
        assert_eq!(ask("112", "US"), Some(("911", true)));
        assert_eq!(ask("112", "DK"), Some(("112", false)));
        assert_eq!(ask("112", ""), Some(("112", false)));
        assert_eq!(ask("*9", ""), Some(("911", true)));
        assert_eq!(ask("+118", "DK"), Some(("112", true)));
    }

    #[test]
    fn r1_mistakes_in_prefixes_masks_and_countries_are_all_told_at_load() {
        type Row = (
            &'static [&'static str],
            &'static [&'static str],
            &'static [(&'static str, &'static str)],
            &'static str,
            &'static str,
        );
        let table: [Row; 20] = [
            (&[], &[], &[], "countries", "at least one"),
            (&["FR"], &[], &[], "countries", "no number plan"),
            (&["US"], &[""], &[], "prefixes", "no prefix"),
            (&["US"], &["+1"], &[], "prefixes", "no prefix"),
            (&["US"], &["9 "], &[], "prefixes", "no prefix"),
            (&["US"], &["9,"], &[], "prefixes", "no prefix"),
            (&["US"], &["4155"], &[], "prefixes", "too long"),
            (&["US"], &[], &[("112", "912")], "masks", "does not lead"),
            (&["US"], &[], &[("112", "112")], "masks", "does not lead"),
            (&["US"], &[], &[("112", "+1911")], "masks", "does not lead"),
            (&["US"], &[], &[("112", "933")], "masks", "does not lead"),
            (&["US"], &[], &[("112", "")], "masks", "does not lead"),
            (&["US"], &[], &[("4155550100", "911")], "masks", "telephone number"),
            (&["US"], &[], &[("5550100", "911")], "masks", "telephone number"),
            (&["US"], &[], &[("911", "911")], "masks", "already"),
            (&["US"], &["9"], &[("9911", "911")], "masks", "already"),
            (&["US"], &[], &[("933", "911")], "masks", "never reach"),
            (&["US"], &[], &[("1-1-2", "911")], "masks", "without separators"),
            (&["US"], &[], &[("112#", "911")], "masks", "without #"),
            (&["US"], &[], &[("", "911")], "masks", "only digits"),
        ];
        for (countries, prefixes, masks, key, word) in table {
            let mistakes = numbers(countries, prefixes, masks).expect_err(word);
            assert!(matches!(&mistakes[..], [m] if m.key == key && m.why.contains(word)), "{mistakes:?}");
        }
        let mistakes = numbers(&["US", "FR"], &["x", "9"], &[("112", "0"), ("1", "911")]).unwrap_err();
        assert_eq!(mistakes.len(), 3);
        assert_eq!(
            mistakes[2].to_string(),
            "emergency.masks: \"112\" does not lead to an emergency number of a configured country"
        );
        assert!(numbers(&["US"], &["9", "0", "1", "*67", "#", "91"], &[]).is_ok());
        assert!(numbers(&["US"], &["1"], &[]).unwrap().recognise(b"sip:1911@h", None).is_some(), "1911 where it is listed");
    }

    fn everything() -> Numbers {
        numbers(
            &["US", "PR", "CA", "DK", "GB", "AU"],
            &["9", "0", "1", "*67", "91"],
            &[("113", "911"), ("*9", "112"), ("123456", "999")],
        )
        .unwrap()
    }

    /// Every dial string that `everything` must recognise, built the long way.
    fn all_spellings() -> std::collections::BTreeSet<String> {
        let mut all: std::collections::BTreeSet<String> = ["113", "*9", "123456"].map(str::to_owned).into();
        for plan in plans() {
            for number in plan.emergency.iter().chain(&plan.test) {
                let before = ["", "+", "9", "0", "1", "*67", "91"].map(str::to_owned);
                all.extend(before.iter().chain(&[format!("+{}", plan.code)]).map(|before| format!("{before}{number}")));
            }
        }
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn r1_no_subscriber_number_is_an_emergency(
            plus in "\\+?", prefix in "(9|0|1|\\*67|91)?", digits in "(911|112|000|999)?[0-9]{4,12}(911|112|000|999)?", at in 0usize..15, separator in "[-. ()]{0,2}", end in "(#|%23)?"
        ) {
            prop_assume!((7..=15).contains(&digits.len()));
            let (start, rest) = digits.split_at(at.min(digits.len()));
            let user = format!("{prefix}{plus}{start}{separator}{rest}{end}");
            for form in forms(&user) {
                prop_assert_eq!(everything().recognise(form.as_bytes(), None), None, "{}", form);
            }
        }

        #[test]
        fn r1_a_dial_string_is_an_emergency_exactly_if_it_is_listed(user in "[0-9+]?[0-9*+.() #-]{0,4}(911|112|000|999|106|933)?[0-9# -]{0,2}", from in 0usize..4) {
            let plain = user.replace(['-', '.', '(', ')', ' '], "");
            let listed = all_spellings().contains(plain.strip_suffix('#').unwrap_or(&plain));
            let from = [None, country("US"), country("DK"), country("FR")][from];
            for form in forms(&user) {
                prop_assert_eq!(everything().recognise(form.as_bytes(), from).is_some(), listed, "{}", form);
            }
        }

        #[test]
        fn no_bytes_at_all_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = everything().recognise(&bytes, country("US"));
            for scheme in ["sip:", "tel:", "urn:service:", "urn:service:sos", "<sip:911"] {
                let _ = everything().recognise(&[scheme.as_bytes(), &bytes].concat(), None);
            }
        }

        #[test]
        fn escaping_any_character_changes_nothing(user in "[+]?[0-9# .-]{1,6}", which in 0usize..6) {
            let escaped: String = user.bytes().enumerate().map(|(i, b)| if i == which { format!("%{b:02x}") } else { char::from(b).to_string() }).collect();
            let ask = |user: &str| everything().recognise(format!("sip:{user}@h").as_bytes(), None);
            prop_assert_eq!(ask(&user), ask(&escaped), "{} {}", user, escaped);
        }
    }

    #[test]
    fn a_very_long_request_uri_is_ordinary() {
        let long = |part: &str| format!("sip:{}@h", part.repeat(20_000));
        for part in ["9", "911", "-", "%39", ";", "(", "911-"] {
            assert_eq!(american().recognise(long(part).as_bytes(), None), None, "{part}");
        }
        assert!(american().recognise(format!("sip:9{}11@h", "-".repeat(20_000)).as_bytes(), None).is_some());
    }
}

//! Number plans: which numbers call for help in which country.
//!
//! Plans are data, one file a country in `plans/`. A new country is a new file and a line in `FILES`.
//! Not the recognition of what somebody dialed: that is `emergency::number`, which asks here.
//!
//! A file has lines of a key and its values, and comments that begin with `#`:
//!
//! | key | values |
//! |---|---|
//! | `country` | two letters (ISO 3166-1 alpha-2) |
//! | `code` | country code (ITU-T E.164), without `+` |
//! | `emergency` | the emergency numbers; the first stands for `urn:service:sos` and is named to callers |
//! | `test` | the test call's number, where the country has one |

use super::Country;
use std::sync::LazyLock;

const FILES: [&str; 6] = [
    include_str!("plans/us.txt"),
    include_str!("plans/pr.txt"),
    include_str!("plans/ca.txt"),
    include_str!("plans/dk.txt"),
    include_str!("plans/gb.txt"),
    include_str!("plans/au.txt"),
];

static PLANS: LazyLock<Vec<Plan>> = LazyLock::new(|| FILES.into_iter().filter_map(Plan::read).collect());

/// What a country's number plan says about emergency calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Whose plan it is.
    pub country: Country,
    /// The country code of ITU-T E.164: `1`, `45`.
    pub code: &'static str,
    /// The emergency numbers as dialed inside the country, at least one; the first is the usual one.
    pub emergency: Vec<&'static str>,
    /// The number of the test call (RULES R5), where the country has one.
    pub test: Option<&'static str>,
}

impl Plan {
    /// The usual emergency number: what `urn:service:sos` is called on trunks that take numbers only.
    pub fn usual(&self) -> &'static str {
        self.emergency.first().copied().unwrap_or_default()
    }

    /// The plan's own copy of an emergency number; `None` if it is not one here.
    pub fn emergency_number(&self, number: &str) -> Option<&'static str> {
        self.emergency.iter().copied().find(|own| *own == number)
    }

    fn read(file: &'static str) -> Option<Self> {
        let values = |key: &str| {
            let line = file.lines().map(str::split_whitespace).find(|line| line.clone().next() == Some(key));
            line.map(|line| line.skip(1).collect::<Vec<_>>()).unwrap_or_default()
        };
        let value = |key: &str| values(key).first().copied();
        let emergency = values("emergency");
        if emergency.is_empty() {
            return None;
        }
        Some(Self { country: Country::parse(value("country")?)?, code: value("code")?, emergency, test: value("test") })
    }
}

/// Every number plan that there is.
pub fn plans() -> &'static [Plan] {
    &PLANS
}

/// The number plan that counts in a country; `None` where we have none. GU, VI, MP and AS have that of the US.
pub fn plan(country: Country) -> Option<&'static Plan> {
    plans().iter().find(|plan| plan.country == country.plan_country())
}

#[cfg(test)]
mod tests {
    use super::{FILES, Plan, plan, plans};
    use crate::words::Country;

    fn of(country: &str) -> Option<&'static Plan> {
        plan(Country::parse(country)?)
    }

    #[test]
    fn r1_there_are_plans_for_us_pr_ca_dk_gb_and_au() {
        let table: [(&str, &str, &[&str], Option<&str>); 7] = [
            ("US", "1", &["911"], Some("933")),
            ("PR", "1", &["911"], Some("933")),
            ("CA", "1", &["911"], Some("933")),
            ("DK", "45", &["112"], None),
            ("GB", "44", &["999", "112"], None),
            ("AU", "61", &["000", "112", "106"], None),
            ("GU", "1", &["911"], Some("933")),
        ];
        for (country, code, emergency, test) in table {
            let plan = of(country).expect(country);
            assert_eq!((plan.code, plan.emergency.as_slice(), plan.test), (code, emergency, test), "{country}");
        }
        assert_eq!(of("FR"), None);
        assert_eq!(plans().len(), FILES.len(), "every file can be read, and names a country of its own");
        assert!(plans().iter().all(|p| plan(p.country) == Some(p)));
    }

    /// Otherwise `+`, country code and emergency number could be somebody's telephone number.
    #[test]
    fn r1_no_emergency_number_behind_its_country_code_is_as_long_as_a_subscriber_number() {
        for plan in plans() {
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            assert!(digits(plan.code) && plan.code.len() <= 3, "{}", plan.country);
            for number in plan.emergency.iter().chain(&plan.test) {
                assert!(digits(number) && plan.code.len() + number.len() < 7, "{} {number}", plan.country);
            }
        }
    }

    #[test]
    fn r5_no_test_number_is_an_emergency_number_anywhere() {
        for test in plans().iter().filter_map(|plan| plan.test).chain(["933"]) {
            assert!(plans().iter().all(|plan| plan.emergency_number(test).is_none()), "{test}");
        }
    }

    #[test]
    fn a_file_without_an_emergency_number_is_no_plan() {
        assert_eq!(Plan::read("country US\ncode 1\ntest 933\n"), None);
        assert_eq!(Plan::read("country USA\ncode 1\nemergency 911\n"), None);
        assert!(Plan::read("# comment\ncountry US\ncode 1\nemergency 911\n").is_some());
    }
}

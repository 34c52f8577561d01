//! Countries by their two letters.
//!
//! Not a number plan: that is [`crate::words::plan`].

use std::fmt;

/// A country or territory: two upper-case letters, shaped as in ISO 3166-1 alpha-2. That the letters are
/// assigned is not checked; what matters is whether a number plan exists for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

impl Country {
    /// United States.
    pub const US: Self = Self(*b"US");

    /// Reads two ASCII letters of any case, nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        match text.as_bytes() {
            [a, b] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic() => {
                Some(Self([a.to_ascii_uppercase(), b.to_ascii_uppercase()]))
            }
            _ => None,
        }
    }

    /// The country whose number plan counts here: Guam, the US Virgin Islands, the Northern Mariana Islands and
    /// American Samoa are the United States (RULES R7).
    pub const fn plan_country(self) -> Self {
        match &self.0 {
            b"GU" | b"VI" | b"MP" | b"AS" => Self::US,
            _ => self,
        }
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|&letter| write!(f, "{}", char::from(letter)))
    }
}

#[cfg(test)]
mod tests {
    use super::Country;

    #[test]
    fn a_country_is_two_letters_of_any_case() {
        assert_eq!(Country::parse("us"), Some(Country::US));
        assert_eq!(Country::parse("dK").map(|c| c.to_string()).as_deref(), Some("DK"));
        for bad in ["", "U", "USA", "U1", " US", "+1", "é"] {
            assert_eq!(Country::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn r7_guam_the_virgin_islands_the_marianas_and_samoa_count_as_the_united_states() {
        for territory in ["GU", "VI", "MP", "AS", "US"] {
            assert_eq!(Country::parse(territory).map(Country::plan_country), Some(Country::US), "{territory}");
        }
        for own in ["PR", "CA", "DK", "GB", "AU"] {
            assert_eq!(Country::parse(own).map(Country::plan_country), Country::parse(own), "{own}");
        }
    }
}

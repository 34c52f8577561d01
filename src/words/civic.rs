//! A civic address, as the configuration, an agent's profile and a notice have it.

use std::fmt;

/// A place in plain words. `Display` is the line that people read.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Civic {
    /// House number, with its suffix.
    pub house: Option<String>,
    /// Street, with its direction and suffix.
    pub street: Option<String>,
    /// City or town.
    pub city: Option<String>,
    /// State, province or region.
    pub state: Option<String>,
    /// Postal code.
    pub zip: Option<String>,
    /// Country, ISO 3166-1 alpha-2.
    pub country: Option<String>,
    /// Building.
    pub building: Option<String>,
    /// Floor.
    pub floor: Option<String>,
    /// Room, suite or desk.
    pub room: Option<String>,
}

/// What a street's name may begin or end with.
const DIRECTIONS: [&str; 8] = ["N", "E", "S", "W", "NE", "NW", "SE", "SW"];
/// The usual street suffixes; whatever else a name ends with belongs to it.
const SUFFIXES: [&str; 32] = [
    "St",
    "Street",
    "Ave",
    "Avenue",
    "Rd",
    "Road",
    "Blvd",
    "Boulevard",
    "Dr",
    "Drive",
    "Ln",
    "Lane",
    "Ct",
    "Court",
    "Way",
    "Pl",
    "Place",
    "Pkwy",
    "Parkway",
    "Hwy",
    "Highway",
    "Ter",
    "Terrace",
    "Cir",
    "Circle",
    "Sq",
    "Square",
    "Loop",
    "Trl",
    "Trail",
    "Aly",
    "Alley",
];

impl Civic {
    /// Its elements by their names in a civicAddress, in the order of the schema (RFC 5139 section 4).
    pub fn elements(&self) -> Vec<(&'static str, &str)> {
        let street = self.street.as_deref().map(Street::of).unwrap_or_default();
        let (number, suffix) = self.house.as_deref().map(split_house).unwrap_or_default();
        let all = [
            ("country", self.country.as_deref().unwrap_or_default()),
            ("A1", self.state.as_deref().unwrap_or_default()),
            ("A3", self.city.as_deref().unwrap_or_default()),
            ("PRD", street.leading),
            ("RD", street.name),
            ("STS", street.suffix),
            ("POD", street.trailing),
            ("HNO", number),
            ("HNS", suffix),
            ("FLR", self.floor.as_deref().unwrap_or_default()),
            ("PC", self.zip.as_deref().unwrap_or_default()),
            ("BLD", self.building.as_deref().unwrap_or_default()),
            ("ROOM", self.room.as_deref().unwrap_or_default()),
        ];
        all.into_iter().filter(|(_, value)| !value.is_empty()).collect()
    }
}

impl fmt::Display for Civic {
    /// `1 Main St, Redmond, WA 98052, US, building B, floor 2, room 210`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = |a: &Option<String>, b: &Option<String>| {
            let both = a.iter().chain(b).map(String::as_str).collect::<Vec<_>>();
            (!both.is_empty()).then(|| both.join(" "))
        };
        let named = |name: &str, value: &Option<String>| value.as_ref().map(|v| format!("{name} {v}"));
        let parts = [
            join(&self.house, &self.street),
            self.city.clone(),
            join(&self.state, &self.zip),
            self.country.clone(),
            named("building", &self.building),
            named("floor", &self.floor),
            named("room", &self.room),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Debug for Civic {
    /// Prints nothing of the place (promise 3).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Civic(-)")
    }
}

/// A street's name in the parts of RFC 5139 section 3.2.
#[derive(Default)]
struct Street<'a> {
    leading: &'a str,
    name: &'a str,
    suffix: &'a str,
    trailing: &'a str,
}

impl<'a> Street<'a> {
    /// Something is always left for the name.
    fn of(text: &'a str) -> Self {
        let mut street = Self { name: text.trim(), ..Self::default() };
        let is_one_of = |list: &[&str], word: &str| list.iter().any(|l| l.eq_ignore_ascii_case(word.trim_end_matches('.')));
        if let Some((first, rest)) = street.name.split_once(' ')
            && is_one_of(&DIRECTIONS, first)
            && rest.trim().contains(' ')
        {
            (street.leading, street.name) = (first, rest.trim());
        }
        if let Some((rest, last)) = street.name.rsplit_once(' ')
            && is_one_of(&DIRECTIONS, last)
        {
            (street.name, street.trailing) = (rest.trim(), last);
        }
        if let Some((rest, last)) = street.name.rsplit_once(' ')
            && is_one_of(&SUFFIXES, last)
        {
            (street.name, street.suffix) = (rest.trim(), last);
        }
        street
    }
}

/// `12A`: the number, and what follows it.
fn split_house(house: &str) -> (&str, &str) {
    let house = house.trim();
    let digits = house.bytes().take_while(u8::is_ascii_digit).count();
    match house.split_at_checked(digits) {
        Some((number, rest)) if digits > 0 => (number, rest.trim_start_matches(['-', ' ']).trim()),
        _ => (house, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn civic(house: &str, street: &str) -> Civic {
        Civic { house: Some(house.to_owned()), street: Some(street.to_owned()), ..Civic::default() }
    }

    #[test]
    fn a_street_and_a_house_are_taken_apart_and_nothing_is_lost() {
        for (house, street, want) in [
            ("1", "Main St", "RD=Main STS=St HNO=1"),
            ("12A", "NE 40th St.", "PRD=NE RD=40th STS=St. HNO=12 HNS=A"),
            ("7-9", "156th Ave NE", "RD=156th STS=Ave POD=NE HNO=7 HNS=9"),
            ("The Mill", "Broadway", "RD=Broadway HNO=The Mill"),
            ("3", "North Street", "RD=North STS=Street HNO=3"),
            ("3", "Avenue of the Americas", "RD=Avenue of the Americas HNO=3"),
            ("3", "E St", "RD=E STS=St HNO=3"),
        ] {
            let civic = civic(house, street);
            let got: Vec<_> = civic.elements().iter().map(|(k, v)| format!("{k}={v}")).collect();
            assert_eq!(got.join(" "), want, "{house} {street}");
        }
    }

    #[test]
    fn a_place_reads_as_one_line() {
        let mut place = civic("1", "Main St");
        place.city = Some("Redmond".to_owned());
        (place.state, place.zip) = (Some("WA".to_owned()), Some("98052".to_owned()));
        (place.floor, place.room) = (Some("2".to_owned()), Some("210".to_owned()));
        assert_eq!(place.to_string(), "1 Main St, Redmond, WA 98052, floor 2, room 210");
        assert_eq!(format!("{place:?}"), "Civic(-)");
    }
}

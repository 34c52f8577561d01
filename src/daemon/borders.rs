//! Which country a position is in (RULES R7), by the borders of OpenStreetMap as `country-boundaries` carries them (© OpenStreetMap
//! contributors, ODbL): a table in the binary, nothing is asked for over a network.
//!
//! Says nothing near a border: a circle that reaches into another country is in none.

use crate::words::Country;
use crate::words::position::Position;
use country_boundaries::{BOUNDARIES_ODBL_180X90, CountryBoundaries, LatLon};
use smallvec::SmallVec;
use std::f64::consts::TAU;
use std::sync::LazyLock;

/// Read when the first agent says where she is.
static BORDERS: LazyLock<Option<CountryBoundaries>> =
    LazyLock::new(|| CountryBoundaries::from_reader(BOUNDARIES_ODBL_180X90).ok());

/// Metres of a degree of latitude.
const DEGREE: f64 = 111_320.0;
/// What a measurement may be wrong beyond what it says, and the borders themselves, in metres.
const MARGIN: f64 = 1_000.0;
/// Where around a position is looked: so many points on each of so many rings.
const DIRECTIONS: u32 = 16;
const RINGS: u32 = 4;

/// The one country that a position, and all within a kilometre of it, lies in.
pub(super) fn country_of(position: &Position) -> Option<Country> {
    let (latitude, longitude, radius) = position.parts();
    let here = countries(latitude, longitude);
    let around = (1..=RINGS).flat_map(|ring| {
        let high = (radius + MARGIN) / DEGREE * f64::from(ring) / f64::from(RINGS);
        let wide = high / latitude.to_radians().cos().max(0.01);
        (0..DIRECTIONS).map(move |n| {
            let (sin, cos) = (f64::from(n) * TAU / f64::from(DIRECTIONS)).sin_cos();
            ((latitude + high * cos).clamp(-90.0, 90.0), (longitude + wide * sin).clamp(-180.0, 180.0))
        })
    });
    let alone = around.flat_map(|(latitude, longitude)| countries(latitude, longitude)).all(|country| here.contains(&country));
    here.first().copied().filter(|_| alone)
}

/// The countries that a point is in: a territory's own borders lie in those of its country, and the smallest comes first.
fn countries(latitude: f64, longitude: f64) -> SmallVec<[Country; 2]> {
    let ids = BORDERS.as_ref().zip(LatLon::new(latitude, longitude).ok()).map(|(borders, at)| borders.ids(at));
    ids.into_iter().flatten().filter(|id| id.len() == 2).filter_map(Country::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn country(latitude: f64, longitude: f64, radius: f64) -> Option<String> {
        let position = Position::new(latitude, longitude, radius, Duration::ZERO).expect("a position");
        country_of(&position).map(|country| country.to_string())
    }

    #[test]
    fn r7_a_position_is_in_a_country_unless_another_one_is_near() {
        for (latitude, longitude, radius, wanted) in [
            (47.67, -122.12, 20.0, Some("US")),    // Redmond
            (18.4655, -66.1057, 20.0, Some("PR")), // San Juan
            (43.6532, -79.3832, 20.0, Some("CA")), // Toronto
            (55.6761, 12.5683, 20.0, Some("DK")),  // Copenhagen
            (42.3149, -83.0364, 20.0, None),       // Windsor, at the river to Detroit
            (48.9, -122.12, 20_000.0, None),       // somewhere there
            (10.0, -40.0, 20.0, None),             // at sea
            (90.0, 180.0, 100_000.0, None),
        ] {
            assert_eq!(country(latitude, longitude, radius).as_deref(), wanted, "{latitude} {longitude}");
        }
    }
}

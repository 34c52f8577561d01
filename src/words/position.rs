//! Where somebody is: a circle on the earth (RFC 5491 section 5.2.3), as a browser measures it.

use super::country::Country;
use super::wall::rfc3339;
use std::fmt;
use std::time::Duration;

/// The widest circle that says anything, in metres: half the earth's girth is nowhere.
const WIDEST: f64 = 100_000.0;

/// A circle on the earth by WGS 84 (EPSG:4326), and when it was measured.
#[derive(Clone, Copy, PartialEq)]
pub struct Position {
    latitude: f64,
    longitude: f64,
    radius: f64,
    at: Duration,
    country: Option<Country>,
}

/// Which part of a position makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPosition {
    /// Not from -90 to 90.
    #[error("must be degrees from -90 to 90")]
    Latitude,
    /// Not from -180 to 180.
    #[error("must be degrees from -180 to 180")]
    Longitude,
    /// Not a radius that says anything.
    #[error("must be metres from 0 to 100000")]
    Accuracy,
}

impl NoPosition {
    /// The field of the API.
    pub const fn field(self) -> &'static str {
        match self {
            Self::Latitude => "latitude",
            Self::Longitude => "longitude",
            Self::Accuracy => "accuracy",
        }
    }
}

impl Position {
    /// A circle of so many metres around these degrees, measured at `at` since the Unix epoch.
    ///
    /// # Errors
    ///
    /// A number is out of its range, or none.
    pub fn new(latitude: f64, longitude: f64, radius: f64, at: Duration) -> Result<Self, NoPosition> {
        if !(-90.0..=90.0).contains(&latitude) {
            return Err(NoPosition::Latitude);
        }
        if !(-180.0..=180.0).contains(&longitude) {
            return Err(NoPosition::Longitude);
        }
        if !(0.0..=WIDEST).contains(&radius) {
            return Err(NoPosition::Accuracy);
        }
        Ok(Self { latitude, longitude, radius, at, country: None })
    }

    /// The same, wholly in this country; `None`: that cannot be said, as near a border.
    pub const fn in_country(self, country: Option<Country>) -> Self {
        Self { country, ..self }
    }

    /// The country that it is wholly in, where that is known.
    pub const fn country(&self) -> Option<Country> {
        self.country
    }

    /// Latitude and longitude of its centre in degrees, and its radius in metres.
    pub const fn parts(&self) -> (f64, f64, f64) {
        (self.latitude, self.longitude, self.radius)
    }

    /// When it was measured, since the Unix epoch.
    pub const fn at(&self) -> Duration {
        self.at
    }

    /// For the contacts: degrees, metres and when, in one line.
    pub fn line(&self) -> String {
        format!("{:.6}, {:.6} within {:.0} m ({})", self.latitude, self.longitude, self.radius, rfc3339(self.at))
    }

    /// `gs:Circle` of RFC 5491 section 5.2.3; the prefixes `gml` and `gs` are the document's.
    pub fn circle(&self) -> String {
        format!(
            "<gs:Circle srsName=\"urn:ogc:def:crs:EPSG::4326\"><gml:pos>{:.6} {:.6}</gml:pos>\
             <gs:radius uom=\"urn:ogc:def:uom:EPSG::9001\">{:.0}</gs:radius></gs:Circle>",
            self.latitude, self.longitude, self.radius
        )
    }
}

impl fmt::Debug for Position {
    /// Prints nothing of it (promise 3).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Position(-)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_a_circle_in_degrees_and_metres_and_prints_nothing() {
        let position = Position::new(47.674_12, -122.121_5, 19.6, Duration::from_secs(1_763_840_491)).expect("a position");
        let circle = position.circle();
        assert!(circle.contains("<gml:pos>47.674120 -122.121500</gml:pos>"), "{circle}");
        assert!(circle.contains(">20</gs:radius>") && circle.contains("EPSG::4326"), "{circle}");
        assert_eq!(position.line(), "47.674120, -122.121500 within 20 m (2025-11-22T19:41:31Z)");
        assert_eq!(format!("{position:?}"), "Position(-)");
    }

    #[test]
    fn numbers_that_are_none_are_no_position() {
        let new = |latitude, longitude, radius| Position::new(latitude, longitude, radius, Duration::ZERO).err();
        for none in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e9] {
            assert_eq!(new(none, 0.0, 0.0), Some(NoPosition::Latitude));
            assert_eq!(new(0.0, none, 0.0), Some(NoPosition::Longitude));
            assert_eq!(new(0.0, 0.0, none), Some(NoPosition::Accuracy));
        }
        assert_eq!(new(-90.0, 180.0, 0.0), None);
    }
}

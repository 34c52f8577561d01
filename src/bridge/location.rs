//! Where the caller is: reading what a call brings, and writing the agent's own place where it brings nothing
//! (RFC 6442, RFC 4119, RFC 5139, RFC 5491).
//!
//! What a call brings is never changed; it is read here for the contacts only. Whether the agent's place is added
//! is the story's decision, see [`Trunk::adds_location`](crate::emergency::site::Trunk).

use crate::emergency::facts::Place;
use crate::emergency::notice::BROUGHT;
use crate::sip::write::Writer;
use crate::sip::{Message, Name, sdp};
use crate::words::{Civic, E164, wall};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

/// A text that a call brings is no longer than this for the contacts.
const LONGEST: usize = 200;

/// What names the elements of a circle.
const CIRCLES: &str = " xmlns:gml=\"http://www.opengis.net/gml\" xmlns:gs=\"http://www.opengis.net/pidflo/1.0\"";

/// Elements of a civicAddress as people read them, in that order (RFC 5139 section 3).
const READ: [(&str, &str); 18] = [
    ("HNO", ""),
    ("HNS", ""),
    ("PRD", ""),
    ("RD", ""),
    ("STS", ""),
    ("POD", ""),
    ("NAM", ""),
    ("LOC", ""),
    ("BLD", "building "),
    ("FLR", "floor "),
    ("UNIT", "unit "),
    ("ROOM", "room "),
    ("SEAT", "seat "),
    ("A3", ""),
    ("A2", ""),
    ("A1", ""),
    ("PC", ""),
    ("country", ""),
];
/// As many of these are one part of the line: number and street.
const STREET: usize = 6;

/// The location that an INVITE brings, in words: civic, else coordinates, else [`BROUGHT`]. None where it brings none.
pub(super) fn brought(msg: &Message) -> Option<Cow<'static, str>> {
    let content_type = msg.get(Name::ContentType).unwrap_or_default();
    let pidf = sdp::pidf_part(content_type, msg.body());
    if pidf.is_none() && msg.get(Name::Geolocation).is_none() {
        return None;
    }
    let words = pidf.and_then(|pidf| std::str::from_utf8(pidf).ok()).and_then(in_words);
    Some(words.map_or(Cow::Borrowed(BROUGHT), Cow::Owned))
}

/// What a PIDF-LO says, as far as it can be read without understanding XML: a document of another kind says nothing.
fn in_words(pidf: &str) -> Option<String> {
    let value = |name: &str| element(pidf, name).map(unescaped).filter(|v| !v.is_empty());
    let mut parts = Vec::new();
    let street: Vec<_> = READ.iter().take(STREET).filter_map(|(name, _)| value(name)).collect();
    if !street.is_empty() {
        parts.push(street.join(" "));
    }
    parts.extend(READ.iter().skip(STREET).filter_map(|(name, before)| Some(format!("{before}{}", value(name)?))));
    if parts.is_empty() {
        parts.extend(value("pos"));
        parts.extend(value("radius").map(|r| format!("within {r} m")));
    }
    let words: String = parts.join(", ").chars().take(LONGEST).collect();
    (!words.is_empty()).then_some(words)
}

/// The text of the first element of this local name that holds nothing but text.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = xml;
    while let Some(at) = rest.find('<') {
        rest = rest.get(at + 1..)?;
        let (tag, after) = rest.split_once('>')?;
        let qualified = tag.split(|c: char| c.is_ascii_whitespace()).next().unwrap_or_default();
        let local = qualified.rsplit_once(':').map_or(qualified, |(_, local)| local);
        if local == name && !tag.ends_with('/') && !tag.starts_with('/') {
            let text = after.split('<').next().unwrap_or_default();
            return Some(text.trim());
        }
        rest = after;
    }
    None
}

fn unescaped(text: &str) -> String {
    let plain = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    plain.iter().fold(text.to_owned(), |text, (escape, c)| text.replace(escape, c))
}

/// What an added location is made of.
pub(super) struct Added<'a> {
    /// The place.
    pub(super) place: &'a Place,
    /// The number that the PSAP sees: whose place it is.
    pub(super) shown: E164,
    /// The host of that number's URI.
    pub(super) domain: &'a str,
    /// What nobody else has: the leg's Call-ID.
    pub(super) unique: &'a [u8],
    /// Now, since the Unix epoch.
    pub(super) wall: Duration,
    /// How long it may be kept: as long as the number leads back.
    pub(super) retention: Duration,
}

impl Added<'_> {
    /// Writes the header fields of RFC 6442 and the body, as multipart/mixed with what the call has. `masked` is that body
    /// as a trunk may see it.
    pub(super) fn finish(&self, mut w: Writer, msg: &Message, masked: &[u8]) -> bytes::Bytes {
        let unique = String::from_utf8_lossy(self.unique).into_owned();
        let id = format!("location.{}@{}", unique.split('@').next().unwrap_or_default(), self.domain);
        w.header("Supported", b"geolocation");
        w.header_fmt("Geolocation", format_args!("<cid:{id}>"));
        w.header("Geolocation-Routing", b"yes");
        w.header("MIME-Version", b"1.0");
        let mut boundary = format!("e911d-{}", unique.split('@').next().unwrap_or_default());
        while memchr::memmem::find(masked, boundary.as_bytes()).is_some() {
            boundary.push('x');
        }
        w.header_fmt("Content-Type", format_args!("multipart/mixed;boundary=\"{boundary}\""));
        let mut body = Vec::with_capacity(masked.len() + 2048);
        if !masked.is_empty() {
            body.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
            if msg.get(Name::ContentType).is_none() {
                body.extend_from_slice(b"Content-Type: application/sdp\r\n");
            }
            for h in msg.headers().iter().filter(|h| describes_the_body(h.name)) {
                body.extend_from_slice(msg.name_bytes(h));
                body.extend_from_slice(b": ");
                body.extend_from_slice(msg.value(h));
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"\r\n");
            body.extend_from_slice(masked);
            body.extend_from_slice(b"\r\n");
        }
        let part = format!(
            "--{boundary}\r\nContent-Type: application/pidf+xml\r\nContent-ID: <{id}>\r\n\
             Content-Disposition: by-reference;handling=optional\r\n\r\n{}\r\n--{boundary}--\r\n",
            self.pidf()
        );
        body.extend_from_slice(part.as_bytes());
        w.finish_body(&body)
    }

    /// The document: one device with one location (RFC 5491 section 3). Where her browser has said where she is, that is the
    /// device's; the address that is on file is then hers as a person, for it may be another place (section 3.3, rule 5).
    fn pidf(&self) -> String {
        let (shown, domain) = (self.shown, escaped(self.domain));
        let parts = self.parts();
        let circles = if self.place.position.is_some() { CIRCLES } else { "" };
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n\
             <presence xmlns=\"urn:ietf:params:xml:ns:pidf\" xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" \
             xmlns:gp=\"urn:ietf:params:xml:ns:pidf:geopriv10\" \
             xmlns:gbp=\"urn:ietf:params:xml:ns:pidf:geopriv10:basicPolicy\" \
             xmlns:ca=\"urn:ietf:params:xml:ns:pidf:geopriv10:civicAddr\"{circles} entity=\"pres:{shown}@{domain}\">\r\n{parts}</presence>"
        )
    }

    fn parts(&self) -> String {
        let civic = self.place.civic.as_ref().map(|civic| self.geopriv(&civic_address(civic.reveal()), "Manual"));
        let (shown, now) = (self.shown, wall::rfc3339(self.wall));
        let device = |geopriv: String, at: &str| {
            format!(
                "  <dm:device id=\"target\">\r\n{geopriv}    <dm:deviceID>tel:{shown}</dm:deviceID>\r\n\
                 \x20   <dm:timestamp>{at}</dm:timestamp>\r\n  </dm:device>\r\n"
            )
        };
        let Some(position) = self.place.position else {
            return civic.map(|geopriv| device(geopriv, &now)).unwrap_or_default();
        };
        let position = position.reveal();
        let measured = self.geopriv(&format!("        {}\r\n", position.circle()), "DBH");
        let person = civic.map(|geopriv| {
            format!("  <dm:person id=\"profile\">\r\n{geopriv}    <dm:timestamp>{now}</dm:timestamp>\r\n  </dm:person>\r\n")
        });
        device(measured, &wall::rfc3339(position.at())) + &person.unwrap_or_default()
    }

    /// A location by this method (IANA "Method Tokens"; DBH: the device's own, from whatever it has).
    fn geopriv(&self, info: &str, method: &str) -> String {
        let expires = wall::rfc3339(self.wall + self.retention);
        format!(
            "    <gp:geopriv>\r\n      <gp:location-info>\r\n{info}      </gp:location-info>\r\n      <gp:usage-rules>\r\n\
             \x20       <gbp:retransmission-allowed>true</gbp:retransmission-allowed>\r\n\
             \x20       <gbp:retention-expiry>{expires}</gbp:retention-expiry>\r\n      </gp:usage-rules>\r\n\
             \x20     <gp:method>{method}</gp:method>\r\n    </gp:geopriv>\r\n"
        )
    }
}

/// RFC 5139 section 4.
fn civic_address(civic: &Civic) -> String {
    let mut elements = String::new();
    for (name, value) in civic.elements() {
        let _ = write!(elements, "          <ca:{name}>{}</ca:{name}>\r\n", escaped(value));
    }
    format!("        <ca:civicAddress>\r\n{elements}        </ca:civicAddress>\r\n")
}

/// Moves into the part with the body that it is about.
const fn describes_the_body(name: Name) -> bool {
    matches!(name, Name::ContentType | Name::ContentDisposition | Name::ContentEncoding | Name::ContentLanguage | Name::ContentId)
}

/// As XML's character data and attribute values want it; what XML 1.0 has no character for becomes a blank.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\u{fffe}' | '\u{ffff}' => out.push(' '),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::{Position, Private};
    use std::sync::Arc;

    #[test]
    fn a_civic_address_is_read_whatever_its_prefixes_and_order() {
        let xml = "<?xml version='1.0'?><presence><x:civicAddress xml:lang='en'><x:A1>WA</x:A1><x:A3>Redmond</x:A3>\
                   <x:RD>Main &amp; Co</x:RD><x:STS>St</x:STS><x:HNO>1</x:HNO><x:FLR>2</x:FLR><x:ROOM/></x:civicAddress></presence>";
        assert_eq!(in_words(xml).as_deref(), Some("1 Main & Co St, floor 2, Redmond, WA"));
        let circle = "<gs:Circle srsName=\"urn:ogc:def:crs:EPSG::4326\"><gml:pos>47.6 -122.1</gml:pos>\
                      <gs:radius uom=\"urn:ogc:def:uom:EPSG::9001\">30</gs:radius></gs:Circle>";
        assert_eq!(in_words(circle).as_deref(), Some("47.6 -122.1, within 30 m"));
        for broken in ["", "<", "<RD", "<RD>", "</RD>", "<presence/>", "<RD><b/></RD>", "plain text > <"] {
            assert_eq!(in_words(broken), None, "{broken}");
        }
    }

    #[test]
    fn no_field_can_break_the_document() {
        let civic = Civic { street: Some("</ca:RD>&\"'\u{1}\u{ffff}]]>".to_owned()), ..Civic::default() };
        let shown = E164::parse("+14255550100").expect("a number");
        let (wall, retention) = (Duration::from_secs(1_763_840_491), Duration::from_secs(3600));
        let place = Place::of(Some(Private::new(Arc::new(civic))), None).expect("a place");
        let added = Added { place: &place, shown, domain: "gw1.example.com", unique: b"u", wall, retention };
        let pidf = added.pidf();
        assert!(pidf.contains("<ca:RD>&lt;/ca:RD&gt;&amp;&quot;&apos;  ]]&gt;</ca:RD>"), "{pidf}");
        assert!(pidf.contains("<gbp:retention-expiry>2025-11-22T20:41:31Z</gbp:retention-expiry>"), "{pidf}");
    }

    #[test]
    fn where_a_browser_says_that_she_is_comes_before_the_address_on_file() {
        let civic = Civic { street: Some("Main St".to_owned()), ..Civic::default() };
        let measured = Duration::from_secs(1_763_840_431);
        let position = Position::new(47.674_12, -122.121_5, 20.0, measured).expect("a position");
        let place = Place::of(Some(Private::new(Arc::new(civic))), Some(Private::new(position))).expect("a place");
        let shown = E164::parse("+14255550100").expect("a number");
        let (wall, retention) = (Duration::from_secs(1_763_840_491), Duration::from_secs(3600));
        let pidf = Added { place: &place, shown, domain: "gw1.example.com", unique: b"u", wall, retention }.pidf();
        let (device, person) = pidf.split_once("<dm:person").expect("both");
        assert!(device.contains("EPSG::4326") && device.contains("<gp:method>DBH</gp:method>"), "{pidf}");
        assert!(device.contains("<dm:timestamp>2025-11-22T19:40:31Z<"), "its age can be told: {pidf}");
        assert!(person.contains("<ca:RD>Main</ca:RD>") && person.contains("<gp:method>Manual</gp:method>"), "{pidf}");
        assert_eq!(place.line().reveal(), "47.674120, -122.121500 within 20 m (2025-11-22T19:40:31Z); on file: Main St");
    }
}

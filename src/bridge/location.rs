//! Where the caller is: reading what a call brings, and writing the agent's own place where it brings nothing
//! (RFC 6442, RFC 4119, RFC 5139, RFC 5491).
//!
//! What a call brings is never changed; it is read here for the contacts only. Whether the agent's place is added
//! is the story's decision, see [`Trunk::adds_location`](crate::emergency::site::Trunk).

use crate::emergency::notice::BROUGHT;
use crate::sip::write::Writer;
use crate::sip::{Message, Name, sdp};
use crate::words::{Civic, E164, wall};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

/// A text that a call brings is no longer than this for the contacts.
const LONGEST: usize = 200;

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
    pub(super) civic: &'a Civic,
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

    /// The document: one device with one civic address (RFC 5491 section 3).
    fn pidf(&self) -> String {
        let mut civic = String::new();
        for (name, value) in self.civic.elements() {
            let _ = write!(civic, "          <ca:{name}>{}</ca:{name}>\r\n", escaped(value));
        }
        let (shown, domain) = (self.shown, escaped(self.domain));
        let (now, expires) = (wall::rfc3339(self.wall), wall::rfc3339(self.wall + self.retention));
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n\
             <presence xmlns=\"urn:ietf:params:xml:ns:pidf\" xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" \
             xmlns:gp=\"urn:ietf:params:xml:ns:pidf:geopriv10\" \
             xmlns:gbp=\"urn:ietf:params:xml:ns:pidf:geopriv10:basicPolicy\" \
             xmlns:ca=\"urn:ietf:params:xml:ns:pidf:geopriv10:civicAddr\" entity=\"pres:{shown}@{domain}\">\r\n\
             \x20 <dm:device id=\"target\">\r\n    <gp:geopriv>\r\n      <gp:location-info>\r\n        <ca:civicAddress>\r\n{civic}\
             \x20       </ca:civicAddress>\r\n      </gp:location-info>\r\n      <gp:usage-rules>\r\n\
             \x20       <gbp:retransmission-allowed>true</gbp:retransmission-allowed>\r\n\
             \x20       <gbp:retention-expiry>{expires}</gbp:retention-expiry>\r\n      </gp:usage-rules>\r\n\
             \x20     <gp:method>Manual</gp:method>\r\n    </gp:geopriv>\r\n    <dm:deviceID>tel:{shown}</dm:deviceID>\r\n\
             \x20   <dm:timestamp>{now}</dm:timestamp>\r\n  </dm:device>\r\n</presence>"
        )
    }
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
        let added = Added { civic: &civic, shown, domain: "gw1.example.com", unique: b"u", wall, retention };
        let pidf = added.pidf();
        assert!(pidf.contains("<ca:RD>&lt;/ca:RD&gt;&amp;&quot;&apos;  ]]&gt;</ca:RD>"), "{pidf}");
        assert!(pidf.contains("<gbp:retention-expiry>2025-11-22T20:41:31Z</gbp:retention-expiry>"), "{pidf}");
    }
}

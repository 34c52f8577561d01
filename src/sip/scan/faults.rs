//! What is wrong with a readable message.

use std::ops::{BitOr, BitOrAssign};

/// What is wrong with a readable message: a set. An ordinary request with a fault is answered
/// [`Faults::status`]; an emergency is placed all the same (RULES R4); a response with a fault in the fields that
/// match it to its request is dropped.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Faults(u32);

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = $bit:literal $text:literal;)*) => {
        impl Faults {
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*

            /// The gravest fault in words, for a reason phrase or a Warning; `"OK"` if there is none.
            pub fn describe(self) -> &'static str {
                $(if self.contains(Self::$name) { return $text; })*
                "OK"
            }

            const ALL: &[(Self, &'static str)] = &[$((Self::$name, stringify!($name)),)*];
        }
    };
}

faults! {
    /// A version that is not SIP/2.0: answered 505.
    VERSION = 0 "Version Not Supported";
    /// The start line has extra blanks, a URI in brackets, junk at its end, no URI or no version.
    BAD_START_LINE = 1 "Malformed Start Line";
    /// The Request-URI is a SIP URI that breaks the grammar, or one with header fields (RFC 3261 section 19.1.1).
    BAD_REQUEST_URI = 2 "Malformed Request-URI";
    /// No Via.
    MISSING_VIA = 3 "Missing Via";
    /// No From.
    MISSING_FROM = 4 "Missing From";
    /// No To.
    MISSING_TO = 5 "Missing To";
    /// No Call-ID, or an empty one.
    MISSING_CALL_ID = 6 "Missing Call-ID";
    /// No CSeq.
    MISSING_CSEQ = 7 "Missing CSeq";
    /// Two Call-ID, From, To or CSeq.
    DUPLICATE = 8 "Duplicate Header Field";
    /// CSeq is not a number below 2^32 and a method.
    BAD_CSEQ = 9 "Malformed CSeq";
    /// The method of CSeq is not that of the request.
    CSEQ_METHOD = 10 "CSeq Method Mismatch";
    /// Content-Length is no number; a negative one is none.
    BAD_CONTENT_LENGTH = 11 "Malformed Content-Length";
    /// Two Content-Length that differ.
    DIFFERING_CONTENT_LENGTH = 12 "Differing Content-Length";
    /// Content-Length is larger than what is there, by more than miscounted line ends.
    SHORT_BODY = 13 "Body Shorter Than Content-Length";
    /// A header line without colon or with an illegal name.
    BAD_HEADER_LINE = 14 "Malformed Header Line";
    /// A CR that ends no line.
    BARE_CR = 15 "Stray Carriage Return";
    /// The message ends before the empty line, and no Content-Length says that this was all.
    UNTERMINATED = 16 "Missing Empty Line";
    /// More header fields than are kept.
    TOO_MANY_HEADERS = 17 "Too Many Header Fields";
    /// A Via that breaks the grammar.
    BAD_VIA = 18 "Malformed Via";
    /// A From that breaks the grammar.
    BAD_FROM = 19 "Malformed From";
    /// A To that breaks the grammar.
    BAD_TO = 20 "Malformed To";
    /// A Call-ID with blanks or controls in it.
    BAD_CALL_ID = 21 "Malformed Call-ID";
    /// Max-Forwards is no number.
    BAD_MAX_FORWARDS = 22 "Malformed Max-Forwards";
    /// A Contact that breaks the grammar.
    BAD_CONTACT = 23 "Malformed Contact";
    /// No Content-Length on a stream (RFC 3261 section 18.3).
    MISSING_CONTENT_LENGTH = 24 "Missing Content-Length";
    /// More than is taken from a stream: answered 513.
    TOO_LARGE = 25 "Message Too Large";
}

impl Faults {
    /// No fault.
    pub const NONE: Self = Self(0);

    /// What keeps a response from being matched to its request and acted on.
    pub const UNMATCHABLE: Self = Self(
        Self::VERSION.0
            | Self::MISSING_VIA.0
            | Self::MISSING_FROM.0
            | Self::MISSING_TO.0
            | Self::MISSING_CALL_ID.0
            | Self::MISSING_CSEQ.0
            | Self::BAD_CSEQ.0
            | Self::DUPLICATE.0,
    );

    /// The fault, unless this is sound.
    pub(super) const fn unless(sound: bool, fault: Self) -> Self {
        if sound { Self::NONE } else { fault }
    }

    /// Whether nothing is wrong.
    pub const fn is_clean(self) -> bool {
        self.0 == 0
    }

    /// Whether all of these are among the faults.
    pub const fn contains(self, these: Self) -> bool {
        self.0 & these.0 == these.0
    }

    /// Whether any of these is among the faults.
    pub const fn intersects(self, these: Self) -> bool {
        self.0 & these.0 != 0
    }

    /// The status that answers an ordinary request with these faults: 505 for another version, 513 for too large a
    /// message, else 400.
    pub const fn status(self) -> u16 {
        if self.contains(Self::VERSION) {
            505
        } else if self.contains(Self::TOO_LARGE) {
            513
        } else {
            400
        }
    }
}

impl BitOr for Faults {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Faults {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(Self::ALL.iter().filter(|(fault, _)| self.contains(*fault)).map(|(_, name)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::Faults;

    #[test]
    fn the_gravest_fault_is_described_and_a_foreign_version_is_505() {
        let f = Faults::BAD_CONTACT | Faults::MISSING_CALL_ID;
        assert_eq!((f.describe(), f.status(), f.is_clean()), ("Missing Call-ID", 400, false));
        assert_eq!(((f | Faults::VERSION).status(), (f | Faults::TOO_LARGE).status()), (505, 513));
        assert_eq!((Faults::NONE.describe(), Faults::NONE.is_clean()), ("OK", true));
        assert_eq!(format!("{f:?}"), "{\"MISSING_CALL_ID\", \"BAD_CONTACT\"}");
    }
}

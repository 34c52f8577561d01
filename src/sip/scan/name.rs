//! The names of methods and header fields, and how they are found.

/// A request method. Methods are told apart by case (RFC 3261 section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// RFC 3261 section 13
    Invite,
    /// RFC 3261 section 17.1.1.3
    Ack,
    /// RFC 3261 section 15
    Bye,
    /// RFC 3261 section 9
    Cancel,
    /// RFC 3261 section 11
    Options,
    /// RFC 3261 section 10
    Register,
    /// RFC 3262
    Prack,
    /// RFC 3311
    Update,
    /// RFC 6086
    Info,
    /// RFC 3515
    Refer,
    /// RFC 6665
    Subscribe,
    /// RFC 6665
    Notify,
    /// RFC 3428
    Message,
    /// RFC 3903
    Publish,
    /// Any other token: answered 405 or 501, but read like the rest.
    Other,
}

impl Method {
    /// The method that is spelled so.
    pub fn of(b: &[u8]) -> Self {
        match b {
            b"INVITE" => Self::Invite,
            b"ACK" => Self::Ack,
            b"BYE" => Self::Bye,
            b"CANCEL" => Self::Cancel,
            b"OPTIONS" => Self::Options,
            b"REGISTER" => Self::Register,
            b"PRACK" => Self::Prack,
            b"UPDATE" => Self::Update,
            b"INFO" => Self::Info,
            b"REFER" => Self::Refer,
            b"SUBSCRIBE" => Self::Subscribe,
            b"NOTIFY" => Self::Notify,
            b"MESSAGE" => Self::Message,
            b"PUBLISH" => Self::Publish,
            _ => Self::Other,
        }
    }

    /// How the method is written; empty for [`Method::Other`].
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invite => "INVITE",
            Self::Ack => "ACK",
            Self::Bye => "BYE",
            Self::Cancel => "CANCEL",
            Self::Options => "OPTIONS",
            Self::Register => "REGISTER",
            Self::Prack => "PRACK",
            Self::Update => "UPDATE",
            Self::Info => "INFO",
            Self::Refer => "REFER",
            Self::Subscribe => "SUBSCRIBE",
            Self::Notify => "NOTIFY",
            Self::Message => "MESSAGE",
            Self::Publish => "PUBLISH",
            Self::Other => "",
        }
    }
}

macro_rules! names {
    ($($variant:ident $text:literal $($compact:literal)?;)*) => {
        /// The name of a header field: those of the IANA registry that a gateway meets, any case, compact or long.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Name {
            $(#[doc = concat!("`", $text, "`")] $variant,)*
            /// Any other name: [`Message::header_named`](super::Message::header_named) finds it by its text.
            Other,
        }

        impl Name {
            /// How the field is written in full; empty for [`Name::Other`].
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other => "",
                }
            }
        }

        const LONG: &[(&str, Name)] = &[$(($text, Name::$variant),)*];

        /// RFC 3261 section 7.3.3 and the registry's compact forms.
        const fn compact(letter: u8) -> Name {
            match letter {
                $($($compact => Name::$variant,)?)*
                _ => Name::Other,
            }
        }
    };
}

names! {
    Accept "Accept";
    AcceptContact "Accept-Contact" b'a';
    AcceptEncoding "Accept-Encoding";
    AcceptLanguage "Accept-Language";
    AcceptResourcePriority "Accept-Resource-Priority";
    AlertInfo "Alert-Info";
    Allow "Allow";
    AllowEvents "Allow-Events" b'u';
    AnswerMode "Answer-Mode";
    AuthenticationInfo "Authentication-Info";
    Authorization "Authorization";
    CallId "Call-ID" b'i';
    CallInfo "Call-Info";
    Contact "Contact" b'm';
    ContentDisposition "Content-Disposition";
    ContentEncoding "Content-Encoding" b'e';
    ContentId "Content-ID";
    ContentLanguage "Content-Language";
    ContentLength "Content-Length" b'l';
    ContentType "Content-Type" b'c';
    CSeq "CSeq";
    Date "Date";
    Diversion "Diversion";
    ErrorInfo "Error-Info";
    Event "Event" b'o';
    Expires "Expires";
    FlowTimer "Flow-Timer";
    From "From" b'f';
    Geolocation "Geolocation";
    GeolocationError "Geolocation-Error";
    GeolocationRouting "Geolocation-Routing";
    HistoryInfo "History-Info";
    Identity "Identity" b'y';
    IdentityInfo "Identity-Info" b'n';
    InReplyTo "In-Reply-To";
    Join "Join";
    MaxForwards "Max-Forwards";
    MimeVersion "MIME-Version";
    MinExpires "Min-Expires";
    MinSe "Min-SE";
    Organization "Organization";
    PAccessNetworkInfo "P-Access-Network-Info";
    PAssertedIdentity "P-Asserted-Identity";
    PAssociatedUri "P-Associated-URI";
    Path "Path";
    PCalledPartyId "P-Called-Party-ID";
    PChargingVector "P-Charging-Vector";
    PPreferredIdentity "P-Preferred-Identity";
    Priority "Priority";
    Privacy "Privacy";
    ProxyAuthenticate "Proxy-Authenticate";
    ProxyAuthorization "Proxy-Authorization";
    ProxyRequire "Proxy-Require";
    RAck "RAck";
    Reason "Reason";
    RecordRoute "Record-Route";
    ReferredBy "Referred-By" b'b';
    ReferTo "Refer-To" b'r';
    RejectContact "Reject-Contact" b'j';
    RemotePartyId "Remote-Party-ID";
    Replaces "Replaces";
    ReplyTo "Reply-To";
    RequestDisposition "Request-Disposition" b'd';
    Require "Require";
    ResourcePriority "Resource-Priority";
    RetryAfter "Retry-After";
    Route "Route";
    RSeq "RSeq";
    Server "Server";
    ServiceRoute "Service-Route";
    SessionExpires "Session-Expires" b'x';
    SipEtag "SIP-ETag";
    SipIfMatch "SIP-If-Match";
    Subject "Subject" b's';
    SubscriptionState "Subscription-State";
    Supported "Supported" b'k';
    Timestamp "Timestamp";
    To "To" b't';
    Unsupported "Unsupported";
    UserAgent "User-Agent";
    UserToUser "User-to-User";
    Via "Via" b'v';
    Warning "Warning";
    WwwAuthenticate "WWW-Authenticate";
    XEmergencyCountry "X-Emergency-Country";
}

impl Name {
    /// The name that is spelled so, long or compact, any case.
    pub fn of(b: &[u8]) -> Self {
        if let [letter] = b {
            return compact(letter.to_ascii_lowercase());
        }
        let (Some(first), Some(row)) = (b.first(), LOOKUP.starts.get(b.len())) else { return Self::Other };
        let mut at = usize::from(row[usize::from(first & 31)]);
        while let Some((text, name)) = LOOKUP.names.get(at) {
            // Most spell it as we do, and then one comparison of memory is enough.
            if text.as_bytes() == b || text.as_bytes().eq_ignore_ascii_case(b) {
                return *name;
            }
            at += 1;
            if text.len() != b.len() {
                break;
            }
        }
        Self::Other
    }
}

/// The long names sorted by length and first letter, so that hardly ever more than one is compared. `starts[n][l]` is where
/// those of length `n` begin whose first letter has `l` in its five low bits; behind the last one
/// where there are none.
struct Lookup {
    names: [(&'static str, Name); LONG.len()],
    starts: [[u8; 32]; LONGEST + 1],
}

const LONGEST: usize = 24;

static LOOKUP: Lookup = lookup();

const fn lookup() -> Lookup {
    let mut table = Lookup { names: [("", Name::Other); LONG.len()], starts: [[LONG.len() as u8; 32]; LONGEST + 1] };
    let (mut length, mut at) = (0, 0);
    while length <= LONGEST {
        let mut letter = 0;
        while letter < 32 {
            let mut i = 0;
            while i < LONG.len() {
                let text = LONG[i].0;
                if text.len() == length && (text.as_bytes()[0] & 31) as usize == letter {
                    if table.starts[length][letter] as usize == LONG.len() {
                        table.starts[length][letter] = at as u8;
                    }
                    table.names[at] = LONG[i];
                    at += 1;
                }
                i += 1;
            }
            letter += 1;
        }
        length += 1;
    }
    assert!(at == LONG.len(), "every name is at most LONGEST long");
    table
}

#[cfg(test)]
mod tests {
    use super::{LONG, Method, Name};

    #[test]
    fn every_name_is_found_in_any_case() {
        for &(text, name) in LONG {
            for spelled in [text.to_owned(), text.to_lowercase(), text.to_uppercase()] {
                assert_eq!(Name::of(spelled.as_bytes()), name, "{spelled}");
            }
            assert_eq!(name.as_str(), text);
            assert_eq!(Name::of(format!("{text}x").as_bytes()), Name::Other);
        }
        for other in ["", "X-Foo", "Callid", "a-name-that-is-longer-than-any-of-ours", "z", "q"] {
            assert_eq!(Name::of(other.as_bytes()), Name::Other, "{other}");
        }
    }

    #[test]
    fn compact_names_are_those_of_the_registry() {
        let pairs = [
            ('a', Name::AcceptContact),
            ('b', Name::ReferredBy),
            ('c', Name::ContentType),
            ('d', Name::RequestDisposition),
            ('e', Name::ContentEncoding),
            ('f', Name::From),
            ('i', Name::CallId),
            ('j', Name::RejectContact),
            ('k', Name::Supported),
            ('l', Name::ContentLength),
            ('m', Name::Contact),
            ('n', Name::IdentityInfo),
            ('o', Name::Event),
            ('r', Name::ReferTo),
            ('s', Name::Subject),
            ('t', Name::To),
            ('u', Name::AllowEvents),
            ('v', Name::Via),
            ('x', Name::SessionExpires),
            ('y', Name::Identity),
        ];
        for (letter, name) in pairs {
            assert_eq!(Name::of(letter.to_string().as_bytes()), name, "{letter}");
            assert_eq!(Name::of(letter.to_uppercase().to_string().as_bytes()), name, "{letter}");
        }
    }

    #[test]
    fn methods_are_told_apart_by_case() {
        for m in [Method::Invite, Method::Ack, Method::Prack, Method::Publish, Method::Subscribe] {
            assert_eq!(Method::of(m.as_str().as_bytes()), m);
        }
        assert_eq!(Method::of(b"invite"), Method::Other);
    }
}

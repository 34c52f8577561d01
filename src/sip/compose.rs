//! Requests that are our own: the only place that names `rsip`.
//!
//! OPTIONS and REGISTER to a trunk, PUBLISH to a presence server. Relayed messages are not composed here: those are copy-edited
//! from their own bytes.

use super::flow::Transport;
use bytes::Bytes;
use rsip::headers::{ContentType, Event, Expires, UserAgent};
use rsip::{Header, Headers, HostWithPort, Method, Param, Request, Scheme, Uri, Version};

/// What a request outside any dialog begins with.
pub struct Plain<'a> {
    /// The user at the far end, if one is meant.
    pub user: Option<&'a str>,
    /// `host[:port]` of the far end.
    pub host: &'a str,
    /// What the URI says of the transport.
    pub transport: Transport,
    /// The Via value, from [`Endpoint::begin_plain`](super::Endpoint::begin_plain).
    pub via: String,
    /// Our URI without brackets.
    pub from: &'a str,
    /// Unique for this request, or for this publication: Call-ID and From tag.
    pub id: &'a str,
    /// The CSeq number.
    pub seq: u32,
}

/// Asks for the far end's health (RFC 3261 section 11). `contact` says where we are: carriers know a neighbour by it.
pub fn options(plain: Plain<'_>, contact: &str) -> Bytes {
    let mut headers = plain.headers("OPTIONS", &plain.uri().to_string());
    headers.push(rsip::headers::Contact::from(contact).into());
    headers.push(Header::Accept("application/sdp".into()));
    finish(Method::Options, plain.uri(), headers, Vec::new())
}

/// A binding of the address `from` to `contact` for so many seconds (RFC 3261 section 10.2).
pub fn register(plain: Plain<'_>, contact: &str, expires: u32) -> Bytes {
    let mut headers = plain.headers("REGISTER", plain.from);
    headers.push(rsip::headers::Contact::from(contact).into());
    headers.push(Expires::from(expires).into());
    finish(Method::Register, plain.uri(), headers, Vec::new())
}

/// An event state publication (RFC 3903). `etag` refers to the one to be changed; an empty body with `expires` 0 removes it.
pub fn publish(plain: Plain<'_>, event: &str, etag: Option<&str>, expires: u32, content_type: &str, body: Vec<u8>) -> Bytes {
    let mut headers = plain.headers("PUBLISH", &plain.uri().to_string());
    headers.push(Event::from(event).into());
    headers.push(Expires::from(expires).into());
    if let Some(etag) = etag {
        headers.push(Header::Other("SIP-If-Match".into(), etag.into()));
    }
    if !body.is_empty() {
        headers.push(ContentType::from(content_type).into());
    }
    finish(Method::Publish, plain.uri(), headers, body)
}

/// The `transport` parameter of a URI; UDP needs none.
const fn param(transport: Transport) -> Option<rsip::Transport> {
    match transport {
        Transport::Udp => None,
        Transport::Tcp => Some(rsip::Transport::Tcp),
        Transport::Tls => Some(rsip::Transport::Tls),
        Transport::Ws | Transport::Wss => Some(rsip::Transport::Ws),
    }
}

impl Plain<'_> {
    fn uri(&self) -> Uri {
        Uri {
            scheme: Some(Scheme::Sip),
            auth: self.user.map(|u| rsip::Auth { user: u.into(), password: None }),
            host_with_port: HostWithPort { host: rsip::Host::Domain(self.host.into()), port: None },
            params: param(self.transport).map(Param::Transport).into_iter().collect(),
            headers: Vec::new(),
        }
    }

    fn headers(&self, method: &str, to: &str) -> Headers {
        let mut headers = Headers::default();
        headers.push(rsip::headers::Via::from(self.via.as_str()).into());
        headers.push(rsip::headers::MaxForwards::from(70u32).into());
        headers.push(rsip::headers::From::from(format!("<{}>;tag={}", self.from, self.id)).into());
        headers.push(rsip::headers::To::from(format!("<{to}>")).into());
        headers.push(rsip::headers::CallId::from(self.id).into());
        headers.push(rsip::headers::CSeq::from(format!("{} {method}", self.seq)).into());
        headers.push(UserAgent::from("e911d").into());
        headers
    }
}

fn finish(method: Method, uri: Uri, mut headers: Headers, body: Vec<u8>) -> Bytes {
    headers.push(rsip::headers::ContentLength::from(body.len() as u32).into());
    let request = Request { method, uri, version: Version::V2, headers, body };
    Bytes::from(Vec::<u8>::from(request))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::{Message, Name};

    fn plain(host: &str) -> Plain<'_> {
        Plain {
            user: None,
            host,
            transport: Transport::Tcp,
            via: "SIP/2.0/TCP [::1]:5060;branch=z9hG4bKx;rport".into(),
            from: "sip:gw.example.com",
            id: "e900",
            seq: 7,
        }
    }

    #[test]
    fn what_rsip_composes_our_own_scanner_reads_without_a_fault() {
        for host in ["192.0.2.10", "192.0.2.10:5070", "[2001:db8::1]:5060"] {
            let msg = Message::scan(options(plain(host), "<sip:gw.example.com:5061;transport=tls>")).expect("a message");
            assert!(msg.faults().is_clean(), "{:?}", msg.faults());
            assert_eq!(msg.uri(), format!("sip:{host};transport=TCP").as_bytes());
            assert_eq!(msg.cseq(), Some((7, &b"OPTIONS"[..])));
            assert_eq!(msg.get(Name::Contact), Some(&b"<sip:gw.example.com:5061;transport=tls>"[..]));
        }
        let body = b"<presence/>".to_vec();
        let publication = Plain { user: Some("alice"), ..plain("192.0.2.10") };
        let msg =
            Message::scan(publish(publication, "presence", Some("e1"), 3600, "application/pidf+xml", body)).expect("a message");
        assert!(msg.faults().is_clean(), "{:?}", msg.faults());
        assert_eq!(msg.get(Name::SipIfMatch), Some(&b"e1"[..]));
        assert_eq!(msg.body(), b"<presence/>");
    }
}

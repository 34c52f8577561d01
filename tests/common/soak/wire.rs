//! SIP as it is read and written by the thousand: one pass over a message, and no more copies than are kept.

use std::net::SocketAddr;

/// A message of the gateway's, as far as anybody here looks at it.
#[derive(Debug, Default)]
pub struct Seen<'a> {
    start: &'a str,
    /// Via, From, To, Call-ID, CSeq, Record-Route: what a response repeats, line ends included.
    pub head: String,
    /// Values.
    pub from: &'a str,
    pub to: &'a str,
    pub call_id: &'a str,
    pub cseq: &'a str,
    pub via: &'a str,
    pub has_retry_after: bool,
    contact: &'a str,
    /// After the empty line.
    pub body: &'a str,
}

impl<'a> Seen<'a> {
    /// `None`: no message.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let mut seen = Self { start: lines.next()?, body, ..Self::default() };
        for line in lines {
            let (name, value) = line.split_once(':')?;
            let value = value.trim();
            match name {
                "Via" => seen.via = value,
                "From" => seen.from = value,
                "To" => seen.to = value,
                "Call-ID" => seen.call_id = value,
                "CSeq" => seen.cseq = value,
                "Record-Route" => {}
                other => {
                    seen.contact = if other == "Contact" { value } else { seen.contact };
                    seen.has_retry_after |= other == "Retry-After";
                    continue;
                }
            }
            seen.head.push_str(line);
            seen.head.push_str("\r\n");
        }
        Some(seen)
    }

    /// Of a response; 0: it is a request.
    pub fn status(&self) -> u16 {
        self.start.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or(0)
    }

    /// Of a request, and what a response is to.
    pub fn method(&self) -> &'a str {
        let word = if self.status() == 0 { self.start.split(' ').next() } else { self.cseq.split(' ').nth(1) };
        word.unwrap_or_default()
    }

    /// The user of the Request-URI.
    pub fn dialed(&self) -> &'a str {
        user(self.start.split(' ').nth(1).unwrap_or_default())
    }

    /// The URI in Contact.
    pub fn target(&self) -> &'a str {
        uri(self.contact)
    }

    /// The session id of the offer, which the gateway passes on.
    pub fn session(&self) -> Option<u32> {
        self.body.split("\r\n").find_map(|line| line.strip_prefix("o="))?.split(' ').nth(1)?.parse().ok()
    }

    /// A response to this request, without a body.
    pub fn answered(&self, status: &str, tag: &str, contact: SocketAddr) -> String {
        let tagged = if self.to.contains(";tag=") { String::new() } else { format!(";tag={tag}") };
        let head = self.head.replacen(&format!("To: {}\r\n", self.to), &format!("To: {}{tagged}\r\n", self.to), 1);
        format!("SIP/2.0 {status}\r\n{head}Contact: <sip:callee@{contact}>\r\nContent-Length: 0\r\n\r\n")
    }

    /// The ACK to this final response to an INVITE of which nothing is known any more.
    pub fn acknowledged(&self) -> String {
        let uri = if self.contact.is_empty() { uri(self.to) } else { self.target() };
        let head = self.head.replacen(" INVITE\r\n", " ACK\r\n", 1);
        format!("ACK {uri} SIP/2.0\r\n{head}Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n")
    }
}

/// What stands in angle brackets.
pub fn uri(value: &str) -> &str {
    value.split_once('<').and_then(|(_, rest)| rest.split('>').next()).unwrap_or(value)
}

/// The user of a URI.
pub fn user(uri: &str) -> &str {
    uri.split_once(':').and_then(|(_, rest)| rest.split('@').next()).unwrap_or_default()
}

/// An offer or an answer in session `id`.
pub fn sdp(id: u32, at: SocketAddr) -> String {
    let ip = at.ip();
    format!("v=0\r\no=- {id} 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n")
}

/// A response that has no body gets this one.
pub fn with_body(response: &str, body: &str) -> String {
    let kind = format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    response.replacen("Content-Length: 0\r\n\r\n", &kind, 1)
}

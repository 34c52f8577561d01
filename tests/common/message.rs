//! SIP messages as the tests look at them: strict about what the gateway sends, simple in how they are read.

use std::net::SocketAddr;

/// A message that somebody received.
#[derive(Clone, Debug)]
pub struct Message {
    /// As it was on the wire.
    pub bytes: Vec<u8>,
    /// The first line.
    pub start: String,
    /// Name and value, in order; folded lines are joined.
    pub headers: Vec<(String, String)>,
    /// After the empty line.
    pub body: Vec<u8>,
    /// Who sent it, where that is known.
    pub from: Option<SocketAddr>,
}

impl Message {
    /// Reads a message; panics where it is none, since only the gateway or a peer program has sent it.
    pub fn parse(bytes: &[u8]) -> Self {
        let split = find(bytes, b"\r\n\r\n").unwrap_or_else(|| panic!("no end of headers:\n{}", String::from_utf8_lossy(bytes)));
        let head = String::from_utf8_lossy(&bytes[..split]).replace("\r\n ", " ").replace("\r\n\t", " ");
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let headers = lines
            .map(|line| line.split_once(':').unwrap_or_else(|| panic!("no header: {line}")))
            .map(|(name, value)| (long_name(name.trim()).to_owned(), value.trim().to_owned()))
            .collect();
        Self { bytes: bytes.to_vec(), start, headers, body: bytes[split + 4..].to_vec(), from: None }
    }

    /// How long the whole message is, if its headers are complete in these bytes of a stream.
    pub fn length_in_stream(bytes: &[u8]) -> Option<usize> {
        let head = find(bytes, b"\r\n\r\n")? + 4;
        let text = String::from_utf8_lossy(&bytes[..head]);
        let length = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            (long_name(name.trim()).eq_ignore_ascii_case("Content-Length")).then(|| value.trim().parse::<usize>().ok())?
        });
        Some(head + length.unwrap_or_else(|| panic!("no Content-Length on a stream:\n{text}")))
    }

    /// The same where the whole message is there.
    pub fn length_in_stream_if_whole(bytes: &[u8]) -> Option<usize> {
        Self::length_in_stream(bytes).filter(|length| *length <= bytes.len())
    }

    /// Whether it is a request.
    pub fn is_request(&self) -> bool {
        !self.start.starts_with("SIP/2.0 ")
    }

    /// The method; of a response, that of the CSeq.
    pub fn method(&self) -> &str {
        if self.is_request() { self.word(0) } else { self.header("CSeq").split(' ').next_back().unwrap_or_default() }
    }

    /// The Request-URI.
    pub fn uri(&self) -> &str {
        self.word(1)
    }

    /// The status, 0 for requests.
    pub fn status(&self) -> u16 {
        if self.is_request() { 0 } else { self.word(1).parse().unwrap_or(0) }
    }

    /// The first header of that name; panics where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.get(name).unwrap_or_else(|| panic!("no {name} in:\n{}", self.text()))
    }

    /// The first header of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// All headers of that name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// What stands in the angle brackets of a header, or the value without its parameters.
    pub fn uri_of(&self, name: &str) -> &str {
        let value = self.header(name);
        match value.split_once('<') {
            Some((_, rest)) => rest.split('>').next().unwrap_or_default(),
            None => value.split(';').next().unwrap_or_default(),
        }
    }

    /// The user of that URI.
    pub fn user_of(&self, name: &str) -> &str {
        user(self.uri_of(name))
    }

    /// The tag of From or To.
    pub fn tag_of(&self, name: &str) -> Option<&str> {
        self.header(name).split(";tag=").nth(1).map(|rest| rest.split(';').next().unwrap_or_default())
    }

    /// The number in CSeq.
    pub fn cseq(&self) -> u32 {
        self.header("CSeq").split(' ').next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("CSeq of:\n{}", self.text()))
    }

    /// Printable.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    fn word(&self, n: usize) -> &str {
        self.start.split(' ').nth(n).unwrap_or_default()
    }
}

/// The user of a SIP URI, or the number of a tel URI.
pub fn user(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    match rest.split_once('@') {
        Some((user, _)) => user,
        None => rest.split(';').next().unwrap_or_default(),
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|w| w == what)
}

fn long_name(name: &str) -> &str {
    match name {
        "v" => "Via",
        "f" => "From",
        "t" => "To",
        "i" => "Call-ID",
        "m" => "Contact",
        "l" => "Content-Length",
        "c" => "Content-Type",
        "k" => "Supported",
        name => name,
    }
}

//! A mailbox: an SMTP server of one page that takes every mail and hands it on (RFC 5321).
//!
//! Not a mail server: it knows no relaying, no TLS, and one connection at a time is enough for it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// A mail as it was received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mail {
    /// The recipients of the envelope.
    pub(super) to: Vec<String>,
    /// The Subject.
    pub(super) subject: String,
    /// The text, its transfer encoding undone.
    pub(super) text: String,
}

/// The open port.
pub(super) struct Mailbox {
    listener: TcpListener,
}

/// A mail that is larger is cut off; ours are a page.
const LARGEST: u64 = 1 << 20;
/// Whoever is silent for so long is left.
const PATIENCE: Duration = Duration::from_secs(10);

impl Mailbox {
    /// Opens a port on loopback.
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0))? })
    }

    /// Where it is.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Takes mails for as long as somebody wants them; each connection has a thread.
    pub(super) fn serve(self, deliver: impl Fn(Mail) -> bool + Clone + Send + 'static) {
        for stream in self.listener.incoming().flatten() {
            let deliver = deliver.clone();
            std::thread::spawn(move || converse(&stream, &deliver));
        }
    }
}

/// One connection. An error is the client's: it went away.
fn converse(stream: &TcpStream, deliver: &impl Fn(Mail) -> bool) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream.take(LARGEST));
    let say = |text: &str| (&mut &*stream).write_all(format!("{text}\r\n").as_bytes());
    say("220 mailbox.example.com ready")?;
    let mut mail = Mail::default();
    while let Some(line) = line(&mut lines)? {
        match command(&line).as_str() {
            "RCPT" => {
                mail.to.extend(address(&line));
                say("250 OK")?;
            }
            "DATA" => {
                say("354 go on")?;
                let (subject, text) = content(&data(&mut lines)?);
                let whole = Mail { to: std::mem::take(&mut mail.to), subject, text };
                say("250 taken")?;
                if !deliver(whole) {
                    return Ok(());
                }
            }
            "RSET" | "MAIL" => {
                mail = Mail::default();
                say("250 OK")?;
            }
            "QUIT" => return say("221 bye"),
            "EHLO" => say("250-mailbox.example.com\r\n250 8BITMIME")?,
            _ => say("250 OK")?,
        }
    }
    Ok(())
}

fn line(lines: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    let n = lines.read_until(b'\n', &mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok((n > 0).then(|| text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// The lines up to the single dot, the dots that were stuffed taken out (RFC 5321 section 4.5.2).
fn data(lines: &mut impl BufRead) -> io::Result<Vec<String>> {
    let mut all = Vec::new();
    while let Some(text) = line(lines)?.filter(|l| l != ".") {
        all.push(text.strip_prefix('.').map_or(text.clone(), str::to_owned));
    }
    Ok(all)
}

fn command(line: &str) -> String {
    line.split(' ').next().unwrap_or_default().to_ascii_uppercase()
}

fn address(line: &str) -> Option<String> {
    let (_, rest) = line.split_once('<')?;
    Some(rest.split('>').next()?.to_owned())
}

/// Subject and text of a mail with one part.
fn content(lines: &[String]) -> (String, String) {
    let (mut subject, mut quoted) = (String::new(), false);
    let head = lines.iter().position(String::is_empty).unwrap_or(lines.len());
    let mut in_subject = false;
    for line in lines.get(..head).unwrap_or_default() {
        let is_fold = line.starts_with([' ', '\t']);
        in_subject = (is_fold && in_subject) || line.to_ascii_lowercase().starts_with("subject:");
        quoted |= line.to_ascii_lowercase().starts_with("content-transfer-encoding:") && line.contains("quoted-printable");
        if in_subject {
            let part = if is_fold { line.as_str() } else { line.get("subject:".len()..).unwrap_or_default() };
            subject += part;
        }
    }
    let body = lines.get(head + 1..).unwrap_or_default().join("\n");
    (subject.trim().to_owned(), if quoted { unquoted(&body) } else { body })
}

/// Quoted-printable undone (RFC 2045 section 6.7); what is no escape stays.
fn unquoted(text: &str) -> String {
    let joined = text.replace("=\n", "");
    let mut out = Vec::with_capacity(joined.len());
    let mut rest = joined.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = if first == b'=' { escaped(after) } else { None };
        out.push(escaped.unwrap_or(first));
        rest = after.get(if escaped.is_some() { 2 } else { 0 }..).unwrap_or_default();
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The byte that the two digits behind a `=` stand for.
fn escaped(after: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(after.get(..2)?).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_mail_is_taken_and_read() {
        let mailbox = Mailbox::open().unwrap();
        let at = mailbox.address().unwrap();
        let (tx, rx) = mpsc::channel();
        std::thread::spawn(move || mailbox.serve(move |mail| tx.send(mail).is_ok()));
        let mut stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let said = "EHLO h\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\nFrom: a@x\r\nSubject: One\r\n two\r\n\
            Content-Transfer-Encoding: quoted-printable\r\n\r\n..dot caf=C3=A9 =\r\nsoft 1=1\r\n.\r\nQUIT\r\n";
        stream.write_all(said.as_bytes()).unwrap();
        let mail = rx.recv_timeout(Duration::from_secs(5)).unwrap();
        let want = Mail { to: vec!["b@y".into()], subject: "One two".into(), text: ".dot café soft 1=1".into() };
        assert_eq!(mail, want);
        let mut heard = String::new();
        stream.read_to_string(&mut heard).unwrap();
        assert!(heard.starts_with("220 ") && heard.contains("354 ") && heard.ends_with("221 bye\r\n"), "{heard}");
    }
}

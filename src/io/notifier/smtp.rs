//! Mail by SMTP (RFC 5321, through lettre): a notice becomes one MIME message and one envelope per recipient.
//!
//! Not the schedule: when a letter is tried again is [`super::outbox`]'s business. [`Smtp::letters`] writes,
//! [`Smtp::deliver`] sends one letter over a connection of its own, so that whatever happens to one recipient
//! happens to no other.

use super::failure::Failure;
use super::outbox::{Letter, Way};
use super::server::{BadServer, Security, Server, client_id};
use super::template::Written;
use crate::emergency::notice::{Kind, Notice};
use crate::emergency::privacy::Outcome;
use crate::words::Private;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MessageBuilder, SinglePart};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::DEFAULT_MECHANISMS;
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use lettre::{Address, Message};
use std::future::Future;
use std::sync::{Once, OnceLock};
use std::time::{Duration, UNIX_EPOCH};

/// How long a server may take. RFC 5321 section 4.5.3.2 recommends 5 min for each command; it is less here, so that the
/// next try comes while it still helps. A whole message keeps the recommended 10 min: who gives up there sends it twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// To connect, greet, agree on TLS and log in.
    pub greeting: Duration,
    /// For MAIL, RCPT and DATA together.
    pub commands: Duration,
    /// For the message and its answer.
    pub message: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { greeting: Duration::from_secs(60), commands: Duration::from_secs(60), message: Duration::from_secs(600) }
    }
}

/// A server may take this long over QUIT; by then everything is decided.
const GOODBYE: Duration = Duration::from_secs(5);

/// A mail server, and whom mails come from.
pub struct Smtp {
    server: Server,
    from: Mailbox,
    hello: ClientId,
    patience: Patience,
    tls: OnceLock<TlsParameters>,
}

impl Smtp {
    /// Reads `notify.smtp` and `notify.from`. `host` is what EHLO says where the URL does not: the node's domain.
    /// Opens nothing.
    pub fn new(url: &str, from: &str, host: &str) -> Result<Self, BadServer> {
        let server = Server::parse(url)?;
        let from = from.parse().map_err(|_| BadServer::From)?;
        let hello = server.hello.clone().or_else(|| client_id(host)).unwrap_or_default();
        Ok(Self { server, from, hello, patience: Patience::default(), tls: OnceLock::new() })
    }

    /// Other limits of time.
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// One letter for each recipient, and how many recipients cannot have one because they are no addresses.
    ///
    /// `wall` is the mails' Date, since the Unix epoch; `series` is the notice's own part of every Message-ID, so that
    /// a letter that is sent again can be known again.
    pub fn letters(&self, notice: &Notice, written: &Written, wall: Duration, series: &str) -> (Vec<Letter>, usize) {
        let contacts = notice.contacts.reveal();
        let mut letters = Vec::with_capacity(contacts.len());
        for (place, contact) in contacts.iter().enumerate() {
            letters.extend(self.letter(contact, notice, written, wall, format!("{series}.{place}")));
        }
        let rejected = contacts.len() - letters.len();
        (letters, rejected)
    }

    /// Sends a letter over a connection of its own.
    pub async fn deliver(&self, letter: &Letter) -> Result<(), Failure> {
        let to: Address = letter.to.reveal().parse().map_err(|_| Failure::Internal)?;
        let mut connection = within(self.patience.greeting, Failure::Unreachable, self.connect()).await?;
        let sent = self.send(&mut connection, to, letter.content.reveal()).await;
        // Decided: a server that is slow to say goodbye changes nothing any more, and nobody waits for it.
        tokio::spawn(async move { tokio::time::timeout(GOODBYE, connection.quit()).await });
        sent
    }

    /// Connects, greets, agrees on TLS and logs in as for a letter, and sends none.
    pub async fn greet(&self, patience: Duration) -> Result<(), Failure> {
        let mut connection = within(patience, Failure::Unreachable, self.connect()).await?;
        tokio::spawn(async move { tokio::time::timeout(GOODBYE, connection.quit()).await });
        Ok(())
    }

    fn letter(&self, contact: &str, notice: &Notice, written: &Written, wall: Duration, name: String) -> Option<Letter> {
        let to: Address = contact.parse().ok()?;
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(written.subject.as_str())
            .date(UNIX_EPOCH + wall)
            .message_id(Some(format!("<{name}@{}>", self.from.email.domain())));
        let message = header(message, "Auto-Submitted", "auto-generated"); // RFC 3834: no holiday replies
        let message = header(message, "Content-Language", written.language.code());
        let message = if is_urgent(notice) { header(message, "Importance", "high") } else { message };
        let text = SinglePart::builder().header(ContentType::TEXT_PLAIN).body(written.text.clone());
        let content = message.singlepart(text).ok()?.formatted();
        Some(Letter { name, way: Way::Smtp, to: Private::new(contact.to_owned()), content: Private::new(content) })
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Failure> {
        let wrapped = if self.server.security == Security::Wrapped { Some(self.tls()?) } else { None };
        let place = (self.server.host.as_str(), self.server.port);
        let connected = AsyncSmtpConnection::connect_tokio1(place, None, &self.hello, wrapped, None).await;
        let mut connection = connected.map_err(|e| failure(&e, Failure::Unreachable))?;
        let upgrade = match self.server.security {
            Security::Plain | Security::Wrapped => false,
            Security::Opportunistic => connection.can_starttls(),
            Security::Required => true,
        };
        if upgrade {
            connection.starttls(self.tls()?, &self.hello).await.map_err(|e| failure(&e, Failure::NoTls))?;
        }
        if let Some(login) = &self.server.login {
            connection.auth(DEFAULT_MECHANISMS, login).await.map_err(|e| failure(&e, Failure::Lost))?;
        }
        Ok(connection)
    }

    async fn send(&self, connection: &mut AsyncSmtpConnection, to: Address, content: &[u8]) -> Result<(), Failure> {
        let options = self.options(connection, &to, content)?;
        within(self.patience.commands, Failure::Silent, async {
            let failed = |e: Error| failure(&e, Failure::Lost);
            connection.command(Mail::new(Some(self.from.email.clone()), options)).await.map_err(failed)?;
            connection.command(Rcpt::new(to, Vec::new())).await.map_err(failed)?;
            connection.command(Data).await.map_err(failed)
        })
        .await?;
        within(self.patience.message, Failure::Silent, async {
            connection.message(content).await.map_err(|e| failure(&e, Failure::Lost))
        })
        .await?;
        crate::io::kill::point("mail taken");
        Ok(())
    }

    /// The extensions that a letter needs: SMTPUTF8 for an address, which stands in the header as well (RFC 6531 section 3.4).
    /// Texts and subjects are encoded and need none.
    fn options(&self, connection: &AsyncSmtpConnection, to: &Address, content: &[u8]) -> Result<Vec<MailParameter>, Failure> {
        let is_ascii = |address: &Address| AsRef::<str>::as_ref(address).is_ascii();
        if is_ascii(to) && is_ascii(&self.from.email) && content.is_ascii() {
            return Ok(Vec::new());
        }
        let server = connection.server_info();
        if !server.supports_feature(Extension::SmtpUtfEight) || !server.supports_feature(Extension::EightBitMime) {
            return Err(Failure::Incapable);
        }
        Ok(vec![MailParameter::SmtpUtfEight, MailParameter::Body(MailBodyParameter::EightBitMime)])
    }

    /// Reads the system's roots when it is first needed. Where they cannot be read, the next try reads them again.
    fn tls(&self) -> Result<TlsParameters, Failure> {
        install_ring();
        if let Some(tls) = self.tls.get() {
            return Ok(tls.clone());
        }
        let tls = TlsParameters::new_rustls(self.server.host.clone()).map_err(|_| Failure::NoTls)?;
        Ok(self.tls.get_or_init(|| tls).clone())
    }
}

fn failure(error: &Error, otherwise: Failure) -> Failure {
    match error.status() {
        Some(code) => Failure::Refused(code.into()),
        None if error.is_tls() => Failure::NoTls,
        None if error.is_client() && otherwise != Failure::NoTls => Failure::Incapable,
        None => otherwise,
    }
}

/// Whether the reader has something to do.
fn is_urgent(notice: &Notice) -> bool {
    match notice.kind {
        Kind::Emergency | Kind::Callback => true,
        Kind::Outcome => !matches!(notice.outcome, Some(Outcome::Ended | Outcome::Connected)),
        Kind::Test => false,
    }
}

fn header(message: MessageBuilder, name: &'static str, value: &str) -> MessageBuilder {
    message.raw_header(HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned()))
}

async fn within<T>(limit: Duration, late: Failure, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::time::timeout(limit, work).await.unwrap_or(Err(late))
}

/// The one TLS provider of the process, named explicitly; whoever installed it first, it is ring.
pub(super) fn install_ring() {
    static RING: Once = Once::new();
    RING.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}

#[cfg(test)]
mod tests {
    use super::super::template::Language;
    use super::*;
    use crate::words::Time;

    fn notice(contacts: &[&str]) -> Notice {
        Notice {
            kind: Kind::Emergency,
            agent_name: Private::default(),
            agent_id: Private::default(),
            language: None,
            time: Time::ZERO,
            about: Time::ZERO,
            callback_number: None,
            location: None,
            dialed: "911",
            path: "direct-routing",
            outcome: None,
            duration: None,
            remark: None,
            contacts: Private::new(contacts.iter().map(|&c| c.to_owned()).collect()),
        }
    }

    fn letters(contacts: &[&str], subject: &str, text: &str) -> (Vec<String>, usize) {
        let smtp = Smtp::new("smtp://127.0.0.1", "E911 <e911@example.com>", "gw1").expect("settings");
        let written = Written { subject: subject.to_owned(), text: text.to_owned(), language: Language::English };
        let (letters, rejected) = smtp.letters(&notice(contacts), &written, Duration::from_secs(1_763_840_491), "ab.7");
        (letters.into_iter().map(|l| String::from_utf8(l.content.into_revealed()).expect("UTF-8")).collect(), rejected)
    }

    #[test]
    fn a4_there_is_one_message_per_recipient_and_nobody_sees_the_others() {
        let (letters, rejected) = letters(&["a@x", "no address", "b@y.example", "ü@p.example"], "s", "t\n");
        assert_eq!((letters.len(), rejected), (3, 1));
        for (letter, to, id) in [(&letters[0], "a@x", 0), (&letters[1], "b@y.example", 2), (&letters[2], "ü@p.example", 3)] {
            assert!(letter.contains(&format!("To: {to}\r\n")), "{letter}");
            assert!(letter.contains(&format!("Message-ID: <ab.7.{id}@example.com>\r\n")), "{letter}");
            assert_eq!(letter.matches('@').count(), 3, "from, to and id: {letter}");
        }
    }

    #[test]
    fn a_mail_is_plain_text_in_utf_8_with_a_date_and_the_marks_of_a_machine() {
        let (letters, _) = letters(&["a@x"], "Número", "Ubicación: aquí\n");
        for line in [
            "From: E911 <e911@example.com>\r\n",
            "Date: Sat, 22 Nov 2025 19:41:31 +0000\r\n",
            "Subject: =?utf-8?b?TsO6bWVybw==?=\r\n",
            "MIME-Version: 1.0\r\n",
            "Content-Type: text/plain; charset=utf-8\r\n",
            "Content-Transfer-Encoding: quoted-printable\r\n",
            "Auto-Submitted: auto-generated\r\n",
            "Content-Language: en\r\n",
            "Importance: high\r\n",
            "Ubicaci=C3=B3n: aqu=C3=AD\r\n",
        ] {
            assert!(letters[0].contains(line), "{line} is not in\n{}", letters[0]);
        }
    }

    #[test]
    fn a_subject_that_got_a_line_break_nevertheless_adds_no_header() {
        let (letters, _) = letters(&["a@x"], "one\r\nBcc: all@example.com\r\n\r\ntwo", "t");
        let head = letters[0].split("\r\n\r\n").next().unwrap_or_default();
        assert!(!head.lines().any(|l| l.starts_with("Bcc")), "{head}");
    }

    #[test]
    fn settings_that_cannot_send_mail_are_refused() {
        for (url, from, want) in [
            ("smtp://127.0.0.1:25", "nobody", BadServer::From),
            ("smtp://127.0.0.1:25", "a@b, c@d", BadServer::From),
            ("smtp://127.0.0.1:25", "a@b\r\nBcc: c@d", BadServer::From),
            ("ftp://127.0.0.1", "a@b", BadServer::Scheme),
        ] {
            assert_eq!(Smtp::new(url, from, "gw1").err(), Some(want), "{url} {from}");
        }
    }
}

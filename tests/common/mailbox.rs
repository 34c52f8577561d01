//! An SMTP server that takes every mail and keeps it.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The server.
pub struct Mailbox {
    at: SocketAddr,
    mails: Arc<Mutex<Vec<Mail>>>,
}

/// A mail that was taken.
#[derive(Clone, Debug)]
pub struct Mail {
    /// The envelope's recipient.
    pub to: String,
    /// Header and text.
    pub text: String,
}

impl Mail {
    /// A header's value.
    pub fn header(&self, name: &str) -> &str {
        self.text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
    }
}

impl Mailbox {
    /// Listens at a free port of this address.
    pub fn start(ip: IpAddr) -> Self {
        Self::start_at(SocketAddr::new(ip, 0))
    }

    /// Listens there.
    pub fn start_at(at: SocketAddr) -> Self {
        let listener = TcpListener::bind(at).unwrap();
        let (at, mails) = (listener.local_addr().unwrap(), Arc::default());
        let all = Arc::clone(&mails);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten().take(5000) {
                let all = Arc::clone(&all);
                std::thread::spawn(move || converse(&stream, &all));
            }
        });
        Self { at, mails }
    }

    /// `[notify] smtp`.
    pub fn url(&self) -> String {
        format!("smtp://{}", self.at)
    }

    /// What has come so far.
    pub fn mails(&self) -> Vec<Mail> {
        self.mails.lock().unwrap().clone()
    }
}

fn converse(stream: &TcpStream, all: &Mutex<Vec<Mail>>) -> Option<()> {
    let say = |line: &str| (&*stream).write_all(format!("{line}\r\n").as_bytes()).ok();
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let mut to = String::new();
    say("220 mailbox ESMTP")?;
    while let Some(line) = lines.next() {
        match line.split([' ', ':']).next().unwrap_or_default() {
            "EHLO" => say("250-mailbox\r\n250 8BITMIME")?,
            "RCPT" => {
                to = line.trim_start_matches("RCPT TO:<").split('>').next().unwrap_or_default().to_owned();
                say("250 ok")?;
            }
            "DATA" => {
                say("354 go on")?;
                let text: Vec<_> = lines.by_ref().take_while(|l| l != ".").collect();
                all.lock().unwrap().push(Mail { to: to.clone(), text: text.join("\n") });
                say("250 taken")?;
            }
            "QUIT" => return say("221 bye"),
            _ => say("250 ok")?,
        }
    }
    None
}

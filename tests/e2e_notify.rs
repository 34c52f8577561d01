//! Mail to the contacts over real SMTP: aiosmtpd where mail shall arrive, and a server of a few lines where it shall not.

mod common;

use common::child::Child;
use common::net::{self, Net, Transport};
use common::{require, until};
use e911d::emergency::notice::{Kind, Notice};
use e911d::emergency::privacy::Outcome;
use e911d::io::clock;
use e911d::io::notifier::outbox::Pace;
use e911d::io::notifier::smtp::{Patience, Smtp};
use e911d::io::notifier::template::Language;
use e911d::io::notifier::{Notifier, Settings};
use e911d::io::store::Keeper;
use e911d::words::{E164, Private, Saved, Table};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

const SOON: Duration = Duration::from_secs(10);
const NAME: &str = "Alice Andersen";
const NUMBER: &str = "+14255550100";
const PLACE: &str = "1 Main St, floor 2";

fn notice(kind: Kind, contacts: &[&str]) -> Notice {
    Notice {
        kind,
        agent_name: Private::new(NAME.to_owned()),
        agent_id: Private::new("alice".to_owned()),
        language: None,
        time: clock::now(),
        about: clock::now(),
        callback_number: E164::parse(NUMBER).map(Private::new),
        location: Some(Private::new(PLACE.to_owned())),
        dialed: "911",
        path: "direct-routing",
        outcome: None,
        duration: None,
        remark: None,
        contacts: Private::new(contacts.iter().map(|&c| c.to_owned()).collect()),
    }
}

fn settings(url: &str) -> Settings {
    patient(url, Duration::from_millis(700))
}

fn patient(url: &str, limit: Duration) -> Settings {
    let patience = Patience { greeting: limit, commands: limit, message: limit };
    let smtp = Smtp::new(url, "E911 <e911@example.com>", "gw1.example.com").expect("settings").with_patience(patience);
    let pace = Pace { first: Duration::from_millis(100), longest: Duration::from_millis(400), last: Duration::from_secs(60) };
    Settings { smtp: Some(Arc::new(smtp)), language: Language::English, pace, ..Settings::default() }
}

/// A notifier on a thread of its own, with everything that it logs at any level.
struct Running {
    notices: Option<mpsc::UnboundedSender<Notice>>,
    settings: watch::Sender<Settings>,
    alarms: Arc<Mutex<Vec<bool>>>,
    log: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start(settings: Settings) -> Self {
        Self::start_after(settings, &Saved::default())
    }

    /// After a process that left this behind.
    fn start_after(settings: Settings, saved: &Saved) -> Self {
        let saved = saved.clone();
        let (notices, queue) = mpsc::unbounded_channel();
        let (settings, seen) = watch::channel(settings);
        let (alarms, log) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let (rung, lines) = (Arc::clone(&alarms), Arc::clone(&log));
        let thread = std::thread::spawn(move || {
            let lines = move || Lines(Arc::clone(&lines));
            let log =
                tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false).with_writer(lines).finish();
            let _log = tracing::subscriber::set_default(log);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let notifier = Notifier::new(seen, move |raised| rung.lock().unwrap().push(raised));
            let notifier = notifier.with_store(Keeper::default(), &saved);
            runtime.block_on(async { tokio::spawn(notifier.run(queue)).await }).expect("it ends by itself");
        });
        Self { notices: Some(notices), settings, alarms, log, thread: Some(thread) }
    }

    fn tell(&self, notice: Notice) {
        self.notices.as_ref().expect("not stopped").send(notice).expect("it runs");
    }

    fn alarm(&self) -> Option<bool> {
        self.alarms.lock().unwrap().last().copied()
    }

    fn until_alarm(&self, raised: bool) {
        until(&format!("mail_failing is {raised}"), SOON, || (self.alarm() == Some(raised)).then_some(()));
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&self.log.lock().unwrap()).into_owned()
    }

    /// Closes the queue and waits for the end.
    fn stop(mut self) -> String {
        self.notices = None;
        self.thread.take().expect("once").join().expect("no panic");
        self.log()
    }
}

struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What the server does with a recipient.
#[derive(Clone, Copy, PartialEq)]
enum Reply {
    Take,
    /// To RCPT.
    Refuse(&'static str),
    /// No answer to RCPT.
    Hang,
    /// Closes instead of answering the message.
    Drop,
    /// Takes the message, and does not answer QUIT.
    NoGoodbye,
}

/// An SMTP server that does as it is told, for each recipient and the count of her earlier tries.
struct Sink {
    at: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// One conversation.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// MAIL and RCPT lines.
    envelope: Vec<String>,
    data: String,
    taken: bool,
}

impl Sink {
    fn start(at: SocketAddr, reply: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(at).expect("a free port");
        let at = listener.local_addr().unwrap();
        let (seen, reply) = (Arc::new(Mutex::new(Vec::new())), Arc::new(reply));
        let all = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten().take(200) {
                let (all, reply) = (Arc::clone(&all), Arc::clone(&reply));
                std::thread::spawn(move || converse(&stream, &all, &*reply));
            }
        });
        Self { at, seen }
    }

    fn url(&self) -> String {
        format!("smtp://{}", self.at)
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Conversations in which a message for this recipient was taken.
    fn taken(&self, who: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|s| s.taken && s.is_for(who)).collect()
    }

    fn until_taken(&self, who: &str) -> Seen {
        until(&format!("a mail for {who}"), SOON, || self.taken(who).into_iter().next())
    }

    fn tries(&self, who: &str) -> usize {
        self.seen().iter().filter(|s| s.is_for(who)).count()
    }
}

impl Seen {
    fn is_for(&self, who: &str) -> bool {
        self.envelope.iter().any(|l| l.starts_with(&format!("RCPT TO:<{who}>")))
    }
}

fn converse(stream: &TcpStream, all: &Mutex<Vec<Seen>>, reply: &dyn Fn(&str, usize) -> Reply) -> Option<()> {
    let say = |line: &str| (&*stream).write_all(format!("{line}\r\n").as_bytes()).ok();
    let place = {
        let mut all = all.lock().unwrap();
        all.push(Seen::default());
        all.len() - 1
    };
    let note = |change: &dyn Fn(&mut Seen)| change(&mut all.lock().unwrap()[place]);
    let mut now = Reply::Take;
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    say("220 sink ESMTP")?;
    while let Some(line) = lines.next() {
        match line.split([' ', ':']).next().unwrap_or_default() {
            "EHLO" => say("250-sink\r\n250 8BITMIME")?,
            "RCPT" => {
                note(&|s| s.envelope.push(line.clone()));
                let who = line.trim_start_matches("RCPT TO:<").trim_end_matches('>').to_owned();
                let before = all.lock().unwrap().iter().filter(|s| s.is_for(&who)).count() - 1;
                now = reply(&who, before);
                match now {
                    Reply::Refuse(with) => say(with)?,
                    Reply::Hang => {}
                    _ => say("250 ok")?,
                }
            }
            "DATA" => {
                say("354 go on")?;
                let text: Vec<_> = lines.by_ref().take_while(|l| l != ".").collect();
                note(&|s| s.data = text.join("\n"));
                if now == Reply::Drop {
                    return None;
                }
                note(&|s| s.taken = true);
                say("250 taken")?;
            }
            "QUIT" if now == Reply::NoGoodbye => {}
            "QUIT" => return say("221 bye"),
            _ => {
                note(&|s| s.envelope.push(line.clone()));
                say("250 ok")?;
            }
        }
    }
    None
}

fn message_id(data: &str) -> &str {
    data.lines().find(|l| l.starts_with("Message-ID:")).expect("a Message-ID")
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// aiosmtpd with a Maildir.
struct Aiosmtpd {
    dir: tempfile::TempDir,
    at: SocketAddr,
    _net: Net,
    _child: Child,
}

impl Aiosmtpd {
    fn start(options: &[&str]) -> Self {
        let (net, dir) = (Net::take(), tempfile::tempdir().unwrap());
        let at = SocketAddr::new(net.ip(1), 2525);
        let mut command = Command::new("aiosmtpd");
        command.args(["-n", "-u", "-l", &at.to_string()]).args(options);
        command.args(["-c", "aiosmtpd.handlers.Mailbox"]).arg(dir.path().join("mail"));
        let child = Child::start("aiosmtpd", command);
        net::wait_until_bound(Transport::Tcp, at);
        Self { dir, at, _net: net, _child: child }
    }

    /// The messages that have arrived, read by Python's mail parser: To, envelope recipient, subject, text.
    fn mails(&self) -> Vec<Vec<String>> {
        let files = std::fs::read_dir(self.dir.path().join("mail/new")).into_iter().flatten().flatten();
        let mut mails: Vec<_> = files.map(|file| parsed(&file.path())).collect();
        mails.sort();
        mails
    }

    fn until_mails(&self, count: usize) -> Vec<Vec<String>> {
        let new = self.dir.path().join("mail/new");
        let arrived = || std::fs::read_dir(&new).map_or(0, Iterator::count);
        until(&format!("{count} mails"), SOON, || (arrived() >= count).then_some(()));
        self.mails()
    }
}

fn parsed(file: &Path) -> Vec<String> {
    const READ: &str = "import email,email.policy,sys\n\
        m=email.message_from_binary_file(open(sys.argv[1],'rb'),policy=email.policy.SMTPUTF8)\n\
        t=m.get_body().get_content()\n\
        sys.stdout.buffer.write('\\0'.join([m['To'],m['X-RcptTo'],m['Subject'],t,m.get_content_type()]).encode())";
    let read = Command::new("python3").args(["-c", READ]).arg(file).output().expect("python3");
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    String::from_utf8(read.stdout).expect("UTF-8").split('\0').map(str::to_owned).collect()
}

#[test]
fn a4_every_contact_gets_a_mail_of_her_own_from_a_real_server() {
    require!("aiosmtpd" from "python3-aiosmtpd", "python3" from "python3");
    let server = Aiosmtpd::start(&[]);
    let running = Running::start(settings(&format!("smtp://{}", server.at)));
    let contacts = ["front.desk@example.com", "not an address", "lead@example.com", "jürgen@example.com"];
    running.tell(Notice { language: Some("es".to_owned()), ..notice(Kind::Emergency, &contacts) });
    let mails = server.until_mails(3);
    let to: Vec<_> = mails.iter().map(|m| m[0].as_str()).collect();
    assert_eq!(to, ["front.desk@example.com", "jürgen@example.com", "lead@example.com"]);
    for mail in &mails {
        assert_eq!(mail[0], mail[1], "header and envelope name the same one recipient");
        assert_eq!(mail[2], format!("EMERGENCIA: {NAME} ha llamado al 911"));
        assert!(mail[3].contains(&format!("Número para devolver la llamada: {NUMBER}")), "{}", mail[3]);
        assert!(mail[3].contains(&format!("Ubicación: {PLACE}")), "{}", mail[3]);
        assert_eq!(mail[4], "text/plain");
        assert_eq!(mail[3].matches('@').count(), 0, "nobody is named in another's mail");
    }
    let log = running.stop();
    assert!(log.contains("rejected=1"), "{log}");
    assert_eq!(server.mails().len(), 3, "each once");
}

#[test]
fn a4_the_mail_is_about_this_very_moment() {
    require!("aiosmtpd" from "python3-aiosmtpd", "python3" from "python3");
    let server = Aiosmtpd::start(&[]);
    let running = Running::start(settings(&format!("smtp://{}", server.at)));
    let date = || String::from_utf8(Command::new("date").args(["-u", "+%F %H:%M"]).output().unwrap().stdout).unwrap();
    let before = date();
    running.tell(Notice { outcome: Some(Outcome::NotConnected), ..notice(Kind::Outcome, &["a@x.example"]) });
    let mails = server.until_mails(1);
    assert_eq!(mails[0][2], format!("ACT NOW: the 911 call by {NAME} did NOT connect"));
    let text = &mails[0][3];
    assert!([before, date()].iter().any(|minute| text.contains(&format!("made: {}", minute.trim()))), "{text}");
}

/// The system's roots are read from a variable that must be set before the process starts, so this test is its own child.
#[test]
fn a_mail_goes_over_starttls_and_only_to_a_server_with_a_trusted_name() {
    require!("aiosmtpd" from "python3-aiosmtpd", "python3" from "python3", "openssl" from "openssl");
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    if std::env::var_os("E911D_TEST_STARTTLS").is_none() {
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
            .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"])
            .args(["-out", cert, "-keyout", key])
            .output();
        assert!(made.is_ok_and(|m| m.status.success()), "a certificate");
        let this = "a_mail_goes_over_starttls_and_only_to_a_server_with_a_trusted_name";
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", this, "--nocapture"])
            .env("E911D_TEST_STARTTLS", dir.path())
            .env("SSL_CERT_FILE", cert)
            .output()
            .unwrap();
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
        return;
    }
    let made = std::env::var("E911D_TEST_STARTTLS").unwrap();
    let server = Aiosmtpd::start(&["--tlscert", &format!("{made}/cert.pem"), "--tlskey", &format!("{made}/key.pem")]);
    // The server listens on an address that the certificate does not name.
    let wrong = Running::start(settings(&format!("smtp://{}?tls=required", server.at)));
    wrong.tell(notice(Kind::Emergency, &["wrong@example.com"]));
    wrong.until_alarm(true);
    assert!(wrong.stop().contains("a mail is not delivered yet"));
    let relay = relay(server.at);
    let right = Running::start(settings(&format!("smtp://localhost:{}?tls=required", relay.port())));
    right.tell(notice(Kind::Emergency, &["right@example.com"]));
    let mails = server.until_mails(1);
    assert_eq!(mails[0][0], "right@example.com");
    right.stop();
}

/// aiosmtpd that asks for a login.
const WITH_LOGIN: &str = "import sys, time\n\
from aiosmtpd.controller import Controller\n\
from aiosmtpd.handlers import Mailbox\n\
from aiosmtpd.smtp import AuthResult\n\
def check(server, session, envelope, mechanism, data):\n\
    \x20return AuthResult(success=data.login == b'gw@x' and data.password == b'p:s/1 %', handled=False)\n\
options = dict(authenticator=check, auth_required=True, auth_require_tls=False)\n\
Controller(Mailbox(sys.argv[3]), hostname=sys.argv[1], port=int(sys.argv[2]), **options).start()\n\
time.sleep(600)\n";

#[test]
fn a_mail_server_that_asks_for_a_login_is_shown_it() {
    require!("aiosmtpd" from "python3-aiosmtpd", "python3" from "python3");
    let (net, dir) = (Net::take(), tempfile::tempdir().unwrap());
    let at = SocketAddr::new(net.ip(1), 2525);
    // The package is for Debian's own Python.
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", WITH_LOGIN, &at.ip().to_string(), &at.port().to_string()]).arg(dir.path().join("mail"));
    let child = Child::start("aiosmtpd", command);
    net::wait_until_bound(Transport::Tcp, at);
    let server = Aiosmtpd { dir, at, _net: net, _child: child };
    let running = Running::start(patient(&format!("smtp://gw%40x:wrong@{at}"), SOON));
    running.tell(notice(Kind::Emergency, &["a@x.example"]));
    running.until_alarm(true);
    assert!(running.log().contains("refused with 535"), "{}", running.log());
    running.settings.send(patient(&format!("smtp://gw%40x:p%3As%2F1%20%25@{at}"), SOON)).expect("it runs");
    assert_eq!(server.until_mails(1)[0][0], "a@x.example");
}

/// Passes what comes to 127.0.0.1 on to the server, a few times.
fn relay(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind(loopback()).unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for near in listener.incoming().flatten().take(20) {
            let Ok(far) = TcpStream::connect(to) else { return };
            let (mut near_in, mut far_out) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut near_in, &mut far_out));
            std::thread::spawn(move || std::io::copy(&mut &far, &mut &near));
        }
    });
    at
}

#[test]
fn a4_a_refused_address_holds_nobody_up_and_is_tried_again_with_the_same_message_id() {
    let sink = Sink::start(loopback(), |who, before| match who {
        "bad@example.com" if before < 3 => Reply::Refuse("550 5.1.1 <bad@example.com>: Alice Andersen is unknown"),
        _ => Reply::Take,
    });
    let running = Running::start(settings(&sink.url()));
    running.tell(notice(Kind::Emergency, &["bad@example.com", "good@example.com", "other@example.com"]));
    let good = sink.until_taken("good@example.com");
    assert_eq!(good.envelope, ["MAIL FROM:<e911@example.com>", "RCPT TO:<good@example.com>"]);
    assert!(good.data.contains("To: good@example.com\n") && !good.data.contains("bad@") && !good.data.contains("other@"));
    running.until_alarm(true);
    let bad = sink.until_taken("bad@example.com");
    running.until_alarm(false);
    assert_eq!(sink.tries("bad@example.com"), 4);
    assert_ne!(message_id(&bad.data), message_id(&good.data));
    running.stop();
    for who in ["good@example.com", "other@example.com", "bad@example.com"] {
        assert_eq!(sink.taken(who).len(), 1, "{who} has one mail");
    }
}

#[test]
fn a4_a_server_that_hangs_over_one_recipient_holds_nobody_up() {
    let sink =
        Sink::start(loopback(), |who, before| if who == "hang@x.example" && before == 0 { Reply::Hang } else { Reply::Take });
    let running = Running::start(patient(&sink.url(), Duration::from_secs(3)));
    running.tell(notice(Kind::Emergency, &["hang@x.example", "a@x.example", "b@x.example"]));
    for who in ["a@x.example", "b@x.example"] {
        sink.until_taken(who);
    }
    assert!(!running.log().contains("no answer in time"), "the others did not wait for it");
    sink.until_taken("hang@x.example");
    let log = running.stop();
    assert!(log.contains("no answer in time"), "{log}");
}

#[test]
fn a4_a_mail_whose_answer_was_lost_is_sent_again_with_the_same_message_id() {
    let sink = Sink::start(loopback(), |_, before| if before == 0 { Reply::Drop } else { Reply::Take });
    let running = Running::start(settings(&sink.url()));
    running.tell(notice(Kind::Emergency, &["a@x.example"]));
    let second = sink.until_taken("a@x.example");
    let first = sink.seen().remove(0);
    assert!(!first.taken);
    assert_eq!(first.data, second.data, "the same bytes, its Message-ID among them");
    assert!(!message_id(&first.data).is_empty());
    running.stop();
}

#[test]
fn a4_a_mail_is_sent_once_even_where_the_server_does_not_say_goodbye() {
    let sink = Sink::start(loopback(), |_, _| Reply::NoGoodbye);
    let running = Running::start(settings(&sink.url()));
    running.tell(notice(Kind::Emergency, &["a@x.example"]));
    sink.until_taken("a@x.example");
    until("its delivery", Duration::from_secs(2), || running.log().contains("a mail is delivered").then_some(()));
    running.stop();
    assert_eq!(sink.tries("a@x.example"), 1);
}

#[test]
fn a4_while_nobody_listens_the_alarm_stands_and_the_mail_waits() {
    let net = Net::take();
    let at = SocketAddr::new(net.ip(1), 2525);
    let running = Running::start(settings(&format!("smtp://{at}")));
    running.tell(notice(Kind::Emergency, &["a@x.example"]));
    running.until_alarm(true);
    let sink = Sink::start(at, |_, _| Reply::Take);
    sink.until_taken("a@x.example");
    running.until_alarm(false);
}

#[test]
fn a4_what_was_not_delivered_before_a_restart_is_delivered_after_it_byte_for_byte() {
    let sink = Sink::start(loopback(), |_, _| Reply::Take);
    let mut saved = Saved::default();
    for (name, age) in [("ab.0", 5000), ("ab.1", 2 * 24 * 3_600_000u64)] {
        let text = format!("To: x\r\nMessage-ID: <{name}@example.com>\r\n\r\nhello\r\n");
        let row = serde_json::json!({"way": "smtp", "to": format!("{name}@x.example"), "text": text, "age": age, "failures": 3,
                                     "boot": 0, "wall": u64::MAX});
        saved.add(Table::Letter, name, row.to_string().into_bytes());
    }
    saved.add(Table::Letter, "broken", b"{");
    let running = Running::start_after(settings(&sink.url()), &saved);
    for name in ["ab.0", "ab.1"] {
        let seen = sink.until_taken(&format!("{name}@x.example"));
        assert_eq!(seen.data, format!("To: x\nMessage-ID: <{name}@example.com>\n\nhello\n"));
    }
    let log = running.stop();
    assert!(log.contains("rows=1") && !log.contains("x.example"), "{log}");
    assert_eq!(sink.seen().len(), 2, "each once");
}

#[test]
fn new_settings_count_from_the_next_try() {
    let net = Net::take();
    let running = Running::start(settings(&format!("smtp://{}", SocketAddr::new(net.ip(1), 2525))));
    running.tell(notice(Kind::Emergency, &["a@x.example"]));
    running.until_alarm(true);
    let sink = Sink::start(loopback(), |_, _| Reply::Take);
    running.settings.send(settings(&sink.url())).expect("it runs");
    sink.until_taken("a@x.example");
}

#[test]
fn no_mail_goes_unencrypted_where_tls_is_required() {
    let sink = Sink::start(loopback(), |_, _| Reply::Take);
    let running = Running::start(settings(&format!("{}?tls=required", sink.url())));
    running.tell(notice(Kind::Emergency, &["a@x.example"]));
    running.until_alarm(true);
    let log = running.stop();
    assert!(log.contains("no TLS"), "{log}");
    assert!(sink.seen().iter().all(|s| s.envelope.is_empty() && s.data.is_empty()), "{:?}", sink.seen());
}

#[test]
fn a_notice_that_can_reach_nobody_is_reported() {
    let running = Running::start(Settings::default());
    running.tell(notice(Kind::Emergency, &["a@x.example"]));
    assert!(running.stop().contains("no mail server and no webhook is configured"));
    let sink = Sink::start(loopback(), |_, _| Reply::Take);
    let running = Running::start(settings(&sink.url()));
    running.tell(notice(Kind::Emergency, &[]));
    assert!(running.stop().contains("it has no contacts"));
}

#[test]
fn no_line_of_the_log_names_anybody() {
    let sink = Sink::start(loopback(), |who, before| match (who, before) {
        ("bad@example.com", 0) => Reply::Refuse("550 5.1.1 <bad@example.com>: Alice Andersen +14255550100 is unknown"),
        ("hang@example.com", 0) => Reply::Hang,
        ("drop@example.com", 0) => Reply::Drop,
        _ => Reply::Take,
    });
    let url = format!("smtp://user-secret:pass-secret@{}", sink.at);
    let who = ["bad@example.com", "hang@example.com", "drop@example.com", "good@example.com", "b d@example.com"];
    let running = Running::start(settings(&sink.url()));
    running.tell(notice(Kind::Emergency, &who));
    for who in &who[..4] {
        sink.until_taken(who);
    }
    running.settings.send(settings(&url)).expect("it runs");
    running.tell(notice(Kind::Emergency, &who)); // cannot log in here
    running.until_alarm(true);
    let log = running.stop();
    for want in ["refused with 550", "no answer in time", "connection lost", "lacks an extension", "rejected=1"] {
        assert!(log.contains(want), "{want} is not in\n{log}");
    }
    for word in ["example.com", "Alice", "Andersen", "alice", "4255550100", "Main St", "secret", "@", "gw1"] {
        assert!(!log.contains(word), "{word} is in\n{log}");
    }
}

//! Where the story is played: what the neighbours hear comes in here, is drawn at once and waits until the story asks.
//!
//! One thread owns all of it; the sockets' threads only hand bytes on. Every wait ends. Read [`Stage::expect`] first.

use std::collections::HashSet;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use bytes::Bytes;

use super::caption;
use super::interrupt::Interrupt;
use super::ladder::{Arrow, Caption, Column, Ladder};
use super::mailbox::Mail;
use super::neighbour::{Dialog, Neighbour};
use super::paint::Look;
use super::pbx::Rules;
use super::{Check, Failure};
use crate::io::clock;
use crate::sip::{Message, Method};
use crate::words::Time;

/// Something that a neighbour has heard.
pub(super) struct Arrival {
    /// Which neighbour.
    pub(super) at: Column,
    /// When.
    pub(super) time: Time,
    /// What.
    pub(super) what: Heard,
}

/// What was heard.
pub(super) enum Heard {
    /// A datagram.
    Sip(Bytes),
    /// A mail.
    Mail(Mail),
}

/// A SIP message that a neighbour has received.
#[derive(Clone)]
pub(super) struct Received {
    /// By whom.
    pub(super) by: Column,
    /// When.
    pub(super) time: Time,
    /// The message.
    pub(super) msg: Message,
}

/// The neighbours, and what they have heard.
pub(super) struct Stage {
    /// The PBX's own rules.
    pub(super) rules: Rules,
    neighbours: [Neighbour; 3],
    gateway: SocketAddr,
    arrivals: Receiver<Arrival>,
    interrupt: Interrupt,
    waiting: Vec<Received>,
    mails: Vec<Mail>,
    repeats: HashSet<(Column, Bytes)>,
    heard: Vec<Received>,
    checks: Vec<Check>,
    ladder: Ladder,
    began: Option<Time>,
    curtain: Time,
}

/// How long the story waits for one message.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long the whole story may take.
const LONGEST: Duration = Duration::from_secs(12);
/// How often it is looked whether somebody wants to stop.
const SLICE: Duration = Duration::from_millis(50);

impl Stage {
    /// With the curtain up.
    pub(super) fn new(
        neighbours: [Neighbour; 3],
        gateway: SocketAddr,
        arrivals: Receiver<Arrival>,
        interrupt: Interrupt,
        look: Look,
    ) -> Self {
        Self {
            rules: Rules::default(),
            neighbours,
            gateway,
            arrivals,
            interrupt,
            waiting: Vec::new(),
            mails: Vec::new(),
            repeats: HashSet::new(),
            heard: Vec::new(),
            checks: Vec::new(),
            ladder: Ladder::new(look),
            began: None,
            curtain: clock::now() + LONGEST,
        }
    }

    /// Whether somebody wants to stop.
    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupt.came()
    }

    /// A new chapter.
    pub(super) fn chapter(&self, number: usize, title: &str, words: &str) {
        show(&self.ladder.chapter(number, title, words));
    }

    /// The gateway's address, as the host of a URI.
    pub(super) const fn gateway(&self) -> SocketAddr {
        self.gateway
    }

    /// One of the neighbours, to compose what it says.
    pub(super) fn neighbour(&self, column: Column) -> Result<&Neighbour, Failure> {
        let found = self.neighbours.iter().find(|n| n.column == column);
        found.ok_or_else(|| Failure::NotSeen { by: column, what: "its socket".to_owned() })
    }

    /// A neighbour says this to the gateway. Gives back when.
    pub(super) fn send(&mut self, from: Column, bytes: &Bytes) -> Result<Time, Failure> {
        self.take_all();
        let now = clock::now();
        if let Ok(msg) = Message::scan(bytes.clone()) {
            self.draw(now, from, Column::Gateway, caption::of_message(&msg));
        }
        self.neighbour(from)?.send(bytes, self.gateway)?;
        Ok(now)
    }

    /// A neighbour answers a request.
    pub(super) fn answer(&mut self, request: &Received, status: u16, reason: &str) -> Result<Time, Failure> {
        let bytes = self.neighbour(request.by)?.respond(&request.msg, status, reason, &[]);
        self.send(request.by, &bytes)
    }

    /// A neighbour says something in a dialog.
    pub(super) fn say(&mut self, from: Column, dialog: &mut Dialog, method: &str) -> Result<Time, Failure> {
        let bytes = self.neighbour(from)?.in_dialog(dialog, method);
        self.send(from, &bytes)
    }

    /// A message that a neighbour has received, or receives soon; others wait for their turn.
    pub(super) fn expect(&mut self, by: Column, what: &str, wanted: impl Fn(&Message) -> bool) -> Result<Received, Failure> {
        self.wait_for(by, what, |stage| {
            let at = stage.waiting.iter().position(|r| r.by == by && wanted(&r.msg))?;
            Some(stage.waiting.remove(at))
        })
    }

    /// A request with this method.
    pub(super) fn request(&mut self, by: Column, method: Method) -> Result<Received, Failure> {
        self.expect(by, method.as_str(), |m| m.is_request() && m.method() == method)
    }

    /// A response with this status to such a request.
    pub(super) fn response(&mut self, by: Column, method: Method, status: u16) -> Result<Received, Failure> {
        self.expect(by, &format!("{status} to {}", method.as_str()), |m| m.status() == status && m.method() == method)
    }

    /// A mail.
    pub(super) fn mail(&mut self, what: &str, wanted: impl Fn(&Mail) -> bool) -> Result<Mail, Failure> {
        self.wait_for(Column::Mailbox, what, |stage| {
            let at = stage.mails.iter().position(&wanted)?;
            Some(stage.mails.remove(at))
        })
    }

    /// Lets time pass, as people do.
    pub(super) fn pause(&mut self, span: Duration) -> Result<(), Failure> {
        let until = clock::now() + span;
        while clock::now() < until {
            self.next(until)?;
        }
        Ok(())
    }

    /// A side has seen something, or has not; what it has goes into the summary.
    pub(super) fn check(&mut self, by: Column, holds: bool, what: &str) -> Result<(), Failure> {
        Self::must(by, holds, what)?;
        self.seen(by, what);
        Ok(())
    }

    /// A side has seen something: what was expected of it has come.
    pub(super) fn seen(&mut self, by: Column, what: &str) {
        self.checks.push(Check { by, what: what.to_owned() });
    }

    /// The same for what the summary need not say.
    pub(super) fn must(by: Column, holds: bool, what: &str) -> Result<(), Failure> {
        if holds { Ok(()) } else { Err(Failure::NotSeen { by, what: what.to_owned() }) }
    }

    /// What has been seen so far, in its order.
    pub(super) fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Every SIP message that this neighbour has received so far.
    pub(super) fn heard(&self, by: Column) -> impl Iterator<Item = &Message> {
        self.heard.iter().filter(move |r| r.by == by).map(|r| &r.msg)
    }

    fn wait_for<T>(&mut self, by: Column, what: &str, mut look: impl FnMut(&mut Self) -> Option<T>) -> Result<T, Failure> {
        let until = (clock::now() + PATIENCE).min(self.curtain);
        loop {
            if let Some(found) = look(self) {
                return Ok(found);
            }
            if clock::now() >= until {
                return Err(Failure::NotSeen { by, what: what.to_owned() });
            }
            self.next(until)?;
        }
    }

    /// Waits a moment for the next arrival.
    fn next(&mut self, until: Time) -> Result<(), Failure> {
        if self.interrupt.came() {
            return Err(Failure::Interrupted);
        }
        match self.arrivals.recv_timeout(until.since(clock::now()).min(SLICE)) {
            Ok(arrival) => self.take(arrival),
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => Err(std::io::Error::other("the neighbours' sockets are closed").into()),
        }
    }

    /// Draws what has arrived before something is said, so that time goes down the page.
    fn take_all(&mut self) {
        let before: Vec<_> = self.arrivals.try_iter().collect();
        for arrival in before {
            // A failure to answer shows in what the gateway then does not say.
            let _ = self.take(arrival);
        }
    }

    fn take(&mut self, arrival: Arrival) -> Result<(), Failure> {
        match arrival.what {
            Heard::Mail(mail) => {
                self.draw(arrival.time, Column::Gateway, arrival.at, caption::of_mail(&mail));
                self.mails.push(mail);
                Ok(())
            }
            Heard::Sip(bytes) if !self.repeats.insert((arrival.at, bytes.clone())) => Ok(()),
            Heard::Sip(bytes) => match Message::scan(bytes) {
                Ok(msg) => self.take_message(Received { by: arrival.at, time: arrival.time, msg }),
                Err(_) => Ok(()),
            },
        }
    }

    fn take_message(&mut self, received: Received) -> Result<(), Failure> {
        self.draw(received.time, Column::Gateway, received.by, caption::of_message(&received.msg));
        self.heard.push(received.clone());
        self.waiting.push(received.clone());
        if received.by != Column::Pbx || !received.msg.is_request() || received.msg.method() != Method::Publish {
            return Ok(());
        }
        let (status, reason, more) = self.rules.publish(&received.msg);
        let bytes = self.neighbour(Column::Pbx)?.respond(&received.msg, status, reason, more);
        self.send(Column::Pbx, &bytes).map(|_| ())
    }

    fn draw(&mut self, time: Time, from: Column, to: Column, caption: Caption) {
        let began = *self.began.get_or_insert(time);
        show(&self.ladder.arrow(&Arrow { at: time.since(began), from, to, caption }));
    }
}

/// Writes to standard output, at once. Whoever does not read any more does not need it.
pub(super) fn show(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

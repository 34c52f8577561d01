//! Tells the contacts of emergency calls (RULES A4).
//!
//! Plain data comes in, [`Notice`] by [`Notice`], and nothing goes back to a call: the queue is unbounded, nobody waits
//! for it, and what fails here is an alarm, `mail_failing`. Read [`Notifier::run`] first.
//!
//! [`template`] writes the texts, [`smtp`] sends a letter to one recipient, [`outbox`] says which letter is to be tried when.
//! A further way to tell people (a webhook) is a file beside `smtp.rs`, a line in [`Way`] and the arms of `Channel` here.
//!
//! Logs know letters by a number of ours: no name, number, address or server's reply is ever in a line.

pub mod outbox;
pub mod server;
pub mod smtp;
pub mod template;

use crate::emergency::notice::Notice;
use crate::io::clock;
pub use outbox::Pace;
use outbox::{Letter, LetterId, Memory, Outbox, Settled, Way};
use smtp::{Failure, Smtp};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;
use template::Language;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::{self, JoinError, JoinSet};
use tracing::{debug, error, info, warn};

/// What the configuration says about telling people.
#[derive(Clone, Default)]
pub struct Settings {
    /// The mail server; none: no mail.
    pub smtp: Option<Arc<Smtp>>,
    /// Of mails to agents without a language of their own.
    pub language: Language,
    /// When a letter is tried again.
    pub pace: Pace,
}

/// Told whether the alarm `mail_failing` stands; may be told the same twice.
pub type MailFailing = Box<dyn FnMut(bool) + Send>;

/// See the module's docs.
pub struct Notifier {
    settings: watch::Receiver<Settings>,
    outbox: Outbox,
    tries: JoinSet<Result<(), Failure>>,
    /// Which letter a task tries; it stands here, so that a task that breaks loses no letter.
    trying: HashMap<task::Id, LetterId>,
    mail_failing: MailFailing,
    /// This process's part of every Message-ID.
    process: u64,
    notices: u64,
}

impl Notifier {
    /// A notifier with an empty outbox. New settings may be sent at any time and count from the next try.
    pub fn new(settings: watch::Receiver<Settings>, mail_failing: impl FnMut(bool) + Send + 'static) -> Self {
        Self {
            settings,
            outbox: Outbox::new(Box::new(Memory)),
            tries: JoinSet::new(),
            trying: HashMap::new(),
            mail_failing: Box::new(mail_failing),
            process: RandomState::new().build_hasher().finish(),
            notices: 0,
        }
    }

    /// Takes notices and delivers them until the other end of the queue is gone; then what is new has its first try,
    /// and the future ends. Needs a tokio runtime with time and network.
    pub async fn run(mut self, mut notices: UnboundedReceiver<Notice>) {
        let (mut open, mut reloads) = (true, true);
        loop {
            self.start_tries();
            if !open && self.tries.is_empty() {
                break;
            }
            let deadline = self.outbox.deadline();
            let pause = deadline.map_or(Duration::ZERO, |at| at.since(clock::now()));
            tokio::select! {
                notice = notices.recv(), if open => match notice {
                    Some(notice) => self.take_in(&notice),
                    None => open = false,
                },
                Some(tried) = self.tries.join_next_with_id() => self.settle(tried),
                changed = self.settings.changed(), if reloads => reloads = changed.is_ok(),
                () = tokio::time::sleep(pause), if deadline.is_some() && open => {}
            }
        }
        if !self.outbox.is_empty() {
            warn!(mails = self.outbox.len(), "stopping with mails that were not delivered");
        }
    }

    /// A notice becomes letters.
    fn take_in(&mut self, notice: &Notice) {
        self.notices += 1;
        let settings = self.settings.borrow().clone();
        let channels = channels(&settings);
        if channels.is_empty() {
            warn!(notice = self.notices, "nobody is told of a call: no mail server is configured");
            return;
        }
        let now = clock::now();
        let series = format!("{:016x}.{}", self.process, self.notices);
        for channel in channels {
            let (letters, rejected) = channel.letters(notice, settings.language, &series);
            if rejected > 0 {
                warn!(notice = self.notices, rejected, "contacts that are no addresses are left out");
            }
            if letters.is_empty() {
                warn!(notice = self.notices, "nobody is told of a call: it has no contacts");
            }
            debug!(notice = self.notices, mails = letters.len(), "a notice");
            for letter in letters {
                self.outbox.put(letter, now);
            }
        }
    }

    fn start_tries(&mut self) {
        while let Some((id, letter)) = self.outbox.next(clock::now()) {
            let settings = self.settings.borrow().clone();
            let task = self.tries.spawn(async move { deliver(&settings, &letter).await });
            self.trying.insert(task.id(), id);
        }
    }

    fn settle(&mut self, tried: Result<(task::Id, Result<(), Failure>), JoinError>) {
        let (task, result) = tried.unwrap_or_else(|broken| (broken.id(), Err(Failure::Internal)));
        let Some(id) = self.trying.remove(&task) else { return };
        let pace = self.settings.borrow().pace;
        let settled = self.outbox.settle(id, result.is_ok(), pace, clock::now());
        let why = result.err().map_or_else(String::new, |failure| failure.to_string());
        match settled {
            Settled::Delivered => {
                info!(mail = id.0, "a mail is delivered");
                if self.outbox.failing() == 0 {
                    (self.mail_failing)(false);
                }
            }
            Settled::Again(pause) => {
                info!(mail = id.0, why, again_in = ?pause, "a mail is not delivered yet");
                (self.mail_failing)(true);
            }
            Settled::GivenUp => {
                error!(mail = id.0, why, "a mail is given up");
                (self.mail_failing)(true);
            }
        }
    }
}

/// A way to tell people.
enum Channel {
    Smtp(Arc<Smtp>),
}

impl Channel {
    const fn way(&self) -> Way {
        match self {
            Self::Smtp(_) => Way::Smtp,
        }
    }

    /// One letter per recipient, and how many recipients cannot have one.
    fn letters(&self, notice: &Notice, language: Language, series: &str) -> (Vec<Letter>, usize) {
        match self {
            Self::Smtp(smtp) => {
                let written = template::write(notice, language, clock::wall_at(notice.time));
                smtp.letters(notice, &written, clock::wall(), series)
            }
        }
    }

    async fn deliver(&self, letter: &Letter) -> Result<(), Failure> {
        match self {
            Self::Smtp(smtp) => smtp.deliver(letter).await,
        }
    }
}

fn channels(settings: &Settings) -> Vec<Channel> {
    settings.smtp.iter().map(Arc::clone).map(Channel::Smtp).collect()
}

async fn deliver(settings: &Settings, letter: &Letter) -> Result<(), Failure> {
    match channels(settings).into_iter().find(|channel| channel.way() == letter.way) {
        Some(channel) => channel.deliver(letter).await,
        None => Err(Failure::NoServer),
    }
}

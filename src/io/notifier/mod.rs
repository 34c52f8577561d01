//! Tells the contacts of emergency calls (RULES A4).
//!
//! Plain data comes in, [`Notice`] by [`Notice`], and nothing goes back to a call: the queue is unbounded, nobody waits
//! for it, and what fails here is an alarm, `mail_failing`. Read [`Notifier::run`] first.
//!
//! [`template`] writes the texts, [`smtp`] sends a letter to one recipient and [`post`] posts one to a URL, [`outbox`] says which
//! letter is to be tried when, and [`spool`] keeps it over a restart. [`states`] tells what is worth telling only while it is new.
//!
//! Logs know letters by a number of ours: no name, number, address or server's reply is ever in a line.

mod channel;
pub mod failure;
pub mod outbox;
pub mod post;
pub mod server;
pub mod smtp;
pub mod spool;
pub mod states;
pub mod template;
mod webhook;

use crate::emergency::notice::Notice;
use crate::io::clock;
use crate::io::store::Keeper;
use crate::words::{Saved, Time};
use channel::Channel;
use failure::Failure;
pub use outbox::Pace;
use outbox::{LetterId, Memory, Outbox, Settled};
use post::Hook;
use sha2::{Digest, Sha256};
use smtp::Smtp;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use template::{Language, Templates};
use tokio::sync::mpsc::{Receiver, UnboundedReceiver};
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio::task::{self, JoinError, JoinSet};
use tracing::{debug, error, info, warn};

/// Between two lines of the log that say that nobody is told.
const PAUSE: Duration = Duration::from_secs(10);

/// What the configuration says about telling people.
#[derive(Clone, Default)]
pub struct Settings {
    /// The mail server; none: no mail.
    pub smtp: Option<Arc<Smtp>>,
    /// Where notices are posted; none: nowhere.
    pub webhook: Option<Arc<Hook>>,
    /// Of mails to agents without a language of their own.
    pub language: Language,
    /// When a letter is tried again.
    pub pace: Pace,
}

/// Told whether the alarm `mail_failing` stands; may be told the same twice.
pub type MailFailing = Box<dyn FnMut(bool) + Send>;

/// What is not delivered, part by part.
pub struct Question {
    /// Letters after this number of ours; 0 for all.
    pub after: u64,
    /// So many at most.
    pub most: usize,
    /// The answer, and whether there are more.
    pub answer: oneshot::Sender<(Vec<outbox::View>, bool)>,
}

/// See the module's docs.
pub struct Notifier {
    questions: Option<Receiver<Question>>,
    settings: watch::Receiver<Settings>,
    outbox: Outbox,
    tries: JoinSet<Result<(), Failure>>,
    /// Which letter a task tries; it stands here, so that a task that breaks loses no letter.
    trying: HashMap<task::Id, LetterId>,
    mail_failing: MailFailing,
    templates: Arc<Templates>,
    /// Which boot of the machine this is: a time alone says nothing after the next one.
    boot: String,
    notices: u64,
    /// Of how many nobody was told since that was said last, and when it was.
    untold: u64,
    untold_said: Option<Time>,
}

impl Notifier {
    /// A notifier with an empty outbox. New settings may be sent at any time and count from the next try.
    pub fn new(settings: watch::Receiver<Settings>, mail_failing: impl FnMut(bool) + Send + 'static) -> Self {
        Self {
            questions: None,
            settings,
            outbox: Outbox::new(Box::new(Memory)),
            tries: JoinSet::new(),
            trying: HashMap::new(),
            mail_failing: Box::new(mail_failing),
            templates: Arc::default(),
            boot: std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default(),
            notices: 0,
            untold: 0,
            untold_said: None,
        }
    }

    /// Keeps letters in this store from now on, and begins with those that were not delivered before.
    pub fn with_store(mut self, keeper: Keeper, saved: &Saved) -> Self {
        self.outbox = Outbox::new(Box::new(spool::Rows::new(keeper)));
        let now = clock::now();
        for (letter, standing) in spool::restored(saved) {
            self.outbox.take_up(letter, standing, now);
        }
        if !self.outbox.is_empty() {
            info!(mails = self.outbox.len(), "mails of before the restart are taken up");
        }
        self
    }

    /// Writes by these templates.
    pub fn with_templates(mut self, templates: Arc<Templates>) -> Self {
        self.templates = templates;
        self
    }

    /// Says what is not delivered to whoever asks here.
    pub fn with_questions(mut self, questions: Receiver<Question>) -> Self {
        self.questions = Some(questions);
        self
    }

    fn answer(&self, question: Question) {
        let _ = question.answer.send(self.outbox.views(LetterId(question.after), question.most, clock::now()));
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
                Some(question) = asked(&mut self.questions) => self.answer(question),
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
        let channels = Channel::all(&settings);
        if channels.is_empty() {
            return self.tell_nobody();
        }
        let now = clock::now();
        let series = series(&self.boot, notice);
        let written = self.templates.write(notice, settings.language, clock::wall_at(notice.time));
        for channel in channels {
            let (letters, rejected) = channel.letters(notice, &written, &series);
            if rejected > 0 {
                warn!(notice = self.notices, rejected, "contacts that are no addresses are left out");
            }
            if letters.is_empty() {
                warn!(notice = self.notices, "nobody is told of a call: it has no contacts");
            }
            debug!(notice = self.notices, mails = letters.len(), "a notice");
            for letter in letters {
                if self.outbox.put(letter, now).is_none() {
                    debug!(notice = self.notices, "a notice that is told again");
                }
            }
        }
    }

    /// What is the same for every call is said once in a while, so that a rush of calls fills no log.
    fn tell_nobody(&mut self) {
        self.untold += 1;
        let now = clock::now();
        if self.untold_said.is_some_and(|said| now < said + PAUSE) {
            return;
        }
        let calls = std::mem::take(&mut self.untold);
        warn!(notice = self.notices, calls, "nobody is told of a call: no mail server and no webhook is configured");
        self.untold_said = Some(now);
    }

    fn start_tries(&mut self) {
        while let Some((id, letter)) = self.outbox.next(clock::now()) {
            let settings = self.settings.borrow().clone();
            let task = self.tries.spawn(async move { channel::deliver(&settings, &letter).await });
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

/// A name for a notice that is the same whenever it is told: the letters of one that is told again after a kill have the
/// Message-IDs of before (RULES A4).
fn series(boot: &str, notice: &Notice) -> String {
    let mut hash = Sha256::new();
    let number = notice.callback_number.as_ref().map_or(0, |n| n.reveal().digits());
    let outcome = notice.outcome.map_or("", crate::emergency::privacy::Outcome::word);
    for part in [boot, notice.agent_id.reveal(), &format!("{:?}", notice.kind), outcome, notice.dialed] {
        hash.update(part);
        hash.update([0]);
    }
    hash.update(notice.time.as_micros().to_be_bytes());
    hash.update(notice.about.as_micros().to_be_bytes());
    hash.update(number.to_be_bytes());
    hash.finalize().iter().take(16).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The next question; never, where nobody can ask.
async fn asked(questions: &mut Option<Receiver<Question>>) -> Option<Question> {
    match questions {
        Some(questions) => questions.recv().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emergency::notice::Kind;
    use crate::emergency::privacy::Outcome;
    use crate::words::{Private, Time};

    #[test]
    fn a4_a_notice_has_one_name_however_often_it_is_told_and_no_two_share_one() {
        let told = || template::tests::notice(Kind::Outcome, Some(Outcome::Ended));
        let name = series("boot", &told());
        assert_eq!((name.len(), series("boot", &told())), (32, name.clone()));
        let later = Time::from_micros(1);
        for other in [
            Notice { kind: Kind::Callback, ..told() },
            Notice { outcome: Some(Outcome::Dropped), ..told() },
            Notice { agent_id: Private::new("bob".to_owned()), ..told() },
            Notice { time: later, ..told() },
            Notice { about: later, ..told() },
            Notice { callback_number: None, ..told() },
        ] {
            assert_ne!(series("boot", &other), name);
        }
        assert_ne!(series("another boot", &told()), name);
    }
}

//! The ways to tell people, as far as they differ. A new one is a file beside `smtp.rs` and `webhook.rs`, a line in
//! [`Way`] and the arms here.

use super::Settings;
use super::failure::Failure;
use super::outbox::{Letter, Way};
use super::post::Hook;
use super::smtp::Smtp;
use super::template::Written;
use super::webhook;
use crate::emergency::notice::Notice;
use crate::io::clock;
use std::sync::Arc;

/// A way that is configured.
pub(super) enum Channel {
    Smtp(Arc<Smtp>),
    Webhook(Arc<Hook>),
}

impl Channel {
    /// Every configured one.
    pub(super) fn all(settings: &Settings) -> Vec<Self> {
        let smtp = settings.smtp.iter().map(Arc::clone).map(Self::Smtp);
        smtp.chain(settings.webhook.iter().map(Arc::clone).map(Self::Webhook)).collect()
    }

    const fn way(&self) -> Way {
        match self {
            Self::Smtp(_) => Way::Smtp,
            Self::Webhook(_) => Way::Webhook,
        }
    }

    /// One letter per recipient, and how many recipients cannot have one.
    pub(super) fn letters(&self, notice: &Notice, written: &Written, series: &str) -> (Vec<Letter>, usize) {
        match self {
            Self::Smtp(smtp) => smtp.letters(notice, written, clock::wall(), series),
            Self::Webhook(_) => (vec![webhook::letter(notice, written, clock::wall_at(notice.time), series)], 0),
        }
    }

    async fn deliver(&self, letter: &Letter) -> Result<(), Failure> {
        match self {
            Self::Smtp(smtp) => smtp.deliver(letter).await,
            Self::Webhook(hook) => hook.post(&letter.name, letter.content.reveal().clone()).await,
        }
    }
}

/// Tries a letter by its way.
pub(super) async fn deliver(settings: &Settings, letter: &Letter) -> Result<(), Failure> {
    match Channel::all(settings).into_iter().find(|channel| channel.way() == letter.way) {
        Some(channel) => channel.deliver(letter).await,
        None => Err(Failure::NoServer),
    }
}

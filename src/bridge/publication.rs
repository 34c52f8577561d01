//! What agents are shown as, told to a presence server (RFC 3903, RULES A1).
//!
//! Each agent has one publication of ours there, or none while she is available: DND is a publication of its own beside
//! whatever others publish for her, and restoring removes it. What the server holds outlives the process as rows in
//! [`Table::Publication`], by agent: the next run refreshes or removes it under its tag and never publishes it twice. What
//! is wished is the story's alone. Read [`Publication`] first. Nothing here can touch a call.

use super::call::Owner;
use super::challenge::TrunkKey;
use super::links::{Credentials, escaped};
use super::own::Errand;
use super::shard::{Do, Shard, Wake};
use crate::emergency::facts::Side;
use crate::emergency::presence::PresenceState;
use crate::sip::compose::{self, Plain};
use crate::sip::header::seconds;
use crate::sip::{Flow, Message, Name};
use crate::words::{Private, Row, Saved, Table, Time};
use serde::{Deserialize, Serialize};
use slotmap::{SlotMap, new_key_type};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The form of the rows. One that is higher is another version's.
const FORMAT: u8 = 1;
/// Seconds that a first publication lives: should its answer be lost, or we be killed before it is on record, then
/// nobody can remove it, and it must end soon by itself.
const FIRST_LIFE: u32 = 60;
/// Seconds of life that a refresh asks for, which comes at half the life before it.
const LIFE: u32 = 900;
const FIRST_RETRY: Duration = Duration::from_secs(2);
const LAST_RETRY: Duration = Duration::from_secs(120);
/// Between one publication and the next after a restart.
const NEXT: Duration = Duration::from_millis(1);

new_key_type! {
    /// An agent's publication.
    pub(super) struct PublicationKey;
}

/// Where presence is told (`[presence] kind = "sip-publish"`).
#[derive(Clone, Debug)]
pub struct Publisher {
    /// The way to the presence server.
    pub flow: Flow,
    /// `host[:port]` of the presence server, as it stands in URIs.
    pub host: String,
    /// What answers its challenges.
    pub credentials: Option<Arc<Credentials>>,
    /// How many times faster it is tried again.
    pub time_scale: u32,
}

/// All publications.
#[derive(Default)]
pub(super) struct Publications {
    all: SlotMap<PublicationKey, Publication>,
    by_agent: BTreeMap<String, PublicationKey>,
    /// What the server asked for last.
    pub(super) key: TrunkKey,
}

/// One agent's event state at the presence server.
struct Publication {
    agent: Private<String>,
    /// The newest wish; a retry sends this one. Available: none of ours is to be there.
    wish: PresenceState,
    /// What the server holds, as far as is known.
    held: Option<Held>,
    under_way: Option<Asked>,
    /// When it is to be sent again, to keep it alive or because it failed; a wake at any other time is stale.
    due: Option<Time>,
    retry: Duration,
    /// Seconds to ask for at first.
    first: u32,
    /// Seconds to ask for later.
    life: u32,
}

/// A publication at a server.
struct Held {
    /// The server's `host[:port]`.
    host: String,
    etag: String,
    shown: PresenceState,
    /// When it ends by itself.
    until: Time,
}

/// What the PUBLISH under way is to do with the state (RFC 3903 section 4.1).
#[derive(Clone, Copy)]
enum Asked {
    /// Show this, from then on or still.
    Show(PresenceState, u32),
    Remove,
}

/// A publication at a server, as a row.
#[derive(Serialize, Deserialize)]
struct KeptPublication<'a> {
    format: u8,
    host: Cow<'a, str>,
    etag: Cow<'a, str>,
    shown: PresenceState,
    /// In microseconds of boot time; `life` of them from the writing on.
    until: u64,
    life: u64,
}

impl Shard {
    /// Takes up what an earlier run published. After the story was restored, and before it is asked what it says: it is
    /// the story that knows what is to be shown.
    pub(super) fn restore_publications(&mut self, saved: &Saved, now: Time) {
        let mut at = now;
        for (agent, value) in saved.rows(Table::Publication) {
            let wish = self.story().map_or(PresenceState::Available, |story| story.presence_of(agent).shown);
            match self.held_of(value, saved.same_boot, now) {
                Some(held) => {
                    let key = self.own.publications.of(&Private::new(agent.to_owned()), wish);
                    if let Some(publication) = self.own.publications.all.get_mut(key) {
                        publication.held = Some(held);
                    }
                    at += NEXT;
                    self.publish_again_at(key, at);
                }
                None => self.out.push_back(Do::Side(Side::Keep(Row::forget(Table::Publication, agent)))),
            }
        }
    }

    /// An agent is to be shown so; `again`: as she was before a restart.
    pub(super) fn want_presence(&mut self, agent: &Private<String>, wish: PresenceState, again: bool, now: Time) {
        if self.setup.presence.is_none() {
            return;
        }
        let key = self.own.publications.of(agent, wish);
        let Some(publication) = self.own.publications.all.get_mut(key) else { return };
        publication.wish = wish;
        publication.retry = FIRST_RETRY;
        let comes = publication.under_way.is_some() || again && publication.due.is_some();
        if !comes {
            self.publish(key, now);
        }
    }

    /// A timer of a publication fired.
    pub(super) fn publication_due(&mut self, key: PublicationKey, now: Time) {
        if self.own.publications.all.get(key).and_then(|p| p.due).is_some_and(|at| at <= now) {
            self.publish(key, now);
        }
    }

    /// The server's answer.
    pub(super) fn on_published(&mut self, key: PublicationKey, msg: &Message, now: Time) {
        if msg.status() < 200 {
            return;
        }
        let Some(publication) = self.own.publications.all.get_mut(key) else { return };
        let asked = publication.under_way.take();
        match (msg.status(), asked) {
            (200..=299, Some(Asked::Show(shown, life))) => self.on_shown(key, shown, life, msg, now),
            // Without a wish it is forgotten; the wish may have changed meanwhile.
            (200..=299, _) => self.publish_anew(key, now),
            // RFC 3903 section 4.1: our state is unknown there; publish it anew, or be content if it was to go.
            (412, _) if publication.held.is_some() => self.publish_anew(key, now),
            (423, Some(Asked::Show(_, life))) => self.on_too_brief(key, life, msg, now),
            _ => self.retry_publication(key, now),
        }
    }

    /// It failed: the newest wish is tried again later. What is to go and cannot be removed ends by itself.
    pub(super) fn retry_publication(&mut self, key: PublicationKey, now: Time) {
        let Some(publication) = self.own.publications.all.get_mut(key) else { return };
        publication.under_way = None;
        let wait = publication.retry;
        publication.retry = (wait * 2).min(LAST_RETRY);
        let unwanted = publication.held.as_ref().filter(|_| publication.wish == PresenceState::Available);
        if unwanted.is_some_and(|held| held.until <= now) {
            return self.publish_anew(key, now);
        }
        let times = self.setup.presence.as_ref().map_or(1, |p| p.time_scale.max(1));
        self.publish_again_at(key, now + wait / times);
    }

    /// Asks for what is wished now.
    fn publish(&mut self, key: PublicationKey, now: Time) {
        let Some(publisher) = self.setup.presence.clone() else { return };
        if self.own.publications.all.get(key).and_then(|p| p.held.as_ref()).is_some_and(|held| held.host != publisher.host) {
            // What another server than this holds ends by itself.
            self.let_go(key);
        }
        let Some(publication) = self.own.publications.all.get_mut(key) else { return };
        let wish = publication.wish;
        let asked = match &publication.held {
            None if wish == PresenceState::Available => return self.own.publications.remove(key),
            Some(_) if wish == PresenceState::Available => Asked::Remove,
            None => Asked::Show(wish, publication.first),
            Some(_) => Asked::Show(wish, publication.life),
        };
        publication.under_way = Some(asked);
        publication.due = None;
        let seq = self.own.next_seq();
        let (tx, via) = self.endpoint.begin_plain(publisher.flow, Owner::Own(Errand::Publish(key)), now);
        let id = String::from_utf8_lossy(self.endpoint.plain_id(tx).as_bytes()).into_owned();
        let Some(publication) = self.own.publications.all.get(key) else { return };
        // Publisher and presentity are one (RFC 3903 section 4): the agent, at the presence server's host.
        let user = escaped(publication.agent.reveal());
        let aor = format!("sip:{user}@{}", publisher.host);
        let plain = Plain {
            user: Some(&user),
            host: &publisher.host,
            transport: publisher.flow.transport,
            via,
            from: &aor,
            id: &id,
            seq,
        };
        // A refresh may leave the body out (RFC 3903 section 4.3), and Kamailio's cache then forgets what it had: it is said again.
        let (expires, body) = match asked {
            Asked::Remove => (0, Vec::new()),
            Asked::Show(shown, life) => (life, document(&aor, shown)),
        };
        let etag = publication.held.as_ref().map(|held| &*held.etag);
        let bytes = compose::publish(plain, "presence", etag, expires, "application/pidf+xml", body);
        self.endpoint.send(tx, bytes, now);
    }

    /// The server holds nothing of ours any more.
    fn publish_anew(&mut self, key: PublicationKey, now: Time) {
        self.let_go(key);
        self.publish(key, now);
    }

    /// It is published, for as long as the server says.
    fn on_shown(&mut self, key: PublicationKey, shown: PresenceState, life: u32, msg: &Message, now: Time) {
        let host = self.setup.presence.as_ref().map(|p| p.host.clone()).unwrap_or_default();
        let granted = msg.get(Name::Expires).and_then(seconds).unwrap_or(life);
        let Some(etag) = msg.get(Name::SipEtag).filter(|_| granted > 0) else {
            self.let_go(key);
            return self.retry_publication(key, now);
        };
        let Some(publication) = self.own.publications.all.get_mut(key) else { return };
        let life = Duration::from_secs(u64::from(granted));
        let held = Held { host, etag: String::from_utf8_lossy(etag).into_owned(), shown, until: now + life };
        let row = serde_json::to_vec(&KeptPublication::of(&held, now)).unwrap_or_default();
        let agent = publication.agent.reveal().as_str();
        self.out.push_back(Do::Side(Side::Keep(Row::keep(Table::Publication, agent, row))));
        publication.held = Some(held);
        publication.retry = FIRST_RETRY;
        if publication.wish != shown {
            return self.publish(key, now);
        }
        self.publish_again_at(key, now + life / 2);
    }

    /// RFC 3903 section 6: the server says what life it wants.
    fn on_too_brief(&mut self, key: PublicationKey, life: u32, msg: &Message, now: Time) {
        let least = msg.get(Name::MinExpires).and_then(seconds).filter(|least| *least > life);
        let (Some(least), Some(publication)) = (least, self.own.publications.all.get_mut(key)) else {
            return self.retry_publication(key, now);
        };
        publication.first = publication.first.max(least);
        publication.life = publication.life.max(least);
        self.publish(key, now);
    }

    fn publish_again_at(&mut self, key: PublicationKey, at: Time) {
        if let Some(publication) = self.own.publications.all.get_mut(key) {
            publication.due = Some(at);
            self.wakes.arm(at, Wake::Errand(Errand::Publish(key)));
        }
    }

    fn let_go(&mut self, key: PublicationKey) {
        let Some(publication) = self.own.publications.all.get_mut(key) else { return };
        if publication.held.take().is_some() {
            let agent = publication.agent.reveal().as_str();
            self.out.push_back(Do::Side(Side::Keep(Row::forget(Table::Publication, agent))));
        }
    }

    /// What a row says, if it is about the server of now and not over.
    fn held_of(&self, row: &[u8], same_boot: bool, now: Time) -> Option<Held> {
        let kept: KeptPublication<'_> = serde_json::from_slice(row).ok()?;
        let until = if same_boot { Time::from_micros(kept.until) } else { now + Duration::from_micros(kept.life) };
        let here = self.setup.presence.as_ref().is_some_and(|p| p.host == kept.host);
        (kept.format <= FORMAT && here && until > now).then(|| Held {
            host: kept.host.into_owned(),
            etag: kept.etag.into_owned(),
            shown: kept.shown,
            until,
        })
    }
}

impl Publications {
    fn of(&mut self, agent: &Private<String>, wish: PresenceState) -> PublicationKey {
        let Self { all, by_agent, .. } = self;
        *by_agent.entry(agent.reveal().clone()).or_insert_with(|| {
            all.insert(Publication {
                agent: agent.clone(),
                wish,
                held: None,
                under_way: None,
                due: None,
                retry: FIRST_RETRY,
                first: FIRST_LIFE,
                life: LIFE,
            })
        })
    }

    fn remove(&mut self, key: PublicationKey) {
        if let Some(publication) = self.all.remove(key) {
            self.by_agent.remove(publication.agent.reveal());
        }
    }
}

impl<'a> KeptPublication<'a> {
    fn of(held: &'a Held, now: Time) -> Self {
        Self {
            format: FORMAT,
            host: Cow::Borrowed(&held.host),
            etag: Cow::Borrowed(&held.etag),
            shown: held.shown,
            until: held.until.as_micros(),
            life: u64::try_from(held.until.since(now).as_micros()).unwrap_or(0),
        }
    }
}

/// RFC 3863 with RFC 4480: RPID has no do-not-disturb, so it is `busy` with a note.
fn document(aor: &str, shown: PresenceState) -> Vec<u8> {
    let entity: String = aor.chars().filter(|c| !matches!(c, '<' | '>' | '&' | '"' | '\'')).collect();
    let (basic, activity, note) = match shown {
        PresenceState::Available => ("open", "", "Available"),
        PresenceState::Busy => ("open", "<rpid:busy/>", "Busy"),
        PresenceState::Away => ("open", "<rpid:away/>", "Away"),
        PresenceState::Dnd => ("open", "<rpid:busy/>", "Do not disturb"),
        PresenceState::Offline => ("closed", "<rpid:unknown/>", "Offline"),
    };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n\
         <presence xmlns=\"urn:ietf:params:xml:ns:pidf\" xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" \
         xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\" entity=\"{entity}\">\r\n\
         <tuple id=\"e911d\"><status><basic>{basic}</basic></status><note>{note}</note></tuple>\r\n\
         <dm:person id=\"e911d-person\"><rpid:activities>{activity}</rpid:activities><dm:note>{note}</dm:note></dm:person>\r\n\
         </presence>\r\n"
    )
    .into_bytes()
}

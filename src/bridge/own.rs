//! Requests on our own behalf: trunks are asked for their health, a presence server is told who is busy.
//!
//! Neither can touch a call: a health answer only orders trunks, and nothing waits for a publication.

use super::call::{CallKey, Owner, Side as End};
use super::links::escaped;
use super::shard::{Do, Shard, Wake};
use crate::emergency::facts::{Input, LegId, Side, TrunkId};
use crate::sip::compose::{self, Plain};
use crate::sip::header::seconds;
use crate::sip::{Flow, Message, Name};
use crate::words::{Private, Time};
use slotmap::{SlotMap, new_key_type};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

new_key_type! {
    /// An agent's publication.
    pub(super) struct PublicationKey;
}

/// What a request of our own is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Errand {
    /// A trunk's health. The number is that of the configuration that asked for it.
    Probe(TrunkId, u32),
    /// Whether the far end of a ringing leg is still there, its connection being lost.
    Reopen(CallKey, LegId),
    /// An agent's presence.
    Publish(PublicationKey),
    /// Whether a side of a call that an earlier run left behind still knows of it.
    Alive(CallKey, LegId, End),
    /// Whether a desk answers: the round of questions, and its place among the desks.
    Desk(u32, u16),
    /// The patience with the desks of this round is over.
    DesksAreSilent(u32),
    /// Whether a callback number comes back to us.
    SelfCall(u32),
    /// The patience with that is over.
    SelfCallOver(u32),
}

/// Where presence is told (`[presence] kind = "sip-publish"`).
#[derive(Clone, Debug)]
pub struct Publisher {
    /// The way to the presence server.
    pub flow: Flow,
    /// `host[:port]` of the presence server, as it stands in URIs.
    pub host: String,
    /// How many times faster it is tried again.
    pub time_scale: u32,
}

/// Our own requests' state.
pub(super) struct Own {
    /// What the story was told last of each trunk.
    up: Vec<bool>,
    /// The trunks that have answered or failed to since the start.
    heard: BTreeSet<TrunkId>,
    /// Counts configurations: a probe of an older one is not renewed.
    generation: u32,
    seq: u32,
    publications: SlotMap<PublicationKey, Publication>,
    by_agent: BTreeMap<String, PublicationKey>,
    pub(super) desks: super::desks::Desks,
    pub(super) self_calls: Vec<super::self_call::SelfCall>,
}

/// One agent's event state (RFC 3903): DND is a publication of its own, and restoring removes it.
struct Publication {
    agent: Private<String>,
    etag: Option<String>,
    /// The newest wish; a retry sends this one (RULES A1).
    dnd: bool,
    under_way: Option<Asked>,
    /// When it is to be sent again, to keep it alive or because it failed; a wake at any other time is stale.
    due: Option<Time>,
    retry: Duration,
    /// Seconds to ask for.
    life: u32,
}

/// What the PUBLISH under way is to do with the state (RFC 3903 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Initial,
    Refresh,
    Remove,
}

/// Seconds. The publication dies by itself if we do (STANDARDS, RFC 3903), and soon: nobody else can remove it. While
/// the call lasts it is refreshed at half its life.
const PUBLICATION_LIFE: u32 = 900;
const FIRST_RETRY: Duration = Duration::from_secs(2);
const LAST_RETRY: Duration = Duration::from_secs(120);

impl Own {
    pub(super) fn new(trunks: usize) -> Self {
        Self {
            up: vec![true; trunks],
            heard: BTreeSet::new(),
            generation: 0,
            seq: 0,
            publications: SlotMap::with_key(),
            by_agent: BTreeMap::new(),
            desks: super::desks::Desks::default(),
            self_calls: Vec::new(),
        }
    }
}

impl Shard {
    /// Begins to probe every trunk that wants it, spread over their first interval.
    pub(super) fn start_probes(&mut self, now: Time) {
        self.own.generation += 1;
        self.own.up.resize(self.setup.links.trunks.len(), true);
        let generation = self.own.generation;
        for (i, link) in (0u16..).zip(&self.setup.links.trunks) {
            if let Some(every) = link.probe {
                let first = every.min(Duration::from_secs(1)) * u32::from(i % 8 + 1) / 8;
                self.wakes.arm(now + first, Wake::Errand(Errand::Probe(TrunkId(i), generation)));
            }
        }
    }

    /// A request of our own is due.
    pub(super) fn run_errand(&mut self, errand: Errand, now: Time) {
        match errand {
            Errand::Probe(trunk, generation) if generation == self.own.generation => self.probe(trunk, now),
            Errand::Probe(..) | Errand::Reopen(..) | Errand::Desk(..) | Errand::SelfCall(_) => {}
            Errand::SelfCallOver(id) => self.on_self_call_over(id, now),
            Errand::DesksAreSilent(_) => self.on_desk(errand, 0, now),
            Errand::Alive(call, leg, side) => self.ask_whether_alive(call, leg, side, now),
            Errand::Publish(key) => {
                if self.own.publications.get(key).and_then(|p| p.due).is_some_and(|at| at <= now) {
                    self.publish(key, now);
                }
            }
        }
    }

    /// An answer to one of them.
    pub(super) fn on_errand_response(&mut self, errand: Errand, msg: &Message, now: Time) {
        match errand {
            // Any answer is a sign of life but 503, which says "not now" (RFC 3261 section 21.5.4).
            Errand::Probe(trunk, _) => self.trunk_is(trunk, msg.status() != 503, now),
            Errand::Desk(..) if msg.status() >= 200 => self.on_desk(errand, msg.status(), now),
            Errand::SelfCall(id) => self.on_self_call_response(id, msg, now),
            Errand::Reopen(..) | Errand::Desk(..) | Errand::DesksAreSilent(_) | Errand::SelfCallOver(_) => {}
            Errand::Publish(key) => self.on_published(key, msg, now),
            Errand::Alive(call, leg, side) => self.on_alive(call, leg, side, msg.status(), now),
        }
    }

    /// Nobody answered one of them.
    pub(super) fn on_errand_failed(&mut self, errand: Errand, now: Time) {
        match errand {
            Errand::Probe(trunk, _) => self.trunk_is(trunk, false, now),
            Errand::Reopen(call, leg) => self.on_leg_still_lost(call, leg, now),
            Errand::Publish(key) => self.retry_publication(key, now),
            Errand::Desk(..) | Errand::DesksAreSilent(_) => self.on_desk(errand, 0, now),
            Errand::SelfCall(id) | Errand::SelfCallOver(id) => self.on_self_call_silence(id),
            Errand::Alive(call, leg, side) => self.ask_later_whether_alive(call, leg, side, now + super::kept::ASK_AGAIN),
        }
    }

    /// Carries out what happens beside the calls.
    pub(super) fn beside(&mut self, side: Side, now: Time) {
        if let Side::Presence { agent, dnd, .. } = &side
            && self.setup.presence.is_some()
        {
            self.want_presence(agent, *dnd, now);
        }
        self.out.push_back(Do::Side(side));
    }

    fn probe(&mut self, trunk: TrunkId, now: Time) {
        let generation = self.own.generation;
        let Some(link) = self.setup.links.trunks.get(usize::from(trunk.0)) else { return };
        let Some(every) = link.probe else { return };
        let (errand, flow, host) = (Errand::Probe(trunk, generation), link.flow, link.host.clone());
        self.ask_for_health(errand, flow, &host, now);
        self.wakes.arm(now + every, Wake::Errand(errand));
    }

    /// Sends OPTIONS.
    pub(super) fn ask_for_health(&mut self, errand: Errand, flow: Flow, host: &str, now: Time) {
        let (tx, via) = self.endpoint.begin_plain(flow, Owner::Own(errand), now);
        let id = String::from_utf8_lossy(self.endpoint.plain_id(tx).as_bytes()).into_owned();
        let bytes = compose::options(Plain {
            user: None,
            host,
            transport: flow.transport,
            via,
            from: &format!("sip:{}", self.setup.links.domain),
            id: &id,
            seq: self.next_seq(),
        });
        self.endpoint.send(tx, bytes, now);
    }

    /// The CSeq number of a request outside any dialog.
    pub(super) fn next_seq(&mut self) -> u32 {
        self.own.seq = self.own.seq.wrapping_add(1) & 0x7fff_ffff;
        self.own.seq
    }

    /// Whether it is known since the start if this trunk answers.
    pub fn has_heard_of(&self, trunk: TrunkId) -> bool {
        self.own.heard.contains(&trunk)
    }

    fn trunk_is(&mut self, trunk: TrunkId, up: bool, now: Time) {
        self.own.heard.insert(trunk);
        let Some(known) = self.own.up.get_mut(usize::from(trunk.0)) else { return };
        if *known != up {
            *known = up;
            self.tell_story(Some(Input::Health { trunk, up }), now);
        }
    }

    fn want_presence(&mut self, agent: &Private<String>, dnd: bool, now: Time) {
        let own = &mut self.own;
        let key = *own.by_agent.entry(agent.reveal().clone()).or_insert_with(|| {
            own.publications.insert(Publication {
                agent: agent.clone(),
                etag: None,
                dnd,
                under_way: None,
                due: None,
                retry: FIRST_RETRY,
                life: PUBLICATION_LIFE,
            })
        });
        if let Some(publication) = self.own.publications.get_mut(key) {
            publication.dnd = dnd;
            publication.retry = FIRST_RETRY;
            if publication.under_way.is_none() {
                self.publish(key, now);
            }
        }
    }

    /// Asks for what is wished now.
    fn publish(&mut self, key: PublicationKey, now: Time) {
        let Some(publisher) = self.setup.presence.clone() else { return };
        let Some(publication) = self.own.publications.get_mut(key) else { return };
        let asked = match (publication.dnd, &publication.etag) {
            (false, None) => return self.forget_publication(key),
            (false, Some(_)) => Asked::Remove,
            (true, None) => Asked::Initial,
            (true, Some(_)) => Asked::Refresh,
        };
        publication.under_way = Some(asked);
        publication.due = None;
        self.own.seq = self.own.seq.wrapping_add(1) & 0x7fff_ffff;
        let (tx, via) = self.endpoint.begin_plain(publisher.flow, Owner::Own(Errand::Publish(key)), now);
        let id = String::from_utf8_lossy(self.endpoint.plain_id(tx).as_bytes()).into_owned();
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
            seq: self.own.seq,
        };
        let expires = if asked == Asked::Remove { 0 } else { publication.life };
        let body = if asked == Asked::Initial { busy(&aor) } else { Vec::new() };
        let bytes = compose::publish(plain, "presence", publication.etag.as_deref(), expires, "application/pidf+xml", body);
        self.endpoint.send(tx, bytes, now);
    }

    fn on_published(&mut self, key: PublicationKey, msg: &Message, now: Time) {
        if msg.status() < 200 {
            return;
        }
        let Some(publication) = self.own.publications.get_mut(key) else { return };
        let asked = publication.under_way.take();
        let had = publication.etag.is_some();
        match msg.status() {
            200..=299 if asked == Some(Asked::Remove) => {
                publication.etag = None;
                // Without a wish it is forgotten; the wish may have changed meanwhile.
                self.publish(key, now);
            }
            200..=299 => self.on_shown(key, msg, now),
            // RFC 3903 section 4.1: our state is unknown there; publish it anew, or be content if it was to go.
            412 if had => {
                publication.etag = None;
                self.publish(key, now);
            }
            // RFC 3903 section 6: too brief; the server says what it wants.
            423 if msg.get(Name::MinExpires).and_then(seconds).is_some_and(|least| least > publication.life) => {
                publication.life = msg.get(Name::MinExpires).and_then(seconds).unwrap_or(PUBLICATION_LIFE);
                self.publish(key, now);
            }
            _ => self.retry_publication(key, now),
        }
    }

    /// It is published, for as long as the server says.
    fn on_shown(&mut self, key: PublicationKey, msg: &Message, now: Time) {
        let Some(publication) = self.own.publications.get_mut(key) else { return };
        let granted = msg.get(Name::Expires).and_then(seconds).unwrap_or(publication.life);
        let Some(etag) = msg.get(Name::SipEtag).filter(|_| granted > 0) else {
            publication.etag = None;
            return self.retry_publication(key, now);
        };
        publication.etag = Some(String::from_utf8_lossy(etag).into_owned());
        publication.retry = FIRST_RETRY;
        if !publication.dnd {
            return self.publish(key, now);
        }
        self.publish_again_at(key, now + Duration::from_millis(u64::from(granted) * 500));
    }

    fn retry_publication(&mut self, key: PublicationKey, now: Time) {
        let Some(publication) = self.own.publications.get_mut(key) else { return };
        publication.under_way = None;
        let wait = publication.retry;
        publication.retry = (wait * 2).min(LAST_RETRY);
        let times = self.setup.presence.as_ref().map_or(1, |p| p.time_scale.max(1));
        self.publish_again_at(key, now + wait / times);
    }

    fn publish_again_at(&mut self, key: PublicationKey, at: Time) {
        if let Some(publication) = self.own.publications.get_mut(key) {
            publication.due = Some(at);
            self.wakes.arm(at, Wake::Errand(Errand::Publish(key)));
        }
    }

    fn forget_publication(&mut self, key: PublicationKey) {
        if let Some(publication) = self.own.publications.remove(key) {
            self.own.by_agent.remove(publication.agent.reveal());
        }
    }
}

/// RFC 3863 with RFC 4480: RPID has no do-not-disturb, so it is `busy` with a note.
fn busy(aor: &str) -> Vec<u8> {
    let entity: String = aor.chars().filter(|c| !matches!(c, '<' | '>' | '&' | '"' | '\'')).collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n\
         <presence xmlns=\"urn:ietf:params:xml:ns:pidf\" xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" \
         xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\" entity=\"{entity}\">\r\n\
         <tuple id=\"e911d\"><status><basic>open</basic></status><note>Do not disturb</note></tuple>\r\n\
         <dm:person id=\"e911d-person\"><rpid:activities><rpid:busy/></rpid:activities><dm:note>Do not disturb</dm:note></dm:person>\r\n\
         </presence>\r\n"
    )
    .into_bytes()
}

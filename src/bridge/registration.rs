//! Registering at trunks that want it (`register = true`; RFC 3261 section 10.2): one binding a trunk, kept alive.
//!
//! It brings the trunk's calls to us and is a sign of its health, no more: calls go out whether it succeeds or not. At the
//! end nothing is taken back: the binding runs out, or the next run of the node takes it over.

use super::call::Owner;
use super::compose::contact;
use super::health::About;
use super::links::{Credentials, Link, escaped};
use super::own::Errand;
use super::shard::{Shard, Wake};
use crate::emergency::facts::TrunkId;
use crate::sip::compose::{self, Plain};
use crate::sip::header::{NameAddr, number, seconds, values};
use crate::sip::{Flow, Message, Name};
use crate::words::Time;
use crate::words::uri::split_port;
use std::sync::Arc;
use std::time::Duration;

/// A trunk's `register = true`.
#[derive(Clone, Copy, Debug)]
pub struct Registering {
    /// How many times faster it is tried again after a failure.
    pub time_scale: u32,
}

/// Our binding at one trunk.
pub(super) struct Registration {
    /// For whom, and where: with another one it begins anew.
    credentials: Arc<Credentials>,
    flow: Flow,
    host: String,
    /// The same for all requests (RFC 3261 section 10.2); empty before the first.
    call_id: String,
    /// The CSeq used last.
    seq: u32,
    /// When the next request is due, unless one is under way; a wake at any other time is stale.
    due: Option<Time>,
    /// Until when the trunk keeps the binding, as it said.
    until: Option<Time>,
    /// Seconds to ask for.
    life: u32,
    /// How long after the next failure it is tried again.
    retry: Duration,
}

/// Seconds. A registrar that has lost its memory is without us for half of that at most.
const LIFE: u32 = 600;
/// Seconds. Who wants more (423) wants a mistake.
const LONGEST_LIFE: u32 = 24 * 3600;
/// Seconds. Who grants less is asked no more often than for this.
const SHORTEST_LIFE: u32 = 8;
const FIRST_RETRY: Duration = Duration::from_secs(5);
const LAST_RETRY: Duration = Duration::from_secs(120);
/// After a refusal: passwords do not become right by trying, and some lock who tries too often.
const FIRST_RETRY_REFUSED: Duration = Duration::from_secs(30);
const LAST_RETRY_REFUSED: Duration = Duration::from_secs(10 * 60);

impl Shard {
    /// Begins to register at every trunk that wants it, spread over the first second; bindings that are still meant go on.
    pub(super) fn start_registrations(&mut self, now: Time) {
        let links = Arc::clone(&self.setup.links);
        self.own.registrations.resize_with(links.trunks.len(), || None);
        for (i, link) in (0u16..).zip(&links.trunks) {
            self.start_registration(TrunkId(i), link, now + Duration::from_millis(u64::from(i % 8) * 125), now);
        }
    }

    fn start_registration(&mut self, trunk: TrunkId, link: &Link, at: Time, now: Time) {
        let Some(entry) = self.own.registrations.get_mut(usize::from(trunk.0)) else { return };
        let Some(credentials) = link.credentials.clone().filter(|_| link.register.is_some() && !link.flow.is_nowhere()) else {
            if entry.take().is_some() {
                self.trunk_is(trunk, About::Registration, true, now);
            }
            return;
        };
        if entry.as_ref().is_some_and(|r| r.is_of(link, &credentials)) {
            return;
        }
        *entry = Some(Registration {
            credentials,
            flow: link.flow,
            host: link.host.clone(),
            call_id: String::new(),
            seq: 0,
            due: Some(at),
            until: None,
            life: LIFE,
            retry: Duration::ZERO,
        });
        self.wakes.arm(at, Wake::Errand(Errand::Register(trunk)));
    }

    /// A binding may have to be refreshed.
    pub(super) fn registration_due(&mut self, trunk: TrunkId, now: Time) {
        let binding = self.own.registration_mut(trunk);
        if binding.is_some_and(|r| r.due.is_some_and(|at| at <= now)) {
            self.register(trunk, now);
        }
    }

    fn register(&mut self, trunk: TrunkId, now: Time) {
        let Some(r) = self.own.registration_mut(trunk) else { return };
        r.due = None;
        r.seq = r.seq.wrapping_add(1) & 0x7fff_ffff;
        let (tx, via) = self.endpoint.begin_plain(r.flow, Owner::Own(Errand::Register(trunk)), now);
        if r.call_id.is_empty() {
            r.call_id = String::from_utf8_lossy(self.endpoint.plain_id(tx).as_bytes()).into_owned();
        }
        let user = escaped(r.credentials.user.reveal());
        let host = String::from_utf8_lossy(split_port(r.host.as_bytes()).0).into_owned();
        let plain = Plain {
            user: None,
            host: &r.host,
            transport: r.flow.transport,
            via,
            from: &format!("sip:{user}@{host}"),
            id: &r.call_id,
            seq: r.seq,
        };
        let own = contact(&user, self.endpoint.locals(), r.flow, b"");
        let bytes = compose::register(plain, &String::from_utf8_lossy(&own), r.life);
        self.endpoint.send(tx, bytes, now);
    }

    /// An answer to REGISTER; one to an older binding's is nobody's.
    pub(super) fn on_registered(&mut self, trunk: TrunkId, msg: &Message, now: Time) {
        if msg.status() < 200 {
            return;
        }
        let Some(r) = self.own.registration_mut(trunk).filter(|r| r.call_id.as_bytes() == msg.call_id()) else { return };
        r.seq = r.seq.max(msg.cseq().map_or(0, |c| c.0));
        match msg.status() {
            200..=299 => self.on_bound(trunk, msg, now),
            // RFC 3261 section 10.2.8: too brief; the registrar says what it wants.
            423 => {
                let wanted = msg.get(Name::MinExpires).and_then(seconds).filter(|s| (r.life + 1..=LONGEST_LIFE).contains(s));
                match wanted {
                    Some(wanted) => {
                        r.life = wanted;
                        self.register(trunk, now);
                    }
                    None => self.register_later(trunk, Some(msg), now),
                }
            }
            _ => self.register_later(trunk, Some(msg), now),
        }
    }

    fn on_bound(&mut self, trunk: TrunkId, msg: &Message, now: Time) {
        let locals = self.endpoint.locals().clone();
        let Some(r) = self.own.registration_mut(trunk) else { return };
        let own = contact(&escaped(r.credentials.user.reveal()), &locals, r.flow, b"");
        let granted = granted(msg, &own).unwrap_or(r.life);
        if granted == 0 {
            return self.register_later(trunk, Some(msg), now);
        }
        r.retry = Duration::ZERO;
        r.until = Some(now + Duration::from_secs(u64::from(granted)));
        let due = now + Duration::from_millis(u64::from(granted.max(SHORTEST_LIFE)) * 500);
        self.register_at(trunk, due);
        self.trunk_is(trunk, About::Registration, true, now);
    }

    /// It failed: nobody answered, or the trunk does not want us (`refusal`).
    pub(super) fn register_later(&mut self, trunk: TrunkId, refusal: Option<&Message>, now: Time) {
        let times = self.setup.links.trunks.get(usize::from(trunk.0)).and_then(|l| l.register).map_or(1, |r| r.time_scale.max(1));
        let Some(r) = self.own.registration_mut(trunk) else { return };
        let refused = refusal.is_some_and(|msg| msg.status() < 500 && msg.status() != 408);
        let (first, last) = if refused { (FIRST_RETRY_REFUSED, LAST_RETRY_REFUSED) } else { (FIRST_RETRY, LAST_RETRY) };
        r.retry = (r.retry * 2).clamp(first, last);
        let asked = refusal.and_then(|msg| msg.get(Name::RetryAfter)).and_then(seconds).unwrap_or(0);
        let wait = r.retry.max(Duration::from_secs(u64::from(asked)).min(LAST_RETRY_REFUSED));
        // Who says nothing, or nothing about us, may have us still.
        let bound = !refused && r.until.is_some_and(|until| now < until);
        if !bound {
            r.until = None;
        }
        self.register_at(trunk, now + wait / times);
        if !bound {
            self.trunk_is(trunk, About::Registration, false, now);
        }
    }

    fn register_at(&mut self, trunk: TrunkId, at: Time) {
        if let Some(r) = self.own.registration_mut(trunk) {
            r.due = Some(at);
            self.wakes.arm(at, Wake::Errand(Errand::Register(trunk)));
        }
    }
}

impl Registration {
    fn is_of(&self, link: &Link, credentials: &Credentials) -> bool {
        let same =
            |a: &Credentials, b: &Credentials| a.user.reveal() == b.user.reveal() && a.password.reveal() == b.password.reveal();
        self.flow == link.flow && self.host == link.host && same(&self.credentials, credentials)
    }
}

/// Seconds that were granted to our Contact (RFC 3261 section 10.3, step 8).
fn granted(msg: &Message, own: &[u8]) -> Option<u32> {
    let own = NameAddr::parse(own)?.uri;
    let mut contacts = msg.all(Name::Contact).flat_map(values).filter_map(NameAddr::parse);
    let ours = contacts.find(|c| c.uri.eq_ignore_ascii_case(own));
    let of_contact = ours.and_then(|c| c.param("expires")).and_then(number);
    of_contact.or_else(|| msg.get(Name::Expires).and_then(seconds))
}

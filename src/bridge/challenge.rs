//! Trunks, and a presence server, that ask who we are: 401 and 407 are answered there, and whoever waits hears nothing of
//! it (RULES P6).
//!
//! A trunk's credentials answer that trunk's challenges only: those to what was sent to its own address. Inside a dialog a
//! challenge may come from whoever is at its far end, and requests may go elsewhere; there it must be of the realm that the
//! trunk named before, outside of any dialog. The presence server's credentials answer challenges to what was sent there, and
//! no others.

use super::call::{Fate, Owner};
use super::links::Credentials;
use super::own::Errand;
use super::shard::Shard;
use crate::emergency::facts::{Origin, TrunkId};
use crate::sip::digest::{Asked, Challenge};
use crate::sip::header::auth_param;
use crate::sip::{ClientKey, DialogKey, Flow, Message, Name, Request};
use crate::words::Time;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

/// Challenges to one request that are answered: one each of two proxies on the way, and each of these may find its nonce
/// too old.
const MOST_ANSWERS: u8 = 4;

/// Whose credentials are asked for.
#[derive(Clone, Copy)]
enum Account {
    Trunk(TrunkId),
    Presence,
}

/// What a trunk, or the presence server, asked for last.
#[derive(Default)]
pub(super) struct TrunkKey {
    realm: Vec<u8>,
    nonce: Vec<u8>,
    /// How often that nonce was answered.
    count: u32,
}

impl Shard {
    /// Sends a challenged request again with the trunk's credentials, if they are what is asked for and have not just been
    /// refused.
    pub(super) fn answer_challenge(&mut self, tx: ClientKey, owner: Owner, msg: &Message, now: Time) -> bool {
        let Some(request) = self.endpoint.challenged(tx).filter(|r| r.answers < MOST_ANSWERS) else { return false };
        let account = match owner {
            Owner::Own(Errand::Probe(trunk, _) | Errand::Register(trunk) | Errand::Revive(trunk, _)) => {
                Some(Account::Trunk(trunk))
            }
            Owner::Own(Errand::Publish(_)) => Some(Account::Presence),
            _ => request.account.map(|trunk| Account::Trunk(TrunkId(trunk))),
        };
        let Some(account) = account.filter(|_| self.may_go_on(&request, owner)) else { return false };
        let Some((homes, credentials)) = self.who_is(account) else { return false };
        let (asks, answers) = match msg.status() {
            401 => (Name::WwwAuthenticate, Name::Authorization),
            _ => (Name::ProxyAuthenticate, Name::ProxyAuthorization),
        };
        // RFC 8760 section 2.4: the topmost that we understand.
        let trunks_own = homes.iter().any(|home| is_at(*home, request.flow));
        let known = self.key_for(account).map(|k| k.realm.clone());
        let known = known.as_deref();
        let is_meant = |c: &Challenge| {
            let in_dialog = request.msg.to_tag().is_some();
            if in_dialog { known.is_some_and(|realm| !realm.is_empty() && realm == c.realm) } else { trunks_own }
        };
        let mut challenges = msg.all(asks).filter_map(Challenge::parse);
        let Some(challenge) = challenges.find(|c| is_meant(c) && !was_refused(&request.msg, answers, c)) else { return false };
        let asked = Asked { method: request.msg.method_bytes(), uri: request.msg.uri(), body: request.msg.body() };
        let count = self.count_answer(account, &challenge);
        let cnonce = self.cnonce(request.msg.call_id(), &challenge, count);
        let (user, password) = (credentials.user.reveal(), credentials.password.reveal());
        let value = challenge.answer(user.as_bytes(), password.as_bytes(), &asked, count, cnonce.as_bytes());
        let Some(again) = self.endpoint.send_again(tx, (answers.as_str(), &value), owner, now) else { return false };
        if let Owner::Leg { call, leg, .. } = owner
            && let Some(leg) = self.calls.get_mut(call).and_then(|c| c.leg_mut(leg))
            && leg.invite == tx
        {
            leg.invite = again;
        }
        self.self_call_goes_on(owner, again);
        true
    }

    /// The trunk that a neighbour is, whatever else it is: its challenges in dialogs that it began are answered as well.
    pub(super) const fn account_of(origin: Origin) -> Option<u16> {
        match origin {
            Origin::Trunk(trunk) | Origin::Both(_, trunk) => Some(trunk.0),
            Origin::Peer(_) | Origin::Agent(_) | Origin::Stranger => None,
        }
    }

    /// Whether anybody still waits for the request: a leg that was given up is not called again.
    fn may_go_on(&self, request: &Request, owner: Owner) -> bool {
        let makes_a_call = request.msg.method_bytes() == b"INVITE" && request.msg.to_tag().is_none();
        match owner {
            Owner::Leg { call, leg, .. } if makes_a_call => {
                self.calls.get(call).and_then(|c| c.leg(leg)).is_some_and(|l| l.fate == Fate::Open)
            }
            _ => true,
        }
    }

    /// Where it is, and what answers its challenges.
    fn who_is(&self, account: Account) -> Option<(Vec<Flow>, Arc<Credentials>)> {
        match account {
            Account::Trunk(trunk) => {
                let link = self.setup.links.trunks.get(usize::from(trunk.0))?;
                Some((link.ways.iter().chain([&link.flow]).copied().collect(), link.credentials.clone()?))
            }
            Account::Presence => {
                let publisher = self.setup.presence.as_ref()?;
                Some((vec![publisher.flow], publisher.credentials.clone()?))
            }
        }
    }

    /// What a dialog of an earlier run began with says which realm is the trunk's.
    pub(super) fn learn_realm(&mut self, trunk: Option<u16>, dialog: DialogKey) {
        let (Some(trunk), Some(dialog)) = (trunk, self.endpoint.dialog(dialog)) else { return };
        let mut values = dialog.credentials.split(|b| *b == b'\n').filter_map(|l| l.splitn(2, |b| *b == b':').nth(1));
        let Some(realm) = values.find_map(|v| auth_param(v.trim_ascii(), "realm")).map(|realm| realm.to_vec()) else { return };
        if let Some(key) = self.key_for(Account::Trunk(TrunkId(trunk))).filter(|key| key.realm.is_empty()) {
            key.realm = realm;
        }
    }

    fn key_for(&mut self, account: Account) -> Option<&mut TrunkKey> {
        let Account::Trunk(trunk) = account else { return Some(&mut self.own.publications.key) };
        let place = usize::from(trunk.0);
        if self.trunk_keys.len() <= place {
            self.trunk_keys.resize_with(place + 1, TrunkKey::default);
        }
        self.trunk_keys.get_mut(place)
    }

    fn count_answer(&mut self, account: Account, challenge: &Challenge) -> u32 {
        let Some(key) = self.key_for(account) else { return 1 };
        if key.nonce != challenge.nonce || key.realm != challenge.realm {
            *key = TrunkKey { realm: challenge.realm.clone(), nonce: challenge.nonce.clone(), count: 0 };
        }
        key.count = key.count.saturating_add(1);
        key.count
    }

    /// Another one for each answer, and nobody can tell the next.
    fn cnonce(&self, call_id: &[u8], challenge: &Challenge, count: u32) -> String {
        let mut hash = DefaultHasher::new();
        hash.write_u64(self.setup.secret.rotate_left(17));
        hash.write(call_id);
        hash.write(&challenge.nonce);
        hash.write_u32(count);
        format!("{:016x}", hash.finish())
    }
}

/// Whether the request carried credentials for this realm, and they were not only too old.
fn was_refused(request: &Message, answers: Name, challenge: &Challenge) -> bool {
    let before = request.all(answers).find(|v| auth_param(v, "realm").is_some_and(|r| r == challenge.realm));
    before.is_some_and(|v| !challenge.stale || auth_param(v, "nonce").is_some_and(|n| n == challenge.nonce))
}

/// Whether this is the trunk's own address, by whatever transport.
fn is_at(trunk: Flow, flow: Flow) -> bool {
    trunk.remote == flow.remote
}

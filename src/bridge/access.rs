//! Who may come in without being a neighbour: agents with a password, and nonces that nobody need remember.
//!
//! A nonce carries its own time and a keyed check, so that asking costs us no memory (RULES R8: strangers are
//! challenged statelessly). Only a nonce that an agent's password answered is remembered, to refuse its replay: at most
//! [`REMEMBERED`] of them. [`Access`] is the configuration, [`Gate`] the state, [`Gate::look`] the question.

use super::panel::{Own, PanelKey, split_user};
use crate::emergency::facts::AgentId;
use crate::sip::digest::{Algorithm, Asked, Credentials, Ha1, challenge};
use crate::sip::{Message, Name};
use crate::words::Time;
use crate::words::uri::Uri;
use sha2::{Digest, Sha256};
use smallvec::SmallVec;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// How long a nonce is good, in seconds (STANDARDS, RFC 7616).
const NONCE_LIFE: u32 = 300;
/// Answered nonces that are remembered; older ones count as too old.
const REMEMBERED: usize = 16_384;
/// How far `nc` values may overtake each other on the way (RFC 7616 section 3.4 wants each once).
const WINDOW: u32 = 64;

/// `[auth]` and the passwords of agents.
#[derive(Clone, Default)]
pub struct Access {
    realm: String,
    accounts: HashMap<String, Account>,
}

/// An agent's place and her secrets, in the order of [`Algorithm::ALL`].
#[derive(Clone, Copy)]
struct Account {
    agent: AgentId,
    ha1: [Ha1; Algorithm::ALL.len()],
}

impl Access {
    /// The agents that have a password: id, password, place.
    pub fn new<'a>(realm: &str, agents: impl Iterator<Item = (&'a str, &'a str, AgentId)>) -> Self {
        let accounts = agents.map(|(id, password, agent)| (id.to_owned(), Account::new(agent, id, realm, password)));
        Self { realm: realm.to_owned(), accounts: accounts.collect() }
    }

    /// The place of an agent who may register.
    pub fn agent(&self, id: &str) -> Option<AgentId> {
        self.accounts.get(id).map(|a| a.agent)
    }
}

impl std::fmt::Debug for Access {
    /// Prints nobody.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Access({} agents)", self.accounts.len())
    }
}

impl Account {
    fn new(agent: AgentId, id: &str, realm: &str, password: &str) -> Self {
        let ha1 = |a| Ha1::new(a, id.as_bytes(), realm.as_bytes(), password.as_bytes());
        Self { agent, ha1: Algorithm::ALL.map(ha1) }
    }

    /// Stands in for an agent that does not exist, so that looking at her takes as long.
    fn nobody(secret: u64) -> Self {
        Self::new(AgentId(u32::MAX), "", "", &format!("{secret:016x}"))
    }

    fn ha1(&self, algorithm: Algorithm) -> &Ha1 {
        let place = Algorithm::ALL.iter().position(|a| *a == algorithm).unwrap_or_default();
        &self.ha1[place]
    }
}

/// Somebody showed an agent's password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) agent: AgentId,
    /// By the pass of her page, not by her own password.
    pub(super) panel: bool,
    nonce: Nonce,
    count: u32,
}

/// What a request's credentials are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// There are none, or they are wrong: nobody learns which part.
    Nobody,
    /// The nonce is too old or not ours; the password was not looked at.
    Stale,
    /// They are right. [`Gate::admit`] says whether for the first time.
    Right(Shown),
}

/// A nonce of ours: when it was made, in seconds since boot, and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Nonce(u32, u32);

/// See the module's docs.
pub(super) struct Gate {
    secret: u64,
    nobody: Account,
    last: u32,
    answered: BTreeMap<Nonce, Counts>,
    /// Nonces up to this one were forgotten to make room.
    forgotten: Option<Nonce>,
}

/// The `nc` values seen with a nonce: the highest, and a bit for each of those below it.
#[derive(Clone, Copy)]
struct Counts {
    highest: u32,
    seen: u64,
}

impl Gate {
    /// `secret` is random, once a process.
    pub(super) fn new(secret: u64) -> Self {
        Self { secret, nobody: Account::nobody(secret), last: 0, answered: BTreeMap::new(), forgotten: None }
    }

    /// A challenge for each algorithm, the strongest first (RFC 8760 section 2.3).
    pub(super) fn challenges(&mut self, access: &Access, msg: &Message, stale: bool, now: Time) -> SmallVec<[String; 2]> {
        self.last = self.last.wrapping_add(1);
        let nonce = self.write(Nonce(seconds(now), self.last));
        let algorithms: &[_] = if knows_md5_alone(msg) { &[Algorithm::Md5] } else { &[Algorithm::Sha256, Algorithm::Md5] };
        algorithms.iter().map(|a| challenge(&access.realm, &nonce, *a, stale)).collect()
    }

    /// What the Authorization of a request is worth. Keeps nothing. `booted`: what the wall clock said at boot.
    pub(super) fn look(&self, access: &Access, passes: (&PanelKey, Duration), msg: &Message, now: Time) -> Look {
        let all = msg.all(Name::Authorization).filter_map(Credentials::parse);
        let Some(credentials) = all.into_iter().find(|c| *c.realm == *access.realm.as_bytes()) else { return Look::Nobody };
        let Some(nonce) = self.read(&credentials.nonce).filter(|n| self.is_fresh(*n, now)) else { return Look::Stale };
        let user = std::str::from_utf8(&credentials.user).unwrap_or_default();
        let pass = split_user(user).map(|(agent, ends)| self.pass(access, passes, user, agent, ends, now));
        let account = pass.as_ref().map_or_else(|| access.accounts.get(user), Option::as_ref);
        let known = account.unwrap_or(&self.nobody);
        let asked = Asked { method: msg.method_bytes(), uri: msg.uri(), body: msg.body() };
        let right = credentials.prove(known.ha1(credentials.algorithm), &asked) && is_for(&credentials.uri, msg.uri());
        match account {
            Some(account) if right => {
                // Without a qop there is no count: such a nonce serves once.
                Look::Right(Shown { agent: account.agent, panel: pass.is_some(), nonce, count: credentials.count.unwrap_or(1) })
            }
            _ => Look::Nobody,
        }
    }

    /// What the pass of this user name is, while it is good. Takes as long for nobody as for somebody.
    fn pass(
        &self,
        access: &Access,
        passes: (&PanelKey, Duration),
        user: &str,
        agent: &str,
        ends: u64,
        now: Time,
    ) -> Option<Account> {
        let (key, booted) = passes;
        let account = access.accounts.get(agent);
        let own = Own::of(*account.unwrap_or(&self.nobody).ha1(Algorithm::Sha256));
        let place = account.map_or(self.nobody.agent, |a| a.agent);
        let pass = Account::new(place, user, &access.realm, &key.sip_password(user, &own));
        let wall = booted + now.since(Time::ZERO);
        (account.is_some() && wall.as_secs() < ends).then_some(pass)
    }

    /// Whether these credentials come for the first time; from now on they have come.
    pub(super) fn admit(&mut self, shown: Shown, now: Time) -> bool {
        let known = self.answered.get(&shown.nonce).copied();
        let Some(counts) = known.unwrap_or(Counts { highest: 0, seen: 0 }).with(shown.count) else { return false };
        if known.is_none() {
            self.make_room(now);
        }
        if self.forgotten.is_some_and(|f| shown.nonce <= f) {
            return false;
        }
        self.answered.insert(shown.nonce, counts);
        true
    }

    fn make_room(&mut self, now: Time) {
        while let Some((&oldest, _)) = self.answered.first_key_value()
            && (self.answered.len() >= REMEMBERED || !self.is_fresh(oldest, now))
        {
            self.answered.pop_first();
            self.forgotten = Some(oldest);
        }
    }

    fn is_fresh(&self, nonce: Nonce, now: Time) -> bool {
        seconds(now).checked_sub(nonce.0).is_some_and(|age| age < NONCE_LIFE)
            && (self.forgotten.is_none_or(|f| nonce > f) || self.answered.contains_key(&nonce))
    }

    fn write(&self, nonce: Nonce) -> String {
        format!("{:08x}{:08x}{:016x}", nonce.0, nonce.1, self.check(nonce))
    }

    fn read(&self, text: &[u8]) -> Option<Nonce> {
        let text = std::str::from_utf8(text).ok()?;
        let number = |from, to| u64::from_str_radix(text.get(from..to)?, 16).ok();
        let nonce = Nonce(u32::try_from(number(0, 8)?).ok()?, u32::try_from(number(8, 16)?).ok()?);
        // Written again it must be the same text: there is one form of each.
        (self.write(nonce) == text).then_some(nonce)
    }

    fn check(&self, nonce: Nonce) -> u64 {
        let mut hash = Sha256::new();
        hash.update(b"nonce");
        hash.update(self.secret.to_be_bytes());
        hash.update(nonce.0.to_be_bytes());
        hash.update(nonce.1.to_be_bytes());
        hash.update((!self.secret).to_be_bytes());
        hash.finalize().iter().take(8).fold(0, |n, b| n << 8 | u64::from(*b))
    }
}

impl Counts {
    /// With one more; `None` where it was seen, or is too old to say.
    fn with(self, count: u32) -> Option<Self> {
        if count > self.highest {
            let shift = count - self.highest;
            let seen = self.seen.checked_shl(shift).unwrap_or(0) | 1;
            return Some(Self { highest: count, seen });
        }
        let back = self.highest - count;
        let bit = 1u64.checked_shl(back).filter(|_| back < WINDOW && count > 0)?;
        (self.seen & bit == 0).then_some(Self { seen: self.seen | bit, ..self })
    }
}

/// Phones that give up where anything but MD5 is offered beside it, although they were to pass over what they do not know
/// (RFC 3261 section 22.3, RFC 8760 section 2.4): baresip before its third version.
fn knows_md5_alone(msg: &Message) -> bool {
    let agent = msg.get(Name::UserAgent).unwrap_or_default();
    ["baresip v0.", "baresip v1.", "baresip v2."].iter().any(|old| agent.starts_with(old.as_bytes()))
}

/// Whether the URI that was hashed is the request's: the same user. Hosts and parameters may be rewritten on the way.
fn is_for(hashed: &[u8], requested: &[u8]) -> bool {
    let user = |uri| Uri::parse(uri).map(|u: Uri<'_>| (u.user.map(<[u8]>::to_vec), u.scheme));
    hashed == requested || user(hashed).is_some_and(|u| Some(u) == user(requested))
}

fn seconds(now: Time) -> u32 {
    u32::try_from(now.as_millis() / 1000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::digest::Challenge;
    use bytes::Bytes;

    const NOW: Time = Time::from_micros(1_000_000_000);

    const KEY: PanelKey = PanelKey::new([7; 32]);
    const BOOTED: Duration = Duration::from_secs(1_763_840_491);
    const PASSES: (&PanelKey, Duration) = (&KEY, BOOTED);

    fn access() -> Access {
        Access::new("gw", [("alice", "secret", AgentId(3))].into_iter())
    }

    fn request(authorization: &[u8]) -> Message {
        let mut text = b"REGISTER sip:gw SIP/2.0\r\nAuthorization: ".to_vec();
        text.extend_from_slice(authorization);
        text.extend_from_slice(b"\r\n\r\n");
        Message::scan(Bytes::from(text)).expect("a message")
    }

    fn answer(challenge: &str, user: &str, password: &str, count: u32) -> Message {
        let challenge = Challenge::parse(challenge.as_bytes()).expect("a challenge");
        let asked = Asked { method: b"REGISTER", uri: b"sip:gw", body: b"" };
        request(&challenge.answer(user.as_bytes(), password.as_bytes(), &asked, count, b"c"))
    }

    #[test]
    fn r8_the_right_password_is_seen_and_everything_else_looks_the_same() {
        let (access, mut gate) = (access(), Gate::new(7));
        let challenges = gate.challenges(&access, &request(b""), false, NOW);
        assert!(challenges[0].contains("SHA-256") && challenges[1].contains("MD5"), "{challenges:?}");
        for challenge in &challenges {
            let look = |user, password| gate.look(&access, PASSES, &answer(challenge, user, password, 1), NOW);
            assert!(matches!(look("alice", "secret"), Look::Right(Shown { agent: AgentId(3), .. })));
            for (user, password) in
                [("alice", "wrong"), ("nobody", "secret"), ("", ""), ("ALICE", "secret"), ("", "0000000000000007")]
            {
                assert_eq!(look(user, password), Look::Nobody, "{user}");
            }
        }
        assert_eq!(gate.look(&access, PASSES, &request(b"Basic x"), NOW), Look::Nobody);
    }

    #[test]
    fn r8_the_pass_of_a_page_is_her_password_until_it_ends() {
        let (access, mut gate) = (access(), Gate::new(7));
        let ends = (BOOTED + NOW.since(Time::ZERO)).as_secs() + 60;
        let (user, password) = KEY.sip("alice", &Own::new("gw", "alice", "secret"), ends);
        for challenge in gate.challenges(&access, &request(b""), false, NOW) {
            let look = |user: &str, password: &str, now| gate.look(&access, PASSES, &answer(&challenge, user, password, 1), now);
            let right = look(&user, password.reveal(), NOW);
            assert!(matches!(right, Look::Right(Shown { agent: AgentId(3), panel: true, .. })), "{right:?}");
            assert!(matches!(look("alice", "secret", NOW), Look::Right(Shown { panel: false, .. })));
            assert_eq!(look(&user, password.reveal(), NOW + Duration::from_secs(60)), Look::Nobody, "it has ended");
            for (user, password) in [
                (user.as_str(), "secret"),
                ("alice", password.reveal()),
                (&user.replace("alice", "bob"), password.reveal()),
                (&format!("alice~{}", ends + 1), password.reveal()),
                ("alice~", password.reveal()),
                ("~", ""),
            ] {
                assert_eq!(look(user, password, NOW), Look::Nobody, "{user}");
            }
        }
    }

    #[test]
    fn a_phone_that_knows_md5_alone_is_offered_nothing_else() {
        for (agent, count) in [("baresip v1.0.0 (x86_64/linux)", 1), ("baresip v3.1.0", 2), ("Linphone/5.1 baresip v1.", 2)] {
            let text = format!("REGISTER sip:gw SIP/2.0\r\nUser-Agent: {agent}\r\n\r\n");
            let msg = Message::scan(Bytes::from(text)).expect("a message");
            let offered = Gate::new(7).challenges(&access(), &msg, false, NOW);
            assert_eq!((offered.len(), offered.last().is_some_and(|c| c.contains("MD5"))), (count, true), "{agent}");
        }
    }

    #[test]
    fn a_nonce_is_good_for_300_s_and_only_from_this_process() {
        let (access, mut gate) = (access(), Gate::new(7));
        let challenge = gate.challenges(&access, &request(b""), false, NOW).remove(0);
        let msg = answer(&challenge, "alice", "secret", 1);
        let at = |s| gate.look(&access, PASSES, &msg, NOW + Duration::from_secs(s));
        assert!(matches!(at(299), Look::Right(_)));
        assert_eq!(at(300), Look::Stale);
        assert_eq!(Gate::new(8).look(&access, PASSES, &msg, NOW), Look::Stale);
        let other = challenge.replace("nonce=\"0", "nonce=\"1");
        assert_eq!(gate.look(&access, PASSES, &answer(&other, "alice", "secret", 1), NOW), Look::Stale);
        // Whether a stranger's password is right is not told with an old nonce either.
        let wrong = answer(&challenge, "nobody", "x", 1);
        assert_eq!(gate.look(&access, PASSES, &wrong, NOW + Duration::from_secs(300)), Look::Stale);
    }

    #[test]
    fn a_count_is_admitted_once_even_when_counts_overtake_each_other() {
        let (access, mut gate) = (access(), Gate::new(7));
        let challenge = gate.challenges(&access, &request(b""), false, NOW).remove(0);
        let mut admit = |count| {
            let Look::Right(shown) = gate.look(&access, PASSES, &answer(&challenge, "alice", "secret", count), NOW) else {
                panic!("the password is right")
            };
            gate.admit(shown, NOW)
        };
        for (count, fresh) in [
            (1, true),
            (1, false),
            (3, true),
            (2, true),
            (2, false),
            (100, true),
            (37, true),
            (36, false),
            (0, false),
            (u32::MAX, true),
        ] {
            assert_eq!(admit(count), fresh, "{count}");
        }
    }

    #[test]
    fn b7_answered_nonces_are_forgotten_in_their_order_and_never_good_again() {
        let (access, mut gate) = (access(), Gate::new(7));
        let mut first = None;
        for _ in 0..=REMEMBERED {
            let challenge = gate.challenges(&access, &request(b""), false, NOW).remove(0);
            let msg = answer(&challenge, "alice", "secret", 1);
            let Look::Right(shown) = gate.look(&access, PASSES, &msg, NOW) else { panic!("the password is right") };
            assert!(gate.admit(shown, NOW));
            first.get_or_insert((msg, shown));
        }
        assert_eq!(gate.answered.len(), REMEMBERED);
        let (msg, shown) = first.expect("one at least");
        assert!(!gate.admit(shown, NOW));
        assert_eq!(gate.look(&access, PASSES, &msg, NOW), Look::Stale);
    }
}

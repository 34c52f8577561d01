//! What an agent's page signs in with: passes that end by themselves.
//!
//! Nothing is remembered of them: a pass is a keyed hash over whose it is, when it ends, and a secret that her own password
//! makes, so that a new password ends whatever was given out before. For SIP it is a user name and a password (as TURN
//! servers have it, draft-uberti-behave-turn-rest section 2.2): the name is `<agent id>~<end in seconds since the epoch>`,
//! and the registrar's digest computes the rest anew. For HTTP it is one token. Neither tells the agent's own password.
//!
//! Read [`PanelKey`] first.

use crate::sip::digest::{Algorithm, Ha1};
use crate::words::Private;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use std::fmt;

/// Between an agent's id and the end of a pass; no id has it.
const MARK: char = '~';
/// What a token begins with.
const TOKEN: &str = "panel";

/// The node's key for passes: random, the same in each of its runs.
#[derive(Clone, Copy)]
pub struct PanelKey([u8; 32]);

impl PanelKey {
    /// The key of these bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes, for the store.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The user name and the password for SIP of this agent, good until `ends` (seconds since the epoch).
    pub fn sip(&self, agent: &str, own: &Own, ends: u64) -> (String, Private<String>) {
        let user = format!("{agent}{MARK}{ends}");
        let password = self.sign("sip", &user, own);
        (user, Private::new(password))
    }

    /// The password that belongs to a user name, made of a stranger's word: whether the pass has ended says
    /// [`split_user`].
    pub(super) fn sip_password(&self, user: &str, own: &Own) -> String {
        self.sign("sip", user, own)
    }

    /// A token for HTTP, good until `ends` (seconds since the epoch).
    pub fn token(&self, agent: &str, own: &Own, ends: u64) -> Private<String> {
        let name = URL_SAFE_NO_PAD.encode(agent);
        let signed = self.sign("http", &format!("{agent}{MARK}{ends}"), own);
        Private::new(format!("{TOKEN}.{name}.{ends}.{signed}"))
    }

    /// Whose token this is and when it ends, if it is one of ours and `now` (seconds since the epoch) is before that.
    /// `own_of` knows the agents.
    pub fn agent_of(&self, token: &str, own_of: impl Fn(&str) -> Option<Own>, now: u64) -> Option<(String, u64)> {
        let mut parts = token.split('.');
        let (TOKEN, Some(name), Some(ends), Some(signed), None) =
            (parts.next()?, parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        let agent = String::from_utf8(URL_SAFE_NO_PAD.decode(name).ok()?).ok()?;
        let end: u64 = ends.parse().ok()?;
        let own = own_of(&agent)?;
        let signed = URL_SAFE_NO_PAD.decode(signed).ok()?;
        hmac::verify(&self.key(), &text("http", &format!("{agent}{MARK}{ends}"), &own), &signed).ok()?;
        (now < end).then_some((agent, end))
    }

    fn sign(&self, what: &str, user: &str, own: &Own) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.key(), &text(what, user, own)))
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.0)
    }
}

impl fmt::Debug for PanelKey {
    /// Prints nothing of the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PanelKey(-)")
    }
}

/// What an agent's own password makes within this realm; the password itself cannot be had from it.
#[derive(Clone, Copy)]
pub struct Own(Ha1);

impl Own {
    /// Of an agent with this password.
    pub fn new(realm: &str, agent: &str, password: &str) -> Self {
        Self(Ha1::new(Algorithm::Sha256, agent.as_bytes(), realm.as_bytes(), password.as_bytes()))
    }

    /// Of an agent whose secret for SHA-256 this is.
    pub(super) const fn of(ha1: Ha1) -> Self {
        Self(ha1)
    }
}

impl fmt::Debug for Own {
    /// Prints nothing of the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Own(-)")
    }
}

/// The agent's id and the end of the pass, in seconds since the epoch, of a user name of ours.
pub(super) fn split_user(user: &str) -> Option<(&str, u64)> {
    let (agent, ends) = user.rsplit_once(MARK)?;
    Some((agent, ends.parse().ok()?))
}

fn text(what: &str, user: &str, own: &Own) -> Vec<u8> {
    [what.as_bytes(), user.as_bytes(), own.0.as_bytes()].join(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: PanelKey = PanelKey::new([7; 32]);

    fn own(agent: &str, password: &str) -> Own {
        Own::new("gw", agent, password)
    }

    #[test]
    fn a_token_is_good_for_one_agent_until_its_end_or_a_new_password() {
        let token = KEY.token("alice", &own("alice", "secret"), 1000).into_revealed();
        let whose = |token: &str, password: &'static str, now| KEY.agent_of(token, |id| Some(own(id, password)), now);
        assert_eq!(whose(&token, "secret", 999), Some(("alice".to_owned(), 1000)));
        assert_eq!(whose(&token, "secret", 1000), None, "it has ended");
        assert_eq!(whose(&token, "changed", 999), None);
        assert_eq!(KEY.agent_of(&token, |_| None, 999), None, "nobody has that id any more");
        assert_eq!(PanelKey::new([8; 32]).agent_of(&token, |id| Some(own(id, "secret")), 999), None);
        let longer = token.replace(".1000.", ".2000.");
        assert_eq!(whose(&longer, "secret", 999), None);
        let bobs = token.replace(&URL_SAFE_NO_PAD.encode("alice"), &URL_SAFE_NO_PAD.encode("bob"));
        assert_eq!(whose(&bobs, "secret", 999), None);
        for broken in ["", "panel", "panel...", &token[1..], &token[..token.len() - 1], &format!("{token}.")] {
            assert_eq!(whose(broken, "secret", 999), None, "{broken}");
        }
    }

    #[test]
    fn a_sip_password_is_another_one_for_each_user_end_and_own_password() {
        let (user, password) = KEY.sip("alice", &own("alice", "secret"), 1000);
        assert_eq!(split_user(&user), Some(("alice", 1000)));
        assert_eq!(KEY.sip_password(&user, &own("alice", "secret")), *password.reveal());
        let others = [
            KEY.sip("alice", &own("alice", "secret"), 1001).1,
            KEY.sip("alice", &own("alice", "changed"), 1000).1,
            KEY.sip("bob", &own("bob", "secret"), 1000).1,
        ];
        assert!(others.iter().all(|other| other.reveal() != password.reveal()));
        let token = KEY.token("alice", &own("alice", "secret"), 1000);
        assert!(!token.reveal().ends_with(password.reveal().as_str()), "a token does not give the SIP password away");
        for none in ["alice", "alice~", "alice~x", "alice~-1"] {
            assert_eq!(split_user(none), None, "{none}");
        }
    }
}

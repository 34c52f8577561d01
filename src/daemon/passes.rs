//! Agents' pages sign in: whose password is right, and the passes that they get for it.
//!
//! Not the registrar, which looks at passes by itself ([`PanelKey`]); not a limit of guesses, which is
//! [`guesses`](super::guesses). Read [`Passes`] first.

use super::config::{Agent, Config};
use crate::bridge::{Own, PanelKey};
use crate::io::clock;
use crate::io::store::Keeper;
use crate::words::{Private, Row, Saved, Table};
use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use subtle::ConstantTimeEq;

/// How long a pass is good, for HTTP and for SIP alike: a page that renews it now and then has one all day, and no
/// emergency call is so long that its registration ends for it.
pub const LIFE: Duration = Duration::from_secs(12 * 3600);
/// Passes that are remembered as given back; of more, the one that ends first is forgotten.
const MOST_GIVEN_BACK: usize = 10_000;
const ROW: &str = "panel";

/// What an agent signs in to.
pub struct Pass {
    /// For HTTP.
    pub token: Private<String>,
    /// The user name for SIP digests.
    pub user: Private<String>,
    /// Its password.
    pub password: Private<String>,
    /// When all of it ends, since the Unix epoch.
    pub ends: Duration,
}

/// An agent who has shown her token.
#[derive(Clone, Debug)]
pub struct Holder {
    /// Her id.
    pub agent: Private<String>,
    /// Which token, so that it can be given back.
    mark: [u8; 32],
    ends: u64,
}

/// Makes passes, and knows those that were given back.
pub struct Passes {
    key: PanelKey,
    /// By hash and end.
    given_back: Mutex<BTreeMap<(u64, [u8; 32]), ()>>,
}

/// The node's key for passes: what the store has, else a new one that it is given.
pub fn key(saved: &Saved, keeper: &Keeper) -> PanelKey {
    if let Some(bytes) = saved.get(Table::Node, ROW).and_then(|row| row.try_into().ok()) {
        return PanelKey::new(bytes);
    }
    let mut bytes = [0; 32];
    if SystemRandom::new().fill(&mut bytes).is_err() {
        // Without a source of randomness nobody can sign in: a key that nobody has, for nobody knows this moment.
        bytes = Sha256::digest(format!("{:?}{:?}", clock::now(), clock::wall())).into();
    }
    keeper.keep(Row::keep(Table::Node, ROW, bytes.to_vec()));
    PanelKey::new(bytes)
}

impl Passes {
    /// With this key.
    pub fn new(key: PanelKey) -> Self {
        Self { key, given_back: Mutex::default() }
    }

    /// A pass for the agent who has this id and this password. Takes as long for nobody as for somebody.
    pub fn sign_in(&self, config: &Config, id: &str, password: &str) -> Option<Pass> {
        let agent = find(config, id);
        let right = agent.and_then(|a| a.password.as_ref()).map(|p| p.reveal().as_str());
        // Hashes are of one length: how much of a password is right cannot be told from the time.
        let hash = |text: &str| Sha256::digest(text.as_bytes());
        let same = bool::from(hash(password).ct_eq(&hash(right.unwrap_or_default())));
        agent.filter(|_| same && right.is_some()).and_then(|agent| self.issue(config, agent))
    }

    /// A new pass for whoever holds one.
    pub fn renew(&self, config: &Config, holder: &Holder) -> Option<Pass> {
        self.issue(config, find(config, holder.agent.reveal())?)
    }

    /// Whose token this is, if it is good.
    pub fn holder(&self, config: &Config, token: &[u8]) -> Option<Holder> {
        let text = std::str::from_utf8(token).ok()?;
        let (agent, ends) = self.key.agent_of(text, |id| own(config, find(config, id)?), clock::wall().as_secs())?;
        let mark: [u8; 32] = Sha256::digest(token).into();
        let given_back = self.given_back.lock().unwrap_or_else(PoisonError::into_inner);
        (!given_back.contains_key(&(ends, mark))).then(|| Holder { agent: Private::new(agent), mark, ends })
    }

    /// The token is good no more; her others are. Until the next start at least: whoever has it then has it until its end.
    pub fn give_back(&self, holder: &Holder) {
        let now = clock::wall().as_secs();
        let mut given_back = self.given_back.lock().unwrap_or_else(PoisonError::into_inner);
        while given_back.first_key_value().is_some_and(|((ends, _), ())| *ends <= now) || given_back.len() >= MOST_GIVEN_BACK {
            given_back.pop_first();
        }
        given_back.insert((holder.ends, holder.mark), ());
    }

    fn issue(&self, config: &Config, agent: &Agent) -> Option<Pass> {
        let (id, ends) = (agent.id.reveal(), clock::wall() + LIFE);
        let own = own(config, agent)?;
        let (user, password) = self.key.sip(id, &own, ends.as_secs());
        let token = self.key.token(id, &own, ends.as_secs());
        Some(Pass { token, user: Private::new(user), password, ends })
    }
}

fn find<'a>(config: &'a Config, id: &str) -> Option<&'a Agent> {
    config.agents.iter().find(|a| a.id.reveal() == id)
}

fn own(config: &Config, agent: &Agent) -> Option<Own> {
    Some(Own::new(&config.auth.realm, agent.id.reveal(), agent.password.as_ref()?.reveal()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::small;

    fn config(password: &str) -> Config {
        small::read(&small::changed(&[("identity = [\"bob\"]", &format!("identity = [\"bob\"]\npassword = \"{password}\""))]))
    }

    #[test]
    fn the_right_password_gets_a_pass_that_can_be_renewed_and_given_back() {
        let (config, passes) = (config("builder"), Passes::new(PanelKey::new([7; 32])));
        for (id, password) in [("bob", "wrong"), ("bob", ""), ("nobody", "builder"), ("nobody", ""), ("", "")] {
            assert!(passes.sign_in(&config, id, password).is_none(), "{id} {password}");
        }
        let pass = passes.sign_in(&config, "bob", "builder").expect("it is right");
        assert!(pass.user.reveal().starts_with("bob~") && pass.ends > clock::wall() + LIFE / 2);
        let holder = passes.holder(&config, pass.token.reveal().as_bytes()).expect("it is good");
        assert_eq!(holder.agent.reveal(), "bob");
        let renewed = passes.renew(&config, &holder).expect("she holds one");
        passes.give_back(&holder);
        assert!(passes.holder(&config, renewed.token.reveal().as_bytes()).is_none() || renewed.token != pass.token);
        assert!(passes.holder(&config, pass.token.reveal().as_bytes()).is_none());
    }

    #[test]
    fn a_new_password_ends_what_was_given_out_before() {
        let passes = Passes::new(PanelKey::new([7; 32]));
        let pass = passes.sign_in(&config("builder"), "bob", "builder").expect("it is right");
        assert!(passes.holder(&config("another"), pass.token.reveal().as_bytes()).is_none());
        let without = small::read(small::TOML);
        assert!(passes.holder(&without, pass.token.reveal().as_bytes()).is_none());
        assert!(passes.sign_in(&without, "bob", "").is_none(), "who has no password cannot sign in");
    }
}

//! What leases, presence and calls look like in the store: JSON with a format number.
//!
//! Plain data between the story and [`Row`](crate::words::Row); who writes and reads which row when is said in
//! [`lease`](super::lease), [`presence`](super::presence) and [`gateway`](super::gateway). A reader ignores fields that
//! it does not know and takes a usual value for those that are missing. Neighbours stand by name, numbers as E.164
//! text, times in microseconds of boot time.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::caller::{Caller, Who};
use super::facts::{PeerId, TrunkId};
use super::ladder::Rung;
use super::site::{Agent, Contacts, Path, Site};
use crate::words::plan::plans;
use crate::words::{Country, E164, Private};

/// What we write; a reader takes any.
pub(super) const FORMAT: u32 = 1;

/// The trunk of a number whose trunk is in the configuration no more.
const NO_TRUNK: TrunkId = TrunkId(u16::MAX);

/// One number of one lease (RULES L2, A8).
#[derive(Serialize, Deserialize)]
pub(super) struct KeptLease<'a> {
    #[serde(default)]
    pub(super) format: u32,
    /// Which lease it belongs to: several numbers may have the same.
    pub(super) lease: u64,
    #[serde(default, borrow)]
    pub(super) trunk: Cow<'a, str>,
    #[serde(default = "free")]
    pub(super) rung: Rung,
    /// The pool gave it to this lease alone.
    #[serde(default)]
    pub(super) owned: bool,
    #[serde(default)]
    pub(super) dialed: u64,
    #[serde(default)]
    pub(super) expires: u64,
    /// Since when the lease is over, and the number rests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) released: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) desk_until: Option<u64>,
    #[serde(default)]
    pub(super) test: bool,
    /// The emergency number and the path, for the notice of a callback.
    #[serde(default, borrow)]
    pub(super) number: Cow<'a, str>,
    #[serde(default, borrow)]
    pub(super) path: Cow<'a, str>,
    /// Always there; a reader takes it out.
    #[serde(default)]
    pub(super) caller: Option<KeptCaller<'a>>,
}

/// Whom a number leads to, as she was when she dialed.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct KeptCaller<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    peer: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    agent: Option<Box<KeptAgent<'a>>>,
    /// Where she is no agent: what her lease is kept under, and her user at the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unknown: Option<(Cow<'a, str>, Cow<'a, str>)>,
}

#[derive(Clone, Serialize, Deserialize)]
struct KeptAgent<'a> {
    id: Cow<'a, str>,
    #[serde(default)]
    name: Cow<'a, str>,
    #[serde(default)]
    identity: Vec<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    peer: Option<Cow<'a, str>>,
    #[serde(default)]
    devices: Vec<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    alternates: Vec<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    number: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    country: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    site: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    language: Option<Cow<'a, str>>,
    #[serde(default)]
    contacts: Vec<Cow<'a, str>>,
}

/// A call that is up, as far as the story has to know it after a restart (RULES B1). To be kept as it is, and given
/// back to [`Gateway::restore_call`](super::gateway::Gateway::restore_call).
#[derive(Clone, Serialize, Deserialize)]
pub struct KeptTalk {
    #[serde(default)]
    pub(super) format: u32,
    pub(super) kind: KeptKind,
    /// The leases that it is for, the newest first.
    #[serde(default)]
    pub(super) leases: Vec<u64>,
    /// The callback number that the trunk sees or has called.
    #[serde(default)]
    pub(super) number: Option<String>,
    /// The leg that answered.
    pub(super) leg: u16,
    /// When its INVITE came.
    pub(super) since: u64,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum KeptKind {
    Emergency {
        trunk: String,
        dialed: String,
        path: String,
        #[serde(default)]
        test: bool,
        #[serde(default)]
        remark: Option<String>,
        caller: KeptCaller<'static>,
    },
    Callback {
        tier: String,
    },
}

impl fmt::Debug for KeptTalk {
    /// Prints nothing of the call (promise 3).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self.kind, KeptKind::Emergency { .. }) { "KeptTalk(emergency)" } else { "KeptTalk(callback)" })
    }
}

const fn free() -> Rung {
    Rung::Free
}

impl<'a> KeptCaller<'a> {
    pub(super) fn of(caller: &'a Caller, site: &'a Site) -> Self {
        let peer = peer_name(site, caller.peer);
        match &caller.who {
            Who::Agent(agent) => Self { peer, agent: Some(Box::new(KeptAgent::of(agent, site))), unknown: None },
            Who::Unknown { key, user } => {
                let unknown = Some((Cow::Borrowed(&**key.reveal()), Cow::Borrowed(user.reveal().as_str())));
                Self { peer, agent: None, unknown }
            }
        }
    }

    /// The caller again; a peer that is in the configuration no more is left out.
    pub(super) fn into_caller(self, site: &Site) -> Caller {
        let peer = peer_named(site, self.peer.as_deref());
        let who = match self.agent {
            Some(agent) => Who::Agent(Arc::new(agent.into_agent(site))),
            None => {
                let (key, user) = self.unknown.unwrap_or_default();
                Who::Unknown { key: Private::new(Arc::from(&*key)), user: Private::new(user.into_owned()) }
            }
        };
        Caller { who, peer }
    }

    pub(super) fn into_owned(self) -> KeptCaller<'static> {
        KeptCaller {
            peer: self.peer.map(owned),
            agent: self.agent.map(|agent| Box::new(agent.into_owned())),
            unknown: self.unknown.map(|(key, user)| (owned(key), owned(user))),
        }
    }
}

impl<'a> KeptAgent<'a> {
    fn of(agent: &'a Agent, site: &'a Site) -> Self {
        Self {
            id: Cow::Borrowed(agent.id.reveal()),
            name: Cow::Borrowed(agent.name.reveal()),
            identity: texts(&agent.identity),
            peer: peer_name(site, agent.peer),
            devices: texts(&agent.devices),
            alternates: texts(&agent.alternates),
            number: agent.number.map(|n| n.reveal().to_string()),
            country: agent.country.map(|c| c.to_string()),
            site: agent.site.as_deref().map(Cow::Borrowed),
            language: agent.language.as_deref().map(Cow::Borrowed),
            contacts: agent.contacts.reveal().iter().map(|c| Cow::Borrowed(c.as_str())).collect(),
        }
    }

    fn into_agent(self, site: &Site) -> Agent {
        let contacts: Contacts = Private::new(self.contacts.into_iter().map(Cow::into_owned).collect());
        Agent {
            id: Private::new(self.id.into_owned()),
            name: Private::new(self.name.into_owned()),
            identity: privates(self.identity),
            peer: peer_named(site, self.peer.as_deref()),
            devices: privates(self.devices),
            alternates: privates(self.alternates),
            number: self.number.as_deref().and_then(E164::parse).map(Private::new),
            country: self.country.as_deref().and_then(Country::parse),
            site: self.site.map(Cow::into_owned),
            language: self.language.map(Cow::into_owned),
            caller_id: None,
            // No lease says where anybody is.
            location: None,
            contacts,
        }
    }

    fn into_owned(self) -> KeptAgent<'static> {
        KeptAgent {
            id: owned(self.id),
            name: owned(self.name),
            identity: self.identity.into_iter().map(owned).collect(),
            peer: self.peer.map(owned),
            devices: self.devices.into_iter().map(owned).collect(),
            alternates: self.alternates.into_iter().map(owned).collect(),
            number: self.number,
            country: self.country,
            site: self.site.map(owned),
            language: self.language.map(owned),
            contacts: self.contacts.into_iter().map(owned).collect(),
        }
    }
}

/// The key of one number of one lease: the number, and a serial that no other row has. It tells the number even where
/// the content cannot be read.
pub(super) fn lease_key(number: E164, serial: u64) -> String {
    format!("{number}.{serial}")
}

/// What [`lease_key`] was made of.
pub(super) fn of_lease_key(key: &str) -> Option<(E164, u64)> {
    let (number, serial) = key.split_once('.')?;
    Some((E164::parse(number)?, serial.parse().ok()?))
}

/// A trunk's name; empty where it is known no more.
pub(super) fn trunk_name(site: &Site, trunk: TrunkId) -> &str {
    site.trunk(trunk).map_or("", |t| &t.name)
}

/// The trunk of this name; one that leads nowhere where the configuration has none.
pub(super) fn trunk_named(site: &Site, name: &str) -> TrunkId {
    site.trunk_ids().find(|(_, t)| t.name == name).map_or(NO_TRUNK, |(id, _)| id)
}

/// Our own copy of an emergency number or a test number; empty where no plan has it.
pub(super) fn emergency_number(text: &str) -> &'static str {
    let known = plans().iter().flat_map(|plan| plan.emergency.iter().chain(&plan.test)).chain(&["933"]);
    known.copied().find(|number| *number == text).unwrap_or_default()
}

/// Our own copy of a path's word.
pub(super) fn path_word(text: &str) -> &'static str {
    [Path::DirectRouting, Path::DirectOffer].into_iter().map(Path::word).find(|word| *word == text).unwrap_or("none")
}

/// Our own copy of a notice's remark.
pub(super) fn remark(text: &str) -> Option<&'static str> {
    [Rung::OtherSite, Rung::Shared].into_iter().filter_map(Rung::remark).find(|own| *own == text)
}

/// The row's content. Plain data of ours always has one.
pub(super) fn encode(kept: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(kept).unwrap_or_default()
}

/// `None` where it is damaged.
pub(super) fn decode<'a, T: Deserialize<'a>>(row: &'a [u8]) -> Option<T> {
    serde_json::from_slice(row).ok()
}

fn peer_name(site: &Site, peer: Option<PeerId>) -> Option<Cow<'_, str>> {
    peer.and_then(|p| site.peer(p)).map(|p| Cow::Borrowed(p.name.as_str()))
}

fn peer_named(site: &Site, name: Option<&str>) -> Option<PeerId> {
    let mut all = (0u16..).map(PeerId).zip(&site.peers);
    name.and_then(|name| all.find(|(_, p)| p.name == name)).map(|(id, _)| id)
}

fn texts(all: &[Private<String>]) -> Vec<Cow<'_, str>> {
    all.iter().map(|text| Cow::Borrowed(text.reveal().as_str())).collect()
}

fn privates(all: Vec<Cow<'_, str>>) -> Vec<Private<String>> {
    all.into_iter().map(|text| Private::new(text.into_owned())).collect()
}

fn owned(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::scenarios::world::{agent, number, site};
    use super::*;

    #[test]
    fn a8_a_caller_is_read_back_as_she_was_written() {
        let site = site();
        let agent = Agent {
            peer: Some(PeerId(0)),
            number: Some(Private::new(number("+14255551234"))),
            country: Country::parse("PR"),
            site: Some("redmond".into()),
            language: Some("es".into()),
            alternates: vec![Private::new("sip:alt@x".into())],
            ..agent("ada")
        };
        let unknown = Who::Unknown { key: Private::new(Arc::from("pbx 7 \"\\ü")), user: Private::new("7".into()) };
        for who in [Who::Agent(Arc::new(agent)), unknown] {
            let caller = Caller { who, peer: Some(PeerId(0)) };
            let row = encode(&KeptCaller::of(&caller, &site));
            let back = decode::<KeptCaller<'_>>(&row).expect("readable").into_caller(&site);
            assert_eq!(encode(&KeptCaller::of(&back, &site)), row);
            assert_eq!((back.key(), back.peer), (caller.key(), Some(PeerId(0))));
            assert_eq!(back.own_number(), caller.own_number());
        }
    }

    #[test]
    fn a_reader_ignores_what_it_does_not_know_and_fills_in_what_is_missing() {
        let row = br#"{"format":9,"news":[1],"lease":7,"caller":{"agent":{"id":"ada","colour":"red"}}}"#;
        let kept: KeptLease<'_> = decode(row).expect("readable");
        assert_eq!((kept.lease, kept.expires, kept.owned), (7, 0, false));
        assert_eq!(kept.caller.expect("a caller").into_caller(&site()).key(), "ada");
        for bad in [&b""[..], b"{", b"null", br#"{"lease":"x"}"#, &row[..40], b"\xff\xfe"] {
            assert!(decode::<KeptLease<'_>>(bad).is_none());
        }
    }

    #[test]
    fn a_key_tells_its_number_and_serial_and_nothing_else_is_one() {
        let n = number("+14255550100");
        assert_eq!(of_lease_key(&lease_key(n, 7)), Some((n, 7)));
        for bad in ["", "7", "+14255550100", "+14255550100.", "14255550100.7", "+14255550100.x"] {
            assert_eq!(of_lease_key(bad), None, "{bad}");
        }
    }
}

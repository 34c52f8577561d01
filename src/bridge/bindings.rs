//! Which devices have registered, and how each is reached (RFC 3261 section 10). Plain data: it sends and reads nothing.
//!
//! A device is known by its instance where it names one (RFC 5626), else by its Contact. It is reached along the flow that
//! its REGISTER came by, NAT or not, by its Path where there is one (RFC 3327). A device that comes by another flow is
//! another device to everybody who asks: what was sent the old way is lost.

use crate::emergency::facts::DeviceId;
use crate::sip::kept::{KeptFlow, Text};
use crate::sip::{Flow, Transport};
use crate::words::Time;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use slotmap::{Key, KeyData, SlotMap, new_key_type};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

/// Devices of one agent; another one takes the place of the one that would go first.
const MOST: usize = 16;

new_key_type! {
    pub(super) struct DeviceKey;
}

impl DeviceKey {
    pub(super) fn id(self) -> DeviceId {
        DeviceId(self.data().as_ffi())
    }

    pub(super) fn of(id: DeviceId) -> Self {
        Self::from(KeyData::from_ffi(id.0))
    }
}

/// A device that registered.
pub(super) struct Binding {
    /// Whose it is, by the agent's id.
    pub(super) agent: String,
    /// Its Contact URI.
    pub(super) uri: Bytes,
    /// Path values, the nearest first.
    pub(super) path: SmallVec<[Bytes; 1]>,
    /// How its REGISTER came.
    pub(super) flow: Flow,
    /// When it is gone.
    pub(super) expires: Time,
    /// `+sip.instance` and `reg-id` as written, the latter perhaps empty.
    pub(super) instance: Option<(Bytes, Bytes)>,
    /// The name of its row; empty until it is written down.
    row: Box<str>,
    call_id: Bytes,
    seq: u32,
    /// When its timer fires; later than that it is armed anew.
    armed: Option<Time>,
}

/// A device as a row in `Table::Device`.
#[derive(Serialize, Deserialize)]
pub(super) struct KeptDevice<'a> {
    pub(super) format: u8,
    pub(super) agent: Cow<'a, str>,
    pub(super) uri: Text,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    path: Vec<Text>,
    pub(super) flow: KeptFlow,
    /// In microseconds of boot time; `life` of them from the writing on.
    expires: u64,
    life: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instance: Option<(Text, Text)>,
    call_id: Text,
    seq: u32,
}

impl<'a> KeptDevice<'a> {
    /// One that is higher is another version's.
    pub(super) const FORMAT: u8 = 1;

    fn of(binding: &'a Binding, now: Time) -> Self {
        let text = |bytes: &Bytes| Text(bytes.clone());
        Self {
            format: Self::FORMAT,
            agent: Cow::Borrowed(&binding.agent),
            uri: text(&binding.uri),
            path: binding.path.iter().map(text).collect(),
            flow: binding.flow.into(),
            expires: binding.expires.as_micros(),
            life: u64::try_from(binding.expires.since(now).as_micros()).unwrap_or(0),
            instance: binding.instance.as_ref().map(|(instance, reg_id)| (text(instance), text(reg_id))),
            call_id: text(&binding.call_id),
            seq: binding.seq,
        }
    }
}

/// One Contact of a REGISTER.
pub(super) struct Wish {
    pub(super) uri: Bytes,
    pub(super) instance: Option<(Bytes, Bytes)>,
    /// When it shall be gone; now where it is to be removed.
    pub(super) expires: Time,
}

/// What a REGISTER asks for.
pub(super) struct Wishes {
    pub(super) call_id: Bytes,
    pub(super) seq: u32,
    pub(super) path: SmallVec<[Bytes; 1]>,
    pub(super) flow: Flow,
    pub(super) contacts: Contacts,
}

/// The Contacts of a REGISTER.
pub(super) enum Contacts {
    /// `*`: all are to go.
    All,
    /// These are to come, to stay or to go; none is a question.
    These(Vec<Wish>),
}

/// What has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// They are there: new, or again.
    pub(super) there: SmallVec<[DeviceKey; 2]>,
    /// They are gone.
    pub(super) gone: SmallVec<[DeviceKey; 2]>,
}

/// A REGISTER that came out of its order (RFC 3261 section 10.3, step 7). Nothing has changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OutOfOrder;

type FlowKey = (Transport, SocketAddr, u32);

/// All devices.
#[derive(Default)]
pub(super) struct Bindings {
    all: SlotMap<DeviceKey, Binding>,
    /// In the order in which they came.
    of_agent: BTreeMap<String, SmallVec<[DeviceKey; 2]>>,
    by_flow: HashMap<FlowKey, SmallVec<[DeviceKey; 1]>>,
    /// The rows of those that are gone.
    forgotten: Vec<Box<str>>,
}

impl Bindings {
    pub(super) fn get(&self, key: DeviceKey) -> Option<&Binding> {
        self.all.get(key)
    }

    /// An agent's devices, the oldest first.
    pub(super) fn of(&self, agent: &str) -> impl DoubleEndedIterator<Item = (DeviceKey, &Binding)> {
        let keys = self.of_agent.get(agent).into_iter().flatten();
        keys.filter_map(|key| Some((*key, self.all.get(*key)?)))
    }

    /// The devices behind a flow, the newest first.
    pub(super) fn at(&self, flow: Flow) -> impl Iterator<Item = &Binding> {
        self.by_flow.get(&key_of(flow)).into_iter().flatten().rev().filter_map(|key| self.all.get(*key))
    }

    /// Carries a REGISTER of this agent out, or nothing of it.
    pub(super) fn change(&mut self, agent: &str, wishes: Wishes, now: Time) -> Result<Changes, OutOfOrder> {
        let mut changes = Changes::default();
        let in_order = |b: &Binding| b.call_id != wishes.call_id || b.seq < wishes.seq;
        let contacts = match wishes.contacts {
            Contacts::All => {
                if !self.of(agent).all(|(_, b)| in_order(b)) {
                    return Err(OutOfOrder);
                }
                changes.gone = self.of(agent).map(|(key, _)| key).collect();
                Vec::new()
            }
            Contacts::These(contacts) => contacts,
        };
        let found: Vec<_> = contacts.iter().map(|wish| self.find(agent, wish)).collect();
        if !found.iter().flatten().filter_map(|key| self.all.get(*key)).all(in_order) {
            return Err(OutOfOrder);
        }
        for (wish, found) in contacts.into_iter().zip(found) {
            let stays = wish.expires > now;
            match found.and_then(|key| Some((key, self.all.get_mut(key)?))) {
                Some((key, binding)) if stays && key_of(binding.flow) == key_of(wishes.flow) => {
                    binding.uri = wish.uri;
                    binding.path.clone_from(&wishes.path);
                    binding.expires = wish.expires;
                    binding.call_id = wishes.call_id.clone();
                    binding.seq = wishes.seq;
                    changes.there.push(key);
                    continue;
                }
                Some((key, _)) => changes.gone.push(key),
                None => {}
            }
            if stays {
                let binding = Binding {
                    agent: agent.to_owned(),
                    uri: wish.uri,
                    path: wishes.path.clone(),
                    flow: wishes.flow,
                    expires: wish.expires,
                    instance: wish.instance,
                    row: Box::default(),
                    call_id: wishes.call_id.clone(),
                    seq: wishes.seq,
                    armed: None,
                };
                changes.there.push(self.add(binding));
            }
        }
        for key in &changes.gone {
            self.remove(*key);
        }
        while self.of(agent).count() > MOST
            && let Some((key, _)) = self.of(agent).min_by_key(|(_, b)| b.expires)
        {
            self.remove(key);
            changes.there.retain(|k| *k != key);
            changes.gone.push(key);
        }
        Ok(changes)
    }

    /// When a timer for this device must be armed; `None` while one is.
    pub(super) fn arm(&mut self, key: DeviceKey) -> Option<Time> {
        let binding = self.all.get_mut(key)?;
        if binding.armed.is_some_and(|at| at <= binding.expires) {
            return None;
        }
        binding.armed = Some(binding.expires);
        binding.armed
    }

    /// Its timer fired: whether it is gone now. Else it must be armed again.
    pub(super) fn expire(&mut self, key: DeviceKey, now: Time) -> bool {
        let Some(binding) = self.all.get_mut(key) else { return false };
        binding.armed = None;
        binding.expires <= now && self.remove(key)
    }

    /// A device as a row, under a name that stays its own: `name` where it has none yet.
    pub(super) fn row_of(&mut self, key: DeviceKey, name: impl FnOnce() -> String, now: Time) -> Option<(&str, KeptDevice<'_>)> {
        let binding = self.all.get_mut(key)?;
        if binding.row.is_empty() {
            binding.row = name().into();
        }
        Some((&binding.row, KeptDevice::of(binding, now)))
    }

    /// The rows of devices that are gone since the last look.
    pub(super) fn take_forgotten(&mut self) -> Vec<Box<str>> {
        std::mem::take(&mut self.forgotten)
    }

    /// Takes up a device of an earlier run. `flow` is its way now; `None` where its time is over.
    pub(super) fn restore(
        &mut self,
        row: &str,
        kept: KeptDevice<'_>,
        flow: Flow,
        same_boot: bool,
        now: Time,
    ) -> Option<DeviceKey> {
        let expires = if same_boot { Time::from_micros(kept.expires) } else { now + Duration::from_micros(kept.life) };
        let instance = kept.instance.map(|(instance, reg_id)| (instance.0, reg_id.0));
        (expires > now).then(|| {
            self.add(Binding {
                agent: kept.agent.into_owned(),
                uri: kept.uri.0,
                path: kept.path.into_iter().map(|p| p.0).collect(),
                flow,
                expires,
                instance,
                row: row.into(),
                call_id: kept.call_id.0,
                seq: kept.seq,
                armed: None,
            })
        })
    }

    /// Drops the devices of agents of whom this is not true; gives what is gone.
    pub(super) fn keep(&mut self, may_register: impl Fn(&str) -> bool) -> SmallVec<[DeviceKey; 2]> {
        let gone: SmallVec<[DeviceKey; 2]> =
            self.of_agent.iter().filter(|(agent, _)| !may_register(agent)).flat_map(|(_, keys)| keys.iter().copied()).collect();
        for key in &gone {
            self.remove(*key);
        }
        gone
    }

    /// The same instance by the same numbered flow, else the same Contact.
    fn find(&self, agent: &str, wish: &Wish) -> Option<DeviceKey> {
        let same = |b: &Binding| match (&b.instance, &wish.instance) {
            (Some(a), Some(b)) => a == b,
            _ => same_uri(&b.uri, &wish.uri),
        };
        self.of(agent).find(|(_, b)| same(b)).map(|(key, _)| key)
    }

    fn add(&mut self, binding: Binding) -> DeviceKey {
        let (agent, flow) = (binding.agent.clone(), key_of(binding.flow));
        let key = self.all.insert(binding);
        self.of_agent.entry(agent).or_default().push(key);
        self.by_flow.entry(flow).or_default().push(key);
        key
    }

    fn remove(&mut self, key: DeviceKey) -> bool {
        let Some(binding) = self.all.remove(key) else { return false };
        if !binding.row.is_empty() {
            self.forgotten.push(binding.row.clone());
        }
        if let Some(keys) = self.of_agent.get_mut(&binding.agent) {
            keys.retain(|k| *k != key);
            if keys.is_empty() {
                self.of_agent.remove(&binding.agent);
            }
        }
        let flow = key_of(binding.flow);
        if let Some(keys) = self.by_flow.get_mut(&flow) {
            keys.retain(|k| *k != key);
            if keys.is_empty() {
                self.by_flow.remove(&flow);
            }
        }
        true
    }
}

/// The same source address and port, or the same connection.
const fn key_of(flow: Flow) -> FlowKey {
    (flow.transport, flow.remote, flow.connection)
}

/// RFC 3261 section 19.1.4 as far as Contacts of phones need it: scheme and host in any case, the rest as written.
fn same_uri(a: &[u8], b: &[u8]) -> bool {
    let host = |uri: &[u8]| memchr::memrchr(b'@', uri).map_or(0, |at| at + 1);
    let (user_a, host_a) = a.split_at(host(a));
    let (user_b, host_b) = b.split_at(host(b));
    let scheme = |user: &[u8]| user.iter().position(|c| *c == b':').map_or(0, |i| i + 1);
    let at = scheme(user_a);
    host_a.eq_ignore_ascii_case(host_b)
        && at == scheme(user_b)
        && user_a.get(at..) == user_b.get(at..)
        && user_a.get(..at).zip(user_b.get(..at)).is_some_and(|(a, b)| a.eq_ignore_ascii_case(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NOW: Time = Time::from_micros(1_000_000_000);

    fn flow(port: u16) -> Flow {
        Flow { transport: Transport::Udp, listener: 0, remote: SocketAddr::from(([127, 0, 0, 1], port)), connection: 0, name: 0 }
    }

    fn wish(uri: &str, seconds: u64, instance: Option<&str>) -> Wish {
        let instance = instance.map(|i| (Bytes::copy_from_slice(i.as_bytes()), Bytes::new()));
        Wish { uri: Bytes::copy_from_slice(uri.as_bytes()), instance, expires: NOW + Duration::from_secs(seconds) }
    }

    fn register(b: &mut Bindings, call: &str, seq: u32, port: u16, wish: Wish) -> Result<Changes, OutOfOrder> {
        let call_id = Bytes::copy_from_slice(call.as_bytes());
        let contacts = Contacts::These(vec![wish]);
        b.change("alice", Wishes { call_id, seq, path: SmallVec::new(), flow: flow(port), contacts }, NOW)
    }

    fn uris(b: &Bindings) -> Vec<String> {
        b.of("alice").map(|(_, b)| String::from_utf8_lossy(&b.uri).into_owned()).collect()
    }

    #[test]
    fn a_device_stays_itself_by_its_contact_or_its_instance_and_by_its_flow() {
        let mut b = Bindings::default();
        let first = register(&mut b, "1", 1, 5060, wish("sip:alice@H:1", 60, None)).expect("in order").there;
        let again = register(&mut b, "1", 2, 5060, wish("SIP:alice@h:1", 60, None)).expect("in order");
        assert_eq!((&again.there, again.gone.len()), (&first, 0));
        let elsewhere = register(&mut b, "2", 1, 5070, wish("sip:alice@h:1", 60, None)).expect("another call");
        assert_eq!(elsewhere.gone, first);
        assert_ne!(elsewhere.there, first);
        register(&mut b, "3", 1, 5080, wish("sip:a@h:2", 60, Some("<urn:uuid:1>"))).expect("new");
        register(&mut b, "4", 1, 5080, wish("sip:b@h:3", 60, Some("<urn:uuid:1>"))).expect("the same instance");
        assert_eq!(uris(&b), ["sip:alice@h:1", "sip:b@h:3"]);
        assert_eq!((b.at(flow(5060)).count(), b.at(flow(5070)).count(), b.at(flow(5080)).count()), (0, 1, 1));
    }

    #[test]
    fn a_register_out_of_order_changes_nothing() {
        let mut b = Bindings::default();
        register(&mut b, "1", 5, 5060, wish("sip:a@h", 60, None)).expect("new");
        for seq in [4, 5] {
            assert_eq!(register(&mut b, "1", seq, 5060, wish("sip:a@h", 0, None)), Err(OutOfOrder));
        }
        let all = |seq| Wishes { call_id: "1".into(), seq, path: SmallVec::new(), flow: flow(1), contacts: Contacts::All };
        assert_eq!(b.change("alice", all(5), NOW), Err(OutOfOrder));
        assert_eq!(uris(&b).len(), 1);
        assert_eq!(b.change("alice", all(6), NOW).expect("in order").gone.len(), 1);
        assert!(uris(&b).is_empty() && b.by_flow.is_empty() && b.of_agent.is_empty());
    }

    #[test]
    fn a_device_is_gone_when_its_time_is_over_and_has_one_timer() {
        let mut b = Bindings::default();
        let key = register(&mut b, "1", 1, 5060, wish("sip:a@h", 60, None)).expect("new").there[0];
        assert_eq!(b.arm(key), Some(NOW + Duration::from_secs(60)));
        register(&mut b, "1", 2, 5060, wish("sip:a@h", 90, None)).expect("again");
        assert_eq!(b.arm(key), None);
        assert!(!b.expire(key, NOW + Duration::from_secs(60)));
        assert_eq!(b.arm(key), Some(NOW + Duration::from_secs(90)));
        assert!(b.expire(key, NOW + Duration::from_secs(90)));
        assert!(!b.expire(key, NOW + Duration::from_secs(90)));
    }

    #[test]
    fn b7_an_agent_has_so_many_devices_and_no_more() {
        let mut b = Bindings::default();
        for n in 0..100 {
            register(&mut b, &n.to_string(), 1, 5060, wish(&format!("sip:a@h:{}", n + 1), 60 + n, None)).expect("new");
        }
        assert_eq!(uris(&b).len(), MOST);
        assert_eq!(uris(&b).last().map(String::as_str), Some("sip:a@h:100"));
        assert_eq!(b.keep(|agent| agent != "alice").len(), MOST);
        assert!(b.all.is_empty());
    }
}

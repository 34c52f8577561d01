//! Which devices have registered, and how each is reached (RFC 3261 section 10). Plain data: it sends and reads nothing.
//!
//! A device is known by its instance where it names one (RFC 5626), else by its Contact. It has a [`Binding`] for each flow
//! that it registered by: the flows of one instance are told apart by `reg-id`, are alternatives of each other, and are
//! never rung together (RFC 5626 section 5.3). A device is reached along the flow that its REGISTER came by, NAT or not, by
//! its Path where there is one (RFC 3327). Where it comes back by another flow under the same number, that one takes the
//! place of the old, and the device stays itself.

use super::call::CallKey;
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

/// Bindings of one agent; another one takes the place of the one that would go first.
const MOST: usize = 16;
/// Calls that are remembered for one device; of more, the newest.
const MOST_CALLS: usize = 16;

new_key_type! {
    pub(super) struct DeviceKey;
    pub(super) struct BindingKey;
}

impl DeviceKey {
    pub(super) fn id(self) -> DeviceId {
        DeviceId(self.data().as_ffi())
    }

    pub(super) fn of(id: DeviceId) -> Self {
        Self::from(KeyData::from_ffi(id.0))
    }
}

impl BindingKey {
    pub(super) fn number(self) -> u64 {
        self.data().as_ffi()
    }
}

/// A device: its bindings, and the calls that it may be in.
#[derive(Default)]
pub(super) struct Device {
    bindings: SmallVec<[BindingKey; 1]>,
    /// Calls that came from it or went to it; some may be over.
    pub(super) calls: SmallVec<[CallKey; 2]>,
}

/// One flow by which a device registered.
pub(super) struct Binding {
    /// Whose flow it is.
    pub(super) device: DeviceKey,
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
    /// Whether it is a browser: its Contact says `+sip.ice` (RFC 5768).
    pub(super) ice: bool,
    /// It is an agent's page: it has registered with a pass.
    pub(super) panel: bool,
    /// When its last REGISTER came.
    heard: Time,
    /// The name of its row; empty until it is written down.
    row: Box<str>,
    call_id: Bytes,
    seq: u32,
    /// When its timer fires; later than that it is armed anew.
    armed: Option<Time>,
}

/// A binding as a row in `Table::Device`.
#[derive(Serialize, Deserialize)]
pub(super) struct KeptDevice<'a> {
    pub(super) format: u8,
    /// The node that has the flow; empty in rows of before.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub(super) node: Cow<'a, str>,
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
    #[serde(default)]
    ice: bool,
    call_id: Text,
    seq: u32,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    panel: bool,
}

impl<'a> KeptDevice<'a> {
    /// One that is higher is another version's.
    pub(super) const FORMAT: u8 = 1;

    fn of(binding: &'a Binding, node: &'a str, now: Time) -> Self {
        let text = |bytes: &Bytes| Text(bytes.clone());
        Self {
            format: Self::FORMAT,
            node: Cow::Borrowed(node),
            agent: Cow::Borrowed(&binding.agent),
            uri: text(&binding.uri),
            path: binding.path.iter().map(text).collect(),
            flow: binding.flow.into(),
            expires: binding.expires.as_micros(),
            life: u64::try_from(binding.expires.since(now).as_micros()).unwrap_or(0),
            instance: binding.instance.as_ref().map(|(instance, reg_id)| (text(instance), text(reg_id))),
            ice: binding.ice,
            call_id: text(&binding.call_id),
            seq: binding.seq,
            panel: binding.panel,
        }
    }
}

/// One Contact of a REGISTER.
pub(super) struct Wish {
    pub(super) uri: Bytes,
    pub(super) instance: Option<(Bytes, Bytes)>,
    /// See [`Binding::ice`].
    pub(super) ice: bool,
    /// When it shall be gone; now where it is to be removed.
    pub(super) expires: Time,
}

/// What a REGISTER asks for.
pub(super) struct Wishes {
    pub(super) call_id: Bytes,
    pub(super) seq: u32,
    pub(super) path: SmallVec<[Bytes; 1]>,
    pub(super) flow: Flow,
    pub(super) panel: bool,
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
    /// Bindings that are there: new, or again.
    pub(super) there: SmallVec<[BindingKey; 2]>,
    /// Devices that have a flow which they did not have before, and the one whose place it takes.
    pub(super) moved: SmallVec<[(DeviceKey, Option<Flow>); 1]>,
    /// Devices that have no binding any more.
    pub(super) gone: SmallVec<[DeviceKey; 2]>,
}

/// A REGISTER that came out of its order (RFC 3261 section 10.3, step 7). Nothing has changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OutOfOrder;

type FlowKey = (Transport, SocketAddr, u32);

/// All devices.
#[derive(Default)]
pub(super) struct Bindings {
    devices: SlotMap<DeviceKey, Device>,
    all: SlotMap<BindingKey, Binding>,
    /// In the order in which they came.
    of_agent: BTreeMap<String, SmallVec<[BindingKey; 2]>>,
    by_flow: HashMap<FlowKey, SmallVec<[BindingKey; 1]>>,
    /// Whose the flows of an earlier run were: calls of that run know them still. None: several devices', as behind a proxy,
    /// and no call can tell whose it is.
    were_at: HashMap<FlowKey, Option<DeviceKey>>,
    /// The rows of those that are gone.
    forgotten: Vec<Box<str>>,
}

impl Bindings {
    pub(super) fn get(&self, key: BindingKey) -> Option<&Binding> {
        self.all.get(key)
    }

    /// An agent's bindings, the oldest first.
    pub(super) fn of(&self, agent: &str) -> impl DoubleEndedIterator<Item = (BindingKey, &Binding)> {
        let keys = self.of_agent.get(agent).into_iter().flatten();
        keys.filter_map(|key| Some((*key, self.all.get(*key)?)))
    }

    /// An agent's devices, the newest first.
    pub(super) fn devices_of(&self, agent: &str) -> SmallVec<[DeviceKey; 2]> {
        let mut devices = SmallVec::new();
        for (_, binding) in self.of(agent).rev() {
            if !devices.contains(&binding.device) {
                devices.push(binding.device);
            }
        }
        devices
    }

    /// An agent's device that names itself so (RFC 5627 section 5.1).
    pub(super) fn instance_of(&self, agent: &str, instance: &[u8]) -> Option<DeviceKey> {
        let named = |b: &Binding| b.instance.as_ref().is_some_and(|(own, _)| urn_of(own).eq_ignore_ascii_case(instance));
        self.of(agent).find(|(_, b)| named(b)).map(|(_, b)| b.device)
    }

    /// The flows of a device, the one that was heard of last first (RFC 5626 section 5.3).
    pub(super) fn flows_of(&self, device: DeviceKey) -> SmallVec<[&Binding; 2]> {
        let bindings = self.devices.get(device).map(|d| &d.bindings[..]).unwrap_or_default();
        let mut flows: SmallVec<[&Binding; 2]> = bindings.iter().rev().filter_map(|key| self.all.get(*key)).collect();
        flows.sort_by_key(|b| std::cmp::Reverse(b.heard));
        flows
    }

    /// The calls of a device.
    pub(super) fn calls_of(&self, device: DeviceKey) -> SmallVec<[CallKey; 2]> {
        self.devices.get(device).map(|d| d.calls.clone()).unwrap_or_default()
    }

    /// The device that alone had this flow in an earlier run.
    pub(super) fn was_at(&self, flow: Flow) -> Option<DeviceKey> {
        self.were_at.get(&key_of(flow)).copied().flatten()
    }

    /// A call comes from this device, or goes to it.
    pub(super) fn note_call(&mut self, device: DeviceKey, call: CallKey) {
        let Some(device) = self.devices.get_mut(device).filter(|d| !d.calls.contains(&call)) else { return };
        if device.calls.len() >= MOST_CALLS {
            device.calls.remove(0);
        }
        device.calls.push(call);
    }

    /// The devices behind a flow, the newest first.
    pub(super) fn at(&self, flow: Flow) -> impl Iterator<Item = &Binding> {
        self.by_flow.get(&key_of(flow)).into_iter().flatten().rev().filter_map(|key| self.all.get(*key))
    }

    /// Carries a REGISTER of this agent out, or nothing of it.
    pub(super) fn change(&mut self, agent: &str, wishes: Wishes, now: Time) -> Result<Changes, OutOfOrder> {
        let mut changes = Changes::default();
        let mut go: SmallVec<[BindingKey; 2]> = SmallVec::new();
        let in_order = |b: &Binding| b.call_id != wishes.call_id || b.seq < wishes.seq;
        let contacts = match wishes.contacts {
            Contacts::All => {
                if !self.of(agent).all(|(_, b)| in_order(b)) {
                    return Err(OutOfOrder);
                }
                go = self.of(agent).map(|(key, _)| key).collect();
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
            // One that stands twice is one.
            let found = found.or_else(|| self.find(agent, &wish));
            match found.and_then(|key| Some((key, self.all.get_mut(key)?))) {
                Some((key, binding)) if stays => {
                    (binding.uri, binding.expires, binding.heard) = (wish.uri, wish.expires, now);
                    (binding.seq, binding.instance, binding.ice) = (wishes.seq, wish.instance, wish.ice);
                    binding.panel = wishes.panel;
                    binding.path.clone_from(&wishes.path);
                    binding.call_id.clone_from(&wishes.call_id);
                    let (device, before) = (binding.device, binding.flow);
                    if key_of(before) != key_of(wishes.flow) {
                        self.move_to(key, wishes.flow);
                        changes.moved.push((device, Some(before)));
                    }
                    changes.there.push(key);
                }
                Some((key, _)) => go.push(key),
                None if stays => {
                    let device = self.device_for(agent, wish.instance.as_ref());
                    let binding = Binding {
                        device,
                        agent: agent.to_owned(),
                        uri: wish.uri,
                        path: wishes.path.clone(),
                        flow: wishes.flow,
                        expires: wish.expires,
                        instance: wish.instance,
                        ice: wish.ice,
                        panel: wishes.panel,
                        heard: now,
                        row: Box::default(),
                        call_id: wishes.call_id.clone(),
                        seq: wishes.seq,
                        armed: None,
                    };
                    changes.moved.push((device, None));
                    changes.there.push(self.add(binding));
                }
                None => {}
            }
        }
        for key in go {
            changes.gone.extend(self.remove(key));
        }
        while self.of(agent).count() > MOST
            && let Some((key, _)) = self.of(agent).min_by_key(|(_, b)| b.expires)
        {
            changes.gone.extend(self.remove(key));
            changes.there.retain(|k| *k != key);
        }
        Ok(changes)
    }

    /// When a timer for this binding must be armed; `None` while one is.
    pub(super) fn arm(&mut self, key: BindingKey) -> Option<Time> {
        let binding = self.all.get_mut(key)?;
        if binding.armed.is_some_and(|at| at <= binding.expires) {
            return None;
        }
        binding.armed = Some(binding.expires);
        binding.armed
    }

    /// Its timer fired. Whether its time is over, and the device that is gone with it.
    pub(super) fn expire(&mut self, key: BindingKey, now: Time) -> (bool, Option<DeviceKey>) {
        let Some(binding) = self.all.get_mut(key) else { return (true, None) };
        binding.armed = None;
        if binding.expires > now {
            return (false, None);
        }
        (true, self.remove(key))
    }

    /// A binding of this node as a row, under a name that stays its own: `name` where it has none yet.
    pub(super) fn row_of<'a>(
        &'a mut self,
        key: BindingKey,
        name: impl FnOnce() -> String,
        node: &'a str,
        now: Time,
    ) -> Option<(&'a str, KeptDevice<'a>)> {
        let binding = self.all.get_mut(key)?;
        if binding.row.is_empty() {
            binding.row = name().into();
        }
        Some((&binding.row, KeptDevice::of(binding, node, now)))
    }

    /// The rows of bindings that are gone since the last look.
    pub(super) fn take_forgotten(&mut self) -> Vec<Box<str>> {
        std::mem::take(&mut self.forgotten)
    }

    /// Takes up a binding of an earlier run. `was` is its flow then, `flow` its way now; `None` where its time is over.
    pub(super) fn restore(
        &mut self,
        row: &str,
        kept: KeptDevice<'_>,
        (was, flow): (Flow, Flow),
        same_boot: bool,
        now: Time,
    ) -> Option<BindingKey> {
        let expires = if same_boot { Time::from_micros(kept.expires) } else { now + Duration::from_micros(kept.life) };
        let instance = kept.instance.map(|(instance, reg_id)| (instance.0, reg_id.0));
        (expires > now).then(|| {
            let device = self.device_for(&kept.agent, instance.as_ref());
            let alone = self.were_at.get(&key_of(was)).is_none_or(|other| *other == Some(device));
            self.were_at.insert(key_of(was), alone.then_some(device));
            self.add(Binding {
                device,
                agent: kept.agent.into_owned(),
                uri: kept.uri.0,
                path: kept.path.into_iter().map(|p| p.0).collect(),
                flow,
                expires,
                instance,
                ice: kept.ice,
                panel: kept.panel,
                heard: now,
                row: row.into(),
                call_id: kept.call_id.0,
                seq: kept.seq,
                armed: None,
            })
        })
    }

    /// Drops the devices of agents of whom this is not true; gives what is gone.
    pub(super) fn keep(&mut self, may_register: impl Fn(&str) -> bool) -> SmallVec<[DeviceKey; 2]> {
        let strange = self.of_agent.iter().filter(|(agent, _)| !may_register(agent));
        let go: SmallVec<[BindingKey; 2]> = strange.flat_map(|(_, keys)| keys.iter().copied()).collect();
        go.into_iter().filter_map(|key| self.remove(key)).collect()
    }

    /// The same instance by the same numbered flow, else the same Contact.
    fn find(&self, agent: &str, wish: &Wish) -> Option<BindingKey> {
        let same = |b: &Binding| match (&b.instance, &wish.instance) {
            (Some(a), Some(b)) => a.0.eq_ignore_ascii_case(&b.0) && a.1 == b.1,
            _ => same_uri(&b.uri, &wish.uri),
        };
        self.of(agent).find(|(_, b)| same(b)).map(|(key, _)| key)
    }

    /// The device of this instance, a new one where there is none.
    fn device_for(&mut self, agent: &str, instance: Option<&(Bytes, Bytes)>) -> DeviceKey {
        let known = instance.and_then(|(instance, _)| self.instance_of(agent, urn_of(instance)));
        known.unwrap_or_else(|| self.devices.insert(Device::default()))
    }

    fn add(&mut self, binding: Binding) -> BindingKey {
        let (agent, flow, device) = (binding.agent.clone(), key_of(binding.flow), binding.device);
        let key = self.all.insert(binding);
        self.of_agent.entry(agent).or_default().push(key);
        self.by_flow.entry(flow).or_default().push(key);
        if let Some(device) = self.devices.get_mut(device) {
            device.bindings.push(key);
        }
        key
    }

    fn move_to(&mut self, key: BindingKey, flow: Flow) {
        let Some(binding) = self.all.get_mut(key) else { return };
        let before = std::mem::replace(&mut binding.flow, flow);
        self.leave_flow(before, key);
        self.by_flow.entry(key_of(flow)).or_default().push(key);
    }

    fn leave_flow(&mut self, flow: Flow, key: BindingKey) {
        let flow = key_of(flow);
        if let Some(keys) = self.by_flow.get_mut(&flow) {
            keys.retain(|k| *k != key);
            if keys.is_empty() {
                self.by_flow.remove(&flow);
            }
        }
    }

    /// Removes a binding; gives the device that is gone with it.
    fn remove(&mut self, key: BindingKey) -> Option<DeviceKey> {
        let binding = self.all.remove(key)?;
        if !binding.row.is_empty() {
            self.forgotten.push(binding.row);
        }
        if let Some(keys) = self.of_agent.get_mut(&binding.agent) {
            keys.retain(|k| *k != key);
            if keys.is_empty() {
                self.of_agent.remove(&binding.agent);
            }
        }
        self.leave_flow(binding.flow, key);
        let device = self.devices.get_mut(binding.device)?;
        device.bindings.retain(|k| *k != key);
        device.bindings.is_empty().then(|| {
            self.devices.remove(binding.device);
            binding.device
        })
    }
}

/// The URN of an instance, without the quotes and brackets that it may stand in.
pub(super) fn urn_of(instance: &[u8]) -> &[u8] {
    let instance = instance.trim_ascii();
    let inner = instance.strip_prefix(b"\"").and_then(|i| i.strip_suffix(b"\"")).unwrap_or(instance);
    inner.strip_prefix(b"<").and_then(|i| i.strip_suffix(b">")).unwrap_or(inner)
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
        Wish { uri: Bytes::copy_from_slice(uri.as_bytes()), instance, ice: false, expires: NOW + Duration::from_secs(seconds) }
    }

    fn register(b: &mut Bindings, call: &str, seq: u32, port: u16, wish: Wish) -> Result<Changes, OutOfOrder> {
        let call_id = Bytes::copy_from_slice(call.as_bytes());
        let contacts = Contacts::These(vec![wish]);
        b.change("alice", Wishes { call_id, seq, path: SmallVec::new(), flow: flow(port), panel: false, contacts }, NOW)
    }

    fn uris(b: &Bindings) -> Vec<String> {
        b.of("alice").map(|(_, b)| String::from_utf8_lossy(&b.uri).into_owned()).collect()
    }

    fn devices(b: &Bindings) -> Vec<DeviceKey> {
        b.of("alice").map(|(_, b)| b.device).collect()
    }

    #[test]
    fn a_device_stays_itself_by_its_contact_or_its_instance_and_its_newest_flow_is_the_one_that_counts() {
        let mut b = Bindings::default();
        let first = register(&mut b, "1", 1, 5060, wish("sip:alice@H:1", 60, None)).expect("in order");
        assert_eq!((first.moved.len(), first.gone.len()), (1, 0));
        let again = register(&mut b, "1", 2, 5060, wish("SIP:alice@h:1", 60, None)).expect("in order");
        assert_eq!((&again.there, again.moved.len(), again.gone.len()), (&first.there, 0, 0));
        let elsewhere = register(&mut b, "2", 1, 5070, wish("sip:alice@h:1", 60, None)).expect("another call");
        assert_eq!((&elsewhere.there, elsewhere.gone.len()), (&first.there, 0));
        assert_eq!(elsewhere.moved[..], [(first.moved[0].0, Some(flow(5060)))]);
        register(&mut b, "3", 1, 5080, wish("sip:a@h:2", 60, Some("<urn:uuid:1>"))).expect("new");
        register(&mut b, "4", 1, 5080, wish("sip:b@h:3", 60, Some("<urn:uuid:1>"))).expect("the same instance");
        assert_eq!(uris(&b), ["sip:alice@h:1", "sip:b@h:3"]);
        assert_eq!((b.at(flow(5060)).count(), b.at(flow(5070)).count(), b.at(flow(5080)).count()), (0, 1, 1));
    }

    #[test]
    fn the_numbered_flows_of_an_instance_are_one_device_until_the_last_is_gone() {
        let mut b = Bindings::default();
        let numbered = |uri: &str, id: &str, seconds: u64| {
            let instance = Some((Bytes::from_static(b"<urn:uuid:1>"), Bytes::copy_from_slice(id.as_bytes())));
            Wish { instance, ..wish(uri, seconds, None) }
        };
        register(&mut b, "1", 1, 5061, numbered("sip:a@h:1", "1", 60)).expect("new");
        register(&mut b, "2", 1, 5062, numbered("sip:a@h:2", "2", 60)).expect("new");
        register(&mut b, "3", 1, 5090, wish("sip:a@h:3", 60, None)).expect("new");
        let all = devices(&b);
        assert!(all[0] == all[1] && all[1] != all[2]);
        assert_eq!(b.devices_of("alice")[..], [all[2], all[0]]);
        let ports = |b: &Bindings| b.flows_of(all[0]).iter().map(|b| b.flow.remote.port()).collect::<Vec<_>>();
        assert_eq!(ports(&b), [5062, 5061]);
        // The first flow comes back by another port: it is heard of last.
        let call_id = Bytes::from_static(b"1");
        let contacts = Contacts::These(vec![numbered("sip:a@h:1", "1", 60)]);
        let again = Wishes { call_id, seq: 2, path: SmallVec::new(), flow: flow(5063), panel: false, contacts };
        let changes = b.change("alice", again, NOW + Duration::from_secs(1)).expect("in order");
        assert_eq!(changes.moved[..], [(all[0], Some(flow(5061)))]);
        assert_eq!(ports(&b), [5063, 5062]);
        for (call, seq, uri, id, gone) in [("1", 3, "sip:a@h:1", "1", 0), ("2", 2, "sip:a@h:2", "2", 1)] {
            assert_eq!(register(&mut b, call, seq, 1, numbered(uri, id, 0)).expect("in order").gone.len(), gone);
        }
        assert_eq!((b.instance_of("alice", b"urn:uuid:1"), b.devices.len()), (None, 1));
    }

    #[test]
    fn a_register_out_of_order_changes_nothing() {
        let mut b = Bindings::default();
        register(&mut b, "1", 5, 5060, wish("sip:a@h", 60, None)).expect("new");
        for seq in [4, 5] {
            assert_eq!(register(&mut b, "1", seq, 5060, wish("sip:a@h", 0, None)), Err(OutOfOrder));
        }
        let all = |seq| Wishes {
            call_id: "1".into(),
            seq,
            path: SmallVec::new(),
            flow: flow(1),
            panel: false,
            contacts: Contacts::All,
        };
        assert_eq!(b.change("alice", all(5), NOW), Err(OutOfOrder));
        assert_eq!(uris(&b).len(), 1);
        assert_eq!(b.change("alice", all(6), NOW).expect("in order").gone.len(), 1);
        assert!(uris(&b).is_empty() && b.by_flow.is_empty() && b.of_agent.is_empty() && b.devices.is_empty());
    }

    #[test]
    fn a_device_is_gone_when_its_time_is_over_and_has_one_timer() {
        let mut b = Bindings::default();
        let key = register(&mut b, "1", 1, 5060, wish("sip:a@h", 60, None)).expect("new").there[0];
        assert_eq!(b.arm(key), Some(NOW + Duration::from_secs(60)));
        register(&mut b, "1", 2, 5060, wish("sip:a@h", 90, None)).expect("again");
        assert_eq!(b.arm(key), None);
        assert_eq!(b.expire(key, NOW + Duration::from_secs(60)), (false, None));
        assert_eq!(b.arm(key), Some(NOW + Duration::from_secs(90)));
        let device = devices(&b)[0];
        assert_eq!(b.expire(key, NOW + Duration::from_secs(90)), (true, Some(device)));
        assert_eq!(b.expire(key, NOW + Duration::from_secs(90)), (true, None));
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

//! Strangers, and how they become agents: they show a password, or they register (RFC 3261 section 10, RULES R8).
//!
//! Shard 0 does all of it: the [`Classifier`](super::Classifier) brings it every message of somebody unknown. Nobody is
//! kept in memory who has not shown a password. Registrations outlive the process as rows in [`Table::Device`] (RULES B1).

use super::access::{Access, Gate, Look, Shown};
use super::bindings::{Binding, BindingKey, Bindings, Contacts, DeviceKey, KeptDevice, OutOfOrder, Wish, Wishes, urn_of};
use super::call::CallKey;
use super::inside::is_inside;
use super::keep_open::HeldOpen;
use super::page::{Offered, RungAgain};
use super::shard::{Do, Shard, Wake};
use crate::emergency::facts::{Input, Origin, Side};
use crate::sip::header::{NameAddr, seconds, token_in_list, values};
use crate::sip::write::Writer;
use crate::sip::{Flow, Message, Method, Name, ServerKey};
use crate::words::uri::Uri;
use crate::words::{Row, Saved, Table, Time};
use bytes::Bytes;
use smallvec::SmallVec;
use std::time::Duration;

/// The shortest time to register for, in seconds; below it 423 (RFC 3261 section 10.3, step 7).
const SHORTEST: u32 = 60;
/// The longest, and what a REGISTER without a wish gets.
const LONGEST: u32 = 3600;
/// Contacts in one REGISTER.
const MOST_CONTACTS: usize = 16;
/// What of RFC 3327, RFC 5626 and RFC 5627 a REGISTER may ask for.
const EXTENSIONS: [&str; 3] = ["path", "outbound", "gruu"];
/// How often the far end of a flow is to show that it is there, in seconds (RFC 5626 section 4.4): NATs forget datagrams
/// sooner than connections.
const FLOW_TIMER: u64 = 120;
const FLOW_TIMER_UDP: u64 = 30;
/// An answer to a stranger is no larger than so many times the question (RULES B7): nobody is flooded by way of us.
const MOST_GAIN: usize = 3;

/// Phones: who has registered, and who may.
pub(super) struct Phones {
    gate: Gate,
    bindings: Bindings,
    pub(super) held_open: HeldOpen,
    /// What the request at hand has shown.
    shown: Option<Shown>,
    /// Pages that are rung for calls that were theirs before.
    pub(super) rung_again: Vec<RungAgain>,
    /// What those offer who have answered.
    pub(super) offered: Vec<Offered>,
}

impl Phones {
    pub(super) fn new(secret: u64) -> Self {
        let (bindings, held_open) = (Bindings::default(), HeldOpen::default());
        Self { gate: Gate::new(secret), bindings, held_open, shown: None, rung_again: Vec::new(), offered: Vec::new() }
    }

    /// The device of a call is known by it.
    pub(super) fn note_call(&mut self, device: DeviceKey, call: CallKey) {
        self.bindings.note_call(device, call);
    }

    pub(super) const fn bindings(&self) -> &Bindings {
        &self.bindings
    }
}

impl Shard {
    /// Whether a registered device is there.
    pub fn has_device_at(&self, flow: Flow) -> bool {
        self.phones.bindings.at(flow).next().is_some()
    }

    /// Who sends this. A registered flow is its agent (CONTRACT "Who is calling"); a neighbour's own address is the
    /// neighbour, whoever registers from there.
    pub(super) fn origin_of(&self, flow: Flow, msg: &Message) -> Origin {
        if let Some(agent) = self.inside.filter(|_| is_inside(flow)) {
            return Origin::Agent(agent);
        }
        let links = &self.setup.links;
        let known = links.sources.of(flow);
        match known {
            Origin::Stranger => self.agent_at(flow, msg).unwrap_or(Origin::Stranger),
            Origin::Peer(_) if !links.is_a_neighbours_own(flow) => self.agent_among_peers_at(flow, msg).unwrap_or(known),
            _ => known,
        }
    }

    /// Whether the request goes on to the endpoint. Where not, it has had an answer that keeps nothing.
    pub(super) fn lets_in(&mut self, flow: Flow, msg: &Message, now: Time) -> bool {
        self.phones.shown = None;
        // A broken INVITE with a tag may be taken for a call of its own (RULES R4): not a stranger's.
        let no_dialog = msg.to_tag().is_none() || (msg.method() == Method::Invite && !msg.faults().is_clean());
        let outside = msg.is_request() && no_dialog && !matches!(msg.method(), Method::Ack | Method::Cancel);
        let registers = msg.method() == Method::Register;
        if !outside || !registers && self.origin_of(flow, msg) != Origin::Stranger {
            return true;
        }
        // A neighbour before the last reload: what it sends again is no stranger's (RULES R3).
        if self.endpoint.is_copy(msg) {
            return true;
        }
        if !msg.faults().is_clean() {
            self.endpoint.reply_stateless(flow, msg, msg.faults().status(), &[]);
            return false;
        }
        if self.story.is_none() || !matches!(msg.method(), Method::Invite | Method::Register) {
            self.endpoint.reply_stateless(flow, msg, 403, &[]);
            return false;
        }
        let passes = (&self.setup.panel, self.setup.booted);
        match self.phones.gate.look(&self.setup.access, passes, msg, now) {
            Look::Right(shown) => self.phones.shown = Some(shown),
            look => self.challenge_stranger(flow, msg, look == Look::Stale, now),
        }
        self.phones.shown.is_some()
    }

    /// The agent whose password an INVITE from a stranger shows, if it does for the first time. Else it is challenged
    /// again, and the call is over.
    pub(super) fn vouch(&mut self, key: CallKey, now: Time) -> bool {
        let Some(call) = self.calls.get_mut(key).filter(|c| c.origin == Origin::Stranger) else { return true };
        let shown = self.phones.shown.take();
        if let Some(shown) = shown.filter(|s| self.phones.gate.admit(*s, now)) {
            call.origin = Origin::Agent(shown.agent);
            if call.near_flow.transport.is_reliable() {
                self.out.push_back(Do::Keep(call.near_flow));
            }
            return true;
        }
        let (server, invite) = (call.server, call.invite.take());
        if let Some(msg) = invite {
            self.challenge(server, &msg, now);
        }
        self.forget_call(key);
        false
    }

    /// REGISTER, with credentials that are right.
    pub(super) fn on_register(&mut self, tx: ServerKey, msg: &Message, flow: Flow, now: Time) {
        let Some(shown) = self.phones.shown.take().filter(|s| self.phones.gate.admit(*s, now)) else {
            return self.challenge(tx, msg, now);
        };
        let is_known = |tag: &&[u8]| EXTENSIONS.iter().any(|known| tag.eq_ignore_ascii_case(known.as_bytes()));
        let unknown: Vec<_> = msg.all(Name::Require).flat_map(values).filter(|tag| !is_known(tag)).collect();
        if !unknown.is_empty() {
            return self.answer(tx, 420, now, |w| {
                w.header("Unsupported", &unknown.join(&b", "[..]));
            });
        }
        let to = msg.get(Name::To).and_then(NameAddr::parse).and_then(|to| Uri::parse(to.uri)?.user);
        let agent = self.setup.site.agents.get(shown.agent.0 as usize).map(|a| a.id.reveal().clone());
        let Some(agent) = agent.filter(|id| to.is_some_and(|user| user.eq_ignore_ascii_case(id.as_bytes()))) else {
            return self.answer(tx, 403, now, |_| {});
        };
        // RFC 5626 section 6. Who only supports it is registered without: being refused it might not come back.
        if !first_hop_knows_outbound(msg) && msg.all(Name::Require).any(|r| token_in_list(r, "outbound")) {
            return self.answer(tx, 439, now, |_| {});
        }
        let wishes = match read(msg, flow, shown.panel, now) {
            Ok(wishes) => wishes,
            Err(423) => {
                return self.answer(tx, 423, now, |w| {
                    w.header_num("Min-Expires", u64::from(SHORTEST));
                });
            }
            Err(status) => return self.answer(tx, status, now, |_| {}),
        };
        let Ok(changes) = self.phones.bindings.change(&agent, wishes, now).map_err(|OutOfOrder| ()) else {
            return self.answer(tx, 500, now, |w| {
                w.header_num("Retry-After", 1);
            });
        };
        self.list_devices(tx, msg, flow, &agent, now);
        if flow.transport.is_reliable() && !changes.there.is_empty() {
            self.out.push_back(Do::Keep(flow));
        }
        self.devices_gone(&changes.gone, now);
        for key in &changes.there {
            self.keep_binding(*key, now);
            self.arm_binding(*key);
            self.keep_open(*key, now);
        }
        for (device, before) in changes.moved {
            self.device_moved(device, before, flow, now);
        }
        for key in changes.there {
            let Some(device) = self.phones.bindings.get(key).map(|b| b.device.id()) else { continue };
            self.tell_story(Some(Input::Registered { agent: shown.agent, device }), now);
            if shown.panel {
                self.page_registered(shown.agent, DeviceKey::of(device), flow, now);
            }
        }
    }

    /// A binding's time may be over.
    pub(super) fn binding_due(&mut self, key: BindingKey, now: Time) {
        let (over, device) = self.phones.bindings.expire(key, now);
        if over {
            self.devices_gone(device.as_slice(), now);
        } else {
            self.arm_binding(key);
        }
    }

    /// After a reload: who may not register any more has no devices.
    pub(super) fn revise_devices(&mut self, now: Time) {
        let access = &self.setup.access;
        let gone = self.phones.bindings.keep(|agent| access.agent(agent).is_some());
        self.devices_gone(&gone, now);
    }

    /// Takes up the devices of an earlier run and tells the story of them. A connection is gone with the process: who came
    /// by one is asked for where the Contact says, until it registers anew: at another port of the same host, for behind a NAT
    /// a Contact is an address of the phone's own network, and somebody else's here.
    pub(super) fn restore_devices(&mut self, saved: &Saved, now: Time) {
        for (row, value) in saved.rows(Table::Device) {
            let Ok(kept) = serde_json::from_slice::<KeptDevice<'_>>(value) else { continue };
            // Another node has that flow.
            if kept.format > KeptDevice::FORMAT || !kept.node.is_empty() && *kept.node != *self.setup.node {
                continue;
            }
            let (agent, locals) = (self.setup.access.agent(&kept.agent), self.endpoint.locals());
            let flows = kept.flow.flow(locals).map(|was| match Uri::parse(&kept.uri.0).and_then(|uri| uri.socket_addr()) {
                Some(remote) if was.transport.is_reliable() && remote.ip() == was.remote.ip() => (was, Flow { remote, ..was }),
                _ => (was, was),
            });
            let bindings = &mut self.phones.bindings;
            let there = agent
                .zip(flows)
                .and_then(|(agent, flows)| Some((agent, bindings.restore(row, kept, flows, saved.same_boot, now)?)));
            match there {
                Some((agent, key)) => {
                    if !saved.same_boot {
                        self.keep_binding(key, now);
                    }
                    self.arm_binding(key);
                    self.keep_open(key, now);
                    if let Some(device) = self.phones.bindings.get(key).map(|b| b.device.id()) {
                        self.tell_story(Some(Input::Registered { agent, device }), now);
                    }
                }
                None => self.out.push_back(Do::Side(Side::Keep(Row::forget(Table::Device, row)))),
            }
        }
    }

    fn keep_binding(&mut self, key: BindingKey, now: Time) {
        let era = self.setup.era;
        let name = || format!("{era:x}-{:x}", key.number());
        let Some((name, kept)) = self.phones.bindings.row_of(key, name, &self.setup.node, now) else { return };
        if let Ok(value) = serde_json::to_vec(&kept) {
            self.out.push_back(Do::Side(Side::Keep(Row::keep(Table::Device, name, value))));
        }
    }

    fn devices_gone(&mut self, gone: &[DeviceKey], now: Time) {
        for row in self.phones.bindings.take_forgotten() {
            self.out.push_back(Do::Side(Side::Keep(Row::forget(Table::Device, row))));
        }
        for key in gone {
            self.tell_story(Some(Input::Unregistered { device: key.id() }), now);
        }
    }

    fn arm_binding(&mut self, key: BindingKey) {
        if let Some(at) = self.phones.bindings.arm(key) {
            self.wakes.arm(at, Wake::Binding(key));
        }
    }

    /// Whose flow this is. Where several agents share one, as behind an edge proxy, the From says which of them; one whom it
    /// does not name is nobody, unless the flow is a single phone's.
    fn agent_at(&self, flow: Flow, msg: &Message) -> Option<Origin> {
        let access: &Access = &self.setup.access;
        access.agent(&self.binding_at(flow, msg)?.agent).map(Origin::Agent)
    }

    /// The same in a peer's network, where the flow may be another node of the peer: a datagram with a forged source, or an
    /// account of the node's own, must not make an agent of everybody behind it. So the From has to say so, or nobody.
    fn agent_among_peers_at(&self, flow: Flow, msg: &Message) -> Option<Origin> {
        let user = || msg.get(Name::From).and_then(NameAddr::parse).and_then(|n| Uri::parse(n.uri)?.user);
        match user().filter(|user| !user.eq_ignore_ascii_case(b"anonymous")) {
            Some(user) => {
                let named = self.phones.bindings.at(flow).find(|b| b.agent.as_bytes().eq_ignore_ascii_case(user))?;
                self.setup.access.agent(&named.agent).map(Origin::Agent)
            }
            None if msg.all(Name::PAssertedIdentity).next().is_some() => None,
            None => self.agent_at(flow, msg),
        }
    }

    /// Which binding a message by this flow is from.
    fn binding_at(&self, flow: Flow, msg: &Message) -> Option<&Binding> {
        let mut at = self.phones.bindings.at(flow);
        let newest = at.next()?;
        let from = || msg.get(Name::From).and_then(NameAddr::parse).and_then(|n| Uri::parse(n.uri)?.user);
        let alone = newest.path.is_empty() && at.all(|b| b.agent == newest.agent);
        if alone {
            return Some(newest);
        }
        let from = from()?;
        self.phones.bindings.at(flow).find(|b| b.agent.as_bytes().eq_ignore_ascii_case(from))
    }

    /// Which device a message by this flow is from. None where the agent has several there: nobody can tell.
    pub(super) fn device_at(&self, flow: Flow, msg: &Message) -> Option<DeviceKey> {
        let found = self.binding_at(flow, msg)?;
        let alone = self.phones.bindings.at(flow).all(|b| b.agent != found.agent || b.device == found.device);
        alone.then_some(found.device)
    }

    fn challenge_stranger(&mut self, flow: Flow, msg: &Message, stale: bool, now: Time) {
        let challenges = self.phones.gate.challenges(&self.setup.access, msg, stale, now);
        let fields: SmallVec<[_; 2]> = challenges.iter().map(|c| ("WWW-Authenticate", c.as_bytes())).collect();
        let most = MOST_GAIN * msg.bytes().len();
        // A question too small for all of them gets fewer; one that is smaller than any answer gets none.
        for count in (0..=fields.len()).rev() {
            if self.endpoint.reply_stateless_within(flow, msg, 401, fields.get(..count).unwrap_or_default(), most) {
                return;
            }
        }
    }

    /// The credentials were right and have come before: once more, with a new nonce.
    fn challenge(&mut self, tx: ServerKey, msg: &Message, now: Time) {
        let challenges = self.phones.gate.challenges(&self.setup.access, msg, true, now);
        self.answer(tx, 401, now, |w| {
            for challenge in &challenges {
                w.header("WWW-Authenticate", challenge.as_bytes());
            }
        });
    }

    fn list_devices(&mut self, tx: ServerKey, msg: &Message, flow: Flow, agent: &str, now: Time) {
        let Some(mut w) = self.endpoint.reply(tx, 200) else { return };
        let supports = |tag: &str| msg.all(Name::Supported).any(|s| token_in_list(s, tag));
        let to = msg.get(Name::To).and_then(NameAddr::parse).map_or(&b""[..], |to| to.uri);
        let record = to.split(|b| matches!(b, b';' | b'?')).next().unwrap_or_default();
        for (_, b) in self.phones.bindings.of(agent) {
            let left = b.expires.since(now).as_secs().to_string();
            let mut parts: SmallVec<[&[u8]; 16]> = SmallVec::new();
            parts.extend([&b"<"[..], &b.uri, b">;expires=", left.as_bytes()]);
            if let Some((instance, reg_id)) = &b.instance {
                parts.extend([&b";+sip.instance=\""[..], instance, b"\""]);
                if !reg_id.is_empty() {
                    parts.extend([&b";reg-id="[..], reg_id]);
                }
                // RFC 5627 section 5.2: the same as long as the address of record and the instance are.
                let urn = urn_of(instance);
                if supports("gruu") && urn.iter().all(|c| c.is_ascii_alphanumeric() || b":._-".contains(c)) {
                    parts.extend([&b";pub-gruu=\""[..], record, b";gr=", urn, b"\""]);
                }
            }
            w.header_parts("Contact", &parts);
        }
        // RFC 3327 section 5.3: the Path goes back as it came.
        for path in msg.all(Name::Path) {
            w.header("Path", path);
        }
        let ours: Vec<_> = EXTENSIONS.into_iter().filter(|tag| supports(tag)).collect();
        if !ours.is_empty() {
            w.header("Supported", ours.join(", ").as_bytes());
        }
        if uses_outbound(msg) && msg.all(Name::Contact).flat_map(values).filter_map(NameAddr::parse).any(|c| is_numbered(&c)) {
            w.header("Require", b"outbound");
            w.header_num("Flow-Timer", if flow.transport.is_reliable() { FLOW_TIMER } else { FLOW_TIMER_UDP });
        }
        self.endpoint.respond(tx, 200, None, w.finish(), now);
    }

    fn answer(&mut self, tx: ServerKey, status: u16, now: Time, more: impl FnOnce(&mut Writer)) {
        let Some(mut w) = self.endpoint.reply(tx, status) else { return };
        more(&mut w);
        self.endpoint.respond(tx, status, None, w.finish(), now);
    }
}

/// What a REGISTER asks for, or the status that refuses it.
fn read(msg: &Message, flow: Flow, panel: bool, now: Time) -> Result<Wishes, u16> {
    let (seq, _) = msg.cseq().ok_or(400u16)?;
    let asked = msg.get(Name::Expires).map(|v| seconds(v).unwrap_or(LONGEST));
    let contacts: Vec<_> = msg.all(Name::Contact).flat_map(values).collect();
    let star = contacts.iter().any(|c| c.trim_ascii() == b"*");
    // RFC 3261 section 10.3, step 6.
    if star && (contacts.len() > 1 || asked != Some(0)) || contacts.len() > MOST_CONTACTS {
        return Err(400);
    }
    let own = |part: &[u8]| Bytes::copy_from_slice(part);
    let outbound = uses_outbound(msg);
    let wish = |contact: &&[u8]| -> Result<Wish, u16> {
        let contact = NameAddr::parse(contact).ok_or(400u16)?;
        // A malformed parameter counts as absent (RFC 3261 section 20.10).
        let expires = contact.param("expires").and_then(seconds).or(asked).unwrap_or(LONGEST);
        if (1..SHORTEST).contains(&expires) {
            return Err(423);
        }
        let instance = contact.param("+sip.instance").map(|i| (own(i), own(if outbound { reg_id(&contact) } else { b"" })));
        let expires = now + Duration::from_secs(u64::from(expires.min(LONGEST)));
        Ok(Wish { uri: own(contact.uri), instance, ice: contact.param("+sip.ice").is_some(), expires })
    };
    let contacts = if star { Contacts::All } else { Contacts::These(contacts.iter().map(wish).collect::<Result<Vec<_>, _>>()?) };
    let path = msg.all(Name::Path).flat_map(values).map(own).collect();
    Ok(Wishes { call_id: own(msg.call_id()), seq, path, flow, panel, contacts })
}

/// RFC 5626 section 4.2: a number.
fn reg_id<'a>(contact: &NameAddr<'a>) -> &'a [u8] {
    contact.param("reg-id").filter(|id| id.iter().all(u8::is_ascii_digit)).unwrap_or_default()
}

/// Whether the flow of a Contact has a number: an instance and a reg-id.
fn is_numbered(contact: &NameAddr<'_>) -> bool {
    contact.param("+sip.instance").is_some() && !reg_id(contact).is_empty()
}

/// Whether flows are managed as RFC 5626 has it: else a reg-id says nothing (section 6).
fn uses_outbound(msg: &Message) -> bool {
    let asked = [Name::Supported, Name::Require].into_iter().any(|name| msg.all(name).any(|v| token_in_list(v, "outbound")));
    asked && first_hop_knows_outbound(msg)
}

/// Whether the phone has sent this to us, or to an edge proxy that keeps its flow (`ob` in the Path value that came first).
fn first_hop_knows_outbound(msg: &Message) -> bool {
    let edge = msg.all(Name::Path).flat_map(values).last().and_then(NameAddr::parse);
    match edge.and_then(|edge| Uri::parse(edge.uri)) {
        Some(edge) => edge.param("ob").is_some(),
        None => msg.all(Name::Via).flat_map(values).count() <= 1,
    }
}

//! One thread's calls: the SIP core below, the story or the hunt above, and the calls between them.
//!
//! Shard 0 has the story and everything that it needs to see; the others carry ordinary calls. Nothing here
//! waits, locks or logs a word of a message.

use super::access::Access;
use super::anchor::{Anchoring, RelayOrder, Stock};
use super::bindings::BindingKey;
use super::call::{Call, CallKey, Fate, Kind, Owner, Progress};
use super::challenge::TrunkKey;
use super::compose::{Dress, contact, user_of};
use super::lines::{Agents, Lines};
use super::links::{Classifier, Links};
use super::ordinary::OrdinaryCall;
use super::own::Errand;
use super::panel::PanelKey;
use super::publication::Publisher;
use super::read_back::MediaOrder;
use super::registrar::Phones;
use super::understood::Beyond;
use crate::emergency::facts::{AgentId, CallId, Input, LegId, Origin, Side};
use crate::emergency::gateway::Gateway;
use crate::emergency::site::Site;
use crate::pool::PoolError;
use crate::sip::overload::Load;
use crate::sip::timer::TimerWheel;
use crate::sip::write::Writer;
use crate::sip::{ClientKey, DialogKey, Endpoint, Event, Flow, Locals, Message, Method, Name, ServerKey, Transmit, sdp};
use crate::words::{Row, Saved, Time};
use slotmap::{SecondaryMap, SlotMap};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// What a shard works from; a reload brings a new one.
#[derive(Clone)]
pub struct Setup {
    /// Agents, trunks, routes, numbers, times.
    pub site: Arc<Site>,
    /// Where the neighbours are.
    pub links: Arc<Links>,
    /// What our listeners call themselves.
    pub locals: Arc<Locals>,
    /// Random, the same for every run of the node.
    pub secret: u64,
    /// What the node is called among the others: the flows of its phones are its own.
    pub node: Arc<str>,
    /// Counts the node's runs: no two have the same (RULES B1).
    pub era: u16,
    /// How many shards there are.
    pub shards: u8,
    /// Who may register, and show a password.
    pub access: Arc<Access>,
    /// What the passes of agents' pages are made with.
    pub panel: PanelKey,
    /// The agents by what names them in a call.
    pub agents: Arc<Agents>,
    /// Who is on ordinary calls. A shard keeps that of its first setup.
    pub lines: Arc<Lines>,
    /// Where presence is told by SIP PUBLISH.
    pub presence: Option<Publisher>,
    /// What the wall clock said when boot time was zero; for what others read only.
    pub booted: Duration,
    /// Whose audio goes through us, and where.
    pub anchoring: Arc<Anchoring>,
    /// How full we are. A shard keeps that of its first setup.
    pub load: Arc<Load>,
}

/// What a shard wants done.
#[derive(Debug)]
pub enum Do {
    /// Send a message.
    Send(Transmit),
    /// Make a lease durable, then call [`Shard::committed`].
    Commit {
        /// The call that waits for it, 50 ms at most.
        call: CallId,
        /// What to write.
        lease: Row,
    },
    /// Keep this way open: a registered device is at its other end. A connection is kept however long it is silent; along a
    /// way of datagrams something goes that says nothing.
    Keep(Flow),
    /// Have another shard do [`Shard::release`].
    Release {
        /// That shard.
        shard: u8,
        /// Its call.
        call: CallId,
    },
    /// Something for the voice of this call.
    Media {
        /// The call.
        call: CallId,
        /// What.
        order: MediaOrder,
    },
    /// Something for the relay.
    Relay(RelayOrder),
    /// Record an ordinary call that is over (RULES A7).
    Record(Box<OrdinaryCall>),
    /// Something beside the calls. Its fate is never told to the shard.
    Side(Side),
}

/// How much a shard holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Emergency calls and callbacks.
    pub emergencies: usize,
    /// Ordinary calls.
    pub ordinary: usize,
    /// Transactions of both kinds.
    pub transactions: usize,
    /// Dialogs.
    pub dialogs: usize,
    /// Responses that matched nothing, since the start.
    pub strays: u64,
}

/// What the shard's own timers are for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wake {
    /// An ordinary leg has been silent for too long.
    Silence(CallKey, LegId),
    /// A request of our own is due.
    Errand(Errand),
    /// A registration may be over.
    Binding(BindingKey),
    /// The way to a phone is to be kept open.
    KeepOpen(BindingKey),
    /// A device has had time to answer along its flow.
    Flow(CallKey, LegId),
    /// A page has had its time to come back to its call.
    PageAway(CallKey),
    /// What a page offers is to be told the other side again.
    OfferAgain(DialogKey),
    /// All has been read.
    ReadBack(CallKey),
    /// Calls are to be written down.
    KeepCalls,
}

/// See the module's docs.
pub struct Shard {
    pub(super) index: u8,
    pub(super) endpoint: Endpoint<Owner>,
    pub(super) setup: Setup,
    pub(super) calls: SlotMap<CallKey, Box<Call>>,
    /// Connected calls whose rows are not written yet, or not as they are now.
    pub(super) unkept: Vec<CallKey>,
    /// The call of each INVITE to us.
    invites: SecondaryMap<ServerKey, CallKey>,
    /// The re-INVITEs that were passed on and are not answered yet.
    pub(super) passed_invites: SecondaryMap<ServerKey, ClientKey>,
    pub(super) story: Option<Gateway>,
    /// When the story wants to be asked again.
    story_deadline: Option<Time>,
    /// The response that the story is being told of, and passes on or not.
    pub(super) at_hand: Option<Message>,
    pub(super) wakes: TimerWheel<Wake>,
    pub(super) out: VecDeque<Do>,
    pub(super) own: super::own::Own,
    pub(super) phones: Phones,
    /// Whom the caller of our own is, while it is heard.
    pub(super) inside: Option<AgentId>,
    /// What each trunk asked for last.
    pub(super) trunk_keys: Vec<TrunkKey>,
    /// Ports that are ready.
    pub(super) stock: Stock,
    due: Vec<(Time, Wake)>,
}

impl Shard {
    /// Shard `index` of this setup; 0 has the story.
    ///
    /// # Errors
    ///
    /// The callback numbers cannot make a pool: one is given twice.
    pub fn new(index: u8, setup: &Setup, now: Time) -> Result<Self, PoolError> {
        let mut shard = Self {
            index,
            endpoint: Endpoint::new(setup.secret, setup.era, index, Arc::clone(&setup.locals), now)
                .with_load(Arc::clone(&setup.load)),
            setup: setup.clone(),
            calls: SlotMap::with_key(),
            unkept: Vec::new(),
            invites: SecondaryMap::new(),
            passed_invites: SecondaryMap::new(),
            story: (index == 0).then(|| Gateway::new(Arc::clone(&setup.site), setup.agents.lookups())).transpose()?,
            story_deadline: None,
            at_hand: None,
            wakes: TimerWheel::new(now),
            out: VecDeque::new(),
            own: super::own::Own::new(setup.links.trunks.len()),
            phones: Phones::new(setup.secret ^ u64::from(setup.era).rotate_right(32)),
            inside: None,
            trunk_keys: Vec::new(),
            stock: Stock::default(),
            due: Vec::new(),
        };
        shard.obey_trunks();
        shard.look_after_stock();
        if index == 0 {
            shard.start_probes(now);
            shard.look_for_homeless(now);
            shard.start_registrations(now);
        }
        Ok(shard)
    }

    /// Takes up what the process before us left behind. Before the first message.
    pub fn restore(&mut self, saved: &Saved, now: Time) {
        if let Some(story) = &mut self.story {
            story.restore(saved, now);
        }
        if self.story.is_some() {
            self.restore_devices(saved, now);
            self.restore_publications(saved, now);
        }
        self.restore_calls(saved, now);
        self.tell_story(None, now);
    }

    /// A new configuration. Calls and leases go on.
    ///
    /// # Errors
    ///
    /// As [`Shard::new`]; everything stays as it was.
    pub fn reload(&mut self, setup: &Setup, now: Time) -> Result<(), PoolError> {
        if let Some(story) = &mut self.story {
            story.reload(Arc::clone(&setup.site), setup.agents.lookups())?;
        }
        self.setup = Setup { lines: Arc::clone(&self.setup.lines), load: Arc::clone(&self.setup.load), ..setup.clone() };
        self.endpoint.set_locals(Arc::clone(&setup.locals));
        self.obey_trunks();
        self.look_after_stock();
        if self.story.is_some() {
            self.start_probes(now);
            self.look_for_homeless(now);
            self.start_registrations(now);
            self.revise_devices(now);
            self.tell_story(None, now);
        }
        Ok(())
    }

    /// What sorts messages to shards; shard 0 gives it, anew after each reload.
    pub fn classifier(&self) -> Option<Classifier> {
        self.story.as_ref().map(|story| Classifier::new(&self.setup, story.lane()))
    }

    /// Whether this CANCEL or ACK is for an INVITE that came here, or this INVITE is a copy of one.
    pub fn has_invite_of(&self, msg: &Message) -> bool {
        self.endpoint.has_invite_of(msg)
    }

    /// The story, for views of leases and calls.
    pub const fn story(&self) -> Option<&Gateway> {
        self.story.as_ref()
    }

    /// A message for this shard.
    pub fn receive(&mut self, flow: Flow, msg: Message, now: Time) {
        if !self.lets_in(flow, &msg, now) {
            return;
        }
        if let Some(event) = self.endpoint.receive(flow, msg, now) {
            self.on_event(event, now);
        }
    }

    /// The transport could not deliver what this transaction sent.
    pub fn unreachable(&mut self, client: ClientKey, now: Time) {
        if let Some(event) = self.endpoint.unreachable(client) {
            self.on_event(event, now);
        }
    }

    /// A lease's record is durable.
    pub fn committed(&mut self, call: CallId, now: Time) {
        self.tell_story(Some(Input::Committed { call }), now);
    }

    /// Somebody beside the calls tells the story something: presence set by hand.
    pub fn tell(&mut self, input: Input<'_>, now: Time) {
        self.tell_story(Some(input), now);
    }

    /// Fires what is due.
    pub fn expire(&mut self, now: Time) {
        while let Some(event) = self.endpoint.expire(now) {
            self.on_event(event, now);
        }
        self.wakes.expire(now, &mut self.due);
        // One by one: should one of them panic, the others are not lost with it.
        while let Some((_, wake)) = self.due.pop() {
            match wake {
                Wake::Silence(call, leg) => self.ordinary_silence(call, leg, now),
                Wake::Errand(errand) => self.run_errand(errand, now),
                Wake::Binding(binding) => self.binding_due(binding, now),
                Wake::KeepOpen(binding) => self.keep_open_due(binding, now),
                Wake::Flow(call, leg) => self.flow_silent(call, leg, now),
                Wake::PageAway(call) => self.page_away(call, now),
                Wake::OfferAgain(page) => self.offer_again(page, now),
                Wake::ReadBack(call) => self.read_out(call, now),
                Wake::KeepCalls => self.keep_calls(),
            }
        }
        if self.story_deadline.is_some_and(|t| t <= now) {
            self.tell_story(Some(Input::Tick), now);
        }
    }

    /// When [`Shard::expire`] has something to do.
    pub fn next_deadline(&self) -> Option<Time> {
        [self.endpoint.next_deadline(), self.wakes.next(), self.story_deadline].into_iter().flatten().min()
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Do> {
        self.endpoint.poll_transmit().map(Do::Send).or_else(|| self.out.pop_front())
    }

    /// How much there is.
    pub fn census(&self) -> Census {
        let (clients, servers, dialogs) = self.endpoint.census();
        let emergencies = self.calls.values().filter(|c| c.kind.is_storys()).count();
        Census {
            emergencies,
            ordinary: self.calls.len() - emergencies,
            transactions: clients + servers,
            dialogs,
            strays: self.endpoint.strays,
        }
    }

    fn on_event(&mut self, event: Event<Owner>, now: Time) {
        match event {
            Event::Invite { tx, msg, flow } => self.on_invite(tx, msg, flow, now),
            Event::Request { tx, dialog, msg, flow } => match dialog {
                Some((here, owner @ Owner::Leg { .. })) => self.on_request_in_call(tx, here, owner, &msg, now),
                Some((here, Owner::ReadBack(call))) => self.on_read_back_request(tx, here, call, &msg, now),
                _ => self.on_request_outside(tx, &msg, flow, now),
            },
            Event::Ack { owner: Owner::ReadBack(call), msg, .. } => self.on_read_back_ack(call, &msg, now),
            Event::Ack { dialog, msg, .. } => self.on_ack(dialog, &msg, now),
            Event::Cancelled { tx, .. } => self.on_cancelled(tx, now),
            Event::Response { tx, owner, msg } => self.on_response(tx, owner, msg, now),
            Event::Challenged { tx, owner, msg, silent } => {
                if !self.answer_challenge(tx, owner, &msg, now) && !silent {
                    self.on_response(tx, owner, msg, now);
                }
            }
            Event::TimedOut { tx, owner } => self.on_no_response(tx, owner, false, now),
            Event::Unreachable { tx, owner } => self.on_no_response(tx, owner, true, now),
            Event::Lost { owner: Owner::Leg { call, leg, .. }, .. } => self.on_leg_lost(call, leg, now),
            Event::Lost { .. } => {}
            Event::NoAck { owner: Owner::ReadBack(call), .. } => self.on_read_back_no_ack(call, now),
            Event::NoAck { owner, .. } => self.on_no_ack(owner, now),
            Event::Late { msg, flow } => self.endpoint.decline_late(&msg, flow, RESTARTED.as_bytes(), Owner::Late, now),
        }
    }

    fn on_response(&mut self, tx: ClientKey, owner: Owner, msg: Message, now: Time) {
        match owner {
            Owner::Leg { call, leg, .. } => self.on_leg_response(tx, call, leg, msg, now),
            Owner::Passed(passed) => self.on_passed_response(passed, &msg, now),
            Owner::ReadBack(_) => {}
            Owner::Own(errand) => self.on_errand_response(errand, &msg, now),
            Owner::Page(seat) => self.on_page_response(seat, tx, &msg, now),
            Owner::Rejoin(seat, page) => self.on_rejoin_response(seat, page, &msg, now),
            Owner::Late => {}
        }
    }

    /// An INVITE outside a dialog. The story sees it first, if there is one here.
    fn on_invite(&mut self, tx: ServerKey, msg: Message, flow: Flow, now: Time) {
        let origin = self.origin_of(flow, &msg);
        if self.is_self_call(origin, &msg, now) {
            return self.endpoint.respond_plain(tx, 480, now);
        }
        let device = matches!(origin, Origin::Agent(_)).then(|| self.device_at(flow, &msg)).flatten();
        let content_type = msg.get(Name::ContentType).unwrap_or_default();
        let user = user_of(msg.uri());
        let call = Call {
            kind: Kind::Undecided,
            origin,
            server: tx,
            near_flow: flow,
            offered: sdp::has_offer(content_type, msg.body()),
            near_dress: Dress::Open,
            near_contact: contact(&user, self.endpoint.locals(), flow, msg.uri()),
            invite: Some(Box::new(msg)),
            legs: SmallVec::new(),
            progress: Progress::Waiting,
            late_ack: None,
            read_back: None,
            near_pair: None,
            page: self.page_at(origin, device),
            connected: Time::ZERO,
            kept: None,
        };
        let key = self.calls.insert(Box::new(call));
        self.invites.insert(tx, key);
        if let Some(device) = device {
            self.phones.note_call(device, key);
        }
        if !self.vouch(key, now) {
            return;
        }
        if self.story.is_some() {
            self.tell_story_of_invite(key, now);
        } else {
            self.begin_ordinary(key, now);
        }
    }

    fn on_cancelled(&mut self, tx: ServerKey, now: Time) {
        let Some(&key) = self.invites.get(tx) else { return self.on_passed_cancelled(tx, now) };
        let Some(call) = self.calls.get(key) else { return };
        if call.progress != Progress::Waiting {
            return;
        }
        if call.kind.is_storys() {
            self.tell_story(Some(Input::Abandoned { call: key.id() }), now);
        }
        self.give_up_open_legs(key, CANCELLED, now);
        self.refuse(key, 487, None, "", now);
    }

    /// Answers the caller with a final error. Legs that are still open are left to who decides.
    pub(super) fn refuse(&mut self, key: CallKey, status: u16, retry_after: Option<u32>, text: &str, now: Time) {
        let is_emergency = self.is_emergency_of_page(key);
        let Some(call) = self.calls.get_mut(key) else { return };
        if call.progress != Progress::Waiting {
            return;
        }
        let server = call.server;
        call.progress = Progress::Over;
        call.invite = None;
        if let Some(mut w) = self.endpoint.reply(server, status) {
            if let Some(seconds) = retry_after {
                w.header_num("Retry-After", u64::from(seconds));
            }
            if is_emergency {
                w.header("Priority", b"emergency");
            }
            if !text.is_empty() {
                w.header_fmt("Reason", format_args!("SIP;cause={status};text=\"{text}\""));
            }
            self.endpoint.respond(server, status, None, w.finish(), now);
        }
        self.record(key, status, now);
        self.settle(key);
    }

    /// Answers the caller that its request asks for what is beyond us.
    pub(super) fn refuse_beyond(&mut self, key: CallKey, beyond: Beyond, now: Time) {
        let Some(call) = self.calls.get_mut(key).filter(|c| c.progress == Progress::Waiting) else { return };
        let (server, invite) = (call.server, call.invite.take());
        call.progress = Progress::Over;
        if let (Some(mut w), Some(msg)) = (self.endpoint.reply(server, beyond.status()), invite) {
            beyond.write(&mut w, &msg);
            self.endpoint.respond(server, beyond.status(), None, w.finish(), now);
        }
        self.record(key, beyond.status(), now);
        self.settle(key);
    }

    /// Gives up every leg that may still become the call's.
    pub(super) fn give_up_open_legs(&mut self, key: CallKey, reason: &'static str, now: Time) {
        let open: SmallVec<[LegId; 2]> = self
            .calls
            .get(key)
            .map(|c| c.legs.iter().filter(|l| l.fate == Fate::Open).map(|l| l.id).collect())
            .unwrap_or_default();
        for leg in open {
            self.give_up_leg(key, leg, reason, now);
        }
    }

    /// Gives one leg up (RULES P7): silence, then CANCEL; a late 2xx gets ACK and BYE.
    pub(super) fn give_up_leg(&mut self, key: CallKey, leg: LegId, reason: &'static str, now: Time) {
        let Some(leg) = self.calls.get_mut(key).and_then(|c| c.leg_mut(leg)) else { return };
        if leg.fate != Fate::Open {
            return;
        }
        leg.fate = Fate::GivenUp(reason);
        let nears = std::iter::once(leg.near.take()).chain(leg.forks.iter_mut().map(|f| f.1.take()));
        let nears: SmallVec<[DialogKey; 2]> = nears.flatten().collect();
        let invite = leg.invite;
        self.endpoint.give_up(invite, bytes::Bytes::from_static(reason.as_bytes()), now);
        nears.into_iter().for_each(|near| self.endpoint.end_dialog(near));
    }

    /// A leg will never become anything.
    pub(super) fn end_leg(&mut self, key: CallKey, id: LegId) {
        let Some(leg) = self.calls.get_mut(key).and_then(|c| c.leg_mut(id)) else { return };
        leg.fate = Fate::Gone;
        self.release_leg(key, id);
        self.forget_dialogs(key, id);
        self.settle(key);
    }

    /// Ends the dialogs of a leg on both sides.
    pub(super) fn forget_dialogs(&mut self, key: CallKey, id: LegId) {
        let Some(leg) = self.calls.get_mut(key).and_then(|c| c.leg_mut(id)) else { return };
        leg.take_dialogs().into_iter().for_each(|dialog| self.endpoint.end_dialog(dialog));
    }

    /// Forgets a call of which nothing is left.
    pub(super) fn settle(&mut self, key: CallKey) {
        if !self.calls.get(key).is_some_and(|call| call.is_at_rest()) {
            return;
        }
        self.leave_line(key);
        if let Some(call) = self.calls.remove(key) {
            self.release_call(&call);
            self.invites.remove(call.server);
        }
    }

    /// Forgets a call that has its answer and never had a leg.
    pub(super) fn forget_call(&mut self, key: CallKey) {
        if let Some(call) = self.calls.remove(key) {
            self.release_call(&call);
            self.invites.remove(call.server);
        }
    }

    fn on_request_outside(&mut self, tx: ServerKey, msg: &Message, flow: Flow, now: Time) {
        if msg.method() == Method::Register && self.story.is_some() {
            return self.on_register(tx, msg, flow, now);
        }
        let status = match msg.method() {
            Method::Options => 200,
            Method::Other => 501,
            Method::Bye | Method::Prack | Method::Update | Method::Info => 481,
            _ => 405,
        };
        let beyond = Beyond::of(msg).filter(|_| status == 200);
        let status = beyond.map_or(status, Beyond::status);
        let Some(mut w) = self.endpoint.reply(tx, status) else { return };
        if let Some(beyond) = beyond {
            beyond.write(&mut w, msg);
        }
        if matches!(status, 200 | 405) {
            allow(&mut w);
        }
        if status == 200 {
            w.header("Accept", b"application/sdp");
        }
        self.endpoint.respond(tx, status, None, w.finish(), now);
    }

    /// Feeds the story and carries out what it decides, in order.
    pub(super) fn tell_story(&mut self, input: Option<Input<'_>>, now: Time) {
        let Some(story) = &mut self.story else { return };
        if let Some(input) = input {
            story.handle(input, now);
        }
        self.carry_out(now);
    }

    pub(super) fn set_story_deadline(&mut self, at: Option<Time>) {
        self.story_deadline = at;
    }
}

/// Why a leg is cancelled after the caller's CANCEL (RFC 3326).
pub(super) const CANCELLED: &str = "SIP;cause=487;text=\"Caller cancelled\"";

/// Why a leg of an earlier run is ended (RULES B1).
const RESTARTED: &str = "SIP;cause=500;text=\"Restarted while the call was being placed\"";

/// The methods that we understand.
pub(super) fn allow(w: &mut Writer) {
    w.header("Allow", b"INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO, NOTIFY, MESSAGE");
}

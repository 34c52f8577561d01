//! A world on paper: one shard, a clock that is a field, and neighbours who say what a test makes them say.

use bytes::Bytes;
use e911d::bridge::{Do, MediaOrder, Opened, Pair, RelayOrder, Setup, Shard};
use e911d::daemon::small;
pub use e911d::daemon::small::TOML as CONFIG;
use e911d::emergency::facts::{CallId, Side};
use e911d::sip::sdes::KeyRing;
use e911d::sip::{ClientKey, Flow, Message, Name, Transport};
use e911d::words::{Row, Saved, Table, Time};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

pub const PBX: &str = "127.0.0.1:15090";
pub const TRUNK_A: &str = "127.0.0.1:15070";
pub const TRUNK_B: &str = "127.0.0.1:15071";
pub const CARRIER: &str = "127.0.0.1:15080";
pub const STRANGER: &str = "127.0.0.9:5060";

pub const SDP: &str = "v=0\r\no=alice 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 30000 RTP/AVP 0\r\n";

/// What went out: to whom, and what.
pub struct Sent {
    pub to: SocketAddr,
    pub msg: Message,
    pub client: Option<ClientKey>,
}

/// What the shard wanted kept.
pub type Rows = BTreeMap<(Table, String), Vec<u8>>;

pub struct World {
    pub shard: Shard,
    pub setup: Setup,
    pub rows: Rows,
    pub now: Time,
    pub sent: Vec<Sent>,
    pub sides: Vec<Side>,
    /// Calls that other shards shall release, and those shards.
    pub releases: Vec<(u8, CallId)>,
    /// What the voice was told, in order.
    pub media: Vec<MediaOrder>,
    /// Where a voice would speak from, and for how long; none: there is none.
    pub voice: Option<Opened>,
    pub records: Vec<e911d::bridge::OrdinaryCall>,
    /// What the relay was told, in order.
    pub relayed: Vec<RelayOrder>,
    /// Whose ways were to be kept open, in order.
    pub kept_open: Vec<SocketAddr>,
    /// Whether there are ports for it.
    pub ports: bool,
    next_port: u16,
}

impl World {
    pub fn new() -> Self {
        Self::with(CONFIG)
    }

    /// The usual world with another config.
    pub fn changed(change: impl FnOnce(&str) -> String) -> Self {
        Self::with(&change(CONFIG))
    }

    pub fn with(text: &str) -> Self {
        Self::of_shard(0, &setup(text, 1))
    }

    /// The world of one shard among several.
    pub fn of_shard(index: u8, setup: &Setup) -> Self {
        let now = Time::from_micros(1_000_000_000);
        let shard = Shard::new(index, setup, now).expect("a shard");
        let voice = Opened { at: "127.0.0.1:20000".parse().expect("an address"), lasts: Duration::from_secs(20) };
        let (sent, sides, records, releases, media) = Default::default();
        Self {
            shard,
            setup: setup.clone(),
            rows: Rows::new(),
            now,
            sent,
            sides,
            records,
            releases,
            media,
            voice: Some(voice),
            relayed: Vec::new(),
            kept_open: Vec::new(),
            ports: true,
            next_port: 20_000,
        }
    }

    /// Another shard wants this call released.
    pub fn release(&mut self, call: CallId) {
        self.shard.release(call, self.now);
        self.drain();
    }

    /// The shard is killed; another run of the node finds what it wanted kept.
    pub fn restart(&mut self) {
        self.restart_as(true, |_| {});
    }

    /// The same after a boot of the machine, or with something else changed.
    pub fn restart_as(&mut self, same_boot: bool, change: impl FnOnce(&mut Setup)) {
        self.wait(WRITTEN);
        self.setup.era += 1;
        change(&mut self.setup);
        self.shard = Shard::new(0, &self.setup, self.now).expect("a shard");
        self.shard.restore(&saved(&self.rows, same_boot), self.now);
        self.drain();
    }

    /// How many rows a table has.
    pub fn kept(&self, table: Table) -> usize {
        self.rows.keys().filter(|(t, _)| *t == table).count()
    }

    /// A packet from this address.
    pub fn receive(&mut self, from: &str, text: &str) {
        self.receive_bytes(from, text.as_bytes());
    }

    pub fn receive_bytes(&mut self, from: &str, bytes: &[u8]) {
        let flow =
            Flow { transport: Transport::Udp, listener: 0, remote: from.parse().expect("an address"), connection: 0, name: 0 };
        self.receive_by(flow, bytes);
    }

    /// A message by a WebSocket of the second listener's; the port is the connection's number.
    pub fn receive_by_web(&mut self, from: &str, text: &str) {
        let remote: SocketAddr = from.parse().expect("an address");
        let connection = u32::from(remote.port());
        self.receive_by(Flow { transport: Transport::Ws, listener: 1, remote, connection, name: 0 }, text.as_bytes());
    }

    /// That WebSocket is closed.
    pub fn close_web(&mut self, from: &str) {
        self.shard.flow_lost(Transport::Ws, from.parse().expect("an address"), self.now);
        self.drain();
    }

    fn receive_by(&mut self, flow: Flow, bytes: &[u8]) {
        let msg = Message::scan(Bytes::copy_from_slice(bytes)).expect("a message");
        self.shard.receive(flow, msg, self.now);
        self.drain();
    }

    /// Lets time pass.
    pub fn wait(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(next) = self.shard.next_deadline().filter(|t| *t <= end) {
            self.now = self.now.max(next);
            self.shard.expire(self.now);
            self.drain();
        }
        self.now = end;
    }

    pub fn unreachable(&mut self, sent: &Sent) {
        self.shard.unreachable(sent.client.expect("a request"), self.now);
        self.drain();
    }

    /// What went out since the last call of this.
    pub fn take(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.sent)
    }

    /// The one message that went to this address since the last look, which must begin so.
    pub fn expect(&mut self, to: &str, begins: &str) -> Sent {
        let to: SocketAddr = to.parse().expect("an address");
        let at = self.sent.iter().position(|s| s.to == to && text(&s.msg).starts_with(begins));
        match at {
            Some(at) => self.sent.remove(at),
            None => panic!("no {begins:?} to {to} among:\n{}", self.listing()),
        }
    }

    pub fn expect_nothing(&self) {
        assert!(self.sent.is_empty(), "{}", self.listing());
    }

    fn media(&mut self, call: CallId, order: MediaOrder) {
        if matches!(order, MediaOrder::Open { .. }) {
            self.shard.media_opened(call, self.voice, self.now);
        }
        self.media.push(order);
    }

    /// Every port that is asked for is there.
    fn relay(&mut self, order: RelayOrder) {
        if let RelayOrder::Want(ip, count) = &order {
            let pairs = (0..*count).map(|_| {
                self.next_port += 2;
                Pair { at: SocketAddr::new(*ip, self.next_port), keys: KeyRing::new([7; KeyRing::LEN]) }
            });
            let pairs = if self.ports { pairs.collect() } else { Vec::new() };
            self.shard.stock(*ip, pairs);
        }
        self.relayed.push(order);
    }

    fn listing(&self) -> String {
        self.sent.iter().fold(String::new(), |mut all, s| {
            let _ = writeln!(all, "  -> {} {}", s.to, text(&s.msg).lines().next().unwrap_or_default());
            all
        })
    }

    pub fn drain(&mut self) {
        while let Some(what) = self.shard.poll() {
            match what {
                Do::Send(t) => {
                    let msg = Message::scan(t.bytes.clone()).expect("what we send can be read");
                    // A response repeats what its request had, mistakes included.
                    assert!(!msg.is_request() || msg.faults().is_clean(), "{:?} in {}", msg.faults(), text(&msg));
                    self.sent.push(Sent { to: t.flow.remote, msg, client: t.client });
                }
                Do::Commit { call, .. } => self.shard.committed(call, self.now),
                Do::Record(call) => self.records.push(*call),
                Do::Keep(flow) => self.kept_open.push(flow.remote),
                Do::Relay(order) => self.relay(order),
                Do::Release { shard, call } => self.releases.push((shard, call)),
                Do::Media { call, order } => self.media(call, order),
                Do::Side(Side::Keep(row)) => keep(&mut self.rows, row),
                Do::Side(side) => self.sides.push(side),
            }
        }
    }
}

/// What a call has become is written down by then.
pub const WRITTEN: Duration = Duration::from_millis(25);

/// What so many shards with this config work from.
pub fn setup(text: &str, shards: u8) -> Setup {
    let setup = small::assembled(text, 7, shards, None).setup;
    Setup { booted: Duration::from_secs(1_763_840_491 - 1000), ..setup }
}

/// What a store gives back.
pub fn saved(rows: &Rows, same_boot: bool) -> Saved {
    let mut saved = Saved::default();
    saved.same_boot = same_boot;
    for ((table, key), value) in rows {
        saved.add(*table, key.as_str(), value.clone());
    }
    saved
}

/// What a store does with a row.
pub fn keep(rows: &mut Rows, row: Row) {
    let key = (row.table, row.key.reveal().to_string());
    match row.value {
        Some(value) => drop(rows.insert(key, value.into_revealed())),
        None => drop(rows.remove(&key)),
    }
}

pub fn text(msg: &Message) -> String {
    String::from_utf8_lossy(msg.bytes()).into_owned()
}

pub fn get(msg: &Message, name: Name) -> String {
    String::from_utf8_lossy(msg.get(name).unwrap_or_default()).into_owned()
}

/// An INVITE as a PBX or a PSAP sends it.
pub fn invite(from_addr: &str, user: &str, dialed: &str, call: &str) -> String {
    format!(
        "INVITE sip:{dialed}@127.0.0.1:15060 SIP/2.0\r\nVia: SIP/2.0/UDP {from_addr};branch=z9hG4bK{call}\r\nMax-Forwards: 70\r\n\
         From: \"Al\" <sip:{user}@pbx.example.net>;tag=t{call}\r\nTo: <sip:{dialed}@pbx.example.net>\r\nCall-ID: {call}\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:{user}@{from_addr}>\r\nP-Asserted-Identity: <sip:{user}@pbx.example.net>\r\nUser-Agent: pbx/1.0\r\n\
         Allow: INVITE, ACK, CANCEL, BYE\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{SDP}",
        SDP.len()
    )
}

/// A response to what we sent.
pub fn response(to: &Message, status: u16, tag: &str, contact: &str, body: &str) -> String {
    let mut out = format!("SIP/2.0 {status} X\r\n");
    for h in to.headers() {
        match h.name {
            Name::Via | Name::From | Name::CallId | Name::CSeq | Name::RecordRoute => {
                out += &format!("{}\r\n", String::from_utf8_lossy(to.field(h)));
            }
            Name::To => {
                let tag = if to.to_tag().is_some() || tag.is_empty() { String::new() } else { format!(";tag={tag}") };
                out += &format!("{}{tag}\r\n", String::from_utf8_lossy(to.field(h)));
            }
            _ => {}
        }
    }
    if !contact.is_empty() {
        out += &format!("Contact: <{contact}>\r\n");
    }
    if !body.is_empty() {
        out += "Content-Type: application/sdp\r\n";
    }
    out += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
    out
}

/// A request inside the dialog that `msg`, a response that we sent or an INVITE that we sent, belongs to.
#[derive(Clone)]
pub struct InDialog {
    pub target: String,
    pub from: String,
    pub to: String,
    pub call_id: String,
}

impl InDialog {
    /// From the caller's view: `msg` is our response.
    pub fn of_response(msg: &Message) -> Self {
        Self { target: contact_of(msg), from: get(msg, Name::From), to: get(msg, Name::To), call_id: get(msg, Name::CallId) }
    }

    /// From the callee's view: `msg` is our INVITE, answered with this tag.
    pub fn of_invite(msg: &Message, tag: &str) -> Self {
        let from = format!("{};tag={tag}", get(msg, Name::To));
        Self { target: contact_of(msg), from, to: get(msg, Name::From), call_id: get(msg, Name::CallId) }
    }

    pub fn request(&self, method: &str, seq: u32, from_addr: &str, more: &str, body: &str) -> String {
        format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP {from_addr};branch=z9hG4bK{method}{seq}{}\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\n\
             Call-ID: {}\r\nCSeq: {seq} {method}\r\n{more}Content-Length: {}\r\n\r\n{body}",
            self.target,
            self.call_id.replace('@', "-"),
            self.from,
            self.to,
            self.call_id,
            body.len()
        )
    }
}

fn contact_of(msg: &Message) -> String {
    get(msg, Name::Contact).trim_start_matches('<').split('>').next().unwrap_or_default().to_owned()
}

/// Dials 911 as this user and returns the number that the PSAP saw; the call is over afterwards.
pub fn dial(w: &mut World, user: &str, call: &str) -> String {
    w.receive(PBX, &invite(PBX, user, "911", call));
    let out = w.expect(TRUNK_A, "INVITE");
    let number = get(&out.msg, Name::From).trim_start_matches("<sip:").split('@').next().unwrap().to_owned();
    w.receive(TRUNK_A, &response(&out.msg, 200, "t1", "sip:psap@127.0.0.1:15070", SDP));
    let ok = w.expect(PBX, "SIP/2.0 200");
    let near = InDialog::of_response(&ok.msg);
    w.receive(PBX, &near.request("ACK", 1, PBX, "", ""));
    w.receive(PBX, &near.request("BYE", 2, PBX, "", ""));
    let bye = w.take().into_iter().find(|s| text(&s.msg).starts_with("BYE")).expect("a BYE");
    w.receive(TRUNK_A, &response(&bye.msg, 200, "", "", ""));
    number
}

//! What a configuration is once it has been read: plain typed data, checked, with every default filled in.
//!
//! Not the file (that is [`super::load`]'s business) and not what the floors below run on (assembly turns a
//! [`Config`] into that). Read [`Config`] first. References between sections are places in its vectors.
//! What belongs to a person is [`Private`]; an [`E164`] prints nothing by itself.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use regex::Regex;

use super::address::{HostPort, SipTarget, Source, Transport};
use super::range::{Brought, NumberRange};
use crate::bridge::MediaPolicy;
use crate::emergency::number::Numbers;
use crate::io::media::relay::source::Learn;
use crate::io::transport::tls::Material;
use crate::words::{Civic, Country, E164, Private};

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub node: Node,
    /// SIP listeners, at least one. The first gives [`Node::domain`] its default.
    pub listen: Vec<Listen>,
    /// What TLS connections begin with.
    pub tls: Option<Tls>,
    /// Health, readiness and metrics.
    pub http: Http,
    /// Neighbours that send us their calls.
    pub peers: Vec<Peer>,
    /// Neighbours towards the telephone network.
    pub trunks: Vec<Trunk>,
    /// Callback numbers that are registered to one site's address (RULES L5).
    pub callback_pools: Vec<CallbackPool>,
    /// Voice routes, in the order in which they are tried (RULES P1).
    pub voice_routes: Vec<VoiceRoute>,
    /// What routes share.
    pub routing: Routing,
    /// Which numbers are emergencies, and how long a trunk may take.
    pub emergency: Emergency,
    /// Leases and the PSAP's call back.
    pub callback: Callback,
    /// Who is told by mail.
    pub notify: Notify,
    /// Where an agent's DND is told.
    pub presence: Presence,
    /// Where audio of ours leaves from.
    pub media: Media,
    /// What devices that register show their passwords for.
    pub auth: Auth,
    /// Who is asked where names lead.
    pub dns: Dns,
    /// The log.
    pub log: Log,
    /// Ordinary calls that are over.
    pub records: Records,
    /// When the prerequisites are looked at.
    pub readiness: Readiness,
    /// What agents show and may dial on ordinary calls.
    pub outbound_profiles: Vec<OutboundProfile>,
    /// The agents.
    pub agents: Vec<Agent>,
    /// How many of the agents the file names; behind them come those edited at run time.
    pub agents_of_file: usize,
    /// How many times faster what takes minutes runs: see [`Config::hasten`]. 1 in a config that was read.
    pub time_scale: u32,
}

/// `[node]`
#[derive(Clone, Debug)]
pub struct Node {
    /// The node's name in logs and the ready line. Default `e911d`.
    pub name: String,
    /// The host in From and P-Asserted-Identity. Default: the first listener's public host, else its address if
    /// it is bound to one, else the node's name.
    pub domain: String,
    /// Where leases, the outbox and the last accepted config live. Required: there is no safe guess.
    pub state_dir: PathBuf,
    /// Country of callers of whom nothing better is known. Default `US`.
    pub country: Country,
    /// Language of mails to agents without their own. Default `en`.
    pub language: Language,
    /// Threads for ordinary calls, at most [`Node::MOST_THREADS`]; none: the front carries them as well. Default: one less
    /// than there are processors, and none where there are one or two.
    pub threads: u8,
}

impl Node {
    /// More than that bring nothing.
    pub const MOST_THREADS: u8 = 8;
}

/// Languages of the notification templates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// `en`
    #[default]
    English,
    /// `es`
    Spanish,
    /// `fr`
    French,
}

/// `[[listen]]`
#[derive(Clone, Debug)]
pub struct Listen {
    /// What it speaks.
    pub transport: Transport,
    /// Where the socket is bound; port 0 takes a free one, which the ready line then names.
    pub bind: SocketAddr,
    /// What Via and Contact say instead of the bound address. Default: the bound address.
    pub public: Option<HostPort>,
    /// Whose pages may connect, as `https://example.com`; of `ws` and `wss` only. Default: none, programs only.
    pub origins: Vec<String>,
}

/// `[tls]`
#[derive(Clone, Debug)]
pub struct Tls {
    /// What its files hold; `None` where they could not be read, and what was accepted before is started with all the same.
    pub material: Option<Arc<Material>>,
}

/// `[http]`
#[derive(Clone, Debug)]
pub struct Http {
    /// A loopback address. Default `127.0.0.1:8911`.
    pub bind: SocketAddr,
    /// What browsers call us: a name that is served, and an origin that may ask. Default: loopback names only.
    pub public_url: Option<String>,
    /// Origins of pages that may ask besides. Default: none.
    pub origins: Vec<String>,
    /// Whether the API asks loopback for no token. Default false.
    pub open_on_loopback: bool,
    /// Who may ask.
    pub tokens: Vec<Token>,
}

/// `[[http.token]]`
#[derive(Clone, Debug)]
pub struct Token {
    /// What its holder may do.
    pub role: Role,
    /// What its holder shows; 16 characters at least.
    pub value: Private<String>,
}

/// What the holder of a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `viewer`: look, but for running calls and leases.
    Viewer,
    /// `operator`: everything.
    Operator,
    /// `agent`: presence.
    Agent,
}

/// `[records]`: ordinary calls that are over (RULES A7).
#[derive(Clone, Copy, Debug)]
pub struct Records {
    /// How many are kept, the newest. Default 100,000.
    pub keep: u32,
}

/// `[readiness]`: when the prerequisites are looked at by themselves.
#[derive(Clone, Copy, Debug)]
pub struct Readiness {
    /// How long after the start for the first time. Default 60 s.
    pub after: Duration,
    /// How long from one time to the next, a tenth more or less. Default 24 h.
    pub every: Duration,
    /// Whether callback numbers are called over their trunks, to see whether they come back. Default false: it costs money.
    pub self_call: bool,
}

/// `[dns]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Who is asked where names lead. Default: the system's servers.
    pub servers: Vec<SocketAddr>,
}

/// Which header says who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityFrom {
    /// `p-asserted-identity` (RFC 3325)
    PAssertedIdentity,
    /// `from`
    From,
}

/// `[[peer]]`: a PBX, SBC or contact centre.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Unique among peers.
    pub name: String,
    /// Where its inbound calls and callbacks go.
    pub target: SipTarget,
    /// Where its calls come from. Default: the address of `uri`; none where that is a name.
    pub sources: Vec<Source>,
    /// The names among `sources`: the certificates that prove that a call comes from it and, unless `uri` asks for TLS,
    /// hosts whose addresses it comes from.
    pub certificate_names: Vec<String>,
    /// Country of its callers, where nothing better is known.
    pub country: Option<Country>,
    /// The site whose callback numbers its callers prefer (RULES L5).
    pub site: Option<String>,
    /// Headers that name the caller, in order. Default P-Asserted-Identity, then From.
    pub identity_from: Vec<IdentityFrom>,
    /// Its own desk. Default: `callback.desk`.
    pub desk: Option<SipTarget>,
    /// How its audio goes. Default: between the parties.
    pub media: MediaPolicy,
}

/// How a trunk came to us (RULES, Words).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrunkPath {
    /// `direct-routing`: the operator's own carrier; reached by voice routes.
    DirectRouting,
    /// `direct-offer`: numbers bought from a provider; used where no voice route matches (RULES P3).
    DirectOffer,
}

/// What an emergency INVITE to a trunk is addressed to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EmergencyTarget {
    /// `number`: `sip:911@<trunk host>;user=phone`
    #[default]
    Number,
    /// `urn`: `urn:service:sos` with the trunk as next hop (RFC 5031)
    Urn,
}

/// How a trunk wants telephone numbers written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NumberFormat {
    /// `e164`: `+14255550100`
    #[default]
    E164,
    /// `1npa`: `14255550100`
    OneNpa,
    /// `npa`: `4255550100`
    Npa,
}

/// `[[trunk]]`
#[derive(Clone, Debug)]
pub struct Trunk {
    /// Unique among trunks; may stand in a log line.
    pub name: String,
    /// Direct routing or direct offer. Default `direct-routing`.
    pub path: TrunkPath,
    /// Where its calls go.
    pub target: SipTarget,
    /// Where its calls come from. Default: the address of `uri`; none where that is a name.
    pub sources: Vec<Source>,
    /// As a peer's.
    pub certificate_names: Vec<String>,
    /// Whether its Priority and Resource-Priority are believed (RULES C6). Default false.
    pub trust_marks: bool,
    /// Numbers to lease that are registered to no address.
    pub callback_numbers: Vec<NumberRange>,
    /// Shared and answered live (RULES L7). In no pool.
    pub fallback_number: Option<E164>,
    /// The last rung of RULES L7. In no pool.
    pub default_number: Option<E164>,
    /// Agents' own numbers that this trunk brings to us besides.
    pub routes_to_us: Vec<Brought>,
    /// The bought numbers of a direct offer (RULES P3, P4). An agent's own number may be one of them.
    pub numbers: Vec<NumberRange>,
    /// Number or URN. Default `number`.
    pub emergency_target: EmergencyTarget,
    /// `location = "pidf"`: the agent's location is added where a call brings none. Default `none`.
    pub adds_location: bool,
    /// Default `e164`.
    pub number_format: NumberFormat,
    /// What answers its challenges (401, 407): `username` and `password`. Default: none.
    pub credentials: Option<(Private<String>, Private<String>)>,
    /// How its audio goes. Default: between the parties.
    pub media: MediaPolicy,
    /// Whether we register there, as `username`. Default false.
    pub register: bool,
    /// Pause between OPTIONS probes; zero sends none. Default 30 s.
    pub options: Duration,
    /// Whether it may ask us to hold ordinary calls back (RFC 7339). Default false.
    pub overload_control: bool,
}

/// `[[callback_pool]]`: numbers registered to one site's address.
#[derive(Clone, Debug)]
pub struct CallbackPool {
    /// Place in [`Config::trunks`] of the trunk that they belong to.
    pub trunk: usize,
    /// The site whose address they are registered to.
    pub site: String,
    /// The numbers.
    pub numbers: Vec<NumberRange>,
}

/// `[[voice_route]]`
#[derive(Clone, Debug)]
pub struct VoiceRoute {
    /// Unique among routes.
    pub name: String,
    /// Matched against the dialed user with separators removed and escapes decoded; emergencies are matched as
    /// their canonical number (RULES P1).
    pub pattern: Regex,
    /// Places in [`Config::trunks`], in order, each once.
    pub trunks: Vec<usize>,
    /// The operator says that it is meant for emergencies (RULES P9). Default false.
    pub emergency: bool,
}

/// How trunks are tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// `emergency`: everything is tried (RULES P6).
    #[default]
    Emergency,
    /// `acs-strict`: the provider's published behaviour (RULES P5).
    AcsStrict,
}

/// `[routing]`
#[derive(Clone, Debug)]
pub struct Routing {
    /// Default `emergency`: the call goes out.
    pub profile: Profile,
    /// Place in [`Config::peers`] of the peer that ordinary inbound calls go to. Default: none, they get 404.
    pub inbound: Option<usize>,
    /// A PSAP's or relay centre's plain number, the last resort of RULES P6. Default: none.
    pub contingency: Option<E164>,
}

/// `[emergency]`
#[derive(Clone, Debug)]
pub struct Emergency {
    /// Digits that people dial for an outside line: `9` makes `9911` an emergency. Default: none.
    pub prefixes: Vec<String>,
    /// Dialed number to emergency number. Default: none.
    pub masks: BTreeMap<String, String>,
    /// Countries whose emergency numbers must be placeable (RULES P10). Default: those of the node, its peers
    /// and its agents. Each once.
    pub countries: Vec<Country>,
    /// The three above, compiled.
    pub numbers: Numbers,
    /// No response at all for so long starts the next trunk (RULES P7). Default 1500 ms.
    pub silence: Duration,
    /// Nothing but 100 for so long starts the next trunk (RULES P7). Default 6 s.
    pub trying: Duration,
    /// All tries together, until a trunk rings (RULES P6). Default 30 s.
    pub budget: Duration,
    /// Whether `sips` or SRTP may fall back on emergencies. Default true: the call goes out.
    pub may_downgrade: bool,
}

/// `[callback]`
#[derive(Clone, Debug)]
pub struct Callback {
    /// How long a number leads back, from dialing (RULES L2). 60 min to 24 h. Default 60 min.
    pub ttl: Duration,
    /// How long it leads back at least, from the call's end (RULES L2). Default 15 min.
    pub tail: Duration,
    /// Whether `ttl` may be below 60 min. Default false.
    pub allow_short_ttl: bool,
    /// How long a number rests while others are free (RULES L6). At most, and by default, 24 h.
    pub quarantine: Duration,
    /// How long devices ring before the desk rings beside them (RULES C9). Default 20 s.
    pub ring: Duration,
    /// The place where a live person always answers. Default: none, which `check` complains of.
    pub desk: Option<SipTarget>,
}

/// `[notify]`
#[derive(Clone, Debug, Default)]
pub struct Notify {
    /// The mail server as a URL, with its password. Default: none, no mail.
    pub smtp: Option<Private<String>>,
    /// The From of mails; there whenever `smtp` is.
    pub from: Option<Private<String>>,
    /// Told of every emergency call.
    pub site_contacts: Contacts,
    /// Told of test calls, and of nothing else.
    pub test_contacts: Contacts,
    /// Where every notice is posted as JSON besides; a URL that may hold a secret. Default: nowhere.
    pub webhook: Option<Private<String>>,
    /// Where alarms are posted as JSON. Default: nowhere.
    pub alarm_url: Option<Private<String>>,
}

/// Recipients as `a@x; b@y`. Valid ones are served, the rest is reported (RULES A4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contacts {
    /// The addresses of those that look like mailboxes, in order, each once whatever its case.
    pub valid: Vec<Private<String>>,
    /// Those that do not: their place in the list, from 1, and what stands there.
    pub rejected: Vec<(usize, Private<String>)>,
}

/// `[presence]`
#[derive(Clone, Debug)]
pub struct Presence {
    /// Where DND is told. Default: nowhere.
    pub kind: PresenceKind,
    /// What answers the server's challenges (401, 407): `username` and `password`. Default: none.
    pub credentials: Option<(Private<String>, Private<String>)>,
    /// How long DND stays after the trunk ended the call (RULES A1). Default 120 s.
    pub hold: Duration,
}

/// Kinds of presence systems.
#[derive(Clone, Debug, Default)]
pub enum PresenceKind {
    /// `none`
    #[default]
    None,
    /// `sip-publish` (RFC 3903), to this server.
    SipPublish(SipTarget),
    /// `webhook`: JSON is posted to this URL, which may hold a secret.
    Webhook(Private<String>),
}

/// `[auth]`
#[derive(Clone, Debug)]
pub struct Auth {
    /// The realm of challenges. Default: `node.domain`.
    pub realm: String,
    /// How many messages a second are taken from one address that nobody knows.
    pub stranger_rate: u32,
}

/// `[log]`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// Default `text`.
    pub format: LogFormat,
    /// Default `info`.
    pub level: LogLevel,
}

/// Shapes of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// `text`
    #[default]
    Text,
    /// `json`
    Json,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// `error`
    Error,
    /// `warn`
    Warn,
    /// `info`
    #[default]
    Info,
    /// `debug`
    Debug,
    /// `trace`
    Trace,
}

impl LogLevel {
    /// The word of the config, which is also a filter directive.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// `[media]`: for audio that goes through us, and for our own, the read-back of a test call (RULES R5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Media {
    /// Where RTP sockets are bound. Default `0.0.0.0`: to the address that the caller reaches us by.
    pub bind: IpAddr,
    /// The address told in SDP instead. Default: `bind`, or the address that the caller reaches us by.
    pub public: Option<IpAddr>,
    /// The lowest and the highest port; even ones are used. Default 20000 to 29999.
    pub ports: (u16, u16),
    /// How audio of phones that register with us goes. Default: between the parties.
    pub phones: MediaPolicy,
    /// Whose packets are taken besides those of the negotiated address. Default: those of its host, and of the SIP's.
    pub learn: Learn,
    /// How long nobody may be heard in a relay before that is reported; zero: never. Default 30 s.
    pub silence: Duration,
}

/// `[[outbound_profile]]`: for ordinary calls only (RULES R8).
#[derive(Clone, Debug)]
pub struct OutboundProfile {
    /// Unique among profiles.
    pub name: String,
    /// The number shown. Default: as received.
    pub caller_id: Option<E164>,
    /// Whether toll numbers may be dialed. Default true.
    pub toll: bool,
}

/// `[[agent]]`: the person who dials.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Unique among agents.
    pub id: Private<String>,
    /// For mails. Default: the id.
    pub name: Private<String>,
    /// What identifies the agent in a call: numbers, names, `user@host`. The first is the user dialed at the PBX.
    /// Default: the id.
    pub identity: Vec<Private<String>>,
    /// Place in [`Config::peers`]: the identity counts from this peer only. Default: from any.
    pub peer: Option<usize>,
    /// Devices with a fixed address.
    pub devices: Vec<SipTarget>,
    /// Rung when no device and no PBX answers, before the desk (RULES C4).
    pub alternates: Vec<SipTarget>,
    /// The agent's own number.
    pub number: Option<E164>,
    /// Default: the peer's, then the node's (RULES R7).
    pub country: Option<Country>,
    /// Default: the peer's.
    pub site: Option<String>,
    /// Default: the node's.
    pub language: Option<Language>,
    /// Place in [`Config::outbound_profiles`].
    pub outbound_profile: Option<usize>,
    /// Ordinary calls at once. Default 1.
    pub capacity: u32,
    /// No ordinary calls; emergencies are placed all the same (RULES R8). Default false.
    pub locked: bool,
    /// The agent's own mailbox.
    pub mailbox: Option<Private<String>>,
    /// For devices that register as `sip:<id>@…`. Default: none may.
    pub password: Option<Private<String>>,
    /// `answer = "auto"`: her panel answers callbacks by itself. Default false.
    pub answers: bool,
    /// Told of this agent's emergency calls besides the site's contacts.
    pub contacts: Contacts,
    /// Her place, for trunks with `location = "pidf"`; its country is hers where it names none. Default: none.
    pub location: Option<Private<Civic>>,
}

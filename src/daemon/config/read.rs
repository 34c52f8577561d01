//! From the merged tree to a [`Config`]: every key of the contract, its default and its own limits.
//!
//! Each section has its function. A value that is wrong is noted and replaced by its default, so that reading
//! goes on to the next mistake; such a config is never handed out.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZero;
use std::path::PathBuf;
use std::thread::available_parallelism;
use std::time::Duration;

use config::Value;

use super::address::{SipTarget, Source, Transport};
use super::later::refusal;
use super::mistake::{Notebook, suggestion};
use super::model::*;
use super::section::{Section, choose};
use super::tls::{Files, tls};
use super::value::{self, Mark};
use crate::bridge::{MediaPolicy, Srtp};
use crate::emergency::number::Numbers;
use crate::io::media::relay::source::Learn;
use crate::io::notifier::post::Hook;
use crate::words::{Civic, Country, Private};

const TRANSPORTS: [(&str, Transport); 5] =
    [("udp", Transport::Udp), ("tcp", Transport::Tcp), ("tls", Transport::Tls), ("ws", Transport::Ws), ("wss", Transport::Wss)];
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Characters of a token at least.
const LEAST_TOKEN: usize = 16;
const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Names that other sections refer to, by their place; empty where an entry has none.
struct Names {
    peers: Vec<String>,
    trunks: Vec<String>,
    profiles: Vec<String>,
}

/// Reads everything. `None` where the emergency numbers could not be compiled: then there is a note.
pub(super) fn config(tree: &Value, notes: &Notebook, files: Files) -> Option<Config> {
    let mut root = Section::root(tree, notes);
    let mut names_only = Section::root(tree, notes);
    let names = Names {
        peers: names(names_only.sections_quietly("peer")),
        trunks: names(names_only.sections_quietly("trunk")),
        profiles: names(names_only.sections_quietly("outbound_profile")),
    };
    let mut node = root.section("node");
    let listen: Vec<_> = root.sections("listen").into_iter().map(listen).collect();
    if !root.has("listen") {
        root.note("listen", "is missing and required; write one [[listen]] with transport and bind");
    }
    let node_read = self::node(&mut node, &listen);
    node.finish();
    let has_tls = root.has("tls");
    let tls = tls(root.section("tls"), has_tls, files);
    let http = http(root.section("http"));
    let peers: Vec<_> = root.sections("peer").into_iter().map(peer).collect();
    let trunks: Vec<_> = root.sections("trunk").into_iter().map(trunk).collect();
    if !root.has("trunk") {
        root.note("trunk", "is missing and required; without one no 911 call can be placed");
    }
    let callback_pools = root.sections("callback_pool").into_iter().map(|s| callback_pool(s, &names)).collect();
    let voice_routes = root.sections("voice_route").into_iter().filter_map(|s| voice_route(s, &names)).collect();
    let routing = routing(root.section("routing"), &names);
    let outbound_profiles = root.sections("outbound_profile").into_iter().map(outbound_profile).collect();
    let agents: Vec<_> = root.sections("agent").into_iter().map(|s| agent(s, &names)).collect();
    let used = std::iter::once(node_read.country)
        .chain(peers.iter().filter_map(|p: &Peer| p.country))
        .chain(agents.iter().filter_map(|a: &Agent| a.country));
    let emergency = emergency(root.section("emergency"), used);
    let callback = callback(root.section("callback"));
    let notify = notify(root.section("notify"));
    let presence = presence(root.section("presence"));
    let media = media(root.section("media"));
    let auth = auth(root.section("auth"), &node_read.domain);
    let log = log(root.section("log"));
    let records = records(root.section("records"));
    let dns = dns(root.section("dns"));
    let readiness = readiness(root.section("readiness"));
    root.section("cluster").finish();
    root.finish();
    Some(Config {
        node: node_read,
        listen,
        tls,
        http,
        peers,
        trunks,
        callback_pools,
        voice_routes,
        routing,
        emergency: emergency?,
        callback,
        notify,
        presence,
        media,
        auth,
        dns,
        log,
        records,
        readiness,
        outbound_profiles,
        agents_of_file: agents.len(),
        agents,
        time_scale: 1,
    })
}

fn names(sections: Vec<Section<'_>>) -> Vec<String> {
    sections.into_iter().map(|mut s| s.text_quietly("name").unwrap_or_default().to_owned()).collect()
}

fn node(s: &mut Section<'_>, listen: &[Listen]) -> Node {
    let name = s.read("name", value::name).unwrap_or_else(|| "e911d".to_owned());
    let domain = s.read("domain", value::domain).unwrap_or_else(|| domain_of(listen, &name));
    Node {
        domain,
        state_dir: s.required("state_dir", absolute_path).unwrap_or_default(),
        country: s.read("country", value::country).unwrap_or(Country::US),
        language: language(s).unwrap_or_default(),
        threads: s.number("threads", threads().into(), 0..=Node::MOST_THREADS.into()) as u8,
        name,
    }
}

/// As many as leave the front a processor; with one or two a thread costs more than it brings.
fn threads() -> u8 {
    let spare = available_parallelism().map_or(1, NonZero::get).saturating_sub(1);
    if spare > 1 { u8::try_from(spare).unwrap_or(u8::MAX).min(Node::MOST_THREADS) } else { 0 }
}

/// The first listener's public host, else its address if it is bound to one, else the node's name.
fn domain_of(listen: &[Listen], name: &str) -> String {
    match listen.first() {
        Some(Listen { public: Some(public), .. }) => public.host.clone(),
        Some(Listen { bind, .. }) if !bind.ip().is_unspecified() => match bind.ip() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        },
        _ => name.to_owned(),
    }
}

pub(super) fn absolute_path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err("must be an absolute path as /var/lib/e911d".to_owned()) }
}

fn language(s: &mut Section<'_>) -> Option<Language> {
    s.choice("language", &[("en", Language::English), ("es", Language::Spanish), ("fr", Language::French)])
}

fn listen(mut s: Section<'_>) -> Listen {
    let transport = s.required("transport", |text| choose(text, &TRANSPORTS));
    let origins = s.list("origins", value::origin);
    if origins.is_some() && !matches!(transport, Some(Transport::Ws | Transport::Wss)) {
        s.note("origins", "is of transport ws and wss; take it out");
    }
    let listen = Listen {
        transport: transport.unwrap_or_default(),
        bind: s.required("bind", value::socket).unwrap_or(value::NOWHERE),
        public: s.read("public", value::host_port),
        origins: origins.unwrap_or_default(),
    };
    s.finish();
    listen
}

fn http(mut s: Section<'_>) -> Http {
    let local = |text: &str| match value::socket(text)? {
        address if address.ip().is_loopback() => Ok(address),
        _ => Err(format!("{}; bind it to 127.0.0.1 or [::1]", refusal("HTTP beyond loopback"))),
    };
    let http = Http {
        bind: s.read("bind", local).unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8911)),
        public_url: s.read("public_url", value::web_url),
        origins: s.list("origins", value::origin).unwrap_or_default(),
        open_on_loopback: s.flag("open_on_loopback", false),
        tokens: s.sections("token").into_iter().filter_map(token).collect(),
    };
    s.finish();
    http
}

/// A token that can be guessed is none.
fn token(mut s: Section<'_>) -> Option<Token> {
    let roles = [("viewer", Role::Viewer), ("operator", Role::Operator), ("agent", Role::Agent)];
    if !s.has("role") {
        s.note("role", "is missing and required: viewer, operator or agent");
    }
    let role = s.choice("role", &roles);
    if !s.has("value") && !s.has("value_file") {
        s.note("value", "is missing and required, or value_file");
    }
    let value = s.secret("value");
    let is_weak = |v: &String| v.len() < LEAST_TOKEN || !v.bytes().all(|b| b.is_ascii_graphic());
    if value.as_ref().is_some_and(|v| is_weak(v.reveal())) {
        let key = if s.has("value") { "value" } else { "value_file" };
        s.note(key, format!("must be {LEAST_TOKEN} characters or more, without spaces; take `openssl rand -hex 24`"));
    }
    s.finish();
    Some(Token { role: role?, value: value? })
}

fn dns(mut s: Section<'_>) -> Dns {
    let dns = Dns { servers: s.list("servers", value::name_server).unwrap_or_default() };
    s.finish();
    dns
}

fn records(mut s: Section<'_>) -> Records {
    let records = Records { keep: s.number("keep", 100_000, 0..=1_000_000) };
    s.finish();
    records
}

fn readiness(mut s: Section<'_>) -> Readiness {
    let readiness = Readiness {
        after: duration(&mut s, "after", Duration::from_secs(60), SECOND, DAY),
        every: duration(&mut s, "every", DAY, Duration::from_secs(60), DAY),
        self_call: s.flag("self_call", false),
    };
    s.finish();
    readiness
}

fn peer(mut s: Section<'_>) -> Peer {
    let name = s.required("name", value::name).unwrap_or_default();
    let target = s.required("uri", value::neighbour);
    let words = [("p-asserted-identity", IdentityFrom::PAssertedIdentity), ("from", IdentityFrom::From)];
    let identity_from = s.list("identity_from", |text| choose(text, &words));
    if identity_from.as_ref().is_some_and(Vec::is_empty) {
        s.note("identity_from", "must name a header; leave it out for both");
    }
    let (sources, certificate_names) = sources(&mut s, target.as_ref());
    let peer = Peer {
        name,
        sources,
        certificate_names,
        target: target.unwrap_or_else(SipTarget::nowhere),
        country: s.read("country", value::country),
        site: s.read("site", value::words),
        identity_from: identity_from.unwrap_or_else(|| vec![IdentityFrom::PAssertedIdentity, IdentityFrom::From]),
        desk: s.read("desk", value::target),
        media: media_policy(&mut s, "media", "srtp"),
    };
    s.finish();
    peer
}

/// Addresses, and names of certificates.
fn sources(s: &mut Section<'_>, target: Option<&SipTarget>) -> (Vec<Source>, Vec<String>) {
    let sources = s.list("sources", value::source);
    if sources.as_ref().is_some_and(Vec::is_empty) && !s.notes().has_mistake_in(&s.key("sources")) {
        s.note("sources", "must name an address; leave it out for the one of uri");
    }
    let Some(sources) = sources else {
        let literal = target.into_iter().filter(|t| t.name.is_none());
        return (literal.map(|t| value::host_source(t.address.ip())).collect(), Vec::new());
    };
    let (mut addresses, mut names) = (Vec::new(), Vec::new());
    for source in sources {
        match source {
            Mark::Address(source) => addresses.push(source),
            Mark::Certificate(name) => names.push(name),
        }
    }
    (addresses, names)
}

fn trunk(mut s: Section<'_>) -> Trunk {
    let name = s.required("name", value::name).unwrap_or_default();
    let target = s.required("uri", value::neighbour);
    let paths = [("direct-routing", TrunkPath::DirectRouting), ("direct-offer", TrunkPath::DirectOffer)];
    let targets = [("number", EmergencyTarget::Number), ("urn", EmergencyTarget::Urn)];
    let formats = [("e164", NumberFormat::E164), ("1npa", NumberFormat::OneNpa), ("npa", NumberFormat::Npa)];
    let (sources, certificate_names) = sources(&mut s, target.as_ref());
    let trunk = Trunk {
        name,
        path: s.choice("path", &paths).unwrap_or(TrunkPath::DirectRouting),
        sources,
        certificate_names,
        target: target.unwrap_or_else(SipTarget::nowhere),
        trust_marks: s.flag("trust_marks", false),
        callback_numbers: s.list("callback_numbers", value::range).unwrap_or_default(),
        fallback_number: s.read("fallback_number", value::number),
        default_number: s.read("default_number", value::number),
        routes_to_us: s.list("routes_to_us", value::brought).unwrap_or_default(),
        numbers: s.list("numbers", value::range).unwrap_or_default(),
        emergency_target: s.choice("emergency_target", &targets).unwrap_or_default(),
        adds_location: s.choice("location", &[("none", false), ("pidf", true)]).unwrap_or_default(),
        number_format: s.choice("number_format", &formats).unwrap_or_default(),
        credentials: credentials(&mut s),
        media: media_policy(&mut s, "media", "srtp"),
        register: s.flag("register", false),
        options: duration(&mut s, "options", Duration::from_secs(30), Duration::ZERO, HOUR),
        overload_control: s.flag("overload_control", false),
    };
    if trunk.register && trunk.credentials.is_none() && !s.has("username") {
        s.note("register", "needs a username and a password: who registers is asked for them");
    }
    if !trunk.options.is_zero() && trunk.options < SECOND {
        s.note("options", "must be 0s, or at least 1s: a probe is a courtesy");
    }
    s.finish();
    trunk
}

/// Whether audio goes through us, and encrypted or not: nobody but us could encrypt it.
fn media_policy(s: &mut Section<'_>, media: &str, srtp: &str) -> MediaPolicy {
    let policy = MediaPolicy {
        anchor: s.choice(media, &[("pass", false), ("anchor", true)]).unwrap_or_default(),
        srtp: s.choice(srtp, &[("off", Srtp::Off), ("offer", Srtp::Offer), ("require", Srtp::Require)]).unwrap_or_default(),
        ice: false,
    };
    if policy.srtp != Srtp::Off && !policy.anchor {
        s.note(srtp, format!("needs {media} = \"anchor\": only audio that goes through us can be encrypted by us"));
    }
    policy
}

fn callback_pool(mut s: Section<'_>, names: &Names) -> CallbackPool {
    let numbers = s.list("numbers", value::range);
    if numbers.as_ref().is_none_or(Vec::is_empty) && !s.notes().has_mistake_in(&s.key("numbers")) {
        s.note("numbers", "is missing and required; write the numbers of this pool");
    }
    let pool = CallbackPool {
        trunk: s.required("trunk", |text| place(text, &names.trunks, "trunk")).unwrap_or_default(),
        site: s.required("site", value::words).unwrap_or_default(),
        numbers: numbers.unwrap_or_default(),
    };
    s.finish();
    pool
}

fn voice_route(mut s: Section<'_>, names: &Names) -> Option<VoiceRoute> {
    let name = s.required("name", value::name).unwrap_or_default();
    let pattern = s.required("pattern", value::pattern);
    let trunks = s.list("trunks", |text| place(text, &names.trunks, "trunk"));
    if trunks.as_ref().is_none_or(Vec::is_empty) && !s.notes().has_mistake_in(&s.key("trunks")) {
        s.note("trunks", "is missing and required; name the trunks in the order in which they are tried");
    }
    let trunks = trunks.unwrap_or_default();
    if trunks.iter().enumerate().any(|(i, t)| trunks.iter().take(i).any(|earlier| earlier == t)) {
        s.note("trunks", "names a trunk twice; a trunk is tried once");
    }
    let emergency = s.flag("emergency", false);
    s.finish();
    Some(VoiceRoute { name, pattern: pattern?, trunks, emergency })
}

fn routing(mut s: Section<'_>, names: &Names) -> Routing {
    let profiles = [("emergency", Profile::Emergency), ("acs-strict", Profile::AcsStrict)];
    let routing = Routing {
        profile: s.choice("profile", &profiles).unwrap_or_default(),
        inbound: s.read("inbound", |text| place(text, &names.peers, "peer")),
        contingency: s.read("contingency", value::number),
    };
    s.finish();
    routing
}

fn emergency(mut s: Section<'_>, used: impl Iterator<Item = Country>) -> Option<Emergency> {
    let prefixes = s.list("prefixes", |text| Ok(text.to_owned())).unwrap_or_default();
    let pairs = s.texts("masks");
    let masks: BTreeMap<String, String> = pairs.into_iter().map(|(dialed, number)| (dialed, number.to_owned())).collect();
    let mut countries = s.list("countries", value::country).unwrap_or_else(|| used.collect());
    countries.sort();
    countries.dedup();
    let silence = duration(&mut s, "silence", Duration::from_millis(1500), Duration::from_millis(100), Duration::from_secs(30));
    let trying = duration(&mut s, "trying", Duration::from_secs(6), Duration::from_millis(100), Duration::from_secs(60));
    let budget = duration(&mut s, "budget", Duration::from_secs(30), SECOND, Duration::from_secs(300));
    if budget <= silence.min(trying) {
        s.note("budget", "must be longer than silence and trying; else no second trunk is ever tried");
    }
    let may_downgrade = s.flag("may_downgrade", true);
    let numbers = numbers(&s, &countries, &prefixes, &masks);
    s.finish();
    Some(Emergency { prefixes, masks, countries, numbers: numbers?, silence, trying, budget, may_downgrade })
}

/// Compiles the emergency numbers, or notes what is wrong with them.
fn numbers(s: &Section<'_>, countries: &[Country], prefixes: &[String], masks: &BTreeMap<String, String>) -> Option<Numbers> {
    match Numbers::new(countries, prefixes, masks) {
        Ok(numbers) => return Some(numbers),
        Err(_) if s.notes().has_mistake_in(&s.key("countries")) => {}
        Err(mistakes) => {
            for mistake in mistakes {
                match mistake.key {
                    "prefixes" => {
                        let at = prefixes.iter().rposition(|p| *p == mistake.entry).unwrap_or_default();
                        s.note(&format!("prefixes[{at}]"), mistake.why);
                    }
                    "masks" => s.note(&format!("masks.{}", mistake.entry), mistake.why),
                    key if mistake.entry.is_empty() => s.note(key, mistake.why),
                    key => s.note(key, format!("{}: {}", mistake.entry, mistake.why)),
                }
            }
        }
    }
    None
}

fn callback(mut s: Section<'_>) -> Callback {
    let callback = Callback {
        ttl: duration(&mut s, "ttl", HOUR, MILLISECOND, DAY),
        tail: duration(&mut s, "tail", Duration::from_secs(15 * 60), Duration::ZERO, DAY),
        allow_short_ttl: s.flag("allow_short_ttl", false),
        quarantine: duration(&mut s, "quarantine", DAY, Duration::ZERO, DAY),
        ring: duration(&mut s, "ring", Duration::from_secs(20), SECOND, Duration::from_secs(300)),
        desk: s.read("desk", value::target),
    };
    if callback.ttl < HOUR && !callback.allow_short_ttl {
        s.note("ttl", "is below 60m, for which a PSAP may call back; lengthen it, or set allow_short_ttl = true");
    }
    s.finish();
    callback
}

fn notify(mut s: Section<'_>) -> Notify {
    let smtp = s.secret("smtp");
    if smtp.as_ref().is_some_and(|url| !value::is_smtp_url(url.reveal())) {
        s.note("smtp", "must be a URL as smtp://user:password@mail.example.com:587");
    }
    let notify = Notify {
        from: s.read("from", value::mailbox),
        site_contacts: s.read("site_contacts", value::contacts).unwrap_or_default(),
        test_contacts: s.read("test_contacts", value::contacts).unwrap_or_default(),
        webhook: hook(&mut s, "webhook"),
        alarm_url: hook(&mut s, "alarm_url"),
        smtp,
    };
    if notify.smtp.is_some() && !s.has("from") {
        s.note("from", "is missing and required beside smtp; write the mailbox that mails come from");
    }
    s.finish();
    notify
}

/// A URL that JSON is posted to; as it may hold a secret, also from a file.
fn hook(s: &mut Section<'_>, key: &str) -> Option<Private<String>> {
    let url = s.secret(key)?;
    if let Err(e) = Hook::new(url.reveal()) {
        s.note(key, e.to_string());
    }
    Some(url)
}

/// Kinds of `[presence]`.
#[derive(Clone, Copy, PartialEq)]
enum Told {
    Nobody,
    BySip,
    ByWebhook,
}

fn presence(mut s: Section<'_>) -> Presence {
    let kinds = [("none", Told::Nobody), ("sip-publish", Told::BySip), ("webhook", Told::ByWebhook)];
    let told = s.choice("kind", &kinds).unwrap_or(Told::Nobody);
    let server = s.read("server", value::target);
    let url = hook(&mut s, "url");
    if told == Told::BySip && !s.has("server") {
        s.note("server", "is missing and required for sip-publish");
    }
    if told == Told::ByWebhook && url.is_none() && !s.has("url_file") {
        s.note("url", "is missing and required for webhook");
    }
    let kind = match told {
        Told::Nobody => PresenceKind::None,
        Told::BySip => server.map_or(PresenceKind::None, PresenceKind::SipPublish),
        Told::ByWebhook => url.map_or(PresenceKind::None, PresenceKind::Webhook),
    };
    let credentials = credentials(&mut s);
    if told != Told::BySip && credentials.is_some() {
        s.note("username", "is for sip-publish; a webhook's secret belongs in its url");
    }
    let hold = duration(&mut s, "hold", Duration::from_secs(120), Duration::ZERO, DAY);
    let presence = Presence { kind, credentials, hold };
    s.finish();
    presence
}

fn media(mut s: Section<'_>) -> Media {
    let media = Media {
        bind: s.read("bind", value::address).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        public: s.read("public", |text| match value::address(text)? {
            address if address.is_unspecified() => Err("must be an address that others reach us by".to_owned()),
            address => Ok(address),
        }),
        ports: s.read("ports", value::ports).unwrap_or((20_000, 29_999)),
        phones: media_policy(&mut s, "phones", "phones_srtp"),
        learn: s.choice("learn", &[("off", Learn::Off), ("host", Learn::Host), ("any", Learn::Any)]).unwrap_or_default(),
        silence: duration(&mut s, "silence", Duration::from_secs(30), Duration::ZERO, HOUR),
    };
    s.finish();
    media
}

fn auth(mut s: Section<'_>, domain: &str) -> Auth {
    let realm = |text: &str| match value::words(text)? {
        text if text.contains(['"', '\\']) => Err("must hold neither quotes nor backslashes".to_owned()),
        text => Ok(text),
    };
    let auth = Auth {
        realm: s.read("realm", realm).unwrap_or_else(|| domain.to_owned()),
        stranger_rate: s.number("stranger_rate", 200, 1..=100_000),
    };
    s.finish();
    auth
}

/// A password as it is; an empty one would let everybody in.
fn password(s: &mut Section<'_>) -> Option<Private<String>> {
    let password = s.secret("password");
    if password.as_ref().is_some_and(|p| p.reveal().is_empty()) {
        s.note("password", "must not be empty");
    }
    password
}

/// What answers a trunk's or the presence server's challenges: both, or neither.
fn credentials(s: &mut Section<'_>) -> Option<(Private<String>, Private<String>)> {
    match (s.read("username", |text| value::words(text).map(Private::new)), password(s)) {
        (Some(user), Some(password)) => Some((user, password)),
        (Some(_), None) if !s.has("password_file") => {
            s.note("username", "needs a password beside it");
            None
        }
        (None, Some(_)) if !s.has("username") => {
            let key = if s.has("password") { "password" } else { "password_file" };
            s.note(key, "needs a username beside it");
            None
        }
        _ => None,
    }
}

fn log(mut s: Section<'_>) -> Log {
    let levels = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace].map(|l| (l.as_str(), l));
    let log = Log {
        format: s.choice("format", &[("text", LogFormat::Text), ("json", LogFormat::Json)]).unwrap_or_default(),
        level: s.choice("level", &levels).unwrap_or_default(),
    };
    s.finish();
    log
}

fn outbound_profile(mut s: Section<'_>) -> OutboundProfile {
    let profile = OutboundProfile {
        name: s.required("name", value::name).unwrap_or_default(),
        caller_id: s.read("caller_id", value::number),
        toll: s.flag("toll", true),
    };
    s.finish();
    profile
}

fn agent(mut s: Section<'_>, names: &Names) -> Agent {
    let private = |text: &str| value::words(text).map(Private::new);
    let id = s.required("id", |text| value::name(text).map(Private::new)).unwrap_or_default();
    let name = s.read("name", private).unwrap_or_else(|| id.clone());
    let identity = s.list("identity", private).unwrap_or_default();
    let agent = Agent {
        name,
        identity: if identity.is_empty() { vec![id.clone()] } else { identity },
        id,
        peer: s.read("peer", |text| place(text, &names.peers, "peer")),
        devices: s.list("devices", value::target).unwrap_or_default(),
        alternates: s.list("alternates", value::target).unwrap_or_default(),
        number: s.read("number", value::number),
        country: s.read("country", value::country),
        site: s.read("site", value::words),
        language: language(&mut s),
        outbound_profile: s.read("outbound_profile", |text| place(text, &names.profiles, "outbound_profile")),
        capacity: s.number("capacity", 1, 0..=1000),
        locked: s.flag("locked", false),
        mailbox: s.read("mailbox", value::mailbox),
        password: password(&mut s),
        answers: s.choice("answer", &[("ring", false), ("auto", true)]).unwrap_or(false),
        contacts: s.read("contacts", value::contacts).unwrap_or_default(),
        location: s.has("location").then(|| Private::new(location(s.section("location")))),
    };
    s.section("location");
    s.finish();
    agent
}

fn location(mut s: Section<'_>) -> Civic {
    let mut field = |key: &str| s.read(key, value::words);
    let location = Civic {
        house: field("house"),
        street: field("street"),
        city: field("city"),
        state: field("state"),
        zip: field("zip"),
        country: field("country"),
        building: field("building"),
        floor: field("floor"),
        room: field("room"),
    };
    s.finish();
    location
}

/// The place of a name among others. One that could not be read may be the one that is meant.
fn place(text: &str, names: &[String], what: &str) -> Result<usize, String> {
    let found = names.iter().position(|n| n == text).or_else(|| names.iter().position(String::is_empty));
    found.ok_or_else(|| format!("there is no [[{what}]] of that name{}", suggestion(text, names.iter().map(String::as_str))))
}

fn duration(s: &mut Section<'_>, key: &str, default: Duration, least: Duration, most: Duration) -> Duration {
    let within = |text: &str| match value::duration(text)? {
        d if d < least => Err(format!("must be at least {}", written(least))),
        d if d > most => Err(format!("must be at most {}", written(most))),
        d => Ok(d),
    };
    s.read(key, within).unwrap_or(default)
}

/// A duration as the config writes it.
fn written(d: Duration) -> String {
    match d.as_millis() {
        ms if ms > 0 && ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        ms if ms > 0 && ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}

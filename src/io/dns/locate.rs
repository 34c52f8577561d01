//! From a host to the addresses that are tried in turn (RFC 3263 section 4, RFC 2782).

use crate::sip::Transport;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// What a SIP URI asks for that names a host.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Question {
    /// The host.
    pub host: String,
    /// Its port, if it names one: then only addresses are looked up.
    pub port: Option<u16>,
    /// Its transport, if it names one: then no NAPTR is looked up.
    pub transport: Option<Speech>,
    /// Whether it is `sips:`.
    pub sips: bool,
}

impl fmt::Debug for Question {
    /// Prints no name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Question(-)")
    }
}

/// A transport that connections of ours can have, in the order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Speech {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// TLS.
    Tls,
}

impl Speech {
    /// The same as the SIP core calls it.
    pub const fn transport(self) -> Transport {
        match self {
            Self::Udp => Transport::Udp,
            Self::Tcp => Transport::Tcp,
            Self::Tls => Transport::Tls,
        }
    }

    const fn port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
        }
    }

    const fn service(self) -> &'static str {
        match self {
            Self::Udp => "_sip._udp",
            Self::Tcp => "_sip._tcp",
            Self::Tls => "_sips._tcp",
        }
    }

    fn of_naptr(service: &[u8]) -> Option<Self> {
        let is = |name: &[u8]| service.eq_ignore_ascii_case(name);
        match () {
            () if is(b"SIP+D2U") => Some(Self::Udp),
            () if is(b"SIP+D2T") => Some(Self::Tcp),
            () if is(b"SIPS+D2T") => Some(Self::Tls),
            () => None,
        }
    }
}

/// One address to try. Ordered as they are to be tried, but for SRV's weights.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Way {
    /// The place among the NAPTR's services, and SRV's priority.
    rank: (u16, u16),
    /// How.
    pub speech: Speech,
    /// Where.
    pub address: SocketAddr,
}

impl fmt::Debug for Way {
    /// Prints no address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Way({:?} {:?})", self.rank, self.speech)
    }
}

/// The server was silent, or said that it cannot tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unknown;

/// What one look-up gives: records and for how many seconds; none where there are none.
pub(super) type Records<T> = Result<(Vec<T>, u32), Unknown>;

/// A NAPTR that leads to SRV (flag "s").
#[derive(Clone, Debug)]
pub(super) struct Naptr {
    pub(super) order: u16,
    pub(super) preference: u16,
    pub(super) service: Vec<u8>,
    pub(super) leads_to: String,
}

#[derive(Clone, Debug)]
pub(super) struct Srv {
    pub(super) priority: u16,
    pub(super) weight: u16,
    pub(super) port: u16,
    pub(super) target: String,
}

/// Who is asked.
pub(super) trait Ask {
    async fn naptr(&self, name: &str) -> Records<Naptr>;
    async fn srv(&self, name: &str) -> Records<Srv>;
    async fn addresses(&self, name: &str, ipv6: bool) -> Records<IpAddr>;
    /// A number below this one, another one each time.
    fn draw(&self, below: u32) -> u32;
}

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    /// In the order in which they are tried.
    pub(super) ways: Vec<Way>,
    /// Seconds for which that holds.
    pub(super) ttl: u32,
    /// Whether no look-up failed on the way: else there may be better ones.
    pub(super) is_whole: bool,
}

/// More addresses than this help nobody: a call's time is over before.
const MOST_WAYS: usize = 8;

/// All addresses behind a question that we can speak to. `speaks` are our listeners' transports and whether they are IPv6.
pub(super) async fn locate(ask: &impl Ask, question: &Question, speaks: &[(Speech, bool)]) -> Found {
    let mut search = Search { ask, speaks, found: Found { ways: Vec::new(), ttl: u32::MAX, is_whole: true } };
    let default = question.transport.unwrap_or(if question.sips { Speech::Tls } else { Speech::Udp });
    if let Some(port) = question.port {
        search.addresses(&question.host, port, default, (0, 0)).await;
        return search.found;
    }
    for (place, (speech, name)) in (0u16..).zip(search.services(question).await) {
        search.servers(&name, speech, place).await;
    }
    if search.found.ways.is_empty() {
        let speech = if question.transport.is_none() && !search.can(default) { Speech::Tcp } else { default };
        search.addresses(&question.host, speech.port(), speech, (0, 0)).await;
    }
    search.found.ways.truncate(MOST_WAYS);
    search.found
}

struct Search<'a, A> {
    ask: &'a A,
    speaks: &'a [(Speech, bool)],
    found: Found,
}

impl<A: Ask> Search<'_, A> {
    fn can(&self, speech: Speech) -> bool {
        self.speaks.iter().any(|s| s.0 == speech)
    }

    /// The names to ask for SRV (RFC 3263 section 4.1).
    async fn services(&mut self, question: &Question) -> Vec<(Speech, String)> {
        let srv = |speech: Speech| (speech, format!("{}.{}", speech.service(), question.host));
        if let Some(speech) = question.transport {
            return vec![srv(speech)];
        }
        let fits = |speech: &Speech| (*speech == Speech::Tls) == question.sips;
        let naptr = self.ask.naptr(&question.host).await;
        let mut naptr = self.take(naptr);
        naptr.sort_by_key(|n| (n.order, n.preference));
        let named = naptr.into_iter().filter_map(|n| Some((Speech::of_naptr(&n.service)?, n.leads_to)));
        let named: Vec<_> = named.filter(|(speech, _)| self.can(*speech) && (fits(speech) || !question.sips)).collect();
        if !named.is_empty() {
            return named;
        }
        [Speech::Udp, Speech::Tcp, Speech::Tls].into_iter().filter(|s| fits(s) && self.can(*s)).map(srv).collect()
    }

    async fn servers(&mut self, name: &str, speech: Speech, place: u16) {
        let servers = self.ask.srv(name).await;
        let servers = self.take(servers);
        for server in in_order(servers, |below| self.ask.draw(below)) {
            if self.found.ways.len() < MOST_WAYS {
                self.addresses(&server.target, server.port, speech, (place, server.priority)).await;
            }
        }
    }

    async fn addresses(&mut self, host: &str, port: u16, speech: Speech, rank: (u16, u16)) {
        for ipv6 in [false, true] {
            if self.speaks.contains(&(speech, ipv6)) {
                let addresses = self.ask.addresses(host, ipv6).await;
                for ip in self.take(addresses) {
                    let way = Way { rank, speech, address: SocketAddr::new(ip, port) };
                    let is_sound = port > 0 && !ip.is_unspecified() && !ip.is_multicast();
                    if is_sound && !self.found.ways.iter().any(|w| (w.speech, w.address) == (speech, way.address)) {
                        self.found.ways.push(way);
                    }
                }
            }
        }
    }

    fn take<T>(&mut self, records: Records<T>) -> Vec<T> {
        match records {
            Ok((records, ttl)) => {
                self.found.ttl = self.found.ttl.min(ttl);
                records
            }
            Err(Unknown) => {
                self.found.is_whole = false;
                Vec::new()
            }
        }
    }
}

/// By priority, and among equals by chance, the heavier ones sooner (RFC 2782 "Weight").
fn in_order(mut servers: Vec<Srv>, draw: impl Fn(u32) -> u32) -> Vec<Srv> {
    // A target of "." says that there is no such service.
    servers.retain(|s| !s.target.trim_end_matches('.').is_empty());
    servers.sort_by_key(|s| (s.priority, s.weight));
    let mut ordered = Vec::with_capacity(servers.len());
    while let Some(first) = servers.first() {
        let equals = servers.iter().take_while(|s| s.priority == first.priority).count();
        let sum: u32 = servers.iter().take(equals).map(|s| u32::from(s.weight)).sum();
        let mut drawn = draw(sum.saturating_add(1));
        let place = servers.iter().take(equals).position(|s| {
            let here = drawn <= u32::from(s.weight);
            drawn = drawn.saturating_sub(u32::from(s.weight));
            here
        });
        ordered.push(servers.remove(place.unwrap_or(0)));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::collections::HashMap;

    /// A server on paper: `name type` to lines of records.
    struct Paper {
        zone: HashMap<&'static str, Vec<&'static str>>,
        dead: &'static str,
        drawn: Cell<u32>,
    }

    impl Paper {
        fn lines<T>(&self, name: &str, of: &str, read: impl Fn(&[&str]) -> T) -> Records<T> {
            let key = format!("{name} {of}");
            if !self.dead.is_empty() && key.contains(self.dead) {
                return Err(Unknown);
            }
            let lines = self.zone.get(key.as_str()).cloned().unwrap_or_default();
            Ok((lines.iter().map(|l| read(&l.split(' ').collect::<Vec<_>>())).collect(), 60))
        }
    }

    impl Ask for Paper {
        async fn naptr(&self, name: &str) -> Records<Naptr> {
            self.lines(name, "NAPTR", |w| Naptr {
                order: w[0].parse().expect("an order"),
                preference: w[1].parse().expect("a preference"),
                service: w[2].into(),
                leads_to: w[3].into(),
            })
        }

        async fn srv(&self, name: &str) -> Records<Srv> {
            self.lines(name, "SRV", |w| Srv {
                priority: w[0].parse().expect("a priority"),
                weight: w[1].parse().expect("a weight"),
                port: w[2].parse().expect("a port"),
                target: w[3].into(),
            })
        }

        async fn addresses(&self, name: &str, ipv6: bool) -> Records<IpAddr> {
            self.lines(name, if ipv6 { "AAAA" } else { "A" }, |w| w[0].parse().expect("an address"))
        }

        fn draw(&self, below: u32) -> u32 {
            self.drawn.set(self.drawn.get().wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
            (self.drawn.get() >> 8) % below
        }
    }

    const ALL: [(Speech, bool); 4] = [(Speech::Udp, false), (Speech::Udp, true), (Speech::Tcp, false), (Speech::Tls, false)];

    fn paper(zone: &[(&'static str, &[&'static str])]) -> Paper {
        Paper { zone: zone.iter().map(|(k, v)| (*k, v.to_vec())).collect(), dead: "", drawn: Cell::new(1) }
    }

    fn asked(paper: &Paper, uri: &str, speaks: &[(Speech, bool)]) -> (Vec<String>, bool) {
        let (sips, rest) = uri.strip_prefix("sips:").map_or((false, uri), |r| (true, r));
        let (rest, transport) = rest.split_once(';').map_or((rest, None), |(r, t)| {
            let t = [("udp", Speech::Udp), ("tcp", Speech::Tcp), ("tls", Speech::Tls)].iter().find(|s| s.0 == t);
            (r, t.map(|t| t.1))
        });
        let (host, port) = rest.split_once(':').map_or((rest, None), |(h, p)| (h, p.parse().ok()));
        let question = Question { host: host.to_owned(), port, transport, sips };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let found = runtime.block_on(locate(paper, &question, speaks));
        (found.ways.iter().map(|w| format!("{:?} {}", w.speech, w.address).to_lowercase()).collect(), found.is_whole)
    }

    #[test]
    fn a_host_is_located_as_rfc_3263_says() {
        let zone = paper(&[
            (
                "n NAPTR",
                &["20 10 SIP+D2U _sip._udp.n", "10 20 SIP+D2T _sip._tcp.n", "10 10 SIPS+D2T _sips._tcp.n", "1 1 E2U+x y"],
            ),
            ("_sip._udp.n SRV", &["10 0 5070 a"]),
            ("_sip._tcp.n SRV", &["20 0 5071 b", "10 0 5072 a"]),
            ("_sips._tcp.n SRV", &["0 0 5073 a"]),
            ("_sip._udp.s SRV", &["0 0 5080 b"]),
            ("_sip._tcp.s SRV", &["0 0 5081 a"]),
            ("_sip._udp.gone SRV", &["0 0 0 ."]),
            ("a A", &["192.0.2.1"]),
            ("a AAAA", &["2001:db8::1"]),
            ("b A", &["192.0.2.2", "192.0.2.3", "0.0.0.0"]),
        ]);
        let udp = [(Speech::Udp, false)];
        for (uri, speaks, expected) in [
            ("a", &ALL[..], &["udp 192.0.2.1:5060", "udp [2001:db8::1]:5060"][..]),
            ("a", &udp, &["udp 192.0.2.1:5060"]),
            ("a", &[(Speech::Tcp, false)], &["tcp 192.0.2.1:5060"]),
            ("a;tls", &ALL, &["tls 192.0.2.1:5061"]),
            ("sips:a", &ALL, &["tls 192.0.2.1:5061"]),
            ("b:5099", &ALL, &["udp 192.0.2.2:5099", "udp 192.0.2.3:5099"]),
            ("n:5099;tcp", &ALL, &[]),
            ("n;tcp", &ALL, &["tcp 192.0.2.1:5072", "tcp 192.0.2.2:5071", "tcp 192.0.2.3:5071"]),
            ("n", &udp, &["udp 192.0.2.1:5070"]),
            ("sips:n", &ALL, &["tls 192.0.2.1:5073"]),
            (
                "n",
                &[(Speech::Tls, false), (Speech::Tcp, false), (Speech::Udp, true)],
                &[
                    "tls 192.0.2.1:5073",
                    "tcp 192.0.2.1:5072",
                    "tcp 192.0.2.2:5071",
                    "tcp 192.0.2.3:5071",
                    "udp [2001:db8::1]:5070",
                ],
            ),
            ("s", &ALL, &["udp 192.0.2.2:5080", "udp 192.0.2.3:5080", "tcp 192.0.2.1:5081"]),
            ("gone", &ALL, &[]),
            ("nothing", &ALL, &[]),
        ] {
            assert_eq!(asked(&zone, uri, speaks), (expected.iter().map(|s| (*s).to_owned()).collect(), true), "{uri} {speaks:?}");
        }
    }

    #[test]
    fn a_server_that_is_silent_about_some_records_gives_what_there_is_and_says_so() {
        let mut zone = paper(&[("_sip._udp.n SRV", &["0 0 5070 a"]), ("a A", &["192.0.2.1"])]);
        zone.dead = "NAPTR";
        assert_eq!(asked(&zone, "n", &ALL), (vec!["udp 192.0.2.1:5070".to_owned()], false));
        zone.dead = "n";
        assert_eq!(asked(&zone, "n", &ALL), (Vec::new(), false));
    }

    #[test]
    fn of_equal_servers_the_heavier_comes_first_more_often_and_none_is_left_out() {
        let zone = paper(&[]);
        let server = |priority, weight, target: &str| Srv { priority, weight, port: 1, target: target.to_owned() };
        let all = vec![server(10, 80, "heavy"), server(10, 20, "light"), server(10, 0, "none"), server(5, 1, "first")];
        let mut firsts = HashMap::new();
        for _ in 0..1000 {
            let order: Vec<_> = in_order(all.clone(), |below| zone.draw(below)).into_iter().map(|s| s.target).collect();
            assert_eq!((order.len(), order[0].as_str()), (4, "first"));
            *firsts.entry(order[1].clone()).or_insert(0) += 1;
        }
        let count = |name: &str| firsts.get(name).copied().unwrap_or(0);
        assert!((700..880).contains(&count("heavy")) && (120..290).contains(&count("light")), "{firsts:?}");
    }
}

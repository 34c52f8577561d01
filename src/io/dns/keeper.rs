//! What was answered last, and when to ask again.

use super::locate::{Found, Question, Speech, Way, locate};
use super::servers::Servers;
use crate::io::clock;
use crate::words::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc::UnboundedSender, watch};
use tokio::task::JoinSet;

/// What is to be known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Where names lead that the configuration has.
    pub questions: BTreeSet<Question>,
    /// Whom to ask; without any the system's servers.
    pub servers: Vec<SocketAddr>,
    /// What our listeners speak, and whether over IPv6.
    pub speaks: Vec<(Speech, bool)>,
}

/// What is known: for each name its addresses in the order in which they are tried. A name that never had an answer is not
/// in it.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// By question.
    pub ways: BTreeMap<Question, Vec<Way>>,
    /// Whether every question has been tried once.
    pub is_complete: bool,
}

/// See the module's docs. Ends when nobody wants anything any more.
pub struct Keeper {
    wanted: watch::Receiver<Wanted>,
    told: UnboundedSender<Answers>,
    known: BTreeMap<Question, Known>,
}

#[derive(Default)]
struct Known {
    /// Addresses of the last good answer, then those of the one before that it no longer has.
    ways: Vec<Way>,
    /// How many of them are the last answer's.
    newest: usize,
    /// Until when those of before stay.
    before_until: Time,
    /// When to ask again.
    due: Time,
    asking: bool,
    tried: bool,
    retry: Duration,
}

/// An answer holds for so many seconds, whatever it says.
const TTL: std::ops::RangeInclusive<u32> = 5..=3600;
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);
/// What a name led to before is tried after all that it leads to now: the newer answer may be the wrong one.
const BEFORE_STAYS: Duration = Duration::from_secs(3600);
/// Everything about one name.
const PATIENCE: Duration = Duration::from_secs(8);
const MOST_AT_ONCE: usize = 32;

impl Keeper {
    /// Tells `told` whenever something has changed.
    pub fn new(wanted: watch::Receiver<Wanted>, told: UnboundedSender<Answers>) -> Self {
        Self { wanted, told, known: BTreeMap::new() }
    }

    /// With what an earlier run knew. It stays until there is a better answer, and each name is asked for at once.
    pub fn knowing(mut self, before: &Answers) -> Self {
        let known = |ways: &Vec<Way>| Known { newest: ways.len(), ways: ways.clone(), ..Known::default() };
        self.known = before.ways.iter().map(|(question, ways)| (question.clone(), known(ways))).collect();
        self
    }

    /// Runs.
    pub async fn run(mut self) {
        let mut answers = JoinSet::new();
        let (mut servers, mut asked_of): (Option<Arc<Servers>>, Option<Vec<SocketAddr>>) = (None, None);
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            if asked_of.as_ref() != Some(&wanted.servers) && !wanted.questions.is_empty() {
                servers = Servers::new(&wanted.servers).map(Arc::new);
                asked_of = Some(wanted.servers.clone());
            }
            self.known.retain(|question, _| wanted.questions.contains(question));
            let now = clock::now();
            for question in &wanted.questions {
                let known = self.known.entry(question.clone()).or_default();
                if known.asking || known.due > now || answers.len() >= MOST_AT_ONCE {
                    continue;
                }
                known.asking = true;
                let (servers, question, speaks) = (servers.clone(), question.clone(), wanted.speaks.clone());
                answers.spawn(async move {
                    let found = match servers {
                        Some(servers) => tokio::time::timeout(PATIENCE, locate(&*servers, &question, &speaks)).await.ok(),
                        None => None,
                    };
                    (question, found)
                });
            }
            let full = answers.len() >= MOST_AT_ONCE;
            let next = self.known.values().filter(|k| !k.asking && !full).map(|k| k.due).min();
            let pause = next.map_or(Duration::from_secs(3600), |due| due.since(now).max(Duration::from_millis(10)));
            tokio::select! {
                changed = self.wanted.changed() => if changed.is_err() { return },
                Some(answer) = answers.join_next() => {
                    if let Ok((question, found)) = answer { self.take(&question, found) }
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn take(&mut self, question: &Question, found: Option<Found>) {
        let Some(known) = self.known.get_mut(question) else { return };
        let first_try = !std::mem::replace(&mut known.tried, true);
        known.asking = false;
        if known.take(found, clock::now()) || first_try {
            let ways = self.known.iter().filter(|(_, k)| !k.ways.is_empty()).map(|(q, k)| (q.clone(), k.ways.clone())).collect();
            let _ = self.told.send(Answers { ways, is_complete: self.known.values().all(|k| k.tried) });
        }
    }
}

impl Known {
    /// Takes an answer; whether it changes anything.
    fn take(&mut self, found: Option<Found>, now: Time) -> bool {
        let usable = found.filter(|f| !f.ways.is_empty() && (f.is_whole || self.ways.is_empty()));
        let Some(found) = usable else {
            self.retry = (self.retry * 2).clamp(FIRST_RETRY, LAST_RETRY);
            self.due = now + self.retry;
            return false;
        };
        self.retry = Duration::ZERO;
        let ttl = if found.is_whole { found.ttl.clamp(*TTL.start(), *TTL.end()) } else { *TTL.start() };
        self.due = now + Duration::from_secs(u64::from(ttl));
        let sorted = |ways: &[Way]| {
            let mut ways = ways.to_vec();
            ways.sort();
            ways
        };
        if sorted(&found.ways) == sorted(self.ways.get(..self.newest).unwrap_or_default()) {
            let over = self.ways.len() > self.newest && now >= self.before_until;
            if over {
                self.ways.truncate(self.newest);
            }
            return over;
        }
        let is_new = |way: &Way| !found.ways.iter().any(|w| (w.speech, w.address) == (way.speech, way.address));
        let before: Vec<_> = self.ways.iter().take(self.newest).copied().filter(is_new).collect();
        (self.newest, self.before_until) = (found.ways.len(), now + BEFORE_STAYS);
        self.ways = found.ways;
        self.ways.extend(before);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(host: u8) -> Way {
        let mut found = way_of(host);
        found.sort();
        found.remove(0)
    }

    fn way_of(host: u8) -> Vec<Way> {
        struct One(u8);
        impl super::super::locate::Ask for One {
            async fn naptr(&self, _: &str) -> super::super::locate::Records<super::super::locate::Naptr> {
                Ok((Vec::new(), 60))
            }
            async fn srv(&self, _: &str) -> super::super::locate::Records<super::super::locate::Srv> {
                Ok((Vec::new(), 60))
            }
            async fn addresses(&self, _: &str, _: bool) -> super::super::locate::Records<std::net::IpAddr> {
                Ok((vec![std::net::IpAddr::from([192, 0, 2, self.0])], 60))
            }
            fn draw(&self, _: u32) -> u32 {
                0
            }
        }
        let question = Question { host: "x".to_owned(), port: None, transport: None, sips: false };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(locate(&One(host), &question, &[(Speech::Udp, false)])).ways
    }

    fn found(hosts: &[u8], is_whole: bool) -> Option<Found> {
        Some(Found { ways: hosts.iter().map(|h| way(*h)).collect(), ttl: 60, is_whole })
    }

    fn hosts(known: &Known) -> Vec<u8> {
        let last = |w: &Way| if let std::net::IpAddr::V4(ip) = w.address.ip() { ip.octets()[3] } else { 0 };
        known.ways.iter().map(last).collect()
    }

    #[test]
    fn the_last_good_answer_stays_while_the_server_is_silent_or_says_that_there_is_nothing() {
        let (mut known, at) = (Known::default(), |s: u64| Time::from_micros(1) + Duration::from_secs(s));
        assert!(!known.take(None, at(0)));
        assert_eq!(known.due, at(1));
        assert!(known.take(found(&[1], false), at(1)), "better than nothing");
        assert_eq!((hosts(&known), known.due), (vec![1], at(6)));
        assert!(known.take(found(&[2, 3], true), at(6)));
        assert_eq!((hosts(&known), known.due), (vec![2, 3, 1], at(66)));
        for (s, lie) in [(66, None), (67, found(&[], true)), (69, found(&[4], false)), (73, found(&[], false))] {
            assert!(!known.take(lie, at(s)));
            assert_eq!(hosts(&known), [2, 3, 1]);
        }
        assert_eq!(known.due, at(81));
        assert!(!known.take(found(&[3, 2], true), at(81)), "the same in another order");
        assert_eq!((hosts(&known), known.due), (vec![2, 3, 1], at(141)));
    }

    #[test]
    fn where_a_name_led_before_is_tried_last_for_an_hour() {
        let (mut known, at) = (Known::default(), |s: u64| Time::from_micros(1) + Duration::from_secs(s));
        known.take(found(&[1, 2], true), at(0));
        known.take(found(&[2, 3], true), at(60));
        assert_eq!(hosts(&known), [2, 3, 1]);
        assert!(!known.take(found(&[2, 3], true), at(120)));
        assert!(known.take(found(&[2, 3], true), at(3660)));
        assert_eq!(hosts(&known), [2, 3]);
    }
}

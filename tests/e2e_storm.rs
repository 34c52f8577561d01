//! A storm in small: far more ordinary calls than the gateway can take, and strangers by the thousand, while people dial 911 and a
//! PSAP calls back. What counts is counted; how long it takes is the business of `benches/compare`.

mod common;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use common::crowd::Crowd;
use common::flood::{Busy, Flood, Strangers};
use common::peer::SOON;
use common::psap::Psap;
use common::{Config, Message, Net, Outgoing, Peer, Transport, World, until};
use e911d::sip::digest::{Asked, Challenge};

/// Agents with a phone each: more than six callbacks to one number in ten seconds would be a loop (RULES P12).
const AGENTS: [&str; 5] = ["ada", "ben", "cleo", "dan", "eve"];
/// And one whose phone comes by another connection each time, whom nobody knows until he has registered.
const NEWCOMER: &str = "fay";
const PASSWORD: &str = "wonderland";
/// Ordinary calls, and how many of them each millisecond.
const CALLS: usize = 24_000;
const EACH: usize = 6;
/// To each of them.
const CALLBACKS: usize = 4;
const TEN: Duration = Duration::from_secs(10);

/// `carrier-a` and `carrier-b` for emergencies alone; another PBX, from which the storm comes, and a next hop for it.
fn world() -> World {
    World::with(Transport::Udp, |net, config| {
        let with_password = |config: Config, id: &&str| config.agent(id, &format!("password = \"{PASSWORD}\"\n"));
        let mut config = AGENTS.iter().chain([&NEWCOMER]).fold(config, with_password);
        config.bind = net.sip(1);
        config.ordinary = None;
        config.trunks[0].numbers = "+13000000000-+13000001999".to_owned();
        config.more = format!(
            "[[peer]]\nname = \"other\"\nuri = \"sip:{1}\"\nsources = [\"{1}\"]\n\
             [[trunk]]\nname = \"next-hop\"\npath = \"direct-routing\"\nuri = \"sip:{0}\"\nsources = [\"{0}\"]\noptions = \"0s\"\n\
             [[voice_route]]\nname = \"ordinary\"\npattern = '^\\+1212\\d{{7}}$'\ntrunks = [\"next-hop\"]\n[auth]\nstranger_rate = 10\n",
            next_hop(net),
            other_pbx(net),
        );
        config
    })
}

fn next_hop(net: &Net) -> SocketAddr {
    net.sip(23)
}

fn other_pbx(net: &Net) -> SocketAddr {
    net.sip(11)
}

/// A phone that registers with its password, and again.
struct Phone {
    agent: &'static str,
    peer: Peer,
    gateway: SocketAddr,
    seq: u32,
}

impl Phone {
    fn new(agent: &'static str, peer: Peer, gateway: SocketAddr) -> Self {
        Self { agent, peer, gateway, seq: 0 }
    }

    /// The status in the end. A challenge is answered; what gets no answer is sent again.
    fn register(&mut self) -> u16 {
        let challenged = self.ask("");
        if challenged.status() != 401 {
            return challenged.status();
        }
        let uri = format!("sip:{}", self.gateway);
        let challenge = Challenge::parse(challenged.header("WWW-Authenticate").as_bytes()).expect("a challenge");
        let asked = Asked { method: b"REGISTER", uri: uri.as_bytes(), body: b"" };
        let answer = challenge.answer(self.agent.as_bytes(), PASSWORD.as_bytes(), &asked, 1, b"c");
        self.ask(&format!("Authorization: {}\r\n", String::from_utf8_lossy(&answer))).status()
    }

    fn ask(&mut self, more: &str) -> Message {
        self.seq += 1;
        let (seq, at, to) = (self.seq, self.peer.address(), self.gateway);
        let text = format!(
            "REGISTER sip:{to} SIP/2.0\r\nVia: SIP/2.0/{2} {at};branch=z9hG4bKreg{seq};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:{0}@{to}>;tag=r\r\nTo: <sip:{0}@{to}>\r\nCall-ID: {0}\r\nCSeq: {seq} REGISTER\r\n\
             Contact: <{1}>;expires=300\r\n{more}Content-Length: 0\r\n\r\n",
            self.agent,
            self.peer.contact(self.agent),
            self.peer.word().to_uppercase(),
        );
        until("an answer to REGISTER", TEN, || {
            self.peer.send(text.as_bytes(), to);
            self.peer.answer_to("REGISTER", seq, Duration::from_millis(500))
        })
    }

    /// Dials 911 and hangs up; the number that the PSAP saw.
    fn number(&mut self, psap: &Psap) -> String {
        let before: Vec<_> = psap.legs().into_iter().map(|leg| leg.number).collect();
        let call = Outgoing::new(self.gateway, self.agent, &format!("sip:911@{}", self.gateway));
        self.peer.invite(&call);
        let ok = self.peer.response_within("INVITE", 200, SOON);
        let mut dialog = self.peer.ack(&call, &ok);
        self.peer.in_dialog(&mut dialog, "BYE", "");
        self.peer.final_response("BYE", SOON);
        psap.legs().into_iter().map(|leg| leg.number).find(|number| !before.contains(number)).expect("a number")
    }
}

/// The PSAP calls a number back; the agent's phone rings, and the PSAP hangs up.
fn call_back(psap: &mut Peer, phone: &mut Peer, gateway: SocketAddr, number: &str) {
    let call = Outgoing::new(gateway, "911", &format!("sip:{number}@{gateway}"));
    psap.invite(&call);
    let invite = phone.request("INVITE");
    phone.answer(&invite, "phone");
    let ok = psap.response_within("INVITE", 200, SOON);
    let mut dialog = psap.ack(&call, &ok);
    phone.request("ACK");
    psap.in_dialog(&mut dialog, "BYE", "");
    let bye = phone.request("BYE");
    phone.reply(&bye, "200 OK", "", "", "");
    psap.final_response("BYE", SOON);
}

#[test]
fn b6_in_a_storm_of_ordinary_calls_and_strangers_every_emergency_callback_and_registration_comes_through() {
    let world = world();
    let gateway = world.at();
    let psap = Psap::start(world.trunk_a(), world.trunk_a());
    let _busy = Busy::start(next_hop(&world.net));
    let mut caller = Peer::udp(world.trunk_b());
    let mut phones: Vec<_> =
        (31..).zip(AGENTS).map(|(host, id)| Phone::new(id, Peer::udp(world.net.sip(host)), gateway)).collect();
    let numbers: Vec<_> = phones
        .iter_mut()
        .map(|phone| {
            assert_eq!(phone.register(), 200);
            let number = phone.number(&psap);
            call_back(&mut caller, &mut phone.peer, gateway, &number);
            number
        })
        .collect();

    let crowd = Crowd::start(world.net.sip(10), gateway, Duration::from_millis(50), 1000);
    let strangers = Strangers::start((100..120).map(|host| world.net.sip(host)).collect(), gateway, 1);
    let flood = Flood::start(other_pbx(&world.net), gateway, CALLS, EACH);
    let mut statuses = BTreeMap::<u16, usize>::new();
    for _ in 0..CALLBACKS {
        for (phone, number) in phones.iter_mut().zip(&numbers) {
            call_back(&mut caller, &mut phone.peer, gateway, number);
            *statuses.entry(phone.register()).or_default() += 1;
        }
        let by_tcp = world.gateway.at(Transport::Tcp);
        let mut newcomer = Phone::new(NEWCOMER, Peer::tcp_to(world.net.ip(51), by_tcp), by_tcp);
        *statuses.entry(newcomer.register()).or_default() += 1;
    }
    until("the end of the storm", Duration::from_secs(60), || (!flood.goes_on()).then_some(()));
    assert_eq!(statuses, BTreeMap::from([(200, (AGENTS.len() + 1) * CALLBACKS)]), "registrations");
    let tally = flood.tally();
    assert!(tally.turned_away > 0, "it was a storm: {tally:?}");
    assert!(tally.relayed > 0 && tally.others == 0, "{tally:?}");
    // A 503 that was on its way when its INVITE was repeated tears a call as well.
    assert!(tally.torn * 100 <= tally.repeated, "what waits is not turned away when it is repeated: {tally:?}");
    assert!((1..=95).contains(&tally.to_spare), "{tally:?}");
    let limited = world.gateway.metric("e911d_lost_total{why=\"strangers\"}");
    assert!(limited > 0.0, "of {} messages of strangers none was one too many", strangers.sent());
    drop(strangers);
    crowd.rest();
    until("every emergency call", Duration::from_secs(20), || crowd.calls().iter().all(|c| c.set_up.is_some()).then_some(()));
    let calls = crowd.calls();
    assert!(calls.len() >= 20 && calls.iter().all(|c| c.refused.is_none() && !c.ended), "{} calls", calls.len());
    crowd.hang_up();
    until("every BYE", Duration::from_secs(20), || crowd.calls().iter().all(|c| c.bye == Some(200)).then_some(()));

    let after = Flood::start(other_pbx(&world.net), gateway, 1, 1);
    until("an ordinary call", Duration::from_secs(10), || (after.tally().relayed == 1).then_some(()));
}

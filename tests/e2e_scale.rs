//! The sizes that the rules promise: 100,000 leases outlive a kill and are back in under a second (RULES B1), 10,000 agents are
//! taken in one import, and a reload with as many numbers stops nobody's call. The tests in the suite are smaller and look
//! at what is right; those that are ignored print what it takes: `cargo test --release --test e2e_scale -- --ignored --nocapture`.

mod common;

use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use common::callers::State;
use common::clock::Stopwatch;
use common::crowd::Crowd;
use common::large::{self, Large, Since};
use common::psap::{Psap, State as Heard};
use common::pulse::{self, Pulse};
use common::{Callers, Config, Deadline, Gateway, Net, Outgoing, Peer, Transport, until};

const SOON: Duration = Duration::from_secs(20);
const SMALL: Large = Large { leases: 600, agents: 200 };
const FULL: Large = Large { leases: 100_000, agents: 10_000 };

/// A gateway over such a state directory, with a PBX and a PSAP.
struct Scene {
    net: Net,
    gateway: Gateway,
    agents: Callers,
    psap: Psap,
    dispatcher: Peer,
    large: Large,
    _state: tempfile::TempDir,
}

/// What a start took, from exec to the first OPTIONS answered, 911 placed, callback at its holder's phone, ready line.
#[derive(Clone, Copy, Default)]
struct Start {
    ready: Duration,
    options: Duration,
    invite: Duration,
    callback: Duration,
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ready, options, invite, callback } = self;
        write!(f, "OPTIONS {options:.0?}, 911 {invite:.0?}, callback {callback:.0?}, ready line {ready:.0?}")
    }
}

fn config(net: &Net, large: Large) -> Config {
    let mut config = Config::new(net, Transport::Udp);
    config.trunks.truncate(1);
    config.trunks[0].numbers = large.numbers();
    config.agents.clear();
    config.program = std::env::var_os("E911D_PROGRAM").map(PathBuf::from);
    config.agent("configured", "")
}

impl Scene {
    fn new(large: Large, since: Since) -> (Self, Duration) {
        let net = Net::take();
        let state = tempfile::tempdir().unwrap();
        large.fill(state.path(), since);
        let watch = Stopwatch::start();
        let gateway = Gateway::start_with_state(&config(&net, large), state.path());
        let ready = watch.elapsed();
        let at = gateway.at(Transport::Udp);
        let agents = Callers::start(net.sip(10), at);
        let psap = Psap::start(net.sip(21), net.sip(21));
        let dispatcher = Peer::udp(SocketAddr::new(net.ip(21), 5070));
        (Self { net, gateway, agents, psap, dispatcher, large, _state: state }, ready)
    }

    fn at(&self) -> SocketAddr {
        self.gateway.at(Transport::Udp)
    }

    fn uri(&self, user: &str) -> String {
        format!("sip:{user}@{}", self.at())
    }

    /// An agent's 911 call that is up; its id.
    fn call(&self, agent: &str) -> String {
        let id = self.agents.dial(agent, &self.uri("911"));
        until("the answer", SOON, || matches!(self.agents.call(&id).state, State::Up(..)).then_some(()));
        id
    }

    /// The PSAP calls a number; who took it.
    fn call_back(&mut self, number: &str) -> String {
        call_back(&mut self.dispatcher, &self.agents, self.gateway.at(Transport::Udp), number)
    }

    /// Imports these agents, with this before their names.
    fn import(&self, which: std::ops::Range<u32>, before: &str) {
        let count = which.len();
        let agents: Vec<_> = which
            .map(|n| {
                let mut agent = large::document(n);
                agent["name"] = format!("{before}{}", agent["name"].as_str().unwrap()).into();
                agent.to_string()
            })
            .collect();
        let answer = post(&self.gateway, "agents", &format!("[{}]", agents.join(",\n")));
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(&format!("\"imported\":{count}")), "{answer}");
    }

    /// Kills the gateway and starts it again; what the start took.
    fn start_again(&mut self, lease: u32) -> Start {
        self.gateway.child().kill();
        let (at, uri, number) = (self.at(), self.uri("911"), self.large.number(lease));
        let from = SocketAddr::new(self.net.ip(10), 5071);
        let Self { gateway, agents, psap, dispatcher, .. } = self;
        let watch = Stopwatch::start();
        let mut start = std::thread::scope(|scope| {
            let side = scope.spawn(move || {
                first_answer(from, at);
                let options = watch.elapsed();
                let before = psap.legs().len();
                let id = agents.dial("configured", &uri);
                while psap.legs().len() == before {
                    std::thread::sleep(Duration::from_millis(1));
                }
                let invite = watch.elapsed();
                let taken = call_back(dispatcher, agents, at, &number);
                let callback = watch.elapsed();
                (Start { options, invite, callback, ready: Duration::ZERO }, taken, id)
            });
            gateway.start_again(&[]);
            let ready = watch.elapsed();
            let (start, taken, id) = side.join().expect("the first calls");
            assert_eq!(taken, self.large.holder(lease));
            (Start { ready, ..start }, id)
        });
        until("the answer", SOON, || matches!(self.agents.call(&start.1).state, State::Up(..)).then_some(()));
        self.agents.hang_up(&start.1);
        std::mem::take(&mut start.0)
    }
}

/// The answer to a POST of JSON on the admin socket.
fn post(gateway: &Gateway, path: &str, body: &str) -> String {
    let mut stream = UnixStream::connect(gateway.state().join("admin.sock")).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let head = format!("POST /api/v1/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    write!(stream, "{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Waits until the gateway answers OPTIONS.
fn first_answer(from: SocketAddr, at: SocketAddr) {
    let socket = UdpSocket::bind(from).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(3))).unwrap();
    let deadline = Deadline::after(SOON);
    let mut buffer = [0; 4096];
    for n in 1.. {
        let _ = socket.send_to(pulse::options(from, at, n).as_bytes(), at);
        // A refused datagram is told here as well: nobody is there yet.
        match socket.recv_from(&mut buffer) {
            Ok(_) => return,
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
        assert!(!deadline.passed(), "no answer");
    }
}

fn call_back(dispatcher: &mut Peer, agents: &Callers, at: SocketAddr, number: &str) -> String {
    let call = Outgoing::new(at, "+12065550190", &format!("sip:{number}@{at}")).header("Priority: psap-callback");
    dispatcher.invite(&call);
    let answer = dispatcher.response("INVITE", 200);
    let mut dialog = dispatcher.ack(&call, &answer);
    let taken = until("the callback's phone", SOON, || {
        let taken = |s: &State| matches!(s, State::Taken(to, mark) if to == number && mark == "psap-callback");
        agents.calls().into_iter().find(|c| taken(&c.state))
    });
    dispatcher.in_dialog(&mut dialog, "BYE", "");
    dispatcher.response("BYE", 200);
    taken.agent
}

fn survives(since: Since) {
    let (mut scene, _) = Scene::new(SMALL, since);
    let call = scene.call("configured");
    std::thread::sleep(Duration::from_millis(150)); // RULES B1: durable 100 ms after the answer
    for round in 0..3 {
        for lease in [round, SMALL.agents + round, SMALL.leases - 1 - round] {
            let number = SMALL.number(lease);
            assert_eq!(scene.call_back(&number), SMALL.holder(lease), "round {round}, lease {lease}");
        }
        // Each start finds its own leases to call back: nobody's number is that of somebody before.
        scene.start_again(SMALL.agents + 10 + round);
    }
    scene.agents.hang_up(&call);
    let shown = scene.psap.legs();
    assert!(
        shown.iter().all(|leg| (0..SMALL.leases).all(|lease| leg.number != SMALL.number(lease))),
        "a leased number was given"
    );
}

#[test]
fn b1_many_leases_outlive_a_kill_and_none_is_given_twice() {
    survives(Since::SameBoot);
}

#[test]
fn b1_l2_many_leases_outlive_a_reboot_and_a_kill_right_after_it() {
    survives(Since::Reboot);
}

#[test]
fn agents_who_are_imported_and_numbers_that_change_leave_calls_and_callbacks_alone() {
    let (mut scene, _) = Scene::new(Large { agents: 0, ..SMALL }, Since::SameBoot);
    let call = scene.call("configured");
    let pulse = Pulse::start(SocketAddr::new(scene.net.ip(10), 5072), scene.at(), Duration::from_millis(10));
    scene.import(0..300, "");
    scene.import(0..300, "Changed ");
    // Who was a guest of the PBX when she dialed still is, whoever has been added since (RULES A8).
    assert_eq!(scene.call_back(&SMALL.number(7)), "guest7");
    let imported = scene.call(&large::agent(250));
    scene.agents.hang_up(&imported);
    let shown = until("her call", SOON, || scene.psap.legs().into_iter().map(|l| l.number).max());
    scene.gateway.reload(|text| text.replace(&SMALL.numbers(), &Large { leases: 100, agents: 0 }.numbers()));
    // Numbers that the config has no more lead to their leases to the end (RULES L9).
    for lease in [3, 150, SMALL.leases - 1] {
        assert_eq!(scene.call_back(&SMALL.number(lease)), format!("guest{lease}"));
    }
    let holder = scene.call_back(&shown);
    assert!(["configured".to_owned(), large::agent(250)].contains(&holder), "{holder}");
    scene.agents.hang_up(&call);
    until("the end of both calls", SOON, || scene.psap.legs().iter().all(|l| matches!(l.state, Heard::Ended(_))).then_some(()));
    let heard = pulse.stop();
    assert_eq!(heard.lost, 0, "{heard:?}");
}

#[test]
#[ignore = "long: prints what a start with 100,000 leases takes"]
fn b1_back_with_a_hundred_thousand_leases() {
    for since in [Since::SameBoot, Since::Reboot] {
        let (mut scene, ready) = Scene::new(FULL, since);
        println!("{since:?}, first start: ready after {ready:?}");
        let up: Vec<_> = (0..5).map(|n| scene.call(&large::agent(n * 7))).collect();
        std::thread::sleep(Duration::from_millis(500));
        for round in 0..5 {
            println!("{since:?}, kill {round}: {}", scene.start_again(FULL.agents + round));
        }
        up.iter().for_each(|id| scene.agents.hang_up(id));
    }
}

#[test]
#[ignore = "long: prints what imports and reloads cost those who call meanwhile"]
fn what_an_import_of_ten_thousand_agents_costs_the_calls() {
    let (scene, _) = Scene::new(Large { agents: 0, ..FULL }, Since::SameBoot);
    let pulse = Pulse::start(SocketAddr::new(scene.net.ip(10), 5072), scene.at(), Duration::from_millis(2));
    let crowd = Crowd::start(SocketAddr::new(scene.net.ip(10), 5080), scene.at(), Duration::from_millis(25), 500);
    let during = |what: &str, act: &dyn Fn()| {
        std::thread::sleep(Duration::from_millis(500));
        pulse.begin_anew();
        let watch = Stopwatch::start();
        act();
        let took = watch.elapsed();
        println!("{what}: {took:?}, {:?}", pulse.so_far());
    };
    during("nothing", &|| std::thread::sleep(Duration::from_secs(3)));
    during("import of 10,000", &|| scene.import(0..FULL.agents, ""));
    during("import of 10,000, all changed", &|| scene.import(0..FULL.agents, "Changed "));
    during("import of 10,000, none changed", &|| scene.import(0..FULL.agents, "Changed "));
    during("reload", &|| scene.gateway.reload(|text| text));
    let more = Large { leases: FULL.leases + 1, ..FULL };
    during("reload, one number more", &|| scene.gateway.reload(|text| text.replace(&FULL.numbers(), &more.numbers())));
    crowd.rest();
    until("every call", SOON, || crowd.calls().iter().all(|c| c.set_up.is_some()).then_some(()));
    let mut took: Vec<_> = crowd.calls().iter().filter_map(|c| c.set_up).collect();
    took.sort_unstable();
    println!("{} calls meanwhile, set up in {:?} to {:?}; the PSAP rings for 150 ms", took.len(), took.first(), took.last());
}

//! Streams under abuse: whatever strangers do on TCP, TLS and WebSocket, calls are placed, and memory comes back (RULES B7).

mod common;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use common::abuse::{Kind, Ports, Strangers, WAYS, connect, misbehave};
use common::crowd::Crowd;
use common::psap::Psap;
use common::tls::{Authority, s_client};
use common::{Sipp, Transport, World, require, until};

/// How long the PSAP rings.
const RINGS: Duration = Duration::from_millis(150);
const CALLS: usize = 40;

/// The gateway speaks everything: TLS at 5061, WebSocket at 5062.
fn world(ca: &Authority) -> World {
    World::with(Transport::Udp, |net, config| {
        let mut config = config.agent("alice", "");
        config.bind = net.sip(1);
        let ip = net.ip(1);
        config.more += &ca.section(&ca.of_gateway(ip), SocketAddr::new(ip, 5061));
        config.more += &format!("[[listen]]\ntransport = \"ws\"\nbind = \"{ip}:5062\"\n");
        config
    })
}

fn at(world: &World, kind: &Kind) -> SocketAddr {
    let port = match kind {
        Kind::Tcp => 5060,
        Kind::Tls(_) => 5061,
        Kind::Ws => 5062,
    };
    SocketAddr::new(world.net.ip(1), port)
}

fn hosts(world: &World) -> Vec<IpAddr> {
    (100..120).map(|host| world.net.ip(host)).collect()
}

/// What the gateway has in memory, in KiB.
fn memory(world: &mut World) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.gateway.child().id())).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Who calls 911 by UDP all the time.
fn callers(world: &World) -> Crowd {
    let crowd = Crowd::start(world.pbx(), world.at(), Duration::from_millis(100), 5);
    crowd.hang_up();
    crowd
}

/// Calls 911 by TCP besides; all calls that begin meanwhile must be answered.
fn all_calls_are_placed(world: &World, crowd: &Crowd, label: &str) {
    let first = crowd.calls().len();
    let by_tcp = Sipp::calls(
        "uac_call.xml",
        Transport::Tcp,
        SocketAddr::new(world.pbx().ip(), 5070),
        world.gateway.at(Transport::Tcp),
        "alice",
        &world.uri("911"),
    );
    by_tcp.times(CALLS).rate(10).run();
    let last = crowd.calls().len();
    let calls = until("all callers have been answered", Duration::from_secs(20), || {
        let calls = crowd.calls()[first..last].to_vec();
        calls.iter().all(|c| c.set_up.is_some() || c.refused.is_some()).then_some(calls)
    });
    assert!(calls.len() > 10 && calls.iter().all(|c| c.refused.is_none()), "{label}: {} calls", calls.len());
    let mut times: Vec<_> = calls.iter().filter_map(|c| c.set_up).map(|t| t.saturating_sub(RINGS)).collect();
    times.sort();
    let p99 = times[(times.len() * 99 / 100).min(times.len() - 1)];
    eprintln!("{label}: {} + {CALLS} calls, set-up p50 {:?}, p99 {p99:?}", times.len(), times[times.len() / 2]);
}

/// The most that strangers may cost, in KiB.
const MOST: usize = 16 * 1024;

/// What may be left when they are gone, in KiB: half a minute's calls are not forgotten yet.
const LEFT: usize = 8 * 1024;

/// 500 silent strangers and 500 who send a byte at a time.
fn a_thousand_strangers(kind: impl Fn(&Authority) -> Kind, name: &str) {
    require!("openssl" from "openssl", "sipp" from "sip-tester");
    let ca = Authority::new();
    let kind = kind(&ca);
    let mut world = world(&ca);
    let _psap = Psap::start(world.trunk_a(), world.trunk_a());
    let crowd = callers(&world);
    for _ in 0..2 {
        all_calls_are_placed(&world, &crowd, &format!("{name}, idle"));
    }
    let before = memory(&mut world);
    let strangers = Strangers::come(&kind, 500, hosts(&world), at(&world, &kind));
    until("all strangers are in", Duration::from_secs(20), || (strangers.counts().0 == 1000).then_some(()));
    all_calls_are_placed(&world, &crowd, &format!("{name}, strangers"));
    let most = memory(&mut world);
    // A message must be whole in 10 s, and so must the first one come.
    until("every stranger is cut", Duration::from_secs(20), || strangers.are_gone().then_some(()));
    comes_back(&mut world, name, before, most);
    all_calls_are_placed(&world, &crowd, &format!("{name}, after"));
}

/// Memory has grown by no more than it may, and comes back.
fn comes_back(world: &mut World, name: &str, before: usize, most: usize) {
    assert!(most <= before + MOST, "{name}: memory grew from {before} to {most} KiB");
    // It is given back when nobody has come or gone for two seconds, and ten after the last time.
    std::thread::sleep(Duration::from_secs(10));
    let after = until(&format!("{name}: memory comes back from {before} and {most} KiB"), Duration::from_secs(30), || {
        Some(memory(world)).filter(|now| *now <= before + LEFT)
    });
    eprintln!(
        "{name}: memory before {before} KiB, most +{}, after +{}",
        most.saturating_sub(before),
        after.saturating_sub(before)
    );
}

#[test]
fn b7_a_thousand_strangers_on_tcp_hold_up_no_call_and_are_cut() {
    a_thousand_strangers(|_| Kind::Tcp, "TCP");
}

#[test]
fn b7_a_thousand_strangers_on_tls_hold_up_no_call_and_are_cut() {
    a_thousand_strangers(|ca| Kind::tls(&ca.roots()), "TLS");
}

#[test]
fn b7_a_thousand_strangers_on_websocket_hold_up_no_call_and_are_cut() {
    a_thousand_strangers(|_| Kind::Ws, "WS");
}

#[test]
fn b7_whatever_is_done_to_a_stream_holds_up_no_call() {
    require!("openssl" from "openssl", "sipp" from "sip-tester");
    let ca = Authority::new();
    let mut world = world(&ca);
    let _psap = Psap::start(world.trunk_a(), world.trunk_a());
    let crowd = callers(&world);
    all_calls_are_placed(&world, &crowd, "idle");
    let before = memory(&mut world);
    let tls = Kind::tls(&ca.roots());
    let ports = Ports { tcp: at(&world, &Kind::Tcp), tls: at(&world, &tls), ws: at(&world, &Kind::Ws) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut all = Vec::new();
    for from in hosts(&world).into_iter().take(4) {
        for way in 0..WAYS {
            let tls = tls.clone();
            all.push(runtime.spawn(async move { misbehave(way, from, &ports, &tls).await }));
        }
    }
    // One address that shakes hands fifty times a second, and one that knocks a thousand times at once.
    let (hands, knocks) = (world.net.ip(121), world.net.ip(122));
    let shaker = tls.clone();
    all.push(runtime.spawn(async move {
        for _ in 0..200 {
            let tls = shaker.clone();
            tokio::spawn(async move { tls.open(hands, ports.tls).await.map(drop) });
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }));
    all.push(runtime.spawn(async move {
        let all: Vec<_> = (0..1000).map(|_| tokio::spawn(connect(knocks, ports.tcp))).collect();
        for one in all {
            let _ = one.await;
        }
    }));
    all_calls_are_placed(&world, &crowd, "everything at once");
    let most = memory(&mut world);
    let renegotiated = s_client(ports.tls, &["-tls1_2"], b"R\nOPTIONS");
    assert!(renegotiated.contains("RENEGOTIATING") && !renegotiated.contains("renegotiated"), "{renegotiated}");
    for one in all {
        runtime.block_on(one).expect("every way came to its end");
    }
    comes_back(&mut world, "everything at once", before, most);
    all_calls_are_placed(&world, &crowd, "after everything");
    assert!(world.gateway.metric("e911d_lost_total{why=\"connection_turned_away\"}") > 0.0);
}

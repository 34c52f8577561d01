//! The API under abuse by hundreds of connections, by endless and broken requests, by whoever tries tokens: meanwhile every 911
//! call is set up, what the daemon holds stays bounded and goes back, and whoever can be answered is, in the one shape of
//! refusals.

mod common;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::crowd::Crowd;
use common::large::{Large, Since};
use common::psap::Psap;
use common::{Config, Deadline, Gateway, Net, Transport, until};
use serde_json::Value;

const TOKEN: &str = "an-operator-of-the-tests";
const LEASES: Large = Large { leases: 3_000, agents: 0 };
/// Slow connections at each door.
const SLOW: usize = 200;
/// Descriptors that the daemon may have more than before: pages keep a connection each, so that the door of HTTP is wide.
const DOORS_FULL: usize = SLOW + 64 + 40;

/// A gateway with many leases, where 911 is dialed all the time.
struct Scene {
    gateway: Gateway,
    crowd: Crowd,
    _psap: Psap,
    _net: Net,
    _state: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let net = Net::take();
        let state = tempfile::tempdir().unwrap();
        LEASES.fill(state.path(), Since::SameBoot);
        let mut config = Config::new(&net, Transport::Udp);
        config.trunks.truncate(1);
        config.trunks[0].numbers = LEASES.numbers();
        config.more = format!("[[http.token]]\nrole = \"operator\"\nvalue = \"{TOKEN}\"\n");
        let gateway = Gateway::start_with_state(&config, state.path());
        let psap = Psap::start(net.sip(21), net.sip(21));
        let crowd = Crowd::start(net.sip(10), gateway.at(Transport::Udp), Duration::from_millis(50), 400);
        Self { gateway, crowd, _psap: psap, _net: net, _state: state }
    }

    fn http(&self) -> SocketAddr {
        self.gateway.http().expect("HTTP")
    }

    fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.http()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
        stream
    }

    fn socket(&self) -> UnixStream {
        let stream = UnixStream::connect(self.gateway.state().join("admin.sock")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
        stream
    }

    fn descriptors(&mut self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.gateway.child().id())).unwrap().count()
    }

    /// Resident memory in KiB.
    fn memory(&mut self) -> usize {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.gateway.child().id())).unwrap();
        let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Every call that was dialed is up, and at least so many were.
    fn everybody_was_connected(&self, least: usize) {
        until("so many dialed", Duration::from_secs(20), || (self.crowd.calls().len() >= least).then_some(()));
        self.crowd.rest();
        until("every call", Duration::from_secs(20), || self.crowd.calls().iter().all(|c| c.set_up.is_some()).then_some(()));
        let calls = self.crowd.calls();
        assert!(calls.iter().all(|c| c.refused.is_none() && !c.ended), "{} calls", calls.len());
    }
}

fn with_token(method: &str, path: &str, more: &str) -> String {
    format!("{method} /api/v1/{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n{more}\r\n")
}

/// An answer: its status and body, and whether another one follows on this connection.
fn answer(stream: &mut impl Read) -> io::Result<(u16, String)> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    let head = String::from_utf8(head).unwrap();
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("{head}"));
    let of = |name: &str| head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix(name).map(|v| v.trim().to_owned()));
    let mut body = vec![0; of("content-length:").map_or(0, |n| n.parse().unwrap())];
    stream.read_exact(&mut body)?;
    Ok((status, String::from_utf8(body).unwrap()))
}

/// The one shape: `{"error":{"code","message","field"}}`.
fn is_refusal(body: &str) -> bool {
    let Ok(Value::Object(whole)) = serde_json::from_str::<Value>(body) else { return false };
    let error = &whole["error"];
    whole.len() == 1 && error["code"].is_string() && error["message"].is_string() && error["field"].is_string()
}

#[test]
fn hundreds_of_slow_connections_at_both_doors_cost_no_call_and_end() {
    let mut scene = Scene::new();
    let (files, memory) = (scene.descriptors(), scene.memory());
    let mut slow: Vec<Box<dyn Write>> = Vec::new();
    for _ in 0..SLOW {
        let (tcp, socket) = (scene.tcp(), scene.socket());
        tcp.set_nonblocking(true).unwrap();
        socket.set_nonblocking(true).unwrap();
        slow.push(Box::new(tcp));
        slow.push(Box::new(socket));
    }
    // A byte at a time, for longer than anybody has patience with them.
    let text = with_token("GET", "leases", "X-Slow: yes\r\n");
    for byte in text.bytes().cycle().take(60) {
        for connection in &mut slow {
            let _ = connection.write(&[byte]);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let most = scene.descriptors();
    assert!(most <= files + DOORS_FULL, "{files} descriptors became {most}");
    // Whoever comes properly has her turn while they all are still there.
    for mut stream in [Box::new(scene.tcp()) as Box<dyn Stream>, Box::new(scene.socket())] {
        stream.write_all(with_token("GET", "alarms", "").as_bytes()).unwrap();
        let (status, body) = answer(&mut stream).expect("an answer");
        assert_eq!(status, 200, "{body}");
    }
    drop(slow);
    until("the descriptors", Duration::from_secs(20), || (scene.descriptors() <= files + 4).then_some(()));
    let now = scene.memory();
    assert!(now <= memory + 64 * 1024, "{memory} KiB became {now}");
    scene.everybody_was_connected(40);
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

#[test]
fn answers_that_nobody_reads_are_given_up() {
    let mut scene = Scene::new();
    let files = scene.descriptors();
    let deaf: Vec<_> = (0..40)
        .map(|_| {
            let (mut tcp, mut socket) = (scene.tcp(), scene.socket());
            tcp.set_nonblocking(true).unwrap();
            socket.set_nonblocking(true).unwrap();
            // More than the kernel keeps for whoever does not read.
            let many = with_token("GET", "leases?limit=1000", "").repeat(200);
            let _ = (tcp.write(many.as_bytes()), socket.write(many.as_bytes()));
            (tcp, socket)
        })
        .collect();
    until("all of them", Duration::from_secs(20), || (scene.descriptors() >= files + deaf.len()).then_some(()));
    until("their end", Duration::from_secs(60), || (scene.descriptors() <= files + 4).then_some(()));
    drop(deaf);
    scene.everybody_was_connected(40);
}

/// What is sent, and which statuses are right for it. `shaped`: the answer has the shape of refusals; a head that is no HTTP is
/// refused before anybody knows what it was about.
struct Hostile {
    what: &'static str,
    request: Vec<u8>,
    statuses: &'static [u16],
    shaped: bool,
}

fn hostile() -> Vec<Hostile> {
    let one = |what, request: String, statuses, shaped| Hostile { what, request: request.into_bytes(), statuses, shaped };
    let json = "Content-Type: application/json\r\n";
    let filler = "a".repeat(1 << 20);
    vec![
        one("a huge header", with_token("GET", "alarms", &format!("X-Huge: {filler}\r\n")), &[431], false),
        one("thousands of headers", with_token("GET", "alarms", &"X-Many: 1\r\n".repeat(10_000)), &[431], false),
        one(
            "an endless path",
            format!("GET /api/v1/{} HTTP/1.1\r\nHost: localhost\r\n\r\n", &filler[..200_000]),
            &[414, 431],
            false,
        ),
        one("no HTTP", "HELLO there\r\n\r\n".to_owned(), &[400], false),
        one("two lengths", with_token("POST", "agents", "Content-Length: 3\r\nContent-Length: 4\r\n"), &[400], false),
        one("a length that is none", with_token("POST", "agents", "Content-Length: -1\r\n"), &[400], false),
        one(
            "a huge body",
            with_token("POST", "agents", &format!("{json}Content-Length: 10000000000\r\n")) + &filler,
            &[413],
            true,
        ),
        one(
            "an endless chunked body",
            with_token("POST", "agents", &format!("{json}Transfer-Encoding: chunked\r\n"))
                + &format!("100000\r\n{filler}\r\n").repeat(10),
            &[413],
            true,
        ),
        one(
            "an endless body for one agent",
            with_token("PUT", "agents/x", &format!("{json}Transfer-Encoding: chunked\r\n"))
                + &format!("100000\r\n{filler}\r\n").repeat(2),
            &[413],
            true,
        ),
        one(
            "chunks that are none",
            with_token("POST", "agents", &format!("{json}Transfer-Encoding: chunked\r\n")) + "zz\r\nrubbish\r\n\r\n",
            &[400],
            true,
        ),
        one(
            "a chunk as large as can be written",
            with_token("POST", "agents", &format!("{json}Transfer-Encoding: chunked\r\n")) + "ffffffffffffffff\r\nx",
            &[400, 408, 413],
            true,
        ),
        one("a body that never comes", with_token("POST", "agents", &format!("{json}Content-Length: 10\r\n")), &[408], true),
        one("half a list", with_token("POST", "agents", &format!("{json}Content-Length: 4\r\n")) + "[{\"i", &[400], true),
        one(
            "deep nesting",
            with_token("POST", "agents", &format!("{json}Content-Length: 100000\r\n")) + &"[".repeat(100_000),
            &[400],
            true,
        ),
        one("a strange method", with_token("FROBNICATE", "agents", ""), &[405], true),
        one("a strange path", with_token("GET", "no/such/path", ""), &[404], true),
        one("a wrong range", with_token("GET", "leases?limit=1000000", ""), &[400], true),
        one("a wrong cursor", with_token("GET", "leases?after=99999999999999.1", ""), &[400], true),
        one("no token", "GET /api/v1/leases HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), &[401], true),
        one("a foreign host", "GET /api/v1/leases HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned(), &[421], true),
        one("no host", "GET /api/v1/leases HTTP/1.1\r\n\r\n".to_owned(), &[400, 421], true),
    ]
}

#[test]
fn hostile_requests_get_the_right_status_in_the_one_shape_and_cost_no_call() {
    let mut scene = Scene::new();
    let (files, memory) = (scene.descriptors(), scene.memory());
    let mut wrong = Vec::new();
    for Hostile { what, request, statuses, shaped } in hostile() {
        let mut stream = scene.tcp();
        let mut writer = stream.try_clone().unwrap();
        // Who is refused early may not be read to the end.
        let sends = std::thread::spawn(move || drop(writer.write_all(&request)));
        match answer(&mut stream) {
            Ok((status, body)) if statuses.contains(&status) && (!shaped || is_refusal(&body)) => {}
            other => wrong.push(format!("{what}: {other:?}, not {statuses:?}")),
        }
        let _ = stream.shutdown(std::net::Shutdown::Both);
        sends.join().unwrap();
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    until("the descriptors", Duration::from_secs(20), || (scene.descriptors() <= files + 4).then_some(()));
    let now = scene.memory();
    assert!(now <= memory + 64 * 1024, "{memory} KiB became {now}");
    scene.everybody_was_connected(40);
}

#[test]
fn requests_in_a_pipeline_are_answered_in_their_order() {
    let scene = Scene::new();
    let mut stream = scene.tcp();
    let paths = ["alarms", "leases?limit=1", "no/such", "leases?limit=0", "trunks"];
    let many: String = (0..100).map(|n| with_token("GET", paths[n % paths.len()], "")).collect();
    let mut writer = stream.try_clone().unwrap();
    let sends = std::thread::spawn(move || writer.write_all(many.as_bytes()).unwrap());
    for n in 0..100 {
        let (status, body) = answer(&mut stream).expect("an answer");
        assert_eq!(status, [200, 200, 404, 400, 200][n % paths.len()], "{n}: {body}");
    }
    sends.join().unwrap();
    scene.everybody_was_connected(1);
}

#[test]
fn ten_thousand_wrong_tokens_open_nothing_and_cost_no_call() {
    const EACH: usize = 1_250;
    let scene = Scene::new();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let scene = &scene;
            scope.spawn(move || {
                let mut stream = scene.tcp();
                for n in 0..EACH {
                    // From nothing right to all but one letter right.
                    let right = &TOKEN[..n % TOKEN.len()];
                    let head = format!("GET /api/v1/leases HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {right}");
                    stream.write_all(format!("{head}-{thread}-{n}\r\n\r\n").as_bytes()).unwrap();
                    let (status, body) = answer(&mut stream).expect("an answer");
                    assert!(matches!(status, 401 | 429) && is_refusal(&body), "{status} {body}");
                }
            });
        }
    });
    let mut stream = scene.tcp();
    stream.write_all(with_token("GET", "leases?limit=1", "").as_bytes()).unwrap();
    assert_eq!(answer(&mut stream).expect("an answer").0, 200);
    scene.everybody_was_connected(10);
}

#[test]
fn lists_of_many_leases_over_and_over_cost_no_call() {
    let mut scene = Scene::new();
    let memory = scene.memory();
    let (stop, lists) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..6 {
            let (scene, stop, lists) = (&scene, &stop, &lists);
            scope.spawn(move || {
                let mut stream = scene.tcp();
                while !stop.load(Ordering::Relaxed) {
                    let (mut after, mut seen) = (String::new(), 0);
                    loop {
                        stream.write_all(with_token("GET", &format!("leases?limit=1000{after}"), "").as_bytes()).unwrap();
                        let (status, body) = answer(&mut stream).expect("an answer");
                        assert_eq!(status, 200, "{body}");
                        let page: Value = serde_json::from_str(&body).unwrap();
                        seen += page["items"].as_array().unwrap().len();
                        match page["next"].as_str() {
                            Some(next) => after = format!("&after={next}"),
                            None => break,
                        }
                    }
                    assert!(seen >= LEASES.leases as usize, "{seen} leases");
                    lists.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let while_calls_run = Deadline::after(Duration::from_secs(5));
        until("the time", Duration::from_secs(10), || while_calls_run.passed().then_some(()));
        stop.store(true, Ordering::Relaxed);
    });
    assert!(lists.load(Ordering::Relaxed) >= 6);
    let now = scene.memory();
    assert!(now <= memory + 64 * 1024, "{memory} KiB became {now}");
    scene.everybody_was_connected(40);
}

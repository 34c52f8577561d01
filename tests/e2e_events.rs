//! Server-sent events of the real daemon by HTTP, to the holder of a token: what changes is told, and nobody is named.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use common::clock::Deadline;
use common::psap::Psap;
use common::{Outgoing, Peer, Transport, World};
use serde_json::{Value, json};

const VIEWER: &str = "viewer-0123456789abcdef";
/// How long an event may take, with room for a machine that is busy.
const SOON: Duration = Duration::from_secs(20);

/// A reader of the stream, and everything it was told.
struct Listener {
    lines: BufReader<TcpStream>,
    heard: String,
}

impl Listener {
    fn new(world: &World) -> Self {
        let at = world.gateway.http().expect("HTTP");
        let mut stream = TcpStream::connect(at).expect("a connection");
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
        write!(stream, "GET /api/v1/events HTTP/1.1\r\nHost: {at}\r\nAuthorization: Bearer {VIEWER}\r\n\r\n").expect("a request");
        let mut listener = Self { lines: BufReader::new(stream), heard: String::new() };
        assert!(listener.line().starts_with("HTTP/1.1 200"), "{}", listener.heard);
        while !listener.line().is_empty() {}
        assert!(listener.heard.contains("content-type: text/event-stream"), "{}", listener.heard);
        listener
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line);
        assert!(matches!(read, Ok(1..)), "{read:?} after:\n{}", self.heard);
        self.heard.push_str(&line);
        line.trim_end().to_owned()
    }

    /// Waits for an event of this name that says so.
    fn hears(&mut self, name: &str, says: impl Fn(&Value) -> bool) {
        let (deadline, mut event) = (Deadline::after(SOON), String::new());
        while !deadline.passed() {
            let line = self.line();
            if let Some(name) = line.strip_prefix("event: ") {
                event = name.to_owned();
            }
            let data = line.strip_prefix("data: ").map(|data| serde_json::from_str(data).expect("JSON"));
            if event == name && data.is_some_and(|data| says(&data)) {
                return;
            }
        }
        panic!("no such event {name}:\n{}", self.heard);
    }
}

#[test]
fn a7_calls_alarms_and_trunks_are_told_as_they_change_and_nobody_is_named() {
    let world = World::with(Transport::Udp, |_, mut config| {
        config.more.push_str(&format!("[[http.token]]\nrole = \"viewer\"\nvalue = \"{VIEWER}\"\n"));
        config.agent("canary-alice", "name = \"Alice Wren\"\ncontacts = \"lead@canary.example.com\"")
    });
    let mut pbx = Peer::udp(world.pbx());
    let psap = Psap::start(world.trunk_a(), world.trunk_a());
    let mut listener = Listener::new(&world);

    let call = Outgoing::new(world.at(), "canary-alice", &world.uri("911"));
    pbx.invite(&call);
    let answer = pbx.response_within("INVITE", 200, Duration::from_secs(10));
    let mut dialog = pbx.ack(&call, &answer);
    listener.hears("calls", |data| *data == json!({"emergency": 1, "ordinary": 0}));
    pbx.in_dialog(&mut dialog, "BYE", "");
    pbx.response("BYE", 200);
    listener.hears("calls", |data| *data == json!({"emergency": 0, "ordinary": 0}));

    world.gateway.reload(|text| text.replace("[routing]", "[rooting]"));
    listener.hears("alarm", |data| data["state"] == "raised");
    world.gateway.reload(|text| text.replace("[rooting]", "[routing]"));
    listener.hears("alarm", |data| data["state"] == "cleared");

    // Nobody is at the second trunk.
    world.gateway.reload(|text| text.replace("options = \"0s\"", "options = \"1s\""));
    let is_down = |trunk: &Value| trunk["name"] == "carrier-b" && trunk["up"] == false;
    listener.hears("alarm", |data| *data == json!({"name": "trunk_down", "state": "raised"}));
    listener.hears("trunks", |data| data["trunks"].as_array().is_some_and(|trunks| trunks.iter().any(is_down)));

    let number = psap.legs().into_iter().next().expect("a call").number;
    for secret in ["canary", "Wren", "lead@", "911", "4255550", "2065550", "@", number.as_str()] {
        let told = listener.heard.lines().find(|line| line.starts_with("data:") && line.contains(secret));
        assert!(told.is_none(), "{secret} was told: {}", told.unwrap_or_default());
    }
}

//! What the state directory holds: ordinary records, edits that were acknowledged, damaged databases that were set aside.
#[macro_use]
mod common;

use common::clock::until;
use common::{Config, Gateway, Net, Outgoing, Peer, Transport};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A request over the admin socket; the status and what came back.
fn ask(gateway: &Gateway, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let mut stream = UnixStream::connect(gateway.state().join("admin.sock")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let length = body.len();
    let head = format!("{method} /api/v1/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    write!(stream, "{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
}

/// The ids of the records.
fn records(gateway: &Gateway) -> Vec<String> {
    let (status, list) = ask(gateway, "GET", "records", &Value::Null);
    assert_eq!(status, 200, "{list}");
    list["items"].as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap().to_owned()).collect()
}

fn config(net: &Net, more: &str) -> Config {
    let mut config = Config::new(net, Transport::Udp).agent("alice", "");
    config.more.push_str(more);
    config
}

/// So many ordinary calls for which there is no route.
fn calls(net: &Net, gateway: &Gateway, count: usize) {
    let mut pbx = Peer::udp(net.sip(10));
    for _ in 0..count {
        let call = Outgoing::new(gateway.at(Transport::Udp), "alice", &format!("sip:77@{}", gateway.at(Transport::Udp)));
        pbx.invite(&call);
        let refused = pbx.response("INVITE", 404);
        pbx.ack(&call, &refused);
    }
}

/// How many records a database that nobody uses holds.
fn rows_of_records(state: &Path) -> i64 {
    let db = rusqlite::Connection::open(state.join("e911d.db")).unwrap();
    db.query_row("SELECT count(*) FROM record", [], |row| row.get(0)).unwrap()
}

#[test]
fn a7_records_are_there_after_a_restart_and_no_more_are_on_the_disk_than_are_kept() {
    let net = Net::take();
    let mut gateway = Gateway::start(&config(&net, "[records]\nkeep = 12\n"));
    calls(&net, &gateway, 20);
    until("all of them", Duration::from_secs(10), || (records(&gateway).last()? == "0000000000000014").then_some(()));
    let before = records(&gateway);
    assert_eq!(before.len(), 12);
    gateway.child().terminate(Duration::from_secs(6));
    assert_eq!(rows_of_records(&gateway.state()), 12);
    gateway.start_again(&[]);
    assert_eq!(records(&gateway), before);
    // New ones are numbered on, and take the place of the oldest.
    calls(&net, &gateway, 2);
    until("two more", Duration::from_secs(10), || (records(&gateway).last()? == "0000000000000016").then_some(()));
    gateway.child().terminate(Duration::from_secs(6));
    assert_eq!(rows_of_records(&gateway.state()), 12);
    gateway.start_again(&[]);
    assert_eq!(records(&gateway)[..10], before[2..]);
}

#[test]
fn a7_records_of_a_damaged_database_that_can_be_read_are_kept() {
    let net = Net::take();
    let mut gateway = Gateway::start(&config(&net, ""));
    calls(&net, &gateway, 3);
    until("all of them", Duration::from_secs(10), || (records(&gateway).len() == 3).then_some(()));
    let before = records(&gateway);
    gateway.child().terminate(Duration::from_secs(6));
    let db = rusqlite::Connection::open(gateway.state().join("e911d.db")).unwrap();
    db.execute("INSERT INTO presence(key, value, sum) VALUES('x', x'00', 1)", []).unwrap();
    drop(db);
    gateway.start_again(&[]);
    assert!(gateway.log().contains("the database is damaged"), "{}", gateway.log());
    assert_eq!(records(&gateway), before);
}

#[test]
fn an_edit_that_was_acknowledged_is_there_after_a_kill() {
    let net = Net::take();
    let mut gateway = Gateway::start(&config(&net, ""));
    for n in 0..10 {
        let id = format!("new-{n}");
        let (status, answer) = ask(&gateway, "PUT", &format!("agents/{id}"), &json!({ "identity": [id], "peer": "pbx" }));
        assert_eq!(status, 201, "{answer}");
        gateway.start_again(&[]);
        let (status, _) = ask(&gateway, "GET", &format!("agents/{id}"), &Value::Null);
        assert_eq!(status, 200, "round {n}: an acknowledged agent is lost");
    }
}

#[test]
fn a7_a_damaged_database_that_was_set_aside_is_deleted_after_the_longest_quarantine() {
    let net = Net::take();
    let mut gateway = Gateway::start(&config(&net, "").scaled(24 * 1200));
    gateway.child().terminate(Duration::from_secs(6));
    let state = gateway.state();
    std::fs::write(state.join("e911d.db"), "canary".repeat(2000)).unwrap();
    let copies = || {
        let files = std::fs::read_dir(&state).unwrap().flatten();
        files.filter(|f| f.file_name().to_string_lossy().contains(".damaged-")).count()
    };
    gateway.start_again(&[]);
    assert!(copies() > 0, "{}", gateway.log());
    until("its end", Duration::from_secs(15), || (copies() == 0).then_some(()));
    let said =
        until("the log", Duration::from_secs(5), || gateway.log().lines().rfind(|l| l.contains("deleted")).map(str::to_owned));
    assert!(!said.contains("canary"), "{said}");
}

#[test]
fn a8_an_agent_who_is_changed_and_deleted_while_her_lease_runs_is_called_back_at_her_devices_of_then() {
    let net = Net::take();
    let mut gateway = Gateway::start(&config(&net, ""));
    let at = gateway.at(Transport::Udp);
    let (mut pbx, mut trunk) = (Peer::udp(net.sip(10)), Peer::udp(net.sip(21)));
    let (mut old, mut new) = (Peer::udp(net.sip(31)), Peer::udp(net.sip(32)));
    let document = |host| json!({ "identity": ["dora"], "peer": "pbx", "devices": [format!("sip:dora@{}", net.sip(host))] });
    let (status, answer) = ask(&gateway, "PUT", "agents/dora", &document(31));
    assert_eq!(status, 201, "{answer}");

    let call = Outgoing::new(at, "dora", &format!("sip:911@{at}"));
    pbx.invite(&call);
    let invite = trunk.request("INVITE");
    let number = invite.user_of("From").to_owned();
    trunk.answer(&invite, "psap");
    let answer = pbx.response("INVITE", 200);
    let mut dialog = pbx.ack(&call, &answer);
    trunk.request("ACK");
    pbx.in_dialog(&mut dialog, "BYE", "");
    let bye = trunk.request("BYE");
    trunk.reply(&bye, "200 OK", "", "", "");

    let called_back = |trunk: &mut Peer, old: &mut Peer| {
        let back = Outgoing::new(at, "+12065559111", &format!("sip:{number}@{at}")).header("Priority: psap-callback");
        trunk.invite(&back);
        let ring = old.request("INVITE");
        assert_eq!(ring.user_of("To"), number);
        old.answer(&ring, "old");
        let answer = trunk.response("INVITE", 200);
        let mut dialog = trunk.ack(&back, &answer);
        old.request("ACK");
        trunk.in_dialog(&mut dialog, "BYE", "");
        let bye = old.request("BYE");
        old.reply(&bye, "200 OK", "", "", "");
        trunk.response("BYE", 200);
    };
    called_back(&mut trunk, &mut old);
    let (status, answer) = ask(&gateway, "PUT", "agents/dora", &document(32));
    assert_eq!(status, 200, "{answer}");
    called_back(&mut trunk, &mut old);
    let (status, answer) = ask(&gateway, "DELETE", "agents/dora", &Value::Null);
    assert_eq!(status, 204, "{answer}");
    assert_eq!(ask(&gateway, "GET", "agents/dora", &Value::Null).0, 404);
    called_back(&mut trunk, &mut old);
    gateway.start_again(&[]);
    assert_eq!(ask(&gateway, "GET", "agents/dora", &Value::Null).0, 404);
    called_back(&mut trunk, &mut old);
    new.nothing("INVITE", Duration::from_millis(200));
}

//! `e911d demo`, as a newcomer runs it.

use std::process::{Command, Output};

fn demo() -> Output {
    Command::new(env!("CARGO_BIN_EXE_e911d")).arg("demo").env("LC_ALL", "C.UTF-8").output().expect("the program runs")
}

#[test]
fn the_demo_sees_every_step_on_the_wire() {
    let output = demo();
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let mut rest = text.as_str();
    for words in [
        "This is the whole config",
        "[[voice_route]]",
        "e911d is ready",
        "1  Alice dials 911",
        "carrier-b (PSAP)",
        "INVITE 911",
        "2  e911d is killed",
        "3  The line drops",
        "BYE",
        "4  Somebody else calls Alice",
        "486 Busy Here",
        "5  The PSAP calls back",
        "psap-callback",
        "6  Alice hangs up",
        "Expires: 0",
        "What each side saw on the wire",
        "Next:",
    ] {
        let at = rest.find(words).unwrap_or_else(|| panic!("no \"{words}\" at its place in:\n{text}"));
        rest = &rest[at..];
    }
    for words in
        ["503", "180 Ringing", "200 OK", "PUBLISH", "do not disturb", "From: alice", "+14255550100", "+12065550100", "mail"]
    {
        assert!(text.contains(words), "no \"{words}\" in:\n{text}");
    }
    let seen = text.lines().filter(|l| l.contains('✓')).count();
    assert!(seen >= 19 && !text.contains('✗'), "{text}");
    assert!(!text.contains('\x1b'), "colours without a terminal:\n{text}");
    assert!(output.stderr.is_empty());
}

#[test]
fn the_demo_is_plain_where_the_terminal_is() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_e911d"));
    let output = command.arg("demo").env("LC_ALL", "C").output().expect("the program runs");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{text}");
    assert!(text.is_ascii(), "{text}");
    assert!(text.lines().all(|l| l.len() <= 80), "{text}");
}

#[test]
fn the_demo_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_e911d"));
    let output = command.arg("demo").env("TMPDIR", dir.path()).output().expect("the program runs");
    assert!(output.status.success());
    let left: Vec<_> = std::fs::read_dir(dir.path()).expect("readable").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_panel_is_served_until_somebody_stops_it() {
    use std::io::{BufRead, BufReader, Read, Write};
    let mut command = Command::new(env!("CARGO_BIN_EXE_e911d"));
    let mut demo = command.args(["demo", "--panel"]).stdout(std::process::Stdio::piped()).spawn().expect("the program runs");
    let mut lines = BufReader::new(demo.stdout.take().expect("a pipe")).lines().map(|l| l.expect("text"));
    let line = lines.find(|l| l.contains("http://localhost:")).expect("an address");
    let port = line.split("localhost:").nth(1).and_then(|rest| rest.split('/').next()?.parse::<u16>().ok()).expect("a port");
    let mut page = std::net::TcpStream::connect(("127.0.0.1", port)).expect("it is served");
    write!(page, "GET /panel HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n").expect("asked");
    let mut text = String::new();
    page.read_to_string(&mut text).expect("answered");
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("/panel/panel.js"), "{text}");
    let id = rustix::process::Pid::from_raw(demo.id().cast_signed()).expect("a process");
    rustix::process::kill_process(id, rustix::process::Signal::INT).expect("it runs");
    assert!(demo.wait().expect("its end").success());
}

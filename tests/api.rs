//! The admin socket and the HTTP API of the real daemon.
#[macro_use]
mod common;

use common::{Config, Gateway, Net, Transport};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

const VIEWER: &str = "viewer-0123456789abcdef";
const OPERATOR: &str = "operator-0123456789abcdef";
const AGENT: &str = "agent-0123456789abcdef";

/// A daemon with a token for each role.
fn daemon() -> (Net, Gateway) {
    daemon_with("")
}

fn daemon_with(more: &str) -> (Net, Gateway) {
    let net = Net::take();
    let mut config = Config::new(&net, Transport::Udp).agent("alice", "number = \"+12065550001\"").agent("bob", "");
    for (role, value) in [("viewer", VIEWER), ("operator", OPERATOR), ("agent", AGENT)] {
        config.more.push_str(&format!("[[http.token]]\nrole = \"{role}\"\nvalue = \"{value}\"\n"));
    }
    config.more.push_str(more);
    let gateway = Gateway::start(&config);
    (net, gateway)
}

struct Answer {
    status: u16,
    head: String,
    body: Value,
}

fn exchange(mut stream: impl Read + Write, request: &str) -> Answer {
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = Vec::new();
    stream.read_to_end(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_lowercase(), body: serde_json::from_str(body).unwrap_or(Value::Null) }
}

fn request(method: &str, path: &str, host: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
}

fn tcp(gateway: &Gateway, method: &str, path: &str, headers: &str) -> Answer {
    let at = gateway.http().unwrap();
    exchange(TcpStream::connect(at).unwrap(), &request(method, path, &at.to_string(), headers, ""))
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

fn socket(gateway: &Gateway, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let stream = UnixStream::connect(gateway.state().join("admin.sock")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    exchange(stream, &request(method, path, "localhost", headers, body))
}

fn get(gateway: &Gateway, path: &str) -> Value {
    let answer = socket(gateway, "GET", &format!("/api/v1/{path}"), "", "");
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.body
}

/// Runs a command against this daemon: exit code, stdout, stderr.
fn e911d(gateway: &Gateway, words: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_e911d"));
    command.args(words).arg("-c").arg(gateway.config_file());
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

const LISTS: [&str; 7] = ["agents", "outbox", "trunks", "alarms", "records", "leases", "calls"];

#[test]
fn on_the_socket_whoever_can_open_it_is_an_operator_and_every_list_has_one_shape() {
    let (_net, gateway) = daemon();
    for path in LISTS {
        let list = get(&gateway, path);
        assert!(list["items"].is_array() && list["next"].is_null(), "{path}: {list}");
        assert_eq!(list.as_object().unwrap().len(), 2, "{path}: {list}");
    }
    let agents = get(&gateway, "agents");
    assert_eq!(agents["items"][0]["id"], "alice");
    assert_eq!(agents["items"][0]["number"], "+12065550001");
    assert_eq!(get(&gateway, "agents?limit=1")["next"], "alice");
    assert_eq!(get(&gateway, "agents?limit=1&after=alice")["items"][0]["id"], "bob");
    assert_eq!(get(&gateway, "trunks")["items"][0]["name"], "carrier-a");
}

#[test]
fn on_tcp_a_token_says_who_asks_and_its_role_what_it_may_see() {
    let (_net, gateway) = daemon();
    let status = |path: &str, token: &str| tcp(&gateway, "GET", &format!("/api/v1/{path}"), token).status;
    for path in LISTS.iter().chain(&["openapi.json", "nothing"]) {
        assert_eq!(status(path, ""), 401, "{path}");
        assert_eq!(status(path, &bearer("operator-0123456789abcdeX")), 401, "{path}");
    }
    for path in LISTS {
        let private = matches!(path, "calls" | "leases");
        assert_eq!(status(path, &bearer(OPERATOR)), 200, "{path}");
        assert_eq!(status(path, &bearer(VIEWER)), if private { 403 } else { 200 }, "{path}");
        assert_eq!(status(path, &bearer(AGENT)), 403, "{path}");
    }
    let refused = tcp(&gateway, "GET", "/api/v1/calls", "");
    assert!(refused.head.contains("www-authenticate: bearer"), "{}", refused.head);
    assert_eq!(refused.body["error"]["code"], "unauthorized");
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(tcp(&gateway, "GET", path, "").status, 200, "{path}");
    }
}

#[test]
fn pages_of_somebody_else_are_kept_out_by_host_and_origin() {
    let (_net, gateway) = daemon();
    let at = gateway.http().unwrap();
    let token = bearer(OPERATOR);
    let asked = |host: &str, headers: &str| {
        exchange(TcpStream::connect(at).unwrap(), &request("GET", "/api/v1/agents", host, &format!("{token}{headers}"), ""))
            .status
    };
    assert_eq!(asked("evil.example", ""), 421);
    assert_eq!(asked(&at.to_string(), "Origin: https://evil.example\r\n"), 403);
    assert_eq!(asked(&at.to_string(), &format!("Origin: http://{at}\r\n")), 200);
}

#[test]
fn every_refusal_has_one_shape_and_the_right_status() {
    let (_net, gateway) = daemon();
    for (method, path, status, field) in [
        ("GET", "nothing", 404, ""),
        ("GET", "agents/nobody", 404, ""),
        ("POST", "calls", 405, ""),
        ("DELETE", "trunks", 405, ""),
        ("GET", "calls?limit=0", 400, "limit"),
        ("GET", "agents?limit=x", 400, "limit"),
        ("GET", "leases?after=x", 400, "after"),
        ("GET", "calls?after=x", 400, "after"),
        ("GET", "records?after=x", 400, "after"),
        ("GET", "trunks?after=x", 400, "after"),
        ("GET", "openapi.json?x=y", 400, ""),
        ("GET", "agents/%ff", 400, ""),
    ] {
        let answer = socket(&gateway, method, &format!("/api/v1/{path}"), "", "");
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        let error = &answer.body["error"];
        assert!(error["code"].is_string() && !error["message"].as_str().unwrap().is_empty(), "{method} {path}: {}", answer.body);
        assert_eq!(error["field"], field, "{method} {path}: {}", answer.body);
    }
}

#[test]
fn the_commands_say_what_the_api_says_as_tables_and_as_json() {
    let (_net, gateway) = daemon();
    let (code, table, _) = e911d(&gateway, &["trunks"]);
    assert_eq!(code, 0);
    assert!(table.starts_with("NAME") && table.contains("carrier-a  direct-routing  unknown"), "{table}");
    for path in LISTS {
        let (code, text, errors) = e911d(&gateway, &[path, "--json"]);
        assert_eq!(code, 0, "{path}: {errors}");
        let list: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(list, json!({"items": get(&gateway, path)["items"]}), "{path}");
    }
    let url = format!("http://{}", gateway.http().unwrap());
    let (code, _, errors) = e911d(&gateway, &["leases", "--url", &url]);
    assert_eq!((code, errors.contains("token")), (1, true), "{errors}");
    let (code, _, errors) = e911d(&gateway, &["leases", "--socket", "/nonexistent/admin.sock"]);
    assert_eq!((code, errors.contains("no daemon answers")), (1, true), "{errors}");
}

#[test]
fn b3_without_a_state_directory_calls_are_taken_and_there_is_no_admin_socket() {
    let net = Net::take();
    let config = Config::new(&net, Transport::Udp).agent("alice", "");
    let gateway = Gateway::start_with_state(&config, std::path::Path::new("/proc/e911d"));
    let answer = tcp(&gateway, "GET", "/readyz", "");
    assert_eq!(answer.status, 200);
    assert!(gateway.log().contains("no admin.sock"), "{}", gateway.log());
}

fn put(gateway: &Gateway, id: &str, headers: &str, body: &Value) -> Answer {
    let headers = format!("Content-Type: application/json\r\n{headers}");
    socket(gateway, "PUT", &format!("/api/v1/agents/{id}"), &headers, &body.to_string())
}

fn etag(answer: &Answer) -> String {
    answer.head.lines().find_map(|l| l.strip_prefix("etag: ")).expect("an etag").to_owned()
}

#[test]
fn an_agent_is_added_and_changed_and_removed_at_run_time_and_known_to_the_calls_at_once() {
    let (_net, gateway) = daemon();
    let added = put(
        &gateway,
        "carol",
        "If-None-Match: *\r\n",
        &json!({"peer": "pbx", "contacts": "a@example.com", "password": "secret"}),
    );
    assert_eq!(added.status, 201, "{}", added.body);
    assert_eq!((&added.body["source"], &added.body["has_password"]), (&json!("runtime"), &json!(true)));
    assert!(!added.body.to_string().contains("secret"));
    let again = put(&gateway, "carol", "If-None-Match: *\r\n", &json!({}));
    assert_eq!((again.status, &again.body["error"]["code"]), (412, &json!("exists")));

    let (code, _, errors) =
        e911d(&gateway, &["agent", "set", "carol", "--contacts", "b@example.com; c@example.com", "--clear", "peer"]);
    assert_eq!(code, 0, "{errors}");
    let carol = get(&gateway, "agents/carol");
    assert_eq!(carol["contacts"], "b@example.com; c@example.com");
    assert!(carol.get("peer").is_none() && carol["has_password"] == true, "{carol}");

    assert_eq!(e911d(&gateway, &["agent", "remove", "carol"]).0, 0);
    assert_eq!(socket(&gateway, "GET", "/api/v1/agents/carol", "", "").status, 404);
    assert_eq!(socket(&gateway, "DELETE", "/api/v1/agents/carol", "", "").status, 404);
}

#[test]
fn of_two_operators_who_edit_at_once_the_second_is_told() {
    let (_net, gateway) = daemon();
    let read = put(&gateway, "carol", "", &json!({}));
    let tag = format!("If-Match: {}\r\n", etag(&read));
    assert_eq!(put(&gateway, "carol", &tag, &json!({"name": "first"})).status, 200);
    let second = put(&gateway, "carol", &tag, &json!({"name": "second"}));
    assert_eq!((second.status, &second.body["error"]["code"]), (412, &json!("changed")));
    assert_eq!(get(&gateway, "agents/carol")["name"], "first");
}

#[test]
fn p10_an_agent_is_checked_as_the_config_is_and_ids_in_the_config_win() {
    let (_net, gateway) = daemon();
    for (body, field) in [
        (json!({"country": "GB"}), ""),
        (json!({"number": "+14255550100"}), "number"),
        (json!({"number": 7}), "number"),
        (json!({"colour": "red"}), "colour"),
        (json!({"peer": "nobody"}), "peer"),
        (json!({"devices": ["sip:a@10.0.0.1", "x"]}), "devices[1]"),
        (json!({"password_file": "/etc/passwd"}), "password_file"),
        (json!({"id": "dave"}), "id"),
    ] {
        let answer = put(&gateway, "carol", "", &body);
        assert_eq!(answer.status, 422, "{body}: {}", answer.body);
        if !field.is_empty() {
            assert_eq!(answer.body["error"]["field"], field, "{body}: {}", answer.body);
        }
    }
    assert_eq!(put(&gateway, "alice", "", &json!({})).status, 409);
    assert_eq!(get(&gateway, "agents")["items"].as_array().unwrap().len(), 2);
    let broken = socket(&gateway, "PUT", "/api/v1/agents/x", "Content-Type: application/json\r\n", "{");
    assert_eq!((broken.status, &broken.body["error"]["code"]), (400, &json!("unreadable")));
    let untyped = socket(&gateway, "PUT", "/api/v1/agents/x", "", "{}");
    assert_eq!(untyped.status, 415);
    let large = socket(&gateway, "PUT", "/api/v1/agents/x", "Content-Type: application/json\r\n", &" ".repeat(1024 * 1024 + 1));
    assert_eq!((large.status, large.body["error"]["code"].is_string()), (413, true));
}

#[test]
fn an_import_is_taken_whole_or_not_at_all_and_every_wrong_row_is_named_with_its_line() {
    let (_net, gateway) = daemon();
    let dir = tempfile::tempdir().unwrap();
    let import = |name: &str, text: &str| {
        let file = dir.path().join(name);
        std::fs::write(&file, text).unwrap();
        e911d(&gateway, &["agent", "import", file.to_str().unwrap()])
    };
    let count = || get(&gateway, "agents")["items"].as_array().unwrap().len();
    let (code, _, errors) = import("a.csv", "id,peer,number\ncarol,pbx,\ndave,nobody,\nerin,,+14255550100\ncarol,,\n");
    assert_eq!((code, count()), (1, 2), "{errors}");
    assert!(errors.contains("line 5: id"), "{errors}");
    let (code, _, errors) = import("a.csv", "id,peer,number\ncarol,pbx,\ndave,nobody,\nerin,,+14255550100\nalice,,\n");
    assert_eq!((code, count()), (1, 2), "{errors}");
    assert!(errors.contains("line 5"), "{errors}");
    let (code, _, errors) = import("a.csv", "id,peer,number\ncarol,pbx,\ndave,nobody,\nerin,,+14255550100\n");
    assert_eq!((code, count()), (1, 2), "{errors}");
    assert!(errors.contains("line 3: peer") && errors.contains("line 4: number"), "{errors}");

    let (code, said, errors) =
        import("a.csv", "id,peer,devices,location.room\ncarol,pbx,sip:c@127.0.0.1 | sip:d@127.0.0.1,7\ndave,,,\n");
    assert_eq!((code, said.as_str(), count()), (0, "2 agents taken\n", 4), "{errors}");
    for format in ["csv", "json"] {
        let (_, exported, _) = e911d(&gateway, &["agent", "export", "--format", format]);
        assert_eq!(e911d(&gateway, &["agent", "remove", "carol"]).0, 0);
        let (code, said, errors) = import(&format!("b.{format}"), &exported);
        assert_eq!((code, said.as_str(), count()), (0, "2 agents taken\n", 4), "{format}: {errors}\n{exported}");
    }
    assert_eq!(get(&gateway, "agents/carol")["devices"], json!(["sip:c@127.0.0.1", "sip:d@127.0.0.1"]));
    let (code, _, errors) = import("c.json", "[\n{\"id\":\"x\"},\n{\"id\":\"y\",\"peer\":\"nobody\"}\n]");
    assert_eq!((code, errors.contains("line 3: peer")), (1, true), "{errors}");
    // Contacts that are none do not keep an agent out (RULES A4), but are not passed over in silence either.
    let (code, said, errors) = import("d.csv", "id,contacts\ncarol,a@x.test;;bad ;b@y.test\ndave,c@x.test\n");
    let told = "2 agents taken\nline 2: contacts: entry 3 is no mail address and is told nothing\n";
    assert_eq!((code, said.as_str()), (0, told), "{errors}");
}

#[test]
fn a1_presence_is_shown_and_set_and_by_the_agents_token_too() {
    let (_net, gateway) = daemon();
    let (code, _, errors) = e911d(&gateway, &["presence", "alice", "busy", "--note", "at lunch"]);
    assert_eq!(code, 0, "{errors}");
    let shown = get(&gateway, "agents/alice/presence");
    assert_eq!((&shown["state"], &shown["note"], &shown["emergency"]), (&json!("busy"), &json!("at lunch"), &json!(false)));
    let path = "/api/v1/agents/alice/presence";
    assert_eq!(tcp(&gateway, "GET", path, &bearer(AGENT)).body["state"], "busy");
    assert_eq!(tcp(&gateway, "PUT", path, &bearer(VIEWER)).status, 403);
    let set = |body: &str| socket(&gateway, "PUT", path, "Content-Type: application/json\r\n", body);
    for (body, status) in
        [("{}", 422), ("{\"state\":\"x\"}", 422), ("{\"state\":7}", 422), ("[", 400), ("{\"state\":\"dnd\"}", 200)]
    {
        assert_eq!(set(body).status, status, "{body}");
    }
    assert_eq!(socket(&gateway, "POST", "/api/v1/agents/alice/dismiss", "", "").status, 204);
    assert_eq!(socket(&gateway, "POST", "/api/v1/agents/nobody/dismiss", "", "").status, 404);
    assert_eq!(socket(&gateway, "GET", "/api/v1/agents/nobody/presence", "", "").status, 404);
}

const TEMPLATE: &str = "Subject: 911 by {{ agent_name }}\n\n{{ agent_name }} dialed {{ dialed }} at {{ time }}. {{ callback_number }} {{ location }}\n";

#[test]
fn a5_a_template_is_edited_with_an_editor_and_no_text_is_lost() {
    let (_net, gateway) = daemon();
    let dir = tempfile::tempdir().unwrap();
    let wanted = dir.path().join("wanted");
    let edit = |text: &str| {
        std::fs::write(&wanted, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_e911d"));
        command.args(["template", "edit", "emergency", "-c"]).arg(gateway.config_file());
        command.env("VISUAL", format!("cp {}", wanted.display())).env("TMPDIR", dir.path());
        let output = command.stdin(std::process::Stdio::null()).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(edit(TEMPLATE), (0, String::new()));
    assert_eq!(get(&gateway, "templates/emergency")["text"], TEMPLATE);
    let bad = TEMPLATE.replace("dialed }}", "dialled }}");
    let (code, errors) = edit(&bad);
    assert!(code == 1 && errors.contains("line 3: column"), "{errors}");
    let kept = errors.rsplit("the text is in ").next().unwrap().trim();
    assert_eq!(std::fs::read_to_string(kept).unwrap(), bad);
    assert_eq!(get(&gateway, "templates/emergency")["text"], TEMPLATE);
    let (code, text, _) = e911d(&gateway, &["template", "preview", "emergency"]);
    assert!(code == 0 && text.starts_with("Subject: 911 by "), "{text}");
    assert_eq!(e911d(&gateway, &["template", "reset", "emergency"]).0, 0);
    assert_eq!(get(&gateway, "templates/emergency")["edited"], false);
}

#[test]
fn of_two_who_edit_a_template_at_once_the_second_is_told() {
    let (_net, gateway) = daemon();
    let path = "/api/v1/templates/emergency?language=en";
    let tag = etag(&socket(&gateway, "GET", path, "", ""));
    let put = |text: &str| {
        let headers = format!("Content-Type: application/json\r\nIf-Match: {tag}\r\n");
        socket(&gateway, "PUT", path, &headers, &json!({ "text": text }).to_string())
    };
    assert_eq!(put(TEMPLATE).status, 200);
    assert_eq!(put(&TEMPLATE.replace("at", "on")).status, 412);
    assert_eq!(socket(&gateway, "GET", "/api/v1/templates/nothing", "", "").status, 404);
    assert_eq!(socket(&gateway, "GET", "/api/v1/templates/test?language=xx", "", "").status, 400);
}

#[test]
fn what_was_edited_at_run_time_is_there_again_after_a_kill() {
    let (_net, mut gateway) = daemon();
    assert_eq!(put(&gateway, "carol", "", &json!({"contacts": "a@example.com", "password": "secret"})).status, 201);
    let headers = "Content-Type: application/json\r\n";
    let path = "/api/v1/templates/emergency";
    assert_eq!(socket(&gateway, "PUT", path, headers, &json!({ "text": TEMPLATE }).to_string()).status, 200);
    assert_eq!(socket(&gateway, "PUT", "/api/v1/agents/alice/presence", headers, "{\"state\":\"away\"}").status, 200);
    // What nobody waits for is durable a little later.
    std::thread::sleep(Duration::from_secs(1));
    gateway.start_again(&[]);
    let carol = get(&gateway, "agents/carol");
    assert_eq!((&carol["contacts"], &carol["has_password"]), (&json!("a@example.com"), &json!(true)));
    assert_eq!(get(&gateway, "templates/emergency")["text"], TEMPLATE);
    assert_eq!(get(&gateway, "agents/alice/presence")["state"], "away");
}

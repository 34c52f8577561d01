//! Webhooks to a real web server, Python's: notices, alarms, presence; and calls that none of it holds up.

mod common;

use common::child::Child;
use common::mailbox::Mailbox;
use common::{Net, Outgoing, Peer, Transport, World, require, until};
use e911d::io::notifier::failure::Failure;
use e911d::io::notifier::post::Hook;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(15);

/// Answers the first POST of every path with 503, hangs where the path says so, and writes down what came.
const SERVER: &str = r#"
import http.server, json, ssl, sys, time
class Hook(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen = set()
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.path == "/hang":
            time.sleep(60)
        status = 204 if self.path in self.seen else 503
        self.seen.add(self.path)
        line = {"path": self.path, "status": status, "key": self.headers["Idempotency-Key"], "type": self.headers["Content-Type"], "body": json.loads(body)}
        with open(sys.argv[3], "a") as out:
            out.write(json.dumps(line) + "\n")
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *args):
        pass
server = http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Hook)
if len(sys.argv) > 4:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[4] + "/cert.pem", sys.argv[4] + "/key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"#;

struct Server {
    dir: tempfile::TempDir,
    _child: Child,
}

impl Server {
    fn start(net: &Net) -> Self {
        Self::start_with(net, None)
    }

    /// With the certificate in this folder.
    fn start_with(net: &Net, tls: Option<&Path>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = SocketAddr::new(net.ip(80), 8080);
        let mut command = Command::new("python3");
        command.args(["-c", SERVER, &at.ip().to_string(), &at.port().to_string()]).arg(dir.path().join("seen")).args(tls);
        let child = Child::start("python3", command);
        common::net::wait_until_bound(Transport::Tcp, at);
        Self { dir, _child: child }
    }

    /// What came to a path so far.
    fn seen(&self, path: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.dir.path().join("seen")).unwrap_or_default();
        let all = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        all.filter(|seen| seen["path"] == path).collect()
    }

    /// What it took there, once there are so many.
    fn until_taken(&self, path: &str, count: usize) -> Vec<Value> {
        let taken = || -> Vec<Value> { self.seen(path).into_iter().filter(|s| s["status"] == 204).collect() };
        until(&format!("{count} of {path}"), SOON, || Some(taken()).filter(|t| t.len() >= count))
    }
}

fn hooked(net: &Net, notice: &str, alarm: &str, presence: &str, smtp: &str) -> String {
    let at = SocketAddr::new(net.ip(80), 8080);
    format!(
        "[notify]\nwebhook = \"http://{at}{notice}\"\nalarm_url = \"http://{at}{alarm}\"\n{smtp}\
         [presence]\nkind = \"webhook\"\nurl = \"http://{at}{presence}\"\nhold = \"60s\"\n"
    )
}

/// Alice dials 911, is answered, and hangs up.
fn call(world: &World, pbx: &mut Peer, trunk: &mut Peer) {
    let call = Outgoing::new(world.at(), "alice", &world.uri("911"));
    pbx.invite(&call);
    let invite = trunk.request("INVITE");
    trunk.answer(&invite, "psap");
    let answer = pbx.response("INVITE", 200);
    let mut near = pbx.ack(&call, &answer);
    trunk.request("ACK");
    pbx.in_dialog(&mut near, "BYE", "");
    let bye = trunk.request("BYE");
    trunk.reply(&bye, "200 OK", "", "", "");
    pbx.response("BYE", 200);
}

#[test]
fn a4_notices_alarms_and_presence_reach_a_web_server_each_once_it_takes_them() {
    require!("python3" from "python3");
    let world = World::with(Transport::Udp, |net, mut config| {
        config.more = hooked(net, "/notice", "/alarm", "/presence", "");
        config.agent("alice", "name = \"Alice Andersen\"").scaled(60)
    });
    let server = Server::start(&world.net);
    let mut pbx = Peer::udp(world.pbx());
    // Nobody is there yet.
    let lost = Outgoing::new(world.at(), "alice", &world.uri("911"));
    pbx.invite(&lost);
    pbx.final_response("INVITE", Duration::from_secs(45));
    let alarm = |state: &str| {
        let is_it = |a: &Value| a["body"]["name"] == "call_not_connected" && a["body"]["state"] == state && a["status"] == 204;
        until(&format!("the alarm to be {state}"), SOON, || server.seen("/alarm").into_iter().find(is_it))
    };
    assert_eq!(alarm("raised")["body"]["node"], "gw1");
    server.until_taken("/notice", 1);
    let mut trunk = Peer::udp(world.trunk_a());
    call(&world, &mut pbx, &mut trunk);
    alarm("cleared");

    let notices = server.until_taken("/notice", 4);
    let told: Vec<_> = notices.iter().map(|n| (n["body"]["kind"].as_str(), n["body"]["outcome"].as_str())).collect();
    for want in [(Some("outcome"), Some("not_connected")), (Some("emergency"), None), (Some("outcome"), Some("ended"))] {
        assert!(told.contains(&want), "{want:?} is not in {told:?}");
    }
    let emergency = notices.iter().find(|n| n["body"]["kind"] == "emergency").expect("one");
    let body = &emergency["body"];
    assert_eq!((&body["agent_id"], &body["agent_name"]), (&"alice".into(), &"Alice Andersen".into()));
    assert_eq!((&body["dialed"], &body["path"], &body["location"]), (&"911".into(), &"direct-routing".into(), &Value::Null));
    assert!(body["callback_number"].as_str().is_some_and(|n| n.starts_with("+1") && n.len() == 12), "{body}");
    assert!(body["text"].as_str().is_some_and(|t| t.contains("no location was sent")), "{body}");
    assert_eq!(emergency["type"], "application/json");
    assert!(emergency["key"].as_str().is_some_and(|k| k.starts_with('"') && k.contains(body["id"].as_str().unwrap_or("-"))));
    // The first POST got 503; what came again was the same.
    let all = server.seen("/notice");
    let refused = all.iter().find(|n| n["status"] == 503).expect("the first");
    let again: Vec<_> = all.iter().filter(|n| n["key"] == refused["key"] && n["status"] == 204).collect();
    assert_eq!((again.len(), &again[0]["body"]), (1, &refused["body"]));

    let shown = until("presence to be as before", SOON, || {
        server.seen("/presence").into_iter().rfind(|p| p["status"] == 204).filter(|p| p["body"]["emergency"] == false)
    });
    assert_eq!((&shown["body"]["agent"], &shown["body"]["state"]), (&"alice".into(), &"available".into()));
    let log = world.gateway.log();
    for word in ["Alice", "alice", "/notice", "8080"] {
        assert!(!log.contains(word), "{word} is in\n{log}");
    }
}

#[test]
fn p3_servers_that_hang_refuse_or_are_gone_touch_no_call_and_mail_arrives_once_there_is_one() {
    require!("python3" from "python3");
    let world = World::with(Transport::Udp, |net, mut config| {
        let smtp = format!(
            "smtp = \"smtp://{}:2525\"\nfrom = \"e911@example.com\"\nsite_contacts = \"a@x.example; ;bad ;B@y.example; a@X.example\"\n",
            net.ip(81)
        );
        config.more = hooked(net, "/hang", "/hang", "/hang", &smtp);
        config.agent("alice", "").scaled(60)
    });
    let server = Server::start(&world.net);
    let mut pbx = Peer::udp(world.pbx());
    let mut trunk = Peer::udp(world.trunk_a());
    // Nobody listens at the mail server's port.
    call(&world, &mut pbx, &mut trunk);
    until("the alarm", SOON, || world.gateway.log().contains("mail_failing").then_some(()));
    let mailbox = Mailbox::start_at(SocketAddr::new(world.net.ip(81), 2525));
    until("two mails for each of two contacts", SOON, || (mailbox.mails().len() >= 4).then_some(()));
    let mut to: Vec<_> = mailbox.mails().into_iter().map(|m| m.to).collect();
    to.sort();
    assert_eq!(to, ["B@y.example", "B@y.example", "a@x.example", "a@x.example"]);
    call(&world, &mut pbx, &mut trunk);
    assert!(server.seen("/hang").is_empty(), "it answered nothing yet");
    let log = world.gateway.log();
    assert!(log.contains("entries=[3]") && log.contains("count=1"), "{log}");
    assert!(!log.contains("example.com;") && !log.contains("a@x") && !log.contains("bad"), "{log}");
}

#[test]
fn a_mail_server_that_accepts_and_says_nothing_touches_no_call() {
    let world = World::with(Transport::Udp, |net, mut config| {
        config.more = format!(
            "[notify]\nsmtp = \"smtp://{}:2525\"\nfrom = \"e911@example.com\"\nsite_contacts = \"a@x.example; b@x.example\"\n",
            net.ip(81)
        );
        config.agent("alice", "").scaled(60)
    });
    let hole = TcpListener::bind(SocketAddr::new(world.net.ip(81), 2525)).unwrap();
    let mut pbx = Peer::udp(world.pbx());
    let mut trunk = Peer::udp(world.trunk_a());
    for _ in 0..3 {
        call(&world, &mut pbx, &mut trunk);
    }
    hole.set_nonblocking(true).unwrap();
    until("a connection of the first try", SOON, || hole.accept().ok());
}

/// A certificate for this address, signed by itself.
fn certificate(dir: &Path, ip: std::net::IpAddr) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=hooks"])
        .args(["-addext", &format!("subjectAltName=IP:{ip}"), "-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-out")
        .arg(dir.join("cert.pem"))
        .arg("-keyout")
        .arg(dir.join("key.pem"))
        .output();
    assert!(made.is_ok_and(|m| m.status.success()), "a certificate");
}

#[test]
fn a_webhook_goes_over_https_and_only_to_a_server_with_a_trusted_certificate() {
    require!("python3" from "python3", "openssl" from "openssl");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    for trusted in [false, true] {
        let world = World::with(Transport::Udp, |net, mut config| {
            certificate(&path, net.ip(80));
            if trusted {
                config.env = vec![("SSL_CERT_FILE", path.join("cert.pem").display().to_string())];
            }
            config.more = hooked(net, "/notice", "/alarm", "/presence", "").replace("http://", "https://");
            config.agent("alice", "").scaled(60)
        });
        let server = Server::start_with(&world.net, Some(&path));
        let (mut pbx, mut trunk) = (Peer::udp(world.pbx()), Peer::udp(world.trunk_a()));
        call(&world, &mut pbx, &mut trunk);
        if trusted {
            server.until_taken("/notice", 2);
        } else {
            until("it to fail", SOON, || world.gateway.log().contains("no TLS").then_some(()));
            assert!(server.seen("/notice").is_empty());
        }
    }
}

/// Answers and closes, as HTTP/1.0 does.
#[test]
fn an_answer_that_ends_with_its_connection_is_an_answer() {
    let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}/x?secret=1", listener.local_addr().unwrap());
    let answers = ["HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.1 302 Found\r\nLocation: /y\r\nConnection: close\r\n\r\n", "HTTP/1.1 ", ""];
    let server = std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).unwrap();
            assert!(request[..read].starts_with(b"POST /x?secret=1 HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let hook = Hook::new(&url).unwrap();
    let got = answers.map(|_| runtime.block_on(hook.post("k", b"{}".to_vec())));
    assert_eq!(got, [Ok(()), Err(Failure::Refused(302)), Err(Failure::Lost), Err(Failure::Lost)]);
    server.join().unwrap();
}

/// Reads a SIP body as a MIME entity and the location in it as XML, and prints what it finds.
const READ: &str = r#"
import email, email.policy, sys, xml.etree.ElementTree as ET
m = email.message_from_binary_file(open(sys.argv[1], "rb"), policy=email.policy.HTTP)
parts = {p.get_content_type(): p for p in m.walk()}
pidf = parts["application/pidf+xml"]
root = ET.fromstring(pidf.get_payload(decode=True))
ca = "{urn:ietf:params:xml:ns:pidf:geopriv10:civicAddr}"
address = root.find(".//" + ca + "civicAddress")
print(root.tag, root.attrib["entity"])
print(pidf["Content-ID"])
print(" ".join("%s=%s" % (e.tag.replace(ca, ""), e.text) for e in address))
print(root.find(".//{urn:ietf:params:xml:ns:pidf:geopriv10}method").text)
print(parts["application/sdp"].get_payload(decode=True).decode().split("\n")[0].strip())
"#;

fn parsed(content_type: &str, body: &[u8], dir: &Path) -> Vec<String> {
    let file = dir.join("body");
    let head = format!("MIME-Version: 1.0\r\nContent-Type: {content_type}\r\n\r\n");
    std::fs::write(&file, [head.as_bytes(), body].concat()).unwrap();
    let read = Command::new("python3").args(["-c", READ]).arg(&file).output().expect("python3");
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    String::from_utf8(read.stdout).expect("UTF-8").lines().map(str::to_owned).collect()
}

#[test]
fn an_added_location_is_read_by_a_mime_and_an_xml_parser_over_udp_and_tcp() {
    require!("python3" from "python3");
    let dir = tempfile::tempdir().unwrap();
    for transport in [Transport::Udp, Transport::Tcp] {
        let world = World::with(transport, |_, mut config| {
            config.trunks.iter_mut().for_each(|t| t.more = "location = \"pidf\"".to_owned());
            let place = "location = { house = \"1\", street = \"Smith & Sons' <Way> Rd\", city = \"Redmond\", state = \"WA\", zip = \"98052\", floor = \"2\", room = \"\u{fc}210\" }";
            config.agent("alice", place)
        });
        let mut trunk = Peer::at(transport, world.trunk_a());
        let mut pbx = Peer::calling(transport, world.pbx(), world.at());
        let call = Outgoing::new(world.at(), "alice", &world.uri("911"));
        pbx.invite(&call);
        let invite = trunk.request("INVITE");
        let number = invite.user_of("From").to_owned();
        let found = parsed(invite.header("Content-Type"), &invite.body, dir.path());
        assert_eq!(found[0], format!("{{urn:ietf:params:xml:ns:pidf}}presence pres:{number}@gw1.example.com"), "{found:?}");
        assert_eq!(format!("<cid:{}>", found[1].trim_matches(['<', '>'])), invite.header("Geolocation"));
        assert_eq!(found[2], "country=US A1=WA A3=Redmond RD=Smith & Sons' <Way> STS=Rd HNO=1 FLR=2 PC=98052 ROOM=\u{fc}210");
        assert_eq!((found[3].as_str(), found[4].as_str()), ("Manual", "v=0"));
        assert_eq!(invite.header("Geolocation-Routing"), "yes");
    }
}

#[test]
fn a4_a_mail_that_was_not_delivered_outlives_kill_9_and_arrives_once() {
    require!("python3" from "python3");
    let mut world = World::with(Transport::Udp, |net, mut config| {
        let smtp =
            format!("smtp = \"smtp://{}:2525\"\nfrom = \"e911@example.com\"\nsite_contacts = \"a@x.example\"\n", net.ip(81));
        config.more = hooked(net, "/notice", "/alarm", "/presence", &smtp);
        config.agent("alice", "").scaled(60)
    });
    let (mut pbx, mut trunk) = (Peer::udp(world.pbx()), Peer::udp(world.trunk_a()));
    call(&world, &mut pbx, &mut trunk);
    until("the notices to fail", SOON, || {
        (world.gateway.log().matches("a mail is not delivered yet").count() >= 4).then_some(())
    });
    std::thread::sleep(Duration::from_millis(500));
    world.gateway.start_again(&[]);
    let mailbox = Mailbox::start_at(SocketAddr::new(world.net.ip(81), 2525));
    let server = Server::start(&world.net);
    until("two mails", SOON, || (mailbox.mails().len() >= 2).then_some(()));
    let notices = server.until_taken("/notice", 2);
    let kinds: Vec<_> = notices.iter().map(|n| n["body"]["kind"].clone()).collect();
    assert!(kinds.contains(&"emergency".into()) && kinds.contains(&"outcome".into()), "{kinds:?}");
    let last = until("presence to be told", SOON, || server.until_taken("/presence", 1).pop());
    assert_eq!(last["body"]["emergency"], false, "{last}");
    until("the deliveries to be known", SOON, || {
        (world.gateway.log().matches("a mail is delivered").count() == 4 && world.gateway.log().contains("a state is told"))
            .then_some(())
    });
    // The store writes what it was handed.
    std::thread::sleep(Duration::from_millis(500));
    world.gateway.start_again(&[]);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!((mailbox.mails().len(), server.until_taken("/notice", 2).len()), (2, 2), "delivered ones are gone");
}

#[test]
fn b1_presence_is_told_once_although_the_gateway_is_killed_in_the_call_and_after_it() {
    require!("python3" from "python3");
    let mut world = World::with(Transport::Udp, |net, mut config| {
        config.more = hooked(net, "/notice", "/alarm", "/presence", "");
        config.agent("alice", "").scaled(60)
    });
    let (mut pbx, mut trunk) = (Peer::udp(world.pbx()), Peer::udp(world.trunk_a()));
    let call = Outgoing::new(world.at(), "alice", &world.uri("911"));
    pbx.invite(&call);
    let invite = trunk.request("INVITE");
    trunk.answer(&invite, "psap");
    let answer = pbx.response("INVITE", 200);
    let mut near = pbx.ack(&call, &answer);
    trunk.request("ACK");
    let kill = |world: &mut World| {
        std::thread::sleep(Duration::from_millis(400));
        world.gateway.start_again(&[]);
    };
    // Nobody is there to be told yet.
    kill(&mut world);
    let server = Server::start(&world.net);
    let states = |count: usize| {
        let taken = server.until_taken("/presence", count);
        taken.iter().map(|t| t["body"]["state"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(states(1), ["dnd"]);
    kill(&mut world);
    pbx.in_dialog(&mut near, "BYE", "");
    let bye = trunk.request("BYE");
    trunk.reply(&bye, "200 OK", "", "", "");
    pbx.response("BYE", 200);
    assert_eq!(states(2), ["dnd", "available"]);
    kill(&mut world);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(states(2), ["dnd", "available"]);
}

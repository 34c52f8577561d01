//! `conf/examples/`: every configuration passes `e911d check`, places 911, and says what it is; Kamailio's is run as it stands,
//! with its addresses replaced, among real phones.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::baresip::Answer;
use common::child::Child;
use common::story::{PSAP, shown_number};
use common::tls::{Authority, Issued, Openssl, client, server};
use common::{Baresip, Dnsmasq, Kamailio, Message, Net, Outgoing, Peer, Sipp, Transport, require, until};

const ALICES_NUMBER: &str = "+14255551234";
const SOMEBODY: &str = "+12125550123";

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/examples")
}

/// The folders: one for each neighbour.
fn folders() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(examples()).expect("conf/examples").flatten().map(|entry| entry.path());
    let mut folders: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    assert!(folders.len() >= 9, "{folders:?}");
    folders
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn e911d(words: &[&str], config: &Path) -> (Option<i32>, String) {
    let run = Command::new(env!("CARGO_BIN_EXE_e911d")).args(words).arg("-c").arg(config).output().expect("e911d");
    (run.status.code(), String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr))
}

#[test]
fn every_example_passes_check_without_a_warning_and_places_911() {
    let authority = Authority::new();
    let own = authority.issue("sbc", "DNS:sbc.example.com,DNS:sbc1.example.com", 30);
    let etc = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(etc.path().join("tls")).expect("made");
    std::fs::copy(&own.certificate, etc.path().join("tls/cert.pem")).expect("copied");
    std::fs::copy(&own.key, etc.path().join("tls/key.pem")).expect("copied");
    for provider in ["twilio", "telnyx"] {
        std::fs::write(etc.path().join(format!("{provider}.password")), "secret\n").expect("written");
    }
    let config = etc.path().join("e911d.toml");
    for folder in folders() {
        let text = read(&folder.join("e911d.toml"));
        std::fs::write(&config, text.replace("/etc/e911d", &etc.path().to_string_lossy())).expect("written");
        let name = folder.display();
        let (code, said) = e911d(&["check"], &config);
        assert_eq!(code, Some(0), "{name}: {said}");
        assert!(said.contains("it would start, with no warnings"), "{name}: {said}");
        assert!(said.contains("911 goes by route \"emergency\""), "{name}: {said}");
        let (code, said) = e911d(&["route", "911"], &config);
        assert_eq!(code, Some(0), "{name}: {said}");
    }
}

#[test]
fn no_example_writes_a_key_that_belongs_to_a_later_version() {
    for folder in folders() {
        let text = read(&folder.join("e911d.toml"));
        for line in text.lines() {
            let key = line.split('=').next().unwrap_or_default().trim();
            assert!(!["esinet", "answer", "endpoints", "[cluster]"].contains(&key), "{}: {line}", folder.display());
        }
    }
}

#[test]
fn every_file_says_what_it_is_from_and_whether_it_was_run() {
    for folder in folders() {
        let word = match folder.file_name().and_then(|name| name.to_str()) {
            Some("kamailio") => "run by ",
            Some("asterisk") => "tried by hand with asterisk 16.28",
            _ => "written from documentation, not run",
        };
        let head = |path: &Path| read(path).lines().take(24).collect::<Vec<_>>().join("\n");
        let files: Vec<_> = std::fs::read_dir(&folder).expect("a folder").flatten().map(|entry| entry.path()).collect();
        for file in &files {
            let (head, name) = (head(file), file.display());
            let says: Vec<_> = ["run by ", "tried by hand", "written from documentation, not run"]
                .into_iter()
                .filter(|says| head.to_lowercase().contains(says))
                .collect();
            assert!(
                matches!(&says[..], [one] if word.starts_with(one)) && head.to_lowercase().contains(word),
                "{name}: {says:?}"
            );
        }
        let all: String = files.iter().map(|file| head(file)).collect();
        for word in ["https://", "e911d check", "e911d ready", "e911d test-call", "hange"] {
            assert!(all.contains(word), "{}: no \"{word}\"", folder.display());
        }
        // The neighbour's own side knows a callback when it sees one.
        let sides: Vec<_> = files.iter().filter(|file| !file.ends_with("e911d.toml")).collect();
        let knows = sides.iter().any(|file| read(file).to_lowercase().replace("][", "").contains("psap-callback"));
        assert!(sides.is_empty() || knows, "{}", folder.display());
    }
}

#[test]
fn every_folder_stands_in_the_table_and_the_guides_lead_there() {
    let table = read(&examples().join("README.md"));
    for folder in folders() {
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(table.contains(&format!("| `{name}` |")), "{name}");
    }
    for guide in ["docs/in-front-of-a-pbx.md", "docs/behind-a-carrier.md", "README.md"] {
        assert!(read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(guide)).contains("conf/examples"), "{guide}");
    }
}

/// Runs an example's config, with whatever was replaced in it; `more` of the environment.
fn run(text: &str, dir: &Path, net: &Net, more: &[(&str, &str)]) -> Child {
    let config = dir.join("e911d.toml");
    std::fs::write(&config, text.replace("/var/lib/e911d", &dir.to_string_lossy())).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_e911d"));
    command.arg("run").arg("-c").arg(&config).env("E911D__HTTP__BIND", format!("{}:0", net.ip(1))).envs(more.iter().copied());
    let mut gateway = Child::start("e911d", command);
    until("the gateway's ready line", Duration::from_secs(15), || {
        let ended = gateway.ended();
        let output = gateway.output();
        assert!(ended.is_none(), "e911d ended:\n{output}");
        output.contains("ready node=").then_some(())
    });
    gateway
}

/// SIPp, the carrier, is not there all the time and takes nothing but its call.
const NO_OPTIONS: (&str, &str) = ("E911D__TRUNK__CARRIER__OPTIONS", "0s");

/// The two sides of `conf/examples/kamailio`, a carrier, and the phones of alice (answers by itself) and bob (rings).
struct Office {
    alice: Baresip,
    bob: Baresip,
    pbx: Kamailio,
    gateway: Child,
    net: Net,
    _dir: tempfile::TempDir,
}

impl Office {
    fn open() -> Self {
        let (net, dir) = (Net::take(), tempfile::tempdir().expect("a folder"));
        // As the files have them, in the order of the hosts of this network.
        let addresses = [("10.0.0.4", 1), ("10.0.0.5", 10), ("10.0.0.6", 40), ("192.0.2.10", 21)];
        let here = |text: String| addresses.iter().fold(text, |text, (old, host)| text.replace(old, &net.ip(*host).to_string()));
        let folder = examples().join("kamailio");

        let gateway = run(&here(read(&folder.join("e911d.toml"))), dir.path(), &net, &[NO_OPTIONS]);
        let pbx = Kamailio::from_text(&here(read(&folder.join("kamailio.cfg"))), net.sip(10));
        let alice = Baresip::start(net.ip(31), "alice", pbx.at(), Answer::Auto);
        let bob = Baresip::start(net.ip(32), "bob", pbx.at(), Answer::Manual);
        pbx.until_registered("alice");
        pbx.until_registered("bob");
        pbx.number(ALICES_NUMBER, "alice");
        Self { alice, bob, pbx, gateway, net, _dir: dir }
    }

    /// Alice dials an emergency number on her phone; gives the INVITE that the carrier saw.
    fn alice_dials(&mut self, dialed: &str) -> Message {
        let trunk = Sipp::answers("uas_answer.xml", Transport::Udp, self.net.sip(21)).start();
        self.alice.dial(dialed);
        self.alice.until("CALL_ESTABLISHED", Duration::from_secs(10));
        self.alice.hang_up();
        trunk.finish().request("INVITE").clone()
    }

    /// Somebody outside calls alice's own number, by way of the carrier.
    fn somebody_calls_alice(&self) -> (Peer, Outgoing) {
        let mut somebody = Peer::udp(self.net.sip(21));
        let call = Outgoing::new(self.net.sip(1), SOMEBODY, &format!("sip:{ALICES_NUMBER}@{}", self.net.sip(1)));
        somebody.invite(&call);
        (somebody, call)
    }

    /// The PSAP calls the number back, and alice's phone answers.
    fn psap_reaches_alice(&mut self, number: &str) {
        let uri = format!("sip:{number}@{}", self.net.sip(1));
        let psap = Sipp::calls("uac_call.xml", Transport::Udp, self.net.sip(21), self.net.sip(1), PSAP, &uri);
        psap.hold(Duration::from_millis(300)).run();
        let up = self.alice.until("CALL_ESTABLISHED", Duration::from_secs(2));
        assert!(up.contains(PSAP) && up.contains("\"incoming\""), "she sees who calls: {up}");
        self.alice.until("CALL_CLOSED", Duration::from_secs(4));
    }

    fn alices_phone_is_quiet(&mut self) {
        let rang = self.alice.event_within("incoming", Duration::from_millis(300));
        assert!(rang.is_none(), "an ordinary call came through: {rang:?}");
    }
}

macro_rules! require_all {
    () => {
        require!("sipp" from "sip-tester", "kamailio" from "kamailio", "baresip" from "baresip-core");
    };
}

#[test]
fn c1_kamailio_as_committed_lets_a_callback_pass_what_stops_ordinary_calls() {
    require_all!();
    let mut office = Office::open();
    let number = shown_number(&office.alice_dials("9911"));

    // Do-not-disturb sends an ordinary call to voicemail.
    office.pbx.switch_on("alice", "dnd", "1");
    let voicemail = Sipp::answers("uas_answer.xml", Transport::Udp, office.net.sip(40)).start();
    let uri = format!("sip:{ALICES_NUMBER}@{}", office.net.sip(1));
    Sipp::calls("uac_call.xml", Transport::Udp, office.net.sip(21), office.net.sip(1), SOMEBODY, &uri).run();
    voicemail.finish();
    office.alices_phone_is_quiet();
    office.psap_reaches_alice(&number);
    office.pbx.switch_off("alice", "dnd");

    // Forwarding sends it to bob.
    office.pbx.switch_on("alice", "forward", "bob");
    let (mut somebody, call) = office.somebody_calls_alice();
    somebody.response("INVITE", 180);
    office.bob.until("CALL_INCOMING", Duration::from_secs(2));
    somebody.cancel(&call);
    let ended = somebody.response("INVITE", 487);
    somebody.ack(&call, &ended);
    drop(somebody);
    office.alices_phone_is_quiet();
    office.pbx.switch_on("alice", "dnd", "1");
    office.psap_reaches_alice(&number);
    assert!(office.bob.event_within("CALL_INCOMING", Duration::from_millis(200)).is_none(), "the callback was forwarded");
}

#[test]
fn kamailio_as_committed_takes_911_to_the_carrier_when_e911d_is_gone() {
    require_all!();
    let mut office = Office::open();
    office.gateway.kill();
    let invite = office.alice_dials("911");
    assert!(invite.uri().starts_with("sip:911@"), "{}", invite.uri());
    assert_eq!(invite.user_of("From"), "alice", "past e911d:\n{}", invite.text());
}

/// An example among stand-ins: its provider speaks TLS at port 5061 under the name that the config has for it.
struct Provider {
    its: Peer,
    own: Issued,
    net: Net,
    _running: (Child, Dnsmasq, Openssl, Authority, tempfile::TempDir),
}

impl Provider {
    fn of(folder: &str, name: &str, ours: &str, more: &[(&str, &str)]) -> Self {
        let (net, dir, ca) = (Net::take(), tempfile::tempdir().expect("a folder"), Authority::new());
        let dns = Dnsmasq::start(net.ip(53), &[format!("--host-record={name},{}", net.ip(31))]);
        let (own, gateway) = (ca.issue("its", &format!("DNS:{name}"), 2), ca.issue("ours", &format!("DNS:{ours}"), 2));
        let at = std::net::SocketAddr::new(net.ip(31), 5061);
        let (its, openssl) = server(at, &own, &ca.roots());
        let files = [
            ("/etc/e911d/tls/cert.pem\"", format!("{}\"", gateway.certificate.display())),
            ("/etc/e911d/tls/key.pem\"", format!("{}\"\ntrust = \"{}\"", gateway.key.display(), ca.roots().display())),
            ("/etc/e911d", dir.path().display().to_string()),
            ("10.0.0.4", net.ip(1).to_string()),
            ("10.0.0.5", net.ip(10).to_string()),
            ("192.0.2.10", net.ip(21).to_string()),
        ];
        std::fs::write(dir.path().join(format!("{folder}.password")), "secret\n").expect("written");
        let text = read(&examples().join(folder).join("e911d.toml"));
        let text = files.iter().fold(text, |text, (old, new)| text.replace(old, new));
        let running = run(&format!("{text}\n[dns]\nservers = [\"{}\"]\n", dns.at()), dir.path(), &net, more);
        Self { its, own, net, _running: (running, dns, openssl, ca, dir) }
    }

    /// What it is asked next by this method.
    fn request(&mut self, method: &str) -> Message {
        self.its.request(method)
    }
}

#[test]
fn direct_routing_as_committed_begins_with_options_and_brings_the_callback_to_the_user() {
    require!("openssl" from "openssl", "sipp" from "sip-tester", "dnsmasq" from "dnsmasq-base");
    let mut microsoft = Provider::of("azure", "sip.pstnhub.microsoft.com", "sbc1.example.com", &[NO_OPTIONS]);
    let options = microsoft.its.probe();
    assert_eq!(options.header("CSeq"), "1 OPTIONS", "the very first: the handshake asks for the right name");
    assert_eq!(options.uri_of("Contact"), "sip:sbc1.example.com:5061;transport=tls", "by our name:\n{}", options.text());
    assert!(options.header("Via").starts_with("SIP/2.0/TLS sbc1.example.com:5061;"), "{}", options.text());

    // A user dials 911: by a connection of Microsoft's own, known by its certificate.
    let (us, carrier) = (std::net::SocketAddr::new(microsoft.net.ip(1), 5061), microsoft.net.sip(21));
    let trunk = Sipp::answers("uas_answer.xml", Transport::Tcp, carrier).start();
    let (mut proxy, _openssl) = client(microsoft.net.ip(32), us, Some(&microsoft.own));
    let call = Outgoing::new(us, ALICES_NUMBER, "sip:911@sbc1.example.com:5061;transport=tls");
    proxy.invite(&call);
    let answer = proxy.response("INVITE", 200);
    assert!(answer.uri_of("Contact").ends_with("@sbc1.example.com:5061;transport=tls"), "{}", answer.text());
    let mut dialog = proxy.ack(&call, &answer);
    proxy.in_dialog(&mut dialog, "BYE", "");
    proxy.response("BYE", 200);
    let trace = trunk.finish();
    let invite = trace.request("INVITE");
    let number = invite.user_of("From").to_owned();
    assert!(number.starts_with("+142555501") && invite.text().contains("Redmond"), "{}", invite.text());

    let mut psap = Peer::tcp_to(carrier.ip(), microsoft.net.sip(1));
    psap.invite(&Outgoing::new(microsoft.net.sip(1), PSAP, &format!("sip:{number}@{}", microsoft.net.sip(1))));
    let callback = microsoft.request("INVITE");
    assert!(callback.uri().starts_with(&format!("sip:{ALICES_NUMBER}@sip.pstnhub.microsoft.com")), "{}", callback.text());
    assert_eq!(callback.header("Priority"), "psap-callback");
    microsoft.its.reply(&callback, "486 Busy Here", "m", "", "");
    let desk = microsoft.request("INVITE");
    assert!(desk.uri().starts_with("sip:+14255551000@"), "the desk is next:\n{}", desk.text());
}

#[test]
fn telnyx_as_committed_registers_by_tls_and_takes_911_and_its_callback_by_that_connection() {
    require!("openssl" from "openssl", "dnsmasq" from "dnsmasq-base");
    let mut telnyx = Provider::of("telnyx", "sip.telnyx.com", "sbc.example.com", &[("E911D__TRUNK__TELNYX__OPTIONS", "0s")]);
    let register = telnyx.request("REGISTER");
    assert_eq!(register.user_of("To"), "e911d");
    let contact = register.header("Contact").to_owned();
    assert!(contact.contains("@sbc.example.com:5061;transport=tls"), "{contact}");
    telnyx.its.reply(&register, "200 OK", "t", &format!("Contact: {contact};expires=600\r\n"), "");

    let us = telnyx.net.sip(1);
    let mut pbx = Peer::udp(telnyx.net.sip(10));
    let call = Outgoing::new(us, "alice", &format!("sip:911@{us}"));
    pbx.invite(&call);
    let invite = telnyx.request("INVITE");
    let number = invite.user_of("From").to_owned();
    assert!(number.starts_with("+142555501") && invite.uri().starts_with("sip:911@sip.telnyx.com"), "{}", invite.text());
    assert_eq!(invite.user_of("P-Asserted-Identity"), number, "the caller is a number of the account's");
    telnyx.its.answer(&invite, "t");
    let answer = pbx.response("INVITE", 200);
    let mut dialog = pbx.ack(&call, &answer);
    pbx.in_dialog(&mut dialog, "BYE", "");
    let bye = telnyx.request("BYE");
    telnyx.its.reply(&bye, "200 OK", "", "", "");

    // From no address that the config knows; but the connection is one that we opened to it.
    let tls = std::net::SocketAddr::new(us.ip(), 5061);
    telnyx.its.invite(&Outgoing::new(tls, PSAP, &format!("sip:{number}@sbc.example.com:5061;transport=tls")));
    let callback = pbx.request("INVITE");
    assert_eq!(callback.header("Priority"), "psap-callback");
}

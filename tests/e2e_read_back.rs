//! The test number where no trunk answers it: what the caller really hears (RULES R5).

mod common;

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use common::baresip::Answer;
use common::mailbox::Mailbox;
use common::peer::SOON;
use common::story::assert_headers_hide;
use common::{Baresip, Deadline, Message, Outgoing, Peer, SDP, Transport, World, require, until};

const ALICE: (&str, &str) = ("alice", "wonderland");
/// Longer than any reading.
const MINUTE: Duration = Duration::from_secs(60);

/// Alice may register; no trunk is there at all. Her language is `language`.
fn world(language: &'static str, more: impl FnOnce(&common::Net) -> String) -> World {
    World::with(Transport::Udp, |net, config| {
        let about = format!("language = \"{language}\"\npassword = \"{}\"", ALICE.1);
        let mut config = config.agent(ALICE.0, &about);
        config.bind = net.sip(1);
        config.more = more(net);
        config
    })
}

/// The prompts of a language as they are in the source tree.
fn prompts(language: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/io/media/prompts").join(language);
    let files = std::fs::read_dir(folder).expect("prompts").flatten();
    let name = |p: &Path| p.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    files.map(|f| (name(&f.path()), std::fs::read(f.path()).expect("a prompt"))).collect()
}

/// What is to be heard of this number, prompt by prompt.
fn expected(number: &str) -> Vec<String> {
    let digits = number.chars().filter(char::is_ascii_digit).map(String::from);
    let once: Vec<String> =
        ["test".to_owned()].into_iter().chain(digits).chain(["path".into(), "direct-routing".into()]).collect();
    [once.clone(), once, vec!["goodbye".to_owned()]].concat()
}

/// Finds each prompt, behind the one before it.
#[track_caller]
fn assert_heard<T>(heard: &[T], prompts: &BTreeMap<String, Vec<T>>, number: &str, same: fn(&T, &T) -> bool) {
    let mut at = 0;
    for name in expected(number) {
        let prompt = &prompts[&name];
        let found = heard[at..].windows(prompt.len()).position(|w| w.iter().zip(prompt).all(|(a, b)| same(a, b)));
        at += found.unwrap_or_else(|| panic!("{name} is not heard behind sample {at} of {}", heard.len())) + prompt.len();
    }
}

/// The callback number in a mail.
fn number_in(mail: &str) -> String {
    let line = mail.lines().find_map(|l| l.strip_prefix("Callback number: ")).unwrap_or_else(|| panic!("no number in {mail}"));
    line.trim().to_owned()
}

fn mail_config(mailbox: &Mailbox) -> String {
    format!("[notify]\nsmtp = \"{}\"\nfrom = \"e911d@example.com\"\ntest_contacts = \"it@example.com\"\n", mailbox.url())
}

/// The mail that says so, its soft line breaks (RFC 2045 section 6.7) taken out.
fn mail_that_says(mailbox: &Mailbox, words: &str) -> String {
    until(&format!("a mail that says {words:?}"), Duration::from_secs(10), || {
        let mut texts = mailbox.mails().into_iter().map(|m| m.text.replace("=\n", ""));
        texts.find(|text| text.contains(words))
    })
}

/// A call from the PBX whose audio goes to `ear`.
fn call_heard_by(world: &World, ear: &UdpSocket) -> Outgoing {
    let ear = ear.local_addr().expect("an address");
    let mut call = Outgoing::new(world.at(), "alice", &world.uri("933"));
    call.body = SDP.replace("127.0.0.1", &ear.ip().to_string()).replace("30000", &ear.port().to_string());
    call
}

/// Where the answer says that audio comes from.
fn voice_of(answer: &Message) -> SocketAddr {
    let text = answer.text();
    let after = |key: &str| text.lines().find_map(|l| l.strip_prefix(key)).unwrap_or_else(|| panic!("no {key} in {text}"));
    let port = after("m=audio ").split(' ').next().and_then(|p| p.parse().ok()).expect("a port");
    SocketAddr::new(after("c=IN IP4 ").parse().expect("an address"), port)
}

#[test]
fn r5_a_test_that_no_trunk_answers_is_read_back_digit_by_digit_and_hung_up() {
    let mut mailbox = None;
    let world = world("en", |net| mail_config(mailbox.insert(Mailbox::start(net.ip(60)))));
    let mailbox = mailbox.expect("a mailbox");
    let ear = UdpSocket::bind((world.net.ip(10), 0)).expect("a socket");
    ear.set_read_timeout(Some(Duration::from_secs(2))).expect("a time-out");
    let mut pbx = Peer::calling(Transport::Udp, world.pbx(), world.at());
    let call = call_heard_by(&world, &ear);
    pbx.invite(&call);
    let answer = pbx.response("INVITE", 200);
    let voice = voice_of(&answer);
    assert_eq!(voice.ip(), world.net.ip(1), "the address that the caller reaches us by");
    pbx.ack(&call, &answer);
    let (mut heard, mut packet, deadline) = (Vec::new(), [0; 2000], Deadline::after(MINUTE));
    let bye = loop {
        if let Ok((length, from)) = ear.recv_from(&mut packet) {
            assert_eq!((from, length, packet[1] & 0x7f), (voice, 172, 0));
            heard.extend_from_slice(&packet[12..length]);
        } else if let Some(bye) = pbx.request_within("BYE", Duration::from_millis(1)) {
            break bye;
        }
        assert!(!deadline.passed(), "it is read without end");
    };
    pbx.reply(&bye, "200 OK", "", "", "");
    let mail = mail_that_says(&mailbox, "did NOT connect");
    assert!(mail.contains("answered it and read the callback number back"), "{mail}");
    let number = number_in(&mail);
    assert_heard(&heard, &prompts("en"), &number, |a, b| a == b);
    assert!(mailbox.mails().iter().all(|m| m.to == "it@example.com" && m.header("Subject").starts_with("TEST")));
    // Nothing is left behind, and the log says nothing of anybody.
    until("the port is free", SOON, || UdpSocket::bind(voice).ok());
    let log = world.gateway.log();
    assert!(log.contains("test call read back"), "{log}");
    assert!(!log.contains(number.trim_start_matches('+')) && !log.contains("alice") && !log.contains(&voice.port().to_string()));
    assert_headers_hide(&bye, &[&number]);
}

#[test]
fn r5_baresip_hears_the_read_back_in_its_agents_language() {
    require!("baresip" from "baresip-core");
    let mut mailbox = None;
    let world = world("fr", |net| mail_config(mailbox.insert(Mailbox::start(net.ip(60)))));
    let mut phone = Baresip::register(world.net.ip(31), ALICE, world.at(), Transport::Udp, Answer::Auto);
    phone.until_said("200 OK", Duration::from_secs(10));
    phone.dial("933");
    phone.until("CALL_ESTABLISHED", Duration::from_secs(10));
    phone.until("CALL_CLOSED", MINUTE);
    let mailbox = mailbox.expect("a mailbox");
    let mail = mail_that_says(&mailbox, "PAS abouti");
    let line = mail.lines().find(|l| l.contains("+1")).unwrap_or_else(|| panic!("no number in {mail}"));
    let number = line[line.find("+1").unwrap_or(0)..].trim();
    let heard = phone.heard();
    // A jitter buffer may drop or repeat a packet: the middle of each prompt is looked for, not the whole.
    let middle = |p: &[u8]| p[p.len() / 2 - 80..p.len() / 2 + 80].iter().map(|b| linear(*b)).collect::<Vec<i16>>();
    let prompts = prompts("fr").iter().map(|(name, prompt)| (name.clone(), middle(prompt))).collect();
    // Decoders differ by a step where it is silent.
    assert_heard(&heard, &prompts, number, |a, b| a.abs_diff(*b) <= 4);
}

/// G.711: a mu-law code as a sample of 16 bits.
fn linear(code: u8) -> i16 {
    let code = !code;
    let (exponent, mantissa) = (i32::from(code >> 4 & 7), i32::from(code & 15));
    let magnitude = (((mantissa << 3) + 0x84) << exponent) - 0x84;
    i16::try_from(if code & 0x80 != 0 { -magnitude } else { magnitude }).unwrap_or(0)
}

//! 911 calls by the hundred over lines that lose packets: between PBX and gateway and between gateway and trunks, both
//! ways. SIPp calls; who answers keeps the books, and no call, lease or mail is there twice.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use common::loss::BadLine;
use common::mailbox::Mailbox;
use common::psap::{Leg, Psap, State};
use common::{Deadline, Sipp, Transport, World, require, until};

const AGENTS: usize = 100;
const CONTACTS: [&str; 2] = ["security@example.com", "lead@example.com"];

/// One call that SIPp made.
struct Call {
    agent: String,
    is_set_up: bool,
    legs: Vec<(&'static str, Leg)>,
}

impl Call {
    /// Legs that were answered and that the gateway did not end by itself.
    fn kept(&self) -> Vec<&Leg> {
        let kept = |l: &&Leg| matches!(l.state, State::Answered(_) | State::Ended(None));
        self.legs.iter().map(|(_, l)| l).filter(kept).collect()
    }
}

/// Makes so many calls over lines that lose so much; gives the calls by their session id, and the mailbox.
fn call_over_bad_lines(percent: u64, calls: usize) -> (World, BTreeMap<String, Call>, Mailbox) {
    let mut mailbox = None;
    let world = World::with(Transport::Udp, |net, mut config| {
        let mails = mailbox.insert(Mailbox::start(net.ip(60)));
        config.trunks[0].numbers = "+14255550100-+14255550299".to_owned();
        config.trunks[1].numbers = "+12065550100-+12065550299".to_owned();
        config.more = format!(
            "[notify]\nsmtp = \"{}\"\nfrom = \"e911@example.com\"\nsite_contacts = \"{}\"\n",
            mails.url(),
            CONTACTS.join(";")
        );
        (0..AGENTS).fold(config, |config, n| config.agent(&format!("agent{n}"), ""))
    });
    let line = |host: u8, neighbour: u8| {
        let inner = [world.net.sip(100 + host), world.net.sip(neighbour)];
        BadLine::start(percent, u64::from(host), [world.at(), world.net.sip(host)], inner)
    };
    let psap = |host: u8, contact: SocketAddr| Psap::start(world.net.sip(host), contact);
    let (a, b) = (psap(201, world.trunk_a()), psap(202, world.trunk_b()));
    let lines = [line(10, 200), line(21, 201), line(22, 202)];
    let pbx = Sipp::calls(
        "uac_lossy.xml",
        Transport::Udp,
        world.net.sip(200),
        world.net.sip(110),
        "",
        &format!("sip:911@{}", world.at()),
    );
    let users = (0..calls).map(|n| format!("agent{}", n % AGENTS));
    let limit = Duration::from_secs(75);
    let trace = pbx.users(users).rate(20).hold(Duration::from_millis(500)).timeout(limit).start().end();

    let over = |leg: &Leg| matches!(leg.state, State::Ended(_) | State::Cancelled(true));
    let legs = || a.legs().into_iter().map(|l| ("a", l)).chain(b.legs().into_iter().map(|l| ("b", l))).collect::<Vec<_>>();
    let limit = Deadline::after(Duration::from_secs(40));
    while !limit.passed() && !legs().iter().all(|(_, l)| over(l)) {
        std::thread::sleep(Duration::from_millis(100));
    }
    let legs = legs();
    for (trunk, leg) in legs.iter().filter(|(_, l)| !over(l)) {
        let origin = format!("o=- {} ", leg.session);
        let invite = trace.sent().find(|m| m.text().contains(&origin)).expect("a call that was made");
        println!("a leg over {trunk} is {:?}; the caller saw:\n{}", leg.state, trace.story(invite.header("Call-ID")));
    }
    assert!(legs.iter().all(|(_, l)| over(l)));
    for (line, name) in lines.iter().zip(["pbx", "carrier-a", "carrier-b"]) {
        let (lost, passed) = line.counts();
        println!("{name}: {lost} packets lost, {passed} passed");
    }
    let answered: BTreeSet<_> =
        trace.responses(200).into_iter().filter(|m| m.method() == "INVITE").map(|m| m.header("Call-ID").to_owned()).collect();
    let mut made: BTreeMap<String, Call> = BTreeMap::new();
    for invite in trace.sent().filter(|m| m.method() == "INVITE" && m.is_request()) {
        let body = String::from_utf8_lossy(&invite.body).into_owned();
        let session = body.lines().find_map(|l| l.strip_prefix("o=- ")?.split(' ').next()).expect("a session id").to_owned();
        let is_set_up = answered.contains(invite.header("Call-ID"));
        made.entry(session).or_insert_with(|| Call { agent: invite.user_of("From").to_owned(), is_set_up, legs: Vec::new() });
    }
    for (trunk, leg) in legs {
        made.get_mut(&leg.session).expect("a leg of a call that was made").legs.push((trunk, leg));
    }
    (world, made, mailbox.expect("a mailbox"))
}

fn no_call_is_placed_twice(calls: &BTreeMap<String, Call>) {
    for (session, call) in calls {
        for trunk in ["a", "b"] {
            let there = call.legs.iter().filter(|(t, _)| *t == trunk).count();
            assert!(there <= 1, "call {session} has {there} legs over {trunk}: {:?}", call.legs);
        }
        let kept = call.kept().len();
        assert!(kept == 1 || (kept == 0 && !call.is_set_up), "call {session} has {kept} answered legs: {:?}", call.legs);
        assert!(call.legs.iter().all(|(_, l)| l.strange_invites == 0), "call {session}: {:?}", call.legs);
    }
}

fn no_number_has_two_agents_and_no_agent_two_leases(calls: &BTreeMap<String, Call>) {
    let (mut owner, mut number) = (BTreeMap::new(), BTreeMap::new());
    for call in calls.values() {
        for (trunk, leg) in &call.legs {
            let holder = owner.entry(leg.number.clone()).or_insert(&call.agent);
            assert_eq!(*holder, &call.agent, "{} was shown for both", leg.number);
            let shown = number.entry((trunk, &call.agent)).or_insert(&leg.number);
            assert_eq!(*shown, &leg.number, "{} had both", call.agent);
        }
    }
}

/// Each contact has one mail that a call was made, and one that it is over, for each call that reached the gateway.
fn no_mail_is_sent_twice(calls: &BTreeMap<String, Call>, mailbox: &Mailbox) {
    let reached = calls.values().filter(|c| !c.legs.is_empty()).count();
    until("all mails", Duration::from_secs(60), || (mailbox.mails().len() >= 2 * CONTACTS.len() * reached).then_some(()));
    std::thread::sleep(Duration::from_millis(500));
    let mails = mailbox.mails();
    let ids: BTreeSet<_> = mails.iter().map(|m| m.header("Message-ID")).collect();
    assert_eq!(ids.len(), mails.len(), "a Message-ID was used twice");
    for contact in CONTACTS {
        let mut expected: BTreeMap<String, usize> = BTreeMap::new();
        for call in calls.values().filter(|c| !c.legs.is_empty()) {
            *expected.entry(format!("EMERGENCY: {} has called 911", call.agent)).or_default() += 1;
        }
        let mut told: BTreeMap<String, usize> = BTreeMap::new();
        for mail in mails.iter().filter(|m| m.to == contact && m.header("Subject").starts_with("EMERGENCY:")) {
            *told.entry(mail.header("Subject").to_owned()).or_default() += 1;
        }
        assert_eq!(told, expected, "mails to {contact}");
        assert_eq!(mails.iter().filter(|m| m.to == contact).count(), 2 * reached, "mails to {contact}");
    }
}

/// `allowed` calls may fail.
fn check(percent: u64, calls: usize, allowed: usize) {
    require!("sipp" from "sip-tester");
    let (_world, made, mailbox) = call_over_bad_lines(percent, calls);
    assert_eq!(made.len(), calls);
    let failed = made.values().filter(|c| !c.is_set_up).count();
    let doubled = made.values().filter(|c| c.legs.len() > 1).count();
    println!("{percent} %: {failed} of {calls} calls were not set up; {doubled} went over two trunks");
    assert!(failed <= allowed, "{failed} of {calls} calls were not set up");
    no_call_is_placed_twice(&made);
    no_number_has_two_agents_and_no_agent_two_leases(&made);
    no_mail_is_sent_twice(&made, &mailbox);
}

#[test]
fn b5_p7_a4_with_5_percent_loss_999_of_1000_calls_are_set_up_and_nothing_is_there_twice() {
    check(5, 400, 0);
}

#[test]
fn b5_p7_a4_with_20_percent_loss_97_of_100_calls_are_set_up_and_nothing_is_there_twice() {
    check(20, 200, 6);
}

//! What the first look at a datagram costs, and what finding a transaction among many does: `cargo bench --bench first_look`.
//! Goal 400 instructions a look, wanted 250: an INVITE takes 250 to 400, all else fewer than 100. `tests/instructions.sh` counts them.

use std::hint::black_box;

use bytes::Bytes;
use criterion::Criterion;
use e911d::bridge::{Classifier, Look, Shard};
use e911d::daemon::small;
use e911d::sip::{Flow, Message, Transport};
use e911d::words::Time;

const NOW: Time = Time::from_micros(1_000_000_000);
const PBX: &str = "127.0.0.1:15090";
const TRUNK: &str = "127.0.0.1:15070";
/// INVITE transactions that are there while one is looked for.
const MANY: usize = 10_000;

fn flow(from: &str) -> Flow {
    let Ok(remote) = from.parse() else { panic!("{from} is no address") };
    Flow { transport: Transport::Udp, listener: 0, remote, connection: 0, name: 0 }
}

fn shard() -> Shard {
    match Shard::new(0, &small::assembled(small::TOML, 7, 2, None).setup, NOW) {
        Ok(shard) => shard,
        Err(error) => panic!("{error}"),
    }
}

fn classifier() -> Classifier {
    shard().classifier().expect("shard 0 has the story")
}

fn request(method: &str, to: &str, call: usize) -> String {
    format!(
        "{method} sip:{to}@gw1.example.com:5060;user=phone SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:15090;branch=z9hG4bK{call};rport\r\n\
         Max-Forwards: 70\r\nFrom: \"Alice Andersen\" <sip:alice@pbx.example.com>;tag=9fxced76sl\r\n\
         To: <sip:{to}@gw1.example.com;user=phone>\r\nCall-ID: {call}@pbx.example.com\r\nCSeq: 1 {method}\r\n\
         Contact: <sip:alice@127.0.0.1:15090>\r\nContent-Length: 0\r\n\r\n"
    )
}

/// One of each kind, and what it is.
fn datagrams() -> [(&'static str, Flow, String, Look); 6] {
    [
        ("emergency", flow(PBX), request("INVITE", "911", 1), Look::Emergency),
        ("callback", flow(TRUNK), request("INVITE", "+12000000100", 1), Look::Callback),
        ("ordinary", flow(PBX), request("INVITE", "+14255550123", 1), Look::Ordinary),
        ("in-call", flow(PBX), request("BYE", "+14255550123", 1), Look::InCall),
        ("response", flow(TRUNK), "SIP/2.0 180 Ringing\r\nVia: SIP/2.0/UDP h\r\n\r\n".to_owned(), Look::Response),
        ("junk", flow(PBX), "\0".repeat(200), Look::Junk),
    ]
}

/// `--instructions KIND TIMES`: so many looks and nothing else, for whoever counts.
fn count(kind: &str, times: usize) {
    let classifier = classifier();
    for (name, flow, text, want) in datagrams() {
        assert_eq!(classifier.first_look(flow, text.as_bytes()), want, "{name}");
        if name == kind {
            for _ in 0..times {
                black_box(classifier.first_look(flow, black_box(text.as_bytes())));
            }
        }
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let [.., mark, kind, times] = &args[..]
        && mark == "--instructions"
    {
        return count(kind, times.parse().unwrap_or(1_000));
    }
    let mut criterion = Criterion::default().configure_from_args();
    let classifier = classifier();
    for (name, flow, text, _) in datagrams() {
        criterion.bench_function(&format!("first look, {name}"), |b| {
            b.iter(|| classifier.first_look(flow, black_box(text.as_bytes())))
        });
    }
    let read = |text: String| Message::scan(Bytes::from(text)).unwrap_or_else(|e| panic!("{e}"));
    let mut shard = shard();
    for call in 0..MANY {
        shard.receive(flow(PBX), read(request("INVITE", "911", call)), NOW);
        while shard.poll().is_some() {}
    }
    let cancels: Vec<Message> = (0..MANY).step_by(97).map(|call| read(request("CANCEL", "911", call))).collect();
    let mut at = 0;
    criterion.bench_function(&format!("look-up, one INVITE transaction of {MANY}"), |b| {
        b.iter(|| {
            at = (at + 1) % cancels.len();
            shard.has_invite_of(&cancels[at])
        });
    });
    criterion.final_summary();
}

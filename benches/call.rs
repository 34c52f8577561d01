//! What one call costs the core, from the bytes that are received to the bytes that are sent: `cargo bench --bench call`.
//!
//! One shard, no socket, no store: the scanner, the bridge and the story. The neighbours' own work (they copy templates) is in
//! the figure, and small. `--instructions KIND TIMES` plays so many calls and nothing else, for whoever counts.

use std::time::Duration;

use bytes::Bytes;
use criterion::Criterion;
use e911d::bridge::{Do, Shard};
use e911d::daemon::small;
use e911d::sip::{Flow, Message, Method, Name, Transport};
use e911d::words::Time;

const PBX: u16 = 15090;
const TRUNK: u16 = 15070;
/// Calls a second.
const PACE: Duration = Duration::from_millis(1);
const SDP: &str = "v=0\r\no=alice 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 30000 RTP/AVP 0\r\n";

/// One shard and its clock.
struct Bench {
    shard: Shard,
    now: Time,
    calls: usize,
    /// What callbacks are dialed to.
    number: String,
}

impl Bench {
    fn new() -> Self {
        let text = small::changed(&[("+12000000100-+12000000103", "+12000100000-+12000199999")]);
        let now = Time::from_micros(1_000_000_000);
        let shard = Shard::new(0, &small::assembled(&text, 7, 1, None).setup, now).unwrap_or_else(|e| panic!("{e}"));
        let mut bench = Self { shard, now, calls: 0, number: String::new() };
        bench.play("emergency");
        bench
    }

    /// A whole call of this kind, from INVITE to the last 200.
    fn play(&mut self, kind: &str) {
        self.calls += 1;
        self.now += PACE;
        while self.shard.next_deadline().is_some_and(|at| at <= self.now) {
            self.shard.expire(self.now);
            self.drain();
        }
        let (from, dialed) = match kind {
            "callback" => (TRUNK, self.number.clone()),
            "ordinary" => (PBX, "+14255550123".to_owned()),
            _ => (PBX, "911".to_owned()),
        };
        let near = Near { port: from, call: self.calls, dialed };
        let sent = self.receive(from, near.invite());
        let Some((far, invite)) = sent.into_iter().find(|(_, m)| m.is_request() && m.method() == Method::Invite) else {
            panic!("no INVITE went out for the {kind} call")
        };
        if kind == "emergency" {
            let shown = String::from_utf8_lossy(invite.get(Name::From).unwrap_or_default()).into_owned();
            self.number = shown.split(['<', ':', '@']).find(|w| w.starts_with("+1")).unwrap_or_default().to_owned();
        }
        self.receive(far, answer(&invite, 180, ""));
        let sent = self.receive(far, answer(&invite, 200, SDP));
        let Some((_, ok)) = sent.into_iter().find(|(_, m)| !m.is_request() && m.status() == 200) else { panic!("no 200") };
        self.receive(from, near.within("ACK", 1, &ok));
        let sent = self.receive(from, near.within("BYE", 2, &ok));
        for (far, bye) in sent.into_iter().filter(|(_, m)| m.is_request()) {
            self.receive(far, answer(&bye, 200, ""));
        }
    }

    fn receive(&mut self, from: u16, text: String) -> Vec<(u16, Message)> {
        let msg = Message::scan(Bytes::from(text)).unwrap_or_else(|e| panic!("{e}"));
        let remote = ([127, 0, 0, 1], from).into();
        self.shard.receive(Flow { transport: Transport::Udp, listener: 0, remote, connection: 0, name: 0 }, msg, self.now);
        self.drain()
    }

    fn drain(&mut self) -> Vec<(u16, Message)> {
        let mut sent = Vec::new();
        while let Some(what) = self.shard.poll() {
            match what {
                Do::Send(t) => sent.push((t.flow.remote.port(), t.bytes)),
                Do::Commit { call, .. } => self.shard.committed(call, self.now),
                _ => {}
            }
        }
        sent.into_iter().map(|(to, bytes)| (to, Message::scan(bytes).unwrap_or_else(|e| panic!("{e}")))).collect()
    }
}

/// Who calls.
struct Near {
    port: u16,
    call: usize,
    dialed: String,
}

impl Near {
    fn invite(&self) -> String {
        let Self { port, call, dialed } = self;
        format!(
            "INVITE sip:{dialed}@127.0.0.1:15060 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{call}-1\r\nMax-Forwards: 70\r\n\
             From: \"Al\" <sip:agent{call}@pbx.example.net>;tag=t{call}\r\nTo: <sip:{dialed}@pbx.example.net>\r\nCall-ID: {call}\r\n\
             CSeq: 1 INVITE\r\nContact: <sip:agent{call}@127.0.0.1:{port}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{SDP}",
            SDP.len()
        )
    }

    fn within(&self, method: &str, seq: u32, ok: &Message) -> String {
        let Self { port, call, .. } = self;
        let of = |name| String::from_utf8_lossy(ok.get(name).unwrap_or_default()).into_owned();
        let target = of(Name::Contact);
        format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{call}-{seq}{method}\r\nMax-Forwards: 70\r\nFrom: {}\r\n\
             To: {}\r\nCall-ID: {call}\r\nCSeq: {seq} {method}\r\nContent-Length: 0\r\n\r\n",
            target.split(['<', '>']).nth(1).unwrap_or_default(),
            of(Name::From),
            of(Name::To)
        )
    }
}

fn answer(to: &Message, status: u16, body: &str) -> String {
    let mut out = format!("SIP/2.0 {status} X\r\n");
    for h in to.headers() {
        let field = String::from_utf8_lossy(to.field(h));
        match h.name {
            Name::To if to.to_tag().is_none() => out += &format!("{field};tag=far\r\n"),
            Name::Via | Name::From | Name::To | Name::CallId | Name::CSeq => out += &format!("{field}\r\n"),
            _ => {}
        }
    }
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    out + &format!("Contact: <sip:far@127.0.0.1:15070>\r\n{kind}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let mut bench = Bench::new();
    if let [.., mark, kind, times] = &args[..]
        && mark == "--instructions"
    {
        return (0..times.parse().unwrap_or(1_000)).for_each(|_| bench.play(kind));
    }
    let mut criterion = Criterion::default().configure_from_args();
    for kind in ["emergency", "ordinary", "callback"] {
        criterion.bench_function(&format!("a whole call through a shard, {kind}"), |b| b.iter(|| bench.play(kind)));
    }
    criterion.final_summary();
}

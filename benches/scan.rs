//! What reading one INVITE of 1.2 kB costs: `cargo bench --bench scan`. Goal 10,000 instructions, wanted 6,000;
//! `tests/instructions.sh` counts them.

use std::hint::black_box;

use bytes::Bytes;
use criterion::Criterion;
use e911d::sip::Message;

const HEAD: &str = "INVITE sip:+14255550123@gw1.example.com:5060;user=phone SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.101:5060;branch=z9hG4bK74bf9c1d2e;rport\r\nMax-Forwards: 70\r\n\
    From: \"Alice Andersen\" <sip:alice@pbx.example.com>;tag=9fxced76sl\r\nTo: <sip:+14255550123@gw1.example.com;user=phone>\r\n\
    Call-ID: 3848276298220188511@pbx.example.com\r\nCSeq: 1 INVITE\r\nContact: <sip:alice@192.0.2.101:5060;transport=udp>\r\n\
    P-Asserted-Identity: \"Alice Andersen\" <sip:+14255551234@pbx.example.com>\r\nUser-Agent: ExamplePBX/18.2.1\r\n\
    Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO, NOTIFY, MESSAGE\r\nSupported: 100rel, timer, replaces\r\n\
    Session-Expires: 1800;refresher=uac\r\nMin-SE: 90\r\nContent-Type: application/sdp\r\n";

const SDP: &str = "v=0\r\no=alice 2890844526 2890844526 IN IP4 192.0.2.101\r\ns=-\r\nc=IN IP4 192.0.2.101\r\nt=0 0\r\n\
    m=audio 49172 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
    a=fmtp:101 0-15\r\na=sendrecv\r\n";

fn scan(invite: &Bytes) {
    black_box(Message::scan(black_box(invite.clone())).expect("a sound INVITE"));
}

fn main() {
    let invite = Bytes::from(format!("{HEAD}Content-Length: {}\r\n\r\n{SDP}", SDP.len()));
    let args: Vec<String> = std::env::args().collect();
    if let [.., mark, _, times] = &args[..]
        && mark == "--instructions"
    {
        return (0..times.parse().unwrap_or(1_000)).for_each(|_| scan(&invite));
    }
    let mut criterion = Criterion::default().configure_from_args();
    criterion.bench_function("scan an INVITE", |b| b.iter(|| scan(&invite)));
    criterion.final_summary();
}
